/* Finds models by name: models folder, hub cache, options.model, demo model. */
#include "base/file.h"
#include "base/filesystem.h"
#include "base/temporary.h"
#include "base/text.h"
#include "hub/cache.h"
#include "io/gguf_split.h"
#include "io/weights_files.h"
#include "registry/registry.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_NAME = 200 };

/* The sections: name, the kind of its models (the hub's cache has all kinds), and
 * whether it is one of ComfyUI's folders. */
static const struct {
    const char *name;
    zi_model_kind kind;
    bool comfyui;
} sections[] = {
    [ZI_SECTION_MLX] = {"mlx", ZI_MODEL_IMAGE, false},
    [ZI_SECTION_PYTORCH] = {"pytorch", ZI_MODEL_IMAGE, false},
    [ZI_SECTION_COMFYUI] = {"comfyui", ZI_MODEL_IMAGE, false},
    [ZI_SECTION_DIFFUSION_MODELS] = {"diffusion_models", ZI_MODEL_IMAGE, true},
    [ZI_SECTION_UNET] = {"unet", ZI_MODEL_IMAGE, true},
    [ZI_SECTION_CHECKPOINTS] = {"checkpoints", ZI_MODEL_IMAGE, true},
    [ZI_SECTION_PROMPT_ENHANCER] = {"prompt_enhancer", ZI_MODEL_LANGUAGE, false},
    [ZI_SECTION_TEXT_ENCODERS] = {"text_encoders", ZI_MODEL_TEXT_ENCODER, true},
    [ZI_SECTION_CLIP] = {"clip", ZI_MODEL_TEXT_ENCODER, true},
    [ZI_SECTION_VAE] = {"vae", ZI_MODEL_VAE, true},
    [ZI_SECTION_LORAS] = {"loras", ZI_MODEL_LORA, true},
    [ZI_SECTION_UPSCALE_MODELS] = {"upscale_models", ZI_MODEL_UPSCALER, true},
    [ZI_SECTION_CONTROLNET] = {"controlnet", ZI_MODEL_CONTROL_NET, true},
    [ZI_SECTION_HUB] = {"hub", ZI_MODEL_OTHER, false},
    [ZI_SECTION_NAMED] = {"named", ZI_MODEL_IMAGE, false},
    [ZI_SECTION_DEMO] = {"demo", ZI_MODEL_IMAGE, false},
};

const char *zi_section_name(zi_section section)
{
    return sections[section].name;
}

zi_model_kind zi_section_kind(zi_section section)
{
    return sections[section].kind;
}

bool zi_section_is_comfyui(zi_section section)
{
    return sections[section].comfyui;
}

bool zi_section_has_images(zi_section section)
{
    return (int)section < ZI_FOLDER_SECTIONS && sections[section].kind == ZI_MODEL_IMAGE;
}

zi_section zi_section_find(const char *name, size_t length)
{
    int i = 0;
    while (i < ZI_FOLDER_SECTIONS &&
           (strlen(sections[i].name) != length || strncmp(name, sections[i].name, length) != 0))
        i++;
    return (zi_section)i;
}

/* ---- lists ---- */

void zi_model_location_free(zi_model_location *location)
{
    free(location->name);
    free(location->path);
    *location = (zi_model_location){0};
}

void zi_model_locations_free(zi_model_locations *locations)
{
    for (size_t i = 0; i < locations->count; i++) zi_model_location_free(&locations->entries[i]);
    free(locations->entries);
    *locations = (zi_model_locations){0};
}

/* Appends a location to the list; takes over name and path, also on failure. False: memory is
 * short, which a NULL name or path counts as, too. */
static bool append_location(zi_model_locations *locations, zi_section section, char *name,
                            char *path, zi_error *error)
{
    zi_model_location entry = {name, path, section};
    zi_model_location *more =
        name && path ? realloc(locations->entries, (locations->count + 1) * sizeof *more) : NULL;
    if (!more) {
        zi_model_location_free(&entry);
        return zi_error_no_memory(error, sizeof entry);
    }
    locations->entries = more;
    more[locations->count++] = entry;
    return true;
}

