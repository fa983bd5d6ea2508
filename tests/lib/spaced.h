/* SPDX-License-Identifier: GPL-3.0-or-later */
/* spaced.h: JSON with white space before every key and element: the same, for who reads JSON. */
#ifndef OSP_TESTS_SPACED_H
#define OSP_TESTS_SPACED_H

#include <stdbool.h>
#include <stddef.h>

/* out: room for 2 * n. Returns the length. */
static inline size_t spaced(const char *p, size_t n, char *out)
{
	bool in = false;
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		out[k++] = p[i];
		if (in && p[i] == '\\' && i + 1 < n)
			out[k++] = p[++i];
		else if (p[i] == '"')
			in = !in;
		else if (!in && (p[i] == ',' || p[i] == '{' || p[i] == '['))
			out[k++] = ' ';
	}
	return k;
}

#endif
