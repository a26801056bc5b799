/*
 * Runs, prints and shortens random programs: see programs.h.
 *
 * The table programs.def becomes a function for each row, and their texts. Instructions that run
 * blocks (`while`, `cond`, `scan`) stand here. Values that a block makes have their place in
 * run->value, so that an inner block finds those of the blocks around it.
 */
#include "programs.h"

/* Operands inside the domains of functions. */
#define POSITIVE(x) ag_add(ag_abs(x), 0.5)
#define UNIT(x) ag_mul(ag_tanh(x), 0.75)

/* ---- numbers from numbers ---- */

/* SplitMix64: Steele, Lea and Flood, OOPSLA 2014. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* In [0, 1). */
static double real_of(uint64_t a, uint64_t b, uint64_t i)
{
    return (double)(mix(mix(mix(a) + b) + i) >> 11) / 9007199254740992.0;
}

bool program_is_real(ag_dtype dtype) { return dtype == AG_F32 || dtype == AG_F64; }

int64_t program_numel(const program_type *t)
{
    int64_t n = 1;
    for (int d = 0; d < t->n; d++)
        n *= t->shape[d];
    return n;
}

/* Floats are of [-2, 2), integers 0 or 1, which are indices nearly everywhere. */
static ag_tensor *numbers(ag_context *c, const program_type *t, uint64_t a, uint64_t b, bool wants)
{
    double v[ELEMENTS];
    for (int k = 0; k < ELEMENTS; k++) {
        const double r = real_of(a, b, (uint64_t)k);
        v[k] = program_is_real(t->dtype) ? 4 * r - 2 : floor(2 * r);
    }
    return ag_array(c, ((ag_values){ v, (int)program_numel(t) }), ((ag_ints){ t->shape, t->n }),
                    .dtype = t->dtype, .requires_grad = wants && program_is_real(t->dtype));
}

static program_type type_with(ag_dtype dtype, ag_ints shape)
{
    program_type t = { .dtype = dtype, .n = shape.n };
    for (int d = 0; d < shape.n; d++)
        t.shape[d] = shape.data[d];
    return t;
}

static ag_tensor *constant_values(ag_context *c, ag_ints shape, int64_t seed, ag_dtype dtype)
{
    const program_type t = type_with(dtype, shape);
    return numbers(c, &t, (uint64_t)seed, 1, false);
}

static ag_tensor *constant_indices(ag_context *c, ag_ints shape, int64_t seed)
{
    return constant_values(c, shape, seed, AG_I64);
}

program_type program_input_type(const program *p, int set, int i)
{
    program_type t = p->type[i];
    for (int d = 0; d < t.n && set == SETS - 1; d++)
        if (p->unknown[i][d] && t.shape[d] == p->size)
            t.shape[d] = p->other;
    return t;
}

ag_tensor *program_input(ag_context *c, const program *p, int set, int i, bool wants)
{
    const program_type t = program_input_type(p, set, i);
    return numbers(c, &t, p->seed, (uint64_t)(100 + set * INPUTS + i), wants);
}

ag_tensor *program_weight(ag_context *c, const program *p, int i, const program_type *type)
{
    return numbers(c, type, p->seed, (uint64_t)(200 + i), false);
}

ag_tensor *program_second_weight(ag_context *c, const program *p, int i, const program_type *type)
{
    return numbers(c, type, p->seed, (uint64_t)(300 + i), false);
}

/* ---- rows ---- */

static ag_tensor *slice_of(ag_tensor *x, int dim, ag_ints range)
{
    return ag_slice(x, dim, range.data[0], range.data[1], range.data[2]);
}

/* A copy of x that was multiplied by y in place. */
static ag_tensor *written(ag_tensor *x, ag_tensor *y)
{
    ag_tensor *copy = ag_clone(x);
    return ag_mul_(copy, y);
}

#define ROW_PARAMETERS                                                                             \
    ag_context *c, ag_tensor *A, ag_tensor *B, ag_tensor *C, ag_ints D, int64_t K, int64_t L,      \
        int64_t M, int64_t N, double P, ag_dtype REAL, ag_tensor **y
