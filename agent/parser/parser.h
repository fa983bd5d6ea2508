/* SPDX-License-Identifier: GPL-3.0-or-later */
/* parser.h: what a protocol parser is, what it gets and what it says.
 *
 * A parser has one state per connection, for both directions. It gets bytes in the order of their
 * positions (data), learns of positions whose bytes nobody has (gap) and of a direction's end
 * (eof). It may be cut at any byte and must say the same whatever the cuts. It does no I/O, reads
 * no clock, allocates only through the host's bounded buffers, and takes every byte it is given:
 * each one is told to the host exactly once under a class of enum osp_byte_class. "Held" bytes are
 * told again, with a negative number, when their class is known.
 *
 * It calls the host when a head is complete, and the host pairs: response() finds the request and
 * says what the framing of the response has to know about it. Slices in struct osp_msg live inside
 * that call only.
 *
 * A gap that the framing can step over (inside a body whose length is known) is told by
 * body_gap(); any other one ends the message (end with OSP_END_GAP) and is told by lost(), after
 * which the parser looks for a place where a message provably starts: the beginning of an event
 * that carries a start line.
 *
 * When a host call fails for lack of memory the host gives the connection up; the parser need only
 * not crash until it is freed.
 *
 * @thread loop
 */
#ifndef OSP_PARSER_H
#define OSP_PARSER_H

#include "agent/base/slice.h"
#include "bpf/osp_events.h"
#include "record/osp_record.h"

#include <stdbool.h>
#include <stdint.h>

/* Bytes that are kept over several events; owned by who embeds it, filled by the host. */
struct osp_buf {
	char *p;
	uint32_t n, cap;
};

/* What an event tells about all its bytes. */
struct osp_seg {
	uint64_t ts;		/* CLOCK_BOOTTIME ns */
	uint32_t turn;		/* see osp_ev_data.turn */
	uint32_t tgid, tid;
	bool loose;		/* a gap: turn is the least there can have been, there may be more */
};

enum osp_byte_class {
	OSP_BC_PARSED = 0,
	OSP_BC_OPAQUE,
	OSP_BC_RESYNC,
	OSP_BC_TUNNEL,
	OSP_BC_EXTRA,
	OSP_BC_HELD
};

/* How a message ended. */
enum osp_msg_end {
	OSP_END_OK = 0,		/* complete */
	OSP_END_GAP,
	OSP_END_BAD,		/* cannot be framed */
	OSP_END_CLOSED,		/* its direction ended before */
	OSP_END_RESET
};

/* What a response's framing has to know about the request (RFC 9112 6.3). */
enum osp_answers {
	OSP_ANS_UNKNOWN = 0,	/* the request was not seen */
	OSP_ANS_OTHER,
	OSP_ANS_HEAD,
	OSP_ANS_CONNECT,
	OSP_ANS_OLD,		/* HTTP/0.9: no head, unless it is refused with one */
	OSP_ANS_NOBODY,		/* no request: nobody had asked */
	OSP_ANS_NOMEM		/* the host gives up */
};

struct osp_header {
	struct osp_slice name, value;
};

/* Headers kept of one head; a record with more is "truncated". The framing reads all of them. */
#define OSP_HEADERS_MAX 1024

/* A head. Strings: index enum osp_rec_str - OSP_S_HTTP_VERSION. */
#define OSP_MSG_STRS (OSP_S_RES_TRANSFER_ENCODING - OSP_S_HTTP_VERSION + 1)
struct osp_msg {
	uint8_t kind;			/* OSP_REQ, OSP_RES */
	uint8_t answers;		/* of a request: what its response's framing needs */
	bool has_cl, cl_bad;		/* Content-Length: there, not a number */
	bool te, te_chunked;		/* Transfer-Encoding: there, last coding is chunked */
	bool expect;			/* Expect: 100-continue */
	bool websocket;			/* Upgrade: websocket */
	bool truncated;			/* more headers than OSP_HEADERS_MAX */
	bool codings;			/* Content-Encoding in several fields: not all in str */
	bool plain;			/* all strings are known to be printable ASCII */
	uint16_t status;
	uint32_t anomalies;		/* OSP_RA_* */
	uint32_t head_bytes;
	uint64_t content_length;
	uint64_t pos;			/* of the first byte */
	struct osp_seg seg;		/* of the first byte */
	struct osp_seg head_seg;	/* of the head's last byte */
	struct osp_slice str[OSP_MSG_STRS];
	uint32_t header_n;
	struct osp_header *header;	/* room for OSP_HEADERS_MAX, the host's */
};

