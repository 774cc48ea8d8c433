/* zimage generate: notes, events and times. */
#include "generate.h"

#include <cJSON.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- notes ---- */

/* Prints a note, unless --quiet, if a prompt is cut. field: "prompt" or "negative prompt". */
static void print_size_note(const zi_generate_args *args, const char *field,
                            const zi_prompt_size *size)
{
    if (size->all > size->used)
        zi_print_note(args->quiet,
                      "the %s has %zu tokens, and only the first %zu are used; shorten it, or "
                      "raise --max-tokens",
                      field, size->all, size->used);
}

/* Prints notes, unless --quiet, on options of the call that have no effect on the image at path. */
static void print_options_note(const zi_generate_args *args, const char *path)
{
    bool png = zi_output_format(args, path) == ZI_FORMAT_PNG;
    if (!args->enhance && (args->llm || args->template))
        zi_print_note(args->quiet, "--%s has no effect without --enhance",
                      args->llm ? "llm" : "template");
    if (png && args->quality_given && zi_option_on_command_line("quality"))
        zi_print_note(args->quiet,
                      "--quality has no effect on PNG files; it applies to .jpg and .webp");
    if (args->not_taken)
        zi_print_note(args->quiet,
                      "these settings of %s are not used, since this program does not have them or "
                      "does not accept their values: %s",
                      args->settings_from, args->not_taken);
}

/* Prints notes, unless --quiet: the seed and the model if they were not given, the model's warning,
 * settings of the base model, prompts that are cut, options without effect. */
static void print_notes(const zi_image_report *report)
{
    const zi_generate_args *args = report->args;
    const zi_generation *g = &report->job->generation;
    const char *warning = zi_model_warning(report->model);
    if (report->first_of_job && !g->seed_given)
        zi_print_note(args->quiet, "seed %" PRIu64, g->request.seed);
    if (report->first_of_model) {
        if (!g->model) zi_print_model_notes(&args->models, &report->job->found, args->quiet);
        if (report->parts_note) zi_print_note(args->quiet, "%s", report->parts_note);
        if (warning) zi_print_note(args->quiet, "%s", warning);
        zi_print_request_notes(args->quiet, &g->request, report->model);
    }
    if (report->first_of_run) print_options_note(args, report->path);
    if (!report->first_of_job) return;
    print_size_note(args, "prompt", &report->prompt);
    print_size_note(args, "negative prompt", &report->negative);
}

/* ---- events ---- */

/* Adds an unsigned number, which a double might round. */
static void add_uint(cJSON *event, const char *name, uint64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%" PRIu64, value);
    cJSON_AddRawToObject(event, name, digits);
}

/* Prints the JSON event "start" with all about the image that is known before. Errors are ignored.
 */
static void print_start(const zi_image_report *report)
{
    const zi_request *r = &report->used;
    cJSON *event = zi_new_image_event(report->printer, "start");
    if (report->job->line) cJSON_AddNumberToObject(event, "line", report->job->line);
    add_uint(event, "seed", r->seed);
    cJSON_AddNumberToObject(event, "width", r->width);
    cJSON_AddNumberToObject(event, "height", r->height);
    cJSON_AddNumberToObject(event, "steps", r->steps);
    cJSON_AddStringToObject(event, "model", zi_model_name(report->model));
    cJSON_AddNumberToObject(event, "tokens", (double)report->prompt.all);
    cJSON_AddNumberToObject(event, "tokens_used", (double)report->prompt.used);
    cJSON_AddStringToObject(event, "prompt", r->prompt);
    (void)!zi_print_json_event(event, NULL);
}

void zi_on_preview(void *user, int step, const zi_image *image)
{
    const zi_image_report *report = user;
    size_t size;
    char *text = zi_png_base64(image, &size);
    if (!text) return;
    cJSON *event = zi_new_image_event(report->printer, "preview");
    cJSON_AddNumberToObject(event, "step", step);
    cJSON_AddNumberToObject(event, "width", image->width);
    cJSON_AddNumberToObject(event, "height", image->height);
    cJSON_AddStringToObject(event, "png", text);
    (void)!zi_print_json_event(event, NULL);
    free(text);
}

