/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_skip.bpf.h: bytes that user space has said nobody needs (the rest of a long body, a connection
 * that no parser understands): a call that lies wholly before the position it named makes no event.
 * What was skipped in a row becomes one GAP of cause SKIPPED, at the latest
 *
 *   when the position is reached: that event's time is that of the body's last byte,
 *   before any other event of the connection: so nobody waits for bytes that have long gone by,
 *   a second after it began: so the connection is seen to be alive,
 *   when the direction or the socket ends.
 *
 * By position, so there is no race: what is not skipped in time is merely copied.
 */
#ifndef OSP_SKIP_BPF_H
#define OSP_SKIP_BPF_H

#include "bpf/osp_emit.bpf.h"

#define OSP_SKIP_DUE_NS 1000000000ull

/* What has been skipped in direction d, as an event. ctl: softirq may be here in the middle of a data
 * hook, so it counts with atomics.
 */
static __always_inline void skip_flush_dir(struct osp_sk *st, const __u32 d, const bool ctl)
{
	__u32 bytes = st->skip_end[d] - st->skip_from[d];
	struct osp_counters *cnt;
	struct osp_ev_data *ev;
	__u32 set = ctl ? COUNT_CTL : COUNT_DATA;

	if (!st->skip_held[d])
		return;
	st->skip_held[d] = 0;
	cnt = bpf_map_lookup_elem(&osp_count, &set);
	if (cnt)
		__sync_fetch_and_add(&cnt->seen, 1);
	ev = bpf_ringbuf_reserve(&osp_data, sizeof(*ev), 0);
	if (!ev) {
		__sync_fetch_and_add(&st->lost[d], bytes);
		if (cnt) {
			__sync_fetch_and_add(&cnt->lost[OSP_LOST_RING], 1);
			__sync_fetch_and_add(&cnt->lost_bytes[OSP_LOST_RING], bytes);
		}
		return;
	}
	fill_hdr(&ev->h, sizeof(*ev), OSP_EV_GAP, st->skip_ts[d]);
	ev->conn = st->id;
	ev->seq = st->skip_from[d];
	ev->bytes = bytes;
	ev->cap = 0;
	ev->lost = 0;
	ev->filtered = 0;
	ev->turn = st->skip_turn[d];
	ev->tgid = st->tgid;
	ev->tid = st->skip_tid;
	ev->dir = d;
	ev->cause = OSP_CAUSE_SKIPPED;
	ev->vantage = OSP_VANTAGE_SYSCALL;
	ev->flags = 0;
	ev->other = 0;
	bpf_ringbuf_submit(ev, ring_flags(&osp_data));
	if (cnt)
		__sync_fetch_and_add(&cnt->delivered, 1);
}

static __noinline int skip_flush(struct osp_sk *st)
{
	skip_flush_dir(st, OSP_TX, false);
	skip_flush_dir(st, OSP_RX, false);
	return 0;
}

/* The same at the end of a direction, or of the socket. */
static __noinline int skip_flush_end(struct osp_sk *st)
{
	skip_flush_dir(st, OSP_TX, true);
	skip_flush_dir(st, OSP_RX, true);
	return 0;
}

/* User space has said something new, maybe about this socket: taken once, by its serial, because
 * positions that lie behind are ahead again when the numbers come round.
 */
static __noinline int skip_ask(struct osp_sk *st, __u32 gen)
{
	__u64 id = st->id;
	struct osp_skip *skip = bpf_map_lookup_elem(&osp_skips, &id);

	st->skip_gen = gen;
	if (!skip || skip->serial == st->skip_serial)
		return 0;
	st->skip_serial = skip->serial;
	st->skip_until[OSP_TX] = skip->until[OSP_TX];
	st->skip_until[OSP_RX] = skip->until[OSP_RX];
	st->skip_on[OSP_TX] = skip->dirs & 1;
	st->skip_on[OSP_RX] = skip->dirs >> 1 & 1;
	return 0;
}

/* The call lies before the position: it goes to what is held, without an event. */
static __always_inline void skip_hold(struct osp_call *call, struct osp_sk *st, __u32 d)
{
	if (st->skip_held[d] && st->skip_end[d] != call->seq)
		skip_flush(st);		/* something went past us, or was filtered */
	if (!st->skip_held[d]) {
		st->skip_from[d] = call->seq;
		st->skip_due[d] = call->ts + OSP_SKIP_DUE_NS;
	}
	st->skip_end[d] = call->seq + call->left;
	st->skip_ts[d] = call->ts;
	st->skip_turn[d] = call->turn;
	st->skip_tid = call->tid;
	st->skip_held[d] = 1;
}

/* Whether the call makes no event, now or ever. */
static __noinline int skip_call(struct osp_sk *st)
{
	struct osp_call *call = this_call();
	__u32 d, ahead;

	if (!call)
		return 0;
	d = call->dir & 1;
	ahead = st->skip_until[d] - call->seq;
	if (st->skip_on[d] && (__s32)ahead <= 0)
		st->skip_on[d] = 0;
	/* One that goes beyond the position is copied as a whole; one that has to tell of a loss
	 * makes an event of its own.
	 */
	if (!st->skip_on[d] || call->left > ahead) {
		skip_flush(st);
		call->lost = call->lost0 = st->lost[d];
		return 0;
	}
	if (call->lost | call->filtered) {
		skip_flush(st);
		call->cause = OSP_CAUSE_SKIPPED;
		emit_gap();
		return 2;
	}
	skip_hold(call, st, d);
	if (call->left == ahead || call->ts >= st->skip_due[d])
		skip_flush(st);
	return 1;
}

static __always_inline int skip(struct osp_sk *st)
{
	__u32 gen = *(volatile __u32 *)&osp_live.skip_gen;

	if (st->skip_gen != gen)
		skip_ask(st, gen);
	return st->skip_any ? skip_call(st) : 0;
}

#endif
