/* Parts of the server that cannot be reached, or not at will, by requests. */
#include "server/internal.h"
#include "server/json.h"
#include "harness.h"

#include <errno.h>
#include <string.h>

static void names_of_this_machine(void)
{
    static const struct {
        const char *own, *host;
        bool allowed;
    } cases[] = {
        {"studio.local", "studio.local", true},
        {"studio.local", "studio", true},
        {"studio.local", "Studio.LOCAL:7860", true},
        {"studio", "studio.local", true},
        {"studio", "studio:7860", true},
        {"studio", "studio.lan", false},
        {"studio.local", "studio.lan", false},
        {"studio.local", "local", false},
        {"studio.local", ".local", false},
        {"studio.local", "studio.local.local", false},
        {"studio.lan", "studio.lan", true},
        {"studio.lan", "studio", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zi_access *access;
        zi_error error = {0};
        zi_server_options options = {.host = cases[i].own, .insecure = true};
        zi_access_headers headers = {.host = cases[i].host};
        if (!CHECK_OK(zi_access_create(&options, &access, &error), error)) return;
        CHECK_MSG(zi_access_host_allowed(access, &headers) == cases[i].allowed, "%s is called %s",
                  cases[i].own, cases[i].host);
        zi_access_free(access);
    }
}

static void escaped_lines(void)
{
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"plain", "plain"},
        {"a\nb\t\x7f", "a\\x0a"
                       "b\\x09\\x7f"},
        {"\xc2\x9b"
         "2J",
         "\\xc2\\x9b"
         "2J"},
        {"\xc3\xa9 \xe6\xb5\xb7 \xf0\x9f\x98\x80", "\xc3\xa9 \xe6\xb5\xb7 \xf0\x9f\x98\x80"},
        /* A thin space, dashes, curly quotes, an ellipsis and a prime. */
        {"\xe2\x80\x89\xe2\x80\x93\xe2\x80\x94\xe2\x80\x98\xe2\x80\x99\xe2\x80\x9c\xe2\x80\xa6",
         "\xe2\x80\x89\xe2\x80\x93\xe2\x80\x94\xe2\x80\x98\xe2\x80\x99\xe2\x80\x9c\xe2\x80\xa6"},
        /* Line and paragraph separators. */
        {"\xe2\x80\xa8\xe2\x80\xa9", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9"},
        /* A zero-width space, marks and overrides of direction, a byte order mark, a tag. */
        {"\xe2\x80\x8b\xe2\x80\xae", "\\xe2\\x80\\x8b\\xe2\\x80\\xae"},
        {"\xe2\x81\xa6\xd8\x9c", "\\xe2\\x81\\xa6\\xd8\\x9c"},
        {"\xef\xbb\xbf\xf3\xa0\x81\x81", "\\xef\\xbb\\xbf\\xf3\\xa0\\x81\\x81"},
        /* What is not UTF-8. */
        {"\xff\xc3(\xe2\x80", "\\xff\\xc3(\\xe2\\x80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zi_text out;
        zi_text_init(&out, 1000);
        zi_escape_line(cases[i].text, &out);
        CHECK_MSG(!strcmp(out.data, cases[i].line), "%s, not %s", out.data, cases[i].line);
        zi_text_free(&out);
    }
}

static void no_jobs_after_the_end(void)
{
    uint64_t id;
    zi_server server = {.events = zi_events_create()};
    zi_jobs *jobs = zi_jobs_create(&server);
    zi_job_request request = {.kind = zi_job_kind_find("unload")};
    zi_http_error http_error;
    for (int i = 0; i < ZI_QUEUE_CAPACITY; i++)
        CHECK(zi_jobs_submit(jobs, &request, &id, &http_error));
    CHECK(!zi_jobs_submit(jobs, &request, &id, &http_error) && http_error.status == 429);
    zi_jobs_close(jobs);
    CHECK(!zi_jobs_submit(jobs, &request, &id, &http_error) && http_error.status == 503);
    CHECK_MSG(strstr(http_error.text, "shutting down") != NULL, "%s", http_error.text);
    zi_jobs_free(jobs);
    zi_events_free(server.events);
}

static void statuses_of_files(void)
{
    static const struct {
        int why;
        unsigned status;
    } rows[] = {{ENOSPC, 507}, {EDQUOT, 507}, {EACCES, 500}, {EIO, 500}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        zi_http_error http_error;
        CHECK(!zi_http_error_not_stored(&http_error, rows[i].why));
        CHECK(http_error.status == rows[i].status && !http_error.field[0]);
        CHECK(strstr(http_error.text, strerror(rows[i].why)) != NULL);
    }
}

static void digits_of_numbers(void)
{
    static const char text[] =
        "{\"1234567890123456789\": [\"-9\\\"999999999999999999\", 18446744073709551615, 7], "
        "\"a\\\\\": {\"b\": -1234567890123456}, \"c\": 123456789012345, \"d\": "
        "1.000000000000000001,"
        "\"e\": [[], {}, null, true, 9007199254740993]}";
    static const struct {
        const char *name, *digits;
    } rows[] = {{"c", NULL}, {"d", "1.000000000000000001"}};
    const char *end;
    cJSON *json = zi_json_parse_exact(text, &end);
    if (!CHECK(json && !*end)) return;
    const cJSON *list = cJSON_GetObjectItem(json, "1234567890123456789");
    CHECK(!zi_json_digits(cJSON_GetArrayItem(list, 0))); /* it is text */
    CHECK(!strcmp(zi_json_digits(cJSON_GetArrayItem(list, 1)), "18446744073709551615"));
    CHECK(!zi_json_digits(cJSON_GetArrayItem(list, 2)));
    const cJSON *b = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "a\\"), "b");
    CHECK(!strcmp(zi_json_digits(b), "-1234567890123456"));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *digits = zi_json_digits(cJSON_GetObjectItem(json, rows[i].name));
        CHECK(digits ? rows[i].digits && !strcmp(digits, rows[i].digits) : !rows[i].digits);
    }
    const cJSON *last = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "e"), 4);
    CHECK(!strcmp(zi_json_digits(last), "9007199254740993"));
    cJSON_Delete(json);
    CHECK(!zi_json_parse_exact("{\"a\": 12345678901234567890", &end) && !*end);
    CHECK(!zi_json_digits(NULL));
}

int main(void)
{
    RUN(digits_of_numbers);
    RUN(names_of_this_machine);
    RUN(escaped_lines);
    RUN(no_jobs_after_the_end);
    RUN(statuses_of_files);
    return zi_test_result();
}
