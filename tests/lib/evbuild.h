/* SPDX-License-Identifier: GPL-3.0-or-later */
/* evbuild.h: events for tests, and a rig around a tracker that keeps the records it makes.
 *
 * A connection of the builder (struct evc) does what the kernel does: it knows its positions,
 * counts turns, and remembers what was lost for the next event that gets through. Time is the
 * rig's: each event is 1 us later than the one before it.
 */
#ifndef OSP_TESTS_EVBUILD_H
#define OSP_TESTS_EVBUILD_H

#include "agent/tracker.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rig {
	struct osp_tracker *trk;
	struct osp_ledger led;
	struct osp_tracker_conf conf;
	struct osp_record **rec;	/* copies, in order */
	uint32_t n, cap;
	uint64_t ts;
};

/* conf NULL: defaults. */
void rig_open(struct rig *rig, const struct osp_tracker_conf *conf);
/* Everything anew but the configuration. */
void rig_reset(struct rig *rig);
void rig_close(struct rig *rig);
/* The ledger's sums; says what is wrong. */
bool rig_sums(struct rig *rig);
/* The n-th record (from 0) of that kind; NULL: there are not so many. */
const struct osp_record *rig_rec(const struct rig *rig, int kind, uint32_t n);
uint32_t rig_count(const struct rig *rig, int kind);
uint64_t rig_stat(const struct rig *rig, enum osp_st id);

struct evc {
	struct rig *rig;
	uint64_t id;
	uint32_t seq[OSP_DIRS], lost[OSP_DIRS], filtered[OSP_DIRS];
	uint32_t turn, tgid, tid;
	int last_dir;
	struct osp_tuple tuple;
};

/* An event of one direction, ready to be delivered now or later, or never. */
struct evd {
	struct osp_ev_data ev;
	char data[];
};

/* A connection that is not announced yet; role: of the side that is watched. */
void evc_init(struct evc *conn, struct rig *rig, uint64_t id, uint32_t seq_tx, uint32_t seq_rx);
void evc_open(struct evc *conn, int how, int role, int from);
/* n bytes move: the event of it (malloc'ed; free it). It has taken what was lost before it. */
struct evd *evc_make(struct evc *conn, int dir, const void *p, uint32_t n, uint32_t cap, int cause);
void evc_deliver(struct evc *conn, struct evd *evd);
/* Makes and delivers, all at hand. */
void evc_data(struct evc *conn, int dir, const void *p, uint32_t n);
void evc_str(struct evc *conn, int dir, const char *s);
void evc_gap(struct evc *conn, int dir, uint32_t n, int cause);
/* Bytes move and the event is lost, its bytes remembered as the kernel does (or not: bypass). */
void evc_lose(struct evc *conn, int dir, uint32_t n);
void evc_bypass(struct evc *conn, int dir, uint32_t n);
void evc_shut(struct evc *conn, int how);
/* Makes it one between unix sockets: names as sun_path has them, n bytes each; peer: cookie. */
void evc_unix(struct evc *conn, uint64_t peer, const char *local, uint32_t local_n,
	      const char *remote, uint32_t remote_n);
void evc_close(struct evc *conn, int flags, uint32_t unread);
void rig_tick(struct rig *rig, uint64_t ns);
void rig_proc(struct rig *rig, uint32_t tgid, const char *comm, const char *exe,
	      const char *cgroup);

/* s as a string of a record. */
bool slice_eq(struct osp_slice s, const char *want);

#endif
