/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compare.c: two records of one exchange, field by field, each by its class.
 *
 *   exact    strings and codes are equal as sent; hosts and header names without regard to case
 *   bytes    sizes are equal; where a side says that it did not see all, they are uncertain
 *   headers  the same set; order does not matter, redacted values are not looked at
 *   digest   equal
 *   time     after the clocks' offset, within tol + tol_pct %; a difference only if asked for
 *   half     one side has a message that the other has not
 *
 * A field that one side's format does not have is not compared. Between records of ours an absent
 * string is a fact (the header was not there), so there absent and present differ.
 */
#include "recon/recon.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct cmp {
	const struct rc_model *m;
	const struct osp_record *r[2];
	struct rc_diffs *out;
	bool native; /* both sides */
	bool unsure; /* one of them did not see all */
};

static struct rc_diff *add(struct cmp *c, enum rc_field field, enum rc_class cls)
{
	struct rc_diff *d = &c->out->d[c->out->n++];

	*d = (struct rc_diff){ .field = (uint8_t)field, .cls = (uint8_t)cls };
	if (cls != RC_CLASS_UNCERTAIN)
		c->out->differs = true;
	return d;
}

static void put_slice(char *out, size_t cap, struct osp_slice s)
{
	if (!s.p)
		snprintf(out, cap, "(absent)");
	else
		snprintf(out, cap, "%.*s", s.n < cap ? (int)s.n : (int)cap - 1, s.p);
}

/* ---- exact ---------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* The next byte of a percent-encoded string, decoded. */
static int next_decoded(struct osp_slice s, uint32_t *i)
{
	char c = s.p[(*i)++];

	if (c == '%' && *i + 1 < s.n && hex_digit(s.p[*i]) >= 0 && hex_digit(s.p[*i + 1]) >= 0) {
		c = (char)(hex_digit(s.p[*i]) << 4 | hex_digit(s.p[*i + 1]));
		*i += 2;
	}
	return (unsigned char)c;
}

static bool equal_decoded(struct osp_slice a, struct osp_slice b)
{
	uint32_t i = 0, j = 0;

	while (i < a.n && j < b.n)
		if (next_decoded(a, &i) != next_decoded(b, &j))
			return false;
	return i == a.n && j == b.n;
}

static bool equal(struct cmp *c, enum rc_field field, struct osp_slice a, struct osp_slice b)
{
	if (field == RC_FIELD_HOST)
		return a.n == b.n && !strncasecmp(a.p, b.p, a.n);
	if (field == RC_FIELD_TARGET &&
	    (c->m->side[0].decoded_target || c->m->side[1].decoded_target))
		return equal_decoded(a, b);
	return a.n == b.n && !memcmp(a.p, b.p, a.n);
}

static void cmp_string(struct cmp *c, enum rc_field field, enum osp_rec_str which)
{
	struct osp_slice a = c->r[0]->str[which], b = c->r[1]->str[which];
	struct rc_diff *d;

	if (a.p && b.p ? equal(c, field, a, b) : !a.p == !b.p || !c->native)
		return;
	d = add(c, field, RC_CLASS_EXACT);
	put_slice(d->a, sizeof(d->a), a);
	put_slice(d->b, sizeof(d->b), b);
}

static void cmp_request(struct cmp *c)
{
	cmp_string(c, RC_FIELD_METHOD, OSP_S_METHOD);
	cmp_string(c, RC_FIELD_TARGET, OSP_S_TARGET);
	cmp_string(c, RC_FIELD_HOST, OSP_S_HOST);
	cmp_string(c, RC_FIELD_USER_AGENT, OSP_S_USER_AGENT);
	cmp_string(c, RC_FIELD_REQ_CONTENT_TYPE, OSP_S_REQ_CONTENT_TYPE);
	cmp_string(c, RC_FIELD_REQ_CONTENT_ENCODING, OSP_S_REQ_CONTENT_ENCODING);
	cmp_string(c, RC_FIELD_REQ_TRANSFER_ENCODING, OSP_S_REQ_TRANSFER_ENCODING);
}

