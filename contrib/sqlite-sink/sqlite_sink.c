/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sqlite_sink.c: an example of a sink as a plugin: transactions into a table of an SQLite database.
 *
 * What there is to see here: how options are described (opts), which failure is which errno
 * (write), that a number in a record may be unknown (the has bits) and so may a string (p == NULL),
 * and that a batch is a good size for a database transaction. The host does the rest: queue,
 * thread, retries, counters.
 *
 * A batch is committed as a whole or not at all, and only then counted as taken. A record that
 * comes again after a failure is the same row: its id is the primary key.
 */
#include <osprey/sink.h>

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conf {
	const char *path;
	uint64_t busy_ns;
	int record;		/* keep the whole record as JSON, too */
};

struct osp_sink {
	const struct osp_host *host;
	const struct conf *conf;
	sqlite3 *db;
	sqlite3_stmt *begin, *insert, *commit, *rollback;
	char *json;		/* room for one record */
	size_t json_cap;
	uint64_t taken;
	int last_err;
};

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS transactions ("
	" id TEXT PRIMARY KEY, seq INTEGER, ts_ns INTEGER, outcome TEXT,"
	" conn_id TEXT, role TEXT, client TEXT, client_port INTEGER,"
	" server TEXT, server_port INTEGER,"
	" method TEXT, target TEXT, host TEXT, status INTEGER,"
	" request_body_bytes INTEGER, response_body_bytes INTEGER, ttfb_ns INTEGER,"
	" duration_ns INTEGER, pid INTEGER, comm TEXT, record TEXT) WITHOUT ROWID;"
	"CREATE INDEX IF NOT EXISTS transactions_ts ON transactions (ts_ns)";

static const char insert[] =
	"INSERT OR IGNORE INTO transactions VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
	" ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";

/* ---- open and close ------------------------------------------------------------------------ */

static void sqlite_sink_close(struct osp_sink *sink)
{
	if (!sink)
		return;
	sqlite3_finalize(sink->begin);
	sqlite3_finalize(sink->insert);
	sqlite3_finalize(sink->commit);
	sqlite3_finalize(sink->rollback);
	sqlite3_close(sink->db);
	free(sink->json);
	free(sink);
}

static int prepare(struct osp_sink *sink)
{
	const struct {
		const char *sql;
		sqlite3_stmt **stmt;
	} all[] = {
		{ "BEGIN IMMEDIATE", &sink->begin },
		{ insert, &sink->insert },
		{ "COMMIT", &sink->commit },
		{ "ROLLBACK", &sink->rollback },
	};
	int rc = sqlite3_exec(sink->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
			      NULL, NULL, NULL);

	if (!rc)
		rc = sqlite3_exec(sink->db, schema, NULL, NULL, NULL);
	for (size_t i = 0; !rc && i < sizeof(all) / sizeof(*all); i++)
		rc = sqlite3_prepare_v2(sink->db, all[i].sql, -1, all[i].stmt, NULL);
	return rc;
}

static int sqlite_sink_open(const struct osp_host *host, const void *conf, struct osp_sink **out,
			    char *err, size_t err_size)
{
	struct osp_sink *sink;
	int rc;

	/* A host that is older than what we call would lack it. */
	if (host->abi != OSP_SINK_ABI || host->size < sizeof(*host)) {
		snprintf(err, err_size, "this agent is too old for the plugin");
		return -EINVAL;
	}
	sink = calloc(1, sizeof(*sink));
	if (!sink)
		return -ENOMEM;
	sink->host = host;
	sink->conf = conf;
	if (!sink->conf->path) {
		snprintf(err, err_size, "path=FILE is missing");
		sqlite_sink_close(sink);
		return -EINVAL;
	}
	rc = sqlite3_open_v2(sink->conf->path, &sink->db, SQLITE_OPEN_READWRITE |
			     SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (!rc) {
		sqlite3_busy_timeout(sink->db, (int)(sink->conf->busy_ns / 1000000));
		rc = prepare(sink);
	}
	if (rc) {
		snprintf(err, err_size, "%s: %s", sink->conf->path,
			 sink->db ? sqlite3_errmsg(sink->db) : sqlite3_errstr(rc));
		sqlite_sink_close(sink);
		/* Somebody else writes; that passes. */
		return rc == SQLITE_BUSY ? -EAGAIN : -EINVAL;
	}
	*out = sink;
	return 0;
}

/* ---- a record as a row --------------------------------------------------------------------- */

/* Enums of record.h and of the event ABI are append-only: a newer agent's number may be unknown. */
static const char *name(const char *const *names, size_t n, unsigned int i)
{
	return i < n && names[i] ? names[i] : "unknown";
}
#define NAME(names, i) name(names, sizeof(names) / sizeof(*(names)), i)

static const char *const outcomes[] = {
	[OSP_OUT_OK] = "ok", [OSP_OUT_NO_RESPONSE] = "no_response", [OSP_OUT_TIMEOUT] = "timeout",
	[OSP_OUT_RESET] = "reset", [OSP_OUT_CLOSED] = "closed", [OSP_OUT_GAP] = "gap",
	[OSP_OUT_FRAMING] = "framing_error", [OSP_OUT_SHED] = "shed",
	[OSP_OUT_AGENT_STOP] = "agent_stop", [OSP_OUT_NO_REQUEST] = "no_request",
};
static const char *const roles[] = { NULL, "client", "server" };

static void bind_int(struct osp_sink *sink, int at, int known, int64_t v)
{
	if (known)
		sqlite3_bind_int64(sink->insert, at, v);
}

static void bind_text(struct osp_sink *sink, int at, const char *s)
{
	sqlite3_bind_text(sink->insert, at, s, -1, SQLITE_TRANSIENT);
}

/* Slices live until the batch is done, and so does the statement's use of them. Bytes that are not
 * UTF-8 cannot be TEXT.
 */
static void bind_slice(struct osp_sink *sink, int at, const struct osp_record *rec,
		       enum osp_rec_str which)
{
	const struct osp_slice *s = &rec->str[which];

	if (!s->p)
		return;
	if (rec->flags & OSP_RF_NONUTF8)
		sqlite3_bind_blob(sink->insert, at, s->p, (int)s->n, SQLITE_STATIC);
	else
		sqlite3_bind_text(sink->insert, at, s->p, (int)s->n, SQLITE_STATIC);
}

/* Addresses have 16 bytes; IPv4 is v4-mapped. */
static void bind_address(struct osp_sink *sink, int at, const uint8_t a[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool v4 = !memcmp(a, mapped, sizeof(mapped));
	char text[INET6_ADDRSTRLEN];

	if (inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? a + 12 : a, text, sizeof(text)))
		bind_text(sink, at, text);
}

static int bind_json(struct osp_sink *sink, int at, const struct osp_record *rec)
{
	size_t n = sink->host->json(rec, sink->json, sink->json_cap);

	if (n > sink->json_cap) {
		char *more = realloc(sink->json, n);

		if (!more)
			return SQLITE_NOMEM;
		sink->json = more;
		sink->json_cap = n;
		n = sink->host->json(rec, sink->json, sink->json_cap);
	}
	return sqlite3_bind_text(sink->insert, at, sink->json, (int)n, SQLITE_STATIC);
}

static void bind_conn(struct osp_sink *sink, const struct osp_rec_conn *conn)
{
	if (conn->id[0])
		bind_text(sink, 5, conn->id);
	if (conn->role)
		bind_text(sink, 6, NAME(roles, conn->role));
	if (!(conn->has & OSP_CH_TUPLE))
		return;
	bind_address(sink, 7, conn->client);
	bind_int(sink, 8, 1, conn->client_port);
	bind_address(sink, 9, conn->server);
	bind_int(sink, 10, 1, conn->server_port);
}

static void bind_row(struct osp_sink *sink, const struct osp_record *rec)
{
	const struct osp_rec_msg *req = &rec->msg[OSP_REQ], *res = &rec->msg[OSP_RES];
	char id[33];

	sqlite3_clear_bindings(sink->insert);
	snprintf(id, sizeof(id), "%016" PRIx64 "%016" PRIx64, rec->id[0], rec->id[1]);
	bind_text(sink, 1, id);
	bind_int(sink, 2, 1, (int64_t)rec->seq);
	bind_int(sink, 3, 1, rec->ts_ns);
	bind_text(sink, 4, NAME(outcomes, rec->outcome));
	bind_conn(sink, &rec->conn);
	bind_slice(sink, 11, rec, OSP_S_METHOD);
	bind_slice(sink, 12, rec, OSP_S_TARGET);
	bind_slice(sink, 13, rec, OSP_S_HOST);
	bind_int(sink, 14, res->has & OSP_MH_STATUS, res->status);
	bind_int(sink, 15, req->has & OSP_MH_BODY, (int64_t)req->body_bytes);
	bind_int(sink, 16, res->has & OSP_MH_BODY, (int64_t)res->body_bytes);
	bind_int(sink, 17, rec->has_timing & 1, rec->ttfb_ns);
	bind_int(sink, 18, rec->has_timing & 2, rec->duration_ns);
	bind_int(sink, 19, rec->proc.has & OSP_PH_PID, rec->proc.pid);
	bind_slice(sink, 20, rec, OSP_S_COMM);
}

static int insert_row(struct osp_sink *sink, const struct osp_record *rec)
{
	int rc = SQLITE_OK;

	bind_row(sink, rec);
	if (sink->conf->record)
		rc = bind_json(sink, 21, rec);
	if (!rc)
		rc = sqlite3_step(sink->insert);
	sqlite3_reset(sink->insert);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int run(sqlite3_stmt *stmt)
{
	int rc = sqlite3_step(stmt);

	sqlite3_reset(stmt);
	return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

/* ---- batches ------------------------------------------------------------------------------- */

/* What the host is to do about it: try again with the same records, give one up, or open anew. */
static int errno_of(int rc)
{
	switch (rc & 0xff) {
	case SQLITE_OK:
		return 0;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_FULL:	/* there may be room again */
	case SQLITE_NOMEM:
		return -EAGAIN;
	case SQLITE_TOOBIG:
		return -EMSGSIZE;
	default:
		return -EIO;
	}
}

static int sqlite_sink_write(struct osp_sink *sink, const struct osp_batch *batch, uint32_t *done)
{
	uint32_t n = 0;
	int rc = run(sink->begin), rc_row = SQLITE_OK;

	for (; !rc && n < batch->n; n++) {
		/* Other kinds come only without kind=transaction; they are passed over. */
		if (batch->rec[n]->kind != OSP_REC_TRANSACTION)
			continue;
		rc_row = insert_row(sink, batch->rec[n]);
		if (rc_row == SQLITE_TOOBIG)
			break;	/* what came before it is good */
		rc = rc_row;
		if (rc)
			break;
	}
	if (!rc)
		rc = run(sink->commit);
	if (rc) {
		sink->last_err = rc == SQLITE_FULL ? -ENOSPC : errno_of(rc);
		if (!sqlite3_get_autocommit(sink->db))
			run(sink->rollback);
		return errno_of(rc);
	}
	*done = n;
	sink->taken += n;
	return errno_of(rc_row);
}

static void sqlite_sink_stats(const struct osp_sink *sink, struct osp_sink_stats *st)
{
	*st = (struct osp_sink_stats){
		.size = sizeof(*st), .last_err = sink->last_err, .acked = sink->taken,
	};
}

/* ---- what the agent sees ------------------------------------------------------------------- */

static const struct osp_opt opts[] = {
	{ "path", OSP_OPT_STR, offsetof(struct conf, path), NULL, 0, 0, NULL, "the database" },
	{ "busy", OSP_OPT_TIME, offsetof(struct conf, busy_ns), "1s", 0, 60000000000, NULL,
	  "how long to wait for another writer" },
	{ "record", OSP_OPT_BOOL, offsetof(struct conf, record), "no", 0, 0, NULL,
	  "keep the whole record as JSON, too" },
	{ NULL, OSP_OPT_END, 0, NULL, 0, 0, NULL, NULL },
};

static const struct osp_sink_ops ops = {
	.abi = OSP_SINK_ABI,
	.size = sizeof(struct osp_sink_ops),
	.name = "sqlite",
	.opts = opts,
	.conf_size = sizeof(struct conf),
	.open = sqlite_sink_open,
	.write = sqlite_sink_write,
	.stats = sqlite_sink_stats,
	.close = sqlite_sink_close,
};

const struct osp_sink_ops *osp_sink_entry(uint32_t host_abi);

__attribute__((visibility("default")))
const struct osp_sink_ops *osp_sink_entry(uint32_t host_abi)
{
	return host_abi == OSP_SINK_ABI ? &ops : NULL;
}
