/*
 * The pool of a context: threads - 1 workers, which sleep until there is a job, and the caller, who
 * works along. Blocks are handed out by an atomic counter. Nobody spins: a pool that waits busily
 * takes the processor from the libraries beside it. Nobody waits for a worker that has not woken up
 * when the blocks are gone, so a job takes no longer than it would alone.
 *
 * The pool starts with the first job that has several blocks. Where threads cannot be had, the
 * caller does everything. A forked child has none of its parent's threads; it notices by its process
 * id and starts a pool of its own.
 */
#include "parallel.h"

#if defined(__unix__) || defined(__APPLE__)

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { PARALLEL_MAX = 256 };

typedef struct {
    struct ag__pool *pool;
    int number;
    pthread_t thread;
} pool_worker;

struct ag__pool {
    pid_t process;
    int n; /* workers */
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    /* The job, under the lock; blocks are taken without it. */
    uint64_t job; /* counts jobs */
    bool open;    /* it may have blocks left */
    int busy;     /* workers that are at it */
    bool ending;
    ag__block_fn *fn;
    void *arg;
    int64_t blocks;
    atomic_llong next;
    pool_worker workers[];
};

static size_t pool_bytes(int n)
{
    return sizeof(struct ag__pool) + (size_t)n * sizeof(pool_worker);
}

static void pool_work(struct ag__pool *p, int worker)
{
    for (;;) {
        const int64_t block = atomic_fetch_add(&p->next, 1);
        if (block >= p->blocks)
            return;
        p->fn(p->arg, block, worker);
    }
}

static void *pool_run(void *arg)
{
    const pool_worker *self = arg;
    struct ag__pool *p = self->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while ((p->job == seen || !p->open) && !p->ending)
            pthread_cond_wait(&p->wake, &p->lock);
        if (p->ending)
            break;
        seen = p->job;
        p->busy++;
        pthread_mutex_unlock(&p->lock);
        pool_work(p, self->number);
        pthread_mutex_lock(&p->lock);
        if (--p->busy == 0)
            pthread_cond_signal(&p->done);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* A pool of up to n workers; NULL when there is no memory or no thread to be had. */
static struct ag__pool *pool_new(ag_context *c, int n)
{
    const ag_allocator *a = &c->memory.allocator;
    struct ag__pool *p = a->allocate(pool_bytes(n), a->user);
    if (!p)
        return NULL;
    *p = (struct ag__pool){ .process = getpid() };
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    pthread_cond_init(&p->done, NULL);
    atomic_init(&p->next, 0);
    for (; p->n < n; p->n++) {
        pool_worker *w = &p->workers[p->n];
        *w = (pool_worker){ .pool = p, .number = p->n + 1 };
        if (pthread_create(&w->thread, NULL, pool_run, w) != 0)
            break;
    }
    return p;
}

void ag__parallel_end(ag_context *c)
{
    struct ag__pool *p = c->pool;
    if (!p)
        return;
    if (p->process == getpid()) { /* otherwise there are no threads, and locks may be held */
        pthread_mutex_lock(&p->lock);
        p->ending = true;
        pthread_cond_broadcast(&p->wake);
        pthread_mutex_unlock(&p->lock);
        for (int i = 0; i < p->n; i++)
            pthread_join(p->workers[i].thread, NULL);
        pthread_mutex_destroy(&p->lock);
        pthread_cond_destroy(&p->wake);
        pthread_cond_destroy(&p->done);
    }
    c->memory.allocator.release(p, pool_bytes(c->pool_room), c->memory.allocator.user);
    c->pool = NULL;
}

static struct ag__pool *pool_of(ag_context *c)
{
    if (c->pool && c->pool->process != getpid())
        ag__parallel_end(c);
    if (!c->pool) {
        c->pool_room = ag__parallel_workers(c, PARALLEL_MAX) - 1;
        c->pool = pool_new(c, c->pool_room);
    }
    return c->pool;
}

int ag__parallel_workers(const ag_context *c, int64_t n)
{
    return n <= 1 ? 1 : c->threads < PARALLEL_MAX ? c->threads : PARALLEL_MAX;
}

void ag__parallel(ag_context *c, int64_t n, ag__block_fn *fn, void *arg)
{
    struct ag__pool *p = ag__parallel_workers(c, n) > 1 ? pool_of(c) : NULL;
    if (!p || p->n == 0) {
        for (int64_t block = 0; block < n; block++)
            fn(arg, block, 0);
        return;
    }
    pthread_mutex_lock(&p->lock);
    p->fn = fn;
    p->arg = arg;
    p->blocks = n;
    atomic_store(&p->next, 0);
    p->job++;
    p->open = true;
    for (int i = 0; i < p->n && i < n - 1; i++)
        pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pool_work(p, 0);
    pthread_mutex_lock(&p->lock);
    p->open = false;
    while (p->busy > 0)
        pthread_cond_wait(&p->done, &p->lock);
    pthread_mutex_unlock(&p->lock);
}

#else

int ag__parallel_workers(const ag_context *c, int64_t n) { return (void)c, (void)n, 1; }

void ag__parallel(ag_context *c, int64_t n, ag__block_fn *fn, void *arg)
{
    (void)c;
    for (int64_t block = 0; block < n; block++)
        fn(arg, block, 0);
}

void ag__parallel_end(ag_context *c) { (void)c; }

#endif
