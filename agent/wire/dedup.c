/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dedup.c: copies of packets.
 *
 * A mirror port that watches a switch's port both ways, or two ports, delivers a packet twice, some
 * 10 to 100 us apart, with other MAC addresses, VLAN tags, TTL or checksums at most. So packets are
 * compared by what TCP made of them: addresses, the whole TCP header but its checksum, the payload.
 *
 * Equal packets whose IP ids differ were sent twice. Where IP ids tell nothing (IPv6; hosts that
 * send 0 with DF set, RFC 6864) the TCP timestamps do, being among what is equal: a sender whose
 * clock has not moved has not sent again. Without these, too, only what comes within
 * COPY_BLIND_NS is a copy: no sender retransmits that soon.
 *
 * What was seen is kept as hashes (47 bits of them count) in a table of cache lines, four to a
 * line; the oldest of a line makes room. 128 Ki packets are 100 ms at more than a million packets
 * a second.
 */
#include "agent/wire/dedup.h"

#include "agent/base/mem.h"
#include "agent/wire/hash.h"

#include <errno.h>

#define WAYS 4u
#define LINES (32u << 10)
#define COPY_BLIND_NS 2000000ull

struct seen {
	uint64_t ts;
	uint32_t hash;
	uint32_t id;	/* IP id, or NO_ID */
};
#define NO_ID 0xffffffffu

/* As long as a cache line, and aligned to it. */
struct line {
	struct seen seen[WAYS];
};
_Static_assert(sizeof(struct line) == 64, "a line of the table is a line of the cache");

struct osp_dedup {
	struct osp_hash_key key;
	struct line *line;
	void *mem;	/* where line begins, or a bit before */
};

int osp_dedup_new(struct osp_dedup **out)
{
	struct osp_dedup *dd = osp_mem_zalloc(sizeof(*dd));

	if (!dd)
		return -ENOMEM;
	osp_hash_key_new(&dd->key);
	dd->mem = osp_mem_zalloc((LINES + 1) * sizeof(*dd->line));
	if (!dd->mem) {
		osp_mem_free(dd);
		return -ENOMEM;
	}
	dd->line = (struct line *)(((uintptr_t)dd->mem + sizeof(*dd->line) - 1) &
				   ~(uintptr_t)(sizeof(*dd->line) - 1));
	*out = dd;
	return 0;
}

void osp_dedup_free(struct osp_dedup *dd)
{
	if (!dd)
		return;
	osp_mem_free(dd->mem);
	osp_mem_free(dd);
}

static struct line *line_of(const struct osp_dedup *dd, uint64_t hash)
{
	return &dd->line[(hash >> 32) & (LINES - 1)];
}

/* Addresses, ports to window, urgent pointer and options (the checksum is at 16), lengths, payload. */
uint64_t osp_dedup_hash(const struct osp_dedup *dd, const struct osp_tcp_seg *seg)
{
	const struct osp_hash_key *key = &dd->key;
	const uint8_t *tcp = seg->tcp;
	uint64_t h;

	h = osp_hash_step(key->k[2], seg->src, key->k[0]) ^
	    osp_hash_step(key->k[3], seg->dst, key->k[1]);
	h = osp_hash_step(h, tcp, key->k[2]);
	h = osp_hash_fold(((uint64_t)tcp[18] << 40 | (uint64_t)tcp[19] << 32 | seg->len) ^ h,
			  seg->cap ^ key->k[3]);
	/* Timestamps and their padding are 12. */
	h = seg->tcp_n <= 36 ? osp_hash_last(h, tcp + 20, seg->tcp_n - 20, key->k[1]) :
			       osp_hash_bytes(key, h, tcp + 20, seg->tcp_n - 20);
	h = seg->cap ? osp_hash_bytes(key, h, seg->data, seg->cap) : h;
	__builtin_prefetch(line_of(dd, h), 1);
	return h;
}

/* Whether two equal packets, apart ns between them, are one. */
static bool copy(const struct osp_tcp_seg *seg, uint32_t id, uint32_t other, uint64_t apart)
{
	uint32_t n;

	if (apart > OSP_DEDUP_NS || id != other)
		return false;
	if (id && id != NO_ID)
		return true;
	return apart <= COPY_BLIND_NS || (osp_tcp_option(seg, 8, &n) && n == 8);
}

bool osp_dedup_is_copy(struct osp_dedup *dd, const struct osp_tcp_seg *seg, uint64_t hash)
{
	uint32_t id = seg->has_id ? seg->ip_id : NO_ID, tag = (uint32_t)hash, i;
	struct seen *line = line_of(dd, hash)->seen, *old = line;
	uint64_t apart;

	for (i = 0; i < WAYS; i++) {
		if (line[i].hash == tag && line[i].ts) {
			apart = seg->ts > line[i].ts ? seg->ts - line[i].ts : line[i].ts - seg->ts;
			if (copy(seg, id, line[i].id, apart))
				return true;
		}
		if (line[i].ts < old->ts)
			old = &line[i];
	}
	*old = (struct seen){ .ts = seg->ts, .hash = tag, .id = id };
	return false;
}
