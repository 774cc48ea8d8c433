/* What a1111.c and a1111_txt2img.c share: the API of AUTOMATIC1111's web UI (/sdapi/v1). */
#ifndef ZI_SERVER_A1111_H
#define ZI_SERVER_A1111_H

#include "server/compat.h"

/* Writes the Unix time `when` (seconds) in local time as A1111's job_timestamp, "20261130031724".
 * Writes "0" when `when` is 0. */
void zi_a1111_timestamp(double when, char text[20]);

/* Replies with an HTTP error. Status 400 becomes 422, which A1111 sends for an invalid field. */
zi_handler_result zi_a1111_reply_error(zi_server_request *req, const zi_http_error *http_error);

/* Handles POST /sdapi/v1/txt2img. */
zi_handler_result zi_a1111_txt2img(zi_server_request *req);

#endif
