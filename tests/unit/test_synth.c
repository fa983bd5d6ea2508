/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_synth.c: the generator tells the truth: its events fit each other and the truth file, byte
 * for byte, and the same spec always gives the same events.
 */
#include "agent/source_synth.h"

#include "tests/lib/tap.h"

#include <errno.h>
#include <stdbool.h>
#include <unistd.h>
#include <xxhash.h>

#define CONNS 512
#define STREAM_MAX (1u << 20)

/* One direction as it is put together from events. */
struct stream {
	uint32_t base, next;	/* sequence numbers */
	uint32_t early_seq, early_n;	/* a piece that came before the one in front of it */
	uint64_t lost;
	uint8_t *bytes;
	uint64_t n;
};

struct conn {
	uint64_t cookie;
	struct osp_tuple tuple;
	struct stream dir[OSP_DIRS];
	uint32_t turn, turns;
	uint8_t turn_dir, role;
	bool closed;
};

/* Takes events and counts all that is wrong with them. */
struct taker {
	XXH64_state_t *hash;
	uint64_t events, data, bytes[OSP_DIRS], early, split, lost_bytes, ticks, procs;
	uint64_t opened, closed, last_ts, bad;
	bool keep;		/* put streams together */
	bool whole;		/* nothing is lost on purpose */
	struct osp_ev_lost lost;
	struct conn conn[CONNS];
};

static void wrong(struct taker *tk, const char *what, uint64_t cookie)
{
	if (tk->bad++ < 5)
		printf("#   %s, connection %llu, event %llu\n", what, (unsigned long long)cookie,
		       (unsigned long long)tk->events);
}

static struct conn *find(struct taker *tk, uint64_t cookie)
{
	struct conn *c = &tk->conn[cookie % CONNS];

	if (c->cookie != cookie)
		wrong(tk, "event of a connection that is not open", cookie);
	return c;
}

static void take_open(struct taker *tk, const struct osp_ev_open *ev)
{
	struct conn *c = &tk->conn[ev->conn % CONNS];

	if (c->cookie)
		wrong(tk, "more connections than the test holds, or opened twice", ev->conn);
	*c = (struct conn){ .cookie = ev->conn, .role = ev->role, .turn_dir = OSP_DIRS,
			    .tuple = ev->tuple };
	for (int d = 0; d < OSP_DIRS; d++) {
		c->dir[d].base = c->dir[d].next = ev->seq[d];
		if (tk->keep)
			c->dir[d].bytes = malloc(STREAM_MAX);
	}
	tk->opened++;
}

static void keep(struct taker *tk, struct stream *s, const struct osp_ev_data *ev)
{
	uint32_t at = ev->seq - s->base;

	if (!s->bytes || at + ev->cap > STREAM_MAX)
		return;
	memcpy(s->bytes + at, ev + 1, ev->cap);
	if (at + ev->cap > s->n)
		s->n = at + ev->cap;
}

static void take_turn(struct taker *tk, struct conn *c, const struct osp_ev_data *ev)
{
	/* Directions alternate with the turns, so parity tells them even across losses. */
	if (ev->turn < c->turn || !ev->turn)
		wrong(tk, "turn went back", ev->conn);
	if (c->turn_dir != OSP_DIRS && ((ev->turn - c->turn) & 1) != (ev->dir != c->turn_dir))
		wrong(tk, "turn does not fit the direction", ev->conn);
	if (tk->whole && ev->turn > c->turn + 1)
		wrong(tk, "turn left out", ev->conn);
	c->turn = ev->turn;
	c->turn_dir = ev->dir;
}

static void take_data(struct taker *tk, const struct osp_ev_data *ev)
{
	struct conn *c = find(tk, ev->conn);
	struct stream *s = &c->dir[ev->dir];

	tk->data++;
	tk->bytes[ev->dir] += ev->bytes;
	s->lost += ev->lost;
	tk->lost_bytes += ev->lost;
	take_turn(tk, c, ev);
	keep(tk, s, ev);
	if (ev->cap != ev->bytes || !ev->bytes || ev->vantage != OSP_VANTAGE_SYNTHETIC)
		wrong(tk, "odd DATA", ev->conn);
	if (ev->seq == s->next + ev->lost) {
		s->next = ev->seq + ev->bytes;
		if (s->early_n && s->next == s->early_seq) {
			s->next += s->early_n;
			s->early_n = 0;
		}
	} else if (!s->early_n && !ev->lost) {
		s->early_seq = ev->seq;
		s->early_n = ev->bytes;
		tk->early++;
	} else {
		wrong(tk, "not contiguous", ev->conn);
	}
}

