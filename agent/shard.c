/* SPDX-License-Identifier: GPL-3.0-or-later */
/* shard.c: which tracker an event goes to, and the way there: chunks of events in a short queue per
 * shard. The loop fills them, the shard's thread works them off; a lock is taken once a chunk. Where
 * the loop has time left, the first shard is its own, and its events go nowhere.
 */
#include "agent/shard.h"

#include "agent/base/clock.h"
#include "agent/base/mem.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* A chunk is some hundred events, a tenth of a millisecond of work, and a cache holds it. The queue
 * is long enough that one busy connection does not make the other shards wait at once.
 */
#define CHUNK_BYTES (64u << 10)
#define CHUNKS 32u
/* Records wait no longer than this for their piece to fill (as run.c has it for the loop's). */
#define KICK_NS 20000000ull
/* How often a waiting loop asks whether it should stop. */
#define ASK_NS 20000000ull
/* Instead of an event: time has come so far (ts_ns). No event has this kind. */
#define KIND_TIME 0
/* What the loop does with an event until a shard has it, in parts of what the shard does with it. */
#define LOOP_PART 4

struct chunk {
	uint8_t *mem;
	uint32_t cap, used;
};

struct shard {
	struct osp_shards *all;
	struct osp_tracker *trk;
	struct osp_lane *lane;		/* NULL: the only shard, whose records go the loop's way */
	bool here;			/* no thread: the loop does its work */
	struct osp_ledger led;
	uint64_t kick_at;		/* CLOCK_MONOTONIC */
	uint32_t tail;			/* chunk under work */
	pthread_t thread;
	bool started;

	/* The loop's, which writes them with each event: on cache lines of their own. */
	struct {
		uint32_t head;		/* chunk being filled */
		bool mine;		/* it is empty or ours, not queued */
		uint64_t told;		/* time this shard knows of */
	} fill __attribute__((aligned(128)));

	pthread_mutex_t lock __attribute__((aligned(128)));
	pthread_cond_t work;		/* for the thread: a chunk, or the end */
	pthread_cond_t room;		/* for the loop: no more than wanted chunks are left */
	/* lock: */
	uint32_t queued;		/* the one under work included */
	uint32_t wanted;		/* the loop waits until no more are queued */
	bool waiting, end, exited;
	struct osp_ledger shown;	/* led, between two chunks */
	uint32_t conns;
	struct chunk chunk[CHUNKS];
};

struct osp_shards {
	struct osp_shards_conf conf;
	struct osp_sinks *sinks;
	struct shard *shard[OSP_SHARDS_MAX];
	uint32_t n;
	uint8_t by_hash[256];		/* a connection's shard */
	struct osp_ledger led;		/* what the loop counts here */
	uint64_t now;
	int64_t wall_off;
	_Atomic bool give_up;		/* sinks are not waited for any more */
	_Atomic uint64_t made;		/* transactions, if somebody counts them */
};

/* ---- the shard's thread ---------------------------------------------------------------------- */

static void take_record(void *ctx, const struct osp_record *rec)
{
	struct shard *sh = ctx;

	if (sh->lane)
		osp_lane_offer(sh->lane, rec);
	else
		osp_sinks_offer(sh->all->sinks, rec);
	if (sh->all->conf.count && rec->kind == OSP_REC_TRANSACTION)
		atomic_fetch_add_explicit(&sh->all->made, 1, memory_order_relaxed);
}

static bool sinks_given_up(void *ctx)
{
	return atomic_load_explicit(&((struct osp_shards *)ctx)->give_up, memory_order_relaxed);
}

/* Whether every shard gets it; the others have a connection, or are the first shard's. */
static bool is_for_all(const struct osp_ev_hdr *ev)
{
	return ev->kind == OSP_EV_PROC || ev->kind == OSP_EV_TICK;
}

