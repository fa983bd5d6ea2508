/* SPDX-License-Identifier: GPL-3.0-or-later */
/* json.c: the pull parser of json.h, and times as text. */
#include "recon/json.h"

#include <stdlib.h>

char rc_js_space(struct rc_js *js)
{
	while (js->p < js->end &&
	       (*js->p == ' ' || *js->p == '\t' || *js->p == '\n' || *js->p == '\r'))
		js->p++;
	return js->p < js->end ? *js->p : 0;
}

bool rc_js_fail(struct rc_js *js)
{
	js->bad = true;
	js->p = js->end;
	return false;
}

bool rc_js_escaped(struct rc_js *js, struct rc_js_str *out)
{
	const char *p = js->p, *start = p;
	bool escaped = false;

	for (;;) {
		p = rc_js_quote(p, js->end);
		if (p >= js->end)
			return rc_js_fail(js);
		if (*p == '"')
			break;
		escaped = true;
		p += 2;
		if (p > js->end)
			return rc_js_fail(js);
	}
	if ((size_t)(p - start) > UINT32_MAX)
		return rc_js_fail(js);
	*out = (struct rc_js_str){ start, (uint32_t)(p - start), escaped };
	js->p = p + 1;
	return true;
}

bool rc_js_array(struct rc_js *js)
{
	if (rc_js_peek(js) != '[') {
		rc_js_skip(js);
		return false;
	}
	js->p++;
	return true;
}

/* Steps over the comma before a further member, or over the end. */
static inline bool more(struct rc_js *js, bool *first, char last)
{
	char c = rc_js_peek(js);

	if (c == last) {
		js->p++;
		return false;
	}
	if (!c)
		return rc_js_fail(js);
	if (!*first) {
		if (c != ',')
			return rc_js_fail(js);
		js->p++;
		rc_js_peek(js);
	}
	*first = false;
	return true;
}

bool rc_js_key(struct rc_js *js, bool *first, struct osp_slice *key)
{
	struct rc_js_str str;

	if (!more(js, first, '}'))
		return false;
	if (js->p >= js->end || *js->p != '"')
		return rc_js_fail(js);
	js->p++;
	if (!rc_js_raw(js, &str))
		return false;
	*key = (struct osp_slice){ str.p, str.n };
	if (rc_js_peek(js) != ':')
		return rc_js_fail(js);
	js->p++;
	return true;
}

bool rc_js_next(struct rc_js *js, bool *first)
{
	return more(js, first, ']');
}

static bool literal(struct rc_js *js, const char *word, size_t n)
{
	if ((size_t)(js->end - js->p) < n || memcmp(js->p, word, n))
		return rc_js_fail(js);
	js->p += n;
	return true;
}

static bool skip_scalar(struct rc_js *js, char c)
{
	struct rc_js_str str;
	const char *from;

	switch (c) {
	case '"':
		js->p++;
		return rc_js_raw(js, &str);
	case 't':
		return literal(js, "true", 4);
	case 'f':
		return literal(js, "false", 5);
	case 'n':
		return literal(js, "null", 4);
	}
	from = js->p;
	if (rc_js_digits(js, &(uint64_t){ 0 }))
		return true;
	while (js->p < js->end && ((*js->p >= '0' && *js->p <= '9') || *js->p == '-' ||
				   *js->p == '+' || *js->p == '.' || (*js->p | 32) == 'e'))
		js->p++;
	return js->p > from ? true : rc_js_fail(js);
}

static void skip_depth(struct rc_js *js, int depth)
{
	struct osp_slice key;
	bool first = true;
	char c = rc_js_peek(js);

	if (c != '{' && c != '[') {
		if (!js->bad)
			skip_scalar(js, c);
		return;
	}
	if (depth > RC_JS_DEPTH) {
		rc_js_fail(js);
		return;
	}
	js->p++;
	while (c == '{' ? rc_js_key(js, &first, &key) : rc_js_next(js, &first))
		skip_depth(js, depth + 1);
}

void rc_js_skip(struct rc_js *js)
{
	if (!js->bad)
		skip_depth(js, 0);
}

bool rc_js_i64(struct rc_js *js, int64_t *out)
{
	char c = rc_js_peek(js);
	const char *from = js->p;
	uint64_t v;

	if (c == '-')
		js->p++;
	if ((c == '-' || (c >= '0' && c <= '9')) && rc_js_digits(js, &v) && v <= INT64_MAX) {
		*out = c == '-' ? -(int64_t)v : (int64_t)v;
		return true;
	}
	js->p = js->bad ? js->end : from;
	rc_js_skip(js);
	return false;
}

bool rc_js_num(struct rc_js *js, double *out)
{
	char c = rc_js_peek(js), tmp[64], *stop;
	const char *from = js->p;
	size_t n;

	rc_js_skip(js);
	n = (size_t)(js->p - from);
	if (js->bad || !(c == '-' || (c >= '0' && c <= '9')) || n >= sizeof(tmp))
		return false;
	memcpy(tmp, from, n);
	tmp[n] = 0;
	*out = strtod(tmp, &stop);
	return stop == tmp + n;
}

bool rc_js_bool(struct rc_js *js, bool *out)
{
	char c = rc_js_peek(js);

	rc_js_skip(js);
	if (js->bad || (c != 't' && c != 'f'))
		return false;
	*out = c == 't';
	return true;
}

bool rc_js_end(struct rc_js *js)
{
	return !js->bad && !rc_js_space(js) && js->p == js->end;
}

/* ---- strings -------------------------------------------------------------------------------- */

