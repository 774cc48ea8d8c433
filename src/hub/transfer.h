/* Many files from a hub at a time, each in one stream of parts, so that what was fetched once and
 * reached the disk is never fetched again. */
#ifndef ZI_HUB_TRANSFER_H
#define ZI_HUB_TRANSFER_H

#include "hub/client.h"
#include "hub/digest.h"

/* A file that is wanted. It grows at `partial` and moves to `target` when it is whole, under the
 * lock that other programs hold while they do the same. */
typedef struct {
    const char *name; /* in the repository */
    char *url, *partial, *target, *lock;
    uint64_t size;
    zi_digest_kind kind;
    const char *digest;
    bool replace;  /* what is at `target` is something else */
    uint64_t upto; /* leave it at `partial` when that has so many bytes; 0: all of it */
} zi_transfer_file;

/* Who has a say in when files come. */
typedef struct {
    bool (*may_begin)(void *user, const zi_transfer_file *file);
    void (*arrived)(void *user, const zi_transfer_file *file); /* it is at `target` */
    void *user;
} zi_transfer_hooks;

typedef struct {
    zi_http_client *client;
    const char *repo, *commit;
    const zi_transfer_file *files;
    size_t count;
    zi_hub_progress_fn progress; /* may be NULL */
    void *user;
    const zi_transfer_hooks *gate; /* NULL: none */
    uint64_t fetched;              /* bytes that came */
} zi_transfer;

/* Fetches all that are not there. After a failure partial files stay. */
bool zi_transfer_run(zi_transfer *transfer, zi_error *error) ZI_CHECKED;

#endif
