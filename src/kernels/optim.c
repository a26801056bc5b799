/* The steps of the optimisers: optim_tpl.h read for float and double. */
#include "optim.h"

#include <math.h>
#include <stddef.h>

#define OPTIM_INLINE static inline __attribute__((always_inline))

#define T float
#define ROOT(x) sqrtf(x)
#define STEP(name) optim_f32_##name
#include "optim_tpl.h"
#undef T
#undef ROOT
#undef STEP

#define T double
#define ROOT(x) sqrt(x)
#define STEP(name) optim_f64_##name
#include "optim_tpl.h"
#undef T
#undef ROOT
#undef STEP

#undef OPTIM_INLINE

ag__optim_row *const ag__optim_rows[2] = { optim_f32_row, optim_f64_row };
