/* SPDX-License-Identifier: GPL-3.0-or-later */
/* common.h: what the workload programs share: HTTP messages, sockets, and telling what was done.
 *
 * A workload is a victim of the probe: it makes real connections on loopback, moves bytes by the
 * call under test and writes on stdout, one JSON object a line, what a correct probe must report:
 *
 *   {"side":{...}}  one end of one connection: owner, ports, role, bytes moved, gaps by mode.
 *                   "part": true lines of one end (several processes used it) are added up.
 *   {"txn":{...}}   one transaction as one end saw it, in the order it began.
 *   {"none":PORT}   no record may name this port.
 *   {"skip":"why"}  the kernel lacks what the workload is about.
 *   {"phase":"ready"} waiting for a byte on stdin (the agent is to be started now).
 *
 * Usage: PROGRAM PORT. PORT and PORT + 1 are the workload's own. Stdout must be opened for
 * appending (several processes write it). The body of a response is as long as the request's
 * target asks: "?r=BYTES".
 */
#ifndef OSP_TESTS_SYSCALLS_COMMON_H
#define OSP_TESTS_SYSCALLS_COMMON_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* The agent's default for --capture-cap: what one call moves beyond it is a gap "capture_cap". */
#define CAPTURE_CAP (256u << 10)
#define KEEP_MAX (256u << 10)	/* messages up to this long are kept whole and get a digest */
#define GAPS_MAX 4

enum mode { SOCK, SYSC, MODES };
enum dir { TX, RX, DIRS };

struct prog {
	const char *name;
	uint16_t port;
	bool hold;		/* collect lines instead of writing each at once */
	size_t out_n;
	char out[1 << 16];
};

static struct prog prog UNUSED;

struct gap {
	const char *cause;	/* "a|b": either of them */
	uint64_t n;
};

/* One end of a connection. */
struct side {
	int fd;
	bool client, part, idle, midstream, subset;
	uint16_t lport, rport;
	char laddr[INET6_ADDRSTRLEN], raddr[INET6_ADDRSTRLEN];
	const char *end;	/* how the connection record must say it ended; NULL: not checked */
	const char *allow;	/* cause that may take any number of bytes; NULL none */
	uint64_t moved[DIRS];
	struct gap gap[MODES][DIRS][GAPS_MAX];
	uint32_t tids[4];	/* threads that moved bytes */
	uint32_t tid_n;
	size_t have;
	char buf[KEEP_MAX];
};

struct msg {
	char method[16], target[160];
	int status;
	uint64_t head, body, want;	/* want: r= of a request's target */
	uint64_t digest;
	bool has_digest;
};

/* The calls under test, in the shape of write(2) and read(2). */
struct io {
	ssize_t (*tx)(int fd, const void *p, size_t n);
	ssize_t (*rx)(int fd, void *p, size_t n);
};

/* ---- failing, telling ------------------------------------------------------------------------ */

static inline void __attribute__((format(printf, 1, 2), noreturn)) die(const char *fmt, ...)
{
	int err = errno;
	va_list ap;

	fprintf(stderr, "%s[%d]: ", prog.name, getpid());
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, " (errno %d: %s)\n", err, strerror(err));
	_exit(1);
}

#define must(expr) ({								\
	__typeof__(expr) must_v = (expr);					\
	if (must_v < 0)								\
		die("%s:%d: %s", __FILE__, __LINE__, #expr);			\
	must_v;									\
})

static inline void emit_flush(void)
{
	if (prog.out_n && write(STDOUT_FILENO, prog.out, prog.out_n) != (ssize_t)prog.out_n)
		_exit(1);
	prog.out_n = 0;
}

/* A line; whole lines reach the file whole, whoever else writes there. */
static inline void __attribute__((format(printf, 1, 2))) emit(const char *fmt, ...)
{
	char line[3072];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line) - 1, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(line) - 1)
		die("line too long");
	line[n++] = '\n';
	if (!prog.hold) {
		if (write(STDOUT_FILENO, line, (size_t)n) != n)
			_exit(1);
		return;
	}
	if (prog.out_n + (size_t)n > sizeof(prog.out))
		emit_flush();
	memcpy(prog.out + prog.out_n, line, (size_t)n);
	prog.out_n += (size_t)n;
}