static void work_off(struct shard *sh, const struct chunk *chunk)
{
	const struct osp_ev_hdr *ev;

	for (uint32_t at = 0; at < chunk->used; at += (ev->len + 7u) & ~7u) {
		ev = (const struct osp_ev_hdr *)(chunk->mem + at);
		if (ev->kind == KIND_TIME) {
			osp_tracker_advance(sh->trk, ev->ts_ns);
			continue;
		}
		osp_tracker_event(sh->trk, ev);
		/* What all shards get is one event still: the first one's. */
		if (is_for_all(ev) && sh != sh->all->shard[0])
			osp_count(&sh->led, OSP_ST_IN_CTL, (uint64_t)-1);
	}
}

static void kick_lane(struct shard *sh, bool now)
{
	if (!osp_lane_pending(sh->lane) || (!now && osp_mono_ns() < sh->kick_at))
		return;
	osp_lane_kick(sh->lane);
	sh->kick_at = osp_mono_ns() + KICK_NS;
}

static void show_locked(struct shard *sh)
{
	sh->shown = sh->led;
	sh->conns = osp_tracker_conns(sh->trk);
}

/* The next chunk; NULL: there will be none. */
static struct chunk *next_chunk(struct shard *sh)
{
	bool any;

	pthread_mutex_lock(&sh->lock);
	if (!sh->queued && !sh->end) {
		pthread_mutex_unlock(&sh->lock);
		kick_lane(sh, true);
		pthread_mutex_lock(&sh->lock);
	}
	while (!sh->queued && !sh->end)
		pthread_cond_wait(&sh->work, &sh->lock);
	any = sh->queued;
	pthread_mutex_unlock(&sh->lock);
	return any ? &sh->chunk[sh->tail] : NULL;
}

static void chunk_done(struct shard *sh)
{
	sh->tail = (sh->tail + 1) % CHUNKS;
	pthread_mutex_lock(&sh->lock);
	sh->queued--;
	show_locked(sh);
	if (sh->waiting && sh->queued <= sh->wanted)
		pthread_cond_signal(&sh->room);
	pthread_mutex_unlock(&sh->lock);
}

static void *shard_thread(void *arg)
{
	struct shard *sh = arg;
	struct chunk *chunk;

	/* As the loop of a live source does: loss is decided by how soon we run. Best effort. */
	if (sh->all->conf.src->ops->live)
		setpriority(PRIO_PROCESS, 0, -10);
	while ((chunk = next_chunk(sh))) {
		work_off(sh, chunk);
		chunk_done(sh);
		kick_lane(sh, false);
	}
	osp_tracker_finish(sh->trk);
	osp_lane_kick(sh->lane);
	pthread_mutex_lock(&sh->lock);
	show_locked(sh);
	sh->exited = true;
	pthread_cond_signal(&sh->room);
	pthread_mutex_unlock(&sh->lock);
	return NULL;
}

/* ---- the loop's side ------------------------------------------------------------------------- */

static bool ask(struct osp_shards *shards)
{
	bool stop = shards->conf.ask && shards->conf.ask(shards->conf.ctx);

	if (stop)
		atomic_store_explicit(&shards->give_up, true, memory_order_relaxed);
	return stop;
}

static bool loop_gives_up(void *ctx)
{
	return ask(ctx);
}

/* Waits until the shard has no more than that many chunks before it; with the lock held. false:
 * asked to stop meanwhile, and patient is false.
 */
static bool wait_locked(struct shard *sh, uint32_t wanted, bool patient)
{
	bool stop = false;

	sh->wanted = wanted;
	sh->waiting = true;
	while (sh->queued > wanted && !(stop && !patient)) {
		if (osp_cond_wait_until(&sh->room, &sh->lock, osp_mono_ns() + ASK_NS))
			continue;
		pthread_mutex_unlock(&sh->lock);
		stop = ask(sh->all);
		pthread_mutex_lock(&sh->lock);
	}
	sh->waiting = false;
	return sh->queued <= wanted;
}

static void hand_over(struct shard *sh)
{
	if (!sh->fill.mine || !sh->chunk[sh->fill.head].used)
		return;
	pthread_mutex_lock(&sh->lock);
	if (!sh->queued++)
		pthread_cond_signal(&sh->work);
	pthread_mutex_unlock(&sh->lock);
	sh->fill.head = (sh->fill.head + 1) % CHUNKS;
	sh->fill.mine = false;
}

