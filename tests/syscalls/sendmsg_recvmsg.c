/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sendmsg_recvmsg.c: sendmsg(2), recvmsg(2) with two iovecs. */
#include "common.h"

static ssize_t tx_msg(int fd, const void *p, size_t n)
{
	size_t half = n / 2;
	struct iovec v[2] = { { (void *)p, half }, { (char *)p + half, n - half } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	return sendmsg(fd, &m, MSG_NOSIGNAL);
}

static ssize_t rx_msg(int fd, void *p, size_t n)
{
	size_t half = n / 9;
	struct iovec v[2] = { { p, half }, { (char *)p + half, n - half } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };

	return recvmsg(fd, &m, 0);
}

MAIN_STD(tx_msg, rx_msg)
