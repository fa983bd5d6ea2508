/* SPDX-License-Identifier: GPL-3.0-or-later */
/* decap.c: peels a frame.
 *
 * Each layer takes its header off a cursor and says what comes next, so nesting is a loop and not a
 * recursion; OSP_LAYERS_MAX of them are deeper than any network and end a packet made to hurt.
 *
 * Lengths: the cursor knows how much was captured (cap) and how much there was (len). The lengths
 * in IP headers shorten both, which takes off Ethernet padding and frame check sequences; an IP
 * length of 0 (segmentation offload; BIG TCP) means "to the end of the frame". Where a header
 * claims more than the frame had, the rest counts as cut off.
 *
 * Checksums are not verified: hosts that capture their own offloaded traffic have none, and what a
 * receiver threw away it asks for again.
 */
#include "agent/wire/decap.h"

#include "agent/base/mem.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#define OSP_LAYERS_MAX 32

enum layer {
	L_ETHERNET, L_TYPE, L_IP, L_IP4, L_IP6, L_MPLS, L_PPP, L_PPPOE, L_GRE, L_UDP, L_TCP, L_LLC,
	L_NULL, L_SLL, L_SLL2, L_80211, L_RADIOTAP, L_VXLAN, L_VXLAN_GPE, L_GENEVE, L_GTPU,
	L_TEREDO, L_ERSPAN2, L_ERSPAN3, L_PPP_HDLC,
	L_HELD, L_NON_IP, L_NON_TCP, L_CUT, L_BAD, L_LINK,	/* the end */
	L_MAX
};

enum {
	ETH_IP4 = 0x0800, ETH_IP6 = 0x86dd, ETH_VLAN = 0x8100, ETH_QINQ = 0x88a8,
	ETH_QINQ_OLD = 0x9100, ETH_QINQ_OLD2 = 0x9200, ETH_QINQ_OLD3 = 0x9300,
	ETH_MPLS = 0x8847, ETH_MPLS_MC = 0x8848, ETH_PPPOE = 0x8864, ETH_TEB = 0x6558,
	ETH_ERSPAN = 0x88be, ETH_ERSPAN3 = 0x22eb, ETH_PPP = 0x880b,
};

struct osp_decap {
	struct osp_frags *frags;
	struct osp_frag_stats frag_stats;
	uint64_t fragments, fragments_cut, tunnelled;
};

struct cur {
	struct osp_decap *dec;
	struct osp_tcp_seg *seg;
	const uint8_t *p;
	uint32_t cap, len;
	uint16_t type;		/* L_TYPE: EtherType */
	uint8_t ips;		/* IP headers so far */
	bool tunnel;
};

static uint16_t be16(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return be16toh(v);
}

static uint32_t be24(const uint8_t *p)
{
	return (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
}

static uint32_t be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return be32toh(v);
}

/* n bytes off the front; they have been captured. */
static void pull(struct cur *cur, uint32_t n)
{
	cur->p += n;
	cur->cap -= n;
	cur->len -= n;
}

/* What was not captured is L_CUT, what was never there L_BAD. */
static enum layer too_short(const struct cur *cur, uint32_t n)
{
	return cur->len < n ? L_BAD : L_CUT;
}

/* The datagram is n bytes long, whatever the frame said. */
static void limit(struct cur *cur, uint32_t n)
{
	cur->len = n;
	if (cur->cap > n)
		cur->cap = n;
}

static void tag(struct cur *cur, uint32_t what, uint32_t id)
{
	uint64_t v = (uint64_t)what << 32 | id;

	cur->seg->tag = (cur->seg->tag ^ (v + 1)) * 0x9e3779b97f4a7c15ull;
}

static enum layer type_to(struct cur *cur, uint16_t type)
{
	cur->type = type;
	return L_TYPE;
}

/* ---- links ----------------------------------------------------------------------------------- */

static enum layer on_ethernet(struct cur *cur)
{
	uint16_t type;

	if (cur->cap < 14)
		return too_short(cur, 14);
	type = be16(cur->p + 12);
	pull(cur, 14);
	if (type >= 1536)
		return type_to(cur, type);
	/* IEEE 802.3: a length, which takes off the padding, then LLC. */
	if (type && type < cur->len)
		limit(cur, type);
	return L_LLC;
}

