/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_record.c: names, copies, Community IDs and the JSON of records.
 *
 * With --print the sample records are printed as JSON lines instead, for checks against the schema.
 */
#include "record/osp_record.h"
#include "agent/ledger.h"
#include "bpf/osp_events.h"
#include "tests/lib/tap.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <time.h>

static void addr(uint8_t out[16], const char *text)
{
	memset(out, 0, 16);
	if (strchr(text, ':')) {
		inet_pton(AF_INET6, text, out);
		return;
	}
	out[10] = out[11] = 0xff;
	inet_pton(AF_INET, text, out + 12);
}

#define STR(rec, id, s) ((rec)->str[id] = osp_slice(s, sizeof(s) - 1))

/* 2026-11-20T20:20:16.123456789Z */
#define TS 1795206016123456789ll

static struct osp_record blank(int kind)
{
	struct osp_record rec;

	memset(&rec, 0, sizeof(rec));
	rec.size = sizeof(rec);
	rec.kind = (uint8_t)kind;
	rec.id[0] = 0x0123456789abcdefull;
	rec.id[1] = 0xfedcba9876543210ull;
	rec.seq = 1842;
	rec.ts_ns = TS;
	return rec;
}

static void fill_conn(struct osp_record *rec)
{
	struct osp_rec_conn *conn = &rec->conn;

	snprintf(conn->id, sizeof(conn->id), "1:9cC6a9P2vzynoXdKTGG7b1CAWlk=");
	conn->has = OSP_CH_TUPLE | OSP_CH_NETNS | OSP_CH_TXN;
	conn->cookie = 4711;
	conn->txn = 3;
	conn->role = OSP_ROLE_SERVER;
	conn->role_from = OSP_FROM_ACCEPT;
	conn->transport = IPPROTO_TCP;
	conn->netns = 4026531840u;
	addr(conn->client, "10.0.0.7");
	addr(conn->server, "10.0.0.9");
	conn->client_port = 51234;
	conn->server_port = 8080;
	rec->proc.has = OSP_PH_PID | OSP_PH_TID | OSP_PH_NS_PID | OSP_PH_START | OSP_PH_UID;
	rec->proc.pid = 4242;
	rec->proc.tid = 4243;
	rec->proc.ns_pid = 17;
	rec->proc.uid = 33;
	rec->proc.start_ns = 951782400000000001ll;	/* 2000-02-29 */
	STR(rec, OSP_S_COMM, "nginx");
	STR(rec, OSP_S_EXE, "/usr/sbin/nginx");
}

static const struct osp_rec_header req_headers[] = {
	{ { "Host", 4 }, { "example.test", 12 }, 0 },
	{ { "Cookie", 6 }, { "secret", 6 }, 6 + 1 },
};

