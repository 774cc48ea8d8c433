#include "model/assembly.h"
#include "base/file.h"
#include "io/weights_files.h"
#include "model/variant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- inputs ---- */

/* Fails if the folder has a model_index.json that names another diffusers pipeline (Stable
 * Diffusion, Flux, ...) or cannot be read. True without that file, and for a path that is no
 * folder. */
static bool check_pipeline(const char *folder, zi_error *error)
{
    char *index = zi_path_join(folder, "model_index.json");
    if (!index) return zi_error_no_memory(error, strlen(folder));
    bool ok = !zi_is_file(index) || zi_config_check_pipeline(index, error);
    free(index);
    return ok;
}

/* Reads the layout of one input into *out, which is unchanged after a failure; a model or reference
 * must not be of another diffusers pipeline. shared: the checkpoint of the model's file if it is
 * already open, else NULL; the layout takes a reference of its own. Ignored for other inputs. */
static bool read_input(const char *path, zi_assembly_input input, zi_checkpoint *shared,
                       zi_layout *out, zi_error *error)
{
    bool is_model = input == ZI_ASSEMBLY_MODEL || input == ZI_ASSEMBLY_REFERENCE;
    if (is_model && !check_pipeline(path, error)) return false;
    return shared && input == ZI_ASSEMBLY_MODEL ? zi_layout_read_open(path, shared, out, error)
                                                : zi_layout_read(path, out, error);
}

/* Number of the first input that has the component; ZI_ASSEMBLY_INPUTS: none. Inputs named for one
 * component serve no other, and the reference never provides the transformer. */
static int input_of_component(const zi_assembly *assembly, zi_component component)
{
    for (int i = 0; i < ZI_ASSEMBLY_INPUTS; i++) {
        if (i == ZI_ASSEMBLY_TEXT_ENCODER && component != ZI_COMPONENT_TEXT_ENCODER) continue;
        if (i == ZI_ASSEMBLY_VAE && component != ZI_COMPONENT_VAE) continue;
        if (i == ZI_ASSEMBLY_REFERENCE && component == ZI_COMPONENT_TRANSFORMER) continue;
        if (assembly->layouts[i].components[component].path) return i;
    }
    return ZI_ASSEMBLY_INPUTS;
}

/* Fails with ZI_ERROR_INCOMPLETE if the input is given but does not have the component for which it
 * was named. True if it is not given. */
static bool check_named_input(const zi_assembly *assembly, zi_assembly_input input,
                              zi_component component, zi_error *error)
{
    const char *path = assembly->paths[input];
    if (!path || assembly->layouts[input].components[component].path) return true;
    return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, path, zi_component_name(component),
                           "no %s in it; name a file or folder that has one",
                           zi_component_title(component));
}

bool zi_assembly_read(const zi_model_options *options, zi_assembly *out, zi_error *error)
{
    return zi_assembly_read_open(options, NULL, out, error);
}

bool zi_assembly_read_open(const zi_model_options *options, zi_checkpoint *shared, zi_assembly *out,
                           zi_error *error)
{
    zi_assembly assembly = {
        .paths = {options->text_encoder, options->vae, options->path, options->reference}};
    bool ok = true;
    for (int i = 0; ok && i < ZI_ASSEMBLY_INPUTS; i++)
        ok = !assembly.paths[i] || read_input(assembly.paths[i], (zi_assembly_input)i, shared,
                                              &assembly.layouts[i], error);
    if (!ok ||
        !check_named_input(&assembly, ZI_ASSEMBLY_TEXT_ENCODER, ZI_COMPONENT_TEXT_ENCODER, error) ||
        !check_named_input(&assembly, ZI_ASSEMBLY_VAE, ZI_COMPONENT_VAE, error)) {
        zi_assembly_free(&assembly);
        return false;
    }
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++)
        assembly.from[component] = input_of_component(&assembly, (zi_component)component);
    *out = assembly;
    return true;
}

void zi_assembly_free(zi_assembly *assembly)
{
    for (int i = 0; i < ZI_ASSEMBLY_INPUTS; i++) zi_layout_free(&assembly->layouts[i]);
    *assembly = (zi_assembly){0};
}

const zi_layout *zi_assembly_layout(const zi_assembly *assembly, zi_component component)
{
    int input = assembly->from[component];
    return input < ZI_ASSEMBLY_INPUTS ? &assembly->layouts[input] : NULL;
}

/* ---- configs ---- */

const char *zi_assembly_config(const zi_assembly *assembly, zi_component component)
{
    static const zi_assembly_input inputs[] = {ZI_ASSEMBLY_REFERENCE, ZI_ASSEMBLY_MODEL};
    const zi_layout *own = zi_assembly_layout(assembly, component);
    const char *config = own ? own->components[component].config : NULL;
    for (size_t i = 0; !config && i < sizeof inputs / sizeof *inputs; i++)
        config = assembly->layouts[inputs[i]].components[component].config;
    return config;
}

