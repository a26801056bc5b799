/* Random graphs of numbers with hooks, and passes over them. golden/passes.txt says what PyTorch
 * made of each: which hooks were called, in which order and with what, and the gradients that came
 * of it (golden/passes.py explains the lines). */
#define _POSIX_C_SOURCE 200809L
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAMES = 26, WORDS = 64, LINE = 512, LOG = 64, FIRST_FAULTY = 12 };
static const double tolerance = 1e-8; /* the file has ten digits */

typedef struct {
    char letter;
    double gradient;
} entry;
typedef struct program program;
typedef struct {
    program *p;
    char letter;
    double factor; /* 0: it changes nothing */
    ag_hook *handle;
} hook;
struct program {
    ag_context *c;
    ag_tensor *t[NAMES]; /* by letter */
    hook hooks[NAMES];
    ag_tensor *gave[NAMES];
    entry log[LOG], later[NAMES];
    int n_log, n_later, n_gave;
    char *word[WORDS];
    int n_words, line;
    bool failed; /* the pass of the line before */
};

static ag_tensor **named(program *p, int i) { return &p->t[p->word[i][0] - 'a']; }
static bool is(const program *p, const char *what) { return strcmp(p->word[0], what) == 0; }

/* ---- hooks ---- */

static void note(const hook *h, ag_tensor *g)
{
    program *p = h->p;
    if (p->n_log < LOG)
        p->log[p->n_log++] = (entry){ h->letter, g ? ag_item(g) : NAN };
}
static ag_tensor *scaled(const hook *h, ag_tensor *g)
{
    return g && h->factor != 0 ? ag_mul(g, h->factor) : g;
}
static ag_tensor *on_tensor(ag_tensor *g, void *user)
{
    note(user, g);
    return scaled(user, g);
}
static void before(ag_tensor **g, int n, void *user)
{
    note(user, g[0]);
    for (int i = 0; i < n; i++)
        g[i] = scaled(user, g[i]);
}
static void behind(ag_tensor **in, int n_in, ag_tensor *const *out, int n_out, void *user)
{
    (void)out;
    (void)n_out;
    note(user, in[0]);
    for (int i = 0; i < n_in; i++)
        in[i] = scaled(user, in[i]);
}
/* In the order of letters. */
static void after(ag_tensor *leaf, void *user)
{
    const hook *h = user;
    program *p = h->p;
    int i = p->n_later++;
    for (; i > 0 && p->later[i - 1].letter > h->letter; i--)
        p->later[i] = p->later[i - 1];
    p->later[i] = (entry){ h->letter, ag_item(ag_grad_of(leaf)) };
}

static void register_hook(program *p)
{
    hook *h = &p->hooks[p->word[1][0] - 'A'];
    ag_tensor *t = *named(p, 2);
    *h = (hook){ .p = p, .letter = p->word[1][0], .factor = strtod(p->word[3], NULL) };
    if (is(p, "hook"))
        h->handle = ag_register_hook(t, on_tensor, h);
    else if (is(p, "pre"))
        h->handle = ag_node_register_prehook(ag_grad_fn(t), before, h);
    else if (is(p, "post"))
        h->handle = ag_node_register_hook(ag_grad_fn(t), behind, h);
    else
        h->handle = ag_register_post_accumulate_grad_hook(t, after, h);
    CHECK(h->handle);
}

/* ---- passes ---- */

/* backward RETAIN CREATE roots... / inputs... */
static bool pass(program *p)
{
    ag_tensor *roots[WORDS], *inputs[WORDS];
    int n = 0, m = 0, i = 3;
    const bool retain = p->word[1][0] == '1', create = p->word[2][0] == '1';
    for (; p->word[i][0] != '/'; i++)
        roots[n++] = *named(p, i);
    for (i++; i < p->n_words; i++)
        inputs[m++] = *named(p, i);
    p->n_log = p->n_later = 0;
    p->n_gave = m;
    if (is(p, "grad"))
        return ag_grad(roots, n, inputs, m, p->gave, .retain_graph = retain, .create_graph = create,
                       .allow_unused = true);
    return ag_backward_all(roots, n, .retain_graph = retain, .create_graph = create,
                           .inputs = m ? inputs : NULL, .n_inputs = m);
}

static void expect(const program *p, const char *what, double is, const char *expected)
{
    const double e = strcmp(expected, "none") == 0 ? NAN : strtod(expected, NULL);
    if (!harness_is_close(is, e, tolerance))
        FAIL("golden/passes.txt:%d: %s is %.10g, not %s", p->line, what, is, expected);
}