static inline void __attribute__((noreturn)) skip(const char *why)
{
	emit("{\"skip\":\"%s: %s\"}", why, strerror(errno));
	_exit(0);
}

static inline void begin(int argc, char **argv, unsigned int deadline_s)
{
	const char *slash = strrchr(argv[0], '/');

	prog.name = slash ? slash + 1 : argv[0];
	alarm(deadline_s);
	signal(SIGPIPE, SIG_IGN);
	if (argc < 2)
		die("usage: %s PORT", prog.name);
	prog.port = (uint16_t)strtoul(argv[1], NULL, 10);
	if (!prog.port)
		die("bad port");
}

static inline void nap_ms(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* Until thread tid of any process sleeps inside system call nr; begin()'s deadline ends it. */
static inline void wait_in_call(pid_t tid, long nr)
{
	char path[64], line[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/syscall", tid);
	for (;;) {
		fd = must(open(path, O_RDONLY | O_CLOEXEC));
		/* "NR ARGUMENTS...", "running", or "-1 ..." where it sleeps outside of a call. */
		n = read(fd, line, sizeof(line) - 1);
		must(close(fd));
		line[n > 0 ? n : 0] = 0;
		if (line[0] >= '0' && line[0] <= '9' && strtol(line, NULL, 10) == nr)
			return;
		nap_ms(1);
	}
}

/* For the workloads that must be under way before the agent starts. */
static inline void wait_go(void)
{
	char c;

	emit("{\"phase\":\"ready\"}");
	must(read(STDIN_FILENO, &c, 1));
}

/* ---- processes ------------------------------------------------------------------------------- */

/* A child that runs fn with its own deadline and name, and dies with its parent. */
static inline pid_t spawn(void (*fn)(void), const char *comm, unsigned int deadline_s)
{
	pid_t pid = must(fork());

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(deadline_s);
	if (comm)
		prctl(PR_SET_NAME, comm);
	fn();
	emit_flush();
	_exit(0);
}

static inline void reap(pid_t pid)
{
	int st = 0;

	must(waitpid(pid, &st, 0));
	if (st)
		die("child %d ended with status 0x%x", pid, st);
}

/* ---- sockets --------------------------------------------------------------------------------- */

static inline socklen_t addr_of(struct sockaddr_storage *ss, const char *ip, uint16_t port)
{
	struct sockaddr_in *in = (void *)ss;
	struct sockaddr_in6 *in6 = (void *)ss;

	memset(ss, 0, sizeof(*ss));
	if (inet_pton(AF_INET, ip, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		return sizeof(*in);
	}
	if (inet_pton(AF_INET6, ip, &in6->sin6_addr) != 1)
		die("bad address %s", ip);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
	return sizeof(*in6);
}

static inline int listen_on(const char *ip, uint16_t port, int backlog)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_of(&ss, ip, port);
	int fd = must(socket(ss.ss_family, SOCK_STREAM, 0)), one = 1, zero = 0;

	must(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	if (ss.ss_family == AF_INET6)
		must(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero)));
	must(bind(fd, (struct sockaddr *)&ss, len));
	must(listen(fd, backlog));
	return fd;
}

static inline int listen_lo(void)
{
	return listen_on("127.0.0.1", prog.port, 128);
}

static inline int connect_to(const char *ip, uint16_t port)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_of(&ss, ip, port);
	int fd = must(socket(ss.ss_family, SOCK_STREAM, 0)), one = 1;

	must(connect(fd, (struct sockaddr *)&ss, len));
	must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	return fd;
}

static inline int connect_lo(void)
{
	return connect_to("127.0.0.1", prog.port);
}

static inline int accept_on(int lfd)
{
	int fd = must(accept(lfd, NULL, NULL)), one = 1;

	must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
	return fd;
}

