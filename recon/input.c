/* SPDX-License-Identifier: GPL-3.0-or-later */
/* input.c: plain, gzip and zstd files, recognised by their first bytes and not by their names. */
#include "recon/input.h"
#include "recon/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define CHUNK (1u << 20)
#define HEAD 65536u

struct rc_input {
	int fd;
	enum rc_packing packing;
	bool eof, regular;
	int err; /* what ended it, if not the end */
	uint64_t size;
	z_stream z;
	bool z_live, z_between; /* between two gzip members */
	ZSTD_DStream *zd;
	size_t zd_want; /* bytes zstd still expects; 0: at the end of a frame */
	char *raw;      /* compressed bytes */
	size_t raw_at, raw_n;
	bool raw_eof;
	char *buf; /* unpacked bytes [at, n) */
	size_t at, n, cap;
	uint64_t buf_off; /* offset of buf[0] */
};

static ssize_t read_some(int fd, void *p, size_t n)
{
	ssize_t k;

	do {
		k = read(fd, p, n);
	} while (k < 0 && errno == EINTR);
	return k < 0 ? -errno : k;
}

/* Compressed bytes for the decoder; 0 at the end. */
static ssize_t more_raw(struct rc_input *in)
{
	ssize_t k;

	if (in->raw_at < in->raw_n)
		return (ssize_t)(in->raw_n - in->raw_at);
	if (in->raw_eof)
		return 0;
	k = read_some(in->fd, in->raw, CHUNK);
	if (k <= 0) {
		in->raw_eof = !k;
		return k;
	}
	in->raw_at = 0;
	in->raw_n = (size_t)k;
	return k;
}

static ssize_t read_gzip(struct rc_input *in, char *p, size_t n)
{
	in->z.next_out = (Bytef *)p;
	in->z.avail_out = (uInt)n;
	while (in->z.avail_out == n) {
		ssize_t k = more_raw(in);
		int rc;

		if (k <= 0)
			return k < 0 ? k : in->z_between ? 0 : -EPROTO;
		if (in->z_between) {
			/* A log that was appended to after compression, or zeroes behind it. */
			if (in->raw[in->raw_at] == 0) {
				in->raw_at++;
				continue;
			}
			inflateReset(&in->z);
			in->z_between = false;
		}
		in->z.next_in = (Bytef *)in->raw + in->raw_at;
		in->z.avail_in = (uInt)(in->raw_n - in->raw_at);
		rc = inflate(&in->z, Z_NO_FLUSH);
		in->raw_at = in->raw_n - in->z.avail_in;
		if (rc == Z_STREAM_END)
			in->z_between = true;
		else if (rc != Z_OK && rc != Z_BUF_ERROR)
			return -EPROTO;
	}
	return (ssize_t)(n - in->z.avail_out);
}

static ssize_t read_zstd(struct rc_input *in, char *p, size_t n)
{
	ZSTD_outBuffer out = { p, n, 0 };

	while (!out.pos) {
		ZSTD_inBuffer src;
		ssize_t k = more_raw(in);

		if (k <= 0)
			return k < 0 ? k : in->zd_want ? -EPROTO : 0;
		src = (ZSTD_inBuffer){ in->raw, in->raw_n, in->raw_at };
		in->zd_want = ZSTD_decompressStream(in->zd, &out, &src);
		if (ZSTD_isError(in->zd_want))
			return -EPROTO;
		in->raw_at = src.pos;
	}
	return (ssize_t)out.pos;
}

static ssize_t read_unpacked(struct rc_input *in, char *p, size_t n)
{
	switch (in->packing) {
	case RC_GZIP:
		return read_gzip(in, p, n);
	case RC_ZSTD:
		return read_zstd(in, p, n);
	case RC_PLAIN:
		break;
	}
	if (in->raw_at < in->raw_n) {
		size_t k = in->raw_n - in->raw_at < n ? in->raw_n - in->raw_at : n;

		memcpy(p, in->raw + in->raw_at, k);
		in->raw_at += k;
		return (ssize_t)k;
	}
	return in->raw_eof ? 0 : read_some(in->fd, p, n);
}

/* Makes room and reads more behind what is there. >0; 0 at the end. */
static ssize_t fill(struct rc_input *in)
{
	ssize_t k;

	if (in->eof)
		return in->err;
	if (in->at) {
		memmove(in->buf, in->buf + in->at, in->n - in->at);
		in->buf_off += in->at;
		in->n -= in->at;
		in->at = 0;
	}
	if (in->cap - in->n < CHUNK / 2 + RC_JS_PAD) {
		size_t cap = in->cap * 2;
		char *buf = cap > 2ull * RC_LINE_MAX ? NULL : realloc(in->buf, cap);

		if (!buf)
			return cap > 2ull * RC_LINE_MAX ? -E2BIG : -ENOMEM;
		in->buf = buf;
		in->cap = cap;
	}
	k = read_unpacked(in, in->buf + in->n, in->cap - in->n - RC_JS_PAD);
	if (k > 0)
		in->n += (size_t)k;
	else
		in->eof = true;
	in->err = k < 0 ? (int)k : 0;
	memset(in->buf + in->n, 0, RC_JS_PAD);
	return k;
}

