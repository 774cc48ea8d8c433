/* A thread that inspects models, and takes in the files that clients send as models: what may take
 * minutes is not for the threads that answer requests. */
#ifndef ZI_SERVER_SCANNER_H
#define ZI_SERVER_SCANNER_H

#include "server/http_error.h"
#include "server/server.h"

typedef struct zi_scanner zi_scanner;

bool zi_scanner_start(zi_server *server, zi_scanner **out, zi_error *error) ZI_CHECKED;

/* Ends the thread; others may still call the functions below. */
void zi_scanner_stop(zi_scanner *scanner);
void zi_scanner_free(zi_scanner *scanner);

/* Inspects what is new. The event "models" tells clients when something was found. */
void zi_scanner_wake(zi_scanner *scanner);

/* A file that a client has sent. */
typedef struct zi_upload zi_upload;

/* Begins to take in the file at `staged`, as the model at `path`; all three are taken over (and the
 * file is removed if it is no model). NULL: memory is short, or the server ends. */
zi_upload *zi_upload_submit(zi_scanner *scanner, char *staged, char *path, char *name);

/* Whether that has ended, with *name of the model, borrowed, or NULL when it was refused. */
bool zi_upload_ended(zi_upload *upload, const char **name, zi_http_error *http_error);

/* The client is answered, or has gone; the file is taken in all the same. */
void zi_upload_release(void *upload);

#endif
