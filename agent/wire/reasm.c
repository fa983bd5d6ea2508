/* SPDX-License-Identifier: GPL-3.0-or-later */
/* reasm.c: TCP as seen from outside: which connection a segment belongs to, where its bytes stand,
 * and what is waited for how long. What is emitted and when: flow_out.c.
 *
 * A connection is known by addresses and ports, not by VLAN or VNI: mirror ports show the same
 * segments in several of these. A SYN with another initial number is another connection; if its
 * wrapping differs, too, both live side by side (two tenants with the same addresses), otherwise
 * the ports have been taken anew and the older one has ended.
 *
 * Two reasons to wait, each with a list of flows in order of time:
 *   soft (grace_ns): something is proved to be missing, by an acknowledgement or a reset, and may
 *	only have been overtaken on its way to us; or a connection was joined midstream, and its
 *	earliest segment may not have been the first to come;
 *   hard (hole_ns): there is a hole, and its bytes may yet be sent again.
 */
#include "agent/wire/flow.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

/* The lists are looked at this often in capture time. */
#define CHECK_NS 1000000ull
#define EMBRYO_NS 30000000000ull	/* nothing but SYNs, or bare acknowledgements */
#define ENDING_NS 5000000000ull		/* both FINs went by, an acknowledgement is missing */
#define TOMB_NS 30000000000ull
/* How far before what came first the start of a stream joined midstream may be. */
#define JOIN_BACK (1u << 20)
/* A reset may be this far ahead where the window is not known. */
#define RST_WINDOW (1u << 20)

void osp_reasm_conf_default(struct osp_reasm_conf *conf)
{
	*conf = (struct osp_reasm_conf){
		.grace_ns = 20000000ull,
		.hole_ns = 2000000000ull,
		.idle_ns = 300000000000ull,
		.hold_total = 128ull << 20,
		.hold_bytes = 1u << 20,
		.max_conns = 1048576,
	};
}

/* ---- beginnings ------------------------------------------------------------------------------ */

/* Sequence numbers of half begin at seq, as far as is known; exact: they do. */
static void base(struct osp_half_flow *half, uint32_t seq, bool exact)
{
	half->next = seq;
	half->based = true;
	half->exact = exact;
}

static void scale_of(struct osp_half_flow *half, const struct osp_tcp_seg *seg)
{
	uint32_t n;
	const uint8_t *opt = osp_tcp_option(seg, 3, &n);

	half->scale = opt && n == 1 ? (*opt < 14 ? *opt : 14) : 0;
}

static void settle_if_whole(struct osp_reasm *rs, struct osp_flow *flow)
{
	if (flow->settled || !flow->half[0].exact || !flow->half[1].exact)
		return;
	flow->settled = true;
	osp_flow_open(rs, flow);
}

/* ---- payload --------------------------------------------------------------------------------- */

/* Compares bytes [seq, seq + n) that came again with what went by, as far as it can be had. */
static bool same_as_before(struct osp_reasm *rs, const struct osp_flow *flow, int side,
			   uint32_t seq, const uint8_t *p, uint32_t n)
{
	uint32_t i, from, to;
	const uint8_t *old;

	for (i = 0; i < OSP_WPAST; i++) {
		const struct osp_wpast *past = &flow->past[side][i];

		from = osp_seq_after(past->seq, seq) ? past->seq : seq;
		to = osp_seq_after(past->seq + past->n, seq + n) ? seq + n : past->seq + past->n;
		if (!past->n || !osp_seq_after(to, from))
			continue;
		old = rs->io.peek(rs->io.ctx, past->offset + (from - past->seq), to - from);
		if (old && memcmp(old, p + (from - seq), to - from))
			return false;
	}
	return true;
}

/* Payload of a segment, or what is left of it. */
struct part {
	const struct osp_tcp_seg *seg;
	const uint8_t *p;
	uint64_t offset;
	uint32_t seq, len, cap;
	bool syn, again, conflict;
};

static void cut_front(struct part *part, uint32_t n)
{
	uint32_t cap = n < part->cap ? n : part->cap;

	part->seq += n;
	part->len -= n;
	part->p += cap;
	part->cap -= cap;
	part->offset += part->offset ? cap : 0;
}

