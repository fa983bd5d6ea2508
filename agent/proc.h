/* SPDX-License-Identifier: GPL-3.0-or-later */
/* proc.h: who a tgid is, as PROC events tell: the latest of each, a bounded number of them.
 *
 * Entries are counted references: a transaction keeps the process it belongs to although the tgid
 * has exec'ed or gone meanwhile.
 *
 * @thread loop
 */
#ifndef OSP_PROC_H
#define OSP_PROC_H

#include "agent/base/list.h"
#include "agent/base/slice.h"
#include "bpf/osp_events.h"

#include <stdint.h>

#define OSP_PROC_MAX 32768u	/* processes remembered; the least recently used is forgotten */

struct osp_proc {
	struct osp_proc *hnext;
	struct osp_list lru;
	uint32_t refs;
	uint32_t tgid, ns_tgid, uid;
	uint64_t start_ns;		/* CLOCK_BOOTTIME */
	struct osp_slice comm, exe;	/* into str[] */
	struct osp_slice container, runtime, pod;	/* p NULL: none */
	char pod_uid[36];
	char str[];
};

struct osp_procs {
	struct osp_proc **bucket;
	struct osp_list lru;
	uint32_t n, max;
};

int osp_procs_init(struct osp_procs *procs, uint32_t max);
void osp_procs_fini(struct osp_procs *procs);

/* Takes a checked PROC event; 0 or -ENOMEM (the process stays unknown). */
int osp_procs_event(struct osp_procs *procs, const struct osp_ev_proc *ev);

/* A reference to tgid's entry, NULL if it is unknown. */
struct osp_proc *osp_proc_get(struct osp_procs *procs, uint32_t tgid);
void osp_proc_put(struct osp_proc *proc);

/* Container id, runtime and pod of a cgroup path (v1 or v2), for docker, containerd, CRI-O and
 * podman with either cgroup driver. What is not there is left alone. pod_uid: room for the uid with
 * dashes, which *pod points to then.
 */
void osp_proc_cgroup(struct osp_slice path, struct osp_slice *container,
		     struct osp_slice *runtime, struct osp_slice *pod, char pod_uid[36]);

#endif
