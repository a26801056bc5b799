/*
 * Draws random programs: see programs.h.
 *
 * A program grows by instructions that are run as they are drawn, for the first two sets of inputs
 * at once. One that fails, or gives values that are large or not finite, or of types that differ
 * between the sets, is forgotten and drawn again: so programs are correct without a second set of
 * rules of types. Bodies of loops and branches grow with the values of their first run, and then
 * the whole loop is an instruction like others.
 *
 * A whole program is refused when it is badly conditioned: when results that are disturbed a little
 * at every instruction change its results a lot. So what is left of a difference between two ways
 * to compute it is rounding. It also refuses jumps (floor, comparisons, argmax) at values where
 * rounding would decide.
 */
#include "programs.h"

enum {
    DRAWN = 2,      /* sets that are run while drawing */
    TRIES = 40,     /* of one instruction */
    NOISY = 10,     /* disturbed runs of each set */
    AMPLIFIES = 64, /* the most that a disturbance may grow */
    LARGE = 64,     /* the greatest value, and how many times that a derivative may be */
    LARGE_GRADIENT = 4096
};

typedef struct {
    program *p;
    program_run *run; /* one for each drawn set */
    ag_context *c;
    uint64_t state;
} drawer;

static int draw(drawer *d, int n)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return n > 0 ? (int)((d->state >> 33) % (uint64_t)n) : 0;
}

static int64_t draw_size(drawer *d)
{
    const int k = draw(d, 8);
    return k < 4 ? d->p->size : k < 7 ? 1 + (d->p->size + (d->p->seed % 3 == 0)) % 4 : 1;
}

static void draw_shape(drawer *d, int64_t *shape, int *n)
{
    do {
        *n = (int[]){ 0, 1, 1, 2, 2, 2, 3 }[draw(d, 7)];
        for (int i = 0; i < *n; i++)
            shape[i] = draw_size(d);
    } while (program_numel(&(program_type){ .n = *n,
                                            .shape = { *n > 0 ? shape[0] : 0, *n > 1 ? shape[1] : 0,
                                                       *n > 2 ? shape[2] : 0 } }) > ELEMENTS / 2);
}

/* ---- operands ---- */

static bool is_kind(ag_dtype dtype, char kind)
{
    switch (kind) {
    case 'f': return program_is_real(dtype);
    case 'i': return dtype == AG_I64;
    case 'b': return dtype == AG_BOOL;
    case 'n': return dtype != AG_BOOL;
    default: return true;
    }
}

/* A value of the kind that block b sees, and of a type where one is given; -1 when there is none.
 * Later ones, and in bodies those of the body, are more likely. */
static int draw_value(drawer *d, int b, char kind, const program_type *type, bool depends)
{
    const program *p = d->p;
    const bool own = b && draw(d, 4);
    int seen[VALUES], n = 0;
    for (int v = 0; v < p->n_values; v++)
        if ((own ? p->home[v] == b : program_inside(p, b, p->home[v])) &&
            is_kind(p->type[v].dtype, kind) && (!type || program_same_type(&p->type[v], type)) &&
            (!depends || p->depends[v]))
            seen[n++] = v;
    if (!n)
        return own ? draw_value(d, p->block[b].parent, kind, type, depends) : -1;
    const int i = draw(d, n), j = draw(d, n);
    return seen[i > j ? i : j];
}

/* ---- attributes ---- */

