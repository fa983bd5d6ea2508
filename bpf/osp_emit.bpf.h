/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_emit.bpf.h: events into the rings. Every failure leaves a counter, and its trace in the
 * positions: lost[] of the socket goes out with the next event that gets through.
 */
#ifndef OSP_EMIT_BPF_H
#define OSP_EMIT_BPF_H

#include "bpf/osp_sock.bpf.h"

/* Keeps clang from believing what it knows about v, so that the bound that follows stays where the
 * verifier can see it.
 */
#define opaque_to_clang(v) asm volatile("" : "+r"(v))

/* One data call (or one message of a vector call) on its way into the ring. It lives in a per-CPU
 * slot, as plain values: so the functions that work on it can be global ones, which the verifier
 * looks at once and not once a call path (static ones made it give up after a million steps).
 * Data hooks do not nest on a CPU: none fires in softirq, and tracepoints run with preemption off,
 * or we turn it off (enter_hook()).
 */
struct osp_call {
	__u64 ts;
	__u64 conn;
	__u32 seq;		/* of the next byte to send off */
	__u32 left;		/* bytes of the call not sent off yet */
	__u32 cap_left;		/* of them, how many may be copied */
	__u32 lost, filtered;	/* right before seq, see struct osp_ev_data */
	__u32 turn;
	__u32 tgid, tid;
	__u8 dir;
	__u8 cause;		/* for what is not copied */
	__u8 first;		/* of its turn */
	__u8 pad;
	__u32 other;		/* next byte of the opposite direction */
	__u32 lost0, filtered0;	/* lost, filtered at the beginning */
	__u32 off;		/* vector: bytes gathered in scratch */
	__u64 sk;		/* the socket, as a number: want() can't take a pointer */
	__u64 iov, cnt;		/* vector: elements not done, first the one under way */
	__u64 skip;		/* of that one, bytes already taken */
	__u32 vec_left;		/* vector: bytes still to copy */
	__u32 mmsg_left;	/* vector of messages: bytes in those not done */
	__u64 mmsg, mmsg_n;
	__u64 mmsg_total;
	__u64 hint_len;		/* osp_skip.bpf.h: Content-Length */
	__u32 hint_head;	/* length of the head */
	__u32 hint_n;		/* bytes looked at */
	__u32 hint;
	__u32 pad2;
};

/* Slot 0 is the data hooks', slot 1 that of socket destruction, which softirq may run in the middle
 * of the other, slot 2 that of destruction in the middle of destruction.
 */
enum { SLOT_DATA, SLOT_DESTROY, SLOT_AGAIN, SLOTS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, SLOTS);
	__type(key, __u32);
	__type(value, struct osp_call);
} osp_calls SEC(".maps");

static __always_inline struct osp_call *this_call(void)
{
	__u32 slot = SLOT_DATA;

	return bpf_map_lookup_elem(&osp_calls, &slot);
}

/* From 7.0 on tracepoints are preemptible, and a program that is preempted makes the kernel pass
 * over all its other runs on that CPU meanwhile (counted as nested). 6.10 has what prevents it.
 */
extern void bpf_preempt_disable(void) __ksym __weak;
extern void bpf_preempt_enable(void) __ksym __weak;

static __always_inline void enter_hook(void)
{
	if (osp_knobs.preemptible)
		bpf_preempt_disable();
}

static __always_inline void leave_hook(void)
{
	if (osp_knobs.preemptible)
		bpf_preempt_enable();
}

/* No wake-up from the hook: it costs the victim an IPI (11 us measured, 25 times the event). The
 * agent comes by itself; only one that sleeps on a filling ring is woken, once.
 */
static __always_inline __u64 ring_flags(void *ring)
{
	if (!*(volatile __u32 *)&osp_live.sleeping)
		return BPF_RB_NO_WAKEUP;
	if (bpf_ringbuf_query(ring, BPF_RB_AVAIL_DATA) < osp_knobs.wake_bytes)
		return BPF_RB_NO_WAKEUP;
	*(volatile __u32 *)&osp_live.sleeping = 0;
	return BPF_RB_FORCE_WAKEUP;
}

