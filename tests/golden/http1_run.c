/* SPDX-License-Identifier: GPL-3.0-or-later */
/* http1_run.c: plays written conversations through the tracker, see README.md here.
 *
 *   http1_run [--fill] [--doc docs/http.md] FILE...   cases; TAP. --fill prints the files with the
 *                                        records as they are, for somebody to read and approve.
 *   http1_run --stream                   lines "request|response finish|open HEX" on stdin; prints
 *                                        the messages found, and whether any cut changes them.
 */
#include "tests/lib/evbuild.h"
#include "tests/lib/tap.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>

#define STEPS_MAX 128
#define WANT_MAX 80
#define SEQ_TX 0xfffffff0u	/* positions wrap on the way */
#define SEQ_RX 0xffffffe0u
#define EVERY_NOMEM 60		/* allocations that fail, evenly spread if a case makes more */
#define EVERY_CUT 3000		/* longer conversations are cut at a sample of places */

enum step_kind { S_CLIENT, S_SERVER, S_EOF_CLIENT, S_EOF_SERVER, S_RESET, S_LOSE_CLIENT,
		 S_LOSE_SERVER, S_TICK };

struct step {
	int kind;
	char *p;
	uint32_t n;		/* bytes; S_TICK: ms */
};

enum ending { E_FIN, E_RESET, E_STOP, E_TIMEOUT };

struct hcase {
	char name[128];
	struct step step[STEPS_MAX];
	int steps;
	char *want[WANT_MAX];
	int wants;
	char *stat;		/* "key=value ..." */
	struct osp_tracker_conf conf;
	char redact[128];
	int ending;
	bool mid, whole_only, no_gap, open, needs_br;
};

struct how {
	enum { H_WHOLE, H_BYTES, H_CUT, H_RANDOM, H_GAP, H_SKIP } mode;
	uint32_t at, n, seed;
	int side;		/* H_GAP: S_CLIENT, S_SERVER */
	bool flip;		/* seen from the client's end */
	uint32_t fail;		/* this allocation fails, from 1; 0: none */
	bool for_ever;		/* ... and all after it */
};

static bool quiet;		/* what goes wrong is meant to */
static uint32_t fail_at, allocations;
static bool fail_on;

int osp_mem_test_fail(void);
int osp_mem_test_fail(void)
{
	allocations++;
	return fail_at && (fail_on ? allocations >= fail_at : allocations == fail_at);
}

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

/* ---- the text format ------------------------------------------------------------------------- */

static int hexval(char c)
{
	return isdigit((unsigned char)c) ? c - '0' : isxdigit((unsigned char)c) ? (c | 32) - 'a' + 10 : -1;
}

static void put(struct step *s, const char *p, uint32_t n)
{
	s->p = must(realloc(s->p, s->n + (size_t)n + 1));
	memcpy(s->p + s->n, p, n);
	s->n += n;
	s->p[s->n] = 0;
}

/* \r \n \t \0 \\ \xNN, and \{N*text}, text N times. */
static void unescape(struct step *s, const char *p, const char *end)
{
	while (p < end) {
		char c = *p++;

		if (c == '\\' && p < end && *p == '{') {
			const char *star = strchr(p, '*'), *close = strchr(p, '}');
			struct step one = { 0, NULL, 0 };
			unsigned long n = strtoul(p + 1, NULL, 10);

			if (!star || !close || star > close)
				abort();
			unescape(&one, star + 1, close);
			while (n--)
				put(s, one.p, one.n);
			free(one.p);
			p = close + 1;
			continue;
		}
		if (c == '\\' && p < end) {
			c = *p++;
			if (c == 'x' && end - p >= 2) {
				c = (char)(hexval(p[0]) << 4 | hexval(p[1]));
				p += 2;
			} else {
				c = c == 'r' ? '\r' : c == 'n' ? '\n' : c == 't' ? '\t' : c == '0' ? 0 : c;
			}
		}
		put(s, &c, 1);
	}
}

static struct step *add_step(struct hcase *c, int kind)
{
	if (c->steps == STEPS_MAX)
		abort();
	c->step[c->steps] = (struct step){ kind, NULL, 0 };
	return &c->step[c->steps++];
}

/* "> bytes", ">> line" (with CR LF); lines of one side are one event until the other side's turn,
 * or until "|".
 */
static void add_bytes(struct hcase *c, const char *line)
{
	int kind = line[0] == '>' ? S_CLIENT : S_SERVER;
	bool crlf = line[1] == line[0];
	const char *p = line + 1 + crlf;
	struct step *s = c->steps ? &c->step[c->steps - 1] : NULL;

	if (*p == ' ')
		p++;
	if (!s || s->kind != kind || c->open)
		s = add_step(c, kind);
	c->open = false;
	unescape(s, p, p + strlen(p));
	if (crlf)
		put(s, "\r\n", 2);
}

static bool starts(const char *s, const char *with, const char **rest)
{
	size_t n = strlen(with);

	if (strncmp(s, with, n))
		return false;
	*rest = s + n + (s[n] == ' ');
	return true;
}

