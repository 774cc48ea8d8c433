#include "io/checkpoint.h"
#include "io/gguf.h"
#include "io/gguf_split.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "io/weights_files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* For qsort: orders tensors by name, bytewise. */
static int by_name(const void *a, const void *b)
{
    return strcmp(((const zi_tensor *)a)->name, ((const zi_tensor *)b)->name);
}

bool zi_checkpoint_map_file(zi_checkpoint *checkpoint, const char *path, zi_error *error)
{
    void *files = realloc(checkpoint->files,
                          ((size_t)checkpoint->file_count + 1) * sizeof *checkpoint->files);
    if (!files) return zi_error_no_memory(error, sizeof *checkpoint->files);
    checkpoint->files = files;
    int index = checkpoint->file_count;
    zi_mapping mapping;
    if (!zi_file_map(path, &mapping, error)) return false;
    checkpoint->files[index].mapping = mapping;
    checkpoint->files[index].path = strdup(path);
    checkpoint->file_count++;
    return checkpoint->files[index].path || zi_error_no_memory(error, strlen(path));
}

/* Maps the safetensors file at path, appends it to the checkpoint's files, and appends its tensors
 * (unsorted) and metadata. On failure the caller closes the checkpoint. */
static bool add_safetensors(zi_checkpoint *checkpoint, const char *path, zi_error *error)
{
    if (!zi_checkpoint_map_file(checkpoint, path, error)) return false;
    int index = checkpoint->file_count - 1;
    return zi_safetensors_parse(path, &checkpoint->files[index].mapping, index, checkpoint, error);
}

/* Maps path as the first file of an empty checkpoint and adds its tensors (unsorted) and metadata,
 * safetensors or GGUF depending on its first bytes, and the other files of a GGUF model in several.
 * On failure the caller closes the checkpoint. */
static bool add_first_file(zi_checkpoint *checkpoint, const char *path, zi_error *error)
{
    if (!zi_checkpoint_map_file(checkpoint, path, error)) return false;
    const zi_mapping *mapping = &checkpoint->files[0].mapping;
    if (!zi_gguf_is(mapping))
        return zi_check_no_pickle(path, mapping, error) &&
               zi_safetensors_parse(path, mapping, 0, checkpoint, error);
    return zi_gguf_parse(checkpoint->files[0].path, mapping, &checkpoint->tensors,
                         &checkpoint->tensor_count, &checkpoint->gguf, error) &&
           zi_gguf_add_shards(checkpoint, error);
}

/* Sorts tensors by name. Fails with ZI_ERROR_BAD_FORMAT if a name occurs twice. */
static bool sort_tensors(zi_checkpoint *checkpoint, zi_error *error)
{
    if (checkpoint->tensor_count == 0) return true;
    qsort(checkpoint->tensors, checkpoint->tensor_count, sizeof *checkpoint->tensors, by_name);
    for (size_t i = 1; i < checkpoint->tensor_count; i++) {
        const zi_tensor *a = &checkpoint->tensors[i - 1], *b = &checkpoint->tensors[i];
        if (strcmp(a->name, b->name) != 0) continue;
        return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, zi_tensor_file(checkpoint, b), b->name,
                               "tensor %s is there twice, the other time in %s; fetch the model "
                               "again, or use another file of it",
                               b->name, zi_tensor_file(checkpoint, a));
    }
    return true;
}

bool zi_checkpoint_open(const char *path, zi_checkpoint *out, zi_error *error)
{
    zi_checkpoint checkpoint = {0};
    if (!add_first_file(&checkpoint, path, error) || !sort_tensors(&checkpoint, error)) {
        zi_checkpoint_close(&checkpoint);
        return false;
    }
    *out = checkpoint;
    return true;
}

/* Whether a shard's name is a plain file name (not empty, no slash or backslash, no dot at the
 * start), so that an index cannot refer to other folders. */
static bool is_plain_file_name(const char *name)
{
    return name[0] && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\');
}

/* Whether the checkpoint has mapped a file under exactly this path already. */
static bool has_mapped_file(const zi_checkpoint *checkpoint, const char *path)
{
    for (int i = 0; i < checkpoint->file_count; i++)
        if (strcmp(checkpoint->files[i].path, path) == 0) return true;
    return false;
}

/* Maps the shard at path, which the index at this other path names, unless that is done, and adds
 * its tensors. On failure the caller closes the checkpoint. */
static bool add_shard(zi_checkpoint *checkpoint, const char *path, const char *index,
                      zi_error *error)
{
    const char *slash = strrchr(index, '/');
    if (has_mapped_file(checkpoint, path)) return true;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, path,
                            "is missing, but %s names it; fetch it into the same folder",
                            slash ? slash + 1 : index);
    return add_safetensors(checkpoint, path, error);
}

