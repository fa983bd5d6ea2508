#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""30-tcp.py: what TCP and mirror ports do to a conversation, one case each, and what the records say."""
import os
import random
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
		os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib")]
import records
from packets import (ACK, EPOCH, FIN, MS, PSH, RST, SYN, Run, Talk, essences, eth, frames, ip4, pcap,
		     tstamp)
from tap import Tap

GET = "GET %s HTTP/1.1\r\nHost: t.test\r\n\r\n"
RES = "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
CASES = []


def case(fn):
	CASES.append(fn)
	return fn


def pairs(run):
	"""(target, status, outcome) of each transaction."""
	out = []
	for r in run.txns:
		req, res = r["http"].get("request", {}), r["http"].get("response", {})
		out.append((req.get("target"), res.get("status_code"), r["outcome"]))
	return out


def bodies(run):
	return [r["http"].get("response", {}).get("body_bytes") for r in run.txns]


class Case:
	def __init__(self, tap, tmp, name):
		self.tap, self.tmp, self.name = tap, tmp, name

	def run(self, packets, wrap=eth, args=(), **kw):
		frs = packets if packets and len(packets[0]) == 3 else frames(packets, wrap)
		run = Run(pcap(frs, ns=True, **kw), self.tmp, *args)
		faults = records.faults(run.all)
		self.tap.ok(run.code == 0 and run.ledger.get("closed") and not faults,
			    f"{self.name}: exit 0, all sums close", run, *faults)
		return run

	def eq(self, got, want, what, run=""):
		self.tap.eq(got, want, f"{self.name}: {what}", run)


def plain(step=MS, **kw):
	t = Talk(step=step, **kw).open()
	t.get("/a", "x" * 4000).get("/b", "y" * 300)
	return t.close().out


@case
def in_order(c):
	run = c.run(plain())
	c.eq(pairs(run), [("/a", 200, "ok"), ("/b", 200, "ok")], "both transactions")
	c.eq(run.conns[0]["end"], "fin", "end")
	c.eq([r["conn"].get("role") for r in run.txns + run.conns], [None] * 3, "nobody has a role")
	c.eq(run.conns[0]["tx"]["bytes"] + run.conns[0]["rx"]["bytes"],
	     run.ledger["bytes"]["parsed"], "all bytes parsed")
	c.eq([k for r in run.txns for k in ("process", "container") if k in r], [], "no process")


@case
def every_pair_swapped(c):
	"""Any two neighbours may change places after the handshake and before the end."""
	base = plain()
	want = essences(c.run(base))
	for i in range(3, len(base) - 4):
		p = list(base)
		p[i], p[i + 1] = (p[i][0], p[i + 1][1]), (p[i + 1][0], p[i][1])
		run = Run(pcap(frames(p), ns=True), c.tmp)
		c.eq(essences(run), want, f"packets {i} and {i + 1}", run)


@case
def handshake_in_any_order(c):
	base = plain()
	want = essences(c.run(base))
	for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0), (2, 0, 1), (1, 2, 0)):
		p = [(base[i][0], base[j][1]) for i, j in enumerate(order)] + base[3:]
		run = Run(pcap(frames(p), ns=True), c.tmp)
		c.eq(essences(run), want, f"order {order}", run)


@case
def handshake_lost_in_part(c):
	base = plain()
	want = essences(c.run(base))
	for gone in (0, 1, 2):
		p = base[:gone] + base[gone + 1:]
		run = Run(pcap(frames(p), ns=True), c.tmp)
		c.eq(essences(run), want, f"without packet {gone}", run)


@case
def midstream(c):
	run = c.run(plain()[3:])
	c.eq(pairs(run), [("/a", 200, "ok"), ("/b", 200, "ok")], "transactions from the middle")
	c.eq([("midstream" in r["flags"], "txn" in r["conn"]) for r in run.txns], [(True, False)] * 2,
	     "flagged, not numbered")
	run = c.run(plain()[5:])
	c.eq(pairs(run)[-1], ("/b", 200, "ok"), "joined inside a response: the next one is whole")


