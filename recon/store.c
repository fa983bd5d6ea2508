/* SPDX-License-Identifier: GPL-3.0-or-later */
/* store.c: records stay where they are, on disk; a row holds an offset. All files of a side share
 * one space of offsets. What cannot be read again at an offset (compressed files, pipes, other
 * formats, packets) is written to a temporary file as it is read: $TMPDIR, deleted at once, so that
 * it goes with the process whatever happens. That costs disk, not memory.
 */
#include "recon/json.h"
#include "recon/recon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Offsets are 40 bits in a row. */
#define STORE_MAX (1ull << 40)
#define SPOOL_BUF (256u << 10)

int rc_store_add(struct rc_store *st, int fd, uint64_t size, uint64_t *base)
{
	struct rc_file *file;

	if (size >= STORE_MAX - st->total)
		return -EFBIG;
	file = realloc(st->file, (st->file_n + 1) * sizeof(*file));
	if (!file)
		return -ENOMEM;
	st->file = file;
	*base = st->total;
	file[st->file_n++] = (struct rc_file){ fd, st->total, size };
	st->total += size;
	return 0;
}

static int spool_open(struct rc_store *st)
{
	const char *dir = getenv("TMPDIR");
	char path[4096];
	int fd, err;

	if (!dir || !*dir)
		dir = "/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd < 0) {
		/* Not every file system has O_TMPFILE. */
		if (snprintf(path, sizeof(path), "%s/recon-diff.XXXXXX", dir) >= (int)sizeof(path))
			return -ENAMETOOLONG;
		fd = mkostemp(path, O_CLOEXEC);
		if (fd < 0)
			return -errno;
		unlink(path);
	}
	st->buf = malloc(SPOOL_BUF);
	if (!st->buf) {
		close(fd);
		return -ENOMEM;
	}
	/* One space of offsets for files that are yet to come and for the spool, which grows: the
	 * spool takes the upper half.
	 */
	err = st->total < STORE_MAX / 2 ? 0 : -EFBIG;
	st->spool = fd;
	st->spool_base = STORE_MAX / 2;
	return err;
}

static int write_all(int fd, const char *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

int rc_store_flush(struct rc_store *st)
{
	size_t n = st->buf_n;

	st->buf_n = 0;
	return n ? write_all(st->spool, st->buf, n) : 0;
}

static int spool_put(struct rc_store *st, const char *p, size_t n)
{
	int err;

	if (n > SPOOL_BUF - st->buf_n) {
		err = rc_store_flush(st);
		if (err)
			return err;
		if (n > SPOOL_BUF)
			return write_all(st->spool, p, n);
	}
	memcpy(st->buf + st->buf_n, p, n);
	st->buf_n += n;
	return 0;
}

int rc_store_spool(struct rc_store *st, const char *line, size_t n, uint64_t *off)
{
	int err = 0;

	if (st->spool < 0) {
		err = spool_open(st);
		if (err)
			return err;
		st->total = STORE_MAX / 2;
	}
	/* total is the end of the spool from now on; no file is added behind it (reader.c spools
	 * everything once it has begun to).
	 */
	if (n + 1 >= STORE_MAX - st->total)
		return -EFBIG;
	*off = st->total;
	st->total += n + 1;
	err = spool_put(st, line, n);
	return err ? err : spool_put(st, "\n", 1);
}

void rc_store_fini(struct rc_store *st)
{
	for (uint32_t i = 0; i < st->file_n; i++)
		close(st->file[i].fd);
	free(st->file);
	if (st->spool >= 0)
		close(st->spool);
	free(st->buf);
	*st = (struct rc_store){ .spool = -1 };
}

/* ---- reading again -------------------------------------------------------------------------- */

static int place(const struct rc_store *st, uint64_t off, int *fd, uint64_t *at)
{
	if (st->spool >= 0 && off >= st->spool_base) {
		*fd = st->spool;
		*at = off - st->spool_base;
		return 0;
	}
	for (uint32_t i = 0; i < st->file_n; i++) {
		if (off - st->file[i].base < st->file[i].size) {
			*fd = st->file[i].fd;
			*at = off - st->file[i].base;
			return 0;
		}
	}
	return -ENOENT;
}

/* Reads a line that begins at off; most records end within the first 2 KiB. */
static int read_line(struct rc_detail *d, int fd, uint64_t at)
{
	size_t have = 0, want = 2048;
	const char *nl;

	for (;;) {
		ssize_t k;

		if (d->cap < want + RC_JS_PAD) {
			char *buf = realloc(d->buf, want + RC_JS_PAD);

			if (!buf)
				return -ENOMEM;
			d->buf = buf;
			d->cap = want + RC_JS_PAD;
		}
		k = pread(fd, d->buf + have, want - have, (off_t)(at + have));
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		nl = memchr(d->buf + have, '\n', (size_t)k);
		have += (size_t)k;
		if (nl || !k) {
			d->n = nl ? (size_t)(nl - d->buf) : have;
			memset(d->buf + d->n, 0, RC_JS_PAD);
			return 0;
		}
		if (have == want)
			want *= 4;
	}
}

int rc_detail_read(struct rc_detail *d, const struct rc_store *st, uint64_t off)
{
	uint64_t at;
	int fd, err;

	err = place(st, off, &fd, &at);
	if (!err)
		err = read_line(d, fd, at);
	return err ? err : rc_rec_read(&d->rr, d->buf, d->n);
}

void rc_detail_fini(struct rc_detail *d)
{
	rc_rec_fini(&d->rr);
	free(d->buf);
	*d = (struct rc_detail){ 0 };
}
