/* SPDX-License-Identifier: GPL-3.0-or-later */
/* frames.c: which frames of a capture carry the bytes of a record. The file is read once more, frame
 * by frame, through the same tunnels; nothing is reassembled, so copies, what was sent again and what
 * came out of order are all in the list.
 */
#include "agent/wire/capfile.h"
#include "agent/wire/decap.h"
#include "recon/recon.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Lines of each half; a large body has thousands of frames. */
#define SHOWN 12

struct half {
	const struct osp_rec_msg *msg;
	const char *name;
	uint32_t src;			/* 0: the client sends it */
	uint64_t n, bytes, last;	/* frames, bytes of the message in them, the last frame */
	uint32_t reached;		/* all before it has been in a frame, or missing */
};

struct search {
	const struct osp_rec_conn *conn;
	uint64_t from, to;		/* capture time */
	struct half half[OSP_ENDS];
	FILE *out;
};

/* 0: from the client, 1: from the server, -1: of another connection. */
static int sender(const struct osp_rec_conn *conn, const struct osp_tcp_seg *seg)
{
	if (seg->sport == conn->client_port && seg->dport == conn->server_port &&
	    !memcmp(seg->src, conn->client, 16) && !memcmp(seg->dst, conn->server, 16))
		return 0;
	if (seg->sport == conn->server_port && seg->dport == conn->client_port &&
	    !memcmp(seg->src, conn->server, 16) && !memcmp(seg->dst, conn->client, 16))
		return 1;
	return -1;
}

static void put_frame(const struct search *se, struct half *half, uint64_t frame,
		      const struct osp_tcp_seg *seg, uint32_t at, uint32_t end)
{
	const char *note = "";

	if ((int32_t)(end - half->reached) <= 0)
		note = half->n ? "  again, or a copy" : "";
	else if ((int32_t)(at - half->reached) > 0)
		note = "  out of order, or bytes before it are missing";
	if (half->n < SHOWN) {
		fprintf(se->out, "    %-9s frame %" PRIu64 "  ", half->name, frame);
		rc_put_time(se->out, (int64_t)seg->ts);
		fprintf(se->out, "  tcp_seq %u .. %u (%u bytes)%s%s\n", at, end, end - at, note,
			seg->cap < seg->len ? "  cut by the snap length" : "");
	}
	half->n++;
	half->last = frame;
	if ((int32_t)(end - half->reached) > 0) {
		half->bytes += (int32_t)(at - half->reached) > 0 ? end - at : end - half->reached;
		half->reached = end;
	}
}

static void look(struct search *se, uint64_t frame, const struct osp_tcp_seg *seg)
{
	int from = sender(se->conn, seg);
	uint32_t at = seg->seq + !!(seg->flags & OSP_TCP_SYN), end = at + seg->len;

	for (int e = 0; e < OSP_ENDS && from >= 0 && seg->len; e++) {
		struct half *half = &se->half[e];
		uint32_t lo, hi;

		if (!half->msg || half->src != (uint32_t)from)
			continue;
		lo = half->msg->tcp_seq;
		hi = half->msg->has & OSP_MH_SEQ_END ? half->msg->tcp_end : lo + 1;
		if ((int32_t)(end - lo) <= 0 || (int32_t)(at - hi) >= 0)
			continue;
		put_frame(se, half, frame, seg, (int32_t)(at - lo) < 0 ? lo : at,
			  (int32_t)(end - hi) > 0 ? hi : end);
	}
}

static void put_sums(const struct search *se)
{
	for (int e = 0; e < OSP_ENDS; e++) {
		const struct half *half = &se->half[e];
		uint32_t want;

		if (!half->msg)
			continue;
		want = half->msg->has & OSP_MH_SEQ_END ? half->msg->tcp_end - half->msg->tcp_seq : 1;
		if (half->n > SHOWN)
			fprintf(se->out, "    %-9s and %" PRIu64 " more, the last is frame %" PRIu64
				"\n", half->name, half->n - SHOWN, half->last);
		if (!half->n)
			fprintf(se->out, "    %-9s no frame\n", half->name);
		else if (half->bytes < want)
			fprintf(se->out, "    %-9s %" PRIu64 " of %u bytes are in none, or came "
				"out of order\n", half->name, want - half->bytes, want);
	}
}

static int search_file(struct search *se, const char *path)
{
	struct osp_capfile *file = NULL;
	struct osp_decap *dec = NULL;
	struct osp_frame frame;
	struct osp_tcp_seg seg;
	uint64_t n = 0;
	int err;

	err = osp_capfile_open(&file, path);
	if (!err)
		err = osp_decap_new(&dec);
	while (!err) {
		err = osp_capfile_next(file, &frame);
		if (err)
			break;
		n++;
		if (osp_decap(dec, &frame, &seg) == OSP_DECAP_TCP && seg.ts >= se->from &&
		    seg.ts <= se->to)
			look(se, n, &seg);
	}
	osp_decap_free(dec);
	osp_capfile_close(file);
	return err == -ENODATA ? 0 : err;
}

void rc_frames_put(FILE *to, const char *path, const struct osp_record *rec,
		   const struct osp_record *alt, int64_t ts, int64_t slack)
{
	int64_t dur = rec->has_timing & 2 ? rec->duration_ns : 0;
	struct search se = { .conn = &rec->conn, .out = to };
	bool any = false;

	if (!(rec->conn.has & OSP_CH_TUPLE))
		return;
	se.from = ts > slack ? (uint64_t)(ts - slack) : 0;
	se.to = (uint64_t)(ts + dur + slack);
	for (int e = 0; e < OSP_ENDS; e++) {
		const struct osp_rec_msg *msg = &rec->msg[e];

		if (alt && !(msg->has & OSP_MH_SEQ))
			msg = &alt->msg[e];
		if (!(msg->has & OSP_MH_SEQ))
			continue;
		any = true;
		se.half[e] = (struct half){ .msg = msg,
					    .name = e == OSP_REQ ? "request" : "response",
					    .src = e == OSP_RES,
					    .reached = msg->tcp_seq };
	}
	if (!any)
		return;
	fprintf(to, "frames of %s\n", path);
	if (search_file(&se, path))
		fprintf(to, "    (it can't be read to its end)\n");
	put_sums(&se);
}
