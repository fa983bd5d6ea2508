/* SPDX-License-Identifier: GPL-3.0-or-later */
/* lines.c: lines to a file, a pipe or stdout.
 *
 * Lines stay whole. The lines of a batch are gathered and written in one piece; when the system
 * takes only a part of it, the bytes of the cut line that are out (part) are remembered and left
 * away when the host offers that record again. A regular file that is closed in this state loses
 * the cut line, because its record was never counted as taken.
 *
 * When a file is opened whose end is not the end of a line, an earlier writer died in the middle:
 * a last line that is ours is cut off; anything else gets the newline it lacks, so that nothing of
 * other programs is lost. Whose it is: lines with a mark begin with it; a file whose first line is
 * our head has been ours from the start.
 *
 * A full file is set aside by renaming it and a new one is begun; that happens between two lines
 * only. Where it fails the old file grows on: too long is better than lost.
 *
 * Durability is the file system's: no fsync.
 */
#include "sinks/lines.h"

#include "agent/base/opt.h"
#include "sinks/compress.h"
#include "sinks/rotate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Written when this much has been gathered: large enough that the system call does not matter,
 * small enough to stay in the cache.
 */
#define GATHER_BYTES (256u << 10)
/* How long a write waits for a full pipe before the host is asked to try later. */
#define PIPE_WAIT_MS 100
/* How far back an unfinished last line is looked for: longer than any line but of huge bodies. */
#define TAIL_MAX (16 << 20)
/* After a failed rotation, the next try. */
#define ROTATE_RETRY_NS 10000000000ull

struct osp_lines {
	const struct osp_host *host;
	struct osp_lines_conf *conf;
	struct osp_lines_fmt fmt;
	struct osp_packer *packer;
	char *real;			/* path without symlinks: what is renamed */
	int fd;				/* -1: not open now, after a rotation that failed halfway */
	bool is_stdout;
	bool regular;
	bool need_head;			/* the next line is the first */
	mode_t mode;
	uint64_t born_ns;		/* when the file was begun */
	uint64_t rotate_after_ns;	/* no try before; 0: any time */
	size_t part;			/* bytes of the next record's line that are out already */
	uint64_t part_seq;		/* which record that is */
	char *buf;
	size_t cap, len;
	uint32_t *end;			/* where the lines in buf end */
	uint32_t end_cap;
	uint64_t bytes, records;
	int last_err;
};

/* ---- the end of a file --------------------------------------------------------------------- */

static bool begins(const char *p, size_t n, struct osp_slice with)
{
	return !memcmp(p, with.p, n < with.n ? n : with.n);
}

/* Where the last line of the file begins, which is size bytes long and does not end with '\n';
 * -1: not found within TAIL_MAX, or not readable.
 */
static off_t last_line(int fd, off_t size)
{
	char buf[4096];
	off_t at = size;

	while (at > 0 && size - at < TAIL_MAX) {
		size_t want = at < (off_t)sizeof(buf) ? (size_t)at : sizeof(buf);
		char *nl;

		at -= (off_t)want;
		if (pread(fd, buf, want, at) != (ssize_t)want)
			return -1;
		nl = memrchr(buf, '\n', want);
		if (nl)
			return at + (nl - buf) + 1;
	}
	return at ? -1 : 0;
}

/* The file's first line is our head, or what there is of it. */
static bool has_head(const struct osp_lines *lines)
{
	char buf[4096];
	ssize_t n = 0;

	for (size_t at = 0; at < lines->fmt.head.n; at += (size_t)n) {
		size_t want = lines->fmt.head.n - at;

		n = pread(lines->fd, buf, want < sizeof(buf) ? want : sizeof(buf), (off_t)at);
		if (n < 0 || memcmp(buf, lines->fmt.head.p + at, (size_t)n))
			return false;
		if (!n)
			break;
	}
	return true;
}

static bool is_ours(const struct osp_lines *lines, off_t at)
{
	struct osp_slice mark = lines->fmt.mark;
	char head[64];
	ssize_t n;

	if (lines->fmt.head.n)
		return has_head(lines);
	n = mark.n ? pread(lines->fd, head, mark.n < sizeof(head) ? mark.n : sizeof(head), at) : 0;
	return n > 0 && begins(head, (size_t)n, mark);
}

