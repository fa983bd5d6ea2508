/* SPDX-License-Identifier: GPL-3.0-or-later */
/* report_json.c: verdicts as lines of JSON, and the summary as one object. docs/recon.md has both
 * formats. Integers are 64 bits; times of day RFC 3339; what is not known is absent.
 */
#include "recon/recon.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct rc_jsonl {
	FILE *to;
	uint64_t n;
	struct rc_detail det[2];
};

int rc_jsonl_open(struct rc_jsonl **out, const char *path, char *err, size_t err_size)
{
	struct rc_jsonl *jl = calloc(1, sizeof(*jl));

	if (!jl)
		return -ENOMEM;
	jl->to = strcmp(path, "-") ? fopen(path, "we") : stdout;
	if (!jl->to) {
		snprintf(err, err_size, "%s: %s", path, strerror(errno));
		free(jl);
		return -EINVAL;
	}
	*out = jl;
	return 0;
}

static void put_text(FILE *to, const char *key, const char *s)
{
	fprintf(to, ",\"%s\":", key);
	rc_put_json(to, s, strlen(s));
}

static void put_slice(FILE *to, const char *key, struct osp_slice s)
{
	if (!s.p)
		return;
	fprintf(to, ",\"%s\":", key);
	rc_put_json(to, s.p, s.n);
}

static void put_message(FILE *to, const char *key, const struct osp_rec_msg *msg)
{
	if (msg->has & OSP_MH_SEQ)
		fprintf(to, ",\"%s_seq\":%u", key, msg->tcp_seq);
	if (msg->has & OSP_MH_SEQ_END)
		fprintf(to, ",\"%s_end\":%u", key, msg->tcp_end);
}

/* One side of a verdict. */
static void put_view(FILE *to, struct rc_model *m, const struct rc_view *v, int s,
		     const struct osp_record *rec)
{
	char a[64], b[64];
	bool swap = v->row[s]->client_b;

	fprintf(to, ",\"%c\":{\"id\":\"%016" PRIx64 "%016" PRIx64 "\",\"ts\":\"", "ab"[s],
		rec -> id[0], rec -> id[1]);
	rc_put_time(to, rec->ts_ns);
	fputc('"', to);
	if (v->conn[s]) {
		put_text(to, "client", rc_text_end(a, sizeof(a), &m->net, v->conn[s], swap));
		put_text(to, "server", rc_text_end(b, sizeof(b), &m->net, v->conn[s], !swap));
	}
	put_slice(to, "method", rec->str[OSP_S_METHOD]);
	put_slice(to, "target", rec->str[OSP_S_TARGET]);
	if (rec->msg[OSP_RES].has & OSP_MH_STATUS)
		fprintf(to, ",\"status\":%u", rec->msg[OSP_RES].status);
	put_text(to, "outcome", osp_outcome_name(rec->outcome));
	put_message(to, "request", &rec->msg[OSP_REQ]);
	put_message(to, "response", &rec->msg[OSP_RES]);
	if (v->row[s]->flags & RC_F_TWIN)
		fputs(",\"views\":2", to);
	fputc('}', to);
}

static void put_diffs(FILE *to, const struct rc_diffs *diffs)
{
	fputs(",\"diff\":[", to);
	for (uint32_t i = 0; i < diffs->n; i++) {
		const struct rc_diff *d = &diffs->d[i];

		fprintf(to, "%s{\"field\":\"%s\",\"class\":\"%s\"", i ? "," : "",
			rc_field_name(d->field), rc_class_name(d->cls));
		put_text(to, "a", d->a);
		put_text(to, "b", d->b);
		fputc('}', to);
	}
	fputc(']', to);
}

int rc_jsonl_view(void *ctx, struct rc_model *m, const struct rc_view *v)
{
	struct rc_jsonl *jl = ctx;
	FILE *to = jl->to;
	const struct osp_record *rec[2] = { v->rec[0], v->rec[1] };
	int err;

	fprintf(to, "{\"n\":%" PRIu64 ",\"verdict\":\"%s\"", ++jl->n, rc_verdict_name(v->verdict));
	if (v->verdict == RC_ONLY_A || v->verdict == RC_ONLY_B)
		put_text(to, "side", m->side[v->verdict == RC_ONLY_B].name);
	if (v->row[0] && v->row[1])
		fprintf(to, ",\"by\":\"%s\",\"dts_ns\":%" PRId64, rc_by_name(v->row[0]->by),
			rc_residual(&m->clock, v->row[0], v->row[1]));
	if (v->verdict == RC_ONLY_A || v->verdict == RC_ONLY_B || v->verdict == RC_DIFFERS)
		put_text(to, "reason", rc_reason_name(v->reason));
	for (int s = 0; s < 2; s++) {
		if (!v->row[s])
			continue;
		if (!rec[s]) {
			err = rc_detail_read(&jl->det[s], &m->side[s].store, v->row[s]->off);
			if (err)
				return err;
			rec[s] = &jl->det[s].rr.rec;
		}
		put_view(to, m, v, s, rec[s]);
	}
	if (v->diffs && v->diffs->n)
		put_diffs(to, v->diffs);
	fputs("}\n", to);
	return ferror(to) ? -EIO : 0;
}

