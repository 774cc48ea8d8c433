/* The files of a tokenizer folder, or the tokenizer in a GGUF file. Only for tokenizer.c. */
#ifndef ZI_MODEL_TOKENIZER_READ_H
#define ZI_MODEL_TOKENIZER_READ_H

#include "model/bpe.h"
#include "model/tokenizer.h"

typedef struct {
    zi_bpe bpe;
    int32_t *added; /* [added_count] ids of the tokens that are found in text as they stand */
    size_t added_count;
    char *pattern; /* regular expression of a word, as the file has it */
    char *path;    /* the file that the pattern came from, for errors */
    bool nfc;
    zi_tokenizer_usage usage;
    char *chat_template; /* what usage.chat_template points to */
} zi_tokenizer_files;

bool zi_tokenizer_read(const char *dir, zi_tokenizer_files *out, zi_error *error) ZI_CHECKED;
bool zi_tokenizer_read_gguf(const zi_gguf *gguf, zi_tokenizer_files *out,
                            zi_error *error) ZI_CHECKED;
void zi_tokenizer_files_free(zi_tokenizer_files *files);

/* ---- for reading ---- */

/* What the class Qwen2Tokenizer has built in and neither three files nor a GGUF say. */
extern const char zi_qwen_pattern[];

/* Makes room for the ids of added tokens. */
bool zi_tokenizer_reserve_added(zi_tokenizer_files *files, const char *path, size_t count,
                                zi_error *error) ZI_CHECKED;

/* Keeps copies of a pattern and of the path it came from. */
bool zi_tokenizer_keep_pattern(zi_tokenizer_files *files, const char *path, const char *pattern,
                               zi_error *error) ZI_CHECKED;

#endif
