/* SPDX-License-Identifier: GPL-3.0-or-later */
/* metrics.c: serves the snapshot over HTTP/1.1 (RFC 9112), as little of it as a scraper needs: GET
 * and HEAD of two paths, one request a connection.
 *
 * One thread, CLIENTS connections at once (others wait in the backlog), each with TIME_NS for all
 * of its exchange. Nothing a client sends or leaves out costs more than that.
 *
 * The loop and this thread share one snapshot under a lock that the loop only ever tries.
 */
#include "agent/metrics.h"
#include "agent/base/clock.h"
#include "agent/base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS 8
#define REQUEST_MAX 4096
#define TIME_NS 5000000000ull
/* A loop that has not left a snapshot for so long is stuck. */
#define STALE_NS 5000000000ull
/* accept() that fails for want of descriptors is not tried again at once. */
#define NO_FD_MS 200
#define LAG_SAMPLES 64

enum state { FREE, READING, WRITING, LINGERING };

struct client {
	enum state state;
	int fd;
	uint64_t until;		/* CLOCK_MONOTONIC */
	char in[REQUEST_MAX];
	size_t in_n;
	char *out;
	size_t out_n, out_at;
};

/* At at_ns so many records had been offered to a sink. */
struct lag {
	struct {
		uint64_t offered, at_ns;
	} s[LAG_SAMPLES];
	uint32_t n;
};

struct osp_metrics {
	int listen_fd, stop_fd;
	char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)];	/* "": TCP */
	pthread_t thread;
	bool started;
	struct client client[CLIENTS];
	/* The loop's. */
	struct lag lag[OSP_METRICS_SINKS];
	struct osp_age age_before;
	/* lock: */
	pthread_mutex_t lock;
	struct osp_metrics_snap shared;
	uint64_t shared_ns;		/* when it was left, CLOCK_MONOTONIC; 0: never */
	/* The thread's. */
	struct osp_metrics_snap copy;
};

/* ---- snapshots ----------------------------------------------------------------------------- */

/* How long ago the oldest record still queued was offered. Only what samples saw is known, so it
 * is the time since the first sample that includes the record: too short by a sample at most.
 */
static uint64_t lag_of(struct lag *lag, uint64_t offered, uint64_t queued, uint64_t now)
{
	uint64_t done = offered - queued;
	uint32_t old = 0;

	while (old < lag->n && lag->s[old].offered <= done)
		old++;
	lag->n -= old;
	memmove(lag->s, lag->s + old, lag->n * sizeof(*lag->s));
	if (!queued)
		return 0;
	if (lag->n == LAG_SAMPLES) {
		/* A long wait: half as many samples do. */
		for (uint32_t i = 1; i < LAG_SAMPLES / 2; i++)
			lag->s[i] = lag->s[2 * i];
		lag->n = LAG_SAMPLES / 2;
	}
	if (!lag->n || lag->s[lag->n - 1].offered < offered) {
		lag->s[lag->n].offered = offered;
		lag->s[lag->n++].at_ns = now;
	}
	return now - lag->s[0].at_ns;
}

static void fill_lags(struct osp_metrics *met, struct osp_metrics_snap *snap, uint64_t now)
{
	uint64_t offered = 0;
	uint32_t sink = 0;

	for (uint32_t i = 0; i < snap->sink_n && sink < OSP_METRICS_SINKS; i++) {
		if (!strcmp(snap->sink[i].name, "offered")) {
			offered = snap->sink[i].value;
		} else if (!strcmp(snap->sink[i].name, "queued")) {
			snap->lag_ns[sink] = lag_of(&met->lag[sink], offered, snap->sink[i].value,
						    now);
			sink++;
		}
	}
}

bool osp_metrics_publish(struct osp_metrics *met, struct osp_metrics_snap *snap)
{
	uint64_t now = osp_mono_ns();

	if (pthread_mutex_trylock(&met->lock))
		return false;
	fill_lags(met, snap, now);
	snap->age_p99_ns = osp_age_quantile(&snap->age, &met->age_before, 0.99);
	met->age_before = snap->age;
	met->shared = *snap;
	met->shared_ns = now;
	pthread_mutex_unlock(&met->lock);
	return true;
}

