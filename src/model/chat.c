#include "model/chat.h"
#include "model/bpe.h"

#include <stdlib.h>
#include <string.h>

/* The format is the first of which all required strings are in the template, or, without a
 * template, among the added tokens. Models with optional thinking get an empty <think> block, which
 * turns it off. */
static const struct {
    const char *required[3];
    const char *think_token; /* replaces the third required string when there is no template; NULL:
                                nothing does */
    zi_chat_format chat;
} families[] = {
    {{"<|im_start|>", "<|im_end|>", "enable_thinking"},
     "<think>",
     {"<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
      "<|im_end|>"}},
    {{"<|im_start|>", "<|im_end|>"},
     NULL,
     {"<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"}},
    {{"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"},
     NULL,
     {"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n",
      "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"}},
};
enum { FAMILIES = sizeof families / sizeof *families };

bool zi_chat_format_detect(const char *path, const char *text, const zi_tokenizer *tokenizer,
                           zi_chat_format *out, zi_error *error)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        bool all = zi_tokenizer_added_token(tokenizer, families[i].chat.stop) >= 0;
        for (int j = 0; all && j < 3 && families[i].required[j]; j++) {
            const char *token = families[i].required[j];
            if (j == 2 && !text && families[i].think_token) token = families[i].think_token;
            all = text ? strstr(text, token) != NULL
                       : zi_tokenizer_added_token(tokenizer, token) >= 0;
        }
        if (!all) continue;
        *out = families[i].chat;
        return true;
    }
    return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                        text ? "its chat template is not supported; use a model with that of Qwen, "
                               "SmolLM (ChatML) or Llama 3"
                             : "has no chat template, nor the tokens of a supported one; "
                               "use an instruction-tuned Qwen, SmolLM or Llama 3");
}

/* Appends the ids of text to *out. allow_added_tokens: names of added tokens in it become these
 * tokens, else they are plain text. On failure a part of them may be appended; out->data stays
 * valid, and the caller frees it. */
static bool append_tokens(const zi_tokenizer *tokenizer, const char *text, bool allow_added_tokens,
                          zi_ids *out, zi_error *error)
{
    int32_t *ids;
    size_t count;
    bool ok = allow_added_tokens
                  ? zi_tokenizer_encode(tokenizer, text, strlen(text), &ids, &count, error)
                  : zi_tokenizer_encode_plain(tokenizer, text, strlen(text), &ids, &count, error);
    if (!ok) return false;
    for (size_t i = 0; ok && i < count; i++) ok = zi_ids_push(out, ids[i], error);
    free(ids);
    return ok;
}

bool zi_chat_encode(const zi_chat_format *chat, const zi_tokenizer *tokenizer, const char *question,
                    int32_t **ids, size_t *count, zi_error *error)
{
    zi_ids list = {.capacity = 64};
    list.data = malloc(list.capacity * sizeof *list.data);
    if (!list.data) return zi_error_no_memory(error, list.capacity);
    if (!append_tokens(tokenizer, chat->begin, true, &list, error) ||
        !append_tokens(tokenizer, question, false, &list, error) ||
        !append_tokens(tokenizer, chat->end, true, &list, error)) {
        free(list.data);
        return false;
    }
    *ids = list.data;
    *count = list.count;
    return true;
}
