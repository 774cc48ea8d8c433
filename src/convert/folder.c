/* Writes diffusers and MLX folders: whole models, or one component. */
#include "base/folder.h"
#include "base/text.h"
#include "convert/component_config.h"
#include "convert/conversion.h"
#include "convert/shards.h"
#include "io/weights_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAME = 512, MAX_SHARD_MB = 5000 };

/* Folders and file names of the components in a whole model. */
static const struct {
    const char *format;
    struct {
        const char *folder, *stem, *config;
    } components[ZI_WEIGHT_COMPONENTS];
} layouts[ZI_NAMINGS] = {
    [ZI_NAMES_DIFFUSERS] = {"pt",
                            {{"transformer/", "diffusion_pytorch_model", "config.json"},
                             {"text_encoder/", "model", "config.json"},
                             {"vae/", "diffusion_pytorch_model", "config.json"}}},
    [ZI_NAMES_MLX] = {"mlx",
                      {{"", "weights", "config.json"},
                       {"", "text_encoder", "text_encoder_config.json"},
                       {"", "vae", "vae_config.json"}}},
};

static const char model_index[] =
    "{\n  \"_class_name\": \"ZImagePipeline\",\n  \"_diffusers_version\": \"0.36.0\",\n"
    "  \"scheduler\": [\"diffusers\", \"FlowMatchEulerDiscreteScheduler\"],\n"
    "  \"text_encoder\": [\"transformers\", \"Qwen3Model\"],\n"
    "  \"tokenizer\": [\"transformers\", \"Qwen2Tokenizer\"],\n"
    "  \"transformer\": [\"diffusers\", \"ZImageTransformer2DModel\"],\n"
    "  \"vae\": [\"diffusers\", \"AutoencoderKL\"]\n}\n";

/* Z-Image-Turbo's, for models that come without one. */
static const char scheduler_config[] =
    "{\n  \"_class_name\": \"FlowMatchEulerDiscreteScheduler\",\n"
    "  \"_diffusers_version\": \"0.36.0\",\n  \"num_train_timesteps\": 1000,\n"
    "  \"use_dynamic_shifting\": false,\n  \"shift\": 3.0\n}\n";

/* Writes a file of these bytes, in a resumed folder over the one there. name is relative to the
 * output folder ("vae/config.json"); its subfolder must exist. */
static bool write_file(zi_output_folder *folder, const char *name, const void *data, size_t size,
                       zi_error *error)
{
    zi_output output = {0};
    bool ok = zi_output_folder_open_file(folder, name, &output, error) &&
              zi_output_write(&output, data, size, error) && zi_output_commit(&output, error);
    zi_output_discard(&output);
    return ok;
}

/* Copies the regular file at the path `from` into the output folder as `name`, such as
 * "vae/config.json", whose subfolder must exist; in a resumed folder over the one there. */
static bool copy_file(zi_output_folder *folder, const char *from, const char *name, zi_error *error)
{
    zi_mapping mapping;
    if (!zi_file_map(from, &mapping, error)) return false;
    bool ok = write_file(folder, name, mapping.data, mapping.size, error);
    zi_file_unmap(&mapping);
    return ok;
}

/* Makes the subfolder `name` of the output folder (in a resumed one it may exist) and copies the
 * regular files of the folder at `from` to it, following links, except hidden ones, weights and
 * those in subfolders. */
static bool copy_folder(zi_output_folder *folder, const char *from, const char *name,
                        zi_error *error)
{
    if (!zi_output_folder_mkdir(folder, name, error)) return false;
    DIR *dir = opendir(from);
    if (!dir)
        return zi_error_set(error, zi_error_code_of_errno(), from, "cannot read this folder: %s",
                            strerror(errno));
    const struct dirent *entry;
    bool ok = true;
    while (ok && (entry = readdir(dir))) {
        char to[MAX_NAME];
        if (entry->d_name[0] == '.' || zi_is_weights_name(entry->d_name)) continue;
        char *path = zi_path_join(from, entry->d_name);
        snprintf(to, sizeof to, "%s/%s", name, entry->d_name);
        if (!path)
            ok = zi_error_no_memory(error, strlen(from));
        else if (zi_is_file(path))
            ok = copy_file(folder, path, to, error);
        free(path);
    }
    closedir(dir);
    return ok;
}

/* Writes a component's config file: config.json, for MLX also text_encoder_config.json or
 * vae_config.json. dir: its subfolder with a closing slash, which must exist, or "". */
