#include "server/access.h"
#include "server/base64.h"

#include "base/error.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

enum { TOKEN_LENGTH = 32, MAX_HOST_NAME = 256 };

struct zi_access {
    const char *key;
    bool loopback_only;               /* listens on loopback only */
    char token[TOKEN_LENGTH + 1];     /* value of the login cookie */
    char own_names[2][MAX_HOST_NAME]; /* names that Host may have: options.host and the host name,
                                         without a final ".local"; "": none */
};

/* Whether host is "localhost", "::1" (both exactly so, without brackets) or, as text, begins with
 * "127."; also true for NULL, the default host, which is loopback. Does not resolve names. */
static bool is_loopback(const char *host)
{
    return !host || !strcmp(host, "localhost") || !strncmp(host, "127.", 4) || !strcmp(host, "::1");
}

/* Whether host is a literal IPv4 or IPv6 address, without brackets. */
static bool is_ip_address(const char *host)
{
    unsigned char bytes[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* Writes TOKEN_LENGTH (32) random hexadecimal digits and a NUL to token. False: *error is set. */
static bool make_token(char *token, zi_error *error)
{
    unsigned char random[TOKEN_LENGTH / 2];
    if (getentropy(random, sizeof random) != 0)
        return zi_error_set(
            error, ZI_ERROR_IO, NULL,
            "cannot get random numbers from the system; if the server runs in a container "
            "or sandbox, allow the system call getrandom there");
    for (size_t i = 0; i < sizeof random; i++) snprintf(token + 2 * i, 3, "%02x", random[i]);
    return true;
}

/* Cuts a final ".local", in any letter case, off a host name, unless nothing would be left: names
 * of a local network are written with it and without. */
static void cut_local(char *name)
{
    size_t length = strlen(name);
    if (length > 6 && !strcasecmp(name + length - 6, ".local")) name[length - 6] = 0;
}

bool zi_access_create(const zi_server_options *options, zi_access **out, zi_error *error)
{
    if (options->key && !options->key[0])
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "key",
                            "is empty; give a key of at least one character, or leave it out");
    size_t length = options->key ? strlen(options->key) : 0;
    if (length > ZI_ACCESS_KEY_MAX)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "key",
                            "has %zu bytes; give a key of at most %d bytes", length,
                            ZI_ACCESS_KEY_MAX);
    if (options->key && !zi_utf8_valid(options->key, length))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "key",
                            "is not valid UTF-8 text; give a key of other characters");
    if (!is_loopback(options->host) && !options->key && !options->insecure)
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "host",
            "%s can be reached from other machines, but no API key is set; set one, or "
            "allow access without a key",
            options->host);
    zi_access *access = calloc(1, sizeof *access);
    if (!access) return zi_error_no_memory(error, sizeof *access);
    access->key = options->key;
    access->loopback_only = is_loopback(options->host);
    if (options->host) snprintf(access->own_names[0], MAX_HOST_NAME, "%s", options->host);
    if (gethostname(access->own_names[1], MAX_HOST_NAME - 1) != 0) access->own_names[1][0] = 0;
    for (int i = 0; i < 2; i++) cut_local(access->own_names[i]);
    if (!make_token(access->token, error)) {
        free(access);
        return false;
    }
    *out = access;
    return true;
}

void zi_access_free(zi_access *access)
{
    free(access);
}

/* Extracts the name from a Host header: "name", "name:port", "[address]" or "[address]:port"; name
 * gets no brackets, and keeps its letter case. False, with name unchanged: malformed, empty or too
 * long. The port is not checked. */
static bool parse_host_name(const char *host, char name[MAX_HOST_NAME])
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
    if (!length || length >= MAX_HOST_NAME) return false;
    memcpy(name, host, length);
    name[length] = 0;
    return true;
}

/* Whether the texts are equal. The time depends on the length of `given`, not on where they
 * differ. */
static bool equal_constant_time(const char *given, const char *right)
{
    size_t given_length = strlen(given), length = strlen(right);
    unsigned char differs = given_length != length;
    for (size_t i = 0; i < given_length; i++)
        differs |= (unsigned char)given[i] ^ (unsigned char)right[length ? i % length : 0];
    return !differs;
}

/* Whether credentials of Basic authentication (base64 of "user:password", without "Basic ") have
 * the key as password, for any user name. False, too: malformed, or out of memory. */
static bool basic_auth_matches(const char *credentials, const char *key)
{
    size_t size;
    char *text = zi_base64_decode(credentials, &size);
    const char *colon = text ? strchr(text, ':') : NULL;
    bool same = colon && equal_constant_time(colon + 1, key);
    free(text);
    return same;
}

/* Whether a header (X-API-Key, or Authorization with Bearer or Basic) carries the API key; the
 * cookie does not count. False when the server has none. */
static bool has_api_key(const zi_access *access, const zi_access_headers *headers)
{
    const char *authorization = headers->authorization;
    if (!access->key) return false;
    return (headers->key && equal_constant_time(headers->key, access->key)) ||
           (authorization && !strncasecmp(authorization, "Bearer ", 7) &&
            equal_constant_time(authorization + 7, access->key)) ||
           (authorization && !strncasecmp(authorization, "Basic ", 6) &&
            basic_auth_matches(authorization + 6, access->key));
}

bool zi_access_host_allowed(const zi_access *access, const zi_access_headers *headers)
{
    char name[MAX_HOST_NAME];
    if (has_api_key(access, headers)) return true;
    if (!headers->host || !parse_host_name(headers->host, name)) return false;
    /* A literal IP address cannot be rebound; a name can, unless it is this machine's. */
    if (!strcasecmp(name, "localhost")) return true;
    if (access->loopback_only) return is_loopback(name) && is_ip_address(name);
    if (is_ip_address(name)) return true;
    cut_local(name);
    return (access->own_names[0][0] && !strcasecmp(name, access->own_names[0])) ||
           (access->own_names[1][0] && !strcasecmp(name, access->own_names[1]));
}

bool zi_access_origin_allowed(const zi_access_headers *headers)
{
    const char *origin = headers->origin;
    if (origin) {
        const char *host = !strncmp(origin, "http://", 7)    ? origin + 7
                           : !strncmp(origin, "https://", 8) ? origin + 8
                                                             : NULL;
        return host && headers->host && !strcasecmp(host, headers->host);
    }
    return !headers->site || !strcmp(headers->site, "same-origin") ||
           !strcmp(headers->site, "none");
}

bool zi_access_authenticated(const zi_access *access, const zi_access_headers *headers)
{
    return !access->key || has_api_key(access, headers) ||
           (headers->cookie && equal_constant_time(headers->cookie, access->token));
}

bool zi_access_needs_key(const zi_access *access)
{
    return access->key != NULL;
}

const char *zi_access_login(const zi_access *access, const char *key)
{
    return !access->key || equal_constant_time(key, access->key) ? access->token : NULL;
}
