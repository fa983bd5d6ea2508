/* SPDX-License-Identifier: GPL-3.0-or-later */
/* conf.c: one row of table[] a setting; the row is all there is to say of it. */
#include "agent/conf.h"
#include "agent/base/log.h"
#include "agent/base/opt.h"
#include "agent/conf_rows.h"
#include "agent/metrics.h"
#include "agent/shard.h"

#include <errno.h>
#include <getopt.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(member) offsetof(struct osp_conf, member)
static const struct row table[] = {
	{ .name = "Where records go:", .kind = HEADING },
	{ "sink", SINK, 0, 0, 0, 0, 0, "NAME[:KEY=VALUE,...]",
	  "console, csv, jsonl, kafka, null, or the path of a plugin (with\n"
	  "a /); several at once. Default: console on a terminal, jsonl to\n"
	  "standard output otherwise" },
	{ "headers", FLAG, 0, 0, AT(trk.headers), 0, 0, NULL, "keep headers in records" },
	{ "body", SIZE32, 0, 0, AT(trk.body), 0, 64 << 20, "SIZE",
	  "keep so much of each body (default 0)" },
	{ "decode", FLAG, 0, 0, AT(trk.decode), 0, 0, NULL,
	  "keep bodies without their gzip, deflate, br or zstd" },
	{ "redact", STR, 0, 0, AT(trk.redact), 0, 0, "NAME,...",
	  "headers whose values are not kept (default: Authorization,\n"
	  "Proxy-Authorization, Cookie, Set-Cookie, X-Api-Key)" },
	{ "no-connections", FLAG, 0, 0, AT(no_connections), 0, 0, NULL,
	  "make no connection records" },
	{ "ledger-interval", TIME, 0, LIVE, AT(ledger_interval_ns), 0, 0, "TIME",
	  "a ledger record this often (default 60s; 0: start and exit)" },
	{ "connection-interval", TIME, 0, 0, AT(trk.conn_interval_ns), 0, 0, "TIME",
	  "records of connections that still run (default: none)" },

	{ .name = "What is captured (several of each; one of each kind must match):", .kind = HEADING },
	{ "pid", FILTER, 'p', 0, OSP_FILTER_PID, 0, 0, "PID",
	  "this process; --pid, --comm and --exe are one kind" },
	{ "follow", FLAG, 'f', 0, AT(filter.follow), 0, 0, NULL, "children of --pid, too" },
	{ "comm", FILTER, 0, 0, OSP_FILTER_COMM, 0, 0, "NAME", "processes of this name" },
	{ "exe", FILTER, 0, 0, OSP_FILTER_EXE, 0, 0, "PATH", "processes that run this file" },
	{ "port", FILTER, 0, 0, OSP_FILTER_PORT, 0, 0, "PORT", "either end's port" },
	{ "cidr", FILTER, 0, 0, OSP_FILTER_CIDR, 0, 0, "ADDR/LEN", "either end's address" },
	{ "cgroup", FILTER, 0, 0, OSP_FILTER_CGROUP, 0, 0, "PATH|ID",
	  "processes in this cgroup (v2) or below" },
	{ "netns", FILTER, 0, 0, OSP_FILTER_NETNS, 0, 0, "PATH|INODE", "network namespace" },
	{ "role", FILTER, 0, 0, OSP_FILTER_ROLE, 0, 0, "client|server", "the process's end" },
	{ "unix", FLAG, 0, 0, AT(bpf.unix_too), 0, 0, NULL,
	  "unix stream sockets, too (Linux 6.5); --port and --cidr leave\n"
	  "them out" },

	{ .name = "How:", .kind = HEADING },
	{ "capture", MODE, 0, 0, AT(bpf.mode), 0, 0, "auto|sock|syscall",
	  "kernel hooks: socket tracepoints (Linux 6.3) or system calls" },
	{ "rings", RINGS, 0, 0, AT(rings), 1, OSP_SHARDS_MAX, "N|auto",
	  "so many event rings, and threads behind them, divide the\n"
	  "connections among them (default 1; auto: one per CPU)" },
	{ "ring-size", SIZE, 0, 0, AT(bpf.ring_bytes), 4096, 1ull << 31, "SIZE",
	  "event rings, all together (default 64M)" },
	{ "capture-cap", SIZE32, 0, 0, AT(bpf.call_cap), 0, 1 << 20, "SIZE",
	  "bytes copied of one call (default 256K, at most 1M)" },
	{ "turn-cap", SIZE32, 0, 0, AT(bpf.turn_cap), 0, 0, "SIZE",
	  "bytes copied of all that one end sends before the other answers:\n"
	  "1K is little more than heads (default: no limit)" },
	{ "skip-from", SIZE, 0, 0, AT(trk.skip_from), 0, 0, "SIZE",
	  "what nobody keeps is not copied when this much or more of it is still\n"
	  "to come: bodies have exact sizes then, but no digest (default 64K;\n"
	  "0: copy all)" },
	{ "gather", SIZE32, 0, 0, AT(bpf.gather), 0, OSP_GATHER_MAX, "SIZE",
	  "calls in a row that move no more than this are gathered in the kernel,\n"
	  "for a millisecond at most (default 16, at most 64; 0: none)" },
	{ "max-head", SIZE32, 0, 0, AT(trk.max_head), 64, 16 << 20, "SIZE",
	  "longest HTTP head (default 256K)" },
	{ "max-connections", U32, 0, 0, AT(trk.max_conns), 1, 1 << 24, "N",
	  "tracked at once (default 1048576)" },
	{ "memory", SIZE, 0, 0, AT(trk.byte_budget), 1 << 20, 0, "SIZE",
	  "for buffered bytes (default 256M)" },
	{ "timeout", TIME, 0, 0, AT(trk.txn_timeout_ns), 0, 0, "TIME",
	  "a request unanswered this long ends (default 300s; 0: never)" },
	{ "duration", TIME, 0, 0, AT(duration_ns), 0, 0, "TIME", "end after this time" },
	{ "count", U64, 0, 0, AT(count), 0, 0, "N", "end after N transactions" },
	{ "stop-timeout", TIME, 0, LIVE, AT(stop_timeout_ns), 0, 0, "TIME",
	  "for sinks to finish in at the end (default 5s)" },

	{ .name = "From packets (docs/wire.md):", .kind = HEADING },
	{ "source", STR, 0, 1, AT(source), 0, 0, "pcap:FILE|iface:NAME",
	  "transactions as the wire shows them: a capture file (pcap or\n"
	  "pcapng, plain or gzip; - is standard input), or an interface" },
	{ "wire-wait", TIME, 0, 0, AT(wire.reasm.hole_ns), 0, 0, "TIME",
	  "how long a missing segment is waited for (default 2s)" },
	{ "wire-hold", SIZE32, 0, 0, AT(wire.reasm.hold_bytes), 4096, 1 << 30, "SIZE",
	  "bytes held meanwhile, per direction (default 1M)" },
	{ "wire-idle", TIME, 0, 0, AT(wire.reasm.idle_ns), 1, 0, "TIME",
	  "a connection silent this long has ended (default 300s)" },

	{ .name = "Without a kernel:", .kind = HEADING },
	{ "record", STR, 0, 0, AT(record), 0, 0, "FILE", "write all events to a file" },
	{ "replay", STR, 0, 1, AT(replay), 0, 0, "FILE", "take events from such a file" },
	{ "synthetic", SYNTH, 0, 1, AT(synth), 0, 0, "SPEC",
	  "make events up, e.g. =txns=1000,seed=7,loss=0.01; needs no root" },

	{ .name = "Other:", .kind = HEADING },
	{ "metrics", STR, 0, 0, AT(metrics), 0, 0, "ADDR:PORT|unix:PATH",
	  "the ledger and more for Prometheus, over HTTP" },
	{ "metrics-any", FLAG, 0, 0, AT(metrics_any), 0, 0, NULL,
	  "--metrics may listen where other hosts can reach it" },
	{ "config", STR, 'c', 1, AT(config), 0, 0, "FILE",
	  "lines \"option = value\"; SIGHUP reads filters anew" },
	{ "check-config", COMMAND, 0, 1, OSP_CMD_CHECK_CONFIG, 0, 0, NULL,
	  "say what is wrong with all this, and end" },
	{ "verbose", FLAG, 'v', 0, AT(verbose), 0, 0, NULL, "say more on stderr" },
	{ "help", COMMAND, 'h', 1, OSP_CMD_HELP, 0, 0, NULL, "this text" },
	{ "version", COMMAND, 'V', 1, OSP_CMD_VERSION, 0, 0, NULL, "version and ABI numbers" },
	{ "help-man", COMMAND, 0, 1, OSP_CMD_HELP_MAN, 0, 0, NULL, NULL },
	{ "help-bash", COMMAND, 0, 1, OSP_CMD_HELP_BASH, 0, 0, NULL, NULL },
};
#define ROWS (sizeof(table) / sizeof(*table))
_Static_assert(ROWS <= 8 * sizeof(((struct osp_conf *)0)->on_line), "a bit a row");

