/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tracker.c: events in, bytes by position out to the parsers; the life of connections.
 *
 * Events of one connection can come out of order across CPUs and can be lost. Bytes are placed by
 * position, never by arrival: what is in order goes to the parser straight from the event, what is
 * ahead waits in a short list, and what never comes is a gap of known size and cause. A hole is
 * waited for reorder_ns of event time, until the list is full, or not at all where the kernel says
 * that it lost just these bytes.
 *
 * The counters keep one sum at every moment: bytes seen = parsed + skipped + gaps + held.
 */
#include "agent/conn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Bytes of a connection looked at for a protocol before it is called opaque. */
#define SEARCH_MAX 65536u

/* ---- passing on ------------------------------------------------------------------------------ */

static void drop_hold(struct osp_conn *conn, int dir, enum osp_st cls)
{
	struct osp_strm *strm = &conn->strm[dir];

	osp_trk_count(conn->trk, OSP_ST_BY_HELD, -(int64_t)strm->hold.n);
	osp_trk_count(conn->trk, cls, strm->hold.n);
	osp_conn_buf_free(conn, &strm->hold);
}

static void go_opaque(struct osp_conn *conn, const char *proto)
{
	conn->mode = OSP_CM_OPAQUE;
	conn->proto = proto;
	drop_hold(conn, OSP_TX, OSP_ST_BY_SKIPPED_OPAQUE);
	drop_hold(conn, OSP_RX, OSP_ST_BY_SKIPPED_OPAQUE);
}

/* A protocol was found in direction dir, in which `det` are sent. */
static int start_parser(struct osp_conn *conn, int dir, const struct osp_parser *parser,
			enum osp_detect det)
{
	struct osp_pair *pair = &conn->pair;
	int req_dir = det == OSP_DET_REQ ? dir : !dir, res_dir = !req_dir;
	struct osp_parser_init init = {
		.host = &osp_txn_host,
		.ctx = conn,
		.env = &conn->trk->env,
		.req_dir = (uint8_t)req_dir,
	};

	conn->state = osp_pool_get(&conn->trk->pool, osp_pool_size(parser->size));
	if (!conn->state) {
		conn->nomem = true;
		return -ENOMEM;
	}
	memset(conn->state, 0, parser->size);
	init.lost[!dir] = conn->strm[!dir].holed;
	conn->parser = parser;
	conn->proto = parser->name;
	conn->mode = OSP_CM_PARSER;
	conn->req_dir = (uint8_t)req_dir;
	osp_conn_set_role(conn, req_dir == OSP_TX ? OSP_ROLE_CLIENT : OSP_ROLE_SERVER,
			  det == OSP_DET_REQ ? OSP_FROM_REQUEST : OSP_FROM_RESPONSE);
	pair->joined = !conn->whole;
	pair->unsync = conn->strm[OSP_TX].holed || conn->strm[OSP_RX].holed;
	pair->lost = conn->strm[OSP_TX].hole_turn || conn->strm[OSP_RX].hole_turn;
	pair->doubt_turn[OSP_REQ] = conn->strm[req_dir].hole_turn;
	pair->doubt_turn[OSP_RES] = conn->strm[res_dir].hole_turn;
	parser->init(conn->state, &init);
	return 0;
}

/* Hands what was held in dir to the parser. pos: of what follows it. */
static void feed_hold(struct osp_conn *conn, int dir, uint64_t pos)
{
	struct osp_strm *strm = &conn->strm[dir];
	struct osp_buf buf = strm->hold;

	strm->hold = (struct osp_buf){ NULL, 0, 0 };
	osp_trk_count(conn->trk, OSP_ST_BY_HELD, -(int64_t)buf.n);
	if (buf.n)
		conn->parser->data(conn->state, dir, pos - buf.n, buf.p, buf.n, &strm->hold_seg);
	osp_conn_buf_free(conn, &buf);
}

/* [p, p + n) at pos, in dir, decided: these and all that is held go to the parser. */
static void decided(struct osp_conn *conn, int dir, uint64_t pos, const char *p, uint32_t n,
		    const struct osp_seg *seg, const struct osp_parser *parser,
		    enum osp_detect det)
{
	int i, d;

	if (start_parser(conn, dir, parser, det)) {
		osp_trk_count(conn->trk, OSP_ST_BY_SKIPPED_OPAQUE, n);
		return;
	}
	for (i = 0; i < OSP_DIRS; i++) {
		d = i ? !conn->req_dir : conn->req_dir;
		feed_hold(conn, d, d == dir ? pos : conn->strm[d].next);
		if (d == dir)
			parser->data(conn->state, dir, pos, p, n, seg);
	}
}

/* n bytes that begin nothing we know. */
static void not_found(struct osp_conn *conn, int dir, uint32_t n)
{
	struct osp_strm *strm = &conn->strm[dir];

	if (!strm->holed) {
		go_opaque(conn, "opaque");
		osp_trk_count(conn->trk, OSP_ST_BY_SKIPPED_OPAQUE, n);
		return;
	}
	osp_trk_count(conn->trk, OSP_ST_BY_SKIPPED_RESYNC, n);
	conn->searched += n;
	/* One that was in the middle of a long body when we came can still be HTTP. */
	if (conn->searched > SEARCH_MAX && conn->whole)
		go_opaque(conn, "opaque");
}

