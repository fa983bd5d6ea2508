#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes seeds for fuzz_http1 from the written cases: seeds_http1.py FOLDER"""
import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ESC = {"r": "\r", "n": "\n", "t": "\t", "0": "\0"}


def unescape(s):
	s = re.sub(r"\\\{(\d+)\*(.*?)\}", lambda m: m.group(2) * min(int(m.group(1)), 40), s)
	return re.sub(r"\\(x..|.)", lambda m: chr(int(m.group(1)[1:], 16)) if len(m.group(1)) == 3
		      else ESC.get(m.group(1), m.group(1)), s).encode("latin-1")


def cases():
	for path in sorted(glob.glob(os.path.join(HERE, "..", "golden", "http1", "*.txt"))):
		steps = []
		with open(path, encoding="latin-1") as f:
			for line in f.read().split("\n"):
				if line.startswith("case "):
					if steps:
						yield steps
					steps = []
				elif line[:1] in ("<", ">") and line:
					double = line[1:2] == line[0]
					text = unescape(line[1 + double:].removeprefix(" "))
					text += b"\r\n" if double else b""
					if steps and steps[-1][0] == line[0]:
						steps[-1][1] += text
					else:
						steps.append([line[0], bytearray(text)])
				elif line.startswith("! lose"):
					steps.append([line.split()[2], int(line.split()[3])])
		yield steps


def encode(steps):
	out = bytearray(b"\0")
	for kind, what in steps:
		if kind in ("<", ">"):
			for at in range(0, len(what), 255):
				part = what[at:at + 255]
				out += bytes((0 if kind == ">" else 1, len(part))) + part
		else:
			out += bytes((4 if kind == "client" else 5, what))
	return bytes(out)


def main():
	for n, steps in enumerate(cases()):
		data = encode(steps)
		if len(data) < 4096:
			with open(os.path.join(sys.argv[1], f"golden-{n:03}"), "wb") as f:
				f.write(data)


if __name__ == "__main__":
	main()
