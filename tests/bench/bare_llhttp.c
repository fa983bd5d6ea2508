/* SPDX-License-Identifier: GPL-3.0-or-later */
/* bare_llhttp.c: the least anyone could do with the bytes of a recording, as a yardstick.
 *
 *   bare_llhttp FILE.oev
 *
 * Two passes over the recording: the first only reads it, the second gives every DATA payload to
 * llhttp, one parser per connection and direction, callbacks that do nothing. No positions, no
 * pairing, no records: what the agent needs beyond this is what the agent adds. CPU seconds of both
 * passes, bytes, messages, and how many connections were open at once, as "key value" lines.
 *
 * llhttp alone cannot know that a response answers a HEAD, nor mend lost or reordered pieces: the
 * recording should be of a generator run without these. "errors" tells if it was not.
 */
#include "agent/source_replay.h"

#include <errno.h>
#include <llhttp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUCKETS (1u << 17)	/* power of two; twice the generator's limit of open connections */

struct conn {
	struct conn *next;	/* in its bucket, or in the idle list */
	uint64_t id;
	llhttp_t parser[OSP_DIRS];
};

struct bare {
	struct conn **bucket;
	struct conn *idle;
	llhttp_settings_t settings;
	uint64_t bytes, messages, errors, open, open_max;
	int parse;		/* 0: first pass */
};

static double cpu_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int on_span(llhttp_t *parser, const char *at, size_t n)
{
	(void)parser, (void)at, (void)n;
	return 0;
}

/* 1: no body follows, whatever Content-Length a 304 announces (RFC 9112, 6.3). The one thing the
 * parser does not do by itself that the generator makes use of.
 */
static int on_head(llhttp_t *parser)
{
	return parser->type == HTTP_RESPONSE && parser->status_code == 304;
}

static int on_message(llhttp_t *parser)
{
	((struct bare *)parser->data)->messages++;
	return 0;
}

static void parser_init(struct bare *bare, llhttp_t *parser)
{
	llhttp_init(parser, HTTP_BOTH, &bare->settings);
	parser->data = bare;
}

/* ---- connections ---------------------------------------------------------------------------- */

static struct conn **conn_slot(struct bare *bare, uint64_t id)
{
	struct conn **slot = &bare->bucket[(id * 0x9e3779b97f4a7c15ull) >> 32 & (BUCKETS - 1)];

	while (*slot && (*slot)->id != id)
		slot = &(*slot)->next;
	return slot;
}

/* The connection, made if it is new; NULL without memory. */
static struct conn *conn_get(struct bare *bare, uint64_t id)
{
	struct conn **slot = conn_slot(bare, id), *conn = *slot;

	if (conn)
		return conn;
	conn = bare->idle;
	if (conn)
		bare->idle = conn->next;
	else
		conn = malloc(sizeof(*conn));
	if (!conn)
		return NULL;
	conn->id = id;
	conn->next = NULL;
	for (int dir = 0; dir < OSP_DIRS; dir++)
		parser_init(bare, &conn->parser[dir]);
	*slot = conn;
	if (++bare->open > bare->open_max)
		bare->open_max = bare->open;
	return conn;
}

static void conn_put(struct bare *bare, uint64_t id)
{
	struct conn **slot = conn_slot(bare, id), *conn = *slot;

	if (!conn)
		return;
	*slot = conn->next;
	conn->next = bare->idle;
	bare->idle = conn;
	bare->open--;
}

static void bare_fini(struct bare *bare)
{
	struct conn *conn, *next;

	for (uint32_t i = 0; bare->bucket && i <= BUCKETS; i++) {
		for (conn = i < BUCKETS ? bare->bucket[i] : bare->idle; conn; conn = next) {
			next = conn->next;
			free(conn);
		}
	}
	free(bare->bucket);
}

/* ---- events --------------------------------------------------------------------------------- */

static int take_data(struct bare *bare, const struct osp_ev_data *data)
{
	struct conn *conn;
	llhttp_t *parser;

	bare->bytes += data->cap;
	if (!bare->parse)
		return 0;
	conn = conn_get(bare, data->conn);
	if (!conn)
		return -ENOMEM;
	parser = &conn->parser[data->dir & 1];
	if (llhttp_execute(parser, (const char *)(data + 1), data->cap) != HPE_OK) {
		bare->errors++;
		parser_init(bare, parser);
	}
	return 0;
}

static int take_event(void *ctx, const struct osp_ev_hdr *ev)
{
	struct bare *bare = ctx;

	if (ev->kind == OSP_EV_DATA)
		return take_data(bare, (const struct osp_ev_data *)ev);
	if (!bare->parse)
		return 0;
	if (ev->kind == OSP_EV_OPEN)
		return conn_get(bare, ((const struct osp_ev_open *)ev)->conn) ? 0 : -ENOMEM;
	if (ev->kind == OSP_EV_CLOSE)
		conn_put(bare, ((const struct osp_ev_close *)ev)->conn);
	return 0;
}

/* One pass; CPU seconds it took in *took. 0 or -errno, told already. */
static int pass(struct bare *bare, const char *path, double *took)
{
	struct osp_source *src;
	double start = cpu_s();
	int err = osp_source_replay_new(&src, path);

	if (err)
		return err;
	bare->bytes = 0;
	do
		err = src->ops->poll(src, take_event, bare);
	while (err > 0);
	src->ops->close(src);
	*took = cpu_s() - start;
	/* A recording never has "nothing now". */
	err = err == -ENODATA ? 0 : err ? err : -EIO;
	if (err)
		fprintf(stderr, "bare_llhttp: %s: %s\n", path, strerror(-err));
	return err;
}

int main(int argc, char **argv)
{
	struct bare bare = {};
	double read_s = 0, parse_s = 0;
	int err = -ENOMEM;

	if (argc != 2) {
		fprintf(stderr, "usage: bare_llhttp FILE.oev\n");
		return 2;
	}
	llhttp_settings_init(&bare.settings);
	bare.settings.on_url = bare.settings.on_status = on_span;
	bare.settings.on_header_field = bare.settings.on_header_value = on_span;
	bare.settings.on_body = on_span;
	bare.settings.on_headers_complete = on_head;
	bare.settings.on_message_complete = on_message;
	bare.bucket = calloc(BUCKETS, sizeof(*bare.bucket));
	if (!bare.bucket)
		goto out;
	err = pass(&bare, argv[1], &read_s);
	bare.parse = 1;
	if (!err)
		err = pass(&bare, argv[1], &parse_s);
	if (!err)
		printf("read_s %.6f\nparse_s %.6f\nbytes %llu\nmessages %llu\nerrors %llu\n"
		       "open_max %llu\n", read_s, parse_s, (unsigned long long)bare.bytes,
		       (unsigned long long)bare.messages, (unsigned long long)bare.errors,
		       (unsigned long long)bare.open_max);
out:
	bare_fini(&bare);
	return err ? 1 : 0;
}
