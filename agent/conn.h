/* SPDX-License-Identifier: GPL-3.0-or-later */
/* conn.h: connections and the tracker they belong to; private to agent/{tracker,feed,conn,txn}.c.
 *
 * A connection that idles costs struct osp_conn and its parser's state, less than 1 KiB
 * (tests/unit/test_memory.c); buffers come and go with what has to wait.
 *
 * @thread loop
 */
#ifndef OSP_CONN_H
#define OSP_CONN_H

#include "agent/base/list.h"
#include "agent/base/mem.h"
#include "agent/decode.h"
#include "agent/stream.h"
#include "agent/tracker.h"
#include "agent/txn.h"

enum osp_conn_mode {
	OSP_CM_UNDECIDED = 0,	/* protocol not known yet */
	OSP_CM_PARSER,
	OSP_CM_OPAQUE,
	OSP_CM_SHED
};

#define OSP_DIR_NONE 2u

/* What the ends of a unix socket are called, as records have it: "@" begins an abstract name. */
struct osp_unix_names {
	uint64_t peer;		/* cookie of the other end; 0 not known */
	uint32_t netns;
	uint16_t len[OSP_UNIX_ENDS];	/* 0: not bound */
	char text[OSP_UNIX_ENDS][OSP_UNIX_NAME];
};

struct osp_conn {
	struct osp_tracker *trk;
	struct osp_conn *hnext;
	uint64_t id;		/* beside hnext: a look-up needs one line of the cache */
	struct osp_list lru, wait, heavy, interval;
	uint64_t opened;	/* event time: of the OPEN, else of the first event */
	uint64_t seen;		/* event time of the latest event (tracker's clock) */
	uint64_t wait_due, interval_due;
	uint64_t held;		/* bytes of the budget */
	uint64_t searched;	/* bytes looked at in vain for a protocol */
	uint64_t txn_n, txn_made;
	const struct osp_parser *parser;	/* NULL: none; a label if it has no functions */
	void *state;
	const char *proto;	/* name; NULL: not known */
	struct osp_strm strm[OSP_DIRS];
	struct osp_pair pair;
	struct osp_tuple tuple;
	char cid[32];		/* Community ID, "" not computed yet */
	struct osp_unix_names *names;	/* unix sockets; NULL: none came */
	uint32_t turns;		/* highest seen */
	uint32_t feed_turn;	/* of the bytes being fed */
	uint32_t tgid, tid;	/* who last used it */
	uint32_t anomalies;	/* of no transaction */
	uint8_t mode;		/* enum osp_conn_mode */
	uint8_t role, role_from, vantage;
	uint8_t req_dir;	/* enum osp_dir of requests; OSP_DIR_NONE: not known */
	uint8_t heavy_class;	/* log2 of held; 0: on no list */
	bool whole;		/* seen from its start */
	bool by_open;		/* known by an OPEN */
	bool has_tuple;
	bool data;		/* DATA or GAP was seen */
	bool missed;		/* bytes were lost that nobody chose to lose */
	bool reset;		/* RST seen, CLOSE not yet */
	bool nomem;		/* an allocation failed: to be shed */
	bool ktls;
	bool copies;		/* a capture had packets of it twice */
	bool one_way;		/* a capture has no packet of direction unseen */
	uint8_t unseen;
};

/* Late events of a connection that is gone are told from a new connection: by their time. */
#define OSP_GRAVES 4096u
struct osp_grave {
	uint64_t id, ts;
};

#define OSP_HEAVY_CLASSES 64
#define OSP_REDACT_MAX 32

struct osp_tracker {
	struct osp_tracker_conf conf;
	struct osp_ledger *led;
	osp_rec_fn fn;
	void *ctx;
	struct osp_source *src;	/* told what nobody needs; NULL: can't be */
	uint64_t boot_hash;	/* of the boot id: part of every record's id */
	uint64_t now;		/* event time, never goes back */
	int64_t wall_off;
	struct osp_procs procs;
	struct osp_pool pool;
	struct osp_slab conns;
	struct osp_slab states;	/* of parsers, as far as they fit */
	uint64_t trim_at;	/* event time */
	uint64_t freed;		/* since memory was last returned */
	uint64_t used;		/* bytes of the budget */
	struct osp_conn **bucket;
	uint64_t bucket_mask;
	uint32_t conn_n;
	/* All of them by time: what is due first stands first, because each list has one delay. */
	struct osp_list lru, wait, interval, timer;
	uint64_t timers_at;	/* nothing is due before */
	struct osp_list heavy[OSP_HEAVY_CLASSES];
	struct osp_conn *busy;	/* whose bytes are being worked on: not shed meanwhile */
	struct osp_grave *grave;
	struct osp_parser_env env;
	char *redact;		/* copy of conf.redact */
	struct osp_slice redacted[OSP_REDACT_MAX];
	uint32_t redacted_n;
	struct osp_header header[OSP_HEADERS_MAX];
	struct osp_kept_header kept[OSP_HEADERS_MAX];
	struct osp_rec_header rec_header[OSP_ENDS][OSP_HEADERS_MAX];
	struct osp_rec_gap gap[OSP_DIRS][OSP_GAPS_KEPT + OSP_CAUSE_MAX + 1];
	struct osp_record rec;
	struct osp_decoder *dec;	/* NULL: bodies stay coded */
};

