/*
 * Numbers as operands. A number becomes a 0-dim tensor marked AG_T_NUMBER, which takes its dtype from
 * the operand beside it. Nothing writes such a tensor, so the context keeps the latest ones and calls
 * with the same number share one: the 1 of `w + 1` in a loop is made once.
 */
#include <string.h>

#include "op.h"

/* The number bit by bit: -0 is not 0, and a NaN is itself. */
static uint64_t number_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* A hash to AG_NUMBERS values. */
static unsigned number_place(double value, ag_dtype dtype)
{
    const uint64_t hash = (number_bits(value) + (unsigned)dtype) * 0x9E3779B97F4A7C15u;
    return (unsigned)(hash >> 60) % AG_NUMBERS;
}

/* A kept tensor does not count as one of the program's. */
static void number_give_up(ag_context *c, ag__number_kept *kept)
{
    if (kept->tensor)
        c->tensors++;
    ag__tensor_unref(kept->tensor);
    kept->tensor = NULL;
}

ag_tensor *ag__number_beside(const ag_tensor *t, double value, ag_dtype otherwise)
{
    ag_context *c = t->c;
    const bool same = t->dtype == AG_F32 || t->dtype == AG_F64;
    const ag_dtype dtype = same ? (ag_dtype)t->dtype : otherwise;
    ag__number_kept *kept = &c->numbers[number_place(value, dtype)];
    if (kept->tensor && kept->tensor->dtype == dtype &&
        number_bits(kept->value) == number_bits(value))
        return ag__tensor_ref(kept->tensor);
    ag_tensor *number = ag__tensor_number(c, value, dtype);
    if (!number || c->closed)
        return number;
    number_give_up(c, kept);
    *kept = (ag__number_kept){ value, ag__tensor_ref(number) };
    c->tensors--;
    return number;
}

ag_tensor *ag__number(const ag_tensor *t, double value)
{
    return t ? ag__settle(ag__number_beside(t, value, AG_F64)) : NULL;
}

void ag__context_release_numbers(ag_context *c)
{
    for (int i = 0; i < AG_NUMBERS; i++)
        number_give_up(c, &c->numbers[i]);
}