/* ---- answers ------------------------------------------------------------------------------- */

#define TEXT "text/plain; charset=utf-8"
#define METRICS_TEXT "text/plain; version=0.0.4; charset=utf-8"

/* Head and body into cl->out; without memory the connection just ends. */
static void answer(struct client *cl, const char *status, const char *type, const char *more,
		   const char *body, size_t body_n, bool head_only)
{
	FILE *to = open_memstream(&cl->out, &cl->out_n);

	cl->state = WRITING;
	cl->out_at = 0;
	if (!to)
		return;
	fprintf(to, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Cache-Control: no-store\r\n%sConnection: close\r\n\r\n",
		status, type, body_n, more);
	if (!head_only)
		fwrite(body, 1, body_n, to);
	if (fclose(to)) {
		free(cl->out);
		cl->out = NULL;
		cl->out_n = 0;
	}
}

static void answer_error(struct client *cl, const char *status, const char *more, bool head_only)
{
	char body[64];
	int n = snprintf(body, sizeof(body), "%s\n", status);

	answer(cl, status, TEXT, more, body, (size_t)n, head_only);
}

static void answer_metrics(struct osp_metrics *met, struct client *cl, bool head_only)
{
	char *body = NULL;
	size_t n = 0;
	FILE *to;
	bool have;

	pthread_mutex_lock(&met->lock);
	have = met->shared_ns;
	if (have)
		met->copy = met->shared;
	pthread_mutex_unlock(&met->lock);
	to = have ? open_memstream(&body, &n) : NULL;
	if (!to) {
		answer_error(cl, "503 Service Unavailable", "", head_only);
		return;
	}
	osp_metrics_text(to, &met->copy);
	if (fclose(to))
		answer_error(cl, "503 Service Unavailable", "", head_only);
	else
		answer(cl, "200 OK", METRICS_TEXT, "", body, n, head_only);
	free(body);
}

static void answer_health(struct osp_metrics *met, struct client *cl, bool head_only)
{
	static const char starting[] = "starting\n", stuck[] = "the loop is stuck\n", ok[] = "ok\n";
	uint64_t at;

	pthread_mutex_lock(&met->lock);
	at = met->shared_ns;
	pthread_mutex_unlock(&met->lock);
	if (!at)
		answer(cl, "503 Service Unavailable", TEXT, "", starting, sizeof(starting) - 1,
		       head_only);
	else if (osp_mono_ns() - at > STALE_NS)
		answer(cl, "503 Service Unavailable", TEXT, "", stuck, sizeof(stuck) - 1,
		       head_only);
	else
		answer(cl, "200 OK", TEXT, "", ok, sizeof(ok) - 1, head_only);
}

/* ---- requests ------------------------------------------------------------------------------ */

/* Length of the head with its empty line, 0: not there yet. A bare LF ends a line, too (RFC 9112,
 * 2.2).
 */
static size_t head_end(const char *in, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (in[i] == '\n' && (in[i - 1] == '\n' ||
				      (i > 1 && in[i - 1] == '\r' && in[i - 2] == '\n')))
			return i + 1;
	return 0;
}

static bool is_token(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] >= 127 || strchr("\"(),/:;<=>?@[\\]{}", s[i]))
			return false;
	return n > 0;
}

/* Cuts the next line off *p, its end taken away; NULL: there is none. */
static char *next_line(char **p)
{
	char *line = *p, *end = strchr(line, '\n');

	if (!*line || !end)
		return NULL;
	*p = end + 1;
	if (end > line && end[-1] == '\r')
		end--;
	*end = 0;
	return line;
}

/* "GET /path HTTP/1.1"; -1: it is not one, otherwise the minor version. */
static int request_line(char *line, char **method, char **path)
{
	char *sp1 = strchr(line, ' '), *sp2 = sp1 ? strchr(sp1 + 1, ' ') : NULL;

	if (!sp2 || strncmp(sp2 + 1, "HTTP/1.", 7) || sp2[8] < '0' || sp2[8] > '9' || sp2[9])
		return -1;
	*sp1 = *sp2 = 0;
	*method = line;
	*path = sp1 + 1;
	if (!is_token(line, (size_t)(sp1 - line)) || **path != '/')
		return -1;
	(*path)[strcspn(*path, "?")] = 0;
	return sp2[8] - '0';
}

