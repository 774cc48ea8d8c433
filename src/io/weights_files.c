#include "io/weights_files.h"
#include "base/temporary.h"
#include "io/gguf_split.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Whether dir has a file of this name. False also when memory is short. */
static bool has_file(const char *dir, const char *name)
{
    char *path = zi_path_join(dir, name);
    bool is = path && zi_is_file(path);
    free(path);
    return is;
}

enum { INDEX, OLD_INDEX, SINGLE, FORMS };

/* Writes the name of a stem's weights in one of the forms. Of shards of a variant, diffusers and
 * transformers name the index STEM.safetensors.index.bf16.json, and older ones
 * STEM.bf16.safetensors.index.json. variant: with its dot, or "". Cut if it does not fit. */
static void format_name(int form, const char *stem, const char *variant, char name[ZI_WEIGHTS_NAME])
{
    if (form == INDEX)
        snprintf(name, ZI_WEIGHTS_NAME, "%s.safetensors.index%s.json", stem, variant);
    else
        snprintf(name, ZI_WEIGHTS_NAME, "%s%s.safetensors%s", stem, variant,
                 form == OLD_INDEX ? ".index.json" : "");
}

bool zi_weights_find(const char *dir, const char *stem, char name[ZI_WEIGHTS_NAME], bool *index)
{
    static const char *const variants[] = {"", ".bf16", ".fp16", ".fp32"};
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++)
        for (int form = 0; form < FORMS; form++) {
            char tried[ZI_WEIGHTS_NAME];
            format_name(form, stem, variants[v], tried);
            if (!has_file(dir, tried)) continue;
            memcpy(name, tried, sizeof tried);
            *index = form != SINGLE;
            return true;
        }
    return false;
}

/* ---- what is in a folder ---- */

/* Whether name ends in this, in letters of any case, behind at least one other character. */
static bool ends_with(const char *name, const char *ending)
{
    size_t length = strlen(name), n = strlen(ending);
    return length > n && strcasecmp(name + length - n, ending) == 0;
}

bool zi_is_weights_name(const char *name)
{
    return zi_weights_extension(name) || zi_is_pickle_name(name) ||
           strstr(name, ".safetensors.index.") || strstr(name, ".bin.index.");
}

/* Keeps the two of *first, *second and name that come first in byte order; a text that is copied
 * into one of them replaces what is freed. False: memory is short; *error is set. */
static bool keep_first_two(const char *name, char **first, char **second, zi_error *error)
{
    bool before = !*first || strcmp(name, *first) < 0;
    if (!before && *second && strcmp(name, *second) > 0) return true;
    char *copy = strdup(name);
    if (!copy) return zi_error_no_memory(error, strlen(name));
    free(*second);
    *second = before ? *first : copy;
    if (before) *first = copy;
    return true;
}

/* Counts one file of a folder in, by its name. other: a second pickle, which only serves to find
 * the first one. False: memory is short; *error is set. */
static bool add_file(const char *name, zi_folder_weights *files, char **other, zi_error *error)
{
    int number = 1, count = 1;
    if (name[0] == '.' || zi_is_temporary_name(name)) return true;
    if (zi_gguf_shard_parse(name, &number, &count) && number > 1) return true;
    if (zi_weights_extension(name))
        return keep_first_two(name, &files->first, &files->second, error);
    return !zi_is_pickle_name(name) || keep_first_two(name, &files->pickle, other, error);
}

bool zi_folder_weights_list(const char *dir, zi_folder_weights *out, zi_error *error)
{
    zi_folder_weights files = {0};
    char *other = NULL;
    bool ok = true;
    DIR *opened = opendir(dir);
    for (const struct dirent *entry; ok && opened && (entry = readdir(opened));)
        ok = !has_file(dir, entry->d_name) || add_file(entry->d_name, &files, &other, error);
    if (opened) closedir(opened);
    free(other);
    if (!ok) zi_folder_weights_free(&files);
    *out = files;
    return ok;
}

void zi_folder_weights_free(zi_folder_weights *files)
{
    free(files->first);
    free(files->second);
    free(files->pickle);
    *files = (zi_folder_weights){0};
}

/* ---- pickles ---- */

bool zi_is_pickle_name(const char *path)
{
    return ends_with(path, ".ckpt") || ends_with(path, ".pt") || ends_with(path, ".pth") ||
           ends_with(path, ".bin");
}

/* Whether a file begins like one of PyTorch's: a ZIP archive, or a pickle of protocol 2 to 5, in
 * which a number, a list, a dictionary or a frame comes first. */
static bool begins_like_pickle(const zi_mapping *mapping)
{
    const uint8_t *bytes = mapping->data;
    if (mapping->size < 4) return false;
    if (memcmp(bytes, "PK\3\4", 4) == 0) return true;
    return bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5 &&
           memchr("\x8a]}(c\x95", bytes[2], 6);
}

/* Whether a file begins like a safetensors file: a header's length that fits into it, and a brace.
 */
static bool begins_like_safetensors(const zi_mapping *mapping)
{
    const uint8_t *bytes = mapping->data;
    uint64_t length = 0;
    for (size_t i = 8; mapping->size > 8 && i-- > 0;) length = length << 8 | bytes[i];
    return mapping->size > 8 && length <= mapping->size - 8 && bytes[8] == '{';
}

/* How many files belong together by the name of one of them, such as
 * pytorch_model-00001-of-00002.bin; 1 if it does not say. */
static int count_of_shards(const char *base)
{
    int number, count;
    for (const char *at = strchr(base, '-'); at; at = strchr(at + 1, '-'))
        if (sscanf(at, "-%5d-of-%5d.", &number, &count) == 2 && count > 1) return count;
    return 1;
}

/* Writes the name that a pickle of this name has in safetensors: transformers call model what
 * PyTorch's files call pytorch_model. Cut if it does not fit. */
static void safetensors_name(const char *base, char name[ZI_WEIGHTS_NAME])
{
    static const char old[] = "pytorch_model";
    const char *dot = strrchr(base, '.'), *stem = base;
    if (strncmp(base, old, strlen(old)) == 0) stem += strlen("pytorch_");
    snprintf(name, ZI_WEIGHTS_NAME, "%.*s.safetensors", dot ? (int)(dot - stem) : (int)strlen(stem),
             stem);
}

bool zi_check_no_pickle(const char *path, const zi_mapping *mapping, zi_error *error)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    bool sure = mapping && begins_like_pickle(mapping);
    if (!sure && (!zi_is_pickle_name(path) || (mapping && begins_like_safetensors(mapping))))
        return true;
    const char *how = !sure                             ? "by its name "
                      : ends_with(path, ".safetensors") ? "in spite of its name "
                                                        : "";
    int shards = count_of_shards(base);
    if (shards > 1)
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                            "is %sa PyTorch checkpoint (a pickle), which can run any program when "
                            "it is read, and is not supported; get this model as .safetensors "
                            "files (this file is one of %d that belong together, so do not convert "
                            "it alone)",
                            how, shards);
    char name[ZI_WEIGHTS_NAME];
    safetensors_name(base, name);
    return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                        "is %sa PyTorch checkpoint (a pickle), which can run any program when it "
                        "is read, and is not supported; use a real .safetensors file of this "
                        "model, or save it as %s in the same folder, in Python: "
                        "safetensors.torch.save_file(torch.load(FILE, weights_only=True), "
                        "NEW_FILE)",
                        how, name);
}
