/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_metrics.c: ages, lags and the text of a snapshot; what the server says before there is one. */
#include "agent/metrics.h"
#include "tests/lib/tap.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- ages ---------------------------------------------------------------------------------- */

/* Every age is counted once, and its quantile is an upper end at most a quarter octave above. */
static void test_age(void)
{
	static const struct osp_age none;
	int wrong = 0, n = 0;

	for (uint64_t ns = 0; ns < 1ull << 60; ns = ns * 9 / 8 + 1) {
		struct osp_age age = none;
		uint64_t sum = 0, q;

		osp_age_add(&age, ns);
		for (int i = 0; i < OSP_AGE_BUCKETS; i++)
			sum += age.bucket[i];
		q = osp_age_quantile(&age, &none, 0.99);
		n++;
		if (sum != 1 || age.last_ns != ns || age.sum_ns != ns)
			wrong++;
		/* The last bucket has no end, the first no quarter. */
		else if (ns < 1ull << 43 && (q <= ns || (ns >= 2048 && q - ns > ns / 4 + 1024)))
			wrong++;
	}
	ok(!wrong, "%d ages are in their buckets (%d are not)", n, wrong);
}

static void test_quantile(void)
{
	static struct osp_age now, before;

	eq_int(osp_age_quantile(&now, &before, 0.99), 0, "no ages, no quantile");
	for (int i = 0; i < 98; i++)
		osp_age_add(&now, 1000000);
	osp_age_add(&now, 500000000);
	osp_age_add(&now, 500000000);
	ok(osp_age_quantile(&now, &before, 0.5) >= 1000000 &&
	   osp_age_quantile(&now, &before, 0.5) < 1400000, "the median is near 1 ms");
	ok(osp_age_quantile(&now, &before, 0.99) >= 500000000, "p99 is with the slow two");
	before = now;
	osp_age_add(&now, 2000000);
	ok(osp_age_quantile(&now, &before, 0.99) < 3000000, "only what came since counts");
}

/* ---- text ---------------------------------------------------------------------------------- */

static char *text_of(const struct osp_metrics_snap *snap)
{
	char *text = NULL;
	size_t n;
	FILE *to = open_memstream(&text, &n);

	osp_metrics_text(to, snap);
	fclose(to);
	return text;
}

static int has(const char *text, const char *line)
{
	const char *at = strstr(text, line);

	return at && (at == text || at[-1] == '\n') && at[strlen(line)] == '\n';
}

static void fill(struct osp_metrics_snap *snap)
{
	static const struct osp_rec_counter sink[] = {
		{ "sinks", "offered", "a\"b\\c\nd", 100 }, { "sinks", "accepted", "a\"b\\c\nd", 60 },
		{ "sinks", "queued", "a\"b\\c\nd", 40 },
	};

	memset(snap, 0, sizeof(*snap));
	snap->info = (struct osp_source_info){ .mode = "sock", .origin = "sock", .kernel = "6" };
	memcpy(snap->sink, sink, sizeof(sink));
	snap->sink_n = 3;
}

static void test_text(void)
{
	static struct osp_metrics_snap snap;
	char *text;

	fill(&snap);
	snap.led.v[OSP_ST_GAP_SENDFILE] = 7;
	snap.led.v[OSP_ST_TXN_OPEN] = 3;
	snap.led.v[OSP_ST_EV_SEEN] = UINT64_MAX;
	text = text_of(&snap);
	ok(has(text, "osprey_stream_gap_bytes_total{cause=\"sendfile\"} 7"), "a counter by cause");
	ok(has(text, "osprey_transactions_open 3") &&
	   has(text, "# TYPE osprey_transactions_open gauge"), "what goes down is a gauge");
	ok(has(text, "osprey_events_seen_total 18446744073709551615"), "64 bits");
	ok(has(text, "osprey_sink_queued_records{sink=\"a\\\"b\\\\c\\nd\"} 40"), "labels are escaped");
	ok(!strstr(text, "reserved"), "counters that are not used are left out");
	ok(!strstr(text, "event_age") && !strstr(text, "ring_size"),
	   "a source without a clock or rings shows none");
	free(text);
	snap.live = snap.has_fill = true;
	osp_age_add(&snap.age, 1500000);
	osp_age_add(&snap.age, 3600000000000);
	text = text_of(&snap);
	ok(has(text, "osprey_event_age_seconds_bucket{le=\"0.001048576\"} 0") &&
	   has(text, "osprey_event_age_seconds_bucket{le=\"0.002097152\"} 1") &&
	   has(text, "osprey_event_age_seconds_bucket{le=\"+Inf\"} 2") &&
	   has(text, "osprey_event_age_seconds_count 2"), "ages as a histogram");
	free(text);
}

/* ---- server -------------------------------------------------------------------------------- */

static void ask(const char *path, const char *what, char *out, size_t size)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char req[128];
	size_t n = 0;
	ssize_t got;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	int len = snprintf(req, sizeof(req), "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", what);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&un, sizeof(un)) || write(fd, req, (size_t)len) != len)
		perror("connect");
	while (n < size - 1 && (got = read(fd, out + n, size - 1 - n)) > 0)
		n += (size_t)got;
	out[n] = 0;
	close(fd);
}

