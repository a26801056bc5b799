/* Programs that write in place through views. Those of golden/views.txt ran in PyTorch, which
 * says what they leave behind: values, versions, places in the graph, errors, gradients of
 * both orders (golden/views.py explains the lines). Those drawn here run a second time
 * without a view or a write. */
#define _POSIX_C_SOURCE 200809L
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAMES = 26, WORDS = 64, FIRST_FAULTY = 8 };
static const double tolerance = 1e-9; /* the file has twelve digits */

typedef struct {
    ag_context *c;
    ag_tensor *t[NAMES]; /* by letter */
    ag_tensor *loss;
    ag_tensor *leaf[NAMES], *g[NAMES], *gg[NAMES]; /* of the lines grad and grad2 */
    char *word[WORDS];                             /* of the line, up to " : " */
    int n_words, line, n_leaves;
    bool failed; /* the line before */
    char *rest;  /* after it */
} program;

/* ---- lines ---- */

static void program_split(program *p, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    p->rest = strstr(line, " : ");
    if (p->rest) {
        *p->rest = '\0';
        p->rest += 3;
    }
    p->n_words = 0;
    for (char *save, *w = strtok_r(line, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (p->n_words == WORDS)
            FAIL("golden/views.txt:%d: too many words", p->line);
        p->word[p->n_words++] = w;
    }
}

static bool is(const program *p, const char *what) { return strcmp(p->word[0], what) == 0; }
static int64_t number(const program *p, int i) { return strtoll(p->word[i], NULL, 10); }
static ag_tensor **named(program *p, int i) { return &p->t[p->word[i][0] - 'a']; }
static bool is_name(const program *p, int i)
{
    return p->word[i][0] >= 'a' && p->word[i][0] <= 'z';
}

static ag_ints numbers_from(const program *p, int first, int64_t *buffer)
{
    for (int i = first; i < p->n_words; i++)
        buffer[i - first] = number(p, i);
    return (ag_ints){ buffer, p->n_words - first };
}

static int parse_values(const char *text, double *values)
{
    int n = 0;
    for (char *end; text && (values[n] = strtod(text, &end), end != text); n++)
        text = end;
    return n;
}

static const char *why(const program *p)
{
    return ag_error(p->c) ? ag_error(p->c)->message : "no error";
}

/* ---- what a line does: a new tensor, or true or false ---- */

static ag_tensor *make(program *p)
{
    int64_t buffer[WORDS];
    ag_tensor *t = p->n_words > 2 && is_name(p, 2) ? *named(p, 2) : NULL;
    const ag_ints list = numbers_from(p, 3, buffer);
    const int d = (int)buffer[0], e = (int)buffer[1];
    if (is(p, "select"))
        return ag_select(t, d, buffer[1]);
    if (is(p, "narrow"))
        return ag_narrow(t, d, buffer[1], buffer[2]);
    if (is(p, "slice"))
        return ag_slice(t, d, buffer[1], buffer[2], buffer[3]);
    if (is(p, "transpose"))
        return ag_transpose(t, d, e);
    if (is(p, "permute"))
        return ag_permute(t, list);
    if (is(p, "diagonal"))
        return ag_diagonal(t, buffer[0], (int)buffer[1], (int)buffer[2]);
    if (is(p, "chunk")) { /* one of them */
        ag_tensor *parts[2];
        return ag_chunk(t, buffer[0], e, parts, 2) > buffer[2] ? parts[buffer[2]] : NULL;
    }
    if (is(p, "unfold"))
        return ag_unfold(t, d, buffer[1], buffer[2]);
    if (is(p, "view"))
        return ag_view(t, list);
    if (is(p, "expand"))
        return ag_expand(t, list);
    if (is(p, "unsqueeze"))
        return ag_unsqueeze(t, d);
    if (is(p, "squeeze"))
        return ag_squeeze(t, d);
    if (is(p, "detach"))
        return ag_detach(t);
    if (is(p, "clone"))
        return ag_clone(t);
    if (is(p, "tanh"))
        return ag_tanh(t);
    if (is(p, "sin"))
        return ag_sin(t);
    ag_tensor *u = is_name(p, 3) ? *named(p, 3) : NULL;
    const double v = strtod(p->word[3], NULL);
    if (is(p, "mul"))
        return u ? ag_mul(t, u) : ag_mul(t, v);
    if (is(p, "add"))
        return u ? ag_add(t, u) : ag_add(t, v);
    if (is(p, "sub"))
        return u ? ag_sub(t, u) : ag_sub(t, v);
    FAIL("golden/views.txt:%d: %s?", p->line, p->word[0]);
}

static bool change(program *p)
{
    ag_tensor *t = *named(p, 1);
    if (is(p, "zero_"))
        return ag_zero_(t) == t;
    if (is(p, "detach_"))
        return ag_detach_(t) == t;
    if (is(p, "requires"))
        return ag_requires_grad_(t, number(p, 2)) == t;
    ag_tensor *u = is_name(p, 2) ? *named(p, 2) : NULL;
    const double v = strtod(p->word[2], NULL);
    if (is(p, "mul_"))
        return (u ? ag_mul_(t, u) : ag_mul_(t, v)) == t;
    if (is(p, "add_"))
        return (u ? ag_add_(t, u) : ag_add_(t, v)) == t;
    if (is(p, "sub_"))
        return (u ? ag_sub_(t, u) : ag_sub_(t, v)) == t;
    if (is(p, "copy_"))
        return ag_copy_(t, u) == t;
    if (is(p, "fill_"))
        return ag_fill_(t, v) == t;
    FAIL("golden/views.txt:%d: %s?", p->line, p->word[0]);
}

static void source(program *p)
{
    int64_t shape[WORDS];
    double values[WORDS];
    const int n = parse_values(p->rest, values);
    CHECK(*named(p, 1) = ag_array(p->c, ((ag_values){ values, n }), numbers_from(p, 2, shape),
                                  .dtype = AG_F64, .requires_grad = is(p, "leaf")));
}

/* ---- what is left ---- */

/* The statement of the line before, or the pass, failed with the sentence of this line. */
static void expect_error(program *p, bool succeeded)
{
    const bool memory = ag_error(p->c) && ag_error(p->c)->code == AG_ERR_MEMORY;
    if (succeeded)
        FAIL("golden/views.txt:%d: it succeeded", p->line);
    if (!memory && !strstr(why(p), p->rest))
        FAIL("golden/views.txt:%d: the error is \"%s\"", p->line, why(p));
    const bool overlap = strstr(p->rest, "unsupported operation") != NULL;
    CHECK_ERROR(succeeded, overlap ? AG_ERR_VALUE : AG_ERR_GRAD, p->rest);
}

static void compare(const program *p, const char *what, ag_tensor *t, const double *values, int n)
{
    if (!t || ag_numel(t) != n)
        FAIL("golden/views.txt:%d: %s has %lld elements: %s", p->line, what,
             t ? (long long)ag_numel(t) : -1, why(p));
    double is[WORDS];
    CHECK(n <= WORDS && ag_copy_out(t, is, (size_t)n * sizeof *is));
    for (int i = 0; i < n; i++)
        if (!harness_is_close(is[i], values[i], tolerance))
            FAIL("golden/views.txt:%d: %s[%d] is %.12g, not %.12g", p->line, what, i, is[i],
                 values[i]);
}

/* see v VERSION REQUIRES LEAF GRAD_FN SHAPE : NUMBERS */
static void see(program *p)
{
    ag_tensor *t = *named(p, 1);
    int64_t shape[WORDS];
    double values[WORDS];
    const ag_ints sizes = numbers_from(p, 6, shape);
    ag_node *node = ag_grad_fn(t);
    CHECK(!ag_error(p->c));
    const char *name = node ? ag_node_name(node) : "-", *wanted = p->word[5];
    if (strncmp(name, wanted, strlen(wanted)) != 0)
        FAIL("golden/views.txt:%d: %s is of %s, not %s", p->line, p->word[1], name, wanted);
    if (ag_version(t) != number(p, 2))
        FAIL("golden/views.txt:%d: %s has version %lld", p->line, p->word[1],
             (long long)ag_version(t));
    if (ag_requires_grad(t) != number(p, 3) || ag_is_leaf(t) != number(p, 4))
        FAIL("golden/views.txt:%d: %s: requires grad %d, is a leaf %d", p->line, p->word[1],
             ag_requires_grad(t), ag_is_leaf(t));
    CHECK_INT(ag_ndim(t), sizes.n);
    for (int d = 0; d < sizes.n; d++)
        CHECK_INT(ag_size(t, d), sizes.data[d]);
    compare(p, p->word[1], t, values, parse_values(p->rest, values));
}

static ag_tensor *weighted(ag_tensor *t)
{
    const ag_ints shape = { ag_shape(t), ag_ndim(t) };
    ag_tensor *weights = ag_arange(ag_context_of(t), 0, (double)ag_numel(t), 1, .dtype = AG_F64);
    weights = ag_add(ag_div(weights, 4), 1);
    return ag_sum(ag_mul(t, ag_reshape(weights, shape)));
}

static void loss(program *p)
{
    p->loss = NULL;
    for (int i = 1; i < p->n_words; i++) {
        ag_tensor *term = weighted(*named(p, i));
        CHECK(p->loss = p->loss ? ag_add(p->loss, term) : term);
    }
}

static void expect_gradient(program *p, const char *what, ag_tensor *g, bool zero_is_none)
{
    double values[WORDS];
    const bool none = strcmp(p->rest, "none") == 0;
    const int n = none ? 0 : parse_values(p->rest, values);
    bool zero = true;
    for (int i = 0; i < n; i++)
        zero = zero && values[i] == 0;
    if (zero && zero_is_none && !g)
        return;
    if (none && zero_is_none && g)
        for (int64_t i = 0; i < ag_numel(g); i++)
            CHECK_CLOSE(ag_item(ag_select(ag_reshape(g, AG_SHAPE(-1)), 0, i)), 0, 0);
    else if (none && g)
        FAIL("golden/views.txt:%d: %s is not none", p->line, what);
    else if (!none)
        compare(p, what, g, values, n);
}

/* Gradients of the loss for all leaves, then of the sum of their squares where they have a graph.
 * False when a pass failed. */
static bool differentiate(program *p)
{
    if (!ag_grad(&p->loss, 1, p->leaf, p->n_leaves, p->g, .allow_unused = true,
                 .create_graph = true))
        return false;
    ag_tensor *squares = NULL;
    for (int i = 0; i < p->n_leaves; i++) {
        p->gg[i] = NULL;
        if (!p->g[i] || !ag_requires_grad(p->g[i]))
            continue;
        ag_tensor *square = ag_sum(ag_mul(p->g[i], p->g[i]));
        CHECK(squares = squares ? ag_add(squares, square) : square);
    }
    return !squares || ag_grad(&squares, 1, p->leaf, p->n_leaves, p->gg, .allow_unused = true);
}

static void gradient_line(program *p, bool second)
{
    const char *what = second ? "the second gradient" : "the gradient";
    for (int i = 0; i < p->n_leaves; i++)
        if (p->leaf[i] == *named(p, 1)) {
            expect_gradient(p, what, second ? p->gg[i] : p->g[i], second);
            return;
        }
    FAIL("golden/views.txt:%d: %s is no leaf", p->line, p->word[1]);
}

/* ---- the file ---- */

enum { LINES = 4000, LINE = 1024 };
static char lines[LINES][LINE];
static int n_lines;

static void read_lines(void)
{
    FILE *f = fopen(AG_TEST_DATA "/golden/views.txt", "r");
    if (!f)
        FAIL("golden/views.txt cannot be read");
    for (n_lines = 0; n_lines < LINES && fgets(lines[n_lines], LINE, f);)
        n_lines++;
    fclose(f);
}

static void run_line(program *p)
{
    p->failed = false;
    if (is(p, "leaf") || is(p, "const")) {
        source(p);
    } else if (is(p, "nograd")) {
        ag_set_grad_enabled(p->c, !number(p, 1));
    } else if (is(p, "see")) {
        see(p);
    } else if (is(p, "see_error")) {
        expect_error(p, ag_grad_fn(*named(p, 1)) != NULL);
    } else if (is(p, "inputs")) {
        for (int i = 1; i < p->n_words; i++)
            p->leaf[p->n_leaves++] = *named(p, i);
    } else if (is(p, "loss")) {
        loss(p);
        p->failed = !differentiate(p);
    } else if (is(p, "grad") || is(p, "grad2")) {
        gradient_line(p, is(p, "grad2"));
    } else if (strchr(p->word[0], '_') || is(p, "requires")) {
        p->failed = !change(p);
    } else {
        *named(p, 1) = make(p);
        p->failed = !*named(p, 1);
    }
}

/* Runs the program that begins at line i; gives the line after it. A line that fails is followed by
 * its error. */
static int run_program(ag_context *c, int i)
{
    program p = { .c = c };
    char line[LINE];
    for (; strcmp(lines[i], "end\n") != 0; i++) {
        p.line = i + 1;
        snprintf(line, sizeof line, "%s", lines[i]);
        program_split(&p, line);
        if (is(&p, "error") || is(&p, "backward_error")) {
            expect_error(&p, !p.failed);
            p.failed = false;
            continue;
        }
        if (p.failed && ag_error(c) && ag_error(c)->code != AG_ERR_MEMORY)
            FAIL("golden/views.txt:%d: the line before failed: %s", p.line, why(&p));
        CHECK(!p.failed);
        if (!is(&p, "program"))
            run_line(&p);
    }
    return i + 1;
}

static void t_programs_of_pytorch(ag_context *c)
{
    read_lines();
    int n = 0;
    for (int i = 1; i < n_lines && (!harness_faults() || n < FIRST_FAULTY); n++)
        AG_SCOPE (c) {
            i = run_program(c, i);
        }
    CHECK(n >= FIRST_FAULTY);
}

/* ---- programs that run twice ----
 *
 * A twin is a base and its views, and beside it the same without either: one list of elements, of
 * which a view is a selection. A write makes a new list. */

enum { VIEWS = 12, ELEMENTS = 12, PLACES = 2 * ELEMENTS };
typedef struct {
    ag_tensor *t;
    int64_t place[PLACES]; /* of its elements, in row-major order */
} twin_view;
typedef struct {
    ag_context *c;
    uint64_t seed, dice;
    ag_tensor *x, *w; /* leaves: what the base is made of, an operand */
    ag_tensor *list;
    twin_view view[VIEWS]; /* the first one is the base */
    int n_views;
    ag_tensor *loss[2]; /* of the views, of the list */
} twin;

static int roll(twin *p, int n)
{
    p->dice ^= p->dice << 13;
    p->dice ^= p->dice >> 7;
    p->dice ^= p->dice << 17;
    return (int)(p->dice % (uint64_t)n);
}

static ag_ints shape_of(ag_tensor *t) { return (ag_ints){ ag_shape(t), ag_ndim(t) }; }

/* The elements of v, from the list. */
static ag_tensor *twin_read(const twin *p, const twin_view *v)
{
    ag_tensor *places = ag_from_data(p->c, v->place, AG_I64, AG_SHAPE(ag_numel(v->t)));
    return ag_reshape(ag_index_select(p->list, 0, places), shape_of(v->t));
}

/* The list with `value` where v is. */
static void twin_write(twin *p, const twin_view *v, ag_tensor *value)
{
    int64_t from[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++)
        from[i] = i;
    for (int i = 0; i < ag_numel(v->t); i++)
        from[v->place[i]] = ELEMENTS + i;
    ag_tensor *both[] = { p->list, ag_reshape(value, AG_SHAPE(-1)) };
    ag_tensor *places = ag_from_data(p->c, from, AG_I64, AG_SHAPE(ELEMENTS));
    CHECK(p->list = ag_index_select(ag_cat(both, 2, 0), 0, places));
}

/* Where the elements lie follows from the same view of a tensor that holds its own places. */
static ag_tensor *some_view(ag_tensor *t, bool contiguous, const int die[4])
{
    const int n = ag_ndim(t), d = n ? die[1] % n : 0;
    const int64_t size = n ? ag_shape(t)[d] : 1;
    const int64_t start = die[2] % size, stop = start + 1 + die[3] % (size - start);
    switch (n ? die[0] : 6) {
    case 0: return ag_select(t, d, start);
    case 1: return ag_narrow(t, d, start, stop - start);
    case 2: return ag_slice(t, d, start, stop, 2);
    case 3: return ag_transpose(t, d, die[2] % n);
    case 4: return contiguous ? ag_view(t, AG_SHAPE(-1)) : ag_transpose(t, 0, n - 1);
    case 5: return n < 3 ? ag_unsqueeze(t, die[2] % (n + 1)) : t;
    case 6: return n > 1 ? ag_diagonal(t, 0, 0, n - 1) : ag_unsqueeze(t, 0);
    default: return ag_unsqueeze(t, 0);
    }
}

static void twin_add_view(twin *p)
{
    const twin_view *of = &p->view[roll(p, p->n_views)];
    twin_view *made = &p->view[p->n_views++];
    const int die[] = { roll(p, 7), roll(p, 64), roll(p, 64), roll(p, 64) };
    const bool contiguous = ag_is_contiguous(of->t);
    double places[PLACES];
    for (int i = 0; i < ag_numel(of->t); i++)
        places[i] = (double)of->place[i];
    const ag_values all = { places, (int)ag_numel(of->t) };
    ag_tensor *at = ag_array(p->c, all, shape_of(of->t), .dtype = AG_I64);
    CHECK(at && (at = some_view(at, contiguous, die)));
    CHECK(made->t = some_view(of->t, contiguous, die));
    CHECK(ag_copy_out(at, made->place, (size_t)ag_numel(at) * sizeof *made->place));
}

static bool twin_overlap(const twin_view *a, const twin_view *b)
{
    for (int i = 0; i < ag_numel(a->t); i++)
        for (int k = 0; k < ag_numel(b->t); k++)
            if (a->place[i] == b->place[k])
                return true;
    return false;
}

/* One write, of values whose rules save nothing that a later write can change. */
static void twin_step(twin *p)
{
    const twin_view *v = &p->view[roll(p, p->n_views)], *u = &p->view[roll(p, p->n_views)];
    ag_tensor *is = twin_read(p, v), *other = twin_read(p, u), *w = p->w;
    const bool fits = ag_numel(u->t) == ag_numel(v->t) && !twin_overlap(u, v);
    const int what = roll(p, fits ? 9 : 6);
    ag_tensor *part = fits ? ag_reshape(u->t, shape_of(v->t)) : NULL;
    ag_tensor *same = fits ? ag_reshape(other, shape_of(v->t)) : NULL;
    CHECK(is && other && (!fits || (part && same)));
    ag_tensor *done = NULL, *wanted = NULL;
    switch (what) {
    case 0: done = ag_mul_(v->t, w), wanted = ag_mul(is, w); break;
    case 1: done = ag_add_(v->t, w), wanted = ag_add(is, w); break;
    case 2: done = ag_mul_(v->t, -.5), wanted = ag_mul(is, -.5); break;
    case 3:
        done = ag_fill_(v->t, .25), wanted = ag_full(p->c, shape_of(v->t), .25, .dtype = AG_F64);
        break;
    case 4: done = ag_mul_(v->t, ag_tanh(v->t)), wanted = ag_mul(is, ag_tanh(is)); break;
    case 5:
        done = ag_copy_(v->t, ag_sigmoid(ag_add(v->t, w))), wanted = ag_sigmoid(ag_add(is, w));
        break;
    case 6: done = ag_copy_(v->t, part), wanted = ag_mul(same, 1); break;
    case 7: done = ag_add_(v->t, ag_tanh(part)), wanted = ag_add(is, ag_tanh(same)); break;
    default: done = ag_sub_(v->t, part), wanted = ag_sub(is, same); break;
    }
    CHECK(done == v->t && wanted);
    twin_write(p, v, wanted);
}

static void twin_add_loss(twin *p, const twin_view *v, bool last)
{
    ag_tensor *terms[] = { v->t, twin_read(p, v) };
    for (int i = 0; i < 2; i++) {
        ag_tensor *term = ag_sum(last ? ag_sin(terms[i]) : ag_mul(terms[i], .5));
        CHECK(p->loss[i] = p->loss[i] ? ag_add(p->loss[i], term) : term);
    }
}

static void same_tensors(const twin *p, const char *what, ag_tensor *a, ag_tensor *b)
{
    CHECK(a && b && ag_numel(a) == ag_numel(b));
    double x[PLACES], y[PLACES];
    const size_t bytes = (size_t)ag_numel(a) * sizeof *x;
    CHECK(bytes <= sizeof x && ag_copy_out(a, x, bytes) && ag_copy_out(b, y, bytes));
    for (int i = 0; i < ag_numel(a); i++)
        if (!harness_is_close(x[i], y[i], 1e-11))
            FAIL("program %llu: %s[%d] is %.12g, without views %.12g", (unsigned long long)p->seed,
                 what, i, x[i], y[i]);
}

static void twin_compare_gradients(twin *p)
{
    ag_tensor *leaves[] = { p->x, p->w }, *g[2][2], *second[2][2];
    for (int k = 0; k < 2; k++) {
        CHECK(ag_grad(&p->loss[k], 1, leaves, 2, g[k], .create_graph = true,
                      .materialize_grads = true));
        ag_tensor *squares = ag_add(ag_sum(ag_square(g[k][0])), ag_sum(ag_square(g[k][1])));
        CHECK(ag_grad(&squares, 1, leaves, 2, second[k], .materialize_grads = true));
    }
    for (int i = 0; i < 2; i++) {
        same_tensors(p, "a gradient", g[0][i], g[1][i]);
        same_tensors(p, "a second gradient", second[0][i], second[1][i]);
    }
}

static void twin_run(ag_context *c, uint64_t seed)
{
    twin p = { .c = c, .seed = seed, .dice = seed * 0x9e3779b97f4a7c15, .n_views = 1 };
    double values[ELEMENTS];
    for (int i = 0; i < ELEMENTS; i++)
        values[i] = roll(&p, 33) / 16. - 1;
    p.x = ag_array(c, ((ag_values){ values, ELEMENTS }), AG_SHAPE(ELEMENTS), .dtype = AG_F64,
                   .requires_grad = true);
    p.w = ag_scalar(c, .75, .dtype = AG_F64, .requires_grad = true);
    CHECK(p.x && p.w);
    const bool constant = roll(&p, 4) == 0; /* a base that comes to require grad later */
    ag_tensor *source = constant ? ag_zeros(c, AG_SHAPE(ELEMENTS), .dtype = AG_F64) : p.x;
    p.list = ag_mul(source, 1);
    p.view[0].t = ag_clone(ag_reshape(source, roll(&p, 2) ? AG_SHAPE(3, 4) : AG_SHAPE(2, 3, 2)));
    CHECK(p.list && p.view[0].t);
    CHECK(p.loss[0] = p.loss[1] = ag_mul(ag_sum(p.x), p.w));
    for (int i = 0; i < ELEMENTS; i++)
        p.view[0].place[i] = i;
    for (int steps = 6 + roll(&p, 10); steps > 0; steps--) {
        const int what = roll(&p, 8);
        if (what < 3 && p.n_views < VIEWS)
            twin_add_view(&p);
        else if (what < 7)
            twin_step(&p);
        else
            twin_add_loss(&p, &p.view[roll(&p, p.n_views)], false);
    }
    for (int i = 0; i < p.n_views; i++) {
        same_tensors(&p, "a view", p.view[i].t, twin_read(&p, &p.view[i]));
        twin_add_loss(&p, &p.view[i], true);
    }
    twin_compare_gradients(&p);
}

static void t_programs_without_writes(ag_context *c)
{
    const int n = harness_faults() ? 3 : 400;
    for (int i = 1; i <= n; i++)
        AG_SCOPE (c)
            twin_run(c, (uint64_t)i);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_programs_of_pytorch), TEST(t_programs_without_writes));
}
