/* SPDX-License-Identifier: GPL-3.0-or-later */
/* reason.c: why one side has what the other has not. Each reason needs evidence, and the strongest
 * is asked first; what has none is "unexplained", the number to bring to zero.
 *
 * Losses are a budget. A connection record says how many bytes are missing and how many exchanges
 * were lost; each transaction that it explains takes its share, so that a hole of a hundred bytes
 * does not excuse a thousand transactions.
 */
#include "recon/recon.h"

#include <stdlib.h>

/* Rows looked at around one for its copies. */
#define NEAR 512

static int64_t other_time(const struct rc_model *m, int s, int64_t t)
{
	return s ? rc_clock_to_a(&m->clock, t) : rc_clock_to_b(&m->clock, t);
}

static int64_t row_end(const struct rc_row *row)
{
	return rc_time_add(row->ts, row->flags & RC_F_DUR ? rc_long_time(row->dur) : 0);
}

/* The time that side s speaks about, less the guard at both ends. */
static int64_t window_from(const struct rc_model *m, int s)
{
	return rc_time_add(m->side[s].first_ns, m->guard_ns);
}

static int64_t window_to(const struct rc_model *m, int s)
{
	return rc_time_add(m->side[s].last_ns, -m->guard_ns);
}

/* ---- copies --------------------------------------------------------------------------------- */

enum copy { COPY_NONE, COPY_SAME, COPY_OTHER_HALF };

static enum copy copy_of(const struct rc_row *row, const struct rc_row *o)
{
	uint16_t both = row->flags & o->flags;

	/* Folded rows are views, not copies; unpaired ones explain nothing. */
	if (o->link == RC_NONE || (o->flags & RC_F_FOLDED))
		return COPY_NONE;
	if ((both & RC_F_REQ_SEQ) && row->req_seq == o->req_seq)
		return COPY_SAME;
	if (!(row->flags & RC_F_REQ) && (both & RC_F_RES_SEQ) && row->res_seq == o->res_seq)
		return COPY_SAME;
	return COPY_NONE;
}

/* A paired row of the same side with the same numbers near in time; or, on the other side, one
 * whose pair this row is the other half of.
 */
static enum copy find_copy(const struct rc_model *m, int s, uint32_t c, const struct rc_row *row)
{
	uint32_t n, at;
	const struct rc_row *r = rc_rows(m, s, c, &n);
	int64_t window = m->conf->window_ns;

	if (!c)
		return COPY_NONE;
	at = (uint32_t)(row - r);
	for (int way = -1; way <= 1; way += 2) {
		uint32_t i = at + (uint32_t)way;

		for (int k = 0; k < NEAR && i < n && llabs(r[i].ts - row->ts) <= window; k++) {
			if (copy_of(row, &r[i]) != COPY_NONE)
				return COPY_SAME;
			i += (uint32_t)way;
		}
	}
	if (!(row->flags & RC_F_RES_SEQ) || (row->flags & RC_F_REQ))
		return COPY_NONE;
	r = rc_rows(m, !s, c, &n);
	for (uint32_t i = 0; i < n && i < NEAR; i++)
		if (r[i].link != RC_NONE && (r[i].flags & RC_F_RES_SEQ) &&
		    r[i].res_seq == row->res_seq)
			return COPY_OTHER_HALF;
	return COPY_NONE;
}

/* ---- evidence of a connection --------------------------------------------------------------- */

/* The connection record of side o that was open at t (its clock), NULL if there is none. */
static struct rc_ev *ev_at(struct rc_model *m, int o, uint32_t c, int64_t t)
{
	struct rc_side *sd = &m->side[o];
	struct rc_ev *best = NULL;
	int64_t slack = m->conf->window_ns, best_d = INT64_MAX;

	for (uint32_t i = c ? m->net.conn[c].ev[o] : RC_NONE; i != RC_NONE; i = sd->ev[i].next) {
		struct rc_ev *ev = &sd->ev[i];
		int64_t d = t < ev->opened ? ev->opened - t : t > ev->closed ? t - ev->closed : 0;

		/* Among equals the one with a loss to tell of: a loopback connection has two. */
		if (d <= slack && (d < best_d || (d == best_d && ev->exchanges_left))) {
			best = ev;
			best_d = d;
		}
	}
	return best;
}

static const enum rc_reason loss_reason[RC_LOSS_MAX] = {
	[RC_LOSS_HOST] = RC_WHY_HOST_LOSS,
	[RC_LOSS_WIRE] = RC_WHY_CAPTURE_LOSS,
	[RC_LOSS_SNAPLEN] = RC_WHY_SNAPLEN,
	[RC_LOSS_FILTERED] = RC_WHY_FILTERED,
};

