/* SPDX-License-Identifier: GPL-3.0-or-later */
/* late_keepalive.c: the agent starts while keep-alive connections are open that have been used, and
 * nobody listens any more: 0 is idle; on 1 a request waits in the server's queue; on 2 half of a
 * response has been sent. What moved before the agent came is not counted.
 */
#include "common.h"

#define HALF 3000u

static struct side *conn[3];
static int go[2];

static void forget(void)
{
	for (int i = 0; i < 3; i++) {
		memset(conn[i]->moved, 0, sizeof(conn[i]->moved));
		conn[i]->midstream = true;
	}
}

/* Exchanges and a half that no record tells of. */
static void quiet(struct side *s, unsigned int i)
{
	static char out[KEEP_MAX + 1024];
	struct msg req, res;

	send_all(s, &io_plain, out, req_make(&req, out, i, 10, 20));
	if (!recv_msg(s, &io_plain, &res))
		die("no response");
}

static void client(void)
{
	static char out[KEEP_MAX + 1024];
	struct msg req, res;

	for (int i = 0; i < 3; i++) {
		conn[i] = side_new(connect_lo(), true);
		quiet(conn[i], 0);
		quiet(conn[i], 1);
	}
	send_all(conn[1], &io_plain, out, req_make(&req, out, 2, 10, 30));
	req_make(&req, out, 2, 10, 2 * HALF);
	send_all(conn[2], &io_plain, out, req.head + req.body);
	while (conn[2]->have < HALF)
		recv_some(conn[2], &io_plain);
	wait_in_call(getppid(), SYS_read);	/* the server waits for go */
	forget();
	wait_go();
	must(write(go[1], "x", 1));
	if (!recv_msg(conn[1], &io_plain, &res))
		die("no response");
	tell_txn(conn[1], NULL, &res, "no_request");
	if (!recv_msg(conn[2], &io_plain, &res))
		die("no response");
	for (int i = 0; i < 3; i++) {
		for (unsigned int k = 10; k < 13; k++)
			ask(conn[i], &io_plain, k, 10, 200);
		finish(conn[i]);
	}
}

static void quiet_answer(struct side *s, size_t only)
{
	static char out[KEEP_MAX + 1024];
	struct msg req, res;
	size_t n;

	if (!recv_msg(s, &io_plain, &req))
		die("no request");
	n = res_make(&res, out, req.want);
	send_all(s, &io_plain, out, only ? only : n);
}

static void server(int lfd)
{
	static char out[KEEP_MAX + 1024];
	struct msg req, res;
	size_t n;
	char c;

	for (int i = 0; i < 3; i++) {
		conn[i] = side_new(accept_on(lfd), false);
		quiet_answer(conn[i], 0);
		quiet_answer(conn[i], 0);
	}
	must(shutdown(lfd, SHUT_RDWR));
	quiet_answer(conn[2], HALF);
	forget();
	must(read(go[0], &c, 1));
	n = res_make(&res, out, 2 * HALF);
	send_all(conn[2], &io_plain, out + HALF, n - HALF);
	if (!recv_msg(conn[1], &io_plain, &req))
		die("no request");
	answer(conn[1], &io_plain, &req);
	for (int i = 0; i < 3; i++) {
		serve(conn[i], &io_plain);
		finish(conn[i]);
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv, 60);
	must(pipe(go));
	return run_pair(server, client, 60);
}
