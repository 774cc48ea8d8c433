#include "registry/arrival.h"
#include "base/file.h"
#include "base/folder.h"
#include "convert/conversion.h"
#include "hub/disk.h"
#include "hub/headers.h"
#include "hub/journal.h"
#include "registry/registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Files of weights that are on the disk at a time: one that comes and one that is converted. */
enum { MOST_FILES = 2 };

typedef enum { ABSENT, COMING, THERE, USED } state;

typedef struct {
    char *name;
    char digest[ZI_DIGEST_TEXT];
    uint64_t size;
    int turn; /* as they are converted, from 0; below 0: they are not */
    state state;
} weights;

struct zi_arrival {
    const char *work;
    const zi_import_options *import;
    char *own, *output; /* work/.cache/zimage and converted in it, beside the journal */
    char purpose[256];
    zi_journal journal;
    zi_guide guide;
    weights *files;
    size_t count;
    /* the conversion */
    zi_convert_options options;
    zi_shard_provider provider;
    zi_conversion conversion;
    bool planned, running;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* Under the mutex, as the files' states: */
    const weights *awaited;
    double fraction;
    bool stop, finished, failed;
    zi_error error;
};

static weights *find(zi_arrival *a, const char *name)
{
    for (size_t i = 0; i < a->count; i++)
        if (!strcmp(a->files[i].name, name)) return &a->files[i];
    return NULL;
}

/* The file at a path below the folder. */
static weights *find_path(zi_arrival *a, const char *path)
{
    size_t length = strlen(a->work);
    bool below = !strncmp(path, a->work, length) && path[length] == '/';
    return below ? find(a, path + length + 1) : NULL;
}

/* ---- what the conversion asks ---- */

static bool wait_for(void *user, const char *path, zi_error *error)
{
    zi_arrival *a = user;
    weights *file = find_path(a, path);
    pthread_mutex_lock(&a->mutex);
    a->awaited = file;
    while (!a->stop && file && file->state < THERE) pthread_cond_wait(&a->changed, &a->mutex);
    a->awaited = NULL;
    bool on = !a->stop;
    pthread_mutex_unlock(&a->mutex);
    return on || zi_error_cancelled(error);
}

static bool released(void *user, const char *path)
{
    zi_arrival *a = user;
    const weights *file = find_path(a, path);
    pthread_mutex_lock(&a->mutex);
    bool is = file && file->state == USED;
    pthread_mutex_unlock(&a->mutex);
    return is;
}

static bool release(void *user, const char *path, zi_error *error)
{
    zi_arrival *a = user;
    weights *file = find_path(a, path);
    if (!file) return true;
    if (!zi_journal_add(&a->journal, file->digest, error) || !zi_header_keep(path, error))
        return false;
    pthread_mutex_lock(&a->mutex);
    file->state = USED;
    pthread_mutex_unlock(&a->mutex);
    return true;
}

static bool count_converted(void *user, const zi_progress *progress)
{
    zi_arrival *a = user;
    pthread_mutex_lock(&a->mutex);
    a->fraction = progress->fraction;
    bool on = !a->stop;
    pthread_mutex_unlock(&a->mutex);
    return on;
}

static void *convert(void *user)
{
    zi_arrival *a = user;
    zi_error why = {0};
    bool ok = zi_conversion_write(&a->conversion, &why);
    pthread_mutex_lock(&a->mutex);
    a->finished = true;
    a->failed = !ok;
    a->error = why;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->mutex);
    return NULL;
}

/* ---- what the download asks ---- */

static bool add_files(zi_arrival *a, const zi_listing *listing)
{
    a->files = calloc(listing->count + 1, sizeof *a->files);
    for (size_t i = 0; a->files && i < listing->count; i++) {
        const zi_listed *it = &listing->files[i];
        if (!zi_has_header(it->name)) continue;
        weights *file = &a->files[a->count];
        *file = (weights){.name = strdup(it->name), .size = it->size, .turn = -1, .state = THERE};
        memcpy(file->digest, it->digest, sizeof file->digest);
        if (!file->name) return false;
        a->count++;
    }
    return a->files;
}

