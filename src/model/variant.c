#include "model/variant.h"
#include "base/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *zi_variant_name(zi_variant variant)
{
    return variant == ZI_VARIANT_TURBO  ? "Z-Image-Turbo"
           : variant == ZI_VARIANT_BASE ? "Z-Image (base)"
                                        : "Z-Image";
}

void zi_variant_defaults(zi_variant variant, int *steps, double *guidance)
{
    *steps = variant == ZI_VARIANT_BASE ? 28 : 9;
    *guidance = variant == ZI_VARIANT_BASE ? 4 : 0;
}

zi_scheduler_config zi_variant_scheduler(zi_variant variant)
{
    zi_scheduler_config scheduler = zi_config_z_image_turbo().scheduler;
    if (variant == ZI_VARIANT_BASE) scheduler.shift = 6;
    return scheduler;
}

zi_variant zi_variant_of_shift(double shift)
{
    return shift >= 5.5 ? ZI_VARIANT_BASE : ZI_VARIANT_TURBO;
}

/* ---- names ---- */

enum { MAX_WORD = 32 };

/* Cuts the next word, letters and digits, from *text into `word`, in lower case and cut to its
 * size. False: there is none. */
static bool next_word(const char **text, const char *end, char word[MAX_WORD])
{
    size_t length = 0;
    while (*text < end && !isalnum((unsigned char)**text)) ++*text;
    for (; *text < end && isalnum((unsigned char)**text); ++*text)
        if (length + 1 < MAX_WORD) word[length++] = (char)tolower((unsigned char)**text);
    word[length] = 0;
    return length > 0;
}

/* Whether a word of a file's name only says how the weights are stored: a number, or a precision or
 * file format. */
static bool is_format_word(const char *word)
{
    static const char *const words[] = {
        "all",       "in",          "one",    "aio",   "bit",     "bits",      "bf16",  "f16",
        "fp16",      "f32",         "fp32",   "fp4",   "fp8",     "int4",      "int8",  "mxfp4",
        "mxfp8",     "nvfp4",       "nl",     "xs",    "k",       "s",         "m",     "l",
        "xl",        "ud",          "e4m3fn", "e5m2",  "mlx",     "gguf",      "comfy", "comfyui",
        "diffusers", "safetensors", "scaled", "mixed", "convrot", "tensorwise"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(word, words[i])) return true;
    if (word[0] == 'i' && word[1] == 'q') word++;
    if (word[0] == 'q') word++;
    size_t digits = strspn(word, "0123456789");
    return digits && (!word[digits] || !strcmp(word + digits, "bit"));
}

/* By a name: Turbo if it has the word turbo (but not "de" before it, as models have from which the
 * distillation was trained away); base if it has the word base, or nothing but Z-Image and words
 * that say how the weights are stored. Unknown otherwise, and without "Z-Image". */
static zi_variant variant_of_name(const char *name, size_t size)
{
    const char *at = name;
    char word[MAX_WORD], before[MAX_WORD] = "";
    bool named = false, turbo = false, base = false, other = false;
    while (next_word(&at, name + size, word)) {
        named |= !strcmp(word, "zimage") || (!strcmp(before, "z") && !strcmp(word, "image"));
        turbo |= !strcmp(word, "turbo") || !strcmp(word, "zimageturbo");
        base |= !strcmp(word, "base");
        other |= strcmp(word, "z") && strcmp(word, "image") && strcmp(word, "zimage") &&
                 strcmp(word, "base") && !is_format_word(word);
        if (!strcmp(word, "turbo") && !strcmp(before, "de")) return ZI_VARIANT_UNKNOWN;
        memcpy(before, word, sizeof before);
    }
    if (turbo) return base ? ZI_VARIANT_UNKNOWN : ZI_VARIANT_TURBO;
    return named && (base || !other) ? ZI_VARIANT_BASE : ZI_VARIANT_UNKNOWN;
}

/* ---- what is known of a model ---- */

/* By the name of a repository or model in a URL or a name: the part behind the last slash. */
static zi_variant variant_of_text(zi_gguf_text text)
{
    size_t start = text.size;
    while (start && text.data[start - 1] != '/') start--;
    return variant_of_name(text.data + start, text.size - start);
}

/* By the metadata of a GGUF file: its base models' repositories and names, then its own name. */
static zi_variant variant_of_gguf(const zi_gguf *gguf)
{
    static const char *const keys[] = {"general.base_model.0.repo_url", "general.base_model.0.name",
                                       "general.base_model.1.repo_url", "general.base_model.1.name",
                                       "general.name"};
    for (size_t i = 0; gguf && i < sizeof keys / sizeof *keys; i++) {
        zi_gguf_text text;
        if (!zi_gguf_find(gguf, keys[i]) || !zi_gguf_string(gguf, keys[i], &text, NULL)) continue;
        zi_variant variant = variant_of_text(text);
        if (variant) return variant;
    }
    return ZI_VARIANT_UNKNOWN;
}

zi_variant zi_variant_recognise(const char *path, const zi_gguf *gguf)
{
    zi_variant variant = variant_of_gguf(gguf);
    char *name = variant ? NULL : zi_path_basename(path);
    if (name) variant = variant_of_name(name, strlen(name));
    free(name);
    const char *repository = strstr(path, "/models--");
    if (variant || !repository) return variant;
    repository = strstr(repository + 9, "--"); /* models--OWNER--NAME */
    return repository ? variant_of_name(repository + 2, strcspn(repository + 2, "/"))
                      : ZI_VARIANT_UNKNOWN;
}
