/* SPDX-License-Identifier: GPL-3.0-or-later */
/* frame.h: a captured packet. */
#ifndef OSP_WIRE_FRAME_H
#define OSP_WIRE_FRAME_H

#include <stdint.h>

struct osp_frame {
	const uint8_t *p;
	uint32_t cap, len;	/* bytes captured, bytes it had; cap <= len */
	uint64_t ts;		/* ns since 1970 */
	uint64_t offset;	/* of p in the file; 0: nowhere */
	uint16_t link;		/* OSP_LINK_* */
};

/* LINKTYPE_* values, https://www.tcpdump.org/linktypes.html */
enum osp_link {
	OSP_LINK_NULL = 0,
	OSP_LINK_ETHERNET = 1,
	OSP_LINK_PPP = 9,
	OSP_LINK_RAW_BSD = 12,		/* DLT_RAW as some systems number it */
	OSP_LINK_RAW_OPENBSD = 14,
	OSP_LINK_PPP_HDLC = 50,
	OSP_LINK_PPPOE = 51,
	OSP_LINK_RAW = 101,
	OSP_LINK_80211 = 105,
	OSP_LINK_LOOP = 108,
	OSP_LINK_SLL = 113,
	OSP_LINK_RADIOTAP = 127,
	OSP_LINK_IPV4 = 228,
	OSP_LINK_IPV6 = 229,
	OSP_LINK_SLL2 = 276,
};

#endif
