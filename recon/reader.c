/* SPDX-License-Identifier: GPL-3.0-or-later */
/* reader.c: a side's files, whatever they are, to records, and on to rc_side_take(). What a file is
 * is told by its beginning, never by its name.
 */
#include "recon/foreign.h"
#include "recon/input.h"
#include "recon/json.h"
#include "recon/recon.h"
#include "recon/replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum format { F_UNKNOWN, F_EMPTY, F_RECORDS, F_ZEEK, F_ZEEK_JSON, F_EVE, F_HAR, F_OEV, F_PCAP,
	      F_IFACE };

struct reader {
	struct rc_side *sd;
	struct rc_rec rr;
	struct rc_foreign fo;
	char *json; /* a foreign record on its way to the temporary file */
	size_t json_cap;
	int err;        /* of a callback that cannot return one */
	uint64_t id[2]; /* what --explain looks for; id_digits of 32 count */
	int id_digits;
};

static bool contains(const char *p, size_t n, const char *what)
{
	return memmem(p, n, what, strlen(what)) != NULL;
}

static enum format detect(const char *p, size_t n)
{
	const char *nl;

	if (!n)
		return F_EMPTY;
	if (n >= 8 && !memcmp(p, "OSPREYEV", 8))
		return F_OEV;
	/* pcap in both byte orders, us and ns; pcapng. */
	if (n >= 4 && (!memcmp(p, "\xa1\xb2\xc3\xd4", 4) || !memcmp(p, "\xd4\xc3\xb2\xa1", 4) ||
		       !memcmp(p, "\xa1\xb2\x3c\x4d", 4) || !memcmp(p, "\x4d\x3c\xb2\xa1", 4) ||
		       !memcmp(p, "\x0a\x0d\x0d\x0a", 4)))
		return F_PCAP;
	if (n >= 10 && !memcmp(p, "#separator", 10))
		return F_ZEEK;
	if (n >= 3 && !memcmp(p, "\xef\xbb\xbf", 3)) { /* HAR files have been seen with a BOM */
		p += 3;
		n -= 3;
	}
	while (n && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) {
		p++;
		n--;
	}
	if (!n || *p != '{')
		return n ? F_UNKNOWN : F_EMPTY;
	nl = memchr(p, '\n', n);
	if (contains(p, nl ? (size_t)(nl - p) : n, "\"" OSP_RECORD_SCHEMA "\""))
		return F_RECORDS;
	if (contains(p, nl ? (size_t)(nl - p) : n, "\"event_type\""))
		return F_EVE;
	if (contains(p, nl ? (size_t)(nl - p) : n, "\"id.orig_h\""))
		return F_ZEEK_JSON;
	if (contains(p, n, "\"log\""))
		return F_HAR;
	/* A first line that was cut off (the file begins in the middle of a rotation). */
	return contains(p, n, "\"" OSP_RECORD_SCHEMA "\"") ? F_RECORDS : F_UNKNOWN;
}

static const char *format_name(enum format f)
{
	static const char *const names[] = {
		"unknown",      "empty", "records",         "Zeek http.log", "Zeek http.log (JSON)",
		"Suricata EVE", "HAR",   "event recording", "packet capture",
		"interface"
	};

	return names[f];
}

/* ---- taking --------------------------------------------------------------------------------- */

static void look_for(struct reader *rd, const struct osp_record *rec, uint64_t off)
{
	int d = rd->id_digits;
	uint64_t hi = d >= 16 ? ~0ull : ~(~0ull >> (4 * d));
	uint64_t lo = d <= 16 ? 0 : d >= 32 ? ~0ull : ~(~0ull >> (4 * (d - 16)));

	if (d && rec->kind == OSP_REC_TRANSACTION && !((rec->id[0] ^ rd->id[0]) & hi) &&
	    !((rec->id[1] ^ rd->id[1]) & lo) && rd->sd->explain_off == UINT64_MAX)
		rd->sd->explain_off = off;
}

