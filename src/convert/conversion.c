#include "convert/conversion.h"
#include "convert/component_config.h"
#include "convert/pad_tokens.h"
#include "io/weights_files.h"

#include <stdlib.h>
#include <string.h>

/* Sets c->inputs and reads the layout of each path that the options name. After a failure,
 * zi_conversion_free frees the layouts read so far. */
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

/* Whether an input (ZI_INPUT_...) is given and has the component. */
static bool has_component(const zi_conversion *c, int input, zi_component component)
{
    return c->inputs[input] && c->layouts[input].components[component].path;
}

/* ---- target ---- */

/* Sets c->target. Without a requested layout it is the source's; a single file with diffusers'
 * names becomes a ComfyUI file, since diffusers models are folders. ZI_ERROR_INVALID_ARGUMENT: the
 * layout is unknown, or is mflux, which is not written, also as the source's. */
static bool choose_target(zi_conversion *c, zi_error *error)
{
    const zi_layout *source = &c->layouts[ZI_INPUT_SOURCE];
    if (c->options->layout > ZI_LAYOUT_GGUF)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "layout",
                            "%d is not a known layout; 0 (the same) to 4 (GGUF) are",
                            (int)c->options->layout);
    c->target = c->options->layout ? zi_layout_naming(c->options->layout) : source->naming;
    if (!c->options->layout && source->naming == ZI_NAMES_DIFFUSERS && !source->folder)
        c->target = ZI_NAMES_COMFYUI;
    if (c->target == ZI_NAMES_MFLUX)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "layout",
                            "%s is an mflux model, a layout that can be read but not written; "
                            "convert the model to the layout mlx",
                            c->options->source);
    return true;
}

/* Fails with ZI_ERROR_INVALID_ARGUMENT if the destination's extension is that of another layout. */
static bool check_extension(const zi_conversion *c, zi_error *error)
{
    const char *destination = c->options->destination, *target = zi_naming_name(c->target);
    zi_layout_kind meant = zi_layout_of_extension(destination);
    if (!meant || zi_layout_naming(meant) == c->target) return true;
    const char *other = zi_naming_name(zi_layout_naming(meant));
    if (!c->options->layout)
        return zi_error_set_in(
            error, ZI_ERROR_INVALID_ARGUMENT, NULL, "layout",
            "%s has the extension of a file in the layout %s, but no layout is "
            "chosen, so the model keeps its layout, %s; name another destination, "
            "or convert the model to the layout %s with this precision",
            destination, other, target, other);
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "layout",
                        "%s has the extension of a file in the layout %s, but the layout to "
                        "write is %s; name another destination, or choose the other layout",
                        destination, other, target);
}

/* Fails with ZI_ERROR_INVALID_ARGUMENT if shards are wanted in a layout that has none. */
static bool check_shards(const zi_conversion *c, zi_error *error)
{
    if (!c->options->shard_bytes || c->target == ZI_NAMES_DIFFUSERS) return true;
    if (!c->options->layout)
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "shard_bytes",
            "only models in the layout diffusers are written in several files, but no layout is "
            "chosen, so the model keeps its layout, %s; leave this size out, or convert the model "
            "to the layout diffusers",
            zi_naming_name(c->target));
    return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "shard_bytes",
                        "only models in the layout diffusers are written in several files, and the "
                        "layout to write is %s; leave this size out, or choose the layout "
                        "diffusers",
                        zi_naming_name(c->target));
}

/* Fails with ZI_ERROR_INVALID_ARGUMENT if the precision is unknown, the target layout does not have
 * it, or it quantizes and the source has no component that is quantized. */
static bool check_precision(const zi_conversion *c, zi_error *error)
{
    zi_precision precision = c->options->precision;
    bool quantizable = false;
    if (!zi_precision_name(precision))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "precision",
                            "%d is not a known precision", (int)precision);
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++)
        if (zi_naming_quantizes(c->target, (zi_component)component))
            quantizable |= has_component(c, ZI_INPUT_SOURCE, (zi_component)component);
    if (!quantizable && zi_precision_quantizes(precision))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "precision",
                            "%s has no %s, and nothing else is quantized in the layout %s; choose "
                            "original, fp32, fp16 or bf16",
                            c->options->source,
                            zi_naming_quantizes(c->target, ZI_COMPONENT_TEXT_ENCODER)
                                ? "transformer or text encoder"
                                : "transformer",
                            zi_naming_name(c->target));
    return zi_naming_check_precision(c->target, precision, error);
}

/* ---- where components come from ---- */

/* Checks the file or folder that was named for a component, if any was. ZI_ERROR_INCOMPLETE: it
 * does not have the component; ZI_ERROR_INVALID_ARGUMENT: the target is GGUF, which takes no second
 * input. */
