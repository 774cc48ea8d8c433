#include "server/history.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct zi_history {
    char *folder, *thumbnails;
    zi_log *log;
    pthread_mutex_t mutex;
    sqlite3 *db;
    int lock; /* a file that says that the folder is taken */
};

/* ---- names ---- */

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

/* Names sort as time goes: seconds, then microseconds (5 hex digits), then chance (3). */
static void make_id(char id[ZI_IMAGE_ID])
{
    struct timespec now;
    struct tm tm;
    uint16_t chance = 0;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    if (getentropy(&chance, sizeof chance) != 0) chance = (uint16_t)now.tv_nsec;
    strftime(id, ZI_IMAGE_ID, "%Y%m%d-%H%M%S-", &tm);
    snprintf(id + 16, ZI_IMAGE_ID - 16, "%05lx%03x", (unsigned long)(now.tv_nsec / 1000),
             chance & 0xfffu);
}

static double time_of(const char *id)
{
    struct tm tm = {0};
    unsigned long micro = 0;
    if (sscanf(id, "%4d%2d%2d-%2d%2d%2d-%5lx", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour,
               &tm.tm_min, &tm.tm_sec, &micro) != 7)
        return 0;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    return (double)timegm(&tm) + (double)micro * 1e-6;
}

static char *file_in(const char *folder, const char *id, const char *extension)
{
    char name[ZI_IMAGE_ID + 8];
    if (!zi_image_id_valid(id)) return NULL;
    snprintf(name, sizeof name, "%s%s", id, extension);
    return zi_path_join(folder, name);
}

static char *picture_path(const zi_history *history, const char *id)
{
    return file_in(history->folder, id, ".png");
}

char *zi_history_thumbnail(const zi_history *history, const char *id)
{
    return file_in(history->thumbnails, id, ".webp");
}

/* ---- the database ---- */

static bool db_fail(zi_history *h, zi_error *error)
{
    return zi_fail(error, "%s/history.db: %s", h->folder, sqlite3_errmsg(h->db));
}

static bool run(zi_history *h, const char *sql, zi_error *error)
{
    return sqlite3_exec(h->db, sql, NULL, NULL, NULL) == SQLITE_OK || db_fail(h, error);
}

static const char schema[] =
    "PRAGMA journal_mode = WAL;"
    "PRAGMA synchronous = NORMAL;"
    "PRAGMA user_version = 1;"
    "CREATE TABLE IF NOT EXISTS images ("
    " id TEXT PRIMARY KEY, created REAL NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, seconds REAL, recipe TEXT NOT NULL, prompt TEXT NOT NULL,"
    " original TEXT, negative TEXT, model TEXT NOT NULL, steps INTEGER NOT NULL,"
    " seed TEXT NOT NULL, shift REAL NOT NULL, guidance REAL NOT NULL, schedule TEXT NOT NULL,"
    " deleted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;";

static bool prepare(zi_history *h, const char *sql, sqlite3_stmt **out, zi_error *error)
{
    return sqlite3_prepare_v2(h->db, sql, -1, out, NULL) == SQLITE_OK || db_fail(h, error);
}

/* Binds texts to the statement's first places. NULL is NULL. */
static void bind_texts(sqlite3_stmt *s, int count, const char *const *texts)
{
    for (int i = 0; i < count; i++) sqlite3_bind_text(s, i + 1, texts[i], -1, SQLITE_TRANSIENT);
}

/* Runs a statement with one id. */
static bool run_with(zi_history *h, const char *sql, const char *id, zi_error *error)
{
    sqlite3_stmt *s = NULL;
    if (!prepare(h, sql, &s, error)) return false;
    bind_texts(s, 1, &id);
    bool ok = sqlite3_step(s) == SQLITE_DONE || db_fail(h, error);
    sqlite3_finalize(s);
    return ok;
}

