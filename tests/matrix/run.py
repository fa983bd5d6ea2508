#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix: the same behaviours of clients against servers of six makes.

nginx, Apache, Python, Node, Go (also byte by byte) and Java serve; a client on a bare socket,
curl, wrk, Python and Node ask: one after the other and pipelined, chunked both ways, with HEAD,
100-continue, upgrades, tunnels, single bytes, 200 KiB heads, and with either side gone in the
middle. The agent sees both ends of each connection. Its records have to say exactly what the
programs say themselves: which exchanges on which connection in which order, by whom, how big, how
they ended, with no anomaly.

One point a behaviour and server. Everything once in the first mode that can run; the core of it in
the other.
"""
import json
import os
import re
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.dont_write_bytecode = True

import behave			# noqa: E402
import raw			# noqa: E402
import records			# noqa: E402
import tap			# noqa: E402
from peerlog import (by_conn, compare, compare_ends, compare_wrk, conn_faults, key,	# noqa: E402
		     rec_key, say)
from records import get		# noqa: E402
from rig import Agent, Rig, modes_for, ready_mode, wait_for, why_not	# noqa: E402
from start import PEERS, start_all	# noqa: E402

WRK_ANSWERS = 300
CONTINUE = len("HTTP/1.1 100 Continue\r\n\r\n")


class Loopback:
	host = client = "127.0.0.1"
	loopback = True

	@staticmethod
	def netns(_):
		return os.stat("/proc/self/ns/net").st_ino


class Bench:
	"""What a behaviour works with. cells: (name, server, entries, clients)."""

	def __init__(self, rig, origin):
		self.rig, self.origin = rig, origin
		self.cells, self.wrks = [], []
		self.body = os.path.join(rig.tmp, "body")
		with open(self.body, "wb") as f:
			f.write(b"b" * 50_000)

	def open(self, srv, **kw):
		self.clients.append(raw.Client(srv.port, **kw))
		return self.clients[-1]

	def said(self, entry):
		self.entries.append(entry)

	def run(self, name, behaviour, srv):
		self.clients, self.entries = [], []
		try:
			behaviour(self, srv)
		finally:
			for c in self.clients:
				c.close()
				self.entries += c.entries
		self.cells.append((name, srv, self.entries, self.clients))

	def wrk(self, srv):
		self.wrks.append((srv, self.rig.popen(
			["wrk", "-t1", "-c4", "-d1s", "-s", os.path.join(PEERS, "limit.lua"),
			 f"http://127.0.0.1:{srv.port}/b/300?wrk", "--", str(WRK_ANSWERS)],
			stdout=-1, stderr=-1, text=True)))

	def end_wrks(self):
		"""(server, responses, pid) of each."""
		out = []
		for srv, child in self.wrks:
			text, err = child.communicate(timeout=20)
			self.rig.children.remove(child)
			m = re.search(r"(\d+) requests in", text)
			if not m:
				raise RuntimeError(f"wrk at {srv.name}: {text!r} {err!r}")
			out.append((srv, int(m.group(1)), child.pid))
		return out


def traffic(b, servers, whole):
	for srv in servers:
		for name, f in behave.CORE + (behave.MORE if whole else []):
			if not (f is behave.gone_in_response and srv.name == "go-bytes"):
				b.run(name, f, srv)	# millions of events, nothing new
		if not whole:
			continue
		if srv.name != "go-bytes":
			b.run("CONNECT", behave.connect, srv)
		if "ws" in srv.can:
			b.run("WebSocket", behave.web_socket, srv)
		if "connect" in srv.can:
			b.run("client curl through a proxy", behave.curl_proxy, srv)
		if shutil.which("node"):
			b.run("client Node", behave.node, srv)


def wait_logged(b, servers):
	"""Until each server has logged what was asked of it: they do so when they have answered."""
	def all_there():
		for srv in servers:
			have = {}
			for e in srv.entries():
				have[key(e)] = have.get(key(e), 0) + 1
			for _, s, entries, _ in b.cells:
				want = by_conn([e for e in entries if not e.get("odd")])
				if s is srv and any(have.get(k, 0) < len(v) for k, v in want.items()):
					return False
		return True
	wait_for(all_there, 5, 0.1)


# ---- comparison ---------------------------------------------------------------------------------

def one_of(entry, rec):
	"""The entry with that of its allowed outcomes that the record has."""
	allowed = entry.get("outcome", "ok")
	if isinstance(allowed, str):
		return entry
	return dict(entry, outcome=rec["outcome"] if rec["outcome"] in allowed else allowed[0])


def sided(entries, role):
	"""What the client said of itself, as an entry for role: the server's end of an exchange that
	broke may have moved less than the client's, or more."""
	out = []
	for e in entries:
		if role == "server":
			e = {k: v for k, v in e.items() if k not in
			     ("pid", "tid", "comm", "req_body", "req_size", "res_body", "res_size")}
		out.append(e)
	return out


