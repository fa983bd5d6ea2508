/* SPDX-License-Identifier: GPL-3.0-or-later */
/* fuzz_http1.c: one connection, both directions, cut, lost, late and out of order as the input says;
 * afterwards all sums must close and nothing may be held.
 *
 * Input: a byte of settings, then operations: a byte (low four bits: what), a length byte, bytes.
 */
#include "tests/lib/evbuild.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CLIENT, SERVER, CLIENT_LONG, SERVER_LONG, LOSE_CLIENT, LOSE_SERVER, SHUT_CLIENT, SHUT_SERVER,
       GAP_CLIENT, GAP_SERVER, TICK, BYPASS, LATE_CLIENT, LATE_SERVER, DELIVER, RESET };

struct input {
	const uint8_t *p;
	size_t n;
};

static unsigned int byte(struct input *in)
{
	if (!in->n)
		return 0;
	in->n--;
	return *in->p++;
}

static void operation(struct evc *conn, struct input *in, struct evd **late)
{
	unsigned int op = byte(in) & 15, n = byte(in);
	int dir = op & 1 ? OSP_TX : OSP_RX;

	switch (op) {
	case CLIENT_LONG:
	case SERVER_LONG:
		n = n << 8 | byte(in);
		__attribute__((fallthrough));
	case CLIENT:
	case SERVER:
	case LATE_CLIENT:
	case LATE_SERVER:
		n = n < in->n ? n : (unsigned int)in->n;
		if (!n)
			return;
		if (op >= LATE_CLIENT && !*late)
			*late = evc_make(conn, dir, in->p, n, n, 0);
		else
			evc_data(conn, dir, in->p, n);
		in->p += n;
		in->n -= n;
		break;
	case LOSE_CLIENT:
	case LOSE_SERVER:
		evc_lose(conn, dir, n);
		break;
	case GAP_CLIENT:
	case GAP_SERVER:
		if (n)
			evc_gap(conn, dir, n, 1 + (int)(n % (OSP_CAUSE_MAX - 1)));
		break;
	case BYPASS:
		evc_bypass(conn, n & 1 ? OSP_TX : OSP_RX, n);
		break;
	case SHUT_CLIENT:
	case SHUT_SERVER:
		evc_shut(conn, op == SHUT_CLIENT ? OSP_SHUT_RX : OSP_SHUT_TX);
		break;
	case TICK:
		rig_tick(conn->rig, (uint64_t)n * 20000000);
		break;
	case DELIVER:
		if (*late)
			evc_deliver(conn, *late);
		*late = NULL;
		break;
	case RESET:
		evc_shut(conn, OSP_SHUT_RESET);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	unsigned int set = byte(&in);
	struct osp_tracker_conf conf;
	struct evd *late = NULL;
	struct evc conn;
	struct rig rig;

	osp_tracker_conf_default(&conf);
	conf.headers = set & 1;
	conf.body = set & 2 ? 64 : 0;
	conf.max_head = set & 4 ? 200 : conf.max_head;
	conf.byte_budget = set & 32 ? 4096 : conf.byte_budget;
	conf.connections = true;
	rig_open(&rig, &conf);
	evc_init(&conn, &rig, 1, 0xfffffff0u, 0xffffff00u);
	if (!(set & 8))
		evc_open(&conn, set & 16 ? OSP_OPEN_SIGHT : OSP_OPEN_ESTABLISHED,
			 set & 64 ? OSP_ROLE_CLIENT : OSP_ROLE_SERVER, OSP_FROM_ACCEPT);
	while (in.n)
		operation(&conn, &in, &late);
	free(late);
	if (!(set & 128))
		evc_close(&conn, (int)(set & 3), set & 1);
	osp_tracker_finish(rig.trk);
	if (!rig_sums(&rig) || rig_stat(&rig, OSP_ST_BY_HELD) || rig_stat(&rig, OSP_ST_MEM_BYTES))
		abort();
	rig_close(&rig);
	return 0;
}
