/* SPDX-License-Identifier: GPL-3.0-or-later */
/* metrics.h: the agent about itself, for Prometheus: the whole ledger, how full rings, table and
 * queues are, how old events were when they were taken. GET /metrics and /healthz over TCP or a
 * unix socket, by a thread of its own that reads a copy the loop leaves once a second: a scrape
 * never makes the loop wait. docs/metrics.md lists what there is.
 */
#ifndef OSP_METRICS_H
#define OSP_METRICS_H

#include "agent/ledger.h"
#include "agent/source.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* ---- ages of events ------------------------------------------------------------------------ */

/* Bucket 0: below 1024 ns. Then four an octave: bucket 1 + 4 * o + q holds ages from
 * 1024 * 2^o * (1 + q/4) ns on. The last octave, from 2.4 h on, has no end.
 */
#define OSP_AGE_OCTAVES 34
#define OSP_AGE_BUCKETS (1 + 4 * OSP_AGE_OCTAVES)

struct osp_age {
	uint64_t bucket[OSP_AGE_BUCKETS];
	uint64_t sum_ns, last_ns;
};

static inline void osp_age_add(struct osp_age *age, uint64_t ns)
{
	unsigned int o, at = 0;

	if (ns >= 1024) {
		o = 53u - (unsigned int)__builtin_clzll(ns);
		at = o < OSP_AGE_OCTAVES ? 1 + 4 * o + (ns >> (o + 8) & 3) : OSP_AGE_BUCKETS - 1;
	}
	age->bucket[at]++;
	age->sum_ns += ns;
	age->last_ns = ns;
}

/* What share (0 … 1) of the ages that now has more than before stay below, in ns, to a quarter
 * octave upwards; 0: there are none.
 */
uint64_t osp_age_quantile(const struct osp_age *now, const struct osp_age *before, double share);

/* ---- what is shown ------------------------------------------------------------------------- */

#define OSP_METRICS_SINKS 32

/* Strings live as long as the agent's source and sinks. */
struct osp_metrics_snap {
	struct osp_source_info info;
	struct osp_ledger led;
	bool closes;			/* the ledger's sums */
	bool live;			/* events have an age */
	bool has_fill;
	struct osp_source_fill fill;
	struct osp_age age;
	uint64_t age_p99_ns;		/* since the snapshot before; 0: there was no event */
	uint64_t conns, conns_max, budget_bytes;
	uint64_t reloads, reloads_failed;
	bool reload_bad;		/* the latest one failed */
	int64_t reload_ok_ns;		/* CLOCK_REALTIME of the last good one, or of the start */
	struct osp_rec_counter sink[OSP_LEDGER_EXTRA_MAX];
	uint32_t sink_n;
	/* Per sink, in order of their first counter in sink[]. */
	uint64_t lag_ns[OSP_METRICS_SINKS];
};

/* The snapshot in Prometheus' text format 0.0.4. */
void osp_metrics_text(FILE *to, const struct osp_metrics_snap *snap);

/* ---- server -------------------------------------------------------------------------------- */

struct osp_metrics;

/* Whether addr can be listened on: "HOST:PORT", "PORT", "[V6]:PORT", "unix:/PATH"; HOST is an
 * address or localhost. Only loopback, but for any. 0 or -EINVAL with one line in err.
 */
int osp_metrics_check(const char *addr, bool any, char *err, size_t err_size);

/* Listens and starts to serve: until the first snapshot all answers are 503. 0 or -errno with one
 * line in err.
 *
 * @thread loop, this and all below
 */
int osp_metrics_new(struct osp_metrics **out, const char *addr, bool any, char *err,
		    size_t err_size);

/* A copy of what there is now. Fills in lag_ns and age_p99_ns of snap. Does nothing, and says so,
 * while the thread reads the copy before: never waits.
 */
bool osp_metrics_publish(struct osp_metrics *met, struct osp_metrics_snap *snap);

void osp_metrics_free(struct osp_metrics *met);

#endif
