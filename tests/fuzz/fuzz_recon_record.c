/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_recon_record.c: any line to recon-diff's reader of records. Keys as the writer writes them
 * go a quick way through it, all others a slow one: with white space between its tokens the same
 * line must read the same. And what was read, written, and read again is the same once more.
 */
#include "recon/json.h"
#include "recon/record_read.h"
#include "tests/lib/spaced.h"

#include <stdlib.h>
#include <string.h>

static char *padded(const char *p, size_t n)
{
	char *out = calloc(1, n + RC_JS_PAD);

	memcpy(out, p, n);
	return out;
}

struct reading {
	struct rc_rec rr;
	char *line, *json;
	size_t n;
	int rc;
};

static void read_line(struct reading *rd, const char *p, size_t n)
{
	size_t room = 6 * n + (256 << 10);

	rd->line = padded(p, n);
	rd->rc = rc_rec_read(&rd->rr, rd->line, n);
	if (rd->rc)
		return;
	if (rd->rr.rec.kind == OSP_REC_LEDGER)
		memset(&rd->rr.rec.ledger, 0, sizeof(rd->rr.rec.ledger));
	rd->json = malloc(room);
	rd->n = osp_record_json(&rd->rr.rec, rd->json, room);
	if (rd->n > room)
		abort();
}

static void must_be_same(const struct reading *a, const struct reading *b)
{
	if (a->rc != b->rc || a->n != b->n || (a->n && memcmp(a->json, b->json, a->n)) ||
	    (!a->rc && (a->rr.has_ts != b->rr.has_ts ||
			memcmp(&a->rr.led, &b->rr.led, sizeof(a->rr.led)))))
		abort();
}

static void drop(struct reading *rd)
{
	rc_rec_fini(&rd->rr);
	free(rd->line);
	free(rd->json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct reading once = { 0 }, slow = { 0 }, again = { 0 }, third = { 0 };
	char *wide = malloc(2 * size + 1);

	read_line(&once, (const char *)data, size);
	read_line(&slow, wide, spaced((const char *)data, size, wide));
	must_be_same(&once, &slow);
	if (!once.rc && once.rr.rec.kind) {
		/* The first writing settles what was in odd form: flags, bytes that are no UTF-8. */
		read_line(&again, once.json, once.n);
		if (again.rc)
			abort();
		read_line(&third, again.json, again.n);
		if (third.n != again.n || memcmp(third.json, again.json, again.n))
			abort();
	}
	drop(&once);
	drop(&slow);
	drop(&again);
	drop(&third);
	free(wide);
	return 0;
}
