#include "hub/address.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* ---- URLs ---- */

static char *part(CURLU *url, CURLUPart which, unsigned flags)
{
    char *text = NULL, *copy = NULL;
    if (curl_url_get(url, which, &text, flags) == CURLUE_OK) copy = strdup(text);
    curl_free(text);
    return copy;
}

bool zi_url_origin_parse(const char *url, zi_url_origin *out, zi_error *error)
{
    CURLU *parsed = curl_url();
    *out = (zi_url_origin){0};
    if (!parsed) return zi_error_no_memory(error, strlen(url));
    CURLUcode code = curl_url_set(parsed, CURLUPART_URL, url, CURLU_NON_SUPPORT_SCHEME);
    char *user = code ? NULL : part(parsed, CURLUPART_USER, 0);
    if (!code) {
        out->scheme = part(parsed, CURLUPART_SCHEME, 0);
        out->host = part(parsed, CURLUPART_HOST, 0);
        out->port = part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    }
    curl_url_cleanup(parsed);
    bool web = out->scheme && (!strcmp(out->scheme, "https") || !strcmp(out->scheme, "http"));
    bool ok = web && out->host && *out->host && out->port && !user;
    if (!ok)
        zi_error_set(error, ZI_ERROR_NETWORK, url, "%s",
                     !out->scheme ? "not a URL"
                     : !web       ? "leads to another scheme than https"
                     : user       ? "a URL with a user's name is refused"
                                  : "not a URL with a host");
    free(user);
    if (!ok) zi_url_origin_free(out);
    return ok;
}

void zi_url_origin_free(zi_url_origin *origin)
{
    free(origin->scheme);
    free(origin->host);
    free(origin->port);
    *origin = (zi_url_origin){0};
}

bool zi_url_origin_equal(const zi_url_origin *a, const zi_url_origin *b)
{
    return !strcmp(a->scheme, b->scheme) && !strcasecmp(a->host, b->host) &&
           !strcmp(a->port, b->port);
}

/* ---- addresses ---- */

/* Blocks that the registry of special-purpose addresses calls not globally reachable. */
static const struct {
    uint8_t address[4];
    int bits;
} private_blocks[] = {
    {{0, 0, 0, 0}, 8},      {{10, 0, 0, 0}, 8},    {{100, 64, 0, 0}, 10}, {{127, 0, 0, 0}, 8},
    {{169, 254, 0, 0}, 16}, {{172, 16, 0, 0}, 12}, {{192, 0, 0, 0}, 24},  {{192, 168, 0, 0}, 16},
    {{198, 18, 0, 0}, 15},  {{224, 0, 0, 0}, 3},
};

static bool is_private_4(const uint8_t a[4])
{
    for (size_t i = 0; i < sizeof private_blocks / sizeof *private_blocks; i++) {
        const uint8_t *b = private_blocks[i].address;
        int bits = private_blocks[i].bits, whole = bits / 8;
        uint8_t mask = (uint8_t)(0xff00 >> bits % 8);
        if (!memcmp(a, b, (size_t)whole) && (bits % 8 == 0 || (a[whole] & mask) == b[whole]))
            return true;
    }
    return false;
}

static bool is_private_6(const uint8_t a[16])
{
    static const uint8_t zeros[12], mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t translated[12] = {0x00, 0x64, 0xff, 0x9b};
    if (!memcmp(a, zeros, 12) || !memcmp(a, mapped, 12) || !memcmp(a, translated, 12))
        return is_private_4(a + 12);
    bool unique_local = (a[0] & 0xfe) == 0xfc, multicast = a[0] == 0xff;
    bool link_local = a[0] == 0xfe && (a[1] & 0x80) == 0x80; /* and site-local, its forerunner */
    return unique_local || link_local || multicast;
}

bool zi_sockaddr_is_private(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in it;
        memcpy(&it, address, sizeof it);
        return is_private_4((const uint8_t *)&it.sin_addr);
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 it;
        memcpy(&it, address, sizeof it);
        return is_private_6(it.sin6_addr.s6_addr);
    }
    return true; /* a socket in the file system, say */
}

bool zi_host_is_private(const char *host)
{
    uint8_t address[16];
    char bare[64];
    size_t length = strlen(host);
    if (!strcasecmp(host, "localhost") ||
        (length > 10 && !strcasecmp(host + length - 10, ".localhost")))
        return true;
    if (inet_pton(AF_INET, host, address) == 1) return is_private_4(address);
    if (host[0] != '[' || length >= sizeof bare) return false;
    memcpy(bare, host + 1, length);
    bare[strcspn(bare, "]%")] = 0;
    return inet_pton(AF_INET6, bare, address) != 1 || is_private_6(address);
}

/* ---- names ---- */

/* Parts between slashes, none of them empty, "." or "..". */
static bool are_parts_valid(const char *name)
{
    for (const char *at = name;; at++) {
        size_t length = strcspn(at, "/");
        if (length == 0 || (at[0] == '.' && (length == 1 || (length == 2 && at[1] == '.'))))
            return false;
        at += length;
        if (!*at) return true;
    }
}

bool zi_relative_path_is_safe(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 400 || !zi_utf8_valid(name, length)) return false;
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '\\' || *c == ':') return false;
    return are_parts_valid(name);
}

static const char word[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

bool zi_repo_id_valid(const char *repo, size_t length)
{
    size_t owner = strspn(repo, word), name;
    if (owner == 0 || owner >= length || repo[owner] != '/') return false;
    name = strspn(repo + owner + 1, word);
    if (name == 0 || owner + 1 + name != length || length > 96) return false;
    char copy[128];
    snprintf(copy, sizeof copy, "%.*s", (int)length, repo);
    /* Two dashes stand for the slash in names of folders. */
    return are_parts_valid(copy) && !strstr(copy, "--");
}

bool zi_revision_valid(const char *revision)
{
    size_t length = strlen(revision);
    for (const char *c = revision; *c; c++)
        if (*c != '/' && !strchr(word, *c)) return false;
    return length > 0 && length <= 200 && are_parts_valid(revision);
}

bool zi_commit_hash_valid(const char *text)
{
    return strlen(text) == 40 && text[strspn(text, "0123456789abcdef")] == 0;
}
