#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every exchange is a record or a declared loss, exactly.

wrk drives nginx, with keep-alive and with a connection per request. nginx's access log says how
many requests it read (N; its stub_status counter has to agree). The agent watches the server side.

    records - exchanges.torn + exchanges.lost + exchanges.lost_unknown_protocol = N

where records are the transaction records of the server role. Nothing is pipelined, so one exchange
gives at most one record: with both halves, the request alone (outcome gap) if the response was
lost, or the response alone (no_request) if the request was. It must hold whether nothing is lost
(an ample ring, wrk slowed down so that the agent has CPU: then N = records and all are ok), as fast
as it goes, or with a ring so small that it must overflow (the agent is stopped now and then).
Besides: no record twice, none with a request and a response that do not belong together (a target
of n characters is answered with n bytes), and the ledger's sums close.
"""
import collections
import http.client
import json
import os
import re
import shutil
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.dont_write_bytecode = True

import records			# noqa: E402
import tap			# noqa: E402
from records import get		# noqa: E402
from rig import Agent, Rig, free_port, modes_for, why_not	# noqa: E402

# name, wrk's connections and seconds, its think time in ms, the agent's ring, whether a connection
# serves one request only, and what is to be expected of losses.
RUNS = [
	("slow keep-alive", 16, 2, 3, None, False, "none"),
	("slow close", 16, 2, 8, None, True, "none"),
	("fast keep-alive", 64, 2, 0, None, False, "any"),
	("fast close", 64, 2, 0, None, True, "any"),
	("tiny ring, keep-alive", 64, 1, 0, "64K", False, "some"),
	("tiny ring, close", 64, 1, 0, "64K", True, "some"),
]
CONF = """
	sendfile off; tcp_nodelay on;
	location / { default_type text/plain; return 200 $request_uri; }
"""
# Beyond this the sample says enough; the schema is slow to check.
SCHEMA_SAMPLE = 300


class Count:
	"""What is in a file of records, read line by line: it can be of a million."""

	def __init__(self, path):
		self.n = 0
		self.outcomes = collections.Counter()
		self.roles = collections.Counter()
		self.midstream = 0
		self.faults = []
		self.sample = []
		self.ledger = None
		self.protocols = collections.Counter()
		self.seen = set()
		want = 0
		with open(path, encoding="utf-8") as f:
			for want, line in enumerate(f, 1):
				rec = json.loads(line)
				if rec["seq"] != want:
					self.fault(f"line {want} has seq {rec['seq']}")
				if want <= SCHEMA_SAMPLE or rec["kind"] == "ledger":
					self.sample.append(rec)
				self.ledger = None
				getattr(self, "take_" + rec["kind"])(rec)
		del self.seen

	def fault(self, text):
		if len(self.faults) < 10:
			self.faults.append(text)

	def take_ledger(self, rec):
		self.ledger = rec if rec.get("when") == "exit" else None

	def take_connection(self, rec):
		self.protocols[rec.get("protocol")] += 1
		for text in records.stream_faults(rec):
			self.fault(text)

	def take_transaction(self, rec):
		self.n += 1
		self.outcomes[rec["outcome"]] += 1
		self.roles[get(rec, "conn.role")] += 1
		self.midstream += "midstream" in rec["flags"]
		req, res = rec["http"].get("request"), rec["http"].get("response")
		for text in records.txn_faults(rec):
			self.fault(text)
		# A half is one place in one direction of one socket: it can be in one record only.
		for half, m in (("q", req), ("s", res)):
			if not m or "tcp_seq" not in m:
				continue
			place = (half, rec["conn"]["cookie"], m["tcp_seq"])
			if place in self.seen:
				self.fault(f"{place} is in two records")
			self.seen.add(place)
		if req and res:
			self.take_pair(rec, req, res)

	def take_pair(self, rec, req, res):
		body = res.get("body_bytes")
		if body is not None and body != len(req["target"]) and res.get("status_code") == 200:
			self.fault(f"seq {rec['seq']}: {req['target'][:40]}… ({len(req['target'])} "
				   f"characters) with a body of {body}, outcome {rec['outcome']}, "
				   f"flags {rec.get('flags')}")
		if rec["outcome"] == "ok" and (body is None or "status_code" not in res):
			self.fault(f"seq {rec['seq']}: ok without size or status")


def requests_served(status):
	"""nginx's own count of requests, without the one that asks."""
	conn = http.client.HTTPConnection("127.0.0.1", status, timeout=5)
	conn.request("GET", "/")
	text = conn.getresponse().read().decode()
	conn.close()
	return int(text.split("\n")[2].split()[2])


def log_lines(path, since):
	"""Lines from offset since, once the log has stopped growing, and its size. nginx writes it
	every second."""
	time.sleep(1.1)
	with open(path, "rb") as f:
		f.seek(since)
		data = f.read()
	return data.count(b"\n"), since + len(data)