/* RFC 1042. */
static enum layer on_llc(struct cur *cur)
{
	uint16_t type;

	if (cur->cap < 8)
		return cur->len < 8 ? L_NON_IP : L_CUT;
	if (cur->p[0] != 0xaa || cur->p[1] != 0xaa || cur->p[2] != 3)
		return L_NON_IP;
	type = be16(cur->p + 6);
	pull(cur, 8);
	return type < 1536 ? L_NON_IP : type_to(cur, type);
}

static enum layer on_type(struct cur *cur)
{
	switch (cur->type) {
	case ETH_IP4:
		return L_IP4;
	case ETH_IP6:
		return L_IP6;
	case ETH_VLAN:
	case ETH_QINQ:
	case ETH_QINQ_OLD:
	case ETH_QINQ_OLD2:
	case ETH_QINQ_OLD3:
		if (cur->cap < 4)
			return too_short(cur, 4);
		tag(cur, ETH_VLAN, be16(cur->p) & 0xfff);
		cur->type = be16(cur->p + 2);
		pull(cur, 4);
		return cur->type >= 1536 ? L_TYPE : L_LLC;
	case ETH_MPLS:
	case ETH_MPLS_MC:
		return L_MPLS;
	case ETH_PPPOE:
		return L_PPPOE;
	case ETH_TEB:
		return L_ETHERNET;
	case ETH_PPP:
		return L_PPP;
	default:
		return L_NON_IP;
	}
}

/* BSD loopback: 4 bytes of address family in some host's order; the IP version says it, too. */
static enum layer on_null(struct cur *cur)
{
	if (cur->cap < 4)
		return too_short(cur, 4);
	pull(cur, 4);
	return L_IP;
}

static enum layer on_sll(struct cur *cur)
{
	uint16_t type;

	if (cur->cap < 16)
		return too_short(cur, 16);
	type = be16(cur->p + 14);
	pull(cur, 16);
	if (type == 4)	/* ETH_P_802_2 */
		return L_LLC;
	return type < 1536 ? L_NON_IP : type_to(cur, type);
}

static enum layer on_sll2(struct cur *cur)
{
	uint16_t type;

	if (cur->cap < 20)
		return too_short(cur, 20);
	type = be16(cur->p);
	pull(cur, 20);
	if (type == 4)
		return L_LLC;
	return type < 1536 ? L_NON_IP : type_to(cur, type);
}

/* IEEE 802.11 data frames in the clear, one MSDU each. */
static enum layer on_80211(struct cur *cur)
{
	uint32_t n = 24;
	uint8_t fc0, fc1;
	bool qos;

	if (cur->cap < 24)
		return too_short(cur, 24);
	fc0 = cur->p[0];
	fc1 = cur->p[1];
	qos = fc0 & 0x80;
	/* Version 0, type data, not a null function; not encrypted; not a fragment. */
	if ((fc0 & 0x0f) != 8 || fc0 & 0x40 || fc1 & 0x44 || cur->p[22] & 0x0f)
		return L_NON_IP;
	if ((fc1 & 3) == 3)
		n += 6;
	if (qos) {
		if (cur->cap < n + 2)
			return too_short(cur, n + 2);
		if (cur->p[n] & 0x80)	/* several MSDUs in one */
			return L_NON_IP;
		n += fc1 & 0x80 ? 6 : 2;
	}
	if (cur->cap < n)
		return too_short(cur, n);
	pull(cur, n);
	return L_LLC;
}

/* www.radiotap.org: only whether the 802.11 header is padded to 4 bytes matters here. */
static enum layer on_radiotap(struct cur *cur)
{
	uint32_t n, at = 8, present;
	bool padded = false;

	if (cur->cap < 8)
		return too_short(cur, 8);
	n = (uint32_t)cur->p[2] | (uint32_t)cur->p[3] << 8;
	if (n < 8)
		return L_BAD;
	if (cur->cap < n)
		return too_short(cur, n);
	present = cur->p[4];
	while (at <= n && cur->p[at - 1] & 0x80)	/* more words of what is present */
		at += 4;
	if (present & 1)	/* TSFT: 8 bytes, aligned */
		at = ((at + 7) & ~7u) + 8;
	if (present & 2 && at < n)
		padded = cur->p[at] & 0x20;
	pull(cur, n);
	if (padded && cur->cap >= 2) {
		uint32_t hdr = 24 + ((cur->p[1] & 3) == 3 ? 6 : 0) + (cur->p[0] & 0x80 ? 2 : 0);
		uint32_t pad = (4 - hdr % 4) % 4;

		/* The header is taken off here, because its padding follows it. */
		if ((cur->p[0] & 0x4f) != 8 || cur->p[1] & 0xc4)
			return L_NON_IP;
		if (cur->cap < hdr + pad)
			return too_short(cur, hdr + pad);
		pull(cur, hdr + pad);
		return L_LLC;
	}
	return L_80211;
}

