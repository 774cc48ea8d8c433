#include "hub/repo.h"
#include "base/file.h"
#include "base/text.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REPO_INFO = 32 << 20 /* bytes of JSON */ };

/* ---- validation ---- */

/* Whether no component between slashes is empty, "." or "..". False for "". */
static bool are_components_valid(const char *name)
{
    for (const char *at = name;; at++) {
        size_t length = strcspn(at, "/");
        if (length == 0 || (at[0] == '.' && (length == 1 || (length == 2 && at[1] == '.'))))
            return false;
        at += length;
        if (!*at) return true;
    }
}

bool zi_relative_path_is_safe(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 400 || !zi_utf8_valid(name, length)) return false;
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f || *c == '\\' || *c == ':') return false;
    return are_components_valid(name);
}

static const char id_characters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

bool zi_repo_id_valid(const char *repo, size_t length)
{
    char copy[97];
    if (length >= sizeof copy) return false;
    snprintf(copy, sizeof copy, "%.*s", (int)length, repo);
    size_t owner = strspn(copy, id_characters);
    if (owner == 0 || copy[owner] != '/') return false;
    size_t name = strspn(copy + owner + 1, id_characters);
    if (name == 0 || owner + 1 + name != length) return false;
    /* "--" separates owner and name in folder names of the cache. */
    return are_components_valid(copy) && !strstr(copy, "--");
}

bool zi_revision_valid(const char *revision)
{
    size_t length = strlen(revision);
    for (const char *c = revision; *c; c++)
        if (*c != '/' && !strchr(id_characters, *c)) return false;
    return length > 0 && length <= 200 && are_components_valid(revision);
}

bool zi_commit_hash_valid(const char *text)
{
    return strlen(text) == 40 && text[strspn(text, "0123456789abcdef")] == 0;
}

/* ---- ids ---- */

static const struct {
    const char *name, *repo;
    bool tokenizer;
} short_names[] = {
    {"z-image-turbo", "Tongyi-MAI/Z-Image-Turbo", false},
    {"prompt-enhancer", "Qwen/Qwen2.5-1.5B-Instruct", false},
    {"tokenizer", "Tongyi-MAI/Z-Image-Turbo", true},
};

bool zi_repo_id_parse(const char *text, zi_repo_id *out, zi_error *error)
{
    char *copy = NULL;
    bool tokenizer = false;
    if (!text) text = short_names[0].name;
    size_t length = strcspn(text, "@");
    const char *revision = text[length] ? text + length + 1 : "main";
    for (size_t i = 0; i < sizeof short_names / sizeof *short_names; i++)
        if (!strcmp(text, short_names[i].name)) {
            text = short_names[i].repo;
            tokenizer = short_names[i].tokenizer;
            length = strlen(text);
            break;
        }
    if (!zi_repo_id_valid(text, length))
        return zi_error_set_in(error, ZI_ERROR_INVALID_ARGUMENT, NULL, "repo",
                               "'%s' is not a repository; write OWNER/NAME or OWNER/NAME@REVISION, "
                               "or a short name: z-image-turbo, prompt-enhancer or tokenizer",
                               text);
    if (!zi_revision_valid(revision))
        return zi_error_set_in(
            error, ZI_ERROR_INVALID_ARGUMENT, NULL, "repo",
            "'%s' is not a repository: after @ comes a branch, tag or commit, of "
            "letters, digits, '.', '_', '-' and '/'",
            text);
    size_t size = length + strlen(revision) + 2;
    copy = malloc(size);
    if (!copy) return zi_error_no_memory(error, size);
    snprintf(copy, size, "%.*s@%s", (int)length, text, revision);
    copy[length] = 0;
    *out = (zi_repo_id){copy, copy + length + 1, tokenizer};
    return true;
}

void zi_repo_id_free(zi_repo_id *id)
{
    free(id->repo);
    *id = (zi_repo_id){0};
}

/* ---- the list of files ---- */

/* Reads a field that must be a whole number from 0 to 2^53 - 1. False: it is not; *out is
 * unchanged. */
static bool read_size(const cJSON *object, const char *name, uint64_t *out)
{
    const cJSON *item = zi_json_find(object, name);
    bool ok = cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble < 0x1p53 &&
              floor(item->valuedouble) == item->valuedouble;
    if (ok) *out = (uint64_t)item->valuedouble;
    return ok;
}