/* Reads the config file of a component, which an input must provide, into its part of *config and
 * checks it; a failure may change *config. Without a file: true and *config unchanged, to be
 * inferred from the weights, but ZI_ERROR_INCOMPLETE if the component's layout always has one. */
static bool read_component_config(const zi_assembly *assembly, zi_component component,
                                  zi_config *config, zi_error *error)
{
    const char *path = zi_assembly_config(assembly, component);
    int input = assembly->from[component];
    const char *usual = assembly->layouts[input].components[component].usual_config;
    if (path) return zi_config_read(component, path, config, error);
    if (!usual) return true; /* it is inferred from the weights */
    return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, NULL, "config",
                           "%s/%s is missing; fetch this file again, or take it from a reference "
                           "model (a complete Z-Image model)",
                           assembly->paths[input], usual);
}

/* Sets ZI_ERROR_INCOMPLETE, with the component's name as subject, the path at which the model
 * should have it, and what to name instead; ZI_ERROR_UNSUPPORTED if a pickle is there. Returns
 * false. */
static bool fail_missing_component(const zi_assembly *assembly, zi_component component,
                                   zi_error *error)
{
    const char *path = assembly->paths[ZI_ASSEMBLY_MODEL], *name = zi_component_title(component);
    const char *usual = assembly->layouts[ZI_ASSEMBLY_MODEL].components[component].usual_path;
    const char *pickle = assembly->layouts[ZI_ASSEMBLY_MODEL].components[component].pickle;
    char what[128];
    if (pickle && !zi_check_no_pickle(pickle, NULL, error)) return false;
    snprintf(what, sizeof what, usual ? "/%s is missing" : ": no %s in it", usual ? usual : name);
    if (component == ZI_COMPONENT_TRANSFORMER)
        return zi_error_set_in(
            error, ZI_ERROR_INCOMPLETE, NULL, zi_component_name(component),
            "%s%s; name a complete model, or the file of its transformer (the diffusion model)",
            path, what);
    return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, NULL, zi_component_name(component),
                           "%s%s; name a %s, or a reference model (a complete Z-Image model)", path,
                           what, name);
}

/* Opens the reference's transformer, if there is one, for pad tokens that the transformer's weights
 * lack. False: it cannot be opened; *error is set. */
static bool add_pad_tokens(const zi_assembly *assembly, zi_weights *weights, zi_error *error)
{
    const zi_layout *reference = &assembly->layouts[ZI_ASSEMBLY_REFERENCE];
    bool missing = false;
    for (int i = 0; i < ZI_PAD_TOKENS; i++)
        missing = missing || !zi_weights_has(weights, zi_pad_tokens[i]);
    return !missing || !reference->components[ZI_COMPONENT_TRANSFORMER].path ||
           zi_weights_add_reference(weights, reference, error);
}

bool zi_assembly_open(const zi_assembly *assembly, zi_component component, zi_backend *backend,
                      zi_config *config, zi_weights *weights, zi_error *error)
{
    const zi_layout *layout = zi_assembly_layout(assembly, component);
    if (!layout) return fail_missing_component(assembly, component, error);
    if (!read_component_config(assembly, component, config, error) ||
        !zi_weights_open(layout, component, config->group[component], backend, weights, error))
        return false;
    weights->config = zi_assembly_config(assembly, component);
    bool ok = weights->config ||
              zi_config_infer(&weights->source, weights->checkpoint->gguf, config, error);
    if (component == ZI_COMPONENT_TRANSFORMER) ok = ok && add_pad_tokens(assembly, weights, error);
    if (!ok) zi_weights_close(weights);
    return ok;
}

/* Fills in scheduler, variant and foreign_shift of a model without a scheduler config, whose
 * variant, perhaps unknown, is given: from that of the reference at `path`, unless it is of the
 * other variant. */
static bool read_reference_scheduler(const char *path, zi_variant variant, zi_config *config,
                                     zi_error *error)
{
    if (!zi_config_read_scheduler(path, &config->scheduler, error)) return false;
    zi_variant other = zi_variant_of_shift(config->scheduler.shift);
    config->variant = variant ? variant : other;
    if (config->variant == other || config->scheduler.dynamic) return true;
    config->foreign_shift = config->scheduler.shift;
    config->scheduler = zi_variant_scheduler(variant);
    return true;
}

