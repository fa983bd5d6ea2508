/* SPDX-License-Identifier: GPL-3.0-or-later */
/* evbuild.c: see evbuild.h. Fails by abort(): a test that cannot build its events is no test. */
#include "tests/lib/evbuild.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void *must(void *p)
{
	if (!p)
		abort();
	return p;
}

static void take(void *ctx, const struct osp_record *rec)
{
	struct rig *rig = ctx;
	void *mem = must(malloc(osp_record_size(rec)));

	if (rig->n == rig->cap) {
		rig->cap = rig->cap ? 2 * rig->cap : 64;
		rig->rec = must(realloc(rig->rec, rig->cap * sizeof(*rig->rec)));
	}
	rig->rec[rig->n++] = osp_record_copy(mem, rec);
}

static void start(struct rig *rig)
{
	static const struct osp_source_info info = {
		.mode = "synthetic", .origin = "synthetic", .host = "test", .kernel = "",
		.boot_id = "00000000-0000-0000-0000-000000000000", .wall_off_ns = 1000000,
	};

	memset(&rig->led, 0, sizeof(rig->led));
	rig->ts = 1000000;
	if (osp_tracker_new(&rig->trk, &rig->conf, &info, &rig->led, take, rig))
		abort();
}

static void drop(struct rig *rig)
{
	uint32_t i;

	osp_tracker_free(rig->trk);
	for (i = 0; i < rig->n; i++)
		free(rig->rec[i]);
	free(rig->rec);
	rig->rec = NULL;
	rig->n = rig->cap = 0;
}

void rig_open(struct rig *rig, const struct osp_tracker_conf *conf)
{
	memset(rig, 0, sizeof(*rig));
	if (conf)
		rig->conf = *conf;
	else
		osp_tracker_conf_default(&rig->conf);
	start(rig);
}

void rig_reset(struct rig *rig)
{
	drop(rig);
	start(rig);
}

void rig_close(struct rig *rig)
{
	drop(rig);
}

bool rig_sums(struct rig *rig)
{
	char why[256] = "";
	bool good = osp_ledger_closes(&rig->led, NULL, 0, true, why, sizeof(why));

	if (!good)
		printf("# %s\n", why);
	return good;
}

const struct osp_record *rig_rec(const struct rig *rig, int kind, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < rig->n; i++) {
		if (rig->rec[i]->kind == kind && n-- == 0)
			return rig->rec[i];
	}
	return NULL;
}

uint32_t rig_count(const struct rig *rig, int kind)
{
	uint32_t i, n = 0;

	for (i = 0; i < rig->n; i++)
		n += rig->rec[i]->kind == kind;
	return n;
}

uint64_t rig_stat(const struct rig *rig, enum osp_st id)
{
	return rig->led.v[id];
}

static struct osp_ev_hdr header(struct rig *rig, int kind, size_t len)
{
	rig->ts += 1000;
	return (struct osp_ev_hdr){ .len = (uint32_t)len, .abi = OSP_EV_ABI,
				    .kind = (uint8_t)kind, .ts_ns = rig->ts };
}

static void deliver(struct rig *rig, const void *ev)
{
	const struct osp_ev_hdr *h = ev;

	if (osp_event_check(h, h->len))
		abort();
	osp_tracker_event(rig->trk, h);
}

void evc_init(struct evc *conn, struct rig *rig, uint64_t id, uint32_t seq_tx, uint32_t seq_rx)
{
	static const uint8_t v4[12] = { [10] = 0xff, [11] = 0xff };

	memset(conn, 0, sizeof(*conn));
	conn->rig = rig;
	conn->id = id;
	conn->seq[OSP_TX] = seq_tx;
	conn->seq[OSP_RX] = seq_rx;
	conn->last_dir = -1;
	conn->tgid = 100;
	conn->tid = 101;
	conn->tuple.family = AF_INET;
	conn->tuple.transport = IPPROTO_TCP;
	conn->tuple.netns = 4026531840u;
	conn->tuple.lport = 8080;
	conn->tuple.rport = (uint16_t)(20000 + id % 40000);
	memcpy(conn->tuple.local, v4, 12);
	memcpy(conn->tuple.remote, v4, 12);
	memcpy(conn->tuple.local + 12, "\x0a\x00\x00\x09", 4);
	memcpy(conn->tuple.remote + 12, "\x0a\x00\x00\x07", 4);
}

void evc_open(struct evc *conn, int how, int role, int from)
{
	struct osp_ev_open ev = {
		.h = header(conn->rig, OSP_EV_OPEN, sizeof(ev)),
		.conn = conn->id,
		.tuple = conn->tuple,
		.seq = { conn->seq[OSP_TX], conn->seq[OSP_RX] },
		.tgid = conn->tgid,
		.how = (uint8_t)how,
		.role = (uint8_t)role,
		.role_from = (uint8_t)from,
		.vantage = OSP_VANTAGE_SYNTHETIC,
	};

	deliver(conn->rig, &ev);
}

static void turn(struct evc *conn, int dir)
{
	if (dir != conn->last_dir)
		conn->turn++;
	conn->last_dir = dir;
}

struct evd *evc_make(struct evc *conn, int dir, const void *p, uint32_t n, uint32_t cap, int cause)
{
	struct evd *evd = must(malloc(sizeof(*evd) + cap));

