/* SPDX-License-Identifier: GPL-3.0-or-later */
/* input.h: a file, plain or gzip, as a stream of bytes seen through one buffer.
 *
 * @thread loop
 */
#ifndef OSP_WIRE_INPUT_H
#define OSP_WIRE_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct osp_input;

/* Opens path ("-": standard input); logs its own errors. 0 or -errno. */
int osp_input_open(struct osp_input **out, const char *path);

/* The next n bytes, which stay where they are until the next call of this or of skip; NULL: the
 * stream has less (see osp_input_left) or is broken (see osp_input_error).
 */
const uint8_t *osp_input_need(struct osp_input *in, size_t n);
/* Bytes that are there when osp_input_need() said NULL. */
size_t osp_input_left(const struct osp_input *in);
/* Steps over n bytes that need() has shown. */
void osp_input_take(struct osp_input *in, size_t n);
/* Steps over n bytes, seen or not. 0, or -ENODATA: the stream ends before. */
int osp_input_skip(struct osp_input *in, uint64_t n);

/* Of the next byte, in the uncompressed stream. */
uint64_t osp_input_offset(const struct osp_input *in);
/* Bytes that went by and may be gone: NULL then. */
const uint8_t *osp_input_peek(const struct osp_input *in, uint64_t offset, size_t n);

/* Why nothing more comes, if it is not the plain end; NULL: it is. */
const char *osp_input_error(const struct osp_input *in);
const char *osp_input_name(const struct osp_input *in);

void osp_input_close(struct osp_input *in);

#endif
