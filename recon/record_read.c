/* SPDX-License-Identifier: GPL-3.0-or-later */
/* record_read.c: JSON to struct osp_record, in one pass, without copying what needs no decoding.
 *
 * Keys that are not known are passed over (docs/record.md asks for it), and so is a known key whose
 * value is of another kind than it should be: absent is a state every field has. What decides what
 * a record is (schema, kind) must be there.
 */
#include "recon/record_read.h"
#include "recon/json.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct ctx {
	struct rc_js js;
	struct rc_rec *rr;
	bool bytes;  /* flag "nonutf8": escapes up to \u00ff are bytes */
	bool schema; /* it is ours */
};

/* ---- objects -------------------------------------------------------------------------------- */

/* What is done with the value of a key. All but strings go to a place in the struct that the
 * object's reader names; where a bit belongs to it, it is set in the uint32_t has that stands first
 * there.
 */
enum take {
	T_SKIP,
	T_STR, /* off: place in osp_record.str */
	T_U32,
	T_U64,
	T_I64,
	T_NAME, /* a string of those that name() knows up to bit, as its number in a byte */
	T_CALL, /* fn(cx, base) takes the value */
};

struct field {
	char text[24]; /* as written: `"key":` */
	uint8_t n, take;
	uint16_t off;
	uint32_t bit;
	union {
		const char *(*name)(int);
		void (*fn)(struct ctx *cx, void *base);
	};
};

#define FIELD(key, ...)                                                                            \
	{                                                                                          \
		.text = "\"" key "\":", .n = sizeof(key) + 2, __VA_ARGS__                          \
	}
#define SKIP(key) FIELD(key, .take = T_SKIP)
#define STR(key, place) FIELD(key, .take = T_STR, .off = OSP_S_##place)
#define U32(key, in, to, b) FIELD(key, .take = T_U32, .off = offsetof(in, to), .bit = b)
#define U64(key, in, to, b) FIELD(key, .take = T_U64, .off = offsetof(in, to), .bit = b)
#define I64(key, in, to, b) FIELD(key, .take = T_I64, .off = offsetof(in, to), .bit = b)
#define NAME(key, names, max, in, to)                                                              \
	FIELD(key, .take = T_NAME, .off = offsetof(in, to), .bit = max, .name = names)
#define CALL(key, f) FIELD(key, .take = T_CALL, .fn = f)

/* Over the key of f, if that is what comes next. A writer's order is part of the format, so most
 * keys need no more reading than this; text and n are constants where it is compiled.
 */
static inline __attribute__((always_inline)) bool is_next(struct rc_js *js, const struct field *f,
							  bool first)
{
	const char *p = js->p;

	if (js->end - p <= f->n || (!first && *p++ != ',') || memcmp(p, f->text, f->n))
		return false;
	js->p = p + f->n;
	return true;
}

/* The field whose key comes next as JSON has it, and over the key; NULL at the end of the object.
 * Keys that are not known are passed over.
 */
static const struct field *find_field(struct rc_js *js, const struct field *table, int n,
				      bool *first)
{
	struct osp_slice key;

	while (rc_js_key(js, first, &key)) {
		for (int i = 0; i < n; i++)
			if (rc_key_is(key, table[i].text + 1, table[i].n - 3u))
				return &table[i];
		rc_js_skip(js);
	}
	return NULL;
}

static struct osp_slice take(struct ctx *cx, const struct rc_js_str *str)
{
	struct rc_rec *rr = cx->rr;
	struct osp_slice s = { str->p, str->n };

	if (str->escaped) {
		/* mem is as large as the line, and each string is in the line once. */
		s.p = rr->mem + rr->mem_used;
		s.n = (uint32_t)rc_js_decode(str, rr->mem + rr->mem_used, cx->bytes);
		rr->mem_used += s.n;
	}
	return s;
}

static void get_str(struct ctx *cx, struct osp_slice *out)
{
	struct rc_js_str str;

	if (rc_js_str(&cx->js, &str))
		*out = take(cx, &str);
}

