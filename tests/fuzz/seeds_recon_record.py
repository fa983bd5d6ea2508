#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""seeds_recon_record.py FOLDER: lines for fuzz_recon_record to begin with: records of each kind from
the cases of tests/recon, one of each length."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import seeds_recon_side as cases	# noqa: E402


def main():
	out = sys.argv[1]
	os.makedirs(out, exist_ok=True)
	for _, sides in cases.pairs():
		for line in b"\n".join(sides).split(b"\n"):
			if line.startswith(b"{") and len(line) < 4096:
				with open(os.path.join(out, str(len(line))), "wb") as f:
					f.write(line)


main()
