/* SPDX-License-Identifier: GPL-3.0-or-later */
/* http1.c: framing of HTTP/1: where messages start and end in two byte streams (RFC 9112).
 *
 * Each direction is a small machine that takes any number of bytes at a time. Heads are collected
 * only when they come in pieces; bodies are never collected here, they are handed on as they pass.
 * The observer follows what endpoints do, not what they should refuse.
 */
#include "agent/parser/http1.h"

#include "agent/base/mem.h"

#include <errno.h>
#include <stddef.h>

enum h1_state {
	H1_START = 0,	/* a message starts here */
	H1_RESYNC,	/* a message may start at the beginning of an event */
	H1_HEAD,
	H1_LENGTH,	/* body of known length */
	H1_EOF,		/* body until the direction ends */
	H1_CHUNK_SIZE,
	H1_CHUNK_EXT,
	H1_CHUNK_DATA,
	H1_CHUNK_END,	/* line end after a chunk's data */
	H1_TRAILER,
	H1_WAIT,	/* behind a CONNECT: the answer tells what this is */
	H1_TUNNEL,
	H1_OLD		/* behind a request of HTTP/0.9: nothing but an empty line belongs there */
};

struct h1_dir {
	struct osp_buf buf;	/* head under way, or what waits in H1_WAIT */
	uint64_t pos;		/* of the next byte */
	uint64_t start;		/* of the message's first byte */
	uint64_t body;		/* of the first byte after its head */
	uint64_t left;		/* of the body or chunk */
	struct osp_seg seg;	/* of the message's first byte */
	uint32_t anomalies;
	uint32_t head_turn;	/* turn of the head's last byte */
	uint32_t line;		/* bytes on this line so far, CR not counted */
	uint8_t state;		/* enum h1_state */
	uint8_t digits;		/* of the chunk size */
	uint8_t nl;		/* head: 1 after LF, 2 after LF CR */
	uint8_t prev_cr;	/* head: the last byte was CR */
	bool trial;		/* head: not proven yet to be one */
	bool probed;		/* head: its start line is one */
	bool extra;		/* resync: nothing was awaited here */
	bool ended;
};

struct h1 {
	const struct osp_parser_host *host;
	void *ctx;
	const struct osp_parser_env *env;
	struct h1_dir d[OSP_DIRS];
	uint8_t req_dir;
	bool expect;		/* the request under way waits for 100 (Continue) */
	bool fresh;		/* no request yet, and all is there: it may be one of HTTP/0.9 */
	bool old;		/* it was, and its answer has not begun */
	bool maybe_head;	/* the response under way may answer a HEAD that we did not see;
				 * not where nobody had asked
				 */
	bool off;		/* given up for lack of memory */
};

static int kind_of(const struct h1 *h, int dir)
{
	return dir == h->req_dir ? OSP_REQ : OSP_RES;
}

static struct h1_dir *half(struct h1 *h, int kind)
{
	return &h->d[kind == OSP_REQ ? h->req_dir : !h->req_dir];
}

static void count(struct h1 *h, enum osp_byte_class cls, int64_t n)
{
	if (n)
		h->host->bytes(h->ctx, cls, n);
}

/* What was held turns out to be cls. */
static void drop_held(struct h1 *h, struct h1_dir *d, enum osp_byte_class cls)
{
	count(h, OSP_BC_HELD, -(int64_t)d->buf.n);
	count(h, cls, d->buf.n);
	h->host->buf_free(h->ctx, &d->buf);
	d->trial = d->probed = false;
	d->nl = d->prev_cr = 0;
}

static int hold(struct h1 *h, struct h1_dir *d, const char *p, uint32_t n)
{
	if (h->host->buf_add(h->ctx, &d->buf, p, n)) {
		h->off = true;
		return -ENOMEM;
	}
	count(h, OSP_BC_HELD, n);
	return 0;
}

static void msg_end(struct h1 *h, int kind, enum osp_msg_end how)
{
	struct h1_dir *d = half(h, kind);

	h->host->end(h->ctx, kind, how, d->pos, d->pos - d->body);
	d->state = H1_START;
	if (kind == OSP_REQ)
		h->expect = false;
	else
		h->maybe_head = false;
}

