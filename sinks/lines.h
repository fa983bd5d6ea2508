/* SPDX-License-Identifier: GPL-3.0-or-later */
/* lines.h: text lines to a file, a pipe or stdout, whole ones only; files that are rotated. What
 * jsonl and csv share: they say how a record's line looks, this does the rest.
 *
 * @thread the sink's.
 */
#ifndef OSP_SINKS_LINES_H
#define OSP_SINKS_LINES_H

#include "sinks/osp_sink.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* First member of a sink's configuration. */
struct osp_lines_conf {
	const char *path, *mode;
	uint64_t rotate_bytes;		/* 0: never by size */
	uint64_t rotate_ns;		/* 0: never by time */
	int64_t keep;			/* rotated files; 0: all */
	int append;
	int compress;			/* enum osp_pack */
	int opened;	/* no option: append=no must empty the file once, not at every reopening */
};

/* Its rows in the sink's table of options. */
#define OSP_LINES_OPTS                                                                             \
	{ "path", OSP_OPT_STR, offsetof(struct osp_lines_conf, path), "-", 0, 0, NULL,             \
	  "file to write; - is stdout" },                                                          \
	{ "mode", OSP_OPT_STR, offsetof(struct osp_lines_conf, mode), "0600", 0, 0, NULL,          \
	  "permissions of a new file, octal" },                                                    \
	{ "append", OSP_OPT_BOOL, offsetof(struct osp_lines_conf, append), "yes", 0, 0, NULL,      \
	  "no: empty the file at the start" },                                                     \
	{ "rotate", OSP_OPT_SIZE, offsetof(struct osp_lines_conf, rotate_bytes), NULL, 0,          \
	  1ll << 60, NULL, "begin a new file before this one gets longer; 0: never" },             \
	{ "rotate_every", OSP_OPT_TIME, offsetof(struct osp_lines_conf, rotate_ns), NULL, 0,       \
	  INT64_MAX, NULL, "begin a new file when this one is this old; 0: never" },               \
	{ "keep", OSP_OPT_INT, offsetof(struct osp_lines_conf, keep), NULL, 0, 1000000, NULL,      \
	  "rotated files to keep; 0: all" },                                                       \
	{ "compress", OSP_OPT_ENUM, offsetof(struct osp_lines_conf, compress), "none", 0, 0,       \
	  "none|gzip|zstd", "how rotated files are packed" }

struct osp_lines_fmt {
	/* The record's line with its line end. Returns its length; what is longer than cap is
	 * asked for again with room. -errno: no line can be made (-ENOMEM: now; -EBADMSG: ever).
	 */
	ssize_t (*line)(void *ctx, const struct osp_record *rec, char *buf, size_t cap);
	void *ctx;
	struct osp_slice head;		/* first line of every file, with its end; n == 0: none */
	struct osp_slice mark;		/* how each line begins; n == 0: lines can't be told */
};

struct osp_lines;

/* All as osp_sink_ops's. What fmt points to must outlive the lines. */
int osp_lines_open(struct osp_lines **out, const struct osp_host *host,
		   struct osp_lines_conf *conf, const struct osp_lines_fmt *fmt, char *err,
		   size_t err_size);
int osp_lines_write(struct osp_lines *lines, const struct osp_batch *batch, uint32_t *done);
void osp_lines_stats(const struct osp_lines *lines, struct osp_sink_stats *st);
int osp_lines_reopen(struct osp_lines *lines);
/* NULL is fine. */
void osp_lines_close(struct osp_lines *lines);

#endif
