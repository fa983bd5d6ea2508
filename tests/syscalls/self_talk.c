/* SPDX-License-Identifier: GPL-3.0-or-later */
/* self_talk.c: one thread is both ends: same pid, same tid, opposite roles. */
#include "common.h"

int main(int argc, char **argv)
{
	static char out[KEEP_MAX + 1024];
	struct side *cli, *srv;
	struct msg req, got, res;
	int lfd;

	begin(argc, argv, 10);
	lfd = listen_lo();
	cli = side_new(connect_lo(), true);
	srv = side_new(accept_on(lfd), false);
	for (unsigned int i = 0; i < 5; i++) {
		send_all(cli, &io_plain, out, req_make(&req, out, i, 10, 300));
		if (!recv_msg(srv, &io_plain, &got))
			die("no request");
		answer(srv, &io_plain, &got);
		if (!recv_msg(cli, &io_plain, &res))
			die("no response");
		tell_txn(cli, &req, &res, "ok");
	}
	finish(cli);
	finish(srv);
	return 0;
}
