#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes seeds for fuzz_diff_http1 from the written cases: seeds_diff_http1.py FOLDER"""
import importlib.util
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
spec = importlib.util.spec_from_file_location("seeds", os.path.join(HERE, "seeds_http1.py"))
seeds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(seeds)
for n, steps in enumerate(seeds.cases()):
	for mark, first in ((">", b"\0"), ("<", b"\1")):
		data = b"".join(bytes(w) for k, w in steps if k == mark)
		if 0 < len(data) < 2048:
			with open(os.path.join(sys.argv[1], f"golden-{n:03}-{first[0]}"), "wb") as f:
				f.write(first + data)
