/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_decode.c: any bytes as a coded body. What comes out keeps to the limit, is the same again,
 * and of the beginning of a body it is the beginning.
 *
 * Input: a byte (which codings), a byte (the limit), then the body.
 */
#include "agent/decode.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const lists[] = {
	"gzip", "deflate", "br", "zstd", "gzip, gzip", "deflate, br", "br, zstd", "zstd, deflate, gzip",
};

static struct osp_decoded decode(struct osp_decoder *dec, int end, const char *list,
				 const uint8_t *p, size_t n, bool whole)
{
	struct osp_decoded d;

	osp_decode(dec, end, osp_slice(list, strlen(list)), osp_slice((const char *)p, n), whole, &d);
	return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct osp_decoded all, part, again;
	struct osp_decoder *dec;
	const char *list;
	uint32_t limit;

	if (size < 3)
		return 0;
	list = lists[data[0] % 8];
	limit = 1u << data[1] % 20;
	data += 2;
	size -= 2;
	if (osp_decoder_new(&dec, limit))
		return 0;
	all = decode(dec, OSP_REQ, list, data, size, true);
	if (all.how == OSP_DEC_DONE && all.data.n > limit)
		abort();
	/* Where the whole is not refused its beginning is not, and is the same as far as it goes;
	 * but which deflate it is may show only in the end.
	 */
	part = decode(dec, OSP_RES, list, data, size / 2, false);
	if (all.how == OSP_DEC_DONE && size > 1 && !strstr(list, "deflate") &&
	    (part.how != OSP_DEC_DONE || part.odd || part.data.n > all.data.n ||
	     memcmp(part.data.p, all.data.p, part.data.n)))
		abort();
	again = decode(dec, OSP_RES, list, data, size, true);
	if (again.how != all.how || again.cut != all.cut || again.odd != all.odd ||
	    again.data.n != all.data.n ||
	    (all.data.n && memcmp(again.data.p, all.data.p, all.data.n)))
		abort();
	osp_decoder_relax(dec);
	osp_decoder_free(dec);
	return 0;
}
