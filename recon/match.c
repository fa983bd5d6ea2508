/* SPDX-License-Identifier: GPL-3.0-or-later */
/* match.c: who belongs to whom, strongest evidence first.
 *
 *   fold     both views of an exchange inside one host become one
 *   unique   same connection, same sequence number of the first byte, once on either side
 *   (clock)  from those, or from requests that occur once on a connection
 *   repeated the same number more than once (ports used again, numbers come round, copies): by time
 *   halves   by the response's number where a side has no request
 *   order    a side without numbers: alignment of the connection's two sequences (align.c)
 *   nat      same numbers behind other addresses
 *   print    no addresses either (HAR): request, status and time, if there is one candidate only
 *
 * Nothing here asks for more memory than a connection's rows need, except the last two, which see
 * only what is left over.
 */
#include "recon/recon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A group of repeated numbers up to this many combinations is solved by trying all. */
#define GREEDY_MAX 4096u

/* number -> index of a row in a slice. Several rows may have one number; beyond some they are left
 * out, so that hostile input (all numbers equal) does not make every look-up a walk over all rows.
 */
struct table {
	struct slot {
		uint32_t key, i; /* i: index + 1, 0 free */
	} * slot;
	uint32_t mask, cap;
};
#define SAME_TWO 2u /* enough to see that it is not unique */
#define SAME_MANY 16u

struct work {
	struct rc_model *m;
	struct table tab;
	struct rc_row **list[2];
	uint32_t list_cap[2];
	struct rc_pairs exact, prints;
	int64_t gate; /* farther apart in time than this: not the same thing */
};

/* ---- tables --------------------------------------------------------------------------------- */

static int table_reset(struct table *t, uint32_t n)
{
	uint32_t want = 16;

	while (want < 2ull * n)
		want *= 2;
	if (want > t->cap) {
		free(t->slot);
		t->cap = 0;
		t->slot = malloc(want * sizeof(*t->slot));
		if (!t->slot)
			return -ENOMEM;
		t->cap = want;
	}
	t->mask = want - 1;
	memset(t->slot, 0, want * sizeof(*t->slot));
	return 0;
}

static inline uint32_t spread(uint32_t v)
{
	v = (v ^ v >> 16) * 0x7feb352du;
	return v ^ v >> 15;
}

static inline void table_put(struct table *t, uint32_t key, uint32_t i, uint32_t max_same)
{
	uint32_t at = spread(key) & t->mask;

	for (; t->slot[at].i; at = (at + 1) & t->mask)
		if (t->slot[at].key == key && !--max_same)
			return;
	t->slot[at] = (struct slot){ key, i + 1 };
}

static int list_room(struct work *wk, int s, uint32_t n)
{
	struct rc_row **p;

	if (n <= wk->list_cap[s])
		return 0;
	p = realloc(wk->list[s], n * 2ull * sizeof(*p));
	if (!p)
		return -ENOMEM;
	wk->list[s] = p;
	wk->list_cap[s] = n * 2;
	return 0;
}

static int by_req_seq(const void *x, const void *y)
{
	const struct rc_row *a = *(struct rc_row *const *)x, *b = *(struct rc_row *const *)y;

	if (a->req_seq != b->req_seq)
		return a->req_seq < b->req_seq ? -1 : 1;
	return a->ts < b->ts ? -1 : a->ts > b->ts;
}

static int by_res_seq(const void *x, const void *y)
{
	const struct rc_row *a = *(struct rc_row *const *)x, *b = *(struct rc_row *const *)y;

	if (a->res_seq != b->res_seq)
		return a->res_seq < b->res_seq ? -1 : 1;
	return a->ts < b->ts ? -1 : a->ts > b->ts;
}

static inline bool countable(const struct rc_row *r)
{
	return !(r->flags & RC_F_FOLDED);
}

static inline bool is_free(const struct rc_row *r)
{
	return r->link == RC_NONE && !(r->flags & RC_F_FOLDED) && !r->ambiguous;
}

/* ---- pairs ---------------------------------------------------------------------------------- */

