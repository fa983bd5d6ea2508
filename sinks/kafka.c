/* SPDX-License-Identifier: GPL-3.0-or-later */
/* kafka.c: records to Apache Kafka, by librdkafka.
 *
 * A record counts as accepted when librdkafka has it, as acked when the broker has confirmed it, as
 * lost when it gave up (message.timeout.ms), and is held in between:
 *	accepted = acked + lost + held
 *
 * The producer is idempotent and waits for all replicas, so a record that is sent again after a
 * broken connection is stored once, and those with the same key stay in their order. What it keeps
 * is bounded (queue.buffering.max.kbytes); beyond that the host is told to wait, and its queue and
 * drop policy take over. A broker that is down is no error: librdkafka goes on trying.
 *
 * Delivery reports are served inside write() and flush(), so all but the log belongs to the sink's
 * thread. The host calls flush() again and again while records are held.
 */
#include "sinks/builtin.h"
#include "sinks/pick.h"

#include "agent/base/clock.h"
#include "agent/base/opt.h"

#include <errno.h>
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How long a write waits for room before the host is asked to try later. */
#define ROOM_WAIT_MS 100
/* Delivery reports are served at least this often while records are handed over. */
#define POLL_RECORDS 256
#define JSON_BYTES 4096u	/* at first; a record has about 1200 */
/* A line a cause in this time. */
#define SAY_NS 10000000000ull
#define SAY_CAUSES 16
/* For librdkafka's threads to end in; well below the host's patience with us. */
#define CLOSE_WAIT_NS 50000000
/* A topic that is missing is asked for again this often: somebody may have made it. */
#define ASK_TOPIC_NS 5000000000ull
#define ASK_TOPIC_MS 1000
#define TOPIC_MAX 249		/* the broker's limit */
#define KEY_MAX 1024		/* longer keys are cut: equal ones stay equal */
#define VANTAGES 8u		/* more than enum osp_vantage has */

struct kafka_conf {
	const char *brokers, *topic, *key, *client_id;
	char *rd;		/* "property=value\n"... */
};

/* When something was said last, by its name. */
struct said {
	char cause[24];
	uint64_t at_ns;
	uint64_t silent;	/* lines left out since */
};

struct osp_sink {
	const struct osp_host *host;
	rd_kafka_t *rk;
	rd_kafka_topic_t *topic[OSP_REC_KIND_MAX][VANTAGES];
	uint64_t asked_ns[OSP_REC_KIND_MAX][VANTAGES];	/* for a missing topic */
	rd_kafka_headers_t *head[VANTAGES];	/* what is the same for all records */
	const char *topic_form;			/* the configuration's */
	struct osp_pick *key;			/* NULL: the connection's id, or none */
	struct osp_slice *val;			/* osp_pick_n(key) */
	bool no_key;
	_Atomic bool closing;	/* no more news but of debugging */
	bool quiet;		/* a flush has found nothing new to hand over */
	char *json;
	size_t json_cap;
	uint64_t taken, acked, lost, bytes;
	int last_err;
	/* librdkafka's threads log, too. */
	pthread_mutex_t say_lock;
	struct said said[SAY_CAUSES];
};

