/* Parts that models lack: those for one model, for the models of the list, and by name. */
#include "base/file.h"
#include "base/filesystem.h"
#include "base/text.h"
#include "hub/cache.h"
#include "io/layout.h"
#include "registry/parts_search.h"

#include <stdlib.h>
#include <string.h>

/* ---- for one model ---- */

/* Sets lacks to the components that a model lacks itself, by its inspection. */
static void own_needs(const zi_inspection *in, bool lacks[ZI_COMPONENTS])
{
    for (int i = 0; i < ZI_COMPONENTS; i++) lacks[i] = in->components[i].missing;
}

/* Sets lacks[i] to false for the parts that the options provide: by their own path, or by a
 * reference that has them. */
static void take_given(const zi_model_options *options, bool lacks[ZI_COMPONENTS])
{
    zi_layout reference = {0};
    if (options->reference && !zi_layout_read(options->reference, &reference, NULL))
        reference = (zi_layout){0}; /* loading reports it */
    for (int kind = 0; kind < ZI_PARTS; kind++) {
        zi_component component = zi_part_component(kind);
        const char *path = component == ZI_COMPONENT_VAE ? options->vae : options->text_encoder;
        if (path || reference.components[component].path) lacks[component] = false;
    }
    zi_layout_free(&reference);
}

/* Sets *path to a chosen part's, in new memory, and appends it to the note; leaves both if none
 * was chosen. False: memory is short. */
static bool take_part(const zi_chosen_part *part, int kind, char **path, zi_text *note,
                      zi_error *error)
{
    if (!part->file) return true;
    zi_text_printf(note, "%s%s %s", note->size ? ", " : "using ",
                   zi_component_title(zi_part_component(kind)), part->file->name);
    if (part->count > 1) zi_text_printf(note, " (of %zu that fit)", part->count);
    *path = strdup(part->file->path);
    return *path || zi_error_no_memory(error, strlen(part->file->path));
}

/* Chooses what the model at options->path lacks among the files of the folder that the search has
 * entered. False: memory is short; the caller frees *out in any case. */
static bool choose_parts(const zi_parts_search *s, const zi_model_options *options,
                         zi_model_parts *out, zi_error *error)
{
    zi_model_location location = {(char *)(uintptr_t)options->path,
                                  (char *)(uintptr_t)options->path, ZI_SECTION_DIFFUSION_MODELS};
    zi_inspection *model = zi_parts_search_inspect(s, &location);
    bool lacks[ZI_COMPONENTS], ok = true;
    if (!model) return true; /* loading tells why */
    zi_text note;
    zi_text_init(&note, 1 << 14);
    own_needs(model, lacks);
    take_given(options, lacks);
    for (int kind = 0; ok && kind < ZI_PARTS; kind++) {
        if (!lacks[zi_part_component(kind)]) continue;
        zi_chosen_part part = zi_parts_search_choose(s, kind, model);
        ok = take_part(&part, kind, kind == ZI_PART_VAE ? &out->vae : &out->text_encoder, &note,
                       error);
    }
    if (ok && note.size) {
        zi_text_printf(&note, " in %s", s->root);
        out->note = zi_text_take(&note);
        ok = out->note || zi_error_no_memory(error, 1 << 14);
    }
    zi_text_free(&note);
    zi_inspection_free(model);
    return ok;
}

bool zi_registry_find_parts(zi_registry *registry, const zi_model_options *options,
                            zi_model_parts *out, zi_error *error)
{
    zi_model_parts parts = {0};
    zi_parts_search search;
    if (!zi_parts_search_start(registry, true, &search, error)) return false;
    bool ok = zi_parts_search_enter(&search, options->path, error) &&
              (!search.root || choose_parts(&search, options, &parts, error));
    parts.tokenizer = search.tokenizer; /* moved */
    search.tokenizer = NULL;
    zi_parts_search_end(&search);
    if (ok)
        *out = parts;
    else
        zi_model_parts_free(&parts);
    return ok;
}

void zi_model_parts_free(zi_model_parts *parts)
{
    if (!parts) return;
    free(parts->text_encoder);
    free(parts->vae);
    free(parts->tokenizer);
    free(parts->note);
    *parts = (zi_model_parts){0};
}

/* ---- whether a model is complete ---- */

/* Sets lacks to the components that a model with this layout lacks itself, as far as its files
 * tell without an inspection. */
static void needs_by_layout(const zi_layout *layout, bool lacks[ZI_COMPONENTS])
{
    for (int i = 0; i < ZI_WEIGHT_COMPONENTS; i++) lacks[i] = !layout->components[i].path;
    lacks[ZI_COMPONENT_TOKENIZER] = !layout->tokenizer;
}

/* Whether nothing is lacking. */
static bool has_all(const bool lacks[ZI_COMPONENTS])
{
    bool all = true;
    for (int i = 0; i < ZI_COMPONENTS; i++) all = all && !lacks[i];
    return all;
}

/* zi_registry_is_complete for a model with this layout, which has a transformer. */
static bool is_complete_with_parts(zi_parts_search *search, const zi_model_location *model,
                                   const zi_layout *layout, bool *complete, zi_error *error)
{
    zi_model_needs needs = {0};
    if (!zi_parts_search_enter(search, model->path, error)) return false;
    zi_inspection *in = search->root ? zi_parts_search_inspect(search, model)
                                     : zi_registry_cached_inspection(search->registry, model->path);
    bool unknown = search->root && (!in || !zi_parts_search_knows_all(search));
    if (in && in->has_components)
        own_needs(in, needs.lacks);
    else
        needs_by_layout(layout, needs.lacks);
    bool ok = zi_parts_search_meet_needs(search, model->path, in, &needs, error);
    *complete = ok && (unknown || has_all(needs.lacks));
    free(needs.tokenizer);
    zi_inspection_free(in);
    return ok;
}

