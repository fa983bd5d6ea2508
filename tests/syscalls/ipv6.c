/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ipv6.c: ::1, and a v4-mapped connection whose client is IPv4 while its server's socket is IPv6:
 * both ends must name the same addresses.
 */
#include "common.h"

static void client_at(const char *ip)
{
	struct side *s = side_new(connect_to(ip, prog.port), true);

	for (unsigned int i = 0; i < 3; i++)
		ask(s, &io_plain, i, 10, 200);
	finish(s);
}

static void client(void)
{
	client_at("::1");
	client_at("127.0.0.1");
	client_at("::ffff:127.0.0.1");
}

int main(int argc, char **argv)
{
	char comm[16];
	int lfd, fd;
	pid_t pid;

	begin(argc, argv, 10);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	if (fd < 0)
		skip("no IPv6");
	close(fd);
	lfd = listen_on("::", prog.port, 16);
	client_comm(comm);
	pid = spawn(client, comm, 10);
	for (int i = 0; i < 3; i++) {
		struct side *s = side_new(accept_on(lfd), false);

		serve(s, &io_plain);
		finish(s);
	}
	reap(pid);
	return 0;
}
