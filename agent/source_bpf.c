/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source_bpf.c: loads the kernel side, attaches it, and hands its events over in one order.
 *
 * Rings: data, one or several (a connection's data goes to one of them), and control (open, shut,
 * close, process), which a flood of data cannot fill. They are merged by time stamp, with two promises to whoever takes the events: the OPEN and PROC
 * that a data call caused come before its DATA, and the DATA of a connection comes before its
 * CLOSE. See drain().
 *
 * What the kernel cannot say is added here, so that a recording has it, too: the executable and
 * cgroup path of a process, and base positions and roles of connections that were open before us.
 */
#include "agent/source_bpf.h"
#include "agent/base/log.h"
#include "agent/gather.h"
#include "agent/procfs.h"
#include "agent/ring.h"
#include "bpf/osp_shared.h"

#include "bpf/osprey.skel.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define TICK_NS (100 * 1000000ull)
#define LOST_NS NS_PER_S
/* A hook wakes an agent that waits for longer than this when so much lies in a ring: what passes of a
 * long body before user space can say that nobody needs it.
 */
#define WAKE_NS 1000000ull
#define WAKE_BYTES (1u << 20)
/* How often closed unix sockets are looked for, and which part of the time that may take at most. */
#define SWEEP_NS (250 * 1000000ull)
#define SWEEP_PART 200
#define NETNS_MAX 4096

/* include/net/tcp_states.h */
#define TCP_CLOSE 7
#define TCP_LISTEN 10

/* Control events of a round, in order of time: a ring's order is that of reservation. */
struct marked {
	const struct osp_ev_hdr **ev;
	uint32_t n, next, room;
};

/* An entry as the kernel compares it. */
struct filter_key {
	enum osp_filter_kind kind;
	union {
		uint8_t bytes[24];	/* for comparing; what a kind does not use is zero */
		uint32_t u32;		/* pid, netns, role's bit */
		uint16_t port;
		uint64_t cgroup;
		char comm[OSP_COMM_LEN];
		struct osp_exe_key exe;
		struct osp_cidr_key cidr;
	};
};

struct filter_set {
	struct filter_key *key;
	size_t n;
	uint32_t classes, roles;
};

/* A data ring in the round under way. */
struct data_ring {
	struct osp_ring ring;
	int fd;				/* ours, but for the first */
	unsigned long mark;
	const struct osp_ev_hdr *head;	/* the next event; NULL: none below the mark */
	bool held_up;			/* the next event is not finished */
};

_Static_assert(OSP_GATHER_MAX == OSP_TINY_MAX, "what the option takes is what fits");

struct bpf_source {
	struct osp_source src;
	struct osprey_bpf *skel;
	struct data_ring data[OSP_RINGS_MAX];
	uint32_t rings;
	struct osp_ring ctl;
	struct osp_gather gathered;
	int wait_fd;
	bool stopped, ended;
	uint64_t tick_at, lost_at, sweep_at;	/* CLOCK_BOOTTIME ns of the next one */
	uint64_t taken;			/* events read from the rings */
	struct marked begins, ends;	/* of the round under way */
	unsigned long ctl_begun;	/* control events before it that begin something are out */
	struct osp_seed *seed;		/* sorted by conn */
	size_t seed_n;
	bool unix_too;
	/* Cookies of the unix sockets that were there at old_ns, sorted; blind: not those of every
	 * network namespace, but of ours.
	 */
	uint64_t *old;
	size_t old_n, old_room;
	uint64_t old_ns;
	uint32_t own_ns;
	bool blind, old_failed;
	int cpus;
	struct osp_counters *percpu;
	struct osp_way *ways;
	const char *mode;
	const struct osp_filter *filter;
	struct filter_set in_force;	/* what the maps hold */
	pthread_mutex_t skip_lock;	/* of the three below, for shards have threads of their own */
	uint32_t skip_serial;
	bool skip_new, skip_said;	/* in this poll: osp_skips changed; and the programs know */
	char host[65], kernel[65], boot_id[40];
};

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Wall clock minus boot clock: the wall clock is read between two reads of the other. */
static int64_t wall_off(void)
{
	uint64_t before = clock_ns(CLOCK_BOOTTIME);
	uint64_t wall = clock_ns(CLOCK_REALTIME);
	uint64_t after = clock_ns(CLOCK_BOOTTIME);

	return (int64_t)(wall - (before + (after - before) / 2));
}

/* ---- what the kernel can't say ---------------------------------------------------------- */

static int by_conn(const void *a, const void *b)
{
	const struct osp_seed *x = a, *y = b;

	return x->open.conn < y->open.conn ? -1 : x->open.conn > y->open.conn;
}

/* A connection that was open before us, at its first data: what the scan at start knows of it. */
static const struct osp_ev_open *with_seed(struct bpf_source *src, const struct osp_ev_open *open)
{
	struct osp_seed key = { .open.conn = open->conn }, *seed;

	if (open->how != OSP_OPEN_SIGHT || !src->seed_n)
		return open;
	seed = bsearch(&key, src->seed, src->seed_n, sizeof(key), by_conn);
	return seed ? &seed->open : open;
}

