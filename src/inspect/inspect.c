/* zi_inspect: describes what a model's folder or file holds. */
#include "inspect/inspection.h"
#include "base/file.h"
#include "io/recognise.h"
#include "io/json.h"
#include "io/values.h"
#include "model/assembly.h"
#include "model/config_remarks.h"
#include "model/lm.h"
#include "model/transformer.h"
#include "model/vae.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    zi_inspection *out;
    zi_assembly assembly;
    zi_config config;
    int configs_read;    /* bit mask of components whose fields in config are set */
    size_t own_problems; /* problems that a reference model cannot fix; listed first */
    bool failed;         /* memory is short */
} inspector;

/* Adds a copy of *why to the problems: at the end if a reference model can solve it, else before
 * all of those. Sets in->failed when memory is short. */
static void add_problem(inspector *in, zi_error *why)
{
    zi_problem problem = {why->code, why->subject, why->text};
    bool fixable = zi_problem_is_fixable_by_reference(&problem);
    size_t at = fixable ? in->out->problem_count : in->own_problems++;
    in->failed |= !zi_inspection_add_problem(in->out, &problem, at);
}

/* Replaces *field, a text of the inspection, by a copy of text. Sets in->failed when memory is
 * short; *field is unchanged then. */
static void set_text(inspector *in, char **field, const char *text)
{
    in->failed |= !zi_inspection_set(field, text);
}

/* ---- tensors ---- */

/* Writes how a weight's values are stored: "BF16", "F8_E4M3 scaled", "8-bit MLX groups of 64",
 * "MLX mxfp4", "NVFP4", "I8 scaled, ConvRot 256"; cut to `size` bytes. */
static void format_name(const zi_entry *entry, char *out, size_t size)
{
    const char *type = zi_dtype_name(entry->tensor->type);
    const char *four = entry->group == 16 ? "nvfp4" : "mxfp4";
    if (entry->swizzled)
        snprintf(out, size, "%s", entry->codes == ZI_CODES_E4M3 ? "MXFP8" : "NVFP4");
    else if (entry->packing == ZI_GROUPED && entry->codes != ZI_CODES_INTEGER)
        snprintf(out, size, "MLX %s", entry->codes == ZI_CODES_E4M3 ? "mxfp8" : four);
    else if (entry->packing == ZI_GROUPED)
        snprintf(out, size, "%d-bit MLX groups of %zu", entry->bits, entry->group);
    else if (entry->rotation)
        snprintf(out, size, "%s scaled, ConvRot %zu", type, entry->rotation);
    else
        snprintf(out, size, "%s%s", type, entry->packing == ZI_SCALED ? " scaled" : "");
}

/* The number of elements of the unpacked tensor; its scales and biases do not count. */
static double count_parameters(const zi_entry *entry)
{
    double n = 1;
    for (int i = 0; i < entry->dims; i++) n *= (double)entry->shape[i];
    return n;
}

/* Adds n parameters that are stored in a format, whose name is copied, to the summary: to its total
 * and to its list of formats. When memory is short, in->failed is set, and the list lacks them. */
static void add_format(inspector *in, zi_tensor_summary *out, const char *format, double n)
{
    out->parameters += n;
    in->failed |= !zi_summary_add_format(out, format, n);
}

/* Fills in the summary, {0} before, of a component's tensors in in->out: parameters are counted
 * unpacked, bytes as stored, files are all of the checkpoint's. Sets in->failed when memory is
 * short. */
static void summarize_component(inspector *in, const zi_weights *weights, zi_component component)
{
    zi_tensor_summary *out = &in->out->components[component].tensors;
    const zi_checkpoint *checkpoint = weights->checkpoint;
    const zi_source *source = &weights->source;
    out->files = (size_t)checkpoint->file_count;
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        zi_key keys[ZI_MAX_FUSED];
        if (!zi_key_parse(checkpoint->tensors[i].name, &source->vae_depth, keys)) continue;
        if (keys[0].component != component) continue;
        out->tensors++;
        out->bytes += (double)checkpoint->tensors[i].bytes;
    }
    for (size_t i = 0; i < source->count; i++) {
        char format[64];
        format_name(&source->entries[i], format, sizeof format);
        add_format(in, out, format, count_parameters(&source->entries[i]));
    }
}

