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

static const struct bodies bodies = { BODY, body_out, body_in };

static void client(void)
{
	client_bodies(&bodies);
}

static void server(int lfd)
{
	server_bodies(lfd, &bodies);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
