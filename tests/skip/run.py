#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What nobody keeps stays in the kernel, and no record is the worse for it.

nginx without sendfile and curl, in both modes, both ends captured: long bodies down and up, known by
their length, each with a small exchange behind it on the same connection. The sizes must
be exact, what comes behind must be found, the sums must close, the copied share must be small; and
the recording must replay to the same records.
"""
import os
import select
import socket
import sys
import threading

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import records  # noqa: E402
import rig as rigs  # noqa: E402
import tap  # noqa: E402

T = tap.Tap()
MIB = 1 << 20
LONG = 100 * MIB
SHARE = 0.05

CONF = """
	sendfile off; client_max_body_size 0; client_body_buffer_size 64k;
	location /put/ { dav_methods PUT; create_full_put_path on; }
"""


def curl(rig, *args):
	"""Two at most in one process, on one connection."""
	done = rig.run(["curl", "-sS", "-o", "/dev/null", "-o", "/dev/null", *args], secs=60)
	if done.returncode:
		raise RuntimeError(f"curl {args}: {done.stderr_text}")


def plain(recs):
	"""Records without what tells one run from another."""
	return [{k: v for k, v in r.items() if k != "seq"} for r in recs if r["kind"] != "ledger"]


def bytes_of(recs):
	led = records.exit_ledger(recs)
	seen = records.counter(led, "bytes.seen")
	gap = records.counter(led, "bytes.gap.skipped")
	return seen, seen - gap


def response(recs, role, target):
	return [r for r in recs if r["kind"] == "transaction" and
		records.get(r, "conn.role") == role and
		records.get(r, "http.request.target") == target]


def check_pair(what, recs, half, target, size):
	"""The long body of that target from both ends, and the small exchange behind it."""
	for role in ("server", "client"):
		got = response(recs, role, target)
		bodies = [records.get(r, f"http.{half}.body_bytes") for r in got]
		T.eq(bodies, [size], f"{what}: the {role} has the body's exact size")
		T.eq([r["outcome"] for r in got], ["ok"], f"{what}: the {role}'s outcome is ok")
		for r in got:
			skipped = "skipped" in r["flags"]
			T.ok(skipped != ("digest" in r["http"][half]) and not r["lost_bytes"] and
			     "gap" not in r["flags"],
			     f"{what}: the {role} says what it has not seen", str(r))
		behind = response(recs, role, f"/small.txt?{target}")
		T.eq([records.get(r, "http.response.body_bytes") for r in behind], [1000],
		     f"{what}: the {role} finds what comes behind")
		conns = {records.get(r, "conn.cookie") for r in got + behind}
		T.ok(len(conns) == 1, f"{what}: on one connection, as the {role} sees it")


def run_agent(rig, mode, name, port, load, *args):
	agent = rigs.Agent(rig, "--port", port, *args, mode=mode, name=name)
	if not agent.ready():
		T.ok(False, f"{name}: the agent starts", agent.stderr())
		return None
	load()
	agent.settle()
	T.eq(agent.stop(), 0, f"{name}: the agent ends in order")
	recs = agent.records()
	T.none(records.faults(recs), f"{name}: no record contradicts itself, the sums close")
	bad, why = records.schema_faults(recs)
	if bad is None:
		T.skip(f"{name}: schema", why)
	else:
		T.none(bad, f"{name}: all records are as the schema has them")
	return recs


def long_bodies(rig, mode, port):
	base = f"http://127.0.0.1:{port}"
	oev = os.path.join(rig.tmp, f"{mode}.oev")

	def load():
		# Slow enough that an agent which is kept from running for a while is still in time.
		slow = ("--limit-rate", "200M")
		curl(rig, *slow, f"{base}/long.bin", f"{base}/small.txt?/long.bin")
		curl(rig, *slow, "-T", os.path.join(rig.tmp, "up.bin"), f"{base}/put/up.bin",
		     "--next", "-sS", f"{base}/small.txt?/put/up.bin")

	recs = run_agent(rig, mode, f"{mode}-long", port, load, "--record", oev)
	if not recs:
		return
	check_pair(f"{mode}, download", recs, "response", "/long.bin", LONG)
	check_pair(f"{mode}, upload", recs, "request", "/put/up.bin", LONG)
	seen, copied = bytes_of(recs)
	T.ok(seen >= 4 * LONG, f"{mode}: all bytes are accounted for", f"{seen}")
	T.ok(copied <= SHARE * seen, f"{mode}: at most {SHARE:.0%} of the bytes are copied",
	     f"{copied} of {seen}: {copied / seen:.1%}")
	again = os.path.join(rig.tmp, f"{mode}-again.jsonl")
	rig.run([rigs.AGENT, "--replay", oev, "--sink", f"jsonl:path={again}"], secs=60)
	T.ok(plain(records.load(again)) == plain(recs),
	     f"{mode}: the recording gives the same records")


def copy_all(rig, mode, port):
	"""--skip-from 0, and a body that is kept: nothing is left in the kernel."""
	base = f"http://127.0.0.1:{port}"
	for what, value in (("skip-from", "0"), ("body", "4M")):
		recs = run_agent(rig, mode, f"{mode}-{what}", port,
				 lambda: curl(rig, "--limit-rate", "100M", f"{base}/mid.bin"),
				 "--" + what, value)
		if recs:
			seen, copied = bytes_of(recs)
			T.ok(seen == copied and seen > 4 * MIB, f"{mode}, --{what}: all is copied",
			     f"{copied} of {seen}")
			T.ok(all("digest" in r["http"]["response"] for r in response(recs, "server",
			     "/mid.bin")), f"{mode}, --{what}: there is a digest")


# For each request: method, body size, whether it is skipped; then what each send() holds.
# Only the plain case may be taken for a body that can be left alone.
BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdefghi"
SENDS = [
	("one plain response", [("GET", 100_000, True)],
	 b"HTTP/1.1 200 OK\r\ncontent-length:100000\r\nServer: x\r\n\r\n" + b"a" * 100_000),
	("one longer than any cap", [("GET", 3_000_000, True)],
	 b"HTTP/1.0 404 Not Found\r\nContent-Length: \t3000000\r\n\r\n" + b"a" * 3_000_000),
	("a short body", [("GET", 50_000, False)],
	 b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n" + b"a" * 50_000),
	("an answer to HEAD, then one to GET", [("HEAD", 0, False), ("GET", 20_000, False)],
	 b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
	 b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"a" * 20_000),
	("not modified, then one with a body", [("GET", 0, False), ("GET", 20_000, False)],
	 b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000000\r\n\r\n"
	 b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b"a" * 20_000),
	("chunked and a length", [("GET", 100_000, False)],
	 b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nTransfer-Encoding: chunked\r\n\r\n" +
	 (b"3e8\r\n" + b"a" * 1000 + b"\r\n") * 100 + b"0\r\n\r\n"),
	("two lengths", [("GET", 100_000, False)],
	 b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-Length: 100000\r\n\r\n" +
	 b"a" * 100_000),
	("a length in a value", [("GET", 20_000, False)],
	 b"HTTP/1.1 200 OK\r\nX: \tContent-Length: 1000000\r\nContent-Length: 20000\r\n\r\n" +
	 b"a" * 20_000),
	("two whole responses", [("GET", 70_000, False), ("GET", 9, False)],
	 b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"a" * 70_000 + BODY),
	("a head within a body, a call of its own", [("GET", 40_000, False)],
	 b"HTTP/1.1 200 OK\r\nContent-Length: 40000\r\n\r\n" + b"a" * 20_000,
	 b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n".ljust(20_000, b"a")),
	("a head that does not end in time", [("GET", 100_000, True)],
	 b"HTTP/1.1 200 OK\r\nX: " + b"x" * 3000 + b"\r\nContent-Length: 100000\r\n\r\n" +
	 b"a" * 100_000),
]


def exchange(conn, server, requests, *answer):
	"""All requests, then the answer in these calls, taken in as few as there can be."""
	conn.sendall(requests)
	got = b""
	while len(got) < len(requests):
		got += server.recv(1 << 16)
	for part in answer:
		sender = threading.Thread(target=server.sendall, args=(part,))
		sender.start()
		left = len(part)
		while left:
			left -= len(conn.recv(min(left, 1 << 20)))
		sender.join(30)


def ask(method, target):
	return f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"


def one_send(rig, mode):
	"""The kernel programs look at the head of a long call themselves: what they make of it."""
	with socket.create_server(("127.0.0.1", 0)) as lst:
		port = lst.getsockname()[1]

		def load():
			for i, (_, asked, *answer) in enumerate(SENDS):
				with socket.create_connection(("127.0.0.1", port)) as conn:
					server, _ = lst.accept()
					with server:
						exchange(conn, server, "".join(
							ask(method, f"/{i}/{k}") for k, (method, *_)
							in enumerate(asked)).encode(), *answer)
						exchange(conn, server,
							 ask("GET", f"/{i}/behind").encode(), BODY)

		recs = run_agent(rig, mode, f"{mode}-send", port, load, "--capture-cap", "1M")
	for i, (what, asked, *_) in enumerate(SENDS):
		for role in ("server", "client") if recs else ():
			got = [(r["outcome"], records.get(r, "http.response.body_bytes"),
				"digest" in records.get(r, "http.response", {}) or
				"skipped" in r["flags"])
			       for k in range(len(asked)) for r in response(recs, role, f"/{i}/{k}")]
			T.eq(got, [("ok", size, True) for _, size, _ in asked],
			     f"{mode}, {what}: as it was, says the {role}")
			T.ok(len(response(recs, role, f"/{i}/behind")) == 1,
			     f"{mode}, {what}: the {role} sees what comes behind")
		skipped = [("skipped" in r["flags"]) for k in range(len(asked))
			   for r in response(recs or [], "server", f"/{i}/{k}")]
		T.ok(skipped == [s for _, _, s in asked] or i == len(SENDS) - 1,
		     f"{mode}, {what}: what is skipped is what can be", f"{skipped}")


def megabytes(rig, mode, port):
	"""Bodies that pass in less time than the agent needs to look."""
	args = [a for i in range(20)
		for a in ("-o", "/dev/null", f"http://127.0.0.1:{port}/1m.bin?{i}")]
	recs = run_agent(rig, mode, f"{mode}-1m", port, lambda: curl(rig, *args))
	if not recs:
		return
	sizes = [records.get(r, "http.response.body_bytes") for r in recs
		 if r["kind"] == "transaction"]
	T.eq(sizes, [MIB] * 40, f"{mode}, 1 MiB: all sizes are exact")
	seen, copied = bytes_of(recs)
	T.ok(copied <= SHARE * seen, f"{mode}, 1 MiB: at most {SHARE:.0%} of the bytes are copied",
	     f"{copied} of {seen}: {copied / seen:.1%}")


def read_slowly(port, target):
	"""In pieces of 8 KiB, as some clients do."""
	with socket.create_connection(("127.0.0.1", port)) as s:
		s.sendall(f"GET {target} HTTP/1.0\r\n\r\n".encode())
		while s.recv(8192):
			pass


def small_reads(rig, mode, port):
	recs = run_agent(rig, mode, f"{mode}-8k", port, lambda: read_slowly(port, "/1m.bin"))
	if not recs:
		return
	seen, copied = bytes_of(recs)
	T.ok(seen > 2 * MIB and copied <= SHARE * seen,
	     f"{mode}, read in small pieces: at most {SHARE:.0%} of the bytes are copied",
	     f"{copied} of {seen}: {copied / max(seen, 1):.1%}")


def heads_only(rig, mode, port):
	"""--turn-cap: of a body that no other limit meets no more than that is copied."""
	base = f"http://127.0.0.1:{port}"
	recs = run_agent(rig, mode, f"{mode}-turn-cap", port,
			 lambda: curl(rig, f"{base}/mid.bin", f"{base}/small.txt?/mid.bin"),
			 "--skip-from", "0", "--turn-cap", "512")
	if not recs:
		return
	got = [(r["http"]["request"]["target"], r["outcome"],
		r["http"]["response"].get("body_bytes"))
	       for r in recs if r["kind"] == "transaction"]
	T.eq(sorted(got), sorted([("/mid.bin", "ok", 2 * MIB)] * 2 +
				 [("/small.txt?/mid.bin", "ok", 1000)] * 2),
	     f"{mode}, --turn-cap: sizes are exact")
	led = records.exit_ledger(recs)
	copied = records.counter(led, "bytes.seen") - records.counter(led, "bytes.gap.capture_cap")
	T.ok(0 < copied <= 8 * 512, f"{mode}, --turn-cap: no more than that of each turn",
	     f"{copied}")


def serve_opaque(sock):
	conn, _ = sock.accept()
	with conn:
		while conn.recv(1 << 16):
			pass


def opaque(rig, mode):
	"""Nothing that a parser knows, one way, then a long silence that only the end breaks."""
	with socket.create_server(("127.0.0.1", 0)) as lst:
		port = lst.getsockname()[1]

		def load():
			reader = threading.Thread(target=serve_opaque, args=(lst,))
			reader.start()
			with socket.create_connection(("127.0.0.1", port)) as s:
				for _ in range(LONG // MIB):
					s.sendall(b"\x01\x02\x03\x04" * (MIB // 4))
					select.select([], [], [], 0.003)	# as above
			reader.join(30)

		recs = run_agent(rig, mode, f"{mode}-opaque", port, load)
	if not recs:
		return
	ends = {records.get(r, "conn.role"): r for r in recs if r["kind"] == "connection"}
	for role, way in (("client", "tx"), ("server", "rx")):
		T.eq(records.get(ends.get(role), f"{way}.bytes"), LONG,
		     f"{mode}, opaque: the {role}'s bytes are all accounted for")
		T.eq({g["cause"] for g in records.get(ends.get(role), f"{way}.gaps", [])} -
		     {"capture_cap"}, {"skipped"}, f"{mode}, opaque: the {role}'s gaps have that cause")
	seen, copied = bytes_of(recs)
	T.ok(copied <= SHARE * seen, f"{mode}, opaque: at most {SHARE:.0%} of the bytes are copied",
	     f"{copied} of {seen}: {copied / seen:.1%}")


def main():
	why = rigs.why_not()
	if why:
		tap.skip_all(why)
	with rigs.Rig() as rig:
		port = rigs.free_port()
		server = rig.nginx("nginx", [f"127.0.0.1:{port}"], CONF)
		for name, size in (("long.bin", LONG), ("mid.bin", 2 * MIB), ("1m.bin", MIB),
				   ("small.txt", 1000)):
			with open(os.path.join(server.home, "www", name), "wb") as f:
				f.truncate(size)
		with open(os.path.join(rig.tmp, "up.bin"), "wb") as f:
			f.truncate(LONG)
		for mode in rigs.modes_for(T):
			long_bodies(rig, mode, port)
			copy_all(rig, mode, port)
			opaque(rig, mode)
			megabytes(rig, mode, port)
			small_reads(rig, mode, port)
			heads_only(rig, mode, port)
			one_send(rig, mode)
		rig.stop_nginx(server)
	return T.done()


if __name__ == "__main__":
	sys.exit(main())
