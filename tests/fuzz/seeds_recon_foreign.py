#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""seeds_recon_foreign.py FOLDER: logs of other tools for fuzz_recon_foreign to begin with, from the
cases of tests/recon; the first byte says which reader."""
import os
import sys

CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../recon/cases")
FILES = {b"0": "zeek-tsv/http.log", b"1": "zeek-json", b"2": "eve/eve.json", b"3": "har/page.har"}


def main():
	out = sys.argv[1]
	os.makedirs(out, exist_ok=True)
	for which, name in FILES.items():
		path = os.path.join(CASES, name)
		if os.path.isdir(path):
			path = os.path.join(path, next(n for n in os.listdir(path)
						       if n not in ("case.txt", "expect.json")))
		with open(path, "rb") as f:
			data = f.read()
		for i, part in enumerate((data, *data.split(b"\n"))):
			with open(os.path.join(out, f"{which.decode()}-{i}"), "wb") as f:
				f.write(which + part)


main()
