/* SPDX-License-Identifier: GPL-3.0-or-later */
/* decap.h: from a frame to the TCP segment in it, through whatever a network wraps around it.
 *
 * @thread loop
 */
#ifndef OSP_WIRE_DECAP_H
#define OSP_WIRE_DECAP_H

#include "agent/wire/frag.h"
#include "agent/wire/frame.h"

#include <stdbool.h>
#include <stdint.h>

#define OSP_TCP_FIN 0x01
#define OSP_TCP_SYN 0x02
#define OSP_TCP_RST 0x04
#define OSP_TCP_ACK 0x10

/* A TCP segment. Pointers live as long as the frame's bytes, and until the next osp_decap(). */
struct osp_tcp_seg {
	uint64_t ts;
	uint64_t offset;	/* of data in the file; 0: nowhere */
	uint8_t src[16], dst[16];	/* v4-mapped */
	uint16_t sport, dport;
	uint32_t seq, ack;
	uint32_t ip_id;
	uint16_t win;
	uint8_t flags;		/* OSP_TCP_* */
	bool v6;
	bool has_id;		/* ip_id means something */
	const uint8_t *tcp;	/* header, options included, all captured */
	uint32_t tcp_n;
	const uint8_t *data;
	uint32_t cap, len;	/* payload: captured, in all */
	uint64_t tag;		/* hash of VLAN ids, VNIs, labels ... around it; 0: none */
};

enum osp_decap_result {
	OSP_DECAP_TCP = 0,
	OSP_DECAP_HELD,		/* a fragment that waits for others */
	OSP_DECAP_NON_IP,
	OSP_DECAP_NON_TCP,
	OSP_DECAP_CUT,		/* not enough of it was captured to tell */
	OSP_DECAP_BAD,		/* contradicts itself */
	OSP_DECAP_LINK,		/* a link type we do not know */
	OSP_DECAP_MAX
};

struct osp_decap;

/* 0 or -ENOMEM. */
int osp_decap_new(struct osp_decap **out);
enum osp_decap_result osp_decap(struct osp_decap *dec, const struct osp_frame *frame,
				struct osp_tcp_seg *seg);
/* The same for a frame in which only Ethernet, IP and TCP stand, in the plainest form; false: it may
 * be anything. Such a segment lives as long as the frame's bytes.
 */
bool osp_decap_plain(const struct osp_frame *frame, struct osp_tcp_seg *seg);
const struct osp_frag_stats *osp_decap_frag_stats(const struct osp_decap *dec);
/* Fragments seen; of these, cut by the capture and thrown away. */
uint64_t osp_decap_fragments(const struct osp_decap *dec);
uint64_t osp_decap_fragments_cut(const struct osp_decap *dec);
/* Packets that were inside some tunnel. */
uint64_t osp_decap_tunnelled(const struct osp_decap *dec);
void osp_decap_free(struct osp_decap *dec);

/* The value of TCP option kind in seg's header; *n: its length, without kind and length. NULL: it
 * is not there.
 */
const uint8_t *osp_tcp_option(const struct osp_tcp_seg *seg, uint8_t kind, uint32_t *n);

#endif
