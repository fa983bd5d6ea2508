/* SPDX-License-Identifier: GPL-3.0-or-later */
/* feed.c: bytes of one connection by position, from events to its parser.
 *
 * Bytes are placed by position, never by arrival: what is in order goes to the parser straight from
 * the event, what is ahead waits in a short list, and what never comes is a gap of known size and
 * cause. A hole is waited for reorder_ns of event time (the first that nothing explains for ten times
 * as long), until the list is full, or not at all where the kernel says that it lost just these bytes.
 *
 * The counters keep one sum at every moment: bytes seen = parsed + skipped + gaps + held.
 */
#include "agent/conn.h"

#include <errno.h>
#include <string.h>

/* Bytes of a connection looked at for a protocol before it is called opaque. */
#define SEARCH_MAX 65536u

/* ---- passing on ------------------------------------------------------------------------------ */

void osp_feed_drop_hold(struct osp_conn *conn, int dir, enum osp_st cls)
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
	osp_feed_drop_hold(conn, OSP_TX, OSP_ST_BY_SKIPPED_OPAQUE);
	osp_feed_drop_hold(conn, OSP_RX, OSP_ST_BY_SKIPPED_OPAQUE);
}

static uint32_t max_turn(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
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

	conn->state = osp_conn_state_new(conn->trk, parser);
	if (!conn->state) {
		conn->nomem = true;
		return -ENOMEM;
	}
	memset(conn->state, 0, parser->size);
	init.lost[!dir] = conn->strm[!dir].holed;
	init.whole = conn->whole && !conn->strm[OSP_TX].holed && !conn->strm[OSP_RX].holed;
	conn->parser = parser;
	conn->proto = parser->name;
	conn->mode = OSP_CM_PARSER;
	conn->req_dir = (uint8_t)req_dir;
	osp_conn_set_role(conn, req_dir == OSP_TX ? OSP_ROLE_CLIENT : OSP_ROLE_SERVER,
			  det == OSP_DET_REQ ? OSP_FROM_REQUEST : OSP_FROM_RESPONSE);
	/* On top of what was waited for in vain before this. */
	pair->joined = !conn->whole;
	pair->unsync |= conn->strm[OSP_TX].holed || conn->strm[OSP_RX].holed;
	pair->lost |= conn->strm[OSP_TX].hole_turn || conn->strm[OSP_RX].hole_turn;
	pair->doubt_turn[OSP_REQ] = max_turn(pair->doubt_turn[OSP_REQ],
					     conn->strm[req_dir].hole_turn);
	pair->doubt_turn[OSP_RES] = max_turn(pair->doubt_turn[OSP_RES],
					     conn->strm[res_dir].hole_turn);
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
	if (conn->searched <= SEARCH_MAX)
		return;
	/* One that was in the middle of a long body when we came can still be HTTP. */
	if (conn->whole)
		go_opaque(conn, "opaque");
	else
		conn->proto = "opaque";
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
				osp_feed_drop_hold(conn, dir, OSP_ST_BY_SKIPPED_RESYNC);
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

/* More at once would not be ahead of the stream any more, modulo 2^32. */
#define SKIP_MAX (1ull << 30)

void osp_feed_skip(struct osp_conn *conn, int dir, uint64_t n)
{
	struct osp_strm *strm = &conn->strm[dir];
	struct osp_source *src = conn->trk->src;
	uint32_t dirs = 0, until[OSP_DIRS];
	int i;

	/* What comes before strm->skip was under way already when that was said. */
	if (!src || n < conn->trk->conf.skip_from || strm->next < strm->skip)
		return;
	strm->skip = strm->next + (n < SKIP_MAX ? n : SKIP_MAX);
	for (i = 0; i < OSP_DIRS; i++) {
		dirs |= (uint32_t)(conn->strm[i].next < conn->strm[i].skip) << i;
		until[i] = (uint32_t)conn->strm[i].skip;
	}
	src->ops->skip(src, conn->id, dirs, until);
}

/* Of a connection that nobody parses: not for one that will be gone before it pays. */
static void skip_opaque(struct osp_conn *conn, int dir)
{
	const struct osp_strm *strm = &conn->strm[dir];

	if (conn->trk->src && strm->next - strm->base >= conn->trk->conf.skip_from)
		osp_feed_skip(conn, dir, SKIP_MAX);
}

static void pass_some_gap(struct osp_conn *conn, int dir, uint64_t n, int cause, uint32_t lo,
			  const struct osp_seg *seg)
{
	struct osp_strm *strm = &conn->strm[dir];
	uint64_t pos = strm->next;

	osp_trk_count(conn->trk, OSP_ST_BY_STREAM, (int64_t)n);
	osp_trk_count(conn->trk, OSP_ST_GAP_NONE + cause, (int64_t)n);
	osp_strm_note_gap(strm, pos, n, cause);
	strm->next += n;
	strm->moved = strm->holed = true;
	strm->turn = strm->hole_turn = seg->turn;
	if (cause != OSP_CAUSE_FILTERED && cause != OSP_CAUSE_SKIPPED && cause != OSP_CAUSE_UNREAD)
		conn->missed = true;
	if (conn->mode == OSP_CM_UNDECIDED)
		osp_feed_drop_hold(conn, dir, OSP_ST_BY_SKIPPED_RESYNC);
	else if (conn->mode == OSP_CM_PARSER)
		conn->parser->gap(conn->state, dir, pos, n, cause, lo, seg);
	else if (conn->mode == OSP_CM_OPAQUE)
		skip_opaque(conn, dir);
}

/* Nearly always there is none. */
static inline void pass_gap(struct osp_conn *conn, int dir, uint64_t n, int cause, uint32_t lo,
			    const struct osp_seg *seg)
{
	if (n)
		pass_some_gap(conn, dir, n, cause, lo, seg);
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
	strm->tid = seg->tid;
	if (conn->mode == OSP_CM_PARSER)
		conn->parser->data(conn->state, dir, pos, p, n, seg);
	else if (conn->mode == OSP_CM_UNDECIDED)
		undecided(conn, dir, pos, p, n, seg);
	else
		osp_trk_count(conn->trk, OSP_ST_BY_SKIPPED_OPAQUE, n);
	if (conn->mode == OSP_CM_OPAQUE)
		skip_opaque(conn, dir);
}

/* The hole before pos, of which the event after it says what it knows. */
void osp_feed_hole(struct osp_conn *conn, int dir, uint64_t pos, uint32_t lost,
		   uint32_t filtered, bool raced, const struct osp_seg *seg)
{
	struct osp_strm *strm = &conn->strm[dir];
	struct osp_hole hole = osp_hole_split(pos - strm->next, lost, filtered);
	uint32_t lo = strm->turn;

	if (raced) {
		strm->rival -= pos - strm->next < strm->rival ? pos - strm->next : strm->rival;
		pass_gap(conn, dir, pos - strm->next, OSP_CAUSE_RACE, lo, seg);
		return;
	}
	pass_gap(conn, dir, hole.ring, OSP_CAUSE_RING_FULL, lo, seg);
	pass_gap(conn, dir, hole.filtered, OSP_CAUSE_FILTERED, lo, seg);
	/* What is missing here lies over other bytes, misplaced by a thread that raced. */
	if (hole.bypass && hole.bypass <= strm->rival) {
		strm->rival -= hole.bypass;
		pass_gap(conn, dir, hole.bypass, OSP_CAUSE_RACE, lo, seg);
		return;
	}
	strm->bypassed = strm->bypassed || hole.bypass;
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

/* The same where the requests' event itself is late: a thread that receives can be quicker to its
 * hook than the one that sent. after: see struct osp_piece.
 */
static bool ahead(const struct osp_conn *conn, int dir, uint64_t after)
{
	int req = req_dir(conn);

	return after && req != OSP_DIR_NONE && dir != req && conn->strm[req].next < after &&
	       conn->mode != OSP_CM_OPAQUE && conn->mode != OSP_CM_SHED;
}

/* Turns are counted where hooks run, and a thread that receives can be quicker to its hook than the one
 * that sent: then the response has a turn before its request's. after tells better: what had been sent
 * by then was sent before, and the response comes in a turn behind that.
 */
static void mend_turn(const struct osp_conn *conn, int dir, uint64_t after, struct osp_seg *seg)
{
	const struct osp_strm *asked = &conn->strm[!dir];
	uint32_t turn;

	if (!after || !seg->turn || asked->next < after || asked->turn < seg->turn ||
	    conn->mode != OSP_CM_PARSER || dir == req_dir(conn))
		return;
	turn = asked->next == after ? asked->turn : osp_pair_asked(&conn->pair, after);
	if (turn >= seg->turn)
		seg->turn = turn + 1;
}

/* Waited in vain: requests are missing, and the response may be to one of them. */
static void no_more_waiting(struct osp_conn *conn, int dir, struct osp_piece *pc)
{
	if (ahead(conn, dir, pc->after))
		osp_txn_host.lost(conn, OSP_REQ, conn->strm[!dir].turn, pc->seg.turn,
				  false);
	pc->after = 0;
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

/* A hole that nothing explains: a thread that has not come to its hook yet, and then what comes after
 * the hole may belong into it; or bytes that go past the hooks. Taking the one for the other mistakes a
 * request for its neighbour's, so the first such hole is waited for ten times as long, longer than a
 * thread has to wait for a CPU. Where bytes have gone past the hooks they will again. until: as below.
 */
static bool unexplained(const struct osp_strm *strm, const struct osp_piece *pc, uint64_t until,
			uint64_t reorder_ns)
{
	uint64_t more = strm->bypassed || until == UINT64_MAX ? 0 : 9 * reorder_ns;

	if (pc->raced || (uint64_t)pc->lost + pc->filtered >= pc->pos - strm->next)
		return false;
	return until < more || pc->arrival > until - more;
}

/* Passes on what can be: up to the next hole that is worth waiting for. Holes before pieces that
 * came up to `until` are not any more.
 */
static void pump_dir(struct osp_conn *conn, int dir, uint64_t until)
{
	struct osp_strm *strm = &conn->strm[dir];
	struct osp_piece *pc;

	while ((pc = strm->piece) && !blocked(conn, dir)) {
		if (pc->pos != strm->next) {
			if (unexplained(strm, pc, until, conn->trk->conf.reorder_ns))
				break;
			osp_feed_hole(conn, dir, pc->pos, pc->lost, pc->filtered, pc->raced, &pc->seg);
		}
		if (ahead(conn, dir, pc->after) && pc->arrival > until)
			break;
		mend_turn(conn, dir, pc->after, &pc->seg);
		no_more_waiting(conn, dir, pc);
		pass_piece(conn, dir);
	}
}

/* until as above; 0: only what is known. */
void osp_feed_pump(struct osp_conn *conn, uint64_t until)
{
	int first = req_dir(conn) == OSP_RX ? OSP_RX : OSP_TX;

	pump_dir(conn, first, until);
	pump_dir(conn, !first, until);
	/* The first bytes may have told which direction had to go first. */
	pump_dir(conn, first, until);
}

/* An event, or what is left of it when the part that is known is taken off its front. */
struct part {
	uint64_t pos, bytes;
	const char *p;
	uint64_t after;
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
		.after = part->after,
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

/* Bytes by thread tid where those of thread `first` are already: of two that raced, and as many are
 * missing. If the hole is behind us, the one thread was too late at its hook for it to wait.
 */
static void count_overlap(struct osp_conn *conn, int dir, uint64_t n, uint32_t tid,
			  uint32_t first)
{
	struct osp_strm *strm = &conn->strm[dir];
	uint64_t known;

	strm->overlap += n;
	osp_trk_count(conn->trk, OSP_ST_BY_OVERLAP, (int64_t)n);
	if (tid == first)
		return;
	known = osp_strm_recause(strm, n, OSP_CAUSE_BYPASS, OSP_CAUSE_RACE);
	osp_trk_count(conn->trk, OSP_ST_GAP_BYPASS, -(int64_t)known);
	osp_trk_count(conn->trk, OSP_ST_GAP_RACE, (int64_t)known);
	strm->rival += n - known;
	strm->bypassed = false;
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
			count_overlap(conn, dir, n, part->seg->tid, pc->seg.tid);
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
	while (conn->strm[dir].piece_n >= OSP_PIECES_MAX && !conn->nomem) {
		/* Asked anew each time: what is passed on may tell which direction has requests. */
		int d = blocked(conn, dir) ? !dir : dir;
		struct osp_piece *pc = conn->strm[d].piece;

		if (pc->pos > conn->strm[d].next)
			osp_feed_hole(conn, d, pc->pos, pc->lost, pc->filtered, pc->raced,
				      &pc->seg);
		no_more_waiting(conn, d, pc);
		osp_feed_pump(conn, 0);
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

static void place_data(struct osp_conn *conn, const struct osp_ev_data *ev, struct osp_seg *seg)
{
	int dir = ev->dir;
	struct osp_strm *strm = &conn->strm[dir];
	uint64_t before = (uint64_t)ev->lost + ev->filtered, known;
	struct part part = {
		.bytes = ev->bytes,
		.p = (const char *)(ev + 1),
		.cap = ev->h.kind == OSP_EV_DATA ? ev->cap : 0,
		.lost = ev->lost,
		.filtered = ev->filtered,
		.cause = ev->cause,
		.seg = seg,
	};

	find_base(strm, ev);
	part.pos = osp_strm_place(strm, ev->seq, before);
	/* Before anything is cut off: it may pass on what part lies over. */
	make_room(conn, dir);
	if (part.pos < strm->next) {
		known = strm->next - part.pos;
		known = known < part.bytes ? known : part.bytes;
		count_overlap(conn, dir, known, seg->tid, strm->tid);
		cut_front(&part, known);
	}
	if (!part.bytes)
		return;
	if ((ev->flags & OSP_DF_OTHER) && conn->strm[!dir].based)
		part.after = osp_strm_place(&conn->strm[!dir], ev->other, 0);
	if (!strm->piece && !blocked(conn, dir) && !ahead(conn, dir, part.after) &&
	    (part.pos == strm->next || before >= part.pos - strm->next)) {
		mend_turn(conn, dir, part.after, seg);
		if (part.pos != strm->next)
			osp_feed_hole(conn, dir, part.pos, part.lost, part.filtered, false, seg);
		pass_data(conn, dir, part.p, part.cap, seg);
		pass_gap(conn, dir, part.bytes - part.cap, part.cause, seg->turn, seg);
		if (conn->strm[!dir].piece)
			osp_feed_pump(conn, 0);
		return;
	}
	insert(conn, dir, &part);
	osp_feed_pump(conn, 0);
}

/* Whether the event is all bytes, and they come next: nothing is missing before them, nothing waits
 * in either direction, nor have they to wait for the other one to come as far as they know, whose turn
 * is over.
 */
static inline bool comes_next(const struct osp_conn *conn, const struct osp_ev_data *ev)
{
	const struct osp_strm *strm = &conn->strm[ev->dir], *other = &conn->strm[!ev->dir];

	return strm->based && ev->seq == (uint32_t)strm->next && ev->turn > other->turn &&
	       !(ev->lost | ev->filtered) && ev->h.kind == OSP_EV_DATA && ev->cap == ev->bytes &&
	       !strm->piece && !other->piece &&
	       (!(ev->flags & OSP_DF_OTHER) || (int32_t)(ev->other - (uint32_t)other->next) <= 0);
}

void osp_feed_data(struct osp_conn *conn, const struct osp_ev_data *ev)
{
	struct osp_seg seg = { .ts = ev->h.ts_ns, .turn = ev->turn, .tgid = ev->tgid,
			       .tid = ev->tid, .loose = ev->flags & OSP_DF_LOOSE };

	/* What the rest comes to for nearly all events. */
	if (comes_next(conn, ev))
		pass_data(conn, ev->dir, (const char *)(ev + 1), ev->bytes, &seg);
	else
		place_data(conn, ev, &seg);
}