def merge(ask, logged):
	"""The server's entries, with what only the client knows, and the other way round."""
	for c, s in zip(ask, logged):
		for field in ("req_body", "req_size", "res_body", "res_wire", "res_size", "flags"):
			if field in c:
				s.setdefault(field, c[field])
		if c.get("interim", []) is None:
			c["interim"] = s.get("interim", [100])
		s["interim"] = c.get("interim", s.get("interim"))
		if s["comm"] == "nginx" and s["interim"]:	# takes it for a part of the body
			s["res_wire"] -= CONTINUE
		if s["comm"] == "nginx" and s["status"] == 101:
			s["tunnel_out"] = s.pop("res_wire")


def differ(ask, logged):
	"""The two programs themselves have to agree, or the test is wrong."""
	if len(ask) != len(logged):
		return [f"the test itself: the client made {len(ask)}, the server logged {len(logged)}"]
	return [f"the test itself: client {c}, server {s}" for c, s in zip(ask, logged)
		for f in ("method", "target", "status") if c[f] != s[f]] + \
	       [f"the test itself: {c['target']}: client moved {c[f]}, server {s[g]}"
		for c, s in zip(ask, logged)
		for f, g in (("tunnel_in", "tunnel_out"), ("tunnel_out", "tunnel_in"))
		if f in c and g in s and c[f] != s[g]]


def compare_one(want, recs, role):
	bad, count = [], {}
	if len(want) != len(recs):
		return [f"{role}: {len(recs)} records for {len(want)} exchanges: " + ", ".join(
			f"{get(r, 'http.request.method')} {get(r, 'http.request.target')} "
			f"{get(r, 'http.response.status_code')} {r.get('outcome')}" for r in recs[:8])]
	for entry, rec in zip(want, recs):
		cookie = get(rec, "conn.cookie")
		count[cookie] = n = count.get(cookie, 0) + 1
		entry = one_of(entry, rec)
		entry.setdefault("comm", get(rec, "process.comm"))
		wrong = compare(entry, rec, role, Loopback)
		if get(rec, "conn.txn") != n:
			wrong.append(f"conn.txn is {get(rec, 'conn.txn')}, not {n}")
		if wrong:
			bad.append(say(role, entry, wrong))
	return bad


class Seen:
	"""The records, a list for each connection in the order of the connections; and what was not
	asked for yet. Ports come again within a run, so that a connection is its cookie."""

	def __init__(self, recs):
		self.conns = {get(r, "conn.cookie"): r for r in records.kind(recs, "connection")}
		self.left, self.tunnelled = {}, 0
		for r in records.kind(recs, "transaction"):
			of = self.left.setdefault((rec_key(r), get(r, "conn.role")), {})
			of.setdefault(get(r, "conn.cookie"), []).append(r)
		for of in self.left.values():
			for group in of.values():
				group.sort(key=lambda r: get(r, "conn.txn", 1 << 30))

	def take(self, conn, role, whole=False):
		"""The records of the first connection with those ports; of all of them if whole."""
		of = self.left.get((conn, role), {})
		out = []
		while of and (whole or not out):
			out += of.pop(next(iter(of)))
		return out

	def take_tagged(self, tag, role):
		out = []
		for (_, r), of in self.left.items():
			for cookie, recs in list(of.items()):
				if r == role and get(recs[0], "http.request.target", "").endswith(tag):
					out += of.pop(cookie)
		return out

	def rest(self):
		return [r for of in self.left.values() for recs in of.values() for r in recs]

	def conn(self, recs):
		return self.conns.get(get(recs[0], "conn.cookie"), {}) if recs else {}


