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

/* memcpy for what is short nearly always, without the call: 8 or 16 bytes at a time, the last ones
 * over the ones before. Neither side is touched beyond its n bytes.
 */
static inline void osp_copy_short(char *to, const char *from, uint32_t n)
{
	uint32_t i;

	if (n >= 16) {
		for (i = 0; i + 16 < n; i += 16)
			memcpy(to + i, from + i, 16);
		memcpy(to + n - 16, from + n - 16, 16);
	} else if (n >= 8) {
		memcpy(to, from, 8);
		memcpy(to + n - 8, from + n - 8, 8);
	} else if (n >= 4) {
		memcpy(to, from, 4);
		memcpy(to + n - 4, from + n - 4, 4);
	} else if (n) {
		to[0] = from[0];
		to[n / 2] = from[n / 2];
		to[n - 1] = from[n - 1];
	}
}

#endif
