/* How far the work is: a bar for people, events for programs. */
#include "cli.h"

#include <cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double bar_interval = 0.1, event_interval = 0.25; /* seconds */
static const char *const stage_names[] = {"encode", "step", "decode", "convert", "copy"};

/* Seconds until the stage ends, if it goes on as it began; negative when there is no telling. */
static double seconds_left(const zi_reporter *reporter, double fraction, double now)
{
    double elapsed = now - reporter->stage_began;
    return fraction > 0 ? elapsed * (1 - fraction) / fraction : -1;
}

static void draw_bar(const zi_reporter *reporter, const zi_progress *progress, double left)
{
    enum { WIDTH = 30 };
    char bar[WIDTH + 1], what[40], of[32] = "", when[32] = "";
    int filled = (int)(progress->fraction * WIDTH + 0.5);
    for (int i = 0; i < WIDTH; i++) bar[i] = i < filled ? '#' : '.';
    bar[WIDTH] = 0;
    if (progress->stage == ZI_STAGE_ENCODE) {
        snprintf(what, sizeof what, "reading the prompt");
    } else if (progress->stage == ZI_STAGE_DECODE) {
        snprintf(what, sizeof what, "developing");
    } else if (progress->stage == ZI_STAGE_CONVERT) {
        snprintf(what, sizeof what, "converting");
    } else if (progress->stage == ZI_STAGE_COPY) {
        snprintf(what, sizeof what, "copying");
    } else {
        int step = progress->step < progress->steps ? progress->step + 1 : progress->steps;
        snprintf(what, sizeof what, "step %d of %d", step, progress->steps);
    }
    if (reporter->pictures > 1)
        snprintf(of, sizeof of, "picture %d of %d, ", reporter->picture, reporter->pictures);
    if (left >= 0) {
        long seconds = lrint(ceil(left));
        snprintf(when, sizeof when, " %ld:%02ld left", seconds / 60, seconds % 60);
    }
    /* Back to the line's begin, the new text, and away with what is left of the old one. */
    fprintf(stderr, "\r%s%s [%s]%s\033[K", of, what, bar, when);
    fflush(stderr);
}

bool zi_print_event(cJSON *event, zi_error *error)
{
    char *line = cJSON_PrintUnformatted(event);
    if (line) {
        puts(line);
        fflush(stdout);
    }
    bool ok = line != NULL;
    cJSON_free(line);
    cJSON_Delete(event);
    return ok || zi_error_no_memory(error, 1);
}

static void print_event(const zi_reporter *reporter, const zi_progress *progress, double left)
{
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "progress");
    cJSON_AddNumberToObject(event, "picture", reporter->picture);
    cJSON_AddNumberToObject(event, "pictures", reporter->pictures);
    cJSON_AddStringToObject(event, "stage", stage_names[progress->stage]);
    cJSON_AddNumberToObject(event, "step", progress->step);
    cJSON_AddNumberToObject(event, "steps", progress->steps);
    cJSON_AddNumberToObject(event, "fraction", progress->fraction);
    if (left >= 0) cJSON_AddNumberToObject(event, "seconds_left", left);
    zi_error error;
    (void)!zi_print_event(event, &error); /* the next one may find memory again */
}

zi_reporter zi_reporter_start(bool bar, bool json, int picture, int pictures)
{
    return (zi_reporter){
        .bar = bar,
        .json = json,
        .picture = picture,
        .pictures = pictures,
        .called = zi_monotonic_seconds(),
    };
}

bool zi_reporter_progress(void *user, const zi_progress *progress)
{
    zi_reporter *reporter = user;
    if (zi_interrupted()) return false;
    double now = zi_monotonic_seconds();
    bool new_stage = !reporter->reported_any || reporter->stage != progress->stage;
    /* The first call of a stage comes with its first layer done: it began where the last ended. */
    if (new_stage) reporter->stage_began = reporter->called;
    reporter->called = now;
    bool news = new_stage || reporter->step != progress->step;
    double interval = reporter->json ? event_interval : bar_interval;
    if (!news && now - reporter->reported < interval) return true;
    double left = seconds_left(reporter, progress->fraction, now);
    if (reporter->json) print_event(reporter, progress, left);
    if (reporter->bar) draw_bar(reporter, progress, left);
    reporter->reported_any = true;
    reporter->stage = progress->stage;
    reporter->step = progress->step;
    reporter->reported = now;
    return true;
}

void zi_reporter_clear(zi_reporter *reporter)
{
    if (reporter->bar && reporter->reported_any) fputs("\r\033[K", stderr);
    reporter->reported_any = false;
}
