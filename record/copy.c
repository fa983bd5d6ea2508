/* SPDX-License-Identifier: GPL-3.0-or-later */
/* copy.c: a record with all it points to, in one piece of memory.
 *
 * Layout: the record, its arrays (headers, gaps or counters; all 8-byte aligned), then the bytes of
 * its strings without padding. Size and copy walk the same parts, so what one counts the other
 * uses. Names in counters are static or live as long as their sink (see osp_record.h): they are
 * pointed to, not copied.
 */
#include "record/osp_record.h"

#include <string.h>

_Static_assert(sizeof(struct osp_record) % 8 == 0, "arrays follow the record aligned");
_Static_assert(sizeof(struct osp_rec_header) % 8 == 0, "arrays follow each other aligned");
_Static_assert(sizeof(struct osp_rec_gap) % 8 == 0, "arrays follow each other aligned");
_Static_assert(sizeof(struct osp_rec_counter) % 8 == 0, "arrays follow each other aligned");

static size_t strings_size(const struct osp_record *rec)
{
	size_t n = 0;

	for (int i = 0; i < OSP_S_MAX; i++)
		n += rec->str[i].p ? rec->str[i].n : 0;
	return n;
}

static size_t headers_size(const struct osp_rec_msg *msg)
{
	size_t n = 0;

	if (!msg->header)
		return 0;
	for (uint32_t i = 0; i < msg->header_n; i++) {
		n += msg->header[i].name.p ? msg->header[i].name.n : 0;
		n += msg->header[i].value.p ? msg->header[i].value.n : 0;
	}
	return n + msg->header_n * sizeof(*msg->header);
}

size_t osp_record_size(const struct osp_record *rec)
{
	size_t n = sizeof(*rec) + strings_size(rec);

	switch (rec->kind) {
	case OSP_REC_TRANSACTION:
		n += headers_size(&rec->msg[OSP_REQ]) + headers_size(&rec->msg[OSP_RES]);
		break;
	case OSP_REC_CONNECTION:
		for (int i = 0; i < 2; i++)
			if (rec->connection.dir[i].gap)
				n += rec->connection.dir[i].gap_n * sizeof(struct osp_rec_gap);
		break;
	case OSP_REC_LEDGER:
		if (rec->ledger.counter)
			n += rec->ledger.counter_n * sizeof(struct osp_rec_counter);
		break;
	}
	return (n + 7) & ~(size_t)7;
}

/* Takes n bytes of *at. */
static void *put_bytes(char **at, const void *from, size_t n)
{
	char *p = *at;

	if (n)
		memcpy(p, from, n);
	*at += n;
	return p;
}

/* An array of the record; NULL stays NULL, an empty one stays "known and empty". */
static void *put_array(char **at, const void *from, size_t n)
{
	return from ? put_bytes(at, from, n) : NULL;
}

static void put_slice(char **at, struct osp_slice *s)
{
	if (s->p)
		s->p = put_bytes(at, s->p, s->n);
	else
		s->n = 0;
}

static void put_headers(char **at, struct osp_rec_msg *msg)
{
	struct osp_rec_header *header;

	if (!msg->header)
		msg->header_n = 0;
	header = put_array(at, msg->header, msg->header_n * sizeof(*header));
	msg->header = header;
}

static void put_header_strings(char **at, struct osp_rec_msg *msg)
{
	struct osp_rec_header *header = (struct osp_rec_header *)msg->header;

	for (uint32_t i = 0; i < msg->header_n; i++) {
		put_slice(at, &header[i].name);
		put_slice(at, &header[i].value);
	}
}

static void put_gaps(char **at, struct osp_rec_stream *strm)
{
	if (!strm->gap)
		strm->gap_n = 0;
	strm->gap = put_array(at, strm->gap, strm->gap_n * sizeof(*strm->gap));
}

struct osp_record *osp_record_copy(void *mem, const struct osp_record *rec)
{
	struct osp_record *out = mem;
	char *at = (char *)mem + sizeof(*out);

	memcpy(out, rec, sizeof(*out));
	out->size = sizeof(*out);
	/* All arrays first: strings have no alignment. */
	switch (out->kind) {
	case OSP_REC_TRANSACTION:
		put_headers(&at, &out->msg[OSP_REQ]);
		put_headers(&at, &out->msg[OSP_RES]);
		put_header_strings(&at, &out->msg[OSP_REQ]);
		put_header_strings(&at, &out->msg[OSP_RES]);
		break;
	case OSP_REC_CONNECTION:
		put_gaps(&at, &out->connection.dir[0]);
		put_gaps(&at, &out->connection.dir[1]);
		break;
	case OSP_REC_LEDGER:
		if (!out->ledger.counter)
			out->ledger.counter_n = 0;
		out->ledger.counter = put_array(&at, out->ledger.counter,
						out->ledger.counter_n *
							sizeof(*out->ledger.counter));
		break;
	}
	for (int i = 0; i < OSP_S_MAX; i++)
		put_slice(&at, &out->str[i]);
	return out;
}
