#include "registry/parts_search.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "hub/cache.h"
#include "io/layout.h"

#include <stdlib.h>
#include <string.h>

/* The components that are chosen: the kind of the sections that have them, and the beginning of the
 * name that ComfyUI's templates for Z-Image use. */
static const struct {
    zi_component component;
    zi_model_kind content;
    const char *usual_name;
} kinds[ZI_PARTS] = {
    [ZI_PART_TEXT_ENCODER] = {ZI_COMPONENT_TEXT_ENCODER, ZI_MODEL_TEXT_ENCODER, "qwen_3_4b"},
    [ZI_PART_VAE] = {ZI_COMPONENT_VAE, ZI_MODEL_VAE, "ae."},
};

zi_component zi_part_component(int kind)
{
    return kinds[kind].component;
}

/* Whether the parts of this kind lie in this section. */
static bool has_parts(zi_section section, int kind)
{
    return zi_section_kind(section) == kinds[kind].content;
}

/* Whether parts of any kind lie in this section. */
static bool has_any_parts(zi_section section)
{
    return has_parts(section, ZI_PART_TEXT_ENCODER) || has_parts(section, ZI_PART_VAE);
}

/* ---- the search ---- */

bool zi_parts_search_start(zi_registry *registry, bool now, zi_parts_search *out, zi_error *error)
{
    *out = (zi_parts_search){.registry = registry, .now = now};
    if (zi_hub_find_cached(&registry->options.hub, "tokenizer", &out->tokenizer, error))
        return true;
    *out = (zi_parts_search){0};
    return false;
}

/* Frees what was read of ComfyUI's folder; root is NULL then. */
static void leave(zi_parts_search *s)
{
    for (size_t i = 0; s->inspections && i < s->files.count; i++)
        zi_inspection_free(s->inspections[i]);
    free(s->inspections);
    s->inspections = NULL;
    zi_model_locations_free(&s->files);
    free(s->root);
    s->root = NULL;
}

void zi_parts_search_end(zi_parts_search *search)
{
    leave(search);
    free(search->tokenizer);
    if (search->now) zi_inspection_cache_save(search->registry->inspections);
    *search = (zi_parts_search){0};
}

zi_inspection *zi_parts_search_inspect(const zi_parts_search *search,
                                       const zi_model_location *location)
{
    return search->now ? zi_registry_inspect(search->registry, location)
                       : zi_registry_cached_inspection(search->registry, location->path);
}

bool zi_parts_search_enter(zi_parts_search *search, const char *path, zi_error *error)
{
    char *root;
    bool ok = zi_comfyui_find_root(path, &root, error);
    if (ok && root && search->root && !strcmp(root, search->root)) {
        free(root);
        return true;
    }
    leave(search);
    if (!root) return ok;
    search->root = root;
    ok = zi_registry_locate_comfyui(search->registry, root, &search->files, error);
    if (ok) search->inspections = calloc(search->files.count + 1, sizeof *search->inspections);
    if (ok && !search->inspections) ok = zi_error_no_memory(error, search->files.count);
    if (!ok) leave(search);
    for (size_t i = 0; i < search->files.count; i++)
        if (has_any_parts(search->files.entries[i].section))
            search->inspections[i] = zi_parts_search_inspect(search, &search->files.entries[i]);
    return ok;
}

