/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_tracker.c: connections and streams under loss, reordering, races, shortage and time. What
 * must hold whatever happens: the ledger's sums close, no response is paired with a request it does
 * not answer, and a size that is told is right.
 */
#include "agent/conn.h"
#include "agent/parser/http1.h"
#include "agent/proc.h"
#include "tests/lib/evbuild.h"
#include "tests/lib/tap.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/socket.h>

#define EST(conn) evc_open(conn, OSP_OPEN_ESTABLISHED, OSP_ROLE_SERVER, OSP_FROM_ACCEPT)
#define FIN (OSP_CF_FIN_TX | OSP_CF_FIN_RX)

static const struct osp_record *txn(const struct rig *rig, uint32_t n)
{
	static const struct osp_record none;
	const struct osp_record *rec = rig_rec(rig, OSP_REC_TRANSACTION, n);

	return rec ? rec : &none;
}

static const struct osp_record *crec(const struct rig *rig, uint32_t n)
{
	static const struct osp_record none;
	const struct osp_record *rec = rig_rec(rig, OSP_REC_CONNECTION, n);

	return rec ? rec : &none;
}

/* ---- conversations whose pairs can be checked ------------------------------------------------ */

/* Exchange k asks for /e<k> and is answered with content type t/e<k> and 7 + k bytes of body; every
 * third one chunked, every fourth request has a body of 5 + k bytes.
 */
static size_t request(char *out, size_t room, unsigned int k)
{
	size_t n;

	if (k % 4 != 3)
		return (size_t)snprintf(out, room, "GET /e%u HTTP/1.1\r\nHost: x\r\n\r\n", k);
	n = (size_t)snprintf(out, room, "POST /e%u HTTP/1.1\r\nContent-Length: %u\r\n\r\n", k, 5 + k);
	memset(out + n, 'q', 5 + k);
	return n + 5 + k;
}

static size_t response(char *out, size_t room, unsigned int k)
{
	size_t n;

	if (k % 3 == 2) {
		n = (size_t)snprintf(out, room, "HTTP/1.1 200 OK\r\nContent-Type: t/e%u\r\n"
				     "Transfer-Encoding: chunked\r\n\r\n%x\r\n", k, 7 + k);
		memset(out + n, 'r', 7 + k);
		n += 7 + k;
		return n + (size_t)snprintf(out + n, room - n, "\r\n0\r\n\r\n");
	}
	n = (size_t)snprintf(out, room, "HTTP/1.1 200 OK\r\nContent-Type: t/e%u\r\n"
			     "Content-Length: %u\r\n\r\n", k, 7 + k);
	memset(out + n, 'r', 7 + k);
	return n + 7 + k;
}

/* The number at the end of a string; -1: there is no string. */
static int number(struct osp_slice s, uint32_t skip)
{
	int k = 0;
	uint32_t i;

	if (!s.p || (s.p[0] == '/' && (s.n < 2 || s.p[1] != 'e')))
		return -1;
	for (i = skip; i < s.n; i++)
		k = k * 10 + (s.p[i] - '0');
	return k;
}

/* What is wrong with a transaction of such a conversation; NULL: nothing. */
static const char *wrong(const struct osp_record *r)
{
	struct osp_slice t = r->str[OSP_S_TARGET], c = r->str[OSP_S_RES_CONTENT_TYPE];
	const struct osp_rec_msg *req = &r->msg[OSP_REQ], *res = &r->msg[OSP_RES];
	int tk = number(t, 2), ck = number(c, 3);

	if (tk >= 0 && ck >= 0 && tk != ck)
		return "wrong pair";
	if (r->outcome == OSP_OUT_OK && (!(req->has & OSP_MH_MSG) || !(res->has & OSP_MH_MSG)))
		return "ok without a half";
	if ((req->has & OSP_MH_MSG) && !t.p)
		return "request without a target";
	if (tk >= 0 && (req->has & OSP_MH_END) &&
	    req->body_bytes != (uint64_t)(tk % 4 == 3 ? 5 + tk : 0))
		return "wrong size of a request";
	if (ck >= 0 && (res->has & OSP_MH_END) && res->body_bytes != (uint64_t)(7 + ck))
		return "wrong size of a response";
	if ((r->lost_bytes != 0) != !!(r->flags & OSP_RF_GAP) && r->outcome != OSP_OUT_GAP)
		return "gap flag";
	return NULL;
}

static const char *any_wrong(struct rig *rig)
{
	const char *what = NULL;
	uint32_t i;
	int d;

	for (i = 0; i < rig->n && !what; i++) {
		const struct osp_record *r = rig->rec[i];

		if (r->kind == OSP_REC_TRANSACTION)
			what = wrong(r);
		for (d = 0; r->kind == OSP_REC_CONNECTION && d < OSP_DIRS; d++) {
			const struct osp_rec_stream *s = &r->connection.dir[d];
			uint64_t sum = s->seen_bytes;
			uint32_t g;

			for (g = 0; g < s->gap_n; g++)
				sum += s->gap[g].bytes;
			if (sum != s->bytes || sum - s->seen_bytes != s->gap_bytes)
				what = "a connection's sum";
		}
	}
	if (!what && !rig_sums(rig))
		what = "ledger";
	if (!what && rig_stat(rig, OSP_ST_BY_HELD))
		what = "held";
	if (!what && rig_stat(rig, OSP_ST_MEM_BYTES))
		what = "memory";
	return what;
}

/* A text of several turns, and where each begins. */
struct text {
	char s[8192];
	uint32_t n;
	struct {
		uint32_t at, n;
		int dir;
	} turn[16];
	uint32_t turns;
};

static void exchanges(struct text *text, unsigned int count)
{
	unsigned int k;

	text->n = text->turns = 0;
	for (k = 0; k < 2 * count; k++) {
		size_t n = k % 2 ? response(text->s + text->n, 512, k / 2 + 1) :
				   request(text->s + text->n, 512, k / 2 + 1);

		text->turn[k].at = text->n;
		text->turn[k].n = (uint32_t)n;
		text->turn[k].dir = k % 2 ? OSP_TX : OSP_RX;
		text->n += (uint32_t)n;
		text->turns++;
	}
}

enum loss { LOSE, BYPASS, GAP_EVENT, LATE };

static void part(struct evc *conn, int dir, const char *p, uint32_t n, bool gone, enum loss how)
{
	if (!n)
		return;
	if (!gone)
		evc_data(conn, dir, p, n);
	else if (how == LOSE)
		evc_lose(conn, dir, n);
	else if (how == BYPASS)
		evc_bypass(conn, dir, n);
	else
		evc_gap(conn, dir, n, OSP_CAUSE_UNREADABLE);
}

/* Plays text; what lies in [from, to) of direction dir does not arrive. */
static void play(struct evc *conn, const struct text *text, int dir, uint32_t from, uint32_t to,
		 enum loss how)
{
	uint32_t pos[OSP_DIRS] = { 0, 0 }, i;

	for (i = 0; i < text->turns; i++) {
		const char *p = text->s + text->turn[i].at;
		uint32_t n = text->turn[i].n, a, b;
		int d = text->turn[i].dir;

		a = d != dir || from <= pos[d] ? 0 : from - pos[d];
		b = d != dir || to <= pos[d] ? 0 : to - pos[d];
		a = a < n ? a : n;
		b = b < n ? b : n;
		part(conn, d, p, a, false, how);
		part(conn, d, p + a, b - a, true, how);
		part(conn, d, p + b, n - b, false, how);
		pos[d] += n;
	}
}

/* Whether the n-th exchange's message of that kind is in a record. */
static bool told(const struct rig *rig, int str, uint32_t skip, int n)
{
	uint32_t i;

	for (i = 0; i < rig->n; i++) {
		if (rig->rec[i]->kind == OSP_REC_TRANSACTION &&
		    number(rig->rec[i]->str[str], skip) == n)
			return true;
	}
	return false;
}

/* Every message of which nothing was lost must show up, paired or alone. */
static const char *missing(const struct rig *rig, const struct text *text, int dir, uint32_t from,
			   uint32_t to)
{
	uint32_t pos = 0, i;

	for (i = 0; i < text->turns; i++) {
		uint32_t at = pos;

		if (text->turn[i].dir == dir)
			pos += text->turn[i].n;
		if (text->turn[i].dir == dir && from < pos && to > at)
			continue;
		if (i % 2 ? !told(rig, OSP_S_RES_CONTENT_TYPE, 3, (int)i / 2 + 1) :
			    !told(rig, OSP_S_TARGET, 2, (int)i / 2 + 1))
			return i % 2 ? "a whole response is missing" : "a whole request is missing";
	}
	return NULL;
}

