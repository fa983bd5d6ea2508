/* SPDX-License-Identifier: GPL-3.0-or-later */
/* threads_rw.c: one thread of the client writes, another reads; the server's too. 50 requests under
 * way at any time.
 */
#include "common.h"

#define N 50

static struct side *side;
static struct msg reqs[N], ress[N];
static int pass[2];
static uint32_t tid;		/* of the second thread */

/* Only its own direction of the account is touched by each thread. */
static void *client_writer(void *arg)
{
	static char out[KEEP_MAX + 1024];

	tid = (uint32_t)gettid();
	for (unsigned int i = 0; i < N; i++)
		send_all(side, &io_plain, out, req_make(&reqs[i], out, i, i % 4 * 100, i * 10));
	return arg;
}

static void *server_reader(void *arg)
{
	char c = 'x';

	tid = (uint32_t)gettid();
	for (int i = 0; i < N; i++) {
		if (!recv_msg(side, &io_plain, &reqs[i]))
			die("no request");
		must(write(pass[1], &c, 1));
	}
	if (recv_some(side, &io_plain))
		die("more than was sent");
	return arg;
}

static void start(pthread_t *th, void *(*fn)(void *))
{
	errno = pthread_create(th, NULL, fn, NULL);
	if (errno)
		die("pthread_create");
}

static void tell(struct side *s)
{
	for (int i = 0; i < N; i++)
		tell_txn(s, &reqs[i], &ress[i], "ok");
	side_tid(s, tid);
	side_tid(s, (uint32_t)getpid());
	finish(s);
}

static void client(void)
{
	pthread_t th;

	side = side_new(connect_lo(), true);
	start(&th, client_writer);
	for (int i = 0; i < N; i++)
		if (!recv_msg(side, &io_plain, &ress[i]))
			die("no response");
	pthread_join(th, NULL);
	tell(side);
}

static void server(int lfd)
{
	static char out[KEEP_MAX + 1024];
	pthread_t th;
	char c;

	must(pipe(pass));
	side = side_new(accept_on(lfd), false);
	start(&th, server_reader);
	for (int i = 0; i < N; i++) {
		must(read(pass[0], &c, 1));
		send_all(side, &io_plain, out, res_make(&ress[i], out, reqs[i].want));
	}
	pthread_join(th, NULL);
	tell(side);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
