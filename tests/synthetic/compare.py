#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""compare.py TRUTH RECORDS.jsonl: whether the agent told of a synthetic run what there was to tell.

TRUTH is what the generator wrote (truth=FILE), RECORDS what the jsonl sink wrote. Each record is
looked up in the truth by connection and TCP sequence number, so nothing depends on order.

What no loss has touched must be exactly right, once, and nothing else may be there. One exception,
because who cannot know may not guess: a request and its response may come as a record each right
behind a loss on a connection that has not shown yet that it sends one request at a time, and
anywhere in a run with losses whose requests are pipelined or answered in several steps (a loss
then puts in doubt what is under way around it too).

What a loss has touched may lack things, but what a record says must be true: method, target and status belong
together, sizes are right or the record says that bytes are missing. And what has no record at all
must have been declared: transactions made = transactions recorded + exchanges the ledger calls lost
(where nothing is pipelined; a pipelined burst does not tell how many requests a gap has swallowed).

Both files are in nearly the same order, so they are read side by side; what is kept is what waits
for its other half. Exit: 0 equal, 1 not, 2 usage.
"""
import collections
import json
import sys

# Truth lines read ahead to find a record's: more than any pipeline or concurrency puts between.
AHEAD = 50000
SHOWN = 20
# So many transactions in a row without a loss show how a connection behaves.
SHOWN_BY = 3
M32 = 2**32


class Problems:
    def __init__(self):
        self.count = 0

    def add(self, text):
        self.count += 1
        if self.count <= SHOWN:
            print("problem: " + text[:1000])


class Truth:
    """The truth's lines by (cookie, sequence number): of the request, and apart of the response."""

    def __init__(self, path):
        self.lines = open(path, "rb")
        self.req, self.res = {}, {}
        self.conn = {}
        self.totals = self.last()
        # One request, one response, in turns: every change of direction tells which belong together.
        self.plain = self.totals and self.totals["turns"] == 2 * self.totals["transactions"]
        self.vague = not self.plain and self.totals and self.totals["lost_bytes"] > 0

    def last(self):
        """The totals, if the truth is whole."""
        self.lines.seek(0, 2)
        self.lines.seek(max(0, self.lines.tell() - 4096))
        lines = self.lines.read().splitlines()
        self.lines.seek(0)
        return json.loads(lines[-1]).get("totals") if lines else None

    def read(self):
        """One more line; False at the end."""
        line = self.lines.readline()
        if not line:
            return False
        t = json.loads(line)
        if "totals" in t:
            return True
        t["touched"] = t["req_lost"] + t["res_lost"] + t["interim_lost"] > 0
        t["met"] = 0
        c = self.conn.setdefault(t["cookie"], {"whole": 0, "known": False, "lossy": False})
        t["behind"] = c["lossy"] or self.vague
        t["may_tear"] = self.vague or (c["lossy"] and c["whole"] == 0 and not c["known"])
        c["whole"] = 0 if t["touched"] else c["whole"] + 1
        c["known"] = c["known"] or c["whole"] >= SHOWN_BY
        c["lossy"] = c["lossy"] or t["touched"]
        self.req[t["cookie"], t["req_seq"]] = t
        self.res[t["cookie"], t["res_seq"]] = t
        return True

    def find(self, table, key):
        got = table.get(key)
        left = AHEAD
        while got is None and left and self.read():
            left -= 1
            got = table.get(key)
        return got

    def forget(self, t):
        del self.req[t["cookie"], t["req_seq"]]
        del self.res[t["cookie"], t["res_seq"]]

    def finish(self):
        while self.read():
            pass


def message_faults(t, m, half, complete):
    """What a message of a record says against the truth. complete: nothing of it may be missing."""
    want = (("head_bytes", t[half + "_head"]), ("body_wire_bytes", t[half + "_wire"]),
            ("body_bytes", t[half + "_body"]), ("tcp_seq", t[half + "_seq"]))
    for key, value in want:
        if key in m:
            if m[key] != value:
                yield f"{key} {m[key]}, truth {value}"
        elif complete:
            yield f"no {key}"
    if complete:
        end = (t[half + "_seq"] + t[half + "_head"] + t[half + "_wire"]) % M32
        # Between a request's head and its body there is nothing, whatever was waited for.
        if m.get("tcp_end") != end:
            yield f"tcp_end {m.get('tcp_end')}, truth {end}"
        if m.get("digest") != t[half + "_digest"]:
            yield f"digest {m.get('digest')}, truth {t[half + '_digest']}"


def request_faults(t, m, complete):
    for key in ("method", "target"):
        if key in m:
            if m[key] != t[key]:
                yield f"{key} {m[key]!r}, truth {t[key]!r}"
        elif complete:
            yield f"no {key}"
    yield from message_faults(t, m, "req", complete)


