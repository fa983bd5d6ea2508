/* SPDX-License-Identifier: GPL-3.0-or-later */
/* shut_wr.c: shutdown(SHUT_WR) with the response read afterwards; and a response without a length
 * that ends with the server's shutdown.
 */
#include "common.h"

static void client(void)
{
	static char out[KEEP_MAX + 1024];
	struct side *s = side_new(connect_lo(), true);
	struct msg req, res;

	s->end = "fin";
	send_all(s, &io_plain, out, req_make(&req, out, 0, 5, 3000));
	must(shutdown(s->fd, SHUT_WR));
	if (!recv_msg(s, &io_plain, &res))
		die("no response");
	tell_txn(s, &req, &res, "ok");
	finish(s);

	s = side_new(connect_lo(), true);
	s->end = "fin";
	send_all(s, &io_plain, out, req_make(&req, out, 1, 0, 4000));
	while (recv_some(s, &io_plain))
		;
	if (!head_parse(&res, s->buf, s->have))
		die("no response");
	res.body = s->have - res.head;
	res.has_digest = true;
	res.digest = xxh64(s->buf + res.head, res.body);
	tell_txn(s, &req, &res, "ok");
	finish(s);
}

static void server(int lfd)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req, res = { .status = 200, .head = sizeof(head) - 1 };
	char body[4000], c;

	s->end = "fin";
	if (!recv_msg(s, &io_plain, &req) || recv_some(s, &io_plain))
		die("no end of file after the request");
	answer(s, &io_plain, &req);
	finish(s);

	s = side_new(accept_on(lfd), false);
	s->end = "fin";
	if (!recv_msg(s, &io_plain, &req))
		die("no request");
	body_set(&res, body, sizeof(body));
	send_all(s, &io_plain, head, sizeof(head) - 1);
	send_all(s, &io_plain, body, sizeof(body));
	must(shutdown(s->fd, SHUT_WR));
	tell_txn(s, &req, &res, "ok");
	if (read(s->fd, &c, 1) != 0)
		die("no end of file");
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
