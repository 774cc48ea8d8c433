/* A thread that inspects new models and installs uploaded ones. Both may take minutes, so that
 * threads that serve requests must not do it. */
#ifndef ZI_SERVER_SCANNER_H
#define ZI_SERVER_SCANNER_H

#include "server/http_error.h"
#include "server/server.h"

typedef struct zi_scanner zi_scanner;

/* Starts the thread, which begins to inspect models. *out is set in any case, to NULL when out of
 * memory. False: *error is set; call zi_scanner_stop and zi_scanner_free with *out all the same. */
bool zi_scanner_start(zi_server *server, zi_scanner **out, zi_error *error) ZI_CHECKED;

/* Stops and joins the thread; uploads that wait fail with 503. zi_scanner_wake and the functions of
 * zi_upload may still be called, but new uploads are refused with 503, too. scanner may be NULL, or
 * stopped already. */
void zi_scanner_stop(zi_scanner *scanner);

/* Frees the scanner, after zi_scanner_stop and when all uploads were released. scanner may be NULL.
 */
void zi_scanner_free(zi_scanner *scanner);

/* Makes the thread look for models in all folders, inspect those that are not known yet, and
 * compute the hashes of image models that have none; returns at once. If there were any, the thread
 * publishes the event "models": meanwhile at most once a second, and at the end. */
void zi_scanner_wake(zi_scanner *scanner);

/* A model file that a client has uploaded. */
typedef struct zi_upload zi_upload;

/* Hands the temporary file `staged` to the thread, which inspects it and moves it to `path`, or
 * removes it if it is no model or path exists. name: what clients call it. Takes ownership of the
 * strings and the file. Release the result with zi_upload_release. NULL, with strings freed and
 * file removed: out of memory (500) or shutdown (503); *http_error is filled. */
zi_upload *zi_upload_submit(zi_scanner *scanner, char *staged, char *path, char *name,
                            zi_http_error *http_error);

/* Whether the upload has finished; false changes nothing. *name is then the model's name, borrowed
 * until zi_upload_release, or NULL when it failed and *http_error is filled. */
bool zi_upload_ended(zi_upload *upload, const char **name, zi_http_error *http_error);

/* Releases the caller's reference to a zi_upload, which must not be NULL; a pending upload goes on.
 * It is freed when the thread has released its own, too. */
void zi_upload_release(void *upload);

#endif
