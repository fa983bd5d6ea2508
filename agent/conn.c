/* SPDX-License-Identifier: GPL-3.0-or-later */
/* conn.c: the table of connections, what they are called in records, and the byte budget.
 *
 * The table is chained and grows by doubling up to conf.max_conns; its order is never visible:
 * everything that walks over connections walks a list in order of time.
 */
#include "agent/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- the table ------------------------------------------------------------------------------- */

/* Cookies are small consecutive numbers; the multiplier spreads them (2^64 / golden ratio). */
static struct osp_conn **bucket(struct osp_tracker *trk, uint64_t id)
{
	return &trk->bucket[(id * 0x9e3779b97f4a7c15ull >> 32) & trk->bucket_mask];
}

struct osp_conn *osp_conn_find(struct osp_tracker *trk, uint64_t id)
{
	struct osp_conn *conn = *bucket(trk, id);

	while (conn && conn->id != id)
		conn = conn->hnext;
	return conn;
}

/* Doubles the table; without memory for that chains get longer, no more. */
static void grow(struct osp_tracker *trk)
{
	uint64_t i, old_n = trk->bucket_mask + 1;
	struct osp_conn **old = trk->bucket, **b, *conn, *next;

	b = osp_mem_zalloc(2 * old_n * sizeof(*b));
	if (!b)
		return;
	trk->bucket = b;
	trk->bucket_mask = 2 * old_n - 1;
	for (i = 0; i < old_n; i++) {
		for (conn = old[i]; conn; conn = next) {
			next = conn->hnext;
			b = bucket(trk, conn->id);
			conn->hnext = *b;
			*b = conn;
		}
	}
	osp_mem_free(old);
}

struct osp_conn *osp_conn_add(struct osp_tracker *trk, uint64_t id, uint64_t ts)
{
	struct osp_conn *conn, **b;

	if (trk->conn_n > trk->bucket_mask)
		grow(trk);
	conn = osp_slab_get(&trk->conns);
	if (!conn)
		return NULL;
	memset(conn, 0, sizeof(*conn));
	conn->trk = trk;
	conn->id = id;
	conn->opened = ts;
	conn->seen = trk->now;
	conn->req_dir = OSP_DIR_NONE;
	conn->strm[OSP_TX].eof = conn->strm[OSP_RX].eof = OSP_POS_NONE;
	osp_pair_init(&conn->pair);
	osp_list_init(&conn->wait);
	osp_list_init(&conn->heavy);
	osp_list_init(&conn->interval);
	osp_list_init(&conn->lru);
	osp_list_add_tail(&trk->lru, &conn->lru);
	if (trk->conf.conn_interval_ns) {
		conn->interval_due = trk->now + trk->conf.conn_interval_ns;
		osp_list_add_tail(&trk->interval, &conn->interval);
	}
	b = bucket(trk, id);
	conn->hnext = *b;
	*b = conn;
	trk->conn_n++;
	osp_trk_count(trk, OSP_ST_CONN_OPENED, 1);
	return conn;
}

void osp_conn_free(struct osp_conn *conn)
{
	struct osp_tracker *trk = conn->trk;
	struct osp_conn **b = bucket(trk, conn->id);

	while (*b != conn)
		b = &(*b)->hnext;
	*b = conn->hnext;
	trk->conn_n--;
	osp_list_del(&conn->lru);
	osp_list_del(&conn->wait);
	osp_list_del(&conn->heavy);
	osp_list_del(&conn->interval);
	osp_strm_fini(&conn->strm[OSP_TX]);
	osp_strm_fini(&conn->strm[OSP_RX]);
	osp_mem_free(conn->names);
	osp_conn_state_free(conn);
	osp_slab_put(&trk->conns, conn);
}

/* The slab is made for HTTP; a parser with a larger state takes from the pool. */
void *osp_conn_state_new(struct osp_tracker *trk, const struct osp_parser *parser)
{
	if (osp_slab_fits(&trk->states, parser->size))
		return osp_slab_get(&trk->states);
	return osp_pool_get(&trk->pool, osp_pool_size(parser->size));
}

