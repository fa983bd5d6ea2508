/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_record.h: the one model the world sees. docs/record.md and docs/osprey-record.schema.json
 * describe it as JSON; names here follow it.
 *
 * A record is plain data: fixed fields, and a table of strings (slices). Who builds one points the
 * slices at its own buffers; the sink host copies record and strings into the batch's memory
 * (osp_record_copy), so that a batch stands alone.
 *
 * Unknown is told apart from zero: numbers that can be unknown have a bit in has, strings have
 * p == NULL.
 *
 * Enums are append-only; OSP_RECORD_ABI is bumped for an incompatible change, and so is the
 * number in OSP_RECORD_SCHEMA when a meaning changes.
 */
#ifndef OSP_RECORD_H
#define OSP_RECORD_H

#include "agent/base/slice.h"

#include <stddef.h>
#include <stdint.h>

#define OSP_RECORD_ABI 1u
#define OSP_RECORD_SCHEMA "osprey/1"

enum osp_rec_kind {
	OSP_REC_TRANSACTION = 1,
	OSP_REC_CONNECTION = 2,
	OSP_REC_LEDGER = 3,
	OSP_REC_KIND_MAX
};

/* How a transaction ended. */
enum osp_outcome {
	OSP_OUT_OK = 0,
	OSP_OUT_NO_RESPONSE,	/* the connection ended in order, the request was never answered */
	OSP_OUT_TIMEOUT,	/* no response within the configured time */
	OSP_OUT_RESET,		/* the connection was reset before the transaction was complete */
	OSP_OUT_CLOSED,		/* closed in the middle of a message */
	OSP_OUT_GAP,		/* bytes are missing where the framing needed them */
	OSP_OUT_FRAMING,	/* "framing_error" */
	OSP_OUT_SHED,
	OSP_OUT_AGENT_STOP,
	OSP_OUT_NO_REQUEST,	/* a response alone */
	OSP_OUT_MAX
};

/* Facts about our view of a transaction: bits of osp_record.flags. */
#define OSP_RF_MIDSTREAM (1u << 0)
#define OSP_RF_TRUNCATED (1u << 1)
#define OSP_RF_GAP (1u << 2)
#define OSP_RF_TLS (1u << 3)
#define OSP_RF_TUNNEL (1u << 4)
#define OSP_RF_UPGRADE (1u << 5)
#define OSP_RF_LOOPBACK (1u << 6)
#define OSP_RF_DUP_REMOVED (1u << 7)
#define OSP_RF_NONUTF8 (1u << 8)
#define OSP_RF_KERNEL_TLS (1u << 9)
#define OSP_RF_SENDFILE (1u << 10)
#define OSP_RF_SKIPPED (1u << 11)
#define OSP_RF_ONE_WAY (1u << 12)

/* Facts about the peers: bits of osp_record.anomalies; names in record/names.c. */
#define OSP_RA_CL_TE (1u << 0)
#define OSP_RA_MULTIPLE_CL (1u << 1)
#define OSP_RA_BARE_LF (1u << 2)
#define OSP_RA_SPACE_BEFORE_COLON (1u << 3)
#define OSP_RA_OBS_FOLD (1u << 4)
#define OSP_RA_EXTRA_BYTES (1u << 5)
#define OSP_RA_BAD_CL (1u << 6)
#define OSP_RA_BAD_CHUNK (1u << 7)
#define OSP_RA_BAD_HEAD (1u << 8)
#define OSP_RA_TE_NOT_CHUNKED (1u << 9)
#define OSP_RA_LEADING_BLANK (1u << 10)
#define OSP_RA_HTTP09 (1u << 11)
#define OSP_RA_BAD_CODING (1u << 12)

/* Strings of a record, by place. Append only. */
enum osp_rec_str {
	OSP_S_COMM,		/* process.* */
	OSP_S_EXE,
	OSP_S_CONTAINER_ID,
	OSP_S_CONTAINER_RUNTIME,
	OSP_S_CONTAINER_NAME,
	OSP_S_POD_UID,
	OSP_S_POD_NAME,
	OSP_S_NAMESPACE,
	OSP_S_HTTP_VERSION,	/* "1.1" */
	OSP_S_METHOD,		/* http.request.* */
	OSP_S_TARGET,
	OSP_S_HOST,
	OSP_S_USER_AGENT,
	OSP_S_TRACEPARENT,
	OSP_S_REQUEST_ID,
	OSP_S_REQ_CONTENT_TYPE,
	OSP_S_REQ_CONTENT_ENCODING,
	OSP_S_REQ_TRANSFER_ENCODING,
	OSP_S_REASON,		/* http.response.* */
	OSP_S_RES_CONTENT_TYPE,
	OSP_S_RES_CONTENT_ENCODING,
	OSP_S_RES_TRANSFER_ENCODING,
	OSP_S_PROTOCOL,		/* connection records: "http/1", "tls", "opaque" ... */
	OSP_S_SNI,
	OSP_S_ALPN,
	OSP_S_TLS_VERSION,
	OSP_S_END,		/* connection records: "fin", "reset", "timeout", "exit", "running" */
	OSP_S_AGENT,		/* ledger records: version */
	OSP_S_MODE,
	OSP_S_ORIGIN,
	OSP_S_HOSTNAME,
	OSP_S_KERNEL,
	OSP_S_BOOT_ID,
	OSP_S_WHEN,		/* ledger records: "start", "interval", "exit" */
	OSP_S_REQ_BODY,		/* kept bytes of the bodies, decoded where osp_rec_msg.decode says so */
	OSP_S_RES_BODY,
	OSP_S_CLIENT_PATH,	/* unix sockets: what the ends are bound to; "@" begins an abstract name */
	OSP_S_SERVER_PATH,
	OSP_S_MAX
};

