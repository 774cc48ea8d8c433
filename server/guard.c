#include "server/guard.h"
#include "server/base64.h"

#include "base/error.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

enum { TOKEN = 32, NAME = 256 };

struct zi_guard {
    const char *key;
    bool local;            /* listens on this machine's own address only */
    char token[TOKEN + 1]; /* the cookie's value */
    char own[2][NAME];     /* names of this machine, when others reach it */
};

static bool is_local(const char *host)
{
    return !host || !strcmp(host, "localhost") || !strncmp(host, "127.", 4) || !strcmp(host, "::1");
}

static bool is_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static bool make_token(char *token, zi_error *error)
{
    unsigned char random[TOKEN / 2];
    if (getentropy(random, sizeof random) != 0)
        return zi_error_set(error, ZI_ERROR_IO, NULL, "the system gives no random numbers");
    for (size_t i = 0; i < sizeof random; i++) snprintf(token + 2 * i, 3, "%02x", random[i]);
    return true;
}

bool zi_guard_create(const zi_server_options *options, zi_guard **out, zi_error *error)
{
    if (options->key && !options->key[0])
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "key", "is empty");
    if (!is_local(options->host) && !options->key && !options->insecure)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "host",
                            "%s can be reached from other machines; set a key, or allow everyone "
                            "to use this server",
                            options->host);
    zi_guard *guard = calloc(1, sizeof *guard);
    if (!guard) return zi_error_no_memory(error, sizeof *guard);
    guard->key = options->key;
    guard->local = is_local(options->host);
    if (options->host) snprintf(guard->own[0], NAME, "%s", options->host);
    if (gethostname(guard->own[1], NAME - 1) != 0) guard->own[1][0] = 0;
    if (!make_token(guard->token, error)) {
        free(guard);
        return false;
    }
    *out = guard;
    return true;
}

void zi_guard_free(zi_guard *guard)
{
    free(guard);
}

/* The name in "name", "name:port", "[address]" or "[address]:port". */
static bool host_name(const char *host, char name[NAME])
{
    size_t length;
    if (*host == '[') {
        host++;
        length = strcspn(host, "]");
        if (!host[length]) return false;
        if (host[length + 1] && host[length + 1] != ':') return false;
    } else {
        length = strcspn(host, ":");
    }
    if (!length || length >= NAME) return false;
    memcpy(name, host, length);
    name[length] = 0;
    return true;
}

/* Takes as long wherever the texts differ. */
static bool equal(const char *given, const char *right)
{
    size_t given_length = strlen(given), length = strlen(right);
    unsigned char differs = given_length != length;
    for (size_t i = 0; i < given_length; i++)
        differs |= (unsigned char)given[i] ^ (unsigned char)right[length ? i % length : 0];
    return !differs;
}

/* The key as the password of whatever user, as clients of A1111 send it. */
static bool is_password(const char *credentials, const char *key)
{
    size_t size;
    char *text = zi_base64_decode(credentials, &size);
    const char *colon = text ? strchr(text, ':') : NULL;
    bool same = colon && equal(colon + 1, key);
    free(text);
    return same;
}

static bool shows_key(const zi_guard *guard, const zi_claim *claim)
{
    const char *said = claim->authorization;
    if (!guard->key) return false;
    return (claim->key && equal(claim->key, guard->key)) ||
           (said && !strncasecmp(said, "Bearer ", 7) && equal(said + 7, guard->key)) ||
           (said && !strncasecmp(said, "Basic ", 6) && is_password(said + 6, guard->key));
}

bool zi_guard_host(const zi_guard *guard, const zi_claim *claim)
{
    char name[NAME];
    if (shows_key(guard, claim)) return true;
    if (!claim->host || !host_name(claim->host, name)) return false;
    /* An address cannot be made to point elsewhere; a name can, unless it is known. */
    if (!strcasecmp(name, "localhost")) return true;
    if (guard->local) return is_local(name) && is_address(name);
    if (is_address(name)) return true;
    size_t length = strlen(name);
    if (length > 6 && !strcasecmp(name + length - 6, ".local")) name[length - 6] = 0;
    return (guard->own[0][0] && !strcasecmp(name, guard->own[0])) ||
           (guard->own[1][0] && !strcasecmp(name, guard->own[1]));
}

bool zi_guard_origin(const zi_claim *claim)
{
    const char *origin = claim->origin;
    if (origin) {
        const char *behind = !strncmp(origin, "http://", 7)    ? origin + 7
                             : !strncmp(origin, "https://", 8) ? origin + 8
                                                               : NULL;
        return behind && claim->host && !strcasecmp(behind, claim->host);
    }
    return !claim->site || !strcmp(claim->site, "same-origin") || !strcmp(claim->site, "none");
}

bool zi_guard_key(const zi_guard *guard, const zi_claim *claim)
{
    return !guard->key || shows_key(guard, claim) ||
           (claim->cookie && equal(claim->cookie, guard->token));
}

bool zi_guard_needs_key(const zi_guard *guard)
{
    return guard->key != NULL;
}

const char *zi_guard_login(const zi_guard *guard, const char *key)
{
    return !guard->key || equal(key, guard->key) ? guard->token : NULL;
}
