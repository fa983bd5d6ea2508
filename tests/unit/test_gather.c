/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_gather.c: taking what hooks have gathered, with a file in the map's place. */
#include "agent/gather.h"
#include "tests/lib/tap.h"

#include <sys/mman.h>
#include <unistd.h>

static struct osp_gather g;
static __u64 held;

/* As a hook leaves it. */
static void put(uint32_t slot, uint64_t ts, const char *bytes)
{
	struct osp_tiny *t = &g.slot[slot];
	uint32_t n = (uint32_t)strlen(bytes);

	t->ev = (struct osp_ev_data){ .h = { .len = (uint32_t)sizeof(t->ev) + n, .ts_ns = ts },
				      .conn = slot, .bytes = n, .cap = n };
	memcpy(t->data, bytes, n);
	held++;
}

static const struct osp_gathered *next(void)
{
	return (const struct osp_gathered *)osp_gather_next(&g);
}

static void test_order(void)
{
	put(700, 30, "three");
	put(1, 20, "two");
	put(OSP_TINY_SLOTS - 1, 10, "one");
	ok(!next(), "nothing is handed out that was not taken");
	ok(osp_gather_take(&g), "all is taken");
	eq_int(held, 0, "and nothing held any more");
	for (uint64_t ts = 10; ts <= 30; ts += 10, g.next++)
		ok(next() && next()->ev.h.ts_ns == ts, "by time: %llu", (unsigned long long)ts);
	ok(!next(), "that was all");
	ok(!memcmp(g.ev[0].data, "one", 3) && g.ev[0].ev.conn == OSP_TINY_SLOTS - 1,
	   "with its bytes");
	ok(osp_gather_take(&g) && !next(), "and once only");
}

static void test_busy(void)
{
	put(5, 50, "later");
	put(6, 60, "now");
	g.slot[5].busy = 1;
	ok(!osp_gather_take(&g), "where a hook is at it, something stays");
	ok(next() && next()->ev.conn == 6, "the rest does not");
	eq_int(held, 1, "it is held still");
	g.slot[5].busy = 0;
	ok(osp_gather_take(&g), "it comes with the next look");
	ok(next() && next()->ev.conn == 5, "and by its time goes before what was not handed out");
	g.next++;
	ok(next() && next()->ev.conn == 6, "which is there still");
	g.next++;
	eq_int(g.slot[5].busy + g.slot[6].busy, 0, "slots are free again");
}

static void test_mark(void)
{
	put(7, 70, "wait");
	osp_gather_take(&g);
	g.mark = g.next;
	ok(!next(), "nothing above the mark is handed out");
	ok(osp_gather_take(&g) && next() && next()->ev.conn == 7, "the next look raises it");
	g.next++;
}

static void test_full(void)
{
	for (uint32_t i = 0; i < OSP_TINY_SLOTS; i++)
		put(i, i, "x");
	ok(osp_gather_take(&g), "every slot at once");
	g.next++;
	put(0, 9999, "y");
	put(1, 9998, "y");
	ok(!osp_gather_take(&g), "no room: something stays");
	eq_int(held, 1, "one did");
	g.next += 10;
	ok(osp_gather_take(&g), "with room, it comes");
	for (; next(); g.next++)
		;
	eq_int(g.taken, 3 + 2 + 1 + OSP_TINY_SLOTS + 2, "each of them is counted");
}

int main(void)
{
	int fd = memfd_create("slots", MFD_CLOEXEC);

	ok(fd >= 0 && !ftruncate(fd, 1 << 20) && !osp_gather_init(&g, fd, &held), "mapped");
	test_order();
	test_busy();
	test_mark();
	test_full();
	osp_gather_fini(&g);
	osp_gather_take(&g);
	ok(!next(), "what is not there holds nothing");
	close(fd);
	return done();
}
