/* SPDX-License-Identifier: GPL-3.0-or-later */
/* threads_tx.c: two threads write whole requests to one socket without a lock between them. Their
 * order is the kernel's; the server sees it, so its transactions must be exact. On the client's
 * side the order may be unknowable: then bytes are a gap "race", but no transaction may be wrong
 * (each response's length follows from its request's target).
 */
#include "common.h"

#define N 1000		/* a thread */

static struct side *side;
static struct msg reqs[2 * N];
static uint64_t sent[2];
static uint32_t tid[2];

static void *writer(void *arg)
{
	int who = *(int *)arg;
	char out[512];

	tid[who] = (uint32_t)gettid();
	for (unsigned int i = 0; i < N; i++) {
		unsigned int k = (unsigned int)who * N + i;
		size_t n = req_make(&reqs[k], out, k, 0, k % 1000);

		if (must(write(side->fd, out, n)) != (ssize_t)n)
			die("short write: requests would mix");
		sent[who] += n;
	}
	return arg;
}

static void client(void)
{
	pthread_t th[2];
	int who[2] = { 0, 1 };
	struct msg res;

	side = side_new(connect_lo(), true);
	side->subset = true;
	side->allow = "race";
	for (int i = 0; i < 2; i++) {
		errno = pthread_create(&th[i], NULL, writer, &who[i]);
		if (errno)
			die("pthread_create");
	}
	for (int i = 0; i < 2 * N; i++)
		if (!recv_msg(side, &io_plain, &res))
			die("no response");
	for (int i = 0; i < 2; i++) {
		pthread_join(th[i], NULL);
		side->moved[TX] += sent[i];
		side_tid(side, tid[i]);
	}
	side_tid(side, (uint32_t)getpid());
	prog.hold = true;
	for (int i = 0; i < 2 * N; i++) {
		char body[1000];

		memset(&res, 0, sizeof(res));
		res.status = 200;
		body_set(&res, body, reqs[i].want);
		res.head = 0;
		tell_txn(side, &reqs[i], &res, "ok");
	}
	finish(side);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);

	prog.hold = true;
	nap_ms(20);		/* the writers have the CPUs to themselves: they meet more often */
	serve(s, &io_plain);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 20);
	return run_pair(server, client, 20);
}