/* A new piece of the first n bytes of part, after prev (NULL: at the front). */
static struct osp_wpiece *put_piece(struct osp_reasm *rs, struct osp_half_flow *half,
				    struct osp_wpiece *prev, const struct part *part, uint32_t n)
{
	uint32_t cap = part->cap < n ? part->cap : n;
	struct osp_wpiece *pc = osp_piece_new(rs, half, cap);

	if (!pc)
		return NULL;
	pc->ts = part->seg->ts;
	pc->offset = part->offset;
	pc->seq = part->seq;
	pc->len = n;
	pc->ack = part->seg->ack;
	pc->cap = cap;
	pc->syn = part->syn;
	if (cap)
		memcpy(pc->data, part->p, cap);
	pc->next = prev ? prev->next : half->first;
	*(prev ? &prev->next : &half->first) = pc;
	if (!pc->next)
		half->last = pc;
	return pc;
}

/* The start of part is in pc already: the first wins. */
static void overlap(struct part *part, struct osp_wpiece *pc)
{
	uint32_t off = part->seq - pc->seq, n = pc->len - off, both;

	n = n < part->len ? n : part->len;
	both = off >= pc->cap ? 0 : pc->cap - off < n ? pc->cap - off : n;
	both = both < part->cap ? both : part->cap;
	if (both && memcmp(pc->data + off, part->p, both))
		part->conflict = true;
	/* Sent again without SYN: it counts whatever became of the SYN's payload. */
	pc->syn = pc->syn && part->syn;
	/* Of two sendings the one that knew less of the other side was the first. */
	if (osp_seq_after(pc->ack, part->seg->ack))
		pc->ack = part->seg->ack;
	part->again = true;
	cut_front(part, n);
}

/* Puts part into the queue, around what is there. */
static void queue(struct osp_reasm *rs, struct osp_half_flow *half, struct part *part)
{
	struct osp_wpiece *prev = NULL, *pc = half->first;
	uint32_t n;

	if (half->last && !osp_seq_after(half->last->seq + half->last->len, part->seq)) {
		prev = half->last;
		pc = NULL;
	}
	while (part->len) {
		if (pc && !osp_seq_after(pc->seq + pc->len, part->seq)) {
			prev = pc;
			pc = pc->next;
			continue;
		}
		if (pc && !osp_seq_after(pc->seq, part->seq)) {
			overlap(part, pc);
			continue;
		}
		n = pc && osp_seq_after(part->seq + part->len, pc->seq) ? pc->seq - part->seq :
									  part->len;
		if (pc)
			osp_wcount(rs, OSP_ST_WIRE_REORDERED, 1);
		prev = put_piece(rs, half, prev, part, n);
		if (!prev)
			return;		/* becomes a gap */
		cut_front(part, n);
	}
}

/* Takes off what stands before next. */
static void cut_old(struct osp_reasm *rs, const struct osp_flow *flow, int side, struct part *part)
{
	uint32_t n = flow->half[side].next - part->seq;

	n = n < part->len ? n : part->len;
	part->again = true;
	if (!same_as_before(rs, flow, side, part->seq, part->p, n < part->cap ? n : part->cap))
		part->conflict = true;
	osp_wcount(rs, OSP_ST_WIRE_RETRANSMITTED, n);
	cut_front(part, n);
}

/* RFC 9293 3.8.4: one byte, or none, before what was acknowledged. */
static bool keep_alive(const struct osp_half_flow *half, const struct osp_tcp_seg *seg)
{
	return seg->len <= 1 && seg->seq == half->next - 1 && !half->first && half->moved &&
	       !(seg->flags & (OSP_TCP_SYN | OSP_TCP_FIN | OSP_TCP_RST));
}

