/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source_wire.h: events from packets: a capture file, or an interface. docs/wire.md.
 *
 * @thread loop
 */
#ifndef OSP_SOURCE_WIRE_H
#define OSP_SOURCE_WIRE_H

#include "agent/filter.h"
#include "agent/source.h"
#include "agent/wire/reasm.h"

struct osp_wire_conf {
	struct osp_reasm_conf reasm;
	const struct osp_filter *filter;	/* ports and addresses of it; NULL: none */
	uint32_t ring_bytes;			/* live: the kernel's buffer */
};

void osp_wire_conf_default(struct osp_wire_conf *conf);

/* spec: "pcap:FILE" ("-": standard input) or "iface:NAME". Logs its own errors. 0; -EINVAL for
 * anything else, or a filter that packets can't answer; -EPERM without CAP_NET_RAW; -EPROTO if the
 * file is no capture; another -errno.
 *
 * poll() of a file returns -EPROTO, once all events before it are handed over, where the file is
 * damaged or cut.
 */
int osp_source_wire_new(struct osp_source **out, const char *spec,
			const struct osp_wire_conf *conf);

#endif
