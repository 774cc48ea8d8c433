/* Reads JSON objects into structs and back, by tables of fields (zi_parameter). Ranges are those of
 * the server (zi_parameter_max). */
#ifndef ZI_SERVER_PARAMS_H
#define ZI_SERVER_PARAMS_H

#include "server/http_error.h"

#include "base/tables.h"

#include <cJSON.h>

/* Which fields an object has: bit i stands for row i of its table. */
typedef struct {
    uint64_t given; /* present, with a value or null */
    uint64_t null;  /* present with null */
} zi_fields;

/* ---- reading ---- */

/* Reads a JSON object into the struct `out`, and adds marks of its fields to *fields. An absent or
 * null field leaves the struct unchanged. Texts in the struct are borrowed from the object. False:
 * a field is unknown, duplicate, of the wrong type or out of range, or a required one is missing or
 * null; *http_error is a 400, and the struct and *fields may be partly filled. */
bool zi_params_read(const cJSON *object, const zi_parameter *table, void *out, zi_fields *fields,
                    zi_http_error *http_error) ZI_CHECKED;

/* Reads a JSON value that is not null into its place in the struct `out`, and sets the struct's
 * `given` flag of the field if it has one. A number that must be a multiple is rounded down to one.
 * A text is borrowed. False: it is not valid; *http_error is a 400 for the field, and only a text
 * may have changed. */
bool zi_params_read_field(const zi_parameter *p, const cJSON *item, void *out,
                          zi_http_error *http_error) ZI_CHECKED;

/* Checks that item, a member of object, is the first of its name. False: *http_error is a 400 for a
 * duplicate field. */
bool zi_params_check_unique(const cJSON *object, const cJSON *item,
                            zi_http_error *http_error) ZI_CHECKED;

/* Sets the error for a field that a table does not have, a 400; returns false. */
bool zi_params_set_unknown_error(const char *name, zi_http_error *http_error);

/* Appends a field that can be sent in place of the unknown one to that error. any: false for the
 * first one; it becomes true. */
void zi_params_append_known(const char *name, bool *any, zi_http_error *http_error);

/* Parses an integer from 0 to 2^64-1 in decimal digits alone, without sign or blanks; leading zeros
 * are allowed. False: it is none; *out is unchanged. */
bool zi_seed_parse(const char *text, uint64_t *out);

/* ---- structs that were read ---- */

/* Replaces the texts in the struct by copies, to be freed with zi_params_free_texts; NULL stays
 * NULL. False: out of memory; the remaining texts are then NULL, and those copied must still be
 * freed. */
bool zi_params_copy_texts(const zi_parameter *table, void *params) ZI_CHECKED;

/* Frees the texts (NULL: none) in the struct (not NULL), whose pointers are invalid afterwards. */
void zi_params_free_texts(const zi_parameter *table, void *params);

/* Returns marks of the fields of the struct whose values are not 0, false or NULL. So the first
 * choice, and a 0 that was given, are not marked. */
zi_fields zi_params_nonzero_fields(const zi_parameter *table, const void *params);

/* Marks the field of that name as present, and not null. The table must have it. */
void zi_fields_add(zi_fields *fields, const zi_parameter *table, const char *name);

/* Returns the marked fields as a new JSON object with the values in the struct, or null where that
 * is marked. Seeds are strings of digits; texts of NULL are left out. Out of memory: NULL, or
 * fields are missing. */
cJSON *zi_params_json(const zi_parameter *table, const void *params, const zi_fields *fields);

#endif
