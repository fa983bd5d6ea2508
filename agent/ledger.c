/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ledger.c: whether everything that was seen is accounted for, and the ledger as text.
 *
 * The sums:
 *	events:       seen = delivered + filtered + sum(lost), once the source has ended: before
 *	              that its counters are read while they move
 *	bytes:        seen = parsed + sum(skipped) + sum(gap) + held, and no gap without a cause
 *	connections:  none whose bytes did not add up
 *	transactions: begun = sum(outcome) + open
 *	each sink:    offered = accepted + rejected + dropped + queued
 * What a counter is to its sum stands in one place (part_of), for the check and for the print.
 */
#include "agent/ledger.h"

#include <inttypes.h>
#include <string.h>

static const struct osp_st_info infos[] = {
#define OSP_ST(id, stage, name, label, unit, help) { stage, name, label, unit, help },
#include "agent/stats.def"
#undef OSP_ST
};

_Static_assert(OSP_ST_EV_LOST_7 - OSP_ST_EV_LOST_RING == 7, "indexed by enum osp_lost");
_Static_assert(OSP_ST_GAP_SKIPPED - OSP_ST_GAP_NONE == OSP_CAUSE_SKIPPED, "indexed by cause");
_Static_assert(OSP_CAUSE_SKIPPED == OSP_CAUSE_MAX - 1, "a cause has no counter");
_Static_assert(OSP_ST_TXN_NO_REQUEST - OSP_ST_TXN_OK == OSP_OUT_NO_REQUEST, "indexed by outcome");
_Static_assert(OSP_OUT_NO_REQUEST == OSP_OUT_MAX - 1, "an outcome has no counter");

const struct osp_st_info *osp_st_info(enum osp_st id)
{
	return &infos[id];
}

void osp_ledger_source(struct osp_ledger *led, const struct osp_ev_lost *lost)
{
	uint64_t bytes = 0;

	led->v[OSP_ST_EV_SEEN] = lost->seen;
	led->v[OSP_ST_EV_DELIVERED] = lost->delivered;
	led->v[OSP_ST_EV_FILTERED] = lost->filtered;
	led->v[OSP_ST_EV_FILTERED_BYTES] = lost->filtered_bytes;
	led->v[OSP_ST_EV_PEEK] = lost->peek;
	for (int i = 0; i < 8; i++) {
		led->v[OSP_ST_EV_LOST_RING + i] = lost->lost[i];
		bytes += lost->lost_bytes[i];
	}
	led->v[OSP_ST_EV_LOST_BYTES] = bytes;
}

/* ---- sums ---------------------------------------------------------------------------------- */

enum part { ASIDE, TOTAL, TERM };

static enum part part_of(enum osp_st id)
{
	switch (id) {
	case OSP_ST_EV_SEEN:
	case OSP_ST_BY_STREAM:
	case OSP_ST_TXN_BEGUN:
		return TOTAL;
	case OSP_ST_EV_DELIVERED:
	case OSP_ST_EV_FILTERED:
	case OSP_ST_EV_LOST_RING ... OSP_ST_EV_LOST_7:
	case OSP_ST_BY_PARSED:
	case OSP_ST_BY_SKIPPED_OPAQUE ... OSP_ST_BY_SKIPPED_EXTRA:
	case OSP_ST_BY_HELD:
	case OSP_ST_GAP_NONE ... OSP_ST_GAP_SKIPPED:
	case OSP_ST_TXN_OPEN:
	case OSP_ST_TXN_OK ... OSP_ST_TXN_NO_REQUEST:
		return TERM;
	default:
		return ASIDE;
	}
}

static enum osp_st stage_end(enum osp_st id)
{
	enum osp_st end = id;

	while (end < OSP_ST_MAX && !strcmp(infos[end].stage, infos[id].stage))
		end++;
	return end;
}

static bool differ(char *why, size_t size, const char *stage, const char *total, uint64_t want,
		   uint64_t sum)
{
	if (why)
		snprintf(why, size,
			 "%s: %s %" PRIu64 ", accounted for %" PRIu64 " (%" PRIu64 " too %s)",
			 stage, total, want, sum, sum < want ? want - sum : sum - want,
			 sum < want ? "few" : "many");
	return false;
}

