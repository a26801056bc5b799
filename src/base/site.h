/*
 * Places in the program: in checked mode (AG_CHECKED in autograd.h) each call leaves its file and line
 * in the context, where messages and graphs find them.
 */
#ifndef AG_BASE_SITE_H
#define AG_BASE_SITE_H

#include "context.h"

/* `*text` becomes "NAME at FILE:LINE" of the call under way, or name itself outside checked mode;
 * without a name "FILE:LINE", or NULL. It lives as long as the context. False when out of memory. */
bool ag__site_text(ag_context *c, const char *name, const char **text);
void ag__site_release(ag_context *c);

#endif
