/* The model registry as HTTP clients see it: lookup with HTTP errors, and JSON. `field` is the
 * request's field to name in an error; it may be NULL. */
#ifndef ZI_SERVER_MODELS_H
#define ZI_SERVER_MODELS_H

#include "server/http_error.h"
#include "server/server.h"

#include <cJSON.h>

/* Finds a model by name, or the default model (NULL). Free out with zi_resolved_model_free. */
bool zi_models_find(zi_server *server, const char *name, const char *field, zi_resolved_model *out,
                    zi_http_error *http_error) ZI_CHECKED;

/* As zi_models_find, but gives the path alone, to free(). A name of NULL leaves *path unchanged. */
bool zi_models_find_path(zi_server *server, const char *name, const char *field, char **path,
                         zi_http_error *http_error) ZI_CHECKED;

/* Finds a language model by name. NULL: the installed prompt enhancer, else the default model,
 * whose text encoder serves. free() *path. */
bool zi_models_find_llm(zi_server *server, const char *name, char **path,
                        zi_http_error *http_error) ZI_CHECKED;

/* The name of the default model in new memory; NULL: there is none. */
char *zi_models_default_name(zi_server *server);

/* Makes a model the default until the server stops. */
bool zi_models_set_default(zi_server *server, const char *name, const char *field,
                           zi_http_error *http_error) ZI_CHECKED;

/* Decides where a new model file or folder goes: *path, and *name as clients will see it, both to
 * free(). Fails with 409 when it exists already. */
bool zi_models_destination(zi_server *server, zi_section section, const char *file,
                           const char *field, char **path, char **name,
                           zi_http_error *http_error) ZI_CHECKED;

/* Lists all models. Fails only when out of memory. Free with zi_registry_list_free. */
bool zi_models_list(zi_server *server, zi_registry_list *out, zi_http_error *http_error) ZI_CHECKED;

/* The entry of that name, borrowed from the list; NULL: none. */
const zi_registry_entry *zi_models_find_entry(const zi_registry_list *list, const char *name);

/* Whether it is an image model that is usable, or not inspected yet. */
bool zi_model_can_generate(const zi_registry_entry *entry);

/* As schema Model in openapi.json. loaded: name of the model in memory; NULL: none. */
cJSON *zi_model_json(const zi_registry_entry *entry, const char *loaded);

/* As schema ModelDetail. */
cJSON *zi_model_detail_json(const zi_registry_entry *entry, const char *loaded);

#endif
