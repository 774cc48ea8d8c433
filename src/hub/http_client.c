#include "hub/http_client.h"
#include "base/text.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    DEFAULT_TIMEOUT = 20, /* seconds without a connection, or below the speed limit */
    LOW_SPEED_LIMIT = 64, /* bytes per second */
    MAX_RETRY_AFTER = 300 /* seconds */
};

/* ---- origins ---- */

/* Returns a part of a parsed URL in new memory, for free(); NULL if it has none or memory is short.
 * flags: CURLU_... */
static char *url_part(CURLU *url, CURLUPart which, unsigned flags)
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
    char *user = code ? NULL : url_part(parsed, CURLUPART_USER, 0);
    if (!code) {
        out->scheme = url_part(parsed, CURLUPART_SCHEME, 0);
        out->host = url_part(parsed, CURLUPART_HOST, 0);
        out->port = url_part(parsed, CURLUPART_PORT, CURLU_DEFAULT_PORT);
    }
    curl_url_cleanup(parsed);
    bool is_http = out->scheme && (!strcmp(out->scheme, "https") || !strcmp(out->scheme, "http"));
    bool ok = is_http && out->host && *out->host && out->port && !user;
    if (!ok)
        zi_error_set(
            error, ZI_ERROR_NETWORK, url, "%s",
            !out->scheme ? "is not a URL, such as https://huggingface.co; correct the environment "
                           "variable HF_ENDPOINT"
            : !is_http   ? "begins neither with https:// nor with http://; correct HF_ENDPOINT if "
                           "you have set it, else try again later"
            : user
                ? "a URL with a user name is not allowed; remove the name and the @ from "
                  "HF_ENDPOINT"
                : "names no server; correct HF_ENDPOINT: it must be like https://huggingface.co");
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

/* IPv4 blocks that are not globally reachable (IANA special-purpose address registry). */
static const struct {
    uint8_t address[4];
    int bits;
} private_blocks[] = {
    {{0, 0, 0, 0}, 8},      {{10, 0, 0, 0}, 8},    {{100, 64, 0, 0}, 10}, {{127, 0, 0, 0}, 8},
    {{169, 254, 0, 0}, 16}, {{172, 16, 0, 0}, 12}, {{192, 0, 0, 0}, 24},  {{192, 168, 0, 0}, 16},
    {{198, 18, 0, 0}, 15},  {{224, 0, 0, 0}, 3},
};

/* Whether an IPv4 address in network byte order is in a block that is not globally reachable. */
static bool is_private_ipv4(const uint8_t a[4])
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

/* Whether an IPv6 address in network byte order is unique local, link-local, site-local or
 * multicast. One that stands for an IPv4 address (mapped, compatible, NAT64), and ::1, is judged as
 * the IPv4 address of its last four bytes. */
static bool is_private_ipv6(const uint8_t a[16])
{
    static const uint8_t zeros[12], mapped[12] = {[10] = 0xff, [11] = 0xff};
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (!memcmp(a, zeros, 12) || !memcmp(a, mapped, 12) || !memcmp(a, nat64, 12))
        return is_private_ipv4(a + 12);
    bool unique_local = (a[0] & 0xfe) == 0xfc, multicast = a[0] == 0xff;
    bool link_local = a[0] == 0xfe && (a[1] & 0x80) == 0x80; /* and site-local (deprecated) */
    return unique_local || link_local || multicast;
}

bool zi_sockaddr_is_private(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        struct sockaddr_in it;
        memcpy(&it, address, sizeof it);
        return is_private_ipv4((const uint8_t *)&it.sin_addr);
    }
    if (address->sa_family == AF_INET6) {
        struct sockaddr_in6 it;
        memcpy(&it, address, sizeof it);
        return is_private_ipv6(it.sin6_addr.s6_addr);
    }
    return true; /* such as a Unix socket */
}

bool zi_host_is_private(const char *host)
{
    uint8_t address[16];
    char bare[64];
    size_t length = strlen(host);
    if (!strcasecmp(host, "localhost") ||
        (length > 10 && !strcasecmp(host + length - 10, ".localhost")))
        return true;
    if (inet_pton(AF_INET, host, address) == 1) return is_private_ipv4(address);
    if (host[0] != '[' || length >= sizeof bare) return false;
    memcpy(bare, host + 1, length);
    bare[strcspn(bare, "]%")] = 0;
    return inet_pton(AF_INET6, bare, address) != 1 || is_private_ipv6(address);
}

/* ---- the client ---- */

