/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source_wire.c: packets -> decap -> copies removed -> reassembly -> events.
 *
 * Event time is capture time in ns since 1970, so TICKs carry an offset of 0. A file is read as
 * fast as its events are taken; an interface is read without ever waiting.
 */
#include "agent/wire/source_wire.h"

#include "agent/base/log.h"
#include "agent/base/mem.h"
#include "agent/wire/capfile.h"
#include "agent/wire/dedup.h"
#include "agent/wire/live.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

/* Packets per poll: the caller looks at signals and sinks between polls. */
#define WIRE_BATCH 2048
/* Packets of a file that are looked at before they are taken: what each needs of tables that are
 * larger than the cache is fetched meanwhile. SOON: how long before, in packets, its flow is.
 */
#define AHEAD 16u
#define SOON 4u
#define TICK_NS 100000000ull
/* Live: packets lie in the kernel's ring for a while, so the clock stays behind them. */
#define LAG_NS 200000000ull
#define LOST_NS 1000000000ull

_Static_assert(OSP_VANTAGE_WIRE == 2, "record/json.c knows the number, too");

struct ahead {
	struct osp_frame frame;
	struct osp_tcp_seg seg;	/* plain only */
	uint64_t copy_hash;
	uint32_t flow_hash;
	bool plain;
};

struct wire {
	struct osp_source src;
	struct osp_capfile *file;	/* one of these two */
	struct osp_live *live;
	struct osp_decap *decap;
	struct osp_dedup *dedup;
	struct osp_reasm *reasm;
	const struct osp_filter *filter;
	struct osp_ledger led;		/* OSP_ST_WIRE_* of it */
	osp_ev_fn fn;			/* inside poll() */
	void *ctx;
	uint64_t now;			/* capture time, never goes back */
	uint64_t tick_at, lost_at;
	uint64_t out;			/* events in this poll */
	int err;			/* what fn said, sticky for this poll */
	int end;			/* what poll returns from now on; 0: goes on */
	uint64_t stop_at;		/* live: wall clock when it was told to stop; 0: was not */
	bool flushed;
	uint32_t ahead_n, ahead_at;	/* looked at; of those taken */
	struct ahead ahead[AHEAD];
	char boot_id[40];
	struct utsname uts;
};

/* ---- events ---------------------------------------------------------------------------------- */

/* A packet's events go out together, even if the first of them is answered with "stop". */
static void wire_emit(void *ctx, const struct osp_ev_hdr *ev)
{
	struct wire *wire = ctx;
	int err = wire->fn(wire->ctx, ev);

	wire->out++;
	if (err && !wire->err)
		wire->err = err;
}

static const uint8_t *wire_peek(void *ctx, uint64_t offset, uint32_t n)
{
	struct wire *wire = ctx;

	return wire->file && offset ? osp_capfile_peek(wire->file, offset, n) : NULL;
}

static void emit_tick(struct wire *wire)
{
	struct osp_ev_tick ev = { .h = { .len = sizeof(ev), .abi = OSP_EV_ABI,
					 .kind = OSP_EV_TICK, .ts_ns = wire->now } };

	wire->tick_at = wire->now + TICK_NS;
	wire_emit(wire, &ev.h);
}

static uint64_t drops(struct wire *wire)
{
	return wire->live ? osp_live_drops(wire->live) : osp_capfile_drops(wire->file);
}

/* The unit is events: a dropped packet would have been one at most. */
static void emit_lost(struct wire *wire)
{
	struct osp_ev_lost ev = { .h = { .len = sizeof(ev), .abi = OSP_EV_ABI,
					 .kind = OSP_EV_LOST, .ts_ns = wire->now } };

	wire->lost_at = wire->now + LOST_NS;
	ev.delivered = osp_reasm_events(wire->reasm);
	ev.lost[OSP_LOST_RING] = wire->led.v[OSP_ST_WIRE_DROPS] = drops(wire);
	ev.seen = ev.delivered + ev.lost[OSP_LOST_RING];
	wire_emit(wire, &ev.h);
}

/* ---- packets --------------------------------------------------------------------------------- */

static bool cidr_has(const struct osp_filter_entry *e, const uint8_t addr[16])
{
	uint32_t whole = e->prefix / 8, bits = e->prefix % 8;

	return !memcmp(e->addr, addr, whole) &&
	       (!bits || !((e->addr[whole] ^ addr[whole]) >> (8 - bits)));
}

