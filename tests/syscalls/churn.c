/* SPDX-License-Identifier: GPL-3.0-or-later */
/* churn.c: 10,000 connections of less than 5 ms each, one after the other: both processes get the
 * same fd every time, and what is known by fd is wrong the next millisecond.
 */
#include "common.h"

#define CONNS 10000

static void client(void)
{
	struct side *s = malloc(sizeof(*s));

	if (!s)
		die("malloc");
	prog.hold = true;
	for (unsigned int i = 0; i < CONNS; i++) {
		side_init(s, connect_lo(), true);
		s->end = "fin";
		ask(s, &io_plain, i, 0, i % 300);
		finish(s);
	}
}

static void server(int lfd)
{
	struct side *s = malloc(sizeof(*s));

	if (!s)
		die("malloc");
	prog.hold = true;
	for (unsigned int i = 0; i < CONNS; i++) {
		side_init(s, accept_on(lfd), false);
		s->end = "fin";
		serve(s, &io_plain);
		finish(s);
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv, 40);
	return run_pair(server, client, 40);
}
