/* SPDX-License-Identifier: GPL-3.0-or-later */
/* event.c: the one check that stands between bytes from outside and everything that reads events.
 * Behind it code trusts lengths, kinds and enums that index something.
 */
#include "agent/source.h"

#include <errno.h>
#include <stddef.h>

static int check_data(const struct osp_ev_data *ev)
{
	if (ev->cap > ev->bytes || ev->dir >= OSP_DIRS || ev->cause >= OSP_CAUSE_MAX ||
	    ev->vantage >= OSP_VANTAGE_MAX)
		return -EPROTO;
	if (ev->h.kind == OSP_EV_GAP && ev->cap)
		return -EPROTO;
	if (ev->h.len - sizeof(*ev) != ev->cap)
		return -EPROTO;
	return 0;
}

/* Three strings, each ended by its NUL, fill what follows the struct. */
static int check_proc(const struct osp_ev_proc *ev)
{
	const char *s = (const char *)(ev + 1);
	uint32_t room = ev->h.len - (uint32_t)sizeof(*ev);
	int i;

	for (i = 0; i < 3; i++) {
		if (ev->str_len[i] > room)
			return -EPROTO;
		if (ev->str_len[i] && s[ev->str_len[i] - 1])
			return -EPROTO;
		s += ev->str_len[i];
		room -= ev->str_len[i];
	}
	return room ? -EPROTO : 0;
}

int osp_event_check(const struct osp_ev_hdr *ev, uint64_t avail)
{
	static const uint32_t size[OSP_EV_KIND_MAX] = {
		[OSP_EV_OPEN] = sizeof(struct osp_ev_open),
		[OSP_EV_DATA] = sizeof(struct osp_ev_data),
		[OSP_EV_GAP] = sizeof(struct osp_ev_data),
		[OSP_EV_SHUT] = sizeof(struct osp_ev_shut),
		[OSP_EV_CLOSE] = sizeof(struct osp_ev_close),
		[OSP_EV_PROC] = sizeof(struct osp_ev_proc),
		[OSP_EV_LOST] = sizeof(struct osp_ev_lost),
		[OSP_EV_TICK] = sizeof(struct osp_ev_tick),
		[OSP_EV_UNIX] = sizeof(struct osp_ev_unix),
	};
	const struct osp_ev_open *open;
	const struct osp_ev_unix *names;

	if (avail < sizeof(*ev) || ev->len < sizeof(*ev) || ev->len > avail)
		return -EPROTO;
	if (ev->abi != OSP_EV_ABI || ev->kind == 0 || ev->kind >= OSP_EV_KIND_MAX)
		return -EPROTO;
	if (ev->len < size[ev->kind])
		return -EPROTO;
	switch (ev->kind) {
	case OSP_EV_DATA:
	case OSP_EV_GAP:
		return check_data((const struct osp_ev_data *)ev);
	case OSP_EV_PROC:
		return check_proc((const struct osp_ev_proc *)ev);
	case OSP_EV_OPEN:
		open = (const struct osp_ev_open *)ev;
		if (open->role >= OSP_ROLE_MAX || open->role_from >= OSP_FROM_MAX ||
		    open->vantage >= OSP_VANTAGE_MAX)
			return -EPROTO;
		break;
	case OSP_EV_CLOSE:
		if (((const struct osp_ev_close *)ev)->role >= OSP_ROLE_MAX ||
		    ((const struct osp_ev_close *)ev)->role_from >= OSP_FROM_MAX)
			return -EPROTO;
		break;
	case OSP_EV_UNIX:
		names = (const struct osp_ev_unix *)ev;
		if (names->len[OSP_UNIX_LOCAL] > OSP_UNIX_NAME ||
		    names->len[OSP_UNIX_REMOTE] > OSP_UNIX_NAME)
			return -EPROTO;
		break;
	}
	/* Kinds of a fixed size have that size: what would follow has no meaning. */
	return ev->len == size[ev->kind] ? 0 : -EPROTO;
}
