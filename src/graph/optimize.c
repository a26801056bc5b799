/*
 * The order of the passes. Each leaves what is not needed any more where it stood, and prune takes
 * it away: first, so that no pass works for nothing, and last. Folding comes before equal things
 * are found, as it makes constants alike; rules of algebra and what left a loop may be alike too,
 * so they are looked for a second time. The order is for memory only, so it comes when all is
 * settled.
 *
 * Without algebra results are those of the same calls in the dynamic graph, bit for bit. So the
 * transposed product, whose sums are taken in another order, is part of it; transposes of
 * transposes are gone by then.
 */
#include "passes.h"
#include "text.h"

typedef struct {
    const char *name;
    int bits; /* AG_PASS_...: left out when one of these is; 0: always runs */
    ag__pass_fn *run;
} optimize_pass;

static const optimize_pass optimize_passes[] = {
    { "prune", 0, ag__pass_prune },
    { "fold", AG_PASS_FOLD, ag__pass_fold },
    { "cse", AG_PASS_CSE, ag__pass_cse },
    { "algebra", AG_PASS_ALGEBRA, ag__pass_algebra },
    { "transpose", AG_PASS_TRANSPOSE | AG_PASS_ALGEBRA, ag__pass_transpose },
    { "hoist", AG_PASS_HOIST, ag__pass_hoist },
    { "cse", AG_PASS_CSE, ag__pass_cse },
    { "prune", 0, ag__pass_prune },
    { "order", AG_PASS_REUSE | AG__PASS_ORDER, ag__pass_order },
};

static bool optimize_show(const ag_graph *g, const char *name, const ag__planning *how)
{
    char *text = how->dot ? ag__graph_dot(g) : ag__graph_string(g);
    if (text)
        how->dump(name, text, how->user);
    ag_free(text);
    return text != NULL;
}

ag_graph *ag__optimize(ag_graph *g, const ag__planning *how)
{
    bool ok = true;
    for (int k = 0; k < AG_COUNT(optimize_passes) && ok; k++) {
        const optimize_pass *p = &optimize_passes[k];
        if (p->bits & how->off)
            continue;
        ag_graph *new = p->run(g);
        ag_graph_free(g);
        g = new;
        ok = g && (!how->dump || optimize_show(g, p->name, how));
    }
    if (!ok)
        ag_graph_free(g);
    return ok ? g : NULL;
}
