/* SPDX-License-Identifier: GPL-3.0-or-later */
/* splice.c: splice(2) from a pipe into a socket, and from a socket into a pipe. */
#include "common.h"

#define BODY 40000u		/* a pipe holds 64 KiB */

static void body_out(struct side *s, unsigned int seed)
{
	static char body[BODY];
	int p[2];

	fill(body, BODY, seed);
	must(pipe(p));
	if (must(write(p[1], body, BODY)) != (ssize_t)BODY)
		die("pipe");
	for (size_t left = BODY; left;) {
		ssize_t r = must(splice(p[0], NULL, s->fd, NULL, left, 0));

		moved_gap(s, TX, (uint64_t)r, "splice", "splice");
		left -= (size_t)r;
	}
	close(p[0]);
	close(p[1]);
}

static void body_in(struct side *s)
{
	static char body[BODY];
	int p[2];

	must(pipe(p));
	for (size_t left = BODY; left;) {
		ssize_t r = must(splice(s->fd, NULL, p[1], NULL, left, 0));

		if (!r || must(read(p[0], body, (size_t)r)) != r)
			die("splice gave %zd", r);
		moved_gap(s, RX, (uint64_t)r, "bypass", "bypass");
		left -= (size_t)r;
	}
	close(p[0]);
	close(p[1]);
}

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	struct msg req, res;
	char head[256];

	for (unsigned int i = 0; i < 3; i++) {
		send_all(s, &io_plain, head, req_head(&req, head, sizeof(head), i, BODY, BODY));
		body_out(s, i);
		if (!recv_head(s, &res))
			die("no response");
		body_in(s);
		tell_txn(s, &req, &res, "ok");
	}
	ask(s, &io_plain, 3, 10, 100);
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req, res;
	char head[256];

	for (unsigned int i = 0; i < 3; i++) {
		if (!recv_head(s, &req))
			die("no request");
		body_in(s);
		send_all(s, &io_plain, head, res_head(&res, head, sizeof(head), 200, BODY));
		body_out(s, i);
		tell_txn(s, &req, &res, "ok");
	}
	serve(s, &io_plain);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
