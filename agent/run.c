/* SPDX-License-Identifier: GPL-3.0-or-later */
/* run.c: one loop: poll the source, hand each event to the recording and the shards, whose records
 * go to the sinks. Time is the events'; the real clock only paces the polling.
 */
#include "agent/run.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"
#include "agent/ledger.h"
#include "agent/metrics.h"
#include "agent/oev.h"
#include "agent/shard.h"
#include "agent/source_replay.h"
#include "agent/source_synth.h"
#include "agent/wire/source_wire.h"
#include "sinks/host.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

/* A live source is looked at so often that a look finds about so many events or bytes: each one
 * begins with cold caches, ours and then the watched program's. Between looks that found nothing the
 * wait doubles. The kernel wakes us earlier when a ring fills.
 */
#define WAIT_MIN_NS NS_PER_MS
#define WAIT_BUSY_NS (5 * NS_PER_MS)
#define WAIT_MAX_NS (20 * NS_PER_MS)
#define LOOK_EVENTS 2048
#define LOOK_BYTES (512 * 1024u)
/* So many events at once mean that we are behind: look again without waiting. */
#define BUSY_EVENTS 8192
/* Records wait no longer than this for their batch to fill. */
#define KICK_NS (20 * NS_PER_MS)
#define HINT_NS (5 * NS_PER_S)
/* How often the metrics get new numbers. */
#define PUBLISH_NS NS_PER_S

struct agent {
	struct osp_conf *conf;
	struct osp_source *src;
	struct osp_source_info info;
	struct osp_shards *shards;
	struct osp_sinks *sinks;
	struct osp_oev *oev;
	struct osp_ledger own;		/* the source's totals and what is counted here */
	struct osp_ledger led;		/* of that and the shards' the sum: count() */
	int signal_fd;
	bool stop, finishing, hinted, started, reload;
	uint64_t first_ns;		/* event time of the first event */
	uint64_t ledger_at;		/* event time of the next ledger record */
	uint64_t ledgers;
	uint64_t kick_at, hint_at;	/* CLOCK_MONOTONIC */
	struct osp_metrics *met;	/* NULL: not asked for */
	struct osp_metrics_snap snap;
	uint64_t publish_at;		/* CLOCK_MONOTONIC */
	uint64_t poll_ns;		/* when the poll under way began, in the events' time */
	uint64_t poll_bytes;		/* what it handed over */
};

static int64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * (int64_t)NS_PER_S + ts.tv_nsec;
}

/* ---- records ------------------------------------------------------------------------------ */

/* Makes ag->led what has been counted so far. */
static void count(struct agent *ag)
{
	if (ag->src->ops->stats)
		ag->src->ops->stats(ag->src, &ag->own);
	ag->led = ag->own;
	osp_shards_count(ag->shards, &ag->led);
}

static uint32_t sink_counters(struct agent *ag, struct osp_rec_counter *out, bool with_sinks)
{
	return with_sinks ? osp_sinks_counters(ag->sinks, out, OSP_LEDGER_EXTRA_MAX) : 0;
}

static uint8_t vantage_of(const char *origin)
{
	if (!strcmp(origin, "pcap") || !strcmp(origin, "iface"))
		return OSP_VANTAGE_WIRE;
	return strcmp(origin, "synthetic") ? OSP_VANTAGE_SYSCALL : OSP_VANTAGE_SYNTHETIC;
}

/* The same events must give the same records, and how far a sink has come depends on its thread:
 * a source that is not live leaves the sinks out until they are drained, at the end.
 */
