/* SPDX-License-Identifier: GPL-3.0-or-later */
/* flow_out.c: what a flow emits, and in which order.
 *
 * Inside a direction the order is that of sequence numbers. Between directions it is that of cause
 * and effect: a segment goes only when all that it acknowledges has gone, so a response never comes
 * before the request that its sender had in hand when it answered, whatever the capture lost or
 * reordered. What is acknowledged and does not come within the grace time is lost; it is given up,
 * as a GAP of known length, right before the segment that proves it.
 *
 * An acknowledgement counts a FIN as one. Where the FIN itself may be what is missing, the last
 * position before the acknowledgement is left open until bytes show that it was one of them.
 */
#include "agent/wire/flow.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

/* Payload per DATA event. */
#define DATA_MAX (256u << 10)

/* ---- events ---------------------------------------------------------------------------------- */

static void emit(struct osp_reasm *rs, struct osp_ev_hdr *h, uint8_t kind, uint32_t len,
		 uint64_t ts)
{
	*h = (struct osp_ev_hdr){ .len = len, .abi = OSP_EV_ABI, .kind = kind, .ts_ns = ts };
	rs->io.emit(rs->io.ctx, h);
}

static void tuple(const struct osp_flow *flow, struct osp_tuple *out)
{
	const struct osp_flow_key *key = &flow->key;
	int l = flow->local;

	*out = (struct osp_tuple){
		.lport = key->port[l],
		.rport = key->port[!l],
		.family = flow->v6 ? AF_INET6 : AF_INET,
		.transport = IPPROTO_TCP,
	};
	memcpy(out->local, key->addr[l], 16);
	memcpy(out->remote, key->addr[!l], 16);
}

/* Without a SYN the client is who probably is, by its higher port, whichever packet came first;
 * requests will tell (struct osp_ev_open.role).
 */
static void guess_local(struct osp_flow *flow)
{
	if (!flow->role)
		flow->local = flow->key.port[1] > flow->key.port[0];
}

void osp_flow_open(struct osp_reasm *rs, struct osp_flow *flow)
{
	bool whole = flow->half[0].exact && flow->half[1].exact;
	struct osp_ev_open ev = { .vantage = OSP_VANTAGE_WIRE };

	if (flow->id)
		return;
	flow->id = ++rs->ids;
	guess_local(flow);
	osp_wcount(rs, OSP_ST_WIRE_CONNS, 1);
	osp_wcount(rs, OSP_ST_WIRE_MIDSTREAM, !whole);
	osp_flow_set_life(rs, flow, OSP_FL_OPEN);
	ev.conn = flow->id;
	tuple(flow, &ev.tuple);
	ev.seq[OSP_TX] = flow->half[flow->local].next;
	ev.seq[OSP_RX] = flow->half[!flow->local].next;
	ev.how = whole ? OSP_OPEN_ESTABLISHED : OSP_OPEN_SIGHT;
	if (flow->role) {
		ev.role = OSP_ROLE_CLIENT;
		ev.role_from = OSP_FROM_CONNECT;
	}
	emit(rs, &ev.h, OSP_EV_OPEN, sizeof(ev), flow->first_ts);
}

/* All of a DATA or GAP but its length. */
static inline void fill_data(struct osp_flow *flow, int side, struct osp_ev_data *ev, uint32_t bytes,
		      uint32_t cap, int cause)
{
	bool lost = cause == OSP_CAUSE_WIRE_LOSS;

	flow->loose = lost && flow->lost && (flow->loose || flow->last_side != side);
	flow->lost = lost;
	if (flow->last_side != side) {
		flow->last_side = (uint8_t)side;
		flow->turn++;
	}
	*ev = (struct osp_ev_data){
		.conn = flow->id,
		.seq = flow->half[side].next,
		.bytes = bytes,
		.cap = cap,
		.turn = flow->turn,
		.dir = side == flow->local ? OSP_TX : OSP_RX,
		.cause = (uint8_t)(cap < bytes ? cause : OSP_CAUSE_NONE),
		.vantage = OSP_VANTAGE_WIRE,
		.flags = (uint8_t)((flow->copies ? OSP_DF_COPIES : 0) |
				   (flow->loose ? OSP_DF_LOOSE : 0)),
	};
}

