/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stat.c: the few statistics that reports need. */
#include "recon/recon.h"

#include <math.h>

static unsigned int bin_of(uint64_t v)
{
	unsigned int octave = 63 - (unsigned int)__builtin_clzll(v), sub, i;

	/* The three bits below the leading one. */
	sub = octave >= 3 ? (unsigned int)(v >> (octave - 3)) & 7
			  : (unsigned int)(v << (3 - octave)) & 7;
	i = octave * RC_HIST_SUB + sub;
	return i < RC_HIST_BINS ? i : RC_HIST_BINS - 1;
}

/* The middle of a bin. */
static int64_t bin_value(unsigned int i)
{
	double v = ldexp(1.0 + ((i % RC_HIST_SUB) + 0.5) / RC_HIST_SUB, (int)(i / RC_HIST_SUB));

	return (int64_t)v;
}

void rc_hist_add(struct rc_hist *h, int64_t ns)
{
	h->n++;
	if (!ns)
		h->zero++;
	else if (ns < 0)
		h->neg[bin_of(0 - (uint64_t)ns)]++;
	else
		h->pos[bin_of((uint64_t)ns)]++;
}

int64_t rc_hist_at(const struct rc_hist *h, double share)
{
	uint64_t want = (uint64_t)(share * (double)h->n), seen = 0;

	if (!h->n)
		return 0;
	for (unsigned int i = RC_HIST_BINS; i-- > 0;) {
		seen += h->neg[i];
		if (seen > want)
			return -bin_value(i);
	}
	seen += h->zero;
	if (seen > want)
		return 0;
	for (unsigned int i = 0; i < RC_HIST_BINS; i++) {
		seen += h->pos[i];
		if (seen > want)
			return bin_value(i);
	}
	return share > 0 ? rc_hist_at(h, share - 1.0 / (double)h->n) : 0;
}

/* Wilson 1927, score interval at 95 %: stays inside [0, 1] and holds for few and for extreme
 * shares, where p +- 1.96 sigma does not.
 */
void rc_wilson(uint64_t hits, uint64_t n, double *low, double *high)
{
	const double z = 1.959963984540054;
	double p, mid, half, nn = (double)n;

	if (!n) {
		*low = 0;
		*high = 1;
		return;
	}
	p = (double)hits / nn;
	mid = (p + z * z / (2 * nn)) / (1 + z * z / nn);
	half = z / (1 + z * z / nn) * sqrt(p * (1 - p) / nn + z * z / (4 * nn * nn));
	*low = hits ? fmax(0, mid - half) : 0;
	*high = hits == n ? 1 : fmin(1, mid + half);
}

/* Lincoln-Petersen with Chapman's correction (1951): finite where both is 0, and without its bias
 * for small numbers. Holds if the two sides miss independently; where one cause hits both it is too
 * low, which reports say.
 */
double rc_chapman(uint64_t a, uint64_t b, uint64_t both)
{
	return ((double)a + 1) * ((double)b + 1) / ((double)both + 1) - 1;
}