static void draw_list(drawer *d, program_code *i, const program_type *a, int kind)
{
    const int64_t n = program_numel(a);
    i->n_list = 0;
    switch (kind) {
    case SOME_DIMS:
        for (int k = 0; k < a->n; k++)
            if (draw(d, 2))
                i->list[i->n_list++] = draw(d, 2) ? k : k - a->n;
        break;
    case ORDER:
        for (i->n_list = 0; i->n_list < a->n; i->n_list++) {
            const int at = draw(d, i->n_list + 1);
            i->list[i->n_list] = i->list[at];
            i->list[at] = i->n_list;
        }
        break;
    case SHAPE: draw_shape(d, i->list, &i->n_list); break;
    case RESHAPED:
        for (int64_t rest = n; i->n_list < 3 && n > 0; i->n_list++) {
            int64_t size = i->n_list == 2 ? rest : 1 + draw(d, 4);
            size = rest % size ? 1 : size;
            i->list[i->n_list] = size;
            rest /= size;
        }
        if (n > 0 && draw(d, 2))
            i->list[draw(d, i->n_list)] = -1;
        break;
    case EXPANDED:
        if (draw(d, 2))
            i->list[i->n_list++] = draw_size(d);
        for (int k = 0; k < a->n && i->n_list < RANK; k++)
            i->list[i->n_list++] = a->shape[k] == 1 ? draw_size(d) : draw(d, 4) ? a->shape[k] : -1;
        break;
    case RANGE:
        i->list[i->n_list++] = draw(d, 4) - 2;
        i->list[i->n_list++] = draw(d, 6) - 1;
        i->list[i->n_list++] = 1 + draw(d, 2);
        break;
    default: break;
    }
}

static void draw_attributes(drawer *d, program_code *i, const program_type *a, int kind)
{
    i->k = a->n ? draw(d, 2 * a->n) - a->n : 0;
    i->l = draw(d, 2);
    i->m = draw(d, 6) - 2;
    i->n = draw(d, 1000);
    i->p = (draw(d, 33) - 16) / 16.0;
    draw_list(d, i, a, kind);
}

/* ---- instructions ---- */

/* The values of a type that programs are made of, and not large. */
static bool fits(const drawer *d, ag_tensor *t)
{
    program_value v;
    if (ag_ndim(t) > RANK || ag_numel(t) > ELEMENTS || !program_read(t, NULL, &v) ||
        (d->p->real == AG_F64 && v.type.dtype == AG_F32))
        return false;
    for (int64_t k = 0; k < program_numel(&v.type); k++)
        if (!(fabs(v.v[k]) <= LARGE))
            return false;
    return true;
}

/* Runs the instruction for each set, and enters it when that goes well. */
static bool enter(drawer *d, program_code i)
{
    program *p = d->p;
    if (p->n_code == CODE || p->n_values + RESULTS + 1 > VALUES)
        return false;
    i.out = p->n_values;
    p->code[p->n_code] = i;
    program_code *made = &p->code[p->n_code];
    if (i.row < ROW_while && program_rows[i.row].many) { /* how many there are */
        made->n_out = 0;
        ag_tensor **y = &d->run[0].value[i.out];
        memset(y, 0, sizeof(ag_tensor *) * RESULTS);
        for (int n = RESULTS; n > 0 && !made->n_out; n--) {
            made->n_out = n;
            if (!program_execute(&d->run[0], made))
                made->n_out = 0;
            if (ag_error(d->c))
                break;
        }
    }
    if (!made->n_out)
        return false;
    for (int s = 0; s < DRAWN; s++)
        if (!program_execute(&d->run[s], made))
            return false;
    for (int k = 0; k < made->n_out; k++) {
        const program_type a = program_type_of(d->run[0].value[i.out + k]),
                           b = program_type_of(d->run[1].value[i.out + k]);
        if (!program_same_type(&a, &b) || !fits(d, d->run[0].value[i.out + k]) ||
            !fits(d, d->run[1].value[i.out + k]))
            return false;
        p->type[i.out + k] = a;
        p->home[i.out + k] = i.block;
        p->depends[i.out + k] = false;
        for (int j = 0; j < i.n_in; j++)
            p->depends[i.out + k] = p->depends[i.out + k] || p->depends[i.in[j]];
    }
    if (i.row == ROW_split || i.row == ROW_chunk || i.row == ROW_unbind || i.row == ROW_squeeze ||
        i.row == ROW_cross_entropy)
        p->fixed = true;
    p->flows = p->flows || i.row >= ROW_while;
    p->n_values += made->n_out;
    p->n_code++;
    return true;
}

