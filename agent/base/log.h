/* SPDX-License-Identifier: GPL-3.0-or-later */
/* log.h: lines to stderr, "osprey-agent: text". None in the per-event path: counters there, and
 * osp_log_every() for at most a line every ten seconds per cause.
 *
 * @thread any (one write per line).
 */
#ifndef OSP_BASE_LOG_H
#define OSP_BASE_LOG_H

#include <stdbool.h>

enum osp_log_level { OSP_LOG_ERR, OSP_LOG_WARN, OSP_LOG_INFO, OSP_LOG_DBG };

/* Lines above max are not printed (default OSP_LOG_INFO; -v raises to OSP_LOG_DBG). name stands
 * before each line and must live for ever.
 */
void osp_log_init(const char *name, enum osp_log_level max);
bool osp_log_on(enum osp_log_level level);
void osp_log(enum osp_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define osp_err(...) osp_log(OSP_LOG_ERR, __VA_ARGS__)
#define osp_warn(...) osp_log(OSP_LOG_WARN, __VA_ARGS__)
#define osp_info(...) osp_log(OSP_LOG_INFO, __VA_ARGS__)
#define osp_dbg(...) osp_log(OSP_LOG_DBG, __VA_ARGS__)

#endif
