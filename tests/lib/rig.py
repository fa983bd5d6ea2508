# SPDX-License-Identifier: GPL-3.0-or-later
"""rig.py: what end-to-end tests are built from: the agent, nginx, ports, namespaces.

Everything started through a Rig is ended and everything made is removed by its close(), which runs
on errors and signals too: use `with Rig() as rig`.
"""
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import records

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.join(TOP, os.environ.get("OSP_O") or "build")
AGENT = os.path.join(OUT, "bin", "osprey-agent")
BTF = "/sys/kernel/btf/vmlinux"


def why_not():
	"""Why tests with the real agent cannot run here; None if they can."""
	if os.geteuid() != 0:
		return "needs root"
	if not os.path.exists(BTF):
		return "this kernel has no BTF"
	if not os.access(AGENT, os.X_OK):
		return f"no {AGENT}"
	return None


def modes():
	"""(mode, reason): reason is None where the mode can run. OSP_MODES narrows the list."""
	with open(BTF, "rb") as f:
		sock = b"btf_trace_sock_send_length" in f.read()
	wanted = os.environ.get("OSP_MODES", "sock syscall").split()
	return [(m, "this kernel has no sock_send_length tracepoint (6.3)"
		 if m == "sock" and not sock else None) for m in wanted]


def modes_for(t):
	"""The modes that can run; t is told why others are skipped."""
	for mode, reason in modes():
		if reason:
			t.skip(f"{mode} mode", reason)
	return [mode for mode, reason in modes() if not reason]


def wait_for(cond, secs, step=0.02):
	end = time.monotonic() + secs
	while True:
		got = cond()
		if got or time.monotonic() > end:
			return got
		time.sleep(step)


def free_port(host="127.0.0.1"):
	"""A port nobody has now. Bound on all families at once, so that it is free on each."""
	with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
		s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
		s.bind(("::", 0))
		return s.getsockname()[1]


def listening(port, pid="self"):
	"""Whether something listens on port in the network namespace of pid. Asking the kernel's
	table leaves no connection behind for the agent to see."""
	want = f":{port:04X}"
	for table in ("tcp", "tcp6"):
		try:
			with open(f"/proc/{pid}/net/{table}") as f:
				for line in f:
					col = line.split()
					if len(col) > 3 and col[3] == "0A" and col[1].endswith(want):
						return True
		except OSError:
			pass
	return False


class Agent:
	"""One run of the agent with a jsonl sink. args are added to its command line, prefix goes
	before it (ip netns exec NAME)."""

	def __init__(self, rig, *args, mode=None, name="agent", prefix=()):
		self.path = os.path.join(rig.tmp, name + ".jsonl")
		self.err = os.path.join(rig.tmp, name + ".err")
		if os.path.exists(self.path):	# the sink appends
			os.unlink(self.path)
		# What capture and pairing lose is the question, not what a file can take: with
		# sanitizers it takes less than a full-speed run makes.
		argv = [*prefix, AGENT, "--sink", f"jsonl:path={self.path},queue=2G"]
		if mode:
			argv += ["--capture", mode]
		self.argv = argv + [str(a) for a in args]
		self.code = None
		with open(self.err, "wb") as err:
			self.child = rig.popen(self.argv, stdout=subprocess.DEVNULL, stderr=err)

	def stderr(self):
		with open(self.err, errors="replace") as f:
			return f.read()

	def ready(self, secs=20):
		"""True once it has attached and seeded; False if it ended or took too long."""
		def there():
			return ": ready:" in self.stderr() or self.child.poll() is not None
		wait_for(there, secs)
		return ": ready:" in self.stderr() and self.child.poll() is None

	def lines(self):
		try:
			with open(self.path, "rb") as f:
				return f.read().count(b"\n")
		except OSError:
			return 0

	def settle(self, quiet=0.3, secs=10):
		"""Until its output has not grown for a while."""
		last, since = -1, time.monotonic()
		end = since + secs
		while time.monotonic() < end:
			try:
				now = os.path.getsize(self.path)
			except OSError:
				now = 0
			if now != last:
				last, since = now, time.monotonic()
			elif time.monotonic() - since > quiet:
				return
			time.sleep(0.05)

	def stop(self, sig=signal.SIGINT, secs=20):
		"""Its exit status; "hung" if it had to be killed."""
		if self.child.poll() is None:
			self.child.send_signal(sig)
		try:
			self.code = self.child.wait(secs)
		except subprocess.TimeoutExpired:
			self.child.kill()
			self.child.wait()
			self.code = "hung"
		return self.code

	def records(self):
		return records.load(self.path)