/* For qsort: by section, then by name in byte order. */
static int compare_locations(const void *a, const void *b)
{
    const zi_model_location *x = a, *y = b;
    return x->section != y->section ? (int)x->section - (int)y->section : strcmp(x->name, y->name);
}

/* ---- the models folder ---- */

bool zi_path_may_be_model(const char *path, const char *name)
{
    if (name[0] == '.' || zi_is_temporary_name(name)) return false;
    if (zi_is_dir(path)) return true;
    int number = 1, count = 1;
    if (zi_gguf_shard_parse(name, &number, &count) && number > 1) return false;
    return zi_weights_extension(name) && zi_is_file(path);
}

/* Returns which of the characters that no name may have is in it: "a slash", ...; NULL: none. A
 * constant. */
static const char *find_bad_character(const char *name)
{
    for (const char *c = name; *c; c++) {
        if (*c == '/') return "a slash";
        if (*c == '\\') return "a backslash";
        if ((unsigned char)*c < 0x20 || *c == 0x7f) return "a control character";
    }
    return NULL;
}

/* Whether a name from an untrusted client is a plain file name: 1 to MAX_NAME bytes, no slash,
 * backslash or control character, no leading dot, valid UTF-8. */
static bool is_plain_name(const char *name)
{
    size_t length = strlen(name);
    return length && length <= MAX_NAME && name[0] != '.' && !find_bad_character(name) &&
           zi_utf8_valid(name, length);
}

bool zi_check_model_name(const char *name, zi_error *error)
{
    size_t length = strlen(name);
    const char *bad = find_bad_character(name);
    static const char *const text = "'%s' is not a valid name for a model: %s%s";
    if (bad || strchr(name, ':'))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "name", text, name,
                            "it must not contain ", bad ? bad : "a colon");
    const char *why = !length                        ? "it is empty"
                      : name[0] == '.'               ? "it must not begin with a dot"
                      : length > MAX_NAME            ? "it is longer than 200 bytes"
                      : !zi_utf8_valid(name, length) ? "it is not UTF-8 text"
                      : zi_is_temporary_name(name)
                          ? "names that end in .part-NUMBER-NUMBER are those of unfinished files"
                          : NULL;
    return !why || zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "name", text, name, why, "");
}

/* Returns the real path, in new memory, if it exists and lies below root (itself a real path, and
 * not counted), else NULL, also when memory is short. root NULL: NULL. */
static char *real_path_within(const char *root, const char *path)
{
    size_t length = root ? strlen(root) : 0;
    char *real = root ? realpath(path, NULL) : NULL;
    if (real && !strncmp(real, root, length) && real[length] == '/') return real;
    free(real);
    return NULL;
}

/* Returns the real path of the models folder, in new memory; NULL: it does not exist (yet), or
 * memory is short. */
static char *real_models_folder(const zi_registry *r)
{
    return realpath(r->options.folder, NULL);
}

/* Returns the path for callers, in new memory: as it is or, with names_only, the real path. NULL:
 * names_only is set, and it leads out of root, the models folder, or `name` is not plain; or memory
 * is short. */
static char *allowed_path(const zi_registry *r, const char *root, const char *path,
                          const char *name)
{
    if (!r->options.names_only) return strdup(path);
    return is_plain_name(name) ? real_path_within(root, path) : NULL;
}

/* Appends dir/name to *out as "SECTION/NAME" (name "": dir itself, as "SECTION") if it may be a
 * model; else does nothing and returns true. root: as in add_section. False: out of memory. */
static bool add_if_model(const zi_registry *r, const char *root, zi_section section,
                         const char *dir, const char *name, zi_model_locations *out,
                         zi_error *error)
{
    const char *folder = zi_section_name(section);
    char *path = *name ? zi_path_join(dir, name) : strdup(dir), *allowed = NULL;
    if (!path) return zi_error_no_memory(error, strlen(dir));
    if (!*name) name = folder;
    if (zi_path_may_be_model(path, name)) allowed = allowed_path(r, root, path, name);
    bool itself = name == folder;
    free(path);
    return !allowed ||
           append_location(out, section, itself ? strdup(folder) : zi_path_join(folder, name),
                           allowed, error);
}

