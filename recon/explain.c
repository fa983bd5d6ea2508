/* SPDX-License-Identifier: GPL-3.0-or-later */
/* explain.c: one pair, everything: both records side by side, where their bytes are, how to find
 * the packets.
 */
#include "recon/recon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

struct finder {
	struct rc_model *m;
	FILE *to;
	struct rc_detail det[2];
	uint32_t target[2];
	bool found;
};

static void put_range(FILE *to, const char *what, const struct osp_rec_msg *msg)
{
	if (!(msg->has & OSP_MH_MSG)) {
		fprintf(to, "    %-9s (missing)\n", what);
		return;
	}
	fprintf(to, "    %-9s", what);
	if (msg->has & OSP_MH_SEQ)
		fprintf(to, " tcp_seq %u", msg->tcp_seq);
	if ((msg->has & OSP_MH_SEQ) && (msg->has & OSP_MH_SEQ_END))
		fprintf(to, " .. %u (%u bytes)", msg->tcp_end, msg->tcp_end - msg->tcp_seq);
	if (msg->has & OSP_MH_HEAD_BYTES)
		fprintf(to, ", head %u", msg->head_bytes);
	if (msg->has & OSP_MH_BODY)
		fprintf(to, ", body %" PRIu64, msg->body_bytes);
	if (msg->has & OSP_MH_BODY_WIRE)
		fprintf(to, " (%" PRIu64 " as sent)", msg->body_wire_bytes);
	fputc('\n', to);
}

static void put_record(struct finder *fi, const struct rc_view *v, int s,
		       const struct osp_record *rec)
{
	const struct rc_net *net = &fi->m->net;
	FILE *to = fi->to;
	char a[64], b[64], text[512];
	bool swap = v->row[s]->client_b;

	fprintf(to, "%c  %s  %016" PRIx64 "%016" PRIx64 "\n    ", "AB"[s], fi -> m -> side[s].name,
		rec->id[0], rec->id[1]);
	rc_put_time(to, rec->ts_ns);
	fprintf(to, "  %s -> %s  %s\n    %s\n", rc_text_end(a, sizeof(a), net, v->conn[s], swap),
		rc_text_end(b, sizeof(b), net, v->conn[s], !swap), osp_outcome_name(rec->outcome),
		rc_text_txn(text, sizeof(text), rec));
	put_range(to, "request", &rec->msg[OSP_REQ]);
	put_range(to, "response", &rec->msg[OSP_RES]);
	if (rec->proc.has & OSP_PH_PID)
		fprintf(to, "    process   %u %.*s\n", rec->proc.pid, (int)rec->str[OSP_S_COMM].n,
			rec->str[OSP_S_COMM].p ? rec->str[OSP_S_COMM].p : "");
}

/* One direction's frames that carry bytes [seq, end). A frame may begin before seq: tcp.nxtseq is
 * relative, so the condition is on seq_raw and len.
 */
static void put_bytes_filter(FILE *to, const char *port_field, uint16_t port,
			     const struct osp_rec_msg *msg)
{
	fprintf(to, "(%s == %u", port_field, port);
	if (msg->has & OSP_MH_SEQ_END && msg->tcp_end > msg->tcp_seq)
		fprintf(to, " && tcp.seq_raw < %u && tcp.seq_raw + tcp.len > %u", msg->tcp_end,
			msg->tcp_seq);
	else
		/* To the end of the sequence numbers' circle, or the end unknown: the first byte.
		 */
		fprintf(to, " && tcp.seq_raw <= %u && tcp.seq_raw + tcp.len > %u", msg->tcp_seq,
			msg->tcp_seq);
	fputc(')', to);
}

static void put_filter(struct finder *fi, const struct rc_view *v, const struct osp_record *rec,
		       int s)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const struct rc_conn *c = &fi->m->net.conn[v->conn[s]];
	const struct osp_rec_msg *req = &rec->msg[OSP_REQ], *res = &rec->msg[OSP_RES];
	bool some = false, v4;
	FILE *to = fi->to;
	int client = v->row[s]->client_b;

	if (!v->conn[s])
		return;
	fputs("tshark -r CAPTURE -Y '", to);
	for (int e = 0; e < 2; e++) {
		const uint8_t *ip = fi->m->net.addr[c->addr[e]].ip;
		char text[INET6_ADDRSTRLEN];

		v4 = !memcmp(ip, mapped, sizeof(mapped));
		fprintf(to, "%s == %s && ", v4 ? "ip.addr" : "ipv6.addr",
			inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? ip + 12 : ip, text, sizeof(text)));
	}
	fprintf(to, "tcp.port == %u && tcp.port == %u", c->port[0], c->port[1]);
	for (int e = 0; e < OSP_ENDS; e++) {
		const struct osp_rec_msg *msg = e == OSP_REQ ? req : res;

		if (!(msg->has & OSP_MH_SEQ))
			continue;
		fputs(some ? " || " : " && (", to);
		put_bytes_filter(to, "tcp.srcport", c->port[e == OSP_REQ ? client : !client], msg);
		some = true;
	}
	fputs(some ? ")'\n" : "'\n", to);
}

