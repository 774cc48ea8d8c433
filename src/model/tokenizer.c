#include "model/tokenizer.h"
#include "model/tokenizer_read.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum {
    MAX_TEXT = 64 << 20, /* bytes */
    /* Bytes of a translated pattern. PCRE2 takes quadratic time to compile some; Qwen's has 700. */
    MAX_PATTERN = 8 << 10,
    /* utf8proc takes quadratic time to order a run of combining marks; scripts use less than ten.
     */
    MAX_MARKS = 256,
    /* Steps that one search for a word may take: the patterns of models take a few for each byte of
     * a run of spaces, one that backtracks without end any number. */
    MATCH_LIMIT = 50000000,
    MATCH_STEPS = 64, /* a byte of the text, and */
    MATCH_LEAST = 10000,
    HEAP_LIMIT = 256 << 10 /* KiB */
};

struct zi_tokenizer {
    zi_tokenizer_files files; /* with the added tokens longest first */
    pcre2_code *word;
    bool added_starts[256]; /* the bytes with which added tokens begin */
};

/* ---- loading ---- */

/* Unicode's White_Space. PCRE2 knows the property since 10.40 only, and its \s has U+180E, too. */
#define SPACES                                                                                     \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"    \
    "\\x{205f}\\x{3000}"

/* Appends the PCRE2 form of the escape \c to text. in_class: it stands within [ ]. False: not
 * supported, as Oniguruma and PCRE2 may interpret it differently, or c is NUL; text is unchanged.
 */
static bool translate_escape(char c, bool in_class, zi_text *text)
{
    bool letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z', digit = c >= '0' && c <= '9';
    if (c == 's')
        zi_text_puts(text, in_class ? SPACES : "[" SPACES "]");
    else if (c == 'S' && !in_class)
        zi_text_puts(text, "[^" SPACES "]");
    else if (!c || digit || (letter && !strchr("rntpPd", c)))
        return false;
    else
        zi_text_printf(text, "\\%c", c);
    return true;
}

/* Sets *out to the splitting pattern of the files in PCRE2's syntax, in new memory. Fails with
 * ZI_ERROR_UNSUPPORTED for an escape that is not supported, a pattern that is too long, or when
 * memory is short; *out is then NULL or unchanged. */
static bool translate_pattern(const zi_tokenizer_files *files, char **out, zi_error *error)
{
    zi_text text;
    zi_text_init(&text, 2 * MAX_PATTERN); /* so that only short memory makes it fail */
    bool in_class = false;
    for (const char *p = files->pattern; *p && text.size <= MAX_PATTERN; p++) {
        if (*p != '\\') {
            if (*p == '[') in_class = true;
            if (*p == ']') in_class = false;
            zi_text_append(&text, p, 1);
        } else if (!translate_escape(*++p, in_class, &text)) {
            zi_text_free(&text);
            return zi_error_set(
                error, ZI_ERROR_UNSUPPORTED, files->path,
                "the pattern with which the tokenizer splits text into words uses \\%.1s, which is "
                "not supported; use the tokenizer that came with the model",
                p);
        }
    }
    size_t size = text.size;
    if (size > MAX_PATTERN) {
        zi_text_free(&text);
        return zi_error_set(
            error, ZI_ERROR_UNSUPPORTED, files->path,
            "the pattern with which the tokenizer splits text into words has %zu bytes, more than "
            "that of any model; use the tokenizer that came with the model",
            strlen(files->pattern));
    }
    *out = zi_text_take(&text);
    return *out || zi_error_no_memory(error, size);
}

/* Compiles the splitting pattern of t->files into t->word, with JIT where there is one. Fails with
 * ZI_ERROR_UNSUPPORTED or ZI_ERROR_BAD_FORMAT if it is not supported, invalid, or matches the empty
 * text; the caller frees t->word, which may be NULL, then, too. */
