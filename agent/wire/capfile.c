/* SPDX-License-Identifier: GPL-3.0-or-later */
/* capfile.c: pcap and pcapng, written from draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.
 *
 * libpcap is not used for files: it refuses pcapng whose interfaces differ in link type, cannot
 * read gzip, and drops the interfaces' loss counters.
 *
 * Nothing in a file is believed. At the first impossible length reading ends with one line that
 * names the offset; all before it has been handed out.
 */
#include "agent/wire/capfile.h"

#include "agent/base/log.h"
#include "agent/base/mem.h"
#include "agent/wire/input.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#define NS_PER_S 1000000000ull

#define PCAP_US 0xa1b2c3d4u
#define PCAP_NS 0xa1b23c4du
#define PCAP_KUZNETZOV 0xa1b2cd34u	/* packet headers are 8 bytes longer */
/* What libpcap takes as the longest packet, whatever the header says; a file that claims more than
 * FRAME_MAX is damaged.
 */
#define SNAPLEN_MAX 262144u
#define FRAME_MAX (16u << 20)

#define NG_SHB 0x0a0d0d0au
#define NG_IDB 1u
#define NG_PB 2u	/* obsolete */
#define NG_SPB 3u
#define NG_ISB 5u
#define NG_EPB 6u
#define NG_BOM 0x1a2b3c4du
/* Blocks with packets or interfaces are read whole; others are stepped over at any length. */
#define NG_BLOCK_MAX (FRAME_MAX + 65536u)
#define NG_IFACES_MAX 65536u

struct iface {
	uint64_t drops;		/* as its last statistics block says */
	int64_t tsoffset;	/* s */
	uint32_t snaplen;
	uint16_t link;
	uint8_t tsresol;	/* as in the file: top bit: power of 2, else of 10 */
};

struct osp_capfile {
	struct osp_input *in;
	struct iface *iface;
	uint32_t iface_n, iface_cap;
	uint64_t packets;
	uint64_t old_drops;	/* of sections before this one, and of PBs */
	uint64_t last_ts;
	uint32_t rec_len;	/* pcap: of a packet's header */
	uint32_t cap_max;	/* pcap: longest believable packet */
	uint16_t link;		/* pcap: of all packets */
	int end;		/* what next() says from now on; 0: goes on */
	bool ng, swap, ns;
};

static uint16_t rd16(const struct osp_capfile *file, const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return file->swap ? __builtin_bswap16(v) : v;
}

static uint32_t rd32(const struct osp_capfile *file, const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return file->swap ? __builtin_bswap32(v) : v;
}

static uint64_t rd64(const struct osp_capfile *file, const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return file->swap ? __builtin_bswap64(v) : v;
}

static int damaged(struct osp_capfile *file, const char *what)
{
	osp_err("%s: damaged at offset %" PRIu64 ", after packet %" PRIu64 ": %s",
		osp_input_name(file->in), osp_input_offset(file->in), file->packets, what);
	return file->end = -EPROTO;
}

/* The stream ended where more was needed. */
static int ended(struct osp_capfile *file)
{
	const char *error = osp_input_error(file->in);
	uint64_t at = osp_input_offset(file->in) + osp_input_left(file->in);

	if (error)
		osp_err("%s: unreadable at offset %" PRIu64 ", after packet %" PRIu64 ": %s",
			osp_input_name(file->in), at, file->packets, error);
	else if (osp_input_left(file->in))
		osp_err("%s: truncated at offset %" PRIu64 ", in packet %" PRIu64,
			osp_input_name(file->in), at, file->packets + 1);
	return file->end = error || osp_input_left(file->in) ? -EPROTO : -ENODATA;
}

/* ---- pcap ------------------------------------------------------------------------------------ */

/* The packet whose header is at p; all of it is there. */
static inline void pcap_frame(struct osp_capfile *file, const uint8_t *p, uint32_t cap,
			      struct osp_frame *frame)
{
	uint32_t head = file->rec_len, len = rd32(file, p + 12);

	frame->p = p + head;
	frame->cap = cap;
	frame->len = len < cap ? cap : len;
	frame->ts = rd32(file, p) * NS_PER_S + rd32(file, p + 4) * (file->ns ? 1ull : 1000ull);
	frame->offset = osp_input_offset(file->in) + head;
	frame->link = file->link;
	osp_input_take(file->in, head + (size_t)cap);
}

