#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# guest.sh: PID 1 of the guest of tests/kernels/run.sh: the agent in both modes on this kernel. TAP on
# the second serial line; a busybox shell is all there is.
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
stty -F /dev/ttyS1 raw -echo
exec >/dev/ttyS1 2>&1
n=0

point()	# NAME: as the last command ended
{
	if [ $? = 0 ]; then no=; else no="not "; fi
	n=$((n + 1))
	echo "${no}ok $n - $mode: $1"
}

count()	# PATTERN: how many records have it
{
	grep -c "$1" /tmp/out
}

run_mode()	# MODE [OPTION]
{
	mode="$1${2:+ $2}"
	rm -f /tmp/out
	osprey-agent -v --capture="$1" ${2:+"$2"} --port 18081 --sink jsonl:path=/tmp/out 2>/tmp/err &
	agent=$!
	tries=0
	while ! grep -q ready /tmp/err && [ $tries -lt 600 ] && kill -0 $agent 2>/dev/null; do
		sleep 0.1
		tries=$((tries + 1))
	done
	grep -q "ready.*mode $1" /tmp/err
	point "the programs load and attach"
	smoke 18081
	point "traffic"
	sleep 0.3
	kill -INT $agent
	wait $agent
	point "the agent ends in order"
	sed 's/^/# /' /tmp/err
	grep -q "all sums close" /tmp/err
	point "all sums close"
	# From 7.0 on a program that is preempted makes the kernel pass over others (events "nested").
	if grep -q "lost(nested)" /tmp/err; then
		n=$((n + 1))
		echo "ok $n - $mode: records # SKIP events were passed over, as counted"
		return
	fi
	[ "$(count '"outcome":"ok"')" = 10 ]
	point "five exchanges from both ends"
	[ "$(count '"body_bytes":8000000')" = 4 ] && [ "$(count '"body_bytes":50000')" = 2 ]
	point "bodies have their exact sizes"
	[ "$(count '"flags":\[[^]]*"skipped"')" -ge 2 ]
	point "what nobody keeps is not copied"
}

echo "# $(uname -r)"
if [ "$(sed -n 's/^OSP_SOCK=//p' /run.conf)" = 1 ]; then
	run_mode sock
	run_mode sock --unix
fi
run_mode syscall
echo "1..$n"
sync
poweroff -f
