/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sendfile.c: a body of 200 MB by sendfile(2): known length, bytes that never were in user memory.
 * The client throws it away unread (MSG_TRUNC), so that this is about sendfile alone.
 */
#include "common.h"
#include <sys/sendfile.h>

#define BODY (200ull << 20)

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	static char out[KEEP_MAX + 1024];
	struct msg req, res;

	s->end = "fin";
	send_all(s, &io_plain, out, req_make(&req, out, 0, 0, BODY));
	if (!recv_head(s, &res))
		die("no response");
	for (uint64_t left = res.body; left;) {
		ssize_t r = must(recv(s->fd, NULL, left, MSG_TRUNC));

		if (!r)
			die("end in the middle of a body");
		moved_gap(s, RX, (uint64_t)r, "msg_trunc", "msg_trunc");
		left -= (uint64_t)r;
	}
	tell_txn(s, &req, &res, "ok");
	ask(s, &io_plain, 1, 10, 100);
	finish(s);
}

static void server(int lfd)
{
	char name[] = "/tmp/osp-sendfile-XXXXXX", head[256];
	struct side *s = side_new(accept_on(lfd), false);
	int file = must(mkstemp(name));
	struct msg req, res;
	off_t at = 0;

	s->end = "fin";
	must(unlink(name));
	must(ftruncate(file, BODY));
	if (!recv_msg(s, &io_plain, &req))
		die("no request");
	send_all(s, &io_plain, head, res_head(&res, head, sizeof(head), 200, BODY));
	while ((uint64_t)at < BODY) {
		ssize_t r = must(sendfile(s->fd, file, &at, BODY - (uint64_t)at));

		moved_gap(s, TX, (uint64_t)r, "sendfile", "sendfile");
	}
	tell_txn(s, &req, &res, "ok");
	serve(s, &io_plain);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 20);
	return run_pair(server, client, 20);
}