static void hold(struct osp_conn *conn, int dir, const char *p, uint32_t n,
		 const struct osp_seg *seg)
{
	struct osp_strm *strm = &conn->strm[dir];

	if (!strm->hold.n)
		strm->hold_seg = *seg;
	if (osp_conn_buf_add(conn, &strm->hold, p, n))
		osp_trk_count(conn->trk, OSP_ST_BY_SKIPPED_OPAQUE, n);
	else
		osp_trk_count(conn->trk, OSP_ST_BY_HELD, n);
}

/* Bytes of a connection whose protocol is not known yet. Where the direction's start was not seen
 * each event may begin a message; what is held is given up when it can't be one after all.
 */
static void undecided(struct osp_conn *conn, int dir, uint64_t pos, const char *p, uint32_t n,
		      const struct osp_seg *seg)
{
	struct osp_strm *strm = &conn->strm[dir];
	const struct osp_parser *parser;
	enum osp_detect det;
	uint32_t held = strm->hold.n;

	if (held) {
		hold(conn, dir, p, n, seg);
		if (conn->nomem)
			return;
		det = osp_parser_detect(strm->hold.p, strm->hold.n, strm->holed, &parser);
		if (det == OSP_DET_MORE && strm->hold.n <= conn->trk->env.max_head)
			return;
		/* This event's bytes are dealt with below. */
		strm->hold.n = held;
		osp_trk_count(conn->trk, OSP_ST_BY_HELD, -(int64_t)n);
		if (det == OSP_DET_NO || det == OSP_DET_MORE) {
			conn->searched += held;
			if (strm->holed)
				drop_hold(conn, dir, OSP_ST_BY_SKIPPED_RESYNC);
			else
				det = OSP_DET_NO;
		}
	}
	if (!held || (strm->holed && !strm->hold.n))
		det = osp_parser_detect(p, n, strm->holed, &parser);
	if (det == OSP_DET_REQ || det == OSP_DET_RES) {
		decided(conn, dir, pos, p, n, seg, parser, det);
	} else if (det == OSP_DET_LABEL) {
		go_opaque(conn, parser->name);
		osp_trk_count(conn->trk, OSP_ST_BY_SKIPPED_OPAQUE, n);
	} else if (det == OSP_DET_MORE && n <= conn->trk->env.max_head) {
		hold(conn, dir, p, n, seg);
	} else {
		not_found(conn, dir, n);
	}
}

static void pass_gap(struct osp_conn *conn, int dir, uint64_t n, int cause, uint32_t lo,
		     const struct osp_seg *seg)
{
	struct osp_strm *strm = &conn->strm[dir];
	uint64_t pos = strm->next;

	if (!n)
		return;
	osp_trk_count(conn->trk, OSP_ST_BY_STREAM, (int64_t)n);
	osp_trk_count(conn->trk, OSP_ST_GAP_NONE + cause, (int64_t)n);
	osp_strm_note_gap(strm, pos, n, cause);
	strm->next += n;
	strm->moved = strm->holed = true;
	strm->turn = strm->hole_turn = seg->turn;
	if (cause != OSP_CAUSE_FILTERED && cause != OSP_CAUSE_SKIPPED && cause != OSP_CAUSE_UNREAD)
		conn->missed = true;
	if (conn->mode == OSP_CM_UNDECIDED)
		drop_hold(conn, dir, OSP_ST_BY_SKIPPED_RESYNC);
	else if (conn->mode == OSP_CM_PARSER)
		conn->parser->gap(conn->state, dir, pos, n, cause, lo, seg);
}

static void pass_data(struct osp_conn *conn, int dir, const char *p, uint32_t n,
		      const struct osp_seg *seg)
{
	struct osp_strm *strm = &conn->strm[dir];
	uint64_t pos = strm->next;

	if (!n)
		return;
	if (conn->mode == OSP_CM_SHED) {
		pass_gap(conn, dir, n, OSP_CAUSE_SHED, strm->turn, seg);
		return;
	}
	osp_trk_count(conn->trk, OSP_ST_BY_STREAM, n);
	strm->next += n;
	strm->moved = true;
	strm->turn = conn->feed_turn = seg->turn;
	if (conn->mode == OSP_CM_PARSER)
		conn->parser->data(conn->state, dir, pos, p, n, seg);
	else if (conn->mode == OSP_CM_UNDECIDED)
		undecided(conn, dir, pos, p, n, seg);
	else
		osp_trk_count(conn->trk, OSP_ST_BY_SKIPPED_OPAQUE, n);
}

/* The hole before pos, of which the event after it says what it knows. */
static void pass_hole(struct osp_conn *conn, int dir, uint64_t pos, uint32_t lost,
		      uint32_t filtered, bool raced, const struct osp_seg *seg)
{
	struct osp_strm *strm = &conn->strm[dir];
	struct osp_hole hole = osp_hole_split(pos - strm->next, lost, filtered);
	uint32_t lo = strm->turn;

	if (raced) {
		pass_gap(conn, dir, pos - strm->next, OSP_CAUSE_RACE, lo, seg);
		return;
	}
	pass_gap(conn, dir, hole.ring, OSP_CAUSE_RING_FULL, lo, seg);
	pass_gap(conn, dir, hole.filtered, OSP_CAUSE_FILTERED, lo, seg);
	pass_gap(conn, dir, hole.bypass, OSP_CAUSE_BYPASS, lo, seg);
}

/* ---- pieces that wait ------------------------------------------------------------------------ */