static int by_cookie(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The hooks cannot tell a new unix socket from one that was there before us; the scan can. */
static const struct osp_ev_open *unix_open(const struct bpf_source *src,
					   const struct osp_ev_open *open, struct osp_ev_open *buf)
{
	if (open->tuple.family != AF_UNIX || src->old_failed || open->h.ts_ns <= src->old_ns ||
	    (src->blind && open->tuple.netns != src->own_ns) ||
	    (src->old_n &&
	     bsearch(&open->conn, src->old, src->old_n, sizeof(*src->old), by_cookie)))
		return open;
	*buf = *open;
	buf->how = OSP_OPEN_ESTABLISHED;
	return buf;
}

static int with_names(const struct osp_ev_proc *proc, osp_ev_fn fn, void *ctx)
{
	struct {
		struct osp_ev_proc proc;
		char str[4096 + 4096 + 8];
	} full = { .proc = *proc };
	size_t exe = 0, cgroup = 0;

	if (osp_procfs_is(proc->tgid, proc->start_ns)) {
		exe = osp_procfs_exe(proc->tgid, full.str, 4096);
		exe += exe ? 1 : 0;
		cgroup = osp_procfs_cgroup(proc->tgid, full.str + exe, 4096);
		cgroup += cgroup ? 1 : 0;
	}
	full.proc.str_len[0] = (uint16_t)exe;
	full.proc.str_len[1] = (uint16_t)cgroup;
	full.proc.h.len = (uint32_t)(sizeof(full.proc) + exe + cgroup);
	return fn(ctx, &full.proc.h);
}

static int hand_over(struct bpf_source *src, const struct osp_ev_hdr *ev, osp_ev_fn fn, void *ctx)
{
	struct osp_ev_open buf;

	if (ev->kind == OSP_EV_OPEN && src->unix_too)
		ev = &unix_open(src, (const struct osp_ev_open *)ev, &buf)->h;
	if (ev->kind == OSP_EV_OPEN)
		ev = &with_seed(src, (const struct osp_ev_open *)ev)->h;
	else if (ev->kind == OSP_EV_PROC)
		return with_names((const struct osp_ev_proc *)ev, fn, ctx);
	return fn(ctx, ev);
}

/* ---- counters and clock ----------------------------------------------------------------- */

/* Of those below, what another program did instead. */
static uint64_t made_up_for(struct bpf_source *src)
{
	int fd = bpf_map__fd(src->skel->maps.osp_ways);
	uint64_t sum = 0;

	for (uint32_t way = 0; way < OSP_WAYS; way++) {
		if (bpf_map_lookup_elem(fd, &way, src->ways))
			continue;
		for (int cpu = 0; cpu < src->cpus; cpu++)
			sum += src->ways[cpu].again;
	}
	return sum;
}

/* Runs of a program that found another one on the same CPU; 0 before 5.12. */
static uint64_t missed_runs(struct bpf_source *src)
{
	const struct bpf_program *const progs[] = {
		src->skel->progs.osp_sock_send, src->skel->progs.osp_sock_recv,
		src->skel->progs.osp_sys_exit, src->skel->progs.osp_sys_exit_plain,
		src->skel->progs.osp_established, src->skel->progs.osp_ending,
		src->skel->progs.osp_destroy,
	};
	uint64_t missed = 0, again = made_up_for(src);

	for (size_t i = 0; i < sizeof(progs) / sizeof(*progs); i++) {
		struct bpf_prog_info info = {};
		__u32 len = sizeof(info);
		int fd = bpf_program__fd(progs[i]);

		if (fd >= 0 && !bpf_obj_get_info_by_fd(fd, &info, &len))
			missed += info.recursion_misses;
	}
	return missed > again ? missed - again : 0;
}

/* The kernel's counters, all CPUs and both sets (COUNT_DATA, COUNT_CTL) added up. */
static void read_counters(struct bpf_source *src, struct osp_ev_lost *ev)
{
	uint64_t *sum = (uint64_t *)(ev + 1) - sizeof(struct osp_counters) / 8;
	int fd = bpf_map__fd(src->skel->maps.osp_count);
	uint32_t sets = bpf_map__max_entries(src->skel->maps.osp_count);

	memset(ev, 0, sizeof(*ev));
	ev->h = (struct osp_ev_hdr){ .len = sizeof(*ev), .abi = OSP_EV_ABI, .kind = OSP_EV_LOST,
				     .ts_ns = clock_ns(CLOCK_BOOTTIME) };
	for (uint32_t set = 0; set < sets; set++) {
		if (bpf_map_lookup_elem(fd, &set, src->percpu))
			continue;
		for (int cpu = 0; cpu < src->cpus; cpu++)
			for (size_t i = 0; i < sizeof(struct osp_counters) / 8; i++)
				sum[i] += ((uint64_t *)&src->percpu[cpu])[i];
	}
	ev->lost[OSP_LOST_NESTED] = missed_runs(src);
	ev->seen += ev->lost[OSP_LOST_NESTED] + src->gathered.taken;
	ev->delivered += src->gathered.taken;
}

static int tick(struct bpf_source *src, uint64_t now, osp_ev_fn fn, void *ctx)
{
	struct osp_ev_tick ev = {
		.h = { .len = sizeof(ev), .abi = OSP_EV_ABI, .kind = OSP_EV_TICK, .ts_ns = now },
		.wall_off_ns = wall_off(),
	};

	src->tick_at = now + TICK_NS;
	return fn(ctx, &ev.h);
}

static int report_lost(struct bpf_source *src, osp_ev_fn fn, void *ctx)
{
	struct osp_ev_lost ev;

	read_counters(src, &ev);
	src->lost_at = ev.h.ts_ns + LOST_NS;
	return fn(ctx, &ev.h);
}

/* ---- the rings -------------------------------------------------------------------------- */

static bool ends_something(const struct osp_ev_hdr *ev)
{
	return ev->kind == OSP_EV_CLOSE || ev->kind == OSP_EV_SHUT;
}

/* The well-formed event at or behind *pos, NULL if there is none below the mark. */
static const struct osp_ev_hdr *event_at(struct osp_ring *ring, unsigned long *pos,
					 unsigned long mark, int *busy)
{
	const struct osp_ev_hdr *ev;
	uint32_t size;

	for (;; *pos = osp_ring_after(ring, *pos)) {
		ev = osp_ring_at(ring, pos, mark, &size, busy);
		if (!ev || !osp_event_check(ev, size))
			return ev;
		osp_warn("an event from the kernel is malformed (kind %u, %u bytes)", ev->kind,
			 ev->len);
	}
}

static int by_time(const void *a, const void *b)
{
	const struct osp_ev_hdr *x = *(const struct osp_ev_hdr *const *)a;
	const struct osp_ev_hdr *y = *(const struct osp_ev_hdr *const *)b;

	if (x->ts_ns != y->ts_ns)
		return x->ts_ns < y->ts_ns ? -1 : 1;
	return x < y ? -1 : 1;
}

/* Marks the control events from *pos up to the mark that end something, or those that do not.
 * -EAGAIN: one is not finished yet, *pos is at it.
 */
static int mark_events(struct bpf_source *src, struct marked *out, unsigned long *pos,
		       unsigned long mark, bool ends)
{
	const struct osp_ev_hdr *ev;
	int busy;

	out->n = out->next = 0;
	for (; (ev = event_at(&src->ctl, pos, mark, &busy)); *pos = osp_ring_after(&src->ctl, *pos)) {
		if (ends_something(ev) != ends)
			continue;
		if (out->n == out->room) {
			uint32_t room = out->room ? out->room * 2 : 256;
			const struct osp_ev_hdr **grown;

			grown = realloc(out->ev, room * sizeof(*grown));
			if (!grown)
				return -ENOMEM;
			out->ev = grown;
			out->room = room;
		}
		out->ev[out->n++] = ev;
	}
	if (out->n > 1)
		qsort(out->ev, out->n, sizeof(*out->ev), by_time);
	return busy ? -EAGAIN : 0;
}

static const struct osp_ev_hdr *next_of(const struct marked *m)
{
	return m->next < m->n ? m->ev[m->next] : NULL;
}

/* Finds the ring's next event. */
static void look(struct data_ring *d)
{
	int busy = 0;

	d->head = d->held_up ? NULL : event_at(&d->ring, &d->ring.pos, d->mark, &busy);
	d->held_up = d->held_up || busy;
}

static void step(struct data_ring *d)
{
	osp_ring_done(&d->ring, osp_ring_after(&d->ring, d->ring.pos));
	look(d);
}

/* The data ring with the oldest event, NULL: none has any. */
static struct data_ring *oldest(struct bpf_source *src)
{
	struct data_ring *min = NULL;

	for (struct data_ring *d = src->data; d < src->data + src->rings; d++)
		if (d->head && (!min || d->head->ts_ns < min->head->ts_ns))
			min = d;
	return min;
}

static bool held_up(const struct bpf_source *src)
{
	for (uint32_t i = 0; i < src->rings; i++)
		if (src->data[i].held_up)
			return true;
	return false;
}

/* Data and both kinds of control events by time; each data ring is taken in its order. */
static int merge(struct bpf_source *src, osp_ev_fn fn, void *ctx, int *n)
{
	for (;;) {
		struct data_ring *ring = oldest(src);
		const struct osp_ev_hdr *d = ring ? ring->head : NULL, *b = next_of(&src->begins);
		const struct osp_ev_hdr *e = next_of(&src->ends), *ev;
		const struct osp_ev_hdr *g = osp_gather_next(&src->gathered);
		int rc;

		/* What follows an unfinished event may end what it belongs to. */
		if (held_up(src))
			e = NULL;
		ev = g && (!d || g->ts_ns < d->ts_ns) ? g : d;
		ev = e && (!ev || e->ts_ns < ev->ts_ns) ? e : ev;
		if (b && (!ev || b->ts_ns <= ev->ts_ns))
			ev = b;
		if (!ev)
			return held_up(src) ? -EAGAIN : 0;
		src->taken++;
		++*n;
		rc = hand_over(src, ev, fn, ctx);
		if (ev == d)
			step(ring);
		else if (ev == g)
			src->gathered.next++;
		else
			(ev == b ? &src->begins : &src->ends)->next++;
		if (rc < 0)
			return rc;
	}
}

/* Everything that is in the rings now. The marks make the two promises:
 *
 *   end_mark    taken first: a CLOSE below it has all its DATA below its ring's mark, or gathered
 *   gathered    taken then: what is not there any more is in a ring
 *   data marks  then
 *   begin_mark  taken last: a DATA below its ring's mark has its OPEN and PROC below it
 *
 * Merging by time keeps them within a round: an event is stamped before its room is reserved, so
 * whatever a CLOSE follows was stamped before it, and a call is stamped after its OPEN and PROC.
 * Events that end something stay in the ring until their round is through.
 */
static int drain(struct bpf_source *src, osp_ev_fn fn, void *ctx)
{
	unsigned long end_mark = osp_ring_mark(&src->ctl), begin_mark;
	unsigned long end_pos = src->ctl.pos;
	bool all = osp_gather_take(&src->gathered);
	int n = 0, rc;

	for (uint32_t i = 0; i < src->rings; i++)
		src->data[i].mark = osp_ring_mark(&src->data[i].ring);
	begin_mark = osp_ring_mark(&src->ctl);
	rc = mark_events(src, &src->begins, &src->ctl_begun, begin_mark, false);
	src->ends.n = src->ends.next = 0;
	if (rc == -EAGAIN) {
		/* Data behind it may be its own: only what has begun goes out. */
		for (uint32_t i = 0; i < src->rings; i++)
			src->data[i].mark = src->data[i].ring.pos;
		src->gathered.mark = src->gathered.next;
		rc = 0;
	} else if (!rc && all) {
		rc = mark_events(src, &src->ends, &end_pos, end_mark, true);
	}
	for (uint32_t i = 0; i < src->rings; i++) {
		src->data[i].held_up = false;
		look(&src->data[i]);
	}
	if (!rc)
		rc = merge(src, fn, ctx, &n);
	if (!rc && src->ends.next == src->ends.n && (long)(end_pos - src->ctl.pos) > 0)
		osp_ring_done(&src->ctl, end_pos);
	for (uint32_t i = 0; i < src->rings; i++)
		osp_ring_publish(&src->data[i].ring);
	osp_ring_publish(&src->ctl);
	return rc < 0 && rc != -EAGAIN ? rc : n;
}

/* After the programs are detached: until every event they made is here. Producers are at most in
 * the middle of an event, so this ends by itself; the deadline is for a kernel that miscounts.
 */
static int drain_rest(struct bpf_source *src, osp_ev_fn fn, void *ctx)
{
	uint64_t deadline = clock_ns(CLOCK_MONOTONIC) + NS_PER_S;
	struct osp_ev_lost ev;
	int rc;

	do {
		do {
			rc = drain(src, fn, ctx);
			if (rc < 0)
				return rc;
		} while (rc > 0);
		read_counters(src, &ev);
		if (src->taken >= ev.delivered && !src->skel->bss->osp_tiny_held)
			break;
		usleep(1000);
	} while (clock_ns(CLOCK_MONOTONIC) < deadline);
	if (src->taken != ev.delivered)
		osp_warn("the kernel made %llu events, %llu arrived",
			 (unsigned long long)ev.delivered, (unsigned long long)src->taken);
	return fn(ctx, &ev.h);
}

/* ---- what nobody needs ------------------------------------------------------------------ */

/* Has every socket that moves data look into osp_skips once. The first change of a poll is told at
 * once, those that follow together: sockets of which nothing is skipped pay for each.
 */
static void tell_skips(struct bpf_source *src, bool now)
{
	if (!src->skip_new || (src->skip_said && !now))
		return;
	__atomic_fetch_add(&src->skel->bss->osp_live.skip_gen, 1, __ATOMIC_RELEASE);
	src->skip_new = false;
	src->skip_said = true;
}

/* A full map or no memory: the bytes are copied as before. */
static void bpf_skip(struct osp_source *base, uint64_t conn, uint32_t dirs,
		     const uint32_t until[OSP_DIRS])
{
	struct bpf_source *src = (struct bpf_source *)base;
	struct osp_skip skip = { .dirs = dirs, .until = { until[OSP_TX], until[OSP_RX] } };

	if (__atomic_load_n(&src->stopped, __ATOMIC_RELAXED))
		return;
	pthread_mutex_lock(&src->skip_lock);
	if (!++src->skip_serial)
		src->skip_serial = 1;
	skip.serial = src->skip_serial;
	if (!bpf_map_update_elem(bpf_map__fd(src->skel->maps.osp_skips), &conn, &skip, BPF_ANY))
		src->skip_new = true;
	tell_skips(src, false);
	pthread_mutex_unlock(&src->skip_lock);
}

static void bpf_unskip(struct osp_source *base, uint64_t conn)
{
	struct bpf_source *src = (struct bpf_source *)base;

	bpf_map_delete_elem(bpf_map__fd(src->skel->maps.osp_skips), &conn);
}

/* Has the kernel side look for unix sockets that are gone; their CLOSE comes by the ring. */
static void sweep(struct bpf_source *src, uint64_t now)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	uint64_t pause;

	if (bpf_prog_test_run_opts(bpf_program__fd(src->skel->progs.osp_unix_sweep), &opts)) {
		osp_warn("ends of unix sockets are not seen: %s", strerror(errno));
		src->sweep_at = UINT64_MAX;
		return;
	}
	pause = (clock_ns(CLOCK_BOOTTIME) - now) * SWEEP_PART;
	src->sweep_at = now + (pause > SWEEP_NS ? pause : SWEEP_NS);
}