static bool draw_operation(drawer *d, int b)
{
    program_code i = { .row = draw(d, ROW_while), .block = b, .n_out = 1 };
    const program_row *row = &program_rows[i.row];
    if (!row->operands[0] && draw(d, 3))
        return false;
    for (; row->operands[i.n_in]; i.n_in++) {
        const program_type *first = i.n_in ? &d->p->type[i.in[0]] : NULL;
        int v = -1;
        if (first && is_kind(first->dtype, row->operands[i.n_in]) && draw(d, 2))
            v = draw_value(d, b, row->operands[i.n_in], first, false);
        if (v < 0)
            v = draw_value(d, b, row->operands[i.n_in], NULL, false);
        if (v < 0)
            return false;
        i.in[i.n_in] = v;
    }
    const program_type none = { 0 };
    draw_attributes(d, &i, i.n_in ? &d->p->type[i.in[0]] : &none, row->list);
    return enter(d, i);
}

static bool draw_code(drawer *d, int b);

/* Operations into block b. */
static void draw_operations(drawer *d, int b, int n)
{
    for (int k = 0; k < n; k++)
        for (int tries = 0; tries < TRIES && !draw_code(d, b); tries++)
            ;
}

/* ---- loops and branches ---- */

/* A block inside `parent` for these values. */
static int draw_block(drawer *d, int parent, int n_params)
{
    program *p = d->p;
    if (p->n_blocks == BLOCKS || p->n_values + n_params > VALUES / 2)
        return -1;
    p->block[p->n_blocks] = (program_block){ parent, n_params, p->n_values, 0, { 0 } };
    return p->n_blocks++;
}

/* The next parameter of block b, which begins as `from`, a slice of it, or a loop's counter. */
static bool draw_parameter(drawer *d, int b, int from, bool slice)
{
    program *p = d->p;
    const int v = p->n_values;
    for (int s = 0; s < DRAWN; s++) {
        ag_tensor *x = from < 0 ? ag_scalar(d->c, 0, .dtype = AG_I64) : d->run[s].value[from];
        x = slice ? ag_select(x, 0, 0) : x;
        if (!x)
            return false;
        d->run[s].value[v] = x;
        p->type[v] = program_type_of(x);
    }
    p->home[v] = b;
    p->depends[v] = true;
    p->n_values++;
    return true;
}

/* A value of block b of this type. */
static int draw_result(drawer *d, int b, const program_type *type)
{
    program *p = d->p;
    for (int v = p->n_values - 1; v >= 0; v--)
        if (p->home[v] == b && program_same_type(&p->type[v], type) &&
            (v >= p->block[b].param + p->block[b].n_params || draw(d, 4) == 0))
            return v;
    program_code i = { .row = ROW_fill, .block = b, .n_in = 1, .n_out = 1, .n_list = type->n };
    i.in[0] = draw_value(d, b, 'f', NULL, false);
    for (int k = 0; k < type->n; k++)
        i.list[k] = type->shape[k];
    if (i.in[0] < 0 || !enter(d, i))
        return -1;
    const int v = p->n_values - 1;
    if (p->type[v].dtype == type->dtype)
        return v;
    i = (program_code){ .block = b, .n_in = 1, .n_out = 1, .in = { v } };
    i.row = type->dtype == AG_F64   ? ROW_to_f64
            : type->dtype == AG_F32 ? ROW_to_f32
            : type->dtype == AG_I64 ? ROW_to_i64
                                    : ROW_to_bool;
    return enter(d, i) ? p->n_values - 1 : -1;
}

static bool draw_results(drawer *d, int b, const program_type *types, int n)
{
    program_block *block = &d->p->block[b];
    for (int k = 0; k < n; k++) {
        block->result[k] = draw_result(d, b, &types[k]);
        if (block->result[k] < 0)
            return false;
        block->n_results++;
    }
    return true;
}

/* in[0..n): values for a loop, the first of which is a float that depends on inputs. */
static bool draw_operands(drawer *d, int b, int *in, int n)
{
    for (int k = 0; k < n; k++) {
        in[k] = draw_value(d, b, k && draw(d, 4) == 0 ? 'x' : 'f', NULL, k == 0);
        if (in[k] < 0)
            return false;
    }
    return true;
}

