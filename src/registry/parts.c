/* Which text encoder, VAE and tokenizer a model gets that lacks them: files beside it in ComfyUI's
 * folders, and the tokenizer in the hub's cache. */
#include "base/file.h"
#include "base/filesystem.h"
#include "base/text.h"
#include "hub/cache.h"
#include "io/layout.h"
#include "registry/registry.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS = 2 };

/* The components that are chosen: the kind of the sections that have them, and the beginning of the
 * name that ComfyUI's templates for Z-Image use. */
static const struct {
    zi_component component;
    zi_model_kind content;
    const char *usual_name;
} kinds[PARTS] = {
    {ZI_COMPONENT_TEXT_ENCODER, ZI_MODEL_TEXT_ENCODER, "qwen_3_4b"},
    {ZI_COMPONENT_VAE, ZI_MODEL_VAE, "ae."},
};

/* Whether the parts of this kind lie in this section. */
static bool has_parts(zi_section section, int kind)
{
    return zi_section_kind(section) == kinds[kind].content;
}

/* ---- ComfyUI's folders ---- */

/* Whether a section is one of ComfyUI's folders of image models. */
static bool is_image_section(zi_section section)
{
    return zi_section_is_comfyui(section) && zi_section_has_images(section);
}

/* Sets *root to the folder, in new memory, that has the folder of image models in which the path
 * is, at most MAX_LEVELS above it; to NULL if it is in none. Looks at the text alone. False: memory
 * is short; *root is NULL. */
static bool find_root(const char *path, char **root, zi_error *error)
{
    enum { MAX_LEVELS = 6 };
    bool ok = true, found = false;
    char *at = zi_path_dirname(path);
    *root = NULL;
    for (int level = 0; at && ok && !found && level < MAX_LEVELS; level++) {
        char *name = zi_path_basename(at), *above = zi_path_dirname(at);
        ok = name && above;
        found = ok && is_image_section(zi_section_find(name, strlen(name)));
        bool top = ok && !strcmp(above, at);
        free(name);
        free(at);
        at = above;
        if (top) break;
    }
    ok = ok && at;
    if (ok && found)
        *root = at;
    else
        free(at);
    return ok || zi_error_no_memory(error, strlen(path));
}

/* find_root for a file; if its path as given tells none, by its real path. True, with *root NULL,
 * for a folder. */
static bool find_root_of_file(const char *path, char **root, zi_error *error)
{
    *root = NULL;
    if (!zi_is_file(path)) return true;
    if (!find_root(path, root, error)) return false;
    if (*root) return true;
    char *real = realpath(path, NULL);
    bool ok = !real || find_root(real, root, error);
    free(real);
    return ok;
}

bool zi_may_be_diffusion_model(const zi_model_location *location)
{
    zi_layout layout;
    zi_error why = {0};
    if (!zi_layout_read(location->path, &layout, &why)) return why.code != ZI_ERROR_UNSUPPORTED;
    bool has = layout.components[ZI_COMPONENT_TRANSFORMER].path;
    zi_layout_free(&layout);
    return has;
}

/* Whether a folder has one of ComfyUI's folders of image models and no file of a model itself. */
static bool is_comfyui_root(const char *folder)
{
    bool is = false;
    for (int i = 0; i < ZI_FOLDER_SECTIONS; i++) {
        if (!is_image_section((zi_section)i)) continue;
        char *path = zi_path_join(folder, zi_section_name((zi_section)i));
        is = is || (path && zi_is_dir(path));
        free(path);
    }
    return is && !zi_folder_is_model(folder);
}

/* Sets the error that a folder has not exactly one diffusion model: `count`, of these names (cut).
 * Returns false. */
static bool fail_not_one(const char *folder, size_t count, const char *names, zi_error *error)
{
    if (!count)
        return zi_error_set(error, ZI_ERROR_NOT_FOUND, folder,
                            "has no diffusion model of Z-Image in its folders diffusion_models, "
                            "unet and checkpoints; put one there, or name the file of one");
    return zi_error_set(error, ZI_ERROR_NOT_FOUND, folder,
                        "has %zu diffusion models of Z-Image: %s; name one of these files", count,
                        names);
}

