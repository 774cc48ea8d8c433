/* zimage download: downloads a model from a hub. */
#include "cli.h"
#include "base/tables.h"

#include <cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double bar_interval = 0.1, event_interval = 0.25; /* seconds */

typedef struct {
    bool bar, json;         /* as in zi_progress_printer */
    double began, reported; /* zi_monotonic_seconds(); reported: of the last output */
    uint64_t first;         /* bytes that were present at the start */
    bool bar_shown;
} progress_state;

/* The number of bytes in gigabytes, units of 10^9 bytes. */
static double gigabytes(uint64_t bytes)
{
    return (double)bytes / 1e9;
}

/* The unfinished file of which most bytes have been downloaded (of equals, the first); NULL: all
 * are finished. */
static const zi_hub_file *current_file(const zi_hub_progress *p)
{
    const zi_hub_file *file = NULL;
    for (size_t i = 0; i < p->count; i++)
        if (p->files[i].done < p->files[i].size && (!file || p->files[i].done > file->done))
            file = &p->files[i];
    return file;
}

/* Estimated seconds to the end of the download, by the mean speed since state->began (bytes that
 * were there before do not count); negative: unknown, as nothing came yet. */
static double seconds_left(const progress_state *state, const zi_hub_progress *p)
{
    double elapsed = zi_monotonic_seconds() - state->began, came = (double)(p->done - state->first);
    return p->done > state->first ? (double)(p->size - p->done) * elapsed / came : -1;
}

/* Prints the progress bar, with counts of files and bytes and the current file, over the last one
 * on standard error. left: estimated seconds; negative: unknown. */
static void print_bar(const zi_hub_progress *p, double left)
{
    enum { WIDTH = 24 };
    char bar[ZI_BAR_WIDTH + 4], count[100], line[300], when[32] = "", what[64] = "checking";
    double share = p->size ? (double)p->done / (double)p->size : 1;
    const zi_hub_file *file = current_file(p);
    if (file) {
        const char *slash = strrchr(file->name, '/'), *name = slash ? slash + 1 : file->name;
        snprintf(what, sizeof what, "%.40s %.0f %%", name,
                 100 * (double)file->done / (double)file->size);
    }
    if (left >= 0) {
        long seconds = lrint(ceil(left));
        snprintf(when, sizeof when, " %ld:%02ld left", seconds / 60, seconds % 60);
    }
    snprintf(count, sizeof count, "%zu of %zu files, %.2f of %.2f GB", p->finished, p->count,
             gigabytes(p->done), gigabytes(p->size));
    int room = zi_terminal_columns(STDERR_FILENO) - 6;
    room -= (int)(strlen(count) + strlen(when) + strlen(what));
    snprintf(line, sizeof line, "%s%s%s  %s", count,
             zi_format_bar(share, room < WIDTH ? room : WIDTH, bar), when, what);
    zi_print_status(line);
}

/* Prints the JSON event "progress": bytes "done" and in all ("size"), the number of "finished"
 * files, and "files" with the name and bytes of each. left: estimated seconds ("seconds_left"),
 * left out when negative. Errors are ignored. */
static void print_progress_event(const zi_hub_progress *p, double left)
{
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "progress");
    cJSON_AddStringToObject(event, "stage", "download");
    cJSON_AddNumberToObject(event, "done", (double)p->done);
    cJSON_AddNumberToObject(event, "size", (double)p->size);
    cJSON_AddNumberToObject(event, "finished", (double)p->finished);
    cJSON *files = cJSON_AddArrayToObject(event, "files");
    for (size_t i = 0; i < p->count; i++) {
        cJSON *file = cJSON_CreateObject();
        cJSON_AddStringToObject(file, "name", p->files[i].name);
        cJSON_AddNumberToObject(file, "done", (double)p->files[i].done);
        cJSON_AddNumberToObject(file, "size", (double)p->files[i].size);
        cJSON_AddItemToArray(files, file);
    }
    if (left >= 0) cJSON_AddNumberToObject(event, "seconds_left", left);
    (void)!zi_print_json_event(event, NULL); /* a lost event is no reason to stop */
}

/* zi_download_options.progress; user is a progress_state. Prints bar and event, as enabled, at most
 * every 0.1 s (events: 0.25 s) and when all files are finished; nothing before the list of files is
 * known. Returns false, to cancel, after a signal. */
static bool on_progress(void *user, const zi_hub_progress *progress)
{
    progress_state *state = user;
    if (zi_interrupted()) return false;
    if (!progress->count) return true; /* the list of files is not known yet */
    double now = zi_monotonic_seconds();
    bool last = progress->finished == progress->count;
    if (!state->began) {
        state->began = now;
        state->first = progress->done;
    }
    if (!last && now - state->reported < (state->json ? event_interval : bar_interval)) return true;
    state->reported = now;
    double left = seconds_left(state, progress);
    if (state->json) print_progress_event(progress, left);
    if (state->bar) print_bar(progress, left);
    state->bar_shown = state->bar;
    return true;
}

typedef struct {
    const char *models;
    int layout, precision;
    bool has_layout, has_precision, json, quiet;
    zi_download_options download;
    zi_import_options import;
} download_args;

/* Prints the path of the model, the converted one if it was converted, or, with --json, the event
 * "done". False: out of memory; *error is set. */