bool zi_registry_is_complete(zi_parts_search *search, const zi_model_location *model,
                             bool *is_model, bool *complete, zi_error *error)
{
    zi_layout layout;
    zi_error why = {0};
    bool comfyui = zi_section_is_comfyui(model->section);
    *complete = true;
    bool ok = true, read = zi_layout_read(model->path, &layout, &why);
    *is_model = !comfyui || zi_may_be_diffusion_model(read ? &layout : NULL, &why);
    if (!read) return true;
    bool has = layout.components[ZI_COMPONENT_TRANSFORMER].path;
    if (!has || search->registry->options.parts_given)
        *complete = has;
    else
        ok = is_complete_with_parts(search, model, &layout, complete, error);
    zi_layout_free(&layout);
    return ok;
}

/* ---- for a list ---- */

/* Whether the caller has what this model may lack, since it is the one of the options. */
static bool has_given_parts(const zi_registry *r, const zi_registry_entry *entry)
{
    return r->options.parts_given && r->model_name && !strcmp(entry->name, r->model_name) &&
           entry->inspection->components[ZI_COMPONENT_TRANSFORMER].present &&
           entry->inspection->health == ZI_HEALTH_INCOMPLETE;
}

/* Sets what an image model of the list gets and lacks, and whether it is usable. False: memory is
 * short. */
static bool add_parts(zi_parts_search *search, zi_registry_entry *entry, zi_error *error)
{
    const zi_inspection *in = entry->inspection;
    zi_model_needs needs = {0};
    if (!zi_parts_search_enter(search, entry->path, error)) return false;
    own_needs(in, needs.lacks);
    if (!zi_parts_search_meet_needs(search, entry->path, in, &needs, error)) return false;
    const zi_model_location *text = needs.parts[ZI_PART_TEXT_ENCODER].file,
                            *vae = needs.parts[ZI_PART_VAE].file;
    entry->tokenizer = needs.tokenizer;
    memcpy(entry->lacks, needs.lacks, sizeof entry->lacks);
    entry->usable =
        in->usable || (!in->problem_count && in->has_components && has_all(needs.lacks));
    if (has_given_parts(search->registry, entry)) entry->usable = true;
    if (text) entry->text_encoder = strdup(text->name);
    if (vae) entry->vae = strdup(vae->name);
    return (!text || entry->text_encoder) && (!vae || entry->vae)
               ? true
               : zi_error_no_memory(error, strlen(entry->name));
}

bool zi_registry_add_parts(zi_registry *registry, zi_registry_list *list, zi_error *error)
{
    zi_parts_search search;
    if (!zi_parts_search_start(registry, false, &search, error)) return false;
    bool ok = true;
    for (size_t i = 0; ok && i < list->count; i++)
        if (list->entries[i].kind == ZI_MODEL_IMAGE && list->entries[i].inspection)
            ok = add_parts(&search, &list->entries[i], error);
    zi_parts_search_end(&search);
    return ok;
}

/* ---- by name ---- */

/* Sets *path, which is NULL before, to the model of this name in one of the component's folders; it
 * stays NULL if there is none. False: memory is short. */
static bool find_in_sections(const zi_registry *r, zi_component component, const char *name,
                             char **path, zi_error *error)
{
    zi_model_location found = {0};
    bool ok = true;
    const zi_model_kind kind = component == ZI_COMPONENT_VAE ? ZI_MODEL_VAE : ZI_MODEL_TEXT_ENCODER;
    if (component != ZI_COMPONENT_TOKENIZER)
        ok = zi_registry_find_in_folder(r, &kind, name, &found, error);
    *path = found.path;
    free(found.name);
    return ok;
}

/* Sets *path, which is NULL before, to the tokenizer of a repository in the hub's cache, or of
 * "tokenizer"; it stays NULL if there is none. False: memory is short. */
static bool find_hub_tokenizer(const zi_registry *r, const char *name, char **path, zi_error *error)
{
    zi_repo_id id;
    if (!r->options.hub.cache || !zi_repo_id_parse(name, &id, NULL)) return true;
    char *snapshot = zi_hub_cache_find_snapshot(&r->options.hub, &id);
    zi_repo_id_free(&id);
    bool has = snapshot && zi_snapshot_has_tokenizer(snapshot);
    *path = has ? zi_path_join(snapshot, "tokenizer") : NULL;
    free(snapshot);
    return !has || *path || zi_error_no_memory(error, strlen(name));
}

bool zi_registry_resolve_part(zi_registry *registry, zi_component component, const char *name,
                              char **path, zi_error *error)
{
    zi_resolved_model found = {0};
    char *part = NULL;
    zi_error why = {0};
    bool by_path = !registry->options.names_only && *name && (zi_is_file(name) || zi_is_dir(name));
    if (by_path) {
        *path = strdup(name);
        return *path || zi_error_no_memory(error, strlen(name));
    }
    if (!find_in_sections(registry, component, name, &part, error)) return false;
    if (!part && zi_registry_resolve(registry, name, &found, &why)) {
        part = found.path;
        free(found.name);
    }
    if (!part && component == ZI_COMPONENT_TOKENIZER &&
        !find_hub_tokenizer(registry, name, &part, error))
        return false;
    if (part)
        *path = part;
    else if (error)
        *error = why;
    return part;
}
