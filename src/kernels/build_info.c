/*
 * What this build is made of, as one line: compiler, the libraries behind the seams, and the
 * instruction set that the pointwise loops use here.
 */
#include "pointwise.h"

#if defined(__clang__)
#define BUILD_COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define BUILD_COMPILER "gcc " __VERSION__
#else
#define BUILD_COMPILER "C compiler"
#endif

#ifdef AG_HAVE_ONEDNN
#define BUILD_ONEDNN " onednn"
#else
#define BUILD_ONEDNN ""
#endif
#ifdef AG_HAVE_CBLAS
#define BUILD_CBLAS " cblas"
#else
#define BUILD_CBLAS ""
#endif
#ifdef AG_HAVE_SLEEF
#define BUILD_SLEEF " sleef"
#else
#define BUILD_SLEEF ""
#endif

#define BUILD_LINE                                                                                 \
    "autograd; " BUILD_COMPILER "; libraries: libm" BUILD_ONEDNN BUILD_CBLAS BUILD_SLEEF           \
    "; pointwise: "

const char *ag_build_info(void)
{
    static const char *const lines[] = { /* in the order of ag__loop_sets */
#ifdef __x86_64__
                                         BUILD_LINE "sse2", BUILD_LINE "avx2", BUILD_LINE "avx512f"
#else
                                         BUILD_LINE "128 bits"
#endif
    };
    int n;
    ag__loop_sets(&n);
    return lines[n - 1];
}

#undef BUILD_COMPILER
#undef BUILD_ONEDNN
#undef BUILD_CBLAS
#undef BUILD_SLEEF
#undef BUILD_LINE