static void test_gaps(struct rig *rig)
{
	static const uint32_t size[] = { 1, 2, 9, 40, 100, 300 };
	struct text text;
	unsigned int how, k;
	uint32_t from, bad = 0, ok_n = 0, runs = 0;
	int dir;

	exchanges(&text, 3);
	for (dir = 0; dir < OSP_DIRS; dir++)
	for (how = LOSE; how <= GAP_EVENT; how++)
	for (k = 0; k < sizeof(size) / sizeof(size[0]); k++)
	for (from = 0; from < 260; from++) {
		struct evc conn;
		const char *what;
		uint32_t i;

		rig_reset(rig);
		evc_init(&conn, rig, 1, 0xffffff80u, 0xffffffc0u);	/* wraps on the way */
		EST(&conn);
		play(&conn, &text, dir, from, from + size[k], (enum loss)how);
		evc_close(&conn, FIN, 0);
		what = any_wrong(rig);
		what = what ? what : missing(rig, &text, dir, from, from + size[k]);
		if (what && !bad++)
			printf("# dir %d how %u from %u size %u: %s\n", dir, how, from, size[k], what);
		for (i = 0; i < rig_count(rig, OSP_REC_TRANSACTION); i++)
			ok_n += txn(rig, i)->outcome == OSP_OUT_OK;
		runs++;
	}
	eq_int(bad, 0, "a gap anywhere: nothing wrong is told (%u ways)", runs);
	/* Not proof, but a guard against giving up too early: most of what can be saved is. */
	ok(ok_n > runs * 3 / 2, "half of the transactions survive: %u of %u", ok_n, runs * 3);
}

static void test_one_lost(struct rig *rig)
{
	struct text text;
	struct evc conn;
	uint32_t i;

	/* Losing one whole message costs its own transaction only, once the connection has shown
	 * that it sends one request at a time.
	 */
	exchanges(&text, 5);
	for (i = 0; i < text.turns; i++) {
		uint32_t from = 0, j;
		int dir = text.turn[i].dir;

		for (j = 0; j < i; j++)
			from += text.turn[j].dir == dir ? text.turn[j].n : 0;
		rig_reset(rig);
		evc_init(&conn, rig, 1, 5, 6);
		EST(&conn);
		play(&conn, &text, dir, from, from + text.turn[i].n, LOSE);
		evc_close(&conn, FIN, 0);
		ok(!any_wrong(rig), "message %u lost: nothing wrong", i);
		eq_int(rig_stat(rig, OSP_ST_TXN_OK), i < 2 ? 3 : 4, "message %u lost: others ok", i);
		eq_int(rig_stat(rig, OSP_ST_EX_LOST), 0, "half of it was seen");
	}
	/* A whole exchange lost is counted. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 5, 6);
	EST(&conn);
	for (i = 0; i < text.turns; i++) {
		const char *p = text.s + text.turn[i].at;

		part(&conn, text.turn[i].dir, p, text.turn[i].n, i == 4 || i == 5, LOSE);
	}
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_EX_LOST), 1, "a lost exchange is counted");
	eq_int(crec(rig, 0)->connection.lost_exchanges, 1, "and named");
	eq_int(rig_stat(rig, OSP_ST_TXN_OK), 4, "the other four are ok");
	ok(!any_wrong(rig), "sums");
}

/* A response waits for the request that it must follow, and its direction is overtaken by far. */
static void test_leap(struct rig *rig)
{
	struct text text;
	struct evc conn;
	struct evd *evd;
	uint32_t i;

	exchanges(&text, 4);
	rig_reset(rig);
	evc_init(&conn, rig, 1, 5, 6);
	EST(&conn);
	for (i = 0; i < 7; i++)
		part(&conn, text.turn[i].dir, text.s + text.turn[i].at, text.turn[i].n, i == 6,
		     LOSE);
	evd = evc_make(&conn, OSP_TX, text.s + text.turn[7].at, text.turn[7].n, text.turn[7].n, 0);
	evd->ev.other = conn.seq[OSP_RX];
	evd->ev.flags |= OSP_DF_OTHER;
	evc_deliver(&conn, evd);
	eq_int(rig_stat(rig, OSP_ST_MSG_RESPONSES), 3, "it waits");
	for (i = 0; i < 200; i++)
		part(&conn, i % 2 ? OSP_TX : OSP_RX, text.s, 50, true, LOSE);
	part(&conn, OSP_RX, text.s, text.turn[0].n, false, LOSE);
	eq_int(rig_stat(rig, OSP_ST_MSG_RESPONSES), 4, "and is passed on");
	part(&conn, OSP_TX, text.s + text.turn[1].at, text.turn[1].n, false, LOSE);
	evc_close(&conn, FIN, 0);
	eq_int(crec(rig, 0)->connection.lost_exchanges, 100, "what is between them is lost, it is not");
	eq_int(rig_stat(rig, OSP_ST_TXN_OK), 4, "the others are ok");
	eq_int(rig_stat(rig, OSP_ST_TXN_NO_REQUEST), 1, "half of it is told");
	ok(!any_wrong(rig), "sums");
}

/* The first response there is says that a request went before it, which never comes: nobody can say
 * that the server spoke unasked.
 */
static void test_asked(struct rig *rig)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n";
	static const char other[] = "HTTP/1.1 204 No\r\n\r\n";
	struct evc conn;
	struct evd *evd;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 5, 6);
	EST(&conn);
	conn.seq[OSP_RX] += 20;		/* HEAD, of which nothing shows yet */
	evd = evc_make(&conn, OSP_TX, head, sizeof(head) - 1, sizeof(head) - 1, 0);
	evd->ev.other = conn.seq[OSP_RX];
	evd->ev.flags |= OSP_DF_OTHER;
	evc_deliver(&conn, evd);
	eq_int(rig_stat(rig, OSP_ST_MSG_RESPONSES), 0, "the response waits for its request");
	rig_tick(rig, 1000000000);
	eq_int(rig_stat(rig, OSP_ST_MSG_RESPONSES), 1, "not for ever");
	evc_str(&conn, OSP_RX, "GET / HTTP/1.1\r\n\r\n");
	evc_data(&conn, OSP_TX, other, sizeof(other) - 1);
	evc_close(&conn, FIN, 0);
	eq_int(txn(rig, 0)->outcome, OSP_OUT_NO_REQUEST, "it may have answered a HEAD");
	eq_int(rig_stat(rig, OSP_ST_MSG_RESPONSES), 2, "so what came for its body is a response");
	ok(!any_wrong(rig), "sums");
}

static void test_midstream(struct rig *rig)
{
	struct text text;
	uint32_t skip, bad = 0, late = 0, open;

	exchanges(&text, 3);
	for (open = 0; open < 3; open++)
	for (skip = 0; skip < text.n; skip++) {
		struct evc conn;
		const char *what;
		uint32_t i;

		rig_reset(rig);
		evc_init(&conn, rig, 1, 0xffffff80u, 0xffffffc0u);
		for (i = 0; i < text.turns; i++) {
			const char *p = text.s + text.turn[i].at;
			uint32_t n = text.turn[i].n, at = text.turn[i].at;
			uint32_t cut = skip <= at ? 0 : skip - at < n ? skip - at : n;

			conn.seq[text.turn[i].dir] += cut;
			if (n == cut)
				continue;
			if (!conn.turn && open)
				evc_open(&conn, open == 1 ? OSP_OPEN_SIGHT : OSP_OPEN_SEED,
					 OSP_ROLE_SERVER, OSP_FROM_LISTEN);
			evc_data(&conn, text.turn[i].dir, p + cut, n - cut);
		}
		evc_close(&conn, FIN, 0);
		what = any_wrong(rig);
		if (what && !bad++)
			printf("# open %u skip %u: %s\n", open, skip, what);
		if (skip < text.turn[4].at && rig_stat(rig, OSP_ST_TXN_OK) < 1)
			late++;
		for (i = 0; i < rig_count(rig, OSP_REC_TRANSACTION); i++)
			bad += !(txn(rig, i)->flags & OSP_RF_MIDSTREAM) || txn(rig, i)->conn.has & OSP_CH_TXN;
	}
	eq_int(bad, 0, "joined at every byte: nothing wrong is told");
	eq_int(late, 0, "the next whole exchange is found");
}

/* ---- reordering ------------------------------------------------------------------------------ */

