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
 * before most strings, so a record in which such bytes turn up is written again, with the flag.
 */
#include "record/base64.h"
#include "record/osp_record.h"

#include <endian.h>
#include <netinet/in.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct jw {
	char *buf;
	size_t cap, len;
	int bad;	/* bytes that are not UTF-8 were met */
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

/* The eight digits of v < 10^8 as bytes, 0 to 9, the first in the lowest: halves, quarters, digits,
 * all of one size at once. The factors are reciprocals: 10486 / 2^20 is 1/100 for all below 10^4,
 * 103 / 2^10 is 1/10 for all below 100.
 */
static inline uint64_t digits8(uint32_t v)
{
	uint64_t x = v / 10000 | (uint64_t)(v % 10000) << 32, t;

	t = x * 10486 >> 20 & 0x0000007f0000007full;
	x = t + ((x - t * 100) << 16);
	t = x * 103 >> 10 & 0x000f000f000f000full;
	return t + ((x - t * 10) << 8);
}

#define ZEROS 0x3030303030303030ull	/* '0', eight times */

static inline void store8(char *p, uint64_t x)
{
	x = htole64(x);
	memcpy(p, &x, 8);
}

/* All eight digits. */
static inline void dec8(char *p, uint32_t v)
{
	store8(p, digits8(v) | ZEROS);
}

/* v < 10^8 without leading zeros; eight bytes are written, the number's length is returned. */
static inline size_t dec_upto8(char *p, uint32_t v)
{
	uint64_t x = digits8(v);
	unsigned int zeros = (unsigned int)__builtin_ctzll(x | 1ull << 56) / 8;

	store8(p, (x | ZEROS) >> 8 * zeros);
	return 8 - zeros;
}

/* One to four digits; most numbers of a record are no longer. */
static inline size_t dec_upto4(char *p, uint32_t v)
{
	uint32_t hi = v / 100;
	size_t n = 0;

	if (hi) {
		memcpy(p, digits2 + hi * 2 + (hi < 10), 2);
		n = 2 - (hi < 10);
		memcpy(p + n, digits2 + v % 100 * 2, 2);
		return n + 2;
	}
	memcpy(p, digits2 + v * 2 + (v < 10), 2);
	return 2 - (v < 10);
}

#define DEC_MAX 24	/* what is written at most, as opposed to used: 20 */

static inline size_t dec(char *p, uint64_t v)
{
	size_t n = 0;

	if (v < 10000)
		return dec_upto4(p, (uint32_t)v);
	if (v < 100000000)
		return dec_upto8(p, (uint32_t)v);
	if (v >= 10000000000000000ull) {
		n = dec_upto4(p, (uint32_t)(v / 10000000000000000ull));
		v %= 10000000000000000ull;
		dec8(p + n, (uint32_t)(v / 100000000));
		n += 8;
	} else {
		n = dec_upto8(p, (uint32_t)(v / 100000000));
	}
	dec8(p + n, (uint32_t)(v % 100000000));
	return n + 8;
}

static void put_u64(struct jw *w, uint64_t v)
{
	char tmp[DEC_MAX];

	if (w->cap - w->len >= DEC_MAX && w->len <= w->cap)
		w->len += dec(w->buf + w->len, v);
	else
		put(w, tmp, dec(tmp, v));
}

static void put_i64(struct jw *w, int64_t v)
{
	if (v < 0)
		LIT(w, "-");
	put_u64(w, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* The eight hexadecimal digits of v: nibbles spread to bytes, the first in the lowest; those above 9
 * are moved on from ':' to 'a'.
 */
static inline void hex32(char *out, uint32_t v)
{
	uint64_t x = __builtin_bswap32(v);

	x = (x | x << 16) & 0x0000ffff0000ffffull;
	x = (x | x << 8) & 0x00ff00ff00ff00ffull;
	x = (x >> 4 | x << 8) & 0x0f0f0f0f0f0f0f0full;
	store8(out, x + ZEROS + ((x + 0x0606060606060606ull) >> 4 & 0x0101010101010101ull) *
				('a' - '9' - 1));
}

static inline void hex64(char out[16], uint64_t v)
{
	hex32(out, (uint32_t)(v >> 32));
	hex32(out + 8, (uint32_t)v);
}

static inline void dec2(char *out, uint32_t v)
{
	memcpy(out, digits2 + v * 2, 2);
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
	dec2(t + 1, y / 100);	/* int64 ns end in the year 2262 */
	dec2(t + 3, y % 100);
	dec2(t + 6, m);
	dec2(t + 9, d);
	dec2(t + 12, in_day / 3600);
	dec2(t + 15, in_day / 60 % 60);
	dec2(t + 18, in_day % 60);
	t[21] = (char)('0' + frac / 100000000);
	dec8(t + 22, (uint32_t)(frac % 100000000));
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
		w->bad |= p[at] >= 0x80;
		run = ++at;
	}
	put(w, p + run, n - run);
}

#ifdef __SSE2__
/* Nonzero: as for special8(), without saying where. Signed, bytes above ASCII are below ' ', too. */
static inline int special16(__m128i v)
{
	__m128i odd = _mm_or_si128(_mm_cmpgt_epi8(_mm_set1_epi8(' '), v),
				   _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));

	odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
	odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
	return _mm_movemask_epi8(odd);
}

