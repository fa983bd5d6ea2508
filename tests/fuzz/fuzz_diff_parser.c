/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_diff_parser.c: as fuzz_diff_http1.c, held against http_parser (Debian's libhttp-parser-dev),
 * which is older than llhttp and not generated: what it takes as complete must be ours too, with
 * the same method or status and the same number of body bytes.
 *
 * Input: a byte (bit 0: responses; the rest: how it is cut), then the stream.
 */
#include "tests/fuzz/diff.h"

#include <http_parser.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *method_name(int method)
{
	return http_method_str((enum http_method)method);
}

static int on_body(http_parser *hp, const char *p, size_t n)
{
	struct seen *seen = hp->data;

	seen->body += n;
	return 0;
}

static int on_begin(http_parser *hp)
{
	struct seen *seen = hp->data;

	seen->body = 0;
	seen->start = seen->end;
	return 0;
}

/* Debian builds it without its strict checks: then HTT=/1.1 is a version, 0000204 a status ... */
static bool odd_start(const http_parser *hp, const struct seen *seen)
{
	const char *nl = strchr(seen->start, '\n'), *p = strchr(seen->start, ' ');

	if (hp->type == HTTP_RESPONSE)
		return strncmp(seen->start, "HTTP/", 5) || !p ||
		       strspn(p + strspn(p, " "), "0123456789") != 3;
	return !nl || !memmem(seen->start, (size_t)(nl - seen->start), " HTTP/1.", 8);
}

/* ... a byte above ASCII is the digit 0 of a chunk's size, LF is part of a chunk's extension (to us,
 * a line's end: RFC 9112 2.2) ...
 */
static int on_size(http_parser *hp)
{
	struct seen *seen = hp->data;
	const char *p;

	for (p = seen->line; p < seen->end && !(*p & 0x80) && *p != '\n'; p++)
		;
	return p < seen->end;
}

/* ... and any two bytes end a chunk. */
static int on_chunk(http_parser *hp)
{
	struct seen *seen = hp->data;

	seen->line = seen->end + 1;
	return !(hp->flags & F_TRAILING) && memcmp(seen->end - 1, "\r\n", 2) ? -1 : 0;
}

/* Other protocols, and what leaves HTTP, are not compared; interim responses are told otherwise. */
static int on_head(http_parser *hp)
{
	struct seen *seen = hp->data;

	seen->line = seen->end + 1;
	seen->stop = odd_start(hp, seen) || hp->http_major != 1 || hp->upgrade ||
		     (hp->type == HTTP_REQUEST && hp->method == HTTP_CONNECT) ||
		     (hp->type == HTTP_RESPONSE && hp->status_code < 200);
	if (seen->stop)
		return -1;
	/* 1: no body (RFC 9112 6.3), which http_parser does not see for itself where it is chunked. */
	return hp->type == HTTP_RESPONSE && (hp->status_code == 204 || hp->status_code == 304);
}

static int on_done(http_parser *hp)
{
	struct seen *seen = hp->data;

	if (seen->n == MSGS)
		return -1;
	seen->msg[seen->n].body = seen->body;
	seen->msg[seen->n++].start = hp->type == HTTP_REQUEST ? (int)hp->method : (int)hp->status_code;
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_begin,
	.on_headers_complete = on_head,
	.on_body = on_body,
	.on_message_complete = on_done,
	.on_chunk_header = on_size,
	.on_chunk_complete = on_chunk,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = { .n = 0 };
	http_parser hp;
	bool responses;
	char *text;
	size_t i;

	if (size < 2 || bare_cr(data + 1, size - 1) || odd_status(data + 1, size - 1))
		return 0;
	text = calloc(1, size);	/* with a zero behind it, for odd_start() */
	if (!text)
		abort();
	memcpy(text, data + 1, size - 1);
	responses = data[0] & 1;
	http_parser_init(&hp, responses ? HTTP_RESPONSE : HTTP_REQUEST);
	hp.data = &seen;
	/* Byte by byte: the callbacks that tell no place are where seen.end is. */
	for (i = 0; i < size - 1 && !hp.http_errno; i++) {
		seen.end = text + i;
		http_parser_execute(&hp, &settings, seen.end, 1);
	}
	free(text);
	both_ways(data + 1, size - 1, 1 + (data[0] >> 1), &seen, responses);
	return 0;
}
