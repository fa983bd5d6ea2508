# SPDX-License-Identifier: GPL-3.0-or-later
# Everything is built into $(O) (build/), programs into $(O)/bin. See `make help`.
#
#   BPF=0                   without kernel programs: no clang, bpftool, libbpf needed
#   KAFKA=0                 without the kafka sink; so by itself where librdkafka is missing
#   BROTLI=0                without decoding of br bodies; so by itself where libbrotlidec is missing
#   PCAP=0                  without capture from interfaces; so by itself where libpcap is missing
#   SAN=address,undefined   with sanitizers, into build/san
#   V=1                     show commands
#   CFLAGS, LDFLAGS         added to ours
#   VMLINUX_BTF=FILE        kernel types from another kernel's BTF

VERSION := 0.1.0
BPF ?= 1
SAN ?=
O ?= build$(if $(SAN),/san)$(if $(filter 0,$(BPF)),/nobpf)
# One name for one folder: the dependencies that compilers write name it as it was called.
override O := $(patsubst $(CURDIR)/%,%,$(O))
prefix ?= /usr/local
bindir ?= $(prefix)/bin
sbindir ?= $(prefix)/sbin
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
libdir ?= $(prefix)/lib
plugindir ?= $(libdir)/osprey
unitdir ?= $(prefix)/lib/systemd/system
pkgconfigdir ?= $(prefix)/share/pkgconfig
bashcompdir ?= $(prefix)/share/bash-completion/completions
docdir ?= $(prefix)/share/doc/osprey

ifeq ($(origin CC),default)
CC := gcc
endif
CLANG ?= clang
BPFTOOL ?= $(firstword $(shell command -v bpftool 2>/dev/null) /usr/sbin/bpftool)
PKG_CONFIG ?= pkg-config
VMLINUX_BTF ?= /sys/kernel/btf/vmlinux
LLHTTP_SRC ?= /usr/share/llhttp
LLHTTP_INC ?= /usr/share/include/llhttp
ifeq ($(origin KAFKA),undefined)
KAFKA := $(shell $(PKG_CONFIG) --exists rdkafka 2>/dev/null && echo 1 || echo 0)
endif
ifeq ($(origin BROTLI),undefined)
BROTLI := $(shell $(PKG_CONFIG) --exists libbrotlidec 2>/dev/null && echo 1 || echo 0)
endif
ifeq ($(origin PCAP),undefined)
PCAP := $(shell $(PKG_CONFIG) --exists libpcap 2>/dev/null && echo 1 || echo 0)
endif

Q := $(if $(V),,@)
msg = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2:$(O)/%=%)')

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	-Wimplicit-fallthrough -Wpointer-arith -Wno-unused-parameter
OSP_CPPFLAGS := -D_GNU_SOURCE -DOSP_VERSION='"$(VERSION)"' -DOSP_HAVE_BPF=$(BPF) \
	-DOSP_HAVE_KAFKA=$(KAFKA) -DOSP_HAVE_PCAP=$(PCAP) \
	-DOSP_HAVE_BROTLI=$(BROTLI) -I. -I$(O) -isystem $(LLHTTP_INC)
OSP_CFLAGS := -std=gnu11 -O2 -g $(WARN) $(if $(WERROR),-Werror) -fno-strict-aliasing -fvisibility=hidden
OSP_LDFLAGS := -pthread
ifneq ($(SAN),)
OSP_CFLAGS += -fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer
OSP_LDFLAGS += -fsanitize=$(SAN)
endif
LIBS := $(shell $(PKG_CONFIG) --libs libxxhash libmd libzstd zlib 2>/dev/null || echo -lxxhash -lmd -lzstd -lz)
ifneq ($(KAFKA),0)
LIBS += $(shell $(PKG_CONFIG) --libs rdkafka 2>/dev/null || echo -lrdkafka)
endif
ifneq ($(BROTLI),0)
LIBS += $(shell $(PKG_CONFIG) --libs libbrotlidec 2>/dev/null || echo -lbrotlidec)
endif
ifneq ($(PCAP),0)
LIBS += $(shell $(PKG_CONFIG) --libs libpcap 2>/dev/null || echo -lpcap)
endif
ifneq ($(BPF),0)
LIBS += $(shell $(PKG_CONFIG) --libs libbpf 2>/dev/null || echo -lbpf) -lelf -lz
endif

