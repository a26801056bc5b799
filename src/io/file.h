/* What readers and writers of files share. Only regular files: they have a size to check against, and
 * opening a pipe would wait for a writer. */
#ifndef AG_IO_FILE_H
#define AG_IO_FILE_H

#include <stdio.h>

#include "../base/error.h"

#define AG_PATH "%.256s" /* in messages, so that a long path leaves room for the reason */

/* To be read; its bytes in *size. NULL with an error, which begins with `who`. */
FILE *ag__file_open(ag_context *c, const char *who, const char *path, int64_t *size);

/* Puts the whole content into f; false with errno, or with an error. */
typedef bool ag__file_writer(FILE *f, void *arg);
/* Writes a new file beside `path` that takes the place of the old one when it is complete. Nothing is left
 * of it otherwise, and there is an error. */
bool ag__file_replace(ag_context *c, const char *who, const char *path, ag__file_writer *write,
                      void *arg);

#endif