def take_logged(logs, conn, ask):
	"""The server's lines for what a client did: those that stand together as it asked."""
	lines, want = logs.get(conn, []), [(e["method"], e["target"]) for e in ask]
	for at in range(len(lines) - len(ask) + 1):
		if [(e["method"], e["target"]) for e in lines[at:at + len(ask)]] == want:
			logs[conn] = lines[:at] + lines[at + len(ask):]
			return lines[at:at + len(ask)]
	return logs.pop(conn, [])


def gaps(rec, name, cause):
	return sum(g["bytes"] for g in get(rec, name + ".gaps", []) if g["cause"] == cause)


def check_bytes(c, rec):
	"""The connection's record against what the client moved."""
	took = get(rec, "rx.bytes", 0) - gaps(rec, "rx", "unread")
	return [f"connection {c.cport}->{c.sport}: {d} {got} bytes, the client says {n}"
		for d, got, n in (("tx", get(rec, "tx.bytes"), c.sent), ("rx", took, c.got))
		if got != n]


def in_messages(recs):
	"""(bytes of requests, bytes of responses), interim ones as every server here writes them."""
	total = [0, 0]
	for r in recs:
		for i, half in enumerate(("request", "response")):
			m = get(r, "http." + half, {})
			total[i] += m.get("head_bytes", 0) + m.get("body_wire_bytes", 0)
		total[1] += CONTINUE * len(get(r, "http.response.interim", []))
	return total


def check_tunnel(entry, ends, seen):
	"""What a connection moved besides its messages went through the tunnel at its end: as much
	as the programs say, where one of them does."""
	bad = []
	for role, recs in zip(("server", "client"), ends):
		rec = seen.conn(recs)
		up, down = ("tx", "rx") if role == "client" else ("rx", "tx")
		req, res = in_messages(recs)
		inside = (get(rec, up + ".bytes", 0) - req, get(rec, down + ".bytes", 0) - res)
		said = entry.get("tunnel_out"), entry.get("tunnel_in")
		if said[0] is not None and said != inside:
			bad.append(f"{role}: {inside} bytes in the tunnel, the client says {said}")
		# What the kernel kept to itself is a gap of that name.
		seen.tunnelled += sum(inside) - gaps(rec, up, "skipped") - gaps(rec, down, "skipped")
	return bad


def check_cell(entries, clients, logs, seen):
	bad = []
	clients = {(c.sport, c.cport): c for c in clients}
	for conn, ask in by_conn(entries).items():
		odd = any(e.get("odd") for e in ask)
		logged = [] if odd else take_logged(logs, conn, ask)
		merge(ask, logged)
		bad += [] if odd else differ(ask, logged)
		ends = [seen.take(conn, role) for role in ("server", "client")]
		bad += compare_one(sided(ask, "server") if odd else logged, ends[0], "server")
		bad += compare_one(ask, ends[1], "client")
		bad += [] if odd else compare_ends(*ends)
		if ask[-1].get("flags"):
			bad += check_tunnel(ask[-1], ends, seen)
		if conn in clients:
			bad += check_bytes(clients[conn], seen.conn(ends[1]))
	return bad


def check_behind(logs, odd, seen, servers):
	"""Connections whose client is one of the servers: what the front asked of the Python server.
	odd: where clients broke off, so that it is open what the server has logged."""
	bad, fronts = [], {s.comm for s in servers}
	for conn, logged in logs.items():
		ends = {role: seen.take(conn, role, whole=True) for role in ("server", "client")}
		if conn in odd and not ends["server"]:
			continue
		logged = [dict(e, outcome="ok" if e.get("whole", True) else ("closed", "reset"),
			       flags=behave.switched(e)) for e in logged]
		bad += compare_one(logged, ends["server"], "server")
		for e in logged:
			for f in ("pid", "tid", "comm"):
				e.pop(f, None)
		bad += compare_one(logged, ends["client"], "client")
		if logged and logged[-1]["flags"]:
			last = {"tunnel_out": logged[-1]["tunnel_in"],
				"tunnel_in": logged[-1]["tunnel_out"]}
			bad += check_tunnel(last, ends.values(), seen)
		bad += [f"{conn}: {get(r, 'process.comm')} asked" for r in ends["client"]
			if get(r, "process.comm") not in fronts]
	return bad