static void directive(struct hcase *c, const char *s)
{
	const char *arg;

	if (starts(s, "eof client", &arg))
		add_step(c, S_EOF_CLIENT);
	else if (starts(s, "eof server", &arg))
		add_step(c, S_EOF_SERVER);
	else if (starts(s, "lose client", &arg))
		add_step(c, S_LOSE_CLIENT)->n = (uint32_t)strtoul(arg, NULL, 10);
	else if (starts(s, "lose server", &arg))
		add_step(c, S_LOSE_SERVER)->n = (uint32_t)strtoul(arg, NULL, 10);
	else if (starts(s, "wait", &arg))
		add_step(c, S_TICK)->n = (uint32_t)strtoul(arg, NULL, 10);
	else if (starts(s, "reset", &arg))
		c->ending = E_RESET;
	else if (starts(s, "timeout", &arg))
		c->ending = E_TIMEOUT;
	else if (starts(s, "stop", &arg))
		c->ending = E_STOP;
	else if (starts(s, "midstream", &arg))
		c->mid = true;
	else if (starts(s, "whole-only ", &arg))
		c->whole_only = true;
	else if (starts(s, "no-gap ", &arg))
		c->no_gap = true;
	else if (starts(s, "headers", &arg))
		c->conf.headers = true;
	else if (starts(s, "max-head", &arg))
		c->conf.max_head = (uint32_t)strtoul(arg, NULL, 10);
	else if (starts(s, "body", &arg))
		c->conf.body = (uint32_t)strtoul(arg, NULL, 10);
	else if (starts(s, "decode", &arg))
		c->conf.decode = true;
	else if (starts(s, "needs br", &arg))
		c->needs_br = true;
	else if (starts(s, "redact", &arg))
		snprintf(c->redact, sizeof(c->redact), "%s", arg);
	else {
		fprintf(stderr, "http1_run: what is \"! %s\"?\n", s);
		exit(2);
	}
}

static void case_reset(struct hcase *c)
{
	int i;

	for (i = 0; i < c->steps; i++)
		free(c->step[i].p);
	for (i = 0; i < c->wants; i++)
		free(c->want[i]);
	free(c->stat);
	memset(c, 0, sizeof(*c));
	osp_tracker_conf_default(&c->conf);
}

/* ---- playing --------------------------------------------------------------------------------- */

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

static void some(struct evc *conn, int dir, const char *p, uint32_t n, bool gone)
{
	if (n && gone)
		evc_lose(conn, dir, n);
	else if (n)
		evc_data(conn, dir, p, n);
}

/* pos: bytes before this step, of both sides; own: of this side. */
static void send_step(struct evc *conn, int dir, const struct step *s, struct how *how,
		      uint32_t pos, uint32_t own)
{
	uint32_t i = 0, end;

	if (how->mode == H_SKIP && how->at > pos) {
		i = how->at - pos < s->n ? how->at - pos : s->n;
		conn->seq[dir] += i;
	}
	while (i < s->n) {
		bool gone = false;

		end = s->n;
		if (how->mode == H_BYTES)
			end = i + 1;
		else if (how->mode == H_CUT && how->at > pos + i && how->at < pos + s->n)
			end = how->at - pos;
		else if (how->mode == H_RANDOM)
			end = i + 1 + next_random(&how->seed) % (next_random(&how->seed) % 3 ? 12 : 90);
		if (how->mode == H_GAP && s->kind == how->side && own + s->n > how->at &&
		    own + i < how->at + how->n) {
			gone = own + i >= how->at;
			end = gone ? how->at + how->n - own : how->at - own;
		}
		end = end < s->n ? end : s->n;
		some(conn, dir, s->p + i, end - i, gone);
		i = end;
	}
}

static void one_step(struct evc *conn, const struct step *s, struct how *how, uint32_t *pos,
		     uint32_t own[2])
{
	int dir = (s->kind == S_CLIENT || s->kind == S_LOSE_CLIENT) != how->flip ? OSP_RX : OSP_TX;

	switch (s->kind) {
	case S_CLIENT:
	case S_SERVER:
		send_step(conn, dir, s, how, *pos, own[s->kind]);
		*pos += s->n;
		own[s->kind] += s->n;
		break;
	case S_LOSE_CLIENT:
	case S_LOSE_SERVER:
		evc_lose(conn, dir, s->n);
		break;
	case S_EOF_CLIENT:
		evc_shut(conn, how->flip ? OSP_SHUT_TX : OSP_SHUT_RX);
		break;
	case S_EOF_SERVER:
		evc_shut(conn, how->flip ? OSP_SHUT_RX : OSP_SHUT_TX);
		break;
	case S_TICK:
		rig_tick(conn->rig, s->n * 1000000ull);
		break;
	}
}

static void play(struct rig *rig, const struct hcase *c, struct how how)
{
	uint32_t pos = 0, own[2] = { 0, 0 };
	struct evc conn;
	int i;

	rig_reset(rig);
	allocations = 0;
	fail_at = how.fail;
	fail_on = how.for_ever;
	evc_init(&conn, rig, 1, how.flip ? SEQ_RX : SEQ_TX, how.flip ? SEQ_TX : SEQ_RX);
	evc_open(&conn, c->mid || how.mode == H_SKIP ? OSP_OPEN_SIGHT : OSP_OPEN_ESTABLISHED,
		 how.flip ? OSP_ROLE_CLIENT : OSP_ROLE_SERVER,
		 how.flip ? OSP_FROM_CONNECT : OSP_FROM_ACCEPT);
	for (i = 0; i < c->steps; i++)
		one_step(&conn, &c->step[i], &how, &pos, own);
	if (c->ending == E_STOP)
		osp_tracker_finish(rig->trk);
	else
		evc_close(&conn, c->ending == E_FIN ? OSP_CF_FIN_TX | OSP_CF_FIN_RX :
			  c->ending == E_RESET ? OSP_CF_RESET : OSP_CF_TIMEOUT, 0);
	fail_at = 0;
}

