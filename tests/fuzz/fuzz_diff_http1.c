/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_diff_http1.c: one direction, by llhttp alone and by us, in pieces. Messages that llhttp,
 * strict as it is, takes as complete must be ours too, with the same method or status and the same
 * number of body bytes. What llhttp refuses we may do with as docs/http.md says.
 *
 * And our quick reader of heads against the thorough one, which is llhttp with what we do beside it.
 *
 * Input: a byte (bit 0: responses; the rest: how it is cut), then the stream.
 */
#include "tests/fuzz/diff.h"
#include "tests/lib/heads.h"

#include <llhttp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *method_name(int method)
{
	return llhttp_method_name((llhttp_method_t)method);
}

static int on_body(llhttp_t *ll, const char *p, size_t n)
{
	struct seen *seen = ll->data;

	seen->body += n;
	seen->end = p + n;
	return 0;
}

/* In place of the line end behind a chunk llhttp, as it is built, takes any two bytes. */
static int on_chunk(llhttp_t *ll)
{
	struct seen *seen = ll->data;

	if (seen->end && memcmp(seen->end, "\r\n", 2))
		return -1;
	seen->end = NULL;
	return 0;
}

static int on_begin(llhttp_t *ll)
{
	struct seen *seen = ll->data;

	seen->body = 0;
	return 0;
}

/* Other protocols, and what leaves HTTP, are not compared. */
static int on_head(llhttp_t *ll)
{
	struct seen *seen = ll->data;

	if (ll->http_major != 1 || ll->upgrade || (ll->type == HTTP_REQUEST &&
	    (ll->method == HTTP_CONNECT || ll->method == HTTP_PRI || ll->method > HTTP_SOURCE)))
		seen->stop = true;
	if (ll->type == HTTP_RESPONSE && ll->status_code < 200)
		seen->stop = true;	/* interim ones are told otherwise */
	if (seen->stop)
		return -1;
	/* 1: no body (RFC 9112 6.3), which llhttp does not see for itself where it is chunked. */
	return ll->type == HTTP_RESPONSE && (ll->status_code == 204 || ll->status_code == 304);
}

static int on_done(llhttp_t *ll)
{
	struct seen *seen = ll->data;

	if (seen->n == MSGS)
		return -1;
	seen->msg[seen->n].body = seen->body;
	seen->msg[seen->n++].start = ll->type == HTTP_REQUEST ? (int)ll->method : ll->status_code;
	return 0;
}

static const llhttp_settings_t settings = {
	.on_message_begin = on_begin,
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_chunk_complete = on_chunk,
	.on_message_complete = on_done,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = { .n = 0 };
	bool responses;
	uint32_t len;
	llhttp_t ll;

	if (size < 2)
		return 0;
	responses = data[0] & 1;
	if (heads_differ(responses ? OSP_RES : OSP_REQ, (const char *)data + 1, (uint32_t)size - 1,
			 &len))
		abort();
	if (bare_cr(data + 1, size - 1) || (responses && odd_status(data + 1, size - 1)))
		return 0;
	llhttp_init(&ll, responses ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
	ll.data = &seen;
	llhttp_execute(&ll, (const char *)data + 1, size - 1);
	both_ways(data + 1, size - 1, 1 + (data[0] >> 1), &seen, responses);
	return 0;
}
