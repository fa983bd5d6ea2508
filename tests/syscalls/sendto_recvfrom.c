/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sendto_recvfrom.c: send(2), recv(2): both are the calls of the file's name. */
#include "common.h"

static ssize_t tx_send(int fd, const void *p, size_t n) { return send(fd, p, n, MSG_NOSIGNAL); }
static ssize_t rx_recv(int fd, void *p, size_t n)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	return recvfrom(fd, p, n, 0, (struct sockaddr *)&ss, &len);
}

MAIN_STD(tx_send, rx_recv)
