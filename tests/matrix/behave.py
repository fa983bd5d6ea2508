# SPDX-License-Identifier: GPL-3.0-or-later
"""behave.py: what clients do to each server of the matrix. A behaviour is a function of a Bench
(which opens connections, runs programs and remembers what they say) and a server."""
import json
import os
import re
import signal

from raw import COMM, Request, head
from start import HUGE, PEERS, PYTHON

HERE = os.path.dirname(os.path.abspath(__file__))
CURL_SAYS = ('{"cport":%{local_port},"method":"%{method}","status":%{http_code},'
	     '"res_body":%{size_download},"url":"%{url_effective}"}\n')
WS = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
LONG = [f"X-Long-{i}: {'r' * 5000}" for i in range(41)]		# 200 KiB and some


def keep_alive(b, srv):
	c = b.open(srv)
	for method, target, body in (("GET", "/b/0", None), ("GET", "/b/1", None),
				     ("GET", "/b/1000", None), ("HEAD", "/b/1000", None),
				     ("POST", "/echo", b"q" * 10), ("GET", "/missing", None),
				     ("GET", "/status/304", None), ("GET", "/status/204", None),
				     ("POST", "/echo", b""), ("POST", "/echo", b"q" * 100_000),
				     ("GET", "/b/200000", None), ("GET", "/b/77", None)):
		c.ask(method, target, body=body)


def pipelining(depth):
	"""So many requests in one write, then so many responses: of all kinds."""
	kinds = (("GET", "/b/1000"), ("HEAD", "/b/1000"), ("POST", "/echo", b"q" * 33),
		 ("GET", "/chunked/3000"), ("POST", "/echo", b"q" * 999, 100), ("GET", "/status/204"),
		 ("GET", "/b/0"), ("GET", "/missing"), ("HEAD", "/chunked/10"))

	def run(b, srv):
		c = b.open(srv)
		reqs = []
		for i in range(depth):
			method, target, *more = kinds[(i + depth) % len(kinds)]
			reqs.append(Request(method, target, body=more[0] if more else None,
					    chunk=more[1] if len(more) > 1 else 0))
		c.send(b"".join(r.bytes() for r in reqs))
		for r in reqs:
			c.response(r)
	return run


def chunks(b, srv):
	c = b.open(srv)
	for size, piece in ((0, 1), (1, 1), (300, 1), (20_000, 977), (150_000, 50_000)):
		c.ask("POST", "/echo", body=b"q" * size, chunk=piece)
		c.ask("GET", f"/chunked/{size}")


def heads(b, srv):
	c = b.open(srv)
	for target in ("/b/200000", "/b/0", "/chunked/5000", "/missing", "/status/304"):
		c.ask("HEAD", target)
	c.ask("GET", "/b/5")


def expect(b, srv):
	"""The body behind 100 (Continue), and one that did not wait for it."""
	c = b.open(srv)
	for wait in (True, False):
		req = Request("POST", "/echo", "Expect: 100-continue", body=b"q" * 5000)
		c.send(req.head if wait else req.bytes())
		got = c.read_head() if wait else None
		if got and got[0] == 100:
			c.send(req.wire)
			c.response(req, interim=[100])
		elif not wait:
			c.response(req)
	c.ask("GET", "/b/5")


def web_socket(b, srv):
	c = b.open(srv)
	req = Request("GET", "/ws", *WS)
	c.send(req.bytes())
	entry = c.response(req)
	entry["flags"] = switched(entry)
	tunnel(c, [2, 6, 130, 70_000, 1], b"\x82\x7e")
	c.half_close()
	c.drain()


def tunnel(c, sizes, begin):
	"""Pieces of those sizes, each sent when the one before came back whole."""
	entry = c.entries[-1]
	entry["tunnel_out"] = entry["tunnel_in"] = 0
	for n in sizes:
		c.send((begin + b"z" * n)[:n])
		c.size = c.body = 0
		c.take(n)
		entry["tunnel_out"] += n
		entry["tunnel_in"] += c.body


