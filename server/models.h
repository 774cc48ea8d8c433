/* The model registry as HTTP clients see it: lookup with HTTP errors, and JSON. `field` is the
 * request's field to name in an error; it may be NULL. */
#ifndef ZI_SERVER_MODELS_H
#define ZI_SERVER_MODELS_H

#include "server/http_error.h"
#include "server/server.h"

#include <cJSON.h>

/* Finds a model by a name that zi_registry_resolve knows (mlx/NAME or NAME), or the default model
 * (name NULL). Free *out with zi_resolved_model_free. False: *out is unchanged and *http_error is
 * filled, for `field`: 404 when there is no such model, 400 when there is no default, else as in
 * zi_http_error_from. */
bool zi_models_find(zi_server *server, const char *name, const char *field, zi_resolved_model *out,
                    zi_http_error *http_error) ZI_CHECKED;

/* Finds a model as zi_models_find does, and sets *path alone, to free(). A name of NULL succeeds.
 * False: *http_error is filled for `field`. *path is unchanged then, and for NULL. */
bool zi_models_find_path(zi_server *server, const char *name, const char *field, char **path,
                         zi_http_error *http_error) ZI_CHECKED;

/* As zi_models_find_path, for what provides a component, see zi_registry_resolve_part. */
bool zi_models_find_part(zi_server *server, zi_component component, const char *name,
                         const char *field, char **path, zi_http_error *http_error) ZI_CHECKED;

/* Sets *path, to free(), to the model of that name; does not check that it is a language model.
 * name NULL or "prompt_enhancer": the installed prompt enhancer, else the default image model,
 * whose text encoder serves. False: *http_error is filled for field "llm" (404: unknown name; 400:
 * none is named and there is no single choice), and there is nothing to free. */
bool zi_models_find_llm(zi_server *server, const char *name, char **path,
                        zi_http_error *http_error) ZI_CHECKED;

/* Whether requests to enhance a prompt that name no language model can have one, as far as that is
 * known without opening it. False: *why is filled, for the user. */
bool zi_models_can_enhance(zi_server *server, const zi_registry_list *list, zi_http_error *why);

/* Returns the name of the default model in new memory; NULL: there is none, or an error. */
char *zi_models_default_name(zi_server *server);

/* Makes the image model of that name (not NULL) the default until the server stops, even if it is
 * not usable. Publishes nothing. False: *http_error is filled for `field` (404: no such model), and
 * the default is unchanged. */
bool zi_models_set_default(zi_server *server, const char *name, const char *field,
                           zi_http_error *http_error) ZI_CHECKED;

/* Decides where a new model file or folder called `file` goes, and creates the section's folder:
 * *path, and *name as clients will see it, both to free(). False: *http_error is filled (409 when
 * the path exists), *path and *name are unchanged. It has `field` only when `file` is what is
 * wrong. */
bool zi_models_destination(zi_server *server, zi_section section, const char *file,
                           const char *field, char **path, char **name,
                           zi_http_error *http_error) ZI_CHECKED;

/* Lists the models that zi_registry_read lists, also those not inspected yet. Free *out with
 * zi_registry_list_free. False, only when out of memory: *http_error is filled, *out is unchanged.
 */
bool zi_models_list(zi_server *server, zi_registry_list *out, zi_http_error *http_error) ZI_CHECKED;

/* Returns the entry of exactly that name, borrowed from the list; NULL: none. */
const zi_registry_entry *zi_models_find_entry(const zi_registry_list *list, const char *name);

/* Whether it is an image model, and usable, perhaps with components that the registry finds, or not
 * inspected yet. */
bool zi_model_can_generate(const zi_registry_entry *entry);

/* Describes a model as new JSON, schema Model in openapi.json. loaded: name of the model in memory,
 * as in a zi_registry_entry; NULL: none. Out of memory: NULL, or members are missing. */
cJSON *zi_model_json(const zi_registry_entry *entry, const char *loaded);

/* Describes a model as new JSON, schema ModelDetail: {"model", "inspect"}; inspect is {} when it is
 * not inspected yet. loaded: as for zi_model_json. Out of memory: NULL, or members are missing. */
cJSON *zi_model_detail_json(const zi_registry_entry *entry, const char *loaded);

#endif
