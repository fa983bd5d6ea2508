/* SPDX-License-Identifier: GPL-3.0-or-later */
/* input.h: a file, plain or gzip, as a stream of bytes seen through one buffer.
 *
 * @thread loop
 */
#ifndef OSP_WIRE_INPUT_H
#define OSP_WIRE_INPUT_H

#include <stddef.h>
#include <stdint.h>

/* What is seen of the stream at the moment: need(), take() and offset() are here because a packet
 * asks for them several times. The rest of it is input.c's.
 */
struct osp_input {
	uint8_t *buf;
	size_t have, at;	/* bytes in buf, of those taken */
	uint64_t offset;	/* of buf[0] in the stream */
};

/* Opens path ("-": standard input); logs its own errors. 0 or -errno. */
int osp_input_open(struct osp_input **out, const char *path);

/* The next n bytes, which stay where they are until the next call of this or of skip; NULL: the
 * stream has less (see osp_input_left) or is broken (see osp_input_error).
 */
static inline const uint8_t *osp_input_need(struct osp_input *in, size_t n);
/* The same where they have not been read yet. */
const uint8_t *osp_input_more(struct osp_input *in, size_t n);
/* Bytes that are there when osp_input_need() said NULL. */
static inline size_t osp_input_left(const struct osp_input *in);
/* Steps over n bytes that need() has shown. */
static inline void osp_input_take(struct osp_input *in, size_t n);
/* Steps over n bytes, seen or not. 0, or -ENODATA: the stream ends before. */
int osp_input_skip(struct osp_input *in, uint64_t n);

/* Of the next byte, in the uncompressed stream. */
static inline uint64_t osp_input_offset(const struct osp_input *in);
/* Bytes that went by and may be gone: NULL then. */
const uint8_t *osp_input_peek(const struct osp_input *in, uint64_t offset, size_t n);

/* Why nothing more comes, if it is not the plain end; NULL: it is. */
const char *osp_input_error(const struct osp_input *in);
const char *osp_input_name(const struct osp_input *in);

void osp_input_close(struct osp_input *in);

static inline const uint8_t *osp_input_need(struct osp_input *in, size_t n)
{
	return in->have - in->at >= n ? in->buf + in->at : osp_input_more(in, n);
}

static inline size_t osp_input_left(const struct osp_input *in)
{
	return in->have - in->at;
}

static inline void osp_input_take(struct osp_input *in, size_t n)
{
	in->at += n;
}

static inline uint64_t osp_input_offset(const struct osp_input *in)
{
	return in->offset + in->at;
}

#endif