/* Whether the section's folder `dir` is itself a model, since it has a config.json: a language
 * model may lie in prompt_enhancer. */
static bool is_model_folder(const char *dir)
{
    char *config = zi_path_join(dir, "config.json");
    bool is = config && zi_is_file(config);
    free(config);
    return is;
}

bool zi_folder_is_model(const char *dir)
{
    static const char *const stems[] = {"model", "diffusion_pytorch_model", "weights"};
    char name[ZI_WEIGHTS_NAME];
    bool index;
    char *pipeline = zi_path_join(dir, "model_index.json");
    bool is = pipeline && zi_is_file(pipeline);
    for (size_t i = 0; !is && i < sizeof stems / sizeof *stems; i++)
        is = zi_weights_find(dir, stems[i], name, &index);
    free(pipeline);
    return is;
}

/* Appends the files below root/below, one of ComfyUI's folders or a folder in one, as "BELOW/FILE",
 * and folders that are one model. Looks into folders up to MAX_DEPTH deep. A folder that cannot be
 * read has none. False: out of memory. */
static bool add_comfyui_folder(const zi_registry *r, const char *root, zi_section section,
                               const char *below, int depth, zi_model_locations *out,
                               zi_error *error)
{
    enum { MAX_DEPTH = 4 };
    char *dir = zi_path_join(root, below);
    if (!dir) return zi_error_no_memory(error, strlen(root));
    DIR *opened = opendir(dir);
    bool ok = true;
    for (const struct dirent *entry; ok && opened && (entry = readdir(opened));) {
        char *path = zi_path_join(dir, entry->d_name), *name = zi_path_join(below, entry->d_name);
        char *allowed = NULL;
        ok = (path && name) || zi_error_no_memory(error, strlen(dir));
        if (ok && zi_path_may_be_model(path, entry->d_name))
            allowed = allowed_path(r, root, path, entry->d_name);
        if (allowed && zi_is_dir(path) && !zi_folder_is_model(path)) {
            if (depth < MAX_DEPTH)
                ok = add_comfyui_folder(r, root, section, name, depth + 1, out, error);
        } else if (allowed) {
            ok = append_location(out, section, name, allowed, error);
            name = allowed = NULL;
        }
        free(allowed);
        free(name);
        free(path);
    }
    if (opened) closedir(opened);
    free(dir);
    return ok;
}

/* Appends all models of the section's folder in root, the models folder (with names_only its real
 * path), or that folder itself if it is a language model. A missing folder has no models. False:
 * out of memory. */
static bool add_section(const zi_registry *r, const char *root, zi_section section,
                        zi_model_locations *out, zi_error *error)
{
    if (zi_section_is_comfyui(section))
        return add_comfyui_folder(r, root, section, zi_section_name(section), 0, out, error);
    char *dir = zi_path_join(root, zi_section_name(section));
    if (!dir) return zi_error_no_memory(error, strlen(root));
    bool ok = true, itself = section == ZI_SECTION_PROMPT_ENHANCER && is_model_folder(dir);
    DIR *opened = itself ? NULL : opendir(dir);
    if (itself) ok = add_if_model(r, root, section, dir, "", out, error);
    for (const struct dirent *entry; ok && opened && (entry = readdir(opened));)
        ok = add_if_model(r, root, section, dir, entry->d_name, out, error);
    if (opened) closedir(opened);
    free(dir);
    return ok;
}

/* Appends the models of the models folder, unsorted: of all sections, or of those of a kind, unless
 * that is NULL. False: out of memory. */
static bool add_models_folder(const zi_registry *r, const zi_model_kind *kind,
                              zi_model_locations *out, zi_error *error)
{
    bool ok = true;
    char *real = r->options.names_only ? real_models_folder(r) : NULL;
    const char *root = r->options.names_only ? real : r->options.folder;
    for (int section = 0; ok && root && section < ZI_FOLDER_SECTIONS; section++)
        if (!kind || sections[section].kind == *kind)
            ok = add_section(r, root, (zi_section)section, out, error);
    free(real);
    return ok;
}

