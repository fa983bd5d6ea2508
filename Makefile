# SPDX-License-Identifier: GPL-3.0-or-later
# Everything is built into $(O) (build/), programs into $(O)/bin. See `make help`.
#
#   BPF=0                   without kernel programs: no clang, bpftool, libbpf needed
#   KAFKA=0                 without the kafka sink; so by itself where librdkafka is missing
#   SAN=address,undefined   with sanitizers, into build/san
#   V=1                     show commands
#   CFLAGS, LDFLAGS         added to ours
#   VMLINUX_BTF=FILE        kernel types from another kernel's BTF

VERSION := 0.1.0
BPF ?= 1
SAN ?=
O ?= build$(if $(SAN),/san)$(if $(filter 0,$(BPF)),/nobpf)
prefix ?= /usr/local
sbindir ?= $(prefix)/sbin
includedir ?= $(prefix)/include
mandir ?= $(prefix)/share/man
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

Q := $(if $(V),,@)
msg = $(if $(V),,@printf '  %-8s %s\n' '$(1)' '$(2:$(O)/%=%)')

WARN := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Wmissing-prototypes \
	-Wimplicit-fallthrough -Wpointer-arith -Wno-unused-parameter
OSP_CPPFLAGS := -D_GNU_SOURCE -DOSP_VERSION='"$(VERSION)"' -DOSP_HAVE_BPF=$(BPF) \
	-DOSP_HAVE_KAFKA=$(KAFKA) -I. -I$(O) -isystem $(LLHTTP_INC)
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
ifneq ($(BPF),0)
LIBS += $(shell $(PKG_CONFIG) --libs libbpf 2>/dev/null || echo -lbpf) -lelf -lz
endif

