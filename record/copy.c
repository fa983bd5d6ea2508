/* SPDX-License-Identifier: GPL-3.0-or-later */
/* copy.c: a record with all it points to, in one piece of memory.
 *
 * Layout: the record, its arrays (headers, gaps or counters; all 8-byte aligned), then the bytes of
 * its strings without padding. Size and copy walk the same parts, so what one counts the other
 * uses; a copy into memory of any size finds out on the way whether it fits. Names in counters are static or live as long as their sink (see osp_record.h): they are
 * pointed to, not copied.
 */
#include "agent/base/mem.h"
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

/* Where the copy goes on, and what is left there. */
struct dest {
	char *at;
	size_t room;
	int full;
};

/* Takes n bytes of d; NULL: they do not fit. */
static inline char *take(struct dest *d, size_t n)
{
	char *p = d->at;

	if (n > d->room) {
		d->full = 1;
		return NULL;
	}
	d->at += n;
	d->room -= n;
	return p;
}

/* An array of the record; NULL stays NULL, an empty one stays "known and empty". */
static void *put_array(struct dest *d, const void *from, size_t n)
{
	char *p = from ? take(d, n) : NULL;

	if (p && n)
		memcpy(p, from, n);
	return p;
}

/* to is a copy of from already. */
static inline void put_slice(struct dest *d, struct osp_slice *to, const struct osp_slice *from)
{
	char *p;

	if (!from->p) {
		if (from->n)
			to->n = 0;
		return;
	}
	p = take(d, from->n);
	if (p)
		osp_copy_short(p, from->p, from->n);
	to->p = p;
}

/* Most strings of a record are not there, and they stand together: four at a look. */
static void put_slices(struct dest *d, struct osp_slice *to, const struct osp_slice *s, int n)
{
	int i = 0, k;

	for (; i + 4 <= n; i += 4, s += 4, to += 4) {
		if (!((uintptr_t)s[0].p | (uintptr_t)s[1].p | (uintptr_t)s[2].p | (uintptr_t)s[3].p |
		      s[0].n | s[1].n | s[2].n | s[3].n))
			continue;
		for (k = 0; k < 4; k++)
			put_slice(d, &to[k], &s[k]);
	}
	for (; i < n; i++)
		put_slice(d, to++, s++);
}

static struct osp_rec_header *put_headers(struct dest *d, struct osp_rec_msg *to,
					  const struct osp_rec_msg *from)
{
	struct osp_rec_header *header = put_array(d, from->header,
						  from->header_n * sizeof(*header));

	to->header = header;
	to->header_n = header ? from->header_n : 0;
	return header;
}

static void put_header_strings(struct dest *d, struct osp_rec_header *to,
			       const struct osp_rec_msg *from)
{
	for (uint32_t i = 0; to && i < from->header_n; i++) {
		put_slice(d, &to[i].name, &from->header[i].name);
		put_slice(d, &to[i].value, &from->header[i].value);
	}
}

static void put_gaps(struct dest *d, struct osp_rec_stream *to, const struct osp_rec_stream *from)
{
	to->gap = put_array(d, from->gap, from->gap_n * sizeof(*from->gap));
	to->gap_n = to->gap ? from->gap_n : 0;
}

static void put_counters(struct dest *d, struct osp_rec_ledger *to,
			 const struct osp_rec_ledger *from)
{
	to->counter = put_array(d, from->counter, from->counter_n * sizeof(*from->counter));
	to->counter_n = to->counter ? from->counter_n : 0;
}

/* Where the copy goes is in no cache: it is written only, what is looked at is the original. */
size_t osp_record_put(void *mem, size_t cap, const struct osp_record *rec)
{
	struct osp_record *out = mem;
	struct dest d = { .at = (char *)mem + sizeof(*out), .room = cap - sizeof(*out) };
	struct osp_rec_header *header[OSP_ENDS];

	if (cap < sizeof(*out))
		return 0;
	osp_mem_copy(out, rec, sizeof(*out));
	out->size = sizeof(*out);
	/* All arrays first: strings have no alignment. */
	switch (rec->kind) {
	case OSP_REC_TRANSACTION:
		header[OSP_REQ] = put_headers(&d, &out->msg[OSP_REQ], &rec->msg[OSP_REQ]);
		header[OSP_RES] = put_headers(&d, &out->msg[OSP_RES], &rec->msg[OSP_RES]);
		put_header_strings(&d, header[OSP_REQ], &rec->msg[OSP_REQ]);
		put_header_strings(&d, header[OSP_RES], &rec->msg[OSP_RES]);
		break;
	case OSP_REC_CONNECTION:
		put_gaps(&d, &out->connection.dir[0], &rec->connection.dir[0]);
		put_gaps(&d, &out->connection.dir[1], &rec->connection.dir[1]);
		break;
	case OSP_REC_LEDGER:
		put_counters(&d, &out->ledger, &rec->ledger);
		break;
	}
	put_slices(&d, out->str, rec->str, OSP_S_MAX);
	take(&d, -(cap - d.room) & 7);
	return d.full ? 0 : cap - d.room;
}

struct osp_record *osp_record_copy(void *mem, const struct osp_record *rec)
{
	osp_record_put(mem, osp_record_size(rec), rec);
	return mem;
}
