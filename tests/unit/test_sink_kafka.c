/* SPDX-License-Identifier: GPL-3.0-or-later */
/* test_sink_kafka.c: the kafka sink against librdkafka's mock cluster inside this process: what it
 * refuses at open, what it does with each record, and that accepted = acked + lost + held.
 */
#include "tests/lib/tap.h"

#if OSP_HAVE_KAFKA

#include "sinks/builtin.h"
#include "sinks/host.h"
#include "sinks/inst.h"
#include "sinks/options.h"

#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdarg.h>
#include <stdbool.h>

#define MS 1000000ull
#define MOCK "rd.test.mock.num.brokers=1"

static int lines;		/* of the log */
static char last_line[256];

static void __attribute__((format(printf, 2, 3))) count_lines(int level, const char *fmt, ...)
{
	va_list ap;

	if (level > 2)
		return;
	va_start(ap, fmt);
	vsnprintf(last_line, sizeof(last_line), fmt, ap);
	va_end(ap);
	__atomic_add_fetch(&lines, 1, __ATOMIC_RELAXED);
}

struct opened {
	struct osp_host host;
	struct osp_sink *sink;
	struct osp_opt_set set;
	char *conf;
	char text[1024], err[512];
	int ret;
};

static bool begin(struct opened *o, const char *options)
{
	const struct osp_sink_ops *ops = &osp_sink_kafka;

	memset(o, 0, sizeof(*o));
	o->host = osp_sink_host;
	o->host.log = count_lines;
	o->conf = calloc(1, ops->conf_size);
	o->set = (struct osp_opt_set){ ops->opts, o->conf };
	snprintf(o->text, sizeof(o->text), "%s", options);
	o->ret = osp_opts_parse(&o->set, 1, o->text, o->err, sizeof(o->err));
	if (!o->ret)
		o->ret = ops->open(&o->host, o->conf, &o->sink, o->err, sizeof(o->err));
	return !o->ret;
}

static struct osp_sink_stats stats(struct opened *o)
{
	struct osp_sink_stats st = { .size = sizeof(st) };

	osp_sink_kafka.stats(o->sink, &st);
	return st;
}

static void end(struct opened *o)
{
	if (o->sink)
		osp_sink_kafka.close(o->sink);
	osp_opts_fini(&o->set, 1);
	free(o->conf);
}

static struct osp_record record(uint64_t seq)
{
	struct osp_record rec;

	memset(&rec, 0, sizeof(rec));
	rec.size = sizeof(rec);
	rec.kind = OSP_REC_TRANSACTION;
	rec.vantage = 3;
	rec.seq = seq;
	rec.ts_ns = 1795206016123456789ll;
	rec.msg[OSP_REQ].has = OSP_MH_MSG;
	rec.str[OSP_S_METHOD] = osp_slice_str("GET");
	snprintf(rec.conn.id, sizeof(rec.conn.id), "1:abc=");
	return rec;
}

/* n records from seq first on; what write() returned, *done how many were taken. */
static int put(struct opened *o, uint64_t first, uint32_t n, const char *target, uint32_t *done)
{
	static struct osp_record rec[1024];
	const struct osp_record *view[1024];
	struct osp_batch batch = { view, n };

	for (uint32_t i = 0; i < n; i++) {
		rec[i] = record(first + i);
		rec[i].str[OSP_S_TARGET] = osp_slice_str(target);
		view[i] = &rec[i];
	}
	*done = 0;
	return osp_sink_kafka.write(o->sink, &batch, done);
}

/* As the host does it when the queue is empty. */
static int drain(struct opened *o, uint64_t ms)
{
	uint64_t until = osp_mono_ns() + ms * MS;
	int ret;

	do
		ret = osp_sink_kafka.flush(o->sink, until);
	while (ret == -EAGAIN && osp_mono_ns() < until);
	return ret;
}

/* ---- at open ------------------------------------------------------------------------------- */

static void refused(const char *options, const char *text)
{
	struct opened o;

	begin(&o, options);
	ok(o.ret == -EINVAL && strstr(o.err, text) && !strchr(o.err, '\n'), "%s: %s", options, o.err);
	end(&o);
}

