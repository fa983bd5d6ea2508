/* SPDX-License-Identifier: GPL-3.0-or-later */
/* uring.c: bodies by io_uring send and receive that complete inside io_uring_enter; heads by read
 * and write.
 */
#include "uring.h"

#define BODY 30000u

static struct ring ring;
static char body[BODY];

static void body_out(struct side *s)
{
	for (size_t left = BODY; left;) {
		int r;

		ring_submit(&ring, IORING_OP_SEND, s->fd, body, left);
		r = ring_wait(&ring);
		moved_gap(s, TX, (uint64_t)r, "io_uring", "bypass");
		left -= (size_t)r;
	}
}

static void body_in(struct side *s)
{
	int r;

	wait_queued(s->fd, BODY);
	ring_submit(&ring, IORING_OP_RECV, s->fd, body, BODY);
	r = ring_wait(&ring);
	if (r != (int)BODY)
		die("io_uring received %d", r);
	moved_gap(s, RX, BODY, "io_uring", "bypass");
}

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	struct msg req, res;
	char head[256];

	if (!ring_open(&ring))
		die("io_uring_setup");
	for (unsigned int i = 0; i < 3; i++) {
		fill(body, BODY, i);
		send_all(s, &io_plain, head, req_head(&req, head, sizeof(head), i, BODY, BODY));
		body_out(s);
		if (!recv_head(s, &res))
			die("no response");
		body_in(s);
		tell_txn(s, &req, &res, "ok");
	}
	ask(s, &io_plain, 3, 10, 100);
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req, res;
	char head[256];

	for (unsigned int i = 0; i < 3; i++) {
		if (!recv_head(s, &req))
			die("no request");
		body_in(s);
		send_all(s, &io_plain, head, res_head(&res, head, sizeof(head), 200, BODY));
		body_out(s);
		tell_txn(s, &req, &res, "ok");
	}
	serve(s, &io_plain);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	if (!ring_open(&ring))
		skip("no io_uring");
	return run_pair(server, client, 10);
}
