/* SPDX-License-Identifier: GPL-3.0-or-later */
/* report_junit.c: the result as a JUnit XML file, for CI systems that show those: one test case for
 * each thing that can be wrong, and the first pairs of it in its failure.
 */
#include "recon/recon.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define SHOWN 20

struct suite {
	struct rc_model *m;
	FILE *to;
	struct rc_detail det;
};

/* The samples of a kind as lines: "id  GET /a -> 200". */
static void put_samples(struct suite *su, int verdict, int reason)
{
	const struct rc_result *res = &su->m->res;
	char text[256];
	int shown = 0;

	for (uint32_t i = 0; i < res->sample_n && shown < SHOWN; i++) {
		const struct rc_sample *sm = &res->sample[i];
		int s = sm->row[0] == RC_NONE;

		if (sm->verdict != verdict || sm->reason != reason ||
		    rc_detail_read(&su->det, &su->m->side[s].store,
				   su->m->side[s].row[sm->row[s]].off))
			continue;
		rc_text_txn(text, sizeof(text), &su->det.rr.rec);
		fprintf(su->to, "%016" PRIx64 "%016" PRIx64 "  ", su->det.rr.rec.id[0],
			su->det.rr.rec.id[1]);
		rc_put_html(su->to, text, strlen(text));
		fputc('\n', su->to);
		shown++;
	}
}

/* fail: the number counts against the result; otherwise it is told as skipped, with its reason. */
static void put_case(struct suite *su, int verdict, int reason, uint64_t n, bool fail)
{
	char name[64];

	rc_text_verdict(name, sizeof(name), su->m, verdict);
	fputs("  <testcase classname=\"recon.", su->to);
	rc_put_html(su->to, name, strlen(name));
	fprintf(su->to, "\" name=\"%s\">",
		verdict == RC_AMBIGUOUS ? "undecided" : rc_reason_name(reason));
	if (n && fail) {
		fprintf(su->to, "<failure message=\"%" PRIu64 " transactions\">", n);
		put_samples(su, verdict, reason);
		fputs("</failure>", su->to);
	} else if (n) {
		fprintf(su->to, "<skipped message=\"%" PRIu64 " transactions: %s\"/>", n,
			rc_reason_help(reason));
	}
	fputs("</testcase>\n", su->to);
}

int rc_report_junit(struct rc_model *m, const char *path)
{
	static const int verdict[3] = { RC_DIFFERS, RC_ONLY_A, RC_ONLY_B };
	const struct rc_result *res = &m->res;
	struct suite su = { .m = m, .to = fopen(path, "we") };
	int tests = 4, failures = !!res->verdict[RC_AMBIGUOUS], skipped = 0, err;
	bool strict = m->conf->strict;

	if (!su.to)
		return -errno;
	for (int i = 0; i < 3; i++) {
		failures += !!res->reason[i][RC_WHY_UNEXPLAINED];
		for (int why = 1; why < RC_WHY_MAX; why++) {
			tests += !!res->reason[i][why];
			*(strict ? &failures : &skipped) += !!res->reason[i][why];
		}
	}
	fprintf(su.to,
		"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"recon-diff\" "
		"tests=\"%d\" failures=\"%d\" errors=\"0\" skipped=\"%d\" time=\"%.3f\">\n",
		tests, failures, skipped, res->seconds);
	for (int i = 0; i < 3; i++)
		for (int why = 0; why < RC_WHY_MAX; why++)
			if (!why || res->reason[i][why])
				put_case(&su, verdict[i], why, res->reason[i][why], !why || strict);
	put_case(&su, RC_AMBIGUOUS, 0, res->verdict[RC_AMBIGUOUS], true);
	fputs("</testsuite>\n", su.to);
	err = ferror(su.to) ? -EIO : 0;
	if (fclose(su.to))
		err = -EIO;
	rc_detail_fini(&su.det);
	return err;
}
