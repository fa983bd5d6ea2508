/* SPDX-License-Identifier: GPL-3.0-or-later */
/* zerocopy.c: send(MSG_ZEROCOPY), and its completions read from the error queue: those are not
 * stream data.
 */
#include "common.h"
#include <linux/errqueue.h>

#ifndef SO_ZEROCOPY
#define SO_ZEROCOPY 60
#endif
#ifndef MSG_ZEROCOPY
#define MSG_ZEROCOPY 0x4000000
#endif

static unsigned int done;

static void completions(int fd, bool wait)
{
	struct pollfd pfd = { .fd = fd };

	while (poll(&pfd, 1, wait ? 1000 : 0) == 1 && (pfd.revents & POLLERR)) {
		char ctl[256], data[64];
		struct iovec v = { data, sizeof(data) };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl,
				    .msg_controllen = sizeof(ctl) };

		if (recvmsg(fd, &m, MSG_ERRQUEUE) < 0)
			return;
		done++;
		wait = false;
	}
}

static ssize_t tx_zc(int fd, const void *p, size_t n)
{
	ssize_t r = send(fd, p, n, MSG_ZEROCOPY);

	if (r < 0 && errno == ENOBUFS)
		r = send(fd, p, n, 0);
	completions(fd, true);
	return r;
}

static const struct io io_zc = { tx_zc, rx_read };

static bool zc_on(int fd)
{
	int one = 1;

	return !setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one));
}

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);

	if (!zc_on(s->fd))
		die("SO_ZEROCOPY");
	for (unsigned int i = 0; i < 4; i++)
		ask(s, &io_zc, i, i * 20000, 30000);
	if (!done)
		die("no completion was read");
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);

	if (!zc_on(s->fd))
		die("SO_ZEROCOPY");
	serve(s, &io_zc);
	finish(s);
}

int main(int argc, char **argv)
{
	int fd;

	begin(argc, argv, 10);
	fd = must(socket(AF_INET, SOCK_STREAM, 0));
	if (!zc_on(fd))
		skip("no SO_ZEROCOPY");
	close(fd);
	return run_pair(server, client, 10);
}
