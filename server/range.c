#include "server/range.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The part of a file that a request asks for. */
typedef struct {
    unsigned status;      /* 200: all; 206: a part; 304: nothing, the client has it; 416: a part
                             that it does not have */
    uint64_t begin, size; /* the part, in bytes */
} range;

/* Parses digits at *text, which then points behind them. False: there are none, or too many. */
static bool read_digits(const char **text, uint64_t *out)
{
    size_t length = strspn(*text, "0123456789");
    if (!length || length > 18) return false;
    *out = strtoull(*text, NULL, 10);
    *text += length;
    return true;
}

/* Parses "bytes=BEGIN-END", "bytes=BEGIN-" or "bytes=-COUNT" of a file of `size` bytes. False: it
 * is none of these. True: *out has the part with status 206, or status 416 if there is no such
 * part. */
static bool parse_range(const char *text, uint64_t size, range *out)
{
    uint64_t begin = 0, end = size ? size - 1 : 0, count;
    if (strncmp(text, "bytes=", 6) != 0) return false;
    text += 6;
    if (*text == '-') {
        text++;
        if (!read_digits(&text, &count) || *text) return false;
        if (count > size) count = size;
        *out = (range){count ? 206 : 416, size - count, count};
        return true;
    }
    if (!read_digits(&text, &begin) || *text++ != '-') return false;
    if (*text && (!read_digits(&text, &end) || *text || end < begin)) return false;
    if (size && end > size - 1) end = size - 1;
    *out = begin < size ? (range){206, begin, end - begin + 1} : (range){416, 0, 0};
    return true;
}

bool zi_etag_known(zi_server_request *req, const char *etag)
{
    const char *known = zi_server_request_header(req, "If-None-Match");
    return known && (!strcmp(known, "*") || strstr(known, etag));
}

/* Reads what a GET or HEAD request wants of a file of `size` bytes. etag: changes with the file, in
 * quotes. Several ranges, and malformed ones, mean all. */
static range read_range(zi_server_request *req, uint64_t size, const char *etag)
{
    const char *wanted = zi_server_request_header(req, "Range");
    const char *same = zi_server_request_header(req, "If-Range");
    range part, all = {200, 0, size};
    if (zi_etag_known(req, etag)) return (range){304, 0, 0};
    if (!wanted || (same && strcmp(same, etag) != 0) || !parse_range(wanted, size, &part))
        return all;
    return part;
}

/* Adds the headers of a file or its part, and queues the response; NULL closes the connection. */
static zi_handler_result reply_part(zi_server_request *req, const range *part, uint64_t size,
                                    const char *type, const char *etag, const char *const *headers,
                                    struct MHD_Response *response)
{
    char text[80];
    if (!response) return MHD_NO;
    zi_add_headers(response, type, headers);
    MHD_add_response_header(response, "ETag", etag);
    MHD_add_response_header(response, "Accept-Ranges", "bytes");
    if (part->status == 206)
        snprintf(text, sizeof text, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, part->begin,
                 part->begin + part->size - 1, size);
    else
        snprintf(text, sizeof text, "bytes */%" PRIu64, size);
    if (part->status == 206 || part->status == 416)
        MHD_add_response_header(response, "Content-Range", text);
    return zi_reply(req, part->status, response);
}

zi_handler_result zi_reply_known(zi_server_request *req, const char *type, const char *etag,
                                 const char *const *headers)
{
    const range none = {304, 0, 0};
    return reply_part(req, &none, 0, type, etag, headers,
                      MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

zi_handler_result zi_reply_bytes_range(zi_server_request *req, const char *type, void *data,
                                       size_t size, const char *etag, const char *const *headers)
{
    range part = read_range(req, size, etag);
    memmove(data, (char *)data + part.begin, part.size); /* what is sent begins with it */
    struct MHD_Response *response =
        MHD_create_response_from_buffer(part.size, data, MHD_RESPMEM_MUST_FREE);
    if (!response) free(data);
    return reply_part(req, &part, size, type, etag, headers, response);
}

zi_handler_result zi_reply_file_range(zi_server_request *req, const char *type, int fd,
                                      const char *etag, const char *const *headers)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return zi_reply_error(req, 500, NULL,
                              "the file of image %s in the server's output folder is no ordinary "
                              "file; remove it",
                              req->parameters[0]);
    }
    range part = read_range(req, (uint64_t)st.st_size, etag);
    struct MHD_Response *response =
        part.size ? MHD_create_response_from_fd_at_offset64(part.size, fd, part.begin)
                  : MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (!response || !part.size) close(fd);
    return reply_part(req, &part, (uint64_t)st.st_size, type, etag, headers, response);
}
