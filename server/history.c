#include "server/history_private.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- ids and paths ---- */

bool zi_image_id_valid(const char *text)
{
    static const char form[] = "00000000-000000-xxxxxxxx";
    if (strlen(text) != sizeof form - 1) return false;
    for (size_t i = 0; form[i]; i++) {
        const char *allowed = form[i] == '0'   ? "0123456789"
                              : form[i] == 'x' ? "0123456789abcdef"
                                               : "-";
        if (!strchr(allowed, text[i])) return false;
    }
    return true;
}

/* Writes the id of a time: UTC date and time, microseconds (5 hex digits), random (3 hex digits).
 * False: it is after the year 9999; id is then malformed. */
static bool id_of_time(time_t seconds, unsigned long micro, char id[ZI_IMAGE_ID])
{
    struct tm tm;
    uint16_t chance = 0;
    if (getentropy(&chance, sizeof chance) != 0) chance = (uint16_t)zi_monotonic_seconds();
    id[0] = 0;
    if (!gmtime_r(&seconds, &tm) || tm.tm_year > 9999 - 1900) return false;
    strftime(id, ZI_IMAGE_ID, "%Y%m%d-%H%M%S-", &tm);
    snprintf(id + 16, ZI_IMAGE_ID - 16, "%05lx%03x", micro, chance & 0xfffu);
    return true;
}

/* Reads the Unix time in an id. False: malformed. A date that does not exist counts on into the
 * next month. */
static bool time_of_id(const char *id, time_t *seconds, unsigned long *micro)
{
    struct tm tm = {0};
    if (sscanf(id, "%4d%2d%2d-%2d%2d%2d-%5lx", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, micro) != 7)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    *seconds = timegm(&tm);
    return true;
}

/* The Unix time in an id, in seconds with microseconds; 0: malformed. */
static double time_from_id(const char *id)
{
    time_t seconds;
    unsigned long micro;
    return time_of_id(id, &seconds, &micro) ? (double)seconds + (double)micro * 1e-6 : 0;
}

/* Makes an id of the present time. Ids are the order of the images: if the clock was set back, so
 * that the id would not be above all others, makes that of the microsecond after the latest. Does
 * not check whether it is in use. The mutex is held. */
static void make_image_id(zi_history *h, char id[ZI_IMAGE_ID])
{
    struct timespec now;
    char after[ZI_IMAGE_ID];
    time_t seconds;
    unsigned long micro;
    clock_gettime(CLOCK_REALTIME, &now);
    id_of_time(now.tv_sec, (unsigned long)(now.tv_nsec / 1000), id);
    if (strcmp(id, h->latest) <= 0 && time_of_id(h->latest, &seconds, &micro)) {
        micro++;
        if (id_of_time(seconds + (time_t)(micro / 1000000), micro % 1000000, after) &&
            strcmp(after, h->latest) > 0)
            strcpy(id, after);
    }
    if (strcmp(id, h->latest) > 0) strcpy(h->latest, id);
}

/* folder/ID plus the extension, which begins with a dot, in new memory; NULL: id is malformed, or
 * out of memory. */
static char *path_for_id(const char *folder, const char *id, const char *extension)
{
    char name[ZI_IMAGE_ID + 8];
    if (!zi_image_id_valid(id)) return NULL;
    snprintf(name, sizeof name, "%s%s", id, extension);
    return zi_path_join(folder, name);
}

char *zi_history_image_path(const zi_history *history, const char *id)
{
    return path_for_id(history->folder, id, ".png");
}

char *zi_history_thumbnail_path(const zi_history *history, const char *id)
{
    return path_for_id(history->thumbnails, id, ".webp");
}

/* ---- the database ---- */

bool zi_db_error_set(zi_history *h, zi_error *error)
{
    return zi_error_set_in(
        error, ZI_ERROR_IO, NULL, h->folder,
        "%s/history.db: the list of the images cannot be read or written: %s; if the file is "
        "damaged, stop the server and delete it: the next start makes it anew from the images",
        h->folder, sqlite3_errmsg(h->db));
}

