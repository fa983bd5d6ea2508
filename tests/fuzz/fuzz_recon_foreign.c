/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_recon_foreign.c: any bytes as another tool's log: by the first one, lines of Zeek (TSV or
 * JSON) or Suricata, or a HAR document. What comes out must be a record that can be written.
 */
#include "recon/foreign.h"
#include "recon/json.h"

#include <stdlib.h>
#include <string.h>

typedef int (*line_fn)(struct rc_foreign *fo, const char *line, size_t n);

static int write_out(void *ctx, struct rc_foreign *fo)
{
	size_t n = osp_record_json(&fo->rr.rec, NULL, 0);
	char *p = malloc(n);

	if (osp_record_json(&fo->rr.rec, p, n) != n)
		abort();
	free(p);
	return 0;
}

/* Each line in memory of its own, so that a step outside is seen. */
static void lines(struct rc_foreign *fo, line_fn fn, const char *p, size_t n)
{
	while (n) {
		const char *nl = memchr(p, '\n', n);
		size_t k = nl ? (size_t)(nl - p) : n;
		char *line = calloc(1, k + RC_JS_PAD);

		memcpy(line, p, k);
		if (fn(fo, line, k) == 1)
			write_out(NULL, fo);
		free(line);
		k += nl != NULL;
		p += k;
		n -= k;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const line_fn fn[] = { rc_zeek_line, rc_zeek_json, rc_eve_line };
	struct rc_foreign fo = { 0 };
	char *text;

	if (!size)
		return 0;
	size--;
	text = calloc(1, size + RC_JS_PAD);
	memcpy(text, data + 1, size);
	if (*data % 4 < 3)
		lines(&fo, fn[*data % 4], text, size);
	else
		rc_har_all(&fo, text, size, write_out, NULL);
	rc_foreign_fini(&fo);
	free(text);
	return 0;
}
