#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kafka sink against a real broker, and what becomes of records when the broker is down, killed,
stalled, lacks the topic or refuses the size. Each run has a jsonl sink beside it that must get
everything; what arrived at the broker is read back with kcat and compared with it.

    kafka.py [PART]...      all, or some of PARTS

OSP_STALL: seconds the broker is stalled (60).
"""
import calendar
import collections
import json
import os
import subprocess
import sys
import time
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import AGENT, SANITIZED, Run, complete, count, load, rigs  # noqa: E402
import broker as brokers  # noqa: E402
import tap  # noqa: E402

STALL = int(os.environ.get("OSP_STALL") or 60)
PARTS = ("down_at_start", "good", "own_key", "secure", "never", "too_large", "live", "stalled",
	 "killed", "missing")
QUICK = ("good", "own_key", "never", "too_large")
LASTING = ("down_at_start", "killed", "missing")	# need a broker that comes back as it was
KINDS = ("transaction", "connection", "ledger")
Got = collections.namedtuple("Got", "partition offset ts key headers value")


def murmur2(data):
	"""Kafka's hash of keys, as its Java clients compute it."""
	m, mask = 0x5bd1e995, 0xffffffff
	h = (0x9747b28c ^ len(data)) & mask
	whole = len(data) // 4 * 4
	for i in range(0, whole, 4):
		k = int.from_bytes(data[i:i + 4], "little") * m & mask
		h = h * m & mask ^ (k ^ k >> 24) * m & mask
	if data[whole:]:
		h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
	h = (h ^ h >> 13) * m & mask
	return h ^ h >> 15


def read_back(address, topic):
	"""All messages of a topic. Payloads, keys and headers of ours hold no tab and no newline."""
	got = subprocess.run(["kcat", "-q", "-b", address.replace("+", ","), "-C", "-t", topic, "-e",
			      "-o", "beginning", "-m", "20", "-X", "topic.metadata.refresh.interval.ms=1000",
			      "-f", "%p\\t%o\\t%T\\t%k\\t%h\\t%s\\n"],
			     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
			     stderr=subprocess.PIPE, timeout=60)
	out = []
	for line in got.stdout.splitlines():
		p, o, t, k, h, v = line.split(b"\t", 5)
		out.append(Got(int(p), int(o), int(t), k,
			       dict(x.split("=", 1) for x in h.decode().split(",")), v))
	return out


def no_bpf():
	said = subprocess.run([AGENT, "--version"], stdout=subprocess.PIPE, text=True).stdout
	return "the agent has no kernel programs" if "left out" in said else None


def millis(ts):
	"""RFC 3339 with nanoseconds, UTC, as Kafka's milliseconds."""
	whole, frac = ts.rstrip("Z").split(".")
	return calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 1000 + int(frac[:3])


