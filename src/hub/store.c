#include "hub/store.h"
#include "base/draft.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/text.h"
#include "hub/cache.h"
#include "hub/disk.h"
#include "hub/incoming.h"
#include "hub/leftover.h"
#include "io/json.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const kind_names[ZI_SHELVES] = {"mlx", "pytorch", "comfyui", "prompt_enhancer"};
static const char default_file[] = "default.txt";

const char *zi_store_kind_name(zi_store_kind kind)
{
    return kind_names[kind];
}

/* ---- what is there ---- */

static bool ends_in(const char *name, const char *ending)
{
    const char *dot = strrchr(name, '.');
    return dot && !strcmp(dot, ending);
}

bool zi_store_may_be_model(const char *path, const char *name)
{
    if (name[0] == '.' || zi_draft_named(name)) return false;
    if (zi_is_dir(path)) return true;
    return (ends_in(name, ".safetensors") || ends_in(name, ".gguf")) && zi_is_file(path);
}

static bool add_entry(zi_store_entries *entries, const zi_store_entry *entry, zi_error *error)
{
    zi_store_entry *more =
        realloc(entries->entries, (entries->count + 1) * sizeof *entries->entries);
    if (!more) return zi_error_no_memory(error, sizeof *more);
    entries->entries = more;
    entries->entries[entries->count++] = *entry;
    return true;
}

static bool add_named(zi_store_entries *entries, zi_store_kind kind, const char *dir,
                      const char *name, zi_error *error)
{
    zi_store_entry entry = {.kind = kind,
                            .name = *name ? zi_path_join(kind_names[kind], name)
                                          : strdup(kind_names[kind]),
                            .path = *name ? zi_path_join(dir, name) : strdup(dir)};
    bool ok = (entry.name && entry.path) || zi_error_no_memory(error, strlen(dir));
    bool taken = ok && zi_store_may_be_model(entry.path, *name ? name : kind_names[kind]);
    if (taken && add_entry(entries, &entry, error)) return true;
    free(entry.name);
    free(entry.path);
    return ok && !taken;
}

static int by_name(const void *a, const void *b)
{
    const zi_store_entry *x = a, *y = b;
    return x->kind != y->kind ? (int)x->kind - (int)y->kind : strcmp(x->name, y->name);
}

/* The folder of the language model may be that model itself. */
static bool is_model_itself(const char *dir)
{
    char *config = zi_path_join(dir, "config.json");
    bool is = config && zi_is_file(config);
    free(config);
    return is;
}

static bool read_shelf(const zi_store *store, zi_store_kind kind, zi_store_entries *out,
                       zi_error *error)
{
    char *dir = zi_path_join(store->folder, kind_names[kind]);
    if (!dir) return zi_error_no_memory(error, strlen(store->folder));
    bool ok = true, itself = kind == ZI_SHELF_LANGUAGE && is_model_itself(dir);
    DIR *opened = itself ? NULL : opendir(dir);
    if (itself) ok = add_named(out, kind, dir, "", error);
    for (const struct dirent *entry; ok && opened && (entry = readdir(opened));)
        ok = add_named(out, kind, dir, entry->d_name, error);
    if (opened) closedir(opened);
    free(dir);
    return ok;
}

bool zi_store_entries_read(const zi_store *store, zi_store_entries *out, zi_error *error)
{
    bool ok = true;
    *out = (zi_store_entries){0};
    for (int kind = 0; ok && kind < ZI_SHELVES; kind++)
        ok = read_shelf(store, (zi_store_kind)kind, out, error);
    if (!ok) zi_store_entries_free(out);
    if (out->count) qsort(out->entries, out->count, sizeof *out->entries, by_name);
    return ok;
}

void zi_store_entries_free(zi_store_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        free(entries->entries[i].name);
        free(entries->entries[i].path);
    }
    free(entries->entries);
    *entries = (zi_store_entries){0};
}

static bool add_size(void *user, const char *name, uint64_t size, zi_error *error)
{
    (void)name, (void)error;
    *(uint64_t *)user += size;
    return true;
}

