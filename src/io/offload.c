/*
 * Saved values in a file: hooks that write what is packed to the end of one unnamed file and read it
 * back from there. The file begins anew when nothing in it is needed any more, and goes with the last
 * graph that was recorded under the hooks.
 */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../autograd/saved.h"

typedef struct {
    ag_context *c;
    FILE *file;
    size_t min_bytes;
    off_t end;    /* of what is in use */
    int64_t live; /* values in the file */
} offload_file;

typedef struct {
    ag_tensor *kept; /* owned; a value that stays in memory */
    off_t at;
    uint8_t dtype, ndim;
    int64_t shape[AG_MAX_DIMS];
} offload_value;

static bool offload_fail(ag_context *c, const char *what)
{
    return ag_fail(c, AG_ERR_IO, "ag_saved_offload_push: cannot %s: %s", what, strerror(errno));
}

static bool offload_write(offload_file *o, ag_tensor *t)
{
    ag_tensor *flat = ag__ready(t, (ag_dtype)t->dtype);
    if (!flat)
        return false;
    const size_t bytes = (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype);
    const bool ok = fseeko(o->file, o->end, SEEK_SET) == 0 &&
                    fwrite(ag__at(flat), 1, bytes, o->file) == bytes && fflush(o->file) == 0;
    ag__tensor_unref(flat);
    if (!ok)
        return offload_fail(o->c, "write the file of saved values");
    o->end += (off_t)bytes;
    o->live++;
    return true;
}

static void *offload_pack(ag_tensor *t, void *user)
{
    offload_file *o = user;
    offload_value *v = ag__alloc(o->c, sizeof *v);
    if (!v)
        return NULL;
    const size_t bytes = (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype);
    *v = (offload_value){ .at = o->end, .dtype = t->dtype, .ndim = t->ndim };
    memcpy(v->shape, t->dims, t->ndim * sizeof *v->shape);
    if (bytes < o->min_bytes || bytes == 0)
        v->kept = ag__tensor_ref(t);
    if (v->kept || offload_write(o, t))
        return v;
    ag__free(o->c, v, sizeof *v);
    return NULL;
}

static ag_tensor *offload_unpack(void *packed, void *user)
{
    const offload_value *v = packed;
    offload_file *o = user;
    if (v->kept)
        return v->kept;
    ag_tensor *t = ag__give(ag__tensor_new(o->c, (ag_dtype)v->dtype, v->ndim, v->shape));
    if (!t)
        return NULL;
    const size_t bytes = (size_t)t->numel * ag__itemsize((ag_dtype)t->dtype);
    if (fseeko(o->file, v->at, SEEK_SET) == 0 && fread(ag__at(t), 1, bytes, o->file) == bytes)
        return t;
    offload_fail(o->c, "read the file of saved values");
    return NULL;
}

static void offload_free_value(void *packed, void *user)
{
    offload_value *v = packed;
    offload_file *o = user;
    if (!v)
        return;
    if (!v->kept && --o->live == 0)
        o->end = 0;
    ag__tensor_unref(v->kept);
    ag__free(o->c, v, sizeof *v);
}

static void offload_free(void *user)
{
    offload_file *o = user;
    fclose(o->file);
    ag__free(o->c, o, sizeof *o);
}

/* A file in the folder that has no name any more. */
static FILE *offload_open(ag_context *c, const char *folder)
{
    static const char name[] = "/autograd-saved-XXXXXX";
    const size_t length = strlen(folder), bytes = length + sizeof name;
    char *path = ag__alloc(c, bytes);
    if (!path)
        return NULL;
    memcpy(path, folder, length);
    memcpy(path + length, name, sizeof name);
    const int fd = mkstemp(path);
    FILE *file = fd >= 0 ? fdopen(fd, "w+b") : NULL;
    if (fd >= 0)
        unlink(path);
    if (!file) {
        ag_fail(c, AG_ERR_IO, "ag_saved_offload_push: cannot make a file in %s: %s", folder,
                strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    ag__free(c, path, bytes);
    return file;
}

bool(ag_saved_offload_push)(ag_context *c, const char *folder, const ag_offload_options *options)
{
    if (!c)
        return false;
    if (!folder)
        return ag_fail(c, AG_ERR_VALUE, "ag_saved_offload_push: folder is NULL");
    offload_file *o = ag__alloc(c, sizeof *o);
    if (!o)
        return false;
    *o = (offload_file){ .c = c, .min_bytes = options ? options->min_bytes : 0 };
    o->file = offload_open(c, folder);
    const ag__saved_hooks hooks = { .pack = offload_pack,
                                    .unpack = offload_unpack,
                                    .free_packed = offload_free_value,
                                    .free_user = offload_free,
                                    .user = o };
    if (o->file && ag__saved_hooks_push(c, &hooks))
        return true;
    if (o->file)
        fclose(o->file);
    ag__free(c, o, sizeof *o);
    return false;
}