static bool check_named_input(const zi_conversion *c, int input, zi_component component,
                              zi_error *error)
{
    if (c->inputs[input] && !has_component(c, input, component))
        return zi_error_set_in(
            error, ZI_ERROR_INCOMPLETE, c->inputs[input], zi_component_name(component),
            "no %s in it; name a file or folder that has one", zi_component_title(component));
    if (c->inputs[input] && c->target == ZI_NAMES_GGUF)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, zi_component_name(component),
                            "a GGUF file holds one part of a model, so %s does not go into it; "
                            "leave it out here, and convert it by itself",
                            c->inputs[input]);
    return true;
}

/* The input that provides a component: the one named for it (check_named_input tests that it can),
 * else the source, else the reference, but that only for the VAE and text encoder of a source with
 * a transformer. ZI_INPUTS: none does. */
static int input_of_component(const zi_conversion *c, zi_component component)
{
    bool from_reference = component != ZI_COMPONENT_TRANSFORMER &&
                          has_component(c, ZI_INPUT_SOURCE, ZI_COMPONENT_TRANSFORMER);
    if (component == ZI_COMPONENT_VAE && c->inputs[ZI_INPUT_VAE]) return ZI_INPUT_VAE;
    if (component == ZI_COMPONENT_TEXT_ENCODER && c->inputs[ZI_INPUT_TEXT_ENCODER])
        return ZI_INPUT_TEXT_ENCODER;
    if (has_component(c, ZI_INPUT_SOURCE, component)) return ZI_INPUT_SOURCE;
    return from_reference && has_component(c, ZI_INPUT_REFERENCE, component) ? ZI_INPUT_REFERENCE
                                                                             : ZI_INPUTS;
}

/* Fails with ZI_ERROR_UNSUPPORTED if the source has a pickle in place of a component that no input
 * provides (chosen[component] is ZI_INPUTS). */
static bool check_no_pickle(const zi_conversion *c, const int chosen[ZI_WEIGHT_COMPONENTS],
                            zi_error *error)
{
    const zi_layout_component *components = c->layouts[ZI_INPUT_SOURCE].components;
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++) {
        const char *pickle = components[component].pickle;
        if (chosen[component] == ZI_INPUTS && pickle && !zi_check_no_pickle(pickle, NULL, error))
            return false;
    }
    return true;
}

/* Sets ZI_ERROR_INCOMPLETE: only this one of the three components is missing, which makes neither a
 * whole model nor one component. Returns false. */
static bool fail_missing(const zi_conversion *c, zi_component missing, zi_error *error)
{
    if (missing == ZI_COMPONENT_TRANSFORMER)
        return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, c->options->source,
                               zi_component_name(missing),
                               "has no transformer, which a whole model needs; convert a complete "
                               "model, or the text encoder or the VAE alone");
    return zi_error_set_in(error, ZI_ERROR_INCOMPLETE, c->options->source,
                           zi_component_name(missing),
                           "has no %s, which the new model needs; take it from a reference model "
                           "(a complete Z-Image model)",
                           zi_component_title(missing));
}

/* Sets chosen[component] to its input (ZI_INPUTS: not converted) and c->whole: all three are
 * converted. GGUF gets one component: the transformer, else the text encoder. Fails when there is
 * none, for a VAE as GGUF, when an input named for a component lacks it, for any input so named
 * with GGUF, and, except for GGUF, when exactly one of the three is missing. */
static bool choose_components(zi_conversion *c, int chosen[ZI_WEIGHT_COMPONENTS], zi_error *error)
{
    if (!check_named_input(c, ZI_INPUT_VAE, ZI_COMPONENT_VAE, error) ||
        !check_named_input(c, ZI_INPUT_TEXT_ENCODER, ZI_COMPONENT_TEXT_ENCODER, error))
        return false;
    int count = 0, missing = 0;
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++) {
        chosen[component] = input_of_component(c, (zi_component)component);
        if (chosen[component] != ZI_INPUTS)
            count++;
        else
            missing = component;
    }
    bool all_wanted = c->target != ZI_NAMES_GGUF || !count;
    if (all_wanted && !check_no_pickle(c, chosen, error)) return false;
    if (!count)
        return zi_error_set(error, ZI_ERROR_INCOMPLETE, c->options->source,
                            "has no weights of a Z-Image model; name a model, or the folder or "
                            "file of its transformer, text encoder or VAE");
    if (c->target == ZI_NAMES_GGUF) { /* holds one component */
        int kept = chosen[ZI_COMPONENT_TRANSFORMER] != ZI_INPUTS ? ZI_COMPONENT_TRANSFORMER
                                                                 : ZI_COMPONENT_TEXT_ENCODER;
        if (chosen[kept] == ZI_INPUTS)
            return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "layout",
                                "%s is a VAE, which is not written as GGUF: programs that read "
                                "GGUF take a VAE as safetensors; choose comfyui",
                                c->options->source);
        for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++)
            if (component != kept) chosen[component] = ZI_INPUTS;
        count = 1;
    }
    c->whole = count == ZI_WEIGHT_COMPONENTS;
    return count != 2 || fail_missing(c, (zi_component)missing, error);
}

