// SPDX-License-Identifier: GPL-3.0-or-later
/* osprey.bpf.c: the kernel side.
 *
 * No parsing here: who, which socket, where in the stream, the bytes. Two ways to see data calls,
 * of which the agent loads one:
 *
 *   sock mode     sock_send_length, sock_recv_length (6.3): fire in socket calls and nowhere else,
 *                 with the socket at hand; every other system call of the host pays nothing.
 *   syscall mode  sys_exit: sees every call of everybody, and finds the socket by walking from the
 *                 fd. For kernels that have nothing better.
 *
 * Nothing is carried from entry to exit: both read the call's registers when it is done, so a
 * call that was under way when we attached is seen like any other. Lifetime is the socket's own
 * (inet_sock_set_state, tcp_destroy_sock), so connect, accept, shutdown, close, dup and fd passing
 * need no hooks.
 *
 *   osp_maps.bpf.h    maps, knobs           osp_emit.bpf.h    events into rings
 *   osp_sock.bpf.h    reading sockets       osp_filter.bpf.h  what the user wants
 *   osp_skip.bpf.h    what nobody needs     osp_tiny.bpf.h    many calls of few bytes
 *   osp_unix.bpf.h    reading unix sockets
 */
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "bpf/osp_filter.bpf.h"
#include "bpf/osp_skip.bpf.h"
#include "bpf/osp_tiny.bpf.h"
#include "bpf/osp_unix.bpf.h"

char LICENSE[] SEC("license") = "GPL";

#define ENOSYS 38
#define ECONNABORTED 103
#define ECONNRESET 104
#define ETIMEDOUT 110
#define EPIPE 32
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define SHUTDOWN_MASK 3
#define PF_KTHREAD 0x00200000	/* include/linux/sched.h */

/* include/linux/socket.h */
#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000

/* x86-64 system call numbers, arch/x86/entry/syscalls/syscall_64.tbl. */
enum {
	NR_READ = 0, NR_WRITE = 1, NR_READV = 19, NR_WRITEV = 20, NR_SENDFILE = 40,
	NR_SENDTO = 44, NR_RECVFROM = 45, NR_SENDMSG = 46, NR_RECVMSG = 47, NR_SPLICE = 275,
	NR_TEE = 276, NR_RECVMMSG = 299, NR_SENDMMSG = 307, NR_PREADV2 = 327, NR_PWRITEV2 = 328,
	NR_IO_URING_ENTER = 426,
};

/* struct user_msghdr and struct mmsghdr are user ABI. */
struct osp_msghdr {
	__u64 name;
	__u32 namelen, pad;
	__u64 iov, iovlen, control, controllen;
	__u32 flags, pad2;
};
struct osp_mmsghdr {
	struct osp_msghdr hdr;
	__u32 len, pad;
};

/* ---- what both modes do with a data call ------------------------------------------------- */

/* First call on a socket, first one by this process, or the filters have changed. The verdict is
 * there before it says whose it is: other threads use the socket, too.
 */
static __always_inline void review(struct osp_sk *st, __u32 tgid)
{
	__u32 gen = *(volatile __u32 *)&osp_live.gen;
	__u8 take = want(SLOT_DATA, st->role, tgid);

	if (take)
		emit_proc(tgid);
	*(volatile __u8 *)&st->take = take;
	*(volatile __u32 *)&st->gen = gen;
	*(volatile __u32 *)&st->tgid = tgid;
}

/* How many bytes of a call may be copied. */
static __always_inline __u32 may_copy(struct osp_sk *st, __u32 ret)
{
	__u32 max = osp_knobs.call_cap, room;

	if (!osp_knobs.turn_cap)
		return max;
	room = osp_knobs.turn_cap > st->turn_copied ? osp_knobs.turn_cap - st->turn_copied : 0;
	max = max < room ? max : room;
	st->turn_copied += ret < max ? ret : max;
	return max;
}

/* Counts the call's turn. Whether it is the first of one. */
static __always_inline bool turned(struct osp_sk *st, struct osp_counters *cnt, __u32 dir)
{
	if (st->last_dir == dir + 1)
		return false;
	st->last_dir = dir + 1;
	st->turn++;
	if (osp_knobs.turn_cap)
		st->turn_copied = 0;
	if (st->take)
		cnt->turns++;
	return true;
}

static __always_inline void filtered(struct osp_sk *st, struct osp_counters *cnt, __u32 dir,
				     __u32 ret)
{
	__sync_fetch_and_add(&st->filtered[dir & 1], ret);
	cnt->seen++;
	cnt->filtered++;
	cnt->filtered_bytes += ret;
}

/* There is no room to keep anything of the socket. */
static __always_inline int no_state(struct osp_counters *cnt, __u32 ret)
{
	cnt->seen++;
	cnt->lost[OSP_LOST_STATE]++;
	cnt->lost_bytes[OSP_LOST_STATE] += ret;
	return 0;
}

/* Whether the call is one of a process and socket that the filters do not want, and was known to be:
 * then it is counted, and that is all. Most calls of a host are such, hence asked first.
 */
static __always_inline bool passed_by(struct osp_sk *st, struct osp_counters *cnt, __u32 dir,
				      __u32 ret)
{
	if (st->take || st->gen != *(volatile __u32 *)&osp_live.gen ||
	    st->tgid != bpf_get_current_pid_tgid() >> 32)
		return false;
	turned(st, cnt, dir);
	filtered(st, cnt, dir, ret);
	return true;
}

