/* SPDX-License-Identifier: GPL-3.0-or-later */
/* text.c: values as text. What came from the network is escaped for wherever it goes: a target may
 * hold terminal escapes, tags, quotes.
 */
#include "recon/recon.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Length of the well-formed UTF-8 sequence of two to four bytes at p, 0 if there is none (RFC 3629:
 * no overlong forms, no surrogates, nothing above U+10FFFF).
 */
static size_t utf8_len(const uint8_t *p, size_t left)
{
	uint8_t lo = 0x80, hi = 0xbf;
	size_t n = *p >= 0xc2 && *p <= 0xdf   ? 2
		   : *p >= 0xe0 && *p <= 0xef ? 3
		   : *p >= 0xf0 && *p <= 0xf4 ? 4
					      : 0;

	if (!n || left < n)
		return 0;
	if (*p == 0xe0)
		lo = 0xa0;
	else if (*p == 0xed)
		hi = 0x9f;
	else if (*p == 0xf0)
		lo = 0x90;
	else if (*p == 0xf4)
		hi = 0x8f;
	if (p[1] < lo || p[1] > hi)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

static void json_byte(FILE *to, uint8_t c)
{
	if (c == '"' || c == '\\')
		fprintf(to, "\\%c", c);
	else if (c < 0x20 || c >= 0x7f)
		fprintf(to, "\\u%04x", c);
	else
		fputc(c, to);
}

static void html_byte(FILE *to, uint8_t c)
{
	switch (c) {
	case '&':
		fputs("&amp;", to);
		break;
	case '<':
		fputs("&lt;", to);
		break;
	case '>':
		fputs("&gt;", to);
		break;
	case '"':
		fputs("&quot;", to);
		break;
	case '\'':
		fputs("&#39;", to);
		break;
	default:
		if (c < 0x20 || c >= 0x7f)
			fprintf(to, "\\x%02x", c);
		else
			fputc(c, to);
	}
}

/* Well-formed UTF-8 as it is, all other bytes by put. */
static void put_text(FILE *to, const char *s, size_t n, void (*put)(FILE *to, uint8_t c))
{
	const uint8_t *p = (const uint8_t *)s;

	for (size_t i = 0, k; i < n; i += k ? k : 1) {
		k = p[i] >= 0x80 ? utf8_len(p + i, n - i) : 0;
		if (k)
			fwrite(p + i, 1, k, to);
		else
			put(to, p[i]);
	}
}

void rc_put_json(FILE *to, const char *s, size_t n)
{
	fputc('"', to);
	put_text(to, s, n, json_byte);
	fputc('"', to);
}

void rc_put_html(FILE *to, const char *s, size_t n)
{
	put_text(to, s, n, html_byte);
}

void rc_put_time(FILE *to, int64_t ns)
{
	time_t sec = (time_t)(ns / RC_NS_PER_S);
	long frac = (long)(ns % RC_NS_PER_S);
	struct tm tm;
	char buf[32];

	if (frac < 0) {
		frac += RC_NS_PER_S;
		sec--;
	}
	gmtime_r(&sec, &tm);
	strftime(buf, sizeof(buf), "%Y-%m-%dT%H:%M:%S", &tm);
	fprintf(to, "%s.%09ldZ", buf, frac);
}

const char *rc_text_ns(char *buf, size_t cap, int64_t ns)
{
	double v = (double)llabs(ns);
	const char *sign = ns < 0 ? "-" : "";

	if (v < 1e3)
		snprintf(buf, cap, "%s%.0f ns", sign, v);
	else if (v < 1e6)
		snprintf(buf, cap, "%s%.3g us", sign, v / 1e3);
	else if (v < 1e9)
		snprintf(buf, cap, "%s%.3g ms", sign, v / 1e6);
	else if (v < 100e9)
		snprintf(buf, cap, "%s%.3g s", sign, v / 1e9);
	else
		snprintf(buf, cap, "%s%.0f s", sign, v / 1e9);
	return buf;
}

const char *rc_text_n(char *buf, size_t cap, uint64_t n)
{
	char tmp[32];
	int len = snprintf(tmp, sizeof(tmp), "%" PRIu64, n), k = 0;

	for (int i = 0; i < len && (size_t)k + 2 < cap; i++) {
		if (i && (len - i) % 3 == 0)
			buf[k++] = ',';
		buf[k++] = tmp[i];
	}
	buf[k] = 0;
	return buf;
}

const char *rc_text_end(char *buf, size_t cap, const struct rc_net *net, uint32_t conn, int end)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const struct rc_conn *c = &net->conn[conn];
	const uint8_t *ip = net->addr[c->addr[end]].ip;
	char text[INET6_ADDRSTRLEN];

	if (!conn)
		snprintf(buf, cap, "?");
	else if (!memcmp(ip, mapped, sizeof(mapped)))
		snprintf(buf, cap, "%s:%u", inet_ntop(AF_INET, ip + 12, text, sizeof(text)),
			 c->port[end]);
	else
		snprintf(buf, cap, "[%s]:%u", inet_ntop(AF_INET6, ip, text, sizeof(text)),
			 c->port[end]);
	return buf;
}

static size_t put_plain(char *buf, size_t cap, size_t at, const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;

	for (size_t i = 0; i < n && at + 5 < cap; i++) {
		if (p[i] >= 0x20 && p[i] < 0x7f)
			buf[at++] = (char)p[i];
		else
			at += (size_t)snprintf(buf + at, cap - at, "\\x%02x", p[i]);
	}
	if (at < cap)
		buf[at] = 0;
	return at;
}

const char *rc_text_txn(char *buf, size_t cap, const struct osp_record *rec)
{
	struct osp_slice m = rec->str[OSP_S_METHOD], t = rec->str[OSP_S_TARGET];
	size_t at = 0, room = cap > 16 ? cap - 16 : 0;

	buf[0] = 0;
	if (!(rec->msg[OSP_REQ].has & OSP_MH_MSG)) {
		at = put_plain(buf, room, at, "(no request)", 12);
	} else {
		if (m.p)
			at = put_plain(buf, room, at, m.p, m.n);
		at = put_plain(buf, room, at, " ", 1);
		if (t.p)
			at = put_plain(buf, room, at, t.p, t.n);
	}
	if (rec->msg[OSP_RES].has & OSP_MH_STATUS)
		snprintf(buf + at, cap - at, " -> %u", rec->msg[OSP_RES].status);
	else
		snprintf(buf + at, cap - at, " -> -");
	return buf;
}

const char *rc_text_verdict(char *buf, size_t cap, const struct rc_model *m, int verdict)
{
	if (verdict == RC_ONLY_A || verdict == RC_ONLY_B)
		snprintf(buf, cap, "only-%s", m->side[verdict == RC_ONLY_B].name);
	else
		snprintf(buf, cap, "%s", rc_verdict_name(verdict));
	return buf;
}