def response_faults(t, m, complete):
    if m.get("status_code", None if complete else t["status"]) != t["status"]:
        yield f"status {m.get('status_code')}, truth {t['status']}"
    # An interim response names no request: behind a loss it may be nobody's.
    if complete and m.get("interim", []) != t["interim"] and not t["may_tear"]:
        yield f"interim {m.get('interim')}, truth {t['interim']}"
    if any(i not in t["interim"] for i in m.get("interim", [])):
        yield f"interim {m['interim']}, truth {t['interim']}"
    for name, value in m.get("header", ()):
        if name == "X-Txn" and value != t["target"].partition("?")[0]:
            yield f"X-Txn {value}, target {t['target']}"
    yield from message_faults(t, m, "res", complete)


def common_faults(t, rec):
    conn = rec["conn"]
    if conn.get("txn", t["txn"]) != t["txn"]:
        yield f"txn {conn['txn']}, truth {t['txn']}"
    if conn.get("role") != t["role"]:
        yield f"role {conn.get('role')}, truth {t['role']}"
    if rec.get("vantage") != "synthetic":
        yield f"vantage {rec.get('vantage')}"


def torn_faults(t, rec):
    """Half of a transaction that nothing has touched, where the halves may come apart."""
    half = "request" if "request" in rec["http"] else "response"
    faults = request_faults if half == "request" else response_faults
    if rec["outcome"] != ("gap" if half == "request" else "no_request"):
        yield f"a {half} alone with outcome {rec['outcome']}"
    yield from common_faults(t, rec)
    yield from faults(t, rec["http"][half], True)


def whole_faults(t, rec):
    """A transaction that no loss has touched."""
    http = rec["http"]
    if t["may_tear"] and len(http.keys() & {"request", "response"}) == 1:
        yield from torn_faults(t, rec)
        return
    if rec["outcome"] != "ok":
        yield f"outcome {rec['outcome']}"
    if rec["flags"] not in ([], ["loopback"]) or rec["anomalies"]:
        yield f"flags {rec['flags']}, anomalies {rec['anomalies']}"
    if rec.get("lost_bytes"):
        yield f"lost_bytes {rec['lost_bytes']}"
    # Behind a loss the count is not known for sure, and what is not known is not said.
    if "txn" not in rec["conn"] and not t["behind"]:
        yield "no txn"
    yield from common_faults(t, rec)
    yield from request_faults(t, http.get("request", {}), True)
    yield from response_faults(t, http.get("response", {}), True)


def touched_faults(t, rec):
    """A transaction of which something was lost: what the record says must be true all the same."""
    req, res = rec["http"].get("request"), rec["http"].get("response")
    excused = bool({"gap", "truncated"} & set(rec["flags"]))
    yield from common_faults(t, rec)
    for half, m, faults in (("request", req, request_faults), ("response", res, response_faults)):
        if m is None:
            continue
        for f in faults(t, m, False):
            size = f.startswith(("head_bytes", "body_"))
            if not (size and excused):
                yield f"{half}: {f}"
        if "tcp_seq" not in m:
            yield f"{half}: no tcp_seq"
    told = excused or rec["outcome"] == "gap"
    if req and t["req_lost"] and not told:
        yield f"request lost {t['req_lost']} bytes, outcome {rec['outcome']} and no flag says so"
    if res and t["res_lost"] and not told:
        yield f"response lost {t['res_lost']} bytes, outcome {rec['outcome']} and no flag says so"
    if rec["outcome"] == "ok" and not (req and res):
        yield "outcome ok with a half missing"


def locate(truth, rec, prob):
    """The truth that a record is of: by both its halves, which must agree."""
    cookie = rec["conn"].get("cookie")
    http = rec.get("http", {})
    found = []
    for half, table in (("request", truth.req), ("response", truth.res)):
        m = http.get(half)
        if m is None:
            continue
        t = truth.find(table, (cookie, m.get("tcp_seq")))
        if t is None:
            prob.add(f"seq {rec['seq']}: connection {cookie} has no {half} at {m.get('tcp_seq')} "
                     f"(or it has more than one record): {json.dumps(rec)[:600]}")
            return None
        found.append(t)
    if not found:
        prob.add(f"seq {rec['seq']}: neither request nor response")
        return None
    if len(found) == 2 and found[0] is not found[1]:
        prob.add(f"seq {rec['seq']}: request of {found[0]['target']} with the response to "
                 f"{found[1]['target']}")
        return None
    return found[0]


class Run:
    """What is summed up over all records."""

    def __init__(self):
        self.records = self.distinct = self.touched = self.torn = 0
        self.conns = 0
        self.bytes = {"tx": 0, "rx": 0}
        self.gaps = collections.Counter()
        self.exit = None
        self.last = None


