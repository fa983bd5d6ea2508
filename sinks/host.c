/* SPDX-License-Identifier: GPL-3.0-or-later */
/* host.c: the makers' side of the sinks: records into chunks, pieces of chunks into queues, and the
 * start and end of it all.
 *
 * A record is copied once, whatever the number of sinks, into the current chunk of the lane it comes
 * by. What has come in since the last hand-over is the open piece; osp_lane_kick() or a full chunk
 * hands it to all queues. Locks are taken at a hand-over, not per record.
 */
#include "sinks/host.h"

#include "agent/base/log.h"
#include "sinks/builtin.h"
#include "sinks/inst.h"
#include "sinks/plugin.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A thread is asked to end this long before the deadline at which it is left behind. */
#define GRACE_NS 100000000ull
/* How often a drain looks whether sinks still hold records, and a waiting lane asks. */
#define ASK_NS 20000000ull
/* What osp_sinks_free() gives sinks that nobody has closed. */
#define FREE_NS 1000000000ull

struct osp_lane {
	struct osp_sinks *sinks;
	uint64_t seq, handed;		/* of this lane's records: offered, handed over */
	struct osp_chunk *chunk;	/* being filled, or NULL */
	struct osp_piece open;		/* of that chunk, not handed over yet */
	size_t sealed;			/* bytes of that chunk in earlier pieces */
	bool (*give_up)(void *ctx);
	void *give_up_ctx;
};

struct osp_sinks {
	struct osp_chunk_pool pool;
	struct osp_inst *inst[OSP_SINKS_MAX];
	uint32_t n;
	uint32_t kinds;			/* that any sink takes */
	struct osp_lane lane;		/* of osp_sinks_offer() */
	uint64_t seq;			/* of all records handed over; whoever merges */
	pthread_mutex_t lock;
	pthread_cond_t merged;
	bool merging;			/* lock: a lane's piece goes to all queues */
	bool block, closed;
};

