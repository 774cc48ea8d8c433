/* The server: an HTTP API and a page on top of the library. */
#ifndef ZI_SERVER_H
#define ZI_SERVER_H

#include "zimage.h"

typedef struct {
    const char *host;             /* an address of this machine; NULL: 127.0.0.1 */
    int port;                     /* 0: any that is free */
    const char *key;              /* that clients must show; NULL: none */
    bool insecure;                /* listen beyond this machine without a key */
    const char *output;           /* folder; made when it is missing */
    zi_registry_options registry; /* the models that clients may name; its folder is made, too */
    const char *import;           /* clients may import models from below this folder, too; NULL:
                                     from below the models folder alone */
    zi_engine_options engine;     /* its embeddings are kept in the output folder */
    /* Where models take what they lack. vae and text_encoder are for registry.model, the reference
     * is for all; path has no meaning. */
    zi_model_options load;
} zi_server_options;

typedef struct zi_server zi_server;

/* Returns when requests are answered; the strings of options must outlive the server. */
bool zi_server_start(const zi_server_options *options, zi_server **out, zi_error *error) ZI_CHECKED;

/* "http://127.0.0.1:7860" */
const char *zi_server_url(const zi_server *server);

/* Cancels what runs, closes all connections, frees all. */
void zi_server_stop(zi_server *server);

#endif
