/* SPDX-License-Identifier: GPL-3.0-or-later */
/* synth_truth.c: what the generator made, one JSON object a line, for tests to compare
 * records with.
 *
 * A test that lacks part of its truth proves nothing, so here, unlike elsewhere, a failed write
 * ends the run.
 */
#include "agent/synth.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRUTH_BUF (1u << 20)
/* Longest line: 25 numbers of at most 20 digits, their names, one target. */
#define TRUTH_LINE_MAX 2048

struct synth_truth {
	char *buf;
	size_t used;
	int fd;
	int err;
};

static void truth_flush(struct synth_truth *tr)
{
	size_t at = 0;
	ssize_t r;

	while (at < tr->used && !tr->err) {
		r = write(tr->fd, tr->buf + at, tr->used - at);
		if (r > 0)
			at += (size_t)r;
		else if (r == 0 || errno != EINTR)
			tr->err = r ? -errno : -EIO;
	}
	tr->used = 0;
}

int synth_truth_open(struct synth_truth **out, const char *path)
{
	struct synth_truth *tr;
	int err = -ENOMEM;

	tr = calloc(1, sizeof(*tr));
	if (!tr)
		goto out;
	tr->fd = -1;
	tr->buf = malloc(TRUTH_BUF);
	if (!tr->buf)
		goto out;
	tr->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
	err = tr->fd < 0 ? -errno : 0;
	if (err)
		goto out;
	*out = tr;
	tr = NULL;
out:
	synth_truth_free(tr);
	return err;
}

#define NUM(p, name, v) synth_put_u64(synth_put(p, SYNTH_LIT(",\"" name "\":")), (v))
#define BOOL(p, name, v) ((v) ? synth_put(p, SYNTH_LIT(",\"" name "\":true")) : \
				synth_put(p, SYNTH_LIT(",\"" name "\":false")))

static char *put_digest(char *p, const char *name, size_t n, uint64_t v)
{
	p = synth_put(p, name, n);
	p = synth_put(p, SYNTH_LIT("\"xxh64:"));
	for (int shift = 60; shift >= 0; shift -= 4)
		*p++ = "0123456789abcdef"[v >> shift & 15];
	*p++ = '"';
	return p;
}

/* The targets made here have no character that JSON escapes. */
static char *put_names(char *p, const struct synth_txn *txn, uint8_t role)
{
	const char *method = synth_method_name[txn->method];

	p = synth_put(p, SYNTH_LIT(",\"role\":\""));
	p = role == OSP_ROLE_CLIENT ? synth_put(p, SYNTH_LIT("client")) :
				      synth_put(p, SYNTH_LIT("server"));
	p = synth_put(p, SYNTH_LIT("\",\"method\":\""));
	p = synth_put(p, method, strlen(method));
	p = synth_put(p, SYNTH_LIT("\",\"target\":\""));
	p = synth_put_target(p, txn, true);
	return synth_put(p, SYNTH_LIT("\""));
}

void synth_truth_txn(struct synth_truth *tr, const struct synth_txn *txn, int side, uint64_t cookie,
		     uint8_t role)
{
	const struct synth_half *req = &txn->half[OSP_REQ], *res = &txn->half[OSP_RES];
	const struct synth_loss *loss = &txn->loss[side];
	char *p;

	if (tr->used > TRUTH_BUF - TRUTH_LINE_MAX)
		truth_flush(tr);
	p = tr->buf + tr->used;
	p = synth_put_u64(synth_put(p, SYNTH_LIT("{\"cookie\":")), cookie);
	p = NUM(p, "txn", txn->n);
	p = put_names(p, txn, role);
	p = NUM(p, "status", txn->status);
	p = NUM(p, "req_head", req->head);
	p = NUM(p, "req_body", req->body);
	p = NUM(p, "req_wire", req->wire);
	p = NUM(p, "res_head", res->head);
	p = NUM(p, "res_body", res->body);
	p = NUM(p, "res_wire", res->wire);
	p = NUM(p, "req_seq", req->seq);
	p = NUM(p, "res_seq", res->seq);
	p = put_digest(p, SYNTH_LIT(",\"req_digest\":"), req->digest);
	p = put_digest(p, SYNTH_LIT(",\"res_digest\":"), res->digest);
	p = synth_put(p, SYNTH_LIT(",\"interim\":["));
	if (txn->interim_n)
		p = synth_put_u64(p, txn->interim);
	p = synth_put(p, SYNTH_LIT("]"));
	p = NUM(p, "req_lost", loss->bytes[OSP_REQ]);
	p = NUM(p, "res_lost", loss->bytes[OSP_RES]);
	p = NUM(p, "interim_lost", loss->interim);
	p = BOOL(p, "req_head_lost", loss->head[OSP_REQ]);
	p = BOOL(p, "res_head_lost", loss->head[OSP_RES]);
	p = synth_put(p, SYNTH_LIT("}\n"));
	tr->used = (size_t)(p - tr->buf);
	if (tr->err)
		tr->used = 0;
}

int synth_truth_finish(struct synth_truth *tr, const struct synth_totals *tot)
{
	int n;

	truth_flush(tr);
	n = snprintf(tr->buf, TRUTH_BUF,
		     "{\"totals\":{\"exchanges\":%" PRIu64 ",\"transactions\":%" PRIu64
		     ",\"connections\":%" PRIu64 ",\"events_made\":%" PRIu64
		     ",\"events_delivered\":%" PRIu64 ",\"events_lost\":%" PRIu64
		     ",\"tx_bytes\":%" PRIu64 ",\"rx_bytes\":%" PRIu64 ",\"lost_bytes\":%" PRIu64
		     ",\"turns\":%" PRIu64 ",\"exchanges_lost\":%" PRIu64 "}}\n",
		     tot->exchanges, tot->transactions, tot->connections, tot->made,
		     tot->delivered, tot->lost, tot->bytes[OSP_TX], tot->bytes[OSP_RX],
		     tot->lost_bytes, tot->turns, tot->exchanges_lost);
	tr->used = (size_t)n;
	truth_flush(tr);
	return tr->err;
}

void synth_truth_free(struct synth_truth *tr)
{
	if (!tr)
		return;
	if (tr->fd >= 0)
		close(tr->fd);
	free(tr->buf);
	free(tr);
}