def check_wrks(t, mode, wrks, logs, seen):
	ends = [by_conn(seen.take_tagged("?wrk", role), rec_key) for role in ("server", "client")]
	for srv, count, pid in wrks:
		truth = []
		for conn in [k for k in logs if k[0] == srv.port]:
			truth += [e for e in logs[conn] if e["target"].endswith("?wrk")]
			logs[conn] = [e for e in logs[conn] if not e["target"].endswith("?wrk")]
		mine = [[r for k, recs in of.items() if k[0] == srv.port for r in recs] for of in ends]
		t.none(compare_wrk(truth, *mine, count, Loopback, pid),
		       f"{mode}: {srv.name}: client wrk, {len(truth)} exchanges")


def check(t, mode, recs, b, servers, wrks):
	seen = Seen(recs)
	logs = {}
	for srv in {s.log: s for s in servers}.values():
		logs.update(by_conn(srv.entries()))
	check_wrks(t, mode, wrks, logs, seen)
	for name, srv, entries, clients in b.cells:
		t.none(check_cell(entries, clients, logs, seen),
		       f"{mode}: {srv.name}: {name}, {len(entries)} exchanges")
	odd = {key(e) for _, _, entries, _ in b.cells for e in entries if e.get("odd")}
	logs = {k: v for k, v in logs.items() if v}
	t.none(check_behind(logs, odd, seen, servers),
	       f"{mode}: {sum(map(len, logs.values()))} exchanges between servers and proxies")
	t.none([json.dumps(r)[:500] for r in seen.rest()], f"{mode}: no record but of these")
	t.eq(get(records.exit_ledger(recs), "bytes.skipped.tunnel", 0), seen.tunnelled,
	     f"{mode}: tunnelled bytes in the ledger")
	t.none(records.faults(recs), f"{mode}: sums close, nothing lost")
	t.none(conn_faults(recs, ("http/1", "websocket")),
	       f"{mode}: connection records agree with the transactions")


# ---- the run ------------------------------------------------------------------------------------

def run_mode(rig, t, mode, servers, whole):
	for srv in servers:
		srv.mark()
	ports = [a for s in servers for a in ("--port", s.port)]
	agent = Agent(rig, *ports, mode=mode, name=mode)
	if not t.ok(agent.ready(), f"{mode}: the agent gets ready", agent.stderr()):
		return
	t.eq(ready_mode(agent), mode, f"{mode}: it is in that mode")
	b = Bench(rig, servers[0])
	traffic(b, servers, whole)
	if whole and shutil.which("wrk"):
		for srv in servers:
			if srv.name != "go-bytes":
				b.wrk(srv)
	wrks = b.end_wrks()
	wait_logged(b, servers)
	if whole:	# those behind others last
		for srv in reversed(servers):
			if srv.name != "go-bytes":
				b.run("killed in a response", behave.killed, srv)
	agent.settle()
	t.eq(agent.stop(), 0, f"{mode}: the agent ends with 0", agent.stderr())
	check(t, mode, agent.records(), b, servers, wrks)


def main():
	if why_not():
		tap.skip_all(why_not())
	t = tap.Tap()
	with Rig() as rig:
		servers = start_all(rig, t)
		if not shutil.which("wrk"):
			t.skip("client wrk", "wrk is not installed")
		can = modes_for(t)
		for mode in can[::-1]:		# servers do not survive the whole of it
			run_mode(rig, t, mode, servers, mode == can[0])
	return t.done()


if __name__ == "__main__":
	sys.exit(main())