static bool print_result(const download_args *args, const zi_download_result *result,
                         zi_error *error)
{
    if (!args->json) {
        puts(result->path);
        return true;
    }
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "done");
    cJSON_AddStringToObject(event, "path", result->path);
    cJSON_AddNumberToObject(event, "fetched", (double)result->fetched);
    cJSON_AddBoolToObject(event, "unasked", result->from_cache);
    return zi_print_json_event(event, error);
}

/* Downloads what args->download names, converts it if a layout or precision was given, and prints
 * the path or JSON events. Sets hub, layout, precision and callbacks of args->download and
 * args->import, invalid after the call. Installs the signal handlers. False: *error is set; the
 * next call resumes the download. */
static bool run_download(download_args *args, zi_error *error)
{
    zi_user_registry models;
    zi_download_result result = {0};
    if (!zi_user_registry_open(args->models, NULL, &models, error)) return false;
    bool bar = !args->quiet && !args->json && zi_stderr_wants_bar();
    progress_state state = {.bar = bar, .json = args->json};
    zi_progress_printer printer = zi_progress_printer_start(bar, args->json, 1);
    bool converts = args->has_layout || args->has_precision;
    args->download.hub = models.options.hub;
    args->download.progress = on_progress;
    args->download.user = &state;
    args->import.progress = zi_progress_printer_update;
    args->import.remark = args->quiet ? NULL : zi_progress_printer_remark;
    args->import.user = &printer;
    args->import.layout =
        args->has_layout ? (zi_layout_kind)(ZI_LAYOUT_MLX + args->layout) : ZI_LAYOUT_SAME;
    args->import.precision = (zi_precision)args->precision;
    zi_interrupt_install();
    if (args->import.layout == ZI_LAYOUT_GGUF)
        zi_print_note(
            args->quiet,
            "a GGUF file holds only the transformer, without text encoder, VAE and tokenizer; to "
            "have these, too, download without --to, then run `zimage convert`");
    bool ok = converts ? zi_registry_download(models.registry, &args->download, &args->import,
                                              &result, error)
                       : zi_download(&args->download, &result, error);
    zi_progress_printer_clear(&printer);
    if (state.bar_shown) zi_clear_status();
    if (ok && result.from_cache && !converts)
        zi_print_note(args->quiet,
                      "Hugging Face was not reached, or HF_HUB_OFFLINE is set; using the files "
                      "that are in its cache on this machine, which may be older");
    ok = ok && print_result(args, &result, error);
    free(result.path);
    zi_user_registry_close(&models);
    return ok;
}

/* Fails for options that would have no effect: --local-dir with a conversion, and --name and
 * --models without one, where these two are on the command line. Settings of them are ignored. */
static bool check_options(const download_args *args, zi_error *error)
{
    bool converts = args->has_layout || args->has_precision;
    if (converts && args->download.local_dir)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "local-dir",
                            "cannot be used with --to or --precision, since converted models go to "
                            "the models folder; leave it out, or choose that folder with --models");
    if (!converts && zi_option_on_command_line("name"))
        return zi_error_set(
            error, ZI_ERROR_INVALID_ARGUMENT, "name",
            "applies only to converted models; add --to or --precision, or leave --name out");
    if (!converts && zi_option_on_command_line("models"))
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "models",
                            "applies only to converted models; add --to or --precision, or name "
                            "the folder of the original files with --local-dir");
    return true;
}

int cmd_download(int argc, char **argv)
{
    download_args args = {0};
    zi_error error = {0};
    int code;
    char layouts[64], precisions[ZI_CHOICES_SIZE];
    zi_join_choices(zi_layout_names + ZI_LAYOUT_MLX, layouts, sizeof layouts);
    zi_join_choices(zi_precision_names, precisions, sizeof precisions);
    const zi_option options[] = {
        {"file", 0, ZI_OPTION_TEXT, &args.download.file, 0, 0, "NAME",
         "download only this file of the repository (all files of the model)", NULL},
        {"local-dir", 0, ZI_OPTION_TEXT, &args.download.local_dir, 0, 0, "DIR",
         "put the files there (the cache of Hugging Face, shared with other programs)", NULL},
        {"to", 0, ZI_OPTION_CHOICE, &args.layout, 0, 0, layouts,
         "convert to this layout in the models folder, without keeping the original; gguf: only "
         "the transformer",
         &args.has_layout},
        {"precision", 0, ZI_OPTION_CHOICE, &args.precision, 0, 0, precisions,
         "convert to this precision, likewise", &args.has_precision},
        {"name", 0, ZI_OPTION_TEXT, &args.import.name, 0, 0, "NAME",
         "name of the converted model (the repository's)", NULL},
        zi_models_option(&args.models),
        {"json", 0, ZI_OPTION_FLAG, &args.json, 0, 0, NULL, "print one JSON event per line", NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &args.quiet, 0, 0, NULL, "no progress bar, no notes", NULL},
        {0},
    };
    const zi_command command = {
        "download",
        "Downloads a model from Hugging Face's hub and prints its path. REPO is\n"
        "OWNER/NAME[@REVISION] (Tongyi-MAI/Z-Image-Turbo), prompt-enhancer for a language model,\n"
        "or tokenizer for the tokenizer of Z-Image-Turbo, which models without one then use.\n"
        "An interrupted download is resumed when it is started again.",
        "[REPO]", options};
    if (!zi_options_parse(&command, argc, argv, &args.download.repo, &code)) return code;
    return check_options(&args, &error) && run_download(&args, &error)
               ? 0
               : zi_report_error(&command, &error);
}