static int pcap_next(struct osp_capfile *file, struct osp_frame *frame)
{
	const uint8_t *p = osp_input_need(file->in, file->rec_len);
	uint32_t cap;

	if (!p)
		return ended(file);
	cap = rd32(file, p + 8);
	if (cap > file->cap_max)
		return damaged(file, "a packet of impossible length");
	p = osp_input_need(file->in, file->rec_len + (size_t)cap);
	if (!p)
		return ended(file);
	pcap_frame(file, p, cap, frame);
	return 0;
}

static int pcap_header(struct osp_capfile *file, uint32_t magic)
{
	const uint8_t *p = osp_input_need(file->in, 24);

	if (!p)
		return ended(file);
	file->ns = magic == PCAP_NS;
	file->rec_len = magic == PCAP_KUZNETZOV ? 24 : 16;
	if (rd16(file, p + 4) != 2)
		return damaged(file, "a pcap version that is not 2");
	/* The upper bits tell of frame check sequences; IP lengths leave these out anyway. */
	file->link = (uint16_t)rd32(file, p + 20);
	file->cap_max = rd32(file, p + 16);
	if (file->cap_max < SNAPLEN_MAX)
		file->cap_max = SNAPLEN_MAX;
	if (file->cap_max > FRAME_MAX)
		file->cap_max = FRAME_MAX;
	osp_input_take(file->in, 24);
	return 0;
}

/* ---- pcapng ---------------------------------------------------------------------------------- */

/* Ticks of an interface to ns since 1970; beyond what a u64 holds it stays at the end of time. */
static uint64_t ng_time(const struct iface *ifc, uint64_t ticks)
{
	uint32_t n = ifc->tsresol & 0x7f;
	unsigned __int128 ns = ticks;
	__int128 sum;

	if (ifc->tsresol & 0x80) {
		ns = n < 64 ? ns * NS_PER_S >> n : 0;
	} else {
		for (; n < 9; n++)
			ns *= 10;
		for (; n > 9 && ns; n--)
			ns /= 10;
	}
	/* A year or so short of the end, so that sums of timers do not wrap. */
	if (ns > UINT64_MAX / 2)
		ns = UINT64_MAX / 2;
	sum = (__int128)ns + (__int128)ifc->tsoffset * (__int128)NS_PER_S;
	return sum < 0 ? 0 : sum > INT64_MAX ? INT64_MAX : (uint64_t)sum;
}

/* The value of option code among p[0..n); NULL: it is not there, or not of that length. */
static const uint8_t *ng_option(const struct osp_capfile *file, const uint8_t *p, uint32_t n,
				uint16_t code, uint16_t len)
{
	uint16_t c, l;
	uint32_t step;

	while (n >= 4) {
		c = rd16(file, p);
		l = rd16(file, p + 2);
		step = 4 + ((l + 3u) & ~3u);
		if (!c || step > n)
			return NULL;
		if (c == code)
			return l == len ? p + 4 : NULL;
		p += step;
		n -= step;
	}
	return NULL;
}

static int ng_add_iface(struct osp_capfile *file, const uint8_t *p, uint32_t n)
{
	struct iface *ifc;
	const uint8_t *opt;

	if (file->iface_n == file->iface_cap) {
		uint32_t cap = file->iface_cap ? 2 * file->iface_cap : 4;

		if (cap > NG_IFACES_MAX)
			return damaged(file, "more interfaces than anybody has");
		ifc = osp_mem_realloc(file->iface, cap * sizeof(*ifc));
		if (!ifc)
			return damaged(file, "out of memory");
		file->iface = ifc;
		file->iface_cap = cap;
	}
	ifc = &file->iface[file->iface_n++];
	*ifc = (struct iface){ .link = rd16(file, p), .snaplen = rd32(file, p + 4), .tsresol = 6 };
	opt = ng_option(file, p + 8, n - 8, 9, 1);
	if (opt)
		ifc->tsresol = *opt;
	opt = ng_option(file, p + 8, n - 8, 14, 8);
	if (opt)
		ifc->tsoffset = (int64_t)rd64(file, opt);
	return 0;
}