static int mend_tail(struct osp_lines *lines, off_t size)
{
	char last;
	off_t at;

	if (!size || pread(lines->fd, &last, 1, size - 1) != 1 || last == '\n')
		return 0;
	at = last_line(lines->fd, size);
	if (at >= 0 && is_ours(lines, at)) {
		lines->host->log(1, "%s: its last line was cut off in the middle; removed",
				 lines->conf->path);
		return ftruncate(lines->fd, at) ? -errno : 0;
	}
	return write(lines->fd, "\n", 1) == 1 ? 0 : -errno;
}

/* ---- opening ------------------------------------------------------------------------------- */

/* Our own fd of stdout, so that closing ours leaves it alone. A pipe whose reader has gone takes
 * nothing ever again, and says so before the first write.
 */
static int open_stdout(struct osp_lines *lines)
{
	struct pollfd pfd = { .fd = STDOUT_FILENO };
	struct stat st;

	if (poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLERR | POLLNVAL))
		return pfd.revents & POLLNVAL ? -EBADF : -EPIPE;
	lines->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (lines->fd < 0)
		return -errno;
	lines->is_stdout = true;
	/* A regular file as stdout may be shared with others: its tail is not ours to cut. */
	lines->regular = false;
	return fstat(lines->fd, &st) ? -errno : 0;
}

static void note_birth(struct osp_lines *lines)
{
	struct statx sx;

	lines->born_ns = lines->host->now();
	if (!statx(lines->fd, "", AT_EMPTY_PATH, STATX_BTIME, &sx) && sx.stx_mask & STATX_BTIME)
		lines->born_ns = (uint64_t)sx.stx_btime.tv_sec * 1000000000 + sx.stx_btime.tv_nsec;
}

/* A regular file is open: its end, its first line, its age. */
static int look_at_file(struct osp_lines *lines, off_t size)
{
	struct stat st;
	int err = mend_tail(lines, size);

	if (err)
		return err;
	if (fstat(lines->fd, &st))
		return -errno;
	lines->need_head = lines->fmt.head.n && !st.st_size;
	if (lines->fmt.head.n && st.st_size && !has_head(lines))
		return -EMEDIUMTYPE;	/* explain() knows */
	note_birth(lines);
	return 0;
}

static int open_path(struct osp_lines *lines)
{
	const char *path = lines->conf->path;
	int flags = O_APPEND | O_CLOEXEC | O_NOCTTY;
	struct stat st;

	/* A FIFO without a reader must not hold us, one opened for reading too never would say
	 * that its reader has gone.
	 */
	if (!stat(path, &st) && S_ISFIFO(st.st_mode)) {
		lines->fd = open(path, flags | O_WRONLY | O_NONBLOCK);
		return lines->fd < 0 ? -errno : 0;
	}
	if (!lines->conf->append && !lines->conf->opened)
		flags |= O_TRUNC;
	lines->fd = open(path, flags | O_RDWR | O_CREAT | O_EXCL, lines->mode);
	if (lines->fd >= 0)
		fchmod(lines->fd, lines->mode);	/* whatever the umask */
	else if (errno == EEXIST)
		lines->fd = open(path, flags | O_RDWR | O_CREAT, lines->mode);
	if (lines->fd < 0)
		return -errno;
	if (fstat(lines->fd, &st))
		return -errno;
	lines->regular = S_ISREG(st.st_mode);
	return lines->regular ? look_at_file(lines, st.st_size) : 0;
}

static int open_target(struct osp_lines *lines)
{
	int err;

	lines->part = 0;
	lines->regular = false;
	lines->need_head = lines->fmt.head.n > 0;
	err = strcmp(lines->conf->path, "-") ? open_path(lines) : open_stdout(lines);
	if (err && lines->fd >= 0) {
		close(lines->fd);
		lines->fd = -1;
	}
	if (!err)
		lines->conf->opened = 1;
	/* What may change by itself is worth waiting for. */
	if (err == -ENXIO || err == -ENOSPC || err == -EDQUOT || err == -EMFILE || err == -ENFILE)
		err = -EAGAIN;
	return err;
}

/* Ends the target; a line that is out in part goes too, where it can. */
static void close_target(struct osp_lines *lines)
{
	struct stat st;

	if (lines->fd < 0)
		return;
	if (lines->part && lines->regular && !fstat(lines->fd, &st) &&
	    st.st_size >= (off_t)lines->part &&
	    ftruncate(lines->fd, st.st_size - (off_t)lines->part))
		lines->host->log(1, "%s: ends with a cut line", lines->conf->path);
	close(lines->fd);
	lines->fd = -1;
	lines->part = 0;
}