bool zi_registry_find_in_comfyui(const zi_registry *registry, const char *folder, char **path,
                                 zi_error *error)
{
    enum { SHOWN = 8 };
    zi_model_locations all;
    zi_text names;
    size_t count = 0;
    const char *found = NULL;
    *path = NULL;
    if (!zi_is_dir(folder) || !is_comfyui_root(folder)) return true;
    if (!zi_registry_locate_comfyui(registry, folder, &all, error)) return false;
    zi_text_init(&names, 1 << 10);
    for (size_t i = 0; i < all.count; i++) {
        const zi_model_location *it = &all.entries[i];
        if (!zi_section_has_images(it->section) || !zi_may_be_diffusion_model(it)) continue;
        if (count++ < SHOWN) zi_text_printf(&names, "%s%s", count > 1 ? ", " : "", it->name);
        found = it->path;
    }
    if (count > SHOWN) zi_text_printf(&names, " and %zu more", count - SHOWN);
    bool ok = count == 1 || fail_not_one(folder, count, names.data ? names.data : "", error);
    if (ok) ok = (*path = strdup(found)) || zi_error_no_memory(error, strlen(found));
    zi_text_free(&names);
    zi_model_locations_free(&all);
    return ok;
}

/* ---- which part fits ---- */

/* Whether what was inspected is, by its own files, a text encoder or VAE that fits the model. */
static bool fits(const zi_inspection *part, const zi_inspection *model, zi_component component)
{
    if (!part || part->components[ZI_COMPONENT_TRANSFORMER].present ||
        !part->components[component].present || part->problem_count)
        return false;
    return component == ZI_COMPONENT_VAE
               ? part->vae_channels && part->vae_channels == model->transformer_channels
               : part->text_encoder_width &&
                     part->text_encoder_width == model->transformer_text_width;
}

/* Whether a part's name ("vae/sub/ae.safetensors") is that of ComfyUI's templates. */
static bool has_usual_name(const char *name, int kind)
{
    const char *slash = strrchr(name, '/'), *usual = kinds[kind].usual_name;
    return !strncmp(slash ? slash + 1 : name, usual, strlen(usual));
}

/* A choice among parts that are offered one after the other, by section and name. */
typedef struct {
    const zi_inspection *model;
    int kind;
    size_t best, count; /* best: number of the chosen one; count: of those that fit */
    bool usual;         /* the chosen one has the usual name */
} choice;

/* Counts the part, of the choice's kind, of that number, name and inspection, if it fits (NULL:
 * unknown, does not fit), and chooses it if it is the first or the first with the usual name. */
static void offer(choice *c, size_t number, const char *name, const zi_inspection *part)
{
    if (!fits(part, c->model, kinds[c->kind].component)) return;
    bool usual = has_usual_name(name, c->kind);
    if (!c->count || (usual && !c->usual)) {
        c->best = number;
        c->usual = usual;
    }
    c->count++;
}

/* Whether the model lacks a component that is to be chosen. */
static bool lacks(const zi_inspection *model, int kind)
{
    return model && !model->components[kinds[kind].component].present &&
           model->components[ZI_COMPONENT_TRANSFORMER].present;
}

/* ---- for one model ---- */

/* Whether the options provide a component: by its own path, or by a reference that has it. */
static bool is_given(const zi_model_options *options, const zi_layout *reference, int kind)
{
    zi_component component = kinds[kind].component;
    return (component == ZI_COMPONENT_VAE ? options->vae : options->text_encoder) ||
           reference->components[component].path;
}

/* The stored inspection of a model, or, if `now`, one made now; NULL: there is none. The caller
 * frees it. */
static zi_inspection *inspect(zi_registry *r, const zi_model_location *location, bool now)
{
    return now ? zi_registry_inspect(r, location)
               : zi_registry_cached_inspection(r, location->path);
}

/* Chooses a part of one kind among the locations: sets *path to the chosen one's, in new memory,
 * and appends it to the note; leaves both if none fits. now: as in inspect. False: memory is
 * short. */
static bool choose_part(zi_registry *r, const zi_model_locations *all, const zi_inspection *model,
                        int kind, bool now, char **path, zi_text *note, zi_error *error)
{
    choice c = {.model = model, .kind = kind};
    for (size_t i = 0; i < all->count; i++) {
        const zi_model_location *it = &all->entries[i];
        if (!has_parts(it->section, kind)) continue;
        zi_inspection *part = inspect(r, it, now);
        offer(&c, i, it->name, part);
        zi_inspection_free(part);
    }
    if (!c.count) return true;
    const zi_model_location *best = &all->entries[c.best];
    zi_text_printf(note, "%s%s %s", note->size ? ", " : "using ",
                   zi_component_title(kinds[kind].component), best->name);
    if (c.count > 1) zi_text_printf(note, " (of %zu that fit)", c.count);
    *path = strdup(best->path);
    return *path || zi_error_no_memory(error, strlen(best->path));
}

