/* SPDX-License-Identifier: GPL-3.0-or-later */
/* zero_length.c: calls that ask for nothing, and empty iovecs between full ones. */
#include "common.h"

static ssize_t tx_zero(int fd, const void *p, size_t n)
{
	size_t half = n / 2;
	struct iovec v[6] = { { NULL, 0 }, { (void *)p, half }, { (void *)p, 0 }, { NULL, 0 },
			      { (char *)p + half, n - half }, { (void *)p, 0 } };

	must(write(fd, p, 0));
	must(send(fd, p, 0, 0));
	must(writev(fd, v, 1));
	return writev(fd, v, 6);
}

static ssize_t rx_zero(int fd, void *p, size_t n)
{
	struct iovec v[4] = { { p, 0 }, { p, 3 }, { NULL, 0 }, { (char *)p + 3, n - 3 } };

	if (n < 10)
		return read(fd, p, n);
	must(read(fd, p, 0));
	must(recv(fd, p, 0, 0));
	must(readv(fd, v, 1));
	return readv(fd, v, 4);
}

MAIN_STD(tx_zero, rx_zero)
