/* SPDX-License-Identifier: GPL-3.0-or-later */
/* check_layout.c: what the kernel programs assume of the kernel, held against the running one.
 *
 * Field offsets need no check, libbpf moves them (CO-RE); what is left are existence, size and
 * meaning: tracepoints and their arguments (BTF), their fields (tracefs), struct members that are
 * read, and enum values. A new read in bpf/ gets its row here.
 */
#include "agent/base/log.h"
#include "agent/source_bpf.h"

#include <bpf/btf.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

enum need { ALWAYS, SOCK_ONLY, SYSCALL_ONLY, OPTIONAL };

/* Tracepoint arguments as BTF has them, the context pointer left out. */
static const struct {
	const char *name;
	enum need need;
	const char *args;
} tracepoints[] = {
	{ "sock_send_length", SOCK_ONLY, "sock *, int, int" },
	{ "sock_recv_length", SOCK_ONLY, "sock *, int, int" },
	{ "sys_exit", SYSCALL_ONLY, "pt_regs *, long int" },
	{ "inet_sock_set_state", ALWAYS, "sock *, int, int" },
	{ "tcp_destroy_sock", ALWAYS, "sock *" },
	{ "sched_process_exec", ALWAYS, "task_struct *" },
	{ "sched_process_exit", ALWAYS, "task_struct *" },
	{ "sched_process_fork", OPTIONAL, "task_struct *, task_struct *" },
};

/* Members that are read, by path from a struct; size in bytes, 0: a pointer or a whole struct. */
static const struct {
	const char *path;
	unsigned int size;
} members[] = {
	{ "sock_common.skc_family", 2 },
	{ "sock_common.skc_state", 1 },
	{ "sock_common.skc_dport", 2 },
	{ "sock_common.skc_daddr", 4 },
	{ "sock_common.skc_rcv_saddr", 4 },
	{ "sock_common.skc_v6_daddr", 16 },
	{ "sock_common.skc_v6_rcv_saddr", 16 },
	{ "sock_common.skc_cookie", 8 },
	{ "sock_common.skc_flags", 8 },
	{ "sock_common.skc_net.net", 0 },
	{ "sock.__sk_common", 0 },
	{ "sock.sk_protocol", 2 },
	{ "sock.sk_shutdown", 0 },
	{ "sock.sk_err", 4 },
	{ "sock.sk_type", 2 },
	{ "unix_sock.addr", 0 },
	{ "unix_sock.peer", 0 },
	{ "unix_address.refcnt.refs.counter", 4 },
	{ "unix_address.len", 4 },
	{ "unix_address.name", 0 },
	{ "inet_sock.inet_sport", 2 },
	{ "tcp_sock.write_seq", 4 },
	{ "tcp_sock.copied_seq", 4 },
	{ "tcp_sock.rcv_nxt", 4 },
	{ "tcp_sock.srtt_us", 4 },
	{ "tcp_sock.total_retrans", 4 },
	{ "net.ns.inum", 4 },
	{ "pt_regs.orig_ax", 8 },
	{ "pt_regs.ax", 8 },
	{ "pt_regs.di", 8 },
	{ "pt_regs.si", 8 },
	{ "pt_regs.dx", 8 },
	{ "pt_regs.r10", 8 },
	{ "task_struct.thread_info.status", 4 },
	{ "task_struct.files", 0 },
	{ "files_struct.fdt", 0 },
	{ "fdtable.max_fds", 4 },
	{ "fdtable.fd", 0 },
	{ "file.f_inode", 0 },
	{ "file.private_data", 0 },
	{ "inode.i_mode", 2 },
	{ "inode.i_ino", 8 },
	{ "inode.i_sb", 0 },
	{ "super_block.s_dev", 4 },
	{ "socket.sk", 0 },
	{ "task_struct.tgid", 4 },
	{ "task_struct.group_leader", 0 },
	{ "task_struct.start_boottime", 8 },
	{ "task_struct.thread_pid", 0 },
	{ "task_struct.real_parent", 0 },
	{ "task_struct.nsproxy", 0 },
	{ "task_struct.comm", 16 },
	{ "task_struct.mm", 0 },
	{ "task_struct.flags", 4 },
	{ "task_struct.signal", 0 },
	{ "signal_struct.live", 4 },
	{ "task_struct.cgroups", 0 },
	{ "pid.level", 4 },
	{ "pid.numbers", 0 },
	{ "nsproxy.net_ns", 0 },
	{ "mm_struct.exe_file", 0 },
	{ "css_set.dfl_cgrp", 0 },
	{ "cgroup.self", 0 },
	{ "cgroup_subsys_state.cgroup", 0 },
	{ "cgroup_subsys_state.parent", 0 },
	{ "cgroup.kn", 0 },
	{ "kernfs_node.id", 8 },
};