/* Sorts the list, or empties it if not ok. Returns ok. */
static bool finish_locations(bool ok, zi_model_locations *out)
{
    if (!ok) zi_model_locations_free(out);
    if (out->count) qsort(out->entries, out->count, sizeof *out->entries, compare_locations);
    return ok;
}

bool zi_registry_locate_comfyui(const zi_registry *registry, const char *root,
                                zi_model_locations *out, zi_error *error)
{
    bool ok = true;
    char *real = registry->options.names_only ? realpath(root, NULL) : NULL;
    if (registry->options.names_only) root = real;
    *out = (zi_model_locations){0};
    for (int section = 0; ok && root && section < ZI_FOLDER_SECTIONS; section++)
        if (zi_section_is_comfyui((zi_section)section))
            ok = add_section(registry, root, (zi_section)section, out, error);
    free(real);
    return finish_locations(ok, out);
}

/* How much of a listed name "SECTION/SUBFOLDER/FILE" another name has. */
typedef enum { MATCHES_NOT, MATCHES_FILE, MATCHES_IN_SECTION, MATCHES_WHOLE } name_match;

static name_match match_name(const char *listed, const char *name)
{
    const char *slash = strchr(listed, '/'), *last = strrchr(listed, '/');
    return !strcmp(listed, name)               ? MATCHES_WHOLE
           : slash && !strcmp(slash + 1, name) ? MATCHES_IN_SECTION
           : last && !strcmp(last + 1, name)   ? MATCHES_FILE
                                               : MATCHES_NOT;
}

bool zi_registry_find_in_folder(const zi_registry *registry, const zi_model_kind *kind,
                                const char *name, zi_model_location *out, zi_error *error)
{
    zi_model_locations all = {0};
    zi_model_location *best = NULL;
    name_match found = MATCHES_NOT;
    bool ok = finish_locations(add_models_folder(registry, kind, &all, error), &all);
    for (size_t i = 0; i < all.count; i++) {
        zi_model_location *it = &all.entries[i];
        name_match match = match_name(it->name, name);
        bool first = !best || match == MATCHES_WHOLE || it->section == best->section;
        if (match <= found || !first) continue;
        best = it;
        found = match;
    }
    *out = best ? *best : (zi_model_location){0};
    if (best) *best = (zi_model_location){0};
    zi_model_locations_free(&all);
    return ok;
}

/* Whether the section's folder exists and lies within the models folder, links resolved. */
static bool is_section_within_root(const zi_registry *r, zi_section section)
{
    char *dir = zi_path_join(r->options.folder, zi_section_name(section));
    char *root = real_models_folder(r), *real = dir ? real_path_within(root, dir) : NULL;
    bool within = real != NULL;
    free(root);
    free(real);
    free(dir);
    return within;
}

bool zi_registry_new_path(zi_registry *registry, zi_section section, const char *file, char **path,
                          char **name, zi_error *error)
{
    struct stat st;
    const char *folder = registry->options.folder;
    if (!zi_check_model_name(file, error)) return false;
    char *full = zi_path_join(zi_section_name(section), file);
    char *to = full ? zi_path_join(folder, full) : NULL;
    bool ok = to || zi_error_no_memory(error, strlen(file));
    ok = ok && zi_make_parent_folders(to, error);
    if (ok && registry->options.names_only && !is_section_within_root(registry, section))
        ok =
            zi_error_set(error, ZI_ERROR_IO, zi_section_name(section),
                         "this folder of the models folder is a link to a place outside, where the "
                         "server does not write, so nothing was written; make a real folder of it");
    if (ok && lstat(to, &st) == 0)
        ok = zi_error_set_in(error, ZI_ERROR_EXISTS, full, "name",
                             "is there already; choose another name");
    if (ok) {
        *path = to;
        *name = full;
        return true;
    }
    free(to);
    free(full);
    return false;
}

/* ---- the hub's cache ---- */

/* Writes OWNER/NAME, truncated to `size` bytes, for a folder "models--OWNER--NAME" of the cache.
 * False: another name; out may be overwritten. */
