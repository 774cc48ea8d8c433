/* zimage convert and zimage quantize: write a model in another layout or precision. */
#include "cli.h"
#include "base/tables.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* If the error is that the layout lacks the precision, adds the call that gives it to the error's
 * text; else does nothing. MLX has all precisions of transformers. *error must not be NULL. */
static void add_precision_hint(const zi_convert_options *options, zi_error *error)
{
    zi_inspection *in = NULL;
    bool about_precision =
        error->code == ZI_ERROR_INVALID_ARGUMENT && !strcmp(error->subject, "precision");
    if (!about_precision || options->layout == ZI_LAYOUT_MLX ||
        !zi_inspect(options->source, &in, NULL))
        return;
    if (in->components[ZI_COMPONENT_TRANSFORMER].present)
        zi_error_set(error, error->code, "precision",
                     "%s; `zimage convert SRC DST --to mlx --precision %s` can",
                     error->text + error->message, zi_precision_name(options->precision));
    zi_inspection_free(in);
}

/* Finds the model named options->source, perhaps in the models folder (NULL: ./models), converts
 * it with a progress bar and prints the
 * destination; no bar or output when quiet. Overwrites source, progress and user of options, which
 * are invalid after the call. Reports errors. Returns the exit code: 0, 1 or 2. */
static int convert_model(const zi_command *command, const char *folder, zi_convert_options *options,
                         bool quiet)
{
    zi_error error = {0};
    zi_resolved_model source = {0};
    if (!zi_find_model(folder, options->source, NULL, &source, &error))
        return zi_report_error(command, &error);
    zi_progress_printer printer =
        zi_progress_printer_start(!quiet && isatty(STDERR_FILENO), false, 1, 1);
    options->source = source.path;
    options->progress = zi_progress_printer_update;
    options->user = &printer;
    zi_interrupt_install();
    bool ok = zi_convert(options, &error);
    zi_progress_printer_clear(&printer);
    if (!ok) add_precision_hint(options, &error);
    zi_resolved_model_free(&source);
    if (!ok) return zi_report_error(command, &error);
    if (!quiet) puts(options->destination);
    return 0;
}

/* Runs `zimage convert` or, if quantize, `zimage quantize`: it keeps the layout and requires a
 * precision, where convert requires a layout. Returns the exit code: 0, 1 or 2. */
static int parse_and_convert(int argc, char **argv, bool quantize)
{
    zi_convert_options o = {0};
    const char *paths[2] = {NULL, NULL}, *folder = NULL;
    int layout = 0, precision = 0, code;
    bool has_layout = false, has_precision = false, quiet = false;
    char layouts[64], precisions[64];
    zi_join_choices(zi_layout_names + ZI_LAYOUT_MLX, layouts, sizeof layouts);
    zi_join_choices(zi_precision_names, precisions, sizeof precisions);
    const zi_option options[] = {
        {"precision", 0, ZI_OPTION_CHOICE, &precision, 0, 0, precisions,
         "new precision; fp8, q8 and q4 quantize only the transformer", &has_precision},
        {"vae", 0, ZI_OPTION_TEXT, &o.vae, 0, 0, "FILE|DIR", "VAE to use instead of SRC's", NULL},
        {"text-encoder", 0, ZI_OPTION_TEXT, &o.text_encoder, 0, 0, "FILE|DIR",
         "text encoder to use instead of SRC's", NULL},
        {"reference", 0, ZI_OPTION_TEXT, &o.reference, 0, 0, "DIR",
         "diffusers or MLX folder to take missing components from", NULL},
        zi_models_option(&folder),
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
    return convert_model(&command, folder, &o, quiet);
}

int cmd_convert(int argc, char **argv)
{
    return parse_and_convert(argc, argv, false);
}

int cmd_quantize(int argc, char **argv)
{
    return parse_and_convert(argc, argv, true);
}
