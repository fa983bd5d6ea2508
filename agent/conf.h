/* SPDX-License-Identifier: GPL-3.0-or-later */
/* conf.h: what the command line and the configuration file say. One table (conf.c) drives both and
 * the help. Command line over file over default.
 *
 * The file: a line "key = value" each, keys as the long options, # begins a comment. A key that may
 * be given several times may stand on several lines; given on the command line, the file's are
 * forgotten.
 */
#ifndef OSP_CONF_H
#define OSP_CONF_H

#include "agent/filter.h"
#include "agent/source_bpf.h"
#include "agent/tracker.h"
#include "agent/wire/source_wire.h"

#include <stdbool.h>
#include <stdint.h>

/* sysexits.h names the last two; 77 and 78 are what service managers know them as. */
enum osp_exit { OSP_EXIT_OK = 0, OSP_EXIT_RUNTIME = 1, OSP_EXIT_USAGE = 2,
		OSP_EXIT_NOPERM = 77, OSP_EXIT_CONFIG = 78 };

enum osp_command { OSP_CMD_RUN, OSP_CMD_CHECK_LAYOUT, OSP_CMD_CHECK_CONFIG, OSP_CMD_HELP,
		   OSP_CMD_HELP_MAN, OSP_CMD_HELP_BASH, OSP_CMD_VERSION };

#define OSP_CONF_SINKS 24

struct osp_conf {
	enum osp_command command;
	struct osp_bpf_conf bpf;
	struct osp_filter filter;
	struct osp_tracker_conf trk;
	struct osp_wire_conf wire;
	const char *sink[OSP_CONF_SINKS];	/* as written; all strings live as long as this */
	uint32_t sink_n;
	const char *record, *replay, *synth, *source, *config;
	bool synthetic;			/* --synthetic, with or without a spec */
	uint64_t duration_ns;		/* 0: until told to stop */
	uint64_t count;			/* transactions; 0: no end */
	uint32_t rings;			/* shards (agent/shard.h) */
	uint64_t ledger_interval_ns;	/* 0: at start and exit only */
	uint64_t stop_timeout_ns;	/* for sinks to finish in */
	bool no_connections;
	bool verbose;
	const char *metrics;		/* where to listen; NULL: nowhere */
	bool metrics_any;		/* beyond loopback */
	int argc;			/* as given, for reading it again */
	char **argv;
	uint64_t on_line[2];		/* a bit per row of the table: given on the command line */
	struct osp_conf_text *text;	/* strings read from the file */
};

/* Fills conf. 0, or an enum osp_exit with one line of reason already on stderr. osp_conf_fini() is
 * due in any case.
 */
int osp_conf_read(struct osp_conf *conf, int argc, char **argv);
void osp_conf_fini(struct osp_conf *conf);

/* What the agent ends with when an option's value turns out to be wrong later: OSP_EXIT_CONFIG if
 * it stands in the file, OSP_EXIT_USAGE if it was given on the command line.
 */
int osp_conf_fault(const struct osp_conf *conf, const char *option);

/* SIGHUP: reads the file again. Takes over what may change while running: ledger-interval,
 * stop-timeout, and filters if the source can take them; names all else that differs in one
 * warning. *before gets the filters so far, to be put back or freed. 0, or an enum osp_exit with
 * the reason on stderr and conf as it was.
 */
int osp_conf_reload(struct osp_conf *conf, bool filters, struct osp_filter *before);

/* From the table: --help, the man page, completion for bash; to stdout. */
void osp_conf_help(void);
void osp_conf_man(void);
void osp_conf_bash(void);

#endif