/* The stage whose counters are [id, end). Stages without a total have no sum to close. */
static bool stage_closes(const struct osp_ledger *led, enum osp_st id, enum osp_st end, char *why,
			 size_t size)
{
	const char *total = NULL;
	uint64_t want = 0, sum = 0;

	for (enum osp_st i = id; i < end; i++) {
		if (part_of(i) == TOTAL) {
			total = infos[i].name;
			want = led->v[i];
		} else if (part_of(i) == TERM) {
			sum += led->v[i];
		}
	}
	return !total || want == sum || differ(why, size, infos[id].stage, total, want, sum);
}

/* Sink counters are grouped by label; c[0..n) are one sink's. */
static bool sink_closes(const struct osp_rec_counter *c, uint32_t n, char *why, size_t size)
{
	uint64_t offered = 0, sum = 0;

	for (uint32_t i = 0; i < n; i++) {
		if (!strcmp(c[i].name, "offered"))
			offered = c[i].value;
		else if (!strcmp(c[i].name, "accepted") || !strcmp(c[i].name, "rejected") ||
			 !strcmp(c[i].name, "dropped") || !strcmp(c[i].name, "queued"))
			sum += c[i].value;
	}
	return offered == sum || differ(why, size, c->label, "offered", offered, sum);
}

/* How many of c[0..n) belong to the same sink as the first; 0: the first is not a sink's. */
static uint32_t sink_run(const struct osp_rec_counter *c, uint32_t n)
{
	uint32_t m = 0;

	while (m < n && !strcmp(c[m].stage, "sinks") && c[m].label &&
	       !strcmp(c[m].label, c->label))
		m++;
	return m;
}

static bool none_of(const struct osp_ledger *led, enum osp_st id, char *why, size_t size)
{
	if (!led->v[id])
		return true;
	if (why)
		snprintf(why, size, "%s: %" PRIu64 " %s%s%s, must be none", infos[id].stage,
			 led->v[id], infos[id].name, infos[id].label ? " " : "",
			 infos[id].label ? infos[id].label : "");
	return false;
}

bool osp_ledger_closes(const struct osp_ledger *led, const struct osp_rec_counter *extra,
		       uint32_t extra_n, bool final, char *why, size_t why_size)
{
	enum osp_st end;
	uint32_t n;

	if (why && why_size)
		why[0] = 0;
	for (enum osp_st id = 0; id < OSP_ST_MAX; id = end) {
		end = stage_end(id);
		if (id == OSP_ST_EV_SEEN && (!final || !led->v[id]))
			continue;
		if (!stage_closes(led, id, end, why, why_size))
			return false;
	}
	if (!none_of(led, OSP_ST_GAP_NONE, why, why_size) ||
	    !none_of(led, OSP_ST_CONN_BYTES_MISMATCH, why, why_size))
		return false;
	for (uint32_t i = 0; i < extra_n; i += n ? n : 1) {
		n = sink_run(extra + i, extra_n - i);
		if (n && !sink_closes(extra + i, n, why, why_size))
			return false;
	}
	return true;
}

uint32_t osp_ledger_counters(const struct osp_ledger *led, const struct osp_rec_counter *extra,
			     uint32_t extra_n, struct osp_rec_counter *out)
{
	uint32_t n = 0;

	for (; n < OSP_ST_MAX; n++)
		out[n] = (struct osp_rec_counter){
			.stage = infos[n].stage,
			.name = infos[n].name,
			.label = infos[n].label,
			.value = led->v[n],
		};
	for (uint32_t i = 0; i < extra_n; i++)
		out[n++] = extra[i];
	return n;
}

/* ---- text ---------------------------------------------------------------------------------- */

/* 12345 as "12,345"; out has room for 27. */
static const char *grouped(char out[27], uint64_t v)
{
	char *p = out + 26;
	int n = 0;

	*p = 0;
	do {
		if (n && n % 3 == 0)
			*--p = ',';
		*--p = (char)('0' + v % 10);
		v /= 10;
		n++;
	} while (v);
	return p;
}