static void test_conf(void)
{
	struct opened o;

	refused("", "brokers=HOST:PORT is missing");
	refused("brokers=", "not HOST:PORT");
	refused("brokers=a:9092+", "not HOST:PORT");
	refused("brokers=a:0", "not HOST:PORT");
	refused("brokers=a:65536", "not HOST:PORT");
	refused("brokers=a:http", "not HOST:PORT");
	refused("brokers=:9092", "not HOST:PORT");
	refused("brokers=a b", "not HOST:PORT");
	refused("brokers=a,topic=", "topic=");
	refused("brokers=a,topic=a b", "topic=");
	refused("brokers=a,topic=..", "topic=");
	refused("brokers=a,topic=%{pid}", "%{kind}");
	refused("brokers=a,topic=100%", "topic=");
	refused("brokers=a,key=", "key");
	refused("brokers=a,key=method", "\"http.request.method\" is one");
	refused("brokers=a,rd.nonsense=1", "rd.nonsense");
	refused("brokers=a,rd.linger.ms=soon", "rd.linger.ms");
	refused("brokers=a,rd.acks=1", "acks");
	refused("brokers=a,rd.transactional.id=x", "transaction");
	refused("brokers=a,rd.security.protocol=ssl,rd.ssl.ca.location=/nonexistent/ca", "ssl.ca");
	refused("brokers=a,nonsense=1", "no option");
	refused("brokers=a,rd.sasl.password=secret,rd.sasl.mechanism=PLAIN,"
		"rd.security.protocol=nonsense", "security.protocol");
	for (int i = 0; i < 5; i++) {
		static const char *const good[] = {
			"brokers=127.0.0.1:1", "brokers=127.0.0.1:1+[::1]:1",
			"brokers=PLAINTEXT://127.0.0.1:1,topic=one", "rd.bootstrap.servers=127.0.0.1:1",
			"brokers=127.0.0.1:1,topic=a.%{vantage}-%{kind}_x,key=process.pid+conn.id",
		};

		ok(begin(&o, good[i]), "%s: %s", good[i], o.err);
		end(&o);
	}
}

/* ---- records ------------------------------------------------------------------------------- */

static void test_delivery(void)
{
	struct osp_sink_stats st;
	struct opened o;
	uint32_t done;

	ok(begin(&o, MOCK), "the mock cluster: %s", o.err);
	eq_int(put(&o, 1, 1000, "/a", &done), 0, "a batch");
	eq_int(done, 1000, "taken");
	st = stats(&o);
	eq_int(st.acked + st.held + st.lost, 1000, "taken = acked + held + lost at once");
	eq_int(drain(&o, 10000), 0, "flush");
	st = stats(&o);
	ok(st.acked == 1000 && !st.held && !st.lost && st.bytes > 100000, "all confirmed, %llu bytes",
	   (unsigned long long)st.bytes);
	end(&o);
}

static void test_too_large(void)
{
	static char big[3000];
	struct opened o;
	uint32_t done;

	memset(big, 'x', sizeof(big) - 1);
	begin(&o, MOCK ",rd.message.max.bytes=2000");
	eq_int(put(&o, 1, 1, "/", &done), 0, "small");
	eq_int(put(&o, 2, 2, big, &done), -EMSGSIZE, "too large");
	eq_int(done, 0, "at the record");
	ok(strstr(last_line, "osprey.transaction"), "said: %s", last_line);
	eq_int(put(&o, 4, 1, "/", &done), 0, "small again");
	eq_int(drain(&o, 10000), 0, "flush");
	eq_int(stats(&o).acked, 2, "the two arrived");
	end(&o);
}

