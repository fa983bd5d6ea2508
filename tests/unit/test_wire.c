/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_wire.c: the wire source from inside: reassembly as a property of random conversations,
 * files damaged at every byte, fragments, limits. What packets mean for records is in tests/wire/.
 */
#include "agent/tracker.h"
#include "agent/wire/dedup.h"
#include "agent/wire/reasm.h"
#include "agent/wire/source_wire.h"
#include "tests/lib/tap.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#define MS 1000000ull
#define EPOCH 1700000000000000000ull

static uint64_t rng_state = 88172645463325252ull;

static uint32_t rng(uint32_t n)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 7;
	rng_state ^= rng_state << 17;
	return (uint32_t)(rng_state >> 32) % n;
}

/* ---- segments straight into the reassembly -------------------------------------------------- */

struct got {
	uint8_t buf[2][1 << 16];	/* by dir: bytes, gaps as '?' */
	uint32_t n[2], base[2];
	bool open, whole;
	int opens, shuts, closes, flags;
	uint64_t gap;
	int faults;
	uint32_t last_turn;
};

static struct osp_ledger led;

static void got_data(struct got *got, const struct osp_ev_data *ev)
{
	uint32_t d = ev->dir;

	/* In order, without holes, counted turns, nothing before what it depends on. */
	got->faults += ev->seq != got->base[d] + got->n[d] || !got->open;
	got->faults += ev->turn < got->last_turn;
	if (ev->flags & OSP_DF_OTHER)
		got->faults += (int32_t)(ev->other - (got->base[!d] + got->n[!d])) > 0;
	got->last_turn = ev->turn;
	got->faults += got->n[d] + ev->bytes > sizeof(got->buf[d]);
	if (got->faults)
		return;
	memset(got->buf[d] + got->n[d], '?', ev->bytes);
	memcpy(got->buf[d] + got->n[d], ev + 1, ev->h.kind == OSP_EV_DATA ? ev->cap : 0);
	got->n[d] += ev->bytes;
	got->gap += ev->bytes - ev->cap;
}

static void take(void *ctx, const struct osp_ev_hdr *h)
{
	struct got *got = ctx;
	const struct osp_ev_open *open = (const struct osp_ev_open *)h;
	const struct osp_ev_close *close = (const struct osp_ev_close *)h;

	got->faults += osp_event_check(h, h->len) != 0;
	switch (h->kind) {
	case OSP_EV_OPEN:
		got->opens++;
		got->open = true;
		got->whole = open->how == OSP_OPEN_ESTABLISHED;
		got->base[0] = open->seq[0];
		got->base[1] = open->seq[1];
		got->n[0] = got->n[1] = got->last_turn = 0;
		break;
	case OSP_EV_DATA:
	case OSP_EV_GAP:
		got_data(got, (const struct osp_ev_data *)h);
		break;
	case OSP_EV_SHUT:
		got->shuts++;
		break;
	case OSP_EV_CLOSE:
		got->closes++;
		got->flags = close->flags;
		got->open = false;
		if (!(close->flags & OSP_CF_NO_ENDS))
			got->faults += close->end[0] != got->base[0] + got->n[0] ||
				       close->end[1] != got->base[1] + got->n[1];
		break;
	}
}

static const uint8_t *no_peek(void *ctx, uint64_t offset, uint32_t n)
{
	return NULL;
}

static struct osp_reasm *reasm_for(struct got *got, const struct osp_reasm_conf *conf)
{
	struct osp_reasm_conf def;
	struct osp_reasm_io io = { .ctx = got, .emit = take, .peek = no_peek, .led = &led };
	struct osp_reasm *rs = NULL;

	osp_reasm_conf_default(&def);
	memset(got, 0, sizeof(*got));
	memset(&led, 0, sizeof(led));
	if (osp_reasm_new(&rs, conf ? conf : &def, &io))
		abort();
	return rs;
}

/* A segment as it will be sent; data points to what lives on. */
struct seg {
	struct osp_tcp_seg s;
	uint8_t head[20];
};

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

