#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the workloads under the real agent and says in TAP whether it told the truth.

drive.py AGENT PROGRAM-FOLDER [sock|syscall]... [WORKLOAD]...

One agent a mode for all workloads; those that must be under way before the agent starts get one of
their own. OSP_KEEP=FOLDER keeps what the programs and the agent wrote.
"""
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
import check		# noqa: E402

MODES = ("sock", "syscall")
# 2 free ports a workload, below the ephemeral range; another base a mode, so that one mode's
# time-wait sockets are not in the other's way.
BASE = {"sock": 17000, "syscall": 19000}
READY_S, EXIT_S, WORKLOAD_S = 30, 30, 60
SHOWN = 6		# problems shown of an aspect; the rest is counted


def is_free(port):
    with socket.socket(socket.AF_INET6) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        try:
            s.bind(("::", port))
            return True
        except OSError:
            return False


def free_pairs(port):
    """Ports of which the next one is free, too."""
    while True:
        if is_free(port) and is_free(port + 1):
            yield port
        port += 2


class Tap:
    def __init__(self):
        self.n, self.bad = 0, 0

    def result(self, name, problems):
        self.n += 1
        self.bad += bool(problems)
        print("%sok %d - %s" % ("not " if problems else "", self.n, name))
        for text in problems[:SHOWN]:
            print("#   " + text.replace("\n", "\n#   "))
        if len(problems) > SHOWN:
            print("#   ... and %d more" % (len(problems) - SHOWN))
        sys.stdout.flush()

    def skip(self, name, why):
        self.n += 1
        print("ok %d - %s # SKIP %s" % (self.n, name, why))
        sys.stdout.flush()

    def end(self):
        print("1..%d" % self.n)
        return 1 if self.bad else 0


class Unsupported(Exception):
    """This kernel or user can't run the mode."""


class Agent:
    """The agent with its jsonl; start() returns when it is ready."""

    def __init__(self, program, mode, ports, folder):
        self.records, self.log = folder / "records.jsonl", folder / "agent.err"
        self.mode = mode
        # Every byte that can be copied must be there: what is left out on purpose is tests/skip's.
        self.args = [str(program), "--capture", mode, "--skip-from", "0",
                     "--sink", "jsonl:path=%s" % self.records]
        for port in ports:
            self.args += ["--port", str(port)]

    def start(self):
        with open(self.log, "wb") as err:
            self.proc = subprocess.Popen(self.args, stdin=subprocess.DEVNULL, stderr=err,
                                         stdout=subprocess.DEVNULL)
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            text = self.log.read_text(errors="replace")
            if ": ready: " in text:
                if "mode %s" % self.mode not in text:
                    raise RuntimeError("ready in another mode:\n" + text)
                return
            if self.proc.poll() is not None:
                if self.proc.returncode == 77:
                    raise Unsupported(text.strip().split("\n")[-1])
                raise RuntimeError("exit %d before ready:\n%s" % (self.proc.returncode, text))
            time.sleep(0.02)
        raise RuntimeError("not ready after %d s:\n%s" % (READY_S, text))

    def stop(self):
        """Ends it as a user does; its exit code."""
        if self.proc.poll() is None:
            self.proc.send_signal(signal.SIGINT)
        return self.proc.wait(EXIT_S)

    def kill(self):
        if self.proc.poll() is None:
            self.proc.kill()
            self.proc.wait()

    def read(self):
        with open(self.records, encoding="utf-8") as f:
            return [json.loads(line) for line in f]


class Workload:
    def __init__(self, program, port, folder):
        self.name = program.name
        self.ports = {port, port + 1}
        self.out, self.err = folder / (self.name + ".out"), folder / (self.name + ".err")
        self.args = [str(program), str(port)]
        self.problems = []

    def begin(self):
        # Appending: several processes write whole lines into it.
        with open(self.out, "ab") as out, open(self.err, "wb") as err:
            self.proc = subprocess.Popen(self.args, stdin=subprocess.PIPE, stdout=out, stderr=err)

    def wait_ready(self):
        end = time.monotonic() + WORKLOAD_S
        while '"phase":"ready"' not in self.out.read_text():
            if time.monotonic() > end or self.proc.poll() is not None:
                return
            time.sleep(0.02)

    def finish(self):
        try:
            self.proc.communicate(b"x", WORKLOAD_S)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        if self.proc.returncode:
            self.problems.append("the workload itself failed: status %d\n%s" % (
                self.proc.returncode, self.err.read_text(errors="replace")))

    def told(self):
        return check.Told(self.out.read_text().splitlines())


