/* SPDX-License-Identifier: GPL-3.0-or-later */
/* lines.c: what writing lines costs when they are there already: fwrite of each line of a file to
 * another. The yardstick for the jsonl sink, whose lines have to be made first.
 *
 *     lines FROM TO
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The whole file in memory, so that fetching a line costs nothing worth counting. */
static char *slurp(const char *path, size_t *n)
{
	FILE *f = fopen(path, "re");
	char *p = NULL;
	struct stat st;

	if (!f)
		return NULL;
	if (!fstat(fileno(f), &st))
		p = malloc((size_t)st.st_size + 1);
	if (p)
		*n = fread(p, 1, (size_t)st.st_size, f);
	fclose(f);
	return p;
}

int main(int argc, char **argv)
{
	size_t n = 0, at = 0, len;
	const char *nl;
	FILE *out = NULL;
	char *p = NULL;
	int rc = 1;

	if (argc != 3) {
		fprintf(stderr, "usage: lines FROM TO\n");
		return 2;
	}
	p = slurp(argv[1], &n);
	out = fopen(argv[2], "we");
	if (!p || !out)
		goto out;
	for (; at < n && (nl = memchr(p + at, '\n', n - at)); at += len) {
		len = (size_t)(nl + 1 - (p + at));
		if (fwrite(p + at, 1, len, out) != len)
			goto out;
	}
	rc = 0;
out:
	if (out && fclose(out))
		rc = 1;
	free(p);
	return rc;
}
