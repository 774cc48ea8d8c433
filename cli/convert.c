/* zimage convert and zimage quantize: write a model in another layout or precision. */
#include "cli.h"
#include "base/tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns the first layout that has the precision, or ZI_LAYOUT_SAME. */
static zi_layout_kind find_layout_with(zi_precision precision)
{
    for (zi_layout_kind layout = ZI_LAYOUT_MLX; zi_layout_name(layout); layout++)
        if (zi_layout_check(layout, precision, NULL)) return layout;
    return ZI_LAYOUT_SAME;
}

/* If the error is that the layout lacks the precision, adds the call that gives it to the error's
 * text; else does nothing. *error must not be NULL. */
static void add_precision_hint(const zi_convert_options *options, zi_error *error)
{
    zi_inspection *in = NULL;
    zi_layout_kind other = find_layout_with(options->precision);
    bool about_precision =
        error->code == ZI_ERROR_INVALID_ARGUMENT && !strcmp(error->subject, "precision");
    if (!about_precision || !other || options->layout == other ||
        !zi_inspect(options->source, &in, NULL))
        return;
    if (in->components[ZI_COMPONENT_TRANSFORMER].present)
        zi_error_set(error, error->code, "precision",
                     "%s, or another layout: `zimage convert SRC DST --to %s --precision %s`",
                     error->text + error->message, zi_layout_name(other),
                     zi_precision_name(options->precision));
    zi_inspection_free(in);
}

/* Finds the model named options->source and the components that options name, in the registry if
 * they are names, and replaces these names by paths, which *source and *parts own, also after a
 * failure. A folder like ComfyUI's stands for its diffusion model with the text encoder and VAE
 * that fit it, unless a GGUF file, which holds one component, is written. False: *error is set. */
static bool find_inputs(const zi_user_registry *models, zi_convert_options *options,
                        zi_resolved_model *source, zi_used_parts *parts, zi_error *error)
{
    zi_model_options load = {.vae = options->vae,
                             .text_encoder = options->text_encoder,
                             .reference = options->reference};
    if (!zi_resolve_parts(models, &load, parts, error) ||
        !zi_find_model(models, options->source, source, error))
        return false;
    bool whole = strcmp(options->source, source->name) != 0 &&
                 !strcmp(source->name, source->path) && options->layout != ZI_LAYOUT_GGUF;
    load.path = source->path;
    if (!zi_find_parts(models, &load, parts, error)) return false;
    options->source = source->path;
    options->reference = load.reference;
    options->tokenizer = load.tokenizer;
    options->vae = whole ? load.vae : options->vae ? parts->vae : NULL;
    options->text_encoder = whole                   ? load.text_encoder
                            : options->text_encoder ? parts->text_encoder
                                                    : NULL;
    if (!whole) { /* the source alone is converted */
        free(parts->found.note);
        parts->found.note = NULL;
    }
    return true;
}

/* Finds the model named options->source, perhaps in the models folder (NULL: ./models), converts it
 * with a progress bar and prints the destination; no bar or output when quiet. Overwrites source,
 * parts, callbacks and user of options, which are invalid after the call. Reports errors. Returns
 * the exit code: 0, 1 or 2. */
static int convert_model(const zi_command *command, const char *folder, zi_convert_options *options,
                         bool quiet)
{
    zi_error error = {0};
    zi_resolved_model source = {0};
    zi_used_parts parts = {0};
    zi_user_registry models;
    bool found = zi_user_registry_open(folder, NULL, &models, &error) &&
                 find_inputs(&models, options, &source, &parts, &error);
    zi_user_registry_close(&models);
    if (!found) {
        zi_resolved_model_free(&source);
        zi_used_parts_free(&parts);
        return zi_report_error(command, &error);
    }
    if (parts.found.note) zi_print_note(quiet, "%s", parts.found.note);
    zi_progress_printer printer = zi_progress_printer_start(!quiet, false, 1);
    options->progress = zi_progress_printer_update;
    options->remark = quiet ? NULL : zi_progress_printer_remark;
    options->user = &printer;
    zi_interrupt_install();
    bool ok = zi_convert(options, &error);
    zi_progress_printer_clear(&printer);
    if (!ok) add_precision_hint(options, &error);
    zi_resolved_model_free(&source);
    zi_used_parts_free(&parts);
    if (!ok) return zi_report_error(command, &error);
    if (!quiet) puts(options->destination);
    return 0;
}