/* Appends a copy of line to the list. False: memory is short, and the list is unchanged. */
static bool append_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer) *list = longer;
    return longer != NULL;
}

/* Whether the token has only printable ASCII characters other than spaces: a line break would
 * inject headers. */
static bool is_token_valid(const char *token)
{
    for (; *token; token++)
        if (*token <= ' ' || *token > '~') return false;
    return true;
}

/* Makes client->plain_headers ("Accept-Encoding: identity") and auth_headers, which add the hub's
 * token, if there is one, as "Authorization: Bearer". False with an error: the token is malformed
 * or too long (ZI_ERROR_NETWORK, subject "token"), or memory is short. The caller frees the lists
 * in any case. */
static bool init_request_headers(zi_http_client *client, zi_error *error)
{
    const char *token = client->hub->token;
    zi_text line;
    bool ok = append_header(&client->plain_headers, "Accept-Encoding: identity") &&
              append_header(&client->auth_headers, "Accept-Encoding: identity");
    if (!ok) return zi_error_no_memory(error, 64);
    if (!token || !*token) return true;
    if (!is_token_valid(token))
        return zi_error_set_in(
            error, ZI_ERROR_NETWORK, NULL, "token",
            "the hub's token (from HF_TOKEN, or the token file of huggingface_hub) has a space or "
            "a character that no token has; copy it again");
    zi_text_init(&line, 4096);
    zi_text_printf(&line, "Authorization: Bearer %s", token);
    ok = !line.failed && append_header(&client->auth_headers, line.data);
    zi_text_free(&line);
    return ok ||
           zi_error_set_in(error, ZI_ERROR_NETWORK, NULL, "token",
                           "the hub's token (from HF_TOKEN, or the token file of huggingface_hub) "
                           "has %zu characters, which is too long; copy it again",
                           strlen(token));
}

bool zi_http_client_open(zi_http_client *client, const zi_hub *hub, zi_error *error)
{
    const char *endpoint = hub->endpoint ? hub->endpoint : "https://huggingface.co";
    *client = (zi_http_client){.hub = hub};
    size_t length = strlen(endpoint);
    while (length > 0 && endpoint[length - 1] == '/') length--;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return zi_error_set(error, ZI_ERROR_IO, NULL,
                            "the network library (libcurl) cannot be started; close other programs "
                            "and try again, or install it again");
    client->endpoint = strndup(endpoint, length);
    bool ok = client->endpoint || zi_error_no_memory(error, length);
    ok = ok && zi_url_origin_parse(client->endpoint, &client->origin, error) &&
         init_request_headers(client, error);
    if (ok)
        client->endpoint_is_private = zi_host_is_private(client->origin.host);
    else
        zi_http_client_close(client);
    return ok;
}

void zi_http_client_close(zi_http_client *client)
{
    curl_slist_free_all(client->auth_headers);
    curl_slist_free_all(client->plain_headers);
    zi_url_origin_free(&client->origin);
    free(client->endpoint);
    *client = (zi_http_client){0};
    curl_global_cleanup();
}

/* ---- one request ---- */

static const struct {
    const char *name;
    size_t offset, size;
} known_headers[] = {
    {"content-range", offsetof(zi_http_response_headers, content_range),
     sizeof(((zi_http_response_headers *)0)->content_range)},
    {"etag", offsetof(zi_http_response_headers, etag),
     sizeof(((zi_http_response_headers *)0)->etag)},
    {"x-linked-etag", offsetof(zi_http_response_headers, linked_etag),
     sizeof(((zi_http_response_headers *)0)->linked_etag)},
    {"x-repo-commit", offsetof(zi_http_response_headers, commit),
     sizeof(((zi_http_response_headers *)0)->commit)},
    {"x-error-code", offsetof(zi_http_response_headers, error_code),
     sizeof(((zi_http_response_headers *)0)->error_code)},
    {"x-error-message", offsetof(zi_http_response_headers, error_message),
     sizeof(((zi_http_response_headers *)0)->error_message)},
};

/* Copies the first line of a header's value of `length` bytes without surrounding blanks, truncated
 * to size - 1 characters and NUL-terminated. Values are shown in errors, so control and non-ASCII
 * characters (terminal escapes) become '?'. */
static void copy_header_value(char *out, size_t size, const char *from, size_t length)
{
    size_t n = 0;
    while (length && (*from == ' ' || *from == '\t')) from++, length--;
    for (; n + 1 < size && n < length && from[n] != '\r' && from[n] != '\n'; n++)
        out[n] = from[n] < ' ' || from[n] > '~' ? '?' : from[n];
    while (n && out[n - 1] == ' ') n--;
    out[n] = 0;
}

