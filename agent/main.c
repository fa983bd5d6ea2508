/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main.c: osprey-agent. What it was asked to do, and nothing else; the work is in run.c. */
#include "agent/base/log.h"
#include "agent/conf.h"
#include "agent/decode.h"
#include "agent/run.h"
#include "sinks/osp_sink.h"

#include <stdio.h>

static int version(void)
{
	printf("osprey-agent %s (event ABI %d, record %s, sink ABI %u, kernel programs %s, "
	       "decodes %s)\n", OSP_VERSION, OSP_EV_ABI, OSP_RECORD_SCHEMA, OSP_SINK_ABI,
	       OSP_HAVE_BPF ? "built in" : "left out", osp_decoder_codings());
	return OSP_EXIT_OK;
}

static int check_layout(const struct osp_conf *conf)
{
#if OSP_HAVE_BPF
	return osp_check_layout(conf->verbose) ? OSP_EXIT_RUNTIME : OSP_EXIT_OK;
#else
	(void)conf;
	osp_err("built without kernel programs (BPF=0)");
	return OSP_EXIT_RUNTIME;
#endif
}

int main(int argc, char **argv)
{
	struct osp_conf conf;
	int rc;

	osp_log_init("osprey-agent", OSP_LOG_INFO);
	rc = osp_conf_read(&conf, argc, argv);
	if (conf.verbose)
		osp_log_init("osprey-agent", OSP_LOG_DBG);
	if (!rc) {
		switch (conf.command) {
		case OSP_CMD_HELP:
			osp_conf_help();
			break;
		case OSP_CMD_HELP_MAN:
			osp_conf_man();
			break;
		case OSP_CMD_HELP_BASH:
			osp_conf_bash();
			break;
		case OSP_CMD_CHECK_CONFIG:
			rc = osp_run_check(&conf);
			break;
		case OSP_CMD_VERSION:
			rc = version();
			break;
		case OSP_CMD_CHECK_LAYOUT:
			rc = check_layout(&conf);
			break;
		case OSP_CMD_RUN:
			rc = osp_run(&conf);
			break;
		}
	}
	osp_conf_fini(&conf);
	return rc;
}
