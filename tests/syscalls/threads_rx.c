/* SPDX-License-Identifier: GPL-3.0-or-later */
/* threads_rx.c: two threads of the server read requests of 64 bytes each from one socket and answer
 * them all alike, without a lock. The client's transactions must be exact; the server's may be lost
 * to a gap "race", but none may be wrong.
 */
#include "common.h"

#define N 2000
#define LEN 64
#define WINDOW 32

static struct side *side;
static const char answer_text[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
static uint64_t got[2], gave[2];
static uint32_t tid[2];

static struct msg answer_msg(void)
{
	struct msg m = { .status = 200, .body = 5, .has_digest = true };

	m.head = sizeof(answer_text) - 1 - 5;
	m.digest = xxh64("hello", 5);
	return m;
}

/* Exactly LEN bytes: "GET /threads_rx/N?r=5&pppp HTTP/1.1\r\nHost: t\r\n\r\n". */
static void req_fixed(struct msg *m, char *out, unsigned int i)
{
	size_t pad;

	memset(m, 0, sizeof(*m));
	snprintf(m->method, sizeof(m->method), "GET");
	snprintf(m->target, sizeof(m->target), "/threads_rx/%05u?r=5&", i);
	pad = LEN - strlen("GET  HTTP/1.1\r\nHost: t\r\n\r\n") - strlen(m->target);
	memset(m->target + strlen(m->target), 'p', pad);
	m->head = LEN;
	if (snprintf(out, LEN + 1, "GET %s HTTP/1.1\r\nHost: t\r\n\r\n", m->target) != LEN)
		die("length");
}

static void *reader(void *arg)
{
	int who = *(int *)arg;
	char in[LEN];
	ssize_t n;

	tid[who] = (uint32_t)gettid();
	for (;;) {
		n = must(recv(side->fd, in, LEN, 0));
		if (!n)
			return arg;
		if (n != LEN)
			die("a request in pieces");
		got[who] += LEN;
		n = must(write(side->fd, answer_text, sizeof(answer_text) - 1));
		if (n != (ssize_t)sizeof(answer_text) - 1)
			die("short write");
		gave[who] += (uint64_t)n;
	}
}

static void client(void)
{
	static struct msg reqs[N];
	struct msg res;
	char out[LEN + 1];

	side = side_new(connect_lo(), true);
	for (unsigned int i = 0; i < N + WINDOW; i++) {
		if (i < N) {
			req_fixed(&reqs[i], out, i);
			send_all(side, &io_plain, out, LEN);
		}
		if (i >= WINDOW && !recv_msg(side, &io_plain, &res))
			die("no response");
	}
	res = answer_msg();
	prog.hold = true;
	for (unsigned int i = 0; i < N; i++)
		tell_txn(side, &reqs[i], &res, "ok");
	finish(side);
}

static void server(int lfd)
{
	struct msg req, res = answer_msg();
	int who[2] = { 0, 1 };
	pthread_t th[2];
	char out[LEN + 1];

	side = side_new(accept_on(lfd), false);
	side->subset = true;
	side->allow = "race";
	for (int i = 0; i < 2; i++) {
		errno = pthread_create(&th[i], NULL, reader, &who[i]);
		if (errno)
			die("pthread_create");
	}
	for (int i = 0; i < 2; i++) {
		pthread_join(th[i], NULL);
		side->moved[RX] += got[i];
		side->moved[TX] += gave[i];
		side_tid(side, tid[i]);
	}
	prog.hold = true;
	for (unsigned int i = 0; i < N; i++) {
		req_fixed(&req, out, i);
		tell_txn(side, &req, &res, "ok");
	}
	finish(side);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 20);
	return run_pair(server, client, 20);
}