/* One of n, by a hash (Fibonacci's), since ids are consecutive numbers. */
static __always_inline __u32 pick_of(__u64 conn, __u32 n)
{
	return (conn * 0x9e3779b97f4a7c15ull >> 32) * n >> 32;
}

/* Where the connection's data goes. */
static __always_inline void *data_ring(__u64 conn)
{
	__u32 i;

	if (osp_knobs.rings < 2)
		return &osp_data;
	i = pick_of(conn, osp_knobs.rings);
	return bpf_map_lookup_elem(&osp_rings, &i);
}

static __always_inline void fill_hdr(struct osp_ev_hdr *h, __u32 len, __u8 kind, __u64 ts)
{
	h->len = len;
	h->abi = OSP_EV_ABI;
	h->kind = kind;
	h->cpu = bpf_get_smp_processor_id();
	h->ts_ns = ts;
}

static __always_inline void fill_data(struct osp_ev_data *ev, struct osp_call *call, __u32 bytes,
				      __u32 cap)
{
	fill_hdr(&ev->h, sizeof(*ev) + cap, cap ? OSP_EV_DATA : OSP_EV_GAP, call->ts);
	ev->conn = call->conn;
	ev->seq = call->seq;
	ev->bytes = bytes;
	ev->cap = cap;
	ev->lost = call->lost;
	ev->filtered = call->filtered;
	ev->turn = call->turn;
	ev->tgid = call->tgid;
	ev->tid = call->tid;
	ev->dir = call->dir;
	ev->cause = cap < bytes ? call->cause : OSP_CAUSE_NONE;
	ev->vantage = OSP_VANTAGE_SYSCALL;
	ev->flags = bytes < call->left ? OSP_DF_MORE | OSP_DF_OTHER : OSP_DF_OTHER;
	ev->other = call->other;
}

static __always_inline void call_sent(struct osp_call *call, __u32 bytes)
{
	struct osp_counters *cnt = counters();

	if (cnt) {
		cnt->seen++;
		cnt->delivered++;
	}
	call->lost = 0;
	call->filtered = 0;
	call->seq += bytes;
	call->left -= bytes;
}

static __always_inline void call_lost(struct osp_call *call, __u32 bytes, const __u32 why)
{
	struct osp_counters *cnt = counters();

	if (cnt) {
		cnt->seen++;
		cnt->lost[why]++;
		cnt->lost_bytes[why] += bytes;
	}
	call->lost += bytes;
	call->seq += bytes;
	call->left -= bytes;
}

/* The rest of the call without content. */
__noinline int emit_gap(void)
{
	struct osp_call *call = this_call();
	struct osp_ev_data *ev = NULL;
	__u32 bytes;
	void *ring;

	if (!call || !call->left)
		return 0;
	bytes = call->left;
	ring = data_ring(call->conn);
	if (ring)
		ev = bpf_ringbuf_reserve(ring, sizeof(*ev), 0);
	if (!ev) {
		call_lost(call, bytes, OSP_LOST_RING);
		return 0;
	}
	fill_data(ev, call, bytes, 0);
	bpf_ringbuf_submit(ev, ring_flags(ring));
	call_sent(call, bytes);
	return 0;
}

/* Reserve sizes must be constants, so the sizes come in classes; this wastes at most half an
 * event, where one class of 32 KiB would fill the ring 30 times as fast.
 */
