/* Text to token ids, as a byte-level BPE tokenizer of the Qwen kind does it: added tokens are cut
 * out first, the rest is brought to NFC, split into words by a regular expression, and the bytes
 * of each word are merged pair by pair (Sennrich et al. 2016; byte alphabet of GPT-2). */
#ifndef ZI_MODEL_TOKENIZER_H
#define ZI_MODEL_TOKENIZER_H

#include "io/gguf.h"

/* Never changes after loading: several threads may use one at a time. */
typedef struct zi_tokenizer zi_tokenizer;

/* From a folder with tokenizer.json, or with vocab.json, merges.txt and tokenizer_config.json.
 * Whatever these files ask for and this code does not do is an error. */
bool zi_tokenizer_load(const char *dir, zi_tokenizer **out, zi_error *error) ZI_CHECKED;

/* From the metadata of a GGUF file: a byte-level one (tokenizer.ggml.model gpt2) that splits words
 * as qwen2, llama-bpe or smollm do. */
bool zi_tokenizer_load_gguf(const zi_gguf *gguf, zi_tokenizer **out, zi_error *error) ZI_CHECKED;

void zi_tokenizer_free(zi_tokenizer *tokenizer);

/* What a GGUF file says about texts for its model; of a folder nothing is known. */
typedef struct {
    int32_t bos, eos;          /* the tokens that begin and end a text; -1: none */
    bool add_bos;              /* texts shall begin with bos, which is there */
    const char *chat_template; /* in Jinja; NULL: none */
} zi_tokenizer_usage;

const zi_tokenizer_usage *zi_tokenizer_get_usage(const zi_tokenizer *tokenizer);

/* The ids [count] of UTF-8 text, nothing added; free() them (never NULL). NUL bytes are text. */
bool zi_tokenizer_encode(const zi_tokenizer *tokenizer, const char *text, size_t size,
                         int32_t **ids, size_t *count, zi_error *error) ZI_CHECKED;

/* The same where the names of added tokens are text as any other. */
bool zi_tokenizer_encode_plain(const zi_tokenizer *tokenizer, const char *text, size_t size,
                               int32_t **ids, size_t *count, zi_error *error) ZI_CHECKED;

/* zi_tokenizer_encode for a prompt in the chat form of Qwen3 with thinking enabled: a user's turn
 * and the start of the assistant's. Only the first max_ids ids (1 or more) are kept: a long prompt
 * loses the assistant's start. */
bool zi_tokenizer_encode_chat(const zi_tokenizer *tokenizer, const char *prompt, size_t max_ids,
                              int32_t **ids, size_t *count, zi_error *error) ZI_CHECKED;

/* One more than the largest id. */
int32_t zi_tokenizer_vocab_size(const zi_tokenizer *tokenizer);

/* The id of an added token such as "<|im_end|>"; -1 when there is none of this name. */
int32_t zi_tokenizer_added_token(const zi_tokenizer *tokenizer, const char *name);

/* The bytes that an id stands for, owned by the tokenizer; false when there is no such id. One
 * token may be a part of a UTF-8 sequence. */
bool zi_tokenizer_bytes(const zi_tokenizer *tokenizer, int32_t id, const char **bytes,
                        size_t *size);

#endif
