#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file: checked without running, and read again while running.

A reload must not cost an event that the filters before and after it both want: under constant load,
with the file toggled all the time, every exchange is there once from each end.
"""
import gzip
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import rig as rigs  # noqa: E402
import records  # noqa: E402
import tap  # noqa: E402

T = tap.Tap()
AGENT = rigs.AGENT


def write(path, *lines):
	"""As an editor does it: the file is the old or the new one, never half."""
	with open(path + ".new", "w") as f:
		f.write("".join(line + "\n" for line in lines))
	os.rename(path + ".new", path)


# ---- --check-config --------------------------------------------------------------------------

# A good value for every setting that may stand in the file.
EVERY = {
	"sink": "null", "headers": "yes", "body": "1K", "decode": "yes", "redact": "Cookie",
	"no-connections": "no", "ledger-interval": "10s", "connection-interval": "1m", "pid": "1", "follow": "yes",
	"comm": "nginx", "exe": "/bin/sh", "port": "80", "cidr": "10.0.0.0/8", "cgroup": "1",
	"netns": "4026531840", "role": "server", "unix": "no", "capture": "auto", "ring-size": "16M",
	"rings": "2", "capture-cap": "64K", "gather": "8", "max-head": "64K", "max-connections": "1000", "memory": "64M",
	"timeout": "10s", "duration": "1h", "count": "5", "stop-timeout": "1s", "record": "/tmp/x.oev",
	"verbose": "yes", "metrics": "127.0.0.1:9464", "metrics-any": "no",
}
LINE_ONLY = {"config", "check-config", "help", "version", "replay", "synthetic", "source"}


def check(*args):
	run = subprocess.run([AGENT, "--check-config", *args], capture_output=True, text=True,
			     timeout=20)
	return run.returncode, run.stdout, run.stderr


def one_line(name, want, regex, *args):
	code, out, err = check(*args)
	T.ok(code == want and not out and len(err.splitlines()) == 1 and re.search(regex, err), name,
	     f"exit {code}, want {want}: {out}{err}")


def test_check(rig):
	conf = os.path.join(rig.tmp, "check.conf")
	help_text = subprocess.run([AGENT, "--help"], capture_output=True, text=True).stdout
	known = set(re.findall(r"--([a-z-]+)", "\n".join(
		line for line in help_text.splitlines() if re.match(r"  (-\w, |    )--", line))))
	every = dict(EVERY)
	for extra in known - every.keys() - LINE_ONLY:	# settings that came later
		every[extra] = "100000"
	T.ok(len(known) > 30, "--help names the options")
	write(conf, "# all of them", "", *(f"  {k} = {v}" for k, v in every.items() if k in known))
	T.eq(check("--config", conf), (0, "", ""), "a file with every setting: nothing to say, 0")
	T.none([f"{k}: {check('--config', conf)[0]}" for k in sorted(LINE_ONLY)
		if not write(conf, f"{k} = x") and check("--config", conf)[0] != 78],
	       "what cannot stand in a file is refused there")
	T.eq(check("--port", "80"), (0, "", ""), "a good command line: nothing to say, 0")
	for name, line, regex in (
			("an unknown setting", "colour = red", r"check\.conf:2: no such option: colour"),
			("no equals sign", "port 80", r'check\.conf:2: not "option = value"'),
			("a bad number", "port = 99999", "99999"),
			("a bad size", "ring-size = much", "much"),
			("a bad flag", "headers = maybe", "maybe"),
			("a sink that is not there", "sink = nowhere", "nowhere"),
			("a bad option of a sink", "sink = jsonl:colour=red", "colour"),
			("a plugin that is not there", "sink = /no/such.so", "/no/such.so"),
			("decoding what is not kept", "decode = yes", "--body=SIZE"),
			("an address for metrics", "metrics = 8.8.8.8:80", "8.8.8.8"),
			("a file that is not there", "exe = /no/such", "/no/such")):
		write(conf, "# one", line)
		one_line(f"{name}: one line, 78", 78, regex, "--config", conf)
	one_line("no such file: one line, 78", 78, "no-such.conf", "--config", rig.tmp + "/no-such.conf")
	write(conf, "sink = null")
	one_line("on the command line: one line, 2", 2, "nowhere", "--config", conf, "--sink", "nowhere")
	one_line("a bad option: one line, 2", 2, "--port", "--config", conf, "--port", "x")
	one_line("decoding what is not kept: one line, 2", 2, "--body=SIZE", "--decode")
	one_line("a bad --synthetic: one line, 2", 2, "--synthetic", "--synthetic=colour=red")
	out = os.path.join(rig.tmp, "not-made.jsonl")
	T.eq((check("--sink", f"jsonl:path={out}")[0], os.path.exists(out)), (0, False),
	     "checking opens no sink")


def test_made_texts(rig):
	"""The man page and the completion are made from the same table."""
	def text(option):
		return subprocess.run([AGENT, option], capture_output=True, text=True).stdout
	man, bash = text("--help-man"), text("--help-bash")
	options = set(re.findall(r"--([a-z-]+)", text("--help")))
	T.none(sorted(o for o in options if "\\-\\-" + o.replace("-", "\\-") not in man),
	       "the man page has every option")
	T.none(sorted(o for o in options if f"--{o}" not in bash), "the completion, too")
	if shutil.which("groff"):
		run = subprocess.run(["groff", "-man", "-Tascii", "-ww", "-z"], input=man,
				     capture_output=True, text=True)
		T.eq((run.returncode, run.stderr), (0, ""), "groff has nothing to say about it")
	else:
		T.skip("groff has nothing to say about it", "no groff")
	script = bash + """
