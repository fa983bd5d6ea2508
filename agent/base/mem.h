/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mem.h: where memory comes from, and memory that is used again instead of being given back.
 *
 * A pool is for what comes and goes, of any size. Sizes are classes, two an octave (128, 192, 256,
 * 384 ...), so a buffer wastes a third at most. Free buffers are kept up to idle_max bytes; in steady
 * state nothing is allocated.
 *
 * A slab is for what stays, many of one size, to the byte: cut from pages that go back to the system
 * when nothing in them is used any more.
 *
 * @thread a pool, a slab: its owner. osp_mem_*: any.
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

/* memset and memcpy out of line: for a known size of some hundred bytes gcc writes rep stos and
 * rep movs, which take several times as long as what libc picks for the machine.
 */
void osp_mem_clear(void *p, size_t n);
void osp_mem_copy(void *to, const void *from, size_t n);

#define OSP_POOL_MIN 128u
#define OSP_POOL_CLASSES 50

struct osp_pool {
	void *idle[OSP_POOL_CLASSES];	/* chained through their first word */
	uint64_t idle_bytes, idle_max;
	uint64_t idle_low;	/* least of idle_bytes since the last osp_pool_trim() */
};

/* The size a buffer for n bytes has; 0: too large for a pool (beyond 2 GiB). */
uint32_t osp_pool_size(uint64_t n);
/* A buffer of exactly osp_pool_size(n) bytes, not cleared; NULL: no memory. */
void *osp_pool_get(struct osp_pool *pool, uint32_t size);
/* size: as it was got. NULL is fine. */
void osp_pool_put(struct osp_pool *pool, void *p, uint32_t size);
void osp_pool_fini(struct osp_pool *pool);
/* Frees half of what has not been needed since the last call. Returns how many bytes. */
uint64_t osp_pool_trim(struct osp_pool *pool);

/* Freed memory back to the system, as far as malloc can tell which: some milliseconds. */
void osp_mem_return(void);

struct osp_slab_page;
struct osp_slab {
	size_t size;		/* of an object with what stands before it */
	uint32_t per_page;
	struct osp_slab_page *part;	/* pages with room */
	struct osp_slab_page *spare;	/* one without objects, or NULL */
	struct osp_slab_page *all;	/* for osp_slab_fini() */
};

/* Objects of size bytes, aligned to 8. */
void osp_slab_init(struct osp_slab *slab, size_t size);
int osp_slab_fits(const struct osp_slab *slab, size_t size);
/* An object, not cleared; NULL: no memory. */
void *osp_slab_get(struct osp_slab *slab);
/* NULL is fine. */
void osp_slab_put(struct osp_slab *slab, void *p);
/* Gives everything back, objects that were not put included. */
void osp_slab_fini(struct osp_slab *slab);

#endif
