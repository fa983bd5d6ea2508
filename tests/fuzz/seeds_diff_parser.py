#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes seeds for fuzz_diff_parser, the same as for fuzz_diff_http1: seeds_diff_parser.py FOLDER"""
import os
import runpy

runpy.run_path(os.path.join(os.path.dirname(os.path.abspath(__file__)), "seeds_diff_http1.py"))