/* ---- plans ---- */

/* Opens a component of an input (ZI_INPUT_...): sets its checkpoint, source and config (the
 * input's, else the reference's), and adds its tensors to the plan of its file (components[0].plan
 * for a whole ComfyUI file). After a failure, zi_conversion_free frees what was set. */
static bool plan_component(zi_conversion *c, zi_component component, int input, zi_error *error)
{
    const zi_layout *layout = &c->layouts[input], *reference = &c->layouts[ZI_INPUT_REFERENCE];
    zi_conversion_component *out = &c->components[component];
    const char *own = layout->components[component].config;
    if (!zi_layout_open_component(layout, component, &out->checkpoint, error)) return false;
    out->config = own ? own : reference->components[component].config;
    const zi_checkpoint *checkpoint = out->checkpoint;
    if (!zi_source_create(&checkpoint, 1, component, zi_mlx_config_group_size(own), &out->source,
                          error) ||
        (component == ZI_COMPONENT_TRANSFORMER && !zi_conversion_add_pad_tokens(c, layout, error)))
        return false;
    bool prefixed = c->whole && c->target == ZI_NAMES_COMFYUI;
    zi_conversion_component *file = prefixed ? &c->components[0] : out;
    return zi_write_plan_add_component(&file->plan, &out->source, c->target, c->options->precision,
                                       prefixed, error);
}

/* The scheduler file of the source, else of the reference, else of the text encoder's input;
 * borrowed. NULL: none has one. */
static const char *find_scheduler(const zi_conversion *c)
{
    static const int inputs[] = {ZI_INPUT_SOURCE, ZI_INPUT_REFERENCE, ZI_INPUT_TEXT_ENCODER};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (c->layouts[inputs[i]].scheduler) return c->layouts[inputs[i]].scheduler;
    return NULL;
}

/* Sets c->tokenizer, in new memory, to the folder of a tokenizer in or beside the text encoder's
 * input; if none was named, in the source's folder or beside the source's file. It stays NULL if
 * there is none. */
static bool find_tokenizer_beside(zi_conversion *c, zi_error *error)
{
    const char *input = c->inputs[ZI_INPUT_TEXT_ENCODER];
    if (!input && zi_is_dir(c->options->source))
        return zi_find_tokenizer_folder(c->options->source, &c->tokenizer, error);
    return zi_find_tokenizer_near(input ? input : c->options->source, &c->tokenizer, error);
}

/* Sets c->tokenizer, in new memory, to that of the source, else of the reference or the text
 * encoder's input, else one beside it, else options->tokenizer; it stays NULL if there is none. */
static bool find_tokenizer(zi_conversion *c, zi_error *error)
{
    static const int inputs[] = {ZI_INPUT_SOURCE, ZI_INPUT_REFERENCE, ZI_INPUT_TEXT_ENCODER};
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) {
        const char *path = c->layouts[inputs[i]].tokenizer;
        if (path) return (c->tokenizer = strdup(path)) || zi_error_no_memory(error, strlen(path));
    }
    if (!find_tokenizer_beside(c, error)) return false;
    if (c->tokenizer || !c->options->tokenizer) return true;
    c->tokenizer_from_options = true;
    return zi_find_tokenizer_folder(c->options->tokenizer, &c->tokenizer, error);
}

bool zi_conversion_plan(zi_conversion *out, const zi_convert_options *options, zi_error *error)
{
    zi_conversion *c = out;
    *c = (zi_conversion){.options = options,
                         .work = {.progress = options->progress, .user = options->user}};
    if (!read_inputs(c, error) || !choose_target(c, error) || !check_extension(c, error) ||
        !check_shards(c, error) || !check_precision(c, error) ||
        !choose_components(c, c->chosen, error))
        return false;
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++)
        if (c->chosen[component] != ZI_INPUTS &&
            !plan_component(c, (zi_component)component, c->chosen[component], error))
            return false;
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++) {
        if (!zi_write_plan_sort(&c->components[component].plan, error)) return false;
        c->work.bytes_total += zi_write_plan_bytes(&c->components[component].plan);
    }
    c->scheduler = find_scheduler(c);
    return find_tokenizer(c, error);
}

void zi_conversion_free(zi_conversion *conversion)
{
    for (int component = 0; component < ZI_WEIGHT_COMPONENTS; component++) {
        zi_write_plan_free(&conversion->components[component].plan);
        zi_source_free(&conversion->components[component].source);
        zi_checkpoint_release(conversion->components[component].checkpoint);
    }
    for (int i = 0; i < ZI_INPUTS; i++) zi_layout_free(&conversion->layouts[i]);
    free(conversion->tokenizer);
    zi_source_free(&conversion->reference);
    zi_checkpoint_release(conversion->reference_checkpoint);
    zi_checkpoint_release(conversion->zeros);
    zi_pool_free(conversion->work.pool);
    *conversion = (zi_conversion){0};
}
