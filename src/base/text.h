/* A growing piece of text or bytes with a ceiling (after curl's dynbuf): appends can be chained
 * without checks, the first failure sticks and zi_text_take tells. */
#ifndef ZI_BASE_TEXT_H
#define ZI_BASE_TEXT_H

#include "base/error.h"

typedef struct {
    char *data; /* always NUL-terminated when not NULL */
    size_t size, capacity, ceiling;
    bool failed; /* out of memory or over the ceiling */
} zi_text;

void zi_text_init(zi_text *text, size_t ceiling);
void zi_text_append(zi_text *text, const void *data, size_t size);
void zi_text_puts(zi_text *text, const char *string);
void zi_text_printf(zi_text *text, const char *format, ...) ZI_PRINTF(2, 3);
void zi_text_free(zi_text *text);

/* The data in the caller's hands (free() it), or NULL after a failure; the text is empty again. */
char *zi_text_take(zi_text *text);

/* Length of the well-formed UTF-8 sequence at data (at most size bytes, 1 or more), 0 when there is
 * none. */
size_t zi_utf8_sequence(const char *data, size_t size);

/* Whether data is valid UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). */
bool zi_utf8_valid(const char *data, size_t size);

/* Writes a size in decimal units with two or three digits ("12.3 GB", "512 bytes") to out and
 * returns out. */
const char *zi_format_bytes(uint64_t bytes, char out[32]);

#endif
