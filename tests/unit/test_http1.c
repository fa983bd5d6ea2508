/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_http1.c: HTTP/1 as records: framing, pairing, odd heads; each conversation whole, cut in two
 * at every byte, and byte by byte, with the same records each time.
 */
#include "tests/lib/evbuild.h"
#include "tests/lib/tap.h"

#include <inttypes.h>

/* One turn of a conversation; dir as the server sees it. */
struct line {
	int dir;
	const char *s;
};
#define REQ(s) { OSP_RX, s }
#define RES(s) { OSP_TX, s }
#define END { 0, NULL }

enum cut { WHOLE, CUT, BYTES };

static void talk(struct evc *conn, const struct line *line, enum cut how, size_t at)
{
	size_t pos = 0;

	for (; line->s; line++) {
		size_t n = strlen(line->s), i;

		if (how == BYTES) {
			for (i = 0; i < n; i++)
				evc_data(conn, line->dir, line->s + i, 1);
		} else if (how == CUT && at > pos && at < pos + n) {
			evc_data(conn, line->dir, line->s, (uint32_t)(at - pos));
			evc_data(conn, line->dir, line->s + (at - pos), (uint32_t)(pos + n - at));
		} else {
			evc_data(conn, line->dir, line->s, (uint32_t)n);
		}
		pos += n;
	}
}

static size_t length(const struct line *line)
{
	size_t n = 0;

	for (; line->s; line++)
		n += strlen(line->s);
	return n;
}

static void run(struct rig *rig, const struct line *line, enum cut how, size_t at)
{
	struct evc conn;

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1000, 2000);
	evc_open(&conn, OSP_OPEN_ESTABLISHED, OSP_ROLE_SERVER, OSP_FROM_ACCEPT);
	talk(&conn, line, how, at);
	evc_close(&conn, OSP_CF_FIN_RX | OSP_CF_FIN_TX, 0);
}

/* All that must not depend on how bytes were cut: not times, not threads. */
static void digest(const struct rig *rig, char *out, size_t room)
{
	size_t used = 0;
	uint32_t i;
	int k;

	out[0] = 0;
	for (i = 0; i < rig->n; i++) {
		const struct osp_record *r = rig->rec[i];

		if (r->kind != OSP_REC_TRANSACTION || used >= room)
			continue;
		used += (size_t)snprintf(out + used, room - used, "%d f%x a%x l%" PRIu64 " n%" PRIu64,
					 r->outcome, r->flags, r->anomalies, r->lost_bytes,
					 r->conn.txn);
		for (k = 0; k < OSP_S_MAX && used < room; k++) {
			if (r->str[k].p)
				used += (size_t)snprintf(out + used, room - used, " %d=%.*s", k,
							 (int)r->str[k].n, r->str[k].p);
		}
		for (k = 0; k < OSP_ENDS && used < room; k++) {
			const struct osp_rec_msg *m = &r->msg[k];

			used += (size_t)snprintf(out + used, room - used,
						 " [%x %u %" PRIu64 " %" PRIu64 " %" PRIu64
						 " %u %u %" PRIx64 " %u %u.%u]",
						 m->has, m->head_bytes, m->body_wire_bytes,
						 m->body_bytes, m->content_length, m->tcp_seq,
						 m->tcp_end, m->digest, m->status, m->interim_n,
						 m->interim[0]);
		}
		if (used < room)
			used += (size_t)snprintf(out + used, room - used, "\n");
	}
}

/* Cuts the conversation everywhere; says where it first differs. */
static void any_cut(struct rig *rig, const struct line *line, const char *name)
{
	static char want[65536], got[65536];
	size_t at, n = length(line), bad = 0;

	run(rig, line, WHOLE, 0);
	ok(rig_sums(rig), "%s: sums", name);
	digest(rig, want, sizeof(want));
	for (at = 1; at <= n && !bad; at++) {
		run(rig, line, at == n ? BYTES : CUT, at);
		digest(rig, got, sizeof(got));
		if (strcmp(want, got) || !rig_sums(rig))
			bad = at;
	}
	if (!ok(!bad, "%s: the same however it is cut (%zu ways)", name, n))
		printf("# cut at %zu of %zu\n# want %s\n# got  %s\n", bad, n, want, got);
	run(rig, line, WHOLE, 0);
}