/* ---- times ---- */

/* Ends the stage that is measured and begins another one. */
static void change_stage(zi_image_report *report, zi_stage stage)
{
    double now = zi_monotonic_seconds(), seconds = now - report->stage_began;
    zi_timings *t = &report->timings;
    if (report->stage == ZI_STAGE_ENCODE) t->encode += seconds;
    if (report->stage == ZI_STAGE_STEP) t->sample += seconds;
    if (report->stage == ZI_STAGE_DECODE) t->decode += seconds;
    report->stage = stage;
    report->stage_began = now;
}

void zi_image_report_generated(zi_image_report *report)
{
    change_stage(report, ZI_STAGE_ENCODE);
}

/* Prints, with --verbose, where the time went. */
static void print_timings(const zi_image_report *report, double seconds)
{
    const zi_timings *t = &report->timings;
    int steps = report->used.steps;
    if (!report->args->verbose) return;
    zi_print_note(false,
                  "encode %.2f s, %d step%s %.2f s (%.3f s each), decode %.2f s, save %.2f s; "
                  "together %.2f s",
                  t->encode, steps, steps == 1 ? "" : "s", t->sample, t->sample / steps, t->decode,
                  t->save, seconds);
}

/* ---- an image ---- */

/* Counts the tokens of a text: all, and how many of them a limit of `max` leaves. Zeros for NULL
 * and on failure, which is left to the generation. */
static zi_prompt_size count_tokens(const zi_model *model, const char *text, int max)
{
    zi_prompt_size size = {0};
    if (!text || !zi_count_tokens(model, text, &size.all, NULL)) return size;
    size.used = size.all < (size_t)max ? size.all : (size_t)max;
    return size;
}

bool zi_image_report_start(zi_image_report *report, zi_error *error)
{
    const zi_request *r = &report->used;
    if (!zi_request_resolve(report->model, report->request, &report->used, error)) return false;
    report->prompt = count_tokens(report->model, r->prompt, r->max_tokens);
    if (r->guidance > 0) report->negative = count_tokens(report->model, r->negative, r->max_tokens);
    report->stage = ZI_STAGE_ENCODE;
    report->stage_began = zi_monotonic_seconds();
    return true;
}

bool zi_on_progress(void *user, const zi_progress *progress)
{
    zi_image_report *report = user;
    if (zi_interrupted()) return false;
    if (!report->begun) {
        print_notes(report);
        if (report->args->json) print_start(report);
    }
    report->begun = true;
    if (progress->stage != report->stage) change_stage(report, progress->stage);
    return zi_progress_printer_update(report->printer, progress);
}

bool zi_print_result(const zi_image_report *report, const zi_image *image, double seconds,
                     zi_error *error)
{
    const char *path = report->path;
    print_timings(report, seconds);
    if (!report->args->json) {
        if (path) puts(path);
        zi_flush_output();
        return true;
    }
    const zi_timings *t = &report->timings;
    cJSON *event = zi_new_image_event(report->printer, "done");
    cJSON_AddStringToObject(event, "file", path ? path : "-");
    add_uint(event, "seed", report->request->seed);
    cJSON_AddNumberToObject(event, "width", image->width);
    cJSON_AddNumberToObject(event, "height", image->height);
    cJSON_AddNumberToObject(event, "tokens", (double)report->prompt.all);
    cJSON_AddNumberToObject(event, "tokens_used", (double)report->prompt.used);
    cJSON_AddNumberToObject(event, "seconds", seconds);
    cJSON *times = cJSON_AddObjectToObject(event, "timings");
    cJSON_AddNumberToObject(times, "encode", t->encode);
    cJSON_AddNumberToObject(times, "sample", t->sample);
    cJSON_AddNumberToObject(times, "decode", t->decode);
    cJSON_AddNumberToObject(times, "save", t->save);
    if (report->job->line) cJSON_AddNumberToObject(event, "line", report->job->line);
    return zi_print_json_event(event, error);
}
