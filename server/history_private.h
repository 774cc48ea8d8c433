/* What history.c (rows and files), history_search.c (list and search) and history_open.c (opening
 * and recovery) share. */
#ifndef ZI_SERVER_HISTORY_PRIVATE_H
#define ZI_SERVER_HISTORY_PRIVATE_H

#include "server/history.h"

#include <pthread.h>
#include <sqlite3.h>

/* The last page that was listed, cached because clients poll it. */
typedef struct {
    char *query, *text; /* the cache key and the page as JSON; NULL: none */
    int64_t version;    /* of the rows: data_version in history_search.c */
} zi_history_page;

struct zi_history {
    char *folder, *thumbnails;
    zi_log *log;
    pthread_mutex_t mutex; /* protects db and page; callers of the functions below hold it */
    sqlite3 *db;
    zi_history_page page;
    int lock; /* file descriptor of the lock file; -1: not locked */
};

/* Sets ZI_ERROR_IO with the folder as subject, the database's path and SQLite's last message as
 * text; returns false. error may be NULL. Takes no lock: the caller holds the mutex. */
bool zi_db_error_set(zi_history *h, zi_error *error);
/* Compiles one SQL statement; the caller finalizes *out. False: *error is set, and *out is NULL.
 * Takes no lock: the caller holds the mutex. */
bool zi_db_prepare(zi_history *history, const char *sql, sqlite3_stmt **out,
                   zi_error *error) ZI_CHECKED;

/* Binds copies of texts to parameters 1 to count; a NULL text binds SQL's NULL. Errors are ignored
 * and leave NULL. */
void zi_db_bind_texts(sqlite3_stmt *statement, int count, const char *const *texts);

/* Registers the SQL function fold(TEXT), which makes comparisons ignore case (Unicode case folding
 * and NFC), for this connection. False: *error is set. */
bool zi_history_register_fold(zi_history *history, zi_error *error) ZI_CHECKED;

/* Runs a statement that returns no rows, with id as its only parameter. It is no failure when no
 * row changes; sqlite3_changes tells. False: *error is set. Takes no lock: the caller holds the
 * mutex. */
bool zi_db_run_with_id(zi_history *history, const char *sql, const char *id,
                       zi_error *error) ZI_CHECKED;

/* A SELECT of the columns that clients see, of images that are not deleted; conditions can be
 * appended. */
extern const char zi_history_columns[];
/* The current row of a statement as a new JSON object, with column names as keys and numbers, texts
 * and nulls as values. Out of memory: NULL, or members are missing. */
cJSON *zi_history_row_json(sqlite3_stmt *statement);

/* Inserts the row of an image file; an existing row of that id is kept, which is no failure. bytes:
 * the file's size; seconds < 0: unknown. An infotext (not NULL) that cannot be parsed is stored as
 * the prompt. False: *error is set. Takes no lock: the caller holds the mutex. */
bool zi_history_insert_row(zi_history *history, const char *id, int width, int height, double bytes,
                           double seconds, const char *infotext, zi_error *error) ZI_CHECKED;

/* Removes an image's thumbnail, then its PNG file, either of which may be missing, then its row.
 * Stops at the first failure: *error is set, and the row stays; a malformed id fails as out of
 * memory. Takes no lock: the caller holds the mutex. */
bool zi_history_finish_delete(zi_history *history, const char *id, zi_error *error) ZI_CHECKED;

/* The path of an image's PNG file, whether it exists or not, in new memory. NULL: id is malformed,
 * or out of memory. */
char *zi_history_image_path(const zi_history *history, const char *id);

/* Removes a file, which may be missing, and frees path in any case. False: *error is set. path NULL
 * fails as out of memory. */
bool zi_history_remove_file(char *path, zi_error *error) ZI_CHECKED;

#endif
