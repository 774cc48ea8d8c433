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

/* Appends the characters that these bytes complete to the stream's text, U+FFFD for invalid bytes.
 * Bytes of a character that is still incomplete are kept for the next call. Memory is short:
 * text.failed is set. */
void zi_utf8_stream_add(zi_utf8_stream *stream, const char *bytes, size_t size);

/* Ends the stream: appends one U+FFFD if bytes of an incomplete character are pending. Frees
 * nothing; more bytes may follow. Memory is short: text.failed is set. */
void zi_utf8_stream_finish(zi_utf8_stream *stream);

/* Appends the answer in the model's output to `out`, an empty text: without thoughts
 * (<think>...</think>, also not closed, and all text before a </think> that was not opened),
 * control tokens such as <|im_end|> and control characters; white space at both ends is removed,
 * each run of it with a line break replaced by one space. ended false: more output may come, and
 * the end of the answer is held back while it may become a control token; a longer output then only
 * extends the answer, unless it has a </think> that was not opened. Memory is short: out->failed is
 * set. */
void zi_clean_answer(const char *output, bool ended, zi_text *out);

/* ---- quoted text ---- */

typedef struct {
    const char *data;
    size_t size;
} zi_quote;

/* Finds the next non-empty text between quotation marks of one kind (straight double, curly,
 * guillemets or CJK) from *at on, passing over a mark that is not closed. Sets *out to it, without
 * the marks and not copied, and *at behind the closing mark. False: there is none, *at is at the
 * end of the text and *out is untouched. */
bool zi_quote_next(const char **at, zi_quote *out);

/* Whether text, valid UTF-8, is Chinese: it has Han characters (below U+A000; the rarer ones beyond
 * do not count), and neither kana nor hangul. */
bool zi_is_chinese(const char *text);

/* Byte offset below `size` at which to truncate text, valid UTF-8: behind its last end of a
 * sentence, else of a clause, where that keeps more than half of `size`; else at the last white
 * space or behind the last character that is not ASCII. 0: there is none. A text shorter than size
 * is cut, too. */
size_t zi_text_cut_point(const char *text, size_t size);

#endif