static void test_reorder(struct rig *rig)
{
	struct text text;
	struct evd *evd[64];
	uint32_t shift, i, n, bad = 0;
	struct evc conn;

	exchanges(&text, 3);
	for (shift = 1; shift < 6; shift++) {
		n = 0;
		rig_reset(rig);
		evc_init(&conn, rig, 1, 0xffffff80u, 0xffffffc0u);
		EST(&conn);
		for (i = 0; i < text.turns; i++) {
			uint32_t at, step = text.turn[i].n / 5 + 1;

			for (at = 0; at < text.turn[i].n; at += step) {
				uint32_t len = text.turn[i].n - at < step ? text.turn[i].n - at : step;

				evd[n++] = evc_make(&conn, text.turn[i].dir,
						    text.s + text.turn[i].at + at, len, len, 0);
			}
		}
		/* Within each run of `shift` events of one direction: back to front. */
		for (i = 0; i < n;) {
			uint32_t j = i, k;

			while (j < n && j - i < shift && evd[j]->ev.dir == evd[i]->ev.dir)
				j++;
			for (k = j; k > i; k--)
				evc_deliver(&conn, evd[k - 1]);
			i = j;
		}
		evc_close(&conn, FIN, 0);
		if (any_wrong(rig) || rig_stat(rig, OSP_ST_TXN_OK) != 3)
			bad++;
	}
	eq_int(bad, 0, "pieces out of order: three transactions each time");

	/* A hole that is filled in time; then one that is not. */
	for (i = 0; i < 2; i++) {
		struct evd *a, *b;

		rig_reset(rig);
		evc_init(&conn, rig, 1, 1, 2);
		EST(&conn);
		a = evc_make(&conn, OSP_RX, "GET /xx HTTP/1.1\r\n", 18, 18, 0);
		b = evc_make(&conn, OSP_RX, "Host: x\r\n\r\n", 11, 11, 0);
		evc_deliver(&conn, b);
		eq_int(rig_stat(rig, OSP_ST_BY_HELD), 11, "waits");
		ok(rig_sums(rig), "sums meanwhile");
		rig_tick(rig, (i ? 10 : 5) * rig->conf.reorder_ns);
		if (!i)
			eq_int(rig_stat(rig, OSP_ST_BY_HELD), 11, "still");
		else
			eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), 18, "given up in the end");
		evc_deliver(&conn, a);
		evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		evc_close(&conn, FIN, 0);
		eq_int(txn(rig, 0)->outcome, i ? OSP_OUT_NO_REQUEST : OSP_OUT_OK, "outcome");
		eq_int(rig_stat(rig, OSP_ST_BY_OVERLAP), i ? 18 : 0, "what comes too late is overlap");
		ok(!any_wrong(rig), "sums");
	}

	/* Bytes do go past the hooks here: the next hole is not waited for as long. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "POST /xx HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
	for (i = 0; i < 2; i++) {
		conn.seq[OSP_RX] += 10;
		evc_str(&conn, OSP_RX, "aaaaaaaaaa");
		rig_tick(rig, rig->conf.reorder_ns);
		eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), i ? 20 : 0, "after reorder_ns");
		rig_tick(rig, 9 * rig->conf.reorder_ns);
		eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), i ? 20 : 10, "after ten times that");
	}
	ok(rig_sums(rig), "sums");

	/* The response waits for the request's hole. */
	{
		struct evd *a, *b;

		rig_reset(rig);
		evc_init(&conn, rig, 1, 1, 2);
		EST(&conn);
		a = evc_make(&conn, OSP_RX, "GET /xx HTTP/1.1\r\n", 18, 18, 0);
		b = evc_make(&conn, OSP_RX, "Host: x\r\n\r\n", 11, 11, 0);
		evc_deliver(&conn, b);
		evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		evc_deliver(&conn, a);
		eq_int(rig_stat(rig, OSP_ST_TXN_OK), 1, "a response waits for its request's bytes");
		evc_close(&conn, FIN, 0);
		ok(!any_wrong(rig), "sums");
	}
}

static void test_list_full(struct rig *rig)
{
	struct evc conn;
	uint32_t i;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "POST /xx HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
	evc_bypass(&conn, OSP_RX, 10);
	for (i = 0; i < 40; i++)
		evc_str(&conn, OSP_RX, "q");
	eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), 10, "a full list is not waited for");
	ok(rig_stat(rig, OSP_ST_BY_HELD) == 0, "nothing waits any more");
	evc_close(&conn, FIN, 0);
	ok(!any_wrong(rig), "sums");
}

static void test_overlap(struct rig *rig)
{
	struct evc conn;
	uint32_t seq;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	seq = conn.seq[OSP_RX];
	evc_str(&conn, OSP_RX, "GET /xx HTTP/1.1\r\nHo");
	conn.seq[OSP_RX] = seq + 10;
	evc_str(&conn, OSP_RX, "TP/1.1\r\nHost: x\r\n\r\n");	/* first 10 again, and on */
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_BY_OVERLAP), 10, "overlap is trimmed and counted");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_OK, "ok");
	eq_int(crec(rig, 0)->connection.dir[OSP_RX].overlap_bytes, 10, "per connection too");
	ok(!any_wrong(rig), "sums");
}

static void test_race(struct rig *rig)
{
	const struct osp_rec_stream *s;
	struct evc conn;
	struct evd *a, *b;

	/* Two threads read 10 bytes each; the hook of the first ran after the second's read, so both
	 * claim the later 10.
	 */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "POST /xx HTTP/1.1\r\nContent-Length: 25\r\n\r\n");
	conn.seq[OSP_RX] += 10;
	a = evc_make(&conn, OSP_RX, "bbbbbbbbbb", 10, 10, 0);
	conn.seq[OSP_RX] -= 10;
	conn.tid++;
	b = evc_make(&conn, OSP_RX, "aaaaaaaaaa", 10, 10, 0);
	evc_deliver(&conn, a);
	evc_deliver(&conn, b);
	evc_str(&conn, OSP_RX, "ccccc");
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	evc_close(&conn, FIN, 0);
	s = &crec(rig, 0)->connection.dir[OSP_RX];
	eq_int(rig_stat(rig, OSP_ST_GAP_RACE), 20, "neither is believed");
	ok(s->gap_n == 1 && s->gap[0].cause == OSP_CAUSE_RACE, "one gap of that cause");
	eq_int(txn(rig, 0)->msg[OSP_REQ].body_bytes, 25, "the size is exact");
	ok(!(txn(rig, 0)->msg[OSP_REQ].has & OSP_MH_DIGEST), "no digest");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_OK, "ok");
	ok(rig_sums(rig), "sums");

	/* The same bytes twice, by two threads, and as many missing before them: they raced. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "POST /xx HTTP/1.1\r\nContent-Length: 20\r\n\r\n");
	conn.seq[OSP_RX] += 10;
	a = evc_make(&conn, OSP_RX, "bbbbbbbbbb", 10, 10, 0);
	conn.seq[OSP_RX] -= 10;
	conn.tid++;
	b = evc_make(&conn, OSP_RX, "bbbbbbbbbb", 10, 10, 0);
	evc_deliver(&conn, a);
	evc_deliver(&conn, b);
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_GAP_RACE), 10, "equal claims: the hole is put down to the race");
	eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), 0, "and to nothing else");
	eq_int(rig_stat(rig, OSP_ST_BY_OVERLAP), 10, "overlap");
	ok(rig_sums(rig), "sums");

	/* The first is so late that the second's request would be taken for its successor's. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	conn.seq[OSP_RX] += 25;
	b = evc_make(&conn, OSP_RX, "GET /b HTTP/1.1\r\na: b\r\n\r\n", 25, 25, 0);
	conn.seq[OSP_RX] -= 25;
	conn.tid++;
	a = evc_make(&conn, OSP_RX, "GET /a HTTP/1.1\r\na: b\r\n\r\n", 25, 25, 0);
	evc_deliver(&conn, b);
	rig_tick(rig, 5 * rig->conf.reorder_ns);
	evc_deliver(&conn, a);
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	evc_str(&conn, OSP_TX, "HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n");
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_GAP_RACE), 50, "neither has a place");
	eq_int(rig_stat(rig, OSP_ST_TXN_OK), 0, "and no response is paired with either");
	ok(rig_sums(rig), "sums");

	/* The first was so late that its hole was given up before. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "POST /xx HTTP/1.1\r\nContent-Length: 500\r\n\r\n");
	conn.seq[OSP_RX] += 10;
	conn.tid++;
	for (int i = 0; i < 20; i++)
		evc_str(&conn, OSP_RX, "bbbbbbbbbbb");
	eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), 10, "given up");
	conn.tid--;
	conn.seq[OSP_RX] -= 10;
	evc_str(&conn, OSP_RX, "aaaaaaaaaa");
	eq_int(rig_stat(rig, OSP_ST_GAP_RACE), 10, "it raced after all");
	eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), 0, "and nothing went past the hooks");
	evc_close(&conn, FIN, 0);
	s = &crec(rig, 0)->connection.dir[OSP_RX];
	ok(s->gap_n == 1 && s->gap[0].cause == OSP_CAUSE_RACE && s->gap[0].bytes == 10,
	   "the connection says so, too");
	ok(rig_sums(rig), "sums");
}

/* A client with a thread that sends and one that receives, which is quicker to its hook: n requests
 * whose events come after those of their responses.
 */
static void late_requests(struct rig *rig, int n, bool told, bool lost)
{
	struct evc conn;
	char req[64], res[64];
	int i;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1000, 2000);
	evc_open(&conn, OSP_OPEN_ESTABLISHED, OSP_ROLE_CLIENT, OSP_FROM_CONNECT);
	for (i = 0; i < n; i++) {
		struct evd *a, *b;

		snprintf(req, sizeof(req), "GET /%d HTTP/1.1\r\n\r\n", i);
		snprintf(res, sizeof(res), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%.*s", i, i,
			 "xxxxxxxxxx");
		a = evc_make(&conn, OSP_TX, req, (uint32_t)strlen(req), (uint32_t)strlen(req), 0);
		b = evc_make(&conn, OSP_RX, res, (uint32_t)strlen(res), (uint32_t)strlen(res), 0);
		if (told) {
			b->ev.flags |= OSP_DF_OTHER;
			b->ev.other = conn.seq[OSP_TX];
		}
		evc_deliver(&conn, b);
		if (lost && i == 1)
			free(a);
		else
			evc_deliver(&conn, a);
	}
	evc_close(&conn, FIN, 0);
}

