#include "registry/streaming_conversion.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/text.h"
#include "convert/conversion.h"
#include "registry/registry.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/* Files of weights on the disk at a time: one is downloaded while the other is converted. */
enum { MAX_FILES = 2 };
enum { MAX_STATE_FILE = 1 << 20 /* bytes */ };

/* ---- the state file ---- */

/* What earlier calls have done: a text file of lines. The first line is the intent (version,
 * layout, precision, commit); the others are digests of the files that have been converted. */
typedef struct {
    char *path, *text; /* text: all lines; NULL: none */
} state_file;

/* Drops all lines in memory; the next append writes a new file. */
static void drop_state_lines(state_file *state)
{
    free(state->text);
    state->text = NULL;
}

/* Reads the file at path, which is copied; a missing one, or one with another intent, counts as
 * empty. Creates nothing. False: it cannot be read, or memory is short. The caller calls free_state
 * in any case. */
static bool read_state(state_file *state, const char *path, const char *intent, zi_error *error)
{
    size_t size, length = strlen(intent);
    *state = (state_file){.path = strdup(path)};
    if (!state->path) return zi_error_no_memory(error, strlen(path));
    if (!zi_is_file(path)) return true;
    if (!zi_file_read(path, MAX_STATE_FILE, &state->text, &size, error)) return false;
    if (strncmp(state->text, intent, length) != 0 || state->text[length] != '\n')
        drop_state_lines(state);
    return true;
}

/* Appends a line (without newline) in memory and writes the whole file atomically, synced. The
 * first line must be the intent. After a failure the file is unchanged, the lines in memory are
 * undefined, and nothing but free_state may follow. */
static bool append_state_line(state_file *state, const char *line, zi_error *error)
{
    zi_text text;
    zi_output output = {0};
    zi_text_init(&text, MAX_STATE_FILE);
    zi_text_printf(&text, "%s%s\n", state->text ? state->text : "", line);
    free(state->text);
    state->text = zi_text_take(&text);
    if (!state->text) return zi_error_no_memory(error, strlen(line));
    bool ok = zi_make_parent_folders(state->path, error) &&
              zi_output_open(&output, state->path, error) &&
              zi_output_write(&output, state->text, strlen(state->text), error) &&
              zi_output_commit(&output, error);
    zi_output_discard(&output);
    return ok;
}

/* Whether a line after the first one is exactly this; false if there are no lines. */
static bool has_state_line(const state_file *state, const char *line)
{
    size_t length = strlen(line);
    for (const char *at = state->text; at && (at = strchr(at, '\n'));) {
        at++;
        if (!strncmp(at, line, length) && at[length] == '\n') return true;
    }
    return false;
}

/* Frees the strings and zeroes the struct (not NULL); the file stays. */
static void free_state(state_file *state)
{
    free(state->path);
    free(state->text);
    *state = (state_file){0};
}

/* ---- the conversion ---- */

/* In this order. CONSUMED: converted, and its disk space freed. */
typedef enum { MISSING, DOWNLOADING, DOWNLOADED, CONSUMED } file_state;

typedef struct {
    char *name;
    char digest[ZI_DIGEST_HEX_SIZE];
    uint64_t size;
    int position; /* in the order of conversion, from 0; below 0: not converted */
    file_state state;
} weight_file;

struct zi_streaming_conversion {
    const char *work;
    const zi_import_options *import;
    char *state_folder; /* WORK/.cache/zimage */
    char *output;       /* "converted" in it, beside the state file */
    char intent[256];
    state_file state;
    zi_download_hooks hooks;
    weight_file *files;
    size_t count;
    /* Set by zi_streaming_conversion_create and start_conversion: */
    zi_convert_options options;
    zi_shard_provider provider;
    zi_conversion conversion;
    bool planned, running;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* Under the mutex, like the states of files: */
    const weight_file *waiting_for; /* the conversion thread waits for it; NULL: for none */
    double fraction;
    bool stop, finished, failed;
    zi_error error;
};

/* Returns the weight file of this name in the repository ("vae/model.safetensors"), owned by c;
 * NULL: there is none. */
static weight_file *find_weight_file(zi_streaming_conversion *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (!strcmp(c->files[i].name, name)) return &c->files[i];
    return NULL;
}

/* Returns the weight file whose path, WORK/NAME, is `path`, owned by c; NULL: there is none, as for
 * a path outside the work folder. */
