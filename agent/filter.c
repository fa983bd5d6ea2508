/* SPDX-License-Identifier: GPL-3.0-or-later */
/* filter.c: from the user's words to what the kernel compares. */
#include "agent/filter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int bad(char *err, size_t size, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int bad(char *err, size_t size, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, size, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static bool number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return !errno && !*end && *out <= max;
}

static int parse_cidr(struct osp_filter_entry *e, const char *text, char *err, size_t size)
{
	char addr[INET6_ADDRSTRLEN + 1];
	const char *slash = strchr(text, '/');
	size_t n = slash ? (size_t)(slash - text) : strlen(text);
	uint64_t prefix = 128;
	bool v4;

	if (n >= sizeof(addr))
		return bad(err, size, "\"%s\" is not an address", text);
	memcpy(addr, text, n);
	addr[n] = 0;
	v4 = inet_pton(AF_INET, addr, e->addr + 12) == 1;
	if (v4)
		e->addr[10] = e->addr[11] = 0xff;
	else if (inet_pton(AF_INET6, addr, e->addr) != 1)
		return bad(err, size, "\"%s\" is not an IPv4 or IPv6 address", addr);
	if (slash) {
		if (!number(slash + 1, v4 ? 32 : 128, &prefix))
			return bad(err, size, "\"%s\": prefix length must be 0 to %d", text,
				   v4 ? 32 : 128);
		prefix += v4 ? 96 : 0;
	}
	e->prefix = (uint8_t)prefix;
	return 0;
}

/* A path stands for the inode behind it: cgroup v2 ids and namespace ids are inode numbers. */
static int parse_inode(struct osp_filter_entry *e, const char *text, const char *what, char *err,
		       size_t size)
{
	struct stat st;

	if (number(text, UINT64_MAX, &e->num))
		return 0;
	if (stat(text, &st))
		return bad(err, size, "%s %s: %s", what, text, strerror(errno));
	e->num = st.st_ino;
	/* The kernel's dev_t, include/linux/kdev_t.h: MKDEV(). */
	e->dev = (uint32_t)(major(st.st_dev) << 20 | minor(st.st_dev));
	return 0;
}

static int parse(struct osp_filter_entry *e, const char *text, char *err, size_t size)
{
	switch (e->kind) {
	case OSP_FILTER_PID:
		if (!number(text, 1 << 22, &e->num) || !e->num)
			return bad(err, size, "\"%s\" is not a process id", text);
		return 0;
	case OSP_FILTER_COMM:
		if (!*text || strlen(text) > 15)
			return bad(err, size, "\"%s\": a comm has 1 to 15 characters", text);
		return 0;
	case OSP_FILTER_EXE:
		if (*text != '/')
			return bad(err, size, "\"%s\" is not an absolute path", text);
		return parse_inode(e, text, "exe", err, size);
	case OSP_FILTER_PORT:
		if (!number(text, 65535, &e->num) || !e->num)
			return bad(err, size, "\"%s\" is not a port (1 to 65535)", text);
		return 0;
	case OSP_FILTER_CIDR:
		return parse_cidr(e, text, err, size);
	case OSP_FILTER_CGROUP:
		return parse_inode(e, text, "cgroup", err, size);
	case OSP_FILTER_NETNS:
		return parse_inode(e, text, "netns", err, size);
	case OSP_FILTER_ROLE:
		if (strcmp(text, "client") && strcmp(text, "server"))
			return bad(err, size, "\"%s\" is not a role (client, server)", text);
		e->num = *text == 'c' ? 1 : 2;	/* enum osp_role */
		return 0;
	default:
		return -EINVAL;
	}
}

int osp_filter_add(struct osp_filter *flt, enum osp_filter_kind kind, const char *text, char *err,
		   size_t err_size)
{
	struct osp_filter_entry e = { .kind = kind }, *grown;
	int rc = parse(&e, text, err, err_size);

	if (rc)
		return rc;
	e.text = strdup(text);
	grown = realloc(flt->entry, (flt->n + 1) * sizeof(*grown));
	if (!e.text || !grown) {
		free((char *)e.text);
		if (grown)
			flt->entry = grown;
		return -ENOMEM;
	}
	flt->entry = grown;
	flt->entry[flt->n++] = e;
	return 0;
}

void osp_filter_describe(const struct osp_filter *flt, char *buf, size_t size)
{
	static const char *const name[] = { "pid", "comm", "exe", "port",
					    "cidr", "cgroup", "netns", "role" };
	size_t used = 0;

	if (!flt->n) {
		snprintf(buf, size, "every process");
		return;
	}
	for (size_t i = 0; i < flt->n && used < size; i++)
		used += (size_t)snprintf(buf + used, size - used, "%s%s %s", i ? ", " : "",
					 name[flt->entry[i].kind], flt->entry[i].text);
}

void osp_filter_fini(struct osp_filter *flt)
{
	for (size_t i = 0; i < flt->n; i++)
		free((char *)flt->entry[i].text);
	free(flt->entry);
	flt->entry = NULL;
	flt->n = 0;
}
