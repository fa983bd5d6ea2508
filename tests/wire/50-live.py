#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""50-live.py: an interface as a source: loopback with a real server on it, and a mirror port made of
network namespaces whose mirror shows every packet twice."""
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
		os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib")]
import records
from packets import AGENT, shared
from tap import Tap, skip_all

N = 30


class Server(http.server.ThreadingHTTPServer):
	daemon_threads = True

	class Handler(http.server.BaseHTTPRequestHandler):
		protocol_version = "HTTP/1.1"

		def do_GET(self):
			body = b"z" * int(self.path.rsplit("/", 1)[1])
			self.send_response(200)
			self.send_header("Content-Length", str(len(body)))
			self.end_headers()
			self.wfile.write(body)

		def log_message(self, *args):
			pass


class Agent:
	def __init__(self, tmp, name, before, *args):
		self.path = os.path.join(tmp, name + ".jsonl")
		self.err = open(os.path.join(tmp, name + ".err"), "w+")
		self.proc = subprocess.Popen([*before, AGENT, "--sink", "jsonl:path=" + self.path, *args],
					     stderr=self.err)
		self.wait_for("ready", 10)

	def text(self):
		with open(self.err.name) as f:
			return f.read()

	def wait_for(self, word, secs):
		end = time.monotonic() + secs
		while word not in self.text():
			if time.monotonic() > end or self.proc.poll() is not None:
				return False
			time.sleep(0.02)
		return True

	def end(self):
		# A block of packets is handed over after 50 ms at most.
		time.sleep(0.3)
		self.proc.send_signal(signal.SIGINT)
		code = self.proc.wait(20)
		return code, records.load(self.path) if os.path.exists(self.path) else []


def ask(port, sizes, host="127.0.0.1"):
	c = http.client.HTTPConnection(host, port, timeout=10)
	for n in sizes:
		c.request("GET", f"/{n}")
		c.getresponse().read()
	c.close()


def check(tap, name, code, recs, sizes, err):
	txns = records.kind(recs, "transaction")
	led = records.exit_ledger(recs) or {}
	got = sorted((r["http"]["request"]["target"], r["http"]["response"]["body_bytes"], r["outcome"])
		     for r in txns if "request" in r["http"] and "response" in r["http"])
	tap.ok(code == 0 and led.get("closed"), f"{name}: exit 0, sums close", err)
	tap.eq(got, sorted((f"/{n}", n, "ok") for n in sizes), f"{name}: every transaction", err)
	tap.eq({r["vantage"] for r in recs}, {"wire"}, f"{name}: vantage")
	tap.eq([k for r in txns for k in r["conn"] if k.startswith("role")], [], f"{name}: no role")
	tap.none(records.faults(recs), f"{name}: no faults")
	return led


def loopback(tap, tmp):
	srv = Server(("127.0.0.1", 0), Server.Handler)
	threading.Thread(target=srv.serve_forever, daemon=True).start()
	port = srv.server_address[1]
	# Up to 64 KiB a packet: loopback does not segment.
	sizes = [0, 1, 100, 1500, 70000, 300000] * (N // 6)
	agent = Agent(tmp, "lo", [], "--source", "iface:lo", "--port", str(port))
	ask(port, sizes)
	code, recs = agent.end()
	led = check(tap, "loopback", code, recs, sizes, agent.text())
	tap.eq(led.get("wire", {}).get("dropped"), 0, "loopback: nothing dropped")
	tap.eq(led.get("mode"), "iface", "loopback: the ledger says how")
	srv.shutdown()


def refusals(tap, tmp):
	r = subprocess.run([AGENT, "--source", "iface:no-such-if0"], stderr=subprocess.PIPE, text=True)
	tap.eq((r.returncode, r.stderr.count("\n")), (1, 1), "no such interface: exit 1, one line", r.stderr)
	if not shutil.which("setpriv"):
		tap.skip("without CAP_NET_RAW", "no setpriv")
		return
	r = subprocess.run(["setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", AGENT, "--source",
			    "iface:lo"], stderr=subprocess.PIPE, text=True, timeout=20)
	tap.eq((r.returncode, r.stderr.count("\n")), (77, 1), "without CAP_NET_RAW: exit 77, one line",
	       r.stderr)


def resent(netns):
	"""Segments that TCP sent again there: a busy machine can make it do that."""
	out = subprocess.run(["ip", "netns", "exec", netns, "cat", "/proc/net/snmp"],
			     stdout=subprocess.PIPE, text=True, check=True).stdout
	names, values = [l.split() for l in out.splitlines() if l.startswith("Tcp:")]
	return int(values[names.index("RetransSegs")])


def span(tap, tmp):
	lab = shared("tools", "span_lab.sh")
	if not lab or not shutil.which("tc"):
		tap.skip("mirror port", "the lab script or tc is not here")
		return
	if os.path.exists("/run/netns/oz-cli"):
		tap.skip("mirror port", "somebody else is using the lab's namespaces")
		return
	env = dict(os.environ, MIRROR="dup")
	up = subprocess.run(["bash", lab, "up"], env=env, stderr=subprocess.PIPE, text=True)
	try:
		if up.returncode:
			tap.skip("mirror port", "namespaces or mirroring can't be had: " +
				 up.stderr.strip().splitlines()[-1][:100])
			return
		sizes = [0, 10, 5000, 100000] * 5
		me = os.path.abspath(__file__)
		srv = subprocess.Popen(["ip", "netns", "exec", "oz-srv", sys.executable, me, "serve"],
				       stdout=subprocess.PIPE)
		srv.stdout.readline()
		agent = Agent(tmp, "span", ["ip", "netns", "exec", "oz-probe"], "--source", "iface:span0")
		subprocess.run(["ip", "netns", "exec", "oz-cli", sys.executable, me, "ask",
				json.dumps(sizes)], check=True, timeout=60)
		code, recs = agent.end()
		srv.terminate()
		srv.wait(10)
		led = check(tap, "mirror port", code, recs, sizes, agent.text())
		wire = led.get("wire", {})
		tap.ok(wire["copies"] > wire["segments"] * 0.4, "mirror port: half of it are copies", wire)
		again = resent("oz-cli") + resent("oz-srv")
		tap.ok(wire["retransmitted_bytes"] <= again * 1448, "mirror port: none taken for sent "
		       "again", f"{wire}, the kernels say {again} segments")
	finally:
		subprocess.run(["bash", lab, "down"], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def main():
	if sys.argv[1:2] == ["serve"]:
		srv = Server(("10.77.0.2", 8000), Server.Handler)
		print("up", flush=True)
		srv.serve_forever()
	if sys.argv[1:2] == ["ask"]:
		ask(8000, json.loads(sys.argv[2]), "10.77.0.2")
		return 0
	if os.geteuid():
		skip_all("needs root")
	r = subprocess.run([AGENT, "--source", "iface:no-such-if0"], stderr=subprocess.PIPE, text=True)
	if "without libpcap" in r.stderr:
		skip_all("built without libpcap")
	try:
		socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
	except OSError as e:
		skip_all(f"no packet sockets here: {e}")
	tap = Tap()
	with tempfile.TemporaryDirectory() as tmp:
		refusals(tap, tmp)
		loopback(tap, tmp)
		span(tap, tmp)
	return tap.done()


sys.exit(main())
