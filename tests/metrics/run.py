#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's metrics: names and sums, what the server makes of good and bad requests and slow
clients, where it may listen, and that dashboard and alerts speak of what there is.

Most of it needs no root: a synthetic source that waits for a reader of its pipe is a running agent
with a full queue.
"""
import http.client
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import rig as rigs  # noqa: E402
import records  # noqa: E402
import tap  # noqa: E402

T = tap.Tap()
OUT = rigs.OUT
AGENT = rigs.AGENT
# One copy for all builds below one folder (build, build/san).
PROMTOOL = shutil.which("promtool") or os.path.join(
	os.path.dirname(OUT) if os.path.basename(OUT) in ("san", "nobpf") else OUT, "tools", "promtool")
HELD = ["--synthetic=txns=100000000", "--sink", "jsonl:queue=2M", "--stop-timeout", "1s"]


class Held:
	"""An agent that makes records which nobody reads, until it is told to read()."""

	def __init__(self, rig, *args, name="held"):
		self.err = os.path.join(rig.tmp, name + ".err")
		with open(self.err, "wb") as err:
			self.child = rig.popen([AGENT, *HELD, *args], stdout=subprocess.PIPE, stderr=err)

	def stderr(self):
		with open(self.err, errors="replace") as f:
			return f.read()

	def port(self):
		m = rigs.wait_for(lambda: re.search(r"metrics on http://\S*:(\d+)/", self.stderr()), 10)
		return int(m.group(1)) if m else None

	def end(self, sig=signal.SIGTERM):
		self.child.send_signal(sig)
		out = self.child.communicate(timeout=20)[0]
		return out


def scrape(port, path="/metrics", host="127.0.0.1"):
	conn = http.client.HTTPConnection(host, port, timeout=10)
	conn.request("GET", path)
	res = conn.getresponse()
	body = res.read().decode()
	conn.close()
	return res, body


def parse(text):
	"""{series: value} and {family: type}; a fault of the format is an AssertionError."""
	series, types, helps, current = {}, {}, set(), None
	assert text.endswith("\n"), "the last line has no end"
	for line in text.splitlines():
		if line.startswith("# HELP "):
			current = line.split()[2]
			assert current not in helps, f"two HELPs: {current}"
			assert len(line.split(None, 3)) == 4, f"no help: {line}"
			helps.add(current)
			continue
		if line.startswith("# TYPE "):
			_, _, name, kind = line.split()
			assert name == current, f"TYPE of {name} after HELP of {current}"
			types[name] = kind
			continue
		m = re.fullmatch(r'([a-zA-Z_:][\w:]*)((?:\{(?:\w+="(?:[^"\\\n]|\\.)*",?)*\})?) (\S+)', line)
		assert m, f"not a sample: {line}"
		base = re.sub(r"_(bucket|sum|count)$", "", m[1]) \
			if types.get(current) == "histogram" else m[1]
		assert base == current, f"{m[1]} stands under {current}"
		assert m[1] + m[2] not in series, f"twice: {line}"
		series[m[1] + m[2]] = float(m[3])
	return series, types


def parsed(text, what):
	try:
		return parse(text)
	except AssertionError as e:
		T.ok(False, what, e)
		return {}, {}


def ledger_names():
	"""The metric's series for each counter of stats.def, by the rule of docs/metrics.md."""
	label = {"lost": "cause", "evicted": "reason", "skipped": "reason", "gap": "cause",
		 "outcome": "outcome", "made": "kind"}
	gauges = {("bytes", "held"), ("transactions", "open"), ("memory", "budget_used")}
	with open(os.path.join(TOP, "agent", "stats.def")) as f:
		rows = re.findall(r'^OSP_ST\(\w+, "(\w+)", "(\w+)", (NULL|"\w+"), "(\w+)"', f.read(), re.M)
	for stage, name, lab, unit in rows:
		lab = lab.strip('"')
		if lab.startswith("reserved"):
			continue
		metric = "osprey_" + ("stream" if stage == "bytes" else stage) + "_" + name
		if unit == "bytes" and not name.endswith("_bytes"):
			metric += "_bytes"
		if (stage, name) not in gauges:
			metric += "_total"
		dotted = f"{stage}.{name}" + ("" if lab == "NULL" else "." + lab)
		yield dotted, metric + ("" if lab == "NULL" else '{%s="%s"}' % (label[name], lab))


