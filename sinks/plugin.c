/* SPDX-License-Identifier: GPL-3.0-or-later */
/* plugin.c: a sink from a shared object: is it safe to load, is it a sink, does it fit.
 *
 * The agent mostly runs as root, and whoever can write the file, or replace it by renaming in one
 * of its folders, runs code as root with it. So everything from the file up to / must belong to
 * root or to the agent's user and be writable by nobody else. A sticky folder (such as /tmp) is good
 * enough above the plugin's own: others cannot rename what is not theirs in it.
 */
#include "sinks/plugin.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What fits the host's labels, with room for "#23". */
#define NAME_MAX_CHARS 30u

static int __attribute__((format(printf, 3, 4)))
refuse(char *err, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, size, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- the file ------------------------------------------------------------------------------ */

static bool trusted_owner(const struct stat *st)
{
	return st->st_uid == 0 || st->st_uid == geteuid();
}

/* path: the file, or a folder above it; depth: how many levels above. */
static int check_one(const char *path, int depth, char *err, size_t size)
{
	struct stat st;
	bool sticky;

	if (lstat(path, &st))
		return refuse(err, size, "%s: %s", path, strerror(errno));
	if (!depth && !S_ISREG(st.st_mode))
		return refuse(err, size, "not a regular file");
	if (!trusted_owner(&st))
		return refuse(err, size, "%s belongs to user %u, must be root's or the agent's",
			      path, (unsigned)st.st_uid);
	sticky = depth > 1 && (st.st_mode & S_ISVTX);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) && !sticky)
		return refuse(err, size, "%s can be written by others (mode %04o)", path,
			      (unsigned)st.st_mode & 07777);
	return 0;
}

/* real: absolute, without links. */
static int check_path(const char *real, char *err, size_t size)
{
	char path[PATH_MAX];
	size_t n = strlen(real);
	int ret;

	if (n >= sizeof(path))
		return refuse(err, size, "its path is too long");
	memcpy(path, real, n + 1);
	for (int depth = 0;; depth++) {
		char *slash = strrchr(path, '/');

		ret = check_one(path, depth, err, size);
		if (ret || !slash[1])
			return ret;
		slash[slash == path] = 0;
	}
}

/* Whether the file has all the bytes that its segments say. The loader maps what is missing without
 * a word, and touching it is SIGBUS: a plugin that is being copied must not end the agent.
 */
static int check_elf(int fd, char *err, size_t size)
{
	ElfW(Ehdr) head;
	ElfW(Phdr) ph;
	struct stat st;

	if (fstat(fd, &st))
		return refuse(err, size, "%s", strerror(errno));
	if (pread(fd, &head, sizeof(head), 0) != sizeof(head) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) || head.e_type != ET_DYN ||
	    head.e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) ||
	    head.e_phentsize != sizeof(ph))
		return refuse(err, size, "not a shared object (ELF) of this machine");
	for (unsigned int i = 0; i < head.e_phnum; i++) {
		if (pread(fd, &ph, sizeof(ph), (off_t)(head.e_phoff + i * sizeof(ph))) !=
		    sizeof(ph))
			return refuse(err, size, "cut off (%lld bytes)", (long long)st.st_size);
		if (ph.p_type == PT_LOAD && ((off_t)ph.p_offset < 0 ||
		    (off_t)ph.p_filesz < 0 || (off_t)ph.p_offset > st.st_size ||
		    (off_t)ph.p_filesz > st.st_size - (off_t)ph.p_offset))
			return refuse(err, size, "cut off (%lld bytes)", (long long)st.st_size);
	}
	return 0;
}

static int check_content(const char *real, char *err, size_t size)
{
	int fd = open(real, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return refuse(err, size, "%s", strerror(errno));
	ret = check_elf(fd, err, size);
	close(fd);
	return ret;
}

/* ---- what is in it ------------------------------------------------------------------------- */

static bool name_is_good(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return n && n <= NAME_MAX_CHARS && !name[n];
}

int osp_plugin_check(const struct osp_sink_ops *ops, char *err, size_t size)
{
	const size_t need = offsetof(struct osp_sink_ops, close) + sizeof(ops->close);

	/* Until these two are right nothing behind them may be looked at. */
	if (ops->abi != OSP_SINK_ABI)
		return refuse(err, size, "made for sink ABI %u, this agent has %u", ops->abi,
			      OSP_SINK_ABI);
	if (ops->size < need)
		return refuse(err, size, "its struct osp_sink_ops has %u bytes, %zu are needed",
			      ops->size, need);
	if (!ops->name || !name_is_good(ops->name))
		return refuse(err, size, "its name is not 1 to %u of a-z, 0-9, _ and -",
			      NAME_MAX_CHARS);
	if (!ops->open || !ops->write || !ops->close)
		return refuse(err, size, "it lacks %s", !ops->open ? "open" :
			      !ops->write ? "write" : "close");
	return 0;
}

/* dlerror() without the path, which stands before it already. */
static const char *dl_reason(const char *real)
{
	const char *why = dlerror();
	size_t n = strlen(real);

	if (!why)
		return "cannot be loaded";
	return !strncmp(why, real, n) && !strncmp(why + n, ": ", 2) ? why + n + 2 : why;
}

static int load(const struct osp_sink_ops **out, const char *real, char *err, size_t size)
{
	osp_sink_entry_fn entry;
	void *lib, *symbol;
	int ret;

	lib = dlopen(real, RTLD_NOW | RTLD_LOCAL);
	if (!lib)
		return refuse(err, size, "%s", dl_reason(real));
	symbol = dlsym(lib, "osp_sink_entry");
	if (!symbol)
		return refuse(err, size, "it has no osp_sink_entry: not a sink");
	/* ISO C has no conversion from an object's pointer to a function's; POSIX promises it. */
	memcpy(&entry, &symbol, sizeof(entry));
	*out = entry(OSP_SINK_ABI);
	if (!*out)
		return refuse(err, size, "it refuses this agent's sink ABI (%u)", OSP_SINK_ABI);
	ret = osp_plugin_check(*out, err, size);
	if (ret)
		*out = NULL;
	return ret;
}

int osp_plugin_load(const struct osp_sink_ops **out, const char *path, size_t n, char *err,
		    size_t err_size)
{
	char *given = strndup(path, n), *real = NULL;
	size_t at;
	int ret = -ENOMEM;

	*out = NULL;
	if (!given)
		goto out;
	at = (size_t)snprintf(err, err_size, "plugin %s: ", given);
	at = at < err_size ? at : err_size - 1;
	real = realpath(given, NULL);
	if (!real) {
		ret = -errno;
		snprintf(err + at, err_size - at, "%s", strerror(errno));
		goto out;
	}
	ret = check_path(real, err + at, err_size - at);
	if (!ret)
		ret = check_content(real, err + at, err_size - at);
	if (!ret)
		ret = load(out, real, err + at, err_size - at);
out:
	if (ret == -ENOMEM)
		snprintf(err, err_size, "no memory");
	free(real);
	free(given);
	return ret;
}
