/*
 * NumPy's .npy files, formats 1.0 to 3.0: a magic, a header that is a Python dictionary of three
 * keys, and the elements. The header is read by a grammar of just that shape, its length is capped
 * before it is read, and what it promises is compared with the file's size before memory is asked
 * for. Saving writes a new file that takes the place of the old one when it is complete.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "../tensor/tensor.h"
#include "file.h"

enum { NPY_HEADER_MAX = 64 * 1024, NPY_GROWTH_DIGITS = 21 };

typedef struct {
    ag_context *c;
    const char *path;
    FILE *f;
    int64_t size;         /* of the file */
    int64_t before_data;  /* bytes of magic, version, length and header */
    const char *at, *end; /* of the header that is left */
    const char *start;
    ag_dtype dtype;
    bool swap, fortran, has_descr, has_order, has_shape;
    int ndim;
    int64_t shape[AG_MAX_DIMS];
} npy_reader;

static bool npy_bad(npy_reader *r, const char *what)
{
    return ag_fail(r->c, AG_ERR_FORMAT, "ag_load_npy: " AG_PATH ": %s (header offset %d)", r->path,
                   what, (int)(r->at - r->start));
}

/* ---- the header's grammar ---- */

static void npy_blank(npy_reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\t'))
        r->at++;
}