static const struct osp_record *txn(const struct rig *rig, uint32_t n)
{
	static const struct osp_record none;
	const struct osp_record *rec = rig_rec(rig, OSP_REC_TRANSACTION, n);

	return rec ? rec : &none;
}

static void test_keep_alive(struct rig *rig)
{
	static const struct line line[] = {
		REQ("GET /a?b=1 HTTP/1.1\r\nHost: example.test\r\nUser-Agent: x/1\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\n\r\nhello"),
		REQ("POST /b HTTP/1.1\r\nHost: y\r\nContent-Length: 3\r\n\r\nabc"),
		RES("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"),
		END
	};
	const struct osp_record *r;

	any_cut(rig, line, "keep-alive");
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 2, "two transactions");
	r = txn(rig, 0);
	eq_int(r->outcome, OSP_OUT_OK, "ok");
	ok(slice_eq(r->str[OSP_S_METHOD], "GET") && slice_eq(r->str[OSP_S_TARGET], "/a?b=1") &&
	   slice_eq(r->str[OSP_S_HOST], "example.test") && slice_eq(r->str[OSP_S_REASON], "OK") &&
	   slice_eq(r->str[OSP_S_USER_AGENT], "x/1") && slice_eq(r->str[OSP_S_HTTP_VERSION], "1.1"),
	   "strings");
	eq_int(r->msg[OSP_RES].status, 200, "status");
	eq_int(r->msg[OSP_RES].body_bytes, 5, "body");
	ok(r->msg[OSP_RES].digest == 0x26c7827d889f6da3ull, "xxh64 of hello");
	eq_int(r->msg[OSP_REQ].head_bytes, strlen(line[0].s), "request head");
	eq_int(r->msg[OSP_REQ].tcp_seq, 2000, "request's first sequence number");
	eq_int(r->msg[OSP_REQ].tcp_end, 2000 + strlen(line[0].s), "request's end");
	eq_int(r->msg[OSP_RES].tcp_seq, 1000, "response's first sequence number");
	eq_int(r->conn.role, OSP_ROLE_SERVER, "role");
	eq_int(r->conn.client_port, 20001, "client is the remote end");
	eq_int(r->has_timing, 3, "timing is there");
	eq_int(r->ttfb_ns, 1000, "ttfb");
	eq_int(txn(rig, 1)->conn.txn, 2, "second of the connection");
	eq_int(txn(rig, 1)->msg[OSP_REQ].body_bytes, 3, "request body");
}

static void test_pipelining(struct rig *rig)
{
	char req[16384], res[16384];
	struct line line[] = { REQ(req), RES(res), END };
	uint32_t depth, i, bad = 0;

	for (depth = 1; depth <= 64; depth++) {
		size_t a = 0, b = 0;

		for (i = 0; i < depth; i++) {
			a += (size_t)snprintf(req + a, sizeof(req) - a,
					      "GET /%u HTTP/1.1\r\nHost: x\r\n\r\n", i);
			b += (size_t)snprintf(res + b, sizeof(res) - b,
					      "HTTP/1.1 200 OK\r\nContent-Length: %u\r\n\r\n%.*s",
					      i % 10, (int)(i % 10), "0123456789");
		}
		run(rig, line, depth % 2 ? WHOLE : BYTES, 0);
		if (rig_count(rig, OSP_REC_TRANSACTION) != depth || !rig_sums(rig))
			bad = bad ? bad : depth;
		for (i = 0; i < depth; i++) {
			char target[16];

			snprintf(target, sizeof(target), "/%u", i);
			if (!slice_eq(txn(rig, i)->str[OSP_S_TARGET], target) ||
			    txn(rig, i)->msg[OSP_RES].body_bytes != i % 10 ||
			    txn(rig, i)->outcome != OSP_OUT_OK)
				bad = bad ? bad : depth;
		}
	}
	eq_int(bad, 0, "pipelining to a depth of 64");
}