static bool compile_pattern(zi_tokenizer *t, zi_error *error)
{
    char *pattern = NULL; /* GCC 13 does not see that translate sets it */
    if (!translate_pattern(&t->files, &pattern, error)) return false;
    int code;
    size_t at;
    t->word = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                            &code, &at, NULL);
    free(pattern);
    if (!t->word) {
        char reason[200];
        pcre2_get_error_message(code, (PCRE2_UCHAR *)reason, sizeof reason);
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, t->files.path,
                            "the pattern with which the tokenizer splits text into words cannot be "
                            "used: %s; use the tokenizer that came with the model",
                            reason);
    }
    uint32_t empty = 0;
    pcre2_pattern_info(t->word, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty)
        return zi_error_set(
            error, ZI_ERROR_BAD_FORMAT, t->files.path,
            "the pattern with which the tokenizer splits text into words can match a piece without "
            "characters, which is not supported; use the tokenizer that came with the model");
    /* Without JIT support the pattern is interpreted, with the same result. */
    (void)pcre2_jit_compile(t->word, PCRE2_JIT_COMPLETE);
    return true;
}

/* The token of the i-th id in t->files.added. */
static const zi_bpe_token *added_token(const zi_tokenizer *t, size_t i)
{
    return &t->files.bpe.tokens[t->files.added[i]];
}

/* Sorts t->files.added longest first, so that the longest match is found first, and sets
 * t->added_starts for the bytes that added tokens begin with. */
static void sort_added(zi_tokenizer *t)
{
    int32_t *added = t->files.added;
    for (size_t i = 1; i < t->files.added_count; i++) {
        int32_t id = added[i];
        size_t j = i;
        for (; j > 0 && added_token(t, j - 1)->size < t->files.bpe.tokens[id].size; j--)
            added[j] = added[j - 1];
        added[j] = id;
    }
    for (size_t i = 0; i < t->files.added_count; i++)
        t->added_starts[(unsigned char)t->files.bpe.texts.data[added_token(t, i)->at]] = true;
}

/* Creates a tokenizer from *files and takes ownership of what they hold, also on failure; *files
 * must not be used again. *out is unchanged after a failure. */
static bool make_tokenizer(zi_tokenizer_files *files, zi_tokenizer **out, zi_error *error)
{
    zi_tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        zi_tokenizer_files_free(files);
        return zi_error_no_memory(error, sizeof *t);
    }
    t->files = *files;
    if (!compile_pattern(t, error)) {
        zi_tokenizer_free(t);
        return false;
    }
    sort_added(t);
    *out = t;
    return true;
}

bool zi_tokenizer_load(const char *dir, zi_tokenizer **out, zi_error *error)
{
    zi_tokenizer_files files;
    return zi_tokenizer_read(dir, &files, error) && make_tokenizer(&files, out, error);
}

bool zi_tokenizer_load_gguf(const zi_gguf *gguf, zi_tokenizer **out, zi_error *error)
{
    zi_tokenizer_files files;
    return zi_tokenizer_read_gguf(gguf, &files, error) && make_tokenizer(&files, out, error);
}

void zi_tokenizer_free(zi_tokenizer *tokenizer)
{
    if (!tokenizer) return;
    zi_tokenizer_files_free(&tokenizer->files);
    pcre2_code_free(tokenizer->word);
    free(tokenizer);
}

const zi_tokenizer_usage *zi_tokenizer_get_usage(const zi_tokenizer *tokenizer)
{
    return &tokenizer->files.usage;
}

/* ---- looking up ---- */

int32_t zi_tokenizer_vocab_size(const zi_tokenizer *tokenizer)
{
    return tokenizer->files.bpe.size;
}

bool zi_tokenizer_bytes(const zi_tokenizer *tokenizer, int32_t id, const char **bytes, size_t *size)
{
    const zi_bpe *bpe = &tokenizer->files.bpe;
    if (id < 0 || id >= bpe->size || !bpe->tokens[id].size) return false;
    *bytes = bpe->texts.data + bpe->tokens[id].at;
    *size = bpe->tokens[id].size;
    return true;
}

/* Id of the longest added token that the text, of 1 byte or more, begins with; -1: none. */
static int32_t match_added_token(const zi_tokenizer *t, const char *text, size_t size)
{
    if (!t->added_starts[(unsigned char)text[0]]) return -1;
    for (size_t i = 0; i < t->files.added_count; i++) {
        const zi_bpe_token *token = added_token(t, i);
        if (token->size <= size &&
            memcmp(t->files.bpe.texts.data + token->at, text, token->size) == 0)
            return t->files.added[i];
    }
    return -1;
}

int32_t zi_tokenizer_added_token(const zi_tokenizer *tokenizer, const char *name)
{
    size_t size = strlen(name);
    int32_t id = size ? match_added_token(tokenizer, name, size) : -1;
    return id >= 0 && tokenizer->files.bpe.tokens[id].size == size ? id : -1;
}

