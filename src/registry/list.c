/* The registry as a list, with what inspections found. */
#include "base/file.h"
#include "hub/cache.h"
#include "registry/incoming.h"
#include "registry/leftover.h"
#include "registry/registry.h"

#include <stdlib.h>
#include <string.h>

/* ---- inspections ---- */

/* Of the hub's cache, where people have all kinds of models, only the files tell what it is. */
static bool look(zi_section section, const char *path, zi_inspection **out, zi_error *error)
{
    zi_error why = {0}, language = {0};
    bool only_language = section == ZI_SECTION_PROMPT_ENHANCER;
    bool ok = only_language ? zi_inspect_llm(path, out, &why) : zi_inspect(path, out, &why);
    bool whole = ok && (*out)->components[ZI_COMPONENT_TRANSFORMER].present;
    zi_inspection *as_language = NULL;
    if (section == ZI_SECTION_HUB && !whole && zi_inspect_llm(path, &as_language, &language)) {
        if (ok) zi_inspection_free(*out);
        *out = as_language;
        return true;
    }
    if (!ok) *out = zi_inspection_create_failed(path, &why);
    if (*out && only_language) (*out)->kind = ZI_MODEL_LANGUAGE;
    return *out || zi_error_no_memory(error, sizeof **out);
}

/* Whether all files are there that a model in the hub's cache speaks of: others download into it,
 * too. */
static bool is_whole(const zi_entry_name *entry)
{
    return entry->section != ZI_SECTION_HUB || zi_snapshot_is_whole(entry->path);
}

static bool inspect_unknown(zi_registry *r, const zi_entry_names *all,
                            bool (*inspected)(void *user), void *user, zi_error *error)
{
    for (size_t i = 0; i < all->count; i++) {
        const zi_entry_name *entry = &all->entries[i];
        zi_file_state state;
        zi_inspection *found;
        if (!zi_file_state_read(entry->path, &state, NULL)) continue;
        zi_inspection *known = zi_inspections_find(r->inspections, entry->path, &state);
        zi_inspection_free(known);
        if (known || !is_whole(entry)) continue;
        if (!look(entry->section, entry->path, &found, error)) return false;
        zi_inspections_add(r->inspections, entry->path, &state, found);
        zi_inspection_free(found);
        if (inspected && !inspected(user)) return zi_error_cancelled(error);
    }
    return true;
}

bool zi_registry_inspect_all(zi_registry *r, bool (*inspected)(void *user), void *user,
                             zi_error *error)
{
    zi_entry_names all;
    if (!zi_registry_names(r, &all, error)) return false;
    bool ok = inspect_unknown(r, &all, inspected, user, error);
    zi_inspections_save(r->inspections);
    zi_entry_names_free(&all);
    return ok;
}

/* What cannot be read is known to be damaged. */
static zi_inspection *find_known(zi_registry *r, const char *path, uint64_t *bytes)
{
    zi_error why;
    zi_file_state state;
    bool readable = zi_file_state_read(path, &state, &why);
    *bytes = readable ? state.bytes : 0;
    return readable ? zi_inspections_find(r->inspections, path, &state)
                    : zi_inspection_create_failed(path, &why);
}

zi_inspection *zi_registry_known(zi_registry *registry, const char *path)
{
    uint64_t bytes;
    return find_known(registry, path, &bytes);
}

/* ---- the list ---- */

static zi_model_kind kind_of(const zi_registry_entry *entry)
{
    if (entry->section == ZI_SECTION_PROMPT_ENHANCER) return ZI_MODEL_LANGUAGE;
    if (entry->section != ZI_SECTION_HUB) return ZI_MODEL_IMAGE;
    return entry->inspection ? entry->inspection->kind : ZI_MODEL_OTHER;
}

/* Takes name and path of what belongs into the list. */
static void add_entry(zi_registry *r, zi_entry_name *from, zi_registry_list *out)
{
    zi_registry_entry entry = {.name = from->name, .path = from->path, .section = from->section};
    entry.inspection = find_known(r, from->path, &entry.bytes);
    entry.kind = kind_of(&entry);
    entry.is_default = out->default_name && !strcmp(out->default_name, entry.name);
    bool other = entry.inspection && entry.kind == ZI_MODEL_OTHER;
    if (other || (!entry.inspection && !is_whole(from))) {
        zi_inspection_free(entry.inspection);
        return;
    }
    out->unknown += !entry.inspection;
    out->entries[out->count++] = entry;
    *from = (zi_entry_name){0};
}

typedef struct {
    zi_registry_list *list;
    bool failed; /* memory is short */
} partial_reader;

static void add_partial(partial_reader *reader, const char *name, uint64_t bytes, bool download)
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

static void add_incoming(void *user, const char *name, uint64_t bytes)
{
    add_partial(user, name, bytes, true);
}

static void add_leftover(void *user, const char *name, uint64_t bytes)
{
    add_partial(user, name, bytes, false);
}

bool zi_registry_read(zi_registry *r, zi_registry_list *out, zi_error *error)
{
    zi_entry_names all;
    zi_registry_list list = {0};
    partial_reader reader = {&list, false};
    if (!zi_registry_names(r, &all, error)) return false;
    list.default_name = zi_registry_default(r);
    list.entries = calloc(all.count + 1, sizeof *list.entries);
    reader.failed = !list.entries;
    for (size_t i = 0; list.entries && i < all.count; i++) add_entry(r, &all.entries[i], &list);
    zi_entry_names_free(&all);
    zi_incoming_each(r->options.folder, add_incoming, &reader);
    zi_leftover_each(r->options.folder, add_leftover, &reader);
    if (reader.failed) {
        zi_registry_list_free(&list);
        return zi_error_no_memory(error, sizeof list);
    }
    *out = list;
    return true;
}

void zi_registry_list_free(zi_registry_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        free(list->entries[i].name);
        free(list->entries[i].path);
        zi_inspection_free(list->entries[i].inspection);
    }
    for (size_t i = 0; i < list->partial_count; i++) free(list->partial[i].name);
    free(list->entries);
    free(list->partial);
    free(list->default_name);
    *list = (zi_registry_list){0};
}
