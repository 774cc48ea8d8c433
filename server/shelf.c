#include "server/shelf.h"
#include "server/log.h"

#include "base/file.h"
#include "base/draft.h"

#include <dirent.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const folders[] = {"mlx", "pytorch", "comfyui"};
enum { FOLDERS = sizeof folders / sizeof *folders, FRESH_SECONDS = 10, LONGEST_NAME = 200 };

static const char enhancer[] = "prompt_enhancer", demo[] = "demo", named[] = "named";

/* What was found out about a model. */
typedef struct known {
    char *name;
    cJSON *inspected; /* NULL: it cannot be told, because of problem */
    char *problem;
    double when;
    struct known *next;
} known;

struct zi_shelf {
    const zi_server_options *options;
    char *root;  /* the models folder, links resolved; NULL: there is none */
    char *named; /* the name of the model that the server was started with, or NULL */
    pthread_mutex_t mutex;
    char *chosen; /* the name of the model that clients made the default, or NULL */
    known *known;
};

/* ---- paths ---- */

/* Nothing that leads elsewhere, hides, cannot be shown, or is still being written. */
static bool is_plain(const char *name)
{
    size_t length = strlen(name);
    if (!length || length > LONGEST_NAME || name[0] == '.' || strchr(name, '/') ||
        zi_draft_named(name))
        return false;
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '\\') return false;
    return zi_utf8_valid(name, length);
}

/* The real path of models/folder/file if it lies within the models folder, or NULL. */
static char *inside(const zi_shelf *shelf, const char *folder, const char *file)
{
    char path[4096];
    if (!shelf->root) return NULL;
    int size = snprintf(path, sizeof path, "%s/%s%s%s", shelf->root, folder, file ? "/" : "",
                        file ? file : "");
    if (size < 0 || (size_t)size >= sizeof path) return NULL;
    char *real = realpath(path, NULL);
    size_t root = strlen(shelf->root);
    if (real && (strncmp(real, shelf->root, root) != 0 || real[root] != '/')) {
        free(real);
        real = NULL;
    }
    return real;
}

static bool is_model(const char *path)
{
    const char *dot = strrchr(path, '.');
    if (zi_is_dir(path)) return true;
    return dot && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".gguf")) && zi_is_file(path);
}

/* The language model: the folder for it, or the only one in that. NULL: there is none. */
static char *inside_enhancer(const zi_shelf *shelf)
{
    char *folder = inside(shelf, enhancer, NULL), *only = NULL;
    char *config = folder ? zi_path_join(folder, "config.json") : NULL;
    DIR *dir = config && !zi_is_file(config) ? opendir(folder) : NULL;
    int count = 0;
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char *model = is_plain(entry->d_name) ? inside(shelf, enhancer, entry->d_name) : NULL;
        if (model && is_model(model) && !count++)
            only = model;
        else
            free(model);
    }
    if (dir) closedir(dir);
    free(config);
    char *other = count == 1 ? folder : only;
    free(other);
    return count == 1 ? only : folder;
}

/* The folder that name ("mlx/NAME") is in, or NULL; *file is what is behind it. */
static const char *folder_of(const char *name, const char **file)
{
    for (size_t i = 0; i < FOLDERS; i++) {
        size_t length = strlen(folders[i]);
        if (strncmp(name, folders[i], length) != 0 || name[length] != '/') continue;
        *file = name + length + 1;
        return is_plain(*file) ? folders[i] : NULL;
    }
    return NULL;
}

bool zi_shelf_find(zi_shelf *shelf, const char *name, const char *field, char **path,
                   zi_refusal *refusal)
{
    const char *file, *folder = folder_of(name, &file);
    char *found = NULL;
    if (folder)
        found = inside(shelf, folder, file);
    else if (!strcmp(name, enhancer))
        found = inside_enhancer(shelf);
    else if (!strcmp(name, demo) && shelf->options->demo)
        found = strdup(shelf->options->demo);
    else if (shelf->named && !strcmp(name, shelf->named))
        found = strdup(shelf->options->load.path);
    if (!found)
        return zi_refuse(refusal, 404, field,
                         "%s: there is no such model; GET /api/models "
                         "lists them",
                         name);
    *path = found;
    return true;
}

bool zi_shelf_place(zi_shelf *shelf, const char *folder, const char *file, const char *field,
                    char **path, char **name, zi_refusal *refusal)
{
    char where[4096], called[LONGEST_NAME + 40];
    struct stat st;
    if (!is_plain(file))
        return zi_refuse(refusal, 400, field, "the name must be a plain file name");
    snprintf(where, sizeof where, "%s/%s", shelf->options->models, folder);
    mkdir(where, 0777);
    char *real = inside(shelf, folder, NULL);
    if (!real)
        return zi_refuse(refusal, 500, NULL, "%s: the folder is not there and cannot be made",
                         where);
    char *full = zi_path_join(real, file);
    snprintf(called, sizeof called, "%s/%s", folder, file);
    char *copy = strdup(called);
    free(real);
    bool taken = full && lstat(full, &st) == 0;
    if (full && copy && !taken) {
        *path = full;
        *name = copy;
        return true;
    }
    free(full);
    free(copy);
    return taken
               ? zi_refuse(refusal, 409, field, "%s is there already; choose another name", called)
               : zi_refuse(refusal, 500, NULL, "out of memory");
}