static const struct osp_opt kafka_opts[] = {
	{ "brokers", OSP_OPT_STR, offsetof(struct kafka_conf, brokers), NULL, 0, 0, NULL,
	  "HOST[:PORT] to begin with, several joined by +" },
	{ "topic", OSP_OPT_STR, offsetof(struct kafka_conf, topic), "osprey.%{kind}", 0, 0, NULL,
	  "topic; %{kind} and %{vantage} stand for the record's" },
	{ "key", OSP_OPT_STR, offsetof(struct kafka_conf, key), "conn", 0, 0, NULL,
	  "conn (the connection), none, or names of values joined by +" },
	{ "client.id", OSP_OPT_STR, offsetof(struct kafka_conf, client_id), "osprey", 0, 0, NULL,
	  "what the broker calls us" },
	{ "rd.", OSP_OPT_PAIRS, offsetof(struct kafka_conf, rd), NULL, 0, 0, NULL,
	  "any property of librdkafka" },
	{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
};

/* Ours where librdkafka's defaults are not what a probe needs; rd.* goes over them. */
static const char *const defaults[][2] = {
	{ "enable.idempotence", "true" },	/* acks=all, order kept, nothing twice */
	{ "acks", "all" },
	{ "compression.type", "zstd" },
	{ "linger.ms", "50" },
	{ "message.timeout.ms", "30000" },
	{ "queue.buffering.max.kbytes", "65536" },
	/* As Java clients do it, so that their tables of the same keys join. */
	{ "partitioner", "murmur2_random" },
	{ "socket.keepalive.enable", "true" },
	/* Brokers close idle connections; that is not worth a line. */
	{ "log.connection.close", "false" },
};

/* ---- saying things ------------------------------------------------------------------------- */

/* Whether a line about this may go out now. *silent: how many did not since the last one. */
static bool may_say(struct osp_sink *sink, const char *cause, uint64_t *silent)
{
	uint64_t now = osp_mono_ns();
	struct said *s = &sink->said[0];
	bool yes;

	pthread_mutex_lock(&sink->say_lock);
	for (int i = 0; i < SAY_CAUSES; i++) {
		if (!strncmp(sink->said[i].cause, cause, sizeof(s->cause) - 1)) {
			s = &sink->said[i];
			break;
		}
		if (sink->said[i].at_ns < s->at_ns)
			s = &sink->said[i];
	}
	if (strncmp(s->cause, cause, sizeof(s->cause) - 1)) {
		snprintf(s->cause, sizeof(s->cause), "%s", cause);
		s->at_ns = 0;
		s->silent = 0;
	}
	yes = !s->at_ns || now - s->at_ns >= SAY_NS;
	*silent = s->silent;
	s->silent = yes ? 0 : s->silent + 1;
	if (yes)
		s->at_ns = now;
	pthread_mutex_unlock(&sink->say_lock);
	return yes;
}

/* text may be long; one line of it is said. */
static void say(struct osp_sink *sink, int level, const char *cause, const char *text)
{
	uint64_t silent;

	if (!may_say(sink, cause, &silent))
		return;
	if (silent)
		sink->host->log(level, "kafka: %.*s (and %" PRIu64 " more)",
				(int)strcspn(text, "\n"), text, silent);
	else
		sink->host->log(level, "kafka: %.*s", (int)strcspn(text, "\n"), text);
}

/* @thread any of librdkafka's. level: syslog's. */
static void log_cb(const rd_kafka_t *rk, int level, const char *fac, const char *text)
{
	struct osp_sink *sink = rd_kafka_opaque(rk);

	if (level >= 7) {
		sink->host->log(3, "kafka: %s: %s", fac, text);
		return;
	}
	if (sink->closing)
		return;
	/* "[thrd:name]: " is of use to librdkafka's makers only. */
	if (!strncmp(text, "[thrd:", 6) && strstr(text, "]: "))
		text = strstr(text, "]: ") + 3;
	say(sink, level <= 4 ? 1 : 2, fac, text);
}

/* @thread the sink's, from rd_kafka_poll() and its kin. */
static void delivered_cb(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	struct osp_sink *sink = opaque;
	char text[160];

	if (!msg->err) {
		sink->acked++;
		sink->bytes += msg->len + msg->key_len;
		sink->last_err = 0;
		return;
	}
	sink->lost++;
	sink->last_err = msg->err == RD_KAFKA_RESP_ERR__MSG_TIMED_OUT ? -ETIMEDOUT : -EIO;
	snprintf(text, sizeof(text), "%s: not delivered: %s; %" PRIu64 " lost so far",
		 msg->rkt ? rd_kafka_topic_name(msg->rkt) : "?", rd_kafka_err2str(msg->err),
		 sink->lost);
	say(sink, 1, rd_kafka_err2name(msg->err), text);
}

/* ---- configuration ------------------------------------------------------------------------- */

/* "HOST[:PORT]", "[ADDR]:PORT", "SSL://HOST:PORT" ...: librdkafka would take nearly anything and
 * fail at it for ever.
 */
static bool broker_ok(const char *p, size_t n)
{
	char port[8];
	const char *colon;
	uint64_t v;

	for (size_t i = 0; i + 3 <= n; i++)
		if (!memcmp(p + i, "://", 3)) {
			n -= i + 3;
			p += i + 3;
			break;
		}
	if (!n || memchr(p, ' ', n))
		return false;
	colon = memrchr(p, ':', n);
	if (!colon || memchr(colon, ']', (size_t)(p + n - colon)))
		return true;
	if (colon == p || (size_t)(p + n - colon) > sizeof(port))
		return false;
	memcpy(port, colon + 1, (size_t)(p + n - colon) - 1);
	port[(size_t)(p + n - colon) - 1] = 0;
	return !osp_parse_u64(port, &v) && v && v <= 65535;
}

static int set(rd_kafka_conf_t *rd, const char *key, const char *value, char *err, size_t size)
{
	return rd_kafka_conf_set(rd, key, value, err, size) == RD_KAFKA_CONF_OK ? 0 : -EINVAL;
}

static int set_brokers(rd_kafka_conf_t *rd, const char *brokers, char *err, size_t err_size)
{
	char list[1024], *p;
	size_t n;

	snprintf(list, sizeof(list), "%s", brokers);
	if (strlen(brokers) >= sizeof(list)) {
		snprintf(err, err_size, "brokers= is too long");
		return -EINVAL;
	}
	for (p = list; ; p += n + 1) {
		n = strcspn(p, "+,");
		if (!broker_ok(p, n)) {
			snprintf(err, err_size, "brokers=%s: \"%.*s\" is not HOST:PORT", brokers,
				 (int)n, p);
			return -EINVAL;
		}
		if (!p[n])
			break;
		p[n] = ',';
	}
	return set(rd, "bootstrap.servers", list, err, err_size);
}

/* The user's properties: "key=value\n"... *brokers: whether they say where brokers are. */
static int set_rd(rd_kafka_conf_t *rd, const char *pairs, bool *brokers, char *err,
		  size_t err_size)
{
	char line[4096], why[256], *value;
	size_t n;

	for (; pairs && *pairs; pairs += n + 1) {
		n = strcspn(pairs, "\n");
		if (n >= sizeof(line)) {
			snprintf(err, err_size, "rd.%.40s...: too long", pairs);
			return -EINVAL;
		}
		memcpy(line, pairs, n);
		line[n] = 0;
		value = strchr(line, '=');
		*value++ = 0;
		if (!strcmp(line, "transactional.id")) {
			snprintf(err, err_size, "rd.transactional.id: transactions are not used");
			return -EINVAL;
		}
		/* No values in messages: there are passwords among them. */
		if (set(rd, line, value, why, sizeof(why))) {
			snprintf(err, err_size, "rd.%s: %s", line,
				 strstr(line, "password") ? "not taken" : why);
			return -EINVAL;
		}
		*brokers |= !strcmp(line, "bootstrap.servers") ||
			    !strcmp(line, "metadata.broker.list") ||
			    !strcmp(line, "test.mock.num.brokers");
	}
	return 0;
}

static int fill_rd(struct osp_sink *sink, const struct kafka_conf *conf, rd_kafka_conf_t *rd,
		   char *err, size_t err_size)
{
	bool brokers = conf->brokers != NULL;
	int ret = 0;

	rd_kafka_conf_set_opaque(rd, sink);
	rd_kafka_conf_set_log_cb(rd, log_cb);
	rd_kafka_conf_set_dr_msg_cb(rd, delivered_cb);
	for (size_t i = 0; !ret && i < sizeof(defaults) / sizeof(*defaults); i++)
		ret = set(rd, defaults[i][0], defaults[i][1], err, err_size);
	if (!ret)
		ret = set(rd, "client.id", conf->client_id, err, err_size);
	if (!ret && conf->brokers)
		ret = set_brokers(rd, conf->brokers, err, err_size);
	if (!ret)
		ret = set_rd(rd, conf->rd, &brokers, err, err_size);
	if (!ret && !brokers) {
		snprintf(err, err_size, "brokers=HOST:PORT is missing");
		ret = -EINVAL;
	}
	return ret;
}

/* The topic's name for records of this kind and vantage; -EINVAL: none that a broker would take. */
static int topic_name(const char *form, int kind, int vantage, char *out, size_t size)
{
	const char *part;
	size_t n = 0, len;

	while (*form) {
		len = strcspn(form, "%");
		part = form;
		form += len;
		if (!len && !strncmp(form, "%{kind}", 7)) {
			part = osp_kind_name(kind);
			form += 7;
		} else if (!len && !strncmp(form, "%{vantage}", 10)) {
			part = osp_vantage_name(vantage);
			form += 10;
		} else if (!len) {
			return -EINVAL;
		}
		len = len ? len : strlen(part);
		if (n + len >= size)
			return -EINVAL;
		memcpy(out + n, part, len);
		n += len;
	}
	out[n] = 0;
	if (!n || strspn(out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != n)
		return -EINVAL;
	return !strcmp(out, ".") || !strcmp(out, "..") ? -EINVAL : 0;
}

static int set_topic(struct osp_sink *sink, const char *form, char *err, size_t err_size)
{
	char name[TOPIC_MAX + 1];

	sink->topic_form = form;
	if (!topic_name(form, OSP_REC_TRANSACTION, 0, name, sizeof(name)))
		return 0;
	snprintf(err, err_size, "topic=%.100s: letters, digits, '.', '_', '-', %%{kind}, %%{vantage},"
		 " at most %d characters", form, TOPIC_MAX);
	return -EINVAL;
}

static int set_key(struct osp_sink *sink, const char *key, char *err, size_t err_size)
{
	char why[160];
	int ret;

	if (!strcmp(key, "conn"))
		return 0;
	if (!strcmp(key, "none")) {
		sink->no_key = true;
		return 0;
	}
	ret = osp_pick_new(&sink->key, key, why, sizeof(why));
	if (ret == -EINVAL)
		snprintf(err, err_size, "key: %s; conn and none are, too", why);
	if (ret)
		return ret;
	sink->val = calloc(osp_pick_n(sink->key), sizeof(*sink->val));
	return sink->val ? 0 : -ENOMEM;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void sink_free(struct osp_sink *sink)
{
	for (unsigned int kind = 0; kind < OSP_REC_KIND_MAX; kind++)
		for (unsigned int vantage = 0; vantage < VANTAGES; vantage++)
			if (sink->topic[kind][vantage])
				rd_kafka_topic_destroy(sink->topic[kind][vantage]);
	if (sink->rk)
		rd_kafka_destroy(sink->rk);
	for (unsigned int vantage = 0; vantage < VANTAGES; vantage++)
		if (sink->head[vantage])
			rd_kafka_headers_destroy(sink->head[vantage]);
	pthread_mutex_destroy(&sink->say_lock);
	osp_pick_free(sink->key);
	free(sink->val);
	free(sink->json);
	free(sink);
}

static void *free_thread(void *arg)
{
	sink_free(arg);
	return NULL;
}

/* What is still held has been counted as lost by the host. librdkafka ends its threads within a
 * second or so when brokers do not answer; nobody waits so long for that.
 */
static void kafka_close(struct osp_sink *sink)
{
	struct timespec until;
	pthread_t thread;

	if (!sink)
		return;
	if (sink->rk) {
		sink->closing = true;
		rd_kafka_purge(sink->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT |
						 RD_KAFKA_PURGE_F_NON_BLOCKING);
	}
	if (!sink->rk || pthread_create(&thread, NULL, free_thread, sink)) {
		sink_free(sink);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += CLOSE_WAIT_NS;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	if (pthread_timedjoin_np(thread, NULL, &until))
		pthread_detach(thread);
}

static int make_headers(struct osp_sink *sink)
{
	static const char *const same[][2] = {
		{ "content-type", "application/json" },
		{ "schema", OSP_RECORD_SCHEMA },
		{ "agent", "osprey-agent/" OSP_VERSION },
	};

	for (unsigned int vantage = 0; vantage < VANTAGES; vantage++) {
		rd_kafka_headers_t *head = rd_kafka_headers_new(8);

		if (!head)
			return -ENOMEM;
		sink->head[vantage] = head;
		for (int i = 0; i < 3; i++)
			rd_kafka_header_add(head, same[i][0], -1, same[i][1], -1);
		rd_kafka_header_add(head, "vantage", -1, osp_vantage_name((int)vantage), -1);
	}
	return 0;
}

static int start(struct osp_sink *sink, const struct kafka_conf *conf, char *err, size_t err_size)
{
	rd_kafka_conf_t *rd = rd_kafka_conf_new();
	int ret = fill_rd(sink, conf, rd, err, err_size);

	if (!ret) {
		sink->rk = rd_kafka_new(RD_KAFKA_PRODUCER, rd, err, err_size);
		if (sink->rk)
			return 0;	/* rd is its own now */
		ret = -EINVAL;
	}
	rd_kafka_conf_destroy(rd);
	return ret;
}

static int kafka_open(const struct osp_host *host, const void *conf, struct osp_sink **out,
		      char *err, size_t err_size)
{
	const struct kafka_conf *kafka = conf;
	struct osp_sink *sink = calloc(1, sizeof(*sink));
	int ret;

	if (!sink)
		return -ENOMEM;
	sink->host = host;
	pthread_mutex_init(&sink->say_lock, NULL);
	sink->json_cap = JSON_BYTES;
	sink->json = malloc(JSON_BYTES);
	ret = sink->json ? 0 : -ENOMEM;
	if (!ret)
		ret = set_topic(sink, kafka->topic, err, err_size);
	if (!ret)
		ret = set_key(sink, kafka->key, err, err_size);
	if (!ret)
		ret = make_headers(sink);
	if (!ret)
		ret = start(sink, kafka, err, err_size);
	if (ret) {
		kafka_close(sink);
		return ret;
	}
	*out = sink;
	return 0;
}

/* ---- a record ------------------------------------------------------------------------------ */

static rd_kafka_topic_t *topic_of(struct osp_sink *sink, const struct osp_record *rec)
{
	rd_kafka_topic_t **topic;
	char name[TOPIC_MAX + 1];

	if (rec->kind >= OSP_REC_KIND_MAX || rec->vantage >= VANTAGES)
		return NULL;
	topic = &sink->topic[rec->kind][rec->vantage];
	if (!*topic && !topic_name(sink->topic_form, rec->kind, rec->vantage, name, sizeof(name)))
		*topic = rd_kafka_topic_new(sink->rk, name, NULL);
	return *topic;
}

/* The record's JSON in sink->json; *n its length. */
static int make_json(struct osp_sink *sink, const struct osp_record *rec, size_t *n)
{
	size_t cap = sink->json_cap;
	char *p;

	*n = sink->host->json(rec, sink->json, sink->json_cap);
	if (*n <= sink->json_cap)
		return 0;
	while (cap < *n)
		cap *= 2;
	p = realloc(sink->json, cap);
	if (!p)
		return -ENOMEM;
	sink->json = p;
	sink->json_cap = cap;
	*n = sink->host->json(rec, sink->json, cap);
	return 0;
}

/* Both ends of a connection within one host have the same id; two network namespaces can use the
 * same loopback addresses and ports at the same time, so there the namespace belongs to the key.
 */
static size_t conn_key(const struct osp_record *rec, char *key, size_t size)
{
	const struct osp_rec_conn *conn = &rec->conn;
	int n = 0;

	if (conn->id[0] && rec->flags & OSP_RF_LOOPBACK && conn->has & OSP_CH_NETNS)
		n = snprintf(key, size, "%s/%" PRIu32, conn->id, conn->netns);
	else if (conn->id[0])
		n = snprintf(key, size, "%s", conn->id);
	else if (conn->cookie)
		n = snprintf(key, size, "cookie:%" PRIu64, conn->cookie);
	return n > 0 ? (size_t)n : 0;
}

/* The record's key; 0: none, any partition will do. */
static size_t make_key(struct osp_sink *sink, const struct osp_record *rec, size_t json_n,
		       char *key, size_t size)
{
	bool any = false;
	size_t n = 0, did;

	if (sink->no_key || (!sink->key && rec->kind == OSP_REC_LEDGER))
		return 0;
	if (!sink->key)
		return conn_key(rec, key, size);
	osp_pick_run(sink->key, sink->json, json_n, sink->val);
	for (uint32_t i = 0; i < osp_pick_n(sink->key); i++) {
		if (i && n < size)
			key[n++] = '/';
		did = osp_pick_text(sink->val[i], key + n, size - n, NULL);
		any |= sink->val[i].p != NULL;
		if (did > size - n)
			break;
		n += did;
	}
	return any ? n : 0;
}

static rd_kafka_resp_err_t produce(struct osp_sink *sink, const struct osp_record *rec,
				   rd_kafka_topic_t *topic, size_t json_n)
{
	rd_kafka_headers_t *head = rd_kafka_headers_copy(sink->head[rec->vantage]);
	char key[KEY_MAX], seq[24];
	size_t key_n = make_key(sink, rec, json_n, key, sizeof(key));
	rd_kafka_resp_err_t ret;
	int n = snprintf(seq, sizeof(seq), "%" PRIu64, rec->seq);

	rd_kafka_header_add(head, "seq", -1, seq, n);
	ret = rd_kafka_producev(sink->rk, RD_KAFKA_V_RKT(topic),
				RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
				RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
				RD_KAFKA_V_VALUE(sink->json, json_n),
				RD_KAFKA_V_KEY(key_n ? key : NULL, key_n),
				RD_KAFKA_V_TIMESTAMP(rec->ts_ns / 1000000),
				RD_KAFKA_V_HEADERS(head), RD_KAFKA_V_END);
	if (ret)
		rd_kafka_headers_destroy(head);
	return ret;
}

/* The broker has no such topic, or none for us. Other topics go on, so the record is given up at
 * once; whether it is still so is asked now and then.
 */
static void ask_for_topic(struct osp_sink *sink, const struct osp_record *rec,
			  rd_kafka_topic_t *topic)
{
	uint64_t *asked = &sink->asked_ns[rec->kind][rec->vantage], now = osp_mono_ns();
	const struct rd_kafka_metadata *meta = NULL;

	if (*asked && now - *asked < ASK_TOPIC_NS)
		return;
	if (!rd_kafka_metadata(sink->rk, 0, topic, &meta, ASK_TOPIC_MS))
		rd_kafka_metadata_destroy(meta);
	*asked = osp_mono_ns();
}

/* 0: taken. Otherwise what the host is to do with it. */
static int take(struct osp_sink *sink, const struct osp_record *rec)
{
	rd_kafka_topic_t *topic = topic_of(sink, rec);
	rd_kafka_resp_err_t ret;
	char text[320];
	size_t n;
	int err;

	if (!topic)
		return -EBADMSG;
	err = make_json(sink, rec, &n);
	if (err)
		return -EAGAIN;
	ret = produce(sink, rec, topic, n);
	if (ret == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
		rd_kafka_poll(sink->rk, ROOM_WAIT_MS);
		ret = produce(sink, rec, topic, n);
	}
	if (!ret)
		return 0;
	if (ret == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
		sink->last_err = -ENOBUFS;
		return -EAGAIN;
	}
	if (ret == RD_KAFKA_RESP_ERR__FATAL) {
		rd_kafka_fatal_error(sink->rk, text, sizeof(text));
		say(sink, 1, "fatal", text);
		return -EIO;
	}
	snprintf(text, sizeof(text), "%s: record of %zu bytes refused: %s",
		 rd_kafka_topic_name(topic), n, rd_kafka_err2str(ret));
	say(sink, 1, rd_kafka_err2name(ret), text);
	if (ret == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || ret == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION)
		ask_for_topic(sink, rec, topic);
	return ret == RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE ? -EMSGSIZE : -EBADMSG;
}

static int kafka_write(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done)
{
	int err = 0;

	sink->quiet = false;
	rd_kafka_poll(sink->rk, 0);
	for (*done = 0; *done < batch->n; ++*done) {
		err = take(sink, batch->rec[*done]);
		if (err)
			break;
		sink->taken++;
		if (!(sink->taken % POLL_RECORDS))
			rd_kafka_poll(sink->rk, 0);
	}
	return err;
}

/* The first time after a write only a look: the next records may come at once, and what is held
 * goes out by itself (linger.ms). When nothing has come by the next time, it is waited for.
 */
static int kafka_flush(struct osp_sink *sink, uint64_t deadline_ns)
{
	uint64_t now = osp_mono_ns();

	if (sink->quiet && deadline_ns > now)
		rd_kafka_flush(sink->rk, (int)((deadline_ns - now) / 1000000));
	else
		rd_kafka_poll(sink->rk, 0);
	sink->quiet = true;
	return sink->acked + sink->lost < sink->taken ? -EAGAIN : 0;
}

static void kafka_stats(const struct osp_sink *sink, struct osp_sink_stats *st)
{
	st->bytes = sink->bytes;
	st->acked = sink->acked;
	st->lost = sink->lost;
	st->held = sink->taken - sink->acked - sink->lost;
	st->last_err = sink->last_err;
}

const struct osp_sink_ops osp_sink_kafka = {
	.abi = OSP_SINK_ABI,
	.size = sizeof(struct osp_sink_ops),
	.name = "kafka",
	.opts = kafka_opts,
	.conf_size = sizeof(struct kafka_conf),
	.open = kafka_open,
	.write = kafka_write,
	.flush = kafka_flush,
	.stats = kafka_stats,
	.close = kafka_close,
};
