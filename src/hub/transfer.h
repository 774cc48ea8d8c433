/* Downloads many files of a repository at a time, with curl's multi interface. Each file is fetched
 * by successive range requests, written and hashed as it comes, and resumed after an interruption.
 */
#ifndef ZI_HUB_TRANSFER_H
#define ZI_HUB_TRANSFER_H

#include "hub/digest.h"
#include "hub/http_client.h"

/* A file to download. It grows at partial_path under an flock on lock_path, which huggingface_hub
 * takes as well, and is renamed to target_path when it is complete and its digest is right. */
typedef struct {
    const char *name; /* in the repository; borrowed */
    char *url, *partial_path, *target_path, *lock_path;
    uint64_t size;
    zi_digest_kind kind;
    const char *digest;   /* expected; borrowed */
    bool replace;         /* download even if a file of this size is at target_path */
    uint64_t prefix_size; /* stop when partial_path has this many bytes; 0: download all */
} zi_transfer_file;

/* Called from the thread that runs the transfer. */
typedef struct {
    bool (*may_start)(void *user, const zi_transfer_file *file); /* false: ask again later */
    void (*completed)(void *user, const zi_transfer_file *file); /* it is at target_path */
    void *user;
} zi_transfer_hooks;

typedef struct {
    zi_http_client *client;
    const char *repo, *commit; /* a response that names another commit is an error */
    const zi_transfer_file *files;
    size_t count;
    zi_hub_progress_fn progress; /* may be NULL; false cancels */
    void *user;
    const zi_transfer_hooks *hooks; /* NULL: none */
    uint64_t fetched;               /* result: bytes received from the network */
} zi_transfer;

/* Downloads, in order and up to 6 at a time, files that target_path lacks (by size; `replace`:
 * all). Waits for files locked elsewhere; retries transient failures. A permanent one ends it:
 * complete files stay, partial ones, except of a wrong digest, are resumed next time. Adds to
 * transfer->fetched. Folders of partial and lock paths must exist; error must not be NULL. */
bool zi_transfer_run(zi_transfer *transfer, zi_error *error) ZI_CHECKED;

#endif