/* ---- encoding ---- */

typedef struct {
    const zi_tokenizer *tokenizer;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    zi_bpe_scratch scratch;
    zi_ids ids;
    bool literal; /* added tokens are text */
} encoder;

/* Fails with ZI_ERROR_INVALID_ARGUMENT if the text, valid UTF-8, has more than MAX_MARKS combining
 * marks in a row. */
static bool check_combining_marks(const char *text, size_t size, zi_error *error)
{
    int run = 0;
    for (size_t at = 0; at < size;) {
        utf8proc_int32_t c;
        at += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)text + at,
                                       (utf8proc_ssize_t)(size - at), &c);
        utf8proc_category_t category = utf8proc_category(c);
        bool mark = category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
                    category == UTF8PROC_CATEGORY_ME;
        run = mark ? run + 1 : 0;
        if (run > MAX_MARKS)
            return zi_error_set(
                error, ZI_ERROR_INVALID_ARGUMENT, "text",
                "has more than %d combining marks (such as accents) in a row; remove some",
                MAX_MARKS);
    }
    return true;
}

/* Sets *out [*out_size] to valid UTF-8 text in Unicode's NFC, in new memory that the caller frees
 * with free(). Fails for too many combining marks in a row, or when memory is short; *out and
 * *out_size are then unchanged. */
static bool to_nfc(const char *text, size_t size, char **out, size_t *out_size, zi_error *error)
{
    if (!check_combining_marks(text, size, error)) return false;
    utf8proc_uint8_t *composed = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size,
                                      &composed, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    if (n < 0)
        return zi_error_set_in(error, ZI_ERROR_NO_MEMORY, NULL, "text",
                               "cannot bring the text into the Unicode form NFC: %s; shorten it, "
                               "or close other programs",
                               utf8proc_errmsg(n));
    *out = (char *)composed;
    *out_size = (size_t)n;
    return true;
}

/* Splits normalized text without added tokens by the pattern and appends the ids of the words to
 * e->ids. Text between the pattern's matches is encoded as words, too. Fails with
 * ZI_ERROR_BAD_FORMAT if matching takes too many steps, or when memory is short; a part of the ids
 * may have been appended. */
static bool encode_words(encoder *e, const char *text, size_t size, zi_error *error)
{
    const zi_tokenizer *t = e->tokenizer;
    const zi_bpe *bpe = &t->files.bpe;
    const size_t *found = pcre2_get_ovector_pointer(e->match);
    for (size_t at = 0; at < size; at = found[1]) {
        int result = pcre2_match(t->word, (PCRE2_SPTR)text, size, at, PCRE2_NO_UTF_CHECK, e->match,
                                 e->limits);
        if (result == PCRE2_ERROR_NOMATCH)
            return zi_bpe_encode(bpe, text + at, size - at, &e->scratch, &e->ids, error);
        if (result < 0) {
            char reason[200];
            pcre2_get_error_message(result, (PCRE2_UCHAR *)reason, sizeof reason);
            return zi_error_set(
                error, ZI_ERROR_BAD_FORMAT, t->files.path,
                "the pattern with which the tokenizer splits text into words fails on this text: "
                "%s; shorten the text, or use the tokenizer that came with the model",
                reason);
        }
        if (!zi_bpe_encode(bpe, text + at, found[0] - at, &e->scratch, &e->ids, error) ||
            !zi_bpe_encode(bpe, text + found[0], found[1] - found[0], &e->scratch, &e->ids, error))
            return false;
    }
    return true;
}

/* Brings text without added tokens to NFC, if the tokenizer does that, and appends its ids to
 * e->ids; none for an empty text. A part of them may be appended after a failure. */
static bool encode_text(encoder *e, const char *text, size_t size, zi_error *error)
{
    if (!size) return true;
    if (!e->tokenizer->files.nfc) return encode_words(e, text, size, error);
    char *normal = NULL;
    size_t normal_size = 0;
    if (!to_nfc(text, size, &normal, &normal_size, error)) return false;
    bool ok = encode_words(e, normal, normal_size, error);
    free(normal);
    return ok;
}

/* Appends the ids of text to e->ids: added tokens that stand in it (not if e->literal), and, by
 * encode_text, the text between them. A part of the ids may be appended after a failure. */