/* ---- rows ---- */

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static bool insert(zi_history *h, const char *id, int width, int height, double bytes,
                   double seconds, const char *recipe, zi_error *error)
{
    zi_recipe_fields f = {.prompt = "", .model = "", .schedule = ""};
    char *storage = NULL, seed[24];
    sqlite3_stmt *s = NULL;
    if (!zi_recipe_parse(recipe, &f, &storage, NULL))
        f = (zi_recipe_fields){.prompt = recipe, .model = "", .schedule = "", .cfg = 1};
    snprintf(seed, sizeof seed, "%" PRIu64, f.seed);
    bool ok = prepare(h,
                      "INSERT OR IGNORE INTO images VALUES (?1, ?9, ?10, ?11, ?12, ?13, ?2, ?3, ?4,"
                      " ?5, ?6, ?14, ?7, ?15, ?16, ?8, 0)",
                      &s, error);
    if (ok) {
        const char *texts[] = {id,      recipe, f.prompt,  or_null(f.original), or_null(f.negative),
                               f.model, seed,   f.schedule};
        bind_texts(s, 8, texts);
        sqlite3_bind_double(s, 9, time_of(id));
        sqlite3_bind_int(s, 10, width);
        sqlite3_bind_int(s, 11, height);
        sqlite3_bind_double(s, 12, bytes);
        if (seconds >= 0) sqlite3_bind_double(s, 13, seconds);
        sqlite3_bind_int(s, 14, f.steps);
        sqlite3_bind_double(s, 15, f.shift);
        sqlite3_bind_double(s, 16, f.cfg > 1 ? f.cfg - 1 : 0);
        ok = sqlite3_step(s) == SQLITE_DONE || db_fail(h, error);
    }
    sqlite3_finalize(s);
    free(storage);
    return ok;
}

static const char columns[] =
    "SELECT id, created, width, height, bytes, prompt, original, negative,"
    " model, steps, seed, shift, guidance, schedule, seconds, recipe"
    " FROM images WHERE deleted = 0";

/* The row at which a statement of `columns` stands. */
static cJSON *describe(sqlite3_stmt *s)
{
    cJSON *image = cJSON_CreateObject();
    for (int i = 0; i < sqlite3_column_count(s); i++) {
        const char *name = sqlite3_column_name(s, i);
        int type = sqlite3_column_type(s, i);
        if (type == SQLITE_NULL)
            cJSON_AddNullToObject(image, name);
        else if (type == SQLITE_TEXT)
            cJSON_AddStringToObject(image, name, (const char *)sqlite3_column_text(s, i));
        else
            cJSON_AddNumberToObject(image, name, sqlite3_column_double(s, i));
    }
    return image;
}

bool zi_history_add(zi_history *history, const zi_image *image, const char *recipe, double seconds,
                    char id[ZI_IMAGE_ID], zi_error *error)
{
    struct stat st;
    make_id(id);
    char *path = picture_path(history, id);
    zi_save_options save = {.format = ZI_FORMAT_PNG, .recipe = recipe};
    bool ok = path ? zi_image_save(image, path, &save, error) : zi_out_of_memory(error, 1);
    if (ok && stat(path, &st) != 0) ok = zi_fail(error, "%s: %s", path, strerror(errno));
    if (ok) {
        pthread_mutex_lock(&history->mutex);
        ok = insert(history, id, image->width, image->height, (double)st.st_size, seconds, recipe,
                    error);
        pthread_mutex_unlock(&history->mutex);
    }
    free(path);
    return ok;
}

cJSON *zi_history_get(zi_history *history, const char *id, zi_error *error)
{
    char sql[600];
    sqlite3_stmt *s = NULL;
    cJSON *image = NULL;
    snprintf(sql, sizeof sql, "%s AND id = ?1", columns);
    pthread_mutex_lock(&history->mutex);
    if (prepare(history, sql, &s, error)) {
        bind_texts(s, 1, &id);
        int step = sqlite3_step(s);
        if (step == SQLITE_ROW)
            image = describe(s);
        else if (step != SQLITE_DONE)
            db_fail(history, error);
    }
    sqlite3_finalize(s);
    pthread_mutex_unlock(&history->mutex);
    return image;
}

/* ---- files ---- */

enum { MOST_BYTES = 1 << 30 }; /* of a picture's file */

int zi_history_file(const zi_history *history, const char *id)
{
    char *path = picture_path(history, id);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
    free(path);
    return fd;
}