# ---- sources ---------------------------------------------------------------------------------
# The order is the data's: source -> tracker -> parser -> transaction -> record -> sink.
bpf_only := agent/source_bpf.c agent/check_layout.c
lib_src := $(wildcard agent/base/*.c agent/*.c agent/parser/*.c agent/wire/*.c record/*.c sinks/*.c)
lib_src := $(filter-out agent/main.c $(if $(filter 0,$(BPF)),$(bpf_only)),$(lib_src))
lib_src := $(filter-out $(if $(filter 0,$(KAFKA)),sinks/kafka.c),$(lib_src))
llhttp_src := llhttp.c api.c http.c
recon_src := $(filter-out recon/main.c,$(wildcard recon/*.c))
unit_src := $(wildcard tests/unit/test_*.c)
testlib_src := $(wildcard tests/lib/*.c)
syscall_src := $(wildcard tests/syscalls/*.c)
bench_src := $(wildcard tests/bench/*.c)
bpftest_src := $(if $(filter 0,$(BPF)),,$(wildcard tests/bpf/*.c))

lib_obj := $(lib_src:%.c=$(O)/obj/%.o) $(llhttp_src:%.c=$(O)/obj/llhttp/%.o)
recon_obj := $(recon_src:%.c=$(O)/obj/%.o)
testlib_obj := $(testlib_src:%.c=$(O)/obj/%.o)
unit_bin := $(unit_src:tests/unit/%.c=$(O)/tests/unit/%)
syscall_bin := $(syscall_src:tests/syscalls/%.c=$(O)/tests/syscalls/%)
sink_bin := $(if $(filter 0,$(KAFKA)),,$(O)/tests/sinks/mock_cluster)
bpftest_bin := $(bpftest_src:tests/bpf/%.c=$(O)/tests/bpf/%)
bench_bin := $(bench_src:tests/bench/%.c=$(O)/tests/bench/%)

.PHONY: all deps deps-test run demo test bench fuzz tests install install-headers uninstall clean \
	help check-headers check-layers bpf-budget test-kernels
.DELETE_ON_ERROR:
.SECONDARY:

all: $(O)/bin/osprey-agent $(O)/bin/recon-diff

# ---- programs --------------------------------------------------------------------------------
$(O)/bin/osprey-agent: $(O)/obj/agent/main.o $(O)/libosprey.a
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS) -ldl

$(O)/bin/recon-diff: $(O)/obj/recon/main.o $(recon_obj) $(O)/libosprey.a
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -ldl -lm

$(O)/libosprey.a: $(lib_obj)
	$(call msg,AR,$@)
	$(Q)rm -f $@ && ar rcs $@ $^

$(O)/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call msg,CC,$@)
	$(Q)$(CC) $(OSP_CPPFLAGS) $(OSP_CFLAGS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

# llhttp's C as Debian's node-llhttp ships it; its warnings are not ours to mend.
$(O)/obj/llhttp/%.o: $(LLHTTP_SRC)/%.c Makefile
	@mkdir -p $(@D)
	$(call msg,CC,$@)
	$(Q)$(CC) -I$(LLHTTP_INC) $(OSP_CFLAGS) -w $(CFLAGS) -MMD -MP -c $< -o $@

# ---- kernel programs -------------------------------------------------------------------------
ifneq ($(BPF),0)
BPF_ARCH := $(shell uname -m | sed 's/x86_64/x86/;s/aarch64/arm64/')
BPF_CFLAGS := -g -O2 -target bpf -mcpu=v3 -D__TARGET_ARCH_$(BPF_ARCH) -Wall -Wextra \
	-Wno-unused-parameter -Wno-missing-declarations

$(O)/bpf/vmlinux.h: $(VMLINUX_BTF)
	@mkdir -p $(@D)
	$(call msg,VMLINUX,$@)
	$(Q)$(BPFTOOL) btf dump file $< format c > $@

$(O)/bpf/%.bpf.o: bpf/%.bpf.c $(O)/bpf/vmlinux.h Makefile
	@mkdir -p $(@D)
	$(call msg,BPF,$@)
	$(Q)$(CLANG) $(BPF_CFLAGS) -MMD -MP -MF $(@:.o=.d) -MT $@ -I$(O)/bpf -I. -c $< -o $(@:.bpf.o=.tmp.o)
	$(Q)$(BPFTOOL) gen object $@ $(@:.bpf.o=.tmp.o)

$(O)/bpf/%.skel.h: $(O)/bpf/%.bpf.o
	$(call msg,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name $*_bpf > $@

$(bpf_only:%.c=$(O)/obj/%.o) $(bpftest_src:%.c=$(O)/obj/%.o): $(O)/bpf/osprey.skel.h
endif

# ---- tests -----------------------------------------------------------------------------------
tests: $(O)/tests/golden/http1_run $(unit_bin) $(syscall_bin) $(sink_bin) $(bpftest_bin)

$(O)/tests/bpf/%: $(O)/obj/tests/bpf/%.o
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(O)/tests/unit/test_recon%: $(O)/obj/tests/unit/test_recon%.o $(recon_obj) $(O)/libosprey.a
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -ldl -lm

$(O)/tests/unit/%: $(O)/obj/tests/unit/%.o $(testlib_obj) $(O)/libosprey.a
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -ldl

$(O)/tests/golden/%: $(O)/obj/tests/golden/%.o $(testlib_obj) $(O)/libosprey.a
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -ldl

# Workloads are victims, not ours: no sanitizers, nothing of our library.
$(O)/tests/syscalls/%: tests/syscalls/%.c Makefile
	@mkdir -p $(@D)
	$(call msg,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g $(WARN) -MMD -MP -MF $@.d -MT $@ $< -o $@ -pthread

# For the sinks' tests where no real broker is to be had.
$(O)/tests/sinks/mock_cluster: tests/sinks/mock_cluster.c Makefile
	@mkdir -p $(@D)
	$(call msg,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g $(WARN) -MMD -MP -MF $@.d -MT $@ $< -o $@ -lrdkafka

$(O)/tests/bench/%: $(O)/obj/tests/bench/%.o $(O)/libosprey.a
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -ldl

# Everything twice: as it is shipped, and with sanitizers.
test: deps-test
	@$(MAKE) --no-print-directory all tests check-headers check-layers
	@$(MAKE) --no-print-directory SAN=address,undefined all tests
	OSP_O='build build/san' tests/run $(ARGS)

# Both modes on Debian's kernels from 5.10 on, emulated; fetches them once. Not part of make test.
$(O)/tests/kernels/smoke: tests/kernels/smoke.c Makefile
	@mkdir -p $(@D)
	$(call msg,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 $(WARN) -static -MMD -MP -MF $@.d -MT $@ $< -o $@

test-kernels: all $(O)/tests/kernels/smoke
	OSP_O=$(O) tests/kernels/run.sh $(ARGS)

# What the kernel programs cost the verifier, beside what was accepted (tests/bpf/budget.txt).
bpf-budget: all $(bpftest_bin)
	OSP_O=$(O) tests/bpf/budget.py --show

bench: all $(bench_bin)
	OSP_O=$(O) tests/bench/run

# Every tests/fuzz/fuzz_X.c with all of the library, for FUZZ_SECS each. tests/fuzz/seeds_X.py FOLDER
# makes what it begins with, tests/fuzz/corpus/X.tar.gz is what long runs have found (put together
# with -set_cover_merge=1 -max_len=600). What it finds stays in $(O)/fuzz/corpus-X, what breaks in
# $(O)/fuzz/.
FUZZ_SECS ?= 20
FUZZ_SAN := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
fuzz_bin := $(patsubst tests/fuzz/%.c,$(O)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
# http_parser and its header are in one package.
ifeq ($(wildcard /usr/include/http_parser.h),)
fuzz_bin := $(filter-out %/fuzz_diff_parser,$(fuzz_bin))
endif
fuzz_obj := $(patsubst %.c,$(O)/fuzz/obj/%.o,$(filter-out $(bpf_only),$(lib_src))) \
	$(llhttp_src:%.c=$(O)/fuzz/obj/llhttp/%.o)
FUZZ_CFLAGS := $(OSP_CPPFLAGS) -UOSP_HAVE_BPF -DOSP_HAVE_BPF=0 -std=gnu11 -O1 -g -fno-strict-aliasing \
	$(FUZZ_SAN) -fsanitize=fuzzer-no-link

$(O)/fuzz/obj/llhttp/%.o: $(LLHTTP_SRC)/%.c Makefile
	@mkdir -p $(@D)
	$(call msg,FUZZCC,$@)
	$(Q)$(CLANG) -I$(LLHTTP_INC) $(FUZZ_CFLAGS) -w -MMD -MP -c $< -o $@

$(O)/fuzz/obj/%.o: %.c Makefile
	@mkdir -p $(@D)
	$(call msg,FUZZCC,$@)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) $(WARN) -MMD -MP -c $< -o $@

$(filter $(O)/fuzz/fuzz_recon%,$(fuzz_bin)): $(recon_src:%.c=$(O)/fuzz/obj/%.o)
$(O)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(fuzz_obj)
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CLANG) $(FUZZ_CFLAGS) $(WARN) -fsanitize=fuzzer -o $@ $< $(filter %.o,$^) -pthread $(LIBS) -ldl -lm

$(O)/fuzz/fuzz_diff_parser: LIBS += -lhttp_parser
$(O)/fuzz/fuzz_diff_parser $(O)/fuzz/fuzz_diff_http1: tests/fuzz/diff.h tests/lib/evbuild.c

fuzz: $(fuzz_bin)
	@for f in $(fuzz_bin); do \
		x=$${f##*/fuzz_}; c=$(O)/fuzz/corpus-$$x; mkdir -p $$c; \
		[ ! -e tests/fuzz/seeds_$$x.py ] || tests/fuzz/seeds_$$x.py $$c || exit 1; \
		[ ! -e tests/fuzz/corpus/$$x.tar.gz ] || \
			tar -xzf tests/fuzz/corpus/$$x.tar.gz -C $$c || exit 1; \
		echo "  FUZZ     $$x, $(FUZZ_SECS) s"; \
		$$f -max_total_time=$(FUZZ_SECS) -timeout=20 -rss_limit_mb=2048 -max_len=65536 \
			-close_fd_mask=2 -print_final_stats=1 -artifact_prefix=$(O)/fuzz/ $$c \
			2>$(O)/fuzz/$$x.log || { tail -40 $(O)/fuzz/$$x.log; exit 1; }; \
		grep -E 'stat::number_of|cov:' $(O)/fuzz/$$x.log | tail -2; \
	done

