/* Opens the history: locks the folder, and recovers from crashes by bringing files and rows in
 * line. */
#include "server/history_private.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_UNSAVED_BYTES = 256 << 20 };

/* Frees a NULL-terminated array and its strings. NULL is allowed. */
static void free_ids(char **ids)
{
    for (size_t i = 0; ids && ids[i]; i++) free(ids[i]);
    free(ids);
}

/* The first column of a query's rows, texts that are not NULL, as a NULL-terminated array for
 * free_ids. NULL: *error is set; all rows or none are returned, and an SQL NULL counts as a lack of
 * memory. */
static char **read_ids(zi_history *h, const char *sql, zi_error *error)
{
    sqlite3_stmt *s = NULL;
    char **ids = calloc(1, sizeof *ids);
    if (!ids) zi_error_no_memory(error, sizeof *ids);
    bool ok = ids && zi_db_prepare(h, sql, &s, error);
    int step = SQLITE_DONE;
    for (size_t count = 0; ok && (step = sqlite3_step(s)) == SQLITE_ROW; count++) {
        const char *id = (const char *)sqlite3_column_text(s, 0); /* NULL: out of memory */
        char **grown = realloc(ids, (count + 2) * sizeof *ids);
        if (grown) ids = grown;
        ids[count] = grown && id ? strdup(id) : NULL;
        ok = ids[count] || zi_error_no_memory(error, ZI_IMAGE_ID);
        if (ok) ids[count + 1] = NULL;
    }
    if (ok && step != SQLITE_DONE) ok = zi_db_error_set(h, error);
    sqlite3_finalize(s);
    if (ok) return ids;
    free_ids(ids);
    return NULL;
}

/* Whether no file, or what is no file, is at path. False when that cannot be told: then the image
 * must not be taken for lost. */
static bool is_missing(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? !S_ISREG(st.st_mode) : errno == ENOENT || errno == ELOOP;
}

/* Removes images whose rows a query has, as far as that is possible. missing: only those whose
 * files do not exist. False: the rows cannot be read; *error is set. An image whose path memory is
 * too short for is skipped, which is no failure. */
static bool remove_images(zi_history *h, const char *sql, bool missing, zi_error *error)
{
    zi_error why;
    char **ids = read_ids(h, sql, error);
    for (size_t i = 0; ids && ids[i]; i++) {
        char *path = zi_history_image_path(h, ids[i]);
        if (path && (!missing || is_missing(path)) && !zi_history_remove_image(h, ids[i], &why))
            zi_log_line(h->log, ZI_LOG_WARNING, "%s", why.text);
        free(path);
    }
    free_ids(ids);
    return ids != NULL;
}

/* Stores the row of an image file that has none, as zi_unsaved_store_row, and logs that. A file
 * that cannot be read or decoded is left alone, with a warning in the log; true, too. False: memory
 * is short, or the database cannot be read; *error is set. */
static bool add_row_for_file(zi_history *h, const char *id, size_t *kept, zi_error *error)
{
    zi_image *image = NULL;
    char *infotext = NULL, *path = zi_history_image_path(h, id);
    struct stat st;
    zi_error why = {0};
    cJSON *known;
    bool ok = zi_history_get_row(h, id, &known, error);
    if (ok && !known && path && lstat(path, &st) == 0) {
        if (zi_history_load_image(h, id, &image, &infotext, &why) && image) {
            zi_image_record record = {.width = image->width,
                                      .height = image->height,
                                      .bytes = (double)st.st_size,
                                      .seconds = -1,
                                      .infotext = infotext ? infotext : ""};
            memcpy(record.id, id, ZI_IMAGE_ID);
            ok = zi_unsaved_store_row(h, &record, kept, error);
            if (ok) zi_log_line(h->log, ZI_LOG_INFO, "image %s: added to the history", id);
        } else {
            zi_log_line(h->log, ZI_LOG_WARNING, "image %s: not added to the history: %s", id,
                        why.code ? why.text : "its file is a link");
        }
    }
    cJSON_Delete(known);
    zi_image_free(image);
    free(infotext);
    free(path);
    return ok;
}