static enum layer on_ppp(struct cur *cur)
{
	uint32_t n = 2;
	uint16_t proto;

	if (cur->cap < 2)
		return too_short(cur, 2);
	if (cur->p[0] == 0xff && cur->p[1] == 3) {
		pull(cur, 2);
		if (cur->cap < 2)
			return too_short(cur, 2);
	}
	proto = be16(cur->p);
	if (cur->p[0] & 1) {	/* compressed to one byte, RFC 1661 6.5 */
		proto = cur->p[0];
		n = 1;
	}
	pull(cur, n);
	return proto == 0x21 ? L_IP4 : proto == 0x57 ? L_IP6 :
	       proto == 0x281 || proto == 0x283 ? L_MPLS : L_NON_IP;
}

/* PPP, or Cisco HDLC, in HDLC-like framing. */
static enum layer on_ppp_hdlc(struct cur *cur)
{
	uint16_t type;

	if (cur->cap < 4)
		return too_short(cur, 4);
	if (cur->p[0] == 0xff)
		return L_PPP;
	type = be16(cur->p + 2);
	pull(cur, 4);
	return type_to(cur, type);
}

static enum layer on_pppoe(struct cur *cur)
{
	uint32_t n;

	if (cur->cap < 6)
		return too_short(cur, 6);
	if (cur->p[0] != 0x11 || cur->p[1])
		return L_NON_IP;
	n = be16(cur->p + 4);
	pull(cur, 6);
	if (n < cur->len)
		limit(cur, n);
	return L_PPP;
}

/* ---- MPLS, tunnels --------------------------------------------------------------------------- */

static bool ip4_checksum_ok(const uint8_t *p, uint32_t n)
{
	uint32_t sum = 0, i;

	for (i = 0; i < n; i += 2)
		sum += be16(p + i);
	return (sum >> 16) + (sum & 0xffff) == 0xffff;
}

/* Whether an IP header can be what stands here; for where nothing says what does. A packet that is
 * longer than its frame (cut before it was captured) is known by its checksum.
 */
static bool like_ip(const struct cur *cur)
{
	uint32_t n, head;

	if (cur->cap < 20)
		return false;
	n = be16(cur->p + 2);
	head = (cur->p[0] & 15u) * 4;
	if (cur->p[0] >> 4 == 4)
		return head >= 20 && (!n || (n >= head && n <= cur->len) ||
				      (head <= cur->cap && ip4_checksum_ok(cur->p, head)));
	return cur->p[0] >> 4 == 6 && cur->cap >= 40 &&
	       (be16(cur->p + 4) + 40u <= cur->len || cur->p[6] == IPPROTO_TCP);
}

static bool like_type(const struct cur *cur, uint32_t at)
{
	uint16_t type = cur->cap >= at + 2 ? be16(cur->p + at) : 0;

	return type == ETH_IP4 || type == ETH_IP6 || type == ETH_VLAN || type == ETH_QINQ ||
	       type == ETH_MPLS || type == 0x0806;
}

static enum layer on_mpls(struct cur *cur)
{
	bool bottom = false;

	while (!bottom) {
		if (cur->cap < 4)
			return too_short(cur, 4);
		bottom = cur->p[2] & 1;
		tag(cur, ETH_MPLS, be24(cur->p) >> 4);
		pull(cur, 4);
	}
	cur->tunnel = true;
	if (!cur->cap)
		return too_short(cur, 1);
	if (like_ip(cur))
		return L_IP;
	/* A pseudowire: Ethernet, with a control word before it (RFC 4385: first nibble 0) or not;
	 * MAC addresses begin so, too, but EtherTypes do not stand just anywhere.
	 */
	if (cur->p[0] >> 4 == 0 && cur->cap >= 4 && !(like_type(cur, 12) && !like_type(cur, 16)))
		pull(cur, 4);
	return L_ETHERNET;
}

