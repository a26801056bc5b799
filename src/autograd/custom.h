/* Functions with rules of their own (ag_apply): see custom.c. */
#ifndef AG_AUTOGRAD_CUSTOM_H
#define AG_AUTOGRAD_CUSTOM_H

#include "node.h"

/* n is the node of a custom function. */
bool ag__node_is_custom(const ag_node *n);
/* Forward mode by the function's own rule. False with an error, or when it has none. */
bool ag__custom_jvp(ag_node *n, ag_tensor *const *tangents, ag_tensor **tangents_out);

#endif