enum osp_end { OSP_REQ = 0, OSP_RES = 1, OSP_ENDS };

/* osp_rec_msg.has */
#define OSP_MH_MSG (1u << 0)		/* this half of the transaction exists at all */
#define OSP_MH_HEAD_BYTES (1u << 1)
#define OSP_MH_BODY_WIRE (1u << 2)
#define OSP_MH_BODY (1u << 3)
#define OSP_MH_CONTENT_LENGTH (1u << 4)
#define OSP_MH_SEQ (1u << 5)
#define OSP_MH_SEQ_END (1u << 6)
#define OSP_MH_START (1u << 7)
#define OSP_MH_END (1u << 8)		/* also: the message was complete */
#define OSP_MH_DIGEST (1u << 9)
#define OSP_MH_STATUS (1u << 10)

struct osp_rec_header {
	struct osp_slice name, value;
	uint32_t redacted;	/* value's original length + 1 if it was redacted, else 0 */
};

#define OSP_INTERIM_MAX 8

/* What became of a kept body's content codings. */
enum osp_decode {
	OSP_DEC_NONE = 0,	/* not asked for, or there are none */
	OSP_DEC_DONE,		/* the string is what came out */
	OSP_DEC_BAD,		/* the string is what was sent, for these reasons: */
	OSP_DEC_UNKNOWN,	/* a coding that is not built in, too many, or in several fields */
	OSP_DEC_RANGE,		/* 206: a piece of something coded */
	OSP_DEC_NOMEM,
	OSP_DEC_MAX
};

enum osp_coding {
	OSP_CODING_GZIP = 1,
	OSP_CODING_DEFLATE,
	OSP_CODING_BR,
	OSP_CODING_ZSTD,
	OSP_CODING_MAX
};

#define OSP_CODINGS_MAX 3	/* nested ones that are taken off */

struct osp_rec_msg {
	uint32_t has;
	uint32_t head_bytes;		/* start line to empty line inclusive */
	uint64_t body_wire_bytes;	/* with chunk framing and trailers */
	uint64_t body_bytes;		/* de-chunked, still content-encoded */
	uint64_t content_length;	/* as declared */
	uint32_t tcp_seq, tcp_end;	/* raw sequence number of the first byte; of the one after the last */
	int64_t start_ns, end_ns;	/* first and last byte, relative to the record's ts_ns */
	uint64_t digest;		/* xxh64 of the body_bytes, seed 0 */
	uint16_t status;		/* response */
	uint16_t interim[OSP_INTERIM_MAX];
	uint8_t interim_n;
	uint8_t decode;			/* enum osp_decode */
	uint8_t coding_n;		/* DONE: codings taken off, as Content-Encoding has them */
	uint8_t coding[OSP_CODINGS_MAX];	/* enum osp_coding */
	uint32_t header_n;		/* 0 with header NULL: not kept */
	uint32_t captured_bytes;	/* DONE: bytes of the body that were kept and decoded */
	const struct osp_rec_header *header;
};

/* osp_rec_conn.has */
#define OSP_CH_TUPLE (1u << 0)
#define OSP_CH_NETNS (1u << 1)
#define OSP_CH_TXN (1u << 2)		/* the connection's start was seen, so txn is right */

#define OSP_TRANSPORT_UNIX 255u		/* no protocol above IP: a unix stream socket */

struct osp_rec_conn {
	uint32_t has;
	char id[32];			/* Community ID v1, NUL-terminated, "" unknown */
	uint64_t cookie;
	uint64_t txn;			/* n-th transaction, from 1 */
	uint8_t client[16], server[16];	/* v4-mapped where IPv4 */
	uint16_t client_port, server_port;
	uint32_t netns;
	uint8_t role, role_from;	/* enum osp_role, osp_role_from of bpf/osp_events.h */
	uint8_t transport;		/* IPPROTO_*, OSP_TRANSPORT_UNIX */
	uint8_t pad;
	uint64_t peer_cookie;		/* unix: of the other end's socket; 0 unknown */
};

/* osp_rec_proc.has */
#define OSP_PH_PID (1u << 0)
#define OSP_PH_TID (1u << 1)
#define OSP_PH_NS_PID (1u << 2)
#define OSP_PH_START (1u << 3)
#define OSP_PH_UID (1u << 4)

struct osp_rec_proc {
	uint32_t has;
	uint32_t pid, tid, ns_pid, uid;
	uint32_t pad;
	int64_t start_ns;		/* CLOCK_REALTIME ns */
};

