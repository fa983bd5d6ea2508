/* SPDX-License-Identifier: GPL-3.0-or-later */
/* efault.c: buffers that can't be read or written. A call that fails with EFAULT moved nothing; one
 * that stops half-way moved what it says.
 */
#include "common.h"
#include <sys/mman.h>

static char *page;		/* readable and writable; the page after it is not */

static void bad_calls(int fd)
{
	if (write(fd, page + 4096, 100) != -1 || errno != EFAULT)
		die("write from a forbidden page");
	if (writev(fd, &(struct iovec){ page + 4096, 100 }, 1) != -1 || errno != EFAULT)
		die("writev from a forbidden page");
	if (send(fd, (void *)8, 100, 0) != -1 || errno != EFAULT)
		die("send from nowhere");
}

/* Ends at the edge of the forbidden page, and offers more than there is. */
static ssize_t tx_edge(int fd, const void *p, size_t n)
{
	size_t take = n < 4096 ? n : 4096;
	ssize_t r;

	bad_calls(fd);
	memcpy(page + 4096 - take, p, take);
	r = write(fd, page + 4096 - take, take + 50);
	if (r < 0 && errno == EFAULT)
		r = write(fd, page + 4096 - take, take);
	return r;
}

static ssize_t rx_edge(int fd, void *p, size_t n)
{
	size_t take = n < 4096 ? n : 4096;
	ssize_t r;

	wait_ready(fd, POLLIN);
	if (read(fd, page + 4096, take) > 0)
		die("read into a forbidden page");
	r = read(fd, page + 4096 - take, take);
	if (r > 0)
		memcpy(p, page + 4096 - take, (size_t)r);
	return r;
}

static const struct io io_edge = { tx_edge, rx_edge };

static void client(void) { client_std(&io_edge); }
static void server(int lfd) { server_std(lfd, &io_edge); }

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		die("mmap");
	must(mprotect(page + 4096, 4096, PROT_NONE));
	return run_pair(server, client, 10);
}