/* Fills in the summary `other` with all tensors of a file whose model is not supported; parameters
 * are the elements as stored, even if they are packed. Sets in->failed when memory is short. */
static void summarize_checkpoint(inspector *in, const zi_checkpoint *checkpoint)
{
    zi_tensor_summary *out = &in->out->other;
    out->files = (size_t)checkpoint->file_count;
    out->tensors = checkpoint->tensor_count;
    for (size_t i = 0; i < checkpoint->tensor_count; i++) {
        const zi_tensor *tensor = &checkpoint->tensors[i];
        out->bytes += (double)tensor->bytes;
        add_format(in, out, zi_dtype_name(tensor->type), (double)tensor->count);
    }
}

/* ---- components ---- */

/* Adds a problem, the first fault found, unless every tensor of the component is present and fits
 * in->config, and a remark when pad tokens are missing. Takes ownership of *weights and zeroes it,
 * in any case. in->failed: memory is short. */
static void check_by_binding(inspector *in, zi_component component, zi_weights *weights)
{
    const zi_config *c = &in->config;
    zi_transformer transformer = {0};
    zi_qwen text = {0};
    zi_vae vae = {0};
    zi_error why;
    bool ok = component == ZI_COMPONENT_TRANSFORMER
                  ? zi_transformer_bind(weights, &c->transformer, &transformer, &why)
              : component == ZI_COMPONENT_TEXT_ENCODER
                  ? zi_qwen_bind(weights, &c->text, &text, &why)
                  : zi_vae_bind(weights, &c->vae, &vae, &why);
    if (!ok) add_problem(in, &why);
    if (transformer.weights.zeros)
        in->failed |= !zi_inspection_add_remark(
            in->out, "the pad tokens are missing; zeros stand in for them");
    zi_transformer_free(&transformer);
    zi_qwen_free(&text);
    zi_vae_free(&vae);
}

/* Describes a component with weights: whether it is present or missing, its tensors, its config (in
 * in->config, with its bit in in->configs_read if it could be read). Faults become problems (of
 * values, those that zi_source_sample_values finds), as does its absence from a folder, but not
 * from a file. Sets in->failed when memory is short. */
static void inspect_component(inspector *in, zi_component component)
{
    const zi_layout *layout = zi_assembly_layout(&in->assembly, component);
    zi_error why;
    zi_weights weights;
    in->out->components[component].present = layout != NULL;
    in->out->components[component].missing = !layout;
    if (zi_assembly_open(&in->assembly, component, NULL, &in->config, &weights, &why)) {
        in->configs_read |= 1 << component;
        summarize_component(in, &weights, component);
        if (!zi_source_sample_values(&weights.source, &why)) add_problem(in, &why);
        check_by_binding(in, component, &weights);
        return;
    }
    /* A single file need not have all components, a folder should. */
    if (layout || in->assembly.layouts[ZI_ASSEMBLY_MODEL].components[component].usual_path)
        add_problem(in, &why);
    if (!layout || !zi_weights_open(layout, component, 0, NULL, &weights, &why)) return;
    summarize_component(in, &weights, component);
    zi_weights_close(&weights);
}

/* Marks the tokenizer as present or missing, by loading it. One of the folder or of the GGUF file
 * that exists but does not load is present, and a problem; a missing one adds no problem. One that
 * lies beside a file does not count: it is no part of it. Sets in->failed when memory is short for
 * a problem. */
static void inspect_tokenizer(inspector *in)
{
    const zi_layout *layout = &in->assembly.layouts[ZI_ASSEMBLY_MODEL];
    zi_model_options options = {.path = in->out->path};
    zi_tokenizer *tokenizer = NULL;
    zi_error why;
    const zi_gguf *gguf = layout->checkpoint ? layout->checkpoint->gguf : NULL;
    bool in_gguf = gguf && zi_gguf_find(gguf, "tokenizer.ggml.model");
    bool works = (zi_is_dir(in->out->path) || in_gguf) &&
                 zi_assembly_tokenizer(&options, &in->assembly, &tokenizer, &why);
    bool exists = works || layout->tokenizer || in_gguf;
    zi_tokenizer_free(tokenizer);
    in->out->components[ZI_COMPONENT_TOKENIZER].present = exists;
    in->out->components[ZI_COMPONENT_TOKENIZER].missing = !exists;
    if (exists && !works) add_problem(in, &why);
}

