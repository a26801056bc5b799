/*
 * NULL and contexts: a call whose operands are all NULL gives NULL (false, -1, NaN) and no error,
 * since an earlier call had it; one NULL among operands, and operands of two contexts, are errors.
 */
#include "harness.h"

#include <stdlib.h>

/* ---- nothing but NULL ---- */

typedef ag_tensor *unary_fn(ag_tensor *x);
static unary_fn *const unary[] = {
    ag_neg,      ag_abs,         ag_sign,        ag_sqrt,       ag_rsqrt,     ag_reciprocal,
    ag_square,   ag_exp,         ag_exp2,        ag_expm1,      ag_log,       ag_log2,
    ag_log10,    ag_log1p,       ag_sin,         ag_cos,        ag_tan,       ag_asin,
    ag_acos,     ag_atan,        ag_sinh,        ag_cosh,       ag_tanh,      ag_asinh,
    ag_acosh,    ag_atanh,       ag_erf,         ag_erfc,       ag_erfinv,    ag_lgamma,
    ag_digamma,  ag_sigmoid,     ag_logit,       ag_softplus,   ag_relu,      ag_selu,
    ag_silu,     ag_mish,        ag_hardsigmoid, ag_hardswish,  ag_floor,     ag_ceil,
    ag_round,    ag_trunc,       ag_sinc,        ag_nan_to_num, ag_isnan,     ag_isinf,
    ag_isfinite, ag_logical_not, ag_t,           ag_contiguous, ag_clone,     ag_detach,
    ag_detach_,  ag_zero_,       ag_zeros_like,  ag_ones_like,  ag_rand_like, ag_randn_like,
    ag_keep,     ag_retain,      ag_grad_of,
};

static ag_binary_fn const binary[] = {
    ag_add,        ag_sub,    ag_mul,     ag_div,     ag_pow,       ag_fmod,  ag_remainder,
    ag_atan2,      ag_hypot,  ag_maximum, ag_minimum, ag_logaddexp, ag_xlogy, ag_copysign,
    ag_eq,         ag_ne,     ag_lt,      ag_le,      ag_gt,        ag_ge,    ag_logical_and,
    ag_logical_or, ag_matmul, ag_mm,      ag_bmm,     ag_mv,        ag_dot,   ag_add_,
    ag_sub_,       ag_mul_,   ag_div_,    ag_copy_,
};

enum { UNARY = sizeof unary / sizeof *unary, BINARY = sizeof binary / sizeof *binary };

static void t_operands_are_null(ag_context *c)
{
    for (int i = 0; i < UNARY; i++)
        CHECK(!unary[i](NULL));
    for (int i = 0; i < BINARY; i++)
        CHECK(!binary[i](NULL, NULL));
    CHECK(!ag_add(NULL, 3) && !ag_sub(1.5, NULL) && !ag_mul_(NULL, 2) && !ag_pow(2, NULL));
    CHECK(!ag_where(NULL, NULL, NULL) && !ag_lerp(NULL, NULL, NULL) && !ag_lerp(NULL, NULL, 0.5));
    CHECK(!ag_where(NULL, 1, 2) && !ag_masked_fill(NULL, NULL, NULL) &&
          !ag_masked_fill(NULL, NULL, 0));
    CHECK(!ag_polygamma(1, NULL) && !ag_polygamma(-1, NULL) && !ag_leaky_relu(NULL, 1));
    CHECK(!ag_elu(NULL, 1) && !ag_celu(NULL, 0) && !ag_gelu(NULL, true) &&
          !ag_hardtanh(NULL, 1, 0));
    CHECK(!ag_clamp(NULL, 0, 1) && !ag_to(NULL, AG_F64) && !ag_to(NULL, (ag_dtype)99));
    CHECK(!ag_fill_(NULL, 1) && !ag_requires_grad_(NULL, true));
    CHECK(!ag_share(c, NULL) && !ag_share(NULL, NULL));
    CHECK(!ag_error(c));
}