/* n bytes of a half are done with. */
static void step_on(struct osp_half_flow *half, uint32_t n)
{
	half->next += n;
	half->moved = true;
	/* Old numbers must not come to look new when half the number space has gone by. */
	if (half->has_ack && half->next - half->acked - OSP_SEQ_FAR < OSP_SEQ_FAR)
		half->has_ack = false;
}

/* A byte is there when all before it are: times of a direction do not go back. */
static uint64_t in_order(struct osp_half_flow *half, uint64_t ts)
{
	if (ts > half->out_ts)
		half->out_ts = ts;
	return half->out_ts;
}

/* A byte or a FIN that was given up, and now payload that acknowledges it: an answer, so it was a
 * byte, and the last of what is answered. Told now it is part of that turn, and not of the next.
 */
static void end_excuse(struct osp_reasm *rs, struct osp_flow *flow, int side, uint32_t ack)
{
	struct osp_half_flow *half = &flow->half[side];

	if (half->excuse && !half->has_fin && ack == half->excused && ack == half->next + 1)
		osp_flow_gap(rs, flow, side, 1, half->out_ts);
}

/* ev stands before its payload, cap bytes; len bytes in all. */
static void emit_data(struct osp_reasm *rs, struct osp_flow *flow, int side, struct osp_ev_data *ev,
		      uint32_t len, uint32_t cap, uint32_t ack, uint64_t ts)
{
	const struct osp_half_flow *other = &flow->half[!side];

	end_excuse(rs, flow, !side, ack);
	fill_data(flow, side, ev, len, cap, OSP_CAUSE_SNAPLEN);
	/* What it acknowledges beyond that is a FIN, or given up. */
	ev->flags |= OSP_DF_OTHER;
	ev->other = osp_seq_after(ack, other->next) ? other->next : ack;
	osp_wcount(rs, OSP_ST_WIRE_CUT_BYTES, len - cap);
	step_on(&flow->half[side], len);
	ts = in_order(&flow->half[side], ts);
	rs->events++;
	emit(rs, &ev->h, cap ? OSP_EV_DATA : OSP_EV_GAP, (uint32_t)sizeof(*ev) + cap, ts);
}

static void remember(struct osp_flow *flow, int side, uint32_t seq, uint32_t n, uint64_t offset)
{
	if (offset)
		flow->past[side][flow->half[side].past_at++ % OSP_WPAST] =
			(struct osp_wpast){ .offset = offset, .seq = seq, .n = n };
}

static __attribute__((noinline)) bool grow_out(struct osp_reasm *rs, uint32_t n)
{
	uint32_t cap = osp_pool_size(n);
	void *p;

	p = osp_mem_realloc(rs->out, cap);
	if (!p)
		return false;
	rs->out = p;
	rs->out_cap = cap;
	return true;
}

static inline bool out_room(struct osp_reasm *rs, uint32_t n)
{
	return n <= rs->out_cap || grow_out(rs, n);
}

void osp_flow_data(struct osp_reasm *rs, struct osp_flow *flow, int side,
		   const struct osp_tcp_seg *seg)
{
	uint32_t at = 0, n, cap;

	osp_flow_open(rs, flow);
	remember(flow, side, seg->seq, seg->cap, seg->offset);
	while (at < seg->len) {
		n = seg->len - at < DATA_MAX ? seg->len - at : DATA_MAX;
		cap = seg->cap <= at ? 0 : seg->cap - at < n ? seg->cap - at : n;
		if (!out_room(rs, (uint32_t)sizeof(struct osp_ev_data) + cap))
			cap = 0;
		if (cap)
			memcpy(rs->out + 1, seg->data + at, cap);
		emit_data(rs, flow, side, rs->out, n, cap, seg->ack, seg->ts);
		at += n;
	}
}

void osp_flow_next(struct osp_reasm *rs, struct osp_flow *flow, int side,
		   const struct osp_tcp_seg *seg)
{
	struct osp_half_flow *half = &flow->half[side];
	struct osp_ev_data *ev;

	if (seg->cap < seg->len || seg->len > DATA_MAX ||
	    !out_room(rs, (uint32_t)sizeof(*ev) + seg->cap)) {
		osp_flow_data(rs, flow, side, seg);
		return;
	}
	ev = rs->out;
	remember(flow, side, seg->seq, seg->cap, seg->offset);
	fill_data(flow, side, ev, seg->len, seg->len, OSP_CAUSE_NONE);
	ev->h = (struct osp_ev_hdr){ .len = (uint32_t)sizeof(*ev) + seg->len, .abi = OSP_EV_ABI,
				     .kind = OSP_EV_DATA, .ts_ns = in_order(half, seg->ts) };
	ev->flags |= OSP_DF_OTHER;
	ev->other = seg->ack;
	memcpy(ev + 1, seg->data, seg->len);
	step_on(half, seg->len);
	rs->events++;
	rs->io.emit(rs->io.ctx, &ev->h);
}

