/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_oev.c: what is recorded comes back byte for byte; a file that is cut or damaged gives what
 * stands before the damage, then an error, and never anything else.
 */
#include "agent/oev.h"
#include "agent/source_replay.h"

#include "agent/base/log.h"
#include "tests/lib/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS 9
#define EVENT_MAX 400

struct event {
	union {
		struct osp_ev_hdr h;
		struct osp_ev_open open;
		struct osp_ev_data data;
		struct osp_ev_close close;
		struct osp_ev_proc proc;
		struct osp_ev_lost lost;
		struct osp_ev_tick tick;
		struct osp_ev_unix names;
		uint8_t raw[EVENT_MAX];
	};
};

/* What a replay gave: how many events, and whether they were the right ones. */
struct got {
	const struct event *want;
	uint32_t want_n, n;
	uint64_t bytes;
	bool same;
};

static const struct osp_source_info info = {
	.mode = "sock", .origin = "sock", .host = "probe.test", .kernel = "6.12.0-test",
	.boot_id = "01234567-89ab-4cde-8f01-23456789abcd", .wall_off_ns = -42,
};

static void event(struct event *ev, uint8_t kind, uint32_t len, uint64_t ts)
{
	memset(ev, 0, sizeof(*ev));
	ev->h = (struct osp_ev_hdr){ .len = len, .abi = OSP_EV_ABI, .kind = kind, .ts_ns = ts };
}

/* One of most kinds; DATA of several lengths, so that padding of each kind occurs. */
static uint64_t make_events(struct event *ev)
{
	uint64_t at[EVENTS + 1] = { 0 };

	event(&ev[0], OSP_EV_OPEN, sizeof(struct osp_ev_open), 1);
	event(&ev[1], OSP_EV_PROC, sizeof(struct osp_ev_proc) + 9, 2);
	ev[1].proc.str_len[0] = 5;
	ev[1].proc.str_len[2] = 4;
	memcpy(ev[1].raw + sizeof(struct osp_ev_proc), "/exe\0cmd", 9);
	for (uint32_t i = 2; i < 5; i++) {
		event(&ev[i], OSP_EV_DATA, (uint32_t)sizeof(struct osp_ev_data) + 3 * i, i);
		ev[i].data.cap = ev[i].data.bytes = 3 * i;
		memset(ev[i].raw + sizeof(struct osp_ev_data), 'a' + (int)i, 3 * i);
	}
	event(&ev[5], OSP_EV_CLOSE, sizeof(struct osp_ev_close), 6);
	event(&ev[6], OSP_EV_LOST, sizeof(struct osp_ev_lost), 7);
	event(&ev[7], OSP_EV_TICK, sizeof(struct osp_ev_tick), 8);
	event(&ev[8], OSP_EV_UNIX, sizeof(struct osp_ev_unix), 9);
	ev[8].names.len[OSP_UNIX_REMOTE] = 6;
	memcpy(ev[8].names.name[OSP_UNIX_REMOTE], "/sock", 6);
	for (int i = 0; i < EVENTS; i++)
		at[i + 1] = at[i] + osp_oev_padded(ev[i].h.len);
	return at[EVENTS];
}

static int take(void *ctx, const struct osp_ev_hdr *ev)
{
	struct got *got = ctx;
	const struct event *want = &got->want[got->n % got->want_n];

	if (ev->len != want->h.len || memcmp(ev, want, ev->len) || (uintptr_t)ev % 8)
		got->same = false;
	got->n++;
	got->bytes += osp_oev_padded(ev->len);
	return 0;
}

/* Replays to the end; returns what poll said last, or the error of opening. */
static int replay(const char *path, const struct event *want, uint32_t want_n, struct got *got)
{
	struct osp_source *src = NULL;
	int r;

	*got = (struct got){ .want = want, .want_n = want_n, .same = true };
	r = osp_source_replay_new(&src, path);
	if (r)
		return r;
	while ((r = src->ops->poll(src, take, got)) > 0)
		;
	src->ops->close(src);
	return r;
}

static void record(const char *path, const struct event *ev, int rounds)
{
	struct osp_oev *oev = NULL;

	if (!ok(osp_oev_open(&oev, path, &info) == 0, "%d rounds: opens", rounds))
		return;
	for (int r = 0; r < rounds; r++)
		for (int i = 0; i < EVENTS; i++)
			osp_oev_write(oev, &ev[i].h);
	eq_int(osp_oev_recorded(oev), (uint64_t)rounds * EVENTS, "%d rounds: recorded", rounds);
	eq_int(osp_oev_unrecorded(oev), 0, "%d rounds: all of them", rounds);
	eq_int(osp_oev_close(oev), 0, "%d rounds: closes", rounds);
}

