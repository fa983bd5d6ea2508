/* SPDX-License-Identifier: GPL-3.0-or-later */
/* flow.c: the table of flows and the memory of what waits.
 *
 * Chained, growing by doubling up to conf.max_conns; its order is never visible. The hash is
 * seeded, so that nobody can fill one chain on purpose.
 */
#include "agent/wire/flow.h"

#include <errno.h>
#include <string.h>

#define BUCKETS_MIN 1024u

int osp_flows_init(struct osp_reasm *rs)
{
	int i;

	osp_hash_key_new(&rs->hash_key);
	for (i = 0; i < OSP_FL_LIVES; i++)
		osp_list_init(&rs->life[i]);
	osp_list_init(&rs->soft);
	osp_list_init(&rs->hard);
	rs->pool.idle_max = 32u << 20;
	rs->mask = BUCKETS_MIN - 1;
	rs->bucket = osp_mem_zalloc(BUCKETS_MIN * sizeof(*rs->bucket));
	return rs->bucket ? 0 : -ENOMEM;
}

void osp_flows_fini(struct osp_reasm *rs)
{
	int i;

	for (i = 0; i < OSP_FL_LIVES && rs->bucket; i++) {
		while (!osp_list_empty(&rs->life[i]))
			osp_flow_free(rs, osp_list_entry(rs->life[i].next, struct osp_flow, life));
	}
	osp_pool_fini(&rs->pool);
	osp_mem_free(rs->bucket);
}

/* Both ends by themselves, then what is the same whichever comes first. */
uint32_t osp_flow_hash(const struct osp_reasm *rs, const struct osp_tcp_seg *seg)
{
	const struct osp_hash_key *k = &rs->hash_key;
	uint64_t a = osp_hash_step(k->k[2] + seg->sport, seg->src, k->k[0]);
	uint64_t b = osp_hash_step(k->k[2] + seg->dport, seg->dst, k->k[0]);

	return (uint32_t)osp_hash_fold((a + b) ^ k->k[1], (a ^ b) ^ k->k[3]);
}

static inline uint64_t differ16(const uint8_t a[16], const uint8_t b[16])
{
	return (osp_hash_load(a) ^ osp_hash_load(b)) | (osp_hash_load(a + 8) ^ osp_hash_load(b + 8));
}

static inline bool is_of(const struct osp_flow_key *key, const struct osp_tcp_seg *seg, int side)
{
	return key->port[side] == seg->sport && key->port[!side] == seg->dport &&
	       !(differ16(key->addr[side], seg->src) | differ16(key->addr[!side], seg->dst));
}

/* Doubles the table; without memory for that chains get longer, no more. */
static void grow(struct osp_reasm *rs)
{
	uint32_t old_n = rs->mask + 1, i;
	struct osp_flow **b = osp_mem_zalloc(2ull * old_n * sizeof(*b)), *flow, *next;

	if (!b)
		return;
	for (i = 0; i < old_n; i++) {
		for (flow = rs->bucket[i]; flow; flow = next) {
			next = flow->hnext;
			flow->hnext = b[flow->hash & (2 * old_n - 1)];
			b[flow->hash & (2 * old_n - 1)] = flow;
		}
	}
	osp_mem_free(rs->bucket);
	rs->bucket = b;
	rs->mask = 2 * old_n - 1;
}

/* How well a segment fits a flow of its addresses and ports: by what it is wrapped in (usually the
 * same both ways), by numbers, and whether the flow lives.
 */
static int fit(const struct osp_flow *flow, int side, const struct osp_tcp_seg *seg)
{
	const struct osp_half_flow *me = &flow->half[side], *other = &flow->half[!side];
	const struct osp_half_flow *tagged = me->tagged ? me : other;

	return (tagged->tagged && tagged->tag == seg->tag ? me->tagged ? 16 : 8 : 0) +
	       (me->based && osp_seq_within(seg->seq, me->next, OSP_SEQ_NEAR) ? 4 : 0) +
	       (other->based && osp_seq_within(seg->ack, other->next, OSP_SEQ_NEAR) ? 2 : 0) +
	       (flow->state != OSP_FL_TOMB);
}

/* The best of several, of which flow is the first. */
static __attribute__((noinline)) struct osp_flow *best_of(struct osp_flow *flow,
							  const struct osp_tcp_seg *seg, int side)
{
	struct osp_flow *best = flow;

	for (flow = flow->hnext; flow; flow = flow->hnext) {
		if (flow->hash == best->hash && is_of(&flow->key, seg, side) &&
		    fit(flow, side, seg) > fit(best, side, seg))
			best = flow;
	}
	return best;
}