static bool has_control(const char *s)
{
	for (; *s; s++)
		if ((*s > 0 && *s < ' ' && *s != '\t') || *s == 127)
			return true;
	return false;
}

/* Header lines: well-formed, and one Host from HTTP/1.1 on (RFC 9112, 3.2). */
static bool headers_are_good(char *p, int minor)
{
	int hosts = 0;
	char *line;

	while ((line = next_line(&p)) && *line) {
		size_t n = strcspn(line, ":");

		if (!line[n] || !is_token(line, n) || has_control(line + n))
			return false;
		hosts += n == 4 && !strncasecmp(line, "Host", 4);
	}
	return minor ? hosts == 1 : hosts <= 1;
}

static void request(struct osp_metrics *met, struct client *cl, size_t n)
{
	char *p = cl->in, *line, *method, *path;
	bool head_only;
	int minor;

	if (memchr(cl->in, 0, n)) {
		answer_error(cl, "400 Bad Request", "", false);
		return;
	}
	cl->in[n - 1] = 0;	/* the LF of the empty line */
	line = next_line(&p);
	minor = line ? request_line(line, &method, &path) : -1;
	if (minor < 0 || !headers_are_good(p, minor)) {
		answer_error(cl, "400 Bad Request", "", false);
		return;
	}
	head_only = !strcmp(method, "HEAD");
	if (!head_only && strcmp(method, "GET"))
		answer_error(cl, "405 Method Not Allowed", "Allow: GET, HEAD\r\n", false);
	else if (!strcmp(path, "/metrics"))
		answer_metrics(met, cl, head_only);
	else if (!strcmp(path, "/healthz"))
		answer_health(met, cl, head_only);
	else
		answer_error(cl, "404 Not Found", "", head_only);
}

/* ---- connections --------------------------------------------------------------------------- */

static void end_client(struct client *cl)
{
	close(cl->fd);
	free(cl->out);
	cl->out = NULL;
	cl->out_n = cl->in_n = 0;
	cl->state = FREE;
}

static void read_request(struct osp_metrics *met, struct client *cl)
{
	ssize_t n = read(cl->fd, cl->in + cl->in_n, sizeof(cl->in) - cl->in_n);
	size_t end;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		end_client(cl);
		return;
	}
	cl->in_n += (size_t)n;
	end = head_end(cl->in, cl->in_n);
	if (end)
		request(met, cl, end);
	else if (cl->in_n == sizeof(cl->in))
		answer_error(cl, "431 Request Header Fields Too Large", "", false);
}

static void write_answer(struct client *cl)
{
	ssize_t n = 0;

	if (cl->out_at < cl->out_n)
		n = send(cl->fd, cl->out + cl->out_at, cl->out_n - cl->out_at, MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		end_client(cl);
		return;
	}
	cl->out_at += (size_t)n;
	if (cl->out_at < cl->out_n)
		return;
	/* Closing with bytes unread would be a reset, and the answer could be lost with it. */
	shutdown(cl->fd, SHUT_WR);
	cl->state = LINGERING;
}

static void linger(struct client *cl)
{
	ssize_t n = read(cl->fd, cl->in, sizeof(cl->in));

	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		end_client(cl);
}

static void serve_client(struct osp_metrics *met, struct client *cl)
{
	if (cl->state == READING)
		read_request(met, cl);
	else if (cl->state == LINGERING)
		linger(cl);
	if (cl->state == WRITING)
		write_answer(cl);
}