static void test_no_body(struct rig *rig)
{
	static const struct line line[] = {
		REQ("HEAD /h HTTP/1.1\r\n\r\n"), RES("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
		REQ("GET /1 HTTP/1.1\r\n\r\n"), RES("HTTP/1.1 204 No Content\r\n\r\n"),
		REQ("GET /2 HTTP/1.1\r\n\r\n"),
		RES("HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n"),
		REQ("GET /3 HTTP/1.1\r\n\r\n"),
		RES("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n!"),
		END
	};
	uint32_t i;

	any_cut(rig, line, "no body");
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 4, "four transactions");
	for (i = 0; i < 4; i++)
		eq_int(txn(rig, i)->outcome, OSP_OUT_OK, "%u ok", i);
	eq_int(txn(rig, 0)->msg[OSP_RES].content_length, 99, "HEAD: length as declared");
	eq_int(txn(rig, 0)->msg[OSP_RES].body_bytes, 0, "HEAD: no body");
	eq_int(txn(rig, 3)->msg[OSP_RES].interim_n, 1, "one interim");
	eq_int(txn(rig, 3)->msg[OSP_RES].interim[0], 103, "103");
	eq_int(rig_stat(rig, OSP_ST_MSG_RESPONSES), 5, "interim ones are counted");
}

static void test_continue(struct rig *rig)
{
	static const struct line after[] = {
		REQ("POST /c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
		RES("HTTP/1.1 100 Continue\r\n\r\n"), REQ("body"),
		RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), END
	};
	static const struct line before[] = {
		REQ("POST /c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
		REQ("body"), RES("HTTP/1.1 100 Continue\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), END
	};
	static const struct line refused[] = {
		REQ("POST /c HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"),
		RES("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"),
		REQ("GET /next HTTP/1.1\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), END
	};

	any_cut(rig, after, "100 then body");
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 1, "one");
	eq_int(txn(rig, 0)->msg[OSP_RES].interim[0], 100, "100");
	eq_int(txn(rig, 0)->msg[OSP_REQ].body_bytes, 4, "body");
	any_cut(rig, before, "body then 100");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_OK, "ok");
	run(rig, refused, WHOLE, 0);
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 2, "refused: two");
	eq_int(txn(rig, 0)->msg[OSP_RES].status, 417, "417");
	eq_int(txn(rig, 0)->msg[OSP_REQ].body_bytes, 0, "its body never came");
	ok(slice_eq(txn(rig, 1)->str[OSP_S_TARGET], "/next") && txn(rig, 1)->outcome == OSP_OUT_OK,
	   "what came instead is the next request");
}

static void test_early(struct rig *rig)
{
	static const struct line line[] = {
		REQ("POST /big HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345"),
		RES("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), REQ("67890"),
		REQ("GET /n HTTP/1.1\r\n\r\n"), RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), END
	};
	static const struct line cut[] = {
		REQ("POST /big HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345"),
		RES("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n"), END
	};

	any_cut(rig, line, "early response");
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 2, "two");
	eq_int(txn(rig, 0)->msg[OSP_RES].status, 413, "413");
	eq_int(txn(rig, 0)->msg[OSP_REQ].body_bytes, 10, "the rest of the body is its own");
	any_cut(rig, cut, "early response, body given up");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_CLOSED, "closed");
}

static void test_chunked(struct rig *rig)
{
	static const struct line line[] = {
		REQ("PUT /c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
		    "3;ext=\"v\"\r\nabc\r\n0A\r\n0123456789\r\n000\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n"),
		REQ("GET /n HTTP/1.1\r\n\r\n"), RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), END
	};
	static const struct line bad[] = {
		REQ("GET /c HTTP/1.1\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"),
		REQ("GET /n HTTP/1.1\r\n\r\n"), RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), END
	};
	static const struct line huge[] = {
		REQ("GET /c HTTP/1.1\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n"), END
	};

	any_cut(rig, line, "chunked");
	eq_int(txn(rig, 0)->msg[OSP_REQ].body_bytes, 13, "decoded");
	eq_int(txn(rig, 0)->msg[OSP_REQ].body_wire_bytes,
	       strlen("3;ext=\"v\"\r\nabc\r\n0A\r\n0123456789\r\n000\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
	       "on the wire");
	ok(slice_eq(txn(rig, 0)->str[OSP_S_RES_TRANSFER_ENCODING], "gzip, chunked"), "coding");
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 2, "the next one is found");
	run(rig, bad, WHOLE, 0);
	eq_int(txn(rig, 0)->outcome, OSP_OUT_FRAMING, "bad size: framing_error");
	ok(txn(rig, 0)->anomalies & OSP_RA_BAD_CHUNK, "bad_chunk");
	eq_int(txn(rig, 1)->outcome, OSP_OUT_OK, "the next one is paired again");
	any_cut(rig, huge, "chunk of 2^64");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_FRAMING, "framing_error");
}

