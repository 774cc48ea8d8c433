/* The registry's list of models with their inspections. */
#include "base/file.h"
#include "hub/cache.h"
#include "registry/partial_download.h"
#include "registry/parts_search.h"
#include "registry/stale_temporary.h"

#include <stdlib.h>
#include <string.h>

/* ---- inspections ---- */

/* Inspects a model as an image model or, in prompt_enhancer, as a language model. In the hub's
 * cache, which has models of all kinds, the files decide which. A model that cannot be read gives
 * an inspection that says so. The caller frees *out. False: memory is short; *out is NULL. */
static bool inspect_as_section(zi_section section, const char *path, zi_inspection **out,
                               zi_error *error)
{
    zi_error why = {0}, language = {0};
    bool only_language = section == ZI_SECTION_PROMPT_ENHANCER;
    bool ok = only_language ? zi_inspect_llm(path, out, &why) : zi_inspect(path, out, &why);
    bool is_image_model = ok && (*out)->components[ZI_COMPONENT_TRANSFORMER].present;
    zi_inspection *as_language = NULL;
    if (section == ZI_SECTION_HUB && !is_image_model &&
        zi_inspect_llm(path, &as_language, &language)) {
        if (ok) zi_inspection_free(*out);
        *out = as_language;
        return true;
    }
    if (!ok) *out = zi_inspection_create_failed(path, &why);
    if (*out && only_language) (*out)->kind = ZI_MODEL_LANGUAGE;
    return *out || zi_error_no_memory(error, sizeof **out);
}

/* False: the model is a snapshot in the hub's cache that lacks files, as while a program is
 * downloading it, or cannot be read. Models elsewhere always count as complete. */
static bool is_complete(const zi_model_location *entry)
{
    return entry->section != ZI_SECTION_HUB || zi_snapshot_is_complete(entry->path);
}

/* Inspects a model, whose files have this state, and stores the result. The caller frees *out.
 * False: memory is short; *out is NULL. */
static bool inspect_now(zi_registry *r, const zi_model_location *location,
                        const zi_files_state *state, zi_inspection **out, zi_error *error)
{
    if (!inspect_as_section(location->section, location->path, out, error)) return false;
    zi_inspection_cache_put(r->inspections, location->path, state, *out);
    return true;
}

zi_inspection *zi_registry_inspect(zi_registry *registry, const zi_model_location *location)
{
    zi_files_state state;
    zi_inspection *found;
    if (!zi_files_state_read(location->path, &state, NULL)) return NULL;
    found = zi_inspection_cache_get(registry->inspections, location->path, &state);
    if (!found && !inspect_now(registry, location, &state, &found, NULL)) return NULL;
    return found;
}

/* Inspects the models that are not in the cache, and puts them there. Skips unreadable and
 * incomplete ones. inspected (may be NULL) is called after each that was inspected; its false ends
 * this with ZI_ERROR_CANCELLED. Also fails when memory is short. */
static bool inspect_unknown(zi_registry *r, const zi_model_locations *all,
                            bool (*inspected)(void *user), void *user, zi_error *error)
{
    for (size_t i = 0; i < all->count; i++) {
        const zi_model_location *entry = &all->entries[i];
        zi_files_state state;
        if (!zi_files_state_read(entry->path, &state, NULL)) continue;
        zi_inspection *found = zi_inspection_cache_get(r->inspections, entry->path, &state);
        bool known = found;
        if (!known && is_complete(entry) && !inspect_now(r, entry, &state, &found, error))
            return false;
        bool is_new = found && !known;
        zi_inspection_free(found);
        if (is_new && inspected && !inspected(user)) return zi_error_cancelled(error);
    }
    return true;
}

bool zi_registry_inspect_all(zi_registry *registry, bool (*inspected)(void *user), void *user,
                             zi_error *error)
{
    zi_model_locations all, parts = {0};
    if (!zi_registry_locate_models(registry, &all, error)) return false;
    /* Parts outside of the models folder, which `all` lacks, decide whether a model is usable, too.
     */
    bool ok = zi_registry_locate_parts(registry, &all, &parts, error) &&
              inspect_unknown(registry, &parts, inspected, user, error) &&
              inspect_unknown(registry, &all, inspected, user, error);
    zi_inspection_cache_save(registry->inspections);
    zi_model_locations_free(&parts);
    zi_model_locations_free(&all);
    return ok;
}

/* Returns the cached inspection of a path, to be freed; NULL: none. For files that cannot be read
 * it is a failed inspection. *bytes: size of the files, 0 if they cannot be read. */