static void test_round_trip(const char *path, const struct event *ev, uint64_t one_round)
{
	struct osp_source_info back;
	struct osp_source *src;
	struct stat st;
	struct got got;

	/* 20,000 rounds are 20 MB: many buffers, and events that lie across their ends. */
	for (int rounds = 0; rounds <= 20000; rounds = rounds ? rounds * 20000 : 1) {
		record(path, ev, rounds);
		stat(path, &st);
		eq_int((uint64_t)st.st_size - sizeof(struct osp_oev_hdr),
		       one_round * (uint64_t)rounds, "%d rounds: size", rounds);
		eq_int(replay(path, ev, EVENTS, &got), -ENODATA, "%d rounds: ends", rounds);
		ok(got.same && got.n == (uint32_t)rounds * EVENTS, "%d rounds: the same", rounds);
	}
	eq_int(st.st_mode & 0777, 0600, "nobody else reads it");
	eq_int(osp_source_replay_new(&src, path), 0, "opens");
	src->ops->info(src, &back);
	eq_str(back.mode, "replay", "mode");
	eq_str(back.origin, "sock", "origin");
	eq_str(back.host, info.host, "host");
	eq_str(back.kernel, info.kernel, "kernel");
	eq_str(back.boot_id, info.boot_id, "boot id");
	eq_int(back.wall_off_ns, info.wall_off_ns, "wall clock");
	src->ops->stop(src);
	eq_int(src->ops->poll(src, take, &got), -ENODATA, "stops");
	src->ops->close(src);
	eq_int(osp_oev_close(NULL), 0, "close takes NULL");
}

/* Thousands of damaged files give a line each: stderr is away meanwhile, unless VERBOSE is set. */
static void quiet(bool on)
{
	static int saved = -1;
	int null;

	if (getenv("VERBOSE"))
		return;
	if (on) {
		saved = dup(STDERR_FILENO);
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (saved < 0 || null < 0)
			return;
		dup2(null, STDERR_FILENO);
		close(null);
	} else if (saved >= 0) {
		dup2(saved, STDERR_FILENO);
		close(saved);
	}
}

static size_t slurp(const char *path, uint8_t *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, buf, size);

	if (fd >= 0)
		close(fd);
	return n < 0 ? 0 : (size_t)n;
}

static void spew(const char *path, const uint8_t *buf, size_t n)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, buf, n) != (ssize_t)n)
		abort();
	close(fd);
}

/* How many whole events the first n bytes of a file hold. */
static uint32_t whole(const struct event *ev, size_t n)
{
	size_t at = sizeof(struct osp_oev_hdr);
	uint32_t i;

	for (i = 0; i < EVENTS; i++) {
		at += osp_oev_padded(ev[i].h.len);
		if (at > n)
			break;
	}
	return i;
}

static void test_truncated(const char *path, const struct event *ev)
{
	struct osp_oev_hdr *hdr;
	uint8_t buf[4096];
	struct got got;
	size_t n, bad = 0, bad_incomplete = 0;
	int want;

	record(path, ev, 1);
	n = slurp(path, buf, sizeof(buf));
	hdr = (struct osp_oev_hdr *)buf;
	for (size_t cut = 0; cut < n; cut++) {
		spew(path, buf, cut);
		if (replay(path, ev, EVENTS, &got) != -EPROTO || !got.same ||
		    got.n != whole(ev, cut))
			bad++;
	}
	eq_int(bad, 0, "cut after any byte: the whole events, then -EPROTO");
	hdr->flags = OSP_OEV_INCOMPLETE;
	hdr->events = 0;
	for (size_t cut = 0; cut <= n; cut++) {
		spew(path, buf, cut);
		want = cut < sizeof(*hdr) ? -EPROTO : -ENODATA;
		if (replay(path, ev, EVENTS, &got) != want || !got.same ||
		    got.n != whole(ev, cut))
			bad_incomplete++;
	}
	eq_int(bad_incomplete, 0, "incomplete and cut after any byte: the whole events, no error");
}

/* Each byte wrong in turn. Damage inside an event may go unseen (there are no checksums), but
 * what is handed over are events, as many as there can be, and the events before it are right.
 */
