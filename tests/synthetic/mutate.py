#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""mutate.py HOW RECORDS.jsonl > OUT: the records with one thing wrong, to see compare.py find it."""
import json
import sys


def cross(a, b):
    """The responses of two transactions change places."""
    x, y = a["http"], b["http"]
    x["response"], y["response"] = y["response"], x["response"]


def shift(a, b):
    """Only the texts of two requests change places: everything else still fits."""
    x, y = a["http"]["request"], b["http"]["request"]
    x["target"], y["target"] = y["target"], x["target"]


def bump(*path):
    def how(a, b):
        for key in path[:-1]:
            a = a[key]
        a[path[-1]] += 1
    return how


HOW = {
    "drop": None,
    "double": None,
    "cross": cross,
    "shift": shift,
    "status": bump("http", "response", "status_code"),
    "head": bump("http", "request", "head_bytes"),
    "body": bump("http", "response", "body_bytes"),
    "wire": bump("http", "response", "body_wire_bytes"),
    "seq": bump("http", "response", "tcp_seq"),
    "end": bump("http", "request", "tcp_end"),
    "txn": bump("conn", "txn"),
    "outcome": lambda a, b: a.update(outcome="closed"),
    "role": lambda a, b: a["conn"].update(role="client"),
}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in HOW:
        sys.exit(__doc__ + "HOW: " + " ".join(HOW))
    with open(sys.argv[2], encoding="utf-8") as f:
        lines = f.readlines()
    at = [i for i, line in enumerate(lines) if '"kind":"transaction"' in line]
    i, j = at[len(at) // 2], at[len(at) // 2 + 1]
    how = sys.argv[1]
    if how == "drop":
        del lines[i]
    elif how == "double":
        lines.insert(i, lines[i])
    else:
        a, b = json.loads(lines[i]), json.loads(lines[j])
        HOW[how](a, b)
        lines[i], lines[j] = json.dumps(a) + "\n", json.dumps(b) + "\n"
    sys.stdout.writelines(lines)


if __name__ == "__main__":
    main()
