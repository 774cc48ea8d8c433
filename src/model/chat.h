/* How language models are asked: the forms of their conversations, told by what their templates
 * contain. Templates are programs in Jinja; only a question and the start of its answer are needed
 * here, which a few families write. */
#ifndef ZI_MODEL_CHAT_H
#define ZI_MODEL_CHAT_H

#include "model/tokenizer.h"

typedef struct {
    const char *begin, *end; /* around the question; tokens such as <|im_end|> count in both */
    const char *stop;        /* the token that ends an answer */
} zi_chat_format;

/* The form of a template (NULL: there is none, the tokenizer's added tokens tell). path names the
 * model in errors. */
bool zi_chat_format_detect(const char *path, const char *text, const zi_tokenizer *tokenizer,
                           zi_chat_format *out, zi_error *error) ZI_CHECKED;

/* The ids of a question; free() them. Nothing in the question counts as a control token. */
bool zi_chat_encode(const zi_chat_format *chat, const zi_tokenizer *tokenizer, const char *question,
                    int32_t **ids, size_t *count, zi_error *error) ZI_CHECKED;

#endif
