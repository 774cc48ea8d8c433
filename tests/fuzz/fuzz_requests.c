/* HTTP requests. The first byte of an input is the number of a route. The bytes up to the first
 * line end are the path parameter (the braces of the path) and the value of every query parameter.
 * The rest is the body. The server runs unchanged from libmicrohttpd's callback to the reply, with
 * four replacements: libmicrohttpd is implemented here, inspection of models returns a fixed
 * result, worker threads take no jobs, and no uploaded file becomes a model. Before the first
 * input, every route is served a few requests, so that each run reaches all of them. */
#include "fuzz.h"
#include "base/text.h"
#include "inspect/inspection.h"
#include "server/http.h"
#include "server/job_json.h"

#include <ftw.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_ROUTES = 100, MAX_STREAM = 1 << 20 };

/* ---- a replacement of libmicrohttpd ---- */

struct MHD_Response {
    void *data;
    size_t size;
    bool frees, json;
    MHD_ContentReaderCallback read;
    MHD_ContentReaderFreeCallback done;
    void *user;
};

static struct {
    MHD_AccessHandlerCallback handle;
    MHD_RequestCompletedCallback completed;
    void *user;
} server;

/* The request that is served. */
static struct {
    const char *parameter; /* NULL: there is none */
    char length[24];
    bool answered;
} request;

struct MHD_Daemon *MHD_start_daemon(unsigned flags, uint16_t port, MHD_AcceptPolicyCallback policy,
                                    void *policy_user, MHD_AccessHandlerCallback handler,
                                    void *user, ...)
{
    (void)flags, (void)port, (void)policy, (void)policy_user;
    va_list args;
    server.handle = handler;
    server.user = user;
    va_start(args, user);
    for (int option; (option = va_arg(args, int)) != MHD_OPTION_END;) {
        bool two = option == MHD_OPTION_EXTERNAL_LOGGER || option == MHD_OPTION_NOTIFY_COMPLETED ||
                   option == MHD_OPTION_NOTIFY_CONNECTION;
        if (option == MHD_OPTION_NOTIFY_COMPLETED)
            server.completed = va_arg(args, MHD_RequestCompletedCallback);
        else if (two || option == MHD_OPTION_CONNECTION_MEMORY_LIMIT)
            va_arg(args, void *); /* as large as a size_t */
        else
            va_arg(args, int);
        if (two) va_arg(args, void *);
    }
    va_end(args);
    return (struct MHD_Daemon *)&server;
}

void MHD_stop_daemon(struct MHD_Daemon *daemon)
{
    (void)daemon;
}

const char *MHD_lookup_connection_value(struct MHD_Connection *connection, enum MHD_ValueKind kind,
                                        const char *key)
{
    (void)connection;
    if (kind == MHD_GET_ARGUMENT_KIND) return request.parameter;
    if (kind == MHD_COOKIE_KIND) return NULL;
    return !strcmp(key, "Host")             ? "127.0.0.1"
           : !strcmp(key, "Content-Type")   ? "application/json"
           : !strcmp(key, "Content-Length") ? request.length
           : !strcmp(key, "Range")          ? request.parameter
                                            : NULL;
}

const union MHD_ConnectionInfo *MHD_get_connection_info(struct MHD_Connection *connection,
                                                        enum MHD_ConnectionInfoType type, ...)
{
    static struct sockaddr_in local = {.sin_family = AF_INET};
    static union MHD_ConnectionInfo info;
    (void)connection;
    local.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    info.client_addr = (struct sockaddr *)&local;
    return type == MHD_CONNECTION_INFO_CLIENT_ADDRESS ? &info : NULL;
}

/* The headers of a proxy. */
int MHD_get_connection_values(struct MHD_Connection *connection, enum MHD_ValueKind kind,
                              MHD_KeyValueIterator iterator, void *user)
{
    static const char *const names[] = {"X-Forwarded-For", "x-forwarded-host", "X-Forwarded-Host"};
    (void)connection;
    for (int i = 0; i < 3; i++) iterator(user, kind, names[i], request.parameter);
    return 3;
}

void MHD_suspend_connection(struct MHD_Connection *connection)
{
    (void)connection;
}

void MHD_resume_connection(struct MHD_Connection *connection)
{
    (void)connection;
}

static struct MHD_Response *new_response(void)
{
    struct MHD_Response *response = calloc(1, sizeof *response);
    FUZZ_EXPECT(response);
    return response;
}

struct MHD_Response *MHD_create_response_from_buffer(size_t size, void *data,
                                                     enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = new_response();
    bool copies = mode == MHD_RESPMEM_MUST_COPY;
    response->data = copies ? malloc(size + 1) : data;
    FUZZ_EXPECT(!copies || response->data);
    if (copies && size) memcpy(response->data, data, size);
    response->size = size;
    response->frees = copies || mode == MHD_RESPMEM_MUST_FREE;
    return response;
}

