/* SPDX-License-Identifier: GPL-3.0-or-later */
/* synth_http.c: makes HTTP/1 messages and knows exactly what it made.
 *
 * Heads are put together from constant pieces without printf: the generator has to be faster than
 * all that it measures. Each message names its transaction (target, X-Txn), so a pair that was
 * crossed on the way shows.
 */
#include "agent/synth.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* Longest head, generously: the pieces below come to less than 700 bytes. */
#define HEAD_MAX 1024
/* Longest chunk-size line with an extension, and its CRLF after the data. */
#define CHUNK_FRAME_MAX 32
/* More than a network read, so that chunks span events, and little enough to be many. */
#define CHUNK_MAX 8192
/* Bodies start somewhere in the first part of the block, so that they differ. */
#define BLOCK_SPARE 4096
/* xxh64 of nothing. */
#define DIGEST_EMPTY 0xef46db3751d8e999ull

struct literal {
	const char *s;
	size_t n;
};
#define LITERAL(text) { text, sizeof(text) - 1 }

static const struct literal queries[] = {
	LITERAL(""),
	LITERAL("?"),
	LITERAL("?page=2"),
	LITERAL("?q=a+b&lang=en"),
	LITERAL("?id=550e8400-e29b-41d4-a716-446655440000"),
	LITERAL("?filter=%7B%22state%22%3A%22open%22%7D&sort=-created,name&limit=50"),
	LITERAL("?utm_source=mail&utm_medium=link&utm_campaign=spring&ref=https%3A%2F%2F"
		"example.test%2Fa%2Fb%3Fc%3Dd&session=abcdefghijklmnopqrstuvwxyz0123456789"),
	LITERAL("?a[]=1&a[]=2&a[]=3;x=y&z"),
};
#define QUERIES (sizeof(queries) / sizeof(queries[0]))

static const struct literal agents[] = {
	LITERAL("User-Agent: synth/1.0\r\nAccept: */*\r\n"),
	LITERAL("User-Agent: curl/8.5.0\r\nAccept: */*\r\n"),
	LITERAL("User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
		"\r\nAccept: text/html,application/xhtml+xml,*/*;q=0.8\r\n"
		"Accept-Language: en\r\nCookie: sid=0123456789abcdef\r\n"),
	LITERAL("User-Agent: Go-http-client/1.1\r\n"),
};

struct status {
	uint16_t code;
	struct literal line;
};
#define STATUS(code, text) { code, LITERAL("HTTP/1.1 " #code " " text "\r\nServer: synth\r\n") }
/* Mostly 200; the rare ones are those whose framing or pairing differs. */
static const struct status statuses[] = {
	STATUS(200, "OK"), STATUS(200, "OK"), STATUS(200, "OK"), STATUS(200, "OK"),
	STATUS(200, "OK"), STATUS(200, "OK"), STATUS(200, "OK"), STATUS(200, "OK"),
	STATUS(201, "Created"), STATUS(204, "No Content"), STATUS(302, "Found"),
	STATUS(304, "Not Modified"), STATUS(404, "Not Found"), STATUS(400, "Bad Request"),
	STATUS(500, "Internal Server Error"), STATUS(503, "Service Unavailable"),
};
#define STATUSES (sizeof(statuses) / sizeof(statuses[0]))

