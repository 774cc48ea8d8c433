/* Declarations that history.c (rows and files), history_search.c (list and search), history_open.c
 * (opening and recovery), history_unsaved.c (images that could not be stored yet) and
 * history_storage.c (the state of disk and database) share. */
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

/* The values that the row of an image stores. */
typedef struct {
    char id[ZI_IMAGE_ID];
    int width, height;
    double bytes;         /* of the PNG file */
    double created;       /* Unix time; 0: as the id says */
    double seconds;       /* that it took; negative: unknown */
    const char *infotext; /* not NULL */
} zi_image_record;

/* An image that is not stored completely, in order of age. */
typedef struct zi_unsaved {
    zi_image_record record;
    char *infotext; /* that of the record, owned */
    uint8_t *png;   /* [record.bytes], the file that could not be written; NULL: only the row of the
                       database is missing */
    bool failure_logged; /* why the file alone cannot be written */
    struct zi_unsaved *next;
} zi_unsaved;

enum { ZI_DB_BUSY_MILLISECONDS = 5000 /* to wait for locks of other programs */ };

struct zi_history {
    char *folder, *thumbnails;
    zi_log *log;
    /* Protects all below; recursive. Callers of the functions below hold it. */
    pthread_mutex_t mutex;
    sqlite3 *db; /* with a second database, "unsaved", in memory: see history_unsaved.c */
    zi_history_page page;
    int lock;                 /* file descriptor of the lock file; -1: not locked */
    char latest[ZI_IMAGE_ID]; /* the highest id so far; "": none */
    zi_unsaved *unsaved;      /* oldest first */
    zi_unsaved **unsaved_end; /* where the next one is added */
    size_t unsaved_bytes;     /* of their files */
    size_t unsaved_max;       /* that these may be, but for the newest file */
    size_t removed;           /* rows that are removed for clients, but still in the database */
    /* The state of the storage: see history_storage.c. */
    zi_storage storage;
    char database_error[200]; /* SQLite's message of the last write that failed; "": none since */
    double checked, retried;  /* zi_monotonic_seconds() of the last time */
    bool writable;            /* the folder could be written when it was checked last */
    bool image_failed;        /* an image could not be written to it, though the folder can be */
    bool exclusive;           /* the database is open for this process alone */
    /* When to try next to share an exclusive one (zi_monotonic_seconds()), and how long the try
     * after that waits; 0: at once. */
    double share_next, share_wait;
    bool changed;           /* storage, or the unsaved images, since zi_history_tick */
    uint64_t device, inode; /* of the database's file when it was opened */
    uint64_t folder_device; /* of the folder when it was locked; 0: unknown */
};

/* Opens h->db, which must be NULL: the folder's database, with its table, which is created if
 * needed, and the database "unsaved" with the rows of h->unsaved. On a full disk, it may be open
 * for this process alone. False: *error is set, and h->db is NULL. */
bool zi_history_open_db(zi_history *history, zi_error *error) ZI_CHECKED;

/* zi_history_open_db with an empty database in memory, in place of the folder's. */
bool zi_history_open_memory(zi_history *history, zi_error *error) ZI_CHECKED;

/* Opens and locks the file .lock of the folder as h->lock, unless that is it already; notes the
 * folder's file system. False: *error is set, ZI_ERROR_EXISTS if another server has the lock, and
 * h->lock is unchanged. */
bool zi_history_lock(zi_history *history, zi_error *error) ZI_CHECKED;

/* Brings rows and files in line, after a crash or when the folder was replaced: removes rows
 * without a file, adds rows of files without one, and sets h->latest. starting: removes temporary
 * files, too; later, this process may be writing them. False: something cannot be read; *error is
 * set. */
bool zi_history_reconcile(zi_history *history, bool starting, zi_error *error) ZI_CHECKED;

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

/* "FROM ... WHERE ..." of the rows that clients see: those of the database, and those that could
 * not be written there yet; conditions can be appended. A constant. */
const char *zi_history_source(const zi_history *history);

/* The columns that clients see, for "SELECT columns source". */
extern const char zi_history_columns[];

/* The current row of a statement as a new JSON object, with column names as keys and numbers, texts
 * and nulls as values, and "unsaved": why its file is only in memory, or null. Out of memory: NULL,
 * or members are missing. */
cJSON *zi_history_row_json(const zi_history *history, sqlite3_stmt *statement);

