/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_unix.bpf.h: unix stream sockets: what is read from them, and events of theirs alone.
 *
 * A connection has no addresses but names, and mostly one: what the listener is bound to is the
 * accepted socket's name, too, and a client is seldom bound. The kernel keeps no positions, so we
 * count; and nothing tells us of the end, so our state outlives the socket until it is looked for
 * (osp_unix_sweep): a hash by cookie, where sk_storage would be gone with the counts.
 */
#ifndef OSP_UNIX_BPF_H
#define OSP_UNIX_BPF_H

#include "bpf/osp_emit.bpf.h"

#define RCV_SHUTDOWN 1	/* include/net/sock.h */

struct osp_unix {
	struct osp_sk st;
	__u64 sk;		/* where the socket was; to be read with care */
	__u32 at[OSP_DIRS];	/* bytes that passed the hooks */
	__u32 named;		/* UNIX is in the ring; 2: with the peer's cookie */
	__u32 pad;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, __u64);
	__type(value, struct osp_unix);
} osp_unix_socks SEC(".maps");

/* How many sockets share the name of sk; 0: it has none. An accepted socket's is its listener's
 * (net/unix/af_unix.c, unix_stream_connect()), any other is its own.
 */
static __always_inline int unix_sharers(struct sock *sk)
{
	return BPF_CORE_READ((struct unix_sock *)sk, addr, refcnt.refs.counter);
}

/* The server is the end whose name others have, too, or the one that has a name at all. Both ends of
 * a socketpair are alike: what they send will tell.
 */
static __always_inline void unix_role(struct sock *sk, struct osp_sk *st)
{
	int own = unix_sharers(sk);
	int others = unix_sharers(BPF_CORE_READ((struct unix_sock *)sk, peer));

	if (own == others)
		return;
	st->role = own > others ? OSP_ROLE_SERVER : OSP_ROLE_CLIENT;
	st->role_from = OSP_FROM_LISTEN;
}

static __always_inline struct osp_unix *unix_find(struct sock *sk)
{
	__u64 id = bpf_get_socket_cookie(sk);

	return bpf_map_lookup_elem(&osp_unix_socks, &id);
}

/* Our state of sk at first sight. Whether the socket was there before us, the agent knows. */
static __noinline struct osp_unix *unix_make(struct sock *sk)
{
	struct osp_unix fresh = {};

	fresh.st.id = bpf_get_socket_cookie(sk);
	fresh.st.opened_ns = bpf_ktime_get_boot_ns();
	fresh.st.how = OSP_OPEN_SIGHT;
	unix_role(sk, &fresh.st);
	fresh.sk = (__u64)sk;
	/* Another thread may have been quicker: then its one counts. */
	bpf_map_update_elem(&osp_unix_socks, &fresh.st.id, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&osp_unix_socks, &fresh.st.id);
}

static __always_inline bool unix_peer_ended(struct sock *sk)
{
	return BPF_CORE_READ_BITFIELD_PROBED(sk, sk_shutdown) & RCV_SHUTDOWN;
}

/* Its memory may be anything by now. A closed socket is in TCP_CLOSE (unix_release_sock()) and stays
 * so when it is freed; a new one in its place has another cookie, or none.
 */
static __always_inline bool unix_alive(struct osp_unix *un, __u64 cookie)
{
	struct sock *sk = (struct sock *)un->sk;

	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter) == (__s64)cookie &&
	       BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_ESTABLISHED;
}

/* out: OSP_UNIX_NAME bytes. Returns how many of them are the name. */
static __always_inline __u16 unix_name(char *out, struct sock *sk)
{
	struct unix_address *addr = BPF_CORE_READ((struct unix_sock *)sk, addr);
	/* len counts sun_family, too. */
	__u32 n = addr ? BPF_CORE_READ(addr, len) - sizeof(__u16) : 0;

	__builtin_memset(out, 0, OSP_UNIX_NAME);
	if (!n || n > OSP_UNIX_NAME)
		return 0;
	opaque_to_clang(n);
	if (n > OSP_UNIX_NAME)
		n = OSP_UNIX_NAME;
	bpf_probe_read_kernel(out, n, (char *)addr + bpf_core_field_offset(addr->name) +
			      sizeof(__u16));
	return n;
}

/* Names, once; and once more when the other end has a cookie, which it gets when it is first seen.
 * ts: of the DATA this has to come before.
 */
static __noinline int emit_unix(struct sock *sk, struct osp_unix *un, __u64 ts)
{
	struct sock *peer = BPF_CORE_READ((struct unix_sock *)sk, peer);
	__u64 cookie = BPF_CORE_READ(peer, __sk_common.skc_cookie.counter);
	struct osp_ev_unix *ev;

	if (un->named && !cookie)
		return 0;
	ev = ctl_reserve(osp_ev_unix);
	if (!ev) {
		ctl_lost();
		return 0;
	}
	un->named = cookie ? 2 : 1;
	fill_hdr(&ev->h, sizeof(*ev), OSP_EV_UNIX, ts);
	ev->conn = un->st.id;
	ev->peer = cookie;
	ev->netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	ev->len[OSP_UNIX_LOCAL] = unix_name(ev->name[OSP_UNIX_LOCAL], sk);
	ev->len[OSP_UNIX_REMOTE] = unix_name(ev->name[OSP_UNIX_REMOTE], peer);
	ctl_submit(ev);
	return 0;
}

/* The socket is gone. False: there was no room to say so, and it is to be said later. */
static __always_inline bool unix_ended(struct osp_unix *un)
{
	struct osp_sk *st = &un->st;
	struct osp_ev_close *ev;

	if (!st->announced && !(st->turn && st->take))
		return true;
	ev = ctl_reserve(osp_ev_close);
	if (!ev)
		return false;
	__builtin_memset(ev, 0, sizeof(*ev));
	fill_hdr(&ev->h, sizeof(*ev), OSP_EV_CLOSE, bpf_ktime_get_boot_ns());
	ev->conn = st->id;
	ev->tuple.family = AF_UNIX;
	ev->end[OSP_TX] = un->at[OSP_TX];
	ev->end[OSP_RX] = ev->rcv_end = un->at[OSP_RX];
	ev->lost[0] = st->lost[0];
	ev->lost[1] = st->lost[1];
	ev->filtered[0] = st->filtered[0];
	ev->filtered[1] = st->filtered[1];
	ev->turns = st->turn;
	ev->tgid = st->tgid;
	ev->flags = st->close_flags | OSP_CF_FIN_TX;
	ev->role = st->role;
	ev->role_from = st->role_from;
	ctl_submit(ev);
	return true;
}

#endif