void rc_pair(struct rc_model *m, struct rc_row *a, struct rc_row *b, enum rc_by by)
{
	a->link = (uint32_t)(b - m->side[1].row);
	b->link = (uint32_t)(a - m->side[0].row);
	a->by = b->by = by & 7;
}

void rc_unpair(struct rc_model *m, struct rc_row *a)
{
	struct rc_row *b = &m->side[1].row[a->link];

	a->link = b->link = RC_NONE;
	a->by = b->by = RC_BY_NONE;
}

/* The difference of the clocks as a pair shows it: in the middle of the exchange where both know
 * it. */
static int64_t pair_offset(const struct rc_row *a, const struct rc_row *b)
{
	int64_t d = b->ts - a->ts;

	if (a->flags & b->flags & RC_F_TTFB)
		d += (rc_long_time(b->ttfb) - rc_long_time(a->ttfb)) / 2;
	return d;
}

/* ---- fold ----------------------------------------------------------------------------------- */

/* Whether a is the better view of the two: complete, sure, the server's. */
static bool better(const struct rc_row *a, const struct rc_row *b)
{
	bool a_ok = a->outcome == OSP_OUT_OK, b_ok = b->outcome == OSP_OUT_OK;

	if (a_ok != b_ok)
		return a_ok;
	if ((a->flags ^ b->flags) & RC_F_UNSURE)
		return !(a->flags & RC_F_UNSURE);
	return a->flags & RC_F_SERVER;
}

/* Sockets are numbered anew per host and boot: what was asked for has to be the same. */
static bool same_sockets(const struct rc_row *a, const struct rc_row *b)
{
	if ((a->flags & b->flags & RC_F_REQ) && a->key != b->key)
		return false;
	return ((a->sockets & b->sockets & RC_SOCK_SERVER) && a->req_seq == b->req_seq) ||
	       ((a->sockets & b->sockets & RC_SOCK_CLIENT) && a->res_seq == b->res_seq);
}

static bool twins(const struct rc_row *a, const struct rc_row *b)
{
	if (!(a->flags & RC_F_CLIENT) || !(b->flags & RC_F_SERVER) ||
	    ((a->flags | b->flags) & (RC_F_FOLDED | RC_F_TWIN)) || a->client_b != b->client_b)
		return false;
	if (a->sockets | b->sockets)
		return same_sockets(a, b);
	if (a->flags & b->flags & RC_F_REQ_SEQ)
		return a->req_seq == b->req_seq;
	return (a->flags & b->flags & RC_F_RES_SEQ) && a->res_seq == b->res_seq;
}

static inline uint32_t any_seq(const struct rc_row *r)
{
	return r->flags & RC_F_REQ_SEQ ? r->req_seq : r->res_seq;
}

static void fold_pair(struct rc_side *sd, struct rc_row *a, struct rc_row *b)
{
	struct rc_row *keep = better(a, b) ? a : b, *drop = keep == a ? b : a;

	keep->flags |= RC_F_TWIN;
	drop->flags |= RC_F_FOLDED;
	drop->link = (uint32_t)(keep - sd->row);
	sd->folded++;
}

/* Twins are made at the same time on one clock: the nearest in time is the one. */
static int fold(struct work *wk, int s, uint32_t c)
{
	struct rc_side *sd = &wk->m->side[s];
	uint32_t n, seen = 0;
	struct rc_row *r = rc_rows(wk->m, s, c, &n);

	for (uint32_t i = 0; i < n; i++)
		seen |= r[i].flags & (RC_F_CLIENT | RC_F_SERVER);
	if (seen != (RC_F_CLIENT | RC_F_SERVER) || !c)
		return 0;
	if (table_reset(&wk->tab, n))
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		if ((r[i].flags & RC_F_SERVER) && (r[i].flags & (RC_F_REQ_SEQ | RC_F_RES_SEQ)))
			table_put(&wk->tab, any_seq(&r[i]), i, SAME_MANY);
	for (uint32_t i = 0; i < n; i++) {
		struct rc_row *best = NULL;
		int64_t best_d = wk->m->conf->window_ns;
		uint32_t at = spread(any_seq(&r[i])) & wk->tab.mask;

		if (!(r[i].flags & RC_F_CLIENT))
			continue;
		for (; wk->tab.slot[at].i; at = (at + 1) & wk->tab.mask) {
			struct rc_row *o = &r[wk->tab.slot[at].i - 1];
			int64_t d = llabs(o->ts - r[i].ts);

			if (twins(&r[i], o) && d <= best_d) {
				best = o;
				best_d = d;
			}
		}
		if (best)
			fold_pair(sd, &r[i], best);
	}
	return 0;
}