/* Index of the name in a table by function, -1 if it is not there. */
static int name_index(const struct rc_js_str *str, const char *(*name)(int), int max)
{
	for (int i = 0; i < max; i++) {
		const char *s = name(i);
		uint32_t k = 0;

		while (k < str->n && s[k] && s[k] == str->p[k])
			k++;
		if (k == str->n && !s[k])
			return i;
	}
	return -1;
}

static void get_name(struct ctx *cx, const char *(*name)(int), int max, uint8_t *out)
{
	struct rc_js_str str;
	int i;

	if (!rc_js_str(&cx->js, &str))
		return;
	i = name_index(&str, name, max);
	if (i >= 0)
		*out = (uint8_t)i;
}

/* One value, where f says; false: it was of another kind, or out of range. */
static inline bool get_number(struct ctx *cx, const struct field *f, char *at)
{
	uint64_t u;
	int64_t i;

	if (f->take == T_I64) {
		/* ns from one event to another: more than a century is damage, and would overflow
		 * sums.
		 */
		if (!rc_js_i64(&cx->js, &i) || i <= -(1ll << 61) || i >= 1ll << 61)
			return false;
		memcpy(at, &i, sizeof(i));
		return true;
	}
	if (!rc_js_u64(&cx->js, &u) || (f->take == T_U32 && u > UINT32_MAX))
		return false;
	if (f->take == T_U32)
		memcpy(at, &(uint32_t){ (uint32_t)u }, sizeof(uint32_t));
	else
		memcpy(at, &u, sizeof(u));
	return true;
}

static inline __attribute__((always_inline)) void get_field(struct ctx *cx, const struct field *f,
							    char *base)
{
	switch (f->take) {
	case T_SKIP:
		rc_js_skip(&cx->js);
		break;
	case T_STR:
		get_str(cx, &cx->rr->rec.str[f->off]);
		break;
	case T_NAME:
		get_name(cx, f->name, (int)f->bit, (uint8_t *)base + f->off);
		break;
	case T_CALL:
		f->fn(cx, base);
		break;
	default:
		if (get_number(cx, f, base + f->off) && f->bit)
			*(uint32_t *)base |= f->bit;
	}
}

/* What is left of an object whose keys come in another order, or are others. */
static void get_rest(struct ctx *cx, const struct field *table, int n, void *base, bool first)
{
	const struct field *f;

	while ((f = find_field(&cx->js, table, n, &first)))
		get_field(cx, f, base);
}

/* An object, into base; what has a has (bits) begins with it. The loop is to be unrolled into a
 * line of constants: compare, take, compare, take.
 */
static inline __attribute__((always_inline)) void
get_object(struct ctx *cx, const struct field *table, int n, void *base)
{
	bool first = true;

	if (!rc_js_object(&cx->js))
		return;
#pragma GCC unroll 32
	for (int i = 0; i < n; i++) {
		if (is_next(&cx->js, &table[i], first)) {
			get_field(cx, &table[i], base);
			first = false;
		}
	}
	if (*cx->js.p == '}' && cx->js.p < cx->js.end)
		cx->js.p++;
	else
		get_rest(cx, table, n, base, first);
}
#define GET_OBJECT(cx, table, base)                                                                \
	get_object(cx, table, (int)(sizeof(table) / sizeof(table[0])), base)

/* ---- times, numbers in hex ----------------------------------------------------------------------
 */

static bool get_time(struct ctx *cx, int64_t *out)
{
	struct rc_js_str str;

	return rc_js_str(&cx->js, &str) && rc_time_parse(str.p, str.n, out);
}

/* Eight hex digits. Nibbles first, then neighbours are joined; what was read is right if writing
 * the nibbles in lower case gives the same letters again.
 */