/* An entry of each kind that has entries must match, either end (agent/filter.h). */
static bool wanted(const struct wire *wire, const struct osp_tcp_seg *seg)
{
	bool any[OSP_FILTER_KINDS] = {}, hit[OSP_FILTER_KINDS] = {};
	size_t i;

	for (i = 0; i < wire->filter->n; i++) {
		const struct osp_filter_entry *e = &wire->filter->entry[i];

		any[e->kind] = true;
		if (e->kind == OSP_FILTER_PORT)
			hit[e->kind] |= e->num == seg->sport || e->num == seg->dport;
		else if (e->kind == OSP_FILTER_CIDR)
			hit[e->kind] |= cidr_has(e, seg->src) || cidr_has(e, seg->dst);
	}
	return any[OSP_FILTER_PORT] <= hit[OSP_FILTER_PORT] &&
	       any[OSP_FILTER_CIDR] <= hit[OSP_FILTER_CIDR];
}

static bool chosen(const struct wire *wire, const struct osp_tcp_seg *seg)
{
	return !wire->filter || !wire->filter->n || wanted(wire, seg);
}

static void take_chosen(struct wire *wire, const struct osp_tcp_seg *seg, uint64_t copy_hash,
			uint32_t flow_hash)
{
	bool copy = osp_dedup_is_copy(wire->dedup, seg, copy_hash);

	osp_count(&wire->led, OSP_ST_WIRE_COPIES, copy);
	osp_reasm_segment(wire->reasm, seg, flow_hash, copy);
}

static void take_segment(struct wire *wire, const struct osp_tcp_seg *seg)
{
	osp_count(&wire->led, OSP_ST_WIRE_SEGMENTS, 1);
	if (chosen(wire, seg))
		take_chosen(wire, seg, osp_dedup_hash(wire->dedup, seg),
			    osp_reasm_hash(wire->reasm, seg));
	else
		osp_count(&wire->led, OSP_ST_WIRE_FILTERED, 1);
}

/* What a packet means before anybody looks into it. */
static void count_frame(struct wire *wire, const struct osp_frame *frame)
{
	osp_count(&wire->led, OSP_ST_WIRE_PACKETS, 1);
	osp_count(&wire->led, OSP_ST_WIRE_BYTES, frame->cap);
	if (frame->ts > wire->now)
		wire->now = frame->ts;
	if (wire->now >= wire->tick_at) {
		/* Before the tracker's own timers see the time. */
		osp_reasm_idle(wire->reasm, wire->now);
		emit_tick(wire);
	}
	if (wire->now >= wire->lost_at)
		emit_lost(wire);
}

static void take_frame(struct wire *wire, const struct osp_frame *frame)
{
	static const enum osp_st count[OSP_DECAP_MAX] = {
		[OSP_DECAP_NON_IP] = OSP_ST_WIRE_NON_IP, [OSP_DECAP_NON_TCP] = OSP_ST_WIRE_NON_TCP,
		[OSP_DECAP_CUT] = OSP_ST_WIRE_CUT, [OSP_DECAP_BAD] = OSP_ST_WIRE_BAD,
		[OSP_DECAP_LINK] = OSP_ST_WIRE_LINK,
	};
	enum osp_decap_result what;
	struct osp_tcp_seg seg;

	count_frame(wire, frame);
	what = osp_decap(wire->decap, frame, &seg);
	if (what == OSP_DECAP_TCP)
		take_segment(wire, &seg);
	else if (count[what])
		osp_count(&wire->led, count[what], 1);
	osp_reasm_time(wire->reasm, frame->ts);
}

/* ---- looking ahead --------------------------------------------------------------------------- */

/* Only at what leaves no trace: anything but plain packets waits for its turn untouched. */
static void look_ahead(struct wire *wire)
{
	struct ahead *a = wire->ahead;
	uint32_t n = 0, i;

	for (; n < AHEAD && osp_capfile_more(wire->file, &a->frame); n++, a++) {
		a->plain = osp_decap_plain(&a->frame, &a->seg) && chosen(wire, &a->seg);
		if (!a->plain)
			continue;
		a->copy_hash = osp_dedup_hash(wire->dedup, &a->seg);
		a->flow_hash = osp_reasm_hash(wire->reasm, &a->seg);
	}
	for (i = 0; i < n && i < SOON; i++)
		osp_reasm_expect(wire->reasm, wire->ahead[i].flow_hash);
	wire->ahead_n = n;
	wire->ahead_at = 0;
}

