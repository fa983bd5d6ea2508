/* SPDX-License-Identifier: GPL-3.0-or-later */
/* console.c: one line a transaction for a person who watches.
 *
 * Columns that help scanning stand first and have a fixed width; the target, which can have any
 * length, comes last and is cut to the terminal's width (never when the output is not a terminal).
 * What went wrong stands behind it and is never cut.
 *
 * Everything that came over a network or from a process is printed in ASCII with all other bytes as
 * \xNN: no escape sequence, no bidirectional trick reaches the terminal, and a byte is a column.
 */
#include "sinks/builtin.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define OUT_BYTES (256u << 10)
/* One line: a target of 8 KiB, every byte as \xNN, fits; longer ones are cut. */
#define LINE_BYTES (40u << 10)
_Static_assert(OUT_BYTES >= 2 * LINE_BYTES, "the title and a line must fit");
#define TARGET_MIN 10
#define WAIT_MS 100

#define W_WHO 22
#define W_WHO_NARROW 16
#define W_PEER 21
/* Terminals narrower than this get no sizes and less of the process, for the target's sake; what
 * is left just fits 80 columns.
 */
#define NARROW 112

enum color { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

struct console_conf {
	int color;
	int verbose;
};

struct osp_sink {
	const struct osp_host *host;
	const struct console_conf *conf;
	int fd;
	bool tty, color, utf8;
	unsigned int width;	/* columns; 0: no limit */
	bool titled;
	size_t len, at;		/* out[at..len) waits */
	uint64_t bytes;
	char out[OUT_BYTES];
};

static const struct osp_opt console_opts[] = {
	{ "color", OSP_OPT_ENUM, offsetof(struct console_conf, color), "auto", 0, 0,
	  "auto|always|never", "auto: on a terminal, unless NO_COLOR is set" },
	{ "verbose", OSP_OPT_BOOL, offsetof(struct console_conf, verbose), "no", 0, 0, NULL,
	  "connections too" },
	{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
};

uint32_t osp_console_kinds(const void *conf)
{
	const struct console_conf *console = conf;

	return OSP_KIND_BIT(OSP_REC_TRANSACTION) |
	       (console->verbose ? OSP_KIND_BIT(OSP_REC_CONNECTION) : 0);
}

/* ---- a line -------------------------------------------------------------------------------- */

/* A line being made: text, and how many columns of it are visible. */
struct line {
	char *p, *end;
	unsigned int cols;
	unsigned int who;	/* width of the process column */
	bool color, utf8, narrow;
};

static void add_bytes(struct line *line, const char *s, size_t n)
{
	if (n > (size_t)(line->end - line->p))
		n = (size_t)(line->end - line->p);
	memcpy(line->p, s, n);
	line->p += n;
}

/* Our own text, cols wide. */
static void add_wide(struct line *line, const char *s, unsigned int cols)
{
	add_bytes(line, s, strlen(s));
	line->cols += cols;
}

static void add(struct line *line, const char *s)
{
	add_wide(line, s, (unsigned int)strlen(s));
}

static void __attribute__((format(printf, 2, 3))) addf(struct line *line, const char *fmt, ...)
{
	char tmp[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(tmp, sizeof(tmp), fmt, ap);
	va_end(ap);
	add(line, tmp);
}

static void pad_to(struct line *line, unsigned int col)
{
	while (line->cols < col)
		add(line, " ");
}

/* SGR sequences. */
#define C_OFF "0"
#define C_DIM "2"
#define C_BOLD "1"
#define C_RED "1;31"
#define C_GREEN "32"
#define C_YELLOW "33"
#define C_CYAN "36"
#define C_MAGENTA "35"

static void paint(struct line *line, const char *sgr)
{
	if (!line->color)
		return;
	add_bytes(line, "\033[", 2);
	add_bytes(line, sgr, strlen(sgr));
	add_bytes(line, "m", 1);
}

static bool printable(unsigned char c)
{
	return c >= 0x20 && c < 0x7f;
}

static unsigned int shown_cols(struct osp_slice s)
{
	unsigned int n = 0;

	for (uint32_t i = 0; i < s.n && n < LINE_BYTES; i++)
		n += printable((unsigned char)s.p[i]) ? 1 : 4;
	return n;
}

/* Data, made harmless, in at most max columns; what is cut shows as an ellipsis. */
static void add_data(struct line *line, struct osp_slice s, unsigned int max)
{
	static const char hex[] = "0123456789abcdef";
	unsigned int dots = line->utf8 ? 1 : 2, total, used = 0;

	if (!s.p)
		return;
	total = shown_cols(s);
	if (total > max)
		max = max > dots ? max - dots : 0;
	for (uint32_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		char esc[4] = { '\\', 'x', hex[c >> 4], hex[c & 15] };
		unsigned int cols = printable(c) ? 1 : 4;

		if (used + cols > max) {
			add_wide(line, line->utf8 ? "…" : "..", dots);
			break;
		}
		add_bytes(line, printable(c) ? (const char *)&c : esc, cols);
		line->cols += cols;
		used += cols;
	}
}

/* ---- columns ------------------------------------------------------------------------------- */

static void add_time(struct line *line, int64_t ts_ns)
{
	int64_t ms = ts_ns / 1000000;
	time_t sec = (time_t)(ms / 1000);
	struct tm tm = { 0 };

	localtime_r(&sec, &tm);
	paint(line, C_DIM);
	addf(line, "%02d:%02d:%02d.%03d", tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(ms % 1000));
	paint(line, C_OFF);
}

/* "nginx[4242]" */
static void add_who(struct line *line, const struct osp_record *rec, unsigned int max)
{
	struct osp_slice comm = rec->str[OSP_S_COMM];
	char pid[16] = "";

	if (rec->proc.has & OSP_PH_PID)
		snprintf(pid, sizeof(pid), "[%" PRIu32 "]", rec->proc.pid);
	if (!comm.p && !pid[0])
		comm = osp_slice_str("-");
	add_data(line, comm, max - (unsigned int)strlen(pid));
	paint(line, C_DIM);
	add(line, pid);
	paint(line, C_OFF);
}

static bool is_role(const struct osp_record *rec, const char *role)
{
	return !strcmp(osp_role_name(rec->conn.role), role);
}

/* From the process to the peer: requests go out, come in, or nobody knows. */
static void add_arrow(struct line *line, const struct osp_record *rec)
{
	if (is_role(rec, "client")) {
		paint(line, C_CYAN);
		add_wide(line, line->utf8 ? "→ " : "->", 2);
	} else if (is_role(rec, "server")) {
		paint(line, C_MAGENTA);
		add_wide(line, line->utf8 ? "← " : "<-", 2);
	} else {
		paint(line, C_DIM);
		add_wide(line, line->utf8 ? "· " : "- ", 2);
	}
	paint(line, C_OFF);
}

static bool is_v4(const uint8_t a[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	return !memcmp(a, mapped, sizeof(mapped));
}

/* The other end: the client if this is the server, the server otherwise. */
static void add_peer(struct line *line, const struct osp_record *rec, bool server)
{
	const struct osp_rec_conn *conn = &rec->conn;
	const uint8_t *a = server ? conn->client : conn->server;
	uint16_t port = server ? conn->client_port : conn->server_port;
	char text[INET6_ADDRSTRLEN] = "";

	/* Of the two a unix socket mostly has the server's name only, which tells most. */
	if (conn->transport == OSP_TRANSPORT_UNIX) {
		add(line, "unix:");
		add_data(line, rec->str[rec->str[OSP_S_SERVER_PATH].p ? OSP_S_SERVER_PATH :
									OSP_S_CLIENT_PATH],
			 W_PEER - sizeof("unix:"));
		return;
	}
	if (!(conn->has & OSP_CH_TUPLE)) {
		add(line, "-");
		return;
	}
	if (is_v4(a)) {
		addf(line, "%u.%u.%u.%u:%u", a[12], a[13], a[14], a[15], port);
		return;
	}
	inet_ntop(AF_INET6, a, text, sizeof(text));
	addf(line, "[%s]:%u", text, port);
}

static void add_status(struct line *line, const struct osp_rec_msg *res)
{
	if (!(res->has & OSP_MH_STATUS)) {
		paint(line, C_DIM);
		add(line, "---");
	} else {
		paint(line, res->status >= 500 ? C_RED
			    : res->status >= 400 ? C_YELLOW
			    : res->status >= 300 ? C_CYAN
						 : C_GREEN);
		addf(line, "%3u", res->status);
	}
	paint(line, C_OFF);
}

/* A size in at most 4 columns: 999, 1.0K, 123M. */
static const char *size_text(char out[8], bool known, uint64_t v)
{
	static const char units[] = " KMGTPE";
	uint64_t rest = 0;
	int u = 0;

	if (!known)
		return "-";
	while (v >= 1000) {
		rest = v % 1024;
		v /= 1024;
		u++;
		/* 1000 to 1023 of a unit are 0.9 of the next. */
		if (!v) {
			snprintf(out, 8, "0.9%c", units[u]);
			return out;
		}
	}
	if (!u)
		snprintf(out, 8, "%u", (unsigned int)v);
	else if (v < 10)
		snprintf(out, 8, "%u.%u%c", (unsigned int)v, (unsigned int)(rest * 10 / 1024),
			 units[u]);
	else
		snprintf(out, 8, "%u%c", (unsigned int)v, units[u]);
	return out;
}

static void add_sizes(struct line *line, const struct osp_record *rec)
{
	const struct osp_rec_msg *req = &rec->msg[OSP_REQ], *res = &rec->msg[OSP_RES];
	char a[8], b[8];

	if (line->narrow)
		return;
	addf(line, " %5s %5s", size_text(a, req->has & OSP_MH_BODY, req->body_bytes),
	     size_text(b, res->has & OSP_MH_BODY, res->body_bytes));
}

/* A time in 7 columns: " 850 µs", " 1.2 ms", "12.3 s ". */
static void add_latency(struct line *line, const struct osp_record *rec)
{
	int64_t ns = rec->duration_ns;
	const char *unit;
	uint64_t tenths;	/* of the unit */
	char num[24];

	if (!(rec->has_timing & 2) || ns < 0) {
		add(line, "      -");
		return;
	}
	if (ns < 1000000) {
		unit = line->utf8 ? "µs" : "us";
		tenths = (uint64_t)ns / 100;
	} else if (ns < 10000000000) {
		unit = "ms";
		tenths = (uint64_t)ns / 100000;
	} else {
		unit = "s ";
		tenths = (uint64_t)ns / 100000000;
	}
	if (tenths < 1000)
		snprintf(num, sizeof(num), "%" PRIu64 ".%" PRIu64, tenths / 10, tenths % 10);
	else
		snprintf(num, sizeof(num), "%" PRIu64, tenths / 10);
	paint(line, ns >= 1000000000 ? C_YELLOW : C_OFF);
	addf(line, "%4s ", num);
	add_wide(line, unit, 2);
	paint(line, C_OFF);
}

/* Outcome, flags and anomalies, "  timeout gap bare_lf"; nothing when all is well. */
static size_t notes(const struct osp_record *rec, char *out, size_t size)
{
	static const uint32_t quiet = OSP_RF_LOOPBACK;
	uint32_t bits;
	int n = 0;

	out[0] = 0;
	if (rec->outcome != OSP_OUT_OK)
		n = snprintf(out, size, " %s", osp_outcome_name(rec->outcome));
	for (bits = rec->flags & ~quiet; bits && (size_t)n < size; bits &= bits - 1)
		n += snprintf(out + n, size - (size_t)n, " %s",
			      osp_flag_name(__builtin_ctz(bits)));
	for (bits = rec->anomalies; bits && (size_t)n < size; bits &= bits - 1)
		n += snprintf(out + n, size - (size_t)n, " %s",
			      osp_anomaly_name(__builtin_ctz(bits)));
	return strlen(out);
}

/* What was asked for: method, then host and target, in what is left of the width. */
static void add_request(struct line *line, const struct osp_record *rec, unsigned int width,
			size_t notes_n)
{
	struct osp_slice method = rec->str[OSP_S_METHOD], target = rec->str[OSP_S_TARGET];
	struct osp_slice host = rec->str[OSP_S_HOST];
	unsigned int max = LINE_BYTES, host_cols;

	paint(line, C_BOLD);
	add_data(line, method.p ? method : osp_slice_str("-"), 20);
	paint(line, C_OFF);
	add(line, " ");
	if (width) {
		unsigned int used = line->cols + (unsigned int)notes_n;

		max = width > used + TARGET_MIN ? width - used : TARGET_MIN;
	}
	/* An absolute target (to a proxy) and "*" stand for themselves. */
	if (host.p && target.p && target.n && target.p[0] == '/') {
		host_cols = shown_cols(host);
		paint(line, C_DIM);
		add_data(line, host, host_cols < max / 2 ? host_cols : max / 2);
		paint(line, C_OFF);
		host_cols = host_cols < max / 2 ? host_cols : max / 2;
		max -= host_cols;
	}
	add_data(line, target.p ? target : osp_slice_str("-"), max);
}

/* What every line begins with: when, who, to or from whom. */
static void add_ends(struct line *line, const struct osp_record *rec)
{
	unsigned int at;

	add_time(line, rec->ts_ns);
	add(line, " ");
	at = line->cols + line->who;
	add_who(line, rec, line->who - 1);
	pad_to(line, at);
	add_arrow(line, rec);
	add(line, " ");
	at = line->cols + W_PEER;
	add_peer(line, rec, is_role(rec, "server"));
	pad_to(line, at);
}

static void transaction_line(struct line *line, const struct osp_record *rec, unsigned int width)
{
	char note[256];
	size_t note_n = notes(rec, note, sizeof(note));

	add_ends(line, rec);
	add(line, " ");
	add_status(line, &rec->msg[OSP_RES]);
	add(line, " ");
	add_latency(line, rec);
	add_sizes(line, rec);
	add(line, "  ");
	add_request(line, rec, width, note_n);
	if (note_n) {
		paint(line, rec->outcome != OSP_OUT_OK ? C_RED : C_YELLOW);
		add(line, note);
		paint(line, C_OFF);
	}
}

static void connection_line(struct line *line, const struct osp_record *rec)
{
	const struct osp_rec_connection *cn = &rec->connection;
	struct osp_slice end = rec->str[OSP_S_END], protocol = rec->str[OSP_S_PROTOCOL];
	char a[8], b[8];

	add_ends(line, rec);
	paint(line, C_DIM);
	add(line, " connection ");
	add_data(line, end.p ? end : osp_slice_str("-"), 20);
	add(line, ", ");
	add_data(line, protocol.p ? protocol : osp_slice_str("unknown"), 20);
	addf(line, ", %" PRIu64 " transactions, sent %s, received %s", cn->transactions,
	     size_text(a, cn->has_bytes, cn->dir[0].bytes),
	     size_text(b, cn->has_bytes, cn->dir[1].bytes));
	if (cn->dir[0].gap_bytes || cn->dir[1].gap_bytes)
		addf(line, ", missing %" PRIu64 " bytes",
		     cn->dir[0].gap_bytes + cn->dir[1].gap_bytes);
	paint(line, C_OFF);
}

static void ledger_line(struct line *line, const struct osp_record *rec)
{
	add_time(line, rec->ts_ns);
	add(line, rec->ledger.closed ? " ledger: all sums close" : " ledger: SUMS DO NOT CLOSE");
}

static void title_line(struct line *line)
{
	paint(line, C_BOLD);
	addf(line, "%-12s %-*s%-3s%-*s %-3s %7s", "time", (int)line->who, "process", "", W_PEER,
	     "peer", "st.", "latency");
	if (!line->narrow)
		addf(line, " %5s %5s", "req", "res");
	add(line, "  request");
	paint(line, C_OFF);
}

/* ---- the sink ------------------------------------------------------------------------------ */

static bool env_set(const char *name)
{
	const char *v = getenv(name);

	return v && *v;
}

static bool utf8_locale(void)
{
	const char *v = env_set("LC_ALL") ? getenv("LC_ALL")
			: env_set("LC_CTYPE") ? getenv("LC_CTYPE") : getenv("LANG");

	return v && (strcasestr(v, "utf-8") || strcasestr(v, "utf8"));
}

static void read_width(struct osp_sink *sink)
{
	struct winsize ws;

	sink->width = 0;
	if (sink->tty && !ioctl(sink->fd, TIOCGWINSZ, &ws) && ws.ws_col)
		sink->width = ws.ws_col;
}

static int console_open(const struct osp_host *host, const void *conf, struct osp_sink **out,
			char *err, size_t err_size)
{
	struct pollfd pfd = { .fd = STDOUT_FILENO };
	struct osp_sink *sink;
	const char *term = getenv("TERM");
	int ret;

	if (poll(&pfd, 1, 0) > 0 && pfd.revents & (POLLERR | POLLNVAL)) {
		snprintf(err, err_size, "stdout: nobody reads it");
		return -EPIPE;
	}
	sink = calloc(1, sizeof(*sink));
	if (!sink)
		return -ENOMEM;
	sink->host = host;
	sink->conf = conf;
	sink->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
	if (sink->fd < 0) {
		ret = -errno;
		free(sink);
		return ret;
	}
	sink->tty = isatty(sink->fd);
	sink->color = sink->conf->color == COLOR_ALWAYS ||
		      (sink->conf->color == COLOR_AUTO && sink->tty && !env_set("NO_COLOR") &&
		       (!term || strcmp(term, "dumb")));
	sink->utf8 = utf8_locale();
	tzset();
	*out = sink;
	return 0;
}

/* Writes what waits; -EAGAIN: the terminal or pipe does not take it now. */
static int drain(struct osp_sink *sink)
{
	struct pollfd pfd = { .fd = sink->fd, .events = POLLOUT };
	bool waited = false;
	ssize_t n;

	while (sink->at < sink->len) {
		n = write(sink->fd, sink->out + sink->at, sink->len - sink->at);
		if (n > 0) {
			sink->at += (size_t)n;
			sink->bytes += (uint64_t)n;
			waited = false;
		} else if (n < 0 && errno == EINTR) {
			continue;
		} else if (n < 0 && errno == EAGAIN && !waited) {
			poll(&pfd, 1, WAIT_MS);
			waited = true;
		} else {
			return n < 0 && errno != ENOSPC ? -errno : -EAGAIN;
		}
	}
	sink->at = 0;
	sink->len = 0;
	return 0;
}

/* rec's line (or the title, without rec) behind what waits; there is room for it. */
static void format(struct osp_sink *sink, const struct osp_record *rec)
{
	char *start = sink->out + sink->len;
	struct line line = {
		.p = start,
		.end = start + LINE_BYTES - 16,	/* the last colour and newline always fit */
		.color = sink->color,
		.utf8 = sink->utf8,
		.narrow = sink->width && sink->width < NARROW,
	};

	line.who = line.narrow ? W_WHO_NARROW : W_WHO;
	if (!rec)
		title_line(&line);
	else if (rec->kind == OSP_REC_TRANSACTION)
		transaction_line(&line, rec, sink->width);
	else if (rec->kind == OSP_REC_CONNECTION)
		connection_line(&line, rec);
	else
		ledger_line(&line, rec);
	line.end += 16;
	if (line.color)
		add_bytes(&line, "\033[0m", 4);
	add_bytes(&line, "\n", 1);
	sink->len = (size_t)(line.p - sink->out);
}

static int console_write(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done)
{
	int err;

	read_width(sink);
	for (*done = 0; *done < batch->n; ++*done) {
		if (sink->len + 2 * LINE_BYTES > sizeof(sink->out) || sink->at) {
			err = drain(sink);
			if (err)
				return err;
		}
		if (!sink->titled)
			format(sink, NULL);
		sink->titled = true;
		format(sink, batch->rec[*done]);
	}
	/* All are taken, in our buffer at least; flush comes back for the rest. */
	err = drain(sink);
	return err == -EAGAIN ? 0 : err;
}

static int console_flush(struct osp_sink *sink, uint64_t deadline_ns)
{
	return drain(sink);
}

static void console_stats(const struct osp_sink *sink, struct osp_sink_stats *st)
{
	st->bytes = sink->bytes;
}

static void console_close(struct osp_sink *sink)
{
	close(sink->fd);
	free(sink);
}

const struct osp_sink_ops osp_sink_console = {
	.abi = OSP_SINK_ABI,
	.size = sizeof(struct osp_sink_ops),
	.name = "console",
	.opts = console_opts,
	.conf_size = sizeof(struct console_conf),
	.open = console_open,
	.write = console_write,
	.flush = console_flush,
	.stats = console_stats,
	.close = console_close,
};