static int req_dir(const struct osp_conn *conn)
{
	if (conn->req_dir != OSP_DIR_NONE || conn->role == OSP_ROLE_UNKNOWN)
		return conn->req_dir;
	return conn->role == OSP_ROLE_CLIENT ? OSP_TX : OSP_RX;
}

/* A response must not be parsed before the request that it answers: while requests wait for a hole
 * to be filled, responses wait too.
 */
static bool blocked(const struct osp_conn *conn, int dir)
{
	int req = req_dir(conn);

	return req != OSP_DIR_NONE && dir != req && conn->strm[req].piece &&
	       conn->mode != OSP_CM_OPAQUE && conn->mode != OSP_CM_SHED;
}

static void held(struct osp_conn *conn, int64_t n)
{
	osp_trk_count(conn->trk, OSP_ST_BY_STREAM, n);
	osp_trk_count(conn->trk, OSP_ST_BY_HELD, n);
}

/* Passes the first piece on; next has reached it. */
static void pass_piece(struct osp_conn *conn, int dir)
{
	struct osp_strm *strm = &conn->strm[dir];
	struct osp_piece *pc = strm->piece;
	uint64_t bytes = pc->bytes;

	strm->piece = pc->next;
	strm->piece_n--;
	held(conn, -(int64_t)bytes);
	pass_data(conn, dir, pc->data, pc->cap, &pc->seg);
	pass_gap(conn, dir, bytes - pc->cap, pc->cause, pc->seg.turn, &pc->seg);
	osp_conn_release(conn, pc, pc->size);
}

/* Passes on what can be: up to the next hole that is worth waiting for. Holes before pieces that
 * came up to `until` are not any more.
 */
static void pump_dir(struct osp_conn *conn, int dir, uint64_t until)
{
	struct osp_strm *strm = &conn->strm[dir];
	struct osp_piece *pc;
	uint64_t hole;

	while ((pc = strm->piece) && !blocked(conn, dir)) {
		hole = pc->pos - strm->next;
		if (hole) {
			if (pc->arrival > until && !pc->raced &&
			    (uint64_t)pc->lost + pc->filtered < hole)
				break;
			pass_hole(conn, dir, pc->pos, pc->lost, pc->filtered, pc->raced, &pc->seg);
		}
		pass_piece(conn, dir);
	}
}

/* until as above; 0: only what is known. */
static void pump(struct osp_conn *conn, uint64_t until)
{
	int first = req_dir(conn) == OSP_RX ? OSP_RX : OSP_TX;

	pump_dir(conn, first, until);
	pump_dir(conn, !first, until);
	/* The first bytes may have told which direction had to go first. */
	pump_dir(conn, first, until);
}

static void set_wait(struct osp_conn *conn)
{
	struct osp_tracker *trk = conn->trk;
	bool wait = conn->strm[OSP_TX].piece || conn->strm[OSP_RX].piece || conn->reset;

	if (!wait) {
		osp_list_del(&conn->wait);
	} else if (osp_list_empty(&conn->wait)) {
		conn->wait_due = trk->now + trk->conf.reorder_ns;
		osp_list_add_tail(&trk->wait, &conn->wait);
	}
}

/* An event, or what is left of it when the part that is known is taken off its front. */
struct part {
	uint64_t pos, bytes;
	const char *p;
	uint32_t cap, lost, filtered;
	int cause;
	const struct osp_seg *seg;
};

static void cut_front(struct part *part, uint64_t n)
{
	uint32_t cap = n < part->cap ? (uint32_t)n : part->cap;

	part->pos += n;
	part->bytes -= n;
	part->p += cap;
	part->cap -= cap;
	part->lost = part->filtered = 0;
}

/* Puts the first n bytes of part into the list at *at. */
static struct osp_piece *put_piece(struct osp_conn *conn, int dir, struct osp_piece **at,
				   const struct part *part, uint64_t n)
{
	uint32_t cap = part->cap < n ? part->cap : (uint32_t)n, size;
	struct osp_piece *pc = osp_conn_alloc(conn, sizeof(*pc) + cap, &size);

	if (!pc)
		return NULL;
	*pc = (struct osp_piece){
		.next = *at,
		.pos = part->pos,
		.bytes = n,
		.arrival = conn->trk->now,
		.cap = cap,
		.size = size,
		.lost = part->lost,
		.filtered = part->filtered,
		.seg = *part->seg,
		.cause = (uint8_t)part->cause,
	};
	if (cap)
		memcpy(pc->data, part->p, cap);
	*at = pc;
	conn->strm[dir].piece_n++;
	held(conn, (int64_t)n);
	return pc;
}

static void spoil(struct osp_piece *pc)
{
	pc->raced = true;
	pc->cap = 0;
	pc->cause = OSP_CAUSE_RACE;
}

/* Whether part and pc, which begins at or before it, say different things about the n bytes at
 * part->pos, from different threads: each placed its bytes by a counter that the other had moved.
 */
static bool conflict(const struct osp_piece *pc, const struct part *part, uint64_t n)
{
	uint64_t off = part->pos - pc->pos;

	if (pc->seg.tid == part->seg->tid || pc->raced || off >= pc->cap || !part->cap)
		return false;
	if (n > pc->cap - off)
		n = pc->cap - off;
	if (n > part->cap)
		n = part->cap;
	return memcmp(pc->data + off, part->p, n) != 0;
}