static void offer_ledger(struct agent *ag, const char *when, bool final)
{
	struct osp_rec_counter extra[OSP_LEDGER_EXTRA_MAX];
	struct osp_rec_counter all[OSP_ST_MAX + OSP_LEDGER_EXTRA_MAX];
	uint32_t extra_n = sink_counters(ag, extra, ag->src->ops->live || final);
	struct osp_record rec = {
		.size = sizeof(rec), .kind = OSP_REC_LEDGER,
		.vantage = vantage_of(ag->info.origin),
		.ts_ns = (int64_t)osp_shards_now(ag->shards) + osp_shards_wall_off(ag->shards),
	};

	osp_shards_sync(ag->shards);
	count(ag);
	rec.id[0] = (uint64_t)rec.ts_ns;
	rec.id[1] = ++ag->ledgers;
	rec.str[OSP_S_WHEN] = osp_slice_str(when);
	rec.str[OSP_S_AGENT] = osp_slice_str(OSP_VERSION);
	rec.str[OSP_S_MODE] = osp_slice_str(ag->info.mode);
	rec.str[OSP_S_ORIGIN] = osp_slice_str(ag->info.origin);
	rec.str[OSP_S_HOSTNAME] = osp_slice_str(ag->info.host);
	rec.str[OSP_S_KERNEL] = osp_slice_str(ag->info.kernel);
	rec.str[OSP_S_BOOT_ID] = osp_slice_str(ag->info.boot_id);
	rec.ledger.closed = osp_ledger_closes(&ag->led, extra, extra_n, final, NULL, 0);
	rec.ledger.counter_n = osp_ledger_counters(&ag->led, extra, extra_n, all);
	rec.ledger.counter = all;
	rec.ledger.wall_off_ns = osp_shards_wall_off(ag->shards);
	osp_count(&ag->own, OSP_ST_REC_LEDGER, 1);
	osp_sinks_offer(ag->sinks, &rec);
}

/* ---- metrics ------------------------------------------------------------------------------ */

/* between: no event is being worked on, so the sums must close. */
static void publish(struct agent *ag, bool between)
{
	struct osp_metrics_snap *snap = &ag->snap;

	count(ag);
	snap->info = ag->info;
	snap->led = ag->led;
	snap->sink_n = sink_counters(ag, snap->sink, true);
	if (between)
		snap->closes = osp_ledger_closes(&ag->led, snap->sink, snap->sink_n, false, NULL,
						 0);
	snap->live = ag->src->ops->live;
	snap->has_fill = ag->src->ops->fill;
	if (snap->has_fill)
		ag->src->ops->fill(ag->src, &snap->fill);
	snap->conns = osp_shards_conns(ag->shards);
	snap->conns_max = ag->conf->trk.max_conns;
	snap->budget_bytes = ag->conf->trk.byte_budget;
	/* If a scrape has the copy right now, the next round tries again. */
	if (osp_metrics_publish(ag->met, snap))
		ag->publish_at = osp_mono_ns() + PUBLISH_NS;
}

static void publish_when_due(struct agent *ag, bool between)
{
	if (ag->met && osp_mono_ns() >= ag->publish_at)
		publish(ag, between);
}

/* A poll's events are as old as they were when it began: a clock read for each would cost more than
 * it tells.
 */
static void begin_poll(struct agent *ag)
{
	ag->poll_bytes = 0;
	if (ag->met)
		ag->poll_ns = (uint64_t)(wall_ns() - osp_shards_wall_off(ag->shards));
}

static void measure_age(struct agent *ag, const struct osp_ev_hdr *ev)
{
	if (ev->kind != OSP_EV_TICK && ev->kind != OSP_EV_LOST)
		osp_age_add(&ag->snap.age, ev->ts_ns < ag->poll_ns ? ag->poll_ns - ev->ts_ns : 0);
}

/* ---- events ------------------------------------------------------------------------------- */

static void ledger_when_due(struct agent *ag, uint64_t now)
{
	if (!ag->started) {
		ag->started = true;
		ag->first_ns = now;
		ag->ledger_at = now + ag->conf->ledger_interval_ns;
		offer_ledger(ag, "start", false);
	} else if (ag->conf->ledger_interval_ns && now >= ag->ledger_at) {
		ag->ledger_at = now + ag->conf->ledger_interval_ns;
		offer_ledger(ag, "interval", false);
	}
}

static int take_event(void *ctx, const struct osp_ev_hdr *ev)
{
	struct agent *ag = ctx;

	ag->poll_bytes += ev->len;
	if (ag->oev)
		osp_oev_write(ag->oev, ev);
	if (ag->met)
		measure_age(ag, ev);
	if (ev->kind == OSP_EV_LOST)
		osp_ledger_source(&ag->own, (const struct osp_ev_lost *)ev);
	osp_shards_event(ag->shards, ev);
	if (ev->kind == OSP_EV_TICK || !ag->started)
		ledger_when_due(ag, osp_shards_now(ag->shards));
	if (ag->conf->duration_ns &&
	    osp_shards_now(ag->shards) - ag->first_ns >= ag->conf->duration_ns)
		ag->stop = true;
	if (ag->conf->count && osp_shards_enough(ag->shards))
		ag->stop = true;
	/* What was in the source when we were told to stop is taken, all of it. */
	return ag->stop && !ag->finishing ? -ECANCELED : 0;
}