/* A piece's turn has come. */
static void deliver(struct osp_reasm *rs, struct osp_flow *flow, int side)
{
	struct osp_half_flow *half = &flow->half[side];
	struct osp_wpiece *pc = osp_piece_pop(half);

	osp_flow_open(rs, flow);
	remember(flow, side, pc->seq, pc->cap, pc->offset);
	emit_data(rs, flow, side, &pc->ev, pc->len, pc->cap, pc->ack, pc->ts);
	osp_piece_free(rs, half, pc);
}

void osp_flow_gap(struct osp_reasm *rs, struct osp_flow *flow, int side, uint32_t n, uint64_t ts)
{
	struct osp_ev_data ev;

	osp_flow_open(rs, flow);
	/* What is missing was sent after what had to come before it. */
	if (ts < flow->half[!side].out_ts)
		ts = flow->half[!side].out_ts;
	ts = in_order(&flow->half[side], ts);
	fill_data(flow, side, &ev, n, 0, OSP_CAUSE_WIRE_LOSS);
	/* Its packets go another way, rather than that some were lost. */
	if (!flow->half[side].tagged)
		ev.flags |= OSP_DF_UNSEEN;
	osp_wcount(rs, OSP_ST_WIRE_LOST_BYTES, n);
	step_on(&flow->half[side], n);
	rs->events++;
	emit(rs, &ev.h, OSP_EV_GAP, sizeof(ev), ts);
}

static void shut(struct osp_reasm *rs, struct osp_flow *flow, int side)
{
	struct osp_half_flow *half = &flow->half[side];
	struct osp_ev_shut ev = {
		.conn = flow->id,
		.seq = half->fin,
		.how = side == flow->local ? OSP_SHUT_TX : OSP_SHUT_RX,
	};

	half->fin_out = true;
	if (flow->id)
		emit(rs, &ev.h, OSP_EV_SHUT, sizeof(ev), half->fin_ts);
	if (flow->half[!side].fin_out && flow->state == OSP_FL_OPEN)
		osp_flow_set_life(rs, flow, OSP_FL_ENDING);
}

/* ---- order ----------------------------------------------------------------------------------- */

uint32_t osp_flow_reach(struct osp_half_flow *half)
{
	uint32_t reach = half->next + half->fin_out;

	if (!half->excuse)
		return reach;
	if (osp_seq_after(half->excused, reach))
		return half->excused;
	half->excuse = false;
	return reach;
}

bool osp_flow_covered(struct osp_flow *flow, int side, uint32_t ack)
{
	struct osp_half_flow *other = &flow->half[!side];

	return !other->based || !osp_seq_after(ack, osp_flow_reach(other));
}

/* Payload of a SYN: what of it the other endpoint has taken. False: not known yet. */
static bool syn_payload(struct osp_reasm *rs, struct osp_half_flow *half)
{
	struct osp_wpiece *pc = half->first;
	uint32_t taken;

	if (!half->has_ack || pc->seq != half->next)
		return false;
	taken = half->acked - pc->seq;
	if ((int32_t)taken < 0)
		taken = 0;
	pc->syn = false;
	if (taken >= pc->len)
		return true;
	osp_wcount(rs, OSP_ST_WIRE_SYN_DATA_DROPPED, pc->len - taken);
	pc->len = taken;
	pc->cap = pc->cap < taken ? pc->cap : taken;
	if (!taken)
		osp_piece_free(rs, half, osp_piece_pop(half));
	return true;
}

/* Emits one thing of that side, if there is one that can go. */
static bool step(struct osp_reasm *rs, struct osp_flow *flow, int side)
{
	struct osp_half_flow *half = &flow->half[side];
	struct osp_wpiece *pc = half->first;

	if (!pc) {
		if (!half->has_fin || half->fin_out || half->fin != half->next ||
		    !osp_flow_covered(flow, side, half->fin_ack))
			return false;
		shut(rs, flow, side);
		return true;
	}
	if (pc->syn)
		return syn_payload(rs, half);
	/* Joined at a keep-alive probe, which stands one before the next byte. */
	if (!flow->id && !half->exact && pc->seq == half->next + 1)
		half->next++;
	if (pc->seq != half->next || !osp_flow_covered(flow, side, pc->ack))
		return false;
	deliver(rs, flow, side);
	return true;
}