/* RFC 2784, 2890, 7637, 2637; ERSPAN: draft-foschiano-erspan. */
static enum layer on_gre(struct cur *cur)
{
	uint32_t n = 4, key = 0;
	uint16_t flags, proto;

	if (cur->cap < 4)
		return too_short(cur, 4);
	flags = be16(cur->p);
	proto = be16(cur->p + 2);
	if ((flags & 7) > 1 || flags & 0x4000)	/* source routes: nobody has used them */
		return L_NON_TCP;
	n += flags & 0x8000 ? 4 : 0;
	if (flags & 0x2000) {
		if (cur->cap < n + 4)
			return too_short(cur, n + 4);
		key = be32(cur->p + n);
		n += 4;
	}
	n += flags & 0x1000 ? 4 : 0;
	n += (flags & 7) == 1 && flags & 0x80 ? 4 : 0;
	if (cur->cap < n)
		return too_short(cur, n);
	pull(cur, n);
	cur->tunnel = true;
	if (proto == ETH_TEB && flags & 0x2000)
		tag(cur, ETH_TEB, key >> 8);
	if (proto == ETH_ERSPAN)	/* type I has neither sequence number nor header */
		return flags & 0x1000 ? L_ERSPAN2 : L_ETHERNET;
	if (proto == ETH_ERSPAN3)
		return L_ERSPAN3;
	if ((flags & 7) == 1)
		return proto == ETH_PPP && cur->len ? L_PPP : L_NON_TCP;
	return type_to(cur, proto);
}

static enum layer on_erspan2(struct cur *cur)
{
	if (cur->cap < 8)
		return too_short(cur, 8);
	if (cur->p[0] >> 4 != 1)
		return L_NON_IP;
	pull(cur, 8);
	return L_ETHERNET;
}

static enum layer on_erspan3(struct cur *cur)
{
	uint32_t n = 12;
	uint8_t what;

	if (cur->cap < 12)
		return too_short(cur, 12);
	if (cur->p[0] >> 4 != 2)
		return L_NON_IP;
	n += cur->p[11] & 1 ? 8 : 0;	/* platform specific subheader */
	what = cur->p[10] >> 2 & 31;
	if (cur->cap < n)
		return too_short(cur, n);
	pull(cur, n);
	return what == 0 ? L_ETHERNET : what == 2 ? L_IP : L_NON_IP;
}

/* RFC 7348. */
static enum layer on_vxlan(struct cur *cur)
{
	if (cur->cap < 8)
		return too_short(cur, 8);
	if (!(cur->p[0] & 8))
		return L_NON_TCP;
	tag(cur, L_VXLAN, be24(cur->p + 4));
	pull(cur, 8);
	cur->tunnel = true;
	return L_ETHERNET;
}

/* draft-ietf-nvo3-vxlan-gpe: the same with a next protocol. */
static enum layer on_vxlan_gpe(struct cur *cur)
{
	uint8_t next;

	if (cur->cap < 8)
		return too_short(cur, 8);
	next = cur->p[0] & 4 ? cur->p[3] : 3;
	tag(cur, L_VXLAN, be24(cur->p + 4));
	pull(cur, 8);
	cur->tunnel = true;
	return next == 1 ? L_IP4 : next == 2 ? L_IP6 : next == 3 ? L_ETHERNET : L_NON_TCP;
}

/* RFC 8926. */
static enum layer on_geneve(struct cur *cur)
{
	uint32_t n;
	uint16_t type;

	if (cur->cap < 8)
		return too_short(cur, 8);
	n = 8 + (cur->p[0] & 63u) * 4;
	type = be16(cur->p + 2);
	if (cur->p[0] >> 6)
		return L_NON_TCP;
	if (cur->cap < n)
		return too_short(cur, n);
	tag(cur, L_GENEVE, be24(cur->p + 4));
	pull(cur, n);
	cur->tunnel = true;
	return type_to(cur, type);
}

/* 3GPP TS 29.281 5.1, 5.2: version 1, message 255 carries user data. */
static enum layer on_gtpu(struct cur *cur)
{
	uint8_t flags, next;
	uint32_t n;

