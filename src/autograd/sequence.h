/* ag_checkpoint_sequence for those inside: `user` belongs to the node. */
#ifndef AG_AUTOGRAD_SEQUENCE_H
#define AG_AUTOGRAD_SEQUENCE_H

#include "../../include/autograd.h"

/* As ag_checkpoint_sequence. free_user is called once, when the steps are not run any more, also when the
 * call fails; NULL: user is the caller's. */
bool ag__sequence(ag_step_fn fn, int64_t steps, ag_tensor *const *inputs, int n,
                  ag_tensor **outputs, void *user, void (*free_user)(void *user),
                  const ag_checkpoint_sequence_options *options);

#endif
