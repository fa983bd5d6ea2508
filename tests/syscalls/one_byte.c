/* SPDX-License-Identifier: GPL-3.0-or-later */
/* one_byte.c: one byte a call, both ways. */
#include "common.h"

static ssize_t tx_one(int fd, const void *p, size_t n) { return write(fd, p, n < 1 ? n : 1); }
static ssize_t rx_one(int fd, void *p, size_t n) { return read(fd, p, n < 1 ? n : 1); }
static const struct io io_one = { tx_one, rx_one };

static void client(void)
{
	struct side *s = side_new(connect_lo(), true);

	for (unsigned int i = 0; i < 3; i++)
		ask(s, &io_one, i, i * 100, 200);
	finish(s);
}

static void server(int lfd)
{
	struct side *s = side_new(accept_on(lfd), false);

	serve(s, &io_one);
	finish(s);
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
