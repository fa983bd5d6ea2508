#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# The agent from start to end as a user meets it: loads, sees curl and a server, ends in every way
# there is, and leaves nothing in the kernel. And what it says when it cannot.
. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/common.sh"
need_bpf
mkdir -p "$TMP/www"
echo hello >"$TMP/www/hello"
capture_modes

# run_cli NAME EXPECTED-STATUS ARG...: a run that ends by itself; streams in cli.out, cli.err.
run_cli() {
	local name=$1 want=$2 got=0
	shift 2
	timeout -k 1 10 "${RUN[@]}" "$@" >"$TMP/cli.out" 2>"$TMP/cli.err" </dev/null || got=$?
	if [ "$got" = "$want" ]; then
		pass "$name exits $want"
	else
		fail "$name exits $want" "exit $got: ${RUN[*]} $*
$(head -5 "$TMP/cli.err")"
	fi
}
# one_line NAME REGEX: stderr of the last run_cli is a single line and matches.
one_line() {
	if [ "$(wc -l <"$TMP/cli.err")" = 1 ] && grep -qE "$2" "$TMP/cli.err"; then
		pass "$1"
	else
		fail "$1" "not one line matching /$2/:
$(head -8 "$TMP/cli.err")"
	fi
}

test_command_line() {
	RUN=("$AGENT")
	run_cli "--version" 0 --version
	check "--version says the name and a number" grep -qE '^osprey-agent [0-9]+\.[0-9]+' "$TMP/cli.out"
	run_cli "--help" 0 --help
	check "--help goes to stdout and names the options" grep -q -- '--capture' "$TMP/cli.out"
	run_cli "check-layout" 0 check-layout
	run_cli "an unknown option" 2 --no-such-option
	one_line "  one line that names it" 'no-such-option'
	run_cli "an unknown sink" 2 --sink nosuchsink
	one_line "  one line that names it" 'nosuchsink'
	run_cli "a value that is no port" 2 --port 99999
	one_line "  one line that names it" '99999'
	run_cli "a config that is not there" 78 --config "$TMP/no-such.conf"
	one_line "  one line that names it" 'no-such\.conf'
	run_cli "a directory as config" 78 --config "$TMP"
	one_line "  one line that names it" "$TMP"
	printf 'no such key = 1\n' >"$TMP/bad.conf"
	run_cli "a config with nonsense" 78 --config "$TMP/bad.conf"
	one_line "  one line with file and line" 'bad\.conf:1'
	run_cli "a sink that cannot open" 78 --sink "jsonl:path=$TMP/no/such/dir/x"
	one_line "  one line that names it" 'no/such/dir'
}

# Binaries and their folder are copied where nobody can reach them.
test_unprivileged() {
	local dir=$TMP/unpriv
	mkdir "$dir"
	chmod 755 "$TMP"
	install -m 755 "$AGENT" "$dir/osprey-agent"
	RUN=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all "$dir/osprey-agent")
	if ! "${RUN[@]}" --version >/dev/null 2>&1; then
		skip "unprivileged start" "cannot run as another user in ${TMPDIR:-/tmp}"
		return
	fi
	run_cli "an unprivileged start" 77
	one_line "  one line that names the capability" 'CAP_(BPF|SYS_ADMIN|PERFMON)'
	run_cli "an unprivileged --version" 0 --version
}

# The three requests of one_run are there, both ends, and the sums close.
good_records() {
	local what=$1 name=$2
	equal "$what: 3 records of the server" "$(count "$name" kind=transaction \
		conn.role=server outcome=ok http.request.method=GET http.response.status_code=200 \
		"conn.server.port=$PORT" "process.pid=$SERVER")" 3
	equal "$what: 3 records of curl" "$(count "$name" kind=transaction conn.role=client \
		outcome=ok http.response.body_bytes=6 process.comm=curl)" 3
	equal "$what: none besides" "$(count "$name" kind=transaction)" 6
	check "$what: records hold, sums close" "$PY" "$RECORDS" faults "$TMP/$name.jsonl"
}

# end_by MODE SIGNAL: a whole run.
end_by() {
	local mode=$1 sig=$2 what="$1, SIG$2" held
	start_agent run --capture "$mode" --port "$PORT"
	if ! wait_ready run; then
		fail "$what: the agent gets ready" "$(cat "$TMP/run.err")"
		stop_agent run KILL
		return
	fi
	check "$what: ready in the mode that was asked for" grep -q ": ready: .*mode $mode" "$TMP/run.err"
	held=$("$PY" "$BPFLEFT" held "${agent_pid[run]}")
	if [ "$held" -ge 3 ]; then pass "$what: programs are loaded"
	else fail "$what: programs are loaded" "bpftool shows $held objects of the agent"; fi
	check "$what: requests go through" ask 3 "http://127.0.0.1:$PORT/hello"
	if ! wait_for 5 has_count run 6 kind=transaction; then
		fail "$what: records are in the file while it runs" "$(cat "$TMP/run.jsonl")"
	fi
	stop_agent run "$sig"
	if [ "$sig" = KILL ]; then
		equal "$what: it is dead" "$CODE" 137
		equal "$what: what was written before is whole" "$(count run kind=transaction)" 6
	else
		equal "$what: it ends with 0" "$CODE" 0
		good_records "$what" run
		check "$what: the ledger is on stderr" grep -q 'all sums close' "$TMP/run.err"
	fi
	check "$what: nothing is left in the kernel" "$PY" "$BPFLEFT" left "$TMP/before" 5
}

