/* SPDX-License-Identifier: GPL-3.0-or-later */
/* readv_writev.c: readv(2), writev(2) over three uneven pieces of memory that do not touch. */
#include "common.h"

static ssize_t tx_v(int fd, const void *p, size_t n)
{
	static char a[1 << 16], b[1 << 16];
	size_t na = n / 3, nb = n / 2 < sizeof(b) ? n / 2 : sizeof(b);
	struct iovec v[3];

	memcpy(a, p, na < sizeof(a) ? na : (na = sizeof(a)));
	if (na + nb > n)
		nb = n - na;
	memcpy(b, (const char *)p + na, nb);
	v[0] = (struct iovec){ a, na };
	v[1] = (struct iovec){ b, nb };
	v[2] = (struct iovec){ (char *)p + na + nb, n - na - nb };
	return writev(fd, v, 3);
}

static ssize_t rx_v(int fd, void *p, size_t n)
{
	static char a[7], b[100];
	struct iovec v[3] = { { a, sizeof(a) }, { b, sizeof(b) }, { p, n } };
	size_t na, nb;
	ssize_t r;

	if (n < 200)
		return read(fd, p, n);
	v[2].iov_len = n - sizeof(a) - sizeof(b);
	r = readv(fd, v, 3);
	if (r <= 0)
		return r;
	na = (size_t)r < sizeof(a) ? (size_t)r : sizeof(a);
	nb = (size_t)r - na < sizeof(b) ? (size_t)r - na : sizeof(b);
	memmove((char *)p + na + nb, p, (size_t)r - na - nb);
	memcpy(p, a, na);
	memcpy((char *)p + na, b, nb);
	return r;
}

MAIN_STD(tx_v, rx_v)
