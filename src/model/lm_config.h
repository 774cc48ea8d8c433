/* Reads the config files and GGUF metadata of language models. Used by lm.c only. */
#ifndef ZI_MODEL_LM_CONFIG_H
#define ZI_MODEL_LM_CONFIG_H

#include "model/lm.h"

typedef struct {
    zi_qwen_config qwen;
    size_t group; /* MLX group size; 0: not stated */
    bool tied;    /* tie_word_embeddings is true: the head is the embedding */
    bool untied;  /* tie_word_embeddings is false; neither is set when the field is absent */
} zi_lm_config;

/* Reads a config.json of transformers or MLX into *out, which owns no memory, validates it, and
 * adds its end-of-sequence tokens to lm's stop tokens. Fails with ZI_ERROR_UNSUPPORTED for other
 * architectures than Qwen2, Qwen3 and Llama, and for features such as scaled rope. On failure *out
 * is undefined, and tokens may have been added. */
bool zi_lm_read_json_config(const char *path, zi_lm *lm, zi_lm_config *out,
                            zi_error *error) ZI_CHECKED;

/* Reads the network's config from GGUF metadata and validates it; group, tied and untied are 0 and
 * false. vocab: rows of the embedding, stored as given. Fails with ZI_ERROR_UNSUPPORTED for other
 * architectures than Qwen2, Qwen3 and Llama and for scaled rope, with ZI_ERROR_BAD_FORMAT for
 * missing keys; *out is then undefined. */
bool zi_lm_read_gguf_config(const zi_gguf *gguf, int vocab, zi_lm_config *out,
                            zi_error *error) ZI_CHECKED;

/* Reads stop tokens, bos and chat template from a folder's generation_config.json,
 * tokenizer_config.json and chat_template.jinja (whose template wins) into lm; missing files are
 * skipped. lm->tokenizer must be loaded. lm->bos is set only if add_bos_token is true. After a
 * failure lm keeps what was read. */
bool zi_lm_read_folder(const char *folder, zi_lm *lm, zi_error *error) ZI_CHECKED;

/* Adds an end-of-sequence token to lm->stops; a negative id and duplicates are ignored. False:
 * memory is short, lm is unchanged. */
bool zi_lm_add_stop(zi_lm *lm, int32_t id, zi_error *error) ZI_CHECKED;

#endif
