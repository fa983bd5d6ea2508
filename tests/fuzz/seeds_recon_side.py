#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""seeds_recon_side.py FOLDER: pairs of files for fuzz_recon_side to begin with: the cases of
tests/recon, as A's file, the mark, B's file."""
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../recon"))
import expand			# noqa: E402

CASES = os.path.join(HERE, "../recon/cases")
SPLIT = b"\n--SPLIT--\n"
LONGEST = 32768


def pairs():
	for name in sorted(os.listdir(CASES)):
		case = os.path.join(CASES, name)
		with tempfile.TemporaryDirectory() as tmp:
			data = []
			for side in expand.parse(os.path.join(case, "case.txt"))[2]:
				first = expand.write(side, case, tmp).split("+")[0].replace("*", ".0")
				if os.path.isfile(first):
					with open(first, "rb") as f:
						data.append(f.read())
		if len(data) == 2:
			yield name, data


def main():
	out = sys.argv[1]
	os.makedirs(out, exist_ok=True)
	for name, (a, b) in pairs():
		both = a + SPLIT + b
		if len(both) <= LONGEST:
			with open(os.path.join(out, name), "wb") as f:
				f.write(both)


if __name__ == "__main__":
	main()