bool zi_db_prepare(zi_history *history, const char *sql, sqlite3_stmt **out, zi_error *error)
{
    return sqlite3_prepare_v2(history->db, sql, -1, out, NULL) == SQLITE_OK ||
           zi_db_error_set(history, error);
}

void zi_db_bind_texts(sqlite3_stmt *statement, int count, const char *const *texts)
{
    for (int i = 0; i < count; i++)
        sqlite3_bind_text(statement, i + 1, texts[i], -1, SQLITE_TRANSIENT);
}

bool zi_db_run_with_id(zi_history *history, const char *sql, const char *id, zi_error *error)
{
    sqlite3_stmt *s = NULL;
    if (!zi_db_prepare(history, sql, &s, error)) return false;
    zi_db_bind_texts(s, 1, &id);
    bool ok = sqlite3_step(s) == SQLITE_DONE || zi_db_error_set(history, error);
    sqlite3_finalize(s);
    return ok;
}

/* ---- rows ---- */

/* The text itself; NULL if it is "" or NULL. */
static const char *null_if_empty(const char *text)
{
    return text && *text ? text : NULL;
}

bool zi_history_insert_row(zi_history *history, const char *database, const zi_image_record *record,
                           zi_error *error)
{
    zi_infotext_fields f = {.prompt = "", .model = "", .schedule = ""};
    char *storage = NULL, seed[24], sql[320];
    const char *id = record->id, *infotext = record->infotext;
    sqlite3_stmt *s = NULL;
    if (!zi_infotext_parse(infotext, &f, &storage, NULL))
        f = (zi_infotext_fields){.prompt = infotext, .model = "", .schedule = "", .cfg = 1};
    snprintf(seed, sizeof seed, "%" PRIu64, f.seed);
    snprintf(sql, sizeof sql,
             "INSERT INTO %s.images VALUES (?1, ?9, ?10, ?11, ?12, ?13, ?2, ?3, ?4, ?5, ?6, ?14,"
             " ?7, ?15, ?16, ?8, 0) ON CONFLICT (id) DO UPDATE SET created = excluded.created,"
             " seconds = excluded.seconds WHERE seconds IS NULL AND excluded.seconds NOT NULL",
             database);
    bool ok = zi_db_prepare(history, sql, &s, error);
    if (ok) {
        const char *texts[] = {
            id,      infotext, f.prompt,  null_if_empty(f.original), null_if_empty(f.negative),
            f.model, seed,     f.schedule};
        zi_db_bind_texts(s, 8, texts);
        sqlite3_bind_double(s, 9, record->created > 0 ? record->created : time_from_id(id));
        sqlite3_bind_int(s, 10, record->width);
        sqlite3_bind_int(s, 11, record->height);
        sqlite3_bind_double(s, 12, record->bytes);
        if (record->seconds >= 0) sqlite3_bind_double(s, 13, record->seconds);
        sqlite3_bind_int(s, 14, f.steps);
        sqlite3_bind_double(s, 15, f.shift);
        sqlite3_bind_double(s, 16, f.cfg > 1 ? f.cfg - 1 : 0);
        ok = sqlite3_step(s) == SQLITE_DONE || zi_db_error_set(history, error);
    }
    sqlite3_finalize(s);
    free(storage);
    return ok;
}

const char zi_history_columns[] =
    "id, created, width, height, bytes, prompt, original, negative, model, steps, seed, shift,"
    " guidance, schedule, seconds, recipe";

/* Adds the parameters that have no column, as the infotext says. Out of memory: some are missing.
 */
