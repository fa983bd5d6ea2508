/* SPDX-License-Identifier: GPL-3.0-or-later */
/* over_4g.c: more than 4 GiB on one connection: sequence numbers wrap, and a transaction after that
 * is as exact as one before. The body is the same 64 MiB of nothing again and again by sendfile,
 * and is thrown away unread (MSG_TRUNC).
 */
#include "common.h"
#include <sys/sendfile.h>

#define PART (64ull << 20)
#define BODY (70 * PART)

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	static char out[KEEP_MAX + 1024];
	struct msg req, res;

	send_all(s, &io_plain, out, req_make(&req, out, 0, 0, BODY));
	if (!recv_head(s, &res))
		die("no response");
	for (uint64_t left = res.body; left;) {
		ssize_t r = must(recv(s->fd, NULL, left < PART ? left : PART, MSG_TRUNC));

		if (!r)
			die("end in the middle of a body");
		moved_gap(s, RX, (uint64_t)r, "msg_trunc", "msg_trunc");
		left -= (uint64_t)r;
	}
	tell_txn(s, &req, &res, "ok");
	ask(s, &io_plain, 1, 1000, 2000);
	finish(s);
}

static void server(int lfd)
{
	char name[] = "/tmp/osp-4g-XXXXXX", head[256];
	struct side *s = side_new(accept_on(lfd), false);
	int file = must(mkstemp(name));
	struct msg req, res;

	must(unlink(name));
	must(ftruncate(file, PART));
	if (!recv_msg(s, &io_plain, &req))
		die("no request");
	send_all(s, &io_plain, head, res_head(&res, head, sizeof(head), 200, BODY));
	for (uint64_t left = BODY; left;) {
		off_t at = (off_t)((BODY - left) % PART);
		ssize_t r = must(sendfile(s->fd, file, &at, PART - (uint64_t)at));

		moved_gap(s, TX, (uint64_t)r, "sendfile", "sendfile");
		left -= (uint64_t)r;
	}
	tell_txn(s, &req, &res, "ok");
	serve(s, &io_plain);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 40);
	return run_pair(server, client, 40);
}
