/* SPDX-License-Identifier: GPL-3.0-or-later */
/* clock.h: waiting and its clock, CLOCK_MONOTONIC in nanoseconds: nobody can set it.
 *
 * @thread any
 */
#ifndef OSP_BASE_CLOCK_H
#define OSP_BASE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline uint64_t osp_mono_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* A condition that is waited for by that clock. 0 or -errno. */
int osp_cond_init(pthread_cond_t *cond);

/* Waits on cond, with lock held, until until_ns. False: that time has come. */
bool osp_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns);

#endif