class Test:
	def __init__(self, rig, t, br):
		self.rig, self.t, self.br = rig, t, br

	def sink(self, name, **options):
		opts = {"brokers": self.br.address, "topic": name + ".%{kind}", **options}
		return "kafka:" + ",".join(f"{k}={v}" for k, v in opts.items())

	def run(self, name, synth, *, pace=None, kafka=None, args=(), **kw):
		self.path = os.path.join(self.rig.tmp, name + ".jsonl")
		return Run(self.rig, name, synth, f"jsonl:path={self.path}",
			   self.sink(name, **(kafka or {})), pace=pace, args=args, **kw)

	def beside(self, run, name, secs=60):
		"""Every fault that no trouble with the broker excuses."""
		run.wait(secs)
		self.t.none(run.faults() + complete(self.path), f"{name}: all sums close, the sink "
			    "beside it has everything")

	def arrived(self, name, run, sinks, exact):
		"""What is at the broker against the file: nothing changed, nothing twice, each
		connection's records in order, and as many as the counters say."""
		faults = []
		with open(self.path, "rb") as f:
			want = {json.loads(l)["seq"]: l.rstrip(b"\n") for l in f}
		seen, last = set(), {}
		for kind in KINDS:
			for m in sorted(read_back(self.br.address, f"{name}.{kind}")):
				seq = int(m.headers["seq"])
				if seq in seen:
					faults.append(f"seq {seq} is there twice")
				seen.add(seq)
				if want.get(seq) != m.value:
					faults.append(f"seq {seq} differs: {m.value[:200]!r}")
				if m.key:
					if last.get((kind, m.key), 0) > seq:
						faults.append(f"{m.key}: {seq} came late")
					last[kind, m.key] = seq
		acked, lost = (count(sinks, "kafka", k) for k in ("acked", "lost"))
		# What was given up may have arrived all the same; what was confirmed must have.
		if not acked <= len(seen) <= acked + lost:
			faults.append(f"{len(seen)} at the broker, {acked} acked, {lost} lost")
		if exact and set(want) != seen:
			faults.append(f"{len(want)} in the file, {len(seen)} at the broker")
		self.t.none(faults[:10], f"{name}: {len(seen)} of {len(want)} records at the broker, "
			    "unchanged, once, in order")
		return want, seen

	# ---- the good way ----

	def good(self):
		name = "good"
		run = self.run(name, "txns=8000,conns=200,role=both,v6=0.3,pipeline=4")
		self.beside(run, name)
		sinks = run.sinks()
		self.t.eq(count(sinks, "kafka", "acked"), count(sinks, "kafka", "offered"),
			  f"{name}: all are confirmed")
		want, _ = self.arrived(name, run, sinks, exact=True)
		self.looks(name, want)

	def looks(self, name, want):
		"""Key, partition, headers and time of each message."""
		faults = []
		for kind in KINDS:
			for m in read_back(self.br.address, f"{name}.{kind}"):
				rec = json.loads(m.value)
				key = rec.get("conn", {}).get("id", "")
				if "loopback" in rec.get("flags", []):
					key += f"/{rec['conn']['netns']}"
				if m.key.decode() != key:
					faults.append(f"key {m.key}, not {key}")
				if key and m.partition != (murmur2(m.key) & 0x7fffffff) % 4:
					faults.append(f"{key}: partition {m.partition}")
				ns = m.headers.pop("seq"), m.headers.pop("agent")
				if ns[0] != str(rec["seq"]) or not ns[1].startswith("osprey-agent/"):
					faults.append(f"headers {ns}")
				if m.headers != {"content-type": "application/json",
						 "schema": rec["schema"], "vantage": rec["vantage"]}:
					faults.append(f"headers {m.headers}")
				if m.ts != millis(rec["ts"]):
					faults.append(f"time {m.ts}, not {rec['ts']}")
		self.t.none(faults[:10], f"{name}: key, partition (murmur2), headers and time")

	def own_key(self):
		name = "key"
		run = self.run(name, "txns=300,conns=5",
			       kafka={"key": "http.request.host+process.pid", "topic": name})
		self.beside(run, name)
		bad, n = [], 0
		for m in read_back(self.br.address, name):
			rec = json.loads(m.value)
			n += 1
			if rec["kind"] == "transaction" and m.key.decode() != \
			   f"{rec['http']['request']['host']}/{rec['process']['pid']}":
				bad.append(m)
		self.t.ok(n == 307 and not bad, f"{name}: a key of one's own, one topic for all",
			  n, *bad[:3])

	def secure(self):
		"""TLS and SASL/PLAIN, with the right password and with a wrong one."""
		if not self.br.secure:
			self.t.skip("secure: TLS and SASL", f"not with {self.br.kind}, or no openssl")
			return
		opts = {"brokers": self.br.secure, "rd.security.protocol": "sasl_ssl",
			"rd.sasl.mechanism": "PLAIN", "rd.sasl.username": "osprey",
			"rd.sasl.password": self.br.password, "rd.ssl.ca.location": self.br.cert}
		name = "secure"
		run = self.run(name, "txns=500,conns=20", kafka=opts)
		self.beside(run, name)
		self.arrived(name, run, run.sinks(), exact=True)
		name = "stranger"
		run = self.run(name, "txns=500,conns=20", kafka={**opts, "rd.sasl.password": "wrong-one"},
			       args=["--stop-timeout", "3s"])
		self.beside(run, name)
		k = run.sinks().get("kafka", {})
		self.t.ok(not k.get("acked") and k.get("lost") == k.get("offered"),
			  f"{name}: a wrong password delivers nothing, all of it is counted", k)
		self.t.ok("uthentication failed" in run.stderr() and "wrong-one" not in run.stderr(),
			  f"{name}: says why, not the password", run.stderr()[-1500:])

	# ---- faults ----

	def small(self, **more):
		"""Little room, so that a fault is felt at once."""
		return {"queue": "2M", "on_full": "drop-new", "retry_max": "500ms",
			"rd.queue.buffering.max.kbytes": 2048, "rd.message.timeout.ms": 60000,
			"rd.reconnect.backoff.max.ms": 500, **more}

	def down_at_start(self):
		"""Records wait until there is a broker."""
		name = "late"
		run = self.run(name, "txns=100000000,conns=40", pace=2 << 20, kafka=self.small(
			**{"queue": "64M", "rd.queue.buffering.max.kbytes": 65536}))
		time.sleep(1)
		self.br.up()
		time.sleep(1)
		run.signal(15)
		self.beside(run, name)
		k = run.sinks().get("kafka", {})
		self.t.ok(k.get("acked") and k.get("acked") == k.get("offered"),
			  f"{name}: the broker came late, nothing is lost", run.stderr()[-1500:])
		self.arrived(name, run, run.sinks(), exact=True)

	def never(self):
		"""SIGTERM with a broker that never was."""
		name = "never"
		port = rigs.free_port()
		run = self.run(name, "txns=100000000,conns=40", pace=4 << 20,
			       kafka=self.small(brokers=f"127.0.0.1:{port}"),
			       args=["--stop-timeout", "2s"])
		time.sleep(4)
		begun = time.monotonic()
		run.stop()
		took = time.monotonic() - begun
		self.beside(run, name)
		kafka = run.sinks().get("kafka", {})
		g = kafka.get
		self.t.ok(took < 3.5, f"{name}: ends by its deadline of 2 s: {took:.1f} s")
		self.t.ok(g("lost", 0) and g("dropped", 0) and not g("acked") and
			  g("offered") == g("lost") + g("dropped"),
			  f"{name}: nothing was confirmed, all of it is counted", kafka)
		self.t.ok(f"{g('lost')} records were not confirmed" in run.stderr() and
			  "Connection refused" in run.stderr(),
			  f"{name}: says how many were not delivered, and why", run.stderr()[-1500:])
		talk = [l for l in run.stderr().splitlines() if "kafka:" in l]
		self.t.ok(len(talk) <= 8, f"{name}: and does not say it all the time", *talk)
		self.rss(run, name)

	def rss(self, run, name):
		# 3 MB of queue and buffers, 20 MB of queues of the others, libraries and code.
		if SANITIZED:
			self.t.skip(f"{name}: memory", "sanitizers keep freed memory")
		else:
			self.t.ok(run.rss < 96 << 10, f"{name}: memory stays bounded: {run.rss >> 10} MiB")

	def killed(self):
		"""kill -9 under load; it comes back with its data, and nobody notices but the ledger."""
		name = "killed"
		run = self.run(name, "txns=100000000,conns=40", pace=2 << 20, kafka=self.small(
			**{"queue": "64M", "rd.queue.buffering.max.kbytes": 65536}))
		time.sleep(2)
		self.br.kill()
		time.sleep(1)
		self.br.up()
		time.sleep(1.5)
		run.signal(15)
		self.beside(run, name)
		sinks = run.sinks()
		self.t.ok(count(sinks, "kafka", "acked") == count(sinks, "kafka", "offered"),
			  f"{name}: the broker was killed and came back, nothing is lost",
			  sinks, run.stderr()[-1500:])
		self.arrived(name, run, sinks, exact=True)

	def stalled(self):
		"""It answers no more: first the buffers fill, then records are dropped and, after
		their time, given up. Then it goes on."""
		name = "stalled"
		run = self.run(name, "txns=100000000,conns=40", pace=2 << 20,
			       kafka=self.small(**{"rd.message.timeout.ms": 4000,
						   "rd.socket.timeout.ms": 3000}))
		time.sleep(1.5)
		self.br.stall()
		time.sleep(STALL)
		self.br.go_on()
		time.sleep(3)
		run.stop()
		self.beside(run, name)
		sinks = run.sinks()
		self.t.ok(all(count(sinks, "kafka", k) for k in ("acked", "lost", "dropped")),
			  f"{name}: a stall of {STALL} s: acked, lost and dropped are all there",
			  sinks.get("kafka"))
		_, seen = self.arrived(name, run, sinks, exact=False)
		with open(self.path, "rb") as f:
			last = sum(1 for _ in f)
		self.t.ok(any(s > last - last // 20 for s in seen),
			  f"{name}: records flow again afterwards")
		self.rss(run, name)

	def too_large(self):
		"""The producer's limit: exactly the records above it are refused."""
		name = "large"
		run = self.run(name, "txns=3000,conns=40,body=0-1800,methods=POST", args=["--body", "1M"],
			       kafka={"rd.message.max.bytes": 4000, "rd.batch.size": 4000})
		self.beside(run, name)
		sinks = run.sinks()
		rejected = count(sinks, "kafka", "rejected")
		want, seen = self.arrived(name, run, sinks, exact=False)
		gone = [len(want[s]) for s in want if s not in seen]
		there = [len(want[s]) for s in seen]
		# Key, headers and framing count, too.
		self.t.ok(rejected and len(gone) == rejected and min(gone) > 3500 and
			  max(there) <= 4000, f"{name}: {rejected} records too large are rejected, and"
			  " no other", f"gone {min(gone, default=0)}.., there ..{max(there, default=0)}")

	def missing(self):
		"""A topic that nobody makes. Records for others are not held up."""
		name = "half"
		for kind in ("transaction", "ledger"):
			self.rig.must(["bash", "-c", f"echo x | kcat -q -P -b {self.br.address} "
				       f"-t {name}.{kind}"])
		self.br.down()
		self.br.configure(auto_create=False)
		self.br.up()
		run = self.run(name, "txns=3000,conns=300,keepalive=10", kafka={
			"rd.topic.metadata.propagation.max.ms": 1000})
		self.beside(run, name)
		sinks = run.sinks()
		with open(self.path) as f:
			kinds = collections.Counter(json.loads(l)["kind"] for l in f)
		k = sinks.get("kafka", {})
		self.t.ok(k.get("acked") == kinds["transaction"] + kinds["ledger"] and
			  k.get("lost", 0) + k.get("rejected", 0) == kinds["connection"],
			  f"{name}: {kinds['connection']} records for a missing topic are given up, "
			  "the others arrive", k, kinds, run.stderr()[-1500:])
		self.t.ok(f"{name}.connection: " in run.stderr(), f"{name}: and it says which topic",
			  run.stderr()[-1500:])

	# ---- live ----

	def live(self):
		why = rigs.why_not() or no_bpf()
		if why:
			self.t.skip("live: a real run", why)
			return
		name = "live"
		port = rigs.free_port()
		with open(os.path.join(self.rig.tmp, "page"), "w") as f:
			f.write("some text\n" * 500)
		web = self.rig.popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1",
				      "--directory", self.rig.tmp, str(port)],
				     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		rigs.wait_for(lambda: rigs.listening(port), 10)
		run = self.run(name, None, live=True, args=["--port", str(port)])
		rigs.wait_for(lambda: ": ready:" in run.stderr() or run.child.poll() is not None, 30)
		for _ in range(100):
			urllib.request.urlopen(f"http://127.0.0.1:{port}/page").read()
		time.sleep(0.3)
		run.signal(15)
		self.beside(run, name)
		self.rig.end(web)
		want, _ = self.arrived(name, run, run.sinks(), exact=True)
		n = sum(b'"kind":"transaction"' in l for l in want.values())
		self.t.eq(n, 200, f"{name}: 100 exchanges, both ends")
		self.looks(name, want)


def main():
	t = tap.Tap()
	with rigs.Rig() as rig:
		br, why = brokers.make(rig, rigs.OUT, rigs.free_port)
		if not br:
			tap.skip_all(why)
		t.note(f"broker: {br.kind}" + (f" ({why})" if why else ""))
		test = Test(rig, t, br)
		# A sanitized build has the same faults to live through, but not all of them again.
		parts = sys.argv[1:] or (QUICK if SANITIZED else PARTS)
		if "down_at_start" not in parts or not br.keeps:
			br.up()
		for part in parts:
			if part in LASTING and not br.keeps:
				t.skip(part, why)
			else:
				getattr(test, part)()
		br.down()
	return t.done()


if __name__ == "__main__":
	sys.exit(main())
