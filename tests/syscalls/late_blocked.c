/* SPDX-License-Identifier: GPL-3.0-or-later */
/* late_blocked.c: the agent starts while this server is blocked in accept and, in another thread,
 * in read. Those calls show the agent an exit without an enter.
 */
#include "common.h"

static int reader[2];	/* the reading thread's id */

static void *serve_one(void *arg)
{
	struct side *s = arg;
	pid_t tid = gettid();

	must(write(reader[1], &tid, sizeof(tid)));
	side_tid(s, (uint32_t)tid);
	serve(s, &io_plain);
	finish(s);
	return NULL;
}

static void client(void)
{
	struct side *old = side_new(connect_lo(), true), *new;
	pid_t tid;

	old->midstream = true;
	must(read(reader[0], &tid, sizeof(tid)));
	wait_in_call(tid, SYS_read);
	wait_in_call(getppid(), SYS_accept);
	wait_go();
	for (unsigned int i = 0; i < 3; i++)
		ask(old, &io_plain, i, 10, 200);
	new = side_new(connect_lo(), true);
	for (unsigned int i = 3; i < 6; i++)
		ask(new, &io_plain, i, 10, 200);
	finish(old);
	finish(new);
}

static void server(int lfd)
{
	struct side *old = side_new(accept_on(lfd), false), *new;
	pthread_t th;

	old->midstream = true;
	errno = pthread_create(&th, NULL, serve_one, old);
	if (errno)
		die("pthread_create");
	new = side_new(accept_on(lfd), false);
	serve(new, &io_plain);
	finish(new);
	pthread_join(th, NULL);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 60);
	must(pipe(reader));
	return run_pair(server, client, 60);
}
