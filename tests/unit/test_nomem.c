/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_nomem.c: the tracker without memory, and with events that make no sense. Each allocation is
 * failed once, and from each one on for ever; nothing may crash, leak, or fail to add up.
 */
#include "agent/base/mem.h"
#include "tests/lib/evbuild.h"
#include "tests/lib/tap.h"


static long fail_at, allocations;
static bool fail_on;

int osp_mem_test_fail(void);
int osp_mem_test_fail(void)
{
	allocations++;
	return fail_at && (fail_on ? allocations >= fail_at : allocations == fail_at);
}

static void ignore(void *ctx, const struct osp_record *rec)
{
}

static void converse(struct rig *rig, uint64_t id)
{
	struct evc conn;
	struct evd *late;

	rig_proc(rig, 100, "x", "/bin/x", "/docker/x");
	evc_init(&conn, rig, id, 1, 2);
	evc_open(&conn, OSP_OPEN_ESTABLISHED, OSP_ROLE_SERVER, OSP_FROM_ACCEPT);
	evc_str(&conn, OSP_RX, "G");
	late = evc_make(&conn, OSP_RX, "ET / HTTP/1.1\r\nHost", 19, 19, 0);
	evc_str(&conn, OSP_RX, ": x\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
	evc_deliver(&conn, late);
	evc_gap(&conn, OSP_RX, 2, OSP_CAUSE_IO_URING);
	evc_str(&conn, OSP_RX, "e");
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX: y\r\n\r\nabc");
	evc_lose(&conn, OSP_TX, 10);
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	if (id % 2)
		evc_close(&conn, OSP_CF_FIN_TX, 0);
}

/* A conversation with the n-th allocation failing; false: there was none. */
static bool one(long n, bool on, uint32_t *bad)
{
	static const struct osp_source_info info = { .boot_id = "" };
	struct rig rig = { .ts = 1 };
	char why[200];
	uint64_t id;

	osp_tracker_conf_default(&rig.conf);
	rig.conf.headers = true;
	rig.conf.body = 3;
	fail_at = n;
	fail_on = on;
	allocations = 0;
	if (!osp_tracker_new(&rig.trk, &rig.conf, &info, &rig.led, ignore, NULL)) {
		for (id = 1; id < 5; id++)
			converse(&rig, id);
		osp_tracker_finish(rig.trk);
		if (!osp_ledger_closes(&rig.led, NULL, 0, true, why, sizeof(why))) {
			printf("# allocation %ld: %s\n", n, why);
			(*bad)++;
		}
		if (rig.led.v[OSP_ST_MEM_BYTES] || rig.led.v[OSP_ST_BY_HELD]) {
			printf("# allocation %ld: left over\n", n);
			(*bad)++;
		}
	}
	osp_tracker_free(rig.trk);
	fail_at = 0;
	return allocations >= n;
}

static void test_nth(void)
{
	uint32_t bad = 0;
	long n;

	for (n = 1; one(n, false, &bad); n++)
		;
	eq_int(bad, 0, "each of %ld allocations fails once: all adds up", n - 1);
	ok(n > 20, "there were some");
	bad = 0;
	for (n = 1; n < 60; n++)
		one(n, true, &bad);
	eq_int(bad, 0, "memory runs out for ever: all adds up");
}

static uint32_t rnd(uint64_t *s)
{
	*s = *s * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*s >> 33);
}

union any {
	struct osp_ev_hdr h;
	struct osp_ev_open open;
	struct osp_ev_close close;
	struct osp_ev_shut shut;
	struct osp_ev_tick tick;
	struct {
		struct osp_ev_data ev;
		char data[256];
	} data;
};

/* Text that looks like HTTP, in pieces that do not fit. */
static uint32_t junk(uint64_t *s, char *out)
{
	static const char *const bit[] = {
		"GET / HTTP/1.1\r\n", "\r\n", "HTTP/1.1 200 OK\r\n", "Content-Length: 5\r\n\r\n", "abc",
		"Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n", "0\r\n\r\n", "\n", "\r",
		"CONNECT h HTTP/1.1\r\n\r\n", "HTTP/1.1 101 X\r\nUpgrade: websocket\r\n\r\n", "HE",
		"HEAD /x HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", "HTTP/1.1 100 C\r\n\r\n", ": \r\n x\r\n",
	};
	uint32_t n = 0, k = rnd(s) % 4;

	while (k--) {
		const char *b = bit[rnd(s) % (sizeof(bit) / sizeof(bit[0]))];

		memcpy(out + n, b, strlen(b));
		n += (uint32_t)strlen(b);
	}
	if (n && rnd(s) % 8 == 0)
		out[rnd(s) % n] = (char)rnd(s);
	return n;
}