static void make_seg(struct seg *seg, int from, uint32_t seq, uint32_t ack, uint8_t flags,
		     const void *data, uint32_t n, uint64_t ts)
{
	static const uint8_t addr[2][16] = { { [10] = 0xff, 0xff, 10, 0, 0, 1 },
					     { [10] = 0xff, 0xff, 10, 0, 0, 2 } };

	memset(seg, 0, sizeof(*seg));
	memcpy(seg->s.src, addr[from], 16);
	memcpy(seg->s.dst, addr[!from], 16);
	seg->s.sport = from ? 80 : 40000;
	seg->s.dport = from ? 40000 : 80;
	seg->s.seq = seq;
	seg->s.ack = ack;
	seg->s.flags = flags;
	seg->s.win = 65535;
	seg->s.ts = ts;
	seg->s.data = data;
	seg->s.len = seg->s.cap = n;
	put16(seg->head, seg->s.sport);
	put16(seg->head + 2, seg->s.dport);
	put32(seg->head + 4, seq);
	put32(seg->head + 8, ack);
	seg->head[12] = 5 << 4;
	seg->head[13] = flags;
	seg->s.tcp = seg->head;
	seg->s.tcp_n = 20;
}

static void feed(struct osp_reasm *rs, struct seg *seg)
{
	seg->s.tcp = seg->head;
	osp_reasm_segment(rs, &seg->s, osp_reasm_hash(rs, &seg->s), false);
	osp_reasm_time(rs, seg->s.ts);
}

/* ---- random conversations ------------------------------------------------------------------- */

#define SEGS_MAX 4096
static uint8_t sent[2][1 << 16];
static struct seg line[SEGS_MAX];

struct talk {
	uint32_t start[2], n[2], segs;	/* first byte's number; bytes so far */
	uint64_t ts;
};

static void say(struct talk *talk, int from, uint8_t flags, uint32_t at, uint32_t n)
{
	make_seg(&line[talk->segs++], from, talk->start[from] + at,
		 talk->start[!from] + talk->n[!from], flags, sent[from] + at, n, talk->ts += 10000);
}

/* Both sides speak in turns, in segments of any size, acknowledged sooner or later. */
static void make_talk(struct talk *talk, uint32_t c0, uint32_t s0, int rounds)
{
	int round, from;
	uint32_t i;

	memset(talk, 0, sizeof(*talk));
	talk->ts = EPOCH;
	talk->start[0] = c0 + 1;
	talk->start[1] = s0 + 1;
	for (from = 0; from < 2; from++)
		for (i = 0; i < sizeof(sent[from]); i++)
			sent[from][i] = (uint8_t)(rng(26) + 'a');
	make_seg(&line[0], 0, c0, 0, OSP_TCP_SYN, "", 0, talk->ts += 10000);
	make_seg(&line[1], 1, s0, c0 + 1, OSP_TCP_SYN | OSP_TCP_ACK, "", 0, talk->ts += 10000);
	talk->segs = 2;
	say(talk, 0, OSP_TCP_ACK, 0, 0);
	for (round = 0; round < rounds; round++) {
		from = round % 2;
		for (i = 1 + rng(6); i; i--) {
			uint32_t n = 1 + rng(rng(4) ? 60 : 1400);

			say(talk, from, OSP_TCP_ACK, talk->n[from], n);
			talk->n[from] += n;
			if (!rng(3))
				say(talk, !from, OSP_TCP_ACK, talk->n[!from], 0);
		}
	}
	say(talk, 0, OSP_TCP_ACK | OSP_TCP_FIN, talk->n[0], 0);
	make_seg(&line[talk->segs++], 1, talk->start[1] + talk->n[1],
		 talk->start[0] + talk->n[0] + 1, OSP_TCP_ACK | OSP_TCP_FIN, "", 0,
		 talk->ts += 10000);
	make_seg(&line[talk->segs++], 0, talk->start[0] + talk->n[0] + 1,
		 talk->start[1] + talk->n[1] + 1, OSP_TCP_ACK, "", 0, talk->ts += 10000);
}