/* The chunk to fill. If all are queued, half of them have to be done first: a wake-up for each would
 * cost more.
 */
static struct chunk *chunk_to_fill(struct shard *sh)
{
	struct chunk *chunk = &sh->chunk[sh->fill.head];

	if (sh->fill.mine)
		return chunk;
	pthread_mutex_lock(&sh->lock);
	if (sh->queued == CHUNKS)
		wait_locked(sh, CHUNKS / 2, true);
	pthread_mutex_unlock(&sh->lock);
	chunk->used = 0;
	sh->fill.mine = true;
	return chunk;
}

/* Room for n bytes, a multiple of 8; NULL: no memory for an event of unusual size. */
static void *make_room(struct shard *sh, uint32_t n)
{
	struct chunk *chunk = chunk_to_fill(sh);
	uint8_t *mem;

	if (chunk->used && n > chunk->cap - chunk->used) {
		hand_over(sh);
		chunk = chunk_to_fill(sh);
	}
	if (n > chunk->cap) {
		mem = osp_mem_realloc(chunk->mem, n);
		if (!mem)
			return NULL;
		chunk->mem = mem;
		chunk->cap = n;
	}
	chunk->used += n;
	return chunk->mem + chunk->used - n;
}

/* Time has come to all->now. */
static void put_time(struct shard *sh)
{
	struct osp_ev_hdr *at;

	if (sh->fill.told >= sh->all->now)
		return;
	sh->fill.told = sh->all->now;
	if (sh->here) {
		osp_tracker_advance(sh->trk, sh->all->now);
		return;
	}
	at = make_room(sh, sizeof(*at));
	*at = (struct osp_ev_hdr){ .len = sizeof(*at), .kind = KIND_TIME, .ts_ns = sh->all->now };
}

static void put_event(struct shard *sh, const struct osp_ev_hdr *ev)
{
	uint32_t n = (ev->len + 7u) & ~7u;
	void *at;

	/* Its own time is older: the clock stands where it was for all. */
	if (ev->ts_ns < sh->all->now)
		put_time(sh);
	sh->fill.told = sh->all->now;
	if (sh->here) {
		osp_tracker_event(sh->trk, ev);
		return;
	}
	at = make_room(sh, n);
	if (at)
		memcpy(at, ev, ev->len);
	else
		osp_count(&sh->all->led, OSP_ST_IN_BAD, 1);
}

/* Fibonacci hashing, by the upper bits: tables of connections (conn.c) use lower ones. All events
 * that belong to a connection have its id right after their header.
 */
static struct shard *shard_of(struct osp_shards *shards, const struct osp_ev_hdr *ev)
{
	uint64_t conn;

	if (ev->kind == OSP_EV_LOST)
		return shards->shard[0];
	memcpy(&conn, ev + 1, sizeof(conn));
	return shards->shard[shards->by_hash[conn * 0x9e3779b97f4a7c15ull >> 56]];
}

static void distribute(struct osp_shards *shards, const struct osp_ev_hdr *ev)
{
	struct shard *to = is_for_all(ev) ? NULL : shard_of(shards, ev);

	for (uint32_t i = 0; i < shards->n; i++) {
		if (!to || shards->shard[i] == to)
			put_event(shards->shard[i], ev);
		else if (!shards->conf.src->ops->live)
			put_time(shards->shard[i]);
	}
}

void osp_shards_event(struct osp_shards *shards, const struct osp_ev_hdr *ev)
{
	/* As the tracker's own clock has it. */
	if (ev->ts_ns > shards->now && ev->ts_ns <= INT64_MAX)
		shards->now = ev->ts_ns;
	if (ev->kind == OSP_EV_TICK)
		shards->wall_off = ((const struct osp_ev_tick *)ev)->wall_off_ns;
	if (shards->n == 1)
		osp_tracker_event(shards->shard[0]->trk, ev);
	else
		distribute(shards, ev);
}