/* Maps each shard in dir that weight_map names, once, and adds its tensors. Fails with
 * ZI_ERROR_BAD_FORMAT for a value that is no plain file name. After any failure the caller closes
 * the checkpoint. index: path of the index, for errors. */
static bool add_shards(zi_checkpoint *checkpoint, const char *dir, const char *index,
                       const cJSON *weight_map, zi_error *error)
{
    const cJSON *row;
    cJSON_ArrayForEach(row, weight_map)
    {
        if (!cJSON_IsString(row) || !is_plain_file_name(row->valuestring))
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, index, row->string,
                                   "\"weight_map\" names no file in the same folder for tensor %s; "
                                   "fetch the index again",
                                   row->string);
        char *path = zi_path_join(dir, row->valuestring);
        if (!path) return zi_error_no_memory(error, strlen(dir));
        bool ok = add_shard(checkpoint, path, index, error);
        free(path);
        if (!ok) return false;
    }
    return true;
}

/* Fails with ZI_ERROR_BAD_FORMAT unless the sorted tensors of the shards are exactly those of
 * weight_map, whose values are strings, each in the shard in dir that it names. index: path of the
 * index, for errors. */
static bool check_index(const zi_checkpoint *checkpoint, const char *dir, const char *index,
                        const cJSON *weight_map, zi_error *error)
{
    size_t rows = 0, size = strlen(dir), prefix = size + (size && dir[size - 1] == '/' ? 0 : 1);
    const cJSON *row;
    cJSON_ArrayForEach(row, weight_map)
    {
        rows++;
        const zi_tensor *tensor = zi_checkpoint_find(checkpoint, row->string);
        const char *file = tensor ? zi_tensor_file(checkpoint, tensor) + prefix : NULL;
        if (!file || strcmp(file, row->valuestring) != 0)
            return zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, index, row->string,
                                   "tensor %s should be in %s but is %s; fetch this index and all "
                                   "its weight files again",
                                   row->string, row->valuestring,
                                   file ? "in another file" : "not there");
    }
    if (rows != checkpoint->tensor_count)
        return zi_error_set(error, ZI_ERROR_BAD_FORMAT, index,
                            "lists %zu tensors, but its weight files hold %zu; fetch this index "
                            "and all its weight files again",
                            rows, checkpoint->tensor_count);
    return true;
}

/* Opens all shards in dir that "weight_map" of an index names. Fails with ZI_ERROR_BAD_FORMAT
 * unless they hold exactly its tensors, and for all that zi_json_read and zi_checkpoint_open
 * refuse. index: path of the index. The caller closes *out; it is unchanged after a failure. */
static bool open_sharded(const char *dir, const char *index, zi_checkpoint *out, zi_error *error)
{
    enum { MAX_INDEX = 64 << 20 };
    zi_checkpoint checkpoint = {0};
    cJSON *json = NULL;
    bool ok = false;
    if (!zi_json_read(index, MAX_INDEX, &json, error)) goto out;
    const cJSON *weight_map = cJSON_GetObjectItemCaseSensitive(json, "weight_map");
    if (!cJSON_IsObject(weight_map) || !weight_map->child) {
        zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, index, "weight_map",
                        "has no \"weight_map\" with the names of tensors and their files; fetch "
                        "the index again");
        goto out;
    }
    if (!add_shards(&checkpoint, dir, index, weight_map, error) ||
        !sort_tensors(&checkpoint, error) ||
        !check_index(&checkpoint, dir, index, weight_map, error))
        goto out;
    *out = checkpoint;
    checkpoint = (zi_checkpoint){0};
    ok = true;
out:
    zi_checkpoint_close(&checkpoint);
    cJSON_Delete(json);
    return ok;
}

bool zi_checkpoint_open_dir(const char *dir, const char *name, zi_checkpoint *out, zi_error *error)
{
    char file[ZI_WEIGHTS_NAME];
    bool index = false;
    if (!zi_weights_find(dir, name, file, &index))
        return zi_error_set(
            error, ZI_ERROR_NOT_FOUND, dir,
            "weights are missing (neither %s.safetensors nor its index is there); fetch them again",
            name);
    char *path = zi_path_join(dir, file);
    if (!path) return zi_error_no_memory(error, strlen(dir));
    bool ok = index ? open_sharded(dir, path, out, error) : zi_checkpoint_open(path, out, error);
    free(path);
    return ok;
}

bool zi_checkpoint_open_numbered(const char *dir, zi_checkpoint *out, zi_error *error)
{
    zi_checkpoint checkpoint = {0};
    bool ok = true, more = true;
    for (int i = 0; ok && more; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.safetensors", i);
        char *path = zi_path_join(dir, name);
        more = i == 0 || (path && zi_is_file(path));
        ok = path ? !more || add_safetensors(&checkpoint, path, error)
                  : zi_error_no_memory(error, strlen(dir));
        free(path);
    }
    if (!ok || !sort_tensors(&checkpoint, error)) {
        zi_checkpoint_close(&checkpoint);
        return false;
    }
    *out = checkpoint;
    return true;
}

