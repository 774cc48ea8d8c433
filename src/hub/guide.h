/* A download in which someone has a say: what is already of no use, and when files may come. */
#ifndef ZI_HUB_GUIDE_H
#define ZI_HUB_GUIDE_H

#include "hub/listing.h"
#include "hub/transfer.h"

typedef struct {
    /* Whether it is of use for this repository; asked first, and if not, never again. */
    bool (*suits)(void *user, const zi_repo_info *listing);
    /* Whether all that could be wanted of the file has been made of it. */
    bool (*is_used)(void *user, const zi_transfer_file *file);
    /* All small files are in the folder, and the headers of the weights, `count` files of which
     * more is to come. *lean: they will not all be there at a time, and there is room for what
     * will. */
    bool (*begin)(void *user, const char *folder, const zi_transfer_file *weights, size_t count,
                  bool *lean, zi_error *error);
    zi_transfer_hooks gate; /* for the weights, and for small files that are there already */
    void *user;
} zi_download_hooks;

/* zi_download into a folder, with a guide (NULL: none). */
bool zi_download_with_hooks(const zi_download_options *options, const zi_download_hooks *guide,
                            zi_download_result *out, zi_error *error) ZI_CHECKED;

#endif
