/* SPDX-License-Identifier: GPL-3.0-or-later */
/* foreign.c: other tools' logs to records.
 *
 * Zeek: scripts/base/protocols/http/main.zeek. Its uri is percent-decoded and its body lengths are
 * after decompression. Suricata: etc/schema.json; timestamp is when the transaction was logged, the
 * length is of the response's body as sent. HAR 1.2: no addresses of the client, -1 is unknown.
 */
#include "recon/foreign.h"
#include "recon/json.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

/* ---- building a record ---------------------------------------------------------------------- */

static int begin(struct rc_foreign *fo, size_t n)
{
	struct rc_rec *rr = &fo->rr;

	memset(&rr->rec, 0, sizeof(rr->rec));
	rr->rec.size = sizeof(rr->rec);
	rr->rec.kind = OSP_REC_TRANSACTION;
	rr->rec.vantage = OSP_VANTAGE_WIRE;
	rr->rec.conn.transport = IPPROTO_TCP;
	rr->rec.id[0] = 0xf0e1; /* no id of its own: a constant and its number */
	rr->rec.id[1] = fo->n + 1;
	rr->has_ts = false;
	rr->mem_used = 0;
	if (2 * n > rr->mem_cap) {
		char *mem = realloc(rr->mem, 2 * n);

		if (!mem)
			return -ENOMEM;
		rr->mem = mem;
		rr->mem_cap = 2 * n;
	}
	return 0;
}

/* A line that is an object of JSON, entered: 1; 0: an empty one. */
static int begin_line(struct rc_foreign *fo, struct rc_js *js, const char *line, size_t n)
{
	if (!n)
		return 0;
	if (begin(fo, n))
		return -ENOMEM;
	rc_js_init(js, line, n);
	return rc_js_object(js) ? 1 : -EPROTO;
}

static struct osp_slice keep(struct rc_rec *rr, const struct rc_js_str *str)
{
	struct osp_slice s = { rr->mem + rr->mem_used, 0 };

	if (str->n > rr->mem_cap - rr->mem_used)
		return (struct osp_slice){ NULL, 0 };
	s.n = (uint32_t)rc_js_decode(str, rr->mem + rr->mem_used, false);
	rr->mem_used += s.n;
	return s;
}

