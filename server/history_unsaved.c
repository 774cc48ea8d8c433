/* Images that could not be stored, as on a full disk: their files and rows are kept in memory until
 * they can be.
 *
 * Their rows are in a second database of the connection, "unsaved", which is in memory. Its table
 * "images" is like that of the folder's database; "removed" has the ids of deleted images whose
 * rows could not be removed from there. So lists and searches are SQL, whatever could be stored. */
#include "server/history_private.h"

#include <stdlib.h>
#include <string.h>

enum { RETRY_MILLISECONDS = 250 };

const char *zi_history_source(const zi_history *history)
{
    /* The plain table is faster. */
    if (!history->unsaved && !history->removed) return "FROM main.images WHERE deleted = 0";
    return "FROM (SELECT * FROM main.images WHERE id NOT IN (SELECT id FROM unsaved.removed)"
           " UNION ALL SELECT * FROM unsaved.images) WHERE deleted = 0";
}

bool zi_unsaved_attach(zi_history *history, zi_error *error)
{
    /* The columns of the folder's table; the WHERE clause keeps its rows out. */
    static const char schema[] = "PRAGMA temp_store = MEMORY;"
                                 "ATTACH ':memory:' AS unsaved;"
                                 "CREATE TABLE unsaved.images AS SELECT * FROM main.images WHERE 0;"
                                 "CREATE UNIQUE INDEX unsaved.unsaved_id ON images (id);"
                                 "CREATE TABLE unsaved.removed (id TEXT PRIMARY KEY);";
    history->removed = 0;
    bool ok = sqlite3_exec(history->db, schema, NULL, NULL, NULL) == SQLITE_OK ||
              zi_db_error_set(history, error);
    for (const zi_unsaved *one = history->unsaved; ok && one; one = one->next)
        ok = zi_history_insert_row(history, "unsaved", &one->record, error);
    return ok;
}

zi_unsaved *zi_unsaved_find(const zi_history *history, const char *id)
{
    zi_unsaved *one = history->unsaved;
    while (one && strcmp(one->record.id, id) != 0) one = one->next;
    return one;
}

zi_unsaved *zi_unsaved_oldest_file(const zi_history *history)
{
    zi_unsaved *one = history->unsaved;
    while (one && !one->png) one = one->next;
    return one;
}

/* Frees one, which is in no list any more, and its file. */
static void free_one(zi_unsaved *one)
{
    free(one->infotext);
    free(one->png);
    free(one);
}

/* Frees the file of an unsaved image, if it has one, and subtracts it from the memory in use. */
static void drop_file(zi_history *h, zi_unsaved *one)
{
    if (one->png) {
        h->unsaved_bytes -= (size_t)one->record.bytes;
        h->storage.unsaved--;
    }
    free(one->png);
    one->png = NULL;
    h->changed = true;
}

void zi_unsaved_drop(zi_history *history, const char *id)
{
    zi_unsaved **at = &history->unsaved, *one = zi_unsaved_find(history, id);
    if (!one) return;
    while (*at != one) at = &(*at)->next;
    *at = one->next;
    if (history->unsaved_end == &one->next) history->unsaved_end = at;
    drop_file(history, one);
    if (!zi_db_run_with_id(history, "DELETE FROM unsaved.images WHERE id = ?1", one->record.id,
                           NULL))
        zi_storage_note_failure(history);
    free_one(one);
}

/* Drops the oldest files while all exceed the memory for them, except for the newest: these images
 * are lost, which is logged. */
static void drop_oldest_files(zi_history *h)
{
    while (h->unsaved_bytes > h->unsaved_max) {
        const zi_unsaved *one = zi_unsaved_oldest_file(h);
        if (!one || !one->next) return;
        zi_log_line(h->log, ZI_LOG_ERROR,
                    "image %s: is lost, since it cannot be saved and the memory for such images is "
                    "needed for newer ones",
                    one->record.id);
        zi_unsaved_drop(h, one->record.id);
    }
}

/* Adds an image at the end of h->unsaved, with its row in memory, and takes ownership of png;
 * returns it, borrowed. NULL: memory is short; *error is set, and png stays the caller's. */
static zi_unsaved *add_unsaved(zi_history *h, const zi_image_record *record, uint8_t *png,
                               zi_error *error)
{
    zi_unsaved *one = calloc(1, sizeof *one);
    char *infotext = strdup(record->infotext);
    if (!one || !infotext || !zi_history_insert_row(h, "unsaved", record, error)) {
        free(one);
        free(infotext);
        zi_error_no_memory(error, sizeof *one + strlen(record->infotext));
        return NULL;
    }
    one->record = *record;
    one->record.infotext = one->infotext = infotext;
    one->png = png;
    *h->unsaved_end = one;
    h->unsaved_end = &one->next;
    if (png) {
        h->unsaved_bytes += (size_t)record->bytes;
        h->storage.unsaved++;
    }
    h->changed = true;
    return one;
}

