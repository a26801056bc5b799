/* See file.h. */
#include "file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { FILE_TEMPORARIES = 100 };

FILE *ag__file_open(ag_context *c, const char *who, const char *path, int64_t *size)
{
    struct stat info;
    if (!path)
        return ag__fail(c, AG_ERR_VALUE, "%s: path is NULL", who);
    if (stat(path, &info) != 0)
        return ag__fail(c, AG_ERR_IO, "%s: " AG_PATH ": %s", who, path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return ag__fail(c, AG_ERR_IO, "%s: " AG_PATH ": not a regular file", who, path);
    FILE *f = fopen(path, "rb");
    if (!f)
        return ag__fail(c, AG_ERR_IO, "%s: " AG_PATH ": %s", who, path, strerror(errno));
    *size = info.st_size;
    return f;
}

/* Opens a file beside `path` that did not exist, and puts its name, "PATH.tmp" or "PATH.tmpN", into
 * `name`. */
static FILE *file_create_beside(const char *path, char *name, size_t room)
{
    FILE *f = NULL;
    errno = EEXIST;
    for (int i = 0; i < FILE_TEMPORARIES && !f && errno == EEXIST; i++) {
        snprintf(name, room, i ? "%s.tmp%d" : "%s.tmp", path, i);
        f = fopen(name, "wbx");
    }
    return f;
}

/* 0, or the errno of the step that failed; then nothing is left behind. */
static int file_write(ag__file_writer *write, void *arg, const char *path, char *name, size_t room)
{
    FILE *f = file_create_beside(path, name, room);
    if (!f)
        return errno;
    errno = 0;
    bool ok = write(f, arg);
    int reason = errno;
    if (fclose(f) != 0 && ok) {
        ok = false;
        reason = errno;
    }
    if (ok && rename(name, path) == 0)
        return 0;
    reason = ok ? errno : reason;
    remove(name);
    return reason ? reason : EIO;
}

bool ag__file_replace(ag_context *c, const char *who, const char *path, ag__file_writer *write,
                      void *arg)
{
    struct stat info;
    if (!path)
        return ag_fail(c, AG_ERR_VALUE, "%s: path is NULL", who);
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return ag_fail(c, AG_ERR_IO, "%s: " AG_PATH ": not a regular file", who, path);
    const size_t room = strlen(path) + 16;
    char *name = ag__alloc(c, room);
    if (!name)
        return false;
    const unsigned failures = c->failures;
    const int reason = file_write(write, arg, path, name, room);
    ag__free(c, name, room);
    if (!reason)
        return true;
    return !ag__failed_since(c, failures)
               ? ag_fail(c, AG_ERR_IO, "%s: " AG_PATH ": %s", who, path, strerror(reason))
               : false;
}
