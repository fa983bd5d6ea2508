/* SPDX-License-Identifier: GPL-3.0-or-later */
/* recon.h: what the files of recon-diff share.
 *
 * Words. A side is one of the two inputs (0 is A, 1 is B). A row is a transaction in 48 bytes: what
 * is needed to find its partner and to see that the two agree; the record itself stays in its file
 * and is read again (rc_detail) where somebody wants to know more. A view is a record; an exchange
 * whose both ends are on one host has two (folded into one row that counts). A reason is why one
 * side has what the other has not, from evidence: connection and ledger records, capture times.
 *
 * The order of things: both inputs are read, each by a thread of its own, into rows and two tables
 * (addresses, connections); the tables are joined; rows are put in order of their connection; then
 * all work is by connection: match, clock, verdicts, reports.
 *
 * Memory: 48 bytes a row, 28 + ~12 a connection, 80 a connection record, all else bounded.
 */
#ifndef OSP_RECON_H
#define OSP_RECON_H

#include "bpf/osp_events.h"
#include "recon/record_read.h"
#include "record/osp_record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define RC_NONE UINT32_MAX
#define RC_NS_PER_S 1000000000ll
/* Rows a side: link is 32 bits and RC_NONE is taken. */
#define RC_ROWS_MAX 4000000000u

/* ---- settings ------------------------------------------------------------------------------- */

#define RC_MAPS_MAX 64
#define RC_IPS_MAX 1024

struct rc_map {			/* --map: who is found under from is really to */
	uint8_t from[16], to[16];
	uint16_t from_port, to_port;
};

struct rc_cidr {
	uint8_t addr[16];
	uint8_t bits;		/* of 128 */
};

struct rc_conf {
	const char *name[2];
	char **path[2];
	uint32_t path_n[2];
	struct rc_map map[RC_MAPS_MAX];
	uint32_t map_n;
	struct rc_cidr host_ip[RC_IPS_MAX];
	uint32_t host_ip_n;
	int64_t duration_ns;	/* of a capture from an interface; 0: until told */
	int64_t window_ns;	/* how far apart in time two views of one thing can be */
	int64_t guard_ns;	/* at both ends of the common window; -1: from the data */
	int64_t offset_ns;	/* B - A, if has_offset */
	int64_t tol_ns;		/* times agree within tol_ns + tol_pct % */
	uint32_t tol_pct;
	bool has_offset, strict, strict_timing, quiet, progress;
	int color;		/* 0 no, 1 yes */
	uint32_t examples;	/* shown in the terminal */
	const char *jsonl, *summary_json, *junit, *html, *explain;
};

/* ---- rows ----------------------------------------------------------------------------------- */

#define RC_F_REQ (1u << 0)
#define RC_F_RES (1u << 1)
#define RC_F_REQ_SEQ (1u << 2)
#define RC_F_RES_SEQ (1u << 3)
#define RC_F_UNSURE (1u << 4)		/* gap or truncated: sizes may be short */
#define RC_F_MIDSTREAM (1u << 5)
#define RC_F_TLS (1u << 6)		/* seen inside a TLS library */
#define RC_F_DIGEST (1u << 7)
#define RC_F_HEADERS (1u << 8)
#define RC_F_FOLDED (1u << 9)		/* second view of another row of its side: does not count */
#define RC_F_TWIN (1u << 10)		/* has such a second view */
#define RC_F_CLIENT (1u << 11)		/* the view is the client's, the server's */
#define RC_F_SERVER (1u << 12)
#define RC_F_TTFB (1u << 13)
#define RC_F_DUR (1u << 14)
#define RC_F_LOOPBACK (1u << 15)

/* How a pair was found, strongest first. */
enum rc_by { RC_BY_NONE, RC_BY_SEQ, RC_BY_RES_SEQ, RC_BY_NAT, RC_BY_ORDER, RC_BY_FINGERPRINT,
	     RC_BY_MAX };

/* An exchange over a unix socket has no numbers. In their place stand hashes of one end's socket
 * and of which exchange on it this is: both views of it have the same.
 */
#define RC_SOCK_SERVER 1	/* req_seq: by the server's socket */
#define RC_SOCK_CLIENT 2	/* res_seq: by the client's */

