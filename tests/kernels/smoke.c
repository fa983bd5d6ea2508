// SPDX-License-Identifier: GPL-3.0-or-later
/* smoke.c: traffic for a guest that has nothing but this and the agent: one keep-alive connection
 * over loopback with small exchanges, a long response in one call and one in many, a request written
 * a byte an element, and a body by sendfile. tests/kernels/guest.sh knows what records that makes.
 *
 *   smoke PORT
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LONG 8000000
#define FILE_BYTES 50000
#define PIECES 80

static const char request[] = "GET /x HTTP/1.1\r\nHost: x\r\n\r\n";
static const char small[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
static const char long_head[] = "HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n";
static const char file_head[] = "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n";
static char body[sizeof(long_head) - 1 + LONG];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void put(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t done = send(fd, p, n, MSG_NOSIGNAL);

		if (done <= 0)
			die("send");
		p += done;
		n -= (size_t)done;
	}
}

static void take(int fd, size_t n)
{
	static char buf[1 << 20];

	while (n) {
		ssize_t done = recv(fd, buf, n < sizeof(buf) ? n : sizeof(buf), 0);

		if (done <= 0)
			die("recv");
		n -= (size_t)done;
	}
}

/* Long enough for an agent to look between the pieces. */
static void put_slowly(int fd)
{
	static const struct timespec pause = { .tv_nsec = 10000000 };

	put(fd, long_head, sizeof(long_head) - 1);
	for (int i = 0; i < PIECES; i++) {
		put(fd, body + sizeof(long_head) - 1, LONG / PIECES);
		nanosleep(&pause, NULL);
	}
}

static void put_file(int fd)
{
	int file = memfd_create("smoke", 0);
	off_t at = 0;

	if (file < 0 || ftruncate(file, FILE_BYTES))
		die("memfd");
	put(fd, file_head, sizeof(file_head) - 1);
	while (at < FILE_BYTES)
		if (sendfile(fd, file, &at, (size_t)(FILE_BYTES - at)) <= 0)
			die("sendfile");
	close(file);
}

static void serve(int lis)
{
	int fd = accept(lis, NULL, NULL);

	if (fd < 0)
		die("accept");
	for (int i = 0; i < 5; i++) {
		take(fd, sizeof(request) - 1);
		if (i == 0)
			put(fd, body, sizeof(body));
		else if (i == 1)
			put_slowly(fd);
		else if (i == 2)
			put_file(fd);
		else
			put(fd, small, sizeof(small) - 1);
	}
	close(fd);
	exit(0);
}

static void ask(int fd, size_t want)
{
	put(fd, request, sizeof(request) - 1);
	take(fd, want);
}

static void ask_in_pieces(int fd)
{
	struct iovec iov[sizeof(request) - 1];

	for (size_t i = 0; i < sizeof(request) - 1; i++)
		iov[i] = (struct iovec){ (void *)(request + i), 1 };
	if (writev(fd, iov, sizeof(request) - 1) != sizeof(request) - 1)
		die("writev");
	take(fd, sizeof(small) - 1);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int lis = socket(AF_INET, SOCK_STREAM, 0), fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

	if (argc != 2 || lis < 0 || fd < 0)
		return 2;
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	addr.sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10));
	memset(body, 'x', sizeof(body));
	memcpy(body, long_head, sizeof(long_head) - 1);
	if (setsockopt(lis, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(lis, (struct sockaddr *)&addr, sizeof(addr)) || listen(lis, 1))
		die("listen");
	if (!fork())
		serve(lis);
	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("connect");
	ask(fd, sizeof(body));
	ask(fd, sizeof(long_head) - 1 + LONG);
	ask(fd, sizeof(file_head) - 1 + FILE_BYTES);
	ask(fd, sizeof(small) - 1);
	ask_in_pieces(fd);
	close(fd);
	wait(NULL);
	return 0;
}
