/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_filter.bpf.h: what the user wants to see. Asked once per socket and process, and again when
 * the filters change or anybody calls exec; the verdict stays with the socket.
 */
#ifndef OSP_FILTER_BPF_H
#define OSP_FILTER_BPF_H

#include "bpf/osp_emit.bpf.h"

static __always_inline struct osp_exe_key exe_of(struct task_struct *task)
{
	struct inode *inode = BPF_CORE_READ(task, mm, exe_file, f_inode);
	struct osp_exe_key key = {};

	key.ino = BPF_CORE_READ(inode, i_ino);
	key.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	return key;
}

static __always_inline bool is_agent(struct osp_exe_key *exe)
{
	return exe->ino == osp_knobs.self_ino && exe->dev == osp_knobs.self_dev;
}

static __always_inline bool want_process(__u32 classes, __u32 tgid, struct osp_exe_key *exe)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if ((classes & OSP_FC_PID) && bpf_map_lookup_elem(&osp_f_pid, &tgid))
		return true;
	if (classes & OSP_FC_COMM) {
		struct osp_comm_key key = {};

		BPF_CORE_READ_STR_INTO(&key.comm, task, group_leader, comm);
		if (bpf_map_lookup_elem(&osp_f_comm, &key))
			return true;
	}
	return (classes & OSP_FC_EXE) && bpf_map_lookup_elem(&osp_f_exe, exe);
}

/* The process's cgroup or one above it. */
static __always_inline bool want_cgroup(void)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct cgroup_subsys_state *css;
	int i;

	css = &BPF_CORE_READ(task, cgroups, dfl_cgrp)->self;
	for (i = 0; i < OSP_CGROUP_DEPTH && css; i++) {
		__u64 id = BPF_CORE_READ(css, cgroup, kn, id);

		if (bpf_map_lookup_elem(&osp_f_cgroup, &id))
			return true;
		css = BPF_CORE_READ(css, parent);
	}
	return false;
}

static __always_inline bool want_cidr(const __u8 *addr)
{
	struct osp_cidr_key key = { .prefixlen = 128 };

	__builtin_memcpy(key.addr, addr, 16);
	return bpf_map_lookup_elem(&osp_f_cidr, &key);
}

/* The socket is in the slot, as a number: a global function takes no pointer to it. tgid 0: no process
 * is known (the socket closes without ever having moved data).
 */
__noinline int want(__u32 slot, __u32 role, __u32 tgid)
{
	struct osp_call *call = bpf_map_lookup_elem(&osp_calls, &slot);
	__u32 classes = osp_live.classes;
	struct osp_exe_key exe = {};
	struct osp_tuple t;

	if (!call || tgid == osp_knobs.self_tgid)
		return 0;
	if (tgid) {
		exe = exe_of((struct task_struct *)bpf_get_current_task());
		if (is_agent(&exe))
			return 0;
	}
	if (!(classes & ~OSP_FC_FOLLOW))
		return 1;
	if ((classes & (OSP_FC_PROCESS | OSP_FC_CGROUP)) && !tgid)
		return 0;
	if ((classes & OSP_FC_PROCESS) && !want_process(classes, tgid, &exe))
		return 0;
	if ((classes & OSP_FC_ROLE) && !(osp_live.roles & (1u << (role & 3))))
		return 0;
	read_tuple(&t, (struct sock *)call->sk);
	if ((classes & (OSP_FC_PORT | OSP_FC_CIDR)) && t.family == AF_UNIX)
		return 0;	/* it has neither */
	if ((classes & OSP_FC_PORT) && !bpf_map_lookup_elem(&osp_f_port, &t.lport) &&
	    !bpf_map_lookup_elem(&osp_f_port, &t.rport))
		return 0;
	if ((classes & OSP_FC_NETNS) && !bpf_map_lookup_elem(&osp_f_netns, &t.netns))
		return 0;
	if ((classes & OSP_FC_CIDR) && !want_cidr(t.local) && !want_cidr(t.remote))
		return 0;
	if ((classes & OSP_FC_CGROUP) && !want_cgroup())
		return 0;
	return 1;
}

#endif
