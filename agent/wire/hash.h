/* SPDX-License-Identifier: GPL-3.0-or-later */
/* hash.h: hashes of what stands in a packet, for tables that live as long as the program.
 *
 * Two 64-bit words are multiplied to 128 bits, whose halves are XORed: every bit of either word
 * reaches the whole result, in half a dozen instructions for 16 bytes. A word that meets its own key
 * makes the product 0 and would hide the other, so keys are drawn at random and told to nobody.
 *
 * XXH3 is as good and, beyond some hundred bytes, as quick; but a packet is a handful of short
 * pieces, and what it spends on beginning and ending each is more than these take in all.
 */
#ifndef OSP_WIRE_HASH_H
#define OSP_WIRE_HASH_H

#include <stdint.h>
#include <string.h>
#include <sys/random.h>

struct osp_hash_key {
	uint64_t k[4];
};

static inline void osp_hash_key_new(struct osp_hash_key *key)
{
	/* Too early after boot there is nothing random but where we are. */
	if (getrandom(key, sizeof(*key), GRND_NONBLOCK) != sizeof(*key))
		*key = (struct osp_hash_key){ { (uintptr_t)key, ~(uintptr_t)key, 1, 2 } };
}

static inline uint64_t osp_hash_load(const void *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;
}

static inline uint64_t osp_hash_fold(uint64_t a, uint64_t b)
{
	unsigned __int128 m = (unsigned __int128)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* 16 bytes at p. */
static inline uint64_t osp_hash_step(uint64_t h, const uint8_t *p, uint64_t key)
{
	return osp_hash_fold(osp_hash_load(p) ^ h, osp_hash_load(p + 8) ^ key);
}

/* Up to 16 bytes at p: from both ends, which overlap; n itself is not part of it. */
static inline uint64_t osp_hash_last(uint64_t h, const uint8_t *p, uint32_t n, uint64_t key)
{
	uint32_t a, b;

	if (n >= 8)
		return osp_hash_fold(osp_hash_load(p) ^ h, osp_hash_load(p + n - 8) ^ key);
	if (n >= 4) {
		memcpy(&a, p, 4);
		memcpy(&b, p + n - 4, 4);
		return osp_hash_fold(a ^ h, b ^ key);
	}
	return n ? osp_hash_fold(((uint32_t)p[0] << 16 | (uint32_t)p[n / 2] << 8 | p[n - 1]) ^ h, key) :
		   h;
}

/* n bytes at p; h: of what came before. Four sums side by side, since a multiplication takes as
 * long as several bytes' loading.
 */
static inline uint64_t osp_hash_bytes(const struct osp_hash_key *key, uint64_t h, const uint8_t *p,
				      uint32_t n)
{
	uint64_t a = h, b = h, c = h, d = h;

	if (n > 64) {
		for (; n > 64; n -= 64, p += 64) {
			a = osp_hash_step(a, p, key->k[0]);
			b = osp_hash_step(b, p + 16, key->k[1]);
			c = osp_hash_step(c, p + 32, key->k[2]);
			d = osp_hash_step(d, p + 48, key->k[3]);
		}
		h = osp_hash_fold(a ^ key->k[1], b ^ key->k[2]) ^
		    osp_hash_fold(c ^ key->k[3], d ^ key->k[0]);
	}
	for (; n > 16; n -= 16, p += 16)
		h = osp_hash_step(h, p, key->k[0]);
	return osp_hash_last(h, p, n, key->k[3]);
}

#endif