static void test_until_close(struct rig *rig)
{
	static const struct line line[] = {
		REQ("GET /c HTTP/1.0\r\n\r\n"), RES("HTTP/1.0 200 OK\r\n\r\nall of this\r\n\r\n"), END
	};
	struct evc conn;

	any_cut(rig, line, "until close");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_OK, "ok");
	eq_int(txn(rig, 0)->msg[OSP_RES].body_bytes, 15, "body");
	ok(slice_eq(txn(rig, 0)->str[OSP_S_HTTP_VERSION], "1.0"), "version");

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	evc_open(&conn, OSP_OPEN_ESTABLISHED, OSP_ROLE_SERVER, OSP_FROM_ACCEPT);
	talk(&conn, line, WHOLE, 0);
	evc_shut(&conn, OSP_SHUT_TX);
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 1, "the FIN ends it, not the CLOSE");
	evc_close(&conn, OSP_CF_FIN_TX | OSP_CF_FIN_RX, 0);

	rig_reset(rig);
	evc_init(&conn, rig, 1, 1, 2);
	evc_open(&conn, OSP_OPEN_ESTABLISHED, OSP_ROLE_SERVER, OSP_FROM_ACCEPT);
	talk(&conn, line, WHOLE, 0);
	evc_close(&conn, OSP_CF_RESET, 0);
	eq_int(txn(rig, 0)->outcome, OSP_OUT_RESET, "reset: not complete");
	eq_int(txn(rig, 0)->msg[OSP_RES].body_bytes, 15, "size so far");
}

static void test_tunnels(struct rig *rig)
{
	static const struct line upgrade[] = {
		REQ("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
		RES("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"),
		REQ("\x81\x82mask"), END
	};
	static const struct line connect[] = {
		REQ("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), REQ("\x16\x03\x01"),
		RES("\x16\x03\x03"), END
	};
	static const struct line refused[] = {
		REQ("CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\nGET /after HTTP/1.1\r\n\r\n"),
		RES("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), END
	};
	static const struct line ignored[] = {
		REQ("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		REQ("GET /2 HTTP/1.1\r\n\r\n"), RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), END
	};
	const struct osp_record *c;

	any_cut(rig, upgrade, "101");
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 1, "one");
	ok(txn(rig, 0)->flags & OSP_RF_UPGRADE, "upgrade");
	c = rig_rec(rig, OSP_REC_CONNECTION, 0);
	ok(c && slice_eq(c->str[OSP_S_PROTOCOL], "websocket"), "websocket");
	eq_int(rig_stat(rig, OSP_ST_BY_SKIPPED_TUNNEL), 10, "what follows is counted");
	any_cut(rig, connect, "CONNECT");
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 1, "one");
	ok(txn(rig, 0)->flags & OSP_RF_TUNNEL, "tunnel");
	eq_int(txn(rig, 0)->msg[OSP_RES].body_bytes, 0, "Content-Length does not count");
	any_cut(rig, refused, "CONNECT refused");
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 2, "what came behind it is HTTP");
	ok(slice_eq(txn(rig, 1)->str[OSP_S_TARGET], "/after") && txn(rig, 1)->outcome == OSP_OUT_OK,
	   "and is paired");
	any_cut(rig, ignored, "upgrade ignored");
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 2, "stays HTTP");
}