struct rc_row {
	int64_t ts;		/* ns, the side's own clock */
	uint64_t off : 40;	/* where the record is: rc_store */
	uint64_t status : 10;
	uint64_t outcome : 4;
	uint64_t by : 3;	/* enum rc_by */
	uint64_t client_b : 1;	/* the client is the connection's second endpoint */
	uint64_t ambiguous : 1;
	uint64_t moved : 1;	/* scratch: its number is not unique (match.c) */
	uint64_t sockets : 2;	/* RC_SOCK_*: hashes in req_seq, res_seq */
	uint64_t spare : 2;
	uint32_t link;		/* connection, until rows are grouped; then the mate over there */
	uint32_t req_seq, res_seq;
	uint32_t core;		/* hash of all that must be equal and is no number of bytes */
	uint32_t size;		/* hash of all byte counts */
	uint32_t extra;		/* hash of digests and headers */
	uint16_t key;		/* hash of method and target, percent-decoded */
	uint16_t ttfb, dur;	/* rc_short_time() */
	uint16_t flags;		/* RC_F_* */
};
_Static_assert(sizeof(struct rc_row) == 48, "five million rows a side must fit");

/* ns in 16 bits: 11 of mantissa, 5 of exponent; exact below 2 us, then to 0.05 %; up to 73 min. */
static inline uint16_t rc_short_time(int64_t ns)
{
	uint64_t v = ns < 0 ? 0 : (uint64_t)ns;
	unsigned int e = v < 2048 ? 0 : 53 - (unsigned int)__builtin_clzll(v);

	if (e > 31)
		return UINT16_MAX;
	return (uint16_t)(e << 11 | v >> e);
}

static inline int64_t rc_long_time(uint16_t t)
{
	return (int64_t)((uint64_t)(t & 2047) << (t >> 11));
}

/* t + ns, or the last (first) time there is. What begins at INT64_MAX and ends at INT64_MIN, as a
 * side without any records, stays empty whatever is cut from it.
 */
static inline int64_t rc_time_add(int64_t t, int64_t ns)
{
	int64_t sum;

	if (!__builtin_add_overflow(t, ns, &sum))
		return sum;
	return ns < 0 ? INT64_MIN : INT64_MAX;
}

/* ---- connections, addresses ----------------------------------------------------------------- */

#define RC_AF_SEEN 1		/* in a record of this side */
#define RC_AF_LOCAL 2		/* an address of this side's own host */

struct rc_addr {
	uint8_t ip[16];		/* v4-mapped where IPv4 */
	uint8_t flags[2];	/* RC_AF_*, by side */
	uint32_t one_way[2], both_ways[2];	/* its connections, by side, if they say so */
};

/* Endpoints in order (address, then port), so that both sides agree whoever is the client. */
struct rc_conn {
	uint32_t addr[2];
	uint16_t port[2];
	uint32_t first[2];	/* its rows on each side: first[s] up to the next connection's */
	uint32_t ev[2];		/* chain of struct rc_ev */
};

/* Connection 0 is "no addresses known" (unix sockets, HAR). */
struct rc_net {
	struct rc_addr *addr;
	struct rc_conn *conn;
	uint32_t addr_n, addr_cap, conn_n, conn_cap;
	uint32_t *addr_hash, *conn_hash;	/* open addressing; index + 1; power of two */
	uint32_t addr_mask, conn_mask;
};

enum rc_proto { RC_PROTO_OTHER, RC_PROTO_HTTP, RC_PROTO_TLS, RC_PROTO_OPAQUE };
enum rc_loss { RC_LOSS_HOST, RC_LOSS_WIRE, RC_LOSS_SNAPLEN, RC_LOSS_FILTERED, RC_LOSS_MAX };

/* A connection record: evidence. left: bytes known to be missing, taken down by each transaction
 * that they explain, so that a gap of 100 bytes does not explain a thousand transactions.
 */
