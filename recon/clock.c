/* SPDX-License-Identifier: GPL-3.0-or-later */
/* clock.c: how far B's clock is ahead of A's, from pairs that are certain without it.
 *
 * A pair's difference is taken in the middle between its request and its response: on a server's
 * host the request is seen later than on the wire and the response earlier, on a client's the other
 * way round, so half of it falls out as in NTP. Over the pairs: median, and Theil-Sen over the
 * medians of time bins for the drift, both of which a third of bad pairs cannot move. Where a
 * straight line does not fit (a clock was stepped) the bins' medians are followed instead.
 */
#include "recon/recon.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define SAMPLES (1u << 16)
#define BIN_MIN 16u            /* samples a bin's median needs */
#define DRIFT_MIN 100u         /* samples that drift needs */
#define DRIFT_SPAN RC_NS_PER_S /* and the time they cover */
#define STEP_NS 1000000ll      /* a bin off the line by this and ten times the noise: a step */

int rc_pairs_init(struct rc_pairs *p)
{
	*p = (struct rc_pairs){ .cap = SAMPLES, .skip = 1 };
	p->t = malloc(SAMPLES * sizeof(*p->t));
	p->d = malloc(SAMPLES * sizeof(*p->d));
	if (p->t && p->d)
		return 0;
	rc_pairs_fini(p);
	return -ENOMEM;
}

void rc_pairs_fini(struct rc_pairs *p)
{
	free(p->t);
	free(p->d);
	*p = (struct rc_pairs){ 0 };
}