	if (cur->cap < 8)
		return too_short(cur, 8);
	flags = cur->p[0];
	if (flags >> 5 != 1 || !(flags & 0x10) || cur->p[1] != 255)
		return L_NON_TCP;
	tag(cur, L_GTPU, be32(cur->p + 4));
	pull(cur, 8);
	if (flags & 7) {
		if (cur->cap < 4)
			return too_short(cur, 4);
		next = flags & 4 ? cur->p[3] : 0;
		pull(cur, 4);
		while (next) {
			n = cur->cap ? cur->p[0] * 4u : 0;
			if (!n || cur->cap < n)
				return cur->cap && !n ? L_BAD : too_short(cur, n + 1);
			next = cur->p[n - 1];
			pull(cur, n);
		}
	}
	cur->tunnel = true;
	return L_IP;
}

/* RFC 4380 5.1.1: authentication, then origin indication, may stand before the packet. */
static enum layer on_teredo(struct cur *cur)
{
	uint32_t n;

	if (cur->cap >= 4 && be16(cur->p) == 1) {
		n = 4u + cur->p[2] + cur->p[3] + 9;
		if (cur->cap < n)
			return too_short(cur, n);
		pull(cur, n);
	}
	if (cur->cap >= 8 && be16(cur->p) == 0)
		pull(cur, 8);
	if (!like_ip(cur) || cur->p[0] >> 4 != 6)
		return L_NON_TCP;
	cur->tunnel = true;
	return L_IP6;
}

/* ---- IP -------------------------------------------------------------------------------------- */

static enum layer on_ip(struct cur *cur)
{
	if (!cur->cap)
		return too_short(cur, 1);
	return cur->p[0] >> 4 == 4 ? L_IP4 : cur->p[0] >> 4 == 6 ? L_IP6 : L_NON_IP;
}

static enum layer proto_to(struct cur *cur, uint8_t proto)
{
	switch (proto) {
	case IPPROTO_TCP:
		return L_TCP;
	case IPPROTO_UDP:
		return L_UDP;
	case IPPROTO_GRE:
		return L_GRE;
	case IPPROTO_IPIP:
		cur->tunnel = true;
		return L_IP4;
	case IPPROTO_IPV6:
		cur->tunnel = true;
		return L_IP6;
	case 137:	/* MPLS in IP, RFC 4023 */
		return L_MPLS;
	case 97:	/* EtherIP, RFC 3378 */
		if (cur->cap < 2)
			return too_short(cur, 2);
		pull(cur, 2);
		cur->tunnel = true;
		return L_ETHERNET;
	default:
		return L_NON_TCP;
	}
}

/* Takes a fragment; goes on when its datagram is complete. */
static enum layer fragment(struct cur *cur, uint32_t id, uint8_t proto, bool v6, uint32_t off,
			   bool more)
{
	struct osp_frag_key key = { .id = id, .proto = v6 ? 0 : proto, .v6 = v6 };
	struct osp_frag_part part = { .p = cur->p, .off = off, .n = cur->len, .more = more,
				      .ts = cur->seg->ts };

	cur->dec->fragments++;
	if (cur->cap < cur->len) {
		cur->dec->fragments_cut++;
		return L_CUT;
	}
	memcpy(key.src, cur->seg->src, 16);
	memcpy(key.dst, cur->seg->dst, 16);
	if (!osp_frags_add(cur->dec->frags, &key, &part, &cur->p, &cur->len))
		return L_HELD;
	cur->cap = cur->len;
	cur->seg->offset = 0;
	return proto_to(cur, proto);
}

/* Authentication header, RFC 4302 2: lengths in 4-byte words, minus 2. */
static enum layer skip_ah(struct cur *cur, uint8_t *proto)
{
	uint32_t n;

	if (cur->cap < 12)
		return too_short(cur, 12);
	n = (cur->p[1] + 2u) * 4;
	if (cur->cap < n)
		return too_short(cur, n);
	*proto = cur->p[0];
	pull(cur, n);
	return L_IP;
}

static void mapped(uint8_t out[16], const uint8_t *p)
{
	memset(out, 0, 10);
	out[10] = out[11] = 0xff;
	memcpy(out + 12, p, 4);
}

