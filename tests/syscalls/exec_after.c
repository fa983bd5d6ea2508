/* SPDX-License-Identifier: GPL-3.0-or-later */
/* exec_after.c: the client becomes another program in the middle of its connection: same pid, same
 * socket, another name from then on.
 */
#include "common.h"

static char self[4096];

static void client(void)
{
	char dir[] = "/tmp/osp-exec-XXXXXX", link[64], port[8], fd[12];
	struct side *s = side_new(connect_lo(), true);

	s->part = true;
	ask(s, &io_plain, 0, 10, 100);
	tell_side(s);
	if (!mkdtemp(dir))
		die("mkdtemp");
	snprintf(link, sizeof(link), "%s/osp-execed", dir);
	snprintf(port, sizeof(port), "%u", prog.port);
	snprintf(fd, sizeof(fd), "%d", s->fd);
	must(symlink(self, link));
	execl(link, prog.name, port, fd, dir, (char *)NULL);
	die("exec");
}

static void execed(int fd, const char *dir)
{
	struct side *s = side_new(fd, true);
	char link[64];

	snprintf(link, sizeof(link), "%s/osp-execed", dir);
	must(unlink(link));
	must(rmdir(dir));
	s->part = true;
	ask(s, &io_plain, 1, 10, 100);
	ask(s, &io_plain, 2, 10, 100);
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);

	serve(s, &io_plain);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	if (argc == 4) {
		execed((int)strtol(argv[2], NULL, 10), argv[3]);
		return 0;
	}
	if (must(readlink("/proc/self/exe", self, sizeof(self) - 1)) <= 0)
		die("readlink");
	return run_pair(server, client, 10);
}
