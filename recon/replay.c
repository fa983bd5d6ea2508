/* SPDX-License-Identifier: GPL-3.0-or-later */
/* replay.c: source -> tracker -> records, as agent/run.c does it, without sinks. */
#include "recon/replay.h"
#include "agent/ledger.h"
#include "agent/source.h"
#include "agent/source_replay.h"
#include "agent/tracker.h"
#include "agent/wire/source_wire.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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
			enum osp_vantage vantage, osp_rec_fn fn, void *ctx)
{
	struct osp_rec_counter all[OSP_ST_MAX];
	struct osp_record rec = { .size = sizeof(rec), .kind = OSP_REC_LEDGER };

	rec.vantage = (uint8_t)vantage;
	rec.ts_ns = (int64_t)osp_tracker_now(rp->trk) + osp_tracker_wall_off(rp->trk);
	rec.id[0] = (uint64_t)rec.ts_ns;
	rec.str[OSP_S_WHEN] = osp_slice_str("exit");
	rec.str[OSP_S_MODE] = osp_slice_str(info->mode);
	rec.str[OSP_S_ORIGIN] = osp_slice_str(info->origin);
	rec.str[OSP_S_HOSTNAME] = osp_slice_str(info->host);
	rec.ledger.closed = osp_ledger_closes(&rp->led, NULL, 0, true, NULL, 0);
	rec.ledger.counter_n = osp_ledger_counters(&rp->led, NULL, 0, all);
	rec.ledger.counter = all;
	fn(ctx, &rec);
}

static int open_source(enum rc_replay what, const char *path, struct osp_source **src, char *err,
		       size_t err_size)
{
	struct osp_wire_conf wire;
	char spec[4096];
	int rc;

	/* Both log what is wrong with the file, with its name; the caller wants one line. */
	if (what == RC_REPLAY_PCAP) {
		osp_wire_conf_default(&wire);
		if (snprintf(spec, sizeof(spec), "pcap:%s", path) >= (int)sizeof(spec))
			rc = -ENAMETOOLONG;
		else
			rc = osp_source_wire_new(src, spec, &wire);
	} else {
		rc = osp_source_replay_new(src, path);
	}
	if (rc)
		snprintf(err, err_size, "cannot be read as %s: %s",
			 what == RC_REPLAY_PCAP ? "a packet capture" : "an event recording",
			 strerror(-rc));
	return rc;
}

int rc_replay(enum rc_replay what, const char *path, osp_rec_fn fn, void *ctx, char *err,
	      size_t err_size)
{
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
	do {
		rc = src->ops->poll(src, take_event, &rp);
	} while (rc >= 0);
	if (src->ops->stats)
		src->ops->stats(src, &rp.led);
	osp_tracker_finish(rp.trk);
	give_ledger(&rp, &info, what == RC_REPLAY_PCAP ? OSP_VANTAGE_WIRE : OSP_VANTAGE_SYSCALL, fn,
		    ctx);
	if (rc == -ENODATA)
		rc = 0;
	else
		snprintf(err, err_size, "damaged: %s", strerror(-rc));
out:
	osp_tracker_free(rp.trk);
	if (src)
		src->ops->close(src);
	return rc;
}
