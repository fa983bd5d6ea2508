/* SPDX-License-Identifier: GPL-3.0-or-later */
/* scm_rights.c: an accepted socket is passed over a unix socket to a process that then serves it:
 * at once, or after the acceptor has answered the first request itself.
 */
#include "common.h"

static int chan[2];

static void fd_send(int fd)
{
	union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } u = { { 0 } };
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	must(sendmsg(chan[0], &m, 0));
}

static int fd_recv(void)
{
	union { char buf[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } u = { { 0 } };
	char x;
	struct iovec v = { &x, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = u.buf,
			    .msg_controllen = sizeof(u.buf) };
	int fd;

	if (must(recvmsg(chan[1], &m, 0)) != 1 || !CMSG_FIRSTHDR(&m))
		die("no fd came");
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static void worker(void)
{
	for (int i = 0; i < 2; i++) {
		struct side *s = side_new(fd_recv(), false);

		s->part = i == 1;
		serve(s, &io_plain);
		finish(s);
	}
}

static void client(void)
{
	for (int c = 0; c < 2; c++) {
		struct side *s = side_new(connect_lo(), true);

		for (unsigned int i = 0; i < 3; i++)
			ask(s, &io_plain, i, 10, 20);
		finish(s);
	}
}

static void server(int lfd)
{
	struct side *s;
	struct msg req;
	pid_t pid;
	int fd;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, chan));
	pid = spawn(worker, "scm-worker", 10);
	fd = accept_on(lfd);
	fd_send(fd);
	must(close(fd));
	s = side_new(accept_on(lfd), false);
	s->part = true;
	if (!recv_msg(s, &io_plain, &req))
		die("no request");
	answer(s, &io_plain, &req);
	fd_send(s->fd);
	finish(s);
	reap(pid);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