/* Removes temporary files (*.part-*) of interrupted writes in a subfolder of the history's folder
 * that only the server writes to. Errors and a missing subfolder are ignored. */
static void remove_temporary_files(const zi_history *h, const char *subfolder)
{
    char *path = zi_path_join(h->folder, subfolder);
    DIR *folder = path ? opendir(path) : NULL;
    for (struct dirent *entry; folder && (entry = readdir(folder));)
        if (strstr(entry->d_name, ".part-")) unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder) closedir(folder);
    free(path);
}

/* Sets the error that the history's folder cannot be read, for the reason in errno; returns false.
 */
static bool set_folder_error(const zi_history *h, zi_error *error)
{
    return zi_error_set(error, zi_error_code_of_errno(), h->folder,
                        "the folder of the images cannot be read: %s; make it readable for you, or "
                        "name another one",
                        strerror(errno));
}

/* Whether a name is that of a temporary file of an interrupted write, upload or check. */
static bool is_temporary(const char *name, bool is_image)
{
    return (is_image && !strncmp(name + ZI_IMAGE_ID - 1, ".png.part-", 10)) ||
           !strncmp(name, ".upload.part-", 13) || !strncmp(name, ".probe.part-", 12);
}

/* Adds rows for image files without one; starting: removes temporary files, as far as that is
 * possible. False: the folder cannot be read, or add_row_for_file failed; *error is set. */
static bool reconcile_files(zi_history *h, bool starting, zi_error *error)
{
    DIR *folder = opendir(h->folder);
    size_t kept = 0;
    zi_error why;
    bool ok = folder || set_folder_error(h, error);
    for (struct dirent *entry; ok && (errno = 0, entry = readdir(folder));) {
        char id[ZI_IMAGE_ID];
        const char *name = entry->d_name;
        snprintf(id, sizeof id, "%.*s", ZI_IMAGE_ID - 1, name);
        bool is_image = zi_image_id_valid(id);
        if (is_image && !strcmp(name + ZI_IMAGE_ID - 1, ".png"))
            ok = add_row_for_file(h, id, &kept, error);
        else if (starting && is_temporary(name, is_image) &&
                 !zi_history_remove_file(zi_path_join(h->folder, name), &why))
            zi_log_line(h->log, ZI_LOG_WARNING, "%s", why.text);
    }
    if (ok && errno) ok = set_folder_error(h, error);
    if (folder) closedir(folder);
    if (kept > 1)
        zi_log_line(h->log, ZI_LOG_ERROR, "%zu more images: their rows cannot be written either",
                    kept - 1);
    if (kept) zi_storage_check(h);
    if (starting) {
        remove_temporary_files(h, ".thumbnails");
        remove_temporary_files(h, ".encodings");
    }
    return ok;
}

/* Creates the folder, not its parents, unless it exists. False: *error is set. */
static bool make_folder(const char *folder, zi_error *error)
{
    if (mkdir(folder, 0777) == 0 || zi_is_dir(folder)) return true;
    if (errno == EEXIST)
        return zi_error_set(error, ZI_ERROR_IO, folder, "is a file, not a folder; name a folder");
    if (errno == ENOENT)
        return zi_error_set(error, ZI_ERROR_IO, folder,
                            "cannot be created, since the folder that it would be in does not "
                            "exist; create that first");
    return zi_error_set(
        error, ZI_ERROR_IO, folder,
        "the folder of the images cannot be created: %s; create it yourself, or name another one",
        strerror(errno));
}

/* Sets h->latest to the highest id, if that is above it: new ids are above all that are known.
 * False: *error is set. */
static bool find_latest(zi_history *h, zi_error *error)
{
    char **ids = read_ids(h, "SELECT id FROM images ORDER BY id DESC LIMIT 1", error);
    if (ids && ids[0] && zi_image_id_valid(ids[0]) && strcmp(ids[0], h->latest) > 0)
        strcpy(h->latest, ids[0]);
    free_ids(ids);
    return ids != NULL;
}