static void fill_request(struct osp_record *rec)
{
	struct osp_rec_msg *req = &rec->msg[OSP_REQ];

	req->has = OSP_MH_MSG | OSP_MH_HEAD_BYTES | OSP_MH_BODY_WIRE | OSP_MH_BODY |
		   OSP_MH_CONTENT_LENGTH | OSP_MH_SEQ | OSP_MH_SEQ_END | OSP_MH_START |
		   OSP_MH_END | OSP_MH_DIGEST;
	req->head_bytes = 80;
	req->tcp_seq = 1234567;
	req->tcp_end = 1234647;
	req->digest = 0xef46db3751d8e999ull;
	req->header = req_headers;
	req->header_n = 2;
	STR(rec, OSP_S_HTTP_VERSION, "1.1");
	STR(rec, OSP_S_METHOD, "GET");
	STR(rec, OSP_S_TARGET, "/a?b=1");
	STR(rec, OSP_S_HOST, "example.test");
	STR(rec, OSP_S_USER_AGENT, "curl/7.88");
	STR(rec, OSP_S_TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
	STR(rec, OSP_S_REQUEST_ID, "r-1");
	STR(rec, OSP_S_REQ_BODY, "");
	req->decode = OSP_DEC_DONE;
	req->captured_bytes = 20;
	req->coding_n = 2;
	req->coding[0] = OSP_CODING_GZIP;
	req->coding[1] = OSP_CODING_BR;
}

static void fill_response(struct osp_record *rec)
{
	struct osp_rec_msg *res = &rec->msg[OSP_RES];

	res->has = OSP_MH_MSG | OSP_MH_STATUS | OSP_MH_HEAD_BYTES | OSP_MH_BODY_WIRE |
		   OSP_MH_BODY | OSP_MH_SEQ | OSP_MH_SEQ_END | OSP_MH_START | OSP_MH_END;
	res->status = 200;
	res->interim[0] = 100;
	res->interim[1] = 103;
	res->interim_n = 2;
	res->head_bytes = 160;
	res->body_wire_bytes = 5005;
	res->body_bytes = 4990;
	res->tcp_seq = 4294967295u;
	res->tcp_end = 5164;
	res->start_ns = -1200000;
	res->end_ns = 1300000;
	STR(rec, OSP_S_REASON, "OK");
	STR(rec, OSP_S_RES_TRANSFER_ENCODING, "chunked");
	STR(rec, OSP_S_RES_CONTENT_ENCODING, "gzip");
	STR(rec, OSP_S_RES_CONTENT_TYPE, "text/html");
	STR(rec, OSP_S_RES_BODY, "\x1f\x8b\x08");
	res->decode = OSP_DEC_BAD;
}

static struct osp_record full_transaction(void)
{
	struct osp_record rec = blank(OSP_REC_TRANSACTION);

	fill_conn(&rec);
	fill_request(&rec);
	fill_response(&rec);
	rec.flags = OSP_RF_GAP | OSP_RF_LOOPBACK;
	rec.anomalies = OSP_RA_CL_TE | OSP_RA_HTTP09;
	rec.has_timing = 3;
	rec.ttfb_ns = 1200000;
	rec.duration_ns = 1300000;
	rec.lost_bytes = 7;
	STR(&rec, OSP_S_CONTAINER_ID, "abc");
	STR(&rec, OSP_S_CONTAINER_RUNTIME, "containerd");
	STR(&rec, OSP_S_CONTAINER_NAME, "web");
	STR(&rec, OSP_S_POD_UID, "u-1");
	STR(&rec, OSP_S_POD_NAME, "web-0");
	STR(&rec, OSP_S_NAMESPACE, "shop");
	return rec;
}

static const char full_transaction_json[] =
	"{\"schema\":\"osprey/1\",\"kind\":\"transaction\",\"vantage\":\"syscall\","
	"\"id\":\"0123456789abcdeffedcba9876543210\",\"seq\":1842,"
	"\"ts\":\"2026-11-20T20:20:16.123456789Z\",\"outcome\":\"ok\","
	"\"flags\":[\"gap\",\"loopback\"],\"anomalies\":[\"cl_te\",\"http09\"],"
	"\"conn\":{\"id\":\"1:9cC6a9P2vzynoXdKTGG7b1CAWlk=\",\"cookie\":4711,\"txn\":3,"
	"\"role\":\"server\",\"role_from\":\"accept\",\"transport\":\"tcp\",\"netns\":4026531840,"
	"\"client\":{\"address\":\"10.0.0.7\",\"port\":51234},"
	"\"server\":{\"address\":\"10.0.0.9\",\"port\":8080}},"
	"\"http\":{\"version\":\"1.1\",\"request\":{\"method\":\"GET\",\"target\":\"/a?b=1\","
	"\"host\":\"example.test\",\"user_agent\":\"curl/7.88\","
	"\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\","
	"\"request_id\":\"r-1\",\"head_bytes\":80,\"body_wire_bytes\":0,\"body_bytes\":0,"
	"\"content_length\":0,\"tcp_seq\":1234567,\"tcp_end\":1234647,\"start_ns\":0,\"end_ns\":0,"
	"\"digest\":\"xxh64:ef46db3751d8e999\","
	"\"header\":[[\"Host\",\"example.test\"],[\"Cookie\",\"<redacted 6 bytes>\"]],"
	"\"body\":{\"encoding\":\"utf-8\",\"data\":\"\",\"captured_bytes\":20,"
	"\"decoded\":[\"gzip\",\"br\"],\"decoded_bytes\":0}},"
	"\"response\":{\"status_code\":200,\"reason\":\"OK\",\"interim\":[100,103],"
	"\"head_bytes\":160,\"body_wire_bytes\":5005,\"body_bytes\":4990,"
	"\"transfer_encoding\":\"chunked\",\"content_encoding\":\"gzip\","
	"\"content_type\":\"text/html\",\"tcp_seq\":4294967295,\"tcp_end\":5164,"
	"\"start_ns\":-1200000,\"end_ns\":1300000,"
	"\"body\":{\"encoding\":\"base64\",\"data\":\"H4sI\",\"captured_bytes\":3,"
	"\"undecoded\":\"bad_data\"}}},"
	"\"timing\":{\"ttfb_ns\":1200000,\"duration_ns\":1300000},"
	"\"process\":{\"pid\":4242,\"tid\":4243,\"ns_pid\":17,"
	"\"start_time\":\"2000-02-29T00:00:00.000000001Z\",\"comm\":\"nginx\","
	"\"executable\":\"/usr/sbin/nginx\",\"uid\":33},"
	"\"container\":{\"id\":\"abc\",\"runtime\":\"containerd\",\"name\":\"web\"},"
	"\"k8s\":{\"pod\":{\"uid\":\"u-1\",\"name\":\"web-0\"},\"namespace\":\"shop\"},"
	"\"lost_bytes\":7}";

static const char bare_transaction_json[] =
	"{\"schema\":\"osprey/1\",\"kind\":\"transaction\",\"vantage\":\"wire\","
	"\"id\":\"0123456789abcdeffedcba9876543210\",\"seq\":1842,"
	"\"ts\":\"2026-11-20T20:20:16.123456789Z\",\"outcome\":\"no_response\",\"flags\":[],"
	"\"anomalies\":[],\"http\":{\"request\":{\"method\":\"GET\"}},\"lost_bytes\":0}";

static const struct osp_rec_gap gaps[] = {
	{ .at = 10, .bytes = 20, .cause = OSP_CAUSE_RING_FULL },
	{ .at = UINT64_MAX, .bytes = 5, .cause = OSP_CAUSE_SENDFILE },
};

static struct osp_record full_connection(void)
{
	struct osp_record rec = blank(OSP_REC_CONNECTION);
	struct osp_rec_connection *cn = &rec.connection;

	fill_conn(&rec);
	rec.vantage = OSP_VANTAGE_SYNTHETIC;
	cn->has_opened = cn->has_closed = cn->has_rtt = cn->has_bytes = 1;
	cn->opened_ns = TS;
	cn->closed_ns = TS + 1000000000;
	cn->rtt_us = 42;
	cn->retransmits = 1;
	cn->transactions = 2;
	cn->turns = 4;
	cn->dir[0] = (struct osp_rec_stream){ 125, 100, 90, 25, 0, 2, 0, gaps };
	cn->dir[1] = (struct osp_rec_stream){ 50, 50, 50, 0, 3, 0, 0, NULL };
	STR(&rec, OSP_S_PROTOCOL, "http/1");
	STR(&rec, OSP_S_END, "fin");
	STR(&rec, OSP_S_SNI, "example.test");
	STR(&rec, OSP_S_ALPN, "http/1.1");
	STR(&rec, OSP_S_TLS_VERSION, "1.3");
	return rec;
}

static const char full_connection_json[] =
	"{\"schema\":\"osprey/1\",\"kind\":\"connection\",\"vantage\":\"synthetic\","
	"\"id\":\"0123456789abcdeffedcba9876543210\",\"seq\":1842,"
	"\"ts\":\"2026-11-20T20:20:16.123456789Z\",\"flags\":[],\"anomalies\":[],"
	"\"conn\":{\"id\":\"1:9cC6a9P2vzynoXdKTGG7b1CAWlk=\",\"cookie\":4711,\"txn\":3,"
	"\"role\":\"server\",\"role_from\":\"accept\",\"transport\":\"tcp\",\"netns\":4026531840,"
	"\"client\":{\"address\":\"10.0.0.7\",\"port\":51234},"
	"\"server\":{\"address\":\"10.0.0.9\",\"port\":8080}},"
	"\"process\":{\"pid\":4242,\"tid\":4243,\"ns_pid\":17,"
	"\"start_time\":\"2000-02-29T00:00:00.000000001Z\",\"comm\":\"nginx\","
	"\"executable\":\"/usr/sbin/nginx\",\"uid\":33},"
	"\"opened\":\"2026-11-20T20:20:16.123456789Z\","
	"\"closed\":\"2026-11-20T20:20:17.123456789Z\",\"end\":\"fin\",\"protocol\":\"http/1\","
	"\"tls\":{\"sni\":\"example.test\",\"alpn\":\"http/1.1\",\"version\":\"1.3\"},"
	"\"transactions\":2,\"turns\":4,\"lost_exchanges\":0,"
	"\"tcp\":{\"rtt_us\":42,\"retransmits\":1},"
	"\"tx\":{\"bytes\":125,\"seen_bytes\":100,\"captured_bytes\":90,\"gap_bytes\":25,"
	"\"overlap_bytes\":0,\"gaps\":[{\"at\":10,\"bytes\":20,\"cause\":\"ring_full\"},"
	"{\"bytes\":5,\"cause\":\"sendfile\"}]},"
	"\"rx\":{\"bytes\":50,\"seen_bytes\":50,\"captured_bytes\":50,\"gap_bytes\":0,"
	"\"overlap_bytes\":3,\"gaps\":[]}}";

static struct osp_record unix_connection(void)
{
	struct osp_record rec = blank(OSP_REC_CONNECTION);

	rec.conn.cookie = 4711;
	rec.conn.peer_cookie = 4712;
	rec.conn.role = OSP_ROLE_SERVER;
	rec.conn.role_from = OSP_FROM_LISTEN;
	rec.conn.transport = OSP_TRANSPORT_UNIX;
	rec.conn.has = OSP_CH_NETNS;
	rec.conn.netns = 4026531840u;
	rec.connection.has_closed = 1;
	rec.connection.closed_ns = TS;
	rec.str[OSP_S_CLIENT_PATH] = osp_slice("@a\0b", 4);
	STR(&rec, OSP_S_SERVER_PATH, "/run/\xff.sock");
	STR(&rec, OSP_S_END, "fin");
	return rec;
}

static const char unix_connection_json[] =
	"{\"schema\":\"osprey/1\",\"kind\":\"connection\",\"vantage\":\"syscall\","
	"\"id\":\"0123456789abcdeffedcba9876543210\",\"seq\":1842,"
	"\"ts\":\"2026-11-20T20:20:16.123456789Z\",\"flags\":[\"nonutf8\"],\"anomalies\":[],"
	"\"conn\":{\"cookie\":4711,\"peer_cookie\":4712,\"role\":\"server\","
	"\"role_from\":\"listen\",\"transport\":\"unix\",\"netns\":4026531840,"
	"\"client\":{\"address\":\"@a\\u0000b\"},"
	"\"server\":{\"address\":\"/run/\\u00ff.sock\"}},"
	"\"closed\":\"2026-11-20T20:20:16.123456789Z\",\"end\":\"fin\","
	"\"transactions\":0,\"turns\":0,\"lost_exchanges\":0,"
	"\"tx\":{\"seen_bytes\":0,\"captured_bytes\":0,\"gap_bytes\":0,\"overlap_bytes\":0,"
	"\"gaps\":[]},\"rx\":{\"seen_bytes\":0,\"captured_bytes\":0,\"gap_bytes\":0,"
	"\"overlap_bytes\":0,\"gaps\":[]}}";

static const struct osp_rec_counter counters[] = {
	{ "events", "seen", NULL, 12345 },
	{ "events", "filtered", NULL, 0 },
	{ "events", "lost", "ring_full", 3 },
	{ "events", "lost", "scratch", 0 },
	{ "events", "peek", NULL, 1 },
	{ "bytes", "gap", "unread", 0 },
	{ "transactions", "outcome", "ok", 18446744073709551615ull },
	{ "sinks", "offered", "jsonl", 4 },
	{ "sinks", "accepted", "jsonl", 0 },
	{ "sinks", "offered", "a\"b", 1 },
};

static struct osp_record full_ledger(void)
{
	struct osp_record rec = blank(OSP_REC_LEDGER);

	STR(&rec, OSP_S_WHEN, "exit");
	STR(&rec, OSP_S_AGENT, "0.1.0");
	STR(&rec, OSP_S_MODE, "replay");
	STR(&rec, OSP_S_ORIGIN, "sock");
	STR(&rec, OSP_S_HOSTNAME, "h1");
	STR(&rec, OSP_S_KERNEL, "6.12.0");
	STR(&rec, OSP_S_BOOT_ID, "3b9d9e6e-7f6c-4b64-9c43-6f6f1e7f9a11");
	rec.ledger.wall_off_ns = -5;
	rec.ledger.closed = 1;
	rec.ledger.counter = counters;
	rec.ledger.counter_n = sizeof(counters) / sizeof(counters[0]);
	return rec;
}

static const char full_ledger_json[] =
	"{\"schema\":\"osprey/1\",\"kind\":\"ledger\",\"vantage\":\"syscall\","
	"\"id\":\"0123456789abcdeffedcba9876543210\",\"seq\":1842,"
	"\"ts\":\"2026-11-20T20:20:16.123456789Z\",\"when\":\"exit\","
	"\"agent\":{\"version\":\"0.1.0\"},\"mode\":\"replay\",\"origin\":\"sock\","
	"\"host\":{\"name\":\"h1\"},\"kernel\":\"6.12.0\","
	"\"boot_id\":\"3b9d9e6e-7f6c-4b64-9c43-6f6f1e7f9a11\",\"clock_offset_ns\":-5,"
	"\"events\":{\"seen\":12345,\"filtered\":0,\"lost\":{\"ring_full\":3},\"peek\":1},"
	"\"transactions\":{\"outcome\":{\"ok\":18446744073709551615}},"
	"\"sinks\":{\"jsonl\":{\"offered\":4,\"accepted\":0},\"a\\\"b\":{\"offered\":1}},"
	"\"closed\":true}";

/* The record's JSON, NUL-terminated; the caller frees it. */
static char *json(const struct osp_record *rec)
{
	size_t n = osp_record_json(rec, NULL, 0);
	char *out = malloc(n + 1);

	if (!out || osp_record_json(rec, out, n) != n)
		abort();
	out[n] = 0;
	return out;
}

static void is_json(const struct osp_record *rec, const char *want, const char *name)
{
	char *got = json(rec);

	eq_str(got, want, "%s", name);
	free(got);
}

/* For every cap: the same length, the bytes before it never beyond it (the heap's edge tells under
 * a sanitizer, the mark behind it otherwise), and whole when it fits.
 */
static void every_cap(const struct osp_record *rec, const char *name)
{
	char *want = json(rec);
	size_t n = strlen(want);
	bool good = true;

	for (size_t cap = 0; cap <= n + 3 && good; cap++) {
		char *buf = malloc(cap ? cap : 1);

		if (!buf)
			abort();
		good = osp_record_json(rec, cap ? buf : NULL, cap) == n &&
		       (cap < n || !memcmp(buf, want, n));
		free(buf);
		buf = malloc(cap + 16);
		if (!buf)
			abort();
		memset(buf, 0x5a, cap + 16);
		good = good && osp_record_json(rec, buf, cap) == n;
		for (int i = 0; i < 16; i++)
			good = good && buf[cap + (size_t)i] == 0x5a;
		free(buf);
	}
	ok(good, "%s: every room from 0 to %zu", name, n + 3);
	free(want);
}

static void test_goldens(void)
{
	struct osp_record rec = full_transaction();

	is_json(&rec, full_transaction_json, "a transaction with all there is");
	every_cap(&rec, "transaction");
	rec = blank(OSP_REC_TRANSACTION);
	rec.vantage = OSP_VANTAGE_WIRE;
	rec.outcome = OSP_OUT_NO_RESPONSE;
	rec.msg[OSP_REQ].has = OSP_MH_MSG;
	STR(&rec, OSP_S_METHOD, "GET");
	STR(&rec, OSP_S_REASON, "not printed without a response");
	is_json(&rec, bare_transaction_json, "what is not known is not there");
	every_cap(&rec, "bare transaction");
	rec = full_connection();
	is_json(&rec, full_connection_json, "a connection with all there is");
	every_cap(&rec, "connection");
	rec = unix_connection();
	is_json(&rec, unix_connection_json, "a unix socket: names for addresses, nothing of TCP");
	every_cap(&rec, "unix connection");
	rec = full_ledger();
	is_json(&rec, full_ledger_json, "a ledger");
	every_cap(&rec, "ledger");
	rec.ledger.counter = NULL;
	rec.ledger.closed = 0;
	every_cap(&rec, "ledger without counters");
	rec = blank(OSP_REC_CONNECTION);
	every_cap(&rec, "bare connection");
	rec = blank(200);
	every_cap(&rec, "unknown kind");
}

/* ---- strings ---- */

struct text_case {
	const char *in;
	size_t n;
	const char *want;	/* between the quotes */
	int bad;		/* flag nonutf8 expected */
};

#define T(in, want, bad) { in, sizeof(in) - 1, want, bad }

static const struct text_case texts[] = {
	T("", "", 0),
	T("plain", "plain", 0),
	T("a \"quoted\\ word/", "a \\\"quoted\\\\ word/", 0),
	T("\b\t\n\f\r", "\\b\\t\\n\\f\\r", 0),
	T("\0\x01\x1f\x7f", "\\u0000\\u0001\\u001f\\u007f", 0),
	T("12345678\"", "12345678\\\"", 0),
	T("1234567\"", "1234567\\\"", 0),
	T("1234567890abcde\x01xyz4567890", "1234567890abcde\\u0001xyz4567890", 0),
	/* two, three, four bytes, first and last of each length */
	T("\xc2\x80\xdf\xbf", "\xc2\x80\xdf\xbf", 0),
	T("\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf",
	  "\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf", 0),
	T("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", 0),
	T("gr\xc3\xbc\xc3\x9f Gott", "gr\xc3\xbc\xc3\x9f Gott", 0),
	/* not UTF-8: Latin-1, a lone continuation, overlong, surrogate, too large, cut off */
	T("caf\xe9", "caf\\u00e9", 1),
	T("\x80", "\\u0080", 1),
	T("\xc0\xaf", "\\u00c0\\u00af", 1),
	T("\xc1\xbf", "\\u00c1\\u00bf", 1),
	T("\xe0\x9f\xbf", "\\u00e0\\u009f\\u00bf", 1),
	T("\xf0\x8f\xbf\xbf", "\\u00f0\\u008f\\u00bf\\u00bf", 1),
	T("\xed\xa0\x80", "\\u00ed\\u00a0\\u0080", 1),
	T("\xf4\x90\x80\x80", "\\u00f4\\u0090\\u0080\\u0080", 1),
	T("\xf5\x80\x80\x80", "\\u00f5\\u0080\\u0080\\u0080", 1),
	T("\xff\xfe", "\\u00ff\\u00fe", 1),
	T("a\xe2\x82", "a\\u00e2\\u0082", 1),
	T("\xe2\x82z", "\\u00e2\\u0082z", 1),
	T("\xc3", "\\u00c3", 1),
	T("\xc3\xbc\xff\xc3\xbc", "\xc3\xbc\\u00ff\xc3\xbc", 1),
};

static void test_texts(void)
{
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct osp_record rec = blank(OSP_REC_TRANSACTION);
		/* The exact heap size: a read beyond the end shows under a sanitizer. */
		char *in = malloc(texts[i].n ? texts[i].n : 1), *got, want[256];

		memcpy(in, texts[i].in, texts[i].n);
		rec.msg[OSP_REQ].has = OSP_MH_MSG;
		rec.str[OSP_S_TARGET] = osp_slice(in, texts[i].n);
		got = json(&rec);
		snprintf(want, sizeof(want), "\"target\":\"%s\"}", texts[i].want);
		ok(strstr(got, want) && !!strstr(got, "\"nonutf8\"") == texts[i].bad,
		   "text %zu: %s", i, got + 150);
		free(got);
		free(in);
	}
}