static void interim_text(char *out, size_t cap, const struct osp_rec_msg *msg)
{
	size_t n = 0;

	snprintf(out, cap, "(none)");
	for (int i = 0; i < msg->interim_n && n < cap; i++)
		n += (size_t)snprintf(out + n, cap - n, "%s%u", i ? "," : "", msg->interim[i]);
}

static void cmp_response(struct cmp *c)
{
	const struct osp_rec_msg *a = &c->r[0]->msg[OSP_RES], *b = &c->r[1]->msg[OSP_RES];
	bool as = a->has & OSP_MH_STATUS, bs = b->has & OSP_MH_STATUS;
	struct rc_diff *d;

	if (as && bs ? a->status != b->status : as != bs && c->native) {
		d = add(c, RC_FIELD_STATUS, RC_CLASS_EXACT);
		snprintf(d->a, sizeof(d->a), as ? "%u" : "(absent)", a->status);
		snprintf(d->b, sizeof(d->b), bs ? "%u" : "(absent)", b->status);
	}
	if (c->native && (a->interim_n != b->interim_n ||
			  memcmp(a->interim, b->interim, a->interim_n * sizeof(*a->interim)))) {
		d = add(c, RC_FIELD_INTERIM, RC_CLASS_EXACT);
		interim_text(d->a, sizeof(d->a), a);
		interim_text(d->b, sizeof(d->b), b);
	}
	cmp_string(c, RC_FIELD_REASON, OSP_S_REASON);
	cmp_string(c, RC_FIELD_RES_CONTENT_TYPE, OSP_S_RES_CONTENT_TYPE);
	cmp_string(c, RC_FIELD_RES_CONTENT_ENCODING, OSP_S_RES_CONTENT_ENCODING);
	cmp_string(c, RC_FIELD_RES_TRANSFER_ENCODING, OSP_S_RES_TRANSFER_ENCODING);
}

/* ---- bytes ---------------------------------------------------------------------------------- */

/* Known on one side only: the other says nothing (no Content-Length is a fact, though). */
static void cmp_size(struct cmp *c, enum rc_field field, bool a_has, uint64_t a, bool b_has,
		     uint64_t b, bool absent_counts)
{
	struct rc_diff *d;

	if (a_has && b_has ? a == b : a_has == b_has || !absent_counts)
		return;
	d = add(c, field, c->unsure ? RC_CLASS_UNCERTAIN : RC_CLASS_BYTES);
	snprintf(d->a, sizeof(d->a), a_has ? "%llu" : "(absent)", (unsigned long long)a);
	snprintf(d->b, sizeof(d->b), b_has ? "%llu" : "(absent)", (unsigned long long)b);
}

static void cmp_sizes(struct cmp *c, int e)
{
	const struct osp_rec_msg *a = &c->r[0]->msg[e], *b = &c->r[1]->msg[e];
	int off = e == OSP_RES;
	enum osp_rec_str coding = off ? OSP_S_RES_CONTENT_ENCODING : OSP_S_REQ_CONTENT_ENCODING;
	/* Zeek counts after decompression. */
	bool encoded = !c->native && (c->r[0]->str[coding].p || c->r[1]->str[coding].p);

#define BOTH(bit, member) a->has &(bit), a->member, b->has &(bit), b->member
	cmp_size(c, RC_FIELD_REQ_HEAD + off, BOTH(OSP_MH_HEAD_BYTES, head_bytes), false);
	if (!encoded)
		cmp_size(c, RC_FIELD_REQ_BODY + off, BOTH(OSP_MH_BODY, body_bytes), false);
	cmp_size(c, RC_FIELD_REQ_WIRE + off, BOTH(OSP_MH_BODY_WIRE, body_wire_bytes), false);
	cmp_size(c, RC_FIELD_REQ_LENGTH + off, BOTH(OSP_MH_CONTENT_LENGTH, content_length),
		 c->native);
#undef BOTH
}

