/* SPDX-License-Identifier: GPL-3.0-or-later */
/* osp_sink.h: all a sink's author reads, besides record/osp_record.h.
 *
 * The host (sinks/host.h) owns batches, the bounded queue, retries, the drop policy and the
 * counters of every sink; a sink only takes records to their destination and says how it went.
 * Each instance has a thread of its own, so a sink may block; its calls never overlap.
 *
 * For every sink, always: offered = accepted + rejected + dropped + queued.
 */
#ifndef OSP_SINK_H
#define OSP_SINK_H

#include "record/osp_record.h"

#include <stddef.h>
#include <stdint.h>

/* A bump is an incompatible change; growth at the tail of a struct is told by its size. */
#define OSP_SINK_ABI 2u

struct osp_sink;		/* a sink's own state, opaque to the host */

/* Records of a batch belong to the host and die when write() returns: copy what is kept.
 * They are in the order they were made, seq ascending.
 */
struct osp_batch {
	const struct osp_record *const *rec;
	uint32_t n;
};

struct osp_sink_stats {
	uint32_t size;		/* sizeof(struct osp_sink_stats) of whoever fills it */
	int32_t last_err;	/* last -errno, 0 none */
	uint64_t bytes;		/* written to the destination */
	uint64_t acked;		/* confirmed by the destination; = accepted where it confirms at once */
	uint64_t lost;		/* taken by write(), then lost by the destination */
	uint64_t held;		/* taken, not confirmed yet */
};

/* What the host does for a sink, so that a plugin needs no symbols of ours. */
struct osp_host {
	uint32_t abi, size;
	/* One line for the operator. level: 0 error, 1 warning, 2 info, 3 debug. */
	void (*log)(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
	/* The record as one JSON object, no newline. Returns its length; if that is > cap, buf
	 * holds nothing of use: call again with more room. Never fails otherwise.
	 */
	size_t (*json)(const struct osp_record *rec, char *buf, size_t cap);
	/* CLOCK_REALTIME ns. */
	uint64_t (*now)(void);
};

/* One setting, "key=value" on the command line (--sink name:key=value,key=value). The struct that
 * offset points into is calloc'ed by the host with the defaults parsed in, and lives until
 * after close().
 */
enum osp_opt_type {
	OSP_OPT_END = 0,
	OSP_OPT_STR,		/* const char * */
	OSP_OPT_BOOL,		/* int: 0, 1 */
	OSP_OPT_INT,		/* int64_t */
	OSP_OPT_SIZE,		/* uint64_t bytes; K, M, G suffixes are powers of 1024 */
	OSP_OPT_TIME,		/* uint64_t ns; ns, us, ms, s, m, h suffixes, s if none */
	OSP_OPT_ENUM,		/* int: index into the '|'-separated words of `words` */
	OSP_OPT_PAIRS		/* const char *: "k=v\n..." of every key starting with `key` */
};

struct osp_opt {
	const char *key;
	int type;		/* enum osp_opt_type */
	size_t offset;
	const char *def;	/* default as text; NULL: zero/NULL = unset */
	int64_t min, max;	/* for INT, SIZE, TIME; both 0: any value that is not negative */
	const char *words;	/* for ENUM */
	const char *help;
};

struct osp_sink_ops {
	uint32_t abi, size;	/* first, for ever: OSP_SINK_ABI, sizeof(struct osp_sink_ops) */
	const char *name;
	const struct osp_opt *opts;	/* ended by OSP_OPT_END; NULL: takes none */
	size_t conf_size;
	/* Called before capture starts, and again after a failure. 0; -EINVAL: the configuration
	 * is at fault, err says how (the agent ends with 78 before it loads anything); -EAGAIN:
	 * the destination is not there yet, the host tries again; other -errno: as -EINVAL at
	 * start, as -EAGAIN later. err: what a person needs to know, one line.
	 */
	int (*open)(const struct osp_host *host, const void *conf, struct osp_sink **out,
		    char *err, size_t err_size);
	/* Records [0, *done) are taken, whatever is returned. 0: all of them. -EAGAIN: no room
	 * now; the host keeps the rest and retries with backoff. -EBADMSG, -EMSGSIZE: record
	 * *done can never be taken; it is counted rejected and the host goes on after it.
	 * Other -errno: the instance is broken; the host closes it, reopens with backoff and goes
	 * on at *done.
	 */
	int (*write)(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done);
	/* Everything taken reaches its destination, or deadline_ns (CLOCK_MONOTONIC) passes:
	 * 0 or -EAGAIN. NULL: write() keeps nothing. Called when the queue runs empty, too, so that
	 * a reader sees records at once.
	 */
	int (*flush)(struct osp_sink *sink, uint64_t deadline_ns);
	void (*stats)(const struct osp_sink *sink, struct osp_sink_stats *st);	/* may be NULL */
	/* SIGHUP: open files anew. May be NULL. Errors as write(). */
	int (*reopen)(struct osp_sink *sink);
	void (*close)(struct osp_sink *sink);	/* cannot fail, does not flush */
};

/* A plugin exports osp_sink_entry of this type; NULL refuses the host's ABI. */
typedef const struct osp_sink_ops *(*osp_sink_entry_fn)(uint32_t host_abi);

#endif
