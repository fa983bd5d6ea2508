/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_recon_side.c: any bytes as the files of both sides of recon-diff, which tells by itself what
 * they are: records, Zeek, Suricata, HAR, recordings, captures, compressed or not. Read, joined,
 * matched, judged; the sums must close, and with the sides swapped the verdicts are mirrored.
 *
 * The input is A's file, then SPLIT and B's file; without SPLIT both are the same file.
 */
#include "agent/base/log.h"
#include "recon/recon.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char split[] = "\n--SPLIT--\n";

struct file {
	int fd;
	char path[64];
};

static void make(struct file *file, const void *p, size_t n)
{
	file->fd = memfd_create("side", 0);
	if (file->fd < 0 || write(file->fd, p, n) != (ssize_t)n)
		abort();
	snprintf(file->path, sizeof(file->path), "/proc/self/fd/%d", file->fd);
}

/* 0, and the verdicts; or that it was no input. */
static int compare(struct file *a, struct file *b, struct rc_result *out)
{
	char *path[2] = { a->path, b->path };
	struct rc_conf conf = {
		.path = { &path[0], &path[1] },
		.path_n = { 1, 1 },
		.window_ns = 60 * RC_NS_PER_S,
		.guard_ns = -1,
		.tol_ns = 1000000,
		.tol_pct = 5,
	};
	struct rc_model *m = calloc(1, sizeof(*m));
	int err = 0;

	if (!m)
		abort();
	m->conf = &conf;
	for (int s = 0; s < 2; s++) {
		m->side[s] = (struct rc_side){ .conf = &conf,
					       .idx = s,
					       .name = s ? "B" : "A",
					       .first_ns = INT64_MAX,
					       .last_ns = INT64_MIN,
					       .explain_off = UINT64_MAX,
					       .store = { .spool = -1 } };
	}
	for (int s = 0; s < 2 && !err; s++)
		err = rc_side_read(&m->side[s]);
	if (!err)
		err = rc_model_join(m);
	if (!err)
		err = rc_match(m);
	if (!err)
		err = rc_judge(m, NULL, NULL);
	if (err == -EILSEQ)
		abort();
	*out = m->res;
	rc_model_fini(m);
	free(m);
	return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *cut = memmem(data, size, split, sizeof(split) - 1);
	const uint8_t *second = cut ? cut + sizeof(split) - 1 : data;
	static struct rc_result res, swapped;
	struct file a, b;

	osp_log_init("fuzz", OSP_LOG_ERR);
	make(&a, data, cut ? (size_t)(cut - data) : size);
	make(&b, second, size - (size_t)(second - data));
	if (!compare(&a, &b, &res)) {
		if (compare(&b, &a, &swapped) ||
		    res.verdict[RC_MATCH] != swapped.verdict[RC_MATCH] ||
		    res.verdict[RC_DIFFERS] != swapped.verdict[RC_DIFFERS] ||
		    res.verdict[RC_ONLY_A] != swapped.verdict[RC_ONLY_B] ||
		    res.verdict[RC_ONLY_B] != swapped.verdict[RC_ONLY_A] ||
		    res.verdict[RC_AMBIGUOUS] != swapped.verdict[RC_AMBIGUOUS])
			abort();
		if (!cut && (res.verdict[RC_DIFFERS] || res.verdict[RC_ONLY_A] != res.verdict[RC_ONLY_B]))
			abort();
	}
	close(a.fd);
	close(b.fd);
	return 0;
}
