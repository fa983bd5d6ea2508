/* SPDX-License-Identifier: GPL-3.0-or-later */
/* base64.h: RFC 4648 section 4, encoding only. For record/ itself. */
#ifndef OSP_RECORD_BASE64_H
#define OSP_RECORD_BASE64_H

#include <stddef.h>
#include <stdint.h>

static inline size_t osp_base64_size(size_t n)
{
	return (n + 2) / 3 * 4;
}

/* Writes osp_base64_size(n) characters, no NUL. */
static inline void osp_base64(char *out, const uint8_t *in, size_t n)
{
	static const char digit[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	while (n) {
		size_t take = n < 3 ? n : 3;
		uint32_t v = (uint32_t)in[0] << 16;

		v |= take > 1 ? (uint32_t)in[1] << 8 : 0;
		v |= take > 2 ? in[2] : 0;
		*out++ = digit[v >> 18];
		*out++ = digit[v >> 12 & 63];
		*out++ = take > 1 ? digit[v >> 6 & 63] : '=';
		*out++ = take > 2 ? digit[v & 63] : '=';
		in += take;
		n -= take;
	}
}

#endif