/* Chooses what the model at options->path lacks among the files below root. now: as in inspect.
 * False: memory is short; the caller frees *out in any case. */
static bool choose_parts(zi_registry *r, const zi_model_options *options, const char *root,
                         bool now, zi_model_parts *out, zi_error *error)
{
    zi_model_location location = {(char *)(uintptr_t)options->path,
                                  (char *)(uintptr_t)options->path, ZI_SECTION_DIFFUSION_MODELS};
    zi_model_locations all;
    zi_layout reference = {0};
    zi_text note;
    if (!zi_registry_locate_comfyui(r, root, &all, error)) return false;
    zi_inspection *model = inspect(r, &location, now);
    if (options->reference && !zi_layout_read(options->reference, &reference, NULL))
        reference = (zi_layout){0}; /* loading reports it */
    zi_text_init(&note, 1 << 14);
    bool ok = true;
    for (int kind = 0; ok && kind < PARTS; kind++)
        if (lacks(model, kind) && !is_given(options, &reference, kind))
            ok = choose_part(r, &all, model, kind, now, kind ? &out->vae : &out->text_encoder,
                             &note, error);
    if (ok && note.size) {
        zi_text_printf(&note, " in %s", root);
        out->note = zi_text_take(&note);
        ok = out->note || zi_error_no_memory(error, 1 << 14);
    }
    zi_text_free(&note);
    zi_layout_free(&reference);
    zi_inspection_free(model);
    zi_model_locations_free(&all);
    if (now) zi_inspection_cache_save(r->inspections);
    return ok;
}