#define ROW_USED                                                                                   \
    (void)c, (void)A, (void)B, (void)C, (void)D, (void)K, (void)L, (void)M, (void)N, (void)P,      \
        (void)REAL
#define OP(name, operands, list, ...)                                                              \
    static bool row_##name(ROW_PARAMETERS) { return ROW_USED, (y[0] = __VA_ARGS__) != NULL; }
#define MANY(name, operands, list, ...)                                                            \
    static bool row_##name(ROW_PARAMETERS) { return ROW_USED, (__VA_ARGS__); }
#include "programs.def"
#undef OP
#undef MANY

static bool (*const row_functions[ROW_while])(ROW_PARAMETERS) = {
#define OP(name, ...) row_##name,
#define MANY OP
#include "programs.def"
#undef OP
#undef MANY
};

const program_row program_rows[ROW_while] = {
#define OP(name, operands, list, ...) { #name, operands, #__VA_ARGS__, list, false },
#define MANY(name, operands, list, ...) { #name, operands, #__VA_ARGS__, list, true },
#include "programs.def"
#undef OP
#undef MANY
};

/* ---- running ---- */

static bool run_block(program_run *run, int b, ag_tensor *const *in, int n, ag_tensor **out)
{
    const program_block *block = &run->p->block[b];
    for (int i = 0; i < n; i++)
        run->value[block->param + i] = in[i];
    for (int i = 0; i < run->p->n_code; i++)
        if (run->p->code[i].block == b && !program_execute(run, &run->p->code[i]))
            return false;
    for (int i = 0; i < block->n_results; i++)
        out[i] = run->value[block->result[i]];
    return true;
}

/* while (counter < m && (!l || mean |vars[1]| < p)): vars[0] is the counter. */
static ag_tensor *while_cond(ag_tensor *const *vars, int n, void *user)
{
    const program_code *i = ((const program_frame *)user)->code;
    ag_tensor *more = ag_lt(vars[0], i->m);
    (void)n;
    return i->l ? ag_logical_and(more, ag_lt(ag_mean(ag_abs(vars[1])), i->p)) : more;
}

static bool while_body(ag_tensor *const *vars, int n, ag_tensor **next, void *user)
{
    const program_frame *f = user;
    next[0] = ag_add(vars[0], 1);
    return run_block(f->run, f->code->inner[0], vars, n, next + 1);
}

static bool branch_0(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const program_frame *f = user;
    (void)m;
    return run_block(f->run, f->code->inner[0], in, n, out);
}

static bool branch_1(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    const program_frame *f = user;
    (void)m;
    return run_block(f->run, f->code->inner[1], in, n, out);
}

static bool scan_step(ag_tensor *const *carry, int n, ag_tensor *const *x, int k,
                      ag_tensor **carry_out, ag_tensor **ys, int m, void *user)
{
    const program_frame *f = user;
    ag_tensor *in[OPERANDS], *out[RESULTS];
    for (int i = 0; i < n + k; i++)
        in[i] = i < n ? carry[i] : x[i - n];
    if (!run_block(f->run, f->code->inner[0], in, n + k, out))
        return false;
    for (int i = 0; i < n + m; i++)
        *(i < n ? &carry_out[i] : &ys[i - n]) = out[i];
    return true;
}

static bool run_flow(program_frame *f, ag_tensor *const *in, ag_tensor **y)
{
    static const ag_fn branches[] = { branch_0, branch_1 };
    const program_code *i = f->code;
    ag_tensor *vars[OPERANDS + 1];
    switch (i->row) {
    case ROW_while: {
        vars[0] = ag_scalar(f->run->c, 0, .dtype = AG_I64);
        for (int k = 0; k < i->n_in; k++)
            vars[k + 1] = in[k];
        /* Steps that run again find what is outside of them only where nothing takes its place. */
        const bool again = i->block == 0 || (i->n_in && ag_is_symbolic(in[0]));
        return ag_while_loop(while_cond, while_body, vars, i->n_in + 1, y, .user = f,
                             .maximum_iterations = i->k, .snapshots = again ? (int)i->n : 0);
    }
    case ROW_cond:
        if (i->l)
            return ag_switch(ag_sum(ag_to(in[0], AG_I64)), branches, 2, in + 1, i->n_in - 1, y,
                             i->n_out, .user = f);
        return ag_cond(ag_gt(ag_sum(ag_to(in[0], f->run->p->real)), i->p), branch_0, branch_1,
                       in + 1, i->n_in - 1, y, i->n_out, .user = f);
    default:
        return ag_scan(scan_step, in, (int)i->k, in + i->k, i->n_in - (int)i->k, y, y + i->k,
                       i->n_out - (int)i->k, .user = f, .reverse = i->l,
                       .length = i->n_in == i->k ? i->m : 0);
    }
}

