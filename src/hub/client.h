/* Asking a hub: what is sent with a request, whom one may ask, and what went wrong in words. */
#ifndef ZI_HUB_CLIENT_H
#define ZI_HUB_CLIENT_H

#include "hub/address.h"

#include <curl/curl.h>

enum { ZI_MAX_REDIRECTS = 5, ZI_MAX_ATTEMPTS = 5 };

typedef struct {
    const zi_hub *hub;
    char *endpoint; /* without a slash behind it */
    zi_url_origin origin;
    bool is_private;                         /* the endpoint's address, as far as is known */
    struct curl_slist *with_token, *without; /* headers */
    bool (*should_continue)(void *user);     /* false: stop */
    void *user;
} zi_http_client;

/* What headers told; a new status line begins anew. What does not fit is cut. */
typedef struct {
    char range[96], etag[160], linked_etag[160], commit[64], code[48], message[200];
} zi_answer;

/* A request under way; it must not be moved. */
typedef struct {
    zi_http_client *client;
    CURL *easy;
    bool to_endpoint, refused;
    zi_answer answer;
    char host[200], text[CURL_ERROR_SIZE];
} zi_http_request;

bool zi_http_client_open(zi_http_client *client, const zi_hub *hub, zi_error *error) ZI_CHECKED;
void zi_http_client_close(zi_http_client *client);

bool zi_http_request_init(zi_http_client *client, zi_http_request *ask, zi_error *error) ZI_CHECKED;
void zi_http_request_cleanup(zi_http_request *ask);

/* Makes url what is asked for next. Refuses what no one may send us to. */
bool zi_http_request_set_url(zi_http_request *ask, const char *url, zi_error *error) ZI_CHECKED;

long zi_http_request_status(const zi_http_request *ask); /* of HTTP */

/* Where a redirect leads, in new memory, or NULL and an error. */
char *zi_http_request_redirect_url(const zi_http_request *ask, zi_error *error);

/* Says why there was no answer; whether that may go better the next time. */
bool zi_http_request_transport_error(const zi_http_request *ask, CURLcode code, zi_error *error);
bool zi_http_request_is_retryable(const zi_http_request *ask, CURLcode code);

/* Says what a status that is no success means. */
bool zi_http_request_status_error(const zi_http_request *ask, const char *repo, const char *what,
                                  zi_error *error);

/* Seconds to wait before try number `tries` + 1; the server's own wish comes first. Negative: more
 * than anyone would wait. */
double zi_http_request_retry_delay(const zi_http_request *ask, int tries);

/* A text of at most `most` bytes, redirects followed, tried again where that may help; free() it.
 * *reached tells whether the hub answered, whatever it said. */
bool zi_http_get_text(zi_http_client *client, const char *url, const char *repo, size_t most,
                      char **out, bool *reached, zi_error *error) ZI_CHECKED;

#endif
