/* Keys of the embedding cache: hashes of everything that determines the embeddings, namely the
 * token ids, the encoder's weights and config, the backend and the arithmetic. */
#include "internal.h"

#include <inttypes.h>
#include <stdio.h>

enum { SAMPLE_BYTES = 64 }; /* bytes hashed at the start, middle and end of a tensor */

/* Updates two 64-bit hashes in place, which the caller has begun: FNV-1a, and a variant with
 * rotation and another prime. They prevent accidental collisions, not deliberate ones. */
static void hash_bytes(uint64_t digest[2], const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) {
        digest[0] = (digest[0] ^ bytes[i]) * UINT64_C(0x100000001b3);
        digest[1] = ((digest[1] << 5 | digest[1] >> 59) ^ bytes[i]) * UINT64_C(0x9e3779b97f4a7c15);
    }
}

/* Updates the hashes with name, type and size in bytes of a tensor and with 64 bytes each of its
 * start, middle and end, which may overlap (if it has fewer: with all of it, three times). The
 * other data are not read. */
static void hash_tensor(uint64_t digest[2], const zi_tensor *t)
{
    const uint8_t *bytes = t->data;
    size_t sample = t->bytes < SAMPLE_BYTES ? t->bytes : SAMPLE_BYTES;
    hash_bytes(digest, t->name, strlen(t->name));
    hash_bytes(digest, &t->type, sizeof t->type);
    hash_bytes(digest, &t->bytes, sizeof t->bytes);
    hash_bytes(digest, bytes, sample);
    hash_bytes(digest, bytes + (t->bytes - sample) / 2, sample);
    hash_bytes(digest, bytes + t->bytes - sample, sample);
}

/* Updates the hashes with all fields of a text encoder's config, one by one, since padding bytes
 * are undefined. */
static void hash_config(uint64_t digest[2], const zi_qwen_config *c)
{
    const int counts[] = {c->layers, c->hidden,  c->heads,  c->kv_heads,    c->head_dim,
                          c->ffn,    c->qk_norm, c->biases, c->interleaved, c->vocab};
    hash_bytes(digest, counts, sizeof counts);
    hash_bytes(digest, &c->eps, sizeof c->eps);
    hash_bytes(digest, &c->rope_theta, sizeof c->rope_theta);
}

/* Computes model->text_digest and sets `digested`: a hash of the text encoder's config and of name,
 * type, size and some bytes of each tensor. The caller holds model->mutex. */
static void set_encoder_digest(zi_model *model)
{
    const zi_checkpoint *checkpoint = model->text.weights.checkpoint;
    uint64_t *digest = model->text_digest;
    digest[0] = UINT64_C(0xcbf29ce484222325);
    digest[1] = 1;
    for (size_t i = 0; checkpoint && i < checkpoint->tensor_count; i++)
        hash_tensor(digest, &checkpoint->tensors[i]);
    hash_config(digest, &model->config.text);
    model->digested = true;
}

void zi_embedding_key(zi_model *model, bool fast, const int32_t *ids, size_t count,
                      char key[ZI_EMBEDDING_KEY])
{
    const char *variant = model->engine->backend->variant;
    pthread_mutex_lock(&model->mutex);
    if (!model->digested) set_encoder_digest(model);
    pthread_mutex_unlock(&model->mutex);
    uint64_t digest[2] = {model->text_digest[0], model->text_digest[1]};
    /* Backends sum in different orders, so an entry is valid for the backend that computed it. */
    hash_bytes(digest, variant, strlen(variant));
    hash_bytes(digest, ZI_VERSION, strlen(ZI_VERSION)); /* arithmetic may be another */
    hash_bytes(digest, &fast, sizeof fast);
    hash_bytes(digest, ids, count * sizeof *ids);
    snprintf(key, ZI_EMBEDDING_KEY, "%016" PRIx64 "%016" PRIx64, digest[0], digest[1]);
}