void osp_lines_close(struct osp_lines *lines)
{
	if (!lines)
		return;
	osp_packer_free(lines->packer);
	close_target(lines);
	free(lines->real);
	free(lines->buf);
	free(lines->end);
	free(lines);
}

static bool rotates(const struct osp_lines *lines)
{
	return lines->conf->rotate_bytes || lines->conf->rotate_ns;
}

static void explain(const struct osp_lines *lines, int err, char *text, size_t size)
{
	const char *path = lines->conf->path;

	if (err == -EISDIR)
		snprintf(text, size, "%s is a directory; path= wants a file", path);
	else if (err == -EPIPE)
		snprintf(text, size, "stdout: its reader has gone");
	else if (err == -EMEDIUMTYPE)
		snprintf(text, size, "%s: begins with another line than ours would (other columns?);"
			 " move it away or choose another path", path);
	else
		snprintf(text, size, "%s: %s", strcmp(path, "-") ? path : "stdout",
			 strerrordesc_np(-err));
}

/* What is only wrong together. */
static int check_conf(struct osp_lines *lines, char *err, size_t err_size)
{
	struct osp_lines_conf *conf = lines->conf;
	uint32_t mode;

	if (osp_parse_octal(conf->mode, &mode) || mode > 0777) {
		snprintf(err, err_size, "mode=%s: not octal permissions such as 0600", conf->mode);
		return -EINVAL;
	}
	lines->mode = (mode_t)mode;
	if ((conf->keep || conf->compress) && !rotates(lines)) {
		snprintf(err, err_size, "%s= is for rotated files: give rotate= or rotate_every=",
			 conf->keep ? "keep" : "compress");
		return -EINVAL;
	}
	if (rotates(lines) && !strcmp(conf->path, "-")) {
		snprintf(err, err_size, "stdout can't be rotated; give path=");
		return -EINVAL;
	}
	return 0;
}

static int start_rotation(struct osp_lines *lines, char *err, size_t err_size)
{
	struct osp_lines_conf *conf = lines->conf;
	int ret;

	if (!rotates(lines))
		return 0;
	if (!lines->regular) {
		snprintf(err, err_size, "%s: only a regular file can be rotated", conf->path);
		return -EINVAL;
	}
	lines->real = realpath(conf->path, NULL);
	if (!lines->real)
		return -errno;
	if (!conf->compress)
		return 0;
	ret = osp_packer_new(&lines->packer, lines->host, lines->real,
			     (enum osp_pack)conf->compress, lines->mode, (uint64_t)conf->keep);
	if (ret)
		snprintf(err, err_size, "no thread to compress with");
	return ret;
}

int osp_lines_open(struct osp_lines **out, const struct osp_host *host,
		   struct osp_lines_conf *conf, const struct osp_lines_fmt *fmt, char *err,
		   size_t err_size)
{
	struct osp_lines *lines = calloc(1, sizeof(*lines));
	int ret;

	if (!lines)
		return -ENOMEM;
	lines->host = host;
	lines->conf = conf;
	lines->fmt = *fmt;
	lines->fd = -1;
	ret = check_conf(lines, err, err_size);
	if (ret)
		goto out;
	ret = open_target(lines);
	if (ret) {
		explain(lines, ret, err, err_size);
		goto out;
	}
	ret = start_rotation(lines, err, err_size);
	if (ret)
		goto out;
	*out = lines;
	lines = NULL;
out:
	osp_lines_close(lines);
	return ret;
}

/* ---- rotation ------------------------------------------------------------------------------ */

/* The path still leads to the file we write: nobody else (logrotate) has moved it. */
static bool still_there(const struct osp_lines *lines, const struct stat *mine)
{
	struct stat st;

	return !stat(lines->real, &st) && st.st_dev == mine->st_dev && st.st_ino == mine->st_ino;
}

/* Sets the file aside and begins a new one. -errno: nothing is open any more; otherwise 0, whether
 * or not it could be set aside.
 */
static int rotate(struct osp_lines *lines, const struct stat *mine)
{
	uint64_t now = lines->host->now();
	int err = still_there(lines, mine) ? osp_rotate_aside(lines->real, now) : 0;

	if (err) {
		lines->rotate_after_ns = now + ROTATE_RETRY_NS;
		lines->host->log(1, "%s: not rotated: %s", lines->conf->path,
				 strerrordesc_np(-err));
		return 0;
	}
	lines->rotate_after_ns = 0;
	close_target(lines);
	err = open_target(lines);
	if (lines->packer)
		osp_packer_wake(lines->packer);
	else if (lines->conf->keep)
		osp_rotate_tidy(lines->real, (uint64_t)lines->conf->keep);
	return err;
}