static void expect_log(const program *p, const entry *log, int n)
{
    char is[LOG + 1] = { 0 }, wanted[LOG + 1] = { 0 };
    for (int i = 0; i < n; i++)
        is[i] = log[i].letter;
    for (int i = 1; i < p->n_words; i++)
        wanted[i - 1] = p->word[i][0];
    if (strcmp(is, wanted) != 0)
        FAIL("golden/passes.txt:%d: the hooks were %s, not %s", p->line, is, wanted);
    for (int i = 1; i < p->n_words; i++)
        expect(p, p->word[i], log[i - 1].gradient, p->word[i] + 2);
}

static double value_of(ag_tensor *g) { return g ? ag_item(g) : NAN; }

/* ---- lines ---- */

static ag_tensor *compute(program *p)
{
    ag_tensor *a = *named(p, 2), *b = p->n_words > 3 ? *named(p, 3) : NULL;
    return is(p, "mul")   ? ag_mul(a, b)
           : is(p, "add") ? ag_add(a, b)
           : is(p, "sub") ? ag_sub(a, b)
           : is(p, "sin") ? ag_sin(a)
                          : ag_neg(a);
}

static void run_line(program *p)
{
    if (is(p, "leaf")) {
        CHECK(*named(p, 1) = ag_scalar(p->c, strtod(p->word[2], NULL), .dtype = AG_F64,
                                       .requires_grad = true));
    } else if (is(p, "hook") || is(p, "pre") || is(p, "post") || is(p, "after")) {
        register_hook(p);
    } else if (is(p, "remove")) {
        ag_hook_remove(p->hooks[p->word[1][0] - 'A'].handle);
    } else if (is(p, "retain")) {
        CHECK(ag_retain_grad(*named(p, 1)));
    } else if (is(p, "backward") || is(p, "grad")) {
        p->failed = !pass(p);
    } else if (is(p, "log")) {
        expect_log(p, p->log, p->n_log);
    } else if (is(p, "then")) {
        expect_log(p, p->later, p->n_later);
    } else if (is(p, "gave")) {
        for (int i = 0; i < p->n_gave; i++)
            expect(p, "a result", value_of(p->gave[i]), p->word[i + 1]);
    } else if (is(p, "see")) {
        expect(p, p->word[1], value_of(ag_grad_of(*named(p, 1))), p->word[2]);
    } else {
        CHECK(*named(p, 1) = compute(p));
    }
}

static void split(program *p, char *line)
{
    p->n_words = 0;
    for (char *save, *w = strtok_r(line, " \n", &save); w; w = strtok_r(NULL, " \n", &save))
        p->word[p->n_words++] = w;
}

/* `error : SENTENCE` follows a pass that fails. */
static void run_program(ag_context *c, FILE *f, int *at)
{
    static program p; /* hooks point into it for as long as their graph lives */
    char line[LINE];
    memset(&p, 0, sizeof p);
    p.c = c;
    while (fgets(line, sizeof line, f) && strcmp(line, "end\n") != 0) {
        p.line = ++*at;
        if (strncmp(line, "program", 7) == 0 || line[0] == '#')
            continue;
        if (strncmp(line, "error : ", 8) == 0) {
            line[strcspn(line, "\n")] = '\0';
            if (!p.failed)
                FAIL("golden/passes.txt:%d: the pass succeeded", p.line);
            CHECK_ERROR(!p.failed, AG_ERR_GRAD, line + 8);
            p.failed = false;
            continue;
        }
        if (p.failed && ag_error(c) && ag_error(c)->code != AG_ERR_MEMORY)
            FAIL("golden/passes.txt:%d: the pass failed: %s", p.line - 1, ag_error(c)->message);
        CHECK(!p.failed);
        split(&p, line);
        run_line(&p);
    }
    ++*at;
}

static void close_file(void *f) { fclose(f); }

static void t_programs_of_pytorch(ag_context *c)
{
    FILE *f = fopen(AG_TEST_DATA "/golden/passes.txt", "r");
    if (!f)
        FAIL("golden/passes.txt cannot be read");
    harness_defer(close_file, f);
    int n = 0, line = 0;
    for (; !feof(f) && (!harness_faults() || n < FIRST_FAULTY); n++)
        AG_SCOPE (c)
            run_program(c, f, &line);
    CHECK(n >= FIRST_FAULTY);
}

int main(int argc, char **argv) { return RUN(TEST(t_programs_of_pytorch)); }
