/* What a language model says, as text: whole characters, without its thoughts, as one paragraph. */
#ifndef ZI_MODEL_ANSWER_H
#define ZI_MODEL_ANSWER_H

#include "base/text.h"

/* Bytes come in as tokens bring them, and go out as whole characters: what is no UTF-8 becomes
 * U+FFFD. Begins as {0} but for zi_text_init. */
typedef struct {
    zi_text text;
    char pending[4]; /* of a character that is not whole yet */
    size_t pending_size;
} zi_utf8_stream;

void zi_utf8_stream_add(zi_utf8_stream *characters, const char *bytes, size_t size);

/* No more bytes will come. */
void zi_utf8_stream_finish(zi_utf8_stream *characters);

/* An answer out of what the model has said so far, into new text: without a leading
 * <think>...</think> (or any part of it), spaces at both ends, and line breaks inside. While more
 * may come, what may turn out to be a part of these is held back, so that answers only grow. */
void zi_clean_answer(const char *output, zi_text *out);

/* ---- quoted text ---- */

typedef struct {
    const char *data;
    size_t size;
} zi_quote;

/* The next text in quotation marks at or behind *at, which moves on; false when there is none. */
bool zi_quote_next(const char **at, zi_quote *out);

/* Whether text is written in Chinese: Han characters, and none of Japan's and Korea's own. */
bool zi_is_chinese(const char *text);

/* The last place below `size` where a text can be cut: after a sentence, else after a part of one,
 * else between words or characters; 0 when there is none. */
size_t zi_text_cut_point(const char *text, size_t size);

#endif
