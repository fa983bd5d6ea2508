/* SPDX-License-Identifier: GPL-3.0-or-later */
/* replay.h: recordings and captures through the agent's own tracker, in this process.
 *
 * @thread one for each call; the tracker has no globals.
 */
#ifndef OSP_RECON_REPLAY_H
#define OSP_RECON_REPLAY_H

#include "record/osp_record.h"

#include <stddef.h>

enum rc_replay { RC_REPLAY_OEV, RC_REPLAY_PCAP };

/* Hands every record of the file, with headers, and the ledger of the end to fn. 0 or -errno, with
 * one line in err.
 */
int rc_replay(enum rc_replay what, const char *path, osp_rec_fn fn, void *ctx, char *err,
	      size_t err_size);

#endif