# ---- sources ---------------------------------------------------------------------------------
# The order is the data's: source -> tracker -> parser -> transaction -> record -> sink.
bpf_only := agent/source_bpf.c agent/check_layout.c
lib_src := $(wildcard agent/base/*.c agent/*.c agent/parser/*.c record/*.c sinks/*.c)
lib_src := $(filter-out agent/main.c $(if $(filter 0,$(BPF)),$(bpf_only)),$(lib_src))
lib_src := $(filter-out $(if $(filter 0,$(KAFKA)),sinks/kafka.c),$(lib_src))
llhttp_src := llhttp.c api.c http.c
unit_src := $(wildcard tests/unit/test_*.c)
testlib_src := $(wildcard tests/lib/*.c)
syscall_src := $(wildcard tests/syscalls/*.c)
bench_src := $(wildcard tests/bench/*.c)

lib_obj := $(lib_src:%.c=$(O)/obj/%.o) $(llhttp_src:%.c=$(O)/obj/llhttp/%.o)
testlib_obj := $(testlib_src:%.c=$(O)/obj/%.o)
unit_bin := $(unit_src:tests/unit/%.c=$(O)/tests/unit/%)
syscall_bin := $(syscall_src:tests/syscalls/%.c=$(O)/tests/syscalls/%)
bench_bin := $(bench_src:tests/bench/%.c=$(O)/tests/bench/%)

.PHONY: all deps deps-test run demo test bench tests install uninstall clean help check-headers \
	check-layers
.DELETE_ON_ERROR:
.SECONDARY:

all: $(O)/bin/osprey-agent

# ---- programs --------------------------------------------------------------------------------
$(O)/bin/osprey-agent: $(O)/obj/agent/main.o $(O)/libosprey.a
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -rdynamic -o $@ $^ $(LIBS) -ldl

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

$(bpf_only:%.c=$(O)/obj/%.o): $(O)/bpf/osprey.skel.h
endif

# ---- tests -----------------------------------------------------------------------------------
tests: $(unit_bin) $(syscall_bin)

$(O)/tests/unit/%: $(O)/obj/tests/unit/%.o $(testlib_obj) $(O)/libosprey.a
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -ldl

# Workloads are victims, not ours: no sanitizers, nothing of our library.
$(O)/tests/syscalls/%: tests/syscalls/%.c Makefile
	@mkdir -p $(@D)
	$(call msg,CC,$@)
	$(Q)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g $(WARN) -MMD -MP -MF $@.d -MT $@ $< -o $@ -pthread

$(O)/tests/bench/%: $(O)/obj/tests/bench/%.o $(O)/libosprey.a
	@mkdir -p $(@D)
	$(call msg,LINK,$@)
	$(Q)$(CC) $(OSP_CFLAGS) $(CFLAGS) $(OSP_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS) -ldl

# Everything twice: as it is shipped, and with sanitizers.
test: deps-test
	@$(MAKE) --no-print-directory all tests check-headers check-layers
	@$(MAKE) --no-print-directory SAN=address,undefined all tests
	OSP_O='build build/san' tests/run $(ARGS)

bench: all $(bench_bin)
	OSP_O=$(O) tests/bench/run

# Headers stand alone; folders include in the data's direction only.
check-headers:
	@for h in $$(find agent bpf record sinks -name '*.h' ! -name '*.bpf.h'); do \
		$(CC) $(OSP_CPPFLAGS) -std=gnu11 -Wall -Wextra -Wno-unused-parameter -fsyntax-only -x c $$h || exit 1; done
check-layers:
	@tests/check-layers

# ---- on this machine -------------------------------------------------------------------------
# Debian and Ubuntu. What the tests add is in deps-test.
DEPS := gcc make pkg-config libc6-dev libxxhash-dev libmd-dev node-llhttp zlib1g-dev libzstd-dev \
	librdkafka-dev $(if $(filter 0,$(BPF)),,clang bpftool libbpf-dev libelf-dev)
DEPS_TEST := curl nginx-light wrk nodejs python3 python3-jsonschema iproute2 procps util-linux \
	libclang-rt-dev kcat zstd gzip default-jre-headless maven

deps:
	@contrib/install-packages $(DEPS)
deps-test: deps
	@contrib/install-packages $(DEPS_TEST)

run: deps
	@$(MAKE) --no-print-directory all
	@$(O)/bin/osprey-agent $(ARGS)

demo: deps
	@$(MAKE) --no-print-directory all
	@contrib/demo $(O)/bin/osprey-agent

install: all
	install -D -m 0755 $(O)/bin/osprey-agent $(DESTDIR)$(sbindir)/osprey-agent
	install -D -m 0644 agent/base/slice.h $(DESTDIR)$(includedir)/osprey/agent/base/slice.h
	install -D -m 0644 record/osp_record.h $(DESTDIR)$(includedir)/osprey/record/osp_record.h
	install -D -m 0644 sinks/osp_sink.h $(DESTDIR)$(includedir)/osprey/sinks/osp_sink.h
	for f in README.md LICENSE docs/*.md docs/*.json; do install -D -m 0644 $$f $(DESTDIR)$(docdir)/$${f##*/}; done

uninstall:
	rm -f $(DESTDIR)$(sbindir)/osprey-agent
	rm -rf $(DESTDIR)$(includedir)/osprey $(DESTDIR)$(docdir)

clean:
	rm -rf $(O)

help:
	@echo 'sudo make run [ARGS=...]   install what is missing, build, run the agent'
	@echo 'sudo make test             the same, then all tests'
	@echo 'sudo make demo             agent, server and client together for a few seconds'
	@echo 'make                       build into $(O)/bin'
	@echo 'make bench                 victim cost and throughput'
	@echo 'make install DESTDIR= prefix=/usr/local'
	@echo 'make BPF=0                 without kernel programs'
	@echo 'make SAN=address,undefined with sanitizers, into build/san'
	@echo 'make check-headers check-layers'

-include $(shell test -d $(O) && find $(O) -name '*.d' 2>/dev/null)
