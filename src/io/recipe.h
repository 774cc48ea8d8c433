/* The A1111 `parameters` text, in which pictures carry how they were made:
 *
 *     a cat, sleeping
 *     Negative prompt: dogs
 *     Steps: 9, Sampler: Euler, Schedule type: diffusers, CFG scale: 1, Seed: 42, ...
 *
 * Values with a comma, a colon or a newline are JSON strings. The prompts stand as they are, in as
 * many lines as they have. */
#ifndef ZI_IO_RECIPE_H
#define ZI_IO_RECIPE_H

#include "base/error.h"

typedef struct {
    const char *prompt, *negative, *model, *schedule; /* UTF-8 */
    const char *original; /* the prompt before a language model rewrote it */
    int steps, width, height;
    uint64_t seed;
    double cfg; /* neg + c (pos - neg): 1 where our own guidance is 0 */
    double shift;
} zi_recipe_fields;

/* The text in new memory, or NULL when memory is short. NULL and empty strings are left out (the
 * prompt leaves an empty line); cfg and shift must be finite. */
char *zi_recipe_format(const zi_recipe_fields *fields);

/* Reads any A1111 text. What it does not state is 0 or "", and unknown keys are ignored; a value
 * that is no number where one belongs is an error. Without a line of settings at the end all is
 * prompt. The strings live in *storage: free() it after use.
 *
 * What zi_recipe_format wrote comes back exactly, with the one ambiguity of this format: a line of
 * the prompt that starts with "Negative prompt:" starts the negative prompt. */
bool zi_recipe_parse(const char *text, zi_recipe_fields *out, char **storage,
                     zi_error *error) ZI_CHECKED;

#endif