/* Until exactly n bytes wait in fd's receive queue: what follows then takes them at once. */
static inline void wait_queued(int fd, int n)
{
	int have = 0;

	for (;;) {
		must(ioctl(fd, FIONREAD, &have));
		if (have == n)
			return;
		if (have > n)
			die("%d bytes queued, %d expected", have, n);
		nap_ms(1);
	}
}

static inline void end_name(const struct sockaddr_storage *ss, char *ip, uint16_t *port)
{
	const struct sockaddr_in *in = (const void *)ss;
	const struct sockaddr_in6 *in6 = (const void *)ss;
	char text[INET6_ADDRSTRLEN];

	if (ss->ss_family == AF_INET) {
		inet_ntop(AF_INET, &in->sin_addr, ip, INET6_ADDRSTRLEN);
		*port = ntohs(in->sin_port);
		return;
	}
	inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof(text));
	snprintf(ip, INET6_ADDRSTRLEN, "%s", strncmp(text, "::ffff:", 7) ? text : text + 7);
	*port = ntohs(in6->sin6_port);
}

static inline void side_init(struct side *s, int fd, bool client)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	memset(s, 0, offsetof(struct side, buf));
	s->fd = fd;
	s->client = client;
	must(getsockname(fd, (struct sockaddr *)&ss, &len));
	end_name(&ss, s->laddr, &s->lport);
	len = sizeof(ss);
	must(getpeername(fd, (struct sockaddr *)&ss, &len));
	end_name(&ss, s->raddr, &s->rport);
}

static inline struct side *side_new(int fd, bool client)
{
	struct side *s = malloc(sizeof(*s));

	if (!s)
		die("malloc");
	side_init(s, fd, client);
	return s;
}

/* ---- accounts -------------------------------------------------------------------------------- */

static inline void gap_mode(struct side *s, enum mode m, enum dir d, uint64_t n, const char *cause)
{
	struct gap *g = s->gap[m][d];

	if (!n || !cause)
		return;
	for (int i = 0; i < GAPS_MAX; i++) {
		if (!g[i].cause || !strcmp(g[i].cause, cause)) {
			g[i].cause = cause;
			g[i].n += n;
			return;
		}
	}
	die("too many causes");
}

static inline void gap(struct side *s, enum dir d, uint64_t n, const char *sock, const char *sysc)
{
	gap_mode(s, SOCK, d, n, sock);
	gap_mode(s, SYSC, d, n, sysc);
}

/* n bytes moved by one call whose bytes the probe can see. */
static inline void moved(struct side *s, enum dir d, uint64_t n)
{
	s->moved[d] += n;
	if (n > CAPTURE_CAP)
		gap(s, d, n - CAPTURE_CAP, "capture_cap", "capture_cap");
}

/* n bytes moved by one call whose bytes it cannot see. */
static inline void moved_gap(struct side *s, enum dir d, uint64_t n, const char *sock,
			     const char *sysc)
{
	s->moved[d] += n;
	gap(s, d, n, sock, sysc);
}

static inline void side_tid(struct side *s, uint32_t tid)
{
	for (uint32_t i = 0; i < s->tid_n; i++)
		if (s->tids[i] == tid)
			return;
	if (s->tid_n < sizeof(s->tids) / sizeof(s->tids[0]))
		s->tids[s->tid_n++] = tid;
}

static inline void gaps_text(const struct side *s, enum mode m, char *out, size_t size)
{
	static const char *const name[] = { "tx", "rx" };
	size_t n = 0;

	for (int d = TX; d < DIRS; d++) {
		n += (size_t)snprintf(out + n, size - n, "%s\"%s\":{", d ? "," : "", name[d]);
		for (int i = 0; i < GAPS_MAX && s->gap[m][d][i].cause; i++)
			n += (size_t)snprintf(out + n, size - n, "%s\"%s\":%llu", i ? "," : "",
					      s->gap[m][d][i].cause,
					      (unsigned long long)s->gap[m][d][i].n);
		n += (size_t)snprintf(out + n, size - n, "}");
	}
}

static inline void comm_of(pid_t pid, char comm[16])
{
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%15s", comm) != 1)
		die("%s", path);
	fclose(f);
}

