/* SPDX-License-Identifier: GPL-3.0-or-later */
/* host.h: brings records to sinks without ever waiting for one.
 *
 * Who makes a record copies it once into a chunk of memory that all sinks share; each sink has a
 * thread and a bounded queue of pieces of chunks. A sink that is slow, down or hung loses its own
 * records, counted, and nobody else's. For every sink, at any moment:
 *	offered = accepted + rejected + dropped + queued
 * A record counts as offered when its piece is handed over (osp_sinks_kick, or a chunk is full).
 *
 * Every sink takes, besides its own options:
 *	queue=SIZE	memory its queue may hold on to; default 64M, at least 2M
 *	on_full=WHAT	drop-new, drop-old, block; default: see osp_sinks_block()
 *	kind=A+B	transaction, connection, ledger; default: the sink's own choice
 *	retry=TIME	first pause after a failure; default 100ms, doubles, +-25 %
 *	retry_max=TIME	longest pause; default 10s
 *
 * @thread loop, but for osp_sinks_counters(), which any thread may call between open and free, and
 * lanes, which are their owner's.
 */
#ifndef OSP_SINKS_HOST_H
#define OSP_SINKS_HOST_H

#include "sinks/osp_sink.h"

#include <stdbool.h>
#include <stdint.h>

/* Counters that osp_sinks_counters() gives for each sink. */
#define OSP_SINK_COUNTERS 11
#define OSP_SINKS_MAX 24

struct osp_sinks;

int osp_sinks_new(struct osp_sinks **out);

/* Adds the sink that spec ("name" or "name:key=value,key=value") names; a name with a / is a
 * plugin's path (sinks/plugin.h). 0; -ENOENT: no such sink; -EINVAL: a bad option or plugin; -E2BIG:
 * more than OSP_SINKS_MAX; -ENOMEM. err: one line.
 */
int osp_sinks_add(struct osp_sinks *sinks, const char *spec, char *err, size_t err_size);

/* The same for a sink in no table; options may be NULL. kinds: bits of 1 << kind, 0: all. */
int osp_sinks_add_ops(struct osp_sinks *sinks, const struct osp_sink_ops *ops, uint32_t kinds,
		      const char *options, char *err, size_t err_size);

/* Opens all and starts their threads. A sink that says -EAGAIN is opened later by its thread; any
 * other failure ends it all: -errno, err says which sink and why, and osp_sinks_free() is due.
 */
int osp_sinks_open(struct osp_sinks *sinks, char *err, size_t err_size);

/* Whether offering waits for room where a sink's on_full is not set: for sources that can wait
 * (replay, generator). Otherwise, and at first, new records are dropped.
 */
void osp_sinks_block(struct osp_sinks *sinks, bool block);

/* Asked every 20 ms while offering waits for room; true ends the wait, the records
 * are dropped and counted. Without it a sink that is down holds a blocking source for ever.
 */
void osp_sinks_give_up(struct osp_sinks *sinks, bool (*fn)(void *ctx), void *ctx);

/* Takes a copy of rec and gives it its seq. Fits osp_rec_fn with the sinks as ctx. */
void osp_sinks_offer(void *sinks, const struct osp_record *rec);

/* More threads than the loop's make records by a lane each: the same three calls, with a chunk of the
 * lane's own. Records of one lane stay in order; those of several are merged by hand-over, a piece at
 * a time, and get their seq then. fn of osp_lane_give_up() is called in the lane's thread. Before
 * osp_sinks_close() every lane has been kicked for the last time; it is freed before the sinks.
 */
struct osp_lane;
int osp_lane_new(struct osp_lane **out, struct osp_sinks *sinks);
void osp_lane_give_up(struct osp_lane *lane, bool (*fn)(void *ctx), void *ctx);
void osp_lane_offer(void *lane, const struct osp_record *rec);
uint32_t osp_lane_pending(const struct osp_lane *lane);
void osp_lane_kick(struct osp_lane *lane);
void osp_lane_free(struct osp_lane *lane);

/* Records that wait to be handed over: kick when they are older than you like (20 ms). */
uint32_t osp_sinks_pending(const struct osp_sinks *sinks);
void osp_sinks_kick(struct osp_sinks *sinks);

/* Hands over, then waits until all queues are empty and no sink holds unconfirmed records, or
 * deadline_ns (CLOCK_MONOTONIC) passes. Returns whether they are. For a last ledger record that
 * knows how the others fared.
 */
bool osp_sinks_drain(struct osp_sinks *sinks, uint64_t deadline_ns);

/* SIGHUP: every sink opens its files anew, in its own thread. */
void osp_sinks_reopen(struct osp_sinks *sinks);

/* Every destination has gone for good as far as it can tell (-EPIPE): nobody reads any more. */
bool osp_sinks_gone(struct osp_sinks *sinks);

/* Hands over, lets every sink finish and flush until deadline_ns, counts the rest as dropped and
 * ends the threads. A thread that does not come back in time is left behind with a warning.
 * Counters stay readable. Safe to call twice, and without osp_sinks_open().
 */
void osp_sinks_close(struct osp_sinks *sinks, uint64_t deadline_ns);

/* Fills out[] with stage "sinks", label = the sink's name (unique: a second jsonl is "jsonl#2"):
 * offered, accepted, rejected, dropped, queued, acked, lost, held, bytes, retries, reopens, per
 * sink in order of osp_sinks_add(). Each sink's are of one moment. Returns how many, at most max;
 * whole sinks only. Labels live until osp_sinks_free().
 */
uint32_t osp_sinks_counters(struct osp_sinks *sinks, struct osp_rec_counter *out, uint32_t max);

/* Closes within a second if that has not been done. NULL is fine. */
void osp_sinks_free(struct osp_sinks *sinks);

#endif
