#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""jsonl and csv on files: rotation, packing, retention, SIGHUP, a full disk, a reader that leaves;
csv cells against the jsonl of the same run; and kill -9 at random moments.

    files.py [PART]...      all, or some of PARTS

OSP_KILLS: how often the agent is killed (100; a sanitized one 10 times).
"""
import csv
import gzip
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import (AGENT, SANITIZED, Run, complete, count, lines_of, load, rigs,  # noqa: E402
		    rotated)
import tap  # noqa: E402

KILLS = int(os.environ.get("OSP_KILLS") or (10 if SANITIZED else 100))
MIB = 1 << 20
PARTS = ("columns", "by_size", "by_time", "gzip", "zstd", "hup", "reader_gone", "full_disk", "kill")


def get(rec, dotted):
	for key in dotted.split("."):
		rec = rec.get(key) if isinstance(rec, dict) else None
	return rec


def cell(value):
	"""A value as its csv cell."""
	if value is None:
		return ""
	if isinstance(value, list):
		return " ".join(value)
	if isinstance(value, str):
		value = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else c for c in value)
		return "'" + value if value[:1] in ("=", "+", "-", "@") else value
	return str(value)


def csv_rows(data):
	"""(header, rows) of a csv file's bytes; a row is one line, always."""
	text = data.decode()
	rows = list(csv.reader(text.splitlines(keepends=True), strict=True))
	if len(rows) != text.count("\n"):
		raise ValueError("a row is more than a line")
	return rows[0], rows[1:]


