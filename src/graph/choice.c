/*
 * Choices: what the fetches of a run need, given what is fed. A session remembers the latest ones,
 * so that a run which is like one before looks at nothing but its feeds.
 */
#include <string.h>

#include "session.h"

void ag__session_choice_free(ag_session *s, ag__choice *k)
{
    ag__session_plans_free(s, k);
    ag__schedule_free(&k->schedule, s->c);
    ag__free(s->c, k->key, (size_t)(k->n_fetches + k->n_feeds) * sizeof *k->key);
    ag__free(s->c, k->given, (size_t)k->n_given * sizeof *k->given);
    ag__free(s->c, k->args, (size_t)k->n_given * sizeof *k->args);
    ag__free(s->c, k->assigned, (size_t)k->n_assigned * sizeof *k->assigned);
}

static int32_t choice_feed(const ag__choice *k, int32_t v)
{
    for (int i = 0; i < k->n_feeds; i++)
        if (k->key[k->n_fetches + i] == v)
            return i;
    return -1;
}

/* Goes over what must be given; writes it down where there is room. How many they are. */
static int choice_give(ag__choice *k, const ag__region *r, const bool *fed)
{
    int n = 0;
    k->missing = -1;
    for (int32_t v = 0; v < k->schedule.n_values; v++) {
        const ag__inst *i = r->values[v].inst < 0 ? NULL : &r->insts[r->values[v].inst];
        if (k->schedule.last[v] < 0)
            continue;
        if (!fed[v] && i && i->op == &ag__op_placeholder && k->missing < 0)
            k->missing = v;
        if (!fed[v] && !(i && i->op == &ag__op_variable))
            continue;
        if (k->given)
            k->given[n] = (ag__given){ v, fed[v] ? choice_feed(k, v) : -1 };
        n++;
    }
    return n;
}

/* Likewise what is assigned, each variable once. */
static int choice_assign(ag__choice *k, const ag__region *r)
{
    int n = 0;
    for (int32_t j = 0; j < k->schedule.n_insts; j++) {
        if (!k->schedule.needed[j] || r->insts[j].op != &ag__op_assign)
            continue;
        int at = 0;
        while (k->assigned && at < n && k->assigned[at] != r->insts[j].in[0])
            at++;
        if (k->assigned)
            k->assigned[at] = r->insts[j].in[0];
        n += !k->assigned || at == n;
    }
    return n;
}

static bool choice_lists(ag__choice *k, ag_context *c, const ag__region *r, const bool *fed)
{
    k->n_given = choice_give(k, r, fed);
    k->given = ag__alloc(c, (size_t)k->n_given * sizeof *k->given);
    k->args = ag__alloc(c, (size_t)k->n_given * sizeof *k->args);
    const int most = choice_assign(k, r); /* where each counts */
    int32_t *room = ag__alloc(c, (size_t)most * sizeof *room);
    if (k->given && k->args && room) {
        choice_give(k, r, fed);
        k->assigned = room;
        k->n_assigned = choice_assign(k, r);
        k->assigned = ag__alloc(c, (size_t)k->n_assigned * sizeof *room);
        if (k->assigned && k->n_assigned)
            memcpy(k->assigned, room, (size_t)k->n_assigned * sizeof *room);
    }
    ag__free(c, room, (size_t)most * sizeof *room);
    return k->assigned != NULL;
}

static bool choice_fill(ag_session *s, ag__choice *k)
{
    const ag__region *r = &s->g->main;
    const size_t bytes = (size_t)r->n_values;
    bool *fed = ag__alloc(s->c, bytes);
    if (!fed)
        return false;
    memset(fed, 0, bytes);
    for (int i = 0; i < k->n_feeds; i++)
        fed[k->key[k->n_fetches + i]] = true;
    const bool ok = ag__schedule_make(&k->schedule, s->c, r, k->key, k->n_fetches, fed) &&
                    choice_lists(k, s->c, r, fed);
    ag__free(s->c, fed, bytes);
    return ok;
}

static ag__choice *choice_known(ag_session *s, const int32_t *key, int n_fetches, int n_feeds)
{
    for (int i = 0; i < s->n_choices; i++) {
        ag__choice *k = &s->choices[i];
        if (k->n_fetches == n_fetches && k->n_feeds == n_feeds &&
            !memcmp(k->key, key, (size_t)(n_fetches + n_feeds) * sizeof *key))
            return k;
    }
    return NULL;
}

/* Room for another; the one that was not used for the longest time goes. */
static ag__choice *choice_place(ag_session *s)
{
    if (s->n_choices < AG_CHOICES)
        return &s->choices[s->n_choices++];
    ag__choice *oldest = &s->choices[0];
    for (int k = 1; k < s->n_choices; k++)
        if (s->choices[k].used < oldest->used)
            oldest = &s->choices[k];
    ag__session_choice_free(s, oldest);
    return oldest;
}

ag__choice *ag__session_choice(ag_session *s, const int32_t *key, int n_fetches, int n_feeds)
{
    ag__choice *k = choice_known(s, key, n_fetches, n_feeds);
    const size_t bytes = (size_t)(n_fetches + n_feeds) * sizeof *key;
    if (!k) {
        ag__choice made = { .key = ag__alloc(s->c, bytes),
                            .n_fetches = n_fetches,
                            .n_feeds = n_feeds };
        if (made.key && bytes)
            memcpy(made.key, key, bytes);
        if (!made.key || !choice_fill(s, &made)) {
            ag__session_choice_free(s, &made);
            return NULL;
        }
        k = choice_place(s);
        *k = made;
    }
    k->used = (uint64_t)s->stats.runs;
    return k;
}
