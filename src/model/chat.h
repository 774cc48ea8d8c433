/* Chat formats of language models. Chat templates are Jinja programs, which are not executed: the
 * format is recognised by strings in the template. Only one user turn and the start of the
 * assistant's turn are needed. */
#ifndef ZI_MODEL_CHAT_H
#define ZI_MODEL_CHAT_H

#include "model/tokenizer.h"

typedef struct {
    const char *begin, *end; /* text before and behind the user's message, with control tokens */
    const char *stop;        /* the token that ends the assistant's turn */
} zi_chat_format;

/* Detects the format from a chat template's text, or from the tokenizer's added tokens when text is
 * NULL; the token that ends a turn must be an added token in both cases. The strings of *out are
 * constants. path: the model named in errors. Fails with ZI_ERROR_UNSUPPORTED, *out unchanged, for
 * other formats than ChatML and Llama 3. */
bool zi_chat_format_detect(const char *path, const char *text, const zi_tokenizer *tokenizer,
                           zi_chat_format *out, zi_error *error) ZI_CHECKED;

/* Encodes a user message between the format's begin and end, so that the ids end with the start of
 * the assistant's turn; only the format's begin may hold a begin-of-sequence token. Names of
 * control tokens within the message are plain text. The caller frees *ids [*count] with free();
 * both are unchanged after a failure. */
bool zi_chat_encode(const zi_chat_format *chat, const zi_tokenizer *tokenizer, const char *question,
                    int32_t **ids, size_t *count, zi_error *error) ZI_CHECKED;

#endif