static void t_families_of_null(ag_context *c)
{
    ag_tensor *const none[20] = { NULL };
    CHECK(!ag_sum(NULL) && !ag_mean(NULL) && !ag_prod(NULL) && !ag_amax(NULL) && !ag_amin(NULL));
    CHECK(!ag_var(NULL) && !ag_std(NULL) && !ag_logsumexp(NULL) && !(ag_sum)(NULL, NULL));
    CHECK(!ag_sum(NULL, .dims = AG_DIMS(7)) && !ag_argmax(NULL, 7, true) && !ag_cumsum(NULL, 7));
    CHECK(!ag_logcumsumexp(NULL, 7) && !ag_softmax(NULL, 7) && !ag_log_softmax(NULL, 7));
    CHECK(!ag_reshape(NULL, AG_SHAPE(-5)) && !ag_view(NULL, AG_SHAPE(1)) &&
          !ag_expand(NULL, AG_SHAPE(1)));
    CHECK(!ag_permute(NULL, AG_DIMS(0)) && !ag_transpose(NULL, 9, 9) && !ag_squeeze(NULL, 9));
    CHECK(!ag_unsqueeze(NULL, 9) && !ag_flatten(NULL, 9, 9) && !ag_select(NULL, 9, 9));
    CHECK(!ag_slice(NULL, 9, 9, 9, 0) && !ag_narrow(NULL, 9, 9, 9) && !ag_flip(NULL, AG_DIMS(9)));
    CHECK(!ag_tril(NULL, 0) && !ag_triu(NULL, 0));
    CHECK(!ag_cat(NULL, 0, 0) && !ag_cat(NULL, 3, 0) && !ag_cat(none, 3, 0) &&
          !ag_cat(none, 20, 0));
    CHECK(!ag_cat(none, 0, 0) && !ag_cat(none, -3, 0) && !ag_cat(NULL, INT32_MAX, 0));
    CHECK(!ag_stack(NULL, 3, 0) && !ag_stack(none, 3, 0) && !ag_stack(none, 0, 0));
    CHECK(!ag_addmm(NULL, NULL, NULL) && !ag_linear(NULL, NULL, NULL));
    CHECK(!ag_index_select(NULL, 9, NULL) && !ag_gather(NULL, 9, NULL) &&
          !ag_embedding(NULL, NULL));
    CHECK(!ag_one_hot(NULL, -9) && !ag_layer_norm(NULL, 9, NULL, NULL, 0));
    CHECK(!ag_mse_loss(NULL, NULL) && !ag_nll_loss(NULL, NULL) && !ag_cross_entropy(NULL, NULL));
    CHECK(!ag_cross_entropy(NULL, NULL, .label_smoothing = 9, .reduction = (ag_reduction)7));
    CHECK(!ag_uniform_(NULL, 1, 0) && !ag_normal_(NULL, 0, -1) && !ag_kaiming_uniform_(NULL, NAN));
    CHECK(!ag_kaiming_normal_(NULL, 0) && !ag_xavier_uniform_(NULL, -1) &&
          !ag_xavier_normal_(NULL, 1));
    CHECK(!ag_error(c));
}

static void t_questions_about_null(ag_context *c)
{
    double out[1];
    CHECK(!ag_context_of(NULL) && !ag_shape(NULL) && !ag_strides(NULL) && !ag_data(NULL));
    CHECK_INT(ag_ndim(NULL), -1);
    CHECK_INT(ag_numel(NULL), -1);
    CHECK_INT(ag_size(NULL, 0), -1);
    CHECK_INT(ag_version(NULL), -1);
    CHECK_INT(ag_dtype_of(NULL), AG_F32);
    CHECK_INT(ag_device_of(NULL), AG_CPU);
    CHECK(isnan(ag_item(NULL)) && isnan(ag_at(NULL, 1, 2)) && !ag_copy_out(NULL, out, 8));
    CHECK(!ag_is_contiguous(NULL) && !ag_to_string(NULL) && !ag_name(NULL) &&
          !ag_set_name(NULL, "x"));
    CHECK(!ag_requires_grad(NULL) && !ag_is_leaf(NULL) && !ag_set_grad(NULL, NULL));
    CHECK(!ag_retain_grad(NULL) && !ag_grad_fn(NULL) && !ag_node_name(NULL));
    CHECK_INT(ag_node_n_inputs(NULL), -1);
    CHECK(!ag_node_next(NULL, 0, NULL));
    CHECK(!ag_save_npy(NULL, "x") && !ag_save_npy(NULL, NULL) && !ag_write_dot(NULL, "x"));
    ag_print(NULL);
    ag_zero_grad(NULL);
    ag_drop(NULL);
    ag_release(NULL);
    ag_free(NULL);
    CHECK(!ag_error(c));
}

