#include "convert/parts.h"
#include "convert/describe.h"

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

static bool has(const zi_conversion *c, int input, zi_part part)
{
    return c->inputs[input] && c->layouts[input].parts[part].path;
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
    if (precision >= ZI_PRECISION_FP8 && !has(c, ZI_INPUT_SOURCE, ZI_TRANSFORMER))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "precision",
                            "%s has no transformer, and nothing else is quantized",
                            c->options->source);
    return zi_plan_check(c->target, precision, error);
}

/* ---- where parts come from ---- */

/* Named for a part, it must have it. */
static bool check_named(const zi_conversion *c, int input, zi_part part, zi_error *error)
{
    if (c->inputs[input] && !has(c, input, part))
        return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, c->inputs[input], zi_part_field(part),
                               "no %s in it; name a file or folder that has one",
                               zi_part_name(part));
    if (c->inputs[input] && c->target == ZI_NAMES_GGUF)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, zi_part_field(part),
                            "a GGUF file has one part; convert %s by itself", c->inputs[input]);
    return true;
}

/* The input that a part comes from; ZI_INPUTS: none. */
static int origin_of(const zi_conversion *c, zi_part part)
{
    bool lent = part != ZI_TRANSFORMER && has(c, ZI_INPUT_SOURCE, ZI_TRANSFORMER);
    if (part == ZI_VAE && c->inputs[ZI_INPUT_VAE]) return ZI_INPUT_VAE;
    if (part == ZI_TEXT_ENCODER && c->inputs[ZI_INPUT_TEXT_ENCODER]) return ZI_INPUT_TEXT_ENCODER;
    if (has(c, ZI_INPUT_SOURCE, part)) return ZI_INPUT_SOURCE;
    return lent && has(c, ZI_INPUT_REFERENCE, part) ? ZI_INPUT_REFERENCE : ZI_INPUTS;
}

static bool choose_parts(zi_conversion *c, int origins[ZI_PARTS], zi_error *error)
{
    if (!check_named(c, ZI_INPUT_VAE, ZI_VAE, error) ||
        !check_named(c, ZI_INPUT_TEXT_ENCODER, ZI_TEXT_ENCODER, error))
        return false;
    int count = 0, missing = 0;
    for (int part = 0; part < ZI_PARTS; part++) {
        origins[part] = origin_of(c, (zi_part)part);
        if (origins[part] != ZI_INPUTS)
            count++;
        else
            missing = part;
    }
    if (c->target == ZI_NAMES_GGUF) { /* one part */
        int kept = origins[ZI_TRANSFORMER] != ZI_INPUTS ? ZI_TRANSFORMER : ZI_TEXT_ENCODER;
        if (origins[kept] == ZI_INPUTS)
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "layout",
                                "%s is a VAE, which is not written as GGUF; programs that read "
                                "GGUF take it as safetensors: convert it to comfyui",
                                c->options->source);
        for (int part = 0; part < ZI_PARTS; part++)
            if (part != kept) origins[part] = ZI_INPUTS;
        count = 1;
    }
    c->whole = count == ZI_PARTS;
    if (count == 2) /* neither a model nor a part */
        return zi_error_set_in(
            error, ZI_ERROR_INCOMPLETE, c->options->source, zi_part_field((zi_part)missing),
            "the %s is missing; %s", zi_part_name((zi_part)missing),
            missing == ZI_TRANSFORMER ? "convert a model that has one, or one part by itself"
                                      : "name a file of it, or a reference model that has one");
    return true;
}

/* ---- plans ---- */

static bool plan_part(zi_conversion *c, zi_part part, int input, zi_error *error)
{
    const zi_layout *layout = &c->layouts[input], *reference = &c->layouts[ZI_INPUT_REFERENCE];
    zi_convert_part *out = &c->parts[part];
    const char *own = layout->parts[part].config;
    if (!zi_layout_open(layout, part, &out->checkpoint, error)) return false;
    out->config = own ? own : reference->parts[part].config;
    const zi_checkpoint *checkpoint = out->checkpoint;
    if (!zi_source_create(&checkpoint, 1, part, zi_describe_group(own), &out->source, error))
        return false;
    bool prefixed = c->whole && c->target == ZI_NAMES_COMFYUI;
    zi_convert_part *file = prefixed ? &c->parts[0] : out;
    return zi_plan_add(&file->plan, &out->source, c->target, c->options->precision, prefixed,
                       error);
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
    int origins[ZI_PARTS];
    zi_conversion *c = out;
    *c = (zi_conversion){.options = options,
                         .work = {.progress = options->progress, .user = options->user}};
    if (!read_inputs(c, error) || !choose_target(c, error) || !check_precision(c, error) ||
        !choose_parts(c, origins, error))
        return false;
    for (int part = 0; part < ZI_PARTS; part++)
        if (origins[part] != ZI_INPUTS && !plan_part(c, (zi_part)part, origins[part], error))
            return false;
    for (int part = 0; part < ZI_PARTS; part++) {
        if (!zi_plan_sort(&c->parts[part].plan, error)) return false;
        c->work.total += zi_plan_bytes(&c->parts[part].plan);
    }
    c->tokenizer = first_of(c, true);
    c->scheduler = first_of(c, false);
    return true;
}

void zi_conversion_free(zi_conversion *c)
{
    for (int part = 0; part < ZI_PARTS; part++) {
        zi_plan_free(&c->parts[part].plan);
        zi_source_free(&c->parts[part].source);
        zi_checkpoint_release(c->parts[part].checkpoint);
    }
    for (int i = 0; i < ZI_INPUTS; i++) zi_layout_free(&c->layouts[i]);
    zi_pool_free(c->work.pool);
    *c = (zi_conversion){0};
}
