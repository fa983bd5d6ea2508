/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "agent/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *log_name = "osprey";
static enum osp_log_level log_max = OSP_LOG_INFO;

void osp_log_init(const char *name, enum osp_log_level max)
{
	log_name = name;
	log_max = max;
}

bool osp_log_on(enum osp_log_level level)
{
	return level <= log_max;
}

void osp_log(enum osp_log_level level, const char *fmt, ...)
{
	static const char *const tag[] = { "", "warning: ", "", "" };
	char buf[1024];
	va_list ap;
	int n, m;

	if (level > log_max)
		return;
	n = snprintf(buf, sizeof(buf) - 1, "%s: %s", log_name, tag[level]);
	if (n < 0)
		return;
	va_start(ap, fmt);
	m = vsnprintf(buf + n, sizeof(buf) - 1 - (size_t)n, fmt, ap);
	va_end(ap);
	if (m < 0)
		return;
	n += m;
	if (n > (int)sizeof(buf) - 2)
		n = (int)sizeof(buf) - 2;
	buf[n++] = '\n';
	/* One write a line: threads do not mix. Nowhere to report a failure to. */
	if (write(STDERR_FILENO, buf, (size_t)n) < 0)
		return;
}