/* The call in its per-CPU slot, filled with all that its events have in common; NULL: it is not to
 * be captured. end() belongs to it.
 */
static __always_inline struct osp_call *begin(struct sock *sk, struct osp_sk *st,
					      struct osp_counters *cnt, __u32 dir, __u32 ret)
{
	__u64 id = bpf_get_current_pid_tgid();
	struct osp_call *call = this_call();
	__u32 tgid = id >> 32;

	if (!call)
		return NULL;
	if (st->tgid != tgid || st->gen != *(volatile __u32 *)&osp_live.gen) {
		call->sk = (__u64)sk;
		review(st, tgid);
	}
	call->first = turned(st, cnt, dir);
	if (!st->take) {
		filtered(st, cnt, dir, ret);
		return NULL;
	}
	if (!st->announced)
		emit_open(sk, st);
	call->ts = bpf_ktime_get_boot_ns();
	call->conn = st->id;
	call->left = ret;
	call->cap_left = may_copy(st, ret);
	call->lost = call->lost0 = st->lost[dir & 1];
	call->filtered = call->filtered0 = st->filtered[dir & 1];
	call->turn = st->turn;
	call->tgid = tgid;
	call->tid = id;
	call->dir = dir;
	call->cause = OSP_CAUSE_CAPTURE_CAP;
	return call;
}

static __always_inline void end(struct osp_call *call, struct osp_sk *st)
{
	__u8 dir = call->dir & 1;

	/* Differences: another thread may have added to them meanwhile. */
	if (call->lost != call->lost0)
		__sync_fetch_and_add(&st->lost[dir], call->lost - call->lost0);
	if (call->filtered != call->filtered0)
		__sync_fetch_and_add(&st->filtered[dir], call->filtered - call->filtered0);
}

/* A connection that was open before we were: what is known of it starts here. */
static __always_inline void first_sight(struct osp_sk *st, const struct osp_pos *pos, __u32 dir,
					__u32 ret)
{
	st->opened_ns = bpf_ktime_get_boot_ns();
	st->how = OSP_OPEN_SIGHT;
	st->seq[OSP_TX] = pos->tx_end - (dir == OSP_TX ? ret : 0);
	st->seq[OSP_RX] = pos->rx_end - (dir == OSP_RX ? ret : 0);
}

/* Both ends can have sent FIN before the last of what was received is read: then the state is
 * TCP_CLOSE and does not tell that ours is counted in write_seq.
 */
static __always_inline __u32 sent_end(const struct osp_sk *st, const struct osp_pos *pos)
{
	return st->closed ? st->tx_end : pos->tx_end;
}

/* Where a call's bytes are in user memory. */
enum { ARG_NONE, ARG_BUFFER, ARG_VECTOR, ARG_MSG, ARG_MMSG };

struct osp_args {
	__u64 ptr, cnt;		/* buffer; vector of cnt elements; struct msghdr */
	__u32 how;		/* ARG_* */
	__u32 cause;		/* for ARG_NONE */
};

/* Where a long call's first bytes are, and what follows them. */
static __always_inline void look_ahead(struct osp_call *call, struct osp_sk *st, struct osp_args *a)
{
	__u64 elem[4] = {};

	if (!osp_knobs.skip_from || !call->first)
		return;
	/* A buffer that was filled to its end: more is waiting, however small the reads are. */
	if (call->left < OSP_HINT_CALL &&
	    (a->how != ARG_BUFFER || call->dir != OSP_RX || call->left < OSP_HINT_READ ||
	     call->left != a->cnt))
		return;
	if (a->how == ARG_BUFFER)
		skip_hint(st, a->ptr, call->left, 0);
	else if (a->how == ARG_VECTOR &&
		 !bpf_probe_read_user(elem, sizeof(elem), (void *)a->ptr))
		skip_hint(st, elem[0], elem[1] < call->left ? elem[1] : call->left, elem[2]);
}

/* All of one call, or of one message of a vector call. */
static __always_inline void emit_call(struct osp_call *call, struct osp_sk *st, struct osp_args *a,
				      const bool plain)
{
	struct osp_msghdr m;
	__u64 elem[2];

	if (!plain && st->tiny_any && call->left > osp_knobs.gather)
		tiny_flush(st);
	if (!call->cap_left) {
		call->cause = a->how == ARG_NONE ? a->cause : OSP_CAUSE_CAPTURE_CAP;
		emit_gap();
		return;
	}
	if (a->how == ARG_MSG) {
		a->how = ARG_VECTOR;
		if (bpf_probe_read_user(&m, sizeof(m), (void *)a->ptr)) {
			a->how = ARG_NONE;
			a->cause = OSP_CAUSE_UNREADABLE;
		}
		a->ptr = m.iov;
		a->cnt = m.iovlen;
	}
	if (a->how == ARG_VECTOR && a->cnt == 1) {
		a->how = ARG_BUFFER;
		if (bpf_probe_read_user(elem, sizeof(elem), (void *)a->ptr)) {
			a->how = ARG_NONE;
			a->cause = OSP_CAUSE_UNREADABLE;
		}
		a->ptr = elem[0];
	}
	if (!plain && call->left <= osp_knobs.gather) {
		if (tiny_call(st, a->how == ARG_BUFFER ? a->ptr : 0))
			return;
	} else if (!plain) {
		look_ahead(call, st, a);
	}
	if (a->how == ARG_BUFFER) {
		plain ? emit_buffer_plain(a->ptr) : emit_buffer(a->ptr);
	} else if (a->how == ARG_VECTOR) {
		if (plain)
			emit_vector_plain(a->ptr, a->cnt);
		else if (!emit_few(a->ptr, a->cnt))
			emit_vector(a->ptr, a->cnt);
	} else {
		call->cause = a->cause;
		emit_gap();
	}
}