/* ---- records as text ------------------------------------------------------------------------- */

struct out {
	char *p;
	size_t n, room;
};

static void __attribute__((format(printf, 2, 3))) say(struct out *o, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(o->p + o->n, o->room - o->n, fmt, ap);
	va_end(ap);
	if (n > 0)
		o->n += (size_t)n < o->room - o->n ? (size_t)n : o->room - o->n - 1;
}

static void say_slice(struct out *o, struct osp_slice s)
{
	uint32_t i;

	if (!s.p)
		say(o, "-");
	for (i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c > ' ' && c < 0x7f && c != '\\' && c != ',')
			say(o, "%c", c);
		else
			say(o, "\\x%02x", c);
	}
}

static void say_bits(struct out *o, uint32_t bits, const char *(*name)(int))
{
	const char *sep = "";
	int i;

	for (i = 0; i < 32; i++) {
		if (bits & 1u << i) {
			say(o, "%s%s", sep, name(i));
			sep = ",";
		}
	}
}

/* head+wire/body; ? where not known; ~ where not complete */
static void say_sizes(struct out *o, const struct osp_rec_msg *m)
{
	if (!(m->has & OSP_MH_MSG)) {
		say(o, "-");
		return;
	}
	say(o, "%u+", m->head_bytes);
	if (m->has & OSP_MH_BODY)
		say(o, "%" PRIu64 "/%" PRIu64, m->body_wire_bytes, m->body_bytes);
	else
		say(o, "?");
	if (!(m->has & OSP_MH_END))
		say(o, "~");
}

static void say_headers(struct out *o, const struct osp_rec_msg *m)
{
	uint32_t i;

	for (i = 0; i < m->header_n; i++) {
		say(o, i ? "," : "");
		say_slice(o, m->header[i].name);
		say(o, ":");
		if (m->header[i].redacted)
			say(o, "<%u>", m->header[i].redacted - 1);
		else
			say_slice(o, m->header[i].value);
	}
}

static const struct {
	const char *key;
	int str;
} strings[] = {
	{ "host", OSP_S_HOST }, { "ua", OSP_S_USER_AGENT }, { "version", OSP_S_HTTP_VERSION },
	{ "reason", OSP_S_REASON }, { "type", OSP_S_RES_CONTENT_TYPE },
	{ "req-type", OSP_S_REQ_CONTENT_TYPE }, { "enc", OSP_S_RES_CONTENT_ENCODING },
	{ "req-enc", OSP_S_REQ_CONTENT_ENCODING }, { "te", OSP_S_RES_TRANSFER_ENCODING },
	{ "req-te", OSP_S_REQ_TRANSFER_ENCODING }, { "body", OSP_S_RES_BODY },
	{ "req-body", OSP_S_REQ_BODY }, { "trace", OSP_S_TRACEPARENT }, { "rid", OSP_S_REQUEST_ID },
};

/* "gzip,br", or "!" and why they are still on it. */
static void say_decoded(struct out *o, const struct osp_rec_msg *m)
{
	int i;

	if (m->decode > OSP_DEC_DONE)
		say(o, "!%s", osp_undecoded_name(m->decode));
	for (i = 0; i < m->coding_n; i++)
		say(o, i ? ",%s" : "%s", osp_coding_name(m->coding[i]));
}

static void say_cl(struct out *o, const struct osp_rec_msg *m)
{
	if (m->has & OSP_MH_CONTENT_LENGTH)
		say(o, "%" PRIu64, m->content_length);
	else
		say(o, "-");
}

/* What the record has for a key of a "=" line; false: there is no such key. */
static bool say_key(struct out *o, const struct osp_record *r, const char *key)
{
	size_t i;

	for (i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
		if (!strcmp(key, strings[i].key)) {
			say_slice(o, r->str[strings[i].str]);
			return true;
		}
	}
	if (!strcmp(key, "req"))
		say_sizes(o, &r->msg[OSP_REQ]);
	else if (!strcmp(key, "res"))
		say_sizes(o, &r->msg[OSP_RES]);
	else if (!strcmp(key, "flags"))
		say_bits(o, r->flags, osp_flag_name);
	else if (!strcmp(key, "anomalies"))
		say_bits(o, r->anomalies, osp_anomaly_name);
	else if (!strcmp(key, "headers"))
		say_headers(o, &r->msg[OSP_REQ]);
	else if (!strcmp(key, "res-headers"))
		say_headers(o, &r->msg[OSP_RES]);
	else if (!strcmp(key, "header-n"))
		say(o, "%u", r->msg[OSP_REQ].header_n);
	else if (!strcmp(key, "cl"))
		say_cl(o, &r->msg[OSP_RES]);
	else if (!strcmp(key, "req-cl"))
		say_cl(o, &r->msg[OSP_REQ]);
	else if (!strcmp(key, "decoded"))
		say_decoded(o, &r->msg[OSP_RES]);
	else if (!strcmp(key, "req-decoded"))
		say_decoded(o, &r->msg[OSP_REQ]);
	else if (!strcmp(key, "qb"))
		say(o, "%" PRIu64, r->msg[OSP_REQ].body_bytes);
	else if (!strcmp(key, "rb"))
		say(o, "%" PRIu64, r->msg[OSP_RES].body_bytes);
	else if (!strcmp(key, "lost"))
		say(o, "%" PRIu64, r->lost_bytes);
	else if (!strcmp(key, "txn"))
		say(o, "%" PRIu64, r->conn.has & OSP_CH_TXN ? r->conn.txn : 0);
	else if (!strcmp(key, "interim"))
		for (i = 0; i < r->msg[OSP_RES].interim_n; i++)
			say(o, i ? ",%u" : "%u", r->msg[OSP_RES].interim[i]);
	else
		return false;
	return true;
}

