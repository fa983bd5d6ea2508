#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQLite sink's table against the jsonl of the same run.

    rows.py DATABASE JSONL [COUNT]       every field of every row; COUNT: so many at least
    rows.py --busy AGENT PLUGIN DATABASE with another writer that holds the database for a while
"""
import json
import os
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import records  # noqa: E402

COLUMNS = {
	"id": "id", "outcome": "outcome", "conn_id": "conn.id", "role": "conn.role",
	"client": "conn.client.address", "client_port": "conn.client.port",
	"server": "conn.server.address", "server_port": "conn.server.port",
	"method": "http.request.method", "target": "http.request.target",
	"host": "http.request.host", "status": "http.response.status_code",
	"request_body_bytes": "http.request.body_bytes",
	"response_body_bytes": "http.response.body_bytes",
	"ttfb_ns": "timing.ttfb_ns", "duration_ns": "timing.duration_ns",
	"pid": "process.pid", "comm": "process.comm",
}


def rows(path):
	db = sqlite3.connect(path)
	db.row_factory = sqlite3.Row
	return {r["id"]: r for r in db.execute("SELECT * FROM transactions")}


def compare(db, jsonl, least):
	got = rows(db)
	want = {r["id"]: r for r in records.kind(records.load(jsonl), "transaction")}
	bad = []
	if len(want) < least:
		bad.append(f"jsonl has {len(want)} transactions only")
	if got.keys() != want.keys():
		bad.append(f"{len(got.keys() - want.keys())} rows too many, "
			   f"{len(want.keys() - got.keys())} missing")
	for key in got.keys() & want.keys():
		row, rec = got[key], want[key]
		for col, dotted in COLUMNS.items():
			if row[col] != records.get(rec, dotted):
				bad.append(f"{key} {col}: {row[col]!r}, jsonl {records.get(rec, dotted)!r}")
		if row["record"] is not None:
			full = json.loads(row["record"])
			if full != rec:
				bad.append(f"{key}: record differs from jsonl")
	print("\n".join(bad[:10]))
	return 1 if bad else 0


def busy(agent, plugin, path):
	"""Somebody holds the write lock while the agent runs, longer than the sink waits at a time."""
	argv = [agent, "--synthetic=txns=500,seed=2", "--sink", f"{plugin}:path={path}"]
	subprocess.run(argv[:1] + ["--synthetic=txns=1,seed=9"] + argv[2:], check=True,
		       stderr=subprocess.DEVNULL)	# makes the table
	db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
	db.execute("BEGIN IMMEDIATE")
	argv[-1] += ",busy=50ms,retry=20ms"
	run = subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)
	time.sleep(1)
	held = sqlite3.connect(path).execute("SELECT count(*) FROM transactions").fetchone()[0]
	db.execute("COMMIT")
	err = run.communicate(timeout=20)[1]
	n = sqlite3.connect(path).execute("SELECT count(*) FROM transactions").fetchone()[0]
	print(err, f"rows: {held} while locked, {n} in the end")
	retried = "retries" in err
	return 0 if held == 1 and n == 501 and retried and "all sums close" in err else 1


if __name__ == "__main__":
	if sys.argv[1] == "--busy":
		sys.exit(busy(*sys.argv[2:5]))
	sys.exit(compare(sys.argv[1], sys.argv[2], int((sys.argv + ["1"])[3])))