static void add_infotext_fields(cJSON *image)
{
    zi_infotext_fields f = {.sampler = ""};
    char *storage = NULL;
    const char *infotext = cJSON_GetStringValue(cJSON_GetObjectItem(image, "recipe"));
    if (infotext && !zi_infotext_parse(infotext, &f, &storage, NULL)) f.sampler = "";
    cJSON_AddStringToObject(image, "sampler", f.sampler);
    cJSON_AddNumberToObject(image, "cfg_normalization", f.cfg_normalization);
    cJSON_AddNumberToObject(image, "cfg_truncation", f.cfg_truncation > 0 ? f.cfg_truncation : 1);
    cJSON_AddNumberToObject(image, "max_tokens", f.max_tokens ? f.max_tokens : ZI_PROMPT_TOKENS);
    free(storage);
}

/* Adds "unsaved": why the image's file is not written, or null. A problem of the database does not
 * keep the file from being written, so it is never given as the reason. */
static void add_unsaved(const zi_history *h, cJSON *image)
{
    const char *id = cJSON_GetStringValue(cJSON_GetObjectItem(image, "id"));
    const zi_unsaved *unsaved = id && h->storage.unsaved ? zi_unsaved_find(h, id) : NULL;
    const zi_storage_problem *problem = &h->storage.problems[0];
    bool folder = h->storage.count && problem->kind != ZI_STORAGE_DATABASE_NOT_WRITABLE;
    if (unsaved && unsaved->png)
        cJSON_AddStringToObject(image, "unsaved",
                                folder ? problem->message
                                       : "the server will save the image in a moment");
    else
        cJSON_AddNullToObject(image, "unsaved");
}

cJSON *zi_history_row_json(const zi_history *history, sqlite3_stmt *statement)
{
    cJSON *image = cJSON_CreateObject();
    for (int i = 0; i < sqlite3_column_count(statement); i++) {
        const char *name = sqlite3_column_name(statement, i);
        int type = sqlite3_column_type(statement, i);
        if (type == SQLITE_NULL)
            cJSON_AddNullToObject(image, name);
        else if (type == SQLITE_TEXT)
            cJSON_AddStringToObject(image, name, (const char *)sqlite3_column_text(statement, i));
        else
            cJSON_AddNumberToObject(image, name, sqlite3_column_double(statement, i));
    }
    add_infotext_fields(image);
    add_unsaved(history, image);
    return image;
}

bool zi_history_write_file(const char *path, const void *data, size_t size, zi_error *error)
{
    zi_output output = {0};
    bool ok = zi_output_open(&output, path, error) && zi_output_write(&output, data, size, error) &&
              zi_output_commit(&output, error);
    zi_output_discard(&output);
    return ok;
}

bool zi_history_add_image(zi_history *history, const zi_image *image, const char *infotext,
                          double seconds, char id[ZI_IMAGE_ID], zi_error *error)
{
    uint8_t *png = NULL;
    size_t size = 0;
    zi_error why = {0};
    zi_save_options save = {.format = ZI_FORMAT_PNG, .infotext = infotext};
    zi_image_record record = {.width = image->width,
                              .height = image->height,
                              .created = zi_wall_seconds(),
                              .seconds = seconds,
                              .infotext = infotext};
    pthread_mutex_lock(&history->mutex);
    make_image_id(history, id);
    pthread_mutex_unlock(&history->mutex);
    if (!zi_image_encode(image, &save, &png, &size, error)) return false;
    memcpy(record.id, id, ZI_IMAGE_ID);
    record.bytes = (double)size;
    char *path = zi_history_image_path(history, id);
    bool written =
        path &&
        (!zi_storage_is_other_disk(history) ||
         zi_error_set(&why, ZI_ERROR_IO, path, "is not written: its disk is not mounted")) &&
        zi_history_write_file(path, png, size, &why);
    free(path);
    if (!written) zi_log_line(history->log, ZI_LOG_ERROR, "image %s: %s", id, why.text);
    pthread_mutex_lock(&history->mutex);
    bool ok = zi_unsaved_store(history, &record, written ? NULL : png, error);
    pthread_mutex_unlock(&history->mutex);
    if (written || !ok) free(png);
    return ok;
}

