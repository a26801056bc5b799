/*
 * Who owns what, and for how long: scopes, keeping, dropping and retaining; closing a context while
 * tensors live; memory that is borrowed or shared; the numbers of ag_memory_stats; allocators.
 */
#include "harness.h"

#include <stdlib.h>

static ag_memory_statistics stats_of(ag_context *c)
{
    ag_memory_statistics s;
    ag_memory_stats(c, &s);
    return s;
}

/* ---- an allocator that counts ---- */

typedef struct {
    int64_t blocks, allocated; /* alive; ever */
    size_t bytes;
    bool empty; /* has no more */
} counter;

static void *counted_allocate(size_t bytes, void *user)
{
    counter *k = user;
    void *p = k->empty ? NULL : malloc(bytes);
    k->blocks += p != NULL;
    k->allocated += p != NULL;
    k->bytes += p ? bytes : 0;
    return p;
}

static void counted_release(void *block, size_t bytes, void *user)
{
    counter *k = user;
    k->blocks--;
    k->bytes -= bytes;
    free(block);
}

/* A context of the test's own, where no allocation is made to fail. */
static ag_context *open_counted(counter *k)
{
    const ag_allocator a = { counted_allocate, counted_release, k };
    ag_context *c = ag_open(.allocator = &a);
    CHECK(c);
    return c;
}

/* ---- scopes ---- */

static void t_a_scope_takes_its_tensors_along(ag_context *c)
{
    const int64_t before = stats_of(c).tensors;
    ag_scope *s = ag_scope_begin(c);
    CHECK(s && ag_ones(c, AG_SHAPE(3)) && ag_ones(c, AG_SHAPE(300)));
    CHECK_INT(stats_of(c).tensors, before + 2);
    ag_scope_end(s);
    CHECK_INT(stats_of(c).tensors, before);
    ag_scope_end(NULL);
}

static void t_ending_a_scope_ends_those_inside(ag_context *c)
{
    const int64_t before = stats_of(c).tensors;
    ag_scope *outer = ag_scope_begin(c), *inner = outer ? ag_scope_begin(c) : NULL;
    CHECK(inner && ag_ones(c, AG_SHAPE(3)));
    ag_scope_end(outer);
    CHECK_INT(stats_of(c).tensors, before);
    ag_tensor *x = ag_ones(c, AG_SHAPE(3)); /* belongs to the outermost scope again */
    CHECK(x);
    CHECK_CLOSE(ag_at(x, 2), 1, 0);
}

/* The memory of an ended scope must not become anything else while somebody may end it again. */
static void t_a_scope_may_end_twice(ag_context *c)
{
    ag_scope *outer = ag_scope_begin(c), *inner = outer ? ag_scope_begin(c) : NULL;
    CHECK(inner);
    ag_scope_end(outer);
    ag_tensor *x[40];
    for (int i = 0; i < 40; i++) { /* blocks of all small sizes */
        char name[8 * 40 + 1] = { 0 };
        memset(name, 'x', (size_t)(8 * i));
        CHECK(x[i] = ag_ones(c, AG_SHAPE(i)));
        CHECK(ag_set_name(x[i], name));
    }
    ag_scope_end(inner);
    ag_scope_end(outer);
    for (int i = 0; i < 40; i++)
        CHECK_INT((int64_t)strlen(ag_name(x[i])), 8 * i);
}

static void t_keep_moves_one_scope_outwards(ag_context *c)
{
    ag_tensor *once = NULL, *twice = NULL;
    ag_scope *outer = ag_scope_begin(c), *inner = outer ? ag_scope_begin(c) : NULL;
    CHECK(inner);
    once = ag_keep(ag_full(c, AG_SHAPE(2), 3));
    twice = ag_keep(ag_keep(ag_full(c, AG_SHAPE(2), 4)));
    CHECK(once && twice);
    const int64_t both = stats_of(c).tensors;
    ag_scope_end(inner);
    CHECK_INT(stats_of(c).tensors, both);
    CHECK_CLOSE(ag_at(once, 1), 3, 0);
    ag_scope_end(outer);
    CHECK_INT(stats_of(c).tensors, both - 1);
    CHECK_CLOSE(ag_at(twice, 1), 4, 0);
    CHECK(ag_keep(twice) == twice); /* there is nowhere further to go */
    CHECK(!ag_keep(NULL));
}

