/* SPDX-License-Identifier: GPL-3.0-or-later */
/* json.h: a pull parser over one JSON text that lies in memory whole.
 *
 * The caller asks for what it knows and skips the rest, so a key nobody wants costs a scan for its
 * end and nothing else; and a string stays raw until somebody decodes it, because of what
 * docs/record.md says about bytes that are not UTF-8: in the line as written an escape above \u007f
 * is a byte, and a decoder of somebody else's would have lost that.
 *
 * RC_JS_PAD readable bytes behind the text are the caller's promise: scans look ahead by a word.
 *
 * @thread any, one at a time for each struct rc_js.
 */
#ifndef OSP_RECON_JSON_H
#define OSP_RECON_JSON_H

#include "agent/base/slice.h"

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define RC_JS_PAD 32
/* Objects within objects: records have five levels; more than this is an attack on the stack. */
#define RC_JS_DEPTH 64

struct rc_js {
	const char *p, *end;
	bool bad;		/* sticky: not JSON; every call after it does nothing */
};

/* A string as it stands between its quotes. */
struct rc_js_str {
	const char *p;
	uint32_t n;
	bool escaped;		/* has a backslash: decode before use */
};

static inline void rc_js_init(struct rc_js *js, const char *text, size_t n)
{
	*js = (struct rc_js){ .p = text, .end = text + n };
}

/* What every key and value goes through is inline: reading is most of what recon-diff does. */

/* Marks the text as bad; false, for the caller to return. */
bool rc_js_fail(struct rc_js *js);
/* rc_js_peek behind white space. */
char rc_js_space(struct rc_js *js);

/* The first character of the value that comes next; 0 at the end or if bad (p is end then). Writers
 * put no spaces, so the next character is nearly always the one.
 */
static inline char rc_js_peek(struct rc_js *js)
{
	return js->p < js->end && *js->p > ' ' ? *js->p : rc_js_space(js);
}

/* From p on, the first '"' or '\\', or end. Looks up to 16 bytes beyond end. */
static inline const char *rc_js_quote(const char *p, const char *end)
{
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');

	for (; p < end; p += 16) {
		__m128i x = _mm_loadu_si128((const __m128i *)p);
		int marks = _mm_movemask_epi8(
			_mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, slash)));

		if (marks) {
			p += __builtin_ctz((unsigned int)marks);
			break;
		}
	}
#else
	while (p < end && *p != '"' && *p != '\\')
		p++;
#endif
	return p < end ? p : end;
}

/* The rest of a string with escapes in it; js->p stands after the opening quote. */
bool rc_js_escaped(struct rc_js *js, struct rc_js_str *out);

/* A string; js->p stands after the opening quote. */
static inline bool rc_js_raw(struct rc_js *js, struct rc_js_str *out)
{
	const char *start = js->p, *p = rc_js_quote(start, js->end);

	if (p >= js->end || *p != '"' || (size_t)(p - start) > UINT32_MAX)
		return rc_js_escaped(js, out);
	*out = (struct rc_js_str){ start, (uint32_t)(p - start), false };
	js->p = p + 1;
	return true;
}

/* Digits only; what follows must not belong to a number (a fraction, an exponent). 19 digits always
 * fit.
 */
static inline bool rc_js_digits(struct rc_js *js, uint64_t *out)
{
	const char *p = js->p, *safe = js->end - p > 19 ? p + 19 : js->end;
	uint64_t v = 0;

	for (; p < safe && (uint8_t)(*p - '0') < 10; p++)
		v = v * 10 + (uint8_t)(*p - '0');
	for (; p < js->end && (uint8_t)(*p - '0') < 10; p++)
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return false;
	if (p == js->p || (p < js->end && (*p == '.' || (*p | 32) == 'e')))
		return false;
	js->p = p;
	*out = v;
	return true;
}

void rc_js_skip(struct rc_js *js);

/* Enters an object or array. False: it is something else (which is skipped), or bad. */
static inline bool rc_js_object(struct rc_js *js)
{
	if (rc_js_peek(js) != '{') {
		rc_js_skip(js);
		return false;
	}
	js->p++;
	return true;
}
bool rc_js_array(struct rc_js *js);
/* The next key, raw; the value must be taken (or skipped) before the next call. False: the object
 * has ended. first: set to true before the first call.
 */
bool rc_js_key(struct rc_js *js, bool *first, struct osp_slice *key);
/* Whether another element follows. */
bool rc_js_next(struct rc_js *js, bool *first);

/* Each takes one value whatever it is; false: it is not of this kind, *out is untouched. */
static inline bool rc_js_str(struct rc_js *js, struct rc_js_str *out)
{
	if (rc_js_peek(js) != '"') {
		rc_js_skip(js);
		return false;
	}
	js->p++;
	return rc_js_raw(js, out);
}
static inline bool rc_js_u64(struct rc_js *js, uint64_t *out)
{
	char c = rc_js_peek(js);

	if (c >= '0' && c <= '9' && rc_js_digits(js, out))
		return true;
	rc_js_skip(js);
	return false;
}
bool rc_js_i64(struct rc_js *js, int64_t *out);
bool rc_js_num(struct rc_js *js, double *out);
bool rc_js_bool(struct rc_js *js, bool *out);
/* Only spaces are left. */
bool rc_js_end(struct rc_js *js);

/* Decodes into out (room for str->n bytes always suffices); returns the length. An escape from
 * \u0080 to \u00ff is one byte if bytes, otherwise UTF-8, as are all above.
 */
size_t rc_js_decode(const struct rc_js_str *str, char *out, bool bytes);

/* RFC 3339, any number of decimals, any offset ("Z", "+02:00", "+0000"), to ns since 1970. */
bool rc_time_parse(const char *p, size_t n, int64_t *ns);
/* Seconds since 1970 as decimal text ("1763670016.123456"). */
bool rc_time_epoch(const char *p, size_t n, int64_t *ns);

static inline bool rc_key_is(struct osp_slice key, const char *lit, size_t n)
{
	return key.n == n && !memcmp(key.p, lit, n);
}
#define RC_KEY(key, lit) rc_key_is(key, lit, sizeof(lit) - 1)

#endif