static bool hex32(const char *p, uint64_t *out)
{
	const uint64_t ones = 0x0101010101010101ull;
	uint64_t x, letter, d;

	memcpy(&x, p, 8);
	x = be64toh(x);
	letter = x >> 6 & ones;
	d = (x & ones * 0x0f) + letter * 9;
	if ((d & ones * 0xf0) || ((d + ones * 6) >> 4 & ones) != letter ||
	    d + ones * '0' + letter * ('a' - 10 - '0') != (x | letter << 5))
		return false;
	d = (d | d >> 4) & 0x00ff00ff00ff00ffull;
	d = (d | d >> 8) & 0x0000ffff0000ffffull;
	*out = *out << 32 | ((d | d >> 16) & 0xffffffffull);
	return true;
}

static bool hex64(const char *p, uint64_t *out)
{
	uint64_t v = 0;

	if (!hex32(p, &v) || !hex32(p + 8, &v))
		return false;
	*out = v;
	return true;
}

static void get_id(struct ctx *cx, void *base)
{
	struct rc_js_str str;
	uint64_t *id = cx->rr->rec.id;

	if (!rc_js_str(&cx->js, &str) || str.n != 32)
		return;
	if (!hex64(str.p, &id[0]) || !hex64(str.p + 16, &id[1]))
		id[0] = id[1] = 0;
}

static void get_flags(struct ctx *cx, void *base)
{
	struct rc_js_str str;
	bool first = true;
	int bit;

	if (!rc_js_array(&cx->js))
		return;
	while (rc_js_next(&cx->js, &first)) {
		if (!rc_js_str(&cx->js, &str))
			continue;
		bit = name_index(&str, osp_flag_name, 13);
		if (bit >= 0)
			cx->rr->rec.flags |= 1u << bit;
	}
	cx->bytes = cx->rr->rec.flags & OSP_RF_NONUTF8;
}

/* ---- connection ----------------------------------------------------------------------------- */

/* "10.0.0.1" as v4-mapped; false if it is no dotted quad. */
static bool parse_v4(const char *p, uint32_t n, uint8_t out[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const char *end = p + n;

	for (int i = 0; i < 4; i++) {
		int v = 0, k = 0;

		for (; p < end && *p >= '0' && *p <= '9' && k < 3; p++, k++)
			v = v * 10 + *p - '0';
		if (!k || v > 255 || (i < 3 && (p >= end || *p++ != '.')))
			return false;
		out[12 + i] = (uint8_t)v;
	}
	memcpy(out, mapped, sizeof(mapped));
	return p == end;
}

static bool parse_address(const char *p, uint32_t n, uint8_t out[16])
{
	char tmp[64];

	if (parse_v4(p, n, out))
		return true;
	if (!n || n >= sizeof(tmp))
		return false;
	memcpy(tmp, p, n);
	tmp[n] = 0;
	/* "::ffff:10.0.0.1" comes out v4-mapped: both writings are one address here. */
	return inet_pton(AF_INET6, tmp, out) == 1;
}

struct end {
	uint32_t has; /* OSP_CH_TUPLE: both are there */
	uint8_t addr[16];
	uint32_t port;
};
#define HAS_ADDR 1u
#define HAS_PORT 2u

static void get_address(struct ctx *cx, void *base)
{
	struct end *e = base;
	struct rc_js_str str;

	if (rc_js_str(&cx->js, &str) && parse_address(str.p, str.n, e->addr))
		e->has |= HAS_ADDR;
}

static bool get_end(struct ctx *cx, uint8_t addr[16], uint16_t *port)
{
	static const struct field table[] = {
		CALL("address", get_address),
		U32("port", struct end, port, HAS_PORT),
	};
	struct end e = { 0 };

	GET_OBJECT(cx, table, &e);
	if (e.has != (HAS_ADDR | HAS_PORT) || e.port > UINT16_MAX)
		return false;
	memcpy(addr, e.addr, sizeof(e.addr));
	*port = (uint16_t)e.port;
	return true;
}

/* The bits of struct osp_rec_conn.has that this reader uses for itself while it reads. */
#define HAS_CLIENT (1u << 30)
#define HAS_SERVER (1u << 31)

static void get_client(struct ctx *cx, void *base)
{
	struct osp_rec_conn *conn = base;

	if (get_end(cx, conn->client, &conn->client_port))
		conn->has |= HAS_CLIENT;
}

static void get_server(struct ctx *cx, void *base)
{
	struct osp_rec_conn *conn = base;

	if (get_end(cx, conn->server, &conn->server_port))
		conn->has |= HAS_SERVER;
}

static void get_transport(struct ctx *cx, void *base)
{
	struct osp_rec_conn *conn = base;
	struct rc_js_str str;

	if (!rc_js_str(&cx->js, &str))
		return;
	if (str.n == 3 && !memcmp(str.p, "tcp", 3))
		conn->transport = IPPROTO_TCP;
	else if (str.n == 3 && !memcmp(str.p, "udp", 3))
		conn->transport = IPPROTO_UDP;
	else if (str.n == 4 && !memcmp(str.p, "unix", 4))
		conn->transport = OSP_TRANSPORT_UNIX;
}

static void get_conn(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		SKIP("id"),
		U64("cookie", struct osp_rec_conn, cookie, 0),
		U64("peer_cookie", struct osp_rec_conn, peer_cookie, 0),
		U64("txn", struct osp_rec_conn, txn, OSP_CH_TXN),
		NAME("role", osp_role_name, OSP_ROLE_MAX, struct osp_rec_conn, role),
		SKIP("role_from"),
		CALL("transport", get_transport),
		U32("netns", struct osp_rec_conn, netns, OSP_CH_NETNS),
		CALL("client", get_client),
		CALL("server", get_server),
	};
	struct osp_rec_conn *conn = &cx->rr->rec.conn;

	GET_OBJECT(cx, table, conn);
	if ((conn->has & (HAS_CLIENT | HAS_SERVER)) == (HAS_CLIENT | HAS_SERVER))
		conn->has |= OSP_CH_TUPLE;
	conn->has &= ~(HAS_CLIENT | HAS_SERVER);
}