/* CURLOPT_HEADERFUNCTION for one line; user: the request. Keeps the values of known headers in
 * request->headers, which a status line clears. Returns the line's size: no line is refused. */
static size_t read_header(char *line, size_t one, size_t count, void *user)
{
    zi_http_request *request = user;
    size_t size = one * count;
    if (size >= 5 && !memcmp(line, "HTTP/", 5)) request->headers = (zi_http_response_headers){0};
    for (size_t i = 0; i < sizeof known_headers / sizeof *known_headers; i++) {
        size_t length = strlen(known_headers[i].name);
        if (size <= length || line[length] != ':' ||
            strncasecmp(line, known_headers[i].name, length) != 0)
            continue;
        copy_header_value((char *)&request->headers + known_headers[i].offset,
                          known_headers[i].size, line + length + 1, size - length - 1);
    }
    return size;
}

/* CURLOPT_OPENSOCKETFUNCTION; user: the request. Opens a socket. A private address of another host
 * than the endpoint is refused, and private_address_blocked set, unless it is the proxy's or the
 * endpoint is private, too (as its own connections tell, which are allowed). Checked here, so that
 * a name cannot resolve to another address than the one checked. */
static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    zi_http_request *request = user;
    (void)purpose;
    bool is_private = zi_sockaddr_is_private(&address->addr);
    if (request->client->hub->proxy) {
        /* The address is the proxy's. */
    } else if (request->to_endpoint) {
        request->client->endpoint_is_private |= is_private;
    } else if (is_private && !request->client->endpoint_is_private) {
        request->private_address_blocked = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype, address->protocol);
    if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

/* CURLOPT_XFERINFOFUNCTION: asks the client's should_continue, if any; nonzero aborts the transfer.
 * user: the request. */
static int check_cancelled(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const zi_http_request *request = user;
    (void)a, (void)b, (void)c, (void)d;
    return request->client->should_continue &&
           !request->client->should_continue(request->client->user);
}

bool zi_http_request_init(zi_http_client *client, zi_http_request *request, zi_error *error)
{
    const zi_hub *hub = client->hub;
    *request = (zi_http_request){.client = client, .easy = curl_easy_init()};
    CURL *easy = request->easy;
    if (!easy) return zi_error_no_memory(error, 1 << 14);
    long timeout = hub->timeout > 0 ? hub->timeout : DEFAULT_TIMEOUT;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L); /* redirects are checked first */
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "zimage/" ZI_VERSION);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, request->error_text);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, timeout);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, timeout);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)LOW_SPEED_LIMIT);
    curl_easy_setopt(easy, CURLOPT_PROXY, hub->proxy ? hub->proxy : "");
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, read_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, request);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, request);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, check_cancelled);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, request);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    if (hub->ca_file) curl_easy_setopt(easy, CURLOPT_CAINFO, hub->ca_file);
    return true;
}

void zi_http_request_cleanup(zi_http_request *request)
{
    curl_easy_cleanup(request->easy);
    *request = (zi_http_request){0};
}

bool zi_http_request_set_url(zi_http_request *request, const char *url, zi_error *error)
{
    zi_http_client *client = request->client;
    zi_url_origin origin;
    if (!zi_url_origin_parse(url, &origin, error)) return false;
    bool ok = true, plain = !strcmp(client->origin.scheme, "http");
    request->to_endpoint = zi_url_origin_equal(&origin, &client->origin);
    snprintf(request->host, sizeof request->host, "%s", origin.host);
    if (!plain && strcmp(origin.scheme, "https") != 0)
        ok = zi_error_set(
            error, ZI_ERROR_NETWORK, url,
            "the hub redirects from https to this address without encryption, so zimage does not "
            "follow; check HF_ENDPOINT if you have set it, or try again later");
    else if (!request->to_endpoint && !client->endpoint_is_private &&
             zi_host_is_private(origin.host))
        ok = zi_error_set(
            error, ZI_ERROR_NETWORK, url,
            "the hub redirects to this server, whose address is one of a local network, so zimage "
            "does not follow; check HF_ENDPOINT if you have set it, or the DNS of your network");
    zi_url_origin_free(&origin);
    request->private_address_blocked = false;
    request->error_text[0] = 0;
    request->headers = (zi_http_response_headers){0};
    if (ok && curl_easy_setopt(request->easy, CURLOPT_URL, url) != CURLE_OK)
        ok = zi_error_no_memory(error, strlen(url));
    curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER,
                     request->to_endpoint ? client->auth_headers : client->plain_headers);
    return ok;
}

