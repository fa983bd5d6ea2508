/* SPDX-License-Identifier: GPL-3.0-or-later */
/* frag.c: IP fragments to datagrams.
 *
 * A datagram is a buffer and a list of what is there of it. 64 pieces that do not touch are more
 * than any path makes of 64 KiB in any order that is not meant to hurt; what would need more is
 * dropped.
 */
#include "agent/wire/frag.h"

#include "agent/base/list.h"
#include "agent/base/mem.h"

#include <errno.h>
#include <string.h>

#define DGRAM_MAX 65535u
#define RANGES_MAX 64u
#define BUCKETS 256u

struct range {
	uint32_t from, to;
};

struct dgram {
	struct osp_list age, chain;
	struct osp_frag_key key;
	uint64_t first;		/* time of the first fragment that came */
	uint8_t *buf;
	uint32_t cap;
	uint32_t total;		/* length; 0: not known */
	uint32_t range_n;
	struct range range[RANGES_MAX];	/* in order, not touching */
};

struct osp_frags {
	struct osp_frag_stats *stats;
	struct osp_list age;	/* in use, oldest first */
	struct osp_list idle, done;
	struct osp_list bucket[BUCKETS];
	struct dgram dgram[OSP_FRAGS];
};

int osp_frags_new(struct osp_frags **out, struct osp_frag_stats *stats)
{
	struct osp_frags *frags = osp_mem_zalloc(sizeof(*frags));
	uint32_t i;

	if (!frags)
		return -ENOMEM;
	frags->stats = stats;
	osp_list_init(&frags->age);
	osp_list_init(&frags->idle);
	osp_list_init(&frags->done);
	for (i = 0; i < BUCKETS; i++)
		osp_list_init(&frags->bucket[i]);
	for (i = 0; i < OSP_FRAGS; i++) {
		osp_list_init(&frags->dgram[i].chain);
		osp_list_init(&frags->dgram[i].age);
		osp_list_add_tail(&frags->idle, &frags->dgram[i].age);
	}
	*out = frags;
	return 0;
}

void osp_frags_free(struct osp_frags *frags)
{
	uint32_t i;

	if (!frags)
		return;
	for (i = 0; i < OSP_FRAGS; i++)
		osp_mem_free(frags->dgram[i].buf);
	osp_mem_free(frags);
}

static struct osp_list *bucket(struct osp_frags *frags, const struct osp_frag_key *key)
{
	const uint8_t *p = (const uint8_t *)key;
	uint32_t h = 2166136261u;	/* FNV-1a: 44 bytes, seldom */
	size_t i;

	for (i = 0; i < sizeof(*key); i++)
		h = (h ^ p[i]) * 16777619u;
	return &frags->bucket[(h ^ h >> 16) % BUCKETS];
}

static struct dgram *oldest(struct osp_frags *frags)
{
	return osp_list_entry(frags->age.next, struct dgram, age);
}

/* Incomplete for ever. */
static void forget(struct osp_frags *frags, struct dgram *dg)
{
	frags->stats->timeout++;
	osp_list_del(&dg->chain);
	osp_list_move_tail(&frags->idle, &dg->age);
}

static struct dgram *find(struct osp_frags *frags, const struct osp_frag_key *key, uint64_t ts)
{
	struct osp_list *head = bucket(frags, key), *link;
	struct dgram *dg;

	while (!osp_list_empty(&frags->age) && ts > oldest(frags)->first &&
	       ts - oldest(frags)->first > OSP_FRAG_TIMEOUT_NS)
		forget(frags, oldest(frags));
	for (link = head->next; link != head; link = link->next) {
		dg = osp_list_entry(link, struct dgram, chain);
		if (!memcmp(&dg->key, key, sizeof(*key)))
			return dg;
	}
	if (osp_list_empty(&frags->idle))
		forget(frags, oldest(frags));
	dg = osp_list_entry(frags->idle.next, struct dgram, age);
	dg->key = *key;
	dg->first = ts;
	dg->total = 0;
	dg->range_n = 0;
	osp_list_move_tail(&frags->age, &dg->age);
	osp_list_add_tail(head, &dg->chain);
	return dg;
}

