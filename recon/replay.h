/* SPDX-License-Identifier: GPL-3.0-or-later */
/* replay.h: recordings and captures through the agent's own tracker, in this process.
 *
 * @thread one for each call; the tracker has no globals.
 */
#ifndef OSP_RECON_REPLAY_H
#define OSP_RECON_REPLAY_H

#include "record/osp_record.h"

#include <stddef.h>

enum rc_replay { RC_REPLAY_OEV, RC_REPLAY_PCAP, RC_REPLAY_IFACE };

/* When a capture from an interface ends. */
struct rc_live_end {
	int64_t duration_ns;	/* 0: no limit */
	int stop_fd;		/* readable: it is to end now; -1: none */
	const char *notice;	/* said on stderr once packets are taken; NULL: nothing */
};

/* Hands every record of the file, with headers, and the ledger of the end to fn; path of an interface
 * is "iface:NAME", and it has a ledger of the start, too. 0 or
 * -errno; err has one line, or is left alone where the source has said on stderr what is wrong.
 */
int rc_replay(enum rc_replay what, const char *path, const struct rc_live_end *end, osp_rec_fn fn,
	      void *ctx, char *err, size_t err_size);

#endif
