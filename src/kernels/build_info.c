/* What this build is made of, as one line: compiler, and the libraries behind the seams. */
#include "../../include/autograd.h"

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

const char *ag_build_info(void)
{
    return "autograd; " BUILD_COMPILER "; libraries: libm" BUILD_ONEDNN BUILD_CBLAS BUILD_SLEEF;
}

#undef BUILD_COMPILER
#undef BUILD_ONEDNN
#undef BUILD_CBLAS
#undef BUILD_SLEEF
