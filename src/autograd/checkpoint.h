/* Calls that compute again: see checkpoint.c. */
#ifndef AG_AUTOGRAD_CHECKPOINT_H
#define AG_AUTOGRAD_CHECKPOINT_H

#include "../../include/autograd.h"

/* Pass number `pass` ended: values that were computed again for it are given up. */
void ag__checkpoint_pass_ended(ag_context *c, uint64_t pass);

#endif
