/* SPDX-License-Identifier: GPL-3.0-or-later */
/* jsonl.c: one JSON object a line. Files, pipes and rotation: lines.c. */
#include "sinks/builtin.h"
#include "sinks/compress.h"
#include "sinks/lines.h"

#include <errno.h>
#include <stdlib.h>

struct jsonl_conf {
	struct osp_lines_conf lines;
};

struct osp_sink {
	const struct osp_host *host;
	struct osp_lines *lines;
};

static const struct osp_opt jsonl_opts[] = {
	OSP_LINES_OPTS,
	{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
};

static ssize_t jsonl_line(void *ctx, const struct osp_record *rec, char *buf, size_t cap)
{
	const struct osp_sink *sink = ctx;
	size_t n = sink->host->json(rec, buf, cap ? cap - 1 : 0);

	if (n < cap)
		buf[n] = '\n';
	return (ssize_t)n + 1;
}

static void jsonl_close(struct osp_sink *sink)
{
	if (!sink)
		return;
	osp_lines_close(sink->lines);
	free(sink);
}

static int jsonl_open(const struct osp_host *host, const void *conf, struct osp_sink **out,
		      char *err, size_t err_size)
{
	struct osp_sink *sink = calloc(1, sizeof(*sink));
	struct osp_lines_fmt fmt = {
		.line = jsonl_line,
		.ctx = sink,
		.mark = osp_slice_str("{\"schema\":\"osprey/"),
	};
	int ret;

	if (!sink)
		return -ENOMEM;
	sink->host = host;
	/* conf is ours until close, see struct osp_opt. */
	ret = osp_lines_open(&sink->lines, host, &((struct jsonl_conf *)conf)->lines, &fmt, err,
			     err_size);
	if (ret) {
		jsonl_close(sink);
		return ret;
	}
	*out = sink;
	return 0;
}

static int jsonl_write(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done)
{
	return osp_lines_write(sink->lines, batch, done);
}

static void jsonl_stats(const struct osp_sink *sink, struct osp_sink_stats *st)
{
	osp_lines_stats(sink->lines, st);
}

static int jsonl_reopen(struct osp_sink *sink)
{
	return osp_lines_reopen(sink->lines);
}

const struct osp_sink_ops osp_sink_jsonl = {
	.abi = OSP_SINK_ABI,
	.size = sizeof(struct osp_sink_ops),
	.name = "jsonl",
	.opts = jsonl_opts,
	.conf_size = sizeof(struct jsonl_conf),
	.open = jsonl_open,
	.write = jsonl_write,
	.stats = jsonl_stats,
	.reopen = jsonl_reopen,
	.close = jsonl_close,
};
