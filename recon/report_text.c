/* SPDX-License-Identifier: GPL-3.0-or-later */
/* report_text.c: the result for somebody at a terminal, in one screen. */
#include "recon/recon.h"

#include <inttypes.h>
#include <string.h>

struct tone {
	const char *good, *bad, *warn, *dim, *bold, *end;
};

static struct tone tones(const struct rc_model *m)
{
	static const struct tone none = { "", "", "", "", "", "" };
	static const struct tone color = { "\033[32m", "\033[31m", "\033[33m",
					   "\033[2m",  "\033[1m",  "\033[0m" };

	return m->conf->color ? color : none;
}

static void put_sides(const struct rc_model *m, FILE *to)
{
	char n[32], k[32], d[32];

	for (int s = 0; s < 2; s++) {
		const struct rc_side *sd = &m->side[s];

		fprintf(to, "%c  %-8s %s  %s", "AB"[s], sd -> name, m -> conf -> path[s][0],
			sd -> format ? sd -> format : "");
		if (m->conf->path_n[s] > 1)
			fprintf(to, " and %u more files", m->conf->path_n[s] - 1);
		fprintf(to, "\n            %s transactions, %s connections, %s",
			rc_text_n(n, sizeof(n), sd->row_n), rc_text_n(k, sizeof(k), sd->conns),
			rc_text_ns(d, sizeof(d),
				   sd->last_ns > sd->first_ns ? sd->last_ns - sd->first_ns : 0));
		if (sd->folded)
			fprintf(to, "; %s of them second views",
				rc_text_n(n, sizeof(n), sd->folded));
		if (sd->bad)
			fprintf(to, "; %s lines not understood", rc_text_n(n, sizeof(n), sd->bad));
		if (!sd->has_led)
			fputs("; no ledger", to);
		fputc('\n', to);
	}
}

static void put_clock(const struct rc_model *m, FILE *to)
{
	const struct rc_clock *ck = &m->clock;
	char a[32], b[32];

	if (!ck->estimated) {
		fprintf(to,
			"clock       unestimated: %u certain pairs, %u are needed; taken as "
			"equal\n",
			ck->n, RC_CLOCK_MIN);
		return;
	}
	fprintf(to, "clock       %s - %s = %s", m->side[1].name, m->side[0].name,
		rc_text_ns(a, sizeof(a), ck->offset));
	if (ck->piecewise)
		fputs(", stepped (followed piecewise)", to);
	else if (ck->drift_known)
		fprintf(to, ", drift %.2f ppm", ck->drift * 1e6);
	fprintf(to, ", MAD %s, n %u\n", rc_text_ns(b, sizeof(b), ck->mad), ck->n);
}

/* The reasons of a verdict, those that need a look first. */
static void put_reasons(const struct rc_model *m, FILE *to, const uint64_t *reason)
{
	struct tone t = tones(m);
	char n[32];

	for (int i = 0; i < RC_WHY_MAX; i++) {
		if (!reason[i])
			continue;
		fprintf(to, "  %s%-22s%s %12s  %s%s%s\n", i ? "" : t.bad, rc_reason_name(i), t.end,
			rc_text_n(n, sizeof(n), reason[i]), t.dim, rc_reason_help(i), t.end);
	}
}

static void put_fields(const struct rc_model *m, FILE *to)
{
	const struct rc_result *res = &m->res;
	struct tone t = tones(m);
	char n[32];

	for (int i = 0; i < RC_FIELDS; i++)
		if (res->field[i])
			fprintf(to, "  %-30s %4s\n", rc_field_name(i),
				rc_text_n(n, sizeof(n), res->field[i]));
	if (res->uncertain)
		fprintf(to, "  %ssizes uncertain, bytes missing %s%s\n", t.dim,
			rc_text_n(n, sizeof(n), res->uncertain), t.end);
}

static void put_verdicts(const struct rc_model *m, FILE *to)
{
	const struct rc_result *res = &m->res;
	struct tone t = tones(m);
	char name[64], n[32];

	for (int i = 0; i < RC_VERDICTS; i++) {
		bool bad = i == RC_AMBIGUOUS ? res->verdict[i]
					     : i != RC_MATCH && res->reason[i - 1][0];

		fprintf(to, "%s%-24s %12s%s",
			!res->verdict[i] ? ""
			: bad            ? t.bad
			: i == RC_MATCH  ? t.good
					 : t.warn,
			rc_text_verdict(name, sizeof(name), m, i),
			rc_text_n(n, sizeof(n), res->verdict[i]), t.end);
		if (i == RC_MATCH)
			for (int by = 1; by < RC_BY_MAX; by++)
				if (res->by[by])
					fprintf(to, "  %s by %s",
						rc_text_n(n, sizeof(n), res->by[by]),
						rc_by_name(by));
		fputc('\n', to);
		if (i == RC_DIFFERS)
			put_fields(m, to);
		if (i == RC_DIFFERS && res->verdict[i] == res->reason[0][0])
			continue;
		if (i != RC_MATCH && i != RC_AMBIGUOUS)
			put_reasons(m, to, res->reason[i - 1]);
	}
}