def connect(b, srv):
	"""A tunnel to the Python server, with two requests in it. Where the server is no proxy it
	says so, and the connection is good for another request or ends."""
	c = b.open(srv)
	req = Request("CONNECT", f"127.0.0.1:{b.origin.port}")
	c.send(req.bytes())
	entry = c.response(req)
	if entry["status"] != 200:
		entry["odd"] = True	# refused before it could be logged with its target
		return
	entry["flags"] = switched(entry)
	inner = head("GET", "/b/1000") + head("GET", "/chunked/100", "Connection: close")
	before = c.got - len(c.data)
	c.send(inner)
	c.drain()
	entry["tunnel_out"], entry["tunnel_in"] = len(inner), c.got - before


def one_byte(b, srv):
	c = b.open(srv, piece=1)
	c.ask("POST", "/echo", body=b"q" * 30)
	c.ask("GET", "/drip/100")
	c.ask("POST", "/echo", body=b"q" * 20, chunk=7)
	c.ask("GET", "/chunked/50")


def big_heads(b, srv):
	c = b.open(srv)
	c.ask("GET", "/b/5", *LONG)
	c.ask("GET", "/bighead/204800")
	c.ask("POST", "/echo", *LONG, body=b"q" * 100)


def gone_in_body(b, srv):
	"""The client's stream ends in the middle of a request's body; what comes back is read."""
	c = b.open(srv)
	c.ask("GET", "/b/5")
	req = Request("POST", "/echo", body=b"q" * 1000)
	c.send(req.bytes()[:-600])
	c.half_close()
	entry = c.response(req)
	c.drain()
	entry.update(req_body=400, req_size=len(req.head) + 400, outcome="closed", odd=True)
	c.close()


def gone_in_head(b, srv):
	"""No message, no record; the connection's bytes are counted."""
	c = b.open(srv)
	c.ask("GET", "/b/5")["odd"] = True
	c.send(Request("GET", "/b/1000").bytes()[:-10])
	c.half_close()
	got = c.read_head()
	if not got:
		return
	status, fields = got
	c.read_body("GET", status, fields)
	c.drain()
	c.entries.append({"cport": c.cport, "sport": c.sport, "odd": True, "method": None,
			  "target": None, "status": status, "outcome": "no_request",
			  "res_body": c.body, "pid": os.getpid(), "comm": COMM})


def reset_in_body(b, srv):
	c = b.open(srv)
	c.ask("GET", "/b/5")
	req = Request("POST", "/echo", body=b"q" * 1000)
	c.send(req.bytes()[:-600])
	c.note(req, req_body=400, req_size=len(req.head) + 400, outcome="reset", odd=True)
	c.reset()


def gone_in_response(b, srv):
	"""The client closes with most of the response unread: its kernel answers with a reset."""
	c = b.open(srv, rcvbuf=20_000)
	req = Request("GET", f"/b/{HUGE}")
	c.send(req.bytes())
	status, _ = c.read_head()
	c.take(1000)
	c.note(req, status=status, outcome="reset", odd=True)
	c.wait_unread()
	c.close()


def killed(b, srv):
	"""The server is killed in the middle of a response; the client reads what there is."""
	c = b.open(srv, rcvbuf=20_000)
	req = Request("GET", f"/b/{HUGE}")
	c.send(req.bytes())
	status, _ = c.read_head()
	c.take(1000)
	pid = srv.killable()
	os.kill(pid, signal.SIGKILL)
	if not srv.front:
		srv.child.wait(10)
	c.take(HUGE)
	c.note(req, status=status, res_body=c.body, outcome=("closed", "reset"), odd=True)


def curl(b, srv):
	one = [([], ["/b/1000", "/b/0", "/missing", "/b/77", "/chunked/20000"]),
	       (["-I"], ["/b/20000", "/b/5"]),
	       ([], ["/status/304", "/b/300", "/status/204", "/b/1"]),
	       (["-d", "0123456789"], ["/echo", "/echo"]),
	       (["--data-binary", "@" + b.body, "-H", "Expect: 100-continue"], ["/echo"]),
	       (["-X", "POST", "-T", "-", "-H", "Expect:"], ["/echo"])]
	for extra, targets in one:
		run_curl(b, srv, extra, [f"http://127.0.0.1:{srv.port}{t}" for t in targets])