static void take_close(struct taker *tk, const struct osp_ev_close *ev)
{
	struct conn *c = find(tk, ev->conn);

	for (int d = 0; d < OSP_DIRS; d++) {
		tk->lost_bytes += ev->lost[d];
		if (c->dir[d].early_n || ev->end[d] != c->dir[d].next + ev->lost[d])
			wrong(tk, "CLOSE does not fit what was seen", ev->conn);
	}
	if (ev->turns < c->turn || ev->rcv_end != ev->end[OSP_RX] || c->closed)
		wrong(tk, "odd CLOSE", ev->conn);
	c->turns = ev->turns;
	c->closed = true;
	tk->closed++;
	if (!tk->keep)
		c->cookie = 0;
}

static int take(void *ctx, const struct osp_ev_hdr *ev)
{
	struct taker *tk = ctx;

	XXH64_update(tk->hash, ev, ev->len);
	tk->events++;
	if (osp_event_check(ev, ev->len) || (uintptr_t)ev % 8)
		wrong(tk, "not a valid event", 0);
	/* A reordered pair has its stamps in the order it was made. */
	if (ev->ts_ns + 100000 < tk->last_ts)
		wrong(tk, "time went back", 0);
	tk->last_ts = ev->ts_ns;
	switch (ev->kind) {
	case OSP_EV_OPEN:
		take_open(tk, (const struct osp_ev_open *)ev);
		break;
	case OSP_EV_DATA:
		take_data(tk, (const struct osp_ev_data *)ev);
		break;
	case OSP_EV_CLOSE:
		take_close(tk, (const struct osp_ev_close *)ev);
		break;
	case OSP_EV_LOST:
		tk->lost = *(const struct osp_ev_lost *)ev;
		break;
	case OSP_EV_TICK:
		tk->ticks++;
		break;
	case OSP_EV_PROC:
		tk->procs++;
		break;
	}
	return 0;
}

static struct taker *taker_new(bool keep_bytes)
{
	struct taker *tk = calloc(1, sizeof(*tk));

	tk->hash = XXH64_createState();
	XXH64_reset(tk->hash, 0);
	tk->keep = keep_bytes;
	return tk;
}

static void taker_free(struct taker *tk)
{
	for (int i = 0; i < CONNS; i++)
		for (int d = 0; d < OSP_DIRS; d++)
			free(tk->conn[i].dir[d].bytes);
	XXH64_freeState(tk->hash);
	free(tk);
}

/* Runs a spec to its end; stop_after > 0: stops the source after that many polls. */
static uint64_t run(struct taker *tk, const char *spec, int stop_after)
{
	struct osp_source *src = NULL;
	char err[512] = "";
	int n, polls = 0, most = 0;

	n = osp_source_synth_new(&src, spec, err, sizeof(err));
	if (!ok(n == 0, "%s: opens %s", spec, err))
		return 0;
	while ((n = src->ops->poll(src, take, tk)) > 0) {
		most = n > most ? n : most;
		if (++polls == stop_after)
			src->ops->stop(src);
	}
	eq_int(n, -ENODATA, "%s: ends", spec);
	eq_int(src->ops->poll(src, take, tk), -ENODATA, "%s: stays ended", spec);
	ok(most < 512, "%s: polls are bounded (%d)", spec, most);
	src->ops->close(src);
	return XXH64_digest(tk->hash);
}

static void test_deterministic(void)
{
	static const char *const spec[] = {
		"seed=7,txns=2000,loss=0.01,split=0.3,reorder=0.1,pipeline=4,interim=0.2",
		"seed=8,txns=2000,loss=0.01,split=0.3,reorder=0.1,pipeline=4,interim=0.2",
	};
	uint64_t hash[3];

	for (int i = 0; i < 3; i++) {
		struct taker *tk = taker_new(false);

		hash[i] = run(tk, spec[i == 2], 0);
		taker_free(tk);
	}
	ok(hash[0] == hash[1], "the same seed gives the same events");
	ok(hash[0] != hash[2], "another seed gives other events");
}

/* The number after "name": in a truth line. */
static uint64_t num(const char *line, const char *name)
{
	char key[64];
	const char *p;

	snprintf(key, sizeof(key), "\"%s\":", name);
	p = strstr(line, key);
	return p ? strtoull(p + strlen(key), NULL, 10) : UINT64_MAX;
}

static void str(char *out, size_t size, const char *line, const char *name)
{
	char key[64];
	const char *p;
	size_t n = 0;

	snprintf(key, sizeof(key), "\"%s\":\"", name);
	p = strstr(line, key);
	if (p) {
		p += strlen(key);
		n = strcspn(p, "\"");
		n = n < size ? n : size - 1;
		memcpy(out, p, n);
	}
	out[n] = 0;
}