long zi_http_request_status(const zi_http_request *request)
{
    long status = 0;
    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

char *zi_http_request_redirect_url(const zi_http_request *request, zi_error *error)
{
    char *url = NULL;
    curl_easy_getinfo(request->easy, CURLINFO_REDIRECT_URL, &url);
    char *copy = url ? strdup(url) : NULL;
    if (!copy)
        zi_error_set(error, ZI_ERROR_NETWORK, request->host,
                     "redirects without saying where to; try again later");
    return copy;
}

/* ---- errors and retries ---- */

bool zi_http_request_transport_error(const zi_http_request *request, CURLcode code, zi_error *error)
{
    const char *why = request->error_text[0] ? request->error_text : curl_easy_strerror(code);
    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
        return zi_error_cancelled(error);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return zi_error_set(error, ZI_ERROR_NETWORK, request->host,
                            "no secure connection: %s; if your network has certificates of its "
                            "own, set the environment variable SSL_CERT_FILE to a file with them",
                            why);
    case CURLE_OPERATION_TIMEDOUT:
        return zi_error_set(error, ZI_ERROR_NETWORK, request->host,
                            "timed out: %s; try again, what has arrived is kept", why);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        if (request->private_address_blocked)
            return zi_error_set(error, ZI_ERROR_NETWORK, request->host,
                                "the hub redirects to this server, whose address is one of a local "
                                "network, so zimage does not follow; check HF_ENDPOINT if you have "
                                "set it, or the DNS of your network");
        return zi_error_set(error, ZI_ERROR_NETWORK, request->host,
                            "cannot be reached: %s; check your network connection, and https_proxy "
                            "if you use a proxy; HF_ENDPOINT can name another server",
                            why);
    default:
        return zi_error_set(error, ZI_ERROR_NETWORK, request->host,
                            "the connection failed: %s; try again, what has arrived is kept", why);
    }
}

bool zi_http_request_is_retryable(const zi_http_request *request, CURLcode code)
{
    switch (code) {
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_WEIRD_SERVER_REPLY:
        return true;
    case CURLE_COULDNT_CONNECT:
        return !request->private_address_blocked;
    default:
        return false;
    }
}

/* Fills error for the endpoint's 401, 403 or 404, by its X-Error-Code and whether there is a token,
 * and returns false. ZI_ERROR_NETWORK for a gated repository and a listed file that is missing,
 * else ZI_ERROR_NOT_FOUND. repo is the subject; `what` names the file. */
static bool explain_access_error(const zi_http_request *request, const char *repo, const char *what,
                                 zi_error *error)
{
    const zi_http_client *client = request->client;
    const char *code = request->headers.error_code;
    bool has_token = client->hub->token && *client->hub->token;
    if (!strcmp(code, "GatedRepo"))
        return zi_error_set(
            error, ZI_ERROR_NETWORK, repo, "the repository is gated: accept its terms at %s/%s%s",
            client->endpoint, repo,
            has_token ? " with the account of your token"
                      : ", and set the environment variable HF_TOKEN to a token of your account");
    if (!strcmp(code, "RevisionNotFound"))
        return zi_error_set(
            error, ZI_ERROR_NOT_FOUND, repo,
            "the repository has no such revision as %s; name a branch, tag or commit of it",
            client->revision ? client->revision : "this one");
    if (!strcmp(code, "EntryNotFound"))
        return zi_error_set(error, ZI_ERROR_NETWORK, repo,
                            "%s: the hub lists this file, but does not have it; try again later",
                            what);
    if (has_token)
        return zi_error_set(
            error, ZI_ERROR_NOT_FOUND, repo,
            "there is no such repository, or the hub does not accept your token for it; check the "
            "name, and the token (HF_TOKEN) at %s/settings/tokens",
            client->endpoint);
    return zi_error_set(
        error, ZI_ERROR_NOT_FOUND, repo,
        "there is no such repository at %s, or it is private; check the name, or set the "
        "environment variable HF_TOKEN to a token of an account that may read it",
        client->endpoint);
}

bool zi_http_request_status_error(const zi_http_request *request, const char *repo,
                                  const char *what, zi_error *error)
{
    long status = zi_http_request_status(request);
    if (request->to_endpoint && (status == 401 || status == 403 || status == 404))
        return explain_access_error(request, repo, what, error);
    const char *message = request->headers.error_message;
    return zi_error_set(error, ZI_ERROR_NETWORK, repo, "%s: %s answers with status %ld%s%s%s", what,
                        request->host, status, *message ? ": " : "", message,
                        status == 429 ? ", too many requests; wait a while and try again"
                        : status >= 500
                            ? "; the server has a problem, try again later"
                            : "; try again later, and check HF_ENDPOINT if you have set it");
}

