/* SPDX-License-Identifier: GPL-3.0-or-later */
/* pick.h: chosen values of a record by their dotted names ("http.request.method"), for csv columns
 * and message keys.
 *
 * Values are taken out of the record's JSON text, so a name means here what it means in
 * docs/record.md, and there is no second list of how a value is written.
 *
 * @thread one per object; no locks.
 */
#ifndef OSP_SINKS_PICK_H
#define OSP_SINKS_PICK_H

#include "agent/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct osp_pick;

/* Names joined by '+', ',' or a blank. 0; -EINVAL: one line in err (an unknown name); -ENOMEM. */
int osp_pick_new(struct osp_pick **out, const char *names, char *err, size_t err_size);
/* NULL is fine. */
void osp_pick_free(struct osp_pick *pick);

uint32_t osp_pick_n(const struct osp_pick *pick);
const char *osp_pick_name(const struct osp_pick *pick, uint32_t i);

/* Fills val[osp_pick_n()] with the values as they stand in json (a string with its quotes, an array
 * with its brackets); p == NULL where the record has none. They live as long as json, which must be
 * an object as osp_record_json() writes it.
 */
void osp_pick_run(const struct osp_pick *pick, const char *json, size_t n, struct osp_slice *val);

/* A value as text for people: strings without quotes and escapes, but for control characters, which
 * stay \u00XX so that text is one line; an array of strings as words with a blank between; anything
 * else as it stands. Returns its length; what does not fit into cap is counted and not stored.
 * is_text, if not NULL: whether it was a string.
 */
size_t osp_pick_text(struct osp_slice val, char *buf, size_t cap, bool *is_text);

/* All names there are, ended by NULL. */
extern const char *const osp_pick_names[];

#endif
