# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares what a workload says it did with what the agent recorded.

A workload's lines are described in common.h. Nothing here knows a workload: each says itself what
is expected of either mode. Every function returns a list of problems, empty if there is none.
"""
import collections
import json

OTHER = {"client": "server", "server": "client"}


class Side:
    """One end of one connection as the workload told it, and its transactions in order."""

    def __init__(self, text):
        self.role = text["role"]
        self.lport, self.rport = text["lport"], text["rport"]
        self.laddr, self.raddr = text["laddr"], text["raddr"]
        self.moved = {"tx": 0, "rx": 0}
        self.gaps = {m: {"tx": collections.Counter(), "rx": collections.Counter()}
                     for m in ("sock", "syscall")}
        self.owners, self.tids, self.txns = set(), set(), []
        self.idle, self.midstream, self.subset = text["idle"], text["midstream"], text["subset"]
        self.allow, self.end = text["allow"], text["end"]
        self.add(text)

    def add(self, text):
        self.owners.add((text["pid"], text["comm"]))
        self.tids.update(text["tids"])
        for d in self.moved:
            self.moved[d] += text[d]
            for mode, by_dir in text["gaps"].items():
                self.gaps[mode][d].update(by_dir[d])

    @property
    def key(self):
        return (self.role, self.lport, self.rport)

    def __str__(self):
        return "%s %d>%d" % self.key


class Told:
    """All that a workload printed."""

    def __init__(self, lines):
        self.skip, self.none, self.sides = None, set(), []
        pending, parts = collections.defaultdict(list), {}
        for line in lines:
            text = json.loads(line)
            if "skip" in text:
                self.skip = text["skip"]
            elif "none" in text:
                self.none.add(text["none"])
            elif "txn" in text:
                t = text["txn"]
                pending[t["role"], t["lport"], t["rport"]].append(t)
            elif "side" in text:
                self._side(text["side"], pending, parts)
        for key, side in parts.items():
            side.txns = pending.pop(key, [])
        if any(pending.values()):
            raise ValueError("transactions of no side: %s" % [k for k, v in pending.items() if v])

    def _side(self, text, pending, parts):
        key = (text["role"], text["lport"], text["rport"])
        if text["part"] and key in parts:
            parts[key].add(text)
            return
        side = Side(text)
        self.sides.append(side)
        if text["part"]:
            parts[key] = side
        else:
            side.txns = pending.pop(key, [])


def rec_key(rec):
    """(role, local port, remote port) of a record; role None if it has none."""
    conn = rec.get("conn", {})
    ends = {r: conn.get(r, {}).get("port") for r in OTHER}
    role = conn.get("role")
    if role not in OTHER:
        return (None, ends["client"], ends["server"])
    return (role, ends[role], ends[OTHER[role]])


def rec_ports(rec):
    return set(rec_key(rec)[1:])


def sum_gaps(stream):
    total = collections.Counter()
    for gap in stream.get("gaps", []):
        total[gap["cause"]] += gap["bytes"]
    return total


def check_gaps(want, got, allow):
    """want: {"a" or "a|b": bytes}; got: {cause: bytes}."""
    bad, left = [], collections.Counter(got)
    for causes, n in want.items():
        have = sum(left.pop(c, 0) for c in causes.split("|"))
        if have != n:
            bad.append("gap %s is %d, moved so were %d" % (causes, have, n))
    for cause, n in left.items():
        if n and cause != allow:
            bad.append("gap %s of %d: none was made" % (cause, n))
    return bad


def check_stream(side, mode, d, stream):
    bad, got = [], sum_gaps(stream)
    if stream.get("bytes") != side.moved[d]:
        bad.append("bytes is %s, moved were %d" % (stream.get("bytes"), side.moved[d]))
    if stream.get("bytes", 0) != stream.get("seen_bytes", 0) + sum(got.values()):
        bad.append("bytes %s != seen %s + gaps %d" % (stream.get("bytes"), stream.get("seen_bytes"),
                                                      sum(got.values())))
    if stream.get("gap_bytes", 0) != sum(got.values()):
        bad.append("gap_bytes %s, gaps %d" % (stream.get("gap_bytes"), sum(got.values())))
    bad += check_gaps(side.gaps[mode][d], got, side.allow)
    return ["%s %s: %s" % (side, d, b) for b in bad]


def check_bytes(side, mode, rec):
    return [b for d in ("tx", "rx") for b in check_stream(side, mode, d, rec.get(d, {}))]


def check_connection(side, rec):
    bad, proc, conn = [], rec.get("process", {}), rec["conn"]
    owner = (proc.get("pid"), proc.get("comm"))
    if owner not in side.owners and not (side.idle and owner == (None, None)):
        bad.append("process %s, owned by %s" % (owner, sorted(side.owners)))
    for role, addr in ((side.role, side.laddr), (OTHER[side.role], side.raddr)):
        if conn[role].get("address") != addr:
            bad.append("%s address %s, is %s" % (role, conn[role].get("address"), addr))
    if side.end and rec.get("end") != side.end:
        bad.append("end %s, was %s" % (rec.get("end"), side.end))
    came = conn.get("role_from")
    if side.midstream:
        if came not in ("listen", "request", "response"):
            bad.append("role_from %s of a connection that was open before" % came)
    elif came != {"client": "connect", "server": "accept"}[side.role]:
        bad.append("role_from %s" % came)
    if not side.subset and rec.get("transactions", 0) != len(side.txns):
        bad.append("transactions %s, were %d" % (rec.get("transactions"), len(side.txns)))
    return ["%s: %s" % (side, b) for b in bad]


def same(bad, what, got, want):
    if got != want:
        bad.append("%s is %r, was %r" % (what, got, want))


def check_half(side, mode, want, got, half, complete):
    """One message; half "request" or "response"."""
    bad = []
    if want is None or got is None:
        same(bad, half, "there" if got else "absent", "there" if want else "absent")
        return bad
    if half == "request":
        same(bad, "method", got.get("method"), want["method"])
        same(bad, "target", got.get("target"), want["target"])
    else:
        same(bad, "status", got.get("status_code"), want["status"])
    if want["head"]:
        same(bad, half + " head_bytes", got.get("head_bytes"), want["head"])
    if complete or "body_bytes" in got:
        same(bad, half + " body_bytes", got.get("body_bytes"), want["body"])
    d = "tx" if (half == "request") == (side.role == "client") else "rx"
    whole = not side.gaps[mode][d] and not side.allow
    if want["digest"] and (whole or "digest" in got):
        same(bad, half + " digest", got.get("digest"), want["digest"])
    return bad


def check_txn(side, mode, want, rec, number):
    bad, http, proc = [], rec.get("http", {}), rec.get("process", {})
    done = rec.get("outcome") in ("ok", "no_response")
    if rec.get("outcome") not in want["outcome"].split("|"):
        bad.append("outcome %s, was %s" % (rec.get("outcome"), want["outcome"]))
    for half in ("request", "response"):
        bad += check_half(side, mode, want[half], http.get(half), half, done)
    same(bad, "process", (proc.get("pid"), proc.get("comm")), (want["pid"], want["comm"]))
    if proc.get("tid") not in side.tids:
        bad.append("tid %s, were %s" % (proc.get("tid"), sorted(side.tids)))
    same(bad, "vantage", rec.get("vantage"), "syscall")
    same(bad, "flag midstream", "midstream" in rec.get("flags", []), side.midstream)
    if number:
        same(bad, "conn.txn", rec["conn"].get("txn"), None if side.midstream else number)
    for name in ("ttfb_ns", "duration_ns"):
        if rec.get("timing", {}).get(name, 0) < 0:
            bad.append("%s %s" % (name, rec["timing"][name]))
    return bad


def target_of(text):
    return (text.get("request") or {}).get("target")


def check_subset(side, mode, recs, conn):
    """Threads raced: what is missing is declared by a gap, what is there must be right."""
    bad, left = [], {target_of(t): t for t in side.txns}
    for rec in recs:
        target = target_of(rec.get("http", {}))
        want = left.pop(target, None)
        if rec.get("outcome") == "ok" and want is None:
            bad.append("%s: %s was never made, or twice recorded" % (side, target))
        elif rec.get("outcome") == "ok":
            bad += ["%s %s: %s" % (side, target, b) for b in check_txn(side, mode, want, rec, 0)]
    if left and not sum_gaps((conn or {}).get("tx", {})) + sum_gaps((conn or {}).get("rx", {})):
        bad.append("%s: %d transactions missing and no gap" % (side, len(left)))
    return bad


def check_txns(side, mode, recs, conn):
    bad = []
    if side.subset:
        return check_subset(side, mode, recs, conn)
    if len(recs) != len(side.txns):
        bad.append("%s: %d transactions recorded, %d made" % (side, len(recs), len(side.txns)))
    for i, (want, rec) in enumerate(zip(side.txns, recs), 1):
        bad += ["%s #%d %s: %s" % (side, i, target_of(want), b)
                for b in check_txn(side, mode, want, rec, i)]
    return bad


def check_both_ends(told, txns):
    """The same transaction at either end: equal connection id, equal sequence numbers."""
    bad, at = [], {}
    for side in told.sides:
        for rec in txns.get(side.key, []):
            http = rec.get("http", {})
            if side.subset or not target_of(http):
                continue
            here = [rec["conn"].get("id")]
            for half in ("request", "response"):
                msg = http.get(half) or {}
                here += [msg.get("tcp_seq"), msg.get("tcp_end")]
            name = (frozenset(side.key[1:]), target_of(http))
            there = at.setdefault(name, here)
            if any(a != b and a is not None and b is not None for a, b in zip(here, there)):
                bad.append("%s %s: id, sequence numbers %s, at the other end %s" %
                           (side, target_of(http), here, there))
    return bad


def by_order(recs):
    return sorted(recs, key=lambda r: r.get("seq", 0))


def check(told, mode, recs):
    """{aspect: problems} of one workload. recs: those whose ports are the workload's."""
    bad = {"connections": [], "bytes": [], "transactions": []}
    conns, txns = collections.defaultdict(list), collections.defaultdict(list)
    for rec in by_order(recs):
        if rec_ports(rec) & told.none:
            bad["connections"].append("record of a port that was never open: %s" % (rec_key(rec),))
        elif rec["kind"] == "connection":
            conns[rec_key(rec)].append(rec)
        elif rec["kind"] == "transaction":
            txns[rec_key(rec)].append(rec)
    for side in told.sides:
        mine = conns.get(side.key)
        if not mine:
            bad["connections"].append("%s: no connection record" % side)
            bad["transactions"] += check_txns(side, mode, txns.pop(side.key, []), None)
            continue
        rec = mine.pop(0)
        cookie = rec["conn"].get("cookie")
        all_txns = txns.get(side.key, [])
        own = [t for t in all_txns if t["conn"].get("cookie") == cookie]
        txns[side.key] = [t for t in all_txns if t["conn"].get("cookie") != cookie]
        bad["connections"] += check_connection(side, rec)
        bad["bytes"] += check_bytes(side, mode, rec)
        own.sort(key=lambda t: t["conn"].get("txn", 0))
        bad["transactions"] += check_txns(side, mode, own, rec)
    for key, left in conns.items():
        bad["connections"] += ["record of nobody's connection: %s" % (key,)] * len(left)
    for key, left in txns.items():
        bad["transactions"] += ["%s: %s of nobody" % (key, target_of(t.get("http", {})))
                                for t in left]
    every = collections.defaultdict(list)
    for rec in recs:
        if rec["kind"] == "transaction":
            every[rec_key(rec)].append(rec)
    bad["transactions"] += check_both_ends(told, every)
    return bad


