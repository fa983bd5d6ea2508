#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""40-variants.py: what SPAN and TAP ports make of captures gives the same records.

The variants come from a script beside the captures (28 kinds a capture). Where a kind takes packets
away the records can't be the same; then none may be wrong: every pair is one of the original's, and
what misses something says so.

    40-variants.py [PATTERN]      only captures whose name contains PATTERN; "all": every one there is
"""
import glob
import json
import os
import subprocess
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
		os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib")]
import packets
import records
from tap import Tap, skip_all

BASES = ("http__get-gzip", "http__pipelined-requests", "http__100-continue", "http__post.pcap",
	 "http__206_example_a", "http__multipart.pcap", "http__websocket", "http__proxy.pcap",
	 "http__concurrent-range-requests.pcap", "http__docker-http-upgrade", "http__no_crlf",
	 "http__m57-long-49600", "http__vnd.ms-cab", "workshop_2011_browse", "ipv6",
	 "websocket__fragmented", "tls__ocsp-revoked", "tcp__options", "web.pcap")
# Kinds that take packets, or parts of them, away.
LESS = ("oneway_c", "oneway_s", "snap96", "drop5pct", "nofin", "midstream")
# A reset overtaken by data that it should have followed: the data is late, by the rules.
SWAPPED_RESET = ("websocket__wstunnel-http.pcap",)


def halves(rec):
	req, res = rec["http"].get("request"), rec["http"].get("response")
	return (req and (req["tcp_seq"], req.get("method"), req.get("target")),
		res and (res["tcp_seq"], res.get("status_code")))


def pairs_of(run):
	return {(r["conn"]["id"], *halves(r)) for r in run.txns}


def less_faults(kind, base, run):
	"""What no loss of packets excuses."""
	out = []
	whole = pairs_of(base)
	reqs = {(c, q) for c, q, _ in whole if q}
	ress = {(c, s) for c, _, s in whole if s}
	for rec in run.txns:
		c = rec["conn"]["id"]
		q, s = halves(rec)
		if q and s and (c, q, s) not in whole:
			out.append(f"wrong pair: {q} {s}")
		if q and (c, q) not in reqs:
			out.append(f"a request that was not there: {q}")
		if s and (c, s) not in ress:
			out.append(f"a response that was not there: {s}")
		if rec["lost_bytes"] and "gap" not in rec["flags"]:
			out.append(f"bytes are missing and nothing says so: {q} {s}")
	return out


def check(tap, name, base, path):
	kind = path.rsplit("~", 1)[1][:-len(".pcap")]
	run = packets.Run(path, "")
	faults = records.faults(run.all)
	if run.code or not run.ledger.get("closed"):
		faults.append(f"exit {run.code}: {run.err[-500:]}")
	if kind in LESS:
		faults += less_faults(kind, base, run)
	elif not (kind == "swap_adjacent" and name in SWAPPED_RESET):
		got, want = packets.essences(run), packets.essences(base)
		faults += [f"missing: {x[:400]}" for x in sorted(set(want) - set(got))]
		faults += [f"too many: {x[:400]}" for x in sorted(set(got) - set(want))]
	if kind in ("dup", "dup_routed"):
		once = base.wire["segments"] - base.wire["copies"]
		if run.wire["segments"] - run.wire["copies"] != once:
			faults.append(f"{run.wire['segments'] - run.wire['copies']} left of {once} segments")
	return kind, faults


def main():
	maker, folder = packets.shared("tools", "make_variants.py"), packets.shared("corpora", "wire")
	if not maker or not folder:
		skip_all("the captures are not here (set OSP_SHARED, or put them in ../shared)")
	tap = Tap()
	want = sys.argv[1:] or BASES
	for name in sorted(os.listdir(folder)):
		if want[0] != "all" and not any(w in name for w in want):
			continue
		with tempfile.TemporaryDirectory() as tmp:
			made = subprocess.run([sys.executable, maker, os.path.join(folder, name), tmp],
					      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
			if made.returncode:
				tap.note(f"{name}: {made.stderr.decode().strip().splitlines()[-1]}")
				continue
			base = packets.Run(os.path.join(folder, name), tmp)
			bad, kinds = [], 0
			for path in sorted(glob.glob(os.path.join(glob.escape(tmp), "*~*.pcap"))):
				# Tagged frames do not become these: the script would drop them.
				if any(k in path for k in ("~gre_ip", "~mpls2", "~pppoe")) and \
						("vlan" in name or "qinq" in name):
					continue
				kind, faults = check(tap, name, base, path)
				kinds += 1
				bad += [f"{kind}: {f}" for f in faults]
			tap.none(bad, f"{name}: {kinds} variants, {len(base.txns)} transactions")
	return tap.done()


sys.exit(main())