@case
def retransmitted(c):
	base = plain()
	want = essences(c.run(base))
	for i in range(len(base) - 3):
		# The same bytes once more, in a packet of its own (another IP id), some time later.
		again = bytearray(base[i][1])
		again[4:6] = b"\x77\x77"
		p = base[:i + 1] + [(base[i][0] + 1000, bytes(again))] + base[i + 1:]
		run = Run(pcap(frames(p), ns=True), c.tmp)
		c.eq(essences(run), want, f"packet {i} sent twice", run)
		if i == 3:
			c.eq(run.wire["copies"], 0, "not taken for a copy")
			c.eq(run.wire["retransmitted_bytes"] > 0, True, "counted")
			c.eq(run.wire["conflicts"], 0, "same content")


@case
def resegmented(c):
	"""Sent again in other cuts, before and after."""
	t = Talk().open()
	t.send("c", GET % "/a")
	body = RES % (3000, "z" * 3000)
	t.acked["s"] = t.seq["c"]
	b, s0 = body.encode(), t.seq["s"]
	for at, n in ((0, 1000), (1500, 700), (500, 1200), (900, 2000), (0, 200), (2800, 400)):
		t.raw("s", PSH | ACK, b[at:at + n], seq=s0 + at)
	t.seq["s"] += len(b)
	t.ack("c")
	run = c.run(t.close().out)
	c.eq((pairs(run), bodies(run)), ([("/a", 200, "ok")], [3000]), "one response, whole", run)
	c.eq(run.wire["conflicts"], 0, "no conflict")
	c.eq("gap" in run.txns[0]["flags"], False, "no gap")


@case
def injected(c):
	"""A second reply with other content for the same place: the first to come wins."""
	t = Talk().open()
	t.send("c", GET % "/a")
	s0 = t.seq["s"]
	t.acked["s"] = t.seq["c"]
	t.raw("s", PSH | ACK, (RES % (5, "false")).encode(), seq=s0)
	t.raw("s", PSH | ACK, (RES % (5, "right")).encode(), seq=s0, ident=9999)
	t.seq["s"] += len(RES % (5, "false"))
	t.ack("c")
	run = c.run(t.close().out, args=("--body", "100"))
	c.eq(run.wire["conflicts"], 1, "counted as conflict", run)
	c.eq(run.txns[0]["http"]["response"].get("body", {}).get("data"), "false", "the first", run)
	c.eq(len(run.txns), 1, "one transaction")


@case
def conflict_while_waiting(c):
	t = Talk().open()
	t.send("c", GET % "/a")
	t.acked["s"] = t.seq["c"]
	b, s0 = (RES % (8, "AAAABBBB")).encode(), t.seq["s"]
	t.raw("s", PSH | ACK, b[20:], seq=s0 + 20)
	t.raw("s", PSH | ACK, b[20:-4] + b"XXXX", seq=s0 + 20)
	t.raw("s", PSH | ACK, b[:20], seq=s0)
	t.seq["s"] += len(b)
	run = c.run(t.ack("c").close().out, args=("--body", "100"))
	c.eq(run.wire["conflicts"], 1, "counted")
	c.eq(run.txns[0]["http"]["response"].get("body", {}).get("data"), "AAAABBBB", "the first wins")


@case
def copies(c):
	base = plain()
	want = essences(c.run(base))
	other_mac = lambda p: b"\x06" * 12 + eth(p)[12:]

	def hop(p):
		return p[:8] + bytes([p[8] - 1, p[9]]) + b"\0\0" + p[12:]

	for name, copy, wrap in (("same", lambda p: p, eth), ("routed", hop, other_mac),
				 ("in a VLAN", lambda p: p, lambda p: eth(p, [(0x8100, 9)]))):
		for delay in (0, 20_000, 99 * MS):
			frs = [f for ns, p in base for f in ((ns, eth(p), None),
							      (ns + delay, wrap(copy(p)), None))]
			run = Run(pcap(sorted(frs, key=lambda f: f[0]), ns=True), c.tmp)
			c.eq(essences(run), want, f"{name}, {delay} ns later", run)
			c.eq((run.wire["copies"], run.wire["retransmitted_bytes"]), (len(base), 0),
			     f"{name}, {delay} ns later: counted as copies")


