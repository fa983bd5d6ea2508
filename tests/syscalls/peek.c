/* SPDX-License-Identifier: GPL-3.0-or-later */
/* peek.c: MSG_PEEK repeats bytes; only the read that follows takes them. */
#include "common.h"

static ssize_t rx_peek(int fd, void *p, size_t n)
{
	struct iovec v = { p, n };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	if (recv(fd, p, n, MSG_PEEK) < 0 || recvmsg(fd, &m, MSG_PEEK | MSG_DONTWAIT) < 0)
		return -1;
	return read(fd, p, n);
}

MAIN_STD(tx_write, rx_peek)
