/* The hub's cache on the disk, in huggingface_hub's layout. Other programs read and write it, too:
 *     models--OWNER--NAME/blobs/ETAG               file contents
 *     models--OWNER--NAME/snapshots/COMMIT/NAME    links to blobs
 *     models--OWNER--NAME/refs/REVISION            commit of a branch or tag
 *     .locks/models--OWNER--NAME/ETAG.lock         locked while a blob is fetched
 * All functions read hub->cache, which must not be NULL. */
#ifndef ZI_HUB_CACHE_H
#define ZI_HUB_CACHE_H

#include "hub/repo.h"

/* Returns the path CACHE/models--OWNER--NAME of a repository OWNER/NAME in new memory, to be freed
 * by the caller; NULL when memory is short or the path is too long. Creates nothing. */
char *zi_hub_cache_repo_folder(const zi_hub *hub, const char *repo);

/* Sets *path to the folder in the cache of a repository, in new memory. repo: as in
 * zi_download_options; its revision is ignored. ZI_ERROR_NOT_FOUND: it is not there;
 * ZI_ERROR_INVALID_ARGUMENT: repo is no repository's name, or the cache is not set. */
bool zi_hub_cache_find_repo(const zi_hub *hub, const char *repo, char **path,
                            zi_error *error) ZI_CHECKED;

/* Returns the path of the blob with this ETag in the folder of a repository OWNER/NAME, in new
 * memory, to be freed by the caller; NULL when memory is short or the path is too long. Creates
 * nothing. */
char *zi_hub_cache_blob_path(const zi_hub *hub, const char *repo, const char *etag);

/* Returns the path of the lock file of the blob with this ETag, below CACHE/.locks, in new memory,
 * to be freed by the caller; NULL when memory is short or the path is too long. Creates nothing. */
char *zi_hub_cache_lock_path(const zi_hub *hub, const char *repo, const char *etag);

/* Returns the path of the folder snapshots/COMMIT of a repository OWNER/NAME, in new memory, to be
 * freed by the caller; NULL when memory is short or the path is too long. Creates nothing. */
char *zi_hub_cache_snapshot_path(const zi_hub *hub, const char *repo, const char *commit);

/* Creates snapshots/COMMIT/NAME, and missing folders above it, as a relative link to blobs/ETAG,
 * which need not exist. Whatever file is there stays, which is success; a dangling link is
 * replaced. ZI_ERROR_IO when the link or a folder cannot be made. */
bool zi_hub_cache_link_file(const zi_hub *hub, const char *repo, const char *commit,
                            const char *name, const char *etag, zi_error *error) ZI_CHECKED;

/* Writes the commit to refs/REVISION, atomically, replacing what is there and making missing
 * folders. Does nothing, successfully, when the revision is the commit itself. */
bool zi_hub_cache_write_ref(const zi_hub *hub, const char *repo, const char *revision,
                            const char *commit, zi_error *error) ZI_CHECKED;

/* Returns the path of the snapshot of the commit that refs/REVISION names, or of the revision if
 * that is a full commit hash, in new memory, to be freed by the caller. NULL: no such folder, or
 * memory is short. The snapshot may be incomplete. */
char *zi_hub_cache_find_snapshot(const zi_hub *hub, const zi_repo_id *id);

/* Whether a model's folder is not empty, has no dangling links, every shard that its index files
 * list, and every component that its model_index.json (if any) lists: transformer, text_encoder and
 * vae with weights. A tokenizer alone is no model. Does not read the weights. False also when
 * something cannot be read. */
bool zi_snapshot_is_complete(const char *path);

/* Whether the folder has a subfolder "tokenizer" without dangling links that has tokenizer.json or
 * vocab.json. False also when it cannot be read. */
bool zi_snapshot_has_tokenizer(const char *path);

#endif