def take_transaction(truth, run, rec, prob):
    run.records += 1
    t = locate(truth, rec, prob)
    if t is None:
        return
    if t["met"] == 0:
        run.distinct += 1
        run.touched += t["touched"]
    # A transaction torn by a loss may come as a request alone and a response alone.
    halves = (1 if "request" in rec["http"] else 0) | (2 if "response" in rec["http"] else 0)
    if t["met"] & halves:
        prob.add(f"seq {rec['seq']}: a second record of {t['target']}")
    t["met"] |= halves
    faults = touched_faults(t, rec) if t["touched"] else whole_faults(t, rec)
    faults = "; ".join(faults)
    if faults:
        prob.add(f"seq {rec['seq']}, connection {t['cookie']} {t['target']} (lost {t['req_lost']} "
                 f"+ {t['res_lost']} bytes): {faults}")
    if not t["touched"] and t["met"] == 3:
        run.torn += halves != 3
        truth.forget(t)


def take_connection(run, rec, prob):
    run.conns += 1
    for name in ("tx", "rx"):
        d = rec[name]
        gaps = sum(g["bytes"] for g in d["gaps"])
        if d["bytes"] != d["seen_bytes"] + gaps or gaps != d["gap_bytes"]:
            prob.add(f"connection {rec['conn'].get('cookie')} {name}: bytes {d['bytes']}, seen "
                     f"{d['seen_bytes']}, gaps {gaps}, gap_bytes {d['gap_bytes']}")
        run.bytes[name] += d["bytes"]
        for g in d["gaps"]:
            run.gaps[g["cause"]] += g["bytes"]


def check_records(truth, path, prob):
    run = Run()
    with open(path, "rb") as f:
        for line in f:
            rec = json.loads(line)
            run.last = rec
            kind = rec["kind"]
            if kind == "transaction":
                take_transaction(truth, run, rec, prob)
            elif kind == "connection":
                take_connection(run, rec, prob)
            elif kind == "ledger" and rec.get("when") == "exit":
                run.exit = rec
            if prob.count > 1000:
                prob.add("too many problems: the rest was not looked at")
                break
    truth.finish()
    return run


def check_left(truth, prob):
    """Transactions without a record: only a loss explains that."""
    for t in truth.req.values():
        if not t["touched"]:
            prob.add(f"connection {t['cookie']} {t['target']}: no record" +
                     (" of one half" if t["met"] else ""))


def equal(prob, name, got, want):
    if got != want:
        prob.add(f"{name}: {got}, truth {want}")


def check_sums(truth, run, prob):
    tot, led = truth.totals, run.exit
    if tot is None:
        prob.add("the truth has no totals: the run did not come to its end")
        return
    equal(prob, "connections", run.conns, tot["connections"])
    equal(prob, "tx bytes of all connections", run.bytes["tx"], tot["tx_bytes"])
    equal(prob, "rx bytes of all connections", run.bytes["rx"], tot["rx_bytes"])
    # A loss made on purpose is told like a full ring: either name is right, no other is.
    equal(prob, "gap bytes of all connections", sum(run.gaps.values()), tot["lost_bytes"])
    if set(run.gaps) - {"injected", "ring_full"}:
        prob.add(f"gaps by cause: {dict(run.gaps)}")
    if led is None or run.last is not led:
        prob.add("the exit ledger is not the last record")
        return
    if led.get("closed") is not True:
        prob.add(f"the ledger does not close: {json.dumps(led)}")
    ev, ex = led["events"], led.get("exchanges", {})
    equal(prob, "events.seen", ev.get("seen", 0), tot["events_made"])
    equal(prob, "events.delivered", ev.get("delivered", 0), tot["events_delivered"])
    equal(prob, "events.lost", sum(ev.get("lost", {}).values()), tot["events_lost"])
    equal(prob, "events.lost_bytes", ev.get("lost_bytes", 0), tot["lost_bytes"])
    equal(prob, "tracker.data_events", led["tracker"].get("data_events", 0),
          tot["events_delivered"])
    equal(prob, "bytes.seen", led["bytes"].get("seen", 0), tot["tx_bytes"] + tot["rx_bytes"])
    equal(prob, "records made", led["records"]["made"].get("transaction", 0), run.records)
    lost = ex.get("lost", 0) + ex.get("lost_unknown_protocol", 0)
    if not tot["lost_bytes"]:
        equal(prob, "exchanges lost", lost, 0)
    elif truth.plain:
        equal(prob, f"transactions recorded ({run.distinct}) + exchanges lost ({lost})",
              run.distinct + lost, tot["transactions"])


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    prob = Problems()
    truth = Truth(sys.argv[1])
    run = check_records(truth, sys.argv[2], prob)
    if prob.count <= 1000:
        check_left(truth, prob)
        check_sums(truth, run, prob)
    total = truth.totals or {}
    print(f"{total.get('transactions')} transactions made, {run.distinct} recorded in "
          f"{run.records} records, {run.touched} of them touched by a loss, {run.torn} torn; "
          f"{run.conns} connections; {prob.count} problems")
    return 1 if prob.count else 0


if __name__ == "__main__":
    sys.exit(main())
