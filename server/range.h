/* Parts of files, by which clients resume downloads: the headers Range, If-Range and
 * If-None-Match. */
#ifndef ZI_SERVER_RANGE_H
#define ZI_SERVER_RANGE_H

#include "server/http.h"

/* Whether the client has what etag names already, by If-None-Match: it has etag, or is "*". */
bool zi_etag_known(zi_server_request *req, const char *etag);

/* Replies 304 to a client that has the file. headers as for zi_reply_bytes. */
zi_handler_result zi_reply_known(zi_server_request *req, const char *type, const char *etag,
                                 const char *const *headers);

/* Replies with the bytes of a file [size], which are free()d in any case, or the part of them that
 * the request wants, without a copy. data is not NULL; type and headers as for zi_reply_bytes. */
zi_handler_result zi_reply_bytes_range(zi_server_request *req, const char *type, void *data,
                                       size_t size, const char *etag, const char *const *headers);

/* Replies with the file of the image that the path names first, or the part of it that the request
 * wants, or 500 if it is no regular file; fd is closed in any case. type and headers as for
 * zi_reply_bytes. MHD_NO: out of memory. */
zi_handler_result zi_reply_file_range(zi_server_request *req, const char *type, int fd,
                                      const char *etag, const char *const *headers);

#endif
