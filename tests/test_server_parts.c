/* Parts of the server that cannot be reached, or not at will, by requests. */
#include "server/internal.h"
#include "server/guesses.h"
#include "server/hide_paths.h"
#include "server/json.h"
#include "harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* cJSON reads some texts as numbers that are none in JSON. They are not kept, since they would be
 * sent back as they are. */
static void digits_that_are_not_json(void)
{
    static const struct {
        const char *text;
        bool kept;
    } rows[] = {{"00000000000000000007", false},    {"-00000000000000007", false},
                {"1234567890123456.", false},       {"-.1234567890123456", false},
                {"1.e0000000000000005", false},     {"0.1234567890123456", true},
                {"-1234567890.123456E+02", true},   {"1e-0000000000000001", true},
                {"0e0000000000000000000001", true}, {"-10000000000000000000", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[60];
        snprintf(text, sizeof text, "[%s,12345678901234567]", rows[i].text);
        cJSON *json = zi_json_parse_exact(text, NULL);
        if (!CHECK(json != NULL)) continue;
        const char *digits = zi_json_digits(cJSON_GetArrayItem(json, 0));
        const char *next = zi_json_digits(cJSON_GetArrayItem(json, 1));
        CHECK(rows[i].kept ? digits && !strcmp(digits, rows[i].text) : !digits);
        CHECK(next && !strcmp(next, "12345678901234567"));
        cJSON_Delete(json);
    }
}

static void hidden_paths(void)
{
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"/srv/user/models/x.gguf: is damaged", "x.gguf: is damaged"},
        {"/srv/a b/models/x y: is damaged", "x y: is damaged"},
        {"/srv/models/: is empty", "models/: is empty"},
        {"generate 1a: /srv/x: cannot open '/srv/y/z', or \"/srv/w\"",
         "generate 1a: x: cannot open 'z', or \"w\""},
        {"models/mlx/x: fp16/bf16 of OWNER/NAME", "models/mlx/x: fp16/bf16 of OWNER/NAME"},
        {"http://127.0.0.1:7860/a/b: no", "http://127.0.0.1:7860/a/b: no"},
        {"/api/jobs/1: none; GET /api/jobs lists them, /v1/models, too",
         "/api/jobs/1: none; GET /api/jobs lists them, /v1/models, too"},
        {"a / b, 1 /2", "a / b, 1 2"},
        {"cannot open //srv/models/x.gguf", "cannot open x.gguf"},
        {"//srv/x: is damaged", "x: is damaged"},
        {"a // b", "a // b"},
        {"see file:/srv/x/y, file:///srv/x/z or http://srv/x",
         "see file:y, file:z or http://srv/x"},
        {"from:/srv/x to:/api/jobs", "from:x to:/api/jobs"},
        {"/", "/"},
        {"", ""},
    };
    char shown[100];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zi_hide_paths(cases[i].text, shown, sizeof shown);
        CHECK_MSG(!strcmp(shown, cases[i].shown), "'%s', not '%s'", shown, cases[i].shown);
    }
    zi_hide_paths("/srv/models/a long name", shown, 5);
    CHECK_MSG(!strcmp(shown, "a lo"), "'%s'", shown);
}