static void payload(struct osp_reasm *rs, struct osp_flow *flow, int side, uint32_t seq,
		    const struct osp_tcp_seg *seg)
{
	struct osp_half_flow *half = &flow->half[side];
	struct part part = { .seg = seg, .p = seg->data, .offset = seg->offset, .seq = seq,
			     .len = seg->len, .cap = seg->cap, .syn = seg->flags & OSP_TCP_SYN };

	if (half->has_fin && osp_seq_after(seq + seg->len, half->fin)) {
		osp_wcount(rs, OSP_ST_WIRE_OUT_OF_WINDOW, 1);
		if (!osp_seq_after(half->fin, seq))
			return;
		part.len = half->fin - seq;
		part.cap = part.cap < part.len ? part.cap : part.len;
	}
	if (osp_seq_after(half->next, seq)) {
		if (!flow->settled && !half->exact && half->next - seq <= JOIN_BACK)
			half->next = seq;
		else
			cut_old(rs, flow, side, &part);
	}
	if (part.len && flow->settled && !half->first && part.seq == half->next && !part.syn &&
	    osp_flow_covered(flow, side, seg->ack)) {
		struct osp_tcp_seg rest = *seg;

		rest.data = part.p;
		rest.offset = part.offset;
		rest.seq = part.seq;
		rest.len = part.len;
		rest.cap = part.cap;
		osp_flow_data(rs, flow, side, &rest);
	} else if (part.len) {
		queue(rs, half, &part);
	}
	flow->retransmits += part.again;
	osp_wcount(rs, OSP_ST_WIRE_CONFLICTS, part.conflict);
	while (half->queued > rs->conf.hold_bytes && half->first)
		osp_flow_force(rs, flow, side);
}

/* ---- acknowledgements, FIN ------------------------------------------------------------------- */

/* False: it can't be of this connection as we know it. */
static bool acknowledge(struct osp_reasm *rs, struct osp_flow *flow, int side,
			const struct osp_tcp_seg *seg)
{
	struct osp_half_flow *other = &flow->half[!side];
	uint32_t ack = seg->ack;

	if (!other->based)
		return true;
	if (osp_seq_after(ack, other->next) && ack - other->next > OSP_SEQ_FAR) {
		osp_wcount(rs, OSP_ST_WIRE_OUT_OF_WINDOW, 1);
		return false;
	}
	if (!other->has_ack || osp_seq_after(ack, other->acked)) {
		if (!other->has_ack || !osp_seq_after(other->acked, osp_flow_reach(other)))
			other->ack_ts = seg->ts;
		other->acked = ack;
		other->has_ack = true;
		other->ack_hard = seg->len;
	} else if (ack == other->acked && seg->len) {
		other->ack_hard = true;
	}
	return true;
}

static void note_fin(struct osp_flow *flow, int side, const struct osp_tcp_seg *seg)
{
	struct osp_half_flow *half = &flow->half[side];
	uint32_t fin = seg->seq + seg->len;

	if (half->has_fin || osp_seq_after(half->next, fin))
		return;
	half->has_fin = true;
	half->fin = fin;
	half->fin_ack = seg->ack;
	half->fin_ts = seg->ts;
}

/* ---- timers ---------------------------------------------------------------------------------- */

static bool deficit(struct osp_half_flow *half)
{
	return half->based && half->has_ack && osp_seq_after(half->acked, osp_flow_reach(half));
}

static bool has_hole(const struct osp_half_flow *half)
{
	return half->first || (half->has_fin && !half->fin_out);
}

/* Sets the timers that what waits now needs, and takes off those that nothing needs any more. */
static void arm(struct osp_reasm *rs, struct osp_flow *flow)
{
	struct osp_half_flow *h0 = &flow->half[0], *h1 = &flow->half[1], *h;
	bool joining = !flow->settled && (h0->first || h1->first || h0->has_fin || h1->has_fin);
	bool soft = joining || flow->rst || (flow->settled && (deficit(h0) || deficit(h1)));
	bool hard = has_hole(h0) || has_hole(h1);
	int i;

	if (!soft) {
		osp_list_del(&flow->soft);
	} else if (osp_list_empty(&flow->soft)) {
		flow->soft_due = rs->now + rs->conf.grace_ns;
		osp_list_add_tail(&rs->soft, &flow->soft);
		for (i = 0; i < 2; i++) {
			h = &flow->half[i];
			h->arm_ack = h->has_ack ? h->acked : h->next;
			h->arm_hard = h->ack_hard;
		}
	}
	if (!hard) {
		osp_list_del(&flow->hard);
	} else if (osp_list_empty(&flow->hard)) {
		flow->hard_due = rs->now + rs->conf.hole_ns;
		osp_list_add_tail(&rs->hard, &flow->hard);
		h0->arm_next = h0->next;
		h1->arm_next = h1->next;
	}
	/* Nothing can change that but the flow's own packets, and its end. */
	flow->calm = flow->state == OSP_FL_OPEN && flow->settled && !soft && !hard &&
		     h0->based && h1->based && !h0->excuse && !h1->excuse &&
		     !h0->has_fin && !h1->has_fin;
}

