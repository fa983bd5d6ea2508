/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_sock.bpf.h: what is read from a kernel socket, and our own state beside it. */
#ifndef OSP_SOCK_BPF_H
#define OSP_SOCK_BPF_H

#include "bpf/osp_maps.bpf.h"

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10
#ifndef BPF_NOEXIST
#define BPF_NOEXIST 1
#endif

/* Where a TCP socket's streams stand, FIN not counted. */
struct osp_pos {
	__u32 tx_end;		/* after the last byte the process handed over */
	__u32 rx_end;		/* after the last byte the process took */
	__u32 rcv_end;		/* after the last byte received in order */
};

/* The FIN takes a sequence number. Ours is in write_seq from the states on that follow close() or
 * shutdown(); the peer's is in rcv_nxt once SOCK_DONE is set (tcp_fin()), and in copied_seq once
 * the process was told of the end: in the same call as the last data, even (tcp_recvmsg_locked(),
 * found_fin_ok), so that copied_seq - ret would be off by one.
 */
static __always_inline struct osp_pos make_pos(__u32 write_seq, __u32 copied_seq, __u32 rcv_nxt,
					       bool fin_tx, bool fin_rx)
{
	struct osp_pos pos = {
		.tx_end = write_seq - fin_tx,
		.rx_end = copied_seq - (fin_rx && copied_seq == rcv_nxt),
		.rcv_end = rcv_nxt - fin_rx,
	};

	return pos;
}

static __always_inline bool state_after_fin_tx(__u8 state)
{
	return (1 << state) & (1 << TCP_FIN_WAIT1 | 1 << TCP_FIN_WAIT2 | 1 << TCP_LAST_ACK |
			       1 << TCP_CLOSING | 1 << TCP_TIME_WAIT);
}

static __always_inline bool flag_done(unsigned long sk_flags)
{
	return sk_flags & (1UL << bpf_core_enum_value(enum sock_flags, SOCK_DONE));
}

/* Any kernel, any pointer to a socket: probe reads. */
static __always_inline struct osp_pos read_pos(struct sock *sk, bool fin_tx)
{
	struct tcp_sock *tp = (struct tcp_sock *)sk;

	return make_pos(BPF_CORE_READ(tp, write_seq), BPF_CORE_READ(tp, copied_seq),
			BPF_CORE_READ(tp, rcv_nxt), fin_tx,
			flag_done(BPF_CORE_READ(sk, __sk_common.skc_flags)));
}

static __always_inline void read_tuple(struct osp_tuple *t, struct sock *sk)
{
	__u16 dport = BPF_CORE_READ(sk, __sk_common.skc_dport);

	__builtin_memset(t, 0, sizeof(*t));
	t->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	t->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	if (t->family == AF_UNIX)
		return;
	t->transport = IPPROTO_TCP;
	t->rport = __builtin_bswap16(dport);
	/* skc_num is 0 once a port that was chosen by the kernel has been given back; inet_sport
	 * (network order) stays.
	 */
	t->lport = __builtin_bswap16(BPF_CORE_READ((struct inet_sock *)sk, inet_sport));
	if (t->family == AF_INET) {
		t->local[10] = t->local[11] = 0xff;
		t->remote[10] = t->remote[11] = 0xff;
		BPF_CORE_READ_INTO((__u32 *)&t->local[12], sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__u32 *)&t->remote[12], sk, __sk_common.skc_daddr);
	} else {
		BPF_CORE_READ_INTO((struct in6_addr *)t->local, sk,
				   __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)t->remote, sk, __sk_common.skc_v6_daddr);
	}
}

/* An id for sockets of kernels that have no cookie for us: time and CPU; making one takes longer
 * than the clock's step. The top bit keeps it apart from cookies, which count up from 1.
 */
static __always_inline __u64 made_up_id(void)
{
	return 1ULL << 63 | (bpf_ktime_get_ns() << 8 & ~(1ULL << 63)) |
	       (bpf_get_smp_processor_id() & 0xff);
}

/* Our state of a socket that a tracepoint gave us (trusted), in either mode. */
static __always_inline struct osp_sk *sk_find(struct sock *sk)
{
	__u64 key = (__u64)sk;

	if (osp_knobs.capture == OSP_CAPTURE_SOCK)
		return bpf_sk_storage_get(&osp_sk_store, sk, 0, 0);
	return bpf_map_lookup_elem(&osp_sk_hash, &key);
}

static __always_inline struct osp_sk *sk_hash_make(struct sock *sk, __u64 id, __u32 slot)
{
	struct osp_sk *fresh = bpf_map_lookup_elem(&osp_fresh, &slot);
	__u64 key = (__u64)sk;

	if (!fresh)
		return NULL;	/* a per-CPU array has all its elements */
	fresh->id = id ? id : made_up_id();
	bpf_map_update_elem(&osp_sk_hash, &key, fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&osp_sk_hash, &key);
}

/* For established() and sock mode. slot: FRESH_* */
static __always_inline struct osp_sk *sk_make(struct sock *sk, const __u32 slot)
{
	struct osp_sk *st;

	if (osp_knobs.capture == OSP_CAPTURE_SOCK) {
		st = bpf_sk_storage_get(&osp_sk_store, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (st)
			st->id = bpf_get_socket_cookie(sk);
		return st;
	}
	return sk_hash_make(sk, osp_knobs.has_cookie ?
				bpf_get_socket_cookie(sk) :
				(__u64)BPF_CORE_READ(sk, __sk_common.skc_cookie.counter),
			    slot);
}

#endif
