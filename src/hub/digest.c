#include "hub/digest.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* In bytes. Threads write and hash whole blocks, which never wrap around the ring's end. */
enum { BLOCK = 64 << 10, RING = 32 * BLOCK, FLUSH_STRIDE = 8 << 20 };

struct zi_hash_writer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t change; /* of the fields under the mutex; at most one thread waits */
    EVP_MD_CTX *digest;
    int fd;
    uint64_t size;     /* of the complete file */
    uint64_t flushing; /* the kernel was asked to write back the bytes before this offset */
    unsigned char *read_buffer; /* [BLOCK] */
    /* [RING]; holds bytes [ring_start, ring_end) of the file. Byte i is ring[i % RING]. */
    unsigned char *ring;
    /* Under the mutex: */
    uint64_t ring_start, ring_end;
    uint64_t written, hashed; /* bytes that are in the file, and in the digest */
    bool writing; /* a thread writes a block: one at a time, so that the file never has a hole */
    bool stop, finished;
    int failed; /* errno of a read or write, or 0 */
    char text[ZI_DIGEST_HEX_SIZE];
};

bool zi_digest_valid(zi_digest_kind kind, const char *text)
{
    size_t length = kind == ZI_DIGEST_SHA256 ? 64 : 40;
    return strlen(text) == length && text[strspn(text, "0123456789abcdef")] == 0;
}

/* Starts the digest and, for a git blob, hashes git's header with the file's `size`. False: OpenSSL
 * fails; no error is set. */
static bool init_digest(EVP_MD_CTX *digest, zi_digest_kind kind, uint64_t size)
{
    char header[32];
    int length = snprintf(header, sizeof header, "blob %" PRIu64, size) + 1; /* with its NUL */
    if (!EVP_DigestInit_ex(digest, kind == ZI_DIGEST_GIT_BLOB ? EVP_sha1() : EVP_sha256(), NULL))
        return false;
    return kind != ZI_DIGEST_GIT_BLOB || EVP_DigestUpdate(digest, header, (size_t)length);
}

/* Finishes the digest, which the caller still frees, and writes it as lower-case hexadecimal; ""
 * after a failure. */
static void finish_digest(EVP_MD_CTX *digest, char text[ZI_DIGEST_HEX_SIZE])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned count = 0;
    text[0] = 0;
    if (!EVP_DigestFinal_ex(digest, bytes, &count) || count > (ZI_DIGEST_HEX_SIZE - 1) / 2) return;
    for (unsigned i = 0; i < count; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

/* Adds bytes [from, to) of the file to the digest. block is a buffer of BLOCK bytes. False: a read
 * failed or the file is shorter; no error is set. */
static bool hash_file_range(EVP_MD_CTX *digest, int fd, uint64_t from, uint64_t to, void *block)
{
    while (from < to) {
        size_t want = to - from < BLOCK ? (size_t)(to - from) : BLOCK;
        ssize_t got = pread(fd, block, want, (off_t)from);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0 || !EVP_DigestUpdate(digest, block, (size_t)got)) return false;
        from += (uint64_t)got;
    }
    return true;
}

/* Starts asynchronous write-back of the bytes before offset `written`, so that the final fsync is
 * short, once there are FLUSH_STRIDE more than last time; remembers that in w->flushing. Errors are
 * ignored. */
static void start_write_back(zi_hash_writer *w, uint64_t written)
{
    if (written < w->flushing + FLUSH_STRIDE) return;
#ifdef SYNC_FILE_RANGE_WRITE
    sync_file_range(w->fd, (off_t)w->flushing, (off_t)(written - w->flushing),
                    SYNC_FILE_RANGE_WRITE);
#endif
    w->flushing = written;
}

/* Writes data, which is bytes [from, to) of the file, to that place. Returns 0, or the errno of a
 * failure; a part may be written then. */
static int write_file_range(int fd, const unsigned char *data, uint64_t from, uint64_t to)
{
    while (from < to) {
        ssize_t n = pwrite(fd, data, (size_t)(to - from), (off_t)from);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? errno : EIO;
        data += n, from += (uint64_t)n;
    }
    return 0;
}

/* ---- steps, called with the mutex held; it is released during the work itself ---- */

/* Returns the end offset of the file's block that contains offset `at`, if the writer has been
 * given the file up to there; else, and at the file's end, 0. The last block may be shorter.
 * Threads process, and wake each other for, complete blocks only. Call it with the mutex held. */
static uint64_t end_of_block(const zi_hash_writer *w, uint64_t at)
{
    uint64_t end = (at / BLOCK + 1) * BLOCK;
    if (end <= w->ring_end) return end;
    return w->ring_end == w->size && at < w->size ? w->size : 0;
}

