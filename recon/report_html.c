/* SPDX-License-Identifier: GPL-3.0-or-later */
/* report_html.c: one HTML file that needs nothing else: no script, no font, no network. It may hold
 * what strangers sent, so everything that is not ours is escaped, and the page forbids itself to
 * load or run anything (Content-Security-Policy).
 */
#include "recon/recon.h"
#include "recon/svg.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char head[] =
	"<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
	"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
	"style-src 'unsafe-inline'\">\n"
	"<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
	"<meta name=\"color-scheme\" content=\"light dark\">\n<title>recon-diff</title>\n<style>\n"
	":root{--bg:#fff;--fg:#1b1f24;--dim:#5c6570;--line:#d7dce1;--card:#f5f7f9;--match:#4a86c5;"
	"--differs:#d98a1f;--only:#a58bc9;--bad:#c9352b;--amb:#8a6d3b;--out:#b9c1c9;--a:#8f5fbf;"
	"--b:#2a9d8f;--good:#1f7a3d}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#14181d;--fg:#e3e7eb;--dim:#97a1ab;"
	"--line:#333b44;--card:#1d232a;--match:#5b9bdc;--differs:#e0a040;--only:#a58bd9;--bad:#"
	"ef6a5f;"
	"--amb:#c2a063;--out:#58636e;--a:#b08ae0;--b:#3fbfae;--good:#5cc47e}}\n"
	"*{box-sizing:border-box}body{margin:0 auto;max-width:1000px;padding:24px 20px 60px;"
	"background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}\n"
	"h1{font-size:22px;margin:0 0 4px}h2{font-size:17px;margin:34px 0 8px}\n"
	".dim{color:var(--dim);fill:var(--dim)}.mono,code{font-family:ui-monospace,monospace;"
	"font-size:13px}\n"
	".banner{font-size:17px;font-weight:600;margin:14px 0;padding:12px 16px;border-radius:8px;"
	"border-left:6px solid var(--c);background:var(--card)}\n"
	".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(140px,1fr));gap:10px}\n"
	".tile{background:var(--card);border-radius:8px;padding:10px 14px;border-top:4px solid "
	"var(--c)}\n"
	".tile b{display:block;font-size:23px;font-variant-numeric:tabular-nums}\n"
	"svg{width:100%;height:auto;display:block}svg text{fill:var(--fg);font-size:12.5px;"
	"font-family:system-ui,sans-serif}svg text.dim{fill:var(--dim)}svg text.mono{"
	"font-family:ui-monospace,monospace;font-size:12px}.axis{stroke:var(--line)}\n"
	".c-match{fill:var(--match)}.c-differs{fill:var(--differs)}.c-only{fill:var(--only)}"
	".c-bad{fill:var(--bad)}.c-amb{fill:var(--amb)}.c-out{fill:var(--out)}.c-a{fill:var(--a)}"
	".c-b{fill:var(--b)}\n"
	".key{display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px;color:var(--dim);margin:6px "
	"0}"
	".key i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;"
	"vertical-align:-1px;background:var(--c)}\n"
	".wide{overflow-x:auto}table{border-collapse:collapse;width:100%}th,td{text-align:left;"
	"padding:5px 14px 5px 0;border-bottom:1px solid var(--line);vertical-align:top}"
	"th{color:var(--dim);font-weight:600;font-size:13px}td.n,th.n{text-align:right;"
	"white-space:nowrap;font-variant-numeric:tabular-nums}td.t{word-break:break-all;min-width:220px}"
	"td.id,td:first-child{white-space:nowrap}tr.bad "
	"td:first-child{color:var(--bad);font-weight:600}\n"
	"</style>\n</head>\n<body>\n";

static void esc(FILE *to, const char *s)
{
	rc_put_html(to, s, strlen(s));
}

static void key(FILE *to, const char *var, const char *text)
{
	fprintf(to, "<span><i style=\"--c:var(--%s)\"></i>", var);
	esc(to, text);
	fputs("</span>", to);
}

/* ---- top ------------------------------------------------------------------------------------ */