struct MHD_Response *MHD_create_response_from_callback(uint64_t size, size_t block,
                                                       MHD_ContentReaderCallback read, void *user,
                                                       MHD_ContentReaderFreeCallback done)
{
    (void)size, (void)block;
    struct MHD_Response *response = new_response();
    response->read = read;
    response->done = done;
    response->user = user;
    return response;
}

struct MHD_Response *MHD_create_response_from_fd(size_t size, int fd)
{
    (void)size;
    close(fd);
    return new_response();
}

struct MHD_Response *MHD_create_response_from_fd_at_offset64(uint64_t size, int fd, uint64_t offset)
{
    struct stat st;
    FUZZ_EXPECT(fstat(fd, &st) == 0 && size && offset + size <= (uint64_t)st.st_size);
    close(fd);
    return new_response();
}

enum MHD_Result MHD_add_response_header(struct MHD_Response *response, const char *header,
                                        const char *content)
{
    FUZZ_EXPECT(header && content && !strpbrk(header, "\r\n") && !strpbrk(content, "\r\n"));
    if (!strcmp(header, "Content-Type")) response->json = !strcmp(content, "application/json");
    return MHD_YES;
}

const char *MHD_get_response_header(struct MHD_Response *response, const char *key)
{
    (void)response, (void)key;
    return NULL;
}

/* Reads a stream until it waits for news. */
static void read_stream(struct MHD_Response *response)
{
    char *block = malloc(1024);
    ssize_t size = 1;
    FUZZ_EXPECT(block);
    for (uint64_t position = 0; size > 0 && position < MAX_STREAM; position += (uint64_t)size) {
        size = response->read(response->user, position, block, 1024);
        FUZZ_EXPECT(size <= 1024 && size != MHD_CONTENT_READER_END_WITH_ERROR);
        if (size <= 0) break;
    }
    free(block);
}

enum MHD_Result MHD_queue_response(struct MHD_Connection *connection, unsigned status,
                                   struct MHD_Response *response)
{
    (void)connection;
    FUZZ_EXPECT(!request.answered);
    FUZZ_EXPECT(status >= 200 && status < 500);
    request.answered = true;
    if (response->json) {
        cJSON *json = cJSON_ParseWithLength(response->data, response->size);
        FUZZ_EXPECT(json);
        FUZZ_EXPECT(zi_utf8_valid(response->data, response->size));
        cJSON_Delete(json);
    }
    if (response->read) read_stream(response);
    return MHD_YES;
}

void MHD_destroy_response(struct MHD_Response *response)
{
    if (response->done) response->done(response->user);
    if (response->frees) free(response->data);
    free(response);
}

/* ---- the models and the worker ---- */

bool __wrap_zi_inspect(const char *path, zi_inspection **out, zi_error *error);
bool __wrap_zi_inspect(const char *path, zi_inspection **out, zi_error *error)
{
    *out = zi_inspection_create(path);
    if (!*out) return zi_error_no_memory(error, 1);
    (*out)->native_size = 128;
    zi_inspection_update_health(*out);
    return true;
}

zi_job *__wrap_zi_jobs_take_next(zi_jobs *jobs, zi_job_queue queue);
zi_job *__wrap_zi_jobs_take_next(zi_jobs *jobs, zi_job_queue queue)
{
    (void)jobs, (void)queue;
    while (true) pause();
}

/* Models that are installed would fill the disk. */
zi_upload *__wrap_zi_upload_submit(zi_scanner *scanner, char *staged, char *path, char *name,
                                   zi_http_error *http_error);
zi_upload *__wrap_zi_upload_submit(zi_scanner *scanner, char *staged, char *path, char *name,
                                   zi_http_error *http_error)
{
    (void)scanner;
    FUZZ_EXPECT(unlink(staged) == 0);
    free(staged);
    free(path);
    free(name);
    zi_http_error_set(http_error, 400, NULL, "no model");
    return NULL;
}

/* ---- running ---- */

static const zi_route *routes[MAX_ROUTES];
static size_t route_count;

/* Adds the routes of a table that take uploads, or those that do not. */
static void add_routes(const zi_route *table, bool uploads)
{
    for (; table->method; table++)
        if (uploads == ((table->flags & ZI_ROUTE_UPLOAD) != 0)) {
            FUZZ_EXPECT(route_count < MAX_ROUTES);
            routes[route_count++] = table;
        }
}

static char output[] = "/tmp/fuzz-requests.XXXXXX";

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st, (void)kind, (void)at;
    return remove(path);
}

