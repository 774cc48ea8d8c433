/* Language models: what zi_qwen computes, with their tokenizer and what their files say about how
 * to ask them. */
#ifndef ZI_MODEL_LM_H
#define ZI_MODEL_LM_H

#include "model/chat.h"
#include "model/qwen.h"

typedef struct {
    zi_backend *backend; /* borrowed */
    zi_qwen qwen;
    zi_tokenizer *tokenizer;
    int32_t *stops; /* tokens that end a text */
    size_t stop_count;
    int32_t bos;         /* begins every text; -1: none does */
    char *chat_template; /* in Jinja; NULL: none */
    char *path;          /* for error texts */
} zi_lm;

/* backend: that of zi_assembly_open. options->path is a GGUF file, a folder with config.json,
 * weights and tokenizer as Hugging Face and MLX have them, a folder with one GGUF file, or an image
 * model (then the other options count, too), whose text encoder it is. Architectures: Qwen2, Qwen3
 * and Llama. */
bool zi_lm_load(const zi_model_options *options, zi_backend *backend, zi_lm *out,
                zi_error *error) ZI_CHECKED;

void zi_lm_free(zi_lm *lm);

#endif
