/* SPDX-License-Identifier: GPL-3.0-or-later */
/* options.c: settings of sinks. Whoever mistypes one is told what there is. */
#include "sinks/options.h"

#include "agent/base/opt.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *field(const struct osp_opt_set *set, const struct osp_opt *opt)
{
	return (char *)set->conf + opt->offset;
}

static int word_index(const char *words, const char *value)
{
	size_t n = strlen(value);

	for (int i = 0; words; i++) {
		size_t len = strcspn(words, "|");

		if (len == n && !memcmp(words, value, n))
			return i;
		words = words[len] ? words + len + 1 : NULL;
	}
	return -1;
}

/* Appends "key=value\n" to the PAIRS string *at. */
static int add_pair(char **at, const char *key, const char *value)
{
	size_t old = *at ? strlen(*at) : 0, size = old + strlen(key) + strlen(value) + 3;
	char *p = realloc(*at, size);

	if (!p)
		return -ENOMEM;
	snprintf(p + old, size - old, "%s=%s\n", key, value);
	*at = p;
	return 0;
}

static const char *type_text(const struct osp_opt *opt)
{
	switch (opt->type) {
	case OSP_OPT_BOOL:
		return "yes or no";
	case OSP_OPT_SIZE:
		return "a size in bytes, or with K, M, G";
	case OSP_OPT_TIME:
		return "a time such as 500ms, 10s, 5m";
	case OSP_OPT_ENUM:
		return opt->words;
	default:
		return "a number";
	}
}

static bool in_range(const struct osp_opt *opt, uint64_t v)
{
	if (!opt->min && !opt->max)
		return true;
	return v >= (uint64_t)opt->min && v <= (uint64_t)opt->max;
}

/* Parses value into the field; -EINVAL: not of its type, -ERANGE: outside its limits. */
static int set_value(const struct osp_opt_set *set, const struct osp_opt *opt, const char *key,
		     const char *value)
{
	void *at = field(set, opt);
	uint64_t u = 0;
	int64_t i;
	bool b;
	int err;

	switch (opt->type) {
	case OSP_OPT_STR:
		*(const char **)at = value;
		return 0;
	case OSP_OPT_PAIRS:
		return add_pair(at, key + strlen(opt->key), value);
	case OSP_OPT_BOOL:
		err = osp_parse_bool(value, &b);
		if (!err)
			*(int *)at = b;
		return err;
	case OSP_OPT_ENUM:
		err = word_index(opt->words, value);
		if (err < 0)
			return -EINVAL;
		*(int *)at = err;
		return 0;
	case OSP_OPT_INT:
		err = osp_parse_i64(value, &i);
		if (err)
			return err;
		if (opt->min || opt->max ? i < opt->min || i > opt->max : i < 0)
			return -ERANGE;
		*(int64_t *)at = i;
		return 0;
	case OSP_OPT_SIZE:
	case OSP_OPT_TIME:
		err = opt->type == OSP_OPT_SIZE ? osp_parse_size(value, &u)
						: osp_parse_time(value, &u);
		if (err)
			return err;
		if (!in_range(opt, u))
			return -ERANGE;
		*(uint64_t *)at = u;
		return 0;
	}
	return -EINVAL;
}

static int set_defaults(const struct osp_opt_set *set)
{
	int err;

	for (const struct osp_opt *opt = set->opts; opt && opt->type != OSP_OPT_END; opt++) {
		if (!opt->def)
			continue;
		err = set_value(set, opt, opt->key, opt->def);
		if (err)
			return err;
	}
	return 0;
}

static const struct osp_opt *find(const struct osp_opt_set *set, const char *key)
{
	for (const struct osp_opt *opt = set->opts; opt && opt->type != OSP_OPT_END; opt++)
		if (opt->type == OSP_OPT_PAIRS ? !strncmp(key, opt->key, strlen(opt->key))
					       : !strcmp(key, opt->key))
			return opt;
	return NULL;
}

static void unknown_key(const struct osp_opt_set *sets, int sets_n, const char *key, char *err,
			size_t size)
{
	const char *sep = "";
	int at = snprintf(err, size, "no option \"%s\"; there are: ", key);

	for (int i = 0; i < sets_n; i++)
		for (const struct osp_opt *opt = sets[i].opts; opt && opt->type != OSP_OPT_END;
		     opt++) {
			if (at < 0 || (size_t)at >= size)
				return;
			at += snprintf(err + at, size - (size_t)at, "%s%s%s", sep, opt->key,
				       opt->type == OSP_OPT_PAIRS ? "*" : "");
			sep = ", ";
		}
}

static int set_key(const struct osp_opt_set *sets, int sets_n, const char *key, const char *value,
		   char *err, size_t size)
{
	const struct osp_opt *opt = NULL;
	int i, ret;

	for (i = 0; i < sets_n; i++) {
		opt = find(&sets[i], key);
		if (opt)
			break;
	}
	if (!opt) {
		unknown_key(sets, sets_n, key, err, size);
		return -EINVAL;
	}
	ret = set_value(&sets[i], opt, key, value);
	if (ret == -ERANGE && (opt->min || opt->max))
		snprintf(err, size, "%s=%s is out of range (%" PRId64 " to %" PRId64 ")", key,
			 value, opt->min, opt->max);
	else if (ret == -ERANGE)
		snprintf(err, size, "%s=%s is out of range", key, value);
	else if (ret == -EINVAL)
		snprintf(err, size, "%s=%s: not %s", key, value, type_text(opt));
	return ret == -ERANGE ? -EINVAL : ret;
}

/* Ends the first piece of p at its comma, takes the backslashes out; returns where the next starts,
 * NULL at the end.
 */
static char *cut(char *p)
{
	char *to = p;

	for (; *p && *p != ','; p++) {
		if (*p == '\\' && (p[1] == ',' || p[1] == '\\'))
			p++;
		*to++ = *p;
	}
	if (!*p) {
		*to = 0;
		return NULL;
	}
	*to = 0;
	return p + 1;
}

int osp_opts_parse(const struct osp_opt_set *sets, int sets_n, char *text, char *err,
		   size_t err_size)
{
	char *next, *eq;
	int ret;

	for (int i = 0; i < sets_n; i++) {
		ret = set_defaults(&sets[i]);
		if (ret) {
			snprintf(err, err_size, "a default does not fit its own option");
			return ret;
		}
	}
	for (; text && *text; text = next) {
		next = cut(text);
		if (!*text)
			continue;	/* "a=1,,b=2" and a comma at the end do no harm */
		eq = strchr(text, '=');
		if (!eq || eq == text) {
			snprintf(err, err_size, "\"%s\" is not key=value", text);
			return -EINVAL;
		}
		*eq = 0;
		ret = set_key(sets, sets_n, text, eq + 1, err, err_size);
		if (ret)
			return ret;
	}
	return 0;
}

void osp_opts_fini(const struct osp_opt_set *sets, int sets_n)
{
	for (int i = 0; i < sets_n; i++)
		for (const struct osp_opt *opt = sets[i].opts; opt && opt->type != OSP_OPT_END;
		     opt++)
			if (opt->type == OSP_OPT_PAIRS) {
				char **at = field(&sets[i], opt);

				free(*at);
				*at = NULL;
			}
}