/* The row asked for; of a second view, the one that counts. */
static void find_target(struct finder *fi)
{
	for (int s = 0; s < 2; s++) {
		const struct rc_side *sd = &fi->m->side[s];

		fi->target[s] = RC_NONE;
		for (uint32_t i = 0; sd->explain_off != UINT64_MAX && i < sd->row_n; i++)
			if (sd->row[i].off == sd->explain_off)
				fi->target[s] =
					sd->row[i].flags & RC_F_FOLDED ? sd->row[i].link : i;
	}
}

static bool wanted(const struct finder *fi, const struct rc_view *v)
{
	for (int s = 0; s < 2; s++)
		if (v->row[s] && fi->target[s] != RC_NONE &&
		    v->row[s] == &fi->m->side[s].row[fi->target[s]])
			return true;
	return false;
}

static void put_diffs(FILE *to, const struct rc_diffs *diffs)
{
	for (uint32_t i = 0; i < diffs->n; i++) {
		const struct rc_diff *d = &diffs->d[i];

		fprintf(to, "    %-28s %-10s ", rc_field_name(d->field), rc_class_name(d->cls));
		rc_put_json(to, d->a, strlen(d->a));
		fputs("  |  ", to);
		rc_put_json(to, d->b, strlen(d->b));
		fputc('\n', to);
	}
}

static int halves_of(const struct rc_row *row)
{
	return !!(row->flags & RC_F_REQ_SEQ) + !!(row->flags & RC_F_RES_SEQ);
}

/* Of each capture of either side, which frames it is in; by the other side's record if this one has
 * none, which shows what the capture has of it all the same.
 */
static void put_frames(struct finder *fi, const struct rc_view *v, const struct osp_record *rec[2])
{
	const struct rc_conf *conf = fi->m->conf;

	for (int s = 0; s < 2; s++) {
		const struct osp_record *of = rec[s] ? rec[s] : rec[!s];
		int64_t ts = of->ts_ns;

		if (!rec[s])
			ts = s ? rc_clock_to_b(&fi->m->clock, ts) : rc_clock_to_a(&fi->m->clock, ts);
		for (uint32_t i = 0; i < conf->path_n[s]; i++)
			if (rc_is_capture(conf->path[s][i]))
				rc_frames_put(fi->to, conf->path[s][i], of, rec[!s], ts,
					      conf->window_ns);
	}
}

static int explain_view(void *ctx, struct rc_model *m, const struct rc_view *v)
{
	struct finder *fi = ctx;
	const struct osp_record *rec[2] = { v->rec[0], v->rec[1] };
	char name[64], t[32];
	int err, best;

	if (fi->found || !wanted(fi, v))
		return 0;
	fi->found = true;
	fprintf(fi->to, "%s", rc_text_verdict(name, sizeof(name), m, v->verdict));
	if (v->verdict != RC_MATCH && v->verdict != RC_AMBIGUOUS)
		fprintf(fi->to, " (%s: %s)", rc_reason_name(v->reason), rc_reason_help(v->reason));
	if (v->row[0] && v->row[1])
		fprintf(fi->to, ", paired by %s, %s apart after the clocks' offset",
			rc_by_name(v->row[0]->by),
			rc_text_ns(t, sizeof(t), rc_residual(&m->clock, v->row[0], v->row[1])));
	fputs("\n\n", fi->to);
	for (int s = 0; s < 2; s++) {
		if (!v->row[s])
			continue;
		if (!rec[s]) {
			err = rc_detail_read(&fi->det[s], &m->side[s].store, v->row[s]->off);
			if (err)
				return err;
			rec[s] = &fi->det[s].rr.rec;
		}
		put_record(fi, v, s, rec[s]);
	}
	if (v->diffs && v->diffs->n) {
		fprintf(fi->to, "\n    %-28s %-10s %s  |  %s\n", "field", "class", m->side[0].name,
			m->side[1].name);
		put_diffs(fi->to, v->diffs);
	}
	fputc('\n', fi->to);
	/* The fuller view tells where all of it is. */
	best = !v->row[0] ? 1 : !v->row[1] ? 0 : halves_of(v->row[1]) >= halves_of(v->row[0]);
	put_filter(fi, v, rec[best], best);
	put_frames(fi, v, rec);
	return 0;
}

int rc_explain(struct rc_model *m, FILE *to)
{
	struct finder fi = { .m = m, .to = to };
	int err;

	find_target(&fi);
	err = rc_judge(m, explain_view, &fi);
	rc_detail_fini(&fi.det[0]);
	rc_detail_fini(&fi.det[1]);
	return err ? err : fi.found ? 0 : -ENOENT;
}