static void odd(struct rig *rig, const char *req, const char *res, uint32_t anomaly, int outcome,
		int64_t body, const char *name)
{
	const struct line line[] = { REQ(req), RES(res), END };

	any_cut(rig, line, name);
	eq_int(rig_count(rig, OSP_REC_TRANSACTION), 1, "%s: one", name);
	eq_int(txn(rig, 0)->anomalies, anomaly, "%s: anomaly", name);
	eq_int(txn(rig, 0)->outcome, outcome, "%s: outcome", name);
	if (body >= 0)
		eq_int(txn(rig, 0)->msg[OSP_RES].body_bytes, body, "%s: body", name);
}

#define G "GET / HTTP/1.1\r\n\r\n"
static void test_odd(struct rig *rig)
{
	odd(rig, G, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
	    "2\r\nab\r\n0\r\n\r\n", OSP_RA_CL_TE, OSP_OUT_OK, 2, "CL and TE");
	odd(rig, G, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
	    0, OSP_OUT_OK, 2, "equal lengths");
	odd(rig, G, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nab",
	    OSP_RA_MULTIPLE_CL, OSP_OUT_OK, 2, "different lengths");
	odd(rig, G, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", OSP_RA_BAD_CL, OSP_OUT_FRAMING,
	    -1, "negative length");
	odd(rig, G, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", OSP_RA_BAD_CL,
	    OSP_OUT_FRAMING, -1, "length beyond 2^63");
	odd(rig, "GET / HTTP/1.1\nHost: x\n\n", "HTTP/1.1 200 OK\nContent-Length: 1\n\na",
	    OSP_RA_BARE_LF, OSP_OUT_OK, 1, "bare LF");
	odd(rig, G, "HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\na", OSP_RA_SPACE_BEFORE_COLON,
	    OSP_OUT_OK, 1, "space before colon");
	odd(rig, G, "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 1\r\n\r\na", OSP_RA_OBS_FOLD,
	    OSP_OUT_OK, 1, "folded");
	odd(rig, "\r\n\r\n" G, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", OSP_RA_LEADING_BLANK,
	    OSP_OUT_OK, 1, "blank lines before");
	eq_int(txn(rig, 0)->msg[OSP_REQ].head_bytes, strlen(G), "are not part of the head");
	eq_int(txn(rig, 0)->msg[OSP_REQ].tcp_seq, 2004, "nor of the message");
	odd(rig, G, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc",
	    OSP_RA_TE_NOT_CHUNKED, OSP_OUT_OK, 3, "chunked is not last");
	odd(rig, G, "HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 1\r\n\r\na", OSP_RA_BAD_HEAD,
	    OSP_OUT_OK, 1, "a line that is no header");
	odd(rig, "BREW /pot HTTP/1.1\r\n\r\n", "HTTP/1.1 418 \r\nContent-Length: 0\r\n\r\n", 0,
	    OSP_OUT_OK, 0, "a method of one's own");
	odd(rig, "GET /\xff\xfe HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0,
	    OSP_OUT_OK, 0, "not UTF-8");
	ok(txn(rig, 0)->flags & OSP_RF_NONUTF8, "is told");
	odd(rig, G, "something else entirely\r\n", 0, OSP_OUT_FRAMING, -1, "no status line");
}

static void test_extra(struct rig *rig)
{
	static const struct line line[] = {
		REQ(G), RES("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nabcdef"), END
	};

	any_cut(rig, line, "bytes too many");
	eq_int(txn(rig, 0)->outcome, OSP_OUT_OK, "ok");
	eq_int(rig_stat(rig, OSP_ST_BY_SKIPPED_EXTRA), 5, "counted");
}

