#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""client.py HOST PORT: Python's http.client as a peer. Reads a JSON list of requests from stdin,
{"method", "target", "body": N, "chunked": bool, "fresh": bool}, sends them on one connection (a
new one where fresh is set or the server closed) and prints a line of JSON for each."""
import http.client
import json
import os
import sys


def pieces(n):
	for at in range(0, n, 5000):
		yield b"y" * min(5000, n - at)


def main():
	host, port = sys.argv[1], int(sys.argv[2])
	conn = http.client.HTTPConnection(host, port, timeout=20)
	for req in json.load(sys.stdin):
		if req.get("fresh"):
			conn.close()
		if conn.sock is None:
			conn.connect()
		cport = conn.sock.getsockname()[1]
		n, headers, body = req.get("body"), {}, None
		if n is not None:
			body = pieces(n) if req.get("chunked") else b"y" * n
		conn.request(req["method"], req["target"], body=body, headers=headers,
			     encode_chunked=bool(req.get("chunked")))
		res = conn.getresponse()
		print(json.dumps({"pid": os.getpid(), "tid": os.getpid(), "cport": cport,
				  "sport": port, "method": req["method"], "target": req["target"],
				  "status": res.status, "req_body": n or 0,
				  "res_body": len(res.read())}), flush=True)
	conn.close()


main()
