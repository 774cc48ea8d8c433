/* What the files of a language model say. Only for lm.c. */
#ifndef ZI_MODEL_LM_CONFIG_H
#define ZI_MODEL_LM_CONFIG_H

#include "model/lm.h"

typedef struct {
    zi_qwen_config qwen;
    size_t group; /* of MLX's quantization; 0: not said */
    bool tied;    /* the head is said to be the embedding */
    bool untied;  /* or said not to be */
} zi_lm_config;

/* config.json of transformers or MLX; its tokens that end a text go to lm. */
bool zi_lm_read_json_config(const char *path, zi_lm *lm, zi_lm_config *out,
                            zi_error *error) ZI_CHECKED;

/* The metadata of a GGUF file; vocab: tokens in its tokenizer. */
bool zi_lm_read_gguf_config(const zi_gguf *gguf, int vocab, zi_lm_config *out,
                            zi_error *error) ZI_CHECKED;

/* generation_config.json, tokenizer_config.json and chat_template.jinja of a folder, as far as they
 * are there. */
bool zi_lm_read_folder(const char *folder, zi_lm *lm, zi_error *error) ZI_CHECKED;

bool zi_lm_add_stop(zi_lm *lm, int32_t id, zi_error *error) ZI_CHECKED;

#endif