/* Inserts again what was sent, in other cuts, at later places. */
static void resend(struct talk *talk, int times)
{
	while (times-- && talk->segs < SEGS_MAX - 8) {
		uint32_t which = 3 + rng(talk->segs - 6), where, at, n;
		struct seg old = line[which], seg;
		int from = old.s.sport == 80;

		at = old.s.seq - talk->start[from];
		if (!old.s.len)
			continue;
		at -= at < 100 ? at : rng(100);
		n = 1 + rng(old.s.seq - talk->start[from] + old.s.len - at);
		where = which + 1 + rng(talk->segs - 3 - which);
		make_seg(&seg, from, talk->start[from] + at, old.s.ack, OSP_TCP_ACK,
			 sent[from] + at, n, line[where].s.ts);
		memmove(&line[where + 1], &line[where], (talk->segs - where) * sizeof(line[0]));
		line[where] = seg;
		talk->segs++;
	}
}

/* Moves packets by a few places, as paths of different length do; times stay where they are. */
static void reorder(struct talk *talk, uint32_t from, uint32_t to, uint32_t reach, uint32_t percent)
{
	uint32_t i, j;

	for (i = from; i + reach < to; i++) {
		if (rng(100) >= percent)
			continue;
		j = i + 1 + rng(reach);
		struct seg a = line[i], b = line[j];
		uint64_t t = a.s.ts;

		a.s.ts = b.s.ts;
		b.s.ts = t;
		line[i] = b;
		line[j] = a;
	}
}

static bool as_sent(const struct got *got, const struct talk *talk)
{
	return !got->faults && got->n[0] == talk->n[0] && got->n[1] == talk->n[1] &&
	       !memcmp(got->buf[0], sent[0], talk->n[0]) &&
	       !memcmp(got->buf[1], sent[1], talk->n[1]);
}

/* Whether what was got is what was sent, but for gaps, which say '?'. */
static bool as_sent_with_gaps(const struct got *got)
{
	uint32_t i;
	int d;

	for (d = 0; d < 2; d++) {
		uint32_t off = got->base[d] - (line[d].s.seq + 1);

		for (i = 0; i < got->n[d]; i++) {
			if (got->buf[d][i] != '?' && got->buf[d][i] != sent[d][off + i])
				return false;
		}
	}
	return !got->faults;
}

static void test_random(void)
{
	static struct got got;
	struct talk talk;
	int bad = 0, round;
	uint32_t i;

	for (round = 0; round < 400; round++) {
		struct osp_reasm *rs = reasm_for(&got, NULL);

		make_talk(&talk, rng(3) ? rng(UINT32_MAX) : UINT32_MAX - rng(3000),
			  rng(UINT32_MAX), 2 + (int)rng(16));
		resend(&talk, (int)rng(40));
		/* Within the grace of 20 ms, at 10 us a packet. */
		reorder(&talk, 3, talk.segs - 3, 1 + rng(12), rng(60));
		for (i = 0; i < talk.segs; i++)
			feed(rs, &line[i]);
		if (!as_sent(&got, &talk) || got.opens != 1 || got.closes != 1 || got.shuts != 2 ||
		    !got.whole || got.flags != (OSP_CF_FIN_TX | OSP_CF_FIN_RX | OSP_CF_BOTH_WAYS))
			bad++;
		osp_reasm_free(rs);
	}
	eq_int(bad, 0, "random conversations, resent and reordered, come out as sent");
}

static void test_random_loss(void)
{
	static struct got got;
	struct talk talk;
	uint64_t gaps = 0;
	int bad = 0, round;
	uint32_t i;

	for (round = 0; round < 400; round++) {
		struct osp_reasm *rs = reasm_for(&got, NULL);
		uint32_t loss = 1 + rng(30);

		make_talk(&talk, rng(UINT32_MAX), rng(UINT32_MAX), 2 + (int)rng(16));
		resend(&talk, (int)rng(20));
		reorder(&talk, 3, talk.segs - 3, 1 + rng(12), rng(60));
		for (i = 0; i < talk.segs; i++) {
			if (rng(100) >= loss)
				feed(rs, &line[i]);
		}
		osp_reasm_flush(rs);
		bad += !as_sent_with_gaps(&got);
		gaps += got.gap;
		osp_reasm_free(rs);
	}
	eq_int(bad, 0, "with loss: no byte in a wrong place, no order broken");
	ok(gaps > 100000, "and there were gaps (%llu bytes)", (unsigned long long)gaps);
}

