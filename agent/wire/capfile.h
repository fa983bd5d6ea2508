/* SPDX-License-Identifier: GPL-3.0-or-later */
/* capfile.h: packets out of a capture file: pcap (us and ns, both byte orders, Kuznetzov's longer
 * packet headers) and pcapng, plain or gzip.
 *
 * @thread loop
 */
#ifndef OSP_WIRE_CAPFILE_H
#define OSP_WIRE_CAPFILE_H

#include "agent/wire/frame.h"

#include <stdbool.h>

struct osp_capfile;

/* Opens path ("-": standard input) and reads its header; logs its own errors. 0, -EPROTO if it is
 * no capture file, or another -errno.
 */
int osp_capfile_open(struct osp_capfile **out, const char *path);

/* The next packet; frame->p is valid until the next call. 0, -ENODATA at the end, -EPROTO where the
 * file is damaged or cut (logged, with the offset).
 */
int osp_capfile_next(struct osp_capfile *file, struct osp_frame *frame);

/* The next packet if its bytes are at hand and those of the ones before stay where they are. False:
 * that can't be, or something else comes first; osp_capfile_next() tells.
 */
bool osp_capfile_more(struct osp_capfile *file, struct osp_frame *frame);

/* Bytes of an earlier packet, by offset in the file; NULL: they are gone. */
const uint8_t *osp_capfile_peek(const struct osp_capfile *file, uint64_t offset, uint32_t n);

/* Packets that the capturing host says it dropped (pcapng only). */
uint64_t osp_capfile_drops(const struct osp_capfile *file);

void osp_capfile_close(struct osp_capfile *file);

#endif
