/* The history of generated images: PNG files in the output folder and a SQLite database
 * (history.db) of their parameters. An image is written and synced to its file first, then inserted
 * as a row, so that the next zi_history_open finds files without a row and adds them. An image that
 * cannot be stored, as on a full disk, is kept in memory until it can. */
#ifndef ZI_SERVER_HISTORY_H
#define ZI_SERVER_HISTORY_H

#include "server/log.h"
#include "server/http_error.h"

enum { ZI_IMAGE_ID = 25 }; /* length of an image id with its NUL: "20260131-235959-0123abcd" */

/* Its functions lock it: any thread may call them. */
typedef struct zi_history zi_history;

/* Opens the history for writing, until zi_history_close: creates the folder (not its parents),
 * locks it against other servers, removes rows without a file, adds rows for files without one,
 * removes temporary files. A full disk and a database that is read-only are no failures. log must
 * outlive *out. False: *error is set and *out unchanged; ZI_ERROR_EXISTS when another server holds
 * the lock. */
bool zi_history_open(const char *folder, zi_log *log, zi_history **out, zi_error *error) ZI_CHECKED;

/* Opens the history of an existing folder without locking it, for listing and deleting alone; a
 * server may use it at the same time. Close it with zi_history_close. False: *error is set and *out
 * unchanged; ZI_ERROR_NOT_FOUND when there is no database. */
bool zi_history_open_shared(const char *folder, zi_history **out, zi_error *error) ZI_CHECKED;

/* Tries once more to store what could not be stored, closes the database, releases the lock and
 * frees the history, which no thread may use any more. NULL is allowed. The log stays open. */
void zi_history_close(zi_history *history);

/* Saves an image with its infotext (not NULL) as a PNG file and a row; writes its new id to `id`,
 * on failure, too; ids rise, also when the clock is set back. seconds: how long it took to
 * generate; negative: unknown. What cannot be stored is kept in memory, and stored later. False:
 * memory is short; *error is set. */
bool zi_history_add_image(zi_history *history, const zi_image *image, const char *infotext,
                          double seconds, char id[ZI_IMAGE_ID], zi_error *error) ZI_CHECKED;

typedef struct {
    int limit;
    const char *cursor; /* list images older than this id; NULL: from the newest on */
    const char *words;  /* words separated by blanks; an image matches when each is in its prompts,
                           model or seed. NULL: any */
    const char *model, *seed; /* exact matches; NULL: any */
} zi_history_query;

/* The matching images, newest first, as new JSON {"images": [...], "next": cursor or null, "total":
 * N}; total counts matches on all pages. Deleted images are left out; query->limit must be 1 or
 * more, and its cursor need not exist. The caller deletes the JSON. NULL: *error is set. */
cJSON *zi_history_list(zi_history *history, const zi_history_query *query, zi_error *error);

/* The matching images as JSON text with the members that zi_history_list gives, to free(). The last
 * result is cached until any row is added, changed or deleted, in this process or another. NULL:
 * *error is set. */
char *zi_history_list_text(zi_history *history, const zi_history_query *query, zi_error *error);

/* Reads the row of an image as JSON, which the caller deletes. True with *out NULL: there is no
 * such image, or it was deleted. False: *error is set, and *out is NULL. */
bool zi_history_get_row(zi_history *history, const char *id, cJSON **out,
                        zi_error *error) ZI_CHECKED;

/* Deletes an image: file, thumbnail and row. *found becomes whether there was such an image; none
 * is no failure. A row that cannot be removed, as on a full disk, is hidden and removed later;
 * after zi_history_open_shared, it stays, and that is an error. False: *error is set, and the
 * image, or its row alone, stays. */
bool zi_history_delete(zi_history *history, const char *id, bool *found,
                       zi_error *error) ZI_CHECKED;

/* Whether text has the form of an image id, "20260131-235959-0123abcd" with lowercase hex digits;
 * the date may be impossible. Such a text contains no path separators. */
bool zi_image_id_valid(const char *text);

/* Opens a file for reading without following a symbolic link; the caller closes *fd. *fd is -1 when
 * there is no such file, or a link, which is no failure. id: of its image, the error's subject.
 * False: the file cannot be opened, *error is ZI_ERROR_IO, and *fd is -1. */
bool zi_history_open_path(const char *path, const char *id, int *fd, zi_error *error) ZI_CHECKED;

/* Opens the PNG file of an image, as zi_history_open_path does, without asking the database; a
 * malformed id has no file, nor has an unsaved image. False: *error is set, also when out of
 * memory, and *fd is -1. */
bool zi_history_open_file(const zi_history *history, const char *id, int *fd,
                          zi_error *error) ZI_CHECKED;

/* Copies the PNG file of an image that could not be written yet into new memory; free() *data.
 * *data is NULL and *size unchanged when there is none: the image has a file, or does not exist.
 * False: memory is short; *error is set. */
bool zi_history_copy_unsaved(zi_history *history, const char *id, uint8_t **data, size_t *size,
                             zi_error *error) ZI_CHECKED;

/* Reads the PNG file of an image, a regular file of at most 1 GiB, or of an unsaved image, into new
 * memory; free() *data. *data is NULL and *size unchanged when the image has no file or id is
 * malformed, which is no failure. False: the same, and *error is set. */
bool zi_history_read_file(zi_history *history, const char *id, uint8_t **data, size_t *size,
                          zi_error *error) ZI_CHECKED;

/* Loads an image from its file; zi_image_free() *image, zi_free() *infotext, which is NULL if the
 * file has none; the argument infotext may be NULL. If id is malformed or the image has no file,
 * succeeds with *image NULL and *infotext unchanged. False: the same, and *error is set. */
bool zi_history_load_image(zi_history *history, const char *id, zi_image **image, char **infotext,
                           zi_error *error) ZI_CHECKED;

/* The path of an image's thumbnail, whether it exists or not, in new memory. NULL: id is malformed,
 * or out of memory. */
char *zi_history_thumbnail_path(const zi_history *history, const char *id);

/* Writes the thumbnail of an image, which is a cache: if that fails, nothing happens. */
void zi_history_store_thumbnail(zi_history *history, const char *id, const void *data, size_t size);

/* ---- the state of the storage ---- */

typedef enum {
    ZI_STORAGE_OUTPUT_MISSING,
    ZI_STORAGE_OUTPUT_NOT_WRITABLE,
    ZI_STORAGE_DISK_FULL,
    ZI_STORAGE_DATABASE_NOT_WRITABLE
} zi_storage_kind;

typedef struct {
    zi_storage_kind kind;
    char message[400]; /* what is wrong and what to do, for clients: without paths */
} zi_storage_problem;

/* The state of the storage: the problems that keep the history from storing images, at most one of
 * the folder and one of the database, and the number of images that are in memory alone. */
typedef struct {
    zi_storage_problem problems[2];
    size_t count, unsaved;
} zi_storage;

/* The name of a kind in the API, such as "disk_full". */
const char *zi_storage_kind_name(zi_storage_kind kind);

/* Checks folder, disk and database, at most once a second, and copies what was found to *out. */
void zi_history_check_storage(zi_history *history, zi_storage *out);

/* Stores what could not be stored before, if that is possible again. Call it once a second. True:
 * the state of the storage, or the unsaved images, have changed since the last call. */
bool zi_history_tick(zi_history *history);

#endif
