#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Plugins: built against the installed headers alone, loaded, and refused for every reason there is.
# shellcheck source=tests/lib/tap.sh
. "$(dirname "$0")/../lib/tap.sh"
[ -x "$AGENT" ] || skip_all "no $AGENT"
CC=${CC:-gcc}
PY=/usr/bin/python3

# A folder that only root, or whoever runs this, can write to.
D=$TMP/plugins
mkdir -m 755 "$D"
export PKG_CONFIG_PATH=$TMP/dest/usr/local/share/pkgconfig PKG_CONFIG_SYSROOT_DIR=$TMP/dest

# The build folder with the shipped programs gets a whole install, the others (sanitizers) the headers.
test_install() {
	local target=install-headers
	[ "$OSP_O" != "$TOP/build" ] || target=install
	check "make $target DESTDIR=..." make -C "$TOP" O="$OSP_O" prefix=/usr/local "$target" \
		DESTDIR="$TMP/dest"
	if [ $target = install ]; then
		local f
		for f in sbin/osprey-agent share/man/man8/osprey-agent.8 \
			share/bash-completion/completions/osprey-agent \
			lib/systemd/system/osprey-agent.service include/osprey/sink.h; do
			check "  there is $f" test -s "$TMP/dest/usr/local/$f"
		done
	fi
	equal "pkg-config knows the headers' folder" "$(pkg-config --cflags osprey-sink | xargs)" \
		"-I$TMP/dest/usr/local/include"
	equal "pkg-config knows the plugins' folder" "$(env -u PKG_CONFIG_SYSROOT_DIR \
		pkg-config --variable=plugindir osprey-sink)" \
		"/usr/local/lib/osprey"
	printf '#include <osprey/sink.h>\nint main(void) { return 0; }\n' >"$TMP/alone.c"
	# shellcheck disable=SC2046
	check "#include <osprey/sink.h> works outside the source" env -C "$TMP" "$CC" -Wall -Werror \
		-fsyntax-only $(pkg-config --cflags osprey-sink) alone.c
}

# build NAME FLAG...
build() {
	local name=$1
	shift
	# shellcheck disable=SC2046
	"$CC" -O1 -Wall $(pkg-config --cflags osprey-sink) -fPIC -shared "$@" \
		-o "$D/$name.so" "$TOP/tests/plugins/plugin.c" || fail "$name.so builds"
}

# agent SPEC: a short run with the sink; its end in CODE, its words in $TMP/err.
agent() {
	CODE=0
	timeout 20 "$AGENT" --synthetic=txns=50,seed=1 --sink "$1" >"$TMP/out" 2>"$TMP/err" ||
		CODE=$?
}

# refused NAME REGEX SPEC: exit 2 (or WANT), a single line that matches.
refused() {
	agent "$3"
	if [ "$CODE" = "${WANT:-2}" ] && [ "$(wc -l <"$TMP/err")" = 1 ] && grep -qE "$2" "$TMP/err"; then
		pass "refused: $1"
	else
		fail "refused: $1" "exit $CODE, not one line with /$2/:
$(head -5 "$TMP/err")"
	fi
}

test_good() {
	build good -DTRACE
	agent "$D/good.so:flavour=sour"
	equal "a plugin runs" "$CODE" 0
	check "  its constructor ran (so the trace works)" grep -q 'constructor ran' "$TMP/err"
	check "  its options are parsed, its log is heard" grep -q 'is open, flavour 1' "$TMP/err"
	check "  its records are counted, the sums close" grep -q 'all sums close' "$TMP/err"
	check "  under its name" grep -qE 'sink good +offered' "$TMP/err"
	(cd "$D" && agent ./good.so && exit "$CODE")
	equal "a relative path works" $? 0
	build quiet
	refused "an option it does not have" 'no option "colour".*flavour' "$D/quiet.so:colour=red"
	agent "$D/good.so"
	CODE=0
	timeout 20 "$AGENT" --synthetic=txns=9 --sink "$D/good.so" --sink "$D/good.so" \
		--sink null 2>"$TMP/err" || CODE=$?
	equal "twice, and beside another" "$CODE $(grep -cE 'sink good(#2)? ' "$TMP/err")" "0 2"
	build null -DNAME='"null"'
	timeout 20 "$AGENT" --synthetic=txns=9 --sink null --sink "$D/null.so" 2>"$TMP/err"
	equal "a plugin with a built-in's name is told from it" \
		"$(grep -cE 'sink null(#2)? ' "$TMP/err")" 2
}