/* A record that stands at off. Bad ones are counted; -ENOMEM and the like end the reading. */
static int take(struct reader *rd, const struct rc_rec *rr, uint64_t off)
{
	int err = rc_side_take(rd->sd, rr, off);

	if (err == -EBADMSG) {
		rd->sd->bad++;
		return 0;
	}
	if (!err)
		look_for(rd, &rr->rec, off);
	return err;
}

/* A record that exists nowhere: to the temporary file, then as any other. Only transactions are
 * ever read again.
 */
static int take_made(struct reader *rd, const struct rc_rec *rr)
{
	uint64_t off = 0;
	size_t n;
	int err;

	if (rr->rec.kind == OSP_REC_TRANSACTION) {
		while ((n = osp_record_json(&rr->rec, rd->json, rd->json_cap)) > rd->json_cap ||
		       !rd->json) {
			char *p = realloc(rd->json, n * 2);

			if (!p)
				return -ENOMEM;
			rd->json = p;
			rd->json_cap = n * 2;
		}
		err = rc_store_spool(&rd->sd->store, rd->json, n, &off);
		if (err)
			return err;
	}
	return take(rd, rr, off);
}

static int take_line(struct reader *rd, const char *line, size_t n, uint64_t off, bool spool)
{
	uint64_t at = off;
	int err = rc_rec_read(&rd->rr, line, n);

	if (err == -EPROTO) {
		rd->sd->bad++;
		return 0;
	}
	if (!err && spool && rd->rr.rec.kind == OSP_REC_TRANSACTION)
		err = rc_store_spool(&rd->sd->store, line, n, &at);
	return err ? err : take(rd, &rd->rr, at);
}

static int take_foreign(struct reader *rd, enum format f, const char *line, size_t n)
{
	int rc = f == F_ZEEK        ? rc_zeek_line(&rd->fo, line, n)
		 : f == F_ZEEK_JSON ? rc_zeek_json(&rd->fo, line, n)
				    : rc_eve_line(&rd->fo, line, n);

	if (rc == -EPROTO) {
		rd->sd->bad++;
		return 0;
	}
	if (rc != 1) {
		rd->sd->other += !rc;
		return rc;
	}
	return take_made(rd, &rd->fo.rr);
}

static int take_har(void *ctx, struct rc_foreign *fo)
{
	struct reader *rd = ctx;

	rd->sd->lines++;
	if (!fo->rr.rec.kind) {
		rd->sd->bad++;
		return 0;
	}
	return take_made(rd, &fo->rr);
}

/* From the tracker. Its ledger comes as counters, not as text: by way of JSON like all others. */
static void take_replayed(void *ctx, const struct osp_record *rec)
{
	struct reader *rd = ctx;
	size_t n;

	if (rd->err)
		return;
	rd->sd->lines++;
	while ((n = osp_record_json(rec, rd->json, rd->json_cap)) + RC_JS_PAD > rd->json_cap) {
		char *p = realloc(rd->json, (n + RC_JS_PAD) * 2);

		if (!p) {
			rd->err = -ENOMEM;
			return;
		}
		rd->json = p;
		rd->json_cap = (n + RC_JS_PAD) * 2;
	}
	memset(rd->json + n, 0, RC_JS_PAD);
	rd->err = take_line(rd, rd->json, n, 0, true);
}

/* ---- files ---------------------------------------------------------------------------------- */

static int read_lines(struct reader *rd, struct rc_input *in, enum format f)
{
	bool spool = f == F_RECORDS && !rc_input_again(in);
	uint64_t base = 0, size, off;
	const char *line;
	size_t n;
	int rc, fd;

	if (f == F_RECORDS && !spool) {
		fd = rc_input_dup(in, &size);
		if (fd < 0)
			return fd;
		rc = rc_store_add(&rd->sd->store, fd, size, &base);
		if (rc) {
			close(fd);
			return rc;
		}
	}
	while ((rc = rc_input_line(in, &line, &n, &off)) > 0) {
		rd->sd->lines++;
		if (!n)
			continue;
		/* A file that is still being written can be longer than it was. */
		if (f == F_RECORDS && !spool && off + n > size)
			break;
		rc = f == F_RECORDS ? take_line(rd, line, n, base + off, spool)
				    : take_foreign(rd, f, line, n);
		if (rc)
			break;
	}
	return rc > 0 ? 0 : rc;
}

