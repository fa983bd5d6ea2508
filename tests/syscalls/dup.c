/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dup.c: dup(2), dup2(2), dup3(2); the older fd is closed each time and the connection goes on. */
#include "common.h"

static void one(struct side *s)
{
	struct msg req;

	if (!recv_msg(s, &io_plain, &req))
		die("no request");
	answer(s, &io_plain, &req);
}

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);

	for (unsigned int i = 0; i < 6; i++)
		ask(s, &io_plain, i, 10, 20);
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	int old;

	one(s);
	old = s->fd;
	s->fd = must(dup(old));
	one(s);
	must(close(old));
	one(s);
	old = s->fd;
	s->fd = must(dup2(old, 200));
	must(close(old));
	one(s);
	old = s->fd;
	s->fd = must(dup3(old, 201, O_CLOEXEC));
	must(close(old));
	/* The old number is somebody else's now: reading a file by it is not the connection. */
	if (must(open("/proc/self/comm", O_RDONLY)) < 0 || must(dup2(2, 200)) != 200)
		die("dup2");
	one(s);
	serve(s, &io_plain);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
