/* SPDX-License-Identifier: GPL-3.0-or-later */
/* http1_fast.c: heads as nearly all are, read in one pass: a common method, a path, HTTP/1.0 or 1.1,
 * plain names, CRLF, framing that leaves nothing to interpret, and all of it at hand. Anything else
 * is left to osp_http1_head(), which is slower and decides what is right: where this one takes a
 * head it says just what that one would (tests/fuzz/fuzz_diff_http1.c, tests/unit/test_http1.c).
 *
 * Sixteen bytes a step with SSE2, which every x86-64 has; wider ones find little to do, as lines are
 * short. Nothing beyond [p, end) is read: the last block is loaded from where it ends and shifted.
 */
#include "agent/parser/http1.h"

#include <strings.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define STR(id) ((id) - OSP_S_HTTP_VERSION)

/* Also what a block needs to be loaded from its end. */
#define HEAD_MIN (sizeof("GET / HTTP/1.1\r\n\r\n") - 1)

/* ---- bytes ----------------------------------------------------------------------------------- */

/* Both return the first byte of [p, end) that does not belong, end if all do. At least HEAD_MIN
 * bytes before end can be read.
 */
#ifdef __SSE2__

#define EACH(c) _mm_set1_epi8(c)

/* Bytes of v in lo .. lo + span, as unsigned numbers. */
static inline __m128i in_range(__m128i v, char lo, char span)
{
	__m128i d = _mm_sub_epi8(v, EACH(lo));

	return _mm_cmpeq_epi8(_mm_min_epu8(d, EACH(span)), d);
}

static inline uint32_t not_text(const char *p, uint32_t *high)
{
	__m128i v = _mm_loadu_si128((const __m128i *)p);

	*high |= (uint32_t)_mm_movemask_epi8(v);
	return (uint32_t)_mm_movemask_epi8(_mm_or_si128(in_range(v, 0, 0x1f),
							_mm_cmpeq_epi8(v, EACH(0x7f))));
}

static inline uint32_t not_word(const char *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)p);
	__m128i letter = in_range(_mm_or_si128(v, EACH(0x20)), 'a', 'z' - 'a');
	__m128i digit = in_range(v, '0', 9), dash = _mm_cmpeq_epi8(v, EACH('-'));
	__m128i word = _mm_or_si128(_mm_or_si128(letter, digit), dash);

	return ~(uint32_t)_mm_movemask_epi8(word) & 0xffff;
}

static inline uint32_t not_target(const char *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)p);

	return ~(uint32_t)_mm_movemask_epi8(in_range(v, '!', '~' - '!')) & 0xffff;
}

#define SCAN(p, end, stops)                                                                        \
	do {                                                                                       \
		uint32_t m_;                                                                       \
		for (; (end) - (p) >= 16; (p) += 16) {                                             \
			const char *at = (p);                                                      \
			m_ = stops;                                                                \
			if (m_)                                                                    \
				return (p) + __builtin_ctz(m_);                                    \
		}                                                                                  \
		if ((p) < (end)) {                                                                 \
			const char *at = (end) - 16;                                               \
			m_ = (stops) >> ((p) - at);                                                \
			if (m_)                                                                    \
				return (p) + __builtin_ctz(m_);                                    \
		}                                                                                  \
		return (end);                                                                      \
	} while (0)

#else

static inline uint32_t not_text(const char *p, uint32_t *high)
{
	*high |= (unsigned char)*p & 0x80;
	return (unsigned char)*p < ' ' || *p == 0x7f;
}

static inline uint32_t not_word(const char *p)
{
	char c = *p | 0x20;

	return !((c >= 'a' && c <= 'z') || (*p >= '0' && *p <= '9') || *p == '-');
}

static inline uint32_t not_target(const char *p)
{
	return *p < '!' || *p > '~';
}

#define SCAN(p, end, stops)                                                                        \
	do {                                                                                       \
		const char *at = (p);                                                              \
		while (at < (end) && !(stops))                                                     \
			at++;                                                                      \
		return at;                                                                         \
	} while (0)

