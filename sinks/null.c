/* SPDX-License-Identifier: GPL-3.0-or-later */
/* null.c: takes every record and forgets it. For benchmarks: what is left is the cost of all that
 * comes before a sink.
 */
#include "sinks/builtin.h"

static int null_open(const struct osp_host *host, const void *conf, struct osp_sink **out,
		     char *err, size_t err_size)
{
	static char nothing;	/* out must not be NULL; it is never looked at */

	*out = (struct osp_sink *)&nothing;
	return 0;
}

static int null_write(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done)
{
	*done = batch->n;
	return 0;
}

static void null_close(struct osp_sink *sink)
{
}

const struct osp_sink_ops osp_sink_null = {
	.abi = OSP_SINK_ABI,
	.size = sizeof(struct osp_sink_ops),
	.name = "null",
	.open = null_open,
	.write = null_write,
	.close = null_close,
};