const struct row *osp_conf_rows(size_t *n)
{
	*n = ROWS;
	return table;
}

/* Strings read from the file live here. */
struct osp_conf_text {
	struct osp_conf_text *next;
	char text[];
};

static const struct row *row_of(const char *name)
{
	for (size_t i = 0; i < ROWS; i++)
		if (table[i].kind != HEADING && !strcmp(table[i].name, name))
			return &table[i];
	return NULL;
}

static int number(const struct row *row, const char *text, uint64_t *out)
{
	int err = row->kind == TIME ? osp_parse_time(text, out) :
		  row->kind == SIZE || row->kind == SIZE32 ? osp_parse_size(text, out) :
							     osp_parse_u64(text, out);

	if (err)
		osp_err("--%s: \"%s\" is not a %s", row->name, text,
			row->kind == TIME ? "time (such as 10s, 500ms, 2h)" :
			row->kind == SIZE || row->kind == SIZE32 ? "size (such as 64K, 16M)" :
								   "number");
	else if (*out < row->min || (row->max && *out > row->max))
		err = -EINVAL, osp_err("--%s: %s is not within %llu and %llu", row->name, text,
				       (unsigned long long)row->min,
				       (unsigned long long)(row->max ? row->max : UINT64_MAX));
	return err;
}

