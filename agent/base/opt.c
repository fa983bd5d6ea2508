/* SPDX-License-Identifier: GPL-3.0-or-later */
/* opt.c: settings as text to numbers. strtol() and its kin take blanks, signs and garbage at the
 * end; a setting that is nearly right should be refused instead.
 */
#include "agent/base/opt.h"

#include <errno.h>
#include <string.h>

/* Digits of s in base; *end is what follows. */
static int digits(const char *s, unsigned int base, uint64_t *out, const char **end)
{
	const char *p = s;
	uint64_t v = 0;

	for (; *p >= '0' && *p < '0' + (int)base; p++)
		if (__builtin_mul_overflow(v, base, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	if (p == s)
		return -EINVAL;
	*out = v;
	*end = p;
	return 0;
}

int osp_parse_u64(const char *s, uint64_t *out)
{
	const char *end;
	uint64_t v;
	int err = digits(s, 10, &v, &end);

	if (err)
		return err;
	if (*end)
		return -EINVAL;
	*out = v;
	return 0;
}

int osp_parse_i64(const char *s, int64_t *out)
{
	uint64_t v, limit = *s == '-' ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
	int err = osp_parse_u64(s + (*s == '-'), &v);

	if (err)
		return err;
	if (v > limit)
		return -ERANGE;
	*out = *s == '-' ? (int64_t)(0 - v) : (int64_t)v;
	return 0;
}

int osp_parse_octal(const char *s, uint32_t *out)
{
	const char *end;
	uint64_t v;
	int err = digits(s, 8, &v, &end);

	if (err)
		return err;
	if (*end)
		return -EINVAL;
	if (v > UINT32_MAX)
		return -ERANGE;
	*out = (uint32_t)v;
	return 0;
}

struct unit {
	const char *suffix;
	uint64_t times;
};

static int with_unit(const char *s, const struct unit *units, uint64_t *out)
{
	const char *end;
	uint64_t v;
	int err = digits(s, 10, &v, &end);

	if (err)
		return err;
	for (; units->suffix; units++)
		if (!strcmp(end, units->suffix)) {
			if (__builtin_mul_overflow(v, units->times, &v))
				return -ERANGE;
			*out = v;
			return 0;
		}
	return -EINVAL;
}

int osp_parse_size(const char *s, uint64_t *out)
{
	static const struct unit units[] = {
		{ "", 1 },
		{ "K", 1ull << 10 },
		{ "k", 1ull << 10 },
		{ "M", 1ull << 20 },
		{ "G", 1ull << 30 },
		{ "T", 1ull << 40 },
		{ NULL, 0 },
	};

	return with_unit(s, units, out);
}

int osp_parse_time(const char *s, uint64_t *out)
{
	static const struct unit units[] = {
		{ "", 1000000000ull },
		{ "ns", 1 },
		{ "us", 1000 },
		{ "ms", 1000000 },
		{ "s", 1000000000ull },
		{ "m", 60000000000ull },
		{ "h", 3600000000000ull },
		{ NULL, 0 },
	};

	return with_unit(s, units, out);
}

int osp_parse_bool(const char *s, bool *out)
{
	static const char *const yes[] = { "yes", "true", "on", "1" };
	static const char *const no[] = { "no", "false", "off", "0" };

	for (int i = 0; i < 4; i++)
		if (!strcmp(s, yes[i]) || !strcmp(s, no[i])) {
			*out = !strcmp(s, yes[i]);
			return 0;
		}
	return -EINVAL;
}