/* zi_unsaved_store for what cannot be stored. */
static bool keep_unsaved(zi_history *history, const zi_image_record *record, uint8_t *png,
                         zi_error *error)
{
    zi_unsaved *one = add_unsaved(history, record, png, error);
    if (!one) return false;
    if (png) history->image_failed = true;
    zi_storage_check(history);
    one->failure_logged = history->image_failed; /* else, the folder's failure was logged */
    if (png)
        zi_log_line(history->log, ZI_LOG_WARNING,
                    "image %s: is in memory only, until it can be saved: %s", record->id,
                    history->storage.count ? history->storage.problems[0].message
                                           : "the line before this one says why");
    drop_oldest_files(history);
    return true;
}

bool zi_unsaved_store_row(zi_history *history, const zi_image_record *record, size_t *kept,
                          zi_error *error)
{
    zi_error why;
    if (!*kept) {
        if (zi_history_insert_row(history, "main", record, &why)) return true;
        zi_storage_note_failure(history);
        zi_log_line(history->log, ZI_LOG_ERROR, "image %s: %s", record->id, why.text);
    }
    if (!add_unsaved(history, record, NULL, error)) return false;
    ++*kept;
    return true;
}

bool zi_unsaved_store(zi_history *history, const zi_image_record *record, uint8_t *png,
                      zi_error *error)
{
    size_t kept = 0;
    if (png || !zi_storage_reopen_if_needed(history))
        return keep_unsaved(history, record, png, error);
    bool ok = zi_unsaved_store_row(history, record, &kept, error);
    if (kept) zi_storage_check(history);
    return ok;
}

void zi_unsaved_hide_row(zi_history *history, const char *id)
{
    if (zi_db_run_with_id(history, "INSERT OR IGNORE INTO unsaved.removed VALUES (?1)", id, NULL))
        history->removed++;
    history->changed = true;
}

/* ---- later ---- */

/* Writes the file of an unsaved image that has one, and drops it then. False: it cannot be written,
 * which is logged once. */
static bool write_again(zi_history *h, zi_unsaved *one)
{
    zi_error why = {0};
    char *path = zi_history_image_path(h, one->record.id);
    bool ok = path ? zi_history_write_file(path, one->png, (size_t)one->record.bytes, &why)
                   : zi_error_no_memory(&why, 1);
    free(path);
    if (ok) {
        zi_log_line(h->log, ZI_LOG_INFO, "image %s: is saved now", one->record.id);
        drop_file(h, one);
    } else if (!one->failure_logged) {
        zi_log_line(h->log, ZI_LOG_ERROR, "image %s: %s", one->record.id, why.text);
        one->failure_logged = true;
    }
    return ok;
}

bool zi_unsaved_write_files(zi_history *history)
{
    double end = zi_monotonic_seconds() + RETRY_MILLISECONDS / 1000.0;
    bool written = false, failed = false;
    for (zi_unsaved *one = history->unsaved; one && zi_monotonic_seconds() < end; one = one->next) {
        if (!one->png) continue;
        bool ok = write_again(history, one);
        written = written || ok;
        failed = failed || !ok;
    }
    history->image_failed = failed;
    return written;
}

/* Removes the hidden rows from the folder's database. False: that is not possible yet. */
static bool remove_hidden_rows(zi_history *h)
{
    if (!h->removed) return true;
    static const char sql[] =
        "DELETE FROM main.images WHERE id IN (SELECT id FROM unsaved.removed)";
    if (sqlite3_exec(h->db, sql, NULL, NULL, NULL) != SQLITE_OK) {
        zi_storage_note_failure(h);
        return false;
    }
    if (sqlite3_exec(h->db, "DELETE FROM unsaved.removed", NULL, NULL, NULL) == SQLITE_OK)
        h->removed = 0;
    h->changed = true;
    return true;
}

void zi_unsaved_write_rows(zi_history *history)
{
    double end = zi_monotonic_seconds() + RETRY_MILLISECONDS / 1000.0;
    bool ok = remove_hidden_rows(history);
    zi_unsaved *one = history->unsaved, *next;
    for (; ok && one && zi_monotonic_seconds() < end; one = next) {
        next = one->next;
        if (one->png) continue;
        ok = zi_history_insert_row(history, "main", &one->record, NULL);
        if (ok)
            zi_unsaved_drop(history, one->record.id);
        else
            zi_storage_note_failure(history);
    }
    if (ok && !one) history->database_error[0] = 0;
}

void zi_unsaved_free(zi_history *history)
{
    while (history->unsaved) {
        zi_unsaved *one = history->unsaved;
        history->unsaved = one->next;
        if (!one->next) history->unsaved_end = &history->unsaved;
        if (one->png)
            zi_log_line(history->log, ZI_LOG_ERROR,
                        "image %s: is lost, since it could not be saved", one->record.id);
        free_one(one);
    }
}