complete_it() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _osprey_agent
	echo "${COMPREPLY[*]}"; }
complete_it osprey-agent --capt
complete_it osprey-agent --role s
complete_it osprey-agent --capture = sys
complete_it osprey-agent --sink js
"""
	run = subprocess.run(["bash", "-eu", "-c", script], capture_output=True, text=True)
	T.eq(run.stdout.split("\n")[:4], ["--capture --capture-cap", "server", "syscall", "jsonl"],
	     "it completes options and values", run.stderr)


# ---- while running ---------------------------------------------------------------------------

class Load:
	"""Exchanges with a server all the time, over kept and new connections in turn. Counts them."""

	def __init__(self, port):
		self.port, self.n, self.stop = port, 0, False
		self.thread = threading.Thread(target=self.run)
		self.thread.start()

	def run(self):
		conn = None
		while not self.stop:
			if conn is None:
				conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
			conn.request("GET", f"/load?{self.n}")
			res = conn.getresponse()
			res.read()
			self.n += 1
			if self.n % 5 == 0:
				conn.close()
				conn = None
			time.sleep(0.001)
		if conn:
			conn.close()

	def end(self):
		self.stop = True
		self.thread.join()
		return self.n


SERVER = """
import http.server, socketserver, sys
class H(http.server.BaseHTTPRequestHandler):
	protocol_version = "HTTP/1.1"
	def do_GET(self):
		# one write: two would wait for each other's acknowledgement
		self.wfile.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n")
	def log_message(self, *a):
		pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


def serve(rig):
	port = rigs.free_port()
	child = rig.popen([sys.executable, "-c", SERVER, str(port)])
	rigs.wait_for(lambda: rigs.listening(port), 10)
	return port, child.pid


def get(port, target):
	conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
	conn.request("GET", target)
	conn.getresponse().read()
	conn.close()


class Running:
	def __init__(self, rig, conf, *args, name="run", mode=None):
		self.conf = conf
		self.agent = rigs.Agent(rig, "--config", conf, *args, name=name, mode=mode)

	def reload(self, *lines):
		"""Writes the file and waits until the agent has said what it makes of it."""
		before = self.said()
		write(self.conf, *lines)
		self.agent.child.send_signal(signal.SIGHUP)
		rigs.wait_for(lambda: self.said() > before, 10)
		return self.agent.stderr().splitlines()

	def said(self):
		return len(re.findall(r"read again: watching|(is|are) not in force", self.agent.stderr()))

	def end(self):
		self.agent.settle()
		self.agent.child.send_signal(signal.SIGTERM)
		code = self.agent.child.wait(20)
		self.recs = records.load(self.agent.path)
		return code

	def seen(self, prefix, role=None):
		return sorted(records.get(r, "http.request.target") for r in
			      records.kind(self.recs, "transaction")
			      if (records.get(r, "http.request.target") or "").startswith(prefix)
			      and role in (None, records.get(r, "conn.role")))


