/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tracker.c: what events mean for connections: their beginning, their end, and time. What happens
 * to their bytes: feed.c.
 */
#include "agent/conn.h"
#include "agent/parser/http1.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- waiting --------------------------------------------------------------------------------- */

/* While pieces wait, or a reset is to be acted on. */
static void set_wait(struct osp_conn *conn)
{
	struct osp_tracker *trk = conn->trk;
	bool wait = conn->strm[OSP_TX].piece || conn->strm[OSP_RX].piece || conn->reset;

	if (!wait) {
		if (!osp_list_empty(&conn->wait))
			osp_list_del(&conn->wait);
	} else if (osp_list_empty(&conn->wait)) {
		conn->wait_due = trk->now + trk->conf.reorder_ns;
		osp_list_add_tail(&trk->wait, &conn->wait);
	}
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* Passes on or gives up all that waits. */
static void flush(struct osp_conn *conn)
{
	osp_feed_pump(conn, UINT64_MAX);
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
		osp_feed_drop_hold(conn, dir, OSP_ST_BY_SKIPPED_OPAQUE);
}

/* Ends directions whose end was told and has been reached. */
static void check_eof(struct osp_conn *conn)
{
	struct osp_strm *strm;
	int dir;

	if (conn->strm[OSP_TX].eof == OSP_POS_NONE && conn->strm[OSP_RX].eof == OSP_POS_NONE)
		return;
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
	osp_feed_drop_hold(conn, OSP_TX, OSP_ST_BY_SKIPPED_OPAQUE);
	osp_feed_drop_hold(conn, OSP_RX, OSP_ST_BY_SKIPPED_OPAQUE);
	if (conn->state) {
		conn->parser->fini(conn->state, OSP_BC_OPAQUE);
		osp_conn_state_free(conn);
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
	osp_feed_hole(conn, dir, end, ev->lost[dir], ev->filtered[dir], false, &seg);
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
	osp_feed_drop_hold(conn, OSP_TX, OSP_ST_BY_SKIPPED_OPAQUE);
	osp_feed_drop_hold(conn, OSP_RX, OSP_ST_BY_SKIPPED_OPAQUE);
	if (tot.known)
		close_unread(conn, ev->rcv_end - ev->end[OSP_RX]);
	osp_txn_end_all(conn, how);
	count_exchanges(conn, &tot);
	tot.bytes[OSP_TX] = conn->strm[OSP_TX].next - conn->strm[OSP_TX].base;
	tot.bytes[OSP_RX] = conn->strm[OSP_RX].next - conn->strm[OSP_RX].base;
	osp_conn_record(conn, &tot, end_name(how), how == OSP_CE_STOP);
	osp_trk_count(trk, how == OSP_CE_IDLE ? OSP_ST_CONN_EVICTED_IDLE :
			   how == OSP_CE_EVICTED ? OSP_ST_CONN_EVICTED_FULL :
						   OSP_ST_CONN_CLOSED, how != OSP_CE_STOP);
	if (conn->strm[OSP_TX].skip | conn->strm[OSP_RX].skip)
		trk->src->ops->unskip(trk->src, conn->id);
	trk->busy = NULL;
	osp_conn_free(conn);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void wait_over(struct osp_conn *conn)
{
	struct osp_tracker *trk = conn->trk;

	osp_list_del(&conn->wait);
	enter(conn);
	osp_feed_pump(conn, trk->now - trk->conf.reorder_ns);
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

static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* When the first of any list can be due: the first that is there, or one that comes right now. Lists
 * are in order, so whatever comes to stand first later is due later.
 */
static uint64_t next_due(const struct osp_tracker *trk)
{
	const struct osp_tracker_conf *conf = &trk->conf;
	const struct osp_list *wait = &trk->wait, *timer = &trk->timer, *interval = &trk->interval;
	uint64_t at = osp_list_empty(wait) ? trk->now + conf->reorder_ns :
		      osp_list_entry(wait->next, struct osp_conn, wait)->wait_due;

	if (!osp_list_empty(timer))
		at = sooner(at, osp_list_entry(timer->next, struct osp_txn, timer)->due);
	else if (conf->txn_timeout_ns)
		at = sooner(at, trk->now + conf->txn_timeout_ns);
	if (!osp_list_empty(interval))
		at = sooner(at, osp_list_entry(interval->next, struct osp_conn,
					       interval)->interval_due);
	else if (conf->conn_interval_ns)
		at = sooner(at, trk->now + conf->conn_interval_ns);
	if (!conf->idle_ns)
		return at;
	return sooner(at, conf->idle_ns +
		      (osp_list_empty(&trk->lru) ? trk->now :
		       osp_list_entry(trk->lru.next, struct osp_conn, lru)->seen));
}

static void advance(struct osp_tracker *trk, uint64_t ts)
{
	/* Beyond 292 years a time can only be damage; what is due after it would wrap. */
	if (ts <= trk->now || ts > INT64_MAX)
		return;
	trk->now = ts;
	if (ts < trk->timers_at)
		return;
	run_timers(trk);
	trk->timers_at = next_due(trk);
}

/* What a burst needed and nobody has since. malloc's own returning takes milliseconds, so there has
 * to be something to return.
 */
#define TRIM_NS 1000000000ull
#define RETURN_BYTES (8ull << 20)

static void trim(struct osp_tracker *trk)
{
	if (trk->now < trk->trim_at)
		return;
	trk->trim_at = trk->now + TRIM_NS;
	trk->freed += osp_pool_trim(&trk->pool);
	if (trk->freed < RETURN_BYTES)
		return;
	trk->freed = 0;
	osp_mem_return();
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
	return conn->by_open ? ev->h.ts_ns == conn->opened : ev->h.ts_ns <= conn->opened;
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
	conn->copies = conn->copies || ev->flags & OSP_DF_COPIES;
	conn->one_way = ev->flags & OSP_DF_UNSEEN || (conn->one_way && ev->dir != conn->unseen);
	if (ev->flags & OSP_DF_UNSEEN)
		conn->unseen = ev->dir;
	if (ev->turn > conn->turns)
		conn->turns = ev->turn;
	if (ev->tgid) {
		conn->tgid = ev->tgid;
		conn->tid = ev->tid;
	}
	conn_seen(conn);
	enter(conn);
	osp_feed_data(conn, ev);
	leave(conn);
}

static void on_names(struct osp_tracker *trk, const struct osp_ev_unix *ev)
{
	struct osp_conn *conn = osp_conn_find(trk, ev->conn);

	if (!conn && buried(trk, ev->conn, ev->h.ts_ns))
		return;
	if (!conn)
		conn = conn_new(trk, ev->conn, ev->h.ts_ns);
	if (!conn || osp_conn_set_names(conn, ev))
		osp_trk_count(trk, OSP_ST_IN_BAD, 1);
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
	if (ev->flags & OSP_CF_BOTH_WAYS)
		conn->one_way = false;
	osp_conn_set_tuple(conn, &ev->tuple);
	if (ev->role < OSP_ROLE_MAX && ev->role_from < OSP_FROM_MAX)
		osp_conn_set_role(conn, ev->role, ev->role_from);
	if (ev->tgid && !conn->tgid)
		conn->tgid = ev->tgid;
	conn_seen(conn);
	*grave = (struct osp_grave){ ev->conn, ev->h.ts_ns };
	finish_conn(conn, conn->reset ? OSP_CE_RESET : how, ev);
}

static __attribute__((noinline)) void on_control(struct osp_tracker *trk,
						 const struct osp_ev_hdr *ev)
{
	switch (ev->kind) {
	case OSP_EV_OPEN:
		on_open(trk, (const struct osp_ev_open *)ev);
		break;
	case OSP_EV_SHUT:
		on_shut(trk, (const struct osp_ev_shut *)ev);
		break;
	case OSP_EV_CLOSE:
		on_close(trk, (const struct osp_ev_close *)ev);
		break;
	case OSP_EV_UNIX:
		on_names(trk, (const struct osp_ev_unix *)ev);
		break;
	case OSP_EV_PROC:
		if (osp_procs_event(&trk->procs, (const struct osp_ev_proc *)ev))
			osp_trk_count(trk, OSP_ST_IN_BAD, 1);
		break;
	case OSP_EV_LOST:
		/* Totals of the source, not of what came here: osp_ledger_source(). */
		break;
	case OSP_EV_TICK:
		trk->wall_off = ((const struct osp_ev_tick *)ev)->wall_off_ns;
		trim(trk);
		break;
	default:
		osp_trk_count(trk, OSP_ST_IN_BAD, 1);
	}
}

int osp_tracker_event(void *ctx, const struct osp_ev_hdr *ev)
{
	struct osp_tracker *trk = ctx;
	bool data = ev->kind == OSP_EV_DATA || ev->kind == OSP_EV_GAP;

	osp_trk_count(trk, data ? OSP_ST_IN_DATA : OSP_ST_IN_CTL, 1);
	advance(trk, ev->ts_ns);
	if (data)
		on_data(trk, (const struct osp_ev_data *)ev);
	else
		on_control(trk, ev);
	return 0;
}

void osp_tracker_advance(struct osp_tracker *trk, uint64_t ts)
{
	advance(trk, ts);
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
		.skip_from = 64u << 10,
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
	osp_slab_init(&trk->conns, sizeof(struct osp_conn));
	osp_slab_init(&trk->states, osp_parser_http1.size);
	trk->pool.idle_max = conf->byte_budget / 4 + (16u << 20);
	trk->env.max_head = conf->max_head;
	trk->env.header = trk->header;
	trk->bucket_mask = BUCKETS_MIN - 1;
	trk->bucket = osp_mem_zalloc(BUCKETS_MIN * sizeof(*trk->bucket));
	trk->grave = osp_mem_zalloc(OSP_GRAVES * sizeof(*trk->grave));
	if (!trk->bucket || !trk->grave || set_redact(trk, conf->redact) ||
	    osp_procs_init(&trk->procs, OSP_PROC_MAX) ||
	    (conf->decode && conf->body && osp_decoder_new(&trk->dec, conf->body)))
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

void osp_tracker_skip_by(struct osp_tracker *trk, struct osp_source *src)
{
	if (!src->ops->skip || !trk->conf.skip_from)
		return;
	trk->src = src;
	trk->env.skip_from = trk->conf.skip_from;
}

uint64_t osp_tracker_now(const struct osp_tracker *trk)
{
	return trk->now;
}

int64_t osp_tracker_wall_off(const struct osp_tracker *trk)
{
	return trk->wall_off;
}

uint32_t osp_tracker_conns(const struct osp_tracker *trk)
{
	return trk->conn_n;
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
	osp_slab_fini(&trk->conns);
	osp_slab_fini(&trk->states);
	osp_mem_free(trk->bucket);
	osp_mem_free(trk->grave);
	osp_mem_free(trk->redact);
	osp_decoder_free(trk->dec);
	osp_mem_free(trk);
}
