/* What a loaded model consists of. */
#ifndef ZI_INTERNAL_H
#define ZI_INTERNAL_H

#include "model/assembly.h"
#include "model/qwen.h"
#include "model/transformer.h"
#include "preview.h"
#include "session.h"

#include <pthread.h>

struct zi_model {
    zi_engine *engine; /* borrowed */
    char *name;
    char *warning; /* for the user; NULL: none */
    zi_config config;
    zi_tokenizer *tokenizer;
    zi_qwen text;
    zi_transformer transformer;
    zi_vae vae;
    pthread_mutex_t mutex; /* of what sessions change; no callback of a caller while it is held */
    zi_preview preview;
    uint64_t text_digest[2]; /* of the encoder's weights, once it is asked for */
    bool digested;
};

/* What sessions of a model must be made for. */
zi_exec_limits zi_model_limits(const zi_config *config);

/* The key of a text's embeddings. */
void zi_embedding_key(zi_model *model, bool fast, const int32_t *ids, size_t count,
                      char key[ZI_EMBEDDING_KEY]);

/* What a traced request remembers. Pointers are borrowed. */
typedef struct {
    const int32_t *ids;
    size_t id_count;
    const float *embeds; /* [id_count, width] */
    size_t embed_width;
    const float *sigmas;  /* [steps + 1] */
    const float *latents; /* [steps + 1, channels, height, width] */
    const float *image;   /* [3, 8 height, 8 width] */
    size_t steps, channels, height, width;
} zi_trace;

/* Of the n values, which it sorts (bench.c). */
double zi_median(double *values, size_t n);

/* Writes the tensors that docs/trace.md describes. */
bool zi_trace_write(const char *path, const zi_trace *trace, zi_error *error) ZI_CHECKED;

#endif
