/* SPDX-License-Identifier: GPL-3.0-or-later */
/* synth_spec.c: "key=value,key=value" of the synthetic source. One table has the keys and
 * docs/events.md explains them. Whatever is wrong is one line that names the key and what it takes.
 */
#include "agent/synth.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum spec_type { SPEC_COUNT, SPEC_SHARE, SPEC_RANGE, SPEC_ROLE, SPEC_METHODS, SPEC_PATH };

struct spec_key {
	const char *name;
	enum spec_type type;
	size_t at;
	uint64_t min, max;
};

#define AT(field) offsetof(struct synth_spec, field)
/* The limits keep products of two of them, and 32-bit offsets in a burst, from overflowing. */
static const struct spec_key spec_keys[] = {
	{ "seed", SPEC_COUNT, AT(seed), 0, UINT64_MAX },
	{ "conns", SPEC_COUNT, AT(conns), 1, 1000000000 },
	{ "txns", SPEC_COUNT, AT(txns), 0, 1000000000000 },
	{ "role", SPEC_ROLE, 0, 0, 0 },
	{ "pipeline", SPEC_COUNT, AT(pipeline), 1, SYNTH_PIPELINE_MAX },
	{ "body", SPEC_RANGE, AT(body_min), 0, SYNTH_BODY_MAX },
	{ "methods", SPEC_METHODS, 0, 0, 0 },
	{ "chunked", SPEC_SHARE, AT(chunked), 0, 0 },
	{ "split", SPEC_SHARE, AT(split), 0, 0 },
	{ "reorder", SPEC_SHARE, AT(reorder), 0, 0 },
	{ "loss", SPEC_SHARE, AT(loss), 0, 0 },
	{ "keepalive", SPEC_COUNT, AT(keepalive), 0, 1000000000000 },
	{ "interim", SPEC_SHARE, AT(interim), 0, 0 },
	{ "eof", SPEC_SHARE, AT(eof), 0, 0 },
	{ "conc", SPEC_COUNT, AT(conc), 1, 65536 },
	{ "rate", SPEC_COUNT, AT(rate), 1, 1000000000 },
	{ "v6", SPEC_SHARE, AT(v6), 0, 0 },
	{ "truth", SPEC_PATH, 0, 0, 0 },
};
#define SPEC_KEYS (sizeof(spec_keys) / sizeof(spec_keys[0]))

const char *const synth_method_name[SYNTH_METHODS] = { "GET", "HEAD", "POST", "PUT" };

struct spec_err {
	char *text;
	size_t size;
};