static void say_start(struct out *o, const struct osp_record *r, int part)
{
	if (part == 0)
		say(o, "%s", osp_outcome_name(r->outcome));
	else if (part == 1)
		say_slice(o, r->str[OSP_S_METHOD]);
	else if (part == 2)
		say_slice(o, r->str[OSP_S_TARGET]);
	else if (r->msg[OSP_RES].has & OSP_MH_STATUS)
		say(o, "%u", r->msg[OSP_RES].status);
	else
		say(o, "-");
}

/* All that must be the same however bytes were cut, of one transaction. */
static void digest_one(struct out *o, const struct osp_record *r)
{
	int k;

	for (k = 0; k < 4; k++) {
		say_start(o, r, k);
		say(o, " ");
	}
	say(o, "f%x a%x l%" PRIu64 " n%" PRIu64, r->flags, r->anomalies, r->lost_bytes, r->conn.txn);
	for (k = 0; k < OSP_S_MAX; k++) {
		if (r->str[k].p && r->str[k].n < 4096) {
			say(o, " %d=", k);
			say_slice(o, r->str[k]);
		}
	}
	for (k = 0; k < OSP_ENDS; k++) {
		const struct osp_rec_msg *m = &r->msg[k];

		say(o, " [%x %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %u-%u %" PRIx64 " h%u]", m->has,
		    m->head_bytes, m->body_wire_bytes, m->body_bytes, m->content_length, m->tcp_seq,
		    m->tcp_end, m->digest, m->header_n);
		say_decoded(o, m);
	}
	for (k = 0; k < r->msg[OSP_RES].interim_n; k++)
		say(o, " %u", r->msg[OSP_RES].interim[k]);
	say(o, "\n");
}

static void digest(const struct rig *rig, struct out *o)
{
	uint32_t i;

	o->n = 0;
	o->p[0] = 0;
	for (i = 0; i < rig->n; i++) {
		if (rig->rec[i]->kind == OSP_REC_TRANSACTION)
			digest_one(o, rig->rec[i]);
	}
}

/* ---- what is expected ------------------------------------------------------------------------ */

#define ROOM (1 << 18)
static char room_a[ROOM], room_b[ROOM];

/* One word of a "=" line against the record. */
static bool word_ok(const struct osp_record *r, int part, char *word, struct out *o)
{
	char *eq;

	o->n = 0;
	o->p[0] = 0;
	if (!strcmp(word, "*"))
		return true;
	if (part < 4) {
		say_start(o, r, part);
		return !strcmp(o->p, word);
	}
	eq = strchr(word, '=');
	if (!eq)
		return false;
	*eq = 0;
	return say_key(o, r, word) && !strcmp(o->p, eq + 1);
}

/* Flags, anomalies and interim responses are none unless they are named. */
static bool rest_ok(const struct osp_record *r, const char *want, struct out *o)
{
	static const char *const key[] = { "flags", "anomalies", "interim" };
	size_t i;

	for (i = 0; i < 3; i++) {
		char find[32];

		snprintf(find, sizeof(find), " %s=", key[i]);
		o->n = 0;
		o->p[0] = 0;
		say_key(o, r, key[i]);
		if (!strstr(want, find) && o->n)
			return false;
	}
	return true;
}

static bool want_ok(const struct osp_record *r, const char *want)
{
	struct out o = { room_a, 0, ROOM };
	char *copy = must(strdup(want)), *save = NULL, *w;
	int part = 0;
	bool good = rest_ok(r, want, &o);

	if (!good)
		printf("# not told: %s\n", o.p);
	for (w = strtok_r(copy, " ", &save); w && good; w = strtok_r(NULL, " ", &save)) {
		good = word_ok(r, part++, w, &o);
		if (!good)
			printf("# %s: got %s\n", w, o.p);
	}
	free(copy);
	return good && part >= 4;
}

/* The words of a "=" line that print_want() does not make. */
static void print_others(const char *want)
{
	char *copy = must(strdup(want ? want : "")), *save = NULL, *w;
	int part = 0;

	for (w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (part++ < 4 || !strncmp(w, "req=", 4) || !strncmp(w, "res=", 4) ||
		    !strncmp(w, "interim=", 8) || !strncmp(w, "anomalies=", 10) ||
		    !strncmp(w, "flags=", 6))
			continue;
		printf(" %s", w);
	}
	free(copy);
}

