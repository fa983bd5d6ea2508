#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""recon.py: speed and memory of recon-diff on records made for it.

    tests/bench/recon.py [-n TRANSACTIONS] [-k PER_CONNECTION] [--edits SHARE] [--dir DIR] [--keep]

Makes two files of records (host and wire view of the same traffic; the wire's clock is 1.5 s ahead
and drifts by 20 ppm; SHARE of the transactions is missing or changed on either side), compares
them, and prints one line of JSON: pairs a second, peak memory, whether exactly the made differences
were found. The files take about 1200 bytes a transaction and side; DIR is $TMPDIR or /tmp.
"""
import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OUT = os.path.join(TOP, os.environ.get("OSP_O") or "build")

# Lengths and keys as the agent's own; what differs between records is filled in.
RECORD = (
	'{"schema":"osprey/1","kind":"transaction","vantage":"%s","id":"%032x","seq":%d,'
	'"ts":"2026-01-01T%02d:%02d:%02d.%09dZ","outcome":"ok","flags":[],"anomalies":[],'
	'"conn":{"id":"1:dtKntc5xiQ+wRhL4kCLzE1ptrbY=","cookie":%d,"txn":%d,"role":"server",'
	'"role_from":"accept","transport":"tcp","netns":4026531840,'
	'"client":{"address":"10.%d.%d.%d","port":%d},"server":{"address":"10.0.0.9","port":8080}},'
	'"http":{"version":"1.1","request":{"method":"GET","target":"/items/%d?page=%d&sort=name",'
	'"host":"shop.example.test","user_agent":"curl/7.88.1","head_bytes":120,"body_wire_bytes":0,'
	'"body_bytes":0,"tcp_seq":%d,"tcp_end":%d,"start_ns":0,"end_ns":0,'
	'"digest":"xxh64:ef46db3751d8e999"},"response":{"status_code":%d,"reason":"OK","head_bytes":160,'
	'"body_wire_bytes":%d,"body_bytes":%d,"content_length":%d,"content_type":"application/json",'
	'"tcp_seq":%d,"tcp_end":%d,"start_ns":%d,"end_ns":%d,"digest":"xxh64:%016x"}},'
	'"timing":{"ttfb_ns":%d,"duration_ns":%d},'
	'"process":{"pid":2042,"tid":2042,"ns_pid":17,"start_time":"2025-12-31T23:51:40.006000018Z",'
	'"comm":"nginx","executable":"/usr/sbin/nginx","uid":33},"lost_bytes":0}\n')
LEDGER = ('{"schema":"osprey/1","kind":"ledger","vantage":"%s","id":"%032x","seq":%d,'
	  '"ts":"2026-01-01T%02d:%02d:%02d.%09dZ","when":"%s","events":{"seen":0,"filtered":0},'
	  '"closed":true}\n')


def clock(ns):
	sec, frac = divmod(ns, 1000000000)
	return sec // 3600 % 24, sec // 60 % 60, sec % 60, frac


def make(folder, n, per_conn, edits):
	"""Both files, and what a comparison has to find: (only a, only b, differs)."""
	rng = random.Random(7)
	paths = [os.path.join(folder, f"{s}.jsonl") for s in ("host", "wire")]
	step = 20000				# ns between transactions: 50,000 a second
	begin = 3600 * 10 ** 9
	only = [0, 0]
	differs = 0
	with open(paths[0], "w", 1 << 20) as a, open(paths[1], "w", 1 << 20) as b:
		def ledger(when, t):
			for f, name, off in ((a, "syscall", 0), (b, "wire", 1500000000)):
				f.write(LEDGER % (name, t, 1, *clock(t + off), when))
		ledger("start", begin - 10 ** 10)
		conns = max(1, min(2000, n // per_conn))
		for i in range(n):
			slot, turn = i % conns, i // conns
			conn = turn // per_conn * conns + slot
			txn = turn % per_conn
			t = begin + i * step
			size = 200 + i * 7919 % 5000
			req = conn * 2654435761 + txn * 120 & 0xffffffff
			res = conn * 40503 + txn * 6000 & 0xffffffff
			ttfb = 100000 + i * 104729 % 900000
			head = (conn + 1, txn + 1, conn >> 16 & 255, conn >> 8 & 255, conn & 255,
				1024 + (conn * 13) % 60000, i, txn, req, req + 120 & 0xffffffff)
			tail = (size, size, size, res, res + 160 + size & 0xffffffff, ttfb, ttfb + 50000,
				i * 0x9e3779b97f4a7c15 & (1 << 64) - 1, ttfb, ttfb + 50000)
			luck = rng.random() if edits else 1
			status = 200
			if luck < edits:
				kind = rng.randrange(3)
				if kind < 2:
					only[kind] += 1
				else:
					differs += 1
				if kind != 1:
					a.write(RECORD % ("syscall", i, i + 2, *clock(t), *head, status, *tail))
				if kind == 0:
					continue
				status = 500 if kind == 2 else 200
			else:
				a.write(RECORD % ("syscall", i, i + 2, *clock(t), *head, status, *tail))
			w = t + 1500000000 + (t - begin) // 50000 - 20000
			b.write(RECORD % ("wire", 1 << 100 | i, i + 2, *clock(w), *head, status,
					  *tail[:-2], ttfb + 40000, ttfb + 90000))
		ledger("exit", begin + n * step + 10 ** 10)
	return paths, only, differs


def main():
	ap = argparse.ArgumentParser(description="Speed and memory of recon-diff.")
	ap.add_argument("-n", type=int, default=1000000, metavar="TRANSACTIONS")
	ap.add_argument("-k", type=int, default=50, metavar="PER_CONNECTION")
	ap.add_argument("--edits", type=float, default=0.0001, metavar="SHARE")
	ap.add_argument("--dir", default=os.environ.get("TMPDIR") or "/tmp")
	ap.add_argument("--keep", action="store_true")
	ap.add_argument("--bin", default=os.path.join(OUT, "bin", "recon-diff"))
	args = ap.parse_args()
	folder = tempfile.mkdtemp(prefix="osprey-recon-bench.", dir=args.dir)
	try:
		begun = time.monotonic()
		paths, only, differs = make(folder, args.n, args.k, args.edits)
		made = time.monotonic() - begun
		begun = time.monotonic()
		child = subprocess.run([args.bin, *paths, "-q", "-s", "-"], stdout=subprocess.PIPE,
				       check=False)
		wall = time.monotonic() - begun
		used = resource.getrusage(resource.RUSAGE_CHILDREN)
		got = json.loads(child.stdout)
		found = ([got["only_a"], got["only_b"]], got["differs"])
		print(json.dumps({
			"bench": "recon", "transactions": args.n, "per_connection": args.k,
			"bytes": sum(map(os.path.getsize, paths)), "made_s": round(made, 1),
			"wall_s": round(wall, 2), "pairs_per_s": round(args.n / wall),
			"cpu_s": round(used.ru_utime + used.ru_stime, 2),
			"pairs_per_cpu_s": round(args.n / (used.ru_utime + used.ru_stime)),
			"peak_rss_mib": round(used.ru_maxrss / 1024, 1), "offset_ns": got["clock"].get("offset_ns"),
			"drift_ppm": got["clock"].get("drift_ppm"), "found_exactly": found == (only, differs)}))
		if args.keep:
			print("# kept", folder)
		return 0 if found == (only, differs) else 1
	finally:
		if not args.keep:
			shutil.rmtree(folder)


if __name__ == "__main__":
	sys.exit(main())
