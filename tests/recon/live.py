#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""live.py [-k NAME]: host and wire of the same live traffic, and recon-diff between them.

Network namespaces make a client, a switch with a mirror port, a server, a monitor on that port, and
a router with NAT:

    client ── switch ── server          the switch copies what passes the server's port (or the
               │   └─── router ── server's second leg                  client's) to the monitor
            monitor

The agent watches the server's host (or the client's), a capture runs on the monitor. What each
difference must be called is known from how the scenario was made, so it can be held against what
recon-diff says: every verdict has the right reason, and none is unexplained. Traffic is counted in
requests, not in seconds. A capture that loses packets because this machine is slow may say so
(`capture_loss`); only the first scenario, slowed down and with large buffers, must have all of it.
"""
import collections
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.dont_write_bytecode = True

import rig as riglib		# noqa: E402
from rig import OUT, Agent, Rig, wait_for, why_not	# noqa: E402
from tap import Tap, skip_all	# noqa: E402

RECON = os.path.join(OUT, "bin", "recon-diff")
N = 100000			# transactions of the first scenario
FEW = 5000			# of the others
CLI, SRV, RTR = "10.77.0.1", "10.77.0.2", "10.77.0.3"
BEHIND = "10.78.0.2"		# the server, as the router reaches it
PORT, TLS = 8080, 8443
CONF = f"""
	ssl_certificate cert.pem; ssl_certificate_key key.pem;
	sendfile off; tcp_nodelay on;
	location / {{ default_type text/plain; return 200 $request_uri; }}
	location /file/ {{ rewrite ^ /20k.bin break; }}
	location /big/ {{ rewrite ^ /8m.bin break; }}
	location /behind/ {{ proxy_pass http://127.0.0.1:{PORT}/plain/; proxy_http_version 1.1; }}
"""
# Asks for something large, reads so many bytes of it, and is gone without a word.
LEAVE = """
import os, socket, sys
host, port, target, n = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
s = socket.create_connection((host, port), 10)
s.sendall(f"GET {target} HTTP/1.1\\r\\nHost: lab\\r\\n\\r\\n".encode())
while n > 0:
	n -= len(s.recv(min(n, 65536)))
s.recv(1, socket.MSG_PEEK)
os._exit(0)
"""
# A packet the lab's traffic has nothing like: seen in the capture, all before it is there, too.
MARK = b"osprey-lab-mark-"


def sh(*argv):
	"""A command that may fail."""
	return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
			      stdin=subprocess.DEVNULL, text=True, timeout=30)


class Lab:
	def __init__(self, rig):
		self.rig = rig
		self.marks = 0
		tag = f"ospr{os.getpid()}"
		self.ns = {k: tag + k for k in ("cli", "srv", "sw", "mon", "rtr")}
		for name in self.ns.values():
			rig.netns(name)
		ip = self.ip
		ip("sw", "link", "add", "br0", "type", "bridge")
		ip("sw", "link", "set", "br0", "up")
		for k in ("cli", "srv", "rtr", "mon"):
			ip("sw", "link", "add", "p-" + k, "type", "veth", "peer", "name", "eth0",
			   "netns", self.ns[k])
			if k != "mon":
				ip("sw", "link", "set", "p-" + k, "master", "br0")
			# No multicast chatter of IPv6 on the mirror.
			sh(*self.in_("sw"), "sysctl", "-qw", f"net.ipv6.conf.p-{k}.disable_ipv6=1")
			ip("sw", "link", "set", "p-" + k, "up")
			ip(k, "link", "set", "eth0", "up")
		for k, addr in (("cli", CLI), ("srv", SRV), ("rtr", RTR)):
			ip(k, "addr", "add", addr + "/24", "dev", "eth0")
			# Real cards segment before a mirror sees it.
			sh(*self.in_(k), "ethtool", "-K", "eth0", "tso", "off", "gso", "off", "gro", "off")
			sh(*self.in_("sw"), "ethtool", "-K", "p-" + k, "tso", "off", "gso", "off",
			   "gro", "off")
		ip("rtr", "link", "add", "eth1", "type", "veth", "peer", "name", "eth1", "netns",
		   self.ns["srv"])
		ip("rtr", "addr", "add", "10.78.0.1/24", "dev", "eth1")
		ip("srv", "addr", "add", BEHIND + "/24", "dev", "eth1")
		for k in ("rtr", "srv"):
			ip(k, "link", "set", "eth1", "up")

	def in_(self, k):
		return ["ip", "netns", "exec", self.ns[k]]

	def ip(self, k, *args):
		self.rig.must(["ip", "-n", self.ns[k], *args])

	def nft(self, k, text):
		path = os.path.join(self.rig.tmp, "rules.nft")
		with open(path, "w") as f:
			f.write(text)
		done = sh(*self.in_(k), "nft", "-f", path)
		return "" if not done.returncode else done.stderr.strip() or "nft failed"

	def mirror(self, ports=("p-srv",), keep=""):
		"""What passes these ports of the switch, both ways, goes to the monitor; keep: a condition
		for each packet. Why not, or ""."""
		sh(*self.in_("sw"), "nft", "delete", "table", "netdev", "span")
		chains = [f'chain {way}{i} {{ type filter hook {way} device "{port}" priority 0; '
			  f'{keep} dup to "p-mon"; }}' for i, port in enumerate(ports)
			  for way in ("ingress", "egress")]
		return self.nft("sw", "table netdev span {\n" + "\n".join(chains) + "\n}\n")

	def nat(self):
		self.rig.must([*self.in_("rtr"), "sysctl", "-qw", "net.ipv4.ip_forward=1"])
		return self.nft("rtr", f"""table ip lab {{
			chain pre {{ type nat hook prerouting priority -100;
				ip daddr {RTR} tcp dport 80 dnat to {BEHIND}:{PORT}; }}
			chain post {{ type nat hook postrouting priority 100; oifname "eth1" masquerade; }}
		}}\n""")

	def mark(self):
		"""Sends a packet across the mirrored ports; its payload."""
		self.marks += 1
		text = MARK + b"%04d" % self.marks
		code = ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
			f"s.sendto({text!r}, ('{SRV}', 9))")
		self.rig.must([*self.in_("cli"), sys.executable, "-c", code])
		return text


class Tcpdump:
	"""A capture file of the mirror port, with a buffer that holds all of a scenario."""

	def __init__(self, lab, name, snap=0):
		self.lab, self.path = lab, os.path.join(lab.rig.tmp, name + ".pcap")
		self.err = os.path.join(lab.rig.tmp, name + ".tcpdump")
		with open(self.err, "wb") as err:
			self.child = lab.rig.popen([*lab.in_("mon"), "tcpdump", "-i", "eth0", "-s", str(snap),
				"-B", "131072", "-Z", "root", "--time-stamp-precision=nano", "-w",
				self.path], stdout=subprocess.DEVNULL, stderr=err)
		if not wait_for(lambda: "listening on" in self.text() or self.child.poll() is not None, 10) \
		   or self.child.poll() is not None:
			raise RuntimeError(f"tcpdump: {self.text()}")

	def text(self):
		with open(self.err, errors="replace") as f:
			return f.read()

	def stop(self):
		"""Ends it when all packets up to now are in the file; how many the kernel dropped."""
		def there():
			# A marker can be what a loss scenario drops.
			mark = self.lab.mark()
			def written():
				self.child.send_signal(signal.SIGUSR2)
				with open(self.path, "rb") as f:
					f.seek(max(0, os.fstat(f.fileno()).st_size - 65536))
					return mark in f.read()
			return wait_for(written, 1)
		if not wait_for(there, 60):
			raise RuntimeError("the mark never came to the capture")
		self.child.send_signal(signal.SIGINT)
		self.lab.rig.end(self.child, 20)
		m = re.search(r"(\d+) packets? dropped by kernel", self.text())
		return int(m.group(1)) if m else -1


class Iface:
	"""The agent as the capture: records at once."""

	def __init__(self, lab, name):
		self.agent = Agent(lab.rig, "--source", "iface:eth0", "--headers", name=name,
				   prefix=lab.in_("mon"))
		self.path = self.agent.path
		if not self.agent.ready():
			raise RuntimeError(self.agent.stderr())

	def stop(self):
		# It takes what is in the ring when it is told to stop, so nothing is to be waited for.
		self.agent.stop()
		led = riglib.records.exit_ledger(self.agent.records()) or {}
		return led.get("wire", {}).get("dropped", -1)


class Run:
	"""One scenario: capture, agent, traffic, comparison."""

	def __init__(self, lab, name, host="srv", args=(), wire=Tcpdump):
		self.lab, self.name = lab, name
		self.wire = wire(lab, name + "-wire")
		inode = str(os.stat(f"/run/netns/{lab.ns[host]}").st_ino)
		self.agent = Agent(lab.rig, "--netns", inode, "--ring-size", "128M", "--headers", *args,
				   name=name + "-host")
		if not self.agent.ready():
			raise RuntimeError(self.agent.stderr())

	def wrk(self, url, prefix, n, conns=16, think=0, close=False):
		done = self.lab.rig.run([*self.lab.in_("cli"), "wrk", "-t1", f"-c{conns}", "-d250s", "-s",
			os.path.join(HERE, "load.lua"), url, "--", prefix, str(n), str(think),
			"1" if close else "0"], secs=260)
		if done.returncode:
			raise RuntimeError(f"wrk: {done.stdout_text}{done.stderr_text}")

	def curl(self, url, n, *args, ns="cli", conns=0):
		"""n requests to url + number: on one connection, or on several at once."""
		done = self.lab.rig.run([*self.lab.in_(ns), "curl", "-sS", "-k", *args,
			*(["-Z", "--parallel-max", str(conns)] if conns else []),
			f"{url}[1-{n}]", "-o", "/dev/null"], secs=120, stdout=subprocess.DEVNULL)
		if done.returncode:
			raise RuntimeError(f"curl: {done.stderr_text[:500]}")

	def finish(self, *args):
		self.agent.settle()
		self.dropped = self.wire.stop()
		self.code = self.agent.stop()
		base = os.path.join(self.lab.rig.tmp, self.name)
		self.args = [RECON, self.agent.path, self.wire.path, "--color", "never", *args]
		done = self.lab.rig.run([*self.args, "-s", base + ".sum", "-j", base + ".verdicts", "--html",
			base + ".html"], secs=120)
		self.text = done.stdout_text + done.stderr_text
		self.exit = done.returncode
		with open(base + ".sum") as f:
			self.sum = json.load(f)
		with open(base + ".verdicts") as f:
			self.odd = [json.loads(l) for l in f if '"verdict":"match"' not in l]
		return self

	def about(self, v):
		"""A verdict and what both sides know of its connection, for the log of a failure."""
		out = [json.dumps(v)]
		port = (v.get("a") or v["b"])["client"].rsplit(":", 1)[1]
		for path in (self.agent.path, self.wire.path):
			if path.endswith(".jsonl"):
				with open(path) as f:
					out += ["  " + l.rstrip() for l in f if f'"port":{port}}}' in l and
						'"kind":"connection"' in l]
		return "\n".join(out)

	def reasons(self):
		"""How many of each verdict with each reason; without those that match."""
		return collections.Counter((v["verdict"], v.get("reason")) for v in self.odd)


def target(v):
	for side in ("a", "b"):
		if "target" in v.get(side, {}):
			return v[side]["target"]
	return ""


def served(server, prefix):
	"""Requests below prefix that nginx has logged."""
	n = 0
	with open(server.log, errors="replace") as f:
		for line in f:
			n += f'"target":"{prefix}' in line
	return n


def judge(tap, run, want, n, matched=None):
	"""What must hold in every scenario. want: what (verdict, reason) may be there."""
	got = run.reasons()
	led = riglib.records.exit_ledger(run.agent.records()) or {}
	if run.dropped:
		want = {*want, ("only-A", "capture_loss"), ("differs", "capture_loss")}
	if sum(riglib.records.get(led, "events.lost", {}).values()):
		want = {*want, ("only-B", "host_loss"), ("differs", "host_loss")}
	odd = {k: v for k, v in got.items() if k not in want}
	examples = [run.about(v) for v in run.odd if (v["verdict"], v.get("reason")) in odd][:3]
	tap.none([f"{k}: {v}" for k, v in odd.items()] + [*examples, run.text] if odd else [],
		 f"{run.name}: each difference has a reason that it can have {dict(got)}")
	total = run.sum["a"]["exchanges"] + run.sum["b"]["exchanges"] - run.sum["match"]
	tap.ok(run.sum["unexplained"] * 1000 <= total and total >= n,
	       f"{run.name}: {run.sum['unexplained']} of {total} unexplained", run.text)
	tap.none([] if run.code == 0 else [f"agent: exit {run.code}", run.agent.stderr()],
		 f"{run.name}: the agent ends well")


# ---- scenarios ----------------------------------------------------------------------------------

def base(tap, lab, server):
	lab.mirror()
	run = Run(lab, "base")
	run.wrk(f"http://{SRV}:{PORT}", "/base/w", N, conns=32, think=1)
	run.curl(f"http://{SRV}:{PORT}/base/c", 500)
	run.finish()
	judge(tap, run, set(), N)
	s = run.sum
	tap.eq(run.dropped, 0, "base: the capture dropped nothing")
	wait_for(lambda: served(server, "/base/") >= s["match"], 5)
	tap.eq([s["match"], s["matched_by"].get("seq"), s["differs"], s["only_a"], s["only_b"],
		s["ambiguous"], s["unexplained"]], [served(server, "/base/")] * 2 + [0] * 5,
	       "base: each of nginx's exchanges is matched by sequence number", run.text)


def frame(path, number):
	"""The bytes of that frame of a pcap file, counted from 1."""
	with open(path, "rb") as f:
		f.read(24)
		for n in range(1, number + 1):
			head = struct.unpack("=IIII", f.read(16))
			data = f.read(head[2])
	return data


def explained(tap, run):
	"""--explain names the frames of what both sides have a request of."""
	v = next((v for v in run.odd if v["verdict"] == "differs" and "target" in v["b"]), None)
	if not v:
		return
	done = run.lab.rig.run([*run.args, "--explain", v["a"]["id"]])
	m = re.search(r"request +frame (\d+) ", done.stdout_text)
	data = frame(run.wire.path, int(m.group(1))) if m else b""
	tap.ok(f"GET {v['a']['target']} ".encode() in data and "frames of " + run.wire.path in done.stdout_text,
	       f"{run.name}: --explain says in which frame the request is", done.stdout_text)


def loss(tap, lab, server):
	"""The mirror loses every twenty-fifth packet, by chance: heads, bodies, ends, whole connections."""
	lab.mirror(keep="numgen random mod 1000 < 960")
	run = Run(lab, "loss")
	run.wrk(f"http://{SRV}:{PORT}", "/loss/w", FEW, conns=16)
	run.wrk(f"http://{SRV}:{PORT}", "/loss/x", FEW // 2, conns=16, close=True)
	run.curl(f"http://{SRV}:{PORT}/file/", 500, conns=4)
	run.finish()
	# wrk leaves in the middle; an exchange among a connection's first can come apart, as long as
	# nothing has told that it asks one by one.
	judge(tap, run, {("only-A", "capture_loss"), ("differs", "capture_loss"), ("differs", "aborted"),
			 ("only-B", "half")}, FEW)
	tap.ok(run.sum["only_a"] and run.sum["differs"] > 20 and run.sum["match"] > FEW / 2,
	       "loss: there were losses, and not only losses", run.text)
	explained(tap, run)
	tap.ok(run.sum["only_b"] <= 2, "loss: the host has all that the wire has", run.text)


def burst(tap, lab, server):
	"""Long runs of packets are lost."""
	lab.mirror(keep="numgen inc mod 2000 < 1900")
	run = Run(lab, "burst", wire=Iface)
	run.wrk(f"http://{SRV}:{PORT}", "/burst/w", FEW, conns=16)
	run.wrk(f"http://{SRV}:{PORT}", "/burst/x", FEW // 2, conns=16, close=True)
	run.finish()
	judge(tap, run, {("only-A", "capture_loss"), ("differs", "capture_loss"), ("differs", "aborted"),
			 ("only-B", "half")}, FEW)
	tap.ok(run.sum["only_a"] > 20, "burst: there were losses", run.text)


def duplicates(tap, lab, server):
	"""Both ports of the same way are mirrored: each packet twice."""
	lab.mirror(ports=("p-srv", "p-cli"))
	run = Run(lab, "duplicates", wire=Iface)
	run.wrk(f"http://{SRV}:{PORT}", "/dup/w", FEW)
	run.wrk(f"http://{SRV}:{PORT}", "/dup/x", FEW // 5, close=True)
	run.curl(f"http://{SRV}:{PORT}/file/", 200, conns=2)
	run.finish()
	judge(tap, run, set(), FEW)
	wire = riglib.records.exit_ledger(run.wire.agent.records())["wire"]
	if not run.dropped:
		tap.ok(wire["copies"] * 2 == wire["segments"], "duplicates: half of it are copies", wire)
		tap.eq([wire["conflicts"], run.sum["only_b"]], [0, 0],
		       "duplicates: none is taken for an exchange")


def filtered(tap, lab, server):
	"""The agent is on the clients' host and told to look at one program only."""
	lab.mirror(ports=("p-cli",))
	run = Run(lab, "filtered", host="cli", args=["--exe", os.path.realpath(shutil.which("wrk"))])
	run.wrk(f"http://{SRV}:{PORT}", "/filtered/w", FEW)
	run.curl(f"http://{SRV}:{PORT}/filtered/c", 2000, conns=4)
	run.finish()
	# wrk does not wait for the last responses.
	judge(tap, run, {("only-B", "filtered"), ("differs", "aborted")}, FEW + 2000)
	tap.eq(sorted({target(v)[:11] for v in run.odd if v["reason"] == "filtered"}), ["/filtered/c"],
	       "filtered: only what the other program asked for")
	if not run.dropped:
		tap.eq(run.reasons()["only-B", "filtered"], 2000, "filtered: all of it")


def loopback(tap, lab, server):
	"""Half of the traffic stays on the server's host."""
	lab.mirror()
	run = Run(lab, "loopback", wire=Iface)
	run.wrk(f"http://{SRV}:{PORT}", "/loopback/w", FEW)
	run.curl(f"http://127.0.0.1:{PORT}/loopback/l", 1500, ns="srv", conns=3)
	run.curl(f"http://{SRV}:{PORT}/loopback/h", 1500, ns="srv")
	run.finish()
	judge(tap, run, {("only-A", "loopback")}, FEW + 3000)
	tap.eq(collections.Counter(target(v)[:11] for v in run.odd if v["reason"] == "loopback"),
	       {"/loopback/l": 1500, "/loopback/h": 1500},
	       "loopback: by 127.0.0.1 and by the host's own address, each counted once")


def tls(tap, lab, server):
	"""TLS and plain at once; what is behind the terminator goes by loopback."""
	lab.mirror()
	run = Run(lab, "tls")
	run.wrk(f"http://{SRV}:{PORT}", "/plain/w", FEW)
	run.wrk(f"https://{SRV}:{TLS}", "/secret/w", FEW // 5)
	run.curl(f"https://{SRV}:{TLS}/behind/", 1000, conns=4)
	run.finish()
	judge(tap, run, {("only-A", "loopback"), ("only-A", "tls")}, FEW + 1000)
	tap.eq(sorted({target(v)[:7] for v in run.odd if v["reason"] != "capture_loss"}), ["/plain/"],
	       "tls: what differs is what is behind the terminator")


def nat(tap, lab, server):
	"""A router in the middle changes both addresses and the port; others come without it."""
	why = lab.nat()
	if why:
		tap.skip("nat", why.splitlines()[0][:150])
		return
	lab.mirror(ports=("p-cli",))
	run = Run(lab, "nat")
	run.wrk(f"http://{RTR}", "/nat/w", FEW)
	run.wrk(f"http://{RTR}", "/nat/x", FEW // 5, close=True)
	run.curl(f"http://{SRV}:{PORT}/nat/direct", 1000, conns=4)
	run.finish()
	judge(tap, run, set(), FEW + 2000)
	by = run.sum["matched_by"]
	tap.ok(by.get("seq") == 1000 and by.get("nat", 0) >= FEW, "nat: the pairs say how", by)
	tap.eq({v["b"]["server"] for v in run.odd}, set(), "nat: and agree")


def aborted(tap, lab, server):
	"""Clients that go away in the middle of a large response, of which the server has written more
	than the wire has seen, or the wire more than the client has read."""
	for host, ports in (("srv", ("p-srv",)), ("cli", ("p-cli",))):
		lab.mirror(ports=ports)
		run = Run(lab, "aborted", host=host)
		for n in range(20):
			# The first megabytes fill the buffers on the way.
			head = run.lab.rig.popen([*lab.in_("cli"), sys.executable, "-c", LEAVE, SRV, str(PORT),
						  f"/big/{n}", str(n * 50000)])
			head.wait(20)
			lab.rig.end(head)
		run.curl(f"http://{SRV}:{PORT}/file/", 100)
		run.finish()
		run.name = f"aborted, seen by {host}"
		judge(tap, run, {("differs", "aborted"), ("only-A", "aborted"), ("only-B", "aborted")}, 120)
		tap.eq({target(v)[:5] for v in run.odd} - {"/big/"}, set(), f"{run.name}: others match")


def interface(tap, lab, server):
	"""recon-diff captures by itself, until it is told to end; the agent still runs then."""
	lab.mirror()
	base = os.path.join(lab.rig.tmp, "interface")
	open(base + "-host.jsonl", "w").close()		# it may be there before the agent writes
	err = open(base + ".err", "w+")
	diff = lab.rig.popen([*lab.in_("mon"), RECON, base + "-host.jsonl", "iface:eth0", "-s",
			      base + ".sum"], stdout=err, stderr=err)

	def said():
		with open(err.name) as f:
			return f.read()
	wait_for(lambda: "capturing on eth0" in said() or diff.poll() is not None, 10)
	agent = Agent(lab.rig, "--netns", str(os.stat(f"/run/netns/{lab.ns['srv']}").st_ino), "--headers",
		      name="interface-host")
	agent.ready()
	done = lab.rig.run([*lab.in_("cli"), "curl", "-sS", f"http://{SRV}:{PORT}/interface/[1-300]",
			    "-o", "/dev/null"])
	agent.settle()
	agent.stop()
	diff.send_signal(signal.SIGINT)
	diff.wait(60)
	with open(base + ".sum") as f:
		s = json.load(f)
	tap.eq([done.returncode, diff.returncode, s["match"], s["unexplained"], s["b"]["format"]],
	       [0, 0, 300, 0, "interface"], "interface: all of it matches", said())
	some = lab.rig.run([*lab.in_("mon"), RECON, base + "-host.jsonl", "iface:eth0", "--duration", "300ms",
			    "-s", base + ".sum"])
	with open(base + ".sum") as f:
		s = json.load(f)
	tap.eq([some.returncode, s["b"]["transactions"], s["only_a_by_reason"]], [0, 0, {"window_edge": 300}],
	       "interface, for a while after all is over: what was before is out of its time",
	       some.stdout_text, some.stderr_text)
	bad = lab.rig.run([RECON, base + "-host.jsonl", "iface:no-such-if0"])
	tap.eq([bad.returncode, bad.stderr_text.count("\n")], [2, 1], "interface: there is none: one line",
	       bad.stderr_text)


def unix_socket(tap, lab, server):
	"""What goes over a unix socket is on no wire; the records of its two ends are one exchange."""
	lab.mirror()
	try:
		run = Run(lab, "unix", args=["--unix"])
	except RuntimeError as e:
		if "--unix needs" not in str(e):
			raise
		tap.skip("unix", str(e).strip().splitlines()[-1][:150])
		return
	run.wrk(f"http://{SRV}:{PORT}", "/unix/w", FEW // 5)
	run.curl("http://lab/unix/u", 500, "--unix-socket", server.sock, ns="srv")
	run.finish()
	judge(tap, run, {("only-A", "unix_socket"), ("differs", "aborted")}, FEW // 5)
	tap.eq(collections.Counter(target(v)[:7] for v in run.odd if v["reason"] == "unix_socket"),
	       {"/unix/u": 500}, "unix: all of it, once")
	tap.eq(run.sum["a"]["second_views"], 500, "unix: seen from both ends")


SCENARIOS = [base, loss, burst, duplicates, filtered, loopback, tls, nat, aborted, interface, unix_socket]


def certificate(folder):
	"""For nginx's folder, before it starts."""
	done = sh("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
		  "-nodes", "-keyout", os.path.join(folder, "key.pem"), "-out",
		  os.path.join(folder, "cert.pem"), "-subj", "/CN=lab", "-days", "2")
	if done.returncode:
		raise RuntimeError("openssl: " + done.stderr[-300:])


def main():
	why = why_not()
	if why:
		skip_all(why)
	for prog in ("nginx", "wrk", "curl", "tcpdump", "nft", "ip"):
		if not shutil.which(prog):
			skip_all(f"no {prog}")
	only = sys.argv[2] if len(sys.argv) == 3 and sys.argv[1] == "-k" else ""
	tap = Tap()
	with Rig() as rig:
		try:
			lab = Lab(rig)
			why = lab.mirror()
		except RuntimeError as e:
			why = str(e)
		if why:
			skip_all("no mirror port here: " + why.splitlines()[0][:150])
		home = os.path.join(rig.tmp, "nginx")
		os.makedirs(os.path.join(home, "www"))
		certificate(home)
		with open(os.path.join(home, "www", "20k.bin"), "wb") as f:
			f.write(b"0123456789abcdef" * 1280)
		with open(os.path.join(home, "www", "8m.bin"), "wb") as f:
			f.write(bytes(8 << 20))
		sock = os.path.join(rig.tmp, "web.sock")
		server = rig.nginx("nginx", [f"0.0.0.0:{PORT}", f"0.0.0.0:{TLS} ssl"],
				   CONF + f"\tlisten unix:{sock};\n", prefix=lab.in_("srv"))
		server.sock = sock
		for scenario in SCENARIOS:
			if only in scenario.__name__:
				begun = time.monotonic()
				scenario(tap, lab, server)
				tap.note(f"{scenario.__name__}: {time.monotonic() - begun:.1f} s")
		rig.stop_nginx(server)
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