/* One byte escapes at every place of strings around the eight-byte step. */
static void test_text_places(void)
{
	bool good = true;

	for (size_t n = 1; n < 40; n++)
		for (size_t at = 0; at < n; at++)
			for (const char *c = "\"\\\n\x7f\xff"; *c; c++) {
				struct osp_record rec = blank(OSP_REC_TRANSACTION);
				char *in = malloc(n), *got, want[128];

				memset(in, 'x', n);
				in[at] = *c;
				rec.msg[OSP_REQ].has = OSP_MH_MSG;
				rec.str[OSP_S_TARGET] = osp_slice(in, n);
				got = json(&rec);
				snprintf(want, sizeof(want), "\"%.*s%s%.*s\"", (int)at, in,
					 *c == '"' ? "\\\"" : *c == '\\' ? "\\\\" :
					 *c == '\n' ? "\\n" : *c == 0x7f ? "\\u007f" : "\\u00ff",
					 (int)(n - at - 1), in + at + 1);
				good = good && strstr(got, want);
				free(got);
				free(in);
			}
	ok(good, "escapes at every place of 1 to 39 bytes");
}

static void test_nonutf8_header(void)
{
	struct osp_rec_header header[] = { { { "X\xff", 2 }, { "v", 1 }, 0 } };
	struct osp_rec_header secret[] = { { { "Cookie", 6 }, { "\xff", 1 }, 1 + 1 } };
	struct osp_record rec = blank(OSP_REC_TRANSACTION);
	char *got;

	rec.msg[OSP_RES].has = OSP_MH_MSG;
	rec.msg[OSP_RES].header = header;
	rec.msg[OSP_RES].header_n = 1;
	got = json(&rec);
	ok(strstr(got, "\"flags\":[\"nonutf8\"]") && strstr(got, "[[\"X\\u00ff\",\"v\"]]"),
	   "a header that is not UTF-8 sets the flag");
	free(got);
	rec.msg[OSP_RES].header = secret;
	got = json(&rec);
	ok(strstr(got, "\"flags\":[]") && strstr(got, "<redacted 1 bytes>"),
	   "a redacted one does not");
	free(got);
	rec.msg[OSP_RES].header_n = 0;
	got = json(&rec);
	ok(strstr(got, "\"header\":[]"), "headers kept, none there: an empty list");
	free(got);
}

