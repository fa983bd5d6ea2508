/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compress.c: rotated files packed with gzip (RFC 1952) or zstd (RFC 8878).
 *
 * The file that is being written stays plain: it can be tailed, its lines are whole after a crash,
 * and packing costs no time on the way of a record. That is why there is no packing of the stream.
 */
#include "sinks/compress.h"

#include "sinks/rotate.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#define BLOCK (128u << 10)
/* Their own defaults: more costs much time for a few per cent. */
#define GZIP_LEVEL 6
#define ZSTD_LEVEL 3
#define GZIP_WRAPPER (15 + 16)	/* largest window, gzip's header: see deflateInit2() */
#define NICE 10
/* One line about failures in this time. */
#define SAY_NS 10000000000ull

struct osp_packer {
	const struct osp_host *host;
	char *path;
	enum osp_pack how;
	mode_t mode;
	uint64_t keep;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool work;			/* lock */
	_Atomic bool stop;
	uint64_t said_ns;		/* host->now() */
};

/* ---- streams ------------------------------------------------------------------------------- */

static int write_all(int fd, const char *p, size_t n)
{
	ssize_t did;

	for (; n; p += did, n -= (size_t)did) {
		did = write(fd, p, n);
		if (did < 0 && errno == EINTR)
			did = 0;
		else if (did < 0)
			return -errno;
	}
	return 0;
}

static ssize_t read_some(int fd, char *p, size_t n)
{
	ssize_t did;

	do
		did = read(fd, p, n);
	while (did < 0 && errno == EINTR);
	return did < 0 ? -errno : did;
}

static bool stopped(const _Atomic bool *stop)
{
	return stop && *stop;
}

static int gzip_block(z_stream *z, int fd, char *out, bool last)
{
	int err = 0, ret;

	do {
		z->next_out = (unsigned char *)out;
		z->avail_out = BLOCK;
		ret = deflate(z, last ? Z_FINISH : Z_NO_FLUSH);
		if (ret == Z_STREAM_ERROR)
			return -EIO;
		err = write_all(fd, out, BLOCK - z->avail_out);
	} while (!err && !z->avail_out);
	return err;
}

static int gzip_fd(int in, int out, char *from, char *to, const _Atomic bool *stop)
{
	z_stream z = { .zalloc = Z_NULL };
	ssize_t n = 1;
	int err = 0;

	if (deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, GZIP_WRAPPER, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	while (!err && n > 0) {
		n = read_some(in, from, BLOCK);
		z.next_in = (unsigned char *)from;
		z.avail_in = n > 0 ? (unsigned int)n : 0;
		err = n < 0 ? (int)n : stopped(stop) ? -ECANCELED : gzip_block(&z, out, to, !n);
	}
	deflateEnd(&z);
	return err;
}

static int zstd_block(ZSTD_CCtx *z, int fd, char *from, size_t n, char *to)
{
	ZSTD_inBuffer in = { from, n, 0 };
	size_t left = 0;
	int err = 0;

	do {
		ZSTD_outBuffer out = { to, BLOCK, 0 };

		left = ZSTD_compressStream2(z, &out, &in, n ? ZSTD_e_continue : ZSTD_e_end);
		if (ZSTD_isError(left))
			return -EIO;
		err = write_all(fd, to, out.pos);
	} while (!err && (n ? in.pos < in.size : left > 0));
	return err;
}

static int zstd_fd(int in, int out, char *from, char *to, const _Atomic bool *stop)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();
	ssize_t n = 1;
	int err = z ? 0 : -ENOMEM;

	if (z) {
		ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, ZSTD_LEVEL);
		ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	}
	while (!err && n > 0) {
		n = read_some(in, from, BLOCK);
		err = n < 0 ? (int)n : stopped(stop) ? -ECANCELED :
						       zstd_block(z, out, from, (size_t)n, to);
	}
	ZSTD_freeCCtx(z);
	return err;
}

int osp_pack_fd(enum osp_pack how, int in, int out, const _Atomic bool *stop)
{
	char *from = malloc(BLOCK), *to = malloc(BLOCK);
	int err = -ENOMEM;

	if (from && to)
		err = how == OSP_PACK_ZSTD ? zstd_fd(in, out, from, to, stop) :
					     gzip_fd(in, out, from, to, stop);
	free(from);
	free(to);
	return err;
}

/* ---- files --------------------------------------------------------------------------------- */