static void test_server(void)
{
	static struct osp_metrics_snap snap;
	static char out[100000];
	char dir[] = "/tmp/osprey-test.XXXXXX", path[64], addr[80], err[256] = "";
	struct osp_metrics *met = NULL;
	struct stat st;

	if (!mkdtemp(dir)) {
		ok(0, "a scratch folder");
		return;
	}
	snprintf(path, sizeof(path), "%s/sock", dir);
	snprintf(addr, sizeof(addr), "unix:%s", path);
	eq_int(osp_metrics_new(&met, addr, false, err, sizeof(err)), 0, "it listens: %s", err);
	ok(!stat(path, &st) && (st.st_mode & 0777) == 0600, "the socket is its owner's only");
	ask(path, "/metrics", out, sizeof(out));
	ok(strstr(out, "HTTP/1.1 503 ") == out, "no metrics before there are any");
	ask(path, "/healthz", out, sizeof(out));
	ok(strstr(out, "HTTP/1.1 503 ") == out && strstr(out, "starting"), "not healthy yet");
	fill(&snap);
	while (!osp_metrics_publish(met, &snap))
		;
	ask(path, "/healthz", out, sizeof(out));
	ok(strstr(out, "HTTP/1.1 200 ") == out, "healthy");
	usleep(60000);
	while (!osp_metrics_publish(met, &snap))
		;
	ok(snap.lag_ns[0] >= 60000000 && snap.lag_ns[0] < 5000000000,
	   "what has been queued since the first time is late (%llu ns)",
	   (unsigned long long)snap.lag_ns[0]);
	ask(path, "/metrics", out, sizeof(out));
	ok(strstr(out, "osprey_sink_lag_seconds{") != NULL, "the lag is shown");
	snap.sink[0].value = 150;	/* offered */
	snap.sink[1].value = 110;
	while (!osp_metrics_publish(met, &snap))
		;
	ok(snap.lag_ns[0] < 60000000, "when those are through, later ones count");
	snap.sink[2].value = 0;
	while (!osp_metrics_publish(met, &snap))
		;
	eq_int(snap.lag_ns[0], 0, "an empty queue has no lag");
	/* Many samples, none of them done: the first one stays. */
	snap.sink[2].value = 10;
	for (int i = 0; i < 500; i++) {
		snap.sink[0].value++;
		snap.sink[2].value++;
		while (!osp_metrics_publish(met, &snap))
			;
		if (!i)
			usleep(50000);
	}
	ok(snap.lag_ns[0] >= 50000000, "a long wait is not forgotten");
	sleep(6);
	ask(path, "/healthz", out, sizeof(out));
	ok(strstr(out, "HTTP/1.1 503 ") == out && strstr(out, "stuck"),
	   "a loop that is silent for 5 s is stuck");
	osp_metrics_free(met);
	ok(stat(path, &st) && errno == ENOENT, "the socket goes with it");
	osp_metrics_free(NULL);
	rmdir(dir);
}

static void test_addresses(void)
{
	static const struct {
		const char *addr;
		bool any, good;
	} all[] = {
		{ "127.0.0.1:9464", false, true }, { "127.1.2.3:1", false, true },
		{ "9464", false, true }, { "localhost:9464", false, true },
		{ "[::1]:9464", false, true }, { "[::ffff:127.0.0.1]:9464", false, true },
		{ "unix:/run/x.sock", false, true }, { "127.0.0.1:0", false, true },
		{ "0.0.0.0:9464", false, false }, { "0.0.0.0:9464", true, true },
		{ "[::]:9464", false, false }, { "[::]:9464", true, true },
		{ "10.0.0.1:9464", false, false }, { "[::ffff:10.0.0.1]:9464", false, false },
		{ "126.255.255.255:1", false, false }, { "", true, false }, { ":9464", true, false },
		{ "127.0.0.1:", true, false }, { "127.0.0.1:65536", true, false },
		{ "127.0.0.1:-1", true, false }, { "127.0.0.1:1x", true, false },
		{ "::1:9464", true, false }, { "[::1]", true, false }, { "[]:1", true, false },
		{ "[:1", true, false }, { "example.test:80", true, false },
		{ "unix:relative", true, false }, { "unix:", true, false },
		{ "99999999999999999999", true, false },
	};
	char err[256], longest[300];

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		eq_int(!osp_metrics_check(all[i].addr, all[i].any, err, sizeof(err)), all[i].good,
		       "\"%s\"%s is %s", all[i].addr, all[i].any ? " with any" : "",
		       all[i].good ? "good" : "refused");
	memset(longest, 'x', sizeof(longest));
	memcpy(longest, "unix:/", 6);
	longest[sizeof(longest) - 1] = 0;
	ok(osp_metrics_check(longest, true, err, sizeof(err)), "a path that is too long is refused");
	memset(longest, '1', sizeof(longest) - 1);
	ok(osp_metrics_check(longest, true, err, sizeof(err)), "a number that is too long, too");
}

int main(void)
{
	test_age();
	test_quantile();
	test_text();
	test_server();
	test_addresses();
	return done();
}
