/* A1111's "Model hash". Reading a file of 12 GB takes many seconds, so hashes are stored by path,
 * size and time of change of the file, in hashes.json beside the inspection cache. */
#include "base/file.h"
#include "base/filesystem.h"
#include "base/text.h"
#include "hub/digest.h"
#include "io/json.h"
#include "registry/registry.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Files up to SMALL are hashed at once, in some tenths of a second. Hashes of files up to TINY are
 * not stored. */
enum { SMALL = 32 << 20, TINY = 4 << 20, MAX_FILE = 4 << 20, MAX_ENTRIES = 1000 };

#if defined(__APPLE__)
#define CHANGED st_ctimespec
#else
#define CHANGED st_ctim
#endif

/* ---- the weight file ---- */

/* A scandir filter: visible files *.safetensors and *.gguf. */
static int is_weight_file(const struct dirent *entry)
{
    return entry->d_name[0] != '.' && zi_weights_extension(entry->d_name);
}

/* The first weight file by name in a folder, in new memory; NULL: there is none, or memory is
 * short. */
static char *first_file_in(const char *folder)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_weight_file, alphasort);
    char *path = count > 0 ? zi_path_join(folder, entries[0]->d_name) : NULL;
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
    return path;
}

/* The model's file, or the first weight file of its transformer, with links resolved, in new
 * memory; NULL: there is none, or memory is short. */
static char *weight_file(const char *model)
{
    char *transformer = zi_path_join(model, "transformer");
    char *path = zi_is_dir(model) ? NULL : strdup(model);
    if (!path && transformer) path = first_file_in(transformer);
    if (!path) path = first_file_in(model);
    char *real = path ? realpath(path, NULL) : NULL;
    free(transformer);
    free(path);
    return real;
}

/* Whether a path is in a hub cache's folder `blobs`, where files are named by their SHA-256; sets
 * *digest to the name then. */
static bool is_hub_blob(const char *path, const char **digest)
{
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) : 0;
    if (folder < 6 || memcmp(path + folder - 6, "/blobs", 6) != 0) return false;
    *digest = slash + 1;
    return zi_digest_valid(ZI_DIGEST_SHA256, slash + 1);
}

/* ---- stored hashes ---- */

/* The path of hashes.json, in new memory; NULL: the registry stores nothing, or memory is short. */
static char *hashes_path(const zi_registry *registry)
{
    char *folder =
        registry->options.cache_file ? zi_path_dirname(registry->options.cache_file) : NULL;
    char *path = folder ? zi_path_join(folder, "hashes.json") : NULL;
    free(folder);
    return path;
}

/* Reads hashes.json, an array of entries; a missing or damaged file is an empty one. The caller
 * deletes it. NULL: memory is short. */
static cJSON *read_hashes(const char *path)
{
    cJSON *root = NULL;
    if (path && zi_is_file(path) && zi_json_read(path, MAX_FILE, &root, NULL) &&
        cJSON_IsArray(root))
        return root;
    cJSON_Delete(root);
    return cJSON_CreateArray();
}

/* Writes "SIZE SECONDS.NANOSECONDS" of a file, its state. */
static void format_state(const struct stat *st, char out[80])
{
    snprintf(out, 80, "%" PRIu64 " %" PRId64 ".%09ld", (uint64_t)st->st_size,
             (int64_t)st->CHANGED.tv_sec, (long)st->CHANGED.tv_nsec);
}

/* Copies the stored digest of this file in this state to text. False: there is none. */
static bool find_hash(const char *file, const char *path, const char *state,
                      char text[ZI_DIGEST_HEX_SIZE])
{
    cJSON *root = read_hashes(file), *entry;
    bool found = false;
    cJSON_ArrayForEach(entry, root)
    {
        const char *at = cJSON_GetStringValue(zi_json_find(entry, "path"));
        const char *then = cJSON_GetStringValue(zi_json_find(entry, "state"));
        const char *digest = cJSON_GetStringValue(zi_json_find(entry, "sha256"));
        if (!at || !then || !digest || strcmp(at, path) != 0 || strcmp(then, state) != 0) continue;
        found = zi_digest_valid(ZI_DIGEST_SHA256, digest);
        if (found) memcpy(text, digest, ZI_DIGEST_HEX_SIZE);
    }
    cJSON_Delete(root);
    return found;
}

/* Stores a digest in place of an older one of the path, and drops entries of files that are gone.
 * Errors are ignored: the hash is computed again. */
static void store_hash(const char *file, const char *path, const char *state, const char *text)
{
    zi_output output = {0};
    struct stat st;
    cJSON *root = read_hashes(file), *kept = cJSON_CreateArray(), *entry = cJSON_CreateObject();
    cJSON_AddStringToObject(entry, "path", path);
    cJSON_AddStringToObject(entry, "state", state);
    cJSON_AddStringToObject(entry, "sha256", text);
    cJSON_AddItemToArray(kept, entry);
    while (root && (entry = cJSON_DetachItemFromArray(root, 0))) {
        const char *at = cJSON_GetStringValue(zi_json_find(entry, "path"));
        if (at && strcmp(at, path) != 0 && stat(at, &st) == 0 &&
            cJSON_GetArraySize(kept) < MAX_ENTRIES)
            cJSON_AddItemToArray(kept, entry);
        else
            cJSON_Delete(entry);
    }
    char *json = zi_utf8_valid(path, strlen(path)) ? cJSON_Print(kept) : NULL;
    bool ok = json && file && zi_make_parent_folders(file, NULL) &&
              zi_output_open(&output, file, NULL) &&
              zi_output_write(&output, json, strlen(json), NULL) && zi_output_commit(&output, NULL);
    (void)ok;
    zi_output_discard(&output);
    cJSON_free(json);
    cJSON_Delete(kept);
    cJSON_Delete(root);
}

/* ---- interface ---- */

bool zi_registry_model_hash(zi_registry *registry, const char *path, bool compute,
                            bool (*should_continue)(void *user), void *user,
                            char hash[ZI_MODEL_HASH], zi_error *error)
{
    struct stat st;
    char *weights = weight_file(path), *file = hashes_path(registry), state[80];
    char text[ZI_DIGEST_HEX_SIZE] = "";
    const char *digest = text;
    zi_error why = {0};
    bool cancelled = false;
    bool there = weights && stat(weights, &st) == 0 && S_ISREG(st.st_mode);
    if (there && !is_hub_blob(weights, &digest)) {
        digest = text;
        format_state(&st, state);
        pthread_mutex_lock(&registry->mutex);
        bool known = find_hash(file, weights, state, text);
        pthread_mutex_unlock(&registry->mutex);
        if (!known && (compute || st.st_size <= SMALL)) {
            known =
                zi_digest_file_while(weights, ZI_DIGEST_SHA256, should_continue, user, text, &why);
            cancelled = !known && why.code == ZI_ERROR_CANCELLED;
            pthread_mutex_lock(&registry->mutex);
            if (known && st.st_size > TINY) store_hash(file, weights, state, text);
            pthread_mutex_unlock(&registry->mutex);
            if (!known) *text = 0;
        }
    }
    if (!cancelled) snprintf(hash, ZI_MODEL_HASH, "%.10s", digest);
    free(weights);
    free(file);
    return !cancelled || zi_error_cancelled(error);
}
