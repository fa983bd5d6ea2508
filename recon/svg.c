/* SPDX-License-Identifier: GPL-3.0-or-later */
/* svg.c: four charts by hand. All are WIDTH units wide and scale with the page. */
#include "recon/svg.h"

#include <inttypes.h>
#include <string.h>

#define WIDTH 760

static void begin(FILE *to, int height, const char *label)
{
	fprintf(to, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n", WIDTH, height,
		label);
}

static void text(FILE *to, double x, double y, const char *anchor, const char *cls, const char *s)
{
	fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" class=\"%s\">", x, y, anchor,
		cls);
	rc_put_html(to, s, strlen(s));
	fputs("</text>\n", to);
}

static void rect(FILE *to, double x, double y, double w, double h, const char *cls,
		 const char *title)
{
	if (w <= 0 || h <= 0)
		return;
	fprintf(to,
		"<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" class=\"%s\"><title>",
		x, y, w, h, cls);
	rc_put_html(to, title, strlen(title));
	fputs("</title></rect>\n", to);
}

static void line(FILE *to, double x1, double y1, double x2, double y2)
{
	fprintf(to, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"axis\"/>\n", x1,
		y1, x2, y2);
}

/* ---- coverage ------------------------------------------------------------------------------- */

struct part {
	uint64_t n;
	const char *cls, *what;
};

/* What side s saw of all that the other one has. */
static void coverage_row(FILE *to, const struct rc_model *m, int s, double y)
{
	const struct rc_result *res = &m->res;
	const uint64_t *why = res->reason[1 + !s];
	uint64_t only = res->verdict[s ? RC_ONLY_A : RC_ONLY_B], total = 0;
	struct part part[] = {
		{ res->verdict[RC_MATCH], "c-match", "seen, equal" },
		{ res->verdict[RC_DIFFERS], "c-differs", "seen, different" },
		{ res->reason_in_scope[!s] - why[RC_WHY_UNEXPLAINED], "c-only",
		  "missed, explained" },
		{ why[RC_WHY_UNEXPLAINED], "c-bad", "missed, unexplained" },
		{ res->ambiguous_side[!s], "c-amb", "ambiguous" },
		{ only - res->reason_in_scope[!s], "c-out", "out of its sight" },
	};
	double x = 150, width = WIDTH - 160;
	char label[96], n[32], title[128];

	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
		total += part[i].n;
	snprintf(label, sizeof(label), "%s saw of %s", m->side[s].name, m->side[!s].name);
	text(to, 140, y + 21, "end", "label", label);
	if (!total)
		text(to, x, y + 21, "start", "dim", "nothing to see");
	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]) && total; i++) {
		double w = width * (double)part[i].n / (double)total;

		/* What is there stays visible however rare it is. */
		if (part[i].n && w < 2)
			w = 2;
		snprintf(title, sizeof(title), "%s: %s (%.4f %%)", part[i].what,
			 rc_text_n(n, sizeof(n), part[i].n),
			 100.0 * (double)part[i].n / (double)total);
		rect(to, x, y, w, 32, part[i].cls, title);
		x += w;
	}
}

void rc_svg_coverage(FILE *to, const struct rc_model *m)
{
	begin(to, 92, "Coverage both ways");
	coverage_row(to, m, 0, 4);
	coverage_row(to, m, 1, 50);
	fputs("</svg>\n", to);
}

/* ---- fields --------------------------------------------------------------------------------- */

