/* SPDX-License-Identifier: GPL-3.0-or-later */
/* metrics_text.c: a snapshot in Prometheus' text format.
 * https://prometheus.io/docs/instrumenting/exposition_formats/, names after
 * https://prometheus.io/docs/practices/naming/
 *
 * A ledger counter "stage.name.label" is the metric osprey_<stage>_<name>[_bytes]_total{...}, so
 * that who knows one finds the other. The stage "bytes" is called "stream" here: bytes are the
 * unit.
 */
#include "agent/metrics.h"
#include "sinks/osp_sink.h"

#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PREFIX "osprey_"

static void head(FILE *to, const char *name, const char *type, const char *help)
{
	fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* name="value", escaped as the format wants it. */
static void label(FILE *to, const char *before, const char *name, const char *value)
{
	fprintf(to, "%s%s=\"", before, name);
	for (; value && *value; value++) {
		if (*value == '\n')
			fputs("\\n", to);
		else if (*value == '\\' || *value == '"')
			fprintf(to, "\\%c", *value);
		else
			fputc(*value, to);
	}
	fputc('"', to);
}

static void number(FILE *to, const char *name, const char *type, const char *help, uint64_t v)
{
	head(to, name, type, help);
	fprintf(to, "%s %" PRIu64 "\n", name, v);
}

/* ns as seconds, to the last digit. */
static void seconds(FILE *to, const char *name, const char *type, const char *help, uint64_t ns)
{
	head(to, name, type, help);
	fprintf(to, "%s %" PRIu64 ".%09" PRIu64 "\n", name, ns / 1000000000, ns % 1000000000);
}

/* ---- the ledger ---------------------------------------------------------------------------- */

/* What goes up and down. All else only grows. */
static bool is_gauge(enum osp_st id)
{
	return id == OSP_ST_BY_HELD || id == OSP_ST_TXN_OPEN || id == OSP_ST_MEM_BYTES;
}

/* Counters that share a name are one metric with a label; help is then the family's. */
static const struct family {
	const char *stage, *name, *label, *help;
} families[] = {
	{ "events", "lost", "cause", "Events the kernel side could not hand over" },
	{ "connections", "evicted", "reason", "Connections forgotten before they ended" },
	{ "bytes", "skipped", "reason", "Stream bytes no parser took" },
	{ "bytes", "gap", "cause", "Stream bytes that were not captured" },
	{ "transactions", "outcome", "outcome", "Transactions ended" },
	{ "records", "made", "kind", "Records made; each is offered to every sink" },
};

static const struct family *family_of(const struct osp_st_info *st)
{
	for (size_t i = 0; i < sizeof(families) / sizeof(*families); i++)
		if (!strcmp(families[i].stage, st->stage) && !strcmp(families[i].name, st->name))
			return &families[i];
	return NULL;
}

static bool same_family(const struct osp_st_info *a, const struct osp_st_info *b)
{
	return !strcmp(a->stage, b->stage) && !strcmp(a->name, b->name);
}

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && !strcmp(s + n - m, end);
}

static void ledger_head(FILE *to, enum osp_st id, char *name, size_t size)
{
	const struct osp_st_info *st = osp_st_info(id);
	const struct family *fam = family_of(st);
	const char *stage = strcmp(st->stage, "bytes") ? st->stage : "stream";
	bool unit = !strcmp(st->unit, "bytes") && !ends_with(st->name, "_bytes");
	char help[256];

	snprintf(name, size, PREFIX "%s_%s%s%s", stage, st->name, unit ? "_bytes" : "",
		 is_gauge(id) ? "" : "_total");
	if (fam)
		snprintf(help, sizeof(help), "%s.", fam->help);
	else
		snprintf(help, sizeof(help), "Ledger %s.%s (%s)%s%s.", st->stage, st->name,
			 st->unit, *st->help ? ": " : "", st->help);
	head(to, name, is_gauge(id) ? "gauge" : "counter", help);
}

static void ledger(FILE *to, const struct osp_ledger *led)
{
	char name[128] = "";

	for (enum osp_st id = 0; id < OSP_ST_MAX; id++) {
		const struct osp_st_info *st = osp_st_info(id);
		const struct family *fam = family_of(st);

		if (st->label && !strncmp(st->label, "reserved", 8))
			continue;
		if (!id || !same_family(st, osp_st_info(id - 1)))
			ledger_head(to, id, name, sizeof(name));
		fputs(name, to);
		if (st->label) {
			label(to, "{", fam ? fam->label : "kind", st->label);
			fputc('}', to);
		}
		fprintf(to, " %" PRIu64 "\n", led->v[id]);
	}
}