/* Bytes that had to go missing for an exchange to leave no trace: its two heads. */
static uint64_t least_bytes(const struct osp_record *rec)
{
	uint64_t n = 0;

	for (int e = 0; rec && e < OSP_ENDS; e++)
		if (rec->msg[e].has & OSP_MH_HEAD_BYTES)
			n += rec->msg[e].head_bytes;
	return n ? n : 1;
}

/* Exchanges that the side counted as lost come first; their bytes are part of its gaps. */
static enum rc_reason spend(const struct rc_side *sd, struct rc_ev *ev, uint64_t bytes)
{
	if (ev->exchanges_left) {
		ev->exchanges_left--;
		if (ev->most == RC_LOSS_MAX)
			return sd->kind == RC_KIND_WIRE ? RC_WHY_CAPTURE_LOSS : RC_WHY_HOST_LOSS;
		ev->left[ev->most] -= ev->left[ev->most] < bytes ? ev->left[ev->most] : bytes;
		return loss_reason[ev->most];
	}
	for (int i = RC_LOSS_MAX; i-- > 0;)
		if (ev->left[i] >= bytes) {
			ev->left[i] -= bytes;
			return loss_reason[i];
		}
	return RC_WHY_UNEXPLAINED;
}

/* ---- places --------------------------------------------------------------------------------- */

static bool ip_listed(const struct rc_conf *conf, const uint8_t ip[16])
{
	for (uint32_t i = 0; i < conf->host_ip_n; i++) {
		const struct rc_cidr *net = &conf->host_ip[i];
		uint8_t whole = net->bits / 8, rest = net->bits % 8;
		uint8_t mask = rest ? (uint8_t)(0xff << (8 - rest)) : 0;
		bool hit = true;

		for (uint8_t k = 0; k < whole && hit; k++)
			hit = ip[k] == net->addr[k];
		if (hit && (!rest || !((ip[whole] ^ net->addr[whole]) & mask)))
			return true;
	}
	return false;
}

/* Neither end is a host whose probe the other side is: by the list, else by the addresses that the
 * probe called its own.
 */
static bool not_instrumented(const struct rc_model *m, int o, const struct rc_conn *conn)
{
	const struct rc_addr *x = &m->net.addr[conn->addr[0]], *y = &m->net.addr[conn->addr[1]];

	if (m->side[o].kind != RC_KIND_HOST)
		return false;
	if (m->conf->host_ip_n)
		return !ip_listed(m->conf, x->ip) && !ip_listed(m->conf, y->ip);
	return m->side[o].roles && !((x->flags[o] | y->flags[o]) & RC_AF_LOCAL);
}

/* The other side never saw the addresses: neither of them; or, where the view tells which end is
 * the host's own, that one.
 */
static bool other_interface(const struct rc_model *m, int o, const struct rc_conn *conn,
			    const struct rc_row *row)
{
	const struct rc_addr *end[2] = { &m->net.addr[conn->addr[0]], &m->net.addr[conn->addr[1]] };
	bool first_is_client = !row->client_b, seen[2];
	int own;

	/* A probe has no interface: it sees all of its host, and which hosts those are is known. */
	if (m->side[o].kind == RC_KIND_HOST && (m->side[o].roles || m->conf->host_ip_n))
		return false;
	seen[0] = end[0]->flags[o] & RC_AF_SEEN;
	seen[1] = end[1]->flags[o] & RC_AF_SEEN;
	if (!seen[0] && !seen[1])
		return true;
	if (!(row->flags & (RC_F_CLIENT | RC_F_SERVER)))
		return false;
	own = (row->flags & RC_F_CLIENT ? first_is_client : !first_is_client) ? 0 : 1;
	return !seen[own];
}

static bool outside_window(const struct rc_model *m, int s, const struct rc_row *row)
{
	int64_t t = other_time(m, s, row->ts);

	return t < window_from(m, !s) || t > window_to(m, !s);
}

/* Whether side o knows of the connection at all. */
static bool knows(const struct rc_model *m, int o, uint32_t c)
{
	uint32_t n;

	if (!c)
		return false;
	rc_rows(m, o, c, &n);
	return n || m->net.conn[c].ev[o] != RC_NONE;
}

/* ---- only ----------------------------------------------------------------------------------- */

static enum rc_reason why_place(struct rc_model *m, int s, uint32_t c, const struct rc_row *row)
{
	const struct rc_conn *conn = &m->net.conn[c];
	int o = !s;

