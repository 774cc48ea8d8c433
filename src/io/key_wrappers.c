#include "io/key_wrappers.h"

#include <string.h>

/* Whether the part of a name, `length` bytes up to its dot, is what a wrapper adds. */
static bool is_wrapper(const char *part, size_t length)
{
    static const char *const wrappers[] = {"module", "_orig_mod", "_fsdp_wrapped_module",
                                           "_checkpoint_wrapped_module"};
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++)
        if (strlen(wrappers[i]) == length && strncmp(part, wrappers[i], length) == 0) return true;
    return false;
}

const char *zi_key_drop_wrappers(const char *stored, char plain[ZI_MAX_KEY])
{
    size_t used = 0;
    if (strlen(stored) >= ZI_MAX_KEY) return stored;
    for (const char *part = stored, *dot; *part; part = dot) {
        dot = part + strcspn(part, ".");
        bool dropped = *dot && is_wrapper(part, (size_t)(dot - part));
        if (*dot) dot++;
        if (dropped) continue;
        memcpy(plain + used, part, (size_t)(dot - part));
        used += (size_t)(dot - part);
    }
    plain[used] = 0;
    return used == strlen(stored) ? stored : plain;
}

const char *zi_key_drop_holder(const char *name)
{
    static const char *const holders[] = {"net.", "model."};
    for (size_t i = 0; i < sizeof holders / sizeof *holders; i++) {
        size_t length = strlen(holders[i]);
        if (strncmp(name, holders[i], length) == 0) return name + length;
    }
    return NULL;
}

size_t zi_key_unknown_prefix(const char *stored, const zi_vae_depth *depth)
{
    /* Shorter names, such as norm.weight, are those of any model. Longer prefixes are not looked
     * for, so that no name takes much time. */
    enum { MIN_DOTS = 3, MAX_PARTS = 4 };
    zi_key keys[ZI_MAX_FUSED];
    size_t dots = 0;
    for (const char *c = stored; *c; c++) dots += *c == '.';
    if (zi_key_parse(stored, depth, keys)) return 0;
    const char *dot = strchr(stored, '.');
    for (int part = 0; dot && part < MAX_PARTS && dots > MIN_DOTS; part++, dots--) {
        if (zi_key_parse(dot + 1, depth, keys)) return (size_t)(dot - stored) + 1;
        dot = strchr(dot + 1, '.');
    }
    return 0;
}
