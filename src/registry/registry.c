#include "registry/registry.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/temporary.h"
#include "base/text.h"
#include "hub/cache.h"
#include "io/gguf_split.h"
#include "io/json.h"
#include "io/layout.h"
#include "io/weights_files.h"
#include "registry/partial_download.h"
#include "registry/parts_search.h"
#include "registry/stale_temporary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char default_file[] = "default.txt";

/* ---- opening and closing ---- */

bool zi_registry_open(const zi_registry_options *options, zi_registry **out, zi_error *error)
{
    if (!ZI_CHECK_RESERVED(options, error)) return false;
    if (!ZI_CHECK_RESERVED(&options->hub, error)) return false;
    zi_registry *r = calloc(1, sizeof *r);
    if (!r) return zi_error_no_memory(error, sizeof *r);
    pthread_mutex_init(&r->mutex, NULL);
    r->options = *options;
    if (options->model) r->model_name = zi_registry_name_of(r, options->model);
    r->inspections = zi_inspection_cache_create(options->cache_file);
    if (!r->inspections || (options->model && !r->model_name)) {
        zi_registry_close(r);
        return zi_error_no_memory(error, sizeof *r);
    }
    *out = r;
    return true;
}

void zi_registry_close(zi_registry *registry)
{
    if (!registry) return;
    zi_inspection_cache_free(registry->inspections);
    pthread_mutex_destroy(&registry->mutex);
    free(registry->session_default);
    free(registry->model_name);
    free(registry);
}

/* ---- the default ---- */

/* Returns the first line of the models folder's default.txt, in new memory; NULL: there is none, it
 * is empty, or it cannot be read, or memory is short. */
static char *read_default_file(const zi_registry *r)
{
    char *path = zi_path_join(r->options.folder, default_file), *text = NULL;
    size_t size;
    if (path && zi_is_file(path) && zi_file_read(path, 1024, &text, &size, NULL))
        text[strcspn(text, "\r\n")] = 0;
    free(path);
    if (text && *text) return text;
    free(text);
    return NULL;
}

/* Writes the name to default.txt, atomically, and makes the folder if needed. name NULL: removes
 * the file, which may be missing. */
static bool write_default_file(const zi_registry *r, const char *name, zi_error *error)
{
    zi_output output = {0};
    char *path = zi_path_join(r->options.folder, default_file);
    bool ok = path || zi_error_no_memory(error, strlen(r->options.folder));
    if (ok && !name)
        ok = unlink(path) == 0 || errno == ENOENT ||
             zi_error_set(error, ZI_ERROR_IO, path, "cannot be removed: %s; remove it yourself",
                          strerror(errno));
    else if (ok)
        ok = zi_make_folders(r->options.folder, error) && zi_output_open(&output, path, error) &&
             zi_output_write(&output, name, strlen(name), error) &&
             zi_output_write(&output, "\n", 1, error) && zi_output_commit(&output, error);
    zi_output_discard(&output);
    free(path);
    return ok;
}

/* Returns the name of the chosen default in new memory: this session's, else options.model's, else
 * that in default.txt. *from_file: it is, or would be, the last. NULL, without an error: none was
 * chosen, or memory is short. Locks the mutex. */
static char *default_name(zi_registry *registry, bool *from_file)
{
    pthread_mutex_lock(&registry->mutex);
    const char *name = registry->session_default ? registry->session_default : registry->model_name;
    char *copy = name ? strdup(name) : NULL;
    pthread_mutex_unlock(&registry->mutex);
    *from_file = !name;
    return name ? copy : read_default_file(registry);
}

char *zi_registry_default_name(zi_registry *registry)
{
    bool from_file;
    return default_name(registry, &from_file);
}

/* Sets the default of this registry object alone, until it is closed. Locks the registry's mutex.
 * False: out of memory. */