/* The stream can't be followed: look for the next start. */
static void to_resync(struct h1 *h, int kind, bool extra)
{
	struct h1_dir *d = half(h, kind);

	drop_held(h, d, extra ? OSP_BC_EXTRA : OSP_BC_RESYNC);
	d->state = H1_RESYNC;
	d->extra = extra;
	d->anomalies = 0;
}

/* Bytes where a message should start that are none. */
static void bad_start(struct h1 *h, int kind)
{
	bool extra = h->host->bad(h->ctx, kind);

	if (extra)
		h->host->note(h->ctx, kind, OSP_RA_EXTRA_BYTES, 0);
	to_resync(h, kind, extra);
}

/* The message under way can't be framed any further. */
static void bad_msg(struct h1 *h, int kind, uint32_t anomaly, const struct osp_seg *seg)
{
	h->host->note(h->ctx, kind, anomaly, 0);
	msg_end(h, kind, OSP_END_BAD);
	to_resync(h, kind, false);
	h->host->lost(h->ctx, kind, seg->turn, seg->turn, false);
}

static void run(struct h1 *h, int dir, const char *p, uint32_t n, const struct osp_seg *seg,
		bool event);

/* ---- heads ----------------------------------------------------------------------------------- */

/* Looks for the empty line; returns the bytes up to and with it, 0 if it is not in here. */
static uint32_t head_end(struct h1_dir *d, const char *p, uint32_t n)
{
	const char *end = p + n, *q = p;

	while (q < end) {
		if (d->nl) {
			if (*q == '\n') {
				if (d->nl == 1)
					d->anomalies |= OSP_RA_BARE_LF;
				return (uint32_t)(q + 1 - p);
			}
			d->nl = *q == '\r' && d->nl == 1 ? 2 : 0;
			if (d->nl) {
				q++;
				continue;
			}
		}
		q = memchr(q, '\n', (size_t)(end - q));
		if (!q)
			break;
		if (q > p ? q[-1] != '\r' : !d->prev_cr)
			d->anomalies |= OSP_RA_BARE_LF;
		d->nl = 1;
		q++;
	}
	d->prev_cr = n && end[-1] == '\r';
	return 0;
}

static void frame_request(struct h1 *h, const struct osp_msg *msg)
{
	struct h1_dir *d = half(h, OSP_REQ);

	h->expect = msg->expect;
	if (msg->answers == OSP_ANS_CONNECT) {
		msg_end(h, OSP_REQ, OSP_END_OK);
		d->state = H1_WAIT;
	} else if (msg->te && msg->te_chunked) {
		d->state = H1_CHUNK_SIZE;
		d->digits = 0;
		d->left = 0;
	} else if (msg->te || msg->cl_bad) {
		bad_msg(h, OSP_REQ, 0, &msg->head_seg);
	} else if (msg->has_cl && msg->content_length) {
		d->state = H1_LENGTH;
		d->left = msg->content_length;
	} else {
		msg_end(h, OSP_REQ, OSP_END_OK);
	}
}

/* Both directions leave HTTP. What waits behind the request goes with them. */
static void to_tunnel(struct h1 *h, const struct osp_msg *msg)
{
	struct h1_dir *req = half(h, OSP_REQ);

	h->host->note(h->ctx, OSP_RES, 0, msg->status == 101 ? OSP_RF_UPGRADE : OSP_RF_TUNNEL);
	msg_end(h, OSP_RES, OSP_END_OK);
	half(h, OSP_RES)->state = H1_TUNNEL;
	if (req->state != H1_START && req->state != H1_WAIT && req->state != H1_HEAD &&
	    req->state != H1_RESYNC)
		msg_end(h, OSP_REQ, OSP_END_OK);
	drop_held(h, req, OSP_BC_TUNNEL);
	req->state = H1_TUNNEL;
	h->host->proto(h->ctx, msg->status == 101 && msg->websocket ? "websocket" : NULL);
}