static void test_late_request(struct rig *rig)
{
	uint32_t i, ok_n = 0;

	late_requests(rig, 5, true, false);
	for (i = 0; i < 5; i++) {
		const struct osp_record *rec = txn(rig, (int)i);
		char want[8];

		snprintf(want, sizeof(want), "/%u", i);
		ok_n += rec && rec->outcome == OSP_OUT_OK && slice_eq(rec->str[OSP_S_TARGET], want) &&
			rec->msg[OSP_RES].body_bytes == i;
	}
	eq_int(ok_n, 5, "a response whose event comes first waits for its request");
	eq_int(rig_stat(rig, OSP_ST_TXN_NO_REQUEST), 0, "none is taken for an orphan");
	ok(rig_sums(rig), "sums");

	late_requests(rig, 5, true, true);
	for (i = 0; i < rig->n; i++) {
		const struct osp_record *rec = rig->rec[i];
		char want[8];

		if (rec->kind != OSP_REC_TRANSACTION || rec->outcome != OSP_OUT_OK)
			continue;
		snprintf(want, sizeof(want), "/%u", (unsigned int)rec->msg[OSP_RES].body_bytes);
		ok(slice_eq(rec->str[OSP_S_TARGET], want), "a request lost: no pair is wrong");
	}
	eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), 19, "and its bytes are missing");
	ok(rig_sums(rig), "sums");
}

/* The same where the response's hook ran first, and so has the earlier turn; a second request was sent
 * before that response was read, and its event comes before or after. The kernel's turns are no order then.
 */
static void test_turns_swapped(struct rig *rig)
{
	static const char *const req[2] = { "GET /0 HTTP/1.1\r\n\r\n", "GET /1 HTTP/1.1\r\n\r\n" };
	struct evd *a[2], *b;
	struct evc conn;
	uint32_t sent;

	for (int both = 0; both < 2; both++) {
		rig_reset(rig);
		evc_init(&conn, rig, 1, 1000, 2000);
		evc_open(&conn, OSP_OPEN_ESTABLISHED, OSP_ROLE_CLIENT, OSP_FROM_CONNECT);
		b = evc_make(&conn, OSP_RX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 38, 38, 0);
		sent = conn.seq[OSP_TX] + (uint32_t)strlen(req[0]);
		for (int i = 0; i < 2; i++)
			a[i] = evc_make(&conn, OSP_TX, req[i], (uint32_t)strlen(req[i]),
					(uint32_t)strlen(req[i]), 0);
		ok(b->ev.turn < a[0]->ev.turn, "the response has the earlier turn");
		b->ev.flags |= OSP_DF_OTHER;
		b->ev.other = sent;
		if (!both)
			evc_deliver(&conn, b);
		evc_deliver(&conn, a[0]);
		evc_deliver(&conn, a[1]);
		if (both)
			evc_deliver(&conn, b);
		evc_str(&conn, OSP_RX, "HTTP/1.1 201 OK\r\nContent-Length: 0\r\n\r\n");
		evc_close(&conn, FIN, 0);
		eq_int(rig_stat(rig, OSP_ST_TXN_OK), 2, "both are answered");
		for (int i = 0; i < 2; i++) {
			eq_int(txn(rig, i)->msg[OSP_RES].status, 200 + i, "each by its own response");
			ok(slice_eq(txn(rig, i)->str[OSP_S_TARGET], i ? "/1" : "/0"), "in order");
		}
		ok(!(txn(rig, 0)->has_timing & 1) || txn(rig, 0)->ttfb_ns >= 0, "no time is negative");
		ok(rig_sums(rig), "sums");
	}
}

/* Two threads raced to announce a connection. */
static void test_twice_open(struct rig *rig)
{
	struct evc conn;
	uint64_t ts;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	ts = rig->ts;
	EST(&conn);
	evc_str(&conn, OSP_RX, "GET /a HTTP/1.1\r\n\r\n");
	rig->ts = ts;
	EST(&conn);
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_CONN_OPENED), 1, "an OPEN told twice is one connection");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_OK, "ok");
	ok(rig_sums(rig), "sums");
}

/* ---- gaps that are stepped over -------------------------------------------------------------- */

static void test_sendfile(struct rig *rig)
{
	const uint32_t big = 3u << 30;
	struct evc conn;
	struct evd *evd;
	int i;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 0x80000000u, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "GET /big HTTP/1.1\r\n\r\n");
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 9663676416\r\n\r\n");
	for (i = 0; i < 3; i++)
		evc_gap(&conn, OSP_TX, big, OSP_CAUSE_SENDFILE);
	evc_str(&conn, OSP_RX, "GET /next HTTP/1.1\r\n\r\n");
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd");
	evc_close(&conn, FIN, 0);
	eq_int(txn(rig, 0)->outcome, OSP_OUT_OK, "9 GiB by sendfile: ok");
	eq_int(txn(rig, 0)->msg[OSP_RES].body_bytes, 3ll * big, "its size");
	ok((txn(rig, 0)->flags & (OSP_RF_SENDFILE | OSP_RF_GAP)) == (OSP_RF_SENDFILE | OSP_RF_GAP),
	   "flags");
	ok(!(txn(rig, 0)->msg[OSP_RES].has & OSP_MH_DIGEST), "no digest");
	eq_int(txn(rig, 0)->duration_ns, 4000, "ends with the last gap's event");
	eq_int(txn(rig, 1)->outcome, OSP_OUT_OK, "the next is ok");
	eq_int(txn(rig, 1)->conn.txn, 2, "numbers go on: no message was lost");
	ok(!(crec(rig, 0)->connection.dir[OSP_TX].gap_n != 1), "gaps of one cause are one");
	ok(rig_sums(rig), "sums");

	/* More than half of the number space at once is told from going back by what was lost. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "PUT /big HTTP/1.1\r\nContent-Length: 4831838208\r\n\r\n");
	evc_lose(&conn, OSP_RX, big);
	evc_str(&conn, OSP_RX, "x");
	evc_bypass(&conn, OSP_RX, big / 2 - 2);
	evc_str(&conn, OSP_RX, "y");
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	evc_close(&conn, FIN, 0);
	eq_int(txn(rig, 0)->outcome, OSP_OUT_OK, "holes of 3 and 1.5 GiB: ok");
	eq_int(rig_stat(rig, OSP_ST_GAP_RING_FULL), big, "the one known by count");
	eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), big / 2 - 2, "the other by position");
	ok(!any_wrong(rig), "sums");

	/* Captured in part. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "GET /xx HTTP/1.1\r\n\r\n");
	evd = evc_make(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", 140, 40,
		       OSP_CAUSE_CAPTURE_CAP);
	evc_deliver(&conn, evd);
	evc_close(&conn, FIN, 0);
	eq_int(txn(rig, 0)->msg[OSP_RES].body_bytes, 100, "a tail not captured is stepped over");
	eq_int(txn(rig, 0)->lost_bytes, 100, "and told");
	eq_int(rig_stat(rig, OSP_ST_GAP_CAPTURE_CAP), 100, "by cause");
	ok(rig_sums(rig), "sums");
}

static void test_causes(struct rig *rig)
{
	const struct osp_rec_stream *s;
	struct evc conn;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "POST /xx HTTP/1.1\r\nContent-Length: 1000\r\n\r\n");
	evc_bypass(&conn, OSP_RX, 60);
	conn.lost[OSP_RX] = 10;
	conn.filtered[OSP_RX] = 20;
	evc_str(&conn, OSP_RX, "x");
	rig_tick(rig, rig->conf.reorder_ns);
	evc_bypass(&conn, OSP_RX, 5);
	conn.lost[OSP_RX] = 3;
	evc_close(&conn, FIN, 40);
	s = &crec(rig, 0)->connection.dir[OSP_RX];
	eq_int(rig_stat(rig, OSP_ST_GAP_RING_FULL), 13, "ring_full");
	eq_int(rig_stat(rig, OSP_ST_GAP_FILTERED), 20, "filtered");
	eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), 32, "bypass: what nothing explains");
	eq_int(rig_stat(rig, OSP_ST_GAP_UNREAD), 40, "unread");
	eq_int(s->gap_bytes, 105, "all in the connection's record");
	eq_int(s->gap[0].at, 43, "the first where it is");
	ok(!any_wrong(rig), "sums");
}

static void test_many_gaps(struct rig *rig)
{
	const struct osp_rec_stream *s;
	struct evc conn;
	uint32_t i, many = 0;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "POST /xx HTTP/1.1\r\nContent-Length: 1000\r\n\r\n");
	for (i = 0; i < 40; i++) {
		evc_gap(&conn, OSP_RX, 2, i % 2 ? OSP_CAUSE_SPLICE : OSP_CAUSE_NO_ARGS);
		evc_str(&conn, OSP_RX, "x");
	}
	evc_close(&conn, FIN, 0);
	s = &crec(rig, 0)->connection.dir[OSP_RX];
	for (i = 0; i < s->gap_n; i++)
		many += s->gap[i].at == UINT64_MAX;
	eq_int(s->gap_n, 18, "16 gaps kept, the rest by cause");
	eq_int(many, 2, "two causes");
	ok(!any_wrong(rig), "sums");
}

/* ---- lives ----------------------------------------------------------------------------------- */

