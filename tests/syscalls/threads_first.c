/* SPDX-License-Identifier: GPL-3.0-or-later */
/* threads_first.c: the very first two writes of a connection come from two threads at the same
 * moment, 500 times: whatever a probe does only once for a connection or a process must be done
 * once, and the call that comes second must not be lost while it is being done.
 */
#include "common.h"

#define CONNS 500

static struct side *side;
static struct msg reqs[2];
static uint64_t sent[2];
static uint32_t tid[2], turn, ready;

static void *writer(void *arg)
{
	unsigned int who = *(unsigned int *)arg;
	char out[512];
	ssize_t n;

	__atomic_store_n(&tid[who], (uint32_t)gettid(), __ATOMIC_RELEASE);
	for (uint32_t i = 1; i <= CONNS; i++) {
		while (__atomic_load_n(&turn, __ATOMIC_ACQUIRE) < i)
			;
		n = (ssize_t)req_make(&reqs[who], out, 2 * i + who, 0, 10 + who);
		if (must(write(side->fd, out, (size_t)n)) != n)
			die("short write");
		sent[who] = (uint64_t)n;
		__atomic_add_fetch(&ready, 1, __ATOMIC_RELEASE);
	}
	return arg;
}

static void one_conn(uint32_t i)
{
	char body[16];
	struct msg res;

	side_init(side, connect_lo(), true);
	side->subset = true;
	side->allow = "race";
	side_tid(side, tid[0]);
	side_tid(side, tid[1]);
	side_tid(side, (uint32_t)getpid());
	__atomic_store_n(&turn, i, __ATOMIC_RELEASE);
	for (int k = 0; k < 2; k++)
		if (!recv_msg(side, &io_plain, &res))
			die("no response");
	while (__atomic_load_n(&ready, __ATOMIC_ACQUIRE) < 2 * i)
		;
	for (int k = 0; k < 2; k++) {
		side->moved[TX] += sent[k];
		memset(&res, 0, sizeof(res));
		res.status = 200;
		body_set(&res, body, reqs[k].want);
		tell_txn(side, &reqs[k], &res, "ok");
	}
	finish(side);
}

static void client(void)
{
	unsigned int who[2] = { 0, 1 };
	pthread_t th[2];

	side = malloc(sizeof(*side));
	if (!side)
		die("malloc");
	prog.hold = true;
	for (int i = 0; i < 2; i++) {
		errno = pthread_create(&th[i], NULL, writer, &who[i]);
		if (errno)
			die("pthread_create");
	}
	for (int i = 0; i < 2; i++)
		while (!__atomic_load_n(&tid[i], __ATOMIC_ACQUIRE))
			;
	for (uint32_t i = 1; i <= CONNS; i++)
		one_conn(i);
	for (int i = 0; i < 2; i++)
		pthread_join(th[i], NULL);
}

static void server(int lfd)
{
	struct side *s = malloc(sizeof(*s));

	if (!s)
		die("malloc");
	prog.hold = true;
	for (int i = 0; i < CONNS; i++) {
		side_init(s, accept_on(lfd), false);
		serve(s, &io_plain);
		finish(s);
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv, 30);
	return run_pair(server, client, 30);
}
