/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source_replay.c: a recording as a source.
 *
 * The file comes from anywhere, so nothing in it is believed: each event is checked before it is
 * handed on, and reading ends at the first that is not whole, with the offset for whoever looks
 * into the file. read(2) and not mmap: a file that is cut while it is mapped kills its reader.
 */
#include "agent/source_replay.h"

#include "agent/base/log.h"
#include "agent/oev.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPLAY_BUF (1u << 20)
/* Events handed over per poll: the caller looks at signals and sinks between polls. */
#define REPLAY_BATCH 1024

struct replay {
	struct osp_source src;
	struct osp_oev_hdr hdr;
	char *path;
	uint8_t *buf;		/* malloc'ed: aligned for events, and so are all, padded to 8 */
	size_t cap, have, at;	/* room, bytes in it, of those handed over */
	uint64_t offset;	/* of buf[at] in the file */
	uint64_t events;	/* handed over */
	int fd;
	int end;		/* what poll returns from now on; 0: not at the end yet */
	bool eof;
};

static bool replay_incomplete(const struct replay *rep)
{
	return rep->hdr.flags & OSP_OEV_INCOMPLETE;
}

/* n more bytes into p, unless the file ends. Returns how many, or -errno. */
static ssize_t replay_read(int fd, void *p, size_t n)
{
	size_t at = 0;
	ssize_t r;

	while (at < n) {
		r = read(fd, (uint8_t *)p + at, n - at);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (!r)
			break;
		at += (size_t)r;
	}
	return (ssize_t)at;
}

/* Makes at least need bytes readable at buf[at], if the file has them. 0 or -errno. */
static int replay_fill(struct replay *rep, size_t need)
{
	uint8_t *buf;
	ssize_t r;

	if (rep->have - rep->at >= need || rep->eof)
		return 0;
	memmove(rep->buf, rep->buf + rep->at, rep->have - rep->at);
	rep->have -= rep->at;
	rep->at = 0;
	if (need > rep->cap) {
		buf = realloc(rep->buf, need);
		if (!buf)
			return -ENOMEM;
		rep->buf = buf;
		rep->cap = need;
	}
	r = replay_read(rep->fd, rep->buf + rep->have, rep->cap - rep->have);
	if (r < 0)
		return (int)r;
	rep->eof = (size_t)r < rep->cap - rep->have;
	rep->have += (size_t)r;
	return 0;
}

/* Where the file ends, left bytes after the last whole event. A file that says it is incomplete
 * may end anywhere: its reader has been warned.
 */
static int replay_at_eof(struct replay *rep, size_t left)
{
	if (left && replay_incomplete(rep)) {
		osp_warn("%s: the last event, at offset %" PRIu64 ", is cut off", rep->path,
			 rep->offset);
		return -ENODATA;
	}
	if (left) {
		osp_err("%s: truncated at offset %" PRIu64 ", in the middle of event %" PRIu64,
			rep->path, rep->offset, rep->events + 1);
		return -EPROTO;
	}
	if (!replay_incomplete(rep) && rep->events != rep->hdr.events) {
		osp_err("%s: ends at offset %" PRIu64 " after %" PRIu64 " events, its header says %"
			PRIu64, rep->path, rep->offset, rep->events, (uint64_t)rep->hdr.events);
		return -EPROTO;
	}
	return -ENODATA;
}

static int replay_damaged(const struct replay *rep, const char *what)
{
	osp_err("%s: damaged at offset %" PRIu64 ", event %" PRIu64 ": %s", rep->path, rep->offset,
		rep->events + 1, what);
	return -EPROTO;
}

static bool replay_all_zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

/* The next event, checked. 0, -ENODATA at the end, -EPROTO, or another -errno. */
static int replay_next(struct replay *rep, const struct osp_ev_hdr **out)
{
	const struct osp_ev_hdr *ev;
	uint64_t padded;
	int err;

	err = replay_fill(rep, sizeof(*ev));
	if (err)
		goto broken;
	if (rep->have - rep->at < sizeof(*ev))
		return replay_at_eof(rep, rep->have - rep->at);
	ev = (const struct osp_ev_hdr *)(rep->buf + rep->at);
	if (ev->len < sizeof(*ev) || ev->len > OSP_OEV_EVENT_MAX)
		return replay_damaged(rep, "impossible length");
	padded = osp_oev_padded(ev->len);
	err = replay_fill(rep, padded);
	if (err)
		goto broken;
	if (rep->have - rep->at < padded)
		return replay_at_eof(rep, rep->have - rep->at);
	ev = (const struct osp_ev_hdr *)(rep->buf + rep->at);
	if (osp_event_check(ev, ev->len))
		return replay_damaged(rep, "not a valid event");
	if (!replay_all_zero((const uint8_t *)ev + ev->len, padded - ev->len))
		return replay_damaged(rep, "padding is not zero");
	if (!replay_incomplete(rep) && rep->events == rep->hdr.events)
		return replay_damaged(rep, "more events than its header says");
	*out = ev;
	return 0;
broken:
	osp_err("%s: reading at offset %" PRIu64 ": %s", rep->path, rep->offset, strerror(-err));
	return err;
}

static int replay_poll(struct osp_source *src, osp_ev_fn fn, void *ctx)
{
	struct replay *rep = (struct replay *)src;
	const struct osp_ev_hdr *ev = NULL;
	int n = 0, err;

	while (!rep->end && n < REPLAY_BATCH) {
		rep->end = replay_next(rep, &ev);
		if (rep->end)
			break;
		err = fn(ctx, ev);
		if (err)
			return err;
		rep->at += osp_oev_padded(ev->len);
		rep->offset += osp_oev_padded(ev->len);
		rep->events++;
		n++;
	}
	return n ? n : rep->end;
}