/* Inserts an image's row; an existing row of that id is kept, which is no failure, but gets the
 * times if they were unknown (zi_history_reconcile). database: "main" or "unsaved". An infotext
 * that cannot be parsed is stored as the prompt. False: *error is set. */
bool zi_history_insert_row(zi_history *history, const char *database, const zi_image_record *record,
                           zi_error *error) ZI_CHECKED;

/* Removes an image's PNG file, then its thumbnail, either of which may be missing, then its row. A
 * row that cannot be removed is hidden, and removed later (zi_history_tick). False: the image's
 * file cannot be removed, and nothing changes; or the row cannot, and the history is shared (its
 * lock is -1), so that nobody would remove it later. *error is set. */
bool zi_history_remove_image(zi_history *history, const char *id, zi_error *error) ZI_CHECKED;

/* ---- what could not be stored (history_unsaved.c) ---- */

/* Prepares the database "unsaved" in h->db, and inserts the rows of h->unsaved. False: *error is
 * set. */
bool zi_unsaved_attach(zi_history *history, zi_error *error) ZI_CHECKED;

/* Stores an image: its row, if png is NULL, since its file is written. If that fails, or with png,
 * which it then owns, adds it to h->unsaved, logs that, and drops the oldest ones that exceed the
 * memory for them. False: memory is short; *error is set, and png stays the caller's. */
bool zi_unsaved_store(zi_history *history, const zi_image_record *record, uint8_t *png,
                      zi_error *error) ZI_CHECKED;

/* Stores the row of an image whose file is written in h->db, which must be the folder's database.
 * If that fails, which is logged, or *kept is above 0, keeps the row in memory and increments
 * *kept; the caller checks the storage then. False: memory is short; *error is set. */
bool zi_unsaved_store_row(zi_history *history, const zi_image_record *record, size_t *kept,
                          zi_error *error) ZI_CHECKED;

/* The unsaved image of that id, borrowed; NULL: none. */
zi_unsaved *zi_unsaved_find(const zi_history *history, const char *id);

/* The oldest unsaved image whose file is in memory, borrowed; NULL: none. */
zi_unsaved *zi_unsaved_oldest_file(const zi_history *history);

/* Removes the unsaved image of that id from memory; does nothing if there is none. */
void zi_unsaved_drop(zi_history *history, const char *id);

/* Hides the row of an image until zi_unsaved_write_rows can remove it. */
void zi_unsaved_hide_row(zi_history *history, const char *id);

/* Writes the files of unsaved images, oldest first, until a moment has passed; needs no database.
 * One that cannot be written keeps no others from that, and sets h->image_failed. True: at least
 * one was written. */
bool zi_unsaved_write_files(zi_history *history);

/* Removes hidden rows, and stores the rows of unsaved images whose files are written, oldest first,
 * until the database cannot be written or a moment has passed. */
void zi_unsaved_write_rows(zi_history *history);

/* Frees all unsaved images; those without a file are lost, which is logged. */
void zi_unsaved_free(zi_history *history);

/* ---- the storage (history_storage.c) ---- */

/* Checks folder, disk and database, and updates h->storage; logs what has changed. */
void zi_storage_check(zi_history *history);

/* Whether the path of the folder leads to another file system than when it was locked, which has no
 * history.db: the folder's disk is not mounted, and nothing must be written there. Locks the
 * history itself. */
bool zi_storage_is_other_disk(zi_history *history);

/* If the folder's database is not the open one any more, or can be opened in a better way, opens it
 * again. True: h->db is the folder's database. */
bool zi_storage_reopen_if_needed(zi_history *history);

/* Keeps SQLite's message of a write that has just failed for h->storage. */
void zi_storage_note_failure(zi_history *history);

/* Writes an image file atomically. False: *error is set. Takes no lock, and needs none. */
bool zi_history_write_file(const char *path, const void *data, size_t size,
                           zi_error *error) ZI_CHECKED;

/* The path of an image's PNG file, whether it exists or not, in new memory. NULL: id is malformed,
 * or out of memory. */
char *zi_history_image_path(const zi_history *history, const char *id);

/* Removes a file, which may be missing, and frees path in any case. False: *error is set. path NULL
 * fails as out of memory. */
bool zi_history_remove_file(char *path, zi_error *error) ZI_CHECKED;

#endif
