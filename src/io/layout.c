#include "io/layout.h"
#include "io/recognise.h"

#include <stdlib.h>

/* How folders are laid out, in the order in which they are tried; a layout is taken when its
 * telling file, or weights of that stem, are there. */
static const struct {
    zi_naming naming;
    const char *telling;
    struct {
        const char *folder, *stem, *place, *config;
    } parts[ZI_PARTS];
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

/* Of the folder of a single part. */
static const char *const stems[] = {"diffusion_pytorch_model", "model", NULL};

static bool join(const char *dir, const char *name, char **out, zi_error *error)
{
    *out = *name ? zi_path_join(dir, name) : strdup(dir);
    return *out || zi_error_no_memory(error, strlen(dir));
}

/* *out is dir/name if that is a file (folder: a folder), else NULL. */
static bool find(const char *dir, const char *name, bool folder, char **out, zi_error *error)
{
    if (!join(dir, name, out, error)) return false;
    if (folder ? zi_is_dir(*out) : zi_is_file(*out)) return true;
    free(*out);
    *out = NULL;
    return true;
}

static bool exists(const char *dir, const char *name)
{
    char *path = zi_path_join(dir, name);
    bool is = path && zi_is_file(path);
    free(path);
    return is;
}

/* Whether dir has STEM.safetensors or its index, or the first numbered file. */
static bool has_weights(const char *dir, const char *stem)
{
    if (!stem) return exists(dir, "0.safetensors");
    char name[64];
    snprintf(name, sizeof name, "%s.safetensors", stem);
    if (exists(dir, name)) return true;
    snprintf(name, sizeof name, "%s.safetensors.index.json", stem);
    return exists(dir, name);
}

static bool find_folder_part(const char *path, size_t row, int part, zi_layout_part *out,
                             zi_error *error)
{
    const char *folder = folders[row].parts[part].folder, *stem = folders[row].parts[part].stem;
    const char *config = folders[row].parts[part].config;
    char *dir;
    out->usual_place = folders[row].parts[part].place;
    out->usual_config = config;
    if (!join(path, folder, &dir, error)) return false;
    if (has_weights(dir, stem)) {
        out->path = dir;
        out->stem = stem;
    } else {
        free(dir);
    }
    return !config || find(path, config, false, &out->config, error);
}

static bool find_folder(const char *path, size_t row, zi_layout *layout, zi_error *error)
{
    layout->naming = folders[row].naming;
    for (int part = 0; part < ZI_PARTS; part++)
        if (!find_folder_part(path, row, part, &layout->parts[part], error)) return false;
    return find(path, "tokenizer", true, &layout->tokenizer, error) &&
           find(path, "scheduler/scheduler_config.json", false, &layout->scheduler, error);
}

/* Which parts a checkpoint has, and in whose names: the first that are not everyone's. */
static void survey(const zi_checkpoint *checkpoint, bool has[ZI_PARTS], zi_naming *naming)
{
    zi_vae_form form = {0};
    *naming = ZI_NAMES_DIFFUSERS;
    for (size_t i = 0; i < checkpoint->tensor_count; i++)
        zi_vae_form_note(&form, checkpoint->tensors[i].name);
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        zi_key keys[ZI_MAX_FUSED];
        if (!zi_key_read(checkpoint->tensors[i].name, &form, keys)) continue;
        if (keys[0].role == ZI_NEEDLESS) continue;
        has[keys[0].part] = true;
        if (*naming != ZI_NAMES_DIFFUSERS) continue;
        *naming = keys[0].prefixed ? ZI_NAMES_COMFYUI : keys[0].naming;
    }
}

/* Every part that lies in one file (stem NULL), or in the files of a folder. */
static bool find_parts(const char *path, const char *stem, zi_layout *layout, zi_error *error)
{
    zi_checkpoint checkpoint;
    if (!(stem ? zi_checkpoint_open_dir(path, stem, &checkpoint, error)
               : zi_checkpoint_open(path, &checkpoint, error)))
        return false;
    bool has[ZI_PARTS] = {0}, ok = true, any = false;
    const char *foreign = zi_recognise_foreign(&checkpoint), *name = zi_recognise(&checkpoint);
    survey(&checkpoint, has, &layout->naming);
    if (checkpoint.gguf) layout->naming = ZI_NAMES_GGUF;
    zi_checkpoint_close(&checkpoint);
    for (int part = 0; ok && part < ZI_PARTS; part++) {
        if (!has[part]) continue;
        any = true;
        layout->parts[part].stem = stem;
        ok = join(path, "", &layout->parts[part].path, error) &&
             (!stem || find(path, "config.json", false, &layout->parts[part].config, error));
    }
    if (ok && (foreign || !any))
        return zi_error_set(error, ZI_ERROR_UNSUPPORTED, path, "not a part of Z-Image (%s)",
                            foreign ? foreign
                            : name  ? name
                                    : "of an unknown model");
    return ok;
}

static bool read_folder(const char *path, zi_layout *layout, zi_error *error)
{
    layout->folder = true;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        if (exists(path, folders[i].telling) || has_weights(path, folders[i].telling))
            return find_folder(path, i, layout, error);
    for (int i = 0; stems[i]; i++)
        if (has_weights(path, stems[i])) return find_parts(path, stems[i], layout, error);
    return zi_error_set(error, ZI_ERROR_NOT_FOUND, path,
                        "no model folder: neither model_index.json (diffusers) nor "
                        "weights.safetensors (MLX) is there");
}

bool zi_layout_read(const char *path, zi_layout *out, zi_error *error)
{
    zi_layout layout = {0};
    bool ok = zi_is_dir(path) ? read_folder(path, &layout, error)
              : zi_is_file(path)
                  ? find_parts(path, NULL, &layout, error)
                  : zi_error_set(error, ZI_ERROR_NOT_FOUND, path, "no such file or folder");
    if (!ok) {
        zi_layout_free(&layout);
        return false;
    }
    *out = layout;
    return true;
}

void zi_layout_free(zi_layout *layout)
{
    for (int part = 0; part < ZI_PARTS; part++) {
        free(layout->parts[part].path);
        free(layout->parts[part].config);
    }
    free(layout->tokenizer);
    free(layout->scheduler);
    *layout = (zi_layout){0};
}

bool zi_layout_open(const zi_layout *layout, zi_part part, zi_checkpoint *out, zi_error *error)
{
    const zi_layout_part *where = &layout->parts[part];
    if (where->stem) return zi_checkpoint_open_dir(where->path, where->stem, out, error);
    return layout->folder ? zi_checkpoint_open_numbered(where->path, out, error)
                          : zi_checkpoint_open(where->path, out, error);
}

const char *zi_naming_name(zi_naming naming)
{
    static const char *const names[ZI_NAMINGS] = {"diffusers", "ComfyUI", "MLX", "mflux", "GGUF"};
    return names[naming];
}
