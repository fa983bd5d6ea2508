/* SPDX-License-Identifier: GPL-3.0-or-later */
/* close_range.c: close_range(2) takes the original fd away, a copy goes on; another close_range
 * ends the connection.
 */
#include "common.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	char c;

	s->end = "fin";
	for (unsigned int i = 0; i < 3; i++)
		ask(s, &io_plain, i, 10, 20);
	if (read(s->fd, &c, 1) != 0)	/* the server closes first */
		die("no end of file");
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req;

	s->end = "fin";
	must(dup2(s->fd, 300));
	for (int i = 0; i < 3; i++) {
		if (!recv_msg(s, &io_plain, &req))
			die("no request");
		answer(s, &io_plain, &req);
		if (!i) {
			must(syscall(SYS_close_range, s->fd, 299, 0));
			s->fd = 300;
		}
	}
	must(syscall(SYS_close_range, 300, 400, 0));
	tell_side(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	if (syscall(SYS_close_range, 1000, 1001, 0))
		skip("no close_range");
	return run_pair(server, client, 10);
}
