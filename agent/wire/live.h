/* SPDX-License-Identifier: GPL-3.0-or-later */
/* live.h: packets from an interface.
 *
 * @thread loop
 */
#ifndef OSP_WIRE_LIVE_H
#define OSP_WIRE_LIVE_H

#include "agent/wire/frame.h"

struct osp_live;

/* Opens the interface (or "any"), promiscuous; logs its own errors. 0, -EPERM without CAP_NET_RAW,
 * -ENOSYS if live capture was left out of the build, another -errno.
 */
int osp_live_open(struct osp_live **out, const char *name, uint32_t ring_bytes);

/* The next packet, valid until the next call. 0, -EAGAIN: none now, -errno (logged): broken. */
int osp_live_next(struct osp_live *live, struct osp_frame *frame);

int osp_live_fd(const struct osp_live *live);

/* Packets the kernel dropped since the start, because nobody took them in time. */
uint64_t osp_live_drops(struct osp_live *live);

void osp_live_close(struct osp_live *live);

#endif
