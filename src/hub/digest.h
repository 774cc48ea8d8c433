/* Digests of files, computed in a thread of their own that follows the bytes as they are written.
 */
#ifndef ZI_HUB_DIGEST_H
#define ZI_HUB_DIGEST_H

#include "base/error.h"

/* SHA-256 of the bytes, or SHA-1 of the bytes behind git's header, as git names its blobs. */
typedef enum { ZI_DIGEST_SHA256, ZI_DIGEST_GIT } zi_digest_kind;

enum { ZI_DIGEST_TEXT = 65 }; /* hexadecimal digits and the closing NUL */

/* Whether text is a digest of this kind: lower-case hexadecimal digits, as many as it has. */
bool zi_digest_valid(zi_digest_kind kind, const char *text);

typedef struct zi_hasher zi_hasher;

/* Begins with the file's first byte; fd is read by position and must stay open until stop. */
bool zi_hasher_start(int fd, uint64_t size, zi_digest_kind kind, zi_hasher **out,
                     zi_error *error) ZI_CHECKED;

/* So many bytes, from the first on, are in the file now. */
void zi_hasher_advance(zi_hasher *hasher, uint64_t written);

/* Whether all bytes were seen and are on the disk; then text is their digest, or empty when they
 * could not be read or written. */
bool zi_hasher_finished(zi_hasher *hasher, char text[ZI_DIGEST_TEXT]);

/* Ends the thread, wherever it is. NULL is allowed. */
void zi_hasher_stop(zi_hasher *hasher);

/* All at once, of a file that is there; false when it cannot be read. */
bool zi_digest_file(const char *path, zi_digest_kind kind, char text[ZI_DIGEST_TEXT],
                    zi_error *error) ZI_CHECKED;

#endif
