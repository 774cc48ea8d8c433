/* A thread that inspects new models and installs uploaded ones. Both may take minutes, so that
 * threads that serve requests must not do it. */
#ifndef ZI_SERVER_SCANNER_H
#define ZI_SERVER_SCANNER_H

#include "server/http_error.h"
#include "server/server.h"

typedef struct zi_scanner zi_scanner;

/* Starts the thread. *out may be set on failure, too; then call stop and free. */
bool zi_scanner_start(zi_server *server, zi_scanner **out, zi_error *error) ZI_CHECKED;

/* Stops and joins the thread; pending uploads fail. The functions below may still be called. */
void zi_scanner_stop(zi_scanner *scanner);
void zi_scanner_free(zi_scanner *scanner);

/* Makes the thread inspect models that are not known yet. It publishes the event "models" when
 * something was found. */
void zi_scanner_wake(zi_scanner *scanner);

/* A model file that a client has uploaded. */
typedef struct zi_upload zi_upload;

/* Hands the temporary file `staged` to the thread, which inspects it and moves it to `path`, or
 * removes it if it is not a model. Takes ownership of the three strings and the file. NULL: out of
 * memory, or the server is shutting down. */
zi_upload *zi_upload_submit(zi_scanner *scanner, char *staged, char *path, char *name);

/* Whether the upload has finished. *name is then the model's name, borrowed, or NULL when it failed
 * and *http_error is filled. */
bool zi_upload_ended(zi_upload *upload, const char **name, zi_http_error *http_error);

/* Releases the caller's reference; a pending upload goes on. */
void zi_upload_release(void *upload);

#endif
