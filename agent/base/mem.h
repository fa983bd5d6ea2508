/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mem.h: where memory comes from, and buffers that are used again instead of being given back.
 *
 * Sizes of a pool are classes, two an octave (128, 192, 256, 384 ...), so a buffer wastes a third
 * at most. Free buffers are kept up to idle_max bytes; in steady state nothing is allocated.
 *
 * @thread the pool: its owner. osp_mem_*: any.
 */
#ifndef OSP_BASE_MEM_H
#define OSP_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* calloc, realloc, free; NULL when there is no memory. A test that wants to see what happens then
 * defines osp_mem_test_fail() (see mem.c) and fails the n-th one.
 */
void *osp_mem_zalloc(size_t n);
void *osp_mem_realloc(void *p, size_t n);
void osp_mem_free(void *p);

#define OSP_POOL_MIN 128u
#define OSP_POOL_CLASSES 50

struct osp_pool {
	void *idle[OSP_POOL_CLASSES];	/* chained through their first word */
	uint64_t idle_bytes, idle_max;
};

/* The size a buffer for n bytes has; 0: too large for a pool (beyond 2 GiB). */
uint32_t osp_pool_size(uint64_t n);
/* A buffer of exactly osp_pool_size(n) bytes, not cleared; NULL: no memory. */
void *osp_pool_get(struct osp_pool *pool, uint32_t size);
/* size: as it was got. NULL is fine. */
void osp_pool_put(struct osp_pool *pool, void *p, uint32_t size);
void osp_pool_fini(struct osp_pool *pool);

#endif