/* ---- what is there ---- */

static void forget(known *k)
{
    free(k->name);
    free(k->problem);
    cJSON_Delete(k->inspected);
    free(k);
}

/* Looks at a model, or remembers. Called with the mutex held; NULL: memory is short. */
static const known *know(zi_shelf *shelf, const char *name, const char *path)
{
    double now = zi_seconds();
    for (known **at = &shelf->known; *at; at = &(*at)->next) {
        known *k = *at;
        if (strcmp(k->name, name) != 0) continue;
        if (now - k->when < FRESH_SECONDS) return k;
        *at = k->next;
        forget(k);
        break;
    }
    zi_error error = {0};
    char *json = NULL;
    known *k = calloc(1, sizeof *k);
    if (!k) return NULL;
    k->when = now;
    k->name = strdup(name);
    if (zi_inspect(path, &json, &error))
        k->inspected = cJSON_Parse(json);
    else
        k->problem = strdup(error.text);
    free(json);
    cJSON_DeleteItemFromObjectCaseSensitive(k->inspected, "path");
    if (!k->name || !(k->inspected || k->problem)) {
        forget(k);
        return NULL;
    }
    k->next = shelf->known;
    shelf->known = k;
    return k;
}

static void copy_field(cJSON *to, const char *name, const cJSON *from)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(from, name);
    cJSON_AddItemToObject(to, name, item ? cJSON_Duplicate(item, true) : cJSON_CreateNull());
}

static void copy_list(cJSON *to, const char *name, const cJSON *from)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(from, name);
    cJSON_AddItemToObject(to, name,
                          cJSON_IsArray(item) ? cJSON_Duplicate(item, true) : cJSON_CreateArray());
}

static double bytes_of(const cJSON *inspected)
{
    double bytes = 0;
    const cJSON *part;
    cJSON_ArrayForEach(part, cJSON_GetObjectItemCaseSensitive(inspected, "components"))
    {
        const cJSON *size = cJSON_GetObjectItemCaseSensitive(part, "bytes");
        if (cJSON_IsNumber(size)) bytes += size->valuedouble;
    }
    return bytes;
}

static cJSON *describe(const known *k, const char *folder, const char *loaded)
{
    cJSON *model = cJSON_CreateObject();
    const cJSON *in = k->inspected;
    cJSON_AddStringToObject(model, "name", k->name);
    cJSON_AddStringToObject(model, "shelf", folder);
    copy_field(model, "layout", in);
    copy_field(model, "precision", in);
    cJSON_AddNumberToObject(model, "bytes", bytes_of(in));
    copy_field(model, "native_size", in);
    cJSON_AddBoolToObject(model, "usable",
                          cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(in, "usable")));
    copy_list(model, "missing", in);
    copy_list(model, "problems", in);
    if (k->problem)
        cJSON_AddItemToArray(cJSON_GetObjectItemCaseSensitive(model, "problems"),
                             cJSON_CreateString(k->problem));
    cJSON_AddBoolToObject(model, "loaded", loaded && !strcmp(loaded, k->name));
    return model;
}

/* Calls each for every model; names and paths are borrowed. */
typedef void (*each_fn)(void *user, const char *name, const char *folder, const char *path);

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void visit_folder(zi_shelf *shelf, const char *folder, each_fn each, void *user)
{
    struct dirent **entries = NULL;
    char *path = inside(shelf, folder, NULL);
    int count = path ? scandir(path, &entries, NULL, by_name) : 0;
    for (int i = 0; i < count; i++) {
        char name[400];
        char *model =
            is_plain(entries[i]->d_name) ? inside(shelf, folder, entries[i]->d_name) : NULL;
        if (model && is_model(model)) {
            snprintf(name, sizeof name, "%s/%s", folder, entries[i]->d_name);
            each(user, name, folder, model);
        }
        free(model);
        free(entries[i]);
    }
    free(entries);
    free(path);
}

static void visit(zi_shelf *shelf, each_fn each, void *user)
{
    if (shelf->named && !strncmp(shelf->named, "named/", 6))
        each(user, shelf->named, named, shelf->options->load.path);
    for (size_t i = 0; i < FOLDERS; i++) visit_folder(shelf, folders[i], each, user);
    char *path = inside_enhancer(shelf);
    if (path && is_model(path)) each(user, enhancer, enhancer, path);
    free(path);
    if (shelf->options->demo) each(user, demo, demo, shelf->options->demo);
}

typedef struct {
    zi_shelf *shelf;
    const char *wanted, *loaded;
    cJSON *models, *detail;
    size_t count; /* of models in the folders that draw */
    char *only;
} visitor;

static void list_one(void *user, const char *name, const char *folder, const char *path)
{
    visitor *v = user;
    const known *k = know(v->shelf, name, path);
    if (k) cJSON_AddItemToArray(v->models, describe(k, folder, v->loaded));
}

