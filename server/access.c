#include "server/access.h"
#include "server/base64.h"
#include "server/guesses.h"

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
    bool loopback_only;                        /* listens on loopback only */
    const char *const *origins, *const *hosts; /* allowed ones; NULL ends a list */
    zi_ip_range *proxies;                      /* [proxy_count] */
    size_t proxy_count;
    char *public_url;                /* NULL: none */
    size_t public_origin;            /* length of its origin as browsers send it */
    char public_host[MAX_HOST_NAME]; /* "": none */
    zi_guesses *guesses;
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

static const char host_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:";

bool zi_host_valid(const char *text)
{
    char name[MAX_HOST_NAME];
    bool brackets = *text == '[';
    if (strlen(text) >= MAX_HOST_NAME || !parse_host_name(text, name)) return false;
    const char *port = text + strlen(name) + (brackets ? 2 : 0);
    return !name[strspn(name, host_characters)] &&
           (!*port || (port[1] && !port[1 + strspn(port + 1, "0123456789")]));
}

/* ---- lists ---- */

bool zi_origin_valid(const char *text)
{
    char host[MAX_HOST_NAME];
    const char *separator = strstr(text, "://");
    if (!separator || separator == text) return false;
    size_t scheme = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    if (text + scheme != separator || strlen(separator + 3) >= sizeof host) return false;
    snprintf(host, sizeof host, "%s", separator + 3);
    size_t length = strlen(host);
    if (length && host[length - 1] == '/') host[length - 1] = 0;
    return zi_host_valid(host);
}

/* Returns the length of an origin [length] in the form in which browsers send it: without a slash
 * at its end and the usual port of its scheme. */
static size_t origin_length(const char *origin, size_t length)
{
    if (length && origin[length - 1] == '/') length--;
    if (!strncmp(origin, "https://", 8) && !strncmp(origin + length - 4, ":443", 4)) length -= 4;
    if (!strncmp(origin, "http://", 7) && !strncmp(origin + length - 3, ":80", 3)) length -= 3;
    return length;
}

/* Whether text is the name of a host or an address, which may have a port, or "*". */
static bool is_host(const char *text)
{
    return !strcmp(text, "*") || is_ip_address(text) || zi_host_valid(text);
}

/* Keeps the allowed origins and hosts and parses the trusted proxies. False: an item is malformed,
 * or out of memory; *error is set. */
static bool set_lists(zi_access *access, const zi_server_options *options, zi_error *error)
{
    static const char *const none[] = {NULL};
    const char *const *proxy = options->trusted_proxies ? options->trusted_proxies : none;
    access->origins = options->allow_origins ? options->allow_origins : none;
    access->hosts = options->allow_hosts ? options->allow_hosts : none;
    for (const char *const *origin = access->origins; *origin; origin++)
        if (strcmp(*origin, "*") != 0 && !zi_origin_valid(*origin))
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "allow_origin",
                                "'%s' is not the origin of a web page; write its scheme and host "
                                "without a path, such as https://app.example, or * for all pages",
                                *origin);
    for (const char *const *host = access->hosts; *host; host++)
        if (!is_host(*host))
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "allow_host",
                                "'%s' is not the name of a host; write the name without scheme and "
                                "path, such as images.example, or * for all names",
                                *host);
    size_t count = 0;
    while (proxy[count]) count++;
    access->proxies = calloc(count + 1, sizeof *access->proxies);
    if (!access->proxies) return zi_error_no_memory(error, count);
    for (; *proxy; proxy++)
        if (!zi_ip_range_parse(*proxy, &access->proxies[access->proxy_count++]))
            return zi_error_set(
                error, ZI_ERROR_INVALID_ARGUMENT, "trusted_proxy",
                "'%s' is not an IP address or network; write the proxy's address, such "
                "as 10.0.0.2, or a network that contains only proxies, such as "
                "172.18.0.0/24",
                *proxy);
    return true;
}

/* Keeps a copy of the URL without slashes at its end; NULL is none. False: it is no URL of the form
 * http://HOST[:PORT][/PATH], or out of memory; *error is set. */