static int set_mode(struct osp_conf *conf, const char *text)
{
	static const char *const word[] = { "auto", "sock", "syscall" };

	for (int i = 0; i < 3; i++) {
		if (!strcmp(text, word[i])) {
			conf->bpf.mode = (enum osp_capture_mode)i;
			return 0;
		}
	}
	osp_err("--capture: \"%s\" is not one of auto, sock, syscall", text);
	return -EINVAL;
}

/* CPUs that we may run on. */
static uint32_t cpus(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof(set), &set) ? 1 : CPU_COUNT(&set);

	return n < (int)OSP_SHARDS_MAX ? (uint32_t)n : OSP_SHARDS_MAX;
}

static int set_rings(struct osp_conf *conf, const struct row *row, const char *text)
{
	uint64_t n = cpus();
	int err = strcmp(text, "auto") ? number(row, text, &n) : 0;

	if (!err)
		conf->rings = (uint32_t)n;
	return err;
}

static int set_flag(const struct row *row, bool *flag, const char *text)
{
	if (!text || !strcmp(text, "yes") || !strcmp(text, "true"))
		*flag = true;
	else if (!strcmp(text, "no") || !strcmp(text, "false"))
		*flag = false;
	else {
		osp_err("%s: \"%s\" is neither yes nor no", row->name, text);
		return -EINVAL;
	}
	return 0;
}

static int add_sink(struct osp_conf *conf, const char *text)
{
	if (conf->sink_n == OSP_CONF_SINKS) {
		osp_err("more than %d sinks", OSP_CONF_SINKS);
		return -EINVAL;
	}
	conf->sink[conf->sink_n++] = text;
	return 0;
}

