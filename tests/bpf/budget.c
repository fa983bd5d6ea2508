// SPDX-License-Identifier: GPL-3.0-or-later
/* budget.c: what the kernel programs cost the verifier.
 *
 *   budget [-v]
 *
 * Loads them (attaches nothing) in each form in which the agent does and prints a line a program:
 * form, name, instructions, instructions the verifier processed (of its million), stack of its
 * frames. -v shows the kernel's log of what it refuses. tests/bpf/budget.py compares.
 */
#include "bpf/osp_shared.h"

#include "bpf/osprey.skel.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_SIZE (1u << 20)
#define LOG_STATS 4	/* the verifier's totals and nothing else, include/linux/bpf_verifier.h */
#define PROGS_MAX 32

struct form {
	const char *name;
	enum osp_capture capture;
	bool loop;		/* with bpf_loop() */
	bool unix_too;
};

static bool verbose;

static int print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	return verbose && level == LIBBPF_WARN ? vfprintf(stderr, fmt, ap) : 0;
}

/* As agent/source_bpf.c does; filters and rings are maps and change nothing. */
static void prepare(struct osprey_bpf *skel, const struct form *form)
{
	bool sock = form->capture == OSP_CAPTURE_SOCK;

	skel->rodata->osp_knobs = (struct osp_knobs){
		.capture = form->capture, .self_tgid = (uint32_t)getpid(), .call_cap = 256u << 10,
		.skip_from = 64u << 10, .wake_bytes = 4u << 20, .has_cookie = true,
		.unix_too = form->unix_too, .gather = form->loop ? 16 : 0,
	};
	bpf_program__set_autoload(skel->progs.osp_sock_send, sock);
	bpf_program__set_autoload(skel->progs.osp_sock_recv, sock);
	bpf_program__set_autoload(skel->progs.osp_sys_exit, !sock && form->loop);
	bpf_program__set_autoload(skel->progs.osp_sys_exit_plain, !sock && !form->loop);
	bpf_program__set_autoload(skel->progs.osp_unix_sweep, form->unix_too);
	bpf_program__set_autoload(skel->progs.osp_iter_unix, form->unix_too);
	bpf_map__set_max_entries(skel->maps.osp_data, 1u << 20);
	bpf_map__set_max_entries(skel->maps.osp_ctl, 1u << 20);
	bpf_map__set_max_entries(skel->maps.osp_scratch, (uint32_t)libbpf_num_possible_cpus());
}

static void report(const struct form *form, const struct bpf_program *prog, const char *log)
{
	const char *done = strstr(log, "processed "), *stack = strstr(log, "stack depth ");

	printf("%s %s %zu %lu %.*s\n", form->name, bpf_program__name(prog),
	       bpf_program__insn_cnt(prog), done ? strtoul(done + 10, NULL, 10) : 0,
	       stack ? (int)strcspn(stack + 12, " \n") : 1, stack ? stack + 12 : "-");
}

static int load(const struct form *form)
{
	struct osprey_bpf *skel = osprey_bpf__open();
	char *log[PROGS_MAX] = {};
	struct bpf_program *prog;
	int err = -ENOMEM, i = 0;

	if (!skel)
		return -errno;
	prepare(skel, form);
	bpf_object__for_each_program(prog, skel->obj) {
		if (i == PROGS_MAX || !(log[i] = calloc(1, LOG_SIZE)))
			goto out;
		bpf_program__set_log_level(prog, LOG_STATS);
		bpf_program__set_log_buf(prog, log[i++], LOG_SIZE);
	}
	err = osprey_bpf__load(skel);
	if (err) {
		fprintf(stderr, "budget: form %s is refused: %s\n", form->name, strerror(-err));
		for (i = 0; verbose && i < PROGS_MAX && log[i]; i++)
			fputs(log[i], stderr);
		goto out;
	}
	i = 0;
	bpf_object__for_each_program(prog, skel->obj) {
		if (bpf_program__fd(prog) >= 0)
			report(form, prog, log[i]);
		i++;
	}
out:
	osprey_bpf__destroy(skel);
	for (i = 0; i < PROGS_MAX; i++)
		free(log[i]);
	return err;
}

int main(int argc, char **argv)
{
	static const struct form forms[] = {
		{ "sock", OSP_CAPTURE_SOCK, true, false },
		{ "unix", OSP_CAPTURE_SOCK, true, true },
		{ "syscall", OSP_CAPTURE_SYSCALL, true, false },
		{ "plain", OSP_CAPTURE_SYSCALL, false, false },
	};
	int bad = 0;

	verbose = argc > 1 && !strcmp(argv[1], "-v");
	libbpf_set_print(print);
	for (size_t i = 0; i < sizeof(forms) / sizeof(*forms); i++)
		bad |= load(&forms[i]) != 0;
	return bad;
}
