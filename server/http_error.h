/* Why a request is not followed, as HTTP says it. */
#ifndef ZI_SERVER_HTTP_ERROR_H
#define ZI_SERVER_HTTP_ERROR_H

#include "base/error.h"

typedef struct {
    unsigned status; /* 400, 404, 409, 429, 500 */
    char field[64];  /* of the request; "": none in particular */
    char text[1024];
} zi_http_error;

/* Fills it and returns false. field may be NULL. */
bool zi_http_error_set(zi_http_error *http_error, unsigned status, const char *field,
                       const char *format, ...) ZI_PRINTF(4, 5);

bool zi_http_error_no_memory(zi_http_error *http_error);

/* The same for what the library says. The field is the given one, else the error's subject if the
 * request's table of fields has it; both may be NULL. */
bool zi_http_error_from(zi_http_error *http_error, const zi_parameter *table, const char *field,
                        const zi_error *error);

/* The same where the library has looked at a file that is the request's body: what is wrong with it
 * is the client's fault, and it is called `what`, not by where it lies meanwhile. */
bool zi_http_error_from_body(zi_http_error *http_error, const char *what, const zi_error *error);

#endif