static void inspect_one(void *user, const char *name, const char *folder, const char *path)
{
    visitor *v = user;
    if (strcmp(name, v->wanted) != 0) return;
    const known *k = know(v->shelf, name, path);
    if (!k) return;
    v->detail = cJSON_CreateObject();
    cJSON_AddItemToObject(v->detail, "model", describe(k, folder, v->loaded));
    cJSON_AddItemToObject(v->detail, "inspect",
                          k->inspected ? cJSON_Duplicate(k->inspected, true)
                                       : cJSON_CreateObject());
}

static void count_one(void *user, const char *name, const char *folder, const char *path)
{
    visitor *v = user;
    (void)path;
    if (!strcmp(folder, demo) || !strcmp(folder, enhancer)) return;
    v->count++;
    free(v->only);
    v->only = strdup(name);
}

char *zi_shelf_default(zi_shelf *shelf)
{
    visitor v = {.shelf = shelf};
    pthread_mutex_lock(&shelf->mutex);
    char *chosen = shelf->chosen ? strdup(shelf->chosen) : NULL;
    pthread_mutex_unlock(&shelf->mutex);
    if (chosen) return chosen;
    if (shelf->options->load.path && shelf->named) return strdup(shelf->named);
    visit(shelf, count_one, &v);
    if (v.count == 1) return v.only;
    free(v.only);
    return strdup(demo);
}

bool zi_shelf_choose(zi_shelf *shelf, const char *name, const char *field, zi_refusal *refusal)
{
    char *path = NULL, *copy = strdup(name);
    if (!copy) return zi_refuse(refusal, 500, NULL, "out of memory");
    if (!zi_shelf_find(shelf, name, field, &path, refusal)) {
        free(copy);
        return false;
    }
    free(path);
    pthread_mutex_lock(&shelf->mutex);
    free(shelf->chosen);
    shelf->chosen = copy;
    pthread_mutex_unlock(&shelf->mutex);
    return true;
}

cJSON *zi_shelf_list(zi_shelf *shelf, const char *loaded)
{
    cJSON *list = cJSON_CreateObject();
    char *first = zi_shelf_default(shelf);
    visitor v = {
        .shelf = shelf, .loaded = loaded, .models = cJSON_AddArrayToObject(list, "models")};
    pthread_mutex_lock(&shelf->mutex);
    visit(shelf, list_one, &v);
    pthread_mutex_unlock(&shelf->mutex);
    cJSON_AddStringToObject(list, "default", first ? first : demo);
    cJSON_AddItemToObject(list, "loaded", loaded ? cJSON_CreateString(loaded) : cJSON_CreateNull());
    free(first);
    return list;
}

bool zi_shelf_inspect(zi_shelf *shelf, const char *name, const char *loaded, cJSON **out,
                      zi_refusal *refusal)
{
    visitor v = {.shelf = shelf, .wanted = name, .loaded = loaded};
    pthread_mutex_lock(&shelf->mutex);
    visit(shelf, inspect_one, &v);
    pthread_mutex_unlock(&shelf->mutex);
    if (!v.detail) return zi_refuse(refusal, 404, NULL, "%s: there is no such model", name);
    *out = v.detail;
    return true;
}

void zi_shelf_changed(zi_shelf *shelf)
{
    pthread_mutex_lock(&shelf->mutex);
    while (shelf->known) {
        known *k = shelf->known;
        shelf->known = k->next;
        forget(k);
    }
    pthread_mutex_unlock(&shelf->mutex);
}

/* ---- the shelf ---- */

/* The name of the model that the server was started with: as in its folder, else named/NAME. */
static char *name_model(const zi_shelf *shelf, const char *path)
{
    char name[4096];
    char *real = realpath(path, NULL), *base = zi_path_base(path);
    size_t root = shelf->root ? strlen(shelf->root) : 0;
    const char *file;
    bool within = real && root && !strncmp(real, shelf->root, root) && real[root] == '/' &&
                  folder_of(real + root + 1, &file);
    snprintf(name, sizeof name, "%s%s%s", within ? real + root + 1 : named, within ? "" : "/",
             within ? ""
             : base ? base
                    : "");
    free(real);
    free(base);
    return strdup(name);
}

bool zi_shelf_create(const zi_server_options *options, zi_shelf **out, zi_error *error)
{
    zi_shelf *shelf = calloc(1, sizeof *shelf);
    if (!shelf) return zi_error_no_memory(error, sizeof *shelf);
    pthread_mutex_init(&shelf->mutex, NULL);
    shelf->options = options;
    mkdir(options->models, 0777); /* for models that are made or brought here */
    shelf->root = realpath(options->models, NULL);
    if (options->load.path) shelf->named = name_model(shelf, options->load.path);
    *out = shelf;
    return true;
}

void zi_shelf_free(zi_shelf *shelf)
{
    if (!shelf) return;
    zi_shelf_changed(shelf);
    pthread_mutex_destroy(&shelf->mutex);
    free(shelf->root);
    free(shelf->named);
    free(shelf->chosen);
    free(shelf);
}