static int bpf_poll(struct osp_source *base, osp_ev_fn fn, void *ctx)
{
	struct bpf_source *src = (struct bpf_source *)base;
	uint64_t now = clock_ns(CLOCK_BOOTTIME);
	struct epoll_event woken;
	int n, rc = 0;

	if (src->ended)
		return -ENODATA;
	if (src->stopped) {
		src->ended = true;
		if (src->unix_too)
			sweep(src, now);
		rc = drain_rest(src, fn, ctx);
		if (rc >= 0)
			rc = tick(src, clock_ns(CLOCK_BOOTTIME), fn, ctx);
		return rc < 0 ? rc : 1;
	}
	__atomic_store_n(&src->skel->bss->osp_live.sleeping, 0, __ATOMIC_RELAXED);
	/* Takes the wake-up, if there was one: to who waits on it the epoll fd stays readable until
	 * then, edge-triggered or not.
	 */
	epoll_wait(src->wait_fd, &woken, 1, 0);
	if (src->unix_too && now >= src->sweep_at)
		sweep(src, clock_ns(CLOCK_BOOTTIME));
	n = drain(src, fn, ctx);
	pthread_mutex_lock(&src->skip_lock);
	tell_skips(src, true);
	src->skip_said = false;
	pthread_mutex_unlock(&src->skip_lock);
	if (n < 0)
		return n;
	if (now >= src->tick_at)
		rc = tick(src, now, fn, ctx);
	if (rc >= 0 && now >= src->lost_at)
		rc = report_lost(src, fn, ctx);
	return rc < 0 ? rc : n;
}

