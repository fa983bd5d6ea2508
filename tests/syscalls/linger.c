/* SPDX-License-Identifier: GPL-3.0-or-later */
/* linger.c: the client closes with SO_LINGER of 0 in the middle of a request's body: the kernel
 * resets instead of a FIN, by tcp_disconnect(), which moves write_seq on by more than the window.
 * Nothing of that was ever sent.
 */
#include "common.h"

#define SENT 3000

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };
	static char out[KEEP_MAX + 1024];
	struct msg req;
	int left;

	s->end = "reset";
	ask(s, &io_plain, 0, 10, 100);
	req_make(&req, out, 1, 20000, 10);
	send_all(s, &io_plain, out, SENT);
	req.body = SENT - req.head;
	req.has_digest = false;
	/* On another CPU the reset could overtake what was sent. */
	while (must(ioctl(s->fd, TIOCOUTQ, &left)) || left)
		nap_ms(1);
	must(setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
	tell_txn(s, &req, NULL, "reset");
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	char in[SENT];
	struct msg req;
	ssize_t n;

	s->end = "reset";
	if (!recv_msg(s, &io_plain, &req))
		die("no request");
	answer(s, &io_plain, &req);
	if (!recv_head(s, &req))
		die("no second request");
	for (req.body = 0; req.body < SENT - req.head; req.body += (size_t)n) {
		n = must(read(s->fd, in, sizeof(in)));
		moved(s, RX, (uint64_t)n);
	}
	if (read(s->fd, in, 1) != -1 || errno != ECONNRESET)
		die("no reset");
	req.has_digest = false;
	tell_txn(s, &req, NULL, "reset");
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
