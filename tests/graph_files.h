/* What the tests of graph files share: graphs of all kinds of instructions, files and their checksums. */
#ifndef AG_TESTS_GRAPH_FILES_H
#define AG_TESTS_GRAPH_FILES_H

#include "files.h"
#include "graphs.h"

static inline ag_graph *files_load(ag_context *c, const char *path)
{
    ag_graph *g = ag_graph_load(c, path);
    if (g)
        harness_defer(graphs_free_graph, g);
    return g;
}

/* ---- functions of bodies and branches ---- */

static inline ag_tensor *files_small(ag_tensor *const *v, int n, void *user)
{
    (void)user, (void)n;
    return ag_lt(ag_sum(v[0]), 50);
}

static inline bool files_double(ag_tensor *const *v, int n, ag_tensor **next, void *user)
{
    (void)n;
    ag_tensor *w = user; /* from outside: captured */
    next[0] = ag_mul(v[0], w);
    next[1] = ag_add(v[1], 1);
    return next[0] && next[1];
}

static inline bool files_loop(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    ag_tensor *vars[] = { in[0], ag_zeros_like(in[0]) }, *results[2];
    (void)n, (void)m;
    if (!vars[1] || !ag_while_loop(files_small, files_double, vars, 2, results, .user = user,
                                   .maximum_iterations = 9))
        return false;
    out[0] = ag_add(results[0], results[1]);
    return out[0] != NULL;
}

static inline bool files_negate(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m, (void)user;
    return (out[0] = ag_neg(in[0])) != NULL;
}

static inline bool files_cube(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    (void)n, (void)m;
    ag_tensor *w = user;
    return (out[0] = ag_mul(ag_mul(in[0], in[0]), ag_mul(in[0], w))) != NULL;
}

/* A branch around a loop, in the body of a scan. */
static inline bool files_step(ag_tensor *const *carry, int n, ag_tensor *const *x, int k,
                              ag_tensor **carry_out, ag_tensor **y, int m, void *user)
{
    (void)n, (void)k, (void)m;
    ag_tensor *pred = ag_gt(ag_sum(x[0]), 2.5);
    if (!ag_cond(pred, files_loop, files_negate, x, 1, y, 1, .user = user))
        return false;
    carry_out[0] = ag_add(carry[0], ag_mul(y[0], x[0]));
    return carry_out[0] != NULL;
}

/* ---- graphs ---- */

/* Loops in branches in loops, an index of branches, captured values, unknown sizes. "x", "w", "y"... */
static inline ag_graph *files_flow(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1, 2), .name = "x"),
              *i = ag_placeholder(g, AG_I64, AG_SHAPE(), .name = "i"),
              *w = ag_variable(g, ag_full(c, AG_SHAPE(2), 2), .name = "w"), *carry, *ys, *z;
    CHECK(x && w && i);
    ag_tensor *zero = ag_zeros_like(w);
    CHECK(ag_scan(files_step, &zero, 1, &x, 1, &carry, &ys, 1, .user = w, .reverse = true));
    const ag_fn branches[] = { files_negate, files_cube, files_loop };
    CHECK(ag_switch(i, branches, 3, &carry, 1, &z, 1, .user = w));
    CHECK(ag_set_name(carry, "carry") && ag_set_name(ys, "ys") && ag_set_name(z, "z"));
    return g;
}

/* Gradients, of gradients too, and a jvp. */
static inline ag_graph *files_derivatives(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *x = ag_placeholder(g, AG_F32, AG_SHAPE(2), .name = "x"),
              *w = ag_variable(g, ag_full(c, AG_SHAPE(2), 2), .name = "w"), *y, *dx, *ddw, *out,
              *tangent;
    CHECK(x && w && files_loop(&x, 1, &y, 1, w));
    ag_tensor *ones = ag_ones_like(y);
    CHECK(ag_grad(&y, 1, &x, 1, &dx, .grad_outputs = &ones));
    ag_tensor *s = ag_sum(ag_square(dx));
    CHECK(ag_grad(&s, 1, &w, 1, &ddw));
    CHECK(ag_jvp(files_cube, &x, 1, &dx, &out, 1, &tangent, w));
    CHECK(ag_set_name(dx, "dx") && ag_set_name(ddw, "ddw") && ag_set_name(out, "out") &&
          ag_set_name(tangent, "tangent"));
    return g;
}

/* Variables, one without a value, what is assigned to them, and in which order. */
static inline ag_graph *files_effects(ag_context *c)
{
    ag_graph *g = graphs_graph(c);
    ag_tensor *v = ag_variable(g, ag_full(c, AG_SHAPE(3), 1), .name = "v"),
              *u = ag_variable_empty(g, AG_F64, AG_SHAPE(), .name = "u"),
              *x = ag_placeholder(g, AG_F32, AG_SHAPE(-1), .name = "x");
    CHECK(v && u && x);
    ag_tensor *first = ag_assign_add(v, x), *set = ag_assign(u, ag_to(ag_sum(x), AG_F64));
    CHECK(first && set);
    ag_tensor *both = ag_group((ag_tensor *[]){ first, set }, 2);
    CHECK(both && ag_control_dependencies_push(g, &both, 1));
    ag_tensor *after = ag_assign_sub(v, ag_detach(ag_mul(v, .5)));
    ag_control_dependencies_pop(g);
    ag_tensor *all = ag_group(&after, 1);
    CHECK(after && all && ag_set_name(after, "after") && ag_set_name(all, "all"));
    return g;
}

/* ---- files ---- */

enum { FILES_PATH = 512 };
static inline void files_path(char path[FILES_PATH], const char *name)
{
    snprintf(path, FILES_PATH, "%s", harness_path(name));
}

/* CRC-32, a bit at a time. */
static inline uint32_t files_checksum(const char *bytes, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        crc ^= (uint8_t)bytes[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* The text with its checksum behind it. */
static inline void files_write(const char *path, const char *text, size_t n)
{
    static char all[FILES_MAX];
    if (n + 32 > sizeof all)
        FAIL("a text of %zu bytes is too long", n);
    memcpy(all, text, n);
    const int last =
        snprintf(all + n, 32, "checksum %08lx\n", (unsigned long)files_checksum(text, n));
    file_write(path, all, n + (size_t)last);
}

/* g as it comes back from a file; it is saved again, and nothing has changed. */
static inline ag_graph *files_again(ag_context *c, ag_graph *g)
{
    static char first[FILES_MAX];
    char a[FILES_PATH], b[FILES_PATH];
    size_t n = 0, m = 0;
    files_path(a, "a.graph");
    files_path(b, "b.graph");
    CHECK(ag_graph_save(g, a));
    ag_graph *h = files_load(c, a);
    CHECK(h && ag_graph_save(h, b));
    CHECK(file_read(a, &n));
    memcpy(first, file_read(a, &n), n);
    const char *second = file_read(b, &m);
    CHECK_INT(m, n);
    CHECK(!memcmp(first, second, n));
    char *s = ag_graph_to_string(g), *t = ag_graph_to_string(h);
    const bool same = s && t && !strcmp(s, t);
    ag_free(s);
    ag_free(t);
    CHECK(same);
    return h;
}

#endif