/* Numbers and flags out of the air: whatever comes out is well-formed, and nothing is kept. */
static void test_nonsense(void)
{
	static struct got got;
	int bad = 0, round, i;

	for (round = 0; round < 60; round++) {
		struct osp_reasm *rs = reasm_for(&got, NULL);
		uint64_t ts = EPOCH;

		for (i = 0; i < 1500; i++) {
			struct seg seg;

			make_seg(&seg, (int)rng(2), rng(4) ? rng(3000) : rng(UINT32_MAX),
				 rng(4) ? rng(3000) : rng(UINT32_MAX),
				 (uint8_t)(rng(3) ? OSP_TCP_ACK : rng(64)), sent[0], rng(500), ts);
			ts += rng(2) ? rng(1000) : (uint64_t)rng(100) * MS;
			/* Gaps of a gigabyte do not fit into the test's buffer. */
			got.n[0] = got.n[1] = 0;
			feed(rs, &seg);
		}
		osp_reasm_flush(rs);
		osp_reasm_free(rs);
		bad += got.closes > got.opens;
	}
	eq_int(bad, 0, "nonsense ends no connection that was not opened");
}

/* ---- limits --------------------------------------------------------------------------------- */

static void test_table_full(void)
{
	static struct got got;
	struct osp_reasm_conf conf;
	struct osp_reasm *rs;
	struct seg seg;
	int i;

	osp_reasm_conf_default(&conf);
	conf.max_conns = 10;
	rs = reasm_for(&got, &conf);
	for (i = 0; i < 1000; i++) {
		make_seg(&seg, 0, 100, 200, OSP_TCP_ACK, "x", 1, EPOCH + (uint64_t)i * 30 * MS);
		seg.s.sport = (uint16_t)(1000 + i);
		feed(rs, &seg);
	}
	osp_reasm_flush(rs);
	eq_int(got.opens, 1000, "a table of ten: all thousand connections are told");
	eq_int(got.closes, 990, "and all but ten of them ended");
	eq_int(led.v[OSP_ST_WIRE_EVICTED], 990, "each eviction is counted");
	osp_reasm_free(rs);
}

static void test_hold_total(void)
{
	static struct got got;
	struct osp_reasm_conf conf;
	struct osp_reasm *rs;
	struct seg seg;
	int i;

	osp_reasm_conf_default(&conf);
	conf.hold_total = 100000;
	rs = reasm_for(&got, &conf);
	for (i = 0; i < 1000; i++) {
		/* Each has a hole that nothing proves. */
		make_seg(&seg, 0, 100, 200, OSP_TCP_ACK, "x", 1, EPOCH + (uint64_t)i * 1000);
		seg.s.sport = (uint16_t)(1000 + i);
		feed(rs, &seg);
		make_seg(&seg, 0, 1100, 200, OSP_TCP_ACK, sent[0], 1000,
			 EPOCH + (uint64_t)i * 1000);
		seg.s.sport = (uint16_t)(1000 + i);
		feed(rs, &seg);
	}
	ok(led.v[OSP_ST_WIRE_LOST_BYTES] > 800000, "beyond the limit holes are given up");
	osp_reasm_free(rs);
}

/* ---- fragments ------------------------------------------------------------------------------ */

static bool frag(struct osp_frags *frags, uint32_t id, uint32_t off, const char *s, bool more,
		 uint64_t ts, const uint8_t **p, uint32_t *n)
{
	struct osp_frag_key key = { .id = id };
	struct osp_frag_part part = { (const uint8_t *)s, off, (uint32_t)strlen(s), more, ts };

	return osp_frags_add(frags, &key, &part, p, n);
}