/* The nearest twin of list[i] among those next to it. */
static struct rc_row *twin_beside(const struct work *wk, struct rc_row **list, uint32_t n,
				  uint32_t i)
{
	int64_t best_d = wk->m->conf->window_ns;
	struct rc_row *best = NULL;

	for (uint32_t j = i > SAME_MANY ? i - SAME_MANY : 0; j < n && j <= i + SAME_MANY; j++) {
		int64_t d = llabs(list[j]->ts - list[i]->ts);

		if (d <= best_d && twins(list[i], list[j])) {
			best = list[j];
			best_d = d;
		}
	}
	return best;
}

/* Unix sockets: each view knows its own socket, and mostly the other end's. */
static int fold_sockets(struct work *wk, int s)
{
	uint32_t n, count = 0;
	struct rc_row *r = rc_rows(wk->m, s, 0, &n);

	for (uint32_t i = 0; i < n; i++)
		count += r[i].sockets != 0;
	if (!count)
		return 0;
	if (list_room(wk, s, count))
		return -ENOMEM;
	for (uint32_t bit = RC_SOCK_SERVER; bit <= RC_SOCK_CLIENT; bit <<= 1) {
		struct rc_row **list = wk->list[s];

		count = 0;
		for (uint32_t i = 0; i < n; i++)
			if ((r[i].sockets & bit) && !(r[i].flags & (RC_F_FOLDED | RC_F_TWIN)))
				list[count++] = &r[i];
		qsort(list, count, sizeof(*list),
		      bit == RC_SOCK_SERVER ? by_req_seq : by_res_seq);
		for (uint32_t i = 0; i < count; i++) {
			struct rc_row *best = twin_beside(wk, list, count, i);

			if (best)
				fold_pair(&wk->m->side[s], list[i], best);
		}
	}
	return 0;
}

/* ---- unique --------------------------------------------------------------------------------- */

/* moved marks rows whose number is not unique; sorting is over, so it is free. */
static int match_unique(struct work *wk, uint32_t c)
{
	struct rc_model *m = wk->m;
	uint32_t an, bn;
	struct rc_row *a = rc_rows(m, 0, c, &an), *b = rc_rows(m, 1, c, &bn);
	struct table *t = &wk->tab;

	if (!an || !bn)
		return 0;
	if (table_reset(t, bn))
		return -ENOMEM;
	for (uint32_t i = 0; i < bn; i++)
		if ((b[i].flags & RC_F_REQ_SEQ) && countable(&b[i]))
			table_put(t, b[i].req_seq, i, SAME_TWO);
	for (uint32_t i = 0; i < an; i++) {
		struct rc_row *hit = NULL;
		uint32_t hits = 0, at = spread(a[i].req_seq) & t->mask;

		if (!(a[i].flags & RC_F_REQ_SEQ) || !countable(&a[i]))
			continue;
		for (; t->slot[at].i && hits < 2; at = (at + 1) & t->mask) {
			if (t->slot[at].key == a[i].req_seq) {
				hit = &b[t->slot[at].i - 1];
				hits++;
			}
		}
		if (hits != 1 || hit->moved)
			continue;
		if (hit->link != RC_NONE) {
			rc_unpair(m, &m->side[0].row[hit->link]);
			hit->moved = 1;
			continue;
		}
		rc_pair(m, &a[i], hit, RC_BY_SEQ);
	}
	for (uint32_t i = 0; i < bn; i++)
		b[i].moved = 0;
	for (uint32_t i = 0; i < an; i++)
		if (a[i].link != RC_NONE && countable(&a[i]))
			rc_pairs_add(&wk->exact, a[i].ts,
				     pair_offset(&a[i], &m->side[1].row[a[i].link]));
	return 0;
}

