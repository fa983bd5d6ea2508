/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_shared.h: what the kernel programs and the agent's bpf source share besides events: knobs,
 * filters, counters, and what the start-up iterators hand over. Not seen by anyone behind the
 * source interface; changes freely with both sides.
 */
#ifndef OSP_SHARED_H
#define OSP_SHARED_H

#include "bpf/osp_events.h"

enum osp_capture { OSP_CAPTURE_SOCK = 1, OSP_CAPTURE_SYSCALL = 2 };

/* Read-only after load: the verifier drops what a mode does not use. */
struct osp_knobs {
	__u32 capture;		/* enum osp_capture */
	__u32 self_tgid;	/* the agent: never captured */
	__u32 call_cap;		/* bytes copied per call, <= OSP_CALL_MAX */
	__u32 turn_cap;		/* bytes copied per turn; 0: no limit */
	__u32 skip_from;	/* length of a body that is not looked at; 0: all are */
	__u32 wake_bytes;	/* a sleeping agent is woken when this much waits in the data ring */
	__u64 self_ino;		/* the agent's executable: no agent is captured by another, or two */
	__u32 self_dev;		/* that send records over the network would feed each other */
	__u32 rings;		/* data rings, 1 to OSP_RINGS_MAX */
	__u8 has_cookie;	/* bpf_get_socket_cookie() in tracing programs: 5.12 */
	__u8 preemptible;	/* tracepoints run preemptible: 7.0 */
	__u8 unix_too;		/* unix stream sockets are captured; sock mode only */
	__u8 pad;
	__u32 gather;		/* calls of up to so many bytes are gathered, <= OSP_TINY_MAX; 0: none */
};
#define OSP_RINGS_MAX 64

/* Chosen so that OSP_CHUNKS events of the largest class hold a call. */
#define OSP_CHUNK 32768u
#define OSP_CHUNKS 32
#define OSP_CALL_MAX (OSP_CHUNK * OSP_CHUNKS)
/* UIO_MAXIOV: the kernel takes no more elements in one call. */
#define OSP_IOV_MAX 1024
#define OSP_CGROUP_DEPTH 16

/* Which filters are in force; the maps hold their entries. An entry of each class present must
 * match; pid, comm and exe are one class (the process allow list). Writable while running; gen
 * is raised after a change, so that verdicts kept per socket are made anew.
 */
#define OSP_FC_PID 1u
#define OSP_FC_COMM 2u
#define OSP_FC_EXE 4u
#define OSP_FC_PROCESS (OSP_FC_PID | OSP_FC_COMM | OSP_FC_EXE)
#define OSP_FC_PORT 8u
#define OSP_FC_CIDR 16u
#define OSP_FC_CGROUP 32u
#define OSP_FC_NETNS 64u
#define OSP_FC_ROLE 128u
#define OSP_FC_FOLLOW 256u
struct osp_live {
	__u32 classes;		/* OSP_FC_* */
	__u32 roles;		/* bit per enum osp_role */
	__u32 gen;		/* raised by the agent, and by every exec */
	__u32 sleeping;		/* the agent waits on the rings' fds */
	__u32 skip_gen;		/* raised by the agent after a change of osp_skips */
};

/* What user space does not need of a connection: bytes before a position. */
struct osp_skip {
	__u32 serial;		/* another one with each change, of any entry; never 0 */
	__u32 dirs;		/* bit per enum osp_dir: until holds */
	__u32 until[OSP_DIRS];	/* TCP sequence number */
};

struct osp_exe_key {
	__u64 ino;
	__u32 dev, pad;		/* as the kernel keeps it: major << 20 | minor */
};

struct osp_cidr_key {
	__u32 prefixlen;	/* of 128; IPv4 v4-mapped */
	__u8 addr[16];
};

/* Of a lifetime program on this CPU, see "again" in osprey.bpf.c. */
enum { OSP_WAY_ESTABLISHED, OSP_WAY_ENDING, OSP_WAY_DESTROY, OSP_WAYS };
struct osp_way {
	__u32 busy;		/* it is under way */
	__u32 pad;
	__u64 again;		/* its runs that the kernel passed over and another program made up for */
};

/* Calls of few bytes of one connection, gathered (osp_tiny.bpf.h). Hooks and the agent, which maps
 * them into its memory, enter by exchanging busy for 1; who finds 1 there stays out.
 */
#define OSP_TINY_MAX 64u	/* of a call */
#define OSP_TINY_ROOM 256u
#define OSP_TINY_SLOTS 1024u
struct osp_tiny {
	__u32 busy;
	__u32 pad;
	__u64 since;		/* the first call's time */
	struct osp_ev_data ev;	/* as it will go out; bytes is 0: nothing is gathered */
	__u8 data[OSP_TINY_ROOM];
};

/* Per-CPU counters: the tail of struct osp_ev_lost. */
struct osp_counters {
	__u64 seen, delivered, filtered, filtered_bytes, turns, peek;
	__u64 lost[8], lost_bytes[8];
};
_Static_assert(sizeof(struct osp_counters) == sizeof(struct osp_ev_lost) - sizeof(struct osp_ev_hdr),
	       "osp_counters is the tail of osp_ev_lost");

/* One TCP socket as iter/tcp found it. */
struct osp_seed {
	struct osp_ev_open open;
	__u8 state;		/* TCP_* of the kernel */
	__u8 pad[7];
};

#endif
