/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_maps.bpf.h: every map, knob and global of the kernel side. */
#ifndef OSP_MAPS_BPF_H
#define OSP_MAPS_BPF_H

#include "bpf/osp_shared.h"

const volatile struct osp_knobs osp_knobs = {};
struct osp_live osp_live __attribute__((aligned(64))) = {};

/* What we keep of a socket. In sock mode it lives in the socket itself (sk_storage: ~25 ns, goes
 * with the socket); the older kernels of syscall mode do not give us a trusted socket, there it is
 * a hash by address, deleted when the socket is destroyed.
 */
struct osp_sk {
	/* What every call asks for: with what the kernel keeps before it (8 bytes, aligned), a line of
	 * the cache.
	 */
	__u64 id;		/* conn of all events */
	__u32 gen;		/* of osp_live, when verdict was made */
	__u32 tgid;		/* last process that moved data */
	__u32 turn;
	__u8 last_dir;		/* enum osp_dir + 1; 0: no data yet */
	__u8 take;		/* verdict of the filters */
	__u8 announced;		/* OPEN is in the ring */
	__u8 closed;		/* TCP_CLOSE was reached */
	__u32 lost[OSP_DIRS];
	__u32 filtered[OSP_DIRS];
	__u32 skip_gen;		/* of osp_live, when osp_skips was asked */
	union {			/* osp_skip.bpf.h */
		__u32 skip_any;
		struct {
			__u8 skip_on[OSP_DIRS];		/* skip_until holds */
			__u8 skip_held[OSP_DIRS];	/* [from, end) waits for its event */
		};
	};
	union {			/* osp_tiny.bpf.h */
		__u16 tiny_any;
		struct {
			__u8 tiny_run;	/* calls of few bytes in a row */
			__u8 tiny_held;	/* its slot has bytes of this socket */
		};
	};
	__u8 role, role_from;
	__u32 tx_end;		/* where the sent stream ended, if closed */

	__u32 turn_copied;	/* bytes of the turn that were copied, if that is limited */
	__u64 mmsg_vec;		/* sendmmsg/recvmmsg under way: vector, next message, caller */
	__u32 mmsg_tid;
	__u32 mmsg_next;
	__u64 opened_ns;
	__u32 seq[OSP_DIRS];	/* base, for OPEN */
	__u8 how;
	__u8 close_flags;	/* OSP_CF_*, gathered on the way */
	__u8 pad[2];
	/* osp_skip.bpf.h, per direction */
	__u32 skip_serial;	/* of the entry taken last */
	__u32 skip_until[OSP_DIRS];
	__u32 skip_only[OSP_DIRS];	/* holds in this turn only; 0: in any */
	__u32 skip_from[OSP_DIRS], skip_end[OSP_DIRS];
	__u32 skip_turn[OSP_DIRS];	/* of the last call skipped */
	__u32 skip_tid;
	__u64 skip_ts[OSP_DIRS];	/* of the last call skipped */
	__u64 skip_due[OSP_DIRS];	/* when its event is made at the latest */
};
_Static_assert(__builtin_offsetof(struct osp_sk, turn_copied) == 56, "a line of the cache");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct osp_sk);
} osp_sk_store SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 262144);
	__type(key, __u64);
	__type(value, struct osp_sk);
} osp_sk_hash SEC(".maps");

/* What a new entry of osp_sk_hash begins as: all zero but its id. It is not on the stack because
 * all frames of a call chain share 512 bytes. One for the data hooks, one for softirq.
 */
enum { FRESH_DATA, FRESH_EST, FRESH_AGAIN, FRESH_SLOTS };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, FRESH_SLOTS);
	__type(key, __u32);
	__type(value, struct osp_sk);
} osp_fresh SEC(".maps");

/* Sizes are set by the agent before load. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 20);
} osp_data SEC(".maps");

/* With several data rings: all of them, osp_data the first. A connection's events go to one. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, OSP_RINGS_MAX);
	__type(key, __u32);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_RINGBUF);
		__uint(max_entries, 4096);
	});
} osp_rings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} osp_ctl SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, OSP_WAYS);
	__type(key, __u32);
	__type(value, struct osp_way);
} osp_ways SEC(".maps");

/* Two sets a CPU, added up by the agent: the data hooks' own, counted plainly, and that of the
 * control events, which softirq makes in the middle of anything: counted with atomics.
 */
enum { COUNT_DATA, COUNT_CTL, COUNT_SETS };
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNT_SETS);
	__type(key, __u32);
	__type(value, struct osp_counters);
} osp_count SEC(".maps");

/* Where iovecs are gathered, one slot a CPU. A per-CPU array cannot hold values over 32 KiB, so it
 * is a plain one indexed by CPU; programs of one kind do not nest on a CPU. Twice the chunk: the
 * verifier does not relate offset and length, each is bounded by OSP_CHUNK.
 */
struct osp_scratch {
	struct osp_ev_data ev;
	__u8 data[2 * OSP_CHUNK];
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);		/* set to the number of CPUs before load */
	__type(key, __u32);
	__type(value, struct osp_scratch);
} osp_scratch SEC(".maps");

/* Where connections' bytes are needed again, by conn id; only user space writes it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct osp_skip);
} osp_skips SEC(".maps");

/* tgid -> start time of the process that PROC was sent for. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} osp_procs SEC(".maps");

/* Filters. A value says nothing, an entry is there or not. */
#define OSP_SET(name, key_type, max)					\
	struct {							\
		__uint(type, BPF_MAP_TYPE_HASH);			\
		__uint(max_entries, max);				\
		__type(key, key_type);					\
		__type(value, __u8);					\
	} name SEC(".maps")

struct osp_comm_key {
	char comm[OSP_COMM_LEN];
};
OSP_SET(osp_f_pid, __u32, 65536);
OSP_SET(osp_f_comm, struct osp_comm_key, 1024);
OSP_SET(osp_f_exe, struct osp_exe_key, 1024);
OSP_SET(osp_f_port, __u16, 65536);
OSP_SET(osp_f_cgroup, __u64, 65536);
OSP_SET(osp_f_netns, __u32, 4096);

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct osp_cidr_key);
	__type(value, __u8);
} osp_f_cidr SEC(".maps");

static __always_inline struct osp_counters *counters(void)
{
	__u32 set = COUNT_DATA;

	return bpf_map_lookup_elem(&osp_count, &set);
}

#define ctl_count(field)							\
	do {									\
		__u32 set_ = COUNT_CTL;						\
		struct osp_counters *cnt_ = bpf_map_lookup_elem(&osp_count, &set_); \
										\
		if (cnt_)							\
			__sync_fetch_and_add(&cnt_->field, 1);			\
	} while (0)

#endif
