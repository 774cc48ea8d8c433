/* zimage download: a model from a hub. */
#include "cli.h"

#include <cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double bar_interval = 0.1, event_interval = 0.25; /* seconds */

typedef struct {
    bool bar, json;
    double begun, reported;
    uint64_t first; /* bytes that were there when it began */
    bool drawn;
} watcher;

static double gigabytes(uint64_t bytes)
{
    return (double)bytes / 1e9;
}

/* The file that is under way and the most of it there; NULL: none. */
static const zi_hub_file *current(const zi_hub_progress *p)
{
    const zi_hub_file *file = NULL;
    for (size_t i = 0; i < p->count; i++)
        if (p->files[i].done < p->files[i].size && (!file || p->files[i].done > file->done))
            file = &p->files[i];
    return file;
}

static double seconds_left(const watcher *w, const zi_hub_progress *p)
{
    double elapsed = zi_monotonic_seconds() - w->begun, came = (double)(p->done - w->first);
    return p->done > w->first ? (double)(p->size - p->done) * elapsed / came : -1;
}

static void draw_bar(const zi_hub_progress *p, double left)
{
    enum { WIDTH = 24 };
    char bar[WIDTH + 1], when[32] = "", what[64] = "checking";
    double share = p->size ? (double)p->done / (double)p->size : 1;
    for (int i = 0; i < WIDTH; i++) bar[i] = i < (int)(share * WIDTH + 0.5) ? '#' : '.';
    bar[WIDTH] = 0;
    const zi_hub_file *file = current(p);
    if (file) {
        const char *slash = strrchr(file->name, '/'), *name = slash ? slash + 1 : file->name;
        snprintf(what, sizeof what, "%.40s %.0f %%", name,
                 100 * (double)file->done / (double)file->size);
    }
    if (left >= 0) {
        long seconds = lrint(ceil(left));
        snprintf(when, sizeof when, " %ld:%02ld left", seconds / 60, seconds % 60);
    }
    fprintf(stderr, "\r%zu of %zu files, %.2f of %.2f GB [%s]%s  %s\033[K", p->finished, p->count,
            gigabytes(p->done), gigabytes(p->size), bar, when, what);
    fflush(stderr);
}

static void print_event(const zi_hub_progress *p, double left)
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
    (void)!zi_print_event(event, NULL); /* the next one may find memory again */
}

static bool watch(void *user, const zi_hub_progress *progress)
{
    watcher *w = user;
    if (zi_interrupted()) return false;
    if (!progress->count) return true; /* nothing is known yet */
    double now = zi_monotonic_seconds();
    bool last = progress->finished == progress->count;
    if (!w->begun) {
        w->begun = now;
        w->first = progress->done;
    }
    if (!last && now - w->reported < (w->json ? event_interval : bar_interval)) return true;
    w->reported = now;
    double left = seconds_left(w, progress);
    if (w->json) print_event(progress, left);
    if (w->bar) draw_bar(progress, left);
    w->drawn = w->bar;
    return true;
}

typedef struct {
    const char *models;
    int layout, precision;
    bool has_layout, has_precision, json, quiet;
    zi_download_options download;
    zi_import_options import;
} call;

static bool print_result(const call *c, const zi_downloaded *result, zi_error *error)
{
    if (!c->json) {
        puts(result->path);
        return true;
    }
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", "done");
    cJSON_AddStringToObject(event, "path", result->path);
    cJSON_AddNumberToObject(event, "fetched", (double)result->fetched);
    cJSON_AddBoolToObject(event, "unasked", result->from_cache);
    return zi_print_event(event, error);
}

static bool download(call *c, zi_error *error)
{
    zi_user_registry models;
    zi_downloaded result = {0};
    if (!zi_user_registry_open(c->models, &models, error)) return false;
    bool bar = !c->quiet && !c->json && isatty(STDERR_FILENO);
    watcher w = {.bar = bar, .json = c->json};
    zi_reporter reporter = zi_reporter_start(bar, c->json, 1, 1);
    bool converts = c->has_layout || c->has_precision;
    c->download.hub = models.options.hub;
    c->download.progress = watch;
    c->download.user = &w;
    c->import.progress = zi_reporter_progress;
    c->import.user = &reporter;
    c->import.layout = c->has_layout ? (zi_layout_kind)(ZI_LAYOUT_MLX + c->layout) : ZI_LAYOUT_SAME;
    c->import.precision = (zi_precision)c->precision;
    zi_interrupt_install();
    bool ok = converts
                  ? zi_registry_download(models.registry, &c->download, &c->import, &result, error)
                  : zi_download(&c->download, &result, error);
    zi_reporter_clear(&reporter);
    if (w.drawn) fputs("\r\033[K", stderr);
    if (ok && result.from_cache && !converts)
        zi_note(c->quiet, "the hub was not asked; this is what the cache has");
    ok = ok && print_result(c, &result, error);
    free(result.path);
    zi_user_registry_close(&models);
    return ok;
}

int cmd_download(int argc, char **argv)
{
    call c = {0};
    zi_error error = {0};
    int code;
    char layouts[64], precisions[64];
    zi_join_words(zi_layout_names + ZI_LAYOUT_MLX, layouts, sizeof layouts);
    zi_join_words(zi_precision_names, precisions, sizeof precisions);
    const zi_option options[] = {
        {"file", 0, ZI_OPTION_TEXT, &c.download.file, 0, 0, "NAME",
         "only this file of the repository (what a model takes)", NULL},
        {"local-dir", 0, ZI_OPTION_TEXT, &c.download.local_dir, 0, 0, "DIR",
         "put the files there (the hub's cache, which other programs use, too)", NULL},
        {"to", 0, ZI_OPTION_CHOICE, &c.layout, 0, 0, layouts,
         "convert into the models folder; the original does not stay", &c.has_layout},
        {"precision", 0, ZI_OPTION_CHOICE, &c.precision, 0, 0, precisions, "likewise",
         &c.has_precision},
        {"name", 0, ZI_OPTION_TEXT, &c.import.name, 0, 0, "NAME",
         "of what is converted (the repository's)", NULL},
        {"models", 0, ZI_OPTION_TEXT, &c.models, 0, 0, "DIR", "the models folder (./models)", NULL},
        {"json", 0, ZI_OPTION_FLAG, &c.json, 0, 0, NULL, "one event a line on standard output",
         NULL},
        {"quiet", 'q', ZI_OPTION_FLAG, &c.quiet, 0, 0, NULL, "no bar and no remarks", NULL},
        {0},
    };
    const zi_command command = {
        "download",
        "Gets a model from Hugging Face's hub and prints its path. REPO is OWNER/NAME[@REVISION]\n"
        "(Tongyi-MAI/Z-Image-Turbo), or prompt-enhancer for a language model. What was "
        "interrupted\n"
        "goes on when it is called again.",
        "[REPO]", options};
    if (!zi_options_parse(&command, argc, argv, &c.download.repo, &code)) return code;
    if (c.download.local_dir && (c.has_layout || c.has_precision))
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, "local-dir",
                     "what is converted goes to the models folder");
    else if (c.import.name && !c.has_layout && !c.has_precision)
        zi_error_set(&error, ZI_ERROR_INVALID_ARGUMENT, "name",
                     "is for what is converted; see --to");
    else if (download(&c, &error))
        return 0;
    return zi_report(&command, &error);
}
