/* The files of a tokenizer folder. Only for tokenizer.c. */
#ifndef ZI_MODEL_TOKENIZER_READ_H
#define ZI_MODEL_TOKENIZER_READ_H

#include "model/bpe.h"

typedef struct {
    zi_bpe bpe;
    int32_t *added; /* [added_count] ids of the tokens that are found in text as they stand */
    size_t added_count;
    char *pattern; /* regular expression of a word, as the file has it */
    char *path;    /* the file that the pattern came from, for errors */
    bool nfc;
} zi_tokenizer_files;

bool zi_tokenizer_read(const char *dir, zi_tokenizer_files *out, zi_error *error) ZI_CHECKED;
void zi_tokenizer_files_free(zi_tokenizer_files *files);

#endif
