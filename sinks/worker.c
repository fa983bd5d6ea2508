/* SPDX-License-Identifier: GPL-3.0-or-later */
/* worker.c: a sink's thread: takes pieces from its queue, brings them to the sink, tries again when
 * that fails, and keeps count of every record.
 *
 * Time here is CLOCK_MONOTONIC. After a stop the thread goes on until its queue is empty or stop_ns
 * has passed, with short pauses; what is left then is dropped and counted.
 */
#include "sinks/inst.h"

#include "agent/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* How long a flush of an idle sink may take: new records wait meanwhile. */
#define IDLE_FLUSH_NS 200000000ull
/* Longest pause once the agent is ending. */
#define STOP_PAUSE_NS 50000000ull
/* One warning a sink in this time. */
#define SAY_NS 10000000000ull
/* A destination that has no room is worth a warning when pauses have become this long. */
#define SAY_PAUSE_NS 1000000000ull

static void __attribute__((format(printf, 2, 3))) host_log(int level, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	osp_log(level < OSP_LOG_ERR || level > OSP_LOG_DBG ? OSP_LOG_INFO
							   : (enum osp_log_level)level,
		"%s", line);
}

static uint64_t host_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

const struct osp_host osp_sink_host = {
	.abi = OSP_SINK_ABI,
	.size = sizeof(struct osp_host),
	.log = host_log,
	.json = osp_record_json,
	.now = host_now,
};

static const char *why(int err)
{
	const char *text = strerrordesc_np(err < 0 ? -err : err);

	return text ? text : "unknown error";
}

/* ---- the sink itself ----------------------------------------------------------------------- */

/* A failure, for the operator; at most one line in SAY_NS. */
static void complain(struct osp_inst *inst, const char *what, const char *text)
{
	uint64_t now = osp_mono_ns();

	inst->complained = true;
	if (inst->said_ns && now - inst->said_ns < SAY_NS)
		return;
	inst->said_ns = now;
	osp_warn("sink %s: %s: %s; trying again", inst->label, what, text);
}

static void all_clear(struct osp_inst *inst)
{
	inst->pause_ns = 0;
	if (!inst->complained)
		return;
	inst->complained = false;
	osp_info("sink %s: works again", inst->label);
}

static void read_stats(struct osp_inst *inst, struct osp_sink_stats *st)
{
	*st = (struct osp_sink_stats){ .size = sizeof(*st) };
	if (!inst->sink || !inst->ops->stats)
		return;
	inst->ops->stats(inst->sink, st);
	pthread_mutex_lock(&inst->lock);
	if (!inst->abandoned) {
		inst->cnt.acked = inst->base_acked + st->acked;
		inst->cnt.lost = inst->base_lost + st->lost;
		inst->cnt.held = st->held;
		inst->cnt.bytes = inst->base_bytes + st->bytes;
	}
	pthread_mutex_unlock(&inst->lock);
}

static void set_gone(struct osp_inst *inst, bool gone)
{
	pthread_mutex_lock(&inst->lock);
	inst->gone = gone;
	pthread_mutex_unlock(&inst->lock);
}

int osp_inst_open(struct osp_inst *inst, char *err, size_t err_size)
{
	int ret;

	err[0] = 0;
	inst->sink = NULL;
	ret = inst->ops->open(&osp_sink_host, inst->sink_conf, &inst->sink, err, err_size);
	if (!ret)
		return 0;
	inst->sink = NULL;
	if (!err[0])
		snprintf(err, err_size, "%s", why(ret));
	return ret < 0 ? ret : -EIO;
}

void osp_inst_close_sink(struct osp_inst *inst)
{
	struct osp_sink_stats st;

	if (!inst->sink)
		return;
	/* What the sink holds ends with it. Counted before close(), which may take its time. */
	read_stats(inst, &st);
	inst->base_acked += st.acked;
	inst->base_lost += st.lost + st.held;
	inst->base_bytes += st.bytes;
	pthread_mutex_lock(&inst->lock);
	if (!inst->abandoned) {
		inst->cnt.lost = inst->base_lost;
		inst->cnt.held = 0;
	}
	pthread_mutex_unlock(&inst->lock);
	if (st.held)
		osp_warn("sink %s: %llu records were not confirmed by the end; counted as lost",
			 inst->label, (unsigned long long)st.held);
	inst->ops->close(inst->sink);
	inst->sink = NULL;
	inst->dirty = false;
}

