/* SPDX-License-Identifier: GPL-3.0-or-later */
/* txn.c: transactions: what a parser tells becomes halves of them, and records in the end. Which
 * response belongs to which request: pair.c.
 */
#include "agent/conn.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define STR(id) ((id) - OSP_S_HTTP_VERSION)

/* xxh64 of nothing, seed 0. */
#define NO_BODY 0xef46db3751d8e999ull

void osp_txn_id(const struct osp_conn *conn, uint64_t index, uint64_t id[2])
{
	const uint64_t key[5] = { conn->trk->boot_hash, conn->id, conn->opened, index,
				  (uint64_t)conn->role };
	XXH128_hash_t h = XXH3_128bits(key, sizeof(key));

	id[0] = h.high64;
	id[1] = h.low64;
}

/* ---- records --------------------------------------------------------------------------------- */

static struct osp_slice kept_slice(const struct osp_txn *txn, uint32_t off, uint32_t n)
{
	return off ? osp_slice(txn->str.p + off, n) : osp_slice(NULL, 0);
}

static void rec_headers(struct osp_txn *txn, int kind, struct osp_rec_msg *out)
{
	const struct osp_half *half = &txn->half[kind];
	struct osp_rec_header *rec = txn->conn->trk->rec_header[kind];
	struct osp_kept_header kept;
	uint32_t i;

	for (i = 0; i < half->header_n; i++) {
		memcpy(&kept, txn->str.p + half->header_off + i * sizeof(kept), sizeof(kept));
		rec[i].name = kept_slice(txn, kept.name_off, kept.name_n);
		rec[i].value = kept_slice(txn, kept.value_off, kept.value_n);
		rec[i].redacted = kept.redacted;
	}
	out->header_n = half->header_n;
	out->header = half->header_n ? rec : NULL;
}

static void rec_half(struct osp_txn *txn, int kind, uint64_t ts, struct osp_rec_msg *out)
{
	const struct osp_half *half = &txn->half[kind];

	if (!half->there)
		return;
	out->has = OSP_MH_MSG | OSP_MH_HEAD_BYTES | OSP_MH_SEQ | OSP_MH_START;
	out->head_bytes = half->head_bytes;
	out->tcp_seq = (uint32_t)half->pos;
	out->start_ns = (int64_t)(half->ts0 - ts);
	if (kind == OSP_RES) {
		out->has |= half->status ? OSP_MH_STATUS : 0;	/* HTTP/0.9 has none */
		out->status = half->status;
		memcpy(out->interim, txn->interim, sizeof(out->interim));
		out->interim_n = txn->interim_n;
	}
	if (half->has_cl) {
		out->has |= OSP_MH_CONTENT_LENGTH;
		out->content_length = half->content_length;
	}
	if (half->sized) {
		out->has |= OSP_MH_BODY_WIRE | OSP_MH_BODY;
		out->body_wire_bytes = half->wire;
		out->body_bytes = half->body;
	}
	if (half->done) {
		out->has |= OSP_MH_SEQ_END | OSP_MH_END;
		out->tcp_end = (uint32_t)half->end;
		out->end_ns = (int64_t)(half->ts1 - ts);
	}
	if (half->done && !half->gap) {
		out->has |= OSP_MH_DIGEST;
		out->digest = half->hashed ? XXH64_digest(&half->xxh) : half->digest;
	}
	if (osp_conn_is_unix(txn->conn))
		out->has &= ~(OSP_MH_SEQ | OSP_MH_SEQ_END);	/* no TCP, no numbers */
	rec_headers(txn, kind, out);
}

/* Whose transaction it is: a server's who answered it, or received it; a client's who sent it. */
static const struct osp_half *owner(const struct osp_txn *txn)
{
	const struct osp_half *req = &txn->half[OSP_REQ], *res = &txn->half[OSP_RES];
	bool server = txn->conn->role == OSP_ROLE_SERVER;

	if (server)
		return res->there && res->tgid ? res : req;
	return req->there && req->tgid ? req : res;
}