/* ---- headers, digests ----------------------------------------------------------------------- */

static bool same_header(const struct osp_rec_header *a, const struct osp_rec_header *b)
{
	return a->name.n == b->name.n && !strncasecmp(a->name.p, b->name.p, a->name.n) &&
	       (a->redacted || b->redacted ||
		(a->value.n == b->value.n && !memcmp(a->value.p, b->value.p, a->value.n)));
}

/* How often h is in msg; with duplicates the counts must agree. */
static uint32_t count_of(const struct osp_rec_msg *msg, const struct osp_rec_header *h)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < msg->header_n; i++)
		n += same_header(&msg->header[i], h);
	return n;
}

/* Headers of x that y has not, or not as often: "Name: value" of the first, and how many more. */
static uint32_t missing_in(const struct osp_rec_msg *x, const struct osp_rec_msg *y, char *out,
			   size_t cap)
{
	uint32_t n = 0;

	snprintf(out, cap, "(same)");
	for (uint32_t i = 0; i < x->header_n; i++) {
		const struct osp_rec_header *h = &x->header[i];

		if (count_of(x, h) == count_of(y, h) || n++)
			continue;
		snprintf(out, cap, "%.*s: %.*s", h->name.n < 60 ? (int)h->name.n : 60, h->name.p,
			 h->value.n < 80 ? (int)h->value.n : 80, h->value.p);
	}
	return n;
}

static void cmp_headers(struct cmp *c, int e)
{
	const struct osp_rec_msg *a = &c->r[0]->msg[e], *b = &c->r[1]->msg[e];
	char ta[160], tb[160];
	struct rc_diff *d;

	/* 256 KiB of head can hold 60,000 headers: quadratic only up to what servers accept. */
	if (!a->header || !b->header || a->header_n > 2000 || b->header_n > 2000)
		return;
	if (!(missing_in(a, b, ta, sizeof(ta)) + missing_in(b, a, tb, sizeof(tb))))
		return;
	d = add(c, RC_FIELD_REQ_HEADERS + (e == OSP_RES), RC_CLASS_HEADERS);
	memcpy(d->a, ta, sizeof(d->a));
	memcpy(d->b, tb, sizeof(d->b));
}

static void cmp_digest(struct cmp *c, int e)
{
	const struct osp_rec_msg *a = &c->r[0]->msg[e], *b = &c->r[1]->msg[e];
	struct rc_diff *d;

	if (!(a->has & b->has & OSP_MH_DIGEST) || a->digest == b->digest)
		return;
	d = add(c, RC_FIELD_REQ_DIGEST + (e == OSP_RES),
		c->unsure ? RC_CLASS_UNCERTAIN : RC_CLASS_DIGEST);
	snprintf(d->a, sizeof(d->a), "xxh64:%016llx", (unsigned long long)a->digest);
	snprintf(d->b, sizeof(d->b), "xxh64:%016llx", (unsigned long long)b->digest);
}

/* ---- time ----------------------------------------------------------------------------------- */

static bool far_apart(const struct cmp *c, int64_t d, int64_t of)
{
	return llabs(d) > c->m->conf->tol_ns + llabs(of) / 100 * c->m->conf->tol_pct;
}

static void cmp_duration(struct cmp *c, enum rc_field field, uint8_t bit, int64_t a, int64_t b)
{
	struct rc_diff *d;

	if (!(c->r[0]->has_timing & c->r[1]->has_timing & bit) || !far_apart(c, b - a, a))
		return;
	d = add(c, field, RC_CLASS_TIME);
	rc_text_ns(d->a, sizeof(d->a), a);
	rc_text_ns(d->b, sizeof(d->b), b);
}