static bool no_numbers(const struct rc_row *r)
{
	return !(r->flags & (RC_F_REQ_SEQ | RC_F_RES_SEQ));
}

static uint32_t print_of(const struct rc_row *r)
{
	return (uint32_t)r->key << 10 | (uint32_t)r->status;
}

/* Index of the only free row with this print, RC_NONE if there are none or several. */
static uint32_t only_print(const struct table *t, uint32_t print)
{
	uint32_t hit = RC_NONE, at = spread(print) & t->mask;

	for (; t->slot[at].i; at = (at + 1) & t->mask) {
		if (t->slot[at].key != print)
			continue;
		if (hit != RC_NONE)
			return RC_NONE;
		hit = t->slot[at].i - 1;
	}
	return hit;
}

/* Requests that occur once on each side of the lists: not pairs yet, but they tell the clock. */
static int sample_prints(struct work *wk, struct rc_row *const *a, uint32_t an,
			 struct rc_row *const *b, uint32_t bn)
{
	struct table ta = { 0 };
	int err = table_reset(&wk->tab, bn);

	if (!err)
		err = table_reset(&ta, an);
	if (err)
		goto out;
	for (uint32_t i = 0; i < bn; i++)
		table_put(&wk->tab, print_of(b[i]), i, SAME_TWO);
	for (uint32_t i = 0; i < an; i++)
		table_put(&ta, print_of(a[i]), i, SAME_TWO);
	for (uint32_t i = 0; i < an; i++) {
		uint32_t j = only_print(&wk->tab, print_of(a[i]));

		if (j != RC_NONE && only_print(&ta, print_of(a[i])) == i)
			rc_pairs_add(&wk->prints, a[i]->ts, pair_offset(a[i], b[j]));
	}
out:
	free(ta.slot);
	return err;
}

/* Free rows of the connection into wk->list; *bare: one of them has no numbers. */
static int list_free(struct work *wk, uint32_t c, uint32_t n[2], bool *bare)
{
	*bare = false;
	for (int s = 0; s < 2; s++) {
		uint32_t rows;
		struct rc_row *r = rc_rows(wk->m, s, c, &rows);

		if (list_room(wk, s, rows))
			return -ENOMEM;
		n[s] = 0;
		for (uint32_t i = 0; i < rows; i++) {
			if (!is_free(&r[i]))
				continue;
			wk->list[s][n[s]++] = &r[i];
			*bare |= no_numbers(&r[i]);
		}
	}
	return 0;
}

static int first_pass(struct work *wk)
{
	struct rc_model *m = wk->m;
	uint32_t n[2];
	bool bare;
	int err = fold_sockets(wk, 0);

	if (!err)
		err = fold_sockets(wk, 1);
	for (uint32_t c = 0; c < m->net.conn_n && !err; c++) {
		err = fold(wk, 0, c);
		if (!err)
			err = fold(wk, 1, c);
		if (!err && c)
			err = match_unique(wk, c);
		if (!err && c)
			err = list_free(wk, c, n, &bare);
		if (!err && c && bare && n[0] && n[1])
			err = sample_prints(wk, wk->list[0], n[0], wk->list[1], n[1]);
	}
	return err;
}

/* ---- repeated ------------------------------------------------------------------------------- */

struct candidate {
	int64_t d;
	uint32_t a, b;
};

static int by_distance(const void *x, const void *y)
{
	const struct candidate *a = x, *b = y;

	if (a->d != b->d)
		return a->d < b->d ? -1 : 1;
	/* Symmetric in a and b, so that swapped sides give the same pairs. */
	if (a->a + a->b != b->a + b->b)
		return a->a + a->b < b->a + b->b ? -1 : 1;
	return 0;
}