bool zi_history_get_row(zi_history *history, const char *id, cJSON **out, zi_error *error)
{
    char sql[600];
    sqlite3_stmt *s = NULL;
    *out = NULL;
    pthread_mutex_lock(&history->mutex);
    /* An unsaved image is found even when the database cannot be read. */
    snprintf(sql, sizeof sql, "SELECT %s %s AND id = ?1", zi_history_columns,
             zi_unsaved_find(history, id) ? "FROM unsaved.images WHERE deleted = 0"
                                          : zi_history_source(history));
    bool ok = zi_db_prepare(history, sql, &s, error);
    if (ok) {
        zi_db_bind_texts(s, 1, &id);
        int step = sqlite3_step(s);
        if (step == SQLITE_ROW)
            ok = (*out = zi_history_row_json(history, s)) || zi_error_no_memory(error, 1);
        else if (step != SQLITE_DONE)
            ok = zi_db_error_set(history, error);
    }
    sqlite3_finalize(s);
    pthread_mutex_unlock(&history->mutex);
    return ok;
}

/* ---- files ---- */

enum { MAX_IMAGE_BYTES = 1 << 30 }; /* of an image file */

bool zi_history_open_path(const char *path, const char *id, int *fd, zi_error *error)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return *fd >= 0 || errno == ENOENT || errno == ELOOP ||
           zi_error_set_in(error, ZI_ERROR_IO, path, id,
                           "cannot be opened: %s; check its permissions and those of its folder",
                           strerror(errno));
}

bool zi_history_open_file(const zi_history *history, const char *id, int *fd, zi_error *error)
{
    *fd = -1;
    if (!zi_image_id_valid(id)) return true;
    char *path = zi_history_image_path(history, id);
    bool ok = path ? zi_history_open_path(path, id, fd, error) : zi_error_no_memory(error, 1);
    free(path);
    return ok;
}

/* Reads size bytes from fd, which stays open. False: *error is ZI_ERROR_IO with `id` as its
 * subject, also when the file ends before, and bytes may be partly filled. */
static bool read_bytes(int fd, const char *id, uint8_t *bytes, size_t size, zi_error *error)
{
    for (size_t done = 0; done < size;) {
        ssize_t count = read(fd, bytes + done, size - done);
        if (count == 0)
            return zi_error_set_in(error, ZI_ERROR_IO, NULL, id,
                                   "another program made %s.png in the server's output folder "
                                   "shorter while it was read; try again",
                                   id);
        if (count < 0 && errno != EINTR)
            return zi_error_set_in(error, ZI_ERROR_IO, NULL, id,
                                   "%s.png in the server's output folder cannot be read: %s; check "
                                   "the disk of that folder",
                                   id, strerror(errno));
        if (count > 0) done += (size_t)count;
    }
    return true;
}

bool zi_history_copy_unsaved(zi_history *history, const char *id, uint8_t **data, size_t *size,
                             zi_error *error)
{
    pthread_mutex_lock(&history->mutex);
    const zi_unsaved *unsaved = zi_unsaved_find(history, id);
    const uint8_t *png = unsaved ? unsaved->png : NULL;
    size_t bytes = png ? (size_t)unsaved->record.bytes : 0;
    *data = png ? malloc(bytes) : NULL;
    if (*data) memcpy(*data, png, bytes);
    pthread_mutex_unlock(&history->mutex);
    if (png && !*data) return zi_error_no_memory(error, bytes);
    if (png) *size = bytes;
    return true;
}

