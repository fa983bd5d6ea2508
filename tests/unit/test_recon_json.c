/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_recon_json.c: reading JSON and times; records written and read again; lines cut and bent at
 * every place, which must never do more than fail.
 */
#include "recon/json.h"
#include "recon/record_read.h"
#include "tests/lib/spaced.h"
#include "tests/lib/tap.h"

#include <arpa/inet.h>
#include <netinet/in.h>

/* A copy that ends where the text ends, plus the padding that the parser is promised: what reads
 * beyond is seen by the address sanitizer.
 */
static char *padded(const char *text, size_t n)
{
	char *p = calloc(1, n + RC_JS_PAD);

	memcpy(p, text, n);
	return p;
}

static bool whole(const char *text)
{
	struct rc_js js;
	char *p = padded(text, strlen(text));
	bool good;

	rc_js_init(&js, p, strlen(text));
	rc_js_skip(&js);
	good = rc_js_end(&js);
	free(p);
	return good;
}

static void test_grammar(void)
{
	static const char *const good[] = {
		"{}",   "[]",   " [ 1 , 2.5e-3 , \"a\\\"b\" , { \"k\" : [ ] } ] ",
		"null", "\"\"", "{\"a\":true,\"b\":false,\"c\":-0}",
	};
	static const char *const bad[] = {
		"",      "{",       "[1",  "{\"a\"}", "{\"a\":}", "[1 2]",
		"\"abc", "\"abc\\", "tru", "{1:2}",   "[1]]",     "{\"a\":1,}x",
	};

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ok(whole(good[i]), "good: %s", good[i]);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(!whole(bad[i]), "bad: %s", bad[i]);
}

static void test_depth(void)
{
	char *deep = malloc(200001);

	memset(deep, '[', 200000);
	deep[200000] = 0;
	ok(!whole(deep), "200,000 levels are refused, not followed");
	free(deep);
}

static void decode(const char *raw, bool bytes, const char *want, const char *name)
{
	struct rc_js_str str = { raw, (uint32_t)strlen(raw), true };
	char out[64];
	size_t n = rc_js_decode(&str, out, bytes);

	ok(n == strlen(want) && !memcmp(out, want, n) && n <= str.n, "%s", name);
}

static void test_strings(void)
{
	decode("a\\n\\t\\\"\\\\\\/b", false, "a\n\t\"\\/b", "short escapes");
	decode("caf\\u00e9", false, "caf\xc3\xa9", "an escape is a character");
	decode("caf\\u00e9", true, "caf\xe9", "with the flag nonutf8 it is a byte");
	decode("\\u20ac", true, "\xe2\x82\xac", "above U+00FF it never is");
	decode("\\ud83d\\ude00", false, "\xf0\x9f\x98\x80", "a surrogate pair");
	decode("\\ud83d!", false, "\xed\xa0\xbd!", "half of one stays what it was");
	decode("\\u00g0", false, "u00g0", "no hexadecimal number");
	decode("\\u12", false, "u12", "cut off");
}

static void test_numbers(void)
{
	struct rc_js js;
	char *p = padded("[18446744073709551615,18446744073709551616,1.5,-7,1e3]", 54);
	bool first = true;
	uint64_t u = 1;
	int64_t i = 1;
	double d = 0;

	rc_js_init(&js, p, 54);
	ok(rc_js_array(&js) && rc_js_next(&js, &first) && rc_js_u64(&js, &u), "64 bits");
	ok(u == UINT64_MAX, "all of them");
	ok(rc_js_next(&js, &first) && !rc_js_u64(&js, &u), "65 are too many");
	ok(rc_js_next(&js, &first) && !rc_js_u64(&js, &u), "a fraction is no count");
	ok(rc_js_next(&js, &first) && rc_js_i64(&js, &i) && i == -7, "negative");
	ok(rc_js_next(&js, &first) && rc_js_num(&js, &d) && d == 1000, "an exponent");
	ok(!rc_js_next(&js, &first) && rc_js_end(&js), "that was all");
	free(p);
}

static void time_is(const char *text, int64_t want)
{
	int64_t ns = -1;

	ok(rc_time_parse(text, strlen(text), &ns), "a time: %s", text);
	eq_int(ns, want, "%s", text);
}

