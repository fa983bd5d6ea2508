/* SPDX-License-Identifier: GPL-3.0-or-later */
/* list.h: doubly linked lists whose links live inside what they link. An entry on no list points
 * to itself, so taking it off twice is harmless.
 *
 * @thread whoever owns the list.
 */
#ifndef OSP_BASE_LIST_H
#define OSP_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct osp_list {
	struct osp_list *next, *prev;
};

#define osp_list_entry(link, type, member) ((type *)((char *)(link) - offsetof(type, member)))

static inline void osp_list_init(struct osp_list *list)
{
	list->next = list->prev = list;
}

static inline bool osp_list_empty(const struct osp_list *list)
{
	return list->next == list;
}

static inline void osp_list_add_tail(struct osp_list *head, struct osp_list *link)
{
	link->prev = head->prev;
	link->next = head;
	head->prev->next = link;
	head->prev = link;
}

static inline void osp_list_del(struct osp_list *link)
{
	link->next->prev = link->prev;
	link->prev->next = link->next;
	osp_list_init(link);
}

static inline void osp_list_move_tail(struct osp_list *head, struct osp_list *link)
{
	osp_list_del(link);
	osp_list_add_tail(head, link);
}

#endif