static bool npy_take(npy_reader *r, char c)
{
    npy_blank(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static bool npy_string(npy_reader *r, char *out, size_t room)
{
    npy_blank(r);
    if (r->at == r->end || (*r->at != '\'' && *r->at != '"'))
        return npy_bad(r, "expected a string");
    const char quote = *r->at++;
    size_t n = 0;
    while (r->at < r->end && *r->at >= ' ' && *r->at != quote && n + 1 < room)
        out[n++] = *r->at++;
    if (r->at == r->end || *r->at != quote)
        return npy_bad(r,
                       "a string is too long, does not end, or holds other characters than ASCII");
    r->at++;
    out[n] = '\0';
    return true;
}

static bool npy_word(npy_reader *r, const char *word)
{
    const size_t n = strlen(word);
    npy_blank(r);
    if ((size_t)(r->end - r->at) < n || memcmp(r->at, word, n) != 0)
        return false;
    r->at += n;
    return true;
}

static bool npy_descr(npy_reader *r)
{
    static const struct {
        const char *code;
        ag_dtype dtype;
    } known[] = {
        { "f2", AG_F16 }, { "f4", AG_F32 }, { "f8", AG_F64 }, { "i1", AG_I8 },   { "i2", AG_I16 },
        { "i4", AG_I32 }, { "i8", AG_I64 }, { "u1", AG_U8 },  { "b1", AG_BOOL },
    };
    char text[16];
    npy_blank(r);
    if (r->at < r->end && *r->at == '[')
        return npy_bad(r, "structured dtypes are not supported");
    if (!npy_string(r, text, sizeof text))
        return false;
    const char order = text[0];
    if (!order || !strchr("<>|=", order))
        return npy_bad(r, "descr has no byte order");
    for (int i = 0; i < AG_COUNT(known); i++)
        if (!strcmp(text + 1, known[i].code)) {
            r->dtype = known[i].dtype;
            r->swap = order == '>';
            if (order == '|' && ag__itemsize(r->dtype) > 1)
                return npy_bad(r, "descr has no byte order");
            return true;
        }
    return ag_fail(r->c, AG_ERR_DTYPE, "ag_load_npy: " AG_PATH ": dtype '%s' is not supported",
                   r->path, text);
}

static bool npy_shape(npy_reader *r)
{
    bool comma = true;
    if (!npy_take(r, '('))
        return npy_bad(r, "shape is not a tuple");
    while (!npy_take(r, ')')) {
        npy_blank(r);
        if (!comma || r->at == r->end || !isdigit((unsigned char)*r->at))
            return npy_bad(r, "shape is not a tuple of non-negative integers");
        if (r->ndim == AG_MAX_DIMS)
            return ag_fail(r->c, AG_ERR_SHAPE,
                           "ag_load_npy: " AG_PATH ": the array has more than %d dimensions",
                           r->path, AG_MAX_DIMS);
        int64_t v = 0;
        for (; r->at < r->end && isdigit((unsigned char)*r->at); r->at++) {
            if (v > (INT64_MAX - 9) / 10)
                return npy_bad(r, "a size of shape overflows");
            v = 10 * v + (*r->at - '0');
        }
        r->at += r->at < r->end && *r->at == 'L'; /* a long integer of Python 2 */
        r->shape[r->ndim++] = v;
        comma = npy_take(r, ',');
    }
    if (r->ndim == 1 && !comma)
        return npy_bad(r, "shape is not a tuple: (n) lacks its comma");
    return true;
}

static bool npy_entry(npy_reader *r)
{
    char key[16];
    if (!npy_string(r, key, sizeof key))
        return false;
    if (!npy_take(r, ':'))
        return npy_bad(r, "expected a colon");
    bool *seen = !strcmp(key, "descr")           ? &r->has_descr
                 : !strcmp(key, "fortran_order") ? &r->has_order
                 : !strcmp(key, "shape")         ? &r->has_shape
                                                 : NULL;
    if (!seen)
        return npy_bad(r, "unknown key");
    if (*seen)
        return npy_bad(r, "a key appears twice");
    *seen = true;
    if (seen == &r->has_descr)
        return npy_descr(r);
    if (seen == &r->has_shape)
        return npy_shape(r);
    r->fortran = npy_word(r, "True");
    return r->fortran || npy_word(r, "False") || npy_bad(r, "fortran_order is not True or False");
}

static bool npy_header(npy_reader *r)
{
    if (!npy_take(r, '{'))
        return npy_bad(r, "the header is not a dictionary");
    while (!npy_take(r, '}')) {
        if (!npy_entry(r))
            return false;
        if (!npy_take(r, ',')) {
            if (!npy_take(r, '}'))
                return npy_bad(r, "expected a comma");
            break;
        }
    }
    npy_blank(r);
    if (r->at != r->end || r->end[-1] != '\n')
        return npy_bad(r, "the header does not end with its dictionary and a newline");
    if (!r->has_descr || !r->has_order || !r->has_shape)
        return npy_bad(r, "descr, fortran_order or shape is missing");
    return true;
}

/* ---- reading ---- */

/* Bytes of the header, from the magic and the version; 0 with an error. */
static size_t npy_header_length(npy_reader *r)
{
    unsigned char b[12];
    if (fread(b, 1, 8, r->f) != 8 || memcmp(b, "\x93NUMPY", 6) != 0)
        return npy_bad(r, "this is not a .npy file"), 0;
    if (b[6] < 1 || b[6] > 3 || b[7] != 0)
        return npy_bad(r, "unknown format version"), 0;
    const size_t wide = b[6] == 1 ? 2 : 4;
    if (fread(b + 8, 1, wide, r->f) != wide)
        return npy_bad(r, "the file ends in its header"), 0;
    size_t length = (size_t)b[8] | (size_t)b[9] << 8;
    if (wide == 4)
        length |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (length == 0 || length > NPY_HEADER_MAX)
        return npy_bad(r, "the header is empty or longer than 64 KiB"), 0;
    r->before_data = (int64_t)(8 + wide + length);
    return length;
}

static void npy_swap_bytes(char *data, size_t itemsize, int64_t n)
{
    for (; n > 0; n--, data += itemsize)
        for (size_t i = 0; i < itemsize / 2; i++) {
            const char kept = data[i];
            data[i] = data[itemsize - 1 - i];
            data[itemsize - 1 - i] = kept;
        }
}

/* The file holds just the bytes that its shape, which has been checked, needs. */
static bool npy_check_size(npy_reader *r, ag_ints shape)
{
    const int64_t need = ag__shape_numel(shape) * (int64_t)ag__itemsize(r->dtype);
    const int64_t have = r->size - r->before_data;
    ag__shape_text text;
    return have == need || ag_fail(r->c, AG_ERR_FORMAT,
                                   "ag_load_npy: " AG_PATH
                                   ": the data are %s than the shape says: %lld bytes for %s of "
                                   "%s",
                                   r->path, have < need ? "shorter" : "longer", (long long)have,
                                   ag__shape_string(&text, shape), ag_dtype_name(r->dtype));
}

/* t with its dimensions in the opposite order. */
static void npy_reverse_dims(ag_tensor *t)
{
    for (int i = 0; i < t->ndim / 2; i++) {
        const int k = t->ndim - 1 - i;
        const int64_t size = t->dims[i], stride = t->dims[t->ndim + i];
        t->dims[i] = t->dims[k];
        t->dims[k] = size;
        t->dims[t->ndim + i] = t->dims[t->ndim + k];
        t->dims[t->ndim + k] = stride;
    }
}

/* A tensor of the file's shape; column-major data are read as their transpose and copied. */
static ag_tensor *npy_read_data(npy_reader *r)
{
    int64_t shape[AG_MAX_DIMS];
    const ag_ints written = { r->shape, r->ndim };
    for (int i = 0; i < r->ndim; i++)
        shape[i] = r->shape[r->fortran ? r->ndim - 1 - i : i];
    if (!ag__check_shape(r->c, "ag_load_npy", written, r->dtype) || !npy_check_size(r, written))
        return NULL;
    ag_tensor *t = ag__tensor_new(r->c, r->dtype, r->ndim, shape);
    if (!t)
        return NULL;
    const size_t size = ag__itemsize(r->dtype), n = (size_t)t->numel;
    if (fread(t->storage->data, size, n, r->f) != n) {
        ag__tensor_unref(t);
        return ag__fail(r->c, AG_ERR_IO, "ag_load_npy: " AG_PATH ": the data cannot be read",
                        r->path);
    }
    if (r->swap)
        npy_swap_bytes(t->storage->data, size, t->numel);
    if (r->dtype == AG_BOOL)
        for (int64_t i = 0; i < t->numel; i++)
            ((uint8_t *)t->storage->data)[i] = ((uint8_t *)t->storage->data)[i] != 0;
    if (!r->fortran || r->ndim < 2)
        return t;
    npy_reverse_dims(t);
    ag_tensor *copy = ag__contiguous_copy(t, r->dtype);
    ag__tensor_unref(t);
    return copy;
}

static ag_tensor *npy_read(npy_reader *r)
{
    const size_t length = npy_header_length(r);
    char *header = length ? ag__alloc(r->c, length) : NULL;
    if (!header)
        return NULL;
    ag_tensor *t = NULL;
    r->at = r->start = header;
    r->end = header + length;
    if (fread(header, 1, length, r->f) != length)
        npy_bad(r, "the file ends in its header");
    else if (npy_header(r))
        t = npy_read_data(r);
    ag__free(r->c, header, length);
    return t;
}

ag_tensor *ag_load_npy(ag_context *c, const char *path)
{
    npy_reader r = { .c = c, .path = path };
    if (!c || !(r.f = ag__file_open(c, "ag_load_npy", path, &r.size)))
        return NULL;
    ag_tensor *t = npy_read(&r);
    fclose(r.f);
    return ag__give(t);
}

/* ---- writing ---- */

static const char *npy_code(ag_dtype d)
{
    static const char *const codes[AG_DTYPE_COUNT] = {
        [AG_F32] = "<f4", [AG_F64] = "<f8", [AG_F16] = "<f2", [AG_I8] = "|i1",   [AG_I16] = "<i2",
        [AG_I32] = "<i4", [AG_I64] = "<i8", [AG_U8] = "|u1",  [AG_BOOL] = "|b1",
    };
    return codes[d];
}

/* NumPy leaves room for the dimension that may grow to have 21 digits, the first. */
static int npy_growth(const ag_tensor *t)
{
    return t->ndim ? NPY_GROWTH_DIGITS - snprintf(NULL, 0, "%lld", (long long)t->dims[0]) : 0;
}

static bool npy_write(FILE *f, void *tensor)
{
    const ag_tensor *t = tensor;
    char header[1024] = { 0 };
    size_t n = 10;
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    n += (size_t)snprintf(header + n, sizeof header - n,
                          "{'descr': '%s', 'fortran_order': False, 'shape': (",
                          npy_code((ag_dtype)t->dtype));
    for (int i = 0; i < t->ndim; i++)
        n += (size_t)snprintf(header + n, sizeof header - n, i ? ", %lld" : "%lld",
                              (long long)t->dims[i]);
    n += (size_t)snprintf(header + n, sizeof header - n, "%s%*s", t->ndim == 1 ? ",), }" : "), }",
                          npy_growth(t), "");
    do
        header[n++] = ' ';
    while (n % 64 != 63);
    header[n++] = '\n';
    header[8] = (char)((n - 10) & 255);
    header[9] = (char)((n - 10) >> 8);
    const size_t size = ag__itemsize((ag_dtype)t->dtype), count = (size_t)t->numel;
    return fwrite(header, 1, n, f) == n && fwrite(ag__at(t), size, count, f) == count;
}

bool ag_save_npy(ag_tensor *t, const char *path)
{
    if (!ag__has_data("ag_save_npy", t))
        return false;
    if (!path)
        return ag_fail(t->c, AG_ERR_VALUE, "ag_save_npy: path is NULL");
    if (!npy_code((ag_dtype)t->dtype))
        return ag_fail(t->c, AG_ERR_DTYPE, "ag_save_npy: .npy files have no %s; convert with ag_to",
                       ag_dtype_name((ag_dtype)t->dtype));
    ag_tensor *flat = ag__ready(t, (ag_dtype)t->dtype);
    const bool ok = flat && ag__file_replace(t->c, "ag_save_npy", path, npy_write, flat);
    ag__tensor_unref(flat);
    return ok;
}