static void test_bodies(void)
{
	static const char *const want[] = { "", "/w==", "/wA=", "/wAB", "/wABAg==" };
	static const char bytes[] = { (char)0xff, 0, 1, 2 };

	for (size_t n = 1; n <= 4; n++) {
		struct osp_record rec = blank(OSP_REC_TRANSACTION);
		char *got, text[128];

		rec.msg[OSP_RES].has = OSP_MH_MSG;
		rec.str[OSP_S_RES_BODY] = osp_slice(bytes, n);
		got = json(&rec);
		snprintf(text, sizeof(text),
			 "\"body\":{\"encoding\":\"base64\",\"data\":\"%s\",\"captured_bytes\":%zu}",
			 want[n], n);
		ok(strstr(got, text) && strstr(got, "\"flags\":[]"), "body of %zu bytes in base64",
		   n);
		free(got);
	}
}

/* ---- addresses, times, numbers ---- */

static void test_addresses(void)
{
	static const char *const same[] = {
		"0.0.0.0", "255.255.255.255", "127.0.0.1", "::", "::1", "1::", "fe80::1",
		"2001:db8::1", "2001:db8:0:1:1:1:1:1", "2001:0:0:1::1", "1:2:3:4:5:6:7:8",
		"1:0:3:4:5:6:7:8", "0:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:0", "1:2:3:4:5:6::",
		"2001:db8::1:0:0:1", "abcd:ef01:2345:6789:abcd:ef01:2345:6789",
		"::ffff:0:1.2.3.4",
	};

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		struct osp_record rec = blank(OSP_REC_TRANSACTION);
		/* The last one is none of ours: v4 behind another prefix stays in groups. */
		const char *text = strstr(same[i], "ffff:0:") ? "::ffff:0:102:304" : same[i];
		char *got, want[128];

		rec.conn.has = OSP_CH_TUPLE;
		addr(rec.conn.client, same[i]);
		addr(rec.conn.server, "10.0.0.1");
		got = json(&rec);
		snprintf(want, sizeof(want), "\"client\":{\"address\":\"%s\",\"port\":0}", text);
		ok(strstr(got, want), "address %s: %.60s", text, strstr(got, "\"client\""));
		free(got);
	}
}

