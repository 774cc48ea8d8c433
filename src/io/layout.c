#include "io/layout.h"
#include "io/key_wrappers.h"
#include "io/recognise.h"
#include "io/weights_files.h"

#include <stdlib.h>

/* Folder layouts in the order in which they are tried. A layout is recognised by its marker: a file
 * of this name, or weights with this stem. */
static const struct {
    zi_naming naming;
    const char *marker_file;
    struct {
        const char *folder, *stem, *usual_path, *config;
    } components[ZI_WEIGHT_COMPONENTS];
} folders[] = {
    {ZI_NAMES_MFLUX,
     "transformer/0.safetensors",
     {{"transformer", NULL, "transformer/0.safetensors", NULL},
      {"text_encoder", NULL, "text_encoder/0.safetensors", NULL},
      {"vae", NULL, "vae/0.safetensors", NULL}}},
    {ZI_NAMES_DIFFUSERS,
     "model_index.json",
     {{"transformer", "diffusion_pytorch_model", "transformer/diffusion_pytorch_model.safetensors",
       "transformer/config.json"},
      {"text_encoder", "model", "text_encoder/model.safetensors", "text_encoder/config.json"},
      {"vae", "diffusion_pytorch_model", "vae/diffusion_pytorch_model.safetensors",
       "vae/config.json"}}},
    {ZI_NAMES_MLX,
     "weights",
     {{"", "weights", "weights.safetensors", "config.json"},
      {"", "text_encoder", "text_encoder.safetensors", "text_encoder_config.json"},
      {"", "vae", "vae.safetensors", "vae_config.json"}}},
};

/* Stems of weights in the folder of a single component. */
static const char *const stems[] = {"diffusion_pytorch_model", "model", NULL};

/* Sets *out to dir/name, or to a copy of dir when name is "", in new memory. False: out of memory;
 * *error is set and *out is NULL. */
static bool join_path(const char *dir, const char *name, char **out, zi_error *error)
{
    *out = *name ? zi_path_join(dir, name) : strdup(dir);
    return *out || zi_error_no_memory(error, strlen(dir));
}

/* Sets *out to dir/name in new memory if that is a file (folder: a folder), else to NULL. False:
 * out of memory; *error is set and *out is NULL. */
static bool find_path(const char *dir, const char *name, bool folder, char **out, zi_error *error)
{
    if (!join_path(dir, name, out, error)) return false;
    if (folder ? zi_is_dir(*out) : zi_is_file(*out)) return true;
    free(*out);
    *out = NULL;
    return true;
}

/* Whether dir has a file of this name. False also when memory is short. */
static bool has_file(const char *dir, const char *name)
{
    char *path = zi_path_join(dir, name);
    bool is = path && zi_is_file(path);
    free(path);
    return is;
}

/* Whether dir has STEM.safetensors or its index, or those of a variant; stem NULL: 0.safetensors,
 * the first numbered file. False also when memory is short. */
static bool has_weights(const char *dir, const char *stem)
{
    char name[ZI_WEIGHTS_NAME];
    bool index;
    return stem ? zi_weights_find(dir, stem, name, &index) : has_file(dir, "0.safetensors");
}

/* Sets *out to the path, in new memory, of a pickle in the folder; NULL: there is none. False: out
 * of memory; *error is set. */
static bool find_pickle(const char *dir, char **out, zi_error *error)
{
    zi_folder_weights files;
    if (!zi_folder_weights_list(dir, &files, error)) return false;
    bool ok = !files.pickle || join_path(dir, files.pickle, out, error);
    zi_folder_weights_free(&files);
    return ok;
}

/* Sets out's usual paths, which the layout has whether or not there are files, and its paths of
 * weights and config to those that exist in the folder `path`. row: the layout's in folders, from
 * 0. False: out of memory; *error is set, and the caller frees what out has. */
static bool find_folder_component(const char *path, size_t row, int component,
                                  zi_layout_component *out, zi_error *error)
{
    const char *folder = folders[row].components[component].folder,
               *stem = folders[row].components[component].stem;
    const char *config = folders[row].components[component].config;
    char *dir;
    bool ok = true;
    out->usual_path = folders[row].components[component].usual_path;
    out->usual_config = config;
    if (!join_path(path, folder, &dir, error)) return false;
    if (has_weights(dir, stem)) {
        out->path = dir;
        out->stem = stem;
    } else {
        ok = !*folder || find_pickle(dir, &out->pickle, error);
        free(dir);
    }
    if (!ok) return false;
    return !config || find_path(path, config, false, &out->config, error);
}