bool program_execute(program_run *run, const program_code *i)
{
    ag_tensor *in[OPERANDS] = { NULL }, *y[RESULTS] = { NULL };
    for (int k = 0; k < i->n_in; k++)
        in[k] = run->value[i->in[k]];
    program_frame *f = &run->frame[i - run->p->code];
    *f = (program_frame){ run, i };
    if (i->row >= ROW_while
            ? !run_flow(f, in, y)
            : !row_functions[i->row](run->c, in[0], in[1], in[2], (ag_ints){ i->list, i->n_list },
                                     i->k, i->l, i->m, i->n, i->p, run->p->real, y))
        return false;
    for (int k = 0; k < i->n_out; k++) {
        if (y[k] && run->noise > 0 && program_is_real(ag_dtype_of(y[k])))
            y[k] = ag_mul(y[k], 1 + run->noise * (2 * real_of(run->state++, 0, 0) - 1));
        run->value[i->out + k] = y[k];
        if (!y[k])
            return false;
    }
    return true;
}

bool program_fn(ag_tensor *const *in, int n, ag_tensor **out, int m, void *user)
{
    program_run *run = user;
    run->c = ag_context_of(in[0]);
    if (!run_block(run, 0, in, n, NULL))
        return false;
    for (int i = 0; i < m; i++)
        out[i] = run->value[run->p->output[i]];
    return true;
}

/* ---- derivatives ---- */

/* Whether a pass may begin or end at t. */
static bool counts(ag_tensor *t)
{
    return t && (ag_is_symbolic(t) ? program_is_real(ag_dtype_of(t)) : ag_requires_grad(t));
}

/* results[i] = d(sum over j of w[j] y[j]) / d in[i]. */
static bool derive(ag_tensor *const *y, int m, ag_tensor *const *w, ag_tensor *const *in, int n,
                   ag_tensor **results)
{
    ag_tensor *roots[INPUTS + OUTPUTS], *weights[INPUTS + OUTPUTS], *leaves[INPUTS], *g[INPUTS];
    int n_roots = 0, n_leaves = 0;
    for (int j = 0; j < m; j++)
        if (counts(y[j])) {
            roots[n_roots] = y[j];
            weights[n_roots++] = w[j];
        }
    for (int i = 0; i < n; i++) {
        results[i] = NULL;
        if (counts(in[i]))
            leaves[n_leaves++] = in[i];
    }
    if (!n_roots || !n_leaves)
        return true;
    if (!ag_grad(roots, n_roots, leaves, n_leaves, g, .grad_outputs = weights, .create_graph = true,
                 .allow_unused = true))
        return false;
    for (int i = 0, k = 0; i < n; i++)
        if (counts(in[i]))
            results[i] = g[k++];
    return true;
}

bool program_derive(ag_tensor *const *in, int n, ag_tensor *const *out, int m, ag_tensor *const *w,
                    ag_tensor *const *v, ag_tensor **first, ag_tensor **second)
{
    return derive(out, m, w, in, n, first) && derive(first, n, v, in, n, second);
}

/* ---- values ---- */

program_type program_type_of(ag_tensor *t)
{
    program_type type = { .dtype = ag_dtype_of(t), .n = ag_ndim(t) };
    for (int d = 0; d < type.n && d < RANK; d++)
        type.shape[d] = ag_shape(t)[d];
    return type;
}