double zi_http_request_retry_delay(const zi_http_request *request, int attempts)
{
    curl_off_t seconds = 0;
    curl_easy_getinfo(request->easy, CURLINFO_RETRY_AFTER, &seconds);
    if (seconds > MAX_RETRY_AFTER) return -1;
    return seconds > 0 ? (double)seconds : 0.25 * (double)(1 << attempts);
}

/* ---- fetching a text ---- */

/* CURLOPT_WRITEFUNCTION: appends to the zi_text `user`. 0, which aborts the transfer: its ceiling
 * is passed, or memory is short. */
static size_t append_body(char *data, size_t one, size_t count, void *user)
{
    zi_text *text = user;
    zi_text_append(text, data, one * count);
    return text->failed ? 0 : one * count;
}

/* Sleeps for these seconds, asking should_continue every 50 ms. False: it cancels; no error is
 * set. */
static bool wait_unless_cancelled(const zi_http_client *client, double seconds)
{
    for (; seconds > 0; seconds -= 0.05) {
        if (client->should_continue && !client->should_continue(client->user)) return false;
        usleep(50000);
    }
    return true;
}

/* Makes one attempt to get url into *text, redirects included; what text had is dropped. False with
 * an error; *retryable then tells whether another attempt may succeed. Sets *reached to true, as
 * for zi_http_get_text, or leaves it. */
static bool fetch_text(zi_http_request *request, const char *url, const char *repo,
                       const char *what, zi_text *text, bool *retryable, bool *reached,
                       zi_error *error)
{
    char *next = strdup(url);
    bool ok = next || zi_error_no_memory(error, strlen(url));
    for (int redirects = 0; ok; redirects++) {
        zi_text_free(text);
        ok = zi_http_request_set_url(request, next, error);
        CURLcode code = ok ? curl_easy_perform(request->easy) : CURLE_OK;
        long status = ok ? zi_http_request_status(request) : 0;
        if (!ok) break;
        *retryable = zi_http_request_is_retryable(request, code) ||
                     (!code && (status == 429 || status >= 500));
        if (code == CURLE_WRITE_ERROR && text->failed)
            ok = zi_error_set(error, ZI_ERROR_NETWORK, repo,
                              "%s: the answer of %s is larger than %zu bytes, so this may be no "
                              "hub; check HF_ENDPOINT if you have set it, or try again later",
                              what, request->host, text->ceiling);
        else if (code)
            ok = zi_http_request_transport_error(request, code, error);
        *reached |= !code && status < 500 && status != 429;
        if (!ok || status == 200) break;
        if (status < 300 || status >= 400) {
            ok = zi_http_request_status_error(request, repo, what, error);
            break;
        }
        free(next);
        next = zi_http_request_redirect_url(request, error);
        ok = next && (redirects < ZI_MAX_REDIRECTS ||
                      zi_error_set(error, ZI_ERROR_NETWORK, repo,
                                   "%s: too many redirects, more than %d; try again later, and "
                                   "check HF_ENDPOINT if you have set it",
                                   what, ZI_MAX_REDIRECTS));
    }
    free(next);
    return ok;
}

bool zi_http_get_text(zi_http_client *client, const char *url, const char *repo, const char *what,
                      size_t max, char **out, bool *reached, zi_error *error)
{
    zi_http_request request;
    zi_text text;
    bool ok = false, retryable = true;
    *reached = false;
    zi_text_init(&text, max);
    if (!zi_http_request_init(client, &request, error)) return false;
    curl_easy_setopt(request.easy, CURLOPT_WRITEFUNCTION, append_body);
    curl_easy_setopt(request.easy, CURLOPT_WRITEDATA, &text);
    for (int attempts = 0; !ok && retryable; attempts++) {
        retryable = false;
        ok = fetch_text(&request, url, repo, what, &text, &retryable, reached, error);
        double wait = ok ? 0 : zi_http_request_retry_delay(&request, attempts);
        if (ok || attempts + 1 == ZI_MAX_ATTEMPTS || wait < 0) break;
        if (retryable && !wait_unless_cancelled(client, wait))
            retryable = zi_error_cancelled(error);
    }
    zi_http_request_cleanup(&request);
    *out = ok ? zi_text_take(&text) : NULL;
    if (ok && !*out) ok = zi_error_no_memory(error, max);
    zi_text_free(&text);
    return ok;
}