/* want: what stands there now, of which other keys are kept; NULL: nothing. */
static void print_want(const struct osp_record *r, const char *want)
{
	static const char *const always[] = { "req", "res" };
	static const char *const some_keys[] = { "interim", "anomalies", "flags" };
	struct out o = { room_a, 0, ROOM };
	size_t i, at;

	for (i = 0; i < 4; i++) {
		say(&o, " ");
		say_start(&o, r, (int)i);
	}
	for (i = 0; i < 2; i++) {
		say(&o, " %s=", always[i]);
		say_key(&o, r, always[i]);
	}
	for (i = 0; i < 3; i++) {
		at = o.n;
		say(&o, " %s=", some_keys[i]);
		if (say_key(&o, r, some_keys[i]) && o.p[o.n - 1] == '=') {
			o.n = at;
			o.p[at] = 0;
		}
	}
	printf("=%s", o.p);
	print_others(want);
	printf("\n");
}

static const struct {
	const char *key;
	int stat;
} stats[] = {
	{ "parsed", OSP_ST_BY_PARSED }, { "extra", OSP_ST_BY_SKIPPED_EXTRA },
	{ "tunnel", OSP_ST_BY_SKIPPED_TUNNEL }, { "opaque", OSP_ST_BY_SKIPPED_OPAQUE },
	{ "resync", OSP_ST_BY_SKIPPED_RESYNC }, { "bad", OSP_ST_MSG_BAD },
};

static bool stat_ok(struct rig *rig, const char *want)
{
	const struct osp_record *c = rig_rec(rig, OSP_REC_CONNECTION, 0);
	char *copy, *save = NULL, *w, *eq, names[200];
	bool good = true;
	size_t i;

	copy = must(strdup(want ? want : ""));
	for (w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		bool one = false;

		eq = strchr(w, '=');
		if (!eq)
			abort();
		*eq = 0;
		if (!strcmp(w, "proto"))
			one = c && slice_eq(c->str[OSP_S_PROTOCOL], eq + 1);
		if (!strcmp(w, "anomalies")) {
			struct out o = { names, 0, sizeof(names) };

			names[0] = 0;
			say_bits(&o, c ? c->anomalies : 0, osp_anomaly_name);
			one = c && !strcmp(names, eq + 1);
		}
		for (i = 0; i < sizeof(stats) / sizeof(stats[0]); i++) {
			if (!strcmp(w, stats[i].key))
				one = rig_stat(rig, (enum osp_st)stats[i].stat) ==
				      strtoull(eq + 1, NULL, 10);
		}
		if (!one)
			printf("# %s is not %s\n", w, eq + 1);
		good = good && one;
	}
	free(copy);
	return good;
}

static bool all_closed(struct rig *rig)
{
	return rig_sums(rig) && !rig_stat(rig, OSP_ST_BY_HELD);
}

static bool as_wanted(struct rig *rig, const struct hcase *c)
{
	uint32_t n = rig_count(rig, OSP_REC_TRANSACTION);
	bool good = n == (uint32_t)c->wants;
	int i;

	if (!good)
		printf("# %u transactions, not %d\n", n, c->wants);
	for (i = 0; i < c->wants && (uint32_t)i < n; i++) {
		if (!want_ok(rig_rec(rig, OSP_REC_TRANSACTION, (uint32_t)i), c->want[i]))
			good = false;
	}
	return stat_ok(rig, c->stat) && all_closed(rig) && good;
}

/* ---- cuts ------------------------------------------------------------------------------------ */

static uint32_t case_bytes(const struct hcase *c, int side)
{
	uint32_t n = 0;
	int i;

	for (i = 0; i < c->steps; i++) {
		if (c->step[i].kind == side || (side < 0 && c->step[i].kind <= S_SERVER))
			n += c->step[i].n;
	}
	return n;
}

static bool same(struct rig *rig, const struct hcase *c, struct how how, const char *want)
{
	struct out got = { room_b, 0, ROOM };

	play(rig, c, how);
	digest(rig, &got);
	if (!strcmp(want, got.p) && stat_ok(rig, c->stat) && all_closed(rig))
		return true;
	if (!quiet)
		printf("# mode %d at %u seed %u flip %d\n# want %s\n# got  %s\n", how.mode, how.at, how.seed,
	       how.flip, want, got.p);
	return false;
}

static bool any_cut(struct rig *rig, const struct hcase *c)
{
	struct out base = { room_a, 0, ROOM };
	uint32_t n = case_bytes(c, -1), at, step = n > EVERY_CUT ? n / 40 : 1, i;
	bool good;

	play(rig, c, (struct how){ .mode = H_WHOLE });
	digest(rig, &base);
	good = same(rig, c, (struct how){ .mode = H_BYTES }, base.p);
	for (at = 1; at < n && good; at += step)
		good = same(rig, c, (struct how){ .mode = H_CUT, .at = at }, base.p);
	for (i = 0; i < (n > EVERY_CUT ? 3u : 40u) && good; i++)
		good = same(rig, c, (struct how){ .mode = H_RANDOM, .seed = i * 7919 + 1 }, base.p);
	return good;
}

/* Seen from the other end all is the same but the role. */
static bool other_end(struct rig *rig, const struct hcase *c)
{
	struct out base = { room_a, 0, ROOM };

	play(rig, c, (struct how){ .mode = H_WHOLE });
	digest(rig, &base);
	return same(rig, c, (struct how){ .mode = H_WHOLE, .flip = true }, base.p);
}