/* ---- signals and waiting -------------------------------------------------------------------- */

static int catch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	signal(SIGPIPE, SIG_IGN);
	/* Before any thread is made, so that none of them takes one. */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void take_signals(struct agent *ag)
{
	struct signalfd_siginfo si;

	while (read(ag->signal_fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGHUP) {
			osp_sinks_reopen(ag->sinks);
			ag->reload = true;	/* between polls */
		} else {
			ag->stop = true;
		}
	}
}

/* The configuration again, after SIGHUP. Whatever is wrong with it, the agent goes on as before. */
static void reload(struct agent *ag)
{
	const struct osp_source_ops *ops = ag->src->ops;
	uint64_t interval = ag->conf->ledger_interval_ns;
	struct osp_filter before;
	char what[256];

	ag->reload = false;
	if (!ag->conf->config)
		return;
	ag->snap.reload_bad = true;
	if (osp_conf_reload(ag->conf, ops->reload != NULL, &before)) {
		ag->snap.reloads_failed++;
		osp_warn("%s is not in force, all stays as it was", ag->conf->config);
		return;
	}
	if (ag->conf->ledger_interval_ns != interval)
		ag->ledger_at = osp_shards_now(ag->shards) + ag->conf->ledger_interval_ns;
	if (ops->reload && ops->reload(ag->src)) {
		struct osp_filter bad = ag->conf->filter;

		ag->conf->filter = before;
		before = bad;
		ag->snap.reloads_failed++;
		osp_warn("the filters of %s are not in force, they stay as they were",
			 ag->conf->config);
	} else {
		ag->snap.reloads++;
		ag->snap.reload_bad = false;
		ag->snap.reload_ok_ns = wall_ns();
		osp_filter_describe(&ag->conf->filter, what, sizeof(what));
		osp_info("%s read again: watching %s", ag->conf->config, what);
	}
	osp_filter_fini(&before);
}

static void wait_ns(struct agent *ag, uint64_t ns)
{
	struct pollfd fds[2] = {
		{ .fd = ag->signal_fd, .events = POLLIN },
		{ .fd = ag->src->ops->wait_fd ? ag->src->ops->wait_fd(ag->src, ns) : -1,
		  .events = POLLIN },
	};
	struct timespec ts = { .tv_nsec = (long)ns };

	ppoll(fds, 2, &ts, NULL);
}

static bool asked_to_stop(void *ctx)
{
	struct agent *ag = ctx;

	take_signals(ag);
	publish_when_due(ag, false);
	return ag->stop;
}

/* On an idle machine the first sight is not silence. */
static void hint(struct agent *ag, uint64_t now)
{
	char what[256];

	if (ag->hinted || !ag->src->ops->live)
		return;
	count(ag);
	if (ag->led.v[OSP_ST_TXN_BEGUN]) {
		ag->hinted = true;
	} else if (now >= ag->hint_at) {
		ag->hinted = true;
		osp_filter_describe(&ag->conf->filter, what, sizeof(what));
		osp_info("no HTTP seen yet, watching %s; to see some, in another terminal: "
			 "python3 -m http.server 8000 & sleep 1; curl -s http://127.0.0.1:8000/ "
			 ">/dev/null; kill %%1", what);
	}
}

/* How long to wait after a look that found n events, and `wait` before it. */
static uint64_t next_wait(const struct agent *ag, uint64_t wait, int n)
{
	uint64_t bytes = ag->poll_bytes / (LOOK_BYTES / LOOK_EVENTS);
	uint64_t found = (uint64_t)n > bytes ? (uint64_t)n : bytes;

	if (!n)
		return wait * 2 < WAIT_MAX_NS ? wait * 2 : WAIT_MAX_NS;
	wait = found > LOOK_EVENTS / 2 ? wait * LOOK_EVENTS / found : wait * 2;
	return wait < WAIT_MIN_NS ? WAIT_MIN_NS : wait < WAIT_BUSY_NS ? wait : WAIT_BUSY_NS;
}