static bool write_config(zi_conversion *c, zi_output_folder *folder, zi_component component,
                         const char *dir, zi_error *error)
{
    const zi_conversion_component *it = &c->components[component];
    zi_component_config of = {&it->source, it->config, c->target, c->options->precision, &it->plan};
    char name[MAX_NAME], *text = NULL;
    snprintf(name, sizeof name, "%s%s", dir, layouts[c->target].components[component].config);
    bool ok = zi_component_config_text(&of, &text, error) &&
              write_file(folder, name, text, strlen(text), error);
    free(text);
    return ok;
}

/* Writes a component's tensors as safetensors files: one for MLX, shards for diffusers (of up to
 * options->shard_bytes, by default 5 GB of 10^9 bytes), with an index if there are several. The
 * component's subfolder must exist. */
static bool write_weights(zi_conversion *c, zi_output_folder *folder, zi_component component,
                          zi_error *error)
{
    const char *dir = c->whole ? layouts[c->target].components[component].folder : "";
    const char *stem = layouts[c->target].components[component].stem;
    uint64_t shard = c->options->shard_bytes;
    size_t max_bytes = c->target != ZI_NAMES_DIFFUSERS ? SIZE_MAX
                       : shard && shard < SIZE_MAX     ? (size_t)shard
                                                       : (size_t)MAX_SHARD_MB * 1000000;
    zi_shard_files shards = {folder, dir, stem, layouts[c->target].format, max_bytes};
    return zi_write_shards(&shards, &c->components[component].plan, &c->work, error);
}

/* Writes what a whole model has beside its components: model_index.json (diffusers only), copies of
 * the tokenizer and the scheduler config, or Z-Image-Turbo's scheduler config if there is none.
 * c->tokenizer must be set. */
static bool write_model_files(zi_conversion *c, zi_output_folder *folder, zi_error *error)
{
    static const char scheduler[] = "scheduler/scheduler_config.json";
    if (c->target == ZI_NAMES_DIFFUSERS &&
        !write_file(folder, "model_index.json", model_index, sizeof model_index - 1, error))
        return false;
    return copy_folder(folder, c->tokenizer, "tokenizer", error) &&
           zi_output_folder_mkdir(folder, "scheduler", error) &&
           (c->scheduler ? copy_file(folder, c->scheduler, scheduler, error)
                         : write_file(folder, scheduler, scheduler_config,
                                      sizeof scheduler_config - 1, error));
}

/* Writes the configs of the components that are converted, and makes their subfolders if they have
 * any. Done before the weights, so that errors show up early. After a failure, what was written
 * stays, for zi_output_folder_discard. */
static bool write_configs(zi_conversion *c, zi_output_folder *folder, zi_error *error)
{
    bool ok = true;
    for (int component = 0; ok && component < ZI_WEIGHT_COMPONENTS; component++) {
        const char *dir = c->whole ? layouts[c->target].components[component].folder : "";
        char name[MAX_NAME];
        if (!c->components[component].checkpoint) continue;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(dir, "/"), dir);
        ok = (!*name || zi_output_folder_mkdir(folder, name, error)) &&
             write_config(c, folder, (zi_component)component, dir, error);
    }
    return ok;
}

bool zi_conversion_write_folder(zi_conversion *conversion, zi_error *error)
{
    zi_output_folder folder;
    if (!(conversion->work.provider
              ? zi_output_folder_resume(&folder, conversion->options->destination, error)
              : zi_output_folder_open(&folder, conversion->options->destination, error)))
        return false;
    bool ok = write_configs(conversion, &folder, error) &&
              (!conversion->whole || write_model_files(conversion, &folder, error));
    for (int component = 0; ok && component < ZI_WEIGHT_COMPONENTS; component++)
        ok = !conversion->components[component].checkpoint ||
             write_weights(conversion, &folder, (zi_component)component, error);
    if (ok) return zi_output_folder_commit(&folder, error);
    zi_output_folder_discard(&folder);
    return false;
}

bool zi_conversion_write_comfyui(zi_conversion *conversion, zi_error *error)
{
    const zi_write_plan *plan = NULL;
    for (int component = 0; !plan && component < ZI_WEIGHT_COMPONENTS; component++)
        if (conversion->components[component].plan.count)
            plan = &conversion->components[component].plan;
    return zi_write_safetensors(conversion->options->destination, "pt", plan, 0, plan->count,
                                &conversion->work, error);
}