static void test_other(struct rig *rig)
{
	static const struct {
		const char *first, *proto;
		int dir;
	} other[] = {
		{ "\x16\x03\x01\x02\x00\x01", "tls", OSP_RX },
		{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http/2", OSP_RX },
		{ "220 mail.example ESMTP\r\n", "opaque", OSP_TX },
		{ "SSH-2.0-x\r\n", "opaque", OSP_RX },
		{ "GET x\r\n", "opaque", OSP_RX },
	};
	unsigned int i;

	for (i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
		const struct line line[] = { { other[i].dir, other[i].first }, END };
		size_t at, bad = 0;

		for (at = 0; at <= strlen(other[i].first); at++) {
			const struct osp_record *c;

			run(rig, line, at == strlen(other[i].first) ? BYTES : CUT, at);
			c = rig_rec(rig, OSP_REC_CONNECTION, 0);
			if (!c || !slice_eq(c->str[OSP_S_PROTOCOL], other[i].proto) || rig->n != 1 ||
			    rig_stat(rig, OSP_ST_BY_SKIPPED_OPAQUE) != strlen(other[i].first) ||
			    !rig_sums(rig))
				bad = at + 1;
		}
		eq_int(bad, 0, "%s is told apart", other[i].proto);
	}
}

static void test_long_head(void)
{
	struct osp_tracker_conf conf;
	struct rig rig;
	char head[4096];
	struct line line[] = { REQ(head), RES("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), END };

	osp_tracker_conf_default(&conf);
	conf.max_head = 1024;
	rig_open(&rig, &conf);
	snprintf(head, sizeof(head), "GET /x HTTP/1.1\r\nX: %01100d\r\n\r\n", 1);
	run(&rig, line, WHOLE, 0);
	eq_int(txn(&rig, 0)->outcome, OSP_OUT_NO_REQUEST, "a head that is too long is no request");
	eq_int(rig_stat(&rig, OSP_ST_MSG_BAD), 1, "counted as bad");
	ok(rig_sums(&rig), "sums");
	run(&rig, line, BYTES, 0);
	eq_int(rig_stat(&rig, OSP_ST_MSG_BAD), 1, "byte by byte too");
	ok(rig_sums(&rig), "sums");
	snprintf(head, sizeof(head), "GET /x HTTP/1.1\r\nX: %0900d\r\n\r\n", 1);
	any_cut(&rig, line, "a long head");
	eq_int(txn(&rig, 0)->outcome, OSP_OUT_OK, "that fits");
	rig_close(&rig);
}

static void test_headers(void)
{
	static const struct line line[] = {
		REQ("GET / HTTP/1.1\r\nHost: x\r\nAUTHORIZATION: Basic c2VjcmV0\r\nX-A: 1\r\nX-A: 2\r\n\r\n"),
		RES("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nSet-Cookie: s=1\r\n\r\n0123456789"), END
	};
	struct osp_tracker_conf conf;
	const struct osp_record *r;
	struct rig rig;

	osp_tracker_conf_default(&conf);
	conf.headers = true;
	conf.body = 4;
	rig_open(&rig, &conf);
	any_cut(&rig, line, "headers and bodies kept");
	r = txn(&rig, 0);
	eq_int(r->msg[OSP_REQ].header_n, 4, "all headers, duplicates too");
	eq_int(r->msg[OSP_REQ].header[1].redacted, strlen("Basic c2VjcmV0") + 1, "redacted");
	ok(slice_eq(r->msg[OSP_REQ].header[1].name, "AUTHORIZATION"), "its name is kept as it was");
	ok(!r->msg[OSP_REQ].header[1].value.n, "its value is not");
	ok(slice_eq(r->msg[OSP_REQ].header[3].value, "2"), "order is kept");
	ok(r->msg[OSP_RES].header[1].redacted, "Set-Cookie");
	ok(slice_eq(r->str[OSP_S_RES_BODY], "0123"), "the body's beginning");
	ok(r->flags & OSP_RF_TRUNCATED, "truncated");
	eq_int(r->msg[OSP_RES].body_bytes, 10, "its size is exact");
	rig_close(&rig);
}

int main(void)
{
	struct rig rig;

	rig_open(&rig, NULL);
	test_keep_alive(&rig);
	test_pipelining(&rig);
	test_no_body(&rig);
	test_continue(&rig);
	test_early(&rig);
	test_chunked(&rig);
	test_until_close(&rig);
	test_tunnels(&rig);
	test_odd(&rig);
	test_extra(&rig);
	test_other(&rig);
	rig_close(&rig);
	test_long_head();
	test_headers();
	return done();
}