struct rc_ev {
	int64_t opened, closed;		/* or first and last known time */
	uint64_t cookie;
	uint64_t left[RC_LOSS_MAX];
	uint32_t next;
	uint32_t exchanges_left;	/* declared lost, not yet explained by */
	uint8_t cause[RC_LOSS_MAX];	/* enum osp_cause with the most bytes */
	uint8_t proto;
	uint8_t most;		/* enum rc_loss with the most bytes; RC_LOSS_MAX: none */
	uint8_t midstream, running, overlap, one_way;
	uint32_t unread;	/* bytes that came and that the process did not take */
};

/* ---- where records are ---------------------------------------------------------------------- */

struct rc_file {
	int fd;
	uint64_t base, size;	/* its part of the side's offsets */
};

struct rc_store {
	struct rc_file *file;
	uint32_t file_n;
	uint64_t total;
	int spool;		/* fd of the temporary file, -1 none */
	uint64_t spool_base;
	char *buf;		/* of spool writes */
	size_t buf_n;
};

/* ---- a side --------------------------------------------------------------------------------- */

enum rc_kind { RC_KIND_UNKNOWN, RC_KIND_HOST, RC_KIND_WIRE, RC_KIND_CLIENT };

struct rc_side {
	const struct rc_conf *conf;
	int idx;
	const char *name;		/* "host", "wire", "A", "B" or the user's */
	const char *format;		/* of its first file, for people */
	enum rc_kind kind;
	bool native;			/* records of ours: an absent key means something */
	bool decoded_target;		/* targets come percent-decoded (Zeek) */

	struct rc_row *row;
	uint32_t row_n;
	size_t row_cap;
	struct rc_net net;		/* until it is joined */
	struct rc_ev *ev;
	uint32_t ev_n, ev_cap;
	struct rc_store store;

	struct rc_ledger led;
	bool has_led, led_exit;
	uint64_t lines, bad, other;	/* other: connection, ledger, unknown kinds */
	uint64_t conns, ledgers;
	uint64_t folded;
	uint64_t vantage[OSP_VANTAGE_MAX];	/* records of each */
	int64_t first_ns, last_ns;	/* times it can speak about */
	bool loopback, roles;		/* saw any; knows any */
	uint64_t explain_off;		/* of the record --explain asks for, UINT64_MAX none */
	int stop_fd;			/* readable: an interface's capture ends; -1 */
	bool said;			/* what err is about is on stderr already */
	char err[256];
	char host[72];
};

/* ---- the clock between the sides ------------------------------------------------------------ */

#define RC_CLOCK_MIN 20			/* fewer pairs are no estimate */
#define RC_CLOCK_BINS 64

struct rc_clock {
	bool estimated, drift_known, piecewise;
	int64_t t0;			/* A's clock; where offset holds */
	int64_t offset;			/* B - A at t0 */
	double drift;			/* dimensionless; 1e-6 is 1 ppm */
	int64_t mad;			/* median absolute deviation of what is left */
	uint32_t n;
	uint32_t bin_n;			/* piecewise: medians, A's time ascending */
	int64_t bin_t[RC_CLOCK_BINS], bin_off[RC_CLOCK_BINS];
};

/* ---- verdicts ------------------------------------------------------------------------------- */

enum rc_verdict { RC_MATCH, RC_DIFFERS, RC_ONLY_A, RC_ONLY_B, RC_AMBIGUOUS, RC_VERDICTS };

enum rc_reason {
	RC_WHY_UNEXPLAINED,
	RC_WHY_DUPLICATE,
	RC_WHY_RETRANSMISSION,
	RC_WHY_HALF,
	RC_WHY_LOOPBACK,
	RC_WHY_UNIX,
	RC_WHY_NOT_INSTRUMENTED,
	RC_WHY_FILTERED,
	RC_WHY_INTERFACE,
	RC_WHY_WINDOW_EDGE,
	RC_WHY_TLS,
	RC_WHY_OPAQUE,
	RC_WHY_HOST_LOSS,
	RC_WHY_CAPTURE_LOSS,
	RC_WHY_SNAPLEN,
	RC_WHY_ONE_WAY,
	RC_WHY_MIDSTREAM,
	RC_WHY_AGENT_STOP,
	RC_WHY_ABORTED,
	RC_WHY_MAX
};

enum rc_class { RC_CLASS_EXACT, RC_CLASS_BYTES, RC_CLASS_HEADERS, RC_CLASS_DIGEST, RC_CLASS_TIME,
		RC_CLASS_HALF, RC_CLASS_UNCERTAIN, RC_CLASSES };