#endif

/* Up to a control byte, tab included. high gets a bit if there may be bytes beyond ASCII. */
static inline const char *text_end(const char *p, const char *end, uint32_t *high)
{
	SCAN(p, end, not_text(at, high));
}

/* Letters, digits and '-'. */
static inline const char *word_end(const char *p, const char *end)
{
	SCAN(p, end, not_word(at));
}

/* Printable ASCII without the space. */
static inline const char *target_end(const char *p, const char *end)
{
	SCAN(p, end, not_target(at));
}

/* Whether a line ends at p. A head goes on for at least one more line end, so four bytes are there;
 * those behind p can be looked at without a look at end then.
 */
static inline bool line_ends(const char *p, const char *end)
{
	return end - p >= 4 && !memcmp(p, "\r\n", 2);
}

/* Whether the n bytes at p, a word, are `word` but for case. In letters, digits and '-' bit 5 tells
 * upper from lower case or is set anyway.
 */
static inline bool is_word(const char *p, const char *word, size_t n)
{
	const uint64_t low = 0x2020202020202020ull;
	uint64_t a = 0, b = 0, wa = 0, wb = 0;
	size_t half = n < 8 ? 4 : 8;

	memcpy(&a, p, half);
	memcpy(&b, p + n - half, half);
	memcpy(&wa, word, half);
	memcpy(&wb, word + n - half, half);
	return (a | low) == (wa | low) && (b | low) == (wb | low);
}

#define IS(s, word) is_word((s).p, word, sizeof(word) - 1)

/* ---- start lines ----------------------------------------------------------------------------- */

/* "HTTP/1.0" or "HTTP/1.1" at p; at least eight bytes are there. */
static inline bool version(struct osp_msg *msg, const char *p)
{
	msg->str[STR(OSP_S_HTTP_VERSION)] = osp_slice(p + 5, 3);
	return !memcmp(p, "HTTP/1.", 7) && (p[7] == '0' || p[7] == '1');
}

static uint32_t method_len(const char *p)
{
	static const char *const known[] = { "GET ", "POST ", "HEAD ", "PUT ", "DELETE ",
					     "OPTIONS ", "PATCH " };
	uint32_t i, n;

	if (!memcmp(p, "GET ", 4))
		return 3;
	for (i = 1; i < sizeof(known) / sizeof(known[0]); i++) {
		n = (uint32_t)strlen(known[i]);
		if (!memcmp(p, known[i], n))
			return n - 1;
	}
	return 0;
}

/* Both return where the headers begin; NULL: not of the simple kind. */
static const char *request_line(struct osp_msg *msg, const char *p, const char *end)
{
	uint32_t n = method_len(p);
	const char *target = p + n + 1, *e;

	if (!n || *target != '/')
		return NULL;
	e = target_end(target, end);
	if (end - e < 13 || *e != ' ' || !version(msg, e + 1) || !line_ends(e + 9, end))
		return NULL;
	msg->str[STR(OSP_S_METHOD)] = osp_slice(p, n);
	msg->str[STR(OSP_S_TARGET)] = osp_slice(target, (size_t)(e - target));
	msg->answers = n == 4 && *p == 'H' ? OSP_ANS_HEAD : OSP_ANS_OTHER;
	return e + 11;
}

static const char *status_line(struct osp_msg *msg, const char *p, const char *end, uint32_t *high)
{
	const char *e, *reason;

	if (!version(msg, p) || p[8] != ' ' || p[9] < '1' || p[9] > '9' || p[10] < '0' ||
	    p[10] > '9' || p[11] < '0' || p[11] > '9')
		return NULL;
	msg->status = (uint16_t)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
	e = text_end(p + 12, end, high);
	if (!line_ends(e, end) || (e > p + 12 && p[12] != ' '))
		return NULL;
	reason = p + 12;
	while (reason < e && *reason == ' ')
		reason++;
	if (reason < e) {
		p = e;
		while (p[-1] == ' ')
			p--;
		msg->str[STR(OSP_S_REASON)] = osp_slice(reason, (size_t)(p - reason));
	}
	return e + 2;
}