static void test_down(void)
{
	struct osp_sink_stats st;
	uint64_t took, taken = 0;
	struct opened o;
	uint32_t done;
	int ret = 0;

	lines = 0;
	ok(begin(&o, "brokers=127.0.0.1:1,rd.queue.buffering.max.kbytes=100,"
		 "rd.message.timeout.ms=1500,rd.reconnect.backoff.max.ms=100"),
	   "no broker is no error: %s", o.err);
	for (int i = 0; i < 10 && !ret; i++) {
		ret = put(&o, taken + 1, 100, "/", &done);
		taken += done;
	}
	eq_int(ret, -EAGAIN, "full at last");
	ok(taken > 100 && taken < 500, "%llu records in 100 KiB", (unsigned long long)taken);
	st = stats(&o);
	ok(st.held == taken && st.last_err == -ENOBUFS, "all held");
	took = osp_mono_ns();
	ret = osp_sink_kafka.flush(o.sink, osp_mono_ns() + 300 * MS);
	ret = osp_sink_kafka.flush(o.sink, osp_mono_ns() + 300 * MS);
	took = osp_mono_ns() - took;
	ok(ret == -EAGAIN && took < 600 * MS, "flush keeps its deadline: %llu ms",
	   (unsigned long long)(took / MS));
	eq_int(drain(&o, 8000), 0, "given up after their time");
	st = stats(&o);
	ok(st.lost == taken && !st.held && !st.acked && st.last_err == -ETIMEDOUT, "all lost");
	ok(lines >= 2 && lines <= 6, "%d lines about it", lines);
	eq_int(put(&o, 1, 100, "/", &done), 0, "there is room again");
	took = osp_mono_ns();
	end(&o);
	took = osp_mono_ns() - took;
	ok(took < 100 * MS, "close does not wait: %llu ms", (unsigned long long)(took / MS));
}

/* ---- under the host ------------------------------------------------------------------------ */

static uint64_t counter(struct osp_sinks *sinks, const char *name)
{
	struct osp_rec_counter c[OSP_SINK_COUNTERS];
	uint32_t n = osp_sinks_counters(sinks, c, OSP_SINK_COUNTERS);

	for (uint32_t i = 0; i < n; i++)
		if (!strcmp(c[i].name, name))
			return c[i].value;
	return UINT64_MAX;
}

static void host_run(const char *spec, uint64_t n, uint64_t ms)
{
	struct osp_record rec = record(0);
	struct osp_sinks *sinks = NULL;
	uint64_t begun = osp_mono_ns(), took;
	char err[512] = "";
	bool drained;

	osp_sinks_new(&sinks);
	ok(!osp_sinks_add(sinks, spec, err, sizeof(err)) &&
	   !osp_sinks_open(sinks, err, sizeof(err)), "%s %s", spec, err);
	for (uint64_t i = 0; i < n; i++)
		osp_sinks_offer(sinks, &rec);
	drained = osp_sinks_drain(sinks, osp_mono_ns() + ms / 2 * MS);
	if (strstr(spec, "mock"))
		ok(drained && counter(sinks, "acked") == n && !counter(sinks, "held"),
		   "drained: all confirmed");
	else
		ok(!drained && counter(sinks, "held"), "not drained: some held");
	osp_sinks_close(sinks, osp_mono_ns() + ms / 2 * MS);
	took = (osp_mono_ns() - begun) / MS;
	ok(took < ms + 500, "ends in time: %llu ms", (unsigned long long)took);
	ok(counter(sinks, "offered") == n && n == counter(sinks, "accepted") +
	   counter(sinks, "rejected") + counter(sinks, "dropped"), "offered adds up");
	ok(counter(sinks, "accepted") == counter(sinks, "acked") + counter(sinks, "lost") &&
	   !counter(sinks, "held") && !counter(sinks, "queued"), "accepted adds up");
	osp_sinks_free(sinks);
}

static void test_host(void)
{
	host_run("kafka:" MOCK, 5000, 20000);
	host_run("kafka:brokers=127.0.0.1:1,queue=2M,rd.queue.buffering.max.kbytes=200", 20000, 1000);
}

int main(void)
{
	test_conf();
	test_delivery();
	test_too_large();
	test_down();
	test_host();
	return done();
}

#else

int main(void)
{
	tap_skip("kafka", "built without librdkafka");
	return done();
}

#endif
