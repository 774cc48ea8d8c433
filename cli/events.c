/* Messages for people, as lines on standard error, and for programs: with --json, events on
 * standard output and notes on standard error, both one JSON object per line. */
#include "cli.h"

#include "base/text.h"

#include <cJSON.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

static atomic_bool json_messages; /* read by a signal handler */
static atomic_int events_in_progress;

void zi_set_json_messages(bool on)
{
    atomic_store(&json_messages, on);
}

bool zi_json_messages(void)
{
    return atomic_load(&json_messages);
}

bool zi_event_in_progress(void)
{
    return atomic_load(&events_in_progress) > 0;
}

/* Prints JSON with \ufffd in place of bytes that are not UTF-8, such as those of a file's name:
 * they can be in strings only. */
static void print_utf8(const char *json, FILE *stream)
{
    size_t left = strlen(json);
    while (left) {
        size_t size = zi_utf8_sequence(json, left), step = size ? size : 1;
        if (size)
            fwrite(json, 1, size, stream);
        else
            fputs("\\ufffd", stream);
        json += step;
        left -= step;
    }
}

/* Prints the object as one line to the stream, flushes, and deletes the object, also on failure.
 * False: out of memory, as which an object of NULL counts. */
static bool print_object(cJSON *object, FILE *stream)
{
    char *line = object ? cJSON_PrintUnformatted(object) : NULL;
    if (line) {
        atomic_fetch_add(&events_in_progress, 1);
        print_utf8(line, stream);
        fputc('\n', stream);
        if (stream == stdout)
            zi_flush_output();
        else
            fflush(stream);
        atomic_fetch_sub(&events_in_progress, 1);
    }
    bool ok = line != NULL;
    cJSON_free(line);
    cJSON_Delete(object);
    return ok;
}

bool zi_print_json_event(cJSON *event, zi_error *error)
{
    return print_object(event, stdout) || zi_error_no_memory(error, 1);
}

void zi_print_note(bool quiet, const char *format, ...)
{
    char text[4096];
    if (quiet) return;
    va_list args;
    va_start(args, format);
    if (zi_json_messages()) {
        vsnprintf(text, sizeof text, format, args);
        cJSON *note = cJSON_CreateObject();
        cJSON_AddStringToObject(note, "event", "note");
        cJSON_AddStringToObject(note, "message", text);
        print_object(note, stderr);
    } else {
        fputs("zimage: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
    }
    va_end(args);
}

/* The name of an error code in events. */
static const char *code_name(zi_error_code code)
{
    static const char *const names[] = {
        [ZI_OK] = "ok",
        [ZI_ERROR_INVALID_ARGUMENT] = "invalid_argument",
        [ZI_ERROR_NOT_FOUND] = "not_found",
        [ZI_ERROR_EXISTS] = "exists",
        [ZI_ERROR_BAD_FORMAT] = "bad_format",
        [ZI_ERROR_UNSUPPORTED] = "unsupported",
        [ZI_ERROR_INCOMPLETE] = "incomplete",
        [ZI_ERROR_IO] = "io",
        [ZI_ERROR_NO_MEMORY] = "no_memory",
        [ZI_ERROR_NETWORK] = "network",
        [ZI_ERROR_CANCELLED] = "cancelled",
    };
    return names[code];
}

void zi_print_failure(const zi_error *error, const char *text, int line)
{
    bool cancelled = error->code == ZI_ERROR_CANCELLED;
    if (cancelled && !zi_interrupt_claim_report()) return;
    if (!zi_json_messages()) {
        zi_print_note(false, "%s", text);
        return;
    }
    cJSON *event = cJSON_CreateObject();
    cJSON_AddStringToObject(event, "event", cancelled ? "cancelled" : "failed");
    if (!cancelled) {
        cJSON_AddStringToObject(event, "message", text);
        cJSON_AddStringToObject(event, "code", code_name(error->code));
        cJSON_AddStringToObject(event, "subject", error->subject);
        if (line) cJSON_AddNumberToObject(event, "line", line);
    }
    print_object(event, stdout);
}
