/* SPDX-License-Identifier: GPL-3.0-or-later */
/* table.c: the list of parsers, and of protocols that are only told apart. */
#include "agent/parser/http1.h"

static const struct osp_parser label_tls = { .name = "tls" };
static const struct osp_parser label_h2 = { .name = "http/2" };

/* RFC 8446 5.1: content type 20..24, legacy version 3.x, length up to 2^14 + 256. */
static enum osp_detect tls_probe(const unsigned char *p, uint32_t n, bool strict)
{
	if (n < 1 || p[0] < 0x14 || p[0] > 0x18 || (!strict && p[0] != 0x16))
		return OSP_DET_NO;
	if (n >= 2 && p[1] != 3)
		return OSP_DET_NO;
	if (n >= 3 && p[2] > 4)
		return OSP_DET_NO;
	if (n >= 4 && p[3] > 0x41)
		return OSP_DET_NO;
	return n >= 5 || (!strict && n >= 2) ? OSP_DET_LABEL : OSP_DET_MORE;
}

/* RFC 9113 3.4 */
static enum osp_detect h2_probe(const char *p, uint32_t n)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n";
	uint32_t len = sizeof(preface) - 1;

	if (memcmp(p, preface, n < len ? n : len))
		return OSP_DET_NO;
	return n >= 14 ? OSP_DET_LABEL : OSP_DET_MORE;
}

enum osp_detect osp_parser_detect(const char *p, uint32_t n, bool strict,
				  const struct osp_parser **out)
{
	enum osp_detect det, more = OSP_DET_NO;

	*out = NULL;
	/* Blank lines before a request line are ignored (RFC 9112 2.2). */
	while (!strict && n && (*p == '\r' || *p == '\n')) {
		p++;
		n--;
		more = OSP_DET_MORE;
	}
	if (!n)
		return more;
	det = tls_probe((const unsigned char *)p, n, strict);
	if (det == OSP_DET_LABEL)
		*out = &label_tls;
	if (det != OSP_DET_NO)
		return det;
	det = h2_probe(p, n);
	if (det == OSP_DET_LABEL)
		*out = &label_h2;
	if (det != OSP_DET_NO)
		return det;
	det = osp_http1_probe(p, n, strict);
	if (det == OSP_DET_NO && !strict)
		det = osp_http1_simple(NULL, 0, p, n);
	if (det == OSP_DET_REQ || det == OSP_DET_RES)
		*out = &osp_parser_http1;
	return det;
}