void osp_conn_state_free(struct osp_conn *conn)
{
	if (!conn->state)
		return;
	if (osp_slab_fits(&conn->trk->states, conn->parser->size))
		osp_slab_put(&conn->trk->states, conn->state);
	else
		osp_pool_put(&conn->trk->pool, conn->state, osp_pool_size(conn->parser->size));
	conn->state = NULL;
}

/* ---- the byte budget ------------------------------------------------------------------------- */

/* Connections that hold something hang on lists by the logarithm of how much, so that the heaviest
 * is found at once (to a factor of two).
 */
static void weigh(struct osp_conn *conn)
{
	uint8_t c = conn->held ? (uint8_t)(64 - __builtin_clzll(conn->held)) : 0;

	if (c >= OSP_HEAVY_CLASSES)
		c = OSP_HEAVY_CLASSES - 1;
	if (c == conn->heavy_class)
		return;
	osp_list_del(&conn->heavy);
	conn->heavy_class = c;
	if (c)
		osp_list_add_tail(&conn->trk->heavy[c], &conn->heavy);
}

static void account(struct osp_conn *conn, int64_t n)
{
	conn->held += (uint64_t)n;
	conn->trk->used += (uint64_t)n;
	osp_trk_count(conn->trk, OSP_ST_MEM_BYTES, n);
	weigh(conn);
}

static struct osp_conn *heaviest(struct osp_tracker *trk)
{
	int c;

	for (c = OSP_HEAVY_CLASSES - 1; c > 0; c--) {
		if (!osp_list_empty(&trk->heavy[c]))
			return osp_list_entry(trk->heavy[c].next, struct osp_conn, heavy);
	}
	return NULL;
}

void *osp_conn_alloc(struct osp_conn *conn, uint64_t n, uint32_t *size)
{
	struct osp_tracker *trk = conn->trk;
	struct osp_conn *victim;
	uint32_t sz = osp_pool_size(n);
	void *p;

	if (conn->nomem || !sz)
		goto fail;
	while (trk->used + sz > trk->conf.byte_budget) {
		victim = heaviest(trk);
		if (!victim || victim == conn || victim == trk->busy)
			goto fail;
		osp_conn_shed(victim);
	}
	p = osp_pool_get(&trk->pool, sz);
	if (!p)
		goto fail;
	account(conn, sz);
	*size = sz;
	return p;
fail:
	conn->nomem = true;
	return NULL;
}

void osp_conn_release(struct osp_conn *conn, void *p, uint32_t size)
{
	if (!p)
		return;
	account(conn, -(int64_t)size);
	osp_pool_put(&conn->trk->pool, p, size);
}

int osp_conn_buf_add(struct osp_conn *conn, struct osp_buf *buf, const char *p, uint32_t n)
{
	uint64_t want = (uint64_t)buf->n + n;
	uint32_t size;
	char *bigger;

	if (want > buf->cap) {
		bigger = osp_conn_alloc(conn, want, &size);
		if (!bigger)
			return -ENOMEM;
		if (buf->n)
			memcpy(bigger, buf->p, buf->n);
		osp_conn_release(conn, buf->p, buf->cap);
		buf->p = bigger;
		buf->cap = size;
	}
	if (n)
		memcpy(buf->p + buf->n, p, n);
	buf->n += n;
	return 0;
}

void osp_conn_buf_free(struct osp_conn *conn, struct osp_buf *buf)
{
	osp_conn_release(conn, buf->p, buf->cap);
	*buf = (struct osp_buf){ NULL, 0, 0 };
}

/* ---- what it is called ----------------------------------------------------------------------- */

void osp_conn_set_tuple(struct osp_conn *conn, const struct osp_tuple *tuple)
{
	if (conn->has_tuple || (!tuple->family && !tuple->lport && !tuple->rport))
		return;
	conn->tuple = *tuple;
	conn->has_tuple = true;
}