/* Whether the first piece, or the FIN, of that side has waited for the other direction's bytes for
 * the grace time.
 */
static bool kept_waiting(struct osp_reasm *rs, struct osp_flow *flow, int side, uint32_t *ack)
{
	const struct osp_half_flow *half = &flow->half[side];
	uint64_t ts;

	if (half->first && !half->first->syn && half->first->seq == half->next) {
		*ack = half->first->ack;
		ts = half->first->ts;
	} else if (!half->first && half->has_fin && !half->fin_out && half->fin == half->next) {
		*ack = half->fin_ack;
		ts = half->fin_ts;
	} else {
		return false;
	}
	return rs->now >= ts + rs->conf.grace_ns && !osp_flow_covered(flow, side, *ack);
}

static void end_if_done(struct osp_reasm *rs, struct osp_flow *flow);

/* Gives up what the first piece, or FIN, of either side has waited for long enough. */
static bool give_up_for_waiting(struct osp_reasm *rs, struct osp_flow *flow)
{
	uint32_t ack;
	int side;

	for (side = 0; side < 2; side++) {
		if (!kept_waiting(rs, flow, side, &ack))
			continue;
		osp_flow_give_up(rs, flow, !side, ack, flow->half[side].first != NULL);
		return true;
	}
	return false;
}

/* Gives up what was acknowledged when the timer was set. Where both sides have lost something the
 * order matters (an exchange of which nothing was captured: first the request, then the response):
 * a piece behind a hole of its own direction was sent after what is missing there, so that hole
 * goes first, and of two such pieces the earlier one's (but see osp_flow_asked()). Otherwise who
 * did not speak last goes first.
 */
static bool give_up_proved(struct osp_reasm *rs, struct osp_flow *flow)
{
	bool hole[2], only = false;
	int first = flow->last_side < 2 ? !flow->last_side : flow->local, i;
	uint32_t ack;

	for (i = 0; i < 2; i++) {
		const struct osp_half_flow *half = &flow->half[i];

		hole[i] = half->first && half->first->seq != half->next;
	}
	if (hole[0] || hole[1]) {
		first = hole[0] && hole[1] ? flow->half[1].first->ts < flow->half[0].first->ts :
					     hole[1];
		only = true;
		if (osp_flow_asked(flow, first, &ack)) {
			if (osp_seq_after(ack, flow->half[!first].arm_ack))
				return false;	/* not proved so long */
			osp_flow_give_up(rs, flow, !first, ack, true);
			return true;
		}
	}
	for (i = 0; i < 2 - only; i++) {
		int side = i ? !first : first;
		struct osp_half_flow *half = &flow->half[side];
		uint32_t upto = half->arm_ack;

		if (only && osp_seq_after(upto, half->first->seq))
			upto = half->first->seq;
		if (!deficit(half) || !osp_seq_after(upto, osp_flow_reach(half)))
			continue;
		osp_flow_give_up(rs, flow, side, upto, only || half->arm_hard);
		return true;
	}
	return false;
}

static void soft_over(struct osp_reasm *rs, struct osp_flow *flow)
{
	osp_list_del(&flow->soft);
	flow->settled = true;
	osp_flow_pump(rs, flow);
	while (give_up_for_waiting(rs, flow) || give_up_proved(rs, flow))
		;
	if (flow->rst && rs->now >= flow->rst_ts + rs->conf.grace_ns)
		osp_flow_flush(rs, flow);
	end_if_done(rs, flow);
}

static void hard_over(struct osp_reasm *rs, struct osp_flow *flow)
{
	int first = osp_flow_earlier(flow), i;

	osp_list_del(&flow->hard);
	for (i = 0; i < 2; i++) {
		int side = i ? !first : first;
		struct osp_half_flow *half = &flow->half[side];

		if (has_hole(half) && half->next == half->arm_next)
			osp_flow_force(rs, flow, side);
	}
	end_if_done(rs, flow);
}