/* ---- losses ---------------------------------------------------------------------------------- */

struct truth {
	struct osp_record **rec;
	uint32_t n;
};

static const struct osp_record *find(const struct truth *t, int kind, uint32_t seq)
{
	uint32_t i;

	for (i = 0; i < t->n; i++) {
		if (t->rec[i]->kind == OSP_REC_TRANSACTION &&
		    t->rec[i]->msg[kind].has & OSP_MH_MSG && t->rec[i]->msg[kind].tcp_seq == seq)
			return t->rec[i];
	}
	return NULL;
}

static bool begins(struct osp_slice whole, struct osp_slice part)
{
	return part.n <= whole.n && (!part.n || !memcmp(whole.p, part.p, part.n));
}

/* What is wrong with a record made under loss, beside those made without; NULL: nothing. A size
 * that is told of a complete message must be the right one; a pair must be one of those there are.
 */
static const char *wrong(const struct truth *t, const struct osp_record *r)
{
	const struct osp_record *b[OSP_ENDS] = { NULL, NULL };
	struct osp_slice w_body;
	int k;

	for (k = 0; k < OSP_ENDS; k++) {
		const struct osp_rec_msg *m = &r->msg[k], *w;

		if (!(m->has & OSP_MH_MSG))
			continue;
		b[k] = find(t, k, m->tcp_seq);
		if (!b[k])
			return "a message that never was";
		w = &b[k]->msg[k];
		w_body = b[k]->str[OSP_S_REQ_BODY + k];
		if (m->head_bytes != w->head_bytes || m->status != w->status)
			return "another head";
		if ((m->has & w->has & OSP_MH_END) && (m->has & w->has & OSP_MH_BODY) &&
		    (m->body_bytes != w->body_bytes || m->body_wire_bytes != w->body_wire_bytes))
			return "a wrong size";
		if ((m->has & w->has & OSP_MH_DIGEST) && m->digest != w->digest)
			return "a wrong digest";
		if (m->decode == w->decode && !begins(w_body, r->str[OSP_S_REQ_BODY + k]))
			return "a body that is not the beginning of the one sent";
	}
	if (b[OSP_REQ] && b[OSP_RES] && b[OSP_REQ] != b[OSP_RES])
		return "a wrong pair";
	if (r->lost_bytes && !(r->flags & OSP_RF_GAP))
		return "a loss without its flag";
	return NULL;
}

static bool loss_ok(struct rig *rig, const struct hcase *c, const struct truth *t, struct how how)
{
	const char *what = NULL;
	uint32_t i;

	play(rig, c, how);
	for (i = 0; i < rig->n && !what; i++) {
		if (rig->rec[i]->kind == OSP_REC_TRANSACTION)
			what = wrong(t, rig->rec[i]);
	}
	if (!what && !all_closed(rig))
		what = "sums";
	if (what && !quiet) {
		struct out o = { room_a, 0, ROOM };

		digest(rig, &o);
		printf("# %s: mode %d at %u size %u side %d flip %d fail %u\n# %s\n", what, how.mode,
		       how.at, how.n, how.side, how.flip, how.fail, o.p);
	}
	return !what;
}

static void take_truth(struct rig *rig, const struct hcase *c, struct truth *t)
{
	play(rig, c, (struct how){ .mode = H_WHOLE });
	t->rec = rig->rec;
	t->n = rig->n;
	rig->rec = NULL;
	rig->n = rig->cap = 0;
}

static void free_truth(struct truth *t)
{
	uint32_t i;

	for (i = 0; i < t->n; i++)
		free(t->rec[i]);
	free(t->rec);
}

static bool any_gap(struct rig *rig, const struct hcase *c)
{
	static const uint32_t size[] = { 1, 7, 60 };
	struct truth t;
	uint32_t at, k, n, step;
	bool good = true;
	int side;

	take_truth(rig, c, &t);
	for (side = S_CLIENT; side <= S_SERVER; side++) {
		n = case_bytes(c, side);
		step = n > EVERY_CUT ? n / 40 : 1;
		for (k = 0; k < 3; k++)
		for (at = 0; at < n && good; at += step)
			good = loss_ok(rig, c, &t, (struct how){ .mode = H_GAP, .at = at, .n = size[k],
								 .side = side });
	}
	free_truth(&t);
	return good;
}

static bool any_join(struct rig *rig, const struct hcase *c)
{
	struct truth t;
	uint32_t at, n = case_bytes(c, -1), step = n > EVERY_CUT ? n / 40 : 1;
	bool good = true;

	take_truth(rig, c, &t);
	for (at = 0; at < n && good; at += step)
		good = loss_ok(rig, c, &t, (struct how){ .mode = H_SKIP, .at = at });
	free_truth(&t);
	return good;
}

/* ---- no memory ------------------------------------------------------------------------------- */

/* With one allocation failed, or all from one on: nothing is left over, the sums close, no pair and
 * no size is wrong, and where the records are not as they should be that is counted or told.
 */