static void t_drop_gives_up_at_once(ag_context *c)
{
    const int64_t before = stats_of(c).tensors;
    AG_SCOPE (c) {
        ag_tensor *x = ag_ones(c, AG_SHAPE(3)), *view = ag_reshape(x, AG_SHAPE(3, 1));
        CHECK(view);
        ag_drop(x); /* it is the base of the view, and stays with it */
        CHECK_INT(stats_of(c).tensors, before + 2);
        CHECK_CLOSE(ag_at(view, 2, 0), 1, 0);
        ag_drop(view);
        CHECK_INT(stats_of(c).tensors, before);
        ag_drop(NULL);
    }
}

static void t_a_graph_outlives_the_scope_of_its_parts(ag_context *c)
{
    ag_tensor *x = ag_scalar(c, 2, .dtype = AG_F64, .requires_grad = true), *y = NULL;
    AG_SCOPE (c)
        y = ag_keep(ag_mul(ag_exp(x), ag_sin(x)));
    CHECK(y);
    CHECK(ag_backward(y));
    CHECK_CLOSE(ag_item(ag_grad_of(x)), exp(2) * (sin(2) + cos(2)), 1e-14);
}

static void release_tensor(void *t) { ag_release(t); }

static void t_retain_goes_beyond_scopes(ag_context *c)
{
    ag_tensor *x = NULL;
    const int64_t before = stats_of(c).tensors;
    AG_SCOPE (c)
        x = ag_retain(ag_full(c, AG_SHAPE(2), 5));
    CHECK(x);
    harness_defer(release_tensor, x);
    CHECK_INT(stats_of(c).tensors, before + 1);
    CHECK_CLOSE(ag_at(x, 1), 5, 0);
    AG_SCOPE (c)
        CHECK(ag_sum(x));
    CHECK(!ag_retain(NULL));
    ag_release(NULL);
}

static ag_tensor *leave_by_return(ag_context *c)
{
    AG_SCOPE (c) {
        AG_NO_GRAD (c)
            return ag_keep(ag_add(ag_ones(c, AG_SHAPE(2)), 1));
    }
    return NULL;
}

static void t_blocks_end_on_every_way_out(ag_context *c)
{
    const int64_t before = stats_of(c).tensors;
    for (int i = 0; i < 3; i++)
        AG_SCOPE (c) {
            CHECK(ag_ones(c, AG_SHAPE(2)));
            if (i == 1)
                break; /* leaves the block, not the loop */
        }
    CHECK_INT(stats_of(c).tensors, before);
    ag_tensor *y = leave_by_return(c);
    CHECK(y);
    CHECK_INT(stats_of(c).tensors, before + 1);
    CHECK(ag_grad_enabled(c));
    AG_NO_GRAD (c) {
        CHECK(!ag_grad_enabled(c));
        AG_ENABLE_GRAD (c)
            CHECK(ag_grad_enabled(c));
        CHECK(!ag_grad_enabled(c));
        break;
    }
    CHECK(ag_grad_enabled(c));
}

/* ---- closing ---- */

static void t_closing_ends_everything(ag_context *unused)
{
    (void)unused;
    counter k = { 0 };
    ag_context *c = open_counted(&k);
    CHECK(ag_scope_begin(c) && ag_scope_begin(c)); /* still open at the end */
    ag_tensor *x = ag_randn(c, AG_SHAPE(40, 40), .requires_grad = true), *g = NULL;
    ag_tensor *y = ag_sum(ag_mul(ag_exp(x), x));
    CHECK(ag_backward(y, .create_graph = true)); /* x.grad -> its node -> x is a ring */
    CHECK(g = ag_grad_of(x));
    CHECK(ag_requires_grad(g));
    CHECK(k.blocks > 1 && k.bytes > 0);
    ag_close(c);
    CHECK_INT(k.blocks, 0);
    CHECK_INT((int64_t)k.bytes, 0);
    ag_close(NULL);
}