static void exchange(struct evc *conn, unsigned int k)
{
	char s[512];

	evc_data(conn, OSP_RX, s, (uint32_t)request(s, sizeof(s), k));
	evc_data(conn, OSP_TX, s, (uint32_t)response(s, sizeof(s), k));
}

/* Batches answered in full each time are trusted in the end, and paired again after a loss. */
static void test_batches(struct rig *rig)
{
	struct evc conn;
	uint32_t i, round;
	char s[512];

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	for (round = 0; round < 60; round++) {
		for (i = 0; i < 4; i++) {
			uint32_t n = (uint32_t)request(s, sizeof(s), 4 * round + i);

			part(&conn, OSP_RX, s, n, round == 45 && i == 1, LOSE);
		}
		for (i = 0; i < 4; i++)
			evc_data(&conn, OSP_TX, s, (uint32_t)response(s, sizeof(s), 4 * round + i));
	}
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_TXN_OK), 237, "a lost request costs what follows in its batch");
	ok(!any_wrong(rig), "nothing wrong");
}

static void ask(struct evc *conn, unsigned int k, bool gone)
{
	char s[512];

	part(conn, OSP_RX, s, (uint32_t)request(s, sizeof(s), k), gone, LOSE);
}

/* Bytes [from, to) of a response; to 0: all. */
static void answer(struct evc *conn, unsigned int k, uint32_t from, uint32_t to, bool gone)
{
	char s[512];
	uint32_t n = (uint32_t)response(s, sizeof(s), k);

	part(conn, OSP_TX, s + from, (to ? to : n) - from, gone, LOSE);
}

/* Pipelining that shows in no turn of its own. */
static void test_hidden_pipeline(struct rig *rig)
{
	struct evc conn;
	unsigned int k;

	/* One request a turn, but each before the answer to the one before it. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	ask(&conn, 0, false);
	answer(&conn, 0, 0, 30, false);
	ask(&conn, 1, false);
	answer(&conn, 0, 30, 0, false);
	for (k = 2; k < 10; k++) {
		ask(&conn, k, false);
		answer(&conn, k - 1, 0, 0, k == 6);
	}
	evc_close(&conn, FIN, 0);
	ok(!any_wrong(rig), "responses that lag: nothing wrong");
	eq_int(rig_stat(rig, OSP_ST_TXN_OK), 5, "nothing is paired behind the loss");

	/* One at a time, until two go at once and the second is lost. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	for (k = 0; k < 4; k++) {
		ask(&conn, k, false);
		answer(&conn, k, 0, 0, false);
	}
	ask(&conn, 4, false);
	ask(&conn, 5, true);
	answer(&conn, 4, 0, 0, false);
	ask(&conn, 6, false);
	answer(&conn, 5, 0, 0, false);
	evc_close(&conn, FIN, 0);
	ok(!any_wrong(rig), "a lost second request: nothing wrong");
	eq_int(rig_stat(rig, OSP_ST_TXN_OK), 5, "its answer is nobody's");
}

/* A response whose request is lost: it may answer a HEAD, and then has no body. */
static void test_maybe_head(struct rig *rig)
{
	struct evc conn;
	uint32_t i;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	for (i = 0; i < 4; i++)
		exchange(&conn, i);
	evc_lose(&conn, OSP_RX, 25);
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
	exchange(&conn, 5);
	evc_lose(&conn, OSP_RX, 25);
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
	evc_str(&conn, OSP_RX, "GET /e6 HTTP/1.1\r\n\r\n");
	evc_lose(&conn, OSP_TX, 99);
	exchange(&conn, 8);
	exchange(&conn, 9);
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_TXN_OK), 7, "it does not swallow the next responses");
	ok(!any_wrong(rig), "nothing wrong");
}

static void test_lost_open(struct rig *rig)
{
	struct evc conn;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	exchange(&conn, 1);
	ok(!(txn(rig, 0)->conn.has & OSP_CH_TUPLE), "no tuple yet");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_OK, "but a transaction");
	eq_int(txn(rig, 0)->conn.role, OSP_ROLE_SERVER, "role by who asks");
	eq_int(txn(rig, 0)->conn.role_from, OSP_FROM_REQUEST, "says so");
	evc_close(&conn, FIN, 0);
	ok(crec(rig, 0)->conn.has & OSP_CH_TUPLE, "CLOSE brings the tuple");
	eq_int(crec(rig, 0)->connection.dir[OSP_TX].gap_n, 0, "no gap is invented");
	ok(!any_wrong(rig), "sums");

	/* Lost with the first bytes: the kernel says how many. */
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	evc_lose(&conn, OSP_RX, 30);
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	exchange(&conn, 1);
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_GAP_RING_FULL), 30, "the lost beginning is a gap");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_NO_REQUEST, "a response alone");
	ok(!any_wrong(rig), "sums");
}

static void test_lost_close(struct rig *rig)
{
	struct evc conn;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	exchange(&conn, 1);
	evc_str(&conn, OSP_RX, "GET /yy HTTP/1.1\r\n\r\n");
	conn.seq[OSP_TX] = 777;
	conn.seq[OSP_RX] = 888;
	conn.turn = 0;
	conn.last_dir = -1;
	EST(&conn);
	eq_int(rig_count(rig, OSP_REC_CONNECTION), 1, "connected anew: the old one has ended");
	exchange(&conn, 3);
	evc_close(&conn, FIN, 0);
	eq_int(txn(rig, 1)->outcome, OSP_OUT_NO_RESPONSE, "its request was never answered");
	eq_int(txn(rig, 2)->conn.txn, 1, "the new one starts from 1");
	ok(txn(rig, 0)->id[0] != txn(rig, 2)->id[0], "ids differ");
	ok(!any_wrong(rig), "sums");
}

static void test_ends(struct rig *rig)
{
	static const struct {
		int flags, shut, outcome;
		const char *end;
	} end[] = {
		{ FIN, 0, OSP_OUT_NO_RESPONSE, "fin" },
		{ OSP_CF_RESET, 0, OSP_OUT_RESET, "reset" },
		{ OSP_CF_RESET, OSP_SHUT_RESET, OSP_OUT_RESET, "reset" },
		{ OSP_CF_TIMEOUT, 0, OSP_OUT_TIMEOUT, "timeout" },
		{ 0, 0, OSP_OUT_NO_RESPONSE, "exit" },
		{ FIN, OSP_SHUT_TX, OSP_OUT_NO_RESPONSE, "fin" },
	};
	struct evc conn;
	unsigned int i;

	for (i = 0; i < sizeof(end) / sizeof(end[0]); i++) {
		rig_reset(rig);
		evc_init(&conn, rig, 1, 1, 2);
		EST(&conn);
		evc_str(&conn, OSP_RX, "GET /xx HTTP/1.1\r\n\r\n");
		if (end[i].shut)
			evc_shut(&conn, end[i].shut);
		evc_close(&conn, end[i].flags, 0);
		eq_int(txn(rig, 0)->outcome, end[i].outcome, "%s: outcome", end[i].end);
		ok(slice_eq(crec(rig, 0)->str[OSP_S_END], end[i].end), "%s: end", end[i].end);
		ok(!any_wrong(rig), "sums");
	}
	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "GET /xx HTTP/1.1\r\n\r\n");
	evc_shut(&conn, OSP_SHUT_RESET);
	rig_tick(rig, rig->conf.reorder_ns);
	eq_int(rig_stat(rig, OSP_ST_TXN_RESET), 1, "a reset ends it before the CLOSE");
	osp_tracker_finish(rig->trk);
	ok(slice_eq(crec(rig, 0)->str[OSP_S_END], "running"), "running at the end");
	ok(!any_wrong(rig), "sums");

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "POST /xx HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc");
	evc_close(&conn, FIN, 0);
	eq_int(txn(rig, 0)->outcome, OSP_OUT_CLOSED, "in the middle of a request: closed");

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "GET /xx HTTP/1.1\r\n\r\n");
	osp_tracker_finish(rig->trk);
	eq_int(txn(rig, 0)->outcome, OSP_OUT_AGENT_STOP, "agent_stop");
	ok(!any_wrong(rig), "sums");
}

