/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source_synth.h: events of HTTP/1 traffic that never was, from a seed.
 *
 * The same spec gives the same events on every machine: nothing in them comes from the host or
 * its clock. The exact truth of what was made can be written beside them (truth=FILE). The keys of
 * the spec are in docs/events.md and in the table of agent/synth_spec.c.
 *
 * @thread loop
 */
#ifndef OSP_SOURCE_SYNTH_H
#define OSP_SOURCE_SYNTH_H

#include "agent/source.h"

#include <stddef.h>

/* spec: "key=value,key=value"; NULL or "" is all defaults. 0, or -errno with one line for the
 * operator in err: -EINVAL, the spec is at fault; otherwise the truth file cannot be written.
 */
int osp_source_synth_new(struct osp_source **out, const char *spec, char *err, size_t err_size);

#endif