/* Marks the scheduler as present if the model has its file, and reads its config into in->config
 * (else Z-Image-Turbo's). A failure is a problem, as is its absence from a diffusers folder, but it
 * is never marked as missing. Sets in->failed when memory is short. */
static void inspect_scheduler(inspector *in)
{
    const zi_layout *layout = &in->assembly.layouts[ZI_ASSEMBLY_MODEL];
    zi_error why;
    in->out->components[ZI_COMPONENT_SCHEDULER].present = layout->scheduler != NULL;
    if (!zi_assembly_scheduler(&in->assembly, &in->config, &why)) {
        add_problem(in, &why);
        return;
    }
    if (!in->out->components[ZI_COMPONENT_TRANSFORMER].present) return;
    in->out->variant = in->config.variant;
}

/* Sets the inspection's shift, for images of the native size (1024 without a VAE's config), if the
 * scheduler's config has dynamic shifting or the model's variant is known; else it stays 0. */
static void inspect_shift(inspector *in)
{
    const zi_config *c = &in->config;
    int side = in->configs_read & 1 << ZI_COMPONENT_VAE ? c->vae.native_size : 1024;
    if (in->out->variant || c->scheduler.dynamic)
        in->out->shift = zi_scheduler_shift(&c->scheduler, side / 16 * (side / 16));
}

/* A zi_remark_fn: adds the text to the remarks of the inspector `user`. */
static void add_remark(void *user, const char *text)
{
    inspector *in = user;
    in->failed |= !zi_inspection_add_remark(in->out, text);
}

/* Adds remarks on config fields that nobody knows and on what may not be meant. Sets in->failed
 * when memory is short. */
static void inspect_remarks(inspector *in)
{
    bool ok = zi_config_each_unknown(&in->assembly, add_remark, in, NULL) &&
              zi_config_each_warning(&in->assembly, &in->config, add_remark, in, NULL);
    in->failed |= !ok;
}

/* Sets the architecture to a copy of `name`, in which the model's variant, if known, stands for
 * "Z-Image" at its start. Sets in->failed when memory is short. */
static void set_architecture(inspector *in, const char *name)
{
    static const char generic[] = "Z-Image";
    char text[200];
    size_t size = sizeof generic - 1;
    bool replaced = in->out->variant && !strncmp(name, generic, size);
    snprintf(text, sizeof text, "%s%s", replaced ? zi_variant_name(in->out->variant) : "",
             replaced ? name + size : name);
    set_text(in, &in->out->architecture, text);
}

/* Sets native size, layers and widths of the inspection from the configs that were read; the others
 * stay 0. When those of transformer, text encoder and VAE were all read but do not fit each other,
 * adds a problem. Sets in->failed when memory is short. */
static void inspect_configs(inspector *in)
{
    const zi_config *c = &in->config;
    zi_inspection *out = in->out;
    zi_error why;
    if (in->configs_read & 1 << ZI_COMPONENT_VAE) {
        out->native_size = c->vae.native_size;
        out->vae_channels = c->vae.latent;
    }
    if (in->configs_read & 1 << ZI_COMPONENT_TRANSFORMER) {
        out->transformer_layers = c->transformer.layers;
        out->transformer_width = c->transformer.dim;
        out->transformer_text_width = c->transformer.caption_dim;
        out->transformer_channels = c->transformer.channels;
    }
    if (in->configs_read & 1 << ZI_COMPONENT_TEXT_ENCODER) {
        out->text_encoder_layers = c->text.layers;
        out->text_encoder_width = c->text.hidden;
    }
    if (in->configs_read == (1 << ZI_WEIGHT_COMPONENTS) - 1 &&
        !zi_config_check_components(out->path, c, &why))
        add_problem(in, &why);
}

/* ---- the whole model ---- */

/* Describes a model, or a file of one component, whose layout is in in->assembly, which stays open:
 * layout, architecture, components and problems. Does not compute the health. Sets in->failed when
 * memory is short. */
