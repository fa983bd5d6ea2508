/* SPDX-License-Identifier: GPL-3.0-or-later */
/* preadv2_pwritev2.c: preadv2(2), pwritev2(2) with offset -1, the only one that sockets take; with
 * a real offset they must fail and count for nothing.
 */
#include "common.h"

static ssize_t tx_p(int fd, const void *p, size_t n)
{
	size_t half = n / 2;
	struct iovec v[2] = { { (void *)p, half }, { (char *)p + half, n - half } };

	if (pwritev2(fd, v, 2, 0, 0) != -1 || errno != ESPIPE)
		die("pwritev2 with an offset");
	return pwritev2(fd, v, 2, -1, 0);
}

static ssize_t rx_p(int fd, void *p, size_t n)
{
	size_t half = n / 5;
	struct iovec v[2] = { { p, half }, { (char *)p + half, n - half } };

	if (preadv2(fd, v, 2, 0, 0) != -1 || errno != ESPIPE)
		die("preadv2 with an offset");
	return preadv2(fd, v, 2, -1, 0);
}

MAIN_STD(tx_p, rx_p)
