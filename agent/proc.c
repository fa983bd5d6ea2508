/* SPDX-License-Identifier: GPL-3.0-or-later */
/* proc.c: the table of processes, and what a cgroup path says about containers. */
#include "agent/proc.h"

#include "agent/base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define PROC_BUCKETS 8192u	/* a power of two */

int osp_procs_init(struct osp_procs *procs, uint32_t max)
{
	procs->bucket = osp_mem_zalloc(PROC_BUCKETS * sizeof(*procs->bucket));
	if (!procs->bucket)
		return -ENOMEM;
	osp_list_init(&procs->lru);
	procs->n = 0;
	procs->max = max;
	return 0;
}

static struct osp_proc **slot(struct osp_procs *procs, uint32_t tgid)
{
	struct osp_proc **p = &procs->bucket[tgid * 2654435761u >> 19 & (PROC_BUCKETS - 1)];

	while (*p && (*p)->tgid != tgid)
		p = &(*p)->hnext;
	return p;
}

void osp_proc_put(struct osp_proc *proc)
{
	if (proc && !--proc->refs)
		osp_mem_free(proc);
}

static void forget(struct osp_procs *procs, struct osp_proc **p)
{
	struct osp_proc *proc = *p;

	*p = proc->hnext;
	osp_list_del(&proc->lru);
	procs->n--;
	osp_proc_put(proc);
}

void osp_procs_fini(struct osp_procs *procs)
{
	struct osp_proc *proc;

	if (!procs->bucket)
		return;
	while (!osp_list_empty(&procs->lru)) {
		proc = osp_list_entry(procs->lru.next, struct osp_proc, lru);
		forget(procs, slot(procs, proc->tgid));
	}
	osp_mem_free(procs->bucket);
	procs->bucket = NULL;
}

/* Copies a string of the event behind the entry; n is without the NUL. */
static struct osp_slice keep(char **at, const char *s, size_t n)
{
	struct osp_slice out = { NULL, 0 };

	if (!n)
		return out;
	memcpy(*at, s, n);
	out = osp_slice(*at, n);
	*at += n;
	return out;
}

int osp_procs_event(struct osp_procs *procs, const struct osp_ev_proc *ev)
{
	const char *exe = (const char *)(ev + 1), *cgroup = exe + ev->str_len[0];
	size_t exe_n = ev->str_len[0] ? ev->str_len[0] - 1u : 0;
	size_t cg_n = ev->str_len[1] ? ev->str_len[1] - 1u : 0;
	struct osp_proc *proc, **p;
	char *at;

	proc = osp_mem_zalloc(sizeof(*proc) + OSP_COMM_LEN + exe_n + cg_n);
	if (!proc)
		return -ENOMEM;
	at = proc->str;
	proc->refs = 1;
	proc->tgid = ev->tgid;
	proc->ns_tgid = ev->ns_tgid;
	proc->uid = ev->uid;
	proc->start_ns = ev->start_ns;
	proc->comm = keep(&at, ev->comm, strnlen(ev->comm, OSP_COMM_LEN));
	proc->exe = keep(&at, exe, exe_n);
	osp_proc_cgroup(keep(&at, cgroup, cg_n), &proc->container, &proc->runtime, &proc->pod,
			proc->pod_uid);

	p = slot(procs, ev->tgid);
	if (*p)
		forget(procs, p);
	else if (procs->n >= procs->max)
		forget(procs, slot(procs, osp_list_entry(procs->lru.next, struct osp_proc,
							 lru)->tgid));
	p = slot(procs, ev->tgid);
	proc->hnext = *p;
	*p = proc;
	osp_list_add_tail(&procs->lru, &proc->lru);
	procs->n++;
	return 0;
}

struct osp_proc *osp_proc_get(struct osp_procs *procs, uint32_t tgid)
{
	struct osp_proc *proc = tgid ? *slot(procs, tgid) : NULL;

	if (!proc)
		return NULL;
	osp_list_move_tail(&procs->lru, &proc->lru);
	proc->refs++;
	return proc;
}

/* ---- cgroup paths ---------------------------------------------------------------------------- */

#define CONTAINER_ID 64

/* Bytes of lower-case hex at the beginning of s. */
static uint32_t hex_run(struct osp_slice s)
{
	uint32_t i = 0;

	while (i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || (s.p[i] >= 'a' && s.p[i] <= 'f')))
		i++;
	return i;
}

static bool starts(struct osp_slice s, const char *word)
{
	size_t n = strlen(word);

	return s.n >= n && !memcmp(s.p, word, n);
}

/* "kubepods-burstable-pod<uid>.slice" (systemd driver, '_' for '-') or "pod<uid>" (cgroupfs). */
static void pod_of(struct osp_slice part, struct osp_slice *pod, char uid[36])
{
	uint32_t i, at = 0;

	if (starts(part, "kubepods")) {
		for (i = 0; i + 4 < part.n; i++) {
			if (!memcmp(part.p + i, "-pod", 4))
				at = i + 1;
		}
		if (!at)
			return;
	}
	part.p += at;
	part.n -= at;
	if (!starts(part, "pod") || part.n < 3 + 36)
		return;
	for (i = 0; i < 36; i++) {
		uid[i] = part.p[3 + i] == '_' ? '-' : part.p[3 + i];
		if (uid[i] != '-' && !isxdigit((unsigned char)uid[i]))
			return;
	}
	if (part.n > 39 && part.p[39] != '.')
		return;
	*pod = osp_slice(uid, 36);
}

static const struct {
	const char *prefix, *runtime;
} scopes[] = {
	{ "docker-", "docker" },
	{ "cri-containerd-", "containerd" },
	{ "crio-conmon-", NULL },	/* the monitor, not the container */
	{ "crio-", "crio" },
	{ "libpod-conmon-", NULL },
	{ "libpod-", "podman" },
};

/* A component of the path; before: the one before it. */
static void container_of(struct osp_slice part, struct osp_slice before,
			 struct osp_slice *container, struct osp_slice *runtime)
{
	const char *rt = NULL;
	unsigned int i;
	uint32_t n;

	for (i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		if (!starts(part, scopes[i].prefix))
			continue;
		rt = scopes[i].runtime;
		n = (uint32_t)strlen(scopes[i].prefix);
		part.p += n;
		part.n -= n;
		if (!rt)
			return;
		break;
	}
	if (hex_run(part) != CONTAINER_ID || (part.n > CONTAINER_ID && part.p[64] != '.'))
		return;
	if (!rt && before.n == 6 && starts(before, "docker"))
		rt = "docker";
	else if (!rt && before.n == 13 && starts(before, "libpod_parent"))
		rt = "podman";
	*container = osp_slice(part.p, CONTAINER_ID);
	*runtime = osp_slice_str(rt);
}

void osp_proc_cgroup(struct osp_slice path, struct osp_slice *container,
		     struct osp_slice *runtime, struct osp_slice *pod, char pod_uid[36])
{
	struct osp_slice part, before = { "", 0 };
	const char *slash;

	while (path.n) {
		slash = memchr(path.p, '/', path.n);
		part = osp_slice(path.p, slash ? (size_t)(slash - path.p) : path.n);
		path.n -= slash ? part.n + 1 : part.n;
		path.p += slash ? part.n + 1 : part.n;
		if (!part.n)
			continue;
		pod_of(part, pod, pod_uid);
		container_of(part, before, container, runtime);
		before = part;
	}
}