def sinks_close(series):
	def of(what):
		return sum(v for k, v in series.items() if k.startswith(f"osprey_sink_{what}"))
	return of("offered_records") == of("accepted_records") + of("rejected_records") + \
		of("dropped_records") + of("queued_records")


# ---- what is shown ---------------------------------------------------------------------------

def test_names(held, port):
	res, text = scrape(port)
	T.eq(res.getheader("Content-Type"), "text/plain; version=0.0.4; charset=utf-8",
	     "the content type is that of the format")
	series, types = parsed(text, "the text is well-formed")
	T.ok(len(series) > 100, "there are metrics", text[:500])
	names = dict(ledger_names())
	T.ok(len(names) > 60, "stats.def was read")
	T.none([f"{d}: {m}" for d, m in names.items() if m not in series],
	       "every counter of the ledger is there")
	T.none([f"{n} {t}" for n, t in types.items()
		if (t == "counter") != n.endswith("_total")], "counters, and only they, end in _total")
	T.ok(series.get('osprey_build_info{version="%s",event_abi="%s",record_schema="%s",'
			'sink_abi="%s"}' % version()) == 1, "build info")
	T.eq(series.get("osprey_ledger_closes"), 1.0, "the sums close")
	T.ok(sinks_close(series), "each sink: offered = accepted + rejected + dropped + queued")
	if os.access(PROMTOOL, os.X_OK):
		run = subprocess.run([PROMTOOL, "check", "metrics"], input=text, text=True,
				     capture_output=True)
		T.eq((run.returncode, run.stdout + run.stderr), (0, ""), "promtool check metrics")
	else:
		T.skip("promtool check metrics", "no promtool (Debian: prometheus)")
	return series


def version():
	out = subprocess.run([AGENT, "--version"], capture_output=True, text=True).stdout
	return re.search(r" (\S+) \(event ABI (\d+), record (\S+), sink ABI (\d+)", out).groups()


def test_progress(held, port):
	"""A queue that nobody empties: its lag grows. The loop waits, and still reports."""
	def lag():
		return parse(scrape(port)[1])[0]['osprey_sink_lag_seconds{sink="jsonl"}']
	rigs.wait_for(lambda: lag() > 0, 10)
	first = lag()
	time.sleep(2.2)
	series = parse(scrape(port)[1])[0]
	second = series['osprey_sink_lag_seconds{sink="jsonl"}']
	T.ok(1 < second - first < 5, "the lag of a stuck sink grows with time", first, second)
	T.ok(series['osprey_sink_queued_records{sink="jsonl"}'] > 0, "its queue is not empty")
	T.eq(scrape(port, "/healthz")[0].status, 200, "waiting for a sink is healthy")
	# SIGHUP while the loop waits for room: it must not lock up.
	held.child.send_signal(signal.SIGHUP)
	time.sleep(1.2)
	T.eq(scrape(port, "/healthz")[0].status, 200, "and so after SIGHUP")


# ---- requests --------------------------------------------------------------------------------

def raw(port, data, secs=8, pieces=None):
	with socket.create_connection(("127.0.0.1", port), timeout=secs) as s:
		for piece in pieces or [data]:
			s.sendall(piece)
			if pieces:
				time.sleep(0.002)
		out = b""
		while True:
			try:
				got = s.recv(65536)
			except socket.timeout:
				return out + b"<timeout>"
			except ConnectionError:
				return out + b"<reset>"
			if not got:
				return out
			out += got


def status(answer):
	m = re.match(rb"HTTP/1\.1 (\d+) [^\r\n]+\r\n", answer)
	return int(m[1]) if m else answer[:60]


