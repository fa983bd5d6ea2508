/* SPDX-License-Identifier: GPL-3.0-or-later */
/* model.c: from records to rows and two tables; then both sides' tables become one, and rows are
 * put in order of connection and time, in place.
 *
 * Rows live in one mapping that grows by mremap(), which moves page tables and no bytes: growing by
 * copying would need the memory twice at the worst moment.
 */
#define XXH_INLINE_ALL
#include "recon/recon.h"

#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <xxhash.h>

#define ROWS_STEP (1u << 18) /* 12 MiB */

/* ---- addresses and connections -------------------------------------------------------------- */

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

bool rc_is_loopback(const uint8_t ip[16])
{
	static const uint8_t one[16] = { [15] = 1 };

	if (!memcmp(ip, mapped, sizeof(mapped)))
		return ip[12] == 127;
	return !memcmp(ip, one, sizeof(one));
}

int rc_net_init(struct rc_net *net)
{
	*net = (struct rc_net){
		.addr_cap = 64, .conn_cap = 64, .addr_mask = 255, .conn_mask = 255
	};
	net->addr = calloc(net->addr_cap, sizeof(*net->addr));
	net->conn = calloc(net->conn_cap, sizeof(*net->conn));
	net->addr_hash = calloc(256, sizeof(uint32_t));
	net->conn_hash = calloc(256, sizeof(uint32_t));
	if (!net->addr || !net->conn || !net->addr_hash || !net->conn_hash) {
		rc_net_fini(net);
		return -ENOMEM;
	}
	net->addr_n = 1;
	net->conn_n = 1;
	net->conn[0].ev[0] = net->conn[0].ev[1] = RC_NONE;
	return 0;
}

void rc_net_fini(struct rc_net *net)
{
	free(net->addr);
	free(net->conn);
	free(net->addr_hash);
	free(net->conn_hash);
	*net = (struct rc_net){ 0 };
}

static uint32_t hash_addr(const uint8_t ip[16])
{
	return (uint32_t)XXH3_64bits(ip, 16);
}

static uint32_t hash_conn(const struct rc_conn *c)
{
	/* addr and port: the first 12 bytes, without padding between. */
	return (uint32_t)XXH3_64bits(c, offsetof(struct rc_conn, first));
}

/* Doubles an array; the new part is zero. */
static int grow(void *array, uint32_t *cap, size_t size)
{
	void *p;
	size_t old = *cap;

	if (*cap > UINT32_MAX / 4)
		return -ENOMEM;
	p = realloc(*(void **)array, old * 3 / 2 * size);
	if (!p)
		return -ENOMEM;
	memset((char *)p + old * size, 0, (old * 3 / 2 - old) * size);
	*(void **)array = p;
	*cap = (uint32_t)(old * 3 / 2);
	return 0;
}