static void reset(struct osp_reasm *rs, struct osp_flow *flow)
{
	struct osp_ev_shut ev = { .how = OSP_SHUT_RESET };

	osp_flow_flush(rs, flow);
	if (flow->id) {
		ev.conn = flow->id;
		ev.h = (struct osp_ev_hdr){ .len = sizeof(ev), .abi = OSP_EV_ABI,
					    .kind = OSP_EV_SHUT, .ts_ns = flow->rst_ts };
		rs->io.emit(rs->io.ctx, &ev.h);
	}
	osp_flow_close(rs, flow, OSP_CF_RESET);
}

/* Ends the flow if nothing more can come of it; otherwise sets its timers. */
static void end_if_done(struct osp_reasm *rs, struct osp_flow *flow)
{
	struct osp_half_flow *h0 = &flow->half[0], *h1 = &flow->half[1];

	if (flow->state == OSP_FL_TOMB)
		return;
	if (flow->rst && !has_hole(h0) && !has_hole(h1) && !deficit(h0) && !deficit(h1)) {
		reset(rs, flow);
		return;
	}
	if (h0->fin_out && h1->fin_out && h0->has_ack && h1->has_ack &&
	    h0->acked == h0->fin + 1 && h1->acked == h1->fin + 1) {
		osp_flow_close(rs, flow, 0);
		return;
	}
	arm(rs, flow);
}

static void expire(struct osp_reasm *rs, enum osp_flow_life life, uint64_t ns)
{
	while (!osp_list_empty(&rs->life[life])) {
		struct osp_flow *flow = osp_list_entry(rs->life[life].next, struct osp_flow, life);

		if (rs->now - flow->life_ts <= ns)
			return;
		if (life == OSP_FL_OPEN)
			osp_flow_close(rs, flow, OSP_CF_TIMEOUT | OSP_CF_NO_ENDS);
		else if (life == OSP_FL_ENDING)
			osp_flow_close(rs, flow, 0);
		else if (life == OSP_FL_EMBRYO)
			osp_flow_close(rs, flow, OSP_CF_NO_ENDS);
		/* Bytes that come after so long a silence found a new one. */
		if (life == OSP_FL_TOMB || life == OSP_FL_OPEN || !flow->id)
			osp_flow_free(rs, flow);
	}
}

static void spare_memory(struct osp_reasm *rs)
{
	while (rs->held > rs->conf.hold_total) {
		struct osp_list *link = rs->hard.next;
		struct osp_flow *flow;

		if (link == &rs->hard)
			return;
		flow = osp_list_entry(link, struct osp_flow, hard);
		osp_flow_flush(rs, flow);
		osp_list_del(&flow->hard);
		end_if_done(rs, flow);
	}
}

void osp_reasm_idle(struct osp_reasm *rs, uint64_t ts)
{
	if (ts <= rs->now)
		return;
	rs->now = ts;
	expire(rs, OSP_FL_OPEN, rs->conf.idle_ns);
	expire(rs, OSP_FL_EMBRYO, EMBRYO_NS);
	expire(rs, OSP_FL_ENDING, ENDING_NS);
	expire(rs, OSP_FL_TOMB, TOMB_NS);
}

static __attribute__((noinline)) void give_up_late(struct osp_reasm *rs)
{
	struct osp_flow *flow;

	if (rs->held > rs->conf.hold_total)
		spare_memory(rs);
	if (rs->now < rs->check_at)
		return;
	rs->check_at = rs->now + CHECK_NS;
	while (!osp_list_empty(&rs->soft)) {
		flow = osp_list_entry(rs->soft.next, struct osp_flow, soft);
		if (flow->soft_due > rs->now)
			break;
		soft_over(rs, flow);
	}
	while (!osp_list_empty(&rs->hard)) {
		flow = osp_list_entry(rs->hard.next, struct osp_flow, hard);
		if (flow->hard_due > rs->now)
			break;
		hard_over(rs, flow);
	}
}

void osp_reasm_time(struct osp_reasm *rs, uint64_t ts)
{
	if (ts > rs->now)
		rs->now = ts;
	if (rs->now >= rs->check_at || rs->held > rs->conf.hold_total)
		give_up_late(rs);
}

/* ---- SYN ------------------------------------------------------------------------------------- */

