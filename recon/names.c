/* SPDX-License-Identifier: GPL-3.0-or-later */
/* names.c: words of the enums in recon.h, as they stand in every report and in docs/recon.md. */
#include "recon/recon.h"

#define NAME(table, i)                                                                             \
	((i) >= 0 && (size_t)(i) < sizeof(table) / sizeof((table)[0]) ? (table)[i] : "unknown")

static const char *const verdicts[RC_VERDICTS] = {
	[RC_MATCH] = "match",   [RC_DIFFERS] = "differs",     [RC_ONLY_A] = "only-A",
	[RC_ONLY_B] = "only-B", [RC_AMBIGUOUS] = "ambiguous",
};

static const struct {
	const char *name, *help;
	bool out_of_scope; /* the other side could not see it by its place or settings */
} reasons[RC_WHY_MAX] = {
	[RC_WHY_UNEXPLAINED] = { "unexplained", "no evidence says why: look at it", false },
	[RC_WHY_DUPLICATE] = { "duplicate", "a second copy of one that is paired", true },
	[RC_WHY_RETRANSMISSION] = { "retransmission_only",
				    "bytes sent again, of one that is paired", true },
	[RC_WHY_HALF] = { "half", "the other half is in another record that is paired", true },
	[RC_WHY_LOOPBACK] = { "loopback", "never leaves the host", true },
	[RC_WHY_UNIX] = { "unix_socket", "no TCP connection: nothing on a wire", true },
	[RC_WHY_NOT_INSTRUMENTED] = { "not_instrumented", "neither end is a host with a probe",
				      true },
	[RC_WHY_FILTERED] = { "filtered", "the probe was told to pass it over", true },
	[RC_WHY_INTERFACE] = { "interface", "the other side never saw these addresses", true },
	[RC_WHY_WINDOW_EDGE] = { "window_edge", "outside the time the other side covers", true },
	[RC_WHY_TLS] = { "tls", "encrypted where the other side looks", true },
	[RC_WHY_OPAQUE] = { "opaque", "the other side saw the connection and no HTTP in it",
			    false },
	[RC_WHY_HOST_LOSS] = { "host_loss", "the probe declared bytes or exchanges lost", false },
	[RC_WHY_CAPTURE_LOSS] = { "capture_loss", "the capture missed segments", false },
	[RC_WHY_SNAPLEN] = { "snaplen", "the capture cut packets", false },
	[RC_WHY_ONE_WAY] = { "one_way", "the capture had one direction of the connection only",
			     false },
	[RC_WHY_MIDSTREAM] = { "midstream", "the other side came into the connection later", true },
	[RC_WHY_ABORTED] = { "aborted", "broke off: written and not sent, or received and not read",
			     true },
	[RC_WHY_AGENT_STOP] = { "agent_stop", "under way when the other side ended", true },
};

static const char *const classes[RC_CLASSES] = {
	[RC_CLASS_EXACT] = "exact",         [RC_CLASS_BYTES] = "bytes",
	[RC_CLASS_HEADERS] = "headers",     [RC_CLASS_DIGEST] = "digest",
	[RC_CLASS_TIME] = "time",           [RC_CLASS_HALF] = "half",
	[RC_CLASS_UNCERTAIN] = "uncertain",
};

/* As the record's keys. */
static const char *const fields[RC_FIELDS] = {
	[RC_FIELD_METHOD] = "method",
	[RC_FIELD_TARGET] = "target",
	[RC_FIELD_HOST] = "host",
	[RC_FIELD_VERSION] = "version",
	[RC_FIELD_STATUS] = "status",
	[RC_FIELD_REASON] = "reason",
	[RC_FIELD_INTERIM] = "interim",
	[RC_FIELD_USER_AGENT] = "user_agent",
	[RC_FIELD_REQ_CONTENT_TYPE] = "request.content_type",
	[RC_FIELD_RES_CONTENT_TYPE] = "response.content_type",
	[RC_FIELD_REQ_CONTENT_ENCODING] = "request.content_encoding",
	[RC_FIELD_RES_CONTENT_ENCODING] = "response.content_encoding",
	[RC_FIELD_REQ_TRANSFER_ENCODING] = "request.transfer_encoding",
	[RC_FIELD_RES_TRANSFER_ENCODING] = "response.transfer_encoding",
	[RC_FIELD_OUTCOME] = "outcome",
	[RC_FIELD_REQ_HEAD] = "request.head_bytes",
	[RC_FIELD_RES_HEAD] = "response.head_bytes",
	[RC_FIELD_REQ_BODY] = "request.body_bytes",
	[RC_FIELD_RES_BODY] = "response.body_bytes",
	[RC_FIELD_REQ_WIRE] = "request.body_wire_bytes",
	[RC_FIELD_RES_WIRE] = "response.body_wire_bytes",
	[RC_FIELD_REQ_LENGTH] = "request.content_length",
	[RC_FIELD_RES_LENGTH] = "response.content_length",
	[RC_FIELD_REQ_HEADERS] = "request.header",
	[RC_FIELD_RES_HEADERS] = "response.header",
	[RC_FIELD_REQ_DIGEST] = "request.digest",
	[RC_FIELD_RES_DIGEST] = "response.digest",
	[RC_FIELD_REQUEST] = "request",
	[RC_FIELD_RESPONSE] = "response",
	[RC_FIELD_TS] = "ts",
	[RC_FIELD_TTFB] = "ttfb",
	[RC_FIELD_DURATION] = "duration",
};

static const char *const bys[RC_BY_MAX] = {
	[RC_BY_NONE] = "none", [RC_BY_SEQ] = "seq",     [RC_BY_RES_SEQ] = "response_seq",
	[RC_BY_NAT] = "nat",   [RC_BY_ORDER] = "order", [RC_BY_FINGERPRINT] = "fingerprint",
};

const char *rc_verdict_name(int verdict)
{
	return NAME(verdicts, verdict);
}

const char *rc_reason_name(int reason)
{
	return reason >= 0 && reason < RC_WHY_MAX ? reasons[reason].name : "unknown";
}

const char *rc_reason_help(int reason)
{
	return reason >= 0 && reason < RC_WHY_MAX ? reasons[reason].help : "";
}

bool rc_reason_out_of_scope(int reason)
{
	return reason >= 0 && reason < RC_WHY_MAX && reasons[reason].out_of_scope;
}

const char *rc_class_name(int cls)
{
	return NAME(classes, cls);
}

const char *rc_field_name(int field)
{
	return NAME(fields, field);
}

const char *rc_by_name(int by)
{
	return NAME(bys, by);
}
