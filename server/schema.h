/* The tables of parameters and choices as clients read them: in /api/config and in the OpenAPI
 * description. */
#ifndef ZI_SERVER_SCHEMA_H
#define ZI_SERVER_SCHEMA_H

#include "server/job.h"

/* All generation parameters, each as Parameter in the OpenAPI file. */
cJSON *zi_schema_parameters(void);

/* An array of words; NULL ends them. */
cJSON *zi_schema_strings(const char *const *strings);

/* The OpenAPI description as text in new memory: server/openapi.json, in which the tables of the
 * kinds of jobs say what fields `params` have. NULL when memory is short. */
char *zi_schema_openapi(void);

#endif