/* All of a regular file, in new memory; fd is closed. */
static bool read_all(int fd, const char *name, uint8_t **data, size_t *size, zi_error *error)
{
    struct stat st;
    FILE *file = fdopen(fd, "rb");
    uint8_t *bytes = NULL;
    bool ok = false;
    if (!file) {
        close(fd);
    } else if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= MOST_BYTES) {
        *size = (size_t)st.st_size;
        bytes = malloc(*size + 1);
        ok = bytes && fread(bytes, 1, *size, file) == *size;
    }
    if (file) fclose(file);
    if (ok) {
        *data = bytes;
        return true;
    }
    free(bytes);
    return zi_fail(error, "picture %s: its file cannot be read", name);
}

bool zi_history_load(const zi_history *history, const char *id, zi_image **image, char **recipe,
                     zi_error *error)
{
    uint8_t *data = NULL;
    size_t size = 0;
    int fd = zi_history_file(history, id);
    if (fd < 0 || !read_all(fd, id, &data, &size, error)) return false;
    bool ok = zi_image_from_bytes(data, size, 0, image, recipe, error);
    free(data);
    return ok;
}

/* ---- search ---- */

enum { MOST_WORDS = 20 };

/* A word of the search as a LIKE pattern, in new memory. */
static char *pattern(const char *word, size_t length)
{
    zi_text text;
    zi_text_init(&text, 4 * length + 16);
    zi_text_puts(&text, "%");
    for (size_t i = 0; i < length; i++) {
        if (strchr("%_\\", word[i])) zi_text_puts(&text, "\\");
        zi_text_append(&text, word + i, 1);
    }
    zi_text_puts(&text, "%");
    return zi_text_take(&text);
}

typedef struct {
    zi_text where;
    char *values[MOST_WORDS + 3];
    int count;
} filter;

static void add_condition(filter *f, const char *before, char *value, const char *after)
{
    f->values[f->count++] = value;
    zi_text_printf(&f->where, " AND %s?%d%s", before, f->count, after);
}

static filter make_filter(const zi_history_query *query)
{
    filter f = {.count = 0};
    zi_text_init(&f.where, 1 << 14);
    zi_text_puts(&f.where, "");
    for (const char *word = query->words; word && *word && f.count < MOST_WORDS;) {
        size_t length = strcspn(word, " \t\n");
        if (length)
            add_condition(&f,
                          "(prompt || ' ' || ifnull(original, '') || ' ' || ifnull(negative, '') "
                          "|| ' ' || model || ' ' || seed) LIKE ",
                          pattern(word, length), " ESCAPE '\\'");
        word += length + (word[length] != 0);
    }
    if (query->model) add_condition(&f, "model = ", strdup(query->model), "");
    if (query->seed) add_condition(&f, "seed = ", strdup(query->seed), "");
    return f;
}

static bool count_matches(zi_history *h, const filter *f, double *total, zi_error *error)
{
    zi_text sql;
    sqlite3_stmt *s = NULL;
    zi_text_init(&sql, 1 << 15);
    zi_text_printf(&sql, "SELECT count(*) FROM images WHERE deleted = 0%s", f->where.data);
    bool ok = !sql.failed && prepare(h, sql.data, &s, error);
    if (ok) {
        bind_texts(s, f->count, (const char *const *)f->values);
        ok = sqlite3_step(s) == SQLITE_ROW || db_fail(h, error);
        *total = sqlite3_column_double(s, 0);
    }
    sqlite3_finalize(s);
    zi_text_free(&sql);
    return ok;
}

/* One row more than asked for tells whether there is another page. */
static bool list_page(zi_history *h, const filter *f, int limit, cJSON *list, zi_error *error)
{
    zi_text sql;
    sqlite3_stmt *s = NULL;
    cJSON *images = cJSON_AddArrayToObject(list, "images");
    int rows = 0, step = SQLITE_DONE;
    zi_text_init(&sql, 1 << 15);
    zi_text_printf(&sql, "%s%s ORDER BY id DESC LIMIT %d", columns, f->where.data, limit + 1);
    bool ok = !sql.failed && prepare(h, sql.data, &s, error);
    if (ok) bind_texts(s, f->count, (const char *const *)f->values);
    while (ok && rows <= limit && (step = sqlite3_step(s)) == SQLITE_ROW)
        if (rows++ < limit) cJSON_AddItemToArray(images, describe(s));
    if (ok && step != SQLITE_DONE && step != SQLITE_ROW) ok = db_fail(h, error);
    const cJSON *last = cJSON_GetArrayItem(images, limit - 1);
    cJSON_AddItemToObject(list, "next",
                          rows > limit ? cJSON_Duplicate(cJSON_GetObjectItem(last, "id"), true)
                                       : cJSON_CreateNull());
    sqlite3_finalize(s);
    zi_text_free(&sql);
    return ok;
}

