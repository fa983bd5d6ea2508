# SPDX-License-Identifier: GPL-3.0-or-later
"""expand.py: the short text of a case to the files that recon-diff reads.

case.txt: the first lines, up to the first "A ", say what the case is and why. Then

    A host|wire|client        side A, its vantage       B ...   side B
    file NAME                 the side is this file of the folder, as it is
    pack gz|zst               compressed        split N      over N files
    join glob|plus            how the N files are named (a pattern; a+b)
    clock +1.5 [200]          all its times: seconds ahead, and ppm
    ledger FROM TO [K=V...]   ledger records at the start and end. K: filtered, lost, exlost,
                              dropped (numbers), gap=CAUSE:BYTES
    c CONN OPEN CLOSE [K=V]   connection record. CLOSE may be "-". K: proto, end, lost (exchanges),
                              gap=CAUSE:BYTES (tx), overlap, flags=x+y, role, cookie, oneway
    t CONN TIME METHOD TARGET STATUS [K=V...]   transaction
    * N STEP LINE             the line N times, STEP seconds apart, "%" being 0, 1 ...
    raw TEXT                  a line as it stands

CONN: client>server ("10.0.0.1:5000>10.0.0.9:80", "[::1]:5>[::1]:80"), "unix:PATH" for a unix socket,
or "-" for none. STATUS "-": no response. Keys of t: seq, rseq (default: made from connection and target, so equal on both
sides; "-": none), role, head, body (response), wire, reqbody, ttfb (ms), outcome, flags, vantage,
host, version, digest, agent, noreq, reason, type, id, cookie, peer (cookie), txn, q:NAME=VALUE,
r:NAME=VALUE (headers).
"""
import gzip
import json
import os
import shutil
import subprocess
import zlib

BASE = 1767225600 * 10 ** 9		# 2026-01-01T00:00:00Z
VANTAGE = {"host": "syscall", "wire": "wire", "client": "syscall"}


def stamp(ns):
	import time
	sec, frac = divmod(ns, 10 ** 9)
	return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(sec)) + f".{frac:09d}Z"


class Side:
	def __init__(self, letter, kind):
		self.letter = letter
		self.vantage = VANTAGE[kind]
		self.records = []
		self.file = self.pack = None
		self.split = 1
		self.join = "plus"
		self.offset = self.ppm = 0.0
		self.n = 0

	def time(self, text):
		t = float(text)
		return BASE + round((t + t * self.ppm * 1e-6 + self.offset) * 1e9)

	def begin(self, kind, at, extra):
		self.n += 1
		rid = extra.pop("id", None) or f"{zlib.crc32(self.letter.encode()):08x}{self.n:024x}"
		return {"schema": "osprey/1", "kind": kind, "vantage": extra.pop("vantage", self.vantage),
			"id": rid, "seq": self.n, "ts": stamp(at)}


def endpoint(text):
	host, _, port = text.rpartition(":")
	return {"address": host.strip("[]"), "port": int(port)}


def conn_object(text, extra):
	out = {"transport": "tcp"}
	if "cookie" in extra:
		out["cookie"] = int(extra.pop("cookie"))
	for key, name in (("peer", "peer_cookie"), ("txn", "txn")):
		if key in extra:
			out[name] = int(extra.pop(key))
	if "role" in extra:
		out["role"] = extra.pop("role")
	if text == "-":
		out.pop("transport")
	elif text.startswith("unix:"):
		out.update(transport="unix", server={"address": text[5:]})
	else:
		client, server = text.split(">")
		out.update(client=endpoint(client), server=endpoint(server))
	return out


def options(words):
	return dict(w.split("=", 1) if "=" in w else (w, "1") for w in words)


def take_headers(extra, prefix):
	found = [[k[2:], extra.pop(k)] for k in list(extra) if k.startswith(prefix)]
	return found or None


def message(extra, side, head, body, seq, start, end, wire):
	msg = {"head_bytes": head, "body_wire_bytes": wire, "body_bytes": body}
	if seq is not None:
		msg["tcp_seq"] = seq % 2 ** 32
		msg["tcp_end"] = (seq + head + wire) % 2 ** 32
	msg["start_ns"] = start
	if end is not None:
		msg["end_ns"] = end
	headers = take_headers(extra, side)
	if headers:
		msg["header"] = headers
	return msg


def number(extra, key, default):
	v = extra.pop(key, None)
	return default if v is None else None if v == "-" else int(v)


def transaction(side, words):
	conn, at, method, target, status = words[:5]
	x = options(words[5:])
	made = zlib.crc32((conn.replace("::ffff:", "").replace("[", "").replace("]", "") + target).encode())
	ttfb = round(float(x.pop("ttfb", "1")) * 1e6)
	no_req = x.pop("noreq", None)
	outcome = x.pop("outcome", "no_request" if no_req else "no_response" if status == "-" else "ok")
	flags = [f for f in x.pop("flags", "").split("+") if f]
	rec = side.begin("transaction", side.time(at), x)
	rec.update(outcome=outcome, flags=flags, anomalies=[], conn=conn_object(conn, x))
	head = int(x.pop("head", 100))
	reqbody, body = int(x.pop("reqbody", 0)), int(x.pop("body", 500))
	wire = int(x.pop("wire", body))
	seq = number(x, "seq", made)
	rseq = number(x, "rseq", None if seq is None else made ^ 0x55555555)
	req = {"method": method, "target": target, "host": x.pop("host", "example.test")}
	if "agent" in x:
		req["user_agent"] = x.pop("agent")
	req.update(message(x, "q:", head, reqbody, seq, 0, 0, reqbody))
	http = {"version": x.pop("version", "1.1")}
	if not no_req:
		http["request"] = req
	if status != "-":
		res = {"status_code": int(status), "reason": x.pop("reason", "OK")}
		if "type" in x:
			res["content_type"] = x.pop("type")
		res.update(message(x, "r:", 150, body, rseq, 0 if no_req else ttfb,
				   None if outcome in ("gap", "closed") else ttfb, wire))
		if "digest" in x:
			res["digest"] = "xxh64:" + x.pop("digest")
		http["response"] = res
	rec["http"] = http
	if status != "-" and not no_req:
		rec["timing"] = {"ttfb_ns": ttfb, "duration_ns": ttfb}
	rec["lost_bytes"] = 0
	assert not x, f"unknown keys {x} in {words}"
	return rec