/* Whether the next block to write is complete in the ring, and nothing has failed and no thread is
 * writing. Call it with the mutex held. */
static bool can_write(const zi_hash_writer *w)
{
    return !w->writing && !w->failed && end_of_block(w, w->written);
}

/* Whether the thread could hash or write a complete block now. Call it with the mutex held. */
static bool thread_has_work(const zi_hash_writer *w)
{
    return can_write(w) || end_of_block(w, w->hashed);
}

/* Writes the ring's bytes from w->written to `to`, within one block. Called with the mutex held,
 * which is released meanwhile. Sets w->written or, on failure, w->failed to the errno, and signals
 * the change. */
static void write_block(zi_hash_writer *w, uint64_t to)
{
    uint64_t at = w->written;
    w->writing = true;
    pthread_mutex_unlock(&w->mutex);
    int failed = write_file_range(w->fd, w->ring + at % RING, at, to);
    pthread_mutex_lock(&w->mutex);
    w->writing = false;
    if (failed)
        w->failed = failed;
    else
        w->written = to;
    pthread_cond_signal(&w->change);
}

/* Hashes bytes from w->hashed to block_end; those that are in the ring no more from the file, and
 * then only up to ring_start. Called with the mutex held, which is released meanwhile. Advances
 * w->hashed, sets w->failed to EIO if the file cannot be read, and signals the change. */
static void hash_block(zi_hash_writer *w, uint64_t block_end)
{
    uint64_t at = w->hashed, to = block_end, written = w->written;
    bool in_ring = w->ring_start <= at;
    if (!in_ring && to > w->ring_start) to = w->ring_start;
    pthread_mutex_unlock(&w->mutex);
    bool ok = in_ring ? EVP_DigestUpdate(w->digest, w->ring + at % RING, (size_t)(to - at))
                      : hash_file_range(w->digest, w->fd, at, to, w->read_buffer);
    start_write_back(w, written);
    pthread_mutex_lock(&w->mutex);
    if (!ok) w->failed = EIO;
    w->hashed = to;
    pthread_cond_signal(&w->change);
}

/* Returns how many bytes the ring can take now. Bytes stay in it until they are written and hashed;
 * while the digest is behind the ring (after a resume), only until they are written. Call it with
 * the mutex held. */
static uint64_t ring_room(const zi_hash_writer *w)
{
    uint64_t first = w->ring_start <= w->hashed && w->hashed < w->written ? w->hashed : w->written;
    return RING - (w->ring_end - first);
}

/* Copies bytes, no more than there is room for, into the ring at ring_end, which the caller then
 * advances. Called with the mutex held, which is released meanwhile. */
static void copy_to_ring(zi_hash_writer *w, const char *data, size_t size)
{
    size_t at = w->ring_end % RING, before_end = size < RING - at ? size : RING - at;
    pthread_mutex_unlock(&w->mutex);
    memcpy(w->ring + at, data, before_end);
    memcpy(w->ring, data + before_end, size - before_end);
    pthread_mutex_lock(&w->mutex);
}

/* ---- the thread ---- */

/* Main function of the thread: hashes complete blocks as they come; while there is none to hash,
 * writes the ring's blocks to the file; until all is done, a failure or w->stop. Syncs a complete
 * file, sets w->text to the digest ("": OpenSSL failed), w->failed to the errno of a failure, and
 * always w->finished. */
static void *hash_thread(void *context)
{
    zi_hash_writer *w = context;
    pthread_mutex_lock(&w->mutex);
    while (!w->stop && !w->failed && (w->hashed < w->size || w->written < w->size)) {
        uint64_t to = end_of_block(w, w->hashed);
        if (to)
            hash_block(w, to);
        else if (can_write(w))
            write_block(w, end_of_block(w, w->written));
        else
            pthread_cond_wait(&w->change, &w->mutex);
    }
    bool complete = !w->failed && w->hashed == w->size && w->written == w->size;
    pthread_mutex_unlock(&w->mutex);
    /* The caller renames the file next: its contents must be on the disk by then. */
    int failed = complete && fsync(w->fd) != 0 ? errno : 0;
    pthread_mutex_lock(&w->mutex);
    if (failed) w->failed = failed;
    if (complete && !failed) finish_digest(w->digest, w->text);
    w->finished = true;
    pthread_mutex_unlock(&w->mutex);
    return NULL;
}

/* Frees the writer (not NULL), whose thread must not be running. fd stays open. */
static void free_writer(zi_hash_writer *w)
{
    EVP_MD_CTX_free(w->digest);
    pthread_mutex_destroy(&w->mutex);
    pthread_cond_destroy(&w->change);
    free(w->read_buffer);
    free(w->ring);
    free(w);
}

