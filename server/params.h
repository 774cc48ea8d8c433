/* JSON objects read into structs, and made of them, by tables of parameters (zi_parameter in
 * zimage.h). What servers allow is the limit. */
#ifndef ZI_SERVER_PARAMS_H
#define ZI_SERVER_PARAMS_H

#include "server/http_error.h"

#include <cJSON.h>

/* Which fields an object has; bit i stands for row i of its table. */
typedef struct {
    uint64_t given; /* with a value or null */
    uint64_t null;
} zi_fields;

/* ---- reading ---- */

/* Reads an object into the struct `out`, and which fields it has. An absent or null field leaves
 * the struct as it is; one that the table lacks, and one that occurs twice, is refused. Texts in
 * the struct are the object's. */
bool zi_params_read(const cJSON *object, const zi_parameter *table, void *out, zi_fields *fields,
                    zi_http_error *http_error) ZI_CHECKED;

/* The same, but ignores fields that the table lacks, and what is no object. */
bool zi_params_read_known(const cJSON *object, const zi_parameter *table, void *out,
                          zi_http_error *http_error) ZI_CHECKED;

/* What another API calls a field that takes the values of a generation parameter. */
typedef struct {
    const char *name; /* NULL ends a table */
    const char *parameter;
    size_t offset;     /* in the struct that is read into */
    bool any_multiple; /* it is rounded later */
} zi_parameter_alias;

/* Reads such fields as zi_params_read_known does. */
bool zi_params_read_aliases(const cJSON *object, const zi_parameter_alias *table, void *out,
                            zi_http_error *http_error) ZI_CHECKED;

/* 0 to 2^64-1 in digits. */
bool zi_seed_parse(const char *text, uint64_t *out);

/* ---- structs that were read ---- */

/* Gives the struct copies of its texts. False: memory is short; those that it has are to be freed.
 */
bool zi_params_copy_texts(const zi_parameter *table, void *params) ZI_CHECKED;
void zi_params_free_texts(const zi_parameter *table, void *params);

/* The fields that are not 0 or NULL. */
zi_fields zi_params_nonzero_fields(const zi_parameter *table, const void *params);

/* Adds a field that has got a value. */
void zi_fields_add(zi_fields *fields, const zi_parameter *table, const char *name);

/* The object again; seeds are text. */
cJSON *zi_params_json(const zi_parameter *table, const void *params, const zi_fields *fields);

#endif
