#include "kernels/kernels.h"

#include <stdio.h>

/* Each tier builds upon those before it. */
static const struct {
    const char *name;
    void (*overlay)(zi_kernels *kernels);
} tiers[] = {
    {"ref", zi_kernels_ref},
#ifdef __x86_64__
    {"avx2", zi_kernels_avx2},
    {"avx512", zi_kernels_avx512},
#endif
};
enum { TIERS = sizeof tiers / sizeof *tiers };

/* How many of the tiers this machine can run. The compiler's own check looks at the processor and
 * at what the operating system saves (cpuid and xgetbv). */
static int usable_tiers(void)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl"))
        return 2;
#endif
    return TIERS;
}

const char *const *zi_kernels_usable(void)
{
    static const char *const names[][TIERS + 1] = {
        {"ref"},
#ifdef __x86_64__
        {"ref", "avx2"},
        {"ref", "avx2", "avx512"},
#endif
    };
    return names[usable_tiers() - 1];
}

bool zi_kernels_select(const char *tier, zi_kernels *kernels, zi_error *error)
{
    int usable = usable_tiers(), chosen = usable - 1;
    if (tier)
        for (chosen = 0; chosen < usable && strcmp(tier, tiers[chosen].name) != 0;) chosen++;
    if (chosen == usable) {
        char list[64] = "";
        for (int i = 0; i < usable; i++)
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", i ? ", " : "",
                     tiers[i].name);
        return zi_misuse(error, "kernel tier \"%s\" is not to be had here; this machine runs: %s",
                         tier, list);
    }
    for (int i = 0; i <= chosen; i++) tiers[i].overlay(kernels);
    return true;
}
