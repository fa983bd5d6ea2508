/* SPDX-License-Identifier: GPL-3.0-or-later */
/* calls.c: what a system call costs the thread that makes it.
 *
 *   calls PORT BATCHES
 *
 * For each kind of call a line "name p10 p50 batches": nanoseconds of the thread's own CPU time per
 * call, as the 10th and 50th percentile over batches of about half a millisecond. A batch that a
 * neighbour or an interrupt disturbed is slower, never faster, so the low percentile is what the
 * call costs; CPU time rather than wall time, so that being preempted does not count.
 *
 * The TCP pair is on 127.0.0.1, its listening end on PORT, so that an agent's --port can select it.
 * tests/bench/run compares runs with and without an agent.
 */
#include "agent/base/opt.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SIZE 1024
#define FILE_SIZE (1024 * SIZE)		/* rewound once in so many calls: 0.1 % of the figure */
#define BATCH_NS 500000.0
#define BATCHES_MAX 10000
/* Captured calls make about 1 GB of events a second, more than any reader takes. After BURST
 * batches we rest, so that the ring is drained and what is measured is an event that was made, not
 * one that was dropped (which is cheaper).
 */
#define BURST 4
#define REST_NS 30000000

struct env {
	int file, tcp[2], local[2];
	uint32_t at;			/* in the file, calls since it was rewound */
	uint32_t waiting;		/* bytes sent and not received, run_tiny() */
	char buf[SIZE];
};

struct call {
	const char *name;
	int (*run)(struct env *env, uint32_t n);	/* n calls: 0 or -errno */
	bool captured;					/* an agent may make events of it */
};

static double cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

/* ---- the calls ------------------------------------------------------------------------------ */

static int run_getppid(struct env *env, uint32_t n)
{
	(void)env;
	while (n--)
		syscall(SYS_getppid);	/* not through a library that could remember the answer */
	return 0;
}

static int rewind_file(struct env *env)
{
	if (env->at++ % (FILE_SIZE / SIZE))
		return 0;
	return lseek(env->file, 0, SEEK_SET) < 0 ? -errno : 0;
}

static int run_read(struct env *env, uint32_t n)
{
	int err = 0;

	while (n-- && !err) {
		err = rewind_file(env);
		if (!err && read(env->file, env->buf, SIZE) != SIZE)
			err = -EIO;
	}
	return err;
}

static int run_write(struct env *env, uint32_t n)
{
	int err = 0;

	while (n-- && !err) {
		err = rewind_file(env);
		if (!err && write(env->file, env->buf, SIZE) != SIZE)
			err = -EIO;
	}
	return err;
}

static int exchange(const int *pair, char *buf)
{
	ssize_t got;

	if (send(pair[0], buf, SIZE, MSG_NOSIGNAL) != SIZE)
		return -EIO;
	for (size_t have = 0; have < SIZE; have += (size_t)got) {
		got = recv(pair[1], buf, SIZE - have, 0);
		if (got <= 0)
			return got ? -errno : -EPIPE;
	}
	return 0;
}

static int run_tcp(struct env *env, uint32_t n)
{
	int err = 0;

	while (n-- && !err)
		err = exchange(env->tcp, env->buf);
	return err;
}

/* Receives a byte a call; that a send of many comes before them is 1 / SIZE of the figure. */
static int run_tiny(struct env *env, uint32_t n)
{
	for (; n; n--, env->waiting--) {
		if (!env->waiting) {
			if (send(env->tcp[0], env->buf, SIZE, MSG_NOSIGNAL) != SIZE)
				return -EIO;
			env->waiting = SIZE;
		}
		if (recv(env->tcp[1], env->buf, 1, 0) != 1)
			return -EIO;
	}
	return 0;
}

static int run_unix(struct env *env, uint32_t n)
{
	int err = 0;

	while (n-- && !err)
		err = exchange(env->local, env->buf);
	return err;
}

static const struct call calls[] = {
	{ "getppid", run_getppid, false },
	{ "read", run_read, false },
	{ "write", run_write, false },
	{ "unix", run_unix, false },
	{ "tcp", run_tcp, true },
	{ "tiny", run_tiny, true },	/* last: it leaves bytes behind */
};

