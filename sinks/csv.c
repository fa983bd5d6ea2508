/* SPDX-License-Identifier: GPL-3.0-or-later */
/* csv.c: chosen values of a record as a row, RFC 4180. Files, pipes and rotation: lines.c.
 *
 * Peers write most of what stands in a row, so a cell must not be able to become something else:
 *	- it is quoted when it holds a comma, a quote or a blank at an end (RFC 4180 section 2, rules
 *	  5 to 7);
 *	- control characters are written \u000a, as JSON does: a row is one line, always, and a
 *	  terminal that shows it obeys nobody;
 *	- text that a spreadsheet would run as a formula gets a ' in front (guard=no: not).
 */
#include "sinks/builtin.h"
#include "sinks/compress.h"
#include "sinks/lines.h"
#include "sinks/pick.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct csv_conf {
	struct osp_lines_conf lines;
	const char *columns;
	int eol;	/* EOL_* */
	int guard;
	int head;
};

enum { EOL_CRLF, EOL_LF };

struct osp_sink {
	const struct osp_host *host;
	struct osp_lines *lines;
	struct osp_pick *pick;
	struct osp_slice *val;		/* of the record at hand, osp_pick_n() */
	bool guard, lf;
	char *head;
	char *json, *cell;		/* the record's JSON; one cell's text */
	size_t json_cap, cell_cap;
};

/* One row on one screen: who, whom, what, how it went. */
#define COLUMNS                                                                                    \
	"ts+outcome+conn.role+conn.client.address+conn.client.port+conn.server.address+"           \
	"conn.server.port+http.request.method+http.request.host+http.request.target+"              \
	"http.response.status_code+http.request.body_bytes+http.response.body_bytes+"              \
	"timing.ttfb_ns+timing.duration_ns+process.pid+process.comm+container.id+conn.id+id"