static void put_banner(FILE *to, const struct rc_model *m)
{
	const struct rc_result *res = &m->res;
	uint64_t rest =
		res->verdict[RC_DIFFERS] + res->verdict[RC_ONLY_A] + res->verdict[RC_ONLY_B];
	char n[32];

	if (rc_nothing_matched(m))
		fputs("<div class=\"banner\" style=\"--c:var(--bad)\">Nothing matched: is it the "
		      "same "
		      "traffic?</div>\n",
		      to);
	else if (res->unexplained)
		fprintf(to, "<div class=\"banner\" style=\"--c:var(--bad)\">%s unexplained</div>\n",
			rc_text_n(n, sizeof(n), res->unexplained));
	else
		fprintf(to, "<div class=\"banner\" style=\"--c:var(--good)\">%s</div>\n",
			rest ? "Every difference is explained" : "The two sides agree");
}

static void put_tiles(FILE *to, const struct rc_model *m)
{
	static const char *const var[RC_VERDICTS] = { "match", "differs", "a", "b", "amb" };
	char name[64], n[32];

	fputs("<div class=\"tiles\">\n", to);
	for (int i = 0; i < RC_VERDICTS; i++) {
		fprintf(to, "<div class=\"tile\" style=\"--c:var(--%s)\"><b>%s</b>", var[i],
			rc_text_n(n, sizeof(n), m->res.verdict[i]));
		esc(to, rc_text_verdict(name, sizeof(name), m, i));
		fputs("</div>\n", to);
	}
	fputs("</div>\n", to);
}

static void put_sides(FILE *to, const struct rc_model *m)
{
	char n[32];

	fputs("<h2>The two sides</h2><div class=\"wide\"><table><tr><th>Side<th>Input<th>Format"
	      "<th class=\"n\">Transactions<th class=\"n\">Second views<th class=\"n\">Connections"
	      "<th class=\"n\">Rejected lines<th>From<th>To</tr>\n",
	      to);
	for (int s = 0; s < 2; s++) {
		const struct rc_side *sd = &m->side[s];

		fputs("<tr><td><b>", to);
		esc(to, sd->name);
		fputs("</b><td class=\"t mono\">", to);
		for (uint32_t i = 0; i < m->conf->path_n[s] && i < 20; i++) {
			fputs(i ? "<br>" : "", to);
			esc(to, m->conf->path[s][i]);
		}
		fputs("<td>", to);
		esc(to, sd->format ? sd->format : "");
		fprintf(to, "<td class=\"n\">%s", rc_text_n(n, sizeof(n), sd->row_n));
		fprintf(to, "<td class=\"n\">%s", rc_text_n(n, sizeof(n), sd->folded));
		fprintf(to, "<td class=\"n\">%s", rc_text_n(n, sizeof(n), sd->conns));
		fprintf(to, "<td class=\"n\">%s<td class=\"mono\">",
			rc_text_n(n, sizeof(n), sd->bad));
		rc_put_time(to, sd->first_ns);
		fputs("<td class=\"mono\">", to);
		rc_put_time(to, sd->last_ns);
		fputs("</tr>\n", to);
	}
	fputs("</table></div>\n", to);
}

static void put_clock(FILE *to, const struct rc_model *m)
{
	const struct rc_clock *ck = &m->clock;
	char a[32], b[32];

	fputs("<h2>Clocks</h2><p>", to);
	if (!ck->estimated) {
		fprintf(to, "Unestimated: %u certain pairs, %u are needed; taken as equal.</p>\n",
			ck->n, RC_CLOCK_MIN);
		return;
	}
	esc(to, m->side[1].name);
	fputs(" − ", to);
	esc(to, m->side[0].name);
	fprintf(to, " = <b>%s</b>", rc_text_ns(a, sizeof(a), ck->offset));
	if (ck->piecewise)
		fputs(", stepped (followed piecewise)", to);
	else if (ck->drift_known)
		fprintf(to, ", drift <b>%.2f ppm</b>", ck->drift * 1e6);
	fprintf(to, ", what is left (MAD) %s, from %u pairs.</p>\n",
		rc_text_ns(b, sizeof(b), ck->mad), ck->n);
}

/* ---- charts --------------------------------------------------------------------------------- */

static void put_wilson(FILE *to, const struct rc_model *m)
{
	const struct rc_result *res = &m->res;
	uint64_t both = res->verdict[RC_MATCH] + res->verdict[RC_DIFFERS];
	uint64_t a = both + res->reason_in_scope[0], b = both + res->reason_in_scope[1];
	double lo, hi, all = rc_chapman(a, b, both), lost = all - (double)(a + b - both);

	fputs("<p>", to);
	for (int s = 0; s < 2; s++) {
		uint64_t of = s ? a : b;

		rc_wilson(both, of, &lo, &hi);
		if (!of)
			continue;
		esc(to, m->side[s].name);
		fprintf(to, " saw <b>%.4f %%</b> of what was in its sight (95 %%: %.4f – %.4f). ",
			100.0 * (double)both / (double)of, 100 * lo, 100 * hi);
	}
	if (both && lost >= 0.5)
		fprintf(to, "Missed by both, estimated (capture–recapture): <b>%.0f</b>.", lost);
	fputs("</p>\n", to);
}

