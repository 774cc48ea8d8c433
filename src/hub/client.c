#include "hub/client.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { DEFAULT_TIMEOUT = 20, LEAST_BYTES_A_SECOND = 64, MAX_PATIENCE = 300 };

/* ---- the client ---- */

static bool add_header(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (longer) *list = longer;
    return longer != NULL;
}

/* What would end the header's line must not get into it. */
static bool is_token(const char *token)
{
    for (; *token; token++)
        if (*token <= ' ' || *token > '~') return false;
    return true;
}

static bool make_headers(zi_http_client *client, zi_error *error)
{
    const char *token = client->hub->token;
    zi_text line;
    bool ok = add_header(&client->without, "Accept-Encoding: identity") &&
              add_header(&client->with_token, "Accept-Encoding: identity");
    if (!ok) return zi_error_no_memory(error, 64);
    if (!token || !*token) return true;
    if (!is_token(token))
        return zi_error_set_in(error, ZI_ERROR_NETWORK, NULL, "token",
                               "the hub's token has blanks or other odd bytes");
    zi_text_init(&line, 4096);
    zi_text_printf(&line, "Authorization: Bearer %s", token);
    ok = !line.failed && add_header(&client->with_token, line.data);
    zi_text_free(&line);
    return ok ||
           zi_error_set_in(error, ZI_ERROR_NETWORK, NULL, "token", "the hub's token is too long");
}

bool zi_http_client_open(zi_http_client *client, const zi_hub *hub, zi_error *error)
{
    const char *endpoint = hub->endpoint ? hub->endpoint : "https://huggingface.co";
    *client = (zi_http_client){.hub = hub};
    size_t length = strlen(endpoint);
    while (length > 0 && endpoint[length - 1] == '/') length--;
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        return zi_error_set(error, ZI_ERROR_IO, NULL, "libcurl cannot start");
    client->endpoint = strndup(endpoint, length);
    bool ok = client->endpoint || zi_error_no_memory(error, length);
    ok = ok && zi_url_origin_parse(client->endpoint, &client->origin, error) &&
         make_headers(client, error);
    if (ok)
        client->is_private = zi_host_is_private(client->origin.host);
    else
        zi_http_client_close(client);
    return ok;
}

void zi_http_client_close(zi_http_client *client)
{
    curl_slist_free_all(client->with_token);
    curl_slist_free_all(client->without);
    zi_url_origin_free(&client->origin);
    free(client->endpoint);
    *client = (zi_http_client){0};
    curl_global_cleanup();
}

/* ---- a request ---- */

static const struct {
    const char *name;
    size_t offset, size;
} known_headers[] = {
    {"content-range", offsetof(zi_answer, range), sizeof(((zi_answer *)0)->range)},
    {"etag", offsetof(zi_answer, etag), sizeof(((zi_answer *)0)->etag)},
    {"x-linked-etag", offsetof(zi_answer, linked_etag), sizeof(((zi_answer *)0)->linked_etag)},
    {"x-repo-commit", offsetof(zi_answer, commit), sizeof(((zi_answer *)0)->commit)},
    {"x-error-code", offsetof(zi_answer, code), sizeof(((zi_answer *)0)->code)},
    {"x-error-message", offsetof(zi_answer, message), sizeof(((zi_answer *)0)->message)},
};

/* Errors are shown: what steers a terminal does not get into them. */
static void copy_value(char *out, size_t size, const char *from, size_t length)
{
    size_t n = 0;
    while (length && (*from == ' ' || *from == '\t')) from++, length--;
    for (; n + 1 < size && n < length && from[n] != '\r' && from[n] != '\n'; n++)
        out[n] = from[n] < ' ' || from[n] > '~' ? '?' : from[n];
    while (n && out[n - 1] == ' ') n--;
    out[n] = 0;
}

static size_t read_header(char *line, size_t one, size_t count, void *user)
{
    zi_http_request *ask = user;
    size_t size = one * count;
    if (size >= 5 && !memcmp(line, "HTTP/", 5)) ask->answer = (zi_answer){0};
    for (size_t i = 0; i < sizeof known_headers / sizeof *known_headers; i++) {
        size_t length = strlen(known_headers[i].name);
        if (size <= length || line[length] != ':' ||
            strncasecmp(line, known_headers[i].name, length) != 0)
            continue;
        copy_value((char *)&ask->answer + known_headers[i].offset, known_headers[i].size,
                   line + length + 1, size - length - 1);
    }
    return size;
}

