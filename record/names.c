/* SPDX-License-Identifier: GPL-3.0-or-later */
/* names.c: the words of the record's enums as they stand in JSON, in counters and in tests.
 *
 * Written with designated indexes so that a number and its name can't drift apart; the asserts at
 * the end fail the build when an enum grows and its names do not.
 */
#include "bpf/osp_events.h"
#include "record/osp_record.h"

#define COUNT(a) ((int)(sizeof(a) / sizeof((a)[0])))

static const char *const outcomes[] = {
	[OSP_OUT_OK] = "ok",
	[OSP_OUT_NO_RESPONSE] = "no_response",
	[OSP_OUT_TIMEOUT] = "timeout",
	[OSP_OUT_RESET] = "reset",
	[OSP_OUT_CLOSED] = "closed",
	[OSP_OUT_GAP] = "gap",
	[OSP_OUT_FRAMING] = "framing_error",
	[OSP_OUT_SHED] = "shed",
	[OSP_OUT_AGENT_STOP] = "agent_stop",
	[OSP_OUT_NO_REQUEST] = "no_request",
};

static const char *const causes[] = {
	[OSP_CAUSE_NONE] = "unnamed",
	[OSP_CAUSE_RING_FULL] = "ring_full",
	[OSP_CAUSE_UNREADABLE] = "unreadable",
	[OSP_CAUSE_CAPTURE_CAP] = "capture_cap",
	[OSP_CAUSE_IOV_LIMIT] = "iov_limit",
	[OSP_CAUSE_SENDFILE] = "sendfile",
	[OSP_CAUSE_SPLICE] = "splice",
	[OSP_CAUSE_IO_URING] = "io_uring",
	[OSP_CAUSE_MSG_TRUNC] = "msg_trunc",
	[OSP_CAUSE_NO_ARGS] = "no_args",
	[OSP_CAUSE_BYPASS] = "bypass",
	[OSP_CAUSE_UNREAD] = "unread",
	[OSP_CAUSE_FILTERED] = "filtered",
	[OSP_CAUSE_RACE] = "race",
	[OSP_CAUSE_SHED] = "shed",
	[OSP_CAUSE_INJECTED] = "injected",
	[OSP_CAUSE_WIRE_LOSS] = "wire_loss",
	[OSP_CAUSE_SNAPLEN] = "snaplen",
	[OSP_CAUSE_SKIPPED] = "skipped",
};

static const char *const vantages[] = {
	[OSP_VANTAGE_SYSCALL] = "syscall",
	[OSP_VANTAGE_TLS] = "tls",
	[OSP_VANTAGE_WIRE] = "wire",
	[OSP_VANTAGE_SYNTHETIC] = "synthetic",
};

static const char *const roles[] = {
	[OSP_ROLE_UNKNOWN] = "unknown",
	[OSP_ROLE_CLIENT] = "client",
	[OSP_ROLE_SERVER] = "server",
};

static const char *const roles_from[] = {
	[OSP_FROM_NONE] = "unknown",
	[OSP_FROM_RESPONSE] = "response",
	[OSP_FROM_REQUEST] = "request",
	[OSP_FROM_LISTEN] = "listen",
	[OSP_FROM_ACCEPT] = "accept",
	[OSP_FROM_CONNECT] = "connect",
};

static const char *const kinds[] = {
	[0] = "unknown",
	[OSP_REC_TRANSACTION] = "transaction",
	[OSP_REC_CONNECTION] = "connection",
	[OSP_REC_LEDGER] = "ledger",
};

/* By bit number of OSP_RF_*. */
static const char *const flags[] = {
	"midstream", "truncated", "gap", "tls", "tunnel", "upgrade",
	"loopback", "dup_removed", "nonutf8", "kernel_tls", "sendfile", "skipped",
	"one_way",
};

/* By bit number of OSP_RA_*. */
static const char *const anomalies[] = {
	"cl_te", "multiple_cl", "bare_lf", "space_before_colon", "obs_fold", "extra_bytes",
	"bad_cl", "bad_chunk", "bad_head", "te_not_chunked", "leading_blank", "http09",
	"bad_coding",
};

static const char *const codings[] = {
	[0] = "unknown",
	[OSP_CODING_GZIP] = "gzip",
	[OSP_CODING_DEFLATE] = "deflate",
	[OSP_CODING_BR] = "br",
	[OSP_CODING_ZSTD] = "zstd",
};

static const char *const undecoded[] = {
	[OSP_DEC_NONE] = "unknown",
	[OSP_DEC_DONE] = "unknown",
	[OSP_DEC_BAD] = "bad_data",
	[OSP_DEC_UNKNOWN] = "unknown_coding",
	[OSP_DEC_RANGE] = "range",
	[OSP_DEC_NOMEM] = "no_memory",
};

_Static_assert(COUNT(outcomes) == OSP_OUT_MAX, "an outcome has no name");
_Static_assert(COUNT(causes) == OSP_CAUSE_MAX, "a cause has no name");
_Static_assert(COUNT(vantages) == OSP_VANTAGE_MAX, "a vantage has no name");
_Static_assert(COUNT(roles) == OSP_ROLE_MAX, "a role has no name");
_Static_assert(COUNT(roles_from) == OSP_FROM_MAX, "a role's evidence has no name");
_Static_assert(COUNT(kinds) == OSP_REC_KIND_MAX, "a kind has no name");
_Static_assert(OSP_RF_ONE_WAY == 1u << (COUNT(flags) - 1), "a flag has no name");
_Static_assert(OSP_RA_BAD_CODING == 1u << (COUNT(anomalies) - 1), "an anomaly has no name");
_Static_assert(COUNT(codings) == OSP_CODING_MAX, "a coding has no name");
_Static_assert(COUNT(undecoded) == OSP_DEC_MAX, "a reason has no name");

static const char *name_of(const char *const *names, int count, int i)
{
	return i >= 0 && i < count ? names[i] : "unknown";
}

const char *osp_outcome_name(int outcome)
{
	return name_of(outcomes, COUNT(outcomes), outcome);
}

const char *osp_cause_name(int cause)
{
	return name_of(causes, COUNT(causes), cause);
}

const char *osp_vantage_name(int vantage)
{
	return name_of(vantages, COUNT(vantages), vantage);
}

const char *osp_role_name(int role)
{
	return name_of(roles, COUNT(roles), role);
}

const char *osp_role_from_name(int from)
{
	return name_of(roles_from, COUNT(roles_from), from);
}

const char *osp_kind_name(int kind)
{
	return name_of(kinds, COUNT(kinds), kind);
}

const char *osp_flag_name(int bit)
{
	return name_of(flags, COUNT(flags), bit);
}

const char *osp_anomaly_name(int bit)
{
	return name_of(anomalies, COUNT(anomalies), bit);
}

const char *osp_coding_name(int coding)
{
	return name_of(codings, COUNT(codings), coding);
}

const char *osp_undecoded_name(int decode)
{
	return name_of(undecoded, COUNT(undecoded), decode);
}
