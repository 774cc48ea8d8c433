/* What a repository holds, as the hub tells it. */
#ifndef ZI_HUB_LISTING_H
#define ZI_HUB_LISTING_H

#include "zimage_models.h"
#include "hub/client.h"
#include "hub/digest.h"

typedef struct {
    char *name; /* with folders, checked to stay below one */
    uint64_t size;
    zi_digest_kind kind;
    char digest[ZI_DIGEST_TEXT]; /* which is its etag, too */
} zi_listed;

typedef struct {
    char commit[41];
    zi_listed *files;
    size_t count;
} zi_listing;

/* Asks for it; *reached as in zi_client_text. */
bool zi_listing_fetch(zi_client *client, const char *repo, const char *revision, zi_listing *out,
                      bool *reached, zi_error *error) ZI_CHECKED;

/* Keeps the one file that is named, or (NULL) what a model takes: weights, configs and tokenizer,
 * of a folder in a layout that we know. Fails when there is no such thing. */
bool zi_listing_choose(zi_listing *listing, const char *repo, const char *file,
                       zi_error *error) ZI_CHECKED;

/* Whether a file of this name has weights and, before them, a header that tells which. */
bool zi_has_header(const char *name);

void zi_listing_free(zi_listing *listing);

#endif
