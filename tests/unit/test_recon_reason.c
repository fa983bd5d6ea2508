/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_recon_reason.c: reasons at the edges of time, which no input can be trusted to stay away from:
 * a side with nothing in it, which begins after all times and ends before them, and a guard.
 */
#include "recon/recon.h"
#include "tests/lib/tap.h"

/* A row of side 0 at t, of no known connection: what it is called where side 1 covers that much and has
 * nothing of it or, less, where side 0 does and the row has less.
 */
static enum rc_reason judge(bool less, int64_t t, int64_t guard, int64_t first, int64_t last)
{
	static const struct rc_conf conf;
	struct rc_model m = { .conf = &conf, .guard_ns = guard };
	struct rc_conn conn[2] = { 0 };
	struct rc_row row = { .ts = t, .flags = RC_F_DUR, .dur = rc_short_time(RC_NS_PER_S) };

	row.link = RC_NONE;
	m.net.conn = conn;
	m.side[!less].first_ns = first;
	m.side[!less].last_ns = last;
	return less ? rc_why_less(&m, 0, 0, &row, false) : rc_why_only(&m, 0, 0, &row, NULL);
}

static enum rc_reason why(int64_t t, int64_t guard, int64_t first, int64_t last)
{
	return judge(false, t, guard, first, last);
}

static enum rc_reason why_less(int64_t t, int64_t guard, int64_t first, int64_t last)
{
	return judge(true, t, guard, first, last);
}

int main(void)
{
	static const int64_t guard[] = { 0, RC_NS_PER_S, INT64_MAX / 4 };
	static const int64_t at[] = { INT64_MIN + 1, -1, 0, 1700000000 * RC_NS_PER_S, INT64_MAX };

	for (int g = 0; g < 3; g++) {
		for (int i = 0; i < 5; i++) {
			eq_int(why(at[i], guard[g], INT64_MAX, INT64_MIN), RC_WHY_WINDOW_EDGE,
			       "a side that is empty: guard %d, time %d", g, i);
			eq_int(why_less(at[i], guard[g], INT64_MAX, INT64_MIN), RC_WHY_WINDOW_EDGE,
			       "less, a side that is empty: guard %d, time %d", g, i);
		}
		eq_int(why(0, guard[g], INT64_MIN, INT64_MAX), RC_WHY_UNEXPLAINED,
		       "one that covers all times: guard %d", g);
		eq_int(why_less(0, guard[g], INT64_MIN, INT64_MAX), RC_WHY_UNEXPLAINED,
		       "less, one that covers all times: guard %d", g);
	}
	eq_int(why(5, 2, 4, 20), RC_WHY_WINDOW_EDGE, "within the guard");
	eq_int(why(6, 2, 4, 20), RC_WHY_UNEXPLAINED, "behind it");
	eq_int(rc_time_add(INT64_MAX, -1), INT64_MAX - 1, "what fits is exact");
	return done();
}