bool program_same_type(const program_type *a, const program_type *b)
{
    bool same = a->dtype == b->dtype && a->n == b->n;
    for (int d = 0; same && d < a->n && d < RANK; d++)
        same = a->shape[d] == b->shape[d];
    return same;
}

bool program_read(ag_tensor *t, const program_type *type, program_value *v)
{
    union {
        double f64[ELEMENTS];
        float f32[ELEMENTS];
        int64_t i64[ELEMENTS];
        bool b[ELEMENTS];
    } data;
    memset(v, 0, sizeof *v);
    v->type = t ? program_type_of(t) : *type;
    const int64_t n = v->type.n > RANK ? ELEMENTS + 1 : program_numel(&v->type);
    if (n > ELEMENTS)
        return false;
    if (!t)
        return true;
    if (!ag_copy_out(t, &data, (size_t)n * ag_dtype_size(v->type.dtype)))
        return false;
    for (int64_t i = 0; i < n; i++)
        switch (v->type.dtype) {
        case AG_F64: v->v[i] = data.f64[i]; break;
        case AG_F32: v->v[i] = (double)data.f32[i]; break;
        case AG_I64: v->v[i] = (double)data.i64[i]; break;
        case AG_BOOL: v->v[i] = data.b[i]; break;
        default: return false;
        }
    return true;
}

static bool eager_in(ag_context *c, const program *p, int set, program_run *run, program_results *r)
{
    ag_tensor *in[INPUTS], *out[OUTPUTS], *w[OUTPUTS], *v[INPUTS], *first[INPUTS], *second[INPUTS];
    for (int i = 0; i < p->n_inputs; i++) {
        const program_type t = program_input_type(p, set, i);
        in[i] = program_input(c, p, set, i, true);
        v[i] = program_second_weight(c, p, i, &t);
        if (!in[i] || !v[i])
            return false;
    }
    if (!program_fn(in, p->n_inputs, out, p->n_outputs, run))
        return false;
    for (int i = 0; i < p->n_outputs; i++) {
        if (!program_read(out[i], NULL, &r->out[i]))
            return false;
        w[i] = program_weight(c, p, i, &r->out[i].type);
    }
    if (!program_derive(in, p->n_inputs, out, p->n_outputs, w, v, first, second))
        return false;
    r->known = true;
    for (int i = 0; i < p->n_inputs; i++) {
        const program_type t = program_input_type(p, set, i);
        r->known = r->known && program_read(first[i], &t, &r->first[i]) &&
                   program_read(second[i], &t, &r->second[i]);
    }
    return r->known;
}

bool program_eager(const program *p, int set, double noise, uint64_t state, program_results *r)
{
    static program_run run;
    ag_context *c = ag_open(0);
    memset(r, 0, sizeof *r);
    run = (program_run){ .p = p, .noise = noise, .state = state };
    const bool fine = c && eager_in(c, p, set, &run, r);
    ag_close(c);
    return fine;
}

bool program_expect(program *p)
{
    for (int set = 0; set < SETS; set++)
        program_eager(p, set, 0, 0, &p->expect[set]);
    return p->expect[0].known && p->expect[1].known;
}

/* ---- as text ---- */

static const char *dtype_text(ag_dtype dtype)
{
    return dtype == AG_F64   ? "AG_F64"
           : dtype == AG_F32 ? "AG_F32"
           : dtype == AG_I64 ? "AG_I64"
                             : "AG_BOOL";
}

static void print_ints(FILE *f, const int64_t *v, int n)
{
    fprintf(f, "AG_SHAPE(");
    for (int i = 0; i < n; i++)
        fprintf(f, "%s%lld", i ? ", " : "", (long long)v[i]);
    fprintf(f, ")");
}

static void print_type(FILE *f, const program_type *t)
{
    fprintf(f, "%s ", dtype_text(t->dtype));
    print_ints(f, t->shape, t->n);
}

