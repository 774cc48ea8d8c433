/* Why a request is not followed, as HTTP says it. */
#ifndef ZI_SERVER_REFUSAL_H
#define ZI_SERVER_REFUSAL_H

#include "base/error.h"

typedef struct {
    unsigned status; /* 400, 404, 409, 429, 500 */
    char field[64];  /* of the request; "": none in particular */
    char text[1024];
} zi_refusal;

/* Fills it and returns false. field may be NULL. */
bool zi_refuse(zi_refusal *refusal, unsigned status, const char *field, const char *format, ...)
    ZI_PRINTF(4, 5);

bool zi_refuse_no_memory(zi_refusal *refusal);

/* The same for what the library says. The field is the given one, else the error's subject if the
 * request's table of fields has it; both may be NULL. */
bool zi_refuse_error(zi_refusal *refusal, const zi_parameter *table, const char *field,
                     const zi_error *error);

/* The same where the library has looked at a file that is the request's body: what is wrong with it
 * is the client's fault, and it is called `what`, not by where it lies meanwhile. */
bool zi_refuse_body(zi_refusal *refusal, const char *what, const zi_error *error);

#endif
