#include "registry/inspection_cache.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/text.h"
#include "io/gguf_split.h"
#include "io/json.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* FORMAT is the version of the file: increase it with every change of zi_inspection. */
enum { FORMAT = 3, MAX_FILE = 64 << 20 /* bytes */ };

typedef struct {
    char *absolute_path;
    uint64_t fingerprint;
    /* Its texts contain the path as given, so that inspection->path is part of the key. */
    zi_inspection *inspection;
} cache_entry;

struct zi_inspection_cache {
    const char *file;
    pthread_mutex_t mutex;
    cache_entry *entries; /* [count] */
    size_t count;
    bool loaded;  /* the file has been read */
    bool changed; /* since the last save */
};

/* ---- the state of files ---- */

/* The time of change, which a change of contents sets and no program can set back. */
#if defined(__APPLE__)
#define CHANGED st_ctimespec
#else
#define CHANGED st_ctim
#endif

/* Continues an FNV-1a hash with `size` bytes of data; returns the new hash. */
static uint64_t fnv1a(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3;
    return hash;
}

/* zi_walk_files_fn; user: a zi_files_state, to which it adds the file's size and its hash of name,
 * size and time of change. Hashes are summed, because folders list files in any order. Always true.
 */
static bool add_file_state(void *user, const char *name, const struct stat *st, zi_error *error)
{
    zi_files_state *state = user;
    const int64_t facts[] = {(int64_t)st->st_size, (int64_t)st->CHANGED.tv_sec,
                             (int64_t)st->CHANGED.tv_nsec};
    (void)error;
    state->fingerprint +=
        fnv1a(fnv1a(0xcbf29ce484222325, name, strlen(name) + 1), facts, sizeof facts);
    state->bytes += (uint64_t)st->st_size;
    return true;
}

bool zi_files_state_read(const char *path, zi_files_state *out, zi_error *error)
{
    int number, count = 1;
    *out = (zi_files_state){0};
    if (!zi_gguf_shard_parse(path, &number, &count) || count == 1)
        return zi_walk_files(path, false, add_file_state, out, error);
    bool ok = true;
    for (int i = 1; ok && i <= count; i++) { /* missing ones leave their mark, too */
        char *shard = zi_gguf_shard_path(path, i);
        if (!shard) return zi_error_no_memory(error, strlen(path));
        ok = !zi_is_file(shard) || zi_walk_files(shard, false, add_file_state, out, error);
        free(shard);
    }
    return ok;
}

/* Returns the absolute path in new memory, links resolved except for the last component. NULL: its
 * folder is gone, or memory is short. */
static char *absolute_path(const char *path)
{
    char *folder = zi_path_dirname(path), *name = zi_path_basename(path);
    char *real = folder ? realpath(folder, NULL) : NULL;
    char *place = real && name ? zi_path_join(real, name) : NULL;
    free(folder);
    free(name);
    free(real);
    return place;
}

/* ---- entries; called with the mutex held ---- */

/* Returns the entry of an absolute path that was inspected as `path`; NULL: there is none. It is
 * valid until entries are added. */
static cache_entry *find_entry(const zi_inspection_cache *cache, const char *absolute,
                               const char *path)
{
    for (size_t i = 0; i < cache->count; i++) {
        cache_entry *r = &cache->entries[i];
        if (!strcmp(r->absolute_path, absolute) && !strcmp(r->inspection->path, path)) return r;
    }
    return NULL;
}

/* Appends a copy of the struct, whose string and inspection the cache then owns; does not set
 * `changed`. False: memory is short, and they stay the caller's. */
static bool add_entry(zi_inspection_cache *cache, const cache_entry *added)
{
    cache_entry *more = realloc(cache->entries, (cache->count + 1) * sizeof *more);
    if (!more) return false;
    cache->entries = more;
    more[cache->count++] = *added;
    return true;
}

/* Frees the string of the entry (not NULL) and drops its reference to the inspection; the struct
 * keeps its values. NULL members are allowed. */
static void free_entry(cache_entry *r)
{
    free(r->absolute_path);
    zi_inspection_free(r->inspection);
}

/* Adds an entry from JSON; an invalid one, or one for which memory is short, is ignored. Duplicates
 * are not looked for; find_entry takes the first. */
static void read_entry(zi_inspection_cache *cache, const cJSON *json)
{
    const char *place = cJSON_GetStringValue(zi_json_find(json, "place"));
    const char *state = cJSON_GetStringValue(zi_json_find(json, "state"));
    cache_entry r = {.absolute_path = place ? strdup(place) : NULL,
                     .fingerprint = state ? strtoull(state, NULL, 16) : 0,
                     .inspection = zi_inspection_from_json(json)};
    if (!r.absolute_path || !r.inspection || !add_entry(cache, &r)) free_entry(&r);
}

/* Reads the file and adds its entries, unless that was done before. A missing (or no) file, a
 * damaged one, or one of another version adds none; `loaded` becomes true in any case. */
