/* SPDX-License-Identifier: GPL-3.0-or-later */
/* procfs.c: see proc(5). A process can end between any two reads: every failure is "unknown". */
#include "agent/procfs.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t slurp(uint32_t pid, const char *name, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%u/%s", pid, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		n = 0;
	buf[n] = 0;
	return (size_t)n;
}

int osp_procfs_is(uint32_t pid, uint64_t start_ns)
{
	uint64_t tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK), ticks;
	char buf[1024], *p;

	if (!slurp(pid, "stat", buf, sizeof(buf)))
		return 0;
	/* comm may hold anything, so count fields from its closing parenthesis: state is 3, the
	 * start time 22.
	 */
	p = strrchr(buf, ')');
	if (!p)
		return 0;
	for (int field = 2; field < 22; field++) {
		p = strchr(p + 1, ' ');
		if (!p)
			return 0;
	}
	ticks = strtoull(p + 1, NULL, 10);
	return ticks == start_ns / tick_ns;
}

size_t osp_procfs_exe(uint32_t pid, char *buf, size_t size)
{
	static const char gone[] = " (deleted)";
	const size_t gone_len = sizeof(gone) - 1;
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%u/exe", pid);
	n = readlink(path, buf, size - 1);
	if (n <= 0)
		return 0;
	if ((size_t)n > gone_len && !memcmp(buf + n - gone_len, gone, gone_len))
		n -= (ssize_t)gone_len;
	buf[n] = 0;
	return (size_t)n;
}

size_t osp_procfs_cgroup(uint32_t pid, char *buf, size_t size)
{
	char text[8192], *line, *save = NULL;
	const char *best = NULL;

	if (!slurp(pid, "cgroup", text, sizeof(text)))
		return 0;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		/* hierarchy-id:controllers:path */
		char *path = strchr(line, ':');

		path = path ? strchr(path + 1, ':') : NULL;
		if (!path++)
			continue;
		if (!strncmp(line, "0::", 3) && strcmp(path, "/")) {
			best = path;
			break;
		}
		if (!best || !strcmp(best, "/"))
			best = path;
	}
	if (!best || strlen(best) >= size)
		return 0;
	memcpy(buf, best, strlen(best) + 1);
	return strlen(best);
}