class Rig:
	def __init__(self):
		self.tmp = tempfile.mkdtemp(prefix="osprey-test.")
		os.chmod(self.tmp, 0o755)	# servers drop privileges and still read their files
		self.children = []
		self.undo = []			# functions, run last to first
		for sig in (signal.SIGTERM, signal.SIGHUP):
			signal.signal(sig, lambda n, _: sys.exit(128 + n))

	def __enter__(self):
		return self

	def __exit__(self, *exc):
		self.close()

	def popen(self, argv, **kw):
		kw.setdefault("stdin", subprocess.DEVNULL)
		child = subprocess.Popen(argv, **kw)
		self.children.append(child)
		return child

	def run(self, argv, secs=30, **kw):
		"""A finished run with its output as text; too slow is an error. Ended with us even
		when we are ended in the middle."""
		kw.setdefault("stdout", subprocess.PIPE)
		kw.setdefault("stderr", subprocess.PIPE)
		child = self.popen(argv, text=True, **kw)
		try:
			out, err = child.communicate(timeout=secs)
		except subprocess.TimeoutExpired:
			child.kill()
			child.communicate()
			raise RuntimeError(f"took more than {secs} s: {argv}") from None
		self.children.remove(child)
		child.stdout_text, child.stderr_text = out, err
		return child

	def must(self, argv):
		done = self.run(argv)
		if done.returncode:
			raise RuntimeError(f"{argv}: {done.stderr_text.strip()}")
		return done.stdout_text

	def end(self, child, secs=5):
		if child.poll() is None:
			child.terminate()
		try:
			child.wait(secs)
		except subprocess.TimeoutExpired:
			child.kill()
			child.wait()
		if child in self.children:
			self.children.remove(child)

	def close(self):
		for child in self.children[::-1]:
			if child.poll() is None:
				child.terminate()
		for child in self.children[::-1]:
			self.end(child)
		for step in self.undo[::-1]:
			try:
				step()
			except (OSError, RuntimeError, subprocess.SubprocessError) as e:
				print(f"# could not undo: {e}", flush=True)
		self.undo = []
		if os.environ.get("OSP_KEEP"):
			print(f"# kept {self.tmp}", flush=True)
		else:
			shutil.rmtree(self.tmp, ignore_errors=True)

	def netns(self, name):
		"""A network namespace with its loopback up."""
		self.must(["ip", "netns", "add", name])
		self.undo.append(lambda: subprocess.run(["ip", "netns", "del", name], timeout=10,
							check=False))
		self.must(["ip", "-n", name, "link", "set", "lo", "up"])
		return os.stat(f"/run/netns/{name}").st_ino

	def veth(self, ns_a, ns_b, net):
		"""A cable between two namespaces; goes with either. a is .1, b is .2 of net, v4 and v6."""
		a, b = f"ospa{os.getpid()}"[:15], f"ospb{os.getpid()}"[:15]
		self.must(["ip", "link", "add", a, "netns", ns_a, "type", "veth",
			   "peer", "name", b, "netns", ns_b])
		for ns, dev, n in ((ns_a, a, 1), (ns_b, b, 2)):
			self.must(["ip", "-n", ns, "addr", "add", f"10.{net}.0.{n}/24", "dev", dev])
			self.must(["ip", "-n", ns, "addr", "add", f"fd00:{net}::{n}/64", "dev", dev,
				   "nodad"])
			self.must(["ip", "-n", ns, "link", "set", dev, "up"])

	def server(self, argv, ports, name, secs=10, **kw):
		"""Starts a server, waits until it listens on all ports. stderr goes to a file."""
		err = open(os.path.join(self.tmp, name + ".err"), "wb")
		with err:
			child = self.popen(argv, stderr=err, **kw)
		up = wait_for(lambda: child.poll() is not None or
			      all(listening(p, child.pid) for p in ports), secs)
		if not up or child.poll() is not None:
			with open(err.name, errors="replace") as f:
				raise RuntimeError(f"{name} did not start: {f.read()[-800:]}")
		return child

	def nginx(self, name, listen, conf, status=0, prefix=()):
		"""nginx with one worker and a config of ours. listen: "addr:port" strings; conf: what
		the server block holds besides. The access log is JSON lines in .log."""
		home = os.path.join(self.tmp, name)
		os.makedirs(os.path.join(home, "www"), exist_ok=True)
		log = os.path.join(home, "access.log")
		fields = ('{"pid":$pid,"conn":$connection,"n":$connection_requests,'
			  '"cport":$remote_port,"sport":$server_port,"method":"$request_method",'
			  '"target":"$request_uri","status":$status,"res_wire":$body_bytes_sent,'
			  '"req_size":$request_length}')
		extra = (f"server {{ listen 127.0.0.1:{status}; access_log off;"
			 " location / { stub_status; } }" if status else "")
		text = (f"daemon off; master_process on; worker_processes 1; user root; "
			f"pid {home}/pid; error_log {home}/error.log;\n"
			"events { worker_connections 4096; }\n"
			"http {\n"
			f"log_format t escape=json '{fields}';\n"
			f"access_log {log} t buffer=1m flush=1s;\n"
			"keepalive_requests 1000000; reset_timedout_connection off;\n"
			+ "".join(f"{d}_temp_path {home}/{d};\n" for d in
				  ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
			+ "types { text/plain txt; application/octet-stream bin; }\n"
			"server {\n" + "".join(f"listen {a};\n" for a in listen)
			+ f"root {home}/www;\n{conf}\n}}\n{extra}\n}}\n")
		path = os.path.join(home, "nginx.conf")
		with open(path, "w") as f:
			f.write(text)
		ports = {int(a.rsplit(":", 1)[1].split()[0]) for a in listen}
		child = self.server([*prefix, "nginx", "-p", home, "-c", path], ports, name)
		child.log, child.home = log, home
		return child

	def stop_nginx(self, child):
		"""Ends it in good order: the log is written whole."""
		if child.poll() is None:
			child.send_signal(signal.SIGQUIT)
		try:
			child.wait(3)
		except subprocess.TimeoutExpired:
			pass
		self.end(child)


def group_comm(pid):
	with open(f"/proc/{pid}/comm") as f:
		return f.read().strip()


def ready_mode(agent):
	m = re.search(r": ready: .*mode (\w+)", agent.stderr())
	return m.group(1) if m else None