/* ---- sinks --------------------------------------------------------------------------------- */

static const struct sink_family {
	const char *counter, *name, *type, *help;
} sink_families[] = {
	{ "offered", PREFIX "sink_offered_records_total", "counter",
	  "Records offered; = accepted + rejected + dropped + queued." },
	{ "accepted", PREFIX "sink_accepted_records_total", "counter",
	  "Records taken by the sink." },
	{ "rejected", PREFIX "sink_rejected_records_total", "counter",
	  "Records the sink can never take." },
	{ "dropped", PREFIX "sink_dropped_records_total", "counter",
	  "Records given up: queue full, or the end." },
	{ "queued", PREFIX "sink_queued_records", "gauge", "Records in its queue." },
	{ "acked", PREFIX "sink_confirmed_records_total", "counter",
	  "Records the destination confirmed." },
	{ "lost", PREFIX "sink_lost_records_total", "counter",
	  "Records lost after the sink had taken them." },
	{ "held", PREFIX "sink_held_records", "gauge",
	  "Records the sink has taken and the destination has not confirmed." },
	{ "bytes", PREFIX "sink_written_bytes_total", "counter", "Bytes written." },
	{ "retries", PREFIX "sink_retries_total", "counter", "Pauses after a failure." },
	{ "reopens", PREFIX "sink_reopens_total", "counter", "Times opened anew after a failure." },
};
#define SINK_FAMILIES (sizeof(sink_families) / sizeof(*sink_families))

static void sink_family(FILE *to, const struct osp_metrics_snap *snap,
			const struct sink_family *fam)
{
	bool begun = false;

	for (uint32_t i = 0; i < snap->sink_n; i++) {
		if (strcmp(snap->sink[i].name, fam->counter))
			continue;
		if (!begun)
			head(to, fam->name, fam->type, fam->help);
		begun = true;
		fputs(fam->name, to);
		label(to, "{", "sink", snap->sink[i].label);
		fprintf(to, "} %" PRIu64 "\n", snap->sink[i].value);
	}
}

static void sink_lag(FILE *to, const struct osp_metrics_snap *snap)
{
	static const char name[] = PREFIX "sink_lag_seconds";
	uint32_t sink = 0;

	for (uint32_t i = 0; i < snap->sink_n && sink < OSP_METRICS_SINKS; i++) {
		if (strcmp(snap->sink[i].name, "offered"))
			continue;
		if (!sink)
			head(to, name, "gauge",
			     "Age of the oldest record in the sink's queue, to a second.");
		fputs(name, to);
		label(to, "{", "sink", snap->sink[i].label);
		fprintf(to, "} %.3f\n", (double)snap->lag_ns[sink++] / 1e9);
	}
}

/* ---- the rest ------------------------------------------------------------------------------ */

uint64_t osp_age_quantile(const struct osp_age *now, const struct osp_age *before, double share)
{
	uint64_t total = 0, sum = 0;
	int i;

	for (i = 0; i < OSP_AGE_BUCKETS; i++)
		total += now->bucket[i] - before->bucket[i];
	if (!total)
		return 0;
	for (i = 0; i < OSP_AGE_BUCKETS - 1; i++) {
		sum += now->bucket[i] - before->bucket[i];
		if ((double)sum >= share * (double)total)
			break;
	}
	return i ? (5ull + (unsigned)(i - 1) % 4) << ((i - 1) / 4 + 8) : 1024;
}

/* Octaves whose upper ends are shown as buckets: 131 us to 8.6 s. */
#define AGE_FIRST 7
#define AGE_LAST 23

static void age(FILE *to, const struct osp_metrics_snap *snap)
{
	static const char name[] = PREFIX "event_age_seconds";
	uint64_t sum = 0;
	int i = 0;

	head(to, name, "histogram", "How old events were when the agent began to take them.");
	for (int o = AGE_FIRST; o <= AGE_LAST; o++) {
		for (; i < 1 + 4 * o; i++)
			sum += snap->age.bucket[i];
		fprintf(to, "%s_bucket{le=\"%.10g\"} %" PRIu64 "\n", name,
			(double)(1024ull << o) / 1e9, sum);
	}
	for (; i < OSP_AGE_BUCKETS; i++)
		sum += snap->age.bucket[i];
	fprintf(to, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, sum);
	fprintf(to, "%s_sum %.9f\n", name, (double)snap->age.sum_ns / 1e9);
	fprintf(to, "%s_count %" PRIu64 "\n", name, sum);
	if (sum)
		seconds(to, PREFIX "event_age_last_seconds", "gauge",
			"How old the latest event was.", snap->age.last_ns);
	if (snap->age_p99_ns)
		seconds(to, PREFIX "event_age_p99_seconds", "gauge",
			"99 % of the events of the latest second were younger.",
			snap->age_p99_ns);
}