/* A compat (ia32) call has other numbers and other structs: arch/x86/include/asm/thread_info.h. */
#define TS_COMPAT 2

/* ---- sock mode ---------------------------------------------------------------------------- */

/* sendmmsg and recvmmsg pass here once a message, and the registers know the vector only: the
 * socket keeps which message is next. A new call begins at 0: the last one ended with the vector,
 * with an error (which passes here, too), or with a message moved in part.
 */
static __always_inline void mmsg_next(struct osp_args *a, struct osp_call *call, struct osp_sk *st)
{
	__u32 idx = 0;

	if (st->mmsg_vec == a->ptr && st->mmsg_tid == call->tid)
		idx = st->mmsg_next;
	st->mmsg_vec = 0;
	if (idx + 1 < a->cnt) {
		st->mmsg_vec = a->ptr;
		st->mmsg_tid = call->tid;
		st->mmsg_next = idx + 1;
	}
	a->how = ARG_MSG;
	a->ptr += idx * sizeof(struct osp_mmsghdr);
}

/* Which calls pass a socket hook, and where their bytes are. */
static __always_inline void sock_args(struct osp_args *a, struct task_struct *task,
				      struct pt_regs *regs, __u32 dir, int flags)
{
	__u64 nr = regs->orig_ax;

	a->how = ARG_NONE;
	a->ptr = regs->si;
	a->cnt = regs->dx;
	/* io_uring completes in task work on the way out of unrelated calls, whose registers would
	 * label their buffers as ours. Inside a call's body, and only there, ax still holds what
	 * the entry code put there: -ENOSYS. Measured on task work (the return value), SQPOLL and
	 * kernel threads (0).
	 */
	if (regs->ax != (unsigned long)-ENOSYS)
		a->cause = task->flags & PF_KTHREAD ? OSP_CAUSE_NO_ARGS : OSP_CAUSE_IO_URING;
	else if (task->thread_info.status & TS_COMPAT)
		a->cause = OSP_CAUSE_NO_ARGS;
	else if (dir == OSP_RX && (flags & MSG_TRUNC))
		a->cause = OSP_CAUSE_MSG_TRUNC;
	else if (dir == OSP_TX ? nr == NR_WRITE || nr == NR_SENDTO :
				 nr == NR_READ || nr == NR_RECVFROM)
		a->how = ARG_BUFFER;
	else if (dir == OSP_TX ? nr == NR_WRITEV || nr == NR_PWRITEV2 :
				 nr == NR_READV || nr == NR_PREADV2)
		a->how = ARG_VECTOR;
	else if (dir == OSP_TX ? nr == NR_SENDMSG : nr == NR_RECVMSG)
		a->how = ARG_MSG;
	else if (dir == OSP_TX ? nr == NR_SENDMMSG : nr == NR_RECVMMSG)
		a->how = ARG_MMSG;
	else
		a->cause = nr == NR_SENDFILE ? OSP_CAUSE_SENDFILE :
			   nr == NR_SPLICE || nr == NR_TEE ? OSP_CAUSE_SPLICE :
			   nr == NR_IO_URING_ENTER ? OSP_CAUSE_IO_URING : OSP_CAUSE_NO_ARGS;
}

/* Further down: unix stream sockets. */
static __noinline int unix_data(struct sock *sk, int ret, int flags, __u32 dir);

/* A call that moved something on a TCP socket, of which it is not known that nobody wants it. how:
 * flags, and the direction above them, since five arguments are all there can be.
 */
static __noinline int sock_moved(struct sock *sk, struct osp_sk *st, struct osp_counters *cnt,
				 __u32 moved, __u64 how)
{
	__u32 dir = how >> 32, flags = how;
	struct osp_args a = {};
	struct task_struct *task;
	struct osp_call *call;
	struct pt_regs *regs;
	struct tcp_sock *tp;
	struct osp_pos pos;

	tp = bpf_skc_to_tcp_sock(sk);
	if (!tp)
		return 0;	/* family and protocol say TCP */
	pos = make_pos(tp->write_seq, tp->copied_seq, tp->rcv_nxt,
		       state_after_fin_tx(sk->__sk_common.skc_state),
		       flag_done(sk->__sk_common.skc_flags));
	if (!st) {
		st = sk_make(sk, FRESH_DATA);
		if (!st)
			return no_state(cnt, moved);
		first_sight(st, &pos, dir, moved);
	}
	call = begin(sk, st, cnt, dir, moved);
	if (!call)
		return 0;
	call->seq = (dir == OSP_TX ? pos.tx_end : pos.rx_end) - moved;
	call->other = dir == OSP_TX ? pos.rx_end : sent_end(st, &pos);
	if (skip(st))
		goto out;
	task = bpf_get_current_task_btf();
	regs = (struct pt_regs *)bpf_task_pt_regs(task);
	sock_args(&a, task, regs, dir, flags);
	if (a.how == ARG_MMSG)
		mmsg_next(&a, call, st);
	emit_call(call, st, &a, false);
out:
	end(call, st);
	return 0;
}