class Bench:
	def __init__(self, rig, t):
		self.rig, self.t = rig, t
		self.port, self.status = free_port(), free_port()
		self.nginx = rig.nginx("nginx", [f"127.0.0.1:{self.port} backlog=4096"], CONF,
				       status=self.status)
		self.at = 0

	def stall(self, agent):
		"""Stops the agent for long enough that a tiny ring overflows, whatever the machine
		does, and short enough that control events (a ring of their own) are kept."""
		for _ in range(3):
			time.sleep(0.25)
			agent.child.send_signal(signal.SIGSTOP)
			time.sleep(0.03)
			agent.child.send_signal(signal.SIGCONT)

	def wrk(self, conns, secs, think, close):
		argv = ["wrk", "-t1", f"-c{conns}", f"-d{secs}s", "-s", os.path.join(HERE, "load.lua"),
			f"http://127.0.0.1:{self.port}/", "--", str(think), "1" if close else "0"]
		out = self.rig.run(argv, secs=secs + 20).stdout_text
		m = re.search(r"(\d+) requests in", out)
		if not m:
			raise RuntimeError(f"wrk said: {out}")
		return int(m.group(1))

	def run(self, mode, name, conns, secs, think, ring, close, loss):
		args = ["--port", self.port, "--role", "server"]
		if ring:
			args += ["--ring-size", ring]
		agent = Agent(self.rig, *args, mode=mode, name="run")
		what = f"{mode}, {name}"
		if not self.t.ok(agent.ready(), f"{what}: the agent gets ready", agent.stderr()):
			return
		before = requests_served(self.status)
		if loss == "some":
			threading.Thread(target=self.stall, args=[agent], daemon=True).start()
		answered = self.wrk(conns, secs, think, close)
		n, self.at = log_lines(self.nginx.log, self.at)
		# Each look at the counter is a request too.
		served = requests_served(self.status) - before - 1
		code = agent.stop(secs=30)
		self.t.eq(code, 0, f"{what}: the agent ends with 0", agent.stderr()[-1500:])
		if served != n:
			self.t.ok(False, f"{what}: the test itself: nginx counts {served}, its log {n}")
		self.judge(what, Count(agent.path), n, answered, loss)
		os.unlink(agent.path)

	def judge(self, what, got, n, answered, loss):
		t = self.t
		if not t.ok(got.ledger, f"{what}: the exit ledger is there, and last"):
			return
		led = lambda name: records.counter(got.ledger, name)	# noqa: E731
		lost = led("exchanges.lost") + led("exchanges.lost_unknown_protocol")
		ring = led("events.lost.ring_full")
		t.note(f"{what}: N {n}, records {got.n}, lost {lost}, ring_full {ring}, outcomes "
		       f"{dict(got.outcomes)}")
		# Right behind a loss the halves of one exchange can stand in two records.
		torn = led("exchanges.torn")
		t.eq(got.n - torn + lost, n, f"{what}: records + declared losses = {n} exchanges",
		     f"records {got.n}, exchanges.torn {torn}, lost {led('exchanges.lost')}, "
		     f"unknown {led('exchanges.lost_unknown_protocol')}, outcomes "
		     f"{dict(got.outcomes)}",
		     f"events {json.dumps(get(got.ledger, 'events'))}",
		     f"protocols {dict(got.protocols)}")
		t.none(got.faults, f"{what}: no record twice, no wrong pair, none that contradicts "
		       "itself")
		t.eq(set(got.roles) - {"server"}, set(), f"{what}: only the server's side")
		t.ok(got.ledger.get("closed") is True, f"{what}: all sums close",
		     json.dumps(got.ledger)[:3000])
		# All connections are opened after the agent is ready, and their opening is a control
		# event.
		t.eq(got.midstream, 0, f"{what}: no connection is taken for an older one")
		t.eq(led("events.lost.ctl_ring_full"), 0, f"{what}: no control event lost")
		if loss == "none":
			t.eq((ring, lost), (0, 0), f"{what}: nothing is lost",
			     json.dumps(get(got.ledger, "events")))
			self.all_ok(what, got, n, answered)
		elif loss == "some":
			t.ok(ring > 0, f"{what}: the ring overflows")
			t.ok(got.n > 0, f"{what}: there are records even so")
		bad, why = records.schema_faults(got.sample)
		if bad is None:
			t.skip(f"{what}: records fit the schema", why)
		else:
			t.none(bad, f"{what}: records fit the schema")

	def all_ok(self, what, got, n, answered):
		"""Without loss the only records that may be unfinished are of what wrk left when it
		ended."""
		open_at_end = n - answered
		self.t.ok(n - got.outcomes["ok"] <= max(open_at_end, 0),
			  f"{what}: all ok but the {open_at_end} that wrk did not wait for",
			  dict(got.outcomes))


def main():
	if why_not():
		tap.skip_all(why_not())
	for prog in ("nginx", "wrk"):
		if not shutil.which(prog):
			tap.skip_all(f"{prog} is not installed")
	t = tap.Tap()
	with Rig() as rig:
		bench = Bench(rig, t)
		for mode in modes_for(t):
			for run in RUNS:
				if re.search(os.environ.get("OSP_RUNS", ""), run[0]):
					bench.run(mode, *run)
	return t.done()


if __name__ == "__main__":
	sys.exit(main())