enum rc_field {
	RC_FIELD_METHOD, RC_FIELD_TARGET, RC_FIELD_HOST, RC_FIELD_VERSION, RC_FIELD_STATUS,
	RC_FIELD_REASON, RC_FIELD_INTERIM, RC_FIELD_USER_AGENT, RC_FIELD_REQ_CONTENT_TYPE,
	RC_FIELD_RES_CONTENT_TYPE, RC_FIELD_REQ_CONTENT_ENCODING, RC_FIELD_RES_CONTENT_ENCODING,
	RC_FIELD_REQ_TRANSFER_ENCODING, RC_FIELD_RES_TRANSFER_ENCODING, RC_FIELD_OUTCOME,
	RC_FIELD_REQ_HEAD, RC_FIELD_RES_HEAD, RC_FIELD_REQ_BODY, RC_FIELD_RES_BODY,
	RC_FIELD_REQ_WIRE, RC_FIELD_RES_WIRE, RC_FIELD_REQ_LENGTH, RC_FIELD_RES_LENGTH,
	RC_FIELD_REQ_HEADERS, RC_FIELD_RES_HEADERS, RC_FIELD_REQ_DIGEST, RC_FIELD_RES_DIGEST,
	RC_FIELD_REQUEST, RC_FIELD_RESPONSE,
	RC_FIELD_TS, RC_FIELD_TTFB, RC_FIELD_DURATION,
	RC_FIELDS
};

struct rc_diff {
	uint8_t field, cls;	/* enum rc_field, rc_class */
	char a[160], b[160];	/* for people and reports; cut */
};

struct rc_diffs {
	uint32_t n;
	bool differs;		/* something else than uncertain */
	struct rc_diff d[RC_FIELDS];
};

/* Signed logarithmic histogram: 8 bins an octave of |ns|, 48 octaves. */
#define RC_HIST_SUB 8
#define RC_HIST_BINS (48 * RC_HIST_SUB)
struct rc_hist {
	uint64_t neg[RC_HIST_BINS], pos[RC_HIST_BINS], zero, n;
};

#define RC_TIME_BINS 96

struct rc_nat {
	uint32_t conn[2];
	uint64_t n;
};
#define RC_NATS_MAX 256

struct rc_sample {		/* of what did not match, for reports */
	uint32_t row[2];	/* RC_NONE: no such side */
	uint32_t conn[2];
	uint8_t verdict, reason;
	uint32_t fields;	/* bits of enum rc_field */
};
#define RC_SAMPLES_MAX 200

struct rc_result {
	uint64_t verdict[RC_VERDICTS];
	uint64_t by[RC_BY_MAX];
	uint64_t reason[3][RC_WHY_MAX];	/* of differs, only-A, only-B */
	uint64_t ambiguous_side[2];
	uint64_t field[RC_FIELDS], field_uncertain[RC_FIELDS];
	uint64_t uncertain;		/* matches with an uncertain field */
	uint64_t timing;		/* pairs whose times are out of tolerance */
	uint64_t direction;		/* pairs seen in an order that their roles forbid */
	uint64_t records[2];		/* exchanges: rows without second views */
	uint64_t reason_in_scope[2];	/* only-S that the other side should have had */
	int64_t from, to;		/* A's clock, for the time line */
	uint64_t line[RC_VERDICTS][RC_TIME_BINS];
	struct rc_hist ttfb, dur, req_lag, res_lag;
	struct rc_nat nat[RC_NATS_MAX];
	uint32_t nat_n;
	struct rc_sample sample[RC_SAMPLES_MAX];
	uint32_t sample_n;
	double seconds, read_seconds, match_seconds;
	uint64_t unexplained;
};

struct rc_model {
	const struct rc_conf *conf;
	struct rc_side side[2];
	struct rc_net net;		/* joined */
	struct rc_clock clock;
	int64_t guard_ns;
	struct rc_result res;
};

static inline struct rc_row *rc_rows(const struct rc_model *m, int s, uint32_t c, uint32_t *n)
{
	const struct rc_conn *conn = &m->net.conn[c];

	*n = conn[1].first[s] - conn->first[s];
	/* A side without any rows has no array, either. */
	return *n ? m->side[s].row + conn->first[s] : NULL;
}