/* A CONNECT was refused: what came behind it is HTTP after all. */
static void unwait(struct h1 *h)
{
	struct h1_dir *d = half(h, OSP_REQ);
	struct osp_buf buf = d->buf;
	struct osp_seg seg = d->seg;

	if (d->state != H1_WAIT)
		return;
	d->state = H1_START;
	d->buf = (struct osp_buf){ NULL, 0, 0 };
	if (!buf.n)
		return;
	count(h, OSP_BC_HELD, -(int64_t)buf.n);
	d->pos -= buf.n;
	run(h, h->req_dir, buf.p, buf.n, &seg, false);
	h->host->buf_free(h->ctx, &buf);
}

/* RFC 9112 6.3, responses */
static void frame_response(struct h1 *h, const struct osp_msg *msg, enum osp_answers ans)
{
	struct h1_dir *d = half(h, OSP_RES);

	if (msg->status == 101 || (ans == OSP_ANS_CONNECT && msg->status / 100 == 2)) {
		to_tunnel(h, msg);
		return;
	}
	h->maybe_head = ans == OSP_ANS_UNKNOWN;
	if (ans == OSP_ANS_HEAD || msg->status == 204 || msg->status == 304) {
		msg_end(h, OSP_RES, OSP_END_OK);
	} else if (msg->te && msg->te_chunked) {
		d->state = H1_CHUNK_SIZE;
		d->digits = 0;
		d->left = 0;
	} else if (msg->te) {
		d->state = H1_EOF;
	} else if (msg->cl_bad) {
		bad_msg(h, OSP_RES, 0, &msg->head_seg);
	} else if (msg->has_cl && !msg->content_length) {
		msg_end(h, OSP_RES, OSP_END_OK);
	} else if (msg->has_cl) {
		d->state = H1_LENGTH;
		d->left = msg->content_length;
	} else {
		d->state = H1_EOF;
	}
	if (ans == OSP_ANS_CONNECT)
		unwait(h);
}

static void response_head(struct h1 *h, const struct osp_msg *msg)
{
	enum osp_answers ans;

	if (msg->status < 200 && msg->status != 101) {
		h->host->interim(h->ctx, msg);
		half(h, OSP_RES)->state = H1_START;
		return;
	}
	ans = h->host->response(h->ctx, msg);
	if (ans == OSP_ANS_NOMEM)
		h->off = true;
	else
		frame_response(h, msg, ans);
}

/* ---- HTTP/0.9 (RFC 1945 4.1, 5.1): one line there, a body until the end back ------------------ */

/* Takes the line if it is one of a simple request and complete; returns its bytes of p, or 0. */
static uint32_t simple_request(struct h1 *h, int dir, const char *p, uint32_t n,
			       const struct osp_seg *seg)
{
	struct h1_dir *d = &h->d[dir];
	const char *nl = memchr(p, '\n', n);
	uint32_t add = nl ? (uint32_t)(nl + 1 - p) : 0;
	struct osp_buf line = { (char *)p, add, 0 };
	struct osp_msg msg = {
		.kind = OSP_REQ,
		.answers = OSP_ANS_OLD,
		.anomalies = d->anomalies | OSP_RA_HTTP09,
		.pos = d->start,
		.seg = d->seg,
		.head_seg = *seg,
		.header = h->env->header,
	};

	if (!nl || osp_http1_simple(d->buf.p, d->buf.n, p, add) != OSP_DET_REQ)
		return 0;
	if (d->buf.n) {
		if (hold(h, d, p, add))
			return 0;
		line = d->buf;
		count(h, OSP_BC_HELD, -(int64_t)line.n);
		d->buf = (struct osp_buf){ NULL, 0, 0 };
	}
	d->pos += add;
	d->anomalies = 0;
	d->body = d->pos;
	d->head_turn = seg->turn;
	h->fresh = false;
	h->old = true;
	count(h, OSP_BC_PARSED, line.n);
	osp_http1_simple_head(&msg, line.p, line.n);
	if (h->host->request(h->ctx, &msg))
		h->off = true;
	else
		msg_end(h, OSP_REQ, OSP_END_OK);
	d->state = H1_OLD;
	d->line = 0;
	if (line.cap)
		h->host->buf_free(h->ctx, &line);
	return add;
}