bool zi_history_reconcile(zi_history *history, bool starting, zi_error *error)
{
    return remove_images(history, "SELECT id FROM main.images WHERE deleted = 1", false, error) &&
           remove_images(history, "SELECT id FROM main.images", true, error) &&
           reconcile_files(history, starting, error) && find_latest(history, error);
}

/* Whether the open file and that at path are the same. */
static bool is_same_file(int fd, const char *path)
{
    struct stat open, there;
    return fd >= 0 && fstat(fd, &open) == 0 && stat(path, &there) == 0 &&
           open.st_dev == there.st_dev && open.st_ino == there.st_ino;
}

/* Locks the file at path, which is created if needed. Returns it; -1: *error is set,
 * ZI_ERROR_EXISTS if another server has the lock. */
static int lock_file(const zi_history *h, const char *path, zi_error *error)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        zi_error_set(error, ZI_ERROR_IO, h->folder,
                     "the file .lock in this folder cannot be opened for writing: %s; make "
                     "the folder and that file writable for you, or name another folder",
                     strerror(errno));
        return -1;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno == EWOULDBLOCK)
        zi_error_set_in(error, ZI_ERROR_EXISTS, h->folder, "output",
                        "another server uses this folder; name another one");
    else
        zi_error_set(error, ZI_ERROR_IO, path,
                     "cannot be locked: %s; name an output folder on a local disk",
                     strerror(errno));
    close(fd);
    return -1;
}

bool zi_history_lock(zi_history *history, zi_error *error)
{
    char *path = zi_path_join(history->folder, ".lock");
    if (!path) return zi_error_no_memory(error, strlen(history->folder));
    bool ok = is_same_file(history->lock, path);
    int fd = ok ? -1 : lock_file(history, path, error);
    if (fd >= 0) {
        if (history->lock >= 0) close(history->lock);
        history->lock = fd;
        ok = true;
    }
    free(path);
    struct stat st;
    if (ok) mkdir(history->thumbnails, 0777);
    if (ok && stat(history->folder, &st) == 0) history->folder_device = (uint64_t)st.st_dev;
    return ok;
}

/* Runs one or more statements without parameters; rows are ignored. False: *error is set, and the
 * statements before the one that failed stay in effect. */
static bool run_sql(zi_history *h, const char *sql, zi_error *error)
{
    return sqlite3_exec(h->db, sql, NULL, NULL, NULL) == SQLITE_OK || zi_db_error_set(h, error);
}

/* Creates the table, unless the database has it: a full disk or a read-only file is then no
 * obstacle. False: *error is set. */
static bool prepare_table(zi_history *h, zi_error *error)
{
    static const char schema[] =
        "PRAGMA journal_mode = WAL;"
        "PRAGMA user_version = 1;"
        "CREATE TABLE IF NOT EXISTS images ("
        " id TEXT PRIMARY KEY, created REAL NOT NULL, width INTEGER NOT NULL, height INTEGER NOT "
        "NULL,"
        " bytes INTEGER NOT NULL, seconds REAL, recipe TEXT NOT NULL, prompt TEXT NOT NULL,"
        " original TEXT, negative TEXT, model TEXT NOT NULL, steps INTEGER NOT NULL,"
        " seed TEXT NOT NULL, shift REAL NOT NULL, guidance REAL NOT NULL, schedule TEXT NOT NULL,"
        " deleted INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;";
    char **tables = read_ids(h, "SELECT name FROM sqlite_master WHERE name = 'images'", error);
    bool ok = tables != NULL, has_table = ok && tables[0];
    free_ids(tables);
    return ok && run_sql(h, "PRAGMA synchronous = NORMAL", error) &&
           (has_table || run_sql(h, schema, error));
}