/* ---- measuring ------------------------------------------------------------------------------ */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* How many calls fill a batch. The last try is long enough to also warm caches. */
static int calibrate(const struct call *call, struct env *env, uint32_t *out)
{
	uint32_t n = 16;
	double took;
	int err;

	for (;;) {
		took = cpu_ns();
		err = call->run(env, n);
		took = cpu_ns() - took;
		if (err || took >= BATCH_NS / 4 || n >= 1u << 24)
			break;
		n *= 2;
	}
	n = took > 0 ? (uint32_t)((double)n * BATCH_NS / took) : n;
	*out = n ? n : 1;
	return err;
}

static int measure(const struct call *call, struct env *env, uint32_t batches, double *ns)
{
	static const struct timespec rest = { .tv_nsec = REST_NS };
	uint32_t n;
	int err = calibrate(call, env, &n);

	for (uint32_t i = 0; !err && i < batches; i++) {
		if (call->captured && i % BURST == 0)
			nanosleep(&rest, NULL);
		ns[i] = cpu_ns();
		err = call->run(env, n);
		ns[i] = (cpu_ns() - ns[i]) / n;
	}
	if (err)
		return err;
	qsort(ns, batches, sizeof(*ns), by_value);
	printf("%s %.1f %.1f %u\n", call->name, ns[batches / 10], ns[batches / 2], batches);
	return 0;
}

/* ---- setting up ----------------------------------------------------------------------------- */

static int tcp_pair(int *pair, uint16_t port)
{
	/* Nothing here waits for ever, whatever an agent did to the machine. */
	struct timeval limit = { .tv_sec = 5 };
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int lis = socket(AF_INET, SOCK_STREAM, 0), on = 1, err = 0;

	pair[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (lis < 0 || pair[0] < 0 ||
	    setsockopt(lis, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(lis, (struct sockaddr *)&addr, sizeof(addr)) || listen(lis, 1) ||
	    setsockopt(pair[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) ||
	    connect(pair[0], (struct sockaddr *)&addr, sizeof(addr))) {
		err = -errno;
		goto out;
	}
	pair[1] = accept(lis, NULL, NULL);
	if (pair[1] < 0 ||
	    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(pair[1], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)))
		err = -errno;
out:
	if (lis >= 0)
		close(lis);
	return err;
}

static int env_init(struct env *env, uint16_t port)
{
	env->file = memfd_create("bench", MFD_CLOEXEC);
	if (env->file < 0 || ftruncate(env->file, FILE_SIZE) ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, env->local))
		return -errno;
	/* Pages of a sparse file would be made by the first pass, and only by it. */
	for (uint32_t i = 0; i < FILE_SIZE / SIZE; i++)
		if (write(env->file, env->buf, SIZE) != SIZE)
			return -EIO;
	return tcp_pair(env->tcp, port);
}

static void env_fini(struct env *env)
{
	const int fd[] = { env->file, env->tcp[0], env->tcp[1], env->local[0], env->local[1] };

	for (size_t i = 0; i < sizeof(fd) / sizeof(*fd); i++)
		if (fd[i] >= 0)
			close(fd[i]);
}

int main(int argc, char **argv)
{
	struct env env = { .file = -1, .tcp = { -1, -1 }, .local = { -1, -1 } };
	uint64_t port, batches;
	double *ns = NULL;
	int err;

	if (argc != 3 || osp_parse_u64(argv[1], &port) || !port || port > UINT16_MAX ||
	    osp_parse_u64(argv[2], &batches) || !batches || batches > BATCHES_MAX) {
		fprintf(stderr, "usage: calls PORT BATCHES (at most %d)\n", BATCHES_MAX);
		return 2;
	}
	ns = calloc(batches, sizeof(*ns));
	err = ns ? env_init(&env, (uint16_t)port) : -ENOMEM;
	for (size_t i = 0; !err && i < sizeof(calls) / sizeof(*calls); i++)
		err = measure(&calls[i], &env, (uint32_t)batches, ns);
	if (err)
		fprintf(stderr, "calls: %s\n", strerror(-err));
	env_fini(&env);
	free(ns);
	return err ? 1 : 0;
}
