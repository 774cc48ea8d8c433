/* Where models are, as the environment says it in huggingface_hub's way. */
#include "cli.h"

#include "base/file.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_PATH = 4096, MAX_TOKEN = 4096 };

/* The first variable of a list that is set and not empty. */
static const char *first_set(const char *const names[])
{
    for (; *names; names++) {
        const char *value = getenv(*names);
        if (value && *value) return value;
    }
    return NULL;
}

static bool is_true(const char *value)
{
    static const char *const words[] = {"1", "on", "yes", "true"};
    for (size_t i = 0; value && i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(value, words[i])) return true;
    return false;
}

/* A folder or a file in it, ~ and all, in new memory; NULL when it is too long. */
static char *expand(const char *path, const char *end)
{
    const char *home = getenv("HOME");
    bool tilde = path[0] == '~' && (path[1] == '/' || !path[1]);
    zi_text text;
    zi_text_init(&text, MAX_PATH);
    zi_text_printf(&text, "%s%s%s", tilde && home ? home : "", tilde && home ? path + 1 : path,
                   end);
    return zi_text_take(&text);
}

static char *home_of_hub(const char *end)
{
    const char *home = getenv("HF_HOME"), *caches = getenv("XDG_CACHE_HOME");
    char within[128];
    if (home && *home) return expand(home, end);
    snprintf(within, sizeof within, "/huggingface%s", end);
    return expand(caches && *caches ? caches : "~/.cache", within);
}

static char *find_cache(void)
{
    static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", NULL};
    const char *cache = first_set(names);
    return cache ? expand(cache, "") : home_of_hub("/hub");
}

/* The token of the environment, or of the file where huggingface_hub keeps it; NULL: none. */
static char *find_token(void)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", NULL};
    const char *token = first_set(names), *file = getenv("HF_TOKEN_PATH");
    char *text = NULL, *path = NULL;
    size_t size;
    if (token) {
        text = strdup(token);
    } else {
        path = file && *file ? expand(file, "") : home_of_hub("/token");
        if (path && zi_is_file(path) && !zi_file_read(path, MAX_TOKEN, &text, &size, NULL))
            text = NULL;
    }
    free(path);
    if (text) text[strcspn(text, "\r\n")] = 0;
    if (text && *text) return text;
    free(text);
    return NULL;
}

static const char *find_proxy(const char *endpoint)
{
    static const char *const secure[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                                         NULL};
    static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
    return first_set(endpoint && !strncmp(endpoint, "http:", 5) ? plain : secure);
}

bool zi_place_read(const char *folder, zi_place *out, zi_error *error)
{
    static const char *const certificates[] = {"REQUESTS_CA_BUNDLE", "SSL_CERT_FILE",
                                               "CURL_CA_BUNDLE", NULL};
    static const char *const offline[] = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", NULL};
    static const char *const endpoints[] = {"HF_ENDPOINT", NULL};
    const char *timeout = getenv("HF_HUB_DOWNLOAD_TIMEOUT");
    int seconds = timeout ? atoi(timeout) : 0;
    char *cache = find_cache();
    if (!cache)
        return zi_error_set_in(error, ZI_ERROR_UNSUPPORTED, NULL, "cache",
                               "the path of the hub's cache is too long; see HF_HOME");
    *out = (zi_place){.cache = cache, .token = find_token()};
    zi_hub *hub = &out->store.hub;
    out->store.folder = folder ? folder : "models";
    hub->endpoint = first_set(endpoints);
    hub->cache = cache;
    hub->token = out->token;
    hub->ca_file = first_set(certificates);
    hub->proxy = find_proxy(hub->endpoint);
    hub->offline = is_true(first_set(offline));
    hub->timeout = seconds > 0 ? seconds : 0;
    return true;
}

void zi_place_free(zi_place *place)
{
    free(place->cache);
    free(place->token);
    *place = (zi_place){0};
}