/* Section header at the input's place: byte order, and its length field is in that. */
static int ng_section(struct osp_capfile *file, uint32_t *len)
{
	const uint8_t *p = osp_input_need(file->in, 28);
	uint32_t bom, i;

	if (!p)
		return ended(file);
	memcpy(&bom, p + 8, 4);
	if (bom != NG_BOM && bom != __builtin_bswap32(NG_BOM))
		return damaged(file, "a section without byte order mark");
	file->swap = bom != NG_BOM;
	if (rd16(file, p + 12) != 1)
		return damaged(file, "a pcapng version that is not 1");
	*len = rd32(file, p + 4);
	for (i = 0; i < file->iface_n; i++)
		file->old_drops += file->iface[i].drops;
	file->iface_n = 0;
	return 0;
}

static void ng_stats(struct osp_capfile *file, const uint8_t *p, uint32_t n)
{
	const uint8_t *ifdrop, *osdrop;
	uint32_t id;

	if (n < 12)
		return;
	id = rd32(file, p);
	if (id >= file->iface_n)
		return;
	ifdrop = ng_option(file, p + 12, n - 12, 5, 8);
	osdrop = ng_option(file, p + 12, n - 12, 7, 8);
	file->iface[id].drops = (ifdrop ? rd64(file, ifdrop) : 0) +
				(osdrop ? rd64(file, osdrop) : 0);
}

/* A packet block's body p[0..n) at offset; 0: frame is filled, 1: it has none we can use. */
static int ng_packet(struct osp_capfile *file, uint32_t type, const uint8_t *p, uint32_t n,
		     uint64_t offset, struct osp_frame *frame)
{
	uint32_t head = type == NG_SPB ? 4 : 20, id = 0, cap, len;
	const struct iface *ifc;

	if (n < head)
		return damaged(file, "a packet block that is too short");
	if (type == NG_EPB)
		id = rd32(file, p);
	else if (type == NG_PB)
		id = rd16(file, p);
	if (type == NG_PB && rd16(file, p + 2) != 0xffff)
		file->old_drops += rd16(file, p + 2);
	if (id >= file->iface_n)
		return damaged(file, "a packet of an interface that was not described");
	ifc = &file->iface[id];
	len = rd32(file, type == NG_SPB ? p : p + 16);
	cap = type == NG_SPB ? len : rd32(file, p + 12);
	if (type == NG_SPB && ifc->snaplen && cap > ifc->snaplen)
		cap = ifc->snaplen;
	if (cap > n - head && type != NG_SPB)
		return damaged(file, "a packet longer than its block");
	if (cap > n - head)
		cap = n - head;
	/* Simple packets have no time: that of the packet before. */
	if (type != NG_SPB)
		file->last_ts = ng_time(ifc, (uint64_t)rd32(file, p + 4) << 32 | rd32(file, p + 8));
	*frame = (struct osp_frame){
		.p = p + head,
		.cap = cap,
		.len = len < cap ? cap : len,
		.ts = file->last_ts,
		.offset = offset + head,
		.link = ifc->link,
	};
	return 0;
}

static bool ng_is_packet(uint32_t type)
{
	return type == NG_EPB || type == NG_SPB || type == NG_PB;
}

/* The block at the input's place. 0: a packet, 1: something else, or -errno. */
static int ng_block(struct osp_capfile *file, struct osp_frame *frame)
{
	const uint8_t *p = osp_input_need(file->in, 8);
	uint64_t offset = osp_input_offset(file->in);
	uint32_t type, len;
	int err = 1;

	if (!p)
		return ended(file);
	type = rd32(file, p);
	len = rd32(file, p + 4);
	if (type == NG_SHB && ng_section(file, &len))
		return file->end;
	if (len < 12 || len % 4)
		return damaged(file, "a block of impossible length");
	if (!ng_is_packet(type) && type != NG_IDB && type != NG_ISB && type != NG_SHB) {
		if (osp_input_skip(file->in, len)) {
			osp_err("%s: truncated in the block at offset %" PRIu64,
				osp_input_name(file->in), offset);
			return file->end = -EPROTO;
		}
		return 1;
	}
	if (len > NG_BLOCK_MAX)
		return damaged(file, "a block of impossible length");
	p = osp_input_need(file->in, len);
	if (!p)
		return ended(file);
	if (rd32(file, p + len - 4) != len)
		return damaged(file, "a block whose two lengths differ");
	if (type == NG_IDB)
		err = len < 20 ? damaged(file, "an interface block that is too short") :
		      ng_add_iface(file, p + 8, len - 12) ? file->end : 1;
	else if (type == NG_ISB)
		ng_stats(file, p + 8, len - 12);
	else if (type != NG_SHB)
		err = ng_packet(file, type, p + 8, len - 12, offset + 8, frame);
	if (err >= 0)
		osp_input_take(file->in, len);
	return err;
}

