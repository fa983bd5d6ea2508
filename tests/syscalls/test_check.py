#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests check.py without an agent: the records of a perfect agent pass, and each of a list of lies
is found. test_check.py [PROGRAM-FOLDER]
"""
import copy
import os
import pathlib
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import check		# noqa: E402

CASES = ("read_write", "fork_accept", "msg_trunc", "rst_unread", "self_talk", "refused",
         "exec_after", "threads_tx", "splice", "late_keepalive")
PORT = 19000


def conn_of(side, cookie, number):
    conn = {"id": "1:%d-%d" % (min(side.lport, side.rport), max(side.lport, side.rport)),
            "cookie": cookie, "role": side.role,
            side.role: {"address": side.laddr, "port": side.lport},
            check.OTHER[side.role]: {"address": side.raddr, "port": side.rport}}
    if side.midstream:
        conn["role_from"] = "request"
    else:
        conn["role_from"] = "connect" if side.role == "client" else "accept"
        if number:
            conn["txn"] = number
    return conn


def half_of(text, request):
    if text is None:
        return None
    out = {"head_bytes": text["head"], "body_bytes": text["body"], "tcp_seq": 5, "tcp_end": 6}
    if text["digest"]:
        out["digest"] = text["digest"]
    if request:
        out.update(method=text["method"], target=text["target"])
    else:
        out["status_code"] = text["status"]
    return out


def perfect(told, mode):
    """What an agent without fault would have recorded."""
    recs = []
    for cookie, side in enumerate(told.sides, 1):
        pid, comm = min(side.owners)
        for i, t in enumerate(side.txns, 1):
            http = {h: half_of(t[h], h == "request") for h in ("request", "response") if t[h]}
            recs.append({"kind": "transaction", "vantage": "syscall", "conn":
                         conn_of(side, cookie, i), "outcome": t["outcome"].split("|")[0],
                         "flags": ["midstream"] if side.midstream else [], "http": http,
                         "process": {"pid": t["pid"], "comm": t["comm"], "tid": min(side.tids)}})
        rec = {"kind": "connection", "conn": conn_of(side, cookie, 0), "end": side.end or "fin",
               "process": {"pid": pid, "comm": comm}, "transactions": len(side.txns)}
        for d in ("tx", "rx"):
            gaps = [{"at": 0, "bytes": n, "cause": c.split("|")[0]}
                    for c, n in side.gaps[mode][d].items()]
            total = sum(g["bytes"] for g in gaps)
            rec[d] = {"bytes": side.moved[d], "seen_bytes": side.moved[d] - total,
                      "gap_bytes": total, "gaps": gaps}
        recs.append(rec)
    for seq, rec in enumerate(recs, 1):
        rec["seq"] = seq
    return recs


def first(recs, kind):
    return next(r for r in recs if r["kind"] == kind)


def lies(recs):
    """(name, aspect, records with one thing wrong)."""
    def lie(name, aspect, kind, change):
        mine = copy.deepcopy(recs)
        change(first(mine, kind), mine)
        return name, aspect, mine

    c, t = "connections", "transactions"
    yield lie("no connection record", c, "connection", lambda r, all: all.remove(r))
    yield lie("two connection records", c, "connection", lambda r, all: all.append(dict(r)))
    yield lie("wrong owner", c, "connection", lambda r, all: r["process"].update(pid=1))
    yield lie("wrong name", c, "connection", lambda r, all: r["process"].update(comm="x"))
    yield lie("wrong role", c, "connection", lambda r, all: r["conn"].update(
        role=check.OTHER[r["conn"]["role"]]))
    yield lie("a byte too many", "bytes", "connection", lambda r, all: r["tx"].update(
        bytes=r["tx"]["bytes"] + 1, seen_bytes=r["tx"]["seen_bytes"] + 1))
    yield lie("sum open", "bytes", "connection", lambda r, all: r["rx"].update(
        seen_bytes=r["rx"]["seen_bytes"] - 1))
    yield lie("a gap that was not", "bytes", "connection", lambda r, all: r["rx"].update(
        seen_bytes=r["rx"]["seen_bytes"] - 1, gap_bytes=r["rx"]["gap_bytes"] + 1,
        gaps=r["rx"]["gaps"] + [{"bytes": 1, "cause": "ring_full"}]))
    if not any(r["kind"] == "transaction" for r in recs):
        return
    yield lie("transaction twice", t, "transaction", lambda r, all: all.append(dict(r)))
    yield lie("wrong process", t, "transaction", lambda r, all: r["process"].update(pid=1))
    yield lie("wrong thread", t, "transaction", lambda r, all: r["process"].update(tid=1))
    if "request" in first(recs, "transaction")["http"]:
        yield lie("wrong target", t, "transaction", lambda r, all: r["http"]["request"].update(
            target="/x"))
    yield lie("wrong body size", t, "transaction", lambda r, all: r["http"]["response"].update(
        body_bytes=1 << 40))
    if len([r for r in recs if r["kind"] == "transaction"]) < 100:
        yield lie("transaction missing", t, "transaction", lambda r, all: all.remove(r))
        yield lie("wrong outcome", t, "transaction", lambda r, all: r.update(outcome="timeout"))


def main():
    n = bad = 0
    top = pathlib.Path(__file__).resolve().parents[2]
    programs = top / os.environ.get("OSP_O", "build") / "tests/syscalls"
    if len(sys.argv) > 1:
        programs = pathlib.Path(sys.argv[1])
    if not (programs / CASES[0]).exists():
        print("1..0 # SKIP no %s: make tests" % programs)
        return 0

    def ok(good, name):
        nonlocal n, bad
        n += 1
        bad += not good
        print("%sok %d - %s" % ("" if good else "not ", n, name))

    for i, name in enumerate(CASES):
        with tempfile.TemporaryFile() as out:
            subprocess.run([str(programs / name), str(PORT + 2 * i)], check=True,
                           stdout=out.fileno(), input=b"x", timeout=60)
            out.seek(0)
            told = check.Told(out.read().decode().splitlines())
        for mode in ("sock", "syscall"):
            recs = perfect(told, mode)
            ok(not any(check.check(told, mode, recs).values()), "%s %s: truth" % (name, mode))
        for lie, aspect, wrong in lies(recs):
            ok(check.check(told, mode, wrong)[aspect], "%s: %s" % (name, lie))
    ledger = {"kind": "ledger", "when": "exit", "closed": True, "events": {"seen": 5}}
    ok(not any(check.check_ledger([ledger]).values()), "ledger: truth")
    for lie in ({"closed": False}, {"when": "interval"}, {"events": {"seen": 0}},
                {"events": {"seen": 5, "lost": {"ring_full": 1}}},
                {"connections": {"bytes_mismatch": 1}}):
        ok(any(check.check_ledger([dict(ledger, **lie)]).values()), "ledger: %s" % lie)
    print("1..%d" % n)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
