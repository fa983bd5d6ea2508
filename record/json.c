/* SPDX-License-Identifier: GPL-3.0-or-later */
/* json.c: a record as one line of JSON. docs/record.md says what the keys mean; their order here is
 * the order there.
 *
 * Written by hand because every record of every sink passes here: each piece is stored where it
 * belongs, with one check for room. Every key is written with a comma before it; when an object is
 * closed its first comma becomes the brace, and an object that got no key is taken back with its
 * name. So "absent when unknown" costs no look-ahead.
 *
 * Length beyond cap is counted and not stored. A piece is stored whole or not at all, and what is
 * taken back is always the tail, so a result <= cap means that every byte is in its place.
 *
 * Bytes that are not UTF-8 (RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF) are
 * written as the escape \u00XX, one a byte, and the record gets the flag "nonutf8". Flags stand
 * before most strings, so strings are looked at first; nearly all are ASCII, eight bytes a step.
 */
#include "record/base64.h"
#include "record/osp_record.h"

#include <endian.h>
#include <netinet/in.h>

struct jw {
	char *buf;
	size_t cap, len;
};

/* An open object or array: where its name starts, where its first comma stands. */
struct jw_open {
	size_t mark, body;
};

static inline void put(struct jw *w, const void *p, size_t n)
{
	size_t len = w->len + n;

	if (len <= w->cap)
		memcpy(w->buf + w->len, p, n);
	w->len = len;
}

#define LIT(w, s) put(w, s, sizeof(s) - 1)
#define KEY(w, key) LIT(w, ",\"" key "\":")

static inline struct jw_open open_at(struct jw *w, const char *key, size_t n)
{
	struct jw_open o = { .mark = w->len };

	put(w, key, n);
	o.body = w->len;
	return o;
}

#define OPEN(w, key) open_at(w, ",\"" key "\":", sizeof(",\"" key "\":") - 1)

static void put_close(struct jw *w, struct jw_open o, char first, char last)
{
	if (o.body < w->cap)
		w->buf[o.body] = first;
	put(w, &last, 1);
}

/* Ends an object; one without keys disappears, name and all. */
static void close_object(struct jw *w, struct jw_open o)
{
	if (w->len == o.body)
		w->len = o.mark;
	else
		put_close(w, o, '{', '}');
}

/* Ends an array; an empty one stays: it says "known, none". */
static void close_array(struct jw *w, struct jw_open o)
{
	if (w->len == o.body)
		LIT(w, "[]");
	else
		put_close(w, o, '[', ']');
}

/* ---- numbers ------------------------------------------------------------------------------- */

static const char digits2[] = "00010203040506070809101112131415161718192021222324252627282930313233"
			      "34353637383940414243444546474849505152535455565758596061626364656667"
			      "6869707172737475767778798081828384858687888990919293949596979899";

static const char hex[] = "0123456789abcdef";

/* Decimal digits of v that end right before end; returns their start. At most 20. */
static inline char *dec_before(char *end, uint64_t v)
{
	while (v >= 100) {
		end -= 2;
		memcpy(end, digits2 + v % 100 * 2, 2);
		v /= 100;
	}
	if (v >= 10) {
		end -= 2;
		memcpy(end, digits2 + v * 2, 2);
	} else {
		*--end = (char)('0' + v);
	}
	return end;
}

/* How many decimal digits v has. 1233/4096 is a little more than log10(2), close enough for 64 bits
 * to be at most one too many; the power of ten decides.
 */
static inline unsigned int dec_len(uint64_t v)
{
	static const uint64_t pow10[] = {
		1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull,
		100000000ull, 1000000000ull, 10000000000ull, 100000000000ull, 1000000000000ull,
		10000000000000ull, 100000000000000ull, 1000000000000000ull, 10000000000000000ull,
		100000000000000000ull, 1000000000000000000ull, 10000000000000000000ull,
	};
	unsigned int bits = 64 - (unsigned int)__builtin_clzll(v | 1), t = bits * 1233 >> 12;

	return t + (v >= pow10[t] || !v);
}

static void put_u64(struct jw *w, uint64_t v)
{
	size_t len = w->len + dec_len(v);

	if (len <= w->cap)
		dec_before(w->buf + len, v);
	w->len = len;
}

