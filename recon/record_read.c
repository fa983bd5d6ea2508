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
	bool bytes; /* flag "nonutf8": escapes up to \u00ff are bytes */
};

/* ---- strings and names ---------------------------------------------------------------------- */

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

		if (strlen(s) == str->n && !memcmp(s, str->p, str->n))
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

static void get_u32(struct ctx *cx, uint32_t *out, uint32_t *has, uint32_t bit)
{
	uint64_t v;

	if (rc_js_u64(&cx->js, &v) && v <= UINT32_MAX) {
		*out = (uint32_t)v;
		*has |= bit;
	}
}

static void get_u64(struct ctx *cx, uint64_t *out, uint32_t *has, uint32_t bit)
{
	if (rc_js_u64(&cx->js, out))
		*has |= bit;
}

/* ns from one event to another: more than a century is damage, and would overflow sums. */
static void get_i64(struct ctx *cx, int64_t *out, uint32_t *has, uint32_t bit)
{
	int64_t v;

	if (rc_js_i64(&cx->js, &v) && v > -(1ll << 61) && v < 1ll << 61) {
		*out = v;
		*has |= bit;
	}
}

static bool get_time(struct ctx *cx, int64_t *out)
{
	struct rc_js_str str;

	return rc_js_str(&cx->js, &str) && rc_time_parse(str.p, str.n, out);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if ((c | 32) >= 'a' && (c | 32) <= 'f')
		return (c | 32) - 'a' + 10;
	return -1;
}

static bool hex64(const char *p, uint64_t *out)
{
	uint64_t v = 0;

	for (int i = 0; i < 16; i++) {
		int d = hex_digit(p[i]);

		if (d < 0)
			return false;
		v = v << 4 | (uint64_t)d;
	}
	*out = v;
	return true;
}

static void get_id(struct ctx *cx)
{
	struct rc_js_str str;
	uint64_t *id = cx->rr->rec.id;

	if (!rc_js_str(&cx->js, &str) || str.n != 32)
		return;
	if (!hex64(str.p, &id[0]) || !hex64(str.p + 16, &id[1]))
		id[0] = id[1] = 0;
}

static void get_flags(struct ctx *cx)
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

static bool get_end(struct ctx *cx, uint8_t addr[16], uint16_t *port)
{
	struct rc_js *js = &cx->js;
	struct rc_js_str str;
	struct osp_slice key;
	bool first = true, has_addr = false, has_port = false;
	uint64_t v;

	if (!rc_js_object(js))
		return false;
	while (rc_js_key(js, &first, &key)) {
		if (RC_KEY(key, "address")) {
			has_addr = rc_js_str(js, &str) && parse_address(str.p, str.n, addr);
		} else if (RC_KEY(key, "port")) {
			has_port = rc_js_u64(js, &v) && v <= UINT16_MAX;
			if (has_port)
				*port = (uint16_t)v;
		} else {
			rc_js_skip(js);
		}
	}
	return has_addr && has_port;
}

