/* The tables of parameters as JSON, for /api/config, the web page and the OpenAPI description. */
#ifndef ZI_SERVER_SCHEMA_H
#define ZI_SERVER_SCHEMA_H

#include "server/job.h"

/* All generation parameters, as an array of schema Parameter in openapi.json. */
cJSON *zi_schema_parameters(void);

/* The OpenAPI description as text in new memory: server/openapi.json, to which the tables of the
 * kinds of jobs add the fields of `params`. NULL when out of memory. */
char *zi_schema_openapi(void);

#endif
