/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source.h: where events come from.
 *
 * One struct of functions; what stands behind it (kernel rings, a recording, a generator, later a
 * capture) is not visible to anyone who takes the events.
 *
 * @thread loop, all of it.
 */
#ifndef OSP_SOURCE_H
#define OSP_SOURCE_H

#include "bpf/osp_events.h"

#include <stdint.h>

/* Takes one event. ev is valid inside the call only, 8-byte aligned, and ev->len covers all of it;
 * the source has checked its length against its kind (osp_event_check). Returns 0, or -errno to
 * stop the source's poll with that error.
 */
typedef int (*osp_ev_fn)(void *ctx, const struct osp_ev_hdr *ev);

/* What a recording's header and the ledger say about a source. Strings live as long as the
 * source. wall_off_ns: see struct osp_ev_tick.
 */
struct osp_source_info {
	const char *mode;	/* "sock", "syscall", "replay", "synthetic", "pcap", "iface" */
	const char *origin;	/* for replay: the mode that recorded; otherwise as mode */
	const char *host;
	const char *kernel;	/* release, "" if it plays no part */
	const char *boot_id;	/* 36 characters; part of every record's id */
	int64_t wall_off_ns;
};

struct osp_ledger;

/* How full the rings between kernel and agent are. */
struct osp_source_fill {
	uint64_t data_bytes, data_size;
	uint64_t ctl_bytes, ctl_size;
};

struct osp_source {
	const struct osp_source_ops *ops;
};

struct osp_source_ops {
	const char *name;
	/* Hands all waiting events to fn. Returns > 0 events handed over (there may be more at
	 * once), 0 nothing now, -ENODATA no more for ever, other -errno broken (logged).
	 * A live source never blocks here: the caller waits, on wait_fd if there is one.
	 */
	int (*poll)(struct osp_source *src, osp_ev_fn fn, void *ctx);
	/* The caller is going to wait for so long: an fd that becomes readable when events should be
	 * taken sooner, or -1.
	 */
	int (*wait_fd)(const struct osp_source *src, uint64_t ns);
	/* No more new events from now on; what is under way can still be polled, to the end. */
	void (*stop)(struct osp_source *src);
	void (*info)(const struct osp_source *src, struct osp_source_info *out);
	/* Re-reads filters after a change of the configuration; NULL: has none. */
	int (*reload)(struct osp_source *src);
	/* NULL: has no rings. */
	void (*fill)(const struct osp_source *src, struct osp_source_fill *out);
	/* Nobody needs the connection's bytes before the positions until[] (TCP sequence numbers,
	 * less than 2^31 ahead) in the directions of which the bit is set in dirs; in others all is
	 * needed. What has not come yet may come as a gap of cause OSP_CAUSE_SKIPPED. A hint; NULL:
	 * all comes. unskip: the connection has ended.
	 * @thread any, both of them: that of the connection's shard
	 */
	void (*skip)(struct osp_source *src, uint64_t conn, uint32_t dirs,
		     const uint32_t until[OSP_DIRS]);
	void (*unskip)(struct osp_source *src, uint64_t conn);
	/* Puts the source's own counters into the ledger; NULL: has none. */
	void (*stats)(const struct osp_source *src, struct osp_ledger *led);
	void (*close)(struct osp_source *src);
	int live;		/* 1: paced by the world; 0: as fast as its events are taken */
};

/* Whether ev, of which avail bytes are readable, is a well-formed event: ABI, kind, length for its
 * kind, cap within len, strings ended. 0 or -EPROTO. Everything that reads events from outside
 * calls this before it hands them on.
 */
int osp_event_check(const struct osp_ev_hdr *ev, uint64_t avail);

#endif