static void t_differentiating_null(ag_context *c)
{
    ag_tensor *const none[2] = { NULL };
    ag_tensor *results[2] = { NULL };
    CHECK(!ag_backward(NULL) && !(ag_backward)(NULL, NULL) &&
          !ag_backward(NULL, .create_graph = true));
    CHECK(!ag_backward_all(NULL, 0) && !ag_backward_all(NULL, 5) && !ag_backward_all(none, 2));
    CHECK(!ag_backward_all(none, -1) && !(ag_backward_all)(none, 2, NULL));
    CHECK(!ag_grad(NULL, 0, NULL, 0, NULL) && !ag_grad(none, 2, none, 2, results));
    CHECK(!(ag_grad)(NULL, 3, none, 2, results, NULL) && !results[0]);
    CHECK(!ag_gradcheck(NULL, NULL, 0, NULL) && !ag_gradcheck(NULL, none, 2, NULL));
    CHECK(!ag_gradgradcheck(NULL, NULL, 3, NULL) && !(ag_gradgradcheck)(NULL, none, 2, NULL, NULL));
    CHECK(!ag_sgd(NULL, 0) && !ag_sgd(NULL, 3) && !ag_sgd(none, 2) && !(ag_sgd)(none, 2, NULL));
    CHECK(!ag_adam(NULL, 0) && !ag_adam(NULL, 3) && !ag_adam(none, -2) &&
          !(ag_adam)(none, 2, NULL));
    CHECK(!ag_step(NULL));
    ag_optimizer_zero_grad(NULL);
    ag_optimizer_set_lr(NULL, 1);
    ag_optimizer_free(NULL);
    CHECK(!ag_error(c));
}

static void t_context_is_null(ag_context *c)
{
    static double data[2];
    ag_memory_statistics stats = { .tensors = 7 };
    CHECK(!ag_error(NULL) && !ag_fail(NULL, AG_ERR_VALUE, "%d", 3));
    ag_error_clear(NULL);
    ag_close(NULL);
    ag_set_num_threads(NULL, 3);
    ag_manual_seed(NULL, 3);
    ag_memory_stats(NULL, &stats);
    ag_memory_stats(c, NULL);
    ag_memory_fail_at(NULL, 1, true);
    CHECK_INT(stats.tensors, 7);
    CHECK(!ag_scope_begin(NULL) && !ag_grad_enabled(NULL) && !ag_set_grad_enabled(NULL, true));
    CHECK(!ag_set_inference_mode(NULL, true));
    ag_scope_end(NULL);
    AG_SCOPE (NULL)
        CHECK(!"a scope of no context is not entered");
    AG_NO_GRAD (NULL)
        CHECK(ag_grad_enabled(c));
    CHECK(!ag_array(NULL, AG_VALUES(1), AG_SHAPE(1)) && !ag_scalar(NULL, 1) &&
          !ag_empty(NULL, AG_SHAPE(1)));
    CHECK(!ag_from_data(NULL, data, AG_F64, AG_SHAPE(2)));
    CHECK(!ag_from_memory(NULL, data, AG_F64, AG_SHAPE(2), NULL, NULL));
    CHECK(!ag_zeros(NULL, AG_SHAPE(-1)) && !ag_ones(NULL, AG_SHAPE(1)) &&
          !ag_full(NULL, AG_SHAPE(1), 1));
    CHECK(!ag_arange(NULL, 0, 1, 0) && !ag_linspace(NULL, 0, 1, -1) && !ag_eye(NULL, -1));
    CHECK(!ag_rand(NULL, AG_SHAPE(1), .dtype = AG_I8) && !ag_randn(NULL, AG_SHAPE(1)));
    CHECK(!ag_share(NULL, ag_ones(c, AG_SHAPE(1))));
    CHECK(!ag_randint(NULL, 5, 5, AG_SHAPE(1)) && !ag_randperm(NULL, -1) &&
          !ag_load_npy(NULL, NULL));
    CHECK(!ag_error(c));
}

