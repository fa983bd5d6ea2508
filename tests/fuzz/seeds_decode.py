#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes seeds for fuzz_decode from the written cases: seeds_decode.py FOLDER"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
LISTS = 8	# of fuzz_decode.c


def bodies():
	with open(os.path.join(HERE, "..", "golden", "http1", "decode.txt"), encoding="latin-1") as f:
		for line in f:
			if line.startswith("< "):
				yield re.sub(r"\\x(..)", lambda m: chr(int(m.group(1), 16)),
					     line[2:].rstrip("\n")).encode("latin-1")


for n, body in enumerate(sorted(set(bodies()))):
	for which in range(LISTS):
		with open(os.path.join(sys.argv[1], f"case-{n}-{which}"), "wb") as f:
			f.write(bytes([which, 10 + n % 8]) + body)
