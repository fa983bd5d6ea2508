/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pick.c: chosen values of a record by their dotted names.
 *
 * One pass over the JSON text. It is our own (record/json.c): well-formed, without blanks between
 * tokens, keys without escapes. Whatever it is, no read goes beyond its end.
 */
#include "sinks/pick.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* More columns than anybody reads; keeps a row's values on the stack. */
#define PICK_MAX 128
#define DEPTH_MAX 8
#define PATH_MAX_BYTES 128

struct osp_pick {
	uint32_t n;
	struct {
		const char *name;	/* of osp_pick_names */
		uint32_t len;
	} want[PICK_MAX];
};

#define BOTH_HALVES(half)                                                                          \
	"http." half ".head_bytes", "http." half ".body_wire_bytes", "http." half ".body_bytes",   \
		"http." half ".content_length", "http." half ".transfer_encoding",                 \
		"http." half ".content_encoding", "http." half ".content_type",                    \
		"http." half ".tcp_seq", "http." half ".tcp_end", "http." half ".start_ns",        \
		"http." half ".end_ns", "http." half ".digest", "http." half ".header",            \
		"http." half ".body.encoding", "http." half ".body.data",                          \
		"http." half ".body.captured_bytes", "http." half ".body.decoded",                 \
		"http." half ".body.decoded_bytes", "http." half ".body.undecoded"
#define STREAM(dir)                                                                                \
	dir ".bytes", dir ".seen_bytes", dir ".captured_bytes", dir ".gap_bytes",                  \
		dir ".overlap_bytes", dir ".gaps"

/* In the order of docs/record.md. A key that record/json.c learns belongs here, too; the test of
 * this file compares.
 */
const char *const osp_pick_names[] = {
	"schema", "kind", "vantage", "id", "seq", "ts", "outcome", "flags", "anomalies",
	"conn.id", "conn.cookie", "conn.peer_cookie", "conn.txn", "conn.role", "conn.role_from", "conn.transport",
	"conn.netns", "conn.client.address", "conn.client.port", "conn.server.address",
	"conn.server.port",
	"http.version", "http.request.method", "http.request.target", "http.request.host",
	"http.request.user_agent", "http.request.traceparent", "http.request.request_id",
	BOTH_HALVES("request"), "http.response.status_code", "http.response.reason",
	"http.response.interim", BOTH_HALVES("response"),
	"timing.ttfb_ns", "timing.duration_ns",
	"process.pid", "process.tid", "process.ns_pid", "process.start_time", "process.comm",
	"process.executable", "process.uid",
	"container.id", "container.runtime", "container.name",
	"k8s.pod.uid", "k8s.pod.name", "k8s.namespace",
	"lost_bytes",
	/* connections */
	"opened", "closed", "end", "protocol", "tls.sni", "tls.alpn", "tls.version",
	"transactions", "turns", "lost_exchanges", "tcp.rtt_us", "tcp.retransmits",
	STREAM("tx"), STREAM("rx"),
	NULL,
};

/* ---- names --------------------------------------------------------------------------------- */

static const char *known(const char *name, size_t n)
{
	for (const char *const *p = osp_pick_names; *p; p++)
		if (strlen(*p) == n && !memcmp(*p, name, n))
			return *p;
	return NULL;
}

/* The known name whose last part is the one asked for: whoever writes "method" is told. */
static const char *like(const char *name, size_t n)
{
	for (const char *const *p = osp_pick_names; *p; p++) {
		size_t len = strlen(*p);

		if (len > n && (*p)[len - n - 1] == '.' && !memcmp(*p + len - n, name, n))
			return *p;
	}
	return NULL;
}

static int add(struct osp_pick *pick, const char *name, size_t n, char *err, size_t err_size)
{
	const char *full = known(name, n), *near;

	if (!full) {
		near = n ? like(name, n) : NULL;
		snprintf(err, err_size, "\"%.*s\" is no name of a record's value%s%s%s%s",
			 (int)(n < 64 ? n : 64), name, near ? "; \"" : " (docs/record.md)",
			 near ? near : "", near ? "\" is" : "", near ? " one" : "");
		return -EINVAL;
	}
	if (pick->n == PICK_MAX) {
		snprintf(err, err_size, "more than %d names", PICK_MAX);
		return -EINVAL;
	}
	pick->want[pick->n].name = full;
	pick->want[pick->n++].len = (uint32_t)n;
	return 0;
}

int osp_pick_new(struct osp_pick **out, const char *names, char *err, size_t err_size)
{
	struct osp_pick *pick = calloc(1, sizeof(*pick));
	int ret = pick ? 0 : -ENOMEM;
	size_t n;

	for (; !ret; names += n + 1) {
		n = strcspn(names, "+, ");
		ret = add(pick, names, n, err, err_size);
		if (!names[n])
			break;
	}
	if (!ret) {
		*out = pick;
		pick = NULL;
	}
	osp_pick_free(pick);
	return ret;
}

void osp_pick_free(struct osp_pick *pick)
{
	free(pick);
}

uint32_t osp_pick_n(const struct osp_pick *pick)
{
	return pick->n;
}

const char *osp_pick_name(const struct osp_pick *pick, uint32_t i)
{
	return pick->want[i].name;
}

/* ---- the pass ------------------------------------------------------------------------------ */

struct walk {
	const struct osp_pick *pick;
	struct osp_slice *val;
	const char *end;
	char path[PATH_MAX_BYTES];
};

