#include "model/bpe.h"

#include <stdlib.h>
#include <string.h>

#define NO_RANK UINT32_MAX
#define NO_SYMBOL UINT32_MAX

/* How far from its place in a hash table an entry may lie. Tables are at least half empty, and
 * entries hardly ever go beyond a tenth of this unless they were made to collide. */
enum { MAX_PROBES = 1024 };

/* ---- building ---- */

/* The smallest power of two, at least 16, that leaves a hash table of count entries at least half
 * empty. */
static uint32_t table_size(size_t count)
{
    uint32_t size = 16;
    while (size < 2 * count) size *= 2;
    return size;
}

bool zi_bpe_init(zi_bpe *bpe, const char *path, size_t tokens, size_t merges, zi_error *error)
{
    *bpe = (zi_bpe){0};
    if (tokens > ZI_BPE_LIMIT || merges > ZI_BPE_LIMIT)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                            "the tokenizer has %zu tokens and %zu merges, but at most %d of each "
                            "are supported; use the tokenizer that came with the model",
                            tokens, merges, ZI_BPE_LIMIT);
    uint32_t names = table_size(tokens), pairs = table_size(merges);
    zi_text_init(&bpe->texts, 256u << 20);
    /* Room for every id there can be: pages that are not touched cost nothing. */
    bpe->tokens = calloc(ZI_BPE_LIMIT, sizeof *bpe->tokens);
    bpe->names = malloc(names * sizeof *bpe->names);
    bpe->pairs = malloc(pairs * sizeof *bpe->pairs);
    bpe->merged = malloc((merges + 1) * sizeof *bpe->merged);
    if (!bpe->tokens || !bpe->names || !bpe->pairs || !bpe->merged) {
        zi_bpe_free(bpe);
        return zi_error_no_memory(error, pairs * sizeof *bpe->pairs);
    }
    bpe->names_mask = names - 1;
    bpe->pairs_mask = pairs - 1;
    for (uint32_t i = 0; i < names; i++) bpe->names[i] = -1;
    for (uint32_t i = 0; i < pairs; i++) bpe->pairs[i].rank = NO_RANK;
    return true;
}

void zi_bpe_free(zi_bpe *bpe)
{
    zi_text_free(&bpe->texts);
    free(bpe->tokens);
    free(bpe->names);
    free(bpe->pairs);
    free(bpe->merged);
    *bpe = (zi_bpe){0};
}

/* FNV-1a hash of the text, with upper bits mixed into the lower ones. */
static uint32_t hash_text(const char *text, size_t size)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return hash ^ hash >> 15;
}

/* The slot of a text in the table of names: the one that holds its id, or the empty one (-1) where
 * it belongs; NULL: more than MAX_PROBES collisions. */
static int32_t *find_name_slot(const zi_bpe *bpe, const char *text, size_t size)
{
    uint32_t begin = hash_text(text, size);
    for (uint32_t i = begin; i - begin < MAX_PROBES; i++) {
        int32_t *slot = &bpe->names[i & bpe->names_mask];
        if (*slot < 0) return slot;
        const zi_bpe_token *token = &bpe->tokens[*slot];
        if (token->size == size && memcmp(bpe->texts.data + token->at, text, size) == 0)
            return slot;
    }
    return NULL;
}

int32_t zi_bpe_find_token(const zi_bpe *bpe, const char *text, size_t size)
{
    const int32_t *slot = find_name_slot(bpe, text, size);
    return slot ? *slot : -1;
}

/* Sets ZI_ERROR_BAD_FORMAT: too many entries of a hash table collide. what: "tokens" or "merges".
 * Returns false. */
static bool fail_collisions(const char *path, const char *what, zi_error *error)
{
    return zi_error_set(
        error, ZI_ERROR_BAD_FORMAT, path,
        "its %s make reading very slow, as those of no real tokenizer do: the file may have "
        "been made to do harm; fetch it again from a source that you trust",
        what);
}