static zi_inspection *cached_or_failed_inspection(zi_registry *r, const char *path, uint64_t *bytes)
{
    zi_error why;
    zi_files_state state;
    bool readable = zi_files_state_read(path, &state, &why);
    *bytes = readable ? state.bytes : 0;
    return readable ? zi_inspection_cache_get(r->inspections, path, &state)
                    : zi_inspection_create_failed(path, &why);
}

zi_inspection *zi_registry_cached_inspection(zi_registry *registry, const char *path)
{
    uint64_t bytes;
    return cached_or_failed_inspection(registry, path, &bytes);
}

/* ---- the list ---- */

/* The kind by section; in the hub's cache by inspection, and ZI_MODEL_OTHER without one. */
static zi_model_kind kind_of(const zi_registry_entry *entry)
{
    return entry->section == ZI_SECTION_HUB && entry->inspection ? entry->inspection->kind
                                                                 : zi_section_kind(entry->section);
}

/* Appends an entry to `out`, which has room for it and takes over *from, then zeroed. Skips, and
 * leaves *from: in the hub's cache, models of other kinds, and incomplete ones without an
 * inspection. */
static void add_entry(zi_registry *r, zi_model_location *from, zi_registry_list *out)
{
    zi_registry_entry entry = {.name = from->name, .path = from->path, .section = from->section};
    entry.inspection = cached_or_failed_inspection(r, from->path, &entry.bytes);
    entry.kind = kind_of(&entry);
    entry.is_default = out->default_name && !strcmp(out->default_name, entry.name);
    bool other = entry.inspection && entry.kind == ZI_MODEL_OTHER;
    if (other || (!entry.inspection && !is_complete(from))) {
        zi_inspection_free(entry.inspection);
        return;
    }
    out->unknown += !entry.inspection;
    out->entries[out->count++] = entry;
    *from = (zi_model_location){0};
}

typedef struct {
    zi_registry_list *list;
    bool failed; /* memory is short */
} partial_list;

/* Appends an unfinished model with a copy of its name; sets reader->failed when memory is short.
 * download: as in zi_partial_model. */
static void add_partial(partial_list *reader, const char *name, uint64_t bytes, bool download)
{
    zi_registry_list *list = reader->list;
    zi_partial_model added = {strdup(name), download, bytes};
    zi_partial_model *more = realloc(list->partial, (list->partial_count + 1) * sizeof *more);
    if (more) list->partial = more;
    if (more && added.name) {
        more[list->partial_count++] = added;
        return;
    }
    free(added.name);
    reader->failed = true;
}

/* zi_partial_download_fn; user: the partial_list. Adds a row with `download` set. */
static void add_partial_download(void *user, const char *name, uint64_t bytes)
{
    add_partial(user, name, bytes, true);
}

/* zi_stale_temporary_fn; user: the partial_list. Adds a row that is no download. */
static void add_stale_temporary(void *user, const char *name, uint64_t bytes)
{
    add_partial(user, name, bytes, false);
}

bool zi_registry_read(zi_registry *registry, zi_registry_list *out, zi_error *error)
{
    zi_model_locations all;
    zi_registry_list list = {0};
    partial_list reader = {&list, false};
    if (!zi_registry_locate_models(registry, &all, error)) return false;
    list.default_name = zi_registry_default_name(registry);
    list.entries = calloc(all.count + 1, sizeof *list.entries);
    reader.failed = !list.entries;
    for (size_t i = 0; list.entries && i < all.count; i++)
        add_entry(registry, &all.entries[i], &list);
    zi_model_locations_free(&all);
    zi_partial_download_for_each(registry->options.folder, add_partial_download, &reader);
    zi_stale_temporary_for_each(registry->options.folder, add_stale_temporary, &reader);
    if (reader.failed || !zi_registry_add_parts(registry, &list, NULL)) {
        zi_registry_list_free(&list);
        return zi_error_no_memory(error, sizeof list);
    }
    *out = list;
    return true;
}

void zi_registry_list_free(zi_registry_list *list)
{
    if (!list) return;
    for (size_t i = 0; i < list->count; i++) {
        free(list->entries[i].name);
        free(list->entries[i].path);
        zi_inspection_free(list->entries[i].inspection);
        free(list->entries[i].text_encoder);
        free(list->entries[i].vae);
        free(list->entries[i].tokenizer);
    }
    for (size_t i = 0; i < list->partial_count; i++) free(list->partial[i].name);
    free(list->entries);
    free(list->partial);
    free(list->default_name);
    *list = (zi_registry_list){0};
}