bool zi_assembly_scheduler(const zi_assembly *assembly, zi_config *config, zi_error *error)
{
    const zi_layout *model = &assembly->layouts[ZI_ASSEMBLY_MODEL];
    const char *reference = assembly->layouts[ZI_ASSEMBLY_REFERENCE].scheduler;
    zi_scheduler_config *scheduler = &config->scheduler;
    zi_variant variant = zi_variant_recognise(assembly->paths[ZI_ASSEMBLY_MODEL],
                                              model->checkpoint ? model->checkpoint->gguf : NULL);
    config->foreign_shift = 0;
    if (model->scheduler) {
        if (!zi_config_read_scheduler(model->scheduler, scheduler, error)) return false;
        config->variant = scheduler->dynamic ? variant : zi_variant_of_shift(scheduler->shift);
        return true;
    }
    if (reference) return read_reference_scheduler(reference, variant, config, error);
    /* Diffusers folders always have one; models in other layouts are Z-Image-Turbo by default. */
    if (model->naming == ZI_NAMES_DIFFUSERS &&
        model->components[ZI_COMPONENT_TRANSFORMER].usual_path)
        return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, NULL, "scheduler",
                               "%s/scheduler/scheduler_config.json is missing; fetch it again, or "
                               "take it from a reference model (a complete Z-Image model)",
                               assembly->paths[ZI_ASSEMBLY_MODEL]);
    config->variant = variant;
    *scheduler = zi_variant_scheduler(variant);
    return true;
}

/* ---- the tokenizer ---- */

/* Loads a tokenizer, which the caller frees, from the folder dir/tokenizer, which must hold one if
 * it is there; else from dir itself if it has a tokenizer's files. True and *out unchanged (NULL)
 * if neither is there; unchanged after a failure, too. */
static bool load_tokenizer_of_folder(const char *dir, zi_tokenizer **out, zi_error *error)
{
    char *path;
    if (!zi_find_tokenizer_folder(dir, &path, error)) return false;
    bool ok = !path || zi_tokenizer_load(path, out, error);
    free(path);
    return ok;
}

/* Sets *out to a reference to the checkpoint of the file path, which the caller releases: that of
 * the assembly (which may be NULL) if it has the file open under the same path, else the file is
 * opened now. *out is unchanged after a failure. */
static bool retain_or_open_checkpoint(const char *path, const zi_assembly *assembly,
                                      zi_checkpoint **out, zi_error *error)
{
    zi_checkpoint opened;
    for (int i = 0; assembly && i < ZI_ASSEMBLY_INPUTS; i++) {
        zi_checkpoint *known = assembly->layouts[i].checkpoint;
        if (!known || strcmp(assembly->paths[i], path) != 0) continue;
        *out = zi_checkpoint_retain(known);
        return true;
    }
    return zi_checkpoint_open(path, &opened, error) && zi_checkpoint_share(&opened, out, error);
}

/* Loads a tokenizer from the metadata of the file path. True and *out unchanged (NULL) if the file
 * is not GGUF or has no tokenizer. assembly: may have the file open; may be NULL. */
static bool load_gguf_tokenizer(const char *path, const zi_assembly *assembly, zi_tokenizer **out,
                                zi_error *error)
{
    zi_checkpoint *checkpoint;
    if (!retain_or_open_checkpoint(path, assembly, &checkpoint, error)) return false;
    bool there = checkpoint->gguf && zi_gguf_find(checkpoint->gguf, "tokenizer.ggml.model");
    bool ok = !there || zi_tokenizer_load_gguf(checkpoint->gguf, out, error);
    zi_checkpoint_release(checkpoint);
    return ok;
}

/* Loads a tokenizer from the folder that zi_find_tokenizer_near finds for this path. True and *out
 * unchanged (NULL) if there is none. */
static bool load_tokenizer_near(const char *path, zi_tokenizer **out, zi_error *error)
{
    char *found;
    if (!zi_find_tokenizer_near(path, &found, error)) return false;
    bool ok = !found || zi_tokenizer_load(found, out, error);
    free(found);
    return ok;
}

bool zi_assembly_tokenizer(const zi_model_options *options, const zi_assembly *assembly,
                           zi_tokenizer **out, zi_error *error)
{
    const char *folders[] = {options->path, options->reference};
    const char *text = options->text_encoder ? options->text_encoder : options->path;
    *out = NULL;
    for (int i = 0; i < 2; i++)
        if (folders[i] && zi_is_dir(folders[i]) &&
            !load_tokenizer_of_folder(folders[i], out, error))
            return false;
        else if (*out)
            return true;
    if (text && zi_is_file(text) && !load_gguf_tokenizer(text, assembly, out, error)) return false;
    if (!*out && text && (options->text_encoder || zi_is_file(text)) &&
        !load_tokenizer_near(text, out, error))
        return false;
    if (!*out && options->tokenizer && !load_tokenizer_of_folder(options->tokenizer, out, error))
        return false;
    const char *named = text ? text : options->reference;
    return *out ||
           zi_error_set_in(
               error, ZI_ERROR_INCOMPLETE, options->path ? options->path : named, "tokenizer",
               "no tokenizer in it; take one from a reference model (a complete Z-Image model)");
}