/* ---- messages ------------------------------------------------------------------------------- */

static bool header_room(struct rc_rec *rr, int end, uint32_t n)
{
	uint32_t cap = rr->header_cap[end];
	struct osp_rec_header *h;

	if (n < cap)
		return true;
	cap = cap ? cap * 2 : 32;
	h = realloc(rr->header[end], cap * sizeof(*h));
	if (!h)
		return false;
	rr->header[end] = h;
	rr->header_cap[end] = cap;
	return true;
}

/* "<redacted 27 bytes>" */
static bool is_redacted(struct osp_slice v, uint32_t *n)
{
	static const char head[] = "<redacted ", tail[] = " bytes>";
	uint64_t len = 0;
	uint32_t i = sizeof(head) - 1;

	if (v.n < sizeof(head) + sizeof(tail) - 1 || memcmp(v.p, head, i))
		return false;
	for (; i < v.n && v.p[i] >= '0' && v.p[i] <= '9' && len < UINT32_MAX / 10; i++)
		len = len * 10 + (uint64_t)(v.p[i] - '0');
	*n = (uint32_t)len + 1;
	return v.n - i == sizeof(tail) - 1 && !memcmp(v.p + i, tail, v.n - i);
}

static void get_header(struct ctx *cx, void *base)
{
	static const struct osp_rec_header none;
	struct osp_rec_msg *msg = base;
	int end = msg == &cx->rr->rec.msg[OSP_RES] ? OSP_RES : OSP_REQ;
	struct rc_rec *rr = cx->rr;
	struct rc_js *js = &cx->js;
	bool first = true, inner;
	uint32_t n = 0;

	if (!rc_js_array(js))
		return;
	while (rc_js_next(js, &first)) {
		struct osp_rec_header h = none;

		inner = true;
		if (!rc_js_array(js))
			continue;
		if (rc_js_next(js, &inner))
			get_str(cx, &h.name);
		if (rc_js_next(js, &inner))
			get_str(cx, &h.value);
		while (rc_js_next(js, &inner))
			rc_js_skip(js);
		if (!h.name.p || !h.value.p || !header_room(rr, end, n))
			continue;
		if (!is_redacted(h.value, &h.redacted))
			h.redacted = 0;
		rr->header[end][n++] = h;
	}
	msg->header_n = n;
	msg->header = n ? rr->header[end] : &none;
}

