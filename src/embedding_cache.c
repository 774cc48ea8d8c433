#include "embedding_cache.h"

#include "base/file.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_MEMORY_BYTES ((size_t)64 << 20)
#define MAX_DISK_BYTES ((size_t)256 << 20)

typedef struct entry {
    char key[ZI_EMBEDDING_KEY];
    size_t size;
    float *values;
    struct entry *next;
} entry;

struct zi_embedding_cache {
    char *folder; /* NULL: none */
    pthread_mutex_t mutex;
    entry *first; /* most recently used */
};

/* ---- memory; all called with the mutex held ---- */

/* Frees each entry, from the most recently used on, that does not fit into MAX_MEMORY_BYTES with
 * the kept newer ones; so a small entry may outlast a large newer one. The caller holds the mutex.
 */
static void evict_memory(zi_embedding_cache *cache)
{
    size_t bytes = 0;
    for (entry **at = &cache->first; *at;) {
        entry *this = *at;
        bytes += this->size;
        if (bytes <= MAX_MEMORY_BYTES) {
            at = &this->next;
            continue;
        }
        *at = this->next;
        bytes -= this->size;
        free(this->values);
        free(this);
    }
}

/* Links the entry, which the cache then owns, as the most recently used one. Then evicts what is
 * too much, which may be this entry: it must not be used afterwards. The caller holds the mutex. */
static void insert_first(zi_embedding_cache *cache, entry *e)
{
    e->next = cache->first;
    cache->first = e;
    evict_memory(cache);
}

/* Unlinks the entry of this key and size, which the caller then owns; NULL: there is none. The
 * caller holds the mutex. */
static entry *remove_entry(zi_embedding_cache *cache, const char *key, size_t size)
{
    for (entry **at = &cache->first; *at; at = &(*at)->next)
        if (!strcmp((*at)->key, key) && (*at)->size == size) {
            entry *e = *at;
            *at = e->next;
            return e;
        }
    return NULL;
}

/* Adds a copy of `size` bytes as the most recently used entry; there must be none of this key and
 * size yet. Then evicts what is too much, which may be this entry. Does nothing when memory is
 * short. The caller holds the mutex. */
static void store_in_memory(zi_embedding_cache *cache, const char *key, const void *values,
                            size_t size)
{
    entry *e = calloc(1, sizeof *e);
    float *copy = malloc(size);
    if (!e || !copy) {
        free(e);
        free(copy);
        return;
    }
    snprintf(e->key, sizeof e->key, "%s", key);
    e->values = memcpy(copy, values, size);
    e->size = size;
    insert_first(cache, e);
}

/* ---- the disk ---- */

typedef struct {
    char *path;
    size_t size;
    struct timespec modified;
} cached_file;

/* For qsort of cached_file: the latest time of modification first. */
static int newest_first(const void *a, const void *b)
{
    const struct timespec *x = &((const cached_file *)a)->modified,
                          *y = &((const cached_file *)b)->modified;
    if (x->tv_sec != y->tv_sec) return x->tv_sec < y->tv_sec ? 1 : -1;
    return (x->tv_nsec < y->tv_nsec) - (x->tv_nsec > y->tv_nsec);
}

#ifdef __APPLE__
#define st_mtim st_mtimespec
#endif

/* Whether a file name is a key, 32 hexadecimal digits in lower case; other files in the folder are
 * left alone. */
static bool is_cache_file_name(const char *name)
{
    return strlen(name) == ZI_EMBEDDING_KEY - 1 &&
           strspn(name, "0123456789abcdef") == ZI_EMBEDDING_KEY - 1;
}

/* Deletes the oldest cache files, by time of modification: the first that does not fit into
 * MAX_DISK_BYTES with all newer ones, and all older ones. Other files are left alone, errors are
 * ignored. The folder must not be NULL. */