#define EMIT_CLASS(SIZE)								\
	if (n <= (SIZE)) {								\
		struct osp_ev_data *ev;							\
		__u32 k = n;								\
											\
		ev = bpf_ringbuf_reserve(ring, sizeof(*ev) + (SIZE), 0);		\
		if (!ev) {								\
			call_lost(call, bytes, OSP_LOST_RING);				\
			return 0;							\
		}									\
		opaque_to_clang(k);							\
		if (k > (SIZE))								\
			k = (SIZE);							\
		if (bpf_probe_read_user(ev + 1, k, (void *)buf)) {			\
			call->cause = OSP_CAUSE_UNREADABLE;				\
			k = 0;								\
		}									\
		fill_data(ev, call, bytes, k);						\
		bpf_ringbuf_submit(ev, ring_flags(ring));				\
		call_sent(call, bytes);							\
		return 0;								\
	}

/* The call's next bytes (at most OSP_CHUNK) from user memory at buf. If they are the last that may
 * be copied, the rest of the call goes with them as a gap.
 */
__noinline int emit_chunk(__u64 buf)
{
	struct osp_call *call = this_call();
	__u32 bytes, n;
	void *ring;

	if (!call)
		return 0;
	n = call->left < call->cap_left ? call->left : call->cap_left;
	if (n > OSP_CHUNK)
		n = OSP_CHUNK;
	call->cap_left -= n;
	bytes = call->cap_left ? n : call->left;
	ring = data_ring(call->conn);
	if (!ring) {
		call_lost(call, bytes, OSP_LOST_RING);
		return 0;
	}
	EMIT_CLASS(128)
	EMIT_CLASS(256)
	EMIT_CLASS(512)
	EMIT_CLASS(1024)
	EMIT_CLASS(2048)
	EMIT_CLASS(4096)
	EMIT_CLASS(8192)
	EMIT_CLASS(16384)
	EMIT_CLASS(OSP_CHUNK)
	return 0;
}

/* The loops below come in two forms. bpf_loop() (5.17) lets the verifier see a body once; without it
 * each turn costs its budget, so the plain form gives up earlier (and says so by the gap's cause).
 * The forms are functions of their own: an old kernel refuses a program that merely mentions the
 * callback. What a loop carries is in the slot, too: on the stack the verifier would follow every
 * value through every turn.
 */
#define OSP_PLAIN_CHUNKS 4
#define OSP_PLAIN_IOV 64

/* Sends off the next chunk of a buffer that ends at iov. 1: nothing is left to copy. */
static long buffer_step(__u64 i, void *unused)
{
	struct osp_call *call = this_call();

	if (!call || !call->left || !call->cap_left)
		return 1;
	emit_chunk(call->iov - call->left);
	return 0;
}

/* A call with one buffer. */
__noinline int emit_buffer(__u64 buf)
{
	struct osp_call *call = this_call();

	if (!call)
		return 0;
	call->iov = buf + call->left;
	emit_chunk(buf);
	if (call->left && call->cap_left)
		bpf_loop(OSP_CHUNKS, buffer_step, NULL, 0);
	if (call->left)
		emit_gap();
	return 0;
}

__noinline int emit_buffer_plain(__u64 buf)
{
	struct osp_call *call = this_call();
	int i;

	if (!call)
		return 0;
	call->iov = buf + call->left;
	for (i = 0; i < OSP_PLAIN_CHUNKS; i++)
		if (buffer_step(i, NULL))
			break;
	if (call->left)
		emit_gap();
	return 0;
}

static __always_inline struct osp_scratch *this_scratch(void)
{
	__u32 cpu = bpf_get_smp_processor_id();

	return bpf_map_lookup_elem(&osp_scratch, &cpu);
}