/* Whether the next byte, or the FIN, of that side is at hand. */
static bool ready(const struct osp_half_flow *half)
{
	if (half->first)
		return !half->first->syn && half->first->seq == half->next;
	return half->has_fin && !half->fin_out && half->fin == half->next;
}

/* Each side has what comes next, and each waits for the other: one of them was sent again later,
 * with a later acknowledgement, and its first sending was not captured. Requests come before
 * responses, bytes before a FIN.
 */
static bool break_tie(struct osp_reasm *rs, struct osp_flow *flow)
{
	int side = flow->local;

	if (!ready(&flow->half[0]) || !ready(&flow->half[1]))
		return false;
	if (!flow->half[side].first)
		side = !side;
	if (flow->half[side].first)
		deliver(rs, flow, side);
	else
		shut(rs, flow, side);
	return true;
}

void osp_flow_pump(struct osp_reasm *rs, struct osp_flow *flow)
{
	bool any = flow->settled;

	while (any) {
		any = false;
		while (step(rs, flow, flow->local))
			any = true;
		while (step(rs, flow, !flow->local))
			any = true;
		if (!any)
			any = break_tie(rs, flow);
	}
}

/* ---- giving up ------------------------------------------------------------------------------- */

/* How far a chain of "waits for the other direction" is followed; longer ones come from captures
 * that are made up, where any order will do.
 */
#define CHAIN_MAX 4

/* Up to where half's first hole is lost, if what was sent before upto is. */
static uint32_t lost_until(const struct osp_half_flow *half, uint32_t upto, bool hard)
{
	if (half->first)
		return osp_seq_after(upto, half->first->seq) ? half->first->seq : upto;
	if (half->has_fin)
		return osp_seq_after(upto, half->fin) ? half->fin : upto;
	return hard ? upto : upto - 1;
}

/* [next, end) of that side is lost. Where the other side's next piece was sent when part of it had
 * come, and what follows the hole answers that piece, the piece belongs between: the end of one
 * response, the request after it, the head of its response.
 */
static void lose(struct osp_reasm *rs, struct osp_flow *flow, int side, uint32_t end, uint64_t ts)
{
	struct osp_half_flow *half = &flow->half[side], *other = &flow->half[!side];
	const struct osp_wpiece *pc = other->first;

	if (pc && !pc->syn && pc->seq == other->next && osp_seq_after(pc->ack, half->next) &&
	    osp_seq_after(end, pc->ack) &&
	    (!half->first || osp_seq_after(half->first->ack, pc->seq))) {
		osp_flow_gap(rs, flow, side, pc->ack - half->next, ts);
		while (step(rs, flow, !side))
			;
		return;
	}
	osp_flow_gap(rs, flow, side, end - half->next, ts);
}

static void give_up(struct osp_reasm *rs, struct osp_flow *flow, int side, uint32_t upto, bool hard,
		    int chain)
{
	struct osp_half_flow *half = &flow->half[side];
	struct osp_wpiece *pc;
	uint32_t end;

	while (osp_seq_after(upto, osp_flow_reach(half))) {
		pc = half->first;
		if (pc && !osp_seq_after(pc->seq, half->next)) {
			/* It waits for the other direction in turn. */
			if (chain < CHAIN_MAX)
				give_up(rs, flow, !side, pc->ack, true, chain + 1);
			if (half->first == pc)
				deliver(rs, flow, side);
			continue;
		}
		end = lost_until(half, upto, hard);
		if (osp_seq_after(end, half->next))
			lose(rs, flow, side, end, half->ack_ts);
		if (osp_seq_after(end, half->next))
			continue;
		if (!pc || !osp_seq_after(upto, pc->seq)) {
			half->excused = upto;
			half->excuse = true;
		}
	}
}

void osp_flow_give_up(struct osp_reasm *rs, struct osp_flow *flow, int side, uint32_t upto,
		      bool hard)
{
	give_up(rs, flow, side, upto, hard, 0);
	osp_flow_pump(rs, flow);
}