static int read_har(struct reader *rd, struct rc_input *in)
{
	const char *text;
	size_t n;
	int rc = rc_input_all(in, &text, &n);

	if (rc)
		return rc;
	if (n >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) {
		text += 3;
		n -= 3;
	}
	return rc_har_all(&rd->fo, text, n, take_har, rd);
}

/* Opening a pipe a second time would lose what the first look at it took. */
static bool is_regular(const char *path)
{
	struct stat st;

	return strcmp(path, "-") && (stat(path, &st) || S_ISREG(st.st_mode));
}

bool rc_is_live(const char *path)
{
	return !strncmp(path, "iface:", 6) && path[6];
}

bool rc_is_capture(const char *path)
{
	struct rc_input *in = NULL;
	const char *head;
	char why[128];
	bool is = false;
	size_t n;

	if (!is_regular(path) || rc_input_open(&in, path, why, sizeof(why)))
		return false;
	head = rc_input_head(in, &n);
	is = detect(head, n) == F_PCAP;
	rc_input_close(in);
	return is;
}

static int read_events(struct reader *rd, const char *path, struct rc_input *in, enum format f)
{
	struct rc_side *sd = rd->sd;
	char why[160] = "";
	int rc;

	/* The wire source unpacks gzip by itself. */
	if (!rc_input_again(in) &&
	    !(f == F_PCAP && is_regular(path) && rc_input_packing(in) == RC_GZIP)) {
		snprintf(sd->err, sizeof(sd->err), "%s: a %s must be a plain file: unpack it first",
			 path, format_name(f));
		return -ENOTSUP;
	}
	rc = rc_replay(f == F_PCAP ? RC_REPLAY_PCAP : RC_REPLAY_OEV, path, NULL, take_replayed, rd,
		       why, sizeof(why));
	if (rd->err)
		return rd->err;
	sd->said = rc && !why[0];
	if (rc)
		snprintf(sd->err, sizeof(sd->err), "%s: %s", path, why);
	return rc;
}

static void set_format(struct rc_side *sd, enum format f)
{
	if (!sd->format) {
		sd->format = format_name(f);
		sd->native = true;
	}
	if (f != F_RECORDS && f != F_OEV && f != F_PCAP && f != F_IFACE)
		sd->native = false;
	if (f == F_ZEEK || f == F_ZEEK_JSON)
		sd->decoded_target = true;
	if (f == F_HAR)
		sd->kind = RC_KIND_CLIENT;
}

static int read_format(struct reader *rd, const char *path, struct rc_input *in, enum format f)
{
	switch (f) {
	case F_EMPTY:
		return 0;
	case F_UNKNOWN:
		snprintf(rd->sd->err, sizeof(rd->sd->err),
			 "%s: neither records, recording, capture, Zeek http.log, EVE nor HAR",
			 path);
		return -EINVAL;
	case F_HAR:
		return read_har(rd, in);
	case F_OEV:
	case F_PCAP:
		return read_events(rd, path, in, f);
	default:
		return read_lines(rd, in, f);
	}
}

static int read_file(struct reader *rd, const char *path, struct rc_input *in)
{
	struct rc_side *sd = rd->sd;
	enum format f;
	const char *head;
	size_t n;
	int rc;

	head = rc_input_head(in, &n);
	f = detect(head, n);
	if (f != F_EMPTY && f != F_UNKNOWN)
		set_format(sd, f);
	rd->fo.column_n = 0;
	rd->fo.separator = 0;
	rc = read_format(rd, path, in, f);
	if (rc && !sd->err[0])
		snprintf(sd->err, sizeof(sd->err), "%s: %s", path,
			 rc == -EPROTO ? "damaged or cut off" : strerror(-rc));
	return rc;
}