char *synth_put_u64(char *p, uint64_t v)
{
	char tmp[20];
	int n = sizeof(tmp);

	do {
		tmp[--n] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return synth_put(p, tmp + n, sizeof(tmp) - (size_t)n);
}

static char *put_hex(char *p, uint32_t v)
{
	int shift = 28;

	while (shift && !(v >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*p++ = "0123456789abcdef"[v >> shift & 15];
	return p;
}

char *synth_put_target(char *p, const struct synth_txn *txn, bool with_query)
{
	p = synth_put(p, SYNTH_LIT("/c"));
	p = synth_put_u64(p, txn->conn);
	p = synth_put(p, SYNTH_LIT("/t"));
	p = synth_put_u64(p, txn->n);
	return with_query ? synth_put(p, queries[txn->query].s, queries[txn->query].n) : p;
}

/* Room for n more bytes. Grows by doubling, so a steady run does not allocate. */
static int burst_room(struct synth_burst *burst, size_t n)
{
	size_t cap = burst->cap ? burst->cap : 4096;
	uint8_t *mem;

	if (burst->cap - burst->len >= n && burst->cap)
		return 0;
	while (cap - burst->len < n)
		cap *= 2;
	if (cap > UINT32_MAX / 2)
		return -ENOMEM;
	mem = realloc(burst->mem, SYNTH_ROOM + cap);
	if (!mem)
		return -ENOMEM;
	burst->mem = mem;
	burst->cap = (uint32_t)cap;
	return 0;
}

static char *burst_at(const struct synth_burst *burst)
{
	return (char *)burst->mem + SYNTH_ROOM + burst->len;
}

/* The bytes up to p belong to that part of txn. */
static void burst_span(struct synth_burst *burst, const char *p, struct synth_txn *txn,
		       enum synth_part part)
{
	uint32_t to = (uint32_t)(p - ((char *)burst->mem + SYNTH_ROOM));

	if (to == burst->len)
		return;
	burst->span[burst->span_n++] = (struct synth_span){
		.from = burst->len, .to = to, .txn = txn, .part = (uint8_t)part,
		.end = burst->end,
	};
	burst->len = to;
}

static void burst_stop(struct synth_burst *burst)
{
	burst->stop[burst->stop_n++] = burst->len;
}

int synth_maker_init(struct synth_maker *mk, const struct synth_spec *spec, struct synth_rng *rng)
{
	uint64_t v;

	mk->spec = spec;
	mk->rng = rng;
	mk->digests = spec->truth != NULL;
	mk->block_len = (uint32_t)((spec->body_max + BLOCK_SPARE + 7) & ~7ull);
	mk->block = malloc(mk->block_len);
	if (!mk->block)
		return -ENOMEM;
	/* Any byte can occur in a body; a message start only by a chance of 2^-64. */
	for (uint32_t at = 0; at < mk->block_len; at += sizeof(v)) {
		v = synth_rand(rng);
		memcpy(mk->block + at, &v, sizeof(v));
	}
	return 0;
}

/* Draws a body's size and place. */
static void draw_body(struct synth_maker *mk, struct synth_half *half)
{
	const struct synth_spec *spec = mk->spec;

	half->body = spec->body_min + synth_below(mk->rng, spec->body_max - spec->body_min + 1);
	half->body_at = (uint32_t)synth_below(mk->rng, BLOCK_SPARE);
}

static int put_plain(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn,
		     const struct synth_half *half)
{
	if (burst_room(burst, half->body))
		return -ENOMEM;
	memcpy(burst_at(burst), mk->block + half->body_at, half->body);
	burst_span(burst, burst_at(burst) + half->body, txn, SYNTH_PART_BODY);
	return 0;
}

/* RFC 9112 section 7.1, with a chunk extension or a trailer now and then. */
static int put_chunked(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn,
		       const struct synth_half *half)
{
	uint64_t at = 0, left, draw;
	uint32_t n, from = burst->len;
	char *p;

	while (at < half->body) {
		left = half->body - at;
		n = 1 + (uint32_t)synth_below(mk->rng, left < CHUNK_MAX ? left : CHUNK_MAX);
		if (burst_room(burst, n + 2 * CHUNK_FRAME_MAX))
			return -ENOMEM;
		p = put_hex(burst_at(burst), n);
		if (n % 16 == 7)
			p = synth_put(p, SYNTH_LIT(";x=\"1\""));
		p = synth_put(p, SYNTH_LIT("\r\n"));
		p = synth_put(p, (const char *)mk->block + half->body_at + at, n);
		p = synth_put(p, SYNTH_LIT("\r\n"));
		burst->len = (uint32_t)(p - ((char *)burst->mem + SYNTH_ROOM));
		at += n;
	}
	if (burst_room(burst, 2 * CHUNK_FRAME_MAX))
		return -ENOMEM;
	draw = synth_below(mk->rng, 4);
	p = synth_put(burst_at(burst), SYNTH_LIT("0\r\n"));
	if (!draw)
		p = synth_put(p, SYNTH_LIT("X-Sum: 12\r\n"));
	p = synth_put(p, SYNTH_LIT("\r\n"));
	burst->len = from;
	burst_span(burst, p, txn, SYNTH_PART_BODY);
	return 0;
}

static int put_body(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn)
{
	struct synth_half *half = &txn->half[burst->end];
	uint32_t from = burst->len;
	int err;

	err = half->chunked ? put_chunked(mk, burst, txn, half) : put_plain(mk, burst, txn, half);
	half->wire = burst->len - from;
	if (mk->digests)
		half->digest = XXH64(mk->block + half->body_at, half->body, 0);
	return err;
}

static char *put_framing(char *p, const struct synth_half *half)
{
	if (half->chunked)
		return synth_put(p, SYNTH_LIT("Transfer-Encoding: chunked\r\n"));
	p = synth_put(p, SYNTH_LIT("Content-Length: "));
	p = synth_put_u64(p, half->body);
	return synth_put(p, SYNTH_LIT("\r\n"));
}

static bool has_request_body(const struct synth_txn *txn)
{
	return txn->method == SYNTH_POST || txn->method == SYNTH_PUT;
}

static char *put_request_head(char *p, const struct synth_txn *txn, uint64_t draw)
{
	const struct literal *agent = &agents[draw % (sizeof(agents) / sizeof(agents[0]))];

	p = synth_put(p, synth_method_name[txn->method], strlen(synth_method_name[txn->method]));
	*p++ = ' ';
	p = synth_put_target(p, txn, true);
	p = synth_put(p, SYNTH_LIT(" HTTP/1.1\r\nHost: synth.test\r\n"));
	p = synth_put(p, agent->s, agent->n);
	if (has_request_body(txn)) {
		p = synth_put(p, SYNTH_LIT("Content-Type: application/octet-stream\r\n"));
		p = put_framing(p, &txn->half[OSP_REQ]);
	}
	if (txn->expect)
		p = synth_put(p, SYNTH_LIT("Expect: 100-continue\r\n"));
	return synth_put(p, SYNTH_LIT("\r\n"));
}

int synth_make_request(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn)
{
	struct synth_half *half = &txn->half[OSP_REQ];
	uint64_t draw = synth_rand(mk->rng);
	uint32_t from = burst->len;
	char *p;
	int err = 0;

	*half = (struct synth_half){ .seq = burst->seq + from, .digest = DIGEST_EMPTY };
	txn->query = (uint8_t)((draw >> 8) % QUERIES);
	txn->method = mk->spec->method[(draw >> 16) % mk->spec->method_n];
	if (has_request_body(txn)) {
		draw_body(mk, half);
		half->chunked = synth_chance(mk->rng, mk->spec->chunked);
	}
	/* Who has nothing to send does not ask whether to send it (RFC 9110 section 10.1.1). */
	txn->expect = txn->expect && (half->body || half->chunked);
	if (burst_room(burst, HEAD_MAX))
		return -ENOMEM;
	p = put_request_head(burst_at(burst), txn, draw);
	burst_span(burst, p, txn, SYNTH_PART_HEAD);
	half->head = burst->len - from;
	if (!txn->expect && has_request_body(txn))
		err = put_body(mk, burst, txn);
	burst_stop(burst);
	return err;
}

int synth_make_body(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn)
{
	int err = put_body(mk, burst, txn);

	burst_stop(burst);
	return err;
}

static int make_interim(struct synth_burst *burst, struct synth_txn *txn, uint16_t status,
			const char *text, size_t n)
{
	if (burst_room(burst, n))
		return -ENOMEM;
	burst_span(burst, synth_put(burst_at(burst), text, n), txn, SYNTH_PART_INTERIM);
	burst_stop(burst);
	txn->interim = status;
	txn->interim_n = 1;
	txn->interim_bytes = (uint32_t)n;
	return 0;
}

int synth_make_continue(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn)
{
	return make_interim(burst, txn, 100, SYNTH_LIT("HTTP/1.1 100 Continue\r\n\r\n"));
}

/* What the status and method leave of the body: RFC 9112 section 6.3. The head may well announce a
 * length that never comes. Returns whether bytes of a body follow.
 */
static bool response_has_body(const struct synth_txn *txn)
{
	return txn->method != SYNTH_HEAD && txn->status != 204 && txn->status != 304;
}

static char *put_response_head(char *p, const struct synth_txn *txn, const struct status *st)
{
	p = synth_put(p, st->line.s, st->line.n);
	p = synth_put(p, SYNTH_LIT("X-Txn: "));
	p = synth_put_target(p, txn, false);
	p = synth_put(p, SYNTH_LIT("\r\n"));
	if (txn->close_delimited)
		p = synth_put(p, SYNTH_LIT("Connection: close\r\n"));
	else if (txn->status != 204)
		p = put_framing(p, &txn->half[OSP_RES]);
	if (txn->status == 200)
		p = synth_put(p, SYNTH_LIT("Content-Type: application/octet-stream\r\n"));
	return synth_put(p, SYNTH_LIT("\r\n"));
}

/* last: the server ends the connection after it, so its end may be the body's end. */
int synth_make_response(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn,
			bool last)
{
	struct synth_half *half = &txn->half[OSP_RES];
	const struct status *st = &statuses[synth_rand(mk->rng) % STATUSES];
	uint32_t from;
	int err = 0;

	*half = (struct synth_half){ .digest = DIGEST_EMPTY };
	txn->status = st->code;
	if (!txn->interim_n && synth_chance(mk->rng, mk->spec->interim) &&
	    make_interim(burst, txn, 103, SYNTH_LIT("HTTP/1.1 103 Early Hints\r\n"
						    "Link: </style.css>; rel=preload\r\n\r\n")))
		return -ENOMEM;
	draw_body(mk, half);
	txn->close_delimited = last && response_has_body(txn);
	half->chunked = !txn->close_delimited && txn->status != 204 && txn->status != 304 &&
			synth_chance(mk->rng, mk->spec->chunked);
	if (burst_room(burst, HEAD_MAX))
		return -ENOMEM;
	from = burst->len;
	half->seq = burst->seq + from;
	burst_span(burst, put_response_head(burst_at(burst), txn, st), txn, SYNTH_PART_HEAD);
	half->head = burst->len - from;
	if (response_has_body(txn))
		err = put_body(mk, burst, txn);
	else
		half->body = 0;
	burst_stop(burst);
	return err;
}