static void hidden_folders(void)
{
    static const char *const folders[] = {"/srv/user/Application Support/out",
                                          NULL,
                                          "/v1/images/",
                                          "/",
                                          "/srv/a: b",
                                          "/srv/deep/a b",
                                          "/srv/deep",
                                          "relative/folder"};
    static const struct {
        const char *text, *shown;
    } cases[] = {
        {"image X: /srv/user/Application Support/out/X.png: no space", "image X: X.png: no space"},
        {"image X: //srv/user/Application Support/out/a b/X.png: no", "image X: a b/X.png: no"},
        {"in '/srv/user/Application Support/out' and file:///srv/user/Application Support/out/x",
         "in 'out' and file:x"},
        {"/srv/user/Application Support/out/a b: is empty", "a b: is empty"},
        {"a /srv/user/Application Support/output/x", "a Application Support/output/x"},
        {"/srv/a: b/x y: is empty, so is /srv/a: b", "x y: is empty, so is a: b"},
        {"cannot write /v1/images/x, /v1/images or /v1/models",
         "cannot write x, images or /v1/models"},
        {"a relative/folder/x", "a relative/folder/x"},
        {"in /srv/deep/a b/x, not in /srv/deep/c d/x", "in x, not in c d/x"},
    };
    char shown[200];
    CHECK(zi_hide_folders(folders, sizeof folders / sizeof *folders));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zi_hide_paths(cases[i].text, shown, sizeof shown);
        CHECK_MSG(!strcmp(shown, cases[i].shown), "'%s', not '%s'", shown, cases[i].shown);
    }
    CHECK(zi_hide_folders(NULL, 0));
    zi_hide_paths("a /v1/images/x", shown, sizeof shown);
    CHECK_MSG(!strcmp(shown, "a /v1/images/x"), "'%s'", shown);
}

/* A folder that is named by a link is hidden by its own path, too. */
static void hidden_links(void)
{
    char link[600], text[1300], shown[200];
    const char *folder = zi_test_path("a real folder");
    CHECK(mkdir(folder, 0777) == 0);
    char *real = realpath(folder, NULL);
    if (!CHECK(real)) return;
    snprintf(link, sizeof link, "%s's link", real);
    CHECK(symlink(real, link) == 0);
    const char *const folders[] = {link};
    CHECK(zi_hide_folders(folders, 1));
    snprintf(text, sizeof text, "in %s/x and %s/y", real, link);
    zi_hide_paths(text, shown, sizeof shown);
    CHECK_MSG(!strcmp(shown, "in x and y"), "'%s'", shown);
    CHECK(zi_hide_folders(NULL, 0));
    free(real);
}

static void ranges_of_addresses(void)
{
    static const struct {
        const char *range, *address;
        bool in;
    } cases[] = {
        {"10.0.0.1", "10.0.0.1", true},
        {"10.0.0.1", "10.0.0.2", false},
        {"10.0.0.0/8", "10.255.1.2", true},
        {"10.0.0.0/8", "11.0.0.1", false},
        {"10.0.0.0/9", "10.127.0.1", true},
        {"10.0.0.0/9", "10.128.0.1", false},
        {"10.0.0.2/31", "10.0.0.3", true},
        {"10.0.0.2/31", "10.0.0.4", false},
        {"0.0.0.0/0", "255.1.2.3", true},
        {"0.0.0.0/0", "::1", false},
        {"::/0", "10.0.0.1", true},
        {"::1", "::1", true},
        {"2001:db8::/33", "2001:db8:7fff::1", true},
        {"2001:db8::/33", "2001:db8:8000::1", false},
        {"10.0.0.1", "::ffff:10.0.0.1", true},
        {"10.0.0.1", "10.0.0.1:80", true},
        {"::1", "[::1]:80", true},
    };
    static const char *const wrong[] = {"",           "a",      "10.0.0.1/33", "10.0.0.1/",
                                        "::1/129",    "10.0.0", "10.0.0.1 ",   "10.0.0.1/-1",
                                        "10.0.0.1/a", "[::1]"};
    zi_ip_range range;
    zi_ip ip;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(zi_ip_range_parse(cases[i].range, &range) && zi_ip_parse(cases[i].address, &ip));
        CHECK_MSG(zi_ip_in_ranges(&ip, &range, 1) == cases[i].in, "%s in %s", cases[i].address,
                  cases[i].range);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK_MSG(!zi_ip_range_parse(wrong[i], &range), "'%s'", wrong[i]);
}

