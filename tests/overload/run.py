#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""More than the agent can take, and after: what is lost is counted and named, and two seconds after
the load has ended nothing is lost any more.

    ring    a tiny ring, and an agent that stands still while wrk goes on
    memory  bodies are kept, more of them at once (they come slowly) than --memory allows: whole
            connections are given up

With one shard and with two. And an agent that is stopped while the load goes on: it takes what is in
its rings, all of it.
"""
import http.client
import os
import shutil
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.dont_write_bytecode = True

import records			# noqa: E402
import tap			# noqa: E402
from records import get		# noqa: E402
from rig import Agent, Rig, free_port, modes, wait_for, why_not	# noqa: E402

T = tap.Tap()
RECOVERY = 2			# seconds
AFTER = 60			# requests, one after the other
BIG = 200_000
CONF = """
	sendfile off; tcp_nodelay on; access_log off;
	location / { default_type text/plain; return 200 $request_uri; }
	location = /big { root %s; limit_rate 150k; }
"""
MEMORY = 1 << 20


class Bench:
	def __init__(self, rig):
		self.rig = rig
		self.port = free_port()
		with open(os.path.join(rig.tmp, "big"), "wb") as f:
			f.write(b"b" * BIG)
		self.nginx = rig.nginx("nginx", [f"127.0.0.1:{self.port} backlog=4096"],
				       CONF % rig.tmp)

	def wrk(self, path):
		done = self.rig.run(["wrk", "-t1", "-c48", "-d1s",
				     f"http://127.0.0.1:{self.port}{path}"])
		if "requests in" not in done.stdout_text:
			raise RuntimeError(f"wrk said: {done.stdout_text}{done.stderr_text}")

	def stall(self, agent):
		"""A load under which the agent stands still; its connections are known by then."""
		load = self.rig.popen(["wrk", "-t1", "-c48", "-d1s", f"http://127.0.0.1:{self.port}/"],
				      stdout=-3, stderr=-3)
		wait_for(lambda: agent.lines() > 100, 10)
		agent.child.send_signal(signal.SIGSTOP)
		load.wait(30)
		self.rig.children.remove(load)
		agent.child.send_signal(signal.SIGCONT)

	def slowly(self):
		"""Half of them by one connection, half by one each."""
		keep = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
		for i in range(AFTER):
			conn = keep if i % 2 else http.client.HTTPConnection("127.0.0.1", self.port,
									     timeout=10)
			conn.request("GET", f"/after/{i}")
			conn.getresponse().read()
			if conn is not keep:
				conn.close()
			time.sleep(0.005)
		keep.close()


def lost(led):
	return {k: v for k, v in {
		"events": get(led, "events.lost"), "exchanges": records.counter(led, "exchanges.lost"),
		"shed": records.counter(led, "connections.shed")}.items() if v}


def judge_after(what, recs, calm):
	"""calm: the last ledger record before the slow requests."""
	led = records.exit_ledger(recs)
	T.ok(led and led.get("closed") is True, f"{what}: all sums close", led)
	T.eq(lost(led), lost(calm), f"{what}: nothing was lost after {RECOVERY} s")
	after = [r for r in records.kind(recs, "transaction")
		 if (get(r, "http.request.target") or "").startswith("/after/")]
	good = [r for r in after if r["outcome"] == "ok" and
		get(r, "http.response.body_bytes") == len(r["http"]["request"]["target"])]
	T.eq(sorted(r["http"]["request"]["target"] for r in good),
	     sorted(f"/after/{i}" for i in range(AFTER)),
	     f"{what}: each of {AFTER} requests after it is one good record",
	     [r for r in after if r not in good][:2])
	T.eq(len(after), AFTER, f"{what}: and no other")
	return led


def ledgers(agent):
	"""How many there are: its output is looked at while it grows."""
	with open(agent.path, "rb") as f:
		return f.read().count(b'"kind":"ledger"')


def overload(bench, what, load, *args):
	agent = Agent(bench.rig, "--port", bench.port, "--role", "server", "--ledger-interval",
		      "100ms", *args)
	if not T.ok(agent.ready(), f"{what}: the agent gets ready", agent.stderr()):
		return None
	load(agent)
	# Not a guess but the promise: so long it may take.
	time.sleep(RECOVERY)
	n = ledgers(agent)
	T.ok(wait_for(lambda: ledgers(agent) > n, 10), f"{what}: it is alive")
	n = ledgers(agent)
	bench.slowly()
	T.eq(agent.stop(), 0, f"{what}: the agent ends with 0", agent.stderr()[-1500:])
	recs = agent.records()
	led = judge_after(what, recs, records.kind(recs, "ledger")[n - 1])
	os.unlink(agent.path)
	return recs, led


def test_ring(bench, rings):
	what = f"tiny ring, {rings} shards"
	got = overload(bench, what, bench.stall, "--ring-size", "64K", "--rings", rings)
	if got:
		T.ok(get(got[1], "events.lost.ring_full") > 0, f"{what}: it was an overload")


def test_memory(bench, rings):
	what = f"little memory, {rings} shards"
	got = overload(bench, what, lambda _: bench.wrk("/big"), "--memory", MEMORY, "--body",
		       "256K", "--capture-cap", "256K", "--rings", rings)
	if not got:
		return
	recs, led = got
	shed = records.counter(led, "connections.shed")
	T.ok(shed > 0, f"{what}: it was an overload")
	T.none([get(r, "memory.budget_used") for r in records.kind(recs, "ledger")
		if get(r, "memory.budget_used") > MEMORY], f"{what}: the budget holds at any time")
	T.eq(get(led, "memory.budget_used"), 0, f"{what}: nothing is held at the end")
	named = [r for r in records.kind(recs, "transaction") if r["outcome"] == "shed"]
	T.eq(len(named), get(led, "transactions.outcome.shed"),
	     f"{what}: each transaction that was given up says so")
	# A connection that was given up early enough has bytes that came later.
	gaps = [r for r in records.kind(recs, "connection") if '"shed"' in str(r).replace("'", '"')]
	T.ok(0 < len(gaps) <= shed, f"{what}: and connections name what was not looked at",
	     len(gaps), shed)


def test_stop(bench, rings):
	what = f"stopped under load, {rings} shards"
	agent = Agent(bench.rig, "--port", bench.port, "--role", "server", "--rings", rings)
	if not T.ok(agent.ready(), f"{what}: the agent gets ready", agent.stderr()):
		return
	load = bench.rig.popen(["wrk", "-t1", "-c8", "-d20s", f"http://127.0.0.1:{bench.port}/"],
			       stdout=-3, stderr=-3)
	T.ok(wait_for(lambda: agent.lines() > 1000, 20), f"{what}: there is a load")
	T.eq(agent.stop(), 0, f"{what}: the agent ends with 0", agent.stderr()[-1500:])
	bench.rig.end(load)
	led = records.exit_ledger(agent.records())
	made, data, ctl = (records.counter(led, c) for c in (
		"events.delivered", "tracker.data_events", "tracker.control_events"))
	# Ticks and the counters themselves are the source's own, not the kernel's.
	T.ok(data <= made <= data + ctl, f"{what}: all events the kernel made were taken",
	     f"made {made}, taken {data} and {ctl}")
	T.ok("kernel made" not in agent.stderr(), f"{what}: none is missing", agent.stderr())
	os.unlink(agent.path)


def main():
	if why_not():
		tap.skip_all(why_not())
	for prog in ("nginx", "wrk"):
		if not shutil.which(prog):
			tap.skip_all(f"{prog} is not installed")
	if all(reason for _, reason in modes()):
		tap.skip_all("no mode can run")
	with Rig() as rig:
		bench = Bench(rig)
		for rings in (1, 2):
			test_ring(bench, rings)
			test_memory(bench, rings)
			test_stop(bench, rings)
	return T.done()


if __name__ == "__main__":
	sys.exit(main())
