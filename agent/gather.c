/* SPDX-License-Identifier: GPL-3.0-or-later */
/* gather.c: takes gathered bytes out of the memory that is shared with the kernel programs. */
#include "agent/gather.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int osp_gather_init(struct osp_gather *g, int map_fd, __u64 *held)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *at;

	memset(g, 0, sizeof(*g));
	g->size = (OSP_TINY_SLOTS * sizeof(struct osp_tiny) + page - 1) & ~(page - 1);
	g->ev = calloc(OSP_TINY_SLOTS, sizeof(*g->ev));
	if (!g->ev)
		return -ENOMEM;
	at = mmap(NULL, g->size, PROT_READ | PROT_WRITE, MAP_SHARED, map_fd, 0);
	if (at == MAP_FAILED)
		return -errno;
	g->slot = at;
	g->held = held;
	return 0;
}

void osp_gather_fini(struct osp_gather *g)
{
	if (g->slot)
		munmap(g->slot, g->size);
	free(g->ev);
	memset(g, 0, sizeof(*g));
}

/* False: a hook is at it. It has not left its call then, so nothing that follows is awaited. */
static bool take(struct osp_gather *g, struct osp_tiny *t)
{
	uint32_t n;

	if (__atomic_exchange_n(&t->busy, 1, __ATOMIC_ACQUIRE))
		return false;
	n = t->ev.bytes;
	if (n && n <= OSP_TINY_ROOM) {
		memcpy(&g->ev[g->n++], &t->ev, sizeof(t->ev) + n);
		t->ev.bytes = 0;
		g->taken++;
		__atomic_fetch_sub(g->held, 1, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&t->busy, 0, __ATOMIC_RELEASE);
	return true;
}

static int by_time(const void *a, const void *b)
{
	const struct osp_gathered *x = a, *y = b;

	return x->ev.h.ts_ns < y->ev.h.ts_ns ? -1 : x->ev.h.ts_ns > y->ev.h.ts_ns;
}

static bool take_all(struct osp_gather *g)
{
	bool all = true;

	memmove(g->ev, g->ev + g->next, (g->n - g->next) * sizeof(*g->ev));
	g->n -= g->next;
	g->next = 0;
	for (struct osp_tiny *t = g->slot; t < g->slot + OSP_TINY_SLOTS; t++)
		if (__atomic_load_n(&t->ev.bytes, __ATOMIC_RELAXED))
			all &= g->n < OSP_TINY_SLOTS && take(g, t);
	qsort(g->ev, g->n, sizeof(*g->ev), by_time);
	return all;
}

bool osp_gather_take(struct osp_gather *g)
{
	bool any = g->slot && __atomic_load_n(g->held, __ATOMIC_ACQUIRE);
	bool all = !any || take_all(g);

	g->mark = g->n;
	return all;
}
