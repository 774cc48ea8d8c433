#include "server/links.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

enum { SECRET = 32, DIGEST = 32 };

struct zi_links {
    unsigned char secret[SECRET];
};

/* Reads a secret from a file. False: there is none, or it is no ordinary file of SECRET bytes; then
 * secret has no meaning. */
static bool read_secret(const char *path, unsigned char secret[SECRET])
{
    unsigned char data[SECRET + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t size = fd >= 0 ? read(fd, data, sizeof data) : -1;
    if (fd >= 0) close(fd);
    if (size != SECRET) return false;
    memcpy(secret, data, SECRET);
    return true;
}

/* Writes a secret to a new file at path, which this user alone may read, in place of what is there.
 * False: errno tells why, and nothing is left at `temporary`. */
static bool write_secret(const char *path, const char *temporary,
                         const unsigned char secret[SECRET])
{
    unlink(temporary); /* of a server that was killed; the folder is locked */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    errno = EIO;
    bool ok = write(fd, secret, SECRET) == SECRET && fsync(fd) == 0;
    int why = errno;
    close(fd);
    if (ok && rename(temporary, path) == 0) return true;
    if (ok) why = errno;
    unlink(temporary);
    errno = why;
    return false;
}

/* Makes a new secret and stores it at path; a warning is logged if it cannot be stored. False: the
 * system gives no random numbers; *error is set. */
static bool make_secret(zi_links *links, const char *path, zi_log *log, zi_error *error)
{
    char *temporary = malloc(strlen(path) + 6);
    if (!temporary) return zi_error_no_memory(error, strlen(path));
    sprintf(temporary, "%s.part", path);
    bool ok = getentropy(links->secret, SECRET) == 0;
    if (!ok)
        zi_error_set(error, ZI_ERROR_IO, NULL,
                     "cannot get random numbers from the system; if the server runs in a container "
                     "or sandbox, allow the system call getrandom there");
    if (ok && !write_secret(path, temporary, links->secret))
        zi_log_line(log, ZI_LOG_WARNING,
                    "%s: cannot be written: %s; links to images will not work after a restart of "
                    "the server; make the output folder writable and restart it",
                    path, strerror(errno));
    free(temporary);
    return ok;
}

bool zi_links_create(const char *folder, zi_log *log, zi_links **out, zi_error *error)
{
    zi_links *links = calloc(1, sizeof *links);
    char *path = zi_path_join(folder, ".link-key");
    bool ok = (links && path) || zi_error_no_memory(error, sizeof *links);
    ok = ok && (read_secret(path, links->secret) || make_secret(links, path, log, error));
    free(path);
    if (ok)
        *out = links;
    else
        free(links);
    return ok;
}

void zi_links_free(zi_links *links)
{
    if (links) OPENSSL_cleanse(links, sizeof *links);
    free(links);
}

const char *zi_link_token(const zi_links *links, const char *id, char token[ZI_LINK_TOKEN])
{
    unsigned char digest[DIGEST] = {0};
    HMAC(EVP_sha256(), links->secret, SECRET, (const unsigned char *)id, strlen(id), digest, NULL);
    for (size_t i = 0; i < ZI_LINK_TOKEN / 2; i++) sprintf(token + 2 * i, "%02x", digest[i]);
    return token;
}

bool zi_link_token_matches(const zi_links *links, const char *id, const char *given)
{
    char token[ZI_LINK_TOKEN];
    size_t length = ZI_LINK_TOKEN - 1;
    return strnlen(given, length) == length &&
           !CRYPTO_memcmp(zi_link_token(links, id, token), given, length);
}
