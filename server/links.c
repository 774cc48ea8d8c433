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
#include <sys/stat.h>
#include <unistd.h>

enum { SECRET = 32, DIGEST = 32 };

struct zi_links {
    unsigned char secret[SECRET];
};

/* The result of reading the secret. */
typedef enum { SECRET_READ, SECRET_MISSING, SECRET_WRONG, SECRET_UNREADABLE } read_result;

/* Takes the permissions of others from an open secret, and logs that. */
static void close_to_others(int fd, const char *path, unsigned mode, zi_log *log)
{
    bool ok = fchmod(fd, 0600) == 0;
    zi_log_line(log, ZI_LOG_WARNING,
                ok ? "%s: it had mode %o, so that others could read it, and has 600 now; if "
                     "somebody may have read it, stop the server and delete it, which ends all "
                     "links to images"
                   : "%s: it has mode %o, so that others can read it and guess links to images; "
                     "change its mode to 600",
                path, mode);
}

/* Reads a secret from a file; secret has a meaning only after SECRET_READ. Logs a warning if the
 * file has another size (SECRET_WRONG), or cannot be read or is no ordinary file
 * (SECRET_UNREADABLE). */
static read_result read_secret(const char *path, unsigned char secret[SECRET], zi_log *log)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); /* a pipe does not block */
    if (fd < 0 && errno == ENOENT) return SECRET_MISSING;
    bool known = fd >= 0 && fstat(fd, &st) == 0, ordinary = known ? S_ISREG(st.st_mode) : false;
    const char *why = known ? "it is no ordinary file" : strerror(errno);
    if (fd < 0 && errno == ELOOP) why = "it is no ordinary file, but a symbolic link";
    read_result result = SECRET_UNREADABLE;
    if (ordinary && st.st_size != SECRET) {
        result = SECRET_WRONG;
        zi_log_line(log, ZI_LOG_WARNING,
                    "%s: had %lld bytes instead of %d, and was replaced: all earlier links to "
                    "images are invalid; if there is a copy of the file, stop the server and put "
                    "it back",
                    path, (long long)st.st_size, SECRET);
    } else if (ordinary) {
        errno = EIO;
        if (read(fd, secret, SECRET) == SECRET) result = SECRET_READ;
        why = strerror(errno);
        if (result == SECRET_READ && st.st_mode & 077)
            close_to_others(fd, path, st.st_mode & 0777, log);
    }
    if (result == SECRET_UNREADABLE)
        zi_log_line(log, ZI_LOG_WARNING,
                    "%s: cannot be read: %s; earlier links to images do not work now, and new "
                    "links to images will not work after a restart of the server; let the server's "
                    "user read the file, or delete it to make all links invalid, and restart the "
                    "server",
                    path, why);
    if (fd >= 0) close(fd);
    return result;
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

/* Makes a random secret. False: the system gives no random numbers; *error is set. */
static bool make_secret(zi_links *links, zi_error *error)
{
    if (getentropy(links->secret, SECRET) == 0) return true;
    return zi_error_set(error, ZI_ERROR_IO, NULL,
                        "cannot get random numbers from the system; if the server runs in a "
                        "container or sandbox, allow the system call getrandom there");
}

/* Stores the secret at path; a warning is logged if that fails. False: out of memory; *error is
 * set. */
static bool store_secret(const zi_links *links, const char *path, zi_log *log, zi_error *error)
{
    char *temporary = malloc(strlen(path) + 6);
    if (!temporary) return zi_error_no_memory(error, strlen(path));
    sprintf(temporary, "%s.part", path);
    if (!write_secret(path, temporary, links->secret))
        zi_log_line(log, ZI_LOG_WARNING,
                    "%s: cannot be written: %s; links to images will not work after a restart of "
                    "the server; make the output folder writable and restart it",
                    path, strerror(errno));
    free(temporary);
    return true;
}

/* Reads the secret of path, or makes one. One that could not be read stays as it is. False: *error
 * is set. */
static bool read_or_make_secret(zi_links *links, const char *path, zi_log *log, zi_error *error)
{
    read_result result = read_secret(path, links->secret, log);
    return result == SECRET_READ ||
           (make_secret(links, error) &&
            (result == SECRET_UNREADABLE || store_secret(links, path, log, error)));
}

bool zi_links_create(const char *folder, zi_log *log, zi_links **out, zi_error *error)
{
    zi_links *links = calloc(1, sizeof *links);
    char *path = zi_path_join(folder, ".link-key");
    bool ok = (links && path) || zi_error_no_memory(error, sizeof *links);
    ok = ok && read_or_make_secret(links, path, log, error);
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

/* Writes the token of the image `id`. False: it cannot be computed, and token has no meaning. */
static bool compute_token(const zi_links *links, const char *id, char token[ZI_LINK_TOKEN])
{
    unsigned char digest[DIGEST];
    if (!HMAC(EVP_sha256(), links->secret, SECRET, (const unsigned char *)id, strlen(id), digest,
              NULL))
        return false;
    for (size_t i = 0; i < ZI_LINK_TOKEN / 2; i++) sprintf(token + 2 * i, "%02x", digest[i]);
    return true;
}

const char *zi_link_token(const zi_links *links, const char *id, char token[ZI_LINK_TOKEN])
{
    if (!compute_token(links, id, token)) token[0] = 0;
    return token;
}

bool zi_link_token_matches(const zi_links *links, const char *id, const char *given)
{
    char token[ZI_LINK_TOKEN];
    size_t length = ZI_LINK_TOKEN - 1;
    return strnlen(given, length) == length && compute_token(links, id, token) &&
           !CRYPTO_memcmp(token, given, length);
}
