/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source_bpf.h: events of this kernel. */
#ifndef OSP_SOURCE_BPF_H
#define OSP_SOURCE_BPF_H

#include "agent/filter.h"
#include "agent/source.h"

#define OSP_GATHER_MAX 64

enum osp_capture_mode { OSP_MODE_AUTO, OSP_MODE_SOCK, OSP_MODE_SYSCALL };

struct osp_bpf_conf {
	enum osp_capture_mode mode;
	uint32_t rings;		/* data rings, 1 to OSP_SHARDS_MAX */
	uint64_t ring_bytes;	/* of all of them; each rounded up to a power of two of pages */
	uint64_t ctl_bytes;	/* control ring */
	uint32_t call_cap;	/* bytes copied of one call */
	uint32_t turn_cap;	/* bytes copied of all calls of a turn; 0: no limit */
	uint32_t skip_from;	/* bodies this long need not be copied; 0: they must */
	uint32_t gather;	/* calls of up to so many bytes are gathered; 0: none */
	bool unix_too;		/* unix stream sockets, too */
	const struct osp_filter *filter;	/* lives as long as the source */
};

/* Loads and attaches. 0; -EPERM: a capability is missing, -ENOTSUP: this kernel can't, other
 * -errno; each logged in one line. On error nothing of ours stays in the kernel.
 */
int osp_source_bpf_new(struct osp_source **out, const struct osp_bpf_conf *conf);

/* osprey-agent check-layout: compares what the programs assume with the running kernel, prints a
 * line per assumption that differs (all of them with verbose). 0: all hold; 1: some don't.
 */
int osp_check_layout(bool verbose);

#endif