@case
def copies_without_ids(c):
	"""IP id 0: equal TCP timestamps make a copy; without them only what comes at once."""
	for opts, delay, want in ((tstamp(7), 50 * MS, True), (b"", MS, True), (b"", 50 * MS, False)):
		t = Talk(ident=False).open()
		t.acked["c"] = t.seq["s"]
		t.raw("c", PSH | ACK, (GET % "/a").encode(), opts=opts)
		t.seq["c"] += len(GET % "/a")
		t.out.append((t.now - t.step + delay, t.out[-1][1]))
		run = c.run(t.out)
		c.eq(run.wire["copies"] == 1, want, f"{'timestamps' if opts else 'bare'}, {delay // MS} ms")
	# Sent again after a millisecond: the sender's clock has moved.
	t = Talk(ident=False).open()
	t.raw("c", PSH | ACK, b"x", opts=tstamp(7)).raw("c", PSH | ACK, b"x", opts=tstamp(8))
	c.eq(c.run(t.out).wire["copies"], 0, "another timestamp: sent again")


@case
def lost_in_body(c):
	base = plain()
	p = [x for i, x in enumerate(base) if i != 6]		# second segment of the first response
	run = c.run(p)
	c.eq(pairs(run), [("/a", 200, "ok"), ("/b", 200, "ok")], "stepped over", run)
	c.eq(["gap" in r["flags"] for r in run.txns], [True, False], "only the first has a gap")
	c.eq(run.txns[0]["lost_bytes"], 1448, "its length is known")
	c.eq(run.conns[0]["rx"]["gaps"][0]["cause"], "wire_loss", "its cause, too")
	c.eq(run.wire["lost_bytes"], 1448, "counted")


@case
def lost_response(c):
	"""A whole response of many is gone: acknowledgements say so, and no pair is shifted."""
	t = Talk().open()
	for i in range(20):
		t.get(f"/{i}", "r%d" % i)
	out = t.close().out
	# 3 packets of handshake, then 4 per exchange: request, ACK, response, ACK.
	run = c.run(out[:3 + 4 * 7 + 2] + out[3 + 4 * 7 + 3:])
	want = [(f"/{i}", None if i == 7 else 200, "gap" if i == 7 else "ok") for i in range(20)]
	c.eq(sorted(pairs(run), key=str), sorted(want, key=str), "one without response", run)
	# The whole exchange, acknowledgements and all.
	run = c.run(out[:3 + 4 * 7] + out[3 + 4 * 8:])
	want = [(f"/{i}", 200, "ok") for i in range(20) if i != 7]
	c.eq(sorted(pairs(run), key=str), sorted(want, key=str), "an exchange that left no packet", run)
	c.eq(run.ledger["exchanges"]["lost"], 1, "is counted", run)


@case
def lost_request(c):
	t = Talk().open()
	for i in range(20):
		t.get(f"/{i}", "r%d" % i)
	out = t.close().out
	run = c.run(out[:3 + 4 * 7] + out[3 + 4 * 7 + 1:])
	want = [(None, 200, "no_request") if i == 7 else (f"/{i}", 200, "ok") for i in range(20)]
	c.eq(sorted(pairs(run), key=str), sorted(want, key=str), "its response stands alone", run)


@case
def lost_request_slow_answer(c):
	"""The request is given up before its answer comes, all but the byte that may be a FIN: the answer
	shows that it was none, and the next exchange is whole."""
	t = Talk().open()
	gone = len(t.out)
	t.send("c", GET % "/1")
	t.now += 40 * MS
	t.send("s", RES % (2, "r1")).get("/2", "r2").get("/3", "r3").close()
	other = Talk(cport=50000, start=EPOCH).open()
	for i in range(20):
		other.get(f"/o{i}", "")
	run = c.run(sorted(t.out[:gone] + t.out[gone + 1:] + other.out))
	mine = [p for p in pairs(run) if not (p[0] or "").startswith("/o")]
	c.eq(mine, [(None, 200, "no_request"), ("/2", 200, "ok"), ("/3", 200, "ok")],
	     "one response stands alone", run)
	c.eq(run.wire["lost_bytes"], len(GET % "/1"), "what is lost is the request", run)


