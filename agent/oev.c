/* SPDX-License-Identifier: GPL-3.0-or-later */
/* oev.c: writes a recording: the events of a run, byte for byte, for replay, bug reports and tests.
 *
 * A recording must never stop what it records: a full disk ends the file, not the run. The file
 * then still holds whole events only, because what a failed write left of the last one is cut off
 * again. While the writer is at work the header says INCOMPLETE, so a file of a killed agent is
 * told from a whole one.
 */
#include "agent/oev.h"

#include "agent/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef OSP_VERSION
#define OSP_VERSION "unknown"
#endif

/* One write(2) per MiB: at a million events a second the call is then lost in the noise. */
#define OEV_BUF (1u << 20)
/* A killed agent loses at most this much of a quiet recording (event time). */
#define OEV_FLUSH_NS 1000000000ull

struct osp_oev {
	struct osp_oev_hdr hdr;
	char *path;
	uint8_t *buf;		/* whole padded events, from a file position that is one's start */
	uint64_t file_end;	/* what the file holds, whole events */
	uint64_t flushed_ns;	/* event time of the last flush */
	uint64_t recorded, unrecorded;
	uint32_t used;		/* bytes in buf */
	uint32_t buffered;	/* events in buf */
	int fd;
	int err;		/* why recording has stopped, 0 if it has not */
};

/* All of p at the file's current position. *wrote: how much of it got there. */
static int oev_write_all(int fd, const uint8_t *p, size_t n, size_t *wrote)
{
	size_t at = 0;
	ssize_t r;
	int err = 0;

	while (at < n) {
		r = write(fd, p + at, n - at);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0) {
			err = -errno;
			break;
		}
		at += (size_t)r;
	}
	*wrote = at;
	return err;
}

/* Length of the whole events among the first n bytes of p, and how many they are. */
static size_t oev_whole(const uint8_t *p, size_t n, uint32_t *events)
{
	const struct osp_ev_hdr *ev;
	size_t at = 0;

	*events = 0;
	while (n - at >= sizeof(*ev)) {
		ev = (const struct osp_ev_hdr *)(p + at);
		if (osp_oev_padded(ev->len) > n - at)
			break;
		at += osp_oev_padded(ev->len);
		(*events)++;
	}
	return at;
}

/* The recording ends here. p, of which wrote bytes reached the file, held `events` events. */
static void oev_fail(struct osp_oev *oev, int err, const uint8_t *p, size_t wrote, uint32_t events)
{
	uint32_t kept;

	oev->file_end += oev_whole(p, wrote, &kept);
	oev->recorded -= events - kept;
	oev->unrecorded += events - kept;
	oev->err = err;
	osp_warn("%s: recording stops after %llu events: %s", oev->path,
		 (unsigned long long)oev->recorded, strerror(-err));
	/* Fails on a pipe or device, where nobody can take anything back. */
	if (ftruncate(oev->fd, (off_t)oev->file_end))
		osp_dbg("%s: cannot be cut to whole events: %s", oev->path, strerror(errno));
}

static void oev_flush(struct osp_oev *oev)
{
	uint32_t events = oev->buffered;
	size_t wrote;
	int err;

	if (!oev->used || oev->err)
		return;
	err = oev_write_all(oev->fd, oev->buf, oev->used, &wrote);
	if (err)
		oev_fail(oev, err, oev->buf, wrote, events);
	else
		oev->file_end += wrote;
	oev->used = 0;
	oev->buffered = 0;
}

static void oev_free(struct osp_oev *oev)
{
	if (!oev)
		return;
	if (oev->fd >= 0)
		close(oev->fd);
	free(oev->buf);
	free(oev->path);
	free(oev);
}

static void oev_str(char *to, size_t size, const char *from)
{
	size_t n = from ? strnlen(from, size - 1) : 0;

	if (n)
		memcpy(to, from, n);
}

static void oev_fill(struct osp_oev_hdr *hdr, const struct osp_source_info *info)
{
	memcpy(hdr->magic, OSP_OEV_MAGIC, sizeof(hdr->magic));
	hdr->bom = OSP_OEV_BOM;
	hdr->version = OSP_OEV_VERSION;
	hdr->abi = OSP_EV_ABI;
	hdr->hdr_len = sizeof(*hdr);
	hdr->flags = OSP_OEV_INCOMPLETE;
	hdr->wall_off_ns = info->wall_off_ns;
	oev_str(hdr->boot_id, sizeof(hdr->boot_id), info->boot_id);
	/* A replay that is recorded again stays a recording of what it was. */
	oev_str(hdr->mode, sizeof(hdr->mode), info->origin ? info->origin : info->mode);
	oev_str(hdr->agent, sizeof(hdr->agent), OSP_VERSION);
	oev_str(hdr->host, sizeof(hdr->host), info->host);
	oev_str(hdr->kernel, sizeof(hdr->kernel), info->kernel);
}

