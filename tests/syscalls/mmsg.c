/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mmsg.c: sendmmsg(2), recvmmsg(2). Several requests in one call, each in several iovecs; a
 * recvmmsg that is asked for more messages than there is data for and gives fewer.
 */
#include "common.h"

#define MSGS 5
#define VECS 3

/* Cuts p into MSGS messages of VECS pieces, sends all with one call, returns the sum. */
static ssize_t tx_mmsg(int fd, const void *p, size_t n)
{
	struct iovec v[MSGS][VECS];
	struct mmsghdr m[MSGS] = { 0 };
	size_t at = 0, total = 0;
	int r;

	for (int i = 0; i < MSGS; i++) {
		for (int j = 0; j < VECS; j++) {
			size_t end = n * (size_t)(i * VECS + j + 1) / (MSGS * VECS);

			v[i][j] = (struct iovec){ (char *)p + at, end - at };
			at = end;
		}
		m[i].msg_hdr.msg_iov = v[i];
		m[i].msg_hdr.msg_iovlen = VECS;
	}
	r = must(sendmmsg(fd, m, MSGS, 0));
	for (int i = 0; i < r; i++)
		total += m[i].msg_len;
	return (ssize_t)total;
}

/* Eight messages of 40 + 60 bytes: what has arrived rarely fills them. */
static ssize_t rx_mmsg(int fd, void *p, size_t n)
{
	struct iovec v[8][2];
	struct mmsghdr m[8] = { 0 };
	size_t total = 0;
	int r;

	if (n < 800)
		return read(fd, p, n);
	for (int i = 0; i < 8; i++) {
		v[i][0] = (struct iovec){ (char *)p + i * 100, 40 };
		v[i][1] = (struct iovec){ (char *)p + i * 100 + 40, 60 };
		m[i].msg_hdr.msg_iov = v[i];
		m[i].msg_hdr.msg_iovlen = 2;
		m[i].msg_len = 12345;	/* stale: not to be believed beyond what is returned */
	}
	r = recvmmsg(fd, m, 8, MSG_WAITFORONE, NULL);
	if (r <= 0)
		return r;
	for (int i = 0; i < r; i++) {
		memmove((char *)p + total, (char *)p + i * 100, m[i].msg_len);
		total += m[i].msg_len;
	}
	return (ssize_t)total;
}

static const struct io io_mmsg = { tx_mmsg, rx_mmsg };

/* Ten requests in one sendmmsg: messages end in the middle of requests. */
static void client(void)
{
	struct side *s = side_new(connect_lo(), true);
	static char out[KEEP_MAX];
	struct msg req[10], res;
	size_t n = 0;

	for (unsigned int i = 0; i < 10; i++)
		n += req_make(&req[i], out + n, i, i % 3 * 10, i);
	send_all(s, &io_mmsg, out, n);
	for (int i = 0; i < 10; i++) {
		if (!recv_msg(s, &io_mmsg, &res))
			die("no response");
		tell_txn(s, &req[i], &res, "ok");
	}
	finish(s);
	client_std(&io_mmsg);
}

static void server(int lfd)
{
	for (int i = 0; i < 2; i++) {
		struct side *s = side_new(accept_on(lfd), false);

		serve(s, &io_mmsg);
		finish(s);
	}
}

int main(int argc, char **argv)
{
	begin(argc, argv, 10);
	return run_pair(server, client, 10);
}
