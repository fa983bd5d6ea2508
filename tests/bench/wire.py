#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""wire.py: how fast a capture file becomes records, on one core, beside tshark.

    tests/bench/wire.py [--mb 512] [--runs 3] [--no-tshark]

Three made-up captures: "big" (bodies of 1 MiB, full segments: what a download looks like), "small"
(bodies of 300 bytes on keep-alive connections: what an API looks like) and "many" (the same with
20,000 connections at once: what does not fit into any cache). Each is read once to warm the
page cache, then RUNS times; the run with the least CPU time counts, all are shown, as seconds of CPU
and (by the clock). CPU time, because other programs on the machine do not change it much; both
programs are pinned to one core, so on an idle machine the clock says the same. tshark does what it
can't be asked to leave out: dissect and reassemble, printing one field of each request.
"""
import argparse
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
AGENT = os.path.join(TOP, os.environ.get("OSP_O") or "build", "bin", "osprey-agent")
MSS = 1448
TS = struct.pack("!BBBBII", 1, 1, 8, 10, 1, 1)


def segment(src, dst, sport, dport, seq, ack, flags, data, ident):
	ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 52 + len(data), ident & 0xffff, 0x4000, 64, 6, 0, src, dst)
	tcp = struct.pack("!HHIIBBHHH", sport, dport, seq & 0xffffffff, ack & 0xffffffff, 0x80, flags,
			  502, 0, 0)
	return b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip + tcp + TS + data


class Capture:
	def __init__(self, path):
		self.f = open(path, "wb", buffering=1 << 20)
		self.f.write(struct.pack("<IHHiIII", 0xa1b23c4d, 2, 4, 0, 0, 262144, 1))
		self.ns = 1_700_000_000 * 10**9
		self.n = self.ident = 0
		self.bytes = 24

	def put(self, *args):
		self.ident += 1
		d = segment(*args, self.ident)
		self.ns += 1000
		self.f.write(struct.pack("<IIII", self.ns // 10**9, self.ns % 10**9, len(d), len(d)) + d)
		self.n += 1
		self.bytes += 16 + len(d)


def connection(i, body, txns):
	"""The packets of one keep-alive connection with txns exchanges."""
	c, s = struct.pack("!I", 0x0a000000 + i), b"\x0a\xff\0\1"
	port, cs, ss = 1024 + i % 60000, i * 7919, i * 104729
	yield (c, s, port, 80, cs, 0, 2, b"")
	yield (s, c, 80, port, ss, cs + 1, 0x12, b"")
	cs, ss = cs + 1, ss + 1
	yield (c, s, port, 80, cs, ss, 0x10, b"")
	for k in range(txns):
		req = b"GET /item/%d HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: wire\r\n\r\n" % k
		yield (c, s, port, 80, cs, ss, 0x18, req)
		cs += len(req)
		res = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
		res += body
		for at in range(0, len(res), MSS):
			part = res[at:at + MSS]
			yield (s, c, 80, port, ss, cs, 0x10, part)
			ss += len(part)
			if at // MSS % 2:
				yield (c, s, port, 80, cs, ss, 0x10, b"")
	yield (c, s, port, 80, cs, ss, 0x11, b"")
	yield (s, c, 80, port, ss, cs + 1, 0x11, b"")
	yield (c, s, port, 80, cs + 1, ss + 1, 0x10, b"")


def make(path, size, body, txns, at_once):
	"""That many connections at a time, whose packets come in any order, until it is so large."""
	cap, i, live = Capture(path), 0, []
	mix = random.Random(1)
	while live or cap.bytes < size:
		while len(live) < at_once and cap.bytes < size:
			i += 1
			live.append(connection(i, body, txns))
		mix.shuffle(live)
		going = []
		for conn in live:
			packet = next(conn, None)
			if packet:
				cap.put(*packet)
				going.append(conn)
		live = going
	cap.f.close()
	return cap.n, cap.bytes, i * txns


def best(argv, runs):
	"""(CPU, wall) seconds of each run, pinned to one core."""
	out = []
	pin = ["taskset", "-c", "0"] if shutil.which("taskset") else []
	for _ in range(runs + 1):
		before = resource.getrusage(resource.RUSAGE_CHILDREN)
		t = time.monotonic()
		r = subprocess.run(pin + argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
		wall = time.monotonic() - t
		after = resource.getrusage(resource.RUSAGE_CHILDREN)
		if r.returncode:
			sys.exit(f"{argv[0]}: exit {r.returncode}\n{r.stderr}")
		out.append((after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall))
	return out[1:]


def show(what, secs, n, size, txns):
	b = min(cpu for cpu, _ in secs)
	runs = " ".join(f"{cpu:.2f} ({wall:.2f})" for cpu, wall in secs)
	print(f"  {what:<10}{b:7.3f} s  {size / b / 1e6:9.1f} MB/s  {n / b / 1e3:9.1f} k packets/s  "
	      f"{txns / b / 1e3:8.2f} k transactions/s   (runs: {runs})", flush=True)
	return b


def main():
	ap = argparse.ArgumentParser(description="How fast a capture becomes records.")
	ap.add_argument("--mb", type=int, default=512)
	ap.add_argument("--runs", type=int, default=3)
	ap.add_argument("--no-tshark", action="store_true")
	args = ap.parse_args()
	with tempfile.TemporaryDirectory() as tmp:
		for name, body, txns, at_once in (("big", b"x" * (1 << 20), 4, 1),
						  ("small", b"y" * 300, 20, 1),
						  ("many", b"y" * 300, 20, 20000)):
			path = os.path.join(tmp, name + ".pcap")
			n, size, t = make(path, args.mb * 1000 * 1000, body, txns, at_once)
			print(f"{name}: {size / 1e6:.0f} MB, {n} packets, {t} transactions")
			argv = [AGENT, "--source", "pcap:" + path, "--sink", "null", "--no-connections"]
			ours = show("osprey", best(argv, args.runs), n, size, t)
			if not args.no_tshark and shutil.which("tshark"):
				argv = ["tshark", "-r", path, "-n", "-Y", "http.request",
					"-T", "fields", "-e", "http.request.uri"]
				theirs = show("tshark", best(argv, 1), n, size, t)
				print(f"  tshark / osprey: {theirs / ours:.0f}")
			os.unlink(path)
	return 0


sys.exit(main())
