#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# run.sh [sock|syscall]... [WORKLOAD]...: the system-call workloads under the real agent, in both
# capture modes unless told otherwise. Needs root; build first with `make all tests`.

. "$(dirname "$0")/../lib/tap.sh"

need_bpf
[ -x "$OSP_O/tests/syscalls/read_write" ] || skip_all "no $OSP_O/tests/syscalls: make tests"
/usr/bin/python3 -B "$TOP/tests/syscalls/drive.py" "$AGENT" "$OSP_O/tests/syscalls" "$@"
