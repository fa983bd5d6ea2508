#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# About a minute of each fuzz target, from its seeds on, FUZZ_SECS at most. TAP. The targets are built
# with make where they are missing; `make fuzz` runs them for longer, each time in another way. Here
# the way and its length are always the same, so that a failure is a change's and can be repeated:
# what another seed would find is for `make fuzz` to tell, not for a test that was green an hour ago.
cd "$(dirname "$0")/../.." || exit 2
O=build
SECS=${FUZZ_SECS:-180}
# A target and how often it runs, in thousands.
TARGETS="http1:150 tracker:300 oev:200 diff_http1:100 decode:500 pcap:60 recon_record:800
	 recon_foreign:1000 recon_side:20"
[ ! -e /usr/include/http_parser.h ] || TARGETS="$TARGETS diff_parser:100"
# Addresses decide where it goes, too.
same=
! setarch -R true 2>/dev/null || same="setarch -R"

case ${OSP_O:-build} in
*/san) echo "1..0 # SKIP the targets bring their own sanitizers"; exit 0 ;;
esac
if ! echo 'int LLVMFuzzerTestOneInput(const char *p, long n); int LLVMFuzzerTestOneInput(const char *p, long n) { return 0; }' |
   ${CLANG:-clang} -fsanitize=fuzzer -x c - -o /dev/null 2>/dev/null; then
	echo "1..0 # SKIP clang has no fuzzer runtime"
	exit 0
fi
want=
for t in $TARGETS; do want="$want $O/fuzz/fuzz_${t%:*}"; done
make -s $want >&2 || { echo "not ok 1 - the targets are built"; echo 1..1; exit 1; }
n=0 bad=0
for t in $TARGETS; do
	n=$((n + 1)) runs=${t#*:}000 t=${t%:*}
	c=$(mktemp -d) || exit 2
	[ ! -x tests/fuzz/seeds_$t.py ] || tests/fuzz/seeds_$t.py "$c"
	[ ! -e tests/fuzz/corpus/$t.tar.gz ] || tar -xzf tests/fuzz/corpus/$t.tar.gz -C "$c"
	if $same $O/fuzz/fuzz_$t -seed="${FUZZ_SEED:-1}" -runs="$runs" -max_total_time="$SECS" -timeout=60 -rss_limit_mb=2048 -max_len=4096 \
	   -close_fd_mask=3 -artifact_prefix=$O/fuzz/ "$c" >"$c.log" 2>&1; then
		echo "ok $n - $t"
	else
		echo "not ok $n - $t"
		tail -40 "$c.log" | sed 's/^/# /'
		bad=1
	fi
	rm -rf "$c" "$c.log"
done
echo "1..$n"
exit $bad