static enum layer on_ip4(struct cur *cur)
{
	struct osp_tcp_seg *seg = cur->seg;
	const uint8_t *p = cur->p;
	uint32_t head, total, off;
	uint8_t proto;

	if (cur->cap < 20)
		return too_short(cur, 20);
	head = (p[0] & 15u) * 4;
	total = be16(p + 2);
	if (p[0] >> 4 != 4 || head < 20 || (total && total < head))
		return L_BAD;
	if (total)
		limit(cur, total);
	if (cur->cap < head)
		return too_short(cur, head);
	mapped(seg->src, p + 12);
	mapped(seg->dst, p + 16);
	seg->v6 = false;
	seg->has_id = true;
	seg->ip_id = be16(p + 4);
	off = be16(p + 6);
	proto = p[9];
	cur->ips++;
	pull(cur, head);
	if (off & 0x3fff)
		return fragment(cur, seg->ip_id, proto, false, (off & 0x1fff) * 8, off & 0x2000);
	if (proto == IPPROTO_AH) {
		enum layer l = skip_ah(cur, &proto);

		if (l != L_IP)
			return l;
	}
	return proto_to(cur, proto);
}

/* Extension headers, RFC 8200 4; returns L_IP when proto is what follows them. */
static enum layer ip6_extensions(struct cur *cur, uint8_t *proto)
{
	uint32_t n, id, off;
	bool more;
	int i;

	for (i = 0; i < 16; i++) {
		switch (*proto) {
		case IPPROTO_HOPOPTS:
		case IPPROTO_ROUTING:
		case IPPROTO_DSTOPTS:
		case IPPROTO_MH:
		case 139:	/* HIP */
		case 140:	/* Shim6 */
			if (cur->cap < 8)
				return too_short(cur, 8);
			n = (cur->p[1] + 1u) * 8;
			if (cur->cap < n)
				return too_short(cur, n);
			*proto = cur->p[0];
			pull(cur, n);
			break;
		case IPPROTO_AH:
			if (skip_ah(cur, proto) != L_IP)
				return too_short(cur, 12);
			break;
		case IPPROTO_FRAGMENT:
			if (cur->cap < 8)
				return too_short(cur, 8);
			*proto = cur->p[0];
			off = be16(cur->p + 2);
			more = off & 1;
			id = be32(cur->p + 4);
			pull(cur, 8);
			cur->seg->has_id = true;
			cur->seg->ip_id = id;
			if (off & 0xfff9)	/* else an atomic fragment, RFC 6946 */
				return fragment(cur, id, *proto, true, off & 0xfff8, more);
			break;
		default:
			return L_IP;
		}
	}
	return L_BAD;
}

static enum layer on_ip6(struct cur *cur)
{
	struct osp_tcp_seg *seg = cur->seg;
	const uint8_t *p = cur->p;
	uint32_t n;
	uint8_t proto;
	enum layer l;

	if (cur->cap < 40)
		return too_short(cur, 40);
	if (p[0] >> 4 != 6)
		return L_BAD;
	n = be16(p + 4);
	if (n)	/* 0: a jumbogram (RFC 2675) or offload; to the frame's end */
		limit(cur, n + 40);
	memcpy(seg->src, p + 8, 16);
	memcpy(seg->dst, p + 24, 16);
	seg->v6 = true;
	seg->has_id = false;
	seg->ip_id = 0;
	proto = p[6];
	cur->ips++;
	pull(cur, 40);
	l = ip6_extensions(cur, &proto);
	return l == L_IP ? proto_to(cur, proto) : l;
}

static enum layer on_udp(struct cur *cur)
{
	uint16_t sport, dport;
	uint32_t n;

	if (cur->cap < 8)
		return too_short(cur, 8);
	sport = be16(cur->p);
	dport = be16(cur->p + 2);
	n = be16(cur->p + 4);
	if (n >= 8 && n < cur->len)
		limit(cur, n);
	pull(cur, 8);
	switch (dport) {
	case 4789:
	case 8472:	/* Linux's own VXLAN port */
		return L_VXLAN;
	case 4790:
		return L_VXLAN_GPE;
	case 6081:
		return L_GENEVE;
	case 2152:
		return L_GTPU;
	case 6635:	/* MPLS in UDP, RFC 7510 */
		return L_MPLS;
	}
	return sport == 3544 || dport == 3544 ? L_TEREDO : L_NON_TCP;
}