static void t_retained_tensors_outlive_their_context(ag_context *unused)
{
    (void)unused;
    counter k = { 0 };
    ag_context *c = open_counted(&k);
    ag_tensor *x = ag_randn(c, AG_SHAPE(50, 50), .requires_grad = true);
    ag_tensor *y = ag_retain(ag_mul(x, x)), *leaf = ag_retain(ag_full(c, AG_SHAPE(2), 6));
    CHECK(y && leaf);
    char *text = ag_to_string(leaf);
    CHECK(text);
    ag_close(c);
    CHECK(k.blocks > 0);
    CHECK_CLOSE(ag_at(leaf, 1), 6, 0);
    CHECK_INT(ag_numel(y), 2500);
    ag_release(leaf);
    CHECK(ag_at(y, 3, 3) >= 0);
    ag_release(y);
    CHECK_INT(k.blocks, 1); /* the string, which the program owns */
    CHECK_TEXT(text, "tensor([6., 6.])");
    ag_free(text);
    CHECK_INT(k.blocks, 0);
    CHECK_INT((int64_t)k.bytes, 0);
    ag_free(NULL);
}

/* ---- borrowed memory ---- */

static int freed;
static void free_borrowed(void *data, void *user)
{
    (void)data;
    freed += *(int *)user;
}

static void t_borrowed_memory_is_given_back_once(ag_context *c)
{
    static float data[] = { 1, 2, 3, 4 };
    int one = 1;
    freed = 0;
    data[3] = 4;
    AG_SCOPE (c) {
        ag_tensor *x = ag_from_memory(c, data, AG_F32, AG_SHAPE(2, 2), free_borrowed, &one);
        CHECK_INT(freed, 0); /* a call that fails has taken nothing over */
        CHECK(x);
        CHECK(ag_data(x) == data);
        ag_tensor *view = ag_keep(ag_t(x));
        CHECK(view && ag_mul_(x, 2));
        CHECK_CLOSE(data[3], 8, 0); /* in place means here */
        ag_drop(x);
        CHECK_INT(freed, 0);
        CHECK_CLOSE(ag_at(view, 1, 1), 8, 0);
        ag_drop(view);
        CHECK_INT(freed, 1);
    }
    CHECK(!ag_error(c));
    CHECK_INT(freed, 1);
}

static void t_borrowing_that_fails_calls_nothing(ag_context *c)
{
    static float data[4];
    int one = 1;
    freed = 0;
    CHECK_ERROR(ag_from_memory(c, NULL, AG_F32, AG_SHAPE(2), free_borrowed, &one), AG_ERR_VALUE,
                "data is NULL");
    CHECK_ERROR(ag_from_memory(c, (char *)data + 1, AG_F32, AG_SHAPE(2), free_borrowed, &one),
                AG_ERR_VALUE, "aligned");
    CHECK_ERROR(ag_from_memory(c, data, AG_F32, AG_SHAPE(-2), free_borrowed, &one), AG_ERR_SHAPE,
                "ag_from_memory");
    CHECK_INT(freed, 0);
}

/* ---- sharing ---- */

static void t_shared_values_are_the_same_values(ag_context *c)
{
    counter k = { 0 };
    ag_context *other = open_counted(&k);
    ag_tensor *x = ag_array(other, AG_VALUES(1, 2, 3, 4), AG_SHAPE(2, 2), .requires_grad = true);
    ag_tensor *y = ag_share(c, ag_t(x));
    if (!y)
        ag_close(other);
    CHECK(y);
    const bool apart = ag_context_of(y) == c && !ag_requires_grad(y) && ag_is_leaf(y);
    ag_tensor *detached = ag_detach(x);
    const bool written = ag_mul_(detached, 10) != NULL;
    ag_close(other); /* the values live on with y */
    CHECK(apart && written);
    CHECK_VALUES(y, AG_SHAPE(2, 2), AG_VALUES(10, 30, 20, 40), 0);
    ag_drop(y);
    CHECK_INT(k.blocks, 0);
    CHECK(!ag_share(c, NULL) && !ag_share(NULL, NULL));
}

/* ---- numbers ---- */