/* Fills in the layout of the folder `path`: naming, components, tokenizer and scheduler, as far as
 * they exist. row: the layout's in folders, from 0. False: out of memory; *error is set, and the
 * caller frees the layout. */
static bool read_folder_layout(const char *path, size_t row, zi_layout *layout, zi_error *error)
{
    layout->naming = folders[row].naming;
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++)
        if (!find_folder_component(path, row, component, &layout->components[component], error))
            return false;
    return find_path(path, "tokenizer", true, &layout->tokenizer, error) &&
           find_path(path, "scheduler/scheduler_config.json", false, &layout->scheduler, error);
}

/* Sets has[component], which the caller sets to false before, to true for the components that a
 * checkpoint has tensors of. Sets *naming by the first tensor whose name has a prefix (ComfyUI) or
 * differs from diffusers' (its own naming); diffusers: there is none. Unused tensors do not
 * count. */
static void detect_components(const zi_checkpoint *checkpoint, bool has[ZI_WEIGHT_COMPONENTS],
                              zi_naming *naming)
{
    zi_vae_depth form = {0};
    *naming = ZI_NAMES_DIFFUSERS;
    for (size_t i = 0; i < checkpoint->tensor_count; i++)
        zi_vae_depth_update(&form, checkpoint->tensors[i].name);
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        zi_key keys[ZI_MAX_FUSED];
        if (!zi_key_parse(checkpoint->tensors[i].name, &form, keys)) continue;
        if (keys[0].role == ZI_ROLE_UNUSED) continue;
        has[keys[0].component] = true;
        if (*naming != ZI_NAMES_DIFFUSERS) continue;
        *naming = keys[0].prefixed ? ZI_NAMES_COMFYUI : keys[0].naming;
    }
}

/* Sets ZI_ERROR_UNSUPPORTED for a checkpoint without a tensor whose name is known: all are behind
 * an unknown prefix, though it looks like a Z-Image model, or it is another one. Returns false. */
static bool fail_no_component(const zi_checkpoint *checkpoint, const char *path, zi_error *error)
{
    enum { MAX_NAMES = 100 }; /* that are looked at for a prefix */
    zi_vae_depth form = {0};
    size_t prefix = 0;
    for (size_t i = 0; i < checkpoint->tensor_count; i++)
        zi_vae_depth_update(&form, checkpoint->tensors[i].name);
    bool ours = zi_recognise_model(checkpoint) != NULL;
    for (size_t i = 0; ours && i < checkpoint->tensor_count && i < MAX_NAMES; i++) {
        const char *name = checkpoint->tensors[i].name;
        prefix = zi_key_unknown_prefix(name, &form);
        if (prefix)
            return zi_error_set_in(
                error, ZI_ERROR_UNSUPPORTED, path, name,
                "tensor %s begins with %.*s, which names of a Z-Image model do not; use another "
                "file of this model, or save the tensors without this beginning",
                name, (int)prefix, name);
    }
    return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path,
                        "is of an unknown model; use a Z-Image model: others are not supported");
}

/* Fills in the naming, and the components that the layout's open checkpoint has. path: the file
 * (stem NULL) or the folder of the files STEM.* and, optionally, config.json. Fails with
 * ZI_ERROR_UNSUPPORTED when there are none or it is another model, or when memory is short; the
 * caller frees the layout then. */
static bool find_components(const char *path, const char *stem, zi_layout *layout, zi_error *error)
{
    const zi_checkpoint *checkpoint = layout->checkpoint;
    bool has[ZI_WEIGHT_COMPONENTS] = {0}, ok = true, any = false;
    detect_components(checkpoint, has, &layout->naming);
    if (checkpoint->gguf) layout->naming = ZI_NAMES_GGUF;
    for (int component = 0; ok && component < ZI_WEIGHT_COMPONENTS; component++) {
        if (!has[component]) continue;
        any = true;
        layout->components[component].stem = stem;
        ok = join_path(path, "", &layout->components[component].path, error) &&
             (!stem ||
              find_path(path, "config.json", false, &layout->components[component].config, error));
    }
    if (!ok) return false;
    if (!zi_recognise_check(checkpoint, path, error)) return false;
    return any || fail_no_component(checkpoint, path, error);
}

