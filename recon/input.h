/* SPDX-License-Identifier: GPL-3.0-or-later */
/* input.h: a file as a stream of bytes and lines, whether it is compressed or not.
 *
 * @thread one for each struct rc_input.
 */
#ifndef OSP_RECON_INPUT_H
#define OSP_RECON_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A longer line is no record of anybody's. */
#define RC_LINE_MAX (256u << 20)

enum rc_packing { RC_PLAIN, RC_GZIP, RC_ZSTD };

struct rc_input;

/* "-" is standard input. On failure err has one line, without the path. */
int rc_input_open(struct rc_input **out, const char *path, char *err, size_t err_size);
void rc_input_close(struct rc_input *in);

/* What it is, once open: unpacked bytes of the beginning (less only if the file is shorter). */
const char *rc_input_head(struct rc_input *in, size_t *n);
enum rc_packing rc_input_packing(const struct rc_input *in);
/* Whether what was read can be read again at its offset: a plain regular file. */
bool rc_input_again(const struct rc_input *in);
/* A file descriptor of its own for that; the size of the file. -errno. */
int rc_input_dup(const struct rc_input *in, uint64_t *size);

/* The next line, without its end; off: where it begins. RC_JS_PAD bytes behind it are readable. It
 * lives until the next call. 1; 0 at the end; -errno (-EPROTO: damaged, what came before is good;
 * -E2BIG: a line too long).
 */
int rc_input_line(struct rc_input *in, const char **line, size_t *n, uint64_t *off);
/* All of it, NUL and padding behind; at most RC_LINE_MAX. */
int rc_input_all(struct rc_input *in, const char **text, size_t *n);

#endif