/* Writes name's packed form to part, all of it or nothing. */
static int pack_to(struct osp_packer *packer, const char *name, const char *part)
{
	int in, out = -1, err = 0;

	in = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (in < 0)
		return -errno;
	/* What a crash left behind may have any permissions. */
	unlink(part);
	out = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, packer->mode);
	if (out < 0) {
		err = -errno;
		goto out;
	}
	fchmod(out, packer->mode);
	err = osp_pack_fd(packer->how, in, out, &packer->stop);
	/* The plain file goes next: the packed one must be on the disk by then. */
	if (!err && fdatasync(out))
		err = -errno;
out:
	close(in);
	if (out >= 0) {
		if (close(out) && !err)
			err = -errno;
		if (err)
			unlink(part);
	}
	return err;
}

static int pack_file(struct osp_packer *packer, const char *name)
{
	char part[PATH_MAX], to[PATH_MAX];
	int n, m, err;

	n = snprintf(part, sizeof(part), "%s.part", name);
	m = snprintf(to, sizeof(to), "%s%s", name,
		     packer->how == OSP_PACK_ZSTD ? ".zst" : ".gz");
	if (n < 0 || m < 0 || (size_t)n >= sizeof(part) || (size_t)m >= sizeof(to))
		return -ENAMETOOLONG;
	err = pack_to(packer, name, part);
	if (err)
		return err;
	if (rename(part, to)) {
		err = -errno;
		unlink(part);
		return err;
	}
	return unlink(name) ? -errno : 0;
}

static void say(struct osp_packer *packer, const char *what, int err)
{
	uint64_t now = packer->host->now();

	if (!err || err == -ECANCELED || err == -ENOENT ||
	    (packer->said_ns && now - packer->said_ns < SAY_NS))
		return;
	packer->said_ns = now;
	packer->host->log(1, "%s: not packed: %s", what, strerrordesc_np(-err));
}

static void pack_all(struct osp_packer *packer)
{
	struct osp_rotated *list;
	size_t n;
	int err;

	if (packer->keep)
		osp_rotate_tidy(packer->path, packer->keep);
	err = osp_rotate_list(packer->path, &list, &n);
	say(packer, packer->path, err);
	for (size_t i = 0; i < n && !packer->stop; i++)
		if (!list[i].packed)
			say(packer, list[i].path, pack_file(packer, list[i].path));
	osp_rotate_list_free(list, n);
	if (packer->keep)
		osp_rotate_tidy(packer->path, packer->keep);
}

/* ---- thread -------------------------------------------------------------------------------- */

static void *packer_thread(void *arg)
{
	struct osp_packer *packer = arg;

	/* On Linux a thread's own. */
	setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
	pthread_mutex_lock(&packer->lock);
	while (!packer->stop) {
		if (!packer->work) {
			pthread_cond_wait(&packer->wake, &packer->lock);
			continue;
		}
		packer->work = false;
		pthread_mutex_unlock(&packer->lock);
		pack_all(packer);
		pthread_mutex_lock(&packer->lock);
	}
	pthread_mutex_unlock(&packer->lock);
	return NULL;
}

static int start(struct osp_packer *packer)
{
	sigset_t all, old;
	int err;

	/* Signals are the agent's loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&packer->thread, NULL, packer_thread, packer);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (!err)
		pthread_setname_np(packer->thread, "osprey pack");
	return -err;
}

int osp_packer_new(struct osp_packer **out, const struct osp_host *host, const char *path,
		   enum osp_pack how, mode_t mode, uint64_t keep)
{
	struct osp_packer *packer = calloc(1, sizeof(*packer));
	int err = -ENOMEM;

	if (!packer)
		return err;
	packer->host = host;
	packer->path = strdup(path);
	packer->how = how;
	packer->mode = mode;
	packer->keep = keep;
	packer->work = true;	/* what an earlier run left plain */
	pthread_mutex_init(&packer->lock, NULL);
	pthread_cond_init(&packer->wake, NULL);
	if (packer->path)
		err = start(packer);
	if (err) {
		free(packer->path);
		free(packer);
		return err;
	}
	*out = packer;
	return 0;
}

void osp_packer_wake(struct osp_packer *packer)
{
	pthread_mutex_lock(&packer->lock);
	packer->work = true;
	pthread_cond_signal(&packer->wake);
	pthread_mutex_unlock(&packer->lock);
}

void osp_packer_free(struct osp_packer *packer)
{
	if (!packer)
		return;
	pthread_mutex_lock(&packer->lock);
	packer->stop = true;
	pthread_cond_signal(&packer->wake);
	pthread_mutex_unlock(&packer->lock);
	pthread_join(packer->thread, NULL);
	pthread_cond_destroy(&packer->wake);
	pthread_mutex_destroy(&packer->lock);
	free(packer->path);
	free(packer);
}