cJSON *zi_history_list(zi_history *history, const zi_history_query *query, zi_error *error)
{
    double total = 0;
    cJSON *list = cJSON_CreateObject();
    filter f = make_filter(query);
    pthread_mutex_lock(&history->mutex);
    bool ok = count_matches(history, &f, &total, error);
    if (query->cursor) add_condition(&f, "id < ", strdup(query->cursor), "");
    ok = ok && list_page(history, &f, query->limit, list, error);
    pthread_mutex_unlock(&history->mutex);
    cJSON_AddNumberToObject(list, "total", total);
    for (int i = 0; i < f.count; i++) free(f.values[i]);
    zi_text_free(&f.where);
    if (ok) return list;
    cJSON_Delete(list);
    return NULL;
}

/* ---- deleting ---- */

static bool remove_file(char *path, zi_error *error)
{
    bool ok = path && (unlink(path) == 0 || errno == ENOENT);
    if (!ok) zi_fail(error, "%s: %s", path ? path : "out of memory", strerror(errno));
    free(path);
    return ok;
}

/* The files of a picture that is marked as deleted, then its row. */
static bool finish_delete(zi_history *h, const char *id, zi_error *error)
{
    return remove_file(zi_history_thumbnail(h, id), error) &&
           remove_file(picture_path(h, id), error) &&
           run_with(h, "DELETE FROM images WHERE id = ?1", id, error);
}

bool zi_history_delete(zi_history *history, const char *id, zi_error *error)
{
    pthread_mutex_lock(&history->mutex);
    /* First the mark: the file of a picture without a row would be taken in again. */
    bool ok = run_with(history, "UPDATE images SET deleted = 1 WHERE id = ?1 AND deleted = 0", id,
                       error) &&
              sqlite3_changes(history->db) > 0;
    ok = ok && finish_delete(history, id, error);
    pthread_mutex_unlock(&history->mutex);
    return ok;
}

/* ---- starting ---- */

/* Ids of a query's first column, in new memory, NULL at the end. */
static char **read_ids(zi_history *h, const char *sql, zi_error *error)
{
    sqlite3_stmt *s = NULL;
    size_t count = 0;
    char **ids = NULL;
    if (!prepare(h, sql, &s, error)) return NULL;
    for (bool more = true; more; count++) {
        char **grown = realloc(ids, (count + 1) * sizeof *ids);
        if (!grown) break;
        ids = grown;
        more = sqlite3_step(s) == SQLITE_ROW;
        ids[count] = more ? strdup((const char *)sqlite3_column_text(s, 0)) : NULL;
        if (!ids[count]) more = false;
    }
    sqlite3_finalize(s);
    return ids;
}

/* Ends deletions that were begun, and forgets pictures whose files somebody removed. */
static bool forget_missing(zi_history *h, zi_error *error)
{
    char **ids = read_ids(h, "SELECT id FROM images WHERE deleted = 1", error);
    bool ok = ids != NULL;
    for (size_t i = 0; ok && ids[i]; i++) ok = finish_delete(h, ids[i], error);
    for (size_t i = 0; ids && ids[i]; i++) free(ids[i]);
    free(ids);
    ids = ok ? read_ids(h, "SELECT id FROM images", error) : NULL;
    ok = ids != NULL;
    for (size_t i = 0; ok && ids[i]; i++) {
        char *path = picture_path(h, ids[i]);
        if (path && !zi_is_file(path)) ok = finish_delete(h, ids[i], error);
        free(path);
    }
    for (size_t i = 0; ids && ids[i]; i++) free(ids[i]);
    free(ids);
    return ok;
}

