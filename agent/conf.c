/* SPDX-License-Identifier: GPL-3.0-or-later */
/* conf.c: one row of table[] a setting; the row is all there is to say of it. */
#include "agent/conf.h"
#include "agent/base/log.h"
#include "agent/base/opt.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind {
	HEADING,	/* of --help */
	FLAG,		/* bool */
	STR,		/* const char * */
	U32, U64,	/* within min and max */
	SIZE, SIZE32,	/* uint64_t, uint32_t */
	TIME,		/* uint64_t ns */
	MODE,		/* enum osp_capture_mode */
	SYNTH,		/* optional argument */
	SINK, FILTER,	/* several of each */
	COMMAND,
};

struct row {
	const char *name;
	enum kind kind;
	char letter;		/* short option, 0 none */
	bool line_only;		/* not in the file */
	size_t offset;		/* in struct osp_conf; FILTER: the kind, COMMAND: the command */
	uint64_t min, max;
	const char *arg;
	const char *help;
};

#define AT(member) offsetof(struct osp_conf, member)
static const struct row table[] = {
	{ .name = "Where records go:", .kind = HEADING },
	{ "sink", SINK, 0, 0, 0, 0, 0, "NAME[:KEY=VALUE,...]",
	  "console, jsonl, null; several at once. Default: console on a\n"
	  "terminal, jsonl to standard output otherwise" },
	{ "headers", FLAG, 0, 0, AT(trk.headers), 0, 0, NULL, "keep headers in records" },
	{ "body", SIZE32, 0, 0, AT(trk.body), 0, 64 << 20, "SIZE",
	  "keep so much of each body (default 0)" },
	{ "redact", STR, 0, 0, AT(trk.redact), 0, 0, "NAME,...",
	  "headers whose values are not kept (default: Authorization,\n"
	  "Proxy-Authorization, Cookie, Set-Cookie, X-Api-Key)" },
	{ "no-connections", FLAG, 0, 0, AT(no_connections), 0, 0, NULL,
	  "make no connection records" },
	{ "ledger-interval", TIME, 0, 0, AT(ledger_interval_ns), 0, 0, "TIME",
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

	{ .name = "How:", .kind = HEADING },
	{ "capture", MODE, 0, 0, AT(bpf.mode), 0, 0, "auto|sock|syscall",
	  "kernel hooks: socket tracepoints (Linux 6.3) or system calls" },
	{ "ring-size", SIZE, 0, 0, AT(bpf.ring_bytes), 4096, 1ull << 31, "SIZE",
	  "event ring (default 64M)" },
	{ "capture-cap", SIZE32, 0, 0, AT(bpf.call_cap), 0, 1 << 20, "SIZE",
	  "bytes copied of one call (default 256K, at most 1M)" },
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
	{ "stop-timeout", TIME, 0, 0, AT(stop_timeout_ns), 0, 0, "TIME",
	  "for sinks to finish in at the end (default 5s)" },

	{ .name = "Without a kernel:", .kind = HEADING },
	{ "record", STR, 0, 0, AT(record), 0, 0, "FILE", "write all events to a file" },
	{ "replay", STR, 0, 1, AT(replay), 0, 0, "FILE", "take events from such a file" },
	{ "synthetic", SYNTH, 0, 1, AT(synth), 0, 0, "SPEC",
	  "make events up, e.g. =txns=1000,seed=7,loss=0.01; needs no root" },

	{ .name = "Other:", .kind = HEADING },
	{ "config", STR, 'c', 1, AT(config), 0, 0, "FILE", "lines \"option = value\"" },
	{ "verbose", FLAG, 'v', 0, AT(verbose), 0, 0, NULL, "say more on stderr" },
	{ "help", COMMAND, 'h', 1, OSP_CMD_HELP, 0, 0, NULL, "this text" },
	{ "version", COMMAND, 'V', 1, OSP_CMD_VERSION, 0, 0, NULL, "version and ABI numbers" },
};
#define ROWS (sizeof(table) / sizeof(*table))

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
	if (!row || row->line_only) {
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
	conf->ledger_interval_ns = 60000000000ull;
	conf->stop_timeout_ns = 5000000000ull;
	osp_tracker_conf_default(&conf->trk);
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

int osp_conf_read(struct osp_conf *conf, int argc, char **argv)
{
	bool given[ROWS] = {};

	defaults(conf);
	if (walk(conf, argc, argv, given, false))
		return OSP_EXIT_USAGE;
	if (conf->config && read_file(conf, given))
		return OSP_EXIT_CONFIG;
	if (walk(conf, argc, argv, given, true) || command(conf, argc, argv))
		return OSP_EXIT_USAGE;
	if (conf->replay && conf->synthetic) {
		osp_err("--replay and --synthetic exclude each other");
		return OSP_EXIT_USAGE;
	}
	conf->bpf.filter = &conf->filter;
	conf->trk.connections = !conf->no_connections;
	return 0;
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

static void help_row(const struct row *row)
{
	char left[64];
	const char *line = row->help, *end;
	int n;

	if (row->kind == HEADING) {
		printf("\n%s\n", row->name);
		return;
	}
	n = row->letter ? snprintf(left, sizeof(left), "-%c, ", row->letter) :
			  snprintf(left, sizeof(left), "    ");
	snprintf(left + n, sizeof(left) - (size_t)n, "--%s%s%s%s", row->name,
		 !row->arg ? "" : row->kind == SYNTH ? "[=" : " ", row->arg ? row->arg : "",
		 row->kind == SYNTH ? "]" : "");
	printf("  %-32s ", left);
	if (strlen(left) > 32)
		printf("\n%35s", "");
	for (; (end = strchr(line, '\n')); line = end + 1)
		printf("%.*s\n%35s", (int)(end - line), line, "");
	puts(line);
}

void osp_conf_help(void)
{
	puts("osprey-agent: HTTP transactions of this host's processes, as the kernel sees them\n\n"
	     "  osprey-agent [OPTION]...          capture until SIGINT or SIGTERM\n"
	     "  osprey-agent check-layout [-v]    whether this kernel is as we assume");
	for (size_t i = 0; i < ROWS; i++)
		help_row(&table[i]);
	puts("\nExit status: 0 done, 1 failed, 2 usage, 77 lacks privilege, 78 configuration.");
}