/* Whether a SYN, or SYN with ACK, belongs to the flow as it is known. */
static bool syn_fits(const struct osp_flow *flow, int side, const struct osp_tcp_seg *seg)
{
	const struct osp_half_flow *me = &flow->half[side], *other = &flow->half[!side];

	if (me->syn)
		return me->isn == seg->seq;
	if (flow->state == OSP_FL_TOMB)
		return false;
	if (me->based)	/* joined before its SYN came by */
		return me->next == seg->seq + 1 ||
		       (!flow->settled && me->next - seg->seq <= JOIN_BACK);
	if (seg->flags & OSP_TCP_ACK && other->syn)
		return seg->ack - other->isn - 1 <= JOIN_BACK;
	return true;
}

static void take_syn(struct osp_reasm *rs, struct osp_flow *flow, int side,
		     const struct osp_tcp_seg *seg)
{
	struct osp_half_flow *me = &flow->half[side], *other = &flow->half[!side];
	bool again = me->syn;

	if (!again) {
		me->syn = true;
		me->isn = seg->seq;
		scale_of(me, seg);
		if (!flow->settled || !me->based)
			base(me, seg->seq + 1, true);
		if (!flow->id && !flow->role) {
			flow->role = true;
			flow->local = (uint8_t)(seg->flags & OSP_TCP_ACK ? !side : side);
		}
	}
	me->win = seg->win;
	if (seg->flags & OSP_TCP_ACK) {
		/* The other's SYN was missed; a SYN's payload may be acknowledged, too. */
		if (!other->syn && !flow->settled)
			base(other, seg->ack, true);
		acknowledge(rs, flow, side, seg);
	}
	flow->retransmits += again;
	if (seg->len)
		payload(rs, flow, side, seg->seq + 1, seg);
}

/* ---- one segment ----------------------------------------------------------------------------- */

/* Whether a segment is of another connection than the flow of its addresses and ports: both numbers
 * are far from all it has. One alone may be a long loss.
 */
static bool strange(const struct osp_flow *flow, int side, const struct osp_tcp_seg *seg)
{
	const struct osp_half_flow *me = &flow->half[side], *other = &flow->half[!side];

	return me->based && other->based &&
	       !osp_seq_within(seg->seq, me->next, OSP_SEQ_NEAR) &&
	       !osp_seq_within(seg->ack, other->next, OSP_SEQ_NEAR);
}

/* Ends the flow because its addresses and ports are taken by another connection. */
static void supersede(struct osp_reasm *rs, struct osp_flow *flow)
{
	if (flow->state != OSP_FL_TOMB) {
		osp_wcount(rs, OSP_ST_WIRE_REUSED, flow->id != 0);
		osp_flow_close(rs, flow, OSP_CF_NO_ENDS);
	}
	osp_flow_free(rs, flow);
}

/* False: the flow is gone. */
static bool on_rst(struct osp_reasm *rs, struct osp_flow *flow, int side,
		   const struct osp_tcp_seg *seg)
{
	struct osp_half_flow *me = &flow->half[side], *other = &flow->half[!side];
	uint32_t from = me->next - 1, window = (uint32_t)other->win << other->scale, ahead;

	if (flow->state == OSP_FL_TOMB || flow->rst) {
		osp_wcount(rs, OSP_ST_WIRE_LATE, 1);
		return true;
	}
	if (!me->based) {
		/* Refused: the SYN, with what it carried, is acknowledged (RFC 9293 3.10.7.3). */
		if (!(seg->flags & OSP_TCP_ACK) || !other->based ||
		    !osp_seq_within(seg->ack, other->next, JOIN_BACK))
			goto bad;
	} else {
		if (me->has_ack && osp_seq_after(from, me->acked))
			from = me->acked;
		ahead = seg->seq - from;
		if (ahead > (window > RST_WINDOW ? window : RST_WINDOW) + (me->next - from))
			goto bad;
	}
	if (!flow->settled && !flow->id && !me->moved && !me->first && !other->first) {
		osp_wcount(rs, OSP_ST_WIRE_REFUSED, 1);
		osp_flow_free(rs, flow);
		return false;
	}
	flow->rst = true;
	flow->rst_ts = seg->ts;
	return true;
bad:
	osp_wcount(rs, OSP_ST_WIRE_BAD_RST, 1);
	return true;
}