static void test_times(void)
{
	static const char *const bad[] = { "",
					   "2026-01-01",
					   "2026-13-01T00:00:00Z",
					   "2026-01-01T00:00:00",
					   "2026-01-01T25:00:00Z",
					   "2026-01-01T00:00:00.5",
					   "9999-01-01T00:00:00Z",
					   "2026-01-01T00:00:00+1:00" };
	int64_t ns;

	time_is("1970-01-01T00:00:00Z", 0);
	time_is("1969-12-31T23:59:59.999999999Z", -1);
	time_is("2000-02-29T12:00:00.5Z", 951825600500000000);
	time_is("2026-11-20T20:20:16.123456789Z", 1795206016123456789);
	time_is("2026-11-20T22:20:16.123456+0200", 1795206016123456000);
	time_is("2026-11-20T15:20:16-05:00", 1795206016000000000);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ok(!rc_time_parse(bad[i], strlen(bad[i]), &ns), "no time: '%s'", bad[i]);
	ok(rc_time_epoch("1763670016.123456", 17, &ns) && ns == 1763670016123456000, "epoch");
	ok(!rc_time_epoch("1763670016.12x", 14, &ns), "epoch with a tail");
}

/* ---- records --------------------------------------------------------------------------------- */

static void make(struct osp_record *rec, struct osp_rec_header *h)
{
	struct osp_rec_msg *req = &rec->msg[OSP_REQ], *res = &rec->msg[OSP_RES];

	*rec = (struct osp_record){ .size = sizeof(*rec),
				    .kind = OSP_REC_TRANSACTION,
				    .vantage = OSP_VANTAGE_TLS,
				    .outcome = OSP_OUT_RESET,
				    .has_timing = 3,
				    .id = { 0x0123456789abcdef, 42 },
				    .seq = 7,
				    .ts_ns = 1795206016123456789,
				    .flags = OSP_RF_GAP,
				    .ttfb_ns = 5,
				    .duration_ns = 9,
				    .lost_bytes = 3 };
	rec->conn = (struct osp_rec_conn){ .has = OSP_CH_TUPLE | OSP_CH_TXN,
					   .txn = 3,
					   .cookie = 9,
					   .role = OSP_ROLE_SERVER,
					   .transport = IPPROTO_TCP,
					   .client_port = 5000,
					   .server_port = 80 };
	inet_pton(AF_INET6, "::ffff:10.0.0.1", rec->conn.client);
	inet_pton(AF_INET6, "2001:db8::9", rec->conn.server);
	rec->str[OSP_S_METHOD] = osp_slice_str("GET");
	rec->str[OSP_S_TARGET] = osp_slice_str("/a\"\\\x01\xff?\xc3\xa9");
	rec->str[OSP_S_HOST] = osp_slice_str("");
	rec->str[OSP_S_HTTP_VERSION] = osp_slice_str("1.1");
	h[0] = (struct osp_rec_header){ osp_slice_str("A"), osp_slice_str("x\ty"), 0 };
	h[1] = (struct osp_rec_header){ osp_slice_str("Cookie"), osp_slice_str("secret"), 7 };
	*req = (struct osp_rec_msg){ .has = OSP_MH_MSG | OSP_MH_HEAD_BYTES | OSP_MH_SEQ |
					    OSP_MH_SEQ_END | OSP_MH_DIGEST | OSP_MH_BODY,
				     .head_bytes = 80,
				     .tcp_seq = 0xffffffff,
				     .tcp_end = 79,
				     .digest = 0xfedcba9876543210,
				     .header_n = 2,
				     .header = h };
	*res = (struct osp_rec_msg){ .has = OSP_MH_MSG | OSP_MH_STATUS | OSP_MH_BODY_WIRE,
				     .status = 204,
				     .interim_n = 1,
				     .interim = { 103 },
				     .body_wire_bytes = 1ull << 40 };
}

static void same_str(const struct osp_record *a, const struct osp_record *b, int i)
{
	ok(!a->str[i].p == !b->str[i].p && a->str[i].n == b->str[i].n &&
		   (!a->str[i].p || !memcmp(a->str[i].p, b->str[i].p, a->str[i].n)),
	   "string %d", i);
}

static size_t written(char *buf, size_t cap)
{
	struct osp_rec_header h[2];
	struct osp_record rec;
	size_t n;

	make(&rec, h);
	n = osp_record_json(&rec, buf, cap);
	memset(buf + n, 0, RC_JS_PAD);
	return n;
}

