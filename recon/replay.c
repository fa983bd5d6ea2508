/* SPDX-License-Identifier: GPL-3.0-or-later */
/* replay.c: source -> tracker -> records, as agent/run.c does it, without sinks. */
#include "recon/replay.h"
#include "agent/ledger.h"
#include "agent/source.h"
#include "agent/source_replay.h"
#include "agent/tracker.h"
#include "agent/wire/source_wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* An interface: packets are handed over after 50 ms at most (agent/wire/live.c). */
#define LIVE_WAIT_MS 50

struct replay {
	struct osp_ledger led;
	struct osp_tracker *trk;
};

static int take_event(void *ctx, const struct osp_ev_hdr *ev)
{
	struct replay *rp = ctx;

	if (ev->kind == OSP_EV_LOST)
		osp_ledger_source(&rp->led, (const struct osp_ev_lost *)ev);
	return osp_tracker_event(rp->trk, ev);
}

static void give_ledger(struct replay *rp, const struct osp_source_info *info,
			enum osp_vantage vantage, const char *when, int64_t ts, osp_rec_fn fn,
			void *ctx)
{
	struct osp_rec_counter all[OSP_ST_MAX];
	struct osp_record rec = { .size = sizeof(rec), .kind = OSP_REC_LEDGER };

	rec.vantage = (uint8_t)vantage;
	rec.ts_ns = ts;
	rec.id[0] = (uint64_t)rec.ts_ns;
	rec.str[OSP_S_WHEN] = osp_slice_str(when);
	rec.str[OSP_S_MODE] = osp_slice_str(info->mode);
	rec.str[OSP_S_ORIGIN] = osp_slice_str(info->origin);
	rec.str[OSP_S_HOSTNAME] = osp_slice_str(info->host);
	rec.ledger.closed = osp_ledger_closes(&rp->led, NULL, 0, true, NULL, 0);
	rec.ledger.counter_n = osp_ledger_counters(&rp->led, NULL, 0, all);
	rec.ledger.counter = all;
	fn(ctx, &rec);
}

/* They say themselves what is wrong with a file or an interface. */
static int open_source(enum rc_replay what, const char *path, struct osp_source **src, char *err,
		       size_t err_size)
{
	struct osp_wire_conf wire;
	char spec[4096];

	if (what == RC_REPLAY_OEV)
		return osp_source_replay_new(src, path);
	osp_wire_conf_default(&wire);
	if (snprintf(spec, sizeof(spec), "%s%s", what == RC_REPLAY_PCAP ? "pcap:" : "", path) >=
	    (int)sizeof(spec)) {
		snprintf(err, err_size, "%s", strerror(ENAMETOOLONG));
		return -ENAMETOOLONG;
	}
	return osp_source_wire_new(src, spec, &wire);
}

static int64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

/* Until there are packets, or nothing for a while: the source keeps time by being asked. */
static bool told_to_stop(const struct osp_source *src, const struct rc_live_end *end, int64_t due)
{
	struct pollfd fds[2] = {
		{ .fd = end->stop_fd, .events = POLLIN },
		{ .fd = src->ops->wait_fd(src, LIVE_WAIT_MS * 1000000ull),
		  .events = POLLIN },
	};

	poll(fds, 2, LIVE_WAIT_MS);
	return fds[0].revents || (due && clock_ns(CLOCK_MONOTONIC) >= due);
}

static int pump(struct replay *rp, struct osp_source *src, const struct rc_live_end *end)
{
	int64_t due = end && end->duration_ns ? clock_ns(CLOCK_MONOTONIC) + end->duration_ns : 0;
	int64_t look = 0;
	bool stopped = false;
	int rc;

	do {
		rc = src->ops->poll(src, take_event, rp);
		if (!src->ops->live || stopped || rc < 0)
			continue;
		/* A busy interface always has packets: its end must not wait for a pause. */
		if (rc && clock_ns(CLOCK_MONOTONIC) < look)
			continue;
		look = clock_ns(CLOCK_MONOTONIC) + LIVE_WAIT_MS * 1000000ll;
		stopped = told_to_stop(src, end, due);
		if (stopped)
			src->ops->stop(src);
	} while (rc >= 0);
	return rc;
}

int rc_replay(enum rc_replay what, const char *path, const struct rc_live_end *end, osp_rec_fn fn,
	      void *ctx, char *err, size_t err_size)
{
	enum osp_vantage vantage = what == RC_REPLAY_OEV ? OSP_VANTAGE_SYSCALL : OSP_VANTAGE_WIRE;
	struct osp_tracker_conf conf;
	struct osp_source_info info;
	struct osp_source *src = NULL;
	struct replay rp = { 0 };
	int rc;

	rc = open_source(what, path, &src, err, err_size);
	if (rc)
		goto out;
	osp_tracker_conf_default(&conf);
	conf.headers = true;
	conf.connections = true;
	src->ops->info(src, &info);
	rc = osp_tracker_new(&rp.trk, &conf, &info, &rp.led, fn, ctx);
	if (rc) {
		snprintf(err, err_size, "%s", strerror(-rc));
		goto out;
	}
	/* A file begins with its first packet; an interface was watched before. */
	if (src->ops->live)
		give_ledger(&rp, &info, vantage, "start", clock_ns(CLOCK_REALTIME), fn, ctx);
	if (end && end->notice)
		fputs(end->notice, stderr);
	rc = pump(&rp, src, end);
	if (src->ops->stats)
		src->ops->stats(src, &rp.led);
	osp_tracker_finish(rp.trk);
	give_ledger(&rp, &info, vantage, "exit",
		    (int64_t)osp_tracker_now(rp.trk) + osp_tracker_wall_off(rp.trk), fn, ctx);
	if (rc == -ENODATA)
		rc = 0;
out:
	osp_tracker_free(rp.trk);
	if (src)
		src->ops->close(src);
	return rc;
}
