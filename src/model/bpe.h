/* Byte-pair encoding: a vocabulary, the merges in order of their rank, and the encoding of a word.
 */
#ifndef ZI_MODEL_BPE_H
#define ZI_MODEL_BPE_H

#include "base/text.h"

/* Ids are below this, and there are at most as many merges (Qwen3: 151,669 and 151,387). */
enum { ZI_BPE_LIMIT = 1 << 20 };

typedef struct {
    uint32_t at, size; /* offset and size of its bytes in zi_bpe.texts; size 0: the id is unused */
    bool raw;          /* the text is literal, not in GPT-2's byte alphabet */
} zi_bpe_token;

typedef struct {
    int32_t left, right;
    uint32_t rank; /* UINT32_MAX: an empty slot of the table */
} zi_bpe_pair;

typedef struct {
    zi_text texts;
    zi_bpe_token *tokens; /* [ZI_BPE_LIMIT] by id, size of them used */
    int32_t size;         /* one more than the largest id */
    int32_t *names;       /* hash table of ids by text, -1 is empty; once sealed: see whole_words */
    uint32_t names_mask;
    /* A word that is itself a token is encoded as that token, without merging. Set before sealing:
     * names then stays, keyed by bytes; otherwise it is freed. */
    bool whole_words;
    /* Bytes without a token are allowed and dropped from texts, as SmolLM does with 21 rare bytes.
     * Set before sealing, which otherwise fails for them. */
    bool gaps;
    zi_bpe_pair *pairs; /* hash table of the merges */
    uint32_t pairs_mask;
    int32_t *merged; /* [merges] the token that each merge produces, by rank */
    uint32_t merges;
    int32_t byte_ids[256]; /* -1: none */
} zi_bpe;

/* Building: zi_bpe_init with the number of tokens and merges, zi_bpe_add_token for all tokens, then
 * zi_bpe_add_merge in order of rank, then zi_bpe_seal, after which only encoding is allowed. Texts
 * must be valid UTF-8. path: the file named in errors. */

/* Makes *bpe (whose old contents are not freed) an empty vocabulary with room for these numbers of
 * tokens and merges. More than ZI_BPE_LIMIT of either are ZI_ERROR_UNSUPPORTED; *bpe is zeroed
 * after a failure. path: for errors only. */
bool zi_bpe_init(zi_bpe *bpe, const char *path, size_t tokens, size_t merges,
                 zi_error *error) ZI_CHECKED;

/* Adds a token with a copy of its text, in any order of ids. raw: the text is literal, else it is
 * in GPT-2's byte alphabet. Fails with ZI_ERROR_BAD_FORMAT, nothing added, if the text is empty,
 * the text or the id is there already, or the id is not in 0..ZI_BPE_LIMIT - 1. Call it before all
 * merges, at most as often as zi_bpe_init was told. */
bool zi_bpe_add_token(zi_bpe *bpe, const char *path, const char *text, size_t size, int32_t id,
                      bool raw, zi_error *error) ZI_CHECKED;

/* Adds the merge of two tokens, given by their texts as added, with the next rank. Fails with
 * ZI_ERROR_BAD_FORMAT, nothing added, unless left, right and both together (at most 1024 bytes) are
 * tokens, and if the pair is there already. Call it at most as often as zi_bpe_init was told. */
bool zi_bpe_add_merge(zi_bpe *bpe, const char *path, const char *left, size_t left_size,
                      const char *right, size_t right_size, zi_error *error) ZI_CHECKED;

/* Ends building: replaces texts in GPT-2's byte alphabet by the bytes that they stand for, sets
 * byte_ids, and frees the table of names unless whole_words is set. Fails with ZI_ERROR_BAD_FORMAT
 * if a byte has no token and gaps is not set; *bpe can then only be freed. */
bool zi_bpe_seal(zi_bpe *bpe, const char *path, zi_error *error) ZI_CHECKED;

/* Frees all memory and zeroes *bpe. Allowed at any time, also for a zeroed struct, but not for
 * NULL. */
void zi_bpe_free(zi_bpe *bpe);

/* The id of the token that was added with exactly this text; -1: none. Once sealed, it may be
 * called only if whole_words is set, and finds tokens by their bytes, but none that are raw. */
int32_t zi_bpe_find_token(const zi_bpe *bpe, const char *text, size_t size);

/* A growing list of token ids. */
typedef struct {
    int32_t *data;
    size_t count, capacity;
} zi_ids;

/* Memory that encoding needs, reused from word to word. Begins as {0}. */
typedef struct zi_bpe_symbol zi_bpe_symbol;
typedef struct {
    zi_bpe_symbol *symbols; /* [capacity] */
    uint64_t *heap;         /* [2 * capacity] */
    size_t heap_size, capacity;
} zi_bpe_scratch;

/* Appends an id. The list begins as {0}, and its owner frees data with free(). False: memory is
 * short, and the list is unchanged. */
bool zi_ids_push(zi_ids *ids, int32_t id, zi_error *error) ZI_CHECKED;

/* Appends the ids of one word of less than 2^31 bytes to *ids, in n log n steps; none for an empty
 * word. bpe is sealed; bytes without a token are dropped. False: memory is short; a part of the ids
 * may have been appended. Frees nothing: scratch and ids stay the caller's and usable. */
bool zi_bpe_encode(const zi_bpe *bpe, const char *word, size_t size, zi_bpe_scratch *scratch,
                   zi_ids *ids, zi_error *error) ZI_CHECKED;

/* Frees the memory and zeroes *scratch, which may then be used again. A zeroed struct is allowed,
 * NULL is not. */
void zi_bpe_scratch_free(zi_bpe_scratch *scratch);

#endif