void zi_checkpoint_close(zi_checkpoint *checkpoint)
{
    for (size_t i = 0; i < checkpoint->metadata_count; i++) {
        free(checkpoint->metadata[i].key);
        free(checkpoint->metadata[i].value);
    }
    free(checkpoint->metadata);
    for (size_t i = 0; i < checkpoint->tensor_count; i++) free(checkpoint->tensors[i].name);
    free(checkpoint->tensors);
    for (int i = 0; i < checkpoint->file_count; i++) {
        zi_file_unmap(&checkpoint->files[i].mapping);
        free(checkpoint->files[i].path);
    }
    free(checkpoint->files);
    zi_gguf_free(checkpoint->gguf);
    *checkpoint = (zi_checkpoint){0};
}

bool zi_checkpoint_share(zi_checkpoint *opened, zi_checkpoint **out, zi_error *error)
{
    zi_checkpoint *shared = malloc(sizeof *shared);
    if (!shared) {
        zi_checkpoint_close(opened);
        return zi_error_no_memory(error, sizeof *shared);
    }
    *shared = *opened;
    *opened = (zi_checkpoint){0};
    atomic_init(&shared->owners, 1);
    *out = shared;
    return true;
}

zi_checkpoint *zi_checkpoint_retain(zi_checkpoint *shared)
{
    atomic_fetch_add(&shared->owners, 1);
    return shared;
}

void zi_checkpoint_release(zi_checkpoint *shared)
{
    if (!shared || atomic_fetch_sub(&shared->owners, 1) > 1) return;
    zi_checkpoint_close(shared);
    free(shared);
}

const zi_tensor *zi_checkpoint_find(const zi_checkpoint *checkpoint, const char *name)
{
    if (!checkpoint->tensor_count) return NULL;
    size_t low = 0, high = checkpoint->tensor_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(checkpoint->tensors[middle].name, name);
        if (order == 0) return &checkpoint->tensors[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

const char *zi_checkpoint_metadata(const zi_checkpoint *checkpoint, const char *key)
{
    for (size_t i = 0; i < checkpoint->metadata_count; i++)
        if (strcmp(checkpoint->metadata[i].key, key) == 0) return checkpoint->metadata[i].value;
    return NULL;
}

bool zi_checkpoint_add_metadata(zi_checkpoint *checkpoint, const char *key, const char *value,
                                zi_error *error)
{
    size_t count = checkpoint->metadata_count;
    zi_metadata *grown = checkpoint->metadata;
    if ((count & (count - 1)) == 0) /* room for the next power of two */
        grown = realloc(grown, (count ? 2 * count : 1) * sizeof *grown);
    if (!grown) return zi_error_no_memory(error, count * sizeof *grown);
    checkpoint->metadata = grown;
    grown[count] = (zi_metadata){strdup(key), strdup(value)};
    checkpoint->metadata_count++;
    if (!grown[count].key || !grown[count].value) return zi_error_no_memory(error, strlen(value));
    return true;
}

const char *zi_tensor_file(const zi_checkpoint *checkpoint, const zi_tensor *tensor)
{
    return checkpoint->files[tensor->file].path;
}

const char *zi_shape_text(const size_t *shape, int dims, char *buffer)
{
    size_t used = (size_t)snprintf(buffer, ZI_SHAPE_TEXT, "[");
    for (int i = 0; i < dims && used < ZI_SHAPE_TEXT - 24; i++)
        used +=
            (size_t)snprintf(buffer + used, ZI_SHAPE_TEXT - used, "%s%zu", i ? ", " : "", shape[i]);
    snprintf(buffer + used, ZI_SHAPE_TEXT - used, "]");
    return buffer;
}

bool zi_tensor_write(zi_output *output, const zi_tensor_out *tensor, size_t number, size_t bytes,
                     zi_tensor_write_fn fill, void *context, zi_error *error)
{
    off_t before = ftello(output->stream);
    if (!(fill ? fill(context, number, output, error)
               : zi_output_write(output, tensor->data, bytes, error)))
        return false;
    off_t after = ftello(output->stream);
    if (before < 0 || after < 0)
        return zi_error_set(
            error, ZI_ERROR_IO, output->path,
            "cannot write: the position in the file cannot be read: %s; write to an "
            "ordinary file",
            strerror(errno));
    return (size_t)(after - before) == bytes ||
           zi_error_set_in(error, ZI_ERROR_BAD_FORMAT, output->path, tensor->name,
                           "tensor %s was written with %lld bytes instead of %zu; this is a fault "
                           "of zimage: please report it",
                           tensor->name, (long long)(after - before), bytes);
}
