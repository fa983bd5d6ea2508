/* SPDX-License-Identifier: GPL-3.0-or-later */
/* run.h: recon-diff at work. */
#ifndef OSP_RECON_RUN_H
#define OSP_RECON_RUN_H

#include "recon/recon.h"

/* The exit status: 0 agree, 1 differences, 2 bad input; what went wrong is on stderr. */
int rc_run(const struct rc_conf *conf);

#endif