	if (!c)
		/* No addresses is a fact only where our own agent says so. */
		return m->side[s].native ? RC_WHY_UNIX : RC_WHY_UNEXPLAINED;
	if (!m->side[o].loopback &&
	    ((row->flags & RC_F_LOOPBACK) || rc_is_loopback(m->net.addr[conn->addr[0]].ip) ||
	     rc_is_loopback(m->net.addr[conn->addr[1]].ip)))
		return RC_WHY_LOOPBACK;
	/* Both ends are here under other addresses (containers): no wire has it, unless somebody
	 * captured on the bridge.
	 */
	if ((row->flags & RC_F_TWIN) && m->side[o].kind == RC_KIND_WIRE && !knows(m, o, c) &&
	    !rc_is_loopback(m->net.addr[conn->addr[0]].ip))
		return RC_WHY_LOOPBACK;
	if (not_instrumented(m, o, conn))
		return RC_WHY_NOT_INSTRUMENTED;
	/* A side without any addresses (HAR) has seen none of anybody's. */
	if (m->side[o].kind != RC_KIND_CLIENT && m->side[o].row_n + m->side[o].conns &&
	    other_interface(m, o, conn, row))
		return RC_WHY_INTERFACE;
	return RC_WHY_UNEXPLAINED;
}

/* A wire that was there and does not know how the connection began or ended, while the other side does:
 * those packets were lost, and what else there was with them.
 */
static bool lost_its_ends(struct rc_model *m, int s, uint32_t c, const struct rc_row *row,
			  const struct rc_ev *ev)
{
	const struct rc_ev *own = ev_at(m, s, c, row->ts);

	if (!own || m->side[!s].kind != RC_KIND_WIRE)
		return false;
	if (ev->running && !own->running && own->closed != INT64_MAX &&
	    other_time(m, s, own->closed) < window_to(m, !s))
		return true;
	return ev->midstream && !own->midstream &&
	       other_time(m, s, own->opened) > window_from(m, !s);
}

static enum rc_reason why_connection(struct rc_model *m, int s, uint32_t c,
				     const struct rc_row *row, const struct osp_record *rec,
				     struct rc_ev *ev)
{
	enum rc_reason why;
	int64_t t = other_time(m, s, row->ts);

	if (ev->proto == RC_PROTO_TLS)
		return RC_WHY_TLS;
	why = spend(&m->side[!s], ev, least_bytes(rec));
	if (why != RC_WHY_UNEXPLAINED)
		return why;
	if (lost_its_ends(m, s, c, row, ev))
		return RC_WHY_CAPTURE_LOSS;
	if (ev->proto == RC_PROTO_OPAQUE)
		return RC_WHY_OPAQUE;
	/* Of an exchange of which both halves went by it took at least one. */
	if (ev->unread >= least_bytes(rec) &&
	    (row->flags & (RC_F_REQ | RC_F_RES)) != (RC_F_REQ | RC_F_RES)) {
		ev->unread -= (uint32_t)least_bytes(rec);
		return RC_WHY_ABORTED;
	}
	if (ev->midstream && t <= rc_time_add(ev->opened, m->guard_ns))
		return RC_WHY_MIDSTREAM;
	if (ev->running && other_time(m, s, row_end(row)) > window_to(m, !s))
		return RC_WHY_AGENT_STOP;
	return RC_WHY_UNEXPLAINED;
}

/* The other side knows nothing of the connection: what its ledger admits. */
static enum rc_reason why_ledger(const struct rc_model *m, int s, const struct rc_row *row)
{
	const struct rc_side *o = &m->side[!s];

	if ((row->flags & RC_F_TLS) && o->kind == RC_KIND_WIRE)
		return RC_WHY_TLS;
	if (o->led.lost || o->led.exchanges_lost || o->led.dropped)
		return o->kind == RC_KIND_WIRE ? RC_WHY_CAPTURE_LOSS : RC_WHY_HOST_LOSS;
	if (o->led.gap[OSP_CAUSE_WIRE_LOSS])
		return RC_WHY_CAPTURE_LOSS;
	if (o->led.gap[OSP_CAUSE_SNAPLEN])
		return RC_WHY_SNAPLEN;
	return RC_WHY_UNEXPLAINED;
}

/* Whether ev, of the other side, is of another connection than the row's: of the same ports before or
 * after it. Times are compared as far as the clocks are known.
 */
static bool another_life(struct rc_model *m, int s, uint32_t c, const struct rc_row *row,
			 const struct rc_ev *ev)
{
	const struct rc_ev *own = ev_at(m, s, c, row->ts);
	int64_t tol = m->conf->tol_ns + 10 * m->clock.mad;

	if (!own || !ev)
		return false;
	return (own->closed != INT64_MAX &&
		ev->opened > rc_time_add(other_time(m, s, own->closed), tol)) ||
	       (ev->closed != INT64_MAX &&
		ev->closed < rc_time_add(other_time(m, s, own->opened), -tol));
}

