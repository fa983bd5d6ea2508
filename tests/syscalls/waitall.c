/* SPDX-License-Identifier: GPL-3.0-or-later */
/* waitall.c: recv(MSG_WAITALL) of a body that comes in three pieces. */
#include "common.h"

#define BODY 9000

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	static char out[KEEP_MAX + 1024];
	struct msg req, res;
	size_t n;

	for (unsigned int i = 0; i < 3; i++) {
		n = req_make(&req, out, i, BODY, 100);
		send_all(s, &io_plain, out, req.head);
		for (size_t at = req.head; at < n; at += BODY / 3) {
			nap_ms(10);
			send_all(s, &io_plain, out + at, BODY / 3);
		}
		if (!recv_msg(s, &io_plain, &res))
			die("no response");
		tell_txn(s, &req, &res, "ok");
	}
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	static char body[BODY];
	struct msg req;

	while (recv_head(s, &req)) {
		if (must(recv(s->fd, body, BODY, MSG_WAITALL)) != BODY)
			die("MSG_WAITALL gave less");
		moved(s, RX, BODY);
		req.has_digest = true;
		req.digest = xxh64(body, BODY);
		answer(s, &io_plain, &req);
	}
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
