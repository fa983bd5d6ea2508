/* SPDX-License-Identifier: GPL-3.0-or-later */
/* spawn_child.c: the server answers once, then a child made by posix_spawn, or by vfork and exec,
 * goes on with the inherited socket.
 */
#include "common.h"
#include <spawn.h>

extern char **environ;

static char self[4096];

static void client(void)
{
	for (int c = 0; c < 2; c++) {
		struct side *s = side_new(connect_lo(), true);

		for (unsigned int i = 0; i < 3; i++)
			ask(s, &io_plain, i, 10, 20);
		finish(s);
	}
}

static pid_t by_vfork(char **argv)
{
	pid_t pid = vfork();

	if (!pid) {
		execv(self, argv);
		_exit(127);
	}
	return must(pid);
}

static pid_t by_posix_spawn(char **argv)
{
	pid_t pid;

	errno = posix_spawn(&pid, self, NULL, NULL, argv, environ);
	if (errno)
		die("posix_spawn");
	return pid;
}

static void server(int lfd)
{
	for (int c = 0; c < 2; c++) {
		struct side *s = side_new(accept_on(lfd), false);
		char port[8], fd[12], name[16];
		char *argv[] = { name, port, fd, NULL };
		struct msg req;
		pid_t pid;

		snprintf(name, sizeof(name), "%s", prog.name);
		snprintf(port, sizeof(port), "%u", prog.port);
		snprintf(fd, sizeof(fd), "%d", s->fd);
		s->part = true;
		if (!recv_msg(s, &io_plain, &req))
			die("no request");
		answer(s, &io_plain, &req);
		pid = c ? by_vfork(argv) : by_posix_spawn(argv);
		finish(s);
		reap(pid);
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	if (argc == 3) {
		struct side *s = side_new((int)strtol(argv[2], NULL, 10), false);

		s->part = true;
		serve(s, &io_plain);
		finish(s);
		return 0;
	}
	if (must(readlink("/proc/self/exe", self, sizeof(self) - 1)) <= 0)
		die("readlink");
	return run_pair(server, client, 10);
}
