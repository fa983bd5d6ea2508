#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""--rings N: the same records whatever the number of shards, and an end whatever the sinks do.

What replays give is compared with one shard's: every record but for its seq, every counter of the
ledger. Time counts in it: with holes that are waited for, requests that time out and records at
intervals a shard must know how late it is from events that went to others.
"""
import json
import os
import re
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import rig as rigs  # noqa: E402
import tap  # noqa: E402

T = tap.Tap()
AGENT = rigs.AGENT

# name, how the events are made, how they are taken
CASES = [
	("plain", "txns=4000,conns=97,conc=40", []),
	("many", "txns=6000,keepalive=2,conc=500,rate=20000", []),
	("loss", "txns=6000,conns=200,conc=60,loss=0.03,reorder=0.1,split=0.3,rate=4000", []),
	("both", "txns=4000,conns=150,role=both,loss=0.01,pipeline=4,rate=3000",
	 ["--connection-interval", "70ms"]),
	("late", "txns=3000,conns=100,conc=50,loss=0.05,rate=2000,interim=0.3",
	 ["--timeout", "40ms", "--connection-interval", "130ms", "--ledger-interval", "300ms"]),
	("kept", "txns=1000,conns=40,conc=20,body=0-100K,chunked=0.5,loss=0.01",
	 ["--headers", "--body", "2K"]),
]


def run(*args, secs=60):
	return subprocess.run([AGENT, *map(str, args)], capture_output=True, text=True, timeout=secs,
			      check=False)


def load(path):
	"""Records without seq, sorted; ledgers in their order; the seq of all in theirs."""
	recs, ledgers, seqs = [], [], []
	with open(path) as f:
		for line in f:
			rec = json.loads(line)
			seqs.append(rec.pop("seq"))
			if rec["kind"] == "ledger":
				for sink in rec.get("sinks", {}).values():
					sink.pop("bytes", None)	# seq may take another digit
				ledgers.append(rec)
			else:
				recs.append(json.dumps(rec, sort_keys=True))
	return sorted(recs), ledgers, seqs


def compare(name, one, many):
	a, b = load(one), load(many)
	diff = sorted(set(a[0]) ^ set(b[0]))
	T.ok(a[0] == b[0], f"{name}: the same records", f"{len(a[0])} and {len(b[0])} records",
	     *diff[:4])
	T.eq(b[1], a[1], f"{name}: the same ledgers")
	T.ok(b[2] == list(range(1, len(b[2]) + 1)), f"{name}: numbered without a gap, in order",
	     b[2][:20])
	return a


def test_same(rig):
	for name, spec, how in CASES:
		oev = os.path.join(rig.tmp, name + ".oev")
		done = run(f"--synthetic={spec}", "--record", oev, "--sink", "null")
		if not T.eq(done.returncode, 0, f"{name}: a recording", done.stderr):
			continue
		out = {}
		for n in (1, 2, 7):
			out[n] = os.path.join(rig.tmp, f"{name}.{n}.jsonl")
			done = run("--replay", oev, "--rings", n, "--sink", f"jsonl:path={out[n]}", *how)
			T.ok(not done.returncode and "all sums close" in done.stderr,
			     f"{name}: replay with {n} rings", done.stderr)
		for n in (2, 7):
			compare(f"{name}, {n} rings", out[1], out[n])
		for path in [oev, *out.values()]:
			os.unlink(path)


def test_order(rig):
	"""Within a connection records stay in order."""
	out = os.path.join(rig.tmp, "order.jsonl")
	run("--synthetic=txns=5000,conns=50,conc=25", "--rings", 3, "--sink", f"jsonl:path={out}")
	last, bad = {}, []
	with open(out) as f:
		for rec in map(json.loads, f):
			if rec["kind"] != "transaction":
				continue
			conn, at = rec["conn"]["cookie"], rec["conn"]["txn"]
			if at <= last.get(conn, 0):
				bad.append(f"connection {conn}: {at} after {last[conn]}")
			last[conn] = at
	T.ok(len(last) == 50, "every connection is there", len(last))
	T.none(bad, "records of a connection are in order")


def test_count():
	done = run("--synthetic=txns=200000,conns=100", "--rings", 2, "--count", 100, "--sink", "null")
	made = re.search(r"records +transaction ([0-9,]+)", done.stderr)
	n = int(made.group(1).replace(",", "")) if made else 0
	T.ok(not done.returncode and 100 <= n < 200000, "--count ends it", n, done.stderr)


def test_limits():
	for text in ("0", "65", "x", ""):
		done = run("--rings", text, "--synthetic=txns=1", "--sink", "null")
		T.ok(done.returncode == 2 and len(done.stderr.splitlines()) == 1 and
		     "--rings" in done.stderr, f"--rings \"{text}\" is refused", done.stderr)
	done = run("--rings", "auto", "--synthetic=txns=50", "--sink", "null")
	T.ok(not done.returncode and "all sums close" in done.stderr, "--rings auto", done.stderr)


def test_damaged(rig):
	oev = os.path.join(rig.tmp, "cut.oev")
	run("--synthetic=txns=2000,conns=20", "--record", oev, "--sink", "null")
	os.truncate(oev, os.path.getsize(oev) // 2 - 3)
	out = os.path.join(rig.tmp, "cut.jsonl")
	done = run("--replay", oev, "--rings", 2, "--sink", f"jsonl:path={out}")
	T.ok(done.returncode == 1 and "truncated at offset" in done.stderr,
	     "a truncated recording is told", done.stderr)
	with open(out) as f:
		T.ok(sum(1 for _ in f) > 500, "what is before the cut is there")


def test_stuck(rig):
	"""A sink that takes nothing holds the shards, and a signal ends all the same."""
	fifo = os.path.join(rig.tmp, "fifo")
	os.mkfifo(fifo)
	reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
	err = os.path.join(rig.tmp, "stuck.err")
	with open(err, "wb") as f:
		child = rig.popen([AGENT, "--synthetic=txns=10000000,conns=100", "--rings", "3",
				   "--sink", f"jsonl:path={fifo},queue=2M", "--stop-timeout", "1s"],
				  stderr=f)

	def state():
		"""Bytes written, seconds of CPU, the time."""
		with open(f"/proc/{child.pid}/io") as f:
			written = f.read().split("wchar: ")[1].split()[0]
		with open(f"/proc/{child.pid}/stat") as f:
			ticks = sum(map(int, f.read().rpartition(")")[2].split()[11:13]))
		return written, ticks / os.sysconf("SC_CLK_TCK"), time.monotonic()

	then = [state()]

	def waits():
		"""Nothing more is written, and asking whether to stop takes a tenth of a CPU at most."""
		now = state()
		written, cpu, passed = now[0] != then[0][0], now[1] - then[0][1], now[2] - then[0][2]
		if not written and passed < 0.5:
			return False
		then[0] = now
		return not written and cpu <= passed / 10
	T.ok(rigs.wait_for(waits, 30, 0.1), "it waits for the sink")
	child.send_signal(signal.SIGTERM)
	try:
		code = child.wait(20)
	except subprocess.TimeoutExpired:
		code = "hung"
	os.close(reader)
	with open(err) as f:
		text = f.read()
	T.ok(code == 0 and "all sums close" in text, "SIGTERM ends it, with closed sums", code, text)
	rig.end(child)


def main():
	if not os.access(AGENT, os.X_OK):
		tap.skip_all(f"no {AGENT}")
	with rigs.Rig() as rig:
		test_same(rig)
		test_order(rig)
		test_damaged(rig)
		test_stuck(rig)
	test_count()
	test_limits()
	return T.done()


if __name__ == "__main__":
	sys.exit(main())
