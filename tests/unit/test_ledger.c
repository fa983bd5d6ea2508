/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_ledger.c: the sums that must close, and the ledger's text. */
#include "agent/ledger.h"
#include "tests/lib/tap.h"

#include <stdbool.h>

static struct osp_ledger good_ledger(void)
{
	struct osp_ledger led = { 0 };

	led.v[OSP_ST_EV_SEEN] = 12345;
	led.v[OSP_ST_EV_DELIVERED] = 12300;
	led.v[OSP_ST_EV_FILTERED] = 40;
	led.v[OSP_ST_EV_LOST_RING] = 4;
	led.v[OSP_ST_EV_LOST_SCRATCH] = 1;
	led.v[OSP_ST_BY_STREAM] = 1234567;
	led.v[OSP_ST_BY_PARSED] = 1234000;
	led.v[OSP_ST_BY_SKIPPED_TUNNEL] = 500;
	led.v[OSP_ST_GAP_SENDFILE] = 60;
	led.v[OSP_ST_GAP_SKIPPED] = 5;
	led.v[OSP_ST_BY_HELD] = 2;
	led.v[OSP_ST_TXN_BEGUN] = 10;
	led.v[OSP_ST_TXN_OK] = 7;
	led.v[OSP_ST_TXN_NO_REQUEST] = 1;
	led.v[OSP_ST_TXN_OPEN] = 2;
	led.v[OSP_ST_REC_TRANSACTION] = 8;
	return led;
}

static const struct osp_rec_counter sinks[] = {
	{ "sinks", "offered", "console", 8 },  { "sinks", "accepted", "console", 8 },
	{ "sinks", "rejected", "console", 0 }, { "sinks", "dropped", "console", 0 },
	{ "sinks", "queued", "console", 0 },   { "sinks", "bytes", "console", 999 },
	{ "sinks", "offered", "jsonl", 1008 }, { "sinks", "accepted", "jsonl", 1000 },
	{ "sinks", "rejected", "jsonl", 1 },   { "sinks", "dropped", "jsonl", 2 },
	{ "sinks", "queued", "jsonl", 5 },
};
#define SINKS_N (sizeof(sinks) / sizeof(sinks[0]))

static bool closes(const struct osp_ledger *led, bool final)
{
	char why[128];

	return osp_ledger_closes(led, sinks, SINKS_N, final, why, sizeof(why));
}

static void test_closes(void)
{
	struct osp_ledger led = good_ledger();
	struct osp_ledger empty = { 0 };
	char why[160];

	ok(osp_ledger_closes(&led, sinks, SINKS_N, true, why, sizeof(why)), "all sums close");
	eq_str(why, "", "and no reason is given");
	ok(osp_ledger_closes(&empty, NULL, 0, true, NULL, 0), "nothing closes too");
	/* Each counter that is in a sum, one more or less. */
	for (int id = 0; id < OSP_ST_MAX; id++) {
		const struct osp_st_info *st = osp_st_info(id);
		bool in_sum = !strcmp(st->stage, "transactions") ||
			      (!strcmp(st->stage, "bytes") && id != OSP_ST_BY_OVERLAP) ||
			      id == OSP_ST_EV_SEEN || id == OSP_ST_EV_DELIVERED ||
			      id == OSP_ST_EV_FILTERED ||
			      (id >= OSP_ST_EV_LOST_RING && id <= OSP_ST_EV_LOST_7) ||
			      id == OSP_ST_CONN_BYTES_MISMATCH;

		led = good_ledger();
		led.v[id]++;
		if (closes(&led, true) == in_sum)
			ok(0, "one more %s %s %s", st->stage, st->name, st->label);
	}
	ok(1, "one more of each counter opens its sum, and only of those");
}

static void test_when(void)
{
	struct osp_ledger led = good_ledger();
	char why[160];

	led.v[OSP_ST_EV_DELIVERED] -= 5;
	ok(closes(&led, false), "events are not compared while the source runs");
	ok(!osp_ledger_closes(&led, NULL, 0, true, why, sizeof(why)), "but at its end");
	eq_str(why, "events: seen 12345, accounted for 12340 (5 too few)", "with the numbers");
	led.v[OSP_ST_EV_SEEN] = 0;
	ok(closes(&led, true), "a source without counters has no such sum");
	led = good_ledger();
	led.v[OSP_ST_GAP_NONE] = 1;
	led.v[OSP_ST_BY_PARSED]--;
	ok(!osp_ledger_closes(&led, NULL, 0, false, why, sizeof(why)), "a gap without cause");
	eq_str(why, "bytes: 1 gap unnamed, must be none", "is named");
	ok(!osp_ledger_closes(&led, NULL, 0, false, why, 8), "a short buffer for the reason");
	eq_str(why, "bytes: ", "is kept to");
}

