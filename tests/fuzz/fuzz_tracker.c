/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_tracker.c: any sequence of well-formed events. The input is events behind each other, of
 * which kind, version and length are put right, so that what is left to chance is all the rest.
 */
#include "tests/lib/evbuild.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DATA_MAX 512

static const uint32_t sizes[OSP_EV_KIND_MAX] = {
	[OSP_EV_OPEN] = sizeof(struct osp_ev_open), [OSP_EV_DATA] = sizeof(struct osp_ev_data),
	[OSP_EV_GAP] = sizeof(struct osp_ev_data), [OSP_EV_SHUT] = sizeof(struct osp_ev_shut),
	[OSP_EV_CLOSE] = sizeof(struct osp_ev_close), [OSP_EV_PROC] = sizeof(struct osp_ev_proc),
	[OSP_EV_LOST] = sizeof(struct osp_ev_lost), [OSP_EV_TICK] = sizeof(struct osp_ev_tick),
	[OSP_EV_UNIX] = sizeof(struct osp_ev_unix),
};

/* Few connections, so that events meet. */
static void mend(struct osp_ev_data *ev, uint32_t left)
{
	struct osp_ev_hdr *h = &ev->h;

	h->abi = OSP_EV_ABI;
	h->len = sizes[h->kind];
	if (h->kind == OSP_EV_LOST)	/* counters that are made up can't add up */
		memset(h + 1, 0, sizes[OSP_EV_LOST] - sizeof(*h));
	if (h->kind <= OSP_EV_CLOSE || h->kind == OSP_EV_UNIX)
		ev->conn &= 3;
	if (h->kind == OSP_EV_UNIX) {
		struct osp_ev_unix *names = (struct osp_ev_unix *)ev;

		names->len[OSP_UNIX_LOCAL] %= OSP_UNIX_NAME + 1;
		names->len[OSP_UNIX_REMOTE] %= OSP_UNIX_NAME + 1;
	}
	if (h->kind == OSP_EV_DATA || h->kind == OSP_EV_GAP) {
		ev->cap %= DATA_MAX;
		ev->cap = h->kind == OSP_EV_GAP ? 0 : ev->cap < left ? ev->cap : left;
		ev->bytes = ev->bytes % 4096 < ev->cap ? ev->cap : ev->bytes % 4096;
		ev->dir &= 1;
		/* A source names each gap: one without a cause does not close, and shall not. */
		ev->cause = (uint8_t)(1 + ev->cause % (OSP_CAUSE_MAX - 1));
		ev->vantage %= OSP_VANTAGE_MAX;
		h->len += ev->cap;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	union {
		struct osp_ev_data ev;
		uint64_t align[128];
		uint8_t b[1024];
	} u;
	struct rig rig;

	rig_open(&rig, NULL);
	while (size > sizeof(struct osp_ev_hdr)) {
		uint32_t kind = 1 + data[0] % (OSP_EV_KIND_MAX - 1), n = sizes[kind];

		if (n > size)
			break;
		memcpy(u.b, data, n);
		u.ev.h.kind = (uint8_t)kind;
		data += n;
		size -= n;
		mend(&u.ev, (uint32_t)(size < DATA_MAX ? size : DATA_MAX));
		if (u.ev.h.len > n) {
			memcpy(u.b + n, data, u.ev.h.len - n);
			data += u.ev.h.len - n;
			size -= u.ev.h.len - n;
		}
		if (!osp_event_check(&u.ev.h, sizeof(u)))
			osp_tracker_event(rig.trk, &u.ev.h);
	}
	osp_tracker_finish(rig.trk);
	/* Totals of the source that contradict its own events are counted, and do not close. */
	if ((!rig_stat(&rig, OSP_ST_CONN_BYTES_MISMATCH) && !rig_sums(&rig)) ||
	    rig_stat(&rig, OSP_ST_BY_HELD) || rig_stat(&rig, OSP_ST_MEM_BYTES))
		abort();
	rig_close(&rig);
	return 0;
}