static void test_round_trip(void)
{
	struct osp_rec_header h[2];
	struct osp_record rec;
	struct rc_rec rr = { 0 };
	const struct osp_rec_msg *req = &rr.rec.msg[OSP_REQ], *res = &rr.rec.msg[OSP_RES];
	char buf[4096];
	size_t n = written(buf, sizeof(buf) - RC_JS_PAD);

	make(&rec, h);
	eq_int(rc_rec_read(&rr, buf, n), 0, "it reads what the writer writes");
	ok(rr.has_ts && rr.rec.ts_ns == rec.ts_ns && rr.rec.seq == 7, "time, seq");
	ok(rr.rec.id[0] == rec.id[0] && rr.rec.id[1] == 42, "id");
	eq_int(rr.rec.outcome, OSP_OUT_RESET, "outcome");
	eq_int(rr.rec.flags, OSP_RF_GAP | OSP_RF_NONUTF8, "flags");
	ok(!memcmp(rr.rec.conn.client, rec.conn.client, 16) &&
		   !memcmp(rr.rec.conn.server, rec.conn.server, 16),
	   "addresses");
	eq_int(rr.rec.conn.role, OSP_ROLE_SERVER, "role");
	for (int i = 0; i < OSP_S_MAX; i++)
		if (i == OSP_S_METHOD || i == OSP_S_TARGET || i == OSP_S_HOST || i == OSP_S_REASON)
			same_str(&rr.rec, &rec, i);
	ok(req->has == rec.msg[OSP_REQ].has && req->tcp_seq == 0xffffffff && req->tcp_end == 79 &&
		   req->digest == 0xfedcba9876543210 && req->head_bytes == 80,
	   "request");
	ok(req->header_n == 2 && req->header[1].redacted == 7 && req->header[0].value.n == 3,
	   "headers, one of them redacted");
	ok(res->has == rec.msg[OSP_RES].has && res->status == 204 && res->interim[0] == 103 &&
		   res->body_wire_bytes == 1ull << 40,
	   "response");
	ok(rr.rec.has_timing == 3 && rr.rec.duration_ns == 9 && rr.rec.lost_bytes == 3, "timing");
	rc_rec_fini(&rr);
}

/* Every cut and every changed byte: an answer, whichever, and no step outside (the address
 * sanitizer looks).
 */
static void test_damage(void)
{
	static const char bent[] = "{}[]\",:\\u0-9e\xff\0";
	char buf[4096];
	size_t n = written(buf, sizeof(buf) - RC_JS_PAD);
	struct rc_rec rr = { 0 };
	uint32_t good = 0, rng = 1;

	for (size_t k = 0; k < n; k++) {
		char *p = padded(buf, k);

		good += !rc_rec_read(&rr, p, k);
		free(p);
	}
	eq_int(good, 0, "no beginning of a record is a record");
	for (int i = 0; i < 20000; i++) {
		char *p = padded(buf, n);

		for (int k = 0; k < 3; k++) {
			rng = rng * 1664525 + 1013904223;
			p[(rng >> 8) % n] = bent[(rng >> 28) % (sizeof(bent) - 1)];
		}
		good += !rc_rec_read(&rr, p, n);
		free(p);
	}
	ok(good < 20000, "20,000 bent records: %u of them still are some", good);
	rc_rec_fini(&rr);
}

/* Whether a line reads the same with and without white space: keys as the writer writes them go
 * another way through the reader than all others.
 */
static bool both_ways(struct rc_rec rr[2], const char *line, size_t n)
{
	char *p[2] = { padded(line, n), calloc(2, n + RC_JS_PAD) }, text[2][8192];
	size_t len[2] = { n, spaced(line, n, p[1]) }, out[2];
	int rc[2];
	bool same;

	for (int i = 0; i < 2; i++) {
		rc[i] = rc_rec_read(&rr[i], p[i], len[i]);
		if (rr[i].rec.kind == OSP_REC_LEDGER)
			rr[i].rec.ledger.counter_n = 0;
		out[i] = rc[i] ? 0 : osp_record_json(&rr[i].rec, text[i], sizeof(text[i]));
	}
	same = rc[0] == rc[1] && out[0] == out[1] && out[0] <= sizeof(text[0]) &&
	       !memcmp(text[0], text[1], out[0]) &&
	       (rc[0] || (rr[0].has_ts == rr[1].has_ts &&
			  !memcmp(&rr[0].led, &rr[1].led, sizeof(rr[0].led))));
	free(p[0]);
	free(p[1]);
	return same;
}

