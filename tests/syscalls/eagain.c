/* SPDX-License-Identifier: GPL-3.0-or-later */
/* eagain.c: non-blocking on both sides; calls that return EAGAIN moved nothing. */
#include "common.h"

#define BODY (6u << 20)

static unsigned int tx_again, rx_again;

static ssize_t tx_nb(int fd, const void *p, size_t n)
{
	ssize_t r = send(fd, p, n < 100000 ? n : 100000, MSG_DONTWAIT);

	if (r < 0 && errno == EAGAIN)
		tx_again++;
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

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	char *out = malloc(BODY + 1024);
	struct msg req, res;

	if (!out)
		die("malloc");
	must(fcntl(s->fd, F_SETFL, O_NONBLOCK));
	nap_ms(20);		/* the server meets an empty queue */
	req_head(&req, out, 1024, 0, BODY, 10);
	fill(out + req.head, BODY, 1);
	send_all(s, &io_nb, out, req.head + BODY);
	if (!recv_msg(s, &io_nb, &res))
		die("no response");
	tell_txn(s, &req, &res, "ok");
	ask(s, &io_nb, 1, 10, 1000);
	if (!tx_again || !rx_again)
		die("EAGAIN: %u writes, %u reads", tx_again, rx_again);
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req;

	must(fcntl(s->fd, F_SETFL, O_NONBLOCK));
	recv_some(s, &io_nb);
	nap_ms(100);		/* the client's buffer fills */
	while (recv_msg(s, &io_nb, &req))
		answer(s, &io_nb, &req);
	if (!rx_again)
		die("no read gave EAGAIN");
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 15);
	return run_pair(server, client, 15);
}
