/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_memory.c: what connections cost while they idle, and that memory goes back to the system when
 * they are gone. Measured as the system sees it (RSS), so not under sanitizers, whose own memory is
 * most of it: there it runs with few connections and nothing is asserted but the sums.
 */
#include "agent/tracker.h"
#include "tests/lib/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#define OPEN 2000u
#else
#define SANITIZED 0
#define OPEN 100000u
#endif
#define ROUNDS 10u

struct feed {
	struct osp_tracker *trk;
	struct osp_ledger led;
	uint64_t ts, records;
};

static void count_record(void *ctx, const struct osp_record *rec)
{
	((struct feed *)ctx)->records++;
}

static uint64_t rss(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	unsigned long all = 0, there = 0;

	if (f) {
		if (fscanf(f, "%lu %lu", &all, &there) != 2)
			there = 0;
		fclose(f);
	}
	return (uint64_t)there * (uint64_t)sysconf(_SC_PAGESIZE);
}

static struct osp_ev_hdr hdr(struct feed *feed, uint32_t len, uint8_t kind)
{
	feed->ts += 1000;
	return (struct osp_ev_hdr){ .len = len, .abi = OSP_EV_ABI, .kind = kind,
				    .ts_ns = feed->ts };
}

static struct osp_tuple tuple(uint64_t id)
{
	struct osp_tuple t = { .family = 2, .transport = 6, .lport = 80,
			       .rport = (uint16_t)(1024 + id % 60000) };

	t.local[10] = t.local[11] = t.remote[10] = t.remote[11] = 0xff;
	t.local[12] = t.remote[12] = 10;
	t.remote[14] = (uint8_t)(id / 60000);
	t.remote[15] = (uint8_t)(id / 60000 >> 8);
	return t;
}

static void open_conn(struct feed *feed, uint64_t id)
{
	struct osp_ev_open ev = { .h = hdr(feed, sizeof(ev), OSP_EV_OPEN), .conn = id,
				  .tuple = tuple(id), .seq = { 1, 1 }, .tgid = 1,
				  .how = OSP_OPEN_ESTABLISHED, .role = OSP_ROLE_SERVER,
				  .role_from = OSP_FROM_ACCEPT };

	osp_tracker_event(feed->trk, &ev.h);
}

static void data(struct feed *feed, uint64_t id, int dir, uint32_t turn, const char *text)
{
	struct {
		struct osp_ev_data ev;
		char text[200];
	} full = { .ev = { .conn = id, .seq = 1, .turn = turn, .tgid = 1, .tid = 1,
			   .dir = (uint8_t)dir } };
	uint32_t n = (uint32_t)strlen(text);

	full.ev.h = hdr(feed, (uint32_t)sizeof(full.ev) + n, OSP_EV_DATA);
	full.ev.bytes = full.ev.cap = n;
	memcpy(full.text, text, n);
	osp_tracker_event(feed->trk, &full.ev.h);
}

static const char request[] = "GET /index.html HTTP/1.1\r\nHost: example.test\r\n"
			      "User-Agent: test\r\nAccept: */*\r\n\r\n";
