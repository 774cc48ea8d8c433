/* Progress of an operation: a bar for people, lines for log files, JSON events for programs. */
#include "cli.h"

#include <cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double bar_interval = 0.1, event_interval = 0.25; /* seconds */
static const char *const stage_names[] = {"encode", "step", "decode", "convert", "copy"};

/* Estimated seconds to the end of what began at `began`, by its mean speed until `now`
 * (zi_monotonic_seconds); negative: unknown, as nothing is done. fraction: 0 to 1. */
static double seconds_left(double began, double fraction, double now)
{
    return fraction > 0 ? (now - began) * (1 - fraction) / fraction : -1;
}

/* The share of the whole operation, all its images, that is done: 0 to 1. Encoding and decoding
 * count as two steps each. */
static double whole_fraction(const zi_progress_printer *printer, const zi_progress *p)
{
    double units = p->steps + 4, done = p->fraction;
    if (p->stage > ZI_STAGE_DECODE) return p->fraction;
    if (p->stage == ZI_STAGE_ENCODE) done = 2 * p->fraction;
    if (p->stage == ZI_STAGE_STEP) done = 2 + p->steps * p->fraction;
    if (p->stage == ZI_STAGE_DECODE) done = 2 + p->steps + 2 * p->fraction;
    return (printer->image - 1 + done / units) / printer->images;
}

/* Prints the bar of the stage, with image and step, over the last one on standard error, as wide as
 * the window permits. left: estimated seconds; negative: unknown. */
static void print_bar(const zi_progress_printer *printer, const zi_progress *progress, double left)
{
    char bar[ZI_BAR_WIDTH + 4], what[40], of[32] = "", when[32] = "", line[200];
    if (progress->stage == ZI_STAGE_ENCODE) {
        snprintf(what, sizeof what, "encoding the prompt");
    } else if (progress->stage == ZI_STAGE_DECODE) {
        snprintf(what, sizeof what, "decoding");
    } else if (progress->stage == ZI_STAGE_CONVERT) {
        snprintf(what, sizeof what, "converting");
    } else if (progress->stage == ZI_STAGE_COPY) {
        snprintf(what, sizeof what, "copying");
    } else {
        int step = progress->step < progress->steps ? progress->step + 1 : progress->steps;
        snprintf(what, sizeof what, "step %d of %d", step, progress->steps);
    }
    if (printer->images > 1)
        snprintf(of, sizeof of, "image %d of %d, ", printer->image, printer->images);
    if (left >= 0) {
        long seconds = lrint(ceil(left));
        snprintf(when, sizeof when, " %ld:%02ld left", seconds / 60, seconds % 60);
    }
    int room = zi_terminal_columns(STDERR_FILENO) - 1 - 3;
    room -= (int)(strlen(of) + strlen(what));
    if (room < (int)strlen(when)) when[0] = 0;
    room -= (int)strlen(when);
    snprintf(line, sizeof line, "%s%s%s%s", of, what, zi_format_bar(progress->fraction, room, bar),
             when);
    zi_print_status(line);
}

cJSON *zi_new_image_event(const zi_progress_printer *printer, const char *name)
{
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", name);
    cJSON_AddNumberToObject(event, "picture", printer->image);
    cJSON_AddNumberToObject(event, "pictures", printer->images);
    return event;
}

/* Prints the JSON event "progress" with image, stage, step, the fraction of the whole and of the
 * stage, and the estimated seconds until the whole is done, if known. Errors are ignored. */
static void print_progress_event(const zi_progress_printer *printer, const zi_progress *progress,
                                 double now)
{
    double left = seconds_left(printer->began, printer->whole, now);
    cJSON *event = zi_new_image_event(printer, "progress");
    cJSON_AddStringToObject(event, "stage", stage_names[progress->stage]);
    cJSON_AddNumberToObject(event, "step", progress->step);
    cJSON_AddNumberToObject(event, "steps", progress->steps);
    cJSON_AddNumberToObject(event, "fraction", printer->whole);
    cJSON_AddNumberToObject(event, "stage_fraction", progress->fraction);
    if (left >= 0) cJSON_AddNumberToObject(event, "seconds_left", left);
    (void)!zi_print_json_event(event, NULL); /* a lost event is no reason to stop */
}