static void get_digest(struct ctx *cx, void *base)
{
	struct osp_rec_msg *msg = base;
	struct rc_js_str str;

	if (rc_js_str(&cx->js, &str) && str.n == 22 && !memcmp(str.p, "xxh64:", 6) &&
	    hex64(str.p + 6, &msg->digest))
		msg->has |= OSP_MH_DIGEST;
}

static void get_interim(struct ctx *cx, void *base)
{
	struct osp_rec_msg *msg = base;
	bool first = true;
	uint64_t v;

	if (!rc_js_array(&cx->js))
		return;
	while (rc_js_next(&cx->js, &first))
		if (rc_js_u64(&cx->js, &v) && v <= UINT16_MAX && msg->interim_n < OSP_INTERIM_MAX)
			msg->interim[msg->interim_n++] = (uint16_t)v;
}

static void get_status(struct ctx *cx, void *base)
{
	struct osp_rec_msg *msg = base;
	uint64_t v;

	if (rc_js_u64(&cx->js, &v) && v <= 999) {
		msg->status = (uint16_t)v;
		msg->has |= OSP_MH_STATUS;
	}
}

/* What both messages have, in the writer's order (record/json.c). */
#define MSG_SIZES                                                                                  \
	U32("head_bytes", struct osp_rec_msg, head_bytes, OSP_MH_HEAD_BYTES),                      \
		U64("body_wire_bytes", struct osp_rec_msg, body_wire_bytes, OSP_MH_BODY_WIRE),     \
		U64("body_bytes", struct osp_rec_msg, body_bytes, OSP_MH_BODY),                    \
		U64("content_length", struct osp_rec_msg, content_length, OSP_MH_CONTENT_LENGTH)
#define MSG_PLACE                                                                                  \
	U32("tcp_seq", struct osp_rec_msg, tcp_seq, OSP_MH_SEQ),                                   \
		U32("tcp_end", struct osp_rec_msg, tcp_end, OSP_MH_SEQ_END),                       \
		I64("start_ns", struct osp_rec_msg, start_ns, OSP_MH_START),                       \
		I64("end_ns", struct osp_rec_msg, end_ns, OSP_MH_END), CALL("digest", get_digest), \
		CALL("header", get_header), SKIP("body")

static void get_request(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		STR("method", METHOD),
		STR("target", TARGET),
		STR("host", HOST),
		STR("user_agent", USER_AGENT),
		SKIP("traceparent"),
		SKIP("request_id"),
		MSG_SIZES,
		STR("transfer_encoding", REQ_TRANSFER_ENCODING),
		STR("content_encoding", REQ_CONTENT_ENCODING),
		STR("content_type", REQ_CONTENT_TYPE),
		MSG_PLACE,
	};
	struct osp_rec_msg *msg = &cx->rr->rec.msg[OSP_REQ];

	if (rc_js_peek(&cx->js) == '{')
		msg->has |= OSP_MH_MSG;
	GET_OBJECT(cx, table, msg);
}

static void get_response(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		CALL("status_code", get_status),
		STR("reason", REASON),
		CALL("interim", get_interim),
		MSG_SIZES,
		STR("transfer_encoding", RES_TRANSFER_ENCODING),
		STR("content_encoding", RES_CONTENT_ENCODING),
		STR("content_type", RES_CONTENT_TYPE),
		MSG_PLACE,
	};
	struct osp_rec_msg *msg = &cx->rr->rec.msg[OSP_RES];

	if (rc_js_peek(&cx->js) == '{')
		msg->has |= OSP_MH_MSG;
	GET_OBJECT(cx, table, msg);
}