/* All rows of ga and gb have one number. */
static int solve_group(struct work *wk, struct rc_row **ga, uint32_t an, struct rc_row **gb,
		       uint32_t bn, enum rc_by by)
{
	struct rc_model *m = wk->m;
	struct candidate *cand;
	uint32_t n = 0, i, j;

	if ((uint64_t)an * bn > GREEDY_MAX) {
		/* Both ascend by time: nearest neighbours, one after the other. */
		for (i = j = 0; i < an && j < bn;) {
			int64_t d = rc_residual(&m->clock, ga[i], gb[j]);

			if (llabs(d) <= wk->gate)
				rc_pair(m, ga[i++], gb[j++], by);
			else if (d > 0)
				i++;
			else
				j++;
		}
		return 0;
	}
	cand = malloc((size_t)an * bn * sizeof(*cand));
	if (!cand)
		return -ENOMEM;
	for (i = 0; i < an; i++)
		for (j = 0; j < bn; j++) {
			int64_t d = llabs(rc_residual(&m->clock, ga[i], gb[j]));

			if (d <= wk->gate)
				cand[n++] = (struct candidate){ d, i, j };
		}
	qsort(cand, n, sizeof(*cand), by_distance);
	for (i = 0; i < n; i++)
		if (ga[cand[i].a]->link == RC_NONE && gb[cand[i].b]->link == RC_NONE)
			rc_pair(m, ga[cand[i].a], gb[cand[i].b], by);
	free(cand);
	return 0;
}

static uint32_t seq_of(const struct rc_row *r, bool response)
{
	return response ? r->res_seq : r->req_seq;
}

/* Leaves in list only rows with the flag; returns how many. */
static uint32_t keep_flag(struct rc_row **list, uint32_t n, uint16_t flag)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < n; i++)
		if (list[i]->flags & flag)
			list[k++] = list[i];
	return k;
}

/* Pairs rows of one number, whichever side has how many of them. */
static int match_groups(struct work *wk, struct rc_row **a, uint32_t an, struct rc_row **b,
			uint32_t bn, bool response)
{
	uint32_t i = 0, j = 0;
	int err = 0;

	qsort(a, an, sizeof(struct rc_row *), response ? by_res_seq : by_req_seq);
	qsort(b, bn, sizeof(struct rc_row *), response ? by_res_seq : by_req_seq);
	while (i < an && j < bn && !err) {
		uint32_t x = seq_of(a[i], response), y = seq_of(b[j], response), ie = i, je = j;

		if (x != y) {
			if (x < y)
				i++;
			else
				j++;
			continue;
		}
		while (ie < an && seq_of(a[ie], response) == x)
			ie++;
		while (je < bn && seq_of(b[je], response) == x)
			je++;
		err = solve_group(wk, a + i, ie - i, b + j, je - j,
				  response ? RC_BY_RES_SEQ : RC_BY_SEQ);
		i = ie;
		j = je;
	}
	return err;
}

static int match_repeated(struct work *wk, uint32_t c)
{
	uint32_t n[2];
	bool bare;
	int err = list_free(wk, c, n, &bare);

	if (err || !n[0] || !n[1])
		return err;
	n[0] = keep_flag(wk->list[0], n[0], RC_F_REQ_SEQ);
	n[1] = keep_flag(wk->list[1], n[1], RC_F_REQ_SEQ);
	return match_groups(wk, wk->list[0], n[0], wk->list[1], n[1], false);
}

/* By the response, where one of the two has no request: two requests with different numbers are two
 * requests, whatever their responses.
 */
static int match_halves(struct work *wk, uint32_t c)
{
	uint32_t n[2], k[2];
	bool bare;
	int err = 0;

	for (int lack = 0; lack < 2 && !err; lack++) {
		err = list_free(wk, c, n, &bare);
		if (err || !n[0] || !n[1])
			return err;
		for (int s = 0; s < 2; s++)
			k[s] = keep_flag(wk->list[s], n[s], RC_F_RES_SEQ);
		n[lack] = 0;
		for (uint32_t i = 0; i < k[lack]; i++)
			if (!(wk->list[lack][i]->flags & RC_F_REQ_SEQ))
				wk->list[lack][n[lack]++] = wk->list[lack][i];
		k[lack] = n[lack];
		err = match_groups(wk, wk->list[0], k[0], wk->list[1], k[1], true);
	}
	return err;
}

