/* SPDX-License-Identifier: GPL-3.0-or-later */
/* slice.h: bytes that belong to somebody else. A slice lives as long as the buffer it points to;
 * whoever hands one out says how long that is. p == NULL means "not known", which is not the same
 * as empty (p != NULL, n == 0).
 */
#ifndef OSP_BASE_SLICE_H
#define OSP_BASE_SLICE_H

#include <stdint.h>
#include <string.h>

struct osp_slice {
	const char *p;
	uint32_t n;
};

static inline struct osp_slice osp_slice(const void *p, size_t n)
{
	return (struct osp_slice){ p, (uint32_t)n };
}

/* The string s without its NUL; NULL gives the unknown slice. */
static inline struct osp_slice osp_slice_str(const char *s)
{
	return (struct osp_slice){ s, s ? (uint32_t)strlen(s) : 0 };
}

#endif