static void take_ahead(struct wire *wire)
{
	struct ahead *a = &wire->ahead[wire->ahead_at++];

	if (wire->ahead_at + SOON <= wire->ahead_n)
		osp_reasm_expect(wire->reasm, a[SOON].flow_hash);
	if (!a->plain) {
		take_frame(wire, &a->frame);
		return;
	}
	count_frame(wire, &a->frame);
	osp_count(&wire->led, OSP_ST_WIRE_SEGMENTS, 1);
	take_chosen(wire, &a->seg, a->copy_hash, a->flow_hash);
	osp_reasm_time(wire->reasm, a->frame.ts);
}

/* Takes a packet: 0, or -errno as osp_capfile_next() and osp_live_next() have it. */
static int take_next(struct wire *wire)
{
	struct osp_frame frame;
	int err;

	if (wire->file && wire->ahead_at == wire->ahead_n)
		look_ahead(wire);
	if (wire->ahead_at < wire->ahead_n) {
		take_ahead(wire);
		return 0;
	}
	err = wire->file ? osp_capfile_next(wire->file, &frame) : osp_live_next(wire->live, &frame);
	if (!err && wire->stop_at && frame.ts > wire->stop_at)
		err = -ENODATA;
	if (!err)
		take_frame(wire, &frame);
	return err;
}

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* Nothing comes from the interface: its time is the wall clock's. */
static void idle(struct wire *wire)
{
	uint64_t now = wall_ns() - LAG_NS;

	if (wire->stop_at)
		wire->end = -ENODATA;
	if (now < wire->tick_at)
		return;
	wire->now = now;
	osp_reasm_idle(wire->reasm, now);
	osp_reasm_time(wire->reasm, now);
	emit_tick(wire);
	if (now >= wire->lost_at)
		emit_lost(wire);
}

static void finish(struct wire *wire)
{
	wire->flushed = true;
	osp_reasm_flush(wire->reasm);
	emit_tick(wire);
	emit_lost(wire);
}

static int wire_poll(struct osp_source *src, osp_ev_fn fn, void *ctx)
{
	struct wire *wire = (struct wire *)src;
	int n, err = 0;

	wire->fn = fn;
	wire->ctx = ctx;
	wire->err = 0;
	wire->out = 0;
	for (n = 0; n < WIRE_BATCH && !wire->err && !wire->end; n++) {
		err = take_next(wire);
		if (err == -EAGAIN)
			break;
		if (err)
			wire->end = err;
	}
	if (err == -EAGAIN && !wire->end && !wire->err)
		idle(wire);
	if (wire->end && !wire->flushed && !wire->err)
		finish(wire);
	if (wire->err)
		return wire->err;
	if (wire->out || n)
		return wire->out ? (int)(wire->out < INT32_MAX ? wire->out : INT32_MAX) : 1;
	return wire->end;
}

/* ---- the rest of a source -------------------------------------------------------------------- */

static int wire_wait_fd(const struct osp_source *src, uint64_t ns)
{
	const struct wire *wire = (const struct wire *)src;

	return wire->live ? osp_live_fd(wire->live) : -1;
}

static void wire_stop(struct osp_source *src)
{
	struct wire *wire = (struct wire *)src;

	/* What lies in the kernel's ring up to now is still taken. */
	if (wire->live)
		wire->stop_at = wall_ns();
	else if (!wire->end)
		wire->end = -ENODATA;
}

static void wire_info(const struct osp_source *src, struct osp_source_info *out)
{
	const struct wire *wire = (const struct wire *)src;

	*out = (struct osp_source_info){
		.mode = wire->live ? "iface" : "pcap",
		.origin = wire->live ? "iface" : "pcap",
		.host = wire->uts.nodename,
		.kernel = wire->uts.release,
		.boot_id = wire->boot_id,
	};
}

static void wire_stats(const struct osp_source *src, struct osp_ledger *led)
{
	struct wire *wire = (struct wire *)src;
	const struct osp_frag_stats *frag = osp_decap_frag_stats(wire->decap);
	uint64_t *v = wire->led.v;

	v[OSP_ST_WIRE_DROPS] = drops(wire);
	v[OSP_ST_WIRE_TUNNELLED] = osp_decap_tunnelled(wire->decap);
	v[OSP_ST_WIRE_FRAGMENTS] = osp_decap_fragments(wire->decap);
	v[OSP_ST_WIRE_FRAG_CUT] = osp_decap_fragments_cut(wire->decap);
	v[OSP_ST_WIRE_FRAG_OVERLAP] = frag->overlap;
	v[OSP_ST_WIRE_FRAG_CONFLICT] = frag->conflict;
	v[OSP_ST_WIRE_FRAG_TIMEOUT] = frag->timeout;
	v[OSP_ST_WIRE_FRAG_BAD] = frag->bad;
	memcpy(led->v + OSP_ST_WIRE_PACKETS, v + OSP_ST_WIRE_PACKETS,
	       (OSP_ST_WIRE_EVICTED + 1 - OSP_ST_WIRE_PACKETS) * sizeof(*v));
}