static void print_counter(FILE *to, const char *before, const char *name, const char *label,
			  uint64_t v)
{
	char num[27];

	/* "ok 9" says as much as "outcome ok 9". */
	if (label && (!strcmp(name, "outcome") || !strcmp(name, "made")))
		fprintf(to, "%s%s %s", before, label, grouped(num, v));
	else if (label)
		fprintf(to, "%s%s(%s) %s", before, name, label, grouped(num, v));
	else
		fprintf(to, "%s%s %s", before, name, grouped(num, v));
}

/* One line: "stage  total = term + term; aside, aside", of c[0..n); part[i] says what c[i] is.
 * Nothing at all if every counter is zero.
 */
static void print_line(FILE *to, const char *title, const struct osp_rec_counter *c,
		       const enum part *part, uint32_t n)
{
	const char *before;
	bool total = false;
	uint64_t any = 0;

	for (uint32_t i = 0; i < n; i++)
		any |= c[i].value;
	if (!any)
		return;
	fprintf(to, "  %-14s", title);
	for (uint32_t i = 0; i < n; i++)
		if (part[i] == TOTAL) {
			print_counter(to, "", c[i].name, c[i].label, c[i].value);
			total = true;
		}
	before = " = ";
	for (uint32_t i = 0; i < n; i++)
		if (part[i] == TERM && c[i].value) {
			print_counter(to, before, c[i].name, c[i].label, c[i].value);
			before = " + ";
		}
	before = total ? "; " : "";
	for (uint32_t i = 0; i < n; i++)
		if (part[i] == ASIDE && c[i].value) {
			print_counter(to, before, c[i].name, c[i].label, c[i].value);
			before = ", ";
		}
	fputc('\n', to);
}

static void print_stages(FILE *to, const struct osp_ledger *led)
{
	struct osp_rec_counter c[OSP_ST_MAX];
	enum part part[OSP_ST_MAX];
	enum osp_st end;

	osp_ledger_counters(led, NULL, 0, c);
	for (enum osp_st id = 0; id < OSP_ST_MAX; id++)
		part[id] = part_of(id);
	for (enum osp_st id = 0; id < OSP_ST_MAX; id = end) {
		end = stage_end(id);
		print_line(to, infos[id].stage, c + id, part + id, end - id);
	}
}

#define SINK_COUNTERS_MAX 16

static void print_sink(FILE *to, const struct osp_rec_counter *c, uint32_t n)
{
	struct osp_rec_counter one[SINK_COUNTERS_MAX];
	enum part part[SINK_COUNTERS_MAX];
	char title[64];

	snprintf(title, sizeof(title), "sink %s", c->label);
	if (n > SINK_COUNTERS_MAX)
		n = SINK_COUNTERS_MAX;
	for (uint32_t i = 0; i < n; i++) {
		one[i] = c[i];
		one[i].label = NULL;
		part[i] = ASIDE;
		if (!strcmp(c[i].name, "offered"))
			part[i] = TOTAL;
		else if (!strcmp(c[i].name, "accepted") || !strcmp(c[i].name, "rejected") ||
			 !strcmp(c[i].name, "dropped") || !strcmp(c[i].name, "queued"))
			part[i] = TERM;
	}
	print_line(to, title, one, part, n);
}

void osp_ledger_print(FILE *to, const struct osp_ledger *led, const struct osp_rec_counter *extra,
		      uint32_t extra_n)
{
	char why[160];
	uint32_t n;

	fprintf(to, "ledger\n");
	print_stages(to, led);
	for (uint32_t i = 0; i < extra_n; i += n ? n : 1) {
		n = sink_run(extra + i, extra_n - i);
		if (n)
			print_sink(to, extra + i, n);
	}
	if (osp_ledger_closes(led, extra, extra_n, true, why, sizeof(why)))
		fprintf(to, "  all sums close\n");
	else
		fprintf(to, "  SUMS DO NOT CLOSE: %s\n", why);
}
