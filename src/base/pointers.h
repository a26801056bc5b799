/*
 * A set of pointers that remembers their order: a list, and a table with open addressing from a
 * pointer to its place in the list.
 */
#ifndef AG_BASE_POINTERS_H
#define AG_BASE_POINTERS_H

#include "context.h"

typedef struct {
    ag_context *c;
    void **list;
    size_t n, room;
    size_t *table; /* a place in the list, plus 1; 0 is empty */
    size_t slots;  /* a power of two, at least twice n */
} ag__pointers;    /* to begin with all is zero but the context */

/* Adds p, which is not NULL, unless it is there; n tells. False when out of memory. */
bool ag__pointers_add(ag__pointers *s, void *p);
size_t ag__pointers_number(const ag__pointers *s, const void *p); /* of one that is there, from 1 */
void ag__pointers_release(ag__pointers *s);

#endif