bool zi_bpe_add_token(zi_bpe *bpe, const char *path, const char *text, size_t size, int32_t id,
                      bool raw, zi_error *error)
{
    int shown_size = size < 100 ? (int)size : 100;
    if (!size)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "token %d is empty: the tokenizer is damaged; fetch the file again",
                            id);
    if (id < 0 || id >= ZI_BPE_LIMIT)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "token \"%.*s\" has id %d, but ids must be from 0 to %d; fetch the "
                            "file again, or use the tokenizer that came with the model",
                            shown_size, text, id, ZI_BPE_LIMIT - 1);
    int32_t *slot = find_name_slot(bpe, text, size);
    if (!slot) return fail_collisions(path, "tokens", error);
    if (*slot >= 0)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "token \"%.*s\" is there twice; fetch the file again", shown_size,
                            text);
    zi_bpe_token *token = &bpe->tokens[id];
    if (token->size)
        return zi_error_set(
            error, ZI_ERROR_BAD_FORMAT, path,
            "tokens \"%.*s\" and \"%.*s\" have the same id %d; fetch the file again",
            token->size < 100 ? (int)token->size : 100, bpe->texts.data + token->at, shown_size,
            text, id);
    size_t at = bpe->texts.size;
    zi_text_append(&bpe->texts, text, size);
    if (bpe->texts.failed) return zi_error_no_memory(error, at + size);
    *token = (zi_bpe_token){(uint32_t)at, (uint32_t)size, raw};
    *slot = id;
    if (id >= bpe->size) bpe->size = id + 1;
    return true;
}

/* The slot of a pair of ids in the table of merges: the one that holds it, or the empty one (rank
 * NO_RANK) where it belongs; NULL: more than MAX_PROBES collisions. */
static zi_bpe_pair *find_pair_slot(const zi_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t hash = ((uint64_t)(uint32_t)left << 32 | (uint32_t)right) * 0x9e3779b97f4a7c15u;
    uint32_t begin = (uint32_t)(hash >> 32);
    for (uint32_t i = begin; i - begin < MAX_PROBES; i++) {
        zi_bpe_pair *pair = &bpe->pairs[i & bpe->pairs_mask];
        if (pair->rank == NO_RANK || (pair->left == left && pair->right == right)) return pair;
    }
    return NULL;
}

bool zi_bpe_add_merge(zi_bpe *bpe, const char *path, const char *left, size_t left_size,
                      const char *right, size_t right_size, zi_error *error)
{
    unsigned number = bpe->merges + 1;
    char whole[1024];
    if (!left_size || !right_size || left_size > sizeof whole ||
        right_size > sizeof whole - left_size)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                            "merge %u must be two tokens of together at most %zu bytes: the "
                            "tokenizer is damaged; fetch the file again",
                            number, sizeof whole);
    memcpy(whole, left, left_size);
    memcpy(whole + left_size, right, right_size);
    const struct {
        size_t at, size;
    } parts[3] = {{0, left_size}, {left_size, right_size}, {0, left_size + right_size}};
    int32_t ids[3];
    for (int i = 0; i < 3; i++) {
        ids[i] = zi_bpe_find_token(bpe, whole + parts[i].at, parts[i].size);
        if (ids[i] < 0)
            return zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                                "merge %u names \"%.*s\", which is not among the tokens: the "
                                "tokenizer is damaged; fetch the file again",
                                number, (int)parts[i].size, whole + parts[i].at);
    }
    zi_bpe_pair *pair = find_pair_slot(bpe, ids[0], ids[1]);
    if (!pair) return fail_collisions(path, "merges", error);
    if (pair->rank != NO_RANK)
        return zi_error_set(
            error, ZI_ERROR_BAD_FORMAT, path,
            "merge %u (\"%.*s\") is there twice: the tokenizer is damaged; fetch the file again",
            number, (int)(left_size + right_size), whole);
    *pair = (zi_bpe_pair){ids[0], ids[1], bpe->merges};
    bpe->merged[bpe->merges++] = ids[2];
    return true;
}

/* The alphabet in which vocabularies write bytes: printable Latin-1 stands for itself, the other
 * 68 bytes are U+0100 and up, in order. */
enum { ALPHABET_END = 256 + 68 };

/* Fills in GPT-2's byte alphabet: the code point that stands for each byte, and the byte for which
 * each code point stands (-1: none). */
static void make_byte_alphabet(int codepoints[256], int bytes[ALPHABET_END])
{
    int next = 256;
    for (int i = 0; i < ALPHABET_END; i++) bytes[i] = -1;
    for (int byte = 0; byte < 256; byte++) {
        bool printable = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
        codepoints[byte] = printable ? byte : next++;
        bytes[codepoints[byte]] = byte;
    }
}