static void rec_timing(struct osp_txn *txn, struct osp_record *rec)
{
	const struct osp_half *req = &txn->half[OSP_REQ], *res = &txn->half[OSP_RES];
	uint64_t last;

	/* Where the thread that received was quicker to its hook, only the order is known. */
	if (!req->there || (res->there && res->ts0 < req->ts0))
		return;
	if (res->there) {
		rec->has_timing |= 1;
		rec->ttfb_ns = (int64_t)(res->ts0 - req->ts0);
	}
	/* Until its response is complete a transaction's end is not known. */
	if ((!req->done && !res->done) || (res->there && !res->done))
		return;
	last = req->done ? req->ts1 : 0;
	if (res->done && res->ts1 > last)
		last = res->ts1;
	rec->has_timing |= 2;
	rec->duration_ns = (int64_t)(last - req->ts0);
}

/* What was kept of a body, without its codings if that was asked for and can be done. */
static void rec_body(struct osp_txn *txn, int kind, struct osp_record *rec)
{
	const struct osp_half *half = &txn->half[kind];
	struct osp_rec_msg *msg = &rec->msg[kind];
	struct osp_decoder *dec = txn->conn->trk->dec;
	struct osp_slice *body = &rec->str[OSP_S_REQ_BODY + kind];
	struct osp_slice codings = rec->str[kind == OSP_REQ ? OSP_S_REQ_CONTENT_ENCODING :
							    OSP_S_RES_CONTENT_ENCODING];
	struct osp_decoded res;

	if (!half->kept.n)
		return;
	*body = osp_slice(half->kept.p, half->kept.n);
	if (!dec || !codings.n)
		return;
	msg->decode = half->codings ? OSP_DEC_UNKNOWN : OSP_DEC_NONE;
	if (kind == OSP_RES && half->status == 206)
		msg->decode = OSP_DEC_RANGE;
	if (msg->decode)
		return;
	osp_decode(dec, kind, codings, *body, half->done && half->kept.n == half->body, &res);
	msg->decode = res.how;
	msg->coding_n = res.coding_n;
	memcpy(msg->coding, res.coding, sizeof(msg->coding));
	rec->flags |= res.cut ? OSP_RF_TRUNCATED : 0;
	rec->anomalies |= res.odd || res.how == OSP_DEC_BAD ? OSP_RA_BAD_CODING : 0;
	if (res.how != OSP_DEC_DONE)
		return;
	msg->captured_bytes = body->n;
	*body = res.data;
}

static void make_record(struct osp_txn *txn, enum osp_outcome outcome)
{
	struct osp_conn *conn = txn->conn;
	struct osp_tracker *trk = conn->trk;
	struct osp_record *rec = &trk->rec;
	const struct osp_half *who = owner(txn);
	struct osp_proc *proc = who->proc;
	uint64_t ts = txn->half[txn->half[OSP_REQ].there ? OSP_REQ : OSP_RES].ts0;
	int i;

	osp_mem_clear(rec, sizeof(*rec));
	rec->size = sizeof(*rec);
	rec->kind = OSP_REC_TRANSACTION;
	rec->vantage = conn->vantage;
	rec->outcome = outcome;
	osp_txn_id(conn, txn->index, rec->id);
	rec->ts_ns = osp_trk_wall(trk, ts);
	rec->flags = txn->flags | (osp_conn_loopback(conn) ? OSP_RF_LOOPBACK : 0) |
		     (conn->whole ? 0 : OSP_RF_MIDSTREAM) |
		     (conn->ktls ? OSP_RF_KERNEL_TLS : 0) |
		     (conn->vantage == OSP_VANTAGE_TLS ? OSP_RF_TLS : 0);
	rec->anomalies = txn->anomalies;
	rec->lost_bytes = txn->lost;
	osp_conn_rec(conn, rec);
	if (txn->counted) {
		rec->conn.has |= OSP_CH_TXN;
		rec->conn.txn = txn->index;
	}
	/* Its PROC may have come only after it began. */
	proc = proc ? proc : osp_proc_get(&trk->procs, who->tgid);
	osp_conn_rec_proc(trk, rec, proc, who->tgid, who->tid);
	for (i = 0; i < OSP_MSG_STRS; i++) {
		if (txn->off[i])
			rec->str[OSP_S_HTTP_VERSION + i] = osp_slice(txn->str.p + txn->off[i],
								     txn->len[i]);
	}
	for (i = 0; i < OSP_ENDS; i++) {
		rec_half(txn, i, ts, &rec->msg[i]);
		rec_body(txn, i, rec);
	}
	rec_timing(txn, rec);
	conn->txn_made++;
	osp_trk_count(trk, OSP_ST_REC_TRANSACTION, 1);
	trk->fn(trk->ctx, rec);
	osp_decoder_relax(trk->dec);
	if (proc != who->proc)
		osp_proc_put(proc);
}

