/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ledger.h: all counters of a run, and whether their sums close. The list is agent/stats.def.
 *
 * @thread loop; the metrics reader may read values (relaxed) at any time.
 */
#ifndef OSP_LEDGER_H
#define OSP_LEDGER_H

#include "bpf/osp_events.h"
#include "record/osp_record.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum osp_st {
#define OSP_ST(id, stage, name, label, unit, help) OSP_ST_##id,
#include "agent/stats.def"
#undef OSP_ST
	OSP_ST_MAX
};

struct osp_ledger {
	uint64_t v[OSP_ST_MAX];
};

/* Counters that are not in stats.def because their number is known at run time only (one set per
 * sink). label is the sink's name and lives as long as the sink.
 */
#define OSP_LEDGER_EXTRA_MAX 320

static inline void osp_count(struct osp_ledger *led, enum osp_st id, uint64_t n)
{
	led->v[id] += n;
}

/* Takes over the source's totals. */
void osp_ledger_source(struct osp_ledger *led, const struct osp_ev_lost *lost);

/* Whether every sum closes: events (once the source has ended: final), bytes, transactions, and
 * each sink's among extra. why, if not NULL, gets the first that does not, with its numbers.
 */
bool osp_ledger_closes(const struct osp_ledger *led, const struct osp_rec_counter *extra,
		       uint32_t extra_n, bool final, char *why, size_t why_size);

/* Fills out[] (room for OSP_ST_MAX + extra_n) with all counters for a ledger record; returns how
 * many.
 */
uint32_t osp_ledger_counters(const struct osp_ledger *led, const struct osp_rec_counter *extra,
			     uint32_t extra_n, struct osp_rec_counter *out);

/* The ledger for a person: a line a stage, zero counters left out, then whether the sums close. */
void osp_ledger_print(FILE *to, const struct osp_ledger *led, const struct osp_rec_counter *extra,
		      uint32_t extra_n);

/* Static text of a counter, for metrics and docs. */
struct osp_st_info {
	const char *stage, *name, *label, *unit, *help;
};
const struct osp_st_info *osp_st_info(enum osp_st id);

#endif