struct osp_flow *osp_flow_find(struct osp_reasm *rs, const struct osp_tcp_seg *seg, int side,
			       uint32_t hash)
{
	struct osp_flow *flow = rs->bucket[hash & rs->mask], *next;

	while (flow && (flow->hash != hash || !is_of(&flow->key, seg, side)))
		flow = flow->hnext;
	for (next = flow ? flow->hnext : NULL; next; next = next->hnext) {
		if (next->hash == hash)
			return best_of(flow, seg, side);
	}
	return flow;
}

static void evict(struct osp_reasm *rs)
{
	static const uint8_t order[] = { OSP_FL_TOMB, OSP_FL_EMBRYO, OSP_FL_ENDING, OSP_FL_OPEN };
	struct osp_flow *flow = NULL;
	uint32_t i;

	for (i = 0; i < sizeof(order) && !flow; i++) {
		if (!osp_list_empty(&rs->life[order[i]]))
			flow = osp_list_entry(rs->life[order[i]].next, struct osp_flow, life);
	}
	if (!flow)
		return;
	if (flow->state != OSP_FL_TOMB) {
		osp_wcount(rs, OSP_ST_WIRE_EVICTED, 1);
		osp_flow_close(rs, flow, OSP_CF_NO_ENDS);
	}
	osp_flow_free(rs, flow);
}

struct osp_flow *osp_flow_add(struct osp_reasm *rs, const struct osp_tcp_seg *seg, int side,
			      uint32_t hash)
{
	struct osp_flow *flow;

	if (rs->flow_n >= rs->conf.max_conns)
		evict(rs);
	if (rs->flow_n > rs->mask)
		grow(rs);
	flow = osp_pool_get(&rs->pool, osp_pool_size(sizeof(*flow)));
	if (!flow)
		return NULL;
	memset(flow, 0, sizeof(*flow));
	memcpy(flow->key.addr[side], seg->src, 16);
	memcpy(flow->key.addr[!side], seg->dst, 16);
	flow->key.port[side] = seg->sport;
	flow->key.port[!side] = seg->dport;
	flow->hash = hash;
	flow->first_ts = flow->last_ts = seg->ts;
	flow->life_ts = rs->now;
	flow->last_side = 2;
	osp_list_init(&flow->life);
	osp_list_init(&flow->soft);
	osp_list_init(&flow->hard);
	osp_list_add_tail(&rs->life[OSP_FL_EMBRYO], &flow->life);
	flow->hnext = rs->bucket[hash & rs->mask];
	rs->bucket[hash & rs->mask] = flow;
	rs->flow_n++;
	return flow;
}

void osp_flow_set_life(struct osp_reasm *rs, struct osp_flow *flow, enum osp_flow_life life)
{
	flow->state = (uint8_t)life;
	flow->calm = false;	/* see arm() in reasm.c */
	flow->life_ts = rs->now;
	osp_list_move_tail(&rs->life[life], &flow->life);
}

void osp_flow_free(struct osp_reasm *rs, struct osp_flow *flow)
{
	struct osp_flow **b = &rs->bucket[flow->hash & rs->mask];
	int side;

	while (*b != flow)
		b = &(*b)->hnext;
	*b = flow->hnext;
	for (side = 0; side < 2; side++) {
		while (flow->half[side].first)
			osp_piece_free(rs, &flow->half[side], osp_piece_pop(&flow->half[side]));
	}
	osp_list_del(&flow->life);
	osp_list_del(&flow->soft);
	osp_list_del(&flow->hard);
	rs->flow_n--;
	osp_pool_put(&rs->pool, flow, osp_pool_size(sizeof(*flow)));
}

/* ---- pieces ---------------------------------------------------------------------------------- */

struct osp_wpiece *osp_piece_new(struct osp_reasm *rs, struct osp_half_flow *half, uint32_t n)
{
	uint32_t size = osp_pool_size((uint64_t)sizeof(struct osp_wpiece) + n);
	struct osp_wpiece *pc = osp_pool_get(&rs->pool, size);

	if (!pc)
		return NULL;
	memset(pc, 0, sizeof(*pc));
	pc->size = size;
	half->queued += size;
	rs->held += size;
	return pc;
}

void osp_piece_free(struct osp_reasm *rs, struct osp_half_flow *half, struct osp_wpiece *pc)
{
	half->queued -= pc->size;
	rs->held -= pc->size;
	osp_pool_put(&rs->pool, pc, pc->size);
}

struct osp_wpiece *osp_piece_pop(struct osp_half_flow *half)
{
	struct osp_wpiece *pc = half->first;

	half->first = pc->next;
	if (!half->first)
		half->last = NULL;
	return pc;
}
