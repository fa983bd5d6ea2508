/* SPDX-License-Identifier: GPL-3.0-or-later */
/* http1_head.c: HTTP/1 heads. llhttp reads them; where it is stricter than the servers and clients
 * out there, a splitter of ours does: an observer that rejects what the endpoints accepted loses
 * the rest of the connection. Everything odd is an anomaly of the record.
 *
 * The whole head lies in one piece, so every string is a slice of it.
 */
#include "agent/parser/http1.h"

#include <errno.h>
#include <llhttp.h>
#include <string.h>
#include <strings.h>

#define STR(id) ((id) - OSP_S_HTTP_VERSION)

/* llhttp calls back with pieces; a header is complete when the next one starts. */
struct head {
	struct osp_msg *msg;
	struct osp_slice name, value;
	bool in_value, done;
};

static const bool tchar[256] = {	/* RFC 9110 5.6.2 */
	['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true,
	['!'] = true, ['#'] = true, ['$'] = true, ['%'] = true, ['&'] = true, ['\''] = true,
	['*'] = true, ['+'] = true, ['-'] = true, ['.'] = true, ['^'] = true, ['_'] = true,
	['`'] = true, ['|'] = true, ['~'] = true,
};

static bool is_tchar(unsigned char c)
{
	return tchar[c];
}

static bool slice_is(struct osp_slice s, const char *word)
{
	return s.n == strlen(word) && !strncasecmp(s.p, word, s.n);
}

static bool is_ows(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct osp_slice trim(struct osp_slice s)
{
	while (s.n && is_ows(s.p[s.n - 1]))
		s.n--;
	while (s.n && is_ows(s.p[0])) {
		s.p++;
		s.n--;
	}
	return s;
}

/* ---- start lines ----------------------------------------------------------------------------- */

/* Methods that a stream may be entered at: IANA's registry, the ones in use; not those that another
 * one ends with (LOCK, LINK, BIND, SEARCH), of which a loss may have taken the beginning.
 */
static const char *const methods[] = {
	"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY",
	"PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "UNLOCK", "REPORT",
	"MKCALENDAR", "MKACTIVITY", "CHECKOUT", "MERGE", "NOTIFY", "SUBSCRIBE", "UNSUBSCRIBE",
	"M-SEARCH", "PURGE", "UNLINK", "REBIND", "UNBIND", "ACL", "SOURCE",
};

/* whole: p is all of the method, else the beginning of it. */
static bool is_method(const char *p, uint32_t n, bool whole)
{
	unsigned int i;

	for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
		uint32_t len = (uint32_t)strlen(methods[i]);

		if ((whole ? n == len : n <= len) && !memcmp(methods[i], p, n))
			return true;
	}
	return false;
}

#define METHOD_MAX 32

static enum osp_detect probe_request(const char *p, uint32_t n, bool strict)
{
	static const char mark[] = " HTTP/1.";
	uint32_t i = 0, left;

	while (i < n && i <= METHOD_MAX && is_tchar((unsigned char)p[i]))
		i++;
	if (i > METHOD_MAX || !i)
		return OSP_DET_NO;
	if (strict && !is_method(p, i, i < n))
		return OSP_DET_NO;
	if (i == n)
		return OSP_DET_MORE;
	if (p[i++] != ' ')
		return OSP_DET_NO;
	for (; i < n; i++) {
		/* Some servers take tabs and form feeds in a target, llhttp does. */
		if (((unsigned char)p[i] < ' ' || p[i] == 0x7f) &&
		    (strict || (p[i] != '\t' && p[i] != '\f')))
			return OSP_DET_NO;
		left = n - i;
		if (p[i] != ' ' || memcmp(p + i, mark, left < 8 ? left : 8))
			continue;
		if (left >= 8)
			return OSP_DET_REQ;
	}
	return OSP_DET_MORE;
}

static enum osp_detect probe_response(const char *p, uint32_t n, bool strict)
{
	static const char form[] = "HTTP/1.d ddd";
	uint32_t i, len = strict ? sizeof(form) - 1 : 7;

	for (i = 0; i < n && i < len; i++) {
		if (form[i] == 'd' ? p[i] < '0' || p[i] > '9' : p[i] != form[i])
			return OSP_DET_NO;
	}
	return n >= len ? OSP_DET_RES : OSP_DET_MORE;
}

enum osp_detect osp_http1_probe_kind(int kind, const char *p, uint32_t n, bool strict)
{
	return kind == OSP_REQ ? probe_request(p, n, strict) : probe_response(p, n, strict);
}

enum osp_detect osp_http1_probe(const char *p, uint32_t n, bool strict)
{
	enum osp_detect det = probe_response(p, n, strict);

	if (det != OSP_DET_NO)
		return det;
	return probe_request(p, n, strict);
}

enum osp_detect osp_http1_simple(const char *a, uint32_t a_n, const char *b, uint32_t b_n)
{
	static const char start[] = "GET /";
	uint32_t i, n = a_n + b_n;
	char c = 0, last;

	for (i = 0; i < n; i++) {
		last = c;
		c = i < a_n ? a[i] : b[i - a_n];
		if (i < sizeof(start) - 1 ? c != start[i] : last == '\r' && c != '\n')
			return OSP_DET_NO;
		if (c == '\n')
			return OSP_DET_REQ;
		if (i >= sizeof(start) - 1 && c != '\r' && ((unsigned char)c <= ' ' || c == 0x7f))
			return OSP_DET_NO;
	}
	return OSP_DET_MORE;
}

static int set_version(struct osp_msg *msg, const char *p, uint32_t n)
{
	if (n < 8 || memcmp(p, "HTTP/", 5) || p[5] < '0' || p[5] > '9')
		return -EBADMSG;
	msg->str[STR(OSP_S_HTTP_VERSION)] = osp_slice(p + 5, n - 5);
	return 0;
}

/* A minor version that is not known is as good as the one that is (RFC 9110 2.5). */
static bool is_http1(const struct osp_msg *msg)
{
	struct osp_slice v = msg->str[STR(OSP_S_HTTP_VERSION)];

	return v.n == 3 && v.p[0] == '1' && v.p[1] == '.' && v.p[2] >= '0' && v.p[2] <= '9';
}

/* "METHOD SP target SP version"; a target with spaces in it goes to the last one. */
static int request_line(struct osp_msg *msg, struct osp_slice line)
{
	const char *sp = memchr(line.p, ' ', line.n);
	const char *last = memrchr(line.p, ' ', line.n);
	uint32_t i;

	if (!sp || last <= sp)
		return -EBADMSG;
	for (i = 0; line.p + i < sp; i++) {
		if (!is_tchar((unsigned char)line.p[i]))
			return -EBADMSG;
	}
	if (!i)
		return -EBADMSG;
	msg->str[STR(OSP_S_METHOD)] = osp_slice(line.p, i);
	msg->str[STR(OSP_S_TARGET)] = trim(osp_slice(sp + 1, (size_t)(last - sp - 1)));
	return set_version(msg, last + 1, (uint32_t)(line.p + line.n - last - 1));
}

static int status_line(struct osp_msg *msg, struct osp_slice line)
{
	const char *p = memchr(line.p, ' ', line.n), *end = line.p + line.n;
	int i;

	if (!p || set_version(msg, line.p, (uint32_t)(p - line.p)))
		return -EBADMSG;
	while (p < end && *p == ' ')
		p++;
	msg->status = 0;
	for (i = 0; i < 3; i++, p++) {
		if (p == end || *p < '0' || *p > '9')
			return -EBADMSG;
		msg->status = (uint16_t)(msg->status * 10 + (*p - '0'));
	}
	if (p < end && *p != ' ')
		return -EBADMSG;
	if (trim(osp_slice(p, (size_t)(end - p))).n)
		msg->str[STR(OSP_S_REASON)] = trim(osp_slice(p, (size_t)(end - p)));
	return msg->status < 100 ? -EBADMSG : 0;
}

static int start_line(struct osp_msg *msg, struct osp_slice line)
{
	return msg->kind == OSP_REQ ? request_line(msg, line) : status_line(msg, line);
}

/* ---- headers --------------------------------------------------------------------------------- */

/* One number of a Content-Length; several equal ones are one, of different ones the first counts
 * (RFC 9112 6.3 calls that an error; endpoints do not agree, the next message shows).
 */
static void content_length(struct osp_msg *msg, struct osp_slice v)
{
	uint64_t n = 0;
	uint32_t i;

	if (!v.n)
		goto bad;
	for (i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9' || n > (UINT64_MAX >> 1) / 10 - 1)
			goto bad;
		n = n * 10 + (uint64_t)(v.p[i] - '0');
	}
	if (msg->has_cl && msg->content_length != n) {
		msg->anomalies |= OSP_RA_MULTIPLE_CL;
		return;
	}
	msg->has_cl = true;
	msg->content_length = n;
	return;
bad:
	msg->cl_bad = true;
	msg->anomalies |= OSP_RA_BAD_CL;
}

/* Calls fn for each element of a comma-separated list. */
static void each_element(struct osp_msg *msg, struct osp_slice v,
			 void (*fn)(struct osp_msg *, struct osp_slice))
{
	const char *comma;

	while ((comma = memchr(v.p, ',', v.n))) {
		fn(msg, trim(osp_slice(v.p, (size_t)(comma - v.p))));
		v.n -= (uint32_t)(comma + 1 - v.p);
		v.p = comma + 1;
	}
	fn(msg, trim(v));
}

/* The last coding decides; "identity" was taken out of HTTP and never meant anything. */
static void transfer_coding(struct osp_msg *msg, struct osp_slice v)
{
	const char *semi = v.n ? memchr(v.p, ';', v.n) : NULL;

	if (semi)
		v = trim(osp_slice(v.p, (size_t)(semi - v.p)));
	if (!v.n || slice_is(v, "identity"))
		return;
	msg->te = true;
	msg->te_chunked = slice_is(v, "chunked");
}

static void upgrade(struct osp_msg *msg, struct osp_slice v)
{
	if (slice_is(v, "websocket"))
		msg->websocket = true;
}

static void lift(struct osp_msg *msg, int id, struct osp_slice v)
{
	if (!msg->str[STR(id)].p)
		msg->str[STR(id)] = v;
}

static void header_request(struct osp_msg *msg, struct osp_slice name, struct osp_slice v)
{
	if (slice_is(name, "host"))
		lift(msg, OSP_S_HOST, v);
	else if (slice_is(name, "user-agent"))
		lift(msg, OSP_S_USER_AGENT, v);
	else if (slice_is(name, "traceparent"))
		lift(msg, OSP_S_TRACEPARENT, v);
	else if (slice_is(name, "x-request-id"))
		lift(msg, OSP_S_REQUEST_ID, v);
	else if (slice_is(name, "expect"))
		msg->expect = slice_is(v, "100-continue");
}

static bool is_name(struct osp_slice s)
{
	uint32_t i;

	for (i = 0; i < s.n && tchar[(unsigned char)s.p[i]]; i++)
		;
	return s.n && i == s.n;
}

static void header_add(struct osp_msg *msg, struct osp_slice name, struct osp_slice v)
{
	bool req = msg->kind == OSP_REQ;

	v = trim(v);
	if (!is_name(name))
		msg->anomalies |= OSP_RA_BAD_HEAD;
	if (memchr(v.p, '\n', v.n))
		msg->anomalies |= OSP_RA_OBS_FOLD;
	else if (memchr(v.p, '\r', v.n))
		msg->anomalies |= OSP_RA_BAD_HEAD;
	if (msg->header_n < OSP_HEADERS_MAX)
		msg->header[msg->header_n++] = (struct osp_header){ name, v };
	else
		msg->truncated = true;
	if (slice_is(name, "content-length")) {
		each_element(msg, v, content_length);
	} else if (slice_is(name, "transfer-encoding")) {
		lift(msg, req ? OSP_S_REQ_TRANSFER_ENCODING : OSP_S_RES_TRANSFER_ENCODING, v);
		each_element(msg, v, transfer_coding);
	} else if (slice_is(name, "content-type")) {
		lift(msg, req ? OSP_S_REQ_CONTENT_TYPE : OSP_S_RES_CONTENT_TYPE, v);
	} else if (slice_is(name, "content-encoding")) {
		msg->codings |= msg->str[STR(req ? OSP_S_REQ_CONTENT_ENCODING :
						   OSP_S_RES_CONTENT_ENCODING)].p != NULL;
		lift(msg, req ? OSP_S_REQ_CONTENT_ENCODING : OSP_S_RES_CONTENT_ENCODING, v);
	} else if (slice_is(name, "upgrade")) {
		each_element(msg, v, upgrade);
	} else if (req) {
		header_request(msg, name, v);
	}
}

/* ---- the tolerant way ------------------------------------------------------------------------ */

/* Takes the next line off *rest, without its end. */
static struct osp_slice next_line(struct osp_msg *msg, struct osp_slice *rest)
{
	const char *nl = memchr(rest->p, '\n', rest->n);
	struct osp_slice line = *rest;

	if (nl)
		line.n = (uint32_t)(nl - rest->p);
	rest->p += nl ? line.n + 1 : line.n;
	rest->n -= nl ? line.n + 1 : line.n;
	if (line.n && line.p[line.n - 1] == '\r')
		line.n--;
	else if (nl)
		msg->anomalies |= OSP_RA_BARE_LF;
	return line;
}

/* A header line that ends at its colon; lines that begin with blank space continue the one before
 * (RFC 9112 5.2), those without a colon are nobody's.
 */
static void split_header(struct osp_msg *msg, struct osp_slice line)
{
	const char *colon = memchr(line.p, ':', line.n);
	struct osp_slice name;

	if (!colon || colon == line.p) {
		msg->anomalies |= OSP_RA_BAD_HEAD;
		return;
	}
	name = osp_slice(line.p, (size_t)(colon - line.p));
	if (is_ows(name.p[name.n - 1])) {
		msg->anomalies |= OSP_RA_SPACE_BEFORE_COLON;
		name = trim(name);
	}
	header_add(msg, name, osp_slice(colon + 1, line.n - (size_t)(colon + 1 - line.p)));
}

static int split_head(struct osp_msg *msg, const char *p, uint32_t n)
{
	struct osp_slice rest = osp_slice(p, n), line, more;

	if (start_line(msg, next_line(msg, &rest)))
		return -EBADMSG;
	while (rest.n) {
		line = next_line(msg, &rest);
		if (!line.n)
			break;
		while (rest.n && (*rest.p == ' ' || *rest.p == '\t')) {
			more = next_line(msg, &rest);
			line.n = (uint32_t)(more.p + more.n - line.p);
		}
		split_header(msg, line);
	}
	return 0;
}

/* ---- llhttp ---------------------------------------------------------------------------------- */

static void flush_header(struct head *head)
{
	if (head->in_value) {
		if (head->name.n && (head->name.p[head->name.n] != ':' ||
				     is_ows(head->name.p[head->name.n - 1])))
			head->msg->anomalies |= OSP_RA_SPACE_BEFORE_COLON;
		header_add(head->msg, trim(head->name), head->value);
	}
	head->in_value = false;
	head->name = head->value = osp_slice(NULL, 0);
}

/* A string can come in several calls (folded values); all of them lie in the same memory. */
static void extend(struct osp_slice *s, const char *at, size_t n)
{
	if (!s->p)
		s->p = at;
	s->n = (uint32_t)(at + n - s->p);
}

static int on_name(llhttp_t *ll, const char *at, size_t n)
{
	struct head *head = ll->data;

	if (head->in_value)
		flush_header(head);
	extend(&head->name, at, n);
	return 0;
}

static int on_value(llhttp_t *ll, const char *at, size_t n)
{
	struct head *head = ll->data;

	head->in_value = true;
	extend(&head->value, at, n);
	return 0;
}

/* Some values come without any call: an empty one. */
static int on_value_done(llhttp_t *ll)
{
	struct head *head = ll->data;

	if (!head->value.p)
		head->value = osp_slice(head->name.p + head->name.n, 0);
	head->in_value = true;
	flush_header(head);
	return 0;
}

static int on_complete(llhttp_t *ll)
{
	struct head *head = ll->data;

	flush_header(head);
	head->done = true;
	return HPE_PAUSED;	/* bodies are framed in http1.c */
}

static const llhttp_settings_t settings = {
	.on_header_field = on_name,
	.on_header_value = on_value,
	.on_header_value_complete = on_value_done,
	.on_headers_complete = on_complete,
};

/* HPE_OK, or why llhttp would not have it. */
static llhttp_errno_t llhttp_head(struct osp_msg *msg, const char *p, uint32_t n)
{
	struct head head = { .msg = msg };
	llhttp_errno_t err;
	llhttp_t ll;

	llhttp_init(&ll, msg->kind == OSP_REQ ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
	llhttp_set_lenient_headers(&ll, 1);
	llhttp_set_lenient_chunked_length(&ll, 1);
	llhttp_set_lenient_keep_alive(&ll, 1);
	llhttp_set_lenient_transfer_encoding(&ll, 1);
	ll.data = &head;
	err = llhttp_execute(&ll, p, n);
	if (head.done)
		return HPE_OK;
	return err == HPE_OK ? HPE_INVALID_EOF_STATE : err;
}

static void forget_headers(struct osp_msg *msg)
{
	memset(msg->str, 0, sizeof(msg->str));
	msg->header_n = 0;
	msg->has_cl = msg->cl_bad = msg->te = msg->te_chunked = false;
	msg->expect = msg->websocket = msg->truncated = msg->codings = false;
	msg->content_length = 0;
}

static void set_answers(struct osp_msg *msg)
{
	struct osp_slice m = msg->str[STR(OSP_S_METHOD)];

	msg->answers = OSP_ANS_OTHER;
	if (m.n == 4 && !memcmp(m.p, "HEAD", 4))	/* methods are case-sensitive */
		msg->answers = OSP_ANS_HEAD;
	else if (m.n == 7 && !memcmp(m.p, "CONNECT", 7))
		msg->answers = OSP_ANS_CONNECT;
}

int osp_http1_head(struct osp_msg *msg, const char *p, uint32_t n)
{
	uint32_t before = msg->anomalies;
	struct osp_slice rest = osp_slice(p, n);
	llhttp_errno_t err;

	msg->head_bytes = n;
	forget_headers(msg);
	err = llhttp_head(msg, p, n);
	if (err || start_line(msg, next_line(msg, &rest))) {
		forget_headers(msg);
		msg->anomalies = before;
		if (split_head(msg, p, n))
			return -EBADMSG;
		/* Methods of their own and equal lengths are no fault; others have a name now. */
		if (msg->anomalies == before && err != HPE_INVALID_METHOD &&
		    err != HPE_UNEXPECTED_CONTENT_LENGTH && err != HPE_INVALID_CONTENT_LENGTH &&
		    (err != HPE_INVALID_VERSION || !is_http1(msg)))
			msg->anomalies |= OSP_RA_BAD_HEAD;
	}
	if (msg->te && msg->has_cl)
		msg->anomalies |= OSP_RA_CL_TE;
	if (msg->te && !msg->te_chunked)
		msg->anomalies |= OSP_RA_TE_NOT_CHUNKED;
	if (msg->kind == OSP_REQ)
		set_answers(msg);
	return 0;
}

void osp_http1_simple_head(struct osp_msg *msg, const char *p, uint32_t n)
{
	if (n < 2 || p[n - 2] != '\r')
		msg->anomalies |= OSP_RA_BARE_LF;
	msg->head_bytes = n;
	msg->str[STR(OSP_S_HTTP_VERSION)] = osp_slice("0.9", 3);
	msg->str[STR(OSP_S_METHOD)] = osp_slice(p, 3);
	msg->str[STR(OSP_S_TARGET)] = trim(osp_slice(p + 4, n - 4));
}