/* Hooks look at how full their ring is only while it is worth a wake-up. */
static int bpf_wait_fd(const struct osp_source *base, uint64_t ns)
{
	const struct bpf_source *src = (const struct bpf_source *)base;

	if (ns <= WAKE_NS)
		return -1;
	__atomic_store_n(&src->skel->bss->osp_live.sleeping, 1, __ATOMIC_RELAXED);
	return src->wait_fd;
}

static void bpf_stop(struct osp_source *base)
{
	struct bpf_source *src = (struct bpf_source *)base;

	if (src->stopped)
		return;
	osprey_bpf__detach(src->skel);
	__atomic_store_n(&src->stopped, true, __ATOMIC_RELAXED);
}

static void bpf_info(const struct osp_source *base, struct osp_source_info *out)
{
	const struct bpf_source *src = (const struct bpf_source *)base;

	*out = (struct osp_source_info){ .mode = src->mode, .origin = src->mode,
					 .host = src->host, .kernel = src->kernel,
					 .boot_id = src->boot_id, .wall_off_ns = wall_off() };
}

static void bpf_fill(const struct osp_source *base, struct osp_source_fill *out)
{
	const struct bpf_source *src = (const struct bpf_source *)base;

	*out = (struct osp_source_fill){
		.ctl_bytes = osp_ring_mark(&src->ctl) - src->ctl.published,
		.ctl_size = src->ctl.size,
	};
	for (uint32_t i = 0; i < src->rings; i++) {
		const struct osp_ring *ring = &src->data[i].ring;

		out->data_bytes += osp_ring_mark(ring) - ring->published;
		out->data_size += ring->size;
	}
}

static void bpf_close(struct osp_source *base)
{
	struct bpf_source *src = (struct bpf_source *)base;

	if (!src)
		return;
	if (src->wait_fd >= 0)
		close(src->wait_fd);
	for (uint32_t i = 0; i < src->rings; i++) {
		osp_ring_fini(&src->data[i].ring);
		if (i)
			close(src->data[i].fd);
	}
	osp_ring_fini(&src->ctl);
	osp_gather_fini(&src->gathered);
	osprey_bpf__destroy(src->skel);
	free(src->in_force.key);
	free(src->percpu);
	free(src->ways);
	free(src->begins.ev);
	free(src->ends.ev);
	free(src->seed);
	pthread_mutex_destroy(&src->skip_lock);
	free(src->old);
	free(src);
}

/* ---- filters ---------------------------------------------------------------------------- */

static uint32_t class_of(enum osp_filter_kind kind)
{
	static const uint32_t class[OSP_FILTER_KINDS] = {
		[OSP_FILTER_PID] = OSP_FC_PID, [OSP_FILTER_COMM] = OSP_FC_COMM,
		[OSP_FILTER_EXE] = OSP_FC_EXE, [OSP_FILTER_PORT] = OSP_FC_PORT,
		[OSP_FILTER_CIDR] = OSP_FC_CIDR, [OSP_FILTER_CGROUP] = OSP_FC_CGROUP,
		[OSP_FILTER_NETNS] = OSP_FC_NETNS, [OSP_FILTER_ROLE] = OSP_FC_ROLE,
	};

	return class[kind];
}