static uint32_t behind_simple(struct h1 *h, struct h1_dir *d, const char *p, uint32_t n)
{
	uint32_t i = 0;

	while (!d->line && i < n && (p[i] == '\r' || p[i] == '\n'))
		i++;
	count(h, OSP_BC_PARSED, i);
	if (i < n) {
		d->line = 1;
		count(h, OSP_BC_EXTRA, n - i);
		h->host->note(h->ctx, OSP_REQ, OSP_RA_EXTRA_BYTES, 0);
	}
	d->pos += n;
	return n;
}

/* What comes back begins without a status line: all of it is body. */
static void simple_response(struct h1 *h, int dir, const struct osp_seg *seg)
{
	struct h1_dir *d = &h->d[dir];
	struct osp_buf buf = d->buf;
	struct osp_msg msg = {
		.kind = OSP_RES,
		.pos = d->start,
		.seg = d->seg,
		.head_seg = *seg,
		.header = h->env->header,
	};

	count(h, OSP_BC_HELD, -(int64_t)buf.n);
	d->buf = (struct osp_buf){ NULL, 0, 0 };
	d->anomalies = 0;
	d->body = d->start;
	d->head_turn = seg->turn;
	d->nl = d->prev_cr = 0;
	h->old = false;
	if (h->host->response(h->ctx, &msg) == OSP_ANS_NOMEM)
		h->off = true;
	d->state = H1_EOF;
	if (buf.n)
		count(h, h->off ? OSP_BC_OPAQUE : OSP_BC_PARSED, buf.n);
	if (buf.n && !h->off)
		h->host->body(h->ctx, OSP_RES, buf.p, buf.n);
	if (buf.cap)
		h->host->buf_free(h->ctx, &buf);
}

/* ---- heads, once more ------------------------------------------------------------------------ */

/* msg has been read; d->pos is behind it. */
static void take_head(struct h1 *h, struct h1_dir *d, struct osp_msg *msg)
{
	h->fresh = h->fresh && msg->kind != OSP_REQ;
	h->old = h->old && msg->kind != OSP_RES;
	d->anomalies = 0;
	d->body = d->pos;
	d->head_turn = msg->head_seg.turn;
	count(h, OSP_BC_PARSED, msg->head_bytes);
	if (msg->kind == OSP_RES) {
		response_head(h, msg);
	} else if (h->host->request(h->ctx, msg)) {
		h->off = true;
	} else {
		frame_request(h, msg);
	}
}

/* p: the whole head. d->pos is behind it. */
static void head_done(struct h1 *h, int dir, const char *p, uint32_t n, const struct osp_seg *seg)
{
	struct h1_dir *d = &h->d[dir];
	struct osp_msg msg = {
		.kind = (uint8_t)kind_of(h, dir),
		.anomalies = d->anomalies,
		.pos = d->start,
		.seg = d->seg,
		.head_seg = *seg,
		.header = h->env->header,
	};

	if (!osp_http1_head(&msg, p, n)) {
		take_head(h, d, &msg);
		return;
	}
	d->anomalies = 0;
	d->body = d->pos;
	d->head_turn = seg->turn;
	h->fresh = h->fresh && msg.kind != OSP_REQ;
	h->old = h->old && msg.kind != OSP_RES;
	count(h, OSP_BC_RESYNC, n);
	bad_start(h, msg.kind);
}

/* A head of the usual kind that lies whole at p, which is where a message starts. 0: it is not. */
static uint32_t whole_head(struct h1 *h, int dir, const char *p, uint32_t n,
			   const struct osp_seg *seg)
{
	struct h1_dir *d = &h->d[dir];
	struct osp_msg msg;
	uint32_t len;

	osp_mem_clear(&msg, offsetof(struct osp_msg, header));
	msg.kind = (uint8_t)kind_of(h, dir);
	msg.header = h->env->header;
	len = osp_http1_head_fast(&msg, p, n < h->env->max_head ? n : h->env->max_head);
	if (!len)
		return 0;
	msg.anomalies = d->anomalies;
	msg.pos = d->start = d->pos;
	msg.seg = msg.head_seg = d->seg = *seg;
	d->pos += len;
	take_head(h, d, &msg);
	return len;
}

/* Whether the start line so far can be one of this direction. */
static enum osp_detect probe(struct h1 *h, int dir, const char *p, uint32_t n)
{
	enum osp_detect det = osp_http1_probe_kind(kind_of(h, dir), p, n, h->d[dir].trial);