static const struct osp_opt host_opts[] = {
	{ "queue", OSP_OPT_SIZE, offsetof(struct osp_inst_conf, queue_bytes), "64M", 2 << 20,
	  1ll << 40, NULL, "memory the queue may hold on to" },
	{ "on_full", OSP_OPT_ENUM, offsetof(struct osp_inst_conf, on_full), "auto", 0, 0,
	  "auto|drop-new|drop-old|block", "what to do when the queue is full" },
	{ "kind", OSP_OPT_STR, offsetof(struct osp_inst_conf, kind), NULL, 0, 0, NULL,
	  "transaction, connection, ledger, joined by +" },
	{ "retry", OSP_OPT_TIME, offsetof(struct osp_inst_conf, retry_ns), "100ms", 1000000,
	  3600000000000, NULL, "first pause after a failure" },
	{ "retry_max", OSP_OPT_TIME, offsetof(struct osp_inst_conf, retry_max_ns), "10s", 1000000,
	  3600000000000, NULL, "longest pause after failures" },
	{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
};

int osp_sinks_new(struct osp_sinks **out)
{
	struct osp_sinks *sinks = calloc(1, sizeof(*sinks));
	int err = -ENOMEM;

	if (!sinks)
		goto out;
	sinks->lane.sinks = sinks;
	err = osp_chunk_pool_init(&sinks->pool);
	if (err)
		goto out;
	err = -pthread_mutex_init(&sinks->lock, NULL);
	if (!err)
		err = osp_cond_init(&sinks->merged);
	if (err) {
		osp_chunk_pool_fini(&sinks->pool);
		goto out;
	}
	*out = sinks;
	sinks = NULL;
out:
	free(sinks);
	return err;
}

/* ---- configuration ------------------------------------------------------------------------- */

static void inst_free(struct osp_inst *inst)
{
	struct osp_opt_set sets[2];

	if (!inst)
		return;
	sets[0] = (struct osp_opt_set){ host_opts, &inst->conf };
	sets[1] = (struct osp_opt_set){ inst->ops->opts, inst->sink_conf };
	osp_opts_fini(sets, inst->sink_conf ? 2 : 1);
	osp_inst_fini_queue(inst);
	free(inst->sink_conf);
	free(inst->text);
	free(inst->view);
	free(inst);
}

static int inst_new(struct osp_inst **out, struct osp_sinks *sinks, const struct osp_sink_ops *ops,
		    const char *options)
{
	struct osp_inst *inst = calloc(1, sizeof(*inst));
	int err = -ENOMEM;

	if (!inst)
		return err;
	inst->pool = &sinks->pool;
	inst->ops = ops;
	inst->rng = (uint32_t)osp_mono_ns() | 1;
	err = osp_inst_init_queue(inst);
	if (err) {
		free(inst);
		return err;
	}
	inst->sink_conf = calloc(1, ops->conf_size ? ops->conf_size : 1);
	inst->text = strdup(options ? options : "");
	inst->view = calloc(OSP_CHUNK_RECS, sizeof(*inst->view));
	if (!inst->sink_conf || !inst->text || !inst->view) {
		inst_free(inst);
		return -ENOMEM;
	}
	*out = inst;
	return 0;
}

/* "transaction+ledger" to bits; 0: not such a list. */
static uint32_t parse_kinds(const char *text)
{
	uint32_t kinds = 0;
	size_t n;
	int kind;

	for (;; text += n + 1) {
		n = strcspn(text, "+");
		for (kind = 1; kind < OSP_REC_KIND_MAX; kind++)
			if (strlen(osp_kind_name(kind)) == n &&
			    !memcmp(osp_kind_name(kind), text, n))
				break;
		if (kind == OSP_REC_KIND_MAX)
			return 0;
		kinds |= OSP_KIND_BIT(kind);
		if (!text[n])
			return kinds;
	}
}

/* The name, or "name#2" for the second of that name. Names are cut to what fits. */
static void make_label(const struct osp_sinks *sinks, struct osp_inst *inst)
{
	uint32_t same = 1;

	for (uint32_t i = 0; i < sinks->n; i++)
		same += !strcmp(sinks->inst[i]->ops->name, inst->ops->name);
	if (same == 1)
		snprintf(inst->label, sizeof(inst->label), "%.30s", inst->ops->name);
	else
		snprintf(inst->label, sizeof(inst->label), "%.30s#%u", inst->ops->name, same);
}

static int configure(struct osp_inst *inst, const struct osp_builtin *from, uint32_t kinds,
		     char *err, size_t size)
{
	struct osp_opt_set sets[2] = { { inst->ops->opts, inst->sink_conf },
				       { host_opts, &inst->conf } };
	size_t at = (size_t)snprintf(err, size, "sink %s: ", inst->label);
	int ret;

	at = at < size ? at : size - 1;
	ret = osp_opts_parse(sets, 2, inst->text, err + at, size - at);
	if (ret == -ENOMEM)
		snprintf(err + at, size - at, "no memory");
	if (ret)
		return ret;
	inst->on_full = (enum osp_on_full)inst->conf.on_full;
	inst->kinds = kinds ? kinds : OSP_KINDS_ALL;
	if (from && from->kinds)
		inst->kinds = from->kinds(inst->sink_conf);
	if (inst->conf.kind) {
		inst->kinds = parse_kinds(inst->conf.kind);
		if (!inst->kinds) {
			snprintf(err + at, size - at,
				 "kind=%s: not transaction, connection, ledger, joined by +",
				 inst->conf.kind);
			return -EINVAL;
		}
	}
	err[0] = 0;
	return 0;
}

static int add(struct osp_sinks *sinks, const struct osp_sink_ops *ops,
	       const struct osp_builtin *from, uint32_t kinds, const char *options, char *err,
	       size_t err_size)
{
	struct osp_inst *inst = NULL;
	int ret;

	if (sinks->n == OSP_SINKS_MAX) {
		snprintf(err, err_size, "more than %d sinks", OSP_SINKS_MAX);
		return -E2BIG;
	}
	if (osp_plugin_check(ops, err, err_size))
		return -EINVAL;
	ret = inst_new(&inst, sinks, ops, options);
	if (ret) {
		snprintf(err, err_size, "sink %s: no memory", ops->name);
		return ret;
	}
	make_label(sinks, inst);
	ret = configure(inst, from, kinds, err, err_size);
	if (ret) {
		inst_free(inst);
		return ret;
	}
	sinks->kinds |= inst->kinds;
	sinks->inst[sinks->n++] = inst;
	return 0;
}

int osp_sinks_add_ops(struct osp_sinks *sinks, const struct osp_sink_ops *ops, uint32_t kinds,
		      const char *options, char *err, size_t err_size)
{
	return add(sinks, ops, NULL, kinds, options, err, err_size);
}

static void unknown_sink(const char *spec, size_t n, char *err, size_t size)
{
	int at = snprintf(err, size, "no sink \"%.*s\"; there are:", (int)(n < 64 ? n : 64), spec);

	for (const struct osp_builtin *b = osp_builtins; b->ops; b++)
		if (at > 0 && (size_t)at < size)
			at += snprintf(err + at, size - (size_t)at, "%s %s",
				       b == osp_builtins ? "" : ",", b->ops->name);
}

int osp_sinks_add(struct osp_sinks *sinks, const char *spec, char *err, size_t err_size)
{
	size_t n = strcspn(spec, ":");
	const char *options = spec[n] ? spec + n + 1 : NULL;
	const struct osp_sink_ops *plugin;
	int ret;

	if (memchr(spec, '/', n)) {
		ret = osp_plugin_load(&plugin, spec, n, err, err_size);
		return ret ? ret : add(sinks, plugin, NULL, 0, options, err, err_size);
	}
	for (const struct osp_builtin *b = osp_builtins; b->ops; b++)
		if (strlen(b->ops->name) == n && !memcmp(b->ops->name, spec, n))
			return add(sinks, b->ops, b, 0, options, err, err_size);
	unknown_sink(spec, n, err, err_size);
	return -ENOENT;
}

/* ---- start --------------------------------------------------------------------------------- */

static int start_thread(struct osp_inst *inst)
{
	char name[16];
	sigset_t all, old;
	int err;

	/* Signals are the loop's; a sink's thread must not take one, nor die of SIGPIPE. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&inst->thread, NULL, osp_inst_thread, inst);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (err)
		return -err;
	inst->started = true;
	snprintf(name, sizeof(name), "sink %.10s", inst->label);
	pthread_setname_np(inst->thread, name);
	return 0;
}

int osp_sinks_open(struct osp_sinks *sinks, char *err, size_t err_size)
{
	char text[256];
	int ret;

	for (uint32_t i = 0; i < sinks->n; i++) {
		struct osp_inst *inst = sinks->inst[i];

		ret = osp_inst_open(inst, text, sizeof(text));
		if (ret == -EAGAIN) {
			osp_warn("sink %s: %s; trying again", inst->label, text);
		} else if (ret) {
			snprintf(err, err_size, "sink %s: %s", inst->label, text);
			return ret;
		}
	}
	for (uint32_t i = 0; i < sinks->n; i++) {
		ret = start_thread(sinks->inst[i]);
		if (ret) {
			snprintf(err, err_size, "sink %s: no thread", sinks->inst[i]->label);
			return ret;
		}
	}
	return 0;
}

void osp_sinks_block(struct osp_sinks *sinks, bool block)
{
	sinks->block = block;
}

void osp_sinks_give_up(struct osp_sinks *sinks, bool (*fn)(void *ctx), void *ctx)
{
	osp_lane_give_up(&sinks->lane, fn, ctx);
}

/* ---- lanes --------------------------------------------------------------------------------- */

int osp_lane_new(struct osp_lane **out, struct osp_sinks *sinks)
{
	struct osp_lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return -ENOMEM;
	lane->sinks = sinks;
	*out = lane;
	return 0;
}

void osp_lane_free(struct osp_lane *lane)
{
	if (!lane)
		return;
	osp_chunk_put(&lane->sinks->pool, lane->chunk);
	free(lane);
}

void osp_lane_give_up(struct osp_lane *lane, bool (*fn)(void *ctx), void *ctx)
{
	lane->give_up = fn;
	lane->give_up_ctx = ctx;
}

/* ---- records ------------------------------------------------------------------------------- */

/* One lane at a time hands over. It may wait for a full queue, and whoever ends that wait may be us:
 * so we wait as it does, and ask.
 */
static void begin_merge(struct osp_lane *lane)
{
	struct osp_sinks *sinks = lane->sinks;

	pthread_mutex_lock(&sinks->lock);
	while (sinks->merging) {
		if (lane->give_up) {
			pthread_mutex_unlock(&sinks->lock);
			lane->give_up(lane->give_up_ctx);
			pthread_mutex_lock(&sinks->lock);
		}
		if (sinks->merging)
			osp_cond_wait_until(&sinks->merged, &sinks->lock, osp_mono_ns() + ASK_NS);
	}
	sinks->merging = true;
	pthread_mutex_unlock(&sinks->lock);
}

static void end_merge(struct osp_lane *lane)
{
	struct osp_sinks *sinks = lane->sinks;

	pthread_mutex_lock(&sinks->lock);
	sinks->merging = false;
	pthread_cond_signal(&sinks->merged);
	pthread_mutex_unlock(&sinks->lock);
}

/* Hands the open piece to every queue; the chunk goes on being filled behind it. Here
 * records get their numbers, known until now within the lane only, and lanes come one at a time, so
 * that the numbers grow in every queue. Records that no sink takes have numbers, too.
 */
static void hand_over(struct osp_lane *lane)
{
	struct osp_sinks *sinks = lane->sinks;
	struct osp_piece *piece = &lane->open;
	enum osp_on_full unset = sinks->block ? OSP_FULL_BLOCK : OSP_FULL_DROP_NEW;
	uint64_t ahead;

	if (!piece->n)
		return;
	piece->chunk = lane->chunk;
	piece->bytes = lane->chunk->used - lane->sealed;
	begin_merge(lane);
	ahead = sinks->seq - lane->handed;
	for (uint32_t i = 0; ahead && i < piece->n; i++)
		osp_chunk_rec(lane->chunk, piece->first + i)->seq += ahead;
	sinks->seq += lane->seq - lane->handed;
	for (uint32_t i = 0; i < sinks->n; i++) {
		struct osp_inst *inst = sinks->inst[i];

		osp_inst_offer(inst, piece, inst->on_full ? inst->on_full : unset, lane->give_up,
			       lane->give_up_ctx);
	}
	end_merge(lane);
	lane->handed = lane->seq;
	lane->sealed = lane->chunk->used;
	lane->open = (struct osp_piece){ .first = lane->chunk->n };
}

/* A chunk that takes size bytes; NULL: no memory. The one so far is handed over. */
static struct osp_chunk *next_chunk(struct osp_lane *lane, size_t size)
{
	hand_over(lane);
	osp_chunk_put(&lane->sinks->pool, lane->chunk);
	lane->chunk = osp_chunk_get(&lane->sinks->pool, size);
	lane->open = (struct osp_piece){ 0 };
	lane->sealed = 0;
	return lane->chunk;
}

/* Without memory for the record every sink that wanted it has lost it. */
static void lose(struct osp_sinks *sinks, const struct osp_record *rec)
{
	for (uint32_t i = 0; i < sinks->n; i++)
		if (sinks->inst[i]->kinds & OSP_KIND_BIT(rec->kind))
			osp_inst_lose(sinks->inst[i], 1);
}

void osp_lane_offer(void *ctx, const struct osp_record *rec)
{
	struct osp_lane *lane = ctx;
	struct osp_sinks *sinks = lane->sinks;
	struct osp_record *copy = NULL;

	if (!rec->kind || rec->kind >= OSP_REC_KIND_MAX ||
	    !(sinks->kinds & OSP_KIND_BIT(rec->kind))) {
		lane->seq++;
		return;
	}
	if (!sinks->closed) {
		if (lane->chunk)
			copy = osp_chunk_add(lane->chunk, rec);
		if (!copy && next_chunk(lane, osp_record_size(rec)))
			copy = osp_chunk_add(lane->chunk, rec);
	}
	lane->seq++;
	if (!copy) {
		lose(sinks, rec);
		return;
	}
	copy->seq = lane->seq;
	lane->open.n++;
	lane->open.kind_n[rec->kind]++;
}

uint32_t osp_lane_pending(const struct osp_lane *lane)
{
	return lane->open.n;
}

void osp_lane_kick(struct osp_lane *lane)
{
	hand_over(lane);
}

void osp_sinks_offer(void *ctx, const struct osp_record *rec)
{
	osp_lane_offer(&((struct osp_sinks *)ctx)->lane, rec);
}

uint32_t osp_sinks_pending(const struct osp_sinks *sinks)
{
	return sinks->lane.open.n;
}

void osp_sinks_kick(struct osp_sinks *sinks)
{
	hand_over(&sinks->lane);
}

bool osp_sinks_drain(struct osp_sinks *sinks, uint64_t deadline_ns)
{
	bool empty = true;
	uint64_t now;

	hand_over(&sinks->lane);
	for (uint32_t i = 0; i < sinks->n; i++) {
		struct osp_inst *inst = sinks->inst[i];

		pthread_mutex_lock(&inst->lock);
		/* Nobody tells when the sink holds less; look every now and then. */
		while ((inst->cnt.queued || inst->cnt.held) && inst->started &&
		       (now = osp_mono_ns()) < deadline_ns)
			osp_cond_wait_until(&inst->room, &inst->lock,
					    inst->cnt.queued || now + ASK_NS > deadline_ns ?
						    deadline_ns : now + ASK_NS);
		empty = empty && !inst->cnt.queued && !inst->cnt.held;
		pthread_mutex_unlock(&inst->lock);
	}
	return empty;
}

void osp_sinks_reopen(struct osp_sinks *sinks)
{
	for (uint32_t i = 0; i < sinks->n; i++) {
		struct osp_inst *inst = sinks->inst[i];

		pthread_mutex_lock(&inst->lock);
		inst->reopen = true;
		inst->wake = true;
		pthread_cond_signal(&inst->work);
		pthread_mutex_unlock(&inst->lock);
	}
}

bool osp_sinks_gone(struct osp_sinks *sinks)
{
	bool gone = sinks->n > 0;

	for (uint32_t i = 0; i < sinks->n && gone; i++) {
		pthread_mutex_lock(&sinks->inst[i]->lock);
		gone = sinks->inst[i]->gone;
		pthread_mutex_unlock(&sinks->inst[i]->lock);
	}
	return gone;
}

uint32_t osp_sinks_counters(struct osp_sinks *sinks, struct osp_rec_counter *out, uint32_t max)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < sinks->n && max - n >= OSP_SINK_COUNTERS; i++) {
		struct osp_inst *inst = sinks->inst[i];
		struct osp_inst_counters c;

		pthread_mutex_lock(&inst->lock);
		c = inst->cnt;
		pthread_mutex_unlock(&inst->lock);
		/* A sink that says nothing has brought to its destination whatever it took. */
		if (!inst->ops->stats)
			c.acked = c.accepted;
#define OUT(field) out[n++] = (struct osp_rec_counter){ "sinks", #field, inst->label, c.field }
		OUT(offered);
		OUT(accepted);
		OUT(rejected);
		OUT(dropped);
		OUT(queued);
		OUT(acked);
		OUT(lost);
		OUT(held);
		OUT(bytes);
		OUT(retries);
		OUT(reopens);
#undef OUT
	}
	return n;
}

