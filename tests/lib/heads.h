/* SPDX-License-Identifier: GPL-3.0-or-later */
/* heads.h: one HTTP/1 head by both readers. Where the quick one takes it, they must agree. */
#ifndef OSP_TESTS_HEADS_H
#define OSP_TESTS_HEADS_H

#include "agent/parser/http1.h"

#include <stddef.h>
#include <string.h>

static inline struct osp_msg heads_msg(int kind, struct osp_header *header)
{
	struct osp_msg msg;

	memset(&msg, 0, sizeof(msg));
	msg.kind = (uint8_t)kind;
	msg.header = header;
	return msg;
}

static inline int heads_same_slice(struct osp_slice a, struct osp_slice b)
{
	return a.p && b.p ? a.n == b.n && (!a.n || a.p == b.p) : !a.p && !b.p;
}

/* Bytes up to and with the first empty line. */
static inline uint32_t heads_end(const char *p, uint32_t n)
{
	uint32_t i;

	for (i = 0; i + 1 < n; i++) {
		if (p[i] == '\n' && p[i + 1] == '\n')
			return i + 2;
		if (p[i] == '\n' && i + 2 < n && p[i + 1] == '\r' && p[i + 2] == '\n')
			return i + 3;
	}
	return 0;
}

static inline int heads_all_plain(const struct osp_msg *msg)
{
	uint32_t i, k;

	for (i = 0; i < OSP_MSG_STRS; i++) {
		for (k = 0; msg->str[i].p && k < msg->str[i].n; k++) {
			if (msg->str[i].p[k] < ' ' || msg->str[i].p[k] == 0x7f)
				return 0;
		}
	}
	return 1;
}

/* NULL: they agree, or the quick one leaves it. *len: what it took. */
static inline const char *heads_differ(int kind, const char *p, uint32_t n, uint32_t *len)
{
	static struct osp_header quick[OSP_HEADERS_MAX], slow[OSP_HEADERS_MAX];
	struct osp_msg a = heads_msg(kind, quick), b = heads_msg(kind, slow);
	enum osp_detect det;
	uint32_t i;

	*len = osp_http1_head_fast(&a, p, n);
	if (!*len)
		return NULL;
	if (heads_end(p, n) != *len)
		return "another end";
	det = osp_http1_probe_kind(kind, p, *len, false);
	if (det != (kind == OSP_REQ ? OSP_DET_REQ : OSP_DET_RES))
		return "no start line";
	if (osp_http1_head(&b, p, *len))
		return "no head";
	if (a.plain && !heads_all_plain(&a))
		return "not plain";
	a.plain = b.plain;
	if (a.header_n != b.header_n)
		return "another number of headers";
	for (i = 0; i < a.header_n; i++) {
		if (!heads_same_slice(quick[i].name, slow[i].name) ||
		    !heads_same_slice(quick[i].value, slow[i].value))
			return "another header";
	}
	for (i = 0; i < OSP_MSG_STRS; i++) {
		if (!heads_same_slice(a.str[i], b.str[i]))
			return "another string";
	}
	memset(a.str, 0, sizeof(a.str));
	memset(b.str, 0, sizeof(b.str));
	return memcmp(&a, &b, offsetof(struct osp_msg, header)) ? "another fact" : NULL;
}

#endif
