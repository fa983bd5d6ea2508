/* SPDX-License-Identifier: GPL-3.0-or-later */
/* prefork.c: three workers, forked before, accept from a listener that the parent made; the parent
 * itself touches no connection.
 */
#include "common.h"

#define WORKERS 3
#define CONNS 12

static int lsn;

/* Until a connection whose request has no body wanted says that this was the last. */
static void worker(void)
{
	for (;;) {
		struct side *s = side_new(accept_on(lsn), false);
		struct msg req;
		bool last = false;

		while (recv_msg(s, &io_plain, &req)) {
			last = !req.want;
			answer(s, &io_plain, &req);
		}
		finish(s);
		free(s);
		if (last)
			return;
	}
}

static void client(void)
{
	for (int c = 0; c < CONNS + WORKERS; c++) {
		struct side *s = side_new(connect_lo(), true);

		for (unsigned int i = 0; i < 3; i++)
			ask(s, &io_plain, i, 10, c < CONNS ? 20 : 0);
		finish(s);
		free(s);
	}
}

static void server(int lfd)
{
	pid_t pid[WORKERS];

	lsn = lfd;
	for (int i = 0; i < WORKERS; i++)
		pid[i] = spawn(worker, "prefork-worker", 10);
	for (int i = 0; i < WORKERS; i++)
		reap(pid[i]);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
