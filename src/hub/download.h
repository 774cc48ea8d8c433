/* Downloads into a folder with hooks: the caller uses each file as soon as it has been downloaded,
 * and says when the next one may start. */
#ifndef ZI_HUB_DOWNLOAD_H
#define ZI_HUB_DOWNLOAD_H

#include "hub/repo.h"
#include "hub/transfer.h"

/* Called in the order of the fields, from the thread that called zi_download_with_hooks. */
typedef struct {
    /* Whether the hooks are of use for this repository. False: no other hook is called, and the
     * repository is downloaded as without hooks. */
    bool (*accepts)(void *user, const zi_repo_info *info);
    /* Whether the file was consumed by an earlier, interrupted call, and must not be downloaded
     * again. */
    bool (*is_consumed)(void *user, const zi_transfer_file *file);
    /* All small files are in the folder, complete. In place of each of the `count` safetensors
     * files that are still to be downloaded is a sparse file of its final size that has nothing but
     * the header. Set *streaming to true if files will be consumed on the way and the hook has
     * checked the free disk space itself. False (with an error) ends the download. */
    bool (*metadata_ready)(void *user, const char *folder, const zi_transfer_file *weights,
                           size_t count, bool *streaming, zi_error *error);
    /* For the transfer after metadata_ready, whose files are all missing ones: weights, and the
     * small files, which are complete by then. */
    zi_transfer_hooks transfer;
    void *user;
} zi_download_hooks;

/* Downloads as zi_download does; with hooks (NULL: none) options->local_dir must be set, which is
 * not checked, nor are reserved fields. The hub not reached or offline: takes a complete model from
 * the cache, if no local_dir is set. On failure *out is unchanged, and what was downloaded stays;
 * out->path is new memory. */
bool zi_download_with_hooks(const zi_download_options *options, const zi_download_hooks *hooks,
                            zi_download_result *out, zi_error *error) ZI_CHECKED;

/* Frees the disk space of a safetensors file's tensor data: keeps the header, and the file's size
 * as a hole that reads as zeros. A symbolic link is refused (ZI_ERROR_IO), as is another format
 * (ZI_ERROR_BAD_FORMAT). After a failed write the file may stay shorter. */
bool zi_safetensors_drop_data(const char *path, zi_error *error) ZI_CHECKED;

#endif