static bool room(struct dgram *dg, uint32_t n)
{
	uint32_t cap = dg->cap ? dg->cap : 2048;
	uint8_t *buf;

	if (n <= dg->cap)
		return true;
	while (cap < n)
		cap *= 2;
	buf = osp_mem_realloc(dg->buf, cap);
	if (!buf)
		return false;
	dg->buf = buf;
	dg->cap = cap;
	return true;
}

/* Copies what of part is new, compares what is not. */
static void fill(struct osp_frags *frags, struct dgram *dg, const struct osp_frag_part *part)
{
	uint32_t at = part->off, end = part->off + part->n, i, stop;
	bool overlap = false, conflict = false;

	for (i = 0; i <= dg->range_n && at < end; i++) {
		const struct range *r = i < dg->range_n ? &dg->range[i] : NULL;

		if (r && r->to <= at)
			continue;
		stop = r && r->from < end ? r->from : end;
		if (at < stop) {
			memcpy(dg->buf + at, part->p + (at - part->off), stop - at);
			at = stop;
		}
		if (!r || at >= end)
			break;
		stop = r->to < end ? r->to : end;
		overlap = true;
		conflict |= memcmp(dg->buf + at, part->p + (at - part->off), stop - at) != 0;
		at = stop;
	}
	frags->stats->overlap += overlap;
	frags->stats->conflict += conflict;
}

/* Adds [from, to) to what is there. False: too many pieces. */
static bool note(struct dgram *dg, uint32_t from, uint32_t to)
{
	uint32_t i = 0, j;

	while (i < dg->range_n && dg->range[i].to < from)
		i++;
	j = i;
	while (j < dg->range_n && dg->range[j].from <= to) {
		from = dg->range[j].from < from ? dg->range[j].from : from;
		to = dg->range[j].to > to ? dg->range[j].to : to;
		j++;
	}
	if (i == j && dg->range_n == RANGES_MAX)
		return false;
	memmove(&dg->range[i + 1], &dg->range[j], (dg->range_n - j) * sizeof(dg->range[0]));
	dg->range_n = dg->range_n - (j - i) + 1;
	dg->range[i] = (struct range){ from, to };
	return true;
}

bool osp_frags_add(struct osp_frags *frags, const struct osp_frag_key *key,
		   const struct osp_frag_part *part, const uint8_t **p, uint32_t *n)
{
	uint32_t end = part->off + part->n;
	struct dgram *dg;

	/* All but the last are of whole 8-byte units. */
	if (!part->n || part->off > DGRAM_MAX || part->n > DGRAM_MAX - part->off ||
	    (part->more && part->n % 8)) {
		frags->stats->bad++;
		return false;
	}
	dg = find(frags, key, part->ts);
	if ((dg->total && (end > dg->total || (!part->more && end != dg->total))) ||
	    (!part->more && dg->range_n && dg->range[dg->range_n - 1].to > end) ||
	    !room(dg, end)) {
		frags->stats->bad++;
		return false;
	}
	fill(frags, dg, part);
	if (!note(dg, part->off, end)) {
		frags->stats->bad++;
		return false;
	}
	if (!part->more)
		dg->total = end;
	if (!dg->total || dg->range[0].from || dg->range[0].to != dg->total)
		return false;
	osp_list_del(&dg->chain);
	osp_list_move_tail(&frags->done, &dg->age);
	*p = dg->buf;
	*n = dg->total;
	return true;
}

void osp_frags_recycle(struct osp_frags *frags)
{
	while (!osp_list_empty(&frags->done))
		osp_list_move_tail(&frags->idle, frags->done.next);
}