static void test_frags(void)
{
	struct osp_frag_stats st = { 0 };
	struct osp_frags *frags;
	const uint8_t *p = NULL;
	uint32_t n = 0, i;
	char big[65001];

	if (osp_frags_new(&frags, &st))
		abort();
	ok(!frag(frags, 1, 8, "BBBBBBBB", true, EPOCH, &p, &n), "middle");
	ok(!frag(frags, 1, 16, "CC", false, EPOCH, &p, &n), "end");
	ok(!frag(frags, 1, 8, "xxxxxxxx", true, EPOCH, &p, &n), "middle again, otherwise");
	ok(frag(frags, 1, 0, "AAAAAAAA", true, EPOCH, &p, &n) && n == 18 &&
	   !memcmp(p, "AAAAAAAABBBBBBBBCC", 18), "start: complete, the first wins");
	eq_int(st.conflict, 1, "the conflict is counted");
	osp_frags_recycle(frags);
	ok(!frag(frags, 1, 0, "AAAAAAAA", true, EPOCH, &p, &n), "same id: a new datagram");
	ok(!frag(frags, 1, 65528, "AAAAAAAA", false, EPOCH, &p, &n) && st.bad == 1,
	   "beyond 64 KiB: refused");
	ok(!frag(frags, 1, 8, "AAA", true, EPOCH, &p, &n) && st.bad == 2, "odd length: refused");
	ok(!frag(frags, 1, 8, "B", false, EPOCH + 31000 * MS, &p, &n) && st.timeout == 1,
	   "after half a minute it is forgotten");
	for (i = 0; i < 1000; i++)
		frag(frags, 100 + i, 0, "AAAAAAAA", true, EPOCH + 31000 * MS, &p, &n);
	eq_int(st.timeout, 1 + 1000 + 1 - OSP_FRAGS, "no more than so many at once");
	memset(big, 'y', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	for (i = 0; i < 65000 / 16; i++)
		frag(frags, 5, i * 16, "ABCDEFGH", true, EPOCH + 31000 * MS, &p, &n);
	ok(st.bad > 3000, "4000 islands in one datagram: refused beyond 64");
	osp_frags_free(frags);
}

/* ---- copies --------------------------------------------------------------------------------- */

static bool is_copy(struct osp_dedup *dd, const struct osp_tcp_seg *seg)
{
	return osp_dedup_is_copy(dd, seg, osp_dedup_hash(dd, seg));
}

static void test_dedup(void)
{
	struct osp_dedup *dd;
	struct seg a, b;

	if (osp_dedup_new(&dd))
		abort();
	make_seg(&a, 0, 1, 2, OSP_TCP_ACK, "data", 4, EPOCH);
	a.s.has_id = true;
	a.s.ip_id = 7;
	b = a;
	a.s.tcp = a.head;
	b.s.tcp = b.head;
	ok(!is_copy(dd, &a.s), "the first is none");
	b.s.ts += 90 * MS;
	b.s.tag = 5;
	b.head[16] = 0xaa;
	ok(is_copy(dd, &b.s), "another VLAN, another checksum: a copy");
	b.s.ts += 50 * MS;
	ok(!is_copy(dd, &b.s), "140 ms later: none");
	b.s.ts = EPOCH + 1;
	b.s.ip_id = 8;
	ok(!is_copy(dd, &b.s), "another IP id: sent again");
	b.s.ip_id = 7;
	b.s.data = (const uint8_t *)"dat4";
	ok(!is_copy(dd, &b.s), "another payload: none");
	osp_dedup_free(dd);
}

/* Each byte of a packet counts, wherever its length puts it, and none of the checksum. */
static void test_dedup_bytes(void)
{
	static uint8_t data[200], opts[40];
	uint8_t head[60];
	uint32_t n, at, wrong = 0, all = 0;
	struct osp_dedup *dd;
	struct seg a, b;

	if (osp_dedup_new(&dd))
		abort();
	for (n = 0; n < sizeof(data); n += n < 70 ? 1 : 13) {
		make_seg(&a, 0, 1000 + n, 2, OSP_TCP_ACK, data, n, EPOCH + n * 1000 * MS);
		a.s.has_id = true;
		a.s.ip_id = 7;
		memcpy(head, a.head, 20);
		memcpy(head + 20, opts, sizeof(opts));
		a.s.tcp_n = 20 + n % 11 * 4;
		a.s.tcp = head;
		is_copy(dd, &a.s);
		for (at = 0; at < a.s.tcp_n + 32 + n; at++) {
			uint32_t behind = at - a.s.tcp_n;
			uint8_t *p = at < a.s.tcp_n ? head + at : behind < n ? data + behind :
				     behind < n + 16 ? b.s.src + (behind - n) :
						       b.s.dst + (behind - n - 16);

			b = a;
			b.s.ts += ++all % 50000;
			*p ^= (uint8_t)(1u << at % 8);
			wrong += is_copy(dd, &b.s) != (p == head + 16 || p == head + 17);
			*p ^= (uint8_t)(1u << at % 8);
		}
	}
	eq_int(wrong, 0, "another byte anywhere: no copy, but for the checksum");
	osp_dedup_free(dd);
}

/* ---- damaged files -------------------------------------------------------------------------- */

static uint8_t file[1 << 16];
static size_t file_n, packet_end[64];
static int packets;

static void put(const void *p, size_t n)
{
	memcpy(file + file_n, p, n);
	file_n += n;
}

static void put_frame(bool ng, const uint8_t *p, uint32_t n, uint64_t ts)
{
	uint32_t h[4] = { (uint32_t)(ts / 1000000000), (uint32_t)(ts % 1000000000 / 1000), n, n };
	uint32_t len = 32 + ((n + 3) & ~3u);
	uint32_t e[7] = { 6, len, 0, (uint32_t)(ts / 1000 >> 32), (uint32_t)(ts / 1000), n, n };

	if (ng) {
		put(e, sizeof(e));
		put(p, n);
		put("\0\0\0", (4 - n % 4) % 4);
		put(&len, 4);
	} else {
		put(h, sizeof(h));
		put(p, n);
	}
	packet_end[packets++] = file_n;
}

static void put_segment(bool ng, const struct seg *seg)
{
	uint8_t f[2000] = { [12] = 8, [14] = 0x45, [23] = 6 };
	uint32_t n = 54 + seg->s.len;

	put16(f + 16, n - 14);
	put16(f + 18, (uint32_t)packets + 1);
	memcpy(f + 26, seg->s.src + 12, 4);
	memcpy(f + 30, seg->s.dst + 12, 4);
	memcpy(f + 34, seg->head, 20);
	memcpy(f + 54, seg->s.data, seg->s.len);
	put_frame(ng, f, n, seg->s.ts);
}

static void make_file(bool ng)
{
	static const uint32_t pcap[6] = { 0xa1b2c3d4, 2 | 4 << 16, 0, 0, 65535, 1 };
	static const uint32_t shb[7] = { 0x0a0d0d0a, 28, 0x1a2b3c4d, 1, ~0u, ~0u, 28 };
	static const uint32_t idb[5] = { 1, 20, 1, 0, 20 };
	struct talk talk;
	const char req[] = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
	const char res[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc";
	uint32_t i;

	file_n = 0;
	packets = 0;
	if (ng) {
		put(shb, sizeof(shb));
		put(idb, sizeof(idb));
	} else {
		put(pcap, sizeof(pcap));
	}
	make_talk(&talk, 1000, 5000, 0);
	memcpy(sent[0], req, sizeof(req) - 1);
	memcpy(sent[1], res, sizeof(res) - 1);
	talk.segs = 3;
	say(&talk, 0, OSP_TCP_ACK, 0, sizeof(req) - 1);
	talk.n[0] += sizeof(req) - 1;
	say(&talk, 1, OSP_TCP_ACK, 0, 20);
	say(&talk, 1, OSP_TCP_ACK, 20, sizeof(res) - 21);
	talk.n[1] += sizeof(res) - 1;
	say(&talk, 0, OSP_TCP_ACK, talk.n[0], 0);
	for (i = 0; i < talk.segs; i++)
		put_segment(ng, &line[i]);
}

static void no_record(void *ctx, const struct osp_record *rec)
{
	uint32_t *n = ctx;

	*n += rec->kind == OSP_REC_TRANSACTION && rec->outcome == OSP_OUT_OK;
}

/* The file p[0..n) through source and tracker. Returns how it ended: -ENODATA, -EPROTO ... */
static int read_file(const void *p, size_t n, uint32_t *txns, uint64_t *seen)
{
	struct osp_tracker_conf tconf;
	struct osp_wire_conf conf;
	struct osp_source_info info;
	struct osp_source *src = NULL;
	struct osp_tracker *trk = NULL;
	struct osp_ledger ledger = { 0 };
	char spec[64];
	int fd = memfd_create("capture", 0), err;

	*txns = 0;
	*seen = 0;
	if (fd < 0 || write(fd, p, n) != (ssize_t)n)
		abort();
	snprintf(spec, sizeof(spec), "pcap:/proc/self/fd/%d", fd);
	osp_wire_conf_default(&conf);
	err = osp_source_wire_new(&src, spec, &conf);
	if (err)
		goto out;
	src->ops->info(src, &info);
	osp_tracker_conf_default(&tconf);
	if (osp_tracker_new(&trk, &tconf, &info, &ledger, no_record, txns))
		abort();
	do {
		err = src->ops->poll(src, osp_tracker_event, trk);
	} while (err > 0);
	osp_tracker_finish(trk);
	src->ops->stats(src, &ledger);
	*seen = ledger.v[OSP_ST_WIRE_PACKETS];
	if (!osp_ledger_closes(&ledger, NULL, 0, true, NULL, 0))
		err = -EBADMSG;
out:
	osp_tracker_free(trk);
	if (src)
		src->ops->close(src);
	close(fd);
	return err;
}

static size_t header_end(bool ng)
{
	return ng ? 48 : 24;
}

static void test_cut(bool ng)
{
	const char *name = ng ? "pcapng" : "pcap";
	int bad = 0, i, whole;
	uint64_t seen;
	uint32_t txns;
	size_t cut;

	make_file(ng);
	eq_int(read_file(file, file_n, &txns, &seen), -ENODATA, "%s: whole", name);
	ok(txns == 1 && seen == (uint64_t)packets, "%s: one transaction, all packets", name);
	for (cut = 0; cut < file_n; cut++) {
		bool edge = cut == header_end(ng) || (ng && cut == 28);

		whole = 0;
		for (i = 0; i < packets; i++) {
			whole += packet_end[i] <= cut;
			edge |= packet_end[i] == cut;
		}
		if (read_file(file, cut, &txns, &seen) != (edge ? -ENODATA : -EPROTO) ||
		    seen != (uint64_t)whole || txns != (whole >= 6)) {
			bad++;
			printf("# cut at %zu: %d whole, %d seen, %u transactions\n", cut, whole,
			       (int)seen, txns);
		}
	}
	eq_int(bad, 0, "%s cut at each of %zu bytes: all before is told, and the cut", name,
	       file_n);
}

static size_t zip(uint8_t *out, size_t room)
{
	z_stream z = { .next_in = file, .avail_in = (uInt)file_n, .next_out = out,
		       .avail_out = (uInt)room };

	if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
	    deflate(&z, Z_FINISH) != Z_STREAM_END)
		abort();
	deflateEnd(&z);
	return room - z.avail_out;
}

static void test_cut_gz(void)
{
	static uint8_t gz[1 << 16];
	size_t n, cut;
	uint64_t seen;
	uint32_t txns;
	int bad = 0;

	make_file(false);
	n = zip(gz, sizeof(gz));
	eq_int(read_file(gz, n, &txns, &seen), -ENODATA, "gzip: whole");
	eq_int(txns, 1, "gzip: one transaction");
	for (cut = 0; cut < n; cut++)
		bad += read_file(gz, cut, &txns, &seen) != -EPROTO;
	eq_int(bad, 0, "gzip cut at each of %zu bytes: an error", n);
}

static void test_corrupt(bool ng)
{
	static uint8_t copy[1 << 16], gz[1 << 16];
	int bad = 0, odd = 0, round, i, err;
	size_t n, gz_n;
	uint64_t seen;
	uint32_t txns;

	make_file(ng);
	gz_n = zip(gz, sizeof(gz));
	for (round = 0; round < 4000; round++) {
		bool zipped = round % 8 == 7;

		n = zipped ? gz_n : file_n;
		memcpy(copy, zipped ? gz : file, n);
		for (i = 1 + (int)rng(8); i; i--)
			copy[rng((uint32_t)n)] = (uint8_t)(rng(3) ? rng(256) : rng(2) ? 0 : 255);
		err = read_file(copy, n, &txns, &seen);
		bad += err != -ENODATA && err != -EPROTO;
		odd += err == -EPROTO;
	}
	eq_int(bad, 0, "%s: 4000 corrupted files: an end or an error, sums close",
	       ng ? "pcapng" : "pcap");
	ok(odd > 100, "and %d of them were errors", odd);
}

/* ---- captures from the world, cut ------------------------------------------------------------ */

/* Up to this size a capture is cut at every byte, beyond at CUTS_SOME places; all of them: with
 * OSP_CUTS=all in the environment every byte up to 64 KiB, and CUTS_MANY places beyond.
 */
#define CUTS_EACH 700
#define CUTS_SOME 20
#define CUTS_MANY 4000

struct cuts {
	int bad, captures;
	uint64_t n;
	size_t each, some;
};

/* Whatever is cut off: an end or an error, sums that close, and no transaction that is not in the
 * whole of it.
 */
static void cut_capture(struct cuts *cuts, const char *name, const uint8_t *p, size_t n)
{
	uint64_t packets_all, seen;
	uint32_t all, txns;
	size_t tries = n <= cuts->each ? n : cuts->some, i;
	int err = read_file(p, n, &all, &packets_all);

	cuts->captures++;
	if (err != -ENODATA) {
		cuts->bad++;
		printf("# %s: %d\n", name, err);
	}
	for (i = 0; i < tries; i++) {
		size_t cut = tries == n ? i : rng((uint32_t)n);

		err = read_file(p, cut, &txns, &seen);
		cuts->n++;
		if ((err != -ENODATA && err != -EPROTO) || txns > all || seen > packets_all) {
			cuts->bad++;
			printf("# %s cut at %zu: %d, %u transactions of %u\n", name, cut, err, txns,
			       all);
		}
	}
}

static void test_cut_corpus(void)
{
	static uint8_t capture[8u << 20];
	const char *base = getenv("OSP_SHARED"), *how = getenv("OSP_CUTS");
	bool every = how && !strcmp(how, "all");
	struct cuts cuts = { .each = every ? 65536 : CUTS_EACH,
			     .some = every ? CUTS_MANY : CUTS_SOME };
	struct rusage before, after;
	struct dirent *de;
	char path[4096];
	DIR *dir;

	snprintf(path, sizeof(path), "%s/corpora/wire", base ? base : "../shared");
	dir = opendir(path);
	if (!dir) {
		tap_skip("captures from the world, cut", "they are not here");
		return;
	}
	getrusage(RUSAGE_SELF, &before);
	while ((de = readdir(dir))) {
		int fd = openat(dirfd(dir), de->d_name, O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, capture, sizeof(capture));

		if (n > 0)
			cut_capture(&cuts, de->d_name, capture, (size_t)n);
		if (fd >= 0)
			close(fd);
	}
	closedir(dir);
	getrusage(RUSAGE_SELF, &after);
	eq_int(cuts.bad, 0, "%d captures cut at %llu places: an end or an error, nothing made up",
	       cuts.captures, (unsigned long long)cuts.n);
	/* The address sanitizer keeps up to 256 MiB of what was given back. */
	ok(after.ru_maxrss - before.ru_maxrss < 384l << 10, "in %ld MiB",
	   (after.ru_maxrss - before.ru_maxrss) >> 10);
}

int main(void)
{
	int err = dup(2), null = open("/dev/null", O_WRONLY);

	test_random();
	test_random_loss();
	test_nonsense();
	test_table_full();
	test_hold_total();
	test_frags();
	test_dedup();
	test_dedup_bytes();
	/* Each damaged file has its line, which is not what is tested here. */
	dup2(null, 2);
	test_cut(false);
	test_cut(true);
	test_cut_gz();
	test_corrupt(false);
	test_corrupt(true);
	test_cut_corpus();
	dup2(err, 2);
	close(err);
	close(null);
	return done();
}
