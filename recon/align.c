/* SPDX-License-Identifier: GPL-3.0-or-later */
/* align.c: pairs two sequences of transactions of which one has no sequence numbers.
 *
 * The best order-preserving set of pairs (dynamic programming), where a pair needs more than its
 * place: the same method and target, or, for one whose target differs, the same status, the same
 * sizes and the same moment. Blocks bound the work: BLOCK rows of A against twice as many of B; the
 * last quarter of a block is decided with the next one.
 *
 * What could as well be the other way round is not decided: where an unpaired row would fit into a
 * neighbour's pair as well as the neighbour does, all three are ambiguous, and so on along the row.
 */
#include "recon/recon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 512u
#define WIDE (2 * BLOCK)

#define SCORE_KEY 400
#define SCORE_STATUS 200
#define SCORE_HALF 50 /* one of the two has no status to compare */
#define SCORE_SIZE 50
#define SCORE_TIME 100  /* at most: nothing at the window's edge */
#define SCORE_MOMENT 50 /* for pairs with different targets */

#define BESIDE 64		/* unpaired rows between two that are still neighbours */

#define MOMENT_NS 5000000ll /* how close is the same moment when the clock is not known */
#define MOMENT_MIN_NS 1000000ll

struct align {
	struct rc_model *m;
	struct rc_row *const *a, *const *b;
	int64_t window, moment;
	enum rc_by by;
	int *score;    /* two rows of the table */
	uint8_t *step; /* 1 pair, 2 skip a, 3 skip b */
};

/* Evidence without time; 0: not a pair. */
static int likeness(const struct align *al, const struct rc_row *a, const struct rc_row *b,
		    int64_t distance)
{
	uint16_t both = a->flags & b->flags;
	bool status = (both & RC_F_RES) && a->status == b->status;

	/* Numbers on both sides that are not equal: two different transactions. */
	if ((both & RC_F_REQ_SEQ) || (both & RC_F_RES_SEQ))
		return 0;
	if ((both & RC_F_REQ) && a->key == b->key)
		return SCORE_KEY +
		       (status            ? SCORE_STATUS
			: both & RC_F_RES ? 0
					  : SCORE_HALF) +
		       (a->size == b->size ? SCORE_SIZE : 0);
	if (status && a->size == b->size && distance <= al->moment)
		return SCORE_STATUS + SCORE_SIZE + SCORE_MOMENT;
	return 0;
}

static int score(const struct align *al, const struct rc_row *a, const struct rc_row *b)
{
	int64_t d = llabs(rc_residual(&al->m->clock, a, b));
	int s;

	if (d > al->window)
		return 0;
	s = likeness(al, a, b, d);
	return s ? s + (int)(SCORE_TIME - SCORE_TIME * d / (al->window + 1)) : 0;
}

/* Fills the table for a[0..an) and b[0..bn). */
static void fill(struct align *al, uint32_t a0, uint32_t an, uint32_t b0, uint32_t bn)
{
	int *prev = al->score, *cur = al->score + WIDE + 1, *tmp;

	memset(prev, 0, (bn + 1) * sizeof(*prev));
	for (uint32_t i = 1; i <= an; i++) {
		uint8_t *step = al->step + i * (WIDE + 1ull);

		cur[0] = 0;
		step[0] = 2;
		for (uint32_t j = 1; j <= bn; j++) {
			int s = score(al, al->a[a0 + i - 1], al->b[b0 + j - 1]);

			cur[j] = prev[j];
			step[j] = 2;
			if (cur[j - 1] > cur[j]) {
				cur[j] = cur[j - 1];
				step[j] = 3;
			}
			if (s && prev[j - 1] + s >= cur[j]) {
				cur[j] = prev[j - 1] + s;
				step[j] = 1;
			}
		}
		tmp = prev;
		prev = cur;
		cur = tmp;
	}
}

/* Pairs of the block up to row keep of A; *a_done, *b_done: after the last one. */
static void commit(struct align *al, uint32_t a0, uint32_t an, uint32_t b0, uint32_t bn,
		   uint32_t keep, uint32_t *a_done, uint32_t *b_done)
{
	uint32_t i = an, j = bn;

	*a_done = a0 + keep;
	*b_done = b0;
	while (i && j) {
		switch (al->step[i * (WIDE + 1ull) + j]) {
		case 1:
			i--;
			j--;
			if (i >= keep)
				break;
			rc_pair(al->m, al->a[a0 + i], al->b[b0 + j], al->by);
			if (*b_done < b0 + j + 1)
				*b_done = b0 + j + 1;
			break;
		case 2:
			i--;
			break;
		default:
			j--;
			break;
		}
	}
}

/* ---- ambiguous ------------------------------------------------------------------------------ */

static bool open_row(const struct rc_row *r)
{
	return r->link == RC_NONE;
}

