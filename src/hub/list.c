/* The models folder and the hub's cache as a list. */
#include "base/file.h"
#include "base/text.h"
#include "hub/address.h"
#include "hub/cache.h"
#include "hub/incoming.h"
#include "hub/leftover.h"
#include "hub/store.h"
#include "io/json.h"
#include "model/lm.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const cJSON *object, const char *name)
{
    const cJSON *item = zi_json_find(object, name);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static void add_text(cJSON *row, const char *name, const char *text)
{
    if (text) cJSON_AddStringToObject(row, name, text);
}

/* "good", "damaged", "needs a reference", or what a file of some parts lacks: "lacks vae". */
static void add_health(cJSON *row, const cJSON *inspected)
{
    const cJSON *problems = zi_json_find(inspected, "problems"), *item;
    const cJSON *missing = zi_json_find(inspected, "missing");
    const char *state = text_of(inspected, "health");
    bool incomplete = state && !strcmp(state, "incomplete");
    zi_text health;
    zi_text_init(&health, 1000);
    if (problems && problems->child) {
        zi_text_puts(&health, incomplete ? "needs a reference" : "damaged");
    } else if (incomplete) {
        zi_text_puts(&health, "lacks ");
        cJSON_ArrayForEach(item, missing)
            zi_text_printf(&health, "%s%s", item->valuestring, item->next ? ", " : "");
    } else {
        zi_text_puts(&health, "good");
    }
    char *text = zi_text_take(&health);
    add_text(row, "health", text);
    free(text);
    cJSON_AddItemToObject(row, "problems",
                          problems ? cJSON_Duplicate(problems, true) : cJSON_CreateArray());
}

static void describe_image(cJSON *row, const char *path)
{
    zi_error why = {0};
    char *json = NULL;
    cJSON *inspected = NULL;
    if (zi_inspect(path, &json, &why)) inspected = cJSON_Parse(json);
    if (inspected) {
        add_text(row, "layout", text_of(inspected, "layout"));
        add_text(row, "architecture", text_of(inspected, "architecture"));
        add_text(row, "precision", text_of(inspected, "precision"));
        add_health(row, inspected);
    } else {
        add_text(row, "health", "damaged");
        cJSON *problems = cJSON_AddArrayToObject(row, "problems");
        cJSON_AddItemToArray(problems, cJSON_CreateString(why.text));
    }
    cJSON_Delete(inspected);
    free(json);
}

static void describe_language(cJSON *row, const char *path)
{
    zi_error why = {0};
    zi_lm lm;
    bool good = zi_lm_load(&(zi_model_options){.path = path}, NULL, &lm, &why);
    if (good) zi_lm_free(&lm);
    add_text(row, "health", good ? "good" : "damaged");
    cJSON *problems = cJSON_AddArrayToObject(row, "problems");
    if (!good) cJSON_AddItemToArray(problems, cJSON_CreateString(why.text));
}

static void add_row(cJSON *rows, const char *name, const char *path, bool language,
                    const char *chosen)
{
    uint64_t bytes = 0;
    cJSON *row = cJSON_CreateObject();
    add_text(row, "name", name);
    add_text(row, "path", path);
    add_text(row, "kind", language ? "language" : "image");
    if (zi_store_bytes(path, &bytes, NULL)) cJSON_AddNumberToObject(row, "bytes", (double)bytes);
    cJSON_AddBoolToObject(row, "default", chosen && !strcmp(chosen, name));
    if (language)
        describe_language(row, path);
    else
        describe_image(row, path);
    cJSON_AddItemToArray(rows, row);
}

/* Whether a snapshot is of Z-Image: people's caches hold all kinds of models. */
static bool is_ours(const char *path)
{
    zi_store_kind kind;
    return zi_store_detect(path, &kind, NULL) && kind != ZI_SHELF_LANGUAGE;
}

/* "models--OWNER--NAME" as OWNER/NAME, or false. */
static bool read_folder_name(const char *folder, char *out, size_t size)
{
    static const char begin[] = "models--";
    if (strncmp(folder, begin, sizeof begin - 1) != 0) return false;
    const char *owner = folder + sizeof begin - 1, *dashes = strstr(owner, "--");
    if (!dashes) return false;
    snprintf(out, size, "%.*s/%s", (int)(dashes - owner), owner, dashes + 2);
    return zi_repo_valid(out, strlen(out));
}

static void add_incomplete(cJSON *rows, const char *kind, const char *name, uint64_t bytes)
{
    cJSON *row = cJSON_CreateObject();
    add_text(row, "name", name);
    add_text(row, "kind", kind);
    cJSON_AddNumberToObject(row, "bytes", (double)bytes);
    cJSON_AddItemToArray(rows, row);
}

static void add_incoming(void *rows, const char *name, uint64_t bytes)
{
    add_incomplete(rows, "download", name, bytes);
}

static void add_leftover(void *rows, const char *name, uint64_t bytes)
{
    add_incomplete(rows, "leftover", name, bytes);
}

static void add_cached(const zi_store *store, cJSON *rows, const char *chosen)
{
    zi_repo_name enhancer = {0};
    DIR *dir = store->hub.cache ? opendir(store->hub.cache) : NULL;
    bool known = zi_repo_read("prompt-enhancer", &enhancer, NULL);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char name[160], *path = NULL;
        if (!read_folder_name(entry->d_name, name, sizeof name)) continue;
        if (!zi_hub_find(&store->hub, name, &path, NULL) || !path) continue;
        bool language = known && !strcmp(name, enhancer.repo);
        if (language || is_ours(path)) add_row(rows, name, path, language, chosen);
        free(path);
    }
    if (dir) closedir(dir);
    zi_repo_free(&enhancer);
}

bool zi_store_list(const zi_store *store, char **json, zi_error *error)
{
    zi_store_entries all;
    if (!zi_store_entries_read(store, &all, error)) return false;
    char *chosen = zi_store_default(store);
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "folder", store->folder);
    add_text(root, "default", chosen);
    cJSON *rows = cJSON_AddArrayToObject(root, "models");
    for (size_t i = 0; i < all.count; i++)
        add_row(rows, all.entries[i].name, all.entries[i].path,
                all.entries[i].kind == ZI_SHELF_LANGUAGE, chosen);
    add_cached(store, rows, chosen);
    cJSON *incomplete = cJSON_AddArrayToObject(root, "incomplete");
    zi_incoming_each(store, add_incoming, incomplete);
    zi_leftover_each(store, add_leftover, incomplete);
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    free(chosen);
    zi_store_entries_free(&all);
    if (!text) return zi_error_no_memory(error, 1 << 16);
    *json = text;
    return true;
}
