/* The pictures that were drawn: files in the output folder, and a database of what is in them.
 *
 * The file is written first, whole and through to the disk; then its row. Whatever happens in
 * between, the next start finds a file without a row and takes it in. */
#ifndef ZI_SERVER_HISTORY_H
#define ZI_SERVER_HISTORY_H

#include "server/log.h"
#include "server/http_error.h"

enum { ZI_IMAGE_ID = 25 }; /* "20260131-235959-0123abcd" and a NUL */

typedef struct zi_history zi_history;

/* Makes the folder when it is missing. Another server on the same folder is an error. */
bool zi_history_open(const char *folder, zi_log *log, zi_history **out, zi_error *error) ZI_CHECKED;

/* The history of a folder that is there, in which a server may be at work: to list and delete. */
bool zi_history_open_shared(const char *folder, zi_history **out, zi_error *error) ZI_CHECKED;
void zi_history_close(zi_history *history);

/* Saves a picture with its infotext. */
bool zi_history_add_image(zi_history *history, const zi_image *image, const char *infotext,
                          double seconds, char id[ZI_IMAGE_ID], zi_error *error) ZI_CHECKED;

typedef struct {
    int limit;
    const char *cursor;       /* an id: what is older; NULL: from the latest on */
    const char *words;        /* all of them are in the texts or the seed; NULL: any */
    const char *model, *seed; /* exactly; NULL: any */
} zi_history_query;

/* {"images", "next", "total"}; NULL after an error. */
cJSON *zi_history_list(zi_history *history, const zi_history_query *query, zi_error *error);

/* The same as text in new memory; asked again, it costs nothing until something has changed. */
char *zi_history_list_text(zi_history *history, const zi_history_query *query, zi_error *error);

/* The picture's row; *out is NULL when there is none. */
bool zi_history_get_row(zi_history *history, const char *id, cJSON **out,
                        zi_error *error) ZI_CHECKED;

/* *found: whether there was one. */
bool zi_history_delete(zi_history *history, const char *id, bool *found,
                       zi_error *error) ZI_CHECKED;

/* Whether text has the form of an id, and so cannot lead out of the folder. */
bool zi_image_id_valid(const char *text);

/* A picture's file, open for reading; -1: there is none. No link is followed. */
int zi_history_open_file(const zi_history *history, const char *id);

/* The picture in it, and its infotext as zi_image_load gives it; *image is NULL when there is none.
 */
bool zi_history_load_image(const zi_history *history, const char *id, zi_image **image,
                           char **infotext, zi_error *error) ZI_CHECKED;

/* The path of a picture's thumbnail, in new memory; NULL: no id, or no memory. */
char *zi_history_thumbnail_path(const zi_history *history, const char *id);

#endif
