/* SPDX-License-Identifier: GPL-3.0-or-later */
/* filter.h: what the user wants to see, as parsed from options and config, on its way into the
 * kernel's maps.
 *
 * An entry of every class that has entries must match; --pid, --comm and --exe are one class.
 */
#ifndef OSP_FILTER_H
#define OSP_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum osp_filter_kind {
	OSP_FILTER_PID,
	OSP_FILTER_COMM,
	OSP_FILTER_EXE,
	OSP_FILTER_PORT,
	OSP_FILTER_CIDR,
	OSP_FILTER_CGROUP,
	OSP_FILTER_NETNS,
	OSP_FILTER_ROLE,
	OSP_FILTER_KINDS
};

struct osp_filter_entry {
	enum osp_filter_kind kind;
	const char *text;	/* as the user wrote it; owned by the filter */
	uint64_t num;		/* pid, port, cgroup id, netns inode, exe's inode, role */
	uint32_t dev;		/* exe: the file system, major << 20 | minor */
	uint8_t addr[16];	/* CIDR, v4-mapped */
	uint8_t prefix;		/* of 128 */
};

struct osp_filter {
	struct osp_filter_entry *entry;
	size_t n;
	bool follow;		/* children of --pid */
};

/* Adds one entry. 0; -EINVAL with err saying what is wrong with text; -ENOMEM. */
int osp_filter_add(struct osp_filter *flt, enum osp_filter_kind kind, const char *text, char *err,
		   size_t err_size);

/* What is being watched, for a person: "port 80, comm nginx" or "everything". */
void osp_filter_describe(const struct osp_filter *flt, char *buf, size_t size);

void osp_filter_fini(struct osp_filter *flt);

#endif
