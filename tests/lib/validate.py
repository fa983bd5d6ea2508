#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""validate.py RECORDS.jsonl [FIRST LAST]: records against docs/osprey-record.schema.json.

FIRST and LAST: only that many lines at the file's start and end. Exit: 0 all valid; 1 not, with what
is wrong; 2 usage; 77 it can't be checked here, with the reason.
"""
import collections
import itertools
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import records  # noqa: E402


def sample(path, first, last):
    with open(path, encoding="utf-8") as f:
        head = list(itertools.islice(f, first))
        tail = collections.deque(f, maxlen=last)
    return [json.loads(line) for line in itertools.chain(head, tail)]


def main():
    if len(sys.argv) not in (2, 4):
        print(__doc__, file=sys.stderr)
        return 2
    if len(sys.argv) == 4:
        recs = sample(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        recs = records.load(sys.argv[1])
    faults, why = records.schema_faults(recs)
    if faults is None:
        print(why)
        return 77
    for fault in faults:
        print(fault)
    print(f"{len(recs)} records looked at")
    return 1 if faults or not recs else 0


if __name__ == "__main__":
    sys.exit(main())