/* ---- life ------------------------------------------------------------------------------------ */

/* Strings of a transaction that need no memory of their own: those of nearly all, and what makes
 * the allocation a whole class of the pool (1 KiB).
 */
#define ROOM (1024 - sizeof(struct osp_txn))
_Static_assert(sizeof(struct osp_txn) <= 768, "a quarter of it is for strings");

static struct osp_txn *txn_new(struct osp_conn *conn)
{
	struct osp_txn *txn;
	uint32_t size;

	txn = osp_conn_alloc(conn, sizeof(*txn) + ROOM, &size);
	if (!txn)
		return NULL;
	osp_mem_clear(txn, sizeof(*txn));
	txn->conn = conn;
	txn->size = size;
	osp_list_init(&txn->fifo);
	osp_list_init(&txn->timer);
	txn->room[0] = 0;
	txn->str = (struct osp_buf){ txn->room, 1, size - (uint32_t)sizeof(*txn) };
	txn->index = ++conn->txn_n;
	txn->counted = conn->whole && !conn->pair.lost;
	osp_trk_count(conn->trk, OSP_ST_TXN_BEGUN, 1);
	osp_trk_count(conn->trk, OSP_ST_TXN_OPEN, 1);
	return txn;
}

static void free_strings(struct osp_txn *txn)
{
	int i;

	if (txn->str.p != txn->room)
		osp_conn_buf_free(txn->conn, &txn->str);
	txn->str = (struct osp_buf){ NULL, 0, 0 };
	for (i = 0; i < OSP_ENDS; i++) {
		if (txn->half[i].kept.p)
			osp_conn_buf_free(txn->conn, &txn->half[i].kept);
		osp_proc_put(txn->half[i].proc);
		txn->half[i].proc = NULL;
	}
}

static void txn_free(struct osp_txn *txn)
{
	struct osp_pair *pair = &txn->conn->pair;
	int i;

	for (i = 0; i < OSP_ENDS; i++) {
		if (pair->cur[i] == txn)
			pair->cur[i] = NULL;
	}
	osp_list_del(&txn->fifo);
	osp_list_del(&txn->timer);
	free_strings(txn);
	osp_conn_release(txn->conn, txn, txn->size);
}

void osp_txn_finish(struct osp_txn *txn, enum osp_outcome outcome)
{
	struct osp_tracker *trk = txn->conn->trk;

	if (!txn->tomb) {
		osp_trk_count(trk, OSP_ST_TXN_OPEN, -1);
		osp_trk_count(trk, OSP_ST_TXN_OK + outcome, 1);
		make_record(txn, outcome);
	}
	txn_free(txn);
}

void osp_txn_timeout(struct osp_txn *txn)
{
	struct osp_tracker *trk = txn->conn->trk;
	enum osp_outcome outcome = txn->maybe_answered ? OSP_OUT_GAP :
				   txn->bad_request ? OSP_OUT_FRAMING : OSP_OUT_TIMEOUT;

	osp_list_del(&txn->timer);
	osp_trk_count(trk, OSP_ST_TXN_OPEN, -1);
	osp_trk_count(trk, OSP_ST_TXN_OK + outcome, 1);
	make_record(txn, outcome);
	/* Its place in the order stays, for an answer that comes after all. */
	txn->tomb = true;
	free_strings(txn);
}

static enum osp_outcome end_outcome(const struct osp_txn *txn, enum osp_conn_end how)
{
	const struct osp_half *req = &txn->half[OSP_REQ], *res = &txn->half[OSP_RES];

