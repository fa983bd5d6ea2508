/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mem.c: calloc with a seam for tests, a pool of buffers by size class, and slabs. */
#include "agent/base/mem.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Not defined in any program of ours: a test defines it and returns true where an allocation is to
 * fail. Weak, so that production carries no state and no branch worth naming.
 */
__attribute__((weak)) int osp_mem_test_fail(void);

static int fail(void)
{
	return osp_mem_test_fail && osp_mem_test_fail();
}

void *osp_mem_zalloc(size_t n)
{
	return fail() ? NULL : calloc(1, n ? n : 1);
}

void *osp_mem_realloc(void *p, size_t n)
{
	return fail() ? NULL : realloc(p, n ? n : 1);
}

void osp_mem_free(void *p)
{
	free(p);
}

void osp_mem_clear(void *p, size_t n)
{
	memset(p, 0, n);
}

void osp_mem_copy(void *to, const void *from, size_t n)
{
	memcpy(to, from, n);
}

/* Class 2k is 128 << k, class 2k + 1 half as much again. */
static unsigned int pool_class(uint64_t n)
{
	unsigned int k;

	if (n <= OSP_POOL_MIN)
		return 0;
	k = 63 - (unsigned int)__builtin_clzll(n - 1);	/* 2^k < n <= 2^(k+1) */
	if (n <= 3ull << (k - 1))
		return 2 * (k - 7) + 1;
	return 2 * (k - 7) + 2;
}

uint32_t osp_pool_size(uint64_t n)
{
	unsigned int c;
	uint64_t size;

	if (n > 1ull << 31)
		return 0;
	c = pool_class(n);
	size = (uint64_t)OSP_POOL_MIN << (c / 2);
	return (uint32_t)(c % 2 ? size + size / 2 : size);
}

void *osp_pool_get(struct osp_pool *pool, uint32_t size)
{
	unsigned int c = pool_class(size);
	void *p = pool->idle[c];

	if (p) {
		memcpy(&pool->idle[c], p, sizeof(void *));
		pool->idle_bytes -= size;
		if (pool->idle_bytes < pool->idle_low)
			pool->idle_low = pool->idle_bytes;
		return p;
	}
	return fail() ? NULL : malloc(size);
}

void osp_pool_put(struct osp_pool *pool, void *p, uint32_t size)
{
	unsigned int c = pool_class(size);

	if (!p)
		return;
	if (pool->idle_bytes + size > pool->idle_max) {
		free(p);
		return;
	}
	memcpy(p, &pool->idle[c], sizeof(void *));
	pool->idle[c] = p;
	pool->idle_bytes += size;
}

void osp_pool_fini(struct osp_pool *pool)
{
	unsigned int c;
	void *p;

	for (c = 0; c < OSP_POOL_CLASSES; c++) {
		while ((p = pool->idle[c])) {
			memcpy(&pool->idle[c], p, sizeof(void *));
			free(p);
		}
	}
	pool->idle_bytes = 0;
}

uint64_t osp_pool_trim(struct osp_pool *pool)
{
	uint64_t spare = pool->idle_low / 2, freed = 0;
	unsigned int c;
	void *p;

	for (c = OSP_POOL_CLASSES; c-- > 0 && freed < spare;) {
		uint64_t size = (uint64_t)OSP_POOL_MIN << (c / 2);

		size += c % 2 ? size / 2 : 0;
		while (freed + size <= spare && (p = pool->idle[c])) {
			memcpy(&pool->idle[c], p, sizeof(void *));
			free(p);
			freed += size;
		}
	}
	pool->idle_bytes -= freed;
	pool->idle_low = pool->idle_bytes;
	return freed;
}

void osp_mem_return(void)
{
	malloc_trim(0);
}

/* ---- slabs ----------------------------------------------------------------------------------- */

/* Mapped, not malloc'ed: unmapping gives it back whatever else is in use. Some hundred connections. */
#define PAGE_BYTES (256u << 10)

struct osp_slab_page {
	struct osp_slab_page *next, **at;	/* of the slab's part; at NULL: not on it */
	struct osp_slab_page *all_next, **all_at;
	void *idle;		/* objects that were put, chained through their first word */
	uint32_t used, cut;	/* objects in use; objects ever cut from it */
};

/* What stands before each object. */
struct home {
	struct osp_slab_page *page;
};

void osp_slab_init(struct osp_slab *slab, size_t size)
{
	*slab = (struct osp_slab){ .size = sizeof(struct home) + ((size + 7) & ~(size_t)7) };
	slab->per_page = (uint32_t)((PAGE_BYTES - sizeof(struct osp_slab_page)) / slab->size);
}

int osp_slab_fits(const struct osp_slab *slab, size_t size)
{
	return size <= slab->size - sizeof(struct home);
}

static void part_add(struct osp_slab *slab, struct osp_slab_page *page)
{
	page->next = slab->part;
	page->at = &slab->part;
	if (page->next)
		page->next->at = &page->next;
	slab->part = page;
}

static void part_del(struct osp_slab_page *page)
{
	*page->at = page->next;
	if (page->next)
		page->next->at = page->at;
	page->at = NULL;
}

static struct osp_slab_page *page_new(struct osp_slab *slab)
{
	struct osp_slab_page *page = slab->spare;

	slab->spare = NULL;
	if (page)
		return page;
	page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return NULL;
	page->all_next = slab->all;
	page->all_at = &slab->all;
	if (page->all_next)
		page->all_next->all_at = &page->all_next;
	slab->all = page;
	return page;
}

static void page_free(struct osp_slab_page *page)
{
	*page->all_at = page->all_next;
	if (page->all_next)
		page->all_next->all_at = page->all_at;
	munmap(page, PAGE_BYTES);
}

void *osp_slab_get(struct osp_slab *slab)
{
	struct osp_slab_page *page = slab->part;
	struct home *home;
	void *p;

	if (!page || !page->idle) {
		/* As a pool does where it would have to ask malloc. */
		if (fail())
			return NULL;
	}
	if (!page) {
		page = page_new(slab);
		if (!page)
			return NULL;
		part_add(slab, page);
	}
	p = page->idle;
	if (p) {
		memcpy(&page->idle, p, sizeof(void *));
	} else {
		home = (struct home *)((char *)(page + 1) + page->cut++ * slab->size);
		home->page = page;
		p = home + 1;
	}
	if (++page->used == slab->per_page)
		part_del(page);
	return p;
}

void osp_slab_put(struct osp_slab *slab, void *p)
{
	struct osp_slab_page *page;

	if (!p)
		return;
	page = ((struct home *)p - 1)->page;
	memcpy(p, &page->idle, sizeof(void *));
	page->idle = p;
	if (!page->at)
		part_add(slab, page);
	if (--page->used)
		return;
	part_del(page);
	if (slab->spare)
		page_free(page);
	else
		slab->spare = page;
}

void osp_slab_fini(struct osp_slab *slab)
{
	while (slab->all)
		page_free(slab->all);
	slab->part = slab->spare = NULL;
}
