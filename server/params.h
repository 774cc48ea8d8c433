/* Objects of a request, read by table: every field named, checked and put into a struct. */
#ifndef ZI_SERVER_PARAMS_H
#define ZI_SERVER_PARAMS_H

#include "server/refusal.h"

#include <cJSON.h>

typedef struct {
    bool given;
    uint64_t value;
} zi_seed;

typedef enum {
    ZI_PARAM_TEXT,   /* const char *, of min to max bytes; lives as long as the object */
    ZI_PARAM_INT,    /* int */
    ZI_PARAM_REAL,   /* double */
    ZI_PARAM_BOOL,   /* bool */
    ZI_PARAM_CHOICE, /* int: which of words */
    ZI_PARAM_SEED    /* zi_seed, a number or digits */
} zi_param_kind;

struct zi_param {
    const char *name; /* NULL ends a table */
    zi_param_kind kind;
    size_t offset; /* in the struct */
    double min, max;
    const char *words; /* "one|two" */
    bool required;
    int multiple; /* of an int; 0: any */
};

/* What is absent or null leaves the struct as it is; fields that the table does not have and fields
 * that stand twice are refused. */
bool zi_params_read(const cJSON *object, const zi_param *table, void *out,
                    zi_refusal *refusal) ZI_CHECKED;

/* The same, but passes over fields that the table does not have, and over what is no object. */
bool zi_params_read_known(const cJSON *object, const zi_param *table, void *out,
                          zi_refusal *refusal) ZI_CHECKED;

/* Sets a field of the object, whatever was there. False: memory is short. */
bool zi_params_set(cJSON *object, const char *name, cJSON *value);

/* 0 to 2^64-1 in digits. */
bool zi_seed_parse(const char *text, uint64_t *out);

#endif