static const struct {
	const char *type, *name;
} enums[] = {
	{ "sock_flags", "SOCK_DONE" },
};

/* Fields that say what an argument means, in the tracepoint's format file. */
static const struct {
	const char *event;
	const char *field;
	enum need need;
} formats[] = {
	{ "sock/sock_send_length", "int ret;", SOCK_ONLY },
	{ "sock/sock_recv_length", "int ret;", SOCK_ONLY },
	{ "sock/sock_recv_length", "int flags;", SOCK_ONLY },
	{ "sock/inet_sock_set_state", "int oldstate;", ALWAYS },
	{ "sock/inet_sock_set_state", "int newstate;", ALWAYS },
	{ "tcp/tcp_destroy_sock", "__u16 sport;", ALWAYS },
};

#define COUNT(a) (sizeof(a) / sizeof(*(a)))

struct check {
	struct btf *btf;
	bool verbose;
	bool sock;		/* sock mode is to be expected here */
	unsigned int held, differ;
};

static bool applies(const struct check *chk, enum need need)
{
	return need == ALWAYS || need == OPTIONAL || (need == SOCK_ONLY) == chk->sock;
}

static void verdict(struct check *chk, bool holds, const char *what, const char *name,
		    const char *detail)
{
	if (holds)
		chk->held++;
	else
		chk->differ++;
	if (!holds || chk->verbose)
		printf("%-7s %s %s%s%s\n", holds ? "ok" : "DIFFERS", what, name,
		       *detail ? ": " : "", detail);
}

/* ---- types ---------------------------------------------------------------------------------- */

static void type_text(const struct btf *btf, __u32 id, char *out, size_t size)
{
	const struct btf_type *t = btf__type_by_id(btf, id);
	bool pointer = false;

	while (btf_is_mod(t) || btf_is_typedef(t) || btf_is_ptr(t)) {
		pointer |= btf_is_ptr(t);
		if (!t->type)
			break;
		t = btf__type_by_id(btf, t->type);
	}
	snprintf(out, size, "%s%s", btf__name_by_offset(btf, t->name_off), pointer ? " *" : "");
}

/* want is a prefix: a kernel may append arguments, the ones we take stay where they are. */
static void check_tracepoint(struct check *chk, const char *name, const char *want)
{
	char type[128], got[256] = "", one[128];
	const struct btf_type *t;
	int id;

	snprintf(type, sizeof(type), "btf_trace_%s", name);
	id = btf__find_by_name_kind(chk->btf, type, BTF_KIND_TYPEDEF);
	if (id <= 0) {
		verdict(chk, false, "tracepoint", name, "not there");
		return;
	}
	t = btf__type_by_id(chk->btf, btf__type_by_id(chk->btf, (__u32)id)->type);
	t = btf__type_by_id(chk->btf, t->type);
	for (__u16 i = 1; btf_is_func_proto(t) && i < btf_vlen(t); i++) {
		size_t used = strlen(got);

		type_text(chk->btf, btf_params(t)[i].type, one, sizeof(one));
		snprintf(got + used, sizeof(got) - used, "%s%s", i > 1 ? ", " : "", one);
	}
	verdict(chk, !strncmp(got, want, strlen(want)), "tracepoint", name, got);
}

static const struct btf_type *strip(const struct btf *btf, __u32 id)
{
	const struct btf_type *t = btf__type_by_id(btf, id);

	while (btf_is_mod(t) || btf_is_typedef(t))
		t = btf__type_by_id(btf, t->type);
	return t;
}

/* The member of this name, in anonymous structs and unions, too. Its type id, 0 if there is none. */
static __u32 find_member(const struct btf *btf, const struct btf_type *t, const char *name,
			 size_t len)
{
	for (__u16 i = 0; btf_is_composite(t) && i < btf_vlen(t); i++) {
		const struct btf_member *m = &btf_members(t)[i];
		const char *is = btf__name_by_offset(btf, m->name_off);
		__u32 id;

		if (strlen(is) == len && !strncmp(is, name, len))
			return m->type;
		if (*is)
			continue;
		id = find_member(btf, strip(btf, m->type), name, len);
		if (id)
			return id;
	}
	return 0;
}