static void rings(FILE *to, const struct osp_source_fill *fill)
{
	head(to, PREFIX "ring_used_bytes", "gauge",
	     "Bytes in the rings between kernel and agent.");
	fprintf(to, PREFIX "ring_used_bytes{ring=\"data\"} %" PRIu64 "\n", fill->data_bytes);
	fprintf(to, PREFIX "ring_used_bytes{ring=\"control\"} %" PRIu64 "\n", fill->ctl_bytes);
	head(to, PREFIX "ring_size_bytes", "gauge", "Size of these rings.");
	fprintf(to, PREFIX "ring_size_bytes{ring=\"data\"} %" PRIu64 "\n", fill->data_size);
	fprintf(to, PREFIX "ring_size_bytes{ring=\"control\"} %" PRIu64 "\n", fill->ctl_size);
}

static void infos(FILE *to, const struct osp_source_info *info)
{
	head(to, PREFIX "build_info", "gauge", "Always 1; versions are in the labels.");
	fprintf(to, PREFIX "build_info{version=\"%s\",event_abi=\"%d\",record_schema=\"%s\","
		"sink_abi=\"%u\"} 1\n", OSP_VERSION, OSP_EV_ABI, OSP_RECORD_SCHEMA, OSP_SINK_ABI);
	head(to, PREFIX "source_info", "gauge", "Always 1; where events come from.");
	fputs(PREFIX "source_info", to);
	label(to, "{", "mode", info->mode);
	label(to, ",", "origin", info->origin);
	label(to, ",", "kernel", info->kernel);
	fputs("} 1\n", to);
}

static void configuration(FILE *to, const struct osp_metrics_snap *snap)
{
	head(to, PREFIX "config_reloads_total", "counter",
	     "Times the configuration was read anew.");
	fprintf(to, PREFIX "config_reloads_total{result=\"ok\"} %" PRIu64 "\n", snap->reloads);
	fprintf(to, PREFIX "config_reloads_total{result=\"failed\"} %" PRIu64 "\n",
		snap->reloads_failed);
	number(to, PREFIX "config_last_reload_successful", "gauge",
	       "Whether the configuration file, when it was read last, came into force.",
	       !snap->reload_bad);
	seconds(to, PREFIX "config_last_good_timestamp_seconds", "gauge",
		"When the configuration in force was read.", (uint64_t)snap->reload_ok_ns);
}

static void process(FILE *to)
{
	struct rusage use;
	FILE *statm = fopen("/proc/self/statm", "re");
	uint64_t pages;

	if (!getrusage(RUSAGE_SELF, &use))
		seconds(to, "process_cpu_seconds_total", "counter",
			"CPU time of the agent, user and system.",
			(uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000000 +
			(uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000);
	if (statm && fscanf(statm, "%*u %" SCNu64, &pages) == 1)
		number(to, "process_resident_memory_bytes", "gauge", "Memory of the agent.",
		       pages * (uint64_t)sysconf(_SC_PAGESIZE));
	if (statm)
		fclose(statm);
}

void osp_metrics_text(FILE *to, const struct osp_metrics_snap *snap)
{
	infos(to, &snap->info);
	number(to, PREFIX "ledger_closes", "gauge", "Whether all sums of the ledger close now.",
	       snap->closes);
	ledger(to, &snap->led);
	for (size_t i = 0; i < SINK_FAMILIES; i++)
		sink_family(to, snap, &sink_families[i]);
	sink_lag(to, snap);
	number(to, PREFIX "connections_tracked", "gauge", "Connections in the table now.",
	       snap->conns);
	number(to, PREFIX "connections_limit", "gauge", "Most connections the table takes.",
	       snap->conns_max);
	number(to, PREFIX "memory_budget_limit_bytes", "gauge",
	       "The byte budget: beyond it connections are given up.", snap->budget_bytes);
	if (snap->has_fill)
		rings(to, &snap->fill);
	if (snap->live)
		age(to, snap);
	configuration(to, snap);
	process(to);
}
