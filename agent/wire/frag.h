/* SPDX-License-Identifier: GPL-3.0-or-later */
/* frag.h: IP fragments to datagrams (RFC 791 3.2, RFC 8200 4.5), in bounded memory.
 *
 * The first to say what stands at a place is believed; others are counted.
 *
 * @thread loop
 */
#ifndef OSP_WIRE_FRAG_H
#define OSP_WIRE_FRAG_H

#include <stdbool.h>
#include <stdint.h>

/* Datagrams under reassembly; the oldest is forgotten for a newer one. 64 KiB each at most. */
#define OSP_FRAGS 256u
/* RFC 8200 has 60 s, Linux 30 s. */
#define OSP_FRAG_TIMEOUT_NS 30000000000ull

struct osp_frags;

struct osp_frag_key {
	uint8_t src[16], dst[16];
	uint32_t id;
	uint8_t proto, v6;
	uint16_t pad;
};

struct osp_frag_part {
	const uint8_t *p;
	uint32_t off, n;	/* place in the datagram's payload */
	bool more;		/* it is not the last */
	uint64_t ts;
};

struct osp_frag_stats {
	uint64_t overlap;	/* fragments that said again what was there */
	uint64_t conflict;	/* ... and said it differently */
	uint64_t timeout;	/* datagrams never completed, or forgotten */
	uint64_t bad;		/* fragments that fit nowhere */
};

/* 0 or -ENOMEM. */
int osp_frags_new(struct osp_frags **out, struct osp_frag_stats *stats);

/* Takes a fragment. True: the datagram is complete, *p and *n are its payload,
 * valid until osp_frags_recycle().
 */
bool osp_frags_add(struct osp_frags *frags, const struct osp_frag_key *key,
		   const struct osp_frag_part *part, const uint8_t **p, uint32_t *n);

/* Gives back the datagrams that were handed out. */
void osp_frags_recycle(struct osp_frags *frags);

void osp_frags_free(struct osp_frags *frags);

#endif