static void get_http(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		STR("version", HTTP_VERSION),
		CALL("request", get_request),
		CALL("response", get_response),
	};

	GET_OBJECT(cx, table, NULL);
}

static void get_timing(struct ctx *cx, void *base)
{
	struct times {
		uint32_t has;
		int64_t ttfb, duration;
	} t = { 0 };
	static const struct field table[] = {
		I64("ttfb_ns", struct times, ttfb, 1),
		I64("duration_ns", struct times, duration, 2),
	};
	struct osp_record *rec = &cx->rr->rec;

	GET_OBJECT(cx, table, &t);
	rec->ttfb_ns = t.ttfb;
	rec->duration_ns = t.duration;
	rec->has_timing = (uint8_t)t.has;
}

/* For people only: --explain says whose it was. */
static void get_process(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		U32("pid", struct osp_rec_proc, pid, OSP_PH_PID),
		SKIP("tid"),
		SKIP("ns_pid"),
		SKIP("start_time"),
		STR("comm", COMM),
		SKIP("executable"),
		SKIP("uid"),
	};

	GET_OBJECT(cx, table, &cx->rr->rec.proc);
}

/* ---- connection records --------------------------------------------------------------------- */

static void get_gaps(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		U64("at", struct osp_rec_gap, at, 0),
		U64("bytes", struct osp_rec_gap, bytes, 0),
		NAME("cause", osp_cause_name, OSP_CAUSE_MAX, struct osp_rec_gap, cause),
	};
	struct osp_rec_stream *strm = base;
	int dir = strm == &cx->rr->rec.connection.dir[OSP_RX] ? OSP_RX : OSP_TX;
	struct osp_rec_gap *gaps = cx->rr->gap[dir];
	bool first = true;

	if (!rc_js_array(&cx->js))
		return;
	strm->gap = gaps;
	while (rc_js_next(&cx->js, &first)) {
		struct osp_rec_gap gap = { .at = UINT64_MAX };

		if (rc_js_peek(&cx->js) != '{') {
			rc_js_skip(&cx->js);
			continue;
		}
		GET_OBJECT(cx, table, &gap);
		if (strm->gap_n < RC_GAPS_MAX)
			gaps[strm->gap_n++] = gap;
		else
			gaps[RC_GAPS_MAX - 1].bytes += gap.bytes;
	}
}

static void get_bytes(struct ctx *cx, void *base)
{
	struct osp_rec_stream *strm = base;

	if (rc_js_u64(&cx->js, &strm->bytes))
		cx->rr->rec.connection.has_bytes = 1;
}

static void get_stream(struct ctx *cx, int dir)
{
	static const struct field table[] = {
		CALL("bytes", get_bytes),
		U64("seen_bytes", struct osp_rec_stream, seen_bytes, 0),
		SKIP("captured_bytes"),
		SKIP("gap_bytes"),
		U64("overlap_bytes", struct osp_rec_stream, overlap_bytes, 0),
		CALL("gaps", get_gaps),
	};

	GET_OBJECT(cx, table, &cx->rr->rec.connection.dir[dir]);
}

static void get_tx(struct ctx *cx, void *base)
{
	get_stream(cx, OSP_TX);
}

static void get_rx(struct ctx *cx, void *base)
{
	get_stream(cx, OSP_RX);
}

static void get_opened(struct ctx *cx, void *base)
{
	struct osp_rec_connection *cn = &cx->rr->rec.connection;

	cn->has_opened = get_time(cx, &cn->opened_ns);
}

static void get_closed(struct ctx *cx, void *base)
{
	struct osp_rec_connection *cn = &cx->rr->rec.connection;

	cn->has_closed = get_time(cx, &cn->closed_ns);
}

/* ---- ledgers -------------------------------------------------------------------------------- */