/* Rotates if the file is old enough, or next bytes more would make it too long. Not in the middle
 * of a line, nor a file that holds nothing yet.
 */
static int rotate_if_due(struct osp_lines *lines, size_t next)
{
	const struct osp_lines_conf *conf = lines->conf;
	uint64_t now;
	struct stat st;

	if (!rotates(lines) || lines->fd < 0 || lines->part || lines->need_head)
		return 0;
	if (fstat(lines->fd, &st))
		return -errno;
	if (st.st_size <= (off_t)lines->fmt.head.n)
		return 0;
	now = lines->host->now();
	if (now < lines->rotate_after_ns)
		return 0;
	if (conf->rotate_bytes && (uint64_t)st.st_size + next > conf->rotate_bytes)
		return rotate(lines, &st);
	if (conf->rotate_ns && now >= lines->born_ns && now - lines->born_ns >= conf->rotate_ns)
		return rotate(lines, &st);
	return 0;
}

/* Of the n gathered lines, those that the file has room for; at least one: a longer line than a
 * file may be gets a file of its own.
 */
static uint32_t trim_to_room(struct osp_lines *lines, uint32_t n)
{
	struct stat st;
	uint64_t room;

	if (!lines->conf->rotate_bytes || fstat(lines->fd, &st) ||
	    lines->host->now() < lines->rotate_after_ns)
		return n;
	room = (uint64_t)st.st_size < lines->conf->rotate_bytes ?
		       lines->conf->rotate_bytes - (uint64_t)st.st_size : 0;
	while (n > 1 && lines->end[n - 1] > room)
		n--;
	lines->len = lines->end[n - 1];
	return n;
}

/* ---- gathering ----------------------------------------------------------------------------- */

static int grow(struct osp_lines *lines, size_t need)
{
	size_t cap = lines->cap ? lines->cap : 2 * GATHER_BYTES;
	char *buf;

	while (cap < need)
		cap *= 2;
	if (cap == lines->cap)
		return 0;
	buf = realloc(lines->buf, cap);
	if (!buf)
		return -ENOMEM;
	lines->buf = buf;
	lines->cap = cap;
	return 0;
}

/* Appends the record's line to buf. */
static int gather(struct osp_lines *lines, const struct osp_record *rec)
{
	size_t room = lines->cap - lines->len;
	ssize_t n = lines->fmt.line(lines->fmt.ctx, rec, lines->buf + lines->len, room);
	int err;

	if (n > 0 && (size_t)n > room) {
		err = grow(lines, lines->len + (size_t)n);
		if (err)
			return err;
		n = lines->fmt.line(lines->fmt.ctx, rec, lines->buf + lines->len, (size_t)n);
	}
	if (n < 0)
		return (int)n;
	lines->len += (size_t)n;
	return 0;
}

static int grow_ends(struct osp_lines *lines, uint32_t n)
{
	uint32_t *end;

	if (n <= lines->end_cap)
		return 0;
	end = realloc(lines->end, n * sizeof(*end));
	if (!end)
		return -ENOMEM;
	lines->end = end;
	lines->end_cap = n;
	return 0;
}

/* Gathers records of the batch from first on, until there is enough for one write; *n says how
 * many. The head counts as a part of the first one's line: it is never there alone.
 */
static int gather_some(struct osp_lines *lines, const struct osp_batch *batch, uint32_t first,
		       uint32_t *n)
{
	int err = grow_ends(lines, batch->n);

	lines->len = 0;
	*n = 0;
	if (!err)
		err = grow(lines, GATHER_BYTES + lines->fmt.head.n);
	if (!err && lines->need_head) {
		memcpy(lines->buf, lines->fmt.head.p, lines->fmt.head.n);
		lines->len = lines->fmt.head.n;
	}
	while (!err && first + *n < batch->n && lines->len < GATHER_BYTES) {
		err = gather(lines, batch->rec[first + *n]);
		/* A line that long can't be had in one piece. */
		if (!err && lines->len > UINT32_MAX)
			err = -EMSGSIZE;
		if (!err)
			lines->end[(*n)++] = (uint32_t)lines->len;
	}
	if (*n)
		lines->len = lines->end[*n - 1];
	return *n ? 0 : err;
}

