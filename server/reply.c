/* Replies, and what a handler asks of its request. */
#include "server/http.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- asking ---- */

const char *zi_call_header(zi_call *call, const char *name)
{
    return MHD_lookup_connection_value(call->connection, MHD_HEADER_KIND, name);
}

bool zi_call_query(zi_call *call, const char *name, const char **out, zi_answer *answer)
{
    const char *value = MHD_lookup_connection_value(call->connection, MHD_GET_ARGUMENT_KIND, name);
    if (value && !zi_utf8_valid(value, strlen(value))) {
        *answer = zi_reply_error(call, 400, name, "%s is not valid UTF-8", name);
        return false;
    }
    *out = value;
    return true;
}

bool zi_call_query_int(zi_call *call, const char *name, int least, int most, int fallback, int *out,
                       zi_answer *answer)
{
    const char *text;
    if (!zi_call_query(call, name, &text, answer)) return false;
    *out = fallback;
    if (!text) return true;
    size_t length = strlen(text);
    long value =
        length && length < 10 && strspn(text, "0123456789") == length ? strtol(text, NULL, 10) : -1;
    if (value < least || value > most) {
        *answer = zi_reply_error(call, 400, name, "%s must be a whole number from %d to %d", name,
                                 least, most);
        return false;
    }
    *out = (int)value;
    return true;
}

/* ---- replying ---- */

/* On every response. Scripts, styles, pictures and connections come from here and nowhere else. */
static const char *const common[][2] = {
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"},
    {"Referrer-Policy", "no-referrer"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Permissions-Policy", "camera=(), microphone=(), geolocation=()"},
    {"Content-Security-Policy",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
     "font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action "
     "'none'; frame-ancestors 'none'"},
};

zi_answer zi_reply(zi_call *call, unsigned status, struct MHD_Response *response)
{
    if (!response) return MHD_NO;
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        MHD_add_response_header(response, common[i][0], common[i][1]);
    if (!MHD_get_response_header(response, "Cache-Control"))
        MHD_add_response_header(response, "Cache-Control", "no-store");
    if (status == 429) MHD_add_response_header(response, "Retry-After", "5");
    if (status == 401) MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    if (status >= 500) atomic_fetch_add(&call->server->failures, 1);
    zi_answer answer = MHD_queue_response(call->connection, status, response);
    MHD_destroy_response(response);
    return answer;
}

static void add_headers(struct MHD_Response *response, const char *type, const char *const *headers)
{
    MHD_add_response_header(response, "Content-Type", type);
    for (; headers && headers[0]; headers += 2)
        MHD_add_response_header(response, headers[0], headers[1]);
}

zi_answer zi_reply_bytes(zi_call *call, unsigned status, const char *type, void *data, size_t size,
                         const char *const *headers)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(size, data, MHD_RESPMEM_MUST_FREE);
    if (!response) {
        free(data);
        return MHD_NO;
    }
    add_headers(response, type, headers);
    return zi_reply(call, status, response);
}

zi_answer zi_reply_file(zi_call *call, const char *type, int fd, const char *const *headers)
{
    struct stat st;
    struct MHD_Response *response = NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        response = MHD_create_response_from_fd((uint64_t)st.st_size, fd);
    if (!response) {
        close(fd);
        return zi_reply_error(call, 500, NULL, "the file cannot be read");
    }
    add_headers(response, type, headers);
    return zi_reply(call, MHD_HTTP_OK, response);
}

zi_answer zi_reply_json(zi_call *call, unsigned status, cJSON *json)
{
    char *text = json ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    if (!text) return MHD_NO; /* memory is short: the connection is cut */
    return zi_reply_bytes(call, status, "application/json", text, strlen(text), NULL);
}

cJSON *zi_error_json(unsigned status, const char *message, const char *field)
{
    (void)status;
    cJSON *object = cJSON_CreateObject(), *error = cJSON_AddObjectToObject(object, "error");
    cJSON_AddStringToObject(error, "message", message);
    if (field)
        cJSON_AddStringToObject(error, "field", field);
    else
        cJSON_AddNullToObject(error, "field");
    return object;
}

zi_answer zi_reply_error(zi_call *call, unsigned status, const char *field, const char *format, ...)
{
    char raw[1024];
    va_list args;
    zi_text text;
    va_start(args, format);
    vsnprintf(raw, sizeof raw, format, args);
    va_end(args);
    zi_text_init(&text, 1 << 14);
    zi_text_puts(&text, "");
    zi_escape_line(raw, &text);
    if (status >= 500)
        zi_log_line(call->server->log, ZI_LOG_ERROR, "%s %s: %s", call->method, call->url, raw);
    zi_answer answer =
        text.failed ? MHD_NO
                    : zi_reply_json(call, status, call->family->error(status, text.data, field));
    zi_text_free(&text);
    return answer;
}

zi_answer zi_reply_refusal(zi_call *call, const zi_refusal *refusal)
{
    return zi_reply_error(call, refusal->status, refusal->field[0] ? refusal->field : NULL, "%s",
                          refusal->text);
}

zi_answer zi_reply_nothing(zi_call *call)
{
    return zi_reply(call, MHD_HTTP_NO_CONTENT,
                    MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

/* ---- waiting ---- */

bool zi_call_waits_for_models(const zi_call *call)
{
    static const double seconds = 2;
    zi_scanner_wake(call->server->scanner);
    return zi_monotonic_seconds() - call->began < seconds;
}

zi_answer zi_call_wait(zi_call *call, uint64_t cursor)
{
    call->sleeper.connection = call->connection;
    call->sleeper.job = call->job;
    /* Nobody waits any more: the connection is closed, and with it the call. */
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(call->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info && zi_peer_gone(info->connect_fd)) return MHD_NO;
    /* Where there is news already, the handler is called again at once: suspended and woken. */
    if (!zi_sleep(call->server->events, &call->sleeper, cursor)) {
        if (zi_events_closed(call->server->events)) return MHD_NO;
        MHD_suspend_connection(call->connection);
        MHD_resume_connection(call->connection);
    }
    return MHD_YES;
}