def test_under_load(rig, mode):
	"""Toggles between filters that all want the load; other entries, classes and roles change."""
	(a, pid), (b, _) = serve(rig), serve(rig)
	conf = os.path.join(rig.tmp, "load.conf")
	base = [f"port = {a}"]
	steps = [base, base + [f"port = {b}"], base + ["role = server", "role = client"],
		 [f"pid = {pid}", f"pid = {os.getpid()}", *base], base + ["cidr = 127.0.0.0/8"],
		 ["cidr = 127.0.0.1/32", *base], [f"pid = {pid}", f"pid = {os.getpid()}"]]
	write(conf, *base)
	run = Running(rig, conf, name=f"load-{mode}", mode=mode)
	if not T.ok(run.agent.ready(), f"{mode}: the agent gets ready", run.agent.stderr()):
		return
	load = Load(a)
	for i in range(21):
		run.reload(*steps[(i + 1) % len(steps)])
		time.sleep(0.05)
	n = load.end()
	code = run.end()
	T.eq((code, run.said()), (0, 21), f"{mode}: 21 reloads, the agent ends well", run.agent.stderr())
	want = sorted(f"/load?{i}" for i in range(n))
	for role in ("client", "server"):
		got = run.seen("/load", role)
		T.ok(got == want, f"{mode}: every exchange of the {role}'s end is there once",
		     f"{n} made, {len(got)} seen, {len(set(got))} different",
		     sorted(set(want) - set(got))[:5])
	T.ok(n > 500, f"{mode}: there was load", n)
	bad = [r for r in records.kind(run.recs, "transaction")
	       if r["outcome"] != "ok" and "/load" in str(r)]
	T.none([f"{r['outcome']} {r['http']}" for r in bad], f"{mode}: all of them ok")
	led = records.exit_ledger(run.recs)
	T.eq((led["closed"], records.counter(led, "events.lost")), (True, 0),
	     f"{mode}: sums close, nothing lost")


def test_changes(rig):
	"""What is seen follows the file; what is wrong with it changes nothing."""
	(a, _), (b, _) = serve(rig), serve(rig)
	conf, port = os.path.join(rig.tmp, "changes.conf"), rigs.free_port()
	write(conf, f"port = {a}", f"metrics = 127.0.0.1:{port}", "ring-size = 16M")
	rest = [f"metrics = 127.0.0.1:{port}", "ring-size = 16M"]
	run = Running(rig, conf, name="changes")
	if not T.ok(run.agent.ready(), "the agent gets ready", run.agent.stderr()):
		return

	def both(tag):
		get(a, f"/{tag}-a")
		get(b, f"/{tag}-b")

	both("first")
	run.reload(f"port = {b}", *rest)
	both("second")
	run.reload("role = server", f"port = {a}", f"port = {b}", *rest)
	both("third")
	err = run.reload("port = what", *rest)
	T.ok(any("not a port" in e for e in err), "a bad file is told", err[-3:])
	T.ok("stays as it was" in err[-1], "  and that it is not in force", err[-3:])
	T.eq(metric(port, "osprey_config_last_reload_successful"), 0.0, "  and the metrics say so")
	both("fourth")
	err = run.reload(f"port = {a}", *(f"comm = c{i}" for i in range(1100)), *rest)
	T.ok(any("too many of its kind" in e for e in err) and "stay as they were" in err[-1],
	     "more entries than the kernel's table takes: told, none of them in force", err[-3:])
	both("full")
	err = run.reload(f"port = {a}", "ring-size = 32M", "sink = null", "headers = yes",
			 "ledger-interval = 1s")
	warned = [e for e in err if "restart" in e]
	T.ok(len(warned) == 1 and re.search(r": headers, ring-size, metrics$", warned[0]),
	     "what needs a restart is named, in one line; --sink of the command line is not", warned)
	T.eq(metric(port, "osprey_config_last_reload_successful"), 1.0, "the next good file is good")
	T.eq((metric(port, 'osprey_config_reloads_total{result="ok"}'),
	      metric(port, 'osprey_config_reloads_total{result="failed"}')), (3.0, 2.0),
	     "reloads are counted")
	both("fifth")
	os.unlink(conf)
	run.agent.child.send_signal(signal.SIGHUP)
	rigs.wait_for(lambda: run.said() == 6, 5)
	both("sixth")
	rigs.wait_for(lambda: len([r for r in records.kind(records.load(run.agent.path), "ledger")
				   if r["when"] == "interval"]) >= 2, 10)
	T.eq(run.end(), 0, "the agent ends well", run.agent.stderr())
	seen = {tag: run.seen(f"/{tag}") for tag in ("first", "second", "third", "fourth", "full",
						     "fifth", "sixth")}
	T.eq(seen["first"], ["/first-a"] * 2, "before: one port, both ends")
	T.eq(seen["second"], ["/second-b"] * 2, "another port: entries come and go")
	T.eq(seen["third"], ["/third-a", "/third-b"], "another kind of filter: the server's ends only")
	T.eq(seen["fourth"], ["/fourth-a", "/fourth-b"], "a bad file: as before")
	T.eq(seen["full"], ["/full-a", "/full-b"], "too many entries: as before")
	T.eq(seen["fifth"], ["/fifth-a"] * 2, "a kind of filter that is gone is gone")
	T.eq(seen["sixth"], ["/sixth-a"] * 2, "the file is gone: as before")
	T.ok(any(r["when"] == "interval" for r in records.kind(run.recs, "ledger")),
	     "ledger-interval changed, too")


