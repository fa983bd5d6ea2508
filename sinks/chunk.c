/* SPDX-License-Identifier: GPL-3.0-or-later */
/* chunk.c: counted chunks of record memory and the spares kept of them. */
#include "sinks/chunk.h"

#include <stdlib.h>

int osp_chunk_pool_init(struct osp_chunk_pool *pool)
{
	pool->spare = NULL;
	pool->spare_n = 0;
	return -pthread_mutex_init(&pool->lock, NULL);
}

void osp_chunk_pool_fini(struct osp_chunk_pool *pool)
{
	struct osp_chunk *chunk;

	while ((chunk = pool->spare)) {
		pool->spare = chunk->next;
		free(chunk);
	}
	pthread_mutex_destroy(&pool->lock);
}

struct osp_chunk *osp_chunk_get(struct osp_chunk_pool *pool, size_t min)
{
	size_t cap = min > OSP_CHUNK_BYTES ? min : OSP_CHUNK_BYTES;
	struct osp_chunk *chunk = NULL;

	if (cap == OSP_CHUNK_BYTES) {
		pthread_mutex_lock(&pool->lock);
		chunk = pool->spare;
		if (chunk) {
			pool->spare = chunk->next;
			pool->spare_n--;
		}
		pthread_mutex_unlock(&pool->lock);
	}
	if (!chunk) {
		chunk = malloc(sizeof(*chunk) + cap);
		if (!chunk)
			return NULL;
		chunk->cap = cap;
	}
	chunk->n = 0;
	chunk->used = 0;
	atomic_init(&chunk->refs, 1);
	return chunk;
}

void osp_chunk_hold(struct osp_chunk *chunk)
{
	atomic_fetch_add_explicit(&chunk->refs, 1, memory_order_relaxed);
}

void osp_chunk_put(struct osp_chunk_pool *pool, struct osp_chunk *chunk)
{
	if (!chunk || atomic_fetch_sub_explicit(&chunk->refs, 1, memory_order_acq_rel) != 1)
		return;
	/* Chunks of unusual size (one huge record) would make the spares unusual too. */
	if (chunk->cap == OSP_CHUNK_BYTES) {
		pthread_mutex_lock(&pool->lock);
		if (pool->spare_n < OSP_CHUNKS_SPARE) {
			chunk->next = pool->spare;
			pool->spare = chunk;
			pool->spare_n++;
			chunk = NULL;
		}
		pthread_mutex_unlock(&pool->lock);
	}
	free(chunk);
}

struct osp_record *osp_chunk_add(struct osp_chunk *chunk, const struct osp_record *rec)
{
	void *mem = chunk->mem + chunk->used;
	size_t n;

	if (chunk->n == OSP_CHUNK_RECS)
		return NULL;
	n = osp_record_put(mem, chunk->cap - chunk->used, rec);
	if (!n)
		return NULL;
	chunk->used += n;
	chunk->rec[chunk->n++] = mem;
	return mem;
}
