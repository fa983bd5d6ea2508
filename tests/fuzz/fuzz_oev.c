/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_oev.c: a recording of anything. The header's fixed part is put right in most inputs, for
 * otherwise hardly one would come past it.
 */
#include "agent/oev.h"
#include "agent/source_replay.h"
#include "agent/tracker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *ctx, const struct osp_ev_hdr *ev)
{
	uint64_t *n = ctx;

	if (osp_event_check(ev, ev->len))
		abort();
	++*n;
	return 0;
}

static void header(struct osp_oev_hdr *h, const uint8_t *data, size_t size)
{
	memset(h, 0, sizeof(*h));
	memcpy(h->magic, OSP_OEV_MAGIC, sizeof(h->magic));
	h->bom = OSP_OEV_BOM;
	h->version = OSP_OEV_VERSION;
	h->abi = OSP_EV_ABI;
	h->hdr_len = sizeof(*h);
	h->flags = size > 1 && data[1] & 1 ? OSP_OEV_INCOMPLETE : 0;
	h->events = size > 2 ? data[2] : 0;
	snprintf(h->mode, sizeof(h->mode), "synthetic");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct osp_source *src = NULL;
	struct osp_oev_hdr h;
	char path[64];
	uint64_t n = 0;
	int fd, r;

	if (size < 8)
		return 0;
	fd = memfd_create("oev", MFD_CLOEXEC);
	if (fd < 0)
		abort();
	header(&h, data, size);
	if (data[0] & 7 && write(fd, &h, sizeof(h)) != sizeof(h))
		abort();
	if (write(fd, data + 8, size - 8) != (ssize_t)(size - 8))
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (!osp_source_replay_new(&src, path)) {
		do
			r = src->ops->poll(src, count, &n);
		while (r > 0);
		if (r != -ENODATA && r != -EPROTO)
			abort();
		src->ops->close(src);
	}
	close(fd);
	return 0;
}