def metric(port, series):
	def read():
		conn = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
		conn.request("GET", "/metrics")
		text = conn.getresponse().read().decode()
		conn.close()
		return text
	time.sleep(1.2)		# the loop leaves numbers once a second
	for line in read().splitlines():
		if line.startswith(series + " "):
			return float(line.split()[-1])
	return None


def test_overridden(rig):
	"""The command line stands above the file, in a reload as well."""
	(a, _), (b, _) = serve(rig), serve(rig)
	conf = os.path.join(rig.tmp, "over.conf")
	write(conf, "port = 1")
	run = Running(rig, conf, "--port", str(a), name="over")
	if not T.ok(run.agent.ready(), "the agent gets ready", run.agent.stderr()):
		return
	err = run.reload(f"port = {b}")
	get(a, "/over-a")
	get(b, "/over-b")
	T.ok(f"watching port {a}" in err[-1], "the command line's port stays", err[-1])
	T.eq(run.end(), 0, "the agent ends well")
	T.eq(run.seen("/over"), ["/over-a"] * 2, "and is what is seen")


def test_files(rig):
	"""logrotate's way: rename, signal; and with the real logrotate and the recipe's file."""
	port, _ = serve(rig)
	conf = os.path.join(rig.tmp, "files.conf")
	write(conf, f"port = {port}")
	run = Running(rig, conf, name="files")
	if not T.ok(run.agent.ready(), "the agent gets ready", run.agent.stderr()):
		return
	get(port, "/file-1")
	run.agent.settle()
	os.rename(run.agent.path, run.agent.path + ".1")
	get(port, "/file-2")
	run.reload(f"port = {port}")
	get(port, "/file-3")
	rigs.wait_for(lambda: os.path.exists(run.agent.path), 5)
	logrotate = shutil.which("logrotate") or "/usr/sbin/logrotate"
	if os.access(logrotate, os.X_OK):
		run.agent.settle()
		rotate(rig, run, logrotate)
	else:
		T.skip("the recipe for logrotate", "no logrotate")
	get(port, "/file-4")
	T.eq(run.end(), 0, "the agent ends well")
	targets = []
	for name in sorted(os.listdir(rig.tmp)):
		if name.startswith("files.jsonl"):
			recs = records.load(unpacked(os.path.join(rig.tmp, name)))
			targets += [records.get(r, "http.request.target") for r in
				    records.kind(recs, "transaction")]
	T.eq(sorted(targets), sorted(f"/file-{i}" for i in (1, 2, 3, 4) for _ in "cs"),
	     "every record is in one of the files, once")


def unpacked(path):
	if not path.endswith(".gz"):
		return path
	with gzip.open(path) as packed, open(path + ".txt", "wb") as plain:
		shutil.copyfileobj(packed, plain)
	return path + ".txt"


