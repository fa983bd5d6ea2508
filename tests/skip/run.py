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
	T.ok(plain(records.load(again)) == plain(recs), f"{mode}: the recording gives the same records")


def copy_all(rig, mode, port):
	"""--skip-from 0, and a body that is kept: nothing is left in the kernel."""
	base = f"http://127.0.0.1:{port}"
	for what, value in (("skip-from", "0"), ("body", "32M")):
		recs = run_agent(rig, mode, f"{mode}-{what}", port,
				 lambda: curl(rig, "--limit-rate", "100M", f"{base}/mid.bin"),
				 "--" + what, value)
		if recs:
			seen, copied = bytes_of(recs)
			T.ok(seen == copied and seen > 16 * MIB, f"{mode}, --{what}: all is copied",
			     f"{copied} of {seen}")
			T.ok(all("digest" in r["http"]["response"] for r in response(recs, "server",
			     "/mid.bin")), f"{mode}, --{what}: there is a digest")


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
		for name, size in (("long.bin", LONG), ("mid.bin", 16 * MIB), ("small.txt", 1000)):
			with open(os.path.join(server.home, "www", name), "wb") as f:
				f.truncate(size)
		with open(os.path.join(rig.tmp, "up.bin"), "wb") as f:
			f.truncate(LONG)
		for mode, reason in rigs.modes():
			if reason:
				T.skip(f"{mode} mode", reason)
				continue
			long_bodies(rig, mode, port)
			copy_all(rig, mode, port)
			opaque(rig, mode)
		rig.stop_nginx(server)
	return T.done()


if __name__ == "__main__":
	sys.exit(main())
