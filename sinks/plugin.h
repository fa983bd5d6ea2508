/* SPDX-License-Identifier: GPL-3.0-or-later */
/* plugin.h: sinks that are not ours, from shared objects. */
#ifndef OSP_SINKS_PLUGIN_H
#define OSP_SINKS_PLUGIN_H

#include "sinks/osp_sink.h"

/* Loads the plugin at path (n bytes of it), which then stays loaded: its threads, if it has any,
 * may outlive its sink. Code of a plugin runs as soon as it is loaded, so file and folders must be
 * out of other users' reach; see docs/add-a-sink.md. 0; -EINVAL or -errno with one line in err.
 *
 * @thread loop, before there are others
 */
int osp_plugin_load(const struct osp_sink_ops **out, const char *path, size_t n, char *err,
		    size_t err_size);

/* Whether ops can be called by this host: 0, or -EINVAL with the reason in err. */
int osp_plugin_check(const struct osp_sink_ops *ops, char *err, size_t err_size);

#endif
