# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
# tap.sh: TAP from bash, and what tests share. Source it; call done_testing at the end.
# OSP_O: the build folder (make test sets it).

TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
OSP_O=${OSP_O:-$TOP/build}
case $OSP_O in /*) ;; *) OSP_O=$TOP/$OSP_O ;; esac
# shellcheck disable=SC2034
AGENT=$OSP_O/bin/osprey-agent
tap_n=0
tap_bad=0

pass() { tap_n=$((tap_n + 1)); printf 'ok %d - %s\n' "$tap_n" "$1"; }
fail() {
	tap_n=$((tap_n + 1)); tap_bad=$((tap_bad + 1))
	printf 'not ok %d - %s\n' "$tap_n" "$1"
	[ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/#   /'
}
skip() { tap_n=$((tap_n + 1)); printf 'ok %d - %s # SKIP %s\n' "$tap_n" "$1" "$2"; }
skip_all() { printf 'ok 1 - %s # SKIP %s\n1..1\n' "$(basename "$0")" "$1"; exit 0; }

# check NAME COMMAND...: passes if the command succeeds; its output is shown otherwise.
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then pass "$name"; else fail "$name" "exit $?: $*
$out"; fi
}
# equal NAME GOT WANT
equal() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "got:  $2
want: $3"; fi; }

done_testing() { printf '1..%d\n' "$tap_n"; [ "$tap_bad" = 0 ]; exit; }

# wait_for SECONDS COMMAND...: until the command succeeds; fails when the time is over.
wait_for() {
	local end=$(($(date +%s) + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "$(date +%s)" -lt "$end" ] || return 1
		sleep 0.05
	done
}

need_root() { [ "$(id -u)" = 0 ] || skip_all "needs root"; }
need_bpf() {
	need_root
	[ -e /sys/kernel/btf/vmlinux ] || skip_all "this kernel has no BTF"
	[ -x "$AGENT" ] || skip_all "no $AGENT"
}

# A scratch folder that goes with the test; started processes are ended by their pid.
TMP=$(mktemp -d "${TMPDIR:-/tmp}/osprey-test.XXXXXX")
pids=()
tap_cleanup() {
	local p
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null; done
	for p in "${pids[@]}"; do wait "$p" 2>/dev/null; done
	if declare -F on_exit >/dev/null; then on_exit; fi
	rm -rf "$TMP"
}
trap tap_cleanup EXIT
