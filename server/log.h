/* Lines about what happens: on standard error, in a ring for /api/log, and as events. */
#ifndef ZI_SERVER_LOG_H
#define ZI_SERVER_LOG_H

#include "server/events.h"

#include "base/machine.h"

typedef enum { ZI_LOG_INFO, ZI_LOG_WARNING, ZI_LOG_ERROR } zi_log_level;

typedef struct zi_log zi_log;

zi_log *zi_log_create(zi_events *events); /* NULL when memory is short */
void zi_log_free(zi_log *log);

/* What a client sent may stand in a line: control characters and broken UTF-8 are escaped. */
void zi_log_line(zi_log *log, zi_log_level level, const char *format, ...) ZI_PRINTF(3, 4);

/* The same, at most ten of them a second: for what strangers can cause at will. */
void zi_log_refusal(zi_log *log, const char *format, ...) ZI_PRINTF(2, 3);

/* {"lines": [...]} */
cJSON *zi_log_describe(zi_log *log);

/* text with everything escaped that could forge a line or drive a terminal. */
void zi_escape_line(const char *text, zi_text *out);

/* Seconds since 1970; zi_monotonic_seconds is for what something takes. */
double zi_wall_seconds(void);

#endif
