#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""run.py [-k NAME]: recon-diff against cases whose answer is known.

Each folder in cases/ has case.txt (expand.py says how it reads) and expect.json:

    exit      the exit status
    summary   keys of --summary-json that must have these values ("clock.n": dots go inwards); a pair
              [low, high] under a key that ends in "~" is a range
    verdicts  every verdict that is no match: "only-A reason METHOD TARGET", "differs field,field
              METHOD TARGET", "ambiguous METHOD TARGET", sorted
    stderr    a regular expression
    mirror    false: the swapped run is not compared

Every case is run once more with the sides swapped, which must give the same with the letters
exchanged. Then come random edits of synthetic traffic, which must be found exactly.
"""
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(TOP, "tests", "lib")]
import expand			# noqa: E402
from tap import Tap, skip_all	# noqa: E402

OUT = os.path.join(TOP, os.environ.get("OSP_O") or "build")
BIN = os.environ.get("RECON_DIFF") or os.path.join(OUT, "bin", "recon-diff")
AGENT = os.environ.get("OSPREY_AGENT") or os.path.join(OUT, "bin", "osprey-agent")


class Result:
	pass


def recon(args, folder):
	"""Runs it with summary and verdicts."""
	res = Result()
	files = [os.path.join(folder, n) for n in ("sum.json", "verdicts.jsonl", "r.html", "r.xml")]
	for f in files:
		if os.path.exists(f):
			os.unlink(f)
	p = subprocess.run([BIN, "-s", files[0], "-j", files[1], "--html", files[2], "--junit", files[3],
			    "--color", "never", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
			   stdin=subprocess.DEVNULL, timeout=60, check=False)
	res.code, res.out, res.err = p.returncode, p.stdout.decode(), p.stderr.decode()
	res.summary, res.lines = None, []
	if res.code in (0, 1):
		with open(files[0], encoding="utf-8") as f:
			res.summary = json.load(f)
		with open(files[1], encoding="utf-8") as f:
			res.lines = [json.loads(l) for l in f]
	res.html, res.xml = files[2:]
	return res


def name(v):
	side = v.get("a") or v.get("b")
	req = f"{side.get('method', '-')} {side.get('target', '-')}"
	if v["verdict"] == "differs":
		fields = sorted(d["field"] for d in v["diff"] if d["class"] != "uncertain")
		why = "" if v["reason"] == "unexplained" else f"({v['reason']})"
		return f"differs {','.join(fields)}{why} {req}"
	if v["verdict"] == "ambiguous":
		return f"ambiguous {req}"
	return f"{v['verdict']} {v['reason']} {req}"


def inward(obj, path):
	for part in path.split("."):
		obj = obj.get(part) if isinstance(obj, dict) else None
	return obj


def wrong(expect, res):
	bad = []
	if res.code != expect.get("exit", 0):
		bad.append(f"exit {res.code}, want {expect.get('exit', 0)}; {res.err.strip()}")
	if "stderr" in expect and not re.search(expect["stderr"], res.err):
		bad.append(f"stderr {res.err!r} does not have {expect['stderr']!r}")
	if res.code == 2 and len(res.err.splitlines()) != 1:
		bad.append(f"not one line of error: {res.err!r}")
	if res.code < 0:
		bad.append(f"died of signal {-res.code}")
	if res.summary is None:
		return bad
	for path, want in expect.get("summary", {}).items():
		if path.endswith("~"):
			got = inward(res.summary, path[:-1])
			if got is None or not want[0] <= got <= want[1]:
				bad.append(f"{path} is {got}, want {want}")
		elif inward(res.summary, path) != want:
			bad.append(f"{path} is {inward(res.summary, path)!r}, want {want!r}")
	if "verdicts" in expect:
		got = sorted(name(v) for v in res.lines if v["verdict"] != "match")
		if got != sorted(expect["verdicts"]):
			bad += [f"verdicts: {got}", f"want:     {sorted(expect['verdicts'])}"]
	return bad + sums(res)


def sums(res):
	"""What must hold in every run."""
	s, bad = res.summary, []
	n = {k: sum(v["verdict"] == k for v in res.lines)
	     for k in ("match", "differs", "only-A", "only-B", "ambiguous")}
	if [n["match"], n["differs"], n["only-A"], n["only-B"], n["ambiguous"]] != \
	   [s["match"], s["differs"], s["only_a"], s["only_b"], s["ambiguous"]]:
		bad.append(f"verdict lines {n} are not the summary's numbers")
	if 2 * (n["match"] + n["differs"]) + n["only-A"] + n["only-B"] + n["ambiguous"] != \
	   s["a"]["exchanges"] + s["b"]["exchanges"]:
		bad.append(f"sums do not close: {n}, {s['a']['exchanges']}, {s['b']['exchanges']}")
	for side in "ab":
		if s[side]["exchanges"] + s[side]["second_views"] != s[side]["transactions"]:
			bad.append(f"side {side}: views do not add up")
	return bad


def mirrored(one, two):
	a, b = one.summary, two.summary
	pairs = [("match", "match"), ("differs", "differs"), ("only_a", "only_b"), ("only_b", "only_a"),
		 ("ambiguous_a", "ambiguous_b"), ("ambiguous_b", "ambiguous_a"), ("fields", "fields"),
		 ("only_a_by_reason", "only_b_by_reason"), ("only_b_by_reason", "only_a_by_reason"),
		 ("differs_by_reason", "differs_by_reason"), ("matched_by", "matched_by"),
		 ("uncertain", "uncertain"), ("unexplained", "unexplained")]
	bad = [f"{x} is {a[x]}, swapped {y} is {b[y]}" for x, y in pairs if a[x] != b[y]]
	if one.code != two.code:
		bad.append(f"exit {one.code}, swapped {two.code}")
	if a["clock"].get("offset_ns") is not None and \
	   abs(a["clock"]["offset_ns"] + b["clock"]["offset_ns"]) > 1000:
		bad.append(f"offset {a['clock']} swapped {b['clock']}")
	return bad


def well_formed(res):
	"""The reports parse, load nothing and run nothing."""
	import html.parser
	import xml.etree.ElementTree as tree
	bad = []
	try:
		tree.parse(res.xml)
	except tree.ParseError as e:
		bad.append(f"junit: {e}")

	class Parser(html.parser.HTMLParser):
		def handle_starttag(self, tag, attrs):
			if tag in ("script", "link", "img", "iframe", "object") or \
			   any(k in ("src", "href") or k.startswith("on") for k, _ in attrs):
				bad.append(f"html: <{tag} {attrs}>")
	with open(res.html, encoding="utf-8") as f:
		Parser().feed(f.read())
	return bad


def run_case(tap, case, folder):
	path = os.path.join(HERE, "cases", case)
	with open(os.path.join(path, "expect.json"), encoding="utf-8") as f:
		expect = json.load(f)
	about, opts, sides = expand.parse(os.path.join(path, "case.txt"))
	if any(s.pack == "zst" for s in sides) and not shutil.which("zstd"):
		tap.skip(case, "no zstd")
		return
	opts = [o.replace("@", path) for o in opts]
	files = [expand.write(s, path, folder) for s in sides]
	one = recon([*opts, *files], folder)
	bad = wrong(expect, one)
	if one.summary is not None:
		bad += well_formed(one)
		if expect.get("mirror", True):
			two = recon([*opts, *reversed(files)], folder)
			bad += mirrored(one, two) if two.summary else [f"swapped: {two.err}"]
	tap.none(bad and [about, *bad, *one.out.splitlines()], f"{case}: {about[:90]}")


# ---- properties ---------------------------------------------------------------------------------

def agent(spec, folder):
	path = os.path.join(folder, "synth.jsonl")
	subprocess.run([AGENT, f"--synthetic={spec}", "--sink", f"jsonl:path={path}"], check=True,
		       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60)
	with open(path, encoding="utf-8") as f:
		return f.read().splitlines()


# What a field becomes; numbers of bytes grow by one, and digests change, where there are some.
EDITS = {
	"method": "PATCH", "target": "/other", "host": "other.test", "version": "1.0", "status": 599,
	"reason": "Other", "interim": [199], "user_agent": "other/1",
}
EDITS.update((f"{half}.{key}", value) for half in ("request", "response") for key, value in (
	("content_type", "x/y"), ("content_encoding", "x"), ("transfer_encoding", "x"),
	("head_bytes", 1), ("body_bytes", 1), ("body_wire_bytes", 1), ("content_length", 1),
	("digest", "xxh64:0123456789abcdef")))
PLACES = {"version": "http", "status": "response", "reason": "response", "interim": "response"}


def edit_field(obj, field):
	"""Edits it, if the record has it or can have it."""
	half, _, key = field.rpartition(".")
	half = half or PLACES.get(field, "request")
	where = obj["http"] if half == "http" else obj["http"][half]
	key = "status_code" if field == "status" else key
	if key.endswith("_bytes") or key in ("content_length", "digest"):
		if key not in where:
			return False
	where[key] = where[key] + EDITS[field] if EDITS[field] == 1 else EDITS[field]
	return True


def edit(lines, rng, share):
	"""Random edits of transactions: the new lines and what must be found, by id."""
	out, want = [], {}
	for text in lines:
		if '"kind":"transaction"' not in text or rng.random() >= share:
			out.append(text)
			continue
		obj = json.loads(text)
		what = rng.choice(["drop", *EDITS])
		if what == "drop":
			want[obj["id"]] = "only-A"
			continue
		if edit_field(obj, what):
			want[obj["id"]] = what
		out.append(json.dumps(obj))
	return out, want


def found(res):
	got = {}
	for v in res.lines:
		if v["verdict"] == "differs":
			got[v["a"]["id"]] = ",".join(d["field"] for d in v["diff"])
		elif v["verdict"] != "match":
			got[(v.get("a") or v["b"])["id"]] = v["verdict"]
	return got


def save(folder, name_, lines):
	path = os.path.join(folder, name_)
	with open(path, "w", encoding="utf-8") as f:
		f.writelines(l + "\n" for l in lines)
	return path


def properties(tap, folder):
	if not os.access(AGENT, os.X_OK):
		tap.skip("properties on synthetic traffic", f"no {AGENT}")
		return
	rng = random.Random(20260101)
	for spec in ("txns=3000,conns=60,role=server,pipeline=8,rate=2000",
		     "txns=2000,conns=40,role=client,v6=0.5,rate=1000",
		     "txns=1500,conns=30,role=server,chunked=0.5,interim=0.3,keepalive=5"):
		lines = agent(spec, folder)
		a = save(folder, "a.jsonl", lines)
		same = recon([a, a], folder)
		tap.none(same.code and [same.out] or sums(same), f"A against A: all match ({spec})")
		edited, want = edit(lines, rng, 0.05)
		rng.shuffle(edited)
		b = save(folder, "b.jsonl", edited)
		res = recon([a, b, "--guard", "0"], folder)
		got = found(res)
		miss = [f"{k}: want {want.get(k)}, got {got.get(k)}" for k in want.keys() | got.keys()
			if want.get(k) != got.get(k)]
		tap.none(miss + sums(res), f"{len(want)} random edits, shuffled, are found exactly ({spec})")
		back = recon([b, a, "--guard", "0"], folder)
		tap.none(mirrored(res, back), f"swapped: the same, sides exchanged ({spec})")
	both = save(folder, "both.jsonl", agent("txns=2000,conns=40,role=both", folder))
	res = recon([both, both], folder)
	tap.none([f"{res.summary['a']}"] if res.summary["a"]["second_views"] != 2000 or res.code else
		 sums(res), "loopback: two views of each are one exchange")


def main():
	if not os.access(BIN, os.X_OK):
		skip_all(f"no {BIN}")
	only = sys.argv[2] if len(sys.argv) == 3 and sys.argv[1] == "-k" else ""
	tap = Tap()
	folder = tempfile.mkdtemp(prefix="osprey-recon.")
	try:
		for case in sorted(os.listdir(os.path.join(HERE, "cases"))):
			if only in case:
				os.mkdir(os.path.join(folder, case))
				run_case(tap, case, os.path.join(folder, case))
		if not only or only in "properties":
			properties(tap, folder)
	finally:
		shutil.rmtree(folder)
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