static void t_every_byte_of_a_tensor_comes_back(ag_context *c)
{
    for (int rank = 0; rank <= 3; rank++)
        for (int64_t n = 1; n <= 1024; n += 1 + n / 2) {
            const int64_t shape[] = { n, 1, 1 };
            const ag_memory_statistics before = stats_of(c);
            ag_tensor *t = ag_zeros(c, ((ag_ints){ shape, rank }), .dtype = AG_F64);
            CHECK(t);
            CHECK(stats_of(c).current_bytes >= before.current_bytes + ag_numel(t) * sizeof(double));
            ag_drop(t);
            CHECK_INT((int64_t)stats_of(c).current_bytes, (int64_t)before.current_bytes);
        }
    /* The same in contexts whose slabs are fresh, where blocks lie side by side. */
    for (int64_t n = 1; n <= 64; n++) {
        counter k = { 0 };
        ag_context *own = open_counted(&k);
        ag_drop(ag_zeros(own, AG_SHAPE(n), .dtype = AG_F64));
        const size_t left = stats_of(own).current_bytes;
        ag_close(own);
        CHECK_INT((int64_t)left, 0);
    }
}

static void t_statistics_tell_what_is_there(ag_context *c)
{
    const ag_memory_statistics a = stats_of(c);
    ag_tensor *x = ag_ones(c, AG_SHAPE(1000), .dtype = AG_F64, .requires_grad = true);
    ag_tensor *w = ag_ones(c, AG_SHAPE(1000), .dtype = AG_F64, .requires_grad = true);
    CHECK(x && w);
    const ag_memory_statistics b = stats_of(c);
    CHECK_INT(b.tensors, a.tensors + 2);
    CHECK_INT(b.nodes, a.nodes);
    CHECK(b.current_bytes >= a.current_bytes + 16000 && b.peak_bytes >= b.current_bytes);
    CHECK(b.allocations > a.allocations);

    ag_tensor *y = ag_mul(x, w); /* saves both, and leads to two accumulators */
    CHECK(y);
    CHECK_INT(stats_of(c).nodes, a.nodes + 3);
    CHECK_INT((int64_t)stats_of(c).saved_bytes, 16000);
    ag_tensor *sum = ag_sum(y);
    CHECK(sum && ag_backward(sum));
    CHECK_INT((int64_t)stats_of(c).saved_bytes, 0);
    ag_drop(sum);
    ag_drop(y);
    CHECK_INT(stats_of(c).nodes, a.nodes);

    const ag_memory_statistics d = stats_of(c);
    ag_drop(x);
    const ag_memory_statistics e = stats_of(c);
    CHECK(e.current_bytes + 8000 <= d.current_bytes && e.cached_bytes >= d.cached_bytes + 8000);
    CHECK_INT((int64_t)e.peak_bytes, (int64_t)d.peak_bytes);
    CHECK_INT(e.system_calls, d.system_calls);
}

static void free_optimizer(void *o) { ag_optimizer_free(o); }

static void t_training_reaches_the_allocator_in_its_first_step(ag_context *c)
{
    ag_tensor *x = ag_randn(c, AG_SHAPE(16, 30)), *t = ag_randint(c, 0, 5, AG_SHAPE(16));
    ag_tensor *p[] = { ag_randn(c, AG_SHAPE(40, 30), .requires_grad = true),
                       ag_zeros(c, AG_SHAPE(40), .requires_grad = true),
                       ag_randn(c, AG_SHAPE(5, 40), .requires_grad = true) };
    CHECK(x && t && p[0] && p[1] && p[2]);
    ag_optimizer *o = ag_adam(p, 3);
    CHECK(o);
    harness_defer(free_optimizer, o);
    int64_t calls = 0, allocations = 0;
    size_t held = 0;
    for (int step = 0; step < 6; step++) {
        const ag_memory_statistics before = stats_of(c);
        AG_SCOPE (c) {
            ag_tensor *h =
                ag_layer_norm(ag_gelu(ag_linear(x, p[0], p[1]), false), 1, NULL, NULL, 1e-5);
            ag_tensor *loss = ag_cross_entropy(ag_linear(h, p[2], NULL), t, .label_smoothing = 0.1);
            ag_optimizer_zero_grad(o);
            CHECK(loss && ag_backward(loss) && ag_step(o));
        }
        CHECK(!ag_error(c));
        const ag_memory_statistics after = stats_of(c);
        if (step > 1) { /* the first step makes records and accumulators, which stay */
            CHECK_INT(after.system_calls, calls);
            CHECK_INT(after.allocations - before.allocations, allocations);
            CHECK_INT((int64_t)after.current_bytes, (int64_t)held);
        }
        calls = after.system_calls;
        allocations = after.allocations - before.allocations;
        held = after.current_bytes;
    }
}