static inline void osp_trk_count(struct osp_tracker *trk, enum osp_st id, int64_t n)
{
	osp_count(trk->led, id, (uint64_t)n);
}

/* CLOCK_BOOTTIME ns as CLOCK_REALTIME ns. Both come from outside: a damaged recording may wrap. */
static inline int64_t osp_trk_wall(const struct osp_tracker *trk, uint64_t ts)
{
	return (int64_t)(ts + (uint64_t)trk->wall_off);
}

/* ---- conn.c ---------------------------------------------------------------------------------- */

struct osp_conn *osp_conn_find(struct osp_tracker *trk, uint64_t id);
/* A new connection, first seen at ts; the table has room. NULL: no memory. */
struct osp_conn *osp_conn_add(struct osp_tracker *trk, uint64_t id, uint64_t ts);
/* Takes it off everything and frees it; all its buffers have been given back. */
void osp_conn_free(struct osp_conn *conn);
/* Memory of its parser; NULL: none. */
void *osp_conn_state_new(struct osp_tracker *trk, const struct osp_parser *parser);
void osp_conn_state_free(struct osp_conn *conn);

void osp_conn_set_tuple(struct osp_conn *conn, const struct osp_tuple *tuple);
void osp_conn_set_role(struct osp_conn *conn, int role, int from);
bool osp_conn_loopback(const struct osp_conn *conn);
/* Whether it is between unix sockets. */
bool osp_conn_is_unix(const struct osp_conn *conn);
/* Takes the names of its ends. 0 or -ENOMEM. */
int osp_conn_set_names(struct osp_conn *conn, const struct osp_ev_unix *ev);

/* The connection's and the process's part of a record, which is all zero there so far. */
void osp_conn_rec(struct osp_conn *conn, struct osp_record *rec);
void osp_conn_rec_proc(struct osp_tracker *trk, struct osp_record *rec, struct osp_proc *proc,
		       uint32_t tgid, uint32_t tid);

struct osp_conn_totals {
	uint64_t bytes[OSP_DIRS];
	bool known;
	uint32_t turns, srtt_us, retransmits;
	uint64_t lost_exchanges;
};
/* Makes a connection record. end: NULL if it is not known how it ended; running: it has not. */
void osp_conn_record(struct osp_conn *conn, const struct osp_conn_totals *tot, const char *end,
		     bool running);

/* Memory within the budget, on the account of conn; the heaviest connections are shed to make room.
 * NULL: none to be had, conn->nomem is set.
 */
void *osp_conn_alloc(struct osp_conn *conn, uint64_t n, uint32_t *size);
void osp_conn_release(struct osp_conn *conn, void *p, uint32_t size);
int osp_conn_buf_add(struct osp_conn *conn, struct osp_buf *buf, const char *p, uint32_t n);
void osp_conn_buf_free(struct osp_conn *conn, struct osp_buf *buf);

/* ---- feed.c ---------------------------------------------------------------------------------- */

/* Takes a DATA or GAP event. */
void osp_feed_data(struct osp_conn *conn, const struct osp_ev_data *ev);

/* Passes on what waits, as far as it can go; holes are given up that pieces which came up to
 * `until` (event time) have waited for. 0: none of them; UINT64_MAX: all.
 */
void osp_feed_pump(struct osp_conn *conn, uint64_t until);

/* Declares the hole between what was passed on and pos. lost, filtered: what the kernel knows of
 * it; raced: none of that counts. seg: of the event behind it.
 */
void osp_feed_hole(struct osp_conn *conn, int dir, uint64_t pos, uint32_t lost, uint32_t filtered,
		   bool raced, const struct osp_seg *seg);

/* Nobody needs the next n bytes of that direction; the source is told, if there are enough. */
void osp_feed_skip(struct osp_conn *conn, int dir, uint64_t n);

/* Counts what is held of an unknown protocol as cls. */
void osp_feed_drop_hold(struct osp_conn *conn, int dir, enum osp_st cls);

/* ---- tracker.c ------------------------------------------------------------------------------- */

/* Gives a connection up: its buffers, its transactions; what follows is counted as shed. */
void osp_conn_shed(struct osp_conn *conn);

#endif
