/* The rows that only graphs have, and finding rows by name. */
#include "rows.h"

#include <string.h>

#define GRAPH_ROW(row)                                                                             \
    const ag__op ag__op_##row = {                                                                  \
        .name = #row, .kind = AG_KIND_NODIFF, .n_in = -1, .n_out = -1, .takes_attrs = true         \
    };
#define AG__ROW(name) GRAPH_ROW(name)
#include "rows.def"
#undef AG__ROW
#undef GRAPH_ROW

/* b in the place of a, where gradients go on. */
static bool stand_in_infer(const ag__call *call, ag__geometry *out)
{
    const ag_tensor *a = call->in[0], *b = call->in[1];
    ag__geometry_set(out, (ag_dtype)b->dtype, ag__sizes(b));
    return ag__attrs_fit(call, a->dtype == b->dtype && ag__same_shape(ag__sizes(a), ag__sizes(b)));
}
static bool stand_in_kernel(const ag__call *call, ag_tensor *const *out)
{
    ag__copy_data(out[0], call->in[1]);
    return true;
}
static bool stand_in_vjp(ag__rule *r)
{
    r->out[0] = r->g[0];
    return true;
}
const ag__op ag__op_stand_in = { .name = "stand_in",
                                 .node_name = "StandInBackward0",
                                 .kind = AG_KIND_LINEAR,
                                 .n_in = 2,
                                 .n_out = 1,
                                 .infer = stand_in_infer,
                                 .kernel = stand_in_kernel,
                                 .vjp = stand_in_vjp };

#define AG__ROW(name) &ag__op_##name,
static const ag__op *const rows_of_graphs[] = {
#include "rows.def"
    &ag__op_stand_in,
};
#undef AG__ROW

/* Rows of the table may share what their errors call them, so the enum's names are taken. */
#define AG__ROW(name) #name,
static const char *const rows_names[] = {
#include "../ops/readings/list.h"
};
#undef AG__ROW

const ag__op *ag__graph_row(const char *name)
{
    for (int i = 0; i < AG_COUNT(rows_of_graphs); i++)
        if (!strcmp(rows_of_graphs[i]->name, name))
            return rows_of_graphs[i];
    for (int i = 0; i < AG_OP_COUNT; i++)
        if (!strcmp(rows_names[i], name))
            return ag__ops[i];
    return NULL;
}

const char *ag__graph_row_name(const ag__op *op)
{
    for (int i = 0; i < AG_OP_COUNT; i++)
        if (ag__ops[i] == op)
            return rows_names[i];
    return op->name;
}