/* Opens a single file as layout->checkpoint and fills in its components. Fails as
 * zi_checkpoint_open and find_components do; the caller frees the layout then. */
static bool read_file_layout(const char *path, zi_layout *layout, zi_error *error)
{
    zi_checkpoint opened;
    return zi_checkpoint_open(path, &opened, error) &&
           zi_checkpoint_share(&opened, &layout->checkpoint, error) &&
           find_components(path, NULL, layout, error);
}

/* Opens the weights STEM.safetensors or STEM's shards in the folder of a single component as
 * layout->checkpoint, and fills in the layout. Fails as zi_checkpoint_open_dir and find_components
 * do; the caller frees the layout then. */
static bool read_component_folder(const char *path, const char *stem, zi_layout *layout,
                                  zi_error *error)
{
    zi_checkpoint opened;
    return zi_checkpoint_open_dir(path, stem, &opened, error) &&
           zi_checkpoint_share(&opened, &layout->checkpoint, error) &&
           find_components(path, stem, layout, error);
}

/* Sets *out to the path, in new memory, of the only file of weights in a folder, whatever its name;
 * to NULL without any. Fails with ZI_ERROR_NOT_FOUND for several, which no index joins, and with
 * ZI_ERROR_UNSUPPORTED for pickles alone; *out is NULL then. */
static bool find_only_file(const char *path, char **out, zi_error *error)
{
    zi_folder_weights files;
    char *pickle = NULL;
    *out = NULL;
    if (!zi_folder_weights_list(path, &files, error)) return false;
    bool ok = true;
    if (files.second)
        ok = zi_error_set(error, ZI_ERROR_NOT_FOUND, path,
                          "is no model folder: it has several files of weights, such as %.80s and "
                          "%.80s, and no index that says that they belong together; name one of "
                          "the files",
                          files.first, files.second);
    else if (files.first)
        ok = join_path(path, files.first, out, error);
    else if (files.pickle)
        ok = join_path(path, files.pickle, &pickle, error) &&
             zi_check_no_pickle(pickle, NULL, error);
    free(pickle);
    zi_folder_weights_free(&files);
    return ok;
}

bool zi_is_tokenizer_folder(const char *dir)
{
    return has_file(dir, "tokenizer.json") || has_file(dir, "vocab.json");
}

bool zi_find_tokenizer_folder(const char *dir, char **out, zi_error *error)
{
    if (!find_path(dir, "tokenizer", true, out, error)) return false;
    if (*out || !zi_is_tokenizer_folder(dir)) return true;
    return join_path(dir, "", out, error);
}

bool zi_find_tokenizer_near(const char *path, char **out, zi_error *error)
{
    *out = NULL;
    char *dir = zi_is_dir(path) ? strdup(path) : zi_path_dirname(path);
    if (!dir) return zi_error_no_memory(error, strlen(path));
    bool ok = zi_find_tokenizer_folder(dir, out, error) &&
              (*out || find_path(dir, "../tokenizer", true, out, error));
    free(dir);
    return ok;
}

/* Whether dir has the folder of a component with weights, as in a diffusers folder. */
static bool has_component_folder(const char *dir)
{
    static const char *const names[] = {"transformer", "text_encoder", "vae"};
    bool has = false;
    for (size_t i = 0; !has && i < sizeof names / sizeof *names; i++) {
        char *path = zi_path_join(dir, names[i]);
        has = path && zi_is_dir(path);
        free(path);
    }
    return has;
}

/* Fills in the layout of a folder without weights: that of a tokenizer alone. Fails with
 * ZI_ERROR_NOT_FOUND when it is none; the caller frees the layout then. */
static bool read_tokenizer_folder(const char *path, zi_layout *layout, zi_error *error)
{
    if (!has_component_folder(path) && !zi_find_tokenizer_folder(path, &layout->tokenizer, error))
        return false;
    return layout->tokenizer ||
           zi_error_set(error, ZI_ERROR_NOT_FOUND, path,
                        "is no model folder: neither model_index.json (diffusers) nor "
                        "weights.safetensors (MLX) is in it; name the folder that has one of them, "
                        "or a .safetensors or .gguf file");
}

