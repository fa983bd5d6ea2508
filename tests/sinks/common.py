# SPDX-License-Identifier: GPL-3.0-or-later
"""common.py: what the tests of sinks share: runs of the agent whose pace a test sets, its ledger as
numbers, files of lines looked at closely.

The generator makes records as fast as they are taken and waits for a sink that is full. A test that
wants a load over some seconds adds a sink that writes into a FIFO and reads that slowly: the whole
agent then runs at the reader's pace, and records of the other sinks come with it.
"""
import glob
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
import rig as rigs  # noqa: E402

AGENT = rigs.AGENT
# Sanitizers keep freed memory for a while and are slower: what is measured is another thing there.
SANITIZED = "/san" in rigs.OUT


class Pace:
	"""Reads a FIFO at so many bytes a second until its writer has gone."""

	def __init__(self, path, rate):
		self.path, self.rate = path, rate
		self.free = threading.Event()	# set: as fast as it comes
		self.read = 0
		os.mkfifo(path)
		# Open at once, for reading and writing, so that the agent finds a reader; the
		# thread leaves when it is told that the agent has ended.
		self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
		self.done = threading.Event()
		self.thread = threading.Thread(target=self.run, daemon=True)
		self.thread.start()

	def run(self):
		begun = time.monotonic()
		while not self.done.is_set():
			due = (time.monotonic() - begun) * self.rate
			if not self.free.is_set() and self.read > due:
				time.sleep(0.005)
				continue
			try:
				self.read += len(os.read(self.fd, 65536))
			except BlockingIOError:
				time.sleep(0.005)

	def close(self):
		self.done.set()
		self.thread.join()
		os.close(self.fd)


class Run:
	"""One agent with its sinks. pace: bytes of JSON a second, None for as fast as it goes."""

	def __init__(self, rig, name, synth, *sinks, pace=None, args=(), live=False, stdout=None):
		self.rig, self.name = rig, name
		self.err = os.path.join(rig.tmp, name + ".err")
		argv = [AGENT] + ([] if live else ["--synthetic=" + synth]) + list(args)
		self.pace = None
		if pace:
			fifo = os.path.join(rig.tmp, name + ".fifo")
			self.pace = Pace(fifo, pace)
			sinks += (f"jsonl:path={fifo},queue=2M,on_full=block",)
		for sink in sinks:
			argv += ["--sink", sink]
		self.rss = 0
		self.code = None
		with open(self.err, "wb") as err:
			self.child = rig.popen(argv, stdout=stdout or subprocess.DEVNULL, stderr=err)
		threading.Thread(target=self.watch, daemon=True).start()

	def watch(self):
		"""The largest resident size, in KiB."""
		while self.child.returncode is None:
			try:
				with open(f"/proc/{self.child.pid}/status") as f:
					for line in f:
						if line.startswith("VmHWM:"):
							self.rss = max(self.rss, int(line.split()[1]))
			except OSError:
				return
			time.sleep(0.1)

	def hurry(self):
		"""From here on as fast as it goes."""
		self.pace.free.set()

	def signal(self, sig):
		self.child.send_signal(sig)

	def wait(self, secs=60):
		"""Its exit status; "hung" if it had to be killed."""
		try:
			self.code = self.child.wait(secs)
		except subprocess.TimeoutExpired:
			self.child.kill()
			self.child.wait()
			self.code = "hung"
		if self.pace:
			self.pace.close()
			self.pace = None
		return self.code

	def stop(self, secs=30):
		self.signal(signal.SIGTERM)
		return self.wait(secs)

	def stderr(self):
		with open(self.err, errors="replace") as f:
			return f.read()

	def sinks(self):
		"""The ledger's lines of sinks: {label: {counter: value}}; what is 0 is absent."""
		out = {}
		for line in self.stderr().splitlines():
			m = re.match(r"  sink (\S+)\s+(.*)", line)
			if m:
				out[m.group(1)] = {k: int(v.replace(",", "")) for k, v in
						   re.findall(r"([a-z]+) ([0-9,]*[0-9])", m.group(2))}
		return out

	def faults(self):
		"""What must be so at the end of any run, whatever befell its sinks."""
		out = []
		if self.code != 0:
			out.append(f"exit status {self.code}: {self.stderr()[-600:]}")
		if "  all sums close" not in self.stderr():
			out.append("the ledger does not close: " + self.stderr()[-1500:])
		for label, c in self.sinks().items():
			g = lambda k: c.get(k, 0)
			if g("offered") != g("accepted") + g("rejected") + g("dropped") + g("queued"):
				out.append(f"{label}: offered does not add up: {c}")
			if g("accepted") != g("acked") + g("lost") + g("held"):
				out.append(f"{label}: accepted does not add up: {c}")
			if g("queued") or g("held"):
				out.append(f"{label}: something is left: {c}")
		return out


def count(sinks, label, key):
	return sinks.get(label, {}).get(key, 0)


def lines_of(path):
	"""The lines of a file as bytes; a last one without its end counts, too."""
	with open(path, "rb") as f:
		data = f.read()
	return data.split(b"\n")[:-1] if data.endswith(b"\n") else data.split(b"\n") if data else []


def load(path):
	"""(records, faults): records in their order. A line that is not a whole record is a fault."""
	recs, faults = [], []
	for n, line in enumerate(lines_of(path), 1):
		try:
			rec = json.loads(line)
			rec["seq"]
		except (ValueError, KeyError, TypeError):
			faults.append(f"{os.path.basename(path)}:{n}: not a record: {line[:120]!r}")
			continue
		recs.append(rec)
	with open(path, "rb") as f:
		f.seek(0, os.SEEK_END)
		if f.tell() and (f.seek(-1, os.SEEK_END) or True) and f.read(1) != b"\n":
			faults.append(f"{os.path.basename(path)}: does not end with a line's end")
	return recs, faults


def complete(path):
	"""Faults of a file that must hold every record of a run: seq from 1 without a hole, whole
	lines, the exit ledger last."""
	recs, faults = load(path)
	seqs = [r["seq"] for r in recs]
	if seqs != list(range(1, len(seqs) + 1)):
		bad = next((i for i, s in enumerate(seqs, 1) if i != s), None)
		faults.append(f"{len(seqs)} records, the {bad}th has seq {seqs[bad - 1]}")
	if not recs or recs[-1].get("when") != "exit":
		faults.append("the exit ledger is not the last record")
	return faults


def rotated(path):
	"""Files that were set aside, oldest first."""
	def key(p):
		m = re.match(r"\.(\d{8}-\d{6})\.(\d+)(\.gz|\.zst)?$", p[len(path):])
		return (m.group(1), int(m.group(2))) if m else ("", -1)
	return sorted((p for p in glob.glob(path + ".*") if key(p)[1] >= 0), key=key)