static int rehash(struct rc_net *net, bool conns)
{
	uint32_t *mask = conns ? &net->conn_mask : &net->addr_mask, fresh = *mask * 2 + 1;
	uint32_t **table = conns ? &net->conn_hash : &net->addr_hash;
	uint32_t n = conns ? net->conn_n : net->addr_n, *t;

	t = calloc((size_t)fresh + 1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	for (uint32_t i = 1; i < n; i++) {
		uint32_t at =
			(conns ? hash_conn(&net->conn[i]) : hash_addr(net->addr[i].ip)) & fresh;

		while (t[at])
			at = (at + 1) & fresh;
		t[at] = i;
	}
	free(*table);
	*table = t;
	*mask = fresh;
	return 0;
}

uint32_t rc_net_addr(struct rc_net *net, const uint8_t ip[16])
{
	uint32_t at = hash_addr(ip) & net->addr_mask, i;

	for (; (i = net->addr_hash[at]); at = (at + 1) & net->addr_mask)
		if (!memcmp(net->addr[i].ip, ip, 16))
			return i;
	if (net->addr_n == net->addr_cap && grow(&net->addr, &net->addr_cap, sizeof(*net->addr)))
		return RC_NONE;
	i = net->addr_n++;
	memcpy(net->addr[i].ip, ip, 16);
	net->addr_hash[at] = i;
	if (net->addr_n > net->addr_mask / 4 * 3 && rehash(net, false))
		return RC_NONE;
	return i;
}

static int order(const struct rc_net *net, uint32_t a, uint16_t pa, uint32_t b, uint16_t pb)
{
	int c = a == b ? 0 : memcmp(net->addr[a].ip, net->addr[b].ip, 16);

	return c ? c : (int)pa - (int)pb;
}

uint32_t rc_net_conn(struct rc_net *net, uint32_t addr_a, uint16_t port_a, uint32_t addr_b,
		     uint16_t port_b)
{
	struct rc_conn key;
	uint32_t at, i;

	memset(&key, 0, sizeof(key));
	key.addr[0] = addr_a;
	key.port[0] = port_a;
	key.addr[1] = addr_b;
	key.port[1] = port_b;
	if (order(net, addr_a, port_a, addr_b, port_b) > 0) {
		key.addr[0] = addr_b;
		key.port[0] = port_b;
		key.addr[1] = addr_a;
		key.port[1] = port_a;
	}
	at = hash_conn(&key) & net->conn_mask;
	for (; (i = net->conn_hash[at]); at = (at + 1) & net->conn_mask)
		if (!memcmp(&net->conn[i], &key, offsetof(struct rc_conn, first)))
			return i;
	if (net->conn_n == net->conn_cap && grow(&net->conn, &net->conn_cap, sizeof(*net->conn)))
		return RC_NONE;
	i = net->conn_n++;
	key.ev[0] = key.ev[1] = RC_NONE;
	net->conn[i] = key;
	net->conn_hash[at] = i;
	if (net->conn_n > net->conn_mask / 4 * 3 && rehash(net, true))
		return RC_NONE;
	return i;
}

/* ---- one record ----------------------------------------------------------------------------- */

static void map_endpoint(const struct rc_conf *conf, uint8_t ip[16], uint16_t *port)
{
	for (uint32_t i = 0; i < conf->map_n; i++) {
		const struct rc_map *map = &conf->map[i];

		if (*port == map->from_port && !memcmp(ip, map->from, 16)) {
			memcpy(ip, map->to, 16);
			*port = map->to_port;
			return;
		}
	}
}

/* The connection a record belongs to; *client_b: its client is the second endpoint. */
static uint32_t find_conn(struct rc_side *sd, const struct osp_rec_conn *rc, bool *client_b)
{
	struct rc_net *net = &sd->net;
	uint8_t ip[2][16];
	uint16_t port[2] = { rc->client_port, rc->server_port };
	uint32_t a[2], i;

	*client_b = false;
	if (!(rc->has & OSP_CH_TUPLE))
		return 0;
	memcpy(ip[0], rc->client, 16);
	memcpy(ip[1], rc->server, 16);
	map_endpoint(sd->conf, ip[0], &port[0]);
	map_endpoint(sd->conf, ip[1], &port[1]);
	for (i = 0; i < 2; i++) {
		a[i] = rc_net_addr(net, ip[i]);
		if (a[i] == RC_NONE)
			return RC_NONE;
		net->addr[a[i]].flags[sd->idx] |= RC_AF_SEEN;
		if (rc_is_loopback(ip[i]))
			sd->loopback = true;
	}
	if (rc->role == OSP_ROLE_CLIENT || rc->role == OSP_ROLE_SERVER) {
		net->addr[a[rc->role == OSP_ROLE_SERVER]].flags[sd->idx] |= RC_AF_LOCAL;
		sd->roles = true;
	}
	i = rc_net_conn(net, a[0], port[0], a[1], port[1]);
	if (i != RC_NONE)
		*client_b = net->conn[i].addr[0] != a[0] || net->conn[i].port[0] != port[0];
	return i;
}

static void speak_about(struct rc_side *sd, int64_t from, int64_t to)
{
	if (from < sd->first_ns)
		sd->first_ns = from;
	if (to > sd->last_ns)
		sd->last_ns = to;
}

static uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
	return h * 0xff51afd7ed558ccdull;
}

