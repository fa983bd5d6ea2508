# SPDX-License-Identifier: GPL-3.0-or-later
"""peerlog.py: the agent's records beside what servers and clients themselves say they did.

An entry is what a program logs of one exchange: pid, tid, comm; sport, cport (the connection);
method, target, status; of sizes what it knows (req_body, req_wire, req_size, res_body, res_wire,
res_size); interim. outcome and flags stand in it where they are not "ok" and none.

A path says where both are: host and client (addresses), loopback, netns(role).
"""
import json

from records import get


def key(entry):
	return entry["sport"], entry["cport"]


def by_conn(entries, k=key):
	out = {}
	for e in entries:
		out.setdefault(k(e), []).append(e)
	return out


def rec_key(rec):
	return get(rec, "conn.server.port"), get(rec, "conn.client.port")


def sizes(entry, rec):
	"""Each size the entry knows against the record's; the record's name for it."""
	req, res = get(rec, "http.request", {}), get(rec, "http.response", {})
	def total(m):
		return m.get("head_bytes", -1) + m.get("body_wire_bytes", -1)
	pairs = [("req_body", "request.body_bytes", req.get("body_bytes")),
		 ("req_wire", "request.body_wire_bytes", req.get("body_wire_bytes")),
		 ("req_size", "request head + body on the wire", total(req)),
		 ("res_body", "response.body_bytes", res.get("body_bytes")),
		 ("res_wire", "response.body_wire_bytes", res.get("body_wire_bytes")),
		 ("res_size", "response head + body on the wire", total(res))]
	return [f"{name} is {have}, not {entry[field]}" for field, name, have in pairs
		if field in entry and entry[field] != have]


def cut_by_cap(entry, rec):
	"""An entry that says may_be_cut was handed over in one call that is longer than the capture
	cap. With chunk headers among what is missing the end cannot be known: the record has to
	say so, and may not tell a size."""
	if rec.get("outcome") != "gap" or not entry.get("may_be_cut"):
		return False
	return "gap" in rec.get("flags", []) and rec.get("lost_bytes", 0) > 0 and \
		"body_bytes" not in get(rec, "http.response", {})


def compare(entry, rec, role, path):
	"""What is wrong with a record that stands for entry; the empty list if nothing."""
	want = {"http.request.method": entry["method"], "http.request.target": entry["target"],
		"http.response.status_code": entry["status"], "outcome": entry.get("outcome", "ok"),
		"conn.role": role, "vantage": "syscall", "process.comm": entry["comm"],
		"conn.server.address": path.host, "conn.client.address": path.client,
		"conn.netns": path.netns(role), "http.response.interim": entry.get("interim") or None}
	for who in ("pid", "tid"):
		if entry.get(who):
			want["process." + who] = entry[who]
	whole = not cut_by_cap(entry, rec)
	if not whole:
		want["outcome"] = "gap"
	bad = [f"{k} is {get(rec, k)!r}, not {v!r}" for k, v in want.items() if get(rec, k) != v]
	if whole:
		bad += sizes(entry, rec)
	if path.loopback != ("loopback" in rec.get("flags", [])):
		bad.append(f"flags are {rec.get('flags')}")
	told = set(rec.get("flags", [])) - {"loopback", "gap", "sendfile", "skipped"}
	if told != set(entry.get("flags", [])):
		bad.append(f"flags are {rec.get('flags')}")
	if rec.get("anomalies"):
		bad.append(f"anomalies: {rec['anomalies']}")
	if rec.get("lost_bytes") and "gap" not in rec.get("flags", []):
		bad.append(f"lost_bytes {rec['lost_bytes']} without flag gap")
	return bad


def say(role, entry, bad):
	return (f"{role} {entry['method']} {entry['target']} "
		f"({entry['cport']}->{entry['sport']}): {'; '.join(bad)}")


def compare_conns(truth, recs, role, path):
	"""Both are lists of one combination and role. Order within a connection counts."""
	bad = []
	want, have = by_conn(truth), by_conn(recs, rec_key)
	for conn in sorted(set(want) | set(have)):
		t, r = want.get(conn, []), have.get(conn, [])
		r.sort(key=lambda rec: get(rec, "conn.txn", 0))
		if len(t) != len(r):
			bad.append(f"{role} connection {conn[1]}->{conn[0]}: {len(r)} records for "
				   f"{len(t)} transactions; records: " + ", ".join(
					f"{get(x, 'http.request.method')} {get(x, 'http.request.target')} "
					f"{x.get('outcome')}" for x in r[:8]))
			continue
		for n, (entry, rec) in enumerate(zip(t, r), 1):
			wrong = compare(entry, rec, role, path)
			if get(rec, "conn.txn") != n:
				wrong.append(f"conn.txn is {get(rec, 'conn.txn')}, not {n}")
			if wrong:
				bad.append(say(role, entry, wrong))
	return bad