/* p at the opening quote; returns the place behind the closing one. */
static const char *skip_string(const char *p, const char *end)
{
	for (p++; p < end && *p != '"'; p++)
		if (*p == '\\' && p + 1 < end)
			p++;
	return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end)
{
	int depth = 0;

	while (p < end) {
		if (*p == '"') {
			p = skip_string(p, end);
		} else if (*p == '{' || *p == '[') {
			depth++;
			p++;
		} else if (*p == '}' || *p == ']') {
			if (!depth)
				return p;
			depth--;
			p++;
		} else if (*p == ',' && !depth) {
			return p;
		} else {
			p++;
			continue;
		}
		if (!depth)
			return p;
	}
	return end;
}

static void take(struct walk *w, size_t len, const char *p, const char *end)
{
	for (uint32_t i = 0; i < w->pick->n; i++)
		if (w->pick->want[i].len == len && !memcmp(w->pick->want[i].name, w->path, len))
			w->val[i] = osp_slice(p, (size_t)(end - p));
}

/* Whether any name goes on below the path. */
static bool below(const struct walk *w, size_t len)
{
	for (uint32_t i = 0; i < w->pick->n; i++)
		if (w->pick->want[i].len > len && w->pick->want[i].name[len] == '.' &&
		    !memcmp(w->pick->want[i].name, w->path, len))
			return true;
	return false;
}

/* p at '{', len bytes of the path are its own; returns the place behind its '}'. */
static const char *walk_object(struct walk *w, const char *p, size_t len, int depth)
{
	const char *end = w->end, *key, *value;
	size_t at, n;

	for (p++; p < end && *p == '"'; p += p < end && *p == ',') {
		key = p + 1;
		p = skip_string(p, end);
		if (p >= end)
			return end;
		n = (size_t)(p - 1 - key);
		value = ++p;	/* behind the colon */
		at = len ? len + 1 : 0;
		if (at + n >= sizeof(w->path)) {
			p = skip_value(p, end);
			continue;
		}
		if (len)
			w->path[len] = '.';
		memcpy(w->path + at, key, n);
		if (p < end && *p == '{' && depth < DEPTH_MAX && below(w, at + n)) {
			p = walk_object(w, p, at + n, depth + 1);
		} else {
			p = skip_value(p, end);
			take(w, at + n, value, p);
		}
	}
	return p < end ? p + 1 : end;
}

void osp_pick_run(const struct osp_pick *pick, const char *json, size_t n, struct osp_slice *val)
{
	struct walk w;

	w.pick = pick;
	w.val = val;
	w.end = json + n;
	memset(val, 0, pick->n * sizeof(*val));
	if (n && *json == '{')
		walk_object(&w, json, 0, 0);
}

/* ---- text ---------------------------------------------------------------------------------- */

struct out {
	char *buf;
	size_t cap, len;
};

static inline void put(struct out *o, const char *p, size_t n)
{
	if (o->len + n <= o->cap)
		memcpy(o->buf + o->len, p, n);
	o->len += n;
}

static uint32_t hex4(const char *p)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v = v << 4 | (uint32_t)(p[i] <= '9' ? p[i] - '0' : (p[i] | 32) - 'a' + 10);
	return v & 0xffff;
}

/* Our writer escapes single bytes only, so c is below U+0100. */
static void put_char(struct out *o, uint32_t c)
{
	static const char hex[] = "0123456789abcdef";
	char t[6] = { '\\', 'u', '0', '0', hex[c >> 4 & 15], hex[c & 15] };

	if (c < 0x20 || c == 0x7f) {
		put(o, t, 6);
	} else if (c < 0x80) {
		t[0] = (char)c;
		put(o, t, 1);
	} else if (c < 0x800) {
		t[0] = (char)(0xc0 | c >> 6);
		t[1] = (char)(0x80 | (c & 0x3f));
		put(o, t, 2);
	} else {
		t[0] = (char)(0xe0 | c >> 12);
		t[1] = (char)(0x80 | (c >> 6 & 0x3f));
		t[2] = (char)(0x80 | (c & 0x3f));
		put(o, t, 3);
	}
}

/* p behind a backslash; returns the place behind the escape. */
static const char *put_unescaped(struct out *o, const char *p, const char *end)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
	const char *hit;

	if (*p == 'u' && end - p >= 5) {
		put_char(o, hex4(p + 1));
		return p + 5;
	}
	hit = strchr(from, *p);
	put_char(o, (uint8_t)(hit && *hit ? to[hit - from] : *p));
	return p + 1;
}

/* A string's inside. */
static void put_string(struct out *o, const char *p, const char *end)
{
	const char *run;

	while (p < end) {
		run = p;
		p = memchr(p, '\\', (size_t)(end - p));
		if (!p || p + 1 >= end)
			p = end;
		put(o, run, (size_t)(p - run));
		if (p < end)
			p = put_unescaped(o, p + 1, end);
	}
}

/* ["a","b"] as "a b". False: it holds something else. */
static bool put_words(struct out *o, const char *p, const char *end)
{
	const char *word, *sep = "";

	for (p++; p < end && *p == '"'; p += *p == ',') {
		word = p + 1;
		p = skip_string(p, end);
		put(o, sep, strlen(sep));
		put_string(o, word, p - 1);
		sep = " ";
		if (p >= end)
			return false;
	}
	return p < end && *p == ']';
}

size_t osp_pick_text(struct osp_slice val, char *buf, size_t cap, bool *is_text)
{
	struct out o = { buf, cap, 0 };
	bool text = val.n >= 2 && *val.p == '"';

	if (is_text)
		*is_text = text;
	if (text) {
		put_string(&o, val.p + 1, val.p + val.n - 1);
	} else if (val.n) {
		if (*val.p == '[' && put_words(&o, val.p, val.p + val.n))
			return o.len;
		o.len = 0;
		put(&o, val.p, val.n);
	}
	return o.len;
}