void osp_shards_kick(struct osp_shards *shards)
{
	for (uint32_t i = 0; i < shards->n && shards->n > 1; i++) {
		if (shards->shard[i]->here)
			kick_lane(shards->shard[i], false);
		else
			hand_over(shards->shard[i]);
	}
}

void osp_shards_sync(struct osp_shards *shards)
{
	bool go_on = true;

	osp_shards_kick(shards);
	for (uint32_t i = 0; i < shards->n && shards->n > 1 && go_on; i++) {
		struct shard *sh = shards->shard[i];

		pthread_mutex_lock(&sh->lock);
		go_on = wait_locked(sh, 0, false);
		pthread_mutex_unlock(&sh->lock);
	}
}

void osp_shards_count(struct osp_shards *shards, struct osp_ledger *sum)
{
	for (uint32_t i = 0; i < shards->n; i++) {
		struct shard *sh = shards->shard[i];
		struct osp_ledger led;

		pthread_mutex_lock(&sh->lock);
		led = sh->here ? sh->led : sh->shown;
		pthread_mutex_unlock(&sh->lock);
		for (int id = 0; id < OSP_ST_MAX; id++)
			sum->v[id] += led.v[id];
	}
	for (int id = 0; id < OSP_ST_MAX; id++)
		sum->v[id] += shards->led.v[id];
}

uint32_t osp_shards_conns(struct osp_shards *shards)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < shards->n; i++) {
		struct shard *sh = shards->shard[i];

		pthread_mutex_lock(&sh->lock);
		n += sh->here ? osp_tracker_conns(sh->trk) : sh->conns;
		pthread_mutex_unlock(&sh->lock);
	}
	return n;
}

uint64_t osp_shards_now(const struct osp_shards *shards)
{
	return shards->now;
}

int64_t osp_shards_wall_off(const struct osp_shards *shards)
{
	return shards->wall_off;
}

bool osp_shards_enough(const struct osp_shards *shards)
{
	return shards->conf.count &&
	       atomic_load_explicit(&shards->made, memory_order_relaxed) >= shards->conf.count;
}

/* ---- start and end --------------------------------------------------------------------------- */

static int start_thread(struct shard *sh, uint32_t index)
{
	sigset_t all, old;
	char name[24];
	int err;

	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&sh->thread, NULL, shard_thread, sh);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	sh->started = true;
	snprintf(name, sizeof(name), "shard %u", index);
	pthread_setname_np(sh->thread, name);
	return 0;
}

static int shard_new(struct shard **out, struct osp_shards *shards)
{
	struct shard *sh = aligned_alloc(_Alignof(struct shard), sizeof(*sh));
	int err = -ENOMEM;

	if (!sh)
		return err;
	memset(sh, 0, sizeof(*sh));
	sh->all = shards;
	err = -pthread_mutex_init(&sh->lock, NULL);
	if (!err)
		err = osp_cond_init(&sh->work);
	if (!err)
		err = osp_cond_init(&sh->room);
	if (err)
		free(sh);
	else
		*out = sh;
	return err;
}

static void shard_free(struct shard *sh)
{
	if (!sh)
		return;
	osp_tracker_free(sh->trk);
	osp_lane_free(sh->lane);
	for (uint32_t i = 0; i < CHUNKS; i++)
		osp_mem_free(sh->chunk[i].mem);
	pthread_cond_destroy(&sh->work);
	pthread_cond_destroy(&sh->room);
	pthread_mutex_destroy(&sh->lock);
	free(sh);
}

/* What one of several has and the only one has not. */
static int make_lane(struct shard *sh)
{
	int err = osp_lane_new(&sh->lane, sh->all->sinks);

	if (err)
		return err;
	osp_lane_give_up(sh->lane, sh->here ? loop_gives_up : sinks_given_up, sh->all);
	for (uint32_t i = 0; i < CHUNKS && !sh->here; i++) {
		sh->chunk[i].mem = osp_mem_zalloc(CHUNK_BYTES);
		if (!sh->chunk[i].mem)
			return -ENOMEM;
		sh->chunk[i].cap = CHUNK_BYTES;
	}
	return 0;
}

