/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ring.h: reading a BPF ring buffer (kernel/bpf/ringbuf.c) in place.
 *
 * libbpf's consumer calls back until the ring is empty; we need to look at the next event of two
 * rings and take the older one, and to stop at a mark taken earlier, hence our own.
 *
 * @thread loop
 */
#ifndef OSP_RING_H
#define OSP_RING_H

#include "bpf/osp_events.h"

#include <stdint.h>

struct osp_ring {
	unsigned long *consumer;	/* ours to write */
	const unsigned long *producer;
	const uint8_t *data;		/* mapped twice, so that an event never wraps */
	unsigned long size, pos, published;
	void *map_cons, *map_prod;
	int fd;
};

/* Maps the ring of this map fd, which stays the caller's. 0 or -errno. */
int osp_ring_init(struct osp_ring *ring, int fd, unsigned long size);
void osp_ring_fini(struct osp_ring *ring);

/* How far producers have come; a mark for osp_ring_peek(). */
unsigned long osp_ring_mark(const struct osp_ring *ring);

/* The first event at or behind *pos and below the mark, *pos moved to it over what was discarded.
 * NULL with *busy = 0: none; NULL with *busy = 1: there is one, but its producer has not finished
 * it. *size: bytes that can be read, until osp_ring_done() passes it.
 */
const void *osp_ring_at(const struct osp_ring *ring, unsigned long *pos, unsigned long mark,
			uint32_t *size, int *busy);

/* Where the event at pos ends. */
unsigned long osp_ring_after(const struct osp_ring *ring, unsigned long pos);

/* Done with everything before pos; the room goes back to the producers now and then. */
void osp_ring_done(struct osp_ring *ring, unsigned long pos);

/* Gives back all room of the events that are done with. */
void osp_ring_publish(struct osp_ring *ring);

#endif