def gaps(x):
	if "gap" not in x:
		return []
	cause, n = x.pop("gap").split(":")
	return [{"at": 0, "bytes": int(n), "cause": cause}]


def connection(side, words):
	conn, opened, closed = words[:3]
	x = options(words[3:])
	rec = side.begin("connection", side.time(opened), x)
	rec.update(flags=[f for f in x.pop("flags", "").split("+") if f], anomalies=[],
		   conn=conn_object(conn, x), opened=stamp(side.time(opened)))
	if closed != "-":
		rec["closed"] = stamp(side.time(closed))
	rec.update(end=x.pop("end", "fin" if closed != "-" else "running"),
		   protocol=x.pop("proto", "http/1"), transactions=0, turns=0,
		   lost_exchanges=int(x.pop("lost", 0)))
	hole = gaps(x)
	missing = sum(g["bytes"] for g in hole)
	stream = {"seen_bytes": 1000, "captured_bytes": 1000, "gap_bytes": 0, "overlap_bytes": 0, "gaps": []}
	rec["tx"] = dict(stream, bytes=1000 + missing, gap_bytes=missing, gaps=hole,
			 overlap_bytes=int(x.pop("overlap", 0)))
	rec["rx"] = dict(stream, bytes=1000)
	if x.pop("oneway", None):
		rec["rx"] = dict(stream, seen_bytes=0, captured_bytes=0, bytes=0)
		rec["flags"].append("one_way")
	assert not x, f"unknown keys {x} in {words}"
	return rec


def ledgers(side, words):
	x = options(words[2:])
	for when, at in zip(("start", "exit"), words[:2]):
		y = dict(x)
		rec = side.begin("ledger", side.time(at), {})
		rec.update(when=when, agent={"version": "0"}, mode="sock", host={"name": "h"})
		if when == "exit":
			rec["events"] = {"seen": 1, "filtered": int(y.pop("filtered", 0))}
			if "lost" in y:
				rec["events"]["lost"] = {"ring_full": int(y.pop("lost"))}
			if "gap" in y:
				cause, n = y.pop("gap").split(":")
				rec["bytes"] = {"gap": {cause: int(n)}}
			rec["exchanges"] = {"lost": int(y.pop("exlost", 0))}
			rec["sinks"] = {"jsonl": {"offered": 1, "dropped": int(y.pop("dropped", 0))}}
			assert not y, f"unknown keys {y}"
		rec["closed"] = True
		side.records.append(json.dumps(rec))


def line(side, words):
	verb = words[0]
	if verb == "*":
		first = float(words[5])
		for i in range(int(words[1])):
			again = [w.replace("%", str(i)) for w in words[3:]]
			again[2] = repr(first + i * float(words[2]))
			line(side, again)
	elif verb == "t":
		side.records.append(json.dumps(transaction(side, words[1:])))
	elif verb == "c":
		side.records.append(json.dumps(connection(side, words[1:])))
	elif verb == "ledger":
		ledgers(side, words[1:])
	elif verb == "clock":
		side.offset, side.ppm = float(words[1]), float(words[2]) if len(words) > 2 else 0.0
	elif verb in ("file", "pack", "join"):
		setattr(side, verb, words[1])
	elif verb == "split":
		side.split = int(words[1])
	else:
		raise ValueError(f"unknown line {words}")


def parse(path):
	"""(what the case is, options, [side A, side B])"""
	about, sides, opts = [], [], []
	with open(path, encoding="utf-8") as f:
		for text in f.read().splitlines():
			words = text.split()
			if text.startswith(("A ", "B ")) and words[1] in VANTAGE and len(sides) < 2:
				sides.append(Side(words[0], words[1]))
			elif not words or words[0] == "#":
				continue
			elif words[0] == "options":
				opts = words[1:]
			elif not sides:
				about.append(text)
			elif words[0] == "raw":
				sides[-1].records.append(text[4:])
			else:
				line(sides[-1], words)
	return " ".join(about), opts, sides


def write(side, case, folder):
	"""The side's files; returns the argument for recon-diff."""
	if side.file:
		source = os.path.join(case, side.file)
		target = os.path.join(folder, side.letter + "-" + side.file)
		if os.path.exists(source):
			shutil.copy(source, target)
		return target
	names = []
	per = -(-len(side.records) // side.split) or 1
	for i in range(side.split):
		path = os.path.join(folder, f"{side.letter}.jsonl" + (f".{i}" if side.split > 1 else ""))
		data = "".join(r + "\n" for r in side.records[i * per:(i + 1) * per]).encode()
		if side.pack == "gz":
			path += ".gz"
			data = gzip.compress(data)
		elif side.pack == "zst":
			path += ".zst"
			data = subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE,
					      check=True).stdout
		with open(path, "wb") as f:
			f.write(data)
		names.append(path)
	if len(names) > 1 and side.join == "glob":
		return os.path.join(folder, side.letter + ".jsonl*")
	return "+".join(names)
