/* SPDX-License-Identifier: GPL-3.0-or-later */
/* stream.c: positions and gaps of one direction. */
#include "agent/stream.h"

#include "agent/base/mem.h"

/* Room below the first position, for a base that moves down. */
#define POS_BIAS (1ull << 32)

uint64_t osp_strm_place(const struct osp_strm *strm, uint32_t seq, uint64_t ahead)
{
	uint32_t up = seq - (uint32_t)strm->next;

	if (up < 1u << 31 || (ahead && up == (uint32_t)ahead))
		return strm->next + up;
	return strm->next - (uint32_t)-up;
}

void osp_strm_base(struct osp_strm *strm, uint32_t seq)
{
	strm->base = strm->next = POS_BIAS + seq;
	strm->based = true;
}

void osp_strm_note_gap(struct osp_strm *strm, uint64_t pos, uint64_t bytes, int cause)
{
	struct osp_gaps *gaps = strm->gaps;
	struct osp_rec_gap *last;

	strm->gap_bytes += bytes;
	if (!gaps)
		gaps = strm->gaps = osp_mem_zalloc(sizeof(*gaps));
	if (!gaps)
		return;		/* osp_strm_gaps() sees that the sum lacks it */
	last = gaps->n ? &gaps->kept[gaps->n - 1] : NULL;
	if (last && last->at + last->bytes == pos - strm->base && last->cause == cause) {
		last->bytes += bytes;
	} else if (gaps->n < OSP_GAPS_KEPT) {
		gaps->kept[gaps->n++] = (struct osp_rec_gap){ .at = pos - strm->base,
							      .bytes = bytes,
							      .cause = (uint8_t)cause };
	} else {
		gaps->more[cause] += bytes;
	}
}

/* Takes up to n off *have. */
static uint64_t take(uint64_t *have, uint64_t n)
{
	if (n > *have)
		n = *have;
	*have -= n;
	return n;
}

uint64_t osp_strm_recause(struct osp_strm *strm, uint64_t n, int from, int to)
{
	struct osp_gaps *gaps = strm->gaps;
	uint64_t done;
	uint32_t i;

	if (!gaps)
		return 0;
	done = take(&gaps->more[from], n);
	gaps->more[to] += done;
	for (i = gaps->n; i-- && done < n;) {
		struct osp_rec_gap *gap = &gaps->kept[i];
		uint64_t part;

		if (gap->cause != from)
			continue;
		if (gap->bytes <= n - done) {
			gap->cause = (uint8_t)to;
			done += gap->bytes;
			continue;
		}
		part = take(&gap->bytes, n - done);
		gaps->more[to] += part;
		done += part;
	}
	return done;
}

uint32_t osp_strm_gaps(const struct osp_strm *strm, struct osp_rec_gap *out)
{
	const struct osp_gaps *gaps = strm->gaps;
	uint64_t sum = 0;
	uint32_t n = 0;
	int c;

	for (; gaps && n < gaps->n; n++) {
		out[n] = gaps->kept[n];
		sum += out[n].bytes;
	}
	for (c = 0; gaps && c < OSP_CAUSE_MAX; c++) {
		if (!gaps->more[c])
			continue;
		out[n++] = (struct osp_rec_gap){ .at = UINT64_MAX, .bytes = gaps->more[c],
						 .cause = (uint8_t)c };
		sum += gaps->more[c];
	}
	if (sum < strm->gap_bytes)	/* there was no memory to note them */
		out[n++] = (struct osp_rec_gap){ .at = UINT64_MAX,
						 .bytes = strm->gap_bytes - sum };
	return n;
}

struct osp_hole osp_hole_split(uint64_t n, uint32_t lost, uint32_t filtered)
{
	struct osp_hole hole;

	hole.ring = lost < n ? lost : n;
	n -= hole.ring;
	hole.filtered = filtered < n ? filtered : n;
	hole.bypass = n - hole.filtered;
	return hole;
}

void osp_strm_fini(struct osp_strm *strm)
{
	osp_mem_free(strm->gaps);
	strm->gaps = NULL;
}
