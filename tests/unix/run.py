#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP over unix stream sockets: nginx and Python serve, curl and Python ask, nginx asks upstream.

Without --unix there must be nothing of it. With it each exchange is two records, one a side, that
say just what was asked and answered, and lead to each other by their cookies.
"""
import collections
import json
import os
import re
import socket
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.dont_write_bytecode = True

import records			# noqa: E402
import tap			# noqa: E402
from records import get		# noqa: E402
from rig import Agent, Rig, group_comm, modes, wait_for, why_not	# noqa: E402

PYTHON = "/usr/bin/python3"
T = tap.Tap()

# What one side's record of an exchange says. server: the name of its socket.
Seen = collections.namedtuple("Seen", "role server comm method target status req_body res_body")


def listening(path):
	"""Whether something listens on that name: /proc/net/unix, flag SO_ACCEPTCON."""
	with open("/proc/net/unix") as f:
		return any(c[3] == "00010000" and c[7] == path for c in map(str.split, f)
			   if len(c) == 8)


class Scene:
	"""The servers. Each agent run asks them the same."""

	def __init__(self, rig):
		self.rig = rig
		self.py = os.path.join(rig.tmp, "py.sock")
		self.abstract = f"@osprey-test-{os.getpid()}"
		self.web = os.path.join(rig.tmp, "web.sock")
		self.pids = [self.start_python().pid, *self.start_nginx()]

	def start(self, argv, *names):
		err = open(os.path.join(self.rig.tmp, "server.err"), "ab")
		with err:
			child = self.rig.popen(argv, stderr=err)
		if not wait_for(lambda: all(map(listening, names)), 10):
			with open(err.name, errors="replace") as f:
				raise RuntimeError(f"{argv[0]} did not start: {f.read()[-800:]}")
		return child

	def start_python(self):
		return self.start([PYTHON, os.path.join(HERE, "server.py"), self.py, self.abstract],
				  self.py, self.abstract)

	def start_nginx(self):
		"""Without a master, which would talk to its worker by unix sockets, too."""
		home = os.path.join(self.rig.tmp, "nginx")
		os.makedirs(os.path.join(home, "www"))
		with open(os.path.join(home, "www", "file"), "wb") as f:
			f.write(b"f" * 300_000)
		temp = "".join(f"{d}_temp_path {home}/{d};\n" for d in
			       ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
		with open(os.path.join(home, "conf"), "w") as f:
			f.write(f"daemon off; master_process off; user root; pid {home}/pid;\n"
				f"error_log {home}/error.log; events {{ worker_connections 256; }}\n"
				f"http {{ access_log off; {temp}\n"
				f"upstream py {{ server unix:{self.py}; }}\n"
				f"server {{ listen unix:{self.web}; root {home}/www; sendfile off;\n"
				"location /b/ { proxy_pass http://py; proxy_http_version 1.1;"
				" proxy_set_header Connection \"\"; } } }\n")
		child = self.start(["nginx", "-p", home, "-c", os.path.join(home, "conf")], self.web)
		return [child.pid]

	def curl(self, name, *args):
		flag = "--abstract-unix-socket" if name[0] == "@" else "--unix-socket"
		done = self.rig.run(["curl", "-sS", flag, name.lstrip("@"), *args],
				    stdout=open(os.devnull, "wb"))
		if done.returncode:
			T.note(f"curl {args}: {done.stderr_text}")

	def ask(self, run):
		"""Several connections, most with several exchanges. What both sides' records say."""
		want, us = [], group_comm(os.getpid())

		def both(name, comms, method, target, status, req_body, res_body):
			for role, comm in zip(("client", "server"), comms):
				want.append(Seen(role, name, comm, method, target, status, req_body,
						 res_body))

		def gets(name, server, *targets):
			targets = [f"{t}?{run}" for t in targets]
			self.curl(name, *(f"http://x{t}" for t in targets))
			for t in targets:
				both(name, ("curl", server), "GET", t, 200, 0, size_of(t))
			return targets

		def size_of(target):
			last = target.split("?")[0].rsplit("/", 1)[1]
			return int(last) if last.isdigit() else 300_000

		gets(self.py, "python3", "/b/1", "/b/0", "/chunked/20000", "/b/1000000", "/close/70000")
		for _ in range(3):
			gets(self.py, "python3", "/b/10")
		gets(self.abstract, "python3", "/b/77", "/b/78")
		gets(self.web, "nginx", "/file", "/file")
		for target in gets(self.web, "nginx", "/b/5000", "/b/6000"):
			both(self.py, ("nginx", "python3"), "GET", target, 200, 0, size_of(target))
		self.curl(self.py, "-I", f"http://x/b/9?{run}")
		both(self.py, ("curl", "python3"), "HEAD", f"/b/9?{run}", 200, 0, 0)
		body = "@" + os.path.join(self.rig.tmp, "body")
		self.curl(self.py, "--data-binary", body, "-H", "Expect:", f"http://x/echo/0?{run}")
		both(self.py, ("curl", "python3"), "POST", f"/echo/0?{run}", 200, 200_000, 7)
		self.ask_odd(run)
		both(self.py, (us, "python3"), "POST", f"/echo/0?odd{run}", 200, 5, 2)
		both(self.py, (us, "python3"), "GET", f"/b/3?odd{run}", 200, 0, 3)
		return want

	def ask_odd(self, run):
		"""Vectors, peeks, small reads, descriptors on the side, the far end unread."""
		with socket.socket(socket.AF_UNIX) as s:
			s.settimeout(10)
			s.connect(self.py)
			socket.send_fds(s, [b"POST /ec"], [0])
			s.sendmsg([f"ho/0?odd{run} HTTP/1.1\r\nHost: x\r\n".encode(),
				   b"Content-Length: 5\r\n\r\n", b"12345"])
			s.recv(100, socket.MSG_PEEK)
			got = b""
			while b"5\n" not in got[-2:] or b"\r\n\r\n" not in got:
				got += s.recv(7)
			s.sendall(f"GET /b/3?odd{run} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
			while not got.endswith(b"uuu"):
				got += s.recv(100)


def seen(rec):
	req, res = get(rec, "http.request", {}), get(rec, "http.response", {})
	return Seen(get(rec, "conn.role"), get(rec, "conn.server.address"), get(rec, "process.comm"),
		    req.get("method"), req.get("target"), res.get("status_code"),
		    req.get("body_bytes"), res.get("body_bytes"))


def of_unix(recs, kind=None):
	return [r for r in recs if get(r, "conn.transport") == "unix" and kind in (None, r["kind"])]


def odd_in(rec):
	"""What a unix connection's transaction must not say."""
	out = []
	if rec["outcome"] != "ok" or rec["flags"] or rec["anomalies"] or rec["lost_bytes"]:
		out.append("not a clean record")
	if get(rec, "conn.role_from") != "listen":
		out.append(f"role_from {get(rec, 'conn.role_from')}")
	if get(rec, "conn.id") or get(rec, "conn.client") or "txn" not in rec["conn"]:
		out.append("conn")
	if any(k in get(rec, f"http.{h}", {}) for h in ("request", "response")
	       for k in ("tcp_seq", "tcp_end")):
		out.append("has TCP's numbers")
	return [f"{', '.join(out)}: {json.dumps(rec)}"] if out else []


def strangers(recs):
	"""The two views of a connection: they name each other, and what one sent the other got."""
	conns = {get(r, "conn.cookie"): r for r in of_unix(recs, "connection")}
	out = []
	for cookie, rec in conns.items():
		other = conns.get(get(rec, "conn.peer_cookie"))
		if not other or get(other, "conn.peer_cookie") != cookie:
			out.append(f"no other view: {json.dumps(rec)}")
			continue
		if rec["tx"] != other["rx"] or rec["tx"].get("gap_bytes") or "bytes" not in rec["tx"]:
			out.append(f"sent {rec['tx']}, got {other['rx']}")
		if rec["protocol"] != "http/1" or "tcp" in rec or \
		   get(rec, "conn.role") == get(other, "conn.role"):
			out.append(json.dumps(rec))
	return out


def start(rig, scene, *args, name):
	"""Watches the servers, this process and its children from now on."""
	pids = [a for p in (*scene.pids, os.getpid()) for a in ("--pid", p)]
	agent = Agent(rig, *pids, "--follow", *args, mode="sock", name=name)
	if not agent.ready():
		raise RuntimeError(f"{name}: {agent.stderr()}")
	return agent


def finish(agent, name):
	agent.settle()
	T.eq(agent.stop(), 0, f"{name}: ends well", agent.stderr())
	recs = agent.records()
	T.none(records.faults(recs), f"{name}: nothing wrong in any record, sums close")
	return recs


def difference(got, want):
	got, want = collections.Counter(got), collections.Counter(want)
	return [f"missing: {s}" for s in (want - got).elements()] + \
	       [f"too much: {s}" for s in (got - want).elements()]


def test_off(rig, scene):
	agent = start(rig, scene, name="off")
	scene.ask("off")
	recs = finish(agent, "off")
	T.none([json.dumps(r) for r in recs if r["kind"] != "ledger"], "off: no record of any of it")
	T.eq(records.counter(records.exit_ledger(recs), "events.seen"),
	     records.counter(records.exit_ledger(recs), "events.delivered") +
	     records.counter(records.exit_ledger(recs), "events.filtered"), "off: no event lost")


def test_on(rig, scene):
	oev = os.path.join(rig.tmp, "on.oev")
	old = socket.socket(socket.AF_UNIX)
	old.connect(scene.py)
	old.sendall(b"GET /b/1?before HTTP/1.1\r\nHost: x\r\n\r\n")
	while not old.recv(1000).endswith(b"u"):
		pass
	agent = start(rig, scene, "--unix", "--skip-from", "0", "--capture-cap", "1M",
		      "--record", oev, name="on")
	want = scene.ask("on")
	old.sendall(b"GET /b/2?old HTTP/1.1\r\nHost: x\r\n\r\n")
	while not old.recv(1000).endswith(b"uu"):
		pass
	old.close()
	# Told within a quarter of a second; the agent's own end would tell it, too.
	closed = wait_for(lambda: len([1 for r in of_unix(agent.records(), "connection")
				       if r["end"] != "running"]) >= 2, 10)
	T.ok(closed, "on: ends are told while the agent runs", agent.stderr())
	recs = finish(agent, "on")
	txns = of_unix(recs, "transaction")
	was = [r for r in txns if get(r, "http.request.target") == "/b/2?old"]
	T.eq(sorted((get(r, "conn.role"), *r["flags"]) for r in was),
	     [("client", "midstream"), ("server", "midstream")], "on: an old connection is known as one")
	txns = [r for r in txns if r not in was]
	T.none(difference(map(seen, txns), want), f"on: {len(want)} records, each exact")
	T.none([line for r in txns for line in odd_in(r)], "on: each of a unix socket's kind")
	T.none(strangers(recs), "on: both views of each connection")
	T.eq({r["end"] for r in of_unix(recs, "connection")} - {"running"}, {"fin"}, "on: in order")
	keep = collections.Counter(get(r, "conn.cookie") for r in txns)
	T.eq(sorted({n for n in keep.values()}), [1, 2, 5], "on: connections that were kept")
	bad, why = records.schema_faults(recs)
	if bad is None:
		T.skip("on: schema", why)
	else:
		T.none(bad, "on: schema")
	return recs, oev


def test_replay(rig, recs, oev):
	def lines(rr):
		return sorted(json.dumps({k: v for k, v in r.items() if k != "seq"}) for r in rr
			      if r["kind"] != "ledger")

	for rings in ("1", "2"):
		agent = Agent(rig, "--replay", oev, "--rings", rings, name="replay")
		wait_for(lambda a=agent: a.child.poll() is not None, 20)
		T.eq(agent.stop(), 0, f"replay, {rings} rings: ends well", agent.stderr())
		T.eq(lines(agent.records()), lines(recs), f"replay, {rings} rings: the same records")


def test_filters(rig, scene):
	agent = start(rig, scene, "--unix", "--rings", "2", "--role", "server", name="role")
	want = scene.ask("role")
	got = of_unix(finish(agent, "role"), "transaction")
	# Long bodies are skipped here, which makes no difference to their sizes.
	T.none(difference(map(seen, got), [w for w in want if w.role == "server"]),
	       "role: servers' records and no others")
	T.ok(any("skipped" in r["flags"] for r in got), "role: a long body stays in the kernel")
	for name, flt in (("port", ["--port", "80"]), ("cidr", ["--cidr", "::/0", "--cidr", "0.0.0.0/0"])):
		agent = start(rig, scene, "--unix", *flt, name=name)
		scene.curl(scene.py, f"http://x/b/1?{name}")
		T.none([json.dumps(r) for r in of_unix(finish(agent, name))],
		       f"{name}: leaves unix sockets out")


def test_pair(rig, scene):
	"""Ends without names, and one that is closed with a request unread."""
	agent = start(rig, scene, "--unix", name="pair")
	asks, answers = socket.socketpair()
	for s in (asks, answers):
		s.settimeout(10)
	asks.sendall(b"GET /1 HTTP/1.1\r\n\r\n")
	answers.recv(1000)
	answers.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	asks.recv(1000)
	asks.sendall(b"GET /2 HTTP/1.1\r\n\r\n")
	answers.close()
	try:
		T.ok(False, "pair: the other end has reset it", asks.recv(1000))
	except ConnectionResetError:
		pass
	asks.close()
	recs = finish(agent, "pair")
	txns = [(get(r, "conn.role"), get(r, "conn.role_from"), get(r, "http.request.target"),
		 r["outcome"], "client" in r["conn"] or "server" in r["conn"])
		for r in of_unix(recs, "transaction")]
	T.eq(sorted(txns), [("client", "request", "/1", "ok", False),
			    ("client", "request", "/2", "reset", False),
			    ("server", "request", "/1", "ok", False)], "pair: roles by who asks")
	T.eq(sorted((get(r, "conn.role"), r["end"]) for r in of_unix(recs, "connection")),
	     [("client", "reset"), ("server", "fin")], "pair: ends")


def test_syscall(rig):
	done = rig.run([*Agent(rig, "--check-config", name="x").argv[:1], "--unix", "--sink", "null",
			"--capture", "syscall"])
	T.ok(done.returncode == 1 and re.fullmatch(r"osprey-agent: --unix needs sock mode.*\n",
						   done.stderr_text),
	     "syscall mode is refused in one line", done.returncode, done.stderr_text)


def main():
	if why_not():
		tap.skip_all(why_not())
	reason = dict(modes()).get("sock", "sock mode is left out by OSP_MODES")
	if reason:
		tap.skip_all(reason)
	with Rig() as rig:
		with open(os.path.join(rig.tmp, "body"), "wb") as f:
			f.write(b"b" * 200_000)
		test_syscall(rig)
		scene = Scene(rig)
		test_off(rig, scene)
		test_replay(rig, *test_on(rig, scene))
		test_filters(rig, scene)
		test_pair(rig, scene)
	return T.done()


if __name__ == "__main__":
	sys.exit(main())