/* ---- allocators ---- */

static void t_data_are_aligned(ag_context *c)
{
    for (int64_t n = 128; n < 100000; n *= 3) {
        ag_tensor *t = ag_empty(c, AG_SHAPE(n), .dtype = AG_F64);
        CHECK(t);
        CHECK_INT((int64_t)((uintptr_t)ag_data(t) % 64), 0);
    }
}

static void t_an_allocator_may_run_dry(ag_context *unused)
{
    (void)unused;
    counter k = { .empty = true };
    const ag_allocator a = { counted_allocate, counted_release, &k };
    CHECK(!ag_open(.allocator = &a));
    k.empty = false;
    ag_context *c = ag_open(.allocator = &a);
    CHECK(c);
    k.empty = true;
    ag_tensor *x = ag_ones(c, AG_SHAPE(100000)), *small = ag_ones(c, AG_SHAPE(3));
    const ag_status *status = ag_error(c);
    const bool told = !x && !small && status && status->code == AG_ERR_MEMORY;
    k.empty = false;
    ag_error_clear(c);
    x = ag_ones(c, AG_SHAPE(100000));
    const bool works = x && !ag_error(c);
    ag_close(c);
    CHECK(told && works);
    CHECK_INT(k.blocks, 0);
}

static int told;
static void count_errors(ag_context *c, const ag_status *status)
{
    (void)c;
    told += status->code == AG_ERR_SHAPE;
}

static void t_the_first_error_stays(ag_context *unused)
{
    (void)unused;
    ag_context *c = ag_open(.on_error = count_errors);
    CHECK(c);
    told = 0;
    ag_tensor *x = ag_ones(c, AG_SHAPE(2)), *bad = ag_add(x, ag_ones(c, AG_SHAPE(3)));
    bad = ag_select(ag_mul(bad, 2), 7, 7);
    const ag_status *status = ag_error(c);
    const bool first = !bad && status && status->code == AG_ERR_SHAPE && told == 1;
    ag_error_clear(c);
    const bool cleared = !ag_error(c) && ag_add(x, 1) && !ag_error(c);
    ag_close(c);
    CHECK(first && cleared);
}

/* A gradient may have a gradient, and so on: freeing them takes no C stack. */
static void t_a_chain_of_gradients(ag_context *c)
{
    const int n = harness_faults() ? 10 : 300000;
    const int64_t before = stats_of(c).tensors;
    AG_SCOPE (c) {
        ag_tensor *last = ag_scalar(c, 0);
        for (int i = 0; i < n; i++) {
            ag_tensor *next = ag_scalar(c, i);
            CHECK(last && next && ag_set_grad(next, last));
            ag_drop(last);
            last = next;
        }
        CHECK_INT(stats_of(c).tensors, before + n + 1);
    }
    CHECK_INT(stats_of(c).tensors, before);
}

int main(int argc, char **argv)
{
    return RUN(TEST(t_a_chain_of_gradients), TEST(t_a_scope_takes_its_tensors_along),
               TEST(t_ending_a_scope_ends_those_inside), TEST(t_a_scope_may_end_twice),
               TEST(t_keep_moves_one_scope_outwards), TEST(t_drop_gives_up_at_once),
               TEST(t_a_graph_outlives_the_scope_of_its_parts), TEST(t_retain_goes_beyond_scopes),
               TEST(t_blocks_end_on_every_way_out), TEST(t_closing_ends_everything),
               TEST(t_retained_tensors_outlive_their_context),
               TEST(t_borrowed_memory_is_given_back_once),
               TEST(t_borrowing_that_fails_calls_nothing),
               TEST(t_shared_values_are_the_same_values), TEST(t_every_byte_of_a_tensor_comes_back),
               TEST(t_statistics_tell_what_is_there),
               TEST(t_training_reaches_the_allocator_in_its_first_step), TEST(t_data_are_aligned),
               TEST(t_an_allocator_may_run_dry), TEST(t_the_first_error_stays));
}
