/* ComfyUI's folder "models": where it is, given a file in it, and which diffusion model it has. */
#include "base/file.h"
#include "base/filesystem.h"
#include "base/text.h"
#include "io/layout.h"
#include "registry/registry.h"

#include <stdlib.h>
#include <string.h>

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

bool zi_comfyui_find_root(const char *path, char **root, zi_error *error)
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

bool zi_may_be_diffusion_model(const zi_layout *layout, const zi_error *why)
{
    return layout ? layout->components[ZI_COMPONENT_TRANSFORMER].path != NULL
                  : why->code != ZI_ERROR_UNSUPPORTED;
}

/* zi_may_be_diffusion_model for the file at this location, whose header is read. */
static bool location_may_be_diffusion_model(const zi_model_location *location)
{
    zi_layout layout;
    zi_error why = {0};
    bool read = zi_layout_read(location->path, &layout, &why);
    bool may_be = zi_may_be_diffusion_model(read ? &layout : NULL, &why);
    if (read) zi_layout_free(&layout);
    return may_be;
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
        if (!zi_section_has_images(it->section) || !location_may_be_diffusion_model(it)) continue;
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
