/* SPDX-License-Identifier: GPL-3.0-or-later */
/* source_replay.h: events from a recording (agent/oev.h).
 *
 * @thread loop
 */
#ifndef OSP_SOURCE_REPLAY_H
#define OSP_SOURCE_REPLAY_H

#include "agent/source.h"

/* Opens the recording at path and checks its header; logs its own errors. 0, -EPROTO if it is no
 * recording this build can read, or another -errno.
 *
 * poll() returns -EPROTO, once all events before it are handed over, where the file is damaged or
 * ends early. A recording whose writer was killed replays with a warning.
 */
int osp_source_replay_new(struct osp_source **out, const char *path);

#endif
