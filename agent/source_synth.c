/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source_synth.c: traffic that never was, told as events.
 *
 * Some links are open at a time; each poll lets randomly chosen ones go a step: open, a piece of
 * what is being sent, close. All chance comes from one seeded generator and all time from a
 * virtual clock, so the same spec gives the same bytes everywhere. What goes wrong on purpose is
 * told as the kernel tells it: a lost piece shows in the next event's lost bytes, in CLOSE and in
 * the LOST counters, and reordered pieces keep their stamps and positions.
 */
#include "agent/source_synth.h"

#include "agent/synth.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* The virtual host booted at 2025-12-31T23:43:20Z and is probed from 1000 s after that. */
#define EPOCH_NS 1000000000000ull
#define WALL_OFF_NS (1767225600000000000ll - (int64_t)EPOCH_NS)
#define TICK_NS 100000000ull
#define TICKS_PER_LOST 10

#define EVENTS_PER_POLL 256
/* As the kernel cuts what it copies. */
#define PIECE_MAX 32768u
/* A burst is not made longer than this by pipelining: it bounds what a link holds. */
#define BURST_SOFT_MAX (1u << 20)

#define PROCS 8			/* of each role */
#define NETNS 4026531840u

enum link_state { LINK_OPENING, LINK_OPEN, LINK_SENDING, LINK_CLOSING };
/* What an Expect: 100-continue still waits for. */
enum link_expect { EXPECT_NOTHING, EXPECT_100, EXPECT_BODY };

/* One end of a link, as seen there. */
struct side {
	uint64_t cookie;
	struct osp_tuple tuple;
	uint32_t tgid;
	uint32_t turn;
	uint32_t lost[OSP_DIRS];	/* bytes given up since the direction's last event */
	uint32_t at;			/* of the burst: what was handed over */
	uint32_t stop;			/* index of the first message end behind at */
	uint8_t role;			/* enum osp_role */
	uint8_t last_dir;
};

struct link {
	uint64_t index;
	uint64_t quota, begun, answered;	/* transactions */
	uint32_t seq[OSP_ENDS];		/* next byte of what the client, the server sends */
	uint32_t pipeline;
	uint8_t state, expect, sides;
	uint8_t cur;			/* side whose pieces are being handed over */
	bool eof;			/* its last response ends with the connection */
	struct side side[2];
	struct synth_burst burst;
	struct synth_txn *txn;		/* by n % pipeline */
};

struct piece {
	uint32_t from, to;
	bool more;
};

/* An event with its data, where it can't be handed over in place. */
struct scratch {
	struct osp_ev_data ev;
	uint8_t bytes[PIECE_MAX];
};

struct synth {
	struct osp_source src;
	struct synth_spec spec;
	struct synth_rng rng;
	struct synth_maker maker;
	struct synth_truth *truth;
	struct synth_totals tot;
	struct link *links;
	uint32_t active, slots;
	uint64_t opened, conns;		/* links */
	uint64_t txns_left;
	uint64_t now, due, due_step, due_rem;	/* ns; due: when the next message is to be sent */
	uint64_t next_tick, ticks;
	int end;			/* what poll returns when all is done; 0: not yet */
	bool started;
	char boot_id[40];
	struct scratch scratch;
	/* For the poll under way. */
	osp_ev_fn fn;
	void *ctx;
	int n, err;
};

static const char *const proc_comm[2][PROCS] = {
	{ "nginx", "gunicorn", "java", "node", "postgrest", "envoy", "httpd", "api-server" },
	{ "curl", "wget", "python3", "chrome", "prober", "fetchd", "java", "cron-job" },
};

static void hand_over(struct synth *syn, struct osp_ev_hdr *h, uint8_t kind, uint32_t len,
		      uint64_t ts)
{
	h->len = len;
	h->abi = OSP_EV_ABI;
	h->kind = kind;
	h->cpu = (uint16_t)(syn->n & 3);
	h->ts_ns = ts;
	if (!syn->err)
		syn->err = syn->fn(syn->ctx, h);
	syn->n++;
}

static void emit_lost(struct synth *syn, uint64_t ts)
{
	struct osp_ev_lost ev = {
		.seen = syn->tot.made, .delivered = syn->tot.delivered, .turns = syn->tot.turns,
		.lost[OSP_LOST_RING] = syn->tot.lost,
		.lost_bytes[OSP_LOST_RING] = syn->tot.lost_bytes,
	};

	hand_over(syn, &ev.h, OSP_EV_LOST, sizeof(ev), ts);
}

