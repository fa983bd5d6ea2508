/* SPDX-License-Identifier: GPL-3.0-or-later */
/* options.h: "key=value,key=value" into a configuration struct, by tables of struct osp_opt.
 *
 * A comma inside a value is written "\,", a backslash "\\".
 */
#ifndef OSP_SINKS_OPTIONS_H
#define OSP_SINKS_OPTIONS_H

#include "sinks/osp_sink.h"

/* A table and the struct its offsets point into, zeroed by the caller. */
struct osp_opt_set {
	const struct osp_opt *opts;	/* NULL: empty */
	void *conf;
};

/* Sets defaults, then what text says; the first set that knows a key gets it. text is cut up in
 * place and must live as long as the structs (STR values point into it). 0, -EINVAL with one line
 * in err, or -ENOMEM. Whatever it returns, osp_opts_fini() is due.
 *
 * PAIRS: the part of the key behind the prefix, so "rdkafka.linger.ms=5" with the prefix "rdkafka."
 * gives "linger.ms=5\n".
 */
int osp_opts_parse(const struct osp_opt_set *sets, int sets_n, char *text, char *err,
		   size_t err_size);

/* Frees what parsing allocated (PAIRS). */
void osp_opts_fini(const struct osp_opt_set *sets, int sets_n);

#endif
