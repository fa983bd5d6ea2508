/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_skip.bpf.h: bytes that user space has said nobody needs (the rest of a long body, a
 * connection that no parser understands): a call that lies wholly before the position it named makes
 * no event.
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

/* What has been skipped in direction d, as an event. ctl: softirq may be here in the middle of a
 * data hook, so it counts with atomics.
 */
static __always_inline void skip_flush_dir(struct osp_sk *st, const __u32 d, const bool ctl)
{
	__u32 bytes = st->skip_end[d] - st->skip_from[d];
	struct osp_counters *cnt;
	struct osp_ev_data *ev = NULL;
	void *ring;
	__u32 set = ctl ? COUNT_CTL : COUNT_DATA;

	if (!st->skip_held[d])
		return;
	st->skip_held[d] = 0;
	cnt = bpf_map_lookup_elem(&osp_count, &set);
	if (cnt)
		__sync_fetch_and_add(&cnt->seen, 1);
	ring = data_ring(st->id);
	if (ring)
		ev = bpf_ringbuf_reserve(ring, sizeof(*ev), 0);
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
	bpf_ringbuf_submit(ev, ring_flags(ring));
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

/* Unless it is known already that more is not needed: what user space says is late. */
static __always_inline void skip_take(struct osp_sk *st, const struct osp_skip *skip, const __u32 d)
{
	if (!(skip->dirs >> d & 1))
		return;
	if (st->skip_on[d] && (__s32)(skip->until[d] - st->skip_until[d]) < 0)
		return;
	st->skip_until[d] = skip->until[d];
	st->skip_only[d] = 0;
	st->skip_on[d] = 1;
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
	skip_take(st, skip, OSP_TX);
	skip_take(st, skip, OSP_RX);
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
	if ((__s32)ahead <= 0 || (st->skip_only[d] && st->skip_only[d] != call->turn))
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

/* ---- a hint of our own -------------------------------------------------------------------------
 *
 * A megabyte passes over loopback in less time than user space needs to look. So one thing is
 * recognised here: a long call that begins with a response whose head says how long the body is.
 * Of such a call only the head is copied, and the body is skipped, as user space would have asked
 * for a millisecond later. A body can hold such a head, to hide what follows it: so only the first
 * call of a turn is looked at, and what it says holds for that turn. Whatever is not plain to see
 * (no Content-Length or two, Transfer-Encoding, a status without a body, a head that is not whole)
 * is left to user space.
 */
#define OSP_HINT_CALL 16384u	/* shorter calls are not looked at */
#define OSP_HINT_READ 2048u	/* but for reads that fill their buffer */
#define OSP_HINT_HEAD 2048u	/* bytes in which the head must end */
#define OSP_HINT_MAX (1u << 30)	/* the rest is asked for again, as user space does */

#define HINT_LOWER 0x2020202020202020ull
#define HINT_8(a, b, c, d, e, f, g, h)							\
	((__u64)(a) | (__u64)(b) << 8 | (__u64)(c) << 16 | (__u64)(d) << 24 |		\
	 (__u64)(e) << 32 | (__u64)(f) << 40 | (__u64)(g) << 48 | (__u64)(h) << 56)
#define HINT_7 0x00ffffffffffffffull

enum { HINT_NONE, HINT_LENGTH, HINT_OFF };

/* The number of a Content-Length line that begins at o. */
__noinline int hint_length(__u32 o)
{
	struct osp_scratch *scratch = this_scratch();
	struct osp_call *call = this_call();
	bool digits = false;
	__u64 v = 0;
	__u8 c = 0;
	int k;

	if (!scratch || !call)
		return 0;
	for (k = sizeof("content-length:") - 1; k < 32; k++) {
		c = scratch->data[(o & (OSP_HINT_HEAD - 1)) + k];
		if (c >= '0' && c <= '9')
			v = v * 10 + (c - '0');
		else if (digits || (c != ' ' && c != '\t'))
			break;
		digits = c >= '0';
	}
	/* Twice is for the parser to judge; so is anything but digits. */
	if (!digits || c != '\r' || o + k >= call->hint_n || call->hint != HINT_NONE)
		call->hint = HINT_OFF;
	else
		call->hint = HINT_LENGTH;
	call->hint_len = v;
	return 0;
}

/* A line begins at o. 1: nothing more to see. */
__noinline int hint_line(__u32 o)
{
	struct osp_scratch *scratch = this_scratch();
	struct osp_call *call = this_call();
	__u64 a, b;
	__u8 *p;

	if (!scratch || !call)
		return 1;
	if (o + 2 > call->hint_n) {
		call->hint = HINT_OFF;
		return 1;
	}
	p = scratch->data + (o & (OSP_HINT_HEAD - 1));
	a = *(__u64 *)p | HINT_LOWER;
	b = *(__u64 *)(p + 8) | HINT_LOWER;
	if (p[0] == '\r' && p[1] == '\n') {
		call->hint_head = o + 2;
		return 1;
	}
	if (p[0] == '\n' ||
	    (a == HINT_8('t', 'r', 'a', 'n', 's', 'f', 'e', 'r') &&
	     b == HINT_8('-', 'e', 'n', 'c', 'o', 'd', 'i', 'n')))
		call->hint = HINT_OFF;
	else if (a == HINT_8('c', 'o', 'n', 't', 'e', 'n', 't', '-') &&
		 (b & HINT_7) == HINT_8('l', 'e', 'n', 'g', 't', 'h', ':', 0))
		hint_length(o);
	return call->hint == HINT_OFF;
}

/* Looks for line ends in the eight bytes at 8 i. */
static long hint_step(__u64 i, void *unused)
{
	struct osp_scratch *scratch = this_scratch();
	__u32 off = i * 8 & (OSP_HINT_HEAD - 1);
	__u64 w, x;
	int j;

	if (!scratch)
		return 1;
	w = *(__u64 *)(scratch->data + off);
	x = w ^ 0x0a0a0a0a0a0a0a0aull;
	if (!((x - 0x0101010101010101ull) & ~x & 0x8080808080808080ull))
		return 0;
	for (j = 0; j < 8; j++)
		if ((__u8)(w >> 8 * j) == '\n' && hint_line(off + j + 1))
			return 1;
	return 0;
}

/* "HTTP/1.x SSS": a status that may have a body. */
static __always_inline bool hint_status(const __u8 *p)
{
	return (*(__u64 *)p & HINT_7) == HINT_8('H', 'T', 'T', 'P', '/', '1', '.', 0) &&
	       p[8] == ' ' && p[9] >= '2' && p[9] <= '5' &&
	       !((p[9] == '2' || p[9] == '3') && p[10] == '0' && p[11] == '4');
}

/* Whether what comes right after the head is not known, or is another response: then this one has
 * no body after all (it answers a HEAD). after: user memory behind the bytes looked at.
 */
static __always_inline bool hint_next(struct osp_scratch *scratch, struct osp_call *call,
				      __u64 after)
{
	__u32 head = call->hint_head;
	__u64 w = 0;

	if (head + 8 <= call->hint_n)
		w = *(__u64 *)(scratch->data + (head & (2 * OSP_HINT_HEAD - 1)));
	else if (head != call->hint_n || !after ||
		 bpf_probe_read_user(&w, sizeof(w), (void *)after))
		return true;
	return (w & HINT_7) == HINT_8('H', 'T', 'T', 'P', '/', '1', '.', 0);
}

/* The call's first n bytes are at buf, what follows them at after (0: not known). */
static __noinline int skip_hint(struct osp_sk *st, __u64 buf, __u32 n, __u64 after)
{
	struct osp_scratch *scratch = this_scratch();
	struct osp_call *call = this_call();
	__u64 end;
	__u32 d;

	if (!scratch || !call)
		return 0;
	if (bpf_probe_read_user(scratch->data, 16, (void *)buf) || !hint_status(scratch->data))
		return 0;
	opaque_to_clang(n);
	if (n > OSP_HINT_HEAD)
		n = OSP_HINT_HEAD;
	if (bpf_probe_read_user(scratch->data, n, (void *)buf))
		return 0;
	call->hint_n = n;
	call->hint = HINT_NONE;
	call->hint_head = 0;
	bpf_loop((n + 7) / 8, hint_step, NULL, 0);
	if (call->hint != HINT_LENGTH || !call->hint_head || call->hint_head > n ||
	    call->hint_len < osp_knobs.skip_from || hint_next(scratch, call, after))
		return 0;
	end = call->hint_head + call->hint_len;
	if (end < call->left)
		return 0;
	call->cap_left = call->hint_head;
	call->cause = OSP_CAUSE_SKIPPED;
	d = call->dir & 1;
	if (end > call->left) {
		st->skip_until[d] = call->seq + (end < OSP_HINT_MAX ? end : OSP_HINT_MAX);
		st->skip_only[d] = call->turn;
		st->skip_on[d] = 1;
	}
	return 0;
}

#endif