static void test_corrupt(const char *path, const struct event *ev)
{
	size_t n, unseen = 0, bad = 0;
	uint8_t buf[4096];
	struct got got;
	int r;

	record(path, ev, 1);
	n = slurp(path, buf, sizeof(buf));
	for (size_t at = 0; at < n; at++) {
		for (int bit = 0; bit < 8; bit++) {
			buf[at] ^= (uint8_t)(1 << bit);
			spew(path, buf, n);
			r = replay(path, ev, EVENTS, &got);
			if (r == -ENODATA)
				unseen++;
			if ((r != -EPROTO && r != -ENODATA) || got.n > EVENTS)
				bad++;
			if (r == -EPROTO && at >= sizeof(struct osp_oev_hdr) &&
			    got.n < whole(ev, at))
				bad++;
			buf[at] ^= (uint8_t)(1 << bit);
		}
	}
	eq_int(bad, 0, "each bit wrong in turn: events or an error");
	ok(unseen < n * 8, "%zu of %zu wrong bits make no difference to the framing", unseen,
	   n * 8);
}

/* A header field that is wrong refuses the file. */
static void test_header(const char *path, const struct event *ev)
{
	static const struct {
		const char *name;
		size_t at, len;
		uint8_t bytes[8];
	} wrong[] = {
		{ "magic", offsetof(struct osp_oev_hdr, magic), 1, "X" },
		{ "byte order", offsetof(struct osp_oev_hdr, bom), 4, { 1, 2, 3, 4 } },
		{ "byte order mark", offsetof(struct osp_oev_hdr, bom), 1, { 9 } },
		{ "version", offsetof(struct osp_oev_hdr, version), 1, { 99 } },
		{ "ABI", offsetof(struct osp_oev_hdr, abi), 1, { 99 } },
		{ "header length", offsetof(struct osp_oev_hdr, hdr_len), 1, { 8 } },
		{ "header length", offsetof(struct osp_oev_hdr, hdr_len), 3, { 8, 0, 255 } },
		{ "mode", offsetof(struct osp_oev_hdr, mode), 1, "\n" },
		{ "boot id", offsetof(struct osp_oev_hdr, boot_id) + 36, 4, "1234" },
		{ "event count", offsetof(struct osp_oev_hdr, events), 1, { 3 } },
		{ "event count", offsetof(struct osp_oev_hdr, events), 1, { 30 } },
	};
	uint8_t buf[4096], copy[4096];
	struct got got;
	size_t n;

	record(path, ev, 1);
	n = slurp(path, buf, sizeof(buf));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		memcpy(copy, buf, n);
		memcpy(copy + wrong[i].at, wrong[i].bytes, wrong[i].len);
		spew(path, copy, n);
		eq_int(replay(path, ev, EVENTS, &got), -EPROTO, "wrong %s", wrong[i].name);
	}
	/* What a newer writer appends to the header is stepped over. */
	memcpy(copy, buf, sizeof(struct osp_oev_hdr));
	memset(copy + sizeof(struct osp_oev_hdr), 7, 16);
	memcpy(copy + sizeof(struct osp_oev_hdr) + 16, buf + sizeof(struct osp_oev_hdr),
	       n - sizeof(struct osp_oev_hdr));
	((struct osp_oev_hdr *)copy)->hdr_len += 16;
	spew(path, copy, n + 16);
	eq_int(replay(path, ev, EVENTS, &got), -ENODATA, "a longer header");
	ok(got.same && got.n == EVENTS, "a longer header: the same events");
	spew(path, (const uint8_t *)"GET / HTTP/1.1\r\n", 16);
	eq_int(replay(path, ev, EVENTS, &got), -EPROTO, "something else altogether");
	eq_int(replay("/nonexistent/x.oev", ev, EVENTS, &got), -ENOENT, "no such file");
	eq_int(replay("/", ev, EVENTS, &got), -EISDIR, "a directory");
}