/* Opens the database at path as h->db, as zi_history_open_db does. first: SQL to run before. */
static bool open_db_at(zi_history *h, const char *path, const char *first, zi_error *error)
{
    struct stat st = {0};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX;
    bool ok = sqlite3_open_v2(path, &h->db, flags, NULL) == SQLITE_OK || zi_db_error_set(h, error);
    if (ok) sqlite3_busy_timeout(h->db, ZI_DB_BUSY_MILLISECONDS);
    ok = ok && zi_history_register_fold(h, error) && run_sql(h, first, error) &&
         prepare_table(h, error) && zi_unsaved_attach(h, error);
    if (ok) stat(path, &st);
    h->device = (uint64_t)st.st_dev;
    h->inode = (uint64_t)st.st_ino;
    if (ok) return true;
    sqlite3_close(h->db);
    h->db = NULL;
    return false;
}

bool zi_history_open_db(zi_history *history, zi_error *error)
{
    zi_error why;
    char *path = zi_path_join(history->folder, "history.db");
    if (!path) return zi_error_no_memory(error, strlen(history->folder));
    history->exclusive = false;
    bool ok = open_db_at(history, path, "", error);
    /* The index of the log, which processes share, is a file; a full disk has no room for it. */
    if (!ok)
        ok = history->exclusive =
            open_db_at(history, path, "PRAGMA locking_mode = EXCLUSIVE", &why);
    free(path);
    return ok;
}

bool zi_history_open_memory(zi_history *history, zi_error *error)
{
    history->exclusive = false;
    return open_db_at(history, ":memory:", "", error);
}

/* A new history with copies of the paths, without lock and database; touches no files. log is
 * borrowed and may be NULL. NULL: out of memory, and *error is set. */
static zi_history *create_history(const char *folder, zi_log *log, zi_error *error)
{
    zi_history *h = calloc(1, sizeof *h);
    if (h) {
        pthread_mutexattr_t recursive;
        pthread_mutexattr_init(&recursive);
        pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
        pthread_mutex_init(&h->mutex, &recursive);
        pthread_mutexattr_destroy(&recursive);
        h->log = log;
        h->unsaved_max = MAX_UNSAVED_BYTES;
        h->lock = -1;
        h->unsaved_end = &h->unsaved;
        h->folder = strdup(folder);
        h->thumbnails = zi_path_join(folder, ".thumbnails");
        if (h->folder && h->thumbnails) return h;
    }
    zi_history_close(h);
    zi_error_no_memory(error, strlen(folder));
    return NULL;
}

bool zi_history_open(const char *folder, zi_log *log, zi_history **out, zi_error *error)
{
    zi_history *h = create_history(folder, log, error);
    if (!h) return false;
    if (!make_folder(folder, error) || !zi_history_lock(h, error) ||
        !zi_history_open_db(h, error) || !zi_history_reconcile(h, true, error)) {
        zi_history_close(h);
        return false;
    }
    *out = h;
    return true;
}

bool zi_history_open_shared(const char *folder, zi_history **out, zi_error *error)
{
    zi_history *h = create_history(folder, NULL, error);
    if (!h) return false;
    char *db = zi_path_join(folder, "history.db");
    bool ok = db || zi_error_no_memory(error, strlen(folder));
    if (ok && !zi_is_file(db))
        ok = zi_error_set_in(error, ZI_ERROR_NOT_FOUND, folder, "output",
                             "%s; name the output folder of a server",
                             zi_is_dir(folder) ? "no server has put images into this folder"
                                               : "there is no such folder");
    free(db);
    if (!ok || !zi_history_open_db(h, error)) {
        zi_history_close(h);
        return false;
    }
    *out = h;
    return true;
}

void zi_history_close(zi_history *history)
{
    if (!history) return;
    while (history->unsaved && !zi_storage_is_other_disk(history) &&
           zi_unsaved_write_files(history))
        continue;
    if (history->db) zi_unsaved_write_rows(history);
    zi_unsaved_free(history);
    sqlite3_close(history->db);
    free(history->page.query);
    free(history->page.text);
    if (history->lock >= 0) close(history->lock);
    pthread_mutex_destroy(&history->mutex);
    free(history->folder);
    free(history->thumbnails);
    free(history);
}