/* false: out of descriptors. */
static bool take_client(struct osp_metrics *met, struct client *cl)
{
	int fd = accept4(met->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS;
	cl->fd = fd;
	cl->state = READING;
	cl->until = osp_mono_ns() + TIME_NS;
	return true;
}

/* poll()'s timeout to the first client's end. */
static int next_timeout(const struct osp_metrics *met, uint64_t now)
{
	uint64_t first = UINT64_MAX;

	for (int i = 0; i < CLIENTS; i++)
		if (met->client[i].state != FREE && met->client[i].until < first)
			first = met->client[i].until;
	if (first == UINT64_MAX)
		return -1;
	return first <= now ? 0 : (int)((first - now) / 1000000 + 1);
}

static void *serve(void *arg)
{
	struct osp_metrics *met = arg;
	bool no_fd = false;

	for (;;) {
		struct pollfd fds[CLIENTS + 2] = { { .fd = met->stop_fd, .events = POLLIN },
						   { .fd = -1, .events = POLLIN } };
		struct client *idle = NULL;
		uint64_t now = osp_mono_ns();

		for (int i = 0; i < CLIENTS; i++) {
			struct client *cl = &met->client[i];

			if (cl->state != FREE && cl->until <= now)
				end_client(cl);
			if (cl->state == FREE)
				idle = cl;
			fds[i + 2].fd = cl->state == FREE ? -1 : cl->fd;
			fds[i + 2].events = cl->state == WRITING ? POLLOUT : POLLIN;
		}
		if (idle && !no_fd)
			fds[1].fd = met->listen_fd;
		poll(fds, CLIENTS + 2, no_fd ? NO_FD_MS : next_timeout(met, now));
		no_fd = false;
		if (fds[0].revents)
			return NULL;
		for (int i = 0; i < CLIENTS; i++)
			if (fds[i + 2].fd >= 0 && fds[i + 2].revents)
				serve_client(met, &met->client[i]);
		if (fds[1].fd >= 0 && fds[1].revents)
			no_fd = !take_client(met, idle);
	}
}

/* ---- address ------------------------------------------------------------------------------- */

union addr {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_un un;
};

static bool parse_port(const char *text, in_port_t *port)
{
	unsigned long n = 0;
	size_t len = strspn(text, "0123456789");

	if (!len || len > 5 || text[len])
		return false;
	n = strtoul(text, NULL, 10);
	*port = htons((uint16_t)n);
	return n <= 65535;
}

static bool is_loopback(const union addr *a)
{
	if (a->any.sa_family == AF_INET)
		return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
	return a->any.sa_family == AF_UNIX || IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr) ||
	       (IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr) && a->v6.sin6_addr.s6_addr[12] == 127);
}

/* "HOST:PORT", "[V6]:PORT", "PORT" */
static bool parse_tcp(const char *text, union addr *a)
{
	const char *colon = strrchr(text, ':');
	char host[INET6_ADDRSTRLEN + 2] = "127.0.0.1";
	size_t n = colon ? (size_t)(colon - text) : 0;

	if (n >= sizeof(host) || (colon && !n))
		return false;
	if (n && strncmp(text, "localhost:", 10)) {
		memcpy(host, text, n);
		host[n] = 0;
	}
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = 0;
		a->v6.sin6_family = AF_INET6;
		return inet_pton(AF_INET6, host + 1, &a->v6.sin6_addr) == 1 &&
		       parse_port(colon + 1, &a->v6.sin6_port);
	}
	a->v4.sin_family = AF_INET;
	return inet_pton(AF_INET, host, &a->v4.sin_addr) == 1 &&
	       parse_port(colon ? colon + 1 : text, &a->v4.sin_port);
}

static int parse_addr(const char *text, bool any, union addr *a, char *err, size_t size)
{
	memset(a, 0, sizeof(*a));
	if (!strncmp(text, "unix:", 5)) {
		size_t n = strlen(text + 5);

		a->un.sun_family = AF_UNIX;
		if (text[5] != '/' || n >= sizeof(a->un.sun_path)) {
			snprintf(err, size, "%s: not an absolute path of at most %zu characters",
				 text, sizeof(a->un.sun_path) - 1);
			return -EINVAL;
		}
		memcpy(a->un.sun_path, text + 5, n);
		return 0;
	}
	if (!parse_tcp(text, a)) {
		snprintf(err, size, "%s: not ADDRESS:PORT (such as 127.0.0.1:9464, [::1]:9464) or "
			 "unix:/PATH", text);
		return -EINVAL;
	}
	if (!any && !is_loopback(a)) {
		snprintf(err, size, "%s: other hosts could reach that; --metrics-any allows it",
			 text);
		return -EINVAL;
	}
	return 0;
}

