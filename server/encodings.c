#include "server/encodings.h"

#include "base/file.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY = 32 };
#define MOST_MEMORY ((size_t)64 << 20)
#define MOST_DISK ((size_t)256 << 20)

typedef struct entry {
    char key[KEY + 1];
    size_t size;
    float *values;
    struct entry *next;
} entry;

struct zi_known_texts {
    char *folder;
    entry *first; /* the one that was used last */
    size_t bytes;
    bool hit;
    zi_encodings encodings;
};

static void put_first(zi_known_texts *t, entry *e)
{
    e->next = t->first;
    t->first = e;
    t->bytes += e->size;
    size_t bytes = 0;
    for (entry **at = &t->first; *at;) {
        entry *this = *at;
        bytes += this->size;
        if (bytes <= MOST_MEMORY) {
            at = &this->next;
            continue;
        }
        *at = this->next;
        bytes -= this->size;
        free(this->values);
        free(this);
    }
    t->bytes = bytes;
}

static entry *take_out(zi_known_texts *t, const char *key, size_t size)
{
    for (entry **at = &t->first; *at; at = &(*at)->next)
        if (!strcmp((*at)->key, key) && (*at)->size == size) {
            entry *e = *at;
            *at = e->next;
            return e;
        }
    return NULL;
}

/* Takes values over, also when memory is short. */
static void remember(zi_known_texts *t, const char *key, float *values, size_t size)
{
    entry *e = calloc(1, sizeof *e);
    if (!e) {
        free(values);
        return;
    }
    memcpy(e->key, key, KEY);
    e->values = values;
    e->size = size;
    put_first(t, e);
}

static bool find(void *user, const char *key, float *values, size_t count)
{
    zi_known_texts *t = user;
    size_t size = count * sizeof *values, found = 0;
    entry *e = take_out(t, key, size);
    if (e) {
        put_first(t, e);
    } else {
        char *path = zi_path_join(t->folder, key), *data = NULL;
        bool read = path && zi_file_read(path, size, &data, &found, NULL);
        free(path);
        if (!read || found != size) {
            free(data);
            return t->hit = false;
        }
        memcpy(values, data, size);
        remember(t, key, (float *)(void *)data, size);
        return t->hit = true;
    }
    memcpy(values, e->values, size);
    return t->hit = true;
}

/* ---- the disk ---- */

typedef struct {
    char *path;
    size_t size;
    struct timespec when;
} file;

static int latest_first(const void *a, const void *b)
{
    const struct timespec *x = &((const file *)a)->when, *y = &((const file *)b)->when;
    if (x->tv_sec != y->tv_sec) return x->tv_sec < y->tv_sec ? 1 : -1;
    return (x->tv_nsec < y->tv_nsec) - (x->tv_nsec > y->tv_nsec);
}

#ifdef __APPLE__
#define st_mtim st_mtimespec
#endif

/* Removes the oldest files until the rest is small enough. */
static void limit_disk(const zi_known_texts *t)
{
    DIR *folder = opendir(t->folder);
    file *files = NULL;
    size_t count = 0, bytes = 0;
    for (struct dirent *d; folder && (d = readdir(folder));) {
        struct stat st;
        file *grown = realloc(files, (count + 1) * sizeof *files);
        char *path = zi_path_join(t->folder, d->d_name);
        if (grown) files = grown;
        if (grown && path && lstat(path, &st) == 0 && S_ISREG(st.st_mode))
            files[count++] = (file){path, (size_t)st.st_size, st.st_mtim};
        else
            free(path);
    }
    if (folder) closedir(folder);
    if (count) qsort(files, count, sizeof *files, latest_first);
    for (size_t i = 0; i < count; i++) {
        bytes += files[i].size;
        if (bytes > MOST_DISK) unlink(files[i].path);
        free(files[i].path);
    }
    free(files);
}

/* A prompt that could not be kept is encoded again: failures do no harm. */
static void keep(void *user, const char *key, const float *values, size_t count)
{
    zi_known_texts *t = user;
    size_t size = count * sizeof *values;
    float *copy = malloc(size);
    if (copy) memcpy(copy, values, size);
    if (copy) remember(t, key, copy, size);
    char *path = zi_path_join(t->folder, key);
    zi_output output = {0};
    if (path && zi_output_open(&output, path, NULL) &&
        zi_output_write(&output, values, size, NULL) && zi_output_commit(&output, NULL))
        limit_disk(t);
    zi_output_discard(&output);
    free(path);
}

zi_known_texts *zi_known_texts_create(const char *output)
{
    zi_known_texts *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->encodings = (zi_encodings){find, keep, t};
    t->folder = zi_path_join(output, ".encodings");
    if (!t->folder) {
        free(t);
        return NULL;
    }
    mkdir(t->folder, 0777);
    return t;
}

void zi_known_texts_free(zi_known_texts *texts)
{
    if (!texts) return;
    while (texts->first) {
        entry *e = texts->first;
        texts->first = e->next;
        free(e->values);
        free(e);
    }
    free(texts->folder);
    free(texts);
}

const zi_encodings *zi_known_texts_encodings(zi_known_texts *texts)
{
    return &texts->encodings;
}

bool zi_known_texts_hit(const zi_known_texts *texts)
{
    return texts->hit;
}