static uint64_t mix_str(uint64_t h, struct osp_slice s)
{
	return mix(h, s.p ? XXH3_64bits(s.p, s.n) : 0);
}

/* Without regard to case, for names. */
static uint64_t hash_lower(struct osp_slice s)
{
	char tmp[256];
	uint32_t n = s.n;

	if (!s.p || n > sizeof(tmp))
		return s.p ? XXH3_64bits(s.p, n) : 0;
	for (uint32_t i = 0; i < n; i++)
		tmp[i] = (char)tolower((unsigned char)s.p[i]);
	return XXH3_64bits(tmp, n);
}

/* All strings and codes that compare.c compares exactly. */
static uint32_t hash_core(const struct osp_record *rec)
{
	static const uint8_t which[] = {
		OSP_S_HTTP_VERSION,
		OSP_S_METHOD,
		OSP_S_TARGET,
		OSP_S_USER_AGENT,
		OSP_S_REQ_CONTENT_TYPE,
		OSP_S_REQ_CONTENT_ENCODING,
		OSP_S_REQ_TRANSFER_ENCODING,
		OSP_S_REASON,
		OSP_S_RES_CONTENT_TYPE,
		OSP_S_RES_CONTENT_ENCODING,
		OSP_S_RES_TRANSFER_ENCODING,
	};
	const struct osp_rec_msg *res = &rec->msg[OSP_RES];
	uint64_t h =
		mix(hash_lower(rec->str[OSP_S_HOST]), res->has & OSP_MH_STATUS ? res->status : 0);

	for (size_t i = 0; i < sizeof(which); i++)
		h = mix_str(h, rec->str[which[i]]);
	for (int i = 0; i < res->interim_n; i++)
		h = mix(h, res->interim[i]);
	h = mix(h, rec->outcome);
	return (uint32_t)(h >> 32);
}

static uint32_t hash_sizes(const struct osp_record *rec)
{
	uint64_t h = 0;

	for (int e = 0; e < OSP_ENDS; e++) {
		const struct osp_rec_msg *msg = &rec->msg[e];

		h = mix(h, msg->has & OSP_MH_HEAD_BYTES ? msg->head_bytes + 1ull : 0);
		h = mix(h, msg->has & OSP_MH_BODY ? msg->body_bytes + 1 : 0);
		h = mix(h, msg->has & OSP_MH_BODY_WIRE ? msg->body_wire_bytes + 1 : 0);
		h = mix(h, msg->has & OSP_MH_CONTENT_LENGTH ? msg->content_length + 1 : 0);
	}
	return (uint32_t)(h >> 32);
}

