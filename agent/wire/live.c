/* SPDX-License-Identifier: GPL-3.0-or-later */
/* live.c: AF_PACKET through libpcap, which maps the kernel's ring and puts VLAN tags back that the
 * hardware took off. Packets are copied out of the ring by nobody but the reassembly.
 */
#include "agent/wire/live.h"

#include "agent/base/log.h"

#include <errno.h>

#if OSP_HAVE_PCAP

#include "agent/base/mem.h"

#include <pcap/pcap.h>
#include <stdbool.h>

/* As long as any packet, segmentation offload included. */
#define SNAPLEN 262144
/* The kernel hands a block of packets over when it is full, or after this long. */
#define BLOCK_MS 50

struct osp_live {
	pcap_t *pcap;
	uint64_t drops;
	uint32_t last_drop;	/* libpcap counts in 32 bits */
	uint16_t link;
	bool ns;
};

static int refuse(struct osp_live *live, const char *name, int rc)
{
	const char *why = pcap_geterr(live->pcap);

	osp_err("interface %s: %s", name, *why ? why : pcap_statustostr(rc));
	return rc == PCAP_ERROR_PERM_DENIED || rc == PCAP_ERROR_PROMISC_PERM_DENIED ? -EPERM :
	       rc == PCAP_ERROR_NO_SUCH_DEVICE ? -ENODEV : -EIO;
}

static int set_up(struct osp_live *live, const char *name, uint32_t ring_bytes)
{
	char why[PCAP_ERRBUF_SIZE];
	int rc;

	live->pcap = pcap_create(name, why);
	if (!live->pcap) {
		osp_err("interface %s: %s", name, why);
		return -ENODEV;
	}
	pcap_set_snaplen(live->pcap, SNAPLEN);
	pcap_set_promisc(live->pcap, 1);
	pcap_set_timeout(live->pcap, BLOCK_MS);
	pcap_set_buffer_size(live->pcap, (int)ring_bytes);
	live->ns = !pcap_set_tstamp_precision(live->pcap, PCAP_TSTAMP_PRECISION_NANO);
	rc = pcap_activate(live->pcap);
	if (rc < 0)
		return refuse(live, name, rc);
	if (pcap_setnonblock(live->pcap, 1, why) < 0) {
		osp_err("interface %s: %s", name, why);
		return -EIO;
	}
	live->link = (uint16_t)pcap_datalink(live->pcap);
	return 0;
}

int osp_live_open(struct osp_live **out, const char *name, uint32_t ring_bytes)
{
	struct osp_live *live = osp_mem_zalloc(sizeof(*live));
	int err;

	if (!live)
		return -ENOMEM;
	err = set_up(live, name, ring_bytes);
	if (err)
		osp_live_close(live);
	else
		*out = live;
	return err;
}

int osp_live_next(struct osp_live *live, struct osp_frame *frame)
{
	struct pcap_pkthdr *h;
	const u_char *p;
	int rc = pcap_next_ex(live->pcap, &h, &p);

	if (!rc)
		return -EAGAIN;
	if (rc < 0) {
		osp_err("capture: %s", pcap_geterr(live->pcap));
		return -EIO;
	}
	*frame = (struct osp_frame){
		.p = p,
		.cap = h->caplen,
		.len = h->len < h->caplen ? h->caplen : h->len,
		.ts = (uint64_t)h->ts.tv_sec * 1000000000ull +
		      (uint64_t)h->ts.tv_usec * (live->ns ? 1 : 1000),
		.link = live->link,
	};
	return 0;
}

int osp_live_fd(const struct osp_live *live)
{
	return pcap_get_selectable_fd(live->pcap);
}

uint64_t osp_live_drops(struct osp_live *live)
{
	struct pcap_stat st;

	if (!pcap_stats(live->pcap, &st)) {
		live->drops += st.ps_drop - live->last_drop;
		live->last_drop = st.ps_drop;
	}
	return live->drops;
}

void osp_live_close(struct osp_live *live)
{
	if (!live)
		return;
	if (live->pcap)
		pcap_close(live->pcap);
	osp_mem_free(live);
}

#else

int osp_live_open(struct osp_live **out, const char *name, uint32_t ring_bytes)
{
	osp_err("interface %s: built without libpcap: only files can be read", name);
	return -ENOSYS;
}

int osp_live_next(struct osp_live *live, struct osp_frame *frame)
{
	return -ENOSYS;
}

int osp_live_fd(const struct osp_live *live)
{
	return -1;
}

uint64_t osp_live_drops(struct osp_live *live)
{
	return 0;
}

void osp_live_close(struct osp_live *live)
{
}

#endif
