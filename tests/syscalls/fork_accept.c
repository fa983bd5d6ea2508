/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fork_accept.c: fork after accept. Connection 0: the child does all of the work; connection 1: the
 * parent answers the first request, the child the others.
 */
#include "common.h"

static struct side *cur;

static void child(void)
{
	cur->moved[TX] = cur->moved[RX] = 0;	/* the parent tells of its own */
	serve(cur, &io_plain);
	finish(cur);
}

static void client(void)
{
	for (int c = 0; c < 2; c++) {
		struct side *s = side_new(connect_lo(), true);

		for (unsigned int i = 0; i < 3; i++)
			ask(s, &io_plain, i, 10, 20);
		finish(s);
	}
}

static void server(int lfd)
{
	for (int c = 0; c < 2; c++) {
		struct msg req;
		pid_t pid;

		cur = side_new(accept_on(lfd), false);
		cur->part = c == 1;
		if (c == 1) {
			if (!recv_msg(cur, &io_plain, &req))
				die("no request");
			answer(cur, &io_plain, &req);
			tell_side(cur);
		}
		pid = spawn(child, "fork-child", 10);
		must(close(cur->fd));
		reap(pid);
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