/* Whether x (unpaired) could stand in the pair of y as well as y does; both are of side s. */
static bool could_stand(const struct align *al, int s, const struct rc_row *x,
			const struct rc_row *y)
{
	const struct rc_row *o = &al->m->side[!s].row[y->link];
	int64_t dx = llabs(s ? rc_residual(&al->m->clock, o, x) : rc_residual(&al->m->clock, x, o));
	int64_t dy = llabs(s ? rc_residual(&al->m->clock, o, y) : rc_residual(&al->m->clock, y, o));
	int lx = s ? likeness(al, o, x, dx) : likeness(al, x, o, dx);
	int ly = s ? likeness(al, o, y, dy) : likeness(al, y, o, dy);

	return dx <= al->window && lx && lx >= ly && dx - dy < al->moment;
}

/* From an unpaired row outwards: neighbours whose pair it could have. True: something changed. */
static bool doubt(struct align *al, int s, struct rc_row *const *r, uint32_t n, uint32_t i)
{
	struct rc_row *x = r[i], *o;
	bool changed = false;

	for (int way = -1; way <= 1; way += 2) {
		uint32_t k = i + (uint32_t)way;

		/* The nearest paired one that is alike; others lie between only if unpaired. */
		for (int steps = 0; k < n && open_row(r[k]) && steps < BESIDE; steps++)
			k += (uint32_t)way;
		if (k >= n || open_row(r[k]) || r[k]->by != al->by || !could_stand(al, s, x, r[k]))
			continue;
		o = &al->m->side[!s].row[r[k]->link];
		rc_unpair(al->m, s ? o : r[k]);
		x->ambiguous = r[k]->ambiguous = o->ambiguous = 1;
		changed = true;
	}
	return changed;
}

/* What is alike to an ambiguous row right beside it is as uncertain as that. */
static void spread(const struct align *al, struct rc_row *const *r, uint32_t n)
{
	for (int way = 0; way < 2; way++)
		for (uint32_t i = 1; i < n; i++) {
			struct rc_row *x = r[way ? n - 1 - i : i], *y = r[way ? n - i : i - 1];

			if (open_row(x) && y->ambiguous && x->key == y->key &&
			    x->status == y->status && x->size == y->size &&
			    llabs(x->ts - y->ts) <= al->moment)
				x->ambiguous = 1;
		}
}

static void doubt_all(struct align *al, uint32_t an, uint32_t bn)
{
	bool changed = true;

	/* Each round ends a pair, so it ends; a long run of alike requests takes two rounds, for
	 * each row doubts the next.
	 */
	while (changed) {
		changed = false;
		for (uint32_t i = 0; i < an; i++)
			if (open_row(al->a[i]))
				changed |= doubt(al, 0, al->a, an, i);
		for (uint32_t i = an; i-- > 0;)
			if (open_row(al->a[i]))
				changed |= doubt(al, 0, al->a, an, i);
		for (uint32_t i = 0; i < bn; i++)
			if (open_row(al->b[i]))
				changed |= doubt(al, 1, al->b, bn, i);
		for (uint32_t i = bn; i-- > 0;)
			if (open_row(al->b[i]))
				changed |= doubt(al, 1, al->b, bn, i);
	}
}

/* ---- all ------------------------------------------------------------------------------------ */

/* First row of b from j on that is not too early for any of A's from i on. */
static uint32_t skip_early(const struct align *al, uint32_t i, uint32_t j, uint32_t bn)
{
	while (j < bn && rc_residual(&al->m->clock, al->a[i], al->b[j]) < -al->window)
		j++;
	return j;
}

static void run(struct align *al, uint32_t an, uint32_t bn)
{
	uint32_t i = 0, j = 0;

	while (i < an && j < bn) {
		uint32_t n, w, keep;

		j = skip_early(al, i, j, bn);
		if (j == bn)
			break;
		n = an - i < BLOCK ? an - i : BLOCK;
		w = bn - j < WIDE ? bn - j : WIDE;
		keep = n == an - i ? n : n - n / 4;
		fill(al, i, n, j, w);
		commit(al, i, n, j, w, keep, &i, &j);
	}
}

int rc_align(struct rc_model *m, struct rc_row *const *a, uint32_t an, struct rc_row *const *b,
	     uint32_t bn, enum rc_by by)
{
	struct align al = {
		.m = m, .a = a, .b = b, .by = by, .window = m->conf->window_ns, .moment = MOMENT_NS
	};
	int err = -ENOMEM;

	if (m->clock.estimated) {
		al.moment = 5 * m->clock.mad > MOMENT_MIN_NS ? 5 * m->clock.mad : MOMENT_MIN_NS;
		if (al.window < 10 * m->clock.mad)
			al.window = 10 * m->clock.mad;
	}
	al.score = malloc(2 * (WIDE + 1) * sizeof(*al.score));
	al.step = malloc((BLOCK + 1) * (WIDE + 1ull));
	if (!al.score || !al.step)
		goto out;
	run(&al, an, bn);
	doubt_all(&al, an, bn);
	spread(&al, a, an);
	spread(&al, b, bn);
	err = 0;
out:
	free(al.score);
	free(al.step);
	return err;
}