static void test_unknown_close(struct rig *rig)
{
	struct evc conn;

	rig_reset(rig);
	evc_init(&conn, rig, 9, 1000, 2000);
	conn.turn = 5;
	conn.seq[OSP_TX] += 500;
	conn.seq[OSP_RX] += 300;
	conn.lost[OSP_TX] = 500;
	conn.lost[OSP_RX] = 300;
	evc_close(&conn, FIN, 7);
	eq_int(rig_stat(rig, OSP_ST_EX_LOST_UNKNOWN), 3, "half its turns, rounded up");
	eq_int(crec(rig, 0)->connection.dir[OSP_TX].bytes, 500, "bytes known to be lost");
	eq_int(crec(rig, 0)->connection.dir[OSP_RX].bytes, 307, "and unread");
	eq_int(rig_stat(rig, OSP_ST_GAP_RING_FULL), 800, "ring_full");
	ok(!any_wrong(rig), "sums");

	rig_reset(rig);
	evc_init(&conn, rig, 9, 1000, 2000);
	conn.turn = 4;
	conn.filtered[OSP_TX] = 500;
	conn.filtered[OSP_RX] = 300;
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_EX_LOST_UNKNOWN), 0, "filtered is not lost");
	eq_int(rig_stat(rig, OSP_ST_GAP_FILTERED), 800, "filtered");
	ok(!any_wrong(rig), "sums");
}

static void test_after_close(struct rig *rig)
{
	struct evc conn;
	struct evd *evd;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	exchange(&conn, 1);
	evd = evc_make(&conn, OSP_RX, "GET /late HTTP/1.1\r\n\r\n", 22, 22, 0);
	evc_close(&conn, FIN, 0);
	eq_int(rig_stat(rig, OSP_ST_GAP_BYPASS), 22, "bytes before the end that did not come: a gap");
	evc_deliver(&conn, evd);
	eq_int(rig_stat(rig, OSP_ST_CONN_OPENED), 1, "what comes late makes no new connection");
	eq_int(rig_stat(rig, OSP_ST_BY_OVERLAP), 22, "counted");
	ok(!any_wrong(rig), "sums");
}

static void test_evict(void)
{
	struct osp_tracker_conf conf;
	struct evc conn;
	struct rig rig;
	uint32_t i;

	osp_tracker_conf_default(&conf);
	conf.max_conns = 10;
	conf.idle_ns = 1000000000;
	rig_open(&rig, &conf);
	for (i = 1; i <= 25; i++) {
		evc_init(&conn, &rig, i, 1, 2);
		EST(&conn);
		evc_str(&conn, OSP_RX, "GET /xx HTTP/1.1\r\n\r\n");
	}
	eq_int(rig_stat(&rig, OSP_ST_CONN_EVICTED_FULL), 15, "the oldest make room");
	eq_int(txn(&rig, 0)->outcome, OSP_OUT_SHED, "their transactions are shed");
	eq_int(rig_rec(&rig, OSP_REC_CONNECTION, 0)->conn.cookie, 1, "least recently used first");
	ok(rig_sums(&rig), "sums");
	rig_tick(&rig, 2000000000);
	eq_int(rig_stat(&rig, OSP_ST_CONN_EVICTED_IDLE), 10, "idle ones are forgotten");
	ok(!any_wrong(&rig), "sums");
	rig_close(&rig);
}

static void test_timeout(void)
{
	struct osp_tracker_conf conf;
	struct evc conn;
	struct rig rig;

	osp_tracker_conf_default(&conf);
	conf.txn_timeout_ns = 1000000000;
	rig_open(&rig, &conf);
	evc_init(&conn, &rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "HEAD /slow HTTP/1.1\r\n\r\n");
	rig_tick(&rig, 500000000);
	eq_int(rig.n, 0, "not yet");
	rig_tick(&rig, 600000000);
	eq_int(txn(&rig, 0)->outcome, OSP_OUT_TIMEOUT, "timeout");
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n");
	eq_int(txn(&rig, 1)->outcome, OSP_OUT_NO_REQUEST, "the late answer is framed as HEAD's");
	exchange(&conn, 1);
	eq_int(txn(&rig, 2)->outcome, OSP_OUT_OK, "the next pair is right");
	evc_close(&conn, FIN, 0);
	ok(!any_wrong(&rig), "sums");
	rig_close(&rig);
}

static void test_budget(void)
{
	struct osp_tracker_conf conf;
	struct evc conn[40];
	struct rig rig;
	char head[3000];
	uint32_t i, over = 0, bad = 0;

	osp_tracker_conf_default(&conf);
	conf.byte_budget = 64 << 10;
	rig_open(&rig, &conf);
	snprintf(head, sizeof(head), "GET /xx HTTP/1.1\r\nX: %02000d", 1);
	for (i = 0; i < 40; i++) {
		evc_init(&conn[i], &rig, i + 1, 1, 2);
		EST(&conn[i]);
		evc_str(&conn[i], OSP_RX, "GET /yy HTTP/1.1\r\n\r\n");
		evc_str(&conn[i], OSP_RX, head);
		over += rig_stat(&rig, OSP_ST_MEM_BYTES) > conf.byte_budget;
		bad += !rig_sums(&rig);
	}
	eq_int(over, 0, "the budget holds");
	eq_int(bad, 0, "sums at every moment");
	ok(rig_stat(&rig, OSP_ST_CONN_SHED) > 5, "connections were shed");
	ok(rig_stat(&rig, OSP_ST_TXN_SHED) > 5, "so were their transactions");
	for (i = 0; i < 40; i++) {
		evc_str(&conn[i], OSP_RX, "more");
		evc_close(&conn[i], FIN, 0);
	}
	ok(rig_stat(&rig, OSP_ST_GAP_SHED) > 0, "what follows is a gap");
	ok(!any_wrong(&rig), "sums");
	rig_close(&rig);
}

