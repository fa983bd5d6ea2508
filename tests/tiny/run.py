#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Peers that move a byte a call: gathered in the kernel, and no record is the worse for it.

In both modes and with both ends captured: what came in hundreds of calls makes few events and the
same records as with --gather 0; a record does not wait for a call that is never made; a socket that
is closed at once loses nothing; and connections that get in each other's way, whose bytes cannot all be
gathered, are whole all the same.
"""
import os
import socket
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "lib"))
import records  # noqa: E402
import rig as rigs  # noqa: E402
import tap  # noqa: E402

T = tap.Tap()
BODY = bytes(range(33, 123)) * 3
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
MANY = 400	# so that some of them meet in a slot, and both ends are fewer than 1024 descriptors


def request(what):
	return f"GET /{what} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def take(sock, n, step=1):
	while n:
		n -= len(sock.recv(min(n, step)))


def give(sock, data, step):
	for i in range(0, len(data), step):
		sock.sendall(data[i:i + step])


def exchange(client, server, what, sends=1):
	"""Each byte is taken by a call of its own, and sent so by the server unless told otherwise."""
	client.sendall(request(what))
	take(server, len(request(what)))
	give(server, RESPONSE, sends)
	take(client, len(RESPONSE))


class Scene:
	"""A listening socket of ours and an agent that captures both ends of its connections."""

	def __init__(self, rig, mode, name, *args):
		self.lst = socket.create_server(("127.0.0.1", 0))
		port = self.lst.getsockname()[1]
		self.agent = rigs.Agent(rig, "--port", port, *args, mode=mode, name=f"{mode}-{name}")
		if not self.agent.ready():
			raise RuntimeError(self.agent.stderr())

	def pair(self):
		client = socket.create_connection(self.lst.getsockname())
		server, _ = self.lst.accept()
		for sock in (client, server):
			sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		return client, server

	def end(self, what):
		self.lst.close()
		self.agent.settle()
		T.eq(self.agent.stop(), 0, f"{what}: the agent ends in order")
		recs = self.agent.records()
		T.none(records.faults(recs), f"{what}: no record contradicts itself, the sums close")
		return recs


def transactions(recs):
	return [r for r in recs if r["kind"] == "transaction"]


def events(recs):
	return records.counter(records.exit_ledger(recs), "tracker.data_events")


def told(recs):
	"""What transactions say, but for times, positions and connections, which differ by run."""
	return sorted((records.get(r, "conn.role"), records.get(r, "http.request.target"), r["outcome"],
		       records.get(r, "http.response.body_bytes"),
		       records.get(r, "http.response.digest"), r["lost_bytes"], *r["flags"])
		      for r in transactions(recs))


def same_records(rig, mode):
	"""Beside an agent that gathers nothing."""
	def run(name, *args):
		scene = Scene(rig, mode, name, *args)
		client, server = scene.pair()
		with client, server:
			for i in range(10):
				exchange(client, server, i)
			exchange(client, server, "calls", sends=len(RESPONSE))
			exchange(client, server, "sends", sends=16)
		return scene.end(f"{mode}, {name}")

	oev = os.path.join(rig.tmp, f"{mode}.oev")
	few, each = run("gathered", "--record", oev), run("each", "--gather", "0")
	T.eq(len(transactions(few)), 24, f"{mode}: each request is there, from both ends")
	T.ok(told(few) == told(each), f"{mode}: they say the same as when nothing is gathered",
	     str(told(few)), str(told(each)))
	T.ok(events(few) * 10 < events(each), f"{mode}: less than a tenth of the events",
	     f"{events(few)} of {events(each)}")
	again = os.path.join(rig.tmp, f"{mode}-again.jsonl")
	rig.run([rigs.AGENT, "--replay", oev, "--sink", f"jsonl:path={again}"])
	T.ok(told(records.load(again)) == told(few), f"{mode}: the recording gives the same records")


def idle(rig, mode):
	"""The last byte is read, and no call follows."""
	scene = Scene(rig, mode, "idle")
	client, server = scene.pair()
	with client, server:
		exchange(client, server, "idle")
		T.ok(rigs.wait_for(lambda: len(transactions(scene.agent.records())) == 2, 10),
		     f"{mode}: records do not wait for another call", scene.agent.stderr())
	scene.end(f"{mode}, idle")


def closed_at_once(rig, mode):
	scene = Scene(rig, mode, "closed")
	for i in range(200):
		client, server = scene.pair()
		with client, server:
			exchange(client, server, i, sends=len(RESPONSE))
	recs = scene.end(f"{mode}, closed")
	T.eq([(r["outcome"], r["lost_bytes"]) for r in transactions(recs)], [("ok", 0)] * 400,
	     f"{mode}: nothing is missing where the socket is closed after its last byte")


def in_the_way(rig, mode):
	"""A byte of each connection in turn."""
	scene = Scene(rig, mode, "many")
	pairs = [scene.pair() for _ in range(MANY)]
	asked = [request(f"{i:03}") for i in range(MANY)]
	for (client, _), data in zip(pairs, asked):
		client.sendall(data)
	for _ in range(len(asked[0])):
		for _, server in pairs:
			take(server, 1)
	for _, server in pairs:
		server.sendall(RESPONSE)
	for _ in range(len(RESPONSE)):
		for client, _ in pairs:
			take(client, 1)
	for client, server in pairs:
		client.close()
		server.close()
	recs = scene.end(f"{mode}, many")
	T.eq([(r["outcome"], r["lost_bytes"]) for r in transactions(recs)],
	     [("ok", 0)] * (2 * MANY), f"{mode}: many at once are whole, each of them")


def main():
	why = rigs.why_not()
	if why:
		tap.skip_all(why)
	with rigs.Rig() as rig:
		for mode in rigs.modes_for(T):
			same_records(rig, mode)
			idle(rig, mode)
			closed_at_once(rig, mode)
			in_the_way(rig, mode)
	return T.done()


if __name__ == "__main__":
	sys.exit(main())
