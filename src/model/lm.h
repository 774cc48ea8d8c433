/* Language models for prompt enhancement: network, tokenizer, stop tokens and chat template. */
#ifndef ZI_MODEL_LM_H
#define ZI_MODEL_LM_H

#include "model/chat.h"
#include "model/qwen.h"

typedef struct {
    zi_backend *backend; /* borrowed */
    zi_qwen qwen;
    zi_tokenizer *tokenizer;
    int32_t *stops; /* [stop_count] end-of-sequence tokens */
    size_t stop_count;
    int32_t bos;         /* token to put before every text; -1: none */
    char *chat_template; /* in Jinja; NULL: none */
    char *path;          /* for error texts */
    bool encoder;        /* it is the text encoder of an image model */
} zi_lm;

/* Loads options->path: a GGUF file, a folder with one GGUF file, a Hugging Face or MLX folder, or
 * an image model, which a GGUF file may be, too, and whose text encoder becomes the language model;
 * only then the other options count. Architectures: Qwen2, Qwen3, Llama. backend:
 * borrowed; NULL: only checks the weights. The caller calls zi_lm_free; *out is unchanged after a
 * failure. */
bool zi_lm_load(const zi_model_options *options, zi_backend *backend, zi_lm *out,
                zi_error *error) ZI_CHECKED;

/* Frees the network, the tokenizer and all else but the backend, and zeroes *lm. A zeroed struct is
 * allowed, NULL is not. */
void zi_lm_free(zi_lm *lm);

#endif