static bool is_anything(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* Only a diffusers folder tells by its headers alone what it is. */
static bool suits(void *user, const zi_listing *listing)
{
    zi_arrival *a = user;
    bool diffusers = false;
    for (size_t i = 0; i < listing->count; i++)
        diffusers |= !strcmp(listing->files[i].name, "model_index.json");
    if (!diffusers || !add_files(a, listing)) return false;
    snprintf(a->purpose, sizeof a->purpose, "zimage %s, layout %d, precision %d, commit %s",
             ZI_VERSION, (int)a->import->layout, (int)a->import->precision, listing->commit);
    char *path = zi_path_join(a->own, "journal");
    bool ok = path && zi_journal_open(&a->journal, path, a->purpose, NULL);
    free(path);
    if (ok && !is_anything(a->output)) zi_journal_forget(&a->journal);
    return ok;
}

static bool is_used(void *user, const zi_wanted *wanted)
{
    zi_arrival *a = user;
    weights *file = find(a, wanted->name);
    bool used = file && zi_journal_has(&a->journal, file->digest);
    if (used) file->state = USED;
    return used;
}

/* In their turns, as many as may be there at a time, and in any case what is waited for. */
static bool has_turn(const zi_arrival *a, const weights *file)
{
    size_t there = 0;
    for (size_t i = 0; i < a->count; i++) {
        const weights *it = &a->files[i];
        if (it->state == ABSENT && it->turn < file->turn) return file == a->awaited;
        there += it->turn >= 0 && (it->state == COMING || it->state == THERE);
    }
    return there < MOST_FILES || file == a->awaited;
}

static bool may_begin(void *user, const zi_wanted *wanted)
{
    zi_arrival *a = user;
    weights *file = find(a, wanted->name);
    if (!file || !a->running) return true;
    pthread_mutex_lock(&a->mutex);
    bool may = file->state != ABSENT || has_turn(a, file);
    if (may && file->state == ABSENT) file->state = COMING;
    pthread_mutex_unlock(&a->mutex);
    return may;
}

static void arrived(void *user, const zi_wanted *wanted)
{
    zi_arrival *a = user;
    weights *file = find(a, wanted->name);
    if (!file) return;
    pthread_mutex_lock(&a->mutex);
    file->state = THERE;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->mutex);
}

/* *plain: the headers tell everything, where scaled numbers would be planned with by their scales.
 */
static bool read_headers(const zi_arrival *a, bool *plain, zi_error *error)
{
    *plain = true;
    for (size_t i = 0; i < a->count; i++) {
        zi_checkpoint checkpoint;
        char *path = zi_path_join(a->work, a->files[i].name);
        bool ok = path ? zi_checkpoint_open(path, &checkpoint, error)
                       : zi_error_no_memory(error, strlen(a->work));
        free(path);
        if (!ok) return false;
        for (size_t t = 0; t < checkpoint.tensor_count; t++)
            *plain &= zi_dtype_computes(checkpoint.tensors[t].type);
        zi_checkpoint_close(&checkpoint);
    }
    return true;
}

static void set_turns(zi_arrival *a)
{
    int turn = 0;
    for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++) {
        const zi_checkpoint *checkpoint = a->conversion.components[part].checkpoint;
        for (int i = 0; checkpoint && i < checkpoint->file_count; i++) {
            weights *file = find_path(a, checkpoint->files[i].path);
            if (file) file->turn = turn++;
        }
    }
}

static weights *of_turn(const zi_arrival *a, int turn)
{
    for (size_t i = 0; i < a->count; i++)
        if (a->files[i].turn == turn) return &a->files[i];
    return NULL;
}

static uint64_t made_of(const zi_arrival *a, const weights *file)
{
    uint64_t bytes = 0;
    char *path = zi_path_join(a->work, file->name);
    for (int part = 0; path && part < ZI_WEIGHT_COMPONENTS; part++)
        bytes += zi_shard_convertible_bytes(&a->conversion.components[part].plan, path);
    free(path);
    return bytes;
}

/* For what is made until then, and for the files that are there, at any time. */
static bool has_room(const zi_arrival *a, zi_error *error)
{
    uint64_t most = 0, made = 0;
    for (int turn = 0; of_turn(a, turn); turn++) {
        uint64_t there = 0;
        if (of_turn(a, turn)->state != USED) made += made_of(a, of_turn(a, turn));
        for (int next = turn; next < turn + MOST_FILES && of_turn(a, next); next++)
            if (of_turn(a, next)->state == ABSENT) there += of_turn(a, next)->size;
        if (made + there > most) most = made + there;
    }
    return zi_disk_has(a->work, most, "what is to be fetched and what is made of it", error);
}

/* What was made for another purpose. */
static bool forget_all(const zi_arrival *a, zi_error *error)
{
    return !is_anything(a->own) || zi_remove_all(a->own, error);
}