/* n >= 16 bytes, checked and stored; true: there was nothing special. */
static inline int copy_plain(char *out, const uint8_t *p, size_t n)
{
	__m128i v;
	int odd;
	size_t i;

	v = _mm_loadu_si128((const __m128i *)(p + n - 16));
	_mm_storeu_si128((__m128i *)(out + n - 16), v);
	odd = special16(v);
	for (i = 0; i + 16 < n; i += 16) {
		v = _mm_loadu_si128((const __m128i *)(p + i));
		_mm_storeu_si128((__m128i *)(out + i), v);
		odd |= special16(v);
	}
	return !odd;
}

/* The same for 8 <= n < 16. */
static inline int copy_plain8(char *out, const uint8_t *p, size_t n)
{
	__m128i a = _mm_loadl_epi64((const __m128i *)p);
	__m128i b = _mm_loadl_epi64((const __m128i *)(p + n - 8));

	_mm_storel_epi64((__m128i *)out, a);
	_mm_storel_epi64((__m128i *)(out + n - 8), b);
	return !special16(_mm_unpacklo_epi64(a, b));
}
#else
static inline int copy_plain(char *out, const uint8_t *p, size_t n)
{
	uint64_t x = load8(p + n - 8), odd = special8(x);
	size_t i;

	memcpy(out + n - 8, p + n - 8, 8);
	for (i = 0; i + 8 < n; i += 8) {
		x = load8(p + i);
		odd |= special8(x);
		memcpy(out + i, p + i, 8);
	}
	return !odd;
}
#define copy_plain8 copy_plain
#endif

/* For 4 <= n < 8. */
static inline int copy_plain4(char *out, const uint8_t *p, size_t n)
{
	uint32_t a, b;

	memcpy(&a, p, 4);
	memcpy(&b, p + n - 4, 4);
	memcpy(out, &a, 4);
	memcpy(out + n - 4, &b, 4);
	return !special8((uint64_t)a << 32 | b);
}

/* Most strings: nothing to escape, and there is room. Checked and stored in one go; false: not such
 * a string, nothing has been done.
 */
static inline int put_plain(struct jw *w, const uint8_t *p, size_t n)
{
	char *out;

	if (n < 4 || w->len > w->cap || w->cap - w->len < n + 2)
		return 0;
	out = w->buf + w->len + 1;
	if (!(n >= 16 ? copy_plain(out, p, n) : n >= 8 ? copy_plain8(out, p, n) :
						       copy_plain4(out, p, n)))
		return 0;
	out[-1] = '"';
	out[n] = '"';
	w->len += n + 2;
	return 1;
}

static void put_slice(struct jw *w, struct osp_slice s)
{
	if (s.p && put_plain(w, (const uint8_t *)s.p, s.n))
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
	for (int i = 0; i < 4; i++) {
		uint32_t v = a[i];

		if (i)
			*p++ = '.';
		if (v >= 100)
			*p++ = (char)('0' + v / 100);
		if (v >= 10)
			*p++ = digits2[v % 100 * 2];
		*p++ = digits2[v % 100 * 2 + 1];
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

static void put_common(struct jw *w, const struct osp_record *rec, uint32_t flags)
{
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

static void put_record(struct jw *w, const struct osp_record *rec, uint32_t flags)
{
	put_common(w, rec, flags);
	switch (rec->kind) {
	case OSP_REC_TRANSACTION:
		put_transaction(w, rec);
		break;
	case OSP_REC_CONNECTION:
		put_connection(w, rec);
		break;
	case OSP_REC_LEDGER:
		put_ledger(w, rec);
		break;
	}
	LIT(w, "}");
}

size_t osp_record_json(const struct osp_record *rec, char *buf, size_t cap)
{
	struct jw w = { .buf = buf, .cap = cap };

	put_record(&w, rec, rec->flags);
	if (w.bad && !(rec->flags & OSP_RF_NONUTF8)) {
		w = (struct jw){ .buf = buf, .cap = cap };
		put_record(&w, rec, rec->flags | OSP_RF_NONUTF8);
	}
	return w.len;
}