static bool set_session_default(zi_registry *r, const char *name, zi_error *error)
{
    char *copy = strdup(name);
    if (!copy) return zi_error_no_memory(error, strlen(name));
    pthread_mutex_lock(&r->mutex);
    free(r->session_default);
    r->session_default = copy;
    pthread_mutex_unlock(&r->mutex);
    return true;
}

/* ---- finding a model ---- */

void zi_resolved_model_free(zi_resolved_model *model)
{
    if (!model) return;
    free(model->name);
    free(model->path);
    free(model->passed_over);
    *model = (zi_resolved_model){0};
}

/* Sets out->name and path to copies; frees no old strings, and leaves out->as. False: out of
 * memory. The caller frees out, also after false. */
static bool set_resolved(zi_resolved_model *out, const char *name, const char *path,
                         zi_error *error)
{
    out->name = strdup(name);
    out->path = strdup(path);
    return (out->name && out->path) || zi_error_no_memory(error, strlen(path));
}

/* Sets *out if name is that of options.model ("named/BASENAME") or of the demo model ("demo"), else
 * leaves it and returns true. Whether the files exist is not checked. False: out of memory. */
static bool find_option_model(const zi_registry *r, const char *name, zi_resolved_model *out,
                              zi_error *error)
{
    const zi_registry_options *o = &r->options;
    if (r->model_name && !strcmp(name, r->model_name))
        return set_resolved(out, name, o->model, error);
    if (o->demo && !strcmp(name, zi_section_name(ZI_SECTION_DEMO)))
        return set_resolved(out, name, o->demo, error);
    return true;
}

/* Finds a model by a name that zi_registry_read lists, or by its name without the section (then in
 * the first section that has it). Sets name and path of *out; both stay NULL if there is none,
 * which is not an error. The caller frees *out, after false, too. */
static bool find_listed(const zi_registry *r, const char *name, zi_resolved_model *out,
                        zi_error *error)
{
    zi_model_location entry;
    if (!zi_registry_find_in_folder(r, NULL, name, &entry, error)) return false;
    out->name = entry.name;
    out->path = entry.path;
    if (out->path) return true;
    if (!zi_registry_find_in_hub_cache(r, name, &out->path, error)) return false;
    if (!out->path) return find_option_model(r, name, out, error);
    out->name = strdup(name);
    return out->name || zi_error_no_memory(error, strlen(name));
}

/* Whether name can be a repository of the hub: OWNER/NAME[@REVISION], or a short name
 * ("prompt-enhancer"). */
static bool is_repo_id(const char *name)
{
    zi_repo_id repo;
    bool valid = zi_repo_id_parse(name, &repo, NULL);
    if (valid) zi_repo_id_free(&repo);
    return valid;
}

/* Sets name and path of *out for a path that exists, of which a folder like ComfyUI's stands for
 * its diffusion model. ZI_ERROR_NOT_FOUND: it has several, or none. The caller frees *out, after
 * false, too. */
static bool find_path(const zi_registry *r, const char *path, zi_resolved_model *out,
                      zi_error *error)
{
    if (!zi_registry_find_in_comfyui(r, path, &out->path, error)) return false;
    if (!out->path) return set_resolved(out, path, path, error);
    out->name = strdup(out->path);
    return out->name || zi_error_no_memory(error, strlen(path));
}

/* Sets name and path of *out for a path that exists (unless names_only), else for a listed name.
 * ZI_ERROR_NOT_FOUND: there is none. The caller frees *out, after false, too. */
static bool find_named(const zi_registry *r, const char *name, zi_resolved_model *out,
                       zi_error *error)
{
    struct stat st;
    const char *folder = r->options.folder;
    if (!r->options.names_only && *name && stat(name, &st) == 0)
        return find_path(r, name, out, error);
    if (!find_listed(r, name, out, error)) return false;
    if (out->path) return true;
    bool repo = is_repo_id(name);
    if (r->options.names_only)
        return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, name, "name",
                               "there is no such model, so name one that is in the list of models");
    return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, name, repo ? "repo" : "name",
                           "no such file or folder, and no model of that name in the models folder "
                           "%s%s",
                           folder, repo ? ", nor a whole one in the cache of Hugging Face" : "");
}

