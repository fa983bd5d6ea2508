/* SPDX-License-Identifier: GPL-3.0-or-later */
/* ring.c: reading a BPF ring buffer in place. Layout: Documentation/bpf/ringbuf.rst; one page with
 * the consumer's position, one with the producers', then the data, twice in a row.
 */
#include "agent/ring.h"

#include <errno.h>
#include <linux/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A consumer position for each record would bounce a cache line between the CPUs for each. */
#define PUBLISH_SHARE 32

int osp_ring_init(struct osp_ring *ring, int fd, unsigned long size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	memset(ring, 0, sizeof(*ring));
	ring->fd = fd;
	ring->size = size;
	ring->map_cons = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (ring->map_cons == MAP_FAILED) {
		ring->map_cons = NULL;
		return -errno;
	}
	ring->map_prod = mmap(NULL, page + 2 * size, PROT_READ, MAP_SHARED, fd, (off_t)page);
	if (ring->map_prod == MAP_FAILED) {
		int err = -errno;

		ring->map_prod = NULL;
		osp_ring_fini(ring);
		return err;
	}
	ring->consumer = ring->map_cons;
	ring->producer = ring->map_prod;
	ring->data = (const uint8_t *)ring->map_prod + page;
	ring->pos = ring->published = *ring->consumer;
	return 0;
}

void osp_ring_fini(struct osp_ring *ring)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (ring->map_cons)
		munmap(ring->map_cons, page);
	if (ring->map_prod)
		munmap(ring->map_prod, page + 2 * ring->size);
	ring->map_cons = ring->map_prod = NULL;
}

unsigned long osp_ring_mark(const struct osp_ring *ring)
{
	return __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
}

static uint32_t header(const struct osp_ring *ring, unsigned long pos)
{
	const uint32_t *len = (const uint32_t *)(ring->data + (pos & (ring->size - 1)));

	return __atomic_load_n(len, __ATOMIC_ACQUIRE);
}

/* A record takes its header and its length, rounded up to 8 bytes. */
unsigned long osp_ring_after(const struct osp_ring *ring, unsigned long pos)
{
	uint32_t len = header(ring, pos) & ~(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT);

	return pos + ((len + BPF_RINGBUF_HDR_SZ + 7ul) & ~7ul);
}

const void *osp_ring_at(const struct osp_ring *ring, unsigned long *pos, unsigned long mark,
			uint32_t *size, int *busy)
{
	*busy = 0;
	for (; (long)(mark - *pos) > 0; *pos = osp_ring_after(ring, *pos)) {
		uint32_t len = header(ring, *pos);

		if (len & BPF_RINGBUF_BUSY_BIT) {
			*busy = 1;
			return NULL;
		}
		if (len & BPF_RINGBUF_DISCARD_BIT)
			continue;
		*size = len;
		return ring->data + (*pos & (ring->size - 1)) + BPF_RINGBUF_HDR_SZ;
	}
	return NULL;
}

void osp_ring_done(struct osp_ring *ring, unsigned long pos)
{
	ring->pos = pos;
	if (ring->pos - ring->published >= ring->size / PUBLISH_SHARE)
		osp_ring_publish(ring);
}

void osp_ring_publish(struct osp_ring *ring)
{
	if (ring->pos == ring->published)
		return;
	__atomic_store_n(ring->consumer, ring->pos, __ATOMIC_RELEASE);
	ring->published = ring->pos;
}
