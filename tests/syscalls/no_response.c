/* SPDX-License-Identifier: GPL-3.0-or-later */
/* no_response.c: requests that are never answered, on connections that end in order: the server
 * closes after it has read; the client gives up first.
 */
#include "common.h"

static void client(void)
{
	static char out[KEEP_MAX + 1024];
	struct msg req;
	char c;

	for (unsigned int i = 0; i < 2; i++) {
		struct side *s = side_new(connect_lo(), true);

		s->end = "fin";
		ask(s, &io_plain, 0, 10, 20);
		send_all(s, &io_plain, out, req_make(&req, out, 1, 10, 20));
		if (!i && read(s->fd, &c, 1) != 0)
			die("no end of file");
		tell_txn(s, &req, NULL, "no_response");
		finish(s);
	}
}

static void server(int lfd)
{
	struct msg req;

	for (int i = 0; i < 2; i++) {
		struct side *s = side_new(accept_on(lfd), false);

		s->end = "fin";
		if (!recv_msg(s, &io_plain, &req))
			die("no request");
		answer(s, &io_plain, &req);
		if (!recv_msg(s, &io_plain, &req))
			die("no request");
		tell_txn(s, &req, NULL, "no_response");
		if (i && recv_some(s, &io_plain))
			die("no end of file");
		finish(s);
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
