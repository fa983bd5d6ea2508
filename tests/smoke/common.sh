# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash disable=SC2034
# common.sh: starting and ending agents and servers from bash. Source it after tests/lib/tap.sh.
# A name passed around (a, b, …) stands for $TMP/<name>.jsonl, .out and .err and agent_pid[name].

PY=/usr/bin/python3
RECORDS=$TOP/tests/lib/records.py
BPFLEFT=$TOP/tests/lib/bpfleft.py
declare -A agent_pid
# The process started last, by start and serve.
STARTED=

capture_modes() {
	local m
	for m in ${OSP_MODES:-sock syscall}; do
		if [ "$m" = sock ] && ! grep -qa btf_trace_sock_send_length /sys/kernel/btf/vmlinux
		then
			skip "sock mode" "this kernel has no sock_send_length tracepoint (6.3)"
		else
			echo "$m" >>"$TMP/modes"
		fi
	done
	mapfile -t MODES <"$TMP/modes"
}

# start_agent NAME ARG...: with a jsonl sink. Does not wait.
start_agent() {
	local name=$1
	shift
	: >"$TMP/$name.err"	# the ready line of the run before
	rm -f "$TMP/$name.jsonl"
	"$AGENT" --sink "jsonl:path=$TMP/$name.jsonl" "$@" \
		>"$TMP/$name.out" 2>"$TMP/$name.err" </dev/null &
	agent_pid[$name]=$!
	pids+=("$!")
}

is_ready() { grep -q ': ready: ' "$TMP/$1.err"; }
# Ended or ready: no reason to wait longer.
ready_or_dead() { is_ready "$1" || ! kill -0 "${agent_pid[$1]}" 2>/dev/null; }
wait_ready() { wait_for 20 ready_or_dead "$1"; is_ready "$1"; }

# ended PID: it has exited; a zombie counts, its parent (we) reaps it by wait.
ended() {
	local stat
	stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
	stat=${stat##*) }
	[ "${stat%% *}" = Z ]
}

# finish NAME SECONDS: waits for the agent's own end; its exit status in CODE, "hung" if it had to
# be killed.
finish() {
	local pid=${agent_pid[$1]}
	CODE=0
	if ! wait_for "$2" ended "$pid"; then
		kill -KILL "$pid"
		wait "$pid" 2>/dev/null
		CODE=hung
		return
	fi
	wait "$pid" 2>/dev/null || CODE=$?
	local p keep=()
	for p in "${pids[@]}"; do [ "$p" = "$pid" ] || keep+=("$p"); done
	pids=("${keep[@]}")
}

# stop_agent NAME [SIGNAL]
stop_agent() {
	kill -"${2:-INT}" "${agent_pid[$1]}" 2>/dev/null
	finish "$1" 15
}

free_port() {
	"$PY" -c 'import socket
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 0))
print(s.getsockname()[1])'
}

# listens PORT [PID]: asked of the kernel's table, in the namespace of PID, so that no connection
# is made that an agent would see.
listens() {
	local hex
	hex=$(printf '%04X' "$1")
	grep -hqE "^ *[0-9]+: [0-9A-F]+:$hex [0-9A-F:]+ 0A " "/proc/${2:-self}/net/tcp" \
		"/proc/${2:-self}/net/tcp6" 2>/dev/null
}

# serve ADDR PORT [COMMAND...]: Python's http.server on an address, by COMMAND (default: python3);
# its pid in STARTED.
serve() {
	local addr=$1 port=$2
	shift 2
	[ $# -gt 0 ] || set -- "$PY"
	"$@" -m http.server --bind "$addr" --directory "$TMP/www" "$port" >/dev/null 2>&1 </dev/null &
	STARTED=$!
	pids+=("$STARTED")
	wait_for 10 listens "$port" "$STARTED" || fail "a server listens on $addr port $port"
}

# ask N URL...: N requests for each URL, a connection each.
ask() {
	local n=$1 i url
	shift
	for url; do
		for ((i = 1; i <= n; i++)); do
			"${CURL:-curl}" -q -s -f -m 10 --noproxy '*' -o /dev/null "$url?n=$i" || return 1
		done
	done
}

count() { "$PY" "$RECORDS" count "$TMP/$1.jsonl" "${@:2}"; }
ledger() { "$PY" "$RECORDS" ledger "$TMP/$1.jsonl" "$2"; }
has_count() { [ "$(count "$1" "${@:3}" 2>/dev/null)" = "$2" ]; }
