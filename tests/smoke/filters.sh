#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Each filter, with two peers of which exactly one matches, and with several of its values. What
# does not match gives no transaction and is counted as filtered.
#
# Unless the port is what is tested, --port keeps the rest of the machine out: filters of different
# kinds all have to match.
# shellcheck disable=SC2317 # functions are called by name
. "$(dirname "$0")/../lib/tap.sh"
. "$(dirname "$0")/common.sh"
need_bpf
mkdir -p "$TMP/www"
echo hello >"$TMP/www/hello"
capture_modes

NS=osp$$
CGROUPS=()
on_exit() {
	local c
	ip netns del "$NS" 2>/dev/null
	# A cgroup can be removed when its last process is reaped.
	for c in "${CGROUPS[@]}"; do wait_for 3 rmdir "$c" || true; done
}

# Servers A and B on 127.0.0.1; C on 127.0.0.2; D on ::1.
PORT_A=$(free_port); PORT_B=$(free_port); PORT_C=$(free_port); PORT_D=$(free_port)
serve 127.0.0.1 "$PORT_A"; SERVER_A=$STARTED
serve 127.0.0.1 "$PORT_B"; SERVER_B=$STARTED
serve 127.0.0.2 "$PORT_C"
serve ::1 "$PORT_D"
A=http://127.0.0.1:$PORT_A/hello
B=http://127.0.0.1:$PORT_B/hello
C=http://127.0.0.2:$PORT_C/hello
D="http://[::1]:$PORT_D/hello"
PORTS=(--port "$PORT_A" --port "$PORT_B" --port "$PORT_C" --port "$PORT_D")
# curl under names and as files of their own, for --comm and --exe.
for name in osp-one osp-two osp-three; do
	mkdir "$TMP/$name.d"
	cp "$(command -v curl)" "$TMP/$name.d/$name"
done
ONE=$TMP/osp-one.d/osp-one
TWO=$TMP/osp-two.d/osp-two
THREE=$TMP/osp-three.d/osp-three

all_traffic() { ask 2 "$A" "$B"; }

