/* The model registry as clients see it. */
#ifndef ZI_SERVER_MODELS_H
#define ZI_SERVER_MODELS_H

#include "server/http_error.h"
#include "server/server.h"

#include <cJSON.h>

/* The model of that name, or the one that is used when none is named (NULL). out is to be freed
 * with zi_found_free. field: of the request, in the refusal. */
bool zi_models_find(zi_server *server, const char *name, const char *field, zi_found *out,
                    zi_http_error *http_error) ZI_CHECKED;

/* The path of that model, free()d by the caller; a name of NULL leaves *path alone. */
bool zi_models_find_path(zi_server *server, const char *name, const char *field, char **path,
                         zi_http_error *http_error) ZI_CHECKED;

/* The language model of that name; NULL: the one that there is, else the default model, whose text
 * encoder is one. The path is free()d by the caller. */
bool zi_models_find_llm(zi_server *server, const char *name, char **path,
                        zi_http_error *http_error) ZI_CHECKED;

/* The name of the model that is used when none is named, in new memory; NULL: there is none. */
char *zi_models_default_name(zi_server *server);

/* Makes a model the default until the server ends. */
bool zi_models_set_default(zi_server *server, const char *name, const char *field,
                           zi_http_error *http_error) ZI_CHECKED;

/* Where a new model goes: path and name are free()d by the caller. Refuses what is there already.
 */
bool zi_models_destination(zi_server *server, zi_section section, const char *file,
                           const char *field, char **path, char **name,
                           zi_http_error *http_error) ZI_CHECKED;

/* All models; the server's memory is short when that fails. Free with zi_registry_list_free. */
bool zi_models_list(zi_server *server, zi_registry_list *out, zi_http_error *http_error) ZI_CHECKED;

/* The entry of that name; NULL: there is none. */
const zi_registry_entry *zi_models_find_entry(const zi_registry_list *list, const char *name);

/* Whether it is an image model that can be used, as far as that is known. */
bool zi_model_can_generate(const zi_registry_entry *entry);

/* As Model in the OpenAPI file. loaded: the name of the model in memory; NULL: none. */
cJSON *zi_model_json(const zi_registry_entry *entry, const char *loaded);

/* As ModelDetail there. */
cJSON *zi_model_detail_json(const zi_registry_entry *entry, const char *loaded);

#endif