# Headers stand alone; folders include in the data's direction only.
check-headers:
	@for h in $$(find agent bpf record sinks recon -name '*.h' ! -name '*.bpf.h'); do \
		$(CC) $(OSP_CPPFLAGS) -std=gnu11 -Wall -Wextra -Wno-unused-parameter -fsyntax-only -x c $$h || exit 1; done
check-layers:
	@tests/check-layers

# ---- on this machine -------------------------------------------------------------------------
# Debian and Ubuntu. What the tests add is in deps-test.
DEPS := gcc make pkg-config libc6-dev libxxhash-dev libmd-dev node-llhttp zlib1g-dev libzstd-dev \
	librdkafka-dev libpcap-dev libbrotli-dev $(if $(filter 0,$(BPF)),,clang bpftool libbpf-dev libelf-dev)
DEPS_TEST := curl nginx-light wrk nodejs python3 python3-jsonschema iproute2 procps util-linux \
	libclang-rt-dev nftables ethtool tcpdump kcat openssl zstd gzip default-jre-headless maven \
	tshark libsqlite3-dev logrotate apache2-bin libhttp-parser-dev
# Large, so only where there is none of any make: servers of tests/matrix.
DEPS_TEST += $(if $(shell command -v go),,golang-go) $(if $(shell command -v javac),,default-jdk-headless)

