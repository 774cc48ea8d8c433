#include "hub/digest.h"

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

enum { BLOCK = 64 << 10, RING = 32 * BLOCK, STRIDE = 8 << 20 };

struct zi_hash_writer {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t change; /* one of two threads waits for the other one's */
    EVP_MD_CTX *digest;
    int fd;
    uint64_t size, begun; /* begun: so many bytes is the disk at work on */
    unsigned char *block; /* for what is read from the file */
    unsigned char *ring;  /* the file's bytes [kept, taken): byte i is ring[i % RING] */
    /* Under the mutex: */
    uint64_t kept, taken;
    uint64_t written, seen; /* so many bytes are in the file, so many in the digest */
    bool writing;           /* one thread at a time, so that the file has no holes */
    bool stop, finished;
    int failed; /* errno, or 0 */
    char text[ZI_DIGEST_HEX_SIZE];
};

bool zi_digest_valid(zi_digest_kind kind, const char *text)
{
    size_t length = kind == ZI_DIGEST_SHA256 ? 64 : 40;
    return strlen(text) == length && text[strspn(text, "0123456789abcdef")] == 0;
}

static bool begin(EVP_MD_CTX *digest, zi_digest_kind kind, uint64_t size)
{
    char header[32];
    int length = snprintf(header, sizeof header, "blob %" PRIu64, size) + 1; /* with its NUL */
    if (!EVP_DigestInit_ex(digest, kind == ZI_DIGEST_GIT_BLOB ? EVP_sha1() : EVP_sha256(), NULL))
        return false;
    return kind != ZI_DIGEST_GIT_BLOB || EVP_DigestUpdate(digest, header, (size_t)length);
}

static void finish(EVP_MD_CTX *digest, char text[ZI_DIGEST_HEX_SIZE])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned count = 0;
    text[0] = 0;
    if (!EVP_DigestFinal_ex(digest, bytes, &count) || count > (ZI_DIGEST_HEX_SIZE - 1) / 2) return;
    for (unsigned i = 0; i < count; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
}

/* Bytes [from, to) of the file. */
static bool add(EVP_MD_CTX *digest, int fd, uint64_t from, uint64_t to, void *block)
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

/* Lets the disk begin with what was written, so that little is left to wait for in the end. */
static void begin_writing(zi_hash_writer *h, uint64_t written)
{
    if (written < h->begun + STRIDE) return;
#ifdef SYNC_FILE_RANGE_WRITE
    sync_file_range(h->fd, (off_t)h->begun, (off_t)(written - h->begun), SYNC_FILE_RANGE_WRITE);
#endif
    h->begun = written;
}

/* Bytes [from, to) of the file; errno, or 0. */
static int write_out(int fd, const unsigned char *data, uint64_t from, uint64_t to)
{
    while (from < to) {
        ssize_t n = pwrite(fd, data, (size_t)(to - from), (off_t)from);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? errno : EIO;
        data += n, from += (uint64_t)n;
    }
    return 0;
}

/* ---- steps: with the mutex held, but for the work itself ---- */

/* Where the block at `at` ends; 0: it is neither whole nor the file's last one. Threads do and wake
 * nothing smaller. */
static uint64_t end_of_block(const zi_hash_writer *h, uint64_t at)
{
    uint64_t end = (at / BLOCK + 1) * BLOCK;
    if (end <= h->taken) return end;
    return h->taken == h->size && at < h->size ? h->size : 0;
}

static bool can_write(const zi_hash_writer *h)
{
    return !h->writing && !h->failed && end_of_block(h, h->written);
}

static bool has_work(const zi_hash_writer *h)
{
    return can_write(h) || end_of_block(h, h->seen);
}

static void write_block(zi_hash_writer *h, uint64_t to)
{
    uint64_t at = h->written;
    h->writing = true;
    pthread_mutex_unlock(&h->mutex);
    int failed = write_out(h->fd, h->ring + at % RING, at, to);
    pthread_mutex_lock(&h->mutex);
    h->writing = false;
    if (failed)
        h->failed = failed;
    else
        h->written = to;
    pthread_cond_signal(&h->change);
}

/* Of what came before the ring's bytes only the file knows. */
static void hash_block(zi_hash_writer *h, uint64_t to)
{
    uint64_t at = h->seen, written = h->written;
    bool in_ring = h->kept <= at;
    if (!in_ring && to > h->kept) to = h->kept;
    pthread_mutex_unlock(&h->mutex);
    bool ok = in_ring ? EVP_DigestUpdate(h->digest, h->ring + at % RING, (size_t)(to - at))
                      : add(h->digest, h->fd, at, to, h->block);
    begin_writing(h, written);
    pthread_mutex_lock(&h->mutex);
    if (!ok) h->failed = EIO;
    h->seen = to;
    pthread_cond_signal(&h->change);
}

/* How many bytes may come: others' place is needed until they are written, and seen unless the file
 * is being caught up with. */
static uint64_t room(const zi_hash_writer *h)
{
    uint64_t first = h->kept <= h->seen && h->seen < h->written ? h->seen : h->written;
    return RING - (h->taken - first);
}