/* Copies a field that must be a digest of this kind, in lower case (zi_digest_valid). False: it is
 * not, and out is unchanged. */
static bool read_digest(const cJSON *object, const char *name, zi_digest_kind kind,
                        char out[ZI_DIGEST_HEX_SIZE])
{
    const cJSON *item = zi_json_find(object, name);
    if (!cJSON_IsString(item) || !zi_digest_valid(kind, item->valuestring)) return false;
    snprintf(out, ZI_DIGEST_HEX_SIZE, "%s", item->valuestring);
    return true;
}

/* Reads an element of the hub's "siblings" into *out, with name in new memory; nothing is to be
 * freed after a failure. An unsafe name, or no valid size or digest, is ZI_ERROR_NETWORK. LFS files
 * have a SHA-256, others git's blob hash. */
static bool read_repo_file(const cJSON *item, const char *repo, zi_repo_file *out, zi_error *error)
{
    const cJSON *name = zi_json_find(item, "rfilename"), *lfs = zi_json_find(item, "lfs");
    if (!cJSON_IsString(name))
        return zi_error_set(error, ZI_ERROR_NETWORK, repo,
                            "the hub's list of files has one without a name; try again later");
    if (!zi_relative_path_is_safe(name->valuestring)) {
        char shown[100];
        size_t n = 0;
        for (const char *c = name->valuestring; *c && n + 1 < sizeof shown; c++)
            shown[n++] = (unsigned char)*c < 0x20 || *c == 0x7f ? '?' : *c;
        shown[n] = 0;
        return zi_error_set_in(
            error, ZI_ERROR_NETWORK, repo, shown,
            "nothing was fetched, since the repository has a file with the name '%s', which may "
            "lead out of the folder, has special characters or is too long; use another repository",
            shown);
    }
    out->kind = lfs ? ZI_DIGEST_SHA256 : ZI_DIGEST_GIT_BLOB;
    bool ok = lfs ? read_size(lfs, "size", &out->size) &&
                        read_digest(lfs, "sha256", out->kind, out->digest)
                  : read_size(item, "size", &out->size) &&
                        read_digest(item, "blobId", out->kind, out->digest);
    if (!ok)
        return zi_error_set_in(error, ZI_ERROR_NETWORK, repo, name->valuestring,
                               "%s: the hub lists this file without a valid size and checksum, so "
                               "nothing was fetched; try again later",
                               name->valuestring);
    out->name = strdup(name->valuestring);
    return out->name || zi_error_no_memory(error, strlen(name->valuestring));
}

/* Comparison for qsort: zi_repo_file by name, in byte order. */
static int by_name(const void *a, const void *b)
{
    return strcmp(((const zi_repo_file *)a)->name, ((const zi_repo_file *)b)->name);
}

/* Reads the commit and the files (there may be none) from the hub's answer (root may be NULL: an
 * error). Files are sorted by name, and no name may occur twice. repo is for errors, which are
 * ZI_ERROR_NETWORK unless memory is short. *out, zeroed before, must be freed after a failure,
 * too. */
static bool read_repo_info(const cJSON *root, const char *repo, zi_repo_info *out, zi_error *error)
{
    const cJSON *sha = zi_json_find(root, "sha"), *files = zi_json_find(root, "siblings"), *item;
    if (!cJSON_IsString(sha) || !zi_commit_hash_valid(sha->valuestring) || !cJSON_IsArray(files))
        return zi_error_set(
            error, ZI_ERROR_NETWORK, repo,
            "this server is not a hub: its answer is no list of a repository's files; check that "
            "HF_ENDPOINT, if you have set it, names a hub, or try again later");
    memcpy(out->commit, sha->valuestring, sizeof out->commit);
    out->files = calloc((size_t)cJSON_GetArraySize(files) + 1, sizeof *out->files);
    if (!out->files) return zi_error_no_memory(error, sizeof *out->files);
    cJSON_ArrayForEach(item, files)
    {
        if (!read_repo_file(item, repo, &out->files[out->count], error)) return false;
        out->count++;
    }
    qsort(out->files, out->count, sizeof *out->files, by_name);
    for (size_t i = 1; i < out->count; i++)
        if (!by_name(&out->files[i - 1], &out->files[i]))
            return zi_error_set_in(
                error, ZI_ERROR_NETWORK, repo, out->files[i].name,
                "the hub lists the file %s twice, so nothing was fetched; try again later",
                out->files[i].name);
    return true;
}