/* The text of a row with values in place of its capital letters. */
static void print_row(FILE *f, const program *p, const program_code *i)
{
    const program_row *row = &program_rows[i->row];
    for (const char *s = row->text; *s;) {
        size_t n = 0;
        while ((s[n] >= 'a' && s[n] <= 'z') || (s[n] >= 'A' && s[n] <= 'Z') || s[n] == '_' ||
               (n > 0 && s[n] >= '0' && s[n] <= '9'))
            n++;
        if (n == 1 && *s >= 'A' && *s <= 'C')
            fprintf(f, "v%d", i->in[*s - 'A']);
        else if (n == 1 && *s == 'D')
            print_ints(f, i->list, i->n_list);
        else if (n == 1 && *s == 'P')
            fprintf(f, "%g", i->p);
        else if (n == 1 && *s >= 'K' && *s <= 'N')
            fprintf(f, "%lld", (long long)(const int64_t[]){ i->k, i->l, i->m, i->n }[*s - 'K']);
        else if (n == 4 && memcmp(s, "REAL", 4) == 0)
            fprintf(f, "%s", dtype_text(p->real));
        else
            fprintf(f, "%.*s", n ? (int)n : 1, s);
        s += n ? n : 1;
    }
}

static void print_block(FILE *f, const program *p, int b, int indent);

static void print_flow(FILE *f, const program *p, const program_code *i, int indent)
{
    const char *names[] = { "while_loop", i->l ? "switch" : "cond", "scan" };
    fprintf(f, "ag_%s(", names[i->row - ROW_while]);
    for (int k = 0; k < i->n_in; k++)
        fprintf(f, "%sv%d", k ? ", " : "", i->in[k]);
    if (i->row == ROW_while && i->l)
        fprintf(f, "), counter < %lld and mean |.| < %g", (long long)i->m, i->p);
    else if (i->row == ROW_while)
        fprintf(f, "), counter < %lld", (long long)i->m);
    else if (i->row == ROW_scan)
        fprintf(f, "), %lld carried%s, length %lld", (long long)i->k, i->l ? ", reverse" : "",
                (long long)i->m);
    else
        fprintf(f, "), sum %s %g", i->l ? "is index," : ">", i->p);
    if (i->row == ROW_while && (i->k || i->n))
        fprintf(f, ", .maximum_iterations = %lld, .snapshots = %lld", (long long)i->k,
                (long long)i->n);
    for (int k = 0; k < (i->row == ROW_cond ? 2 : 1); k++)
        print_block(f, p, i->inner[k], indent + 4);
}

static void print_block(FILE *f, const program *p, int b, int indent)
{
    const program_block *block = &p->block[b];
    if (b) {
        fprintf(f, "\n%*s(", indent - 2, "");
        for (int i = 0; i < block->n_params; i++)
            fprintf(f, "%sv%d", i ? ", " : "", block->param + i);
        fprintf(f, ") {\n");
    }
    for (int k = 0; k < p->n_code; k++) {
        const program_code *i = &p->code[k];
        if (i->block != b)
            continue;
        fprintf(f, "%*s", indent, "");
        for (int j = 0; j < i->n_out; j++)
            fprintf(f, "%sv%d", j ? ", " : "", i->out + j);
        fprintf(f, " = ");
        if (i->row >= ROW_while)
            print_flow(f, p, i, indent);
        else
            print_row(f, p, i);
        fprintf(f, "; // ");
        for (int j = 0; j < i->n_out; j++) {
            fprintf(f, "%s", j ? ", " : "");
            print_type(f, &p->type[i->out + j]);
        }
        fprintf(f, "\n");
    }
    if (!b)
        return;
    fprintf(f, "%*sreturn", indent, "");
    for (int i = 0; i < block->n_results; i++)
        fprintf(f, "%s v%d", i ? "," : "", block->result[i]);
    fprintf(f, ";\n%*s}", indent - 2, "");
}