bool zi_store_bytes(const char *path, uint64_t *out, zi_error *error)
{
    *out = 0;
    return zi_walk(path, add_size, out, error);
}

/* ---- the default ---- */

char *zi_store_default(const zi_store *store)
{
    char *path = zi_path_join(store->folder, default_file), *text = NULL;
    size_t size;
    if (path && zi_is_file(path) && zi_file_read(path, 1024, &text, &size, NULL))
        text[strcspn(text, "\r\n")] = 0;
    free(path);
    if (text && *text) return text;
    free(text);
    return NULL;
}

bool zi_store_set_default(const zi_store *store, const char *name, zi_error *error)
{
    zi_output output = {0};
    char *path = zi_path_join(store->folder, default_file);
    bool ok = path || zi_error_no_memory(error, strlen(store->folder));
    if (ok && !name)
        ok = unlink(path) == 0 || errno == ENOENT ||
             zi_error_set(error, ZI_ERROR_IO, path, "cannot be removed: %s", strerror(errno));
    else if (ok)
        ok = zi_make_folders(store->folder, error) && zi_output_open(&output, path, error) &&
             zi_output_write(&output, name, strlen(name), error) &&
             zi_output_write(&output, "\n", 1, error) && zi_output_commit(&output, error);
    zi_output_discard(&output);
    free(path);
    return ok;
}

/* ---- finding ---- */

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* Puts FOLDER/name, or what is called so on a shelf, into *entry, in new memory. */
static bool find_on_shelves(const zi_store *store, const char *name, zi_store_entry *entry,
                            zi_error *error)
{
    zi_store_entries all;
    bool found = false;
    *entry = (zi_store_entry){0};
    if (!zi_store_entries_read(store, &all, error)) return false;
    for (size_t i = 0; i < all.count && !found; i++) {
        const char *full = all.entries[i].name, *slash = strchr(full, '/');
        if (strcmp(full, name) != 0 && (!slash || strcmp(slash + 1, name) != 0)) continue;
        *entry = all.entries[i];
        all.entries[i] = (zi_store_entry){0};
        found = true;
    }
    zi_store_entries_free(&all);
    return true;
}

static void free_entry(zi_store_entry *entry)
{
    free(entry->name);
    free(entry->path);
    *entry = (zi_store_entry){0};
}

static bool may_be_repo(const char *name)
{
    zi_repo_name repo;
    bool may = zi_repo_read(name, &repo, NULL);
    if (may) zi_repo_free(&repo);
    return may;
}

/* OWNER/NAME in the cache; *path is NULL when it is not there. */
static bool find_cached(const zi_store *store, const char *name, char **path, zi_error *error)
{
    *path = NULL;
    if (!strchr(name, '/') || !may_be_repo(name)) return true;
    return zi_hub_find(&store->hub, name, path, error);
}

/* In the folder or in the cache; *path is NULL when it is in neither. */
static bool find_kept(const zi_store *store, const char *name, char **path, zi_error *error)
{
    zi_store_entry entry;
    if (!find_on_shelves(store, name, &entry, error)) return false;
    *path = entry.path;
    entry.path = NULL;
    free_entry(&entry);
    return *path || find_cached(store, name, path, error);
}

static bool find_named(const zi_store *store, const char *name, zi_found *out, zi_error *error)
{
    if (*name && exists(name)) {
        out->path = strdup(name);
        return out->path || zi_error_no_memory(error, strlen(name));
    }
    if (!find_kept(store, name, &out->path, error)) return false;
    if (out->path) return true;
    bool repo = may_be_repo(name);
    return zi_error_set_in(error, ZI_ERROR_NOT_FOUND, name, repo ? "repo" : "name",
                           "no such file or folder, and no model of that name in %s/mlx, "
                           "%s/pytorch or %s/comfyui%s",
                           store->folder, store->folder, store->folder,
                           repo ? ", nor a whole one in the hub's cache" : "");
}

static bool find_default(const zi_store *store, const char *name, zi_found *out, zi_error *error)
{
    if (!find_kept(store, name, &out->path, error)) return false;
    out->chosen = true;
    return out->path ||
           zi_error_set_in(error, ZI_ERROR_NOT_FOUND, NULL, "default",
                           "%s/%s names %s, which is not there any more; choose another default",
                           store->folder, default_file, name);
}

