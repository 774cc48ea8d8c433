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

/* Reads a folder with tokenizer.json or, only without it, with vocab.json, merges.txt and
 * tokenizer_config.json, into *out, whose usage names nothing (bos and eos are -1). The caller
 * calls zi_tokenizer_files_free; *out is unchanged after a failure. Fails with ZI_ERROR_NOT_FOUND
 * without such files, with ZI_ERROR_UNSUPPORTED for features that are not supported. */
bool zi_tokenizer_read(const char *dir, zi_tokenizer_files *out, zi_error *error) ZI_CHECKED;

/* Reads the tokenizer in GGUF metadata, its usage included, into *out, which keeps copies. Fails
 * with ZI_ERROR_BAD_FORMAT if there is none, else as zi_tokenizer_read does; ownership as there. */
bool zi_tokenizer_read_gguf(const zi_gguf *gguf, zi_tokenizer_files *out,
                            zi_error *error) ZI_CHECKED;

/* Frees all that *files holds and zeroes it. A zeroed struct is allowed, NULL is not. */
void zi_tokenizer_files_free(zi_tokenizer_files *files);

/* ---- for reading ---- */

/* The pre-tokenizer pattern built into transformers' Qwen2Tokenizer, which vocab.json and GGUF
 * files leave out. */
extern const char zi_qwen_pattern[];

/* Allocates files->added, NULL before, for `count` ids; added_count stays. Fails with
 * ZI_ERROR_UNSUPPORTED for more than 1024; files->added then stays NULL. path: for errors only. */
bool zi_tokenizer_reserve_added(zi_tokenizer_files *files, const char *path, size_t count,
                                zi_error *error) ZI_CHECKED;

/* Sets files->pattern and files->path, unset before, to copies. False: memory is short;
 * zi_tokenizer_files_free frees what was allocated. */
bool zi_tokenizer_keep_pattern(zi_tokenizer_files *files, const char *path, const char *pattern,
                               zi_error *error) ZI_CHECKED;

#endif