/* Takes in a picture that has no row. One that cannot be read stays where it is, unlisted. */
static bool adopt(zi_history *h, const char *id, zi_error *error)
{
    zi_image *image = NULL;
    char *recipe = NULL, *path = picture_path(h, id);
    struct stat st;
    zi_error why = {0};
    bool ok = true;
    cJSON *known = zi_history_get(h, id, error);
    if (!known && path && lstat(path, &st) == 0) {
        if (zi_history_load(h, id, &image, &recipe, &why)) {
            ok = insert(h, id, image->width, image->height, (double)st.st_size, -1,
                        recipe ? recipe : "", error);
            if (ok) zi_log_line(h->log, ZI_LOG_INFO, "picture %s: taken into the history", id);
        } else {
            zi_log_line(h->log, ZI_LOG_WARNING, "picture %s: not taken into the history: %s", id,
                        why.status ? why.text : "its file cannot be opened");
        }
    }
    cJSON_Delete(known);
    zi_image_free(image);
    free(recipe);
    free(path);
    return ok;
}

/* Pictures without rows, and what an end in the middle of writing left behind. */
static bool sweep(zi_history *h, zi_error *error)
{
    DIR *folder = opendir(h->folder);
    bool ok = folder || zi_fail(error, "%s: %s", h->folder, strerror(errno));
    for (struct dirent *entry; ok && (entry = readdir(folder));) {
        char id[ZI_IMAGE_ID];
        const char *name = entry->d_name;
        snprintf(id, sizeof id, "%.*s", ZI_IMAGE_ID - 1, name);
        bool ours = zi_image_id_valid(id);
        if (ours && !strcmp(name + ZI_IMAGE_ID - 1, ".png"))
            ok = adopt(h, id, error);
        else if ((ours && !strncmp(name + ZI_IMAGE_ID - 1, ".png.part-", 10)) ||
                 !strncmp(name, ".upload.part-", 13))
            ok = remove_file(zi_path_join(h->folder, name), error);
    }
    if (folder) closedir(folder);
    return ok;
}

static bool take_folder(zi_history *h, zi_error *error)
{
    char *lock = zi_path_join(h->folder, ".lock");
    if (!lock) return zi_out_of_memory(error, strlen(h->folder));
    if (mkdir(h->folder, 0777) != 0 && errno != EEXIST)
        zi_fail(error, "%s: %s", h->folder, strerror(errno));
    h->lock = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    bool ok = h->lock >= 0 || zi_fail(error, "%s: %s", lock, strerror(errno));
    if (ok && flock(h->lock, LOCK_EX | LOCK_NB) != 0)
        ok = zi_fail(error, "%s: another server uses this folder; name another one with --output",
                     h->folder);
    free(lock);
    if (ok) mkdir(h->thumbnails, 0777);
    return ok;
}

static bool open_db(zi_history *h, zi_error *error)
{
    char *path = zi_path_join(h->folder, "history.db");
    bool ok =
        path && (sqlite3_open_v2(path, &h->db,
                                 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX,
                                 NULL) == SQLITE_OK ||
                 db_fail(h, error));
    free(path);
    if (ok) sqlite3_busy_timeout(h->db, 5000);
    return ok && run(h, schema, error);
}

bool zi_history_open(const char *folder, zi_log *log, zi_history **out, zi_error *error)
{
    zi_history *h = calloc(1, sizeof *h);
    if (!h) return zi_out_of_memory(error, sizeof *h);
    pthread_mutex_init(&h->mutex, NULL);
    h->log = log;
    h->lock = -1;
    h->folder = strdup(folder);
    h->thumbnails = zi_path_join(folder, ".thumbnails");
    if (!h->folder || !h->thumbnails) {
        zi_history_close(h);
        return zi_out_of_memory(error, strlen(folder));
    }
    if (!take_folder(h, error) || !open_db(h, error) || !forget_missing(h, error) ||
        !sweep(h, error)) {
        zi_history_close(h);
        return false;
    }
    *out = h;
    return true;
}

void zi_history_close(zi_history *history)
{
    if (!history) return;
    sqlite3_close(history->db);
    if (history->lock >= 0) close(history->lock);
    pthread_mutex_destroy(&history->mutex);
    free(history->folder);
    free(history->thumbnails);
    free(history);
}
