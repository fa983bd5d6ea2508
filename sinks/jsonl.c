/* SPDX-License-Identifier: GPL-3.0-or-later */
/* jsonl.c: one JSON object a line, to a file, a pipe or stdout.
 *
 * Lines stay whole. The lines of a batch are gathered and written in one piece; when the system
 * takes only a part of it, the bytes of the cut line that are out (part) are remembered and left
 * away when the host offers that record again. A regular file that is closed in this state loses
 * the cut line, because its record was never counted as taken.
 *
 * When a file is opened whose end is not the end of a line, an earlier writer died in the middle:
 * a last line that is ours (begins like a record) is cut off; anything else gets the newline it
 * lacks, so that nothing of other programs is lost.
 *
 * Durability is the file system's: no fsync.
 */
#include "sinks/builtin.h"

#include "agent/base/opt.h"

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

struct jsonl_conf {
	const char *path;
	const char *mode;
	int append;
	int opened;	/* no option: append=no must empty the file once, not at every reopening */
};

struct osp_sink {
	const struct osp_host *host;
	struct jsonl_conf *conf;
	int fd;
	bool is_stdout;
	bool regular;
	mode_t mode;
	size_t part;			/* bytes of the next record's line that are out already */
	uint64_t part_seq;		/* which record that is */
	char *buf;
	size_t cap, len;
	uint32_t *end;			/* where the lines in buf end */
	uint32_t end_cap;
	uint64_t bytes;
	int last_err;
};