/* Sets *out to the model of the chosen default's name, as ZI_RESOLVED_DEFAULT. ZI_ERROR_NOT_FOUND:
 * it is not there any more. from_file: the name is that in default.txt. The caller frees *out,
 * after false, too. */
static bool find_chosen(const zi_registry *r, const char *name, bool from_file,
                        zi_resolved_model *out, zi_error *error)
{
    if (!find_listed(r, name, out, error)) return false;
    out->as = ZI_RESOLVED_DEFAULT;
    if (out->path) return true;
    if (from_file)
        return zi_error_set_in(
            error, ZI_ERROR_NOT_FOUND, NULL, "default",
            "%s/%s names %s, which is not there any more; choose another default",
            r->options.folder, default_file, name);
    return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, NULL, "default",
                           "the default model, %s, is not there any more; choose another default",
                           name);
}

/* Sets ZI_ERROR_NOT_FOUND, with the names of the first 8 of `count` image models in the models
 * folder to choose from. Returns false. */
static bool fail_ambiguous(const zi_registry *r, const zi_model_location *const *models,
                           size_t count, zi_error *error)
{
    enum { SHOWN = 8 };
    zi_text text;
    zi_text_init(&text, 1 << 12);
    for (size_t i = 0; i < count && i < SHOWN; i++)
        zi_text_printf(&text, "%s%s", i ? ", " : "", models[i]->name);
    if (count > SHOWN) zi_text_printf(&text, " and %zu more", count - SHOWN);
    char *names = zi_text_take(&text);
    zi_error_set_in(error, ZI_ERROR_NOT_FOUND, NULL, "default",
                    "%zu image models are in the models folder (%s), and none is the default: %s; "
                    "name one, or choose a default",
                    count, r->options.folder, names ? names : "");
    free(names);
    return false;
}

/* Whether a model in the hub's cache, which has models of all kinds, is a complete one of Z-Image,
 * by its index (diffusers) or the name of its weights (MLX). */
static bool is_image_model_of_hub(const zi_model_location *location)
{
    enum { MAX_INDEX = 1 << 20 };
    cJSON *json = NULL;
    if (location->section != ZI_SECTION_HUB || !zi_snapshot_is_complete(location->path))
        return false;
    char *index = zi_path_join(location->path, "model_index.json");
    char weights[ZI_WEIGHTS_NAME];
    bool shards;
    const char *name = index && zi_is_file(index) && zi_json_read(index, MAX_INDEX, &json, NULL)
                           ? cJSON_GetStringValue(zi_json_find(json, "_class_name"))
                           : NULL;
    bool is = (name && zi_is_pipeline_class(name)) ||
              zi_weights_find(location->path, "weights", weights, &shards);
    cJSON_Delete(json);
    free(index);
    return is;
}

/* Sets *out to the only one of all models that is an image model in the hub's cache; leaves it if
 * there is none. ZI_ERROR_NOT_FOUND: there are several. The caller frees *out, after false, too. */
static bool find_only_of_hub(const zi_model_locations *all, zi_resolved_model *out, zi_error *error)
{
    const zi_model_location *only = NULL;
    zi_text names;
    size_t count = 0;
    zi_text_init(&names, 1 << 10);
    for (size_t i = 0; i < all->count; i++) {
        if (!is_image_model_of_hub(&all->entries[i])) continue;
        only = &all->entries[i];
        zi_text_printf(&names, "%s%s", count++ ? ", " : "", only->name);
    }
    bool ok = true;
    if (count > 1)
        ok = zi_error_set_in(error, ZI_ERROR_NOT_FOUND, NULL, "default",
                             "the cache of Hugging Face has %zu image models and none is the "
                             "default: %s; name one, or choose a default",
                             count, names.data ? names.data : "");
    else if (count == 1)
        ok = set_resolved(out, only->name, only->path, error);
    zi_text_free(&names);
    return ok;
}

