/* SPDX-License-Identifier: GPL-3.0-or-later */
/* foreign.h: what other tools write, as records: Zeek's http.log (TSV and JSON), Suricata's EVE
 * (event_type http), HAR 1.2. What a format does not tell is absent, so it is not compared.
 *
 * @thread one for each struct rc_foreign.
 */
#ifndef OSP_RECON_FOREIGN_H
#define OSP_RECON_FOREIGN_H

#include "recon/record_read.h"

#include <stddef.h>

#define RC_ZEEK_COLUMNS 64

/* A reader's state: the columns of a Zeek log, and memory for decoded strings. */
struct rc_foreign {
	struct rc_rec rr;		/* the record it made last */
	int8_t column[RC_ZEEK_COLUMNS];	/* which of our fields stands there, -1 none */
	int column_n;
	char separator, unset[16];
	uint64_t n;			/* records made: the tail of their ids */
};

/* Each makes fo->rr from a line: 1; 0: nothing to take (a comment, another kind of event); -EPROTO;
 * -ENOMEM.
 */
int rc_zeek_line(struct rc_foreign *fo, const char *line, size_t n);
int rc_zeek_json(struct rc_foreign *fo, const char *line, size_t n);
int rc_eve_line(struct rc_foreign *fo, const char *line, size_t n);

/* Calls fn for each entry of a HAR document. 0, -EPROTO (none, or damaged), or what fn returned. */
typedef int (*rc_har_fn)(void *ctx, struct rc_foreign *fo);
int rc_har_all(struct rc_foreign *fo, const char *text, size_t n, rc_har_fn fn, void *ctx);

void rc_foreign_fini(struct rc_foreign *fo);

#endif
