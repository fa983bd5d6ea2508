/* SPDX-License-Identifier: GPL-3.0-or-later */
/* oev.h: the recording, a file of events as the source handed them over. docs/events.md has the
 * format for those who write tools; agent/source_replay.h reads it.
 *
 * @thread loop, all of it.
 */
#ifndef OSP_OEV_H
#define OSP_OEV_H

#include "agent/source.h"

#include <stdint.h>

#define OSP_OEV_MAGIC "OSPREYEV"
#define OSP_OEV_VERSION 1
#define OSP_OEV_BOM 0x01020304u		/* reads 0x04030201 where the byte order is the other one */
#define OSP_OEV_INCOMPLETE 1u		/* flags: the writer has not come to its end */

/* Longest event in a recording. Sources stay far below (kernel chunks are 32 KiB); more than this
 * can only be damage, and a reader would have to allocate it.
 */
#define OSP_OEV_EVENT_MAX (16u << 20)

/* What the file starts with; the first event stands at hdr_len, which is a multiple of 8. New
 * fields are appended, so a reader takes hdr_len from the file. Strings end with a NUL.
 */
struct osp_oev_hdr {
	char magic[8];			/* OSP_OEV_MAGIC without its NUL */
	__u32 bom;			/* OSP_OEV_BOM */
	__u16 version;			/* of this struct and the framing */
	__u16 abi;			/* OSP_EV_ABI of the events */
	__u32 hdr_len;
	__u32 flags;			/* OSP_OEV_INCOMPLETE */
	__u64 events;			/* in the file; 0 as long as OSP_OEV_INCOMPLETE is set */
	__s64 wall_off_ns;		/* at the start, see struct osp_ev_tick */
	char boot_id[40];
	char mode[16];			/* of the source that made the events */
	char agent[32];			/* version */
	char host[72];
	char kernel[72];
};
_Static_assert(sizeof(struct osp_oev_hdr) == 272, "recording format: bump OSP_OEV_VERSION");

/* Bytes an event of this length takes in the file. */
static inline uint64_t osp_oev_padded(uint32_t len)
{
	return ((uint64_t)len + 7) & ~(uint64_t)7;
}

struct osp_oev;

/* Creates or overwrites path, mode 0600, and writes the header, so that a full disk is told before
 * the run begins. Logs its own errors. 0 or -errno.
 */
int osp_oev_open(struct osp_oev **out, const char *path, const struct osp_source_info *info);

/* Appends one event; fits osp_ev_fn with the recording as ctx. Always 0: after a failed write the
 * recording stops with one warning, the file keeps its whole events, and what comes later is
 * counted only.
 */
int osp_oev_write(void *oev, const struct osp_ev_hdr *ev);

/* Events that are in the file, or on their way to it; and those that never will be. */
uint64_t osp_oev_recorded(const struct osp_oev *oev);
uint64_t osp_oev_unrecorded(const struct osp_oev *oev);

/* Writes what waits, completes the header and frees. 0, or -errno if the recording is not
 * whole (already logged). NULL: 0.
 */
int osp_oev_close(struct osp_oev *oev);

#endif
