/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_http1_fast.c: the quick reader of heads against the thorough one: heads of all kinds, cut at
 * every byte, with every byte replaced, taken out or doubled. Each lies at the end of an allocation
 * of its own, so that a sanitizer sees a read beyond it.
 */
#include "tests/lib/heads.h"
#include "tests/lib/tap.h"

struct sample {
	int kind;
	bool taken;
	const char *head;
};

#define H "Host: a.example\r\n"
static const struct sample samples[] = {
	{ OSP_REQ, true, "GET / HTTP/1.1\r\n\r\n" },
	{ OSP_REQ, true, "GET /a?b=c#d HTTP/1.0\r\n" H "\r\n" },
	{ OSP_REQ, true, "HEAD /x HTTP/1.1\r\nHOST: b\r\nhost: c\r\nX:\r\nY:   \r\nZ: a  b  \r\n\r\n" },
	{ OSP_REQ, true, "DELETE /x HTTP/1.1\r\n" H "User-Agent: curl/8.5.0\r\nAccept: */*\r\n"
			 "Traceparent: 00-01-02-03\r\nX-Request-ID: 77\r\nCONNECTION: close\r\n\r\n" },
	{ OSP_REQ, true, "POST /x HTTP/1.1\r\n" H "Content-Type: text/plain; charset=utf-8\r\n"
			 "Content-Encoding: gzip\r\nContent-Length: 0005 \r\n\r\nabcde" },
	{ OSP_REQ, true, "PUT /x HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n" },
	{ OSP_REQ, true, "PATCH /x HTTP/1.1\r\nX-Name: caf\303\251 \377\r\n" H "\r\n" },
	{ OSP_REQ, true, "OPTIONS /%41 HTTP/1.1\r\nProxy-Connection: keep-alive\r\n\r\n" },
	{ OSP_RES, true, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi" },
	{ OSP_RES, true, "HTTP/1.0 404\r\nServer: x\r\nDate: now\r\n\r\n" },
	{ OSP_RES, true, "HTTP/1.1 304  Not   Modified  \r\nETag: \"x\"\r\n\r\n" },
	{ OSP_RES, true, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n" },
	{ OSP_RES, true, "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nContent-Type: a/b\r\n\r\n" },
	{ OSP_REQ, false, "GET / HTTP/1.1\r\n" H "Content-Length: 1\r\nContent-Length: 1\r\n\r\n" },
	{ OSP_REQ, false, "GET / HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n" },
	{ OSP_REQ, false, "GET / HTTP/1.1\r\n" H "Upgrade: websocket\r\n\r\n" },
	{ OSP_REQ, false, "GET / HTTP/1.1\r\n" H " folded\r\n\r\n" },
	{ OSP_REQ, false, "GET http://a/ HTTP/1.1\r\n" H "\r\n" },
	{ OSP_REQ, false, "CONNECT a:1 HTTP/1.1\r\n" H "\r\n" },
	{ OSP_REQ, false, "GET / HTTP/1.1\n\n\r\n\r\n" },
	{ OSP_RES, false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" },
	{ OSP_RES, false, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ OSP_RES, false, "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n" },
	{ OSP_RES, false, "HTTP/1.1 099 OK\r\n" H "\r\n" },
};

static const unsigned char bytes[] = "\0\t\n\v\r !\"#'(,-./059:;?@AHZ[\\^_`ahz{|~\177\200\303\377";

static char *own(const char *p, size_t n)
{
	char *copy = malloc(n ? n : 1);

	if (!copy)
		abort();
	memcpy(copy, p, n);
	return copy;
}

/* What is said of p by one who looks at n bytes of it, and of one of the other kind. */
static const char *check(int kind, const char *p, size_t n, uint32_t *len)
{
	char *copy = own(p, n);
	const char *why = heads_differ(!kind, copy, (uint32_t)n, len);

	if (!why)
		why = heads_differ(kind, copy, (uint32_t)n, len);
	free(copy);
	return why;
}

static unsigned int cuts(const struct sample *s, uint32_t whole)
{
	size_t n = strlen(s->head), i;
	unsigned int bad = 0;
	uint32_t len;

	for (i = 0; i < n; i++)
		bad += check(s->kind, s->head, i, &len) || len != (i < whole ? 0 : whole);
	return bad;
}

/* One byte replaced, one taken out, one put in. */
static unsigned int mutants(const struct sample *s)
{
	size_t n = strlen(s->head), i, b;
	unsigned int bad = 0;
	char buf[512];
	uint32_t len;

	for (i = 0; i < n; i++) {
		for (b = 0; b < sizeof(bytes) - 1; b++) {
			memcpy(buf, s->head, n);
			buf[i] = (char)bytes[b];
			bad += check(s->kind, buf, n, &len) != NULL;
			memcpy(buf + i + 1, s->head + i, n - i);
			bad += check(s->kind, buf, n + 1, &len) != NULL;
		}
		memcpy(buf + i, s->head + i + 1, n - i - 1);
		bad += check(s->kind, buf, n - 1, &len) != NULL;
	}
	return bad;
}

/* More headers than there is room for, and as many. */
static void test_many(void)
{
	static char buf[64 + 8 * (OSP_HEADERS_MAX + 1)];
	uint32_t i, n, len;

	for (n = OSP_HEADERS_MAX; n <= OSP_HEADERS_MAX + 1; n++) {
		char *at = stpcpy(buf, "GET / HTTP/1.1\r\n");

		for (i = 0; i < n; i++)
			at = stpcpy(at, "Ab: c\r\n");
		at = stpcpy(at, "\r\n");
		ok(!check(OSP_REQ, buf, (size_t)(at - buf), &len), "%u headers", n);
		eq_int(len, n == OSP_HEADERS_MAX ? at - buf : 0, "which are taken if they fit");
	}
}

int main(void)
{
	size_t i;

	for (i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		const struct sample *s = &samples[i];
		uint32_t len;
		const char *why = check(s->kind, s->head, strlen(s->head), &len);

		ok(!why, "sample %zu: %s", i, why ? why : "both say the same");
		eq_int(len != 0, s->taken, "sample %zu is one for the quick reader or not", i);
		eq_int(cuts(s, len), 0, "sample %zu, cut", i);
		eq_int(mutants(s), 0, "sample %zu, one byte else", i);
	}
	test_many();
	return done();
}