/* Who holds most goes first: many that need little are not given up for one that needs much. */
static void test_budget_fair(void)
{
	struct osp_tracker_conf conf;
	struct evc conn[20], hog;
	struct rig rig;
	char part[4000];
	uint32_t i, k;

	osp_tracker_conf_default(&conf);
	conf.byte_budget = 256 << 10;
	conf.body = 1 << 20;
	rig_open(&rig, &conf);
	memset(part, 'x', sizeof(part));
	evc_init(&hog, &rig, 100, 1, 2);
	EST(&hog);
	evc_str(&hog, OSP_RX, "POST /hog HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n");
	for (i = 0; i < 20; i++) {
		evc_init(&conn[i], &rig, i + 1, 1, 2);
		EST(&conn[i]);
		evc_str(&conn[i], OSP_RX, "POST /x HTTP/1.1\r\nContent-Length: 8000\r\n\r\n");
	}
	for (k = 0; k < 30; k++)
		evc_data(&hog, OSP_RX, part, sizeof(part));
	for (i = 0; i < 20; i++) {
		evc_data(&conn[i], OSP_RX, part, sizeof(part));
		evc_data(&conn[i], OSP_RX, part, sizeof(part));
	}
	eq_int(rig_stat(&rig, OSP_ST_CONN_SHED), 1, "one connection is given up");
	for (i = 0; i < 20; i++)
		evc_str(&conn[i], OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	eq_int(rig_stat(&rig, OSP_ST_TXN_OK), 20, "the others have all they need");
	eq_int(rig_stat(&rig, OSP_ST_TXN_SHED), 1, "it was the one that held most");
	eq_str(txn(&rig, 0)->outcome == OSP_OUT_SHED ? "shed" : "not", "shed", "and says so");
	evc_data(&hog, OSP_RX, part, sizeof(part));
	evc_close(&hog, FIN, 0);
	ok(rig_stat(&rig, OSP_ST_GAP_SHED) == sizeof(part), "what it moved later is counted");
	osp_tracker_finish(rig.trk);
	ok(!any_wrong(&rig), "sums");
	rig_close(&rig);
}

/* One connection that needs more than there is sheds itself, and only itself. */
static void test_budget_own(void)
{
	struct osp_tracker_conf conf;
	struct evc conn;
	struct rig rig;
	char part[1000];
	uint32_t i;

	osp_tracker_conf_default(&conf);
	conf.byte_budget = 16 << 10;
	rig_open(&rig, &conf);
	evc_init(&conn, &rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "GET /xx HTTP/1.1\r\n\r\nGET /y HTTP/1.1\r\nX: ");
	memset(part, 'x', sizeof(part));
	for (i = 0; i < 20; i++)
		evc_data(&conn, OSP_RX, part, sizeof(part));
	eq_int(rig_stat(&rig, OSP_ST_CONN_SHED), 1, "shed");
	eq_int(rig_stat(&rig, OSP_ST_TXN_SHED), 1, "with its open transaction");
	eq_int(rig_stat(&rig, OSP_ST_MEM_BYTES), 0, "it holds nothing any more");
	evc_init(&conn, &rig, 2, 1, 2);
	EST(&conn);
	exchange(&conn, 1);
	eq_int(rig_stat(&rig, OSP_ST_TXN_OK), 1, "others go on");
	osp_tracker_finish(rig.trk);
	ok(!any_wrong(&rig), "sums");
	rig_close(&rig);
}

static void test_proc(struct rig *rig)
{
	const char *id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	char path[256];
	struct evc conn;
	const struct osp_record *r;

	rig_reset(rig);
	snprintf(path, sizeof(path), "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-"
		 "pod11111111_2222_3333_4444_555555555555.slice/cri-containerd-%s.scope", id);
	rig_proc(rig, 100, "nginx", "/usr/sbin/nginx", path);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	evc_str(&conn, OSP_RX, "GET /xx HTTP/1.1\r\n\r\n");
	rig_proc(rig, 100, "other", "/bin/other", "");
	evc_str(&conn, OSP_TX, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	exchange(&conn, 1);
	r = txn(rig, 0);
	eq_int(r->proc.pid, 100, "pid");
	eq_int(r->proc.tid, 101, "tid");
	ok(slice_eq(r->str[OSP_S_COMM], "other"), "a server's record is of who answered");
	rig_reset(rig);
	rig_proc(rig, 100, "nginx", "/usr/sbin/nginx", path);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	exchange(&conn, 1);
	r = txn(rig, 0);
	ok(slice_eq(r->str[OSP_S_EXE], "/usr/sbin/nginx"), "exe");
	ok(slice_eq(r->str[OSP_S_CONTAINER_ID], id), "container");
	ok(slice_eq(r->str[OSP_S_CONTAINER_RUNTIME], "containerd"), "runtime");
	ok(slice_eq(r->str[OSP_S_POD_UID], "11111111-2222-3333-4444-555555555555"), "pod");
	eq_int(r->proc.start_ns, 1000500, "start on the wall clock");
}

static void cgroup(const char *path, const char *id, const char *runtime, const char *pod)
{
	struct osp_slice c = { NULL, 0 }, rt = c, p = c;
	char uid[36];


	osp_proc_cgroup(osp_slice_str(path), &c, &rt, &p, uid);
	ok((id ? slice_eq(c, id) : !c.p) && (runtime ? slice_eq(rt, runtime) : !rt.p) &&
	   (pod ? slice_eq(p, pod) : !p.p), "cgroup %s", path);
}

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define UID "11111111-2222-3333-4444-555555555555"
static void test_cgroup(void)
{
	cgroup("/system.slice/docker-" ID ".scope", ID, "docker", NULL);
	cgroup("/docker/" ID, ID, "docker", NULL);
	cgroup("/machine.slice/libpod-" ID ".scope/container", ID, "podman", NULL);
	cgroup("/machine.slice/libpod-conmon-" ID ".scope", NULL, NULL, NULL);
	cgroup("/kubepods/burstable/pod" UID "/" ID, ID, NULL, UID);
	cgroup("/kubepods.slice/kubepods-pod11111111_2222_3333_4444_555555555555.slice/crio-" ID
	       ".scope", ID, "crio", UID);
	cgroup("/user.slice/user-1000.slice", NULL, NULL, NULL);
	cgroup("", NULL, NULL, NULL);
	cgroup("/docker/0123", NULL, NULL, NULL);
}

/* A connection that idles between exchanges holds no buffer, and is small itself. */
static void test_idle_size(struct rig *rig)
{
	size_t size = sizeof(struct osp_conn) + osp_parser_http1.size;
	struct evc conn;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	EST(&conn);
	exchange(&conn, 1);
	exchange(&conn, 2);
	eq_int(rig_stat(rig, OSP_ST_MEM_BYTES), 0, "an idle connection holds no buffers");
	ok(size <= 1024, "and takes %zu bytes", size);
}

static void test_loopback(struct rig *rig)
{
	struct evc conn;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	memcpy(conn.tuple.local + 12, "\x7f\x00\x00\x01", 4);
	memcpy(conn.tuple.remote + 12, "\x7f\x00\x00\x01", 4);
	EST(&conn);
	exchange(&conn, 1);
	ok(txn(rig, 0)->flags & OSP_RF_LOOPBACK, "loopback");
}

/* ---- unix sockets ---------------------------------------------------------------------------- */

/* No conversation has TCP's numbers or addresses here, whatever tells that it is one. */
static bool no_tcp(const struct osp_record *rec)
{
	uint32_t seq = OSP_MH_SEQ | OSP_MH_SEQ_END;

	if (rec->kind == OSP_REC_TRANSACTION &&
	    ((rec->msg[OSP_REQ].has | rec->msg[OSP_RES].has) & seq))
		return false;
	return rec->conn.transport == OSP_TRANSPORT_UNIX && !rec->conn.id[0] &&
	       !(rec->conn.has & OSP_CH_TUPLE) && !(rec->flags & OSP_RF_LOOPBACK);
}

static void test_unix(struct rig *rig)
{
	const struct osp_record *rec;
	struct evc conn;

	rig_reset(rig);
	evc_init(&conn, rig, 7, 0, 0);
	conn.tuple = (struct osp_tuple){ .family = AF_UNIX, .netns = 3 };
	evc_open(&conn, OSP_OPEN_ESTABLISHED, OSP_ROLE_SERVER, OSP_FROM_LISTEN);
	evc_unix(&conn, 0, "/run/a.sock", 12, NULL, 0);
	exchange(&conn, 1);
	rec = txn(rig, 0);
	ok(no_tcp(rec), "no addresses, no sequence numbers");
	eq_int(rec->outcome, OSP_OUT_OK, "a transaction");
	eq_int(rec->conn.role, OSP_ROLE_SERVER, "role by the name");
	eq_int(rec->conn.netns, 3, "netns");
	ok(slice_eq(rec->str[OSP_S_SERVER_PATH], "/run/a.sock"), "a path without its NUL");
	ok(!rec->str[OSP_S_CLIENT_PATH].p, "an end without a name");
	eq_int(rec->conn.peer_cookie, 0, "the other end is not known");
	evc_unix(&conn, 8, "/run/a.sock", 12, "\0c\0d", 4);
	exchange(&conn, 2);
	rec = txn(rig, 1);
	eq_int(rec->conn.peer_cookie, 8, "now it is");
	ok(rec->str[OSP_S_CLIENT_PATH].n == 4 &&
	   !memcmp(rec->str[OSP_S_CLIENT_PATH].p, "@c\0d", 4), "an abstract name, all of it");
	evc_lose(&conn, OSP_TX, 30);
	evc_close(&conn, FIN, 0);
	rec = crec(rig, 0);
	ok(no_tcp(rec), "the connection's record, too");
	eq_int(rec->connection.dir[OSP_TX].gap_bytes, 30, "a lost end is a gap");
	ok(!any_wrong(rig), "sums");
}

/* Names alone (OPEN is lost), the longest ones, and nothing of either. */
static void test_unix_lost(struct rig *rig)
{
	const struct osp_record *rec;
	char name[OSP_UNIX_NAME];
	struct evc conn;

	memset(name, 'n', sizeof(name));
	rig_reset(rig);
	evc_init(&conn, rig, 7, 0, 0);
	evc_unix(&conn, 8, NULL, 0, name, sizeof(name));
	evc_str(&conn, OSP_TX, "GET / HTTP/1.1\r\n\r\n");
	evc_str(&conn, OSP_RX, "HTTP/1.1 204 No Content\r\n\r\n");
	rec = txn(rig, 0);
	ok(no_tcp(rec), "known by its names");
	eq_int(rec->conn.role, OSP_ROLE_CLIENT, "role by who asks");
	eq_int(rec->str[OSP_S_SERVER_PATH].n, sizeof(name), "the longest name");
	evc_close(&conn, FIN, 0);
	evc_unix(&conn, 9, NULL, 0, name, sizeof(name));
	eq_int(osp_tracker_conns(rig->trk), 1, "later names are of a new connection");

	rig_reset(rig);
	evc_init(&conn, rig, 7, 0, 0);
	conn.tuple = (struct osp_tuple){ .family = AF_UNIX };
	evc_open(&conn, OSP_OPEN_SIGHT, OSP_ROLE_UNKNOWN, OSP_FROM_NONE);
	exchange(&conn, 1);
	ok(no_tcp(txn(rig, 0)), "known by its family");
	ok(txn(rig, 0)->flags & OSP_RF_MIDSTREAM, "it was there before us");
}

/* ---- chance ---------------------------------------------------------------------------------- */

static uint32_t rnd(uint64_t *s)
{
	*s = *s * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*s >> 33);
}

enum style { SINGLE, BATCH, LAGGING, WINDOW, STYLES };

struct chance {
	uint64_t seed;
	uint32_t loss;		/* percent of events */
	struct evc conn;
	struct evd *wait[8];	/* delivered later */
	uint32_t wait_n;
	bool reorder;
};

static void let_out(struct chance *c, uint32_t n)
{
	while (c->wait_n > n) {
		uint32_t i = rnd(&c->seed) % c->wait_n;

		evc_deliver(&c->conn, c->wait[i]);
		c->wait[i] = c->wait[--c->wait_n];
	}
}

/* Bytes of one direction in events of any size, some of which are lost in any way there is. */
static void say(struct chance *c, int dir, const char *p, uint32_t n)
{
	while (n) {
		uint32_t len = rnd(&c->seed) % 3 ? n : 1 + rnd(&c->seed) % n;

		if (rnd(&c->seed) % 100 < c->loss) {
			switch (rnd(&c->seed) % 3) {
			case 0: evc_lose(&c->conn, dir, len); break;
			case 1: evc_bypass(&c->conn, dir, len); break;
			default: evc_gap(&c->conn, dir, len, OSP_CAUSE_IO_URING);
			}
		} else if (c->reorder) {
			c->wait[c->wait_n++] = evc_make(&c->conn, dir, p, len, len, 0);
			let_out(c, rnd(&c->seed) % 4);
		} else {
			evc_data(&c->conn, dir, p, len);
		}
		p += len;
		n -= len;
	}
}

static void converse(struct chance *c, enum style style)
{
	unsigned int asked = 0, told = 0, rounds = 2 + rnd(&c->seed) % 6, i, n;
	char s[512];

	/* That it pipelines is seen once before anything is lost: what can't be known otherwise
	 * is told at the top of agent/pair.c. LAGGING keeps a window of two requests open.
	 */
	i = c->loss;
	c->loss = style < LAGGING ? i : 0;
	for (n = 0; style >= LAGGING && n < 2; n++)
		say(c, OSP_RX, s, (uint32_t)request(s, sizeof(s), asked++));
	for (n = 0; style == LAGGING && n < 2; n++) {
		say(c, OSP_TX, s, (uint32_t)response(s, sizeof(s), told++));
		say(c, OSP_RX, s, (uint32_t)request(s, sizeof(s), asked++));
	}
	if (style >= LAGGING)
		say(c, OSP_TX, s, (uint32_t)response(s, sizeof(s), told++));
	c->loss = i;
	/* Up to four requests in flight, sent and answered as chance has it. */
	for (i = 0; style == WINDOW && i < 40; i++) {
		if (asked - told < 4 && (asked == told || rnd(&c->seed) % 2))
			say(c, OSP_RX, s, (uint32_t)request(s, sizeof(s), asked++));
		else
			say(c, OSP_TX, s, (uint32_t)response(s, sizeof(s), told++));
	}
	while (style != WINDOW && rounds--) {
		n = style == BATCH ? 2 + rnd(&c->seed) % 5 : 1;
		for (i = 0; i < n; i++)
			say(c, OSP_RX, s, (uint32_t)request(s, sizeof(s), asked++));
		for (i = 0; i < n; i++)
			say(c, OSP_TX, s, (uint32_t)response(s, sizeof(s), told++));
	}
	while (told < asked)
		say(c, OSP_TX, s, (uint32_t)response(s, sizeof(s), told++));
}

static void test_chance(struct rig *rig)
{
	static const char *const name[] = { "single", "batch", "lagging", "window" };
	uint32_t style, seed, runs = 4000;

	for (style = 0; style < STYLES; style++) {
		uint32_t bad = 0, ok_n = 0, all = 0, i;

		for (seed = 1; seed <= runs; seed++) {
			struct chance c = { .seed = seed * 7919ull + style };
			const char *what;

			c.loss = style == LAGGING || seed % 4 ? rnd(&c.seed) % 30 : 0;
			/* Directions overtaking one another is loss, as long as it lasts. */
			c.reorder = style < LAGGING && seed % 3 == 0;
			rig_reset(rig);
			evc_init(&c.conn, rig, seed, rnd(&c.seed) * 2, rnd(&c.seed) * 3);
			EST(&c.conn);
			converse(&c, (enum style)style);
			let_out(&c, 0);
			if (!rig_sums(rig))
				bad++;
			evc_close(&c.conn, FIN, 0);
			what = any_wrong(rig);
			if (what && !bad++)
				printf("# %s seed %u: %s\n", name[style], seed, what);
			if (!what && !c.loss && !c.reorder &&
			    rig_stat(rig, OSP_ST_TXN_OK) != rig_stat(rig, OSP_ST_TXN_BEGUN) && !bad++)
				printf("# %s seed %u: not all ok without loss\n", name[style], seed);
			for (i = 0; i < rig->n; i++) {
				all += rig->rec[i]->kind == OSP_REC_TRANSACTION;
				ok_n += rig->rec[i]->kind == OSP_REC_TRANSACTION &&
					rig->rec[i]->outcome == OSP_OUT_OK;
			}
		}
		eq_int(bad, 0, "%s: %u conversations under loss", name[style], runs);
		printf("# %u of %u transactions ok\n", ok_n, all);
	}
}

/* Same events, same records. */
static void test_same(struct rig *rig)
{
	struct osp_record *first[256];
	uint32_t n = 0, pass, i, bad = 0;

	for (pass = 0; pass < 2; pass++) {
		rig_reset(rig);
		for (i = 1; i < 40; i++) {
			struct chance c = { .seed = i, .loss = 10 };

			evc_init(&c.conn, rig, i, 1, 2);
			EST(&c.conn);
			converse(&c, BATCH);
			if (i % 3)
				evc_close(&c.conn, FIN, 0);
		}
		osp_tracker_finish(rig->trk);
		for (i = 0; i < rig->n && i < 256; i++) {
			if (!pass) {
				first[n] = malloc(sizeof(*first[n]));
				*first[n++] = *rig->rec[i];
			} else {
				bad += first[i]->id[0] != rig->rec[i]->id[0] ||
				       first[i]->ts_ns != rig->rec[i]->ts_ns;
			}
		}
	}
	eq_int(bad, 0, "the same events make the same records in the same order");
	for (i = 0; i < n; i++)
		free(first[i]);
}

static void test_event_check(void)
{
	struct {
		struct osp_ev_data ev;
		char data[16];
	} d = { .ev = { .h = { .len = sizeof(struct osp_ev_data) + 4, .abi = OSP_EV_ABI,
			       .kind = OSP_EV_DATA }, .bytes = 8, .cap = 4 } };
	struct osp_ev_tick tick = { .h = { .len = sizeof(tick), .abi = OSP_EV_ABI,
					   .kind = OSP_EV_TICK } };
	struct osp_ev_unix names = { .h = { .len = sizeof(names), .abi = OSP_EV_ABI,
					    .kind = OSP_EV_UNIX },
				     .len = { OSP_UNIX_NAME, OSP_UNIX_NAME } };

	eq_int(osp_event_check(&d.ev.h, sizeof(d)), 0, "good");
	eq_int(osp_event_check(&d.ev.h, d.ev.h.len - 1), -EPROTO, "cut");
	d.ev.cap = 5;
	eq_int(osp_event_check(&d.ev.h, sizeof(d)), -EPROTO, "cap beyond len");
	d.ev.cap = 4;
	d.ev.bytes = 3;
	eq_int(osp_event_check(&d.ev.h, sizeof(d)), -EPROTO, "cap beyond bytes");
	d.ev.bytes = 8;
	d.ev.dir = 2;
	eq_int(osp_event_check(&d.ev.h, sizeof(d)), -EPROTO, "direction");
	d.ev.dir = 0;
	d.ev.h.kind = OSP_EV_GAP;
	eq_int(osp_event_check(&d.ev.h, sizeof(d)), -EPROTO, "a gap with bytes");
	d.ev.h.kind = 99;
	eq_int(osp_event_check(&d.ev.h, sizeof(d)), -EPROTO, "kind");
	d.ev.h.kind = OSP_EV_DATA;
	d.ev.h.abi = 9;
	eq_int(osp_event_check(&d.ev.h, sizeof(d)), -EPROTO, "abi");
	eq_int(osp_event_check(&tick.h, sizeof(tick)), 0, "tick");
	eq_int(osp_event_check(&tick.h, 8), -EPROTO, "less than a header");
	eq_int(osp_event_check(&names.h, sizeof(names)), 0, "the longest names");
	names.len[OSP_UNIX_REMOTE]++;
	eq_int(osp_event_check(&names.h, sizeof(names)), -EPROTO, "longer ones");
}

int main(void)
{
	struct rig rig;

	rig_open(&rig, NULL);
	test_gaps(&rig);
	test_one_lost(&rig);
	test_leap(&rig);
	test_asked(&rig);
	test_midstream(&rig);
	test_reorder(&rig);
	test_list_full(&rig);
	test_overlap(&rig);
	test_race(&rig);
	test_late_request(&rig);
	test_turns_swapped(&rig);
	test_twice_open(&rig);
	test_sendfile(&rig);
	test_causes(&rig);
	test_many_gaps(&rig);
	test_batches(&rig);
	test_maybe_head(&rig);
	test_hidden_pipeline(&rig);
	test_lost_open(&rig);
	test_lost_close(&rig);
	test_ends(&rig);
	test_unknown_close(&rig);
	test_after_close(&rig);
	test_proc(&rig);
	test_loopback(&rig);
	test_unix(&rig);
	test_unix_lost(&rig);
	test_idle_size(&rig);
	test_chance(&rig);
	test_same(&rig);
	rig_close(&rig);
	test_evict();
	test_timeout();
	test_budget();
	test_budget_fair();
	test_budget_own();
	test_cgroup();
	test_event_check();
	return done();
}
