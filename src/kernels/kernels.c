#include "kernels/kernels.h"

#include <stdio.h>
#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

#ifdef __x86_64__
/* Whether machine and operating system support AVX2, FMA and F16C. The compiler's checks look at
 * both (cpuid and xgetbv); F16C, which Clang 14 does not know, is read from cpuid and needs saved
 * what AVX2 needs. */
static bool has_avx2(void)
{
    enum { F16C = 1 << 29 };
    unsigned a, b, c, d;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &a, &b, &c, &d) && c & F16C;
}

/* Whether machine and system support AVX-VNNI (on 256-bit registers), and all that has_avx2 asks
 * for. */
static bool has_avxvnni(void)
{
    enum { AVXVNNI = 1 << 4 };
    unsigned a, b, c, d;
    return has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & AVXVNNI;
}

/* Whether machine and system support AVX-512 F, BW, DQ and VL, and all that has_avx2 asks for. */
static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/* Whether machine and system support AVX-512 VNNI, and all that has_avx512 asks for. */
static bool has_avx512vnni(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512vnni");
}
#endif

#if defined(__aarch64__) && defined(__linux__)
/* Whether the processor has dot products of signed bytes (Linux on arm64). */
static bool has_dotprod(void)
{
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
}

/* Whether the processor has products of matrices of bytes, and dot products (Linux on arm64). */
static bool has_i8mm(void)
{
    return has_dotprod() && getauxval(AT_HWCAP2) & HWCAP2_I8MM;
}
#elif defined(__aarch64__) && defined(__APPLE__)
/* Whether an integer sysctl of macOS exists and is not 0. */
static bool has_sysctl(const char *name)
{
    int value = 0;
    size_t size = sizeof value;
    return sysctlbyname(name, &value, &size, NULL, 0) == 0 && value;
}

/* Whether the processor has dot products of signed bytes (macOS). */
static bool has_dotprod(void)
{
    return has_sysctl("hw.optional.arm.FEAT_DotProd");
}

/* Whether the processor has products of matrices of bytes, and dot products (macOS). */
static bool has_i8mm(void)
{
    return has_dotprod() && has_sysctl("hw.optional.arm.FEAT_I8MM");
}
#elif defined(__aarch64__)
/* Always false: no way is known to ask other systems on arm64 for dot products of bytes. */
static bool has_dotprod(void)
{
    return false;
}

/* Always false: no way is known to ask other systems on arm64 for products of matrices of bytes. */
static bool has_i8mm(void)
{
    return false;
}
#endif

/* Returns true: for tiers that every machine of the architecture can run. */
static bool always(void)
{
    return true;
}

/* Worst first. Each tier overwrites slots of the one named by `base`. */
static const struct tier {
    const char *name;
    int base; /* index, or -1 */
    bool (*usable)(void);
    void (*overlay)(zi_kernels *kernels);
} tiers[] = {
    {"ref", -1, always, zi_kernels_ref},
#ifdef __x86_64__
    {"avx2", 0, has_avx2, zi_kernels_avx2},
    {"avxvnni", 1, has_avxvnni, zi_kernels_avxvnni},
    {"avx512", 1, has_avx512, zi_kernels_avx512},
    {"avx512vnni", 3, has_avx512vnni, zi_kernels_avx512vnni},
#elif defined(__aarch64__)
    {"neon", 0, always, zi_kernels_neon},
    {"neon-dotprod", 1, has_dotprod, zi_kernels_neon_dotprod},
    {"neon-i8mm", 2, has_i8mm, zi_kernels_neon_i8mm},
#endif
};
enum { TIERS = sizeof tiers / sizeof *tiers };

const char *zi_kernels_tier(size_t index, bool *usable)
{
    if (index >= TIERS) return NULL;
    *usable = tiers[index].usable();
    return tiers[index].name;
}

/* Fills the whole table for tier number `index`, from 0 and less than TIERS: first that of the tier
 * it is based on, then its own slots on top. Does not check the machine. */
static void fill_table(int index, zi_kernels *kernels)
{
    if (tiers[index].base >= 0) fill_table(tiers[index].base, kernels);
    tiers[index].overlay(kernels);
}

bool zi_kernels_select(const char *name, zi_kernels *kernels, zi_error *error)
{
    char list[96] = "";
    int chosen = -1;
    for (int i = 0; i < TIERS; i++) {
        if (!tiers[i].usable()) continue;
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", list[0] ? ", " : "",
                 tiers[i].name);
        if (!name || strcmp(name, tiers[i].name) == 0) chosen = i;
    }
    if (chosen < 0)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "cpu",
                            "\"%s\" is no set of processor instructions that this machine has; "
                            "choose one of %s, or leave it out for the best one",
                            name, list);
    fill_table(chosen, kernels);
    return true;
}
