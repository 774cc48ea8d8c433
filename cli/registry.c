/* The user's model registry: environment variables as huggingface_hub reads them, and the demo
 * model that comes with the program. */
#include "cli.h"

#include "base/file.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

/* MAX_PATH: of the hub's cache, in bytes. MAX_TEXT: of any text from the environment. */
enum { MAX_PATH = 4096, MAX_TOKEN = 4096, MAX_TEXT = 1 << 24 };

static const char default_folder[] = "models";

/* The value of the first environment variable of names, which end with NULL, that is set and not
 * empty; borrowed. NULL: none. */
static const char *first_env(const char *const names[])
{
    for (; *names; names++) {
        const char *value = getenv(*names);
        if (value && *value) return value;
    }
    return NULL;
}

/* Whether a variable's value means true, as huggingface_hub reads it: 1, on, yes or true, in upper
 * or lower case. NULL: false. */
static bool is_true(const char *value)
{
    static const char *const words[] = {"1", "on", "yes", "true"};
    for (size_t i = 0; value && i < sizeof words / sizeof *words; i++)
        if (!strcasecmp(value, words[i])) return true;
    return false;
}

char *zi_expand_home(const char *path, const char *end)
{
    const char *home = getenv("HOME");
    bool tilde = path[0] == '~' && (path[1] == '/' || !path[1]);
    zi_text text;
    zi_text_init(&text, MAX_TEXT);
    zi_text_printf(&text, "%s%s%s", tilde && home ? home : "", tilde && home ? path + 1 : path,
                   end);
    return zi_text_take(&text);
}

/* HF_HOME, or by default the folder huggingface in XDG_CACHE_HOME or ~/.cache, with `end` ("/hub")
 * appended; in new memory. NULL: out of memory. */
static char *hub_home_path(const char *end)
{
    const char *home = getenv("HF_HOME"), *caches = getenv("XDG_CACHE_HOME");
    char within[128];
    if (home && *home) return zi_expand_home(home, end);
    snprintf(within, sizeof within, "/huggingface%s", end);
    return zi_expand_home(caches && *caches ? caches : "~/.cache", within);
}

/* The folder of the hub's cache, from the environment or the default one, in new memory. NULL: out
 * of memory. */
