/* SPDX-License-Identifier: GPL-3.0-or-later */
/* builtin.c: the table of sinks. One line makes a sink known; see docs/add-a-sink.md. */
#include "sinks/builtin.h"

const struct osp_builtin osp_builtins[] = {
	{ .ops = &osp_sink_console, .kinds = osp_console_kinds },
	{ .ops = &osp_sink_jsonl },
	{ .ops = &osp_sink_csv, .kinds = osp_csv_kinds },
#if OSP_HAVE_KAFKA
	{ .ops = &osp_sink_kafka },
#endif
	{ .ops = &osp_sink_null },
	{ .ops = NULL },
};
