#include "convert/conversion.h"
#include "convert/component_config.h"

#include <stdlib.h>
#include <string.h>

static bool read_inputs(zi_conversion *c, zi_error *error)
{
    const zi_convert_options *o = c->options;
    const char *const inputs[ZI_INPUTS] = {o->source, o->vae, o->text_encoder, o->reference};
    for (int i = 0; i < ZI_INPUTS; i++) {
        if (inputs[i] && !zi_layout_read(inputs[i], &c->layouts[i], error)) return false;
        c->inputs[i] = inputs[i];
    }
    return true;
}

static bool has(const zi_conversion *c, int input, zi_component component)
{
    return c->inputs[input] && c->layouts[input].components[component].path;
}

/* ---- what is asked for ---- */

/* A single file stays one: ComfyUI reads diffusers' names, too, but writes its own. */
static bool choose_target(zi_conversion *c, zi_error *error)
{
    const zi_layout *source = &c->layouts[ZI_INPUT_SOURCE];
    if (c->options->layout > ZI_LAYOUT_GGUF)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "layout", "%d is not a known layout",
                            (int)c->options->layout);
    c->target = c->options->layout ? zi_layout_naming(c->options->layout) : source->naming;
    if (!c->options->layout && source->naming == ZI_NAMES_DIFFUSERS && !source->folder)
        c->target = ZI_NAMES_COMFYUI;
    if (c->target == ZI_NAMES_MFLUX)
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "layout",
            "%s is in that of mflux, which is read but not written; convert it to mlx",
            c->options->source);
    return true;
}

static bool check_precision(const zi_conversion *c, zi_error *error)
{
    zi_precision precision = c->options->precision;
    if (precision > ZI_PRECISION_Q4)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "precision",
                            "%d is not a known precision", (int)precision);
    if (precision >= ZI_PRECISION_FP8 && !has(c, ZI_INPUT_SOURCE, ZI_COMPONENT_TRANSFORMER))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "precision",
                            "%s has no transformer, and nothing else is quantized",
                            c->options->source);
    return zi_naming_check_precision(c->target, precision, error);
}

/* ---- where parts come from ---- */

/* Named for a part, it must have it. */
static bool check_named(const zi_conversion *c, int input, zi_component component, zi_error *error)
{
    if (c->inputs[input] && !has(c, input, component))
        return zi_error_set_in(
            error, ZI_ERROR_INCOMPLETE, c->inputs[input], zi_component_name(component),
            "no %s in it; name a file or folder that has one", zi_component_title(component));
    if (c->inputs[input] && c->target == ZI_NAMES_GGUF)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, zi_component_name(component),
                            "a GGUF file has one part; convert %s by itself", c->inputs[input]);
    return true;
}

/* The input that a part comes from; ZI_INPUTS: none. */
static int origin_of(const zi_conversion *c, zi_component component)
{
    bool lent =
        component != ZI_COMPONENT_TRANSFORMER && has(c, ZI_INPUT_SOURCE, ZI_COMPONENT_TRANSFORMER);
    if (component == ZI_COMPONENT_VAE && c->inputs[ZI_INPUT_VAE]) return ZI_INPUT_VAE;
    if (component == ZI_COMPONENT_TEXT_ENCODER && c->inputs[ZI_INPUT_TEXT_ENCODER])
        return ZI_INPUT_TEXT_ENCODER;
    if (has(c, ZI_INPUT_SOURCE, component)) return ZI_INPUT_SOURCE;
    return lent && has(c, ZI_INPUT_REFERENCE, component) ? ZI_INPUT_REFERENCE : ZI_INPUTS;
}