/* ---- one NULL among operands ---- */

static void t_one_operand_is_null(ag_context *c)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 2)), *m = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_BOOL);
    ag_tensor *i = ag_zeros(c, AG_SHAPE(2), .dtype = AG_I64);
    CHECK(x && m && i);
    WATCH(x);
    WATCH(m);
    for (int k = 0; k < BINARY; k++) {
        CHECK_ERROR(binary[k](x, NULL), AG_ERR_VALUE, "NULL");
        CHECK(!binary[k](NULL, x));
        if (ag_error(c)) /* the written operand of an in-place operation has the context */
            CHECK_ERROR(false, AG_ERR_VALUE, "NULL");
        else
            CHECK(k >= BINARY - 5);
    }
    ag_tensor *const lists[2][2] = { { x, NULL }, { NULL, x } };
    CHECK_ERROR(ag_add(x, NULL), AG_ERR_VALUE, "ag_add: operand 1 is NULL");
    CHECK_ERROR(ag_add(NULL, x), AG_ERR_VALUE, "ag_add: operand 0 is NULL");
    CHECK_ERROR(ag_where(NULL, x, x), AG_ERR_VALUE, "ag_where: operand 0 is NULL");
    CHECK_ERROR(ag_where(m, x, NULL), AG_ERR_VALUE, "ag_where: operand 2 is NULL");
    CHECK_ERROR(ag_lerp(x, NULL, x), AG_ERR_VALUE, "ag_lerp: operand 1 is NULL");
    CHECK_ERROR(ag_where(m, NULL, 2), AG_ERR_VALUE, "ag_where: operand 1 is NULL");
    CHECK_ERROR(ag_lerp(x, NULL, 0.5), AG_ERR_VALUE, "ag_lerp: operand 1 is NULL");
    CHECK_ERROR(ag_masked_fill(x, NULL, 0), AG_ERR_VALUE, "ag_masked_fill: operand 1 is NULL");
    CHECK_ERROR(ag_masked_fill(NULL, m, x), AG_ERR_VALUE, "ag_masked_fill: operand 0 is NULL");
    CHECK_ERROR(ag_cat(lists[0], 2, 0), AG_ERR_VALUE, "ag_cat: operand 1 is NULL");
    CHECK_ERROR(ag_cat(lists[1], 2, 0), AG_ERR_VALUE, "ag_cat: operand 0 is NULL");
    CHECK_ERROR(ag_stack(lists[1], 2, 0), AG_ERR_VALUE, "ag_stack: operand 0 is NULL");
    CHECK_ERROR(ag_addmm(x, x, NULL), AG_ERR_VALUE, "ag_addmm: operand 2 is NULL");
    CHECK_ERROR(ag_addmm(NULL, x, x), AG_ERR_VALUE, "ag_addmm: operand 0 is NULL");
    CHECK_ERROR(ag_linear(x, NULL, NULL), AG_ERR_VALUE, "ag_linear: weight is NULL");
    CHECK_ERROR(ag_index_select(x, 0, NULL), AG_ERR_VALUE, "ag_index_select: operand 1 is NULL");
    CHECK_ERROR(ag_gather(x, 0, NULL), AG_ERR_VALUE, "ag_gather: operand 1 is NULL");
    CHECK_ERROR(ag_embedding(x, NULL), AG_ERR_VALUE, "ag_embedding: operand 1 is NULL");
    CHECK_ERROR(ag_mse_loss(x, NULL), AG_ERR_VALUE, "ag_mse_loss: operand 1 is NULL");
    CHECK_ERROR(ag_nll_loss(x, NULL), AG_ERR_VALUE, "ag_nll_loss: operand 1 is NULL");
    CHECK_ERROR(ag_cross_entropy(x, NULL), AG_ERR_VALUE, "ag_nll_loss: operand 1 is NULL");
    CHECK_ERROR(ag_cross_entropy(x, NULL, .label_smoothing = 0.5), AG_ERR_VALUE,
                "operand 1 is NULL");
}