static void test_sinks(void)
{
	struct osp_ledger led = good_ledger();
	char why[160];

	for (uint32_t i = 0; i < SINKS_N; i++) {
		struct osp_rec_counter c[SINKS_N];
		bool in_sum = strcmp(sinks[i].name, "bytes") != 0;

		memcpy(c, sinks, sizeof(c));
		c[i].value++;
		ok(osp_ledger_closes(&led, c, SINKS_N, true, why, sizeof(why)) != in_sum,
		   "one more %s of %s: %s", c[i].name, c[i].label, why);
	}
}

static void test_source(void)
{
	struct osp_ledger led = { 0 };
	struct osp_ev_lost lost = { .seen = 100, .delivered = 90, .filtered = 3,
				    .filtered_bytes = 30, .peek = 9 };

	lost.lost[OSP_LOST_RING] = 5;
	lost.lost[OSP_LOST_SCRATCH] = 2;
	lost.lost_bytes[OSP_LOST_RING] = 500;
	lost.lost_bytes[OSP_LOST_SCRATCH] = 20;
	osp_ledger_source(&led, &lost);
	osp_ledger_source(&led, &lost);
	eq_int(led.v[OSP_ST_EV_SEEN], 100, "totals are taken over, not added");
	eq_int(led.v[OSP_ST_EV_LOST_SCRATCH], 2, "by cause");
	eq_int(led.v[OSP_ST_EV_LOST_BYTES], 520, "bytes of all causes");
	eq_int(led.v[OSP_ST_EV_PEEK], 9, "peeks");
	ok(osp_ledger_closes(&led, NULL, 0, true, NULL, 0), "and they close");
}

static void test_counters(void)
{
	static struct osp_rec_counter out[OSP_ST_MAX + SINKS_N];
	struct osp_ledger led = good_ledger();
	uint32_t n = osp_ledger_counters(&led, sinks, SINKS_N, out);

	eq_int(n, OSP_ST_MAX + SINKS_N, "all counters");
	eq_str(out[OSP_ST_GAP_SENDFILE].label, "sendfile", "in order");
	eq_int(out[OSP_ST_GAP_SENDFILE].value, 60, "with values");
	eq_str(out[n - 1].label, "jsonl", "sinks last");
	/* Labels of families must be the names that records use. */
	for (int i = 1; i < OSP_CAUSE_MAX; i++)
		if (strcmp(osp_st_info(OSP_ST_GAP_NONE + i)->label, osp_cause_name(i)))
			ok(0, "cause %d has two names", i);
	for (int i = 0; i < OSP_OUT_MAX; i++)
		if (strcmp(osp_st_info(OSP_ST_TXN_OK + i)->label, osp_outcome_name(i)))
			ok(0, "outcome %d has two names", i);
	ok(1, "causes and outcomes have one name each");
}

static char text[4096];

static const char *print(const struct osp_ledger *led, const struct osp_rec_counter *c, uint32_t n)
{
	FILE *to = fmemopen(text, sizeof(text), "w");

	osp_ledger_print(to, led, c, n);
	fclose(to);
	return text;
}

static void test_print(void)
{
	struct osp_ledger led = good_ledger();

	led.v[OSP_ST_EV_PEEK] = 3;
	eq_str(print(&led, sinks, SINKS_N),
	       "ledger\n"
	       "  events        seen 12,345 = delivered 12,300 + filtered 40 + lost(ring_full) 4 + "
	       "lost(scratch) 1; peek 3\n"
	       "  bytes         seen 1,234,567 = parsed 1,234,000 + skipped(tunnel) 500 + held 2 + "
	       "gap(sendfile) 60 + gap(skipped) 5\n"
	       "  transactions  begun 10 = open 2 + ok 7 + no_request 1\n"
	       "  records       transaction 8\n"
	       "  sink console  offered 8 = accepted 8; bytes 999\n"
	       "  sink jsonl    offered 1,008 = accepted 1,000 + rejected 1 + dropped 2 + queued 5\n"
	       "  all sums close\n",
	       "text");
	led.v[OSP_ST_TXN_OPEN] = UINT64_MAX;
	ok(strstr(print(&led, NULL, 0), "open 18,446,744,073,709,551,615"), "largest number");
	ok(strstr(text, "  SUMS DO NOT CLOSE: transactions: begun 10, accounted for 7"),
	   "a sum that does not close");
	memset(&led, 0, sizeof(led));
	eq_str(print(&led, NULL, 0), "ledger\n  all sums close\n", "nothing to say");
}

int main(void)
{
	test_closes();
	test_when();
	test_sinks();
	test_source();
	test_counters();
	test_print();
	return done();
}