/* Reads the layout of a folder whose only file of weights has any name: as that of the file, with
 * the folder's config.json if it has one component. Of a folder without weights, that of its
 * tokenizer. Fails as find_only_file, read_file_layout and read_tokenizer_folder do; the caller
 * frees the layout then. */
static bool read_only_file(const char *path, zi_layout *layout, zi_error *error)
{
    char *file;
    int only = -1, count = 0;
    if (!find_only_file(path, &file, error)) return false;
    if (!file) return read_tokenizer_folder(path, layout, error);
    layout->folder = false;
    bool ok = read_file_layout(file, layout, error);
    free(file);
    for (int component = 0; ok && component < ZI_WEIGHT_COMPONENTS; component++) {
        if (!layout->components[component].path) continue;
        only = component;
        count++;
    }
    return ok && (count != 1 ||
                  find_path(path, "config.json", false, &layout->components[only].config, error));
}

/* Recognises a folder by its files and fills in the layout: a whole model's, a single component's,
 * that of its only file of weights, or a tokenizer's. Fails as read_only_file does when it is none
 * of these. After any failure the caller frees the layout. */
static bool read_any_folder(const char *path, zi_layout *layout, zi_error *error)
{
    layout->folder = true;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (has_file(path, folders[i].marker_file) || has_weights(path, folders[i].marker_file))
            return read_folder_layout(path, i, layout, error);
    for (int i = 0; stems[i]; i++)
        if (has_weights(path, stems[i]))
            return read_component_folder(path, stems[i], layout, error);
    return read_only_file(path, layout, error);
}

/* Moves the layout to *out, or, if not ok, frees it and leaves *out unchanged. Returns ok. */
static bool finish_layout(bool ok, zi_layout *layout, zi_layout *out)
{
    if (ok)
        *out = *layout;
    else
        zi_layout_free(layout);
    return ok;
}

bool zi_layout_read(const char *path, zi_layout *out, zi_error *error)
{
    zi_layout layout = {0};
    bool ok = zi_is_dir(path)    ? read_any_folder(path, &layout, error)
              : zi_is_file(path) ? read_file_layout(path, &layout, error)
                                 : zi_error_set(error, ZI_ERROR_NOT_FOUND, path,
                                                "no such file or folder; check the path");
    return finish_layout(ok, &layout, out);
}

bool zi_layout_read_open(const char *path, zi_checkpoint *shared, zi_layout *out, zi_error *error)
{
    zi_layout layout = {.checkpoint = zi_checkpoint_retain(shared)};
    return finish_layout(find_components(path, NULL, &layout, error), &layout, out);
}

void zi_layout_free(zi_layout *layout)
{
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++) {
        free(layout->components[component].path);
        free(layout->components[component].config);
        free(layout->components[component].pickle);
    }
    free(layout->tokenizer);
    free(layout->scheduler);
    zi_checkpoint_release(layout->checkpoint);
    *layout = (zi_layout){0};
}

bool zi_is_pipeline_class(const char *name)
{
    return !strcmp(name, "ZImagePipeline") || !strcmp(name, "ZImageImg2ImgPipeline") ||
           !strcmp(name, "ZImageInpaintPipeline");
}

bool zi_layout_open_component(const zi_layout *layout, zi_component component, zi_checkpoint **out,
                              zi_error *error)
{
    const zi_layout_component *where = &layout->components[component];
    zi_checkpoint opened;
    if (layout->checkpoint) {
        *out = zi_checkpoint_retain(layout->checkpoint);
        return true;
    }
    return (where->stem ? zi_checkpoint_open_dir(where->path, where->stem, &opened, error)
                        : zi_checkpoint_open_numbered(where->path, &opened, error)) &&
           zi_checkpoint_share(&opened, out, error);
}

const char *zi_naming_name(zi_naming naming)
{
    static const char *const names[ZI_NAMINGS] = {"diffusers", "ComfyUI", "MLX", "mflux", "GGUF"};
    return names[naming];
}