def compare_ends(servers, clients):
	"""The two records of one exchange: same connection id, same places in the stream."""
	bad = []
	def index(recs):
		return {(rec_key(r), get(r, "http.request.tcp_seq")): r for r in recs}
	a, b = index(servers), index(clients)
	for k in a.keys() & b.keys():
		for field in ("conn.id", "http.request.tcp_end", "http.response.tcp_seq",
			      "http.response.tcp_end", "http.request.head_bytes",
			      "http.response.head_bytes", "http.response.body_wire_bytes"):
			known = get(a[k], field) is not None or a[k].get("outcome") == "ok"
			if known and get(a[k], field) != get(b[k], field):
				bad.append(f"{field} differs between the ends of {k}: server "
					   f"{get(a[k], field)}, client {get(b[k], field)}")
		if get(a[k], "conn.cookie") == get(b[k], "conn.cookie"):
			bad.append(f"both ends of {k} have one cookie")
	if a.keys() != b.keys():
		bad.append(f"{len(a.keys() - b.keys())} exchanges only at the server, "
			   f"{len(b.keys() - a.keys())} only at the client, by port and tcp_seq")
	return bad


def finished(rec):
	return rec.get("outcome") == "ok"


def compare_wrk(truth, recs_s, recs_c, count, path, pid):
	"""wrk ends in the middle: at most one exchange a connection, its last, may be unfinished.
	All others are as the server's log has them, on both sides."""
	bad = []
	want = by_conn(truth)
	for role, recs in (("server", recs_s), ("client", recs_c)):
		have = by_conn(recs, rec_key)
		for conn in sorted(set(want) | set(have)):
			t, r = want.get(conn, []), have.get(conn, [])
			r.sort(key=lambda rec: get(rec, "conn.txn", 0))
			whole = [x for x in r if finished(x)]
			if r[:len(whole)] != whole or len(r) - len(whole) > 1:
				bad.append(f"{role} {conn}: an unfinished one that is not the last: "
					   f"{[x.get('outcome') for x in r if not finished(x)][:5]}")
			spare = len(t) - len(r) if role == "server" else len(t) - len(whole)
			if spare != 0 and not (role == "client" and spare == 1):
				bad.append(f"{role} {conn}: {len(r)} records ({len(whole)} ok), the "
					   f"server's log has {len(t)}")
			for entry, rec in zip(t, whole):
				entry = dict(entry)
				if role == "client":
					entry.update(pid=pid, comm="wrk", tid=None)
					entry.pop("interim", None)
				if not entry.get("whole", True) or (entry is t[-1] and
								    "whole" not in entry):
					continue
				wrong = compare(entry, rec, role, path)
				if wrong:
					bad.append(say(role, entry, wrong))
	got = sum(map(finished, recs_c))
	if got != count:
		bad.append(f"wrk counts {count} responses, the client's records {got}")
	return bad


def conn_faults(recs, protocols=("http/1",)):
	"""One connection record for each connection that had a transaction, after its transactions,
	with their number; and the only gaps are those that must be."""
	bad = []
	count, seen = {}, {}
	for rec in recs:
		cookie = get(rec, "conn.cookie")
		if rec.get("kind") == "transaction":
			count[cookie] = count.get(cookie, 0) + 1
			if cookie in seen:
				bad.append(f"connection {cookie}: a transaction after its record")
		elif rec.get("kind") == "connection" and rec.get("end") != "running":
			if cookie in seen:
				bad.append(f"connection {cookie}: two records")
			seen[cookie] = rec
	for cookie, n in count.items():
		rec = seen.get(cookie)
		if rec and (rec.get("transactions") != n or rec.get("protocol") not in protocols):
			bad.append(f"connection {cookie}: {rec.get('transactions')} transactions of "
				   f"{rec.get('protocol')}, {n} records")
	allowed = {"sendfile", "capture_cap", "unread", "bypass", "skipped"}
	for cookie, rec in seen.items():
		causes = {g["cause"] for d in ("tx", "rx") for g in get(rec, f"{d}.gaps", [])}
		if causes - allowed:
			bad.append(f"connection {cookie}: gaps of {sorted(causes - allowed)}: "
				   f"{json.dumps(rec)[:500]}")
		# bypass is for bytes that no hook saw. Nothing in here moves such bytes.
		if "bypass" in causes:
			bad.append(f"connection {cookie} ({get(rec, 'process.comm')}): bypass: "
				   f"{json.dumps(rec)[:500]}")
	return bad