/* NULL: not in a map (role). */
static struct bpf_map *map_of(struct osprey_bpf *skel, enum osp_filter_kind kind)
{
	struct bpf_map *const map[OSP_FILTER_KINDS] = {
		[OSP_FILTER_PID] = skel->maps.osp_f_pid,
		[OSP_FILTER_COMM] = skel->maps.osp_f_comm,
		[OSP_FILTER_EXE] = skel->maps.osp_f_exe,
		[OSP_FILTER_PORT] = skel->maps.osp_f_port,
		[OSP_FILTER_CIDR] = skel->maps.osp_f_cidr,
		[OSP_FILTER_CGROUP] = skel->maps.osp_f_cgroup,
		[OSP_FILTER_NETNS] = skel->maps.osp_f_netns,
	};

	return map[kind];
}

static struct filter_key key_of(const struct osp_filter_entry *e)
{
	struct filter_key key = { .kind = e->kind };

	switch (e->kind) {
	case OSP_FILTER_COMM:
		snprintf(key.comm, sizeof(key.comm), "%s", e->text);
		break;
	case OSP_FILTER_EXE:
		key.exe = (struct osp_exe_key){ .ino = e->num, .dev = e->dev };
		break;
	case OSP_FILTER_PORT:
		key.port = (uint16_t)e->num;
		break;
	case OSP_FILTER_CIDR:
		key.cidr.prefixlen = e->prefix;
		memcpy(key.cidr.addr, e->addr, sizeof(key.cidr.addr));
		break;
	case OSP_FILTER_CGROUP:
		key.cgroup = e->num;
		break;
	case OSP_FILTER_ROLE:
		key.u32 = 1u << e->num;
		break;
	default:
		key.u32 = (uint32_t)e->num;
	}
	return key;
}

static int set_of(struct filter_set *set, const struct osp_filter *flt)
{
	*set = (struct filter_set){ .classes = flt && flt->follow ? OSP_FC_FOLLOW : 0 };
	if (!flt || !flt->n)
		return 0;
	set->key = calloc(flt->n, sizeof(*set->key));
	if (!set->key)
		return -ENOMEM;
	for (; set->n < flt->n; set->n++) {
		struct filter_key *key = &set->key[set->n];

		*key = key_of(&flt->entry[set->n]);
		set->classes |= class_of(key->kind);
		set->roles |= key->kind == OSP_FILTER_ROLE ? key->u32 : 0;
	}
	return 0;
}

static bool has_key(const struct filter_set *set, const struct filter_key *key)
{
	for (size_t i = 0; i < set->n; i++)
		if (set->key[i].kind == key->kind &&
		    !memcmp(set->key[i].bytes, key->bytes, sizeof(key->bytes)))
			return true;
	return false;
}

/* Takes out of the maps the first n keys of set that are not in keep. A pid whose process has
 * ended is out already.
 */
static void remove_keys(struct osprey_bpf *skel, const struct filter_set *set, size_t n,
			const struct filter_set *keep)
{
	for (size_t i = 0; i < n; i++) {
		struct bpf_map *map = map_of(skel, set->key[i].kind);

		if (map && !has_key(keep, &set->key[i]))
			bpf_map_delete_elem(bpf_map__fd(map), set->key[i].bytes);
	}
}

/* All or none. */
static int add_keys(struct osprey_bpf *skel, const struct filter_set *set,
		    const struct filter_set *have, const struct osp_filter *flt)
{
	uint8_t yes = 1;

	for (size_t i = 0; i < set->n; i++) {
		struct bpf_map *map = map_of(skel, set->key[i].kind);
		int err;

		if (!map || has_key(have, &set->key[i]) ||
		    !bpf_map_update_elem(bpf_map__fd(map), set->key[i].bytes, &yes, BPF_ANY))
			continue;
		err = -errno;
		osp_err("filter %s: %s", flt->entry[i].text,
			err == -E2BIG ? "too many of its kind" : strerror(-err));
		remove_keys(skel, set, i, have);
		return err;
	}
	return 0;
}

/* Until no program runs that may have read osp_live before the call: they run under RCU, and this
 * command waits for a grace period (kernel/sched/membarrier.c), but not with nohz_full.
 */
static void wait_for_programs(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0))
		usleep(10000);
}

/* Puts flt in force. Nothing is missed that both the old and the new filters want: first the maps
 * hold the entries of both, then the classes change in one store, and only when no program works
 * with the old ones do entries go. The new gen has every socket ask again.
 */
static int set_filters(struct bpf_source *src, const struct osp_filter *flt)
{
	struct osp_live *live = &src->skel->bss->osp_live;
	struct filter_set set;
	int err = set_of(&set, flt);

	if (!err)
		err = add_keys(src->skel, &set, &src->in_force, flt);
	if (err) {
		free(set.key);
		return err;
	}
	__atomic_store_n(&live->roles, live->roles | set.roles, __ATOMIC_RELAXED);
	__atomic_store_n(&live->classes, set.classes, __ATOMIC_RELEASE);
	if (src->in_force.n)
		wait_for_programs();
	remove_keys(src->skel, &src->in_force, src->in_force.n, &set);
	__atomic_store_n(&live->roles, set.roles, __ATOMIC_RELAXED);
	__atomic_fetch_add(&live->gen, 1, __ATOMIC_RELEASE);
	free(src->in_force.key);
	src->in_force = set;
	return 0;
}

/* Children that --follow found stay wanted until they end, whatever becomes of their parent's
 * entry.
 */
static int bpf_reload(struct osp_source *base)
{
	struct bpf_source *src = (struct bpf_source *)base;

	return set_filters(src, src->filter);
}

/* ---- what is open already --------------------------------------------------------------- */

struct seeds {
	struct osp_seed *v;
	size_t n, room;
};