/* Sets *out to the complete Z-Image-Turbo in the hub's cache, else to the only other image model
 * there, of all models, else to the demo model, which need not exist. ZI_ERROR_NOT_FOUND: there is
 * none of them, or several others. The caller frees *out, after false, too. */
static bool find_downloaded_or_demo(const zi_registry *r, const zi_model_locations *all,
                                    zi_resolved_model *out, zi_error *error)
{
    zi_repo_id turbo;
    char *path = NULL;
    if (!zi_hub_find_cached(&r->options.hub, NULL, &path, error)) return false;
    if (path && !zi_repo_id_parse(NULL, &turbo, error)) {
        free(path);
        return false;
    }
    if (path) {
        bool ok = set_resolved(out, turbo.repo, path, error);
        out->as = ZI_RESOLVED_DOWNLOADED;
        zi_repo_id_free(&turbo);
        free(path);
        return ok;
    }
    if (!find_only_of_hub(all, out, error)) return false;
    out->as = out->path ? ZI_RESOLVED_DOWNLOADED : ZI_RESOLVED_DEMO;
    if (out->path) return true;
    if (r->options.demo)
        return set_resolved(out, zi_section_name(ZI_SECTION_DEMO), r->options.demo, error);
    return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, NULL, "model",
                           "there is no model: no complete one in %s, none in the cache of Hugging "
                           "Face, and no demo model; download one, or name one that you have",
                           r->options.folder);
}

/* The image models of the models folder; pointers into a list of locations. */
typedef struct {
    const zi_model_locations *all;      /* that list */
    const zi_model_location **complete; /* [count] */
    size_t count;
    const zi_model_location *other; /* the first that is not complete; NULL: none */
} image_models;

/* Sorts the image models of the models folder into complete and other ones, for a free() of
 * out->complete. False: out of memory. */
static bool sort_image_models(zi_registry *r, const zi_model_locations *all, image_models *out,
                              zi_error *error)
{
    zi_parts_search search;
    bool ok = true;
    *out = (image_models){.all = all, .complete = calloc(all->count + 1, sizeof *out->complete)};
    if (!out->complete) return zi_error_no_memory(error, all->count * sizeof *out->complete);
    if (!zi_parts_search_start(r, !r->options.names_only, &search, error)) return false;
    for (size_t i = 0; ok && i < all->count; i++) {
        const zi_model_location *model = &all->entries[i];
        bool is_model, complete;
        if (!zi_section_has_images(model->section)) continue;
        ok = zi_registry_is_complete(&search, model, &is_model, &complete, error);
        if (ok && is_model && complete)
            out->complete[out->count++] = model;
        else if (ok && is_model && !out->other)
            out->other = model;
    }
    zi_parts_search_end(&search);
    return ok;
}

/* Sets *out to the only complete model, else, if there is none, to the downloaded or the demo
 * model, and then out->passed_over. ZI_ERROR_NOT_FOUND: there are several, or none. The caller
 * frees *out, after false, too. */
static bool choose_image_model(const zi_registry *r, const image_models *models,
                               zi_resolved_model *out, zi_error *error)
{
    if (models->count > 1) return fail_ambiguous(r, models->complete, models->count, error);
    if (models->count == 1) {
        out->as = ZI_RESOLVED_ONLY;
        return set_resolved(out, models->complete[0]->name, models->complete[0]->path, error);
    }
    if (!find_downloaded_or_demo(r, models->all, out, error)) return false;
    out->passed_over = models->other ? strdup(models->other->name) : NULL;
    return out->passed_over || !models->other ||
           zi_error_no_memory(error, strlen(models->other->name));
}

/* Sets *out to the model to use when none is named: the chosen default, else the only complete
 * image model of the models folder, else downloaded or demo. ZI_ERROR_NOT_FOUND: there is none, or
 * several. The caller frees *out, after false, too. Locks the mutex. */
