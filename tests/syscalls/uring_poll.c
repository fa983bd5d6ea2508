/* SPDX-License-Identifier: GPL-3.0-or-later */
/* uring_poll.c: an io_uring receive on socket A that waits for data and completes in task work
 * while its thread is inside recv(2), then send(2), on socket B. The registers of that call must
 * not label A's bytes, nor A's bytes B's.
 */
#include "uring.h"

#define BODY 1000u
#define BIG (8u << 20)

static struct ring ring;
static int waiting[2];	/* the receive on A has been submitted */

/* A chunk a call, below the capture cap. */
static ssize_t tx_part(int fd, const void *p, size_t n)
{
	return send(fd, p, n < 200000 ? n : 200000, 0);
}

static ssize_t rx_part(int fd, void *p, size_t n)
{
	return recv(fd, p, n < 100000 ? n : 100000, 0);
}

static const struct io io_part = { tx_part, rx_part };

static void client(void)
{
	struct side *a = side_new(connect_lo(), true), *b = side_new(connect_lo(), true);
	static char out[KEEP_MAX + 1024], body[BODY];
	struct msg req[2], res;
	size_t n;
	char c;

	for (unsigned int i = 0; i < 2; i++) {
		send_all(a, &io_plain, out, req_head(&req[0], out, sizeof(out), i, BODY, 100));
		n = req_make(&req[1], out, i, 0, i ? BIG : 100);
		if (i)
			send_all(b, &io_plain, out, n);
		/* The server is blocked on B: receiving, or sending BIG. */
		must(read(waiting[0], &c, 1));
		wait_in_call(getppid(), i ? SYS_sendto : SYS_recvfrom);
		fill(body, BODY, i);
		send_all(a, &io_plain, body, BODY);
		while (!ring_ready(&ring))
			nap_ms(1);
		if (!i)
			send_all(b, &io_plain, out, n);
		if (!recv_msg(b, &io_part, &res))
			die("no response");
		tell_txn(b, &req[1], &res, "ok");
		if (!recv_msg(a, &io_plain, &res))
			die("no response");
		tell_txn(a, &req[0], &res, "ok");
	}
	finish(a);
	finish(b);
}

static void answer_big(struct side *s, const struct msg *req)
{
	char *out = malloc(BIG + 1024);
	struct msg res;

	if (!out)
		die("malloc");
	res_head(&res, out, 1024, 200, BIG);
	fill(out + res.head, BIG, 9);
	send_all(s, &io_part, out, res.head + BIG);
	tell_txn(s, req, &res, "ok");
	free(out);
}

static void server(int lfd)
{
	struct side *a = side_new(accept_on(lfd), false), *b = side_new(accept_on(lfd), false);
	static char body[BODY];
	struct msg req[2];
	int got;

	for (int i = 0; i < 2; i++) {
		if (!recv_head(a, &req[0]))
			die("no request");
		ring_submit(&ring, IORING_OP_RECV, a->fd, body, BODY);
		if (ring_done(&ring, &got))
			die("the receive did not wait");
		must(write(waiting[1], "x", 1));
		if (!recv_msg(b, &io_part, &req[1]))
			die("no request");
		if (i)
			answer_big(b, &req[1]);
		if (!ring_done(&ring, &got) || got != (int)BODY)
			die("not completed while in another call");
		moved_gap(a, RX, BODY, "io_uring", "bypass");
		if (!i)
			answer(b, &io_plain, &req[1]);
		answer(a, &io_plain, &req[0]);
	}
	serve(a, &io_plain);
	serve(b, &io_plain);
	finish(a);
	finish(b);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 15);
	must(pipe(waiting));
	if (!ring_open(&ring))
		skip("no io_uring");
	return run_pair(server, client, 15);
}
