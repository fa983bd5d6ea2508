#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""contrib/compare itself, with a program that does nothing: it runs, tells figures, ends what it
started, and says so when a command can't be measured."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
sys.dont_write_bytecode = True

import shutil			# noqa: E402
import tap			# noqa: E402

COMPARE = os.path.join(HERE, "../../contrib/compare")
# Two processes, one of them deaf to SIGINT (as what a shell puts into the background is): both are
# to be ended.
IDLE = "sh -c 'sleep 321 & echo ready; exec sleep 321'"


def compare(*args):
	done = subprocess.run([COMPARE, "--rounds", "1", "--secs", "1", "--conns", "4", *args],
			      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
			      timeout=100, check=False)
	return done.returncode, done.stdout, done.stderr


def sleeping():
	found = []
	for pid in filter(str.isdigit, os.listdir("/proc")):
		try:
			with open(f"/proc/{pid}/cmdline", "rb") as f:
				if f.read() == b"sleep\x00321\x00":
					found.append(pid)
		except OSError:
			pass
	return found


def main():
	t = tap.Tap()
	for tool in ("nginx", "wrk", "taskset"):
		if not shutil.which(tool):
			tap.skip_all(f"needs {tool}")
	before = set(sleeping())
	code, out, err = compare("idle=" + IDLE)
	t.eq(code, 0, "a command that does nothing is compared", out, err)
	rows = [[c for c in re.split(r"\s{2,}", line) if c] for line in out.splitlines()]
	rows = {r[0]: r[1:] for r in rows if len(r) > 3 and r[0] != "requests/s"}
	t.eq(sorted(rows), ["control", "idle", "nothing, absolute"], "a row for each", out)
	t.ok(all(float(c.split()[0]) > 0 for r in rows.values() for c in r[:3]),
	     "figures in all of them", out)
	t.eq(len(rows.get("idle", [])), 4, "and the CPU time of the command", out)
	t.eq(set(sleeping()) - before, set(), "nothing of it is left")
	code, out, err = compare("--settle", "1", "gone=false")
	t.ok(code == 1 and "gone ended with 1" in err, "a command that ends at once is an error",
	     code, out, err)
	code, out, err = compare("a=true", "a=true")
	t.eq(code, 2, "two of one name are a wrong usage", out, err)
	return t.done()


if __name__ == "__main__":
	sys.exit(main())
