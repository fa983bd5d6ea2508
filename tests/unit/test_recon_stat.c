/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_recon_stat.c: the clock between two sides, and the statistics of reports, against numbers
 * known from elsewhere.
 */
#include "recon/recon.h"
#include "tests/lib/tap.h"

#include <math.h>

#define MS 1000000ll

static void fit(struct rc_clock *ck, uint32_t n, int64_t offset, double drift, uint32_t bad_of)
{
	struct rc_pairs p;
	uint32_t rng = 7;

	rc_pairs_init(&p);
	for (uint32_t i = 0; i < n; i++) {
		int64_t t = i * 100 * MS, d = offset + (int64_t)(drift * (double)t);

		rng = rng * 1664525 + 1013904223;
		d += (int64_t)(rng >> 16) % 20001 - 10000;
		if (bad_of && i % bad_of == 0)
			d += 3600 * RC_NS_PER_S;
		rc_pairs_add(&p, t, d);
	}
	rc_clock_fit(ck, &p);
	rc_pairs_fini(&p);
}

static void test_clock(void)
{
	struct rc_clock ck;
	struct rc_pairs p;

	fit(&ck, 19, 5 * MS, 0, 0);
	ok(!ck.estimated && ck.n == 19, "19 pairs are no estimate");
	ok(rc_clock_to_b(&ck, 1000) == 1000, "and the clocks are taken as equal");
	fit(&ck, 20, 5 * MS, 0, 0);
	ok(ck.estimated && llabs(ck.offset - 5 * MS) < 10000, "20 are");
	fit(&ck, 5000, 1500 * MS, 200e-6, 0);
	ok(fabs(ck.drift - 200e-6) < 1e-7 && !ck.piecewise, "200 ppm: %g", ck.drift * 1e6);
	ok(llabs(rc_clock_to_b(&ck, 0) - 1500 * MS) < 10000, "offset at the start");
	ok(ck.mad < 10000, "what is left: %lld ns", (long long)ck.mad);
	for (int64_t t = 0; t < 400 * RC_NS_PER_S; t += 77 * RC_NS_PER_S)
		ok(llabs(rc_clock_to_a(&ck, rc_clock_to_b(&ck, t)) - t) <= 1, "there and back");
	fit(&ck, 5000, -20 * MS, 0, 4);
	ok(llabs(rc_clock_to_b(&ck, 0) + 20 * MS) < 10000,
	   "a quarter of wrong pairs moves nothing");
	rc_pairs_init(&p);
	for (uint32_t i = 0; i < 2000; i++)
		rc_pairs_add(&p, i * 100 * MS, i < 1000 ? 0 : -2000 * MS);
	rc_clock_fit(&ck, &p);
	ok(ck.piecewise && !ck.drift_known, "a step is no drift");
	ok(llabs(rc_clock_to_b(&ck, 10 * RC_NS_PER_S) - 10 * RC_NS_PER_S) < 1000,
	   "before the step");
	ok(llabs(rc_clock_to_b(&ck, 190 * RC_NS_PER_S) - 188 * RC_NS_PER_S) < 1000, "after it");
	rc_pairs_fini(&p);
}

static void test_thinning(void)
{
	struct rc_pairs p;

	rc_pairs_init(&p);
	for (uint32_t i = 0; i < 1000000; i++)
		rc_pairs_add(&p, i, i);
	ok(p.n <= p.cap && p.n > p.cap / 4, "a million samples: %u are kept", p.n);
	ok(p.t[0] == 0 && p.t[p.n - 1] > 980000, "from the whole time");
	rc_pairs_fini(&p);
}

static void test_wilson(void)
{
	double lo, hi;

	/* Newcombe 1998, table I: 81 of 263 and 0 of 20. */
	rc_wilson(81, 263, &lo, &hi);
	ok(fabs(lo - 0.2553) < 1e-4 && fabs(hi - 0.3662) < 1e-4, "81 of 263: %.4f %.4f", lo, hi);
	rc_wilson(0, 20, &lo, &hi);
	ok(lo == 0 && fabs(hi - 0.1611) < 1e-4, "0 of 20: %.4f", hi);
	rc_wilson(20, 20, &lo, &hi);
	ok(fabs(lo - 0.8389) < 1e-4 && hi == 1, "20 of 20: %.4f", lo);
	rc_wilson(0, 0, &lo, &hi);
	ok(lo == 0 && hi == 1, "nothing known");
	ok(fabs(rc_chapman(10, 15, 5) - 28.3333) < 1e-3,
	   "Chapman: 10 marked, 15 caught, 5 of them");
	ok(rc_chapman(100, 100, 100) == 100, "all seen by both: nobody missed");
}

static void test_short_time(void)
{
	bool good = true;

	for (int64_t t = 0; t < 2048; t++)
		good &= rc_long_time(rc_short_time(t)) == t;
	ok(good, "exact below 2048 ns");
	good = true;
	for (int64_t t = 2048; t < 4000 * RC_NS_PER_S; t += t / 7)
		good &= llabs(rc_long_time(rc_short_time(t)) - t) <= t / 1000;
	ok(good, "to a thousandth up to an hour");
	ok(rc_long_time(rc_short_time(INT64_MAX)) > 4000 * RC_NS_PER_S, "more is the largest");
	ok(rc_short_time(-5) == 0, "less than nothing is nothing");
}

static void test_hist(void)
{
	static struct rc_hist h;

	for (int i = 0; i < 1000; i++)
		rc_hist_add(&h, i < 100 ? -1000000 : i < 300 ? 0 : 50000);
	ok(llabs(rc_hist_at(&h, 0.05) + 1000000) < 100000, "p5 of the negative ones");
	eq_int(rc_hist_at(&h, 0.2), 0, "p20 is zero");
	ok(llabs(rc_hist_at(&h, 0.5) - 50000) < 5000, "p50");
	ok(llabs(rc_hist_at(&h, 1.0) - 50000) < 5000, "the largest");
	rc_hist_add(&h, INT64_MAX);
	rc_hist_add(&h, INT64_MIN);
	rc_hist_add(&h, 1);
	ok(h.n == 1003, "extremes have a bin");
}

int main(void)
{
	test_clock();
	test_thinning();
	test_wilson();
	test_short_time();
	test_hist();
	return done();
}
