#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# A minute of each fuzz target, from its seeds on. TAP. The targets are built with make where they
# are missing; `make fuzz` runs them for longer, each time in another way. Here the way is always the
# same, so that a failure can be repeated and is not luck.
cd "$(dirname "$0")/../.." || exit 2
O=build
SECS=${FUZZ_SECS:-60}
TARGETS="http1 tracker oev diff_http1 decode pcap recon_record recon_foreign recon_side"
[ ! -e /usr/include/http_parser.h ] || TARGETS="$TARGETS diff_parser"

case ${OSP_O:-build} in
*/san) echo "1..0 # SKIP the targets bring their own sanitizers"; exit 0 ;;
esac
if ! echo 'int LLVMFuzzerTestOneInput(const char *p, long n); int LLVMFuzzerTestOneInput(const char *p, long n) { return 0; }' |
   ${CLANG:-clang} -fsanitize=fuzzer -x c - -o /dev/null 2>/dev/null; then
	echo "1..0 # SKIP clang has no fuzzer runtime"
	exit 0
fi
want=
for t in $TARGETS; do want="$want $O/fuzz/fuzz_$t"; done
make -s $want >&2 || { echo "not ok 1 - the targets are built"; echo 1..1; exit 1; }
n=0 bad=0
for t in $TARGETS; do
	n=$((n + 1))
	c=$(mktemp -d) || exit 2
	[ ! -x tests/fuzz/seeds_$t.py ] || tests/fuzz/seeds_$t.py "$c"
	[ ! -e tests/fuzz/corpus/$t.tar.gz ] || tar -xzf tests/fuzz/corpus/$t.tar.gz -C "$c"
	if $O/fuzz/fuzz_$t -seed="${FUZZ_SEED:-1}" -max_total_time="$SECS" -timeout=60 -rss_limit_mb=2048 -max_len=4096 \
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
