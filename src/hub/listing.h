/* What a repository holds, as the hub tells it. */
#ifndef ZI_HUB_LISTING_H
#define ZI_HUB_LISTING_H

#include "hub/client.h"
#include "hub/digest.h"

typedef struct {
    char *name; /* with folders, checked to stay below one */
    uint64_t size;
    zi_digest_kind kind;
    char digest[ZI_DIGEST_HEX_SIZE]; /* which is its etag, too */
} zi_repo_file;

typedef struct {
    char commit[41];
    zi_repo_file *files;
    size_t count;
} zi_repo_info;

/* Asks for it; *reached as in zi_http_get_text. */
bool zi_repo_info_fetch(zi_http_client *client, const char *repo, const char *revision,
                        zi_repo_info *out, bool *reached, zi_error *error) ZI_CHECKED;

/* Keeps the one file that is named, or (NULL) what a model takes: weights, configs and tokenizer,
 * of a folder in a layout that we know. Fails when there is no such thing. */
bool zi_repo_info_select_files(zi_repo_info *listing, const char *repo, const char *file,
                               zi_error *error) ZI_CHECKED;

/* Whether a file of this name has weights and, before them, a header that tells which. */
bool zi_is_safetensors_name(const char *name);

void zi_repo_info_free(zi_repo_info *listing);

#endif