static void remove_output(void)
{
    nftw(output, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void start(void)
{
    static char models[80];
    zi_error error = {0};
    zi_server *started;
    FUZZ_EXPECT(mkdtemp(output) && atexit(remove_output) == 0);
    snprintf(models, sizeof models, "%s/models", output);
    static const char *const proxies[] = {"127.0.0.1", NULL}, *const hosts[] = {"*", NULL};
    const zi_server_options options = {
        .output = output,
        .trusted_proxies = proxies,
        .allow_hosts = hosts,
        .insecure = true,
        .registry = {.folder = models, .demo = output, .names_only = true}};
    FUZZ_EXPECT(fuzz_ok(zi_server_start(&options, &started, &error), &error));
    FUZZ_EXPECT(server.handle && server.completed);
    const zi_route *const tables[] = {zi_jobs_routes,   zi_images_routes, zi_models_routes,
                                      zi_system_routes, zi_openai_routes, zi_a1111_routes};
    /* Uploads come last: inputs have numbers of routes. */
    for (int uploads = 0; uploads < 2; uploads++)
        for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) add_routes(tables[i], uploads);
}

/* The route's path with the parameter in its braces. */
static char *make_url(const zi_route *route, const char *parameter)
{
    zi_text url;
    zi_text_init(&url, 1 << 17);
    zi_text_puts(&url, "");
    for (const char *c = route->path; *c; c++) {
        if (*c != '{') {
            zi_text_append(&url, c, 1);
            continue;
        }
        zi_text_puts(&url, parameter);
        c = strchr(c, '}');
    }
    char *text = zi_text_take(&url);
    FUZZ_EXPECT(text);
    return text;
}

static void serve(const zi_route *route, const char *parameter, const char *body, size_t size)
{
    void *state = NULL;
    size_t none = 0, left = size;
    char *url = make_url(route, parameter);
    request.parameter = *parameter ? parameter : NULL;
    request.answered = false;
    snprintf(request.length, sizeof request.length, "%zu", size);
    enum MHD_Result more =
        server.handle(server.user, NULL, url, route->method, "HTTP/1.1", NULL, &none, &state);
    if (more && !request.answered && size)
        more =
            server.handle(server.user, NULL, url, route->method, "HTTP/1.1", body, &left, &state);
    if (more && !request.answered)
        more =
            server.handle(server.user, NULL, url, route->method, "HTTP/1.1", NULL, &none, &state);
    /* What is not answered waits for a job: the client goes away. */
    server.completed(server.user, NULL, &state,
                     request.answered ? MHD_REQUEST_TERMINATED_COMPLETED_OK
                                      : MHD_REQUEST_TERMINATED_CLIENT_ABORT);
    free(url);
}

/* Nothing stays in the queue. */
static void cancel_all(zi_server *s)
{
    uint64_t id;
    if (!zi_jobs_count(s->jobs).queued) return;
    cJSON *raw = zi_jobs_list_json(s->jobs);
    char *text = cJSON_PrintUnformatted(raw); /* what has ended is text in it */
    cJSON *list = cJSON_Parse(text);
    const cJSON *job;
    cJSON_ArrayForEach(job, cJSON_GetObjectItem(list, "jobs"))
    {
        FUZZ_EXPECT(zi_job_id_parse(cJSON_GetObjectItem(job, "id")->valuestring, &id));
        zi_jobs_cancel(s->jobs, id);
    }
    cJSON_Delete(list);
    cJSON_Delete(raw);
    free(text);
}

/* Serves every route a few requests that are valid for some routes. */
static void serve_every_route(void)
{
    static const char *const parameters[] = {
        "",    "demo", "20260131-235959-0123abcd", "1a22d4f559901", "comfyui/model.safetensors",
        "true"};
    static const char *const bodies[] = {"", "{}", "{\"prompt\":\"a red circle\"}"};
    for (size_t i = 0; i < route_count; i++)
        for (size_t p = 0; p < sizeof parameters / sizeof *parameters; p++)
            for (size_t b = 0; b < sizeof bodies / sizeof *bodies; b++) {
                serve(routes[i], parameters[p], bodies[b], strlen(bodies[b]));
                cancel_all(server.user);
            }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool first = !server.handle;
    if (first) start();
    fuzz_begin();
    if (first) serve_every_route();
    if (!size) return 0;
    const zi_route *route = routes[data[0] % route_count];
    const char *line = (const char *)data + 1, *end = memchr(line, '\n', size - 1);
    size_t length = end ? (size_t)(end - line) : 0, behind = end ? length + 1 : 0;
    char *parameter = strndup(line, length);
    char *body = malloc(size);
    FUZZ_EXPECT(parameter && body);
    memcpy(body, line + behind, size - 1 - behind);
    serve(route, parameter, body, size - 1 - behind);
    cancel_all(server.user);
    free(parameter);
    free(body);
    return 0;
}