/* No acknowledgement will tell: a SYN's payload was taken if its sender went on behind it. */
static void judge_syn(struct osp_reasm *rs, struct osp_half_flow *half)
{
	struct osp_wpiece *pc = half->first;

	if (half->has_ack && syn_payload(rs, half))
		return;
	pc->syn = false;
	if (pc->next)
		return;
	osp_wcount(rs, OSP_ST_WIRE_SYN_DATA_DROPPED, pc->len);
	osp_piece_free(rs, half, osp_piece_pop(half));
}

bool osp_flow_asked(struct osp_flow *flow, int side, uint32_t *ack)
{
	struct osp_half_flow *other = &flow->half[!side];
	const struct osp_wpiece *pc = flow->half[side].first;

	if (flow->last_side != side || !pc || osp_flow_covered(flow, side, pc->ack))
		return false;
	*ack = pc->ack;
	if (other->first && osp_seq_after(*ack, other->first->seq))
		*ack = other->first->seq;
	return osp_seq_after(*ack, osp_flow_reach(other));
}

void osp_flow_force(struct osp_reasm *rs, struct osp_flow *flow, int side)
{
	struct osp_half_flow *half = &flow->half[side];
	struct osp_wpiece *pc = half->first;
	uint32_t at = pc ? pc->seq : half->fin, ack = pc ? pc->ack : half->fin_ack, asked;
	uint64_t ts = pc ? pc->ts : half->fin_ts;

	flow->settled = true;
	if (pc && pc->syn)
		judge_syn(rs, half);
	else if (osp_seq_after(at, half->next) && osp_flow_asked(flow, side, &asked))
		give_up(rs, flow, !side, asked, true, 0);
	else if (osp_seq_after(at, half->next))
		lose(rs, flow, side, at, ts);
	else if (!osp_flow_covered(flow, side, ack))
		give_up(rs, flow, !side, ack, pc != NULL, 0);
	else if (pc)
		deliver(rs, flow, side);
	else if (half->has_fin && !half->fin_out)
		shut(rs, flow, side);
	osp_flow_pump(rs, flow);
}

static bool waits(const struct osp_half_flow *half)
{
	return half->first || (half->has_fin && !half->fin_out);
}

int osp_flow_earlier(const struct osp_flow *flow)
{
	uint64_t ts[2];
	int i;

	for (i = 0; i < 2; i++) {
		const struct osp_half_flow *half = &flow->half[i];

		ts[i] = half->first ? half->first->ts : waits(half) ? half->fin_ts : UINT64_MAX;
	}
	return ts[1] < ts[0];
}

void osp_flow_flush(struct osp_reasm *rs, struct osp_flow *flow)
{
	int side;

	flow->settled = true;
	osp_flow_pump(rs, flow);
	while (waits(&flow->half[0]) || waits(&flow->half[1]))
		osp_flow_force(rs, flow, osp_flow_earlier(flow));
	for (side = 0; side < 2; side++) {
		struct osp_half_flow *half = &flow->half[side];

		if (half->has_ack && half->based)
			osp_flow_give_up(rs, flow, side, half->acked, half->ack_hard);
	}
}

void osp_flow_close(struct osp_reasm *rs, struct osp_flow *flow, uint8_t flags)
{
	struct osp_half_flow *tx = &flow->half[flow->local], *rx = &flow->half[!flow->local];
	struct osp_ev_close ev = { .role = flow->role ? OSP_ROLE_CLIENT : OSP_ROLE_UNKNOWN,
				   .role_from = flow->role ? OSP_FROM_CONNECT : OSP_FROM_NONE };

	osp_flow_flush(rs, flow);
	osp_list_del(&flow->soft);
	osp_list_del(&flow->hard);
	osp_flow_set_life(rs, flow, OSP_FL_TOMB);
	if (!flow->id)
		return;
	ev.conn = flow->id;
	tuple(flow, &ev.tuple);
	ev.end[OSP_TX] = tx->next;
	ev.end[OSP_RX] = ev.rcv_end = rx->next;
	ev.turns = flow->turn;
	ev.retransmits = flow->retransmits;
	ev.flags = (uint8_t)(flags | (tx->fin_out ? OSP_CF_FIN_TX : 0) |
			     (rx->fin_out ? OSP_CF_FIN_RX : 0) |
			     (tx->tagged && rx->tagged ? OSP_CF_BOTH_WAYS : 0));
	emit(rs, &ev.h, OSP_EV_CLOSE, sizeof(ev), flow->last_ts);
}
