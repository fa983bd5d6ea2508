/* SPDX-License-Identifier: GPL-3.0-or-later */
/* main.c: recon-diff, which explains every difference between what two vantage points saw. */
#include "agent/base/log.h"
#include "recon/options.h"
#include "recon/run.h"

#include <stdlib.h>

int main(int argc, char **argv)
{
	struct rc_conf *conf = calloc(1, sizeof(*conf));
	int rc = 2;

	osp_log_init("recon-diff", OSP_LOG_WARN);
	if (conf) {
		rc = rc_options(conf, argc, argv);
		rc = rc < 0 ? 2 : rc > 0 ? 0 : rc_run(conf);
		rc_options_fini(conf);
	}
	free(conf);
	return rc;
}