	if (how == OSP_CE_STOP)
		return OSP_OUT_AGENT_STOP;
	if (how == OSP_CE_SHED || how == OSP_CE_EVICTED)
		return OSP_OUT_SHED;
	if (txn->maybe_answered && !res->there)
		return OSP_OUT_GAP;
	if (txn->bad_request)
		return OSP_OUT_FRAMING;
	if (how == OSP_CE_RESET)
		return OSP_OUT_RESET;
	if (how == OSP_CE_TIMEOUT || how == OSP_CE_IDLE)
		return OSP_OUT_TIMEOUT;
	return res->there || !req->done ? OSP_OUT_CLOSED : OSP_OUT_NO_RESPONSE;
}

void osp_txn_end_all(struct osp_conn *conn, enum osp_conn_end how)
{
	struct osp_pair *pair = &conn->pair;
	struct osp_txn *txn;

	while (!osp_list_empty(&pair->fifo)) {
		txn = osp_list_entry(pair->fifo.next, struct osp_txn, fifo);
		osp_txn_finish(txn, end_outcome(txn, how));
	}
	txn = pair->cur[OSP_RES];	/* a response alone is on no list */
	if (txn)
		osp_txn_finish(txn, end_outcome(txn, how));
}

void osp_txn_end_answers(struct osp_conn *conn)
{
	struct osp_txn *txn = osp_pair_unanswered(&conn->pair, NULL), *next;

	for (; txn; txn = next) {
		next = osp_pair_unanswered(&conn->pair, txn);
		if (txn->half[OSP_REQ].done || txn->bad_request)
			osp_txn_finish(txn, end_outcome(txn, OSP_CE_FIN));
	}
}

/* ---- what is kept of a head ------------------------------------------------------------------ */

/* Whether s is UTF-8 (RFC 3629: no overlong forms, no surrogates). */
static bool is_utf8(const unsigned char *p, uint32_t n)
{
	uint32_t i = 0, k, c;
	unsigned char lo, hi;

	while (i < n) {
		c = p[i++];
		if (c < 0x80)
			continue;
		if (c < 0xc2 || c > 0xf4)
			return false;
		k = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
		lo = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
		hi = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
		for (; k; k--, i++) {
			if (i >= n || p[i] < lo || p[i] > hi)
				return false;
			lo = 0x80;
			hi = 0xbf;
		}
	}
	return true;
}

/* Whether s is ASCII without line ends and other control bytes, as nearly all strings are: eight
 * bytes at a time, by the carries out of each (SWAR); a byte above 0x7f or below 0x20 shows in its
 * top bit. A carry can only ever report too much.
 */
static bool is_plain(const char *p, uint32_t n)
{
	const uint64_t ones = 0x0101010101010101ull, tops = ones << 7;
	uint64_t w, odd = 0;
	uint32_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		memcpy(&w, p + i, 8);
		odd |= w | (w - 0x20 * ones);
	}
	for (; i < n; i++)
		odd |= (unsigned char)p[i] < 0x20 || (unsigned char)p[i] > 0x7f ? tops : 0;
	return !(odd & tops);
}

/* Makes room for n bytes more of strings. */
static int reserve(struct osp_txn *txn, uint64_t n)
{
	struct osp_buf *str = &txn->str;
	uint32_t size;
	char *bigger;

	if (str->cap - str->n >= n)
		return 0;
	bigger = osp_conn_alloc(txn->conn, str->n + n, &size);
	if (!bigger)
		return -ENOMEM;
	memcpy(bigger, str->p, str->n);
	if (str->p != txn->room)
		osp_conn_release(txn->conn, str->p, str->cap);
	str->p = bigger;
	str->cap = size;
	return 0;
}

/* What can't stay as it came: folded lines become one (RFC 9112 5.2). */
static void mend(struct osp_txn *txn, char *p, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		if (p[i] == '\r' || p[i] == '\n')
			p[i] = ' ';
	}
	if (!is_utf8((const unsigned char *)p, n))
		txn->flags |= OSP_RF_NONUTF8;
}

/* Copies s to the end of the transaction's strings, where there is room. plain: it is printable
 * ASCII. Returns where it is.
 */