/* Tells of a side whose owner is (or was) pid, comm. */
static inline void tell_side_of(const struct side *s, pid_t pid, const char *comm)
{
	char gaps[MODES][512], tids[64] = "";
	size_t n = 0;

	gaps_text(s, SOCK, gaps[SOCK], sizeof(gaps[SOCK]));
	gaps_text(s, SYSC, gaps[SYSC], sizeof(gaps[SYSC]));
	for (uint32_t i = 0; i < s->tid_n; i++)
		n += (size_t)snprintf(tids + n, sizeof(tids) - n, "%s%u", i ? "," : "", s->tids[i]);
	if (!n)
		snprintf(tids, sizeof(tids), "%d", pid);
	emit("{\"side\":{\"pid\":%d,\"comm\":\"%s\",\"tids\":[%s],\"role\":\"%s\",\"laddr\":\"%s\","
	     "\"lport\":%u,\"raddr\":\"%s\",\"rport\":%u,\"tx\":%llu,\"rx\":%llu,\"part\":%s,"
	     "\"idle\":%s,\"midstream\":%s,\"subset\":%s,\"end\":\"%s\",\"allow\":\"%s\","
	     "\"gaps\":{\"sock\":{%s},\"syscall\":{%s}}}}",
	     pid, comm, tids, s->client ? "client" : "server", s->laddr, s->lport, s->raddr,
	     s->rport, (unsigned long long)s->moved[TX], (unsigned long long)s->moved[RX],
	     s->part ? "true" : "false", s->idle ? "true" : "false",
	     s->midstream ? "true" : "false", s->subset ? "true" : "false", s->end ? s->end : "",
	     s->allow ? s->allow : "", gaps[SOCK], gaps[SYSC]);
}

static inline void tell_side(const struct side *s)
{
	char comm[16] = "";

	/* The leader's name, not this thread's: a record names the process. */
	comm_of(getpid(), comm);
	tell_side_of(s, getpid(), comm);
}

static inline void digest_text(const struct msg *m, char out[40])
{
	if (m && m->has_digest)
		snprintf(out, 40, "\"xxh64:%016llx\"", (unsigned long long)m->digest);
	else
		snprintf(out, 40, "null");
}

/* req, res: NULL if the side never saw one. outcome "a|b": either. */
static inline void tell_txn_of(const struct side *s, const struct msg *req, const struct msg *res,
			       const char *outcome, pid_t pid, const char *comm)
{
	char dig[2][40], rq[320] = "null", rs[160] = "null";

	digest_text(req, dig[0]);
	digest_text(res, dig[1]);
	if (req)
		snprintf(rq, sizeof(rq),
			 "{\"method\":\"%.15s\",\"target\":\"%.159s\",\"head\":%llu,\"body\":%llu,"
			 "\"digest\":%s}", req->method, req->target, (unsigned long long)req->head,
			 (unsigned long long)req->body, dig[0]);
	if (res)
		snprintf(rs, sizeof(rs), "{\"status\":%d,\"head\":%llu,\"body\":%llu,\"digest\":%s}",
			 res->status, (unsigned long long)res->head, (unsigned long long)res->body,
			 dig[1]);
	emit("{\"txn\":{\"pid\":%d,\"comm\":\"%s\",\"role\":\"%s\",\"lport\":%u,\"rport\":%u,"
	     "\"outcome\":\"%s\",\"request\":%s,\"response\":%s}}",
	     pid, comm, s->client ? "client" : "server", s->lport, s->rport, outcome, rq, rs);
}

static inline void tell_txn(const struct side *s, const struct msg *req, const struct msg *res,
			    const char *outcome)
{
	char comm[16] = "";

	comm_of(getpid(), comm);
	tell_txn_of(s, req, res, outcome, getpid(), comm);
}

/* ---- messages -------------------------------------------------------------------------------- */

/* XXH64, seed 0 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), so that a
 * digest proves that the probe saw these bytes in this order. Little-endian hosts only.
 */
static inline uint64_t xxh_rotl(uint64_t v, int n)
{
	return v << n | v >> (64 - n);
}

