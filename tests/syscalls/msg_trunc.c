/* SPDX-License-Identifier: GPL-3.0-or-later */
/* msg_trunc.c: recv(MSG_TRUNC) on TCP throws bytes away and returns how many; none are copied. */
#include "common.h"

static void toss(struct side *s, uint64_t n)
{
	while (n) {
		ssize_t r = must(recv(s->fd, NULL, n, MSG_TRUNC));

		if (!r)
			die("end in the middle of a body");
		moved_gap(s, RX, (uint64_t)r, "msg_trunc", "msg_trunc");
		n -= (uint64_t)r;
	}
}

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	static char out[KEEP_MAX + 1024];
	struct msg req, res;

	for (unsigned int i = 0; i < 3; i++) {
		send_all(s, &io_plain, out, req_make(&req, out, i, 3000, 7000));
		if (!recv_head(s, &res))
			die("no response");
		toss(s, res.body);
		tell_txn(s, &req, &res, "ok");
	}
	ask(s, &io_plain, 3, 10, 10);
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req;

	while (recv_head(s, &req)) {
		toss(s, req.body);
		answer(s, &io_plain, &req);
	}
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