/* ---- headers --------------------------------------------------------------------------------- */

static inline void lift(struct osp_msg *msg, int id, struct osp_slice v)
{
	if (!msg->str[STR(id)].p)
		msg->str[STR(id)] = v;
}

static bool content_length(struct osp_msg *msg, struct osp_slice v)
{
	uint64_t n = 0;
	uint32_t i;

	if (msg->has_cl || msg->te || !v.n || v.n > 18)
		return false;
	for (i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(v.p[i] - '0');
	}
	msg->has_cl = true;
	msg->content_length = n;
	return true;
}

static bool transfer_encoding(struct osp_msg *msg, struct osp_slice v)
{
	if (msg->has_cl || msg->te || v.n != 7 || strncasecmp(v.p, "chunked", 7))
		return false;
	lift(msg, msg->kind == OSP_REQ ? OSP_S_REQ_TRANSFER_ENCODING :
					 OSP_S_RES_TRANSFER_ENCODING, v);
	msg->te = msg->te_chunked = true;
	return true;
}

/* What the header means to us. False: more than can be told here. */
static inline bool header(struct osp_msg *msg, struct osp_slice name, struct osp_slice v)
{
	bool req = msg->kind == OSP_REQ;

	switch (name.n) {
	case 4:
		if (req && IS(name, "host"))
			lift(msg, OSP_S_HOST, v);
		break;
	case 6:
		return !IS(name, "expect");
	case 7:
		return !IS(name, "upgrade");
	case 10:
		if (req && IS(name, "user-agent"))
			lift(msg, OSP_S_USER_AGENT, v);
		break;
	case 11:
		if (req && IS(name, "traceparent"))
			lift(msg, OSP_S_TRACEPARENT, v);
		break;
	case 12:
		if (IS(name, "content-type"))
			lift(msg, req ? OSP_S_REQ_CONTENT_TYPE : OSP_S_RES_CONTENT_TYPE, v);
		else if (req && IS(name, "x-request-id"))
			lift(msg, OSP_S_REQUEST_ID, v);
		break;
	case 14:
		return !IS(name, "content-length") || content_length(msg, v);
	case 16:
		if (!IS(name, "content-encoding"))
			break;
		if (msg->str[STR(req ? OSP_S_REQ_CONTENT_ENCODING : OSP_S_RES_CONTENT_ENCODING)].p)
			return false;
		lift(msg, req ? OSP_S_REQ_CONTENT_ENCODING : OSP_S_RES_CONTENT_ENCODING, v);
		break;
	case 17:
		return strncasecmp(name.p, "transfer-encoding", 17) || transfer_encoding(msg, v);
	}
	return true;
}

uint32_t osp_http1_head_fast(struct osp_msg *msg, const char *p, uint32_t n)
{
	const char *end = p + n, *at, *colon, *value, *e, *last;
	struct osp_header *out = msg->header, *room = out + OSP_HEADERS_MAX;
	uint32_t high = 0;

	if (n < HEAD_MIN)
		return 0;
	at = msg->kind == OSP_REQ ? request_line(msg, p, end) : status_line(msg, p, end, &high);
	if (!at)
		return 0;
	while (memcmp(at, "\r\n", 2)) {
		colon = word_end(at, end);
		if (colon == end || *colon != ':' || colon == at || out == room)
			return 0;
		value = colon + 1;
		while (value < end && *value == ' ')
			value++;
		e = text_end(value, end, &high);
		if (!line_ends(e, end))
			return 0;
		for (last = e; last > value && last[-1] == ' '; last--)
			;
		*out = (struct osp_header){ osp_slice(at, (size_t)(colon - at)),
					    osp_slice(value, (size_t)(last - value)) };
		if (!header(msg, out->name, out->value))
			return 0;
		out++;
		at = e + 2;
	}
	msg->header_n = (uint32_t)(out - msg->header);
	msg->head_bytes = (uint32_t)(at + 2 - p);
	msg->plain = !high;
	return msg->head_bytes;
}