/* The time of the next event; the ticks before it. */
static uint64_t step_clock(struct synth *syn)
{
	struct osp_ev_tick ev = { .wall_off_ns = WALL_OFF_NS };

	syn->now = syn->due > syn->now ? syn->due : syn->now + 1;
	while (syn->now >= syn->next_tick) {
		hand_over(syn, &ev.h, OSP_EV_TICK, sizeof(ev), syn->next_tick);
		if (++syn->ticks % TICKS_PER_LOST == 0)
			emit_lost(syn, syn->next_tick);
		syn->next_tick += TICK_NS;
	}
	return syn->now;
}

/* Half a transaction has been made: rate of them a second. */
static void advance_due(struct synth *syn)
{
	uint64_t rate2 = 2 * syn->spec.rate;

	syn->due += syn->due_step;
	syn->due_rem += 1000000000ull % rate2;
	if (syn->due_rem >= rate2) {
		syn->due_rem -= rate2;
		syn->due++;
	}
}

/* ---- processes ------------------------------------------------------------------------------ */

static uint32_t proc_tgid(uint8_t role, uint64_t i)
{
	return (role == OSP_ROLE_SERVER ? 2000 : 3000) + (uint32_t)i * 7;
}

/* Half of them in containers, as docker, containerd and CRI-O name their cgroups. */
static void proc_cgroup(char *out, size_t size, uint8_t role, int i)
{
	uint64_t h = (uint64_t)role * 64 + (uint64_t)i;
	uint64_t a = synth_mix(&h), b = synth_mix(&h), c = synth_mix(&h), d = synth_mix(&h);
	unsigned long long w[] = { a, b, c, d };

	if (i % 4 == 1)
		snprintf(out, size, "/system.slice/docker-%016llx%016llx%016llx%016llx.scope",
			 w[0], w[1], w[2], w[3]);
	else if (i % 4 == 3)
		snprintf(out, size, "/kubepods.slice/kubepods-burstable.slice/"
			 "kubepods-burstable-pod%08x_%04x_%04x_%04x_%012llx.slice/"
			 "%s-%016llx%016llx%016llx%016llx.scope", (unsigned int)a,
			 (unsigned int)(b & 0xffff), (unsigned int)(c & 0xffff),
			 (unsigned int)(d & 0xffff), w[1] >> 16,
			 i == 3 ? "cri-containerd" : "crio", w[0], w[1], w[2], w[3]);
	else
		snprintf(out, size, "/system.slice/%s.service", proc_comm[role - 1][i]);
}

static void emit_proc(struct synth *syn, uint8_t role, int i)
{
	struct {
		struct osp_ev_proc ev;
		char text[1024];
	} out = { .ev = {
		.start_ns = EPOCH_NS / 2 + (uint64_t)i * 1000003,
		.cgroup = 5000 + (uint64_t)role * 100 + (uint64_t)i,
		.tgid = proc_tgid(role, (uint64_t)i), .ppid = 1,
		.uid = i % 2 ? 33 : 1000, .netns = NETNS,
	} };
	const char *comm = proc_comm[role == OSP_ROLE_SERVER ? 0 : 1][i];
	char cgroup[300], exe[64], cmd[96];
	const char *str[] = { exe, cgroup, cmd };
	char *p = out.text;

	out.ev.ns_tgid = i % 2 ? 1 + (uint32_t)i : out.ev.tgid;
	memcpy(out.ev.comm, comm, strnlen(comm, OSP_COMM_LEN - 1));
	snprintf(exe, sizeof(exe), "/usr/bin/%s", comm);
	proc_cgroup(cgroup, sizeof(cgroup), role, i);
	snprintf(cmd, sizeof(cmd), "/usr/bin/%s --worker %d", comm, i);
	for (int s = 0; s < 3; s++) {
		out.ev.str_len[s] = (uint16_t)(strlen(str[s]) + 1);
		p = synth_put(p, str[s], out.ev.str_len[s]);
	}
	hand_over(syn, &out.ev.h, OSP_EV_PROC, (uint32_t)(p - (char *)&out.ev), step_clock(syn));
}

