#!/bin/bash
# SPDX-License-Identifier: GPL-3.0-or-later
# run.sh: boots Debian's kernels under qemu and lets the agent capture a little traffic on each, in
# both modes. `make test-kernels` runs this; `make test` does not: it fetches kernels (100 MB, kept
# in $OSP_O/kernels) and emulates, so it takes minutes. No root, nothing of this machine is changed.
#
#     tests/kernels/run.sh [SUITE]...     default: bullseye-security bookworm-security
#                                         trixie-security sid
#
# Needs qemu-system-x86, dpkg, apt. DEBIAN_MIRROR overrides the mirror of this machine's apt.
# TAP: one point a kernel, its own points as comments. Emulation is slow and has no clock to trust, so
# nothing here measures time.
set -euo pipefail
TOP=$(cd "$(dirname "$0")/../.." && pwd)
OUT=$(cd "$TOP/${OSP_O:-build}" && pwd)
WORK=$OUT/kernels
APT=$WORK/apt
SUITES=("$@")
[ $# -gt 0 ] || SUITES=(bullseye-security bookworm-security trixie-security sid)
BOOT_SECS=300

skip_all()
{
	echo "ok 1 - kernels # SKIP $1"
	echo "1..1"
	exit 0
}

mirror()
{
	local m=${DEBIAN_MIRROR:-}

	[ -n "$m" ] || m=$(grep -rhoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list \
		/etc/apt/sources.list.d 2>/dev/null | head -n 1 || true)
	m=${m%% *}
	echo "${m%/}"
}

# An apt of our own: several releases at once, and this machine's state is not touched.
make_apt()
{
	local m key=/usr/share/keyrings/debian-archive-keyring.gpg suite

	m=$(mirror)
	[ -n "$m" ] || skip_all "no Debian mirror is known (DEBIAN_MIRROR)"
	mkdir -p "$APT"/etc/apt/{apt.conf.d,preferences.d,sources.list.d} \
		"$APT"/var/lib/apt/lists/partial "$APT"/var/cache/apt/archives/partial \
		"$APT"/var/lib/dpkg
	: >"$APT/var/lib/dpkg/status"
	for suite in "${SUITES[@]}" bookworm; do
		case $suite in
		*-security) echo "deb [signed-by=$key] $m-security $suite main" ;;
		*) echo "deb [signed-by=$key] $m $suite main" ;;
		esac
	done >"$APT/etc/apt/sources.list"
	cat >"$APT/apt.conf" <<-END
		Dir "$APT"; Dir::State "$APT/var/lib/apt";
		Dir::State::status "$APT/var/lib/dpkg/status";
		Dir::Cache "$APT/var/cache/apt"; Dir::Etc "$APT/etc/apt";
		Dir::Etc::parts "$APT/etc/apt/apt.conf.d";
		APT::Architecture "amd64"; APT::Architectures "amd64";
		APT::Sandbox::User "$(id -un)";
		Acquire::Languages "none"; Acquire::Check-Valid-Until "false";
	END
	APT_CONFIG=$APT/apt.conf apt-get -qq update >&2
}

depends()	# PACKAGE PATTERN: the first package it depends on whose name matches
{
	# apt-cache has more to say than is read here, and must not end for that.
	APT_CONFIG=$APT/apt.conf apt-cache show "$1" 2>/dev/null |
		sed -n "s/^Depends:.*\(\($2\)[^ ,]*\).*/\1/p" | sed -n 1p
}

unpack()	# PACKAGE FOLDER
{
	(cd "$WORK" && APT_CONFIG=$APT/apt.conf apt-get -qq download "$1" >&2)
	local deb

	deb=$(find "$WORK" -maxdepth 1 -name "${1%%/*}_*.deb" | head -n 1)
	dpkg -x "$deb" "$2"
	rm -f "$deb"
}

fetch_kernel()	# SUITE: its newest kernel as $WORK/SUITE/vmlinuz
{
	local dir=$WORK/$1 image binary

	[ ! -s "$dir/vmlinuz" ] || return 0
	rm -rf "$dir"
	mkdir -p "$dir/x"
	image=$(depends "linux-image-cloud-amd64/$1" "linux-image-[0-9]")
	[ -n "$image" ] || return 1
	# From 7.x on the image is a package of its own.
	binary=$(depends "$image" "linux-binary-[0-9]")
	unpack "${binary:-$image}" "$dir/x"
	find "$dir/x" -name 'vmlinuz*' -type f -exec cp {} "$dir/vmlinuz" \;
	rm -rf "$dir/x"
	[ -s "$dir/vmlinuz" ]
}