static void make_junk(uint64_t *s, union any *ev, uint64_t ts)
{
	uint32_t what = rnd(s) % 40, n;

	memset(ev, 0, sizeof(*ev));
	ev->h.abi = OSP_EV_ABI;
	ev->h.ts_ns = ts;
	if (what > 5) {
		n = junk(s, ev->data.data);
		ev->h.kind = what > 8 ? OSP_EV_DATA : OSP_EV_GAP;
		n = what > 8 ? n : 0;
		ev->h.len = (uint32_t)sizeof(ev->data.ev) + n;
		ev->data.ev.conn = 1 + rnd(s) % 3;
		ev->data.ev.seq = rnd(s) % 20 ? rnd(s) % 400 : rnd(s) * 2;
		ev->data.ev.bytes = n + (rnd(s) % 9 ? 0 : rnd(s) % 50);
		ev->data.ev.cap = n;
		ev->data.ev.lost = rnd(s) % 9 ? 0 : rnd(s) % 50;
		ev->data.ev.turn = rnd(s) % 20;
		ev->data.ev.tid = rnd(s) % 3;
		ev->data.ev.dir = rnd(s) % 2;
		ev->data.ev.cause = (uint8_t)(1 + rnd(s) % (OSP_CAUSE_MAX - 1));
	} else if (what > 3) {
		ev->h.kind = OSP_EV_SHUT;
		ev->h.len = sizeof(ev->shut);
		ev->shut.conn = 1 + rnd(s) % 3;
		ev->shut.seq = rnd(s) % 400;
		ev->shut.how = (uint8_t)(rnd(s) % 6);
	} else if (what > 1) {
		ev->h.kind = OSP_EV_OPEN;
		ev->h.len = sizeof(ev->open);
		ev->open.conn = 1 + rnd(s) % 3;
		ev->open.seq[0] = rnd(s) % 400;
		ev->open.how = (uint8_t)(1 + rnd(s) % 3);
		ev->open.role = (uint8_t)(rnd(s) % 3);
		ev->open.role_from = (uint8_t)(rnd(s) % 6);
	} else {
		ev->h.kind = OSP_EV_CLOSE;
		ev->h.len = sizeof(ev->close);
		ev->close.conn = 1 + rnd(s) % 3;
		ev->close.end[0] = rnd(s) % 500;
		ev->close.end[1] = ev->close.rcv_end = rnd(s) % 500;
		ev->close.turns = rnd(s) % 20;
		ev->close.flags = (uint8_t)rnd(s);
	}
}

static void test_junk(void)
{
	struct osp_tracker_conf conf;
	uint32_t seed, i, bad = 0;
	struct rig rig;
	char why[200];

	osp_tracker_conf_default(&conf);
	conf.byte_budget = 8192;
	conf.max_head = 200;
	conf.body = 100;
	conf.headers = true;
	rig_open(&rig, &conf);
	for (seed = 1; seed <= 1500; seed++) {
		uint64_t s = seed;
		union any ev;

		rig_reset(&rig);
		for (i = 0; i < 300; i++) {
			rig.ts += rnd(&s) % 50 ? 1000 : 200000000;
			make_junk(&s, &ev, rig.ts);
			if (osp_event_check(&ev.h, ev.h.len))
				bad++;
			osp_tracker_event(rig.trk, &ev.h);
			/* Totals that make no sense are a mismatch by right. */
			rig.led.v[OSP_ST_CONN_BYTES_MISMATCH] = 0;
			if (!osp_ledger_closes(&rig.led, NULL, 0, true, why, sizeof(why)) && !bad++)
				printf("# seed %u event %u: %s\n", seed, i, why);
		}
		osp_tracker_finish(rig.trk);
		rig.led.v[OSP_ST_CONN_BYTES_MISMATCH] = 0;
		if (!rig_sums(&rig) || rig.led.v[OSP_ST_BY_HELD] || rig.led.v[OSP_ST_TXN_OPEN] ||
		    rig.led.v[OSP_ST_MEM_BYTES])
			bad++;
	}
	eq_int(bad, 0, "events without sense: the sums close after each one");
	rig_close(&rig);
}

int main(void)
{
	test_nth();
	test_junk();
	return done();
}