/* ---- two contexts ---- */

static ag_context
    *other; /* closed by each test; not harness memory, so a failed test may leave it */

/* The error is in the context of the first operand, and the other one is not touched. */
#define CHECK_MIXED(call)                                                                          \
    do {                                                                                           \
        CHECK_ERROR(call, AG_ERR_VALUE, "context");                                                \
        CHECK(!ag_error(other));                                                                   \
    } while (0)

static void mix(ag_context *c, ag_tensor *z)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2, 2)), *x3 = ag_ones(c, AG_SHAPE(2, 2, 2));
    ag_tensor *m = ag_ones(c, AG_SHAPE(2, 2), .dtype = AG_BOOL),
              *i = ag_zeros(c, AG_SHAPE(2), .dtype = AG_I64);
    ag_tensor *zi = ag_zeros(other, AG_SHAPE(2), .dtype = AG_I64),
              *z1 = ag_ones(other, AG_SHAPE(2));
    ag_tensor *list[20], *leaf = ag_ones(c, AG_SHAPE(2, 2), .requires_grad = true);
    CHECK(x && x3 && m && i && leaf);
    WATCH(x);
    WATCH(z);
    for (int k = 0; k < BINARY; k++)
        CHECK_MIXED(binary[k](x, z));
    CHECK_ERROR(ag_add(x, z), AG_ERR_VALUE,
                "ag_add: operands 0 and 1 belong to different contexts; use ag_share");
    CHECK_MIXED(ag_where(m, x, z));
    CHECK_MIXED(ag_lerp(x, x, z));
    CHECK_MIXED(ag_lerp(x, z, 0.5));
    CHECK_MIXED(ag_masked_fill(x, m, ag_scalar(other, 1)));
    CHECK_MIXED(ag_matmul(x3, z));
    CHECK_MIXED(ag_matmul(x, ag_ones(other, AG_SHAPE(3, 2, 2))));
    CHECK_MIXED(ag_addmm(x, x, z));
    CHECK_MIXED(ag_addmm(x, z, x));
    CHECK_MIXED(ag_linear(x, z, NULL));
    CHECK_MIXED(ag_linear(x, x, z1));
    CHECK_MIXED(ag_linear(x3, x, z1));
    CHECK_MIXED(ag_index_select(x, 0, zi));
    CHECK_MIXED(ag_gather(x, 0, ag_zeros(other, AG_SHAPE(2, 2), .dtype = AG_I64)));
    CHECK_MIXED(ag_embedding(x, zi));
    CHECK_MIXED(ag_layer_norm(x, 1, z1, NULL, 0));
    CHECK_MIXED(ag_layer_norm(x, 1, NULL, z1, 0));
    CHECK_MIXED(ag_mse_loss(x, z));
    CHECK_MIXED(ag_nll_loss(x, zi));
    CHECK_MIXED(ag_nll_loss(x, i, .weight = z1));
    CHECK_MIXED(ag_cross_entropy(x, zi, .label_smoothing = 0.1));
    CHECK_MIXED(ag_cross_entropy(x, i, .weight = z1, .label_smoothing = 0.1));
    CHECK_MIXED(ag_copy_(ag_ones(c, AG_SHAPE(2), .dtype = AG_F64), z1));
    CHECK_MIXED(ag_remainder(i, zi));
    for (int n = 2; n <= 20; n += 18)
        for (int k = 1; k < n; k++) {
            for (int j = 0; j < n; j++)
                list[j] = j == k ? z : j ? x : leaf;
            CHECK_MIXED(ag_cat(list, n, 0));
            CHECK_MIXED(ag_stack(list, n, 0));
        }
}