def rotate(rig, run, logrotate):
	with open(os.path.join(TOP, "contrib", "logrotate", "osprey")) as f:
		text = f.read()
	text = text.replace("/var/log/osprey/*.jsonl", run.agent.path)
	text = re.sub(r"systemctl kill .*", f"kill -HUP {run.agent.child.pid}", text)
	path = os.path.join(rig.tmp, "logrotate.conf")
	with open(path, "w") as f:
		f.write(text)
	os.chmod(path, 0o644)
	done = subprocess.run([logrotate, "-f", "-s", os.path.join(rig.tmp, "state"), path],
			      capture_output=True, text=True)
	rigs.wait_for(lambda: os.path.exists(run.agent.path), 5)
	T.ok(done.returncode == 0 and os.path.exists(run.agent.path), "logrotate by the recipe",
	     done.stderr)


# ---- the service unit ------------------------------------------------------------------------

def test_unit(rig):
	"""The capabilities in the unit are enough, as a user without any rights otherwise."""
	unit = os.path.join(TOP, "contrib", "systemd", "osprey-agent.service")
	with open(unit) as f:
		text = f.read()
	caps = re.search(r"^CapabilityBoundingSet=(.*)", text, re.M)[1]
	T.eq(re.search(r"^AmbientCapabilities=(.*)", text, re.M)[1], caps, "the unit's two sets agree")
	setpriv = shutil.which("setpriv")
	if not setpriv:
		T.skip("the unit's capabilities are enough", "no setpriv (util-linux)")
		return
	port, pid = serve(rig)
	caps = "-all," + ",".join("+" + c.removeprefix("CAP_").lower() for c in caps.split())
	folder = os.path.join(rig.tmp, "unit")
	os.mkdir(folder)
	os.chmod(folder, 0o777)
	agent = os.path.join(rig.tmp, "osprey-agent")
	shutil.copy(AGENT, agent)
	path, err = os.path.join(folder, "out.jsonl"), os.path.join(rig.tmp, "unit.err")
	with open(err, "wb") as f:
		child = rig.popen([setpriv, "--reuid=65534", "--regid=65534", "--clear-groups",
				   f"--bounding-set={caps}", f"--inh-caps={caps}",
				   f"--ambient-caps={caps}", "--no-new-privs", agent, "--port",
				   str(port), "--sink", f"jsonl:path={path}"], stderr=f)

	def said():
		with open(err) as f:
			return f.read()
	rigs.wait_for(lambda: ": ready:" in said() or child.poll() is not None, 20)
	if not T.ok(": ready:" in said(), "with the unit's capabilities the agent gets ready", said()):
		return
	T.ok("warning" not in said(), "  and has nothing to complain about", said())
	get(port, "/unit")
	time.sleep(0.2)
	child.send_signal(signal.SIGTERM)
	T.eq(child.wait(15), 0, "  and ends well", said())
	recs = [r for r in records.kind(records.load(path), "transaction")
		if records.get(r, "conn.role") == "server"]
	T.eq([(r["process"]["pid"], os.path.realpath(r["process"].get("executable", "")))
	      for r in recs], [(pid, os.path.realpath(sys.executable))],
	     "  and names another user's executable")
	analyze = shutil.which("systemd-analyze")
	if not analyze:
		T.skip("systemd-analyze verify", "no systemd-analyze")
		return
	mine = os.path.join(rig.tmp, "osprey-agent.service")
	with open(mine, "w") as f:
		f.write(re.sub(r"^Documentation=.*\n", "", text, flags=re.M)
			.replace("/usr/local/sbin/osprey-agent", agent))
	done = subprocess.run([analyze, "verify", mine], capture_output=True, text=True)
	T.eq((done.returncode, done.stdout + done.stderr), (0, ""), "systemd-analyze verify")


def main():
	if not os.access(AGENT, os.X_OK):
		tap.skip_all(f"no {AGENT}")
	with rigs.Rig() as rig:
		test_check(rig)
		test_made_texts(rig)
		why = rigs.why_not()
		if why:
			T.skip("reloads of a running agent", why)
			return T.done()
		for mode, reason in rigs.modes():
			if reason:
				T.skip(f"{mode}: reloads under load", reason)
			else:
				test_under_load(rig, mode)
		test_changes(rig)
		test_overridden(rig)
		test_files(rig)
		test_unit(rig)
	return T.done()


sys.exit(main())