void program_print(const program *p, FILE *f)
{
    fprintf(f, "/* seed %llu, mainly %s; POSITIVE(x) is |x| + 0.5, UNIT(x) is 0.75 tanh x */\n",
            (unsigned long long)p->seed, dtype_text(p->real));
    for (int i = 0; i < p->n_inputs; i++) {
        int64_t shape[RANK];
        for (int d = 0; d < p->type[i].n; d++)
            shape[d] = p->unknown[i][d] ? -1 : p->type[i].shape[d];
        fprintf(f, "    v%d = ag_placeholder(g, %s, ", i, dtype_text(p->type[i].dtype));
        print_ints(f, shape, p->type[i].n);
        fprintf(f, "); // ");
        print_type(f, &p->type[i]);
        fprintf(f, "\n");
    }
    print_block(f, p, 0, 4);
    fprintf(f, "    return");
    for (int i = 0; i < p->n_outputs; i++)
        fprintf(f, "%s v%d", i ? "," : "", p->output[i]);
    fprintf(f, ";\n");
}

/* ---- shortening ---- */

bool program_inside(const program *p, int b, int around)
{
    while (b > around)
        b = p->block[b].parent;
    return b == around;
}

static bool is_result(const program_code *i, int v) { return v >= i->out && v < i->out + i->n_out; }

/* A value of v's type that is there where v is, from the inputs on; v when there is none. */
static int stand_in(const program *p, int v)
{
    for (int u = 0; u < v; u++)
        if (program_same_type(&p->type[u], &p->type[v]) &&
            program_inside(p, p->home[v], p->home[u]) && p->depends[u] >= p->depends[v])
            return u;
    return v;
}

static void rename_value(program *p, int v, int to)
{
    for (int k = 0; k < p->n_code; k++)
        for (int j = 0; j < p->code[k].n_in; j++)
            if (p->code[k].in[j] == v)
                p->code[k].in[j] = to;
    for (int b = 0; b < p->n_blocks; b++)
        for (int j = 0; j < p->block[b].n_results; j++)
            if (p->block[b].result[j] == v)
                p->block[b].result[j] = to;
    for (int j = 0; j < p->n_outputs; j++)
        if (p->output[j] == v)
            p->output[j] = to;
}

static bool uses_gone(const program *p, const program_code *i, const bool *gone)
{
    for (int j = 0; j < i->n_in; j++)
        if (gone[i->in[j]])
            return true;
    for (int k = 0; i->row >= ROW_while && k < (i->row == ROW_cond ? 2 : 1); k++)
        for (int j = 0; j < p->block[i->inner[k]].n_results; j++)
            if (gone[p->block[i->inner[k]].result[j]])
                return true;
    return false;
}

/* Whether block b belongs to instruction i or to one inside it. */
static bool owns_block(const program *p, const program_code *i, int b)
{
    return i->row >= ROW_while && (program_inside(p, b, i->inner[0]) ||
                                   (i->row == ROW_cond && program_inside(p, b, i->inner[1])));
}

bool program_drop_code(program *p, int at, bool replace)
{
    bool dead[CODE] = { false }, gone[VALUES] = { false }, changed = true;
    dead[at] = true;
    while (changed) {
        changed = false;
        for (int k = 0; k < p->n_code; k++) {
            if (!dead[k] && uses_gone(p, &p->code[k], gone))
                dead[k] = changed = true;
            for (int j = 0; j < p->n_code; j++)
                if (dead[k] && !dead[j] && owns_block(p, &p->code[k], p->code[j].block))
                    dead[j] = changed = true;
            for (int v = 0; v < p->n_values; v++)
                if (dead[k] && !gone[v] && is_result(&p->code[k], v)) {
                    const int to = replace ? stand_in(p, v) : v;
                    if (to != v)
                        rename_value(p, v, to);
                    gone[v] = changed = true;
                }
        }
    }
    int n = 0;
    for (int k = 0; k < p->n_code; k++)
        if (!dead[k])
            p->code[n++] = p->code[k];
    p->n_code = n;
    for (int j = p->n_outputs - 1; j >= 0; j--)
        if (gone[p->output[j]] && !program_drop_output(p, j))
            return false;
    return true;
}

bool program_drop_output(program *p, int i)
{
    for (; i + 1 < p->n_outputs; i++)
        p->output[i] = p->output[i + 1];
    return --p->n_outputs > 0;
}