/* Looks at the address that a name stands for, when a connection is made. */
static curl_socket_t open_socket(void *user, curlsocktype purpose, struct curl_sockaddr *address)
{
    zi_http_request *ask = user;
    (void)purpose;
    bool is_private = zi_sockaddr_is_private(&address->addr);
    if (ask->client->hub->proxy) {
        /* The address is the proxy's. */
    } else if (ask->to_endpoint) {
        ask->client->is_private |= is_private;
    } else if (is_private && !ask->client->is_private) {
        ask->refused = true;
        return CURL_SOCKET_BAD;
    }
    int fd = socket(address->family, address->socktype, address->protocol);
    if (fd >= 0) fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

static int look_up(void *user, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const zi_http_request *ask = user;
    (void)a, (void)b, (void)c, (void)d;
    return ask->client->should_continue && !ask->client->should_continue(ask->client->user);
}

bool zi_http_request_init(zi_http_client *client, zi_http_request *ask, zi_error *error)
{
    const zi_hub *hub = client->hub;
    *ask = (zi_http_request){.client = client, .easy = curl_easy_init()};
    CURL *easy = ask->easy;
    if (!easy) return zi_error_no_memory(error, 1 << 14);
    long timeout = hub->timeout > 0 ? hub->timeout : DEFAULT_TIMEOUT;
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L); /* every hop is looked at */
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "zimage/" ZI_VERSION);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, ask->text);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, timeout);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, timeout);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, (long)LEAST_BYTES_A_SECOND);
    curl_easy_setopt(easy, CURLOPT_PROXY, hub->proxy ? hub->proxy : "");
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, read_header);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, ask);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, ask);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, look_up);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, ask);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    if (hub->ca_file) curl_easy_setopt(easy, CURLOPT_CAINFO, hub->ca_file);
    return true;
}

void zi_http_request_cleanup(zi_http_request *ask)
{
    curl_easy_cleanup(ask->easy);
    *ask = (zi_http_request){0};
}

bool zi_http_request_set_url(zi_http_request *ask, const char *url, zi_error *error)
{
    zi_http_client *client = ask->client;
    zi_url_origin origin;
    if (!zi_url_origin_parse(url, &origin, error)) return false;
    bool ok = true, plain = !strcmp(client->origin.scheme, "http");
    ask->to_endpoint = zi_url_origin_equal(&origin, &client->origin);
    snprintf(ask->host, sizeof ask->host, "%s", origin.host);
    if (!plain && strcmp(origin.scheme, "https") != 0)
        ok = zi_error_set(error, ZI_ERROR_NETWORK, url, "leads to another scheme than https");
    else if (!ask->to_endpoint && !client->is_private && zi_host_is_private(origin.host))
        ok = zi_error_set(error, ZI_ERROR_NETWORK, url, "the hub leads to a private address");
    zi_url_origin_free(&origin);
    ask->refused = false;
    ask->text[0] = 0;
    ask->answer = (zi_answer){0};
    if (ok && curl_easy_setopt(ask->easy, CURLOPT_URL, url) != CURLE_OK)
        ok = zi_error_no_memory(error, strlen(url));
    curl_easy_setopt(ask->easy, CURLOPT_HTTPHEADER,
                     ask->to_endpoint ? client->with_token : client->without);
    return ok;
}

long zi_http_request_status(const zi_http_request *ask)
{
    long status = 0;
    curl_easy_getinfo(ask->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

char *zi_http_request_redirect_url(const zi_http_request *ask, zi_error *error)
{
    char *url = NULL;
    curl_easy_getinfo(ask->easy, CURLINFO_REDIRECT_URL, &url);
    char *copy = url ? strdup(url) : NULL;
    if (!copy) zi_error_set(error, ZI_ERROR_NETWORK, ask->host, "redirects to nowhere");
    return copy;
}

/* ---- what went wrong ---- */

bool zi_http_request_transport_error(const zi_http_request *ask, CURLcode code, zi_error *error)
{
    const char *why = ask->text[0] ? ask->text : curl_easy_strerror(code);
    switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
        return zi_error_cancelled(error);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return zi_error_set(error, ZI_ERROR_NETWORK, ask->host,
                            "its certificate is not accepted: %s", why);
    case CURLE_OPERATION_TIMEDOUT:
        return zi_error_set(error, ZI_ERROR_NETWORK, ask->host, "too slow, or silent: %s", why);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        if (ask->refused)
            return zi_error_set(error, ZI_ERROR_NETWORK, ask->host,
                                "the hub leads to a private address");
        return zi_error_set(error, ZI_ERROR_NETWORK, ask->host,
                            "cannot be reached (is there a network?): %s", why);
    default:
        return zi_error_set(error, ZI_ERROR_NETWORK, ask->host, "the connection broke: %s", why);
    }
}

bool zi_http_request_is_retryable(const zi_http_request *ask, CURLcode code)
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
        return !ask->refused;
    default:
        return false;
    }
}

