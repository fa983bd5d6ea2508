/* SPDX-License-Identifier: GPL-3.0-or-later */
/* clock.c: conditions that are waited for by CLOCK_MONOTONIC. */
#include "agent/base/clock.h"

#include <errno.h>

int osp_cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;
	int err = pthread_condattr_init(&attr);

	if (err)
		return -err;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	err = pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
	return -err;
}

bool osp_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t until_ns)
{
	struct timespec t = {
		.tv_sec = (time_t)(until_ns / 1000000000ull),
		.tv_nsec = (long)(until_ns % 1000000000ull),
	};

	return pthread_cond_timedwait(cond, lock, &t) != ETIMEDOUT;
}