/* Full: every other one goes, and from now on every other one comes. */
void rc_pairs_add(struct rc_pairs *p, int64_t t, int64_t d)
{
	if (p->phase++ % p->skip)
		return;
	if (p->n == p->cap) {
		for (uint32_t i = 0; i < p->cap / 2; i++) {
			p->t[i] = p->t[2 * i];
			p->d[i] = p->d[2 * i];
		}
		p->n = p->cap / 2;
		p->skip *= 2;
	}
	p->t[p->n] = t;
	p->d[p->n++] = d;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static int by_double(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* Sorts v. The mean of the middle two, so that swapping the sides gives the same with its sign
 * changed.
 */
static int64_t median(int64_t *v, uint32_t n)
{
	if (!n)
		return 0;
	qsort(v, n, sizeof(*v), by_value);
	return n & 1 ? v[n / 2] : v[n / 2 - 1] + (v[n / 2] - v[n / 2 - 1]) / 2;
}

struct sample {
	int64_t t, d;
};

static int by_time(const void *a, const void *b)
{
	const struct sample *x = a, *y = b;

	return x->t < y->t ? -1 : x->t > y->t;
}

static int64_t linear(const struct rc_clock *ck, int64_t t)
{
	return ck->offset + llround(ck->drift * (double)(t - ck->t0));
}

static int64_t at(const struct rc_clock *ck, int64_t t)
{
	uint32_t i;
	double part;

	if (!ck->piecewise)
		return linear(ck, t);
	if (t <= ck->bin_t[0])
		return ck->bin_off[0];
	for (i = 1; i < ck->bin_n && ck->bin_t[i] < t; i++)
		;
	if (i == ck->bin_n)
		return ck->bin_off[i - 1];
	part = (double)(t - ck->bin_t[i - 1]) / (double)(ck->bin_t[i] - ck->bin_t[i - 1]);
	return ck->bin_off[i - 1] + llround(part * (double)(ck->bin_off[i] - ck->bin_off[i - 1]));
}

int64_t rc_clock_to_b(const struct rc_clock *ck, int64_t t_a)
{
	return rc_time_add(t_a, at(ck, t_a));
}

int64_t rc_clock_to_a(const struct rc_clock *ck, int64_t t_b)
{
	int64_t t = t_b;

	/* The offset is a function of A's time. Each step divides the error by the drift, which is
	 * below a per mille: four are exact to a nanosecond for offsets of days.
	 */
	for (int i = 0; i < 4; i++)
		t = rc_time_add(t_b, -at(ck, t));
	return t;
}

/* Returns the noise inside a bin: the median of the bins' median deviations. */
static int64_t fit_bins(struct rc_clock *ck, struct sample *s, uint32_t n, int64_t *tmp)
{
	int64_t noise[RC_CLOCK_BINS];
	uint32_t bins = n / BIN_MIN < RC_CLOCK_BINS ? n / BIN_MIN : RC_CLOCK_BINS;

	qsort(s, n, sizeof(*s), by_time);
	ck->bin_n = 0;
	for (uint32_t b = 0; b < bins; b++) {
		uint32_t from = (uint32_t)((uint64_t)n * b / bins);
		uint32_t to = (uint32_t)((uint64_t)n * (b + 1) / bins);

		for (uint32_t i = from; i < to; i++)
			tmp[i - from] = s[i].d;
		ck->bin_t[ck->bin_n] = s[from + (to - from) / 2].t;
		ck->bin_off[ck->bin_n] = median(tmp, to - from);
		for (uint32_t i = 0; i < to - from; i++)
			tmp[i] = llabs(tmp[i] - ck->bin_off[ck->bin_n]);
		noise[b] = median(tmp, to - from);
		if (!ck->bin_n || ck->bin_t[ck->bin_n] > ck->bin_t[ck->bin_n - 1])
			ck->bin_n++;
	}
	return median(noise, bins);
}

static void fit_drift(struct rc_clock *ck)
{
	double slope[RC_CLOCK_BINS * (RC_CLOCK_BINS - 1) / 2];
	uint32_t n = 0;

	for (uint32_t i = 0; i < ck->bin_n; i++)
		for (uint32_t j = i + 1; j < ck->bin_n; j++)
			slope[n++] = (double)(ck->bin_off[j] - ck->bin_off[i]) /
				     (double)(ck->bin_t[j] - ck->bin_t[i]);
	if (!n)
		return;
	qsort(slope, n, sizeof(*slope), by_double);
	ck->drift = n & 1 ? slope[n / 2] : (slope[n / 2 - 1] + slope[n / 2]) / 2;
	ck->drift_known = true;
}

/* Median of what the model leaves over, absolute; sets the offset right on the way. */
static void fit_rest(struct rc_clock *ck, const struct sample *s, uint32_t n, int64_t *tmp)
{
	int64_t mid;

	for (uint32_t i = 0; i < n; i++)
		tmp[i] = s[i].d - at(ck, s[i].t);
	mid = median(tmp, n);
	if (!ck->piecewise)
		ck->offset += mid;
	for (uint32_t i = 0; i < n; i++)
		tmp[i] = llabs(s[i].d - at(ck, s[i].t));
	ck->mad = median(tmp, n);
}

static bool stepped(const struct rc_clock *ck, int64_t noise)
{
	for (uint32_t i = 0; i < ck->bin_n; i++)
		if (llabs(ck->bin_off[i] - linear(ck, ck->bin_t[i])) > STEP_NS + 10 * noise)
			return true;
	return false;
}

void rc_clock_fit(struct rc_clock *ck, const struct rc_pairs *p)
{
	struct sample *s;
	int64_t *tmp, noise;
	uint32_t n = p->n;

	*ck = (struct rc_clock){ .n = n };
	s = calloc(n + 1, sizeof(*s));
	tmp = calloc(n + 1, sizeof(*tmp));
	if (!s || !tmp || !n)
		goto out;
	for (uint32_t i = 0; i < n; i++)
		s[i] = (struct sample){ p->t[i], p->d[i] };
	ck->t0 = s[0].t;
	if (n < RC_CLOCK_MIN)
		goto out;
	ck->estimated = true;
	noise = fit_bins(ck, s, n, tmp);
	ck->t0 = s[n / 2].t;
	if (n >= DRIFT_MIN && s[n - 1].t - s[0].t >= DRIFT_SPAN)
		fit_drift(ck);
	fit_rest(ck, s, n, tmp);
	if (ck->drift_known && stepped(ck, noise)) {
		ck->piecewise = true;
		ck->drift_known = false;
		ck->t0 = s[0].t;
		ck->offset = at(ck, ck->t0);
		fit_rest(ck, s, n, tmp);
	}
out:
	free(s);
	free(tmp);
}

/* When the request was seen; or the response, if that is what both sides have. */
static int64_t seen_at(const struct rc_row *row, bool response)
{
	bool later = response && (row->flags & RC_F_REQ) && (row->flags & RC_F_TTFB);

	return row->ts + (later ? rc_long_time(row->ttfb) : 0);
}

int64_t rc_residual(const struct rc_clock *ck, const struct rc_row *a, const struct rc_row *b)
{
	bool response = (a->flags ^ b->flags) & RC_F_REQ;

	return seen_at(b, response) - rc_clock_to_b(ck, seen_at(a, response));
}