bool zi_repo_info_fetch(zi_http_client *client, const char *repo, const char *revision,
                        zi_repo_info *out, bool *reached, zi_error *error)
{
    char *json = NULL, *escaped = curl_easy_escape(NULL, revision, 0);
    zi_text url;
    *out = (zi_repo_info){0};
    client->revision = revision;
    zi_text_init(&url, 8192);
    zi_text_printf(&url, "%s/api/models/%s/revision/%s?blobs=true", client->endpoint, repo,
                   escaped ? escaped : "");
    bool ok = (escaped && !url.failed) || zi_error_no_memory(error, url.size);
    ok = ok && zi_http_get_text(client, url.data, repo, "the list of files", MAX_REPO_INFO, &json,
                                reached, error);
    client->revision = NULL;
    if (ok && !zi_json_fits_memory(json, strlen(json)))
        ok = zi_error_set(error, ZI_ERROR_NETWORK, repo,
                          "the hub's list of files is too large to be read; use another repository "
                          "of this model");
    cJSON *root = ok ? cJSON_Parse(json) : NULL;
    ok = ok && read_repo_info(root, repo, out, error);
    if (!ok) zi_repo_info_free(out);
    cJSON_Delete(root);
    zi_text_free(&url);
    free(json);
    curl_free(escaped);
    return ok;
}

void zi_repo_info_free(zi_repo_info *info)
{
    for (size_t i = 0; i < info->count; i++) free(info->files[i].name);
    free(info->files);
    *info = (zi_repo_info){0};
}

/* ---- selecting files ---- */

/* Whether text ends in `end`. */
static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length >= tail && !strcmp(text + length - tail, end);
}

bool zi_is_safetensors_name(const char *name)
{
    return ends_with(name, ".safetensors");
}

/* Variants (diffusers' term) of weights, best first; NULL ends the list. */
static const char *const variants[] = {".bf16", ".fp16", ".fp32", ".non_ema", NULL};

/* Returns the number in `variants` of what is somewhere in the file's path, as in
 * STEM.fp16.safetensors, or -1: it is of no variant, but of the default weights. */
static int variant_of(const char *name)
{
    for (int i = 0; variants[i]; i++)
        if (strstr(name, variants[i])) return i;
    return -1;
}

/* Whether the folder of the file `name` has weights of this variant; -1: of none. */
static bool has_weights_of(const zi_repo_info *info, const char *name, int variant)
{
    const char *slash = strrchr(name, '/');
    size_t length = slash ? (size_t)(slash - name) + 1 : 0;
    for (size_t i = 0; i < info->count; i++) {
        const char *other = info->files[i].name;
        if (strncmp(other, name, length) == 0 && !strchr(other + length, '/') &&
            zi_is_safetensors_name(other) && variant_of(other) == variant)
            return true;
    }
    return false;
}

/* Whether the file is of the default weights, or, where its folder has none, of the best variant
 * there is; of weights that are not averaged (non_ema) never. */
static bool is_best_variant(const zi_repo_info *info, const char *name)
{
    int variant = variant_of(name);
    if (variant >= 0 && !variants[variant + 1]) return false;
    for (int better = -1; better < variant; better++)
        if (has_weights_of(info, name, better)) return false;
    return true;
}

/* Whether a model needs this file: weights (.safetensors), .json files and those of a tokenizer, at
 * the root or directly in transformer, text_encoder, tokenizer, vae or scheduler. diffusers: the
 * repository has a model_index.json; then weights at its root are not needed. */