/* What a gated or private repository, a wrong token or name look like. */
static bool denied(const zi_http_request *ask, const char *repo, const char *what, zi_error *error)
{
    const zi_http_client *client = ask->client;
    const char *code = ask->answer.code;
    bool has_token = client->hub->token && *client->hub->token;
    if (!strcmp(code, "GatedRepo"))
        return zi_error_set(error, ZI_ERROR_NETWORK, repo,
                            "the repository is gated: accept its terms at %s/%s%s",
                            client->endpoint, repo,
                            has_token ? " with the account of your token"
                                      : ", and set HF_TOKEN to a token of your account");
    if (!strcmp(code, "RevisionNotFound"))
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, repo, "the repository has no such revision");
    if (!strcmp(code, "EntryNotFound"))
        return zi_error_set(error, ZI_ERROR_NETWORK, repo,
                            "%s: the hub lists this file and does not have it", what);
    if (has_token)
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, repo,
                            "the token is not accepted, or there is no such repository; see "
                            "HF_TOKEN and %s/settings/tokens",
                            client->endpoint);
    return zi_error_set(error, ZI_ERROR_NOT_FOUND, repo,
                        "no such repository at %s, or a private one, which needs a token: set "
                        "HF_TOKEN",
                        client->endpoint);
}

bool zi_http_request_status_error(const zi_http_request *ask, const char *repo, const char *what,
                                  zi_error *error)
{
    long status = zi_http_request_status(ask);
    if (ask->to_endpoint && (status == 401 || status == 403 || status == 404))
        return denied(ask, repo, what, error);
    return zi_error_set(error, ZI_ERROR_NETWORK, repo, "%s: %s answers with status %ld%s%s", what,
                        ask->host, status, ask->answer.message[0] ? ": " : "", ask->answer.message);
}

double zi_http_request_retry_delay(const zi_http_request *ask, int tries)
{
    curl_off_t wish = 0;
    curl_easy_getinfo(ask->easy, CURLINFO_RETRY_AFTER, &wish);
    if (wish > MAX_PATIENCE) return -1;
    return wish > 0 ? (double)wish : 0.25 * (double)(1 << tries);
}

/* ---- texts ---- */

static size_t add_text(char *data, size_t one, size_t count, void *user)
{
    zi_text *text = user;
    zi_text_append(text, data, one * count);
    return text->failed ? 0 : one * count;
}

static bool sleep_a_while(const zi_http_client *client, double seconds)
{
    for (; seconds > 0; seconds -= 0.05) {
        if (client->should_continue && !client->should_continue(client->user)) return false;
        usleep(50000);
    }
    return true;
}

/* One request and its redirects. *again: it may go better another time. */
static bool fetch_text(zi_http_request *ask, const char *url, const char *repo, zi_text *text,
                       bool *again, bool *reached, zi_error *error)
{
    char *next = strdup(url);
    bool ok = next || zi_error_no_memory(error, strlen(url));
    for (int hop = 0; ok; hop++) {
        zi_text_free(text);
        ok = zi_http_request_set_url(ask, next, error);
        CURLcode code = ok ? curl_easy_perform(ask->easy) : CURLE_OK;
        long status = ok ? zi_http_request_status(ask) : 0;
        if (!ok) break;
        *again =
            zi_http_request_is_retryable(ask, code) || (!code && (status == 429 || status >= 500));
        if (code == CURLE_WRITE_ERROR && text->failed)
            ok = zi_error_set(error, ZI_ERROR_NETWORK, repo, "%s does not come to an end",
                              ask->host);
        else if (code)
            ok = zi_http_request_transport_error(ask, code, error);
        *reached |= !code && status < 500 && status != 429;
        if (!ok || status == 200) break;
        if (status < 300 || status >= 400) {
            ok = zi_http_request_status_error(ask, repo, "the list of files", error);
            break;
        }
        free(next);
        next = zi_http_request_redirect_url(ask, error);
        ok = next && (hop < ZI_MAX_REDIRECTS ||
                      zi_error_set(error, ZI_ERROR_NETWORK, repo, "too many redirects"));
    }
    free(next);
    return ok;
}

bool zi_http_get_text(zi_http_client *client, const char *url, const char *repo, size_t most,
                      char **out, bool *reached, zi_error *error)
{
    zi_http_request ask;
    zi_text text;
    bool ok = false, again = true;
    *reached = false;
    zi_text_init(&text, most);
    if (!zi_http_request_init(client, &ask, error)) return false;
    curl_easy_setopt(ask.easy, CURLOPT_WRITEFUNCTION, add_text);
    curl_easy_setopt(ask.easy, CURLOPT_WRITEDATA, &text);
    for (int tries = 0; !ok && again; tries++) {
        again = false;
        ok = fetch_text(&ask, url, repo, &text, &again, reached, error);
        double wait = ok ? 0 : zi_http_request_retry_delay(&ask, tries);
        if (ok || tries + 1 == ZI_MAX_ATTEMPTS || wait < 0) break;
        if (again && !sleep_a_while(client, wait)) again = zi_error_cancelled(error);
    }
    zi_http_request_cleanup(&ask);
    *out = ok ? zi_text_take(&text) : NULL;
    if (ok && !*out) ok = zi_error_no_memory(error, most);
    zi_text_free(&text);
    return ok;
}