static void mix_gradients(ag_context *c, ag_tensor *z)
{
    ag_tensor *x = ag_ones(c, AG_SHAPE(2), .requires_grad = true), *y = ag_mul(x, x),
              *s = ag_sum(y);
    ag_tensor *w = ag_ones(other, AG_SHAPE(2), .requires_grad = true), *result = x;
    CHECK(x && y && s && w);
    ag_tensor *outputs[] = { s, ag_sum(w) };
    ag_tensor *params[] = { x, w };
    WATCH(x);
    WATCH(w);
    CHECK_MIXED(ag_backward(y, .gradient = z));
    CHECK_MIXED(ag_backward(s, .inputs = &w, .n_inputs = 1));
    CHECK_MIXED(ag_backward_all(outputs, 2));
    CHECK_MIXED(ag_grad(outputs, 2, &x, 1, &result));
    CHECK_MIXED(ag_grad(&s, 1, &w, 1, &result));
    CHECK_MIXED(ag_grad(&y, 1, &x, 1, &result, .grad_outputs = &z));
    CHECK(result == x);
    CHECK_MIXED(ag_set_grad(x, z));
    CHECK_MIXED(ag_sgd(params, 2));
    CHECK_MIXED(ag_adam(params, 2));
    CHECK(ag_backward(s)); /* nothing was given up */
}

static void with_other(ag_context *c, void (*run)(ag_context *c, ag_tensor *z), ag_ints shape)
{
    other = ag_open();
    CHECK(other);
    ag_tensor *z = ag_ones(other, shape);
    CHECK(z);
    run(c, z);
    UNWATCH();
    ag_close(other);
}

/* When memory fails a check jumps out and leaves the other context; the faults of these calls are
 * met elsewhere. */
static void t_operands_of_two_contexts(ag_context *c)
{
    if (!harness_faults())
        with_other(c, mix, AG_SHAPE(2, 2));
}

static void t_gradients_of_two_contexts(ag_context *c)
{
    if (!harness_faults())
        with_other(c, mix_gradients, AG_SHAPE(2));
}

/* ---- lifetimes ---- */

static void t_scopes_end_once(ag_context *c)
{
    ag_scope *outer = ag_scope_begin(c), *inner = ag_scope_begin(c);
    CHECK(outer && inner);
    CHECK(ag_ones(c, AG_SHAPE(3)));
    ag_scope_end(outer); /* and the inner one */
    ag_scope_end(inner);
    ag_scope_end(outer);
    ag_tensor *t[40];
    for (int i = 0; i < 40; i++) /* what the freed blocks are used for now */
        CHECK(t[i] = ag_ones(c, AG_SHAPE(i + 1)));
    ag_scope_end(inner);
    ag_scope_end(outer);
    for (int i = 0; i < 40; i++)
        CHECK_CLOSE(ag_at(t[i], i), 1, 0);
    CHECK(!ag_error(c));
}

static void t_keep_and_drop_outside_scopes(ag_context *c)
{
    ag_tensor *t = ag_ones(c, AG_SHAPE(2));
    CHECK(t && ag_keep(t) == t && ag_keep(ag_keep(t)) == t); /* the context is the last scope */
    CHECK(ag_retain(t) == t);
    ag_drop(t);
    ag_drop(t); /* no scope owns it any more */
    CHECK(ag_keep(t) == t);
    CHECK_CLOSE(ag_at(t, 1), 1, 0);
    ag_release(t);
    ag_memory_statistics s;
    ag_memory_stats(c, &s);
    CHECK_INT(s.tensors, 0);
}

static void t_closing_with_retained_tensors(ag_context *c)
{
    if (harness_faults()) /* the other context has memory of its own */
        return;
    other = ag_open();
    CHECK(other && !ag_error(c));
    ag_tensor *t = ag_retain(ag_ones(other, AG_SHAPE(2), .requires_grad = true));
    CHECK(t);
    ag_close(other);
    const bool computed = ag_sum(t) || ag_zeros_like(t);
    const ag_status *status = ag_error(other); /* lives on with t */
    const bool told = status && strstr(status->message, "the context is closed");
    const double value = ag_at(t, 1);
    ag_close(other);
    ag_release(t);
    CHECK(!computed && told);
    CHECK_CLOSE(value, 1, 0);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_operands_are_null), TEST(t_families_of_null), TEST(t_questions_about_null),
               TEST(t_differentiating_null), TEST(t_context_is_null), TEST(t_one_operand_is_null),
               TEST(t_operands_of_two_contexts), TEST(t_gradients_of_two_contexts),
               TEST(t_scopes_end_once), TEST(t_keep_and_drop_outside_scopes),
               TEST(t_closing_with_retained_tensors));
}
