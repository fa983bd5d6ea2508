/* SPDX-License-Identifier: GPL-3.0-or-later */
/* synth.h: what the files of the synthetic source share; nobody else includes it.
 *
 * Words: a link is one TCP connection between a made-up client and server; a side is one end of it
 * as a probe would see it (role=both: two). A burst is what one end sends before the other gets
 * its turn: one message, or several where requests are pipelined. A piece is one event's part of
 * a burst.
 *
 * @thread loop
 */
#ifndef OSP_SYNTH_H
#define OSP_SYNTH_H

#include "bpf/osp_events.h"
#include "record/osp_record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* ---- random numbers: xoshiro256** (Blackman, Vigna 2018), seeded by splitmix64 ------------ */

struct synth_rng {
	uint64_t s[4];
};

static inline uint64_t synth_mix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static inline uint64_t synth_rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static inline uint64_t synth_rand(struct synth_rng *rng)
{
	uint64_t *s = rng->s, out = synth_rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = synth_rotl(s[3], 45);
	return out;
}

/* 0 … n - 1; 0 for n < 2, without taking a number. The bias is below n / 2^64. */
static inline uint64_t synth_below(struct synth_rng *rng, uint64_t n)
{
	return n < 2 ? 0 : (uint64_t)(((unsigned __int128)synth_rand(rng) * n) >> 64);
}

/* True with probability p / SYNTH_ONE. */
#define SYNTH_ONE (1ull << 32)

static inline bool synth_chance(struct synth_rng *rng, uint64_t p)
{
	return p && synth_rand(rng) >> 32 < p;
}

/* ---- the spec ------------------------------------------------------------------------------- */

#define SYNTH_BODY_MAX (16ull << 20)
#define SYNTH_PIPELINE_MAX 1024
#define SYNTH_METHODS_MAX 64

enum synth_method { SYNTH_GET, SYNTH_HEAD, SYNTH_POST, SYNTH_PUT, SYNTH_METHODS };
extern const char *const synth_method_name[SYNTH_METHODS];

enum synth_role { SYNTH_SERVER, SYNTH_CLIENT, SYNTH_BOTH };

struct synth_spec {
	uint64_t seed, conns, txns, pipeline, keepalive, conc, rate;
	uint64_t body_min, body_max;
	uint64_t chunked, split, reorder, loss, interim, v6, eof;	/* of SYNTH_ONE */
	enum synth_role role;
	uint32_t method_n;
	uint8_t method[SYNTH_METHODS_MAX];	/* picked from evenly; repeats weigh more */
	char *truth;				/* path, or NULL */
};

/* text may be NULL. 0, -EINVAL with one line in err, or -ENOMEM. */
int synth_spec_parse(struct synth_spec *spec, const char *text, char *err, size_t err_size);
void synth_spec_fini(struct synth_spec *spec);

/* ---- messages ------------------------------------------------------------------------------- */

/* One half of a transaction as it was made. */
struct synth_half {
	uint32_t seq;			/* of the first byte; not of an interim response's */
	uint32_t head;
	uint64_t wire, body;
	uint64_t digest;		/* xxh64 of the body; only where a truth is written */
	uint32_t body_at;		/* where the content stands in synth_maker.block */
	bool chunked;
};

/* What one side has not been told about a transaction. */
struct synth_loss {
	uint64_t bytes[OSP_ENDS];
	uint64_t interim;
	bool head[OSP_ENDS];
};

struct synth_txn {
	uint64_t conn, n;		/* link's index; n-th transaction on it, from 1 */
	uint8_t method, query, interim_n;
	bool expect, close_delimited;
	uint16_t status, interim;	/* interim: 100 or 103 */
	uint32_t interim_bytes;
	struct synth_half half[OSP_ENDS];
	struct synth_loss loss[2];	/* by side */
};

enum synth_part { SYNTH_PART_HEAD, SYNTH_PART_BODY, SYNTH_PART_INTERIM };

/* Whose bytes [from, to) of a burst are: where a lost piece hurts. */
struct synth_span {
	uint32_t from, to;
	struct synth_txn *txn;
	uint8_t part, end;		/* enum synth_part; OSP_REQ or OSP_RES */
};

/* Room before a burst's first byte: an event's header goes there, so that a burst which is one
 * piece is handed over in place.
 */
#define SYNTH_ROOM sizeof(struct osp_ev_data)

struct synth_burst {
	uint8_t *mem;			/* SYNTH_ROOM bytes, then the burst */
	uint32_t cap, len;		/* without SYNTH_ROOM */
	uint32_t seq;			/* sequence number of its first byte */
	uint8_t end;			/* which end's: OSP_REQ sent by the client, OSP_RES */
	uint32_t span_n, stop_n;
	struct synth_span *span;	/* room for SYNTH_SPANS(pipeline) */
	uint32_t *stop;			/* ends of its messages; room for SYNTH_STOPS(pipeline) */
};
#define SYNTH_SPANS(pipeline) (3 * (pipeline) + 1)
#define SYNTH_STOPS(pipeline) (2 * (pipeline) + 1)

struct synth_maker {
	const struct synth_spec *spec;
	struct synth_rng *rng;
	uint8_t *block;			/* content that bodies are cut from */
	uint32_t block_len;
	bool digests;
};

/* block is allocated and filled; free() it. 0 or -ENOMEM. */
int synth_maker_init(struct synth_maker *mk, const struct synth_spec *spec, struct synth_rng *rng);

/* Each appends to the burst; 0 or -ENOMEM. A request with txn->expect set gets its head only; its
 * body follows with synth_make_body once the 100 was sent.
 */
int synth_make_request(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn);
int synth_make_body(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn);
int synth_make_continue(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn);
int synth_make_response(struct synth_maker *mk, struct synth_burst *burst, struct synth_txn *txn,
			bool last);

/* Text helpers: each returns the place after what it wrote. */
static inline char *synth_put(char *p, const char *s, size_t n)
{
	memcpy(p, s, n);
	return p + n;
}
#define SYNTH_LIT(s) (s), sizeof(s) - 1
char *synth_put_u64(char *p, uint64_t v);
/* "/c<conn>/t<n>?<query>": tells which transaction it is, wherever it turns up. At most
 * SYNTH_TARGET_MAX bytes.
 */
char *synth_put_target(char *p, const struct synth_txn *txn, bool with_query);
#define SYNTH_TARGET_MAX 256

/* ---- the truth ------------------------------------------------------------------------------ */

struct synth_totals {
	uint64_t exchanges;		/* as made; each side sees each */
	uint64_t transactions;		/* exchanges x sides */
	uint64_t connections;		/* links x sides */
	uint64_t made, delivered, lost;	/* DATA events */
	uint64_t lost_bytes, turns, exchanges_lost;
	uint64_t bytes[OSP_DIRS];
};

struct synth_truth;

int synth_truth_open(struct synth_truth **out, const char *path);
void synth_truth_txn(struct synth_truth *tr, const struct synth_txn *txn, int side, uint64_t cookie,
		     uint8_t role);
/* Writes the last line and all that waits. The first error since it was opened, or 0. */
int synth_truth_finish(struct synth_truth *tr, const struct synth_totals *tot);
void synth_truth_free(struct synth_truth *tr);

#endif