void rc_svg_fields(FILE *to, const struct rc_model *m)
{
	const struct rc_result *res = &m->res;
	uint64_t max = 0;
	int rows = 0;
	double y = 4;
	char n[32], title[128];

	for (int i = 0; i < RC_FIELDS; i++) {
		uint64_t sum = res->field[i] + res->field_uncertain[i];

		rows += !!sum;
		max = sum > max ? sum : max;
	}
	if (!rows) {
		fputs("<p class=\"dim\">No field differs in any pair.</p>\n", to);
		return;
	}
	begin(to, rows * 26 + 8, "Differences by field");
	for (int i = 0; i < RC_FIELDS; i++) {
		double sure = (WIDTH - 300) * (double)res->field[i] / (double)max;
		double unsure = (WIDTH - 300) * (double)res->field_uncertain[i] / (double)max;

		if (!(res->field[i] + res->field_uncertain[i]))
			continue;
		text(to, 205, y + 14, "end", "label mono", rc_field_name(i));
		snprintf(title, sizeof(title), "%s differs in %s pairs", rc_field_name(i),
			 rc_text_n(n, sizeof(n), res->field[i]));
		rect(to, 214, y, sure, 19, "c-differs", title);
		snprintf(title, sizeof(title), "%s uncertain in %s pairs: bytes are missing",
			 rc_field_name(i), rc_text_n(n, sizeof(n), res->field_uncertain[i]));
		rect(to, 214 + sure, y, unsure, 19, "c-out", title);
		text(to, 222 + sure + unsure, y + 14, "start", "dim",
		     rc_text_n(n, sizeof(n), res->field[i] + res->field_uncertain[i]));
		y += 26;
	}
	fputs("</svg>\n", to);
}

/* ---- latency -------------------------------------------------------------------------------- */

/* Classes of the difference, 1-2-5 a decade, from 1 us to 1 s on both sides of "less than 1 us". */
static const int64_t edges[] = {
	1000,     2000,      5000,      10000,     20000,      50000,    100000,
	200000,   500000,    1000000,   2000000,   5000000,    10000000, 20000000,
	50000000, 100000000, 200000000, 500000000, 1000000000,
};
#define EDGES ((int)(sizeof(edges) / sizeof(edges[0])))
#define CLASSES (2 * EDGES + 1)

/* The middle of histogram bin i, in ns (stat.c). */
static int64_t bin_ns(int i)
{
	int octave = i / RC_HIST_SUB;

	return octave < 62 ? (int64_t)((1ull << octave) +
				       (((1ull << octave) *
					 (2u * (unsigned int)(i % RC_HIST_SUB) + 1)) /
					16))
			   : INT64_MAX;
}

static int class_of(int64_t ns)
{
	int k = 0;

	while (k < EDGES && ns >= edges[k])
		k++;
	return k;
}

static void latency_classes(const struct rc_hist *h, uint64_t out[CLASSES])
{
	memset(out, 0, CLASSES * sizeof(*out));
	out[EDGES] = h->zero;
	for (int i = 0; i < RC_HIST_BINS; i++) {
		int k = class_of(bin_ns(i));

		out[EDGES + k] += h->pos[i];
		out[EDGES - k] += h->neg[i];
	}
}

static void latency_axis(FILE *to, double base, double step, int from, int till)
{
	for (int k = from; k <= till; k++) {
		int e = k > EDGES ? k - EDGES - 1 : EDGES - k - 1;
		char buf[32], label[40];
		int64_t v;

		/* A label at each power of ten and in the middle. */
		if (k != EDGES && e % 3)
			continue;
		v = k == EDGES ? 0 : edges[e];
		snprintf(label, sizeof(label), "%s%s",
			 k == EDGES  ? ""
			 : k > EDGES ? "+"
				     : "-",
			 k == EDGES ? "0" : rc_text_ns(buf, sizeof(buf), v));
		text(to, 20 + (k - from + 0.5) * step, base + 16, "middle", "dim", label);
	}
}

