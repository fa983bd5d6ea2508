/* SPDX-License-Identifier: GPL-3.0-or-later */
/* eagain.c: non-blocking on both sides; calls that return EAGAIN moved nothing. Each side tells the
 * other by a pipe when it has met what it is here for: an empty queue, a full buffer.
 */
#include "common.h"

#define BODY (6u << 20)

static unsigned int tx_again, rx_again;
static int empty[2], full[2];

static ssize_t tx_nb(int fd, const void *p, size_t n)
{
	ssize_t r = send(fd, p, n < 100000 ? n : 100000, MSG_DONTWAIT);

	if (r < 0 && errno == EAGAIN && !tx_again++)
		must(write(full[1], "x", 1));
	return r;
}

static ssize_t rx_nb(int fd, void *p, size_t n)
{
	ssize_t r = read(fd, p, n < 60000 ? n : 60000);

	if (r < 0 && errno == EAGAIN)
		rx_again++;
	return r;
}

static const struct io io_nb = { tx_nb, rx_nb };

/* Nothing can be there yet. And so that BODY can't wait in the two sockets' buffers all at once,
 * these are made small.
 */
static void meet_empty(struct side *s)
{
	int size = 256 << 10;
	char c;

	must(setsockopt(s->fd, SOL_SOCKET, s->client ? SO_SNDBUF : SO_RCVBUF, &size,
			sizeof(size)));
	must(fcntl(s->fd, F_SETFL, O_NONBLOCK));
	if (rx_nb(s->fd, &c, 1) != -1 || !rx_again)
		die("a read of an empty queue");
}

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	char *out = malloc(BODY + 1024), c;
	struct msg req, res;

	if (!out)
		die("malloc");
	meet_empty(s);
	must(read(empty[0], &c, 1));
	req_head(&req, out, 1024, 0, BODY, 10);
	fill(out + req.head, BODY, 1);
	send_all(s, &io_nb, out, req.head + BODY);
	if (!recv_msg(s, &io_nb, &res))
		die("no response");
	tell_txn(s, &req, &res, "ok");
	ask(s, &io_nb, 1, 10, 1000);
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req;
	char c;

	meet_empty(s);
	must(write(empty[1], "x", 1));
	must(read(full[0], &c, 1));
	while (recv_msg(s, &io_nb, &req))
		answer(s, &io_nb, &req);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 15);
	must(pipe(empty));
	must(pipe(full));
	return run_pair(server, client, 15);
}