int osp_oev_open(struct osp_oev **out, const char *path, const struct osp_source_info *info)
{
	struct osp_oev *oev;
	size_t wrote;
	int err = -ENOMEM;

	oev = calloc(1, sizeof(*oev));
	if (!oev)
		goto out;
	oev->fd = -1;
	oev->path = strdup(path);
	oev->buf = malloc(OEV_BUF);
	if (!oev->path || !oev->buf)
		goto out;
	oev_fill(&oev->hdr, info);
	oev->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOCTTY, 0600);
	if (oev->fd < 0) {
		err = -errno;
		goto out;
	}
	err = oev_write_all(oev->fd, (const uint8_t *)&oev->hdr, sizeof(oev->hdr), &wrote);
	if (err)
		goto out;
	oev->file_end = wrote;
	*out = oev;
	oev = NULL;
out:
	if (err)
		osp_err("%s: cannot record: %s", path, strerror(-err));
	oev_free(oev);
	return err;
}

/* An event that is larger than the buffer: it goes out by itself. */
static void oev_write_large(struct osp_oev *oev, const struct osp_ev_hdr *ev)
{
	static const uint8_t zero[8];
	size_t pad = osp_oev_padded(ev->len) - ev->len;
	size_t wrote;
	int err;

	oev->recorded++;
	err = oev_write_all(oev->fd, (const uint8_t *)ev, ev->len, &wrote);
	if (!err)
		err = oev_write_all(oev->fd, zero, pad, &wrote);
	if (err)
		oev_fail(oev, err, NULL, 0, 1);
	else
		oev->file_end += ev->len + pad;
}

int osp_oev_write(void *ctx, const struct osp_ev_hdr *ev)
{
	struct osp_oev *oev = ctx;
	uint64_t padded = osp_oev_padded(ev->len);

	if (!oev->err && padded > OEV_BUF - oev->used)
		oev_flush(oev);
	if (oev->err) {
		oev->unrecorded++;
		return 0;
	}
	if (padded > OEV_BUF) {
		oev_write_large(oev, ev);
		return 0;
	}
	memcpy(oev->buf + oev->used, ev, ev->len);
	memset(oev->buf + oev->used + ev->len, 0, padded - ev->len);
	oev->used += (uint32_t)padded;
	oev->buffered++;
	oev->recorded++;
	if (ev->kind == OSP_EV_TICK && ev->ts_ns - oev->flushed_ns >= OEV_FLUSH_NS) {
		oev->flushed_ns = ev->ts_ns;
		oev_flush(oev);
	}
	return 0;
}

uint64_t osp_oev_recorded(const struct osp_oev *oev)
{
	return oev->recorded;
}

uint64_t osp_oev_unrecorded(const struct osp_oev *oev)
{
	return oev->unrecorded;
}

/* The count, and without a failure the mark of completeness; in place at the file's start. */
static int oev_finish(struct osp_oev *oev)
{
	ssize_t r;

	if (oev->err)
		return oev->err;
	oev->hdr.events = oev->recorded;
	oev->hdr.flags &= ~OSP_OEV_INCOMPLETE;
	do {
		r = pwrite(oev->fd, &oev->hdr, sizeof(oev->hdr), 0);
	} while (r < 0 && errno == EINTR);
	if (r == sizeof(oev->hdr))
		return 0;
	return r < 0 ? -errno : -EIO;
}

int osp_oev_close(struct osp_oev *oev)
{
	int err, fd;

	if (!oev)
		return 0;
	oev_flush(oev);
	err = oev_finish(oev);
	fd = oev->fd;
	oev->fd = -1;
	/* Some file systems (NFS, quotas) tell only here that the data did not fit. */
	if (close(fd) && !err)
		err = -errno;
	if (err && !oev->err)
		osp_warn("%s: the recording stays incomplete: %s", oev->path, strerror(-err));
	oev_free(oev);
	return err;
}