static bool stream_has(const struct stream *s, uint32_t seq, const char *text)
{
	uint32_t at = seq - s->base;

	return at + strlen(text) <= s->n && !memcmp(s->bytes + at, text, strlen(text));
}

/* Whether the message of head + wire bytes at seq stands in the stream: its head ends there. */
static bool framed(const struct stream *s, uint32_t seq, uint64_t head, uint64_t wire)
{
	uint32_t at = seq - s->base;

	return at + head + wire <= s->n && head > 4 &&
	       !memcmp(s->bytes + at + head - 4, "\r\n\r\n", 4);
}

/* One transaction of the truth against the bytes of its connection. */
static bool line_fits(struct taker *tk, const char *line)
{
	struct conn *c = &tk->conn[num(line, "cookie") % CONNS];
	bool client = strstr(line, "\"role\":\"client\"");
	struct stream *req = &c->dir[client ? OSP_TX : OSP_RX];
	struct stream *res = &c->dir[client ? OSP_RX : OSP_TX];
	char method[16], target[256], text[512];

	str(method, sizeof(method), line, "method");
	str(target, sizeof(target), line, "target");
	snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n", method, target);
	if (c->cookie != num(line, "cookie") ||
	    !stream_has(req, (uint32_t)num(line, "req_seq"), text))
		return false;
	snprintf(text, sizeof(text), "HTTP/1.1 %d ", (int)num(line, "status"));
	return stream_has(res, (uint32_t)num(line, "res_seq"), text) &&
	       framed(req, (uint32_t)num(line, "req_seq"), num(line, "req_head"),
		      num(line, "interim") != UINT64_MAX && num(line, "interim") == 100 ? 0 :
		      num(line, "req_wire")) &&
	       framed(res, (uint32_t)num(line, "res_seq"), num(line, "res_head"),
		      num(line, "res_wire"));
}

/* What the lines say in all. */
struct sums {
	uint64_t lines, misfits, lost, gone, bytes;
	char totals[1024];
};

static void read_truth(struct taker *tk, const char *path, struct sums *sums)
{
	char line[4096];
	FILE *f = fopen(path, "r");

	memset(sums, 0, sizeof(*sums));
	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, "\"totals\"")) {
			snprintf(sums->totals, sizeof(sums->totals), "%.1000s", line);
			continue;
		}
		sums->lines++;
		if (tk->keep && !line_fits(tk, line) && sums->misfits++ < 3)
			printf("#   does not fit: %s", line);
		sums->lost += num(line, "req_lost") + num(line, "res_lost") +
			      num(line, "interim_lost");
		sums->bytes += num(line, "req_head") + num(line, "req_wire") +
			       num(line, "res_head") + num(line, "res_wire");
	}
	if (f)
		fclose(f);
}

static void test_truth(const char *spec, bool streams, uint64_t exchanges, int stop_after)
{
	char path[] = "/tmp/osprey-synth.XXXXXX", full[512];
	struct taker *tk = taker_new(streams);
	struct sums sums;
	const struct osp_ev_lost *lost = &tk->lost;
	int fd = mkstemp(path);

	close(fd);
	tk->whole = !strstr(spec, "loss=");
	snprintf(full, sizeof(full), "%s,truth=%s", spec, path);
	run(tk, full, stop_after);
	read_truth(tk, path, &sums);
	unlink(path);
	eq_int(tk->bad, 0, "%s: every event fits", spec);
	eq_int(tk->closed, tk->opened, "%s: every connection is closed", spec);
	eq_int(sums.misfits, 0, "%s: every transaction stands in its streams", spec);
	eq_int(sums.lines, num(sums.totals, "transactions"), "%s: transactions", spec);
	if (exchanges)
		eq_int(num(sums.totals, "exchanges"), exchanges, "%s: as many as asked for", spec);
	eq_int(num(sums.totals, "connections"), tk->opened, "%s: connections", spec);
	eq_int(lost->seen, lost->delivered + lost->lost[OSP_LOST_RING], "%s: LOST closes", spec);
	eq_int(lost->delivered, tk->data, "%s: delivered", spec);
	eq_int(lost->lost_bytes[OSP_LOST_RING], tk->lost_bytes, "%s: lost bytes in events", spec);
	eq_int(sums.lost, tk->lost_bytes, "%s: lost bytes in the truth", spec);
	eq_int(num(sums.totals, "events_made"), lost->seen, "%s: events made", spec);
	eq_int(num(sums.totals, "turns"), lost->turns, "%s: turns", spec);
	eq_int(num(sums.totals, "tx_bytes") + num(sums.totals, "rx_bytes"),
	       tk->bytes[OSP_TX] + tk->bytes[OSP_RX] + tk->lost_bytes, "%s: bytes", spec);
	if (strstr(spec, "loss="))
		ok(tk->lost_bytes > 0, "%s: loses", spec);
	if (strstr(spec, "reorder="))
		ok(tk->early > 0, "%s: reorders", spec);
	if (!strstr(spec, "interim="))
		eq_int(sums.bytes, tk->bytes[0] + tk->bytes[1] + tk->lost_bytes,
		       "%s: heads and bodies are all the bytes", spec);
	if (!strstr(spec, "interim=") && !strstr(spec, "pipeline="))
		eq_int(lost->turns, 2 * sums.lines, "%s: two turns an exchange", spec);
	ok(tk->ticks && tk->procs >= 8, "%s: ticks and processes", spec);
	taker_free(tk);
}