	if (det == OSP_DET_NO && h->fresh && dir == h->req_dir && !h->d[dir].trial)
		det = osp_http1_simple(NULL, 0, p, n);	/* cut before its LF */
	return det;
}

/* Not a head after all; n bytes of this slice were looked at, and are held already or not. In a
 * trial they may still begin one, so they are looked at again.
 */
static uint32_t head_fail(struct h1 *h, int dir, uint32_t n, bool held, const struct osp_seg *seg)
{
	struct h1_dir *d = &h->d[dir];
	int kind = kind_of(h, dir);

	if (d->trial) {
		if (held) {
			d->buf.n -= n;
			count(h, OSP_BC_HELD, -(int64_t)n);
		}
		to_resync(h, kind, d->extra);
		return 0;
	}
	if (h->old && kind == OSP_RES) {
		d->pos += held ? n : 0;
		simple_response(h, dir, seg);
		return held ? n : 0;
	}
	d->pos += n;
	bad_start(h, kind);
	if (!held)
		count(h, d->extra ? OSP_BC_EXTRA : OSP_BC_RESYNC, n);
	return n;
}

static uint32_t in_head(struct h1 *h, int dir, const char *p, uint32_t n,
			const struct osp_seg *seg)
{
	struct h1_dir *d = &h->d[dir];
	struct osp_buf whole = { (char *)p, 0, 0 };
	enum osp_detect det;
	uint32_t end, add;

	if (h->fresh && dir == h->req_dir && !d->trial) {
		add = simple_request(h, dir, p, n, seg);
		if (add || h->off)
			return add;
	}
	end = whole.n = head_end(d, p, n);
	add = end ? end : n;
	if (!end || d->buf.n) {
		if (hold(h, d, p, add))
			return 0;
		whole = d->buf;
	}
	if (whole.n > h->env->max_head) {
		d->trial = false;	/* too long to be looked at twice */
		return head_fail(h, dir, add, whole.p != p, seg);
	}
	if (!d->probed) {
		det = probe(h, dir, whole.p, whole.n);
		if (det == OSP_DET_NO || (end && det == OSP_DET_MORE))
			return head_fail(h, dir, add, whole.p != p, seg);
		d->probed = det != OSP_DET_MORE;
		d->trial = d->trial && !d->probed;
	}
	d->pos += add;
	if (!end)
		return add;
	whole = d->buf.n ? d->buf : whole;
	count(h, OSP_BC_HELD, -(int64_t)d->buf.n);
	d->buf = (struct osp_buf){ NULL, 0, 0 };
	d->nl = d->prev_cr = 0;
	d->trial = d->probed = false;
	head_done(h, dir, whole.p, whole.n, seg);
	if (whole.cap)
		h->host->buf_free(h->ctx, &whole);
	return add;
}

static void begin_head(struct h1_dir *d, const struct osp_seg *seg, bool trial)
{
	d->state = H1_HEAD;
	d->start = d->pos;
	d->seg = *seg;
	d->trial = trial;
	d->probed = false;
	d->nl = d->prev_cr = 0;
}

static uint32_t at_start(struct h1 *h, int dir, const char *p, uint32_t n,
			 const struct osp_seg *seg)
{
	struct h1_dir *d = &h->d[dir];
	uint32_t i = 0;

	/* RFC 9112 2.2; but the body of HTTP/0.9 may begin so. */
	while (i < n && (p[i] == '\r' || p[i] == '\n') && !(h->old && dir != h->req_dir))
		i++;
	if (i) {
		d->anomalies |= OSP_RA_LEADING_BLANK;
		d->pos += i;
		count(h, OSP_BC_PARSED, i);
	} else {
		i = whole_head(h, dir, p, n, seg);
		if (!i)
			begin_head(d, seg, false);
	}
	return i;
}

