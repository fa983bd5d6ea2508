/* SPDX-License-Identifier: GPL-3.0-or-later */
/* options.h: the command line of recon-diff. */
#ifndef OSP_RECON_OPTIONS_H
#define OSP_RECON_OPTIONS_H

#include "recon/recon.h"

/* 0: go on; 1: all is said (--help, --version), exit 0; -EINVAL: one line is on stderr, exit 2. */
int rc_options(struct rc_conf *conf, int argc, char **argv);
void rc_options_fini(struct rc_conf *conf);

#endif