/* Headers as a set: the sum does not depend on their order. Redacted ones do not take part. */
static uint32_t hash_extra(const struct osp_record *rec, uint32_t *flags)
{
	uint64_t h = 0;

	for (int e = 0; e < OSP_ENDS; e++) {
		const struct osp_rec_msg *msg = &rec->msg[e];
		uint64_t sum = 0;

		if (msg->has & OSP_MH_DIGEST)
			*flags |= RC_F_DIGEST;
		h = mix(h, msg->has & OSP_MH_DIGEST ? msg->digest : 0);
		if (!msg->header)
			continue;
		*flags |= RC_F_HEADERS;
		for (uint32_t i = 0; i < msg->header_n; i++)
			if (!msg->header[i].redacted)
				sum += mix(hash_lower(msg->header[i].name),
					   XXH3_64bits(msg->header[i].value.p,
						       msg->header[i].value.n));
		h = mix(h, sum);
	}
	return (uint32_t)(h >> 32);
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* Method and target, percent-decoded: Zeek's are. FNV-1a, because it goes byte by byte. */
static uint16_t hash_key(const struct osp_record *rec)
{
	struct osp_slice m = rec->str[OSP_S_METHOD], t = rec->str[OSP_S_TARGET];
	uint64_t h = 0xcbf29ce484222325ull;

	for (uint32_t i = 0; m.p && i < m.n; i++)
		h = (h ^ (uint8_t)m.p[i]) * 0x100000001b3ull;
	h = (h ^ ' ') * 0x100000001b3ull;
	for (uint32_t i = 0; t.p && i < t.n; i++) {
		uint8_t c = (uint8_t)t.p[i];

		if (c == '%' && i + 2 < t.n && hex_digit(t.p[i + 1]) >= 0 &&
		    hex_digit(t.p[i + 2]) >= 0) {
			c = (uint8_t)(hex_digit(t.p[i + 1]) << 4 | hex_digit(t.p[i + 2]));
			i += 2;
		}
		h = (h ^ c) * 0x100000001b3ull;
	}
	return (uint16_t)(h >> 48 ^ h >> 32 ^ h >> 16 ^ h);
}

static uint32_t row_flags(const struct osp_record *rec)
{
	const struct osp_rec_msg *req = &rec->msg[OSP_REQ], *res = &rec->msg[OSP_RES];
	uint32_t f = 0;

	if (req->has & OSP_MH_MSG)
		f |= RC_F_REQ | (req->has & OSP_MH_SEQ ? RC_F_REQ_SEQ : 0);
	if (res->has & OSP_MH_MSG)
		f |= RC_F_RES | (res->has & OSP_MH_SEQ ? RC_F_RES_SEQ : 0);
	if ((rec->flags & (OSP_RF_GAP | OSP_RF_TRUNCATED)) || rec->outcome == OSP_OUT_GAP ||
	    rec->outcome == OSP_OUT_SHED)
		f |= RC_F_UNSURE;
	if (rec->flags & OSP_RF_MIDSTREAM)
		f |= RC_F_MIDSTREAM;
	if ((rec->flags & (OSP_RF_TLS | OSP_RF_KERNEL_TLS)) || rec->vantage == OSP_VANTAGE_TLS)
		f |= RC_F_TLS;
	if (rec->flags & OSP_RF_LOOPBACK)
		f |= RC_F_LOOPBACK;
	if (rec->conn.role == OSP_ROLE_CLIENT)
		f |= RC_F_CLIENT;
	if (rec->conn.role == OSP_ROLE_SERVER)
		f |= RC_F_SERVER;
	if ((rec->has_timing & 1) && rec->ttfb_ns >= 0)
		f |= RC_F_TTFB;
	if ((rec->has_timing & 2) && rec->duration_ns >= 0)
		f |= RC_F_DUR;
	return f;
}

static int rows_room(struct rc_side *sd)
{
	size_t cap = sd->row_cap + ROWS_STEP;
	void *p;

	if (sd->row_n < sd->row_cap)
		return 0;
	if (cap > RC_ROWS_MAX)
		return -ENOMEM;
	if (sd->row)
		p = mremap(sd->row, sd->row_cap * sizeof(*sd->row), cap * sizeof(*sd->row),
			   MREMAP_MAYMOVE);
	else
		p = mmap(NULL, cap * sizeof(*sd->row), PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return -ENOMEM;
	sd->row = p;
	sd->row_cap = cap;
	return 0;
}

/* See RC_SOCK_SERVER. Where the exchange has no number (its connection was joined late, or has lost
 * something) all of that connection have the same hash, and time tells.
 */
static void take_sockets(struct rc_row *row, const struct osp_rec_conn *conn)
{
	bool server = conn->role == OSP_ROLE_SERVER;
	uint64_t which = conn->has & OSP_CH_TXN ? conn->txn : 0;
	uint64_t at_server = server ? conn->cookie : conn->peer_cookie;
	uint64_t at_client = server ? conn->peer_cookie : conn->cookie;

	if (conn->transport != OSP_TRANSPORT_UNIX || !(row->flags & (RC_F_CLIENT | RC_F_SERVER)) ||
	    (row->flags & (RC_F_REQ_SEQ | RC_F_RES_SEQ)))
		return;
	row->req_seq = (uint32_t)(mix(mix(1, at_server), which) >> 32);
	row->res_seq = (uint32_t)(mix(mix(2, at_client), which) >> 32);
	row->sockets = (at_server ? RC_SOCK_SERVER : 0) | (at_client ? RC_SOCK_CLIENT : 0);
}

static int take_transaction(struct rc_side *sd, const struct osp_record *rec, uint64_t off)
{
	const struct osp_rec_msg *req = &rec->msg[OSP_REQ], *res = &rec->msg[OSP_RES];
	uint32_t flags = row_flags(rec), conn;
	struct rc_row *row;
	bool client_b;

	conn = find_conn(sd, &rec->conn, &client_b);
	if (conn == RC_NONE || rows_room(sd))
		return -ENOMEM;
	row = &sd->row[sd->row_n++];
	*row = (struct rc_row){
		.ts = rec->ts_ns,
		.off = off,
		.link = conn,
		.client_b = client_b,
		.status = res->has & OSP_MH_STATUS ? res->status : 0,
		.outcome = rec->outcome,
		.req_seq = req->tcp_seq,
		.res_seq = res->tcp_seq,
		.core = hash_core(rec),
		.size = hash_sizes(rec),
		.extra = hash_extra(rec, &flags),
		.key = hash_key(rec),
		.ttfb = rc_short_time(rec->ttfb_ns),
		.dur = rc_short_time(rec->duration_ns),
	};
	row->flags = (uint16_t)flags;
	if (!conn)
		take_sockets(row, &rec->conn);
	/* As the row has it: bounded, whatever the record says. */
	speak_about(sd, rec->ts_ns, rec->ts_ns + (flags & RC_F_DUR ? rc_long_time(row->dur) : 0));
	return 0;
}

/* ---- evidence ------------------------------------------------------------------------------- */

static enum rc_loss loss_of(uint8_t cause)
{
	switch (cause) {
	case OSP_CAUSE_WIRE_LOSS:
		return RC_LOSS_WIRE;
	case OSP_CAUSE_SNAPLEN:
		return RC_LOSS_SNAPLEN;
	case OSP_CAUSE_FILTERED:
		return RC_LOSS_FILTERED;
	}
	return RC_LOSS_HOST;
}

static void take_gaps(struct rc_ev *ev, const struct osp_rec_connection *cn)
{
	uint64_t most[RC_LOSS_MAX] = { 0 };

	memset(ev->left, 0, sizeof(ev->left));
	ev->unread = 0;
	ev->most = RC_LOSS_MAX;
	for (int d = 0; d < 2; d++) {
		const struct osp_rec_stream *strm = &cn->dir[d];

		for (uint32_t i = 0; i < strm->gap_n; i++) {
			enum rc_loss loss = loss_of(strm->gap[i].cause);

			/* Received by the kernel and not wanted by the process is no loss of
			 * sight: there was nobody to see it.
			 */
			if (strm->gap[i].cause == OSP_CAUSE_SKIPPED)
				continue; /* known, and wanted by nobody: nothing is lost */
			if (strm->gap[i].cause == OSP_CAUSE_UNREAD) {
				uint64_t n = ev->unread + strm->gap[i].bytes;

				ev->unread = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
				continue;
			}
			ev->left[loss] += strm->gap[i].bytes;
			if (strm->gap[i].bytes >= most[loss]) {
				most[loss] = strm->gap[i].bytes;
				ev->cause[loss] = strm->gap[i].cause;
			}
		}
		if (strm->overlap_bytes)
			ev->overlap = 1;
	}
	for (int i = 0; i < RC_LOSS_MAX; i++)
		if (ev->left[i] && (ev->most == RC_LOSS_MAX || ev->left[i] > ev->left[ev->most]))
			ev->most = (uint8_t)i;
}

static uint8_t proto_of(struct osp_slice s)
{
	if (!s.p)
		return RC_PROTO_OTHER;
	if (s.n >= 4 && !memcmp(s.p, "http", 4))
		return RC_PROTO_HTTP;
	if (s.n == 3 && !memcmp(s.p, "tls", 3))
		return RC_PROTO_TLS;
	if (s.n == 6 && !memcmp(s.p, "opaque", 6))
		return RC_PROTO_OPAQUE;
	return RC_PROTO_OTHER;
}

/* The record of this connection that an earlier one (--connection-interval) began, or a new one. */
static struct rc_ev *find_ev(struct rc_side *sd, struct rc_conn *conn, uint64_t cookie,
			     int64_t opened)
{
	struct rc_ev *ev;
	uint32_t i;

	for (i = conn->ev[sd->idx]; i != RC_NONE; i = sd->ev[i].next) {
		ev = &sd->ev[i];
		if (cookie && ev->cookie == cookie && ev->running && ev->opened == opened)
			return ev;
	}
	if (sd->ev_n == sd->ev_cap) {
		if (!sd->ev_cap) {
			sd->ev = calloc(64, sizeof(*sd->ev));
			if (!sd->ev)
				return NULL;
			sd->ev_cap = 64;
		} else if (grow(&sd->ev, &sd->ev_cap, sizeof(*sd->ev))) {
			return NULL;
		}
	}
	i = sd->ev_n++;
	ev = &sd->ev[i];
	*ev = (struct rc_ev){ .next = conn->ev[sd->idx], .cookie = cookie };
	conn->ev[sd->idx] = i;
	return ev;
}

/* Of connection records that saw bytes. Saturation at 4 billion would take that many records. */
static void count_ways(struct rc_side *sd, const struct rc_conn *conn, const struct osp_record *rec)
{
	const struct osp_rec_connection *cn = &rec->connection;

	if (!cn->dir[0].seen_bytes && !cn->dir[1].seen_bytes)
		return;
	for (int e = 0; e < 2; e++) {
		struct rc_addr *addr = &sd->net.addr[conn->addr[e]];

		if (rec->flags & OSP_RF_ONE_WAY)
			addr->one_way[sd->idx]++;
		else
			addr->both_ways[sd->idx]++;
	}
}

static int take_connection(struct rc_side *sd, const struct osp_record *rec)
{
	const struct osp_rec_connection *cn = &rec->connection;
	int64_t opened = cn->has_opened ? cn->opened_ns : rec->ts_ns;
	int64_t closed = cn->has_closed ? cn->closed_ns : INT64_MAX;
	struct osp_slice end = rec->str[OSP_S_END];
	bool client_b;
	uint32_t conn = find_conn(sd, &rec->conn, &client_b);
	struct rc_ev *ev;

	sd->conns++;
	if (!conn)
		return 0;
	ev = conn == RC_NONE ? NULL : find_ev(sd, &sd->net.conn[conn], rec->conn.cookie, opened);
	if (!ev)
		return -ENOMEM;
	ev->opened = opened;
	ev->closed = closed;
	ev->proto = proto_of(rec->str[OSP_S_PROTOCOL]);
	ev->midstream = !!(rec->flags & OSP_RF_MIDSTREAM);
	ev->one_way = !!(rec->flags & OSP_RF_ONE_WAY);
	ev->running = end.p && end.n == 7 && !memcmp(end.p, "running", 7);
	ev->exchanges_left =
		cn->lost_exchanges > UINT32_MAX ? UINT32_MAX : (uint32_t)cn->lost_exchanges;
	take_gaps(ev, cn);
	count_ways(sd, &sd->net.conn[conn], rec);
	speak_about(sd, rec->ts_ns, rec->ts_ns);
	if (cn->has_opened)
		speak_about(sd, opened, opened);
	if (cn->has_closed)
		speak_about(sd, closed, closed);
	return 0;
}

/* Counters are totals of a run: the largest of a side's ledgers is the sum, if it was one run. */
static void take_ledger(struct rc_side *sd, const struct rc_rec *rr)
{
	const struct rc_ledger *led = &rr->led;
	struct osp_slice host = rr->rec.str[OSP_S_HOSTNAME];

#define MAX_OF(f) (sd->led.f = led->f > sd->led.f ? led->f : sd->led.f)
	MAX_OF(filtered);
	MAX_OF(lost);
	MAX_OF(exchanges_lost);
	MAX_OF(dropped);
	for (int i = 0; i < OSP_CAUSE_MAX; i++)
		MAX_OF(gap[i]);
#undef MAX_OF
	sd->ledgers++;
	sd->has_led = true;
	sd->led_exit |= led->exit;
	if (host.p)
		snprintf(sd->host, sizeof(sd->host), "%.*s", (int)host.n, host.p);
	speak_about(sd, rr->rec.ts_ns, rr->rec.ts_ns);
}

int rc_side_take(struct rc_side *sd, const struct rc_rec *rr, uint64_t off)
{
	if (rr->rec.kind && !rr->has_ts)
		return -EBADMSG;
	if (rr->rec.kind)
		sd->vantage[rr->rec.vantage < OSP_VANTAGE_MAX ? rr->rec.vantage : 0]++;
	switch (rr->rec.kind) {
	case OSP_REC_TRANSACTION:
		if (!((rr->rec.msg[OSP_REQ].has | rr->rec.msg[OSP_RES].has) & OSP_MH_MSG))
			return -EBADMSG;
		return take_transaction(sd, &rr->rec, off);
	case OSP_REC_CONNECTION:
		return take_connection(sd, &rr->rec);
	case OSP_REC_LEDGER:
		take_ledger(sd, rr);
		return 0;
	}
	sd->other++;
	return 0;
}

void rc_side_fini(struct rc_side *sd)
{
	if (sd->row)
		munmap(sd->row, sd->row_cap * sizeof(*sd->row));
	free(sd->ev);
	rc_net_fini(&sd->net);
	rc_store_fini(&sd->store);
	sd->row = NULL;
	sd->ev = NULL;
}

/* ---- joining -------------------------------------------------------------------------------- */

/* B's addresses and connections into A's tables; to: where B's went. */
static int join_net(struct rc_net *net, const struct rc_net *b, uint32_t *addr_to,
		    uint32_t *conn_to)
{
	for (uint32_t i = 1; i < b->addr_n; i++) {
		addr_to[i] = rc_net_addr(net, b->addr[i].ip);
		if (addr_to[i] == RC_NONE)
			return -ENOMEM;
		net->addr[addr_to[i]].flags[1] |= b->addr[i].flags[1];
		net->addr[addr_to[i]].one_way[1] += b->addr[i].one_way[1];
		net->addr[addr_to[i]].both_ways[1] += b->addr[i].both_ways[1];
	}
	conn_to[0] = 0;
	net->conn[0].ev[1] = b->conn[0].ev[1];
	for (uint32_t i = 1; i < b->conn_n; i++) {
		const struct rc_conn *c = &b->conn[i];

		conn_to[i] = rc_net_conn(net, addr_to[c->addr[0]], c->port[0], addr_to[c->addr[1]],
					 c->port[1]);
		if (conn_to[i] == RC_NONE)
			return -ENOMEM;
		/* Endpoints are ordered by address, not by index: the order is B's, too. */
		net->conn[conn_to[i]].ev[1] = c->ev[1];
	}
	return 0;
}

/* Rows to their connection's place, in place: each row is swapped to where it belongs until the
 * one that belongs here has come (American flag sort).
 */
static void group(struct rc_side *sd, struct rc_net *net, uint32_t *next)
{
	int s = sd->idx;
	uint32_t at = 0;

	for (uint32_t c = 0; c <= net->conn_n; c++)
		net->conn[c].first[s] = 0;
	for (uint32_t i = 0; i < sd->row_n; i++)
		net->conn[sd->row[i].link].first[s]++;
	for (uint32_t c = 0; c <= net->conn_n; c++) {
		uint32_t n = net->conn[c].first[s];

		net->conn[c].first[s] = next[c] = at;
		at += n;
	}
	for (uint32_t c = 0; c < net->conn_n; c++) {
		while (next[c] < net->conn[c + 1].first[s]) {
			struct rc_row *row = &sd->row[next[c]], tmp;
			uint32_t to = row->link;

			if (to == c) {
				next[c]++;
				continue;
			}
			tmp = sd->row[next[to]];
			sd->row[next[to]++] = *row;
			*row = tmp;
		}
	}
}

static bool before(const struct rc_row *a, const struct rc_row *b)
{
	if (a->ts != b->ts)
		return a->ts < b->ts;
	/* Same time: an order that both sides agree on. */
	if (a->req_seq != b->req_seq)
		return (int32_t)(a->req_seq - b->req_seq) < 0;
	return a->off < b->off;
}

static void sift(struct rc_row *r, uint32_t i, uint32_t n)
{
	struct rc_row tmp = r[i];

	for (uint32_t k; (k = 2 * i + 1) < n; i = k) {
		if (k + 1 < n && before(&r[k], &r[k + 1]))
			k++;
		if (!before(&tmp, &r[k]))
			break;
		r[i] = r[k];
	}
	r[i] = tmp;
}

/* In place: insertion while short or nearly in order, as most connections are; heap sort beyond,
 * whose worst case is its usual one.
 */
static void sort_rows(struct rc_row *r, uint32_t n)
{
	struct rc_row tmp;
	uint64_t moves = 0, limit = 8ull * n + 64;
	uint32_t i, k;

	for (i = 1; i < n; i++) {
		tmp = r[i];
		for (k = i; k && before(&tmp, &r[k - 1]); k--, moves++)
			r[k] = r[k - 1];
		r[k] = tmp;
		if (moves > limit)
			break;
	}
	if (i >= n)
		return;
	for (i = n / 2; i-- > 0;)
		sift(r, i, n);
	for (i = n; i-- > 1;) {
		tmp = r[0];
		r[0] = r[i];
		r[i] = tmp;
		sift(r, 0, i);
	}
}

int rc_model_join(struct rc_model *m)
{
	struct rc_net *b = &m->side[1].net;
	uint32_t *addr_to = calloc(b->addr_n + 1ull, sizeof(*addr_to));
	uint32_t *conn_to = calloc(b->conn_n + 1ull, sizeof(*conn_to)), *next = NULL;
	int err = -ENOMEM;

	if (!addr_to || !conn_to)
		goto out;
	m->net = m->side[0].net;
	m->side[0].net = (struct rc_net){ 0 };
	if (join_net(&m->net, b, addr_to, conn_to))
		goto out;
	for (uint32_t i = 0; i < m->side[1].row_n; i++)
		m->side[1].row[i].link = conn_to[m->side[1].row[i].link];
	rc_net_fini(b);
	/* Nobody is looked up any more. */
	free(m->net.conn_hash);
	m->net.conn_hash = NULL;
	free(conn_to);
	conn_to = NULL;
	if (m->net.conn_n == m->net.conn_cap &&
	    grow(&m->net.conn, &m->net.conn_cap, sizeof(*m->net.conn)))
		goto out;
	next = calloc(m->net.conn_n + 1ull, sizeof(*next));
	if (!next)
		goto out;
	for (int s = 0; s < 2; s++) {
		struct rc_side *sd = &m->side[s];

		group(sd, &m->net, next);
		for (uint32_t c = 0; c < m->net.conn_n; c++) {
			uint32_t n, i;
			struct rc_row *r = rc_rows(m, s, c, &n);

			sort_rows(r, n);
			for (i = 0; i < n; i++)
				r[i].link = RC_NONE;
		}
	}
	err = 0;
out:
	free(addr_to);
	free(conn_to);
	free(next);
	return err;
}

void rc_model_fini(struct rc_model *m)
{
	rc_side_fini(&m->side[0]);
	rc_side_fini(&m->side[1]);
	rc_net_fini(&m->net);
}