static int add_filter(struct osp_conf *conf, const struct row *row, const char *text)
{
	char why[256] = "out of memory";
	int err = osp_filter_add(&conf->filter, (enum osp_filter_kind)row->offset, text, why,
				 sizeof(why));

	if (err)
		osp_err("--%s: %s", row->name, why);
	return err;
}

/* text lives as long as conf. */
static int set(struct osp_conf *conf, const struct row *row, const char *text)
{
	void *at = (char *)conf + row->offset;
	uint64_t n = 0;
	int err = 0;

	switch (row->kind) {
	case HEADING:
		return -EINVAL;
	case FLAG:
		return set_flag(row, at, text);
	case STR:
		*(const char **)at = text;
		return 0;
	case SYNTH:
		conf->synthetic = true;
		conf->synth = text;
		return 0;
	case MODE:
		return set_mode(conf, text);
	case RINGS:
		return set_rings(conf, row, text);
	case SINK:
		return add_sink(conf, text);
	case FILTER:
		return add_filter(conf, row, text);
	case COMMAND:
		conf->command = (enum osp_command)row->offset;
		return 0;
	case U32:
	case SIZE32:
		err = number(row, text, &n);
		if (!err && n > UINT32_MAX)
			err = -EINVAL;
		*(uint32_t *)at = err ? *(uint32_t *)at : (uint32_t)n;
		return err;
	case U64:
	case SIZE:
	case TIME:
		err = number(row, text, &n);
		*(uint64_t *)at = err ? *(uint64_t *)at : n;
		return err;
	}
	return err;
}

/* ---- the file --------------------------------------------------------------------------- */

static char *trim(char *s)
{
	char *end = s + strlen(s);

	while (*s == ' ' || *s == '\t')
		s++;
	while (end > s && strchr(" \t\r\n", end[-1]))
		*--end = 0;
	return s;
}

static int set_line(struct osp_conf *conf, const bool *overridden, char *line, int no)
{
	struct osp_conf_text *keep;
	const struct row *row;
	char *key, *value;

	key = trim(line);
	if (!*key || *key == '#')
		return 0;
	value = strchr(key, '=');
	if (!value) {
		osp_err("%s:%d: not \"option = value\"", conf->config, no);
		return -EINVAL;
	}
	*value++ = 0;
	key = trim(key);
	value = trim(value);
	row = row_of(key);
	if (!row || row->where == LINE_ONLY) {
		osp_err("%s:%d: no such option: %s", conf->config, no, key);
		return -EINVAL;
	}
	if (overridden[row - table])
		return 0;
	keep = malloc(sizeof(*keep) + strlen(value) + 1);
	if (!keep)
		return -ENOMEM;
	memcpy(keep->text, value, strlen(value) + 1);
	keep->next = conf->text;
	conf->text = keep;
	return set(conf, row, keep->text);
}

static int read_file(struct osp_conf *conf, const bool *overridden)
{
	FILE *file = fopen(conf->config, "re");
	char *line = NULL;
	size_t room = 0;
	int err = 0, no = 0;

	if (!file) {
		osp_err("config %s: %s", conf->config, strerror(errno));
		return -errno;
	}
	while (!err && getline(&line, &room, file) >= 0)
		err = set_line(conf, overridden, line, ++no);
	if (!err && ferror(file)) {
		err = -EIO;
		osp_err("config %s: cannot be read", conf->config);
	}
	free(line);
	fclose(file);
	return err;
}

/* ---- the command line ------------------------------------------------------------------- */

static void defaults(struct osp_conf *conf)
{
	memset(conf, 0, sizeof(*conf));
	conf->bpf.ring_bytes = 64ull << 20;
	conf->bpf.ctl_bytes = 8ull << 20;
	conf->bpf.call_cap = 256u << 10;
	conf->bpf.gather = 16;
	conf->ledger_interval_ns = 60000000000ull;
	conf->stop_timeout_ns = 5000000000ull;
	conf->rings = 1;
	osp_tracker_conf_default(&conf->trk);
	osp_wire_conf_default(&conf->wire);
}

