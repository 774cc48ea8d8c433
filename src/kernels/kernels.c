#include "kernels/kernels.h"

bool zi_kernels_select(const char *tier, zi_kernels *kernels, zi_error *error)
{
    if (tier && strcmp(tier, "ref") != 0)
        return zi_misuse(error, "kernel tier \"%s\" is unknown; this program has: ref", tier);
    zi_kernels_ref(kernels);
    return true;
}
