#include "io/gguf_split.h"
#include "io/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a shard's name ends in, and the length of that. */
#define SHARD_ENDING "-%05d-of-%05d.gguf"
enum { ENDING_LENGTH = 20 };

bool zi_gguf_shard_parse(const char *path, int *number, int *count)
{
    size_t length = strlen(path);
    if (length < ENDING_LENGTH) return false;
    const char *ending = path + length - ENDING_LENGTH;
    int n = 0, m = 0;
    char again[ENDING_LENGTH + 20];
    if (sscanf(ending, "-%5d-of-%5d.gguf", &n, &m) != 2 || n < 1 || m < n) return false;
    snprintf(again, sizeof again, SHARD_ENDING, n, m);
    if (strcmp(ending, again) != 0) return false; /* such as signs, blanks or other endings */
    *number = n;
    *count = m;
    return true;
}

char *zi_gguf_shard_path(const char *path, int number)
{
    size_t size = strlen(path) + 1, stem = size - 1 - ENDING_LENGTH;
    char *out = malloc(size);
    int count = atoi(path + size - 1 - strlen("NNNNN.gguf"));
    if (out) snprintf(out, size, "%.*s" SHARD_ENDING, (int)stem, path, number, count);
    return out;
}

/* Sets *out to split.count of a file's metadata; 1: it is not there, or says that the file is the
 * only one. Fails with ZI_ERROR_BAD_FORMAT if it is no integer from 0 to 65535. */
static bool read_count(const zi_gguf *gguf, int *out, zi_error *error)
{
    int64_t count = 1;
    if (zi_gguf_find(gguf, "split.count") &&
        !zi_gguf_integer(gguf, "split.count", 0, UINT16_MAX, &count, error))
        return false;
    *out = count > 1 ? (int)count : 1;
    return true;
}

/* Fails with ZI_ERROR_BAD_FORMAT unless split.count of a file is `count` and split.no, if it is
 * there, says that it is file `number`, from 1, of the model: the numbers in its name. */
static bool check_numbers(const zi_gguf *gguf, int number, int count, zi_error *error)
{
    int found = 1;
    int64_t position = number - 1;
    if (!read_count(gguf, &found, error)) return false;
    if (found != count)
        return zi_error_set_in(
            error, ZI_ERROR_BAD_FORMAT, gguf->path, "split.count",
            "is named as one of %d files of a model, but its metadata (split.count) say that there "
            "are %d; fetch all files of the model again",
            count, found);
    if (zi_gguf_find(gguf, "split.no") &&
        !zi_gguf_integer(gguf, "split.no", 0, UINT16_MAX, &position, error))
        return false;
    return position == number - 1 ||
           zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, gguf->path, "split.no",
                           "is named as file %d of %d, but its metadata (split.no %lld) say that "
                           "it is file %lld; give the files the names that they had",
                           number, count, (long long)position, (long long)position + 1);
}

/* Appends tensors [count], which become the checkpoint's, with the number of their file; the array
 * is freed. False: memory is short; *error is set, and they are freed. */
static bool append_tensors(zi_checkpoint *checkpoint, zi_tensor *tensors, size_t count, int file,
                           zi_error *error)
{
    size_t before = checkpoint->tensor_count, bytes = (before + count) * sizeof *tensors;
    zi_tensor *grown = count ? realloc(checkpoint->tensors, bytes) : NULL;
    if (grown) checkpoint->tensors = grown;
    for (size_t i = 0; i < count; i++) {
        tensors[i].file = file;
        if (grown)
            grown[before + i] = tensors[i];
        else
            free(tensors[i].name);
    }
    if (grown) checkpoint->tensor_count += count;
    free(tensors);
    return grown || !count || zi_error_no_memory(error, bytes);
}

/* Adds shard `number` of `count`: maps it, appends its tensors, and keeps its metadata if it is the
 * first one. After a failure the caller closes the checkpoint. */
static bool add_shard(zi_checkpoint *checkpoint, const char *path, int number, int count,
                      zi_error *error)
{
    zi_tensor *tensors = NULL;
    size_t tensor_count = 0;
    zi_gguf *gguf = NULL;
    int file = checkpoint->file_count;
    if (!zi_is_file(path))
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, path,
                            "is missing: it is file %d of the %d that make this model together; "
                            "fetch it into the same folder",
                            number, count);
    if (!zi_checkpoint_map_file(checkpoint, path, error)) return false;
    const zi_mapping *mapping = &checkpoint->files[file].mapping;
    bool ok = zi_gguf_is(mapping)
                  ? zi_gguf_parse(checkpoint->files[file].path, mapping, &tensors, &tensor_count,
                                  &gguf, error) &&
                        check_numbers(gguf, number, count, error)
                  : zi_error_set(error, ZI_ERROR_BAD_FORMAT, path,
                                 "is no GGUF file, but one of %d that make a model together; fetch "
                                 "it again",
                                 count);
    if (!append_tensors(checkpoint, tensors, tensor_count, file, ok ? error : NULL)) ok = false;
    if (ok && number == 1) {
        zi_gguf *other = checkpoint->gguf;
        checkpoint->gguf = gguf;
        gguf = other;
    }
    zi_gguf_free(gguf);
    return ok;
}

/* Fails with ZI_ERROR_BAD_FORMAT if the first file has split.tensors.count and the files do not
 * have as many tensors together. */
static bool check_tensor_count(const zi_checkpoint *checkpoint, zi_error *error)
{
    static const char key[] = "split.tensors.count";
    int64_t wanted = 0;
    if (!zi_gguf_find(checkpoint->gguf, key)) return true;
    if (!zi_gguf_integer(checkpoint->gguf, key, 0, INT32_MAX, &wanted, error)) return false;
    return (size_t)wanted == checkpoint->tensor_count ||
           zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, checkpoint->gguf->path, key,
                           "the model should have %lld tensors (%s), but its %d files have %zu; "
                           "fetch them again",
                           (long long)wanted, key, checkpoint->file_count,
                           checkpoint->tensor_count);
}

bool zi_gguf_add_shards(zi_checkpoint *checkpoint, zi_error *error)
{
    const char *given = checkpoint->files[0].path;
    int number = 1, count = 1, files = 1;
    bool ok = true;
    if (!read_count(checkpoint->gguf, &files, error)) return false;
    if (files == 1) return true;
    if (!zi_gguf_shard_parse(given, &number, &count))
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, given, "split.count",
                               "is one of %d files that make a model together (split.count), but "
                               "its name does not end in -00001-of-%05d.gguf, which tells the "
                               "others; give them the names that they had",
                               files, files);
    if (!check_numbers(checkpoint->gguf, number, count, error)) return false;
    for (int i = 1; ok && i <= count; i++) {
        char *path = i == number ? NULL : zi_gguf_shard_path(given, i);
        ok = i == number || (path ? add_shard(checkpoint, path, i, count, error)
                                  : zi_error_no_memory(error, strlen(given)));
        free(path);
    }
    return ok && check_tensor_count(checkpoint, error);
}