static bool draw_while(drawer *d, int b)
{
    program_code i = { .row = ROW_while, .block = b, .n_in = 1 + draw(d, 2) };
    program_type types[OPERANDS];
    i.n_out = i.n_in + 1;
    i.m = draw(d, 5);
    i.l = draw(d, 3) == 0;
    i.k = draw(d, 4) == 0 ? 1 + draw(d, 3) : 0;
    i.n = b == 0 && draw(d, 4) == 0 ? 2 : 0;
    i.p = 0.5 + draw(d, 8) / 4.0;
    if (!draw_operands(d, b, i.in, i.n_in) || (i.inner[0] = draw_block(d, b, i.n_in + 1)) < 0 ||
        !draw_parameter(d, i.inner[0], -1, false))
        return false;
    for (int k = 0; k < i.n_in; k++) {
        types[k] = d->p->type[i.in[k]];
        if (!draw_parameter(d, i.inner[0], i.in[k], false))
            return false;
    }
    draw_operations(d, i.inner[0], 1 + draw(d, 4));
    return draw_results(d, i.inner[0], types, i.n_in) && enter(d, i);
}

static bool draw_cond(drawer *d, int b)
{
    program_code i = { .row = ROW_cond, .block = b, .n_in = 1 + draw(d, 3) };
    program_type types[RESULTS];
    i.l = draw(d, 3) == 0;
    i.p = (draw(d, 9) - 4) / 4.0;
    i.n_out = 1 + draw(d, 2);
    if (!draw_operands(d, b, i.in, i.n_in))
        return false;
    if (i.l && (i.in[0] = draw_value(d, b, 'i', NULL, true)) < 0)
        return false;
    for (int branch = 0; branch < 2; branch++) {
        const int made = i.inner[branch] = draw_block(d, b, i.n_in - 1);
        if (made < 0)
            return false;
        for (int k = 1; k < i.n_in; k++)
            if (!draw_parameter(d, made, i.in[k], false))
                return false;
        draw_operations(d, made, 1 + draw(d, 3));
        for (int k = 0; k < i.n_out && branch == 0; k++) {
            const int v = draw_value(d, made, 'x', NULL, false);
            if (v < 0)
                return false;
            types[k] = d->p->type[v];
        }
        if (!draw_results(d, made, types, i.n_out))
            return false;
    }
    return enter(d, i);
}

static bool draw_scan(drawer *d, int b)
{
    program_code i = { .row = ROW_scan, .block = b };
    program_type types[RESULTS];
    i.k = 1 + draw(d, 2);
    i.n_in = (int)i.k + draw(d, 2) + draw(d, 2);
    i.l = draw(d, 2);
    i.m = i.n_in == i.k ? draw(d, 4) : 0;
    if (!draw_operands(d, b, i.in, i.n_in) || (i.inner[0] = draw_block(d, b, i.n_in)) < 0)
        return false;
    for (int k = 0; k < i.n_in; k++)
        if (!draw_parameter(d, i.inner[0], i.in[k], k >= i.k))
            return false;
    for (int k = 0; k < i.k; k++)
        types[k] = d->p->type[i.in[k]];
    draw_operations(d, i.inner[0], 1 + draw(d, 4));
    i.n_out = (int)i.k + draw(d, 3);
    for (int k = (int)i.k; k < i.n_out; k++) {
        const int v = draw_value(d, i.inner[0], 'x', NULL, true);
        if (v < 0)
            return false;
        types[k] = d->p->type[v];
    }
    return draw_results(d, i.inner[0], types, i.n_out) && enter(d, i);
}

/* One instruction into block b. When it does not work out the program is as it was. */
static bool draw_code(drawer *d, int b)
{
    program *p = d->p;
    static program before[BLOCKS]; /* by depth: bodies are drawn inside */
    const int depth = b == 0 ? 0 : p->block[b].parent == 0 ? 1 : 2;
    const int kind = p->seed % 5 < 2 ? -1 : draw(d, 12);
    before[depth] = *p;
    const bool fine = kind == 0 && depth < 2   ? draw_while(d, b)
                      : kind == 1 && depth < 2 ? draw_cond(d, b)
                      : kind == 2 && depth < 2 ? draw_scan(d, b)
                                               : draw_operation(d, b);
    ag_error_clear(d->c);
    if (!fine)
        *p = before[depth];
    return fine;
}

/* ---- programs ---- */

