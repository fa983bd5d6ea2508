# SPDX-License-Identifier: GPL-3.0-or-later
"""measure.py: what is measured with, for tests/bench/run and contrib/compare: numbers over rounds,
a table, CPU time and memory of processes, nginx as a victim and wrk in front of it."""
import os
import re
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))

from rig import free_port	# noqa: E402

CPUS = sorted(os.sched_getaffinity(0))
CPU_A, CPU_B = CPUS[0], CPUS[-1]	# the same one if there is one only
# Fewer requests than this in a run mean that the machine stood still, not that we are slow.
REQUESTS_MIN = 1000


class Failed(Exception):
	"""Something cannot be measured; the other sections can."""


# ---- numbers ---------------------------------------------------------------------------------

def stat(values):
	"""Median and quartiles; None if nothing was measured."""
	if not values:
		return None
	q = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
	return {"median": statistics.median(values), "q1": q[0], "q3": q[2], "n": len(values),
		"values": values}


def cell(st, form="{:.3f}"):
	if st is None:
		return "-"
	if isinstance(st, str):
		return st
	mid = form.format(st["median"])
	if st["n"] < 2:
		return mid
	return f"{mid} [{form.format(st['q1'])} {form.format(st['q3'])}]"


class Section:
	"""A table: rows of cells that are already text, and the numbers behind them."""

	def __init__(self, name, title, columns):
		self.name, self.title, self.columns = name, title, columns
		self.rows, self.data, self.notes = [], {}, []

	def row(self, name, *cells):
		self.rows.append((name, *cells))

	def note(self, text):
		if text not in self.notes:
			self.notes.append(text)

	def show(self):
		print(f"\n{self.title}")
		if self.rows:
			table = [("", *self.columns), *self.rows]
			wide = [max(len(r[i]) for r in table) for i in range(len(table[0]))]
			for r in table:
				cells = [c.rjust(w) for c, w in zip(r[1:], wide[1:])]
				print("  " + "  ".join([r[0].ljust(wide[0]), *cells]))
		for n in self.notes:
			print(f"  note: {n}")
		sys.stdout.flush()

	def json(self):
		return {"title": self.title, "columns": self.columns,
			"rows": [list(r) for r in self.rows], "notes": self.notes,
			"data": self.data}


# ---- processes -------------------------------------------------------------------------------

def pinned(cpu, argv):
	return ["taskset", "-c", str(cpu), *map(str, argv)]


def cpu_ns(pid):
	"""Time on a CPU so far, all threads that still live, system calls included."""
	total = 0
	for tid in os.listdir(f"/proc/{pid}/task"):
		with open(f"/proc/{pid}/task/{tid}/schedstat") as f:
			total += int(f.read().split()[0])
	return total


def memory_kib(pid, key="VmHWM"):
	"""None once the process is gone."""
	try:
		with open(f"/proc/{pid}/status") as f:
			for line in f:
				if line.startswith(key + ":"):
					return int(line.split()[1])
	except OSError:
		pass
	return None


def children(pid):
	found = []
	for p in filter(str.isdigit, os.listdir("/proc")):
		try:
			with open(f"/proc/{p}/stat") as f:
				if int(f.read().rpartition(")")[2].split()[1]) == pid:
					found.append(int(p))
		except OSError:
			pass
	return found


def tail(path):
	with open(path, errors="replace") as f:
		return f.read()[-600:].strip()


def finish(rig, argv, secs, peak=False):
	"""Runs argv to its end. Returns CPU seconds, stdout, peak RSS in KiB (if asked for)."""
	err_path = os.path.join(rig.tmp, "run.err")
	out_path = os.path.join(rig.tmp, "run.out")
	with open(err_path, "wb") as err, open(out_path, "wb") as out:
		child = rig.popen([str(a) for a in argv], stdout=out, stderr=err)
	deadline = time.monotonic() + secs
	top = 0
	while True:
		# Not the child's rusage: its peak begins with what this process had when it forked.
		if peak:
			top = memory_kib(child.pid) or top
		pid, status, usage = os.wait4(child.pid, os.WNOHANG)
		if pid:
			break
		if time.monotonic() > deadline:
			rig.end(child)
			raise Failed(f"took more than {secs} s: {' '.join(map(str, argv))}")
		time.sleep(0.002 if peak else 0.01)
	child.returncode = os.waitstatus_to_exitcode(status)
	rig.children.remove(child)
	if child.returncode:
		raise Failed(f"exit status {child.returncode}: {' '.join(map(str, argv))}\n"
			     f"{tail(err_path)}")
	with open(out_path, errors="replace") as f:
		return usage.ru_utime + usage.ru_stime, f.read(), top


# ---- victim ----------------------------------------------------------------------------------

class Victim:
	"""nginx with one worker, on CPU_B unless cpu says otherwise (None: anywhere)."""

	def __init__(self, rig, conf, cpu=CPU_B):
		self.rig, self.port = rig, free_port()
		self.nginx = rig.nginx(f"victim{self.port}", [f"127.0.0.1:{self.port}"],
				       "access_log off;" + conf,
				       prefix=() if cpu is None else ("taskset", "-c", str(cpu)))
		workers = children(self.nginx.pid)
		if len(workers) != 1:
			raise Failed(f"nginx has {len(workers)} workers")
		self.worker = workers[0]

	def stop(self):
		self.rig.stop_nginx(self.nginx)


def answer_of(size):
	"""nginx's configuration for answers of that many bytes, from memory. It takes no word of
	more than 4 KiB."""
	body = "0123456789abcdef" * (size // 16 + 1)
	return f"location / {{ default_type text/plain; return 200 {body[:size]}; }}"


def wrk(rig, port, secs, conns=32, think_ms=0, path="/", cpu=CPU_A):
	"""What wrk says. Each connection waits think_ms before each request but the first."""
	argv = ["wrk", "-t1", f"-c{conns}", f"-d{secs}s", "-s", os.path.join(HERE, "report.lua"),
		f"http://127.0.0.1:{port}{path}", "--", str(think_ms)]
	done = rig.run(argv if cpu is None else pinned(cpu, argv), secs + 20)
	m = re.search(r"^BENCH (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout_text, re.M)
	if done.returncode or not m:
		raise Failed(f"wrk: {(done.stdout_text + done.stderr_text)[-600:]}")
	return dict(zip(("requests", "us", "p50_us", "p99_us", "errors", "bytes"),
			map(int, m.groups())))