def check_ledger(recs):
    """{aspect: problems} of a run's last ledger record."""
    last = [r for r in recs if r["kind"] == "ledger"]
    if not last or last[-1].get("when") != "exit":
        return {"ledger": ["no exit ledger"]}
    ledger = last[-1]
    bad = {"ledger": [], "losses": []}
    events, conns = ledger.get("events", {}), ledger.get("connections", {})
    if ledger.get("closed") is not True:
        bad["ledger"].append("closed is %s" % ledger.get("closed"))
    if not events.get("seen"):
        bad["ledger"].append("no event was seen")
    for kind, n in ledger.get("records", {}).get("made", {}).items():
        have = sum(r["kind"] == kind for r in recs)
        # The exit ledger may or may not count itself.
        if n != have and not (kind == "ledger" and n == have - 1):
            bad["ledger"].append("%d %s records made, %d written" % (n, kind, have))
    # A label at zero is left out.
    for cause, n in events.get("lost", {}).items():
        bad["losses"].append("%d events lost: %s" % (n, cause))
    for what, n in (("gap bytes without a cause", ledger.get("bytes", {}).get("gap", {})
                     .get("unnamed", 0)),
                    ("connections whose sums do not close", conns.get("bytes_mismatch", 0)),
                    ("connections forgotten", sum(conns.get("evicted", {}).values())),
                    ("events not understood", ledger.get("tracker", {}).get("bad_events", 0))):
        if n:
            bad["losses"].append("%d %s" % (n, what))
    return bad