static void inspect_model(inspector *in)
{
    const zi_layout *layout = &in->assembly.layouts[ZI_ASSEMBLY_MODEL];
    const char *architecture = layout->folder ? NULL : zi_recognise_model(layout->checkpoint);
    char name[32];
    snprintf(name, sizeof name, "%s%s", zi_naming_name(layout->naming),
             layout->folder ? "" : " file");
    in->out->has_components = true;
    set_text(in, &in->out->layout, name);
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++)
        inspect_component(in, (zi_component)component);
    inspect_tokenizer(in);
    inspect_scheduler(in);
    inspect_shift(in);
    inspect_configs(in);
    inspect_remarks(in);
    set_architecture(in, architecture ? architecture : "Z-Image");
}

/* Describes a diffusers folder that did not read as a model: its layout, and as architecture the
 * pipeline class in model_index.json ("unknown" if it has none). False: that file is absent or
 * memory is short (*error is unchanged), or it cannot be read, is larger than 1 MiB or no valid
 * JSON (*error is set). */
static bool inspect_pipeline(inspector *in, zi_error *error)
{
    enum { MAX_INDEX = 1 << 20 };
    char *index = zi_path_join(in->out->path, "model_index.json");
    cJSON *json = NULL;
    bool ok = index && zi_is_file(index) && zi_json_read(index, MAX_INDEX, &json, error);
    const char *name = cJSON_GetStringValue(zi_json_find(json, "_class_name"));
    if (ok) {
        set_text(in, &in->out->layout, "diffusers");
        set_text(in, &in->out->architecture, name ? name : "unknown");
    }
    cJSON_Delete(json);
    free(index);
    return ok;
}

/* Describes a file that did not read as a model, by its tensors: layout, architecture ("unknown" if
 * it is not recognised), `other`; the caller adds kind, problem and health. False: it does not open
 * as a tensor file, or is damaged; *error is set. Sets in->failed, and returns true, when memory
 * for the texts is short. */
static bool inspect_other_file(inspector *in, zi_error *error)
{
    zi_checkpoint checkpoint;
    if (!zi_checkpoint_open(in->out->path, &checkpoint, error)) return false;
    const char *name = zi_recognise_model(&checkpoint);
    set_text(in, &in->out->layout, checkpoint.gguf ? "GGUF file" : "safetensors file");
    set_text(in, &in->out->architecture, name ? name : "unknown");
    summarize_checkpoint(in, &checkpoint);
    zi_checkpoint_close(&checkpoint);
    return true;
}

/* Describes in->out->path: as a model, or else as a diffusers folder or a tensor file, with the
 * reason as a problem, and computes its health. False: it is none of them, or memory is short;
 * *error is set, in->out filled in part. Zeroes in->assembly in any case. error must not be NULL
 * and may be set on success, too. */
static bool inspect_path(inspector *in, zi_error *error)
{
    const char *path = in->out->path;
    zi_error why;
    bool ok = true;
    if (zi_assembly_read(&(zi_model_options){.path = path}, &in->assembly, &why)) {
        inspect_model(in);
    } else {
        *error = why; /* reported unless the path can be described otherwise */
        ok = zi_is_dir(path)    ? inspect_pipeline(in, error)
             : zi_is_file(path) ? inspect_other_file(in, error)
                                : false;
        in->out->kind = ZI_MODEL_OTHER;
        add_problem(in, &why);
    }
    zi_assembly_free(&in->assembly);
    zi_inspection_update_health(in->out);
    return ok && (!in->failed || zi_error_no_memory(error, sizeof *in->out));
}

bool zi_inspect(const char *path, zi_inspection **out, zi_error *error)
{
    zi_error why = {0};
    inspector in = {.out = zi_inspection_create(path)};
    if (!in.out) return zi_error_no_memory(error, sizeof *in.out);
    if (inspect_path(&in, &why)) {
        *out = in.out;
        return true;
    }
    zi_inspection_free(in.out);
    if (error) *error = why;
    return false;
}

bool zi_inspect_llm(const char *path, zi_inspection **out, zi_error *error)
{
    zi_lm lm;
    if (!zi_lm_load(&(zi_model_options){.path = path}, NULL, &lm, error)) return false;
    bool ok = zi_source_sample_values(&lm.qwen.weights.source, error);
    zi_lm_free(&lm);
    if (!ok) return false;
    zi_inspection *in = zi_inspection_create(path);
    if (!in) return zi_error_no_memory(error, sizeof *in);
    in->kind = ZI_MODEL_LANGUAGE;
    zi_inspection_update_health(in);
    *out = in;
    return true;
}
