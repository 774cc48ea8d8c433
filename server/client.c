/* The client of a request: its address, behind proxies too, and the URLs by which it reaches this
 * server. */
#include "server/http.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- headers of proxies ---- */

/* The values of a header that may be sent several times. */
typedef struct {
    const char *name;
    zi_text values; /* with commas between them */
} header_search;

/* An MHD_KeyValueIterator; user: a header_search. Appends the value of a header of its name. */
static enum MHD_Result collect_header(void *user, enum MHD_ValueKind kind, const char *name,
                                      const char *value)
{
    header_search *search = user;
    (void)kind;
    if (value && !strcasecmp(name, search->name))
        zi_text_printf(&search->values, "%s%s", search->values.size ? "," : "", value);
    return MHD_YES;
}

/* All values of a request header with commas between them, in new memory for zi_text_free; empty if
 * it was not sent, or out of memory. */
static zi_text read_values(zi_server_request *req, const char *name)
{
    header_search search = {.name = name};
    zi_text_init(&search.values, 1 << 15);
    zi_text_puts(&search.values, "");
    MHD_get_connection_values(req->connection, MHD_HEADER_KIND, collect_header, &search);
    return search.values;
}

/* Copies the last value of a request header to out; "" if there is none, or it does not fit. */
static void read_last_value(zi_server_request *req, const char *name, char *out, size_t size)
{
    zi_text values = read_values(req, name);
    zi_forwarded_last(values.failed ? "" : values.data, out, size);
    zi_text_free(&values);
}

/* Sets host, https and address from a trusted proxy's headers, as far as there are such. */
static void read_forwarded(zi_server_request *req, const zi_ip_range *proxies, size_t count)
{
    char scheme[16];
    zi_text addresses = read_values(req, "X-Forwarded-For");
    if (!addresses.failed)
        req->address = zi_forwarded_client(addresses.data, &req->address, proxies, count);
    zi_text_free(&addresses);
    read_last_value(req, "X-Forwarded-Proto", scheme, sizeof scheme);
    req->https = !strcasecmp(scheme, "https");
    read_last_value(req, "X-Forwarded-Host", req->forwarded_host, sizeof req->forwarded_host);
    if (req->forwarded_host[0]) req->host = req->forwarded_host;
}

void zi_server_request_read_client(zi_server_request *req)
{
    size_t count;
    const zi_ip_range *proxies = zi_access_proxies(req->server->access, &count);
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(req->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    req->address = zi_ip_of_socket(info ? info->client_addr : NULL);
    req->host = zi_server_request_header(req, "Host");
    if (zi_ip_in_ranges(&req->address, proxies, count)) read_forwarded(req, proxies, count);
}

/* ---- URLs ---- */

void zi_server_request_base_url(const zi_server_request *req, zi_text *out)
{
    const char *url = zi_access_public_url(req->server->access);
    if (!url && req->host && zi_host_valid(req->host))
        zi_text_printf(out, "http%s://%s", req->https ? "s" : "", req->host);
    else
        zi_text_puts(out, url ? url : req->server->url);
}

void zi_server_request_image_link(const zi_server_request *req, const char *id, const char *format,
                                  int quality, zi_text *out)
{
    char token[ZI_LINK_TOKEN];
    zi_server_request_base_url(req, out);
    zi_text_printf(out, "/api/images/%s/link/%s.%s", id,
                   zi_link_token(req->server->links, id, token), format);
    if (quality) zi_text_printf(out, "?quality=%d", quality);
}