def judge(tap, mode, workloads, agent):
    """All that can be said once agent has ended."""
    title = "%s, %d workloads" % (mode, len(workloads)) if len(workloads) > 1 else \
        "%s %s" % (mode, workloads[0].name)
    recs = agent.read()
    for aspect, problems in check.check_ledger(recs).items():
        tap.result("%s: %s" % (title, aspect), problems)
    ports = set().union(*(w.ports for w in workloads))
    stray = [str(check.rec_key(r)) for r in recs
             if r["kind"] != "ledger" and not check.rec_ports(r) & ports]
    tap.result("%s: no records of other ports" % title, stray)
    for w in workloads:
        judge_one(tap, mode, w, recs)


def judge_one(tap, mode, w, recs):
    if w.problems:
        tap.result("%s %s" % (mode, w.name), w.problems)
        return
    told = w.told()
    if told.skip:
        tap.skip("%s %s" % (mode, w.name), told.skip)
        return
    mine = [r for r in recs if r["kind"] != "ledger" and check.rec_ports(r) & w.ports]
    for aspect, problems in check.check(told, mode, mine).items():
        tap.result("%s %s: %s" % (mode, w.name, aspect), problems)


def run_group(tap, program, mode, workloads, folder):
    """One agent, then all workloads; those with a "ready" phase start before the agent."""
    folder.mkdir(parents=True, exist_ok=True)
    agent = Agent(program, mode, sorted(set().union(*(w.ports for w in workloads))), folder)
    late = [w for w in workloads if w.name.startswith("late_")]
    try:
        for w in late:
            w.begin()
            w.wait_ready()
        agent.start()
        for w in workloads:
            if w not in late:
                w.begin()
            w.finish()
        time.sleep(0.2)
        code = agent.stop()
        tap.result("%s %s: exit" % (mode, folder.name),
                   ["exit code %s\n%s" % (code, agent.log.read_text(errors="replace"))]
                   if code else [])
        judge(tap, mode, workloads, agent)
    except Unsupported as e:
        tap.skip("%s %s" % (mode, folder.name), str(e))
    except (RuntimeError, OSError, ValueError, subprocess.TimeoutExpired) as e:
        tap.result("%s %s" % (mode, folder.name), [str(e)])
    finally:
        with contextlib.suppress(AttributeError):
            agent.kill()
        for w in late:
            with contextlib.suppress(AttributeError):
                w.proc.kill()


def run_mode(tap, program, mode, programs, folder):
    here = folder / mode
    here.mkdir(parents=True, exist_ok=True)
    groups = {}
    for path, port in zip(programs, free_pairs(BASE[mode])):
        w = Workload(path, port, here)
        groups.setdefault(w.name if w.name.startswith("late_") else "all", []).append(w)
    for name, workloads in groups.items():
        run_group(tap, program, mode, workloads, here / name)


def main():
    program, bin_dir, words = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    modes = [w for w in words if w in MODES] or MODES
    names = [w for w in words if w not in MODES]
    programs = sorted(p for p in bin_dir.iterdir() if "." not in p.name)
    unknown = set(names) - {p.name for p in programs}
    if unknown or not programs:
        sys.exit("no such workload in %s: %s" % (bin_dir, " ".join(sorted(unknown))))
    programs = [p for p in programs if not names or p.name in names]
    keep = os.environ.get("OSP_KEEP")
    folder = pathlib.Path(keep or tempfile.mkdtemp(prefix="osprey-syscalls."))
    if keep:
        for mode in modes:
            shutil.rmtree(folder / mode, ignore_errors=True)
    tap = Tap()
    try:
        for mode in modes:
            run_mode(tap, program, mode, programs, folder)
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