static bool nomem_ok(struct rig *rig, const struct hcase *c, const struct truth *t, struct how how,
		     const char *want)
{
	struct out got = { room_b, 0, ROOM };
	bool counted;

	/* The first allocation is the connection's: without it we join late. */
	if (c->no_gap)
		play(rig, c, how);
	if (c->no_gap ? !all_closed(rig) : !loss_ok(rig, c, t, how))
		return false;
	counted = rig_stat(rig, OSP_ST_CONN_SHED) || rig_stat(rig, OSP_ST_IN_BAD);
	osp_tracker_finish(rig->trk);
	digest(rig, &got);
	if (!rig_stat(rig, OSP_ST_MEM_BYTES) && !rig_stat(rig, OSP_ST_TXN_OPEN) &&
	    (counted || !strcmp(want, got.p) || strstr(got.p, "!no_memory")))
		return true;
	printf("# allocation %u%s fails, mode %d: %" PRIu64 " bytes held, counted %d\n# want %s\n# got  %s\n",
	       how.fail, how.for_ever ? " and all after it" : "", how.mode,
	       rig_stat(rig, OSP_ST_MEM_BYTES), counted, want, got.p);
	return false;
}

static bool any_nomem(struct rig *rig, const struct hcase *c)
{
	const struct how hows[] = {
		{ .mode = H_WHOLE }, { .mode = H_RANDOM, .seed = 1 },
		{ .mode = H_GAP, .at = case_bytes(c, S_SERVER) / 2, .n = 7, .side = S_SERVER },
	};
	struct out base = { room_a, 0, ROOM };
	uint32_t i, n, made, step, most = EVERY_NOMEM;
	struct truth t;
	bool good = true;

	take_truth(rig, c, &t);
	for (i = 0; i < (c->no_gap ? 2 : 3) && good; i++) {
		struct how how = hows[i];

		play(rig, c, how);
		made = allocations;
		digest(rig, &base);
		step = made > most ? made / most : 1;
		for (n = 1; n <= made && good; n += step) {
			how.fail = n;
			how.for_ever = false;
			good = nomem_ok(rig, c, &t, how, base.p);
			how.for_ever = true;
			good = good && nomem_ok(rig, c, &t, how, base.p);
		}
	}
	free_truth(&t);
	return good;
}

/* ---- files ----------------------------------------------------------------------------------- */

struct files {
	bool fill;
	char *rows;		/* rows that some case has */
	int cases;
};

/* What a case is marked not to stand it must not stand: marks are for what can't be helped. */
static bool as_marked(struct rig *rig, const struct hcase *c)
{
	bool good = true, stood;

	quiet = c->whole_only;
	stood = any_cut(rig, c);
	if (stood == c->whole_only)
		good = false;
	if (stood && c->whole_only)
		printf("# whole-only without need\n");
	quiet = c->no_gap;
	stood = any_gap(rig, c) && any_join(rig, c);
	if (stood == c->no_gap)
		good = false;
	if (stood && c->no_gap)
		printf("# no-gap without need\n");
	quiet = false;
	return good;
}

static void run_case(struct hcase *c, struct files *f)
{
	struct rig rig;
	uint32_t i, n = 0;

	if (!c->name[0])
		return;
	f->cases++;
	if (c->needs_br && !OSP_HAVE_BROTLI) {
		ok(true, "%s # SKIP built without br", c->name);
		return;
	}
	if (c->redact[0])
		c->conf.redact = c->redact;
	rig_open(&rig, &c->conf);
	play(&rig, c, (struct how){ .mode = H_WHOLE });
	if (f->fill) {
		for (i = 0; i < rig.n; i++) {
			if (rig.rec[i]->kind != OSP_REC_TRANSACTION)
				continue;
			print_want(rig.rec[i], n < (uint32_t)c->wants ? c->want[n] : NULL);
			n++;
		}
		printf("\n");
	} else {
		bool good = as_wanted(&rig, c) && other_end(&rig, c);

		good = good && as_marked(&rig, c);
		good = good && any_nomem(&rig, c);
		ok(good, "%s", c->name);
	}
	rig_close(&rig);
}

/* Lines of the file; in fill mode they are printed as they come, but the "=" ones. */
static void one_line(struct hcase *c, struct files *f, char *line)
{
	const char *arg;

	/* Comments stand before cases, not in them. */
	if (line[0] == '#' && c->name[0]) {
		run_case(c, f);
		case_reset(c);
	}
	if (starts(line, "case ", &arg)) {
		run_case(c, f);
		case_reset(c);
		snprintf(c->name, sizeof(c->name), "%s", arg);
	} else if (line[0] == '>' || line[0] == '<') {
		add_bytes(c, line);
	} else if (line[0] == '|') {
		c->open = true;
	} else if (starts(line, "! ", &arg)) {
		directive(c, arg);
	} else if (starts(line, "= ", &arg)) {
		if (c->wants == WANT_MAX)
			abort();
		if (strcmp(arg, "no"))
			c->want[c->wants++] = must(strdup(arg));
		return;
	} else if (starts(line, "+ ", &arg)) {
		c->stat = must(strdup(arg));
	} else if (starts(line, "row ", &arg)) {
		size_t n = strlen(f->rows), add = strlen(arg);

		f->rows = must(realloc(f->rows, n + add + 3));
		snprintf(f->rows + n, add + 3, "%s ", arg);
	} else if (line[0] && line[0] != '#') {
		fprintf(stderr, "http1_run: what is \"%s\"?\n", line);
		exit(2);
	} else if (!line[0]) {
		return;
	}
	if (f->fill)
		printf("%s\n", line);
}

