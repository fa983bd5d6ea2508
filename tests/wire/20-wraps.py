#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""20-wraps.py: the same conversations in every file format, link type and tunnel give the same
records."""
import os
import struct
import sys
import tempfile

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__)),
		os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib")]
from packets import (ACK, EPOCH, Run, Talk, addr, block, csum, epb, essences, eth, etype, frames, gz,
		     idb, ip4, ip6, option, pcap, pcapng, shb, udp)
from tap import Tap

A, B = addr("192.0.2.1"), addr("192.0.2.2")
A6, B6 = addr("2001:db8::1"), addr("2001:db8::2")


def talk(v6=False):
	ends = ("fd00::1", "fd00::2") if v6 else ("10.0.0.1", "10.0.0.2")
	t = Talk(*ends).open()
	t.get("/a", "x" * 5000).get("/b", "")
	return t.close().out


# ---- what may stand around an IP packet ---------------------------------------------------------

def outer(proto):
	return lambda body: eth(ip4(A, B, proto, body, 9))


def in_udp(port, head):
	return lambda p: eth(ip4(A, B, 17, udp(33333, port, head(p) + p), 9))


def in_udp_eth(port, head):
	return lambda p: eth(ip4(A, B, 17, udp(33333, port, head + eth(p)), 9))


def gre(proto, flags=0, rest=b""):
	return struct.pack("!HH", flags, proto) + rest


def etnum(p):
	return struct.unpack("!H", etype(p))[0]


def mpls(labels, p):
	out = b""
	for i, l in enumerate(labels):
		out += struct.pack("!I", l << 12 | (0x100 if i == len(labels) - 1 else 0) | 64)
	return out + p


def dot11(p, fc=0x0208, extra=b"", pad=b""):
	h = struct.pack("<HH", fc, 0) + b"\x02\0\0\0\0\x0a" * 3 + b"\x10\0" + extra
	return h + pad + b"\xaa\xaa\x03\0\0\0" + etype(p) + p


def ext6(p, *heads):
	"""IPv6 extension headers between the IPv6 header and what follows."""
	src, dst, nxt, body = p[8:24], p[24:40], p[6], p[40:]
	for kind, data in reversed(heads):
		body = bytes([nxt, (len(data) + 2 + 7) // 8 - 1]) + data + \
			b"\0" * (-(len(data) + 2) % 8) + body
		nxt = kind
	return ip6(src, dst, nxt, body)


def ah4(p):
	return ip4(p[12:16], p[16:20], 51, bytes([p[9], 4]) + b"\0" * 22 + p[20:])


def etherip(p):
	return eth(ip4(A, B, 97, b"\x30\0" + eth(p)))


def bad_checksum(p):
	return eth(p[:10] + b"\xde\xad" + p[12:36] + b"\xbe\xef" + p[38:])


WRAPS = {		# name: (link type, wrap)
	"ethernet": (1, eth),
	"802.3 LLC/SNAP": (1, lambda p: b"\x02\0\0\0\0\x0b\x02\0\0\0\0\x0a" + struct.pack("!H", len(p) + 8) +
			   b"\xaa\xaa\x03\0\0\0" + etype(p) + p + b"\0" * 4),
	"vlan": (1, lambda p: eth(p, [(0x8100, 5)])),
	"priority tag": (1, lambda p: eth(p, [(0x8100, 0)])),
	"qinq 88a8": (1, lambda p: eth(p, [(0x88a8, 5), (0x8100, 6)])),
	"qinq 9100": (1, lambda p: eth(p, [(0x9100, 5), (0x8100, 6)])),
	"three tags": (1, lambda p: eth(p, [(0x88a8, 5), (0x8100, 6), (0x8100, 7)])),
	"null, little endian": (0, lambda p: struct.pack("<I", 2) + p),
	"null, big endian": (0, lambda p: struct.pack(">I", 2) + p),
	"loop": (108, lambda p: struct.pack(">I", 2) + p),
	"raw": (101, lambda p: p),
	"raw 12": (12, lambda p: p),
	"ipv4": (228, lambda p: p),
	"sll": (113, lambda p: struct.pack("!HHH8s", 0, 1, 6, b"") + etype(p) + p),
	"sll vlan": (113, lambda p: struct.pack("!HHH8s", 0, 1, 6, b"") + b"\x81\0\0\x05" + etype(p) + p),
	"sll2": (276, lambda p: etype(p) + struct.pack("!HIHBB8s", 0, 3, 1, 0, 6, b"") + p),
	"ppp": (9, lambda p: b"\xff\x03\0\x21" + p),
	"ppp, compressed": (9, lambda p: b"\x21" + p),
	"cisco hdlc": (50, lambda p: b"\x0f\0\x08\0" + p),
	"pppoe link": (51, lambda p: struct.pack("!BBHHH", 0x11, 0, 7, len(p) + 2, 0x21) + p),
	"802.11": (105, dot11),
	"802.11 qos": (105, lambda p: dot11(p, 0x0288, b"\0\0")),
	"802.11 wds": (105, lambda p: dot11(p, 0x0308, b"\x02\0\0\0\0\x0c")),
	"radiotap": (127, lambda p: struct.pack("<BBHI", 0, 0, 8, 0) + dot11(p)),
	"radiotap, padded": (127, lambda p: struct.pack("<BBHIQB", 0, 0, 24, 3, 0, 0x20) + b"\0" * 7 +
			     dot11(p, 0x0288, b"\0\0", b"\0\0")),
	"pppoe": (1, lambda p: eth(struct.pack("!BBHHH", 0x11, 0, 7, len(p) + 2, 0x21) + p,
				   type_=b"\x88\x64")),
	"mpls": (1, lambda p: eth(mpls([17], p), type_=b"\x88\x47")),
	"mpls, three labels": (1, lambda p: eth(mpls([17, 18, 19], p), type_=b"\x88\x47")),
	"mpls in vlan": (1, lambda p: eth(mpls([17], p), [(0x8100, 5)], b"\x88\x47")),
	"mpls pseudowire": (1, lambda p: eth(mpls([17], b"\0\0\0\x01" + eth(p)), type_=b"\x88\x47")),
	"mpls pseudowire, no control word": (1, lambda p: eth(mpls([17], eth(p)), type_=b"\x88\x47")),
	"gre": (1, lambda p: outer(47)(gre(etnum(p)) + p)),
	"gre, checksum key sequence": (1, lambda p: outer(47)(gre(etnum(p), 0xb000, b"\0" * 12) + p)),
	"gre ethernet": (1, lambda p: outer(47)(gre(0x6558) + eth(p))),
	"nvgre": (1, lambda p: outer(47)(gre(0x6558, 0x2000, b"\0\x12\x34\0") + eth(p))),
	"gre mpls": (1, lambda p: outer(47)(gre(0x8847) + mpls([5], p))),
	"pptp": (1, lambda p: outer(47)(gre(0x880b, 0x3081, struct.pack("!HHII", len(p) + 4, 1, 2, 3)) +
					b"\xff\x03\0\x21" + p)),
	"erspan 1": (1, lambda p: outer(47)(gre(0x88be) + eth(p))),
	"erspan 2": (1, lambda p: outer(47)(gre(0x88be, 0x1000, b"\0\0\0\x01\x10\x64\0\x01\0\0\0\0") + eth(p))),
	"erspan 3": (1, lambda p: outer(47)(gre(0x22eb, 0x1000, b"\0\0\0\x01\x20\x64\0\x01" + b"\0" * 8) +
					    eth(p))),
	"erspan 3, subheader": (1, lambda p: outer(47)(gre(0x22eb, 0x1000, b"\0\0\0\x01\x20\x64\0\x01" +
						       b"\0" * 7 + b"\x01" + b"\0" * 8) + eth(p))),
	"vxlan": (1, in_udp_eth(4789, b"\x08\0\0\0\0\0\x4d\0")),
	"vxlan, linux port": (1, in_udp_eth(8472, b"\x08\0\0\0\0\0\x4d\0")),
	"vxlan-gpe": (1, in_udp(4790, lambda p: b"\x0c\0\0\x01\0\0\x4d\0")),
	"geneve": (1, in_udp_eth(6081, b"\0\0\x65\x58\0\0\x4d\0")),
	"geneve, options": (1, in_udp_eth(6081, b"\x02\0\x65\x58\0\0\x4d\0" + b"\0" * 8)),
	"geneve, ip": (1, in_udp(6081, lambda p: b"\0\0" + etype(p) + b"\0\0\x4d\0")),
	"gtp-u": (1, in_udp(2152, lambda p: b"\x30\xff" + struct.pack("!HI", len(p), 7))),
	"gtp-u, extension": (1, in_udp(2152, lambda p: b"\x34\xff" + struct.pack("!HI", len(p) + 8, 7) +
				       b"\0\0\0\x85" + b"\x01\x10\x09\0")),
	"mpls in udp": (1, lambda p: eth(ip4(A, B, 17, udp(5, 6635, mpls([9], p))))),
	"ip in ip": (1, lambda p: outer(4)(p)),
	"4in6": (1, lambda p: eth(ip6(A6, B6, 4, p))),
	"etherip": (1, etherip),
	"ah": (1, lambda p: eth(ah4(p))),
	"ip options": (1, lambda p: eth(ip4(p[12:16], p[16:20], 6, p[20:],
					    struct.unpack("!H", p[4:6])[0], opts=b"\x07\x07\4\0\0\0\0\0"))),
	"total length 0": (1, lambda p: eth(p[:2] + b"\0\0" + p[4:])),
	"padding and fcs": (1, lambda p: eth(p).ljust(60, b"\0") + b"\xde\xad\xbe\xef"),
	"bad checksums": (1, bad_checksum),
	"vxlan in gre in mpls in vlan": (1, lambda p: eth(mpls([3], ip4(A, B, 47, gre(0x6558) +
		eth(ip4(A, B, 17, udp(1, 4789, b"\x08\0\0\0\0\0\1\0" + eth(p, [(0x8100, 4)])))))),
		[(0x8100, 9)], b"\x88\x47")),
}
WRAPS6 = {
	"ethernet": (1, eth),
	"raw": (101, lambda p: p),
	"ipv6": (229, lambda p: p),
	"null": (0, lambda p: struct.pack("<I", 30) + p),
	"ppp": (9, lambda p: b"\xff\x03\0\x57" + p),
	"6in4": (1, lambda p: outer(41)(p)),
	"gre": (1, lambda p: outer(47)(gre(0x86dd) + p)),
	"mpls": (1, lambda p: eth(mpls([17], p), type_=b"\x88\x47")),
	"teredo": (1, in_udp(3544, lambda p: b"")),
	"teredo, origin and authentication": (1, in_udp(3544, lambda p: b"\0\1\0\0" + b"\0" * 9 +
							 b"\0\0" + b"\1" * 6)),
	"hop by hop": (1, lambda p: eth(ext6(p, (0, b"\1\4\0\0\0\0")))),
	"four extension headers": (1, lambda p: eth(ext6(p, (0, b"\1\4\0\0\0\0"), (60, b"\1\4\0\0\0\0"),
						       (43, b"\0" * 22), (60, b"\1\x0c" + b"\0" * 12)))),
	"atomic fragment": (1, lambda p: eth(ip6(p[8:24], p[24:40], 44, bytes([6, 0, 0, 0]) + b"\0\0\0\7" +
						 p[40:]))),
	"payload length 0": (1, lambda p: eth(p[:4] + b"\0\0" + p[6:])),
	"padding": (1, lambda p: eth(p) + b"\0" * 9),
}


def fragments(p, size, ident, order=1):
	"""An IPv4 or IPv6 packet in fragments of size payload bytes."""
	v6 = p[0] >> 4 == 6
	body = p[40:] if v6 else p[20:]
	out = []
	for at in range(0, len(body), size):
		more = at + size < len(body)
		part = body[at:at + size]
		if v6:
			out.append(ip6(p[8:24], p[24:40], 44, struct.pack("!BBHI", 6, 0, at | more, ident) + part))
		else:
			out.append(ip4(p[12:16], p[16:20], 6, part, ident, at // 8 | (0x2000 if more else 0)))
	return out[::order]


def fragmented(pkts, order=1, size=256, wrap=eth):
	return [(ns, wrap(f), None) for i, (ns, p) in enumerate(pkts) for f in fragments(p, size, i + 1, order)]


def formats(tap, tmp, pkts, want):
	frs = frames(pkts)
	for order, name in (("<", "little"), (">", "big")):
		for ns in (False, True):
			run = Run(pcap(frs, order=order, ns=ns), tmp)
			tap.eq(essences(run), want, f"pcap, {name} endian, {'ns' if ns else 'us'}", run)
		run = Run(pcap(frs, order=order, kuznetzov=True), tmp)
		tap.eq(essences(run), want, f"pcap, {name} endian, longer packet headers", run)
		for resol in (3, 6, 9):
			run = Run(pcapng(frs, order, resol=resol), tmp)
			tap.eq(essences(run), want, f"pcapng, {name} endian, 10^-{resol} s", run)
	exact = Run(pcap(frs, ns=True), tmp)
	for name, data in (("pcap", pcap(frs, ns=True)), ("pcapng", pcapng(frs))):
		run = Run(gz(data), tmp)
		tap.eq(run.txns, exact.txns, f"{name}.gz is what it is without gzip", run)
		cut = len(data) // 3
		run = Run(gz(data[:cut]) + gz(data[cut:]) + b"\0" * 50, tmp)
		tap.eq(run.txns, exact.txns, f"{name}.gz of several members, zeros behind", run)
	run = Run(pcap(frs, link=1 | 0x24000000), tmp)
	tap.eq(essences(run), want, "link type with frame check sequence bits", run)


def ng_oddities(tap, tmp, pkts, want):
	# Client's packets on one interface (Ethernet, 2^-20 s, an offset), server's on another (raw, ns).
	off = EPOCH // 10**9 - 100
	data = shb() + idb(link=1, resol=0x80 | 20, offset=off) + block("<", 0x0bad, b"unknown" * 9) + \
		idb(link=101, resol=9)
	for ns, p in pkts:
		if p[12:16] == addr("10.0.0.1"):
			data += epb("<", 0, ((ns - off * 10**9) << 20) // 10**9, eth(p))
		else:
			data += epb("<", 1, ns, p)
	stats = struct.pack("<III", 1, 0, 0) + option("<", 5, struct.pack("<Q", 42)) + option("<", 0, b"")
	data += block("<", 5, stats)
	run = Run(data, tmp)
	tap.eq(essences(run), want, "pcapng: two interfaces of different link type and clock", run)
	tap.eq(run.wire.get("dropped"), 42, "pcapng: interface statistics' drops are told")
	half = len(pkts) // 2
	run = Run(pcapng(frames(pkts[:half])) + pcapng(frames(pkts[half:]), ">"), tmp)
	tap.eq(essences(run), want, "pcapng: two sections of different byte order", run)
	data = shb() + idb()
	for i, (ns, p) in enumerate(pkts):
		d = eth(p)
		if i % 2:
			data += block("<", 3, struct.pack("<I", len(d)) + d)
		else:
			us = ns // 1000
			data += block("<", 2, struct.pack("<HHIIII", 0, 3, us >> 32, us & 0xffffffff, len(d),
							  len(d)) + d)
	run = Run(data, tmp)
	tap.eq(essences(run), want, "pcapng: simple and obsolete packet blocks", run)


def main():
	tap = Tap()
	with tempfile.TemporaryDirectory() as tmp:
		v4, v6 = talk(), talk(True)
		want, want6 = (essences(Run(pcap(frames(t)), tmp)) for t in (v4, v6))
		tap.eq((len(want), len(want6)), (3, 3), "two transactions, one connection")
		formats(tap, tmp, v4, want)
		ng_oddities(tap, tmp, v4, want)
		for pkts, wraps, base, name in ((v4, WRAPS, want, "v4"), (v6, WRAPS6, want6, "v6")):
			for kind, (link, wrap) in wraps.items():
				run = Run(pcap(frames(pkts, wrap), link), tmp)
				tap.eq(essences(run), base, f"{name} in {kind}", run)
		for pkts, base, name in ((v4, want, "v4"), (v6, want6, "v6")):
			for order in (1, -1):
				run = Run(pcap(fragmented(pkts, order)), tmp)
				tap.eq(essences(run), base, f"{name} in fragments, order {order}", run)
		big = [(ns, ip4(A, B, 17, udp(1, 4789, b"\x08\0\0\0\0\0\1\0" + eth(p)), i + 1))
		       for i, (ns, p) in enumerate(v4)]
		run = Run(pcap([(ns, eth(f), None) for i, (ns, p) in enumerate(big)
				for f in [q[:9] + b"\x11" + q[10:] for q in fragments(p, 64, i + 1)]]), tmp)
		tap.eq(essences(run), want, "a tunnel's packets in fragments", run)
		run = Run(pcap(frames(v4, lambda p: eth(b"\x45" * 60, type_=b"\x08\x06"))), tmp)
		tap.eq((run.code, run.wire.get("not_ip")), (0, len(v4)), "ARP is counted as not IP")
		run = Run(pcap(frames(v4), 147), tmp)
		tap.eq((run.code, run.wire.get("unknown_link")), (0, len(v4)), "unknown link type is counted")
	return tap.done()


if __name__ == "__main__":
	sys.exit(main())