static inline uint64_t xxh64(const void *data, size_t len)
{
	static const uint64_t p1 = 0x9E3779B185EBCA87, p2 = 0xC2B2AE3D27D4EB4F,
		p3 = 0x165667B19E3779F9, p4 = 0x85EBCA77C2B2AE63, p5 = 0x27D4EB2F165667C5;
	static const int turn[] = { 1, 7, 12, 18 };
	uint64_t v[4] = { p1 + p2, p2, 0, 0 - p1 }, h = p5, k;
	const unsigned char *p = data, *end = p + len;
	uint32_t w;

	if (len >= 32) {
		for (; end - p >= 32; p += 32) {
			for (int i = 0; i < 4; i++) {
				memcpy(&k, p + 8 * i, 8);
				v[i] = xxh_rotl(v[i] + k * p2, 31) * p1;
			}
		}
		h = 0;
		for (int i = 0; i < 4; i++)
			h += xxh_rotl(v[i], turn[i]);
		for (int i = 0; i < 4; i++)
			h = (h ^ xxh_rotl(v[i] * p2, 31) * p1) * p1 + p4;
	}
	h += len;
	for (; end - p >= 8; p += 8) {
		memcpy(&k, p, 8);
		h = xxh_rotl(h ^ xxh_rotl(k * p2, 31) * p1, 27) * p1 + p4;
	}
	if (end - p >= 4) {
		memcpy(&w, p, 4);
		h = xxh_rotl(h ^ w * p1, 23) * p2 + p3;
		p += 4;
	}
	for (; p < end; p++)
		h = xxh_rotl(h ^ *p * p5, 11) * p1;
	h = (h ^ h >> 33) * p2;
	h = (h ^ h >> 29) * p3;
	return h ^ h >> 32;
}

/* Text that never looks like a message, different at every place. */
static inline void fill(char *p, size_t n, unsigned int seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (char)('a' + (i * 7 + i / 26 + seed) % 26);
}

static inline void body_set(struct msg *m, char *p, size_t n)
{
	fill(p, n, (unsigned int)n);
	m->body = n;
	m->has_digest = n > 0;
	m->digest = n ? xxh64(p, n) : 0;
}

/* The head of request i with a body of `body` bytes, asking for `want` in the response. */
static inline size_t req_head(struct msg *m, char *p, size_t size, unsigned int i, size_t body,
			      size_t want)
{
	int n;

	memset(m, 0, sizeof(*m));
	snprintf(m->method, sizeof(m->method), "%s", body ? "POST" : "GET");
	snprintf(m->target, sizeof(m->target), "/%s/%u?r=%zu", prog.name, i, want);
	m->want = want;
	m->body = body;
	if (body)
		n = snprintf(p, size, "%s %s HTTP/1.1\r\nHost: t\r\nContent-Length: %zu\r\n\r\n",
			     m->method, m->target, body);
	else
		n = snprintf(p, size, "%s %s HTTP/1.1\r\nHost: t\r\n\r\n", m->method, m->target);
	m->head = (uint64_t)n;
	return (size_t)n;
}

static inline size_t res_head(struct msg *m, char *p, size_t size, int status, size_t body)
{
	int n;

	memset(m, 0, sizeof(*m));
	m->status = status;
	m->body = body;
	n = snprintf(p, size, "HTTP/1.1 %d OK\r\nContent-Length: %zu\r\n\r\n", status, body);
	m->head = (uint64_t)n;
	return (size_t)n;
}

/* Whole messages in p; they must fit into KEEP_MAX. */
static inline size_t req_make(struct msg *m, char *p, unsigned int i, size_t body, size_t want)
{
	size_t n = req_head(m, p, KEEP_MAX, i, body, want);

	body_set(m, p + n, body);
	return n + body;
}

static inline size_t res_make(struct msg *m, char *p, size_t body)
{
	size_t n = res_head(m, p, KEEP_MAX, 200, body);

	body_set(m, p + n, body);
	return n + body;
}