static void put_charts(FILE *to, const struct rc_model *m)
{
	char name[64];

	fputs("<h2>Coverage</h2>\n", to);
	rc_svg_coverage(to, m);
	fputs("<div class=\"key\">", to);
	key(to, "match", "seen, equal");
	key(to, "differs", "seen, different");
	key(to, "only", "missed, explained");
	key(to, "bad", "missed, unexplained");
	key(to, "amb", "ambiguous");
	key(to, "out", "out of its sight");
	fputs("</div>\n", to);
	put_wilson(to, m);
	fputs("<h2>Over time</h2>\n", to);
	rc_svg_time(to, m);
	fputs("<div class=\"key\">", to);
	key(to, "match", "match");
	key(to, "differs", "differs");
	key(to, "a", rc_text_verdict(name, sizeof(name), m, RC_ONLY_A));
	key(to, "b", rc_text_verdict(name, sizeof(name), m, RC_ONLY_B));
	key(to, "amb", "ambiguous");
	fputs("</div>\n<h2>Differences by field</h2>\n", to);
	rc_svg_fields(to, m);
	fputs("<h2>Time to first byte, ", to);
	esc(to, m->side[1].name);
	fputs(" − ", to);
	esc(to, m->side[0].name);
	fputs("</h2>\n", to);
	rc_svg_latency(to, m);
}

static void put_latency_table(FILE *to, const struct rc_model *m)
{
	const struct rc_hist *h[] = { &m->res.ttfb, &m->res.dur, &m->res.req_lag, &m->res.res_lag };
	static const char *const what[] = { "time to first byte", "duration",
					    "request: host after wire",
					    "response: host after wire" };
	static const double at[] = { 0.01, 0.5, 0.9, 0.99 };
	char buf[32];

	if (!m->res.ttfb.n && !m->res.dur.n)
		return;
	fputs("<div class=\"wide\"><table><tr><th>Difference<th class=\"n\">Pairs<th class=\"n\">p1"
	      "<th class=\"n\">p50<th class=\"n\">p90<th class=\"n\">p99</tr>\n",
	      to);
	for (int i = 0; i < 4; i++) {
		if (!h[i]->n)
			continue;
		fprintf(to, "<tr><td>%s<td class=\"n\">%s", what[i],
			rc_text_n(buf, sizeof(buf), h[i]->n));
		for (int k = 0; k < 4; k++)
			fprintf(to, "<td class=\"n\">%s",
				rc_text_ns(buf, sizeof(buf), rc_hist_at(h[i], at[k])));
		fputs("</tr>\n", to);
	}
	fputs("</table></div>\n", to);
}

/* ---- tables --------------------------------------------------------------------------------- */

static void put_reasons(FILE *to, const struct rc_model *m)
{
	static const int verdict[3] = { RC_DIFFERS, RC_ONLY_A, RC_ONLY_B };
	char name[64], n[32];
	bool any = false;

	fputs("<h2>Reasons</h2>\n", to);
	for (int i = 0; i < 3; i++)
		for (int why = 0; why < RC_WHY_MAX; why++) {
			if (!m->res.reason[i][why])
				continue;
			if (!any)
				fputs("<div class=\"wide\"><table><tr><th>Verdict<th>Reason"
				      "<th class=\"n\">Transactions<th>Meaning</tr>\n",
				      to);
			any = true;
			fprintf(to, "<tr%s><td>", why ? "" : " class=\"bad\"");
			esc(to, rc_text_verdict(name, sizeof(name), m, verdict[i]));
			fprintf(to, "<td class=\"mono\">%s<td class=\"n\">%s<td>%s</tr>\n",
				rc_reason_name(why), rc_text_n(n, sizeof(n), m->res.reason[i][why]),
				rc_reason_help(why));
		}
	fputs(any ? "</table></div>\n" : "<p class=\"dim\">Nothing to explain.</p>\n", to);
}

