/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pair.c: which request a response answers.
 *
 * Where nothing was lost the n-th response answers the n-th request: plain FIFO, whatever
 * pipelining, early responses and interim ones do. That stays true with losses still undiscovered,
 * because a hole is known before the bytes behind it are parsed.
 *
 * After a loss order alone would shift all pairs that follow, so turns decide (osp_ev_data.turn): a
 * response in turn u answers requests of turn u - 1. Where that leaves a doubt nothing is paired:
 * half a transaction is a truth, a wrong pair is a lie. Doubts are:
 *   - a request before this one, in the same turn, may be among what was lost;
 *   - a response before this one, in the same turn, may be;
 *   - the connection pipelines, so that responses may lag turns behind their requests.
 * The first two are none on a connection that has shown whole turns of one message, and never of
 * several; the third is none on one that has shown many turns with as many responses as requests.
 *
 * What can't be known: a connection joined in the middle, or losing its very first messages, that
 * keeps several requests open but sends them one a turn looks just like one that does not.
 */
#include "agent/txn.h"

#include <string.h>

/* Whole turns of one message until a connection is taken to go on like that. */
#define SINGLES_ENOUGH 2
/* Turns in a row, each answered by as many responses in the next, until turns are believed on a
 * connection that pipelines: a window that moves at random does that 12 times in a row now and
 * then, 32 times hardly ever.
 */
#define CALM_ENOUGH 32

void osp_pair_init(struct osp_pair *pair)
{
	memset(pair, 0, sizeof(*pair));
	osp_list_init(&pair->fifo);
	pair->clean[OSP_REQ] = pair->clean[OSP_RES] = true;
}

/* ---- exchanges ------------------------------------------------------------------------------- */

/* The marks of that block; the oldest one makes room for a newer one. NULL: it is older than all. */
static uint64_t *ex_block(struct osp_pair *pair, uint32_t block)
{
	int i, old = 0;

	for (i = 0; i < OSP_EX_BLOCKS; i++) {
		if (pair->ex_block[i] == block)
			return &pair->ex_mask[i];
		if (pair->ex_block[i] < pair->ex_block[old])
			old = i;
	}
	if (pair->ex_block[old] > block)
		return NULL;
	pair->ex_block[old] = block;
	pair->ex_mask[old] = 0;
	return &pair->ex_mask[old];
}

/* Requests go in turn 1, 3 ... (or, where we came in late, 2, 4 ...); exchange n is the n-th of
 * them with the turn after it.
 */
bool osp_pair_mark(struct osp_pair *pair, int kind, uint32_t turn)
{
	uint32_t v = kind == OSP_REQ ? turn : turn - 1, n;
	uint64_t *mask, bit;

	if (!turn)
		return false;
	if (!pair->parity)
		pair->parity = v % 2 ? 1 : 2;
	n = v / 2 + v % 2;
	/* Head, body and end of a message, and both messages, mostly follow each other. */
	if (n + 1 == pair->ex_last)
		return true;
	mask = ex_block(pair, n / 64 + 1);
	bit = 1ull << n % 64;
	if (mask)
		pair->ex_last = n + 1;
	if (mask && *mask & bit)
		return true;
	if (mask)
		*mask |= bit;
	pair->ex_seen++;
	return false;
}

/* With pipelining several exchanges share a turn, so this is a lower bound. */
uint64_t osp_pair_exchanges_lost(const struct osp_pair *pair, uint32_t turns)
{
	uint64_t all = pair->parity == 2 ? turns / 2 + 1ull : turns / 2 + turns % 2;

	return turns && all > pair->ex_seen ? all - pair->ex_seen : 0;
}

/* ---- the queue ------------------------------------------------------------------------------- */

struct osp_txn *osp_pair_unanswered(struct osp_pair *pair, struct osp_txn *txn)
{
	struct osp_list *link = txn ? txn->fifo.next : pair->fifo.next;

	for (; link != &pair->fifo; link = link->next) {
		txn = osp_list_entry(link, struct osp_txn, fifo);
		if (!txn->half[OSP_RES].there)
			return txn;
	}
	return NULL;
}

/* Requests that went before turn `turn` have lost their answer. Where it can't have been lost it is
 * still to come: responses lag.
 */
static void drop_older(struct osp_pair *pair, uint32_t turn)
{
	struct osp_txn *txn = osp_pair_unanswered(pair, NULL), *next;

	for (; txn; txn = next) {
		next = osp_pair_unanswered(pair, txn);
		if (txn->half[OSP_REQ].turn1 >= turn)
			continue;
		if (!txn->maybe_answered && !txn->tomb)
			pair->lagging = true;
		osp_txn_finish(txn, OSP_OUT_GAP);
	}
}

/* Which of the requests up to turn `turn` was answered is not known. */
static void drop_candidates(struct osp_pair *pair, uint32_t turn)
{
	struct osp_txn *txn = osp_pair_unanswered(pair, NULL), *next;

	for (; txn; txn = next) {
		next = osp_pair_unanswered(pair, txn);
		if (txn->half[OSP_REQ].turn0 <= turn)
			osp_txn_finish(txn, OSP_OUT_GAP);
	}
	pair->unsync = true;
}

static uint32_t candidates(struct osp_pair *pair, uint32_t turn)
{
	struct osp_txn *txn = NULL;
	uint32_t n = 0;

	while ((txn = osp_pair_unanswered(pair, txn)) && txn->half[OSP_REQ].turn0 <= turn)
		n++;
	return n;
}

/* ---- what the connection is like ------------------------------------------------------------- */

