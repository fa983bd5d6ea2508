#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""bpfleft.py: which BPF programs, maps, links and pins exist, and which of them somebody left.

    bpfleft.py save FILE        writes what exists now
    bpfleft.py held PID         how many objects the process holds
    bpfleft.py left FILE SECS   waits until nothing is there that was not there before; lists what
                                stays and exits 1

Objects that a living process holds are that process's: other tracers, and other tests at the same
time, are not mistaken for leftovers. Ids are never used again while the machine is up.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import time

BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
BPFFS = "/sys/fs/bpf"
FDINFO = re.compile(r"^(prog|map|link)_id:\s*(\d+)", re.M)


def holders():
	"""{"prog 7": {pid, ...}} by what /proc says of open files: not every bpftool can tell."""
	out = {}
	for pid in filter(str.isdigit, os.listdir("/proc")):
		try:
			for fd in os.listdir(f"/proc/{pid}/fd"):
				if "bpf" not in os.readlink(f"/proc/{pid}/fd/{fd}"):
					continue
				with open(f"/proc/{pid}/fdinfo/{fd}") as f:
					for kind, num in FDINFO.findall(f.read()):
						out.setdefault(f"{kind} {num}", set()).add(int(pid))
		except OSError:
			pass		# it has ended meanwhile, or closed the file
	return out


def objects():
	out = {}
	for what in ("prog", "map", "link"):
		done = subprocess.run([BPFTOOL, "-j", what, "show"], capture_output=True, text=True,
				      timeout=20, check=False)
		listed = json.loads(done.stdout or "[]")
		# An object can vanish between listing and looking: the rest of the list stands.
		for o in listed if isinstance(listed, list) else []:
			if "id" in o:
				out[f"{what} {o['id']}"] = o.get("name") or o.get("type", "")
	for folder, _, names in os.walk(BPFFS):
		for name in names:
			out["pin " + os.path.join(folder, name)] = name
	return out


def left(before):
	new = {k: name for k, name in objects().items() if k not in before}
	# Looked at after the objects: what has been made since then is not in the list.
	held = holders() if new else {}
	return {k: name for k, name in new.items() if k not in held}


def main(argv):
	if len(argv) == 3 and argv[1] == "save":
		with open(argv[2], "w") as f:
			json.dump(objects(), f)
	elif len(argv) == 3 and argv[1] == "held":
		print(sum(int(argv[2]) in pids for pids in holders().values()))
	elif len(argv) == 4 and argv[1] == "left":
		with open(argv[2]) as f:
			before = json.load(f)
		end = time.monotonic() + float(argv[3])
		while True:
			new = left(before)
			if not new or time.monotonic() > end:
				break
			time.sleep(0.2)
		for k, name in sorted(new.items()):
			print(k, name)
		sys.exit(1 if new else 0)
	else:
		sys.exit(__doc__)


main(sys.argv)