def curl_proxy(b, srv):
	run_curl(b, srv, ["-p", "-x", f"http://127.0.0.1:{srv.port}"],
		 [f"http://127.0.0.1:{b.origin.port}/b/1000"])


def run_curl(b, srv, extra, urls):
	args = [a for u in urls for a in ("-o", "/dev/null", u)]
	with open(b.body, "rb") as body:
		done = b.rig.run(["curl", "-q", "-s", "-m", "20", *(() if "-x" in extra else
				  ("--noproxy", "*")), "-w", CURL_SAYS, *extra, *args], stdin=body)
	if done.returncode:
		raise RuntimeError(f"curl {extra} {urls}: exit {done.returncode}")
	for line in done.stdout_text.splitlines():
		e = json.loads(line)
		e.update(pid=done.pid, tid=done.pid, comm="curl", sport=srv.port)
		url = e.pop("url")
		e["target"] = re.sub("^http://[^/]*", "", url)
		if "-x" in extra:
			e.update(method="CONNECT", target=url.split("/")[2], flags=["tunnel"])
			del e["res_body"]
		if "Expect: 100-continue" in extra:
			e["interim"] = None	# as the server has it
		b.said(e)


def switched(entry):
	"""The flags of a record of it."""
	if entry["status"] == 101:
		return ["upgrade"]
	return ["tunnel"] if entry["method"] == "CONNECT" and entry["status"] == 200 else []


def run_program(b, argv, plan, comm, srv):
	name = os.path.join(b.rig.tmp, "plan.json")
	with open(name, "w") as f:
		json.dump(plan, f)
	with open(name) as f:
		done = b.rig.run([*argv, "127.0.0.1", str(srv.port)], stdin=f)
	if done.returncode:
		raise RuntimeError(f"{argv} at {srv.name}: {done.stderr_text[-800:]}")
	for line in done.stdout_text.splitlines():
		e = json.loads(line)
		e["comm"] = comm
		e["flags"] = switched(e)
		b.said(e)


PLAN = [("GET", "/b/1000"), ("GET", "/b/0"), ("GET", "/missing"), ("HEAD", "/b/20000"),
	("GET", "/b/200000"), ("POST", "/echo", 10), ("POST", "/echo", 0), ("POST", "/echo", 100_000),
	("GET", "/status/304"), ("POST", "/echo", 33333, True), ("GET", "/chunked/100000"),
	("GET", "/bighead/204800"), ("GET", "/b/1")]


def steps():
	return [{"method": m, "target": t, "body": rest[0] if rest else None,
		 "chunked": len(rest) > 1} for m, t, *rest in PLAN]


def python(b, srv):
	run_program(b, [PYTHON, os.path.join(PEERS, "client.py")], steps(), "python3", srv)


def node(b, srv):
	plan = steps()
	plan.insert(3, {"method": "POST", "target": "/echo", "body": 7000, "expect": True})
	if "ws" in srv.can:
		plan.append({"method": "GET", "target": "/ws", "tunnel": [10, 1, 65_000]})
	if "connect" in srv.can:
		plan.append({"method": "CONNECT", "target": f"127.0.0.1:{b.origin.port}",
			     "inner": head("GET", "/b/300", "Connection: close").decode()})
	run_program(b, ["node", "--max-http-header-size=400000", os.path.join(HERE, "client.js")],
		    plan, "node", srv)


CORE = [("keep-alive", keep_alive), ("pipelining 16", pipelining(16)),
	("chunked both ways", chunks), ("HEAD", heads), ("100-continue", expect),
	("1-byte reads and writes", one_byte)]
MORE = [("pipelining 1", pipelining(1)), ("pipelining 2", pipelining(2)),
	("pipelining 7", pipelining(7)), ("pipelining 64", pipelining(64)),
	("200 KiB headers", big_heads), ("client gone in a body", gone_in_body),
	("client gone in a head", gone_in_head), ("client resets in a body", reset_in_body),
	("client gone in a response", gone_in_response), ("client curl", curl),
	("client Python", python)]
