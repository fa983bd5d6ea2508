/* SPDX-License-Identifier: GPL-3.0-or-later */
/* rotate.h: files that were set aside: PATH.YYYYmmdd-HHMMSS.N, in UTC, N from 0 where several fall
 * into one second; packed ones end in .gz or .zst besides. Names of any other shape are not ours
 * and are never touched.
 *
 * @thread any
 */
#ifndef OSP_SINKS_ROTATE_H
#define OSP_SINKS_ROTATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct osp_rotated {
	char *path;
	uint64_t when;		/* YYYYmmddHHMMSS as a number */
	uint64_t n;
	bool packed;
};

/* Gives the file at path its new name at once (rename); never replaces a file. 0 or -errno. */
int osp_rotate_aside(const char *path, uint64_t now_ns);

/* The files that were set aside, oldest first. 0 or -errno; osp_rotate_list_free(). */
int osp_rotate_list(const char *path, struct osp_rotated **out, size_t *n);
void osp_rotate_list_free(struct osp_rotated *list, size_t n);

/* Removes the oldest until keep are left. A file and its packed twin (a crash between the two steps
 * of packing leaves both) count once. 0 or the first -errno.
 */
int osp_rotate_tidy(const char *path, uint64_t keep);

#endif
