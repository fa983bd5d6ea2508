/* SPDX-License-Identifier: GPL-3.0-or-later */
/* queue.c: the bounded queue between the loop and one sink's thread, and what happens when it is
 * full.
 *
 * Bounded by the bytes its pieces use, not by their number: a piece that continues the last queued
 * one is joined to it, so a slow sink's queue is a few long pieces and the ring stays short.
 */
#include "sinks/inst.h"

#include <stdlib.h>

#define RING_FIRST 64u
#define RING_MAX 65536u
/* How often a waiting offer asks whether it should give up. */
#define ASK_NS 20000000ull

int osp_inst_init_queue(struct osp_inst *inst)
{
	int err = -pthread_mutex_init(&inst->lock, NULL);

	if (!err)
		err = osp_cond_init(&inst->work);
	if (!err)
		err = osp_cond_init(&inst->room);
	return err;
}

void osp_inst_fini_queue(struct osp_inst *inst)
{
	free(inst->ring);
	pthread_cond_destroy(&inst->work);
	pthread_cond_destroy(&inst->room);
	pthread_mutex_destroy(&inst->lock);
}

uint32_t osp_inst_wants(const struct osp_inst *inst, const struct osp_piece *piece)
{
	uint32_t n = 0;

	for (int kind = 1; kind < OSP_REC_KIND_MAX; kind++)
		if (inst->kinds & 1u << kind)
			n += piece->kind_n[kind];
	return n;
}

struct osp_piece osp_inst_pop_locked(struct osp_inst *inst)
{
	struct osp_piece piece = { 0 };

	if (inst->count) {
		piece = inst->ring[inst->head];
		inst->head = (inst->head + 1) & (inst->ring_cap - 1);
		inst->count--;
	}
	return piece;
}

static void drop_oldest(struct osp_inst *inst)
{
	struct osp_piece piece = osp_inst_pop_locked(inst);
	uint32_t n = osp_inst_wants(inst, &piece);

	inst->queue_bytes -= piece.bytes;
	inst->cnt.queued -= n;
	inst->cnt.dropped += n;
	osp_chunk_put(inst->pool, piece.chunk);
}

void osp_inst_drop_all_locked(struct osp_inst *inst)
{
	while (inst->count)
		drop_oldest(inst);
}

/* A ring with room for one more; false: none. */
static bool ring_room(struct osp_inst *inst)
{
	uint32_t cap = inst->ring_cap ? inst->ring_cap * 2 : RING_FIRST;
	struct osp_piece *ring;

	if (inst->count < inst->ring_cap)
		return true;
	if (cap > RING_MAX)
		return false;
	ring = calloc(cap, sizeof(*ring));
	if (!ring)
		return false;
	for (uint32_t i = 0; i < inst->count; i++)
		ring[i] = inst->ring[(inst->head + i) & (inst->ring_cap - 1)];
	free(inst->ring);
	inst->ring = ring;
	inst->ring_cap = cap;
	inst->head = 0;
	return true;
}

/* Joins the piece to the last queued one if it goes on where that ends. */
static bool join(struct osp_inst *inst, const struct osp_piece *piece)
{
	struct osp_piece *last;

	if (!inst->count)
		return false;
	last = &inst->ring[(inst->head + inst->count - 1) & (inst->ring_cap - 1)];
	if (last->chunk != piece->chunk || last->first + last->n != piece->first)
		return false;
	last->n += piece->n;
	last->bytes += piece->bytes;
	for (int kind = 0; kind < OSP_REC_KIND_MAX; kind++)
		last->kind_n[kind] += piece->kind_n[kind];
	return true;
}

static bool push(struct osp_inst *inst, const struct osp_piece *piece)
{
	if (!join(inst, piece)) {
		if (!ring_room(inst))
			return false;
		inst->ring[(inst->head + inst->count) & (inst->ring_cap - 1)] = *piece;
		inst->count++;
		osp_chunk_hold(piece->chunk);
	}
	inst->queue_bytes += piece->bytes;
	return true;
}

/* An empty queue takes a piece of any size: one huge record must be able to pass. */
static bool fits(const struct osp_inst *inst, const struct osp_piece *piece)
{
	return !inst->queue_bytes ||
	       inst->queue_bytes + piece->bytes <= inst->conf.queue_bytes;
}

/* Asked without the lock: who is asked may look at the sinks' counters or have them reopened. */
static bool told_to_give_up(struct osp_inst *inst, bool (*give_up)(void *ctx), void *ctx)
{
	bool yes;

	if (!give_up)
		return false;
	pthread_mutex_unlock(&inst->lock);
	yes = give_up(ctx);
	pthread_mutex_lock(&inst->lock);
	return yes;
}

static void wait_for_room(struct osp_inst *inst, const struct osp_piece *piece,
			  bool (*give_up)(void *ctx), void *ctx)
{
	while (!fits(inst, piece) && inst->started && !inst->stop) {
		if (told_to_give_up(inst, give_up, ctx))
			break;
		/* Room may have come while the lock was free. */
		if (!fits(inst, piece))
			osp_cond_wait_until(&inst->room, &inst->lock, osp_mono_ns() + ASK_NS);
	}
}

void osp_inst_offer(struct osp_inst *inst, const struct osp_piece *piece, enum osp_on_full on_full,
		    bool (*give_up)(void *ctx), void *ctx)
{
	uint32_t n = osp_inst_wants(inst, piece);

	if (!n)
		return;
	pthread_mutex_lock(&inst->lock);
	if (on_full == OSP_FULL_BLOCK)
		wait_for_room(inst, piece, give_up, ctx);
	while (on_full == OSP_FULL_DROP_OLD && inst->count && !fits(inst, piece))
		drop_oldest(inst);
	inst->cnt.offered += n;
	if (!inst->stop && fits(inst, piece) && push(inst, piece)) {
		inst->cnt.queued += n;
		pthread_cond_signal(&inst->work);
	} else {
		inst->cnt.dropped += n;
	}
	pthread_mutex_unlock(&inst->lock);
}

void osp_inst_lose(struct osp_inst *inst, uint64_t n)
{
	pthread_mutex_lock(&inst->lock);
	inst->cnt.offered += n;
	inst->cnt.dropped += n;
	pthread_mutex_unlock(&inst->lock);
}
