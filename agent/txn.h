/* SPDX-License-Identifier: GPL-3.0-or-later */
/* txn.h: messages become transactions: which response answers which request, and what is kept of
 * both until the record is made.
 *
 * @thread loop
 */
#ifndef OSP_TXN_H
#define OSP_TXN_H

#include "agent/base/list.h"
#include "agent/parser/parser.h"
#include "agent/proc.h"
#include "record/osp_record.h"

#include <stdbool.h>
#include <stdint.h>

#define XXH_STATIC_LINKING_ONLY
#include <xxhash.h>

struct osp_conn;

/* One message. */
struct osp_half {
	bool there;		/* its head was seen */
	bool done;		/* complete */
	bool ended;		/* the parser is through with it, complete or not */
	bool sized;		/* wire, body are right */
	bool gap;		/* bytes of it are missing */
	bool has_cl;
	bool by_length;		/* its body is as long as content_length says, or cut off */
	bool hashed;		/* xxh is in use */
	bool codings;		/* more of them than the string tells */
	uint16_t status;
	uint32_t head_bytes;
	uint32_t header_off, header_n;	/* struct osp_kept_header[] in the transaction's strings */
	uint32_t turn0, turn1;	/* turns of its first and its last byte */
	uint32_t tgid, tid;
	struct osp_proc *proc;	/* a reference */
	uint64_t content_length, body, wire;
	uint64_t pos, end;
	uint64_t ts0, ts1;	/* event time of the first and the last byte */
	struct osp_buf kept;	/* of the body */
	uint64_t digest;	/* of the body, unless hashed */
	XXH64_state_t xxh;
};

struct osp_kept_header {
	uint32_t name_off, name_n, value_off, value_n, redacted;
};

struct osp_txn {
	struct osp_conn *conn;
	struct osp_list fifo;	/* of the connection: requests in order; not on it: no request */
	struct osp_list timer;
	uint64_t due;		/* when it times out */
	uint64_t index;		/* n-th of the connection, from 1 */
	uint64_t lost;		/* bytes known to be missing */
	uint32_t size;		/* of the allocation */
	uint32_t flags, anomalies;
	uint32_t off[OSP_MSG_STRS], len[OSP_MSG_STRS];	/* into str; off 0: not there */
	struct osp_buf str;	/* starts with a byte of nothing, so that 0 is no offset; in room[]
				 * as long as that is enough
				 */
	uint16_t interim[OSP_INTERIM_MAX];
	uint8_t interim_n;
	uint8_t answers;	/* enum osp_answers: what a response to it has to know */
	bool counted;		/* index is right: nothing was lost before */
	bool tomb;		/* its record is made; keeps the place of a late response */
	bool doubt;		/* a request before it, in the same turn, may be lost */
	bool late;		/* its answer may have been seen before it */
	bool bad_request;	/* the request can't be framed, its answer is awaited */
	bool maybe_answered;	/* the response may be among what was lost */
	struct osp_half half[OSP_ENDS];
	char room[];
};

#define OSP_EX_BLOCKS 4

/* What a connection knows about the order of messages; by OSP_REQ, OSP_RES where there are two. */
struct osp_pair {
	struct osp_list fifo;
	struct osp_txn *cur[OSP_ENDS];	/* messages under way; NULL: none, or nobody's */
	/* Exchanges of which something was seen, by blocks of 64 (number + 1, 0: none): one direction
	 * may wait while the other leaps over a loss, which puts many blocks between them.
	 */
	uint64_t ex_mask[OSP_EX_BLOCKS];
	uint32_t ex_block[OSP_EX_BLOCKS];
	uint32_t ex_seen;
	uint32_t ex_last;	/* the one marked last, number + 1 */
	uint32_t turn[OSP_ENDS];	/* latest turn with heads of that kind */
	uint32_t heads[OSP_ENDS];	/* how many began in it */
	uint32_t doubt_turn[OSP_ENDS];	/* messages may have been lost in that turn */
	uint32_t between_turn[OSP_ENDS];	/* ... and what was lost was no part of the ones seen */
	uint32_t orphan_turn;	/* latest turn with a response whose request was not known */
	uint8_t parity;		/* of turns with requests: 1 odd, 2 even, 0 not known */
	uint8_t singles;	/* whole turns with exactly one message, as far as it matters */
	uint8_t calm;		/* turns in a row answered in full, as far as it matters */
	bool clean[OSP_ENDS];	/* nothing was lost around that turn so far */
	bool interim;		/* interim responses were seen */
	bool joined;		/* midstream: what was before is not known */
	bool lost;		/* messages may have been lost, ever */
	bool unsync;		/* order alone does not pair any more */
	bool piped;		/* several messages of one kind went in one turn */
	bool lagging;		/* responses came turns later than requests: turns do not pair */
};