/* The file may not grow beyond a limit: as a disk that is full. */
static void test_full(const char *path, const struct event *ev)
{
	struct rlimit old, now = { 0 };
	struct osp_oev *oev = NULL;
	struct got got;
	uint64_t recorded, unrecorded;
	struct stat st;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	now = old;
	/* In the middle of an event, and of the second buffer. */
	now.rlim_cur = (1 << 20) + 300000 + 13;
	eq_int(osp_oev_open(&oev, path, &info), 0, "full: opens");
	setrlimit(RLIMIT_FSIZE, &now);
	for (int r = 0; r < 10000; r++)
		for (int i = 0; i < EVENTS; i++)
			if (osp_oev_write(oev, &ev[i].h))
				abort();
	recorded = osp_oev_recorded(oev);
	unrecorded = osp_oev_unrecorded(oev);
	eq_int(recorded + unrecorded, 10000 * EVENTS, "full: all events are accounted for");
	ok(recorded > 0 && unrecorded > 0, "full: some are in, some are not");
	eq_int(osp_oev_close(oev), -EFBIG, "full: close says so");
	setrlimit(RLIMIT_FSIZE, &old);
	stat(path, &st);
	ok(st.st_size <= (off_t)now.rlim_cur && st.st_size > (off_t)now.rlim_cur - EVENT_MAX,
	   "full: holds what fits");
	eq_int(replay(path, ev, EVENTS, &got), -ENODATA, "full: replays");
	ok(got.same && got.n == recorded, "full: whole events, as many as were told");
	eq_int((off_t)(got.bytes + sizeof(struct osp_oev_hdr)), st.st_size, "full: nothing else");
	if (access("/dev/full", W_OK))
		tap_skip("/dev/full", "is not there");
	else
		eq_int(osp_oev_open(&oev, "/dev/full", &info), -ENOSPC, "full before it begins");
	eq_int(osp_oev_open(&oev, "/nonexistent/x.oev", &info), -ENOENT, "no such folder");
}

/* An agent that is killed leaves an incomplete file, with all up to the last second. */
static void test_killed(const char *path, const struct event *ev)
{
	struct event tick = ev[7];
	struct osp_oev *oev;
	struct got got;
	uint8_t buf[8192];
	size_t n;

	osp_oev_open(&oev, path, &info);
	for (int i = 0; i < EVENTS - 1; i++)
		osp_oev_write(oev, &ev[i].h);
	tick.h.ts_ns = 2000000000;
	osp_oev_write(oev, &tick.h);
	osp_oev_write(oev, &ev[0].h);
	n = slurp(path, buf, sizeof(buf));
	osp_oev_close(oev);
	spew(path, buf, n);
	eq_int(replay(path, ev, EVENTS, &got), -ENODATA, "killed: replays");
	eq_int(got.n, EVENTS, "killed: what a second of events has pushed out");
}

/* An event that is larger than the buffers of both sides; or than any reader has to bear. */
static void test_large(const char *path, uint32_t cap, int want)
{
	uint32_t len = (uint32_t)sizeof(struct osp_ev_data) + cap;
	struct osp_ev_data *ev = calloc(1, osp_oev_padded(len));
	struct osp_source *src = NULL;
	struct osp_oev *oev;
	struct event tick;
	struct got got = { .want = &tick, .want_n = 1 };
	int n = 0;

	event(&tick, OSP_EV_TICK, sizeof(struct osp_ev_tick), 1);
	ev->h = (struct osp_ev_hdr){ .len = len, .abi = OSP_EV_ABI, .kind = OSP_EV_DATA };
	ev->bytes = ev->cap = cap;
	memset(ev + 1, 'x', cap);
	osp_oev_open(&oev, path, &info);
	osp_oev_write(oev, &tick.h);
	osp_oev_write(oev, &ev->h);
	osp_oev_write(oev, &tick.h);
	eq_int(osp_oev_close(oev), 0, "%u bytes in one event: recorded", cap);
	if (!osp_source_replay_new(&src, path)) {
		while ((n = src->ops->poll(src, take, &got)) > 0)
			;
		src->ops->close(src);
	}
	eq_int(n, want, "%u bytes in one event: replays or not", cap);
	eq_int(got.bytes, want == -EPROTO ? sizeof(struct osp_ev_tick) :
	       osp_oev_padded(len) + 2 * sizeof(struct osp_ev_tick), "%u bytes: all that can be",
	       cap);
	free(ev);
}

int main(void)
{
	char path[] = "/tmp/osprey-oev.XXXXXX";
	struct event ev[EVENTS];
	uint64_t one_round = make_events(ev);
	int fd = mkstemp(path);

	if (fd < 0)
		return 1;
	close(fd);
	osp_log_init("# test_oev", OSP_LOG_INFO);
	test_round_trip(path, ev, one_round);
	quiet(true);
	test_truncated(path, ev);
	test_corrupt(path, ev);
	quiet(false);
	test_header(path, ev);
	test_full(path, ev);
	test_killed(path, ev);
	test_large(path, (3 << 20) + 1, -ENODATA);
	test_large(path, OSP_OEV_EVENT_MAX - sizeof(struct osp_ev_data), -ENODATA);
	test_large(path, OSP_OEV_EVENT_MAX - sizeof(struct osp_ev_data) + 1, -EPROTO);
	unlink(path);
	return done();
}
