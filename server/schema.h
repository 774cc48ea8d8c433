/* The tables of parameters as JSON, for /api/config, the web page and the OpenAPI description. */
#ifndef ZI_SERVER_SCHEMA_H
#define ZI_SERVER_SCHEMA_H

#include "server/job.h"

/* Returns all generation parameters as a new JSON array of schema Parameter in openapi.json. Out of
 * memory: NULL, or parts are missing. */
cJSON *zi_schema_parameters(void);

/* Returns the OpenAPI description as JSON text, to free(): server/openapi.json, to whose schemas of
 * job params the tables of the kinds of jobs add the fields. NULL: out of memory. */
char *zi_schema_openapi(void);

#endif