/* Reports that `step` of progress->steps steps are done, as enabled: with the JSON event "step", or
 * a line on standard error. seconds: how long the step took. */
static void report_step(const zi_progress_printer *printer, const zi_progress *progress, int step,
                        double seconds)
{
    if (printer->json) {
        cJSON *event = zi_new_image_event(printer, "step");
        cJSON_AddNumberToObject(event, "step", step);
        cJSON_AddNumberToObject(event, "steps", progress->steps);
        cJSON_AddNumberToObject(event, "fraction", printer->whole);
        cJSON_AddNumberToObject(event, "seconds", seconds);
        (void)!zi_print_json_event(event, NULL);
    }
    if (!printer->lines) return;
    if (printer->images > 1)
        zi_print_note(false, "image %d of %d, step %d of %d, %.2f s", printer->image,
                      printer->images, step, progress->steps, seconds);
    else
        zi_print_note(false, "step %d of %d, %.2f s", step, progress->steps, seconds);
}

/* Reports the steps that are finished and were not reported. A step that no update told of while it
 * ran shares its time with the one before. */
static void report_steps(zi_progress_printer *printer, const zi_progress *progress)
{
    if (progress->stage != ZI_STAGE_STEP && progress->stage != ZI_STAGE_DECODE) return;
    int steps = progress->step - printer->steps_reported;
    if (steps <= 0) return;
    /* The layer that this update tells of came after the step: the step ended at the last one. */
    double seconds = (printer->called - printer->step_began) / steps;
    while (printer->steps_reported < progress->step)
        report_step(printer, progress, ++printer->steps_reported, seconds);
    printer->step_began = printer->called;
}

zi_progress_printer zi_progress_printer_start(bool bar, bool json, int images)
{
    double now = zi_monotonic_seconds();
    return (zi_progress_printer){
        .bar = bar && zi_stderr_wants_bar(),
        .json = json,
        .image = 1,
        .images = images,
        .began = now,
        .called = now,
    };
}

void zi_progress_printer_next_image(zi_progress_printer *printer, int image)
{
    zi_progress_printer_clear(printer);
    printer->image = image;
    printer->steps_reported = 0;
    printer->called = zi_monotonic_seconds();
}

bool zi_progress_printer_update(void *user, const zi_progress *progress)
{
    zi_progress_printer *printer = user;
    if (zi_interrupted()) return false;
    double now = zi_monotonic_seconds();
    bool new_stage = !printer->printed_any || printer->stage != progress->stage;
    /* The first update of a stage comes after its first layer: the stage began at the last update.
     */
    if (new_stage) printer->stage_began = printer->called;
    if (new_stage && progress->stage == ZI_STAGE_ENCODE)
        printer->steps_reported = 0; /* once more */
    if (new_stage && progress->stage == ZI_STAGE_STEP) printer->step_began = printer->called;
    printer->whole = fmax(printer->whole, whole_fraction(printer, progress));
    report_steps(printer, progress);
    printer->called = now;
    bool ends = progress->stage >= ZI_STAGE_DECODE && progress->fraction >= 1;
    bool news = new_stage || ends || printer->step != progress->step;
    double interval = printer->json ? event_interval : bar_interval;
    if (!news && now - printer->printed < interval) return true;
    if (printer->json) print_progress_event(printer, progress, now);
    if (printer->bar)
        print_bar(printer, progress, seconds_left(printer->stage_began, progress->fraction, now));
    printer->printed_any = true;
    printer->stage = progress->stage;
    printer->step = progress->step;
    printer->printed = now;
    return true;
}

void zi_progress_printer_clear(zi_progress_printer *printer)
{
    if (printer->bar && printer->printed_any) zi_clear_status();
    printer->printed_any = false;
}

void zi_progress_printer_remark(void *user, const char *text)
{
    zi_progress_printer_clear(user);
    zi_print_note(false, "%s", text);
}