static bool encode_with_added(encoder *e, const char *text, size_t size, zi_error *error)
{
    size_t begin = 0; /* start of the text behind the last added token */
    for (size_t at = 0; at < size;) {
        int32_t id = e->literal ? -1 : match_added_token(e->tokenizer, text + at, size - at);
        if (id < 0) {
            at++;
            continue;
        }
        if (!encode_text(e, text + begin, at - begin, error) || !zi_ids_push(&e->ids, id, error))
            return false;
        at += e->tokenizer->files.bpe.tokens[id].size;
        begin = at;
    }
    return encode_text(e, text + begin, size - begin, error);
}

/* Encodes text into *ids [*count], new memory that is never NULL. literal: names of added tokens
 * are plain text. Fails for text that is too long or not UTF-8, and as encode_words does; *ids and
 * *count are then unchanged. */
static bool encode_to_new_ids(const zi_tokenizer *t, const char *text, size_t size, bool literal,
                              int32_t **ids, size_t *count, zi_error *error)
{
    if (size > MAX_TEXT)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "text",
                            "has %zu bytes, but at most %d are possible; shorten it", size,
                            MAX_TEXT);
    if (!zi_utf8_valid(text, size))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "text",
                            "has bytes that are not UTF-8 text; convert it to UTF-8");
    bool ok = false;
    encoder e = {.tokenizer = t, .literal = literal};
    e.match = pcre2_match_data_create_from_pattern(t->word, NULL);
    e.limits = pcre2_match_context_create(NULL);
    e.ids.capacity = 64;
    e.ids.data = malloc(e.ids.capacity * sizeof *e.ids.data);
    if (!e.match || !e.limits || !e.ids.data) {
        zi_error_no_memory(error, e.ids.capacity * sizeof *e.ids.data);
        goto out;
    }
    size_t steps = MATCH_LEAST + MATCH_STEPS * size;
    pcre2_set_match_limit(e.limits, steps < MATCH_LIMIT ? (uint32_t)steps : MATCH_LIMIT);
    pcre2_set_heap_limit(e.limits, HEAP_LIMIT);
    if (!encode_with_added(&e, text, size, error)) goto out;
    *ids = e.ids.data;
    *count = e.ids.count;
    e.ids.data = NULL;
    ok = true;
out:
    free(e.ids.data);
    zi_bpe_scratch_free(&e.scratch);
    pcre2_match_context_free(e.limits);
    pcre2_match_data_free(e.match);
    return ok;
}

bool zi_tokenizer_encode(const zi_tokenizer *tokenizer, const char *text, size_t size,
                         int32_t **ids, size_t *count, zi_error *error)
{
    return encode_to_new_ids(tokenizer, text, size, false, ids, count, error);
}

bool zi_tokenizer_encode_plain(const zi_tokenizer *tokenizer, const char *text, size_t size,
                               int32_t **ids, size_t *count, zi_error *error)
{
    return encode_to_new_ids(tokenizer, text, size, true, ids, count, error);
}

bool zi_tokenizer_encode_chat(const zi_tokenizer *tokenizer, const char *prompt, size_t max_ids,
                              int32_t **ids, size_t *count, zi_error *error)
{
    static const char *const needed[] = {"<|im_start|>", "<|im_end|>"};
    for (int i = 0; i < 2; i++)
        if (zi_tokenizer_added_token(tokenizer, needed[i]) < 0)
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, tokenizer->files.path, needed[i],
                                   "the tokenizer has no added token \"%s\", which zimage puts "
                                   "around each prompt; use the tokenizer that came with the model",
                                   needed[i]);
    if (!max_ids)
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "max_ids",
                               "room for 0 ids is too little; ask for 1 or more");
    zi_text text;
    zi_text_init(&text, MAX_TEXT);
    zi_text_puts(&text, "<|im_start|>user\n");
    zi_text_puts(&text, prompt);
    zi_text_puts(&text, "<|im_end|>\n<|im_start|>assistant\n");
    bool ok;
    if (text.failed)
        ok = zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "text",
                          "has %zu bytes, more than the limit of %d bytes or than there is memory "
                          "for; shorten it",
                          strlen(prompt), MAX_TEXT);
    else
        ok = zi_tokenizer_encode(tokenizer, text.data, text.size, ids, count, error);
    zi_text_free(&text);
    if (ok && *count > max_ids) *count = max_ids;
    return ok;
}
