/* SPDX-License-Identifier: GPL-3.0-or-later */
/* run.c: read both sides, join, match, judge, report. */
#include "recon/run.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static int complain(const char *what, int err)
{
	fprintf(stderr, "recon-diff: %s: %s\n", what, strerror(err < 0 ? -err : err));
	return -EINVAL;
}

/* ---- reading -------------------------------------------------------------------------------- */

static void *read_side(void *arg)
{
	return (void *)(intptr_t)rc_side_read(arg);
}

static bool is_live(const struct rc_conf *conf, int s)
{
	for (uint32_t i = 0; i < conf->path_n[s]; i++)
		if (rc_is_live(conf->path[s][i]))
			return true;
	return false;
}

/* A file beside an interface is one that is being written: it is read when the capture has ended. */
static void read_sides(struct rc_model *m, int err[2])
{
	bool live[2] = { is_live(m->conf, 0), is_live(m->conf, 1) };
	int first = live[1] && !live[0];
	pthread_t thread;
	void *other = NULL;

	if (live[0] != live[1]) {
		err[first] = rc_side_read(&m->side[first]);
		err[!first] = err[first] ? 0 : rc_side_read(&m->side[!first]);
		return;
	}
	/* Standard input for both would be one stream cut in two. */
	if (pthread_create(&thread, NULL, read_side, &m->side[1])) {
		err[0] = rc_side_read(&m->side[0]);
		err[1] = rc_side_read(&m->side[1]);
		return;
	}
	err[0] = rc_side_read(&m->side[0]);
	pthread_join(thread, &other);
	err[1] = (int)(intptr_t)other;
}

/* SIGINT and SIGTERM end a capture, and then the comparison is made; both sides look at one
 * descriptor and neither reads it.
 */
static int read_both(struct rc_model *m)
{
	bool live = is_live(m->conf, 0) || is_live(m->conf, 1);
	struct signalfd_siginfo si;
	sigset_t set, before;
	int err[2], fd = -1;

	if (live) {
		sigemptyset(&set);
		sigaddset(&set, SIGINT);
		sigaddset(&set, SIGTERM);
		pthread_sigmask(SIG_BLOCK, &set, &before);
		fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
		if (fd < 0)
			return complain("signals", errno);
		m->side[0].stop_fd = m->side[1].stop_fd = fd;
	}
	read_sides(m, err);
	if (live) {
		while (read(fd, &si, sizeof(si)) > 0)
			;
		close(fd);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	for (int s = 0; s < 2; s++) {
		if (err[s]) {
			if (!m->side[s].said)
				fprintf(stderr, "recon-diff: %s\n", m->side[s].err);
			return err[s];
		}
	}
	return 0;
}

/* Without a ledger the time a side covers is known by its records only: it is taken to reach three
 * mean distances (an hour at most) beyond the first and last of them, or a second where there is
 * one record.
 */
#define SLACK_MAX (3600 * RC_NS_PER_S)
static void set_window(struct rc_side *sd)
{
	int64_t span, slack = RC_NS_PER_S;

	if (sd->first_ns > sd->last_ns || sd->has_led)
		return;
	span = sd->last_ns - sd->first_ns;
	if (sd->row_n > 1 && span > 0)
		slack = span / (sd->row_n - 1) < SLACK_MAX / 3 ? 3 * (span / (sd->row_n - 1)) :
								 SLACK_MAX;
	sd->first_ns = rc_time_add(sd->first_ns, -slack);
	sd->last_ns = rc_time_add(sd->last_ns, slack);
}

static void set_kind(struct rc_side *sd)
{
	if (sd->kind != RC_KIND_UNKNOWN)
		return;
	sd->kind = sd->vantage[OSP_VANTAGE_WIRE] > sd->vantage[OSP_VANTAGE_SYSCALL] +
							   sd->vantage[OSP_VANTAGE_TLS] +
							   sd->vantage[OSP_VANTAGE_SYNTHETIC]
			   ? RC_KIND_WIRE
			   : RC_KIND_HOST;
}

static void set_names(struct rc_model *m)
{
	static const char *const names[] = { "A", "host", "wire", "client" };
	static const char *const letters[] = { "A", "B" };
	bool alike = m->side[0].kind == m->side[1].kind;

	for (int s = 0; s < 2; s++) {
		struct rc_side *sd = &m->side[s];

		sd->name = m->conf->name[s]                       ? m->conf->name[s]
			   : alike || sd->kind == RC_KIND_UNKNOWN ? letters[s]
								  : names[sd->kind];
	}
}

/* ---- reports -------------------------------------------------------------------------------- */

static int report(struct rc_model *m)
{
	const struct rc_conf *conf = m->conf;
	int err = 0;

	if (!conf->quiet)
		rc_report_text(m, conf->jsonl && !strcmp(conf->jsonl, "-") ? stderr : stdout);
	if (conf->summary_json) {
		err = rc_report_summary(m, conf->summary_json);
		if (err)
			return complain(conf->summary_json, err);
	}
	if (conf->junit) {
		err = rc_report_junit(m, conf->junit);
		if (err)
			return complain(conf->junit, err);
	}
	if (conf->html) {
		err = rc_report_html(m, conf->html);
		if (err)
			return complain(conf->html, err);
	}
	if (fflush(stdout))
		return complain("standard output", errno);
	return 0;
}

static int judge(struct rc_model *m)
{
	struct rc_jsonl *jl = NULL;
	char why[512];
	int err;

	if (m->conf->jsonl && rc_jsonl_open(&jl, m->conf->jsonl, why, sizeof(why))) {
		fprintf(stderr, "recon-diff: %s\n", why);
		return -EINVAL;
	}
	err = rc_judge(m, jl ? rc_jsonl_view : NULL, jl);
	if (err == -EILSEQ)
		fprintf(stderr, "recon-diff: sums do not close: a bug of recon-diff\n");
	else if (err)
		complain("reading records again", err);
	if (rc_jsonl_close(jl) && !err)
		err = complain(m->conf->jsonl, EIO);
	return err;
}

static int explain(struct rc_model *m)
{
	int err = rc_explain(m, stdout);

	if (err == -ENOENT)
		fprintf(stderr, "recon-diff: no transaction with the id %s on either side\n",
			m->conf->explain);
	else if (err)
		complain("explain", err);
	return err ? err : rc_exit(m);
}

static int work(struct rc_model *m)
{
	double begun = now(), read_end;
	int err = read_both(m);

	if (err)
		return err;
	for (int s = 0; s < 2; s++) {
		set_kind(&m->side[s]);
		set_window(&m->side[s]);
	}
	set_names(m);
	read_end = now();
	err = rc_model_join(m);
	if (!err)
		err = rc_match(m);
	if (err)
		return complain("matching", err);
	if (m->conf->explain)
		return explain(m);
	err = judge(m);
	if (err)
		return err;
	m->res.seconds = now() - begun;
	m->res.read_seconds = read_end - begun;
	m->res.match_seconds = m->res.seconds - m->res.read_seconds;
	err = report(m);
	return err ? err : rc_exit(m);
}

int rc_run(const struct rc_conf *conf)
{
	struct rc_model *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return 2;
	m->conf = conf;
	for (int s = 0; s < 2; s++) {
		m->side[s] = (struct rc_side){ .conf = conf,
					       .idx = s,
					       .first_ns = INT64_MAX,
					       .last_ns = INT64_MIN,
					       .explain_off = UINT64_MAX,
					       .stop_fd = -1,
					       .store = { .spool = -1 } };
	}
	rc = work(m);
	rc_model_fini(m);
	free(m);
	return rc < 0 ? 2 : rc;
}
