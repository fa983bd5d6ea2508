/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_pcap.c: any bytes as a capture file, through the whole of the user side: reader, tunnels,
 * fragments, reassembly, tracker, parser, records as JSON. Whatever they are, the ledger's sums
 * must close.
 */
#include "agent/tracker.h"
#include "agent/wire/source_wire.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void as_json(void *ctx, const struct osp_record *rec)
{
	char buf[4096];

	osp_record_json(rec, buf, sizeof(buf));
}

static void run(struct osp_source *src)
{
	struct osp_tracker_conf conf;
	struct osp_source_info info;
	struct osp_ledger led = { 0 };
	struct osp_tracker *trk;
	int n;

	src->ops->info(src, &info);
	osp_tracker_conf_default(&conf);
	conf.headers = true;
	conf.body = 64;
	if (osp_tracker_new(&trk, &conf, &info, &led, as_json, NULL))
		return;
	do {
		n = src->ops->poll(src, osp_tracker_event, trk);
	} while (n > 0);
	osp_tracker_finish(trk);
	src->ops->stats(src, &led);
	if (!osp_ledger_closes(&led, NULL, 0, true, NULL, 0))
		abort();
	osp_tracker_free(trk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fd = memfd_create("fuzz", 0);
	struct osp_source *src = NULL;
	struct osp_wire_conf conf;
	char spec[64];

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(spec, sizeof(spec), "pcap:/proc/self/fd/%d", fd);
	osp_wire_conf_default(&conf);
	conf.reasm.max_conns = 16;
	conf.reasm.hold_bytes = 8192;
	conf.reasm.hold_total = 16384;
	if (!osp_source_wire_new(&src, spec, &conf)) {
		run(src);
		src->ops->close(src);
	}
	close(fd);
	return 0;
}
