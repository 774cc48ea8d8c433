/* Progress of an operation: a bar for people, JSON events for programs. */
#include "cli.h"

#include <cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double bar_interval = 0.1, event_interval = 0.25; /* seconds */
static const char *const stage_names[] = {"encode", "step", "decode", "convert", "copy"};

/* Estimated seconds until the stage ends, by its mean speed until `now` (zi_monotonic_seconds);
 * negative: unknown, as nothing is done. fraction: of the stage, 0 to 1. */
static double seconds_left(const zi_progress_printer *printer, double fraction, double now)
{
    double elapsed = now - printer->stage_began;
    return fraction > 0 ? elapsed * (1 - fraction) / fraction : -1;
}

/* Prints the bar of the stage, with image and step, over the last one on standard error. left:
 * estimated seconds; negative: unknown. */
static void print_bar(const zi_progress_printer *printer, const zi_progress *progress, double left)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1], what[40], of[32] = "", when[32] = "";
    int filled = (int)(progress->fraction * WIDTH + 0.5);
    for (int i = 0; i < WIDTH; i++) bar[i] = i < filled ? '#' : '.';
    bar[WIDTH] = 0;
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
    /* Return to the start of the line, print, and erase the rest of it. */
    fprintf(stderr, "\r%s%s [%s]%s\033[K", of, what, bar, when);
    fflush(stderr);
}

bool zi_print_json_event(cJSON *event, zi_error *error)
{
    char *line = cJSON_PrintUnformatted(event);
    if (line) {
        puts(line);
        zi_flush_output();
    }
    bool ok = line != NULL;
    cJSON_free(line);
    cJSON_Delete(event);
    return ok || zi_error_no_memory(error, 1);
}

/* Prints the JSON event "progress" with image, stage, step and fraction, even if printer->json is
 * false. left: estimated seconds ("seconds_left"), left out when negative. Errors are ignored. */
static void print_progress_event(const zi_progress_printer *printer, const zi_progress *progress,
                                 double left)
{
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "progress");
    cJSON_AddNumberToObject(event, "picture", printer->image);
    cJSON_AddNumberToObject(event, "pictures", printer->images);
    cJSON_AddStringToObject(event, "stage", stage_names[progress->stage]);
    cJSON_AddNumberToObject(event, "step", progress->step);
    cJSON_AddNumberToObject(event, "steps", progress->steps);
    cJSON_AddNumberToObject(event, "fraction", progress->fraction);
    if (left >= 0) cJSON_AddNumberToObject(event, "seconds_left", left);
    zi_error error;
    (void)!zi_print_json_event(event, &error); /* a lost event is no reason to stop */
}

zi_progress_printer zi_progress_printer_start(bool bar, bool json, int image, int images)
{
    return (zi_progress_printer){
        .bar = bar,
        .json = json,
        .image = image,
        .images = images,
        .called = zi_monotonic_seconds(),
    };
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
    printer->called = now;
    bool news = new_stage || printer->step != progress->step;
    double interval = printer->json ? event_interval : bar_interval;
    if (!news && now - printer->printed < interval) return true;
    double left = seconds_left(printer, progress->fraction, now);
    if (printer->json) print_progress_event(printer, progress, left);
    if (printer->bar) print_bar(printer, progress, left);
    printer->printed_any = true;
    printer->stage = progress->stage;
    printer->step = progress->step;
    printer->printed = now;
    return true;
}

void zi_progress_printer_clear(zi_progress_printer *printer)
{
    if (printer->bar && printer->printed_any) fputs("\r\033[K", stderr);
    printer->printed_any = false;
}

void zi_progress_printer_remark(void *user, const char *text)
{
    zi_progress_printer_clear(user);
    zi_print_note(false, "%s", text);
}
