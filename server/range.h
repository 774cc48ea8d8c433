/* Parts of files, by which clients resume downloads: the headers Range, If-Range and
 * If-None-Match. */
#ifndef ZI_SERVER_RANGE_H
#define ZI_SERVER_RANGE_H

#include "server/http.h"

/* The part of a file that a request asks for. */
typedef struct {
    unsigned status;      /* 200: all; 206: a part; 304: nothing, the client has it; 416: a part
                             that it does not have */
    uint64_t begin, size; /* the part, in bytes */
} zi_range;

/* Reads what a GET or HEAD request wants of a file of `size` bytes. etag: changes with the file, in
 * quotes. Several ranges, and malformed ones, mean all. */
zi_range zi_range_read(zi_server_request *req, uint64_t size, const char *etag);

/* Whether the client has what etag names already, by If-None-Match: it has etag, or is "*". */
bool zi_etag_known(zi_server_request *req, const char *etag);

/* Replies 304 to a client that has the file. headers as for zi_reply_bytes. */
zi_handler_result zi_reply_known(zi_server_request *req, const char *type, const char *etag,
                                 const char *const *headers);

/* Replies with the bytes of a file [size], which are free()d in any case, or the part of them that
 * the request wants. type and headers as for zi_reply_bytes. */
zi_handler_result zi_reply_bytes_range(zi_server_request *req, const char *type, void *data,
                                       size_t size, const char *etag, const char *const *headers);

/* As zi_reply_file, but replies with the part of the file that the request wants. */
zi_handler_result zi_reply_file_range(zi_server_request *req, const char *type, int fd,
                                      const char *etag, const char *const *headers);

#endif