/* Pairs that the clock forbids: the port was used again and each side saw another time. */
static void drop_far(struct work *wk, uint32_t c)
{
	struct rc_model *m = wk->m;
	uint32_t n;
	struct rc_row *a = rc_rows(m, 0, c, &n);

	if (!m->clock.estimated)
		return;
	for (uint32_t i = 0; i < n; i++) {
		const struct rc_row *b;

		if (a[i].link == RC_NONE || !countable(&a[i]))
			continue;
		b = &m->side[1].row[a[i].link];
		/* A stepped clock is uncertain around its steps; two equal numbers and equal
		 * contents outweigh it.
		 */
		if (llabs(rc_residual(&m->clock, &a[i], b)) > wk->gate &&
		    !(m->clock.piecewise && a[i].res_seq == b->res_seq && a[i].core == b->core))
			rc_unpair(m, &a[i]);
	}
}

static int second_pass(struct work *wk)
{
	struct rc_model *m = wk->m;
	uint32_t n[2];
	bool bare;
	int err = 0;

	for (uint32_t c = 1; c < m->net.conn_n && !err; c++) {
		drop_far(wk, c);
		err = match_repeated(wk, c);
		if (!err)
			err = match_halves(wk, c);
		if (!err)
			err = list_free(wk, c, n, &bare);
		if (!err && bare && n[0] && n[1])
			err = rc_align(m, wk->list[0], n[0], wk->list[1], n[1], RC_BY_ORDER);
	}
	return err;
}

/* ---- nat ------------------------------------------------------------------------------------ */

/* All free rows of the side with the flag. */
static int list_side(struct work *wk, int s, uint16_t flag, uint32_t *n)
{
	struct rc_side *sd = &wk->m->side[s];
	uint32_t from = wk->m->net.conn[1].first[s], count = 0;

	for (uint32_t i = from; i < sd->row_n; i++)
		count += is_free(&sd->row[i]) && (sd->row[i].flags & flag) == flag;
	if (list_room(wk, s, count + 1))
		return -ENOMEM;
	*n = 0;
	for (uint32_t i = from; i < sd->row_n; i++)
		if (is_free(&sd->row[i]) && (sd->row[i].flags & flag) == flag)
			wk->list[s][(*n)++] = &sd->row[i];
	return 0;
}

/* Same numbers both ways are 64 bits of evidence. With one half missing the request itself has to
 * agree, too.
 */
static bool same_numbers(const struct work *wk, const struct rc_row *a, const struct rc_row *b)
{
	if (a->req_seq != b->req_seq || llabs(rc_residual(&wk->m->clock, a, b)) > wk->gate)
		return false;
	if (a->flags & b->flags & RC_F_RES_SEQ)
		return a->res_seq == b->res_seq;
	return a->key == b->key && (a->flags & b->flags & RC_F_REQ);
}

static int match_nat(struct work *wk)
{
	uint32_t an, bn, i = 0, j = 0;
	int err = list_side(wk, 0, RC_F_REQ_SEQ, &an);
	struct rc_row **a, **b;

	if (!err)
		err = list_side(wk, 1, RC_F_REQ_SEQ, &bn);
	if (err || !an || !bn)
		return err;
	a = wk->list[0];
	b = wk->list[1];
	qsort(a, an, sizeof(*a), by_req_seq);
	qsort(b, bn, sizeof(*b), by_req_seq);
	while (i < an && j < bn) {
		uint32_t ie = i, je = j, hits = 0;
		struct rc_row *x = NULL, *y = NULL;

		if (a[i]->req_seq != b[j]->req_seq) {
			if (a[i]->req_seq < b[j]->req_seq)
				i++;
			else
				j++;
			continue;
		}
		while (ie < an && a[ie]->req_seq == a[i]->req_seq)
			ie++;
		while (je < bn && b[je]->req_seq == b[j]->req_seq)
			je++;
		for (uint32_t k = i; k < ie && (uint64_t)(ie - i) * (je - j) <= GREEDY_MAX; k++)
			for (uint32_t l = j; l < je && hits < 2; l++)
				if (same_numbers(wk, a[k], b[l])) {
					hits++;
					x = a[k];
					y = b[l];
				}
		if (hits == 1)
			rc_pair(wk->m, x, y, RC_BY_NAT);
		i = ie;
		j = je;
	}
	return 0;
}