static void put_nat(FILE *to, const struct rc_model *m)
{
	char e[64];

	if (!m->res.nat_n)
		return;
	fputs("<h2>Other addresses, same bytes (NAT, VIP)</h2><div class=\"wide\"><table><tr><th>",
	      to);
	esc(to, m->side[0].name);
	fputs("<th>", to);
	esc(to, m->side[1].name);
	fputs("<th class=\"n\">Transactions</tr>\n", to);
	for (uint32_t i = 0; i < m->res.nat_n && i < 50; i++) {
		const struct rc_nat *nat = &m->res.nat[i];

		fputs("<tr>", to);
		for (int s = 0; s < 2; s++) {
			fprintf(to, "<td class=\"mono\">%s",
				rc_text_end(e, sizeof(e), &m->net, nat->conn[s], 0));
			fprintf(to, " – %s", rc_text_end(e, sizeof(e), &m->net, nat->conn[s], 1));
		}
		fprintf(to, "<td class=\"n\">%" PRIu64 "</tr>\n", nat->n);
	}
	fputs("</table></div>\n", to);
}

static void put_sample(FILE *to, struct rc_model *m, const struct rc_sample *sm,
		       struct rc_detail *det)
{
	int s = sm->row[0] == RC_NONE;
	const struct rc_row *row = &m->side[s].row[sm->row[s]];
	const struct osp_record *rec = &det->rr.rec;
	char text[300], name[64], e[64];

	if (rc_detail_read(det, &m->side[s].store, row->off))
		return;
	fprintf(to, "<tr%s><td>", sm->reason == RC_WHY_UNEXPLAINED ? " class=\"bad\"" : "");
	esc(to, rc_text_verdict(name, sizeof(name), m, sm->verdict));
	fprintf(to, "<td>%s<td class=\"t mono\">",
		sm->verdict == RC_AMBIGUOUS ? "" : rc_reason_name(sm->reason));
	esc(to, rc_text_txn(text, sizeof(text), rec));
	fputs("<td class=\"mono\">", to);
	for (int i = 0; i < RC_FIELDS; i++)
		if (sm->fields & 1u << i)
			fprintf(to, "%s<br>", rc_field_name(i));
	fprintf(to, "<td class=\"mono id\">%s<br>",
		rc_text_end(e, sizeof(e), &m->net, sm->conn[s], row->client_b));
	fprintf(to, "%s<td class=\"mono id\">",
		rc_text_end(e, sizeof(e), &m->net, sm->conn[s], !row->client_b));
	rc_put_time(to, rec->ts_ns);
	fprintf(to, "<br><span class=\"dim\">%016" PRIx64 "%016" PRIx64 "</span></tr>\n",
		rec->id[0], rec->id[1]);
}

static void put_samples(FILE *to, struct rc_model *m)
{
	struct rc_detail det = { 0 };
	const struct rc_result *res = &m->res;

	if (!res->sample_n)
		return;
	fprintf(to,
		"<h2>The first %u of them</h2>\n<p class=\"dim\">recon-diff --explain ID with the "
		"same files shows both sides of one.</p><div class=\"wide\"><table><tr><th>Verdict"
		"<th>Reason<th>Transaction<th>Fields<th>Client, server<th>Time, id</tr>\n",
		res->sample_n);
	for (int pass = 0; pass < 2; pass++)
		for (uint32_t i = 0; i < res->sample_n; i++)
			if ((res->sample[i].reason != RC_WHY_UNEXPLAINED) == pass)
				put_sample(to, m, &res->sample[i], &det);
	fputs("</table></div>\n", to);
	rc_detail_fini(&det);
}

int rc_report_html(struct rc_model *m, const char *path)
{
	FILE *to = fopen(path, "we");
	int err;

	if (!to)
		return -errno;
	fputs(head, to);
	fputs("<h1>", to);
	esc(to, m->side[0].name);
	fputs(" against ", to);
	esc(to, m->side[1].name);
	fputs("</h1>\n<div class=\"dim\">recon-diff " OSP_VERSION "</div>\n", to);
	put_banner(to, m);
	put_tiles(to, m);
	put_charts(to, m);
	put_latency_table(to, m);
	put_reasons(to, m);
	put_nat(to, m);
	put_samples(to, m);
	put_clock(to, m);
	put_sides(to, m);
	fputs("</body>\n</html>\n", to);
	err = ferror(to) ? -EIO : 0;
	if (fclose(to))
		err = -EIO;
	return err;
}
