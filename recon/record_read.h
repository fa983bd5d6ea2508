/* SPDX-License-Identifier: GPL-3.0-or-later */
/* record_read.h: a line of JSON back into struct osp_record. The other way round is
 * record/json.c; docs/record.md is what both follow.
 *
 * @thread one for each struct rc_rec.
 */
#ifndef OSP_RECON_RECORD_READ_H
#define OSP_RECON_RECORD_READ_H

#include "bpf/osp_events.h"
#include "record/osp_record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Gaps kept of each stream of a connection record; more are added to the last. Evidence goes by
 * cause, so what matters is that no bytes are lost here.
 */
#define RC_GAPS_MAX 64

/* What a ledger record says that is evidence: totals of the run so far. */
struct rc_ledger {
	uint64_t filtered;		/* events */
	uint64_t lost;			/* events, all causes; -> not_delivered */
	uint64_t exchanges_lost;
	uint64_t dropped;		/* records that a sink dropped, rejected or lost */
	uint64_t gap[OSP_CAUSE_MAX];	/* bytes */
	bool exit;			/* when is "exit" */
};

/* A record as read. rec points into the line and into memory held here: both live until the next
 * read with the same struct rc_rec.
 */
struct rc_rec {
	struct osp_record rec;
	struct rc_ledger led;
	bool has_ts;
	struct osp_rec_gap gap[2][RC_GAPS_MAX];
	struct osp_rec_header *header[OSP_ENDS];
	uint32_t header_cap[OSP_ENDS];
	char *mem;			/* decoded strings; as large as the line */
	size_t mem_cap, mem_used;
};

/* line[n .. n + RC_JS_PAD) must be readable. 0; -EPROTO: not JSON, not an object, or no record of
 * schema osprey/1; -ENOMEM. A kind this build does not know gives 0 and rec.kind 0.
 */
int rc_rec_read(struct rc_rec *rr, const char *line, size_t n);
/* rr starts zeroed. */
void rc_rec_fini(struct rc_rec *rr);

#endif
