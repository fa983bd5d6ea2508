/* SPDX-License-Identifier: GPL-3.0-or-later */
/* uring.h: as much of io_uring as two workloads need, by its raw system calls. */
#ifndef OSP_TESTS_SYSCALLS_URING_H
#define OSP_TESTS_SYSCALLS_URING_H

#include "common.h"
#include <linux/io_uring.h>
#include <sys/mman.h>

struct ring {
	int fd;
	struct io_uring_params p;
	struct io_uring_sqe *sqe;
	char *sq, *cq;
};

static inline bool ring_open(struct ring *r)
{
	size_t sq, cq;

	memset(r, 0, sizeof(*r));
	r->fd = (int)syscall(SYS_io_uring_setup, 8, &r->p);
	if (r->fd < 0)
		return false;
	sq = r->p.sq_off.array + r->p.sq_entries * sizeof(uint32_t);
	cq = r->p.cq_off.cqes + r->p.cq_entries * sizeof(struct io_uring_cqe);
	r->sq = mmap(NULL, sq, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_SQ_RING);
	r->cq = mmap(NULL, cq, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, IORING_OFF_CQ_RING);
	r->sqe = mmap(NULL, r->p.sq_entries * sizeof(*r->sqe), PROT_READ | PROT_WRITE, MAP_SHARED,
		      r->fd, IORING_OFF_SQES);
	if (r->sq == MAP_FAILED || r->cq == MAP_FAILED || r->sqe == MAP_FAILED)
		die("mmap of the ring");
	return true;
}

/* Submits one operation without waiting for it. */
static inline void ring_submit(struct ring *r, uint8_t op, int fd, const void *p, size_t n)
{
	uint32_t *tail = (uint32_t *)(r->sq + r->p.sq_off.tail);
	uint32_t mask = *(uint32_t *)(r->sq + r->p.sq_off.ring_mask), at = *tail & mask;

	memset(&r->sqe[at], 0, sizeof(r->sqe[at]));
	r->sqe[at].opcode = op;
	r->sqe[at].fd = fd;
	r->sqe[at].addr = (uintptr_t)p;
	r->sqe[at].len = (uint32_t)n;
	((uint32_t *)(r->sq + r->p.sq_off.array))[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, r->fd, 1, 0, 0, NULL, 0) != 1)
		die("io_uring_enter");
}

/* Whether a completion is there; also for another process that has the ring mapped. */
static inline bool ring_ready(const struct ring *r)
{
	return *(uint32_t *)(r->cq + r->p.cq_off.head) !=
	       __atomic_load_n((uint32_t *)(r->cq + r->p.cq_off.tail), __ATOMIC_ACQUIRE);
}

/* A completion that is there already. */
static inline bool ring_done(struct ring *r, int *res)
{
	uint32_t *head = (uint32_t *)(r->cq + r->p.cq_off.head);
	uint32_t mask = *(uint32_t *)(r->cq + r->p.cq_off.ring_mask);

	if (!ring_ready(r))
		return false;
	*res = ((struct io_uring_cqe *)(r->cq + r->p.cq_off.cqes))[*head & mask].res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return true;
}

static inline int ring_wait(struct ring *r)
{
	int res;

	while (!ring_done(r, &res))
		if (syscall(SYS_io_uring_enter, r->fd, 0, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
			die("io_uring_enter");
	if (res <= 0) {
		errno = -res;
		die("io_uring operation");
	}
	return res;
}

#endif