/* Adds up an object of numbers; gap: by cause. */
static void sum_object(struct ctx *cx, uint64_t *sum, uint64_t *gap)
{
	bool first = true;
	struct osp_slice key;
	uint64_t v;

	if (!rc_js_object(&cx->js))
		return;
	while (rc_js_key(&cx->js, &first, &key)) {
		struct rc_js_str name = { key.p, key.n, false };
		int cause = gap ? name_index(&name, osp_cause_name, OSP_CAUSE_MAX) : -1;

		if (!rc_js_u64(&cx->js, &v))
			continue;
		if (sum)
			*sum += v;
		if (cause >= 0)
			gap[cause] = v;
	}
}

static void sum_lost(struct ctx *cx, void *base)
{
	sum_object(cx, &cx->rr->led.lost, NULL);
}

static void sum_gaps(struct ctx *cx, void *base)
{
	sum_object(cx, NULL, cx->rr->led.gap);
}

static void get_events(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		U64("filtered", struct rc_ledger, filtered, 0),
		CALL("lost", sum_lost),
	};

	GET_OBJECT(cx, table, &cx->rr->led);
}

static void get_exchanges(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		U64("lost", struct rc_ledger, exchanges_lost, 0),
	};

	GET_OBJECT(cx, table, &cx->rr->led);
}

static void get_byte_counts(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		CALL("gap", sum_gaps),
	};

	GET_OBJECT(cx, table, NULL);
}

static void add_dropped(struct ctx *cx, void *base)
{
	uint64_t v;

	if (rc_js_u64(&cx->js, &v))
		cx->rr->led.dropped += v;
}

/* An object with a name for each sink. */
static void get_sinks(struct ctx *cx, void *base)
{
	static const struct field table[] = {
		CALL("dropped", add_dropped),
		CALL("rejected", add_dropped),
		CALL("lost", add_dropped),
	};
	struct osp_slice name;
	bool first = true;

	if (!rc_js_object(&cx->js))
		return;
	while (rc_js_key(&cx->js, &first, &name))
		GET_OBJECT(cx, table, NULL);
}

static void get_when(struct ctx *cx, void *base)
{
	struct osp_slice *when = &cx->rr->rec.str[OSP_S_WHEN];

	get_str(cx, when);
	cx->rr->led.exit = when->p && RC_KEY(*when, "exit");
}

static void get_host(struct ctx *cx, void *base)
{
	static const struct field table[] = { STR("name", HOSTNAME) };

	GET_OBJECT(cx, table, NULL);
}

/* ---- the record ----------------------------------------------------------------------------- */

/* The kind is known before anything else is taken, and once: what is in the record's union already
 * would be read as something else.
 */
static void get_kind(struct ctx *cx, struct rc_js *js)
{
	struct rc_js_str str;
	int kind;

	if (!rc_js_str(js, &str))
		return;
	kind = name_index(&str, osp_kind_name, OSP_REC_KIND_MAX);
	if (kind > 0)
		cx->rr->rec.kind = (uint8_t)kind;
}

static void get_schema(struct ctx *cx, void *base)
{
	struct rc_js_str str;

	cx->schema = rc_js_str(&cx->js, &str) && str.n == sizeof(OSP_RECORD_SCHEMA) - 1 &&
		     !memcmp(str.p, OSP_RECORD_SCHEMA, str.n);
}

static void get_ts(struct ctx *cx, void *base)
{
	cx->rr->has_ts = get_time(cx, &cx->rr->rec.ts_ns);
}

#define COMMON                                                                                     \
	CALL("schema", get_schema), SKIP("kind"),                                                  \
		NAME("vantage", osp_vantage_name, OSP_VANTAGE_MAX, struct osp_record, vantage),    \
		CALL("id", get_id), U64("seq", struct osp_record, seq, 0), CALL("ts", get_ts)
#define SEEN CALL("flags", get_flags), SKIP("anomalies"), CALL("conn", get_conn)

static const struct field transaction_table[] = {
	COMMON,
	NAME("outcome", osp_outcome_name, OSP_OUT_MAX, struct osp_record, outcome),
	SEEN,
	CALL("http", get_http),
	CALL("timing", get_timing),
	CALL("process", get_process),
	SKIP("container"),
	SKIP("k8s"),
	U64("lost_bytes", struct osp_record, lost_bytes, 0),
};

