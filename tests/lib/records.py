#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""records.py: reading what the jsonl sink wrote. A module for Python tests, and for shell tests:

    records.py count FILE [KEY=VALUE]...     how many records match (conn.role=server, kind=...)
    records.py show FILE KEY... [-- KEY=VALUE...]   those keys of each match, a line a record
    records.py ledger FILE STAGE.NAME[.LABEL]       a counter of the exit ledger, 0 if it is absent
    records.py closed FILE                   exit 0 if the file ends with an exit ledger that closes
    records.py faults FILE                   everything wrong that shows in any run; exit 0 if none
"""
import json
import os
import sys


def load(path):
	"""All records of a file. A line that is no JSON object is an error: a sink writes whole
	lines, whatever happens to the agent."""
	out = []
	with open(path, encoding="utf-8") as f:
		for n, line in enumerate(f, 1):
			try:
				rec = json.loads(line)
			except ValueError as e:
				raise ValueError(f"{path}:{n}: not JSON ({e}): {line[:200]!r}") from None
			out.append(rec)
	return out


def get(rec, dotted, default=None):
	for key in dotted.split("."):
		if not isinstance(rec, dict) or key not in rec:
			return default
		rec = rec[key]
	return rec


def kind(recs, name):
	return [r for r in recs if r.get("kind") == name]


def exit_ledger(recs):
	last = [r for r in kind(recs, "ledger") if r.get("when") == "exit"]
	return last[-1] if last else None


def counter(led, dotted):
	"""stage.name or stage.name.label; a family without a label is the sum over its labels."""
	v = get(led or {}, dotted, 0)
	return sum(v.values()) if isinstance(v, dict) else v


def stream_faults(rec):
	"""bytes = seen_bytes + sum of gaps, per direction, where the totals are known."""
	out = []
	for name in ("tx", "rx"):
		d = rec.get(name)
		if not d or "bytes" not in d:
			continue
		gaps = sum(g["bytes"] for g in d.get("gaps", []))
		if d["bytes"] != d.get("seen_bytes", 0) + gaps:
			out.append(f"connection {get(rec, 'conn.cookie')} {name}: bytes {d['bytes']} != "
				   f"seen {d.get('seen_bytes')} + gaps {gaps}")
		if gaps != d.get("gap_bytes", 0):
			out.append(f"connection {get(rec, 'conn.cookie')} {name}: gap_bytes "
				   f"{d.get('gap_bytes')} != sum of gaps {gaps}")
	return out


def txn_faults(rec):
	"""What no transaction record may say, whatever happened."""
	out = []
	who = f"seq {rec.get('seq')}"
	http = rec.get("http", {})
	for half in ("request", "response"):
		m = http.get(half)
		if not m:
			continue
		size = m.get("head_bytes", 0) + m.get("body_wire_bytes", 0)
		if {"tcp_seq", "tcp_end", "head_bytes", "body_wire_bytes"} <= m.keys() and \
		   not m.get("interim") and (m["tcp_end"] - m["tcp_seq"]) % 2**32 != size % 2**32:
			out.append(f"{who}: {half} spans {(m['tcp_end'] - m['tcp_seq']) % 2**32} bytes, "
				   f"head + body = {size}")
		if "end_ns" in m and m["end_ns"] < m.get("start_ns", m["end_ns"]):
			out.append(f"{who}: {half} ends before it starts")
	if rec.get("outcome") == "ok" and not ("request" in http and "response" in http):
		out.append(f"{who}: outcome ok with half a transaction")
	if rec.get("outcome") == "no_request" and "request" in http:
		out.append(f"{who}: no_request with a request")
	first, last = get(rec, "timing.ttfb_ns"), get(rec, "timing.duration_ns")
	if last is not None and last < max(first or 0, 0):
		out.append(f"{who}: duration_ns {last}, ttfb_ns {first}")
	return out


def faults(recs, loss=False):
	"""Everything wrong that can be seen without knowing what the traffic was. loss: events may
	have been lost, as long as the sums tell."""
	out = []
	led = exit_ledger(recs)
	if not led:
		out.append("no exit ledger")
	elif recs[-1] is not led:
		out.append("the exit ledger is not the last record")
	elif led.get("closed") is not True:
		out.append(f"the exit ledger does not close: {json.dumps(led)[:1500]}")
	if led and not loss:
		lost = {k: v for k, v in get(led, "events.lost", {}).items() if v}
		if lost:
			out.append(f"events lost: {lost}")
	for want, rec in enumerate(recs, 1):
		if rec.get("seq") != want:
			out.append(f"record {want} has seq {rec.get('seq')}: a hole")
			break
	ids = set()
	for rec in recs:
		if rec.get("kind") == "transaction":
			out += txn_faults(rec)
		elif rec.get("kind") == "connection":
			out += stream_faults(rec)
		if rec.get("id") in ids:
			out.append(f"seq {rec.get('seq')}: id {rec.get('id')} was used before")
		ids.add(rec.get("id"))
	return out


def schema_faults(recs, limit=5):
	"""Against docs/osprey-record.schema.json. None: cannot be checked here (why is the text)."""
	path = os.path.join(os.path.dirname(__file__), "../../docs/osprey-record.schema.json")
	try:
		import jsonschema
	except ImportError:
		return None, "python3-jsonschema is not installed"
	if not os.path.exists(path):
		return None, "no docs/osprey-record.schema.json"
	with open(path) as f:
		schema = json.load(f)
	check = jsonschema.validators.validator_for(schema)(schema)
	out = []
	for rec in recs:
		for e in check.iter_errors(rec):
			deep = min(e.context, key=lambda c: len(c.schema_path)) if e.context else e
			out.append(f"seq {rec.get('seq')} kind {rec.get('kind')}: "
				   f"{'.'.join(map(str, deep.absolute_path))}: {deep.message[:200]}")
			break
		if len(out) >= limit:
			break
	return out, ""


def _match(rec, conds):
	for c in conds:
		key, _, want = c.partition("=")
		have = get(rec, key)
		if (have if isinstance(have, str) else json.dumps(have)) != want:
			return False
	return True


def main(argv):
	if len(argv) < 3:
		sys.exit(__doc__)
	cmd, path, rest = argv[1], argv[2], argv[3:]
	recs = load(path)
	if cmd == "count":
		print(sum(_match(r, rest) for r in recs))
	elif cmd == "show":
		cut = rest.index("--") if "--" in rest else len(rest)
		for r in recs:
			if _match(r, rest[cut + 1:]):
				print(" ".join(str(get(r, k, "-")) for k in rest[:cut]))
	elif cmd == "ledger":
		led = exit_ledger(recs)
		if not led:
			sys.exit("no exit ledger")
		print(counter(led, rest[0]))
	elif cmd == "closed":
		led = exit_ledger(recs)
		sys.exit(0 if led and recs[-1] is led and led.get("closed") is True else
			 f"exit ledger: {json.dumps(led)[:2000]}")
	elif cmd == "faults":
		bad = faults(recs)
		print("\n".join(bad))
		sys.exit(1 if bad else 0)
	else:
		sys.exit(__doc__)


if __name__ == "__main__":
	main(sys.argv)
