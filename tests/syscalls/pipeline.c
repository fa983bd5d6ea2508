/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pipeline.c: 100 requests in one write, 100 responses in another. */
#include "common.h"

#define N 100

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	static char out[2 * KEEP_MAX];
	static struct msg req[N];
	struct msg res;
	size_t n = 0;

	for (unsigned int i = 0; i < N; i++)
		n += req_make(&req[i], out + n, i, i % 3 ? 0 : i, i * 10);
	if (must(write(s->fd, out, n)) != (ssize_t)n)
		die("short write");
	moved(s, TX, n);
	for (int i = 0; i < N; i++) {
		if (!recv_msg(s, &io_plain, &res))
			die("no response");
		tell_txn(s, &req[i], &res, "ok");
	}
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	static char out[2 * KEEP_MAX];
	struct msg req, res;
	size_t n = 0;

	for (int i = 0; i < N; i++) {
		if (!recv_msg(s, &io_plain, &req))
			die("no request");
		n += res_make(&res, out + n, req.want);
		tell_txn(s, &req, &res, "ok");
	}
	if (must(write(s->fd, out, n)) != (ssize_t)n)
		die("short write");
	moved(s, TX, n);
	serve(s, &io_plain);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