static void test_times(void)
{
	bool good = true;
	char *got, want[64];

	/* Every day of 1700 to 2250 and some odd hours, against the C library. */
	for (int64_t sec = -8520336000ll; sec < 8835868800ll; sec += 86400 + 7919) {
		struct osp_record rec = blank(OSP_REC_TRANSACTION);
		time_t t = (time_t)sec;
		struct tm tm;

		rec.ts_ns = sec * 1000000000 + 5;
		gmtime_r(&t, &tm);
		strftime(want, sizeof(want), "\"ts\":\"%Y-%m-%dT%H:%M:%S.000000005Z\"", &tm);
		got = json(&rec);
		good = good && strstr(got, want);
		free(got);
	}
	ok(good, "dates from 1700 to 2250 agree with the C library");
}

static void test_numbers(void)
{
	bool good = true;

	for (int bit = 0; bit < 64; bit++)
		for (int off = -1; off <= 1; off++) {
			struct osp_record rec = blank(OSP_REC_TRANSACTION);
			char *got, want[128];

			rec.lost_bytes = (1ull << bit) + (uint64_t)off;
			rec.has_timing = 1;
			rec.ttfb_ns = (int64_t)rec.lost_bytes;
			got = json(&rec);
			snprintf(want, sizeof(want),
				 "\"timing\":{\"ttfb_ns\":%lld},\"lost_bytes\":%llu}",
				 (long long)rec.ttfb_ns, (unsigned long long)rec.lost_bytes);
			good = good && strstr(got, want);
			free(got);
		}
	for (uint64_t v = 1; v < UINT64_MAX / 10; v *= 10) {
		struct osp_record rec = blank(OSP_REC_TRANSACTION);
		char *got, want[64];

		rec.lost_bytes = v;
		got = json(&rec);
		snprintf(want, sizeof(want), "\"lost_bytes\":%llu}", (unsigned long long)v);
		good = good && strstr(got, want);
		free(got);
	}
	ok(good, "numbers around every power of two and at every power of ten");
}