/* ---- writing ------------------------------------------------------------------------------- */

/* Writes buf from *at on; *at says how far it got. */
static int write_out(struct osp_lines *lines, size_t *at)
{
	struct pollfd pfd = { .fd = lines->fd, .events = POLLOUT };
	bool waited = false;
	ssize_t n;

	while (*at < lines->len) {
		n = write(lines->fd, lines->buf + *at, lines->len - *at);
		if (n > 0) {
			*at += (size_t)n;
			lines->bytes += (uint64_t)n;
			waited = false;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == EAGAIN && !waited) {
			poll(&pfd, 1, PIPE_WAIT_MS);
			waited = true;
		} else {
			return n < 0 ? -errno : -EIO;
		}
	}
	return 0;
}

/* How many of the n lines end at or before at; remembers what is out of the next one. */
static uint32_t lines_out(struct osp_lines *lines, const struct osp_batch *batch, uint32_t first,
			  uint32_t n, size_t at)
{
	uint32_t full = 0;

	while (full < n && lines->end[full] <= at)
		full++;
	lines->part = at - (full ? lines->end[full - 1] : 0);
	if (lines->part)
		lines->part_seq = batch->rec[first + full]->seq;
	if (full)
		lines->need_head = false;
	lines->records += full;
	return full;
}

/* Before the first line: the bytes of it that are out already. If the host comes with another
 * record, the cut one was given up: its bytes go, or at least its line ends.
 */
static int resume(struct osp_lines *lines, const struct osp_record *rec, size_t *at)
{
	struct stat st;

	*at = 0;
	if (!lines->part)
		return 0;
	if (rec->seq == lines->part_seq) {
		*at = lines->part;
		return 0;
	}
	if (lines->regular) {
		if (fstat(lines->fd, &st) ||
		    ftruncate(lines->fd, st.st_size - (off_t)lines->part))
			return -errno;
	} else if (write(lines->fd, "\n", 1) != 1) {
		return -errno;
	}
	lines->part = 0;
	return 0;
}

/* What the host should do: wait for room, or start anew. */
static int classify(struct osp_lines *lines, int err)
{
	lines->last_err = err;
	switch (err) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
	case -ENOMEM:
		return -EAGAIN;
	}
	return err;
}

/* One write's worth of the batch. */
static int write_some(struct osp_lines *lines, const struct osp_batch *batch, uint32_t *done)
{
	uint32_t n;
	size_t at;
	int err;

	err = lines->fd < 0 ? open_target(lines) : 0;
	if (!err)
		err = resume(lines, batch->rec[*done], &at);
	if (!err)
		err = gather_some(lines, batch, *done, &n);
	if (!err && rotates(lines) && !lines->part) {
		err = rotate_if_due(lines, lines->end[0]);
		/* A new file may begin with a head, which buf lacks. */
		if (!err && lines->need_head && lines->fmt.head.n)
			err = gather_some(lines, batch, *done, &n);
	}
	if (!err && rotates(lines) && !lines->part)
		n = trim_to_room(lines, n);
	if (err)
		return err;
	err = write_out(lines, &at);
	*done += lines_out(lines, batch, *done, n, at);
	return err;
}

int osp_lines_write(struct osp_lines *lines, const struct osp_batch *batch, uint32_t *done)
{
	int err = 0;

	*done = 0;
	while (!err && *done < batch->n)
		err = write_some(lines, batch, done);
	if (err)
		return classify(lines, err);
	lines->last_err = 0;
	return 0;
}

void osp_lines_stats(const struct osp_lines *lines, struct osp_sink_stats *st)
{
	st->bytes = lines->bytes;
	st->acked = lines->records;
	st->last_err = lines->last_err;
}

/* The path leads to the pipe that is open. */
static bool same_pipe(const struct osp_lines *lines)
{
	struct stat mine, st;

	return lines->fd >= 0 && !fstat(lines->fd, &mine) && S_ISFIFO(mine.st_mode) &&
	       !stat(lines->conf->path, &st) && st.st_dev == mine.st_dev &&
	       st.st_ino == mine.st_ino;
}

/* A cut line is taken out of the old file and its record goes to the new one. Out of a pipe it
 * can't be taken, so a pipe is left as it is.
 */
int osp_lines_reopen(struct osp_lines *lines)
{
	if (lines->is_stdout || same_pipe(lines))
		return 0;
	close_target(lines);
	return open_target(lines);
}