static const struct field connection_table[] = {
	COMMON,
	SEEN,
	CALL("process", get_process),
	CALL("opened", get_opened),
	CALL("closed", get_closed),
	STR("end", END),
	STR("protocol", PROTOCOL),
	SKIP("tls"),
	U64("transactions", struct osp_record, connection.transactions, 0),
	SKIP("turns"),
	U64("lost_exchanges", struct osp_record, connection.lost_exchanges, 0),
	SKIP("tcp"),
	CALL("tx", get_tx),
	CALL("rx", get_rx),
};

static const struct field ledger_table[] = {
	COMMON,
	SEEN,
	CALL("when", get_when),
	STR("mode", MODE),
	STR("origin", ORIGIN),
	CALL("host", get_host),
	CALL("events", get_events),
	CALL("exchanges", get_exchanges),
	CALL("bytes", get_byte_counts),
	CALL("sinks", get_sinks),
};

static const struct field other_table[] = { COMMON, SEEN };

static void get_record(struct ctx *cx)
{
	struct osp_record *rec = &cx->rr->rec;

	switch (rec->kind) {
	case OSP_REC_TRANSACTION:
		GET_OBJECT(cx, transaction_table, rec);
		break;
	case OSP_REC_CONNECTION:
		GET_OBJECT(cx, connection_table, rec);
		break;
	case OSP_REC_LEDGER:
		GET_OBJECT(cx, ledger_table, rec);
		break;
	default:
		GET_OBJECT(cx, other_table, rec);
	}
}

/* The kind of a line whose keys come in another order than ours. */
static void find_kind(struct ctx *cx, const char *line, size_t n)
{
	struct ctx probe = *cx;
	struct osp_slice key;
	bool first = true;

	rc_js_init(&probe.js, line, n);
	if (!rc_js_object(&probe.js))
		return;
	while (rc_js_key(&probe.js, &first, &key)) {
		if (RC_KEY(key, "kind") && !cx->rr->rec.kind)
			get_kind(cx, &probe.js);
		else if (RC_KEY(key, "flags"))
			get_flags(&probe, NULL);
		else
			rc_js_skip(&probe.js);
	}
	cx->bytes = probe.bytes;
}

static int reset(struct rc_rec *rr, size_t n)
{
	memset(&rr->rec, 0, sizeof(rr->rec));
	memset(&rr->led, 0, sizeof(rr->led));
	rr->has_ts = false;
	rr->mem_used = 0;
	rr->rec.size = sizeof(rr->rec);
	if (n > rr->mem_cap) {
		char *mem = realloc(rr->mem, n * 2);

		if (!mem)
			return -ENOMEM;
		rr->mem = mem;
		rr->mem_cap = n * 2;
	}
	return 0;
}

int rc_rec_read(struct rc_rec *rr, const char *line, size_t n)
{
	static const char usual[] = "{\"schema\":\"" OSP_RECORD_SCHEMA "\",\"kind\":";
	struct ctx cx = { .rr = rr };

	if (reset(rr, n))
		return -ENOMEM;
	if (n > sizeof(usual) && !memcmp(line, usual, sizeof(usual) - 1)) {
		rc_js_init(&cx.js, line, n);
		cx.js.p += sizeof(usual) - 1;
		get_kind(&cx, &cx.js);
	}
	/* A kind unknown here, or keys in another order. */
	if (!rr->rec.kind)
		find_kind(&cx, line, n);
	rc_js_init(&cx.js, line, n);
	if (rc_js_peek(&cx.js) != '{')
		return -EPROTO;
	get_record(&cx);
	return cx.schema && rc_js_end(&cx.js) ? 0 : -EPROTO;
}

void rc_rec_fini(struct rc_rec *rr)
{
	free(rr->header[OSP_REQ]);
	free(rr->header[OSP_RES]);
	free(rr->mem);
	memset(rr, 0, sizeof(*rr));
}