static int read_iface(struct reader *rd, const char *path)
{
	struct rc_side *sd = rd->sd;
	char why[160] = "", t[32], notice[160];
	struct rc_live_end end = { .duration_ns = sd->conf->duration_ns,
				   .stop_fd = sd->stop_fd,
				   .notice = sd->conf->quiet ? NULL : notice };
	int rc;

	set_format(sd, F_IFACE);
	snprintf(notice, sizeof(notice), "recon-diff: capturing on %s %s%s\n", path + 6,
		 end.duration_ns ? "for " : "until Ctrl-C",
		 end.duration_ns ? rc_text_ns(t, sizeof(t), end.duration_ns) : "");
	rc = rc_replay(RC_REPLAY_IFACE, path, &end, take_replayed, rd, why, sizeof(why));
	if (rd->err)
		return rd->err;
	sd->said = rc && !why[0];
	if (rc)
		snprintf(sd->err, sizeof(sd->err), "%s: %s", path, why);
	return rc;
}

/* Plain record files first: from the first temporary byte on everything goes there (store.c). */
static int read_files(struct reader *rd)
{
	struct rc_side *sd = rd->sd;
	const struct rc_conf *conf = sd->conf;
	int rc = 0;

	for (int pass = 0; pass < 2 && !rc; pass++) {
		for (uint32_t i = 0; i < conf->path_n[sd->idx] && !rc; i++) {
			const char *path = conf->path[sd->idx][i];
			struct rc_input *in = NULL;
			const char *head;
			char why[128];
			size_t n;
			bool plain;

			if (!pass && (!is_regular(path) || rc_is_live(path)))
				continue;
			if (rc_is_live(path)) {
				rc = read_iface(rd, path);
				continue;
			}
			rc = rc_input_open(&in, path, why, sizeof(why));
			if (rc) {
				snprintf(sd->err, sizeof(sd->err), "%s: %s", path, why);
				break;
			}
			head = rc_input_head(in, &n);
			plain = rc_input_again(in) && detect(head, n) == F_RECORDS;
			if (plain == !pass)
				rc = read_file(rd, path, in);
			rc_input_close(in);
		}
	}
	return rc;
}

static int parse_id(struct reader *rd)
{
	const char *s = rd->sd->conf->explain;

	for (; s && *s; s++) {
		int d = *s >= '0' && *s <= '9'                 ? *s - '0'
			: (*s | 32) >= 'a' && (*s | 32) <= 'f' ? (*s | 32) - 'a' + 10
							       : -1;
		int at = rd->id_digits++;

		if (d < 0 || at >= 32)
			return -EINVAL;
		rd->id[at / 16] |= (uint64_t)d << (60 - 4 * (at % 16));
	}
	return 0;
}

int rc_side_read(struct rc_side *sd)
{
	struct reader *rd = calloc(1, sizeof(*rd));
	int rc = -ENOMEM;

	if (!rd)
		goto out;
	rd->sd = sd;
	rc = rc_net_init(&sd->net);
	if (!rc)
		rc = parse_id(rd);
	if (!rc)
		rc = read_files(rd);
	if (!rc)
		rc = rc_store_flush(&sd->store);
	/* All of it bad is another kind of file; some of it is counted and shown. */
	if (!rc && (sd->bad > sd->lines / 2 || !(sd->row_n + sd->conns + sd->ledgers))) {
		rc = -EINVAL;
		snprintf(sd->err, sizeof(sd->err),
			 "%s: no records (%llu lines, %llu not understood)",
			 sd->conf->path[sd->idx][0], (unsigned long long)sd->lines,
			 (unsigned long long)sd->bad);
	}
out:
	if (rc && !sd->err[0])
		snprintf(sd->err, sizeof(sd->err), "%s: %s", sd->conf->path[sd->idx][0],
			 strerror(-rc));
	if (rd) {
		rc_rec_fini(&rd->rr);
		rc_foreign_fini(&rd->fo);
		free(rd->json);
	}
	free(rd);
	return rc;
}