/* ---- TCP ------------------------------------------------------------------------------------- */

/* False: there is not all of a header in the first cap of these len bytes. */
static inline bool take_tcp(struct osp_tcp_seg *seg, const uint8_t *p, uint32_t cap, uint32_t len)
{
	uint32_t head = cap < 20 ? 0 : (p[12] >> 4) * 4u;

	if (head < 20 || cap < head)
		return false;
	seg->sport = be16(p);
	seg->dport = be16(p + 2);
	seg->seq = be32(p + 4);
	seg->ack = be32(p + 8);
	seg->flags = p[13];
	seg->win = be16(p + 14);
	seg->tcp = p;
	seg->tcp_n = head;
	seg->data = p + head;
	seg->cap = cap - head;
	seg->len = len - head;
	return true;
}

static enum layer on_tcp(struct cur *cur)
{
	uint32_t head;

	if (take_tcp(cur->seg, cur->p, cur->cap, cur->len))
		return L_TCP;
	if (cur->cap < 20)
		return too_short(cur, 20);
	head = (cur->p[12] >> 4) * 4u;
	return head < 20 ? L_BAD : too_short(cur, head);
}

const uint8_t *osp_tcp_option(const struct osp_tcp_seg *seg, uint8_t kind, uint32_t *n)
{
	uint32_t at = 20;

	while (at < seg->tcp_n && seg->tcp[at]) {
		if (seg->tcp[at] == 1) {
			at++;
			continue;
		}
		if (at + 2 > seg->tcp_n || seg->tcp[at + 1] < 2 ||
		    seg->tcp[at + 1] > seg->tcp_n - at)
			return NULL;
		if (seg->tcp[at] == kind) {
			*n = seg->tcp[at + 1] - 2u;
			return seg->tcp + at + 2;
		}
		at += seg->tcp[at + 1];
	}
	return NULL;
}

/* ---- all together ---------------------------------------------------------------------------- */

static enum layer first_layer(uint16_t link)
{
	switch (link) {
	case OSP_LINK_ETHERNET:
		return L_ETHERNET;
	case OSP_LINK_NULL:
	case OSP_LINK_LOOP:
		return L_NULL;
	case OSP_LINK_RAW:
	case OSP_LINK_RAW_BSD:
	case OSP_LINK_RAW_OPENBSD:
		return L_IP;
	case OSP_LINK_IPV4:
		return L_IP4;
	case OSP_LINK_IPV6:
		return L_IP6;
	case OSP_LINK_SLL:
		return L_SLL;
	case OSP_LINK_SLL2:
		return L_SLL2;
	case OSP_LINK_80211:
		return L_80211;
	case OSP_LINK_RADIOTAP:
		return L_RADIOTAP;
	case OSP_LINK_PPP:
		return L_PPP;
	case OSP_LINK_PPP_HDLC:
		return L_PPP_HDLC;
	case OSP_LINK_PPPOE:
		return L_PPPOE;
	default:
		return L_LINK;
	}
}

static enum osp_decap_result result(enum layer l, const struct cur *cur)
{
	switch (l) {
	case L_TCP:
		return OSP_DECAP_TCP;
	case L_HELD:
		return OSP_DECAP_HELD;
	case L_NON_IP:
		return cur->ips ? OSP_DECAP_NON_TCP : OSP_DECAP_NON_IP;
	case L_NON_TCP:
		return OSP_DECAP_NON_TCP;
	case L_CUT:
		return OSP_DECAP_CUT;
	case L_LINK:
		return OSP_DECAP_LINK;
	default:
		return OSP_DECAP_BAD;
	}
}

/* What nearly all packets are: Ethernet, IPv4 without options and in one piece or IPv6 without
 * extensions, TCP, all headers captured. The same as peel() in one go.
 */
