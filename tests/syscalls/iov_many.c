/* SPDX-License-Identifier: GPL-3.0-or-later */
/* iov_many.c: 1024 iovecs of one byte, as many as a call takes; heads and bodies alike. */
#include "common.h"

/* Every other byte, so that no two pieces touch. */
static ssize_t tx_many(int fd, const void *p, size_t n)
{
	static char far[2 * UIO_MAXIOV];
	static struct iovec v[UIO_MAXIOV];

	if (n > UIO_MAXIOV)
		n = UIO_MAXIOV;
	for (size_t i = 0; i < n; i++) {
		far[2 * i] = ((const char *)p)[i];
		v[i] = (struct iovec){ far + 2 * i, 1 };
	}
	return writev(fd, v, (int)n);
}

static ssize_t rx_many(int fd, void *p, size_t n)
{
	static char far[2 * UIO_MAXIOV];
	static struct iovec v[UIO_MAXIOV];
	ssize_t r;

	if (n > UIO_MAXIOV)
		n = UIO_MAXIOV;
	for (size_t i = 0; i < n; i++)
		v[i] = (struct iovec){ far + 2 * i, 1 };
	r = readv(fd, v, (int)n);
	for (ssize_t i = 0; i < r; i++)
		((char *)p)[i] = far[2 * i];
	return r;
}

MAIN_STD(tx_many, rx_many)
