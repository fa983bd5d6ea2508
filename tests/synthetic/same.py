#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""same.py A.jsonl B.jsonl: whether a replay gave the records of the run it replays.

All lines must be equal, but that ledger records say another mode and origin, and so the sink has
written another number of bytes. Exit: 0, 1, 2 usage.
"""
import itertools
import json
import sys


def plain(line):
    """A ledger record without what must differ; any other line as it is."""
    if line is None or b'"kind":"ledger"' not in line:
        return line
    rec = json.loads(line)
    rec.pop("mode", None)
    rec.pop("origin", None)
    for sink in rec.get("sinks", {}).values():
        sink.pop("bytes", None)
    return rec


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    with open(sys.argv[1], "rb") as a, open(sys.argv[2], "rb") as b:
        for n, (x, y) in enumerate(itertools.zip_longest(a, b), 1):
            if x != y and plain(x) != plain(y):
                print(f"line {n} differs:\n{str(x)[:1500]}\n{str(y)[:1500]}")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