fetch_busybox()
{
	[ ! -x "$WORK/busybox" ] || return 0
	rm -rf "$WORK/bb"
	unpack busybox-static/bookworm "$WORK/bb"
	find "$WORK/bb" -path '*/bin/busybox' -type f -exec cp {} "$WORK/busybox" \;
	rm -rf "$WORK/bb"
	[ -x "$WORK/busybox" ]
}

# A root of busybox, the agent with its libraries, and the traffic.
make_root()
{
	local root=$WORK/root app so

	rm -rf "$root"
	mkdir -p "$root"/{bin,dev,proc,sys,tmp,sys/fs/bpf}
	cp "$WORK/busybox" "$root/bin/"
	while read -r app; do
		[ "$app" = busybox ] || ln -sf busybox "$root/bin/$app"
	done < <("$WORK/busybox" --list)
	cp "$OUT/bin/osprey-agent" "$OUT/tests/kernels/smoke" "$root/bin/"
	ldd "$OUT/bin/osprey-agent" | grep -o '/[^ ]*' | while read -r so; do
		install -D "$so" "$root$so"
	done
	install -m 755 "$TOP/tests/kernels/guest.sh" "$root/init"
}

boot()	# SUITE SOCK
{
	local dir=$WORK/$1

	echo "OSP_SOCK=$2" >"$WORK/root/run.conf"
	(cd "$WORK/root" && find . | "$WORK/busybox" cpio -o -H newc -R 0:0 2>/dev/null) >"$dir/initrd"
	rm -f "$dir/out"
	timeout -k 5 $BOOT_SECS qemu-system-x86_64 -machine q35 -accel tcg -cpu max -smp 1 -m 1024 \
		-nodefaults -no-user-config -display none -no-reboot -kernel "$dir/vmlinuz" \
		-initrd "$dir/initrd" -append "console=ttyS0 panic=-1 mitigations=off quiet" \
		-serial "file:$dir/console" -serial "file:$dir/out" </dev/null >&2 || true
	rm -f "$dir/initrd"
	grep -q '^1\.\.' "$dir/out" 2>/dev/null
}

# The release is in the image's header (Documentation/arch/x86/boot.rst, kernel_version); the
# tracepoints of sock mode came with 6.3.
release()	# VMLINUZ
{
	local at

	at=$(od -An -tu2 -j 526 -N 2 "$1" | tr -d ' ')
	dd if="$1" bs=1 skip=$((at + 512)) count=64 status=none | tr '\0' '\n' | sed -n '1s/ .*//p'
}

has_sock()	# RELEASE
{
	[ "$(printf '%s\n6.3\n' "${1%%-*}" | sort -V | head -n 1)" = 6.3 ] && echo 1 || echo 0
}

for tool in qemu-system-x86_64 apt-get dpkg; do
	command -v $tool >/dev/null || skip_all "needs $tool"
done
for file in bin/osprey-agent tests/kernels/smoke; do
	[ -x "$OUT/$file" ] || skip_all "no $OUT/$file"
done
mkdir -p "$WORK"
for suite in "${SUITES[@]}"; do
	if [ ! -s "$WORK/$suite/vmlinuz" ] || [ ! -x "$WORK/busybox" ]; then
		make_apt
		break
	fi
done
fetch_busybox || skip_all "busybox-static cannot be fetched"
make_root
n=0 bad=0
for suite in "${SUITES[@]}"; do
	n=$((n + 1))
	if ! fetch_kernel "$suite"; then
		echo "ok $n - $suite # SKIP its kernel cannot be fetched"
		continue
	fi
	rel=$(release "$WORK/$suite/vmlinuz")
	# Once more if the guest died without a word: that is the emulator's doing.
	boot "$suite" "$(has_sock "$rel")" || boot "$suite" "$(has_sock "$rel")" || true
	if grep -q '^1\.\.' "$WORK/$suite/out" 2>/dev/null &&
	   ! grep -q '^not ok' "$WORK/$suite/out"; then
		echo "ok $n - Linux $rel ($suite)"
	else
		echo "not ok $n - Linux $rel ($suite)"
		bad=1
		tail -n 5 "$WORK/$suite/console" | sed 's/^/# console: /'
	fi
	sed 's/^/#   /' "$WORK/$suite/out" 2>/dev/null || true
done
echo "1..$n"
exit $bad