static bool find_unnamed(zi_registry *r, zi_resolved_model *out, zi_error *error)
{
    zi_model_locations all;
    image_models models;
    bool from_file;
    char *chosen = default_name(r, &from_file);
    if (chosen) {
        bool ok = find_chosen(r, chosen, from_file, out, error);
        free(chosen);
        return ok;
    }
    if (!zi_registry_locate_models(r, &all, error)) return false;
    bool ok =
        sort_image_models(r, &all, &models, error) && choose_image_model(r, &models, out, error);
    free(models.complete);
    zi_model_locations_free(&all);
    return ok;
}

bool zi_registry_resolve(zi_registry *registry, const char *name, zi_resolved_model *out,
                         zi_error *error)
{
    zi_resolved_model found = {0};
    bool ok =
        name ? find_named(registry, name, &found, error) : find_unnamed(registry, &found, error);
    if (ok)
        *out = found;
    else
        zi_resolved_model_free(&found);
    return ok;
}

/* ---- language models ---- */

/* Sets *path, which must be NULL, to the only language model of the models folder, else to the
 * default one in the hub's cache, in new memory; it stays NULL when there is none, and after a
 * failure. ZI_ERROR_NOT_FOUND: several are in the folder. */
static bool find_only_language(const zi_registry *r, char **path, zi_error *error)
{
    zi_model_locations all;
    const char *only = NULL;
    size_t count = 0;
    if (!zi_registry_locate_models(r, &all, error)) return false;
    for (size_t i = 0; i < all.count; i++) {
        if (all.entries[i].section != ZI_SECTION_PROMPT_ENHANCER) continue;
        count++;
        only = all.entries[i].path;
    }
    bool ok = true;
    if (count > 1)
        ok = zi_error_set_in(error, ZI_ERROR_NOT_FOUND, NULL, "llm",
                             "%s/prompt_enhancer has %zu language models, so name the one to use",
                             r->options.folder, count);
    else if (count == 1)
        ok = (*path = strdup(only)) || zi_error_no_memory(error, strlen(only));
    else
        ok = zi_hub_find_cached(&r->options.hub, "prompt-enhancer", path, error);
    zi_model_locations_free(&all);
    return ok;
}

bool zi_registry_resolve_llm(zi_registry *registry, const char *name, char **path, zi_error *error)
{
    zi_resolved_model found = {0};
    bool only = !name || !strcmp(name, zi_section_name(ZI_SECTION_PROMPT_ENHANCER));
    bool ok = only ? find_only_language(registry, &found.path, error)
                   : find_named(registry, name, &found, error);
    if (ok) {
        *path = found.path;
        found.path = NULL;
    }
    zi_resolved_model_free(&found);
    return ok;
}

/* ---- choosing the default, removing models ---- */

/* Sets a ZI_ERROR_NOT_FOUND error for this name; returns false. */
static bool fail_unknown(const char *name, zi_error *error)
{
    return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, name, "name",
                           "there is no such model, so name one that is in the list of models");
}

/* The section of a model's name, SECTION/NAME (of a language model also SECTION alone);
 * ZI_SECTION_HUB: it has none. */
static zi_section section_of_name(const char *name)
{
    size_t length = strcspn(name, "/");
    zi_section section = zi_section_find(name, length);
    return name[length] || section == ZI_SECTION_PROMPT_ENHANCER ? section : ZI_SECTION_HUB;
}

bool zi_registry_set_default(zi_registry *registry, const char *name, bool lasting, zi_error *error)
{
    zi_resolved_model found = {0};
    bool ok = find_listed(registry, name, &found, error);
    zi_section section = found.path ? section_of_name(found.name) : ZI_SECTION_HUB;
    if (ok && !found.path)
        ok = fail_unknown(name, error);
    else if (ok && section == ZI_SECTION_PROMPT_ENHANCER)
        ok = zi_error_set(error, ZI_ERROR_UNSUPPORTED, found.name,
                          "is a language model, which generates no images; name an image model");
    else if (ok && section != ZI_SECTION_HUB && !zi_section_has_images(section))
        ok = zi_error_set(error, ZI_ERROR_UNSUPPORTED, found.name,
                          "is in the folder %s, whose models generate no images by themselves; "
                          "name an image model",
                          zi_section_name(section));
    else if (ok)
        ok = lasting ? write_default_file(registry, found.name, error)
                     : set_session_default(registry, found.name, error);
    zi_resolved_model_free(&found);
    return ok;
}