bool zi_parts_search_knows_all(const zi_parts_search *search)
{
    for (size_t i = 0; i < search->files.count; i++)
        if (has_any_parts(search->files.entries[i].section) && !search->inspections[i])
            return false;
    return true;
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

zi_chosen_part zi_parts_search_choose(const zi_parts_search *search, int kind,
                                      const zi_inspection *model)
{
    zi_chosen_part chosen = {0};
    bool found_usual = false;
    for (size_t i = 0; i < search->files.count; i++) {
        const zi_model_location *file = &search->files.entries[i];
        const zi_inspection *part = search->inspections[i];
        if (!has_parts(file->section, kind) || !fits(part, model, kinds[kind].component)) continue;
        bool usual = has_usual_name(file->name, kind);
        if (!chosen.count++ || (usual && !found_usual)) {
            chosen.file = file;
            chosen.inspection = part;
            found_usual = usual;
        }
    }
    return chosen;
}

/* Sets *out to the folder of the tokenizer for a model without one, in new memory: beside its text
 * encoder, a chosen one or its own, or in its folder, else the hub's; NULL: there is none. False:
 * memory is short; *out is NULL. */
static bool find_tokenizer(const zi_parts_search *s, const char *path, const zi_chosen_part *text,
                           char **out, zi_error *error)
{
    const char *near = text->file ? text->file->path : path;
    if (!(zi_is_file(near) ? zi_find_tokenizer_near(near, out, error)
                           : zi_find_tokenizer_folder(near, out, error)))
        return false;
    if (*out || !s->tokenizer) return true;
    return (*out = strdup(s->tokenizer)) || zi_error_no_memory(error, strlen(s->tokenizer));
}

bool zi_parts_search_meet_needs(const zi_parts_search *search, const char *path,
                                const zi_inspection *model, zi_model_needs *out, zi_error *error)
{
    const zi_chosen_part *text = &out->parts[ZI_PART_TEXT_ENCODER];
    out->tokenizer = NULL;
    for (int kind = 0; kind < ZI_PARTS; kind++) {
        bool *lacks = &out->lacks[kinds[kind].component];
        out->parts[kind] =
            model && *lacks ? zi_parts_search_choose(search, kind, model) : (zi_chosen_part){0};
        *lacks = *lacks && !out->parts[kind].file;
    }
    bool *lacks = &out->lacks[ZI_COMPONENT_TOKENIZER];
    if (!*lacks) return true;
    if (text->file && text->inspection->components[ZI_COMPONENT_TOKENIZER].present)
        *lacks = false;
    else if (!find_tokenizer(search, path, text, &out->tokenizer, error))
        return false;
    *lacks = *lacks && !out->tokenizer;
    return true;
}

/* ---- parts outside of the models folder ---- */

/* Whether `root` is the models folder itself, links resolved. */
static bool is_models_folder(const zi_registry *r, const char *root)
{
    char *a = realpath(root, NULL), *b = realpath(r->options.folder, NULL);
    bool is = a && b && !strcmp(a, b);
    free(a);
    free(b);
    return is;
}

/* Moves the locations of parts in a folder of ComfyUI's to *out. False: memory is short. */
static bool move_parts(const zi_registry *r, const char *root, zi_model_locations *out,
                       zi_error *error)
{
    zi_model_locations files;
    if (!zi_registry_locate_comfyui(r, root, &files, error)) return false;
    zi_model_location *more =
        realloc(out->entries, (out->count + files.count + 1) * sizeof *out->entries);
    if (more) out->entries = more;
    for (size_t i = 0; more && i < files.count; i++) {
        if (!has_any_parts(files.entries[i].section)) continue;
        more[out->count++] = files.entries[i];
        files.entries[i] = (zi_model_location){0};
    }
    zi_model_locations_free(&files);
    return more || zi_error_no_memory(error, sizeof *more);
}

bool zi_registry_locate_parts(const zi_registry *registry, const zi_model_locations *models,
                              zi_model_locations *out, zi_error *error)
{
    char *last = NULL;
    bool ok = true;
    for (size_t i = 0; ok && i < models->count; i++) {
        char *root = NULL;
        if (zi_section_kind(models->entries[i].section) != ZI_MODEL_IMAGE) continue;
        ok = zi_comfyui_find_root(models->entries[i].path, &root, error);
        bool again = !root || (last && !strcmp(root, last));
        if (ok && !again && !is_models_folder(registry, root))
            ok = move_parts(registry, root, out, error);
        if (again) {
            free(root);
        } else {
            free(last);
            last = root;
        }
    }
    free(last);
    if (!ok) zi_model_locations_free(out);
    return ok;
}