static void cmp_times(struct cmp *c)
{
	const struct osp_record *a = c->r[0], *b = c->r[1];
	const struct rc_clock *ck = &c->m->clock;
	int64_t rest = b->ts_ns - rc_clock_to_b(ck, a->ts_ns);
	struct rc_diff *d;

	if (ck->estimated && far_apart(c, rest, 20 * (a->has_timing & 2 ? a->duration_ns : 0)) &&
	    llabs(rest) > 10 * ck->mad) {
		d = add(c, RC_FIELD_TS, RC_CLASS_TIME);
		snprintf(d->a, sizeof(d->a), "0 ns");
		rc_text_ns(d->b, sizeof(d->b), rest);
	}
	cmp_duration(c, RC_FIELD_TTFB, 1, a->ttfb_ns, b->ttfb_ns);
	cmp_duration(c, RC_FIELD_DURATION, 2, a->duration_ns, b->duration_ns);
}

/* ---- all ------------------------------------------------------------------------------------ */

/* What both sides have: 1 compare, 0 neither has it, -1 a half is missing (and noted). */
static int halves(struct cmp *c, int e)
{
	bool a = c->r[0]->msg[e].has & OSP_MH_MSG, b = c->r[1]->msg[e].has & OSP_MH_MSG;
	struct rc_diff *d;

	if (a == b)
		return a;
	d = add(c, e == OSP_REQ ? RC_FIELD_REQUEST : RC_FIELD_RESPONSE, RC_CLASS_HALF);
	snprintf(d->a, sizeof(d->a), a ? "(there)" : "(missing)");
	snprintf(d->b, sizeof(d->b), b ? "(there)" : "(missing)");
	return -1;
}

static bool unsure(const struct osp_record *rec)
{
	return (rec->flags & (OSP_RF_GAP | OSP_RF_TRUNCATED)) || rec->outcome == OSP_OUT_GAP ||
	       rec->outcome == OSP_OUT_SHED || rec->lost_bytes;
}

static void cmp_outcome(struct cmp *c)
{
	struct rc_diff *d;

	/* A missing half says it already. */
	if (c->r[0]->outcome == c->r[1]->outcome || !c->native)
		return;
	d = add(c, RC_FIELD_OUTCOME, RC_CLASS_EXACT);
	snprintf(d->a, sizeof(d->a), "%s", osp_outcome_name(c->r[0]->outcome));
	snprintf(d->b, sizeof(d->b), "%s", osp_outcome_name(c->r[1]->outcome));
}

void rc_compare(const struct rc_model *m, const struct osp_record *a, const struct osp_record *b,
		struct rc_diffs *out)
{
	struct cmp c = { .m = m,
			 .r = { a, b },
			 .out = out,
			 .native = m->side[0].native && m->side[1].native,
			 .unsure = unsure(a) || unsure(b) };
	int req, res;

	out->n = 0;
	out->differs = false;
	req = halves(&c, OSP_REQ);
	res = halves(&c, OSP_RES);
	if (req > 0)
		cmp_request(&c);
	if (res > 0)
		cmp_response(&c);
	if (req > 0 || res > 0)
		cmp_string(&c, RC_FIELD_VERSION, OSP_S_HTTP_VERSION);
	if (req >= 0 && res >= 0)
		cmp_outcome(&c);
	for (int e = 0; e < OSP_ENDS; e++) {
		if ((e == OSP_REQ ? req : res) <= 0)
			continue;
		cmp_sizes(&c, e);
		cmp_headers(&c, e);
		cmp_digest(&c, e);
	}
	if (m->conf->strict_timing)
		cmp_times(&c);
}

bool rc_rows_agree(const struct rc_row *a, const struct rc_row *b)
{
	const uint16_t parts = RC_F_DIGEST | RC_F_HEADERS, half = RC_F_REQ | RC_F_RES;
	uint16_t both = a->flags & b->flags & parts;

	if (a->core != b->core || a->size != b->size || ((a->flags ^ b->flags) & half))
		return false;
	if (!both || (a->extra == b->extra && !((a->flags ^ b->flags) & parts)))
		return true;
	return false;
}