int osp_metrics_check(const char *addr, bool any, char *err, size_t err_size)
{
	union addr a;

	return parse_addr(addr, any, &a, err, err_size);
}

/* ---- start and end ------------------------------------------------------------------------- */

/* A socket that an agent left behind when it was killed: nobody listens on it. */
static void remove_stale(const struct sockaddr_un *un)
{
	struct stat st;
	int fd;

	if (lstat(un->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) && errno == ECONNREFUSED)
		unlink(un->sun_path);
	close(fd);
}

static int listen_on(struct osp_metrics *met, const union addr *a)
{
	socklen_t n = a->any.sa_family == AF_INET ? sizeof(a->v4) :
		      a->any.sa_family == AF_INET6 ? sizeof(a->v6) : sizeof(a->un);
	int yes = 1;

	met->listen_fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (met->listen_fd < 0)
		return -errno;
	if (a->any.sa_family == AF_UNIX) {
		remove_stale(&a->un);
		/* The file gets the mode of the socket (net/unix/af_unix.c, unix_bind_bsd). */
		fchmod(met->listen_fd, 0600);
	} else {
		setsockopt(met->listen_fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	}
	if (bind(met->listen_fd, &a->any, n))
		return -errno;
	if (a->any.sa_family == AF_UNIX)
		memcpy(met->unix_path, a->un.sun_path, sizeof(met->unix_path));
	return listen(met->listen_fd, 16) ? -errno : 0;
}

static void say_where(const struct osp_metrics *met)
{
	char host[INET6_ADDRSTRLEN] = "";
	union addr a = { .any.sa_family = AF_UNSPEC };
	socklen_t n = sizeof(a);

	if (*met->unix_path) {
		osp_info("metrics on unix:%s", met->unix_path);
		return;
	}
	getsockname(met->listen_fd, &a.any, &n);
	if (a.any.sa_family == AF_INET6)
		osp_info("metrics on http://[%s]:%u/metrics",
			 inet_ntop(AF_INET6, &a.v6.sin6_addr, host, sizeof(host)),
			 ntohs(a.v6.sin6_port));
	else
		osp_info("metrics on http://%s:%u/metrics",
			 inet_ntop(AF_INET, &a.v4.sin_addr, host, sizeof(host)),
			 ntohs(a.v4.sin_port));
}

static int start_thread(struct osp_metrics *met)
{
	sigset_t all, old;
	int err;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&met->thread, NULL, serve, met);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	met->started = !err;
	if (!err)
		pthread_setname_np(met->thread, "metrics");
	return -err;
}

int osp_metrics_new(struct osp_metrics **out, const char *addr, bool any, char *err,
		    size_t err_size)
{
	struct osp_metrics *met = calloc(1, sizeof(*met));
	union addr a;
	int ret = -ENOMEM;

	if (!met)
		goto out;
	met->listen_fd = met->stop_fd = -1;
	pthread_mutex_init(&met->lock, NULL);
	ret = parse_addr(addr, any, &a, err, err_size);
	if (ret)
		goto out;
	met->stop_fd = eventfd(0, EFD_CLOEXEC);
	ret = met->stop_fd < 0 ? -errno : listen_on(met, &a);
	if (!ret)
		ret = start_thread(met);
	if (ret) {
		snprintf(err, err_size, "%s: %s", addr, strerror(-ret));
		goto out;
	}
	say_where(met);
	*out = met;
	met = NULL;
out:
	osp_metrics_free(met);
	return ret;
}

void osp_metrics_free(struct osp_metrics *met)
{
	if (!met)
		return;
	if (met->started) {
		eventfd_write(met->stop_fd, 1);
		pthread_join(met->thread, NULL);
	}
	for (int i = 0; i < CLIENTS; i++)
		if (met->client[i].state != FREE)
			end_client(&met->client[i]);
	if (met->listen_fd >= 0)
		close(met->listen_fd);
	if (met->stop_fd >= 0)
		close(met->stop_fd);
	if (*met->unix_path)
		unlink(met->unix_path);
	pthread_mutex_destroy(&met->lock);
	free(met);
}
