#include "hub/cache.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/text.h"
#include "hub/address.h"
#include "hub/disk.h"
#include "io/json.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_INDEX = 16 << 20, MAX_PATH = 4096 };

/* ---- names ---- */

static const struct {
    const char *name, *repo;
} short_names[] = {
    {"z-image-turbo", "Tongyi-MAI/Z-Image-Turbo"},
    {"prompt-enhancer", "Qwen/Qwen2.5-1.5B-Instruct"},
};

bool zi_repo_id_parse(const char *text, zi_repo_id *out, zi_error *error)
{
    char *copy = NULL;
    if (!text) text = short_names[0].name;
    size_t length = strcspn(text, "@");
    const char *revision = text[length] ? text + length + 1 : "main";
    for (size_t i = 0; i < sizeof short_names / sizeof *short_names; i++)
        if (!strcmp(text, short_names[i].name)) {
            text = short_names[i].repo;
            length = strlen(text);
        }
    if (!zi_repo_id_valid(text, length) || !zi_revision_valid(revision))
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "repo",
                               "'%s' is no repository: write OWNER/NAME or OWNER/NAME@REVISION",
                               text);
    size_t size = length + strlen(revision) + 2;
    copy = malloc(size);
    if (!copy) return zi_error_no_memory(error, size);
    snprintf(copy, size, "%.*s@%s", (int)length, text, revision);
    copy[length] = 0;
    *out = (zi_repo_id){copy, copy + length + 1};
    return true;
}

void zi_repo_id_free(zi_repo_id *name)
{
    free(name->repo);
    *name = (zi_repo_id){0};
}

/* CACHE BETWEEN models--OWNER--NAME END */
static char *cache_path(const zi_hub *hub, const char *between, const char *repo, const char *end)
{
    zi_text path;
    size_t owner = strcspn(repo, "/");
    zi_text_init(&path, MAX_PATH);
    zi_text_printf(&path, "%s/%smodels--%.*s--%s%s", hub->cache, between, (int)owner, repo,
                   repo + owner + 1, end);
    return zi_text_take(&path);
}

char *zi_hub_cache_repo_folder(const zi_hub *hub, const char *repo)
{
    return cache_path(hub, "", repo, "");
}

static char *with_end(const zi_hub *hub, const char *between, const char *repo, const char *format,
                      const char *word)
{
    char end[512];
    int length = snprintf(end, sizeof end, format, word);
    return length < (int)sizeof end ? cache_path(hub, between, repo, end) : NULL;
}

char *zi_hub_cache_blob_path(const zi_hub *hub, const char *repo, const char *etag)
{
    return with_end(hub, "", repo, "/blobs/%s", etag);
}

char *zi_hub_cache_lock_path(const zi_hub *hub, const char *repo, const char *etag)
{
    return with_end(hub, ".locks/", repo, "/%s.lock", etag);
}

char *zi_hub_cache_snapshot_path(const zi_hub *hub, const char *repo, const char *commit)
{
    return with_end(hub, "", repo, "/snapshots/%s", commit);
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
    if (ok && stat(path, &st) != 0) { /* not there, or a link to nothing */
        unlink(path);
        ok = symlink(to.data, path) == 0 || errno == EEXIST ||
             zi_error_set(error, ZI_ERROR_IO, path, "cannot make this link: %s", strerror(errno));
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
    char *path = with_end(hub, "", repo, "/refs/%s", revision);
    bool ok = path || zi_error_no_memory(error, strlen(revision));
    ok = ok && zi_make_parent_folders(path, error) && zi_output_open(&output, path, error) &&
         zi_output_write(&output, commit, strlen(commit), error) &&
         zi_output_commit(&output, error);
    zi_output_discard(&output);
    free(path);
    return ok;
}

/* ---- looking ---- */

char *zi_hub_cache_find_snapshot(const zi_hub *hub, const zi_repo_id *name)
{
    char *ref = with_end(hub, "", name->repo, "/refs/%s", name->revision), *text = NULL;
    const char *commit = name->revision;
    size_t size;
    if (ref && zi_file_read(ref, 100, &text, &size, NULL)) {
        text[strcspn(text, "\r\n ")] = 0;
        commit = text;
    }
    char *path =
        zi_commit_hash_valid(commit) ? zi_hub_cache_snapshot_path(hub, name->repo, commit) : NULL;
    free(text);
    free(ref);
    if (path && zi_is_dir(path)) return path;
    free(path);
    return NULL;
}

static bool has_file(const char *dir, const char *name)
{
    char *path = zi_path_join(dir, name);
    bool there = path && zi_is_file(path);
    free(path);
    return there;
}

/* Whether the shards that NAME.index.json lists are there. */
static bool are_shards_there(const char *dir, const char *index)
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

/* Whether a folder has files, none of which is a link to nothing, and all shards. */
static bool is_folder_whole(const char *path)
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
            ok = are_shards_there(path, entry->d_name);
    }
    if (dir) closedir(dir);
    return ok && any;
}

/* Whether a part of a diffusers folder is there, and its weights if it has such. */
static bool is_part_whole(const char *path, const char *name)
{
    static const char *const weights[] = {"diffusion_pytorch_model.safetensors",
                                          "diffusion_pytorch_model.safetensors.index.json",
                                          "model.safetensors", "model.safetensors.index.json"};
    bool needs =
        !strcmp(name, "transformer") || !strcmp(name, "text_encoder") || !strcmp(name, "vae");
    char *dir = zi_relative_path_is_safe(name) ? zi_path_join(path, name) : NULL;
    bool ok = dir && is_folder_whole(dir), has = false;
    for (size_t i = 0; ok && i < sizeof weights / sizeof *weights; i++)
        has |= has_file(dir, weights[i]);
    free(dir);
    return ok && (has || !needs);
}

bool zi_snapshot_is_complete(const char *path)
{
    cJSON *root = NULL;
    bool ok = is_folder_whole(path);
    char *index = zi_path_join(path, "model_index.json");
    if (index && zi_is_file(index)) ok = ok && zi_json_read(index, MAX_INDEX, &root, NULL);
    const cJSON *part;
    cJSON_ArrayForEach(part, root)
    {
        /* "vae": ["diffusers", "AutoencoderKL"]; two nulls stand for a part that is not there. */
        const cJSON *library = cJSON_IsArray(part) ? part->child : NULL;
        if (cJSON_IsString(library)) ok = ok && is_part_whole(path, part->string);
    }
    cJSON_Delete(root);
    free(index);
    return ok;
}

bool zi_hub_find_cached(const zi_hub *hub, const char *repo, char **path, zi_error *error)
{
    zi_repo_id name;
    if (!zi_repo_id_parse(repo, &name, error)) return false;
    char *found = hub->cache ? zi_hub_cache_find_snapshot(hub, &name) : NULL;
    zi_repo_id_free(&name);
    if (found && !zi_snapshot_is_complete(found)) {
        free(found);
        found = NULL;
    }
    *path = found;
    return true;
}

bool zi_hub_remove(const zi_hub *hub, const char *repo, zi_error *error)
{
    zi_repo_id name;
    if (!zi_repo_id_parse(repo, &name, error)) return false;
    char *path = zi_hub_cache_repo_folder(hub, name.repo);
    bool ok = path || zi_error_no_memory(error, strlen(repo));
    if (ok && !zi_is_dir(path))
        ok = zi_error_set(error, ZI_ERROR_NOT_FOUND, repo, "not in the cache %s", hub->cache);
    ok = ok && zi_remove_tree(path, error);
    free(path);
    zi_repo_id_free(&name);
    return ok;
}
