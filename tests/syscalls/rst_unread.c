/* SPDX-License-Identifier: GPL-3.0-or-later */
/* rst_unread.c: the server closes with bytes it never read; that makes its kernel send RST. Those
 * bytes were received and are a gap "unread".
 */
#include "common.h"

#define UNREAD 5000

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	static char out[KEEP_MAX + 1024];
	struct msg req;
	char c;

	s->end = "reset";
	ask(s, &io_plain, 0, 10, 100);
	req_make(&req, out, 1, 20000, 10);
	send_all(s, &io_plain, out, UNREAD);
	req.body = UNREAD - req.head;
	req.has_digest = false;
	if (read(s->fd, &c, 1) != -1 || errno != ECONNRESET)
		die("no reset");
	tell_txn(s, &req, NULL, "reset");
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req;

	s->end = "reset";
	if (!recv_msg(s, &io_plain, &req))
		die("no request");
	answer(s, &io_plain, &req);
	wait_queued(s->fd, UNREAD);
	moved_gap(s, RX, UNREAD, "unread", "unread");
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