static void emit_start(struct synth *syn)
{
	struct osp_ev_tick ev = { .wall_off_ns = WALL_OFF_NS };

	hand_over(syn, &ev.h, OSP_EV_TICK, sizeof(ev), syn->now);
	for (int i = 0; i < PROCS; i++) {
		if (syn->spec.role != SYNTH_CLIENT)
			emit_proc(syn, OSP_ROLE_SERVER, i);
		if (syn->spec.role != SYNTH_SERVER)
			emit_proc(syn, OSP_ROLE_CLIENT, i);
	}
	syn->started = true;
}

/* ---- connections ---------------------------------------------------------------------------- */

static void put_v4(uint8_t out[16], uint32_t a)
{
	memset(out, 0, 16);
	out[10] = out[11] = 0xff;
	for (int i = 0; i < 4; i++)
		out[12 + i] = (uint8_t)(a >> (24 - 8 * i));
}

static void put_v6(uint8_t out[16], uint32_t net, uint32_t a)
{
	static const uint8_t doc[4] = { 0x20, 0x01, 0x0d, 0xb8 };	/* RFC 3849 */

	memset(out, 0, 16);
	memcpy(out, doc, sizeof(doc));
	out[7] = (uint8_t)net;
	for (int i = 0; i < 4; i++)
		out[12 + i] = (uint8_t)(a >> (24 - 8 * i));
}

/* The tuple as the client sees it; both ends on one host meet on the loopback address. A tuple
 * comes again after 60,000 links from one of at least 2^16 clients (loopback: 16 server ports).
 */
static void make_tuple(struct synth *syn, const struct link *lk, struct osp_tuple *t)
{
	bool v6 = synth_chance(&syn->rng, syn->spec.v6), both = syn->spec.role == SYNTH_BOTH;
	uint32_t client = (uint32_t)(lk->index / 60000 % 65536);

	memset(t, 0, sizeof(*t));
	if (both && v6) {
		t->local[15] = t->remote[15] = 1;
	} else if (both) {
		put_v4(t->local, 0x7f000001);
		put_v4(t->remote, 0x7f000001);
	} else if (v6) {
		put_v6(t->local, 1, client + 1);
		put_v6(t->remote, 2, 1 + (uint32_t)lk->index % 5);
	} else {
		put_v4(t->local, 0x0a010000 + client);
		put_v4(t->remote, 0x0a000001 + (uint32_t)lk->index % 5);
	}
	t->lport = (uint16_t)(5000 + lk->index % 60000);
	t->rport = (uint16_t)(both ? 4000 + lk->index / 60000 % 16 : 8080);
	t->family = v6 ? AF_INET6 : AF_INET;
	t->transport = IPPROTO_TCP;
	t->netns = NETNS;
}

static void side_init(struct synth *syn, struct link *lk, int i, uint8_t role,
		      const struct osp_tuple *client)
{
	struct side *side = &lk->side[i];

	memset(side, 0, sizeof(*side));
	side->role = role;
	side->last_dir = OSP_DIRS;
	side->cookie = 2 * lk->index + (role == OSP_ROLE_CLIENT ? 1 : 2);
	side->tgid = proc_tgid(role, synth_below(&syn->rng, PROCS));
	side->tuple = *client;
	if (role == OSP_ROLE_SERVER) {
		memcpy(side->tuple.local, client->remote, 16);
		memcpy(side->tuple.remote, client->local, 16);
		side->tuple.lport = client->rport;
		side->tuple.rport = client->lport;
	}
}

/* How many transactions the next link gets: around the mean of what is left, such that the rest
 * still fits the links to come.
 */
static uint64_t draw_quota(struct synth *syn)
{
	uint64_t links = syn->conns - syn->opened, left = syn->txns_left, rest, want, mean;
	uint64_t most = syn->spec.keepalive ? syn->spec.keepalive : UINT64_MAX;

	if (links == 1)
		return left;
	mean = left / links;
	want = mean ? mean / 2 + synth_below(&syn->rng, mean + 1) : left > 0;
	if (want > most)
		want = most;
	if (want > left)
		want = left;
	if (!__builtin_mul_overflow(links - 1, most, &rest) && rest < left && want < left - rest)
		want = left - rest;
	return want;
}