	turn(conn, dir);
	evd->ev = (struct osp_ev_data){
		.h = header(conn->rig, p ? OSP_EV_DATA : OSP_EV_GAP, sizeof(evd->ev) + cap),
		.conn = conn->id,
		.seq = conn->seq[dir],
		.bytes = n,
		.cap = cap,
		.lost = conn->lost[dir],
		.filtered = conn->filtered[dir],
		.turn = conn->turn,
		.tgid = conn->tgid,
		.tid = conn->tid,
		.dir = (uint8_t)dir,
		.cause = (uint8_t)cause,
		.vantage = OSP_VANTAGE_SYNTHETIC,
	};
	if (cap)
		memcpy(evd->data, p, cap);
	conn->seq[dir] += n;
	conn->lost[dir] = conn->filtered[dir] = 0;
	return evd;
}

void evc_deliver(struct evc *conn, struct evd *evd)
{
	deliver(conn->rig, &evd->ev);
	free(evd);
}

void evc_data(struct evc *conn, int dir, const void *p, uint32_t n)
{
	evc_deliver(conn, evc_make(conn, dir, p, n, n, 0));
}

void evc_str(struct evc *conn, int dir, const char *s)
{
	evc_data(conn, dir, s, (uint32_t)strlen(s));
}

void evc_gap(struct evc *conn, int dir, uint32_t n, int cause)
{
	evc_deliver(conn, evc_make(conn, dir, NULL, n, 0, cause));
}

void evc_lose(struct evc *conn, int dir, uint32_t n)
{
	evc_bypass(conn, dir, n);
	conn->lost[dir] += n;
}

void evc_bypass(struct evc *conn, int dir, uint32_t n)
{
	turn(conn, dir);
	conn->seq[dir] += n;
}

void evc_shut(struct evc *conn, int how)
{
	struct osp_ev_shut ev = {
		.h = header(conn->rig, OSP_EV_SHUT, sizeof(ev)),
		.conn = conn->id,
		.seq = how == OSP_SHUT_RESET ? 0 : conn->seq[how == OSP_SHUT_RX ? OSP_RX : OSP_TX],
		.how = (uint8_t)how,
	};

	deliver(conn->rig, &ev);
}

void evc_unix(struct evc *conn, uint64_t peer, const char *local, uint32_t local_n,
	      const char *remote, uint32_t remote_n)
{
	struct osp_ev_unix ev = {
		.h = header(conn->rig, OSP_EV_UNIX, sizeof(ev)),
		.conn = conn->id,
		.peer = peer,
		.netns = conn->tuple.netns,
		.len = { (uint16_t)local_n, (uint16_t)remote_n },
	};

	conn->tuple = (struct osp_tuple){ .family = AF_UNIX, .netns = ev.netns };
	if (local_n)
		memcpy(ev.name[OSP_UNIX_LOCAL], local, local_n);
	if (remote_n)
		memcpy(ev.name[OSP_UNIX_REMOTE], remote, remote_n);
	deliver(conn->rig, &ev);
}

void evc_close(struct evc *conn, int flags, uint32_t unread)
{
	struct osp_ev_close ev = {
		.h = header(conn->rig, OSP_EV_CLOSE, sizeof(ev)),
		.conn = conn->id,
		.tuple = conn->tuple,
		.end = { conn->seq[OSP_TX], conn->seq[OSP_RX] },
		.rcv_end = conn->seq[OSP_RX] + unread,
		.lost = { conn->lost[OSP_TX], conn->lost[OSP_RX] },
		.filtered = { conn->filtered[OSP_TX], conn->filtered[OSP_RX] },
		.turns = conn->turn,
		.srtt_us = 50,
		.flags = (uint8_t)flags,
	};

	deliver(conn->rig, &ev);
}

void rig_tick(struct rig *rig, uint64_t ns)
{
	struct osp_ev_tick ev;

	rig->ts += ns;
	ev = (struct osp_ev_tick){ .h = header(rig, OSP_EV_TICK, sizeof(ev)),
				   .wall_off_ns = 1000000 };
	deliver(rig, &ev);
}

void rig_proc(struct rig *rig, uint32_t tgid, const char *comm, const char *exe,
	      const char *cgroup)
{
	size_t a = strlen(exe) + 1, b = strlen(cgroup) + 1;
	struct osp_ev_proc *ev = must(calloc(1, sizeof(*ev) + a + b));

	ev->h = header(rig, OSP_EV_PROC, sizeof(*ev) + a + b);
	ev->tgid = tgid;
	ev->ns_tgid = 7;
	ev->uid = 33;
	ev->start_ns = 500;
	ev->str_len[0] = (uint16_t)a;
	ev->str_len[1] = (uint16_t)b;
	memcpy(ev->comm, comm, strnlen(comm, OSP_COMM_LEN));
	memcpy((char *)(ev + 1), exe, a);
	memcpy((char *)(ev + 1) + a, cgroup, b);
	deliver(rig, ev);
	free(ev);
}

bool slice_eq(struct osp_slice s, const char *want)
{
	return s.p && s.n == strlen(want) && !memcmp(s.p, want, s.n);
}
