/* SPDX-License-Identifier: GPL-3.0-or-later */
/* flow.h: TCP connections as a capture shows them; private to agent/wire/{reasm,flow,flow_out}.c.
 *
 * A flow has two halves, one per sender: half[0] is what the endpoint with the lower address and
 * port sends. Sequence numbers are raw and compared modulo 2^32.
 *
 * @thread loop
 */
#ifndef OSP_WIRE_FLOW_H
#define OSP_WIRE_FLOW_H

#include "agent/base/list.h"
#include "agent/base/mem.h"
#include "agent/wire/hash.h"
#include "agent/wire/reasm.h"

/* Numbers closer than this belong to one connection; see strange() in reasm.c. */
#define OSP_SEQ_NEAR (64u << 20)
/* No hole is larger. */
#define OSP_SEQ_FAR (1u << 30)

static inline bool osp_seq_after(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

static inline bool osp_seq_within(uint32_t a, uint32_t b, uint32_t n)
{
	return a - b <= n || b - a <= n;
}

/* A segment that waits; ev is filled when it goes. */
struct osp_wpiece {
	struct osp_wpiece *next;
	uint64_t ts, offset;
	uint32_t seq, len, ack;
	uint32_t cap, size;	/* payload at hand; size of the allocation */
	bool syn;		/* came with SYN: counts once acknowledged (RFC 9293 3.8, 7413) */
	uint8_t pad[7];
	struct osp_ev_data ev;
	uint8_t data[];
};

/* Where payload that went by stands in the file. */
struct osp_wpast {
	uint64_t offset;
	uint32_t seq, n;
};
#define OSP_WPAST 8u

/* What one endpoint sends. What each packet needs stands first. */
struct osp_half_flow {
	uint64_t ack_ts;	/* when an acknowledgement first went beyond reach */
	uint64_t out_ts;	/* latest of what was emitted */
	uint32_t next;		/* the next byte to be emitted */
	uint32_t acked;		/* by the other endpoint, highest */
	uint32_t win;		/* last advertised window, as on the wire */
	uint8_t past_at;	/* in the flow's past[] */
	uint8_t scale;		/* of the window, RFC 7323 */
	bool based;		/* next means something */
	bool exact;		/* next was the stream's first byte when it was set */
	bool moved;		/* something was emitted */
	bool syn;		/* its SYN was seen: isn */
	bool tagged;
	bool has_ack;
	bool ack_hard;		/* acked was seen with payload: it counts no FIN */
	bool excuse;		/* excused means something */
	bool has_fin, fin_out;
	bool arm_hard;		/* ack_hard when the soft timer was set */
	uint32_t isn;
	uint32_t excused;	/* nothing before it is waited for */
	uint32_t fin, fin_ack;	/* position of FIN; what it acknowledged */
	uint32_t arm_ack, arm_next;	/* acked when the soft, next when the hard timer was set */
	uint32_t queued;	/* memory of the pieces */
	struct osp_wpiece *first, *last;	/* by sequence number, not overlapping */
	uint64_t fin_ts;
	uint64_t tag;		/* of the first packet */
};

struct osp_flow_key {
	uint8_t addr[2][16];
	uint16_t port[2];
};

enum osp_flow_life {
	OSP_FL_EMBRYO,		/* nothing emitted yet */
	OSP_FL_OPEN,
	OSP_FL_ENDING,		/* both FINs went by */
	OSP_FL_TOMB,		/* ended: keeps late packets from founding a new one */
	OSP_FL_LIVES
};

/* Here, too: thousands of flows do not fit into the cache, see osp_reasm_expect(). */
struct osp_flow {
	struct osp_flow *hnext;
	struct osp_flow_key key;
	uint32_t hash;
	uint64_t id;		/* 0: not opened */
	uint64_t last_ts, life_ts;
	uint32_t turn, retransmits;
	uint8_t state;		/* enum osp_flow_life */
	uint8_t local;		/* the half whose sender is the client, or passes for it */
	uint8_t last_side;	/* who sent what was emitted last */
	bool lost;		/* that was nothing but a gap */
	bool loose;		/* one behind a gap of the other side: see OSP_DF_LOOSE */
	bool role;		/* local is known by SYN */
	bool settled;		/* the start is decided: events can go */
	bool rst;
	bool copies;		/* some packets came several times */
	bool v6;
	bool calm;		/* open, nothing waits, nothing is missing, no end in sight */
	struct osp_half_flow half[2];
	struct osp_list life, soft, hard;
	uint64_t first_ts, rst_ts;
	uint64_t soft_due, hard_due;
	struct osp_wpast past[2][OSP_WPAST];
};
#define OSP_FLOW_HOT offsetof(struct osp_flow, half[1].isn)

struct osp_reasm {
	struct osp_reasm_conf conf;
	struct osp_reasm_io io;
	struct osp_flow **bucket;
	struct osp_hash_key hash_key;
	uint32_t mask, flow_n;
	struct osp_list life[OSP_FL_LIVES];	/* by life_ts */
	struct osp_list soft, hard;		/* by due time */
	struct osp_pool pool;
	uint64_t held;		/* bytes of all pieces */
	uint64_t now, check_at;
	uint64_t ids, events;
	struct osp_ev_data *out;	/* room for an event with payload */
	uint32_t out_cap;
};

static inline void osp_wcount(struct osp_reasm *rs, enum osp_st id, uint64_t n)
{
	osp_count(rs->io.led, id, n);
}

/* ---- flow.c ---------------------------------------------------------------------------------- */

int osp_flows_init(struct osp_reasm *rs);
void osp_flows_fini(struct osp_reasm *rs);
/* Of addresses and ports, the same both ways. */
uint32_t osp_flow_hash(const struct osp_reasm *rs, const struct osp_tcp_seg *seg);
/* The flow a segment belongs to that half `side` sends; NULL: none. */
struct osp_flow *osp_flow_find(struct osp_reasm *rs, const struct osp_tcp_seg *seg, int side,
			       uint32_t hash);
/* A new flow for it; the oldest of the least use makes room. NULL: no memory. */
struct osp_flow *osp_flow_add(struct osp_reasm *rs, const struct osp_tcp_seg *seg, int side,
			      uint32_t hash);
void osp_flow_set_life(struct osp_reasm *rs, struct osp_flow *flow, enum osp_flow_life life);
/* Lists of lives are in order to this much: a flow is moved once a second at most. */
#define OSP_TOUCH_NS 1000000000ull
/* Moves it to the young end of its list; cheap, to be called for each packet. */
static inline void osp_flow_touch(struct osp_reasm *rs, struct osp_flow *flow)
{
	if (rs->now - flow->life_ts < OSP_TOUCH_NS)
		return;
	flow->life_ts = rs->now;
	osp_list_move_tail(&rs->life[flow->state], &flow->life);
}
void osp_flow_free(struct osp_reasm *rs, struct osp_flow *flow);

/* A piece for n bytes of payload; NULL: no memory. */
struct osp_wpiece *osp_piece_new(struct osp_reasm *rs, struct osp_half_flow *half, uint32_t n);
void osp_piece_free(struct osp_reasm *rs, struct osp_half_flow *half, struct osp_wpiece *pc);
/* Takes the first piece off the queue. */
struct osp_wpiece *osp_piece_pop(struct osp_half_flow *half);

/* ---- flow_out.c ------------------------------------------------------------------------------ */

/* Up to where nothing of half is waited for. */
uint32_t osp_flow_reach(struct osp_half_flow *half);
/* Whether all that an acknowledgement by that side covers has been emitted or given up. */
bool osp_flow_covered(struct osp_flow *flow, int side, uint32_t ack);
/* The OPEN, if it has not gone yet. */
void osp_flow_open(struct osp_reasm *rs, struct osp_flow *flow);
/* Payload of that side, which begins at its next byte. */
void osp_flow_data(struct osp_reasm *rs, struct osp_flow *flow, int side,
		   const struct osp_tcp_seg *seg);
/* The same, of a calm flow: nothing else can have to go before it. */
void osp_flow_next(struct osp_reasm *rs, struct osp_flow *flow, int side,
		   const struct osp_tcp_seg *seg);
void osp_flow_gap(struct osp_reasm *rs, struct osp_flow *flow, int side, uint32_t n, uint64_t ts);
/* Emits what can be, in the order in which one thing led to another. */
void osp_flow_pump(struct osp_reasm *rs, struct osp_flow *flow);
/* What that side sent before upto is waited for no longer. hard: it was all bytes, no FIN. */
void osp_flow_give_up(struct osp_reasm *rs, struct osp_flow *flow, int side, uint32_t upto,
		      bool hard);
/* A piece waits behind a hole of that side, which spoke last, and answers what the other side has
 * lost up to *ack. Two sides take turns, so that goes first: most likely the request whose answer
 * has lost its head, too.
 */
bool osp_flow_asked(struct osp_flow *flow, int side, uint32_t *ack);
/* Gets rid of the first piece, or the FIN, of that side, whatever is missing before it. */
void osp_flow_force(struct osp_reasm *rs, struct osp_flow *flow, int side);
/* The side whose first piece, or FIN, came earlier. */
int osp_flow_earlier(const struct osp_flow *flow);
/* Gets rid of all that waits. */
void osp_flow_flush(struct osp_reasm *rs, struct osp_flow *flow);
/* Flushes, emits CLOSE with these OSP_CF_* flags, makes a tomb of it. */
void osp_flow_close(struct osp_reasm *rs, struct osp_flow *flow, uint8_t flags);

#endif
