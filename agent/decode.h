/* SPDX-License-Identifier: GPL-3.0-or-later */
/* decode.h: content codings (RFC 9110 8.4.1) taken off a body that was kept.
 *
 * Bodies come from outside, and a few bytes can stand for gigabytes. What comes out, at every stage
 * of nested codings, is at most `limit` bytes, so work is bounded by the bytes that go in and out;
 * a decoder's own memory is bounded by the window: 32 KiB for gzip and deflate, 8 MiB for zstd (RFC
 * 9659), 16 MiB for br (RFC 7932 9.1), of which only what is used is touched.
 *
 * @thread loop
 */
#ifndef OSP_DECODE_H
#define OSP_DECODE_H

#include "agent/base/slice.h"
#include "record/osp_record.h"

#include <stdbool.h>
#include <stdint.h>

struct osp_decoder;

struct osp_decoded {
	uint8_t how;		/* enum osp_decode */
	uint8_t coding_n;
	uint8_t coding[OSP_CODINGS_MAX];	/* enum osp_coding, as Content-Encoding has them */
	bool cut;		/* more would have come out than the limit */
	bool odd;		/* whole, but ends within the coding, or goes on behind its end */
	struct osp_slice data;	/* OSP_DEC_DONE; until the next call for the same end */
};

/* limit: bytes that may come out. 0 or -ENOMEM. */
int osp_decoder_new(struct osp_decoder **out, uint32_t limit);
void osp_decoder_free(struct osp_decoder *dec);

/* Takes `codings` (a Content-Encoding) off `in`, of which more may have followed unless it is
 * whole. Request and response (end) may be decoded side by side. All codings or none are taken off.
 */
void osp_decode(struct osp_decoder *dec, int end, struct osp_slice codings, struct osp_slice in,
		bool whole, struct osp_decoded *out);

/* Gives large buffers back; results so far are no more. */
void osp_decoder_relax(struct osp_decoder *dec);

/* The codings built in, as in "gzip deflate". */
const char *osp_decoder_codings(void);

#endif