/* Replaces a token's text, in place, by the bytes it stands for, which are never more. False: the
 * text has other characters than the alphabet's and is left as it is: no merge can make such a
 * token. bytes: by code point, from make_byte_alphabet. */
static bool decode_token_bytes(zi_bpe *bpe, zi_bpe_token *token, const int bytes[ALPHABET_END])
{
    unsigned char *text = (unsigned char *)bpe->texts.data + token->at;
    uint32_t n = 0;
    for (int writing = 0; writing < 2; writing++) {
        n = 0;
        for (uint32_t i = 0; i < token->size; i++, n++) {
            unsigned c = text[i];
            /* All of the alphabet takes one or two bytes; the text is valid UTF-8. */
            if (c >= 0xc0 && c < 0xe0)
                c = (c & 0x1f) << 6 | (text[++i] & 0x3f);
            else if (c >= 0x80)
                return false;
            if (c >= ALPHABET_END || bytes[c] < 0) return false;
            if (writing) text[n] = (unsigned char)bytes[c];
        }
    }
    token->size = n;
    return true;
}

/* Replaces the texts of all tokens that are not raw by the bytes they stand for. Rebuilds the table
 * of names from these bytes, and frees it unless whole_words is set. Fails only for too many
 * collisions, and *bpe can then only be freed. bytes: as in decode_token_bytes. */
static bool decode_vocabulary(zi_bpe *bpe, const char *path, const int bytes[ALPHABET_END],
                              zi_error *error)
{
    for (uint32_t i = 0; i <= bpe->names_mask; i++) bpe->names[i] = -1;
    for (int32_t id = 0; id < bpe->size; id++) {
        zi_bpe_token *token = &bpe->tokens[id];
        if (token->raw || !token->size || !decode_token_bytes(bpe, token, bytes)) continue;
        int32_t *slot = find_name_slot(bpe, bpe->texts.data + token->at, token->size);
        if (!slot) return fail_collisions(path, "tokens", error);
        *slot = id;
    }
    if (bpe->whole_words) return true;
    free(bpe->names);
    bpe->names = NULL;
    return true;
}

bool zi_bpe_seal(zi_bpe *bpe, const char *path, zi_error *error)
{
    int codepoints[256], bytes[ALPHABET_END];
    make_byte_alphabet(codepoints, bytes);
    for (int byte = 0; byte < 256; byte++) {
        int c = codepoints[byte];
        char text[2] = {(char)(c < 128 ? c : 0xc0 | c >> 6), (char)(0x80 | (c & 0x3f))};
        bpe->byte_ids[byte] = zi_bpe_find_token(bpe, text, c < 128 ? 1 : 2);
        if (bpe->byte_ids[byte] < 0 && !bpe->gaps)
            return zi_error_set(
                error, ZI_ERROR_BAD_FORMAT, path,
                "the tokenizer has no token for byte %d (U+%04X), so it is not of the kind that is "
                "supported (byte-level BPE); use the tokenizer that came with the model",
                byte, (unsigned)c);
    }
    return decode_vocabulary(bpe, path, bytes, error);
}

/* ---- merging ---- */

/* The symbols of a word form a list in an array; symbol i starts at byte i of the word (of those of
 * its bytes that have a token). */
struct zi_bpe_symbol {
    int32_t id;
    uint32_t previous, next; /* NO_SYMBOL at the ends */
    uint32_t rank;           /* of the merge with the next symbol; NO_RANK: none, or i is gone */
};

bool zi_ids_push(zi_ids *ids, int32_t id, zi_error *error)
{
    if (ids->count == ids->capacity) {
        size_t capacity = ids->capacity + ids->capacity / 2 + 256;
        int32_t *data = realloc(ids->data, capacity * sizeof *data);
        if (!data) return zi_error_no_memory(error, capacity * sizeof *data);
        ids->data = data;
        ids->capacity = capacity;
    }
    ids->data[ids->count++] = id;
    return true;
}

/* Makes room for the symbols and heap of a word of `size` bytes; their old contents are lost.
 * False: memory is short, and *scratch is zeroed. */