static bool find_unnamed(const zi_store *store, zi_found *out, zi_error *error)
{
    zi_store_entries all;
    if (!zi_store_entries_read(store, &all, error)) return false;
    char *chosen = zi_store_default(store);
    bool ok = true;
    const char *only = NULL;
    for (size_t i = 0; i < all.count; i++) {
        if (all.entries[i].kind >= ZI_SHELF_IMAGES) continue;
        out->models++;
        only = all.entries[i].path;
    }
    if (chosen) {
        ok = find_default(store, chosen, out, error);
    } else if (out->models == 1) {
        out->path = strdup(only);
        ok = out->path || zi_error_no_memory(error, strlen(only));
    } else if (out->models == 0) {
        ok = zi_hub_find(&store->hub, NULL, &out->path, error);
    }
    zi_store_entries_free(&all);
    free(chosen);
    return ok;
}

bool zi_store_find(const zi_store *store, const char *name, zi_found *out, zi_error *error)
{
    zi_found found = {0};
    bool ok = name ? find_named(store, name, &found, error) : find_unnamed(store, &found, error);
    if (ok) *out = found;
    return ok;
}

bool zi_store_find_llm(const zi_store *store, char **path, zi_error *error)
{
    zi_store_entries all;
    const char *only = NULL;
    size_t count = 0;
    *path = NULL;
    if (!zi_store_entries_read(store, &all, error)) return false;
    for (size_t i = 0; i < all.count; i++) {
        if (all.entries[i].kind != ZI_SHELF_LANGUAGE) continue;
        count++;
        only = all.entries[i].path;
    }
    bool ok = true;
    if (count > 1)
        ok = zi_error_set_in(error, ZI_ERROR_NOT_FOUND, NULL, "llm",
                             "%s/prompt_enhancer has %zu language models; name one", store->folder,
                             count);
    else if (count == 1)
        ok = (*path = strdup(only)) || zi_error_no_memory(error, strlen(only));
    else
        ok = zi_hub_find(&store->hub, "prompt-enhancer", path, error);
    zi_store_entries_free(&all);
    return ok;
}

/* ---- choosing and removing ---- */

bool zi_store_choose(const zi_store *store, const char *name, zi_error *error)
{
    zi_store_entry entry;
    char *cached = NULL;
    if (!find_on_shelves(store, name, &entry, error)) return false;
    bool ok = entry.name || find_cached(store, name, &cached, error);
    if (ok && entry.name && entry.kind >= ZI_SHELF_IMAGES)
        ok = zi_error_set(error, ZI_ERROR_UNSUPPORTED, entry.name,
                          "is a language model; it generates no images");
    else if (ok && (entry.name || cached))
        ok = zi_store_set_default(store, entry.name ? entry.name : name, error);
    else if (ok)
        ok = zi_error_set_in(error, ZI_ERROR_NOT_FOUND, name, "name", "no such model");
    free(cached);
    free_entry(&entry);
    return ok;
}

bool zi_store_remove(const zi_store *store, const char *name, zi_error *error)
{
    zi_store_entry entry;
    const char *incomplete = zi_incoming_called(name);
    if (incomplete) return zi_incoming_remove(store, incomplete, error);
    if (zi_draft_named(name)) return zi_leftover_remove(store, name, error);
    char *chosen = zi_store_default(store);
    bool ok = find_on_shelves(store, name, &entry, error);
    const char *known = ok && entry.name ? entry.name : name;
    if (ok && entry.name)
        ok = zi_remove_all(entry.path, error);
    else if (ok && store->hub.cache && strchr(name, '/'))
        ok = zi_hub_remove(&store->hub, name, error);
    else if (ok)
        ok = zi_error_set_in(error, ZI_ERROR_NOT_FOUND, name, "name", "no such model");
    if (ok && chosen && !strcmp(chosen, known)) ok = zi_store_set_default(store, NULL, error);
    free(chosen);
    free_entry(&entry);
    return ok;
}
