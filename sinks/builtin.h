/* SPDX-License-Identifier: GPL-3.0-or-later */
/* builtin.h: the sinks that come with the agent. */
#ifndef OSP_SINKS_BUILTIN_H
#define OSP_SINKS_BUILTIN_H

#include "sinks/osp_sink.h"

/* Bits of record kinds. */
#define OSP_KIND_BIT(kind) (1u << (kind))
#define OSP_KINDS_ALL                                                                              \
	(OSP_KIND_BIT(OSP_REC_TRANSACTION) | OSP_KIND_BIT(OSP_REC_CONNECTION) |                    \
	 OSP_KIND_BIT(OSP_REC_LEDGER))

struct osp_builtin {
	const struct osp_sink_ops *ops;
	/* Which kinds it gets if the user does not say; NULL: all. */
	uint32_t (*kinds)(const void *conf);
};

/* Ended by ops == NULL. */
extern const struct osp_builtin osp_builtins[];

extern const struct osp_sink_ops osp_sink_console;
extern const struct osp_sink_ops osp_sink_csv;
extern const struct osp_sink_ops osp_sink_jsonl;
extern const struct osp_sink_ops osp_sink_kafka;	/* with OSP_HAVE_KAFKA */
extern const struct osp_sink_ops osp_sink_null;

/* console: transactions, with verbose=yes connections too. */
uint32_t osp_console_kinds(const void *conf);
/* csv: transactions; the columns of other kinds are others. */
uint32_t osp_csv_kinds(const void *conf);

#endif