static void on_segment(struct osp_reasm *rs, struct osp_flow *flow, int side,
		       const struct osp_tcp_seg *seg)
{
	struct osp_half_flow *me = &flow->half[side], *other = &flow->half[!side];

	if (!me->based)
		base(me, seg->seq, false);
	/* The first thing a client sends acknowledges the server's SYN alone. */
	if (!other->based)
		base(other, seg->ack, me->exact && !me->moved && seg->seq == me->next);
	if (!osp_seq_within(seg->seq, me->next, OSP_SEQ_FAR)) {
		osp_wcount(rs, OSP_ST_WIRE_OUT_OF_WINDOW, 1);
		return;
	}
	settle_if_whole(rs, flow);
	me->win = seg->win;
	if (keep_alive(me, seg)) {
		osp_wcount(rs, OSP_ST_WIRE_KEEPALIVE, 1);
		return;
	}
	if (!acknowledge(rs, flow, side, seg))
		return;
	if (seg->len)
		payload(rs, flow, side, seg->seq, seg);
	if (seg->flags & OSP_TCP_FIN)
		note_fin(flow, side, seg);
}

/* The flow for a segment that is no reset: the one that was found, or a new one. NULL: none. */
static struct osp_flow *right_flow(struct osp_reasm *rs, struct osp_flow *flow,
				   const struct osp_tcp_seg *seg, int side, uint32_t hash)
{
	bool syn = seg->flags & OSP_TCP_SYN;

	if (!syn && !(seg->flags & OSP_TCP_ACK)) {
		osp_wcount(rs, OSP_ST_WIRE_BAD, 1);
		return NULL;
	}
	if (flow && syn && !syn_fits(flow, side, seg)) {
		int tagged = flow->half[side].tagged ? side : !side;

		/* Another tenant's, if it is wrapped otherwise. */
		if (flow->state == OSP_FL_TOMB || flow->half[tagged].tag == seg->tag)
			supersede(rs, flow);
		flow = NULL;
	} else if (flow && !syn && strange(flow, side, seg)) {
		if (flow->state == OSP_FL_TOMB && !seg->len)
			return NULL;
		supersede(rs, flow);
		flow = NULL;
	}
	if (flow && flow->state == OSP_FL_TOMB) {
		osp_wcount(rs, OSP_ST_WIRE_LATE, 1);
		return NULL;
	}
	return flow ? flow : osp_flow_add(rs, seg, side, hash);
}

static inline uint64_t be64(const uint8_t *p)
{
	return be64toh(osp_hash_load(p));
}

/* Which half the sender is. */
static inline int side_of(const struct osp_tcp_seg *seg)
{
	uint64_t a = be64(seg->src), b = be64(seg->dst);

	if (a == b) {
		a = be64(seg->src + 8);
		b = be64(seg->dst + 8);
	}
	return a != b ? a > b : seg->sport > seg->dport;
}

static inline void note_packet(struct osp_reasm *rs, struct osp_flow *flow,
			       const struct osp_tcp_seg *seg)
{
	flow->v6 = seg->v6;
	flow->last_ts = seg->ts > flow->last_ts ? seg->ts : flow->last_ts;
	osp_flow_touch(rs, flow);
}

/* What comes next in a flow that is calm, or only acknowledges: nearly all packets. What the rest of
 * this file would make of these, it comes to: where half stands moves on, and there is an event.
 */
static inline bool expected(const struct osp_flow *flow, int side, const struct osp_tcp_seg *seg)
{
	return flow->calm && flow->half[side].tagged && seg->seq == flow->half[side].next &&
	       !osp_seq_after(seg->ack, flow->half[!side].next) &&
	       (seg->flags & (OSP_TCP_SYN | OSP_TCP_FIN | OSP_TCP_RST | OSP_TCP_ACK)) == OSP_TCP_ACK;
}