/* ---- end ----------------------------------------------------------------------------------- */

static void ask_to_stop(struct osp_inst *inst, uint64_t stop_ns)
{
	pthread_mutex_lock(&inst->lock);
	inst->stop = true;
	inst->stop_ns = stop_ns;
	inst->wake = true;
	pthread_cond_broadcast(&inst->work);
	pthread_mutex_unlock(&inst->lock);
}

/* Waits for the thread; false: it did not come back in time. Its records are counted now, whatever
 * it may still do with those in its hands.
 */
static bool wait_for_exit(struct osp_inst *inst, uint64_t deadline_ns)
{
	uint64_t rest = 0;
	bool exited;

	pthread_mutex_lock(&inst->lock);
	while (!inst->exited && osp_mono_ns() < deadline_ns)
		osp_cond_wait_until(&inst->room, &inst->lock, deadline_ns);
	exited = inst->exited;
	if (!exited) {
		inst->abandoned = true;
		rest = inst->cnt.queued;
		osp_inst_drop_all_locked(inst);
		inst->cnt.dropped += inst->cnt.queued;
		inst->cnt.queued = 0;
	}
	pthread_mutex_unlock(&inst->lock);
	if (!exited)
		osp_warn("sink %s: does not end; left behind, %llu records dropped", inst->label,
			 (unsigned long long)rest);
	return exited;
}