static void draw_inputs(drawer *d)
{
    program *p = d->p;
    p->n_inputs = 1 + draw(d, INPUTS);
    const int dims = draw(d, 3); /* known; those of one size unknown; any unknown */
    for (int i = 0; i < p->n_inputs; i++) {
        const int kind = i ? draw(d, 8) : 7;
        program_type *t = &p->type[i];
        t->dtype = kind == 0                              ? AG_BOOL
                   : kind <= 2                            ? AG_I64
                   : p->real == AG_F32 && draw(d, 4) == 0 ? AG_F64
                                                          : p->real;
        draw_shape(d, t->shape, &t->n);
        p->depends[i] = true;
        for (int k = 0; k < t->n; k++)
            p->unknown[i][k] = dims == 1 ? t->shape[k] == p->size : dims == 2 && draw(d, 2);
    }
    p->n_values = p->n_inputs;
    p->other = draw(d, 8) ? p->size + 1 : 0;
    p->block[0] = (program_block){ 0, p->n_inputs, 0, 0, { 0 } };
    p->n_blocks = 1;
}

static void draw_outputs(drawer *d)
{
    program *p = d->p;
    const int n = 1 + draw(d, OUTPUTS);
    while (p->n_outputs < n) {
        const int a = draw_value(d, 0, p->n_outputs ? 'x' : 'f', NULL, true),
                  b = draw_value(d, 0, p->n_outputs ? 'x' : 'f', NULL, true);
        p->output[p->n_outputs++] = a > b ? a : b;
    }
}

static bool draw_program(drawer *d)
{
    program *p = d->p;
    p->real = p->seed % 4 == 3 ? AG_F32 : AG_F64;
    p->size = d->p->seed % 16 == 5 ? 0 : 1 + draw(d, 4);
    draw_inputs(d);
    for (int s = 0; s < DRAWN; s++) {
        d->run[s] = (program_run){ .p = p, .c = d->c };
        for (int i = 0; i < p->n_inputs; i++)
            if (!(d->run[s].value[i] = program_input(d->c, p, s, i, true)))
                return false;
    }
    draw_operations(d, 0, 3 + draw(d, 12));
    draw_outputs(d);
    return true;
}

/* ---- conditioning ---- */

double program_greatest(const program_value *v, int n)
{
    double most = 1;
    for (int i = 0; i < n; i++)
        for (int64_t k = 0; k < program_numel(&v[i].type); k++) {
            if (isnan(v[i].v[k]))
                return NAN;
            most = fmax(most, fabs(v[i].v[k]));
        }
    return most;
}

static bool is_near(const program_value *a, const program_value *b, int n, double bound)
{
    for (int i = 0; i < n; i++) {
        if (!program_same_type(&a[i].type, &b[i].type))
            return false;
        for (int64_t k = 0; k < program_numel(&a[i].type); k++)
            if (!(fabs(a[i].v[k] - b[i].v[k]) <= bound))
                return false;
    }
    return true;
}

bool program_is_sound(const program *p)
{
    const double noise = p->real == AG_F64 ? 1e-7 : 1e-4;
    for (int set = 0; set < DRAWN; set++) {
        const program_results *r = &p->expect[set];
        const double most = program_greatest(r->out, p->n_outputs),
                     first = program_greatest(r->first, p->n_inputs),
                     second = program_greatest(r->second, p->n_inputs);
        if (!(most <= LARGE && first <= LARGE_GRADIENT && second <= LARGE_GRADIENT))
            return false;
        for (uint64_t k = 0; k < NOISY; k++) {
            static program_results noisy;
            if (!program_eager(p, set, noise, k * 1000, &noisy) ||
                !is_near(r->out, noisy.out, p->n_outputs, AMPLIFIES * noise * most) ||
                !is_near(r->first, noisy.first, p->n_inputs, AMPLIFIES * noise * first) ||
                !is_near(r->second, noisy.second, p->n_inputs, AMPLIFIES * noise * second))
                return false;
        }
    }
    return true;
}

void program_draw(program *p, uint64_t seed)
{
    static program_run run[DRAWN];
    for (uint64_t attempt = 0;; attempt++) {
        memset(p, 0, sizeof *p);
        p->seed = seed;
        drawer d = { p, run, ag_open(0), seed * 1000003 + attempt * 7919 };
        draw(&d, 1);
        const bool fine = d.c && draw_program(&d);
        ag_close(d.c);
        if (fine && program_expect(p) && program_is_sound(p))
            return;
    }
}
