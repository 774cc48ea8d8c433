/* The server's log: lines on standard error, the last 500 in memory for /api/log, and each as an
 * event "log". */
#ifndef ZI_SERVER_LOG_H
#define ZI_SERVER_LOG_H

#include "server/events.h"

#include "base/machine.h"

typedef enum { ZI_LOG_INFO, ZI_LOG_WARNING, ZI_LOG_ERROR } zi_log_level;

typedef struct zi_log zi_log;

/* Creates an empty log that publishes its lines to events, which must outlive it. NULL: out of
 * memory. */
zi_log *zi_log_create(zi_events *events);

/* Frees the log and its lines. log may be NULL. */
void zi_log_free(zi_log *log);

/* Writes one line: to standard error, and without the server's folders to the lines in memory and
 * as an event. Control characters and invalid UTF-8 are escaped, so that text from clients is safe;
 * it is cut at about 2000 bytes. Out of memory, or log NULL: it does nothing, silently. Any thread
 * may call it. */
void zi_log_line(zi_log *log, zi_log_level level, const char *format, ...) ZI_PRINTF(3, 4);

/* Writes a warning, at most ten per second in all (others are dropped): for what clients can cause
 * at will. log may be NULL. */
void zi_log_rate_limited(zi_log *log, const char *format, ...) ZI_PRINTF(2, 3);

/* Returns the lines in memory (at most 500), oldest first, as new JSON {"lines": [...]}. Out of
 * memory: NULL, or lines are missing. */
cJSON *zi_log_json(zi_log *log);

/* Appends text to *out with control characters (also tabs and line ends), invalid UTF-8, line
 * separators and invisible format characters (such as direction marks) as \xNN for each byte: it
 * cannot forge a line or drive a terminal. Stops once *out has 2000 bytes or more, what it had
 * before included; a character that is not escaped is never cut. */
void zi_escape_line(const char *text, zi_text *out);

/* Returns the Unix time in seconds, with a fraction. For durations use zi_monotonic_seconds. */
double zi_wall_seconds(void);

#endif