/* Sets o->layout to the one given with --to, as an index, or the one that the destination's
 * extension stands for. False, with *error set: neither says it. */
static bool choose_layout(zi_convert_options *o, const int *given, const char *layouts,
                          zi_error *error)
{
    o->layout =
        given ? (zi_layout_kind)(ZI_LAYOUT_MLX + *given) : zi_layout_of_extension(o->destination);
    return o->layout || zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "to",
                                     "is missing, and DST does not end in .safetensors or .gguf, "
                                     "which would tell the layout; add --to with one of %s",
                                     layouts);
}

/* Runs `zimage convert` or, if quantize, `zimage quantize`: it keeps the layout and requires a
 * precision, where convert requires a layout or an extension of DST that tells it. Returns the exit
 * code: 0, 1 or 2. */
static int parse_and_convert(int argc, char **argv, bool quantize)
{
    zi_convert_options o = {0};
    const char *paths[2] = {NULL, NULL}, *folder = NULL;
    int layout = 0, precision = 0, code;
    bool has_layout = false, has_precision = false, quiet = false;
    char layouts[64], precisions[ZI_CHOICES_SIZE];
    zi_join_choices(zi_layout_names + ZI_LAYOUT_MLX, layouts, sizeof layouts);
    zi_join_choices(zi_precision_names, precisions, sizeof precisions);
    const zi_option options[] = {
        {"precision", 0, ZI_OPTION_CHOICE, &precision, 0, 0, precisions,
         "new precision; others than fp32, fp16 and bf16 quantize matrices of the transformer (in "
         "GGUF also of a text encoder)",
         &has_precision},
        {"vae", 0, ZI_OPTION_TEXT, &o.vae, 0, 0, "MODEL", "VAE to use instead of SRC's", NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &o.text_encoder, 0, 0, "MODEL",
         "text encoder to use instead of SRC's", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &o.reference, 0, 0, "MODEL",
         "model, or folder of a tokenizer, to take missing components from", NULL},
        zi_models_option(&folder),
        {"threads", 't', ZI_OPTION_INT, &o.threads, 1, 1024, "N",
         "number of threads (all processors)", NULL},
        {"shard-size", 0, ZI_OPTION_SIZE, &o.shard_bytes, 0, 0, "SIZE",
         "diffusers: largest file of weights, such as 2GB (5GB)", NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &quiet, 0, 0, NULL, "no progress bar, no output but errors",
         NULL},
        {quantize ? NULL : "to", 0, ZI_OPTION_CHOICE, &layout, 0, 0, layouts,
         "new layout: a folder (mlx, diffusers), a .safetensors file (comfyui), or a .gguf file of "
         "one "
         "component; the extension of DST says it, too",
         &has_layout},
        {0},
    };
    const zi_command command = {
        quantize ? "quantize" : "convert",
        quantize ? "Writes the model (or its transformer) at SRC to DST in another precision."
                 : "Writes the model (or components of one) at SRC to DST in another layout.",
        "SRC DST", options};
    if (!zi_options_parse(&command, argc, argv, paths, &code)) return code;
    zi_error error;
    o.source = paths[0];
    o.destination = paths[1];
    o.precision = (zi_precision)precision;
    if (quantize && !has_precision)
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, "precision", "is missing; it can be %s",
                     precisions);
    else if (quantize || choose_layout(&o, has_layout ? &layout : NULL, layouts, &error))
        return convert_model(&command, folder, &o, quiet);
    return zi_report_error(&command, &error);
}

int cmd_convert(int argc, char **argv)
{
    return parse_and_convert(argc, argv, false);
}

int cmd_quantize(int argc, char **argv)
{
    return parse_and_convert(argc, argv, true);
}
