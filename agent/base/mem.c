/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mem.c: calloc with a seam for tests, and a pool of buffers by size class. */
#include "agent/base/mem.h"

#include <stdlib.h>
#include <string.h>

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