static int close_file(FILE *to)
{
	int err = ferror(to) || fflush(to) ? -EIO : 0;

	if (to != stdout && fclose(to))
		err = -EIO;
	return err;
}

int rc_jsonl_close(struct rc_jsonl *jl)
{
	int err;

	if (!jl)
		return 0;
	err = close_file(jl->to);
	rc_detail_fini(&jl->det[0]);
	rc_detail_fini(&jl->det[1]);
	free(jl);
	return err;
}

/* ---- summary -------------------------------------------------------------------------------- */

static void put_side(FILE *to, const struct rc_model *m, int s)
{
	const struct rc_side *sd = &m->side[s];

	fprintf(to, "{\"name\":");
	rc_put_json(to, sd->name, strlen(sd->name));
	put_text(to, "format", sd->format ? sd->format : "unknown");
	fputs(",\"files\":[", to);
	for (uint32_t i = 0; i < m->conf->path_n[s]; i++) {
		fputs(i ? "," : "", to);
		rc_put_json(to, m->conf->path[s][i], strlen(m->conf->path[s][i]));
	}
	fprintf(to,
		"],\"lines\":%" PRIu64 ",\"rejected\":%" PRIu64 ",\"transactions\":%u"
		",\"second_views\":%" PRIu64 ",\"exchanges\":%" PRIu64 ",\"connections\":%" PRIu64
		",\"ledgers\":%" PRIu64,
		sd->lines, sd->bad, sd->row_n, sd->folded, m->res.records[s], sd->conns,
		sd->ledgers);
	if (sd->row_n || sd->conns || sd->ledgers) {
		fputs(",\"from\":\"", to);
		rc_put_time(to, sd->first_ns);
		fputs("\",\"to\":\"", to);
		rc_put_time(to, sd->last_ns);
		fputs("\"", to);
	}
	fputc('}', to);
}

static void put_clock(FILE *to, const struct rc_model *m)
{
	const struct rc_clock *ck = &m->clock;

	fprintf(to, ",\"clock\":{\"estimated\":%s,\"n\":%u", ck->estimated ? "true" : "false",
		ck->n);
	if (ck->estimated) {
		fprintf(to, ",\"offset_ns\":%" PRId64 ",\"mad_ns\":%" PRId64 ",\"model\":\"%s\"",
			ck->offset, ck->mad, ck->piecewise ? "piecewise" : "linear");
		if (ck->drift_known)
			fprintf(to, ",\"drift_ppm\":%.3f", ck->drift * 1e6);
	}
	fputc('}', to);
}

static void put_reasons(FILE *to, const char *key, const uint64_t *reason)
{
	bool first = true;

	fprintf(to, ",\"%s\":{", key);
	for (int i = 0; i < RC_WHY_MAX; i++) {
		if (!reason[i])
			continue;
		fprintf(to, "%s\"%s\":%" PRIu64, first ? "" : ",", rc_reason_name(i), reason[i]);
		first = false;
	}
	fputc('}', to);
}

static void put_fields(FILE *to, const char *key, const uint64_t *field)
{
	bool first = true;

	fprintf(to, ",\"%s\":{", key);
	for (int i = 0; i < RC_FIELDS; i++) {
		if (!field[i])
			continue;
		fprintf(to, "%s\"%s\":%" PRIu64, first ? "" : ",", rc_field_name(i), field[i]);
		first = false;
	}
	fputc('}', to);
}

static void put_completeness(FILE *to, const struct rc_model *m)
{
	const struct rc_result *res = &m->res;
	uint64_t both = res->verdict[RC_MATCH] + res->verdict[RC_DIFFERS];
	uint64_t a = both + res->reason_in_scope[0], b = both + res->reason_in_scope[1];
	double lo, hi;

	fputs(",\"completeness\":{", to);
	for (int s = 0; s < 2; s++) {
		uint64_t of = s ? a : b;

		rc_wilson(both, of, &lo, &hi);
		fprintf(to, "%s\"%c\":{\"of\":%" PRIu64 ",\"seen\":%" PRIu64, s ? "," : "", "ab"[s],
			of, both);
		if (of)
			fprintf(to, ",\"share\":%.6f,\"low95\":%.6f,\"high95\":%.6f",
				(double)both / (double)of, lo, hi);
		fputc('}', to);
	}
	fprintf(to, ",\"estimated_total\":%.1f,\"estimated_missed_by_both\":%.1f}",
		rc_chapman(a, b, both), rc_chapman(a, b, both) - (double)(a + b - both));
}

