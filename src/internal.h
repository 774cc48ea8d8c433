/* Internals that the files in src/ share: the loaded model and traces. */
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
    pthread_mutex_t mutex; /* guards the fields below; never held while a caller's callback runs */
    zi_preview preview;
    uint64_t text_digest[2]; /* of the text encoder's weights and config; valid if digested */
    bool digested;
};

/* Returns the largest head width, product depth and weights between submissions among all
 * operations of a model of these parts, for zi_session_open. */
zi_exec_limits zi_model_limits(const zi_qwen *encoder, const zi_transformer *transformer,
                               const zi_vae *decoder);

/* Computes the embedding cache's key of the token ids [count] in this model, on its backend's
 * variant (others sum in another order): 32 hexadecimal digits in lower case and a NUL. fast: as in
 * zi_session_open. Locks the model's mutex and hashes its text encoder on first use. */
void zi_embedding_key(zi_model *model, bool fast, const int32_t *ids, size_t count,
                      char key[ZI_EMBEDDING_KEY]);

/* The intermediate results that a trace file contains. All pointers are borrowed. */
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

/* The median of n values (1 or more), which are sorted in place; the mean of the middle two if n is
 * even (in bench.c). */
double zi_median(double *values, size_t n);

/* Writes a trace as a safetensors file with the tensors described in docs/trace.md. An existing
 * file is replaced, atomically. False, with *error set (out of memory, or writing failed): it
 * stays. */
bool zi_trace_write(const char *path, const zi_trace *trace, zi_error *error) ZI_CHECKED;

#endif