static weight_file *find_weight_file_by_path(zi_streaming_conversion *c, const char *path)
{
    size_t length = strlen(c->work);
    bool below = !strncmp(path, c->work, length) && path[length] == '/';
    return below ? find_weight_file(c, path + length + 1) : NULL;
}

/* ---- shard provider: called by the conversion thread; user: the conversion ---- */

/* zi_shard_provider.wait: blocks until the file at path has been downloaded; does not wait for
 * other paths. False, with ZI_ERROR_CANCELLED: the conversion is stopped. */
static bool wait_for_file(void *user, const char *path, zi_error *error)
{
    zi_streaming_conversion *c = user;
    weight_file *file = find_weight_file_by_path(c, path);
    pthread_mutex_lock(&c->mutex);
    c->waiting_for = file;
    while (!c->stop && file && file->state < DOWNLOADED) pthread_cond_wait(&c->changed, &c->mutex);
    c->waiting_for = NULL;
    bool running = !c->stop;
    pthread_mutex_unlock(&c->mutex);
    return running || zi_error_cancelled(error);
}

/* zi_shard_provider.is_released: whether the file was converted and its data dropped, in this call
 * or in an earlier one. False for other paths. */
static bool is_file_released(void *user, const char *path)
{
    zi_streaming_conversion *c = user;
    const weight_file *file = find_weight_file_by_path(c, path);
    pthread_mutex_lock(&c->mutex);
    bool released = file && file->state == CONSUMED;
    pthread_mutex_unlock(&c->mutex);
    return released;
}

/* zi_shard_provider.release: records in the state file that the file is converted, then frees its
 * disk space except for the header and marks it CONSUMED. The output must be synced. Other paths
 * are ignored. After a failure it may be recorded and not freed. */
static bool release_file(void *user, const char *path, zi_error *error)
{
    zi_streaming_conversion *c = user;
    weight_file *file = find_weight_file_by_path(c, path);
    if (!file) return true;
    if (!append_state_line(&c->state, file->digest, error) ||
        !zi_safetensors_drop_data(path, error))
        return false;
    pthread_mutex_lock(&c->mutex);
    file->state = CONSUMED;
    pthread_mutex_unlock(&c->mutex);
    return true;
}

/* zi_progress_fn of the conversion: stores the fraction for the thread that waits. False: the
 * conversion is to stop. */
static bool report_conversion(void *user, const zi_progress *progress)
{
    zi_streaming_conversion *c = user;
    pthread_mutex_lock(&c->mutex);
    c->fraction = progress->fraction;
    bool running = !c->stop;
    pthread_mutex_unlock(&c->mutex);
    return running;
}

/* The conversion's thread (user: the conversion): writes the planned files, then sets finished,
 * failed (also when it was stopped) and error, and wakes the thread that waits. Returns NULL. */