static void count_overlap(struct osp_conn *conn, int dir, uint64_t n)
{
	conn->strm[dir].overlap += n;
	osp_trk_count(conn->trk, OSP_ST_BY_OVERLAP, (int64_t)n);
}

/* Puts part among the pieces: what others claim already stays theirs, unless it is in doubt. */
static void insert(struct osp_conn *conn, int dir, struct part *part)
{
	struct osp_piece **at = &conn->strm[dir].piece, *pc, *mine = NULL;
	uint64_t n, end;

	while (part->bytes) {
		pc = *at;
		n = !pc || part->pos + part->bytes <= pc->pos ? part->bytes :
		    part->pos < pc->pos ? pc->pos - part->pos : 0;
		if (n) {
			mine = put_piece(conn, dir, at, part, n);
			if (!mine)
				return;	/* never counted: the connection is shed */
			cut_front(part, n);
			at = &mine->next;
			continue;
		}
		end = pc->pos + pc->bytes;
		if (part->pos < end) {
			n = end - part->pos < part->bytes ? end - part->pos : part->bytes;
			if (conflict(pc, part, n)) {
				spoil(pc);
				if (mine)
					spoil(mine);
			}
			count_overlap(conn, dir, n);
			cut_front(part, n);
			if (pc->raced) {
				part->cap = 0;
				part->cause = OSP_CAUSE_RACE;
			}
		}
		at = &pc->next;
	}
}

/* The list is full: no more waiting for its first hole. */
static void make_room(struct osp_conn *conn, int dir)
{
	int req = req_dir(conn);

	while (conn->strm[dir].piece_n >= OSP_PIECES_MAX && !conn->nomem) {
		int d = blocked(conn, dir) ? req : dir;
		struct osp_piece *pc = conn->strm[d].piece;

		pass_hole(conn, d, pc->pos, pc->lost, pc->filtered, pc->raced, &pc->seg);
		pump(conn, 0);
	}
}

/* ---- DATA and GAP ---------------------------------------------------------------------------- */

/* Where the direction begins for us, if nothing has said so yet. */
static void find_base(struct osp_strm *strm, const struct osp_ev_data *ev)
{
	uint64_t before = (uint64_t)ev->lost + ev->filtered, pos;

	if (!strm->based) {
		osp_strm_base(strm, ev->seq);
		strm->base = strm->next = strm->next - (before < 1u << 31 ? before : 0);
		strm->holed = true;
		return;
	}
	if (strm->moved || !strm->holed)
		return;
	/* Joined midstream, and nothing passed on yet: it may begin earlier than was told. */
	pos = osp_strm_place(strm, ev->seq, before);
	if (pos < strm->next)
		strm->base = strm->next = pos;
}

