/* The API of AUTOMATIC1111's web UI: what its two files share. */
#ifndef ZI_SERVER_A1111_H
#define ZI_SERVER_A1111_H

#include "server/compat.h"

/* Seconds since 1970 as job_timestamp has them; 0: "0". */
void zi_a1111_timestamp(double when, char text[20]);

/* As zi_reply_http_error: a field that is wrong is 422 there. */
zi_handler_result zi_a1111_reply_error(zi_server_request *req, const zi_http_error *http_error);

/* POST /sdapi/v1/txt2img */
zi_handler_result zi_a1111_txt2img(zi_server_request *req);

#endif
