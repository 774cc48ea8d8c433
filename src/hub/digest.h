/* Digests of files, and a writer that computes the digest of a file while it is downloaded. */
#ifndef ZI_HUB_DIGEST_H
#define ZI_HUB_DIGEST_H

#include "base/error.h"

typedef enum {
    ZI_DIGEST_SHA256,  /* of the contents (LFS files) */
    ZI_DIGEST_GIT_BLOB /* git's object id: SHA-1 of "blob SIZE\0" and the contents */
} zi_digest_kind;

enum { ZI_DIGEST_HEX_SIZE = 65 }; /* bytes for the longest digest in hex, and the closing NUL */

/* Whether text can be a digest of this kind: lower-case hexadecimal, 64 digits for SHA-256, 40 for
 * a git blob. */
bool zi_digest_valid(zi_digest_kind kind, const char *text);

/* Computes the digest of a file, lower-case hexadecimal, and blocks meanwhile. False, with an
 * error, when the file cannot be opened or (ZI_ERROR_IO) not read to its end, or memory is short;
 * text is then of no use. */
bool zi_digest_file(const char *path, zi_digest_kind kind, char text[ZI_DIGEST_HEX_SIZE],
                    zi_error *error) ZI_CHECKED;

/* zi_digest_file, which asks should_continue (NULL: not) every 64 MB; its false is
 * ZI_ERROR_CANCELLED. */
bool zi_digest_file_while(const char *path, zi_digest_kind kind,
                          bool (*should_continue)(void *user), void *user,
                          char text[ZI_DIGEST_HEX_SIZE], zi_error *error) ZI_CHECKED;

/* Writes a file of known size from start to end and computes its digest in a thread of its own. The
 * thread also writes, when the caller's thread is ahead, and calls fsync at the end. Bytes pass
 * through a ring of 2 MB. */
typedef struct zi_hash_writer zi_hash_writer;

/* Starts a thread and prepares to write at offset `done` of fd, a file open for reading and writing
 * that will have `size` bytes. The bytes before are hashed from the file. fd must stay open until
 * zi_hash_writer_stop, which the caller must call. On failure (memory is short, else ZI_ERROR_IO)
 * nothing is left running, and *out is unchanged. */
bool zi_hash_writer_start(int fd, uint64_t done, uint64_t size, zi_digest_kind kind,
                          zi_hash_writer **out, zi_error *error) ZI_CHECKED;

/* Takes a copy of the next bytes of the file, in one caller's thread. Blocks while the ring is
 * full, and may write to the file itself. False, with errno set, when a read or write of the file
 * has failed, now or earlier. The caller must not pass more bytes than the file's size: that is not
 * checked, and makes file and digest wrong. */
bool zi_hash_writer_write(zi_hash_writer *writer, const char *data, size_t size) ZI_CHECKED;

/* Whether the thread has ended, which it does with the last of the file's bytes or after a failure.
 * Does not block. If so, text is the digest of the complete file, which is synced, or "" with errno
 * set after a failure. If not, text is "". */
bool zi_hash_writer_finished(zi_hash_writer *writer, char text[ZI_DIGEST_HEX_SIZE]);

/* Stops the thread and waits for it, writes what is left in the ring, and frees the writer; fd
 * stays open. Write errors are ignored. May be called at any time; NULL is allowed. */
void zi_hash_writer_stop(zi_hash_writer *writer);

#endif