static bool set_public_url(zi_access *access, const char *url, zi_error *error)
{
    char host[MAX_HOST_NAME];
    if (!url) return true;
    size_t scheme = !strncmp(url, "http://", 7) ? 7 : !strncmp(url, "https://", 8) ? 8 : 0;
    size_t length = scheme ? strcspn(url + scheme, "/") : 0;
    bool ok = length && length < sizeof host;
    snprintf(host, sizeof host, "%.*s", (int)(ok ? length : 0), url + scheme);
    for (const char *c = url; *c; c++) ok = ok && *c > ' ' && *c < 127 && !strchr("\"<>\\?#", *c);
    if (!ok || strlen(url) > 400 || !zi_host_valid(host))
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "public_url",
            "'%s' is not a URL for links; write http:// or https://, a host and, if "
            "needed, a path, such as https://images.example/zimage: at most 400 "
            "ASCII characters, without blanks and without ? # \" < > \\",
            url);
    access->public_url = strdup(url);
    if (!access->public_url) return zi_error_no_memory(error, strlen(url));
    access->public_origin = origin_length(url, scheme + length);
    for (size_t end = strlen(url); access->public_url[end - 1] == '/';)
        access->public_url[--end] = 0;
    return parse_host_name(host, access->public_host);
}

/* ---- start and end ---- */

/* Checks that "*" is not in a list, which may be NULL: a page of any site could use a server
 * without a key. False: it is, and *error is set for the field. */
static bool check_no_wildcard(const char *const *list, const char *field, zi_error *error)
{
    for (; list && *list; list++)
        if (!strcmp(*list, "*"))
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, field,
                                "with *, web pages of any site could use the server through a "
                                "visitor's browser, since no API key is set; set one, or allow "
                                "access without a key");
    return true;
}

/* Checks the API key and whether one is needed. False: *error is set. */
static bool check_key_option(const zi_server_options *options, zi_error *error)
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
                            "is not valid UTF-8 text; give a key of UTF-8 characters");
    if (!is_loopback(options->host) && !options->key && !options->insecure)
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "host",
            "%s can be reached from other machines, but no API key is set; set one, or "
            "allow access without a key",
            options->host);
    if (options->key || options->insecure) return true;
    return check_no_wildcard(options->allow_origins, "all_origins", error) &&
           check_no_wildcard(options->allow_hosts, "all_hosts", error);
}

/* Sets the names of this server that Host may have. */
static void set_own_names(zi_access *access, const char *host)
{
    if (host) snprintf(access->own_names[0], MAX_HOST_NAME, "%s", host);
    if (gethostname(access->own_names[1], MAX_HOST_NAME - 1) != 0) access->own_names[1][0] = 0;
    for (int i = 0; i < 2; i++) cut_local(access->own_names[i]);
}

bool zi_access_create(const zi_server_options *options, zi_access **out, zi_error *error)
{
    if (!check_key_option(options, error)) return false;
    zi_access *access = calloc(1, sizeof *access);
    if (!access) return zi_error_no_memory(error, sizeof *access);
    access->key = options->key;
    access->loopback_only = is_loopback(options->host);
    set_own_names(access, options->host);
    bool ok = make_token(access->token, error);
    ok = ok && (access->guesses = zi_guesses_create(error));
    if (!ok || !set_lists(access, options, error) ||
        !set_public_url(access, options->public_url, error)) {
        zi_access_free(access);
        return false;
    }
    *out = access;
    return true;
}

void zi_access_free(zi_access *access)
{
    if (!access) return;
    zi_guesses_free(access->guesses);
    free(access->proxies);
    free(access->public_url);
    free(access);
}

/* ---- requests ---- */

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

/* The password in credentials of Basic authentication (base64 of "user:password", without "Basic
 * "), in new memory; "": malformed. NULL: out of memory. */
static char *basic_password(const char *credentials)
{
    size_t size;
    char *text = zi_base64_decode(credentials, &size);
    const char *colon = text ? strchr(text, ':') : NULL;
    char *password = strdup(colon ? colon + 1 : "");
    free(text);
    return password;
}

/* Sets given to the keys that headers carry, for the caller to free, and returns their number.
 * Basic authentication that cannot be decoded carries "". Out of memory: one may be missing. */
static int given_keys(const zi_access_headers *headers, char *given[2])
{
    int count = 0;
    const char *authorization = headers->authorization;
    if (headers->key && (given[count] = strdup(headers->key))) count++;
    if (authorization && !strncasecmp(authorization, "Bearer ", 7))
        count += (given[count] = strdup(authorization + 7)) != NULL;
    else if (authorization && !strncasecmp(authorization, "Basic ", 6))
        count += (given[count] = basic_password(authorization + 6)) != NULL;
    return count;
}

