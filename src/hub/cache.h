/* The hub's cache as huggingface_hub lays it out, which other programs read and write, too:
 *     models--OWNER--NAME/blobs/ETAG               files, each once
 *     models--OWNER--NAME/snapshots/COMMIT/NAME    links to them
 *     models--OWNER--NAME/refs/REVISION            the commit of a branch or tag
 *     .locks/models--OWNER--NAME/ETAG.lock         held while a blob is fetched */
#ifndef ZI_HUB_CACHE_H
#define ZI_HUB_CACHE_H

#include "base/error.h"

/* What a repo of zi_download_options means. */
typedef struct {
    char *repo;           /* OWNER/NAME */
    const char *revision; /* behind it in the same memory */
} zi_repo_id;

bool zi_repo_id_parse(const char *text, zi_repo_id *out, zi_error *error) ZI_CHECKED;
void zi_repo_id_free(zi_repo_id *name);

/* Paths in the cache, in new memory; NULL when memory is short. */
char *zi_hub_cache_repo_folder(const zi_hub *hub, const char *repo);
char *zi_hub_cache_blob_path(const zi_hub *hub, const char *repo, const char *etag);
char *zi_hub_cache_lock_path(const zi_hub *hub, const char *repo, const char *etag);
char *zi_hub_cache_snapshot_path(const zi_hub *hub, const char *repo, const char *commit);

/* Makes a file of a snapshot, which is a link to its blob, unless it is there. */
bool zi_hub_cache_link_file(const zi_hub *hub, const char *repo, const char *commit,
                            const char *name, const char *etag, zi_error *error) ZI_CHECKED;

/* Remembers which commit a revision is. */
bool zi_hub_cache_write_ref(const zi_hub *hub, const char *repo, const char *revision,
                            const char *commit, zi_error *error) ZI_CHECKED;

/* The snapshot that a revision was when it was last asked for, in new memory, or NULL. It may lack
 * files. */
char *zi_hub_cache_find_snapshot(const zi_hub *hub, const zi_repo_id *name);

/* Whether a folder has all that its index files and its model_index.json speak of. */
bool zi_snapshot_is_complete(const char *path);

#endif