/* ---- print ---------------------------------------------------------------------------------- */

static int by_print(const void *x, const void *y)
{
	const struct rc_row *a = *(struct rc_row *const *)x, *b = *(struct rc_row *const *)y;
	uint32_t p = print_of(a), q = print_of(b);

	if (p != q)
		return p < q ? -1 : 1;
	return a->ts < b->ts ? -1 : a->ts > b->ts;
}

/* Rows without addresses on side s against all free rows of the other: group by print, then as a
 * connection of their own. Free rows of the group on the other side that stay alone are judged by
 * their own connection's evidence.
 */
static int match_prints(struct work *wk, int s)
{
	struct rc_model *m = wk->m;
	uint32_t n[2] = { 0, 0 }, i = 0, j = 0, rows;
	struct rc_row *r = rc_rows(m, s, 0, &rows), **a, **b;
	int err = list_side(wk, !s, 0, &n[!s]);

	if (err || !rows || list_room(wk, s, rows))
		return err ? err : rows ? -ENOMEM : 0;
	for (uint32_t k = 0; k < rows; k++)
		if (is_free(&r[k]))
			wk->list[s][n[s]++] = &r[k];
	if (!m->clock.estimated && !m->conf->has_offset) {
		err = sample_prints(wk, wk->list[0], n[0], wk->list[1], n[1]);
		rc_clock_fit(&m->clock, &wk->prints);
	}
	a = wk->list[0];
	b = wk->list[1];
	qsort(a, n[0], sizeof(*a), by_print);
	qsort(b, n[1], sizeof(*b), by_print);
	while (i < n[0] && j < n[1] && !err) {
		uint32_t p = print_of(a[i]), q = print_of(b[j]), ie = i, je = j;

		if (p != q) {
			if (p < q)
				i++;
			else
				j++;
			continue;
		}
		while (ie < n[0] && print_of(a[ie]) == p)
			ie++;
		while (je < n[1] && print_of(b[je]) == p)
			je++;
		err = rc_align(m, a + i, ie - i, b + j, je - j, RC_BY_FINGERPRINT);
		i = ie;
		j = je;
	}
	return err;
}

/* ---- all ------------------------------------------------------------------------------------ */

static void set_clock(struct work *wk)
{
	struct rc_model *m = wk->m;

	rc_clock_fit(&m->clock, wk->exact.n >= RC_CLOCK_MIN ? &wk->exact : &wk->prints);
	if (m->conf->has_offset) {
		m->clock = (struct rc_clock){ .n = m->clock.n,
					      .mad = m->clock.mad,
					      .estimated = true,
					      .offset = m->conf->offset_ns };
	} else if (!m->clock.estimated && wk->exact.n > m->clock.n) {
		m->clock.n = wk->exact.n;
	}
	wk->gate = m->conf->window_ns;
	if (m->clock.estimated && wk->gate < 10 * m->clock.mad)
		wk->gate = 10 * m->clock.mad;
	/* Without a clock, numbers stand for themselves. */
	if (!m->clock.estimated)
		wk->gate = INT64_MAX;
}

int rc_match(struct rc_model *m)
{
	struct work wk = { .m = m };
	int err = rc_pairs_init(&wk.exact);

	if (!err)
		err = rc_pairs_init(&wk.prints);
	if (!err)
		err = first_pass(&wk);
	if (!err) {
		set_clock(&wk);
		err = second_pass(&wk);
	}
	if (!err)
		err = match_nat(&wk);
	for (int s = 0; s < 2 && !err; s++)
		err = match_prints(&wk, s);
	rc_pairs_fini(&wk.exact);
	rc_pairs_fini(&wk.prints);
	free(wk.tab.slot);
	free(wk.list[0]);
	free(wk.list[1]);
	return err;
}