static inline uint32_t keep(struct osp_txn *txn, struct osp_slice s, bool plain)
{
	uint32_t at = txn->str.n;

	osp_copy_short(txn->str.p + at, s.p, s.n);
	txn->str.n = at + s.n;
	if (!plain && !is_plain(s.p, s.n))
		mend(txn, txn->str.p + at, s.n);
	return at;
}

static bool is_redacted(const struct osp_tracker *trk, struct osp_slice name)
{
	uint32_t i;

	for (i = 0; i < trk->redacted_n; i++) {
		if (name.n == trk->redacted[i].n &&
		    !strncasecmp(name.p, trk->redacted[i].p, name.n))
			return true;
	}
	return false;
}

static int keep_headers(struct osp_txn *txn, const struct osp_msg *msg)
{
	struct osp_tracker *trk = txn->conn->trk;
	struct osp_half *half = &txn->half[msg->kind];
	struct osp_kept_header *kept = trk->kept;
	uint32_t i;

	for (i = 0; i < msg->header_n; i++) {
		const struct osp_header *hdr = &msg->header[i];

		kept[i] = (struct osp_kept_header){ 0 };
		if (reserve(txn, (uint64_t)hdr->name.n + hdr->value.n))
			return -ENOMEM;
		kept[i].name_n = hdr->name.n;
		kept[i].name_off = keep(txn, hdr->name, msg->plain);
		if (is_redacted(trk, hdr->name)) {
			kept[i].redacted = hdr->value.n + 1;
			continue;
		}
		kept[i].value_n = hdr->value.n;
		kept[i].value_off = keep(txn, hdr->value, msg->plain);
	}
	half->header_off = txn->str.n;
	if (reserve(txn, msg->header_n * (uint64_t)sizeof(*kept)))
		return -ENOMEM;
	if (msg->header_n)
		memcpy(txn->str.p + txn->str.n, kept, msg->header_n * sizeof(*kept));
	txn->str.n += msg->header_n * (uint32_t)sizeof(*kept);
	half->header_n = msg->header_n;
	if (msg->truncated)
		txn->flags |= OSP_RF_TRUNCATED;
	return 0;
}

/* A request's strings, or a response's, are next to each other but for the version. */
static int keep_strings(struct osp_txn *txn, const struct osp_msg *msg)
{
	int first = STR(msg->kind == OSP_REQ ? OSP_S_METHOD : OSP_S_REASON);
	int last = STR(msg->kind == OSP_REQ ? OSP_S_REQ_TRANSFER_ENCODING :
					      OSP_S_RES_TRANSFER_ENCODING);
	struct osp_slice version = msg->str[STR(OSP_S_HTTP_VERSION)];
	uint64_t n = version.n;
	int i;

	/* They are parts of the head; adding them up is for when that alone would be too much. */
	if (txn->str.cap - txn->str.n < msg->head_bytes) {
		for (i = first; i <= last; i++)
			n += msg->str[i].n;
		if (reserve(txn, n))
			return -ENOMEM;
	}
	/* The request's version is the transaction's. */
	if (version.p && !txn->off[STR(OSP_S_HTTP_VERSION)]) {
		txn->len[STR(OSP_S_HTTP_VERSION)] = version.n;
		txn->off[STR(OSP_S_HTTP_VERSION)] = keep(txn, version, msg->plain);
	}
	for (i = first; i <= last; i++) {
		if (!msg->str[i].p)
			continue;
		txn->len[i] = msg->str[i].n;
		txn->off[i] = keep(txn, msg->str[i], msg->plain);
	}
	return 0;
}

static int keep_msg(struct osp_txn *txn, const struct osp_msg *msg)
{
	struct osp_half *half = &txn->half[msg->kind];

	half->there = true;
	half->status = msg->status;
	half->head_bytes = msg->head_bytes;
	half->has_cl = msg->has_cl;
	half->codings = msg->codings;
	half->by_length = msg->has_cl && !msg->te;
	half->digest = NO_BODY;
	half->content_length = msg->content_length;
	half->pos = msg->pos;
	half->ts0 = msg->seg.ts;
	half->ts1 = msg->head_seg.ts;
	half->turn0 = msg->seg.turn;
	half->turn1 = msg->head_seg.turn;
	half->tgid = msg->seg.tgid;
	half->tid = msg->seg.tid;
	half->proc = osp_proc_get(&txn->conn->trk->procs, half->tgid);
	txn->anomalies |= msg->anomalies;
	if (keep_strings(txn, msg))
		return -ENOMEM;
	return txn->conn->trk->conf.headers ? keep_headers(txn, msg) : 0;
}