static bool reopen_closed(struct osp_inst *inst)
{
	char err[256];
	int ret = osp_inst_open(inst, err, sizeof(err));

	if (ret) {
		complain(inst, "open", err);
		set_gone(inst, ret == -EPIPE);
		return false;
	}
	pthread_mutex_lock(&inst->lock);
	inst->cnt.reopens++;
	pthread_mutex_unlock(&inst->lock);
	return true;
}

static void broken(struct osp_inst *inst, const char *what, int err)
{
	complain(inst, what, why(err));
	osp_inst_close_sink(inst);
	set_gone(inst, err == -EPIPE);
}

/* SIGHUP, if it was asked for. */
static void reopen_asked(struct osp_inst *inst)
{
	bool asked;
	int err;

	pthread_mutex_lock(&inst->lock);
	asked = inst->reopen;
	inst->reopen = false;
	pthread_mutex_unlock(&inst->lock);
	if (!asked || !inst->sink || !inst->ops->reopen)
		return;
	err = inst->ops->reopen(inst->sink);
	if (err)
		broken(inst, "reopen", err);
}

/* ---- waiting ------------------------------------------------------------------------------- */

static bool out_of_time(struct osp_inst *inst)
{
	bool out;

	pthread_mutex_lock(&inst->lock);
	out = inst->stop && osp_mono_ns() >= inst->stop_ns;
	pthread_mutex_unlock(&inst->lock);
	return out;
}

/* v times 0.75 to 1.25, so that many agents do not come back to one destination together. */
static uint64_t jitter(struct osp_inst *inst, uint64_t v)
{
	inst->rng ^= inst->rng << 13;	/* xorshift, never 0 */
	inst->rng ^= inst->rng >> 17;
	inst->rng ^= inst->rng << 5;
	return v - v / 4 + v / 512 * (inst->rng & 255);
}

/* A pause before the next try, each twice as long as the one before. Ends early when the agent
 * stops or asks for a reopen.
 */
static void pause_before_retry(struct osp_inst *inst)
{
	uint64_t max = inst->conf.retry_max_ns, now = osp_mono_ns(), until;

	inst->pause_ns = inst->pause_ns ? inst->pause_ns * 2 : inst->conf.retry_ns;
	if (inst->pause_ns > max)
		inst->pause_ns = max;
	until = now + jitter(inst, inst->pause_ns);
	pthread_mutex_lock(&inst->lock);
	inst->cnt.retries++;
	for (;;) {
		if (inst->stop && until > now + STOP_PAUSE_NS)
			until = now + STOP_PAUSE_NS;
		if (inst->stop && until > inst->stop_ns)
			until = inst->stop_ns;
		if (inst->wake || osp_mono_ns() >= until)
			break;
		osp_cond_wait_until(&inst->work, &inst->lock, until);
	}
	inst->wake = false;
	pthread_mutex_unlock(&inst->lock);
}

/* ---- records ------------------------------------------------------------------------------- */

/* Moves n records out of "queued". Once abandoned they have been counted as dropped. */
static void settle(struct osp_inst *inst, uint64_t accepted, uint64_t rejected, uint64_t dropped)
{
	pthread_mutex_lock(&inst->lock);
	if (!inst->abandoned) {
		inst->cnt.accepted += accepted;
		inst->cnt.rejected += rejected;
		inst->cnt.dropped += dropped;
		inst->cnt.queued -= accepted + rejected + dropped;
		if (accepted)
			inst->gone = false;
	}
	pthread_mutex_unlock(&inst->lock);
}

static uint32_t fill_view(struct osp_inst *inst, const struct osp_piece *piece)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < piece->n; i++) {
		const struct osp_record *rec = piece->chunk->rec[piece->first + i];

		if (inst->kinds & 1u << rec->kind)
			inst->view[n++] = rec;
	}
	return n;
}