static void check_member(struct check *chk, const char *path, unsigned int size)
{
	const char *dot = strchr(path, '.');
	const struct btf_type *t;
	char name[64], detail[64] = "";
	__u32 type = 0;
	long long got;
	int id;

	snprintf(name, sizeof(name), "%.*s", (int)(dot - path), path);
	id = btf__find_by_name_kind(chk->btf, name, BTF_KIND_STRUCT);
	t = id > 0 ? btf__type_by_id(chk->btf, (__u32)id) : NULL;
	while (t && dot) {
		const char *part = dot + 1;

		dot = strchr(part, '.');
		type = find_member(chk->btf, t, part, dot ? (size_t)(dot - part) : strlen(part));
		t = type ? strip(chk->btf, type) : NULL;
	}
	if (!t) {
		verdict(chk, false, "member", path, "not there");
		return;
	}
	got = btf__resolve_size(chk->btf, type);
	if (size)
		snprintf(detail, sizeof(detail), "%lld bytes, %u expected", got, size);
	verdict(chk, !size || got == (long long)size, "member", path, detail);
}

static void check_enum(struct check *chk, const char *type, const char *name)
{
	int id = btf__find_by_name_kind(chk->btf, type, BTF_KIND_ENUM);
	const struct btf_type *t = id > 0 ? btf__type_by_id(chk->btf, (__u32)id) : NULL;

	for (__u16 i = 0; t && i < btf_vlen(t); i++) {
		if (!strcmp(btf__name_by_offset(chk->btf, btf_enum(t)[i].name_off), name)) {
			verdict(chk, true, "enum", name, "");
			return;
		}
	}
	verdict(chk, false, "enum", name, "not there");
}

/* ---- tracefs ---------------------------------------------------------------------------------- */

/* Where tracefs is; mounted for ourselves alone if nobody has. NULL: it cannot be had. */
static const char *tracefs(void)
{
	static const char *const places[] = { "/sys/kernel/tracing", "/sys/kernel/debug/tracing" };
	struct stat st;

	for (size_t i = 0; i < COUNT(places); i++) {
		char path[128];

		snprintf(path, sizeof(path), "%s/events", places[i]);
		if (!stat(path, &st))
			return places[i];
	}
	if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tracefs", places[0], "tracefs", 0, NULL))
		return NULL;
	return places[0];
}

static void check_format(struct check *chk, const char *root, const char *event,
			 const char *field)
{
	char path[256], text[8192] = "", name[128];
	FILE *file;
	size_t n;

	snprintf(path, sizeof(path), "%s/events/%s/format", root, event);
	snprintf(name, sizeof(name), "%s \"%s\"", event, field);
	file = fopen(path, "re");
	if (!file) {
		verdict(chk, false, "format", name, strerror(errno));
		return;
	}
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = 0;
	fclose(file);
	verdict(chk, strstr(text, field) != NULL, "format", name, "");
}

static void check_formats(struct check *chk)
{
	const char *root = tracefs();

	if (!root) {
		printf("note    tracefs is not mounted and cannot be, tracepoint formats are not "
		       "compared (mount -t tracefs tracefs /sys/kernel/tracing)\n");
		return;
	}
	for (size_t i = 0; i < COUNT(formats); i++)
		if (applies(chk, formats[i].need))
			check_format(chk, root, formats[i].event, formats[i].field);
}

int osp_check_layout(bool verbose)
{
	struct check chk = { .verbose = verbose };
	struct utsname un = {};

	uname(&un);
	chk.btf = btf__load_vmlinux_btf();
	if (!chk.btf) {
		osp_err("no /sys/kernel/btf/vmlinux: this kernel is built without "
			"CONFIG_DEBUG_INFO_BTF");
		return 1;
	}
	chk.sock = btf__find_by_name_kind(chk.btf, "btf_trace_sock_send_length",
					  BTF_KIND_TYPEDEF) > 0;
	verdict(&chk, !strcmp(un.machine, "x86_64"), "machine", un.machine,
		"system call numbers and registers are x86_64's");
	for (size_t i = 0; i < COUNT(tracepoints); i++)
		if (applies(&chk, tracepoints[i].need) || tracepoints[i].need == SYSCALL_ONLY)
			check_tracepoint(&chk, tracepoints[i].name, tracepoints[i].args);
	for (size_t i = 0; i < COUNT(members); i++)
		check_member(&chk, members[i].path, members[i].size);
	for (size_t i = 0; i < COUNT(enums); i++)
		check_enum(&chk, enums[i].type, enums[i].name);
	check_formats(&chk);
	btf__free(chk.btf);
	printf("%s %s: %u assumptions hold, %u differ; mode %s\n", un.sysname, un.release,
	       chk.held, chk.differ, chk.sock ? "sock" : "syscall");
	return chk.differ ? 1 : 0;
}