static int run_file(const char *path, struct files *f)
{
	static struct hcase c;
	FILE *in = fopen(path, "r");
	char *line = NULL;
	size_t cap = 0;
	ssize_t n;

	if (!in) {
		fprintf(stderr, "http1_run: %s: %s\n", path, strerror(errno));
		return 2;
	}
	case_reset(&c);
	while ((n = getline(&line, &cap, in)) >= 0) {
		if (n && line[n - 1] == '\n')
			line[n - 1] = 0;
		one_line(&c, f, line);
	}
	run_case(&c, f);
	case_reset(&c);
	free(line);
	fclose(in);
	return 0;
}

/* Rows of the table in docs/http.md begin "| R12 |"; each must have a case, and no case another. */
static void check_rows(const struct files *f, const char *path)
{
	FILE *in = fopen(path, "r");
	char line[4096], id[16], find[32];
	int n = 0, without = 0;

	if (!ok(in, "%s", path))
		return;
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "| R%8[0-9] |", id) != 1)
			continue;
		n++;
		snprintf(find, sizeof(find), " R%s ", id);
		if (!strstr(f->rows, find)) {
			printf("# no case for R%s\n", id);
			without++;
		}
	}
	fclose(in);
	ok(n > 0 && !without, "each of the %d rows of %s has a case", n, path);
}

/* ---- streams --------------------------------------------------------------------------------- */

static void print_stream(const struct rig *rig, int kind)
{
	struct out o = { room_a, 0, ROOM };
	uint32_t i;

	o.p[0] = 0;
	for (i = 0; i < rig->n; i++) {
		const struct osp_record *r = rig->rec[i];
		const struct osp_rec_msg *m = &r->msg[kind];

		if (r->kind != OSP_REC_TRANSACTION || !(m->has & OSP_MH_MSG))
			continue;
		say(&o, "%u %d %u ", m->tcp_seq - (kind == OSP_REQ ? SEQ_RX : SEQ_TX),
		    !!(m->has & OSP_MH_END), m->head_bytes);
		if (m->has & OSP_MH_BODY)
			say(&o, "%" PRIu64 " %" PRIu64, m->body_wire_bytes, m->body_bytes);
		else
			say(&o, "- -");
		say(&o, " %u ", m->status);
		say_slice(&o, kind == OSP_REQ ? r->str[OSP_S_METHOD] : osp_slice("-", 1));
		say(&o, " ");
		say_slice(&o, kind == OSP_REQ ? r->str[OSP_S_TARGET] : osp_slice("-", 1));
		say(&o, " %s [", osp_outcome_name(r->outcome));
		say_bits(&o, r->anomalies, osp_anomaly_name);
		say(&o, "]\n");
	}
	printf("%s", o.p);
}

/* A response needs a question; more of them than any case answers. */
#define ASKED 12

static int stream_line(char *line)
{
	char kind[16], end[16], *hex = must(malloc(strlen(line) + 1));
	static struct hcase c;
	struct step *s;
	struct rig rig;
	const char *p;
	bool req, good;
	int i;

	hex[0] = 0;
	if (sscanf(line, "%15s %15s %s", kind, end, hex) < 2) {
		free(hex);
		return 2;
	}
	req = !strcmp(kind, "request");
	case_reset(&c);
	c.ending = !strcmp(end, "finish") ? E_FIN : E_STOP;
	for (i = 0; !req && i < ASKED; i++) {
		s = i ? &c.step[0] : add_step(&c, S_CLIENT);
		put(s, "GET /asked HTTP/1.1\r\n\r\n", 23);
	}
	s = add_step(&c, req ? S_CLIENT : S_SERVER);
	for (p = hex; p[0] && p[1]; p += 2) {
		char ch = (char)(hexval(p[0]) << 4 | hexval(p[1]));

		put(s, &ch, 1);
	}
	free(hex);
	rig_open(&rig, &c.conf);
	good = any_cut(&rig, &c);
	play(&rig, &c, (struct how){ .mode = H_WHOLE });
	print_stream(&rig, req ? OSP_REQ : OSP_RES);
	printf("%s\n", good ? "same" : "differs");
	fflush(stdout);
	rig_close(&rig);
	case_reset(&c);
	return 0;
}

static int streams(void)
{
	char *line = NULL;
	size_t cap = 0;
	int r = 0;

	while (!r && getline(&line, &cap, stdin) > 0)
		r = stream_line(line);
	free(line);
	return r;
}

int main(int argc, char **argv)
{
	struct files f = { .rows = must(strdup(" ")) };
	const char *doc = NULL;
	int i, r = 0;

	if (argc == 2 && !strcmp(argv[1], "--stream")) {
		free(f.rows);
		return streams();
	}
	for (i = 1; i < argc && !r; i++) {
		if (!strcmp(argv[i], "--fill"))
			f.fill = true;
		else if (!strcmp(argv[i], "--doc") && i + 1 < argc)
			doc = argv[++i];
		else
			r = run_file(argv[i], &f);
	}
	if (!r && !f.fill) {
		if (doc)
			check_rows(&f, doc);
		r = done();
	}
	free(f.rows);
	return r;
}
