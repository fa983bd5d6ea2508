/* SPDX-License-Identifier: GPL-3.0-or-later */
/* conf_rows.h: the table of settings, for agent/conf*.c only. */
#ifndef OSP_CONF_ROWS_H
#define OSP_CONF_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum kind {
	HEADING,	/* of --help */
	FLAG,		/* bool */
	STR,		/* const char * */
	U32, U64,	/* within min and max */
	SIZE, SIZE32,	/* uint64_t, uint32_t */
	TIME,		/* uint64_t ns */
	MODE,		/* enum osp_capture_mode */
	RINGS,		/* uint32_t, or "auto" */
	SYNTH,		/* optional argument */
	SINK, FILTER,	/* several of each */
	COMMAND,
};

enum where {
	ANYWHERE,
	LINE_ONLY,	/* not in the file */
	LIVE,		/* anywhere, and a reload changes it; a FILTER needs no mark */
};

struct row {
	const char *name;
	enum kind kind;
	char letter;		/* short option, 0 none */
	uint8_t where;		/* enum where */
	size_t offset;		/* in struct osp_conf; FILTER: the kind, COMMAND: the command */
	uint64_t min, max;
	const char *arg;
	const char *help;	/* NULL: not shown */
};

const struct row *osp_conf_rows(size_t *n);

#endif