/* ---- what the parser calls ------------------------------------------------------------------- */

static int on_request(void *ctx, const struct osp_msg *msg)
{
	struct osp_conn *conn = ctx;
	struct osp_pair *pair = &conn->pair;
	struct osp_txn *txn = txn_new(conn);

	osp_trk_count(conn->trk, OSP_ST_MSG_REQUESTS, 1);
	if (!txn)
		return -ENOMEM;
	txn->answers = msg->answers;
	osp_pair_request(pair, txn, msg->seg.turn);
	osp_pair_mark(&conn->pair, OSP_REQ, msg->seg.turn);
	osp_pair_mark(&conn->pair, OSP_REQ, msg->head_seg.turn);
	osp_conn_set_role(conn, conn->req_dir == OSP_TX ? OSP_ROLE_CLIENT : OSP_ROLE_SERVER,
			  OSP_FROM_REQUEST);
	pair->cur[OSP_REQ] = txn;
	return keep_msg(txn, msg);
}

static enum osp_answers on_response(void *ctx, const struct osp_msg *msg)
{
	struct osp_conn *conn = ctx;
	struct osp_pair *pair = &conn->pair;
	bool unasked = osp_pair_unasked(pair, msg->seg.turn);
	struct osp_txn *txn = osp_pair_response(pair, msg->seg.turn);
	enum osp_answers ans = txn ? txn->answers : unasked ? OSP_ANS_NOBODY : OSP_ANS_UNKNOWN;
	bool known = osp_pair_mark(pair, OSP_RES, msg->seg.turn);

	osp_trk_count(conn->trk, OSP_ST_MSG_RESPONSES, 1);
	osp_pair_mark(pair, OSP_RES, msg->head_seg.turn);
	if (txn && txn->tomb) {
		txn_free(txn);
		txn = NULL;
	}
	if (!txn) {
		/* Its request has, or will have, a record of its own. */
		osp_trk_count(conn->trk, OSP_ST_EX_TORN, known);
		txn = txn_new(conn);
	}
	if (!txn)
		return OSP_ANS_NOMEM;
	osp_list_del(&txn->timer);
	pair->cur[OSP_RES] = txn;
	return keep_msg(txn, msg) ? OSP_ANS_NOMEM : ans;
}

static void on_interim(void *ctx, const struct osp_msg *msg)
{
	struct osp_conn *conn = ctx;
	struct osp_txn *txn = osp_pair_unanswered(&conn->pair, NULL);

	conn->pair.interim = true;
	osp_trk_count(conn->trk, OSP_ST_MSG_RESPONSES, 1);
	osp_pair_mark(&conn->pair, OSP_RES, msg->seg.turn);
	if (!txn || txn->tomb || txn->interim_n == OSP_INTERIM_MAX)
		return;
	if (conn->pair.unsync && txn->half[OSP_REQ].turn1 + 1 != msg->seg.turn)
		return;		/* whose it is is not known */
	txn->interim[txn->interim_n++] = msg->status;
}

/* A body that comes in one piece needs no state. */
static void hash_body(struct osp_half *half, const char *p, uint32_t n)
{
	if (!half->body && half->by_length && n == half->content_length) {
		half->digest = XXH64(p, n, 0);
		return;
	}
	if (!half->hashed)
		XXH64_reset(&half->xxh, 0);
	half->hashed = true;
	XXH64_update(&half->xxh, p, n);
}