class Test:
	def __init__(self, rig, t):
		self.rig, self.t = rig, t

	def dir(self, name):
		path = os.path.join(self.rig.tmp, name + ".d")
		os.mkdir(path)
		return path

	def beside(self, run, name, path, secs=60):
		run.wait(secs)
		self.t.none(run.faults() + complete(path), f"{name}: all sums close, the sink beside it "
			    "has everything")

	# ---- csv ----

	def columns(self):
		name, where = "csv", self.dir("csv")
		names = ("seq", "ts", "flags", "conn.client.address", "conn.server.port",
			 "http.request.method", "http.request.target", "http.request.user_agent",
			 "http.response.status_code", "timing.ttfb_ns", "process.comm", "container.id",
			 "http.request.digest")
		run = Run(self.rig, name, "txns=3000,conns=50,role=both,v6=0.4,interim=0.2",
			  f"jsonl:path={where}/a.jsonl",
			  f"csv:path={where}/a.csv,columns=" + "+".join(names),
			  f"csv:path={where}/default.csv,eol=lf")
		self.beside(run, name, f"{where}/a.jsonl")
		recs = [r for r in load(f"{where}/a.jsonl")[0] if r["kind"] == "transaction"]
		with open(f"{where}/a.csv", "rb") as f:
			head, rows = csv_rows(f.read())
		self.t.eq(head, list(names), f"{name}: the first row names the columns")
		want = [[cell(get(r, n)) for n in names] for r in recs]
		bad = [f"{w} {g}" for w, g in zip(want, rows) if w != g][:3]
		self.t.ok(len(rows) == len(want) and not bad, f"{name}: {len(rows)} rows as in jsonl",
			  len(want), *bad)
		with open(f"{where}/default.csv", "rb") as f:
			data = f.read()
		head, rows = csv_rows(data)
		bad = [f"{r['seq']}: {n}" for r, row in zip(recs, rows) for n, c in zip(head, row)
		       if c != cell(get(r, n))][:3]
		self.t.ok(len(rows) == len(recs) and b"\r" not in data and not bad,
			  f"{name}: the default columns", *bad)
		again = subprocess.run([AGENT, "--synthetic=txns=1", "--sink",
					f"csv:path={where}/a.csv,columns=id"], stdin=subprocess.DEVNULL,
				       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
		self.t.ok(again.returncode and "other columns" in again.stderr,
			  f"{name}: a file with other columns is not added to", again.stderr)

	# ---- rotation ----

	def everything(self, files, want):
		"""Faults if the files in this order are not exactly the lines of want."""
		got, faults = [], []
		for path in files:
			if path.endswith(".gz"):
				with gzip.open(path) as f:
					data = f.read()
			elif path.endswith(".zst"):
				data = subprocess.run(["zstd", "-dcq", path], stdout=subprocess.PIPE,
						      check=True).stdout
			else:
				with open(path, "rb") as f:
					data = f.read()
			if data and not data.endswith(b"\n"):
				faults.append(f"{path}: does not end with a line's end")
			got += data.splitlines()
			mode = stat.S_IMODE(os.stat(path).st_mode)
			if mode != 0o600:
				faults.append(f"{path}: mode {mode:o}")
		if got != want:
			faults.append(f"{len(got)} lines, want {len(want)}")
		return faults

	def by_size(self):
		name, where = "size", self.dir("size")
		run = Run(self.rig, name, "txns=12000,conns=50", f"jsonl:path={where}/all",
			  f"jsonl:path={where}/a,rotate=1M", f"jsonl:path={where}/k,rotate=1M,keep=3",
			  f"csv:path={where}/c,rotate=512K,eol=lf")
		self.beside(run, name, f"{where}/all")
		want = lines_of(f"{where}/all")
		files = rotated(f"{where}/a") + [f"{where}/a"]
		sizes = [os.path.getsize(f) for f in files]
		self.t.none(self.everything(files, want), f"{name}: {len(files)} files hold every line "
			    "in order")
		self.t.ok(len(files) > 10 and max(sizes) <= MIB and min(sizes[:-1]) > MIB - 8192,
			  f"{name}: none is longer than asked for, and none much shorter", sizes)
		kept = rotated(f"{where}/k") + [f"{where}/k"]
		n = sum(len(lines_of(f)) for f in kept)
		self.t.ok(len(kept) == 4 and not self.everything(kept, want[-n:]),
			  f"{name}: keep=3 leaves the last three", kept)
		heads, n = [], 0
		for path in rotated(f"{where}/c") + [f"{where}/c"]:
			with open(path, "rb") as f:
				head, rows = csv_rows(f.read())
			heads.append(head)
			n += len(rows)
		self.t.ok(len(heads) > 3 and all(h == heads[0] for h in heads) and n == 12000,
			  f"{name}: {len(heads)} csv files, each with its first row", n)

	def by_time(self):
		name, where = "time", self.dir("time")
		run = Run(self.rig, name, "txns=100000000,conns=50", f"jsonl:path={where}/all",
			  f"jsonl:path={where}/a,rotate_every=1s", pace=2 * MIB)
		time.sleep(3.5)
		run.signal(signal.SIGTERM)
		self.beside(run, name, f"{where}/all")
		files = rotated(f"{where}/a") + [f"{where}/a"]
		self.t.none(self.everything(files, lines_of(f"{where}/all")),
			    f"{name}: {len(files)} files hold every line in order")
		self.t.ok(3 <= len(files) <= 6, f"{name}: about one a second", files)

	def gzip(self):
		self.packed("gzip", ".gz")

	def zstd(self):
		if shutil.which("zstd"):
			self.packed("zstd", ".zst")
		else:
			self.t.skip("zstd", "no zstd to unpack with")

	def packed(self, how, suffix):
		name, where = how, self.dir(how)
		# What a killed agent left behind.
		left = f"{where}/a.20200101-000000.0"
		for path, text in ((left, b'{"old":1}\n'), (left + ".part", b"rubbish"),
				   (f"{where}/a.20200101-000000.x", b"not ours\n")):
			with open(path, "wb") as f:
				f.write(text)
		os.chmod(left, 0o600)
		run = Run(self.rig, name, "txns=100000000,conns=50", f"jsonl:path={where}/all",
			  f"jsonl:path={where}/a,rotate=2M,compress={how}", pace=4 * MIB)
		rigs.wait_for(lambda: len(rotated(f"{where}/a")) > 4, 20)
		run.signal(signal.SIGTERM)
		self.beside(run, name, f"{where}/all")
		files = rotated(f"{where}/a")
		pack = [f for f in files if f.endswith(suffix)]
		self.t.ok(len(pack) >= 3 and files[:len(pack)] == pack and len(files) - len(pack) <= 2,
			  f"{name}: rotated files are packed, the newest perhaps not yet", files)
		self.t.none(self.everything(files + [f"{where}/a"],
					    [b'{"old":1}'] + lines_of(f"{where}/all")),
			    f"{name}: {len(files)} files hold every line in order, mode 0600")
		names = sorted(os.listdir(where))
		self.t.ok(not any(n.endswith(".part") for n in names) and "a.20200101-000000.x" in names,
			  f"{name}: nothing half is left, and what is not ours is", names)

	def hup(self):
		"""As logrotate does it."""
		name, where = "hup", self.dir("hup")
		run = Run(self.rig, name, "txns=100000000,conns=50", f"jsonl:path={where}/all",
			  f"jsonl:path={where}/a", pace=2 * MIB)
		for i in range(5):
			time.sleep(0.4)
			os.rename(f"{where}/a", f"{where}/a.{i}")
			run.signal(signal.SIGHUP)
			rigs.wait_for(lambda: os.path.exists(f"{where}/a"), 5)
		time.sleep(0.3)
		run.signal(signal.SIGTERM)
		self.beside(run, name, f"{where}/all")
		files = [f"{where}/a.{i}" for i in range(5)] + [f"{where}/a"]
		self.t.none(self.everything(files, lines_of(f"{where}/all")),
			    f"{name}: five times moved away, every line is there")

	# ---- destinations that fail ----

	def small(self, name):
		"""A disk of 3 MiB of which a file takes one."""
		where = self.dir(f"small-{name}")
		self.rig.must(["mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "osprey-test", where])
		self.rig.undo.append(lambda: os.path.ismount(where) and
				     self.rig.must(["umount", "-l", where]))
		with open(f"{where}/ballast", "wb") as f:
			f.write(bytes(MIB))
		return where

	def full_disk(self):
		name = "full"
		if os.geteuid():
			self.t.skip(f"{name}: disk full", "needs root to mount a small tmpfs")
			return
		where, tight = self.dir("full"), "on_full=drop-new,queue=2M,retry_max=1s"
		# A disk each: whoever tried again first would take all the room.
		files = [f"{self.small(ext)}/a.{ext}" for ext in ("jsonl", "csv")]
		run = Run(self.rig, name, "txns=100000000,conns=50", f"jsonl:path={where}/all",
			  f"jsonl:path={files[0]},{tight}", f"csv:path={files[1]},{tight}",
			  pace=3 * MIB)
		rigs.wait_for(lambda: run.stderr().count("left on device") == 2, 20)
		full = [os.path.getsize(file) for file in files]
		for file in files:
			os.unlink(f"{os.path.dirname(file)}/ballast")
		resumed = rigs.wait_for(lambda: all(os.path.getsize(file) > size + 65536
						    for file, size in zip(files, full)), 20)
		rigs.wait_for(lambda: run.stderr().count("left on device") == 4, 20)
		run.signal(signal.SIGTERM)
		self.beside(run, name, f"{where}/all")
		self.t.ok(resumed, f"{name}: goes on as soon as there is room", run.stderr()[-1500:])
		sinks = run.sinks()
		recs, faults = load(files[0])
		seqs = [r["seq"] for r in recs]
		if seqs != sorted(set(seqs)):
			faults.append("records twice or out of order")
		self.t.none(faults, f"{name}: jsonl holds whole lines, each once")
		self.t.ok(len(recs) == count(sinks, "jsonl#2", "accepted") and
			  count(sinks, "jsonl#2", "dropped"),
			  f"{name}: {len(recs)} accepted are in the file, the others are dropped and "
			  "counted", sinks)
		with open(files[1], "rb") as f:
			head, rows = csv_rows(f.read())
		self.t.ok(len(rows) == count(sinks, "csv", "accepted") and
			  all(len(r) == len(head) for r in rows) and
			  len({r[-1] for r in rows}) == len(rows), f"{name}: the same with csv",
			  len(rows), sinks.get("csv"))
		said = run.stderr().count("left on device")
		self.t.ok(0 < said <= 4, f"{name}: it is said {said} times, not for each record")
		if not SANITIZED:
			self.t.ok(run.rss < 96 << 10, f"{name}: memory stays bounded: {run.rss >> 10} MiB")

	def reader_gone(self):
		name, where = "reader", self.dir("reader")
		get_end, put_end = os.pipe()
		run = Run(self.rig, name, "txns=100000000,conns=50", f"jsonl:path={where}/all",
			  "jsonl:path=-,on_full=drop-new,queue=2M", pace=3 * MIB, stdout=put_end)
		os.close(put_end)
		got = b""
		while got.count(b"\n") < 500:
			got += os.read(get_end, 65536)
		os.close(get_end)
		time.sleep(2)
		alive = run.child.poll() is None
		run.signal(signal.SIGTERM)
		self.beside(run, name, f"{where}/all")
		c = run.sinks().get("jsonl#2", {})
		self.t.ok(alive and c.get("dropped") and c.get("accepted", 0) >= 500,
			  f"{name}: its reader left, the agent and the other sinks go on", c)

	# ---- kill -9 ----

	def kill(self):
		name, where = "kill", self.dir("kill")
		rnd = random.Random(int(os.environ.get("OSP_SEED") or 1))
		faults, cut, lines, turns = [], 0, 0, 0
		# Other seeds give other ids, so an id twice is a record twice.
		for i in range(KILLS):
			sinks = ["--sink", f"jsonl:path={where}/a,rotate=1M,compress=zstd,keep=1000",
				 "--sink", f"csv:path={where}/c,columns=id+seq+http.request.target+ts"]
			child = self.rig.popen([AGENT, f"--synthetic=txns=100000000,seed={i + 1}"] + sinks,
					       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
			rigs.wait_for(lambda: self.begun(f"{where}/a"), 10, 0.001)
			time.sleep(rnd.uniform(0, 0.06))
			child.kill()
			child.wait()
			self.rig.children.remove(child)
			for f in ("a", "c"):
				cut += self.cut(f"{where}/{f}")
			subprocess.run([AGENT, f"--synthetic=txns=20,seed={i + 1000}"] + sinks,
				       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
				       stderr=subprocess.DEVNULL, timeout=30, check=True)
			new, n, packs = self.whole(where)
			faults += new
			lines += n
			turns += packs
			for f in os.listdir(where):
				os.unlink(os.path.join(where, f))
		self.t.none(faults[:10], f"{name}: {KILLS} times, then started anew: {lines} lines, all "
			    "whole, no id twice")
		self.t.ok(lines > 1000 * KILLS / (10 if SANITIZED else 1) and turns,
			  f"{name}: in the middle of {turns} rotated files")
		self.t.note(f"{cut} files ended in the middle of a line when the agent was killed")

	def begun(self, path):
		try:
			return os.path.getsize(path)
		except FileNotFoundError:
			return 0	# not yet there, or being rotated

	def cut(self, path):
		try:
			with open(path, "rb") as f:
				return not (f.read() or b"\n").endswith(b"\n")
		except FileNotFoundError:
			return False	# killed between setting aside and opening anew

	def whole(self, where):
		faults, ids, lines = [], set(), 0
		files = rotated(f"{where}/a")
		for path in files + [f"{where}/a"]:
			if path.endswith(".zst"):
				plain = path[:-4] + ".plain"
				if os.path.exists(path[:-4]):
					continue	# its plain twin is there, too
				subprocess.run(["zstd", "-dq", path, "-o", plain], check=True)
				path = plain
			recs, bad = load(path)
			faults += bad
			lines += len(recs)
			for r in recs:
				if r["id"] in ids and r["kind"] != "ledger":
					faults.append(f"id {r['id']} twice")
				ids.add(r["id"])
		with open(f"{where}/c", "rb") as f:
			data = f.read()
		if not data.endswith(b"\r\n"):
			faults.append("csv does not end with a row's end")
		head, rows = csv_rows(data)
		ids = {r[0] for r in rows}
		if len(ids) != len(rows) or any(len(r) != 4 or len(r[0]) != 32 or len(r[3]) != 30
						for r in rows):
			faults.append("csv rows cut or twice")
		return faults, lines + len(rows), len(files)


def main():
	t = tap.Tap()
	if not os.access(AGENT, os.X_OK):
		tap.skip_all(f"no {AGENT}")
	with rigs.Rig() as rig:
		test = Test(rig, t)
		for part in sys.argv[1:] or PARTS:
			getattr(test, part)()
	return t.done()


if __name__ == "__main__":
	sys.exit(main())
