/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_sinks.c: the sink host with sinks that fail in every way the contract allows, and the sinks
 * that come with the agent.
 *
 * The sum offered = accepted + rejected + dropped + queued is checked everywhere, and what a fake
 * sink says it took is compared with what the host counted.
 */
#include "sinks/builtin.h"
#include "sinks/chunk.h"
#include "sinks/host.h"
#include "sinks/inst.h"
#include "sinks/options.h"
#include "bpf/osp_events.h"
#include "agent/base/log.h"
#include "agent/base/opt.h"
#include "tests/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MS 1000000ull

static uint64_t mono(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void nap(uint64_t ns)
{
	struct timespec t = { .tv_sec = (time_t)(ns / 1000000000),
			      .tv_nsec = (long)(ns % 1000000000) };

	nanosleep(&t, NULL);
}

static struct osp_record record(int kind, uint64_t n)
{
	struct osp_record rec;

	memset(&rec, 0, sizeof(rec));
	rec.size = sizeof(rec);
	rec.kind = (uint8_t)kind;
	rec.id[1] = n;
	rec.ts_ns = 1795206016123456789ll;
	if (kind == OSP_REC_TRANSACTION) {
		rec.msg[OSP_REQ].has = OSP_MH_MSG;
		rec.str[OSP_S_METHOD] = osp_slice_str("GET");
		rec.str[OSP_S_TARGET] = osp_slice_str("/some/where?in=the+middle");
	}
	return rec;
}

static void offer(struct osp_sinks *sinks, uint64_t n)
{
	struct osp_record rec = record(OSP_REC_TRANSACTION, 0);

	for (uint64_t i = 0; i < n; i++) {
		rec.id[1] = i;
		osp_sinks_offer(sinks, &rec);
	}
}

struct sums {
	uint64_t offered, accepted, rejected, dropped, queued, reopens, retries, bytes;
};

static struct sums sums_of(struct osp_sinks *sinks, const char *label)
{
	struct osp_rec_counter c[OSP_SINKS_MAX * OSP_SINK_COUNTERS];
	uint32_t n = osp_sinks_counters(sinks, c, OSP_SINKS_MAX * OSP_SINK_COUNTERS);
	struct sums s = { 0 };

	for (uint32_t i = 0; i < n; i++) {
		if (strcmp(c[i].label, label))
			continue;
#define GET(f) s.f = !strcmp(c[i].name, #f) ? c[i].value : s.f
		GET(offered);
		GET(accepted);
		GET(rejected);
		GET(dropped);
		GET(queued);
		GET(reopens);
		GET(retries);
		GET(bytes);
#undef GET
	}
	return s;
}

static bool closes(const struct sums *s)
{
	return s->offered == s->accepted + s->rejected + s->dropped + s->queued;
}

#define SUM_OK(s, n, name)                                                                         \
	ok(closes(&(s)) && (s).offered == (n) && !(s).queued,                                      \
	   "%s: sum closes: %llu = %llu + %llu + %llu + %llu", name,                               \
	   (unsigned long long)(s).offered, (unsigned long long)(s).accepted,                      \
	   (unsigned long long)(s).rejected, (unsigned long long)(s).dropped,                      \
	   (unsigned long long)(s).queued)

/* ---- a sink that does what the test wants ---- */

enum fake_mode { FAKE_OK, FAKE_AGAIN, FAKE_BAD, FAKE_PIPE, FAKE_SLOW, FAKE_HANG, FAKE_RANDOM };

/* What all lives of one fake share. The pointer travels as text in the option "state". */
struct fake_state {
	_Atomic int mode;
	_Atomic uint64_t took, refused, opens, closes, reopens, flushes, disorder, inside;
	_Atomic int open_err;		/* what open() says, while set */
	_Atomic bool hang;		/* FAKE_HANG: until this ends */
	uint64_t last_seq;		/* of what was taken */
	uint32_t rng;
	uint32_t n;			/* calls, for the modes that change their mind */
};

struct fake_conf {
	const char *state;
};

struct osp_sink {
	struct fake_state *st;
};

static const struct osp_opt fake_opts[] = {
	{ "state", OSP_OPT_STR, offsetof(struct fake_conf, state), NULL, 0, 0, NULL, "" },
	{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
};

static int fake_open(const struct osp_host *host, const void *conf, struct osp_sink **out,
		     char *err, size_t err_size)
{
	const struct fake_conf *fake = conf;
	struct osp_sink *sink;
	uint64_t at = 0;

	if (osp_parse_u64(fake->state, &at))
		abort();
	if (((struct fake_state *)(uintptr_t)at)->open_err) {
		snprintf(err, err_size, "told to fail");
		return ((struct fake_state *)(uintptr_t)at)->open_err;
	}
	sink = calloc(1, sizeof(*sink));
	sink->st = (struct fake_state *)(uintptr_t)at;
	sink->st->opens++;
	*out = sink;
	return 0;
}

static void take(struct fake_state *st, const struct osp_batch *batch, uint32_t from, uint32_t n)
{
	for (uint32_t i = from; i < from + n; i++) {
		if (batch->rec[i]->seq <= st->last_seq)
			st->disorder++;
		st->last_seq = batch->rec[i]->seq;
	}
	st->took += n;
}

static uint32_t rnd(struct fake_state *st)
{
	st->rng = st->rng * 1664525u + 1013904223u;
	return st->rng >> 8;
}

static int fake_random(struct fake_state *st, const struct osp_batch *batch, uint32_t *done)
{
	uint32_t some = batch->n ? rnd(st) % (batch->n + 1) : 0;

	switch (rnd(st) % 16) {
	case 0:
		take(st, batch, 0, some);
		*done = some;
		return -EAGAIN;
	case 1:
		take(st, batch, 0, some);
		*done = some;
		return -EPIPE;
	case 2:
	case 3:
	case 4:
		if (some == batch->n)
			some--;
		take(st, batch, 0, some);
		*done = some;
		st->refused++;
		st->last_seq = batch->rec[some]->seq;
		return rnd(st) % 2 ? -EBADMSG : -EMSGSIZE;
	default:
		take(st, batch, 0, batch->n);
		*done = 0;	/* 0 means all, whatever done says */
		return 0;
	}
}

static int fake_write_mode(struct fake_state *st, const struct osp_batch *batch, uint32_t *done)
{
	uint32_t n = batch->n;

	st->n++;
	switch (st->mode) {
	case FAKE_AGAIN:	/* one record a call, every other call none */
		*done = st->n % 2;
		take(st, batch, 0, *done);
		return n == *done ? 0 : -EAGAIN;
	case FAKE_BAD:		/* every third record can't be taken */
		for (uint32_t i = 0; i < n; i++) {
			if (batch->rec[i]->seq % 3 == 0) {
				st->refused++;
				*done = i;
				return -EBADMSG;
			}
			take(st, batch, i, 1);
		}
		*done = n;
		return 0;
	case FAKE_PIPE:		/* breaks after half, once a life */
		*done = n / 2;
		take(st, batch, 0, n / 2);
		st->mode = FAKE_OK;
		return -EPIPE;
	case FAKE_SLOW:
		nap(20 * MS);
		break;
	case FAKE_HANG:
		while (st->hang)
			nap(MS);
		break;
	case FAKE_RANDOM:
		return fake_random(st, batch, done);
	}
	take(st, batch, 0, n);
	*done = n;
	return 0;
}

static int fake_write(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done)
{
	struct fake_state *st = sink->st;
	sigset_t mask;
	int err;

	if (st->inside++)
		st->disorder++;
	if (!batch->n || batch->n > OSP_CHUNK_RECS)
		st->disorder++;
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	if (!sigismember(&mask, SIGTERM) || !sigismember(&mask, SIGPIPE))
		st->disorder++;
	err = fake_write_mode(st, batch, done);
	st->inside--;
	return err;
}

static int fake_flush(struct osp_sink *sink, uint64_t deadline_ns)
{
	sink->st->flushes++;
	return 0;
}

static int fake_reopen(struct osp_sink *sink)
{
	sink->st->reopens++;
	return 0;
}

static void fake_close(struct osp_sink *sink)
{
	sink->st->closes++;
	free(sink);
}

static const struct osp_sink_ops fake_ops = {
	.abi = OSP_SINK_ABI,
	.size = sizeof(struct osp_sink_ops),
	.name = "fake",
	.opts = fake_opts,
	.conf_size = sizeof(struct fake_conf),
	.open = fake_open,
	.write = fake_write,
	.flush = fake_flush,
	.reopen = fake_reopen,
	.close = fake_close,
};

static struct osp_sinks *new_sinks(void)
{
	struct osp_sinks *sinks = NULL;

	if (osp_sinks_new(&sinks))
		abort();
	return sinks;
}

/* Adds a fake; options are added to its state. */
static void add_fake(struct osp_sinks *sinks, struct fake_state *st, int mode, const char *options)
{
	char text[256], err[256];

	st->mode = mode;
	st->rng = 12345;
	snprintf(text, sizeof(text), "state=%llu,retry=1ms,retry_max=4ms,%s",
		 (unsigned long long)(uintptr_t)st, options);
	if (osp_sinks_add_ops(sinks, &fake_ops, 0, text, err, sizeof(err))) {
		printf("# %s\n", err);
		abort();
	}
}

static void open_all(struct osp_sinks *sinks)
{
	char err[256] = "";

	if (osp_sinks_open(sinks, err, sizeof(err))) {
		printf("# %s\n", err);
		abort();
	}
}

/* For sinks that fail until the deadline: on a busy machine their threads may come back after it,
 * and what such a thread holds is only freed when it has ended.
 */
static void free_late(struct osp_sinks *sinks)
{
	nap(300 * MS);
	osp_sinks_free(sinks);
}

static void close_in(struct osp_sinks *sinks, uint64_t ns)
{
	osp_sinks_close(sinks, mono() + ns);
}

/* ---- one sink ---- */

static void run_mode(int mode, uint64_t n, const char *name, struct fake_state *st, struct sums *s)
{
	struct osp_sinks *sinks = new_sinks();

	add_fake(sinks, st, mode, "queue=1G");
	open_all(sinks);
	offer(sinks, n);
	eq_int(osp_sinks_pending(sinks) > 0, 1, "%s: a piece waits for the kick", name);
	osp_sinks_kick(sinks);
	eq_int(osp_sinks_pending(sinks), 0, "%s: and is gone after it", name);
	ok(osp_sinks_drain(sinks, mono() + 20000 * MS), "%s: drained", name);
	close_in(sinks, 5000 * MS);
	*s = sums_of(sinks, "fake");
	SUM_OK(*s, n, name);
	eq_int(s->accepted, st->took, "%s: accepted is what the sink took", name);
	eq_int(s->rejected, st->refused, "%s: rejected is what it refused", name);
	eq_int(s->dropped, 0, "%s: nothing dropped", name);
	eq_int(st->disorder, 0, "%s: in order, one call at a time, signals blocked", name);
	eq_int(st->closes, st->opens, "%s: closed as often as opened", name);
	osp_sinks_free(sinks);
}

static void test_modes(void)
{
	struct fake_state st[6] = { 0 };
	struct sums s;

	run_mode(FAKE_OK, 5000, "good", &st[0], &s);
	ok(st[0].flushes > 0, "flushed when idle");
	run_mode(FAKE_AGAIN, 40, "again", &st[1], &s);
	ok(s.retries >= 40, "again: a pause after each");
	run_mode(FAKE_BAD, 3000, "bad records", &st[2], &s);
	eq_int(s.rejected, 1000, "bad records: each rejected once");
	run_mode(FAKE_PIPE, 1000, "broken once", &st[3], &s);
	eq_int(st[3].opens, 2, "broken once: opened again");
	eq_int(s.reopens, 1, "broken once: counted");
	eq_int(s.accepted, 1000, "broken once: nothing lost");
}

static void test_random(void)
{
	struct osp_sinks *sinks = new_sinks();
	struct fake_state st[2] = { 0 };
	struct sums s;

	add_fake(sinks, &st[0], FAKE_RANDOM, "on_full=block");
	add_fake(sinks, &st[1], FAKE_RANDOM, "queue=2M");
	st[1].rng = 777;
	open_all(sinks);
	for (int i = 0; i < 200; i++) {
		offer(sinks, 1000);
		if (i % 3)
			osp_sinks_kick(sinks);
		s = sums_of(sinks, "fake#2");
		if (!closes(&s))
			ok(0, "random: a reading in between that does not add up");
	}
	close_in(sinks, 20000 * MS);
	s = sums_of(sinks, "fake");
	SUM_OK(s, 200000, "random, blocking");
	eq_int(s.dropped, 0, "random, blocking: nothing dropped");
	eq_int(s.accepted, st[0].took, "random, blocking: accepted is taken");
	eq_int(s.rejected, st[0].refused, "random, blocking: rejected is refused");
	ok(s.rejected && s.reopens && s.retries, "random: every fault came");
	s = sums_of(sinks, "fake#2");
	SUM_OK(s, 200000, "random, dropping");
	eq_int(s.accepted, st[1].took, "random, dropping: accepted is taken");
	eq_int(s.rejected, st[1].refused, "random, dropping: rejected is refused");
	eq_int(st[0].disorder + st[1].disorder, 0, "random: in order");
	osp_sinks_free(sinks);
}

/* ---- several sinks, full queues ---- */

static void test_slow_beside_quick(void)
{
	struct osp_sinks *sinks = new_sinks();
	struct fake_state slow = { 0 }, quick = { 0 };
	struct sums s;
	uint64_t began = mono(), took;

	slow.hang = true;
	add_fake(sinks, &slow, FAKE_HANG, "queue=2M");
	add_fake(sinks, &quick, FAKE_OK, "on_full=block");
	open_all(sinks);
	offer(sinks, 20000);
	osp_sinks_kick(sinks);
	for (int i = 0; i < 5000 && quick.took < 20000; i++)
		nap(MS);
	took = mono() - began;
	eq_int(quick.took, 20000, "the quick one has all while the other hangs");
	s = sums_of(sinks, "fake");
	ok(closes(&s) && s.queued > 0 && s.dropped > 0, "the hanging one queues and drops");
	ok(s.queued < 3000, "its queue is bounded: %llu", (unsigned long long)s.queued);
	ok(took < 10000 * MS, "in %llu ms", (unsigned long long)(took / MS));
	slow.hang = false;
	close_in(sinks, 5000 * MS);
	s = sums_of(sinks, "fake");
	SUM_OK(s, 20000, "slow");
	eq_int(s.accepted, slow.took, "slow: accepted is taken");
	ok(slow.last_seq < 20000, "drop-new: the newest are missing");
	osp_sinks_free(sinks);
}

static void test_drop_old(void)
{
	struct osp_sinks *sinks = new_sinks();
	struct fake_state st = { 0 };
	struct sums s;

	st.hang = true;
	add_fake(sinks, &st, FAKE_HANG, "queue=2M,on_full=drop-old");
	open_all(sinks);
	offer(sinks, 20000);
	osp_sinks_kick(sinks);
	s = sums_of(sinks, "fake");
	ok(closes(&s) && s.dropped > 0 && s.queued > 0, "drop-old: drops and queues");
	st.hang = false;
	close_in(sinks, 5000 * MS);
	s = sums_of(sinks, "fake");
	SUM_OK(s, 20000, "drop-old");
	eq_int(st.last_seq, 20000, "drop-old: the newest are there");
	eq_int(s.accepted, st.took, "drop-old: accepted is taken");
	osp_sinks_free(sinks);
}

static bool after_three(void *ctx)
{
	return ++*(int *)ctx > 3;
}

static void test_block(void)
{
	struct osp_sinks *sinks = new_sinks();
	struct fake_state st = { 0 };
	struct sums s;
	int asked = 0;

	add_fake(sinks, &st, FAKE_SLOW, "queue=2M");
	osp_sinks_block(sinks, true);
	open_all(sinks);
	offer(sinks, 10000);
	close_in(sinks, 10000 * MS);
	s = sums_of(sinks, "fake");
	SUM_OK(s, 10000, "block");
	eq_int(s.accepted, 10000, "block: all arrive");
	osp_sinks_free(sinks);

	sinks = new_sinks();
	memset(&st, 0, sizeof(st));
	st.hang = true;
	add_fake(sinks, &st, FAKE_HANG, "queue=2M,on_full=block");
	osp_sinks_give_up(sinks, after_three, &asked);
	open_all(sinks);
	offer(sinks, 10000);
	ok(asked > 3, "block: gives up when told to");
	st.hang = false;
	close_in(sinks, 5000 * MS);
	s = sums_of(sinks, "fake");
	SUM_OK(s, 10000, "give up");
	ok(s.dropped > 0, "give up: the rest is dropped");
	osp_sinks_free(sinks);
}

/* Left behind for good: must outlive the test. */
static struct fake_state hung;

static void test_hang_at_close(void)
{
	struct osp_sinks *sinks = new_sinks();
	static struct fake_state fine;
	uint64_t began, took;
	struct sums s;

	hung.hang = true;
	add_fake(sinks, &hung, FAKE_HANG, "");
	add_fake(sinks, &fine, FAKE_OK, "");
	open_all(sinks);
	offer(sinks, 3000);
	began = mono();
	close_in(sinks, 300 * MS);
	took = mono() - began;
	ok(took < 1300 * MS, "close keeps to its deadline of 300 ms: %llu ms",
	   (unsigned long long)(took / MS));
	s = sums_of(sinks, "fake");
	SUM_OK(s, 3000, "hung");
	eq_int(s.dropped, 3000, "hung: all dropped");
	s = sums_of(sinks, "fake#2");
	eq_int(s.accepted, 3000, "the other one got all");
	/* It comes back after all: nothing may change, nothing may crash. */
	hung.hang = false;
	for (int i = 0; i < 2000 && !hung.closes; i++)
		nap(MS);
	s = sums_of(sinks, "fake");
	SUM_OK(s, 3000, "hung, back again");
	eq_int(s.dropped, 3000, "hung, back again: counters are final");
	free_late(sinks);
}

static void test_down_at_close(void)
{
	struct osp_sinks *sinks = new_sinks();
	struct fake_state st = { .open_err = -EAGAIN };
	struct sums s;
	uint64_t began, took;

	add_fake(sinks, &st, FAKE_OK, "");
	open_all(sinks);
	offer(sinks, 3000);
	osp_sinks_kick(sinks);
	began = mono();
	close_in(sinks, 200 * MS);
	took = mono() - began;
	ok(took < 1200 * MS, "a sink that never opened does not hold the end");
	s = sums_of(sinks, "fake");
	SUM_OK(s, 3000, "never opened");
	eq_int(s.dropped, 3000, "never opened: dropped");
	free_late(sinks);

	sinks = new_sinks();
	memset(&st, 0, sizeof(st));
	st.open_err = -EAGAIN;
	add_fake(sinks, &st, FAKE_OK, "");
	open_all(sinks);
	offer(sinks, 3000);
	osp_sinks_kick(sinks);
	nap(20 * MS);
	st.open_err = 0;
	ok(osp_sinks_drain(sinks, mono() + 5000 * MS), "opens later: drained");
	s = sums_of(sinks, "fake");
	eq_int(s.accepted, 3000, "opens later: nothing lost");
	close_in(sinks, 1000 * MS);
	osp_sinks_free(sinks);
}

static void test_gone(void)
{
	struct osp_sinks *sinks = new_sinks();
	struct fake_state st = { 0 };

	ok(!osp_sinks_gone(sinks), "no sinks: not gone");
	add_fake(sinks, &st, FAKE_PIPE, "");
	open_all(sinks);
	ok(!osp_sinks_gone(sinks), "open: not gone");
	st.open_err = -EPIPE;
	offer(sinks, 10);
	osp_sinks_kick(sinks);
	for (int i = 0; i < 2000 && !osp_sinks_gone(sinks); i++)
		nap(MS);
	ok(osp_sinks_gone(sinks), "broken pipe: gone");
	st.open_err = 0;
	st.mode = FAKE_OK;
	osp_sinks_drain(sinks, mono() + 2000 * MS);
	ok(!osp_sinks_gone(sinks), "taken again: not gone");
	osp_sinks_reopen(sinks);
	for (int i = 0; i < 2000 && !st.reopens; i++)
		nap(MS);
	eq_int(st.reopens, 1, "reopen reaches an idle sink");
	osp_sinks_free(sinks);
}

static void test_kinds(void)
{
	struct osp_sinks *sinks = new_sinks();
	struct fake_state some = { 0 }, all = { 0 };
	struct osp_record txn = record(OSP_REC_TRANSACTION, 1);
	struct osp_record conn = record(OSP_REC_CONNECTION, 2);
	struct osp_record led = record(OSP_REC_LEDGER, 3), odd = record(9, 4);
	struct sums s;

	add_fake(sinks, &some, FAKE_OK, "kind=ledger+connection");
	add_fake(sinks, &all, FAKE_OK, "");
	open_all(sinks);
	for (int i = 0; i < 100; i++) {
		osp_sinks_offer(sinks, &txn);
		osp_sinks_offer(sinks, &conn);
	}
	osp_sinks_offer(sinks, &led);
	osp_sinks_offer(sinks, &odd);
	close_in(sinks, 2000 * MS);
	s = sums_of(sinks, "fake");
	SUM_OK(s, 101, "only its kinds are offered");
	eq_int(some.took, 101, "and arrive");
	s = sums_of(sinks, "fake#2");
	SUM_OK(s, 201, "all kinds");
	eq_int(all.last_seq, 201, "seq counts all");
	osp_sinks_offer(sinks, &txn);
	s = sums_of(sinks, "fake#2");
	SUM_OK(s, 202, "after close: offered and dropped");
	osp_sinks_free(sinks);
}

static void test_huge_record(void)
{
	struct osp_sinks *sinks = new_sinks();
	struct fake_state st = { 0 };
	struct osp_record rec = record(OSP_REC_TRANSACTION, 1);
	size_t n = 5 << 20;
	char *body = calloc(1, n);
	struct sums s;

	add_fake(sinks, &st, FAKE_OK, "queue=2M,on_full=block");
	open_all(sinks);
	rec.str[OSP_S_RES_BODY] = osp_slice(body, n);
	offer(sinks, 3);
	osp_sinks_offer(sinks, &rec);
	offer(sinks, 3);
	osp_sinks_offer(sinks, &rec);
	close_in(sinks, 5000 * MS);
	s = sums_of(sinks, "fake");
	SUM_OK(s, 8, "records larger than a chunk and than the queue");
	eq_int(st.took, 8, "arrive in order with the others");
	eq_int(st.disorder, 0, "order");
	osp_sinks_free(sinks);
	free(body);
}

/* Pieces that follow each other are joined; others must not be. */
static void test_queue_joins(void)
{
	static const struct { uint32_t first, n; } add[] = { { 0, 10 }, { 10, 5 }, { 20, 5 }, { 25, 1 } };
	struct osp_chunk_pool pool;
	struct osp_inst inst = { .pool = &pool, .kinds = OSP_KINDS_ALL };
	struct osp_chunk *chunk;
	struct osp_piece piece;

	if (osp_chunk_pool_init(&pool) || osp_inst_init_queue(&inst))
		abort();
	inst.conf.queue_bytes = 1000;
	chunk = osp_chunk_get(&pool, 1);
	for (size_t i = 0; i < sizeof(add) / sizeof(add[0]); i++) {
		piece = (struct osp_piece){ .chunk = chunk, .first = add[i].first, .n = add[i].n };
		piece.kind_n[OSP_REC_TRANSACTION] = add[i].n;
		piece.bytes = add[i].n;
		osp_inst_offer(&inst, &piece, OSP_FULL_DROP_NEW, NULL, NULL);
	}
	eq_int(inst.count, 2, "four pieces with one hole are two");
	eq_int(inst.cnt.queued, 21, "all queued");
	piece = osp_inst_pop_locked(&inst);
	ok(piece.first == 0 && piece.n == 15 && piece.bytes == 15 && osp_inst_wants(&inst, &piece) == 15,
	   "the first up to the hole");
	osp_chunk_put(&pool, piece.chunk);
	piece = osp_inst_pop_locked(&inst);
	ok(piece.first == 20 && piece.n == 6, "the second behind it");
	osp_chunk_put(&pool, piece.chunk);
	osp_chunk_put(&pool, chunk);
	eq_int(pool.spare_n, 1, "the chunk is free again");
	osp_inst_fini_queue(&inst);
	osp_chunk_pool_fini(&pool);
}

/* ---- options ---- */

static void refused(const char *spec, int want, const char *text)
{
	struct osp_sinks *sinks = new_sinks();
	char err[512] = "";
	int ret = osp_sinks_add(sinks, spec, err, sizeof(err));

	ok(ret == want && strstr(err, text) && !strchr(err, '\n'), "%s: %d %s", spec, ret, err);
	osp_sinks_free(sinks);
}

static void test_specs(void)
{
	struct osp_sinks *sinks = new_sinks();
	char err[256];

	refused("kafak", -ENOENT, "no sink \"kafak\"; there are: console, jsonl, csv,");
	refused("", -ENOENT, "no sink");
	refused("jsonl:pth=/x", -EINVAL, "no option \"pth\"; there are: path, mode, append, rotate");
	refused("jsonl:path", -EINVAL, "\"path\" is not key=value");
	refused("jsonl:=x", -EINVAL, "not key=value");
	refused("jsonl:queue=5X", -EINVAL, "not a size");
	refused("jsonl:queue=1K", -EINVAL, "out of range");
	refused("jsonl:queue=99999999999999999999G", -EINVAL, "out of range");
	refused("null:on_full=wait", -EINVAL, "not auto|drop-new|drop-old|block");
	refused("null:kind=transaction+", -EINVAL, "kind=transaction+");
	refused("null:kind=", -EINVAL, "kind=");
	refused("console:verbose=maybe", -EINVAL, "not yes or no");
	refused("null:retry=-1s", -EINVAL, "not a time");
	ok(!osp_sinks_add(sinks, "null", err, sizeof(err)), "a bare name");
	ok(!osp_sinks_add(sinks, "null:", err, sizeof(err)), "nothing behind the colon");
	ok(!osp_sinks_add(sinks, "null:queue=4M,on_full=drop-old,", err, sizeof(err)), "options");
	ok(!osp_sinks_add(sinks, "null:kind=ledger", err, sizeof(err)), "kind");
	for (int i = 4; i < OSP_SINKS_MAX; i++)
		osp_sinks_add(sinks, "null", err, sizeof(err));
	eq_int(osp_sinks_add(sinks, "null", err, sizeof(err)), -E2BIG, "one too many");
	osp_sinks_free(sinks);
	osp_sinks_free(NULL);
}

struct all_types {
	const char *str, *pairs;
	int flag, word;
	int64_t num;
	uint64_t size, time;
};

static void test_options(void)
{
	static const struct osp_opt opts[] = {
		{ "str", OSP_OPT_STR, offsetof(struct all_types, str), "d", 0, 0, NULL, "" },
		{ "flag", OSP_OPT_BOOL, offsetof(struct all_types, flag), "yes", 0, 0, NULL, "" },
		{ "num", OSP_OPT_INT, offsetof(struct all_types, num), "-3", -5, 5, NULL, "" },
		{ "size", OSP_OPT_SIZE, offsetof(struct all_types, size), "1K", 0, 0, NULL, "" },
		{ "time", OSP_OPT_TIME, offsetof(struct all_types, time), "2", 0, 0, NULL, "" },
		{ "word", OSP_OPT_ENUM, offsetof(struct all_types, word), "b", 0, 0, "a|b|cc", "" },
		{ "x.", OSP_OPT_PAIRS, offsetof(struct all_types, pairs), NULL, 0, 0, NULL, "" },
		{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
	};
	struct all_types v = { 0 };
	struct osp_opt_set set = { opts, &v };
	char text[] = "str=a\\,b\\\\c=d,flag=off,num=5,size=3M,time=7ms,word=cc,x.one=1,x.two=2=2";
	char bad[] = "num=6", err[256];

	ok(!osp_opts_parse(&set, 1, NULL, err, sizeof(err)), "defaults");
	ok(!strcmp(v.str, "d") && v.flag == 1 && v.num == -3 && v.size == 1024 &&
	   v.time == 2000000000 && v.word == 1 && !v.pairs, "defaults are set");
	ok(!osp_opts_parse(&set, 1, text, err, sizeof(err)), "all types");
	eq_str(v.str, "a,b\\c=d", "a comma and a backslash in a value");
	ok(v.flag == 0 && v.num == 5 && v.size == 3 << 20 && v.time == 7 * MS && v.word == 2,
	   "values");
	eq_str(v.pairs, "one=1\ntwo=2=2\n", "pairs");
	eq_int(osp_opts_parse(&set, 1, bad, err, sizeof(err)), -EINVAL, "out of range");
	eq_str(err, "num=6 is out of range (-5 to 5)", "says the range");
	osp_opts_fini(&set, 1);
	ok(!v.pairs, "pairs are freed");
}

static void test_values(void)
{
	uint64_t u = 7;
	int64_t i = 7;
	uint32_t o = 7;

	ok(!osp_parse_u64("18446744073709551615", &u) && u == UINT64_MAX, "largest u64");
	eq_int(osp_parse_u64("18446744073709551616", &u), -ERANGE, "one more");
	eq_int(osp_parse_u64("", &u), -EINVAL, "empty");
	eq_int(osp_parse_u64(" 1", &u), -EINVAL, "a blank");
	eq_int(osp_parse_u64("+1", &u), -EINVAL, "a sign");
	eq_int(osp_parse_u64("1x", &u), -EINVAL, "garbage");
	ok(!osp_parse_i64("-9223372036854775808", &i) && i == INT64_MIN, "smallest i64");
	eq_int(osp_parse_i64("9223372036854775808", &i), -ERANGE, "too large for i64");
	eq_int(osp_parse_i64("-", &i), -EINVAL, "a sign alone");
	ok(!osp_parse_octal("0640", &o) && o == 0640, "octal");
	eq_int(osp_parse_octal("0680", &o), -EINVAL, "not octal");
	eq_int(osp_parse_size("17179869184G", &u), -ERANGE, "a size too large");
	eq_int(osp_parse_size("1KB", &u), -EINVAL, "KB is not K");
	ok(!osp_parse_time("90m", &u) && u == 5400000000000ull, "minutes");
	eq_int(osp_parse_time("1d", &u), -EINVAL, "days are not known");
}

/* ---- jsonl ---- */

static char dir[] = "/tmp/osp-test-XXXXXX";

static const char *path_of(const char *name)
{
	static char path[32][128];
	static int i;

	i = (i + 1) % 32;
	snprintf(path[i], sizeof(path[i]), "%s/%s", dir, name);
	return path[i];
}

static char *slurp(const char *path, size_t *n)
{
	static char buf[8 << 20];
	int fd = open(path, O_RDONLY);
	ssize_t got = fd < 0 ? 0 : read(fd, buf, sizeof(buf) - 1);

	if (fd >= 0)
		close(fd);
	buf[got > 0 ? got : 0] = 0;
	if (n)
		*n = got > 0 ? (size_t)got : 0;
	return buf;
}

static void spew(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fd);
}

/* Whole lines that are one record each; -1 if anything else is in the file. */
static int count_lines(const char *path)
{
	static const char head[] = "{\"schema\":\"osprey/1\"";
	char *p = slurp(path, NULL), *nl;
	int n = 0;

	for (; (nl = strchr(p, '\n')); p = nl + 1, n++) {
		if (strncmp(p, head, sizeof(head) - 1) || nl[-1] != '}')
			return -1;
		*nl = 0;
		if (strstr(p + 1, head))
			return -1;
	}
	return *p ? -1 : n;
}

static struct osp_sinks *with(const char *fmt, const char *path)
{
	struct osp_sinks *sinks = new_sinks();
	char spec[256], err[256];

	snprintf(spec, sizeof(spec), fmt, path);
	if (osp_sinks_add(sinks, spec, err, sizeof(err))) {
		printf("# %s\n", err);
		abort();
	}
	return sinks;
}

static void run_jsonl(const char *fmt, const char *path, uint64_t n)
{
	struct osp_sinks *sinks = with(fmt, path);

	open_all(sinks);
	offer(sinks, n);
	close_in(sinks, 5000 * MS);
	osp_sinks_free(sinks);
}

static void test_jsonl(void)
{
	const char *path = path_of("a.jsonl");
	struct osp_sinks *sinks;
	struct stat st;
	struct sums s;
	size_t n;
	char err[256];

	run_jsonl("jsonl:path=%s", path, 3000);
	eq_int(count_lines(path), 3000, "jsonl: a line a record");
	ok(!stat(path, &st) && (st.st_mode & 0777) == 0600, "jsonl: 0600");
	run_jsonl("jsonl:path=%s", path, 10);
	eq_int(count_lines(path), 3010, "jsonl: appends");
	run_jsonl("jsonl:path=%s,append=no", path, 7);
	eq_int(count_lines(path), 7, "jsonl: append=no");
	umask(077);
	run_jsonl("jsonl:path=%s,mode=0644", path_of("b.jsonl"), 1);
	ok(!stat(path_of("b.jsonl"), &st) && (st.st_mode & 0777) == 0644, "jsonl: mode");

	sinks = with("jsonl:path=%s", dir);
	ok(osp_sinks_open(sinks, err, sizeof(err)) == -EISDIR && strstr(err, "is a directory"),
	   "jsonl: %s", err);
	osp_sinks_free(sinks);
	sinks = with("jsonl:path=%s", "/nonexistent/x");
	ok(osp_sinks_open(sinks, err, sizeof(err)) == -ENOENT && strstr(err, "/nonexistent/x"),
	   "jsonl: %s", err);
	osp_sinks_free(sinks);
	sinks = with("jsonl:path=%s,mode=99", path);
	ok(osp_sinks_open(sinks, err, sizeof(err)) == -EINVAL && strstr(err, "octal"),
	   "jsonl: %s", err);
	osp_sinks_free(sinks);

	sinks = with("jsonl:path=%s,append=no", path);
	open_all(sinks);
	offer(sinks, 100);
	osp_sinks_drain(sinks, mono() + 2000 * MS);
	rename(path, path_of("moved"));
	osp_sinks_reopen(sinks);
	for (int i = 0; i < 2000 && stat(path, &st); i++)
		nap(MS);
	offer(sinks, 50);
	close_in(sinks, 2000 * MS);
	s = sums_of(sinks, "jsonl");
	slurp(path, &n);
	ok(s.bytes > n && n > 0, "jsonl: bytes are counted over a reopen");
	eq_int(count_lines(path_of("moved")), 100, "jsonl: reopen leaves the old file whole");
	eq_int(count_lines(path), 50, "jsonl: and goes on in a new one");
	osp_sinks_free(sinks);
}

static void test_jsonl_tail(void)
{
	const char *path = path_of("tail");
	char *big = malloc(20000);

	run_jsonl("jsonl:path=%s,append=no", path, 2);
	{
		int fd = open(path, O_WRONLY | O_APPEND);

		if (write(fd, "{\"schema\":\"osprey/1\",\"kind\":\"tr", 31) != 31)
			abort();
		close(fd);
	}
	run_jsonl("jsonl:path=%s", path, 3);
	eq_int(count_lines(path), 5, "a cut line of ours is removed");
	spew(path, "{\"sch");
	run_jsonl("jsonl:path=%s", path, 1);
	eq_int(count_lines(path), 1, "also when it is all there is");
	memset(big, 'x', 19999);
	big[19999] = 0;
	memcpy(big, "one\n{\"schema\":\"osprey/1\"", 24);
	spew(path, big);
	run_jsonl("jsonl:path=%s", path, 1);
	ok(!strncmp(slurp(path, NULL), "one\n{\"schema\"", 13) && strlen(slurp(path, NULL)) < 2000,
	   "also a long one, back to the line before");
	spew(path, "some text of others");
	run_jsonl("jsonl:path=%s", path, 1);
	ok(!strncmp(slurp(path, NULL), "some text of others\n{\"schema\"", 29),
	   "a foreign last line is ended, not removed");
	free(big);
}

static void test_jsonl_full(void)
{
	struct osp_sinks *sinks = with("jsonl:path=%s,retry=1ms,retry_max=2ms", "/dev/full");
	struct sums s;

	open_all(sinks);
	offer(sinks, 500);
	osp_sinks_kick(sinks);
	nap(30 * MS);
	s = sums_of(sinks, "jsonl");
	ok(closes(&s) && s.queued == 500 && s.retries > 2, "a full device: kept and tried again");
	close_in(sinks, 200 * MS);
	s = sums_of(sinks, "jsonl");
	SUM_OK(s, 500, "a full device");
	eq_int(s.dropped, 500, "a full device: all dropped in the end");
	free_late(sinks);
}

/* A pipe whose reader takes a little at a time: every write is short somewhere. */
static void *dribble(void *arg)
{
	int *fds = arg, out = open(path_of("dribble"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
	char buf[1000];
	ssize_t n;

	while ((n = read(fds[0], buf, sizeof(buf))) > 0)
		if (write(out, buf, (size_t)n) != n)
			abort();
	close(out);
	return NULL;
}

/* Runs fn with fd as stdout. */
static int swap_stdout(int fd)
{
	int saved;

	fflush(stdout);
	saved = dup(STDOUT_FILENO);
	dup2(fd, STDOUT_FILENO);
	return saved;
}

static void restore_stdout(int saved)
{
	dup2(saved, STDOUT_FILENO);
	close(saved);
}

static void test_jsonl_pipe(void)
{
	struct osp_sinks *sinks;
	pthread_t reader;
	struct sums s;
	int fds[2], saved;

	if (pipe(fds))
		abort();
	fcntl(fds[1], F_SETPIPE_SZ, 4096);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	saved = swap_stdout(fds[1]);
	sinks = with("jsonl:%s", "retry=1ms,on_full=block");
	open_all(sinks);
	restore_stdout(saved);
	close(fds[1]);
	pthread_create(&reader, NULL, dribble, fds);
	offer(sinks, 3000);
	close_in(sinks, 10000 * MS);
	s = sums_of(sinks, "jsonl");
	osp_sinks_free(sinks);
	pthread_join(reader, NULL);
	close(fds[0]);
	eq_int(s.accepted, 3000, "a narrow pipe: all taken");
	eq_int(count_lines(path_of("dribble")), 3000, "a narrow pipe: lines are whole");

	/* No reader at all while we write: the cut line must go on where it stopped. */
	if (pipe(fds))
		abort();
	fcntl(fds[1], F_SETPIPE_SZ, 4096);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	saved = swap_stdout(fds[1]);
	sinks = with("jsonl:%s", "retry=1ms,retry_max=1ms");
	open_all(sinks);
	restore_stdout(saved);
	close(fds[1]);
	offer(sinks, 200);
	osp_sinks_kick(sinks);
	for (int i = 0; i < 400 && !sums_of(sinks, "jsonl").accepted; i++)
		nap(25 * MS);
	s = sums_of(sinks, "jsonl");
	ok(closes(&s) && s.accepted > 0 && s.queued > 0, "a stopped reader: some lines are out");
	pthread_create(&reader, NULL, dribble, fds);
	close_in(sinks, 5000 * MS);
	osp_sinks_free(sinks);
	pthread_join(reader, NULL);
	close(fds[0]);
	eq_int(count_lines(path_of("dribble")), 200, "a stopped reader: none twice, none cut");
}

static void test_jsonl_epipe(void)
{
	struct osp_sinks *sinks;
	struct sums s;
	int fds[2], saved;
	bool gone;

	if (pipe(fds))
		abort();
	saved = swap_stdout(fds[1]);
	sinks = with("jsonl:%s", "retry=1ms,retry_max=2ms");
	open_all(sinks);
	close(fds[0]);
	offer(sinks, 10);
	osp_sinks_kick(sinks);
	for (int i = 0; i < 2000 && !osp_sinks_gone(sinks); i++)
		nap(MS);
	gone = osp_sinks_gone(sinks);
	close_in(sinks, 100 * MS);
	restore_stdout(saved);
	close(fds[1]);
	s = sums_of(sinks, "jsonl");
	ok(gone, "stdout without a reader: gone, and no SIGPIPE");
	SUM_OK(s, 10, "stdout without a reader");
	free_late(sinks);
}

/* ---- console ---- */

static void console_txn(struct osp_record *rec)
{
	*rec = record(OSP_REC_TRANSACTION, 1);
	rec->proc.has = OSP_PH_PID;
	rec->proc.pid = 4242;
	rec->str[OSP_S_COMM] = osp_slice_str("nginx");
	rec->str[OSP_S_HOST] = osp_slice_str("example.test");
	rec->conn.has = OSP_CH_TUPLE;
	rec->conn.role = OSP_ROLE_SERVER;
	rec->conn.client[10] = rec->conn.client[11] = 0xff;
	rec->conn.client[12] = 10;
	rec->conn.client[15] = 7;
	rec->conn.client_port = 51234;
	rec->msg[OSP_REQ].has |= OSP_MH_BODY;
	rec->msg[OSP_RES].has = OSP_MH_MSG | OSP_MH_STATUS | OSP_MH_BODY;
	rec->msg[OSP_RES].status = 200;
	rec->msg[OSP_RES].body_bytes = 5005;
	rec->has_timing = 2;
	rec->duration_ns = 1300000;
}

static char *console(const char *options, struct osp_record *rec, int n)
{
	int fd = open(path_of("console"), O_RDWR | O_CREAT | O_TRUNC, 0600), saved;
	struct osp_sinks *sinks = with("console:%s", options);

	saved = swap_stdout(fd);
	open_all(sinks);
	for (int i = 0; i < n; i++)
		osp_sinks_offer(sinks, &rec[i]);
	close_in(sinks, 2000 * MS);
	restore_stdout(saved);
	close(fd);
	osp_sinks_free(sinks);
	return slurp(path_of("console"), NULL);
}

static void test_console(void)
{
	struct osp_record rec[3];
	char *out, *p;
	bool clean = true;

	setenv("TZ", "UTC", 1);
	setenv("LC_ALL", "C", 1);
	console_txn(&rec[0]);
	rec[1] = rec[0];
	rec[1].conn.role = OSP_ROLE_CLIENT;
	rec[1].conn.server[15] = 1;
	rec[1].conn.server_port = 80;
	rec[1].msg[OSP_RES].has = 0;
	rec[1].outcome = OSP_OUT_TIMEOUT;
	rec[1].flags = OSP_RF_GAP | OSP_RF_LOOPBACK;
	rec[1].has_timing = 0;
	rec[2] = record(OSP_REC_CONNECTION, 1);
	out = console("", rec, 3);
	eq_str(out,
	       "time         process                  peer                  st. latency   req   res  request\n"
	       "20:20:16.123 nginx[4242]           <- 10.0.0.7:51234        200  1.3 ms     0  4.8K  GET example.test/some/where?in=the+middle\n"
	       "20:20:16.123 nginx[4242]           -> [::1]:80              ---       -     0     -  GET example.test/some/where?in=the+middle timeout gap\n",
	       "console: lines");
	out = console("verbose=yes", rec, 3);
	ok(strstr(out, "connection -, unknown, 0 transactions"), "console: verbose has connections");
	out = console("color=always", rec, 2);
	ok(strstr(out, "\033[32m200\033[0m") && strstr(out, "\033[1;31m timeout"), "console: colour");
	rec[0].str[OSP_S_TARGET] = osp_slice("/\033]0;evil\007\r\n\x9b\xc2\x9b", 15);
	rec[0].str[OSP_S_COMM] = osp_slice("a\nb", 3);
	setenv("LC_ALL", "C.UTF-8", 1);
	out = console("", rec, 1);
	ok(strstr(out, "/\\x1b]0;evil\\x07\\x0d\\x0a\\x9b\\xc2\\x9b") && strstr(out, "a\\x0ab["),
	   "console: controls are shown, not sent");
	ok(strstr(out, "← "), "console: arrows where the locale has them");
	for (p = out; *p; p++)
		clean = clean && (*p == '\n' || (unsigned char)*p >= 0x20) && *p != 0x7f;
	ok(clean, "console: no control character in the output");
	{
		size_t n = 100000;
		char *huge = malloc(n);

		memset(huge, 1, n);
		huge[0] = '/';
		rec[0].str[OSP_S_TARGET] = osp_slice(huge, n);
		rec[0].str[OSP_S_HOST] = osp_slice(huge, n);
		rec[0].str[OSP_S_METHOD] = osp_slice(huge, n);
		out = console("color=always", rec, 1);
		ok(strlen(out) < 100000 && out[strlen(out) - 1] == '\n', "console: huge data is cut");
		free(huge);
	}
}

static void cleanup(void)
{
	static const char *const names[] = { "a.jsonl", "b.jsonl", "moved", "tail", "dribble",
					     "console" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		unlink(path_of(names[i]));
	rmdir(dir);
}

int main(void)
{
	osp_log_init("test", OSP_LOG_ERR);
	if (!mkdtemp(dir))
		return 1;
	test_values();
	test_options();
	test_specs();
	test_modes();
	test_random();
	test_slow_beside_quick();
	test_drop_old();
	test_block();
	test_hang_at_close();
	test_down_at_close();
	test_gone();
	test_kinds();
	test_huge_record();
	test_queue_joins();
	test_jsonl();
	test_jsonl_tail();
	test_jsonl_full();
	test_jsonl_pipe();
	test_jsonl_epipe();
	test_console();
	cleanup();
	return done();
}