static void on_body(void *ctx, int kind, const char *p, uint32_t n)
{
	struct osp_conn *conn = ctx;
	struct osp_txn *txn = conn->pair.cur[kind];
	uint32_t keep_max = conn->trk->conf.body, room;
	struct osp_half *half;

	if (!txn)
		return;
	half = &txn->half[kind];
	if (!half->gap)
		hash_body(half, p, n);
	half->body += n;
	if (!keep_max)
		return;
	room = half->gap ? 0 : keep_max - half->kept.n;
	if (n > room)
		txn->flags |= OSP_RF_TRUNCATED;
	if (room)
		osp_conn_buf_add(conn, &half->kept, p, n < room ? n : room);
}

static void on_body_gap(void *ctx, int kind, uint64_t bytes, int cause)
{
	struct osp_conn *conn = ctx;
	struct osp_txn *txn = conn->pair.cur[kind];

	if (!txn)
		return;
	txn->half[kind].body += bytes;
	txn->half[kind].gap = true;
	if (cause == OSP_CAUSE_SKIPPED) {
		txn->flags |= OSP_RF_SKIPPED;	/* nothing is missing that was asked for */
		return;
	}
	txn->lost += bytes;
	txn->flags |= OSP_RF_GAP;
	if (cause == OSP_CAUSE_SENDFILE)
		txn->flags |= OSP_RF_SENDFILE;
	if (conn->trk->conf.body)
		txn->flags |= OSP_RF_TRUNCATED;
}

/* Unless more of the body is to be kept. */
static void on_skip(void *ctx, int dir, uint64_t n)
{
	struct osp_conn *conn = ctx;
	const struct osp_txn *txn = conn->pair.cur[dir == conn->req_dir ? OSP_REQ : OSP_RES];
	const struct osp_half *half = txn ? &txn->half[dir == conn->req_dir ? OSP_REQ : OSP_RES] :
					    NULL;

	if (half && !half->gap && half->kept.n < conn->trk->conf.body)
		return;
	osp_feed_skip(conn, dir, n);
}

static void on_touch(void *ctx, int kind, const struct osp_seg *seg)
{
	struct osp_conn *conn = ctx;
	struct osp_txn *txn = conn->pair.cur[kind];

	osp_pair_mark(&conn->pair, kind, seg->turn);
	if (!txn)
		return;
	txn->half[kind].ts1 = seg->ts;
	if (seg->turn)
		txn->half[kind].turn1 = seg->turn;
}

/* A request that could not be framed waits for its answer all the same: that tells what the server
 * made of it.
 */
static void request_ended(struct osp_txn *txn, enum osp_msg_end how)
{
	struct osp_tracker *trk = txn->conn->trk;

	txn->bad_request = how == OSP_END_BAD;
	if (how == OSP_END_GAP) {
		txn->flags |= OSP_RF_GAP;
		osp_txn_finish(txn, OSP_OUT_GAP);
		return;
	}
	if (!txn->half[OSP_REQ].done && !txn->bad_request)
		return;
	if (txn->half[OSP_RES].done) {
		osp_txn_finish(txn, txn->bad_request ? OSP_OUT_FRAMING : OSP_OUT_OK);
	} else if (!txn->half[OSP_RES].there && trk->conf.txn_timeout_ns) {
		txn->due = trk->now + trk->conf.txn_timeout_ns;
		osp_list_add_tail(&trk->timer, &txn->timer);
	}
}

static void response_ended(struct osp_txn *txn, enum osp_msg_end how)
{
	static const uint8_t outcome[] = {
		[OSP_END_OK] = OSP_OUT_OK,	   [OSP_END_GAP] = OSP_OUT_GAP,
		[OSP_END_BAD] = OSP_OUT_FRAMING,   [OSP_END_CLOSED] = OSP_OUT_CLOSED,
		[OSP_END_RESET] = OSP_OUT_RESET,
	};

	if (how == OSP_END_GAP)
		txn->flags |= OSP_RF_GAP;
	if (how != OSP_END_OK)
		osp_txn_finish(txn, outcome[how]);
	else if (!txn->half[OSP_REQ].there)
		osp_txn_finish(txn, OSP_OUT_NO_REQUEST);
	else if (txn->bad_request)
		osp_txn_finish(txn, OSP_OUT_FRAMING);
	else if (txn->half[OSP_REQ].done)
		osp_txn_finish(txn, OSP_OUT_OK);
}

