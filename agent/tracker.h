/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tracker.h: from events to records: connections, their two byte streams by position, parsers,
 * transactions, processes. No I/O, no clock (time is the events'), no globals: the same events give
 * the same records, always.
 *
 * @thread its owner: the loop, or a shard's (agent/shard.h).
 */
#ifndef OSP_TRACKER_H
#define OSP_TRACKER_H

#include "agent/ledger.h"
#include "agent/source.h"
#include "record/osp_record.h"

#include <stdbool.h>
#include <stdint.h>

struct osp_tracker_conf {
	uint64_t byte_budget;		/* for all buffered bytes and strings; default 256 MiB */
	uint32_t max_conns;		/* default 1,048,576 */
	uint64_t reorder_ns;		/* how long a missing piece is waited for; default 100 ms */
	uint64_t txn_timeout_ns;	/* a request unanswered this long ends as "timeout"; default 300 s, 0 never */
	uint64_t idle_ns;		/* a connection without events this long is forgotten; default 2 h */
	uint64_t conn_interval_ns;	/* connection records of running ones; 0: only when they end */
	uint32_t max_head;		/* longest head; default 256 KiB */
	uint32_t body;			/* bytes of each body kept in the record; default 0 */
	bool decode;			/* ... without its content codings */
	uint64_t skip_from;		/* so much that nobody keeps is not asked of the source; default 64 KiB, 0 never */
	bool headers;			/* keep headers */
	bool connections;		/* make connection records */
	const char *redact;		/* comma-separated header names; NULL: the default list */
};

void osp_tracker_conf_default(struct osp_tracker_conf *conf);

struct osp_tracker;

/* info is copied. Records go to fn as they are finished, in order of their ends. 0 or -ENOMEM. */
int osp_tracker_new(struct osp_tracker **out, const struct osp_tracker_conf *conf,
		    const struct osp_source_info *info, struct osp_ledger *led, osp_rec_fn fn,
		    void *ctx);

/* Takes one event; fits osp_ev_fn with the tracker as ctx. Always 0: what can't be used is
 * counted.
 */
int osp_tracker_event(void *trk, const struct osp_ev_hdr *ev);

/* It is ts now: an event of that time was for another tracker. */
void osp_tracker_advance(struct osp_tracker *trk, uint64_t ts);

/* No more events: what waits is given up on, open transactions end as "agent_stop", running
 * connections get their record with end "running".
 */
void osp_tracker_finish(struct osp_tracker *trk);

/* Where the events come from: told what nobody needs, if it can make use of that. */
void osp_tracker_skip_by(struct osp_tracker *trk, struct osp_source *src);

/* CLOCK_BOOTTIME ns of the latest event; the wall clock's offset to it. */
uint64_t osp_tracker_now(const struct osp_tracker *trk);
int64_t osp_tracker_wall_off(const struct osp_tracker *trk);
/* Connections in the table now; conf.max_conns is its limit. */
uint32_t osp_tracker_conns(const struct osp_tracker *trk);

void osp_tracker_free(struct osp_tracker *trk);

#endif