# Two at once. b's records go into a TCP connection: traffic of an agent's own, which neither may
# see although a watches that port.
test_two_agents() {
	local mode=$1 what="$1, two agents" port collector b
	port=$(free_port)
	"$PY" -c 'import shutil, socket, sys
s = socket.create_server(("127.0.0.1", int(sys.argv[1])))
c, _ = s.accept()
shutil.copyfileobj(c.makefile("rb"), open(sys.argv[2], "wb", buffering=0), 1)' \
		"$port" "$TMP/b.jsonl" </dev/null >/dev/null 2>&1 &
	collector=$!
	pids+=("$collector")
	wait_for 5 listens "$port"
	start_agent a --capture "$mode" --port "$PORT" --port "$port"
	wait_ready a || fail "$what: the first gets ready" "$(cat "$TMP/a.err")"
	: >"$TMP/b.err"
	"$AGENT" --capture "$mode" --port "$PORT" --port "$port" --sink jsonl:path=- \
		2>"$TMP/b.err" </dev/null >"/dev/tcp/127.0.0.1/$port" &
	b=$!
	agent_pid[b]=$b
	pids+=("$b")
	wait_ready b || fail "$what: the second gets ready" "$(cat "$TMP/b.err")"
	check "$what: requests go through" ask 3 "http://127.0.0.1:$PORT/hello"
	wait_for 5 has_count b 6 kind=transaction
	stop_agent a
	equal "$what: the first ends with 0" "$CODE" 0
	stop_agent b
	equal "$what: the second ends with 0" "$CODE" 0
	wait_for 5 ended "$collector"
	good_records "$what: the first" a
	equal "$what: the second has 6 transactions" "$(count b kind=transaction)" 6
	for name in a b; do
		equal "$what: $name saw nothing of an agent's own" \
			"$("$PY" "$RECORDS" show "$TMP/$name.jsonl" kind process.comm conn.server.port |
				grep -c osprey)" 0
	done
	check "$what: nothing is left in the kernel" "$PY" "$BPFLEFT" left "$TMP/before" 5
}

test_ends_by_itself() {
	local mode=$1 begun took
	start_agent timed --capture "$mode" --port "$PORT" --duration 2s
	wait_ready timed
	begun=$(date +%s%N)
	ask 3 "http://127.0.0.1:$PORT/hello"
	finish timed 15
	took=$((($(date +%s%N) - begun) / 1000000))
	equal "$mode, --duration 2s: it ends with 0" "$CODE" 0
	if [ "$took" -ge 1000 ] && [ "$took" -le 5000 ]; then pass "$mode, --duration 2s: after 2 s"
	else fail "$mode, --duration 2s: after 2 s" "ended $took ms after it was ready"; fi
	good_records "$mode, --duration" timed

	start_agent three --capture "$mode" --port "$PORT" --role server --count 3
	wait_ready three
	ask 3 "http://127.0.0.1:$PORT/hello"
	finish three 10
	equal "$mode, --count 3: it ends with 0" "$CODE" 0
	equal "$mode, --count 3: 3 transactions" "$(count three kind=transaction)" 3
	check "$mode, --count 3: sums close" "$PY" "$RECORDS" faults "$TMP/three.jsonl"
}

# A disk that is full from the start, beside a sink that works.
test_full_disk() {
	local mode=$1 what="$1, full disk" lost
	start_agent full --sink jsonl:path=/dev/full --capture "$mode" --port "$PORT"
	wait_ready full || fail "$what: the agent gets ready" "$(cat "$TMP/full.err")"
	check "$what: requests go through" ask 3 "http://127.0.0.1:$PORT/hello"
	sleep 0.5
	stop_agent full
	case $CODE in
	0 | 1) pass "$what: it ends in order" ;;
	*) fail "$what: it ends in order" "exit $CODE
$(tail -5 "$TMP/full.err")" ;;
	esac
	good_records "$what: the other sink" full
	lost=$(grep -E '^ *sink' "$TMP/full.err" | grep -oE '(dropped|rejected) [1-9][0-9,]*' | head -1)
	if [ -n "$lost" ]; then pass "$what: the ledger says what was not delivered"
	else fail "$what: the ledger says what was not delivered" "$(tail -15 "$TMP/full.err")"; fi
}

# Without traffic a line after 5 s tells what is being watched and what to try. Runs beside the
# rest: it takes its time.
begin_idle() {
	IDLE=$(free_port)
	start_agent idle --port "$IDLE"
}
# Not the ready line, which names the filters too.
idle_hint() { grep -v ': ready: ' "$TMP/idle.err" | grep "$IDLE"; }
end_idle() {
	wait_for 10 idle_hint
	equal "idle: one line after 5 s without traffic" "$(idle_hint | wc -l)" 1
	if idle_hint | grep -qE 'curl|osprey-agent'; then pass "idle: it has a command to try"
	else fail "idle: it has a command to try" "$(cat "$TMP/idle.err")"; fi
	stop_agent idle
	equal "idle: it ends with 0" "$CODE" 0
}

"$PY" "$BPFLEFT" save "$TMP/before"
test_command_line
test_unprivileged
PORT=$(free_port)
serve 127.0.0.1 "$PORT"
SERVER=$STARTED
begin_idle
for mode in "${MODES[@]}"; do
	for sig in TERM INT KILL; do end_by "$mode" "$sig"; done
	test_two_agents "$mode"
	test_ends_by_itself "$mode"
	test_full_disk "$mode"
done
end_idle
check "nothing is left in the kernel at the end" "$PY" "$BPFLEFT" left "$TMP/before" 5
done_testing