static void *conversion_thread(void *user)
{
    zi_streaming_conversion *c = user;
    zi_error why = {0};
    bool ok = zi_conversion_write(&c->conversion, &why);
    pthread_mutex_lock(&c->mutex);
    c->finished = true;
    c->failed = !ok;
    c->error = why;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

/* ---- download hooks: called by the downloading thread; user: the conversion ---- */

/* Sets c->files and count to the repository's safetensors files, in state DOWNLOADED until another
 * hook marks them. False, without an error: memory is short; what is listed is freed with c. */
static bool list_weight_files(zi_streaming_conversion *c, const zi_repo_info *info)
{
    c->files = calloc(info->count + 1, sizeof *c->files);
    for (size_t i = 0; c->files && i < info->count; i++) {
        const zi_repo_file *it = &info->files[i];
        if (!zi_is_safetensors_name(it->name)) continue;
        weight_file *file = &c->files[c->count];
        *file = (weight_file){
            .name = strdup(it->name), .size = it->size, .position = -1, .state = DOWNLOADED};
        memcpy(file->digest, it->digest, sizeof file->digest);
        if (!file->name) return false;
        c->count++;
    }
    return c->files;
}

/* Whether anything is at path, a dangling link included. False also when that cannot be found
 * out. */
static bool path_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

/* Hook `accepts`: lists the weights of a diffusers folder and reads the state file, which counts as
 * empty if the output of the earlier call is gone. False: another kind of repository, which headers
 * and configs do not identify, or a failure, which is not reported: the download then goes on
 * without hooks. */
static bool accept_repo(void *user, const zi_repo_info *info)
{
    zi_streaming_conversion *c = user;
    bool diffusers = false;
    for (size_t i = 0; i < info->count; i++)
        diffusers |= !strcmp(info->files[i].name, "model_index.json");
    if (!diffusers || !list_weight_files(c, info)) return false;
    snprintf(c->intent, sizeof c->intent, "zimage %s, layout %d, precision %d, commit %s",
             ZI_VERSION, (int)c->import->layout, (int)c->import->precision, info->commit);
    char *path = zi_path_join(c->state_folder, "journal");
    bool ok = path && read_state(&c->state, path, c->intent, NULL);
    free(path);
    if (ok && !path_exists(c->output)) drop_state_lines(&c->state);
    return ok;
}

/* Hook `is_consumed`: whether the state file says that the wanted file was converted; then marks it
 * CONSUMED. No thread runs yet, so the mutex is not locked. */
static bool mark_if_consumed(void *user, const zi_transfer_file *wanted)
{
    zi_streaming_conversion *c = user;
    weight_file *file = find_weight_file(c, wanted->name);
    bool consumed = file && has_state_line(&c->state, file->digest);
    if (consumed) file->state = CONSUMED;
    return consumed;
}

/* Whether the download of a missing file may start: in the order of conversion and up to MAX_FILES
 * at a time, but always if the conversion waits for it. The mutex is held. */
static bool may_start_file(const zi_streaming_conversion *c, const weight_file *file)
{
    size_t on_disk = 0;
    for (size_t i = 0; i < c->count; i++) {
        const weight_file *it = &c->files[i];
        if (it->state == MISSING && it->position < file->position) return file == c->waiting_for;
        on_disk += it->position >= 0 && (it->state == DOWNLOADING || it->state == DOWNLOADED);
    }
    return on_disk < MAX_FILES || file == c->waiting_for;
}

/* Hook `may_start`: whether the download of the wanted file may start now; if so, marks a missing
 * one DOWNLOADING. True for other files, and if no conversion runs. */
static bool start_if_allowed(void *user, const zi_transfer_file *wanted)
{
    zi_streaming_conversion *c = user;
    weight_file *file = find_weight_file(c, wanted->name);
    if (!file || !c->running) return true;
    pthread_mutex_lock(&c->mutex);
    bool may = file->state != MISSING || may_start_file(c, file);
    if (may && file->state == MISSING) file->state = DOWNLOADING;
    pthread_mutex_unlock(&c->mutex);
    return may;
}

/* Hook `completed`: marks a weight file DOWNLOADED and wakes the conversion thread; ignores other
 * files. */
static void mark_downloaded(void *user, const zi_transfer_file *wanted)
{
    zi_streaming_conversion *c = user;
    weight_file *file = find_weight_file(c, wanted->name);
    if (!file) return;
    pthread_mutex_lock(&c->mutex);
    file->state = DOWNLOADED;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

/* Opens all weights, and so checks their headers, and closes them. *plannable: all tensors are F32,
 * F16 or BF16, for which the headers are enough for a plan. Other types, such as fp8, may have
 * scales, whose values a plan needs. After a failure *plannable is undefined. */
static bool read_headers(const zi_streaming_conversion *c, bool *plannable, zi_error *error)
{
    *plannable = true;
    for (size_t i = 0; i < c->count; i++) {
        zi_checkpoint checkpoint;
        char *path = zi_path_join(c->work, c->files[i].name);
        bool ok = path ? zi_checkpoint_open(path, &checkpoint, error)
                       : zi_error_no_memory(error, strlen(c->work));
        free(path);
        if (!ok) return false;
        for (size_t t = 0; t < checkpoint.tensor_count; t++)
            *plannable &= zi_dtype_computes(checkpoint.tensors[t].type);
        zi_checkpoint_close(&checkpoint);
    }
    return true;
}

/* Numbers the files in the order of conversion, from 0; those that are not converted keep -1, which
 * all must have before. Needs the plan. */
static void set_positions(zi_streaming_conversion *c)
{
    int position = 0;
    for (int part = 0; part < ZI_WEIGHT_COMPONENTS; part++) {
        const zi_checkpoint *checkpoint = c->conversion.components[part].checkpoint;
        for (int i = 0; checkpoint && i < checkpoint->file_count; i++) {
            weight_file *file = find_weight_file_by_path(c, checkpoint->files[i].path);
            if (file) file->position = position++;
        }
    }
}

/* Returns the file with that number, from 0, in the order of conversion; NULL: there are no
 * more. */
static weight_file *file_at_position(const zi_streaming_conversion *c, int position)
{
    for (size_t i = 0; i < c->count; i++)
        if (c->files[i].position == position) return &c->files[i];
    return NULL;
}

/* Returns the bytes of output for which this file is the last one needed; 0 also when memory is
 * short. */
static uint64_t output_bytes(const zi_streaming_conversion *c, const weight_file *file)
{
    uint64_t bytes = 0;
    char *path = zi_path_join(c->work, file->name);
    for (int part = 0; path && part < ZI_WEIGHT_COMPONENTS; part++)
        bytes += zi_shard_convertible_bytes(&c->conversion.components[part].plan, path);
    free(path);
    return bytes;
}

/* Fails with ZI_ERROR_IO when the disk is too small for the peak usage, or its free space is
 * unknown. The peak is the largest sum, at any position, of the output up to there and the files
 * that are on the disk at the same time. */
static bool check_disk_space(const zi_streaming_conversion *c, zi_error *error)
{
    uint64_t peak = 0, output = 0;
    for (int first = 0; file_at_position(c, first); first++) {
        uint64_t downloads = 0;
        if (file_at_position(c, first)->state != CONSUMED)
            output += output_bytes(c, file_at_position(c, first));
        for (int i = first; i < first + MAX_FILES && file_at_position(c, i); i++)
            if (file_at_position(c, i)->state == MISSING) downloads += file_at_position(c, i)->size;
        if (output + downloads > peak) peak = output + downloads;
    }
    return zi_disk_check_free(c->work, peak, "the download with its conversion", error);
}

/* Removes the state folder, with the state file and the output of earlier calls, if it exists. */
static bool remove_state_folder(const zi_streaming_conversion *c, zi_error *error)
{
    return !path_exists(c->state_folder) || zi_remove_tree(c->state_folder, error);
}

/* Plans the conversion, checks the disk space, drops old output if there is no state to resume,
 * writes the intent, and starts the thread. *streaming becomes false, and no thread runs, if
 * tensors come from another model, too, which shards do not tell. After a failure no thread runs.
 */
static bool start_conversion(zi_streaming_conversion *c, bool *streaming, zi_error *error)
{
    c->planned = true; /* zi_conversion_free is due in any case */
    if (!zi_conversion_plan(&c->conversion, &c->options, error)) return false;
    *streaming = !c->conversion.reference_checkpoint && !c->conversion.zeros;
    if (!*streaming) return remove_state_folder(c, error);
    c->conversion.work.provider = &c->provider;
    set_positions(c);
    if (!check_disk_space(c, error)) return false;
    if (!c->state.text &&
        !(remove_state_folder(c, error) && append_state_line(&c->state, c->intent, error)))
        return false;
    c->running = pthread_create(&c->thread, NULL, conversion_thread, c) == 0;
    return c->running ||
           zi_error_set(
               error, ZI_ERROR_IO, NULL,
               "the system allows no further thread, which the conversion during the download "
               "needs; close other programs, or raise the limit of processes and threads (ulimit)");
}

/* Hook `metadata_ready`: marks the `count` files of `missing` as MISSING, checks headers and kind
 * of model (removes `folder` if that is damaged or unsupported), and starts the conversion if it is
 * wanted and can be planned: then *streaming is true, else false. It may be set after a failure,
 * too. */
static bool start_after_metadata(void *user, const char *folder, const zi_transfer_file *missing,
                                 size_t count, bool *streaming, zi_error *error)
{
    zi_streaming_conversion *c = user;
    zi_error why = {0};
    zi_section section;
    bool plannable;
    for (size_t i = 0; i < count; i++) {
        weight_file *file = find_weight_file(c, missing[i].name);
        if (file) file->state = MISSING;
    }
    if (!read_headers(c, &plannable, error)) return false;
    if (plannable && !zi_registry_detect_section(folder, &section, &why)) {
        bool useless = why.code == ZI_ERROR_UNSUPPORTED || why.code == ZI_ERROR_BAD_FORMAT;
        if (useless) (void)!zi_remove_tree(folder, NULL);
        if (error) *error = why;
        return false;
    }
    *streaming = plannable && c->import->convert;
    return *streaming ? start_conversion(c, streaming, error) : remove_state_folder(c, error);
}

/* ---- interface ---- */

bool zi_streaming_conversion_create(const char *work, const zi_import_options *import,
                                    const char *tokenizer, zi_streaming_conversion **out,
                                    zi_error *error)
{
    zi_streaming_conversion *c = calloc(1, sizeof *c);
    if (c) c->state_folder = zi_path_join(work, ".cache/zimage");
    if (c && c->state_folder) c->output = zi_path_join(c->state_folder, "converted");
    if (!c || !c->output) {
        if (c) free(c->state_folder);
        free(c);
        return zi_error_no_memory(error, sizeof *c);
    }
    c->work = work;
    c->import = import;
    c->hooks = (zi_download_hooks){accept_repo,
                                   mark_if_consumed,
                                   start_after_metadata,
                                   {start_if_allowed, mark_downloaded, c},
                                   c};
    c->provider = (zi_shard_provider){wait_for_file, release_file, is_file_released, c};
    c->options = (zi_convert_options){.source = work,
                                      .destination = c->output,
                                      .layout = import->layout,
                                      .precision = import->precision,
                                      .reference = import->reference,
                                      .tokenizer = tokenizer,
                                      .threads = import->threads,
                                      .progress = report_conversion,
                                      .user = c};
    pthread_mutex_init(&c->mutex, NULL);
    pthread_cond_init(&c->changed, NULL);
    *out = c;
    return true;
}

const zi_download_hooks *zi_streaming_conversion_hooks(const zi_streaming_conversion *conversion)
{
    /* GGUF files are written front to back. */
    return conversion->import->layout == ZI_LAYOUT_GGUF ? NULL : &conversion->hooks;
}

bool zi_streaming_conversion_failed(zi_streaming_conversion *conversion)
{
    pthread_mutex_lock(&conversion->mutex);
    bool failed = conversion->failed;
    pthread_mutex_unlock(&conversion->mutex);
    return failed;
}

/* Waits up to 0.1 s for the end of the conversion and sets *progress. True: it still runs; false:
 * it has ended. */
static bool wait_for_end(zi_streaming_conversion *c, zi_progress *progress)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&c->mutex);
    if (!c->finished) pthread_cond_timedwait(&c->changed, &c->mutex, &until);
    bool running = !c->finished;
    *progress = (zi_progress){.stage = ZI_STAGE_CONVERT, .fraction = c->fraction};
    pthread_mutex_unlock(&c->mutex);
    return running;
}