static int loop(struct agent *ag)
{
	const struct osp_source_ops *ops = ag->src->ops;
	uint64_t wait = WAIT_MIN_NS;
	int n = 0;

	ag->hint_at = osp_mono_ns() + HINT_NS;
	while (!ag->stop) {
		uint64_t now;

		begin_poll(ag);
		n = ops->poll(ag->src, take_event, ag);
		osp_shards_kick(ag->shards);
		if (n < 0)
			break;
		take_signals(ag);
		if (ag->reload)
			reload(ag);
		publish_when_due(ag, true);
		now = osp_mono_ns();
		if (osp_sinks_pending(ag->sinks) && (now >= ag->kick_at || !n)) {
			osp_sinks_kick(ag->sinks);
			ag->kick_at = now + KICK_NS;
		}
		if (osp_sinks_gone(ag->sinks)) {
			osp_info("nobody reads the output any more");
			ag->stop = true;
		}
		hint(ag, now);
		if (!ops->live || n >= BUSY_EVENTS)
			continue;
		wait = next_wait(ag, wait, n);
		wait_ns(ag, wait);
	}
	return n == -ENODATA || n == -ECANCELED || n >= 0 ? 0 : n;
}

/* What is under way in the source still comes through, whatever made us stop. */
static int finish_source(struct agent *ag)
{
	int n;

	if (!ag->src->ops->live)
		return 0;
	ag->src->ops->stop(ag->src);
	ag->finishing = true;
	do {
		n = ag->src->ops->poll(ag->src, take_event, ag);
	} while (n >= 0);
	return n == -ENODATA ? 0 : n;
}

/* ---- start and end -------------------------------------------------------------------------- */

static int add_sinks(struct osp_sinks *sinks, const struct osp_conf *conf)
{
	const char *def = isatty(STDOUT_FILENO) ? "console" : "jsonl";
	char why[512];
	int err;

	for (uint32_t i = 0; i < (conf->sink_n ? conf->sink_n : 1); i++) {
		const char *spec = conf->sink_n ? conf->sink[i] : def;

		err = osp_sinks_add(sinks, spec, why, sizeof(why));
		if (err) {
			osp_err("--sink %s: %s", spec, why);
			return err == -ENOMEM ? OSP_EXIT_RUNTIME : osp_conf_fault(conf, "sink");
		}
	}
	return 0;
}

static int open_sinks(struct agent *ag)
{
	char why[512];
	int err = osp_sinks_new(&ag->sinks);

	if (err)
		return OSP_EXIT_RUNTIME;
	err = add_sinks(ag->sinks, ag->conf);
	if (err)
		return err;
	err = osp_sinks_open(ag->sinks, why, sizeof(why));
	if (err) {
		osp_err("%s", why);
		return err == -ENOMEM ? OSP_EXIT_RUNTIME : OSP_EXIT_CONFIG;
	}
	osp_sinks_give_up(ag->sinks, asked_to_stop, ag);
	return 0;
}

static int open_metrics(struct agent *ag)
{
	const struct osp_conf *conf = ag->conf;
	char why[256];
	int err;

	if (!conf->metrics)
		return 0;
	err = osp_metrics_new(&ag->met, conf->metrics, conf->metrics_any, why, sizeof(why));
	if (!err)
		return 0;
	osp_err("--metrics %s", why);
	return err == -ENOMEM ? OSP_EXIT_RUNTIME : OSP_EXIT_CONFIG;
}

static int open_source(struct agent *ag)
{
	const struct osp_conf *conf = ag->conf;
	char why[512];
	int err;

	if (conf->replay) {
		err = osp_source_replay_new(&ag->src, conf->replay);
		return err ? OSP_EXIT_RUNTIME : 0;
	}
	if (conf->synthetic) {
		err = osp_source_synth_new(&ag->src, conf->synth, why, sizeof(why));
		if (err)
			osp_err("--synthetic: %s", why);
		return !err ? 0 : err == -EINVAL ? OSP_EXIT_USAGE : OSP_EXIT_RUNTIME;
	}
	if (conf->source) {
		err = osp_source_wire_new(&ag->src, conf->source, &conf->wire);
		return !err ? 0 : err == -EINVAL ? OSP_EXIT_USAGE :
		       err == -EPERM ? OSP_EXIT_NOPERM : OSP_EXIT_RUNTIME;
	}
#if OSP_HAVE_BPF
	err = osp_source_bpf_new(&ag->src, &conf->bpf);
	return !err ? 0 : err == -EPERM ? OSP_EXIT_NOPERM : OSP_EXIT_RUNTIME;
#else
	osp_err("built without kernel programs (BPF=0): --replay and --synthetic work");
	return OSP_EXIT_RUNTIME;
#endif
}

