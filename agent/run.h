/* SPDX-License-Identifier: GPL-3.0-or-later */
/* run.h: the agent at work: source -> (recording) -> tracker -> records -> sinks. */
#ifndef OSP_RUN_H
#define OSP_RUN_H

#include "agent/conf.h"

/* Runs until the source ends, a signal comes, or a limit of conf is reached; then drains, flushes
 * and prints the ledger. SIGHUP reads conf's file again. Returns an enum osp_exit; what went wrong
 * is on stderr.
 */
int osp_run(struct osp_conf *conf);

/* --check-config: what is found out without touching any destination. Prints nothing and returns 0
 * if all is well.
 */
int osp_run_check(const struct osp_conf *conf);

#endif
