/* Which files of a folder hold weights: by the names that diffusers and transformers give them,
 * with variants, and files that are not read, such as pickles. */
#ifndef ZI_IO_WEIGHTS_FILES_H
#define ZI_IO_WEIGHTS_FILES_H

#include "base/error.h"
#include "base/file.h"

enum { ZI_WEIGHTS_NAME = 256 };

/* Finds the weights of this stem ("model") in a folder, in this order: the index of shards
 * STEM.safetensors.index.json, STEM.safetensors, and both for the variants (diffusers' term) bf16,
 * fp16 and fp32, as in STEM.bf16.safetensors. Sets name to the file's and *index to whether it is
 * an index. False: there is none, or memory is short; both are unchanged. */
bool zi_weights_find(const char *dir, const char *stem, char name[ZI_WEIGHTS_NAME], bool *index);

/* Files of weights in a folder, by name in byte order; strings are owned. */
typedef struct {
    char *first,
        *second;  /* *.safetensors, *.gguf (of several of one model, the first); NULL: no such */
    char *pickle; /* *.ckpt, *.pt, *.pth or *.bin; NULL: no such */
} zi_folder_weights;

/* Lists the folder's files of weights; a folder that cannot be read has none. Hidden and temporary
 * files do not count. False: memory is short; *error is set, and *out is empty. Free *out with
 * zi_folder_weights_free. */
bool zi_folder_weights_list(const char *dir, zi_folder_weights *out, zi_error *error) ZI_CHECKED;

/* Frees the strings and zeroes *files. */
void zi_folder_weights_free(zi_folder_weights *files);

/* Whether a file's name is that of weights, readable ones or a pickle, in letters of any case, or
 * of the index of their shards. */
bool zi_is_weights_name(const char *name);

/* Whether a file's name ends like those of PyTorch's pickles: .ckpt, .pt, .pth or .bin, in letters
 * of any case. */
bool zi_is_pickle_name(const char *path);

/* Fails with ZI_ERROR_UNSUPPORTED, with what to use instead, for a mapped file that begins like one
 * of PyTorch's (a ZIP archive, or a pickle of protocol 2 to 5), or that has the name of one and
 * does not begin like a safetensors file. mapping NULL: by its name alone. */
bool zi_check_no_pickle(const char *path, const zi_mapping *mapping, zi_error *error) ZI_CHECKED;

#endif