static int __attribute__((format(printf, 2, 3)))
spec_fail(const struct spec_err *err, const char *fmt, ...)
{
	va_list ap;

	if (!err->size)
		return -EINVAL;
	va_start(ap, fmt);
	vsnprintf(err->text, err->size, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* A decimal number with an optional K, M or G (powers of 1024), the whole of [s, end). */
static int spec_u64(const char *s, const char *end, uint64_t *out)
{
	static const struct {
		char c;
		int shift;
	} unit[] = { { 'K', 10 }, { 'M', 20 }, { 'G', 30 } };
	uint64_t v = 0;

	if (s == end || *s < '0' || *s > '9')
		return -EINVAL;
	for (; s < end && *s >= '0' && *s <= '9'; s++)
		if (__builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(*s - '0'), &v))
			return -ERANGE;
	for (size_t i = 0; s + 1 == end && i < sizeof(unit) / sizeof(unit[0]); i++) {
		if (*s != unit[i].c)
			continue;
		if (v > UINT64_MAX >> unit[i].shift)
			return -ERANGE;
		v <<= unit[i].shift;
		s++;
	}
	*out = v;
	return s == end ? 0 : -EINVAL;
}

static int spec_count(const struct spec_key *key, const char *val, uint64_t *out,
		      const struct spec_err *err)
{
	if (spec_u64(val, val + strlen(val), out) || *out < key->min || *out > key->max)
		return spec_fail(err, "%s: \"%s\" is not a number from %" PRIu64 " to %" PRIu64,
				 key->name, val, key->min, key->max);
	return 0;
}

/* "MIN-MAX", or one number for both. */
static int spec_range(const struct spec_key *key, const char *val, uint64_t *min, uint64_t *max,
		      const struct spec_err *err)
{
	const char *end = val + strlen(val), *dash = strchr(val, '-');

	if (spec_u64(val, dash ? dash : end, min) ||
	    spec_u64(dash ? dash + 1 : val, end, max) || *min > *max || *max > key->max)
		return spec_fail(err, "%s: \"%s\" is not MIN-MAX with MIN <= MAX <= %" PRIu64,
				 key->name, val, key->max);
	return 0;
}

static int spec_share(const struct spec_key *key, const char *val, uint64_t *out,
		      const struct spec_err *err)
{
	char *end;
	double v = strtod(val, &end);

	/* Also refuses NaN, and what strtod takes beyond plain digits. */
	if (!*val || *end || strspn(val, "0123456789.e-") != strlen(val) || !(v >= 0 && v <= 1))
		return spec_fail(err, "%s: \"%s\" is not a share from 0 to 1", key->name, val);
	*out = (uint64_t)(v * (double)SYNTH_ONE);
	if (v > 0 && !*out)
		*out = 1;
	return 0;
}

static int spec_role(struct synth_spec *spec, const char *val, const struct spec_err *err)
{
	static const char *const name[] = { "server", "client", "both" };

	for (int i = 0; i < 3; i++) {
		if (strcmp(val, name[i]))
			continue;
		spec->role = (enum synth_role)i;
		return 0;
	}
	return spec_fail(err, "role: \"%s\" is none of server, client, both", val);
}

static int spec_methods(struct synth_spec *spec, const char *val, const struct spec_err *err)
{
	const char *at = val;
	size_t n;
	int m;

	spec->method_n = 0;
	for (;;) {
		n = strcspn(at, "/");
		for (m = 0; m < SYNTH_METHODS; m++)
			if (strlen(synth_method_name[m]) == n &&
			    !memcmp(at, synth_method_name[m], n))
				break;
		if (m == SYNTH_METHODS || spec->method_n == SYNTH_METHODS_MAX)
			return spec_fail(err, "methods: \"%s\" is not a list like GET/GET/POST, "
					 "of at most %d of GET, HEAD, POST, PUT", val,
					 SYNTH_METHODS_MAX);
		spec->method[spec->method_n++] = (uint8_t)m;
		if (!at[n])
			return 0;
		at += n + 1;
	}
}

static int spec_path(struct synth_spec *spec, const char *val, const struct spec_err *err)
{
	if (!*val || !strcmp(val, "-"))
		return spec_fail(err, "truth: wants a file's path");
	free(spec->truth);
	spec->truth = strdup(val);
	return spec->truth ? 0 : -ENOMEM;
}

static int spec_set(struct synth_spec *spec, const struct spec_key *key, const char *val,
		    const struct spec_err *err)
{
	uint64_t *out = (uint64_t *)((char *)spec + key->at);

	switch (key->type) {
	case SPEC_COUNT:
		return spec_count(key, val, out, err);
	case SPEC_SHARE:
		return spec_share(key, val, out, err);
	case SPEC_RANGE:
		return spec_range(key, val, &spec->body_min, &spec->body_max, err);
	case SPEC_ROLE:
		return spec_role(spec, val, err);
	case SPEC_METHODS:
		return spec_methods(spec, val, err);
	case SPEC_PATH:
		return spec_path(spec, val, err);
	}
	return -EINVAL;
}

static int spec_unknown(const char *item, const struct spec_err *err)
{
	char known[256];
	size_t used = 0;

	for (size_t i = 0; i < SPEC_KEYS && used < sizeof(known); i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
					 spec_keys[i].name);
	return spec_fail(err, "\"%s\" is not key=value with one of the keys %s", item, known);
}

static int spec_item(struct synth_spec *spec, char *item, const struct spec_err *err)
{
	char *eq = strchr(item, '=');

	for (size_t i = 0; eq && i < SPEC_KEYS; i++)
		if (strlen(spec_keys[i].name) == (size_t)(eq - item) &&
		    !memcmp(spec_keys[i].name, item, (size_t)(eq - item)))
			return spec_set(spec, &spec_keys[i], eq + 1, err);
	return spec_unknown(item, err);
}

static void spec_default(struct synth_spec *spec)
{
	/* Mostly reads, as real services see them. */
	static const uint8_t mix[] = {
		SYNTH_GET, SYNTH_GET, SYNTH_GET, SYNTH_GET, SYNTH_GET, SYNTH_GET, SYNTH_GET,
		SYNTH_GET, SYNTH_GET, SYNTH_GET, SYNTH_GET, SYNTH_GET, SYNTH_GET, SYNTH_HEAD,
		SYNTH_POST, SYNTH_POST, SYNTH_POST, SYNTH_POST, SYNTH_PUT, SYNTH_PUT,
	};

	*spec = (struct synth_spec){
		.seed = 1, .conns = 100, .txns = 10000, .pipeline = 1, .conc = 32,
		.rate = 100000, .body_max = 2048, .role = SYNTH_SERVER,
		.method_n = sizeof(mix),
	};
	memcpy(spec->method, mix, sizeof(mix));
}

int synth_spec_parse(struct synth_spec *spec, const char *text, char *err, size_t err_size)
{
	struct spec_err e = { err, err_size };
	char *copy = NULL, *item, *next;
	int ret = 0;

	spec_default(spec);
	if (!text || !*text)
		return 0;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	for (item = copy; item && !ret; item = next) {
		next = strchr(item, ',');
		if (next)
			*next++ = 0;
		ret = spec_item(spec, item, &e);
	}
	free(copy);
	if (ret)
		synth_spec_fini(spec);
	return ret;
}

void synth_spec_fini(struct synth_spec *spec)
{
	free(spec->truth);
	spec->truth = NULL;
}
