/* The nodes of a graph in order of discovery, breadth first and without recursion. */
#ifndef AG_AUTOGRAD_REACH_H
#define AG_AUTOGRAD_REACH_H

#include "node.h"

/* A list, and a table with open addressing from a node to its place in it. */
typedef struct {
    ag_context *c;
    ag_node **list;
    size_t n, room;
    size_t *table; /* a place in the list, plus 1; 0 is empty */
    size_t slots;  /* a power of two, at least twice n */
} ag__reach;

/* Finds all nodes behind root (NULL: none). False when out of memory; release it then too. */
bool ag__reach_find(ag__reach *r, ag_context *c, ag_node *root);
size_t ag__reach_number(const ag__reach *r,
                        const ag_node *n); /* of a node that was found, from 1 */
void ag__reach_release(ag__reach *r);

#endif