static inline void take_expected(struct osp_reasm *rs, struct osp_flow *flow, int side,
			  const struct osp_tcp_seg *seg)
{
	struct osp_half_flow *other = &flow->half[!side];

	flow->half[side].win = seg->win;
	/* As acknowledge() has it where nothing is beyond reach. */
	if (!other->has_ack || osp_seq_after(seg->ack, other->acked)) {
		other->ack_ts = seg->ts;
		other->acked = seg->ack;
		other->has_ack = true;
		other->ack_hard = seg->len;
	} else if (seg->ack == other->acked && seg->len) {
		other->ack_hard = true;
	}
	if (seg->len)
		osp_flow_next(rs, flow, side, seg);
}

uint32_t osp_reasm_hash(const struct osp_reasm *rs, const struct osp_tcp_seg *seg)
{
	uint32_t hash = osp_flow_hash(rs, seg);

	__builtin_prefetch(&rs->bucket[hash & rs->mask]);
	return hash;
}

void osp_reasm_expect(const struct osp_reasm *rs, uint32_t hash)
{
	const char *flow = (const char *)rs->bucket[hash & rs->mask];
	size_t i;

	for (i = 0; flow && i < OSP_FLOW_HOT; i += 64)
		__builtin_prefetch(flow + i, 1);
}

/* Any other, and copies; flow: what was found by addresses and ports. */
static __attribute__((noinline)) void take_any(struct osp_reasm *rs, struct osp_flow *flow, int side,
					       const struct osp_tcp_seg *seg, uint32_t hash,
					       bool copy)
{
	if (copy) {
		if (flow && seg->len)
			flow->copies = true;
		return;
	}
	if (seg->flags & OSP_TCP_RST) {
		if (!flow)
			osp_wcount(rs, OSP_ST_WIRE_LATE, 1);
		else if (on_rst(rs, flow, side, seg))
			end_if_done(rs, flow);
		return;
	}
	flow = right_flow(rs, flow, seg, side, hash);
	if (!flow)
		return;
	note_packet(rs, flow, seg);
	if (!flow->half[side].tagged) {
		flow->half[side].tagged = true;
		flow->half[side].tag = seg->tag;
	}
	if (seg->flags & OSP_TCP_SYN)
		take_syn(rs, flow, side, seg);
	else
		on_segment(rs, flow, side, seg);
	osp_flow_pump(rs, flow);
	end_if_done(rs, flow);
}

void osp_reasm_segment(struct osp_reasm *rs, const struct osp_tcp_seg *seg, uint32_t hash, bool copy)
{
	int side = side_of(seg);
	struct osp_flow *flow = osp_flow_find(rs, seg, side, hash);

	/* Timers are set from here on, but run only after this (osp_reasm_time). */
	if (seg->ts > rs->now)
		rs->now = seg->ts;
	if (copy || !flow || !expected(flow, side, seg)) {
		take_any(rs, flow, side, seg, hash, copy);
		return;
	}
	note_packet(rs, flow, seg);
	take_expected(rs, flow, side, seg);
}

void osp_reasm_flush(struct osp_reasm *rs)
{
	static const uint8_t lives[] = { OSP_FL_EMBRYO, OSP_FL_OPEN, OSP_FL_ENDING };
	struct osp_list *head, *link, *next;
	struct osp_flow *flow;
	uint32_t i;

	for (i = 0; i < sizeof(lives); i++) {
		head = &rs->life[lives[i]];
		for (link = head->next; link != head; link = next) {
			next = link->next;
			flow = osp_list_entry(link, struct osp_flow, life);
			osp_flow_flush(rs, flow);
			end_if_done(rs, flow);
		}
	}
}

/* ---- life ------------------------------------------------------------------------------------ */

uint64_t osp_reasm_events(const struct osp_reasm *rs)
{
	return rs->events;
}

int osp_reasm_new(struct osp_reasm **out, const struct osp_reasm_conf *conf,
		  const struct osp_reasm_io *io)
{
	struct osp_reasm *rs = osp_mem_zalloc(sizeof(*rs));

	if (!rs)
		return -ENOMEM;
	rs->conf = *conf;
	rs->io = *io;
	if (!rs->conf.max_conns)
		rs->conf.max_conns = 1;
	if (osp_flows_init(rs)) {
		osp_reasm_free(rs);
		return -ENOMEM;
	}
	*out = rs;
	return 0;
}

void osp_reasm_free(struct osp_reasm *rs)
{
	if (!rs)
		return;
	osp_flows_fini(rs);
	osp_mem_free(rs->out);
	osp_mem_free(rs);
}