static void copy_in(zi_hash_writer *h, const char *data, size_t size)
{
    size_t at = h->taken % RING, before_end = size < RING - at ? size : RING - at;
    pthread_mutex_unlock(&h->mutex);
    memcpy(h->ring + at, data, before_end);
    memcpy(h->ring, data + before_end, size - before_end);
    pthread_mutex_lock(&h->mutex);
}

/* ---- the thread ---- */

static void *follow(void *context)
{
    zi_hash_writer *h = context;
    pthread_mutex_lock(&h->mutex);
    while (!h->stop && !h->failed && (h->seen < h->size || h->written < h->size)) {
        uint64_t to = end_of_block(h, h->seen);
        if (to)
            hash_block(h, to);
        else if (can_write(h))
            write_block(h, end_of_block(h, h->written));
        else
            pthread_cond_wait(&h->change, &h->mutex);
    }
    bool whole = !h->failed && h->seen == h->size && h->written == h->size;
    pthread_mutex_unlock(&h->mutex);
    /* What is called whole later must be on the disk by then. */
    int failed = whole && fsync(h->fd) != 0 ? errno : 0;
    pthread_mutex_lock(&h->mutex);
    if (failed) h->failed = failed;
    if (whole && !failed) finish(h->digest, h->text);
    h->finished = true;
    pthread_mutex_unlock(&h->mutex);
    return NULL;
}

static void free_hasher(zi_hash_writer *h)
{
    EVP_MD_CTX_free(h->digest);
    pthread_mutex_destroy(&h->mutex);
    pthread_cond_destroy(&h->change);
    free(h->block);
    free(h->ring);
    free(h);
}

bool zi_hash_writer_start(int fd, uint64_t done, uint64_t size, zi_digest_kind kind,
                          zi_hash_writer **out, zi_error *error)
{
    zi_hash_writer *h = calloc(1, sizeof *h);
    if (!h) return zi_error_no_memory(error, sizeof *h);
    *h = (zi_hash_writer){.fd = fd, .size = size, .kept = done, .taken = done, .written = done};
    h->digest = EVP_MD_CTX_new();
    h->block = malloc(BLOCK);
    h->ring = malloc(RING);
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->change, NULL);
    if (h->block && h->ring && h->digest && begin(h->digest, kind, size) &&
        pthread_create(&h->thread, NULL, follow, h) == 0) {
        *out = h;
        return true;
    }
    free_hasher(h);
    return zi_error_set(error, ZI_ERROR_IO, NULL,
                        "the system gives no thread, or no digest, to check files with");
}

bool zi_hash_writer_write(zi_hash_writer *h, const char *data, size_t size)
{
    pthread_mutex_lock(&h->mutex);
    while (size && !h->failed) {
        uint64_t some = room(h);
        if (some > size) some = size;
        if (some) {
            copy_in(h, data, (size_t)some);
            bool had = has_work(h);
            data += some, size -= some;
            h->taken += some;
            if (h->taken - h->kept > RING) h->kept = h->taken - RING;
            if (!had && has_work(h)) pthread_cond_signal(&h->change);
        } else if (can_write(h)) {
            write_block(h, end_of_block(h, h->written));
        } else {
            pthread_cond_wait(&h->change, &h->mutex);
        }
    }
    errno = h->failed;
    pthread_mutex_unlock(&h->mutex);
    return !errno;
}

bool zi_hash_writer_finished(zi_hash_writer *h, char text[ZI_DIGEST_HEX_SIZE])
{
    pthread_mutex_lock(&h->mutex);
    bool finished = h->finished;
    memcpy(text, h->text, ZI_DIGEST_HEX_SIZE);
    errno = h->failed;
    pthread_mutex_unlock(&h->mutex);
    return finished;
}

void zi_hash_writer_stop(zi_hash_writer *h)
{
    if (!h) return;
    pthread_mutex_lock(&h->mutex);
    h->stop = true;
    pthread_cond_signal(&h->change);
    pthread_mutex_unlock(&h->mutex);
    pthread_join(h->thread, NULL);
    pthread_mutex_lock(&h->mutex);
    while (!h->failed && h->written < h->taken) {
        uint64_t to = end_of_block(h, h->written);
        write_block(h, to ? to : h->taken);
    }
    pthread_mutex_unlock(&h->mutex);
    free_hasher(h);
}

bool zi_digest_file(const char *path, zi_digest_kind kind, char text[ZI_DIGEST_HEX_SIZE],
                    zi_error *error)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        zi_error_set(error, zi_error_code_of_errno(), path, "cannot open: %s", strerror(errno));
        if (fd >= 0) close(fd);
        return false;
    }
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    void *block = malloc(BLOCK);
    text[0] = 0;
    if (digest && block && begin(digest, kind, (uint64_t)st.st_size) &&
        add(digest, fd, 0, (uint64_t)st.st_size, block))
        finish(digest, text);
    free(block);
    EVP_MD_CTX_free(digest);
    close(fd);
    return *text || zi_error_set(error, ZI_ERROR_IO, path, "cannot be read");
}
