/* SPDX-License-Identifier: GPL-3.0-or-later */
/* procfs.h: what /proc adds to a process the kernel side has named. */
#ifndef OSP_PROCFS_H
#define OSP_PROCFS_H

#include <stddef.h>
#include <stdint.h>

/* Whether pid still is the process that started at start_ns (CLOCK_BOOTTIME): /proc tells the start
 * in ticks of 10 ms.
 */
int osp_procfs_is(uint32_t pid, uint64_t start_ns);

/* The executable's path as the process sees it, " (deleted)" cut off. Length without NUL, 0 if it
 * can't be told.
 */
size_t osp_procfs_exe(uint32_t pid, char *buf, size_t size);

/* The process's cgroup path that is most likely to name its container: v2's unless that is the
 * root (hybrid hosts), else the first of v1's that is not. Length without NUL, 0 unknown.
 */
size_t osp_procfs_cgroup(uint32_t pid, char *buf, size_t size);

#endif