bool zi_registry_find_parts(zi_registry *registry, const zi_model_options *options,
                            zi_model_parts *out, zi_error *error)
{
    zi_model_parts parts = {0};
    char *root = NULL;
    bool ok = zi_hub_find_cached(&registry->options.hub, "tokenizer", &parts.tokenizer, error) &&
              find_root_of_file(options->path, &root, error) &&
              (!root || choose_parts(registry, options, root, true, &parts, error));
    free(root);
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

/* Whether loading finds a tokenizer for a model without one, whose text encoder is at the path
 * `text`: in its file, in its folder, or beside it. False also when memory is short. */
static bool has_own_tokenizer(zi_registry *r, const char *text)
{
    char *folder = NULL;
    zi_inspection *in = zi_registry_cached_inspection(r, text);
    bool has = in && in->components[ZI_COMPONENT_TOKENIZER].present;
    zi_inspection_free(in);
    if (has) return true;
    has = (zi_is_file(text) ? zi_find_tokenizer_near(text, &folder, NULL)
                            : zi_find_tokenizer_folder(text, &folder, NULL)) &&
          folder;
    free(folder);
    return has;
}

/* Whether the model and all parts that it might get below root have been inspected. False also when
 * memory is short. */
static bool all_inspected(zi_registry *r, const zi_model_location *model, const char *root)
{
    zi_model_locations all;
    if (!zi_registry_locate_comfyui(r, root, &all, NULL)) return false;
    zi_inspection *in = zi_registry_cached_inspection(r, model->path);
    bool known = in;
    zi_inspection_free(in);
    for (size_t i = 0; known && i < all.count; i++) {
        bool part = false;
        for (int kind = 0; kind < PARTS; kind++)
            part = part || has_parts(all.entries[i].section, kind);
        if (!part) continue;
        in = zi_registry_cached_inspection(r, all.entries[i].path);
        known = in;
        zi_inspection_free(in);
    }
    zi_model_locations_free(&all);
    return known;
}

/* zi_registry_is_complete for a model with this layout, which has a transformer. */
static bool is_complete_with_parts(zi_registry *r, const zi_model_location *model,
                                   const zi_layout *layout, bool *complete, zi_error *error)
{
    const zi_layout_component *c = layout->components;
    zi_model_options options = {.path = model->path};
    zi_model_parts parts = {0};
    char *root = NULL;
    bool now = !r->options.names_only;
    bool ok = zi_hub_find_cached(&r->options.hub, "tokenizer", &parts.tokenizer, error) &&
              find_root_of_file(model->path, &root, error);
    bool unknown = ok && root && !now && !all_inspected(r, model, root);
    if (root && !unknown) ok = ok && choose_parts(r, &options, root, now, &parts, error);
    bool text = c[ZI_COMPONENT_TEXT_ENCODER].path || parts.text_encoder;
    bool vae = c[ZI_COMPONENT_VAE].path || parts.vae;
    *complete = unknown;
    if (ok && text && vae)
        *complete = layout->tokenizer || parts.tokenizer ||
                    has_own_tokenizer(r, parts.text_encoder ? parts.text_encoder : model->path);
    free(root);
    zi_model_parts_free(&parts);
    return ok;
}

bool zi_registry_is_complete(zi_registry *registry, const zi_model_location *model, bool *complete,
                             zi_error *error)
{
    zi_layout layout;
    *complete = true;
    if (!zi_layout_read(model->path, &layout, NULL)) return true;
    bool ok = true, has = layout.components[ZI_COMPONENT_TRANSFORMER].path;
    if (!has || registry->options.parts_given)
        *complete = has;
    else
        ok = is_complete_with_parts(registry, model, &layout, complete, error);
    zi_layout_free(&layout);
    return ok;
}

/* ---- for a list ---- */

/* Chooses a part of one kind for the model among the list's entries; NULL: none fits, or the model
 * needs none, or is in no folder of ComfyUI's. */
static const zi_registry_entry *choose_entry(const zi_registry_list *list,
                                             const zi_registry_entry *model, int kind)
{
    choice c = {.model = model->inspection, .kind = kind};
    if (!zi_section_is_comfyui(model->section) || !lacks(model->inspection, kind)) return NULL;
    for (size_t i = 0; i < list->count; i++)
        if (has_parts(list->entries[i].section, kind))
            offer(&c, i, list->entries[i].name, list->entries[i].inspection);
    return c.count ? &list->entries[c.best] : NULL;
}

/* Sets the parts of an image model and whether it is usable. hub_tokenizer: the folder of that in
 * the hub's cache; NULL: none. False: memory is short. */
static bool add_parts(const zi_registry_list *list, zi_registry_entry *entry,
                      const char *hub_tokenizer, zi_error *error)
{
    const zi_inspection *in = entry->inspection;
    const zi_registry_entry *text = choose_entry(list, entry, 0),
                            *vae = choose_entry(list, entry, 1);
    bool ok = true;
    if (text) ok = (entry->text_encoder = strdup(text->name));
    if (vae) ok = ok && (entry->vae = strdup(vae->name));
    if (!ok) return zi_error_no_memory(error, strlen(entry->name));
    bool needed = in->components[ZI_COMPONENT_TOKENIZER].missing &&
                  !(text && text->inspection->components[ZI_COMPONENT_TOKENIZER].present);
    bool file = zi_is_file(text ? text->path : entry->path);
    if (needed && file &&
        !zi_find_tokenizer_near(text ? text->path : entry->path, &entry->tokenizer, error))
        return false;
    if (needed && !entry->tokenizer && hub_tokenizer && !(entry->tokenizer = strdup(hub_tokenizer)))
        return zi_error_no_memory(error, strlen(hub_tokenizer));
    bool lacking = in->components[ZI_COMPONENT_TRANSFORMER].missing ||
                   (in->components[ZI_COMPONENT_TEXT_ENCODER].missing && !text) ||
                   (in->components[ZI_COMPONENT_VAE].missing && !vae) ||
                   (needed && !entry->tokenizer);
    entry->usable = in->usable || (!in->problem_count && in->has_components && !lacking);
    return true;
}

bool zi_registry_add_parts(zi_registry *registry, zi_registry_list *list, zi_error *error)
{
    char *tokenizer;
    if (!zi_hub_find_cached(&registry->options.hub, "tokenizer", &tokenizer, error)) return false;
    bool ok = true;
    for (size_t i = 0; ok && i < list->count; i++)
        if (list->entries[i].kind == ZI_MODEL_IMAGE && list->entries[i].inspection)
            ok = add_parts(list, &list->entries[i], tokenizer, error);
    free(tokenizer);
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
    for (int kind = 0; kind < PARTS; kind++)
        if (kinds[kind].component == component)
            ok = zi_registry_find_in_folder(r, &kinds[kind].content, name, &found, error);
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
