/* A growing piece of text or bytes with a ceiling (after curl's dynbuf): appends can be chained
 * without checks, the first failure sticks and zi_text_take tells. */
#ifndef ZI_BASE_TEXT_H
#define ZI_BASE_TEXT_H

#include "base/error.h"

typedef struct {
    char *data; /* always NUL-terminated when not NULL */
    size_t size, capacity, ceiling;
    bool failed;   /* out of memory or over the ceiling */
    bool too_long; /* failed, since the ceiling was passed */
} zi_text;

/* Sets *text to an empty one that may grow to `ceiling` bytes, the closing NUL not counted.
 * Allocates nothing, and frees nothing that it had. */
void zi_text_init(zi_text *text, size_t ceiling);

/* Appends size bytes, which must not lie in text->data. When memory is short or the text would be
 * longer than the ceiling, it appends nothing and sets text->failed; after that all appends do
 * nothing. data may be NULL if size is 0. */
void zi_text_append(zi_text *text, const void *data, size_t size);

/* Appends a string as a whole; or nothing, and sets text->failed, when memory is short, the text
 * would be longer than the ceiling, or it has failed before. */
void zi_text_puts(zi_text *text, const char *string);

/* Appends formatted text as a whole; or nothing, and sets text->failed, when memory is short, the
 * text would be longer than the ceiling, or it has failed before. The arguments must not lie in
 * text->data. */
void zi_text_printf(zi_text *text, const char *format, ...) ZI_PRINTF(2, 3);

/* Frees the data. The text (not NULL) is empty again, with the same ceiling and without failure,
 * and can be used. */
void zi_text_free(zi_text *text);

/* Returns the data, with a closing NUL, which the caller frees ("" for an empty text); NULL after a
 * failure, or without memory for that "", and then the data is freed. The text is empty again, with
 * the same ceiling and without failure. */
char *zi_text_take(zi_text *text);

/* Returns the length in bytes (1 to 4) of the well-formed UTF-8 sequence at the start of data; 0
 * when there is none or it does not end within `size` bytes. size must be 1 or more. A NUL is a
 * sequence of 1. */
size_t zi_utf8_sequence(const char *data, size_t size);

/* Whether data is valid UTF-8 (no surrogates, no overlong forms, at most U+10FFFF). True for size
 * 0; a NUL is a valid character. */
bool zi_utf8_valid(const char *data, size_t size);

/* Writes a size in decimal units, rounded, from kB on with one decimal below 100 ("512 bytes", "1.2
 * GB", "345 MB"), to out and returns out. */
const char *zi_format_bytes(uint64_t bytes, char out[32]);

#endif
