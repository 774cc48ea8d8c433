/* Links to images that need no API key: each has a token that cannot be guessed, made from the
 * image's id and a secret of the output folder. */
#ifndef ZI_SERVER_LINKS_H
#define ZI_SERVER_LINKS_H

#include "server/log.h"

enum { ZI_LINK_TOKEN = 33 /* length of a token, 32 hexadecimal digits, with its NUL */ };

typedef struct zi_links zi_links;

/* Reads the secret from the file .link-key in the folder, or makes a new one, readable for this
 * user alone. Logs a warning if it is stored in place of a file of another size, or not at all: the
 * file cannot be read, and stays, or not be written; then links end with the server. Deleting the
 * file ends all links. False: *error is set, and *out is unchanged. */
bool zi_links_create(const char *folder, zi_log *log, zi_links **out, zi_error *error) ZI_CHECKED;

/* Frees it. NULL is allowed. */
void zi_links_free(zi_links *links);

/* Writes the token of the image `id`; "", which never matches, if it cannot be computed. Returns
 * token. */
const char *zi_link_token(const zi_links *links, const char *id, char token[ZI_LINK_TOKEN]);

/* Whether the first 32 bytes of given, which may be shorter, are the token of the image `id`; false
 * if that cannot be computed. The time does not depend on where they differ. */
bool zi_link_token_matches(const zi_links *links, const char *id, const char *given);

#endif