static char *hub_cache_path(void)
{
    static const char *const names[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", NULL};
    const char *cache = first_env(names);
    return cache ? zi_expand_home(cache, "") : hub_home_path("/hub");
}

/* The hub's access token in new memory, from HF_TOKEN, HUGGING_FACE_HUB_TOKEN or else the first
 * line of huggingface_hub's file. NULL: none, the file cannot be read, or out of memory. */
static char *read_token(void)
{
    static const char *const names[] = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", NULL};
    const char *token = first_env(names), *file = getenv("HF_TOKEN_PATH");
    char *text = NULL, *path = NULL;
    size_t size;
    if (token) {
        text = strdup(token);
    } else {
        path = file && *file ? zi_expand_home(file, "") : hub_home_path("/token");
        if (path && zi_is_file(path) && !zi_file_read(path, MAX_TOKEN, &text, &size, NULL))
            text = NULL;
    }
    free(path);
    if (text) text[strcspn(text, "\r\n")] = 0;
    if (text && *text) return text;
    free(text);
    return NULL;
}

/* The proxy that the environment sets for the endpoint's scheme (NULL: https), borrowed; NULL:
 * none. libcurl itself reads NO_PROXY, the hosts that are asked directly. */
static const char *proxy_url(const char *endpoint)
{
    static const char *const secure[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                                         NULL};
    static const char *const plain[] = {"http_proxy", "all_proxy", "ALL_PROXY", NULL};
    return first_env(endpoint && !strncmp(endpoint, "http:", 5) ? plain : secure);
}

/* Fills m->options.hub from the environment, and m->hub_cache and m->token, which it borrows.
 * False: *error is set, and the caller frees what *m has. */
static bool read_hub_environment(zi_user_registry *m, zi_error *error)
{
    static const char *const certificates[] = {"REQUESTS_CA_BUNDLE", "SSL_CERT_FILE",
                                               "CURL_CA_BUNDLE", NULL};
    static const char *const offline[] = {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", NULL};
    static const char *const endpoints[] = {"HF_ENDPOINT", NULL};
    const char *timeout = getenv("HF_HUB_DOWNLOAD_TIMEOUT");
    int seconds = timeout ? atoi(timeout) : 0;
    zi_hub *hub = &m->options.hub;
    m->hub_cache = hub_cache_path();
    m->token = read_token();
    if (!m->hub_cache) return zi_error_no_memory(error, MAX_PATH);
    if (strlen(m->hub_cache) > MAX_PATH)
        return zi_error_set_in(
            error, ZI_ERROR_UNSUPPORTED, NULL, "cache",
            "the path of the cache of Hugging Face has %zu bytes, and at most %d are possible; set "
            "the environment variable HF_HUB_CACHE to a shorter path",
            strlen(m->hub_cache), MAX_PATH);
    hub->endpoint = first_env(endpoints);
    hub->cache = m->hub_cache;
    hub->token = m->token;
    hub->ca_file = first_env(certificates);
    hub->proxy = proxy_url(hub->endpoint);
    hub->offline = is_true(first_env(offline));
    hub->timeout = seconds > 0 ? seconds : 0;
    return true;
}

/* The path of something in the user's folder of caches, in new memory; end: from "/" on. NULL:
 * neither XDG_CACHE_HOME nor HOME is set, or out of memory. */
static char *cached_path(const char *end)
{
    const char *caches = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (caches && *caches) return zi_expand_home(caches, end);
    return home && *home ? zi_expand_home("~/.cache", end) : NULL;
}

/* ---- the demo model ---- */

/* The folder of the running program, with symbolic links resolved, in new memory; NULL: unknown, or
 * out of memory. */
static char *program_folder(void)
{
    char *path = NULL;
#ifdef __APPLE__
    char name[4096];
    uint32_t size = sizeof name;
    if (_NSGetExecutablePath(name, &size) == 0) path = realpath(name, NULL);
#else
    path = realpath("/proc/self/exe", NULL);
#endif
    char *slash = path ? strrchr(path, '/') : NULL;
    if (slash) *slash = 0;
    return path;
}

/* dir/sub/demo-model in new memory if it is a folder; NULL: it is not, or out of memory. */
static char *demo_model_in(const char *dir, const char *sub)
{
    char *share = zi_path_join(dir, sub);
    char *path = share ? zi_path_join(share, "demo-model") : NULL;
    free(share);
    if (path && !zi_is_dir(path)) {
        free(path);
        path = NULL;
    }
    return path;
}

/* The demo model's folder in new memory: in the build folder, else in a relocated installation,
 * else where it was installed. NULL: none has it, or out of memory. */
static char *find_demo_model(void)
{
    char *folder = program_folder();
    char *found = folder ? demo_model_in(folder, ZI_SHARE_RELATIVE) : NULL;
    if (!found && folder) found = demo_model_in(folder, ZI_SHARE_RELATIVE "/zimage");
    if (!found) found = demo_model_in(ZI_SHARE_INSTALLED, "");
    free(folder);
    return found;
}

/* ---- the registry ---- */

/* Fills *out, but for the registry, from the environment, and finds the demo model, which may be
 * absent (NULL). folder: the models folder, borrowed; NULL: ./models. False: *error is set and *out
 * is {0}; else zi_user_registry_close frees it. */
static bool read_environment(const char *folder, zi_user_registry *out, zi_error *error)
{
    *out = (zi_user_registry){.options.folder = folder ? folder : default_folder};
    if (!read_hub_environment(out, error)) {
        zi_user_registry_close(out);
        return false;
    }
    out->options.demo = out->demo = find_demo_model();
    out->options.cache_file = out->cache_file = cached_path("/zimage/inspections.json");
    out->device_cache = cached_path("/zimage/gpu");
    return true;
}

bool zi_user_registry_open(const char *folder, const zi_model_options *parts, zi_user_registry *out,
                           zi_error *error)
{
    if (!read_environment(folder, out, error)) return false;
    out->options.parts_given = parts && (parts->vae || parts->text_encoder || parts->reference);
    if (zi_registry_open(&out->options, &out->registry, error)) return true;
    zi_user_registry_close(out);
    return false;
}

void zi_user_registry_close(zi_user_registry *models)
{
    zi_registry_close(models->registry);
    free(models->hub_cache);
    free(models->token);
    free(models->demo);
    free(models->cache_file);
    free(models->device_cache);
    *models = (zi_user_registry){0};
}

void zi_print_remark(void *user, const char *text)
{
    (void)user;
    if (!zi_json_messages() && zi_stderr_wants_bar()) zi_clear_status();
    zi_print_note(false, "%s", text);
}

void zi_prepare_engine(const zi_user_registry *models, bool quiet, zi_engine_options *engine)
{
    engine->device_cache = models->device_cache;
    engine->remark = quiet ? NULL : zi_print_remark;
}

zi_option zi_models_option(const char **folder)
{
    return (zi_option){
        "models", 0, ZI_OPTION_TEXT, folder, 0, 0, "DIR", "the models folder (./models)", NULL};
}

void zi_add_download_hint(const char *name, zi_error *error)
{
    if (error->code == ZI_ERROR_NOT_FOUND && !strcmp(error->subject, "repo"))
        zi_error_set_in(error, error->code, NULL, "repo",
                        "%s; if it is a model of Hugging Face, `zimage download %s` gets it",
                        error->text, name);
}

bool zi_find_model(const zi_user_registry *models, const char *name, zi_resolved_model *out,
                   zi_error *error)
{
    if (name && !*name)
        return zi_error_set(error, ZI_ERROR_INVALID_ARGUMENT, "model", "is empty; name a model");
    if (zi_registry_resolve(models->registry, name, out, error)) return true;
    zi_add_download_hint(name, error);
    return false;
}

/* The part of a model's name behind its folders. */
static const char *base_name(const char *name)
{
    const char *slash = strrchr(name, '/');
    return slash ? slash + 1 : name;
}

/* The length of a model's name without the extension of a tensor file. */
static size_t stem_length(const char *name)
{
    const char *extension = zi_weights_extension(name);
    return extension ? (size_t)(extension - name) : strlen(name);
}

/* Whether a model has the name that an image's metadata has: stem: apart from extensions. */
static bool is_model_of_image(const zi_registry_entry *entry, const char *name, bool stem)
{
    const char *base = base_name(entry->name), *wanted = base_name(name);
    if (entry->section == ZI_SECTION_PROMPT_ENHANCER || entry->kind != ZI_MODEL_IMAGE) return false;
    if (!stem) return !strcmp(base, wanted);
    size_t length = stem_length(base);
    return length == stem_length(wanted) && !memcmp(base, wanted, length);
}

char *zi_find_model_of_image(const zi_user_registry *models, const char *name)
{
    zi_registry_list list;
    zi_resolved_model found = {0};
    char *result = NULL;
    if (zi_registry_resolve(models->registry, name, &found, NULL)) {
        result = strdup(name);
    } else if (zi_registry_read(models->registry, &list, NULL)) {
        for (int stem = 0; stem < 2; stem++)
            for (size_t i = 0; i < list.count && !result; i++)
                if (is_model_of_image(&list.entries[i], name, stem))
                    result = strdup(list.entries[i].name);
        zi_registry_list_free(&list);
        if (!result && !strcmp(name, "demo-model") && models->options.demo)
            result = strdup(zi_section_name(ZI_SECTION_DEMO));
    }
    zi_resolved_model_free(&found);
    return result;
}

/* zi_registry_model_hash's callback: false after a signal. */
static bool not_interrupted(void *user)
{
    (void)user;
    return !zi_interrupted();
}

void zi_find_model_hash(const zi_user_registry *models, const char *path, bool compute,
                        char hash[ZI_MODEL_HASH])
{
    if (!zi_registry_model_hash(models->registry, path, compute, not_interrupted, NULL, hash, NULL))
        *hash = 0;
}

bool zi_find_llm(const zi_user_registry *models, const char *name, const char *model, char **path,
                 zi_error *error)
{
    char *found = NULL;
    bool ok = zi_registry_resolve_llm(models->registry, name, &found, error);
    if (!ok && name && error->code == ZI_ERROR_NOT_FOUND)
        zi_error_set_in(error, error->code, name, "llm",
                        "no such file or folder, and no language model of that name in "
                        "%s/prompt_enhancer (`zimage models` lists them)",
                        models->options.folder);
    if (ok && !found) {
        found = strdup(model);
        ok = found || zi_error_no_memory(error, strlen(model));
    }
    if (ok) *path = found;
    return ok;
}

/* ---- notes on models ---- */

char *zi_models_folder_path(const zi_user_registry *models)
{
    const char *folder = models->options.folder;
    char *path = realpath(folder, NULL), here[MAX_PATH];
    if (path) return path;
    if (folder[0] == '/') return strdup(folder);
    return getcwd(here, sizeof here) ? zi_path_join(here, folder) : NULL;
}

/* " --models DIR", as the user gave it, in new memory; "" for ./models. NULL: out of memory. */
static char *models_words(const zi_user_registry *models)
{
    const char *folder = models->options.folder;
    zi_text text;
    zi_text_init(&text, MAX_TEXT);
    if (strcmp(folder, default_folder) != 0) zi_text_printf(&text, " --models %s", folder);
    return zi_text_take(&text);
}

void zi_print_misplaced_models(const zi_user_registry *models, bool quiet)
{
    zi_migration migration;
    if (quiet || !zi_registry_migrate(models->registry, true, &migration, NULL)) return;
    char *words = models_words(models);
    for (size_t i = 0; words && i < migration.count; i++)
        if (migration.models[i].to && !migration.models[i].problem)
            zi_print_note(
                false,
                "%s is not found by its name, since it is not in one of the subfolders of the "
                "models folder, such as mlx or comfyui; `zimage models migrate%s` moves it there",
                migration.models[i].from, words);
    free(words);
    zi_migration_free(&migration);
}

/* Prints a note that the demo model is used, why, and what to do. */
static void print_demo_note(const zi_user_registry *models, const char *words)
{
    char *path = zi_models_folder_path(models);
    if (path)
        zi_print_note(false,
                      "using the small demo model, since no complete model is in %s; `zimage "
                      "models%s` tells how to get Z-Image-Turbo",
                      path, words);
    free(path);
}

void zi_print_model_notes(const zi_user_registry *models, const zi_resolved_model *found,
                          bool quiet)
{
    bool searched = found->as == ZI_RESOLVED_DEMO || found->as == ZI_RESOLVED_DOWNLOADED;
    char *words = quiet ? NULL : models_words(models);
    if (!words) return;
    if (found->as == ZI_RESOLVED_DEMO)
        print_demo_note(models, words);
    else if (found->as == ZI_RESOLVED_ONLY)
        zi_print_note(false, "using %s, the only complete model in the models folder", found->path);
    else
        zi_print_note(false, "using %s", found->path);
    if (found->passed_over)
        zi_print_note(
            false,
            "%s is not used: parts of it are missing (`zimage inspect%s %s` lists them); to "
            "use it, name it with -m, and a model that has these parts with --reference",
            found->passed_over, words, found->passed_over);
    if (searched) zi_print_misplaced_models(models, false);
    free(words);
}

char *zi_download_hint(const zi_registry *registry)
{
    zi_precision precision;
    zi_text text;
    char *takes = zi_registry_hint(registry, &precision);
    if (!takes) return NULL;
    zi_text_init(&text, 2000);
    zi_text_printf(&text, "`zimage download --to mlx --precision %s` gets Z-Image-Turbo: %s",
                   zi_precision_name(precision), takes);
    free(takes);
    return zi_text_take(&text);
}