static const struct osp_opt jsonl_opts[] = {
	{ "path", OSP_OPT_STR, offsetof(struct jsonl_conf, path), "-", 0, 0, NULL,
	  "file to write; - is stdout" },
	{ "mode", OSP_OPT_STR, offsetof(struct jsonl_conf, mode), "0600", 0, 0, NULL,
	  "permissions of a new file, octal" },
	{ "append", OSP_OPT_BOOL, offsetof(struct jsonl_conf, append), "yes", 0, 0, NULL,
	  "no: empty the file at the start" },
	{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
};

/* ---- opening ------------------------------------------------------------------------------- */

/* Whether the n bytes at line begin like a record of ours, as far as they go. */
static bool is_ours(const char *line, size_t n)
{
	static const char head[] = "{\"schema\":\"osprey/";

	return !memcmp(line, head, n < sizeof(head) - 1 ? n : sizeof(head) - 1);
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

static int mend_tail(struct osp_sink *sink, off_t size)
{
	char head[32];
	ssize_t n;
	off_t at;

	if (!size || pread(sink->fd, head, 1, size - 1) != 1 || head[0] == '\n')
		return 0;
	at = last_line(sink->fd, size);
	n = at < 0 ? -1 : pread(sink->fd, head, sizeof(head), at);
	if (n > 0 && is_ours(head, (size_t)n)) {
		sink->host->log(1, "%s: its last line was cut off in the middle; removed",
				sink->conf->path);
		return ftruncate(sink->fd, at) ? -errno : 0;
	}
	return write(sink->fd, "\n", 1) == 1 ? 0 : -errno;
}

/* Our own fd of stdout, so that closing ours leaves it alone. A pipe whose reader has gone takes
 * nothing ever again, and says so before the first write.
 */
static int open_stdout(struct osp_sink *sink)
{
	struct pollfd pfd = { .fd = STDOUT_FILENO };
	struct stat st;

	if (poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLERR | POLLNVAL))
		return pfd.revents & POLLNVAL ? -EBADF : -EPIPE;
	sink->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (sink->fd < 0)
		return -errno;
	sink->is_stdout = true;
	/* A regular file as stdout may be shared with others: its tail is not ours to cut. */
	sink->regular = false;
	return fstat(sink->fd, &st) ? -errno : 0;
}

static int open_path(struct osp_sink *sink)
{
	const char *path = sink->conf->path;
	int flags = O_APPEND | O_CLOEXEC | O_NOCTTY;
	struct stat st;

	/* A FIFO without a reader must not hold us, one opened for reading too never would say
	 * that its reader has gone.
	 */
	if (!stat(path, &st) && S_ISFIFO(st.st_mode)) {
		sink->fd = open(path, flags | O_WRONLY | O_NONBLOCK);
		return sink->fd < 0 ? -errno : 0;
	}
	if (!sink->conf->append && !sink->conf->opened)
		flags |= O_TRUNC;
	sink->fd = open(path, flags | O_RDWR | O_CREAT | O_EXCL, sink->mode);
	if (sink->fd >= 0)
		fchmod(sink->fd, sink->mode);	/* whatever the umask */
	else if (errno == EEXIST)
		sink->fd = open(path, flags | O_RDWR | O_CREAT, sink->mode);
	if (sink->fd < 0)
		return -errno;
	if (fstat(sink->fd, &st))
		return -errno;
	sink->regular = S_ISREG(st.st_mode);
	return sink->regular ? mend_tail(sink, st.st_size) : 0;
}

static int open_target(struct osp_sink *sink)
{
	int err;

	sink->part = 0;
	sink->regular = false;
	err = strcmp(sink->conf->path, "-") ? open_path(sink) : open_stdout(sink);
	if (err && sink->fd >= 0) {
		close(sink->fd);
		sink->fd = -1;
	}
	if (!err)
		sink->conf->opened = 1;
	/* What may change by itself is worth waiting for. */
	if (err == -ENXIO || err == -ENOSPC || err == -EDQUOT || err == -EMFILE || err == -ENFILE)
		err = -EAGAIN;
	return err;
}

/* Ends the target; a line that is out in part goes too, where it can. */
static void close_target(struct osp_sink *sink)
{
	struct stat st;

	if (sink->fd < 0)
		return;
	if (sink->part && sink->regular && !fstat(sink->fd, &st) &&
	    st.st_size >= (off_t)sink->part &&
	    ftruncate(sink->fd, st.st_size - (off_t)sink->part))
		sink->host->log(1, "%s: ends with a cut line", sink->conf->path);
	close(sink->fd);
	sink->fd = -1;
	sink->part = 0;
}

static void jsonl_close(struct osp_sink *sink)
{
	if (!sink)
		return;
	close_target(sink);
	free(sink->buf);
	free(sink->end);
	free(sink);
}

static void explain(const struct osp_sink *sink, int err, char *text, size_t size)
{
	const char *path = sink->conf->path;

	if (err == -EISDIR)
		snprintf(text, size, "%s is a directory; path= wants a file", path);
	else if (err == -EPIPE)
		snprintf(text, size, "stdout: its reader has gone");
	else
		snprintf(text, size, "%s: %s", strcmp(path, "-") ? path : "stdout",
			 strerrordesc_np(-err));
}

static int jsonl_open(const struct osp_host *host, const void *conf, struct osp_sink **out,
		      char *err, size_t err_size)
{
	struct osp_sink *sink = calloc(1, sizeof(*sink));
	uint32_t mode;
	int ret;

	if (!sink)
		return -ENOMEM;
	sink->host = host;
	sink->conf = (struct jsonl_conf *)conf;	/* ours until close, see struct osp_opt */
	sink->fd = -1;
	if (osp_parse_octal(sink->conf->mode, &mode) || mode > 0777) {
		snprintf(err, err_size, "mode=%s: not octal permissions such as 0600",
			 sink->conf->mode);
		ret = -EINVAL;
		goto out;
	}
	sink->mode = (mode_t)mode;
	ret = open_target(sink);
	if (ret) {
		explain(sink, ret, err, err_size);
		goto out;
	}
	*out = sink;
	sink = NULL;
out:
	jsonl_close(sink);
	return ret;
}

/* ---- writing ------------------------------------------------------------------------------- */

static int grow(struct osp_sink *sink, size_t need)
{
	size_t cap = sink->cap ? sink->cap : 2 * GATHER_BYTES;
	char *buf;

	while (cap < need)
		cap *= 2;
	if (cap == sink->cap)
		return 0;
	buf = realloc(sink->buf, cap);
	if (!buf)
		return -ENOMEM;
	sink->buf = buf;
	sink->cap = cap;
	return 0;
}

/* Appends the record's line to buf. */
static int gather(struct osp_sink *sink, const struct osp_record *rec)
{
	size_t room = sink->cap - sink->len, n;
	int err;

	n = sink->host->json(rec, sink->buf + sink->len, room ? room - 1 : 0);
	if (n + 1 > room) {
		err = grow(sink, sink->len + n + 1);
		if (err)
			return err;
		sink->host->json(rec, sink->buf + sink->len, n);
	}
	sink->buf[sink->len + n] = '\n';
	sink->len += n + 1;
	return 0;
}

static int grow_ends(struct osp_sink *sink, uint32_t n)
{
	uint32_t *end;

	if (n <= sink->end_cap)
		return 0;
	end = realloc(sink->end, n * sizeof(*end));
	if (!end)
		return -ENOMEM;
	sink->end = end;
	sink->end_cap = n;
	return 0;
}

/* Gathers records of the batch from first on, until there is enough for one write; *n says how
 * many.
 */
static int gather_some(struct osp_sink *sink, const struct osp_batch *batch, uint32_t first,
		       uint32_t *n)
{
	int err = grow_ends(sink, batch->n);

	sink->len = 0;
	*n = 0;
	if (!err)
		err = grow(sink, GATHER_BYTES);
	while (!err && first + *n < batch->n && sink->len < GATHER_BYTES) {
		err = gather(sink, batch->rec[first + *n]);
		/* A line that long can't be had in one piece. */
		if (!err && sink->len > UINT32_MAX)
			return *n ? 0 : -EMSGSIZE;
		if (!err)
			sink->end[(*n)++] = (uint32_t)sink->len;
	}
	return *n ? 0 : err;
}

/* Writes buf from *at on; *at says how far it got. */
static int write_out(struct osp_sink *sink, size_t *at)
{
	struct pollfd pfd = { .fd = sink->fd, .events = POLLOUT };
	bool waited = false;
	ssize_t n;

	while (*at < sink->len) {
		n = write(sink->fd, sink->buf + *at, sink->len - *at);
		if (n > 0) {
			*at += (size_t)n;
			sink->bytes += (uint64_t)n;
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
static uint32_t lines_out(struct osp_sink *sink, const struct osp_batch *batch, uint32_t first,
			  uint32_t n, size_t at)
{
	uint32_t full = 0;

	while (full < n && sink->end[full] <= at)
		full++;
	sink->part = at - (full ? sink->end[full - 1] : 0);
	if (sink->part)
		sink->part_seq = batch->rec[first + full]->seq;
	return full;
}

/* Before the first line: the bytes of it that are out already. If the host comes with another
 * record, the cut one was given up: its bytes go, or at least its line ends.
 */
static int resume(struct osp_sink *sink, const struct osp_record *rec, size_t *at)
{
	struct stat st;

	*at = 0;
	if (!sink->part)
		return 0;
	if (rec->seq == sink->part_seq) {
		*at = sink->part;
		return 0;
	}
	if (sink->regular) {
		if (fstat(sink->fd, &st) ||
		    ftruncate(sink->fd, st.st_size - (off_t)sink->part))
			return -errno;
	} else if (write(sink->fd, "\n", 1) != 1) {
		return -errno;
	}
	sink->part = 0;
	return 0;
}

/* What the host should do: wait for room, or start anew. */
static int classify(struct osp_sink *sink, int err)
{
	if (!err)
		return 0;
	sink->last_err = err;
	switch (err) {
	case -ENOSPC:
	case -EDQUOT:
	case -EFBIG:
	case -ENOMEM:
		return -EAGAIN;
	}
	return err;
}

static int jsonl_write(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done)
{
	uint32_t n;
	size_t at;
	int err;

	*done = 0;
	while (*done < batch->n) {
		err = resume(sink, batch->rec[*done], &at);
		if (!err)
			err = gather_some(sink, batch, *done, &n);
		if (!err) {
			err = write_out(sink, &at);
			*done += lines_out(sink, batch, *done, n, at);
		}
		if (err)
			return classify(sink, err);
	}
	sink->last_err = 0;
	return 0;
}

static void jsonl_stats(const struct osp_sink *sink, struct osp_sink_stats *st)
{
	st->bytes = sink->bytes;
	st->last_err = sink->last_err;
}

/* A cut line is taken out of the old file and its record goes to the new one. */
static int jsonl_reopen(struct osp_sink *sink)
{
	if (sink->is_stdout)
		return 0;
	close_target(sink);
	return open_target(sink);
}

const struct osp_sink_ops osp_sink_jsonl = {
	.abi = OSP_SINK_ABI,
	.size = sizeof(struct osp_sink_ops),
	.name = "jsonl",
	.opts = jsonl_opts,
	.conf_size = sizeof(struct jsonl_conf),
	.open = jsonl_open,
	.write = jsonl_write,
	.stats = jsonl_stats,
	.reopen = jsonl_reopen,
	.close = jsonl_close,
};
