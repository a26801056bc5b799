/* The first error of a context, its message, and the hook that is told. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is known of where the call stands: its place in the program, the node whose rule runs. */
static void error_add_place(ag_context *c)
{
    char *at = c->message + strlen(c->message), *end = c->message + sizeof c->message;
    if (c->site_file)
        at += snprintf(at, (size_t)(end - at), " [%s:%d]", c->site_file, c->site_line);
    if (c->rule_of && at < end)
        snprintf(at, (size_t)(end - at), " [Error detected in %s. %s%s]", c->rule_of,
                 c->rule_site
                     ? "Its forward call: "
                     : "No forward pass information available. Enable detect anomaly "
                       "during forward pass, in checked mode (AG_CHECKED), for more information.",
                 c->rule_site ? c->rule_site : "");
}

static void error_set(ag_context *c, ag_code code, const char *format, va_list args)
{
    if (!c)
        return;
    c->failures++;
    if (c->status.code != AG_OK)
        return;
    vsnprintf(c->message, sizeof c->message, format, args);
    error_add_place(c);
    c->status = (ag_status){ code, c->message };
    if (c->on_error)
        c->on_error(c, &c->status);
}

bool ag_fail(ag_context *c, ag_code code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_set(c, code, format, args);
    va_end(args);
    return false;
}

void *ag__fail(ag_context *c, ag_code code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    error_set(c, code, format, args);
    va_end(args);
    return NULL;
}

const ag_status *ag_error(ag_context *c)
{
    return c && c->status.code != AG_OK ? &c->status : NULL;
}

void ag_error_clear(ag_context *c)
{
    if (c)
        c->status = (ag_status){ AG_OK, NULL };
}

void ag__quiet_begin(ag__quiet *q, ag_context *c)
{
    q->status = c->status;
    q->failures = c->failures;
    q->on_error = c->on_error;
    if (ag__failed(c))
        memcpy(q->message, c->message, sizeof q->message);
    c->on_error = NULL;
    c->status = (ag_status){ AG_OK, NULL };
}

static void error_put_back(const ag__quiet *q, ag_context *c)
{
    c->status = q->status;
    if (ag__failed(c))
        memcpy(c->message, q->message, sizeof q->message);
}

void ag__quiet_forget(ag__quiet *q, ag_context *c)
{
    c->on_error = q->on_error;
    c->failures = q->failures;
    error_put_back(q, c);
}

void ag__quiet_tell(ag__quiet *q, ag_context *c)
{
    c->on_error = q->on_error;
    if (!ag__failed(c))
        c->failures = q->failures;
    if (q->status.code != AG_OK)
        error_put_back(q, c);
    else if (ag__failed(c) && c->on_error)
        c->on_error(c, &c->status);
}

void ag__log(ag_context *c, const char *message)
{
    if (c->log)
        c->log(c, message, c->log_user);
}

void ag_print_and_exit(ag_context *c, const ag_status *status)
{
    (void)c;
    fprintf(stderr, "autograd: %s\n", status->message);
    exit(1);
}
