/* SPDX-License-Identifier: GPL-3.0-or-later */
/* half_read.c: the client closes with half of the response unread. For the server the transaction
 * is complete, for the client it is not.
 */
#include "common.h"

#define BODY 50000u
#define TAKE 20000u

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	static char out[KEEP_MAX + 1024], body[TAKE];
	struct msg req, res;

	s->end = "reset";
	ask(s, &io_plain, 0, 0, 100);
	send_all(s, &io_plain, out, req_make(&req, out, 1, 0, BODY));
	if (!recv_head(s, &res))
		die("no response");
	if (must(recv(s->fd, body, TAKE, MSG_WAITALL)) != TAKE)
		die("recv");
	moved(s, RX, TAKE);
	wait_queued(s->fd, BODY - TAKE);
	moved_gap(s, RX, BODY - TAKE, "unread", "unread");
	res.body = TAKE;
	tell_txn(s, &req, &res, "closed|reset");
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req;
	char c;

	s->end = "reset";
	for (int i = 0; i < 2; i++) {
		if (!recv_msg(s, &io_plain, &req))
			die("no request");
		answer(s, &io_plain, &req);
	}
	if (read(s->fd, &c, 1) != -1 || errno != ECONNRESET)
		die("no reset");
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