void rc_svg_latency(FILE *to, const struct rc_model *m)
{
	const struct rc_hist *h = &m->res.ttfb;
	uint64_t class[CLASSES], max = 0;
	int from = EDGES - 3, till = EDGES + 3;
	double base = 170, step;
	char title[160], lo[32], n[32];

	if (!h->n) {
		fputs("<p class=\"dim\">No pair has the time to first byte on both sides.</p>\n",
		      to);
		return;
	}
	latency_classes(h, class);
	for (int i = 0; i < CLASSES; i++) {
		max = class[i] > max ? class[i] : max;
		if (class[i] && i < from)
			from = i;
		if (class[i] && i > till)
			till = i;
	}
	step = (WIDTH - 40.0) / (till - from + 1);
	begin(to, 196, "Distribution of the latency difference");
	line(to, 20, base, WIDTH - 20, base);
	for (int i = from; i <= till; i++) {
		double height = 150.0 * (double)class[i] / (double)max;
		int k = i > EDGES ? i - EDGES - 1 : EDGES - i - 1;

		if (class[i] && height < 1.5)
			height = 1.5;
		if (i == EDGES)
			snprintf(title, sizeof(title), "less than 1 us: %s pairs",
				 rc_text_n(n, sizeof(n), class[i]));
		else
			snprintf(title, sizeof(title), "%s longer, from %s: %s pairs",
				 m->side[i > EDGES].name, rc_text_ns(lo, sizeof(lo), edges[k]),
				 rc_text_n(n, sizeof(n), class[i]));
		rect(to, 20 + (i - from) * step + 1, base - height, step - 2, height, "c-match",
		     title);
	}
	latency_axis(to, base, step, from, till);
	fputs("</svg>\n", to);
}

/* ---- time ----------------------------------------------------------------------------------- */

static const struct {
	int verdict;
	const char *cls;
} stack[] = {
	{ RC_DIFFERS, "c-differs" },
	{ RC_ONLY_A, "c-a" },
	{ RC_ONLY_B, "c-b" },
	{ RC_AMBIGUOUS, "c-amb" },
};
#define STACK (sizeof(stack) / sizeof(stack[0]))

static uint64_t time_max(const struct rc_model *m, bool match)
{
	uint64_t max = 0;

	for (int t = 0; t < RC_TIME_BINS; t++) {
		uint64_t n = m->res.line[RC_MATCH][t];

		for (size_t k = 0; k < STACK && !match; k++)
			n = (k ? n : 0) + m->res.line[stack[k].verdict][t];
		max = n > max ? n : max;
	}
	return max;
}

static void time_bin(FILE *to, const struct rc_model *m, int t, uint64_t max_match,
		     uint64_t max_rest)
{
	double step = (WIDTH - 90.0) / RC_TIME_BINS, x = 70 + t * step, y = 190;
	char title[160], name[64], n[32], at[32];
	int64_t span = m->res.to - m->res.from;

	rc_text_ns(at, sizeof(at), span / RC_TIME_BINS * t);
	if (max_match) {
		double h = 55.0 * (double)m->res.line[RC_MATCH][t] / (double)max_match;

		snprintf(title, sizeof(title), "+%s: match %s", at,
			 rc_text_n(n, sizeof(n), m->res.line[RC_MATCH][t]));
		rect(to, x, 70 - h, step - 0.6, h, "c-match", title);
	}
	for (size_t k = 0; k < STACK && max_rest; k++) {
		uint64_t v = m->res.line[stack[k].verdict][t];
		double h = 90.0 * (double)v / (double)max_rest;

		if (v && h < 1.5)
			h = 1.5;
		rc_text_verdict(name, sizeof(name), m, stack[k].verdict);
		snprintf(title, sizeof(title), "+%s: %s %s", at, name, rc_text_n(n, sizeof(n), v));
		rect(to, x, y - h, step - 0.6, h, stack[k].cls, title);
		y -= h;
	}
}

void rc_svg_time(FILE *to, const struct rc_model *m)
{
	uint64_t match = time_max(m, true), rest = time_max(m, false);
	char n[40], buf[32];

	begin(to, 212, "Matches and differences over time");
	line(to, 70, 70, WIDTH - 20, 70);
	line(to, 70, 190, WIDTH - 20, 190);
	text(to, 62, 24, "end", "dim", rc_text_n(n, sizeof(n), match));
	text(to, 62, 70, "end", "dim", "match");
	text(to, 62, 110, "end", "dim", rc_text_n(n, sizeof(n), rest));
	text(to, 62, 190, "end", "dim", "other");
	for (int t = 0; t < RC_TIME_BINS; t++)
		time_bin(to, m, t, match, rest);
	text(to, 70, 207, "start", "dim", "0");
	snprintf(n, sizeof(n), "+%s", rc_text_ns(buf, sizeof(buf), m->res.to - m->res.from));
	text(to, WIDTH - 20, 207, "end", "dim", n);
	fputs("</svg>\n", to);
}