static bool scratch_reserve(zi_bpe_scratch *scratch, size_t size, zi_error *error)
{
    if (size <= scratch->capacity) return true;
    size_t capacity = size + size / 2 + 64;
    zi_bpe_scratch_free(scratch);
    scratch->symbols = malloc(capacity * sizeof *scratch->symbols);
    scratch->heap = malloc(2 * capacity * sizeof *scratch->heap);
    if (!scratch->symbols || !scratch->heap) {
        zi_bpe_scratch_free(scratch);
        return zi_error_no_memory(error, 2 * capacity * sizeof *scratch->heap);
    }
    scratch->capacity = capacity;
    return true;
}

void zi_bpe_scratch_free(zi_bpe_scratch *scratch)
{
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (zi_bpe_scratch){0};
}

/* Adds a key, rank << 32 | position, to the heap, which has room. The smallest comes first: the
 * merge of the lowest rank, then the leftmost. */
static void heap_push(zi_bpe_scratch *scratch, uint64_t key)
{
    uint64_t *heap = scratch->heap;
    size_t i = scratch->heap_size++;
    for (; i > 0 && heap[(i - 1) / 2] > key; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = key;
}

/* Removes and returns the smallest key. The heap must not be empty. */
static uint64_t heap_pop(zi_bpe_scratch *scratch)
{
    uint64_t *heap = scratch->heap, top = heap[0], last = heap[--scratch->heap_size];
    size_t n = scratch->heap_size, i = 0;
    for (size_t child = 1; child < n; child = 2 * i + 1) {
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (heap[child] >= last) break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Sets the rank of symbol i to that of its merge with the next symbol and adds the merge to the
 * heap; NO_RANK and nothing added if there is none. The heap never overflows: there are fewer than
 * n initial lookups, and each of fewer than n merges removes one key and adds two. */
static void queue_merge_at(const zi_bpe *bpe, zi_bpe_scratch *scratch, uint32_t i)
{
    zi_bpe_symbol *symbol = &scratch->symbols[i];
    symbol->rank = NO_RANK;
    if (symbol->next == NO_SYMBOL) return;
    const zi_bpe_pair *pair = find_pair_slot(bpe, symbol->id, scratch->symbols[symbol->next].id);
    if (pair) symbol->rank = pair->rank;
    if (symbol->rank != NO_RANK) heap_push(scratch, (uint64_t)symbol->rank << 32 | i);
}

bool zi_bpe_encode(const zi_bpe *bpe, const char *word, size_t size, zi_bpe_scratch *scratch,
                   zi_ids *ids, zi_error *error)
{
    if (!size) return true;
    int32_t whole = bpe->whole_words ? zi_bpe_find_token(bpe, word, size) : -1;
    if (whole >= 0) return zi_ids_push(ids, whole, error);
    if (!scratch_reserve(scratch, size, error)) return false;
    zi_bpe_symbol *symbols = scratch->symbols;
    uint32_t n = 0;
    for (size_t i = 0; i < size; i++) {
        int32_t id = bpe->byte_ids[(unsigned char)word[i]];
        if (id < 0) continue;
        symbols[n] =
            (zi_bpe_symbol){.id = id, .previous = n - 1, .next = n + 1}; /* first: NO_SYMBOL */
        n++;
    }
    if (!n) return true;
    symbols[n - 1].next = NO_SYMBOL;
    scratch->heap_size = 0;
    for (uint32_t i = 0; i < n; i++) queue_merge_at(bpe, scratch, i);
    while (scratch->heap_size) {
        uint64_t key = heap_pop(scratch);
        uint32_t i = (uint32_t)key, rank = (uint32_t)(key >> 32);
        zi_bpe_symbol *symbol = &symbols[i];
        if (symbol->rank != rank) continue; /* an earlier merge took one of the two */
        zi_bpe_symbol *taken = &symbols[symbol->next];
        symbol->id = bpe->merged[rank];
        symbol->next = taken->next;
        taken->rank = NO_RANK;
        if (symbol->next != NO_SYMBOL) symbols[symbol->next].previous = i;
        queue_merge_at(bpe, scratch, i);
        if (symbol->previous != NO_SYMBOL) queue_merge_at(bpe, scratch, symbol->previous);
    }
    for (uint32_t i = 0; i != NO_SYMBOL; i = symbols[i].next)
        if (!zi_ids_push(ids, symbols[i].id, error)) return false;
    return true;
}
