/* The server: HTTP API and web page on top of the library. */
#ifndef ZI_SERVER_H
#define ZI_SERVER_H

#include "zimage_models.h"

typedef struct {
    const char *host; /* address to listen on; NULL: 127.0.0.1 */
    int port;         /* 0: any free one */
    const char *key;  /* API key that clients must send, 1 to 500 bytes of UTF-8; NULL: none */
    bool insecure;    /* allow other addresses than loopback, and "*" in the lists, without a key */
    /* Lists that a NULL ends; NULL: empty. Pages of these origins (SCHEME://HOST[:PORT], "*": any)
     * may use the API; the Host header may also be one of these names ("*": any); X-Forwarded-*
     * headers count from these addresses (ADDRESS or ADDRESS/BITS). */
    const char *const *allow_origins, *const *allow_hosts, *const *trusted_proxies;
    const char *public_url; /* URL by which clients reach the server, for links; NULL: by request */
    const char *output;     /* folder of images and history; created if missing */
    zi_registry_options registry; /* model registry; its folder is created, too */
    const char *import; /* clients may also import models from below this folder; NULL: only from
                           below the models folder */
    /* If cap_guidance: models other than Z-Image (base) get at most this guidance, 0 and more,
     * whatever clients request. */
    bool cap_guidance;
    double max_guidance;
    zi_engine_options engine; /* prompt embeddings are cached in the output folder;
                                 remark and user are not used */
    /* Sources of missing components: vae and text_encoder for registry.model, reference for all
     * models; path is ignored. */
    zi_model_options load;
} zi_server_options;

typedef struct zi_server zi_server;

/* Starts all threads and returns when requests are served. Copies *options, but its strings must
 * outlive the server. False: *error is set, nothing is left running, and *out is unchanged. */
bool zi_server_start(const zi_server_options *options, zi_server **out, zi_error *error) ZI_CHECKED;

/* The URL of the server, such as "http://127.0.0.1:7860", with its actual port; borrowed. */
const char *zi_server_url(const zi_server *server);

/* Cancels all jobs, waits until the threads have ended, closes all connections and frees
 * everything. server may be NULL. */
void zi_server_stop(zi_server *server);

#endif