/* Asks the conversion thread to stop, and wakes it; does not wait for its end. */
static void stop_conversion(zi_streaming_conversion *c)
{
    pthread_mutex_lock(&c->mutex);
    c->stop = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->mutex);
}

bool zi_streaming_conversion_finish(zi_streaming_conversion *conversion, bool downloaded,
                                    const char **path, zi_error *error)
{
    const zi_import_options *o = conversion->import;
    zi_progress progress;
    *path = NULL;
    if (!conversion->running) return downloaded;
    if (!downloaded) stop_conversion(conversion);
    while (wait_for_end(conversion, &progress))
        if (o->progress && !o->progress(o->user, &progress)) stop_conversion(conversion);
    pthread_join(conversion->thread, NULL);
    conversion->running = false;
    if (!conversion->failed) *path = conversion->output;
    if (error && conversion->failed && conversion->error.code != ZI_ERROR_CANCELLED)
        *error = conversion->error;
    if (conversion->failed && downloaded && conversion->error.code == ZI_ERROR_CANCELLED)
        zi_error_cancelled(error);
    return !conversion->failed && downloaded;
}

void zi_streaming_conversion_free(zi_streaming_conversion *conversion)
{
    if (!conversion) return;
    if (conversion->planned) zi_conversion_free(&conversion->conversion);
    pthread_mutex_destroy(&conversion->mutex);
    pthread_cond_destroy(&conversion->changed);
    free_state(&conversion->state);
    for (size_t i = 0; i < conversion->count; i++) free(conversion->files[i].name);
    free(conversion->files);
    free(conversion->output);
    free(conversion->state_folder);
    free(conversion);
}
