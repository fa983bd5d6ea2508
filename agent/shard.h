/* SPDX-License-Identifier: GPL-3.0-or-later */
/* shard.h: the trackers behind the source: one, or several that share nothing.
 *
 *                     ┌► chunks of events ► tracker ► parser ► pairs ► records ─┐
 *   source ► events ──┤    by connection                                        ├► sinks
 *                     └► chunks of events ► tracker ► parser ► pairs ► records ─┘
 *
 * A connection belongs to one shard for its life, so its events stay in order; what concerns all
 * connections (a process, a tick) goes to every shard. Each shard has its own lane to the sinks and
 * its own ledger; the ledgers are added up when they are shown. The first of up to four shards has no
 * thread: the caller does its work, and it has as many connections as the caller has time left for.
 * With one shard that is all.
 *
 * From a source that is not live every shard is also told each step of time that another's event
 * makes, so that its timers end what they would end if it were alone: the records are the same
 * whatever the number of shards, but for their order and seq. (Beyond the limits: the connections and
 * the bytes that may be held are divided among the shards.)
 *
 * @thread loop, all of it; what runs in a shard's own thread stays within shard.c.
 */
#ifndef OSP_SHARD_H
#define OSP_SHARD_H

#include "agent/ledger.h"
#include "agent/source.h"
#include "agent/tracker.h"
#include "sinks/host.h"

#include <stdbool.h>
#include <stdint.h>

#define OSP_SHARDS_MAX 64u

struct osp_shards_conf {
	uint32_t n;			/* 1 to OSP_SHARDS_MAX */
	struct osp_tracker_conf trk;	/* of all together */
	uint64_t count;			/* transactions after which osp_shards_enough(); 0: never */
	struct osp_source *src;		/* where the events come from; outlives the shards */
	/* Asked now and then while the loop waits for a shard; true: the sinks' queues are not
	 * waited for any more.
	 */
	bool (*ask)(void *ctx);
	void *ctx;
};

struct osp_shards;

/* 0 or -errno. sinks and the strings of conf->trk outlive the shards. */
int osp_shards_new(struct osp_shards **out, const struct osp_shards_conf *conf,
		   const struct osp_source_info *info, struct osp_sinks *sinks);

/* Takes one event. With several shards it waits where one has too much before it. */
void osp_shards_event(struct osp_shards *shards, const struct osp_ev_hdr *ev);

/* What was taken so far is on its way: after each poll. */
void osp_shards_kick(struct osp_shards *shards);

/* Waits until all that was taken has been worked on, or ask() says to stop. */
void osp_shards_sync(struct osp_shards *shards);

/* No more events: osp_tracker_finish() for all of them, and the end of their threads. */
void osp_shards_finish(struct osp_shards *shards);

/* Adds what the shards have counted, as of when they last were between two events. */
void osp_shards_count(struct osp_shards *shards, struct osp_ledger *sum);
uint32_t osp_shards_conns(struct osp_shards *shards);

/* Of the events taken: see osp_tracker_now(). */
uint64_t osp_shards_now(const struct osp_shards *shards);
int64_t osp_shards_wall_off(const struct osp_shards *shards);

bool osp_shards_enough(const struct osp_shards *shards);

void osp_shards_free(struct osp_shards *shards);

#endif
