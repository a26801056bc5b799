/* norm_tpl.h for float and double. */
#include "norm.h"

#include <math.h>

#include "pointwise.h"

/* Columns of a softmax that are worked on side by side, elements of one whose exponentials are. */
enum { NORM_COLS = 64, NORM_BLOCK = 256 };

#define T float
#define NORM_NAME(name) norm_##name##_f32
#define NORM_API(name) ag__##name##_f32
#define NORM_LOOP AG_LOOP_F32
#define NORM_LOG logf
#include "norm_tpl.h"
#undef T
#undef NORM_NAME
#undef NORM_API
#undef NORM_LOOP
#undef NORM_LOG

#define T double
#define NORM_NAME(name) norm_##name##_f64
#define NORM_API(name) ag__##name##_f64
#define NORM_LOOP AG_LOOP_F64
#define NORM_LOG log
#include "norm_tpl.h"
#undef T
#undef NORM_NAME
#undef NORM_API
#undef NORM_LOOP
#undef NORM_LOG
