/* SPDX-License-Identifier: GPL-3.0-or-later */
/* short_write.c: a non-blocking sender with a small buffer and a slow reader: most writes take less
 * than they were given, and only the return value says how much.
 */
#include "common.h"

#define BODY (2u << 20)

static unsigned int shorts;

static ssize_t tx_short(int fd, const void *p, size_t n)
{
	ssize_t r = write(fd, p, n);

	if (r > 0 && (size_t)r < n)
		shorts++;
	return r;
}

static ssize_t rx_little(int fd, void *p, size_t n)
{
	return read(fd, p, n < 5000 ? n : 5000);
}

static const struct io io_short = { tx_short, rx_little };

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	char *out = malloc(BODY + 1024);
	int small = 8192;
	struct msg req, res;

	if (!out)
		die("malloc");
	must(setsockopt(s->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)));
	must(fcntl(s->fd, F_SETFL, O_NONBLOCK));
	req_head(&req, out, 1024, 0, BODY, 10);
	fill(out + req.head, BODY, 1);
	send_all(s, &io_short, out, req.head + BODY);
	if (!recv_msg(s, &io_short, &res))
		die("no response");
	tell_txn(s, &req, &res, "ok");
	if (!shorts)
		die("no short write happened");
	finish(s);
}

static void server(int lfd)
{
	int small = 8192;
	struct side *s;

	must(setsockopt(lfd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)));
	s = side_new(accept_on(lfd), false);
	serve(s, &io_short);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 15);
	return run_pair(server, client, 15);
}