static bool one_by_one(const struct osp_pair *pair)
{
	return !pair->piped && pair->singles >= SINGLES_ENOUGH;
}

static bool turns_tell(const struct osp_pair *pair)
{
	return !pair->lagging && (!pair->piped || pair->calm >= CALM_ENOUGH);
}

/* The latest turn with requests is over: was it answered in full by the turn after it? */
static void learn_exchange(struct osp_pair *pair)
{
	if (!pair->heads[OSP_REQ] || !pair->clean[OSP_REQ] || !pair->clean[OSP_RES])
		return;
	if (pair->turn[OSP_RES] != pair->turn[OSP_REQ] + 1 ||
	    pair->heads[OSP_RES] != pair->heads[OSP_REQ])
		pair->calm = 0;
	else if (pair->calm < CALM_ENOUGH)
		pair->calm++;
}

void osp_pair_learn(struct osp_pair *pair, int kind, uint32_t turn)
{
	/* Bytes between whole messages were lost, and no whole turn that they could have been; nor
	 * an interim response.
	 */
	if (turn && turn == pair->between_turn[kind] && (kind == OSP_REQ || !pair->interim))
		pair->piped = true;
	if (turn == pair->turn[kind]) {
		pair->heads[kind]++;
		pair->piped = true;
		return;
	}
	if (kind == OSP_REQ)
		learn_exchange(pair);
	if (pair->heads[kind] == 1 && pair->clean[kind] && pair->singles < SINGLES_ENOUGH)
		pair->singles++;
	pair->turn[kind] = turn;
	pair->heads[kind] = 1;
	pair->clean[kind] = !pair->lost || pair->doubt_turn[kind] != turn;
}

void osp_pair_lost(struct osp_pair *pair, int kind, uint32_t lo, uint32_t hi, bool between)
{
	uint32_t next = lo ? lo + 2 : 2 - hi % 2;	/* turn of that direction after lo */
	struct osp_txn *txn = NULL;

	pair->lost = pair->unsync = true;
	pair->clean[kind] = false;
	pair->doubt_turn[kind] = hi;
	if (between && hi <= next)
		pair->between_turn[kind] = hi;
	if (between && lo == hi && hi == pair->turn[kind])
		pair->piped = true;
	while (kind == OSP_RES && (txn = osp_pair_unanswered(pair, txn)))
		txn->maybe_answered = true;
}

/* ---- pairing --------------------------------------------------------------------------------- */

void osp_pair_request(struct osp_pair *pair, struct osp_txn *txn, uint32_t turn)
{
	/* It came late: its answer may have gone by, as a response without a request or lost. */
	bool late = turn < pair->orphan_turn;

	txn->maybe_answered = late || (pair->lost && turn < pair->doubt_turn[OSP_RES]);
	txn->late = late || (pair->lost && !turn);
	txn->doubt = pair->lost && turn == pair->doubt_turn[OSP_REQ];
	osp_pair_learn(pair, OSP_REQ, turn);
	osp_list_add_tail(&pair->fifo, &txn->fifo);
}

static struct osp_txn *find_request(struct osp_pair *pair, uint32_t turn)
{
	uint32_t asked = turn ? turn - 1 : 0;
	struct osp_txn *txn;

	if (pair->unsync)
		drop_older(pair, asked);
	if (pair->lost && !turns_tell(pair)) {
		drop_candidates(pair, UINT32_MAX);
		return NULL;
	}
	txn = osp_pair_unanswered(pair, NULL);
	/* No answer comes before its question, whatever was lost in between. */
	if (!txn || (turn && txn->half[OSP_REQ].turn0 > asked))
		return NULL;
	/* One that was still being sent when a response was lost may have been answered early. */
	if (txn->late || (txn->doubt && !one_by_one(pair)) ||
	    (pair->unsync && txn->maybe_answered && candidates(pair, asked) > 1) ||
	    (pair->unsync && turn == pair->doubt_turn[OSP_RES] &&
	     (candidates(pair, asked) > 1 || !one_by_one(pair)))) {
		drop_candidates(pair, asked);
		return NULL;
	}
	if (!pair->unsync && turn && txn->half[OSP_REQ].turn1 < asked)
		pair->lagging = true;
	return txn;
}

/* The server spoke before the client said anything: in the first turn there is, which counts what we
 * lost, too. In a later one a lost request need not have shown yet.
 */
bool osp_pair_unasked(const struct osp_pair *pair, uint32_t turn)
{
	return turn == 1 && !pair->turn[OSP_REQ] && !pair->joined && !pair->lost;
}

uint32_t osp_pair_asked(const struct osp_pair *pair, uint64_t pos)
{
	const struct osp_txn *txn = osp_pair_unanswered((struct osp_pair *)pair, NULL);

	if (!txn || !txn->half[OSP_REQ].done || txn->half[OSP_REQ].end > pos)
		return 0;
	return txn->half[OSP_REQ].turn1;
}

struct osp_txn *osp_pair_response(struct osp_pair *pair, uint32_t turn)
{
	struct osp_txn *txn;

	osp_pair_learn(pair, OSP_RES, turn);
	txn = find_request(pair, turn);
	if (txn) {
		pair->unsync = false;
		return txn;
	}
	/* One must be missing, or late, or nobody asked: from now on turns pair. A hole in front of
	 * a request shows with the request; without turns nothing shows.
	 */
	pair->unsync = true;
	pair->lost = pair->lost || (!pair->joined && !turn);
	pair->orphan_turn = turn;
	return NULL;
}
