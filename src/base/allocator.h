/* Where memory comes from when the program does not say. */
#ifndef AG_BASE_ALLOCATOR_H
#define AG_BASE_ALLOCATOR_H

#include "../../include/autograd.h"

extern const ag_allocator ag__default_allocator;

#endif
