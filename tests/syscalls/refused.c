/* SPDX-License-Identifier: GPL-3.0-or-later */
/* refused.c: a connect that is refused and one that is never answered (the listener's queue is
 * full) leave no record; the connection that fills the queue carries nothing.
 */
#include "common.h"

int main(int argc, char **argv)
{
	struct side *cli, *srv;
	struct sockaddr_storage ss;
	socklen_t len;
	int lfd, fd;

	begin(argc, argv, 10);
	len = addr_of(&ss, "127.0.0.1", prog.port + 1);
	fd = must(socket(AF_INET, SOCK_STREAM, 0));
	if (connect(fd, (struct sockaddr *)&ss, len) != -1 || errno != ECONNREFUSED)
		die("not refused");
	must(close(fd));
	emit("{\"none\":%u}", prog.port + 1u);

	lfd = listen_on("127.0.0.1", prog.port, 0);
	cli = side_new(connect_lo(), true);
	len = addr_of(&ss, "127.0.0.1", prog.port);
	fd = must(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
	if (connect(fd, (struct sockaddr *)&ss, len) != -1 || errno != EINPROGRESS)
		die("answered at once");
	if (poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 300))
		die("the full queue took it");
	must(close(fd));
	srv = side_new(accept_on(lfd), false);
	cli->idle = srv->idle = true;
	cli->end = srv->end = "fin";
	finish(cli);
	finish(srv);
	return 0;
}