static bool start(zi_arrival *a, zi_error *error)
{
    a->planned = true;
    if (!zi_conversion_plan(&a->conversion, &a->options, error)) return false;
    a->conversion.work.provider = &a->provider;
    set_turns(a);
    if (!has_room(a, error)) return false;
    if (!a->journal.text &&
        !(forget_all(a, error) && zi_journal_add(&a->journal, a->purpose, error)))
        return false;
    a->running = pthread_create(&a->thread, NULL, convert, a) == 0;
    return a->running ||
           zi_error_set(error, ZI_ERROR_IO, NULL, "the system gives no thread to convert with");
}

static bool begin(void *user, const char *folder, const zi_wanted *missing, size_t count,
                  bool *lean, zi_error *error)
{
    zi_arrival *a = user;
    zi_section section;
    bool plain;
    for (size_t i = 0; i < count; i++) {
        weights *file = find(a, missing[i].name);
        if (file) file->state = ABSENT;
    }
    if (!read_headers(a, &plain, error)) return false;
    if (plain && !zi_registry_detect(folder, &section, error)) {
        (void)!zi_remove_all(folder, NULL); /* nothing that was fetched is of use */
        return false;
    }
    *lean = plain && a->import->convert;
    return *lean ? start(a, error) : forget_all(a, error);
}

/* ---- from begin to end ---- */

bool zi_arrival_create(const char *work, const zi_import_options *import, zi_arrival **out,
                       zi_error *error)
{
    zi_arrival *a = calloc(1, sizeof *a);
    if (a) a->own = zi_path_join(work, ".cache/zimage");
    if (a && a->own) a->output = zi_path_join(a->own, "converted");
    if (!a || !a->output) {
        if (a) free(a->own);
        free(a);
        return zi_error_no_memory(error, sizeof *a);
    }
    a->work = work;
    a->import = import;
    a->guide = (zi_guide){suits, is_used, begin, {may_begin, arrived, a}, a};
    a->provider = (zi_shard_provider){wait_for, release, released, a};
    a->options = (zi_convert_options){.source = work,
                                      .destination = a->output,
                                      .layout = import->layout,
                                      .precision = import->precision,
                                      .reference = import->reference,
                                      .threads = import->threads,
                                      .progress = count_converted,
                                      .user = a};
    pthread_mutex_init(&a->mutex, NULL);
    pthread_cond_init(&a->changed, NULL);
    *out = a;
    return true;
}

const zi_guide *zi_arrival_guide(const zi_arrival *arrival)
{
    /* Whose tensors are written one after the other. */
    return arrival->import->layout == ZI_LAYOUT_GGUF ? NULL : &arrival->guide;
}

bool zi_arrival_failed(zi_arrival *a)
{
    pthread_mutex_lock(&a->mutex);
    bool failed = a->failed;
    pthread_mutex_unlock(&a->mutex);
    return failed;
}

/* Waits a moment; false: it has ended. */
static bool should_continue(zi_arrival *a, zi_progress *progress)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&a->mutex);
    if (!a->finished) pthread_cond_timedwait(&a->changed, &a->mutex, &until);
    bool on = !a->finished;
    *progress = (zi_progress){.stage = ZI_STAGE_CONVERT, .fraction = a->fraction};
    pthread_mutex_unlock(&a->mutex);
    return on;
}

static void stop(zi_arrival *a)
{
    pthread_mutex_lock(&a->mutex);
    a->stop = true;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->mutex);
}

bool zi_arrival_finish(zi_arrival *a, bool downloaded, const char **path, zi_error *error)
{
    const zi_import_options *o = a->import;
    zi_progress progress;
    *path = NULL;
    if (!a->running) return downloaded;
    if (!downloaded) stop(a);
    while (should_continue(a, &progress))
        if (o->progress && !o->progress(o->user, &progress)) stop(a);
    pthread_join(a->thread, NULL);
    a->running = false;
    if (!a->failed) *path = a->output;
    if (a->failed && a->error.code != ZI_ERROR_CANCELLED) *error = a->error;
    if (a->failed && downloaded && a->error.code == ZI_ERROR_CANCELLED) zi_error_cancelled(error);
    return !a->failed && downloaded;
}

void zi_arrival_free(zi_arrival *a)
{
    if (!a) return;
    if (a->planned) zi_conversion_free(&a->conversion);
    pthread_mutex_destroy(&a->mutex);
    pthread_cond_destroy(&a->changed);
    zi_journal_free(&a->journal);
    for (size_t i = 0; i < a->count; i++) free(a->files[i].name);
    free(a->files);
    free(a->output);
    free(a->own);
    free(a);
}