static int read_seeds(struct bpf_source *src, struct seeds *out)
{
	int link_fd = bpf_link__fd(src->skel->links.osp_iter_tcp);
	int fd = bpf_iter_create(link_fd), err = 0;
	ssize_t n;

	if (fd < 0)
		return -errno;
	for (;;) {
		if (out->room - out->n < 256) {
			size_t room = out->room ? out->room * 2 : 1024;
			struct osp_seed *v = realloc(out->v, room * sizeof(*v));

			if (!v) {
				err = -ENOMEM;
				break;
			}
			out->v = v;
			out->room = room;
		}
		/* Whole records only: the iterator's reads end at one. */
		n = read(fd, out->v + out->n, (out->room - out->n) * sizeof(*out->v));
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n <= 0)
			break;
		out->n += (size_t)n / sizeof(*out->v);
	}
	close(fd);
	return err;
}

/* The same for unix sockets. */
static void read_unix(struct bpf_source *src)
{
	int fd = bpf_iter_create(bpf_link__fd(src->skel->links.osp_iter_unix));
	ssize_t n = fd < 0 ? -1 : 1;

	while (n > 0 || (n < 0 && fd >= 0 && errno == EAGAIN)) {
		if (src->old_room - src->old_n < 512) {
			size_t room = src->old_room ? src->old_room * 2 : 4096;
			uint64_t *grown = realloc(src->old, room * sizeof(*grown));

			if (!grown) {
				n = -1;
				break;
			}
			src->old = grown;
			src->old_room = room;
		}
		n = read(fd, src->old + src->old_n,
			 (src->old_room - src->old_n) * sizeof(*src->old));
		if (n > 0)
			src->old_n += (size_t)n / sizeof(*src->old);
	}
	src->old_failed |= n < 0;
	if (fd >= 0)
		close(fd);
}

/* iter/tcp shows one network namespace, that of the thread which reads it. Returns whether we are
 * in it now: that takes CAP_SYS_ADMIN, without which other namespaces' old connections have no seed.
 */
static bool read_seeds_in(struct bpf_source *src, struct seeds *out, const char *ns_path)
{
	int fd = open(ns_path, O_RDONLY | O_CLOEXEC);
	bool there = fd >= 0 && !setns(fd, CLONE_NEWNET);

	if (there)
		read_seeds(src, out);
	if (there && src->unix_too)
		read_unix(src);
	if (fd >= 0)
		close(fd);
	return there;
}

/* Whether we have left our own namespace. */
static bool read_other_netns(struct bpf_source *src, struct seeds *out, ino_t own)
{
	DIR *dir = opendir("/proc");
	ino_t *done = calloc(NETNS_MAX, sizeof(*done));
	struct dirent *de;
	size_t n = 0, i;
	bool left = false;

	if (!dir || !done)
		goto out;
	done[n++] = own;
	while ((de = readdir(dir)) && n < NETNS_MAX) {
		char path[300];
		struct stat st;

		if (*de->d_name < '0' || *de->d_name > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/ns/net", de->d_name);
		if (stat(path, &st))
			continue;
		for (i = 0; i < n && done[i] != st.st_ino; i++)
			;
		if (i < n)
			continue;
		done[n++] = st.st_ino;
		if (read_seeds_in(src, out, path))
			left = true;
		else if (access(path, F_OK))
			n--;	/* the process has ended; another may be in there */
		else
			src->blind = true;
	}
out:
	free(done);
	if (dir)
		closedir(dir);
	return left;
}

static int by_listener(const void *a, const void *b)
{
	const struct osp_tuple *x = &((const struct osp_seed *)a)->open.tuple;
	const struct osp_tuple *y = &((const struct osp_seed *)b)->open.tuple;

	if (x->netns != y->netns)
		return x->netns < y->netns ? -1 : 1;
	return (int)x->lport - (int)y->lport;
}

static bool is_local(const struct osp_tuple *t)
{
	static const uint8_t v4[13] = { [10] = 0xff, [11] = 0xff, [12] = 127 };
	static const uint8_t v6[16] = { [15] = 1 };

	return !memcmp(t->remote, v4, 13) || !memcmp(t->remote, v6, 16) ||
	       !memcmp(t->local, t->remote, 16);
}

/* A listening socket with the connection's local port makes it the server's end; one with the
 * remote port, and the peer on this host, the client's.
 */
static void seed_role(struct osp_seed *seed, const struct osp_seed *listen, size_t listen_n)
{
	struct osp_seed key = { .open.tuple = { .netns = seed->open.tuple.netns,
						.lport = seed->open.tuple.lport } };

	if (bsearch(&key, listen, listen_n, sizeof(key), by_listener)) {
		seed->open.role = OSP_ROLE_SERVER;
		seed->open.role_from = OSP_FROM_LISTEN;
		return;
	}
	key.open.tuple.lport = seed->open.tuple.rport;
	if (is_local(&seed->open.tuple) &&
	    bsearch(&key, listen, listen_n, sizeof(key), by_listener)) {
		seed->open.role = OSP_ROLE_CLIENT;
		seed->open.role_from = OSP_FROM_LISTEN;
	}
}

/* Fails soft: without it such connections have no known role until they speak. */
static void find_seeds(struct bpf_source *src)
{
	struct seeds all = {}, listen = {};
	struct stat st;
	int own, err;

	if (!src->skel->links.osp_iter_tcp)
		return;
	own = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	err = read_seeds(src, &all);
	if (src->unix_too)
		read_unix(src);
	src->own_ns = own >= 0 && !fstat(own, &st) ? (uint32_t)st.st_ino : 0;
	if (!err && own >= 0 && !fstat(own, &st) && read_other_netns(src, &all, st.st_ino) &&
	    setns(own, CLONE_NEWNET))
		osp_warn("cannot return to our network namespace: %s", strerror(errno));
	if (own >= 0)
		close(own);
	if (src->old_n)
		qsort(src->old, src->old_n, sizeof(*src->old), by_cookie);
	src->old_ns = clock_ns(CLOCK_BOOTTIME);
	listen.v = calloc(all.n ? all.n : 1, sizeof(*listen.v));
	if (err || !listen.v) {
		osp_warn("connections open already are not known: %s",
			 strerror(err ? -err : ENOMEM));
		goto out;
	}
	for (size_t i = 0; i < all.n; i++)
		if (all.v[i].state == TCP_LISTEN)
			listen.v[listen.n++] = all.v[i];
	qsort(listen.v, listen.n, sizeof(*listen.v), by_listener);
	for (size_t i = 0; i < all.n; i++) {
		if (all.v[i].state == TCP_LISTEN || all.v[i].state == TCP_CLOSE)
			continue;
		seed_role(&all.v[i], listen.v, listen.n);
		all.v[src->seed_n++] = all.v[i];
	}
	qsort(all.v, src->seed_n, sizeof(*all.v), by_conn);
	src->seed = all.v;
	all.v = NULL;
out:
	free(all.v);
	free(listen.v);
}

/* ---- start ------------------------------------------------------------------------------ */

static int libbpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	/* One level lower than ours: its warnings about optional things are not the user's. The
	 * verifier's log comes as one message of many lines, so it goes out as it is.
	 */
	if (!osp_log_on(OSP_LOG_DBG) || level == LIBBPF_DEBUG)
		return 0;
	return vfprintf(stderr, fmt, ap);
}

