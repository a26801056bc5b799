/*
 * The library as one translation unit: `cc -O2 one.c -lm` beside your program, or compiled alone.
 * Every file of src stands here once, in the order of the rooms.
 */

#include "src/base/allocator.c"
#include "src/base/context.c"
#include "src/base/error.c"
#include "src/base/memory.c"
#include "src/base/parallel.c"
#include "src/base/random.c"
#include "src/base/scope.c"

#include "src/tensor/create.c"
#include "src/tensor/dtype.c"
#include "src/tensor/foreign.c"
#include "src/tensor/print.c"
#include "src/tensor/shape.c"
#include "src/tensor/tensor.c"

#include "src/kernels/accumulate.c"
#include "src/kernels/build_info.c"
#include "src/kernels/convert.c"
#include "src/kernels/gemm.c"
#include "src/kernels/norm.c"
#include "src/kernels/optim.c"
#include "src/kernels/pointwise.c"
#include "src/kernels/reduce.c"
#include "src/kernels/special.c"

#include "src/ops/copies.c"
#include "src/ops/index.c"
#include "src/ops/inplace.c"
#include "src/ops/lanes.c"
#include "src/ops/loss.c"
#include "src/ops/matmul.c"
#include "src/ops/norm.c"
#include "src/ops/op.c"
#include "src/ops/pointwise.c"
#include "src/ops/pointwise_api.c"
#include "src/ops/reduce.c"
#include "src/ops/scan.c"
#include "src/ops/shape.c"
#include "src/ops/strided.c"
#include "src/ops/table.c"
#include "src/ops/walk.c"

#include "src/autograd/engine.c"
#include "src/autograd/gradcheck.c"
#include "src/autograd/meta.c"
#include "src/autograd/node.c"

#include "src/train/init.c"
#include "src/train/optim.c"

#include "src/io/dot.c"
#include "src/io/npy.c"