/* The gathered off bytes as one event; at the end, what could not be copied goes with them as a gap. */
__noinline int emit_scratch(__u32 off, __u32 end)
{
	struct osp_scratch *scratch = this_scratch();
	struct osp_call *call = this_call();
	__u32 bytes;
	void *ring;

	if (!call)
		return 0;
	bytes = end ? call->left : off;
	if (!bytes)
		return 0;
	ring = data_ring(call->conn);
	if (!scratch) {
		call_lost(call, bytes, OSP_LOST_SCRATCH);
		return 0;
	}
	off &= 2 * OSP_CHUNK - 1;
	fill_data(&scratch->ev, call, bytes, off);
	opaque_to_clang(off);
	off &= 2 * OSP_CHUNK - 1;
	if (!ring || bpf_ringbuf_output(ring, scratch, sizeof(scratch->ev) + off,
					ring_flags(ring)))
		call_lost(call, bytes, OSP_LOST_RING);
	else
		call_sent(call, bytes);
	return 0;
}

/* A head and a short body, as servers send them: all of a vector of few elements at once. 0: it is
 * none of these, or cannot be read, and nothing has happened.
 */
#define OSP_FEW 4
#define OSP_FEW_BYTES 8192u
__noinline int emit_few(__u64 iov, __u64 cnt)
{
	struct osp_scratch *scratch = this_scratch();
	struct osp_call *call = this_call();
	struct { __u64 at, len; } elem[OSP_FEW] = {};
	__u32 left, off = 0, size;
	int i;

	if (!scratch || !call || cnt > OSP_FEW)
		return 0;
	left = call->left;
	size = cnt * sizeof(*elem);
	opaque_to_clang(size);
	if (left > OSP_FEW_BYTES || left > call->cap_left || size > sizeof(elem) ||
	    bpf_probe_read_user(elem, size, (void *)iov))
		return 0;
#pragma unroll
	for (i = 0; i < OSP_FEW; i++) {
		__u32 n = elem[i].len < left - off ? elem[i].len : left - off;

		opaque_to_clang(n);
		if (n > OSP_FEW_BYTES)
			return 0;
		if (n && bpf_probe_read_user(scratch->data + off, n, (void *)elem[i].at))
			return 0;
		off += n;
	}
	if (off != left)
		return 0;
	emit_scratch(off, 1);
	return 1;
}

/* Takes one element, or OSP_CHUNK bytes of a longer one. 1: the end. */
static long vector_step(__u64 i, void *unused)
{
	struct osp_scratch *scratch = this_scratch();
	struct osp_call *call = this_call();
	__u64 elem[2], len;
	__u32 n, off;

	if (!scratch || !call || !call->vec_left || !call->cnt)
		return 1;
	if (bpf_probe_read_user(elem, sizeof(elem), (void *)call->iov)) {
		call->cause = OSP_CAUSE_UNREADABLE;
		return 1;
	}
	len = elem[1] > call->skip ? elem[1] - call->skip : 0;
	n = len > call->vec_left ? call->vec_left : len;
	opaque_to_clang(n);
	if (n > OSP_CHUNK)
		n = OSP_CHUNK;
	off = call->off;
	opaque_to_clang(off);
	off &= OSP_CHUNK - 1;
	if (n && bpf_probe_read_user(scratch->data + off, n, (void *)(elem[0] + call->skip))) {
		call->cause = OSP_CAUSE_UNREADABLE;
		return 1;
	}
	call->vec_left -= n;
	call->off = off + n;
	if (n == len) {
		call->iov += sizeof(elem);
		call->cnt--;
		call->skip = 0;
	} else {
		call->skip += n;
	}
	if (call->off >= OSP_CHUNK) {
		emit_scratch(call->off, 0);
		call->off = 0;
	}
	return 0;
}

static __always_inline void vector_begin(struct osp_call *call, __u64 iov, __u64 cnt)
{
	call->iov = iov;
	call->cnt = cnt;
	call->skip = 0;
	call->off = 0;
	call->vec_left = call->left < call->cap_left ? call->left : call->cap_left;
}

static __always_inline void vector_end(struct osp_call *call)
{
	if (call->vec_left && call->cause == OSP_CAUSE_CAPTURE_CAP)
		call->cause = OSP_CAUSE_IOV_LIMIT;
	emit_scratch(call->off, 1);
}