static int open_rest(struct agent *ag)
{
	struct osp_shards_conf conf = { .n = ag->conf->rings, .trk = ag->conf->trk,
					.count = ag->conf->count, .src = ag->src,
					.ask = asked_to_stop, .ctx = ag };
	int err;

	ag->src->ops->info(ag->src, &ag->info);
	osp_sinks_block(ag->sinks, !ag->src->ops->live);
	err = osp_shards_new(&ag->shards, &conf, &ag->info, ag->sinks);
	if (err) {
		osp_err("%s", strerror(-err));
		return OSP_EXIT_RUNTIME;
	}
	if (ag->conf->record && osp_oev_open(&ag->oev, ag->conf->record, &ag->info))
		return OSP_EXIT_RUNTIME;
	return 0;
}

static void say_ready(struct agent *ag)
{
	char what[256];

	if (!ag->src->ops->live)
		return;
	osp_filter_describe(&ag->conf->filter, what, sizeof(what));
	osp_info("ready: watching %s, mode %s", what, ag->info.mode);
	/* Loss is decided by how soon we run again, not by how fast. Best effort. */
	setpriority(PRIO_PROCESS, 0, -10);
}

static void finish(struct agent *ag)
{
	struct osp_rec_counter extra[OSP_LEDGER_EXTRA_MAX];
	uint64_t begin = osp_mono_ns(), deadline = begin + ag->conf->stop_timeout_ns;

	osp_shards_finish(ag->shards);
	/* The last ledger tells how the sinks fared, so it comes when they are through. One that is
	 * stuck must leave the others time for it.
	 */
	osp_sinks_drain(ag->sinks, begin + ag->conf->stop_timeout_ns / 2);
	if (!ag->started)
		offer_ledger(ag, "start", false);
	offer_ledger(ag, "exit", true);
	osp_sinks_close(ag->sinks, deadline);
	if (ag->met)
		publish(ag, true);
	count(ag);
	osp_ledger_print(stderr, &ag->led, extra, sink_counters(ag, extra, true));
}

int osp_run_check(const struct osp_conf *conf)
{
	struct osp_sinks *sinks = NULL;
	struct osp_source *synth = NULL;
	char why[512];
	int rc = osp_sinks_new(&sinks) ? OSP_EXIT_RUNTIME : add_sinks(sinks, conf);

	if (!rc && conf->synthetic &&
	    osp_source_synth_new(&synth, conf->synth, why, sizeof(why))) {
		osp_err("--synthetic: %s", why);
		rc = OSP_EXIT_USAGE;
	}
	if (synth)
		synth->ops->close(synth);
	osp_sinks_free(sinks);
	return rc;
}

int osp_run(struct osp_conf *conf)
{
	struct agent *ag = calloc(1, sizeof(*ag));
	int rc;

	if (!ag)
		return OSP_EXIT_RUNTIME;
	ag->conf = conf;
	ag->snap.reload_ok_ns = wall_ns();
	ag->snap.closes = true;
	ag->signal_fd = catch_signals();
	rc = open_sinks(ag);
	if (!rc)
		rc = open_metrics(ag);
	if (!rc)
		rc = open_source(ag);
	if (!rc)
		rc = open_rest(ag);
	if (!rc) {
		say_ready(ag);
		if (loop(ag) || finish_source(ag))
			rc = OSP_EXIT_RUNTIME;
		finish(ag);
	}
	if (osp_oev_close(ag->oev))
		rc = OSP_EXIT_RUNTIME;
	osp_metrics_free(ag->met);
	osp_shards_free(ag->shards);
	osp_sinks_free(ag->sinks);
	if (ag->src)
		ag->src->ops->close(ag->src);
	close(ag->signal_fd);
	free(ag);
	return rc;
}
