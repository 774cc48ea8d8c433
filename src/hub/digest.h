/* Digests of files, computed beside writing them, in a thread per file that shares this work with
 * the thread that has the bytes. */
#ifndef ZI_HUB_DIGEST_H
#define ZI_HUB_DIGEST_H

#include "base/error.h"

/* SHA-256 of the bytes, or SHA-1 of the bytes behind git's header, as git names its blobs. */
typedef enum { ZI_DIGEST_SHA256, ZI_DIGEST_GIT_BLOB } zi_digest_kind;

enum { ZI_DIGEST_HEX_SIZE = 65 }; /* hexadecimal digits and the closing NUL */

/* Whether text is a digest of this kind: lower-case hexadecimal digits, as many as it has. */
bool zi_digest_valid(zi_digest_kind kind, const char *text);

typedef struct zi_hash_writer zi_hash_writer;

/* Of a file that has its first `done` bytes already; fd is read and written by position and must
 * stay open until stop. */
bool zi_hash_writer_start(int fd, uint64_t done, uint64_t size, zi_digest_kind kind,
                          zi_hash_writer **out, zi_error *error) ZI_CHECKED;

/* The file's next bytes; they are written soon. false: the file cannot be written, or read again,
 * and errno says why. */
bool zi_hash_writer_write(zi_hash_writer *hasher, const char *data, size_t size) ZI_CHECKED;

/* Whether there is no more to do: text is the digest of all bytes, which are on the disk, or empty
 * when they could not be read or written, and errno says why. */
bool zi_hash_writer_finished(zi_hash_writer *hasher, char text[ZI_DIGEST_HEX_SIZE]);

/* Ends the thread, wherever it is, and writes what was taken. NULL is allowed. */
void zi_hash_writer_stop(zi_hash_writer *hasher);

/* All at once, of a file that is there; false when it cannot be read. */
bool zi_digest_file(const char *path, zi_digest_kind kind, char text[ZI_DIGEST_HEX_SIZE],
                    zi_error *error) ZI_CHECKED;

#endif
