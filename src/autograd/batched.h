/* Gradients for many cotangents of the same outputs: ag_grad's `.batched`. */
#ifndef AG_AUTOGRAD_BATCHED_H
#define AG_AUTOGRAD_BATCHED_H

#include "../base/context.h"

/* The first dimension of each grad_output, and of each result, counts them. */
bool ag__grad_batched(ag_tensor *const *outputs, int n_outputs, ag_tensor *const *inputs,
                      int n_inputs, ag_tensor **results, const ag_grad_options *o);

#endif
