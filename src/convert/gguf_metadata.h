/* What a GGUF file says about a text encoder: its config and its tokenizer, as llama.cpp has them.
 */
#ifndef ZI_CONVERT_GGUF_METADATA_H
#define ZI_CONVERT_GGUF_METADATA_H

#include "convert/conversion.h"
#include "io/gguf.h"

#include <cjson/cJSON.h>

typedef struct {
    zi_gguf_out *values; /* what follows belongs to it */
    size_t count;
    cJSON *config, *tokenizer; /* texts are theirs */
    uint32_t numbers[9];
    float reals[2];
    int32_t *types; /* of tokens */
    const char **tokens, **merges;
    char *made; /* the texts that were made */
} zi_gguf_encoder_metadata;

/* Free it in any case. */
bool zi_gguf_encoder_metadata_create(const zi_conversion *conversion, zi_gguf_encoder_metadata *out,
                                     zi_error *error) ZI_CHECKED;
void zi_gguf_encoder_metadata_free(zi_gguf_encoder_metadata *values);

#endif
