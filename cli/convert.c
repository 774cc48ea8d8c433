/* zimage convert and zimage quantize: write a model in another layout or precision. */
#include "cli.h"
#include "base/tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Finds the model named options->source and the components that options name, and replaces these
 * names by paths, which *source and *parts own, also after a failure. A folder like ComfyUI's
 * stands for its diffusion model with the text encoder and VAE that fit it, unless a GGUF file,
 * which holds one component, is written. False: *error is set. */
static bool find_inputs(zi_convert_options *options, zi_resolved_model *source,
                        zi_used_parts *parts, zi_error *error)
{
    zi_model_options load = {.vae = options->vae,
                             .text_encoder = options->text_encoder,
                             .reference = options->reference};
    if (!zi_resolve_parts(NULL, &load, parts, error) ||
        !zi_find_model(options->source, source, error))
        return false;
    bool whole = strcmp(options->source, source->name) != 0 &&
                 !strcmp(source->name, source->path) && options->layout != ZI_LAYOUT_GGUF;
    load.path = source->path;
    if (!zi_find_parts(NULL, &load, parts, error)) return false;
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

/* Finds the model named options->source, converts it with a progress bar and prints the
 * destination; no bar or output when quiet. Overwrites source, callbacks and user of options, which
 * are invalid after the call. Reports errors. Returns the exit code: 0, 1 or 2. */
static int convert_model(const zi_command *command, zi_convert_options *options, bool quiet)
{
    zi_error error = {0};
    zi_resolved_model source = {0};
    zi_used_parts parts = {0};
    if (!find_inputs(options, &source, &parts, &error)) {
        zi_resolved_model_free(&source);
        zi_used_parts_free(&parts);
        return zi_report_error(command, &error);
    }
    if (parts.found.note) zi_print_note(quiet, "%s", parts.found.note);
    zi_progress_printer printer =
        zi_progress_printer_start(!quiet && isatty(STDERR_FILENO), false, 1, 1);
    options->progress = zi_progress_printer_update;
    options->remark = quiet ? NULL : zi_progress_printer_remark;
    options->user = &printer;
    zi_interrupt_install();
    bool ok = zi_convert(options, &error);
    zi_progress_printer_clear(&printer);
    zi_resolved_model_free(&source);
    zi_used_parts_free(&parts);
    if (!ok) return zi_report_error(command, &error);
    if (!quiet) puts(options->destination);
    return 0;
}

/* Runs `zimage convert` or, if quantize, `zimage quantize`: it keeps the layout and requires a
 * precision, where convert requires a layout. Returns the exit code: 0, 1 or 2. */
static int parse_and_convert(int argc, char **argv, bool quantize)
{
    zi_convert_options o = {0};
    const char *paths[2] = {NULL, NULL};
    int layout = 0, precision = 0, code;
    bool has_layout = false, has_precision = false, quiet = false;
    char layouts[64], precisions[64];
    zi_join_choices(zi_layout_names + ZI_LAYOUT_MLX, layouts, sizeof layouts);
    zi_join_choices(zi_precision_names, precisions, sizeof precisions);
    const zi_option options[] = {
        {"precision", 0, ZI_OPTION_CHOICE, &precision, 0, 0, precisions,
         "new precision; fp8, q8 and q4 quantize only the transformer", &has_precision},
        {"vae", 0, ZI_OPTION_TEXT, &o.vae, 0, 0, "MODEL", "VAE to use instead of SRC's", NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &o.text_encoder, 0, 0, "MODEL",
         "text encoder to use instead of SRC's", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &o.reference, 0, 0, "MODEL",
         "model, or folder of a tokenizer, to take missing components from", NULL},
        {"threads", 't', ZI_OPTION_INT, &o.threads, 1, 1024, "N",
         "number of threads (all processors)", NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &quiet, 0, 0, NULL, "no progress bar, no output but errors",
         NULL},
        {quantize ? NULL : "to", 0, ZI_OPTION_CHOICE, &layout, 0, 0, layouts,
         "new layout: a folder, one safetensors file, or a GGUF file of one component",
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
    if (quantize ? !has_precision : !has_layout) {
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, quantize ? "precision" : "to",
                     "is missing; one of %s", quantize ? precisions : layouts);
        return zi_report_error(&command, &error);
    }
    o.source = paths[0];
    o.destination = paths[1];
    o.precision = (zi_precision)precision;
    o.layout = quantize ? ZI_LAYOUT_SAME : (zi_layout_kind)(ZI_LAYOUT_MLX + layout);
    return convert_model(&command, &o, quiet);
}

int cmd_convert(int argc, char **argv)
{
    return parse_and_convert(argc, argv, false);
}

int cmd_quantize(int argc, char **argv)
{
    return parse_and_convert(argc, argv, true);
}