static void put_hist(FILE *to, const char *key, const struct rc_hist *h)
{
	if (!h->n)
		return;
	fprintf(to,
		",\"%s\":{\"n\":%" PRIu64 ",\"p50_ns\":%" PRId64 ",\"p90_ns\":%" PRId64
		",\"p99_ns\":%" PRId64 "}",
		key, h->n, rc_hist_at(h, 0.5), rc_hist_at(h, 0.9), rc_hist_at(h, 0.99));
}

static void put_nat(FILE *to, const struct rc_model *m)
{
	char a[64], b[64];

	fputs(",\"nat\":[", to);
	for (uint32_t i = 0; i < m->res.nat_n; i++) {
		const struct rc_nat *nat = &m->res.nat[i];

		fprintf(to, "%s{\"n\":%" PRIu64 ",\"a\":[\"%s\",\"%s\"]", i ? "," : "", nat->n,
			rc_text_end(a, sizeof(a), &m->net, nat->conn[0], 0),
			rc_text_end(b, sizeof(b), &m->net, nat->conn[0], 1));
		fprintf(to, ",\"b\":[\"%s\",\"%s\"]}",
			rc_text_end(a, sizeof(a), &m->net, nat->conn[1], 0),
			rc_text_end(b, sizeof(b), &m->net, nat->conn[1], 1));
	}
	fputc(']', to);
}

static void put_by(FILE *to, const struct rc_result *res)
{
	bool first = true;

	fputs(",\"matched_by\":{", to);
	for (int i = 1; i < RC_BY_MAX; i++) {
		if (!res->by[i])
			continue;
		fprintf(to, "%s\"%s\":%" PRIu64, first ? "" : ",", rc_by_name(i), res->by[i]);
		first = false;
	}
	fputc('}', to);
}

int rc_report_summary(const struct rc_model *m, const char *path)
{
	const struct rc_result *res = &m->res;
	FILE *to = strcmp(path, "-") ? fopen(path, "we") : stdout;

	if (!to)
		return -errno;
	fputs("{\"schema\":\"osprey-recon/1\",\"a\":", to);
	put_side(to, m, 0);
	fputs(",\"b\":", to);
	put_side(to, m, 1);
	put_clock(to, m);
	fprintf(to,
		",\"guard_ns\":%" PRId64 ",\"match\":%" PRIu64 ",\"differs\":%" PRIu64
		",\"only_a\":%" PRIu64 ",\"only_b\":%" PRIu64 ",\"ambiguous\":%" PRIu64
		",\"ambiguous_a\":%" PRIu64 ",\"ambiguous_b\":%" PRIu64 ",\"unexplained\":%" PRIu64,
		m->guard_ns, res->verdict[RC_MATCH], res->verdict[RC_DIFFERS],
		res->verdict[RC_ONLY_A], res->verdict[RC_ONLY_B], res->verdict[RC_AMBIGUOUS],
		res->ambiguous_side[0], res->ambiguous_side[1], res->unexplained);
	put_by(to, res);
	put_fields(to, "fields", res->field);
	put_fields(to, "fields_uncertain", res->field_uncertain);
	fprintf(to, ",\"uncertain\":%" PRIu64, res->uncertain);
	put_reasons(to, "differs_by_reason", res->reason[0]);
	put_reasons(to, "only_a_by_reason", res->reason[1]);
	put_reasons(to, "only_b_by_reason", res->reason[2]);
	put_completeness(to, m);
	fprintf(to, ",\"timing\":{\"out_of_tolerance\":%" PRIu64 ",\"against_direction\":%" PRIu64,
		res->timing, res->direction);
	put_hist(to, "d_ttfb", &res->ttfb);
	put_hist(to, "d_duration", &res->dur);
	put_hist(to, "host_request_lag", &res->req_lag);
	put_hist(to, "host_response_lag", &res->res_lag);
	fputc('}', to);
	put_nat(to, m);
	fprintf(to, ",\"invariant\":%s,\"exit\":%d,\"seconds\":%.3f,\"read_seconds\":%.3f}\n",
		2 * (res->verdict[RC_MATCH] + res->verdict[RC_DIFFERS]) + res->verdict[RC_ONLY_A] +
					res->verdict[RC_ONLY_B] + res->verdict[RC_AMBIGUOUS] ==
				res->records[0] + res->records[1]
			? "true"
			: "false",
		rc_exit(m), res->seconds, res->read_seconds);
	return close_file(to);
}
