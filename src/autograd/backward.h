/* Derivatives of symbolic tensors, set by the layer of graphs: see graph/gradient.c, trace.c. */
#ifndef AG_AUTOGRAD_BACKWARD_H
#define AG_AUTOGRAD_BACKWARD_H

#include "../ops/op.h"

bool ag__grad_record(ag_tensor *const *outputs, int n_outputs, ag_tensor *const *inputs,
                     int n_inputs, ag_tensor **results, const ag_grad_options *o);
bool ag__jvp_record(ag_fn fn, ag_tensor *const *in, int n, ag_tensor *const *tangents,
                    ag_tensor **out, int m, ag_tensor **tangents_out, void *user);
/* Calls fn, which records in the graph of `in`; when it fails, what it recorded is taken back. It
 * cannot write into tensors that were there before. */
bool ag__attempt(const char *op, ag_tensor *const *in, int n, bool (*fn)(void *arg), void *arg);

#endif
