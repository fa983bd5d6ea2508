/* SPDX-License-Identifier: GPL-3.0-or-later */
/* verdict.c: goes over all connections once, says what each row is, and adds up.
 *
 * Every row that counts gets exactly one verdict, which is checked at the end:
 * 2 match + 2 differs + only-A + only-B + ambiguous = rows of both sides.
 */
#include "agent/base/opt.h"
#include "recon/recon.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

struct judge {
	struct rc_model *m;
	rc_view_fn fn;
	void *ctx;
	struct rc_detail det[2];
	struct rc_diffs diffs;
};

/* From a side's first record to its last. None: 0; further apart than can be: damaged times. */
static int64_t span_of(const struct rc_side *sd)
{
	int64_t span;

	if (sd->last_ns < sd->first_ns)
		return 0;
	return __builtin_sub_overflow(sd->last_ns, sd->first_ns, &span) ? INT64_MAX : span;
}

/* How much is cut from both ends of the common time: as long as exchanges take (99.9 %), for one
 * that was under way is on one side only; at most a twentieth of the time there is.
 */
static int64_t find_guard(const struct rc_model *m)
{
	struct rc_hist *h = calloc(1, sizeof(*h));
	int64_t guard = 0, span = span_of(&m->side[0]);

	if (m->conf->guard_ns >= 0 || !h) {
		free(h);
		return m->conf->guard_ns >= 0 ? m->conf->guard_ns : 0;
	}
	for (int s = 0; s < 2; s++)
		for (uint32_t i = 0; i < m->side[s].row_n; i += 1 + m->side[s].row_n / 100000)
			if (m->side[s].row[i].flags & RC_F_DUR)
				rc_hist_add(h, rc_long_time(m->side[s].row[i].dur));
	guard = rc_hist_at(h, 0.999) + 3 * m->clock.mad;
	if (span_of(&m->side[1]) < span)
		span = span_of(&m->side[1]);
	free(h);
	return guard > span / 20 ? span / 20 : guard;
}

/* ---- adding up ------------------------------------------------------------------------------ */

static void on_line(struct rc_model *m, int verdict, int64_t t)
{
	struct rc_result *res = &m->res;
	/* In floating point: damaged times can be centuries apart. */
	double span = (double)res->to - (double)res->from + 1;
	double at = ((double)t - (double)res->from) / span * RC_TIME_BINS;

	if (at < 0)
		at = 0;
	if (at > RC_TIME_BINS - 1)
		at = RC_TIME_BINS - 1;
	res->line[verdict][(uint32_t)at]++;
}

static void sample(struct rc_model *m, const struct rc_view *v)
{
	struct rc_result *res = &m->res;
	struct rc_sample *sm;

	/* Explained ones fill at most half: the unexplained are what one came for. */
	if (res->sample_n == RC_SAMPLES_MAX ||
	    (v->reason != RC_WHY_UNEXPLAINED && res->sample_n >= RC_SAMPLES_MAX / 2))
		return;
	sm = &res->sample[res->sample_n++];
	*sm = (struct rc_sample){ .verdict = (uint8_t)v->verdict, .reason = (uint8_t)v->reason };
	for (int s = 0; s < 2; s++) {
		sm->row[s] = v->row[s] ? (uint32_t)(v->row[s] - m->side[s].row) : RC_NONE;
		sm->conn[s] = v->conn[s];
	}
	for (uint32_t i = 0; v->diffs && i < v->diffs->n; i++)
		sm->fields |= 1u << v->diffs->d[i].field;
}

static int emit(struct judge *j, struct rc_view *v)
{
	struct rc_model *m = j->m;
	int64_t t = v->row[0] ? v->row[0]->ts : rc_clock_to_a(&m->clock, v->row[1]->ts);

	m->res.verdict[v->verdict]++;
	on_line(m, v->verdict, t);
	if (v->verdict == RC_AMBIGUOUS)
		m->res.ambiguous_side[!v->row[0]]++;
	if (v->verdict != RC_MATCH)
		sample(m, v);
	return j->fn ? j->fn(j->ctx, m, v) : 0;
}

/* ---- pairs ---------------------------------------------------------------------------------- */

/* On a server the probe sees the request after the wire did, on a client before. lag: host minus
 * wire, clocks set right; against: whether that is the wrong way round.
 */
static void direction(struct rc_model *m, const struct rc_row *a, const struct rc_row *b)
{
	bool a_host = m->side[0].kind == RC_KIND_HOST && m->side[1].kind == RC_KIND_WIRE;
	bool b_host = m->side[1].kind == RC_KIND_HOST && m->side[0].kind == RC_KIND_WIRE;
	const struct rc_row *host = a_host ? a : b;
	int64_t req, res, tol = m->conf->tol_ns + 10 * m->clock.mad;

	if ((!a_host && !b_host) || !m->clock.estimated ||
	    !((host->flags & (RC_F_CLIENT | RC_F_SERVER))) || (host->flags & RC_F_TWIN) ||
	    !(a->flags & b->flags & RC_F_REQ))
		return;
	req = rc_residual(&m->clock, a, b);
	if (a_host)
		req = -req;
	rc_hist_add(&m->res.req_lag, req);
	if (a->flags & b->flags & RC_F_TTFB) {
		res = rc_long_time(b->ttfb) - rc_long_time(a->ttfb);
		rc_hist_add(&m->res.res_lag, req + (a_host ? -res : res));
	}
	if (host->flags & RC_F_SERVER ? req < -tol : req > tol)
		m->res.direction++;
}