/* ---- names.c -------------------------------------------------------------------------------- */
const char *rc_verdict_name(int verdict);
const char *rc_reason_name(int reason);
const char *rc_reason_help(int reason);
const char *rc_class_name(int cls);
const char *rc_field_name(int field);
const char *rc_by_name(int by);
/* Whether such a difference says nothing about completeness: the other side could not see it. */
bool rc_reason_out_of_scope(int reason);

/* ---- store.c: records at offsets ------------------------------------------------------------ */
int rc_store_add(struct rc_store *st, int fd, uint64_t size, uint64_t *base);
/* Appends a line to the temporary file; *off is where. 0 or -errno. */
int rc_store_spool(struct rc_store *st, const char *line, size_t n, uint64_t *off);
int rc_store_flush(struct rc_store *st);
void rc_store_fini(struct rc_store *st);

/* A record read again. buf is kept between reads. */
struct rc_detail {
	struct rc_rec rr;
	char *buf;
	size_t cap, n;
};
int rc_detail_read(struct rc_detail *d, const struct rc_store *st, uint64_t off);
void rc_detail_fini(struct rc_detail *d);

/* ---- model.c -------------------------------------------------------------------------------- */
int rc_net_init(struct rc_net *net);
void rc_net_fini(struct rc_net *net);
/* Index of the address, of the connection; RC_NONE: no memory. */
uint32_t rc_net_addr(struct rc_net *net, const uint8_t ip[16]);
uint32_t rc_net_conn(struct rc_net *net, uint32_t addr_a, uint16_t port_a, uint32_t addr_b,
		     uint16_t port_b);
/* Takes a record of the side; off says where it stands. 0, -ENOMEM, -EBADMSG (no use: no time). */
int rc_side_take(struct rc_side *sd, const struct rc_rec *rr, uint64_t off);
void rc_side_fini(struct rc_side *sd);
/* Joins what both sides read, and orders their rows by connection, then time. */
int rc_model_join(struct rc_model *m);
void rc_model_fini(struct rc_model *m);
bool rc_is_loopback(const uint8_t ip[16]);

/* ---- reader.c ------------------------------------------------------------------------------- */
/* Reads all files of the side; on failure sd->err has one line. */
int rc_side_read(struct rc_side *sd);
/* Whether it names an interface: iface:NAME. */
bool rc_is_live(const char *path);
/* Whether this is a packet capture that can be read again. */
bool rc_is_capture(const char *path);

/* ---- match.c, align.c, clock.c -------------------------------------------------------------- */
int rc_match(struct rc_model *m);
/* Pairs rows of a and b (ascending by time, unmatched, at least one of each pair without numbers)
 * by order, key and time.
 */
int rc_align(struct rc_model *m, struct rc_row *const *a, uint32_t an, struct rc_row *const *b,
	     uint32_t bn, enum rc_by by);
void rc_pair(struct rc_model *m, struct rc_row *a, struct rc_row *b, enum rc_by by);
void rc_unpair(struct rc_model *m, struct rc_row *a);

struct rc_pairs {			/* samples for the clock: bounded, evenly thinned */
	int64_t *t, *d;
	uint32_t n, cap, skip, phase;
};
int rc_pairs_init(struct rc_pairs *p);
void rc_pairs_add(struct rc_pairs *p, int64_t t, int64_t d);
void rc_pairs_fini(struct rc_pairs *p);
void rc_clock_fit(struct rc_clock *ck, const struct rc_pairs *p);
/* A's time as B's clock shows it, and back. */
int64_t rc_clock_to_b(const struct rc_clock *ck, int64_t t_a);
int64_t rc_clock_to_a(const struct rc_clock *ck, int64_t t_b);
/* How far b is from where a says it should be: B's time minus A's, the offset taken out. */
int64_t rc_residual(const struct rc_clock *ck, const struct rc_row *a, const struct rc_row *b);

/* ---- compare.c ------------------------------------------------------------------------------ */
/* Whether the rows alone show that the records agree in all that both have. */
bool rc_rows_agree(const struct rc_row *a, const struct rc_row *b);
void rc_compare(const struct rc_model *m, const struct osp_record *a, const struct osp_record *b,
		struct rc_diffs *out);

