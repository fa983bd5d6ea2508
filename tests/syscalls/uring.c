/* SPDX-License-Identifier: GPL-3.0-or-later */
/* uring.c: bodies by io_uring send and receive that complete inside io_uring_enter; heads by read
 * and write.
 */
#include "uring.h"

#define BODY 30000u

static struct ring ring;
static char body[BODY];

static void body_out(struct side *s, unsigned int i)
{
	fill(body, BODY, i);
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

static const struct bodies bodies = { BODY, body_out, body_in };

static void client(void)
{
	if (!ring_open(&ring))
		die("io_uring_setup");
	client_bodies(&bodies);
}

static void server(int lfd)
{
	server_bodies(lfd, &bodies);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	if (!ring_open(&ring))
		skip("no io_uring");
	return run_pair(server, client, 10);
}
