/* Tables of the fields that clients of other programs' APIs send. A row says that its field is
 * used, has no effect on the image here, or is refused unless it asks for nothing. Fields without a
 * row are refused. */
#ifndef ZI_SERVER_FIELDS_H
#define ZI_SERVER_FIELDS_H

#include "server/http_error.h"

#include "base/tables.h"

#include <cJSON.h>

typedef enum {
    ZI_FIELD_USED,      /* read into the request */
    ZI_FIELD_NO_EFFECT, /* has no effect on the image here, whatever its value */
    ZI_FIELD_REFUSED,   /* not supported: only values that ask for nothing are accepted */
    ZI_FIELD_OBJECT,    /* an object with a table of its own */
    ZI_FIELD_ELSEWHERE  /* an object that the API reads after the table */
} zi_field_role;

typedef struct zi_client_field zi_client_field;
struct zi_client_field {
    /* A final '*', which a field that is used cannot have, stands for any ending; such a field may
     * be given twice. NULL ends a table. */
    const char *name;
    zi_field_role role;
    /* A used field has the type and range of the generation parameter of this name, or of `own`,
     * and its value goes to this offset of the request; `given`, if not 0, is the offset of a bool
     * that becomes true. */
    const char *parameter;
    const zi_parameter *own;
    size_t offset, given;
    /* A JSON array of values that are the same as no field. null is one without being listed, and
     * for a refused field so are "", [] and {}. NULL: no others. */
    const char *neutral;
    const zi_client_field *members; /* of an object with a table */
};

#define ZI_FIELD_OF(name_, parameter_, offset_)                                                    \
    {                                                                                              \
        .name = name_, .role = ZI_FIELD_USED, .parameter = parameter_, .offset = offset_           \
    }
#define ZI_FIELD_OWN(name_, offset_, ...)                                                          \
    {                                                                                              \
        .name = name_, .role = ZI_FIELD_USED, .offset = offset_, .own = &(const zi_parameter)      \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define ZI_FIELD_WITHOUT_EFFECT(name_)                                                             \
    {                                                                                              \
        .name = name_, .role = ZI_FIELD_NO_EFFECT                                                  \
    }
#define ZI_FIELD_NOT_SUPPORTED(name_, neutral_)                                                    \
    {                                                                                              \
        .name = name_, .role = ZI_FIELD_REFUSED, .neutral = neutral_                               \
    }
#define ZI_FIELD_MEMBERS(name_, members_)                                                          \
    {                                                                                              \
        .name = name_, .role = ZI_FIELD_OBJECT, .members = members_                                \
    }

/* Reads a JSON object by the table into the request `out`, which borrows its texts. lenient:
 * numbers and flags may be text, and flags 0 or 1, as in A1111. False: *http_error is a 400 that
 * names a field that is not in the table, not supported, given twice, contradicted by another one
 * for the same offset, also in another object, or not valid; `out` may be partly filled. */
bool zi_client_fields_read(const cJSON *object, const zi_client_field *table, bool lenient,
                           void *out, zi_http_error *http_error) ZI_CHECKED;

#endif
