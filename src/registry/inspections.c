#include "registry/inspections.h"
#include "base/file.h"
#include "base/text.h"
#include "hub/disk.h"
#include "io/json.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Raise FORMAT with every change of what inspections say. */
enum { FORMAT = 1, MAX_FILE = 64 << 20 };

typedef struct {
    char *place; /* the path from the root: a relative one means different things elsewhere */
    uint64_t fingerprint;
    zi_inspection *inspection; /* with the path as it was given, which its texts have, too */
} record;

struct zi_inspections {
    const char *file;
    pthread_mutex_t mutex;
    record *records; /* [count] */
    size_t count;
    bool loaded, changed;
};

/* ---- the state of files ---- */

#if defined(__APPLE__)
#define MODIFIED st_mtimespec
#define CHANGED st_ctimespec
#else
#define MODIFIED st_mtim
#define CHANGED st_ctim
#endif

static uint64_t mix(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3; /* FNV-1a */
    return hash;
}

/* Sums up, as folders list their files in no order. */
static bool add_file(void *user, const char *name, const struct stat *st, zi_error *error)
{
    zi_file_state *state = user;
    const int64_t facts[] = {(int64_t)st->st_size, (int64_t)st->MODIFIED.tv_sec,
                             (int64_t)st->MODIFIED.tv_nsec, (int64_t)st->CHANGED.tv_sec,
                             (int64_t)st->CHANGED.tv_nsec};
    (void)error;
    state->fingerprint += mix(mix(0xcbf29ce484222325, name, strlen(name) + 1), facts, sizeof facts);
    state->bytes += (uint64_t)st->st_size;
    return true;
}

bool zi_file_state_read(const char *path, zi_file_state *out, zi_error *error)
{
    *out = (zi_file_state){0};
    return zi_walk(path, add_file, out, error);
}

/* The path from the root, in new memory; of a link that of the link. NULL: its folder is gone. */
static char *place_of(const char *path)
{
    char *folder = zi_path_folder(path), *name = zi_path_base(path);
    char *real = folder ? realpath(folder, NULL) : NULL;
    char *place = real && name ? zi_path_join(real, name) : NULL;
    free(folder);
    free(name);
    free(real);
    return place;
}

/* ---- records; all with the mutex held ---- */

static record *find(const zi_inspections *all, const char *place, const char *path)
{
    for (size_t i = 0; i < all->count; i++) {
        record *r = &all->records[i];
        if (!strcmp(r->place, place) && !strcmp(r->inspection->path, path)) return r;
    }
    return NULL;
}

/* Takes place and inspection over. */
static bool append(zi_inspections *all, const record *added)
{
    record *more = realloc(all->records, (all->count + 1) * sizeof *more);
    if (!more) return false;
    all->records = more;
    more[all->count++] = *added;
    return true;
}

static void free_record(record *r)
{
    free(r->place);
    zi_inspection_free(r->inspection);
}

static void read_record(zi_inspections *all, const cJSON *json)
{
    const char *place = cJSON_GetStringValue(zi_json_find(json, "place"));
    const char *state = cJSON_GetStringValue(zi_json_find(json, "state"));
    record r = {.place = place ? strdup(place) : NULL,
                .fingerprint = state ? strtoull(state, NULL, 16) : 0,
                .inspection = zi_inspection_from_json(json)};
    if (!r.place || !r.inspection || !append(all, &r)) free_record(&r);
}

static void load(zi_inspections *all)
{
    cJSON *root = NULL;
    const cJSON *json;
    bool there = !all->loaded && all->file && zi_is_file(all->file) &&
                 zi_json_read(all->file, MAX_FILE, &root, NULL);
    const char *version = there ? cJSON_GetStringValue(zi_json_find(root, "version")) : NULL;
    if (version && !strcmp(version, ZI_VERSION) &&
        zi_json_is_int(zi_json_find(root, "format"), FORMAT, FORMAT))
        cJSON_ArrayForEach(json, zi_json_find(root, "models")) read_record(all, json);
    all->loaded = true;
    cJSON_Delete(root);
}

/* ---- asking and keeping ---- */

zi_inspections *zi_inspections_create(const char *file)
{
    zi_inspections *all = calloc(1, sizeof *all);
    if (!all) return NULL;
    pthread_mutex_init(&all->mutex, NULL);
    all->file = file;
    return all;
}

void zi_inspections_free(zi_inspections *all)
{
    if (!all) return;
    for (size_t i = 0; i < all->count; i++) free_record(&all->records[i]);
    pthread_mutex_destroy(&all->mutex);
    free(all->records);
    free(all);
}

zi_inspection *zi_inspections_find(zi_inspections *all, const char *path,
                                   const zi_file_state *state)
{
    char *place = place_of(path);
    if (!place) return NULL;
    pthread_mutex_lock(&all->mutex);
    load(all);
    const record *r = find(all, place, path);
    bool fresh = r && r->fingerprint == state->fingerprint;
    zi_inspection *inspection = fresh ? zi_inspection_retain(r->inspection) : NULL;
    pthread_mutex_unlock(&all->mutex);
    free(place);
    return inspection;
}

void zi_inspections_add(zi_inspections *all, const char *path, const zi_file_state *state,
                        zi_inspection *inspection)
{
    record added = {place_of(path), state->fingerprint, zi_inspection_retain(inspection)};
    pthread_mutex_lock(&all->mutex);
    load(all);
    record *old = added.place ? find(all, added.place, path) : NULL;
    bool kept = old || (added.place && append(all, &added));
    if (old) {
        record replaced = *old;
        *old = added;
        free_record(&replaced);
    }
    all->changed |= kept;
    pthread_mutex_unlock(&all->mutex);
    if (!kept) free_record(&added);
}

/* ---- the file ---- */

/* Appends a record to a JSON array, unless its model is gone or its texts are no UTF-8. */
static void write_record(const record *r, zi_text *out)
{
    char state[20];
    struct stat st;
    if (lstat(r->place, &st) != 0) return;
    cJSON *json = zi_inspection_to_json(r->inspection);
    snprintf(state, sizeof state, "%" PRIx64, r->fingerprint);
    cJSON_AddStringToObject(json, "place", r->place);
    cJSON_AddStringToObject(json, "state", state);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    if (text && zi_utf8_valid(text, strlen(text))) {
        if (out->data[out->size - 1] != '[') zi_text_puts(out, ",\n");
        zi_text_puts(out, text);
    }
    cJSON_free(text);
}

static char *write_all(const zi_inspections *all)
{
    zi_text text;
    zi_text_init(&text, MAX_FILE);
    zi_text_printf(&text, "{\"version\":\"%s\",\"format\":%d,\"models\":[", ZI_VERSION, FORMAT);
    for (size_t i = 0; i < all->count && !text.failed; i++) write_record(&all->records[i], &text);
    zi_text_puts(&text, "]}\n");
    return zi_text_take(&text);
}

void zi_inspections_save(zi_inspections *all)
{
    zi_output output = {0};
    pthread_mutex_lock(&all->mutex);
    char *text = all->file && all->changed ? write_all(all) : NULL;
    all->changed = all->changed && !text;
    pthread_mutex_unlock(&all->mutex);
    bool ok = text && zi_make_folder_of(all->file, NULL) &&
              zi_output_open(&output, all->file, NULL) &&
              zi_output_write(&output, text, strlen(text), NULL) && zi_output_commit(&output, NULL);
    (void)ok;
    zi_output_discard(&output);
    free(text);
}
