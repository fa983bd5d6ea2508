/* SPDX-License-Identifier: GPL-3.0-or-later */
/* opt.h: settings as text to numbers, strictly: no sign where none belongs, nothing left over, no
 * overflow. All return 0 or -EINVAL (not a value of this kind) or -ERANGE (does not fit); *out is
 * written on success only.
 */
#ifndef OSP_BASE_OPT_H
#define OSP_BASE_OPT_H

#include <stdbool.h>
#include <stdint.h>

int osp_parse_u64(const char *s, uint64_t *out);
int osp_parse_i64(const char *s, int64_t *out);
/* "0600": octal digits only. */
int osp_parse_octal(const char *s, uint32_t *out);
/* Bytes; K, M, G, T are powers of 1024. */
int osp_parse_size(const char *s, uint64_t *out);
/* ns; suffix ns, us, ms, s, m, h; s if there is none. */
int osp_parse_time(const char *s, uint64_t *out);
/* yes, true, on, 1; no, false, off, 0. */
int osp_parse_bool(const char *s, bool *out);

#endif