struct osp_rec_gap {
	uint64_t at, bytes;		/* position in the stream from its base; length */
	uint8_t cause;			/* enum osp_cause */
	uint8_t pad[7];
};

/* bytes = seen_bytes + sum of gap[].bytes, always. at of gaps beyond the kept number is lost:
 * they are added up per cause with at = UINT64_MAX ("many places").
 */
struct osp_rec_stream {
	uint64_t bytes;			/* the kernel's own total since the connection's base */
	uint64_t seen_bytes;		/* went by a hook, content captured */
	uint64_t captured_bytes;	/* of those, copied to user space */
	uint64_t gap_bytes;
	uint64_t overlap_bytes;		/* seen twice (raced threads, retransmissions); not in bytes */
	uint32_t gap_n;
	uint32_t pad;
	const struct osp_rec_gap *gap;
};

struct osp_rec_connection {
	uint8_t has_opened, has_closed, has_rtt, has_bytes;
	uint32_t rtt_us, retransmits;
	int64_t opened_ns, closed_ns;	/* CLOCK_REALTIME ns */
	uint64_t transactions;
	uint64_t turns;			/* changes of direction as the kernel counted them */
	uint64_t lost_exchanges;	/* exchanges of which neither half reached us */
	struct osp_rec_stream dir[2];	/* enum osp_dir */
};

/* One counter of the ledger. stage, name, unit are static strings. */
struct osp_rec_counter {
	const char *stage, *name, *label;	/* label: cause, outcome or sink; NULL none */
	uint64_t value;
};

struct osp_rec_ledger {
	uint8_t closed;			/* all sums close */
	uint8_t pad[3];
	uint32_t counter_n;
	const struct osp_rec_counter *counter;
	int64_t wall_off_ns;
};

struct osp_record {
	uint32_t size;			/* sizeof(struct osp_record) of whoever built it */
	uint8_t kind;			/* enum osp_rec_kind */
	uint8_t vantage;		/* enum osp_vantage */
	uint8_t outcome;		/* enum osp_outcome; transactions */
	uint8_t has_timing;		/* bit 0: ttfb_ns, bit 1: duration_ns */
	uint64_t id[2];			/* 128 bits, printed as 32 hex digits, id[0] first */
	uint64_t seq;			/* set by the sink host: per run, from 1, no holes */
	int64_t ts_ns;			/* CLOCK_REALTIME ns */
	uint32_t flags;			/* OSP_RF_* */
	uint32_t anomalies;		/* OSP_RA_* */
	int64_t ttfb_ns, duration_ns;
	uint64_t lost_bytes;
	struct osp_rec_conn conn;
	struct osp_rec_proc proc;
	struct osp_slice str[OSP_S_MAX];
	union {
		struct {
			struct osp_rec_msg msg[OSP_ENDS];	/* OSP_REQ, OSP_RES */
		};
		struct osp_rec_connection connection;
		struct osp_rec_ledger ledger;
	};
};

/* Takes a finished record; rec and all it points to are the caller's and valid inside the call
 * only. Cannot fail: who takes it counts what it cannot keep.
 */
typedef void (*osp_rec_fn)(void *ctx, const struct osp_record *rec);

/* Names as they stand in JSON; "unknown" for a number out of range, never NULL. */
const char *osp_outcome_name(int outcome);
const char *osp_cause_name(int cause);
const char *osp_vantage_name(int vantage);
const char *osp_role_name(int role);
const char *osp_role_from_name(int from);
const char *osp_kind_name(int kind);
const char *osp_flag_name(int bit);		/* of OSP_RF_*, by bit number */
const char *osp_anomaly_name(int bit);		/* of OSP_RA_*, by bit number */
const char *osp_coding_name(int coding);
const char *osp_undecoded_name(int decode);	/* why not: of enum osp_decode from OSP_DEC_BAD on */

/* The record as one JSON object without newline. Returns the length it has; when that is more
 * than cap, what stands in buf is cut and of no use. See docs/record.md.
 */
size_t osp_record_json(const struct osp_record *rec, char *buf, size_t cap);

/* Bytes that osp_record_copy needs for rec, 8-byte aligned. */
size_t osp_record_size(const struct osp_record *rec);

/* Copies rec with all it points to into mem (8-byte aligned, osp_record_size() bytes). The copy
 * lives as long as mem.
 */
struct osp_record *osp_record_copy(void *mem, const struct osp_record *rec);

/* The same into cap bytes, if that is enough. Returns the bytes used, a multiple of 8; 0: it does not
 * fit, and mem holds nothing of use.
 */
size_t osp_record_put(void *mem, size_t cap, const struct osp_record *rec);

/* Community ID v1, seed 0, of a TCP/UDP 5-tuple. Addresses 16 bytes, v4-mapped for IPv4 (which are
 * hashed as 4 bytes). out: "1:" + base64(sha1), NUL-terminated, at most 32 bytes.
 * https://github.com/corelight/community-id-spec
 */
void osp_community_id(char out[32], const uint8_t a[16], uint16_t a_port, const uint8_t b[16],
		      uint16_t b_port, uint8_t proto);

#endif