struct osp_parser_host {
	/* A request's head. 0, or -ENOMEM: the host gives up. */
	int (*request)(void *ctx, const struct osp_msg *msg);
	/* A final response's head. */
	enum osp_answers (*response)(void *ctx, const struct osp_msg *msg);
	/* A 1xx response other than 101. */
	void (*interim)(void *ctx, const struct osp_msg *msg);
	/* Content of the body of the message under way in that half, in order. */
	void (*body)(void *ctx, int kind, const char *p, uint32_t n);
	void (*body_gap)(void *ctx, int kind, uint64_t bytes, int cause);
	/* Any byte of the message under way, framing too: when it went by. */
	void (*touch)(void *ctx, int kind, const struct osp_seg *seg);
	/* The message under way has ended before position pos; wire: bytes after its head. */
	void (*end)(void *ctx, int kind, enum osp_msg_end how, uint64_t pos, uint64_t wire);
	/* Anomalies and record flags of the message under way that show up after its head; of the
	 * connection where there is none.
	 */
	void (*note)(void *ctx, int kind, uint32_t anomalies, uint32_t flags);
	/* A message began in that turn, but its head is incomplete and never will be told. */
	void (*torn)(void *ctx, int kind, uint32_t turn);
	/* Messages may be gone in that half: bytes were lost in turns lo to hi (0: not known).
	 * between: right behind the end of a message, so that they were none of its, and the turns
	 * are certain.
	 */
	void (*lost)(void *ctx, int kind, uint32_t lo, uint32_t hi, bool between);
	/* Bytes that can't be a message. True: nothing was awaited there, they are extra. */
	bool (*bad)(void *ctx, int kind);
	/* Whether the request under way has been answered finally already, or may have been. */
	bool (*answered)(void *ctx);
	/* The connection speaks something else from here on. NULL: as before, but tunnelled. */
	void (*proto)(void *ctx, const char *name);
	void (*bytes)(void *ctx, enum osp_byte_class cls, int64_t n);
	/* The next n bytes of that direction matter by their number only (n >= env->skip_from). */
	void (*skip)(void *ctx, int dir, uint64_t n);
	/* 0 or -ENOMEM. */
	int (*buf_add)(void *ctx, struct osp_buf *buf, const char *p, uint32_t n);
	void (*buf_free)(void *ctx, struct osp_buf *buf);
};

/* What all connections of a tracker share. */
struct osp_parser_env {
	uint32_t max_head;
	struct osp_header *header;	/* OSP_HEADERS_MAX */
	uint64_t skip_from;		/* so many at least make skip() worth calling; 0 never */
};

struct osp_parser_init {
	const struct osp_parser_host *host;
	void *ctx;
	const struct osp_parser_env *env;
	uint8_t req_dir;		/* enum osp_dir in which requests go */
	bool lost[OSP_DIRS];		/* the direction's start was not seen: look for one */
	bool whole;			/* both were, and nothing is missing */
};

struct osp_parser {
	const char *name;	/* protocol of connection records; NULL ops: only told apart */
	uint32_t size;		/* of the state, which comes zeroed */
	void (*init)(void *st, const struct osp_parser_init *init);
	void (*data)(void *st, int dir, uint64_t pos, const char *p, uint32_t n,
		     const struct osp_seg *seg);
	/* [pos, pos + bytes) is not there; it was lost in turns lo to seg->turn. seg: of the event
	 * that tells.
	 */
	void (*gap)(void *st, int dir, uint64_t pos, uint64_t bytes, int cause, uint32_t lo,
		    const struct osp_seg *seg);
	/* Nothing follows in that direction. OSP_END_OK: it ended in order. */
	void (*eof)(void *st, int dir, enum osp_msg_end how);
	/* Gives buffers back; what is held is told as cls. */
	void (*fini)(void *st, enum osp_byte_class cls);
};

enum osp_detect {
	OSP_DET_NO = 0,
	OSP_DET_MORE,		/* could still be something: more bytes tell */
	OSP_DET_REQ,		/* a message of this parser's, sent by who asks */
	OSP_DET_RES,		/* ... by who answers */
	OSP_DET_LABEL		/* known, but not parsed */
};

/* What the first bytes of a direction are. strict: they may come from anywhere in the stream, so
 * only what is hardly an accident counts. *out: whose they are, unless NO or MORE.
 */
enum osp_detect osp_parser_detect(const char *p, uint32_t n, bool strict,
				  const struct osp_parser **out);

#endif
