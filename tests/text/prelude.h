/* What code that is made from the table's text defines: the number type and the functions. */
#include <float.h>
#include <math.h>

#include "kernels/special.h"

#define T double
#define M(name) name
#define AG__FN(name) text_##name
#define AG__HUGEST DBL_MAX
#include "kernels/scalar_tpl.h"

#define ag_square text_sq
#define ag_abs fabs
#define ag_sign text_sign
#define ag_sqrt sqrt
#define ag_rsqrt(u) (1 / sqrt(u))
#define ag_exp exp
#define ag_exp2 exp2
#define ag_expm1 expm1
#define ag_log log
#define ag_log2 log2
#define ag_log10 log10
#define ag_log1p log1p
#define ag_sin sin
#define ag_cos cos
#define ag_tan tan
#define ag_asin asin
#define ag_acos acos
#define ag_atan atan
#define ag_sinh sinh
#define ag_cosh cosh
#define ag_tanh tanh
#define ag_asinh asinh
#define ag_acosh acosh
#define ag_atanh atanh
#define ag_erf erf
#define ag_erfc erfc
#define ag_erfinv text_erfinv
#define ag_lgamma text_lgamma
#define ag_digamma text_digamma
#define ag_polygamma text_polygamma
#define ag_sigmoid text_sigmoid
#define ag_floor floor
#define ag_ceil ceil
#define ag_round rint
#define ag_trunc trunc
#define ag_sinc text_sinc
#define ag_sinc1 text_sinc1
#define ag_sinc2 text_sinc2
#define ag_nan_to_num text_nan_to_num
#define ag_isnan text_isnan
#define ag_isinf text_isinf
#define ag_isfinite text_isfinite
#define ag_pow pow
#define ag_fmod fmod
#define ag_remainder text_remainder
#define ag_atan2 atan2
#define ag_hypot hypot
#define ag_maximum text_maximum
#define ag_minimum text_minimum
#define ag_logaddexp text_logaddexp
#define ag_copysign copysign
#define ag_lerp text_lerp
#define ag_clamp text_clamp
