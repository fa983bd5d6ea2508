/* SPDX-License-Identifier: GPL-3.0-or-later */
/* run.h: the agent at work: source -> (recording) -> tracker -> records -> sinks. */
#ifndef OSP_RUN_H
#define OSP_RUN_H

#include "agent/conf.h"

/* Runs until the source ends, a signal comes, or a limit of conf is reached; then drains, flushes
 * and prints the ledger. Returns an enum osp_exit; what went wrong is on stderr.
 */
int osp_run(const struct osp_conf *conf);

#endif