static bool is_needed(const char *name, bool diffusers)
{
    static const char *const folders[] = {"transformer", "text_encoder", "tokenizer", "vae",
                                          "scheduler"};
    static const char *const endings[] = {".safetensors", ".json", "merges.txt", "vocab.txt",
                                          ".jinja"};
    const char *slash = strchr(name, '/');
    bool in_folder = !slash, has_ending = false;
    for (size_t i = 0; slash && i < sizeof folders / sizeof *folders; i++)
        in_folder |= strlen(folders[i]) == (size_t)(slash - name) &&
                     !strncmp(name, folders[i], (size_t)(slash - name)) && !strchr(slash + 1, '/');
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        has_ending |= ends_with(name, endings[i]);
    /* Weights at the root of a diffusers repository duplicate its components. */
    if (diffusers && !slash && ends_with(name, ".safetensors")) return false;
    return in_folder && has_ending;
}

/* Whether the repository is one model in a folder layout, and not a collection of single-file
 * models: a file has a name that only such layouts have, such as model_index.json or
 * model.safetensors. */
static bool is_model_folder(const zi_repo_info *info)
{
    static const char *const markers[] = {
        "model_index.json",  "weights.safetensors",          "weights.safetensors.index.json",
        "model.safetensors", "model.safetensors.index.json", "transformer/0.safetensors",
    };
    for (size_t i = 0; i < info->count; i++)
        for (size_t j = 0; j < sizeof markers / sizeof *markers; j++)
            if (!strcmp(info->files[i].name, markers[j])) return true;
    return false;
}

/* Fills error with the weights (.safetensors, .gguf) that could be named instead (the first 400
 * bytes), as ZI_ERROR_NOT_FOUND of the subject "file", or with ZI_ERROR_UNSUPPORTED of the subject
 * repo if there are none. Always returns false. */
static bool fail_collection(const zi_repo_info *info, const char *repo, zi_error *error)
{
    zi_text names;
    zi_text_init(&names, 500);
    for (size_t i = 0; i < info->count; i++) {
        const char *name = info->files[i].name;
        if (!zi_weights_extension(name)) continue;
        if (names.size + strlen(name) > 400) {
            zi_text_puts(&names, ", ...");
            break;
        }
        zi_text_printf(&names, "%s%s", names.size ? ", " : "", name);
    }
    if (names.size)
        zi_error_set_in(error, ZI_ERROR_NOT_FOUND, repo, "file",
                        "holds single files, not one model in a folder; name one of them: %s",
                        names.data);
    else
        zi_error_set(error, ZI_ERROR_UNSUPPORTED, repo,
                     "the repository has no weights that zimage reads (no .safetensors or .gguf "
                     "files); name another repository of this model");
    zi_text_free(&names);
    return false;
}

bool zi_repo_info_select_tokenizer(zi_repo_info *info, const char *repo, zi_error *error)
{
    static const char folder[] = "tokenizer/";
    size_t kept = 0;
    for (size_t i = 0; i < info->count; i++) {
        const char *name = info->files[i].name;
        if (!strncmp(name, folder, sizeof folder - 1) && is_needed(name, true))
            info->files[kept++] = info->files[i];
        else
            free(info->files[i].name);
    }
    info->count = kept;
    return kept || zi_error_set(error, ZI_ERROR_NOT_FOUND, repo,
                                "the repository has no folder tokenizer with its files; check "
                                "HF_ENDPOINT if you have set it");
}

bool zi_repo_info_select_files(zi_repo_info *info, const char *repo, const char *file,
                               zi_error *error)
{
    bool diffusers = false;
    size_t kept = 0;
    for (size_t i = 0; i < info->count; i++)
        diffusers |= !strcmp(info->files[i].name, "model_index.json");
    if (!file && !is_model_folder(info)) return fail_collection(info, repo, error);
    bool *keep = calloc(info->count + 1, sizeof *keep);
    if (!keep) return zi_error_no_memory(error, info->count);
    for (size_t i = 0; i < info->count; i++) {
        const char *name = info->files[i].name;
        keep[i] =
            file ? !strcmp(name, file) : is_needed(name, diffusers) && is_best_variant(info, name);
    }
    for (size_t i = 0; i < info->count; i++) {
        if (keep[i])
            info->files[kept++] = info->files[i];
        else
            free(info->files[i].name);
    }
    free(keep);
    info->count = kept;
    return kept || zi_error_set_in(error, ZI_ERROR_NOT_FOUND, repo, file,
                                   file ? "the repository has no file %s; check the name: it must "
                                          "be written with its folder, as vae/config.json"
                                        : "the repository has no model; name another repository",
                                   file);
}