/* The loop's own shard gets what the others leave the loop time for; from LOOP_PART others on that is
 * nothing, and the loop has none.
 */
static void share_out(struct osp_shards *shards)
{
	uint32_t n = shards->conf.n, own = 0, i;

	if (n <= LOOP_PART)
		own = 256 * (LOOP_PART + 1 - n) / (LOOP_PART * n);
	for (i = 0; i < 256; i++)
		shards->by_hash[i] = (uint8_t)(i < own ? 0 : !own ? i * n / 256 :
					       1 + (i - own) * (n - 1) / (256 - own));
}

static int add_shard(struct osp_shards *shards, const struct osp_tracker_conf *conf,
		     const struct osp_source_info *info)
{
	struct shard *sh;
	int err = shard_new(&sh, shards);

	if (err)
		return err;
	sh->here = !shards->n && shards->conf.n <= LOOP_PART;
	shards->shard[shards->n++] = sh;
	if (shards->conf.n > 1)
		err = make_lane(sh);
	if (!err)
		err = osp_tracker_new(&sh->trk, conf, info, &sh->led, take_record, sh);
	if (!err)
		osp_tracker_skip_by(sh->trk, shards->conf.src);
	return err;
}

int osp_shards_new(struct osp_shards **out, const struct osp_shards_conf *conf,
		   const struct osp_source_info *info, struct osp_sinks *sinks)
{
	struct osp_shards *shards = osp_mem_zalloc(sizeof(*shards));
	struct osp_tracker_conf part = conf->trk;
	uint32_t n = conf->n;
	int err = -ENOMEM;

	if (!shards)
		return err;
	shards->conf = *conf;
	shards->sinks = sinks;
	shards->wall_off = info->wall_off_ns;
	share_out(shards);
	part.byte_budget /= n;
	part.max_conns = (uint32_t)(((uint64_t)part.max_conns + n - 1) / n);
	for (uint32_t i = 0; i < n; i++) {
		err = add_shard(shards, &part, info);
		if (err)
			goto out;
	}
	for (uint32_t i = 0; i < n && !err; i++)
		err = shards->shard[i]->here ? 0 : start_thread(shards->shard[i], i);
	if (err)
		goto out;
	*out = shards;
	shards = NULL;
out:
	osp_shards_free(shards);
	return err;
}

/* Ends the thread, when it has worked off all that it was given. */
static void end_thread(struct shard *sh)
{
	pthread_mutex_lock(&sh->lock);
	while (!sh->exited) {
		if (osp_cond_wait_until(&sh->room, &sh->lock, osp_mono_ns() + ASK_NS))
			continue;
		pthread_mutex_unlock(&sh->lock);
		ask(sh->all);
		pthread_mutex_lock(&sh->lock);
	}
	pthread_mutex_unlock(&sh->lock);
	pthread_join(sh->thread, NULL);
	sh->started = false;
}

void osp_shards_finish(struct osp_shards *shards)
{
	struct shard *first = shards->shard[0];

	osp_shards_kick(shards);
	/* All at once, then one by one. */
	for (uint32_t i = 0; i < shards->n; i++) {
		struct shard *sh = shards->shard[i];

		pthread_mutex_lock(&sh->lock);
		sh->end = true;
		pthread_cond_signal(&sh->work);
		pthread_mutex_unlock(&sh->lock);
	}
	if (first->here && !first->exited && first->trk) {
		first->exited = true;
		osp_tracker_finish(first->trk);
		if (first->lane)
			osp_lane_kick(first->lane);
	}
	for (uint32_t i = 0; i < shards->n; i++)
		if (shards->shard[i]->started)
			end_thread(shards->shard[i]);
}

void osp_shards_free(struct osp_shards *shards)
{
	if (!shards)
		return;
	/* Without osp_shards_finish() nobody waits for sinks any more. */
	atomic_store_explicit(&shards->give_up, true, memory_order_relaxed);
	shards->conf.ask = NULL;
	if (shards->n > 1)
		osp_shards_finish(shards);
	for (uint32_t i = 0; i < shards->n; i++)
		shard_free(shards->shard[i]);
	osp_mem_free(shards);
}
