/*
 * Graphs from text, by recursive descent over lines: the first line, the main region, the regions
 * inside it, AG_GRAPH_DEPTH deep at most. Nothing that the text says is believed. parse_words.c
 * reads what lines are made of, parse_inst.c makes instructions of them.
 */
#include "parse.h"
#include "text.h"

/* ---- regions ---- */

static bool parse_params(ag__reader *r, ag__region *region)
{
    if (!ag__parse_expect(r, '('))
        return false;
    for (bool more = !ag__parse_take(r, ')'); more; more = ag__parse_take(r, ',')) {
        ag__geometry g;
        bool number;
        if (!ag__parse_define(r, region, 0) || !ag__parse_type(r, &g, &number) ||
            ag__region_param(region, g.dtype, (ag_ints){ g.shape, g.ndim }, number) < 0)
            return false;
    }
    return region->n_params == 0 || ag__parse_expect(r, ')');
}

static bool parse_return(ag__reader *r, ag__region *region)
{
    int32_t *outs = NULL, n = 0;
    int room = 0;
    const bool ok = ag__parse_values(r, region, false, &outs, &room, &n) &&
                    ag__region_set_outs(region, outs, n) && ag__parse_line_end(r);
    ag__free(r->c, outs, (size_t)room * sizeof *outs);
    return ok;
}

/* Instructions up to something else. */
static bool parse_insts(ag__reader *r, ag__region *region, int depth)
{
    while (ag__parse_more(r) && (ag__parse_is(r, '%') || ag__parse_is(r, '=')))
        if (!ag__parse_inst(r, region, depth))
            return false;
    return true;
}

bool ag__parse_region(ag__reader *r, ag__region *parent, int depth, ag__region **out)
{
    if (depth > AG_GRAPH_DEPTH)
        return ag__parse_bad(r, "regions are inside each other more than %d deep", AG_GRAPH_DEPTH);
    ag__region *region = *out = ag__region_new(r->g, parent);
    if (!region || !parse_params(r, region) || !ag__parse_expect(r, '{') ||
        !ag__parse_line_end(r) || !parse_insts(r, region, depth))
        return false;
    if (!ag__parse_word(r, "return"))
        return ag__parse_bad(r, "expected an instruction or return");
    if (!parse_return(r, region))
        return false;
    ag__parse_more(r);
    return ag__parse_expect(r, '}') && ag__parse_line_end(r);
}

/* The main region of a traced graph has parameters and results. */
static bool parse_main(ag__reader *r)
{
    ag__region *region = &r->g->main;
    const bool traced = r->g->traced;
    if (traced && ag__parse_more(r) && ag__parse_is(r, '(') &&
        !(parse_params(r, region) && ag__parse_line_end(r)))
        return false;
    if (!parse_insts(r, region, 0))
        return false;
    if (traced && ag__parse_word(r, "return") && !parse_return(r, region))
        return false;
    for (int k = 0; k < region->n_insts; k++)
        if (region->insts[k].twin &&
            (region->insts[k].twin <= k || region->insts[k].twin >= region->n_insts))
            return ag__parse_bad(r, "a twin is a later instruction");
    return !ag__parse_more(r) || ag__parse_bad(r, "expected an instruction");
}

static bool parse_header(ag__reader *r, bool traced, bool *finalized)
{
    int64_t version;
    if (!ag__parse_word(r, "autograd graph"))
        return ag__parse_bad(r, "this is no graph: the text does not begin with 'autograd graph'");
    if (!ag__parse_integer(r, &version))
        return false;
    if (version != AG_GRAPH_VERSION)
        return ag__parse_bad(r, "version %lld of the format; this library reads version %d",
                             (long long)version, AG_GRAPH_VERSION);
    if (ag__parse_word(r, "traced") != traced)
        return ag__parse_bad(r, traced ? "this is no traced graph" : "this is a traced graph");
    *finalized = ag__parse_word(r, "finalized");
    return ag__parse_line_end(r);
}

ag_graph *ag__graph_parse(ag_context *c, const char *who, const char *text, size_t n, bool traced)
{
    ag__reader r = { c, ag__graph_new(c, traced), who, text, text + n, text, 1 };
    bool finalized = false;
    if (!r.g)
        return NULL;
    if (parse_header(&r, traced, &finalized) && parse_main(&r)) {
        r.g->finalized = finalized;
        return r.g;
    }
    ag_graph_free(r.g);
    return NULL;
}
