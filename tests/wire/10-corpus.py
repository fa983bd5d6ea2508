#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""10-corpus.py: 108 captures from elsewhere, compared with what three other programs agree on.

Compared per transaction: method, target, host, status, body sizes and completeness of both halves.
A size that the truth leaves out because the message was not complete is not compared: ours is then
the number of bytes that were there.

What differs and is right stands in REVIEWED with the reason. An entry that no
longer differs is a failure: the list must not outlive its reasons."""
import os
import json
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
		os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib")]
import packets
import records
from tap import Tap, skip_all

GAP_IN_BODY = ("a hole inside a body of known length is stepped over: the message is complete, its "
	       "size known, and the record says gap; tshark gives up")
REVIEWED = {
	"http__261__variant-01-chunk_2pow64_overflow.pcap":
		"a chunk size of 2^64 can't be framed: framing_error; tshark calls the request complete",
	"http__content-length-overflow.pcap":
		"100 of 2,200,000,000 bytes, then FIN: incomplete (RFC 9112 8); tshark calls it complete",
	"http__content-range-gap-skip.pcap": GAP_IN_BODY,
	"http__content-range-gap.pcap": GAP_IN_BODY,
	"http__entity_gap.pcap": GAP_IN_BODY,
	"http__entity_gap2.pcap": GAP_IN_BODY,
}


def half(msg):
	return (msg.get("body_bytes") or 0, "end_ns" in msg) if msg else None


def ours(rec):
	req, res, c = rec["http"].get("request"), rec["http"].get("response"), rec["conn"]
	return {"key": (c["client"]["address"], c["client"]["port"], c["server"]["address"],
			c["server"]["port"], req and req.get("method"), req and req.get("target"),
			res and res.get("status_code")),
		"host": req and req.get("host"), "req": half(req), "res": half(res),
		"what": f"{rec['outcome']} {rec['flags']} {rec['anomalies']}"}


def theirs(tx):
	key = tuple(tx[k] for k in ("client", "cport", "server", "sport", "method", "uri", "status"))
	out = {"key": key, "host": tx["host"]}
	for name, there in (("req", tx["method"]), ("res", tx["status"])):
		out[name] = None if there is None else (tx.get(name + "_body_len"),
							 bool(tx.get(name + "_complete")))
	# The tools behind the truth do not read what HTTP/0.9 sends back; we do.
	if tx["method"] and not tx["req_version"]:
		del out["res"]
	return out


def half_differs(mine, want):
	if mine is None or want is None:
		return mine != want
	if mine[1] != want[1]:
		return True
	return mine[0] != (want[0] or 0) and not (want[0] is None and not want[1])


def differences(run, truth):
	out = []
	left = [ours(r) for r in run.txns]
	for tx in map(theirs, truth["transactions"]):
		mine = next((m for m in left if m["key"] == tx["key"]), None)
		if mine is None:
			out.append(f"missing: {tx['key']}")
			continue
		left.remove(mine)
		for field in [f for f in ("host", "req", "res") if f in tx]:
			bad = mine[field] != tx[field] if field == "host" else \
				half_differs(mine[field], tx[field])
			if bad:
				out.append(f"{tx['key']}: {field} {mine[field]}, truth {tx[field]} "
					   f"({mine['what']})")
	return out + [f"too many: {m['key']} {m['what']}" for m in left]


def main():
	listing, folder = packets.shared("corpora", "wire-truth.json"), packets.shared("corpora", "wire")
	if not listing or not folder:
		skip_all("the captures are not here (set OSP_SHARED, or put them in ../shared)")
	tap = Tap()
	transactions = agree = 0
	checked = []
	with open(listing) as f:
		truths = json.load(f)
	with tempfile.TemporaryDirectory() as tmp:
		for truth in truths:
			name = truth["capture"]
			run = packets.Run(os.path.join(folder, name), tmp)
			faults = [] if run.code == 0 else [f"exit {run.code}: {run.err[:300]}"]
			if not run.ledger.get("closed"):
				faults.append("the ledger's sums do not close")
			faults += records.faults(run.all)
			checked += run.all
			diffs = differences(run, truth)
			transactions += len(truth["transactions"])
			agree += len(truth["transactions"]) if not diffs else 0
			if name in REVIEWED and not faults:
				tap.ok(diffs, f"{name}: differs as reviewed", "it does not differ any more")
			else:
				tap.none(faults + diffs, f"{name}: {len(truth['transactions'])} transactions")
	bad, why = records.schema_faults(checked)
	if bad is None:
		tap.skip("all records fit the schema", why)
	else:
		tap.none(bad, "all records fit the schema")
	tap.note(f"{len(truths)} captures, {transactions} transactions; of captures that agree in all: {agree}")
	return tap.done()


sys.exit(main())
