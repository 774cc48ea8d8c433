#include "hub/cache.h"
#include "base/file.h"
#include "base/filesystem.h"
#include "base/text.h"
#include "io/json.h"
#include "io/weights_files.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_INDEX = 16 << 20, MAX_PATH = 4096 };

/* ---- paths ---- */

/* Returns CACHE/SUBFOLDER/models--OWNER--NAME/REST in new memory; NULL when memory is short or the
 * path is too long. subfolder ends in a slash or is "", rest begins with a slash or is "". repo is
 * OWNER/NAME. */
static char *cache_path(const zi_hub *hub, const char *subfolder, const char *repo,
                        const char *rest)
{
    zi_text path;
    size_t owner = strcspn(repo, "/");
    zi_text_init(&path, MAX_PATH);
    zi_text_printf(&path, "%s/%smodels--%.*s--%s%s", hub->cache, subfolder, (int)owner, repo,
                   repo + owner + 1, rest);
    return zi_text_take(&path);
}

char *zi_hub_cache_repo_folder(const zi_hub *hub, const char *repo)
{
    return cache_path(hub, "", repo, "");
}

/* Returns the path of cache_path whose rest is this format with one string argument, in new memory;
 * NULL when memory is short or the path is too long. */
static char *format_cache_path(const zi_hub *hub, const char *subfolder, const char *repo,
                               const char *format, const char *argument)
{
    char rest[512];
    int length = snprintf(rest, sizeof rest, format, argument);
    return length < (int)sizeof rest ? cache_path(hub, subfolder, repo, rest) : NULL;
}

char *zi_hub_cache_blob_path(const zi_hub *hub, const char *repo, const char *etag)
{
    return format_cache_path(hub, "", repo, "/blobs/%s", etag);
}

char *zi_hub_cache_lock_path(const zi_hub *hub, const char *repo, const char *etag)
{
    return format_cache_path(hub, ".locks/", repo, "/%s.lock", etag);
}

char *zi_hub_cache_snapshot_path(const zi_hub *hub, const char *repo, const char *commit)
{
    return format_cache_path(hub, "", repo, "/snapshots/%s", commit);
}

/* ---- writing ---- */

bool zi_hub_cache_link_file(const zi_hub *hub, const char *repo, const char *commit,
                            const char *name, const char *etag, zi_error *error)
{
    char *snapshot = zi_hub_cache_snapshot_path(hub, repo, commit);
    char *path = snapshot ? zi_path_join(snapshot, name) : NULL;
    struct stat st;
    zi_text to;
    zi_text_init(&to, MAX_PATH);
    for (const char *c = name; *c; c++)
        if (*c == '/') zi_text_puts(&to, "../");
    zi_text_printf(&to, "../../blobs/%s", etag);
    bool ok = (path && !to.failed) || zi_error_no_memory(error, strlen(name));
    ok = ok && zi_make_parent_folders(path, error);
    if (ok && stat(path, &st) != 0) { /* missing, or a dangling link */
        unlink(path);
        ok = symlink(to.data, path) == 0 || errno == EEXIST ||
             zi_error_set(
                 error, ZI_ERROR_IO, path,
                 "cannot create this symbolic link: %s; if this disk has no symbolic links, set "
                 "the environment variable HF_HUB_CACHE to a folder on another disk",
                 strerror(errno));
    }
    zi_text_free(&to);
    free(path);
    free(snapshot);
    return ok;
}

bool zi_hub_cache_write_ref(const zi_hub *hub, const char *repo, const char *revision,
                            const char *commit, zi_error *error)
{
    zi_output output = {0};
    if (!strcmp(revision, commit)) return true;
    char *path = format_cache_path(hub, "", repo, "/refs/%s", revision);
    bool ok = path || zi_error_no_memory(error, strlen(revision));
    ok = ok && zi_make_parent_folders(path, error) && zi_output_open(&output, path, error) &&
         zi_output_write(&output, commit, strlen(commit), error) &&
         zi_output_commit(&output, error);
    zi_output_discard(&output);
    free(path);
    return ok;
}

/* ---- reading ---- */

char *zi_hub_cache_find_snapshot(const zi_hub *hub, const zi_repo_id *id)
{
    char *ref = format_cache_path(hub, "", id->repo, "/refs/%s", id->revision), *text = NULL;
    const char *commit = id->revision;
    size_t size;
    if (ref && zi_file_read(ref, 100, &text, &size, NULL)) {
        text[strcspn(text, "\r\n ")] = 0;
        commit = text;
    }
    char *path =
        zi_commit_hash_valid(commit) ? zi_hub_cache_snapshot_path(hub, id->repo, commit) : NULL;
    free(text);
    free(ref);
    if (path && zi_is_dir(path)) return path;
    free(path);
    return NULL;
}

/* Whether dir/name is a regular file or a link to one. False also when memory is short. */
static bool has_file(const char *dir, const char *name)
{
    char *path = zi_path_join(dir, name);
    bool there = path && zi_is_file(path);
    free(path);
    return there;
}

/* Whether the index file (NAME.index.json) in the folder dir can be read and every file in its
 * weight_map, if it has one, is in the folder. False for names that lead out of it. */
static bool has_all_shards(const char *dir, const char *index)
{
    char *path = zi_path_join(dir, index);
    cJSON *root = NULL;
    const cJSON *shard;
    bool ok = path && zi_json_read(path, MAX_INDEX, &root, NULL);
    cJSON_ArrayForEach(shard, zi_json_find(root, "weight_map"))
    {
        const char *name = cJSON_IsString(shard) ? shard->valuestring : "..";
        ok = ok && zi_relative_path_is_safe(name) && has_file(dir, name);
    }
    cJSON_Delete(root);
    free(path);
    return ok;
}

