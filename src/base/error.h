/*
 * Errors: the context keeps the first one until it is cleared. Functions that return a pointer end
 * in `return ag__fail(c, code, ...)`, bool functions in `return ag_fail(c, code, ...)`.
 */
#ifndef AG_BASE_ERROR_H
#define AG_BASE_ERROR_H

#include "context.h"

void *ag__fail(ag_context *c, ag_code code, const char *format, ...) AG_FORMAT(3, 4); /* NULL */
/* A function that says why it failed where a callback has said so already changes nothing. */
static inline bool ag__failed(const ag_context *c) { return c->status.code != AG_OK; }
/* For callbacks: ag__failed_since(c, c->failures as it was before the call). */
static inline bool ag__failed_since(const ag_context *c, unsigned failures)
{
    return c->failures != failures;
}

/* For loops: ag_set_cancelled was not called; otherwise an error. */
static inline bool ag__goes_on(ag_context *c)
{
    return !atomic_load_explicit(&c->cancelled, memory_order_relaxed) ||
           ag_fail(c, AG_ERR_CANCELLED, "cancelled (ag_set_cancelled)");
}

/* From the begin on errors are told to nobody, and none is pending. In the end either they are
 * forgotten, or the one that is pending then is told as if it happened now. */
typedef struct {
    ag_status status;
    unsigned failures;
    void (*on_error)(ag_context *c, const ag_status *status);
    char message[AG_MESSAGE_MAX];
} ag__quiet;
void ag__quiet_begin(ag__quiet *q, ag_context *c);
void ag__quiet_forget(ag__quiet *q, ag_context *c);
void ag__quiet_tell(ag__quiet *q, ag_context *c);

/* A warning for the user's log hook, if there is one. */
void ag__log(ag_context *c, const char *message);

#endif