/* Whether a key is right. A wrong one is recorded, a right one clears the record of the address. */
static bool key_matches(const zi_access *access, const char *key, const zi_ip *from)
{
    bool right = equal_constant_time(key, access->key);
    if (right)
        zi_guesses_clear(access->guesses, from);
    else
        zi_guesses_add_wrong(access->guesses, from, key);
    return right;
}

bool zi_access_check_key(const zi_access *access, const zi_access_headers *headers,
                         const zi_ip *from, unsigned *wait)
{
    char *given[2];
    int count = access->key ? given_keys(headers, given) : 0;
    bool right = false;
    *wait = count ? zi_guesses_wait(access->guesses, from) : 0;
    for (int i = 0; i < count; i++) {
        right = right || (!*wait && key_matches(access, given[i], from));
        free(given[i]);
    }
    return right;
}

/* Whether name, without brackets and port, is in the list of allowed hosts. */
static bool is_listed_host(const zi_access *access, const char *name)
{
    char listed[MAX_HOST_NAME];
    for (const char *const *host = access->hosts; *host; host++) {
        if (!strcmp(*host, "*") || !strcasecmp(*host, name)) return true;
        if (!is_ip_address(*host) && parse_host_name(*host, listed) && !strcasecmp(listed, name))
            return true;
    }
    return access->public_host[0] && !strcasecmp(access->public_host, name);
}

bool zi_access_host_allowed(const zi_access *access, const zi_access_headers *headers)
{
    char name[MAX_HOST_NAME];
    if (!headers->host || !parse_host_name(headers->host, name)) return false;
    /* A literal IP address cannot be rebound; a name can, unless it is this machine's. */
    if (!strcasecmp(name, "localhost") || is_listed_host(access, name)) return true;
    if (access->loopback_only) return is_loopback(name) && is_ip_address(name);
    if (is_ip_address(name)) return true;
    cut_local(name);
    return (access->own_names[0][0] && !strcasecmp(name, access->own_names[0])) ||
           (access->own_names[1][0] && !strcasecmp(name, access->own_names[1]));
}

/* Whether origin is listed, apart from what browsers leave out. */
static bool is_listed_origin(const zi_access *access, const char *origin)
{
    size_t length = strlen(origin);
    for (const char *const *listed = access->origins; *listed; listed++)
        if (!strcmp(*listed, "*") || (length == origin_length(*listed, strlen(*listed)) &&
                                      !strncasecmp(*listed, origin, length)))
            return true;
    return false;
}

zi_origin_state zi_access_origin(const zi_access *access, const zi_access_headers *headers)
{
    const char *origin = headers->origin;
    if (!origin) {
        bool own = !headers->site || !strcmp(headers->site, "same-origin") ||
                   !strcmp(headers->site, "none");
        return own ? ZI_ORIGIN_OWN : ZI_ORIGIN_OTHER;
    }
    const char *host = !strncmp(origin, "http://", 7)    ? origin + 7
                       : !strncmp(origin, "https://", 8) ? origin + 8
                                                         : NULL;
    if (host && headers->host && !strcasecmp(host, headers->host)) return ZI_ORIGIN_OWN;
    if (access->public_url && strlen(origin) == access->public_origin &&
        !strncasecmp(origin, access->public_url, access->public_origin))
        return ZI_ORIGIN_OWN;
    return is_listed_origin(access, origin) ? ZI_ORIGIN_ALLOWED : ZI_ORIGIN_OTHER;
}

const char *zi_access_cors_origin(const zi_access *access, const char *origin)
{
    for (const char *const *listed = access->origins; *listed; listed++)
        if (!strcmp(*listed, "*")) return "*";
    return origin;
}

bool zi_access_has_origins(const zi_access *access)
{
    return access->origins[0] != NULL;
}

bool zi_access_logged_in(const zi_access *access, const zi_access_headers *headers)
{
    return !access->key || (headers->cookie && equal_constant_time(headers->cookie, access->token));
}

bool zi_access_needs_key(const zi_access *access)
{
    return access->key != NULL;
}

const char *zi_access_login(const zi_access *access, const char *key, const zi_ip *from,
                            unsigned *wait)
{
    *wait = 0;
    if (!access->key) return access->token;
    *wait = zi_guesses_wait(access->guesses, from);
    return !*wait && key_matches(access, key, from) ? access->token : NULL;
}

const zi_ip_range *zi_access_proxies(const zi_access *access, size_t *count)
{
    *count = access->proxy_count;
    return access->proxies;
}

const char *zi_access_public_url(const zi_access *access)
{
    return access->public_url;
}
