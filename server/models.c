#include "server/models.h"
#include "server/internal.h"
#include "server/json.h"

#include <stdlib.h>
#include <string.h>

/* ---- lookup ---- */

/* Sets the error of a request that names no model, when no default model was found; returns false.
 * Not found is a 400 here rather than a 404, since the client must name one; other errors are as in
 * zi_http_error_from. */
static bool set_default_error(zi_http_error *http_error, const char *field, const zi_error *error)
{
    bool ok = zi_http_error_from(http_error, NULL, field, error);
    if (error->code == ZI_ERROR_NOT_FOUND) http_error->status = 400;
    return ok;
}

bool zi_models_find(zi_server *server, const char *name, const char *field, zi_resolved_model *out,
                    zi_http_error *http_error)
{
    zi_error error;
    if (zi_registry_resolve(server->registry, name, out, &error)) return true;
    if (!name) return set_default_error(http_error, field, &error);
    if (error.code != ZI_ERROR_NOT_FOUND)
        return zi_http_error_from(http_error, NULL, field, &error);
    return zi_http_error_set(http_error, 404, field,
                             "%s: no such model; GET /api/models lists the models", name);
}

bool zi_models_find_path(zi_server *server, const char *name, const char *field, char **path,
                         zi_http_error *http_error)
{
    zi_resolved_model found;
    if (!name) return true;
    if (!zi_models_find(server, name, field, &found, http_error)) return false;
    *path = found.path;
    found.path = NULL;
    zi_resolved_model_free(&found);
    return true;
}

bool zi_models_find_part(zi_server *server, zi_component component, const char *name,
                         const char *field, char **path, zi_http_error *http_error)
{
    zi_error error;
    if (!name || zi_registry_resolve_part(server->registry, component, name, path, &error))
        return true;
    if (error.code != ZI_ERROR_NOT_FOUND)
        return zi_http_error_from(http_error, NULL, field, &error);
    return zi_http_error_set(http_error, 404, field,
                             "%s: no such model; GET /api/models lists the models", name);
}

bool zi_models_find_llm(zi_server *server, const char *name, char **path, zi_http_error *http_error)
{
    zi_error error;
    zi_resolved_model found;
    if (!zi_registry_resolve_llm(server->registry, name, path, &error))
        return name ? zi_http_error_from(http_error, NULL, "llm", &error)
                    : set_default_error(http_error, "llm", &error);
    if (*path) return true;
    if (!zi_models_find(server, NULL, "llm", &found, http_error)) return false;
    *path = found.path;
    found.path = NULL;
    zi_resolved_model_free(&found);
    return true;
}

/* Whether the list says that a model has no text encoder, nor one that fits, and the server was
 * given none. */
static bool lacks_text_encoder(const zi_server *server, const zi_registry_list *list,
                               const char *name)
{
    const zi_model_options *given = &server->options.load;
    const zi_registry_entry *entry = zi_models_find_entry(list, name);
    return entry && entry->inspection && !entry->text_encoder && !given->text_encoder &&
           !given->reference && entry->inspection->components[ZI_COMPONENT_TEXT_ENCODER].missing;
}

bool zi_models_can_enhance(zi_server *server, const zi_registry_list *list, zi_http_error *why)
{
    zi_error error;
    zi_resolved_model found;
    char *path = NULL;
    if (!zi_registry_resolve_llm(server->registry, NULL, &path, &error))
        return set_default_error(why, "llm", &error);
    free(path);
    if (path) return true;
    if (!zi_models_find(server, NULL, "llm", &found, why)) return false;
    bool demo = !strcmp(found.name, "demo"), lacks = lacks_text_encoder(server, list, found.name);
    zi_resolved_model_free(&found);
    if (!demo && !lacks) return true;
    return zi_http_error_set(why, 400, "llm",
                             "there is no language model, and %s cannot write prompts; to get a "
                             "language model, download prompt-enhancer (on the page under Models, "
                             "or with `zimage download prompt-enhancer`)",
                             demo ? "the demo model" : "the default model has no text encoder and");
}

char *zi_models_default_name(zi_server *server)
{
    zi_resolved_model found;
    if (!zi_registry_resolve(server->registry, NULL, &found, NULL)) return NULL;
    char *name = found.name;
    found.name = NULL;
    zi_resolved_model_free(&found);
    return name;
}

bool zi_models_set_default(zi_server *server, const char *name, const char *field,
                           zi_http_error *http_error)
{
    zi_error error;
    return zi_registry_set_default(server->registry, name, false, &error) ||
           zi_http_error_from(http_error, NULL, field, &error);
}

bool zi_models_destination(zi_server *server, zi_section section, const char *file,
                           const char *field, char **path, char **name, zi_http_error *http_error)
{
    zi_error error;
    if (zi_registry_new_path(server->registry, section, file, path, name, &error)) return true;
    bool is_name = !strcmp(error.subject, "name");
    return zi_http_error_from(http_error, NULL, is_name ? field : NULL, &error);
}