enum rc_reason rc_why_only(struct rc_model *m, int s, uint32_t c, const struct rc_row *row,
			   const struct osp_record *rec)
{
	int o = !s;
	enum copy copy = find_copy(m, s, c, row);
	bool known = knows(m, o, c);
	enum rc_reason why;
	struct rc_ev *ev;

	if (copy == COPY_OTHER_HALF)
		return RC_WHY_HALF;
	if (copy == COPY_SAME) {
		ev = ev_at(m, s, c, row->ts);
		return ev && ev->overlap ? RC_WHY_RETRANSMISSION : RC_WHY_DUPLICATE;
	}
	why = why_place(m, s, c, row);
	if (why != RC_WHY_UNEXPLAINED)
		return why;
	ev = ev_at(m, o, c, other_time(m, s, row->ts));
	if (another_life(m, s, c, row, ev)) {
		ev = NULL;
		known = false;
	}
	if (ev) {
		why = why_connection(m, s, c, row, rec, ev);
		if (why != RC_WHY_UNEXPLAINED)
			return why;
	}
	if (outside_window(m, s, row))
		return RC_WHY_WINDOW_EDGE;
	if (!ev && (!known || !m->side[o].conns))
		why = why_ledger(m, s, row);
	/* A filter's verdict is about a connection: one that is known was not passed over. */
	if (why == RC_WHY_UNEXPLAINED && !known &&
	    (m->side[o].led.filtered || m->side[o].led.gap[OSP_CAUSE_FILTERED]))
		why = RC_WHY_FILTERED;
	return why;
}

/* ---- less ----------------------------------------------------------------------------------- */

/* A route or a mirror port that carries one direction does so for all connections of an address, or
 * for a fair share of them; a burst of lost packets leaves few like that.
 */
static bool route_is_one_way(const struct rc_model *m, int s, uint32_t c)
{
	for (int e = 0; e < 2; e++) {
		const struct rc_addr *addr = &m->net.addr[m->net.conn[c].addr[e]];

		if (4ull * addr->one_way[s] >= addr->both_ways[s])
			return true;
	}
	return false;
}

/* Whether the connection broke off within the exchange. A process that is gone does not read what
 * comes: its connection record has it as unread. What its kernel had not sent yet is thrown away, so
 * a wire has less of it, and a reset or an early end.
 */
static bool broke_off(const struct rc_side *sd, const struct rc_row *row, const struct rc_ev *ev)
{
	if (row->outcome != OSP_OUT_RESET && row->outcome != OSP_OUT_CLOSED)
		return false;
	return sd->kind == RC_KIND_WIRE || (ev && ev->unread);
}

/* The mate was over before side s ended: what s lacks of it did not just come too late. */
static bool over_in_time(const struct rc_model *m, int s, const struct rc_row *row)
{
	const struct rc_row *mate;

	if (row->link == RC_NONE)
		return false;
	mate = &m->side[!s].row[row->link];
	return (mate->flags & RC_F_DUR) &&
	       other_time(m, !s, row_end(mate)) < window_to(m, s);
}

enum rc_reason rc_why_less(struct rc_model *m, int s, uint32_t c, const struct rc_row *row,
			   bool bytes)
{
	const struct rc_side *sd = &m->side[s];
	struct rc_ev *ev = ev_at(m, s, c, row->ts);

	/* A mirror port or a route that carries one direction: no pair of this connection is whole.
	 */
	if (ev && ev->one_way && sd->kind == RC_KIND_WIRE && route_is_one_way(m, s, c))
		return RC_WHY_ONE_WAY;
	if (bytes && broke_off(sd, row, ev))
		return RC_WHY_ABORTED;
	if (row->outcome == OSP_OUT_AGENT_STOP && !over_in_time(m, s, row))
		return RC_WHY_AGENT_STOP;
	for (int i = RC_LOSS_MAX; ev && i-- > 0;)
		if (ev->left[i])
			return loss_reason[i];
	if (row->outcome == OSP_OUT_SHED)
		return RC_WHY_HOST_LOSS;
	if ((row->flags & RC_F_UNSURE) || row->outcome == OSP_OUT_GAP) {
		if (sd->led.gap[OSP_CAUSE_SNAPLEN] && sd->kind == RC_KIND_WIRE)
			return RC_WHY_SNAPLEN;
		return sd->kind == RC_KIND_WIRE ? RC_WHY_CAPTURE_LOSS : RC_WHY_HOST_LOSS;
	}
	if ((row->flags & RC_F_MIDSTREAM) && !(row->flags & RC_F_REQ))
		return ev && row->link != RC_NONE &&
				       lost_its_ends(m, !s, c, &m->side[!s].row[row->link], ev)
			       ? RC_WHY_CAPTURE_LOSS
			       : RC_WHY_MIDSTREAM;
	if (row->ts < window_from(m, s) || row_end(row) > window_to(m, s))
		return RC_WHY_WINDOW_EDGE;
	/* It waited to its end for what had gone by unseen. */
	return row->outcome == OSP_OUT_AGENT_STOP ? why_ledger(m, !s, row) : RC_WHY_UNEXPLAINED;
}
