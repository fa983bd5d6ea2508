#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the kernel programs cost the verifier more than was accepted.

    tests/bpf/budget.py           test: TAP
    tests/bpf/budget.py --show    what they cost now, beside what was accepted (make bpf-budget)
    tests/bpf/budget.py --accept  what they cost now is accepted

budget.txt holds what was accepted, for one kernel (each has another verifier) and one compiler:
on another one the test has nothing to compare with and says so. What grew by more than a tenth fails
it; to accept that, run it with --accept and commit the file, saying why. Less is no failure.
"""
import os
import platform
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../lib"))
import tap  # noqa: E402
from rig import OUT, why_not  # noqa: E402

TOOL = os.path.join(OUT, "tests", "bpf", "budget")
ACCEPTED = os.path.join(HERE, "budget.txt")
LIMIT = 1_000_000	# of the verifier's, BPF_COMPLEXITY_LIMIT_INSNS
GROWTH = 1.10
WHAT = ("instructions", "verified")


def here():
	"""Kernel as major.minor and the compiler's major version: what the numbers depend on."""
	kernel = ".".join(platform.release().split(".")[:2])
	try:
		said = subprocess.run(["clang", "--version"], capture_output=True, text=True,
				      check=False).stdout
	except OSError:
		said = ""
	found = re.search(r"version (\d+)", said)
	return f"linux {kernel} clang {found.group(1) if found else '?'}"


def measure():
	"""{(form, program): (instructions, verified)}; None with the reason if a form is refused."""
	done = subprocess.run([TOOL, "-v"], capture_output=True, text=True, check=False, timeout=60)
	out = {}
	for line in done.stdout.splitlines():
		form, prog, insns, verified, _ = line.split()
		out[form, prog] = (int(insns), int(verified))
	return out, done.stderr.strip() if done.returncode else ""


def accepted():
	"""(what it is of, {(form, program): (instructions, verified)})"""
	out, of = {}, ""
	with open(ACCEPTED, encoding="ascii") as f:
		for line in f:
			if line.startswith("of "):
				of = line[3:].strip()
			elif line.strip() and not line.startswith("#"):
				form, prog, insns, verified = line.split()
				out[form, prog] = (int(insns), int(verified))
	return of, out


def write(now):
	with open(ACCEPTED, "w", encoding="ascii") as f:
		f.write("# What the kernel programs cost, as accepted last (tests/bpf/budget.py --accept):\n"
			"# form, program, instructions, instructions processed by the verifier.\n"
			f"of {here()}\n")
		for (form, prog), values in now.items():
			f.write(f"{form} {prog} {values[0]} {values[1]}\n")


def show(now, of, before):
	print(f"{'form':8} {'program':20} {'insns':>7} {'accepted':>9} {'verified':>9} {'accepted':>9}"
	      f"   (accepted: {of}; here: {here()})")
	for key, new in now.items():
		old = before.get(key, ("-", "-"))
		print(f"{key[0]:8} {key[1]:20} {new[0]:7} {old[0]:>9} {new[1]:9} {old[1]:>9}")


def test(now, why, of, before):
	t = tap.Tap()
	t.ok(not why, "the verifier takes the programs in each form", why)
	t.none([f"{key}: {v} of {LIMIT}" for key, (_, v) in now.items() if v > LIMIT // 4],
	       "none takes more than a quarter of what the verifier allows")
	if of != here():
		t.skip("against what was accepted", f"that is of {of}, this is {here()}")
		return t.done()
	t.eq(sorted(before), sorted(now), "the same programs as accepted")
	for i, what in enumerate(WHAT):
		t.none([f"{' '.join(key)}: {new[i]}, accepted {before[key][i]}"
			for key, new in now.items()
			if key in before and new[i] > GROWTH * before[key][i]],
		       f"{what}: none has grown by more than a tenth")
	return t.done()


def main(argv):
	why = why_not() or (None if os.access(TOOL, os.X_OK) else f"no {TOOL}")
	if why and len(argv) > 1:
		sys.exit(f"budget.py: {why}")
	if why:
		tap.skip_all(why)
	now, refused = measure()
	if "--accept" in argv:
		if refused:
			sys.exit(refused)
		write(now)
	of, before = accepted()
	if len(argv) > 1:
		show(now, of, before)
		return 0
	return test(now, refused, of, before)


if __name__ == "__main__":
	sys.exit(main(sys.argv))
