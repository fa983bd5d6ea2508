/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dedup.h: tells copies of a packet, which mirror ports make, from packets that were sent again.
 *
 * @thread loop
 */
#ifndef OSP_WIRE_DEDUP_H
#define OSP_WIRE_DEDUP_H

#include "agent/wire/decap.h"

/* Copies further apart than this are left to the reassembly, which drops them as retransmitted. */
#define OSP_DEDUP_NS 100000000ull

struct osp_dedup;

/* 0 or -ENOMEM. */
int osp_dedup_new(struct osp_dedup **out);

/* Of all that makes a packet another one. The table's line is on its way to the cache then. */
uint64_t osp_dedup_hash(const struct osp_dedup *dd, const struct osp_tcp_seg *seg);
/* Whether seg, of that hash, is a copy of one that was seen; if not it is remembered. */
bool osp_dedup_is_copy(struct osp_dedup *dd, const struct osp_tcp_seg *seg, uint64_t hash);

void osp_dedup_free(struct osp_dedup *dd);

#endif
