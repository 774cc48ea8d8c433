/* An HTTP error: what a request is answered with when it fails. */
#ifndef ZI_SERVER_HTTP_ERROR_H
#define ZI_SERVER_HTTP_ERROR_H

#include "base/error.h"

typedef struct {
    unsigned status; /* 400, 404, 409, 422, 429, 500, 503 or 507 */
    char field[64];  /* the request's field that caused it; "": none in particular */
    char text[1024];
} zi_http_error;

/* Fills *http_error and returns false. field, of the request, may be NULL; a long name or message
 * is cut. */
bool zi_http_error_set(zi_http_error *http_error, unsigned status, const char *field,
                       const char *format, ...) ZI_PRINTF(4, 5);

/* Appends to the text, which is cut if it gets too long. */
void zi_http_error_append(zi_http_error *http_error, const char *text);

/* Sets status 500, "out of memory", without a field; returns false. */
bool zi_http_error_no_memory(zi_http_error *http_error);

/* Sets status 503, "the server is shutting down", without a field; returns false. */
bool zi_http_error_shutting_down(zi_http_error *http_error);

/* Sets status 500 for a job that has ended and of which nothing more is known; returns false. */
bool zi_http_error_forgotten_job(zi_http_error *http_error);

/* The HTTP status for a file that could not be written, by errno: 507 for a full disk or quota,
 * else 500. */
unsigned zi_http_status_of_errno(int why);

/* Sets the error that an uploaded file could not be stored: 507 for a full disk or quota, else 500,
 * with the reason and what to do; returns false. why: errno. */
bool zi_http_error_not_stored(zi_http_error *http_error, int why);

/* Converts an error of the library; returns false. Status by its code: ZI_ERROR_INVALID_ARGUMENT
 * 400, NOT_FOUND 404, EXISTS 409, any other 500. The field is `field`, else the error's subject if
 * the table of fields has it, else none; table and field may be NULL. Folders of the server are
 * left out of the text. */
bool zi_http_error_from(zi_http_error *http_error, const zi_parameter *table, const char *field,
                        const zi_error *error);

/* Converts an error in a file that is the request's body; returns false. A damaged or unsupported
 * file is status 400; others as in zi_http_error_from. There is no field. The message calls the
 * file `what`, not by its temporary path. */
bool zi_http_error_from_body(zi_http_error *http_error, const char *what, const zi_error *error);

#endif