/* Whether a folder is not empty and has no dangling links, and all shards of its index files. Names
 * that begin with a dot do not count; subfolders count, but are not looked into. False also when it
 * cannot be read or memory is short. */
static bool is_folder_complete(const char *path)
{
    static const char end[] = ".index.json";
    DIR *dir = opendir(path);
    bool ok = dir != NULL, any = false;
    for (const struct dirent *entry; ok && (entry = readdir(dir));) {
        size_t length = strlen(entry->d_name);
        if (entry->d_name[0] == '.') continue;
        char *below = zi_path_join(path, entry->d_name);
        any = true;
        ok = below && (zi_is_file(below) || zi_is_dir(below));
        free(below);
        if (ok && length > sizeof end - 1 && !strcmp(entry->d_name + length - sizeof end + 1, end))
            ok = has_all_shards(path, entry->d_name);
    }
    if (dir) closedir(dir);
    return ok && any;
}

/* Whether the folder path/name of a diffusers component is complete, weights (safetensors under
 * their usual names, or those of variants) included if the component is a transformer, text_encoder
 * or vae. False for a name that leads out of path. */
static bool is_component_complete(const char *path, const char *name)
{
    static const char *const stems[] = {"diffusion_pytorch_model", "model"};
    char found[ZI_WEIGHTS_NAME];
    bool needs_weights =
        !strcmp(name, "transformer") || !strcmp(name, "text_encoder") || !strcmp(name, "vae");
    char *dir = zi_relative_path_is_safe(name) ? zi_path_join(path, name) : NULL;
    bool ok = dir && is_folder_complete(dir), has_weights = false, index;
    for (size_t i = 0; ok && i < sizeof stems / sizeof *stems; i++)
        if (zi_weights_find(dir, stems[i], found, &index))
            has_weights |= !index || has_all_shards(dir, found);
    free(dir);
    return ok && (has_weights || !needs_weights);
}

bool zi_snapshot_has_tokenizer(const char *path)
{
    char *dir = zi_path_join(path, "tokenizer");
    bool has = dir && is_folder_complete(dir) &&
               (has_file(dir, "tokenizer.json") || has_file(dir, "vocab.json"));
    free(dir);
    return has;
}

/* Whether the folder has nothing but a subfolder "tokenizer" (names that begin with a dot do not
 * count). False also when it cannot be read. */
static bool has_only_tokenizer(const char *path)
{
    DIR *dir = opendir(path);
    bool only = false;
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        only = !strcmp(entry->d_name, "tokenizer");
        if (!only) break;
    }
    if (dir) closedir(dir);
    return only;
}

bool zi_snapshot_is_complete(const char *path)
{
    cJSON *root = NULL;
    bool ok = is_folder_complete(path) && !has_only_tokenizer(path);
    char *index = zi_path_join(path, "model_index.json");
    if (index && zi_is_file(index)) ok = ok && zi_json_read(index, MAX_INDEX, &root, NULL);
    const cJSON *component;
    cJSON_ArrayForEach(component, root)
    {
        /* "vae": ["diffusers", "AutoencoderKL"]; [null, null]: the model has no such component. */
        const cJSON *library = cJSON_IsArray(component) ? component->child : NULL;
        if (cJSON_IsString(library)) ok = ok && is_component_complete(path, component->string);
    }
    cJSON_Delete(root);
    free(index);
    return ok;
}

bool zi_hub_find_cached(const zi_hub *hub, const char *repo, char **path, zi_error *error)
{
    if (!ZI_CHECK_RESERVED(hub, error)) return false;
    zi_repo_id id;
    if (!zi_repo_id_parse(repo, &id, error)) return false;
    bool tokenizer = id.tokenizer;
    char *found = hub->cache ? zi_hub_cache_find_snapshot(hub, &id) : NULL;
    zi_repo_id_free(&id);
    *path = NULL;
    if (found && !(tokenizer ? zi_snapshot_has_tokenizer(found) : zi_snapshot_is_complete(found))) {
        free(found);
        return true;
    }
    if (found && tokenizer) {
        *path = zi_path_join(found, "tokenizer");
        free(found);
        return *path || zi_error_no_memory(error, strlen(repo));
    }
    *path = found;
    return true;
}

bool zi_hub_cache_find_repo(const zi_hub *hub, const char *repo, char **out, zi_error *error)
{
    zi_repo_id id;
    if (!zi_repo_id_parse(repo, &id, error)) return false;
    char *path = hub->cache ? zi_hub_cache_repo_folder(hub, id.repo) : NULL;
    bool ok = path != NULL;
    if (!hub->cache)
        zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "cache",
                        "the folder of Hugging Face's cache is not set");
    else if (!path)
        zi_error_no_memory(error, strlen(id.repo));
    else if (!zi_is_dir(path))
        ok = zi_error_set_in(error, ZI_ERROR_NOT_FOUND, id.repo, "name",
                             "is not in the cache of Hugging Face, %s; name a model that is in the "
                             "list of models",
                             hub->cache);
    zi_repo_id_free(&id);
    if (ok)
        *out = path;
    else
        free(path);
    return ok;
}

bool zi_hub_remove(const zi_hub *hub, const char *repo, zi_error *error)
{
    char *path;
    if (!ZI_CHECK_RESERVED(hub, error)) return false;
    if (!zi_hub_cache_find_repo(hub, repo, &path, error)) return false;
    bool ok = zi_remove_tree(path, error);
    free(path);
    return ok;
}