static void link_init(struct synth *syn, struct link *lk)
{
	struct osp_tuple tuple;

	lk->index = syn->opened;
	lk->quota = draw_quota(syn);
	lk->begun = lk->answered = 0;
	lk->state = LINK_OPENING;
	lk->expect = EXPECT_NOTHING;
	lk->pipeline = (uint32_t)syn->spec.pipeline;
	for (int end = 0; end < OSP_ENDS; end++) {
		/* One in eight starts so high that it soon wraps. */
		lk->seq[end] = (uint32_t)synth_rand(&syn->rng);
		if (!synth_below(&syn->rng, 8))
			lk->seq[end] = UINT32_MAX - (uint32_t)synth_below(&syn->rng, 5000);
	}
	lk->eof = synth_chance(&syn->rng, syn->spec.eof);
	make_tuple(syn, lk, &tuple);
	lk->sides = 0;
	if (syn->spec.role != SYNTH_SERVER)
		side_init(syn, lk, lk->sides++, OSP_ROLE_CLIENT, &tuple);
	if (syn->spec.role != SYNTH_CLIENT)
		side_init(syn, lk, lk->sides++, OSP_ROLE_SERVER, &tuple);
	syn->opened++;
	syn->txns_left -= lk->quota;
	syn->tot.connections += lk->sides;
}

static uint8_t dir_of(const struct side *side, uint8_t end)
{
	return (side->role == OSP_ROLE_CLIENT) == (end == OSP_REQ) ? OSP_TX : OSP_RX;
}

static uint32_t end_seq(const struct link *lk, const struct side *side, int dir)
{
	return lk->seq[dir_of(side, OSP_REQ) == dir ? OSP_REQ : OSP_RES];
}

static void link_open(struct synth *syn, struct link *lk)
{
	for (int i = 0; i < lk->sides; i++) {
		struct side *side = &lk->side[i];
		struct osp_ev_open ev = {
			.conn = side->cookie, .tuple = side->tuple,
			.seq = { end_seq(lk, side, OSP_TX), end_seq(lk, side, OSP_RX) },
			.tgid = side->role == OSP_ROLE_CLIENT ? side->tgid : 0,
			.how = OSP_OPEN_ESTABLISHED, .role = side->role,
			.role_from = side->role == OSP_ROLE_CLIENT ? OSP_FROM_CONNECT :
								      OSP_FROM_ACCEPT,
			.vantage = OSP_VANTAGE_SYNTHETIC,
		};

		hand_over(syn, &ev.h, OSP_EV_OPEN, sizeof(ev), step_clock(syn));
	}
	lk->state = LINK_OPEN;
}

static void emit_shut(struct synth *syn, const struct link *lk, const struct side *side,
		      uint8_t how)
{
	struct osp_ev_shut ev = {
		.conn = side->cookie, .how = how,
		.seq = end_seq(lk, side, how == OSP_SHUT_RX ? OSP_RX : OSP_TX),
	};

	hand_over(syn, &ev.h, OSP_EV_SHUT, sizeof(ev), step_clock(syn));
}

static void emit_close(struct synth *syn, const struct link *lk, const struct side *side)
{
	struct osp_ev_close ev = {
		.conn = side->cookie, .tuple = side->tuple,
		.end = { end_seq(lk, side, OSP_TX), end_seq(lk, side, OSP_RX) },
		.rcv_end = end_seq(lk, side, OSP_RX),
		.lost = { side->lost[OSP_TX], side->lost[OSP_RX] },
		.turns = side->turn, .srtt_us = 100 + side->tgid % 50, .tgid = side->tgid,
		.flags = OSP_CF_FIN_TX | OSP_CF_FIN_RX, .role = side->role,
		.role_from = side->role == OSP_ROLE_CLIENT ? OSP_FROM_CONNECT : OSP_FROM_ACCEPT,
	};

	hand_over(syn, &ev.h, OSP_EV_CLOSE, sizeof(ev), step_clock(syn));
}

/* The client ends first, but for a response that only the end of the connection delimits. */
static void link_close(struct synth *syn, struct link *lk)
{
	uint8_t first = lk->eof ? OSP_ROLE_SERVER : OSP_ROLE_CLIENT;

	for (int i = 0; i < lk->sides; i++)
		if (lk->side[i].role == first)
			emit_shut(syn, lk, &lk->side[i], OSP_SHUT_BOTH);
	for (int i = 0; i < lk->sides; i++) {
		if (lk->side[i].role == first)
			continue;
		emit_shut(syn, lk, &lk->side[i], OSP_SHUT_RX);
		emit_shut(syn, lk, &lk->side[i], OSP_SHUT_BOTH);
	}
	for (int i = 0; i < lk->sides; i++)
		emit_close(syn, lk, &lk->side[i]);
}