static __always_inline int sock_data(struct sock *sk, int ret, int flags, __u32 dir)
{
	struct osp_counters *cnt;
	struct osp_sk *st;
	__u16 family = sk->__sk_common.skc_family;

	if ((family != AF_INET && family != AF_INET6) || sk->sk_protocol != IPPROTO_TCP) {
		if (osp_knobs.unix_too && family == AF_UNIX)
			unix_data(sk, ret, flags, dir);
		return 0;	/* not a TCP stream: none of ours */
	}
	cnt = counters();
	if (!cnt)
		return 0;	/* a per-CPU array of one element always has it */
	if (ret > 0 && dir == OSP_RX && (flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB))) {
		cnt->peek++;
		return 0;
	}
	st = bpf_sk_storage_get(&osp_sk_store, sk, 0, 0);
	if (ret <= 0) {
		if (st)
			st->mmsg_vec = 0;
		return 0;
	}
	if (st && passed_by(st, cnt, dir, ret))
		return 0;
	return sock_moved(sk, st, cnt, ret, (__u64)dir << 32 | (__u32)flags);
}

SEC("tp_btf/sock_send_length")
int BPF_PROG(osp_sock_send, struct sock *sk, int ret, int flags)
{
	enter_hook();
	sock_data(sk, ret, flags, OSP_TX);
	leave_hook();
	return 0;
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(osp_sock_recv, struct sock *sk, int ret, int flags)
{
	enter_hook();
	sock_data(sk, ret, flags, OSP_RX);
	leave_hook();
	return 0;
}

/* ---- syscall mode ------------------------------------------------------------------------- */

struct osp_sys {
	struct osp_args a;
	__u32 fd;
	__u32 flags;		/* MSG_*, where the call has them */
	__u32 dir;
};

static __always_inline bool sys_is(struct osp_sys *sys, __u32 dir, __u32 how, __u32 flags)
{
	sys->dir = dir;
	sys->a.how = how;
	sys->flags = flags;
	return true;
}

/* Which calls move stream data, and how. False: not one of them. */
static __always_inline bool sys_args(struct osp_sys *sys, struct pt_regs *regs)
{
	sys->fd = regs->di;
	sys->a.ptr = regs->si;
	sys->a.cnt = regs->dx;
	switch (regs->orig_ax) {
	case NR_READ:
		return sys_is(sys, OSP_RX, ARG_BUFFER, 0);
	case NR_WRITE:
	case NR_SENDTO:
		return sys_is(sys, OSP_TX, ARG_BUFFER, 0);
	case NR_READV:
	case NR_PREADV2:
		return sys_is(sys, OSP_RX, ARG_VECTOR, 0);
	case NR_WRITEV:
	case NR_PWRITEV2:
		return sys_is(sys, OSP_TX, ARG_VECTOR, 0);
	case NR_RECVFROM:
		return sys_is(sys, OSP_RX, ARG_BUFFER, regs->r10);
	case NR_SENDMSG:
		return sys_is(sys, OSP_TX, ARG_MSG, 0);
	case NR_RECVMSG:
		return sys_is(sys, OSP_RX, ARG_MSG, regs->dx);
	case NR_SENDMMSG:
		return sys_is(sys, OSP_TX, ARG_MMSG, 0);
	case NR_RECVMMSG:
		return sys_is(sys, OSP_RX, ARG_MMSG, regs->r10);
	case NR_SENDFILE:
		sys->a.cause = OSP_CAUSE_SENDFILE;
		return sys_is(sys, OSP_TX, ARG_NONE, 0);
	case NR_SPLICE:	/* to a socket; from one is a bypass, known by position */
		sys->a.cause = OSP_CAUSE_SPLICE;
		sys->fd = regs->dx;
		return sys_is(sys, OSP_TX, ARG_NONE, 0);
	}
	return false;
}

/* fd -> struct sock, NULL for everything that is not a socket. No cache by fd: every dup, close
 * and fd passing would have to keep it right, and the walk costs little more.
 */
static __always_inline struct sock *sock_of_fd(struct task_struct *task, __u32 fd)
{
	struct fdtable *fdt = BPF_CORE_READ(task, files, fdt);
	struct file **array, *file = NULL;
	struct socket *sock;

	if (fd >= BPF_CORE_READ(fdt, max_fds))
		return NULL;
	array = BPF_CORE_READ(fdt, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), array + fd) || !file)
		return NULL;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	sock = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(sock, sk);
}

static __always_inline bool is_tcp(struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if (family != AF_INET && family != AF_INET6)
		return false;
	/* Before 5.6 sk_protocol was a bitfield; we start at 5.8. */
	return BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP;
}

/* A finished sendmmsg or recvmmsg is gone through twice: to add up its messages (only then the
 * position of the first byte is known), then to emit them one by one.
 */
