/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_events.h: the one input language of Osprey.
 *
 * Every source (kernel programs, recording, generator, later the wire) speaks these events and
 * nothing behind a source can tell which one feeds it. The header is read by both compilers
 * (clang for BPF, the host's for the agent) and its structs are what a recording (.oev) holds, so
 * the layout is fixed: little pieces, no pointers, no bitfields, no implicit padding. A change of
 * layout or meaning bumps OSP_EV_ABI; new kinds and causes are appended, never renumbered.
 *
 * Byte order: the producing host's (a recording names it in its header). Addresses and ports in
 * struct osp_tuple: addresses in network order, ports in host order.
 */
#ifndef OSP_EVENTS_H
#define OSP_EVENTS_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define OSP_EV_ABI 1

#define OSP_COMM_LEN 16

enum osp_ev_kind {
	OSP_EV_OPEN = 1,	/* struct osp_ev_open */
	OSP_EV_DATA = 2,	/* struct osp_ev_data + cap bytes */
	OSP_EV_GAP = 3,		/* struct osp_ev_data with cap == 0: bytes moved, content not at hand */
	OSP_EV_SHUT = 4,	/* struct osp_ev_shut: one direction has ended, or the connection broke */
	OSP_EV_CLOSE = 5,	/* struct osp_ev_close: the socket is gone; final positions */
	OSP_EV_PROC = 6,	/* struct osp_ev_proc + strings */
	OSP_EV_LOST = 7,	/* struct osp_ev_lost: snapshot of the source's own counters */
	OSP_EV_TICK = 8,	/* struct osp_ev_tick: time passes, and which wall time it is */
	OSP_EV_UNIX = 9,	/* struct osp_ev_unix: what the ends of a unix socket are called */
	OSP_EV_KIND_MAX
};

/* Direction as the socket's owner sees it. */
enum osp_dir {
	OSP_TX = 0,		/* sent by the process */
	OSP_RX = 1,		/* received by the process */
	OSP_DIRS
};

/* Which end of the connection the socket's owner is. */
enum osp_role {
	OSP_ROLE_UNKNOWN = 0,
	OSP_ROLE_CLIENT = 1,
	OSP_ROLE_SERVER = 2,
	OSP_ROLE_MAX
};

/* How the role is known, weakest first: a stronger one overrides. */
enum osp_role_from {
	OSP_FROM_NONE = 0,
	OSP_FROM_RESPONSE = 1,	/* it sends (server) or receives (client) responses */
	OSP_FROM_REQUEST = 2,	/* it sends (client) or receives (server) requests */
	OSP_FROM_LISTEN = 3,	/* a listening socket with the same local port (or path) exists */
	OSP_FROM_ACCEPT = 4,	/* seen being accepted */
	OSP_FROM_CONNECT = 5,	/* seen connecting */
	OSP_FROM_MAX
};

/* Where the bytes were seen. */
enum osp_vantage {
	OSP_VANTAGE_SYSCALL = 0,
	OSP_VANTAGE_TLS = 1,
	OSP_VANTAGE_WIRE = 2,
	OSP_VANTAGE_SYNTHETIC = 3,
	OSP_VANTAGE_MAX
};

/* Why bytes that exist are not here. Names for people: osp_cause_name() in record/osp_record.h.
 * Appending one: add the name there and the counter in agent/stats.def too.
 */
enum osp_cause {
	OSP_CAUSE_NONE = 0,
	OSP_CAUSE_RING_FULL = 1,	/* the event ring had no room */
	OSP_CAUSE_UNREADABLE = 2,	/* user memory could not be read (not resident, or hostile) */
	OSP_CAUSE_CAPTURE_CAP = 3,	/* beyond the per-call capture limit */
	OSP_CAUSE_IOV_LIMIT = 4,	/* beyond the number of iovec elements looked at */
	OSP_CAUSE_SENDFILE = 5,		/* sendfile(2): the bytes never were in user memory */
	OSP_CAUSE_SPLICE = 6,		/* splice(2) and friends: the same */
	OSP_CAUSE_IO_URING = 7,		/* moved by io_uring: the buffer is not at hand in the hook */
	OSP_CAUSE_MSG_TRUNC = 8,	/* recv(MSG_TRUNC): discarded by the kernel on request */
	OSP_CAUSE_NO_ARGS = 9,		/* the call's registers can't be trusted in this context */
	OSP_CAUSE_BYPASS = 10,		/* moved by a path without a hook; known by position only */
	OSP_CAUSE_UNREAD = 11,		/* received by the kernel, never read by the process */
	OSP_CAUSE_FILTERED = 12,	/* a filter of the user's applied to this part only */
	OSP_CAUSE_RACE = 13,		/* threads raced on one direction: the order is not known */
	OSP_CAUSE_SHED = 14,		/* the agent's byte budget was reached */
	OSP_CAUSE_INJECTED = 15,	/* synthetic: lost on request */
	OSP_CAUSE_WIRE_LOSS = 16,	/* the capture missed the segment */
	OSP_CAUSE_SNAPLEN = 17,		/* the capture cut the packet */
	OSP_CAUSE_SKIPPED = 18,		/* user space said that nobody needs these bytes */
	OSP_CAUSE_MAX
};

/* Every event starts with this. len counts the header and all that follows it; an event in a
 * recording is padded to 8 bytes beyond len, an event in memory is not.
 */
struct osp_ev_hdr {
	__u32 len;		/* bytes, header included */
	__u8 abi;		/* OSP_EV_ABI */
	__u8 kind;		/* enum osp_ev_kind */
	__u16 cpu;		/* where it was made; diagnostic only */
	__u64 ts_ns;		/* CLOCK_BOOTTIME; for a send: when it had entered the stack */
};

/* Both ends of a connection as the socket's owner sees them. IPv4 is stored v4-mapped
 * (::ffff:a.b.c.d) so that all addresses are 16 bytes; family tells what the socket is.
 */
struct osp_tuple {
	__u8 local[16];
	__u8 remote[16];
	__u16 lport, rport;	/* host order */
	__u16 family;		/* AF_INET, AF_INET6; AF_UNIX: all but netns is zero, see osp_ev_unix */
	__u8 transport;		/* IPPROTO_TCP */
	__u8 pad;
	__u32 netns;		/* inode of the network namespace; 0 unknown */
	__u32 pad2;
};

enum osp_open_how {
	OSP_OPEN_ESTABLISHED = 1,	/* the handshake was seen: positions start here */
	OSP_OPEN_SIGHT = 2,		/* first seen at a data call: it was open before us */
	OSP_OPEN_SEED = 3,		/* found by the scan at start: it was open before us */
};

/* OPEN: a connection exists. For OSP_OPEN_ESTABLISHED a conn id that is already known means that
 * the same socket has been connected anew: the older connection has ended. For the other two a
 * known conn id adds evidence and changes nothing else.
 */
struct osp_ev_open {
	struct osp_ev_hdr h;
	__u64 conn;		/* socket cookie: unique per socket and boot */
	struct osp_tuple tuple;
	__u32 seq[OSP_DIRS];	/* TCP sequence number of the next byte, per direction; unix: 0 */
	__u32 tgid;		/* owner if known, else 0 (a handshake ends in softirq context) */
	__u8 how;		/* enum osp_open_how */
	__u8 role;		/* enum osp_role */
	__u8 role_from;		/* enum osp_role_from */
	__u8 vantage;		/* enum osp_vantage */
};

/* DATA, GAP: bytes [seq, seq + bytes) of one direction (modulo 2^32); the first cap of them follow
 * the struct. cap < bytes: the rest is a gap with this cause. lost and filtered tell what the
 * kernel knows of the hole right before seq, if there is one: that many bytes were given up there
 * because the ring was full, or passed over by a filter; what they leave unexplained went past us.
 *
 * turn counts the changes of direction on the connection, lost events included, from 1: a request
 * in turn n is answered in turn n + 1 where nothing is pipelined. It finds the pairs again after
 * a loss and tells how many exchanges are gone.
 *
 * other is where the opposite direction stood when these bytes were moved (position of its next
 * byte; on the wire, the acknowledgement number): what was moved there before is older than this,
 * even if its event comes later. A thread that receives can be quicker to its hook than the thread
 * that sent the request.
 */
struct osp_ev_data {
	struct osp_ev_hdr h;
	__u64 conn;
	__u32 seq;
	__u32 bytes;		/* as the call moved them */
	__u32 cap;		/* captured, <= bytes */
	__u32 lost;		/* ring full, right before seq, this direction */
	__u32 filtered;		/* filtered, right before seq, this direction */
	__u32 turn;
	__u32 tgid, tid;
	__u8 dir;		/* enum osp_dir */
	__u8 cause;		/* enum osp_cause for [seq + cap, seq + bytes) */
	__u8 vantage;		/* enum osp_vantage */
	__u8 flags;		/* OSP_DF_* */
	__u32 other;		/* with OSP_DF_OTHER */
};
#define OSP_DF_MORE 1		/* another event of the same call follows */
#define OSP_DF_KTLS 2		/* plaintext of a kernel-TLS socket */
#define OSP_DF_OTHER 4		/* other is set */
#define OSP_DF_COPIES 8		/* wire: copies of the connection's packets were removed */
#define OSP_DF_UNSEEN 16	/* wire: a gap of a direction of which no packet has been seen */
#define OSP_DF_LOOSE 32		/* wire: a gap next to one of the other direction: both may have been
				 * several turns
				 */
#define OSP_DF_GATHERED 64	/* of several calls in a row; the time is that of the last, at most a
				 * millisecond after the first
				 */

enum osp_shut_how {
	OSP_SHUT_TX = 1,	/* the owner ended its sending side (FIN follows seq) */
	OSP_SHUT_RX = 2,	/* the peer ended (its FIN follows seq) */
	OSP_SHUT_RESET = 3,	/* RST received: both directions have ended */
	OSP_SHUT_BOTH = 4,	/* the owner closed: nothing it receives from now on is read */
};

/* SHUT: seq is the position after the direction's last byte (tx for _TX and _BOTH, rx for _RX;
 * 0 and meaningless for _RESET). The connection still exists until CLOSE.
 */
struct osp_ev_shut {
	struct osp_ev_hdr h;
	__u64 conn;
	__u32 seq;
	__u8 how;		/* enum osp_shut_how */
	__u8 pad[3];
};

/* CLOSE: the socket is gone. end[OSP_TX]: position after the last byte the process handed to the
 * kernel; end[OSP_RX]: after the last byte the process took; rcv_end: after the last byte the
 * kernel received in order (>= end[OSP_RX]; the difference was never read). FIN is not counted.
 */
#define OSP_CF_FIN_TX 1		/* we sent FIN */
#define OSP_CF_FIN_RX 2		/* the peer sent FIN */
#define OSP_CF_RESET 4		/* RST received, or sent because unread data was thrown away */
#define OSP_CF_TIMEOUT 8	/* the kernel gave up retransmitting */
#define OSP_CF_NO_ENDS 16	/* end[], rcv_end unknown */
#define OSP_CF_BOTH_WAYS 32	/* wire: packets of both directions were seen, if late */
struct osp_ev_close {
	struct osp_ev_hdr h;
	__u64 conn;
	struct osp_tuple tuple;	/* again: the OPEN may be lost; all zero if unknown */
	__u32 end[OSP_DIRS];
	__u32 rcv_end;
	__u32 lost[OSP_DIRS];	/* ring-full bytes after the last event of that direction */
	__u32 filtered[OSP_DIRS];
	__u32 turns;		/* changes of direction in all, from 1; 0: no data was seen */
	__u32 srtt_us;		/* smoothed round trip time; 0 unknown */
	__u32 retransmits;	/* segments, over the connection's life */
	__u32 tgid;		/* who last used it; 0 unknown */
	__u8 flags;		/* OSP_CF_* */
	__u8 role, role_from;
	__u8 pad;
};

/* PROC: who a tgid is, before its first DATA and again after exec. Three strings follow the
 * struct, each with its NUL, in this order: executable path, cgroup path, command line; empty =
 * unknown. The kernel sends no strings, the bpf source adds them before anyone sees the event.
 */
struct osp_ev_proc {
	struct osp_ev_hdr h;
	__u64 start_ns;		/* CLOCK_BOOTTIME at the start of the process: qualifies the pid */
	__u64 cgroup;		/* cgroup v2 id */
	__u32 tgid;		/* in the initial pid namespace */
	__u32 ns_tgid;		/* in its own pid namespace; 0 unknown */
	__u32 ppid;
	__u32 uid;
	__u32 netns;
	__u16 str_len[3];	/* with the NUL; 0 = unknown */
	__u16 pad;
	char comm[OSP_COMM_LEN];
	__u32 pad2;
};

/* LOST: the source's own counters since its start; each is a total, not a difference.
 * seen = delivered + filtered + sum(lost[]) holds at the source's end.
 */
struct osp_ev_lost {
	struct osp_ev_hdr h;
	__u64 seen;		/* events that should have been made */
	__u64 delivered;	/* events made */
	__u64 filtered;		/* events not made because of a filter */
	__u64 filtered_bytes;
	__u64 turns;		/* changes of direction on all connections */
	__u64 peek;		/* calls that only peeked: not stream data, not in seen */
	__u64 lost[8];		/* by OSP_LOST_* */
	__u64 lost_bytes[8];
};
enum osp_lost {
	OSP_LOST_RING = 0,	/* data ring full */
	OSP_LOST_CTL = 1,	/* control ring full */
	OSP_LOST_STATE = 2,	/* no room for the per-connection state */
	OSP_LOST_SOCK = 3,	/* the socket could not be identified */
	OSP_LOST_NESTED = 4,	/* program re-entered on the same CPU */
	OSP_LOST_SCRATCH = 5,	/* no scratch memory for this CPU */
	OSP_LOST_MAX
};

/* TICK: at least every 100 ms from a live source. wall = ts_ns + wall_off_ns (CLOCK_REALTIME),
 * re-read each time because the two clocks drift and are stepped.
 */
struct osp_ev_tick {
	struct osp_ev_hdr h;
	__s64 wall_off_ns;
};

/* UNIX: a connection is between unix stream sockets (OPEN and CLOSE say so by their family), and
 * this is what its ends are called: sun_path as the kernel keeps it. A path may end with a NUL, an
 * abstract name begins with one and has len bytes whatever they are; an end that was never bound
 * has none. Before the connection's first DATA, and again when the other end's cookie is known.
 * Positions of such a connection count from 0 what passed the hooks.
 */
#define OSP_UNIX_NAME 108	/* sizeof(sun_path) */
enum osp_unix_end { OSP_UNIX_LOCAL = 0, OSP_UNIX_REMOTE = 1, OSP_UNIX_ENDS };
struct osp_ev_unix {
	struct osp_ev_hdr h;
	__u64 conn;
	__u64 peer;		/* cookie of the other end's socket; 0 not known */
	__u32 netns;
	__u16 len[OSP_UNIX_ENDS];	/* <= OSP_UNIX_NAME */
	char name[OSP_UNIX_ENDS][OSP_UNIX_NAME];
};

#define OSP_ASSERT_SIZE(s, n) _Static_assert(sizeof(struct s) == (n), "event ABI: " #s)
OSP_ASSERT_SIZE(osp_ev_hdr, 16);
OSP_ASSERT_SIZE(osp_tuple, 48);
OSP_ASSERT_SIZE(osp_ev_open, 88);
OSP_ASSERT_SIZE(osp_ev_data, 64);
OSP_ASSERT_SIZE(osp_ev_shut, 32);
OSP_ASSERT_SIZE(osp_ev_close, 120);
OSP_ASSERT_SIZE(osp_ev_proc, 80);
OSP_ASSERT_SIZE(osp_ev_lost, 192);
OSP_ASSERT_SIZE(osp_ev_tick, 24);
OSP_ASSERT_SIZE(osp_ev_unix, 256);

#endif
