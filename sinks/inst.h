/* SPDX-License-Identifier: GPL-3.0-or-later */
/* inst.h: one configured sink with its queue and thread. For the sink host itself.
 *
 * The lock guards all that is marked with it and is never held while the sink runs: the loop never
 * waits for a sink here.
 */
#ifndef OSP_SINKS_INST_H
#define OSP_SINKS_INST_H

#include "agent/base/clock.h"
#include "sinks/chunk.h"
#include "sinks/options.h"
#include "sinks/osp_sink.h"

#include <pthread.h>
#include <stdbool.h>
#include <time.h>

enum osp_on_full { OSP_FULL_UNSET, OSP_FULL_DROP_NEW, OSP_FULL_DROP_OLD, OSP_FULL_BLOCK };

struct osp_inst_conf {
	uint64_t queue_bytes;
	uint64_t retry_ns, retry_max_ns;
	const char *kind;
	int on_full;			/* enum osp_on_full, as the words of the option stand */
};

/* For each sink: offered = accepted + rejected + dropped + queued. */
struct osp_inst_counters {
	uint64_t offered, accepted, rejected, dropped, queued;
	uint64_t acked, lost, held, bytes;	/* as the sink says, over all its lives */
	uint64_t retries, reopens;
};

struct osp_inst {
	struct osp_chunk_pool *pool;
	const struct osp_sink_ops *ops;
	char label[40];
	uint32_t kinds;			/* bits of 1 << kind */
	enum osp_on_full on_full;
	struct osp_inst_conf conf;
	void *sink_conf;
	char *text;			/* the options, cut up */
	pthread_t thread;
	bool started;

	pthread_mutex_t lock;
	pthread_cond_t work;		/* for the thread: pieces, or wake */
	pthread_cond_t room;		/* for the loop: the queue shrank, or the thread ended */
	/* lock: */
	struct osp_piece *ring;		/* the queue */
	uint32_t ring_cap, head, count;	/* ring_cap: 0 or a power of two */
	size_t queue_bytes;		/* of the queue and of the piece in hand */
	struct osp_inst_counters cnt;
	uint64_t stop_ns;		/* stop: when the thread must be done, CLOCK_MONOTONIC */
	bool stop, reopen, wake;
	bool exited;			/* the thread is through */
	bool abandoned;			/* the thread is not waited for; counters are final */
	bool gone;			/* last failure was -EPIPE, nothing taken since */

	/* The thread's (and the opener's before there is a thread). */
	struct osp_sink *sink;
	const struct osp_record **view;	/* OSP_CHUNK_RECS */
	bool dirty;			/* something taken since the last good flush */
	bool complained;		/* a warning is out that asks for an all-clear */
	uint64_t flush_ns;		/* not before, CLOCK_MONOTONIC */
	uint64_t pause_ns;		/* 0: the last try was good */
	uint64_t said_ns;		/* last warning, CLOCK_MONOTONIC */
	uint64_t base_acked, base_lost, base_bytes;	/* of the sink's earlier lives */
	uint32_t rng;
};

/* What sinks get from us. */
extern const struct osp_host osp_sink_host;

/* ---- queue.c: @thread any; all take the lock themselves ---- */

int osp_inst_init_queue(struct osp_inst *inst);
void osp_inst_fini_queue(struct osp_inst *inst);
/* The loop offers a piece. wait: how to wait for room under OSP_FULL_BLOCK; true: give up. */
void osp_inst_offer(struct osp_inst *inst, const struct osp_piece *piece, enum osp_on_full on_full,
		    bool (*give_up)(void *ctx), void *ctx);
/* Counts n records that could not even be offered. */
void osp_inst_lose(struct osp_inst *inst, uint64_t n);
/* With the lock held: takes the oldest piece out, NULL-chunk if there is none. */
struct osp_piece osp_inst_pop_locked(struct osp_inst *inst);
/* With the lock held: counts all that is queued as dropped and lets it go. */
void osp_inst_drop_all_locked(struct osp_inst *inst);
/* Records of the piece that this sink takes. */
uint32_t osp_inst_wants(const struct osp_inst *inst, const struct osp_piece *piece);

/* ---- worker.c ---- */

/* First call before the thread exists, later ones from it. As osp_sink_ops.open. */
int osp_inst_open(struct osp_inst *inst, char *err, size_t err_size);
void osp_inst_close_sink(struct osp_inst *inst);
void *osp_inst_thread(void *inst);

#endif
