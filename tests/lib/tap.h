/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tap.h: TAP from C. One ok() a fact; done() at the end of main(). */
#ifndef OSP_TESTS_TAP_H
#define OSP_TESTS_TAP_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tap_n, tap_bad;

#define ok(cond, ...) tap_ok(!!(cond), #cond, __FILE__, __LINE__, __VA_ARGS__)
#define eq_int(got, want, ...)                                                         \
	do {                                                                            \
		long long tap_g = (long long)(got), tap_w = (long long)(want);          \
		if (!tap_ok(tap_g == tap_w, #got " == " #want, __FILE__, __LINE__,      \
			    __VA_ARGS__))                                               \
			printf("#   got %lld, want %lld\n", tap_g, tap_w);              \
	} while (0)
#define eq_str(got, want, ...)                                                         \
	do {                                                                            \
		const char *tap_g = (got), *tap_w = (want);                             \
		if (!tap_ok(tap_g && tap_w && !strcmp(tap_g, tap_w),                    \
			    #got " == " #want, __FILE__, __LINE__, __VA_ARGS__))        \
			printf("#   got  %s\n#   want %s\n", tap_g ? tap_g : "(null)",  \
			       tap_w ? tap_w : "(null)");                               \
	} while (0)

static inline int __attribute__((format(printf, 5, 6)))
tap_ok(int good, const char *expr, const char *file, int line, const char *fmt, ...)
{
	char name[256];
	__builtin_va_list ap;

	__builtin_va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	__builtin_va_end(ap);
	tap_n++;
	printf("%sok %d - %s\n", good ? "" : "not ", tap_n, name);
	if (!good) {
		tap_bad++;
		printf("#   %s:%d: %s\n", file, line, expr);
	}
	return good;
}

static inline void tap_skip(const char *name, const char *why)
{
	printf("ok %d - %s # SKIP %s\n", ++tap_n, name, why);
}

static inline int done(void)
{
	printf("1..%d\n", tap_n);
	fflush(stdout);
	return tap_bad ? 1 : 0;
}

#endif