static const char response[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
			       "Content-Length: 5\r\n\r\nhello";

static void close_conn(struct feed *feed, uint64_t id, uint32_t said)
{
	struct osp_ev_close ev = { .h = hdr(feed, sizeof(ev), OSP_EV_CLOSE), .conn = id,
				   .tuple = tuple(id), .turns = said ? 2 : 0,
				   .flags = OSP_CF_FIN_RX | OSP_CF_FIN_TX };

	ev.end[OSP_RX] = ev.rcv_end = 1 + (said ? (uint32_t)sizeof(request) - 1 : 0);
	ev.end[OSP_TX] = 1 + (said ? (uint32_t)sizeof(response) - 1 : 0);
	osp_tracker_event(feed->trk, &ev.h);
}

/* Time passes as it does for a live source. */
static void seconds(struct feed *feed, unsigned int n)
{
	struct osp_ev_tick ev = {};

	for (unsigned int i = 0; i < 10 * n; i++) {
		feed->ts += 100000000;
		ev.h = hdr(feed, sizeof(ev), OSP_EV_TICK);
		osp_tracker_event(feed->trk, &ev.h);
	}
}

static void start(struct feed *feed)
{
	static const struct osp_source_info info = { .boot_id = "" };
	struct osp_tracker_conf conf;

	*feed = (struct feed){ .ts = 1 };
	osp_tracker_conf_default(&conf);
	if (osp_tracker_new(&feed->trk, &conf, &info, &feed->led, count_record, feed))
		exit(2);
}

/* All requests are under way at once before the first answer: the most there is to remember. */
static void speak(struct feed *feed, uint64_t from, uint64_t to)
{
	for (uint64_t id = from; id < to; id++)
		open_conn(feed, id);
	for (uint64_t id = from; id < to; id++)
		data(feed, id, OSP_RX, 1, request);
	for (uint64_t id = from; id < to; id++)
		data(feed, id, OSP_TX, 2, response);
}

static void test_idle(void)
{
	uint64_t before, each;
	struct feed feed;

	start(&feed);
	speak(&feed, 1, 101);
	before = rss();
	speak(&feed, 101, OPEN + 101);
	seconds(&feed, 30);
	each = rss() > before ? (rss() - before) / OPEN : 0;
	printf("# %u connections that have spoken: %llu bytes each\n", OPEN,
	       (unsigned long long)each);
	eq_int(osp_tracker_conns(feed.trk), OPEN + 100, "connections idle");
	ok(SANITIZED || each <= 1024, "one takes 1 KiB at most");
	eq_int(feed.led.v[OSP_ST_MEM_BYTES], 0, "they hold nothing");
	osp_tracker_free(feed.trk);
}

static void test_silent(void)
{
	uint64_t before = rss(), each;
	struct feed feed;

	start(&feed);
	for (uint64_t id = 1; id <= OPEN; id++)
		open_conn(&feed, id);
	each = rss() > before ? (rss() - before) / OPEN : 0;
	printf("# %u connections that have said nothing: %llu bytes each\n", OPEN,
	       (unsigned long long)each);
	ok(SANITIZED || each <= 800, "one that has said nothing takes less");
	osp_tracker_free(feed.trk);
}

static void test_returns(void)
{
	uint64_t id = 1, before, high = 0, after;
	struct feed feed;

	start(&feed);
	speak(&feed, id, id + 100);
	for (; id <= 100; id++)
		close_conn(&feed, id, 1);
	before = rss();
	for (unsigned int i = 0; i < ROUNDS; i++, id += OPEN) {
		speak(&feed, id, id + OPEN);
		high = rss() > high ? rss() : high;
		for (uint64_t k = id; k < id + OPEN; k++)
			close_conn(&feed, k, 1);
	}
	seconds(&feed, 30);
	after = rss();
	printf("# %u connections, %u at once: %llu KiB before, %llu at most, %llu after\n",
	       ROUNDS * OPEN, OPEN, (unsigned long long)before / 1024,
	       (unsigned long long)high / 1024, (unsigned long long)after / 1024);
	eq_int(feed.led.v[OSP_ST_TXN_OK], ROUNDS * OPEN + 100, "every exchange was seen");
	eq_int(osp_tracker_conns(feed.trk), 0, "all are gone");
	ok(SANITIZED || high > before + OPEN * 512ull, "they took memory");
	ok(SANITIZED || after < before + (high - before) / 10, "memory returns");
	ok(osp_ledger_closes(&feed.led, NULL, 0, false, NULL, 0), "sums close");
	osp_tracker_free(feed.trk);
}

int main(void)
{
	test_returns();
	test_idle();
	test_silent();
	return done();
}