static void wire_close(struct osp_source *src)
{
	struct wire *wire = (struct wire *)src;

	if (!wire)
		return;
	osp_reasm_free(wire->reasm);
	osp_dedup_free(wire->dedup);
	osp_decap_free(wire->decap);
	osp_live_close(wire->live);
	osp_capfile_close(wire->file);
	osp_mem_free(wire);
}

static const struct osp_source_ops pcap_ops = {
	.name = "pcap",
	.poll = wire_poll,
	.wait_fd = wire_wait_fd,
	.stop = wire_stop,
	.info = wire_info,
	.stats = wire_stats,
	.close = wire_close,
};

static const struct osp_source_ops iface_ops = {
	.name = "iface",
	.poll = wire_poll,
	.wait_fd = wire_wait_fd,
	.stop = wire_stop,
	.info = wire_info,
	.stats = wire_stats,
	.close = wire_close,
	.live = 1,
};

/* ---- opening --------------------------------------------------------------------------------- */

void osp_wire_conf_default(struct osp_wire_conf *conf)
{
	*conf = (struct osp_wire_conf){ .ring_bytes = 64u << 20 };
	osp_reasm_conf_default(&conf->reasm);
}

static int check_filter(const struct osp_filter *filter)
{
	size_t i;

	for (i = 0; filter && i < filter->n; i++) {
		if (filter->entry[i].kind != OSP_FILTER_PORT &&
		    filter->entry[i].kind != OSP_FILTER_CIDR) {
			osp_err("--source: packets tell neither processes nor namespaces nor "
				"roles; --port and --cidr can be used (\"%s\" can't)",
				filter->entry[i].text);
			return -EINVAL;
		}
	}
	return 0;
}

/* A file's records must not depend on where it is read: ids are made of the boot id. */
static void identity(struct wire *wire)
{
	int fd;
	ssize_t n = 0;

	memcpy(wire->boot_id, "00000000-0000-4000-8000-000000000000", 37);
	if (wire->file)
		return;
	uname(&wire->uts);
	fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		char id[36];

		n = read(fd, id, sizeof(id));
		if (n == sizeof(id))
			memcpy(wire->boot_id, id, sizeof(id));
		close(fd);
	}
}

static int open_input(struct wire *wire, const char *spec, const struct osp_wire_conf *conf)
{
	if (!strncmp(spec, "pcap:", 5) && spec[5]) {
		wire->src.ops = &pcap_ops;
		return osp_capfile_open(&wire->file, spec + 5);
	}
	if (!strncmp(spec, "iface:", 6) && spec[6]) {
		wire->src.ops = &iface_ops;
		return osp_live_open(&wire->live, spec + 6, conf->ring_bytes);
	}
	osp_err("--source: \"%s\" is neither pcap:FILE nor iface:NAME", spec);
	return -EINVAL;
}

int osp_source_wire_new(struct osp_source **out, const char *spec,
			const struct osp_wire_conf *conf)
{
	struct wire *wire = osp_mem_zalloc(sizeof(*wire));
	struct osp_reasm_io io = { .ctx = wire, .emit = wire_emit, .peek = wire_peek };
	int err = -ENOMEM;

	if (!wire)
		return err;
	err = check_filter(conf->filter);
	if (!err)
		err = open_input(wire, spec, conf);
	if (err)
		goto out;
	io.led = &wire->led;
	wire->filter = conf->filter;
	identity(wire);
	err = osp_decap_new(&wire->decap);
	if (!err)
		err = osp_dedup_new(&wire->dedup);
	if (!err)
		err = osp_reasm_new(&wire->reasm, &conf->reasm, &io);
	if (err) {
		osp_err("--source: %s", strerror(-err));
		goto out;
	}
	*out = &wire->src;
	wire = NULL;
out:
	wire_close(wire ? &wire->src : NULL);
	return err;
}