/* ---- reason.c ------------------------------------------------------------------------------- */
/* Why the other side has nothing for this row. Takes down budgets of evidence. */
enum rc_reason rc_why_only(struct rc_model *m, int s, uint32_t conn, const struct rc_row *row,
			   const struct osp_record *rec);
/* Why side s has less of the pair than the other. bytes: a half, or a part of it, and not only a
 * worse outcome.
 */
enum rc_reason rc_why_less(struct rc_model *m, int s, uint32_t conn, const struct rc_row *row,
			   bool bytes);

/* ---- verdict.c ------------------------------------------------------------------------------ */
/* Called for every pair, only and ambiguous in a fixed order; a or b is NULL where there is none.
 * da, db, diffs: NULL where rows sufficed.
 */
struct rc_view {
	enum rc_verdict verdict;
	enum rc_reason reason;
	uint32_t conn[2];
	const struct rc_row *row[2];
	const struct osp_record *rec[2];
	const struct rc_diffs *diffs;
};
typedef int (*rc_view_fn)(void *ctx, struct rc_model *m, const struct rc_view *view);
/* Fills m->res. 0, -errno, -EILSEQ if the sums do not close (a bug of ours). */
int rc_judge(struct rc_model *m, rc_view_fn fn, void *ctx);

/* ---- stat.c --------------------------------------------------------------------------------- */
void rc_hist_add(struct rc_hist *h, int64_t ns);
/* The value below which share of all lie; 0 if there is none. */
int64_t rc_hist_at(const struct rc_hist *h, double share);
void rc_wilson(uint64_t hits, uint64_t n, double *low, double *high);
/* Chapman's estimate of how many there were in all, seen or not. */
double rc_chapman(uint64_t a, uint64_t b, uint64_t both);

/* ---- reports -------------------------------------------------------------------------------- */
struct rc_jsonl;
int rc_jsonl_open(struct rc_jsonl **out, const char *path, char *err, size_t err_size);
int rc_jsonl_view(void *ctx, struct rc_model *m, const struct rc_view *view);
int rc_jsonl_close(struct rc_jsonl *jl);
void rc_report_text(const struct rc_model *m, FILE *to);
int rc_report_summary(const struct rc_model *m, const char *path);
int rc_report_junit(struct rc_model *m, const char *path);
int rc_report_html(struct rc_model *m, const char *path);
/* 0; -ENOENT: no such record. */
int rc_explain(struct rc_model *m, FILE *to);

/* frames.c: lists the frames of the capture in path that carry the record's bytes, near in time to ts
 * (ns, by the capture's clock). alt: where a half is looked up that rec has not; or NULL.
 */
void rc_frames_put(FILE *to, const char *path, const struct osp_record *rec,
		   const struct osp_record *alt, int64_t ts, int64_t slack);

/* ---- text.c: helpers of reports ------------------------------------------------------------- */
void rc_put_json(FILE *to, const char *p, size_t n);	/* with quotes */
void rc_put_html(FILE *to, const char *p, size_t n);	/* also good inside attributes, XML */
void rc_put_time(FILE *to, int64_t ns);			/* RFC 3339 */
/* Text into buf; each returns buf. */
const char *rc_text_ns(char *buf, size_t cap, int64_t ns);	/* "1.25 ms" */
const char *rc_text_n(char *buf, size_t cap, uint64_t n);	/* "12,345" */
const char *rc_text_end(char *buf, size_t cap, const struct rc_net *net, uint32_t conn, int end);
/* "GET /a → 200", of the record; bytes that are no printable UTF-8 as \xNN. */
const char *rc_text_txn(char *buf, size_t cap, const struct osp_record *rec);
/* The exit status that the result asks for: 0 or 1. */
int rc_exit(const struct rc_model *m);
/* Both sides have something and no two of it are one: rather two captures of different things. */
bool rc_nothing_matched(const struct rc_model *m);
/* "only-host": the verdict with the sides' names. */
const char *rc_text_verdict(char *buf, size_t cap, const struct rc_model *m, int verdict);

#endif