/* ---- the rest ---- */

static void test_names(void)
{
	eq_str(osp_outcome_name(OSP_OUT_FRAMING), "framing_error", "outcome");
	eq_str(osp_cause_name(OSP_CAUSE_NONE), "unnamed", "cause 0");
	eq_str(osp_cause_name(OSP_CAUSE_SKIPPED), "skipped", "last cause");
	eq_str(osp_vantage_name(OSP_VANTAGE_WIRE), "wire", "vantage");
	eq_str(osp_role_name(OSP_ROLE_CLIENT), "client", "role");
	eq_str(osp_role_from_name(OSP_FROM_LISTEN), "listen", "role from");
	eq_str(osp_kind_name(OSP_REC_LEDGER), "ledger", "kind");
	eq_str(osp_flag_name(10), "sendfile", "flag");
	eq_str(osp_anomaly_name(11), "http09", "anomaly");
	eq_str(osp_cause_name(-1), "unknown", "below the range");
	eq_str(osp_cause_name(OSP_CAUSE_MAX), "unknown", "above the range");
	eq_str(osp_flag_name(31), "unknown", "no such flag");
	for (int i = 0; i < OSP_CAUSE_MAX; i++)
		if (!osp_cause_name(i))
			ok(0, "cause %d has no name", i);
}