static long mmsg_add(__u64 i, void *unused)
{
	struct osp_call *call = this_call();
	__u32 len = 0;

	if (!call || i >= call->mmsg_n)
		return 1;
	bpf_probe_read_user(&len, sizeof(len),
			    (void *)(call->mmsg + i * sizeof(struct osp_mmsghdr) +
				     __builtin_offsetof(struct osp_mmsghdr, len)));
	call->mmsg_total += len;
	return 0;
}

static __always_inline long mmsg_emit(__u64 i, const bool plain)
{
	struct osp_call *call = this_call();
	struct osp_mmsghdr m;

	if (!call || i >= call->mmsg_n || !call->mmsg_left)
		return 1;
	if (bpf_probe_read_user(&m, sizeof(m), (void *)(call->mmsg + i * sizeof(m))))
		return 1;
	if (m.len > call->mmsg_left)
		m.len = call->mmsg_left;
	call->mmsg_left -= m.len;
	call->left = m.len;
	/* Of a turn a message is part: at most so much of each. */
	call->cap_left = osp_knobs.turn_cap && osp_knobs.turn_cap < osp_knobs.call_cap ?
				 osp_knobs.turn_cap : osp_knobs.call_cap;
	call->cause = OSP_CAUSE_CAPTURE_CAP;
	plain ? emit_vector_plain(m.hdr.iov, m.hdr.iovlen) :
		emit_vector(m.hdr.iov, m.hdr.iovlen);
	return 0;
}

static long mmsg_emit_step(__u64 i, void *unused)
{
	return mmsg_emit(i, false);
}

/* As many messages as the plain form looks at; the rest of the call is a gap. */
#define OSP_PLAIN_MMSG 8

static __always_inline void sys_mmsg(struct osp_call *call, const bool plain)
{
	int i;

	call->mmsg_left = call->left;
	if (plain) {
		for (i = 0; i < OSP_PLAIN_MMSG; i++)
			if (mmsg_emit(i, true))
				break;
	} else {
		bpf_loop(OSP_IOV_MAX, mmsg_emit_step, NULL, 0);
	}
	call->left = call->mmsg_left;
	call->cause = OSP_CAUSE_IOV_LIMIT;
	emit_gap();
}

static __always_inline __u64 mmsg_total(__u64 vec, __u64 n, const bool plain)
{
	struct osp_call *call = this_call();
	int i;

	if (!call)
		return 0;
	call->mmsg = vec;
	call->mmsg_n = n;
	call->mmsg_total = 0;
	if (plain) {
		for (i = 0; i < OSP_IOV_MAX; i++)
			if (mmsg_add(i, NULL))
				break;
	} else {
		bpf_loop(OSP_IOV_MAX, mmsg_add, NULL, 0);
	}
	return call->mmsg_total;
}

