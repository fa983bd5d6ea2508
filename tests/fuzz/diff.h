/* SPDX-License-Identifier: GPL-3.0-or-later */
/* diff.h: for the fuzz targets that hold us against another HTTP/1 parser: what that one made of a
 * stream, and whether it is among what we make of it.
 */
#ifndef OSP_TESTS_FUZZ_DIFF_H
#define OSP_TESTS_FUZZ_DIFF_H

#include "tests/lib/evbuild.c"

#define MSGS 12

struct seen {
	struct {
		uint64_t body;
		int start;	/* method or status */
	} msg[MSGS];
	int n;
	uint64_t body;
	const char *start, *end;	/* of the message; of what was looked at */
	const char *line;		/* where a chunk's size may begin */
	bool stop;
};

/* The name of a method as the other parser numbers it. */
static const char *method_name(int method);

static void compare(const struct rig *rig, const struct seen *seen, bool responses)
{
	int i, kind = responses ? OSP_RES : OSP_REQ;

	for (i = 0; i < seen->n; i++) {
		const struct osp_record *r = rig_rec(rig, OSP_REC_TRANSACTION, (uint32_t)i);
		const struct osp_rec_msg *m = r ? &r->msg[kind] : NULL;

		if (!m || !(m->has & OSP_MH_END) || m->body_bytes != seen->msg[i].body ||
		    (responses ? m->status != seen->msg[i].start :
		     !slice_eq(r->str[OSP_S_METHOD], method_name(seen->msg[i].start))))
			abort();
	}
}

static void ours(struct rig *rig, const uint8_t *data, size_t size, unsigned int cut,
		 const struct seen *seen, bool responses)
{
	struct evc conn;
	size_t i, n;

	rig_open(rig, NULL);
	evc_init(&conn, rig, 1, 1, 1);
	evc_open(&conn, OSP_OPEN_ESTABLISHED, OSP_ROLE_SERVER, OSP_FROM_ACCEPT);
	for (i = 0; responses && i < MSGS + 1; i++)
		evc_str(&conn, OSP_RX, "GET / HTTP/1.1\r\n\r\n");
	for (i = 0; i < size; i += n) {
		n = cut ? 1 + (cut * (i + 1)) % 23 : size;
		n = n < size - i ? n : size - i;
		evc_data(&conn, responses ? OSP_TX : OSP_RX, data + i, (uint32_t)n);
	}
	/* As for the other parser, the stream has no end: what lasts until then is not complete. */
	osp_tracker_finish(rig->trk);
	compare(rig, seen, responses);
	if (!rig_sums(rig))
		abort();
	rig_close(rig);
}

/* As they are built, both parsers take CR and any byte for a line end in places; that is not compared. */
static bool bare_cr(const uint8_t *p, size_t n)
{
	size_t i;

	for (i = 0; i + 1 < n; i++) {
		if (p[i] == '\r' && p[i + 1] != '\n')
			return true;
	}
	return false;
}

/* A status of more or fewer digits than three (RFC 9112 4) is a number to the other parser ("0204"),
 * to us no status line.
 */
static bool odd_status(const uint8_t *p, size_t n)
{
	static const char start[] = "HTTP/1.";
	size_t i, k;

	for (i = 0; i + 10 < n; i++) {
		if (p[i] != 'H' || memcmp(p + i, start, sizeof(start) - 1) || p[i + 8] != ' ')
			continue;
		for (k = i + 9; k < n && p[k] >= '0' && p[k] <= '9'; k++)
			;
		if (k != i + 12)
			return true;
	}
	return false;
}

/* Whole, and in pieces as `cut` says. */
static void both_ways(const uint8_t *data, size_t size, unsigned int cut, const struct seen *seen,
		      bool responses)
{
	struct rig rig;

	ours(&rig, data, size, 0, seen, responses);
	ours(&rig, data, size, cut, seen, responses);
}

#endif