static void cid(const char *a, int ap, const char *b, int bp, int proto, const char *want)
{
	uint8_t x[16], y[16];
	char out[32], back[32];

	addr(x, a);
	addr(y, b);
	osp_community_id(out, x, (uint16_t)ap, y, (uint16_t)bp, (uint8_t)proto);
	osp_community_id(back, y, (uint16_t)bp, x, (uint16_t)ap, (uint8_t)proto);
	eq_str(out, want, "community id of %s %d %s %d", a, ap, b, bp);
	eq_str(back, want, "and the other way round");
}

static void test_community_id(void)
{
	cid("192.168.1.104", 1673, "63.245.209.11", 80, IPPROTO_TCP,
	    "1:9cC6a9P2vzynoXdKTGG7b1CAWlk=");
	cid("192.168.1.52", 54585, "8.8.8.8", 53, IPPROTO_UDP, "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
	/* These two computed with Python's hashlib from the specification's layout. */
	cid("2001:db8::1", 40000, "2001:db8::2", 443, IPPROTO_TCP, "1:RYG3Msb11GthNt1OYXJouPzmrvA=");
	cid("127.0.0.1", 40000, "127.0.0.1", 80, IPPROTO_TCP, "1:5rFr+y3i0wpQbEhThSaj08U8BaE=");
}

static bool inside(struct osp_slice s, const char *mem, size_t n)
{
	return !s.p || (s.p >= mem && s.p + s.n <= mem + n);
}

/* Into every room that is too small, each an allocation of its own; then into one that is not. */
static void check_put(const struct osp_record *rec, const char *name)
{
	size_t n = osp_record_size(rec), cap, fits = 0;
	void *mem;

	for (cap = 0; cap < n; cap += 8) {
		mem = aligned_alloc(8, cap);
		fits += osp_record_put(mem, cap, rec) != 0;
		free(mem);
	}
	eq_int(fits, 0, "%s: is not put where it has no room", name);
	mem = aligned_alloc(8, n + 64);
	eq_int(osp_record_put(mem, n + 64, rec), n, "%s: takes what its size says", name);
	free(mem);
}

static void check_copy(struct osp_record *rec, const char *name)
{
	size_t n = osp_record_size(rec);
	void *mem = aligned_alloc(8, n);
	struct osp_record *copy = osp_record_copy(mem, rec);
	char *want = json(rec), *got;
	bool all = true;

	ok(n % 8 == 0, "%s: the size is a multiple of 8", name);
	for (int i = 0; i < OSP_S_MAX; i++)
		all = all && inside(copy->str[i], mem, n);
	for (int m = 0; rec->kind == OSP_REC_TRANSACTION && m < OSP_ENDS; m++)
		for (uint32_t i = 0; i < copy->msg[m].header_n; i++)
			all = all && inside(copy->msg[m].header[i].name, mem, n) &&
			      inside(copy->msg[m].header[i].value, mem, n);
	ok(all, "%s: nothing of the copy points back", name);
	got = json(copy);
	eq_str(got, want, "%s: the copy says the same", name);
	check_put(rec, name);
	free(got);
	free(want);
	free(mem);
}

static void test_copy(void)
{
	struct osp_record rec = full_transaction();
	char body[] = "gone soon";
	struct osp_record *copy;
	void *mem;

	rec.msg[OSP_RES].header = req_headers;
	rec.msg[OSP_RES].header_n = 2;
	check_copy(&rec, "transaction");
	rec.str[OSP_S_RES_BODY] = osp_slice(body, sizeof(body) - 1);
	mem = aligned_alloc(8, osp_record_size(&rec));
	copy = osp_record_copy(mem, &rec);
	memset(body, 'x', sizeof(body) - 1);
	ok(!memcmp(copy->str[OSP_S_RES_BODY].p, "gone soon", 9), "strings are copied");
	ok(copy->msg[OSP_REQ].header != rec.msg[OSP_REQ].header, "headers are copied");
	ok(!copy->str[OSP_S_SNI].p, "unknown stays unknown");
	ok(copy->str[OSP_S_REQ_BODY].p && !copy->str[OSP_S_REQ_BODY].n, "empty stays empty");
	free(mem);
	rec = full_connection();
	check_copy(&rec, "connection");
	rec = full_ledger();
	check_copy(&rec, "ledger");
	rec.ledger.counter = NULL;
	check_copy(&rec, "ledger, a count without counters");
	rec = blank(OSP_REC_TRANSACTION);
	rec.msg[OSP_REQ].header_n = 5;
	check_copy(&rec, "transaction, a count without headers");
}

/* The golden ledger has a few counters only; a real one has all. */
static struct osp_record whole_ledger(void)
{
	static const struct osp_rec_counter sink[] = {
		{ "sinks", "offered", "jsonl", 4 },  { "sinks", "accepted", "jsonl", 4 },
		{ "sinks", "rejected", "jsonl", 0 }, { "sinks", "dropped", "jsonl", 0 },
		{ "sinks", "queued", "jsonl", 0 },
	};
	static struct osp_rec_counter all[OSP_ST_MAX + 5];
	struct osp_record rec = full_ledger();
	struct osp_ledger led;

	for (int i = 0; i < OSP_ST_MAX; i++)
		led.v[i] = (uint64_t)i % 3;
	rec.ledger.counter_n = osp_ledger_counters(&led, sink, 5, all);
	rec.ledger.counter = all;
	rec.ledger.closed = osp_ledger_closes(&led, sink, 5, true, NULL, 0);
	return rec;
}

static void print_samples(void)
{
	struct osp_record rec[] = { full_transaction(), blank(OSP_REC_TRANSACTION),
				    full_connection(), blank(OSP_REC_CONNECTION), whole_ledger(),
				    unix_connection() };

	rec[1].str[OSP_S_TARGET] = osp_slice("\xff", 1);
	rec[1].msg[OSP_REQ].has = OSP_MH_MSG;
	for (size_t i = 0; i < sizeof(rec) / sizeof(rec[0]); i++) {
		char *line = json(&rec[i]);

		puts(line);
		free(line);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "--print")) {
		print_samples();
		return 0;
	}
	test_names();
	test_goldens();
	test_texts();
	test_text_places();
	test_nonutf8_header();
	test_bodies();
	test_addresses();
	test_times();
	test_numbers();
	test_community_id();
	test_copy();
	return done();
}