/* CAP_BPF and CAP_PERFMON came in 5.8; CAP_SYS_ADMIN includes both. */
static int check_privilege(void)
{
	struct __user_cap_header_struct hdr = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct cap[2] = {};
	uint64_t have;

	if (syscall(SYS_capget, &hdr, cap))
		return -errno;
	have = cap[0].effective | (uint64_t)cap[1].effective << 32;
	if (have & (1ull << CAP_SYS_ADMIN))
		return 0;
	if ((have & (1ull << CAP_BPF)) && (have & (1ull << CAP_PERFMON)))
		return 0;
	osp_err("needs root, or the capabilities CAP_BPF and CAP_PERFMON (missing: %s%s%s); "
		"--synthetic and --replay need none",
		have & (1ull << CAP_BPF) ? "" : "CAP_BPF",
		have & ((1ull << CAP_BPF) | (1ull << CAP_PERFMON)) ? "" : ", ",
		have & (1ull << CAP_PERFMON) ? "" : "CAP_PERFMON");
	return -EPERM;
}

/* Sock mode needs the tracepoints of 6.3 (commit 6e6eda44b939) and their socket as an argument. */
static int pick_mode(const struct osp_bpf_conf *conf, enum osp_capture *capture, bool *has_cookie,
		     bool *has_loop)
{
	enum osp_capture_mode want = conf->mode;
	struct btf *btf = btf__load_vmlinux_btf();
	bool sock, sendpage;

	if (!btf) {
		osp_err("this kernel has no type information (/sys/kernel/btf/vmlinux): "
			"it needs CONFIG_DEBUG_INFO_BTF");
		return -ENOTSUP;
	}
	sock = btf__find_by_name_kind(btf, "btf_trace_sock_send_length", BTF_KIND_TYPEDEF) > 0 &&
	       btf__find_by_name_kind(btf, "btf_trace_sock_recv_length", BTF_KIND_TYPEDEF) > 0;
	/* The helper for tracing programs has its own function from 5.12 on. */
	*has_cookie = btf__find_by_name_kind(btf, "bpf_get_socket_ptr_cookie", BTF_KIND_FUNC) > 0;
	*has_loop = btf__find_by_name_kind(btf, "bpf_loop", BTF_KIND_FUNC) > 0;
	/* Before 6.5 sendfile() to a unix socket passes no hook. */
	sendpage = btf__find_by_name_kind(btf, "unix_stream_sendpage", BTF_KIND_FUNC) > 0;
	btf__free(btf);
	if (conf->unix_too && (want == OSP_MODE_SYSCALL || !sock || sendpage)) {
		osp_err("--unix needs %s", want == OSP_MODE_SYSCALL ?
			"sock mode, it does not work with --capture=syscall" :
			"Linux 6.5, whose socket tracepoints see all of unix sockets");
		return -ENOTSUP;
	}
	if (want == OSP_MODE_SOCK && !sock) {
		osp_err("--capture=sock needs the tracepoints sock:sock_send_length and "
			"sock_recv_length (Linux 6.3); --capture=syscall works here");
		return -ENOTSUP;
	}
	*capture = want == OSP_MODE_SYSCALL || !sock ? OSP_CAPTURE_SYSCALL : OSP_CAPTURE_SOCK;
	return 0;
}

static unsigned long kernel_major(const struct bpf_source *src)
{
	return strtoul(src->kernel, NULL, 10);
}

static uint64_t ring_size(uint64_t bytes)
{
	uint64_t size = (uint64_t)sysconf(_SC_PAGESIZE);

	while (size < bytes && size < 1ull << 31)
		size <<= 1;
	return size;
}

/* --ring-size is that of all data rings together. */
static uint64_t data_size(const struct osp_bpf_conf *conf)
{
	return ring_size(conf->ring_bytes / conf->rings);
}

static void choose_programs(struct osprey_bpf *skel, enum osp_capture capture, bool has_cookie,
			    bool has_loop, bool follow, bool unix_too)
{
	bool sock = capture == OSP_CAPTURE_SOCK;

	bpf_program__set_autoload(skel->progs.osp_sock_send, sock);
	bpf_program__set_autoload(skel->progs.osp_sock_recv, sock);
	bpf_program__set_autoload(skel->progs.osp_sys_exit, !sock && has_loop);
	bpf_program__set_autoload(skel->progs.osp_sys_exit_plain, !sock && !has_loop);
	bpf_program__set_autoload(skel->progs.osp_fork, follow);
	/* Its connections are known by their cookies only. */
	bpf_program__set_autoload(skel->progs.osp_iter_tcp, has_cookie);
	bpf_program__set_autoload(skel->progs.osp_unix_sweep, unix_too);
	bpf_program__set_autoload(skel->progs.osp_iter_unix, unix_too);
	if (!unix_too)
		bpf_map__set_max_entries(skel->maps.osp_unix_socks, 1);
	if (!skel->rodata->osp_knobs.gather)
		bpf_map__set_max_entries(skel->maps.osp_tinies, 1);
}

/* The data rings but the first, before the programs are loaded: the array of rings wants one as the
 * pattern of what it holds (in 5.8 and 5.9 of the same size).
 */
static int make_rings(struct bpf_source *src, const struct osp_bpf_conf *conf)
{
	for (src->rings = 1; src->rings < conf->rings; src->rings++) {
		int fd = bpf_map_create(BPF_MAP_TYPE_RINGBUF, "osp_data", 0, 0,
					(uint32_t)data_size(conf), NULL);

		if (fd < 0) {
			int err = -errno;

			osp_err("cannot make event ring %u: %s", src->rings, strerror(-err));
			return err;
		}
		src->data[src->rings].fd = fd;
	}
	if (src->rings == 1)
		return 0;
	return bpf_map__set_inner_map_fd(src->skel->maps.osp_rings, src->data[1].fd);
}