/* One try with records [*at, n) of the view; false: a pause is due. */
static bool write_some(struct osp_inst *inst, uint32_t *at, uint32_t n)
{
	struct osp_batch batch = { inst->view + *at, n - *at };
	struct osp_sink_stats st;
	uint32_t done = 0;
	int err;

	err = inst->ops->write(inst->sink, &batch, &done);
	if (!err || done > batch.n)
		done = batch.n;
	/* What the sink holds is known before it is gone from the queue: osp_sinks_drain() looks. */
	read_stats(inst, &st);
	settle(inst, done, 0, 0);
	*at += done;
	if (done) {
		inst->dirty = true;
		all_clear(inst);
	}
	if ((err == -EBADMSG || err == -EMSGSIZE) && *at < n) {
		settle(inst, 0, 1, 0);
		++*at;
		return true;
	}
	if (!err || *at == n)
		return true;
	if (err != -EAGAIN)
		broken(inst, "write", err);
	else if (inst->pause_ns >= SAY_PAUSE_NS)
		complain(inst, "write", why(st.last_err ? st.last_err : err));
	return false;
}

static void deliver(struct osp_inst *inst, const struct osp_piece *piece)
{
	uint32_t n = fill_view(inst, piece), at = 0;

	while (at < n) {
		reopen_asked(inst);
		if (out_of_time(inst))
			break;
		if ((inst->sink || reopen_closed(inst)) && write_some(inst, &at, n))
			continue;
		pause_before_retry(inst);
	}
	if (at < n)
		settle(inst, 0, 0, n - at);
	pthread_mutex_lock(&inst->lock);
	inst->queue_bytes -= piece->bytes;
	pthread_cond_broadcast(&inst->room);
	pthread_mutex_unlock(&inst->lock);
	osp_chunk_put(inst->pool, piece->chunk);
}

/* The queue is empty: what the sink keeps should reach its destination now. */
static void flush_idle(struct osp_inst *inst)
{
	struct osp_sink_stats st;
	uint64_t until = osp_mono_ns() + IDLE_FLUSH_NS;
	bool stop;
	int err = 0;

	pthread_mutex_lock(&inst->lock);
	stop = inst->stop;
	if (stop)
		until = inst->stop_ns;
	pthread_mutex_unlock(&inst->lock);
	if (inst->sink && inst->ops->flush)
		err = inst->ops->flush(inst->sink, until);
	read_stats(inst, &st);
	inst->flush_ns = 0;
	if (err == -EAGAIN) {
		inst->flush_ns = osp_mono_ns() + IDLE_FLUSH_NS;
		if (stop)
			pause_before_retry(inst);
		return;
	}
	inst->dirty = false;
	if (err)
		broken(inst, "flush", err);
}

/* Waits for something to do. True: *piece is in hand. False: the end. */
static bool next_piece(struct osp_inst *inst, struct osp_piece *piece)
{
	bool flush;

	pthread_mutex_lock(&inst->lock);
	for (;;) {
		uint64_t now = osp_mono_ns();

		if (inst->stop && now >= inst->stop_ns)
			osp_inst_drop_all_locked(inst);
		*piece = osp_inst_pop_locked(inst);
		if (piece->chunk)
			break;
		flush = inst->dirty && (inst->stop || now >= inst->flush_ns);
		if (inst->stop && (!flush || now >= inst->stop_ns))
			break;
		if (inst->reopen || flush) {
			pthread_mutex_unlock(&inst->lock);
			reopen_asked(inst);
			if (flush)
				flush_idle(inst);
			pthread_mutex_lock(&inst->lock);
			continue;
		}
		inst->wake = false;
		if (inst->dirty)
			osp_cond_wait_until(&inst->work, &inst->lock, inst->flush_ns);
		else
			pthread_cond_wait(&inst->work, &inst->lock);
	}
	pthread_mutex_unlock(&inst->lock);
	return piece->chunk != NULL;
}

void *osp_inst_thread(void *arg)
{
	struct osp_inst *inst = arg;
	struct osp_piece piece;

	while (next_piece(inst, &piece))
		deliver(inst, &piece);
	osp_inst_close_sink(inst);
	pthread_mutex_lock(&inst->lock);
	inst->exited = true;
	pthread_cond_broadcast(&inst->room);
	pthread_mutex_unlock(&inst->lock);
	return NULL;
}