#define LONG_BASE 256	/* getopt's value of row i is LONG_BASE + i */

static void getopt_tables(struct option *longs, char *shorts)
{
	*shorts++ = ':';
	for (size_t i = 0; i < ROWS; i++) {
		const struct row *row = &table[i];

		if (row->kind == HEADING)
			continue;
		*longs++ = (struct option){ row->name,
					    !row->arg ? no_argument :
					    row->kind == SYNTH ? optional_argument :
								 required_argument,
					    NULL, LONG_BASE + (int)i };
		if (row->letter) {
			*shorts++ = row->letter;
			if (row->arg)
				*shorts++ = ':';
		}
	}
	*longs = (struct option){};
	*shorts = 0;
}

static const struct row *row_of_letter(int letter)
{
	for (size_t i = 0; i < ROWS; i++)
		if (table[i].letter && table[i].letter == letter)
			return &table[i];
	return NULL;
}

/* Two passes: the first finds --config and what is given here, so that the file can be read
 * before the second sets what it says over it.
 */
static int walk(struct osp_conf *conf, int argc, char **argv, bool *given, bool really)
{
	struct option longs[ROWS + 1];
	char shorts[2 * ROWS + 2];
	int c, err = 0;

	getopt_tables(longs, shorts);
	opterr = 0;
	optind = 0;
	while (!err && (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
		const struct row *row = c >= LONG_BASE ? &table[c - LONG_BASE] : row_of_letter(c);

		if (c == '?' || c == ':' || !row) {
			osp_err("%s: %s (--help lists the options)", argv[optind - 1],
				c == ':' ? "needs an argument" : "no such option");
			return -EINVAL;
		}
		given[row - table] = true;
		if (really)
			err = set(conf, row, optarg);
		else if (!strcmp(row->name, "config"))
			conf->config = optarg;
	}
	return err;
}

static int command(struct osp_conf *conf, int argc, char **argv)
{
	if (optind == argc)
		return 0;
	if (!strcmp(argv[optind], "check-layout") && optind + 1 == argc) {
		conf->command = OSP_CMD_CHECK_LAYOUT;
		return 0;
	}
	osp_err("%s: no such command (check-layout, or none to capture)", argv[optind]);
	return -EINVAL;
}

static int check_metrics(const struct osp_conf *conf)
{
	char why[256];

	if (!conf->metrics ||
	    !osp_metrics_check(conf->metrics, conf->metrics_any, why, sizeof(why)))
		return 0;
	osp_err("--metrics %s", why);
	return osp_conf_fault(conf, "metrics");
}

int osp_conf_read(struct osp_conf *conf, int argc, char **argv)
{
	bool given[ROWS] = {};

	defaults(conf);
	conf->argc = argc;
	conf->argv = argv;
	if (walk(conf, argc, argv, given, false))
		return OSP_EXIT_USAGE;
	if (conf->config && read_file(conf, given))
		return OSP_EXIT_CONFIG;
	for (size_t i = 0; i < ROWS; i++)
		conf->on_line[i / 64] |= (uint64_t)given[i] << i % 64;
	if (walk(conf, argc, argv, given, true) || command(conf, argc, argv))
		return OSP_EXIT_USAGE;
	if (!!conf->replay + conf->synthetic + !!conf->source > 1) {
		osp_err("--replay, --synthetic and --source exclude each other");
		return OSP_EXIT_USAGE;
	}
	if (conf->trk.decode && !conf->trk.body) {
		osp_err("--decode is for bodies that are kept: --body=SIZE says how much");
		return osp_conf_fault(conf, "decode");
	}
	conf->bpf.filter = &conf->filter;
	/* What a body holds that is to be kept only the parser knows. */
	conf->bpf.skip_from = conf->trk.body ? 0 :
			      conf->trk.skip_from < 1u << 30 ? (uint32_t)conf->trk.skip_from : 1u << 30;
	conf->bpf.rings = conf->rings;
	conf->wire.filter = &conf->filter;
	conf->wire.reasm.max_conns = conf->trk.max_conns;
	conf->trk.connections = !conf->no_connections;
	return check_metrics(conf);
}

int osp_conf_fault(const struct osp_conf *conf, const char *option)
{
	size_t i = (size_t)(row_of(option) - table);

	return !conf->config || (conf->on_line[i / 64] >> i % 64 & 1) ? OSP_EXIT_USAGE :
									OSP_EXIT_CONFIG;
}

/* ---- reading it again ------------------------------------------------------------------- */

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static bool same_filters(const struct osp_filter *a, const struct osp_filter *b,
			 enum osp_filter_kind kind)
{
	size_t i = 0, j = 0;

	for (;; i++, j++) {
		while (i < a->n && a->entry[i].kind != kind)
			i++;
		while (j < b->n && b->entry[j].kind != kind)
			j++;
		if (i == a->n || j == b->n)
			return i == a->n && j == b->n;
		/* A file or cgroup can be another one behind the same path. */
		if (!same_text(a->entry[i].text, b->entry[j].text) ||
		    a->entry[i].num != b->entry[j].num || a->entry[i].dev != b->entry[j].dev)
			return false;
	}
}

static bool same_sinks(const struct osp_conf *a, const struct osp_conf *b)
{
	for (uint32_t i = 0; i < a->sink_n && i < b->sink_n; i++)
		if (strcmp(a->sink[i], b->sink[i]))
			return false;
	return a->sink_n == b->sink_n;
}

static bool same(const struct osp_conf *a, const struct osp_conf *b, const struct row *row)
{
	const void *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;

	switch (row->kind) {
	case FLAG:
		return *(const bool *)x == *(const bool *)y;
	case STR:
		return same_text(*(const char *const *)x, *(const char *const *)y);
	case U32:
	case RINGS:
	case SIZE32:
		return *(const uint32_t *)x == *(const uint32_t *)y;
	case U64:
	case SIZE:
	case TIME:
		return *(const uint64_t *)x == *(const uint64_t *)y;
	case MODE:
		return a->bpf.mode == b->bpf.mode;
	case SINK:
		return same_sinks(a, b);
	case FILTER:
		return same_filters(&a->filter, &b->filter, (enum osp_filter_kind)row->offset);
	case HEADING:
	case SYNTH:
	case COMMAND:
		break;
	}
	return true;
}

/* One line with all that has changed in vain. */
static void name_unchangeable(const struct osp_conf *now, const struct osp_conf *next,
			      bool filters)
{
	char names[512];
	size_t n = 0;

	for (size_t i = 0; i < ROWS && n < sizeof(names); i++) {
		const struct row *row = &table[i];

		if (same(now, next, row) ||
		    (row->kind == FILTER ? filters : row->where == LIVE))
			continue;
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s", n ? ", " : "",
				      row->name);
	}
	if (n)
		osp_warn("changed in %s, but in force only after a restart: %s", now->config,
			 names);
}

int osp_conf_reload(struct osp_conf *conf, bool filters, struct osp_filter *before)
{
	struct osp_conf next;
	int rc = osp_conf_read(&next, conf->argc, conf->argv);

	*before = (struct osp_filter){};
	if (rc)
		goto out;
	name_unchangeable(conf, &next, filters);
	conf->ledger_interval_ns = next.ledger_interval_ns;
	conf->stop_timeout_ns = next.stop_timeout_ns;
	if (filters) {
		next.filter.follow = conf->filter.follow;
		*before = conf->filter;
		conf->filter = next.filter;
		next.filter = (struct osp_filter){};
	}
out:
	osp_conf_fini(&next);
	return rc;
}

void osp_conf_fini(struct osp_conf *conf)
{
	while (conf->text) {
		struct osp_conf_text *next = conf->text->next;

		free(conf->text);
		conf->text = next;
	}
	osp_filter_fini(&conf->filter);
}
