/* Language models: what zi_qwen computes, with their tokenizer and what their files say about how
 * to ask them. */
#ifndef ZI_MODEL_LM_H
#define ZI_MODEL_LM_H

#include "model/chat.h"
#include "model/pick.h"
#include "model/qwen.h"

typedef struct {
    zi_qwen qwen;
    zi_tokenizer *tokenizer;
    int32_t *stops; /* tokens that end a text */
    size_t stop_count;
    int32_t bos;         /* begins every text; -1: none does */
    char *chat_template; /* in Jinja; NULL: none */
    char *path;          /* for error texts */
} zi_lm;

/* options->path is a GGUF file, a folder with config.json, weights and tokenizer as Hugging Face
 * and MLX have them, a folder with one GGUF file, or an image model (then the other options count,
 * too), whose text encoder it is. Architectures: Qwen2, Qwen3 and Llama. */
bool zi_lm_load(const zi_model_options *options, zi_lm *out, zi_error *error) ZI_CHECKED;

void zi_lm_free(zi_lm *lm);

/* ---- generation ---- */

typedef struct {
    const int32_t *ids; /* [count]: what is to be continued */
    size_t count, most; /* most: tokens that may be added */
    zi_sampling sampling;
    /* Called with every new token but those that end a text; false: stop. May be NULL. */
    bool (*token)(void *user, int32_t id);
    bool (*layer_done)(void *user, double fraction); /* as in zi_run */
    void *user;
} zi_lm_request;

typedef struct {
    int32_t *ids; /* [count], free() */
    size_t count;
    bool ended;                         /* the model came to an end by itself */
    double read_seconds, write_seconds; /* for the prompt, and for what was added */
} zi_lm_result;

/* Takes its memory for itself. run: ops, and layer_done for cancelling. */
bool zi_lm_generate(zi_ops *ops, const zi_lm *lm, const zi_lm_request *request, zi_lm_result *out,
                    zi_error *error) ZI_CHECKED;

#endif
