/* SPDX-License-Identifier: GPL-3.0-or-later */
/* chunk.h: memory that records of several sinks' queues live in. A chunk is filled by one lane
 * only, front to back; pieces of it that are full stand in queues and hold a count on it. Its memory is
 * free for reuse when the last piece and the lane have put it.
 */
#ifndef OSP_SINKS_CHUNK_H
#define OSP_SINKS_CHUNK_H

#include "record/osp_record.h"

#include <pthread.h>
#include <stdatomic.h>

/* A typical transaction takes 1.5 KiB, the smallest record 1.1 KiB: about 700 a chunk. */
#define OSP_CHUNK_BYTES (1u << 20)
#define OSP_CHUNK_RECS 1024u
/* Chunks kept for reuse; beyond it they go back to the system. */
#define OSP_CHUNKS_SPARE 16u

struct osp_chunk {
	_Atomic uint32_t refs;
	uint32_t n;				/* records; the lane's */
	size_t used, cap;			/* of mem; the lane's */
	struct osp_chunk *next;			/* among the spares */
	struct osp_record *rec[OSP_CHUNK_RECS];	/* no longer changed once it is in a queue */
	char mem[] __attribute__((aligned(16)));
};

struct osp_chunk_pool {
	pthread_mutex_t lock;
	struct osp_chunk *spare;
	uint32_t spare_n;
};

int osp_chunk_pool_init(struct osp_chunk_pool *pool);
void osp_chunk_pool_fini(struct osp_chunk_pool *pool);

/* An empty chunk with at least min bytes and one count; NULL: no memory. */
struct osp_chunk *osp_chunk_get(struct osp_chunk_pool *pool, size_t min);
void osp_chunk_hold(struct osp_chunk *chunk);
/* @thread any. NULL is fine. */
void osp_chunk_put(struct osp_chunk_pool *pool, struct osp_chunk *chunk);

/* rec copied into the chunk; NULL: it has no room for it. */
struct osp_record *osp_chunk_add(struct osp_chunk *chunk, const struct osp_record *rec);

static inline struct osp_record *osp_chunk_rec(struct osp_chunk *chunk, uint32_t i)
{
	return chunk->rec[i];
}

/* Records [first, first + n) of a chunk. */
struct osp_piece {
	struct osp_chunk *chunk;
	uint32_t first, n;
	uint32_t kind_n[OSP_REC_KIND_MAX];	/* of them, by kind */
	size_t bytes;
};

#endif
