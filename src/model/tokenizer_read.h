/* Reads tokenizer folders and the tokenizer in GGUF metadata. Used by tokenizer.c only. */
#ifndef ZI_MODEL_TOKENIZER_READ_H
#define ZI_MODEL_TOKENIZER_READ_H

#include "model/bpe.h"
#include "model/tokenizer.h"

typedef struct {
    zi_bpe bpe;
    int32_t *added; /* [added_count] ids of added tokens, which are matched literally in text */
    size_t added_count;
    char *pattern; /* pre-tokenizer's regular expression, in the file's (Oniguruma's) syntax */
    char *path;    /* the file that the pattern came from, for errors */
    bool nfc;
    zi_tokenizer_usage usage;
    char *chat_template; /* owns usage.chat_template */
} zi_tokenizer_files;

bool zi_tokenizer_read(const char *dir, zi_tokenizer_files *out, zi_error *error) ZI_CHECKED;
bool zi_tokenizer_read_gguf(const zi_gguf *gguf, zi_tokenizer_files *out,
                            zi_error *error) ZI_CHECKED;
void zi_tokenizer_files_free(zi_tokenizer_files *files);

/* ---- for reading ---- */

/* The pre-tokenizer pattern built into transformers' Qwen2Tokenizer, which vocab.json and GGUF
 * files leave out. */
extern const char zi_qwen_pattern[];

/* Allocates files->added for `count` ids. Fails when there are more than are supported. */
bool zi_tokenizer_reserve_added(zi_tokenizer_files *files, const char *path, size_t count,
                                zi_error *error) ZI_CHECKED;

/* Stores copies of the pattern and of the path it came from. */
bool zi_tokenizer_keep_pattern(zi_tokenizer_files *files, const char *path, const char *pattern,
                               zi_error *error) ZI_CHECKED;

#endif