static bool choose_parts(zi_conversion *c, int origins[ZI_WEIGHT_COMPONENTS], zi_error *error)
{
    if (!check_named(c, ZI_INPUT_VAE, ZI_COMPONENT_VAE, error) ||
        !check_named(c, ZI_INPUT_TEXT_ENCODER, ZI_COMPONENT_TEXT_ENCODER, error))
        return false;
    int count = 0, missing = 0;
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++) {
        origins[component] = origin_of(c, (zi_component)component);
        if (origins[component] != ZI_INPUTS)
            count++;
        else
            missing = component;
    }
    if (c->target == ZI_NAMES_GGUF) { /* one part */
        int kept = origins[ZI_COMPONENT_TRANSFORMER] != ZI_INPUTS ? ZI_COMPONENT_TRANSFORMER
                                                                  : ZI_COMPONENT_TEXT_ENCODER;
        if (origins[kept] == ZI_INPUTS)
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "layout",
                                "%s is a VAE, which is not written as GGUF; programs that read "
                                "GGUF take it as safetensors: convert it to comfyui",
                                c->options->source);
        for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++)
            if (component != kept) origins[component] = ZI_INPUTS;
        count = 1;
    }
    c->whole = count == ZI_WEIGHT_COMPONENTS;
    if (count == 2) /* neither a model nor a part */
        return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, c->options->source,
                               zi_component_name((zi_component)missing), "the %s is missing; %s",
                               zi_component_title((zi_component)missing),
                               missing == ZI_COMPONENT_TRANSFORMER
                                   ? "convert a model that has one, or one part by itself"
                                   : "name a file of it, or a reference model that has one");
    return true;
}

/* ---- plans ---- */

static bool plan_part(zi_conversion *c, zi_component component, int input, zi_error *error)
{
    const zi_layout *layout = &c->layouts[input], *reference = &c->layouts[ZI_INPUT_REFERENCE];
    zi_conversion_component *out = &c->components[component];
    const char *own = layout->components[component].config;
    if (!zi_layout_open_component(layout, component, &out->checkpoint, error)) return false;
    out->config = own ? own : reference->components[component].config;
    const zi_checkpoint *checkpoint = out->checkpoint;
    if (!zi_source_create(&checkpoint, 1, component, zi_mlx_config_group_size(own), &out->source,
                          error))
        return false;
    bool prefixed = c->whole && c->target == ZI_NAMES_COMFYUI;
    zi_conversion_component *file = prefixed ? &c->components[0] : out;
    return zi_write_plan_add_component(&file->plan, &out->source, c->target, c->options->precision,
                                       prefixed, error);
}

static const char *first_of(const zi_conversion *c, bool tokenizer)
{
    static const int order[] = {ZI_INPUT_SOURCE, ZI_INPUT_REFERENCE, ZI_INPUT_TEXT_ENCODER};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const zi_layout *layout = &c->layouts[order[i]];
        const char *path = tokenizer ? layout->tokenizer : layout->scheduler;
        if (path) return path;
    }
    return NULL;
}

bool zi_conversion_plan(zi_conversion *out, const zi_convert_options *options, zi_error *error)
{
    int origins[ZI_WEIGHT_COMPONENTS];
    zi_conversion *c = out;
    *c = (zi_conversion){.options = options,
                         .work = {.progress = options->progress, .user = options->user}};
    if (!read_inputs(c, error) || !choose_target(c, error) || !check_precision(c, error) ||
        !choose_parts(c, origins, error))
        return false;
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++)
        if (origins[component] != ZI_INPUTS &&
            !plan_part(c, (zi_component)component, origins[component], error))
            return false;
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++) {
        if (!zi_write_plan_sort(&c->components[component].plan, error)) return false;
        c->work.bytes_total += zi_write_plan_bytes(&c->components[component].plan);
    }
    c->tokenizer = first_of(c, true);
    c->scheduler = first_of(c, false);
    return true;
}

void zi_conversion_free(zi_conversion *c)
{
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++) {
        zi_write_plan_free(&c->components[component].plan);
        zi_source_free(&c->components[component].source);
        zi_checkpoint_release(c->components[component].checkpoint);
    }
    for (int i = 0; i < ZI_INPUTS; i++) zi_layout_free(&c->layouts[i]);
    zi_pool_free(c->work.pool);
    *c = (zi_conversion){0};
}