/* A call with a vector of buffers: gathered, so that many small ones make one event. */
__noinline int emit_vector(__u64 iov, __u64 cnt)
{
	struct osp_call *call = this_call();

	if (!call)
		return 0;
	vector_begin(call, iov, cnt);
	bpf_loop(OSP_IOV_MAX + OSP_CHUNKS, vector_step, NULL, 0);
	vector_end(call);
	return 0;
}

__noinline int emit_vector_plain(__u64 iov, __u64 cnt)
{
	struct osp_call *call = this_call();
	int i;

	if (!call)
		return 0;
	vector_begin(call, iov, cnt);
	for (i = 0; i < OSP_PLAIN_IOV; i++)
		if (vector_step(i, NULL))
			break;
	vector_end(call);
	return 0;
}

/* Control events. */
#define ctl_reserve(type) ((struct type *)bpf_ringbuf_reserve(&osp_ctl, sizeof(struct type), 0))

static __always_inline void ctl_submit(void *ev)
{
	ctl_count(seen);
	ctl_count(delivered);
	bpf_ringbuf_submit(ev, BPF_RB_NO_WAKEUP);
}

static __always_inline void ctl_lost(void)
{
	ctl_count(seen);
	ctl_count(lost[OSP_LOST_CTL]);
}

static __noinline int emit_open(struct sock *sk, struct osp_sk *st)
{
	struct osp_ev_open *ev = ctl_reserve(osp_ev_open);

	if (!ev) {
		ctl_lost();
		return 0;
	}
	/* Another thread may come by meanwhile. If it is quicker still, two events of one content
	 * and time are made, and the second says nothing new.
	 */
	st->announced = 1;
	fill_hdr(&ev->h, sizeof(*ev), OSP_EV_OPEN, st->opened_ns);
	ev->conn = st->id;
	read_tuple(&ev->tuple, sk);
	ev->seq[0] = st->seq[0];
	ev->seq[1] = st->seq[1];
	ev->tgid = st->tgid;
	ev->how = st->how;
	ev->role = st->role;
	ev->role_from = st->role_from;
	ev->vantage = OSP_VANTAGE_SYSCALL;
	ctl_submit(ev);
	return 0;
}

/* Says who current is, unless the agent has been told already. */
__noinline int emit_proc(__u32 tgid)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct osp_ev_proc *ev;
	__u64 start, *known;
	struct pid *pid;
	__u32 level;

	start = BPF_CORE_READ(task, group_leader, start_boottime);
	known = bpf_map_lookup_elem(&osp_procs, &tgid);
	if (known && *known == start)
		return 0;
	ev = ctl_reserve(osp_ev_proc);
	if (!ev) {
		ctl_lost();
		return 0;
	}
	fill_hdr(&ev->h, sizeof(*ev), OSP_EV_PROC, bpf_ktime_get_boot_ns());
	ev->start_ns = start;
	ev->cgroup = bpf_get_current_cgroup_id();
	ev->tgid = tgid;
	pid = BPF_CORE_READ(task, group_leader, thread_pid);
	level = BPF_CORE_READ(pid, level);
	ev->ns_tgid = 0;
	BPF_CORE_READ_INTO(&ev->ns_tgid, pid, numbers[level & 31].nr);
	ev->ppid = BPF_CORE_READ(task, real_parent, tgid);
	ev->uid = bpf_get_current_uid_gid();
	ev->netns = BPF_CORE_READ(task, nsproxy, net_ns, ns.inum);
	ev->str_len[0] = ev->str_len[1] = ev->str_len[2] = 0;
	ev->pad = 0;
	ev->pad2 = 0;
	BPF_CORE_READ_STR_INTO(&ev->comm, task, group_leader, comm);
	ctl_submit(ev);
	bpf_map_update_elem(&osp_procs, &tgid, &start, BPF_ANY);
	return 0;
}

#endif