static int replay_wait_fd(const struct osp_source *src, uint64_t ns)
{
	return -1;
}

static void replay_stop(struct osp_source *src)
{
	struct replay *rep = (struct replay *)src;

	if (!rep->end)
		rep->end = -ENODATA;
}

static void replay_info(const struct osp_source *src, struct osp_source_info *out)
{
	const struct replay *rep = (const struct replay *)src;

	*out = (struct osp_source_info){
		.mode = "replay",
		.origin = rep->hdr.mode,
		.host = rep->hdr.host,
		.kernel = rep->hdr.kernel,
		.boot_id = rep->hdr.boot_id,
		.wall_off_ns = rep->hdr.wall_off_ns,
	};
}

static void replay_close(struct osp_source *src)
{
	struct replay *rep = (struct replay *)src;

	if (!rep)
		return;
	if (rep->fd >= 0)
		close(rep->fd);
	free(rep->buf);
	free(rep->path);
	free(rep);
}

static const struct osp_source_ops replay_ops = {
	.name = "replay",
	.poll = replay_poll,
	.wait_fd = replay_wait_fd,
	.stop = replay_stop,
	.info = replay_info,
	.close = replay_close,
};

/* Ends with a NUL and is printable ASCII, as everything is that a writer puts there. */
static bool replay_str_ok(const char *s, size_t size)
{
	size_t n = strnlen(s, size);

	if (n == size)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isascii(s[i]) || !isprint((unsigned char)s[i]))
			return false;
	return true;
}

/* Why the header can't be used; NULL: it can. */
static const char *replay_check_hdr(const struct osp_oev_hdr *hdr)
{
	if (hdr->bom == __builtin_bswap32(OSP_OEV_BOM))
		return "recorded on a host of the other byte order; replay it on such a host";
	if (hdr->bom != OSP_OEV_BOM)
		return "the header is damaged (byte order mark)";
	if (hdr->version != OSP_OEV_VERSION)
		return "a recording of another format version";
	if (hdr->abi != OSP_EV_ABI)
		return "its events are of another ABI";
	if (hdr->hdr_len < sizeof(*hdr) || hdr->hdr_len > 65536 || hdr->hdr_len % 8)
		return "the header is damaged (length)";
	if (!replay_str_ok(hdr->boot_id, sizeof(hdr->boot_id)) ||
	    !replay_str_ok(hdr->mode, sizeof(hdr->mode)) ||
	    !replay_str_ok(hdr->agent, sizeof(hdr->agent)) ||
	    !replay_str_ok(hdr->host, sizeof(hdr->host)) ||
	    !replay_str_ok(hdr->kernel, sizeof(hdr->kernel)))
		return "the header is damaged (text)";
	return NULL;
}

static int replay_cut_hdr(const struct replay *rep, ssize_t at)
{
	osp_err("%s: truncated in its header, at offset %zd", rep->path, at);
	return -EPROTO;
}

static int replay_unreadable(const struct replay *rep, ssize_t err)
{
	osp_err("%s: %s", rep->path, strerror((int)-err));
	return (int)err;
}

/* Reads the header and steps over what a newer writer appended to it. */
static int replay_read_hdr(struct replay *rep)
{
	struct osp_oev_hdr *hdr = &rep->hdr;
	const char *why;
	size_t more;
	ssize_t r;

	r = replay_read(rep->fd, hdr, sizeof(*hdr));
	if (r < 0)
		return replay_unreadable(rep, r);
	if (r < (ssize_t)sizeof(hdr->magic) ||
	    memcmp(hdr->magic, OSP_OEV_MAGIC, sizeof(hdr->magic))) {
		osp_err("%s: not a recording of Osprey", rep->path);
		return -EPROTO;
	}
	if (r < (ssize_t)sizeof(*hdr))
		return replay_cut_hdr(rep, r);
	why = replay_check_hdr(hdr);
	if (why) {
		osp_err("%s: %s (its format version %u, ABI %u; this build reads %u, %u)",
			rep->path, why, hdr->version, hdr->abi, OSP_OEV_VERSION, OSP_EV_ABI);
		return -EPROTO;
	}
	more = hdr->hdr_len - sizeof(*hdr);
	r = replay_read(rep->fd, rep->buf, more);
	if (r < 0)
		return replay_unreadable(rep, r);
	if ((size_t)r < more)
		return replay_cut_hdr(rep, r + (ssize_t)sizeof(*hdr));
	rep->offset = hdr->hdr_len;
	return 0;
}

int osp_source_replay_new(struct osp_source **out, const char *path)
{
	struct replay *rep;
	int err = -ENOMEM;

	rep = calloc(1, sizeof(*rep));
	if (!rep)
		goto out;
	rep->src.ops = &replay_ops;
	rep->fd = -1;
	rep->cap = REPLAY_BUF;
	rep->buf = malloc(rep->cap);
	rep->path = strdup(path);
	if (!rep->buf || !rep->path)
		goto out;
	rep->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (rep->fd < 0) {
		err = -errno;
		osp_err("%s: %s", path, strerror(errno));
		goto out;
	}
	/* A hint only; not all files can take it. */
	(void)posix_fadvise(rep->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	err = replay_read_hdr(rep);
	if (err)
		goto out;
	if (replay_incomplete(rep))
		osp_warn("%s: the recording is incomplete: its writer did not come to its end",
			 path);
	*out = &rep->src;
	rep = NULL;
out:
	if (err == -ENOMEM)
		osp_err("%s: out of memory", path);
	replay_close(rep ? &rep->src : NULL);
	return err;
}