bool zi_hash_writer_start(int fd, uint64_t done, uint64_t size, zi_digest_kind kind,
                          zi_hash_writer **out, zi_error *error)
{
    zi_hash_writer *w = calloc(1, sizeof *w);
    if (!w) return zi_error_no_memory(error, sizeof *w);
    *w = (zi_hash_writer){
        .fd = fd, .size = size, .ring_start = done, .ring_end = done, .written = done};
    w->digest = EVP_MD_CTX_new();
    w->read_buffer = malloc(BLOCK);
    w->ring = malloc(RING);
    pthread_mutex_init(&w->mutex, NULL);
    pthread_cond_init(&w->change, NULL);
    if (w->read_buffer && w->ring && w->digest && init_digest(w->digest, kind, size) &&
        pthread_create(&w->thread, NULL, hash_thread, w) == 0) {
        *out = w;
        return true;
    }
    free_writer(w);
    return zi_error_set(
        error, ZI_ERROR_IO, NULL,
        "cannot check the downloaded file: the system gives no further thread or memory; close "
        "other programs, then start the download again: what has arrived is kept");
}

bool zi_hash_writer_write(zi_hash_writer *writer, const char *data, size_t size)
{
    pthread_mutex_lock(&writer->mutex);
    while (size && !writer->failed) {
        uint64_t count = ring_room(writer);
        if (count > size) count = size;
        if (count) {
            copy_to_ring(writer, data, (size_t)count);
            bool had_work = thread_has_work(writer);
            data += count, size -= count;
            writer->ring_end += count;
            if (writer->ring_end - writer->ring_start > RING)
                writer->ring_start = writer->ring_end - RING;
            if (!had_work && thread_has_work(writer)) pthread_cond_signal(&writer->change);
        } else if (can_write(writer)) {
            write_block(writer, end_of_block(writer, writer->written));
        } else {
            pthread_cond_wait(&writer->change, &writer->mutex);
        }
    }
    errno = writer->failed;
    pthread_mutex_unlock(&writer->mutex);
    return !errno;
}

bool zi_hash_writer_finished(zi_hash_writer *writer, char text[ZI_DIGEST_HEX_SIZE])
{
    pthread_mutex_lock(&writer->mutex);
    bool finished = writer->finished;
    memcpy(text, writer->text, ZI_DIGEST_HEX_SIZE);
    errno = writer->failed;
    pthread_mutex_unlock(&writer->mutex);
    return finished;
}

void zi_hash_writer_stop(zi_hash_writer *writer)
{
    if (!writer) return;
    pthread_mutex_lock(&writer->mutex);
    writer->stop = true;
    pthread_cond_signal(&writer->change);
    pthread_mutex_unlock(&writer->mutex);
    pthread_join(writer->thread, NULL);
    pthread_mutex_lock(&writer->mutex);
    while (!writer->failed && writer->written < writer->ring_end) {
        uint64_t to = end_of_block(writer, writer->written);
        write_block(writer, to ? to : writer->ring_end);
    }
    pthread_mutex_unlock(&writer->mutex);
    free_writer(writer);
}

bool zi_digest_file_while(const char *path, zi_digest_kind kind,
                          bool (*should_continue)(void *user), void *user,
                          char text[ZI_DIGEST_HEX_SIZE], zi_error *error)
{
    const uint64_t part = 64 << 20;
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        zi_file_cannot_open(error, path);
        if (fd >= 0) close(fd);
        return false;
    }
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    void *block = malloc(BLOCK);
    uint64_t size = (uint64_t)st.st_size, at = 0;
    bool ok = digest && block && init_digest(digest, kind, size), cancelled = false;
    while (ok && at < size && !cancelled) {
        uint64_t to = size - at < part ? size : at + part;
        ok = hash_file_range(digest, fd, at, to, block);
        at = to;
        cancelled = ok && at < size && should_continue && !should_continue(user);
    }
    text[0] = 0;
    if (ok && !cancelled) finish_digest(digest, text);
    free(block);
    EVP_MD_CTX_free(digest);
    close(fd);
    if (cancelled) return zi_error_cancelled(error);
    return *text || zi_error_set(error, ZI_ERROR_IO, path,
                                 "cannot be read to its end: the disk is damaged, or another "
                                 "program changed the file meanwhile; try again");
}

bool zi_digest_file(const char *path, zi_digest_kind kind, char text[ZI_DIGEST_HEX_SIZE],
                    zi_error *error)
{
    return zi_digest_file_while(path, kind, NULL, NULL, text, error);
}
