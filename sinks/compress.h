/* SPDX-License-Identifier: GPL-3.0-or-later */
/* compress.h: packs rotated files behind the sink's back, in a thread of its own at low priority:
 * the sink must not wait for it.
 *
 * FILE becomes FILE.gz or FILE.zst in three steps: written under FILE.part, synced and renamed,
 * then FILE removed. Whenever this is cut off, FILE or its whole packed form is there, and the next run
 * packs what was left plain.
 */
#ifndef OSP_SINKS_COMPRESS_H
#define OSP_SINKS_COMPRESS_H

#include "sinks/osp_sink.h"

#include <stdint.h>
#include <sys/types.h>

enum osp_pack { OSP_PACK_NONE, OSP_PACK_GZIP, OSP_PACK_ZSTD };

/* Packs in to out, both open, from their places on. stop, if not NULL, ends it when it becomes
 * true: -ECANCELED. 0 or -errno.
 */
int osp_pack_fd(enum osp_pack how, int in, int out, const _Atomic _Bool *stop);

struct osp_packer;

/* Packs rotated files of path (rotate.h) whenever it is woken, and keeps keep of them (0: all).
 * mode: permissions of packed files.
 */
int osp_packer_new(struct osp_packer **out, const struct osp_host *host, const char *path,
		   enum osp_pack how, mode_t mode, uint64_t keep);
/* There may be something to do. */
void osp_packer_wake(struct osp_packer *packer);
/* Ends it; a file in work stays as it was. NULL is fine. */
void osp_packer_free(struct osp_packer *packer);

#endif