static void on_end(void *ctx, int kind, enum osp_msg_end how, uint64_t pos, uint64_t wire)
{
	struct osp_conn *conn = ctx;
	struct osp_txn *txn = conn->pair.cur[kind];
	struct osp_half *half;

	conn->pair.cur[kind] = NULL;
	if (how == OSP_END_BAD)
		osp_trk_count(conn->trk, OSP_ST_MSG_BAD, 1);
	if (!txn)
		return;
	half = &txn->half[kind];
	half->ended = true;
	half->end = pos;
	half->wire = wire;
	half->done = how == OSP_END_OK;
	half->sized = how != OSP_END_GAP && how != OSP_END_BAD;
	if (kind == OSP_REQ)
		request_ended(txn, how);
	else
		response_ended(txn, how);
}

static void on_note(void *ctx, int kind, uint32_t anomalies, uint32_t flags)
{
	struct osp_conn *conn = ctx;
	struct osp_txn *txn = conn->pair.cur[kind];

	if (!txn) {
		conn->anomalies |= anomalies & OSP_RA_EXTRA_BYTES;
		return;
	}
	txn->anomalies |= anomalies;
	txn->flags |= flags;
}

static void on_torn(void *ctx, int kind, uint32_t turn)
{
	struct osp_conn *conn = ctx;

	osp_pair_learn(&conn->pair, kind, turn);
}

static void on_lost(void *ctx, int kind, uint32_t lo, uint32_t hi, bool between)
{
	struct osp_conn *conn = ctx;

	osp_pair_lost(&conn->pair, kind, lo, hi, between);
}

static bool on_bad(void *ctx, int kind)
{
	struct osp_conn *conn = ctx;
	struct osp_txn *txn = osp_pair_unanswered(&conn->pair, NULL);

	if (kind == OSP_RES && !txn)
		return true;
	osp_trk_count(conn->trk, OSP_ST_MSG_BAD, 1);
	if (kind == OSP_RES)
		osp_txn_finish(txn, OSP_OUT_FRAMING);
	on_lost(ctx, kind, conn->feed_turn, conn->feed_turn, false);
	return false;
}

static bool on_answered(void *ctx)
{
	struct osp_conn *conn = ctx;
	struct osp_txn *txn = conn->pair.cur[OSP_REQ];

	return txn && (txn->half[OSP_RES].there || txn->maybe_answered);
}

static void on_proto(void *ctx, const char *name)
{
	struct osp_conn *conn = ctx;

	if (name)
		conn->proto = name;
}

static void on_bytes(void *ctx, enum osp_byte_class cls, int64_t n)
{
	static const uint16_t counter[] = {
		[OSP_BC_PARSED] = OSP_ST_BY_PARSED,
		[OSP_BC_OPAQUE] = OSP_ST_BY_SKIPPED_OPAQUE,
		[OSP_BC_RESYNC] = OSP_ST_BY_SKIPPED_RESYNC,
		[OSP_BC_TUNNEL] = OSP_ST_BY_SKIPPED_TUNNEL,
		[OSP_BC_EXTRA] = OSP_ST_BY_SKIPPED_EXTRA,
		[OSP_BC_HELD] = OSP_ST_BY_HELD,
	};
	struct osp_conn *conn = ctx;

	osp_trk_count(conn->trk, counter[cls], n);
}

static int on_buf_add(void *ctx, struct osp_buf *buf, const char *p, uint32_t n)
{
	return osp_conn_buf_add(ctx, buf, p, n);
}

static void on_buf_free(void *ctx, struct osp_buf *buf)
{
	osp_conn_buf_free(ctx, buf);
}

const struct osp_parser_host osp_txn_host = {
	.request = on_request,
	.response = on_response,
	.interim = on_interim,
	.body = on_body,
	.body_gap = on_body_gap,
	.touch = on_touch,
	.end = on_end,
	.note = on_note,
	.torn = on_torn,
	.lost = on_lost,
	.bad = on_bad,
	.answered = on_answered,
	.proto = on_proto,
	.bytes = on_bytes,
	.skip = on_skip,
	.buf_add = on_buf_add,
	.buf_free = on_buf_free,
};