/* ---- bursts --------------------------------------------------------------------------------- */

static struct synth_txn *link_txn(const struct link *lk, uint64_t n)
{
	return &lk->txn[n % lk->pipeline];
}

static void burst_begin(struct link *lk, uint8_t end)
{
	struct synth_burst *burst = &lk->burst;

	burst->len = 0;
	burst->span_n = 0;
	burst->stop_n = 0;
	burst->end = end;
	burst->seq = lk->seq[end];
}

/* Some requests, as many as the client dares before it waits. */
static int burst_requests(struct synth *syn, struct link *lk)
{
	uint64_t idle = lk->begun == lk->answered, room = lk->pipeline - (lk->begun - lk->answered);
	uint64_t left = lk->quota - lk->begun;
	uint64_t k = 1 + synth_below(&syn->rng, room < left ? room : left);
	struct synth_txn *txn;
	int err = 0;

	burst_begin(lk, OSP_REQ);
	while (k-- && !err && lk->burst.len < BURST_SOFT_MAX) {
		txn = link_txn(lk, ++lk->begun);
		memset(txn, 0, sizeof(*txn));
		txn->conn = lk->index;
		txn->n = lk->begun;
		/* Only where nothing is in flight, or the 100 would come after other answers. */
		txn->expect = idle && !lk->burst.len &&
			      synth_chance(&syn->rng, syn->spec.interim);
		err = synth_make_request(&syn->maker, &lk->burst, txn);
		advance_due(syn);
		if (txn->expect) {
			lk->expect = EXPECT_100;
			break;
		}
	}
	return err;
}

static int burst_responses(struct synth *syn, struct link *lk)
{
	uint64_t k = 1 + synth_below(&syn->rng, lk->begun - lk->answered);
	bool last;
	int err = 0;

	burst_begin(lk, OSP_RES);
	while (k-- && !err && lk->burst.len < BURST_SOFT_MAX) {
		lk->answered++;
		last = lk->eof && lk->answered == lk->quota;
		err = synth_make_response(&syn->maker, &lk->burst, link_txn(lk, lk->answered),
					  last);
		advance_due(syn);
	}
	return err;
}

/* The second and third act of Expect: 100-continue. */
static int burst_expected(struct synth *syn, struct link *lk)
{
	struct synth_txn *txn = link_txn(lk, lk->begun);

	if (lk->expect == EXPECT_100) {
		lk->expect = EXPECT_BODY;
		burst_begin(lk, OSP_RES);
		return synth_make_continue(&syn->maker, &lk->burst, txn);
	}
	lk->expect = EXPECT_NOTHING;
	burst_begin(lk, OSP_REQ);
	return synth_make_body(&syn->maker, &lk->burst, txn);
}

/* Draws what comes next on a link where nothing is being sent. */
static int link_next(struct synth *syn, struct link *lk)
{
	uint64_t flying = lk->begun - lk->answered;
	bool can_send = lk->begun < lk->quota && flying < lk->pipeline;
	int err;

	if (lk->expect)
		err = burst_expected(syn, lk);
	else if (can_send && (!flying || synth_below(&syn->rng, 2)))
		err = burst_requests(syn, lk);
	else if (flying)
		err = burst_responses(syn, lk);
	else {
		lk->state = LINK_CLOSING;
		return 0;
	}
	lk->seq[lk->burst.end] += lk->burst.len;
	/* Who sends it sees it first. */
	lk->cur = lk->sides == 2 && lk->burst.end == OSP_RES;
	lk->side[0].at = lk->side[1].at = 0;
	lk->side[0].stop = lk->side[1].stop = 0;
	lk->state = LINK_SENDING;
	return err;
}

/* ---- pieces --------------------------------------------------------------------------------- */

/* Draws the next piece of what side has not been handed: to a message's end, or with pipelining
 * maybe several messages, and maybe cut short.
 */
static bool next_piece(struct synth *syn, const struct link *lk, struct side *side,
		       struct piece *out)
{
	const struct synth_burst *burst = &lk->burst;

