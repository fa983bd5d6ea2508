#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""llhttp's own cases against our framing: the same messages, whole and however they are cut.

The cases (llhttp 8.1.0, the version Debian 12 has) lie beside the checkout in
../shared/corpora/llhttp-8.1.0.json, or under $OSP_SHARED; without them the test is skipped. Where we
see something else than llhttp does, the case is in REVIEWED with the reason.
"""
import base64
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
REVIEW_FILE = os.path.join(HERE, "llhttp-reviewed.txt")


def folder():
	return os.environ.get("OSP_SHARED") or os.path.join(TOP, "..", "shared")


def want(case):
	"""Messages by llhttp's log: (start line, complete, body bytes)."""
	msgs = []
	for line in case["log"]:
		m = re.match(r'off=\d+ len=(\d+) span\[(\w+)\]="?(.*?)"?$', line)
		if m and m.group(2) in ("method", "url"):
			if msgs:
				msgs[-1][m.group(2)] = msgs[-1].get(m.group(2), "") + m.group(3)
		elif m and m.group(2) == "body":
			msgs[-1]["body"] += int(m.group(1))
		elif re.match(r"off=\d+ message begin", line):
			msgs.append({"body": 0, "head": False, "done": False})
		elif "headers complete" in line:
			msgs[-1]["head"] = True
			m = re.search(r"status=(\d+)", line)
			msgs[-1]["status"] = m.group(1) if m else "0"
		elif re.match(r"off=\d+ message complete", line):
			msgs[-1]["done"] = True
	req = case["type"].startswith("request")
	out = []
	for m in msgs:
		if not m["head"]:
			continue
		if not req and m["status"].startswith("1") and m["status"] != "101":
			continue		# interim ones are no messages of ours
		out.append(((m.get("method", "") + " " + m.get("url", "")) if req else m["status"],
			    m["done"], m["body"] if m["done"] else None))
	return out


def got(proc, case):
	kind = "request" if case["type"].startswith("request") else "response"
	end = "finish" if case["type"].endswith("finish") else "open"
	data = base64.b64decode(case["input_b64"]).hex()
	proc.stdin.write(f"{kind} {end} {data}\n")
	proc.stdin.flush()
	out, notes = [], []
	while True:
		line = proc.stdout.readline().rstrip("\n")
		if line in ("same", "differs", ""):
			break
		if line.startswith("#"):
			notes.append(line)
			continue
		start, done, head, wire, body, status, method, target, outcome, odd = line.split(" ")
		done = done == "1"
		target = re.sub(rb"\\x(..)", lambda m: bytes([int(m.group(1), 16)]), target.encode())
		out.append((f"{method} {target.decode(errors='replace')}" if kind == "request"
			    else status, done, int(body) if done else None))
	return out, line == "same", notes


def reviewed():
	"""Case key to reason."""
	known = {}
	with open(REVIEW_FILE, encoding="utf-8") as f:
		for line in f:
			if line.strip() and not line.startswith("#"):
				key, _, why = line.rstrip("\n").partition("\t")
				known[key] = why
	return known


def main():
	path = os.path.join(folder(), "corpora", "llhttp-8.1.0.json")
	prog = os.path.join(os.environ.get("OSP_O") or os.path.join(TOP, "build"),
			    "tests", "golden", "http1_run")
	if not os.path.exists(path):
		print("1..0 # SKIP llhttp's cases are not here")
		return 0
	with open(path, encoding="utf-8") as f:
		cases = json.load(f)
	known = reviewed()
	bad, unused = 0, set(known)
	proc = subprocess.Popen([prog, "--stream"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
				text=True, errors="replace")
	for n, case in enumerate(cases, 1):
		key = f"{case['file']}:{case['line']}:{case['type']}"
		w = want(case)
		g, same, notes = got(proc, case)
		good = same and (w == g or key in known)
		if w != g:
			unused.discard(key)
		bad += not good
		print(f"{'' if good else 'not '}ok {n} - {key} {case['name'].replace('#', '')}")
		if not good:
			print(f"#   llhttp {w} {case['outcome']['error']}\n#   osprey {g}")
			print("\n".join(notes[:6]))
	proc.stdin.close()
	proc.wait()
	good = not unused
	print(f"{'' if good else 'not '}ok {len(cases) + 1} - the reviewed list has nothing too much")
	if unused:
		print("#   " + "\n#   ".join(sorted(unused)))
	print(f"1..{len(cases) + 1}")
	return 1 if bad or unused else 0


sys.exit(main())