H = b"Host: x\r\n\r\n"
REQUESTS = [
	("GET", 200, b"GET /metrics HTTP/1.1\r\n" + H),
	("a query is passed over", 200, b"GET /metrics?x=1 HTTP/1.1\r\n" + H),
	("HTTP/1.0 without Host", 200, b"GET /healthz HTTP/1.0\r\n\r\n"),
	("bare LF", 200, b"GET /healthz HTTP/1.1\nHost: x\n\n"),
	("another path", 404, b"GET / HTTP/1.1\r\n" + H),
	("a path that climbs", 404, b"GET /../metrics HTTP/1.1\r\n" + H),
	("POST", 405, b"POST /metrics HTTP/1.1\r\nContent-Length: 3\r\n" + H + b"abc"),
	("no Host in HTTP/1.1", 400, b"GET /metrics HTTP/1.1\r\n\r\n"),
	("two Hosts", 400, b"GET /metrics HTTP/1.1\r\nHost: a\r\n" + H),
	("no version", 400, b"GET /metrics\r\n\r\n"),
	("another protocol", 400, b"GET /metrics HTTP/2.0\r\n" + H),
	("HTTP/1.", 400, b"GET /metrics HTTP/1.\r\n" + H),
	("two spaces", 400, b"GET  /metrics HTTP/1.1\r\n" + H),
	("no target", 400, b"GET HTTP/1.1\r\n" + H),
	("an absolute target", 400, b"GET http://x/metrics HTTP/1.1\r\n" + H),
	("a space before the colon", 400, b"GET /metrics HTTP/1.1\r\nA : b\r\n" + H),
	("a line without colon", 400, b"GET /metrics HTTP/1.1\r\nnonsense\r\n" + H),
	("a folded line", 400, b"GET /metrics HTTP/1.1\r\nA: b\r\n c\r\n" + H),
	("NUL", 400, b"GET /met\0rics HTTP/1.1\r\n" + H),
	("a control character", 400, b"GET /metrics HTTP/1.1\r\nA: \x01\r\n" + H),
	("an empty line first", 400, b"\r\n\r\nGET /metrics HTTP/1.1\r\n" + H),
	("TLS", 400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n"),
	("a head that does not end", 431, b"GET /metrics HTTP/1.1\r\nA: " + b"x" * 5000),
	("bytes behind the request", 200, b"GET /healthz HTTP/1.1\r\n" + H + b"x" * 100000),
]


def test_requests(port):
	for name, want, data in REQUESTS:
		T.eq(status(raw(port, data)), want, f"{name}: {want}")
	allow = raw(port, b"PUT /metrics HTTP/1.1\r\n" + H)
	T.ok(b"\r\nAllow: GET, HEAD\r\n" in allow, "405 names the methods", allow)
	head = raw(port, b"HEAD /metrics HTTP/1.1\r\n" + H)
	length = re.search(rb"\r\nContent-Length: (\d+)\r\n", head)
	T.ok(head.endswith(b"\r\n\r\n") and length and int(length[1]) > 5000,
	     "HEAD: the length, no body", head[:300])
	data = b"GET /healthz HTTP/1.1\r\n" + H
	T.eq(status(raw(port, None, pieces=[data[i:i + 1] for i in range(len(data))])), 200,
	     "a request byte by byte")
	with socket.create_connection(("127.0.0.1", port)) as s:
		s.sendall(b"GET /met")
	T.eq(scrape(port)[0].status, 200, "one that goes away in the middle hurts nobody")


def test_slow(port):
	"""Silent connections end by themselves, and while they fill all places others get theirs soon."""
	silent = [socket.create_connection(("127.0.0.1", port), timeout=12) for _ in range(20)]
	silent[0].sendall(b"GET /metrics HTTP/1.1\r\n")
	begun = time.monotonic()
	T.eq(status(raw(port, b"GET /healthz HTTP/1.1\r\n" + H, secs=18)), 200,
	     "with 20 silent clients before it, a request is answered")
	took = time.monotonic() - begun
	T.ok(took < 17, f"after the time of those before it at most ({took:.1f} s)")
	try:
		end = silent[0].recv(10)
	except ConnectionError:
		end = b""
	T.eq(end, b"", "a silent client's connection is ended")
	for s in silent:
		s.close()


# ---- where it listens ------------------------------------------------------------------------

def end_of(*args):
	run = subprocess.run([AGENT, "--synthetic=txns=1", "--sink", "null", *args],
			     capture_output=True, text=True, timeout=20)
	return run.returncode, run.stderr


def one_line(name, want, regex, *args):
	code, err = end_of(*args)
	T.ok(code == want and len(err.splitlines()) == 1 and re.search(regex, err), name,
	     f"exit {code}, want {want}", err)


def unix_get(path):
	with socket.socket(socket.AF_UNIX) as s:
		s.settimeout(5)
		s.connect(path)
		s.sendall(b"GET /healthz HTTP/1.1\r\n" + H)
		out = b""
		while got := s.recv(4096):
			out += got
		return status(out)


def unix_ready(path):
	try:
		return unix_get(path) == 200
	except OSError:
		return False


def test_listening(rig, port):
	one_line("an address others can reach is refused", 2, "--metrics-any",
		 "--metrics", "0.0.0.0:9464")
	one_line("  [::], too", 2, "--metrics-any", "--metrics", "[::]:9464")
	one_line("nonsense is refused", 2, "not ADDRESS:PORT", "--metrics", "nonsense")
	one_line("a port in use is told", 78, "[Aa]ddress already in use",
		 "--metrics", f"127.0.0.1:{port}")
	conf = os.path.join(rig.tmp, "any.conf")
	with open(conf, "w") as f:
		f.write("metrics = 10.0.0.1:9464\n")
	one_line("in the file it is a configuration error", 78, "--metrics-any", "--config", conf)
	code, err = end_of("--metrics", "0.0.0.0:0", "--metrics-any")
	T.ok(code == 0 and "metrics on http://0.0.0.0:" in err, "--metrics-any allows it", err)


def test_unix(rig):
	path = os.path.join(rig.tmp, "metrics.sock")
	held = Held(rig, "--metrics", f"unix:{path}", name="unix")
	T.ok(rigs.wait_for(lambda: unix_ready(path), 10), "a unix socket answers", held.stderr())
	st = os.stat(path)
	T.eq((stat.S_ISSOCK(st.st_mode), st.st_mode & 0o777), (True, 0o600), "its mode is 0600")
	one_line("one in use is left alone", 78, "in use", "--metrics", f"unix:{path}")
	held.end(signal.SIGKILL)
	T.ok(os.path.exists(path), "kill -9 leaves the socket behind")
	held = Held(rig, "--metrics", f"unix:{path}", name="unix2")
	T.ok(rigs.wait_for(lambda: unix_ready(path), 10), "the next agent takes its place",
	     held.stderr())
	held.end()
	T.ok(not os.path.exists(path), "an agent that ends removes it")
	with open(path, "w") as f:
		f.write("precious")
	one_line("a file in its place is told", 78, "in use", "--metrics", f"unix:{path}")
	with open(path) as f:
		T.eq(f.read(), "precious", "  and left alone")


# ---- dashboard and alerts --------------------------------------------------------------------

def names_in(text):
	return set(re.findall(r"\b((?:osprey|process)_[a-z0-9_]+)", text))


def test_contrib(rig, types):
	known = set(types)
	for t, kind in types.items():
		if kind == "histogram":
			known |= {f"{t}_bucket", f"{t}_sum", f"{t}_count"}
	# Those of a live source are not there in a synthetic one.
	known |= {"osprey_ring_used_bytes", "osprey_ring_size_bytes", "osprey_event_age_seconds_bucket"}
	with open(os.path.join(TOP, "contrib/grafana/osprey.json")) as f:
		dash = json.load(f)
	exprs = " ".join(t["expr"] for p in dash["panels"] for t in p["targets"])
	T.none(sorted(names_in(exprs) - known), "the dashboard shows what there is")
	T.eq(len({p["id"] for p in dash["panels"]}), len(dash["panels"]), "its panels have their own ids")
	rules = os.path.join(TOP, "contrib/prometheus/osprey-alerts.yml")
	with open(rules) as f:
		text = f.read()
	exprs = " ".join(re.findall(r"expr: (.*)", text))
	T.none(sorted(names_in(exprs) - known), "the alerts ask for what there is")
	if not os.access(PROMTOOL, os.X_OK):
		T.skip("promtool check rules, test rules", "no promtool (Debian: prometheus)")
		return
	run = subprocess.run([PROMTOOL, "check", "rules", rules], text=True, capture_output=True)
	T.ok(run.returncode == 0 and "rules found" in run.stdout, "promtool check rules",
	     run.stdout + run.stderr)
	with open(os.path.join(TOP, "tests/metrics/alerts_test.yml")) as f:
		text = f.read().replace("RULES", rules)
	mine = os.path.join(rig.tmp, "alerts_test.yml")
	with open(mine, "w") as f:
		f.write(text)
	run = subprocess.run([PROMTOOL, "test", "rules", mine], text=True, capture_output=True)
	T.eq(run.returncode, 0, "promtool test rules", run.stdout + run.stderr)
	for conf in ("prometheus.yml",):
		run = subprocess.run([PROMTOOL, "check", "config", "--syntax-only",
				      os.path.join(TOP, "contrib/prometheus", conf)], text=True,
				     capture_output=True)
		T.eq(run.returncode, 0, f"promtool check config {conf}", run.stdout + run.stderr)


# ---- a real run ------------------------------------------------------------------------------

def test_live(rig):
	why = rigs.why_not()
	if why:
		T.skip("metrics of live traffic", why)
		return
	port, web = rigs.free_port(), rigs.free_port()
	rig.popen([sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", rig.tmp,
		   str(web)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
	agent = rigs.Agent(rig, "--port", web, "--metrics", f"127.0.0.1:{port}")
	if not T.ok(agent.ready(), "the agent gets ready", agent.stderr()):
		return
	rigs.wait_for(lambda: rigs.listening(web), 5)
	for i in range(20):
		scrape(web, "/")
	rigs.wait_for(lambda: parse(scrape(port)[1])[0].get(
		'osprey_transactions_outcome_total{outcome="ok"}') == 40, 5)
	text = scrape(port)[1]
	series, types = parsed(text, "the text is well-formed")
	T.eq(series.get('osprey_transactions_outcome_total{outcome="ok"}'), 40.0,
	     "20 exchanges, both ends seen")
	T.ok(series["osprey_event_age_seconds_count"] >= 80, "events have ages")
	T.ok(0 < series["osprey_event_age_seconds_sum"] / series["osprey_event_age_seconds_count"] < 1,
	     "  that are those of a moment ago", series["osprey_event_age_seconds_sum"])
	T.eq(series['osprey_ring_size_bytes{ring="data"}'], 64.0 * 1024 * 1024, "ring size")
	T.ok('osprey_connections_tracked' in series and series["osprey_ledger_closes"] == 1,
	     "connections, and the sums close")
	if os.access(PROMTOOL, os.X_OK):
		run = subprocess.run([PROMTOOL, "check", "metrics"], input=text, text=True,
				     capture_output=True)
		T.eq((run.returncode, run.stdout + run.stderr), (0, ""), "promtool check metrics, live")
	agent.child.send_signal(signal.SIGTERM)
	agent.child.wait(15)
	led = records.exit_ledger(records.load(agent.path))
	shown = {"acked": "confirmed", "bytes": "written_bytes"}
	T.none([name for name in led["sinks"]["jsonl"] if not any(
		k.startswith(f"osprey_sink_{shown.get(name, name)}_") for k in series)],
	       "every counter of a sink is there")
	T.none([f"{d}: metric {series[m]}, ledger {records.counter(led, d)}"
		for d, m in ledger_names() if series.get(m, 0) > records.counter(led, d)
		and d not in ("transactions.open", "bytes.held", "memory.budget_used")],
	       "no counter was ahead of the exit ledger")


def main():
	if not os.access(AGENT, os.X_OK):
		tap.skip_all(f"no {AGENT}")
	with rigs.Rig() as rig:
		held = Held(rig, "--metrics", "127.0.0.1:0")
		port = held.port()
		if not T.ok(port, "the agent says where its metrics are", held.stderr()):
			return T.done()
		rigs.wait_for(lambda: scrape(port, "/healthz")[0].status == 200, 10)
		test_names(held, port)
		types = parse(scrape(port)[1])[1]
		test_contrib(rig, types)
		test_progress(held, port)
		test_requests(port)
		test_listening(rig, port)
		test_slow(port)
		T.ok(held.child.poll() is None, "the agent runs on", held.stderr())
		held.end()
		test_unix(rig)
		test_live(rig)
	return T.done()


sys.exit(main())