static void join_thread(struct osp_inst *inst)
{
	pthread_join(inst->thread, NULL);
	inst->started = false;
}

/* Ends a sink that never got its thread. */
static void end_unstarted(struct osp_inst *inst)
{
	pthread_mutex_lock(&inst->lock);
	osp_inst_drop_all_locked(inst);
	pthread_mutex_unlock(&inst->lock);
	osp_inst_close_sink(inst);
}

static bool time_is_over(void *ctx)
{
	return osp_mono_ns() >= *(uint64_t *)ctx;
}

void osp_sinks_close(struct osp_sinks *sinks, uint64_t deadline_ns)
{
	uint64_t now = osp_mono_ns(), left = deadline_ns > now ? deadline_ns - now : 0;
	uint64_t grace = left / 4 < GRACE_NS ? left / 4 : GRACE_NS, half = now + left / 2;

	if (sinks->closed)
		return;
	/* The last piece may wait for room, too, but the sinks need the time as well. */
	osp_sinks_give_up(sinks, time_is_over, &half);
	hand_over(&sinks->lane);
	osp_sinks_give_up(sinks, NULL, NULL);
	sinks->closed = true;
	osp_chunk_put(&sinks->pool, sinks->lane.chunk);
	sinks->lane.chunk = NULL;
	for (uint32_t i = 0; i < sinks->n; i++)
		ask_to_stop(sinks->inst[i], deadline_ns - grace);
	for (uint32_t i = 0; i < sinks->n; i++) {
		struct osp_inst *inst = sinks->inst[i];

		if (!inst->started)
			end_unstarted(inst);
		else if (wait_for_exit(inst, deadline_ns))
			join_thread(inst);
	}
}

/* Joins threads that were left behind and have come back since; false: one has not. */
static bool join_late(struct osp_sinks *sinks)
{
	bool all = true, exited;

	for (uint32_t i = 0; i < sinks->n; i++) {
		struct osp_inst *inst = sinks->inst[i];

		if (!inst->started)
			continue;
		pthread_mutex_lock(&inst->lock);
		exited = inst->exited;
		pthread_mutex_unlock(&inst->lock);
		if (exited) {
			join_thread(inst);
		} else {
			pthread_detach(inst->thread);
			all = false;
		}
	}
	return all;
}

void osp_sinks_free(struct osp_sinks *sinks)
{
	if (!sinks)
		return;
	osp_sinks_close(sinks, osp_mono_ns() + FREE_NS);
	/* A thread that still hangs may come back and touch any of this: the process is ending, so
	 * the memory stays.
	 */
	if (!join_late(sinks))
		return;
	for (uint32_t i = 0; i < sinks->n; i++)
		inst_free(sinks->inst[i]);
	osp_chunk_pool_fini(&sinks->pool);
	pthread_cond_destroy(&sinks->merged);
	pthread_mutex_destroy(&sinks->lock);
	free(sinks);
}
