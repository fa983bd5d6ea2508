#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real servers and real clients, in both capture modes.

nginx (with and without sendfile), Python (HTTP/1.1 and 1.0) and Node serve; curl, Python and wrk
ask; over 127.0.0.1, ::1 and a veth pair between two network namespaces that the agent, in the root
namespace, sees both ends of. The agent's records have to say exactly what the servers' and the
clients' own logs say: which transactions on which connection in which order, by which process, in
which role, with which sizes. One point a combination of server, client and path.

A request's target carries the combination (?c=...) and the mode, so that one log serves for all.
"""
import json
import os
import re
import shutil
import socket
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.dont_write_bytecode = True

import records			# noqa: E402
import tap			# noqa: E402
from peerlog import by_conn, compare_conns, compare_ends, compare_wrk, conn_faults	# noqa: E402
from records import get		# noqa: E402
from rig import Agent, Rig, free_port, group_comm, modes_for, ready_mode, wait_for, why_not	# noqa: E402

PYTHON = "/usr/bin/python3"
BIG = 10_000_000		# more than any socket buffer and any capture cap
MANY = 400			# responses after which wrk stops

CONTINUE = "HTTP/1.1 100 Continue\r\n\r\n"

# curl says this of every transfer; sizes are what it counted itself.
CURL_SAYS = ('{"cport":%{local_port},"method":"%{method}","status":%{http_code},'
	     '"res_body":%{size_download},"req_body":%{size_upload},"url":"%{url_effective}"}\n')


class Path:
	"""A way from client to server: addresses, and the namespaces both live in."""

	def __init__(self, name, host, client, ns_server=None, ns_client=None):
		self.name, self.host, self.client = name, host, client
		self.ns_server, self.ns_client = ns_server, ns_client
		self.loopback = ns_server is None

	def url_host(self):
		return f"[{self.host}]" if ":" in self.host else self.host

	def inside(self, ns):
		return ["ip", "netns", "exec", ns] if ns else []


class Server:
	"""kind: what it can do; port; child; log: where it writes what it did."""

	def __init__(self, name, kind, port, child, log, ns):
		self.name, self.kind, self.port, self.child = name, kind, port, child
		self.log, self.ns = log, ns
		self.comm = None


def nginx_conf(sendfile):
	return f"""
		sendfile {sendfile}; tcp_nopush on; client_max_body_size 100m;
		location /put/ {{ dav_methods PUT; create_full_put_path on; }}
		location = /post {{ return 200 "posted\\n"; }}
		location = /status/204 {{ return 204; }}
		location /gz/ {{ gzip on; gzip_min_length 1; gzip_types *; }}
	"""


def nginx_files(home):
	www = os.path.join(home, "www")
	os.makedirs(os.path.join(www, "gz"), exist_ok=True)
	os.makedirs(os.path.join(www, "put"), exist_ok=True)
	for name, data in (("small.txt", b"s" * 1000), ("empty.txt", b""), ("big.bin", b"\0" * BIG),
			   ("gz/t.txt", b"".join(b"line %d\n" % i for i in range(20000)))):
		with open(os.path.join(www, name), "wb") as f:
			f.write(data)


def start_servers(rig, suffix, hosts, ns):
	"""All servers once, listening on hosts, in the namespace ns (None: ours)."""
	prefix = ["ip", "netns", "exec", ns] if ns else []
	out = []
	for name, sendfile in (("nginx-sf", "on"), ("nginx-copy", "off")):
		port = free_port()
		home = os.path.join(rig.tmp, name + suffix)
		nginx_files(home)
		child = rig.nginx(name + suffix, [f"{h}:{port}" for h in hosts], nginx_conf(sendfile),
				  prefix=prefix)
		out.append(Server(name, "nginx", port, child, child.log, ns))
	for name, protocol in (("python", "HTTP/1.1"), ("python10", "HTTP/1.0")):
		port = free_port()
		log = os.path.join(rig.tmp, name + suffix + ".log")
		child = rig.server([*prefix, PYTHON, os.path.join(HERE, "server.py"), log, protocol,
				    *(f"{h}:{port}" for h in hosts)], [port], name + suffix)
		out.append(Server(name, name, port, child, log, ns))
	if shutil.which("node"):
		port = free_port()
		log = os.path.join(rig.tmp, "node" + suffix + ".log")
		child = rig.server([*prefix, "node", os.path.join(HERE, "server.js"), log,
				    *(f"{h}:{port}" for h in hosts)], [port], "node" + suffix)
		out.append(Server("node", "node", port, child, log, ns))
	for srv in out:
		srv.comm = group_comm(srv.child.pid)
	return out


def curl_runs(kind, tmp):
	"""Lists of (extra arguments, targets): each is one curl, so one connection where the
	server keeps it. curl asks for 100-continue by itself before chunked uploads: it is told
	not to, so that who asks for it is known."""
	body = "@" + os.path.join(tmp, "body.100k")
	expect = ["-H", "Expect: 100-continue"]
	if kind == "nginx":
		return [
			([], ["/small.txt", "/empty.txt", "/nothing-here", "/small.txt", "/gz/t.txt"]),
			(["-I"], ["/big.bin", "/small.txt"]),
			([], ["/big.bin", "/small.txt"]),
			(["-H", "If-None-Match: *"], ["/small.txt", "/big.bin"]),
			(["-d", "0123456789"], ["/post", "/post"]),
			(["-T", body[1:], *expect], ["/put/a"]),
			(["-T", "-", "-H", "Expect:"], ["/put/b"]),
			(["-H", "Accept-Encoding: gzip"], ["/gz/t.txt", "/gz/t.txt"]),
			([], ["/status/204", "/small.txt", "/status/204"]),
		]
	runs = [
		([], ["/b/1000", "/b/0", "/nothing-here", "/b/77"]),
		(["-I"], [f"/b/{BIG}", "/b/5"]),
		([], [f"/b/{BIG}", "/b/1"]),
		([], ["/status/304", "/b/3", "/status/204"]),
		(["-d", "0123456789"], ["/echo", "/echo"]),
	]
	if kind != "python10":		# HTTP/1.0 knows neither
		runs.append((["--data-binary", body, *expect], ["/echo"]))
		runs.append((["-X", "POST", "-T", "-", "-H", "Expect:"], ["/echo"]))
		runs.append(([], ["/chunked/200000", "/chunked/0", "/chunked/1"]))
		runs.append(([], ["/chunked/300000"]))
		runs.append((["-I"], ["/chunked/300000"]))
	if kind != "node":
		runs.append(([], ["/close/500000"]))
		runs.append(([], ["/close/0"]))
	return runs


def client_plan(kind):
	"""The same for the Python client, in one run."""
	if kind == "nginx":
		return [("GET", "/small.txt"), ("GET", "/empty.txt"), ("GET", "/missing"),
			("HEAD", "/big.bin"), ("GET", "/big.bin"), ("POST", "/post", 10),
			("PUT", "/put/c", 70000), ("PUT", "/put/d", 33333, "chunked"),
			("GET", "/status/204"), ("GET", "/small.txt", None, None, "fresh")]
	plan = [("GET", "/b/1000"), ("GET", "/b/0"), ("GET", "/missing"), ("HEAD", f"/b/{BIG}"),
		("GET", f"/b/{BIG}"), ("POST", "/echo", 10), ("POST", "/echo", 0),
		("POST", "/echo", 300000), ("GET", "/status/304"), ("GET", "/b/3", None, None, "fresh")]
	if kind != "python10":
		plan += [("POST", "/echo", 33333, "chunked"), ("GET", "/chunked/100000")]
	if kind != "node":
		plan += [("GET", "/close/100000"), ("GET", "/b/2")]
	return plan


def tag(target, combo):
	return f"{target}?c={combo}"


def run_curl(rig, srv, path, combo):
	"""What curl says it did."""
	did = []
	for extra, targets in curl_runs(srv.kind, rig.tmp):
		urls = []
		for t in targets:
			urls += ["-o", "/dev/null",
				 f"http://{path.url_host()}:{srv.port}{tag(t, combo)}"]
		with open(os.path.join(rig.tmp, "body.100k"), "rb") as body:
			done = rig.run([*path.inside(path.ns_client), "curl", "-q", "-s", "-m", "20",
					"--noproxy", "*", "-w", CURL_SAYS, *extra, *urls], stdin=body)
		if done.returncode:
			raise RuntimeError(f"{combo}: curl {extra} {targets}: exit {done.returncode}")
		for line in done.stdout_text.splitlines():
			said = json.loads(line)
			said["target"] = said.pop("url").split(str(srv.port), 1)[1]
			said.update(pid=done.pid, tid=done.pid, sport=srv.port, comm="curl")
			if "Expect: 100-continue" in extra:
				said["interim"] = [100]
			if "-" in extra:	# curl counts what it sent, chunk framing and all
				said["req_wire"] = said.pop("req_body")
			did.append(said)
	return did


def run_python(rig, srv, path, combo):
	plan = []
	for step in client_plan(srv.kind):
		step = list(step) + [None] * (5 - len(step))
		plan.append({"method": step[0], "target": tag(step[1], combo), "body": step[2],
			     "chunked": bool(step[3]), "fresh": bool(step[4])})
	name = os.path.join(rig.tmp, "plan.json")
	with open(name, "w") as f:
		json.dump(plan, f)
	with open(name) as f:
		done = rig.run([*path.inside(path.ns_client), PYTHON, os.path.join(HERE, "client.py"),
				path.host, str(srv.port)], stdin=f)
	if done.returncode:
		raise RuntimeError(f"{combo}: client.py: {done.stderr_text[-600:]}")
	return [dict(json.loads(l), comm="python3") for l in done.stdout_text.splitlines()]


def start_wrk(rig, srv, path, combo):
	target = "/small.txt" if srv.kind == "nginx" else "/b/300"
	return rig.popen([*path.inside(path.ns_client), "wrk", "-t1", "-c4", "-d1s", "-s",
			  os.path.join(HERE, "limit.lua"),
			  f"http://{path.url_host()}:{srv.port}{tag(target, combo)}", "--", str(MANY)],
			 stdout=-1, stderr=-1, text=True)


def read_log(srv, mode):
	out = []
	if not os.path.exists(srv.log):
		return out
	with open(srv.log) as f:
		for line in f:
			e = json.loads(line)
			if e["target"] and f".{mode}" in e["target"]:
				e.setdefault("tid", e["pid"] if srv.kind != "python" else None)
				e["comm"] = srv.comm
				# Node hands over a chunked body in one call, more than the cap (256K).
				e["may_be_cut"] = srv.kind == "node" and \
					e["target"].startswith("/chunked/300000")
				out.append(e)
	return out


def complete(truth, did):
	"""The server's entries with what only its client knows: nginx logs no decoded sizes and
	takes a 100 Continue for a part of the body, and its request_length leaves out a body
	that it throws away (as for /post)."""
	ask = by_conn(did)
	for conn, entries in by_conn(truth).items():
		for e, c in zip(entries, ask.get(conn, [])):
			for field in ("req_body", "req_wire", "res_body", "interim"):
				if field in c:
					e.setdefault(field, c[field])
			if "res_wire" in e:	# nginx
				e["res_wire"] -= len(CONTINUE) if e.get("interim") else 0
				if e["target"].startswith("/post"):
					del e["req_size"]


# ---- the run ------------------------------------------------------------------------------------

class Mode:
	"""One agent, all combinations."""

	def __init__(self, rig, t, mode, paths, servers):
		self.rig, self.t, self.mode, self.paths, self.servers = rig, t, mode, paths, servers
		self.plan = []		# (combo, server, path, client's entries or None, wrk's count, pid)

	def pairs(self):
		return [(s, p) for p in self.paths for s in self.servers if s.ns == p.ns_server]

	def traffic(self):
		for srv, path in self.pairs():
			for name, run in (("curl", run_curl), ("python", run_python)):
				combo = f"{srv.name}.{name}.{path.name}.{self.mode}"
				self.plan.append((combo, srv, path, run(self.rig, srv, path, combo),
						  None, None))
		if not shutil.which("wrk"):
			return
		wrks = []
		for srv, path in self.pairs():
			if srv.kind == "python10" or (path.name != "v4" and srv.name != "nginx-sf"):
				continue
			combo = f"{srv.name}.wrk.{path.name}.{self.mode}"
			wrks.append((combo, srv, path, start_wrk(self.rig, srv, path, combo)))
		for combo, srv, path, child in wrks:
			out, err = child.communicate(timeout=20)
			self.rig.children.remove(child)
			m = re.search(r"(\d+) requests in", out)
			if not m:
				raise RuntimeError(f"{combo}: wrk said {out!r} {err!r}")
			self.plan.append((combo, srv, path, None, int(m.group(1)), child.pid))

	def run(self):
		ports = [a for s in self.servers for a in ("--port", s.port)]
		agent = Agent(self.rig, *ports, mode=self.mode, name=self.mode)
		if not self.t.ok(agent.ready(), f"{self.mode}: the agent gets ready", agent.stderr()):
			return
		self.t.eq(ready_mode(agent), self.mode, f"{self.mode}: it is in that mode")
		self.traffic()
		time.sleep(1.2)		# nginx writes its log every second
		agent.settle()
		self.t.eq(agent.stop(), 0, f"{self.mode}: the agent ends with 0", agent.stderr())
		self.check(agent.records())

	def check(self, recs):
		txns = records.kind(recs, "transaction")
		by_combo = {}
		for rec in txns:
			m = re.search(r"\?c=(.*)", get(rec, "http.request.target", ""))
			by_combo.setdefault(m.group(1) if m else None, []).append(rec)
		logs = {s: read_log(s, self.mode) for s in self.servers}
		for combo, srv, path, did, count, pid in self.plan:
			mine = by_combo.pop(combo, [])
			ends = [[r for r in mine if get(r, "conn.role") == role]
				for role in ("server", "client")]
			truth = [e for e in logs[srv] if e["target"].endswith(f"?c={combo}")]
			name, _, mode = combo.rpartition(".")
			if did is None:
				self.t.none(compare_wrk(truth, *ends, count, path, pid),
					    f"{mode}: {name}: {len(truth)} transactions as wrk and the "
					    "server say")
				continue
			bad = [] if len(mine) == len(ends[0]) + len(ends[1]) else \
				[f"roles: {sorted({str(get(r, 'conn.role')) for r in mine})}"]
			if len(truth) != len(did):
				bad.append(f"the test itself: client made {len(did)}, server {len(truth)}")
			complete(truth, did)
			bad += compare_conns(truth, ends[0], "server", path)
			bad += compare_conns(did, ends[1], "client", path)
			bad += compare_ends(*ends)
			self.t.none(bad, f"{mode}: {name}: {len(truth)} transactions, both sides")
		self.rest(recs, by_combo)

	def rest(self, recs, left):
		self.t.none([f"{c}: {len(r)} records, e.g. {json.dumps(r[0])[:400]}"
			     for c, r in left.items()], f"{self.mode}: no record but of these")
		self.t.none(records.faults(recs), f"{self.mode}: sums close, nothing lost")
		self.t.none(conn_faults(recs), f"{self.mode}: connection records agree with the "
			    "transactions")
		bad, why = records.schema_faults(recs)
		if bad is None:
			self.t.skip(f"{self.mode}: records fit the schema", why)
		else:
			self.t.none(bad, f"{self.mode}: records fit the schema")


def make_paths(rig):
	root = os.stat("/proc/self/ns/net").st_ino
	paths = [Path("v4", "127.0.0.1", "127.0.0.1"), Path("v6", "::1", "::1")]
	for p in paths:
		p.netns = lambda role: root
	name = f"osp{os.getpid()}"
	try:
		inode = {"client": rig.netns(name + "c"), "server": rig.netns(name + "s")}
		net = os.getpid() % 200 + 20
		rig.veth(name + "c", name + "s", net)
	except (RuntimeError, OSError) as e:
		return paths, f"no network namespaces here: {e}"
	paths += [Path("veth4", f"10.{net}.0.2", f"10.{net}.0.1", name + "s", name + "c"),
		  Path("veth6", f"fd00:{net}::2", f"fd00:{net}::1", name + "s", name + "c")]
	for p in paths[2:]:
		p.netns = inode.get
	return paths, None


def main():
	if why_not():
		tap.skip_all(why_not())
	t = tap.Tap()
	with Rig() as rig:
		with open(os.path.join(rig.tmp, "body.100k"), "wb") as f:
			f.write(b"b" * 100_000)
		paths, why = make_paths(rig)
		if why:
			t.skip("peers across a veth pair", why)
		servers = start_servers(rig, "", ["127.0.0.1", "[::1]"], None)
		for p in paths:
			if p.name == "veth4":
				hosts = [q.url_host() for q in paths if q.ns_server]
				servers += start_servers(rig, "-ns", hosts, p.ns_server)
		for prog in ("node", "wrk"):
			if not shutil.which(prog):
				t.skip(f"peer {prog}", f"{prog} is not installed")
		for mode in modes_for(t):
			Mode(rig, t, mode, paths, servers).run()
	return t.done()


if __name__ == "__main__":
	sys.exit(main())