# filter NAME TRAFFIC ARG... -- EXPECTED-COUNT KEY=VALUE... [-- COUNT KEY=VALUE...]...
# One run: the agent with ARG, the traffic, then each count; together they are all transactions.
filter() {
	local name="$MODE: $1" traffic=$2 args=() sum=0 got want conds
	shift 2
	while [ "$1" != -- ]; do args+=("$1"); shift; done
	start_agent f --capture "$MODE" "${args[@]}"
	if ! wait_ready f; then
		fail "$name: the agent gets ready" "$(cat "$TMP/f.err")"
		stop_agent f KILL
		return
	fi
	"$traffic" || fail "$name: the traffic goes through"
	sleep 0.2
	stop_agent f
	[ "$CODE" = 0 ] || fail "$name: the agent ends with 0" "exit $CODE: $(tail -3 "$TMP/f.err")"
	while [ $# -gt 0 ]; do
		want=$2
		shift 2
		conds=()
		while [ $# -gt 0 ] && [ "$1" != -- ]; do conds+=("$1"); shift; done
		got=$(count f kind=transaction "${conds[@]}")
		sum=$((sum + want))
		equal "$name: $want of ${conds[*]:-any}" "$got" "$want"
	done
	equal "$name: no other transaction" "$(count f kind=transaction)" "$sum"
	"$PY" "$RECORDS" faults "$TMP/f.jsonl" >"$TMP/faults" ||
		fail "$name: records hold, sums close" "$(head -5 "$TMP/faults")"
	if [ -z "$ALL_MATCH" ]; then
		got=$(ledger f events.filtered)
		if [ "$got" -gt 0 ]; then pass "$name: the rest is counted as filtered"
		else fail "$name: the rest is counted as filtered" "events.filtered is $got"; fi
	fi
}

test_port() {
	filter "--port" all_traffic --port "$PORT_A" -- 4 "conn.server.port=$PORT_A"
	filter "--port twice" all_traffic_c --port "$PORT_A" --port "$PORT_C" -- \
		4 "conn.server.port=$PORT_A" -- 4 "conn.server.port=$PORT_C"
}
all_traffic_c() { ask 2 "$A" "$B" "$C"; }

test_pid() {
	filter "--pid" all_traffic "${PORTS[@]}" --pid "$SERVER_A" -- \
		2 conn.role=server "process.pid=$SERVER_A"
	filter "--pid twice" all_traffic_c "${PORTS[@]}" --pid "$SERVER_A" --pid "$SERVER_B" -- \
		2 "process.pid=$SERVER_A" -- 2 "process.pid=$SERVER_B"
}

# A shell that asks when it is told to: its curl is a child that did not exist when the agent
# started, and a grandchild if it is asked by a subshell.
begin_family() {
	mkfifo "$TMP/ask"
	bash -c 'while read -r url < "$0"; do
		curl -q -s -m 10 -o /dev/null "$url"
		(curl -q -s -m 10 -o /dev/null "$url"; true)
		: >"$1"
	done' "$TMP/ask" "$TMP/asked" </dev/null >/dev/null 2>&1 &
	FAMILY=$!
	pids+=("$FAMILY")
}
family_traffic() {
	rm -f "$TMP/asked"
	echo "$A?family=1" >"$TMP/ask"
	wait_for 10 test -e "$TMP/asked" && ask 2 "$A"
}
test_follow() {
	begin_family
	filter "--pid of a parent" family_traffic "${PORTS[@]}" --pid "$FAMILY" --role client -- \
		0 "http.request.target=/hello?family=1"
	filter "--pid of a parent, --follow" family_traffic "${PORTS[@]}" --pid "$FAMILY" --follow \
		--role client -- 2 "http.request.target=/hello?family=1"
	kill "$FAMILY"
}

three_clients() { CURL=$ONE ask 2 "$A" && CURL=$TWO ask 2 "$A" && CURL=$THREE ask 2 "$A"; }
test_comm() {
	filter "--comm" three_clients "${PORTS[@]}" --comm osp-one -- 2 process.comm=osp-one
	filter "--comm twice" three_clients "${PORTS[@]}" --comm osp-one --comm osp-two -- \
		2 process.comm=osp-one -- 2 process.comm=osp-two
}
test_exe() {
	filter "--exe" three_clients "${PORTS[@]}" --exe "$TWO" -- 2 process.comm=osp-two
	filter "--exe twice" three_clients "${PORTS[@]}" --exe "$TWO" --exe "$THREE" -- \
		2 process.comm=osp-two -- 2 process.comm=osp-three
}

acd_traffic() { ask 2 "$A" "$C" "$D"; }
test_cidr() {
	filter "--cidr, an address" acd_traffic "${PORTS[@]}" --cidr 127.0.0.2/32 -- \
		4 conn.server.address=127.0.0.2
	filter "--cidr, v6" acd_traffic "${PORTS[@]}" --cidr ::1/128 -- 4 conn.server.address=::1
	filter "--cidr twice" acd_traffic "${PORTS[@]}" --cidr ::1/128 --cidr 127.0.0.2/31 -- \
		4 conn.server.address=::1 -- 4 conn.server.address=127.0.0.2
}

test_role() {
	filter "--role client" all_traffic "${PORTS[@]}" --role client -- \
		4 conn.role=client process.comm=curl
	filter "--role server" all_traffic "${PORTS[@]}" --role server -- \
		2 conn.role=server "process.pid=$SERVER_A" -- 2 conn.role=server "process.pid=$SERVER_B"
	ALL_MATCH=1
	filter "--role client and server" all_traffic "${PORTS[@]}" --role client --role server -- \
		4 conn.role=client -- 4 conn.role=server
	ALL_MATCH=
}

# in_cgroup DIR CMD...: runs CMD in the cgroup from its first instruction on.
in_cgroup() { (echo "$BASHPID" >"$1/cgroup.procs" && shift && exec "$@"); }
cgroup_traffic() {
	local c
	for c in "${CGROUPS[@]}"; do
		in_cgroup "$c" curl -q -s -m 10 -o /dev/null "$A?cgroup=${c##*-}" || return 1
	done
	ask 1 "$A"
}
test_cgroup() {
	local root c one two
	root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
	if [ -z "$root" ]; then
		skip "$MODE: --cgroup" "no cgroup2 file system is mounted"
		return
	fi
	if [ ${#CGROUPS[@]} = 0 ]; then
		for c in one two three; do
			c=$root/osp-test-$$-$c
			if ! mkdir "$c" 2>/dev/null || ! in_cgroup "$c" true 2>/dev/null; then
				rmdir "$c" 2>/dev/null
				skip "$MODE: --cgroup" "cannot make a cgroup in $root"
				return
			fi
			CGROUPS+=("$c")
		done
	fi
	one=${CGROUPS[0]}
	two=${CGROUPS[1]}
	filter "--cgroup PATH" cgroup_traffic "${PORTS[@]}" --cgroup "$one" -- \
		1 conn.role=client "http.request.target=/hello?cgroup=one"
	# The id of a v2 cgroup is its folder's inode number.
	filter "--cgroup ID" cgroup_traffic "${PORTS[@]}" --cgroup "$(stat -c %i "$two")" -- \
		1 conn.role=client "http.request.target=/hello?cgroup=two"
	filter "--cgroup twice" cgroup_traffic "${PORTS[@]}" --cgroup "$one" --cgroup "$two" -- \
		1 "http.request.target=/hello?cgroup=one" -- 1 "http.request.target=/hello?cgroup=two"
}

# A server and its clients in a namespace, on a port that another server has in ours.
netns_traffic() {
	ip netns exec "$NS" curl -q -s -m 10 -o /dev/null "$A?ns=theirs" &&
		ip netns exec "$NS" curl -q -s -m 10 -o /dev/null "$A?ns=theirs" && ask 2 "$A"
}
in_netns() { [ "/proc/$1/ns/net" -ef "/run/netns/$NS" ]; }
begin_netns() {
	if ! ip netns add "$NS" 2>"$TMP/netns.err" || ! ip -n "$NS" link set lo up; then
		return 1
	fi
	serve 127.0.0.1 "$PORT_A" ip netns exec "$NS" "$PY"
	NS_SERVER=$STARTED
	# The port is listened on in our namespace too: wait until the server is in its own.
	wait_for 5 in_netns "$NS_SERVER"
	wait_for 5 listens "$PORT_A" "$NS_SERVER"
}
test_netns() {
	local inode ours
	if [ -z "${NS_SERVER:-}" ] && ! begin_netns; then
		skip "$MODE: --netns" "cannot make a network namespace: $(cat "$TMP/netns.err")"
		return
	fi
	inode=$(stat -Lc %i "/run/netns/$NS")
	ours=$(stat -Lc %i /proc/self/ns/net)
	filter "--netns PATH" netns_traffic "${PORTS[@]}" --netns "/run/netns/$NS" -- \
		2 conn.role=server "conn.netns=$inode" "process.pid=$NS_SERVER" -- \
		2 conn.role=client "conn.netns=$inode"
	filter "--netns INODE" netns_traffic "${PORTS[@]}" --netns "$ours" -- \
		2 conn.role=server "conn.netns=$ours" "process.pid=$SERVER_A" -- \
		2 conn.role=client "conn.netns=$ours"
	ALL_MATCH=1
	filter "--netns twice" netns_traffic "${PORTS[@]}" --netns "$ours" --netns "/run/netns/$NS" -- \
		4 "conn.netns=$ours" -- 4 "conn.netns=$inode"
	ALL_MATCH=
}

ALL_MATCH=
for MODE in "${MODES[@]}"; do
	for what in port pid follow comm exe cidr role cgroup netns; do
		[[ $what =~ ${OSP_FILTERS:-} ]] || continue
		rm -f "$TMP/ask"
		"test_$what"
	done
done
done_testing