static void put_i64(struct jw *w, int64_t v)
{
	if (v < 0)
		LIT(w, "-");
	put_u64(w, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

static void hex64(char out[16], uint64_t v)
{
	for (int i = 15; i >= 0; i--, v >>= 4)
		out[i] = hex[v & 15];
}

/* v as exactly n digits. */
static void dec_fixed(char *out, int n, uint32_t v)
{
	for (int i = n - 1; i >= 0; i--, v /= 10)
		out[i] = (char)('0' + v % 10);
}

/* Day number (0 = 1970-01-01) to a date of the Gregorian calendar. Counted from 1 March of the year
 * 0, so that the leap day is a year's last day: whole 400 years are 146097 days, and inside a year
 * months from March repeat 153 days every 5.
 */
static void civil(int64_t day, uint32_t *y, uint32_t *m, uint32_t *d)
{
	uint32_t era, doe, yoe, doy, mp;

	day += 719468;	/* days from 0000-03-01 to 1970-01-01; int64 ns never reach before that */
	era = (uint32_t)(day / 146097);
	doe = (uint32_t)(day % 146097);
	/* Take the leap days out: one in 1461 days, not one in 36525, one more at the end. */
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = era * 400 + yoe + (*m <= 2);
}

/* RFC 3339, UTC, nine decimals. */
static void put_time(struct jw *w, int64_t ns)
{
	char t[] = "\"0000-00-00T00:00:00.000000000Z\"";
	int64_t sec = ns / 1000000000, frac = ns % 1000000000, day;
	uint32_t y, m, d, in_day;

	if (frac < 0) {
		frac += 1000000000;
		sec--;
	}
	day = sec / 86400;
	if (sec % 86400 < 0)
		day--;
	in_day = (uint32_t)(sec - day * 86400);
	civil(day, &y, &m, &d);
	dec_fixed(t + 1, 4, y);
	dec_fixed(t + 6, 2, m);
	dec_fixed(t + 9, 2, d);
	dec_fixed(t + 12, 2, in_day / 3600);
	dec_fixed(t + 15, 2, in_day / 60 % 60);
	dec_fixed(t + 18, 2, in_day % 60);
	dec_fixed(t + 21, 9, (uint32_t)frac);
	put(w, t, sizeof(t) - 1);
}

/* ---- strings ------------------------------------------------------------------------------- */

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

static inline uint64_t load8(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, 8);
	return le64toh(x);
}

/* Marks (top bit) bytes of x that can't stand in a JSON string as they are or need a closer look:
 * controls, '"', '\\', DEL, above ASCII. A byte after the first marked one may be marked for
 * nothing (a borrow), the first never is.
 */
static inline uint64_t special8(uint64_t x)
{
	uint64_t quote = x ^ ONES * '"', slash = x ^ ONES * '\\', del = x ^ ONES * 0x7f;

	return (((x - ONES * 0x20) & ~x) | ((quote - ONES) & ~quote) | ((slash - ONES) & ~slash) |
		((del - ONES) & ~del) | x) & HIGHS;
}

/* Length of the well-formed UTF-8 sequence of two to four bytes at p; 0 if there is none. */
static int utf8_len(const uint8_t *p, const uint8_t *end)
{
	uint8_t lo = 0x80, hi = 0xbf;
	int n;

	if (*p >= 0xc2 && *p <= 0xdf)
		n = 2;
	else if (*p >= 0xe0 && *p <= 0xef)
		n = 3;
	else if (*p >= 0xf0 && *p <= 0xf4)
		n = 4;
	else
		return 0;
	if (end - p < n)
		return 0;
	/* RFC 3629 section 4: where the second byte's range is narrower. */
	switch (*p) {
	case 0xe0:
		lo = 0xa0;
		break;
	case 0xed:
		hi = 0x9f;
		break;
	case 0xf0:
		lo = 0x90;
		break;
	case 0xf4:
		hi = 0x8f;
		break;
	}
	if (p[1] < lo || p[1] > hi)
		return 0;
	for (int i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

static int utf8_valid(const uint8_t *p, size_t n)
{
	const uint8_t *end = p + n;

	while (p < end) {
		int len = 1;

		if (end - p >= 8 && !(load8(p) & HIGHS)) {
			p += 8;
			continue;
		}
		if (*p >= 0x80)
			len = utf8_len(p, end);
		if (!len)
			return 0;
		p += len;
	}
	return 1;
}

static int is_ascii(const uint8_t *p, size_t n)
{
	uint64_t any = 0;
	size_t i;

	if (n < 8) {
		for (i = 0; i < n; i++)
			any |= p[i];
		return !(any & 0x80);
	}
	for (i = 0; i + 8 <= n; i += 8)
		any |= load8(p + i);
	return !((any | load8(p + n - 8)) & HIGHS);
}

static int slice_bad(struct osp_slice s)
{
	const uint8_t *p = (const uint8_t *)s.p;

	return p && !is_ascii(p, s.n) && !utf8_valid(p, s.n);
}

static void put_escape(struct jw *w, uint8_t c)
{
	static const char shorts[32] = { ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n',
					 ['\f'] = 'f', ['\r'] = 'r' };
	char esc[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

	if (c == '"' || c == '\\' || (c < 32 && shorts[c])) {
		esc[1] = c < 32 ? shorts[c] : (char)c;
		put(w, esc, 2);
	} else {
		put(w, esc, 6);
	}
}

/* p[0..n) from *at on, as far as there is nothing to escape or look at; moves *at. */
static int plain_run(const uint8_t *p, size_t n, size_t *at)
{
	size_t i = *at;
	uint64_t marks;

	for (; i + 8 <= n; i += 8) {
		marks = special8(load8(p + i));
		if (marks) {
			*at = i + (size_t)__builtin_ctzll(marks) / 8;
			return 0;
		}
	}
	for (; i < n; i++)
		if (p[i] < 0x20 || p[i] >= 0x7f || p[i] == '"' || p[i] == '\\')
			break;
	*at = i;
	return i == n;
}

static void put_text(struct jw *w, const uint8_t *p, size_t n)
{
	size_t run = 0, at = 0;
	int len;

	while (!plain_run(p, n, &at)) {
		len = p[at] >= 0x80 ? utf8_len(p + at, p + n) : 0;
		if (len) {
			at += (size_t)len;
			continue;
		}
		put(w, p + run, at - run);
		put_escape(w, p[at]);
		run = ++at;
	}
	put(w, p + run, n - run);
}

/* Most strings: short, nothing to escape, and there is room. Checked and stored in one go; false:
 * not such a string, nothing has been done.
 */
static inline int put_short(struct jw *w, const uint8_t *p, size_t n)
{
	uint64_t x, marks = 0;
	char *out;
	size_t i;

	if (n < 8 || n > 256 || w->len + n + 2 > w->cap)
		return 0;
	out = w->buf + w->len + 1;
	for (i = 0; i + 8 <= n; i += 8) {
		x = load8(p + i);
		marks |= special8(x);
		memcpy(out + i, p + i, 8);
	}
	marks |= special8(load8(p + n - 8));
	if (marks)
		return 0;
	memcpy(out + n - 8, p + n - 8, 8);
	out[-1] = '"';
	out[n] = '"';
	w->len += n + 2;
	return 1;
}

static void put_slice(struct jw *w, struct osp_slice s)
{
	if (s.p && put_short(w, (const uint8_t *)s.p, s.n))
		return;
	LIT(w, "\"");
	if (s.p)
		put_text(w, (const uint8_t *)s.p, s.n);
	LIT(w, "\"");
}

/* For names out of our tables: nothing to escape. */
static void put_name(struct jw *w, const char *s)
{
	LIT(w, "\"");
	put(w, s, strlen(s));
	LIT(w, "\"");
}

#define F_U64(w, key, v) do { KEY(w, key); put_u64(w, v); } while (0)
#define F_I64(w, key, v) do { KEY(w, key); put_i64(w, v); } while (0)
#define F_TIME(w, key, v) do { KEY(w, key); put_time(w, v); } while (0)
#define F_NAME(w, key, v) do { KEY(w, key); put_name(w, v); } while (0)
#define F_STR(w, key, s)                                                                           \
	do {                                                                                       \
		if ((s).p) {                                                                       \
			KEY(w, key);                                                               \
			put_slice(w, s);                                                           \
		}                                                                                  \
	} while (0)

/* ---- parts of records ---------------------------------------------------------------------- */

static int headers_bad(const struct osp_rec_msg *msg)
{
	if (!msg->header)
		return 0;
	for (uint32_t i = 0; i < msg->header_n; i++)
		if (slice_bad(msg->header[i].name) ||
		    (!msg->header[i].redacted && slice_bad(msg->header[i].value)))
			return 1;
	return 0;
}

/* Whether any string that will be written is not UTF-8. Bodies have an encoding of their own. */
static int record_bad_utf8(const struct osp_record *rec)
{
	for (int i = 0; i < OSP_S_MAX; i++)
		if (i != OSP_S_REQ_BODY && i != OSP_S_RES_BODY && slice_bad(rec->str[i]))
			return 1;
	return rec->kind == OSP_REC_TRANSACTION &&
	       (headers_bad(&rec->msg[OSP_REQ]) || headers_bad(&rec->msg[OSP_RES]));
}

static void put_bits(struct jw *w, struct jw_open o, uint32_t bits, const char *(*name)(int))
{
	for (; bits; bits &= bits - 1) {
		LIT(w, ",");
		put_name(w, name(__builtin_ctz(bits)));
	}
	close_array(w, o);
}

static char *text_v4(char *p, const uint8_t *a)
{
	char tmp[4], *d;

	for (int i = 0; i < 4; i++) {
		if (i)
			*p++ = '.';
		d = dec_before(tmp + sizeof(tmp), a[i]);
		while (d < tmp + sizeof(tmp))
			*p++ = *d++;
	}
	return p;
}

/* RFC 5952 section 4: no leading zeros, lower case, the longest run of two or more zero groups (the
 * first of equals) as "::".
 */
static char *text_v6(char *p, const uint8_t *a)
{
	int at = -1, n = 1;

	for (int i = 0, run = 0; i < 8; i++) {
		run = a[2 * i] || a[2 * i + 1] ? 0 : run + 1;
		if (run > n) {
			n = run;
			at = i + 1 - run;
		}
	}
	for (int i = 0; i < 8; i++) {
		uint32_t v = (uint32_t)a[2 * i] << 8 | a[2 * i + 1];

		if (i == at) {
			*p++ = ':';
			*p++ = ':';
			i += n - 1;
			continue;
		}
		if (i && (at < 0 || i != at + n))
			*p++ = ':';
		for (int shift = 12; shift >= 0; shift -= 4)
			if (v >> shift || !shift)
				*p++ = hex[v >> shift & 15];
	}
	return p;
}

static void put_address(struct jw *w, const uint8_t a[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char tmp[48], *p = tmp;

	*p++ = '"';
	p = memcmp(a, mapped, sizeof(mapped)) ? text_v6(p, a) : text_v4(p, a + 12);
	*p++ = '"';
	put(w, tmp, (size_t)(p - tmp));
}

#define PUT_END(w, key, a, port)                                                                   \
	do {                                                                                       \
		LIT(w, ",\"" key "\":{\"address\":");                                              \
		put_address(w, a);                                                                 \
		F_U64(w, "port", port);                                                            \
		LIT(w, "}");                                                                       \
	} while (0)

/* On the wire nobody is at either end. */
#define VANTAGE_WIRE 2	/* enum osp_vantage in bpf/osp_events.h, which is not for us to include */

/* A unix socket has names for addresses, and no ports. */
static void put_paths(struct jw *w, const struct osp_record *rec)
{
	struct jw_open o = OPEN(w, "client");

	F_STR(w, "address", rec->str[OSP_S_CLIENT_PATH]);
	close_object(w, o);
	o = OPEN(w, "server");
	F_STR(w, "address", rec->str[OSP_S_SERVER_PATH]);
	close_object(w, o);
}

static void put_conn(struct jw *w, const struct osp_record *rec)
{
	const struct osp_rec_conn *conn = &rec->conn;
	uint8_t vantage = rec->vantage;
	struct jw_open o = OPEN(w, "conn");

	if (conn->id[0]) {
		KEY(w, "id");
		put_slice(w, osp_slice(conn->id, strnlen(conn->id, sizeof(conn->id))));
	}
	if (conn->cookie)
		F_U64(w, "cookie", conn->cookie);
	if (conn->peer_cookie)
		F_U64(w, "peer_cookie", conn->peer_cookie);
	if (conn->has & OSP_CH_TXN)
		F_U64(w, "txn", conn->txn);
	if (conn->role && vantage != VANTAGE_WIRE)
		F_NAME(w, "role", osp_role_name(conn->role));
	if (conn->role_from && vantage != VANTAGE_WIRE)
		F_NAME(w, "role_from", osp_role_from_name(conn->role_from));
	if (conn->transport == IPPROTO_TCP)
		F_NAME(w, "transport", "tcp");
	else if (conn->transport == IPPROTO_UDP)
		F_NAME(w, "transport", "udp");
	else if (conn->transport == OSP_TRANSPORT_UNIX)
		F_NAME(w, "transport", "unix");
	if (conn->has & OSP_CH_NETNS)
		F_U64(w, "netns", conn->netns);
	if (conn->has & OSP_CH_TUPLE) {
		PUT_END(w, "client", conn->client, conn->client_port);
		PUT_END(w, "server", conn->server, conn->server_port);
	} else if (conn->transport == OSP_TRANSPORT_UNIX) {
		put_paths(w, rec);
	}
	close_object(w, o);
}

static void put_process(struct jw *w, const struct osp_record *rec)
{
	const struct osp_rec_proc *proc = &rec->proc;
	struct jw_open o = OPEN(w, "process");

	if (proc->has & OSP_PH_PID)
		F_U64(w, "pid", proc->pid);
	if (proc->has & OSP_PH_TID)
		F_U64(w, "tid", proc->tid);
	if (proc->has & OSP_PH_NS_PID)
		F_U64(w, "ns_pid", proc->ns_pid);
	if (proc->has & OSP_PH_START)
		F_TIME(w, "start_time", proc->start_ns);
	F_STR(w, "comm", rec->str[OSP_S_COMM]);
	F_STR(w, "executable", rec->str[OSP_S_EXE]);
	if (proc->has & OSP_PH_UID)
		F_U64(w, "uid", proc->uid);
	close_object(w, o);
}

static void put_container(struct jw *w, const struct osp_slice *str)
{
	struct jw_open o = OPEN(w, "container"), pod;

	F_STR(w, "id", str[OSP_S_CONTAINER_ID]);
	F_STR(w, "runtime", str[OSP_S_CONTAINER_RUNTIME]);
	F_STR(w, "name", str[OSP_S_CONTAINER_NAME]);
	close_object(w, o);
	o = OPEN(w, "k8s");
	pod = OPEN(w, "pod");
	F_STR(w, "uid", str[OSP_S_POD_UID]);
	F_STR(w, "name", str[OSP_S_POD_NAME]);
	close_object(w, pod);
	F_STR(w, "namespace", str[OSP_S_NAMESPACE]);
	close_object(w, o);
}

static void put_header(struct jw *w, const struct osp_rec_msg *msg)
{
	struct jw_open o;

	if (!msg->header)
		return;
	o = OPEN(w, "header");
	for (uint32_t i = 0; i < msg->header_n; i++) {
		const struct osp_rec_header *h = &msg->header[i];

		LIT(w, ",[");
		put_slice(w, h->name);
		LIT(w, ",");
		if (h->redacted) {
			LIT(w, "\"<redacted ");
			put_u64(w, h->redacted - 1);
			LIT(w, " bytes>\"");
		} else {
			put_slice(w, h->value);
		}
		LIT(w, "]");
	}
	close_array(w, o);
}

static void put_decoded(struct jw *w, const struct osp_rec_msg *msg, uint32_t n)
{
	struct jw_open o;

	if (msg->decode > OSP_DEC_DONE)
		F_NAME(w, "undecoded", osp_undecoded_name(msg->decode));
	if (msg->decode != OSP_DEC_DONE)
		return;
	o = OPEN(w, "decoded");
	for (int i = 0; i < msg->coding_n && i < OSP_CODINGS_MAX; i++) {
		LIT(w, ",");
		put_name(w, osp_coding_name(msg->coding[i]));
	}
	close_array(w, o);
	F_U64(w, "decoded_bytes", n);
}

static void put_body(struct jw *w, const struct osp_rec_msg *msg, struct osp_slice body)
{
	const uint8_t *p = (const uint8_t *)body.p;
	size_t n;

	if (!p)
		return;
	if (utf8_valid(p, body.n)) {
		LIT(w, ",\"body\":{\"encoding\":\"utf-8\",\"data\":");
		put_slice(w, body);
	} else {
		LIT(w, ",\"body\":{\"encoding\":\"base64\",\"data\":\"");
		n = osp_base64_size(body.n);
		if (w->len + n <= w->cap)
			osp_base64(w->buf + w->len, p, body.n);
		w->len += n;
		LIT(w, "\"");
	}
	F_U64(w, "captured_bytes", msg->decode == OSP_DEC_DONE ? msg->captured_bytes : body.n);
	put_decoded(w, msg, body.n);
	LIT(w, "}");
}

static void put_sizes(struct jw *w, const struct osp_rec_msg *msg)
{
	if (msg->has & OSP_MH_HEAD_BYTES)
		F_U64(w, "head_bytes", msg->head_bytes);
	if (msg->has & OSP_MH_BODY_WIRE)
		F_U64(w, "body_wire_bytes", msg->body_wire_bytes);
	if (msg->has & OSP_MH_BODY)
		F_U64(w, "body_bytes", msg->body_bytes);
	if (msg->has & OSP_MH_CONTENT_LENGTH)
		F_U64(w, "content_length", msg->content_length);
}

static void put_place(struct jw *w, const struct osp_rec_msg *msg)
{
	char digest[16];

	if (msg->has & OSP_MH_SEQ)
		F_U64(w, "tcp_seq", msg->tcp_seq);
	if (msg->has & OSP_MH_SEQ_END)
		F_U64(w, "tcp_end", msg->tcp_end);
	if (msg->has & OSP_MH_START)
		F_I64(w, "start_ns", msg->start_ns);
	if (msg->has & OSP_MH_END)
		F_I64(w, "end_ns", msg->end_ns);
	if (msg->has & OSP_MH_DIGEST) {
		LIT(w, ",\"digest\":\"xxh64:");
		hex64(digest, msg->digest);
		put(w, digest, sizeof(digest));
		LIT(w, "\"");
	}
}

static void put_request(struct jw *w, const struct osp_record *rec)
{
	const struct osp_rec_msg *msg = &rec->msg[OSP_REQ];
	const struct osp_slice *str = rec->str;
	struct jw_open o;

	if (!(msg->has & OSP_MH_MSG))
		return;
	o = OPEN(w, "request");
	F_STR(w, "method", str[OSP_S_METHOD]);
	F_STR(w, "target", str[OSP_S_TARGET]);
	F_STR(w, "host", str[OSP_S_HOST]);
	F_STR(w, "user_agent", str[OSP_S_USER_AGENT]);
	F_STR(w, "traceparent", str[OSP_S_TRACEPARENT]);
	F_STR(w, "request_id", str[OSP_S_REQUEST_ID]);
	put_sizes(w, msg);
	F_STR(w, "transfer_encoding", str[OSP_S_REQ_TRANSFER_ENCODING]);
	F_STR(w, "content_encoding", str[OSP_S_REQ_CONTENT_ENCODING]);
	F_STR(w, "content_type", str[OSP_S_REQ_CONTENT_TYPE]);
	put_place(w, msg);
	put_header(w, msg);
	put_body(w, msg, str[OSP_S_REQ_BODY]);
	close_object(w, o);
}

static void put_response(struct jw *w, const struct osp_record *rec)
{
	const struct osp_rec_msg *msg = &rec->msg[OSP_RES];
	const struct osp_slice *str = rec->str;
	struct jw_open o, interim;

	if (!(msg->has & OSP_MH_MSG))
		return;
	o = OPEN(w, "response");
	if (msg->has & OSP_MH_STATUS)
		F_U64(w, "status_code", msg->status);
	F_STR(w, "reason", str[OSP_S_REASON]);
	if (msg->interim_n) {
		interim = OPEN(w, "interim");
		for (int i = 0; i < msg->interim_n && i < OSP_INTERIM_MAX; i++) {
			LIT(w, ",");
			put_u64(w, msg->interim[i]);
		}
		close_array(w, interim);
	}
	put_sizes(w, msg);
	F_STR(w, "transfer_encoding", str[OSP_S_RES_TRANSFER_ENCODING]);
	F_STR(w, "content_encoding", str[OSP_S_RES_CONTENT_ENCODING]);
	F_STR(w, "content_type", str[OSP_S_RES_CONTENT_TYPE]);
	put_place(w, msg);
	put_header(w, msg);
	put_body(w, msg, str[OSP_S_RES_BODY]);
	close_object(w, o);
}

static void put_transaction(struct jw *w, const struct osp_record *rec)
{
	struct jw_open o;

	put_conn(w, rec);
	o = OPEN(w, "http");
	F_STR(w, "version", rec->str[OSP_S_HTTP_VERSION]);
	put_request(w, rec);
	put_response(w, rec);
	close_object(w, o);
	o = OPEN(w, "timing");
	if (rec->has_timing & 1)
		F_I64(w, "ttfb_ns", rec->ttfb_ns);
	if (rec->has_timing & 2)
		F_I64(w, "duration_ns", rec->duration_ns);
	close_object(w, o);
	put_process(w, rec);
	put_container(w, rec->str);
	F_U64(w, "lost_bytes", rec->lost_bytes);
}

static void put_gaps(struct jw *w, const struct osp_rec_stream *strm)
{
	struct jw_open o = OPEN(w, "gaps"), one;

	for (uint32_t i = 0; strm->gap && i < strm->gap_n; i++) {
		const struct osp_rec_gap *gap = &strm->gap[i];

		LIT(w, ",");
		one = (struct jw_open){ w->len, w->len };
		if (gap->at != UINT64_MAX)
			F_U64(w, "at", gap->at);
		F_U64(w, "bytes", gap->bytes);
		F_NAME(w, "cause", osp_cause_name(gap->cause));
		close_object(w, one);
	}
	close_array(w, o);
}

static void put_stream(struct jw *w, const struct osp_rec_stream *strm, int has_bytes)
{
	if (has_bytes)
		F_U64(w, "bytes", strm->bytes);
	F_U64(w, "seen_bytes", strm->seen_bytes);
	F_U64(w, "captured_bytes", strm->captured_bytes);
	F_U64(w, "gap_bytes", strm->gap_bytes);
	F_U64(w, "overlap_bytes", strm->overlap_bytes);
	put_gaps(w, strm);
}

static void put_connection(struct jw *w, const struct osp_record *rec)
{
	const struct osp_rec_connection *cn = &rec->connection;
	const struct osp_slice *str = rec->str;
	struct jw_open o;

	put_conn(w, rec);
	put_process(w, rec);
	put_container(w, str);
	if (cn->has_opened)
		F_TIME(w, "opened", cn->opened_ns);
	if (cn->has_closed)
		F_TIME(w, "closed", cn->closed_ns);
	F_STR(w, "end", str[OSP_S_END]);
	F_STR(w, "protocol", str[OSP_S_PROTOCOL]);
	o = OPEN(w, "tls");
	F_STR(w, "sni", str[OSP_S_SNI]);
	F_STR(w, "alpn", str[OSP_S_ALPN]);
	F_STR(w, "version", str[OSP_S_TLS_VERSION]);
	close_object(w, o);
	F_U64(w, "transactions", cn->transactions);
	F_U64(w, "turns", cn->turns);
	F_U64(w, "lost_exchanges", cn->lost_exchanges);
	o = OPEN(w, "tcp");
	if (cn->has_rtt)
		F_U64(w, "rtt_us", cn->rtt_us);
	/* Known from the socket's end only; it comes with the round trip time. */
	if ((cn->has_rtt || cn->has_closed || cn->retransmits) &&
	    rec->conn.transport != OSP_TRANSPORT_UNIX)
		F_U64(w, "retransmits", cn->retransmits);
	close_object(w, o);
	o = OPEN(w, "tx");
	put_stream(w, &cn->dir[0], cn->has_bytes);
	close_object(w, o);
	o = OPEN(w, "rx");
	put_stream(w, &cn->dir[1], cn->has_bytes);
	close_object(w, o);
}

/* ---- ledger -------------------------------------------------------------------------------- */

static int same(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

static void put_key(struct jw *w, const char *key)
{
	LIT(w, ",");
	put_slice(w, osp_slice_str(key));
	LIT(w, ":");
}

/* Counters c[0..n) of one stage and one group, as an object of their own. The group is a sink (by
 * label, keys are the names) or a name (keys are the labels, of which those at zero are left out).
 */
static void put_group(struct jw *w, const struct osp_rec_counter *c, uint32_t n, int by_label)
{
	struct jw_open o = { .mark = w->len };

	put_key(w, by_label ? c->label : c->name);
	o.body = w->len;
	for (; n; n--, c++) {
		if (!by_label && !c->value)
			continue;
		put_key(w, by_label ? c->name : c->label);
		put_u64(w, c->value);
	}
	close_object(w, o);
}

/* Counters c[0..n) of one stage. */
static void put_stage(struct jw *w, const struct osp_rec_counter *c, uint32_t n)
{
	struct jw_open o = { .mark = w->len };
	int sinks = same(c->stage, "sinks");
	uint32_t m;

	put_key(w, c->stage);
	o.body = w->len;
	for (; n; n -= m, c += m) {
		m = 1;
		if (!c->label) {
			put_key(w, c->name);
			put_u64(w, c->value);
			continue;
		}
		while (m < n && c[m].label &&
		       (sinks ? same(c[m].label, c->label) : same(c[m].name, c->name)))
			m++;
		put_group(w, c, m, sinks);
	}
	close_object(w, o);
}

static void put_ledger(struct jw *w, const struct osp_record *rec)
{
	const struct osp_rec_ledger *led = &rec->ledger;
	const struct osp_rec_counter *c = led->counter;
	const struct osp_slice *str = rec->str;
	uint32_t n = c ? led->counter_n : 0, m;
	struct jw_open o;

	F_STR(w, "when", str[OSP_S_WHEN]);
	o = OPEN(w, "agent");
	F_STR(w, "version", str[OSP_S_AGENT]);
	close_object(w, o);
	F_STR(w, "mode", str[OSP_S_MODE]);
	F_STR(w, "origin", str[OSP_S_ORIGIN]);
	o = OPEN(w, "host");
	F_STR(w, "name", str[OSP_S_HOSTNAME]);
	close_object(w, o);
	F_STR(w, "kernel", str[OSP_S_KERNEL]);
	F_STR(w, "boot_id", str[OSP_S_BOOT_ID]);
	F_I64(w, "clock_offset_ns", led->wall_off_ns);
	for (; n; n -= m, c += m) {
		for (m = 1; m < n && same(c[m].stage, c->stage); m++)
			;
		put_stage(w, c, m);
	}
	if (led->closed)
		LIT(w, ",\"closed\":true");
	else
		LIT(w, ",\"closed\":false");
}

/* ---- the record ---------------------------------------------------------------------------- */

static void put_common(struct jw *w, const struct osp_record *rec)
{
	uint32_t flags = rec->flags | (record_bad_utf8(rec) ? OSP_RF_NONUTF8 : 0);
	char id[32];

	LIT(w, "{\"schema\":\"" OSP_RECORD_SCHEMA "\"");
	F_NAME(w, "kind", osp_kind_name(rec->kind));
	F_NAME(w, "vantage", osp_vantage_name(rec->vantage));
	hex64(id, rec->id[0]);
	hex64(id + 16, rec->id[1]);
	LIT(w, ",\"id\":\"");
	put(w, id, sizeof(id));
	LIT(w, "\"");
	if (rec->seq)
		F_U64(w, "seq", rec->seq);
	F_TIME(w, "ts", rec->ts_ns);
	if (rec->kind == OSP_REC_TRANSACTION)
		F_NAME(w, "outcome", osp_outcome_name(rec->outcome));
	if (rec->kind != OSP_REC_LEDGER || flags)
		put_bits(w, OPEN(w, "flags"), flags, osp_flag_name);
	if (rec->kind != OSP_REC_LEDGER)
		put_bits(w, OPEN(w, "anomalies"), rec->anomalies, osp_anomaly_name);
}

size_t osp_record_json(const struct osp_record *rec, char *buf, size_t cap)
{
	struct jw w = { .buf = buf, .cap = cap };

	put_common(&w, rec);
	switch (rec->kind) {
	case OSP_REC_TRANSACTION:
		put_transaction(&w, rec);
		break;
	case OSP_REC_CONNECTION:
		put_connection(&w, rec);
		break;
	case OSP_REC_LEDGER:
		put_ledger(&w, rec);
		break;
	}
	LIT(&w, "}");
	return w.len;
}