test_refusals() {
	build abi -DABI=7
	refused "another ABI" 'made for sink ABI 7, this agent has 2' "$D/abi.so"
	build size -DSIZE=24
	refused "a struct that is too short" 'osp_sink_ops has 24 bytes, [0-9]+ are needed' "$D/size.so"
	build nullentry -DREFUSE
	refused "by the plugin itself" 'refuses this agent.s sink ABI' "$D/nullentry.so"
	build noentry -DNO_ENTRY
	refused "no osp_sink_entry" 'no osp_sink_entry' "$D/noentry.so"
	build nowrite -DNO_WRITE
	refused "no write()" 'lacks write' "$D/nowrite.so"
	build badname -DNAME='"a b"'
	refused "a name that is no name" 'its name' "$D/badname.so"
	echo "this is no shared object, but a file with some text in it" >"$D/text.so"
	refused "not an ELF file" 'not a shared object' "$D/text.so"
	: >"$D/empty.so"
	refused "an empty file" 'not a shared object' "$D/empty.so"
	head -c 3000 "$D/good.so" >"$D/half.so"
	refused "half a file" 'cut off \(3000 bytes\)' "$D/half.so"
	head -c 100 "$D/good.so" >"$D/start.so"
	refused "less than that" 'cut off \(100 bytes\)' "$D/start.so"
	cp "$AGENT" "$D/program.so"
	refused "a program" 'plugin .*program.so: .' "$D/program.so"
	refused "not there" 'No such file' "$D/none.so"
	refused "a folder" 'not a regular file' "$D/."
}

# What others can write to, directly or by way of its folders; nothing of it may run.
test_access() {
	local why='can be written by others'
	build open -DTRACE
	chmod 0757 "$D/open.so"
	refused "a file that all can write" "$why \(mode 0757\)" "$D/open.so"
	equal "  none of its code ran" "$(grep -c 'constructor ran' "$TMP/err")" 0
	chmod 0775 "$D/open.so"
	refused "a file that a group can write" "$why" "$D/open.so"
	ln -s "$D/open.so" "$D/link.so"
	refused "  by way of a link, too" "$why" "$D/link.so"
	mkdir -m 755 "$D/in"
	cp "$D/good.so" "$D/in/"
	chmod 0777 "$D/in"
	refused "a folder that all can write" "$D/in $why" "$D/in/good.so"
	chmod 1777 "$D/in"
	refused "  even a sticky one" "$D/in $why" "$D/in/good.so"
	chmod 755 "$D/in"
	mkdir -m 755 "$D/in/side"
	cp "$D/good.so" "$D/in/side/"
	chmod 0777 "$D/in"
	refused "a folder above its own" "$D/in $why" "$D/in/side/good.so"
	chmod 0755 "$D/in"
	agent "$D/in/side/good.so"
	equal "with the modes put right it runs" "$CODE" 0
	if [ "$(id -u)" = 0 ]; then
		chown 65534 "$D/in/side/good.so"
		refused "a file of another user" 'belongs to user 65534' "$D/in/side/good.so"
		chown 0 "$D/in/side/good.so"
		chown 65534 "$D/in"
		refused "a folder of another user" 'belongs to user 65534' "$D/in/side/good.so"
		chown 0 "$D/in"
	else
		skip "refused: a file of another user" "needs root"
	fi
}

# The example, with its own Makefile: its rows are the transactions of jsonl.
test_sqlite() {
	if ! pkg-config --exists sqlite3; then
		skip "the SQLite sink" "no libsqlite3-dev"
		return
	fi
	mkdir -m 755 "$D/sqlite"
	check "the SQLite sink builds by its own Makefile" make -C "$TOP/contrib/sqlite-sink" \
		O="$D/sqlite" CC="$CC" CFLAGS="-O1 -Werror"
	local so=$D/sqlite/sqlite_sink.so db=$TMP/rows.db
	WANT=78 refused "without a path" 'path=FILE is missing' "$so"
	CODE=0
	timeout 50 "$AGENT" --synthetic=txns=3000,seed=5,loss=0.01 --sink "jsonl:path=$TMP/rows.jsonl" \
		--sink "$so:path=$db,kind=transaction,record=yes" 2>"$TMP/err" || CODE=$?
	equal "the SQLite sink runs beside jsonl" "$CODE" 0
	check "  all sums close" grep -q 'all sums close' "$TMP/err"
	check "  its rows are jsonl's transactions, field by field" "$PY" \
		"$TOP/tests/plugins/rows.py" "$db" "$TMP/rows.jsonl" 3000
	timeout 50 "$AGENT" --synthetic=txns=3000,seed=5,loss=0.01 --sink "$so:path=$db" 2>"$TMP/err"
	check "  the same records again are the same rows" "$PY" \
		"$TOP/tests/plugins/rows.py" "$db" "$TMP/rows.jsonl" 3000
	check "a database others write to is waited for, nothing is lost" "$PY" \
		"$TOP/tests/plugins/rows.py" --busy "$AGENT" "$so" "$TMP/busy.db"
}

test_install
test_good
test_refusals
test_access
test_sqlite
done_testing
