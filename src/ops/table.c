/*
 * The operation table as data: ops.def read as bit masks, costs, text and compositions, gathered
 * into one ag__op per row.
 */
#include <math.h> /* NAN in ops.def */

#include "op.h"
#include "pointwise.h"

#define TABLE_F false
#define TABLE_N true

/* Reading `needs`. */
#include "readings/needs.h"
#define UNARY(name, node, class, value, ga, lo, hi) enum { needs_##name##_0 = ga };
#define BINARY(name, node, class, value, ga, gb, lo, hi)                                           \
    enum { needs_##name##_0 = ga, needs_##name##_1 = gb };
#define TERNARY(name, node, class, value, ga, gb, gc, lo, hi)                                      \
    enum { needs_##name##_0 = ga, needs_##name##_1 = gb, needs_##name##_2 = gc };
#define PREDICATE1(name, value)
#define PREDICATE2(name, value)
#define STRUCTURED(name)
#include "ops.def"
#include "readings/end.h"

/* Reading `cost`. */
#include "readings/cost.h"
#define UNARY(name, node, class, value, ga, lo, hi) enum { cost_##name = value };
#define BINARY(name, node, class, value, ga, gb, lo, hi) enum { cost_##name = value };
#define TERNARY(name, node, class, value, ga, gb, gc, lo, hi) enum { cost_##name = value };
#define PREDICATE1(name, value) enum { cost_##name = value };
#define PREDICATE2(name, value) enum { cost_##name = value };
#define STRUCTURED(name)
#include "ops.def"
#include "readings/end.h"

/* Reading `text`. */
#include "readings/text.h"
#define UNARY(name, node, class, value, ga, lo, hi)                                                \
    static const char *const text_##name[] = { value, ga };
#define BINARY(name, node, class, value, ga, gb, lo, hi)                                           \
    static const char *const text_##name[] = { value, ga, gb };
#define TERNARY(name, node, class, value, ga, gb, gc, lo, hi)                                      \
    static const char *const text_##name[] = { value, ga, gb, gc };
#define PREDICATE1(name, value) static const char *const text_##name[] = { value };
#define PREDICATE2(name, value) static const char *const text_##name[] = { value };
#define STRUCTURED(name)
#include "ops.def"
#include "readings/end.h"

/* Reading `composition`. */
#define TABLE_COMPOSE(name, k, gk)                                                                 \
    static ag_tensor *compose_##name##_##k(const ag__attrs *attrs, ag_tensor *pg, ag_tensor *pa,   \
                                           ag_tensor *pb, ag_tensor *pc, ag_tensor *py)            \
    { (void)attrs, (void)pg, (void)pa, (void)pb, (void)pc, (void)py; return gk; }
#include "readings/compose.h"
#define UNARY(name, node, class, value, ga, lo, hi) TABLE_COMPOSE(name, 0, ga)
#define BINARY(name, node, class, value, ga, gb, lo, hi)                                           \
    TABLE_COMPOSE(name, 0, ga) TABLE_COMPOSE(name, 1, gb)
#define TERNARY(name, node, class, value, ga, gb, gc, lo, hi)                                      \
    TABLE_COMPOSE(name, 0, ga) TABLE_COMPOSE(name, 1, gb) TABLE_COMPOSE(name, 2, gc)
#define PREDICATE1(name, value)
#define PREDICATE2(name, value)
#define STRUCTURED(name)
#include "ops.def"
#include "readings/end.h"
#undef TABLE_COMPOSE

/* ---- the rows ---- */

#define TABLE_OP(name_, node, kind_, n)                                                            \
    static const ag__op ag__op_##name_ = { .name = #name_, .node_name = node, .kind = kind_,       \
                                           .n_in = n, .n_out = 1, .takes_attrs = n == 1,           \
                                           .infer = ag__pointwise_infer,                           \
                                           .kernel = ag__pointwise_kernel,                         \
                                           .vjp = kind_ == AG_KIND_NODIFF ? NULL                   \
                                                                          : ag__pointwise_vjp,     \
                                           .pointwise = &pointwise_##name_ };
#define UNARY(name, node, class, value, ga, lo_, hi_)                                              \
    static const ag__pointwise pointwise_##name = {                                                \
        .index = AG_OP_##name, .keeps_integers = TABLE_##class, .needs = { needs_##name##_0 },     \
        .cost = cost_##name, .compose = { compose_##name##_0 }, .lo = lo_, .hi = hi_,              \
        .text = text_##name, };                                                                    \
    TABLE_OP(name, #node, AG_KIND_UNARY, 1)
#define BINARY(name, node, class, value, ga, gb, lo_, hi_)                                         \
    static const ag__pointwise pointwise_##name = {                                                \
        .index = AG_OP_##name, .keeps_integers = TABLE_##class,                                    \
        .needs = { needs_##name##_0, needs_##name##_1 }, .cost = cost_##name,                      \
        .compose = { compose_##name##_0, compose_##name##_1 }, .lo = lo_, .hi = hi_,               \
        .text = text_##name, };                                                                    \
    TABLE_OP(name, #node, AG_KIND_BINARY, 2)
#define TERNARY(name, node, class, value, ga, gb, gc, lo_, hi_)                                    \
    static const ag__pointwise pointwise_##name = {                                                \
        .index = AG_OP_##name, .keeps_integers = TABLE_##class,                                    \
        .needs = { needs_##name##_0, needs_##name##_1, needs_##name##_2 }, .cost = cost_##name,    \
        .compose = { compose_##name##_0, compose_##name##_1, compose_##name##_2 }, .lo = lo_,      \
        .hi = hi_, .text = text_##name, };                                                         \
    TABLE_OP(name, #node, AG_KIND_TERNARY, 3)
#define PREDICATE1(name, value)                                                                    \
    static const ag__pointwise pointwise_##name = {                                                \
        .index = AG_OP_##name, .keeps_integers = true, .predicate = true, .cost = cost_##name,     \
        .text = text_##name, };                                                                    \
    TABLE_OP(name, NULL, AG_KIND_NODIFF, 1)
#define PREDICATE2(name, value)                                                                    \
    static const ag__pointwise pointwise_##name = {                                                \
        .index = AG_OP_##name, .keeps_integers = true, .predicate = true, .cost = cost_##name,     \
        .text = text_##name, };                                                                    \
    TABLE_OP(name, NULL, AG_KIND_NODIFF, 2)
#define STRUCTURED(name) extern const ag__op ag__op_##name;
#include "ops.def"
#undef TABLE_OP

const ag__op *const ag__ops[AG_OP_COUNT] = {
#define AG__ROW(name) [AG_OP_##name] = &ag__op_##name,
#include "readings/list.h"
#undef AG__ROW
};

#undef TABLE_F
#undef TABLE_N

/* ---- names ---- */

/* Of a row: its node's name when operand number `number` is a number, or the names of all operands. */
typedef struct {
    const ag__op *op;
    int number;
    const char *node_name, *operands[3];
} table_name;

#define UNARY(name, ...)
#define BINARY(name, ...)
#define TERNARY(name, ...)
#define PREDICATE1(name, value)
#define PREDICATE2(name, value)
#define STRUCTURED(name)
#define NUMBER_NODE(name, operand, node) { &ag__op_##name, operand, #node, { NULL } },
#define OPERANDS(name, ...) { &ag__op_##name, 0, NULL, { __VA_ARGS__ } },
static const table_name table_names[] = {
#include "ops.def"
};

const char *ag__op_node_name(const ag__op *op, unsigned numbers, const ag__attrs *attrs)
{
    for (int i = 0; numbers && i < AG_COUNT(table_names); i++) {
        const table_name *t = &table_names[i];
        if (t->op == op && t->node_name && numbers >> t->number & 1u)
            return t->node_name;
    }
    return op->node_name_dims && attrs->n > 0 ? op->node_name_dims : op->node_name;
}

const char *ag__op_operand_name(const ag__op *op, int input)
{
    static const char *const usual[] = { "self", "other", "third", "fourth", "fifth", "sixth" };
    for (int i = 0; i < AG_COUNT(table_names); i++)
        if (table_names[i].op == op && !table_names[i].node_name)
            return table_names[i].operands[input];
    return op->operands ? op->operands[input] : usual[input < AG_COUNT(usual) ? input : 5];
}
