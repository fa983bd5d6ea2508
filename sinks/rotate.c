/* SPDX-License-Identifier: GPL-3.0-or-later */
/* rotate.c: names of files that were set aside, and how many of them stay. */
#include "sinks/rotate.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Names to try: others may make some at the same time. */
#define TRIES 100u

/* ---- names --------------------------------------------------------------------------------- */

/* n digits at *p (n == 0: one or more, at most 18); moves *p. */
static bool digits(const char **p, int n, uint64_t *v)
{
	int i = 0;

	for (; **p >= '0' && **p <= '9' && i < (n ? n : 18); i++, ++*p)
		*v = *v * 10 + (uint64_t)(**p - '0');
	return n ? i == n : i > 0;
}

/* Reads what stands behind PATH in a name; false: not ours. */
static bool parse(const char *p, struct osp_rotated *file)
{
	file->when = 0;
	file->n = 0;
	if (*p++ != '.' || !digits(&p, 8, &file->when) || *p++ != '-' ||
	    !digits(&p, 6, &file->when) || *p++ != '.' || !digits(&p, 0, &file->n))
		return false;
	file->packed = !strcmp(p, ".gz") || !strcmp(p, ".zst");
	return !*p || file->packed;
}

static int compare(const void *a, const void *b)
{
	const struct osp_rotated *x = a, *y = b;

	if (x->when != y->when)
		return x->when < y->when ? -1 : 1;
	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return x->packed - y->packed;
}

static int add(struct osp_rotated **list, size_t *n, size_t *cap, const struct osp_rotated *file)
{
	size_t want = *cap ? 2 * *cap : 16;
	struct osp_rotated *p;

	if (*n == *cap) {
		p = realloc(*list, want * sizeof(*p));
		if (!p)
			return -ENOMEM;
		*list = p;
		*cap = want;
	}
	(*list)[(*n)++] = *file;
	return 0;
}

static int scan(DIR *dir, const char *folder, const char *base, struct osp_rotated **list,
		size_t *n)
{
	size_t len = strlen(base), cap = 0;
	struct osp_rotated file;
	struct dirent *ent;
	int err = 0;

	while (!err && (ent = readdir(dir))) {
		if (strncmp(ent->d_name, base, len) || !parse(ent->d_name + len, &file))
			continue;
		if (asprintf(&file.path, "%s/%s", folder, ent->d_name) < 0)
			return -ENOMEM;
		err = add(list, n, &cap, &file);
		if (err)
			free(file.path);
	}
	return err;
}

int osp_rotate_list(const char *path, struct osp_rotated **out, size_t *n)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) :
			       strdup(".");
	struct osp_rotated *list = NULL;
	int err = -ENOMEM;
	DIR *dir = NULL;

	*out = NULL;
	*n = 0;
	if (!folder)
		goto out;
	dir = opendir(folder);
	err = dir ? scan(dir, folder, slash ? slash + 1 : path, &list, n) : -errno;
	if (err)
		goto out;
	if (*n)
		qsort(list, *n, sizeof(*list), compare);
	*out = list;
	list = NULL;
out:
	if (list)
		osp_rotate_list_free(list, *n);
	if (dir)
		closedir(dir);
	free(folder);
	return err;
}

void osp_rotate_list_free(struct osp_rotated *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i].path);
	free(list);
}

/* ---- setting aside ------------------------------------------------------------------------- */

/* YYYYmmddHHMMSS, UTC; 0: no such date. */
static uint64_t stamp(uint64_t now_ns)
{
	time_t sec = (time_t)(now_ns / 1000000000);
	struct tm tm;

	if (!gmtime_r(&sec, &tm))
		return 0;
	return ((uint64_t)tm.tm_year + 1900) * 10000000000 + ((uint64_t)tm.tm_mon + 1) * 100000000 +
	       (uint64_t)tm.tm_mday * 1000000 + (uint64_t)tm.tm_hour * 10000 +
	       (uint64_t)tm.tm_min * 100 + (uint64_t)tm.tm_sec;
}

static int rename_new(const char *from, const char *to)
{
	if (!renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE))
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	/* A file system that can't promise it (NFS, some FUSE): look first. */
	if (!access(to, F_OK))
		return -EEXIST;
	return rename(from, to) ? -errno : 0;
}

/* A name behind all others, whatever the clock does: a name that was free again, because its file
 * has been packed or removed, would put the file out of order or on top of a packed one.
 */
int osp_rotate_aside(const char *path, uint64_t now_ns)
{
	struct osp_rotated *list, last = { .when = stamp(now_ns) };
	char to[PATH_MAX];
	size_t n;
	int err = osp_rotate_list(path, &list, &n);

	if (err)
		return err;
	if (n && list[n - 1].when >= last.when) {
		last.when = list[n - 1].when;
		last.n = list[n - 1].n + 1;
	}
	osp_rotate_list_free(list, n);
	for (unsigned int i = 0; i < TRIES; i++) {
		n = (size_t)snprintf(to, sizeof(to), "%s.%08" PRIu64 "-%06" PRIu64 ".%" PRIu64, path,
				     last.when / 1000000, last.when % 1000000, last.n + i);
		if (n >= sizeof(to))
			return -ENAMETOOLONG;
		err = rename_new(path, to);
		if (err != -EEXIST)
			break;
	}
	return err;
}

/* ---- retention ----------------------------------------------------------------------------- */

static bool twins(const struct osp_rotated *a, const struct osp_rotated *b)
{
	return a->when == b->when && a->n == b->n;
}

int osp_rotate_tidy(const char *path, uint64_t keep)
{
	struct osp_rotated *list;
	size_t n, i;
	uint64_t kept = 0;
	int err;

	err = osp_rotate_list(path, &list, &n);
	if (err)
		return err;
	for (i = n; i > 0; i--) {
		if (i == n || !twins(&list[i - 1], &list[i]))
			kept++;
		if (kept > keep && unlink(list[i - 1].path) && errno != ENOENT && !err)
			err = -errno;
	}
	osp_rotate_list_free(list, n);
	return err;
}
