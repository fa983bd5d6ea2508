/* SPDX-License-Identifier: GPL-3.0-or-later */
/* input.c: bytes of a capture file through one buffer of a mebibyte.
 *
 * read(2) and not mmap(2): a file that is cut while it is mapped kills its reader, pipes can't be
 * mapped, and reading through a buffer that stays in the cache is not what takes the time (from
 * file to records 2 GB/s, tests/bench/wire.py). Small files stay in the buffer as a whole.
 */
#include "agent/wire/input.h"

#include "agent/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define INPUT_BUF (1u << 20)
/* Compressed bytes read at once. */
#define INPUT_RAW (64u << 10)

struct input {
	struct osp_input win;	/* what the others see of it */
	char *name;
	size_t cap;		/* room in win.buf */
	const char *error;	/* why it ended, NULL: in order, or not yet */
	uint8_t *raw;		/* gzip: what was read and not yet inflated */
	z_stream z;
	int fd;
	bool gz, gz_in_member, eof;
};

/* Up to n bytes of the file into p. How many; 0 at its end or where it can't be read. */
static size_t read_file(struct input *in, uint8_t *p, size_t n)
{
	ssize_t r;

	do {
		r = read(in->fd, p, n);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		in->error = strerror(errno);
	return r > 0 ? (size_t)r : 0;
}

/* The same, inflated. A file may hold several gzip members; zeros after the last are padding. */
static size_t read_gz(struct input *in, uint8_t *p, size_t n)
{
	z_stream *z = &in->z;
	int rc;

	z->next_out = p;
	z->avail_out = (uInt)n;
	while (z->avail_out == n && !in->error) {
		if (!z->avail_in) {
			z->next_in = in->raw;
			z->avail_in = (uInt)read_file(in, in->raw, INPUT_RAW);
			if (!z->avail_in) {
				if (in->gz_in_member && !in->error)
					in->error = "the compressed data is cut off";
				return 0;
			}
		}
		if (!in->gz_in_member) {
			for (; z->avail_in && !*z->next_in; z->avail_in--)
				z->next_in++;
			if (!z->avail_in)
				continue;
			inflateReset(z);
			in->gz_in_member = true;
		}
		rc = inflate(z, Z_NO_FLUSH);
		if (rc == Z_STREAM_END)
			in->gz_in_member = false;
		else if (rc != Z_OK && rc != Z_BUF_ERROR)
			in->error = "the compressed data is damaged";
	}
	return n - z->avail_out;
}

static size_t read_some(struct input *in, uint8_t *p, size_t n)
{
	return in->gz ? read_gz(in, p, n) : read_file(in, p, n);
}

/* Fills the buffer as far as it goes; whole reads, so that the same file is cut the same way. */
static void fill(struct input *in)
{
	size_t r;

	memmove(in->win.buf, in->win.buf + in->win.at, in->win.have - in->win.at);
	in->win.offset += in->win.at;
	in->win.have -= in->win.at;
	in->win.at = 0;
	while (!in->eof && in->win.have < in->cap) {
		r = read_some(in, in->win.buf + in->win.have, in->cap - in->win.have);
		in->eof = !r;
		in->win.have += r;
	}
}

const uint8_t *osp_input_more(struct osp_input *win, size_t n)
{
	struct input *in = (struct input *)win;
	uint8_t *bigger;

	if (in->eof)
		return NULL;
	if (n > in->cap) {
		bigger = realloc(win->buf, n);
		if (!bigger) {
			in->error = "out of memory";
			in->eof = true;
			return NULL;
		}
		win->buf = bigger;
		in->cap = n;
	}
	fill(in);
	return win->have >= n ? win->buf : NULL;
}

int osp_input_skip(struct osp_input *win, uint64_t n)
{
	struct input *in = (struct input *)win;
	size_t now;

	for (;;) {
		now = win->have - win->at;
		if (now > n)
			now = (size_t)n;
		win->at += now;
		n -= now;
		if (!n)
			return 0;
		if (in->eof)
			return -ENODATA;
		fill(in);
	}
}

const uint8_t *osp_input_peek(const struct osp_input *win, uint64_t offset, size_t n)
{
	if (offset < win->offset || offset - win->offset > win->have ||
	    n > win->have - (offset - win->offset))
		return NULL;
	return win->buf + (offset - win->offset);
}

const char *osp_input_error(const struct osp_input *win)
{
	return ((const struct input *)win)->error;
}

const char *osp_input_name(const struct osp_input *win)
{
	return ((const struct input *)win)->name;
}

static int open_gz(struct input *in)
{
	in->raw = malloc(INPUT_RAW);
	if (!in->raw)
		return -ENOMEM;
	/* 15 + 16: the largest window, gzip framing (zlib.h). */
	if (inflateInit2(&in->z, 15 + 16) != Z_OK)
		return -ENOMEM;
	in->gz = true;
	/* What was read to tell is compressed. */
	memcpy(in->raw, in->win.buf, in->win.have);
	in->z.next_in = in->raw;
	in->z.avail_in = (uInt)in->win.have;
	in->win.have = 0;
	return 0;
}

static int open_fd(struct input *in, const char *path)
{
	in->fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY) :
				     dup(STDIN_FILENO);
	if (in->fd < 0)
		return -errno;
	/* A hint only; not all files can take it. */
	(void)posix_fadvise(in->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	while (in->win.have < 2) {
		size_t r = read_file(in, in->win.buf + in->win.have, 2 - in->win.have);

		if (!r)
			break;
		in->win.have += r;
	}
	if (in->error)
		return -EIO;
	return in->win.have == 2 && in->win.buf[0] == 0x1f && in->win.buf[1] == 0x8b ? open_gz(in) : 0;
}

int osp_input_open(struct osp_input **out, const char *path)
{
	struct input *in = calloc(1, sizeof(*in));
	int err = -ENOMEM;

	if (!in)
		goto out;
	in->fd = -1;
	in->cap = INPUT_BUF;
	in->win.buf = malloc(in->cap);
	in->name = strdup(path);
	if (!in->win.buf || !in->name)
		goto out;
	err = open_fd(in, path);
	if (err)
		goto out;
	*out = &in->win;
	return 0;
out:
	osp_err("%s: %s", path, in && in->error ? in->error : strerror(-err));
	osp_input_close(in ? &in->win : NULL);
	return err;
}

void osp_input_close(struct osp_input *win)
{
	struct input *in = (struct input *)win;

	if (!in)
		return;
	if (in->gz)
		inflateEnd(&in->z);
	if (in->fd >= 0)
		close(in->fd);
	free(in->raw);
	free(in->win.buf);
	free(in->name);
	free(in);
}
