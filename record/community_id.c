/* SPDX-License-Identifier: GPL-3.0-or-later */
/* community_id.c: Community ID v1, the hash of a 5-tuple that other tools print too, so that our
 * records can be joined with theirs. https://github.com/corelight/community-id-spec
 *
 * "1:" + base64(SHA-1(seed, lower end's address, other address, protocol, 0, ports)), all in
 * network order. The ends are ordered by (address, port), so both directions have one id.
 */
#include "record/base64.h"
#include "record/osp_record.h"

#include <sha1.h>
#include <string.h>

static int is_v4(const uint8_t a[16])
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

	return !memcmp(a, mapped, sizeof(mapped));
}

void osp_community_id(char out[32], const uint8_t a[16], uint16_t a_port, const uint8_t b[16],
		      uint16_t b_port, uint8_t proto)
{
	/* The hash sees 4 bytes of IPv4 addresses. */
	size_t from = is_v4(a) && is_v4(b) ? 12 : 0, n = 16 - from;
	int order = memcmp(a + from, b + from, n);
	uint8_t in[2 + 16 + 16 + 2 + 4], md[SHA1_DIGEST_LENGTH], *p = in;
	SHA1_CTX sha;

	if (order > 0 || (!order && a_port > b_port)) {
		const uint8_t *t = a;
		uint16_t port = a_port;

		a = b;
		b = t;
		a_port = b_port;
		b_port = port;
	}
	*p++ = 0;	/* seed 0 */
	*p++ = 0;
	memcpy(p, a + from, n);
	memcpy(p + n, b + from, n);
	p += 2 * n;
	*p++ = proto;
	*p++ = 0;
	*p++ = a_port >> 8;
	*p++ = a_port & 0xff;
	*p++ = b_port >> 8;
	*p++ = b_port & 0xff;
	SHA1Init(&sha);
	SHA1Update(&sha, in, (size_t)(p - in));
	SHA1Final(md, &sha);
	out[0] = '1';
	out[1] = ':';
	osp_base64(out + 2, md, sizeof(md));
	out[2 + osp_base64_size(sizeof(md))] = 0;
}