static __attribute__((noinline)) int ng_next(struct osp_capfile *file, struct osp_frame *frame)
{
	int err;

	do {
		err = ng_block(file, frame);
	} while (err > 0);
	return err;
}

/* ---- public ---------------------------------------------------------------------------------- */

int osp_capfile_next(struct osp_capfile *file, struct osp_frame *frame)
{
	int err = file->end;

	if (!err)
		err = file->ng ? ng_next(file, frame) : pcap_next(file, frame);
	if (!err)
		file->packets++;
	return err;
}

bool osp_capfile_more(struct osp_capfile *file, struct osp_frame *frame)
{
	const struct osp_input *in = file->in;
	size_t left = osp_input_left(in);
	const uint8_t *p = in->buf + in->at;
	uint32_t cap;

	if (file->end || left < 24)
		return false;
	if (file->ng) {
		if ((rd32(file, p) != NG_EPB && rd32(file, p) != NG_SPB) ||
		    left < rd32(file, p + 4))
			return false;
		return !osp_capfile_next(file, frame);
	}
	cap = rd32(file, p + 8);
	if (cap > file->cap_max || left - file->rec_len < cap)
		return false;
	pcap_frame(file, p, cap, frame);
	file->packets++;
	return true;
}

const uint8_t *osp_capfile_peek(const struct osp_capfile *file, uint64_t offset, uint32_t n)
{
	return osp_input_peek(file->in, offset, n);
}

uint64_t osp_capfile_drops(const struct osp_capfile *file)
{
	uint64_t n = file->old_drops;
	uint32_t i;

	for (i = 0; i < file->iface_n; i++)
		n += file->iface[i].drops;
	return n;
}

static int not_a_capture(const struct osp_capfile *file)
{
	const char *error = osp_input_error(file->in);

	osp_err("%s: %s", osp_input_name(file->in),
		error ? error : "not a capture file (pcap, pcapng, or one of these with gzip)");
	return -EPROTO;
}

static int read_header(struct osp_capfile *file)
{
	const uint8_t *p = osp_input_need(file->in, 4);
	uint32_t magic;

	if (!p)
		return not_a_capture(file);
	memcpy(&magic, p, 4);
	if (magic == NG_SHB) {
		file->ng = true;
		return 0;
	}
	file->swap = magic == __builtin_bswap32(PCAP_US) || magic == __builtin_bswap32(PCAP_NS) ||
		     magic == __builtin_bswap32(PCAP_KUZNETZOV);
	magic = rd32(file, p);
	if (magic != PCAP_US && magic != PCAP_NS && magic != PCAP_KUZNETZOV)
		return not_a_capture(file);
	file->iface = osp_mem_zalloc(sizeof(*file->iface));
	if (!file->iface)
		return -ENOMEM;
	file->iface_n = file->iface_cap = 1;
	/* A file that ends inside its header gives nothing and says so at the first packet. */
	return pcap_header(file, magic);
}

int osp_capfile_open(struct osp_capfile **out, const char *path)
{
	struct osp_capfile *file = osp_mem_zalloc(sizeof(*file));
	int err = -ENOMEM;

	if (!file)
		goto out;
	err = osp_input_open(&file->in, path);
	if (!err)
		err = read_header(file);
	if (err)
		goto out;
	*out = file;
	return 0;
out:
	if (err == -ENOMEM)
		osp_err("%s: out of memory", path);
	osp_capfile_close(file);
	return err;
}

void osp_capfile_close(struct osp_capfile *file)
{
	if (!file)
		return;
	osp_input_close(file->in);
	osp_mem_free(file->iface);
	osp_mem_free(file);
}