static void test_spec_errors(void)
{
	static const char *const bad[] = {
		"x=1", "conns", "conns=", "conns=0", "conns=-1", "conns=1x", "loss=2", "loss=-0.1",
		"loss=nan", "loss=", "loss=0x1", "body=5-1", "body=1-", "body=-", "body=17M",
		"role=none", "methods=GET/", "methods=", "methods=DELETE", "truth=-", "truth=",
		"txns=99999999999999999999999", "pipeline=0", "rate=0", ",", "seed=1,",
		"seed=1,,txns=1", "=1", "conc=0",
	};
	struct osp_source *src;
	char err[512];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		src = NULL;
		eq_int(osp_source_synth_new(&src, bad[i], err, sizeof(err)), -EINVAL,
		       "\"%s\" is refused: %s", bad[i], err);
		ok(*err && !strchr(err, '\n') && !src, "\"%s\": with one line", bad[i]);
	}
	eq_int(osp_source_synth_new(&src, "truth=/nonexistent/x", err, sizeof(err)), -ENOENT,
	       "a truth that can't be written: %s", err);
	eq_int(osp_source_synth_new(&src, "x=1", NULL, 0), -EINVAL, "no room for the reason");
}

static int refuse(void *ctx, const struct osp_ev_hdr *ev)
{
	return -EIO;
}

static void test_edges(void)
{
	struct taker *tk = taker_new(false);
	struct osp_source_info info;
	struct osp_source *src;
	char err[256];
	int n;

	run(tk, "conns=5,txns=0", 0);
	ok(!tk->bad && tk->opened == 5 && tk->closed == 5 && !tk->data, "connections without data");
	taker_free(tk);
	tk = taker_new(false);
	run(tk, "conns=3,txns=1,rate=1,body=100K-100K", 0);
	ok(!tk->bad && tk->data >= 2 && tk->ticks >= 10, "slow: time still ticks");
	taker_free(tk);
	eq_int(osp_source_synth_new(&src, NULL, err, sizeof(err)), 0, "no spec: all defaults");
	src->ops->info(src, &info);
	eq_str(info.mode, "synthetic", "mode");
	eq_int(strlen(info.boot_id), 36, "boot id %s", info.boot_id);
	eq_int(src->ops->poll(src, refuse, NULL), -EIO, "the taker's error comes back");
	src->ops->close(src);
	eq_int(osp_source_synth_new(&src, "truth=/dev/full,txns=10", err, sizeof(err)), 0, "opens");
	tk = taker_new(false);
	while ((n = src->ops->poll(src, take, tk)) > 0)
		;
	eq_int(n, -ENOSPC, "a truth that is cut short ends the run");
	taker_free(tk);
	src->ops->close(src);
}

int main(void)
{
	test_deterministic();
	test_truth("conns=20,txns=500", true, 500, 0);
	test_truth("seed=2,conns=20,txns=500,role=client,v6=0.5", true, 500, 0);
	test_truth("seed=3,conns=20,txns=500,role=both,split=0.5,reorder=0.3", true, 500, 0);
	test_truth("seed=4,conns=20,txns=1000,pipeline=16,split=0.2,reorder=0.1", true, 1000, 0);
	test_truth("seed=5,conns=20,txns=500,chunked=0.7,interim=0.5,eof=1,split=1", true, 500, 0);
	test_truth("seed=6,conns=40,txns=5000,loss=0.05,split=0.3,reorder=0.3", false, 5000, 0);
	test_truth("seed=7,conns=40,txns=5000,loss=0.05,role=both,pipeline=8,interim=0.1", false,
		   5000, 0);
	test_truth("seed=8,keepalive=3,conns=10,txns=1000,conc=50,loss=0.9", false, 1000, 0);
	test_truth("seed=9,txns=300,conns=4,body=40000-100000,split=0.3,reorder=0.5,chunked=0.5",
		   false, 300, 0);
	test_truth("seed=10,txns=100000,conns=50,loss=0.01,pipeline=4,interim=0.2", false, 0, 3);
	test_spec_errors();
	test_edges();
	return done();
}