static const struct osp_opt csv_opts[] = {
	OSP_LINES_OPTS,
	{ "columns", OSP_OPT_STR, offsetof(struct csv_conf, columns), COLUMNS, 0, 0, NULL,
	  "names of values, joined by +" },
	{ "eol", OSP_OPT_ENUM, offsetof(struct csv_conf, eol), "crlf", 0, 0, "crlf|lf",
	  "end of a row; RFC 4180 has crlf" },
	{ "guard", OSP_OPT_BOOL, offsetof(struct csv_conf, guard), "yes", 0, 0, NULL,
	  "a ' before text that a spreadsheet takes for a formula" },
	{ "header", OSP_OPT_BOOL, offsetof(struct csv_conf, head), "yes", 0, 0, NULL,
	  "names of the columns in a file's first row" },
	{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
};

uint32_t osp_csv_kinds(const void *conf)
{
	return OSP_KIND_BIT(OSP_REC_TRANSACTION);
}

/* ---- rows ---------------------------------------------------------------------------------- */

struct row {
	char *buf;
	size_t cap, len;
};

static inline void put(struct row *row, const char *p, size_t n)
{
	if (row->len + n <= row->cap)
		memcpy(row->buf + row->len, p, n);
	row->len += n;
}

static bool needs_quotes(const char *p, size_t n)
{
	if (!n)
		return false;
	if (p[0] == ' ' || p[n - 1] == ' ')
		return true;
	return memchr(p, ',', n) || memchr(p, '"', n);
}

static void put_cell(struct row *row, const char *p, size_t n, bool guard)
{
	bool quotes = needs_quotes(p, n);
	const char *q;

	if (quotes)
		put(row, "\"", 1);
	if (guard && n && strchr("=+-@", *p))
		put(row, "'", 1);
	while (n && quotes && (q = memchr(p, '"', n))) {
		put(row, p, (size_t)(q - p) + 1);
		put(row, "\"", 1);
		n -= (size_t)(q - p) + 1;
		p = q + 1;
	}
	put(row, p, n);
	if (quotes)
		put(row, "\"", 1);
}

static int ensure(char **buf, size_t *cap, size_t need)
{
	size_t want = *cap ? *cap : 4096;
	char *p;

	if (need <= *cap)
		return 0;
	while (want < need)
		want *= 2;
	p = realloc(*buf, want);
	if (!p)
		return -ENOMEM;
	*buf = p;
	*cap = want;
	return 0;
}

static ssize_t csv_line(void *ctx, const struct osp_record *rec, char *buf, size_t cap)
{
	struct osp_sink *sink = ctx;
	struct row row = { buf, cap, 0 };
	size_t n = sink->host->json(rec, sink->json, sink->json_cap);
	bool text;

	if (n > sink->json_cap) {
		if (ensure(&sink->json, &sink->json_cap, n))
			return -ENOMEM;
		n = sink->host->json(rec, sink->json, sink->json_cap);
	}
	osp_pick_run(sink->pick, sink->json, n, sink->val);
	for (uint32_t i = 0; i < osp_pick_n(sink->pick); i++) {
		/* An escape of two characters becomes six at most. */
		if (ensure(&sink->cell, &sink->cell_cap, 3 * (size_t)sink->val[i].n + 1))
			return -ENOMEM;
		n = osp_pick_text(sink->val[i], sink->cell, sink->cell_cap, &text);
		if (i)
			put(&row, ",", 1);
		put_cell(&row, sink->cell, n, text && sink->guard);
	}
	put(&row, sink->lf ? "\n" : "\r\n", sink->lf ? 1 : 2);
	return (ssize_t)row.len;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void csv_close(struct osp_sink *sink)
{
	if (!sink)
		return;
	osp_lines_close(sink->lines);
	osp_pick_free(sink->pick);
	free(sink->val);
	free(sink->head);
	free(sink->json);
	free(sink->cell);
	free(sink);
}

/* Names need no quotes. */
static char *make_head(const struct osp_pick *pick, bool lf)
{
	size_t size = 3, at = 0;
	char *head;

	for (uint32_t i = 0; i < osp_pick_n(pick); i++)
		size += strlen(osp_pick_name(pick, i)) + 1;
	head = malloc(size);
	if (!head)
		return NULL;
	for (uint32_t i = 0; i < osp_pick_n(pick); i++)
		at += (size_t)snprintf(head + at, size - at, "%s%s", i ? "," : "",
				       osp_pick_name(pick, i));
	snprintf(head + at, size - at, lf ? "\n" : "\r\n");
	return head;
}

static int csv_init(struct osp_sink *sink, const struct csv_conf *conf, char *err, size_t err_size)
{
	char why[160];
	int ret;

	sink->guard = conf->guard;
	sink->lf = conf->eol == EOL_LF;
	ret = osp_pick_new(&sink->pick, conf->columns, why, sizeof(why));
	if (ret == -EINVAL)
		snprintf(err, err_size, "columns: %s", why);
	if (ret)
		return ret;
	sink->val = calloc(osp_pick_n(sink->pick), sizeof(*sink->val));
	sink->head = make_head(sink->pick, sink->lf);
	if (!sink->val || !sink->head)
		return -ENOMEM;
	return ensure(&sink->json, &sink->json_cap, 4096);
}

static int csv_open(const struct osp_host *host, const void *conf, struct osp_sink **out,
		    char *err, size_t err_size)
{
	struct csv_conf *csv = (struct csv_conf *)conf;	/* ours until close, see struct osp_opt */
	struct osp_sink *sink = calloc(1, sizeof(*sink));
	struct osp_lines_fmt fmt = { .line = csv_line, .ctx = sink };
	int ret;

	if (!sink)
		return -ENOMEM;
	sink->host = host;
	ret = csv_init(sink, csv, err, err_size);
	if (ret)
		goto out;
	if (csv->head)
		fmt.head = osp_slice_str(sink->head);
	ret = osp_lines_open(&sink->lines, host, &csv->lines, &fmt, err, err_size);
	if (ret)
		goto out;
	*out = sink;
	sink = NULL;
out:
	csv_close(sink);
	return ret;
}

static int csv_write(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done)
{
	return osp_lines_write(sink->lines, batch, done);
}

static void csv_stats(const struct osp_sink *sink, struct osp_sink_stats *st)
{
	osp_lines_stats(sink->lines, st);
}

static int csv_reopen(struct osp_sink *sink)
{
	return osp_lines_reopen(sink->lines);
}

const struct osp_sink_ops osp_sink_csv = {
	.abi = OSP_SINK_ABI,
	.size = sizeof(struct osp_sink_ops),
	.name = "csv",
	.opts = csv_opts,
	.conf_size = sizeof(struct csv_conf),
	.open = csv_open,
	.write = csv_write,
	.stats = csv_stats,
	.reopen = csv_reopen,
	.close = csv_close,
};
