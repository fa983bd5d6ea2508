/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gather.h: what the kernel programs have gathered of small calls (bpf/osp_tiny.bpf.h) and nobody has
 * put into a ring yet: a process that has read all there was makes no call that would.
 *
 * @thread loop
 */
#ifndef OSP_GATHER_H
#define OSP_GATHER_H

#include "bpf/osp_shared.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct osp_gathered {
	struct osp_ev_data ev;
	uint8_t data[OSP_TINY_ROOM];
};

struct osp_gather {
	struct osp_tiny *slot;		/* mapped; NULL: nothing is ever gathered */
	size_t size;
	__u64 *held;			/* slots with something in them */
	struct osp_gathered *ev;	/* taken, in order of time from next on */
	uint32_t n, next;
	uint32_t mark;			/* those below it may go out */
	uint64_t taken;			/* in all */
};

/* map_fd: osp_tinies, which stays the caller's; held: osp_tiny_held. 0 or -errno. */
int osp_gather_init(struct osp_gather *g, int map_fd, __u64 *held);
void osp_gather_fini(struct osp_gather *g);

/* Takes all that is gathered now. False: some had to stay, because a hook is at it or there was no
 * room. What was taken before and not handed out stays first.
 */
bool osp_gather_take(struct osp_gather *g);

/* The oldest event that was taken; NULL: none that may go out. Who has handed it over moves g->next
 * past it. Valid until the next osp_gather_take().
 */
static inline const struct osp_ev_hdr *osp_gather_next(const struct osp_gather *g)
{
	return g->next < g->mark ? &g->ev[g->next].ev.h : NULL;
}

#endif