	if (side->at >= burst->len)
		return false;
	while (burst->stop[side->stop] <= side->at)
		side->stop++;
	out->from = side->at;
	out->to = burst->stop[side->stop];
	for (uint32_t i = side->stop + 1; i < burst->stop_n && synth_below(&syn->rng, 2); i++)
		out->to = burst->stop[i];
	if (synth_chance(&syn->rng, syn->spec.split))
		out->to = out->from + 1 +
			  (uint32_t)synth_below(&syn->rng, out->to - out->from);
	out->more = out->to - out->from > PIECE_MAX;
	if (out->more)
		out->to = out->from + PIECE_MAX;
	side->at = out->to;
	return true;
}

/* Counts the piece as made, whether it gets anywhere or not. */
static void count_piece(struct synth *syn, struct link *lk, struct side *side,
			const struct piece *piece)
{
	uint8_t dir = dir_of(side, lk->burst.end);

	if (side->last_dir != dir) {
		side->last_dir = dir;
		side->turn++;
		syn->tot.turns++;
	}
	syn->tot.made++;
	syn->tot.bytes[dir] += piece->to - piece->from;
}

static void lose_piece(struct synth *syn, struct link *lk, struct side *side,
		       const struct piece *piece)
{
	const struct synth_burst *burst = &lk->burst;
	uint32_t n = piece->to - piece->from, from, to;

	side->lost[dir_of(side, burst->end)] += n;
	syn->tot.lost++;
	syn->tot.lost_bytes += n;
	for (uint32_t i = 0; i < burst->span_n; i++) {
		const struct synth_span *span = &burst->span[i];
		struct synth_loss *loss = &span->txn->loss[side - lk->side];

		from = span->from > piece->from ? span->from : piece->from;
		to = span->to < piece->to ? span->to : piece->to;
		if (from >= to)
			continue;
		if (span->part == SYNTH_PART_INTERIM)
			loss->interim += to - from;
		else
			loss->bytes[span->end] += to - from;
		if (span->part == SYNTH_PART_HEAD)
			loss->head[span->end] = true;
	}
}

static void emit_piece(struct synth *syn, struct link *lk, struct side *side,
		       const struct piece *piece, uint64_t ts, uint32_t lost)
{
	uint8_t *bytes = lk->burst.mem + SYNTH_ROOM + piece->from;
	uint32_t n = piece->to - piece->from;
	struct osp_ev_data *ev = (struct osp_ev_data *)lk->burst.mem;

	if (piece->from) {
		ev = &syn->scratch.ev;
		memcpy(syn->scratch.bytes, bytes, n);
	}
	*ev = (struct osp_ev_data){
		.conn = side->cookie, .seq = lk->burst.seq + piece->from, .bytes = n, .cap = n,
		.lost = lost, .turn = side->turn, .tgid = side->tgid,
		.tid = side->tgid + (uint32_t)(lk->index & 3), .dir = side->last_dir,
		.vantage = OSP_VANTAGE_SYNTHETIC, .flags = piece->more ? OSP_DF_MORE : 0,
	};
	syn->tot.delivered++;
	hand_over(syn, &ev->h, OSP_EV_DATA, (uint32_t)sizeof(*ev) + n, ts);
}

static uint32_t take_lost(struct side *side)
{
	uint32_t lost = side->lost[side->last_dir];

	side->lost[side->last_dir] = 0;
	return lost;
}

/* Hands over one piece of side's, or loses it, or hands over the one after it first: the two at
 * once, so that any wait for a missing piece is long enough.
 */
static void side_step(struct synth *syn, struct link *lk, struct side *side)
{
	struct piece a, b;
	uint64_t ts = step_clock(syn);
	uint32_t lost;

	if (!next_piece(syn, lk, side, &a))
		return;
	count_piece(syn, lk, side, &a);
	if (synth_chance(&syn->rng, syn->spec.loss)) {
		lose_piece(syn, lk, side, &a);
		return;
	}
	lost = take_lost(side);
	if (!synth_chance(&syn->rng, syn->spec.reorder) || !next_piece(syn, lk, side, &b)) {
		emit_piece(syn, lk, side, &a, ts, lost);
		return;
	}
	count_piece(syn, lk, side, &b);
	if (synth_chance(&syn->rng, syn->spec.loss)) {
		emit_piece(syn, lk, side, &a, ts, lost);
		lose_piece(syn, lk, side, &b);
		return;
	}
	emit_piece(syn, lk, side, &b, step_clock(syn), 0);
	emit_piece(syn, lk, side, &a, ts, lost);
}

