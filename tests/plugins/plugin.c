/* SPDX-License-Identifier: GPL-3.0-or-later */
/* plugin.c: plugins as they should not be, one per -D, and one that is all right: for run.sh. */
#include <osprey/sink.h>

#include <stdlib.h>
#include <unistd.h>

#ifndef ABI
#define ABI OSP_SINK_ABI
#endif
#ifndef SIZE
#define SIZE sizeof(struct osp_sink_ops)
#endif
#ifndef NAME
#define NAME "good"
#endif

struct osp_sink {
	uint64_t n;
};

static int good_open(const struct osp_host *host, const void *conf, struct osp_sink **out,
		     char *err, size_t err_size)
{
	*out = calloc(1, sizeof(**out));
	host->log(2, "the plugin is open, flavour %d", *(const int *)conf);
	return *out ? 0 : -12;
}

static int good_write(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done)
{
	sink->n += batch->n;
	*done = batch->n;
	return 0;
}

static void good_close(struct osp_sink *sink)
{
	free(sink);
}

static const struct osp_opt opts[] = {
	{ "flavour", OSP_OPT_ENUM, 0, "sweet", 0, 0, "sweet|sour", "taste" },
	{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
};

static const struct osp_sink_ops ops = {
	.abi = ABI, .size = SIZE, .name = NAME, .opts = opts, .conf_size = sizeof(int),
	.open = good_open,
#ifndef NO_WRITE
	.write = good_write,
#else
	.reopen = (int (*)(struct osp_sink *))(void *)good_write,	/* never called */
#endif
	.close = good_close,
};

const struct osp_sink_ops *osp_sink_entry(uint32_t abi);

#ifndef NO_ENTRY
const struct osp_sink_ops *osp_sink_entry(uint32_t abi)
{
#ifdef REFUSE
	return abi > 1000 ? &ops : NULL;
#else
	return &ops;
#endif
}
#else
const struct osp_sink_ops *const other = &ops;
#endif

/* Code of a refused file must not run: this leaves a trace. */
#ifdef TRACE
static void __attribute__((constructor)) trace(void)
{
	if (write(2, "constructor ran\n", 16) < 0)
		_exit(1);
}
#endif