static void load_file_once(zi_inspection_cache *cache)
{
    cJSON *root = NULL;
    const cJSON *json;
    bool there = !cache->loaded && cache->file && zi_is_file(cache->file) &&
                 zi_json_read(cache->file, MAX_FILE, &root, NULL);
    const char *version = there ? cJSON_GetStringValue(zi_json_find(root, "version")) : NULL;
    if (version && !strcmp(version, ZI_VERSION) &&
        zi_json_is_int(zi_json_find(root, "format"), FORMAT, FORMAT))
        cJSON_ArrayForEach(json, zi_json_find(root, "models")) read_entry(cache, json);
    cache->loaded = true;
    cJSON_Delete(root);
}

/* ---- interface ---- */

zi_inspection_cache *zi_inspection_cache_create(const char *file)
{
    zi_inspection_cache *cache = calloc(1, sizeof *cache);
    if (!cache) return NULL;
    pthread_mutex_init(&cache->mutex, NULL);
    cache->file = file;
    return cache;
}

void zi_inspection_cache_free(zi_inspection_cache *cache)
{
    if (!cache) return;
    for (size_t i = 0; i < cache->count; i++) free_entry(&cache->entries[i]);
    pthread_mutex_destroy(&cache->mutex);
    free(cache->entries);
    free(cache);
}

zi_inspection *zi_inspection_cache_get(zi_inspection_cache *cache, const char *path,
                                       const zi_files_state *state)
{
    char *place = absolute_path(path);
    if (!place) return NULL;
    pthread_mutex_lock(&cache->mutex);
    load_file_once(cache);
    const cache_entry *r = find_entry(cache, place, path);
    bool fresh = r && r->fingerprint == state->fingerprint;
    zi_inspection *inspection = fresh ? zi_inspection_retain(r->inspection) : NULL;
    pthread_mutex_unlock(&cache->mutex);
    free(place);
    return inspection;
}

void zi_inspection_cache_put(zi_inspection_cache *cache, const char *path,
                             const zi_files_state *state, zi_inspection *inspection)
{
    cache_entry added = {absolute_path(path), state->fingerprint, zi_inspection_retain(inspection)};
    pthread_mutex_lock(&cache->mutex);
    load_file_once(cache);
    cache_entry *old = added.absolute_path ? find_entry(cache, added.absolute_path, path) : NULL;
    bool kept = old || (added.absolute_path && add_entry(cache, &added));
    if (old) {
        cache_entry replaced = *old;
        *old = added;
        free_entry(&replaced);
    }
    cache->changed |= kept;
    pthread_mutex_unlock(&cache->mutex);
    if (!kept) free_entry(&added);
}

/* ---- the file ---- */

/* Appends an entry to the text of a JSON array, after a comma unless it is the first. Appends
 * nothing if its model is gone, its JSON is not valid UTF-8, or memory for that is short. */
static void append_entry(const cache_entry *r, zi_text *out)
{
    char state[20];
    struct stat st;
    if (lstat(r->absolute_path, &st) != 0) return;
    cJSON *json = zi_inspection_to_json(r->inspection);
    snprintf(state, sizeof state, "%" PRIx64, r->fingerprint);
    cJSON_AddStringToObject(json, "place", r->absolute_path);
    cJSON_AddStringToObject(json, "state", state);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (text && zi_utf8_valid(text, strlen(text))) {
        if (out->data[out->size - 1] != '[') zi_text_puts(out, ",\n");
        zi_text_puts(out, text);
    }
    cJSON_free(text);
}

/* Returns the file's text, in new memory; NULL: memory is short, or it exceeds MAX_FILE. The mutex
 * is held. */
static char *format_file(const zi_inspection_cache *cache)
{
    zi_text text;
    zi_text_init(&text, MAX_FILE);
    zi_text_printf(&text, "{\"version\":\"%s\",\"format\":%d,\"models\":[", ZI_VERSION, FORMAT);
    for (size_t i = 0; i < cache->count && !text.failed; i++)
        append_entry(&cache->entries[i], &text);
    zi_text_puts(&text, "]}\n");
    return zi_text_take(&text);
}

void zi_inspection_cache_save(zi_inspection_cache *cache)
{
    zi_output output = {0};
    pthread_mutex_lock(&cache->mutex);
    char *text = cache->file && cache->changed ? format_file(cache) : NULL;
    cache->changed = cache->changed && !text;
    pthread_mutex_unlock(&cache->mutex);
    bool ok = text && zi_make_parent_folders(cache->file, NULL) &&
              zi_output_open(&output, cache->file, NULL) &&
              zi_output_write(&output, text, strlen(text), NULL) && zi_output_commit(&output, NULL);
    if (text && !ok) { /* the next call tries again */
        pthread_mutex_lock(&cache->mutex);
        cache->changed = true;
        pthread_mutex_unlock(&cache->mutex);
    }
    zi_output_discard(&output);
    free(text);
}