/* Sets *path to what has this name in the registry and can be removed, in new memory, and *location
 * to its name in the models folder, in new memory, too, or to NULL. Both are NULL after a failure.
 */
static bool find_removable(const zi_registry *r, const char *name, char **path, char **location,
                           zi_error *error)
{
    const zi_registry_options *o = &r->options;
    zi_model_location entry;
    const char *partial = zi_partial_download_parse_name(name);
    *path = *location = NULL;
    if (partial) return zi_partial_download_find(o->folder, partial, path, error);
    if (zi_is_temporary_name(name)) return zi_stale_temporary_find(o->folder, name, path, error);
    if (!zi_registry_find_in_folder(r, NULL, name, &entry, error)) return false;
    *location = entry.name;
    entry.name = NULL;
    zi_model_location_free(&entry);
    if (*location) {
        *path = zi_path_join(o->folder, *location);
        if (*path) return true;
        free(*location);
        *location = NULL;
        return zi_error_no_memory(error, strlen(o->folder));
    }
    if (!o->hub.cache || !strchr(name, '/')) return fail_unknown(name, error);
    if (section_of_name(name) != ZI_SECTION_HUB)
        return zi_hub_cache_find_repo(&o->hub, name, path, NULL) || fail_unknown(name, error);
    if (!is_repo_id(name))
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "name",
                               "'%s' cannot be the name of a model; name one that is in the list "
                               "of models",
                               name);
    return zi_hub_cache_find_repo(&o->hub, name, path, error);
}

bool zi_registry_find_removable(zi_registry *registry, const char *name, char **path,
                                zi_error *error)
{
    char *found, *location;
    bool ok = find_removable(registry, name, &found, &location, error);
    free(location);
    if (ok) *path = found;
    return ok;
}

/* Removes those files of a GGUF model in several that are there; path: of one of them. */
static bool remove_shards(const char *path, int count, zi_error *error)
{
    bool ok = true;
    for (int i = 1; ok && i <= count; i++) {
        char *shard = zi_gguf_shard_path(path, i);
        struct stat st;
        if (!shard) return zi_error_no_memory(error, strlen(path));
        ok = lstat(shard, &st) != 0 || zi_remove_tree(shard, error);
        free(shard);
    }
    return ok;
}

/* Removes the model at path, with all files of a GGUF model in several: a link itself, not what it
 * points to. */
static bool remove_model(const char *path, zi_error *error)
{
    int number, count;
    return zi_gguf_shard_parse(path, &number, &count) ? remove_shards(path, count, error)
                                                      : zi_remove_tree(path, error);
}

/* Removes what find_removable has found: in the models folder a link itself, not what it points
 * to. */
static bool remove_found(const zi_registry *r, const char *name, const char *path, zi_error *error)
{
    const zi_registry_options *o = &r->options;
    const char *partial = zi_partial_download_parse_name(name);
    if (partial) return zi_partial_download_remove(o->folder, partial, error);
    if (zi_is_temporary_name(name)) return zi_stale_temporary_remove(o->folder, name, error);
    return remove_model(path, error);
}

bool zi_registry_remove(zi_registry *registry, const char *name, zi_error *error)
{
    char *path, *location, *chosen = read_default_file(registry);
    bool ok = find_removable(registry, name, &path, &location, error) &&
              remove_found(registry, name, path, error);
    if (ok && chosen && !strcmp(chosen, location ? location : name))
        ok = write_default_file(registry, NULL, error);
    free(chosen);
    free(location);
    free(path);
    return ok;
}