static int load(struct bpf_source *src, const struct osp_bpf_conf *conf)
{
	enum osp_capture capture;
	bool has_cookie, has_loop;
	struct stat self;
	int err;

	err = pick_mode(conf, &capture, &has_cookie, &has_loop);
	if (err)
		return err;
	src->mode = capture == OSP_CAPTURE_SOCK ? "sock" : "syscall";
	src->skel = osprey_bpf__open();
	if (!src->skel) {
		err = -errno;
		osp_err("cannot open the kernel programs: %s", strerror(-err));
		return err;
	}
	if (stat("/proc/self/exe", &self))
		memset(&self, 0, sizeof(self));
	src->skel->rodata->osp_knobs = (struct osp_knobs){
		.self_ino = self.st_ino,
		.self_dev = (uint32_t)(major(self.st_dev) << 20 | minor(self.st_dev)),
		.capture = capture, .self_tgid = (uint32_t)getpid(), .call_cap = conf->call_cap,
		.turn_cap = conf->turn_cap, .skip_from = conf->skip_from,
		.wake_bytes = data_size(conf) / 16 < WAKE_BYTES ? (uint32_t)(data_size(conf) / 16) :
			      WAKE_BYTES,
		.rings = conf->rings,
		.has_cookie = has_cookie,
		.preemptible = kernel_major(src) >= 7,
		.unix_too = conf->unix_too,
		.gather = has_loop ? conf->gather : 0,
	};
	choose_programs(src->skel, capture, has_cookie, has_loop,
			conf->filter && conf->filter->follow, conf->unix_too);
	bpf_map__set_max_entries(src->skel->maps.osp_data, (uint32_t)data_size(conf));
	bpf_map__set_max_entries(src->skel->maps.osp_ctl, (uint32_t)ring_size(conf->ctl_bytes));
	bpf_map__set_max_entries(src->skel->maps.osp_scratch, (uint32_t)src->cpus);
	err = make_rings(src, conf);
	if (err)
		return err;
	err = osprey_bpf__load(src->skel);
	if (err)
		osp_err("the kernel refuses the programs: %s (-v shows its reasons)",
			strerror(-err));
	return err;
}

static int map_ring(struct bpf_source *src, const struct osp_bpf_conf *conf, uint32_t i)
{
	int array = bpf_map__fd(src->skel->maps.osp_rings);
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	struct data_ring *d = &src->data[i];
	int err;

	if (!i)
		d->fd = bpf_map__fd(src->skel->maps.osp_data);
	if (src->rings > 1 && bpf_map_update_elem(array, &i, &d->fd, BPF_ANY))
		return -errno;
	err = osp_ring_init(&d->ring, d->fd, data_size(conf));
	if (err)
		return err;
	/* Edge-triggered: only a forced wake-up counts, not that there is data. */
	return epoll_ctl(src->wait_fd, EPOLL_CTL_ADD, d->fd, &ev) ? -errno : 0;
}

static int map_rings(struct bpf_source *src, const struct osp_bpf_conf *conf)
{
	int err = 0;

	src->wait_fd = epoll_create1(EPOLL_CLOEXEC);
	if (src->wait_fd < 0)
		return -errno;
	for (uint32_t i = 0; i < src->rings && !err; i++)
		err = map_ring(src, conf, i);
	if (!err)
		err = osp_ring_init(&src->ctl, bpf_map__fd(src->skel->maps.osp_ctl),
				    ring_size(conf->ctl_bytes));
	if (!err && src->skel->rodata->osp_knobs.gather)
		err = osp_gather_init(&src->gathered, bpf_map__fd(src->skel->maps.osp_tinies),
				      &src->skel->bss->osp_tiny_held);
	if (err)
		osp_err("cannot map the event rings: %s", strerror(-err));
	return err;
}

/* Seeds are looked for after this: a connection that speaks in between is seen like any other,
 * whatever of it the scan tells later.
 */
static int attach(struct bpf_source *src)
{
	int err = osprey_bpf__attach(src->skel);

	if (err)
		osp_err("cannot attach the kernel programs: %s", strerror(-err));
	return err;
}

static void host_names(struct bpf_source *src)
{
	struct utsname un;
	ssize_t n = 0;
	int fd;

	if (!uname(&un)) {
		snprintf(src->host, sizeof(src->host), "%s", un.nodename);
		snprintf(src->kernel, sizeof(src->kernel), "%s", un.release);
	}
	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, src->boot_id, 36);
		close(fd);
	}
	src->boot_id[n > 0 ? n : 0] = 0;
}

static const struct osp_source_ops bpf_ops = {
	.name = "bpf",
	.poll = bpf_poll,
	.wait_fd = bpf_wait_fd,
	.stop = bpf_stop,
	.info = bpf_info,
	.reload = bpf_reload,
	.fill = bpf_fill,
	.skip = bpf_skip,
	.unskip = bpf_unskip,
	.close = bpf_close,
	.live = 1,
};

int osp_source_bpf_new(struct osp_source **out, const struct osp_bpf_conf *conf)
{
	struct bpf_source *src = calloc(1, sizeof(*src));
	int err = -ENOMEM;

	if (!src)
		return err;
	src->src.ops = &bpf_ops;
	pthread_mutex_init(&src->skip_lock, NULL);
	src->wait_fd = -1;
	src->filter = conf->filter;
	src->unix_too = conf->unix_too;
	src->cpus = libbpf_num_possible_cpus();
	libbpf_set_print(libbpf_print);
	err = check_privilege();
	if (err)
		goto fail;
	src->percpu = calloc((size_t)src->cpus, sizeof(*src->percpu));
	src->ways = calloc((size_t)src->cpus, sizeof(*src->ways));
	err = -ENOMEM;
	if (!src->percpu || !src->ways)
		goto fail;
	host_names(src);
	err = load(src, conf);
	if (!err)
		err = set_filters(src, conf->filter);
	if (!err)
		err = map_rings(src, conf);
	if (!err)
		err = attach(src);
	if (err)
		goto fail;
	find_seeds(src);
	*out = &src->src;
	return 0;
fail:
	bpf_close(&src->src);
	return err;
}