static void evict_disk(const zi_embedding_cache *cache)
{
    DIR *folder = opendir(cache->folder);
    cached_file *files = NULL;
    size_t count = 0, bytes = 0;
    for (struct dirent *d; folder && (d = readdir(folder));) {
        struct stat st;
        if (!is_cache_file_name(d->d_name)) continue;
        cached_file *grown = realloc(files, (count + 1) * sizeof *files);
        char *path = zi_path_join(cache->folder, d->d_name);
        if (grown) files = grown;
        if (grown && path && lstat(path, &st) == 0 && S_ISREG(st.st_mode))
            files[count++] = (cached_file){path, (size_t)st.st_size, st.st_mtim};
        else
            free(path);
    }
    if (folder) closedir(folder);
    if (count) qsort(files, count, sizeof *files, newest_first);
    for (size_t i = 0; i < count; i++) {
        bytes += files[i].size;
        if (bytes > MAX_DISK_BYTES) unlink(files[i].path);
        free(files[i].path);
    }
    free(files);
}

/* Whether no value is NaN or infinite; true if count is 0. */
static bool all_finite(const float *values, size_t count)
{
    float sum = 0; /* x - x is 0 for finite values only */
    for (size_t i = 0; i < count; i++) sum += values[i] - values[i];
    return sum == 0;
}

/* Reads a cache file of `size` bytes to values. False, without an error: there is no folder, the
 * file is missing or unreadable, has another size, or has values that are not finite; values may be
 * overwritten even then. */
static bool read_cache_file(const zi_embedding_cache *cache, const char *key, float *values,
                            size_t size)
{
    char *path = cache->folder ? zi_path_join(cache->folder, key) : NULL, *data = NULL;
    size_t found = 0;
    bool ok = path && zi_file_read(path, size, &data, &found, NULL) && found == size;
    if (ok) memcpy(values, data, size);
    ok = ok && all_finite(values, size / sizeof *values);
    free(data);
    free(path);
    return ok;
}

/* Writes `size` bytes of values atomically to the key's cache file, if there is a folder, then
 * deletes the oldest files when all take too much. Failures are ignored. */
static void write_cache_file(const zi_embedding_cache *cache, const char *key, const float *values,
                             size_t size)
{
    char *path = cache->folder ? zi_path_join(cache->folder, key) : NULL;
    zi_output output = {0};
    if (path && zi_output_open(&output, path, NULL) &&
        zi_output_write(&output, values, size, NULL) && zi_output_commit(&output, NULL))
        evict_disk(cache);
    zi_output_discard(&output);
    free(path);
}

/* ---- the cache ---- */

bool zi_embedding_cache_create(const char *folder, zi_embedding_cache **out, zi_error *error)
{
    zi_embedding_cache *cache = calloc(1, sizeof *cache);
    char *copy = folder ? strdup(folder) : NULL;
    if (!cache || (folder && !copy)) {
        free(cache);
        free(copy);
        return zi_error_no_memory(error, sizeof *cache);
    }
    cache->folder = copy;
    pthread_mutex_init(&cache->mutex, NULL);
    if (copy) mkdir(copy, 0777);
    *out = cache;
    return true;
}

void zi_embedding_cache_free(zi_embedding_cache *cache)
{
    if (!cache) return;
    while (cache->first) {
        entry *e = cache->first;
        cache->first = e->next;
        free(e->values);
        free(e);
    }
    pthread_mutex_destroy(&cache->mutex);
    free(cache->folder);
    free(cache);
}

bool zi_embedding_cache_find(zi_embedding_cache *cache, const char *key, float *values,
                             size_t count)
{
    size_t size = count * sizeof *values;
    pthread_mutex_lock(&cache->mutex);
    entry *e = remove_entry(cache, key, size);
    if (e) {
        memcpy(values, e->values, size);
        insert_first(cache, e);
    }
    bool found = e || read_cache_file(cache, key, values, size);
    if (found && !e) store_in_memory(cache, key, values, size);
    pthread_mutex_unlock(&cache->mutex);
    return found;
}

void zi_embedding_cache_add(zi_embedding_cache *cache, const char *key, const float *values,
                            size_t count)
{
    size_t size = count * sizeof *values;
    pthread_mutex_lock(&cache->mutex);
    entry *other =
        remove_entry(cache, key, size); /* added by a session that encoded it at the same time */
    if (other) insert_first(cache, other);
    if (!other) store_in_memory(cache, key, values, size);
    if (!other) write_cache_file(cache, key, values, size);
    pthread_mutex_unlock(&cache->mutex);
}
