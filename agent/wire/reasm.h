/* SPDX-License-Identifier: GPL-3.0-or-later */
/* reasm.h: from TCP segments to events: the same that the kernel programs send.
 *
 * @thread loop
 */
#ifndef OSP_WIRE_REASM_H
#define OSP_WIRE_REASM_H

#include "agent/ledger.h"
#include "agent/wire/decap.h"
#include "bpf/osp_events.h"

struct osp_reasm_conf {
	uint64_t grace_ns;	/* a proven loss is waited for no longer than this; default 20 ms */
	uint64_t hole_ns;	/* a hole that nothing proves lost; default 2 s */
	uint64_t idle_ns;	/* a connection silent this long has ended; default 300 s */
	uint64_t hold_total;	/* bytes waiting, in all; default 128 MiB */
	uint32_t hold_bytes;	/* bytes waiting, per direction; default 1 MiB */
	uint32_t max_conns;	/* default 1,048,576 */
};

void osp_reasm_conf_default(struct osp_reasm_conf *conf);

struct osp_reasm_io {
	void *ctx;
	void (*emit)(void *ctx, const struct osp_ev_hdr *ev);
	/* Bytes of an earlier packet, to compare with; NULL: not there any more. */
	const uint8_t *(*peek)(void *ctx, uint64_t offset, uint32_t n);
	struct osp_ledger *led;		/* OSP_ST_WIRE_* are counted there */
};

struct osp_reasm;

/* 0 or -ENOMEM. */
int osp_reasm_new(struct osp_reasm **out, const struct osp_reasm_conf *conf,
		  const struct osp_reasm_io *io);

/* Of its addresses and ports, the same both ways. The table's place is on its way to the cache then. */
uint32_t osp_reasm_hash(const struct osp_reasm *rs, const struct osp_tcp_seg *seg);
/* A segment of that hash comes soon: so is what stands there. */
void osp_reasm_expect(const struct osp_reasm *rs, uint32_t hash);
/* Takes a segment of that hash; copy: it is one that was seen (osp_dedup_is_copy). */
void osp_reasm_segment(struct osp_reasm *rs, const struct osp_tcp_seg *seg, uint32_t hash, bool copy);

/* Capture time will come to ts with the next packet: flows that idled too long end first. */
void osp_reasm_idle(struct osp_reasm *rs, uint64_t ts);

/* Capture time has come to ts: what waited too long is given up. Called after the packet of that
 * time was taken, so that a packet that fills a hole is never too late by its own arrival.
 */
void osp_reasm_time(struct osp_reasm *rs, uint64_t ts);

/* Nothing follows: what waits is passed on or given up. Connections stay open. */
void osp_reasm_flush(struct osp_reasm *rs);

/* DATA and GAP events emitted. */
uint64_t osp_reasm_events(const struct osp_reasm *rs);

void osp_reasm_free(struct osp_reasm *rs);

#endif
