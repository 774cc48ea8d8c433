/* What the files of the history share: history.c (rows and files), history_list.c (search),
 * history_start.c (what is done at a start). */
#ifndef ZI_SERVER_HISTORY_PRIVATE_H
#define ZI_SERVER_HISTORY_PRIVATE_H

#include "server/history.h"

#include <pthread.h>
#include <sqlite3.h>

/* The latest page that was asked for: programs that look for news ask for the same again and again.
 */
typedef struct {
    char *query, *text; /* NULL: none */
    int64_t version;    /* of the rows */
} zi_history_page;

struct zi_history {
    char *folder, *thumbnails;
    zi_log *log;
    pthread_mutex_t mutex; /* of db; held by the callers of all below */
    sqlite3 *db;
    zi_history_page page;
    int lock; /* a file that says that the folder is taken */
};

bool zi_db_error_set(zi_history *history, zi_error *error);
bool zi_db_prepare(zi_history *history, const char *sql, sqlite3_stmt **out,
                   zi_error *error) ZI_CHECKED;

/* Binds texts to the statement's first places. NULL is NULL. */
void zi_db_bind_texts(sqlite3_stmt *statement, int count, const char *const *texts);

/* fold(TEXT) in SQL: what history_list.c compares. */
bool zi_history_register_fold(zi_history *history, zi_error *error) ZI_CHECKED;

/* Runs a statement with one id. */
bool zi_db_run_with_id(zi_history *history, const char *sql, const char *id,
                       zi_error *error) ZI_CHECKED;

/* SELECT of all that is told of pictures, and the row at which a statement of it stands. */
extern const char zi_history_columns[];
cJSON *zi_history_row_json(sqlite3_stmt *statement);

/* A row for a file; seconds < 0: unknown. One that is there stays. */
bool zi_history_insert_row(zi_history *history, const char *id, int width, int height, double bytes,
                           double seconds, const char *infotext, zi_error *error) ZI_CHECKED;

/* The files of a picture that is marked as deleted, then its row. */
bool zi_history_finish_delete(zi_history *history, const char *id, zi_error *error) ZI_CHECKED;

/* The path of a picture's file, in new memory; NULL: no id, or no memory. */
char *zi_history_image_path(const zi_history *history, const char *id);

/* Frees the path; that nothing is there is no error. */
bool zi_history_remove_file(char *path, zi_error *error) ZI_CHECKED;

#endif