static bool parse_cache_folder(const char *folder, char *out, size_t size)
{
    static const char begin[] = "models--";
    if (strncmp(folder, begin, sizeof begin - 1) != 0) return false;
    const char *owner = folder + sizeof begin - 1, *dashes = strstr(owner, "--");
    if (!dashes) return false;
    snprintf(out, size, "%.*s/%s", (int)(dashes - owner), owner, dashes + 2);
    return zi_repo_id_valid(out, strlen(out));
}

/* Returns the path of the cached snapshot of OWNER/NAME's revision main, in new memory; it may be
 * incomplete. NULL: none, or memory is short. */
static char *find_snapshot(const zi_registry *r, const char *repo)
{
    zi_repo_id name;
    if (!zi_repo_id_parse(repo, &name, NULL)) return NULL;
    char *path = zi_hub_cache_find_snapshot(&r->options.hub, &name);
    zi_repo_id_free(&name);
    return path;
}

/* Appends all repositories of the hub's cache that have a snapshot of main, incomplete ones
 * included. Without a readable cache it does nothing. False: out of memory. */
static bool add_hub_cache(const zi_registry *r, zi_model_locations *out, zi_error *error)
{
    const char *cache = r->options.hub.cache;
    DIR *dir = cache ? opendir(cache) : NULL;
    bool ok = true;
    for (const struct dirent *entry; ok && dir && (entry = readdir(dir));) {
        char name[160];
        if (!parse_cache_folder(entry->d_name, name, sizeof name)) continue;
        char *path = find_snapshot(r, name);
        if (path) ok = append_location(out, ZI_SECTION_HUB, strdup(name), path, error);
    }
    if (dir) closedir(dir);
    return ok;
}

bool zi_registry_find_in_hub_cache(const zi_registry *registry, const char *name, char **path,
                                   zi_error *error)
{
    *path = NULL;
    if (!registry->options.hub.cache || !strchr(name, '/')) return true;
    zi_repo_id repo;
    if (!zi_repo_id_parse(name, &repo, NULL)) return true; /* not a repository id */
    zi_repo_id_free(&repo);
    return zi_hub_find_cached(&registry->options.hub, name, path, error);
}

/* ---- all ---- */

char *zi_registry_name_of(const zi_registry *registry, const char *path)
{
    char *root = real_models_folder(registry), *real = real_path_within(root, path);
    const char *rest = real ? real + strlen(root) + 1 : NULL,
               *slash = rest ? strchr(rest, '/') : NULL;
    zi_section section = slash ? zi_section_find(rest, (size_t)(slash - rest)) : ZI_SECTION_HUB;
    bool listed =
        section != ZI_SECTION_HUB && (zi_section_is_comfyui(section) || is_plain_name(slash + 1));
    char *name = listed ? strdup(rest) : NULL;
    char *base = name ? NULL : zi_path_basename(path);
    if (base) name = zi_path_join(zi_section_name(ZI_SECTION_NAMED), base);
    free(base);
    free(real);
    free(root);
    return name;
}

/* Appends options.model, unless it lies in a section of the models folder, and the demo model, as
 * far as they are set. Whether they exist is not checked. False: out of memory. */
static bool add_option_models(const zi_registry *r, zi_model_locations *out, zi_error *error)
{
    const char *demo = r->options.demo, *named = zi_section_name(ZI_SECTION_NAMED);
    size_t length = strlen(named);
    if (r->model_name && !strncmp(r->model_name, named, length) && r->model_name[length] == '/' &&
        !append_location(out, ZI_SECTION_NAMED, strdup(r->model_name), strdup(r->options.model),
                         error))
        return false;
    return !demo || append_location(out, ZI_SECTION_DEMO, strdup(zi_section_name(ZI_SECTION_DEMO)),
                                    strdup(demo), error);
}

bool zi_registry_locate_models(const zi_registry *registry, zi_model_locations *out,
                               zi_error *error)
{
    *out = (zi_model_locations){0};
    bool ok = add_models_folder(registry, NULL, out, error) &&
              add_hub_cache(registry, out, error) && add_option_models(registry, out, error);
    return finish_locations(ok, out);
}
