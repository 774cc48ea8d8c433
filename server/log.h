/* The server's log: lines on standard error, the last 500 in memory for /api/log, and each as an
 * event "log". */
#ifndef ZI_SERVER_LOG_H
#define ZI_SERVER_LOG_H

#include "server/events.h"

#include "base/machine.h"

typedef enum { ZI_LOG_INFO, ZI_LOG_WARNING, ZI_LOG_ERROR } zi_log_level;

typedef struct zi_log zi_log;

zi_log *zi_log_create(zi_events *events); /* NULL when out of memory */
void zi_log_free(zi_log *log);

/* Writes one line. Control characters and invalid UTF-8 are escaped, so that text from clients is
 * safe. */
void zi_log_line(zi_log *log, zi_log_level level, const char *format, ...) ZI_PRINTF(3, 4);

/* Writes a warning, at most ten per second in all (others are dropped): for what clients can cause
 * at will. */
void zi_log_rate_limited(zi_log *log, const char *format, ...) ZI_PRINTF(2, 3);

/* The lines in memory, oldest first, as {"lines": [...]}. The caller deletes it. */
cJSON *zi_log_json(zi_log *log);

/* Appends text with control characters, direction marks and invalid UTF-8 as \xNN: it cannot forge
 * a line or drive a terminal. Cuts it at 2000 bytes. */
void zi_escape_line(const char *text, zi_text *out);

/* Unix time in seconds. zi_monotonic_seconds is the monotonic clock, for durations. */
double zi_wall_seconds(void);

#endif