/* Reads the head at p (n bytes): its length, 0 if it is not complete. */
static inline size_t head_parse(struct msg *m, const char *p, size_t n)
{
	const char *end = memmem(p, n, "\r\n\r\n", 4), *cl;
	char line[512];

	if (!end)
		return 0;
	memset(m, 0, sizeof(*m));
	m->head = (uint64_t)(end - p) + 4;
	snprintf(line, sizeof(line), "%.*s", (int)m->head, p);
	cl = strstr(line, "Content-Length: ");
	if (cl)
		m->body = strtoull(cl + 16, NULL, 10);
	if (sscanf(line, "HTTP/1.1 %d", &m->status) == 1)
		return m->head;
	if (sscanf(line, "%15s %159s HTTP/1.1", m->method, m->target) != 2)
		die("not a message: %.40s", line);
	cl = strstr(m->target, "r=");
	m->want = cl ? strtoull(cl + 2, NULL, 10) : 0;
	return m->head;
}

/* ---- moving ---------------------------------------------------------------------------------- */

static inline ssize_t tx_write(int fd, const void *p, size_t n) { return write(fd, p, n); }
static inline ssize_t rx_read(int fd, void *p, size_t n) { return read(fd, p, n); }
static const struct io io_plain UNUSED = { tx_write, rx_read };

static inline void wait_ready(int fd, short what)
{
	struct pollfd pfd = { .fd = fd, .events = what };

	must(poll(&pfd, 1, -1));
}

static inline void send_all(struct side *s, const struct io *io, const void *data, size_t n)
{
	const char *p = data;

	while (n) {
		ssize_t r = io->tx(s->fd, p, n);

		if (r < 0 && (errno == EAGAIN || errno == EINTR)) {
			wait_ready(s->fd, POLLOUT);
			continue;
		}
		if (r < 0)
			die("send");
		moved(s, TX, (uint64_t)r);
		p += r;
		n -= (size_t)r;
	}
}

/* One receive into the side's buffer: bytes, 0 at the end. */
static inline size_t recv_some(struct side *s, const struct io *io)
{
	ssize_t r;

	if (s->have == sizeof(s->buf))
		die("buffer full");
	for (;;) {
		r = io->rx(s->fd, s->buf + s->have, sizeof(s->buf) - s->have);
		if (r >= 0)
			break;
		if (errno != EAGAIN && errno != EINTR)
			die("recv");
		wait_ready(s->fd, POLLIN);
	}
	moved(s, RX, (uint64_t)r);
	s->have += (size_t)r;
	return (size_t)r;
}

/* The next whole message; bodies that don't fit the buffer are counted, not kept. False at the
 * end of the stream before its first byte.
 */
static inline bool recv_msg(struct side *s, const struct io *io, struct msg *m)
{
	uint64_t left;

	while (!s->have || !head_parse(m, s->buf, s->have))
		if (!recv_some(s, io)) {
			if (s->have)
				die("end in the middle of a head");
			return false;
		}
	left = m->head + m->body;
	if (left <= sizeof(s->buf)) {
		while (s->have < left)
			if (!recv_some(s, io))
				die("end in the middle of a body");
		m->has_digest = m->body > 0;
		if (m->body)
			m->digest = xxh64(s->buf + m->head, m->body);
	}
	while (left > s->have) {
		left -= s->have;
		s->have = 0;
		if (!recv_some(s, io))
			die("end in the middle of a body");
	}
	s->have -= left;
	memmove(s->buf, s->buf + left, s->have);
	return true;
}

/* The head alone, by read(2), and not a byte more: what follows is for another call. */
static inline bool recv_head(struct side *s, struct msg *m)
{
	char head[1024];
	ssize_t n;

	do {
		n = must(recv(s->fd, head, sizeof(head), MSG_PEEK));
		if (!n)
			return false;
	} while (!head_parse(m, head, (size_t)n));
	for (size_t got = 0; got < m->head; got += (size_t)n) {
		n = must(read(s->fd, head, m->head - got));
		if (!n)
			die("end in the middle of a head");
		moved(s, RX, (uint64_t)n);
	}
	return true;
}