static void forwarded_clients(void)
{
    static const struct {
        const char *header, *client;
    } cases[] = {
        {"", "10.0.0.1"},
        {"192.0.2.7", "192.0.2.7"},
        {"6.6.6.6, 192.0.2.7", "192.0.2.7"},
        {"6.6.6.6,192.0.2.7 , 10.0.0.2", "192.0.2.7"},
        {"10.0.0.3, 10.0.0.2", "10.0.0.3"},
        {"192.0.2.7, unknown", "10.0.0.1"},
        {"unknown, 10.0.0.2", "10.0.0.2"},
        {"192.0.2.7,", "10.0.0.1"},
        {"[2001:db8::1]:5, 10.0.0.2", "2001:db8::1"},
    };
    zi_ip_range trusted;
    zi_ip peer;
    char text[ZI_IP_TEXT];
    CHECK(zi_ip_range_parse("10.0.0.0/24", &trusted) && zi_ip_parse("10.0.0.1", &peer));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        zi_ip client = zi_forwarded_client(cases[i].header, &peer, &trusted, 1);
        CHECK_MSG(!strcmp(zi_ip_print(&client, text), cases[i].client), "%s: %s, not %s",
                  cases[i].header, text, cases[i].client);
    }
}

/* Records the wrong key "key NUMBER" of an address. */
static void guess(zi_guesses *guesses, const zi_ip *from, int number)
{
    char key[20];
    snprintf(key, sizeof key, "key %d", number);
    zi_guesses_add_wrong(guesses, from, key);
}

/* An address waits longer for each wrong key, but not for ever. */
static void waits_for_guesses(void)
{
    static const unsigned waits[] = {1, 2, 4, 8, 16, 32, 60, 60, 60};
    enum { FREE = 10, COUNT = sizeof waits / sizeof *waits };
    zi_ip from;
    zi_error error;
    zi_guesses *guesses = zi_guesses_create(&error);
    if (!CHECK(guesses && zi_ip_parse("192.0.2.1", &from))) return;
    for (int i = 0; i < FREE; i++) guess(guesses, &from, i);
    CHECK(zi_guesses_wait(guesses, &from) == 0);
    for (int i = 0; i < COUNT; i++) {
        guess(guesses, &from, FREE + i);
        unsigned wait = zi_guesses_wait(guesses, &from);
        CHECK_MSG(wait == waits[i], "%u seconds after %d keys", wait, FREE + i + 1);
        guess(guesses, &from, i < 5 ? 0 : FREE + i - 15); /* the oldest that is remembered */
        CHECK(zi_guesses_wait(guesses, &from) == wait);
    }
    for (int i = 0; i < 40; i++) guess(guesses, &from, 100 + i);
    CHECK(zi_guesses_wait(guesses, &from) == 60);
    zi_guesses_free(guesses);
}

/* There is room for 1024 addresses: one more takes the place of that which was wrong longest
 * ago. */
static void addresses_of_guesses(void)
{
    enum { ADDRESSES = 1024, GUESSES = 17 };
    zi_ip from[ADDRESSES + 1];
    zi_error error;
    zi_guesses *guesses = zi_guesses_create(&error);
    if (!CHECK(guesses)) return;
    for (int i = 0; i <= ADDRESSES; i++) {
        char text[ZI_IP_TEXT];
        snprintf(text, sizeof text, "10.0.%d.%d", i / 256, i % 256);
        CHECK(zi_ip_parse(text, &from[i]));
    }
    for (int i = 0; i < ADDRESSES; i++)
        for (int k = 0; k < (i < 2 ? GUESSES : 1); k++) guess(guesses, &from[i], k);
    guess(guesses, &from[0], GUESSES);
    CHECK(zi_guesses_wait(guesses, &from[0]) && zi_guesses_wait(guesses, &from[1]));
    guess(guesses, &from[ADDRESSES], 0);
    CHECK(zi_guesses_wait(guesses, &from[0]) && !zi_guesses_wait(guesses, &from[1]));
    zi_guesses_free(guesses);
}

int main(void)
{
    RUN(digits_of_numbers);
    RUN(digits_that_are_not_json);
    RUN(names_of_this_machine);
    RUN(escaped_lines);
    RUN(no_jobs_after_the_end);
    RUN(statuses_of_files);
    RUN(hidden_paths);
    RUN(hidden_folders);
    RUN(hidden_links);
    RUN(ranges_of_addresses);
    RUN(forwarded_clients);
    RUN(waits_for_guesses);
    RUN(addresses_of_guesses);
    return zi_test_result();
}