static int hex4(const char *p, const char *end)
{
	int v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = p[i];

		if (c >= '0' && c <= '9')
			v = v * 16 + c - '0';
		else if ((c | 32) >= 'a' && (c | 32) <= 'f')
			v = v * 16 + (c | 32) - 'a' + 10;
		else
			return -1;
	}
	return v;
}

static size_t put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (char)(0xe0 | c >> 12);
		out[1] = (char)(0x80 | (c >> 6 & 0x3f));
		out[2] = (char)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | c >> 18);
	out[1] = (char)(0x80 | (c >> 12 & 0x3f));
	out[2] = (char)(0x80 | (c >> 6 & 0x3f));
	out[3] = (char)(0x80 | (c & 0x3f));
	return 4;
}

/* *p stands on the 'u' of an escape; moves to its last character. Writes at most 4 bytes for the 12
 * of a surrogate pair, 3 for 6. A lone surrogate is written as its three bytes: it is what came.
 */
static size_t put_escape_u(const char **p, const char *end, char *out, bool bytes)
{
	int v = hex4(*p + 1, end), low;

	if (v < 0) {
		*out = 'u';
		return 1;
	}
	*p += 4;
	if (v >= 0xd800 && v < 0xdc00 && end - *p > 6 && (*p)[1] == '\\' && (*p)[2] == 'u') {
		low = hex4(*p + 3, end);
		if (low >= 0xdc00 && low < 0xe000) {
			*p += 6;
			return put_utf8(out, 0x10000u + ((uint32_t)(v - 0xd800) << 10) +
						     (uint32_t)(low - 0xdc00));
		}
	}
	if (bytes && v >= 0x80 && v <= 0xff) {
		*out = (char)v;
		return 1;
	}
	return put_utf8(out, (uint32_t)v);
}

size_t rc_js_decode(const struct rc_js_str *str, char *out, bool bytes)
{
	const char *p = str->p, *end = p + str->n;
	char *to = out;

	if (!str->escaped) {
		memcpy(out, p, str->n);
		return str->n;
	}
	for (; p < end; p++) {
		if (*p != '\\' || p + 1 >= end) {
			*to++ = *p;
			continue;
		}
		switch (*++p) {
		case 'b':
			*to++ = '\b';
			break;
		case 'f':
			*to++ = '\f';
			break;
		case 'n':
			*to++ = '\n';
			break;
		case 'r':
			*to++ = '\r';
			break;
		case 't':
			*to++ = '\t';
			break;
		case 'u':
			to += put_escape_u(&p, end, to, bytes);
			break;
		default:
			*to++ = *p;
		}
	}
	return (size_t)(to - out);
}

/* ---- times ---------------------------------------------------------------------------------- */

/* n digits as a number, -1 if one is none. */
static int fixed(const char *p, int n)
{
	int v = 0;

	for (int i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -1;
		v = v * 10 + p[i] - '0';
	}
	return v;
}

/* Days from 1970-01-01 to a date of the Gregorian calendar; years run from March so that the leap
 * day is the last one, and 400 years have 146097 days.
 */
static int64_t days(int y, int m, int d)
{
	int era, yoe, doy;

	y -= m <= 2;
	era = y / 400;
	yoe = y - era * 400;
	doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
	return (int64_t)era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

/* ".123456789" at *p: to ns; digits beyond nine are dropped. */
static int64_t fraction(const char **p, const char *end)
{
	int64_t ns = 0, unit = 100000000;

	if (*p >= end || **p != '.')
		return 0;
	for ((*p)++; *p < end && **p >= '0' && **p <= '9'; (*p)++, unit /= 10)
		ns += (**p - '0') * unit;
	return ns;
}

static bool zone(const char *p, const char *end, int *minutes)
{
	int h, m;

	*minutes = 0;
	if (end - p == 1 && (*p | 32) == 'z')
		return true;
	if (end - p == 6 && p[3] == ':')
		m = fixed(p + 4, 2);
	else if (end - p == 5)
		m = fixed(p + 3, 2);
	else
		return false;
	h = fixed(p + 1, 2);
	if (h < 0 || h > 23 || m < 0 || m > 59 || (*p != '+' && *p != '-'))
		return false;
	*minutes = (*p == '-' ? -1 : 1) * (h * 60 + m);
	return true;
}

bool rc_time_parse(const char *p, size_t n, int64_t *ns)
{
	const char *end = p + n, *at = p + 19;
	int y, mo, d, h, mi, s, minutes;
	int64_t frac;

	if (n < 20 || p[4] != '-' || p[7] != '-' || (p[10] | 32) != 't' || p[13] != ':' ||
	    p[16] != ':')
		return false;
	y = fixed(p, 4);
	mo = fixed(p + 5, 2);
	d = fixed(p + 8, 2);
	h = fixed(p + 11, 2);
	mi = fixed(p + 14, 2);
	s = fixed(p + 17, 2);
	/* Times whose sums and differences int64 ns can hold; 60 is a leap second. */
	if (y < 1969 || y > 2105 || mo < 1 || mo > 12 || d < 1 || d > 31 || h < 0 || h > 23 ||
	    mi < 0 || mi > 59 || s < 0 || s > 60)
		return false;
	frac = fraction(&at, end);
	if (!zone(at, end, &minutes))
		return false;
	*ns = ((days(y, mo, d) * 24 + h) * 60 + mi - minutes) * 60000000000ll + s * 1000000000ll +
	      frac;
	return true;
}

bool rc_time_epoch(const char *p, size_t n, int64_t *ns)
{
	const char *end = p + n;
	int64_t s = 0;

	/* Up to 2104, as above. */
	if (!n || *p < '0' || *p > '9')
		return false;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		s = s * 10 + (*p - '0');
		if (s > 4260000000ll)
			return false;
	}
	*ns = s * 1000000000ll + fraction(&p, end);
	return p == end;
}
