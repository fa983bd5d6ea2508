# SPDX-License-Identifier: GPL-3.0-or-later
"""packets.py: TCP conversations as packets, what networks wrap around them, and capture files; for
the tests beside it. Nothing but struct.

A packet is (ns, bytes of an IP packet); a frame is (ns, bytes, original length or None)."""
import gzip
import json
import os
import struct
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OSP_O = os.environ.get("OSP_O") or "build"
AGENT = os.path.join(TOP, OSP_O, "bin", "osprey-agent")
EPOCH = 1_700_000_000 * 10**9
MS = 10**6
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def shared(*parts):
	"""A path in the folder of captures that this project does not carry; None if it is not there."""
	for base in (os.environ.get("OSP_SHARED"), os.path.join(TOP, "..", "shared")):
		if base and os.path.exists(os.path.join(base, *parts)):
			return os.path.join(base, *parts)
	return None


# ---- layers ------------------------------------------------------------------------------------

def csum(x):
	if len(x) & 1:
		x += b"\0"
	s = sum(struct.unpack("!%dH" % (len(x) // 2), x))
	while s >> 16:
		s = (s >> 16) + (s & 0xffff)
	return ~s & 0xffff


def addr(text):
	if ":" in text:
		head, _, tail = text.partition("::")
		h = [int(x, 16) for x in head.split(":") if x]
		t = [int(x, 16) for x in tail.split(":") if x]
		return struct.pack("!8H", *(h + [0] * (8 - len(h) - len(t)) + t))
	return bytes(int(x) for x in text.split("."))


def ip4(src, dst, proto, body, ident=1, frag=0, opts=b"", total=None):
	n = 20 + len(opts)
	h = struct.pack("!BBHHHBBH4s4s", 0x40 | n // 4, 0, n + len(body) if total is None else total,
			ident & 0xffff, frag, 64, proto, 0, src, dst) + opts
	return h[:10] + struct.pack("!H", csum(h)) + h[12:] + body


def ip6(src, dst, proto, body, length=None):
	return struct.pack("!IHBB", 6 << 28, len(body) if length is None else length, proto, 64) + \
		src + dst + body


def ip(src, dst, proto, body, ident=1):
	return ip6(src, dst, proto, body) if len(src) == 16 else ip4(src, dst, proto, body, ident)


def udp(sport, dport, body):
	return struct.pack("!HHHH", sport, dport, 8 + len(body), 0) + body


def tcp(sport, dport, seq, ack, flags, body=b"", win=65535, opts=b""):
	opts += b"\0" * (-len(opts) % 4)
	return struct.pack("!HHIIBBHHH", sport, dport, seq & 0xffffffff, ack & 0xffffffff,
			   (20 + len(opts)) // 4 << 4, flags, win, 0, 0) + opts + body


def tstamp(val, ecr=0):
	return struct.pack("!BBBBII", 1, 1, 8, 10, val, ecr)


def etype(pkt):
	return b"\x08\0" if pkt[0] >> 4 == 4 else b"\x86\xdd"


def eth(pkt, tags=(), type_=None):
	t = b"".join(struct.pack("!HH", tpid, vid) for tpid, vid in tags)
	return b"\x02\0\0\0\0\x0b\x02\0\0\0\0\x0a" + t + (type_ or etype(pkt)) + pkt


# ---- a conversation ----------------------------------------------------------------------------

class Talk:
	"""One connection. Sides are "c" and "s"; every call adds one packet, 1 ms after the last."""

	def __init__(self, client="10.0.0.1", server="10.0.0.2", cport=40000, sport=80, c0=1000, s0=5000,
		     start=EPOCH, step=MS, ident=True):
		self.a = {"c": addr(client), "s": addr(server)}
		self.port = {"c": cport, "s": sport}
		self.seq = {"c": c0, "s": s0}
		self.acked = {"c": 0, "s": 0}		# what each has acknowledged of the other
		self.now, self.step = start, step
		self.ids = {"c": 100, "s": 7000}
		self.ident = ident
		self.out = []

	def raw(self, who, flags, body=b"", seq=None, ack=None, opts=b"", ident=None, win=65535):
		to = "s" if who == "c" else "c"
		self.ids[who] += 1
		seg = tcp(self.port[who], self.port[to], self.seq[who] if seq is None else seq,
			  self.acked[who] if ack is None else ack, flags, body, win, opts)
		if ident is None:
			ident = self.ids[who] if self.ident else 0
		self.out.append((self.now, ip(self.a[who], self.a[to], 6, seg, ident)))
		self.now += self.step
		return self

	def open(self, opts=b""):
		self.raw("c", SYN, ack=0, opts=opts)
		self.seq["c"] += 1
		self.acked["s"] = self.seq["c"]
		self.raw("s", SYN | ACK, opts=opts)
		self.seq["s"] += 1
		self.acked["c"] = self.seq["s"]
		return self.raw("c", ACK)

	def ack(self, who):
		self.acked[who] = self.seq["s" if who == "c" else "c"]
		return self.raw(who, ACK)

	def send(self, who, body, mss=1448, acks=True):
		"""Data, cut into segments; who sends has taken all that the other sent."""
		if isinstance(body, str):
			body = body.encode()
		self.acked[who] = self.seq["s" if who == "c" else "c"]
		for i in range(0, len(body), mss):
			self.raw(who, PSH | ACK, body[i:i + mss])
			self.seq[who] += len(body[i:i + mss])
		return self.ack("s" if who == "c" else "c") if acks else self

	def fin(self, who):
		self.acked[who] = self.seq["s" if who == "c" else "c"]
		self.raw(who, FIN | ACK)
		self.seq[who] += 1
		return self

	def close(self):
		return self.fin("c").fin("s").ack("c")

	def get(self, target="/", body="hello", status="200 OK", mss=1448):
		self.send("c", f"GET {target} HTTP/1.1\r\nHost: t.test\r\n\r\n", mss)
		return self.send("s", f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}", mss)


# ---- files -------------------------------------------------------------------------------------

def frames(packets, wrap=eth):
	return [(ns, wrap(p), None) for ns, p in packets]


def pcap(frs, link=1, order="<", ns=False, kuznetzov=False, snaplen=262144):
	magic = 0xa1b2cd34 if kuznetzov else 0xa1b23c4d if ns else 0xa1b2c3d4
	out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snaplen, link)]
	for t, d, n in frs:
		sub = t % 10**9 // (1 if ns else 1000)
		out.append(struct.pack(order + "IIII", t // 10**9, sub, len(d), n or len(d)) +
			   (b"\0" * 8 if kuznetzov else b"") + d)
	return b"".join(out)


def block(order, type_, body):
	body += b"\0" * (-len(body) % 4)
	return struct.pack(order + "II", type_, len(body) + 12) + body + struct.pack(order + "I", len(body) + 12)


def option(order, code, value):
	return struct.pack(order + "HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def shb(order="<"):
	return block(order, 0x0a0d0d0a, struct.pack(order + "IHHq", 0x1a2b3c4d, 1, 0, -1))


def idb(order="<", link=1, snaplen=0, resol=None, offset=None):
	opts = b""
	if resol is not None:
		opts += option(order, 9, bytes([resol]))
	if offset is not None:
		opts += option(order, 14, struct.pack(order + "q", offset))
	return block(order, 1, struct.pack(order + "HHI", link, 0, snaplen) + opts +
		     (option(order, 0, b"") if opts else b""))


def epb(order, iface, ticks, d, n=None):
	return block(order, 6, struct.pack(order + "IIIII", iface, ticks >> 32, ticks & 0xffffffff,
					   len(d), n or len(d)) + d)


def pcapng(frs, order="<", link=1, resol=9):
	return shb(order) + idb(order, link, resol=resol) + \
		b"".join(epb(order, 0, t * 10**resol // 10**9, d, n) for t, d, n in frs)


# ---- running -----------------------------------------------------------------------------------

class Run:
	"""What the agent made of a capture (bytes of a file, or its path)."""

	def __init__(self, capture, tmp, *args, name="x.pcap", timeout=60):
		path = capture
		if isinstance(capture, (bytes, bytearray)):
			path = os.path.join(tmp, name)
			with open(path, "wb") as f:
				f.write(capture)
		r = subprocess.run([AGENT, "--source", "pcap:" + path, "--sink", "jsonl", *args],
				   stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
		self.code = r.returncode
		self.err = r.stderr.decode(errors="replace")
		self.said = [l for l in self.err.split("ledger\n")[0].splitlines() if l]
		self.all = [json.loads(l) for l in r.stdout.splitlines()]
		self.txns = [x for x in self.all if x["kind"] == "transaction"]
		self.conns = [x for x in self.all if x["kind"] == "connection"]
		led = [x for x in self.all if x["kind"] == "ledger"]
		self.ledger = led[-1] if led else {}
		self.wire = self.ledger.get("wire", {})

	def __str__(self):
		return f"exit {self.code}\n{self.err}\n" + "\n".join(map(json.dumps, self.txns + self.conns))


def essence(rec):
	"""A record without what capture times, order and mirroring may change."""
	rec = json.loads(json.dumps(rec))
	for key in ("ts", "seq", "id", "timing", "opened", "closed", "turns"):
		rec.pop(key, None)
	rec["conn"].pop("cookie", None)
	rec.get("tcp", {}).pop("retransmits", None)
	for key in ("tx", "rx"):
		rec.get(key, {}).pop("overlap_bytes", None)
	if "dup_removed" in rec["flags"]:
		rec["flags"].remove("dup_removed")
	for msg in rec.get("http", {}).values():
		if isinstance(msg, dict):
			msg.pop("start_ns", None)
			msg["complete"] = msg.pop("end_ns", None) is not None
	return json.dumps(rec, sort_keys=True)


def essences(run):
	return sorted(essence(r) for r in run.txns + run.conns)


def gz(data):
	return gzip.compress(data, 6)