bool osp_decap_plain(const struct osp_frame *frame, struct osp_tcp_seg *seg)
{
	const uint8_t *p = frame->p + 14;
	uint32_t cap = frame->cap - 14, head, n;

	if (frame->link != OSP_LINK_ETHERNET || frame->cap < 14 + 40)
		return false;
	seg->tag = 0;
	if (be16(p - 2) == ETH_IP4) {
		n = be16(p + 2);
		head = 20;
		if (p[0] != 0x45 || n < head || p[9] != IPPROTO_TCP || be16(p + 6) & 0x3fff)
			return false;
		mapped(seg->src, p + 12);
		mapped(seg->dst, p + 16);
		seg->v6 = false;
		seg->has_id = true;
		seg->ip_id = be16(p + 4);
	} else if (be16(p - 2) == ETH_IP6) {
		n = be16(p + 4);
		head = 40;
		if (p[0] >> 4 != 6 || !n || p[6] != IPPROTO_TCP)
			return false;
		n += head;
		memcpy(seg->src, p + 8, 16);
		memcpy(seg->dst, p + 24, 16);
		seg->v6 = true;
		seg->has_id = false;
		seg->ip_id = 0;
	} else {
		return false;
	}
	if (!take_tcp(seg, p + head, (cap < n ? cap : n) - head, n - head))
		return false;
	seg->ts = frame->ts;
	seg->offset = frame->offset ? frame->offset + (uint64_t)(seg->data - frame->p) : 0;
	return true;
}

/* All others, layer by layer. */
static __attribute__((noinline)) enum osp_decap_result peel(struct osp_decap *dec,
							    const struct osp_frame *frame,
							    struct osp_tcp_seg *seg)
{
	static enum layer (*const on[L_MAX])(struct cur *) = {
		[L_ETHERNET] = on_ethernet, [L_TYPE] = on_type, [L_IP] = on_ip, [L_IP4] = on_ip4,
		[L_IP6] = on_ip6, [L_MPLS] = on_mpls, [L_PPP] = on_ppp, [L_PPPOE] = on_pppoe,
		[L_GRE] = on_gre, [L_UDP] = on_udp, [L_LLC] = on_llc, [L_NULL] = on_null,
		[L_SLL] = on_sll, [L_SLL2] = on_sll2, [L_80211] = on_80211,
		[L_RADIOTAP] = on_radiotap, [L_VXLAN] = on_vxlan, [L_VXLAN_GPE] = on_vxlan_gpe,
		[L_GENEVE] = on_geneve, [L_GTPU] = on_gtpu, [L_TEREDO] = on_teredo,
		[L_ERSPAN2] = on_erspan2, [L_ERSPAN3] = on_erspan3, [L_PPP_HDLC] = on_ppp_hdlc,
	};
	struct cur cur = { .dec = dec, .seg = seg, .p = frame->p, .cap = frame->cap,
			   .len = frame->len };
	enum layer l = first_layer(frame->link);
	int i;

	seg->ts = frame->ts;
	seg->offset = frame->offset;
	seg->tag = 0;
	for (i = 0; i < OSP_LAYERS_MAX && l < L_HELD && l != L_TCP; i++)
		l = on[l](&cur);
	if (l == L_TCP)
		l = on_tcp(&cur);
	dec->tunnelled += cur.tunnel;
	if (l == L_TCP && seg->offset)
		seg->offset += (uint64_t)(seg->data - frame->p);
	return result(l, &cur);
}

enum osp_decap_result osp_decap(struct osp_decap *dec, const struct osp_frame *frame,
				struct osp_tcp_seg *seg)
{
	osp_frags_recycle(dec->frags);
	return osp_decap_plain(frame, seg) ? OSP_DECAP_TCP : peel(dec, frame, seg);
}

int osp_decap_new(struct osp_decap **out)
{
	struct osp_decap *dec = osp_mem_zalloc(sizeof(*dec));
	int err;

	if (!dec)
		return -ENOMEM;
	err = osp_frags_new(&dec->frags, &dec->frag_stats);
	if (err) {
		osp_mem_free(dec);
		return err;
	}
	*out = dec;
	return 0;
}

const struct osp_frag_stats *osp_decap_frag_stats(const struct osp_decap *dec)
{
	return &dec->frag_stats;
}

uint64_t osp_decap_fragments(const struct osp_decap *dec)
{
	return dec->fragments;
}

uint64_t osp_decap_fragments_cut(const struct osp_decap *dec)
{
	return dec->fragments_cut;
}

uint64_t osp_decap_tunnelled(const struct osp_decap *dec)
{
	return dec->tunnelled;
}

void osp_decap_free(struct osp_decap *dec)
{
	if (!dec)
		return;
	osp_frags_free(dec->frags);
	osp_mem_free(dec);
}