/* A transaction is over for one side: nothing more of it will be handed over. */
static void tell_truth(struct synth *syn, const struct link *lk, const struct synth_txn *txn, int i)
{
	const struct synth_half *req = &txn->half[OSP_REQ], *res = &txn->half[OSP_RES];
	const struct synth_loss *loss = &txn->loss[i];

	syn->tot.transactions++;
	if (loss->bytes[OSP_REQ] == req->head + req->wire &&
	    loss->bytes[OSP_RES] == res->head + res->wire && loss->interim == txn->interim_bytes)
		syn->tot.exchanges_lost++;
	if (syn->truth)
		synth_truth_txn(syn->truth, txn, i, lk->side[i].cookie, lk->side[i].role);
}

static void link_sent(struct synth *syn, struct link *lk)
{
	const struct synth_burst *burst = &lk->burst;

	lk->state = LINK_OPEN;
	if (burst->end != OSP_RES || lk->expect)
		return;
	for (uint32_t i = 0; i < burst->span_n; i++) {
		/* Each response has exactly one head in its burst. */
		if (burst->span[i].part != SYNTH_PART_HEAD)
			continue;
		syn->tot.exchanges++;
		for (int s = 0; s < lk->sides; s++)
			tell_truth(syn, lk, burst->span[i].txn, s);
	}
}

static void link_send(struct synth *syn, struct link *lk)
{
	struct side *side = &lk->side[lk->cur];
	uint8_t first = lk->sides == 2 && lk->burst.end == OSP_RES;

	side_step(syn, lk, side);
	if (side->at < lk->burst.len)
		return;
	if (lk->sides == 2 && lk->cur == first)
		lk->cur = !first;
	else
		link_sent(syn, lk);
}

/* ---- the source ----------------------------------------------------------------------------- */

/* One step of one link. 0 or -ENOMEM. */
static int synth_step(struct synth *syn)
{
	uint32_t i = (uint32_t)synth_below(&syn->rng, syn->active);
	struct link *lk = &syn->links[i], gone;
	int err = 0;

	switch (lk->state) {
	case LINK_OPENING:
		link_open(syn, lk);
		return 0;
	case LINK_OPEN:
		err = link_next(syn, lk);
		if (err || lk->state != LINK_SENDING)
			return err;
		__attribute__((fallthrough));
	case LINK_SENDING:
		link_send(syn, lk);
		return 0;
	}
	link_close(syn, lk);
	if (syn->opened < syn->conns) {
		link_init(syn, lk);
		return 0;
	}
	/* Its buffers stay in the table, behind the active ones. */
	gone = *lk;
	*lk = syn->links[--syn->active];
	syn->links[syn->active] = gone;
	return 0;
}

static int synth_finish(struct synth *syn)
{
	emit_lost(syn, step_clock(syn));
	syn->end = -ENODATA;
	return syn->truth ? synth_truth_finish(syn->truth, &syn->tot) : 0;
}

static int synth_poll(struct osp_source *src, osp_ev_fn fn, void *ctx)
{
	struct synth *syn = (struct synth *)src;
	int err = 0;

	if (syn->end)
		return syn->end;
	syn->fn = fn;
	syn->ctx = ctx;
	syn->n = 0;
	syn->err = 0;
	if (!syn->started)
		emit_start(syn);
	while (syn->n < EVENTS_PER_POLL && syn->active && !err && !syn->err)
		err = synth_step(syn);
	if (!syn->active && !err && !syn->err)
		err = synth_finish(syn);
	if (!err)
		err = syn->err;
	if (err)
		syn->end = err;
	return err ? err : syn->n;
}

static int synth_wait_fd(const struct osp_source *src, uint64_t ns)
{
	return -1;
}

/* What is under way comes to its end; nothing new is begun. */
static void synth_stop(struct osp_source *src)
{
	struct synth *syn = (struct synth *)src;

	syn->conns = syn->opened;
	for (uint32_t i = 0; i < syn->active; i++)
		syn->links[i].quota = syn->links[i].begun;
}

static void synth_info(const struct osp_source *src, struct osp_source_info *out)
{
	const struct synth *syn = (const struct synth *)src;

	*out = (struct osp_source_info){
		.mode = "synthetic", .origin = "synthetic", .host = "synthetic", .kernel = "",
		.boot_id = syn->boot_id, .wall_off_ns = WALL_OFF_NS,
	};
}

