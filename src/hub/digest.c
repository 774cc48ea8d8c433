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

enum { BLOCK = 1 << 20 };

struct zi_hasher {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t more;
    EVP_MD_CTX *digest;
    int fd;
    uint64_t size;
    /* Under the mutex: */
    uint64_t written;
    bool stop, finished;
    char text[ZI_DIGEST_TEXT];
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
    if (!EVP_DigestInit_ex(digest, kind == ZI_DIGEST_GIT ? EVP_sha1() : EVP_sha256(), NULL))
        return false;
    return kind != ZI_DIGEST_GIT || EVP_DigestUpdate(digest, header, (size_t)length);
}

static void finish(EVP_MD_CTX *digest, char text[ZI_DIGEST_TEXT])
{
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned count = 0;
    text[0] = 0;
    if (!EVP_DigestFinal_ex(digest, bytes, &count) || count > (ZI_DIGEST_TEXT - 1) / 2) return;
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

/* Whether a whole block, or the last one, is there behind `seen`: threads wake each other no more
 * often than for that. */
static bool has_block(const zi_hasher *h, uint64_t seen)
{
    return h->written - seen >= BLOCK || (h->written == h->size && seen < h->size);
}

/* Waits for bytes behind `seen`; false: there is to be an end. */
static bool wait_for_more(zi_hasher *h, uint64_t seen, uint64_t *written)
{
    pthread_mutex_lock(&h->mutex);
    while (!h->stop && !has_block(h, seen)) pthread_cond_wait(&h->more, &h->mutex);
    bool on = !h->stop;
    /* A block at a time, so that a stop is heard. */
    *written = h->written - seen > BLOCK ? seen + BLOCK : h->written;
    pthread_mutex_unlock(&h->mutex);
    return on;
}

/* Lets the disk begin with what was written, so that little is left to wait for in the end. */
static void begin_writing(int fd, uint64_t from, uint64_t to)
{
#ifdef SYNC_FILE_RANGE_WRITE
    sync_file_range(fd, (off_t)from, (off_t)(to - from), SYNC_FILE_RANGE_WRITE);
#else
    (void)fd, (void)from, (void)to;
#endif
}

static void *follow(void *context)
{
    zi_hasher *h = context;
    void *block = malloc(BLOCK);
    char text[ZI_DIGEST_TEXT] = "";
    uint64_t seen = 0, written;
    bool ok = block != NULL;
    while (ok && seen < h->size) {
        if (!wait_for_more(h, seen, &written)) break;
        ok = add(h->digest, h->fd, seen, written, block);
        begin_writing(h->fd, seen, written);
        seen = written;
    }
    /* What is called whole later must be on the disk by then. */
    if (ok && seen == h->size && fsync(h->fd) == 0) finish(h->digest, text);
    free(block);
    pthread_mutex_lock(&h->mutex);
    memcpy(h->text, text, sizeof text);
    h->finished = true;
    pthread_mutex_unlock(&h->mutex);
    return NULL;
}

bool zi_hasher_start(int fd, uint64_t size, zi_digest_kind kind, zi_hasher **out, zi_error *error)
{
    zi_hasher *h = calloc(1, sizeof *h);
    if (!h) return zi_out_of_memory(error, sizeof *h);
    *h = (zi_hasher){.fd = fd, .size = size, .digest = EVP_MD_CTX_new()};
    pthread_mutex_init(&h->mutex, NULL);
    pthread_cond_init(&h->more, NULL);
    if (h->digest && begin(h->digest, kind, size) &&
        pthread_create(&h->thread, NULL, follow, h) == 0) {
        *out = h;
        return true;
    }
    EVP_MD_CTX_free(h->digest);
    pthread_mutex_destroy(&h->mutex);
    pthread_cond_destroy(&h->more);
    free(h);
    return zi_fail(error, "the system gives no thread, or no digest, to check files with");
}

void zi_hasher_advance(zi_hasher *hasher, uint64_t written)
{
    pthread_mutex_lock(&hasher->mutex);
    bool news = written / BLOCK != hasher->written / BLOCK || written == hasher->size;
    hasher->written = written;
    if (news) pthread_cond_signal(&hasher->more);
    pthread_mutex_unlock(&hasher->mutex);
}

bool zi_hasher_finished(zi_hasher *hasher, char text[ZI_DIGEST_TEXT])
{
    pthread_mutex_lock(&hasher->mutex);
    bool finished = hasher->finished;
    if (finished) memcpy(text, hasher->text, ZI_DIGEST_TEXT);
    pthread_mutex_unlock(&hasher->mutex);
    return finished;
}

void zi_hasher_stop(zi_hasher *hasher)
{
    if (!hasher) return;
    pthread_mutex_lock(&hasher->mutex);
    hasher->stop = true;
    pthread_cond_signal(&hasher->more);
    pthread_mutex_unlock(&hasher->mutex);
    pthread_join(hasher->thread, NULL);
    EVP_MD_CTX_free(hasher->digest);
    pthread_mutex_destroy(&hasher->mutex);
    pthread_cond_destroy(&hasher->more);
    free(hasher);
}

bool zi_digest_file(const char *path, zi_digest_kind kind, char text[ZI_DIGEST_TEXT],
                    zi_error *error)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        zi_fail(error, "%s: cannot open: %s", path, strerror(errno));
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
    return *text || zi_fail(error, "%s: cannot be read", path);
}
