#include "server/links.h"

#include "base/file.h"
#include "base/temporary.h"

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
typedef enum {
    SECRET_READ,
    SECRET_NONE, /* no file, or one of another size, which has none */
    SECRET_UNREADABLE
} read_result;

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

/* Reads a secret from a file; secret has a meaning only after SECRET_READ. *size: of the file, if
 * it is an ordinary one; unchanged: it is not, or there is none. SECRET_UNREADABLE, of which a
 * warning is logged: it cannot be read or is no ordinary file. */
static read_result read_secret(const char *path, unsigned char secret[SECRET], long long *size,
                               zi_log *log)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK); /* a pipe does not block */
    if (fd < 0 && errno == ENOENT) return SECRET_NONE;
    bool known = fd >= 0 && fstat(fd, &st) == 0, ordinary = known ? S_ISREG(st.st_mode) : false;
    const char *why = known ? "it is no ordinary file" : strerror(errno);
    if (fd < 0 && errno == ELOOP) why = "it is no ordinary file, but a symbolic link";
    read_result result = SECRET_UNREADABLE;
    if (ordinary) *size = st.st_size;
    if (ordinary && *size != SECRET) {
        result = SECRET_NONE;
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

/* Makes a random secret. False: the system gives no random numbers; *error is set. */
static bool make_secret(zi_links *links, zi_error *error)
{
    if (getentropy(links->secret, SECRET) == 0) return true;
    return zi_error_set(error, ZI_ERROR_IO, NULL,
                        "cannot get random numbers from the system; if the server runs in a "
                        "container or sandbox, allow the system call getrandom there");
}

/* Stores the secret at path. old: size of a file of another size there; -1: there was none. Logs a
 * warning if there was one, and if the secret cannot be stored. */
static void store_secret(const zi_links *links, const char *path, long long old, zi_log *log)
{
    zi_output output;
    zi_error why = {0};
    zi_remove_stale_temporaries(path); /* of a server that was killed meanwhile */
    bool ok = zi_output_open_private(&output, path, &why) &&
              zi_output_write(&output, links->secret, SECRET, &why) &&
              zi_output_commit(&output, &why);
    zi_output_discard(&output);
    if (!ok)
        zi_log_line(log, ZI_LOG_WARNING,
                    "%s; links to images will not work after a restart of the server; restart it "
                    "when it can write this file",
                    why.text);
    if (old >= 0)
        zi_log_line(log, ZI_LOG_WARNING,
                    "%s: %s %lld bytes instead of %d%s: all earlier links to images are invalid; "
                    "if there is a copy of the file, stop the server and put it back",
                    path, ok ? "had" : "has", old, SECRET, ok ? ", and was replaced" : "");
}

/* Reads the secret of path, or makes one. One that could not be read stays as it is. False: *error
 * is set. */
static bool read_or_make_secret(zi_links *links, const char *path, zi_log *log, zi_error *error)
{
    long long size = -1;
    read_result result = read_secret(path, links->secret, &size, log);
    if (result == SECRET_READ) return true;
    if (!make_secret(links, error)) return false;
    if (result == SECRET_NONE) store_secret(links, path, size, log);
    return true;
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