/* ---- lists and JSON ---- */

bool zi_models_list(zi_server *server, zi_registry_list *out, zi_http_error *http_error)
{
    zi_error error;
    return zi_registry_read(server->registry, out, &error) ||
           zi_http_error_from(http_error, NULL, NULL, &error);
}

const zi_registry_entry *zi_models_find_entry(const zi_registry_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (!strcmp(list->entries[i].name, name)) return &list->entries[i];
    return NULL;
}

bool zi_model_can_generate(const zi_registry_entry *entry)
{
    return entry->kind == ZI_MODEL_IMAGE && (!entry->inspection || entry->usable);
}

/* Adds text_encoder, vae and tokenizer to json: what the registry finds for the model; the
 * tokenizer only as true or false, since clients must not see its path. */
static void add_part_fields(cJSON *json, const zi_registry_entry *entry)
{
    cJSON *parts = cJSON_AddObjectToObject(json, "parts");
    zi_json_add_text(parts, "text_encoder", entry->text_encoder);
    zi_json_add_text(parts, "vae", entry->vae);
    cJSON_AddBoolToObject(parts, "tokenizer", entry->tokenizer != NULL);
}

/* The default parameters of a model as new JSON, schema ModelDefaults: steps, guidance and shift
 * (null: unknown). JSON's null: not inspected yet, or no image model. */
static cJSON *defaults_json(const zi_inspection *in)
{
    int steps;
    double guidance;
    if (!in || in->kind != ZI_MODEL_IMAGE) return cJSON_CreateNull();
    zi_variant_defaults(in->variant, &steps, &guidance);
    cJSON *json = cJSON_CreateObject();
    cJSON_AddNumberToObject(json, "steps", steps);
    cJSON_AddNumberToObject(json, "guidance", guidance);
    zi_json_add_number(json, "shift", in->shift, in->shift > 0);
    return json;
}

/* Adds native_size, usable, health, missing and problems to json. Not inspected yet: they are null,
 * false, null and two empty arrays. */
static void add_inspection_fields(cJSON *json, const zi_registry_entry *entry)
{
    const zi_inspection *in = entry->inspection;
    zi_json_add_number(json, "native_size", in ? in->native_size : 0, in && in->native_size);
    cJSON_AddBoolToObject(json, "usable", entry->usable);
    zi_json_add_text(json, "health", in ? zi_health_name(in->health) : NULL);
    cJSON *missing = cJSON_AddArrayToObject(json, "missing");
    for (int i = 0; in && i < ZI_COMPONENTS; i++)
        if (in->components[i].missing)
            cJSON_AddItemToArray(missing, cJSON_CreateString(zi_component_name((zi_component)i)));
    cJSON *problems = cJSON_AddArrayToObject(json, "problems");
    for (size_t i = 0; in && i < in->problem_count; i++)
        cJSON_AddItemToArray(problems, cJSON_CreateString(in->problems[i].text));
    zi_json_hide_paths(problems);
}

cJSON *zi_model_json(const zi_registry_entry *entry, const char *loaded)
{
    const zi_inspection *in = entry->inspection;
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "name", entry->name);
    cJSON_AddStringToObject(json, "shelf", zi_section_name(entry->section));
    cJSON_AddStringToObject(json, "kind", zi_model_kind_name(entry->kind));
    zi_json_add_text(json, "layout", in ? in->layout : NULL);
    zi_json_add_text(json, "precision", in ? in->precision : NULL);
    cJSON_AddNumberToObject(json, "bytes", (double)entry->bytes);
    cJSON_AddItemToObject(json, "defaults", defaults_json(in));
    add_inspection_fields(json, entry);
    add_part_fields(json, entry);
    cJSON_AddBoolToObject(json, "loaded", loaded && !strcmp(loaded, entry->name));
    return json;
}

/* Returns an inspection as new JSON without the path, which clients must not see. {}: `in` is NULL
 * (not inspected yet), or out of memory. */
static cJSON *inspection_json(const zi_inspection *in)
{
    char *text = in ? zi_inspection_json(in) : NULL;
    cJSON *json = text ? cJSON_Parse(text) : cJSON_CreateObject();
    cJSON_DeleteItemFromObjectCaseSensitive(json, "path");
    zi_json_hide_paths(json);
    free(text);
    return json;
}

cJSON *zi_model_detail_json(const zi_registry_entry *entry, const char *loaded)
{
    cJSON *json = cJSON_CreateObject();
    cJSON_AddItemToObject(json, "model", zi_model_json(entry, loaded));
    cJSON_AddItemToObject(json, "inspect", inspection_json(entry->inspection));
    return json;
}