static void test_both_ways(void)
{
	static const char bent[] = "{}[]\",:\\u0-9e\xff\0";
	static const char *const lines[] = {
		"{\"schema\":\"osprey/1\",\"kind\":\"connection\",\"vantage\":\"wire\",\"id\":"
		"\"00112233445566778899AABBccddeeff\",\"seq\":3,\"ts\":\"2026-01-01T00:00:00.5Z\","
		"\"flags\":[\"midstream\"],\"conn\":{\"id\":\"1:x\",\"cookie\":5,\"client\":{"
		"\"address\":"
		"\"10.0.0.1\",\"port\":5},\"server\":{\"address\":\"fd00::1\",\"port\":80}},"
		"\"opened\":\"2026-01-01T00:00:00Z\",\"end\":\"fin\",\"protocol\":\"http/1\","
		"\"transactions\":3,\"turns\":6,\"lost_exchanges\":1,\"tcp\":{\"rtt_us\":4},"
		"\"tx\":{\"bytes\":10,\"seen_bytes\":7,\"gaps\":[{\"at\":2,\"bytes\":3,\"cause\":"
		"\"ring_full\"}]},\"rx\":{\"bytes\":18446744073709551615,\"seen_bytes\":"
		"18446744073709551616}}",
		"{\"schema\":\"osprey/"
		"1\",\"kind\":\"ledger\",\"ts\":\"2026-01-01T00:00:00Z\",\"when\":"
		"\"exit\",\"agent\":{\"version\":\"1\"},\"mode\":\"sock\",\"host\":{\"name\":\"h\"}"
		","
		"\"events\":{\"seen\":4,\"filtered\":2,\"lost\":{\"ring_full\":1,\"race\":2}},"
		"\"bytes\":"
		"{\"seen\":9,\"gap\":{\"splice\":4}},\"exchanges\":{\"lost\":8},\"sinks\":{"
		"\"jsonl\":"
		"{\"accepted\":1,\"dropped\":3,\"lost\":4}},\"closed\":true}",
		"{\"schema\":\"osprey/1\",\"kind\":\"transaction\",\"ts\":\"2026-01-01T00:00:00Z\","
		"\"http\":{\"response\":{\"status_code\":200.0,\"body_bytes\":1e3,\"head_bytes\":"
		"4294967296,\"digest\":\"xxh64:0123456789:bcdef\"},\"request\":7},\"timing\":"
		"{\"ttfb_ns\":-5,\"duration_ns\":9223372036854775807},\"outcome\":\"ok\"}",
		"{\"kind\":\"transaction\",\"schema\":\"osprey/1\",\"new\":{\"a\":[1]},\"http\":{},"
		"\"timing\":{}}",
	};
	struct rc_rec rr[2] = { 0 };
	uint32_t rng = 2, bad = 0;
	char buf[4096];

	for (int i = 0; i <= (int)(sizeof(lines) / sizeof(lines[0])); i++) {
		size_t n = i ? strlen(lines[i - 1]) : written(buf, sizeof(buf) - RC_JS_PAD);

		if (i)
			memcpy(buf, lines[i - 1], n);
		ok(both_ways(rr, buf, n), "line %d reads the same with white space", i);
		for (int k = 0; k < 5000; k++) {
			char was[2];
			size_t at[2];

			for (int j = 0; j < 2; j++) {
				rng = rng * 1664525 + 1013904223;
				at[j] = (rng >> 8) % n;
				was[j] = buf[at[j]];
				buf[at[j]] = bent[(rng >> 28) % (sizeof(bent) - 1)];
			}
			bad += !both_ways(rr, buf, n);
			buf[at[1]] = was[1];
			buf[at[0]] = was[0];
		}
	}
	eq_int(bad, 0, "and so do 25,000 bent ones");
	rc_rec_fini(&rr[0]);
	rc_rec_fini(&rr[1]);
}

int main(void)
{
	test_grammar();
	test_depth();
	test_strings();
	test_numbers();
	test_times();
	test_round_trip();
	test_damage();
	test_both_ways();
	return done();
}