/* Why everything of a connection ends. */
enum osp_conn_end {
	OSP_CE_FIN,
	OSP_CE_RESET,
	OSP_CE_TIMEOUT,		/* the kernel gave up */
	OSP_CE_EXIT,		/* gone without any of these */
	OSP_CE_REOPENED,	/* its CLOSE was lost */
	OSP_CE_IDLE,
	OSP_CE_EVICTED,
	OSP_CE_SHED,
	OSP_CE_STOP
};

extern const struct osp_parser_host osp_txn_host;

/* Ends all transactions of the connection, as `how` and what is there of them tell. */
void osp_txn_end_all(struct osp_conn *conn, enum osp_conn_end how);

/* No response came in time. */
void osp_txn_timeout(struct osp_txn *txn);

/* 128 bits that name the n-th transaction (0: the connection itself), the same in every replay. */
void osp_txn_id(const struct osp_conn *conn, uint64_t index, uint64_t id[2]);

/* The response's direction has ended: requests that are complete will not be answered. */
void osp_txn_end_answers(struct osp_conn *conn);

/* Counts and records a transaction, and frees it. */
void osp_txn_finish(struct osp_txn *txn, enum osp_outcome outcome);

/* ---- pair.c ---------------------------------------------------------------------------------- */

void osp_pair_init(struct osp_pair *pair);

/* A message begins in that turn: tells how the connection behaves. The next two include it. */
void osp_pair_learn(struct osp_pair *pair, int kind, uint32_t turn);

/* A request begins in that turn: txn joins the queue. */
void osp_pair_request(struct osp_pair *pair, struct osp_txn *txn, uint32_t turn);

/* The request that a response beginning in that turn answers; NULL: it is not known. Requests that
 * turn out to have lost theirs are finished.
 */
struct osp_txn *osp_pair_response(struct osp_pair *pair, uint32_t turn);

/* Whether nobody had asked when a response without a request began in that turn: not that we missed
 * the request, but there was none. To be asked before osp_pair_response().
 */
bool osp_pair_unasked(const struct osp_pair *pair, uint32_t turn);
/* The turn in which the first request without a response ended, if that was before position pos of its
 * direction; else 0.
 */
uint32_t osp_pair_asked(const struct osp_pair *pair, uint64_t pos);

/* Messages of that kind may be gone: bytes were lost in turns lo to hi. between: after the end of a
 * message, not within one, and the turns are certain.
 */
void osp_pair_lost(struct osp_pair *pair, int kind, uint32_t lo, uint32_t hi, bool between);

/* The oldest request without a response after txn (NULL: of all). */
struct osp_txn *osp_pair_unanswered(struct osp_pair *pair, struct osp_txn *txn);

/* Something of a message was seen in that turn. Returns whether something of that exchange had been
 * already.
 */
bool osp_pair_mark(struct osp_pair *pair, int kind, uint32_t turn);

/* Exchanges of which nothing was seen, of `turns` turns in all. */
uint64_t osp_pair_exchanges_lost(const struct osp_pair *pair, uint32_t turns);

#endif