def one_by_one(n, head_apart, body=20, acks=False, step=MS // 10):
	"""n exchanges on a connection: its Talk, and the sequence numbers of each request and response."""
	t, at = Talk(step=step).open(), []
	for i in range(n):
		at.append((t.seq["c"], t.seq["s"]))
		t.send("c", GET % f"/{i}", acks=False)
		head, _, rest = (RES % (body, "x" * body)).partition("\r\n\r\n")
		for part in (head + "\r\n\r\n", rest) if head_apart else (head + "\r\n\r\n" + rest,):
			t.send("s", part, acks=acks)
	return t.close(), at


def come_apart(run, at):
	"""Exchanges of which both heads were seen, but not as one; pairs of what does not belong together."""
	seen, wrong = [set(), set()], []
	for r in run.txns:
		half = [r["http"].get(k, {}).get("tcp_seq") for k in ("request", "response")]
		if None in half:
			seen[half[0] is None].update(half)
		elif tuple(half) not in at:
			wrong.append(half)
	return [i for i, (req, res) in enumerate(at) if req in seen[0] and res in seen[1]], wrong


@case
def lost_in_both_directions(c):
	"""Which of two holes was first is told by what went between them, or else by who spoke last."""
	# Exchange and which of its packets: request, head, body; with acknowledgements 2 and 4 are those.
	shapes = {"the end of a response and the head of the next": ((7, 2), (8, 1)),
		  "a request and the head of its response": ((7, 0), (7, 1)),
		  "two requests, and the response between them": ((7, 0), (7, 1), (7, 2), (8, 0))}
	# Given up at the end of the file, while it goes on, or because too much waits.
	for step, args in ((MS // 50, ()), (MS // 2, ()), (MS // 50, ("--wire-hold", "4K"))):
		for acks in (False, True):
			t, at = one_by_one(30, True, 900, acks, step)
			for what, gone in shapes.items():
				# Behind the three packets of the handshake.
				gone = [3 + i * (5 if acks else 3) + (k > 1 and acks) + k for i, k in gone]
				run = c.run([p for i, p in enumerate(t.out) if i not in gone], args=args)
				c.eq(come_apart(run, at), ([], []), f"{what}: none comes apart", run)
				c.eq(pairs(run)[-20:], [(f"/{i}", 200, "ok") for i in range(10, 30)],
				     f"{what}: no more harm", run)


@case
def lost_at_random(c):
	for seed in range(30):
		rng = random.Random(seed)
		t, at = one_by_one(60, seed % 3 > 0, 3000 if seed % 3 > 1 else 20, seed % 2 > 0,
				   MS // 2 if seed % 5 else MS // 10)
		run = Run(pcap(frames([p for p in t.out if rng.random() > 0.07]), ns=True), c.tmp)
		c.eq(come_apart(run, at), ([], []), f"seed {seed}: none comes apart", run)


@case
def one_way(c):
	base = plain()
	client = [p for p in base if p[1][12:16] == b"\x0a\0\0\1"]
	server = [p for p in base if p[1][12:16] == b"\x0a\0\0\2"]
	run = c.run(client)
	c.eq([p[:2] for p in pairs(run)], [("/a", None), ("/b", None)], "requests alone", run)
	c.eq(run.conns[0]["rx"]["gap_bytes"] > 4000, True, "what was acknowledged is a gap")
	c.eq(run.conns[0]["flags"], ["one_way"], "the connection says so", run)
	run = c.run(server)
	c.eq(sorted(pairs(run), key=str), [(None, 200, "no_request")] * 2, "responses alone", run)
	c.eq(run.conns[0]["flags"], ["one_way"], "so does this one", run)
	bare = [p for p in base if p in client or len(p[1]) < 60]
	run = c.run(bare)
	c.eq((run.conns[0]["rx"]["seen_bytes"], run.conns[0]["flags"]), (0, []),
	     "all payload of one direction is lost, but not its SYN: two ways", run)


@case
def response_waits_for_its_request(c):
	"""The request's second half comes 15 ms after the response that it led to."""
	t = Talk().open()
	req = (GET % "/late").encode()
	t.raw("c", PSH | ACK, req[:10])
	late = ip4(t.a["c"], t.a["s"], 6, b"")
	t.seq["c"] += 10
	t.raw("c", PSH | ACK, req[10:])
	late = t.out.pop()
	t.seq["c"] += len(req) - 10
	t.send("s", RES % (2, "ok"))
	t.out.append((t.now + 11 * MS, late[1]))
	run = c.run(t.out)
	c.eq(pairs(run), [("/late", 200, "ok")], "paired", run)
	c.eq(run.wire["lost_bytes"], 0, "nothing lost")


@case
def hole_in_time(c):
	"""Nothing proves the loss: waited for two seconds, --wire-wait says otherwise."""
	for late, args, want in ((1500 * MS, (), "ok"), (2600 * MS, (), "gap"),
				 (2600 * MS, ("--wire-wait", "4s"), "ok")):
		t = Talk().open().send("c", GET % "/a")
		b = (RES % (3000, "q" * 3000)).encode()
		t.raw("s", PSH | ACK, b[:1000], ack=t.seq["c"])
		t.raw("s", PSH | ACK, b[2000:], seq=t.seq["s"] + 2000, ack=t.seq["c"])
		# Time passes elsewhere.
		o = Talk(cport=50000, start=t.now, step=50 * MS).open()
		for i in range(60):
			o.get(f"/o{i}", "")
		t.now += late
		t.raw("s", PSH | ACK, b[1000:2000], seq=t.seq["s"] + 1000, ack=t.seq["c"])
		t.seq["s"] += len(b)
		t.ack("c").close()
		run = c.run(sorted(t.out + o.out), args=args)
		mine = [r for r in run.txns if r["http"]["request"]["target"] == "/a"]
		c.eq("gap" in mine[0]["flags"], want == "gap", f"{late // MS} ms {args}", run)


@case
def hold_limit(c):
	t = Talk().open().send("c", GET % "/a")
	b = (RES % (200000, "q" * 200000)).encode()
	t.acked["s"] = t.seq["c"]
	s0 = t.seq["s"]
	t.raw("s", PSH | ACK, b[:500], seq=s0)
	for at in range(1000, len(b), 1400):
		t.raw("s", PSH | ACK, b[at:at + 1400], seq=s0 + at)
	t.raw("s", PSH | ACK, b[500:1000], seq=s0 + 500)
	t.seq["s"] += len(b)
	out = t.ack("c").close().out
	run = c.run([(EPOCH + i * 1000, p) for i, (_, p) in enumerate(out)])
	c.eq("gap" in run.txns[0]["flags"], False, "within the limit: waited for", run)
	run = c.run([(EPOCH + i * 1000, p) for i, (_, p) in enumerate(out)], args=("--wire-hold", "64K"))
	c.eq((run.txns[0]["outcome"], run.txns[0]["lost_bytes"]), ("ok", 500), "beyond it: a gap", run)


@case
def snaplen(c):
	run = c.run([(ns, eth(p)[:120], len(eth(p))) for ns, p in plain()])
	c.eq(pairs(run), [("/a", 200, "ok"), ("/b", 200, "ok")], "heads were captured", run)
	c.eq([g["cause"] for g in run.conns[0]["rx"]["gaps"]], ["snaplen"] * len(run.conns[0]["rx"]["gaps"]),
	     "all gaps by the cut")
	c.eq(run.txns[0]["http"]["response"]["body_bytes"], 4000, "sizes are exact")
	run = c.run([(ns, eth(p)[:50], len(eth(p))) for ns, p in plain()])
	c.eq((run.txns, run.wire["headers_cut"]), ([], len(plain())), "nothing but Ethernet and IP")


@case
def wraps_at_4g(c):
	for c0, s0 in ((2**32 - 30, 2**32 - 2000), (2**32 - 1, 2**32 - 1), (2**31 - 20, 2**31 - 1000)):
		run = c.run(plain(c0=c0, s0=s0))
		c.eq(pairs(run), [("/a", 200, "ok"), ("/b", 200, "ok")], f"from {c0}, {s0}", run)
		p = plain(c0=c0, s0=s0)
		p[5], p[6] = (p[5][0], p[6][1]), (p[6][0], p[5][1])
		run = c.run(p)
		c.eq(pairs(run), [("/a", 200, "ok"), ("/b", 200, "ok")], f"swapped, from {c0}, {s0}", run)


@case
def keep_alives(c):
	for n in (0, 1):
		t = Talk().open().get("/a", "abc")
		for _ in range(3):
			t.now += 10_000 * MS
			t.raw("c", ACK, b"\xff" * n, seq=t.seq["c"] - 1).raw("s", ACK)
		run = c.run(t.get("/b", "abc").close().out)
		c.eq(pairs(run), [("/a", 200, "ok"), ("/b", 200, "ok")], f"{n} bytes", run)
		c.eq((run.wire["keepalives"], run.wire["conflicts"], run.wire["retransmitted_bytes"]),
		     (3, 0, 0), f"{n} bytes: counted as such")


@case
def syn_data(c):
	req = (GET % "/fast").encode()
	for taken in (True, False):
		t = Talk()
		t.raw("c", SYN, req, ack=0)
		t.seq["c"] += 1 + len(req)
		t.acked["s"] = t.seq["c"] if taken else t.seq["c"] - len(req)
		t.raw("s", SYN | ACK)
		t.seq["s"] += 1
		t.acked["c"] = t.seq["s"]
		if not taken:
			t.seq["c"] -= len(req)
			t.raw("c", ACK).send("c", GET % "/slow", acks=False)
		t.send("s", RES % (2, "ok"))
		run = c.run(t.close().out)
		c.eq(pairs(run), [("/fast" if taken else "/slow", 200, "ok")],
		     "acknowledged: it counts" if taken else "not acknowledged: it does not", run)
		c.eq(run.wire["syn_data_refused"], 0 if taken else len(req), "counted")


@case
def resets(c):
	t = Talk().open().send("c", GET % "/a")
	run = c.run(t.raw("s", RST | ACK, ack=t.seq["c"]).out)
	c.eq(pairs(run), [("/a", None, "reset")], "by the server", run)
	c.eq(run.conns[0]["end"], "reset", "end")
	t = Talk().open().send("c", GET % "/a")
	t.raw("s", RST, seq=t.seq["s"] + 2**30)		# a blind guess
	run = c.run(t.get("/b", "x").close().out)
	c.eq(run.wire["bad_resets"], 1, "outside the window: counted")
	c.eq(run.conns[0]["end"], "fin", "outside the window: ignored", run)
	t = Talk()
	t.raw("c", SYN, ack=0).raw("s", RST | ACK, seq=0, ack=1001)
	run = c.run(t.out)
	c.eq((run.conns, run.wire["refused"]), ([], 1), "refused: no connection", run)
	# Something is missing before it.
	t = Talk().open().send("c", GET % "/a")
	t.raw("s", PSH | ACK, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50, ack=t.seq["c"])
	t.raw("s", RST | ACK, seq=t.seq["s"] + 39 + 2 + 80, ack=t.seq["c"])
	run = c.run(t.out)
	c.eq(pairs(run), [("/a", 200, "reset")], "with a hole before it", run)


@case
def half_closed(c):
	t = Talk().open().send("c", GET % "/a", acks=False).fin("c").ack("s")
	t.send("s", "HTTP/1.0 200 OK\r\n\r\n" + "until the end" * 10).fin("s").ack("c")
	run = c.run(t.out)
	c.eq((pairs(run), bodies(run)), ([("/a", 200, "ok")], [130]), "request, FIN, response to the end", run)
	c.eq(run.conns[0]["end"], "fin", "end")
	# Its last acknowledgement is lost.
	run = c.run(t.out[:-1])
	c.eq(pairs(run), [("/a", 200, "ok")], "without the last ACK")


@case
def fin_with_data_lost(c):
	"""The FIN carried the response's end and was not captured; its acknowledgement was."""
	t = Talk().open().send("c", GET % "/a")
	t.acked["s"] = t.seq["c"]
	t.raw("s", PSH | ACK, b"HTTP/1.0 200 OK\r\n\r\nbeginning")
	t.seq["s"] += len(b"HTTP/1.0 200 OK\r\n\r\nbeginning")
	t.seq["s"] += 20 + 1
	run = c.run(t.ack("c").fin("c").ack("s").out)
	c.eq(run.wire["lost_bytes"], 20, "20 bytes lost, FIN not counted", run)
	c.eq(run.txns[0]["outcome"] != "ok", True, "not called complete")


@case
def port_reused(c):
	a = Talk(c0=100, s0=900).open().get("/one", "1")		# never closed
	b = Talk(c0=77777, s0=88888, start=a.now + 50 * MS).open().get("/two", "2").close()
	run = c.run(a.out + b.out)
	c.eq(pairs(run), [("/one", 200, "ok"), ("/two", 200, "ok")], "two transactions", run)
	c.eq(len(run.conns), 2, "of two connections")
	a.close()
	run = c.run(a.out + [(ns + 100 * MS, p) for ns, p in b.out])
	c.eq((len(run.conns), [x["end"] for x in run.conns]), (2, ["fin", "fin"]), "after a proper end", run)
	far = Talk(c0=3 << 30, s0=1 << 30, start=a.now + 500 * MS).open().get("/two", "2").close()
	run = c.run(a.out[:-3] + far.out[3:])
	c.eq((pairs(run), len(run.conns)), ([("/one", 200, "ok"), ("/two", 200, "ok")], 2),
	     "without its handshake, far away", run)


@case
def tenants(c):
	"""Equal addresses and ports in two VLANs, at once."""
	a = Talk(c0=100, s0=900).open().get("/one", "1").close().out
	b = Talk(c0=77777, s0=88888, start=EPOCH + 500).open().get("/two", "2").close().out
	frs = sorted([(ns, eth(p, [(0x8100, 5)]), None) for ns, p in a] +
		     [(ns, eth(p, [(0x8100, 6)]), None) for ns, p in b])
	run = c.run(frs)
	c.eq(sorted(pairs(run), key=str), [("/one", 200, "ok"), ("/two", 200, "ok")], "two transactions", run)
	c.eq(sorted(x["end"] for x in run.conns), ["fin", "fin"], "two connections")
	# The same numbers in another VLAN are the same connection, seen again a second later.
	frs = [(ns, eth(p, [(0x8100, 5)]), None) for ns, p in a] + \
		[(ns + 1000 * MS, eth(p, [(0x8100, 6)]), None) for ns, p in a]
	run = c.run(frs)
	c.eq((pairs(run), len(run.conns)), ([("/one", 200, "ok")], 1), "the same numbers: one", run)


@case
def idle(c):
	t = Talk().open().get("/a", "1")
	t.now += 400_000 * MS
	t.get("/b", "2")
	run = c.run(t.out)
	c.eq(pairs(run), [("/a", 200, "ok"), ("/b", 200, "ok")], "two transactions", run)
	c.eq([x.get("end") for x in run.conns], ["timeout", "running"], "ended, and joined midstream")
	run = c.run(t.out, args=("--wire-idle", "10m"))
	c.eq((len(run.conns), pairs(run)), (1, [("/a", 200, "ok"), ("/b", 200, "ok")]), "--wire-idle", run)


@case
def pipelined(c):
	t = Talk().open()
	t.send("c", "".join(GET % f"/{i}" for i in range(8)), mss=100)
	t.send("s", "".join(RES % (len(str(i)), i) for i in range(8)), mss=90)
	run = c.run(t.close().out)
	c.eq(pairs(run), [(f"/{i}", 200, "ok") for i in range(8)], "eight in a row", run)


@case
def filters(c):
	a = Talk(cport=1111).open().get("/one", "1").close()
	b = Talk(cport=2222, sport=8080, server="10.9.0.2", start=a.now).open().get("/two", "2").close()
	for args, want in ((("--port", "8080"), "/two"), (("--port", "1111"), "/one"),
			   (("--cidr", "10.9.0.0/16"), "/two"), (("--cidr", "10.0.0.2"), "/one"),
			   (("--cidr", "10.0.0.0/8", "--port", "2222"), "/two")):
		c.eq([p[0] for p in pairs(c.run(a.out + b.out, args=args))], [want], " ".join(args))
	run = Run(pcap(frames(a.out)), c.tmp, "--comm", "nginx")
	c.eq((run.code, run.txns, len(run.said)), (2, [], 1), "a filter on processes is a usage error", run)


@case
def order_of_connections(c):
	"""Same file, same records, and a recording of it replays to the same."""
	t = plain() + plain(cport=40001, start=EPOCH + 300)
	frs = pcap(frames(sorted(t)), ns=True)
	oev = os.path.join(c.tmp, "x.oev")
	a, b = Run(frs, c.tmp, "--record", oev), Run(frs, c.tmp)
	c.eq(a.txns + a.conns, b.txns + b.conns, "twice the same")
	import json
	import subprocess
	from packets import AGENT
	out = subprocess.run([AGENT, "--replay", oev, "--sink", "jsonl"], stdout=subprocess.PIPE,
			     stderr=subprocess.DEVNULL).stdout
	recs = [json.loads(l) for l in out.splitlines()]
	c.eq([r for r in recs if r["kind"] != "ledger"], [r for r in a.all if r["kind"] != "ledger"],
	     "and so does the recording")


def main():
	tap = Tap()
	with tempfile.TemporaryDirectory() as tmp:
		for fn in CASES:
			if len(sys.argv) < 2 or sys.argv[1] in fn.__name__:
				fn(Case(tap, tmp, fn.__name__.replace("_", " ")))
	return tap.done()


sys.exit(main())