static void put_completeness(const struct rc_model *m, FILE *to)
{
	const struct rc_result *res = &m->res;
	uint64_t both = res->verdict[RC_MATCH] + res->verdict[RC_DIFFERS];
	uint64_t a = both + res->reason_in_scope[0], b = both + res->reason_in_scope[1];
	double lo, hi, all = rc_chapman(a, b, both);

	for (int s = 0; s < 2; s++) {
		uint64_t of = s ? a : b;

		if (!of)
			continue;
		rc_wilson(both, of, &lo, &hi);
		fprintf(to, "%s%s saw %.4f %% of what %s saw (95 %%: %.4f to %.4f)\n",
			s ? "            " : "coverage    ", m->side[s].name,
			100.0 * (double)both / (double)of, m->side[!s].name, 100 * lo, 100 * hi);
	}
	if (both && all - (double)(a + b - both) >= 0.5)
		fprintf(to, "            missed by both, estimated: %.0f\n",
			all - (double)(a + b - both));
}

static void put_latency(const struct rc_model *m, FILE *to)
{
	const struct rc_hist *h = &m->res.ttfb;
	char a[32], b[32], c[32], n[32];

	if (h->n)
		fprintf(to, "latency     time to first byte, %s - %s: p50 %s, p1 %s, p99 %s\n",
			m->side[1].name, m->side[0].name,
			rc_text_ns(a, sizeof(a), rc_hist_at(h, 0.5)),
			rc_text_ns(b, sizeof(b), rc_hist_at(h, 0.01)),
			rc_text_ns(c, sizeof(c), rc_hist_at(h, 0.99)));
	if (m->res.timing)
		fprintf(to, "            %s pairs beyond %s + %u %%\n",
			rc_text_n(n, sizeof(n), m->res.timing),
			rc_text_ns(a, sizeof(a), m->conf->tol_ns), m->conf->tol_pct);
	if (m->res.direction)
		fprintf(to, "            %s pairs in an order that the probe's side forbids\n",
			rc_text_n(n, sizeof(n), m->res.direction));
}

static void put_nat(const struct rc_model *m, FILE *to)
{
	char a[64], b[64], c[64], d[64];

	for (uint32_t i = 0; i < m->res.nat_n && i < 5; i++) {
		const struct rc_nat *nat = &m->res.nat[i];

		fprintf(to, "%s%s - %s is %s - %s (%" PRIu64 ")\n",
			i ? "            " : "nat         ",
			rc_text_end(a, sizeof(a), &m->net, nat->conn[0], 0),
			rc_text_end(b, sizeof(b), &m->net, nat->conn[0], 1),
			rc_text_end(c, sizeof(c), &m->net, nat->conn[1], 0),
			rc_text_end(d, sizeof(d), &m->net, nat->conn[1], 1), nat->n);
	}
	if (m->res.nat_n > 5)
		fprintf(to, "            and %u more\n", m->res.nat_n - 5);
}

/* What changed, "status 200 / 500", as much as fits in a line. */
static void put_sample_fields(FILE *to, uint32_t fields)
{
	for (int i = 0; i < RC_FIELDS; i++)
		if (fields & 1u << i)
			fprintf(to, " %s", rc_field_name(i));
}

static void put_examples(const struct rc_model *m, FILE *to)
{
	const struct rc_result *res = &m->res;
	struct rc_detail det = { 0 };
	struct tone t = tones(m);
	char text[100], name[64];
	uint32_t shown = 0;

	for (uint32_t i = 0; i < res->sample_n && shown < m->conf->examples; i++) {
		const struct rc_sample *sm = &res->sample[i];
		int s = sm->row[0] == RC_NONE;
		const struct osp_record *rec = &det.rr.rec;

		if (sm->reason != RC_WHY_UNEXPLAINED && !m->conf->strict)
			continue;
		if (rc_detail_read(&det, &m->side[s].store, m->side[s].row[sm->row[s]].off))
			continue;
		if (!shown++)
			fprintf(to,
				"\n%slook at%s      (recon-diff --explain ID with the same "
				"files)\n",
				t.bold, t.end);
		fprintf(to, "  %016" PRIx64 "%016" PRIx64 "  %-12s", rec->id[0], rec->id[1],
			rc_text_verdict(name, sizeof(name), m, sm->verdict));
		fprintf(to, "%s", rc_text_txn(text, sizeof(text), rec));
		put_sample_fields(to, sm->fields);
		fputc('\n', to);
	}
	rc_detail_fini(&det);
}

void rc_report_text(const struct rc_model *m, FILE *to)
{
	struct tone t = tones(m);
	const struct rc_result *res = &m->res;
	char n[32];

	put_sides(m, to);
	put_clock(m, to);
	fputc('\n', to);
	put_verdicts(m, to);
	fputc('\n', to);
	put_completeness(m, to);
	put_latency(m, to);
	put_nat(m, to);
	put_examples(m, to);
	if (rc_nothing_matched(m))
		fprintf(to, "\n%snothing matched: is it the same traffic?%s", t.bad, t.end);
	if (res->unexplained || rc_nothing_matched(m))
		fprintf(to, "\n%s%s unexplained%s\n", t.bad,
			rc_text_n(n, sizeof(n), res->unexplained), t.end);
	else if (rc_exit(m))
		fprintf(to, "\n%sdifferences, all explained%s\n", t.warn, t.end);
	else
		fprintf(to, "\n%s%s%s\n", t.good,
			res->verdict[RC_DIFFERS] + res->verdict[RC_ONLY_A] + res->verdict[RC_ONLY_B]
				? "every difference is explained"
				: "the two sides agree",
			t.end);
}
