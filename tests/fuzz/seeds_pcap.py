#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""seeds_pcap.py FOLDER: captures for fuzz_pcap to begin with: formats, links, tunnels, fragments."""
import os
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../wire"))
from packets import Talk, frames, gz, pcap, pcapng

WRAPS = os.path.join(HERE, "../wire/20-wraps.py")


def main():
	out = sys.argv[1]
	os.makedirs(out, exist_ok=True)
	names = runpy.run_path(WRAPS)		# its tables; it runs as a program only
	talk = Talk().open().get("/a", "xyz").send("c", b"POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
						   b"3\r\nabc\r\n0\r\n\r\n")
	talk.send("s", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 200 OK\r\n\r\nto the end").close()
	v6 = Talk("fd00::1", "fd00::2").open().get("/a", "xyz").close()
	files = {"pcap": pcap(frames(talk.out)), "pcapng": pcapng(frames(talk.out)),
		 "gz": gz(pcap(frames(talk.out))), "frag": pcap(names["fragmented"](talk.out, size=64)),
		 "v6": pcap(frames(v6.out)), "frag6": pcap(names["fragmented"](v6.out, -1, 64))}
	for order in "<>":
		files[f"us{order}"] = pcap(frames(talk.out), order=order)
		files[f"ns{order}"] = pcap(frames(talk.out), order=order, ns=True)
		files[f"ng{order}"] = pcapng(frames(talk.out), order=order, resol=6)
	for letter, table, out4or6 in ("w", "WRAPS", talk.out), ("6", "WRAPS6", v6.out):
		for kind, (link, wrap) in names[table].items():
			name = f"{letter}-" + kind.replace(" ", "_").replace("/", "-")
			files[name] = pcap(frames(out4or6, wrap), link)
	for name, data in files.items():
		with open(os.path.join(out, name), "wb") as f:
			f.write(data)


main()