static bool address(struct osp_slice s, uint8_t out[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char tmp[64];

	if (!s.p || !s.n || s.n >= sizeof(tmp))
		return false;
	memcpy(tmp, s.p, s.n);
	tmp[s.n] = 0;
	if (inet_pton(AF_INET, tmp, out + 12) == 1) {
		memcpy(out, mapped, sizeof(mapped));
		return true;
	}
	return inet_pton(AF_INET6, tmp, out) == 1;
}

/* "HTTP/1.1" or "1.1" */
static void set_version(struct osp_record *rec, struct osp_slice s)
{
	if (s.n > 5 && !memcmp(s.p, "HTTP/", 5))
		s = osp_slice(s.p + 5, s.n - 5);
	if (s.p && s.n)
		rec->str[OSP_S_HTTP_VERSION] = s;
}

static void set_status(struct osp_record *rec, uint64_t status)
{
	struct osp_rec_msg *res = &rec->msg[OSP_RES];

	if (!status || status > 999)
		return;
	res->has |= OSP_MH_MSG | OSP_MH_STATUS;
	res->status = (uint16_t)status;
}

static int finish(struct rc_foreign *fo)
{
	struct osp_record *rec = &fo->rr.rec;

	if (rec->str[OSP_S_METHOD].p || rec->str[OSP_S_TARGET].p)
		rec->msg[OSP_REQ].has |= OSP_MH_MSG;
	if (!fo->rr.has_ts || !((rec->msg[OSP_REQ].has | rec->msg[OSP_RES].has) & OSP_MH_MSG))
		return -EPROTO;
	rec->outcome = !(rec->msg[OSP_RES].has & OSP_MH_MSG)   ? OSP_OUT_NO_RESPONSE
		       : !(rec->msg[OSP_REQ].has & OSP_MH_MSG) ? OSP_OUT_NO_REQUEST
							       : OSP_OUT_OK;
	fo->n++;
	return 1;
}

/* ---- Zeek ----------------------------------------------------------------------------------- */

enum zeek {
	Z_TS,
	Z_ORIG_H,
	Z_ORIG_P,
	Z_RESP_H,
	Z_RESP_P,
	Z_DEPTH,
	Z_METHOD,
	Z_HOST,
	Z_URI,
	Z_VERSION,
	Z_AGENT,
	Z_REQ_LEN,
	Z_RES_LEN,
	Z_STATUS,
	Z_MSG,
	Z_MAX
};

static const char *const zeek_names[Z_MAX] = {
	"ts",
	"id.orig_h",
	"id.orig_p",
	"id.resp_h",
	"id.resp_p",
	"trans_depth",
	"method",
	"host",
	"uri",
	"version",
	"user_agent",
	"request_body_len",
	"response_body_len",
	"status_code",
	"status_msg",
};

static bool number(struct osp_slice s, uint64_t *out)
{
	uint64_t v = 0;

	for (uint32_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9' || v > UINT64_MAX / 10 - 1)
			return false;
		else
			v = v * 10 + (uint64_t)(s.p[i] - '0');
	*out = v;
	return s.n > 0;
}

static bool zeek_end(struct osp_rec_conn *conn, enum zeek what, struct osp_slice s)
{
	uint64_t v;

	switch (what) {
	case Z_ORIG_H:
		return address(s, conn->client);
	case Z_RESP_H:
		return address(s, conn->server);
	case Z_ORIG_P:
		conn->client_port = number(s, &v) ? (uint16_t)v : 0;
		return conn->client_port;
	default:
		conn->server_port = number(s, &v) ? (uint16_t)v : 0;
		return conn->server_port;
	}
}

/* A value of our field; got: bits of what was there. */
static void zeek_value(struct rc_foreign *fo, enum zeek what, struct osp_slice s, uint32_t *got)
{
	struct osp_record *rec = &fo->rr.rec;
	struct osp_rec_msg *req = &rec->msg[OSP_REQ], *res = &rec->msg[OSP_RES];
	uint64_t v;

	switch (what) {
	case Z_TS:
		fo->rr.has_ts = rc_time_epoch(s.p, s.n, &rec->ts_ns) ||
				rc_time_parse(s.p, s.n, &rec->ts_ns);
		break;
	case Z_ORIG_H:
	case Z_ORIG_P:
	case Z_RESP_H:
	case Z_RESP_P:
		if (zeek_end(&rec->conn, what, s))
			*got |= 1u << what;
		break;
	case Z_DEPTH:
		if (number(s, &rec->conn.txn))
			rec->conn.has |= OSP_CH_TXN;
		break;
	case Z_METHOD:
		rec->str[OSP_S_METHOD] = s;
		break;
	case Z_HOST:
		rec->str[OSP_S_HOST] = s;
		break;
	case Z_URI:
		rec->str[OSP_S_TARGET] = s;
		break;
	case Z_VERSION:
		set_version(rec, s);
		break;
	case Z_AGENT:
		rec->str[OSP_S_USER_AGENT] = s;
		break;
	case Z_REQ_LEN:
		if (number(s, &req->body_bytes))
			req->has |= OSP_MH_BODY;
		break;
	case Z_RES_LEN:
		if (number(s, &res->body_bytes))
			res->has |= OSP_MH_BODY;
		break;
	case Z_STATUS:
		if (number(s, &v))
			set_status(rec, v);
		break;
	case Z_MSG:
		rec->str[OSP_S_REASON] = s;
		break;
	case Z_MAX:
		break;
	}
}

static int zeek_finish(struct rc_foreign *fo, uint32_t got)
{
	const uint32_t all = 1u << Z_ORIG_H | 1u << Z_ORIG_P | 1u << Z_RESP_H | 1u << Z_RESP_P;
	struct osp_record *rec = &fo->rr.rec;

	if (got == all)
		rec->conn.has |= OSP_CH_TUPLE;
	if (!(rec->msg[OSP_RES].has & OSP_MH_MSG))
		rec->msg[OSP_RES].has = 0;
	return finish(fo);
}

/* "\x09" and "\\", as Zeek escapes what would break its table. */
static struct osp_slice zeek_decode(struct rc_rec *rr, const char *p, size_t n)
{
	char *out = rr->mem + rr->mem_used;
	size_t k = 0;

	if (!memchr(p, '\\', n))
		return osp_slice(p, n);
	for (size_t i = 0; i < n; i++) {
		unsigned int v = 0;
		char hex[3] = { 0 };

		if (p[i] == '\\' && i + 3 < n && p[i + 1] == 'x') {
			memcpy(hex, p + i + 2, 2);
			v = (unsigned int)strtoul(hex, NULL, 16);
			out[k++] = (char)v;
			i += 3;
		} else {
			if (p[i] == '\\' && i + 1 < n && p[i + 1] == '\\')
				i++;
			out[k++] = p[i];
		}
	}
	rr->mem_used += k;
	return osp_slice(out, k);
}

static void zeek_fields(struct rc_foreign *fo, const char *p, const char *end)
{
	fo->column_n = 0;
	while (p <= end && fo->column_n < RC_ZEEK_COLUMNS) {
		const char *to = memchr(p, fo->separator, (size_t)(end - p));
		size_t n = (size_t)((to ? to : end) - p);
		int8_t *col = &fo->column[fo->column_n++];

		*col = -1;
		for (int i = 0; i < Z_MAX; i++)
			if (strlen(zeek_names[i]) == n && !memcmp(zeek_names[i], p, n))
				*col = (int8_t)i;
		if (!to)
			break;
		p = to + 1;
	}
}

static void zeek_comment(struct rc_foreign *fo, const char *line, size_t n)
{
	static const char sep[] = "#separator \\x", fields[] = "#fields", unset[] = "#unset_field";
	char hex[3] = { 0 };
	size_t k;

	if (n >= sizeof(sep) + 1 && !memcmp(line, sep, sizeof(sep) - 1)) {
		memcpy(hex, line + sizeof(sep) - 1, 2);
		fo->separator = (char)strtoul(hex, NULL, 16);
	} else if (n > sizeof(fields) && !memcmp(line, fields, sizeof(fields) - 1)) {
		zeek_fields(fo, line + sizeof(fields), line + n);
	} else if (n > sizeof(unset) && !memcmp(line, unset, sizeof(unset) - 1)) {
		k = n - sizeof(unset);
		if (k < sizeof(fo->unset)) {
			memcpy(fo->unset, line + sizeof(unset), k);
			fo->unset[k] = 0;
		}
	}
}

int rc_zeek_line(struct rc_foreign *fo, const char *line, size_t n)
{
	const char *p = line, *end = line + n;
	uint32_t got = 0;

	if (!fo->separator) {
		fo->separator = '\t';
		memcpy(fo->unset, "-", 2);
	}
	if (!n || *line == '#') {
		zeek_comment(fo, line, n);
		return 0;
	}
	if (begin(fo, n))
		return -ENOMEM;
	for (int i = 0; i < fo->column_n && p <= end; i++) {
		const char *to = memchr(p, fo->separator, (size_t)(end - p));
		size_t k = (size_t)((to ? to : end) - p);

		if (fo->column[i] >= 0 && !(k == strlen(fo->unset) && !memcmp(p, fo->unset, k)))
			zeek_value(fo, (enum zeek)fo->column[i], zeek_decode(&fo->rr, p, k), &got);
		p = to ? to + 1 : end + 1;
	}
	return zeek_finish(fo, got);
}

int rc_zeek_json(struct rc_foreign *fo, const char *line, size_t n)
{
	struct rc_js js;
	struct osp_slice key;
	bool first = true;
	uint32_t got = 0;
	int rc;

	rc = begin_line(fo, &js, line, n);
	if (rc <= 0)
		return rc;
	while (rc_js_key(&js, &first, &key)) {
		struct rc_js_str str;
		const char *from;
		int what = -1;

		for (int i = 0; i < Z_MAX; i++)
			if (rc_key_is(key, zeek_names[i], strlen(zeek_names[i])))
				what = i;
		if (rc_js_peek(&js) == '"') {
			if (rc_js_str(&js, &str) && what >= 0)
				zeek_value(fo, (enum zeek)what, keep(&fo->rr, &str), &got);
			continue;
		}
		from = js.p;
		rc_js_skip(&js);
		if (what >= 0 && !js.bad)
			zeek_value(fo, (enum zeek)what, osp_slice(from, (size_t)(js.p - from)),
				   &got);
	}
	return rc_js_end(&js) ? zeek_finish(fo, got) : -EPROTO;
}

/* ---- Suricata ------------------------------------------------------------------------------- */

static void eve_http(struct rc_foreign *fo, struct rc_js *js)
{
	struct osp_record *rec = &fo->rr.rec;
	struct osp_rec_msg *res = &rec->msg[OSP_RES];
	struct osp_slice key;
	struct rc_js_str str;
	bool first = true;
	uint64_t v;

	if (!rc_js_object(js))
		return;
	while (rc_js_key(js, &first, &key)) {
		if (RC_KEY(key, "status")) {
			if (rc_js_u64(js, &v))
				set_status(rec, v);
		} else if (RC_KEY(key, "length")) {
			if (rc_js_u64(js, &res->body_wire_bytes))
				res->has |= OSP_MH_BODY_WIRE;
		} else if (rc_js_str(js, &str)) {
			struct osp_slice s = keep(&fo->rr, &str);

			if (RC_KEY(key, "http_method"))
				rec->str[OSP_S_METHOD] = s;
			else if (RC_KEY(key, "url"))
				rec->str[OSP_S_TARGET] = s;
			else if (RC_KEY(key, "hostname"))
				rec->str[OSP_S_HOST] = s;
			else if (RC_KEY(key, "http_user_agent"))
				rec->str[OSP_S_USER_AGENT] = s;
			else if (RC_KEY(key, "protocol"))
				set_version(rec, s);
		}
	}
	if (!(res->has & OSP_MH_MSG))
		res->has = 0;
}

static void eve_key(struct rc_foreign *fo, struct rc_js *js, struct osp_slice key, uint32_t *got)
{
	struct osp_record *rec = &fo->rr.rec;
	struct osp_rec_conn *conn = &rec->conn;
	struct rc_js_str str;
	uint64_t v;

	if (RC_KEY(key, "timestamp")) {
		fo->rr.has_ts = rc_js_str(js, &str) && rc_time_parse(str.p, str.n, &rec->ts_ns);
	} else if (RC_KEY(key, "src_ip") || RC_KEY(key, "dest_ip")) {
		bool src = key.p[0] == 's';

		if (rc_js_str(js, &str) &&
		    address(osp_slice(str.p, str.n), src ? conn->client : conn->server))
			*got |= src ? 1 : 2;
	} else if (RC_KEY(key, "src_port")) {
		if (rc_js_u64(js, &v) && v <= UINT16_MAX) {
			conn->client_port = (uint16_t)v;
			*got |= 4;
		}
	} else if (RC_KEY(key, "dest_port")) {
		if (rc_js_u64(js, &v) && v <= UINT16_MAX) {
			conn->server_port = (uint16_t)v;
			*got |= 8;
		}
	} else if (RC_KEY(key, "http")) {
		eve_http(fo, js);
	} else {
		rc_js_skip(js);
	}
}

int rc_eve_line(struct rc_foreign *fo, const char *line, size_t n)
{
	struct rc_js js;
	struct osp_slice key;
	bool first = true, http = false;
	uint32_t got = 0;
	int rc;

	rc = begin_line(fo, &js, line, n);
	if (rc <= 0)
		return rc;
	while (rc_js_key(&js, &first, &key)) {
		struct rc_js_str str;

		if (RC_KEY(key, "event_type"))
			http = rc_js_str(&js, &str) && str.n == 4 && !memcmp(str.p, "http", 4);
		else
			eve_key(fo, &js, key, &got);
	}
	if (!rc_js_end(&js))
		return -EPROTO;
	if (got == 15)
		fo->rr.rec.conn.has |= OSP_CH_TUPLE;
	return http ? finish(fo) : 0;
}

/* ---- HAR ------------------------------------------------------------------------------------ */

static int har_headers(struct rc_foreign *fo, struct rc_js *js, int end)
{
	struct rc_rec *rr = &fo->rr;
	struct osp_rec_msg *msg = &rr->rec.msg[end];
	bool first = true, in;
	struct osp_slice key;
	uint32_t n = 0;

	if (!rc_js_array(js))
		return 0;
	while (rc_js_next(js, &first)) {
		struct osp_rec_header h = { 0 };
		struct rc_js_str str;

		in = true;
		if (!rc_js_object(js))
			continue;
		while (rc_js_key(js, &in, &key)) {
			if (!RC_KEY(key, "name") && !RC_KEY(key, "value"))
				rc_js_skip(js);
			else if (rc_js_str(js, &str))
				*(key.p[0] == 'n' ? &h.name : &h.value) = keep(rr, &str);
		}
		if (!h.name.p || !h.value.p)
			continue;
		if (n == rr->header_cap[end]) {
			uint32_t cap = n ? n * 2 : 32;
			void *p = realloc(rr->header[end], cap * sizeof(h));

			if (!p)
				return -ENOMEM;
			rr->header[end] = p;
			rr->header_cap[end] = cap;
		}
		rr->header[end][n++] = h;
	}
	msg->header_n = n;
	msg->header = n ? rr->header[end] : NULL;
	return 0;
}

/* "http://host:port/path?query#x": host and target as the request had them. */
static void har_url(struct osp_record *rec, struct osp_slice url)
{
	const char *p = url.p, *end = url.p + url.n, *slash, *hash;

	hash = memchr(p, '#', url.n);
	if (hash)
		end = hash;
	for (const char *q = p; q + 2 < end; q++) {
		if (memcmp(q, "://", 3))
			continue;
		p = q + 3;
		break;
	}
	slash = memchr(p, '/', (size_t)(end - p));
	rec->str[OSP_S_HOST] = osp_slice(p, (size_t)((slash ? slash : end) - p));
	rec->str[OSP_S_TARGET] =
		slash ? osp_slice(slash, (size_t)(end - slash)) : osp_slice("/", 1);
}

static void har_size(struct rc_js *js, uint64_t *out, uint32_t *has, uint32_t bit)
{
	int64_t v;

	if (rc_js_i64(js, &v) && v >= 0) {
		*out = (uint64_t)v;
		*has |= bit;
	}
}

static void har_string(struct rc_foreign *fo, struct osp_slice key, struct osp_slice s, int end)
{
	struct osp_record *rec = &fo->rr.rec;

	if (RC_KEY(key, "method"))
		rec->str[OSP_S_METHOD] = s;
	else if (RC_KEY(key, "url"))
		har_url(rec, s);
	else if (RC_KEY(key, "httpVersion") && end == OSP_REQ)
		set_version(rec, s);
	else if (RC_KEY(key, "statusText") && s.n)
		rec->str[OSP_S_REASON] = s;
}

static int har_message(struct rc_foreign *fo, struct rc_js *js, int end)
{
	struct osp_rec_msg *msg = &fo->rr.rec.msg[end];
	struct osp_slice key;
	struct rc_js_str str;
	bool first = true;
	uint64_t head = 0, v;
	uint32_t has = 0;
	int err = 0;

	if (!rc_js_object(js))
		return 0;
	while (!err && rc_js_key(js, &first, &key)) {
		if (RC_KEY(key, "headers")) {
			err = har_headers(fo, js, end);
		} else if (RC_KEY(key, "headersSize")) {
			har_size(js, &head, &has, 1);
		} else if (RC_KEY(key, "bodySize")) {
			har_size(js, &msg->body_bytes, &msg->has, OSP_MH_BODY);
		} else if (RC_KEY(key, "status")) {
			if (rc_js_u64(js, &v))
				set_status(&fo->rr.rec, v);
		} else if (rc_js_peek(js) == '"') {
			if (rc_js_str(js, &str))
				har_string(fo, key, keep(&fo->rr, &str), end);
		} else {
			rc_js_skip(js);
		}
	}
	if (has && head <= UINT32_MAX) {
		msg->head_bytes = (uint32_t)head;
		msg->has |= OSP_MH_HEAD_BYTES;
	}
	if (end == OSP_RES && !(msg->has & OSP_MH_MSG))
		*msg = (struct osp_rec_msg){ 0 };
	return err;
}

static void har_timings(struct rc_foreign *fo, struct rc_js *js)
{
	struct osp_slice key;
	bool first = true;
	double ms, send = -1, wait = -1;

	if (!rc_js_object(js))
		return;
	while (rc_js_key(js, &first, &key)) {
		if (!rc_js_num(js, &ms))
			continue;
		if (RC_KEY(key, "send"))
			send = ms;
		else if (RC_KEY(key, "wait"))
			wait = ms;
	}
	if (send >= 0 && wait >= 0 && send + wait < 1e9) {
		fo->rr.rec.ttfb_ns = (int64_t)((send + wait) * 1e6);
		fo->rr.rec.has_timing |= 1;
	}
}

static int har_entry(struct rc_foreign *fo, struct rc_js *js)
{
	struct osp_record *rec = &fo->rr.rec;
	struct osp_slice key;
	struct rc_js_str str;
	bool first = true;
	int err = 0;
	double ms;

	if (!rc_js_object(js))
		return 0;
	while (!err && rc_js_key(js, &first, &key)) {
		if (RC_KEY(key, "startedDateTime")) {
			fo->rr.has_ts =
				rc_js_str(js, &str) && rc_time_parse(str.p, str.n, &rec->ts_ns);
		} else if (RC_KEY(key, "time")) {
			if (rc_js_num(js, &ms) && ms >= 0 && ms < 1e9) {
				rec->duration_ns = (int64_t)(ms * 1e6);
				rec->has_timing |= 2;
			}
		} else if (RC_KEY(key, "request")) {
			err = har_message(fo, js, OSP_REQ);
		} else if (RC_KEY(key, "response")) {
			err = har_message(fo, js, OSP_RES);
		} else if (RC_KEY(key, "timings")) {
			har_timings(fo, js);
		} else {
			rc_js_skip(js);
		}
	}
	return err ? err : finish(fo);
}

static int har_entries(struct rc_foreign *fo, struct rc_js *js, rc_har_fn fn, void *ctx)
{
	bool first = true;
	int err = 0;

	if (!rc_js_array(js))
		return -EPROTO;
	while (!err && rc_js_next(js, &first)) {
		const char *from = js->p;
		struct rc_js probe = *js;

		rc_js_skip(&probe);
		if (probe.bad)
			return -EPROTO;
		if (begin(fo, (size_t)(probe.p - from)))
			return -ENOMEM;
		err = har_entry(fo, js);
		if (err == -EPROTO)
			fo->rr.rec.kind = 0;
		err = err == -ENOMEM ? err : fn(ctx, fo);
	}
	return err;
}

int rc_har_all(struct rc_foreign *fo, const char *text, size_t n, rc_har_fn fn, void *ctx)
{
	bool first = true, in, found = false;
	struct osp_slice key;
	struct rc_js js;
	int err = 0;

	rc_js_init(&js, text, n);
	if (!rc_js_object(&js))
		return -EPROTO;
	while (!err && rc_js_key(&js, &first, &key)) {
		if (!RC_KEY(key, "log")) {
			rc_js_skip(&js);
			continue;
		}
		in = true;
		if (!rc_js_object(&js))
			continue;
		while (!err && rc_js_key(&js, &in, &key)) {
			if (RC_KEY(key, "entries")) {
				found = true;
				err = har_entries(fo, &js, fn, ctx);
			} else {
				rc_js_skip(&js);
			}
		}
	}
	return err ? err : found && rc_js_end(&js) ? 0 : -EPROTO;
}

void rc_foreign_fini(struct rc_foreign *fo)
{
	rc_rec_fini(&fo->rr);
}