static int start_decoder(struct rc_input *in)
{
	const unsigned char *p = (const unsigned char *)in->raw;

	if (in->raw_n >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
		in->packing = RC_GZIP;
		/* 15 + 16: the largest window, gzip headers. */
		if (inflateInit2(&in->z, 15 + 16) != Z_OK)
			return -ENOMEM;
		in->z_live = true;
	} else if (in->raw_n >= 4 && !memcmp(p, "\x28\xb5\x2f\xfd", 4)) {
		in->packing = RC_ZSTD;
		in->zd = ZSTD_createDStream();
		if (!in->zd || ZSTD_isError(ZSTD_initDStream(in->zd)))
			return -ENOMEM;
		in->zd_want = 1;
	}
	return 0;
}

static int start(struct rc_input *in)
{
	struct stat st;
	ssize_t k;
	int err;

	if (fstat(in->fd, &st))
		return -errno;
	if (S_ISDIR(st.st_mode))
		return -EISDIR;
	in->regular = S_ISREG(st.st_mode);
	in->size = (uint64_t)st.st_size;
	in->raw = malloc(CHUNK);
	in->buf = malloc(2 * CHUNK);
	if (!in->raw || !in->buf)
		return -ENOMEM;
	in->cap = 2 * CHUNK;
	/* A pipe can give a single byte: the magic needs four. */
	while (in->raw_n < 4) {
		k = read_some(in->fd, in->raw + in->raw_n, CHUNK - in->raw_n);
		if (k < 0)
			return (int)k;
		if (!k) {
			in->raw_eof = true;
			break;
		}
		in->raw_n += (size_t)k;
	}
	err = start_decoder(in);
	while (!err && in->n < HEAD) {
		k = fill(in);
		if (k < 0 && !in->n)
			err = (int)k;
		if (k <= 0)
			break;
	}
	return err;
}

int rc_input_open(struct rc_input **out, const char *path, char *err, size_t err_size)
{
	struct rc_input *in = calloc(1, sizeof(*in));
	int rc = -ENOMEM;

	if (!in)
		return -ENOMEM;
	in->fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC)
				   : fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	rc = in->fd < 0 ? -errno : start(in);
	if (rc) {
		snprintf(err, err_size, "%s",
			 rc == -EPROTO ? "damaged compressed data" : strerror(-rc));
		rc_input_close(in);
		return rc;
	}
	*out = in;
	return 0;
}

void rc_input_close(struct rc_input *in)
{
	if (!in)
		return;
	if (in->fd >= 0)
		close(in->fd);
	if (in->z_live)
		inflateEnd(&in->z);
	ZSTD_freeDStream(in->zd);
	free(in->raw);
	free(in->buf);
	free(in);
}

const char *rc_input_head(struct rc_input *in, size_t *n)
{
	*n = in->n - in->at;
	return in->buf + in->at;
}

enum rc_packing rc_input_packing(const struct rc_input *in)
{
	return in->packing;
}

bool rc_input_again(const struct rc_input *in)
{
	return in->regular && in->packing == RC_PLAIN;
}

int rc_input_dup(const struct rc_input *in, uint64_t *size)
{
	int fd = fcntl(in->fd, F_DUPFD_CLOEXEC, 3);

	*size = in->size;
	return fd < 0 ? -errno : fd;
}

int rc_input_line(struct rc_input *in, const char **line, size_t *n, uint64_t *off)
{
	size_t seen = in->at;
	const char *nl;
	ssize_t k;

	for (;;) {
		nl = seen < in->n ? memchr(in->buf + seen, '\n', in->n - seen) : NULL;
		if (nl)
			break;
		seen = in->n - in->at;
		k = fill(in);
		seen += in->at;
		if (k < 0)
			return (int)k;
		if (!k) {
			if (in->at == in->n)
				return 0;
			nl = in->buf + in->n;
			break;
		}
	}
	*line = in->buf + in->at;
	*n = (size_t)(nl - *line);
	*off = in->buf_off + in->at;
	in->at += *n + (nl < in->buf + in->n);
	if (*n && (*line)[*n - 1] == '\r')
		--*n;
	return *n > RC_LINE_MAX ? -E2BIG : 1;
}

int rc_input_all(struct rc_input *in, const char **text, size_t *n)
{
	ssize_t k;

	do {
		k = fill(in);
	} while (k > 0);
	*text = in->buf + in->at;
	*n = in->n - in->at;
	return (int)k;
}