static void times(struct rc_model *m, const struct rc_row *a, const struct rc_row *b)
{
	uint16_t both = a->flags & b->flags;
	bool far = false;

	for (int i = 0; i < 2; i++) {
		int64_t x = rc_long_time(i ? a->dur : a->ttfb);
		int64_t d = rc_long_time(i ? b->dur : b->ttfb) - x;

		if (!(both & (i ? RC_F_DUR : RC_F_TTFB)))
			continue;
		rc_hist_add(i ? &m->res.dur : &m->res.ttfb, d);
		far |= llabs(d) > m->conf->tol_ns + x / 100 * m->conf->tol_pct;
	}
	m->res.timing += far;
	direction(m, a, b);
}

static void count_nat(struct rc_model *m, const struct rc_view *v)
{
	struct rc_result *res = &m->res;

	for (uint32_t i = 0; i < res->nat_n; i++) {
		if (res->nat[i].conn[0] == v->conn[0] && res->nat[i].conn[1] == v->conn[1]) {
			res->nat[i].n++;
			return;
		}
	}
	if (res->nat_n < RC_NATS_MAX)
		res->nat[res->nat_n++] = (struct rc_nat){ { v->conn[0], v->conn[1] }, 1 };
}

/* The connection a row is in: the last one that begins at or before it. */
static uint32_t conn_of(const struct rc_model *m, int s, const struct rc_row *row)
{
	uint32_t at = (uint32_t)(row - m->side[s].row), lo = 0, hi = m->net.conn_n;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (m->net.conn[mid].first[s] <= at)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* A message that broke off is shorter where less of it went by. Which side that is; -1: this is
 * another difference.
 */
static int shorter(const struct rc_view *v, const struct rc_diff *d)
{
	uint64_t n[2];
	int less;

	if (d->field != RC_FIELD_REQ_BODY && d->field != RC_FIELD_RES_BODY &&
	    d->field != RC_FIELD_REQ_WIRE && d->field != RC_FIELD_RES_WIRE)
		return -1;
	if (osp_parse_u64(d->a, &n[0]) || osp_parse_u64(d->b, &n[1]))
		return -1;
	less = n[1] < n[0];
	return v->row[less]->outcome == OSP_OUT_RESET || v->row[less]->outcome == OSP_OUT_CLOSED
		       ? less
		       : -1;
}

/* Which side is the poorer, and why. */
static enum rc_reason why_differs(struct judge *j, const struct rc_view *v)
{
	const struct rc_diffs *diffs = &j->diffs;
	int less = -1, cut = -1, side;
	bool half = false;
	enum rc_reason why;

	for (uint32_t i = 0; i < diffs->n; i++) {
		const struct rc_diff *d = &diffs->d[i];

		if (d->cls == RC_CLASS_HALF) {
			less = d->a[1] == 'm' ? 0 : 1;
			half = true;
		} else if (d->field == RC_FIELD_OUTCOME && less < 0) {
			less = v->row[0]->outcome == OSP_OUT_OK ? 1 : 0;
		} else if (d->cls == RC_CLASS_BYTES) {
			side = shorter(v, d);
			if (side < 0 || (cut >= 0 && side != cut))
				return RC_WHY_UNEXPLAINED;
			cut = side;
		} else if (d->cls != RC_CLASS_UNCERTAIN && d->field != RC_FIELD_OUTCOME) {
			return RC_WHY_UNEXPLAINED; /* contents differ: no loss explains that */
		}
	}
	if (cut >= 0)
		less = cut;
	why = less < 0 ? RC_WHY_UNEXPLAINED
		       : rc_why_less(j->m, less, v->conn[less], v->row[less], half || cut >= 0);
	/* Nothing but its breaking off makes a message shorter. */
	return cut < 0 || why == RC_WHY_ABORTED ? why : RC_WHY_UNEXPLAINED;
}

static int judge_pair(struct judge *j, uint32_t c, const struct rc_row *a)
{
	struct rc_model *m = j->m;
	const struct rc_row *b = &m->side[1].row[a->link];
	struct rc_view v = { .verdict = RC_MATCH,
			     .row = { a, b },
			     .conn = { c, a->by == RC_BY_NAT || a->by == RC_BY_FINGERPRINT
						  ? conn_of(m, 1, b)
						  : c } };
	bool uncertain = false;
	int err;

	times(m, a, b);
	m->res.by[a->by]++;
	if (a->by == RC_BY_NAT)
		count_nat(m, &v);
	if (!m->conf->strict_timing && rc_rows_agree(a, b))
		return emit(j, &v);
	for (int s = 0; s < 2; s++) {
		err = rc_detail_read(&j->det[s], &m->side[s].store, v.row[s]->off);
		if (err)
			return err;
		v.rec[s] = &j->det[s].rr.rec;
	}
	rc_compare(m, v.rec[0], v.rec[1], &j->diffs);
	v.diffs = &j->diffs;
	for (uint32_t i = 0; i < j->diffs.n; i++) {
		const struct rc_diff *d = &j->diffs.d[i];

		if (d->cls == RC_CLASS_UNCERTAIN) {
			m->res.field_uncertain[d->field]++;
			uncertain = true;
		} else {
			m->res.field[d->field]++;
		}
	}
	if (j->diffs.differs) {
		v.verdict = RC_DIFFERS;
		v.reason = why_differs(j, &v);
		m->res.reason[0][v.reason]++;
	} else {
		m->res.uncertain += uncertain;
	}
	return emit(j, &v);
}

/* ---- the rest ------------------------------------------------------------------------------- */

static int judge_alone(struct judge *j, int s, uint32_t c, const struct rc_row *row)
{
	struct rc_model *m = j->m;
	struct rc_view v = { .conn = { c, c } };
	int err = rc_detail_read(&j->det[s], &m->side[s].store, row->off);

	if (err)
		return err;
	v.row[s] = row;
	v.rec[s] = &j->det[s].rr.rec;
	if (row->ambiguous) {
		v.verdict = RC_AMBIGUOUS;
		return emit(j, &v);
	}
	v.verdict = s ? RC_ONLY_B : RC_ONLY_A;
	v.reason = rc_why_only(m, s, c, row, v.rec[s]);
	m->res.reason[1 + s][v.reason]++;
	if (!rc_reason_out_of_scope(v.reason))
		m->res.reason_in_scope[s]++;
	return emit(j, &v);
}

static int judge_conn(struct judge *j, uint32_t c)
{
	int err = 0;

	for (int s = 0; s < 2; s++) {
		uint32_t n;
		const struct rc_row *r = rc_rows(j->m, s, c, &n);

		for (uint32_t i = 0; i < n && !err; i++) {
			if (r[i].flags & RC_F_FOLDED)
				continue;
			j->m->res.records[s]++;
			if (r[i].link == RC_NONE)
				err = judge_alone(j, s, c, &r[i]);
			else if (!s)
				err = judge_pair(j, c, &r[i]);
		}
	}
	return err;
}

static bool sums_close(const struct rc_result *res)
{
	const uint64_t *v = res->verdict;

	return 2 * v[RC_MATCH] + 2 * v[RC_DIFFERS] + v[RC_ONLY_A] + v[RC_ONLY_B] +
			       v[RC_AMBIGUOUS] ==
		       res->records[0] + res->records[1] &&
	       v[RC_MATCH] + v[RC_DIFFERS] + v[RC_ONLY_A] + res->ambiguous_side[0] ==
		       res->records[0];
}

/* Both ends of the time line stay so near to 1970 that their difference is a number. */
#define FAR (INT64_MAX / 2)

static void time_line(struct rc_model *m)
{
	int64_t from = m->side[0].first_ns, to = m->side[0].last_ns;
	int64_t b_from = rc_clock_to_a(&m->clock, m->side[1].first_ns);
	int64_t b_to = rc_clock_to_a(&m->clock, m->side[1].last_ns);

	from = b_from < from ? b_from : from;
	to = b_to > to ? b_to : to;
	m->res.from = from < -FAR ? -FAR : from;
	m->res.to = to > FAR ? FAR : to;
}

int rc_judge(struct rc_model *m, rc_view_fn fn, void *ctx)
{
	struct judge j = { .m = m, .fn = fn, .ctx = ctx };
	struct rc_result *res = &m->res;
	int err = 0;

	m->guard_ns = find_guard(m);
	time_line(m);
	for (uint32_t c = 0; c < m->net.conn_n && !err; c++)
		err = judge_conn(&j, c);
	res->unexplained = res->verdict[RC_AMBIGUOUS];
	for (int i = 0; i < 3; i++)
		res->unexplained += res->reason[i][RC_WHY_UNEXPLAINED];
	if (!err && !sums_close(res))
		err = -EILSEQ;
	rc_detail_fini(&j.det[0]);
	rc_detail_fini(&j.det[1]);
	return err;
}

bool rc_nothing_matched(const struct rc_model *m)
{
	return m->res.records[0] && m->res.records[1] &&
	       !(m->res.verdict[RC_MATCH] + m->res.verdict[RC_DIFFERS]);
}

int rc_exit(const struct rc_model *m)
{
	const uint64_t *v = m->res.verdict;

	if (rc_nothing_matched(m))
		return 1;
	if (m->conf->strict)
		return v[RC_DIFFERS] + v[RC_ONLY_A] + v[RC_ONLY_B] + v[RC_AMBIGUOUS] ? 1 : 0;
	return m->res.unexplained ? 1 : 0;
}