bool zi_history_read_file(zi_history *history, const char *id, uint8_t **data, size_t *size,
                          zi_error *error)
{
    struct stat st;
    int fd;
    if (!zi_history_copy_unsaved(history, id, data, size, error)) return false;
    if (*data) return true;
    if (!zi_history_open_file(history, id, &fd, error)) return false;
    if (fd < 0) return true;
    bool ok = (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= MAX_IMAGE_BYTES) ||
              zi_error_set_in(error, ZI_ERROR_IO, NULL, id,
                              "%s.png in the server's output folder is larger than 1 GiB or no "
                              "ordinary file; remove it from the folder",
                              id);
    uint8_t *bytes = ok ? malloc((size_t)st.st_size + 1) : NULL;
    if (ok && !bytes) ok = zi_error_no_memory(error, (size_t)st.st_size + 1);
    ok = ok && read_bytes(fd, id, bytes, (size_t)st.st_size, error);
    close(fd);
    if (!ok) {
        free(bytes);
        return false;
    }
    *data = bytes;
    *size = (size_t)st.st_size;
    return true;
}

bool zi_history_load_image(zi_history *history, const char *id, zi_image **image, char **infotext,
                           zi_error *error)
{
    uint8_t *data = NULL;
    size_t size = 0;
    *image = NULL;
    if (!zi_history_read_file(history, id, &data, &size, error)) return false;
    if (!data) return true;
    bool ok = zi_image_decode(data, size, 0, image, infotext, error);
    free(data);
    return ok;
}

void zi_history_store_thumbnail(zi_history *history, const char *id, const void *data, size_t size)
{
    zi_error why;
    char *path = zi_history_thumbnail_path(history, id);
    bool ok = path && !zi_storage_is_other_disk(history);
    if (ok) mkdir(history->thumbnails, 0777); /* it may be gone */
    if (ok && !zi_history_write_file(path, data, size, &why))
        zi_log_rate_limited(history->log, "thumbnail %s: not stored: %s", id, why.text);
    free(path);
}

/* ---- deleting ---- */

bool zi_history_remove_file(char *path, zi_error *error)
{
    bool ok = path || zi_error_no_memory(error, 1);
    if (ok && unlink(path) != 0) {
        int why = errno;
        struct stat st;
        /* On a read-only file system, unlink() does not look whether the file exists. */
        bool missing = lstat(path, &st) != 0 && (errno == ENOENT || errno == ENOTDIR);
        ok = missing || zi_error_set(error, ZI_ERROR_IO, path,
                                     "cannot be removed: %s; remove it yourself, or make the "
                                     "folder that it is in writable for the server",
                                     strerror(why));
    }
    free(path);
    return ok;
}

bool zi_history_remove_image(zi_history *history, const char *id, zi_error *error)
{
    zi_error why;
    const zi_unsaved *one = zi_unsaved_find(history, id);
    bool unsaved = one != NULL, in_memory = unsaved && one->png;
    /* The file first: that needs no space, and gives some to the database. After a crash, a row
     * without a file is removed. */
    if (!in_memory && !zi_history_remove_file(zi_history_image_path(history, id), error))
        return false;
    if (!zi_history_remove_file(zi_history_thumbnail_path(history, id), &why))
        zi_log_line(history->log, ZI_LOG_WARNING, "image %s: %s", id, why.text);
    zi_unsaved_drop(history, id);
    if (!unsaved &&
        !zi_db_run_with_id(history, "DELETE FROM main.images WHERE id = ?1", id, &why)) {
        zi_storage_note_failure(history);
        if (history->lock < 0)
            return zi_error_set_in(
                error, ZI_ERROR_IO, NULL, history->folder,
                "%s: the file of image %s is removed, but its row in history.db cannot be: %s; "
                "remove the image once more when history.db can be written and no program locks it",
                history->folder, id, history->database_error);
        zi_log_line(history->log, ZI_LOG_WARNING, "image %s: %s", id, why.text);
        zi_unsaved_hide_row(history, id);
    }
    return true;
}

bool zi_history_delete(zi_history *history, const char *id, bool *found, zi_error *error)
{
    cJSON *row;
    pthread_mutex_lock(&history->mutex);
    bool ok = zi_history_get_row(history, id, &row, error);
    *found = ok && row;
    if (*found) ok = zi_history_remove_image(history, id, error);
    cJSON_Delete(row);
    pthread_mutex_unlock(&history->mutex);
    return ok;
}
