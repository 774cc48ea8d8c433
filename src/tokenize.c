/* Tokens of texts for callers: their ids, and how many a prompt has. */
#include "internal.h"

#include <stdlib.h>
#include <string.h>

bool zi_count_tokens(const zi_model *model, const char *prompt, size_t *count, zi_error *error)
{
    int32_t *ids;
    if (!zi_tokenizer_encode_chat(model->tokenizer, prompt, SIZE_MAX, &ids, count, error))
        return false;
    free(ids);
    return true;
}

bool zi_tokenize(const zi_model_options *options, const char *text, bool chat, int32_t **ids,
                 size_t *count, zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error)) return false;
    if (!options->path && !options->text_encoder && !options->reference)
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "model",
                               "no model was named; name a model folder or file");
    zi_tokenizer *tokenizer = NULL;
    if (!zi_assembly_tokenizer(options, NULL, &tokenizer, error)) return false;
    bool ok = chat ? zi_tokenizer_encode_chat(tokenizer, text, ZI_PROMPT_TOKENS, ids, count, error)
                   : zi_tokenizer_encode(tokenizer, text, strlen(text), ids, count, error);
    zi_tokenizer_free(tokenizer);
    return ok;
}
