/* Post-processing of a language model's output: UTF-8 decoding, removal of thinking, quoted text.
 */
#ifndef ZI_MODEL_ANSWER_H
#define ZI_MODEL_ANSWER_H

#include "base/text.h"

/* Decodes a byte stream into complete UTF-8 characters, since a token may end within one. Invalid
 * bytes become U+FFFD. Begins as {0}, with text initialised by zi_text_init. */
typedef struct {
    zi_text text;
    char pending[4]; /* bytes of an incomplete character */
    size_t pending_size;
} zi_utf8_stream;

void zi_utf8_stream_add(zi_utf8_stream *characters, const char *bytes, size_t size);

/* Ends the stream: an incomplete character becomes U+FFFD. */
void zi_utf8_stream_finish(zi_utf8_stream *characters);

/* Appends the answer in the model's output so far to `out`, an empty text: without a leading
 * <think>...</think>, without spaces at both ends, line breaks replaced by spaces. Trailing text
 * that may turn out to be removed is left out, so that a longer output only extends the answer. */
void zi_clean_answer(const char *output, zi_text *out);

/* ---- quoted text ---- */

typedef struct {
    const char *data;
    size_t size;
} zi_quote;

/* Finds the next text in quotation marks from *at on and moves *at behind it; false: there is none.
 * *out points into the text. */
bool zi_quote_next(const char **at, zi_quote *out);

/* Whether text is Chinese: it has Han characters, and neither kana nor hangul. */
bool zi_is_chinese(const char *text);

/* Byte offset below `size` at which to truncate text: the last end of a sentence, or of a clause,
 * in its second half, else the last boundary of words or characters; 0: there is none. */
size_t zi_text_cut_point(const char *text, size_t size);

#endif
