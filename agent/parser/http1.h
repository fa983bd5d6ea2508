/* SPDX-License-Identifier: GPL-3.0-or-later */
/* http1.h: the parts of the HTTP/1 parser: heads (http1_head.c, http1_fast.c) and framing (http1.c).
 *
 * @thread loop
 */
#ifndef OSP_HTTP1_H
#define OSP_HTTP1_H

#include "agent/parser/parser.h"

extern const struct osp_parser osp_parser_http1;

/* Whether p starts with a request line or a status line, as far as it goes. strict: only methods
 * that are known, and a whole status code. OSP_DET_REQ, _RES, _MORE or _NO.
 */
enum osp_detect osp_http1_probe(const char *p, uint32_t n, bool strict);

/* The same of one kind only. */
enum osp_detect osp_http1_probe_kind(int kind, const char *p, uint32_t n, bool strict);

/* Whether a simple request of HTTP/0.9 (RFC 1945 4.1) starts with the bytes of a, then those of b:
 * "GET /path" and a line end. OSP_DET_REQ, _MORE or _NO.
 */
enum osp_detect osp_http1_simple(const char *a, uint32_t a_n, const char *b, uint32_t b_n);

/* Reads such a request's line into msg. */
void osp_http1_simple_head(struct osp_msg *msg, const char *p, uint32_t n);

/* Reads a whole head, start line to empty line, into msg (kind is set, strings are cleared). What
 * is odd but can be read is an anomaly; -EBADMSG: the start line cannot be one.
 */
int osp_http1_head(struct osp_msg *msg, const char *p, uint32_t n);

/* Reads the head that p begins with, as osp_http1_head() would, if it is whole and of the usual
 * kind; msg is as for that. Returns its length; 0: it is not, and msg holds nothing of use.
 * (http1_fast.c)
 */
uint32_t osp_http1_head_fast(struct osp_msg *msg, const char *p, uint32_t n);

#endif
