#include "server/log.h"
#include "server/hide_paths.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

enum { MAX_LINES = 500, MAX_LINE_BYTES = 2000, MAX_LIMITED_PER_SECOND = 10 };

typedef struct {
    double time;
    zi_log_level level;
    char *text;
} line;

struct zi_log {
    pthread_mutex_t mutex;
    zi_events *events;
    line lines[MAX_LINES]; /* a ring: line n is at n % MAX_LINES */
    size_t count;
    double second; /* start of the second that limited_count counts in */
    int limited_count;
};

static const char *const levels[] = {"info", "warning", "error"};

double zi_wall_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

zi_log *zi_log_create(zi_events *events)
{
    zi_log *log = calloc(1, sizeof *log);
    if (!log) return NULL;
    log->events = events;
    pthread_mutex_init(&log->mutex, NULL);
    return log;
}

void zi_log_free(zi_log *log)
{
    if (!log) return;
    for (size_t i = 0; i < MAX_LINES; i++) free(log->lines[i].text);
    pthread_mutex_destroy(&log->mutex);
    free(log);
}

/* Returns the bytes (1 to 4) of the UTF-8 character at the start of text, which is not empty; 0: it
 * is invalid (also overlong, or a surrogate), or can forge a line, drive a terminal or hide: a
 * control character, a line separator or an invisible one, such as those that change the direction
 * of text. Does not read beyond the text's NUL. */
static size_t printable_length(const char *text)
{
    utf8proc_int32_t c;
    utf8proc_ssize_t size =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)strnlen(text, 4), &c);
    if (size <= 0) return 0;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return 0;
    default:
        return (size_t)size;
    }
}

void zi_escape_line(const char *text, zi_text *out)
{
    while (*text && out->size < MAX_LINE_BYTES) {
        size_t size = printable_length(text);
        if (size) {
            zi_text_append(out, text, size);
            text += size;
        } else {
            zi_text_printf(out, "\\x%02x", (unsigned char)*text);
            text++;
        }
    }
}

/* Describes a line as new JSON {"time" (Unix, in seconds), "level", "text"}. Out of memory: NULL,
 * or members are missing. */
static cJSON *line_json(const line *l)
{
    cJSON *object = cJSON_CreateObject();
    cJSON_AddNumberToObject(object, "time", l->time);
    cJSON_AddStringToObject(object, "level", levels[l->level]);
    cJSON_AddStringToObject(object, "text", l->text);
    return object;
}

/* Prints a line with local time and level to standard error. */
static void print_line(const line *l)
{
    char when[40];
    time_t seconds = (time_t)l->time;
    struct tm tm;
    localtime_r(&seconds, &tm);
    strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm);
    fprintf(stderr, "%s %s %s\n", when, levels[l->level], l->text);
}

/* Prints a line to standard error, and without the server's folders stores it in the ring in place
 * of the oldest and publishes it as event "log". Control characters are escaped; a long text is
 * cut. Out of memory: it does nothing. */
static void write_line(zi_log *log, zi_log_level level, const char *format, va_list args)
{
    char raw[MAX_LINE_BYTES];
    zi_text text;
    vsnprintf(raw, sizeof raw, format, args);
    zi_text_init(&text, 8 * MAX_LINE_BYTES);
    zi_text_puts(&text, "");
    zi_escape_line(raw, &text);
    line l = {zi_wall_seconds(), level, zi_text_take(&text)};
    if (!l.text) return;
    print_line(&l);
    char *shown = malloc(strlen(l.text) + 1);
    if (shown) zi_hide_paths(l.text, shown, strlen(l.text) + 1);
    free(l.text);
    l.text = shown;
    if (!shown) return;
    cJSON *event = line_json(&l);
    pthread_mutex_lock(&log->mutex);
    line *slot = &log->lines[log->count++ % MAX_LINES];
    free(slot->text);
    *slot = l;
    pthread_mutex_unlock(&log->mutex);
    zi_events_publish(log->events, "log", event);
}

void zi_log_line(zi_log *log, zi_log_level level, const char *format, ...)
{
    va_list args;
    if (!log) return;
    va_start(args, format);
    write_line(log, level, format, args);
    va_end(args);
}

void zi_log_rate_limited(zi_log *log, const char *format, ...)
{
    double now = zi_monotonic_seconds();
    if (!log) return;
    pthread_mutex_lock(&log->mutex);
    if (now - log->second >= 1) {
        log->second = now;
        log->limited_count = 0;
    }
    bool quiet = ++log->limited_count > MAX_LIMITED_PER_SECOND;
    pthread_mutex_unlock(&log->mutex);
    if (quiet) return;
    va_list args;
    va_start(args, format);
    write_line(log, ZI_LOG_WARNING, format, args);
    va_end(args);
}

cJSON *zi_log_json(zi_log *log)
{
    cJSON *object = cJSON_CreateObject(), *lines = cJSON_AddArrayToObject(object, "lines");
    pthread_mutex_lock(&log->mutex);
    size_t first = log->count > MAX_LINES ? log->count - MAX_LINES : 0;
    for (size_t i = first; i < log->count; i++)
        cJSON_AddItemToArray(lines, line_json(&log->lines[i % MAX_LINES]));
    pthread_mutex_unlock(&log->mutex);
    return object;
}
