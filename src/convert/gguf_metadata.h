/* The metadata of a GGUF text encoder: its config and tokenizer under the keys that llama.cpp uses.
 */
#ifndef ZI_CONVERT_GGUF_METADATA_H
#define ZI_CONVERT_GGUF_METADATA_H

#include "convert/conversion.h"
#include "io/gguf.h"

#include <cjson/cJSON.h>

typedef struct {
    zi_gguf_out *values; /* [count], for zi_write_gguf; they point into the fields below */
    size_t count;
    cJSON *config, *tokenizer; /* own the strings of tokens and merges */
    uint32_t numbers[9];
    float reals[2];
    int32_t *types; /* token types, as tokenizer.ggml.token_type has them */
    const char **tokens, **merges;
    char *pad_names; /* storage of the generated names "[PAD123]" */
} zi_gguf_encoder_metadata;

/* Builds the metadata from the config and tokenizer of the conversion's text encoder; *out does not
 * refer to the conversion. ZI_ERROR_INCOMPLETE: there is no tokenizer; ZI_ERROR_UNSUPPORTED: it is
 * not Qwen3's. Call zi_gguf_encoder_metadata_free even after false. */
bool zi_gguf_encoder_metadata_create(const zi_conversion *conversion, zi_gguf_encoder_metadata *out,
                                     zi_error *error) ZI_CHECKED;

/* Frees what the metadata owns and zeroes it. A zeroed struct is allowed, NULL is not. */
void zi_gguf_encoder_metadata_free(zi_gguf_encoder_metadata *metadata);

#endif