static void synth_close(struct osp_source *src)
{
	struct synth *syn = (struct synth *)src;

	if (!syn)
		return;
	for (uint32_t i = 0; syn->links && i < syn->slots; i++) {
		free(syn->links[i].burst.mem);
		free(syn->links[i].burst.span);
		free(syn->links[i].burst.stop);
		free(syn->links[i].txn);
	}
	free(syn->links);
	free(syn->maker.block);
	synth_truth_free(syn->truth);
	synth_spec_fini(&syn->spec);
	free(syn);
}

static const struct osp_source_ops synth_ops = {
	.name = "synthetic",
	.poll = synth_poll,
	.wait_fd = synth_wait_fd,
	.stop = synth_stop,
	.info = synth_info,
	.close = synth_close,
};

static int synth_alloc_links(struct synth *syn)
{
	size_t depth = syn->spec.pipeline;
	struct link *lk;

	syn->slots = (uint32_t)(syn->spec.conc < syn->conns ? syn->spec.conc : syn->conns);
	syn->links = calloc(syn->slots, sizeof(*syn->links));
	if (!syn->links)
		return -ENOMEM;
	for (uint32_t i = 0; i < syn->slots; i++) {
		lk = &syn->links[i];
		lk->burst.span = calloc(SYNTH_SPANS(depth), sizeof(*lk->burst.span));
		lk->burst.stop = calloc(SYNTH_STOPS(depth), sizeof(*lk->burst.stop));
		lk->txn = calloc(depth, sizeof(*lk->txn));
		if (!lk->burst.span || !lk->burst.stop || !lk->txn)
			return -ENOMEM;
	}
	for (; syn->active < syn->slots; syn->active++)
		link_init(syn, &syn->links[syn->active]);
	return 0;
}

static void synth_seed(struct synth *syn)
{
	uint64_t state = syn->spec.seed, a, b;

	for (int i = 0; i < 4; i++)
		syn->rng.s[i] = synth_mix(&state);
	a = synth_mix(&state);
	b = synth_mix(&state);
	/* The form of a version 4 UUID, as the kernel's boot_id has. */
	snprintf(syn->boot_id, sizeof(syn->boot_id), "%08x-%04x-4%03x-%04x-%012llx",
		 (unsigned int)(a >> 32), (unsigned int)(a >> 16 & 0xffff),
		 (unsigned int)(a & 0xfff),
		 (unsigned int)(0x8000 | (b >> 48 & 0x3fff)),
		 (unsigned long long)(b & 0xffffffffffffull));
}

static int synth_init(struct synth *syn)
{
	const struct synth_spec *spec = &syn->spec;
	uint64_t need;
	int err;

	synth_seed(syn);
	need = spec->keepalive ? (spec->txns + spec->keepalive - 1) / spec->keepalive : 0;
	syn->conns = need > spec->conns ? need : spec->conns;
	syn->txns_left = spec->txns;
	syn->now = syn->due = EPOCH_NS;
	syn->next_tick = EPOCH_NS + TICK_NS;
	syn->due_step = 1000000000ull / (2 * spec->rate);
	err = synth_maker_init(&syn->maker, spec, &syn->rng);
	return err ? err : synth_alloc_links(syn);
}

int osp_source_synth_new(struct osp_source **out, const char *spec, char *err, size_t err_size)
{
	struct synth *syn;
	int ret = -ENOMEM;

	if (err_size)
		*err = 0;
	syn = calloc(1, sizeof(*syn));
	if (!syn)
		goto out;
	syn->src.ops = &synth_ops;
	ret = synth_spec_parse(&syn->spec, spec, err, err_size);
	if (ret)
		goto out;
	ret = synth_init(syn);
	if (ret || !syn->spec.truth)
		goto out;
	ret = synth_truth_open(&syn->truth, syn->spec.truth);
	if (ret)
		snprintf(err, err_size, "truth: %s: %s", syn->spec.truth, strerror(-ret));
out:
	if (ret == -ENOMEM && err_size)
		snprintf(err, err_size, "out of memory");
	if (ret)
		synth_close(syn ? &syn->src : NULL);
	else
		*out = &syn->src;
	return ret;
}