static void get_transport(struct ctx *cx, struct osp_rec_conn *conn)
{
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

static void get_conn(struct ctx *cx)
{
	struct osp_rec_conn *conn = &cx->rr->rec.conn;
	struct rc_js *js = &cx->js;
	bool first = true, client = false, server = false;
	struct osp_slice key;

	if (!rc_js_object(js))
		return;
	while (rc_js_key(js, &first, &key)) {
		if (RC_KEY(key, "client"))
			client = get_end(cx, conn->client, &conn->client_port);
		else if (RC_KEY(key, "server"))
			server = get_end(cx, conn->server, &conn->server_port);
		else if (RC_KEY(key, "role"))
			get_name(cx, osp_role_name, OSP_ROLE_MAX, &conn->role);
		else if (RC_KEY(key, "transport"))
			get_transport(cx, conn);
		else if (RC_KEY(key, "txn"))
			get_u64(cx, &conn->txn, &conn->has, OSP_CH_TXN);
		else if (RC_KEY(key, "netns"))
			get_u32(cx, &conn->netns, &conn->has, OSP_CH_NETNS);
		else if (RC_KEY(key, "cookie"))
			get_u64(cx, &conn->cookie, &conn->has, 0);
		else
			rc_js_skip(js);
	}
	if (client && server)
		conn->has |= OSP_CH_TUPLE;
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

static void get_header(struct ctx *cx, struct osp_rec_msg *msg, int end)
{
	static const struct osp_rec_header none;
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

static void get_digest(struct ctx *cx, struct osp_rec_msg *msg)
{
	struct rc_js_str str;

	if (rc_js_str(&cx->js, &str) && str.n == 22 && !memcmp(str.p, "xxh64:", 6) &&
	    hex64(str.p + 6, &msg->digest))
		msg->has |= OSP_MH_DIGEST;
}

static void get_interim(struct ctx *cx, struct osp_rec_msg *msg)
{
	bool first = true;
	uint64_t v;

	if (!rc_js_array(&cx->js))
		return;
	while (rc_js_next(&cx->js, &first))
		if (rc_js_u64(&cx->js, &v) && v <= UINT16_MAX && msg->interim_n < OSP_INTERIM_MAX)
			msg->interim[msg->interim_n++] = (uint16_t)v;
}

/* Keys both messages have; those that count, and those that place. */
static bool message_number(struct ctx *cx, struct osp_slice key, struct osp_rec_msg *msg)
{
	if (RC_KEY(key, "head_bytes"))
		get_u32(cx, &msg->head_bytes, &msg->has, OSP_MH_HEAD_BYTES);
	else if (RC_KEY(key, "body_wire_bytes"))
		get_u64(cx, &msg->body_wire_bytes, &msg->has, OSP_MH_BODY_WIRE);
	else if (RC_KEY(key, "body_bytes"))
		get_u64(cx, &msg->body_bytes, &msg->has, OSP_MH_BODY);
	else if (RC_KEY(key, "content_length"))
		get_u64(cx, &msg->content_length, &msg->has, OSP_MH_CONTENT_LENGTH);
	else if (RC_KEY(key, "tcp_seq"))
		get_u32(cx, &msg->tcp_seq, &msg->has, OSP_MH_SEQ);
	else if (RC_KEY(key, "tcp_end"))
		get_u32(cx, &msg->tcp_end, &msg->has, OSP_MH_SEQ_END);
	else if (RC_KEY(key, "start_ns"))
		get_i64(cx, &msg->start_ns, &msg->has, OSP_MH_START);
	else if (RC_KEY(key, "end_ns"))
		get_i64(cx, &msg->end_ns, &msg->has, OSP_MH_END);
	else
		return false;
	return true;
}

static bool message_common(struct ctx *cx, struct osp_slice key, struct osp_rec_msg *msg, int end)
{
	struct osp_slice *str = cx->rr->rec.str;
	bool req = end == OSP_REQ;

	if (RC_KEY(key, "digest"))
		get_digest(cx, msg);
	else if (RC_KEY(key, "transfer_encoding"))
		get_str(cx, &str[req ? OSP_S_REQ_TRANSFER_ENCODING : OSP_S_RES_TRANSFER_ENCODING]);
	else if (RC_KEY(key, "content_encoding"))
		get_str(cx, &str[req ? OSP_S_REQ_CONTENT_ENCODING : OSP_S_RES_CONTENT_ENCODING]);
	else if (RC_KEY(key, "content_type"))
		get_str(cx, &str[req ? OSP_S_REQ_CONTENT_TYPE : OSP_S_RES_CONTENT_TYPE]);
	else if (RC_KEY(key, "header"))
		get_header(cx, msg, end);
	else
		return false;
	return true;
}

static void get_request(struct ctx *cx)
{
	struct osp_rec_msg *msg = &cx->rr->rec.msg[OSP_REQ];
	struct osp_slice *str = cx->rr->rec.str, key;
	bool first = true;

	if (!rc_js_object(&cx->js))
		return;
	msg->has |= OSP_MH_MSG;
	while (rc_js_key(&cx->js, &first, &key)) {
		if (RC_KEY(key, "method"))
			get_str(cx, &str[OSP_S_METHOD]);
		else if (RC_KEY(key, "target"))
			get_str(cx, &str[OSP_S_TARGET]);
		else if (RC_KEY(key, "host"))
			get_str(cx, &str[OSP_S_HOST]);
		else if (RC_KEY(key, "user_agent"))
			get_str(cx, &str[OSP_S_USER_AGENT]);
		else if (!message_number(cx, key, msg) && !message_common(cx, key, msg, OSP_REQ))
			rc_js_skip(&cx->js);
	}
}

static void get_response(struct ctx *cx)
{
	struct osp_rec_msg *msg = &cx->rr->rec.msg[OSP_RES];
	bool first = true;
	struct osp_slice key;
	uint64_t v;

	if (!rc_js_object(&cx->js))
		return;
	msg->has |= OSP_MH_MSG;
	while (rc_js_key(&cx->js, &first, &key)) {
		if (RC_KEY(key, "status_code")) {
			if (rc_js_u64(&cx->js, &v) && v <= 999) {
				msg->status = (uint16_t)v;
				msg->has |= OSP_MH_STATUS;
			}
		} else if (RC_KEY(key, "reason")) {
			get_str(cx, &cx->rr->rec.str[OSP_S_REASON]);
		} else if (RC_KEY(key, "interim")) {
			get_interim(cx, msg);
		} else if (!message_number(cx, key, msg) &&
			   !message_common(cx, key, msg, OSP_RES)) {
			rc_js_skip(&cx->js);
		}
	}
}

static void get_http(struct ctx *cx)
{
	bool first = true;
	struct osp_slice key;

	if (!rc_js_object(&cx->js))
		return;
	while (rc_js_key(&cx->js, &first, &key)) {
		if (RC_KEY(key, "request"))
			get_request(cx);
		else if (RC_KEY(key, "response"))
			get_response(cx);
		else if (RC_KEY(key, "version"))
			get_str(cx, &cx->rr->rec.str[OSP_S_HTTP_VERSION]);
		else
			rc_js_skip(&cx->js);
	}
}

static void get_timing(struct ctx *cx)
{
	struct osp_record *rec = &cx->rr->rec;
	bool first = true;
	struct osp_slice key;
	uint32_t has = 0;

	if (!rc_js_object(&cx->js))
		return;
	while (rc_js_key(&cx->js, &first, &key)) {
		if (RC_KEY(key, "ttfb_ns"))
			get_i64(cx, &rec->ttfb_ns, &has, 1);
		else if (RC_KEY(key, "duration_ns"))
			get_i64(cx, &rec->duration_ns, &has, 2);
		else
			rc_js_skip(&cx->js);
	}
	rec->has_timing = (uint8_t)has;
}

/* For people only: --explain says whose it was. */
static void get_process(struct ctx *cx)
{
	struct osp_record *rec = &cx->rr->rec;
	bool first = true;
	struct osp_slice key;

	if (!rc_js_object(&cx->js))
		return;
	while (rc_js_key(&cx->js, &first, &key)) {
		if (RC_KEY(key, "pid"))
			get_u32(cx, &rec->proc.pid, &rec->proc.has, OSP_PH_PID);
		else if (RC_KEY(key, "comm"))
			get_str(cx, &rec->str[OSP_S_COMM]);
		else
			rc_js_skip(&cx->js);
	}
}

static bool transaction_key(struct ctx *cx, struct osp_slice key)
{
	if (RC_KEY(key, "http"))
		get_http(cx);
	else if (RC_KEY(key, "timing"))
		get_timing(cx);
	else if (RC_KEY(key, "outcome"))
		get_name(cx, osp_outcome_name, OSP_OUT_MAX, &cx->rr->rec.outcome);
	else if (RC_KEY(key, "lost_bytes"))
		get_u64(cx, &cx->rr->rec.lost_bytes, &(uint32_t){ 0 }, 0);
	else
		return false;
	return true;
}

/* ---- connection records --------------------------------------------------------------------- */

static void get_gaps(struct ctx *cx, struct osp_rec_stream *strm, struct osp_rec_gap *gaps)
{
	bool first = true, in;
	struct osp_slice key;

	if (!rc_js_array(&cx->js))
		return;
	strm->gap = gaps;
	while (rc_js_next(&cx->js, &first)) {
		struct osp_rec_gap gap = { .at = UINT64_MAX };

		in = true;
		if (!rc_js_object(&cx->js))
			continue;
		while (rc_js_key(&cx->js, &in, &key)) {
			if (RC_KEY(key, "at"))
				get_u64(cx, &gap.at, &(uint32_t){ 0 }, 0);
			else if (RC_KEY(key, "bytes"))
				get_u64(cx, &gap.bytes, &(uint32_t){ 0 }, 0);
			else if (RC_KEY(key, "cause"))
				get_name(cx, osp_cause_name, OSP_CAUSE_MAX, &gap.cause);
			else
				rc_js_skip(&cx->js);
		}
		if (strm->gap_n < RC_GAPS_MAX)
			gaps[strm->gap_n++] = gap;
		else
			gaps[RC_GAPS_MAX - 1].bytes += gap.bytes;
	}
}

static void get_stream(struct ctx *cx, int dir)
{
	struct osp_rec_stream *strm = &cx->rr->rec.connection.dir[dir];
	bool first = true;
	struct osp_slice key;
	uint32_t has = 0;

	if (!rc_js_object(&cx->js))
		return;
	while (rc_js_key(&cx->js, &first, &key)) {
		if (RC_KEY(key, "gaps"))
			get_gaps(cx, strm, cx->rr->gap[dir]);
		else if (RC_KEY(key, "bytes"))
			get_u64(cx, &strm->bytes, &has, 1);
		else if (RC_KEY(key, "seen_bytes"))
			get_u64(cx, &strm->seen_bytes, &has, 0);
		else if (RC_KEY(key, "overlap_bytes"))
			get_u64(cx, &strm->overlap_bytes, &has, 0);
		else
			rc_js_skip(&cx->js);
	}
	if (has)
		cx->rr->rec.connection.has_bytes = 1;
}

static bool connection_key(struct ctx *cx, struct osp_slice key)
{
	struct osp_record *rec = &cx->rr->rec;
	struct osp_rec_connection *cn = &rec->connection;
	uint32_t has = 0;

	if (RC_KEY(key, "opened"))
		cn->has_opened = get_time(cx, &cn->opened_ns);
	else if (RC_KEY(key, "closed"))
		cn->has_closed = get_time(cx, &cn->closed_ns);
	else if (RC_KEY(key, "end"))
		get_str(cx, &rec->str[OSP_S_END]);
	else if (RC_KEY(key, "protocol"))
		get_str(cx, &rec->str[OSP_S_PROTOCOL]);
	else if (RC_KEY(key, "transactions"))
		get_u64(cx, &cn->transactions, &has, 0);
	else if (RC_KEY(key, "lost_exchanges"))
		get_u64(cx, &cn->lost_exchanges, &has, 0);
	else if (RC_KEY(key, "tx"))
		get_stream(cx, OSP_TX);
	else if (RC_KEY(key, "rx"))
		get_stream(cx, OSP_RX);
	else
		return false;
	return true;
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

static void get_stage(struct ctx *cx, struct osp_slice stage)
{
	struct rc_ledger *led = &cx->rr->led;
	bool first = true, events = RC_KEY(stage, "events");
	struct osp_slice key;
	uint32_t has = 0;

	if (!rc_js_object(&cx->js))
		return;
	while (rc_js_key(&cx->js, &first, &key)) {
		if (events && RC_KEY(key, "filtered"))
			get_u64(cx, &led->filtered, &has, 0);
		else if (events && RC_KEY(key, "lost"))
			sum_object(cx, &led->lost, NULL);
		else if (RC_KEY(stage, "exchanges") && RC_KEY(key, "lost"))
			get_u64(cx, &led->exchanges_lost, &has, 0);
		else if (RC_KEY(stage, "bytes") && RC_KEY(key, "gap"))
			sum_object(cx, NULL, led->gap);
		else
			rc_js_skip(&cx->js);
	}
}

static void get_sink(struct ctx *cx)
{
	struct rc_ledger *led = &cx->rr->led;
	bool first = true;
	struct osp_slice key;
	uint64_t v;

	if (!rc_js_object(&cx->js))
		return;
	while (rc_js_key(&cx->js, &first, &key)) {
		if (!RC_KEY(key, "dropped") && !RC_KEY(key, "rejected") && !RC_KEY(key, "lost"))
			rc_js_skip(&cx->js);
		else if (rc_js_u64(&cx->js, &v))
			led->dropped += v;
	}
}

static bool ledger_key(struct ctx *cx, struct osp_slice key)
{
	struct osp_record *rec = &cx->rr->rec;
	struct osp_slice name;
	bool first = true;

	if (RC_KEY(key, "when")) {
		get_str(cx, &rec->str[OSP_S_WHEN]);
		name = rec->str[OSP_S_WHEN];
		cx->rr->led.exit = name.p && RC_KEY(name, "exit");
	} else if (RC_KEY(key, "mode")) {
		get_str(cx, &rec->str[OSP_S_MODE]);
	} else if (RC_KEY(key, "origin")) {
		get_str(cx, &rec->str[OSP_S_ORIGIN]);
	} else if (RC_KEY(key, "host")) {
		if (rc_js_object(&cx->js))
			while (rc_js_key(&cx->js, &first, &name))
				get_str(cx, &rec->str[OSP_S_HOSTNAME]);
	} else if (RC_KEY(key, "events") || RC_KEY(key, "bytes") || RC_KEY(key, "exchanges")) {
		get_stage(cx, key);
	} else if (RC_KEY(key, "sinks")) {
		if (rc_js_object(&cx->js))
			while (rc_js_key(&cx->js, &first, &name))
				get_sink(cx);
	} else {
		return false;
	}
	return true;
}

/* ---- the record ----------------------------------------------------------------------------- */

static bool kind_key(struct ctx *cx, struct osp_slice key)
{
	switch (cx->rr->rec.kind) {
	case OSP_REC_TRANSACTION:
		return transaction_key(cx, key);
	case OSP_REC_CONNECTION:
		return connection_key(cx, key);
	case OSP_REC_LEDGER:
		return ledger_key(cx, key);
	}
	return false;
}

/* Keys before kind are common ones: the writer's order is part of the format, and a writer who
 * keeps to the names but sorts them ("conn" before "kind") loses nothing but ledgers' counters.
 */
static bool common_key(struct ctx *cx, struct osp_slice key, bool *schema)
{
	struct osp_record *rec = &cx->rr->rec;
	struct rc_js_str str;

	if (RC_KEY(key, "schema"))
		*schema = rc_js_str(&cx->js, &str) && str.n == sizeof(OSP_RECORD_SCHEMA) - 1 &&
			  !memcmp(str.p, OSP_RECORD_SCHEMA, str.n);
	else if (RC_KEY(key, "kind") && !rec->kind)
		/* Once: what is in the record's union already would be read as something else. */
		get_name(cx, osp_kind_name, OSP_REC_KIND_MAX, &rec->kind);
	else if (RC_KEY(key, "vantage"))
		get_name(cx, osp_vantage_name, OSP_VANTAGE_MAX, &rec->vantage);
	else if (RC_KEY(key, "id"))
		get_id(cx);
	else if (RC_KEY(key, "seq"))
		get_u64(cx, &rec->seq, &(uint32_t){ 0 }, 0);
	else if (RC_KEY(key, "ts"))
		cx->rr->has_ts = get_time(cx, &rec->ts_ns);
	else if (RC_KEY(key, "flags"))
		get_flags(cx);
	else if (RC_KEY(key, "conn"))
		get_conn(cx);
	else if (RC_KEY(key, "process"))
		get_process(cx);
	else
		return false;
	return true;
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
		if (RC_KEY(key, "kind"))
			get_name(&probe, osp_kind_name, OSP_REC_KIND_MAX, &cx->rr->rec.kind);
		else if (RC_KEY(key, "flags"))
			get_flags(&probe);
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
	struct osp_slice key;
	bool first = true, schema = false;

	if (reset(rr, n))
		return -ENOMEM;
	if (n < sizeof(usual) || memcmp(line, usual, sizeof(usual) - 1))
		find_kind(&cx, line, n);
	rc_js_init(&cx.js, line, n);
	if (!rc_js_object(&cx.js))
		return -EPROTO;
	while (rc_js_key(&cx.js, &first, &key))
		if (!common_key(&cx, key, &schema) && !kind_key(&cx, key))
			rc_js_skip(&cx.js);
	return schema && rc_js_end(&cx.js) ? 0 : -EPROTO;
}

void rc_rec_fini(struct rc_rec *rr)
{
	free(rr->header[OSP_REQ]);
	free(rr->header[OSP_RES]);
	free(rr->mem);
	memset(rr, 0, sizeof(*rr));
}
