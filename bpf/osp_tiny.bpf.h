/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_tiny.bpf.h: calls that move a few bytes each. A peer that reads byte by byte would make an event
 * for every byte; from the fourth in a row on they are gathered, and become one event
 *
 *   when it is full, or a millisecond after it began,
 *   before the next event of the connection that is not one of them,
 *   when the agent looks (agent/gather.c): a process that has read all there was makes no call.
 *
 * The event's time is that of its last call. Nothing depends on it that bytes are gathered: what
 * cannot be (a slot that is another connection's, or under way on another CPU) is merely an event of
 * its own, and positions put all in order.
 */
#ifndef OSP_TINY_BPF_H
#define OSP_TINY_BPF_H

#include "bpf/osp_emit.bpf.h"

#define OSP_TINY_RUN 3		/* so many in a row go out alone: a turn's first byte has its own time */
#define OSP_TINY_NS 1000000ull

/* By a hash of the connection's id. No entry is ever freed, so none can be taken away from a CPU that
 * is at it.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, OSP_TINY_SLOTS);
	__type(key, __u32);
	__type(value, struct osp_tiny);
} osp_tinies SEC(".maps");

/* Slots with something in them: the agent looks for them if there are any. In a line of the cache of its
 * own: every hook reads osp_live.
 */
__u64 osp_tiny_held __attribute__((aligned(64))) = 0;

static __always_inline bool tiny_enter(struct osp_tiny *t)
{
	return !__sync_lock_test_and_set(&t->busy, 1);
}

/* An exchange as well: what was written before it is seen before it, on every architecture. */
static __always_inline void tiny_leave(struct osp_tiny *t)
{
	__sync_lock_test_and_set(&t->busy, 0);
}

static __always_inline struct osp_tiny *tiny_slot(__u64 conn)
{
	__u32 i = pick_of(conn, OSP_TINY_SLOTS);

	return bpf_map_lookup_elem(&osp_tinies, &i);
}

/* What is gathered goes into the ring. Called by who has entered. A full ring: it stays, and the agent
 * comes for it when it has made room.
 */
static __always_inline bool tiny_out(struct osp_tiny *t)
{
	struct osp_counters *cnt = counters();
	void *ring = data_ring(t->ev.conn);
	__u32 n = t->ev.bytes;

	opaque_to_clang(n);
	if (n > OSP_TINY_ROOM)
		n = OSP_TINY_ROOM;
	if (!ring || bpf_ringbuf_output(ring, &t->ev, sizeof(t->ev) + n, ring_flags(ring)))
		return false;
	t->ev.bytes = 0;
	__sync_fetch_and_add(&osp_tiny_held, -1);
	if (cnt) {
		cnt->seen++;
		cnt->delivered++;
	}
	return true;
}

/* What is gathered of the connection, before another event of it. */
static __noinline int tiny_flush(struct osp_sk *st)
{
	struct osp_tiny *t = tiny_slot(st->id);

	st->tiny_run = 0;
	if (!t || !st->tiny_held || !tiny_enter(t))
		return 0;
	if (!t->ev.bytes || t->ev.conn != st->id || tiny_out(t))
		st->tiny_held = 0;
	tiny_leave(t);
	return 0;
}

/* Whether the call continues what is gathered. */
static __always_inline bool tiny_fits(const struct osp_tiny *t, const struct osp_call *call)
{
	return t->ev.seq + t->ev.bytes == call->seq && t->ev.turn == call->turn &&
	       t->ev.dir == call->dir && t->ev.tid == call->tid &&
	       t->ev.bytes <= OSP_TINY_ROOM - OSP_TINY_MAX;
}

/* The call's bytes, n of them at buf, behind those that are there. */
static __always_inline bool tiny_add(struct osp_tiny *t, struct osp_call *call, __u64 buf)
{
	__u32 at = t->ev.bytes, n = call->left;

	opaque_to_clang(n);
	if (n > OSP_TINY_MAX)
		n = OSP_TINY_MAX;
	opaque_to_clang(at);
	if (at > OSP_TINY_ROOM - OSP_TINY_MAX)
		return false;
	if (bpf_probe_read_user(t->data + at, n, (void *)buf))
		return false;
	if (!at) {
		fill_data(&t->ev, call, n, n);
		t->ev.flags |= OSP_DF_GATHERED;
		t->since = call->ts;
		__sync_fetch_and_add(&osp_tiny_held, 1);
		return true;
	}
	t->ev.h.len += n;
	t->ev.h.ts_ns = call->ts;
	t->ev.bytes += n;
	t->ev.cap += n;
	return true;
}

/* A call of few bytes, at buf in user memory (0: not known where). Whether it has been gathered and
 * makes no event.
 */
static __noinline int tiny_call(struct osp_sk *st, __u64 buf)
{
	struct osp_call *call = this_call();
	struct osp_tiny *t = tiny_slot(st->id);
	bool added = false;

	if (!call || !t)
		return 0;
	if (!buf || call->first || (call->lost | call->filtered) || call->cap_left < call->left) {
		tiny_flush(st);
		return 0;
	}
	if (st->tiny_run < OSP_TINY_RUN) {
		st->tiny_run++;
		return 0;
	}
	if (!tiny_enter(t))
		return 0;
	if (!t->ev.bytes || (t->ev.conn == st->id && (tiny_fits(t, call) || tiny_out(t))))
		added = tiny_add(t, call, buf);
	st->tiny_held = t->ev.bytes && t->ev.conn == st->id;
	if (st->tiny_held && (call->ts - t->since >= OSP_TINY_NS ||
			      t->ev.bytes > OSP_TINY_ROOM - OSP_TINY_MAX))
		st->tiny_held = !tiny_out(t);
	tiny_leave(t);
	return added;
}

#endif