static __always_inline int sys_data(struct pt_regs *regs, long ret, const bool plain)
{
	struct osp_counters *cnt;
	struct osp_sys sys = {};
	struct osp_call *call;
	struct osp_pos pos;
	struct task_struct *task;
	struct osp_sk *st;
	struct sock *sk;
	__u64 key;

	if (ret <= 0 || !sys_args(&sys, regs))
		return 0;
	task = (struct task_struct *)bpf_get_current_task();
	sk = sock_of_fd(task, sys.fd);
	if (!sk || !is_tcp(sk) || (BPF_CORE_READ(task, thread_info.status) & TS_COMPAT))
		return 0;
	cnt = counters();
	if (!cnt)
		return 0;
	if (sys.dir == OSP_RX && (sys.flags & (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB))) {
		cnt->peek++;
		return 0;
	}
	if (sys.a.how == ARG_MMSG)
		ret = mmsg_total(sys.a.ptr, ret, plain);
	key = (__u64)sk;
	st = bpf_map_lookup_elem(&osp_sk_hash, &key);
	if (st && passed_by(st, cnt, sys.dir, ret))
		return 0;
	pos = read_pos(sk, state_after_fin_tx(BPF_CORE_READ(sk, __sk_common.skc_state)));
	if (!st) {
		st = sk_hash_make(sk, BPF_CORE_READ(sk, __sk_common.skc_cookie.counter),
				  FRESH_DATA);
		if (!st)
			return no_state(cnt, ret);
		first_sight(st, &pos, sys.dir, ret);
	}
	call = begin(sk, st, cnt, sys.dir, ret);
	if (!call)
		return 0;
	call->seq = (sys.dir == OSP_TX ? pos.tx_end : pos.rx_end) - (__u32)ret;
	call->other = sys.dir == OSP_TX ? pos.rx_end : sent_end(st, &pos);
	if (skip(st))
		goto out;
	if (sys.dir == OSP_RX && (sys.flags & MSG_TRUNC)) {
		sys.a.how = ARG_NONE;
		sys.a.cause = OSP_CAUSE_MSG_TRUNC;
	}
	if (sys.a.how == ARG_MMSG)
		sys_mmsg(call, plain);
	else
		emit_call(call, st, &sys.a, plain);
out:
	end(call, st);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(osp_sys_exit, struct pt_regs *regs, long ret)
{
	enter_hook();
	sys_data(regs, ret, false);
	leave_hook();
	return 0;
}

/* For kernels without bpf_loop(). */
SEC("tp_btf/sys_exit")
int BPF_PROG(osp_sys_exit_plain, struct pt_regs *regs, long ret)
{
	return sys_data(regs, ret, true);
}

/* ---- lifetime, both modes ----------------------------------------------------------------- */

static __always_inline void emit_shut(struct osp_sk *st, __u32 seq, __u8 how)
{
	struct osp_ev_shut *ev;

	if (!st->announced)
		return;
	ev = ctl_reserve(osp_ev_shut);
	if (!ev) {
		ctl_lost();
		return;
	}
	fill_hdr(&ev->h, sizeof(*ev), OSP_EV_SHUT, bpf_ktime_get_boot_ns());
	ev->conn = st->id;
	ev->seq = seq;
	ev->how = how;
	ev->pad[0] = ev->pad[1] = ev->pad[2] = 0;
	ctl_submit(ev);
}

/* Handshake done. Softirq context as a rule: current is anybody, so no process and no filter here;
 * OPEN waits for the first data call.
 */
static __always_inline void established(struct sock *sk, int old, const __u32 slot)
{
	struct osp_pos pos = read_pos(sk, false);
	struct osp_sk *st = sk_make(sk, slot);
	__u32 serial;
	__u64 id;

	if (!st) {
		ctl_count(seen);
		ctl_count(lost[OSP_LOST_STATE]);
		return;
	}
	/* A socket that connects anew (after AF_UNSPEC) starts from nothing. */
	id = st->id;
	serial = st->skip_serial;
	__builtin_memset(st, 0, sizeof(*st));
	st->id = id;
	st->skip_serial = serial;
	st->opened_ns = bpf_ktime_get_boot_ns();
	st->how = OSP_OPEN_ESTABLISHED;
	st->seq[OSP_TX] = pos.tx_end;
	st->seq[OSP_RX] = pos.rcv_end;
	st->role = old == TCP_SYN_SENT ? OSP_ROLE_CLIENT : OSP_ROLE_SERVER;
	st->role_from = old == TCP_SYN_SENT ? OSP_FROM_CONNECT : OSP_FROM_ACCEPT;
}

/* A program that is under way on a CPU is passed over there, and softirq establishes, ends and destroys
 * sockets in the middle of a process's doing so. Hence two programs for two things on one tracepoint,
 * each of which says when it is under way, and a third, "again", behind them, which does what
 * they would have done if they are. Whoever interrupts that one, too, is counted as lost (nested).
 */
static __always_inline struct osp_way *begin_way(__u32 which)
{
	struct osp_way *way = bpf_map_lookup_elem(&osp_ways, &which);

	if (way)
		*(volatile __u32 *)&way->busy = 1;
	return way;
}

static __always_inline void end_way(struct osp_way *way)
{
	if (way)
		*(volatile __u32 *)&way->busy = 0;
}

/* Whether it was passed over just now; counted as made up for. */
static __always_inline bool passed_over(__u32 which)
{
	struct osp_way *way = bpf_map_lookup_elem(&osp_ways, &which);

	if (!way || !*(volatile __u32 *)&way->busy)
		return false;
	__sync_fetch_and_add(&way->again, 1);
	return true;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(osp_established, struct sock *sk, int old, int new)
{
	struct osp_way *way;

	enter_hook();
	way = begin_way(OSP_WAY_ESTABLISHED);
	if (new == TCP_ESTABLISHED && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP)
		established(sk, old, FRESH_EST);
	end_way(way);
	leave_hook();
	return 0;
}

static __always_inline void ending(struct sock *sk, int old, int new)
{
	struct osp_pos pos;
	struct osp_sk *st;
	int err;

	if (old == TCP_SYN_SENT || old == TCP_LISTEN || old == TCP_NEW_SYN_RECV)
		return;
	st = sk_find(sk);
	if (!st)
		return;
	if (st->skip_any)
		skip_flush_end(st);
	pos = read_pos(sk, state_after_fin_tx(old));
	if (new == TCP_FIN_WAIT1 || new == TCP_LAST_ACK) {
		/* The FIN is queued after the state is set: write_seq is still the data's end. */
		st->close_flags |= OSP_CF_FIN_TX;
		emit_shut(st, pos.tx_end,
			  (BPF_CORE_READ_BITFIELD_PROBED(sk, sk_shutdown) & SHUTDOWN_MASK) ==
					  SHUTDOWN_MASK ? OSP_SHUT_BOTH : OSP_SHUT_TX);
	} else if (new == TCP_CLOSE_WAIT || new == TCP_CLOSING) {
		st->close_flags |= OSP_CF_FIN_RX;
		emit_shut(st, pos.rcv_end, OSP_SHUT_RX);
	} else if (new == TCP_CLOSE) {
		/* Nothing is sent from here on; tcp_disconnect() (SO_LINGER of 0, AF_UNSPEC) moves
		 * write_seq by more than the window so that a successor cannot be mistaken.
		 */
		st->tx_end = pos.tx_end;
		st->closed = 1;
		err = BPF_CORE_READ(sk, sk_err);
		if (flag_done(BPF_CORE_READ(sk, __sk_common.skc_flags)) &&
		    !(st->close_flags & OSP_CF_FIN_RX)) {
			/* FIN_WAIT2 goes to time-wait, which is another socket. */
			st->close_flags |= OSP_CF_FIN_RX;
			emit_shut(st, pos.rcv_end, OSP_SHUT_RX);
		}
		if (err == ETIMEDOUT) {
			st->close_flags |= OSP_CF_TIMEOUT;
			emit_shut(st, 0, OSP_SHUT_RESET);
		} else if (err == ECONNRESET || err == EPIPE || err == ECONNABORTED ||
			   old == TCP_ESTABLISHED || old == TCP_CLOSE_WAIT) {
			st->close_flags |= OSP_CF_RESET;
			emit_shut(st, 0, OSP_SHUT_RESET);
		}
	}
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(osp_ending, struct sock *sk, int old, int new)
{
	struct osp_way *way;

	enter_hook();
	way = begin_way(OSP_WAY_ENDING);
	if (new != TCP_ESTABLISHED && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP)
		ending(sk, old, new);
	end_way(way);
	leave_hook();
	return 0;
}

/* Both were passed over whether or not the change was theirs. */
SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(osp_set_state_again, struct sock *sk, int old, int new)
{
	bool est, end;

	enter_hook();
	est = passed_over(OSP_WAY_ESTABLISHED);
	end = passed_over(OSP_WAY_ENDING);
	if ((est || end) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP) {
		if (new == TCP_ESTABLISHED && est)
			established(sk, old, FRESH_AGAIN);
		else if (new != TCP_ESTABLISHED && end)
			ending(sk, old, new);
	}
	leave_hook();
	return 0;
}

/* The socket is gone for its owner, too: data that had arrived before the end may still have been
 * read up to here, so only now are the positions final.
 */
static __always_inline void destroyed(struct sock *sk, __u32 slot)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;
	struct osp_sk *st = sk_find(sk);
	struct osp_ev_close *ev;
	__u64 key = (__u64)sk;
	struct osp_call *call = bpf_map_lookup_elem(&osp_calls, &slot);
	struct osp_pos pos;

	if (!st || !call)
		return;
	call->sk = key;
	if (!st->announced && !st->turn && want(slot, st->role, 0))
		emit_open(sk, st);
	if (st->skip_any)
		skip_flush_end(st);
	if (st->announced || (st->turn && st->take)) {
		pos = read_pos(sk, st->close_flags & OSP_CF_FIN_TX);
		ev = ctl_reserve(osp_ev_close);
		if (!ev) {
			ctl_lost();
			goto out;
		}
		fill_hdr(&ev->h, sizeof(*ev), OSP_EV_CLOSE, bpf_ktime_get_boot_ns());
		ev->conn = st->id;
		read_tuple(&ev->tuple, sk);
		ev->end[OSP_TX] = sent_end(st, &pos);
		ev->end[OSP_RX] = pos.rx_end;
		ev->rcv_end = pos.rcv_end;
		ev->lost[0] = st->lost[0];
		ev->lost[1] = st->lost[1];
		ev->filtered[0] = st->filtered[0];
		ev->filtered[1] = st->filtered[1];
		ev->turns = st->turn;
		ev->srtt_us = BPF_CORE_READ(tp, srtt_us) >> 3;
		ev->retransmits = BPF_CORE_READ(tp, total_retrans);
		ev->tgid = st->tgid;
		ev->flags = st->close_flags;
		ev->role = st->role;
		ev->role_from = st->role_from;
		ev->pad = 0;
		ctl_submit(ev);
	}
out:
	if (osp_knobs.capture == OSP_CAPTURE_SYSCALL)
		bpf_map_delete_elem(&osp_sk_hash, &key);
	else
		st->announced = 0, st->turn = 0, st->take = 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(osp_destroy, struct sock *sk)
{
	struct osp_way *way;

	enter_hook();
	way = begin_way(OSP_WAY_DESTROY);
	destroyed(sk, SLOT_DESTROY);
	end_way(way);
	leave_hook();
	return 0;
}

SEC("tp_btf/tcp_destroy_sock")
int BPF_PROG(osp_destroy_again, struct sock *sk)
{
	enter_hook();
	if (passed_over(OSP_WAY_DESTROY))
		destroyed(sk, SLOT_AGAIN);
	leave_hook();
	return 0;
}

/* ---- unix stream sockets, sock mode only ---------------------------------------------------- */

/* A call that moved nothing tells of the end: the peer has closed, or threw away what it was sent. */
static __always_inline void unix_nothing(struct sock *sk, int ret, int flags, __u32 dir)
{
	struct osp_unix *un = unix_find(sk);

	if (!un)
		return;
	un->st.mmsg_vec = 0;
	if (ret == -ECONNRESET && !(un->st.close_flags & OSP_CF_RESET)) {
		un->st.close_flags |= OSP_CF_RESET;
		emit_shut(&un->st, 0, OSP_SHUT_RESET);
	}
	/* A peek passes here with 0, whatever it saw (net/socket.c, sock_recvmsg_nosec()). */
	if (ret || dir != OSP_RX || (flags & MSG_PEEK) || (un->st.close_flags & OSP_CF_FIN_RX))
		return;
	if (unix_peer_ended(sk)) {
		skip_flush_end(&un->st);
		un->st.close_flags |= OSP_CF_FIN_RX;
		emit_shut(&un->st, un->at[OSP_RX], OSP_SHUT_RX);
	}
}

/* As sock_data(), but the kernel keeps no positions: we count. Threads that use one direction of one
 * socket at the same time may pass here in another order than their bytes stand in.
 */
static __noinline int unix_data(struct sock *sk, int ret, int flags, __u32 dir)
{
	struct osp_counters *cnt;
	struct osp_args a = {};
	struct task_struct *task;
	struct osp_call *call;
	struct osp_unix *un;
	__u32 seq;

	if (sk->sk_type != SOCK_STREAM)
		return 0;
	if (ret <= 0) {
		unix_nothing(sk, ret, flags, dir);
		return 0;
	}
	cnt = counters();
	if (!cnt)
		return 0;
	if (dir == OSP_RX && (flags & (MSG_PEEK | MSG_OOB))) {
		cnt->peek++;
		return 0;
	}
	un = unix_find(sk);
	if (!un)
		un = unix_make(sk);
	if (!un)
		return no_state(cnt, ret);
	seq = __sync_fetch_and_add(&un->at[dir & 1], ret);
	call = begin(sk, &un->st, cnt, dir, ret);
	if (!call)
		return 0;
	if (un->named < 2)
		emit_unix(sk, un, call->ts);
	call->seq = seq;
	call->other = un->at[!(dir & 1)];
	if (skip(&un->st))
		goto out;
	task = bpf_get_current_task_btf();
	sock_args(&a, task, (struct pt_regs *)bpf_task_pt_regs(task), dir, flags);
	if (a.how == ARG_MMSG)
		mmsg_next(&a, call, &un->st);
	emit_call(call, &un->st, &a, false);
out:
	end(call, &un->st);
	return 0;
}

static long unix_sweep_one(void *map, const __u64 *cookie, struct osp_unix *un, void *unused)
{
	if (unix_alive(un, *cookie))
		return 0;
	skip_flush_end(&un->st);
	if (unix_ended(un))
		bpf_map_delete_elem(map, cookie);
	return 0;
}

/* Run by the agent every so often: no tracepoint says that a unix socket is closed, and hooks on
 * functions (fentry) are not to be had on every kernel.
 */
SEC("syscall")
int osp_unix_sweep(void *ctx)
{
	bpf_for_each_map_elem(&osp_unix_socks, unix_sweep_one, NULL, 0);
	return 0;
}

/* ---- processes ---------------------------------------------------------------------------- */

/* A tgid that is somebody else now: it is announced anew, and every socket asks the filters again. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(osp_exec, struct task_struct *task)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);

	if (!bpf_map_delete_elem(&osp_procs, &tgid) || (osp_live.classes & OSP_FC_PROCESS))
		__sync_fetch_and_add(&osp_live.gen, 1);
	return 0;
}

/* A pid that ends will be somebody else's. */
SEC("tp_btf/sched_process_exit")
int BPF_PROG(osp_exit, struct task_struct *task)
{
	__u32 tgid = BPF_CORE_READ(task, tgid);

	if (BPF_CORE_READ(task, signal, live.counter))
		return 0;	/* other threads of it go on */
	bpf_map_delete_elem(&osp_procs, &tgid);
	bpf_map_delete_elem(&osp_f_pid, &tgid);
	return 0;
}

/* --follow: children of a wanted process are wanted. */
SEC("tp_btf/sched_process_fork")
int BPF_PROG(osp_fork, struct task_struct *parent, struct task_struct *child)
{
	__u32 ptgid = BPF_CORE_READ(parent, tgid), tgid = BPF_CORE_READ(child, tgid);
	__u8 yes = 1;

	if (ptgid != tgid && bpf_map_lookup_elem(&osp_f_pid, &ptgid))
		bpf_map_update_elem(&osp_f_pid, &tgid, &yes, BPF_ANY);
	return 0;
}

/* ---- at start: what is open already ------------------------------------------------------- */

SEC("iter/tcp")
int osp_iter_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *skc = ctx->sk_common;
	struct osp_seed seed = {};
	struct tcp_sock *tp;
	struct osp_pos pos;
	struct sock *sk;

	if (!skc)
		return 0;
	tp = bpf_skc_to_tcp_sock(skc);
	if (!tp)
		return 0;	/* a request or time-wait socket */
	sk = (struct sock *)tp;
	seed.state = skc->skc_state;
	fill_hdr(&seed.open.h, sizeof(seed.open), OSP_EV_OPEN, bpf_ktime_get_boot_ns());
	seed.open.conn = bpf_get_socket_cookie(tp);
	read_tuple(&seed.open.tuple, sk);
	pos = read_pos(sk, state_after_fin_tx(seed.state));
	seed.open.seq[OSP_TX] = pos.tx_end;
	seed.open.seq[OSP_RX] = pos.rx_end;
	seed.open.how = OSP_OPEN_SEED;
	seed.open.vantage = OSP_VANTAGE_SYSCALL;
	bpf_seq_write(ctx->meta->seq, &seed, sizeof(seed));
	return 0;
}

/* The context of iter/unix (5.15) by its layout: kernels to build on may not know its name. */
struct osp_iter_unix {
	struct bpf_iter_meta *meta;
	struct unix_sock *sk;
};

/* Cookies of the unix stream sockets that are there: what is none of them is seen from its start. */
SEC("iter/unix")
int osp_iter_unix(struct osp_iter_unix *ctx)
{
	struct unix_sock *sk = ctx->sk;
	__u64 id;

	if (!sk || sk->sk.sk_type != SOCK_STREAM)
		return 0;
	id = bpf_get_socket_cookie(sk);
	bpf_seq_write(ctx->meta->seq, &id, sizeof(id));
	return 0;
}