deps:
	@contrib/install-packages $(DEPS)
deps-test: deps
	@contrib/install-packages $(DEPS_TEST)
	@contrib/fetch-promtool $(O)/tools

run: deps
	@$(MAKE) --no-print-directory all
	@$(O)/bin/osprey-agent $(ARGS)

demo: deps
	@$(MAKE) --no-print-directory all
	@contrib/demo $(O)/bin/osprey-agent

# Made from the table of options (agent/conf.c).
$(O)/osprey-agent.8 $(O)/osprey-agent.bash: $(O)/bin/osprey-agent
	$(call msg,GEN,$@)
	$(Q)$< --help-$(if $(filter %.8,$@),man,bash) > $@

install: all install-headers $(O)/osprey-agent.8 $(O)/osprey-agent.bash
	install -D -m 0755 $(O)/bin/osprey-agent $(DESTDIR)$(sbindir)/osprey-agent
	install -D -m 0755 $(O)/bin/recon-diff $(DESTDIR)$(bindir)/recon-diff
	install -D -m 0644 $(O)/osprey-agent.8 $(DESTDIR)$(mandir)/man8/osprey-agent.8
	install -D -m 0644 $(O)/osprey-agent.bash $(DESTDIR)$(bashcompdir)/osprey-agent
	install -d $(DESTDIR)$(unitdir) $(DESTDIR)$(plugindir)
	sed 's|/usr/local/sbin/|$(sbindir)/|' contrib/systemd/osprey-agent.service \
		> $(DESTDIR)$(unitdir)/osprey-agent.service
	for f in README.md LICENSE docs/*.md docs/*.json; do install -D -m 0644 $$f $(DESTDIR)$(docdir)/$${f##*/}; done
	for f in docs/integration/* contrib/grafana/* contrib/prometheus/* contrib/logrotate/* \
		contrib/sqlite-sink/*; do \
		[ ! -f $$f ] || install -D -m 0644 $$f $(DESTDIR)$(docdir)/$${f#docs/}; done

# What plugins are built with. Its names are <osprey/...> there, so that -I needs one folder.
HEADERS := slice.h=agent/base/slice.h record.h=record/osp_record.h sink.h=sinks/osp_sink.h
install-headers:
	install -d $(DESTDIR)$(includedir)/osprey $(DESTDIR)$(pkgconfigdir)
	for h in $(HEADERS); do \
		sed 's|"agent/base/slice.h"|<osprey/slice.h>|; s|"record/osp_record.h"|<osprey/record.h>|' \
			$${h#*=} > $(DESTDIR)$(includedir)/osprey/$${h%%=*} || exit 1; done
	sed 's|@prefix@|$(prefix)|; s|@includedir@|$(includedir)|; s|@plugindir@|$(plugindir)|; s|@version@|$(VERSION)|' \
		contrib/pkgconfig/osprey-sink.pc.in > $(DESTDIR)$(pkgconfigdir)/osprey-sink.pc

uninstall:
	rm -f $(DESTDIR)$(sbindir)/osprey-agent $(DESTDIR)$(bindir)/recon-diff \
		$(DESTDIR)$(mandir)/man8/osprey-agent.8 $(DESTDIR)$(bashcompdir)/osprey-agent \
		$(DESTDIR)$(unitdir)/osprey-agent.service $(DESTDIR)$(pkgconfigdir)/osprey-sink.pc
	rm -rf $(DESTDIR)$(includedir)/osprey $(DESTDIR)$(docdir)

clean:
	rm -rf $(O)

help:
	@echo 'sudo make run [ARGS=...]   install what is missing, build, run the agent'
	@echo 'sudo make test             the same, then all tests'
	@echo 'sudo make demo             agent, server and client together for a few seconds'
	@echo 'make                       build into $(O)/bin'
	@echo 'make bench                 victim cost and throughput'
	@echo 'make test-kernels          both modes on Debian kernels, in qemu'
	@echo 'make bpf-budget            what the kernel programs cost the verifier'
	@echo 'make fuzz FUZZ_SECS=20     libFuzzer on what comes from outside'
	@echo 'make install DESTDIR= prefix=/usr/local'
	@echo 'make BPF=0                 without kernel programs'
	@echo 'make SAN=address,undefined with sanitizers, into build/san'
	@echo 'make check-headers check-layers'

-include $(shell test -d $(O) && find $(O) -path $(O)/kernels -prune -o -name '*.d' -print 2>/dev/null)