static inline void answer(struct side *s, const struct io *io, const struct msg *req)
{
	static __thread char out[KEEP_MAX + 1024];
	struct msg res;
	size_t n = res_make(&res, out, req->want);

	send_all(s, io, out, n);
	tell_txn(s, req, &res, "ok");
}

static inline void serve(struct side *s, const struct io *io)
{
	struct msg req;

	while (recv_msg(s, io, &req))
		answer(s, io, &req);
}

static inline void ask(struct side *s, const struct io *io, unsigned int i, size_t body,
		       size_t want)
{
	static __thread char out[KEEP_MAX + 1024];
	struct msg req, res;
	size_t n = req_make(&req, out, i, body, want);

	send_all(s, io, out, n);
	if (!recv_msg(s, io, &res))
		die("no response");
	if (res.body != want)
		die("response of %llu bytes", (unsigned long long)res.body);
	tell_txn(s, &req, &res, "ok");
}

/* Closes and tells. */
static inline void finish(struct side *s)
{
	must(close(s->fd));
	s->fd = -1;
	tell_side(s);
}

/* ---- the usual shape: this process serves, a child asks -------------------------------------- */

static inline void client_comm(char comm[16])
{
	snprintf(comm, 16, "c-%s", prog.name);
}

static inline int run_pair(void (*server)(int lfd), void (*client)(void), unsigned int deadline_s)
{
	char comm[16];
	int lfd = listen_lo();
	pid_t pid;

	client_comm(comm);
	pid = spawn(client, comm, deadline_s);
	server(lfd);
	reap(pid);
	close(lfd);
	emit_flush();
	return 0;
}

/* One connection over io each way: small, with bodies, and one body beyond a page. */
static inline void client_std(const struct io *io)
{
	static const size_t body[] = { 0, 1, 1000, 20000, 0 }, want[] = { 5, 0, 100, 7, 50000 };
	struct side *s = side_new(connect_lo(), true);

	s->end = "fin";
	for (unsigned int i = 0; i < 5; i++)
		ask(s, io, i, body[i], want[i]);
	finish(s);
	free(s);
}

static inline void server_std(int lfd, const struct io *io)
{
	struct side *s = side_new(accept_on(lfd), false);

	s->end = "fin";
	serve(s, io);
	finish(s);
	free(s);
}

/* Three exchanges whose bodies of n bytes, both ways, move by the call under test: out(s, i) sends
 * fill(.., n, i), in(s) receives one. Heads go by read and write, and so does what follows: a body
 * of the usual kind each way.
 */
struct bodies {
	size_t n;
	void (*out)(struct side *s, unsigned int i);
	void (*in)(struct side *s);
};

static inline void client_bodies(const struct bodies *b)
{
	struct side *s = side_new(connect_lo(), true);
	struct msg req, res;
	char head[256];

	for (unsigned int i = 0; i < 3; i++) {
		send_all(s, &io_plain, head, req_head(&req, head, sizeof(head), i, b->n, b->n));
		b->out(s, i);
		if (!recv_head(s, &res))
			die("no response");
		b->in(s);
		tell_txn(s, &req, &res, "ok");
	}
	ask(s, &io_plain, 3, 10, 100);
	finish(s);
}

static inline void server_bodies(int lfd, const struct bodies *b)
{
	struct side *s = side_new(accept_on(lfd), false);
	struct msg req, res;
	char head[256];

	for (unsigned int i = 0; i < 3; i++) {
		if (!recv_head(s, &req))
			die("no request");
		b->in(s);
		send_all(s, &io_plain, head, res_head(&res, head, sizeof(head), 200, b->n));
		b->out(s, i);
		tell_txn(s, &req, &res, "ok");
	}
	serve(s, &io_plain);
	finish(s);
}

/* Defines main() of a program that is client_std and server_std over two calls. */
#define MAIN_STD(tx_fn, rx_fn)							\
	static const struct io io_std = { tx_fn, rx_fn };			\
	static void client(void) { client_std(&io_std); }			\
	static void server(int lfd) { server_std(lfd, &io_std); }		\
	int main(int argc, char **argv)						\
	{									\
		begin(argc, argv, 10);						\
		return run_pair(server, client, 10);				\
	}

#endif
