/* The infotext of A1111, which stores generation parameters in images:
 *
 *     a cat, sleeping
 *     Negative prompt: dogs
 *     Steps: 9, Sampler: Euler, Schedule type: diffusers, CFG scale: 1, Seed: 42, ...
 *
 * Values with a comma, a colon or a newline are JSON strings. The prompts stand as they are, in as
 * many lines as they have. */
#ifndef ZI_IO_INFOTEXT_H
#define ZI_IO_INFOTEXT_H

#include "base/text.h"

/* Returns the text in new memory, for free(), or NULL when memory is short. NULL and empty strings
 * are left out (the prompt leaves an empty line), numbers never; cfg and shift must be finite. */
char *zi_infotext_format(const zi_infotext_fields *fields);

/* Appends ", KEY: VALUE", with the value as a JSON string where it has a comma, a colon, a quote, a
 * tab, a line break, or a space at its start. NULL and "" append nothing. Out of memory: sets
 * out->failed. */
void zi_infotext_put(zi_text *out, const char *key, const char *value);

/* zi_infotext_parse (zimage.h) gives exactly what was written here, with the one ambiguity of this
 * format: a line of the prompt that starts with "Negative prompt:" starts the negative prompt. */

#endif
