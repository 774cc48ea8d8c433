/* Text to token ids, as a byte-level BPE tokenizer of the Qwen kind does it: added tokens are cut
 * out first, the rest is brought to NFC, split into words by a regular expression, and the bytes
 * of each word are merged pair by pair (Sennrich et al. 2016; byte alphabet of GPT-2). */
#ifndef ZI_MODEL_TOKENIZER_H
#define ZI_MODEL_TOKENIZER_H

#include "io/gguf.h"

/* Immutable after loading, so several threads may use it at the same time. */
typedef struct zi_tokenizer zi_tokenizer;

/* Loads a folder with tokenizer.json or, only without it, with vocab.json, merges.txt and
 * tokenizer_config.json. Fails with ZI_ERROR_UNSUPPORTED for a feature that is not supported,
 * with ZI_ERROR_BAD_FORMAT for damaged files, with ZI_ERROR_NOT_FOUND without any. The caller calls
 * zi_tokenizer_free; *out is unchanged after a failure. */
bool zi_tokenizer_load(const char *dir, zi_tokenizer **out, zi_error *error) ZI_CHECKED;

/* Loads a tokenizer from GGUF metadata, of which it keeps copies. Supported are byte-level BPE
 * (tokenizer.ggml.model "gpt2") with the pre-tokenizers qwen2, llama-bpe and smollm; others are
 * ZI_ERROR_UNSUPPORTED, none or a damaged one ZI_ERROR_BAD_FORMAT. The caller calls
 * zi_tokenizer_free; *out is unchanged after a failure. */
bool zi_tokenizer_load_gguf(const zi_gguf *gguf, zi_tokenizer **out, zi_error *error) ZI_CHECKED;

/* Frees a tokenizer. NULL is allowed. */
void zi_tokenizer_free(zi_tokenizer *tokenizer);

/* Special tokens and chat template of a GGUF file; a folder has none (-1, false, NULL). */
typedef struct {
    int32_t bos, eos;          /* begin- and end-of-sequence tokens; -1: none */
    bool add_bos;              /* texts must begin with bos, which is then set */
    const char *chat_template; /* in Jinja; NULL: none */
} zi_tokenizer_usage;

/* The special tokens and chat template that the files name. Owned by the tokenizer; never NULL. */
const zi_tokenizer_usage *zi_tokenizer_get_usage(const zi_tokenizer *tokenizer);

/* Encodes UTF-8 text, NUL bytes included, without adding special tokens; names of added tokens in
 * it become these tokens. The caller frees *ids [*count], not NULL even for an empty text, with
 * free(); both are unchanged after a failure. ZI_ERROR_INVALID_ARGUMENT: not UTF-8, over 64 MiB, or
 * 257 combining marks in a row (if NFC). ZI_ERROR_BAD_FORMAT: the splitting pattern takes too many
 * steps. */
bool zi_tokenizer_encode(const zi_tokenizer *tokenizer, const char *text, size_t size,
                         int32_t **ids, size_t *count, zi_error *error) ZI_CHECKED;

/* Encodes UTF-8 text, with the outputs and failures of zi_tokenizer_encode, but names of added
 * tokens in it are encoded as plain text. */
bool zi_tokenizer_encode_plain(const zi_tokenizer *tokenizer, const char *text, size_t size,
                               int32_t **ids, size_t *count, zi_error *error) ZI_CHECKED;

/* Encodes a prompt, as zi_tokenizer_encode does, in Qwen3's chat format with thinking enabled (no
 * empty <think> block): the user's turn and the start of the assistant's. *ids is cut to max_ids
 * ids (1 or more), so a long prompt loses the assistant's start. The caller frees *ids. Also fails,
 * with ZI_ERROR_BAD_FORMAT, if the tokenizer has no <|im_start|> or <|im_end|>. */
bool zi_tokenizer_encode_chat(const zi_tokenizer *tokenizer, const char *prompt, size_t max_ids,
                              int32_t **ids, size_t *count, zi_error *error) ZI_CHECKED;

/* One more than the largest id, those of added tokens included; ids below it may be unused. */
int32_t zi_tokenizer_vocab_size(const zi_tokenizer *tokenizer);

/* The id of an added token such as "<|im_end|>"; -1 when there is none of this name. */
int32_t zi_tokenizer_added_token(const zi_tokenizer *tokenizer, const char *name);

/* Sets *bytes [*size] to the bytes of a token, owned by the tokenizer and without closing NUL;
 * false: no token has this id, nothing is set. They may be only a part of a UTF-8 sequence. */
bool zi_tokenizer_bytes(const zi_tokenizer *tokenizer, int32_t id, const char **bytes,
                        size_t *size);

#endif