void osp_conn_set_role(struct osp_conn *conn, int role, int from)
{
	if (role == OSP_ROLE_UNKNOWN || from <= conn->role_from)
		return;
	conn->role = (uint8_t)role;
	conn->role_from = (uint8_t)from;
}

static bool is_loopback(const uint8_t a[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const uint8_t one[16] = { [15] = 1 };

	return !memcmp(a, mapped, 12) ? a[12] == 127 : !memcmp(a, one, 16);
}

bool osp_conn_loopback(const struct osp_conn *conn)
{
	const struct osp_tuple *t = &conn->tuple;

	return conn->has_tuple && t->family != AF_UNIX &&
	       (!memcmp(t->local, t->remote, 16) || is_loopback(t->local) ||
				   is_loopback(t->remote));
}

bool osp_conn_is_unix(const struct osp_conn *conn)
{
	return conn->names || (conn->has_tuple && conn->tuple.family == AF_UNIX);
}

int osp_conn_set_names(struct osp_conn *conn, const struct osp_ev_unix *ev)
{
	struct osp_unix_names *names = conn->names;
	int i;

	if (!names)
		names = conn->names = osp_mem_zalloc(sizeof(*names));
	if (!names)
		return -ENOMEM;
	names->peer = ev->peer;
	names->netns = ev->netns;
	memcpy(names->text, ev->name, sizeof(names->text));
	for (i = 0; i < OSP_UNIX_ENDS; i++) {
		names->len[i] = ev->len[i];
		/* unix(7): an abstract name is all of its bytes, a path ends with its NUL. */
		if (ev->len[i] && !*names->text[i])
			*names->text[i] = '@';
		else
			names->len[i] = (uint16_t)strnlen(names->text[i], ev->len[i]);
	}
	return 0;
}

static void rec_unix(const struct osp_conn *conn, struct osp_record *rec)
{
	static const enum osp_rec_str path[] = { OSP_S_CLIENT_PATH, OSP_S_SERVER_PATH };
	const struct osp_unix_names *names = conn->names;
	bool server = conn->role == OSP_ROLE_SERVER;
	uint32_t netns = names ? names->netns : conn->tuple.netns;
	int i;

	rec->conn.transport = OSP_TRANSPORT_UNIX;
	rec->conn.has = netns ? OSP_CH_NETNS : 0;
	rec->conn.netns = netns;
	for (i = 0; names && i < OSP_UNIX_ENDS; i++) {
		if (names->len[i])
			rec->str[path[i == OSP_UNIX_LOCAL ? server : !server]] =
				osp_slice(names->text[i], names->len[i]);
	}
	rec->conn.peer_cookie = names ? names->peer : 0;
}

void osp_conn_rec(struct osp_conn *conn, struct osp_record *rec)
{
	struct osp_rec_conn *out = &rec->conn;
	const struct osp_tuple *t = &conn->tuple;
	bool server = conn->role == OSP_ROLE_SERVER;

	out->cookie = conn->id;
	out->role = conn->role;
	out->role_from = conn->role_from;
	if (osp_conn_is_unix(conn))
		rec_unix(conn, rec);
	if (!conn->has_tuple || t->family == AF_UNIX)
		return;
	out->transport = t->transport ? t->transport : IPPROTO_TCP;
	if (!conn->cid[0])
		osp_community_id(conn->cid, t->local, t->lport, t->remote, t->rport,
				 out->transport);
	memcpy(out->id, conn->cid, sizeof(out->id));
	out->has = OSP_CH_TUPLE | (t->netns ? OSP_CH_NETNS : 0);
	memcpy(out->client, server ? t->remote : t->local, 16);
	memcpy(out->server, server ? t->local : t->remote, 16);
	out->client_port = server ? t->rport : t->lport;
	out->server_port = server ? t->lport : t->rport;
	out->netns = t->netns;
}

void osp_conn_rec_proc(struct osp_tracker *trk, struct osp_record *rec, struct osp_proc *proc,
		       uint32_t tgid, uint32_t tid)
{
	struct osp_rec_proc *out = &rec->proc;

	if (!tgid)
		return;
	out->has = OSP_PH_PID | (tid ? OSP_PH_TID : 0);
	out->pid = tgid;
	out->tid = tid;
	if (!proc)
		return;
	out->has |= OSP_PH_UID | (proc->ns_tgid ? OSP_PH_NS_PID : 0) |
		    (proc->start_ns ? OSP_PH_START : 0);
	out->ns_pid = proc->ns_tgid;
	out->uid = proc->uid;
	out->start_ns = osp_trk_wall(trk, proc->start_ns);
	rec->str[OSP_S_COMM] = proc->comm;
	rec->str[OSP_S_EXE] = proc->exe;
	rec->str[OSP_S_CONTAINER_ID] = proc->container;
	rec->str[OSP_S_CONTAINER_RUNTIME] = proc->runtime;
	rec->str[OSP_S_POD_UID] = proc->pod;
}

/* ---- connection records ---------------------------------------------------------------------- */

static void rec_stream(struct osp_conn *conn, int dir, const struct osp_conn_totals *tot,
		       struct osp_rec_stream *out)
{
	const struct osp_strm *strm = &conn->strm[dir];
	struct osp_rec_gap *gap = conn->trk->gap[dir];

	out->bytes = tot->known ? tot->bytes[dir] : strm->next - strm->base;
	out->seen_bytes = strm->next - strm->base - strm->gap_bytes;
	out->captured_bytes = out->seen_bytes;
	out->gap_bytes = strm->gap_bytes;
	out->overlap_bytes = strm->overlap;
	out->gap_n = osp_strm_gaps(strm, gap);
	out->gap = gap;
}

void osp_conn_record(struct osp_conn *conn, const struct osp_conn_totals *tot, const char *end,
		     bool running)
{
	struct osp_tracker *trk = conn->trk;
	struct osp_record *rec = &trk->rec;
	struct osp_proc *proc;
	int dir;

	if (!trk->conf.connections)
		return;
	memset(rec, 0, sizeof(*rec));
	rec->size = sizeof(*rec);
	rec->kind = OSP_REC_CONNECTION;
	rec->vantage = conn->vantage;
	osp_txn_id(conn, 0, rec->id);
	rec->flags = (osp_conn_loopback(conn) ? OSP_RF_LOOPBACK : 0) |
		     (conn->whole ? 0 : OSP_RF_MIDSTREAM) | (conn->ktls ? OSP_RF_KERNEL_TLS : 0) |
		     (conn->copies ? OSP_RF_DUP_REMOVED : 0) |
		     (conn->one_way ? OSP_RF_ONE_WAY : 0);
	rec->anomalies = conn->anomalies;
	rec->ts_ns = osp_trk_wall(trk, running ? trk->now : conn->seen);
	osp_conn_rec(conn, rec);
	proc = osp_proc_get(&trk->procs, conn->tgid);
	osp_conn_rec_proc(trk, rec, proc, conn->tgid, conn->tid);
	rec->str[OSP_S_PROTOCOL] = osp_slice_str(conn->proto);
	rec->str[OSP_S_END] = osp_slice_str(end);
	rec->connection = (struct osp_rec_connection){
		.has_opened = conn->whole,
		.opened_ns = osp_trk_wall(trk, conn->opened),
		.has_closed = !running,
		.closed_ns = osp_trk_wall(trk, conn->seen),
		.has_bytes = tot->known,
		.has_rtt = tot->srtt_us != 0,
		.rtt_us = tot->srtt_us,
		.retransmits = tot->retransmits,
		.transactions = conn->txn_made,
		.turns = tot->turns,
		.lost_exchanges = tot->lost_exchanges,
	};
	for (dir = 0; dir < OSP_DIRS; dir++)
		rec_stream(conn, dir, tot, &rec->connection.dir[dir]);
	osp_trk_count(trk, OSP_ST_REC_CONNECTION, 1);
	trk->fn(trk->ctx, rec);
	osp_proc_put(proc);
}
