/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stream.h: one direction of a connection: bytes by position.
 *
 * Positions are u64 whose lower half is the raw TCP sequence number, so neither widening nor the
 * way back needs a base. The base is kept for what is told to the outside.
 *
 * @thread loop
 */
#ifndef OSP_STREAM_H
#define OSP_STREAM_H

#include "agent/parser/parser.h"
#include "bpf/osp_events.h"
#include "record/osp_record.h"

#include <stdbool.h>
#include <stdint.h>

/* Pieces waiting per direction. Normal load has none or one; more than a few mean loss. */
#define OSP_PIECES_MAX 16
/* Gaps kept one by one; the rest is added up by cause. */
#define OSP_GAPS_KEPT 16
#define OSP_POS_NONE UINT64_MAX

/* An event that can't be used yet: [pos, pos + bytes), the first cap of them at hand. */
struct osp_piece {
	struct osp_piece *next;
	uint64_t pos, bytes;
	uint64_t arrival;	/* event time at which it came */
	uint64_t after;		/* what the opposite direction has to have passed; 0: nothing */
	uint32_t cap, size;	/* size: of the allocation */
	uint32_t lost, filtered;	/* as in osp_ev_data: about the hole before pos */
	struct osp_seg seg;
	uint8_t cause;		/* of [pos + cap, pos + bytes) */
	bool raced;		/* what it claims is in doubt; so is the hole before it */
	char data[];
};

struct osp_gaps {
	struct osp_rec_gap kept[OSP_GAPS_KEPT];
	uint64_t more[OSP_CAUSE_MAX];
	uint32_t n;
};

struct osp_strm {
	uint64_t base;		/* position of the first byte accounted for */
	uint64_t next;		/* of the next byte to be passed on */
	uint64_t eof;		/* of the end, OSP_POS_NONE: not known */
	uint64_t skip;		/* the source knows that nobody needs what is before this */
	uint64_t gap_bytes, overlap;
	uint64_t rival;		/* of the overlap: by another thread, and no hole is put down to it */
	struct osp_piece *piece;	/* by position, no overlaps */
	struct osp_gaps *gaps;	/* NULL: none */
	struct osp_buf hold;	/* bytes too few to tell the protocol */
	struct osp_seg hold_seg;
	uint32_t turn;		/* of the last bytes passed */
	uint32_t tid;		/* who moved them */
	uint32_t hole_turn;	/* of the event after the latest hole */
	uint8_t piece_n;
	bool based;		/* base is known */
	bool moved;		/* something was passed on: the base is fixed */
	bool holed;		/* a gap was among it, or the start was not seen */
	bool bypassed;		/* bytes do go past the hooks: a hole is not waited for for long */
	bool eof_done;
};

/* The position of raw sequence number seq. ahead: bytes that are known to be missing between next
 * and seq (0 none): tells forward from back where the distance is half the number space and more.
 */
uint64_t osp_strm_place(const struct osp_strm *strm, uint32_t seq, uint64_t ahead);

/* The first position: seq. */
void osp_strm_base(struct osp_strm *strm, uint32_t seq);

/* Notes a gap of bytes at pos. */
void osp_strm_note_gap(struct osp_strm *strm, uint64_t pos, uint64_t bytes, int cause);

/* Of what was noted as gaps of cause `from`, up to n bytes turn out to be of cause `to`, the latest
 * first: how many. */
uint64_t osp_strm_recause(struct osp_strm *strm, uint64_t n, int from, int to);

/* All gaps of strm into out[OSP_GAPS_KEPT + OSP_CAUSE_MAX + 1]; how many. Sum: gap_bytes. */
uint32_t osp_strm_gaps(const struct osp_strm *strm, struct osp_rec_gap *out);

/* How a hole of n bytes divides among what is known of it (osp_ev_data). */
struct osp_hole {
	uint64_t ring, filtered, bypass;
};
struct osp_hole osp_hole_split(uint64_t n, uint32_t lost, uint32_t filtered);

void osp_strm_fini(struct osp_strm *strm);

#endif