static void take_data(struct osp_conn *conn, const struct osp_ev_data *ev)
{
	int dir = ev->dir;
	struct osp_strm *strm = &conn->strm[dir];
	uint64_t before = (uint64_t)ev->lost + ev->filtered, known;
	struct osp_seg seg = { .ts = ev->h.ts_ns, .turn = ev->turn, .tgid = ev->tgid,
			       .tid = ev->tid };
	struct part part = {
		.bytes = ev->bytes,
		.p = (const char *)(ev + 1),
		.cap = ev->h.kind == OSP_EV_DATA ? ev->cap : 0,
		.lost = ev->lost,
		.filtered = ev->filtered,
		.cause = ev->cause,
		.seg = &seg,
	};

	find_base(strm, ev);
	part.pos = osp_strm_place(strm, ev->seq, before);
	if (part.pos < strm->next) {
		known = strm->next - part.pos;
		known = known < part.bytes ? known : part.bytes;
		count_overlap(conn, dir, known);
		cut_front(&part, known);
	}
	if (!part.bytes)
		return;
	if (!strm->piece && !blocked(conn, dir) &&
	    (part.pos == strm->next || before >= part.pos - strm->next)) {
		pass_hole(conn, dir, part.pos, part.lost, part.filtered, false, &seg);
		pass_data(conn, dir, part.p, part.cap, &seg);
		pass_gap(conn, dir, part.bytes - part.cap, part.cause, seg.turn, &seg);
		if (conn->strm[!dir].piece)
			pump(conn, 0);
		return;
	}
	make_room(conn, dir);
	insert(conn, dir, &part);
	pump(conn, 0);
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* Passes on or gives up all that waits. */
static void flush(struct osp_conn *conn)
{
	pump(conn, UINT64_MAX);
}

static void strm_eof(struct osp_conn *conn, int dir, enum osp_msg_end how)
{
	struct osp_strm *strm = &conn->strm[dir];

	if (strm->eof_done)
		return;
	strm->eof_done = true;
	if (conn->mode == OSP_CM_PARSER)
		conn->parser->eof(conn->state, dir, how);
	else
		drop_hold(conn, dir, OSP_ST_BY_SKIPPED_OPAQUE);
}

/* Ends directions whose end was told and has been reached. */
static void check_eof(struct osp_conn *conn)
{
	struct osp_strm *strm;
	int dir;

	for (dir = 0; dir < OSP_DIRS; dir++) {
		strm = &conn->strm[dir];
		if (strm->eof == OSP_POS_NONE || strm->next < strm->eof || strm->eof_done)
			continue;
		strm_eof(conn, dir, OSP_END_OK);
		/* Nothing will be answered any more. */
		if (conn->mode == OSP_CM_PARSER && dir != conn->req_dir)
			osp_txn_end_answers(conn);
	}
}

void osp_conn_shed(struct osp_conn *conn)
{
	osp_trk_count(conn->trk, OSP_ST_CONN_SHED, 1);
	conn->nomem = false;
	osp_txn_end_all(conn, OSP_CE_SHED);
	drop_hold(conn, OSP_TX, OSP_ST_BY_SKIPPED_OPAQUE);
	drop_hold(conn, OSP_RX, OSP_ST_BY_SKIPPED_OPAQUE);
	if (conn->state) {
		conn->parser->fini(conn->state, OSP_BC_OPAQUE);
		osp_pool_put(&conn->trk->pool, conn->state, osp_pool_size(conn->parser->size));
		conn->state = NULL;
	}
	conn->mode = OSP_CM_SHED;
	flush(conn);
	set_wait(conn);
}

/* Between these two the connection is not shed by anybody else. */
static void enter(struct osp_conn *conn)
{
	conn->trk->busy = conn;
}

static void leave(struct osp_conn *conn)
{
	conn->trk->busy = NULL;
	if (conn->nomem)
		osp_conn_shed(conn);
	check_eof(conn);
	set_wait(conn);
}

static const char *end_name(enum osp_conn_end how)
{
	static const char *const name[] = {
		[OSP_CE_FIN] = "fin",	[OSP_CE_RESET] = "reset",  [OSP_CE_TIMEOUT] = "timeout",
		[OSP_CE_EXIT] = "exit", [OSP_CE_STOP] = "running",
	};

	return how < sizeof(name) / sizeof(name[0]) ? name[how] : NULL;
}

/* What the kernel says it moved, beyond what came. False: its number is less than what we saw. */
static bool close_dir(struct osp_conn *conn, int dir, const struct osp_ev_close *ev)
{
	struct osp_strm *strm = &conn->strm[dir];
	uint64_t before = (uint64_t)ev->lost[dir] + ev->filtered[dir], end;
	struct osp_seg seg = { .ts = ev->h.ts_ns, .turn = ev->turns, .tgid = ev->tgid };

	if (!strm->based) {
		osp_strm_base(strm, ev->end[dir]);
		strm->base = strm->next = strm->next - (before < 1u << 31 ? before : 0);
		strm->holed = true;
	}
	end = osp_strm_place(strm, ev->end[dir], before);
	if (end < strm->next)
		return false;
	pass_hole(conn, dir, end, ev->lost[dir], ev->filtered[dir], false, &seg);
	return true;
}

/* Received by the kernel and never read: accounted for, but not part of what the process saw. */
static void close_unread(struct osp_conn *conn, uint32_t n)
{
	struct osp_strm *strm = &conn->strm[OSP_RX];

	if (!n || n >= 1u << 31)
		return;
	osp_trk_count(conn->trk, OSP_ST_BY_STREAM, n);
	osp_trk_count(conn->trk, OSP_ST_GAP_UNREAD, n);
	osp_strm_note_gap(strm, strm->next, n, OSP_CAUSE_UNREAD);
	strm->next += n;
}

static void end_parser(struct osp_conn *conn, enum osp_conn_end how, const struct osp_ev_close *ev)
{
	static const uint8_t fin[OSP_DIRS] = { OSP_CF_FIN_TX, OSP_CF_FIN_RX };
	enum osp_msg_end end;
	int dir;

	if (conn->mode != OSP_CM_PARSER)
		return;
	for (dir = 0; dir < OSP_DIRS; dir++) {
		if (how != OSP_CE_FIN && how != OSP_CE_RESET && how != OSP_CE_EXIT &&
		    how != OSP_CE_REOPENED)
			break;
		end = how == OSP_CE_RESET ? OSP_END_RESET : OSP_END_CLOSED;
		if (how == OSP_CE_FIN && ev && ev->flags & fin[dir] &&
		    (dir == OSP_TX || ev->flags & OSP_CF_NO_ENDS || ev->rcv_end == ev->end[dir]))
			end = OSP_END_OK;
		strm_eof(conn, dir, end);
	}
	conn->parser->fini(conn->state, OSP_BC_EXTRA);
}

static void count_exchanges(struct osp_conn *conn, struct osp_conn_totals *tot)
{
	struct osp_tracker *trk = conn->trk;

	if (conn->req_dir != OSP_DIR_NONE) {
		if (conn->missed)
			tot->lost_exchanges = osp_pair_exchanges_lost(&conn->pair, tot->turns);
		osp_trk_count(trk, OSP_ST_EX_LOST, (int64_t)tot->lost_exchanges);
	} else if ((!conn->data || conn->mode == OSP_CM_UNDECIDED) && conn->missed) {
		tot->lost_exchanges = tot->turns / 2 + tot->turns % 2;
		osp_trk_count(trk, OSP_ST_EX_LOST_UNKNOWN, (int64_t)tot->lost_exchanges);
	}
}

/* The kernel's totals against ours, from the last event on. */
static void close_totals(struct osp_conn *conn, const struct osp_ev_close *ev,
			 struct osp_conn_totals *tot)
{
	bool sound;

	tot->srtt_us = ev->srtt_us;
	tot->retransmits = ev->retransmits;
	tot->turns = ev->turns > tot->turns ? ev->turns : tot->turns;
	if (ev->flags & OSP_CF_NO_ENDS)
		return;
	tot->known = true;
	sound = close_dir(conn, OSP_TX, ev);
	sound = close_dir(conn, OSP_RX, ev) && sound;
	if (!sound || ev->rcv_end - ev->end[OSP_RX] >= 1u << 31)
		osp_trk_count(conn->trk, OSP_ST_CONN_BYTES_MISMATCH, 1);
}

static void finish_conn(struct osp_conn *conn, enum osp_conn_end how, const struct osp_ev_close *ev)
{
	struct osp_tracker *trk = conn->trk;
	struct osp_conn_totals tot = { .turns = conn->turns };

	enter(conn);
	flush(conn);
	if (ev)
		close_totals(conn, ev, &tot);
	leave(conn);
	enter(conn);
	end_parser(conn, how, ev);
	drop_hold(conn, OSP_TX, OSP_ST_BY_SKIPPED_OPAQUE);
	drop_hold(conn, OSP_RX, OSP_ST_BY_SKIPPED_OPAQUE);
	if (tot.known)
		close_unread(conn, ev->rcv_end - ev->end[OSP_RX]);
	osp_txn_end_all(conn, how);
	count_exchanges(conn, &tot);
	if (!conn->proto && conn->searched > SEARCH_MAX)
		conn->proto = "opaque";
	tot.bytes[OSP_TX] = conn->strm[OSP_TX].next - conn->strm[OSP_TX].base;
	tot.bytes[OSP_RX] = conn->strm[OSP_RX].next - conn->strm[OSP_RX].base;
	osp_conn_record(conn, &tot, end_name(how), how == OSP_CE_STOP);
	osp_trk_count(trk, how == OSP_CE_IDLE ? OSP_ST_CONN_EVICTED_IDLE :
			   how == OSP_CE_EVICTED ? OSP_ST_CONN_EVICTED_FULL :
						   OSP_ST_CONN_CLOSED, how != OSP_CE_STOP);
	trk->busy = NULL;
	osp_conn_free(conn);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void wait_over(struct osp_conn *conn)
{
	struct osp_tracker *trk = conn->trk;

	osp_list_del(&conn->wait);
	enter(conn);
	pump(conn, trk->now - trk->conf.reorder_ns);
	if (conn->reset) {
		conn->reset = false;
		if (conn->mode == OSP_CM_PARSER) {
			strm_eof(conn, OSP_TX, OSP_END_RESET);
			strm_eof(conn, OSP_RX, OSP_END_RESET);
		}
		osp_txn_end_all(conn, OSP_CE_RESET);
	}
	leave(conn);
}

static void interval_over(struct osp_conn *conn)
{
	struct osp_conn_totals tot = { .turns = conn->turns };

	conn->interval_due = conn->trk->now + conn->trk->conf.conn_interval_ns;
	osp_list_move_tail(&conn->trk->interval, &conn->interval);
	osp_conn_record(conn, &tot, "running", true);
}

/* Each list is in the order in which its entries are due. */
static void run_timers(struct osp_tracker *trk)
{
	struct osp_conn *conn;
	struct osp_txn *txn;

	while (!osp_list_empty(&trk->wait)) {
		conn = osp_list_entry(trk->wait.next, struct osp_conn, wait);
		if (conn->wait_due > trk->now)
			break;
		wait_over(conn);
	}
	while (!osp_list_empty(&trk->timer)) {
		txn = osp_list_entry(trk->timer.next, struct osp_txn, timer);
		if (txn->due > trk->now)
			break;
		osp_txn_timeout(txn);
	}
	while (!osp_list_empty(&trk->interval)) {
		conn = osp_list_entry(trk->interval.next, struct osp_conn, interval);
		if (conn->interval_due > trk->now)
			break;
		interval_over(conn);
	}
	while (trk->conf.idle_ns && !osp_list_empty(&trk->lru)) {
		conn = osp_list_entry(trk->lru.next, struct osp_conn, lru);
		if (trk->now - conn->seen < trk->conf.idle_ns)
			break;
		finish_conn(conn, OSP_CE_IDLE, NULL);
	}
}

static void advance(struct osp_tracker *trk, uint64_t ts)
{
	if (ts <= trk->now)
		return;
	trk->now = ts;
	run_timers(trk);
}

/* ---- events ---------------------------------------------------------------------------------- */

static struct osp_grave *grave_of(struct osp_tracker *trk, uint64_t id)
{
	return &trk->grave[id % OSP_GRAVES];
}

/* Whether an event of that time belongs to a connection that has ended. */
static bool buried(struct osp_tracker *trk, uint64_t id, uint64_t ts)
{
	const struct osp_grave *grave = grave_of(trk, id);

	return grave->ts && grave->id == id && ts <= grave->ts;
}

static struct osp_conn *conn_new(struct osp_tracker *trk, uint64_t id, uint64_t ts)
{
	if (trk->conn_n >= trk->conf.max_conns)
		finish_conn(osp_list_entry(trk->lru.next, struct osp_conn, lru), OSP_CE_EVICTED,
			    NULL);
	return osp_conn_add(trk, id, ts);
}

static void conn_seen(struct osp_conn *conn)
{
	conn->seen = conn->trk->now;
	osp_list_move_tail(&conn->trk->lru, &conn->lru);
}

/* Whether the OPEN was merely overtaken by the connection's first data. */
static bool late_open(const struct osp_conn *conn, const struct osp_ev_open *ev)
{
	return !conn->by_open && ev->h.ts_ns <= conn->opened;
}

static void open_evidence(struct osp_conn *conn, const struct osp_ev_open *ev)
{
	int dir;

	conn->by_open = true;
	conn->vantage = ev->vantage;
	osp_conn_set_tuple(conn, &ev->tuple);
	osp_conn_set_role(conn, ev->role, ev->role_from);
	if (ev->tgid)
		conn->tgid = ev->tgid;
	for (dir = 0; dir < OSP_DIRS; dir++) {
		if (conn->strm[dir].based)
			continue;
		osp_strm_base(&conn->strm[dir], ev->seq[dir]);
		conn->strm[dir].holed = !conn->whole;
	}
}

static void on_open(struct osp_tracker *trk, const struct osp_ev_open *ev)
{
	struct osp_conn *conn = osp_conn_find(trk, ev->conn);
	bool est = ev->how == OSP_OPEN_ESTABLISHED;

	if (!conn && buried(trk, ev->conn, ev->h.ts_ns))
		return;
	if (conn && est && !late_open(conn, ev)) {
		finish_conn(conn, OSP_CE_REOPENED, NULL);
		conn = NULL;
	}
	if (!conn) {
		conn = conn_new(trk, ev->conn, ev->h.ts_ns);
		if (!conn)
			goto nomem;
		conn->whole = est;
	}
	open_evidence(conn, ev);
	conn_seen(conn);
	return;
nomem:
	osp_trk_count(trk, OSP_ST_IN_BAD, 1);
}

static void on_data(struct osp_tracker *trk, const struct osp_ev_data *ev)
{
	struct osp_conn *conn;

	if (ev->dir >= OSP_DIRS || ev->cause >= OSP_CAUSE_MAX || ev->cap > ev->bytes) {
		osp_trk_count(trk, OSP_ST_IN_BAD, 1);
		return;
	}
	osp_trk_count(trk, OSP_ST_IN_BYTES, ev->bytes);
	conn = osp_conn_find(trk, ev->conn);
	if (!conn && buried(trk, ev->conn, ev->h.ts_ns)) {
		/* All its positions were accounted for at CLOSE. */
		osp_trk_count(trk, OSP_ST_BY_OVERLAP, ev->bytes);
		return;
	}
	if (!conn) {
		conn = conn_new(trk, ev->conn, ev->h.ts_ns);
		if (!conn) {
			osp_trk_count(trk, OSP_ST_IN_BAD, 1);
			return;
		}
		conn->vantage = ev->vantage;
	}
	conn->data = true;
	conn->ktls = conn->ktls || ev->flags & OSP_DF_KTLS;
	if (ev->turn > conn->turns)
		conn->turns = ev->turn;
	if (ev->tgid) {
		conn->tgid = ev->tgid;
		conn->tid = ev->tid;
	}
	conn_seen(conn);
	enter(conn);
	take_data(conn, ev);
	leave(conn);
}

static void on_shut(struct osp_tracker *trk, const struct osp_ev_shut *ev)
{
	struct osp_conn *conn = osp_conn_find(trk, ev->conn);
	int dir = ev->how == OSP_SHUT_RX ? OSP_RX : OSP_TX;

	if (!conn)
		return;
	conn_seen(conn);
	enter(conn);
	if (ev->how == OSP_SHUT_RESET) {
		/* What was received before may still be read: its events have reorder_ns. */
		conn->reset = true;
	} else if (conn->strm[dir].based) {
		conn->strm[dir].eof = osp_strm_place(&conn->strm[dir], ev->seq, 0);
	}
	leave(conn);
}

static void on_close(struct osp_tracker *trk, const struct osp_ev_close *ev)
{
	struct osp_conn *conn = osp_conn_find(trk, ev->conn);
	bool ends = !(ev->flags & OSP_CF_NO_ENDS);
	enum osp_conn_end how = ev->flags & OSP_CF_RESET ? OSP_CE_RESET :
				ev->flags & OSP_CF_TIMEOUT ? OSP_CE_TIMEOUT :
				ev->flags & (OSP_CF_FIN_TX | OSP_CF_FIN_RX) ? OSP_CE_FIN :
									      OSP_CE_EXIT;
	struct osp_grave *grave = grave_of(trk, ev->conn);

	if (!conn && (buried(trk, ev->conn, ev->h.ts_ns) || (!ev->turns && !ends)))
		return;
	if (!conn) {
		conn = conn_new(trk, ev->conn, ev->h.ts_ns);
		if (!conn) {
			osp_trk_count(trk, OSP_ST_IN_BAD, 1);
			return;
		}
		/* Nothing of it came: all its turns are lost, unless a filter took them. */
		conn->missed = ev->lost[0] || ev->lost[1] || !(ev->filtered[0] || ev->filtered[1]);
	}
	osp_conn_set_tuple(conn, &ev->tuple);
	if (ev->role < OSP_ROLE_MAX && ev->role_from < OSP_FROM_MAX)
		osp_conn_set_role(conn, ev->role, ev->role_from);
	if (ev->tgid && !conn->tgid)
		conn->tgid = ev->tgid;
	conn_seen(conn);
	*grave = (struct osp_grave){ ev->conn, ev->h.ts_ns };
	finish_conn(conn, conn->reset ? OSP_CE_RESET : how, ev);
}

int osp_tracker_event(void *ctx, const struct osp_ev_hdr *ev)
{
	struct osp_tracker *trk = ctx;
	bool data = ev->kind == OSP_EV_DATA || ev->kind == OSP_EV_GAP;

	osp_trk_count(trk, data ? OSP_ST_IN_DATA : OSP_ST_IN_CTL, 1);
	advance(trk, ev->ts_ns);
	switch (ev->kind) {
	case OSP_EV_OPEN:
		on_open(trk, (const struct osp_ev_open *)ev);
		break;
	case OSP_EV_DATA:
	case OSP_EV_GAP:
		on_data(trk, (const struct osp_ev_data *)ev);
		break;
	case OSP_EV_SHUT:
		on_shut(trk, (const struct osp_ev_shut *)ev);
		break;
	case OSP_EV_CLOSE:
		on_close(trk, (const struct osp_ev_close *)ev);
		break;
	case OSP_EV_PROC:
		if (osp_procs_event(&trk->procs, (const struct osp_ev_proc *)ev))
			osp_trk_count(trk, OSP_ST_IN_BAD, 1);
		break;
	case OSP_EV_LOST:
		osp_ledger_source(trk->led, (const struct osp_ev_lost *)ev);
		break;
	case OSP_EV_TICK:
		trk->wall_off = ((const struct osp_ev_tick *)ev)->wall_off_ns;
		break;
	default:
		osp_trk_count(trk, OSP_ST_IN_BAD, 1);
	}
	return 0;
}

/* ---- its own life ---------------------------------------------------------------------------- */

void osp_tracker_conf_default(struct osp_tracker_conf *conf)
{
	*conf = (struct osp_tracker_conf){
		.byte_budget = 256ull << 20,
		.max_conns = 1048576,
		.reorder_ns = 100000000ull,
		.txn_timeout_ns = 300000000000ull,
		.idle_ns = 7200000000000ull,
		.max_head = 256u << 10,
		.connections = true,
	};
}

static int set_redact(struct osp_tracker *trk, const char *list)
{
	char *p;

	if (!list)
		list = "Authorization,Proxy-Authorization,Cookie,Set-Cookie,X-Api-Key";
	trk->redact = osp_mem_zalloc(strlen(list) + 1);
	if (!trk->redact)
		return -ENOMEM;
	memcpy(trk->redact, list, strlen(list));
	for (p = trk->redact; *p && trk->redacted_n < OSP_REDACT_MAX; p += *p == ',') {
		size_t n = strcspn(p, ",");

		if (n)
			trk->redacted[trk->redacted_n++] = osp_slice(p, n);
		p += n;
	}
	return 0;
}

static void init_lists(struct osp_tracker *trk)
{
	int i;

	osp_list_init(&trk->lru);
	osp_list_init(&trk->wait);
	osp_list_init(&trk->interval);
	osp_list_init(&trk->timer);
	for (i = 0; i < OSP_HEAVY_CLASSES; i++)
		osp_list_init(&trk->heavy[i]);
}

#define BUCKETS_MIN 1024u

int osp_tracker_new(struct osp_tracker **out, const struct osp_tracker_conf *conf,
		    const struct osp_source_info *info, struct osp_ledger *led, osp_rec_fn fn,
		    void *ctx)
{
	struct osp_tracker *trk;
	const char *boot = info->boot_id ? info->boot_id : "";
	int err = -ENOMEM;

	trk = osp_mem_zalloc(sizeof(*trk));
	if (!trk)
		return -ENOMEM;
	init_lists(trk);
	trk->conf = *conf;
	trk->conf.redact = NULL;
	if (!trk->conf.max_conns)
		trk->conf.max_conns = 1;
	trk->led = led;
	trk->fn = fn;
	trk->ctx = ctx;
	trk->wall_off = info->wall_off_ns;
	trk->boot_hash = XXH64(boot, strlen(boot), 0);
	trk->pool.idle_max = conf->byte_budget / 4 + (16u << 20);
	trk->env.max_head = conf->max_head;
	trk->env.header = trk->header;
	trk->bucket_mask = BUCKETS_MIN - 1;
	trk->bucket = osp_mem_zalloc(BUCKETS_MIN * sizeof(*trk->bucket));
	trk->grave = osp_mem_zalloc(OSP_GRAVES * sizeof(*trk->grave));
	if (!trk->bucket || !trk->grave || set_redact(trk, conf->redact) ||
	    osp_procs_init(&trk->procs, OSP_PROC_MAX))
		goto out;
	*out = trk;
	return 0;
out:
	osp_tracker_free(trk);
	return err;
}

void osp_tracker_finish(struct osp_tracker *trk)
{
	while (!osp_list_empty(&trk->lru))
		finish_conn(osp_list_entry(trk->lru.next, struct osp_conn, lru), OSP_CE_STOP,
			    NULL);
}

uint64_t osp_tracker_now(const struct osp_tracker *trk)
{
	return trk->now;
}

int64_t osp_tracker_wall_off(const struct osp_tracker *trk)
{
	return trk->wall_off;
}

static void no_record(void *ctx, const struct osp_record *rec)
{
}

void osp_tracker_free(struct osp_tracker *trk)
{
	if (!trk)
		return;
	/* Without finish() what is open ends unheard. */
	trk->fn = no_record;
	osp_tracker_finish(trk);
	osp_procs_fini(&trk->procs);
	osp_pool_fini(&trk->pool);
	osp_mem_free(trk->bucket);
	osp_mem_free(trk->grave);
	osp_mem_free(trk->redact);
	osp_mem_free(trk);
}
