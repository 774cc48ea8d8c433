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

/* The same for what the library says: its misuse is the client's (400), the rest is not (500). */
bool zi_refuse_error(zi_refusal *refusal, const char *field, const zi_error *error);

#endif