/* event: p is the beginning of an event, the only place where a start is believed. */
static uint32_t resync(struct h1 *h, int dir, const char *p, uint32_t n, const struct osp_seg *seg,
		       bool event)
{
	struct h1_dir *d = &h->d[dir];
	enum osp_detect det = OSP_DET_NO;

	if (event) {
		d->trial = true;
		det = probe(h, dir, p, n);
	}
	if (det != OSP_DET_NO) {
		begin_head(d, seg, true);
		return 0;
	}
	d->trial = false;
	d->pos += n;
	count(h, d->extra ? OSP_BC_EXTRA : OSP_BC_RESYNC, n);
	return n;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

static uint32_t in_data(struct h1 *h, int dir, const char *p, uint32_t n)
{
	struct h1_dir *d = &h->d[dir];
	int kind = kind_of(h, dir);

	if (d->state != H1_EOF && n > d->left)
		n = (uint32_t)d->left;
	d->pos += n;
	count(h, OSP_BC_PARSED, n);
	h->host->body(h->ctx, kind, p, n);
	if (d->state == H1_EOF)
		return n;
	d->left -= n;
	if (d->left)
		return n;
	if (d->state == H1_LENGTH)
		msg_end(h, kind, OSP_END_OK);
	else
		d->state = H1_CHUNK_END;
	return n;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void chunk_head_done(struct h1_dir *d)
{
	d->state = d->left ? H1_CHUNK_DATA : H1_TRAILER;
	d->line = 0;
	d->digits = 0;
}

/* One byte of chunk framing (RFC 9112 7.1). -EBADMSG: this is none. */
static int chunk_byte(struct h1 *h, struct h1_dir *d, int kind, char c)
{
	int v;

	switch (d->state) {
	case H1_CHUNK_SIZE:
		v = hex(c);
		if (v >= 0) {
			/* 2^60: more than any stream will hold. */
			if (d->left >> 56)
				return -EBADMSG;
			d->left = d->left << 4 | (uint64_t)v;
			d->digits = 1;
			return 0;
		}
		if (!d->digits)
			return -EBADMSG;
		if (c == '\n') {
			h->host->note(h->ctx, kind, OSP_RA_BARE_LF, 0);
			chunk_head_done(d);
		} else if (c == ';' || c == ' ' || c == '\t' || c == '\r') {
			d->state = H1_CHUNK_EXT;
			d->line = c == '\r';
		} else {
			return -EBADMSG;
		}
		return 0;
	case H1_CHUNK_EXT:	/* ignored; line: the last byte was CR */
		if (c == '\n')
			chunk_head_done(d);
		else
			d->line = c == '\r';
		return 0;
	case H1_CHUNK_END:
		if (c == '\r' && !d->line) {
			d->line = 1;
			return 0;
		}
		if (c != '\n')
			return -EBADMSG;
		d->state = H1_CHUNK_SIZE;
		d->left = 0;
		d->digits = 0;
		return 0;
	default:		/* H1_TRAILER: lines up to an empty one */
		if (c == '\n' && !d->line)
			return 1;
		if (c == '\n')
			d->line = 0;
		else if (c != '\r')
			d->line++;
		return 0;
	}
}

static uint32_t in_chunk(struct h1 *h, int dir, const char *p, uint32_t n,
			 const struct osp_seg *seg)
{
	struct h1_dir *d = &h->d[dir];
	int kind = kind_of(h, dir), r = 0;
	uint32_t i = 0;

	while (i < n && !r && d->state != H1_CHUNK_DATA)
		r = chunk_byte(h, d, kind, p[i++]);
	if (d->state == H1_CHUNK_DATA)
		d->line = 0;	/* for H1_CHUNK_END */
	if (r < 0)
		i--;
	d->pos += i;
	count(h, OSP_BC_PARSED, i);
	if (r > 0)
		msg_end(h, kind, OSP_END_OK);
	else if (r < 0)
		bad_msg(h, kind, OSP_RA_BAD_CHUNK, seg);
	return i;
}

static bool at_body(const struct h1_dir *d)
{
	return d->pos == d->body && d->state >= H1_LENGTH && d->state <= H1_CHUNK_SIZE;
}

/* Whether what comes now, in that turn, may be no body: the response answers a request that we did
 * not see, maybe a HEAD, and the other side has had its turn since.
 */
static bool body_in_doubt(const struct h1 *h, int dir, uint32_t turn)
{
	const struct h1_dir *d = &h->d[dir];

	return kind_of(h, dir) == OSP_RES && h->maybe_head && at_body(d) && turn != d->head_turn;
}

/* The first bytes where a body should be: of a response whose request we did not see they can be
 * the next response (it answered a HEAD); of a request that was refused before its body went out
 * they can be the next request (RFC 9110 10.1.1), which a client does not send along with the first.
 */
static bool no_body_after_all(struct h1 *h, int dir, const char *p, uint32_t n,
			      const struct osp_seg *seg, bool event)
{
	struct h1_dir *d = &h->d[dir];
	int kind = kind_of(h, dir);
	enum osp_detect det;

	if (!at_body(d) || (kind == OSP_REQ && !event))
		return false;
	if (kind == OSP_REQ ? !(h->expect && h->host->answered(h->ctx)) : !h->maybe_head)
		return false;
	det = osp_http1_probe_kind(kind, p, n, true);
	if (det == OSP_DET_REQ || det == OSP_DET_RES) {
		msg_end(h, kind, OSP_END_OK);
		return true;
	}
	if (!event || !body_in_doubt(h, dir, seg->turn))
		return false;
	msg_end(h, kind, OSP_END_GAP);
	to_resync(h, kind, false);
	return true;
}

/* ---- the machine ----------------------------------------------------------------------------- */

static uint32_t wait_answer(struct h1 *h, int dir, const char *p, uint32_t n,
			    const struct osp_seg *seg)
{
	struct h1_dir *d = &h->d[dir];

	if (!d->buf.n)
		d->seg = *seg;
	if (d->buf.n + (uint64_t)n > h->env->max_head) {
		/* So much before an answer is no HTTP. */
		drop_held(h, d, OSP_BC_TUNNEL);
		d->state = H1_TUNNEL;
		return 0;
	}
	if (hold(h, d, p, n))
		return 0;
	d->pos += n;
	return n;
}

static uint32_t step(struct h1 *h, int dir, const char *p, uint32_t n, const struct osp_seg *seg,
		     bool event)
{
	struct h1_dir *d = &h->d[dir];

	if (no_body_after_all(h, dir, p, n, seg, event))
		return 0;
	switch (d->state) {
	case H1_START:
		return at_start(h, dir, p, n, seg);
	case H1_RESYNC:
		return resync(h, dir, p, n, seg, event);
	case H1_HEAD:
		return in_head(h, dir, p, n, seg);
	case H1_LENGTH:
	case H1_EOF:
	case H1_CHUNK_DATA:
		return in_data(h, dir, p, n);
	case H1_OLD:
		return behind_simple(h, d, p, n);
	case H1_WAIT:
		return wait_answer(h, dir, p, n, seg);
	case H1_TUNNEL:
		d->pos += n;
		count(h, OSP_BC_TUNNEL, n);
		return n;
	default:
		return in_chunk(h, dir, p, n, seg);
	}
}

static bool in_msg(const struct h1_dir *d)
{
	return d->state >= H1_LENGTH && d->state <= H1_TRAILER;
}

/* Each step takes bytes or changes the state, and no two states hand bytes to and fro. */
static void run(struct h1 *h, int dir, const char *p, uint32_t n, const struct osp_seg *seg,
		bool event)
{
	const struct h1_dir *d = &h->d[dir];
	uint32_t used, i = 0;

	if (in_msg(d))
		h->host->touch(h->ctx, kind_of(h, dir), seg);
	while (i < n && !h->off) {
		used = step(h, dir, p + i, n - i, seg, event && !i);
		i += used;
	}
	if (i < n)
		count(h, OSP_BC_OPAQUE, n - i);
}

/* Inside a body only: where it should begin there may be none, see no_body_after_all(). */
static void offer_skip(struct h1 *h, int dir)
{
	const struct h1_dir *d = &h->d[dir];
	uint64_t n = UINT64_MAX;

	if (h->off || d->ended || d->pos <= d->body)
		return;
	if (d->state == H1_LENGTH || d->state == H1_CHUNK_DATA)
		n = d->left;
	else if (d->state != H1_EOF && d->state != H1_TUNNEL)
		return;
	if (n >= h->env->skip_from)
		h->host->skip(h->ctx, dir, n);
}

static void h1_data(void *st, int dir, uint64_t pos, const char *p, uint32_t n,
		    const struct osp_seg *seg)
{
	struct h1 *h = st;
	struct h1_dir *d = &h->d[dir];

	d->pos = pos;
	if (d->ended && !h->off) {
		count(h, OSP_BC_EXTRA, n);
		return;
	}
	run(h, dir, p, n, seg, true);
	if (h->env->skip_from)
		offer_skip(h, dir);
}

/* Whether the framing knows what comes after the gap. */
static bool step_over(struct h1 *h, int dir, uint64_t bytes, int cause)
{
	struct h1_dir *d = &h->d[dir];
	int kind = kind_of(h, dir);

	if (d->state == H1_TUNNEL)
		return true;
	if (d->state != H1_EOF &&
	    ((d->state != H1_LENGTH && d->state != H1_CHUNK_DATA) || bytes > d->left))
		return false;
	h->host->body_gap(h->ctx, kind, bytes, cause);
	d->pos += bytes;
	if (d->state == H1_EOF)
		return true;
	d->left -= bytes;
	if (!d->left && d->state == H1_LENGTH)
		msg_end(h, kind, OSP_END_OK);
	else if (!d->left)
		d->state = H1_CHUNK_END;
	return true;
}

static void h1_gap(void *st, int dir, uint64_t pos, uint64_t bytes, int cause, uint32_t lo,
		   const struct osp_seg *seg)
{
	struct h1 *h = st;
	struct h1_dir *d = &h->d[dir];
	int kind = kind_of(h, dir);
	struct osp_seg first = *seg;
	bool between = d->state == H1_START && !seg->loose;

	d->pos = pos;
	if (h->off || d->ended)
		return;
	h->fresh = h->fresh && dir != h->req_dir;
	h->old = h->old && dir == h->req_dir;
	/* A hole is told of in a later turn than its bytes may have gone by. */
	first.turn = lo;
	if (in_msg(d))
		h->host->touch(h->ctx, kind, &first);
	if (!body_in_doubt(h, dir, seg->turn) && step_over(h, dir, bytes, cause)) {
		if (h->env->skip_from)
			offer_skip(h, dir);
		return;
	}
	if (in_msg(d)) {
		h->host->body_gap(h->ctx, kind, d->state == H1_LENGTH ? d->left : bytes, cause);
		msg_end(h, kind, OSP_END_GAP);
	}
	/* After a loss a known method and a space are as good as a start line for that. */
	if (d->state == H1_HEAD && (!d->trial || memchr(d->buf.p, ' ', d->buf.n)))
		h->host->torn(h->ctx, kind, d->seg.turn);
	to_resync(h, kind, false);
	d->pos = pos + bytes;
	h->host->lost(h->ctx, kind, lo, seg->turn, between);
}

static void h1_eof(void *st, int dir, enum osp_msg_end how)
{
	struct h1 *h = st;
	struct h1_dir *d = &h->d[dir];
	int kind = kind_of(h, dir);

	if (d->ended)
		return;
	if (!h->off && h->old && kind == OSP_RES && d->state == H1_HEAD && d->buf.n)
		simple_response(h, dir, &d->seg);
	if (!h->off && in_msg(d))
		msg_end(h, kind, d->state == H1_EOF ? how : how == OSP_END_OK ? OSP_END_CLOSED : how);
	drop_held(h, d, OSP_BC_EXTRA);
	d->ended = true;
}

static void h1_init(void *st, const struct osp_parser_init *init)
{
	struct h1 *h = st;
	int dir;

	h->host = init->host;
	h->ctx = init->ctx;
	h->env = init->env;
	h->req_dir = init->req_dir;
	h->fresh = init->whole;
	for (dir = 0; dir < OSP_DIRS; dir++)
		h->d[dir].state = init->lost[dir] ? H1_RESYNC : H1_START;
}

static void h1_fini(void *st, enum osp_byte_class cls)
{
	struct h1 *h = st;
	int dir;

	for (dir = 0; dir < OSP_DIRS; dir++)
		drop_held(h, &h->d[dir], cls);
}

const struct osp_parser osp_parser_http1 = {
	.name = "http/1",
	.size = sizeof(struct h1),
	.init = h1_init,
	.data = h1_data,
	.gap = h1_gap,
	.eof = h1_eof,
	.fini = h1_fini,
};
